//! Jobs that wait, and the engines that pull them.
//!
//! Owns the scheduler, the jobs that wait in it and the results that wait for
//! verification, all behind one lock that is held for a few hundred nanoseconds at a time
//! and never across a call that can block. Engines pull: CPU workers (`crate::cpu`)
//! and queue-pair workers (`crate::card_worker`) ask [`JobQueue::next_for_cpu`] or
//! [`JobQueue::next_for_card`] when they have room.
//!
//! Invariants: a job is answered exactly once; what a card made is answered only after a CPU
//! worker has verified it; a job that its engine could not finish goes back to the front
//! of its tenant's queue, at most [`REPLAYS_MAX`] times.
//!
//! It deliberately does not know HTTP, nor how a card is reached or recovered.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use faam_codec::Format;
use faam_sched::{
    Capacity, Config as SchedulerConfig, JobShape, KernelClass, Nanos, Placement, Receipt,
    Scheduler, Taken, TargetIndex, TargetSet, TenantConfig, TenantIndex,
};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::busy::Busy;
use crate::card_claim::{Claim, Unverified};
use crate::cards::CardEvent;
use crate::dispatch::{DispatchConfig, StartError};
use crate::job::{
    BackendPolicy, CARD_LEVEL_MAX, EngineId, FallbackReason, JobError, JobSpec, Kernel,
    Verification, beyond_card_text,
};
use crate::limit_met::LimitMet;
use crate::metrics::Metrics;
use crate::pending_job::{PendingJob, RunningJob};
use crate::queue_room::QueueRoom;
use crate::small_job::{HERE_MICROS_MAX, may_run_here};
use crate::tenants::{Tenant, TenantId};

/// Times that a job goes back to the queue because its engine failed, before it is given to the CPU alone.
const REPLAYS_MAX: u8 = 3;
/// Results that wait for verification; at the bound cards get no further jobs.
const UNVERIFIED_MAX: usize = 64;
/// How long an idle CPU worker sleeps before it looks again although nobody woke it.
const CPU_IDLE_MAX: Duration = Duration::from_millis(500);
/// The same while jobs are queued that were left to a card: placement may give them to the CPU after its deferral limit.
const CPU_DEFER_POLL: Duration = Duration::from_millis(2);

/// Makes a sleeping queue-pair worker look for jobs.
pub(crate) type Wake = Box<dyn Fn() + Send + Sync>;

/// A job that its engine has done, to be taken off its books: see [`JobQueue::settle`].
pub(crate) struct Done {
    pub(crate) receipt: Receipt,
    pub(crate) took: Option<Duration>,
    pub(crate) reference: Option<Duration>,
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

/// See the module's head.
pub(crate) struct JobQueue {
    core: Mutex<Core>,
    work: Condvar,
    cpu: TargetIndex,
    all_cards: TargetSet,
    origin: Instant,
    /// No job is taken any more.
    stopping: AtomicBool,
    /// Nor will a card claim anything.
    ended: AtomicBool,
    pub(crate) metrics: Arc<Metrics>,
    hw_wait: Duration,
    queue_blocks_max: usize,
    verification: Verification,
    /// An operator has every function of every card drained.
    cards_drained: AtomicBool,
}

struct Core {
    scheduler: Scheduler<PendingJob>,
    tenants: HashMap<TenantId, TenantPlace>,
    /// Scrub domains given out so far, of tenants that were removed as well: none is given out twice, for what a card remembers
    /// of one must never be another's.
    contexts: u32,
    /// Bounded by [`UNVERIFIED_MAX`] and what cards had in flight when it was reached.
    unverified: VecDeque<Unverified>,
    functions: Vec<FunctionPlace>,
    card_events: Vec<Sender<CardEvent>>,
    gauges_read: Instant,
}

/// A tenant's queue.
#[derive(Clone)]
pub(crate) struct TenantPlace {
    pub(crate) index: TenantIndex,
    /// Its scrub domain on a card.
    pub(crate) context: u32,
    /// As many permits as the queue has places.
    pub(crate) room: Arc<QueueRoom>,
}

struct FunctionPlace {
    card: u8,
    function: u8,
    target: TargetIndex,
    wake: Option<Wake>,
    /// An operator has it get no more jobs.
    drained: bool,
    busy: Busy,
}

impl Core {
    fn place(&mut self, target: TargetIndex) -> Option<&mut FunctionPlace> {
        self.functions
            .iter_mut()
            .find(|place| place.target == target)
    }

