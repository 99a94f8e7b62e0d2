//! What every store does, whichever database is behind it.
//!
//! Generic over [`Opens`]; `suite!` makes one test of each behaviour.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use faam_store::{
    Applied, Change, CredentialKind, CredentialRecord, Engine, EventQuery, EventRecord, Millis,
    Period, Store, StoreError, TenantRecord, UsageColumns, UsageKey, UsageQuery, UsageRecord,
    UsageSums,
};
use serde_json::json;

/// A database of one test's own.
pub(crate) trait Opens: Sized + Send + Sync + 'static {
    /// An empty one.
    fn new() -> Self;

    /// Opens it; what an earlier engine kept is there.
    fn engine(&self) -> impl Future<Output = Result<Arc<dyn Engine>, StoreError>> + Send + 'static;

    /// A path that nothing is at, for a backup.
    fn free_path(&self) -> PathBuf;

    /// A database that has what the backup `from` has.
    fn restored(from: &std::path::Path) -> impl Future<Output = Self> + Send;
}

/// One test of each behaviour for the database `$opens`.
macro_rules! suite {
    ($name:ident, $opens:ty) => {
        mod $name {
            use super::*;

            suite!(@tests $opens:
                a_tenant_is_changed_by_whoever_read_its_last_revision
                a_tenant_takes_its_credentials_along_and_leaves_its_usage
                credentials_come_back_as_they_were_written
                several_credentials_are_written_or_none
                an_id_never_moves_to_another_tenant
                usage_is_added_once_for_each_batch
                usage_is_summed_as_it_is_asked_for
                the_newest_events_are_answered_oldest_first
                events_are_appended_once_for_each_batch
                who_was_removed_is_known_until_made_again
                a_failing_change_fails_alone
                who_writes_at_once_loses_nothing
                many_callers_share_a_transaction
                what_was_acknowledged_is_there_after_it_was_opened_again
                what_is_closed_says_so
                a_change_has_a_bound
                a_backup_has_what_was_acknowledged_before_it
            );
        }
    };
    (@tests $opens:ty: $($test:ident)*) => {
        $(#[tokio::test]
        async fn $test() {
            crate::behaviour::$test::<$opens>().await;
        })*
    };
}
pub(crate) use suite;

const HOUR: i64 = 3_600_000;

/// Opens a store on the database.
pub(crate) async fn open<O: Opens>(opens: &O) -> Store {
    Store::start(PathBuf::from("the database"), opens.engine())
        .await
        .expect("a store")
}

/// A tenant that is not stored yet.
pub(crate) fn tenant(name: &str) -> TenantRecord {
    TenantRecord {
        name: name.to_owned(),
        namespaces: vec!["one".to_owned(), "two words".to_owned()],
        limits: json!({"weight": 3, "of_a_later_version": {"x": [1, null]}}),
        revision: 0,
        created: Millis(1),
        changed: Millis(2),
    }
}

/// A credential of `tenant`.
pub(crate) fn credential(id: &str, tenant: &str) -> CredentialRecord {
    CredentialRecord {
        id: id.to_owned(),
        tenant: tenant.to_owned(),
        namespace: None,
        kind: CredentialKind::Api,
        verifier: vec![0, 1, 255],
        root: "2026".to_owned(),
        version: 1,
        scopes: vec!["invoke".to_owned()],
        created: Millis(5),
        expires: None,
        revoked: None,
        successor: None,
    }
}

/// Usage of an hour, with `requests` requests.
pub(crate) fn usage(tenant: &str, hour: i64, outcome: &str, requests: u64) -> UsageRecord {
    UsageRecord {
        key: UsageKey {
            hour: Millis(hour * HOUR),
            tenant: tenant.to_owned(),
            namespace: String::new(),
            kernel: "compress".to_owned(),
            backend: "cpu".to_owned(),
            outcome: outcome.to_owned(),
            billable: outcome == "ok",
        },
        sums: UsageSums {
            requests,
            bytes_in: 10 * requests,
            bytes_out: 3 * requests,
            device_us: requests,
            queue_us: 2 * requests,
            cpu_us: 4 * requests,
            reference_us: 5 * requests,
            fallbacks: 6 * requests,
            refusals: 7 * requests,
        },
    }
}

