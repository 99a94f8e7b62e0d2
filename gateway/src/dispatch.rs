//! The one boundary between async and threads: jobs go in, outcomes come back on a oneshot.
//!
//! Owns the scheduler, the jobs that wait in it and the results that wait for
//! verification, all behind one lock that is held for a few hundred nanoseconds at a time
//! and never across a call that can block. Engines pull: CPU workers (`crate::cpu`)
//! and queue-pair workers (`crate::card_worker`) ask [`Shared::next_for_card`] or
//! [`Shared::next_for_cpu`] when they have room.
//!
//! Invariants: an admitted job is answered exactly once; what a card made is answered only
//! after a CPU worker has verified it against the host's own input; a job that its engine
//! could not finish goes back to the front of its tenant's queue, at most
//! [`REPLAYS_MAX`] times.
//!
//! It deliberately does not know HTTP, nor how a card is reached or recovered.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam::channel::Sender;
use faam_driver::{Completion, DataRefusal, DeviceFault, Waker};
use faam_sched::{
    Config as SchedulerConfig, KernelClass, Nanos, Placement, Receipt, Scheduler, Taken,
    TargetIndex, TargetSet, TenantIndex,
};
use parking_lot::{Condvar, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::cards::{CardEvent, CardSource, CardStatus, Cards};
use crate::cpu::CpuPool;
use crate::job::{
    BackendPolicy, BlockOutcome, EngineId, FallbackReason, JobError, JobSpec, Kernel, Phases,
};
use crate::metrics::Metrics;
use crate::tenants::{Tenant, TenantId};

/// Times that a job goes back to the queue because its engine failed, before it is given to the CPU alone.
pub const REPLAYS_MAX: u8 = 3;
/// Highest HTTP level that a card serves (levels above have no counterpart in gateware).
pub const CARD_LEVEL_MAX: u8 = 9;
/// How long an idle CPU worker sleeps before it looks again although nobody woke it.
const CPU_IDLE_MAX: Duration = Duration::from_millis(500);
/// The same while jobs are queued that were left to a card: placement may give them to the CPU after its deferral limit.
const CPU_DEFER_POLL: Duration = Duration::from_millis(2);

/// What is tuned.
#[derive(Clone, Debug)]
pub struct DispatchConfig {
    /// Cards to serve with.
    pub cards: Vec<CardSource>,
    /// Where sockets of own cards are made.
    pub data_dir: PathBuf,
    /// The program that is a simulated card when called with `sim`: `faam` itself.
    pub sim_program: PathBuf,
    /// CPU worker threads.
    pub cpu_workers: usize,
    /// Bytes of DMA memory shared by the own cards.
    pub arena_bytes: usize,
    /// How long a job that requires a card waits for one to come into service.
    pub hw_wait: Duration,
    /// Blocks that one tenant may have queued.
    pub queue_blocks_max: usize,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        Self {
            cards: vec![CardSource::OwnSimulated {
                engines: 1,
                pace_mhz: None,
                hang: None,
            }],
            data_dir: PathBuf::from("data"),
            sim_program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("faam")),
            cpu_workers: std::thread::available_parallelism().map_or(2, usize::from),
            arena_bytes: 24 << 20,
            hw_wait: Duration::from_secs(10),
            queue_blocks_max: 2048,
        }
    }
}

/// Why dispatch could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A thread could not be made.
    #[error("could not start a worker thread; check the process's thread limit (ulimit -u)")]
    Thread(#[source] std::io::Error),
    /// More functions than the scheduler has targets.
    #[error("{cards} cards are more than the {limit} that one gateway drives")]
    TooManyCards {
        /// Asked for.
        cards: usize,
        /// Limit.
        limit: usize,
    },
    /// The DMA arena could not be made.
    #[error("could not make the DMA arena of {bytes} bytes; lower --arena-bytes or free memory")]
    Arena {
        /// Asked for.
        bytes: usize,
        /// Why.
        #[source]
        source: faam_driver::dma::ArenaError,
    },
}

