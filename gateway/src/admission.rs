//! Admission: who may begin, decided before a body is first polled.
//!
//! Owns two bounds: requests in flight a tenant, and bytes of bodies in memory for the
//! whole process. Invariant: an [`AdmissionPermit`] is shared by the response body and
//! every job in flight, and everything that it holds goes back exactly once, when the
//! last of them has ended. It does not know who the caller is or what the bytes mean.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use thiserror::Error;

use crate::tenants::{Tenant, TenantId};

/// Bytes of bodies, in and out, that the process holds at once.
pub const BODY_MEMORY_BYTES_MAX: usize = 512 << 20;

/// Admits requests. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Admission {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    memory: Budget,
    in_flight: AtomicUsize,
    draining: AtomicBool,
    /// Bounded by the number of tenants.
    tenants: Mutex<HashMap<TenantId, Arc<AtomicUsize>>>,
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
    /// With `memory_bytes_max` for all bodies together.
    #[must_use]
    pub fn new(memory_bytes_max: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                memory: Budget {
                    max: memory_bytes_max,
                    used: AtomicUsize::new(0),
                },
                in_flight: AtomicUsize::new(0),
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
        let tenant_in_flight = Arc::clone(
            self.inner
                .tenants
                .lock()
                .entry(tenant.id.clone())
                .or_default(),
        );
        let max = tenant.limits.in_flight_max;
        let raised =
            tenant_in_flight.fetch_update(Ordering::AcqRel, Ordering::Acquire, |in_flight| {
                (in_flight < max).then(|| in_flight + 1)
            });
        if let Err(in_flight) = raised {
            return Err(Refusal::TooManyInFlight { in_flight, max });
        }
        self.inner.in_flight.fetch_add(1, Ordering::AcqRel);
        let permit = AdmissionPermit {
            inner: Arc::clone(&self.inner),
            tenant_in_flight,
            bytes: AtomicUsize::new(0),
        };
        // On a refusal the permit's drop gives back what was counted.
        permit.grow(bytes)?;
        Ok(permit)
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
        self.inner.memory.used.load(Ordering::Acquire)
    }
}

/// The right to be served, and the memory to be served in. Its drop gives back both.
#[derive(Debug)]
pub struct AdmissionPermit {
    inner: Arc<Inner>,
    tenant_in_flight: Arc<AtomicUsize>,
    bytes: AtomicUsize,
}

impl AdmissionPermit {
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

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }
}

impl Drop for AdmissionPermit {
    fn drop(&mut self) {
        self.inner.memory.give_back(*self.bytes.get_mut());
        self.tenant_in_flight.fetch_sub(1, Ordering::AcqRel);
        self.inner.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}

#[derive(Debug)]
struct Budget {
    max: usize,
    used: AtomicUsize,
}

impl Budget {
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

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::AcqRel);
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

    #[test]
    fn a_permit_returns_when_its_last_holder_ends() {
        let admission = Admission::new(1000);
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
        let admission = Admission::new(1000);
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
        let admission = Admission::new(1000);
        admission.drain();
        assert_eq!(
            admission.admit(&tenant(1), 0).expect_err("draining"),
            Refusal::Draining
        );
    }
}
