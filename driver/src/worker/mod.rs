//! A thread a queue pair that pulls jobs and sees them through the card.
//!
//! Owns the loop: reap, pull, publish, spin a little, sleep. Invariant: each job taken is
//! completed once; a card that hangs, lies or goes ends the worker, and everything in
//! flight is told so, with its memory in quarantine.
//! It deliberately does not schedule: it takes what its source hands out, as late as it
//! can, and does not reset the card: its supervisor does, when told of its exit.
//!
//! Steady state allocates nothing but each result's `Vec`, and sends one doorbell for
//! all that was entered since the last.

mod counters;
#[cfg(any(test, fuzzing))]
mod fuzzing;
mod in_flight;
mod job;
mod looks;
mod plan;
mod waker;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use thiserror::Error;

pub use self::counters::{Counter, WorkerCounters};
#[cfg(any(test, fuzzing))]
pub(crate) use self::fuzzing::completions;
use self::in_flight::{Begun, InFlight, InSlot, Step};
pub use self::job::{Completion, DataRefusal, Job, JobSource, Kernel, Outcome, Request};
use self::looks::Looks;
pub use self::waker::Waker;
use crate::dma::Incarnation;
use crate::event::EventWaiter;
use crate::fault::DeviceFault;
use crate::queue_pair::QueuePair;
use faam_hwif::QueueId;

/// Jobs in flight of one worker at most.
const JOBS_MAX: u16 = 512;
/// Pause before a job that found no room in the arena is tried again while nothing of this worker's own will free any.
const ARENA_RETRY: Duration = Duration::from_millis(1);

/// How a worker goes about it.
#[derive(Clone, Copy, Debug, Default)]
pub struct WorkerConfig {
    /// How long it polls after the last event before it sleeps; `None` = 30 us, half of what waking a sleeping thread costs,
    /// and not at all where the process has one processor: there whoever it waits for cannot run before it sleeps.
    pub spin: Option<Duration>,
    /// Jobs in flight; `None` = two an engine, the contract's bound.
    pub jobs_outstanding_max: Option<u16>,
    /// How long it sleeps at most with nothing in flight before it looks at its source again; `None` = 100 ms.
    pub idle_look_again: Option<Duration>,
    /// How long it sleeps over commands in flight before it first looks for their completions itself, in case an interrupt
    /// was lost; `None` = 5 ms. Each later sleep is twice as long, up to 100 ms.
    pub look_first: Option<Duration>,
    /// The one slot that may do its jobs, activated or not; `None` = whichever serves them.
    pub slot: Option<u8>,
}

const SPIN_DEFAULT: Duration = Duration::from_micros(30);
/// [`WorkerConfig::spin`] where it says nothing.
fn spin_default() -> Duration {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if processors > 1 {
        SPIN_DEFAULT
    } else {
        Duration::ZERO
    }
}

const IDLE_LOOK_AGAIN_DEFAULT: Duration = Duration::from_millis(100);

/// How a worker ended.
#[derive(Debug)]
pub enum WorkerExit {
    /// It was told to, and nothing was left in flight: the pair can be used again or deleted.
    Stopped {
        /// The pair.
        queue_pair: QueuePair,
    },
    /// Its card failed. Fence the function before anything else.
    Fault {
        /// How.
        fault: DeviceFault,
        /// On which queue.
        queue: QueueId,
        /// Which life of the function is to be fenced.
        incarnation: Incarnation,
    },
    /// It panicked: a bug of ours. What was in flight is in quarantine as after a fault.
    Panicked {
        /// On which queue.
        queue: QueueId,
        /// Which life of the function is to be fenced.
        incarnation: Incarnation,
    },
}

