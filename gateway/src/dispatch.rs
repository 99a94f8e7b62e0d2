//! The one boundary between async and threads: jobs go in, outcomes come back on a oneshot.
//!
//! Owns the start and stop of everything that runs jobs. Invariants: a job that was submitted is
//! answered, refused or cancelled, once; a caller that hangs up frees its place in the queue at
//! once, but nothing that a card still holds.
//!
//! It deliberately does not know HTTP, nor which engine takes a job or when: engines pull from
//! `crate::job_queue`.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::Sender;
use faam_sched::{Abilities, Capacity, Forecast, JobId};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::allowed_images::AllowedImages;
use crate::card_faults::FaultDoor;
use crate::card_operation::FunctionNumber;
use crate::cards::{CardEvent, CardSource, CardStatus, Cards};
use crate::cpu::{self, CpuPool};
use crate::events::Events;
use crate::job::{
    AnnouncedCompression, BackendPolicy, BlockOutcome, JobError, JobSpec, Phases, Verification,
};
pub use crate::job_queue::IMAGE_LISTS_MAX;
use crate::job_queue::{JobQueue, TenantPlace};
use crate::limit_met::LimitMet;
use crate::metrics::Metrics;
use crate::pending_job::PendingJob;
use crate::queue_room::{Closed, QueueRoom, RoomPermit};
use crate::slot_image::{ImageSource, NoImages};
use crate::slot_keeper::{SlotKeeper, SlotSettings};
use crate::tenants::{Tenant, TenantId};

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
    /// How long a job without a deadline waits for room in its tenant's queue.
    pub queue_wait: Duration,
    /// How much of what engines make is verified.
    pub verification: Verification,
    /// Where it is recorded what happens to cards.
    pub events: Events,
    /// The images of kernels that slots can be loaded with; `None`: the gateway's own store of them, if it has one.
    pub images: Option<Arc<dyn ImageSource>>,
    /// How slots are kept loaded.
    pub slots: SlotSettings,
}

impl Default for DispatchConfig {
    fn default() -> Self {
        Self {
            #[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
            cards: Vec::new(),
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            cards: vec![CardSource::OwnSimulated {
                model: faam_sim::Model::Functional,
                engines: 1,
                pace_mhz: None,
                slots: crate::cards::SimulatedSlots::default(),
                faults: crate::cards::SimulatedFaults::default(),
            }],
            data_dir: PathBuf::from("data"),
            sim_program: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("faam")),
            cpu_workers: std::thread::available_parallelism().map_or(2, usize::from),
            arena_bytes: 24 << 20,
            hw_wait: Duration::from_secs(10),
            queue_blocks_max: 2048,
            queue_wait: Duration::from_secs(60),
            verification: Verification::On,
            events: Events::default(),
            images: None,
            slots: SlotSettings::default(),
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
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The driver is not part of this build.
    #[error("cards need x86-64 Linux; start with --devices none to serve on the CPU engines")]
    NoDriver,
}

/// All that runs beside the callers.
struct Threads {
    pool: CpuPool,
    cards: Cards,
    keeper: Option<SlotKeeper>,
}

/// Hands jobs to engines. Cheap to clone.
#[derive(Clone)]
pub struct Dispatcher {
    jobs: Arc<JobQueue>,
    threads: Arc<Mutex<Option<Threads>>>,
    queue_wait: Duration,
    fault_doors: Arc<[FaultDoor]>,
    images: Arc<dyn ImageSource>,
}

impl Dispatcher {
    /// Start the CPU workers and a supervisor for each card. Cards come into service by and by.
    ///
    /// # Errors
    /// [`StartError`]; no CPU worker is left running.
    pub fn start(config: DispatchConfig, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        let jobs = Arc::new(JobQueue::new(&config, metrics)?);
        let images = config.images.clone();
        let images = images.unwrap_or_else(|| Arc::new(NoImages));
        let end = || {
            jobs.stop();
            jobs.end();
        };
        let pool = CpuPool::start(&jobs, config.cpu_workers.max(1));
        // Those that were begun end by themselves.
        let pool = pool.inspect_err(|_| end()).map_err(StartError::Thread)?;
        let cards = match Cards::start(&jobs, &config) {
            Ok(cards) => cards,
            Err(error) => {
                end();
                pool.join();
                return Err(error);
            }
        };
        jobs.report_to(cards.event_senders());
        let keeper = SlotKeeper::start(&config.slots, &jobs, &images, cards.kept());
        let keeper = match keeper {
            Ok(keeper) => keeper,
            Err(error) => {
                end();
                cards.stop();
                pool.join();
                return Err(StartError::Thread(error));
            }
        };
        let threads = Threads {
            pool,
            cards,
            keeper,
        };
        Ok(Self {
            jobs,
            threads: Arc::new(Mutex::new(Some(threads))),
            queue_wait: config.queue_wait,
            fault_doors: FaultDoor::of(&config).into(),
            images,
        })
    }