/// Hands jobs to engines. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    shared: Arc<Shared>,
    threads: Arc<Mutex<Option<(CpuPool, Cards)>>>,
}

impl Dispatcher {
    /// Start the CPU workers and a supervisor for each card. Cards come into service by and by.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn start(config: DispatchConfig, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        let mut scheduler = Scheduler::new(SchedulerConfig::default());
        let cpu_servers = u32::try_from(config.cpu_workers.max(1)).unwrap_or(u32::MAX);
        let limit = (faam_sched::TARGETS_MAX - 1) / usize::from(faam_hwif::FUNCTIONS);
        let too_many = StartError::TooManyCards {
            cards: config.cards.len(),
            limit,
        };
        let Some(cpu) = scheduler.add_target(cpu_servers, true) else {
            return Err(too_many);
        };
        scheduler.set_in_service(cpu, true);
        let mut functions = Vec::new();
        let mut all_cards = TargetSet::EMPTY;
        for card in 0..config.cards.len() {
            for function in 0..faam_hwif::FUNCTIONS {
                let (Some(target), Ok(card)) = (scheduler.add_target(1, false), u8::try_from(card))
                else {
                    return Err(too_many);
                };
                all_cards = all_cards.union(TargetSet::of(target));
                functions.push(FunctionPlace {
                    card,
                    function,
                    target,
                    waker: None,
                });
            }
        }
        let shared = Arc::new(Shared {
            core: Mutex::new(Core {
                scheduler,
                tenants: HashMap::new(),
                unverified: VecDeque::new(),
                functions,
                card_events: Vec::new(),
                cpu_idle: 0,
            }),
            work: Condvar::new(),
            cpu,
            all_cards,
            origin: Instant::now(),
            stopping: AtomicBool::new(false),
            metrics,
            hw_wait: config.hw_wait,
            queue_blocks_max: config.queue_blocks_max,
        });
        let pool =
            CpuPool::start(&shared, config.cpu_workers.max(1)).map_err(StartError::Thread)?;
        let cards = Cards::start(&shared, &config)?;
        shared.core.lock().card_events = cards.event_senders();
        Ok(Self {
            shared,
            threads: Arc::new(Mutex::new(Some((pool, cards)))),
        })
    }

    /// Give a tenant its bounded queue. Calling it again for the same tenant changes nothing.
    pub fn add_tenant(&self, tenant: &Tenant) {
        let mut core = self.shared.core.lock();
        if core.tenants.contains_key(&tenant.id) {
            return;
        }
        // Replayed jobs come on top of the bound: they were within it before.
        let index = core.scheduler.add_tenant(
            faam_sched::WEIGHT_DEFAULT,
            self.shared.queue_blocks_max,
        );
        let context = u32::try_from(core.tenants.len() + 1).unwrap_or(u32::MAX);
        let room = Arc::new(Semaphore::new(self.shared.queue_blocks_max));
        core.tenants.insert(
            tenant.id.clone(),
            TenantPlace {
                index,
                context,
                room,
            },
        );
    }

    /// Queue a job, waiting for room in its tenant's queue until the deadline.
    ///
    /// # Errors
    /// [`JobError`]: it will never run.
    pub async fn submit(&self, spec: JobSpec) -> Result<Ticket, JobError> {
        let placement = self.shared.placement(&spec)?;
        let place = self.shared.core.lock().tenants.get(&spec.tenant).cloned();
        let Some(place) = place else {
            return Err(JobError::Internal(format!(
                "tenant {:?} has no queue",
                spec.tenant
            )));
        };
        let waiting = Instant::now();
        let acquire = Arc::clone(&place.room).acquire_owned();
        let permit = match spec.deadline {
            Some(deadline) => tokio::time::timeout_at(deadline.into(), acquire)
                .await
                .map_err(|_| {
                    JobError::Deadline(Phases {
                        queue: waiting.elapsed(),
                        ..Phases::default()
                    })
                })?,
            None => acquire.await,
        };
        let Ok(permit) = permit else {
            return Err(JobError::Stopping);
        };
        if self.shared.stopping.load(Ordering::Acquire) {
            return Err(JobError::Stopping);
        }
        let (reply, answer) = oneshot::channel();
        let (deadline, policy) = (spec.deadline, spec.policy);
        let (kernel, bytes) = (class_of(&spec.kernel), spec.input.len());
        let phases = Phases {
            queue: waiting.elapsed(),
            ..Phases::default()
        };
        let job = PendingJob {
            spec,
            context: place.context,
            reply,
            room: Some(permit),
            replays: 0,
            fallback: None,
            phases,
        };
        let now = self.shared.now();
        let mut core = self.shared.core.lock();
        if core
            .scheduler
            .push(place.index, job, kernel, bytes, placement, now)
            .is_err()
        {
            // The semaphore has as many permits as the queue has places.
            return Err(JobError::Internal(
                "a tenant's queue was full although it had room".into(),
            ));
        }
        core.wake_cards();
        drop(core);
        self.shared.work.notify_one();
        Ok(Ticket {
            answer,
            shared: Arc::clone(&self.shared),
            policy,
            deadline,
            submitted: waiting,
            answered: false,
        })
    }

    /// What each card is doing now.
    #[must_use]
    pub fn cards(&self) -> Vec<CardStatus> {
        self.threads
            .lock()
            .as_ref()
            .map(|(_, cards)| cards.status())
            .unwrap_or_default()
    }

    /// Bring the gauges up to date; called before the metrics are read out.
    pub fn refresh_gauges(&self) {
        let core = self.shared.core.lock();
        for (tenant, place) in &core.tenants {
            self.shared
                .metrics
                .queue_depth(tenant.as_str(), core.scheduler.queued(place.index));
        }
        let oldest = core
            .scheduler
            .oldest_queued_at()
            .map_or(Nanos(0), |at| self.shared.now().since(at));
        self.shared
            .metrics
            .queue_oldest(Duration::from_nanos(oldest.0).as_secs_f64());
        let cpu = core.scheduler.outstanding(self.shared.cpu);
        self.shared
            .metrics
            .backlog("cpu", Duration::from_nanos(cpu.0).as_secs_f64());
        let cards = self
            .shared
            .all_cards
            .iter()
            .map(|card| core.scheduler.outstanding(card).0)
            .sum();
        self.shared
            .metrics
            .backlog("card", Duration::from_nanos(cards).as_secs_f64());
    }

    /// Stop: what is queued is refused, what runs ends, cards are shut down. At most `limit`, then threads are left behind.
    pub async fn stop(&self, limit: Duration) {
        self.shared.stopping.store(true, Ordering::Release);
        let refused = {
            let mut core = self.shared.core.lock();
            core.wake_cards();
            core.scheduler.remove(|_| true)
        };
        for job in refused {
            job.answer(Err(JobError::Stopping));
        }
        self.shared.work.notify_all();
        let Some((pool, cards)) = self.threads.lock().take() else {
            return;
        };
        let stopped = tokio::task::spawn_blocking(move || {
            cards.stop();
            pool.join();
        });
        if tokio::time::timeout(limit, stopped).await.is_err() {
            tracing::warn!(limit_ms = limit.as_millis(), "engines did not stop in time");
        }
    }
}