/// Why there is no worker.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// Its events could not be made.
    #[error("the worker's events could not be set up")]
    Events(#[from] rustix::io::Errno),
    /// Its thread could not be started.
    #[error("the worker's thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// The worker has not ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the worker has not ended within {limit_ms} ms")]
pub struct StillRunning {
    /// The limit.
    pub limit_ms: u64,
}

/// A thread that drives a queue pair.
#[derive(Debug)]
pub struct Worker;

impl Worker {
    /// Start a thread named `name` that drives `queue_pair` with jobs from `source` and calls `on_exit` at its end, after
    /// every job in flight was completed.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn spawn<S: JobSource>(
        name: &str,
        queue_pair: QueuePair,
        source: S,
        config: WorkerConfig,
        on_exit: impl FnOnce(WorkerExit) + Send + 'static,
    ) -> Result<WorkerHandle, SpawnError> {
        let waker = Waker::new()?;
        let waiter = EventWaiter::new(&[queue_pair.interrupt(), waker.event()])?;
        let counters = Arc::new(WorkerCounters::default());
        let (ended, end) = sync_channel(1);
        let identity = queue_pair.identity();
        let two_an_engine = u16::try_from(identity.engines)
            .unwrap_or(JOBS_MAX)
            .saturating_mul(2);
        let jobs_max = config
            .jobs_outstanding_max
            .unwrap_or(two_an_engine)
            .clamp(1, JOBS_MAX)
            .min(u16::try_from(queue_pair.capacity()).unwrap_or(JOBS_MAX));
        let (queue, incarnation) = (queue_pair.id(), queue_pair.incarnation());
        let in_slot = match (identity.slots, config.slot) {
            (None, _) => InSlot::NoSlots,
            (Some(_), None) => InSlot::Any,
            (Some(_), Some(slot)) => InSlot::Named(slot),
        };
        let run = Run {
            in_flight: InFlight::new(jobs_max, incarnation, in_slot),
            pair: queue_pair,
            stalled: Stalled(None),
            source,
            waker: waker.clone(),
            waiter,
            counters: Arc::clone(&counters),
            spin: config.spin.unwrap_or_else(spin_default),
            idle_look_again: config.idle_look_again.unwrap_or(IDLE_LOOK_AGAIN_DEFAULT),
            looks: Looks::new(config.look_first),
            look_at_source: true,
        };
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // The loop owns everything in flight, so a panic completes it on the way out.
                let exit = match catch_unwind(AssertUnwindSafe(|| run.until_end())) {
                    Ok(Ok(queue_pair)) => WorkerExit::Stopped { queue_pair },
                    Ok(Err(fault)) => WorkerExit::Fault {
                        fault,
                        queue,
                        incarnation,
                    },
                    Err(_) => WorkerExit::Panicked { queue, incarnation },
                };
                on_exit(exit);
                let _ = ended.try_send(());
            })
            .map_err(SpawnError::Thread)?;
        Ok(WorkerHandle {
            waker,
            counters,
            end,
        })
    }
}

/// A running worker. Dropping it stops the worker without waiting.
#[derive(Debug)]
pub struct WorkerHandle {
    waker: Waker,
    counters: Arc<WorkerCounters>,
    end: Receiver<()>,
}

impl WorkerHandle {
    /// What wakes it.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// What it has done.
    #[must_use]
    pub fn counters(&self) -> &Arc<WorkerCounters> {
        &self.counters
    }

    /// Have it take no more jobs, finish those in flight, and end. Bounded by the commands' own limits.
    pub fn stop(&self) {
        self.waker.stop();
    }

