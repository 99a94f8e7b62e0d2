//! One tenant's sums since the last write.
//!
//! Invariants: a request is added to one sum, once; the number of sums has a bound, here and over all tenants, and what is beyond is
//! counted as lost, in the tenant's favour. The one lock is the tenant's own and is held for as long as it takes to find a sum among a few.

use std::mem::take;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use faam_store::{Millis, UsageKey, UsageRecord, UsageSums};
use parking_lot::Mutex;

use super::{CELLS_MAX, billing};
use crate::auth::Principal;
use crate::meter::Spent;
use crate::metrics::Metrics;
use crate::tenants::TenantId;

/// Milliseconds of an hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Sums of one tenant that wait to be written: its namespaces, by kernels, backends, outcomes and hours.
pub const CELLS_AN_ACCOUNT_MAX: usize = 4096;

/// What all accounts share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) metrics: Arc<Metrics>,
    pub(super) now: fn() -> Millis,
    /// Sums that wait.
    cells: AtomicUsize,
    lost: AtomicU64,
}

impl Shared {
    pub(super) fn new(metrics: Arc<Metrics>, now: fn() -> Millis) -> Self {
        Self {
            metrics,
            now,
            cells: AtomicUsize::new(0),
            lost: AtomicU64::new(0),
        }
    }

    pub(super) fn lose(&self, requests: u64) {
        let before = self.lost.fetch_add(requests, Ordering::Relaxed);
        if before == 0 {
            tracing::error!(
                requests,
                "usage is lost, in the tenants' favour: the store has not taken any for too long"
            );
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// How a request ended, as it is charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended<'a> {
    /// On behalf of which namespace; empty where of none.
    pub namespace: &'a str,
    /// Which kernel.
    pub kernel: &'static str,
    /// Which engines served.
    pub backend: &'static str,
    /// `ok`, the name of a problem, `cancelled` and the like.
    pub outcome: &'static str,
    /// Whether it was let in; one that was refused has used nothing.
    pub admitted: bool,
    /// Bytes of its body that arrived.
    pub bytes_in: u64,
    /// Bytes of its answer that were made.
    pub bytes_out: u64,
    /// What it took.
    pub spent: Spent,
}

impl<'a> Ended<'a> {
    /// One that was not let in.
    #[must_use]
    pub fn refused(principal: &'a Principal, kernel: &'static str, outcome: &'static str) -> Self {
        Self {
            namespace: principal.namespace.as_deref().unwrap_or_default(),
            kernel,
            backend: "none",
            outcome,
            admitted: false,
            bytes_in: 0,
            bytes_out: 0,
            spent: Spent::default(),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct Account {
    tenant: TenantId,
    shared: Arc<Shared>,
    cells: Mutex<Vec<Cell>>,
}

#[derive(Debug)]
struct Cell {
    hour: i64,
    namespace: Box<str>,
    kernel: &'static str,
    backend: &'static str,
    outcome: &'static str,
    admitted: bool,
    requests: u64,
    bytes_in: u64,
    bytes_out: u64,
    device: Duration,
    queue: Duration,
    cpu: Duration,
    reference: Duration,
    fallbacks: u64,
    refusals: u64,
}

impl Account {
    pub(super) const fn new(tenant: TenantId, shared: Arc<Shared>) -> Self {
        Self {
            tenant,
            shared,
            cells: Mutex::new(Vec::new()),
        }
    }

    /// A request has ended now.
    pub fn end(&self, ended: &Ended<'_>) {
        if ended.admitted {
            self.shared.metrics.used(self.tenant.as_str(), ended.spent);
        }
        self.add((self.shared.now)(), ended);
    }

    /// It ended at `at`.
    pub(super) fn add(&self, at: Millis, ended: &Ended<'_>) {
        let hour = at.0 - at.0.rem_euclid(HOUR_MS);
        let mut cells = self.cells.lock();
        if let Some(cell) = cells.iter_mut().find(|cell| cell.is_for(hour, ended)) {
            cell.add(ended);
            return;
        }
        let waiting = self.shared.cells.fetch_add(1, Ordering::Relaxed);
        if waiting >= CELLS_MAX || cells.len() >= CELLS_AN_ACCOUNT_MAX {
            self.shared.cells.fetch_sub(1, Ordering::Relaxed);
            drop(cells);
            self.shared.lose(1);
            return;
        }
        let mut cell = Cell::new(hour, ended);
        cell.add(ended);
        cells.push(cell);
    }

    /// Moves sums to `records` until it has `max`; what is under a microsecond stays out, in the tenant's favour.
    pub(super) fn take(&self, records: &mut Vec<UsageRecord>, max: usize) {
        let mut cells = self.cells.lock();
        let room = max.saturating_sub(records.len());
        let taken = if cells.len() <= room {
            take(&mut *cells)
        } else {
            let kept = cells.len() - room;
            cells.split_off(kept)
        };
        drop(cells);
        self.shared.cells.fetch_sub(taken.len(), Ordering::Relaxed);
        records.extend(taken.into_iter().map(|cell| cell.record(&self.tenant)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.cells.lock().is_empty()
    }
}

impl Cell {
    fn new(hour: i64, ended: &Ended<'_>) -> Self {
        Self {
            hour,
            namespace: ended.namespace.into(),
            kernel: ended.kernel,
            backend: ended.backend,
            outcome: ended.outcome,
            admitted: ended.admitted,
            requests: 0,
            bytes_in: 0,
            bytes_out: 0,
            device: Duration::ZERO,
            queue: Duration::ZERO,
            cpu: Duration::ZERO,
            reference: Duration::ZERO,
            fallbacks: 0,
            refusals: 0,
        }
    }

    fn is_for(&self, hour: i64, ended: &Ended<'_>) -> bool {
        self.hour == hour
            && self.admitted == ended.admitted
            && self.outcome == ended.outcome
            && self.backend == ended.backend
            && self.kernel == ended.kernel
            && *self.namespace == *ended.namespace
    }

    fn add(&mut self, ended: &Ended<'_>) {
        let spent = ended.spent;
        self.requests += 1;
        self.bytes_in = self.bytes_in.saturating_add(ended.bytes_in);
        self.bytes_out = self.bytes_out.saturating_add(ended.bytes_out);
        self.device = self.device.saturating_add(spent.device);
        self.queue = self.queue.saturating_add(spent.queue);
        self.cpu = self.cpu.saturating_add(spent.cpu);
        self.reference = self.reference.saturating_add(spent.reference);
        self.fallbacks += u64::from(spent.fallbacks > 0);
        self.refusals += u64::from(!self.admitted);
    }

    fn record(self, tenant: &TenantId) -> UsageRecord {
        UsageRecord {
            key: UsageKey {
                hour: Millis(self.hour),
                tenant: tenant.as_str().to_owned(),
                namespace: self.namespace.into(),
                kernel: self.kernel.to_owned(),
                backend: self.backend.to_owned(),
                outcome: self.outcome.to_owned(),
                billable: self.admitted && billing::is_billable(self.outcome),
            },
            sums: UsageSums {
                requests: self.requests,
                bytes_in: self.bytes_in,
                bytes_out: self.bytes_out,
                device_us: micros(self.device),
                queue_us: micros(self.queue),
                cpu_us: micros(self.cpu),
                reference_us: micros(self.reference),
                fallbacks: self.fallbacks,
                refusals: self.refusals,
            },
        }
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