/// A place in the queue, and the way back. Dropping it cancels the job.
pub struct Ticket {
    answer: oneshot::Receiver<Result<BlockOutcome, JobError>>,
    shared: Arc<Shared>,
    policy: BackendPolicy,
    deadline: Option<Instant>,
    submitted: Instant,
    answered: bool,
}

impl Ticket {
    /// Wait for the result, until the job's deadline.
    ///
    /// # Errors
    /// [`JobError`]
    pub async fn outcome(mut self) -> Result<BlockOutcome, JobError> {
        let answer = loop {
            let limit = self
                .deadline
                .unwrap_or_else(|| Instant::now() + self.shared.hw_wait);
            match tokio::time::timeout_at(limit.into(), &mut self.answer).await {
                Ok(answer) => break answer,
                Err(_) if self.deadline.is_some() => {
                    let phases = Phases {
                        queue: self.submitted.elapsed(),
                        ..Phases::default()
                    };
                    return Err(JobError::Deadline(phases));
                }
                Err(_)
                    if self.policy == BackendPolicy::RequireHardware
                        && !self.shared.any_card_in_service() =>
                {
                    return Err(JobError::NoCard {
                        waited_ms: millis(self.submitted.elapsed()),
                    });
                }
                // Engines have time-outs of their own, so that some answer comes.
                Err(_) => {}
            }
        };
        self.answered = true;
        answer.map_err(|_| JobError::Internal("a job was dropped without an answer".into()))?
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        self.answer.close();
        // If an engine holds it, the engine will find nobody waiting; else it stands in the queue, with its memory.
        let gone = self
            .shared
            .core
            .lock()
            .scheduler
            .remove(|job: &PendingJob| job.reply.is_closed());
        drop(gone);
    }
}

