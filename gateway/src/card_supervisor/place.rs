//! A function as its supervisor has it: what serves, what is held against it, and when it is tried again.

use std::sync::Arc;
use std::time::Instant;

use faam_driver::{Function, SelfTest, WorkerHandle};

use super::damping::Damping;
use super::slots::SlotWork;

/// A function in service.
pub(super) struct Live {
    pub(super) function: Arc<Function>,
    pub(super) worker: WorkerHandle,
    /// Which life of its queue this is: a late event of an earlier one is ignored.
    pub(super) life: u64,
    /// The first one since the function was brought up: it may have lost queue pairs since.
    pub(super) life_first: u64,
    pub(super) heartbeat: (u32, Instant),
    /// A slot of it that is being loaded or evicted.
    pub(super) slot_work: Option<SlotWork>,
    /// Jobs that it called a kernel absent for, though none of its slots was being changed.
    pub(super) kernels_absent: u32,
}

impl Live {
    /// Whether a result of that life of a queue of the function was made since it was brought up.
    pub(super) const fn computed(&self, life: u64) -> bool {
        life >= self.life_first
    }
}

/// When a function that does not serve is tried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Next {
    /// With its card's start.
    #[default]
    Start,
    /// Not before this.
    At(Instant),
    /// When an operator asks.
    Never,
}

/// One function, serving or not.
#[derive(Default)]
pub(super) struct FunctionPlace {
    pub(super) live: Option<Live>,
    pub(super) damping: Damping,
    pub(super) next: Next,
    /// Since when it has been out of service for a fault, its own or its card's.
    pub(super) down_since: Option<Instant>,
    /// Resets in a row without a job served between.
    pub(super) resets_in_a_row: u32,
    /// Its card was started anew for its sake, and it has not been forgiven since: that is done once.
    pub(super) card_was_started_anew: bool,
    /// The last that it passed.
    pub(super) self_test: Option<SelfTest>,
}
