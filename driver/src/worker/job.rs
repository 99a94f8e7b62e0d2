//! What a worker is given and what it gives back.
//!
//! Owns the vocabulary between a worker and whoever feeds it. Invariant: a job handed
//! out by [`JobSource::next`] is completed exactly once, on every path, a panic included.
//! It deliberately does not know tenants, deadlines of requests, or how a caller is told.

use std::time::Duration;

use faam_hwif::{CardLevel, Serves, Status, WireFormat};

use crate::fault::DeviceFault;

/// Where a worker's jobs come from.
pub trait JobSource: Send + 'static {
    /// What it hands out.
    type Job: Job;

    /// The next job for this worker, if there is one now. Never blocks. Called on the worker's thread whenever it has
    /// credit: after a wake, after a completion, and after every sleep.
    fn next(&mut self) -> Option<Self::Job>;
}

/// One piece of work.
pub trait Job: Send + 'static {
    /// What is to be done. The input is the host's own copy: the card works on another, so this one stays good for
    /// verification and replay.
    fn request(&self) -> Request<'_>;

    /// How it ended. Called once, on the worker's thread: hand the outcome over and return. It must not panic: called
    /// while the thread unwinds from another panic, a second one ends the process.
    fn complete(self, outcome: Outcome);
}

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Which work.
    pub kernel: Kernel,
    /// On what.
    pub input: &'a [u8],
    /// Most bytes that the result may have.
    pub output_bytes_max: usize,
    /// Scrub domain: neither buffers nor engine state pass from one to another unscrubbed.
    pub context: u32,
    /// Hang limit of each command that the job takes. A job takes two at most, three after a table that missed.
    pub timeout: Duration,
}

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Compress the input as one block.
    Compress {
        /// Effort.
        level: CardLevel,
        /// Framing.
        format: WireFormat,
        /// Last block of its stream: ends it. Any other ends at a byte boundary, ready for the next.
        last: bool,
    },
    /// Decompress the input, one whole member.
    Decompress {
        /// Framing.
        format: WireFormat,
    },
}

impl Kernel {
    /// What a slot's kernel has to serve for all commands of such a job.
    #[must_use]
    pub const fn needs(self) -> Serves {
        match self {
            Self::Compress {
                level: CardLevel::Fast,
                ..
            } => Serves::FAST,
            Self::Compress { .. } => Serves::TABLES,
            Self::Decompress { .. } => Serves::INFLATE,
        }
    }
}

/// How a job ended.
#[derive(Debug)]
pub enum Outcome {
    /// It was done, as far as the card says. Verify it.
    Done(Completion),
    /// The card works, but the data or the plan did not fit it.
    Data(DataRefusal),
    /// The card does not work, or not on this: replay the job elsewhere.
    Fault(DeviceFault),
}

/// What a finished job left.
#[derive(Debug)]
pub struct Completion {
    /// The result, in private memory.
    pub output: Vec<u8>,
    /// Bytes of input consumed.
    pub consumed: u32,
    /// CRC-32 of the uncompressed data, as the card saw it.
    pub crc32: u32,
    /// Adler-32 of the uncompressed data, as the card saw it.
    pub adler32: u32,
    /// Engine cycles of all its commands, as the card reports them.
    pub cycles: u64,
    /// From showing each command to the card to taking its completion, summed.
    pub device: Duration,
    /// Copying in and out.
    pub transfer: Duration,
    /// The whole block was stored, not compressed.
    pub stored: bool,
}

/// Why the data was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRefusal {
    /// OutputFull, CorruptInput or TruncatedInput.
    pub status: Status,
    /// What the status says it is: for CorruptInput the byte offset.
    pub info: u32,
}
