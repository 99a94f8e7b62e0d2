//! Changes of any kind: alone and together, by several at once, over a restart, in a backup; and their bounds.

use faam_store::{
    Applied, Change, EventQuery, Millis, StoreError, UsageKey, UsageQuery, UsageRecord, UsageSums,
};

use super::{Opens, credential, event, open, tenant, usage};

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
