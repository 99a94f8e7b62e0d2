//! A job on its way through the queue and the engines, with the way back to whoever waits for it.
//!
//! Invariant: it is answered by value, so at most once. It does not know who takes it, nor when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use faam_sched::Receipt;
use tokio::sync::oneshot;

use crate::fault_met::FailedOn;
use crate::job::{BlockOutcome, EngineId, FallbackReason, JobError, JobSpec, Phases};
use crate::job_queue::{ImageList, KernelWait, TenantPlace};
use crate::meter::Spent;
use crate::queue_room::RoomPermit;

/// Devices that one job is remembered to have come back from: as often as it is done again, and once more.
const FAILED_ON_MAX: usize = 4;

/// A job in the queue or on an engine.
pub(crate) struct PendingJob {
    pub(crate) spec: JobSpec,
    /// The tenant's scrub domain on a card.
    pub(crate) context: u32,
    /// While it is queued and takes nothing but a card. Before its list: what is dropped first ends first, and a list's place is
    /// another's only once nobody waits for it.
    pub(crate) kernel_wait: Option<KernelWait>,
    /// The images that may serve it, where not every one may: its tenant's when it was queued.
    pub(crate) images: Option<Arc<ImageList>>,
    reply: oneshot::Sender<Result<BlockOutcome, JobError>>,
    pub(crate) room: Option<RoomPermit>,
    /// How long it waited for that, before it was queued.
    pub(crate) room_waited: Duration,
    pub(crate) replays: u8,
    /// Times that it came back because no slot held its kernel any more.
    pub(crate) kernel_absent_replays: u8,
    /// The devices that it came back from for a fault of theirs, the first ones.
    failed_on: [Option<FailedOn>; FAILED_ON_MAX],
    pub(crate) fallback: Option<FallbackReason>,
    pub(crate) phases: Phases,
    /// Since when it has waited for its kernel to be loaded.
    kernel_since: Option<Instant>,
}

impl PendingJob {
    /// A job of the tenant with this place that has waited `waited` for its `room` in the queue.
    pub(crate) fn new(
        spec: JobSpec,
        place: &TenantPlace,
        reply: oneshot::Sender<Result<BlockOutcome, JobError>>,
        room: RoomPermit,
        waited: Duration,
    ) -> Self {
        Self {
            spec,
            context: place.context,
            images: place.images.clone(),
            reply,
            room: Some(room),
            room_waited: waited,
            replays: 0,
            kernel_absent_replays: 0,
            kernel_wait: None,
            failed_on: [None; FAILED_ON_MAX],
            fallback: None,
            kernel_since: None,
            phases: Phases {
                since: Instant::now().checked_sub(waited),
                queue: waited,
                ..Phases::default()
            },
        }
    }

    /// Whether its caller has hung up.
    pub(crate) fn is_unwanted(&self) -> bool {
        self.reply.is_closed()
    }

    /// It waits for a kernel from now on, or no longer.
    pub(crate) fn begins_to_wait_for_a_kernel(&mut self, since: Option<Instant>) {
        self.kernel_since = since;
    }

    /// Takes the time that it waited for its kernel out of the rest of its waiting: until that was served, if it is now.
    pub(crate) fn note_load(&mut self, served_since: Option<Instant>, now: Instant) {
        if let Some(since) = self.kernel_since {
            let until = served_since.unwrap_or(now);
            let load = until
                .saturating_duration_since(since)
                .min(self.phases.queue);
            self.phases.load = load;
            self.phases.queue -= load;
        }
    }

    /// Adds what the block took to its request's meter, once it is done with: before its answer, so that whoever is answered
    /// sees it, and also where nobody is.
    pub(crate) fn meter(&self, reference: Duration, cpu: Duration) {
        self.spec.permit.meter().add(Spent {
            queue: self.phases.queue + self.phases.load,
            cpu,
            reference,
            fallbacks: u64::from(self.fallback.is_some()),
            device: Duration::ZERO,
        });
    }

    /// An engine has ended with it; where it came back from a device that failed, its request is told who did it instead.
    pub(crate) fn note_done_by(&self, engine: EngineId, is_done: bool) {
        for on in self.failed_on.iter().flatten().filter(|_| is_done) {
            self.spec.permit.meter().done_instead(*on, engine);
        }
    }

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
    /// Which life of the card's function took it; 0 for the CPU.
    pub(crate) life: u64,
    /// How long each of its commands may take on a card.
    pub(crate) command_limit: Duration,
}

impl RunningJob {
    /// Its engine failed with it, or made it wrong: its request is told, and it remembers.
    pub(crate) fn note_fault(&mut self, kind: &'static str, why: &str) {
        let on = FailedOn {
            engine: self.engine,
            kind,
        };
        let free = self.job.failed_on.iter_mut().find(|place| place.is_none());
        if let Some(place) = free {
            *place = Some(on);
        }
        self.job.spec.permit.meter().fault(on, why);
    }
}
