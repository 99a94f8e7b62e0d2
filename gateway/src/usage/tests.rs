//! Any interleaving of requests, writes, failed writes and crashes, over a real database whose failures are injected at its seam.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;

use super::account::{CELLS_AN_ACCOUNT_MAX, Ended};
use super::*;
use crate::fateful_store::{Fate, FatefulStore};
use crate::meter::Spent;

/// A gateway's usage, which may crash.
struct Running {
    path: PathBuf,
    fateful: FatefulStore,
    store: Store,
    usage: Usage,
}

impl Running {
    async fn start(path: PathBuf) -> Self {
        let fateful = FatefulStore::open(&path).await;
        let store = fateful.store.clone();
        let usage = Usage::new(store.clone(), Arc::new(Metrics::new()));
        Self {
            path,
            fateful,
            store,
            usage,
        }
    }

    async fn flush(&self, fate: Fate) -> bool {
        self.fateful.next(fate);
        self.usage.flush().await.is_ok()
    }

    /// What is in memory is gone; what was asked of the database may have been done.
    async fn crash(self) -> Self {
        drop(self.usage);
        self.store.close().await.expect("closed");
        Self::start(self.path).await
    }

    async fn stored(&self) -> BTreeMap<Key, u64> {
        let rows = self
            .store
            .usage(&UsageQuery::default())
            .await
            .expect("read")
            .rows;
        rows.into_iter()
            .map(|UsageRecord { key, sums }| {
                // What is summed beside grows alike.
                assert_eq!(sums.bytes_in, 10 * sums.requests);
                assert_eq!(sums.device_us, 3 * sums.requests);
                assert_eq!(sums.fallbacks, sums.requests);
                assert_eq!(sums.refusals, 0);
                (
                    (key.tenant, key.hour.0 / account::HOUR_MS, key.outcome),
                    sums.requests,
                )
            })
            .collect()
    }
}

/// Tenant, hour, outcome.
type Key = (String, i64, String);

#[derive(Clone, Debug)]
enum Step {
    Request {
        tenant: u8,
        hour: i64,
        outcome: &'static str,
        times: u64,
    },
    Flush(Fate),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![Just("ok"), Just("cancelled"), Just("internal")];
    let request =
        (0..3_u8, 0..2_i64, outcome, 1..5_u64).prop_map(|(tenant, hour, outcome, times)| {
            Step::Request {
                tenant,
                hour,
                outcome,
                times,
            }
        });
    prop_oneof![
        5 => request,
        2 => Just(Step::Flush(Fate::Written)),
        1 => Just(Step::Flush(Fate::Refused)),
        1 => Just(Step::Flush(Fate::Unanswered)),
        1 => Just(Step::Crash),
    ]
}

