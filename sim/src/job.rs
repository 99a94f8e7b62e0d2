//! What an I/O entry asks for, once it has been looked over.
//!
//! Owns the rules for the fields of I/O commands. Invariant: a [`Work`] is within every limit that the capability
//! block announces; whether its memory can be reached, and whether its data is any good, is found out later.

use std::sync::Arc;
use std::time::Instant;

use faam_hwif::admin::field;
use faam_hwif::table::{HISTOGRAM_BYTES, TABLE_BYTES};
use faam_hwif::{
    CardLevel, CommandId, Flags, HISTORY_BYTES_MAX, Iova, JOB_BYTES_MAX, Opcode, Status,
    SubmissionEntry, TableMode, WireFormat,
};

use crate::faults::Fault;
use crate::function_faults::Strikes;
use crate::model::{Format, Params};
use crate::queues::Queue;
use crate::slots::SLOTS;

/// Why an entry is not executed: status and `info`.
pub(crate) type Refusal = (Status, u32);

/// Memory that a job names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) at: Iova,
    pub(crate) bytes: u32,
}

/// A command that an engine executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Compress {
        src: Span,
        history: Option<Span>,
        table: Option<Span>,
        dst: Span,
        params: Params,
        format: Format,
        last: bool,
        sync: bool,
    },
    Decompress {
        src: Span,
        dst: Span,
        format: Format,
    },
    Count {
        src: Span,
        history: Option<Span>,
        /// Where the histogram goes.
        aux: Span,
        params: Params,
    },
}

impl Work {
    /// Whether a fault can change anything about it.
    pub(crate) fn feels(&self, fault: Fault) -> bool {
        let (compress, decompress) = match self {
            Self::Compress { .. } => (true, false),
            Self::Decompress { .. } => (false, true),
            Self::Count { .. } => (false, false),
        };
        match fault {
            Fault::FlipsABit | Fault::EndsEachBlock | Fault::SearchesOneWay => compress,
            Fault::IgnoresTables | Fault::MissesTable => {
                matches!(self, Self::Compress { table: Some(_), .. })
            }
            Fault::IgnoresHistory => {
                matches!(
                    self,
                    Self::Compress {
                        history: Some(_),
                        ..
                    }
                )
            }
            Fault::KeepsHistory => {
                matches!(self, Self::Compress { history: None, .. })
            }
            Fault::CorruptPasses => decompress,
            Fault::Miscounts => !compress && !decompress,
            Fault::WrongChecksum
            | Fault::ShortLength
            | Fault::LengthBeyondRoom
            | Fault::WritesBeyondRoom => compress || decompress,
            _ => true,
        }
    }

    /// Where its input begins.
    pub(crate) fn source(&self) -> Iova {
        match self {
            Self::Compress { src, .. } | Self::Decompress { src, .. } | Self::Count { src, .. } => {
                src.at
            }
        }
    }
}

/// A command on its way through an engine.
pub(crate) struct Job {
    pub(crate) queue: Arc<Queue>,
    pub(crate) id: CommandId,
    /// Scrub domain.
    pub(crate) context: u32,
    pub(crate) work: Work,
    /// The one slot that may do it.
    pub(crate) slot: Option<u8>,
    pub(crate) fetched_at: Instant,
    /// Time from fetch to completion after which the job may be given up, microseconds; 0 = no limit.
    pub(crate) timeout_us: u32,
    /// What strikes it: drawn when an engine takes it.
    pub(crate) strikes: Strikes,
}