    /// Wait until its `on_exit` has returned.
    ///
    /// # Errors
    /// [`StillRunning`] after `limit`.
    pub fn join(&self, limit: Duration) -> Result<(), StillRunning> {
        match self.end.recv_timeout(limit) {
            Ok(()) | Err(RecvTimeoutError::Disconnected) => Ok(()),
            Err(RecvTimeoutError::Timeout) => Err(StillRunning {
                limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }
}

impl Drop for WorkerHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A job that waits for room in the arena, and since when. Completes it when dropped.
struct Stalled<J: Job>(Option<(J, Instant)>);

impl<J: Job> Drop for Stalled<J> {
    fn drop(&mut self) {
        if let Some((job, _)) = self.0.take() {
            job.complete(Outcome::Fault(DeviceFault::WorkerEnded));
        }
    }
}

/// The loop's state. Fields drop in this order: jobs first, then the rings that they were on.
struct Run<S: JobSource> {
    in_flight: InFlight<S::Job>,
    stalled: Stalled<S::Job>,
    pair: QueuePair,
    source: S,
    waker: Waker,
    waiter: EventWaiter,
    counters: Arc<WorkerCounters>,
    spin: Duration,
    idle_look_again: Duration,
    looks: Looks,
    /// The source was not asked since it may have got something, or was not asked to the end.
    look_at_source: bool,
}

impl<S: JobSource> Run<S> {
    /// Runs until stopped or broken.
    fn until_end(mut self) -> Result<QueuePair, DeviceFault> {
        match self.serve() {
            Ok(()) => Ok(self.pair),
            Err(fault) => {
                tracing::warn!(kind = fault.kind(), error = %fault, queue = %self.pair.id(), "worker ends on a fault");
                self.in_flight.set_last_words(fault);
                Err(fault)
            }
        }
    }

    fn serve(&mut self) -> Result<(), DeviceFault> {
        let mut last_event = Instant::now();
        loop {
            // First: no job is taken for, and no doorbell rung on, a function whose life is over.
            if self.pair.is_ended() {
                return Err(DeviceFault::WorkerEnded);
            }
            let reaped = self.reap()?;
            let pulled = self.pull()?;
            self.pair.ring()?;
            let idle = self.in_flight.is_empty() && self.stalled.0.is_none();
            if idle && self.waker.is_stopping() {
                return Ok(());
            }
            let now = Instant::now();
            if reaped || pulled {
                last_event = now;
                self.looks.begin_anew();
                continue;
            }
            if let Some(fault) = self.in_flight.overdue(now) {
                // What came in the meantime is taken first: a worker that was not scheduled blames no card.
                match self.pair.has_completion() {
                    true => continue,
                    false => return Err(fault),
                }
            }
            if now.saturating_duration_since(last_event) < self.spin {
                std::hint::spin_loop();
                continue;
            }
            if self.sleep(now)? {
                last_event = Instant::now();
            }
        }
    }

    /// Take every completion that is there. True if there was one.
    fn reap(&mut self) -> Result<bool, DeviceFault> {
        let mut any = false;
        // Bounded by what can be outstanding: new commands are published after this.
        while let Some(reaped) = self.pair.reap()? {
            any = true;
            let step = self
                .in_flight
                .advance(&reaped, Instant::now(), &self.counters)?;
            if let Step::Submit(entry, limits) = step {
                self.submit(reaped.token, entry, limits)?;
            }
        }
        if any {
            self.pair.publish_head()?;
            // A source that refused while those jobs ran may have one now that they are done, and nobody need say so.
            self.look_at_source = true;
        }
        Ok(any)
    }

    /// Take jobs while there is credit. True if one was begun.
    fn pull(&mut self) -> Result<bool, DeviceFault> {
        let mut any = false;
        if self.waker.take_notice() {
            self.look_at_source = true;
        }
        while self.in_flight.has_room() {
            let (job, since) = match self.stalled.0.take() {
                Some(stalled) => stalled,
                None if !self.look_at_source || self.waker.is_stopping() => break,
                None => match self.source.next() {
                    Some(job) => (job, Instant::now()),
                    None => {
                        self.look_at_source = false;
                        break;
                    }
                },
            };
            match self.in_flight.begin(job, &self.pair, &self.counters) {
                Begun::Submit(token, entry, limits) => {
                    any = true;
                    self.submit(token, entry, limits)?;
                }
                Begun::Completed => any = true,
                Begun::NoMemory(job, timeout) => {
                    if since.elapsed() > timeout {
                        job.complete(Outcome::Fault(DeviceFault::NoMemory {
                            limit_ms: u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX),
                        }));
                    } else {
                        self.counters.arena_waits.add(1);
                        self.stalled.0 = Some((job, since));
                    }
                    break;
                }
            }
        }
        Ok(any)
    }

    fn submit(
        &mut self,
        token: crate::queue::Token,
        entry: faam_hwif::SubmissionEntry,
        limits: crate::command_table::Limits,
    ) -> Result<(), DeviceFault> {
        self.counters.commands.add(1);
        // A job has one command out at a time, and there are no more jobs than places.
        self.pair
            .submit(entry, limits, token)
            .map_err(|_| DeviceFault::WorkerEnded)
    }

    /// Sleep until the card, the source, or time calls. False if there was no reason to.
    fn sleep(&mut self, now: Instant) -> Result<bool, DeviceFault> {
        if !self.waker.may_sleep() {
            return Ok(false);
        }
        self.pair.arm();
        // After arming: a completion written before the card could see the wish is seen here.
        if self.pair.has_completion() || self.waker.is_stopping() && self.in_flight.is_empty() {
            self.waker.wakes_up();
            return Ok(false);
        }
        let mut limit = match self.in_flight.nearest_deadline() {
            // An interrupt may be lost, and must not cost the rest of a command's limit.
            Some(deadline) => deadline
                .saturating_duration_since(now)
                .min(self.looks.next()),
            None => self.idle_look_again,
        };
        if self.stalled.0.is_some() {
            limit = limit.min(ARENA_RETRY);
        }
        self.counters.sleeps.add(1);
        let waited = self.waiter.wait(limit);
        self.waker.wakes_up();
        let signalled = waited.map_err(DeviceFault::Wait)?;
        if !signalled {
            if self.pair.has_completion() {
                self.counters.found_by_looking.add(1);
            }
            self.looks.saw_nothing();
        }
        self.look_at_source = true;
        Ok(true)
    }
}
