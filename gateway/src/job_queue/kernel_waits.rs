//! Which kernels cards serve now and since when, and how often each was asked for.
//!
//! Owns what tells the time that a job waited for a load from the rest of its waiting, and the counts that the slot policy
//! looks at. Invariants: counts of what was asked for only grow; a job that takes nothing but a card counts as waiting from its
//! queueing on until it leaves the queue, however it does. It knows nothing of slots: what a function serves is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use faam_sched::{Abilities, Nanos};

/// Kinds of kernels: the bits of [`faam_hwif::Serves`].
pub(crate) const KERNELS: usize = 3;

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct KernelWaits {
    /// Since when some function in service serves each.
    served_since: [Option<Instant>; KERNELS],
    demand: [KernelDemand; KERNELS],
    /// Jobs in the queue that take nothing else.
    waiting: [Arc<AtomicUsize>; KERNELS],
}

/// A job is in the queue that takes nothing but these kernels; until this is dropped.
#[derive(Debug)]
pub(crate) struct KernelWait([Option<Arc<AtomicUsize>>; KERNELS]);

impl Drop for KernelWait {
    fn drop(&mut self) {
        for count in self.0.iter().flatten() {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// How a kernel was asked for since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KernelDemand {
    /// Jobs that might have run on a card.
    pub(crate) jobs: u64,
    /// What they cost on the reference engine, as predicted, nanoseconds.
    pub(crate) cost_ns: u64,
    /// When a job was queued last that took nothing else, and no card had it.
    pub(crate) required_at: Option<Instant>,
}

/// A kernel by its number.
pub(crate) fn kernel(number: usize) -> Abilities {
    Abilities(
        1u64.checked_shl(u32::try_from(number).unwrap_or(u32::MAX))
            .unwrap_or(0),
    )
}

impl KernelWaits {
    /// What is served has changed.
    pub(super) fn note(&mut self, now: Instant, is_served: impl Fn(Abilities) -> bool) {
        for (number, since) in self.served_since.iter_mut().enumerate() {
            *since = match is_served(kernel(number)) {
                true => since.or(Some(now)),
                false => None,
            };
        }
    }

    /// Notes that jobs wait for what no card serves, where any do; whether any do.
    pub(super) fn note_waiting(&mut self, now: Instant) -> bool {
        let mut any = false;
        let waiting = self.waiting.iter().zip(&self.served_since);
        for (demand, (count, since)) in self.demand.iter_mut().zip(waiting) {
            if since.is_none() && count.load(Ordering::Relaxed) > 0 {
                demand.required_at = Some(now);
                any = true;
            }
        }
        any
    }

    /// A job is queued that takes nothing but a card with these kernels.
    pub(super) fn waits(&self, needs: Abilities) -> KernelWait {
        let mut number = 0;
        KernelWait(self.waiting.each_ref().map(|count| {
            let needed = needs.has(kernel(number));
            number += 1;
            needed.then(|| {
                count.fetch_add(1, Ordering::Relaxed);
                Arc::clone(count)
            })
        }))
    }

    /// Since when a function in service serves what a job needs; `None` while none does.
    pub(super) fn served_since(&self, needs: Abilities) -> Option<Instant> {
        let needed = self.served_since.iter().enumerate();
        let mut needed = needed.filter(|(number, _)| needs.has(kernel(*number)));
        needed.try_fold(None, |latest: Option<Instant>, (_, since)| {
            Some(latest.max(Some((*since)?)))
        })?
    }

    /// A job was queued that needs this of a card, and costs so much; `waits`: it takes nothing else, and no card has it.
    pub(super) fn wanted(&mut self, needs: Abilities, cost: Nanos, waits: Option<Instant>) {
        for (number, demand) in self.demand.iter_mut().enumerate() {
            if needs.has(kernel(number)) {
                demand.jobs += 1;
                demand.cost_ns = demand.cost_ns.saturating_add(cost.0);
                demand.required_at = waits.or(demand.required_at);
            }
        }
    }

    /// How each kernel was asked for.
    pub(super) fn demand(&self) -> [KernelDemand; KERNELS] {
        self.demand
    }
}