/// The work that an entry asks for; `None` for a Nop.
pub(crate) fn decode(entry: &SubmissionEntry) -> Result<Option<Work>, Refusal> {
    let op = Opcode::from_bits(entry.op).ok_or((Status::InvalidOpcode, field::OP))?;
    let flags = Flags(entry.flags);
    if !Flags::KNOWN.has(flags) {
        return Err((Status::InvalidField, field::FLAGS));
    }
    if entry.slot > SLOTS {
        return Err((Status::InvalidField, field::SLOT));
    }
    if op == Opcode::Nop {
        return Ok(None);
    }
    let src = Span {
        at: entry.src_iova(),
        bytes: entry.src_len,
    };
    if src.bytes > JOB_BYTES_MAX {
        return Err((Status::InvalidLength, field::SRC_LEN));
    }
    let dst = Span {
        at: Iova(entry.dst),
        bytes: entry.dst_cap,
    };
    match op {
        Opcode::Nop => Ok(None),
        Opcode::Compress => {
            let format = wire_format(entry)?;
            let (last, sync) = (flags.has(Flags::FINAL), flags.has(Flags::SYNC));
            if !last && !sync {
                return Err((Status::InvalidField, field::FLAGS));
            }
            let history = history(entry, flags)?;
            if history.is_some() && format != Format::Raw {
                return Err((Status::InvalidField, field::FORMAT));
            }
            let params = params(entry)?;
            Ok(Some(Work::Compress {
                src,
                history,
                table: table(entry, flags)?,
                dst,
                params,
                format,
                last,
                sync,
            }))
        }
        Opcode::Decompress => {
            if flags.has(Flags::HIST) || flags.has(Flags::TABLE) {
                return Err((Status::InvalidField, field::FLAGS));
            }
            let format = wire_format(entry)?;
            Ok(Some(Work::Decompress { src, dst, format }))
        }
        Opcode::Count => {
            if flags.has(Flags::TABLE) {
                return Err((Status::InvalidField, field::FLAGS));
            }
            if entry.aux_len < HISTOGRAM_BYTES {
                return Err((Status::InvalidLength, field::AUX_LEN));
            }
            let aux = Span {
                at: Iova(entry.aux),
                bytes: HISTOGRAM_BYTES,
            };
            Ok(Some(Work::Count {
                src,
                history: history(entry, flags)?,
                aux,
                params: params(entry)?,
            }))
        }
    }
}

fn wire_format(entry: &SubmissionEntry) -> Result<Format, Refusal> {
    match WireFormat::from_bits(entry.format) {
        Some(WireFormat::Raw) => Ok(Format::Raw),
        Some(WireFormat::Zlib) => Ok(Format::Zlib),
        Some(WireFormat::Gzip) => Ok(Format::Gzip),
        None => Err((Status::InvalidField, field::FORMAT)),
    }
}

/// What each level fixes about matching (contract.md's card levels: 8K sets, lazy, one way or four).
fn params(entry: &SubmissionEntry) -> Result<Params, Refusal> {
    let ways = match CardLevel::from_bits(entry.level) {
        Some(CardLevel::Fast) => 1,
        Some(CardLevel::Balanced | CardLevel::Dense) => 4,
        None => return Err((Status::InvalidField, field::LEVEL)),
    };
    Ok(Params {
        hash_bits: 13,
        ways,
        lazy: true,
    })
}

fn history(entry: &SubmissionEntry, flags: Flags) -> Result<Option<Span>, Refusal> {
    if !flags.has(Flags::HIST) {
        return Ok(None);
    }
    if entry.hist_len == 0 || entry.hist_len > HISTORY_BYTES_MAX {
        return Err((Status::InvalidLength, field::HIST_LEN));
    }
    Ok(Some(Span {
        at: Iova(entry.hist),
        bytes: entry.hist_len,
    }))
}

/// The TABLE flag and the mode say the same, or neither is believed.
fn table(entry: &SubmissionEntry, flags: Flags) -> Result<Option<Span>, Refusal> {
    match (
        TableMode::from_bits(entry.table_mode),
        flags.has(Flags::TABLE),
    ) {
        (Some(TableMode::Fixed), false) => Ok(None),
        (Some(TableMode::Loaded), true) if entry.aux_len == TABLE_BYTES => Ok(Some(Span {
            at: Iova(entry.aux),
            bytes: entry.aux_len,
        })),
        (Some(TableMode::Loaded), true) => Err((Status::InvalidLength, field::AUX_LEN)),
        (Some(TableMode::Loaded), false) => Err((Status::InvalidField, field::FLAGS)),
        (Some(TableMode::Fixed), true) | (None, _) => {
            Err((Status::InvalidField, field::TABLE_MODE))
        }
    }
}
