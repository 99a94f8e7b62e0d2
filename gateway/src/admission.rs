//! Admission: who may begin, decided before a body is first polled.
//!
//! Owns the bounds: of the process, bytes of bodies in memory, bytes of answers on disk and the files that they are in; of
//! each tenant, the same, requests in flight (`places`), and what `ledger` keeps: rates and quotas of a day. Invariants: an
//! [`AdmissionPermit`] is shared by the response body and every job in flight, and everything that it holds goes back
//! exactly once, when the last of them has ended, but for its place, which is the next one's from `leave` on; a request that is refused takes nothing; one that is admitted has paid,
//! whatever becomes of it. A tenant's limits are those of the tenant that a request comes with, so that a change acts at
//! its next request. It does not know who the caller is or what the bytes mean.
//!
//! A request takes at its beginning all the memory without which it could come to a stop;
//! what it takes later only lets it go faster, and is refused rather than waited for. So no
//! two requests can wait for each other's memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use faam_sched::Nanos;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::budget::Budget;
use self::clock::{Clock, nanos};
use self::ledger::{Paid, Payment};
use self::tenant_use::{TenantTable, TenantUse, file_places};
use crate::meter::Meter;
use crate::tenants::{Tenant, TenantId};
use crate::usage::tab::Tab;

mod allowed;
mod budget;
pub mod clock;
mod ledger;
mod places;
mod refusal;
mod service_limits;
mod tenant_use;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub use self::allowed::{CalledKernel, NotAllowed, engines};
pub use self::ledger::{BODY_PACED_MAX, DayUse};
pub use self::refusal::{Quota, Rate, Refusal};
pub(crate) use self::service_limits::is_limited;
pub use self::service_limits::{ServiceLimit, Unit};

/// Bytes of bodies, in and out, that the process holds at once.
pub const BODY_MEMORY_BYTES_MAX: usize = 512 << 20;
/// Bytes of answers that the process keeps on disk for callers who do not read yet.
pub const SPILL_BYTES_MAX: usize = 16 << 30;
/// The same of one tenant.
pub const SPILL_TENANT_BYTES_MAX: usize = 8 << 30;
/// The same of one request.
pub const SPILL_REQUEST_BYTES_MAX: usize = 1 << 30;
/// Files that answers are spilled to at once, each of which is a descriptor of the process's (see `crate::descriptors`).
pub const SPILL_FILES_MAX: usize = 512;
/// The same of one tenant: half, so that another finds a place whatever the first one does.
pub const SPILL_TENANT_FILES_MAX: usize = 256;

/// Bounds of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// See [`BODY_MEMORY_BYTES_MAX`].
    pub body_memory_bytes_max: usize,
    /// See [`SPILL_BYTES_MAX`].
    pub spill_bytes_max: usize,
    /// See [`SPILL_TENANT_BYTES_MAX`].
    pub spill_tenant_bytes_max: usize,
    /// See [`SPILL_REQUEST_BYTES_MAX`].
    pub spill_request_bytes_max: usize,
    /// See [`SPILL_FILES_MAX`].
    pub spill_files_max: usize,
    /// See [`SPILL_TENANT_FILES_MAX`].
    pub spill_tenant_files_max: usize,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            body_memory_bytes_max: BODY_MEMORY_BYTES_MAX,
            spill_bytes_max: SPILL_BYTES_MAX,
            spill_tenant_bytes_max: SPILL_TENANT_BYTES_MAX,
            spill_request_bytes_max: SPILL_REQUEST_BYTES_MAX,
            spill_files_max: SPILL_FILES_MAX,
            spill_tenant_files_max: SPILL_TENANT_FILES_MAX,
        }
    }
}

/// Admits requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limits: AdmissionLimits,
    clock: Clock,
    memory: Budget,
    spill: Budget,
    spill_files: Arc<Semaphore>,
    in_flight: AtomicUsize,
    leaving: AtomicBool,
    draining: AtomicBool,
    drain: Mutex<DrainTimes>,
    tenants: TenantTable,
}

/// A drain's, where there is one.
#[derive(Clone, Copy, Debug, Default)]
struct DrainTimes {
    /// Who began before is let in.
    began: Nanos,
    ends: Nanos,
}

/// What a request asks for at its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// Bytes of memory.
    pub memory_bytes: usize,
    /// Bytes of its body, where they are announced.
    pub body_bytes: Option<u64>,
    /// How long ago its head was complete. A front asks for a body before it knows whose request it is.
    pub age: Duration,
}