    /// The images of kernels that slots can be loaded with.
    #[must_use]
    pub fn images(&self) -> &Arc<dyn ImageSource> {
        &self.images
    }

    /// Where a card's faults are asked for.
    pub(crate) fn fault_door(&self, card: u8) -> &FaultDoor {
        self.fault_doors
            .get(usize::from(card))
            .unwrap_or(&FaultDoor::NotOwn)
    }

    /// Gives a tenant its bounded queue, weight and rates; for one that has them, changes them. What it has queued stays.
    pub fn set_tenant(&self, tenant: &Tenant) {
        self.jobs.set_tenant(tenant);
    }

    /// Whether a tenant with this list of images would be told apart from all others: there is a bound to different lists.
    #[must_use]
    pub fn has_room_for(&self, tenant: &TenantId, images: &AllowedImages) -> bool {
        self.jobs.has_room_for(tenant, images)
    }

    /// Takes a tenant's queue away: what waits there is answered ([`JobError::TenantRemoved`]), what runs ends.
    pub fn remove_tenant(&self, tenant: &TenantId) {
        self.jobs.remove_tenant(tenant);
    }

    /// What the engines give, microseconds of the reference engine (one CPU worker) a second: those in service, and all of
    /// them. By what was measured; an engine that was never used counts as one reference engine.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.jobs.capacity()
    }

    /// Blocks that a tenant has queued.
    #[must_use]
    pub fn queued(&self, tenant: &TenantId) -> usize {
        self.jobs.queued(tenant)
    }

    /// The part of every guaranteed rate that is held with the engines in service, 1 while all are.
    #[must_use]
    pub fn cir_scale(&self) -> f64 {
        self.jobs.cir_scale()
    }

    /// When a compression would end that is announced now: by what its tenant has queued, its part of the capacity and its
    /// peak rate. No promise; `None` where it would be a guess, as long as an engine that may take it has never done such a
    /// block.
    #[must_use]
    pub fn forecast(&self, compression: &AnnouncedCompression<'_>) -> Option<Forecast> {
        self.jobs.forecast(compression)
    }

    /// Queue a job, waiting for room in its tenant's queue: see [`DispatchConfig::queue_wait`].
    ///
    /// # Errors
    /// [`JobError`]: it will never run.
    pub async fn submit(&self, spec: JobSpec) -> Result<Ticket, JobError> {
        let Some(place) = self.jobs.tenant(&spec.tenant) else {
            return Err(JobError::TenantRemoved);
        };
        self.submit_to(spec, place).await
    }