fn ended(outcome: &'static str) -> Ended<'static> {
    Ended {
        namespace: "",
        kernel: "compress",
        backend: "cpu",
        outcome,
        admitted: true,
        bytes_in: 10,
        bytes_out: 5,
        spent: Spent {
            device: Duration::from_micros(3),
            fallbacks: 2,
            ..Spent::default()
        },
    }
}

async fn play(steps: Vec<Step>) {
    let directory = tempfile::tempdir().expect("a directory");
    let mut running = Running::start(directory.path().join("faam.db")).await;
    // All that happened; what a crash may have taken; what is not known to be written.
    let (mut happened, mut lost, mut waiting) =
        <(BTreeMap<Key, u64>, BTreeMap<Key, u64>, BTreeMap<Key, u64>)>::default();
    for step in steps.into_iter().chain([Step::Flush(Fate::Written)]) {
        match step {
            Step::Request {
                tenant,
                hour,
                outcome,
                times,
            } => {
                let tenant = format!("t{tenant}");
                let account = running.usage.account(&TenantId::new(&tenant));
                let at = Millis(hour * account::HOUR_MS + 5);
                (0..times).for_each(|_| account.add(at, &ended(outcome)));
                let key = (tenant, hour, outcome.to_owned());
                *happened.entry(key.clone()).or_default() += times;
                *waiting.entry(key).or_default() += times;
            }
            Step::Flush(fate) => {
                if running.flush(fate).await {
                    waiting.clear();
                }
            }
            Step::Crash => {
                for (key, times) in std::mem::take(&mut waiting) {
                    *lost.entry(key).or_default() += times;
                }
                running = running.crash().await;
            }
        }
        let stored = running.stored().await;
        for (key, times) in &stored {
            assert!(
                times <= happened.get(key).unwrap_or(&0),
                "{key:?} counts {times}: more than there was"
            );
        }
    }
    let stored = running.stored().await;
    for (key, times) in &happened {
        let least = times - lost.get(key).unwrap_or(&0);
        let kept = *stored.get(key).unwrap_or(&0);
        assert!(
            kept >= least,
            "{key:?} counts {kept}: more is lost than a crash takes, at least {least} were written"
        );
    }
    assert_eq!(running.usage.lost(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn sums_never_exceed_what_happened_and_lose_at_most_what_was_not_written(steps in prop::collection::vec(step(), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(play(steps));
    }
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_not_counted_twice() {
    let request = |times| Step::Request {
        tenant: 0,
        hour: 0,
        outcome: "ok",
        times,
    };
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path().join("faam.db")).await;
    let account = running.usage.account(&TenantId::new("a"));
    account.add(Millis(0), &ended("ok"));
    assert!(!running.flush(Fate::Unanswered).await);
    account.add(Millis(0), &ended("ok"));
    assert!(running.flush(Fate::Written).await);
    let stored: Vec<_> = running.stored().await.into_values().collect();
    assert_eq!(stored, [2]);
    play(vec![
        request(3),
        Step::Flush(Fate::Unanswered),
        Step::Crash,
        request(2),
    ])
    .await;
}

#[tokio::test]
async fn sums_that_wait_have_a_bound_and_what_is_beyond_is_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path().join("faam.db")).await;
    let account = running.usage.account(&TenantId::new("a"));
    let names: Vec<String> = (0..CELLS_AN_ACCOUNT_MAX + 3)
        .map(|number| number.to_string())
        .collect();
    for namespace in &names {
        account.add(
            Millis(0),
            &Ended {
                namespace,
                ..ended("ok")
            },
        );
    }
    assert_eq!(running.usage.lost(), 3);
    // What has a sum is still added to it.
    account.add(
        Millis(0),
        &Ended {
            namespace: "0",
            ..ended("ok")
        },
    );
    assert_eq!(running.usage.lost(), 3);
    assert!(running.flush(Fate::Written).await);
    let kept = u64::try_from(CELLS_AN_ACCOUNT_MAX).expect("few");
    let rows = running
        .store
        .usage(&UsageQuery::default())
        .await
        .expect("read")
        .rows;
    assert_eq!(
        rows.iter().map(|row| row.sums.requests).sum::<u64>(),
        kept + 1
    );
    account.add(
        Millis(0),
        &Ended {
            namespace: "one more",
            ..ended("ok")
        },
    );
    assert_eq!(running.usage.lost(), 3, "there is room again");
}

#[tokio::test]
async fn accounts_of_nobody_are_forgotten_and_those_in_use_are_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path().join("faam.db")).await;
    let held = running.usage.account(&TenantId::new("held"));
    for number in 0..100 {
        running
            .usage
            .account(&TenantId::new(&number.to_string()))
            .add(Millis(0), &ended("ok"));
    }
    assert_eq!(running.usage.accounts(), 101);
    for _ in 0..FLUSHES_A_SWEEP {
        assert!(running.flush(Fate::Written).await);
    }
    assert_eq!(running.usage.accounts(), 1);
    assert!(Arc::ptr_eq(
        &held,
        &running.usage.account(&TenantId::new("held"))
    ));
}

#[tokio::test]
async fn what_is_refused_is_counted_and_never_billed() {
    let directory = tempfile::tempdir().expect("a directory");
    let running = Running::start(directory.path().join("faam.db")).await;
    let account = running.usage.account(&TenantId::new("a"));
    let refused = Ended {
        admitted: false,
        bytes_in: 0,
        bytes_out: 0,
        spent: Spent::default(),
        ..ended("too-large")
    };
    account.end(&refused);
    // The same outcome after something was done is another sum.
    account.end(&ended("too-large"));
    assert!(running.flush(Fate::Written).await);
    let rows = running
        .store
        .usage(&UsageQuery::default())
        .await
        .expect("read")
        .rows;
    let shown: Vec<_> = rows
        .iter()
        .map(|row| (row.key.billable, row.sums.requests, row.sums.refusals))
        .collect();
    assert_eq!(shown, [(false, 1, 1), (true, 1, 0)]);
}
