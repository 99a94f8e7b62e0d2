//! The load's gate and its tally: when callers may call, and what has come of it.
//!
//! Owns what callers and the conductor share. Invariants: while the gate is closed no request is under way once all are parked;
//! the first failure ends everything; each wait has a limit. It does not know what a request is.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Failures that are kept; one is enough to fail.
const FAILURES_MAX: usize = 20;
/// Last notes that are kept, to be shown with a failure.
const NOTES_MAX: usize = 80;
/// Longest time to be told apart, microseconds.
const MICROS_MAX: u64 = 300_000_000;

/// What goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Calm,
    Chaos,
}

/// Failures by what they are called where they are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    pub(crate) lost: u64,
    pub(crate) wrong: u64,
    pub(crate) leaked: u64,
    pub(crate) other: u64,
}

impl Failures {
    fn count(&mut self, why: &str) {
        let count = match () {
            () if why.contains("LOST") => &mut self.lost,
            () if why.contains("WRONG") => &mut self.wrong,
            () if why.contains("LEAK") => &mut self.leaked,
            () => &mut self.other,
        };
        *count += 1;
    }
}

/// See the module's head.
pub(crate) struct Load {
    state: Mutex<State>,
    changed: Condvar,
    began: Instant,
}

struct State {
    open: bool,
    over: bool,
    parked: usize,
    phase: Phase,
    tally: Tally,
    failures: Vec<String>,
    failed: Failures,
    notes: std::collections::VecDeque<String>,
}

/// What requests came to.
#[derive(Clone)]
pub(crate) struct Tally {
    /// All that ended.
    pub(crate) ended: u64,
    pub(crate) by_outcome: BTreeMap<&'static str, u64>,
    /// Right answers by the backend that their heads name.
    pub(crate) by_backend: BTreeMap<String, u64>,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    /// Right answers decoded by other programs as well.
    pub(crate) decoded_by_programs: u64,
    /// Microseconds to a right answer's last byte.
    pub(crate) calm: Histogram<u64>,
    pub(crate) chaos: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        let histogram = || Histogram::new_with_max(MICROS_MAX, 3).expect("bounds that it takes");
        Self {
            ended: 0,
            by_outcome: BTreeMap::new(),
            by_backend: BTreeMap::new(),
            bytes_sent: 0,
            bytes_received: 0,
            decoded_by_programs: 0,
            calm: histogram(),
            chaos: histogram(),
        }
    }
}

impl Load {
    /// Nobody calls yet.
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                open: false,
                over: false,
                parked: 0,
                phase: Phase::Calm,
                tally: Tally::default(),
                failures: Vec::new(),
                failed: Failures::default(),
                notes: std::collections::VecDeque::new(),
            }),
            changed: Condvar::new(),
            began: Instant::now(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A caller's turn, once the gate is open: the phase; `None` when all is over.
    pub(crate) fn enter(&self) -> Option<Phase> {
        let mut state = self.lock();
        state.parked += 1;
        self.changed.notify_all();
        while !state.open && !state.over {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.parked -= 1;
        (!state.over).then_some(state.phase)
    }

    /// What goes on now.
    pub(crate) fn phase(&self) -> Phase {
        self.lock().phase
    }

    /// A request has ended.
    pub(crate) fn count(&self, note: impl FnOnce(&mut Tally)) {
        let mut state = self.lock();
        state.tally.ended += 1;
        note(&mut state.tally);
        drop(state);
        self.changed.notify_all();
    }

    /// Something that must not happen has: everything ends.
    pub(crate) fn fail(&self, why: String) {
        self.note(format!("FAILED {why}"));
        let mut state = self.lock();
        state.failed.count(&why);
        if state.failures.len() < FAILURES_MAX {
            state.failures.push(why);
        }
        state.over = true;
        drop(state);
        self.changed.notify_all();
    }

    /// The same of what whoever conducts the soak found, or was told by [`Load::wait_ended`] and counted then.
    pub(crate) fn fail_unless_known(&self, why: &str) {
        let known = self.lock().failures.iter().any(|failure| failure == why);
        if !known {
            self.fail(why.to_owned());
        }
    }

    /// Failures so far.
    pub(crate) fn failed(&self) -> Failures {
        self.lock().failed
    }

    /// A note for whoever has to understand a failure.
    pub(crate) fn note(&self, what: String) {
        let at = self.began.elapsed().as_secs_f64();
        let mut state = self.lock();
        if state.notes.len() >= NOTES_MAX {
            state.notes.pop_front();
        }
        let ended = state.tally.ended;
        state
            .notes
            .push_back(format!("{at:9.3} s, {ended:7} requests: {what}"));
    }

    /// Opens the gate.
    pub(crate) fn open(&self, phase: Phase) {
        let mut state = self.lock();
        state.open = true;
        state.phase = phase;
        drop(state);
        self.changed.notify_all();
    }

    /// Closes the gate and waits until all callers stand before it.
    pub(crate) fn close(&self, callers: usize, limit: Duration) -> Result<(), String> {
        self.lock().open = false;
        self.wait(limit, |state| state.parked >= callers)
            .and_then(|all| match all {
                true => Ok(()),
                false => {
                    let parked = self.lock().parked;
                    Err(format!(
                        "LOST: {} requests have not ended within {} s",
                        callers - parked,
                        limit.as_secs()
                    ))
                }
            })
    }

    /// Waits until so many more requests have ended, or the limit has passed.
    pub(crate) fn wait_ended(&self, more: u64, limit: Duration) -> Result<bool, String> {
        let target = self.lock().tally.ended + more;
        self.wait(limit, |state| state.tally.ended >= target)
    }

    /// Ends everything.
    pub(crate) fn finish(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    /// The tally so far.
    pub(crate) fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// Failures, and the last notes.
    pub(crate) fn story(&self) -> (Vec<String>, Vec<String>) {
        let state = self.lock();
        (
            state.failures.clone(),
            state.notes.iter().cloned().collect(),
        )
    }

    fn wait(&self, limit: Duration, done: impl Fn(&State) -> bool) -> Result<bool, String> {
        let waiting = |state: &mut State| !done(state) && state.failures.is_empty();
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), limit, waiting)
            .unwrap_or_else(PoisonError::into_inner);
        match state.failures.first() {
            Some(failure) => Err(failure.clone()),
            None => Ok(done(&state)),
        }
    }
}

#[test]
fn failures_are_counted_by_what_they_are_called() {
    let load = Load::new();
    load.fail("caller 3: after 9 ms: LOST: no head, then the end".to_owned());
    load.fail("caller 4: WRONG: other bytes than the source".to_owned());
    let leak = "not within 20 s: gauges are back at 0: LEAK: faam_inflight is 1";
    load.fail(leak.to_owned());
    load.fail_unless_known(leak);
    load.fail_unless_known("/readyz says that it is not ready");
    let expected = Failures {
        lost: 1,
        wrong: 1,
        leaked: 1,
        other: 1,
    };
    assert_eq!(load.failed(), expected);
}