    async fn submit_to(&self, spec: JobSpec, place: TenantPlace) -> Result<Ticket, JobError> {
        let placement = self.jobs.placement(&spec, place.images.as_deref())?;
        let submitted = Instant::now();
        let room = match Arc::clone(&place.room).try_acquire() {
            Some(room) => room,
            None => {
                spec.permit.meter().met(LimitMet::QueueRoom);
                self.room(&spec, &place.room, submitted).await?
            }
        };
        let (reply, answer) = oneshot::channel();
        let (deadline, policy) = (spec.deadline, spec.policy);
        let job = PendingJob::new(spec, &place, reply, room, submitted.elapsed());
        let (id, placement) = self.jobs.push(place.index, job, placement)?;
        Ok(Ticket {
            answer: Answer::Awaited(answer, id),
            jobs: Arc::clone(&self.jobs),
            policy,
            needs: placement.needs,
            deadline,
            submitted,
            look_again: None,
        })
    }

    /// Room in a tenant's queue: until the job's deadline; without one for as long as a job waits for room, or, where it
    /// requires a card and none is in service, for a card.
    async fn room(
        &self,
        spec: &JobSpec,
        room: &Arc<QueueRoom>,
        submitted: Instant,
    ) -> Result<RoomPermit, JobError> {
        let mut acquire = pin!(Arc::clone(room).acquire());
        let last = spec.deadline.unwrap_or(submitted + self.queue_wait);
        let requires_card = spec.policy == BackendPolicy::RequireHardware;
        let mut look_again = match spec.deadline {
            None if requires_card => last.min(submitted + self.jobs.hw_wait()),
            _ => last,
        };
        loop {
            let acquired = tokio::time::timeout_at(look_again.into(), &mut acquire).await;
            if let Ok(acquired) = acquired {
                return acquired.map_err(|Closed| JobError::TenantRemoved);
            }
            let waited = submitted.elapsed();
            if spec.deadline.is_some() {
                return Err(deadline_passed(submitted));
            }
            if requires_card && !self.jobs.any_card_in_service() {
                return Err(JobError::no_card(waited, self.jobs.cards_are_drained()));
            }
            if look_again >= last {
                return Err(JobError::no_room(waited));
            }
            look_again = last.min(look_again + self.jobs.hw_wait());
        }
    }

    /// The same for a job that stands alone: where it is small, nobody waits and the CPU suits it, it runs here and
    /// now, for handing it to another thread and waiting for that one would take longer.
    ///
    /// # Errors
    /// [`JobError`]: it will never run.
    pub async fn submit_small(&self, mut spec: JobSpec) -> Result<Ticket, JobError> {
        let Some(place) = self.jobs.tenant(&spec.tenant) else {
            return Err(JobError::TenantRemoved);
        };
        let placement = self.jobs.placement(&spec, place.images.as_deref())?;
        let Some(receipt) = self.jobs.take_now(&spec, placement) else {
            return self.submit_to(spec, place).await;
        };
        let submitted = Instant::now();
        let Some(result) = cpu::run_here(&self.jobs, &mut spec, receipt) else {
            return self.submit_to(spec, place).await;
        };
        Ok(Ticket {
            answer: Answer::Here(Some(result)),
            jobs: Arc::clone(&self.jobs),
            policy: spec.policy,
            needs: placement.needs,
            deadline: spec.deadline,
            submitted,
            look_again: None,
        })
    }

    /// How long a job that requires a card waits for one to come into service.
    #[must_use]
    pub fn hw_wait(&self) -> Duration {
        self.jobs.hw_wait()
    }

    /// After how long what a tenant has queued is predicted to be worked off, and an engine to have room.
    #[must_use]
    pub fn backlog(&self, tenant: &TenantId) -> Duration {
        self.jobs.backlog(tenant)
    }

    /// What each card is doing now.
    #[must_use]
    pub fn cards(&self) -> Vec<CardStatus> {
        let mut cards = self
            .threads
            .lock()
            .as_ref()
            .map(|threads| threads.cards.status())
            .unwrap_or_default();
        let functions = cards.iter_mut().flat_map(|card| &mut card.functions);
        for slot in functions.flat_map(|function| &mut function.slots) {
            // Loaded before this gateway began: a kept image of the kernel tells its name.
            if slot.image.is_none()
                && let Some(kernel) = &slot.kernel
            {
                slot.image = self.images.name_of(kernel);
            }
        }
        cards
    }