    /// See [`JobQueue::settle`].
    fn settle(&mut self, done: Done) -> Duration {
        let nanos = |d: Duration| Nanos(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
        let reference = done.reference.map(nanos);
        let Nanos(charged) = match done.took {
            Some(took) => self.scheduler.finish(done.receipt, nanos(took), reference),
            None => self.scheduler.abandon(done.receipt),
        };
        Duration::from_nanos(charged)
    }

    /// A function has a job no longer in its hands.
    fn released(&mut self, running: &RunningJob) {
        if let Some(place) = self.place(running.receipt.target()) {
            place.busy.end(Instant::now());
        }
    }

    /// Have the workers of these functions look for jobs.
    fn wake(&self, targets: TargetSet) {
        for place in &self.functions {
            if let Some(wake) = place
                .wake
                .as_ref()
                .filter(|_| targets.contains(place.target))
            {
                wake();
            }
        }
    }
}

impl JobQueue {
    /// An empty queue whose targets are the CPU pool, in service, and the functions of the cards, not yet.
    pub(crate) fn new(config: &DispatchConfig, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        let mut scheduler = Scheduler::new(SchedulerConfig::default());
        let cpu_servers = u32::try_from(config.cpu_workers.max(1)).unwrap_or(u32::MAX);
        let too_many = || StartError::TooManyCards {
            cards: config.cards.len(),
            limit: (faam_sched::TARGETS_MAX - 1) / usize::from(faam_hwif::FUNCTIONS),
        };
        let cpu = scheduler
            .add_target(cpu_servers, true)
            .ok_or_else(too_many)?;
        scheduler.set_in_service(cpu, true);
        let mut functions = Vec::new();
        let mut all_cards = TargetSet::EMPTY;
        for (card, source) in config.cards.iter().enumerate() {
            let card = u8::try_from(card).map_err(|_| too_many())?;
            for function in 0..source.functions() {
                let target = scheduler.add_target(1, false).ok_or_else(too_many)?;
                all_cards = all_cards.union(TargetSet::of(target));
                functions.push(FunctionPlace {
                    card,
                    function,
                    target,
                    wake: None,
                    drained: false,
                    busy: Busy::default(),
                });
            }
        }
        Ok(Self {
            core: Mutex::new(Core {
                scheduler,
                tenants: HashMap::new(),
                contexts: 0,
                unverified: VecDeque::new(),
                functions,
                card_events: Vec::new(),
                gauges_read: Instant::now(),
            }),
            work: Condvar::new(),
            cpu,
            all_cards,
            origin: Instant::now(),
            stopping: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            metrics,
            hw_wait: config.hw_wait,
            queue_blocks_max: config.queue_blocks_max,
            verification: config.verification,
            cards_drained: AtomicBool::new(false),
        })
    }

    /// Where to report functions whose results are wrong, a sender a card.
    pub(crate) fn report_to(&self, card_events: Vec<Sender<CardEvent>>) {
        self.core.lock().card_events = card_events;
    }

    /// Gives a tenant its queue, or changes what it was promised.
    pub(crate) fn set_tenant(&self, tenant: &Tenant) {
        let limits = &tenant.limits;
        let places = limits.queued_blocks_max.unwrap_or(self.queue_blocks_max);
        let places = places.clamp(1, self.queue_blocks_max.max(1));
        let config = TenantConfig {
            weight: limits.weight,
            cir_us_per_s: limits.cir_us_per_s,
            pir_us_per_s: limits.pir_us_per_s,
            pir_burst: Nanos(limits.pir_burst_us.saturating_mul(1_000)),
            // The permits are the bound; jobs that come back for a replay hold none and have room on top.
            queued_max: places.saturating_mul(2),
        };
        let mut core = self.core.lock();
        if let Some(place) = core.tenants.get(&tenant.id) {
            let index = place.index;
            place.room.resize(places);
            core.scheduler.set_tenant(index, config);
            return;
        }
        let Some(context) = core.contexts.checked_add(1) else {
            tracing::error!(
                tenant = tenant.id.as_str(),
                "as many tenants were made as there are scrub domains; restart the gateway to serve this one"
            );
            return;
        };
        core.contexts = context;
        let place = TenantPlace {
            index: core.scheduler.add_tenant(config),
            context,
            room: QueueRoom::new(places),
        };
        core.tenants.insert(tenant.id.clone(), place);
    }

