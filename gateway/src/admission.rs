//! Admission: who may begin, decided before a body is first polled.
//!
//! Owns the bounds: requests in flight a tenant, bytes of bodies in memory for the whole
//! process, bytes spilled to disk a request, a tenant and the process, and the files that
//! they are in a tenant and the process. Invariant: an
//! [`AdmissionPermit`] is shared by the response body and every job in flight, and
//! everything that it holds goes back exactly once, when the last of them has ended. It
//! does not know who the caller is or what the bytes mean.
//!
//! A request takes at its beginning all the memory without which it could come to a stop;
//! what it takes later only lets it go faster, and is refused rather than waited for. So no
//! two requests can wait for each other's memory.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::meter::Meter;
use crate::tenants::{Tenant, TenantId};

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
    memory: Budget,
    spill: Budget,
    spill_tenant_bytes_max: usize,
    spill_request_bytes_max: usize,
    spill_files: Arc<Semaphore>,
    spill_tenant_files_max: usize,
    in_flight: AtomicUsize,
    leaving: AtomicBool,
    draining: AtomicBool,
    /// Bounded by the number of tenants.
    tenants: Mutex<HashMap<TenantId, Arc<TenantUse>>>,
}

/// What one tenant's requests hold.
#[derive(Debug)]
struct TenantUse {
    in_flight: AtomicUsize,
    spill: Budget,
    spill_files: Arc<Semaphore>,
}

/// Why a request may not begin, or not go on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The tenant's own bound on requests in flight.
    #[error("{in_flight} requests of this tenant are in flight; {max} are allowed")]
    TooManyInFlight {
        /// How many there are.
        in_flight: usize,
        /// How many there may be.
        max: usize,
    },
    /// The process's bound on bytes of bodies.
    #[error("{asked} bytes were asked for; {free} of {max} bytes for bodies are free")]
    Saturated {
        /// Bytes that the request needs now.
        asked: usize,
        /// Bytes that are free.
        free: usize,
        /// Bytes in all.
        max: usize,
    },
    /// The process is about to end.
    #[error("the gateway is draining")]
    Draining,
}

impl Admission {
    /// With the bounds of the process.
    #[must_use]
    pub fn new(limits: AdmissionLimits) -> Self {
        Self {
            inner: Arc::new(Inner {
                memory: Budget::new(limits.body_memory_bytes_max),
                spill: Budget::new(limits.spill_bytes_max),
                spill_tenant_bytes_max: limits.spill_tenant_bytes_max,
                spill_request_bytes_max: limits.spill_request_bytes_max,
                spill_files: places(limits.spill_files_max),
                spill_tenant_files_max: limits.spill_tenant_files_max,
                in_flight: AtomicUsize::new(0),
                leaving: AtomicBool::new(false),
                draining: AtomicBool::new(false),
                tenants: Mutex::new(HashMap::new()),
            }),
        }
    }

    /// Lets a request of `tenant` begin with `bytes` of memory.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is held then.
    pub fn admit(&self, tenant: &Tenant, bytes: usize) -> Result<AdmissionPermit, Refusal> {
        if self.is_draining() {
            return Err(Refusal::Draining);
        }
        let tenant_use = {
            let mut tenants = self.inner.tenants.lock();
            // Only a tenant's first request pays for its name's copy.
            match tenants.get(&tenant.id) {
                Some(known) => Arc::clone(known),
                None => Arc::clone(tenants.entry(tenant.id.clone()).or_insert_with(|| {
                    Arc::new(TenantUse {
                        in_flight: AtomicUsize::new(0),
                        spill: Budget::new(self.inner.spill_tenant_bytes_max),
                        spill_files: places(self.inner.spill_tenant_files_max),
                    })
                })),
            }
        };
        let max = tenant.limits.in_flight_max;
        let raised =
            tenant_use
                .in_flight
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |in_flight| {
                    (in_flight < max).then(|| in_flight + 1)
                });
        if let Err(in_flight) = raised {
            return Err(Refusal::TooManyInFlight { in_flight, max });
        }
        self.inner.in_flight.fetch_add(1, Ordering::AcqRel);
        let permit = AdmissionPermit {
            inner: Arc::clone(&self.inner),
            tenant_use,
            bytes: AtomicUsize::new(0),
            spill: Budget::new(self.inner.spill_request_bytes_max),
            meter: Meter::default(),
        };
        // On a refusal the permit's drop gives back what was counted.
        permit.grow(bytes)?;
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

