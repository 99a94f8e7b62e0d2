//! How a job ended: a report, a rule of the seam that was broken, or no end at all.
//!
//! Invariant: every number that the benches give has a name here; one that has none is an error of its own, never a guess.

use thiserror::Error;

/// What `report_t.ended` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// With output.
    Ok,
    /// The loaded table breaks a rule.
    BadTable,
    /// A symbol has no code.
    TableMiss,
    /// More output than `dst_cap`.
    OutputFull,
    /// None of these.
    Unknown(u32),
}

impl Ended {
    /// What `ended_t` means by this number.
    #[must_use]
    pub fn from_wire(value: u32) -> Self {
        match value {
            0 => Self::Ok,
            1 => Self::BadTable,
            2 => Self::TableMiss,
            3 => Self::OutputFull,
            unknown => Self::Unknown(unknown),
        }
    }
}

/// The engine's report of one job, as it stood on its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub ended: Ended,
    /// The rule that a bad table breaks; otherwise 0.
    pub rule: u32,
    /// Whether the body was stored.
    pub stored: bool,
    /// Bytes put out.
    pub out_len: u32,
    /// Bytes of the source taken.
    pub in_len: u32,
    /// CRC-32 of the source.
    pub crc32: u32,
    /// Adler-32 of the source.
    pub adler32: u32,
    /// Cycles that the engine says it spent.
    pub cycles: u32,
}

/// A rule of the seam that the RTL broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Violation {
    /// `out`: valid fell, or the beat changed.
    #[error(
        "an output beat that waited was withdrawn or changed: valid and payload stay until ready"
    )]
    OutChanged,
    /// `fetch`: likewise.
    #[error("a fetch that waited was withdrawn or changed: valid and payload stay until ready")]
    FetchChanged,
    /// `done`: likewise.
    #[error("a report that waited was withdrawn or changed: valid and payload stay until ready")]
    DoneChanged,
    /// `out_bytes`.
    #[error("an output beat has 1 to 8 bytes, this one another number")]
    OutBytes,
    /// A beat behind a short one.
    #[error("every output beat but the last of an attempt has 8 bytes: one followed a shorter one")]
    OutShort,
    /// More than `dst_cap`.
    #[error("an attempt puts out at most dst_cap bytes, this one more")]
    OutBeyond,
    /// `out_rewind`.
    #[error("out_rewind goes with the first beat of the second attempt, once")]
    OutRewind,
    /// A report too early.
    #[error("done comes after the last output beat was taken, here one still waits")]
    OutAfterDone,
    /// Output without a job.
    #[error("an output beat without a job")]
    OutIdle,
    /// Spans out of order.
    #[error(
        "spans are TABLE, HISTORY, SOURCE and SOURCE again, empty ones left out: another was asked for"
    )]
    FetchOrder,
    /// A span too early.
    #[error(
        "a span is asked for when the one before has come in whole, here bytes of it are to come"
    )]
    FetchEarly,
    /// A fetch without a job.
    #[error("a fetch without a job")]
    FetchIdle,
    /// A report while a span comes.
    #[error("done while bytes of a span that was asked for are to come")]
    DoneEarly,
    /// A report without a job.
    #[error("a report without a job")]
    DoneIdle,
    /// Not quiet after a reset.
    #[error("a reset ends everything, and a valid stands after it")]
    ResetNoisy,
    /// A token that changed.
    #[error("a token that waited was withdrawn or changed: valid and payload stay until ready")]
    TokenChanged,
    /// Tokens without end.
    #[error("more tokens than the stream has bytes, and no end")]
    TokenMany,
    /// A token without a job.
    #[error("a token without a job")]
    TokenIdle,
    /// A number that the bench should not give.
    #[error("the bench ended with the unknown status {0}: src/outcome.rs and shim/ differ")]
    Unknown(u32),
}

impl Violation {
    #[cfg(any(rtl_engine, rtl_match))]
    pub(crate) fn from_bench(status: u32) -> Self {
        match status {
            16 => Self::OutChanged,
            17 => Self::FetchChanged,
            18 => Self::DoneChanged,
            19 => Self::OutBytes,
            20 => Self::OutShort,
            21 => Self::OutBeyond,
            22 => Self::OutRewind,
            23 => Self::OutAfterDone,
            24 => Self::OutIdle,
            25 => Self::FetchOrder,
            26 => Self::FetchEarly,
            27 => Self::FetchIdle,
            28 => Self::DoneEarly,
            29 => Self::DoneIdle,
            30 => Self::ResetNoisy,
            32 => Self::TokenChanged,
            33 => Self::TokenMany,
            34 => Self::TokenIdle,
            unknown => Self::Unknown(unknown),
        }
    }
}

/// Valid and ready of each stream in the last cycle, for whoever looks for who waits for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signals {
    pub(crate) bits: u32,
    pub(crate) names: &'static [&'static str],
}

impl std::fmt::Display for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (stream, name) in self.names.iter().enumerate() {
            let pair = self.bits >> (2 * stream);
            let space = if stream == 0 { "" } else { ", " };
            write!(
                f,
                "{space}{name} valid {} ready {}",
                pair & 1,
                pair >> 1 & 1
            )?;
        }
        Ok(())
    }
}

/// Why a job has no report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RunError {
    /// No end within the bound.
    #[error(
        "hung: no end {cycle} cycles after the job was offered ({taken} bytes in, {given} bytes or tokens out); {signals}"
    )]
    Hung {
        /// Cycles since the job was offered.
        cycle: u64,
        /// Bytes that the RTL took.
        taken: u64,
        /// Bytes, or tokens, that it gave.
        given: u64,
        /// Who waits.
        signals: Signals,
    },
    /// A broken rule.
    #[error(
        "cycle {cycle} ({taken} bytes in, {given} bytes or tokens out): {violation}; {signals}"
    )]
    Broken {
        /// Which.
        violation: Violation,
        /// Cycles since the job was offered.
        cycle: u64,
        /// Bytes that the RTL took.
        taken: u64,
        /// Bytes, or tokens, that it gave.
        given: u64,
        /// The streams.
        signals: Signals,
    },
    /// The job's own fault: it does not fit the ports.
    #[error("{what} is {got}, and the port takes at most {most}")]
    TooLarge {
        /// Which field.
        what: &'static str,
        /// Its value.
        got: usize,
        /// The largest.
        most: usize,
    },
}
