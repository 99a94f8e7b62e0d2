//! A job: one block of a caller's data on its way through an engine, and what becomes of it.
//!
//! Owns the words that the HTTP side and the engine side share. It knows neither
//! HTTP nor devices. Invariant: a job's input is the host's own memory, which no
//! card can write; results are verified against it before anyone sees them.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use faam_codec::{
    BlockChecksum, DecompressError, Format, Level, Limits, Position, StreamCompressor,
    StreamDecompressor, StreamState,
};

pub use faam_sched::Priority;

use crate::admission::AdmissionPermit;
use crate::tenants::TenantId;

/// Input bytes of one compression job: large enough that blocks without history lose
/// little (ratio 3.38 against 3.43 for a whole megabyte), small enough that an engine
/// is never held for long.
pub const BLOCK_BYTES: usize = 128 << 10;

/// Highest HTTP level that a card serves: levels above have no counterpart in gateware.
pub const CARD_LEVEL_MAX: u8 = 9;

/// Highest HTTP level that a card serves at its level fast.
pub const CARD_LEVEL_FAST_MAX: u8 = 2;

/// What is to be done with the input.
#[derive(Debug)]
pub enum Kernel {
    /// Compress to raw DEFLATE that joins with its neighbours.
    Compress {
        /// Container of the member: decides which checksum the outcome carries.
        format: Format,
        /// Effort, in HTTP levels.
        level: Level,
        /// Whether the stream ends with this block.
        position: Position,
    },
    /// Decompress from the start of the input. An engine may stop after one whole
    /// member: `consumed` of the outcome says how far it came.
    Decompress {
        /// Format, already detected.
        format: Format,
        /// When to stop a bomb.
        limits: Limits,
    },
    /// Compress the next part of a stream whose blocks cannot be made apart.
    CompressPart {
        /// zstd or lz4.
        format: Format,
        /// Effort, in HTTP levels.
        level: Level,
        /// Whether the stream ends with this part.
        position: Position,
        /// What the part before left behind; `None` begins a stream.
        stage: Option<Stage<StreamCompressor>>,
    },
    /// Decompress on. The outcome's part says what is to be done next.
    DecompressPart {
        /// Where the part before stopped; `None` once an engine has taken it.
        stage: Option<Stage<StreamDecompressor>>,
        /// Whether the body ends with this input.
        last: bool,
        /// Most bytes of output.
        room: usize,
    },
}

/// The state of a stream, on its way from part to part.
pub struct Stage<T>(pub Box<T>);

impl<T> fmt::Debug for Stage<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stage")
    }
}

/// What a part of a stream leaves behind.
#[derive(Debug)]
pub enum Part {
    /// Of a compression; `None` after the last part.
    Compressed(Option<Stage<StreamCompressor>>),
    /// Of a decompression, and what is to be done next.
    Decompressed(Stage<StreamDecompressor>, StreamState),
}

/// Which engines a caller lets a job run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendPolicy {
    /// Wherever it ends soonest.
    #[default]
    Auto,
    /// A card or nothing.
    RequireHardware,
    /// A card while one is in service.
    PreferHardware,
    /// The CPU engines.
    Cpu,
}

/// Results between two that are verified, where an operator asks for a sample and names no rate.
const SAMPLED_ONE_IN_DEFAULT: NonZeroU32 = NonZeroU32::new(16).expect("not zero");

/// How much of what engines make is decoded and compared with the host's own input before it is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// Everything.
    #[default]
    On,
    /// One result in so many, on each worker.
    Sampled {
        /// How many.
        one_in: NonZeroU32,
    },
    /// Nothing.
    Off,
}

impl Verification {
    /// `Faam-Verify` of an answer that is complete.
    #[must_use]
    pub const fn done(self) -> &'static str {
        match self {
            Self::On => "ok",
            Self::Sampled { .. } => "sampled",
            Self::Off => "off",
        }
    }

    /// `Faam-Verify` of an answer that is still being made.
    #[must_use]
    pub const fn planned(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Sampled { .. } => "sampled",
            Self::Off => "off",
        }
    }
}