fn event(at: i64, kind: &str, tenant: Option<&str>, subject: &str) -> EventRecord {
    EventRecord {
        at: Millis(at),
        kind: kind.to_owned(),
        actor: "operator".to_owned(),
        tenant: tenant.map(str::to_owned),
        subject: subject.to_owned(),
        detail: json!({"at": at}),
    }
}

pub(crate) async fn a_tenant_is_changed_by_whoever_read_its_last_revision<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let first = store.put_tenant(&tenant("a")).await.expect("new");
    assert_eq!(first.revision, 1);
    assert_eq!(store.tenants().await.expect("read"), vec![first.clone()]);

    let again = store.put_tenant(&tenant("a")).await.expect_err("it exists");
    assert!(
        matches!(
            again,
            StoreError::Changed {
                expected: 0,
                found: Some(1),
                ..
            }
        ),
        "{again}"
    );
    let changed = TenantRecord {
        limits: json!({"weight": 4}),
        created: Millis(77),
        changed: Millis(99),
        ..first.clone()
    };
    let second = store.put_tenant(&changed).await.expect("the last revision");
    assert_eq!((second.revision, second.created), (2, Millis(1)));
    let late = store
        .put_tenant(&changed)
        .await
        .expect_err("an old revision");
    assert!(
        matches!(
            late,
            StoreError::Changed {
                expected: 1,
                found: Some(2),
                ..
            }
        ),
        "{late}"
    );
    assert_eq!(store.tenants().await.expect("read"), [second]);

    let gone = TenantRecord {
        revision: 4,
        ..tenant("b")
    };
    let gone = store.put_tenant(&gone).await.expect_err("there is none");
    assert!(
        matches!(gone, StoreError::Changed { found: None, .. }),
        "{gone}"
    );
    let nameless = store.put_tenant(&tenant("")).await.expect_err("no name");
    assert!(
        matches!(nameless, StoreError::Constraint { .. }),
        "{nameless}"
    );
    assert!(!nameless.may_pass());
}

pub(crate) async fn a_tenant_takes_its_credentials_along_and_leaves_its_usage<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    for name in ["a", "b"] {
        store.put_tenant(&tenant(name)).await.expect("new");
        let id = format!("key of {name}");
        store
            .put_credential(&credential(&id, name))
            .await
            .expect("new");
        store
            .add_usage(
                u128::from(name.as_bytes()[0]),
                vec![usage(name, 1, "ok", 1)],
            )
            .await
            .expect("added");
    }
    assert!(store.remove_tenant("a").await.expect("removed"));
    assert!(!store.remove_tenant("a").await.expect("it is gone"));
    let left = store.credentials().await.expect("read");
    assert_eq!(left, [credential("key of b", "b")]);
    let of_a = UsageQuery {
        tenant: Some("a".to_owned()),
        ..UsageQuery::default()
    };
    assert_eq!(
        store.usage(&of_a).await.expect("read").rows,
        [usage("a", 1, "ok", 1)]
    );
    assert!(store.remove_credential("key of b").await.expect("removed"));
    assert!(
        !store
            .remove_credential("key of b")
            .await
            .expect("it is gone")
    );
}

