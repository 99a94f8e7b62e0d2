//! What happens next: a queue of events in the order of their moments.
//!
//! Owns the order. Invariant: of two events of the same moment the one that was put in first comes first, so that a run is
//! the same each time; putting in and taking out cost O(log n). It does not know what events mean.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::Nanos;

/// Events yet to come.
#[derive(Debug)]
pub(crate) struct EventQueue<E> {
    heap: BinaryHeap<Entry<E>>,
    sequence: u64,
}

#[derive(Debug)]
struct Entry<E> {
    at: Nanos,
    sequence: u64,
    event: E,
}

impl<E> EventQueue<E> {
    pub(crate) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            sequence: 0,
        }
    }

    pub(crate) fn put(&mut self, at: Nanos, event: E) {
        let sequence = self.sequence;
        self.sequence += 1;
        self.heap.push(Entry {
            at,
            sequence,
            event,
        });
    }

    /// The next event and its moment.
    pub(crate) fn take(&mut self) -> Option<(Nanos, E)> {
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }
}

// The heap's largest is the earliest.
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_moment_then_by_turn() {
        let mut events = EventQueue::new();
        for (at, event) in [(3, 'a'), (1, 'b'), (3, 'c'), (2, 'd'), (1, 'e')] {
            events.put(Nanos(at), event);
        }
        let order: String = std::iter::from_fn(|| events.take().map(|(_, event)| event)).collect();
        assert_eq!(order, "bedac");
    }
}
