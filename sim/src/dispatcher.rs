//! The dispatcher: the function's processor, which fetches entries and hands them on.
//!
//! Owns the order in which queues are served. Invariants:
//! - round robin: a queue gives at most [`FETCH_BATCH`] entries before the next one is looked at;
//! - an entry that no engine has room for is held, and its queue waits; the others do not;
//! - with nothing to do it polls for [`SPIN_US`] at most, then asks every queue for a kick, looks once more, and sleeps.
//!
//! Admin commands and Nops are executed here; everything else by engines.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use faam_hwif::error::ErrorCode;
use faam_hwif::{CommandId, CompletionEntry, QueueId, Status, SubmissionEntry};

use crate::admin;
use crate::faults::Fault;
use crate::function::{Function, not_all_ones};
use crate::function_faults::Strikes;
use crate::job::{self, Job};
use crate::queues::Queue;

/// Entries fetched from a queue before the next queue's turn.
const FETCH_BATCH: u32 = 16;
/// Polling after the last entry found, microseconds: less than a wake-up costs the host.
const SPIN_US: u64 = 30;
/// Longest sleep, milliseconds: the heartbeat has to advance every 100.
const BEAT_MS: u64 = 50;
/// Sleep while a queue waits for room in its completion queue, microseconds: its head moves without a kick.
const FULL_POLL_US: u64 = 500;
/// Time that a completion queue may be full before that is an error, milliseconds.
const FULL_MS_MAX: u64 = 1_000;

/// What the dispatcher knows of a queue.
struct Lane {
    queue: Arc<Queue>,
    /// Tail as last read and found valid.
    tail: u32,
    /// Completion head as last read and found valid.
    head: u32,
    /// An invalid index that has been noted, so that it is noted once.
    bad_index: Option<u32>,
    /// A job that was fetched, and that no engine had room for.
    held: Option<Box<Job>>,
    /// Since when the completion queue has been full with work waiting.
    full_since: Option<Instant>,
    /// That it was full for too long has been noted.
    full_noted: bool,
}

/// The lanes of a function.
#[derive(Default)]
pub(crate) struct Lanes {
    lanes: Vec<Lane>,
    version: u64,
}

impl Lanes {
    /// Takes a held job out.
    pub(crate) fn take_held(&mut self, queue: QueueId, id: CommandId) -> Option<Box<Job>> {
        self.lanes
            .iter_mut()
            .find(|lane| lane.queue.id() == queue && lane.queue.is_alive())?
            .held
            .take_if(|job| job.id == id)
    }

    /// Follows the table: lanes of queues that are gone end, with what they held.
    fn follow(&mut self, function: &Function) {
        let version = function.queues.version();
        if version == self.version {
            return;
        }
        self.version = version;
        let queues = function.queues.all();
        self.lanes
            .retain(|lane| queues.iter().any(|queue| Arc::ptr_eq(queue, &lane.queue)));
        for queue in queues {
            if !self
                .lanes
                .iter()
                .any(|lane| Arc::ptr_eq(&lane.queue, &queue))
            {
                self.lanes.push(Lane::new(queue));
            }
        }
        self.lanes.sort_by_key(|lane| lane.queue.id());
    }
}

impl Lane {
    fn new(queue: Arc<Queue>) -> Self {
        Self {
            queue,
            tail: 0,
            head: 0,
            bad_index: None,
            held: None,
            full_since: None,
            full_noted: false,
        }
    }
}

/// What a turn at a queue came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Entries were fetched, or a held job found its engine.
    Progress,
    /// Nothing to fetch.
    Empty,
    /// An entry is held until an engine has room.
    Held,
    /// No room for completions.
    Full,
    /// The queue takes no part any more.
    Dead,
}