pub(crate) async fn credentials_come_back_as_they_were_written<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    store.put_tenant(&tenant("a")).await.expect("new");
    let kinds = [
        CredentialKind::Api,
        CredentialKind::OpenWhisk,
        CredentialKind::SigV4,
    ];
    let written: Vec<_> = kinds
        .into_iter()
        .zip(["1", "2", "3"])
        .map(|(kind, id)| CredentialRecord {
            kind,
            namespace: Some("one".to_owned()),
            verifier: if kind == CredentialKind::SigV4 {
                Vec::new()
            } else {
                vec![7; 32]
            },
            scopes: vec!["invoke".to_owned(), "usage".to_owned()],
            version: 3,
            expires: Some(Millis(10)),
            revoked: Some(Millis(-4)),
            successor: Some("2".to_owned()),
            ..credential(id, "a")
        })
        .collect();
    for record in written.iter().rev() {
        store.put_credential(record).await.expect("new");
    }
    assert_eq!(store.credentials().await.expect("read"), written);
    let plain = credential("1", "a");
    store.put_credential(&plain).await.expect("in its place");
    assert_eq!(
        store.credentials().await.expect("read").first(),
        Some(&plain)
    );
}

pub(crate) async fn several_credentials_are_written_or_none<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    store.put_tenant(&tenant("a")).await.expect("new");
    let written = vec![credential("1", "a"), credential("2", "nobody")];
    let refused = store
        .put_credentials(written)
        .await
        .expect_err("there is no such tenant");
    assert!(
        matches!(&refused, StoreError::Constraint { rule } if rule.contains("nobody")),
        "{refused}"
    );
    assert_eq!(store.credentials().await.expect("read"), []);
    let written = vec![credential("1", "a"), credential("2", "a")];
    store.put_credentials(written.clone()).await.expect("both");
    assert_eq!(store.credentials().await.expect("read"), written);
}

pub(crate) async fn an_id_never_moves_to_another_tenant<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    store.put_tenant(&tenant("a")).await.expect("new");
    store.put_tenant(&tenant("b")).await.expect("new");
    store
        .put_credential(&credential("1", "a"))
        .await
        .expect("new");
    let refused = store
        .put_credential(&credential("1", "b"))
        .await
        .expect_err("it is a's");
    assert!(
        matches!(refused, StoreError::Constraint { .. }),
        "{refused}"
    );
    assert_eq!(
        store.credentials().await.expect("read"),
        [credential("1", "a")]
    );
}

pub(crate) async fn usage_is_added_once_for_each_batch<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let batch = vec![usage("a", 1, "ok", 2), usage("a", 2, "ok", 3)];
    assert!(
        store
            .add_usage(u128::MAX, batch.clone())
            .await
            .expect("added")
    );
    assert!(
        !store
            .add_usage(u128::MAX, batch.clone())
            .await
            .expect("known")
    );
    store.close().await.expect("closed");
    let store = open(&opens).await;
    assert!(
        !store
            .add_usage(u128::MAX, batch.clone())
            .await
            .expect("known for good")
    );
    assert_eq!(
        store
            .usage(&UsageQuery::default())
            .await
            .expect("read")
            .rows,
        batch
    );
    assert!(
        store
            .add_usage(0, vec![usage("a", 2, "ok", 4)])
            .await
            .expect("another")
    );
    let rows = store
        .usage(&UsageQuery::default())
        .await
        .expect("read")
        .rows;
    assert_eq!(rows, [usage("a", 1, "ok", 2), usage("a", 2, "ok", 7)]);
    // A batch that is refused leaves neither sums nor its id.
    let mut broken = usage("a", 3, "ok", 1);
    broken.key.hour = Millis(5);
    let batch = vec![usage("a", 3, "ok", 1), broken];
    let refused = store
        .add_usage(9, batch)
        .await
        .expect_err("no hour begins then");
    assert!(
        matches!(refused, StoreError::Constraint { .. }),
        "{refused}"
    );
    assert!(
        store
            .add_usage(9, vec![usage("a", 3, "ok", 1)])
            .await
            .expect("its id is free")
    );
}

