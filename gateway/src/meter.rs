//! What a request has cost so far.
//!
//! Owns the sums. A request's permit holds its [`Meter`], and so does every job of it, so
//! that work is counted also when its caller has gone; and what it met on its way. Invariant:
//! sums only grow. It does not know what is charged for, nor to whom.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use crate::fault_met::{FailedOn, FaultMet, FaultsMet};
use crate::job::EngineId;
use crate::limit_met::{LimitMet, LimitsMet};

/// Sums of one request. Cheap to add to from any thread.
#[derive(Debug, Default)]
pub struct Meter {
    device_ns: AtomicU64,
    queue_ns: AtomicU64,
    cpu_ns: AtomicU64,
    reference_ns: AtomicU64,
    retried_device_ns: AtomicU64,
    retried_cpu_ns: AtomicU64,
    fallbacks: AtomicU64,
    limits: AtomicU32,
    faults: FaultsMet,
}

/// What a block took, or what a request has taken so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// On cards: modelled or reported by the card.
    pub device: Duration,
    /// In the queue.
    pub queue: Duration,
    /// On CPU engines and for verification.
    pub cpu: Duration,
    /// Charged by the scheduler: time on the reference engine.
    pub reference: Duration,
    /// Blocks that ran elsewhere than was wished.
    pub fallbacks: u64,
}

impl Meter {
    /// Adds what a block took.
    pub fn add(&self, spent: Spent) {
        let add = |sum: &AtomicU64, time: Duration| {
            if !time.is_zero() {
                sum.fetch_add(nanos(time), Ordering::Relaxed);
            }
        };
        add(&self.device_ns, spent.device);
        add(&self.queue_ns, spent.queue);
        add(&self.cpu_ns, spent.cpu);
        add(&self.reference_ns, spent.reference);
        if spent.fallbacks > 0 {
            self.fallbacks.fetch_add(spent.fallbacks, Ordering::Relaxed);
        }
    }

    /// The request met `limit`.
    pub fn met(&self, limit: LimitMet) {
        self.limits.fetch_or(limit.bit(), Ordering::Relaxed);
    }

    /// All that it met so far.
    #[must_use]
    pub fn limits(&self) -> LimitsMet {
        LimitsMet(self.limits.load(Ordering::Relaxed))
    }

    /// A device failed with a block of it in hand.
    pub(crate) fn fault(&self, on: FailedOn, why: &str) {
        self.faults.met(on, why);
    }

    /// A block that came back from there was done by `by`.
    pub(crate) fn done_instead(&self, on: FailedOn, by: EngineId) {
        self.faults.done_instead(on, by);
    }

    /// Devices that failed with blocks of it in hand, so far.
    #[must_use]
    pub fn faults(&self) -> Vec<FaultMet> {
        self.faults.list()
    }

    /// Adds what a card and its verification took of a block that came to nothing and was sent back: it is known, and nobody is
    /// charged for it.
    pub fn add_retried(&self, device: Duration, cpu: Duration) {
        self.retried_device_ns
            .fetch_add(nanos(device), Ordering::Relaxed);
        self.retried_cpu_ns.fetch_add(nanos(cpu), Ordering::Relaxed);
    }

    /// Time on cards, and of verification, of what was sent back so far.
    #[must_use]
    pub fn retried(&self) -> (Duration, Duration) {
        let time = |sum: &AtomicU64| Duration::from_nanos(sum.load(Ordering::Relaxed));
        (time(&self.retried_device_ns), time(&self.retried_cpu_ns))
    }

    /// What was added so far.
    #[must_use]
    pub fn spent(&self) -> Spent {
        let time = |sum: &AtomicU64| Duration::from_nanos(sum.load(Ordering::Relaxed));
        Spent {
            device: time(&self.device_ns),
            queue: time(&self.queue_ns),
            cpu: time(&self.cpu_ns),
            reference: time(&self.reference_ns),
            fallbacks: self.fallbacks.load(Ordering::Relaxed),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_add_is_summed() {
        let meter = Meter::default();
        let block = Spent {
            device: Duration::from_nanos(3),
            cpu: Duration::from_nanos(5),
            fallbacks: 1,
            ..Spent::default()
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..100).for_each(|_| meter.add(block)));
            }
        });
        let spent = meter.spent();
        assert_eq!(spent.device, Duration::from_nanos(1200));
        assert_eq!(spent.cpu, Duration::from_nanos(2000));
        assert_eq!((spent.queue, spent.fallbacks), (Duration::ZERO, 400));
    }
}
