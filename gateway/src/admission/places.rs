//! A tenant's places: requests that are in flight, and those that are leaving.
//!
//! Why the second: a caller can have its whole answer a moment before the connection has dropped the last of its bytes, and
//! before the thread that made it has let go of its job. Who asks one thing after another would be refused by its own last
//! request. Through a front it leaves once its result is there, before that platform's answer is made of it. Invariants: no more
//! are in flight than the bound that each came in under, and no more than twice the bound are there at all, leaving ones
//! included; one that leaves does so once, and none is in flight and leaving at once. A day's quota of an engine's time is charged
//! when a request has ended, so what may go over it is what twice the bound take. It does not know when a request leaves.

use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of the requests in flight; those above are of the ones that are leaving.
const IN_FLIGHT_BITS: u32 = 32;
const ONE_IN_FLIGHT: u64 = 1;
const ONE_LEAVING: u64 = 1 << IN_FLIGHT_BITS;

/// See the module's head. Both are one number, so that no request is seen in neither place, or in both.
#[derive(Debug, Default)]
pub(super) struct Places(AtomicU64);

impl Places {
    /// A place, where fewer than `max` are in flight, and fewer than twice that are there at all.
    ///
    /// # Errors
    /// So many are in the way.
    pub(super) fn enter(&self, max: usize) -> Result<(), usize> {
        let entered = self
            .0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |counts| {
                (in_the_way(counts, max) < max).then(|| counts + ONE_IN_FLIGHT)
            });
        entered
            .map(|_| ())
            .map_err(|counts| in_the_way(counts, max))
    }

    /// One that was in flight is leaving.
    pub(super) fn leave(&self) {
        self.0
            .fetch_add(ONE_LEAVING - ONE_IN_FLIGHT, Ordering::AcqRel);
    }

    /// One has ended that was in flight, or leaving.
    pub(super) fn end(&self, was_leaving: bool) {
        let one = match was_leaving {
            true => ONE_LEAVING,
            false => ONE_IN_FLIGHT,
        };
        self.0.fetch_sub(one, Ordering::AcqRel);
    }

    /// How many count against this bound, as the next one that enters finds them.
    pub(super) fn in_the_way(&self, max: usize) -> usize {
        in_the_way(self.0.load(Ordering::Acquire), max)
    }

    /// How many are in flight, those that are leaving left out.
    pub(super) fn in_flight(&self) -> usize {
        size(in_flight(self.0.load(Ordering::Acquire)))
    }
}

/// How many count against `max`: those in flight, and those that are leaving beyond it.
fn in_the_way(counts: u64, max: usize) -> usize {
    let leaving = size(counts >> IN_FLIGHT_BITS);
    size(in_flight(counts)).saturating_add(leaving.saturating_sub(max))
}

const fn in_flight(counts: u64) -> u64 {
    counts & (ONE_LEAVING - 1)
}

fn size(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_leaving_gives_its_place_to_the_next_and_no_more_than_the_bound_do() {
        let places = Places::default();
        assert_eq!(places.enter(2), Ok(()));
        assert_eq!(places.enter(2), Ok(()));
        assert_eq!(places.enter(2), Err(2));
        places.leave();
        assert_eq!(places.in_flight(), 1);
        assert_eq!(places.enter(2), Ok(()), "its place is free");
        places.leave();
        assert_eq!(places.enter(2), Ok(()));
        assert_eq!(places.in_flight(), 2);
        // Two in flight and two leaving: a third that leaves is in the way until one of them has gone.
        places.leave();
        assert_eq!((places.in_the_way(2), places.enter(2)), (2, Err(2)));
        places.end(true);
        assert_eq!(places.enter(2), Ok(()));
        for was_leaving in [true, true, false, false] {
            places.end(was_leaving);
        }
        assert_eq!(places.0.load(Ordering::Acquire), 0);
    }

    #[test]
    fn none_enters_where_none_may() {
        let places = Places::default();
        assert_eq!(places.enter(0), Err(0));
    }

    #[test]
    fn a_smaller_bound_holds_from_the_next_on() {
        let places = Places::default();
        for _ in 0..3 {
            places.enter(3).expect("room");
        }
        places.leave();
        assert_eq!(places.enter(1), Err(2));
        places.end(false);
        assert_eq!(places.enter(1), Err(1));
        places.end(false);
        assert_eq!(places.enter(1), Ok(()), "beside the one that is leaving");
    }
}