/// Serves the function's queues until `stopped` says so.
pub(crate) fn run(function: &Function, stopped: &dyn Fn() -> bool) {
    let mut lanes = Lanes::default();
    let mut first = 0usize;
    let mut last_work = Instant::now();
    let mut last_beat = Instant::now();
    while !stopped() {
        let now = Instant::now();
        if now.duration_since(last_beat) >= Duration::from_millis(BEAT_MS) {
            last_beat = now;
            let step = u32::from(!function.faults.on(Fault::HeartbeatStands));
            let beat = function
                .heartbeat
                .load(Ordering::Relaxed)
                .wrapping_add(step);
            function
                .heartbeat
                .store(not_all_ones(beat), Ordering::Relaxed);
        }
        lanes.follow(function);
        let count = lanes.lanes.len();
        first = (first + 1) % count.max(1);
        let mut turns = Turns::default();
        for n in 0..count {
            turns.note(serve(function, &mut lanes, (first + n) % count.max(1)));
        }
        if turns.progress {
            last_work = now;
            continue;
        }
        if now.duration_since(last_work) < Duration::from_micros(SPIN_US) && count > 0 {
            std::hint::spin_loop();
            continue;
        }
        if storm(function, &lanes) || arm(function, &mut lanes) {
            continue;
        }
        let sleep = if turns.full {
            Duration::from_micros(FULL_POLL_US)
        } else {
            Duration::from_millis(BEAT_MS)
        };
        if function.bell.wait(sleep) {
            last_work = Instant::now();
        }
    }
}

/// One turn at every queue, and the question for a kick that comes before sleep. Whether there is more to do.
#[cfg(any(test, fuzzing))]
pub(crate) fn turn(function: &Function, lanes: &mut Lanes) -> bool {
    lanes.follow(function);
    let mut turns = Turns::default();
    for n in 0..lanes.lanes.len() {
        turns.note(serve(function, lanes, n));
    }
    turns.progress || arm(function, lanes)
}

#[derive(Default)]
struct Turns {
    progress: bool,
    full: bool,
}

impl Turns {
    fn note(&mut self, turn: Turn) {
        self.progress |= turn == Turn::Progress;
        self.full |= turn == Turn::Full;
    }
}

/// One queue's turn.
fn serve(function: &Function, lanes: &mut Lanes, index: usize) -> Turn {
    let Some(lane) = lanes.lanes.get_mut(index) else {
        return Turn::Dead;
    };
    if !lane.queue.is_alive() {
        lane.held = None;
        return Turn::Dead;
    }
    let queue = Arc::clone(&lane.queue);
    let mut outcome = Turn::Empty;
    if let Some(job) = lane.held.take() {
        if let Err(job) = function.pool.offer(job) {
            lane.held = Some(job);
            return Turn::Held;
        }
        outcome = Turn::Progress;
    }
    for _ in 0..FETCH_BATCH {
        let Some(lane) = lanes.lanes.get_mut(index) else {
            break;
        };
        if !lane.has_entry(function) {
            break;
        }
        if !lane.has_room(function) {
            if outcome == Turn::Empty {
                outcome = Turn::Full;
            }
            break;
        }
        let entry = match queue.fetch() {
            Ok(entry) => entry,
            Err(fault) => {
                queue.break_down(fault, &function.errors);
                return Turn::Dead;
            }
        };
        outcome = Turn::Progress;
        if queue.id() == QueueId::ADMIN {
            admin::execute(function, &queue, lanes, &entry);
        } else if let Some(job) = begin(function, &queue, &entry)
            && let Err(job) = function.pool.offer(job)
        {
            lane.held = Some(job);
            break;
        }
    }
    queue.announce(&function.msix, &function.errors);
    outcome
}

/// Completes what needs no engine; the job, if one is needed.
fn begin(function: &Function, queue: &Arc<Queue>, entry: &SubmissionEntry) -> Option<Box<Job>> {
    let (status, info) = match job::decode(entry) {
        Ok(Some(work)) => {
            return Some(Box::new(Job {
                queue: Arc::clone(queue),
                id: entry.command_id(),
                context: entry.context,
                work,
                slot: entry.slot.checked_sub(1),
                fetched_at: Instant::now(),
                timeout_us: entry.timeout_us,
                strikes: Strikes::default(),
            }));
        }
        Ok(None) => (Status::Success, 0),
        Err(_) if function.faults.on(Fault::TakesAnyField) => (Status::Success, 0),
        Err(refusal) => refusal,
    };
    function.health.jobs.fetch_add(1, Ordering::Relaxed);
    if status != Status::Success {
        function.health.jobs_failed.fetch_add(1, Ordering::Relaxed);
    }
    let completion = CompletionEntry {
        cid: entry.cid,
        info,
        ..CompletionEntry::default()
    };
    // A fault is the queue's end, and has been noted there.
    let _ = queue.post(completion, status, &Strikes::default(), &function.errors);
    None
}

