//! What tenants use: summed in memory as requests end, written to the store in batches.
//!
//! Owns the accounts and their way to the disk. Invariants: nothing is counted twice, also where a write is tried again whose
//! answer was lost (a batch keeps its id until the store has said what became of it); what is lost is lost in the tenant's
//! favour: with a process that is killed, what ended since the last write began, which is [`FLUSH_EVERY`] and one write ago
//! while the store answers; with a store that takes nothing, what is beyond [`CELLS_MAX`], and that is counted. A request
//! takes no lock here that another tenant's takes. It does not know what anything costs.
//!
//! | file | owns |
//! |---|---|
//! | `usage/tab.rs` | one request's: in its permit, so that work is charged also when its caller has gone |
//! | `usage/account.rs` | one tenant's sums since the last write |
//! | `usage/billing.rs` | which outcomes are billed: one table |
//! | `usage/price.rs` | the price sheet, and what sums cost by it |
//! | `usage/report.rs` | what is asked of stored usage, and the answer |

pub mod account;
pub mod billing;
pub mod price;
pub mod report;
pub mod tab;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use faam_store::{
    Millis, Period, Store, StoreError, USAGE_RECORDS_A_CHANGE_MAX, UsageColumns, UsageQuery,
    UsageRecord,
};
use parking_lot::RwLock;
use tokio::sync::Mutex;
use uuid::Uuid;

use self::account::{Account, Shared};
use crate::metrics::Metrics;
use crate::tenants::TenantId;

/// How often sums are written.
pub const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// Sums that wait to be written, of all tenants together: what a store that takes nothing costs in memory.
pub const CELLS_MAX: usize = 65_536;
/// Batches of one flush: all that can wait, and one that was tried before.
const BATCHES_A_FLUSH_MAX: usize = CELLS_MAX / USAGE_RECORDS_A_CHANGE_MAX + 1;
/// Parts of the table of accounts, each with its lock.
const SHARDS: usize = 64;
/// Flushes between two looks for accounts that nobody uses.
const FLUSHES_A_SWEEP: u32 = 60;
/// Milliseconds of a day.
const DAY_MS: i64 = 24 * account::HOUR_MS;
/// How often a flush is tried at the end.
const LAST_TRIES: u32 = 3;

/// All tenants' usage. Cheap to clone.
#[derive(Clone)]
pub struct Usage(Arc<Inner>);

struct Inner {
    hasher: RandomState,
    /// By name. Read locks, but for a tenant's first request.
    shards: [RwLock<HashMap<TenantId, Arc<Account>>>; SHARDS],
    shared: Arc<Shared>,
    store: Store,
    pending: Mutex<Pending>,
    /// Everything that ended before is written: milliseconds of [`Millis`].
    written_until: AtomicI64,
}

/// What is on its way to the store.
#[derive(Default)]
struct Pending {
    /// Taken out of the accounts, and not known to be written.
    batch: Option<(u128, Vec<UsageRecord>)>,
    flushes: u32,
}

/// What each tenant has used of the day (UTC) that `now` is in, as far as it is stored: two sums at most, billed and not.
///
/// # Errors
/// What the store says.
pub async fn of_today(store: &Store, now: Millis) -> Result<Vec<UsageRecord>, StoreError> {
    let query = UsageQuery {
        since: Some(Millis(now.0 - now.0.rem_euclid(DAY_MS))),
        period: Period::Day,
        columns: UsageColumns {
            tenant: true,
            namespace: false,
            kernel: false,
            backend: false,
            outcome: false,
        },
        ..UsageQuery::default()
    };
    store.usage(&query).await.map(|rows| rows.rows)
}

impl Usage {
    /// Kept in `store`.
    #[must_use]
    pub fn new(store: Store, metrics: Arc<Metrics>) -> Self {
        Self::with_clock(store, metrics, crate::events::now)
    }

