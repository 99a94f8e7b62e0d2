//! What a worker has done so far, for whoever publishes it.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Its value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one worker.
#[derive(Debug, Default)]
pub struct WorkerCounters {
    /// Jobs whose last command completed.
    pub jobs: Counter,
    /// Commands submitted.
    pub commands: Counter,
    /// Times that submissions were published; commands over this is the batch size.
    pub batches: Counter,
    /// Times that it slept.
    pub sleeps: Counter,
    /// Times that it slept to its own limit and then found a completion: the interrupt was lost, or just on its way.
    pub found_by_looking: Counter,
    /// Jobs that the card, or a check before it, called wrong.
    pub refused: Counter,
    /// Jobs whose table the card did not take, done with the fixed code instead.
    pub table_fallbacks: Counter,
    /// Times that a job waited for room in the arena.
    pub arena_waits: Counter,
}