pub(crate) async fn usage_is_summed_as_it_is_asked_for<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let stored = vec![
        usage("a", 1, "ok", 1),
        usage("a", 1, "cancelled", 2),
        usage("a", 23, "ok", 4),
        usage("a", 24, "ok", 8),
        usage("b", 24, "ok", 16),
    ];
    store.add_usage(1, stored).await.expect("added");
    let requests = async |query: UsageQuery| {
        let rows = store.usage(&query).await.expect("read").rows;
        rows.into_iter()
            .map(|row| {
                assert_eq!(row.sums.refusals, 7 * row.sums.requests);
                let hour = row.key.hour.0 / HOUR;
                (
                    hour,
                    row.key.tenant,
                    row.key.outcome,
                    row.key.billable,
                    row.sums.requests,
                )
            })
            .collect::<Vec<_>>()
    };
    let row = |hour, tenant: &str, outcome: &str, billable, requests| {
        (
            hour,
            tenant.to_owned(),
            outcome.to_owned(),
            billable,
            requests,
        )
    };
    let of_a = UsageQuery {
        tenant: Some("a".to_owned()),
        ..UsageQuery::default()
    };
    let between = UsageQuery {
        since: Some(Millis(HOUR + 1)),
        until: Some(Millis(24 * HOUR)),
        ..of_a.clone()
    };
    assert_eq!(requests(between).await, [row(23, "a", "ok", true, 4)]);
    let nowhere = UsageQuery {
        namespace: Some("elsewhere".to_owned()),
        ..of_a.clone()
    };
    assert_eq!(requests(nowhere).await, []);
    let unnamed = UsageQuery {
        namespace: Some(String::new()),
        ..of_a.clone()
    };
    assert_eq!(requests(unnamed).await.len(), 4);
    let few = UsageQuery {
        rows_max: 3,
        ..UsageQuery::default()
    };
    let few = store.usage(&few).await.expect("read");
    assert_eq!((few.rows.len(), few.truncated), (3, true));
    let by_day = UsageQuery {
        period: Period::Day,
        ..of_a.clone()
    };
    assert_eq!(
        requests(by_day).await,
        [
            row(0, "a", "cancelled", false, 2),
            row(0, "a", "ok", true, 5),
            row(24, "a", "ok", true, 8)
        ]
    );
    let columns = UsageColumns {
        tenant: false,
        namespace: false,
        kernel: false,
        backend: false,
        outcome: false,
    };
    let whole = UsageQuery {
        period: Period::Whole,
        columns,
        ..UsageQuery::default()
    };
    assert_eq!(
        requests(whole).await,
        [row(1, "", "", false, 2), row(1, "", "", true, 29)]
    );
    let tenants = UsageColumns {
        tenant: true,
        ..columns
    };
    let by_tenant = UsageQuery {
        period: Period::Whole,
        columns: tenants,
        ..UsageQuery::default()
    };
    assert_eq!(
        requests(by_tenant).await,
        [
            row(1, "a", "", false, 2),
            row(1, "a", "", true, 13),
            row(24, "b", "", true, 16)
        ]
    );
}

pub(crate) async fn the_newest_events_are_answered_oldest_first<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let stored = vec![
        event(1, "key.added", Some("a"), "k1"),
        event(2, "keyring.opened", None, "k1"),
        event(3, "key.revoked", Some("a"), "k1"),
        event(4, "card.lost", None, "fpga0"),
    ];
    store
        .append_events(1, stored[..2].to_vec())
        .await
        .expect("appended");
    store
        .append_events(2, stored[2..].to_vec())
        .await
        .expect("appended");
    let ask = async |query: EventQuery| store.events(&query).await.expect("read");
    assert_eq!(ask(EventQuery::default()).await, stored);
    let newest = EventQuery {
        limit: 2,
        ..EventQuery::default()
    };
    assert_eq!(ask(newest).await, stored[2..]);
    let keys = EventQuery {
        kind: Some("key".to_owned()),
        ..EventQuery::default()
    };
    assert_eq!(ask(keys).await, [stored[0].clone(), stored[2].clone()]);
    let of_a = EventQuery {
        tenant: Some("a".to_owned()),
        since: Some(Millis(2)),
        ..EventQuery::default()
    };
    assert_eq!(ask(of_a).await, stored[2..3]);
    let about = EventQuery {
        subject: Some("k1".to_owned()),
        until: Some(Millis(3)),
        ..EventQuery::default()
    };
    assert_eq!(ask(about).await, stored[..2]);
}