/// A job in the queue or on an engine.
pub(crate) struct PendingJob {
    pub(crate) spec: JobSpec,
    /// The tenant's scrub domain on a card.
    pub(crate) context: u32,
    reply: oneshot::Sender<Result<BlockOutcome, JobError>>,
    room: Option<OwnedSemaphorePermit>,
    replays: u8,
    pub(crate) fallback: Option<FallbackReason>,
    pub(crate) phases: Phases,
}

impl PendingJob {
    /// Answer the caller, if there still is one.
    pub(crate) fn answer(self, answer: Result<BlockOutcome, JobError>) {
        // A caller that has hung up wants no answer.
        let _ = self.reply.send(answer);
    }
}

/// A job that an engine took.
pub(crate) struct RunningJob {
    pub(crate) job: PendingJob,
    pub(crate) receipt: Receipt,
    pub(crate) engine: EngineId,
}

/// What a card made of a job, not yet believed.
pub(crate) struct Unverified {
    pub(crate) running: RunningJob,
    pub(crate) claim: Claim,
}

/// A card's word.
pub(crate) enum Claim {
    /// It made this.
    Done(Completion),
    /// It says that the data cannot be processed.
    Refused(DataRefusal),
}

/// What a CPU worker does next.
pub(crate) enum CpuWork {
    /// Run a job.
    Run(RunningJob),
    /// Verify a card's result.
    Verify(Unverified),
    /// End the thread.
    Stop,
}

pub(crate) struct Shared {
    core: Mutex<Core>,
    work: Condvar,
    cpu: TargetIndex,
    all_cards: TargetSet,
    origin: Instant,
    stopping: AtomicBool,
    pub(crate) metrics: Arc<Metrics>,
    hw_wait: Duration,
    queue_blocks_max: usize,
}

struct Core {
    scheduler: Scheduler<PendingJob>,
    tenants: HashMap<TenantId, TenantPlace>,
    /// Bounded by what card workers may have outstanding: each entry was a command on a card.
    unverified: VecDeque<Unverified>,
    functions: Vec<FunctionPlace>,
    card_events: Vec<Sender<CardEvent>>,
    cpu_idle: usize,
}

#[derive(Clone)]
struct TenantPlace {
    index: TenantIndex,
    context: u32,
    room: Arc<Semaphore>,
}

struct FunctionPlace {
    card: u8,
    function: u8,
    target: TargetIndex,
    waker: Option<Waker>,
}

impl Core {
    fn wake_cards(&self) {
        for place in &self.functions {
            if let Some(waker) = &place.waker {
                waker.wake();
            }
        }
    }
}

impl Shared {
    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    pub(crate) fn any_card_in_service(&self) -> bool {
        !self
            .core
            .lock()
            .scheduler
            .in_service()
            .intersection(self.all_cards)
            .is_empty()
    }

    /// The scheduler's target for a function.
    pub(crate) fn target_of(&self, card: u8, function: u8) -> Option<TargetIndex> {
        let core = self.core.lock();
        core.functions
            .iter()
            .find(|place| (place.card, place.function) == (card, function))
            .map(|place| place.target)
    }