    /// Jobs that a card's function holds.
    #[must_use]
    pub fn in_flight(&self, of: FunctionNumber) -> usize {
        self.jobs.in_flight(of.card, of.function)
    }

    /// The way to a card's supervisor; `None` for no card, or once all has stopped.
    pub(crate) fn card_events(&self, card: u8) -> Option<Sender<CardEvent>> {
        let threads = self.threads.lock();
        let threads = threads.as_ref()?;
        threads
            .cards
            .event_senders()
            .get(usize::from(card))
            .cloned()
    }

    /// Bring the gauges up to date; called before the metrics are read out.
    pub fn refresh_gauges(&self) {
        self.jobs.refresh_gauges();
    }

    /// Stop: what is queued is refused, what runs ends, cards are shut down. At most `limit`, then threads are left behind.
    pub async fn stop(&self, limit: Duration) {
        self.jobs.stop();
        let Some(Threads {
            pool,
            cards,
            keeper,
        }) = self.threads.lock().take()
        else {
            return;
        };
        let jobs = Arc::clone(&self.jobs);
        let stopped = tokio::task::spawn_blocking(move || {
            if let Some(keeper) = keeper {
                keeper.stop();
            }
            cards.stop();
            jobs.end();
            pool.join();
        });
        if tokio::time::timeout(limit, stopped).await.is_err() {
            tracing::warn!(limit_ms = limit.as_millis(), "engines did not stop in time");
        }
    }
}

fn deadline_passed(submitted: Instant) -> JobError {
    JobError::Deadline(Phases {
        queue: submitted.elapsed(),
        ..Phases::default()
    })
}

/// A place in the queue, and the way back. Dropping it cancels the job.
pub struct Ticket {
    answer: Answer,
    jobs: Arc<JobQueue>,
    policy: BackendPolicy,
    /// What a card has to serve for it.
    needs: Abilities,
    deadline: Option<Instant>,
    submitted: Instant,
    /// When to look whether a card is in service at all, while one is required.
    look_again: Option<Instant>,
}

enum Answer {
    Awaited(oneshot::Receiver<Result<BlockOutcome, JobError>>, JobId),
    /// Taken at most once.
    Here(Option<Result<BlockOutcome, JobError>>),
}

impl Ticket {
    /// Waits until [`Ticket::outcome`] has an answer at once. May be dropped while it waits, and called again.
    pub async fn ended(&mut self) {
        let Answer::Awaited(awaited, _) = &mut self.answer else {
            return;
        };
        let result = loop {
            let limit = self.deadline.unwrap_or_else(|| {
                *self
                    .look_again
                    .get_or_insert_with(|| Instant::now() + self.jobs.hw_wait())
            });
            match tokio::time::timeout_at(limit.into(), &mut *awaited).await {
                Ok(Ok(result)) => break result,
                Ok(Err(_)) => {
                    let what = "a job was dropped without an answer".to_owned();
                    break Err(JobError::Internal(what));
                }
                Err(_) if self.deadline.is_some() => break Err(deadline_passed(self.submitted)),
                Err(_) => {
                    self.look_again = None;
                    if self.policy == BackendPolicy::RequireHardware
                        && !self.jobs.any_card_serves(self.needs)
                    {
                        let waited = self.submitted.elapsed();
                        break Err(match self.jobs.any_card_in_service() {
                            true => {
                                JobError::no_kernel(waited, self.jobs.any_image_serves(self.needs))
                            }
                            false => JobError::no_card(waited, self.jobs.cards_are_drained()),
                        });
                    }
                    // Engines have time-outs of their own, so that some answer comes.
                }
            }
        };
        self.cancel();
        self.answer = Answer::Here(Some(result));
    }

