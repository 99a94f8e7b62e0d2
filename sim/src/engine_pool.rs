//! The jobs that wait for a function's engines, and where engines sleep.
//!
//! Owns waiting, resets of the function as engines see them, and hangs. Invariant: at most [`JOBS_PER_ENGINE_MAX`] jobs an engine
//! are taken from queues and not yet completed.
//! It does not know what a job asks for.
//!
//! Lock order: the pool's lock is a leaf.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use faam_hwif::{CommandId, JOBS_PER_ENGINE_MAX, QueueId};
use parking_lot::{Condvar, Mutex};

use crate::job::Job;
use crate::memory::DmaLease;
use crate::search::{Found, Pattern, Search};

/// Longest sleep of an engine without work, milliseconds.
const IDLE_MS_MAX: u64 = 1_000;

/// The jobs that wait for a function's engines.
pub(crate) struct EnginePool {
    state: Mutex<PoolState>,
    changed: Condvar,
    waiting_max: usize,
    /// What a tester asks the engines.
    pub(crate) search: Search,
}

/// What has ended hangs so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    resets: u64,
    resumed: u64,
}

#[derive(Default)]
struct PoolState {
    waiting: VecDeque<Box<Job>>,
    /// Counts resets, which end a hang and a life of the function.
    resets: u64,
    /// Counts ends of hangs that leave the life as it is.
    resumed: u64,
    stopped: bool,
}

impl EnginePool {
    /// A pool for `engines` engines.
    pub(crate) fn new(engines: u8) -> Self {
        // One job runs in each engine; the others wait here.
        let waiting_max = usize::from(engines) * (JOBS_PER_ENGINE_MAX as usize - 1);
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            waiting_max,
            search: Search::default(),
        }
    }

    /// Queues a job, or gives it back if there is no room.
    pub(crate) fn offer(&self, job: Box<Job>) -> Result<(), Box<Job>> {
        let mut state = self.state.lock();
        if state.waiting.len() >= self.waiting_max {
            return Err(job);
        }
        state.waiting.push_back(job);
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Takes a waiting job out, if it has not begun.
    pub(crate) fn take_back(&self, queue: QueueId, id: CommandId) -> Option<Box<Job>> {
        let mut state = self.state.lock();
        let at = state
            .waiting
            .iter()
            .position(|job| job.id == id && job.queue.id() == queue && job.queue.is_alive())?;
        state.waiting.remove(at)
    }

    /// Drops waiting jobs of queues that are gone, and wakes engines that sleep over one.
    pub(crate) fn drop_revoked(&self) {
        self.state
            .lock()
            .waiting
            .retain(|job| !job.queue.lease().is_revoked());
        self.changed.notify_all();
    }

    /// A reset of the function: ends hangs, and the jobs that hang.
    pub(crate) fn reset(&self) {
        self.state.lock().resets += 1;
        self.changed.notify_all();
    }

    /// Ends hangs: engines go on with the jobs that they have.
    pub(crate) fn resume(&self) {
        self.state.lock().resumed += 1;
        self.changed.notify_all();
    }

    /// The card stops: engines return.
    pub(crate) fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    /// Asks so many engines what they hold of a pattern.
    pub(crate) fn find(&self, pattern: Pattern, engines: u8) -> Result<Found, String> {
        self.search.ask(pattern, usize::from(engines), || {
            // Under the lock: an engine looks for questions under it, and would sleep through this one.
            drop(self.state.lock());
            self.changed.notify_all();
        })
    }

    /// The next job and the life that it belongs to, or a question after `answered`; `None` when the card stops.
    pub(crate) fn take(&self, answered: u64) -> Option<Taken> {
        let mut state = self.state.lock();
        loop {
            if state.stopped {
                return None;
            }
            if self.search.is_after(answered) {
                return Some(Taken::Question);
            }
            if let Some(job) = state.waiting.pop_front() {
                // Under the lock that it was taken under. A reset revokes leases before it counts, and enables
                // nothing before it has counted: a job whose lease still holds is of the life read here.
                return Some(Taken::Job(job, state.resets));
            }
            self.changed
                .wait_for(&mut state, Duration::from_millis(IDLE_MS_MAX));
        }
    }

    /// As [`Self::take`], without waiting.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn take_waiting(&self) -> Option<(Box<Job>, u64)> {
        let mut state = self.state.lock();
        let job = state.waiting.pop_front()?;
        Some((job, state.resets))
    }

    /// Sleeps until `time`, or until the lease is revoked or the card stops: `false` then.
    pub(crate) fn sleep_until(&self, time: Instant, lease: &DmaLease) -> bool {
        let mut state = self.state.lock();
        loop {
            if state.stopped || lease.is_revoked() {
                return false;
            }
            if Instant::now() >= time {
                return true;
            }
            self.changed.wait_until(&mut state, time);
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        let state = self.state.lock();
        Mark {
            resets: state.resets,
            resumed: state.resumed,
        }
    }

    /// Hangs until the function is reset or told to go on since `mark`, or the time is over. Whether the job's life ended
    /// meanwhile.
    pub(crate) fn hang(&self, mark: Mark, time: Option<Duration>) -> bool {
        tracing::warn!("an engine hangs, as planned");
        let end = time.map(|time| Instant::now() + time);
        let mut state = self.state.lock();
        while state.resets == mark.resets && state.resumed == mark.resumed && !state.stopped {
            let now = Instant::now();
            let most = now + Duration::from_millis(IDLE_MS_MAX);
            if end.is_some_and(|end| end <= now) {
                break;
            }
            self.changed
                .wait_until(&mut state, end.map_or(most, |end| end.min(most)));
        }
        state.resets != mark.resets || state.stopped
    }
}

/// What an engine does next.
pub(crate) enum Taken {
    /// A job, and the life that it belongs to.
    Job(Box<Job>, u64),
    /// A tester asks what it holds.
    Question,
}
