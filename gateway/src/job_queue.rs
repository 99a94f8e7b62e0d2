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
//! of its tenant's queue, at most [`REPLAYS_MAX`] times for failures, and [`KERNEL_ABSENT_REPLAYS_MAX`] times for its kernel.
//!
//! It deliberately does not know HTTP, nor how a card is reached or recovered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use faam_hwif::Serves;
use faam_sched::{
    Capacity, Config as SchedulerConfig, JobId, Measured, Nanos, Placement, Receipt, Scheduler,
    Taken, TargetIndex, TargetSet, TenantIndex,
};
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::card_claim::{Claim, Unverified};
use crate::cards::CardEvent;
use crate::command_limit::{COMMAND_LIMIT_MAX, command_limit};
use crate::dispatch::{DispatchConfig, StartError};
use crate::job::{BackendPolicy, EngineId, FallbackReason, JobError, JobSpec, Verification};
use crate::limit_met::LimitMet;
use crate::metrics::Metrics;
use crate::pending_job::{PendingJob, RunningJob};
use crate::small_job::{HERE_MICROS_MAX, may_run_here};
use crate::thread_time::Took;

mod gauges;
mod image_lists;
mod kernel_waits;
mod places;
mod replay;
mod request;
mod serving;
mod tenants;

pub use self::image_lists::IMAGE_LISTS_MAX;
pub(crate) use self::image_lists::{ImageList, KINDS, PlacedList, list_bit};
// Told by a card's supervisor, which only a system with the driver has.
use self::image_lists::{ImageLists, kinds_of, of_kernels, without_kernels};
#[cfg(any(test, all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) use self::image_lists::{Served, SlotKernel};
use self::kernel_waits::KernelWaits;
pub(crate) use self::kernel_waits::{KERNELS, KernelDemand, KernelWait};
pub(crate) use self::places::TenantPlace;
use self::places::{FunctionPlaces, TenantPlaces};
use self::request::{needs_of, request_of};

/// Times that a job goes back to the queue because its engine failed, before it is given to the CPU alone.
const REPLAYS_MAX: u8 = 3;
/// Times that a job goes back to the queue because no slot held its kernel any more, before it is given to the CPU alone.
const KERNEL_ABSENT_REPLAYS_MAX: u8 = 16;
/// Results that wait for verification; at the bound cards get no further jobs.
const UNVERIFIED_MAX: usize = 64;
/// How long an idle CPU worker sleeps before it looks again although nobody woke it.
const CPU_IDLE_MAX: Duration = Duration::from_millis(500);
/// Most that a card is believed to have spent on a block: a command's longest limit, and the same again.
pub(crate) const CARD_TIME_MAX: Duration = COMMAND_LIMIT_MAX.saturating_mul(2);
/// A job that its engine has done, to be taken off its books: see [`JobQueue::settle`].
pub(crate) struct Done {
    pub(crate) receipt: Receipt,
    pub(crate) ended: Ended,
}

/// How a job ended, for its tenant's charge and for what is learned of its engine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended {
    /// On a CPU worker, to its end.
    OnCpu(Took),
    /// On a card, after so long, of which its engines count so much; verified in this thread's time.
    OnCard {
        device: Duration,
        engine: Duration,
        verify: Duration,
    },
    /// With an answer that tells nothing of the engine's speed; charged as measured, where it was, else as predicted.
    Aside(Option<Duration>),
    /// Before it was begun: charged nothing.
    Unbegun,
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
    /// Who has kernels loaded.
    keeper: Mutex<Option<Sender<()>>>,
}

struct Core {
    scheduler: Scheduler<PendingJob>,
    tenants: TenantPlaces,
    /// Bounded by [`UNVERIFIED_MAX`] and what cards had in flight when it was reached.
    unverified: VecDeque<Unverified>,
    functions: FunctionPlaces,
    card_events: Vec<Sender<CardEvent>>,
    gauges_read: Instant,
    /// When the CPU worker that sleeps shortest looks again by itself.
    looks_again_at: Option<Nanos>,
    kernels: KernelWaits,
    lists: ImageLists,
    /// A tenant's list found no place.
    any_list_waits: bool,
}