    /// From now on every request is refused.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Release);
    }

    /// Whether [`Admission::drain`] was called.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Acquire)
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
    /// Its use counts what this request spilled, its bound is the request's.
    spill: Budget,
    meter: Meter,
}

impl AdmissionPermit {
    /// What the request has cost so far.
    #[must_use]
    pub const fn meter(&self) -> &Meter {
        &self.meter
    }

    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`Refusal::Saturated`]; what was held before is still held.
    pub fn grow(&self, bytes: usize) -> Result<(), Refusal> {
        self.inner.memory.take(bytes)?;
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
        self.inner.memory.give_back(given);
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

    /// Takes `bytes` of disk, where the request, its tenant and the process each have room for them.
    #[must_use]
    pub fn take_spill(&self, bytes: usize) -> bool {
        let budgets = [&self.spill, &self.tenant_use.spill, &self.inner.spill];
        for (taken, budget) in budgets.into_iter().enumerate() {
            if budget.take(bytes).is_err() {
                for earlier in budgets.into_iter().take(taken) {
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

fn places(max: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(max.min(Semaphore::MAX_PERMITS)))
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        self.inner.memory.give_back(*self.bytes.get_mut());
        self.give_back_spill(self.spill.used());
        self.tenant_use.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.inner.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug)]
struct Budget {
    max: usize,
    used: AtomicUsize,
}

impl Budget {
    const fn new(max: usize) -> Self {
        Self {
            max,
            used: AtomicUsize::new(0),
        }
    }

    fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    fn take(&self, bytes: usize) -> Result<(), Refusal> {
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                used.checked_add(bytes).filter(|&sum| sum <= self.max)
            })
            .map(|_| ())
            .map_err(|used| Refusal::Saturated {
                asked: bytes,
                free: self.max.saturating_sub(used),
                max: self.max,
            })
    }

    /// Gives back at most what is used, and says how much that was.
    fn give_back(&self, bytes: usize) -> usize {
        let mut given = 0;
        let update = self
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                given = bytes.min(used);
                Some(used - given)
            });
        debug_assert!(update.is_ok(), "the closure always answers");
        given
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenants::TenantLimits;

    fn tenant(in_flight_max: usize) -> Tenant {
        Tenant::demo(TenantLimits {
            in_flight_max,
            ..TenantLimits::default()
        })
    }

    fn with_memory(body_memory_bytes_max: usize) -> Admission {
        Admission::new(AdmissionLimits {
            body_memory_bytes_max,
            ..AdmissionLimits::default()
        })
    }

    #[test]
    fn disk_is_bounded_for_a_request_a_tenant_and_the_process() {
        let admission = Admission::new(AdmissionLimits {
            spill_bytes_max: 250,
            spill_tenant_bytes_max: 200,
            spill_request_bytes_max: 100,
            ..AdmissionLimits::default()
        });
        let other = Tenant {
            id: TenantId::new("other"),
            ..tenant(9)
        };
        let admit = |tenant: &Tenant| admission.admit(tenant, 0).expect("room");
        let (first, second, third) = (admit(&tenant(9)), admit(&tenant(9)), admit(&tenant(9)));
        assert!(first.take_spill(100) && !first.take_spill(1), "request");
        assert!(second.take_spill(90) && !third.take_spill(11), "tenant");
        let foreign = admit(&other);
        assert!(foreign.take_spill(60) && !foreign.take_spill(1), "process");
        assert_eq!(admission.spill_bytes(), 250);
        first.give_back_spill(1000);
        assert_eq!(admission.spill_bytes(), 150);
        assert!(third.take_spill(11), "room again");
        drop((first, second, third, foreign));
        assert_eq!(admission.spill_bytes(), 0);
    }

    #[tokio::test]
    async fn one_tenant_cannot_have_all_files() {
        let admission = Admission::new(AdmissionLimits {
            spill_files_max: 3,
            spill_tenant_files_max: 2,
            ..AdmissionLimits::default()
        });
        let other = Tenant {
            id: TenantId::new("other"),
            ..tenant(9)
        };
        let greedy = [(); 3].map(|()| admission.admit(&tenant(9), 0).expect("room"));
        let foreign = [(); 2].map(|()| admission.admit(&other, 0).expect("room"));
        let mut places: Vec<_> = greedy
            .iter()
            .filter_map(AdmissionPermit::try_spill_file)
            .collect();
        assert_eq!(places.len(), 2, "its share");
        // Whoever waits for one of its own tenant's holds nothing meanwhile.
        let mut waits = Box::pin(greedy[2].spill_file());
        assert!(poll(waits.as_mut()).await.is_none());
        let place = foreign[0].try_spill_file().expect("the other's");
        assert!(
            foreign[1].try_spill_file().is_none(),
            "the process has three"
        );
        drop(places.pop());
        let waited = poll(waits.as_mut()).await.expect("one is free");
        drop((waited, places, place));
        assert_eq!(
            foreign
                .iter()
                .filter_map(AdmissionPermit::try_spill_file)
                .count(),
            2,
            "all are back"
        );
    }

    /// One poll, and the result if it is there.
    async fn poll<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            std::task::Poll::Ready(value) => std::task::Poll::Ready(Some(value)),
            std::task::Poll::Pending => std::task::Poll::Ready(None),
        })
        .await
    }

    #[test]
    fn a_permit_returns_when_its_last_holder_ends() {
        let admission = with_memory(1000);
        let permit = Arc::new(admission.admit(&tenant(1), 600).expect("room"));
        let job = Arc::clone(&permit);
        drop(permit);
        assert_eq!((admission.in_flight(), admission.memory_bytes()), (1, 600));
        assert_eq!(
            admission
                .admit(&tenant(1), 1)
                .expect_err("one is in flight"),
            Refusal::TooManyInFlight {
                in_flight: 1,
                max: 1
            }
        );
        drop(job);
        assert_eq!((admission.in_flight(), admission.memory_bytes()), (0, 0));
    }

    #[test]
    fn a_refusal_for_memory_holds_nothing() {
        let admission = with_memory(1000);
        let first = admission.admit(&tenant(9), 900).expect("room");
        assert_eq!(
            admission.admit(&tenant(9), 101).expect_err("100 are free"),
            Refusal::Saturated {
                asked: 101,
                free: 100,
                max: 1000
            }
        );
        assert_eq!((admission.in_flight(), admission.memory_bytes()), (1, 900));
        assert!(first.grow(usize::MAX).is_err());
        first.grow(100).expect("100 are free");
        first.shrink(5000);
        assert_eq!((first.bytes(), admission.memory_bytes()), (0, 0));
        drop(first);
        assert_eq!((admission.in_flight(), admission.memory_bytes()), (0, 0));
    }

    #[test]
    fn draining_refuses_everyone() {
        let admission = with_memory(1000);
        admission.leave();
        assert!(admission.is_leaving() && !admission.is_draining());
        assert!(admission.admit(&tenant(1), 0).is_ok(), "still served");
        admission.drain();
        assert_eq!(
            admission.admit(&tenant(1), 0).expect_err("draining"),
            Refusal::Draining
        );
    }
}
