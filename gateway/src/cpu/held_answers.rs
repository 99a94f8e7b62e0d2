//! Answers of a pool's thread that wait while it does the next small jobs.
//!
//! Why: telling a caller who sleeps is a system call and an interrupt of another processor, about 2 us of the thread's time,
//! which is what handing over a job costs where there are more of them; the second and third telling of a caller who is awake
//! by then costs a fraction of that. Invariant: nobody waits for more than [`HELD_ANSWERS_MAX`] jobs of
//! [`HELD_FOR_MICROS_MAX`] each, and nobody at all once there is nothing to be done. It knows no queue.

use faam_sched::Nanos;

use crate::job::{BlockOutcome, JobError};
use crate::pending_job::PendingJob;

/// Answers that are held at once.
pub(super) const HELD_ANSWERS_MAX: usize = 4;
/// Predicted time of a job, in microseconds, up to which answers wait for it as well.
pub(super) const HELD_FOR_MICROS_MAX: u64 = 60;

/// See the module's head.
#[derive(Default)]
pub(super) struct HeldAnswers(Vec<(PendingJob, Result<BlockOutcome, JobError>)>);

impl HeldAnswers {
    /// The answer to a job, for later.
    pub(super) fn hold(&mut self, job: PendingJob, answer: Result<BlockOutcome, JobError>) {
        self.0.push((job, answer));
    }

    /// Whether they may wait for one more job that is predicted to take so long.
    pub(super) fn may_wait(&self, predicted: Nanos) -> bool {
        self.0.len() < HELD_ANSWERS_MAX && predicted <= Nanos(HELD_FOR_MICROS_MAX * 1_000)
    }

    /// Tells everybody.
    pub(super) fn release(&mut self) {
        for (job, answer) in self.0.drain(..) {
            job.answer(answer);
        }
    }
}
