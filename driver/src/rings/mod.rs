//! Submission and completion rings of a queue pair, and the doorbell protocol between host and card.
//!
//! Owns indices and orderings. Invariant: rings are of one size and no more commands are
//! outstanding than fit, so the completion ring can never overflow and a submission slot
//! is never rewritten before the card has fetched it.
//! It deliberately does not know command ids, statuses or jobs.

mod completion_queue;
pub mod doorbell;
mod submission_queue;

pub(crate) use completion_queue::CompletionQueue;
pub(crate) use submission_queue::{QueueFull, SubmissionQueue};

use crate::dma::QueueMemory;
use doorbell::{HostCell, ShadowCells};
use faam_hwif::doorbell::{SHADOW_CQ_HEAD, SHADOW_CQ_WANT, SHADOW_SQ_EVENT, SHADOW_SQ_TAIL};
use std::sync::atomic::{Ordering, fence};

impl ShadowCells for QueueMemory {
    fn store_release(&self, cell: HostCell, value: u32) {
        let offset = match cell {
            HostCell::SubmissionTail => SHADOW_SQ_TAIL,
            HostCell::CompletionHead => SHADOW_CQ_HEAD,
            HostCell::CompletionWant => SHADOW_CQ_WANT,
        };
        self.shadow_cell(offset).store(value, Ordering::Release);
    }

    fn load_event(&self) -> u32 {
        self.shadow_cell(SHADOW_SQ_EVENT).load(Ordering::Acquire)
    }

    fn full_fence(&self) {
        fence(Ordering::SeqCst);
    }
}