    /// Takes a tenant's queue away. What it had queued is answered; what runs ends and is charged to its requests.
    pub(crate) fn remove_tenant(&self, tenant: &TenantId) {
        let queued = {
            let mut core = self.core.lock();
            let Some(place) = core.tenants.remove(tenant) else {
                return;
            };
            place.room.close();
            core.scheduler.remove_tenant(place.index)
        };
        for job in queued {
            job.answer(Err(JobError::TenantRemoved));
        }
    }

    /// What the engines give.
    pub(crate) fn capacity(&self) -> Capacity {
        self.core.lock().scheduler.capacity()
    }

    pub(crate) fn tenant(&self, tenant: &TenantId) -> Option<TenantPlace> {
        self.core.lock().tenants.get(tenant).cloned()
    }

    /// How much is verified.
    pub(crate) const fn verification(&self) -> Verification {
        self.verification
    }

    /// Charges a job that its caller runs at once on its own thread, if it is small enough for that and passes nobody. The
    /// first of its kind and size never is: a worker finds out how long it takes.
    pub(crate) fn take_now(&self, spec: &JobSpec, placement: Placement) -> Option<Receipt> {
        if !may_run_here(spec) {
            return None;
        }
        let job = JobShape {
            kernel: class_of(&spec.kernel),
            bytes: spec.input.len(),
        };
        let mut core = self.core.lock();
        if self.stopping.load(Ordering::Acquire) {
            return None;
        }
        let tenant = core.tenants.get(&spec.tenant)?.index;
        core.scheduler.take_now(
            tenant,
            job,
            placement,
            self.cpu,
            Nanos(HERE_MICROS_MAX * 1_000),
            self.now(),
        )
    }

    /// How long a job that requires a card waits while none is in service.
    pub(crate) const fn hw_wait(&self) -> Duration {
        self.hw_wait
    }

    /// Queue a job that has room.
    pub(crate) fn push(
        &self,
        tenant: TenantIndex,
        job: PendingJob,
        placement: Placement,
    ) -> Result<(), JobError> {
        let (kernel, bytes) = (class_of(&job.spec.kernel), job.spec.input.len());
        let mut core = self.core.lock();
        if self.stopping.load(Ordering::Acquire) {
            return Err(JobError::Stopping);
        }
        core.scheduler
            .push(tenant, job, kernel, bytes, placement, self.now())
            .map_err(|full| JobError::Internal(format!("{full}, although it had room")))?;
        self.announce(core, placement);
        Ok(())
    }

    /// Wake who may take a job that was just queued, and nobody else: waking a sleeping worker costs more than a small job.
    fn announce(&self, core: MutexGuard<'_, Core>, placement: Placement) {
        let takers = placement.effective(core.scheduler.in_service());
        core.wake(takers);
        drop(core);
        if takers.contains(self.cpu) {
            self.work.notify_one();
        }
    }

    /// Take the jobs out of the queue that nobody waits for any more.
    pub(crate) fn forget_cancelled(&self) {
        let gone = self.core.lock().scheduler.remove(PendingJob::is_unwanted);
        drop(gone);
    }

    /// Refuse what is queued and take no more; what runs ends.
    pub(crate) fn stop(&self) {
        let refused = {
            let mut core = self.core.lock();
            self.stopping.store(true, Ordering::Release);
            core.wake(self.all_cards);
            core.scheduler.remove(|_| true)
        };
        for job in refused {
            job.answer(Err(JobError::Stopping));
        }
        self.work.notify_all();
    }

    /// The cards have stopped: the CPU workers end once everything that was claimed is verified.
    pub(crate) fn end(&self) {
        let core = self.core.lock();
        self.ended.store(true, Ordering::Release);
        drop(core);
        self.work.notify_all();
    }

