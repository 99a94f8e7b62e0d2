//! What a card says that it made of a job, until a CPU worker has verified it.
//!
//! Invariant: nothing in here is believed. It does not know how a card is reached.

use std::time::Duration;

use crate::pending_job::RunningJob;

/// What a card made of a job, not yet believed.
pub(crate) struct Unverified {
    pub(crate) running: RunningJob,
    pub(crate) claim: Claim,
}

/// A card's word.
pub(crate) enum Claim {
    /// It made this.
    Done(CardResult),
    /// It says that the data cannot be processed.
    Refused(CardRefusal),
}

/// What a card made, in the host's own memory.
pub(crate) struct CardResult {
    pub(crate) output: Vec<u8>,
    /// Input bytes that it stands for.
    pub(crate) consumed: usize,
    /// From showing it to the card to taking what it made.
    pub(crate) device: Duration,
    /// What the card's engines counted for it, at their clock.
    pub(crate) engine: Duration,
    /// Copying in and out.
    pub(crate) transfer: Duration,
}

/// Why a card did not process the data.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CardRefusal {
    /// The result is larger than it was given room for.
    #[error("that the output is full")]
    OutputFull,
    /// Something else, in words.
    #[error("{0}")]
    Data(String),
}