impl Lane {
    /// Whether there is an entry to fetch. Looks at the host's tail only when all that was known is fetched.
    fn has_entry(&mut self, function: &Function) -> bool {
        if self.tail != self.queue.fetched() {
            return true;
        }
        if self.is_deaf(function) {
            return false;
        }
        match self.queue.tail() {
            Ok(tail) => self.take_tail(tail, function),
            Err(fault) => {
                self.queue.break_down(fault, &function.errors);
                false
            }
        }
    }

    /// For a fault: what the host says of its tail is not heard.
    fn is_deaf(&self, function: &Function) -> bool {
        self.queue.id() != QueueId::ADMIN && function.faults.is_on(Fault::LosesDoorbells)
    }

    /// Takes over a tail that the host wrote, if it can be one. Whether there are entries now.
    fn take_tail(&mut self, tail: u32, function: &Function) -> bool {
        if self.queue.is_step(self.tail, tail) || function.faults.on(Fault::TakesAnyTail) {
            self.tail = tail;
        } else {
            self.note_bad_index(tail, function);
        }
        self.tail != self.queue.fetched()
    }

    /// Whether there is room for one more completion. Each entry fetched will have one, so the entries fetched are
    /// what counts.
    fn has_room(&mut self, function: &Function) -> bool {
        let fetched = self.queue.fetched();
        let most = self.queue.entries().in_use_max();
        if fetched.wrapping_sub(self.head) < most || function.faults.on(Fault::OverrunsCompletions)
        {
            return true;
        }
        match self.queue.head() {
            Ok(head) => {
                let written = self.queue.completed().wrapping_sub(self.head);
                if head.wrapping_sub(self.head) <= written {
                    self.head = head;
                } else {
                    self.note_bad_index(head, function);
                }
            }
            Err(fault) => {
                self.queue.break_down(fault, &function.errors);
                return false;
            }
        }
        if fetched.wrapping_sub(self.head) < most {
            self.full_since = None;
            self.full_noted = false;
            return true;
        }
        // While jobs are still to complete, it is they that the queue waits for.
        if self.queue.completed() == fetched {
            let since = *self.full_since.get_or_insert_with(Instant::now);
            if since.elapsed() >= Duration::from_millis(FULL_MS_MAX) && !self.full_noted {
                self.full_noted = true;
                function.errors.note(
                    ErrorCode::CompletionQueueFull,
                    self.queue.id(),
                    u64::from(self.head),
                );
            }
        }
        false
    }

    fn note_bad_index(&mut self, index: u32, function: &Function) {
        if self.bad_index.replace(index) != Some(index) {
            function
                .errors
                .note(ErrorCode::DoorbellRange, self.queue.id(), u64::from(index));
        }
    }
}

/// For a fault: raises the vectors of all I/O queues, whatever they have. Whether it did.
fn storm(function: &Function, lanes: &Lanes) -> bool {
    if !function.faults.is_on(Fault::InterruptStorm) {
        return false;
    }
    for lane in &lanes.lanes {
        if lane.queue.id() != QueueId::ADMIN && lane.queue.is_alive() {
            function.faults.count(Fault::InterruptStorm);
            lane.queue.raise_for_nothing(&function.msix);
        }
    }
    true
}

/// Asks every idle queue for a kick. Whether one of them has got an entry meanwhile.
fn arm(function: &Function, lanes: &mut Lanes) -> bool {
    let mut found = false;
    for lane in &mut lanes.lanes {
        // A queue that holds a job, or waits for room, is looked at again without a kick.
        if !lane.queue.is_alive() || lane.held.is_some() || lane.tail != lane.queue.fetched() {
            continue;
        }
        match lane.queue.arm() {
            Ok(_) if lane.is_deaf(function) => {}
            Ok(tail) => found |= lane.take_tail(tail, function),
            Err(fault) => lane.queue.break_down(fault, &function.errors),
        }
    }
    found
}
