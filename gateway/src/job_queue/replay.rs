//! Jobs that their engine could not finish: back to the front of their tenant's queue, and who is told.
//!
//! Owns how often, and what then becomes of one. Invariants: a job goes back at most [`REPLAYS_MAX`] times for failures and
//! [`KERNEL_ABSENT_REPLAYS_MAX`] times for its kernel; one that requires a card and gets none is answered and not charged. It
//! does not know how a card comes back.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use faam_sched::{Placement, TargetSet};

use super::request::{kernels_needed, needs_of};
use super::{JobQueue, KERNEL_ABSENT_REPLAYS_MAX, REPLAYS_MAX, without_kernels};
use crate::cards::CardEvent;
use crate::job::{BackendPolicy, EngineId, FallbackReason, JobError};
use crate::limit_met::LimitMet;
use crate::pending_job::RunningJob;

impl JobQueue {
    /// A function failed with this job in hand: replay it.
    pub(crate) fn card_failed(&self, mut running: RunningJob, kind: &'static str, why: &str) {
        tracing::debug!(engine = %running.engine, kind, why, "replaying a job");
        running.note_fault(kind, why);
        let target = running.receipt.target();
        let needs = needs_of(&running.job);
        self.core.lock().functions.end(target, needs);
        self.replay(running, FallbackReason::CardFault);
    }

    /// A function has this job in its hands, and no slot with its kernel: one was evicted meanwhile. It is nobody's fault, and
    /// the function gets no more such jobs until its supervisor says what its slots serve.
    pub(crate) fn card_lacks(&self, running: RunningJob) {
        self.metrics.kernel_absent();
        let kernels = kernels_needed(&running.job.spec.kernel);
        let target = running.receipt.target();
        let mut core = self.core.lock();
        core.functions.end(target, needs_of(&running.job));
        let left = without_kernels(core.scheduler.abilities(target), kernels);
        let now = self.now();
        core.scheduler.set_abilities(target, left, now);
        if core.note_served(self.all_cards, Instant::now()) {
            self.tell_keeper();
        }
        if let EngineId::Card { card, function, .. } = running.engine
            && let Some(events) = core.card_events.get(usize::from(card))
        {
            let life = running.life;
            // The channel is bounded: one report among many is enough.
            let _ = events.try_send(CardEvent::KernelAbsent { function, life });
        }
        // Jobs that had this one may now be others'.
        self.wake_all(&core);
        drop(core);
        self.replay(running, FallbackReason::KernelAbsent);
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
        let required = job.spec.policy == BackendPolicy::RequireHardware;
        let is_absent = reason == FallbackReason::KernelAbsent;
        job.begins_to_wait_for_a_kernel((is_absent && required).then(Instant::now));
        // No fault of a card, and met as often as kernels change places.
        let replays = match is_absent {
            true => &mut job.kernel_absent_replays,
            false => &mut job.replays,
        };
        *replays = replays.saturating_add(1);
        job.fallback = Some(reason);
        let absent_too_often = job.kernel_absent_replays > KERNEL_ABSENT_REPLAYS_MAX;
        let too_often = job.replays > REPLAYS_MAX || absent_too_often;
        let mut core = self.core.lock();
        if too_often && required || self.stopping.load(Ordering::Acquire) {
            // No card did it, and none will: our fault, and no charge.
            core.scheduler.refund(receipt);
            drop(core);
            job.meter(Duration::ZERO, Duration::ZERO);
            let stopping = self.stopping.load(Ordering::Acquire);
            let waited = job.phases.queue;
            job.answer(Err(if stopping {
                JobError::Stopping
            } else if absent_too_often {
                JobError::no_kernel(waited, false)
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
            let needs = needs_of(&job);
            job.kernel_wait = Some(core.kernels.waits(needs));
            // The function that failed is out of service until it has passed its self-test; whichever is up first takes the job.
            Placement::any_of(self.all_cards).needing(needs)
        } else if too_often || reason == FallbackReason::BeyondCard {
            Placement::any_of(TargetSet::of(self.cpu))
        } else {
            receipt.placement().avoiding(receipt.target())
        };
        if let Err(job) = core.scheduler.requeue(receipt, job, placement) {
            drop(core);
            job.meter(Duration::ZERO, Duration::ZERO);
            job.answer(Err(JobError::TenantRemoved));
            return;
        }
        if required && core.kernels.note_waiting(Instant::now()) {
            self.tell_keeper();
        }
        self.announce(core, placement);
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