    /// Put a function into service with the waker of its worker, or take it out.
    pub(crate) fn set_in_service(&self, card: u8, function: u8, waker: Option<Waker>) {
        let mut core = self.core.lock();
        let Some(place) = core
            .functions
            .iter_mut()
            .find(|place| (place.card, place.function) == (card, function))
        else {
            return;
        };
        let target = place.target;
        let on = waker.is_some();
        place.waker = waker;
        core.scheduler.set_in_service(target, on);
        core.wake_cards();
        drop(core);
        // Jobs that preferred a card may now be the CPU's.
        self.work.notify_all();
    }

    fn placement(&self, spec: &JobSpec) -> Result<Placement, JobError> {
        let cpu = TargetSet::of(self.cpu);
        let beyond = match spec.kernel {
            Kernel::Compress { level, .. } if level.get() > CARD_LEVEL_MAX => Some(format!(
                "no card serves level {}; use level 1 to {CARD_LEVEL_MAX}, or let the CPU serve it (Faam-Backend: auto)",
                level.get()
            )),
            Kernel::Decompress { .. } if spec.input.len() > faam_hwif::JOB_BYTES_MAX as usize => {
                Some(beyond_card_text(spec.input.len()))
            }
            _ => None,
        };
        Ok(match (spec.policy, beyond) {
            (BackendPolicy::RequireHardware, Some(why)) => return Err(JobError::BeyondCard(why)),
            (BackendPolicy::RequireHardware, None) => Placement::any_of(self.all_cards),
            (BackendPolicy::Cpu, _) | (_, Some(_)) => Placement::any_of(cpu),
            (BackendPolicy::Auto, None) => Placement::any_of(cpu.union(self.all_cards)),
            (BackendPolicy::PreferHardware, None) => Placement {
                allowed: cpu.union(self.all_cards),
                preferred: self.all_cards,
            },
        })
    }

    /// The next job for a function that has room.
    pub(crate) fn next_for_card(
        &self,
        target: TargetIndex,
        engine: EngineId,
    ) -> Option<RunningJob> {
        if self.stopping.load(Ordering::Acquire) {
            return None;
        }
        let mut core = self.core.lock();
        self.take(&mut core, target, engine)
    }

    /// What a CPU worker does next; blocks until there is something.
    pub(crate) fn next_for_cpu(&self) -> CpuWork {
        let mut core = self.core.lock();
        loop {
            // First what is nearly done: its memory and its caller wait for nothing else.
            if let Some(unverified) = core.unverified.pop_front() {
                return CpuWork::Verify(unverified);
            }
            if let Some(running) = self.take(&mut core, self.cpu, EngineId::Cpu) {
                return CpuWork::Run(running);
            }
            if self.stopping.load(Ordering::Acquire) {
                return CpuWork::Stop;
            }
            let limit = if core.scheduler.queued_in_all() > 0 {
                CPU_DEFER_POLL
            } else {
                CPU_IDLE_MAX
            };
            core.cpu_idle += 1;
            self.work.wait_for(&mut core, limit);
            core.cpu_idle -= 1;
        }
    }

    fn take(&self, core: &mut Core, target: TargetIndex, engine: EngineId) -> Option<RunningJob> {
        // Each turn takes a job off the queue, so the queue's bound bounds the loop.
        loop {
            let Taken {
                mut job,
                receipt,
                waited,
                ..
            } = core.scheduler.next(target, self.now())?;
            job.room = None;
            job.phases.queue += Duration::from_nanos(waited.0);
            if job.reply.is_closed() {
                core.scheduler.abandon(receipt);
                continue;
            }
            if job
                .spec
                .deadline
                .is_some_and(|deadline| deadline <= Instant::now())
            {
                core.scheduler.abandon(receipt);
                let phases = job.phases;
                job.answer(Err(JobError::Deadline(phases)));
                continue;
            }
            if engine == EngineId::Cpu
                && job.fallback.is_none()
                && job.spec.policy == BackendPolicy::PreferHardware
            {
                let reason = if self
                    .placement(&job.spec)
                    .is_ok_and(|p| p.preferred.is_empty())
                {
                    FallbackReason::BeyondCard
                } else {
                    FallbackReason::NoCard
                };
                job.fallback = Some(reason);
            }
            return Some(RunningJob {
                job,
                receipt,
                engine,
            });
        }
    }