/// A word that names no kind of verification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected on, sampled, sampled:N (one result in N, from 1) or off, got {0:?}")]
pub struct VerificationError(String);

impl FromStr for Verification {
    type Err = VerificationError;

    fn from_str(word: &str) -> Result<Self, VerificationError> {
        let one_in = match word {
            "on" => return Ok(Self::On),
            "off" => return Ok(Self::Off),
            "sampled" => Some(SAMPLED_ONE_IN_DEFAULT),
            other => other
                .strip_prefix("sampled:")
                .and_then(|number| number.parse().ok()),
        };
        let sampled = one_in.map(|one_in| Self::Sampled { one_in });
        sampled.ok_or_else(|| VerificationError(word.chars().take(32).collect()))
    }
}

/// A job as the HTTP side hands it over.
#[derive(Debug)]
pub struct JobSpec {
    /// Who pays.
    pub tenant: TenantId,
    /// What to do.
    pub kernel: Kernel,
    /// With what. Shared, so that a replay needs no copy.
    pub input: Bytes,
    /// Where it may run.
    pub policy: BackendPolicy,
    /// How urgent it is among its tenant's others.
    pub priority: Priority,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// Held until the job has ended everywhere, also when the caller has gone.
    pub permit: Arc<AdmissionPermit>,
}

/// Which engine served a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EngineId {
    /// The CPU pool.
    Cpu,
    /// A function of a card.
    Card {
        /// Card number, from 0.
        card: u8,
        /// Function of the card.
        function: u8,
        /// Whether anything but hardware executed it.
        simulated: bool,
    },
}

impl fmt::Display for EngineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Card { card, function, .. } => write!(f, "fpga{card}.{function}"),
        }
    }
}

/// Why a job did not run where its policy would rather have had it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FallbackReason {
    /// No card in service.
    NoCard,
    /// No card in service, for an operator has them drained.
    Drained,
    /// A card failed while it held the job; the job was replayed.
    CardFault,
    /// A card's result did not pass verification; the job was replayed.
    VerifyFailed,
    /// The job is beyond what the card can do (level, size of a member).
    BeyondCard,
    /// Its tenant may not use cards, or not the image that serves it there.
    NotAllowed,
    /// No slot of a card in service holds its kernel.
    KernelAbsent,
}

impl FallbackReason {
    /// Every reason: the label set of the metric.
    pub const ALL: [Self; 7] = [
        Self::NoCard,
        Self::Drained,
        Self::CardFault,
        Self::VerifyFailed,
        Self::BeyondCard,
        Self::NotAllowed,
        Self::KernelAbsent,
    ];

    /// As headers and metrics spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoCard => "no-card",
            Self::Drained => "drained",
            Self::CardFault => "card-fault",
            Self::VerifyFailed => "verify-failed",
            Self::BeyondCard => "beyond-card",
            Self::NotAllowed => "not-allowed",
            Self::KernelAbsent => "kernel-absent",
        }
    }
}

/// A compression whose length is known before its body.
#[derive(Clone, Copy, Debug)]
pub struct AnnouncedCompression<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// To which format.
    pub format: Format,
    /// With which effort.
    pub level: Level,
    /// Bytes of the body.
    pub bytes: u64,
    /// Where it may run.
    pub policy: BackendPolicy,
    /// Its place among its tenant's others.
    pub priority: Priority,
}

/// Where a job's time went.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phases {
    /// When it was submitted: its phases follow from there, one after the other.
    pub since: Option<Instant>,
    /// Waiting for a slot to be loaded with its kernel, while no card had it.
    pub load: Duration,
    /// From submission to an engine's taking it, all attempts together, without that.
    pub queue: Duration,
    /// Copies into and out of DMA memory.
    pub transfer: Duration,
    /// On the engine.
    pub device: Duration,
    /// Decoding and comparing.
    pub verify: Duration,
}