impl From<usize> for Ask {
    /// So much memory, for a body of nothing.
    fn from(memory_bytes: usize) -> Self {
        Self {
            memory_bytes,
            body_bytes: Some(0),
            age: Duration::ZERO,
        }
    }
}

/// What a tenant's requests hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// Requests in flight, without those whose answer is leaving.
    pub in_flight: usize,
    /// Bytes of bodies in memory.
    pub memory_bytes: usize,
    /// Bytes of answers on disk.
    pub spill_bytes: usize,
}

impl Admission {
    /// With the bounds of the process.
    #[must_use]
    pub fn new(limits: AdmissionLimits) -> Self {
        Self::with_clock(limits, Clock::system())
    }

    /// The same by another clock.
    #[must_use]
    pub fn with_clock(limits: AdmissionLimits, clock: Clock) -> Self {
        Self {
            inner: Arc::new(Inner {
                limits,
                clock,
                memory: Budget::default(),
                spill: Budget::default(),
                spill_files: file_places(limits.spill_files_max),
                in_flight: AtomicUsize::new(0),
                leaving: AtomicBool::new(false),
                draining: AtomicBool::new(false),
                drain: Mutex::default(),
                tenants: TenantTable::new(limits.spill_tenant_files_max),
            }),
        }
    }

    /// Lets a request of `tenant` begin with what it asks for.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is held then, and nothing paid.
    pub fn admit(&self, tenant: &Tenant, ask: impl Into<Ask>) -> Result<AdmissionPermit, Refusal> {
        let ask = ask.into();
        if self.is_draining() && !self.began_before_drain(ask.age) {
            return Err(Refusal::Draining {
                left: self.drain_left(),
            });
        }
        let tenant_use = self.inner.tenants.of(&tenant.id);
        let max = tenant.limits.in_flight_max;
        if let Err(in_flight) = tenant_use.places.enter(max) {
            return Err(Refusal::TooManyInFlight { in_flight, max });
        }
        self.inner.in_flight.fetch_add(1, Ordering::AcqRel);
        let limits = &self.inner.limits;
        let mut permit = AdmissionPermit {
            inner: Arc::clone(&self.inner),
            tenant_use,
            bytes: AtomicUsize::new(0),
            memory_max: tenant.limits.memory_bytes_max.unwrap_or(usize::MAX),
            spill: Budget::default(),
            spill_tenant_max: tenant
                .limits
                .spill_bytes_max
                .map_or(limits.spill_tenant_bytes_max, |max| {
                    max.min(limits.spill_tenant_bytes_max)
                }),
            tab: Tab::default(),
            prepaid: AtomicU64::new(0),
            reserved: AtomicU64::new(0),
            paid: Paid::default(),
            is_paced: tenant.limits.bytes_per_s.is_some(),
            leaving: AtomicBool::new(false),
        };
        // On a refusal the permit's drop gives back what was counted.
        permit.grow(ask.memory_bytes)?;
        let now = self.inner.clock.now();
        let day = self.inner.clock.day(now);
        // Last, and all or nothing: what is paid is not given back.
        let paid = permit.tenant_use.ledger.lock().admit(
            &tenant.limits,
            ask.body_bytes,
            now,
            day,
            || self.inner.clock.day_left(),
        )?;
        *permit.prepaid.get_mut() = paid.bytes;
        *permit.reserved.get_mut() = paid.reserved;
        permit.paid = paid;
        Ok(permit)
    }

    /// From now on no more callers should be sent here; those who come are served all the same.
    pub fn leave(&self) {
        self.inner.leaving.store(true, Ordering::Release);
    }