    pub(crate) fn refresh_gauges(&self) {
        let seconds = |nanos: Nanos| Duration::from_nanos(nanos.0).as_secs_f64();
        let mut core = self.core.lock();
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(core.gauges_read);
        core.gauges_read = now;
        for place in &mut core.functions {
            let busy = place.busy.read(now).as_secs_f64() / elapsed.as_secs_f64().max(f64::EPSILON);
            let device = format!("fpga{}.{}", place.card, place.function);
            self.metrics.device_busy(&device, busy.min(1.0));
        }
        let depths = core.tenants.iter().map(|(tenant, place)| {
            let depth = core.scheduler.queued(place.index);
            (tenant.as_str(), depth)
        });
        self.metrics
            .queue_depths(depths.filter(|(_, depth)| *depth > 0));
        let oldest = core
            .scheduler
            .oldest_queued_at()
            .map_or(Nanos(0), |at| self.now().since(at));
        self.metrics.queue_oldest(seconds(oldest));
        let backlog = |targets: TargetSet| {
            let each = targets.iter().map(|t| core.scheduler.outstanding(t).0);
            seconds(Nanos(each.sum()))
        };
        self.metrics
            .backlog("cpu", backlog(TargetSet::of(self.cpu)));
        self.metrics.backlog("card", backlog(self.all_cards));
    }

    /// Predicted time until the first engine in service is done with what it holds.
    pub(crate) fn backlog(&self) -> Duration {
        let core = self.core.lock();
        let targets = core.scheduler.in_service();
        let held = targets
            .iter()
            .map(|target| core.scheduler.outstanding(target).0);
        Duration::from_nanos(held.min().unwrap_or(0))
    }