    /// Wait for the result, until the job's deadline. There is one to be had once.
    ///
    /// # Errors
    /// [`JobError`]
    pub async fn outcome(&mut self) -> Result<BlockOutcome, JobError> {
        self.ended().await;
        match &mut self.answer {
            Answer::Here(result) => result.take(),
            Answer::Awaited(..) => None,
        }
        .unwrap_or_else(|| Err(JobError::Internal("an outcome was asked for twice".into())))
    }

    /// Nobody waits for an answer that has not come.
    fn cancel(&mut self) {
        if let Answer::Awaited(answer, id) = &mut self.answer
            && !answer.is_terminated()
        {
            answer.close();
            // If an engine holds it, the engine will find nobody waiting; else it stands in the queue, with its memory.
            self.jobs.cancel(*id);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.cancel();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use faam_codec::{Format, Level, Position};

    use super::*;
    use crate::admission::{Admission, AdmissionLimits};
    use crate::job::{Kernel, Priority};
    use crate::tenants::TenantLimits;

    /// A failure, not a measure.
    const SOON: Duration = Duration::from_secs(20);

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn a_start_that_fails_leaves_nobody_working() {
        let metrics = Arc::new(Metrics::new());
        let config = DispatchConfig {
            cpu_workers: 3,
            arena_bytes: usize::MAX >> 1,
            ..DispatchConfig::default()
        };
        let error = Dispatcher::start(config, Arc::clone(&metrics)).err();
        assert!(matches!(error, Some(StartError::Arena { .. })), "{error:?}");
        // Every worker has a hold of the queue, and that of these.
        assert_eq!(Arc::strong_count(&metrics), 1);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever_for_room_in_a_queue() {
        let (hw_wait, queue_wait) = (Duration::from_millis(20), Duration::from_millis(60));
        let config = DispatchConfig {
            cards: Vec::new(),
            cpu_workers: 1,
            hw_wait,
            queue_blocks_max: 1,
            queue_wait,
            ..DispatchConfig::default()
        };
        let dispatcher = Dispatcher::start(config, Arc::new(Metrics::new())).expect("starts");
        let tenant = Tenant::demo(TenantLimits::default());
        dispatcher.set_tenant(&tenant);
        let admission = Admission::new(AdmissionLimits::default());
        let submit = async |policy, deadline| {
            let spec = JobSpec {
                tenant: tenant.id.clone(),
                kernel: Kernel::Compress {
                    format: Format::Gzip,
                    level: Level::DEFAULT,
                    position: Position::Last,
                },
                input: Bytes::from_static(b"input"),
                policy,
                priority: Priority::default(),
                deadline,
                permit: Arc::new(admission.admit(&tenant, 5).expect("room")),
            };
            let submitted = tokio::time::timeout(SOON, dispatcher.submit(spec)).await;
            submitted.expect("in time")
        };
        // It has all the room there is, until its ticket is dropped.
        let holding = submit(BackendPolicy::RequireHardware, None).await;
        let holding = holding.expect("room");
        let began = Instant::now();
        let error = submit(BackendPolicy::RequireHardware, None).await.err();
        assert!(matches!(error, Some(JobError::NoCard { .. })), "{error:?}");
        assert!(began.elapsed() >= hw_wait);
        let began = Instant::now();
        let error = submit(BackendPolicy::Cpu, None).await.err();
        assert!(matches!(error, Some(JobError::NoRoom { .. })), "{error:?}");
        assert!(began.elapsed() >= queue_wait);
        let deadline = Some(Instant::now() + hw_wait);
        let error = submit(BackendPolicy::Cpu, deadline).await.err();
        assert!(matches!(error, Some(JobError::Deadline(_))), "{error:?}");
        drop(holding);
        let served = submit(BackendPolicy::Cpu, None).await;
        served.expect("room").outcome().await.expect("served");
        dispatcher.stop(SOON).await;
    }
}