    /// Whether [`Admission::leave`] was called, or [`Admission::drain`].
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.inner.leaving.load(Ordering::Acquire) || self.is_draining()
    }

    /// From now on every request that begins is refused; what is in flight, or has begun, ends within `limit`.
    pub fn drain(&self, limit: Duration) {
        let began = self.inner.clock.now();
        let ends = Nanos(began.0.saturating_add(nanos(limit)));
        *self.inner.drain.lock() = DrainTimes { began, ends };
        self.inner.draining.store(true, Ordering::Release);
    }

    /// Whether [`Admission::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Acquire)
    }

    /// Whether a request that is so old was there before the drain, which has not ended.
    fn began_before_drain(&self, age: Duration) -> bool {
        let times = *self.inner.drain.lock();
        let now = self.inner.clock.now();
        now.0.saturating_sub(nanos(age)) < times.began.0 && now < times.ends
    }

    /// Whether the drain's limit has passed: what has not ended by then is broken off.
    #[must_use]
    pub fn is_drain_over(&self) -> bool {
        self.is_draining() && self.drain_left().is_zero()
    }

    /// What is left of the drain's limit.
    #[must_use]
    pub fn drain_left(&self) -> Duration {
        let ends = self.inner.drain.lock().ends;
        Duration::from_nanos(ends.since(self.inner.clock.now()).0)
    }

    /// Forgets what is known of all tenants but these: for whoever takes tenants away. What their requests still hold
    /// stays counted for the process.
    pub fn retain_tenants(&self, known: impl Fn(&TenantId) -> bool) {
        self.inner.tenants.retain(known);
    }

    /// Tenants of which something is known.
    #[must_use]
    pub fn tenants(&self) -> usize {
        self.inner.tenants.len()
    }

    /// Adds what a tenant used of a day before this process counted, so that a restart gives no second day.
    pub fn add_day_use(&self, tenant: &TenantId, used: DayUse) {
        let day = self.inner.clock.day(self.inner.clock.now());
        self.inner.tenants.of(tenant).ledger.lock().add(used, day);
    }

    /// What a tenant used of the present UTC day.
    #[must_use]
    pub fn day_use(&self, tenant: &TenantId) -> DayUse {
        let day = self.inner.clock.day(self.inner.clock.now());
        self.inner.tenants.of(tenant).ledger.lock().day(day)
    }

    /// What a tenant's requests hold.
    #[must_use]
    pub fn holding(&self, tenant: &TenantId) -> Holding {
        let held = self.inner.tenants.of(tenant);
        Holding {
            in_flight: held.places.in_flight(),
            memory_bytes: held.memory.used(),
            spill_bytes: held.spill.used(),
        }
    }

    /// Permits that have not come back.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.in_flight.load(Ordering::Acquire)
    }

    /// Bytes that permits hold.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.inner.memory.used()
    }

    /// Bytes that permits hold on disk.
    #[must_use]
    pub fn spill_bytes(&self) -> usize {
        self.inner.spill.used()
    }
}

/// The right to be served, and the memory to be served in. Its drop gives back both.
#[derive(Debug)]
pub struct AdmissionPermit {
    inner: Arc<Inner>,
    tenant_use: Arc<TenantUse>,
    bytes: AtomicUsize,
    /// The tenant's bound on memory.
    memory_max: usize,
    /// Its use counts what this request spilled, its bound is the request's.
    spill: Budget,
    /// The tenant's bound on disk.
    spill_tenant_max: usize,
    tab: Tab,
    /// Bytes of the body that are paid for and have not arrived.
    prepaid: AtomicU64,
    /// Bytes of the body that the day counts and that have not arrived.
    reserved: AtomicU64,
    paid: Paid,
    /// Whether bytes that are not paid for have to be.
    is_paced: bool,
    /// Whether its caller has its answer, or is about to.
    leaving: AtomicBool,
}

impl AdmissionPermit {
    /// What the request has cost so far.
    #[must_use]
    pub const fn meter(&self) -> &Meter {
        self.tab.meter()
    }

    /// What it will be charged, and to whom.
    #[must_use]
    pub const fn tab(&self) -> &Tab {
        &self.tab
    }