    fn now(&self) -> Nanos {
        Nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Predicted time of all that engines hold.
    #[cfg(test)]
    pub(crate) fn outstanding_ns(&self) -> u64 {
        let core = self.core.lock();
        let targets = self.all_cards.union(TargetSet::of(self.cpu));
        targets
            .iter()
            .map(|target| core.scheduler.outstanding(target).0)
            .sum()
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

    /// Whether there are cards, and an operator has all their functions drained.
    pub(crate) fn cards_are_drained(&self) -> bool {
        self.cards_drained.load(Ordering::Acquire)
    }

    /// Note that an operator has a function drained, or no longer.
    pub(crate) fn note_drained(&self, card: u8, function: u8, on: bool) {
        let mut core = self.core.lock();
        let mut places = core.functions.iter_mut();
        if let Some(place) = places.find(|place| (place.card, place.function) == (card, function)) {
            place.drained = on;
        }
        let drained =
            !core.functions.is_empty() && core.functions.iter().all(|place| place.drained);
        self.cards_drained.store(drained, Ordering::Release);
    }

    /// Why the CPU has a job that a card might have had as well, where an operator is the reason.
    pub(crate) fn drained_reason(&self, spec: &JobSpec) -> Option<FallbackReason> {
        let drained = spec.policy != BackendPolicy::Cpu && self.cards_are_drained();
        let for_cards = drained
            && self
                .placement(spec)
                .is_ok_and(|placement| !placement.allowed.intersection(self.all_cards).is_empty());
        for_cards.then_some(FallbackReason::Drained)
    }

    /// The scheduler's target for a function.
    pub(crate) fn target_of(&self, card: u8, function: u8) -> Option<TargetIndex> {
        let core = self.core.lock();
        core.functions
            .iter()
            .find(|place| (place.card, place.function) == (card, function))
            .map(|place| place.target)
    }

    /// Jobs that a function holds.
    pub(crate) fn in_flight(&self, card: u8, function: u8) -> usize {
        let core = self.core.lock();
        let mut functions = core.functions.iter();
        functions
            .find(|place| (place.card, place.function) == (card, function))
            .map_or(0, |place| place.busy.jobs())
    }

    /// Put a function into service with what wakes its worker, or take it out.
    pub(crate) fn set_in_service(&self, card: u8, function: u8, wake: Option<Wake>) {
        let mut core = self.core.lock();
        let Some(place) = core
            .functions
            .iter_mut()
            .find(|place| (place.card, place.function) == (card, function))
        else {
            return;
        };
        let target = place.target;
        let on = wake.is_some();
        place.wake = wake;
        core.scheduler.set_in_service(target, on);
        core.wake(self.all_cards);
        drop(core);
        // Jobs that preferred a card may now be the CPU's.
        self.work.notify_all();
    }

    pub(crate) fn placement(&self, spec: &JobSpec) -> Result<Placement, JobError> {
        let cpu = TargetSet::of(self.cpu);
        let beyond = match &spec.kernel {
            Kernel::Compress { level, .. } if level.get() > CARD_LEVEL_MAX => Some(format!(
                "no card serves level {}; use level 1 to {CARD_LEVEL_MAX}, or let the CPU serve it (Faam-Backend: auto)",
                level.get()
            )),
            Kernel::CompressPart { format, .. } => Some(format!(
                "no card serves {format}; use gzip, zlib or deflate, or let the CPU serve it (Faam-Backend: auto)"
            )),
            Kernel::DecompressPart { .. } => Some(beyond_card_text()),
            Kernel::Decompress { .. } if spec.input.len() > faam_hwif::JOB_BYTES_MAX as usize => {
                Some(beyond_card_text())
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
        life: u64,
    ) -> Option<RunningJob> {
        if self.stopping.load(Ordering::Acquire) {
            return None;
        }
        let mut core = self.core.lock();
        if core.unverified.len() >= UNVERIFIED_MAX {
            return None;
        }
        let running = self.take(&mut core, target, engine, life)?;
        if let Some(place) = core.place(target) {
            place.busy.begin(Instant::now());
        }
        Some(running)
    }

    /// What a CPU worker does next, if there is something. What it did before is settled in the same hold of the lock.
    pub(crate) fn next_at_once(&self, done: Option<Done>) -> Option<CpuWork> {
        let mut core = self.core.lock();
        if let Some(done) = done {
            core.settle(done);
        }
        self.look_for_cpu(&mut core)
    }

    fn look_for_cpu(&self, core: &mut Core) -> Option<CpuWork> {
        // First what is nearly done: its memory and its caller wait for nothing else.
        if let Some(unverified) = core.unverified.pop_front() {
            if core.unverified.len() == UNVERIFIED_MAX - 1 {
                core.wake(self.all_cards);
            }
            return Some(CpuWork::Verify(unverified));
        }
        let running = self.take(core, self.cpu, EngineId::Cpu, 0)?;
        Some(CpuWork::Run(running))
    }

    /// The same; blocks until there is something.
    pub(crate) fn next_for_cpu(&self) -> CpuWork {
        let mut core = self.core.lock();
        loop {
            if let Some(work) = self.look_for_cpu(&mut core) {
                return work;
            }
            if self.ended.load(Ordering::Acquire) {
                return CpuWork::Stop;
            }
            let limit = if core.scheduler.queued_in_all() > 0 {
                CPU_DEFER_POLL
            } else {
                CPU_IDLE_MAX
            };
            self.work.wait_for(&mut core, limit);
        }
    }

    fn take(
        &self,
        core: &mut Core,
        target: TargetIndex,
        engine: EngineId,
        life: u64,
    ) -> Option<RunningJob> {
        // Each turn takes a job off the queue, so the queue's bound bounds the loop.
        loop {
            let Taken {
                mut job,
                receipt,
                waited,
                ..
            } = core.scheduler.next(target, self.now())?;
            job.room = None;
            // From its first queueing on: what a failed attempt took counts as waiting.
            job.phases.queue = job.phases.queue.max(Duration::from_nanos(waited.0));
            if job.is_unwanted() {
                core.scheduler.abandon(receipt);
                continue;
            }
            if job
                .spec
                .deadline
                .is_some_and(|deadline| deadline <= Instant::now())
            {
                core.scheduler.abandon(receipt);
                job.meter(Duration::ZERO, Duration::ZERO);
                let phases = job.phases;
                job.answer(Err(JobError::Deadline(phases)));
                continue;
            }
            if engine == EngineId::Cpu
                && job.fallback.is_none()
                && job.spec.policy == BackendPolicy::PreferHardware
            {
                let beyond = self
                    .placement(&job.spec)
                    .is_ok_and(|p| p.preferred.is_empty());
                let reason = if beyond && !self.all_cards.is_empty() {
                    FallbackReason::BeyondCard
                } else if self.cards_are_drained() {
                    FallbackReason::Drained
                } else {
                    FallbackReason::NoCard
                };
                self.metrics.fallback(reason.as_str());
                job.fallback = Some(reason);
            }
            if engine == EngineId::Cpu
                && job.fallback.is_none()
                && let Some(reason) = self.drained_reason(&job.spec)
            {
                self.metrics.fallback(reason.as_str());
                job.fallback = Some(reason);
            }
            return Some(RunningJob {
                job,
                receipt,
                engine,
                life,
            });
        }
    }

    /// A function finished a command: hand the result to the CPU workers for verification.
    pub(crate) fn card_claims(&self, running: RunningJob, claim: Claim) {
        let mut core = self.core.lock();
        core.released(&running);
        core.unverified.push_back(Unverified { running, claim });
        drop(core);
        self.work.notify_one();
    }

    /// A function failed with this job in hand: replay it.
    pub(crate) fn card_failed(&self, running: RunningJob, fault: &str) {
        tracing::debug!(engine = %running.engine, fault, "replaying a job");
        self.core.lock().released(&running);
        self.replay(running, FallbackReason::CardFault);
    }

    /// Put a job back at the front of its tenant's queue, away from the engine that failed it.
    pub(crate) fn replay(&self, running: RunningJob, reason: FallbackReason) {
        let RunningJob {
            mut job, receipt, ..
        } = running;
        self.metrics.fallback(reason.as_str());
        job.spec.permit.meter().met(match reason {
            FallbackReason::VerifyFailed => LimitMet::VerifyFailed,
            _ => LimitMet::Replay,
        });
        job.replays = job.replays.saturating_add(1);
        job.fallback = Some(reason);
        let required = job.spec.policy == BackendPolicy::RequireHardware;
        let mut core = self.core.lock();
        if job.replays > REPLAYS_MAX && required || self.stopping.load(Ordering::Acquire) {
            core.scheduler.abandon(receipt);
            drop(core);
            job.meter(Duration::ZERO, Duration::ZERO);
            let stopping = self.stopping.load(Ordering::Acquire);
            let waited = job.phases.queue;
            job.answer(Err(if stopping {
                JobError::Stopping
            } else {
                JobError::BeyondCard(format!(
                    "cards failed this job {REPLAYS_MAX} times, over {} ms; let the CPU serve it (Faam-Backend: auto or \
                     prefer-hw), and see last_fault in GET /v1/devices",
                    waited.as_millis()
                ))
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
        self.announce(core, placement);
    }

    /// A job was answered or given up: take it off its engine's books. `took` teaches the predictor. What it was charged,
    /// time on the reference engine.
    pub(crate) fn settle(
        &self,
        receipt: Receipt,
        took: Option<Duration>,
        reference: Option<Duration>,
    ) -> Duration {
        self.core.lock().settle(Done {
            receipt,
            took,
            reference,
        })
    }

    /// A result of this function did not pass verification: its supervisor takes it out of service.
    pub(crate) fn report_verify_failure(&self, engine: EngineId, life: u64) {
        self.metrics.verify_failure(&engine.to_string());
        if let EngineId::Card { card, function, .. } = engine {
            let core = self.core.lock();
            if let Some(events) = core.card_events.get(usize::from(card)) {
                // The channel is bounded: one report among many is enough.
                let _ = events.try_send(CardEvent::VerifyFailed { function, life });
            }
        }
    }
}

/// Prediction class: a number a kernel, format aside where it makes no difference, and level.
fn class_of(kernel: &Kernel) -> KernelClass {
    let format_class = |format: Option<Format>| match format {
        Some(Format::Zstd) => 0x100,
        Some(Format::Lz4) => 0x200,
        Some(Format::Gzip | Format::Zlib | Format::Deflate) | None => 0,
    };
    const DECOMPRESS: u16 = 0x80;
    const PART: u16 = 0x40;
    KernelClass(match kernel {
        Kernel::Compress { level, .. } => u16::from(level.get()),
        Kernel::CompressPart { format, level, .. } => {
            format_class(Some(*format)) + PART + u16::from(level.get())
        }
        Kernel::Decompress { .. } => DECOMPRESS,
        Kernel::DecompressPart { stage, .. } => {
            let format = stage.as_ref().and_then(|stage| stage.0.format());
            format_class(format) + DECOMPRESS + PART
        }
    })
}

#[cfg(test)]
mod tests;