/// A verified result.
#[derive(Debug)]
pub struct BlockOutcome {
    /// The bytes.
    pub output: Bytes,
    /// Input bytes that they stand for.
    pub consumed: usize,
    /// Checksum of the uncompressed side, computed from the host's own bytes.
    pub checksum: BlockChecksum,
    /// Who made them.
    pub engine: EngineId,
    /// Why not somewhere else, if so.
    pub fallback: Option<FallbackReason>,
    /// Where the time went.
    pub phases: Phases,
    /// What a part of a stream leaves behind.
    pub part: Option<Part>,
}

/// What a card's refusal to take a body says to the caller.
pub(crate) fn beyond_card_text() -> String {
    format!(
        "a card decompresses whole gzip, zlib and deflate members of at most {} bytes, compressed and decompressed, and this \
         body has more to read or to write; let the CPU serve it (Faam-Backend: auto or prefer-hw)",
        faam_hwif::JOB_BYTES_MAX
    )
}

/// Why a job has no result.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// The caller's data is not what it says.
    #[error("the input could not be decoded")]
    Input(#[source] DecompressError),
    /// Only a card was allowed, and the job is beyond any card.
    #[error("{0}")]
    BeyondCard(String),
    /// Only a card was allowed, and none came into service in time.
    #[error("no card came into service within {waited_ms} ms{}", if *.drained { ": its cards are drained by an operator, who undoes that with `faam device drain CARD --undo`" } else { "" })]
    NoCard {
        /// How long the job waited.
        waited_ms: u64,
        /// Whether an operator has them drained.
        drained: bool,
    },
    /// Only a card was allowed, and no slot of one held the job's kernel in time.
    #[error("no slot of a card in service held the kernel for it{} within {waited_ms} ms: {}",
        if *.listed { ", from an image that this tenant may use alone," } else { "" },
        if *.listed {
            "an operator loads one with `faam image load` into a function where no other image serves the same, evicts there what does \
             with `faam image evict`, or changes the list with `faam tenant set --images`; the slot policy, where it is on, loads one that \
             is in the store, unless others wait for what would have to go, or more than one slot of each function is in its way"
        } else {
            "an operator loads one with `faam image load`, or the slot policy, where its image is in the store"
        })]
    NoKernel {
        /// How long the job waited.
        waited_ms: u64,
        /// Whether some slot held one, but of an image that its tenant may not use.
        listed: bool,
    },
    /// The tenant's queue was full for too long.
    #[error("its tenant's queue had no room within {waited_ms} ms")]
    NoRoom {
        /// How long the job waited.
        waited_ms: u64,
    },
    /// The caller's deadline passed.
    #[error("the deadline passed")]
    Deadline(Phases),
    /// Its tenant was removed while it waited.
    #[error("its tenant was removed while it waited; ask with a key of a tenant that there is")]
    TenantRemoved,
    /// The gateway is stopping.
    #[error("the gateway is stopping")]
    Stopping,
    /// A bug of ours: every engine's result failed verification, or an invariant broke.
    #[error("internal error: {0}")]
    Internal(String),
}

impl JobError {
    /// No card came into service for a job that has waited for `waited`; `drained`: an operator has them drained.
    #[must_use]
    pub fn no_card(waited: Duration, drained: bool) -> Self {
        Self::NoCard {
            waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            drained,
        }
    }

    /// No slot held the kernel of a job that has waited for `waited`; `listed`: one that its tenant may use.
    #[must_use]
    pub fn no_kernel(waited: Duration, listed: bool) -> Self {
        Self::NoKernel {
            waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
            listed,
        }
    }

    /// No room came free for a job that has waited for `waited`.
    #[must_use]
    pub fn no_room(waited: Duration) -> Self {
        Self::NoRoom {
            waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_verification_are_read_and_named() {
        for (word, done, planned) in [
            ("on", "ok", "on"),
            ("sampled", "sampled", "sampled"),
            ("sampled:3", "sampled", "sampled"),
            ("off", "off", "off"),
        ] {
            let kind: Verification = word.parse().expect(word);
            assert_eq!((kind.done(), kind.planned()), (done, planned));
        }
        for word in ["", "On", "sampled:0", "sampled:", "sampled:-1"] {
            let error = word.parse::<Verification>().expect_err(word);
            assert!(error.to_string().contains("sampled:N"), "{error}");
        }
    }
}
