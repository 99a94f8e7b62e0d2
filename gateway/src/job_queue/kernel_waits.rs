//! Which kernels cards serve now and since when, and how often each was asked for: for whoever has no list of images, and for
//! each list.
//!
//! Owns what tells the time that a job waited for a load from the rest of its waiting, and the counts that the slot policy
//! looks at. Invariants: counts of what was asked for only grow; a job counts as of its tenant's list alone where that has one; a
//! job that takes nothing but a card counts as waiting from its queueing on until it leaves the queue, however it does. It knows
//! nothing of slots: what a function serves is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use faam_sched::{Abilities, Nanos};

use super::image_lists::{KINDS, bit, kinds_of};

/// Kinds of kernels: the bits of [`faam_hwif::Serves`].
pub(crate) const KERNELS: usize = 3;

/// See the module's head. By kind, as [`super::image_lists`] numbers them.
#[derive(Debug)]
pub(super) struct KernelWaits {
    /// Since when some function in service serves each.
    served_since: [Option<Instant>; KINDS],
    demand: [KernelDemand; KINDS],
    /// Jobs in the queue that take nothing else.
    waiting: [Arc<AtomicUsize>; KINDS],
}

impl Default for KernelWaits {
    fn default() -> Self {
        Self {
            served_since: [None; KINDS],
            demand: [KernelDemand::default(); KINDS],
            waiting: std::array::from_fn(|_| Arc::default()),
        }
    }
}

/// A job is in the queue that takes nothing but these kernels; until this is dropped.
#[derive(Debug)]
pub(crate) struct KernelWait(Vec<Arc<AtomicUsize>>);

impl Drop for KernelWait {
    fn drop(&mut self) {
        for count in &self.0 {
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

impl KernelWaits {
    /// What is served has changed.
    pub(super) fn note(&mut self, now: Instant, is_served: impl Fn(Abilities) -> bool) {
        for (number, since) in self.served_since.iter_mut().enumerate() {
            *since = match is_served(bit(number)) {
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
        let counts = kinds_of(needs).filter_map(|kind| self.waiting.get(kind));
        let count = |count: &Arc<AtomicUsize>| {
            count.fetch_add(1, Ordering::Relaxed);
            Arc::clone(count)
        };
        KernelWait(counts.map(count).collect())
    }

    /// Since when a function in service serves what a job needs; `None` while none does.
    pub(super) fn served_since(&self, needs: Abilities) -> Option<Instant> {
        let mut needed = needs.bits();
        needed.try_fold(None, |latest: Option<Instant>, kind| {
            let since = self.served_since.get(kind).copied().flatten()?;
            Some(latest.max(Some(since)))
        })?
    }

    /// A job was queued that needs this of a card, and costs so much; `waits`: it takes nothing else, and no card has it.
    pub(super) fn wanted(&mut self, needs: Abilities, cost: Nanos, waits: Option<Instant>) {
        for kind in kinds_of(needs) {
            if let Some(demand) = self.demand.get_mut(kind) {
                demand.jobs += 1;
                demand.cost_ns = demand.cost_ns.saturating_add(cost.0);
                demand.required_at = waits.or(demand.required_at);
            }
        }
    }

    /// Some kinds are another list's from now on: nobody waits for them yet.
    pub(super) fn begin_anew(&mut self, kinds: Abilities) {
        for kind in kinds.bits() {
            if let Some(demand) = self.demand.get_mut(kind) {
                demand.required_at = None;
            }
        }
    }

    /// How each kind was asked for.
    pub(super) fn demand(&self) -> [KernelDemand; KINDS] {
        self.demand
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job_queue::list_bit;

    const FAST: Abilities = Abilities(1);

    /// What a job of a list with this place needs.
    fn of_list(place: usize) -> Abilities {
        FAST.with(bit(list_bit(place, 0)))
    }

    #[test]
    fn what_a_list_asks_for_counts_for_it_alone() {
        let mut waits = KernelWaits::default();
        let asked = Instant::now();
        waits.wanted(FAST, Nanos(1), None);
        waits.wanted(of_list(3), Nanos(20), Some(asked));
        waits.wanted(of_list(4), Nanos(300), None);
        // A list without a place is nobody's demand.
        waits.wanted(FAST.with(bit(KINDS)), Nanos(4000), Some(asked));
        let demand = waits.demand();
        let of = |kind: usize| {
            demand
                .get(kind)
                .map(|it| (it.jobs, it.cost_ns, it.required_at))
        };
        assert_eq!(of(0), Some((1, 1, None)));
        assert_eq!(of(list_bit(3, 0)), Some((1, 20, Some(asked))));
        assert_eq!(of(list_bit(4, 0)), Some((1, 300, None)));
        assert_eq!(demand.iter().map(|it| it.jobs).sum::<u64>(), 3);
        waits.begin_anew(bit(list_bit(3, 0)));
        let anew = waits.demand();
        let anew = anew.get(list_bit(3, 0));
        assert_eq!(anew.map(|it| (it.jobs, it.required_at)), Some((1, None)));
    }

    #[test]
    fn who_waits_for_an_image_of_its_list_waits_until_that_serves() {
        let mut waits = KernelWaits::default();
        let began = Instant::now();
        // Another image of the kernel serves.
        waits.note(began, |needs| needs == FAST);
        let waiting = waits.waits(of_list(3));
        assert!(waits.note_waiting(began), "for its list");
        let required = |waits: &KernelWaits, kind: usize| waits.demand().get(kind)?.required_at;
        assert_eq!(required(&waits, 0), None);
        assert_eq!(required(&waits, list_bit(3, 0)), Some(began));
        assert_eq!(waits.served_since(of_list(3)), None);
        assert_eq!(waits.served_since(FAST), Some(began));
        let later = began + std::time::Duration::from_millis(30);
        waits.note(later, |needs| FAST.with(of_list(3)).has(needs));
        assert_eq!(waits.served_since(of_list(3)), Some(later));
        assert_eq!(waits.served_since(FAST), Some(began));
        assert!(!waits.note_waiting(later));
        waits.note(later, |_| false);
        drop(waiting);
        assert!(!waits.note_waiting(later), "nobody waits any more");
        assert_eq!(waits.served_since(FAST.with(bit(KINDS))), None);
    }
}