    /// A function finished a command: hand the result to the CPU workers for verification.
    pub(crate) fn card_claims(&self, running: RunningJob, claim: Claim) {
        self.core
            .lock()
            .unverified
            .push_back(Unverified { running, claim });
        self.work.notify_one();
    }

    /// A function failed with this job in hand: replay it.
    pub(crate) fn card_failed(&self, running: RunningJob, fault: &DeviceFault) {
        tracing::debug!(engine = %running.engine, %fault, "replaying a job");
        self.replay(running, FallbackReason::CardFault);
    }

    /// Put a job back at the front of its tenant's queue, away from the engine that failed it.
    pub(crate) fn replay(&self, running: RunningJob, reason: FallbackReason) {
        let RunningJob {
            mut job, receipt, ..
        } = running;
        self.metrics.fallback(reason.as_str());
        job.replays = job.replays.saturating_add(1);
        job.fallback = Some(reason);
        let required = job.spec.policy == BackendPolicy::RequireHardware;
        let mut core = self.core.lock();
        if job.replays > REPLAYS_MAX && required || self.stopping.load(Ordering::Acquire) {
            core.scheduler.abandon(receipt);
            drop(core);
            let waited_ms = millis(job.phases.queue);
            let stopping = self.stopping.load(Ordering::Acquire);
            job.answer(Err(if stopping {
                JobError::Stopping
            } else {
                JobError::NoCard { waited_ms }
            }));
            return;
        }
        let placement = if required {
            // The function that failed is out of service until it has passed its self-test; whichever is up first takes the job.
            Placement::any_of(self.all_cards)
        } else if job.replays > REPLAYS_MAX || reason == FallbackReason::BeyondCard {
            Placement::any_of(TargetSet::of(self.cpu))
        } else {
            receipt.placement().avoiding(receipt.target())
        };
        core.scheduler.requeue(receipt, job, placement);
        core.wake_cards();
        drop(core);
        self.work.notify_one();
    }

    /// A job was answered or given up: take it off its engine's books. `took` teaches the predictor.
    pub(crate) fn settle(
        &self,
        receipt: Receipt,
        took: Option<Duration>,
        reference: Option<Duration>,
    ) {
        let nanos = |d: Duration| Nanos(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        let mut core = self.core.lock();
        match took {
            Some(took) => core
                .scheduler
                .finish(receipt, nanos(took), reference.map(nanos)),
            None => core.scheduler.abandon(receipt),
        }
    }

    /// A result of this function did not pass verification: its supervisor takes it out of service.
    pub(crate) fn report_verify_failure(&self, engine: EngineId) {
        self.metrics.verify_failure(&engine.to_string());
        if let EngineId::Card { card, function, .. } = engine {
            let core = self.core.lock();
            if let Some(events) = core.card_events.get(usize::from(card)) {
                // The channel is bounded: one report among many is enough.
                let _ = events.try_send(CardEvent::VerifyFailed { function });
            }
        }
    }
}

/// What a card's refusal to take a body of this size says to the caller.
pub(crate) fn beyond_card_text(input_len: usize) -> String {
    format!(
        "a card decompresses whole members of at most {} bytes, compressed and decompressed; this one has {input_len} \
         bytes to read or more to write; let the CPU serve it (Faam-Backend: auto or prefer-hw)",
        faam_hwif::JOB_BYTES_MAX
    )
}

/// Prediction class: a number a kernel, format aside, and level.
fn class_of(kernel: &Kernel) -> KernelClass {
    KernelClass(match kernel {
        Kernel::Compress { level, .. } => u16::from(level.get()),
        Kernel::Decompress { .. } => 0x100,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Bytes of an engine's scratch as an answer, in memory of exactly their size.
pub(crate) fn exact(bytes: &[u8]) -> Bytes {
    Bytes::copy_from_slice(bytes)
}