impl Core {
    /// See [`JobQueue::settle`].
    fn settle(&mut self, done: Done) -> Duration {
        let Done { receipt, ended } = done;
        let Nanos(charged) = match ended {
            Ended::OnCpu(took) => {
                let measured = Measured {
                    took: nanos(took.wall),
                    engine: None,
                    reference: Some(nanos(took.thread)),
                    verified: Nanos(0),
                };
                self.scheduler.finish(receipt, measured)
            }
            Ended::OnCard {
                device,
                engine,
                verify,
            } => {
                let measured = Measured {
                    took: nanos(device),
                    // A card's word: no command takes longer than its time-out. One that counts nothing is not asked.
                    engine: Some(nanos(engine.min(CARD_TIME_MAX))).filter(|ns| ns.0 > 0),
                    reference: None,
                    verified: nanos(verify),
                };
                self.scheduler.finish(receipt, measured)
            }
            Ended::Aside(reference) => self.scheduler.abandon(receipt, reference.map(nanos)),
            Ended::Unbegun => {
                self.scheduler.refund(receipt);
                Nanos(0)
            }
        };
        Duration::from_nanos(charged)
    }
}

fn same_list(one: Option<&Arc<ImageList>>, other: Option<&Arc<ImageList>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

fn nanos(time: Duration) -> Nanos {
    Nanos(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
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
        scheduler.set_in_service(cpu, true, Nanos(0));
        let mut functions = FunctionPlaces::default();
        let mut all_cards = TargetSet::EMPTY;
        for (card, source) in config.cards.iter().enumerate() {
            let card = u8::try_from(card).map_err(|_| too_many())?;
            for function in 0..source.functions() {
                let target = scheduler.add_target(1, false).ok_or_else(too_many)?;
                all_cards = all_cards.union(TargetSet::of(target));
                scheduler.set_abilities(target, of_kernels(Serves::ALL), Nanos(0));
                functions.add(card, function, target);
            }
        }
        Ok(Self {
            core: Mutex::new(Core {
                scheduler,
                tenants: TenantPlaces::default(),
                unverified: VecDeque::new(),
                functions,
                card_events: Vec::new(),
                gauges_read: Instant::now(),
                looks_again_at: None,
                kernels: KernelWaits::default(),
                lists: ImageLists::default(),
                any_list_waits: false,
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
            keeper: Mutex::new(None),
        })
    }

    /// With one card, whose function 0 is in service.
    #[cfg(test)]
    pub(crate) fn with_one_card() -> Self {
        use crate::cards::{CardSource, SimulatedFaults, SimulatedSlots};
        let config = DispatchConfig {
            cards: vec![CardSource::OwnSimulated {
                model: faam_sim::Model::Functional,
                engines: 1,
                pace_mhz: None,
                slots: SimulatedSlots::default(),
                faults: SimulatedFaults::default(),
            }],
            ..DispatchConfig::default()
        };
        let queue = Self::new(&config, Arc::new(Metrics::new())).expect("a queue");
        queue.set_in_service(0, 0, Some(Box::new(|| {})));
        queue
    }

    /// Where to report functions whose results are wrong, a sender a card.
    pub(crate) fn report_to(&self, card_events: Vec<Sender<CardEvent>>) {
        self.core.lock().card_events = card_events;
    }

    /// Has every worker look for jobs.
    fn wake_all(&self, core: &Core) {
        core.functions.wake(self.all_cards);
        self.work.notify_all();
    }

    /// The part of every guaranteed rate that is held with the engines in service.
    pub(crate) fn cir_scale(&self) -> f64 {
        self.core.lock().scheduler.cir_scale()
    }

    /// What the engines give.
    pub(crate) fn capacity(&self) -> Capacity {
        self.core.lock().scheduler.capacity()
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
        let request = request_of(spec, placement);
        let mut core = self.core.lock();
        if self.stopping.load(Ordering::Acquire) {
            return None;
        }
        let tenant = core.tenants.get(&spec.tenant)?.index;
        let most = Nanos(HERE_MICROS_MAX * 1_000);
        let now = self.now();
        let receipt = core
            .scheduler
            .take_now(tenant, request, self.cpu, most, now);
        if let Some(receipt) = &receipt {
            core.kernels
                .wanted(placement.needs, receipt.charged(), None);
        }
        self.wake_due(&mut core, now);
        receipt
    }

    /// Wakes who was given nothing and may be given something now: time has gone on, or a charge was corrected, so that a
    /// tenant at its peak rate may go on.
    fn wake_due(&self, core: &mut Core, now: Nanos) {
        let to_wake = core.scheduler.to_wake(now);
        if to_wake.is_empty() {
            return;
        }
        core.functions.wake(to_wake);
        if to_wake.contains(self.cpu) {
            // More than one job may be let go on at once, and this is said once.
            self.work.notify_all();
        }
    }

    /// How long a job that requires a card waits while none is in service.
    pub(crate) const fn hw_wait(&self) -> Duration {
        self.hw_wait
    }

    /// Queue a job that has room. By what comes back it is taken out again; with it comes where it may run, for what its tenant
    /// may use may have changed since that was found.
    pub(crate) fn push(
        &self,
        tenant: TenantIndex,
        mut job: PendingJob,
        mut placement: Placement,
    ) -> Result<(JobId, Placement), JobError> {
        let permit = Arc::clone(&job.spec.permit);
        let mut core = self.core.lock();
        if let Some(place) = core.tenants.get(&job.spec.tenant)
            && !same_list(place.images.as_ref(), job.images.as_ref())
        {
            job.images.clone_from(&place.images);
            placement = self.placement(&job.spec, job.images.as_deref())?;
        }
        let request = request_of(&job.spec, placement);
        if self.stopping.load(Ordering::Acquire) {
            return Err(JobError::Stopping);
        }
        let waits = self.waits_for_a_kernel(&core, placement).then(Instant::now);
        job.begins_to_wait_for_a_kernel(waits);
        if job.spec.policy == BackendPolicy::RequireHardware {
            job.kernel_wait = Some(core.kernels.waits(placement.needs));
        }
        let cost = core.scheduler.cost_of(request.shape);
        core.kernels.wanted(placement.needs, cost, waits);
        // What no kind counts, of a list without a place, no load would serve.
        if waits.is_some() && kinds_of(placement.needs).next().is_some() {
            self.tell_keeper();
        }
        let pushed = core.scheduler.push(tenant, job, request, self.now());
        let id = pushed.map_err(|full| match full.queued {
            // Its place is gone since its room was found.
            0 => JobError::TenantRemoved,
            _ => JobError::Internal(format!("{full}, although it had room")),
        })?;
        if core.scheduler.is_limited(tenant) {
            permit.meter().met(LimitMet::PeakRate);
        }
        self.announce(core, placement);
        Ok((id, placement))
    }

    /// How kernels were asked for since the start, by whoever has no list of images and by each list; and the lists that were
    /// told apart at that moment.
    pub(crate) fn kernel_demand(&self) -> ([KernelDemand; KINDS], Vec<PlacedList>) {
        let mut core = self.core.lock();
        core.kernels.note_waiting(Instant::now());
        (core.kernels.demand(), core.lists.placed())
    }

    /// Who is to be woken when a job waits for a kernel that no card has.
    pub(crate) fn wake_for_kernels(&self, wake: Sender<()>) {
        *self.keeper.lock() = Some(wake);
    }

    /// Wakes who loads kernels: jobs wait for one, or a slot has changed, so that its function can be changed again.
    pub(crate) fn tell_keeper(&self) {
        if let Some(wake) = &*self.keeper.lock() {
            // One wake among many is enough.
            let _ = wake.try_send(());
        }
    }

    /// Wake who may take a job that was just queued, and nobody else: waking a sleeping worker costs more than a small job.
    fn announce(&self, core: MutexGuard<'_, Core>, placement: Placement) {
        let takers = core.scheduler.effective(placement);
        core.functions.wake(takers);
        drop(core);
        if takers.contains(self.cpu) {
            self.work.notify_one();
        }
    }

    /// Take a job out of the queue that nobody waits for any more, with all that it holds; an engine keeps what it has.
    pub(crate) fn cancel(&self, id: JobId) {
        let gone = self.core.lock().scheduler.cancel(id);
        drop(gone);
    }

    /// Refuse what is queued and take no more; what runs ends.
    pub(crate) fn stop(&self) {
        let refused = {
            let mut core = self.core.lock();
            self.stopping.store(true, Ordering::Release);
            core.functions.wake(self.all_cards);
            core.scheduler.drain()
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

    fn now(&self) -> Nanos {
        nanos(self.origin.elapsed())
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
        let taken = self.take(&mut core, target, engine, life);
        match &taken {
            Some(running) => core.functions.begin(target, needs_of(&running.job)),
            // Whoever keeps the time looks at what this function is to be woken for.
            None => {
                let wakes_at = core.scheduler.wakes_at();
                let sooner = |at| core.looks_again_at.is_none_or(|looks| at < looks);
                if wakes_at.is_some_and(sooner) {
                    self.work.notify_one();
                }
            }
        }
        taken
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
                core.functions.wake(self.all_cards);
            }
            return Some(CpuWork::Verify(unverified));
        }
        let running = self.take(core, self.cpu, EngineId::Cpu, 0)?;
        Some(CpuWork::Run(running))
    }

    /// The same; blocks until there is something. Whoever sleeps here keeps the time for all: it wakes the functions whose
    /// jobs have waited long enough for a better engine, or for their tenant's peak rate.
    pub(crate) fn next_for_cpu(&self) -> CpuWork {
        let mut core = self.core.lock();
        loop {
            if let Some(work) = self.look_for_cpu(&mut core) {
                return work;
            }
            if self.ended.load(Ordering::Acquire) {
                return CpuWork::Stop;
            }
            let now = self.now();
            let idle = now.plus(nanos(CPU_IDLE_MAX));
            let until = core.scheduler.wakes_at().map_or(idle, |at| at.min(idle));
            core.looks_again_at = Some(core.looks_again_at.map_or(until, |at| at.min(until)));
            let Nanos(span) = until.since(now);
            self.work.wait_for(&mut core, Duration::from_nanos(span));
            // The others who sleep, if any, note theirs again when they are woken once too often.
            core.looks_again_at = None;
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
            let now = self.now();
            let taken = core.scheduler.next(target, now);
            self.wake_due(core, now);
            let Taken {
                mut job,
                receipt,
                waited,
                deferred,
            } = taken?;
            job.room = None;
            job.kernel_wait = None;
            if deferred {
                job.spec.permit.meter().met(LimitMet::Deferred);
            }
            // For room, then from its first queueing on: what a failed attempt took counts as waiting.
            job.phases.queue = job.room_waited + Duration::from_nanos(waited.0);
            let served_since = core.kernels.served_since(needs_of(&job));
            job.note_load(served_since, Instant::now());
            if job.is_unwanted() {
                core.scheduler.refund(receipt);
                continue;
            }
            if job
                .spec
                .deadline
                .is_some_and(|deadline| deadline <= Instant::now())
            {
                core.scheduler.refund(receipt);
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
                    .placement(&job.spec, None)
                    .is_ok_and(|p| p.preferred.is_empty());
                let on_cards = Placement::any_of(self.all_cards);
                let on_cards = on_cards.needing(needs_of(&job));
                let reason = if beyond && !self.all_cards.is_empty() {
                    FallbackReason::BeyondCard
                } else if self.cards_are_drained() {
                    FallbackReason::Drained
                } else if self.waits_for_any_image(core, on_cards) {
                    FallbackReason::KernelAbsent
                } else if self.waits_for_a_kernel(core, on_cards) {
                    FallbackReason::NotAllowed
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
            let ends_within = core.scheduler.ends_within(&receipt);
            let ends_within = ends_within.map(|Nanos(ns)| Duration::from_nanos(ns));
            let command_limit = command_limit(&job.spec.kernel, ends_within);
            return Some(RunningJob {
                job,
                receipt,
                engine,
                life,
                command_limit,
            });
        }
    }

    /// A function finished a command: hand the result to the CPU workers for verification.
    pub(crate) fn card_claims(&self, running: RunningJob, claim: Claim) {
        let mut core = self.core.lock();
        core.functions
            .end(running.receipt.target(), needs_of(&running.job));
        core.unverified.push_back(Unverified { running, claim });
        drop(core);
        self.work.notify_one();
    }

    /// A job has ended: take it off its engine's books. What it was charged, time on the reference engine.
    pub(crate) fn settle(&self, receipt: Receipt, ended: Ended) -> Duration {
        let mut core = self.core.lock();
        let charged = core.settle(Done { receipt, ended });
        self.wake_due(&mut core, self.now());
        charged
    }
}

#[cfg(test)]
mod tests;
