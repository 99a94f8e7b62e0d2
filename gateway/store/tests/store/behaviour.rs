//! What every store does, whichever database is behind it.
//!
//! Generic over [`Opens`]; `suite!` makes one test of each behaviour.
//!
//! | file | owns |
//! |---|---|
//! | `records.rs` | tenants and credentials |
//! | `usage.rs`, `events.rs` | what is summed, what is appended |
//! | `changes.rs` | changes of any kind, by several at once, over a restart, in a backup |

pub(crate) mod changes;
pub(crate) mod events;
pub(crate) mod records;
pub(crate) mod usage;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use faam_store::{
    CredentialKind, CredentialRecord, Engine, EventRecord, Millis, Store, StoreError, TenantRecord,
    UsageKey, UsageRecord, UsageSums,
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

            suite!(@tests $opens, records:
                a_tenant_is_changed_by_whoever_read_its_last_revision
                a_tenant_takes_its_credentials_along_and_leaves_its_usage
                who_was_removed_is_known_until_made_again
                credentials_come_back_as_they_were_written
                several_credentials_are_written_or_none
                an_id_never_moves_to_another_tenant
            );
            suite!(@tests $opens, usage:
                usage_is_added_once_for_each_batch
                usage_is_summed_as_it_is_asked_for
            );
            suite!(@tests $opens, events:
                the_newest_events_are_answered_oldest_first
                events_are_appended_once_for_each_batch
            );
            suite!(@tests $opens, changes:
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
    (@tests $opens:ty, $of:ident: $($test:ident)*) => {
        $(#[tokio::test]
        async fn $test() {
            crate::behaviour::$of::$test::<$opens>().await;
        })*
    };
}
pub(crate) use suite;

pub(crate) const HOUR: i64 = 3_600_000;

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

pub(crate) fn event(at: i64, kind: &str, tenant: Option<&str>, subject: &str) -> EventRecord {
    EventRecord {
        at: Millis(at),
        kind: kind.to_owned(),
        actor: "operator".to_owned(),
        tenant: tenant.map(str::to_owned),
        subject: subject.to_owned(),
        detail: json!({"at": at}),
    }
}
