//! What a card says that it made of a job, until a CPU worker has verified it.
//!
//! Invariant: nothing in here is believed. It does not know how a card is reached.

use std::time::Duration;

use faam_codec::{BlockChecksum, Format};

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
    /// CRC-32 of the uncompressed data, as the card saw it.
    pub(crate) crc32: u32,
    /// Adler-32 of the uncompressed data, as the card saw it.
    pub(crate) adler32: u32,
    /// From showing it to the card to taking what it made.
    pub(crate) device: Duration,
    /// What the card's engines counted for it, at their clock.
    pub(crate) engine: Duration,
    /// Copying in and out.
    pub(crate) transfer: Duration,
}

impl CardResult {
    /// Whether the card's own sum of the data is the host's, where the host has made one. The bytes have been compared by
    /// then: a card that gets this wrong has a fault all the same, and its next result may be where it shows.
    ///
    /// # Errors
    /// Both sums, in words.
    pub(crate) fn says(&self, host: &BlockChecksum) -> Result<(), String> {
        let (name, card) = match host.format() {
            Format::Gzip => ("CRC-32", self.crc32),
            Format::Zlib => ("Adler-32", self.adler32),
            Format::Deflate | Format::Zstd | Format::Lz4 => return Ok(()),
        };
        if card == host.value() {
            return Ok(());
        }
        let host = host.value();
        Err(format!(
            "a card's {name} of the data is {card:08x}, the host's {host:08x}"
        ))
    }
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