pub(crate) async fn events_are_appended_once_for_each_batch<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let stored = vec![
        event(1, "key.added", Some("a"), "k1"),
        event(1, "key.added", Some("a"), "k1"),
    ];
    let append = async |batch| {
        store
            .append_events(batch, stored.clone())
            .await
            .expect("kept")
    };
    assert!(append(1).await);
    assert!(!append(1).await, "its answer may have been lost");
    assert!(append(2).await, "another one that says the same");
    assert!(!append(1).await);
    let all = store.events(&EventQuery::default()).await.expect("read");
    assert_eq!(all, [stored.clone(), stored.clone()].concat());
    // Usage is another matter: its batches have ids of their own.
    let used = store.add_usage(1, vec![usage("a", 1, "ok", 1)]).await;
    assert!(used.expect("added"));
    store.close().await.expect("closed");
    let store = open(&opens).await;
    let again = store.append_events(2, stored).await.expect("answered");
    assert!(!again, "also after a restart");
}

pub(crate) async fn who_was_removed_is_known_until_made_again<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let is_removed = async |name| store.is_removed(name).await.expect("read");
    assert!(!store.remove_tenant("a").await.expect("answered"));
    assert!(!is_removed("a").await, "there never was one");
    for _ in 0..2 {
        store.put_tenant(&tenant("a")).await.expect("new");
        assert!(!is_removed("a").await);
        assert!(store.remove_tenant("a").await.expect("removed"));
        assert!(is_removed("a").await && !is_removed("b").await);
    }
    store.close().await.expect("closed");
    let store = open(&opens).await;
    assert!(store.is_removed("a").await.expect("read"));
}

pub(crate) async fn a_failing_change_fails_alone<O: Opens>() {
    let opens = O::new();
    let engine = opens.engine().await.expect("open");
    let put = |name: &str| Change::PutTenant(tenant(name));
    let broken = UsageRecord {
        key: UsageKey {
            hour: Millis(1),
            ..usage("a", 1, "ok", 1).key
        },
        sums: UsageSums::default(),
    };
    let changes = [
        put("a"),
        put(""),
        put("b"),
        Change::PutCredentials(vec![credential("1", "a"), credential("2", "nobody")]),
        Change::AddUsage {
            batch: 1,
            records: vec![usage("a", 1, "ok", 1), broken],
        },
        put("a"),
        Change::PutCredentials(vec![credential("1", "a")]),
        Change::RemoveTenant("nobody".to_owned()),
    ];
    let results = engine.apply(&changes).await.expect("applied");
    let shown: Vec<_> = results
        .iter()
        .map(|result| match result {
            Ok(Applied::Tenant(_)) => "tenant",
            Ok(Applied::Done(true)) => "done",
            Ok(Applied::Done(false)) => "nothing to do",
            Err(StoreError::Constraint { .. }) => "constraint",
            Err(StoreError::Changed { .. }) => "changed",
            Err(_) => "something else",
        })
        .collect();
    assert_eq!(
        shown,
        [
            "tenant",
            "constraint",
            "tenant",
            "constraint",
            "constraint",
            "changed",
            "done",
            "nothing to do"
        ]
    );
    let names: Vec<_> = engine
        .tenants()
        .await
        .expect("read")
        .into_iter()
        .map(|tenant| tenant.name)
        .collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(
        engine.credentials().await.expect("read"),
        [credential("1", "a")]
    );
    assert_eq!(
        engine
            .usage(&UsageQuery::default())
            .await
            .expect("read")
            .rows,
        []
    );
    engine.close().await.expect("closed");
}