    /// Its caller is about to have all of its answer, and may ask again before the last of what it holds has come back: its
    /// place among its tenant's requests is the next one's. The process counts it as long as it lives.
    pub(crate) fn leave(&self) {
        if !self.leaving.swap(true, Ordering::AcqRel) {
            self.tenant_use.places.leave();
        }
    }

    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`Refusal`]; what was held before is still held.
    pub fn grow(&self, bytes: usize) -> Result<(), Refusal> {
        let tenant = &self.tenant_use.memory;
        if let Err(used) = tenant.take(bytes, self.memory_max) {
            let (asked, max) = (bytes, self.memory_max);
            return Err(
                if self.bytes().checked_add(bytes).is_none_or(|sum| sum > max) {
                    Refusal::BeyondMemory { asked, max }
                } else {
                    Refusal::TenantMemory { asked, used, max }
                },
            );
        }
        let max = self.inner.limits.body_memory_bytes_max;
        if let Err(used) = self.inner.memory.take(bytes, max) {
            tenant.give_back(bytes);
            return Err(Refusal::Saturated {
                asked: bytes,
                free: max.saturating_sub(used),
                max,
            });
        }
        self.bytes.fetch_add(bytes, Ordering::AcqRel);
        Ok(())
    }

    /// Gives back `bytes` before the end, at most what is held.
    pub fn shrink(&self, bytes: usize) {
        let mut given = 0;
        let update = self
            .bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
                given = bytes.min(held);
                Some(held - given)
            });
        debug_assert!(update.is_ok(), "the closure always answers");
        self.give_back_memory(given);
    }

    fn give_back_memory(&self, bytes: usize) {
        self.inner.memory.give_back(bytes);
        self.tenant_use.memory.give_back(bytes);
    }

    /// Gives back all but `bytes`.
    pub fn shrink_to(&self, bytes: usize) {
        self.shrink(self.bytes().saturating_sub(bytes));
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// So many bytes of the body have arrived: how many of them are still to be paid for, by [`AdmissionPermit::pay`],
    /// before they go on.
    #[must_use]
    pub fn arrived(&self, bytes: u64) -> u64 {
        let take = |from: &AtomicU64| {
            let mut taken = 0;
            let update = from.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| {
                taken = bytes.min(left);
                Some(left - taken)
            });
            debug_assert!(update.is_ok(), "the closure always answers");
            bytes - taken
        };
        let unannounced = take(&self.reserved);
        if unannounced > 0 {
            let day = self.inner.clock.day(self.inner.clock.now());
            self.tenant_use.ledger.lock().arrived(unannounced, day);
        }
        if self.is_paced {
            take(&self.prepaid)
        } else {
            0
        }
    }

    /// Pays for `bytes` of the body at the tenant's rate: how many are left to be paid, and after which time to try.
    #[must_use]
    pub fn pay(&self, bytes: u64) -> Option<(u64, Duration)> {
        let now = self.inner.clock.now();
        match self.tenant_use.ledger.lock().pay(bytes, now) {
            Payment::Done => None,
            Payment::Rest(rest, wait) => Some((rest, wait)),
        }
    }

    /// Takes `bytes` of disk, where the request, its tenant and the process each have room for them.
    #[must_use]
    pub fn take_spill(&self, bytes: usize) -> bool {
        let limits = &self.inner.limits;
        let budgets = [
            (&self.spill, limits.spill_request_bytes_max),
            (&self.tenant_use.spill, self.spill_tenant_max),
            (&self.inner.spill, limits.spill_bytes_max),
        ];
        for (taken, (budget, max)) in budgets.into_iter().enumerate() {
            if budget.take(bytes, max).is_err() {
                for (earlier, _) in budgets.into_iter().take(taken) {
                    earlier.give_back(bytes);
                }
                return false;
            }
        }
        true
    }

    /// A place among the files that answers are spilled to, if the tenant and the process each have one now.
    #[must_use]
    pub fn try_spill_file(&self) -> Option<SpillFilePermit> {
        let [tenant, process] = self.spill_places();
        let tenant = tenant.try_acquire_owned().ok()?;
        let process = process.try_acquire_owned().ok()?;
        Some(SpillFilePermit { process, tenant })
    }

    /// The same, once there is one. May be dropped while it waits.
    pub async fn spill_file(&self) -> SpillFilePermit {
        let [tenant, process] = self.spill_places();
        // The tenant's first: whoever waits for its own tenant keeps no other tenant's from a place.
        match (tenant.acquire_owned().await, process.acquire_owned().await) {
            (Ok(tenant), Ok(process)) => SpillFilePermit { process, tenant },
            // Nobody closes the semaphores.
            _ => std::future::pending().await,
        }
    }

    fn spill_places(&self) -> [Arc<Semaphore>; 2] {
        [&self.tenant_use.spill_files, &self.inner.spill_files].map(Arc::clone)
    }

    /// Gives back `bytes` of disk, at most what is held.
    pub fn give_back_spill(&self, bytes: usize) {
        let given = self.spill.give_back(bytes);
        self.tenant_use.spill.give_back(given);
        self.inner.spill.give_back(given);
    }
}

/// The right to have one file with a spilled answer open. Its drop gives it back.
#[derive(Debug)]
#[expect(dead_code, reason = "held for their drop")]
pub struct SpillFilePermit {
    process: OwnedSemaphorePermit,
    tenant: OwnedSemaphorePermit,
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        let held = *self.bytes.get_mut();
        self.give_back_memory(held);
        self.give_back_spill(self.spill.used());
        let (unused, reference) = (*self.reserved.get_mut(), self.meter().spent().reference);
        if unused > 0 || !reference.is_zero() {
            let day = self.inner.clock.day(self.inner.clock.now());
            let mut ledger = self.tenant_use.ledger.lock();
            ledger.end(unused, self.paid.day, reference, day);
        }
        // Whoever waits for the process's last request to end finds its usage in its account.
        drop(std::mem::take(&mut self.tab));
        self.tenant_use.places.end(*self.leaving.get_mut());
        self.inner.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