    /// The same, with hours by another clock.
    #[must_use]
    pub fn with_clock(store: Store, metrics: Arc<Metrics>, now: fn() -> Millis) -> Self {
        Self(Arc::new(Inner {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| RwLock::default()),
            shared: Arc::new(Shared::new(metrics, now)),
            store,
            pending: Mutex::default(),
            written_until: AtomicI64::new(0),
        }))
    }

    /// The account of `tenant`.
    #[must_use]
    pub fn account(&self, tenant: &TenantId) -> Arc<Account> {
        let shard = self.shard(tenant);
        if let Some(account) = shard.read().get(tenant) {
            return Arc::clone(account);
        }
        let mut shard = shard.write();
        let account = shard
            .entry(tenant.clone())
            .or_insert_with(|| Arc::new(Account::new(tenant.clone(), Arc::clone(&self.0.shared))));
        Arc::clone(account)
    }

    fn shard(&self, tenant: &TenantId) -> &RwLock<HashMap<TenantId, Arc<Account>>> {
        let hash = self.0.hasher.hash_one(tenant);
        let index = usize::try_from(hash % SHARDS as u64).unwrap_or(0);
        // The remainder is an index.
        self.0.shards.get(index).unwrap_or(&self.0.shards[0])
    }

    /// Writes what has ended so far.
    ///
    /// # Errors
    /// What the store says; nothing is lost by that, and the next flush begins with what this one could not write.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let mut pending = self.0.pending.lock().await;
        let began = (self.0.shared.now)();
        for _ in 0..BATCHES_A_FLUSH_MAX {
            if pending.batch.is_none() {
                let records = self.take();
                if records.is_empty() {
                    self.0.written_until.store(began.0, Ordering::Release);
                    self.sweep(&mut pending);
                    return Ok(());
                }
                pending.batch = Some((Uuid::now_v7().as_u128(), records));
            }
            let Some((id, records)) = &pending.batch else {
                break;
            };
            match self.0.store.add_usage(*id, records.clone()).await {
                Ok(_) => {}
                Err(error) => {
                    if !error.may_pass() {
                        // It would fail for ever, and nothing else would be written.
                        let requests = records.iter().map(|record| record.sums.requests).sum();
                        self.0.shared.lose(requests);
                        pending.batch = None;
                    }
                    return Err(error);
                }
            }
            pending.batch = None;
        }
        Ok(())
    }

    /// Takes one batch out of the accounts.
    fn take(&self) -> Vec<UsageRecord> {
        let mut records = Vec::new();
        for shard in &self.0.shards {
            for account in shard.read().values() {
                account.take(&mut records, USAGE_RECORDS_A_CHANGE_MAX);
                if records.len() >= USAGE_RECORDS_A_CHANGE_MAX {
                    return records;
                }
            }
        }
        records
    }

    /// Forgets accounts that nobody uses, now and then: of tenants that have gone, or rarely come.
    fn sweep(&self, pending: &mut Pending) {
        pending.flushes = pending.flushes.wrapping_add(1);
        if !pending.flushes.is_multiple_of(FLUSHES_A_SWEEP) {
            return;
        }
        for shard in &self.0.shards {
            // Who uses one holds it; nobody can get hold of it meanwhile.
            shard
                .write()
                .retain(|_, account| Arc::strong_count(account) > 1 || !account.is_empty());
        }
    }

    /// Everything that ended before this moment is in the store.
    #[must_use]
    pub fn written_until(&self) -> Millis {
        Millis(self.0.written_until.load(Ordering::Acquire))
    }

    /// Requests whose usage was lost, in their tenants' favour, because the store has taken nothing for too long.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.shared.lost()
    }

    /// Accounts that are open.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.read().len()).sum()
    }

    /// Writes every [`FLUSH_EVERY`], for ever.
    pub async fn run(self) {
        let mut failing = false;
        loop {
            tokio::time::sleep(FLUSH_EVERY).await;
            match self.flush().await {
                Ok(()) if failing => {
                    tracing::info!("usage is written again");
                    failing = false;
                }
                Ok(()) => {}
                Err(error) if !failing => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "usage cannot be written; it waits in memory, and is tried again every second"
                    );
                    failing = true;
                }
                Err(_) => {}
            }
        }
    }

    /// The last flush, once no request is in flight any more.
    pub async fn end(&self) {
        for attempt in 1..=LAST_TRIES {
            match self.flush().await {
                Ok(()) => return,
                Err(error) if attempt == LAST_TRIES => tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the last usage could not be written, and is lost"
                ),
                Err(_) => {}
            }
        }
    }
}