pub(crate) async fn who_writes_at_once_loses_nothing<O: Opens>() {
    const WRITERS: usize = 8;
    const CHANGES: u64 = 25;
    let opens = O::new();
    let store = open(&opens).await;
    store.put_tenant(&tenant("a")).await.expect("new");
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            let mut done = 0;
            while done < CHANGES {
                let stored = store.tenants().await.expect("read").remove(0);
                match store.put_tenant(&stored).await {
                    Ok(_) => done += 1,
                    // Somebody else was first, who so has made progress.
                    Err(StoreError::Changed { .. }) => {}
                    Err(other) => assert_eq!(other.to_string(), "changed"),
                }
            }
        });
    }
    writers.join_all().await;
    let changes = i64::try_from(WRITERS).expect("few") * i64::try_from(CHANGES).expect("few");
    assert_eq!(
        store.tenants().await.expect("read")[0].revision,
        1 + changes
    );
}

pub(crate) async fn many_callers_share_a_transaction<O: Opens>() {
    const CALLERS: u32 = 1000;
    let opens = O::new();
    let store = open(&opens).await;
    let before = store.counts();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let store = store.clone();
        callers.spawn(async move {
            store
                .put_tenant(&tenant(&format!("t{caller}")))
                .await
                .expect("new");
        });
    }
    callers.join_all().await;
    let after = store.counts();
    assert_eq!(after.applied - before.applied, u64::from(CALLERS));
    let transactions = after.batches - before.batches;
    println!("{CALLERS} callers, {transactions} transactions");
    assert!(transactions <= u64::from(CALLERS / 4), "{transactions}");
    assert_eq!(store.tenants().await.expect("read").len(), CALLERS as usize);
}

pub(crate) async fn what_was_acknowledged_is_there_after_it_was_opened_again<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let written = store.put_tenant(&tenant("a")).await.expect("new");
    store
        .append_events(1, vec![event(1, "x", None, "y")])
        .await
        .expect("appended");
    store.close().await.expect("closed");
    let store = open(&opens).await;
    assert_eq!(store.tenants().await.expect("read"), [written]);
    assert_eq!(
        store
            .events(&EventQuery::default())
            .await
            .expect("read")
            .len(),
        1
    );
}

pub(crate) async fn what_is_closed_says_so<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let before = tenant("before");
    let (written, closed) = tokio::join!(store.put_tenant(&before), store.close());
    written.expect("it was asked for before");
    closed.expect("closed");
    let refused = store
        .put_tenant(&tenant("a"))
        .await
        .expect_err("it is closed");
    assert!(matches!(refused, StoreError::Closed), "{refused}");
    let refused = store.tenants().await.expect_err("it is closed");
    assert!(matches!(refused, StoreError::Closed), "{refused}");
    store.close().await.expect("it is closed");
}

pub(crate) async fn a_change_has_a_bound<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let many = vec![usage("a", 1, "ok", 1); faam_store::USAGE_RECORDS_A_CHANGE_MAX + 1];
    let refused = store.add_usage(1, many).await.expect_err("too many");
    assert!(
        matches!(&refused, StoreError::Constraint { rule } if rule.contains("4097")),
        "{refused}"
    );
    let many = vec![event(1, "x", None, "y"); faam_store::EVENTS_A_CHANGE_MAX + 1];
    store.append_events(1, many).await.expect_err("too many");
}

pub(crate) async fn a_backup_has_what_was_acknowledged_before_it<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let written = store.put_tenant(&tenant("a")).await.expect("new");
    let to = opens.free_path();
    store.backup(&to).await.expect("a backup");
    store
        .put_tenant(&tenant("later"))
        .await
        .expect("it goes on");
    let again = store.backup(&to).await.expect_err("it is there");
    assert!(matches!(again, StoreError::Exists { .. }), "{again}");
    let restored = O::restored(&to).await;
    let copy = open(&restored).await;
    assert_eq!(copy.tenants().await.expect("read"), [written]);
}
