//! A count with a bound: bytes that are taken and given back.
//!
//! Invariant: it never goes over the bound that a take names, nor under zero.

use std::sync::atomic::{AtomicUsize, Ordering};

/// What is used. The bound comes with each take: a tenant's may change from one request to the next.
#[derive(Debug, Default)]
pub(super) struct Budget {
    used: AtomicUsize,
}

impl Budget {
    pub(super) fn used(&self) -> usize {
        self.used.load(Ordering::Acquire)
    }

    /// Takes `amount`, if that leaves no more than `max` used.
    ///
    /// # Errors
    /// What is used; nothing is taken then.
    pub(super) fn take(&self, amount: usize, max: usize) -> Result<(), usize> {
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                used.checked_add(amount).filter(|&sum| sum <= max)
            })
            .map(|_| ())
    }

    /// Gives back at most what is used, and says how much that was.
    pub(super) fn give_back(&self, amount: usize) -> usize {
        let mut given = 0;
        let update = self
            .used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                given = amount.min(used);
                Some(used - given)
            });
        debug_assert!(update.is_ok(), "the closure always answers");
        given
    }
}
