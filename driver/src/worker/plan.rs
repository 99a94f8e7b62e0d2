//! Which commands a job takes, and in which order.
//!
//! Owns the translation from a level to Count and Compress commands. Invariant: each
//! entry names only the buffers that its job owns, with their true lengths.
//! It deliberately does not know rings or time.
//!
//! Fast: one Compress with the fixed code. Balanced: Count over a sample from the start,
//! a table of it, Compress. Dense: Count over everything, a table, Compress.

use std::time::Duration;

use faam_hwif::table::{HISTOGRAM_BYTES, TABLE_BYTES};
use faam_hwif::{CardLevel, Flags, Iova, Opcode, SubmissionEntry, TableMode, WireFormat};

use super::job::Kernel;
use crate::command_table::Limits;

/// Bytes from the start of the data that Balanced takes its table from.
pub(super) const SAMPLE_BYTES_MAX: u32 = 16 << 10;
/// Below this the fixed code is used at any level. A loaded table costs a header of 60 to 100 bytes and a second
/// trip to the card, and saves about a fifth of the output: at a ratio of 2.7 that is 74 bytes a KiB of input, so the
/// two meet between 1 and 1.5 KiB; the trip decides for the larger side.
pub(super) const TABLE_INPUT_BYTES_MIN: u32 = 2 << 10;

/// Where the histogram lies in the auxiliary buffer.
pub(super) const AUX_HISTOGRAM: usize = 0;
/// Where the table block lies in the auxiliary buffer.
pub(super) const AUX_TABLE: usize = 2048;
/// Room of both.
pub(super) const AUX_BYTES: usize = 4096;
const _: () = assert!(HISTOGRAM_BYTES as usize <= AUX_TABLE);
const _: () = assert!(AUX_TABLE + TABLE_BYTES as usize <= AUX_BYTES);

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Counting symbols.
    Count,
    /// Compressing with the table made of the count.
    CompressTable,
    /// Compressing with the fixed code.
    CompressFixed,
    /// Decompressing.
    Decompress,
}

impl Stage {
    /// The first stage of a job.
    pub(super) fn first(kernel: Kernel, input_bytes: u32) -> Self {
        match kernel {
            Kernel::Decompress { .. } => Self::Decompress,
            Kernel::Compress {
                level: CardLevel::Fast,
                ..
            } => Self::CompressFixed,
            Kernel::Compress { .. } if input_bytes < TABLE_INPUT_BYTES_MIN => Self::CompressFixed,
            Kernel::Compress { .. } => Self::Count,
        }
    }

    /// Whether it needs the auxiliary buffer.
    pub(super) fn needs_aux(self) -> bool {
        matches!(self, Self::Count | Self::CompressTable)
    }
}

/// Where a job's memory lies, and how much of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) src: Iova,
    pub(super) src_len: u32,
    pub(super) dst: Iova,
    pub(super) dst_cap: u32,
    pub(super) aux: Option<Iova>,
}

/// The command of one stage, and what its completion may claim.
pub(super) fn command(
    stage: Stage,
    kernel: Kernel,
    places: &Places,
    context: u32,
    timeout: Duration,
) -> (SubmissionEntry, Limits) {
    let base = SubmissionEntry {
        context,
        src: places.src.0,
        src_len: places.src_len,
        timeout_us: u32::try_from(timeout.as_micros()).unwrap_or(u32::MAX),
        ..SubmissionEntry::default()
    };
    let limits = Limits {
        src_len: places.src_len,
        dst_cap: places.dst_cap,
    };
    let (level, format, last) = match kernel {
        Kernel::Compress {
            level,
            format,
            last,
        } => (level, format, last),
        Kernel::Decompress { format } => (CardLevel::Fast, format, true),
    };
    let end = if last { Flags::FINAL } else { Flags::SYNC };
    let aux = |offset: usize| places.aux.unwrap_or_default().0 + offset as u64;
    match stage {
        Stage::Count => {
            let src_len = match level {
                CardLevel::Dense => places.src_len,
                CardLevel::Balanced | CardLevel::Fast => places.src_len.min(SAMPLE_BYTES_MAX),
            };
            let entry = SubmissionEntry {
                op: Opcode::Count as u8,
                src_len,
                aux: aux(AUX_HISTOGRAM),
                aux_len: HISTOGRAM_BYTES,
                level: level as u8,
                table_mode: TableMode::Loaded as u8,
                ..base
            };
            let limits = Limits {
                src_len,
                dst_cap: HISTOGRAM_BYTES,
            };
            (entry, limits)
        }
        Stage::CompressTable => (
            SubmissionEntry {
                op: Opcode::Compress as u8,
                flags: end.with(Flags::TABLE).0,
                dst: places.dst.0,
                dst_cap: places.dst_cap,
                aux: aux(AUX_TABLE),
                aux_len: TABLE_BYTES,
                format: format as u8,
                level: level as u8,
                table_mode: TableMode::Loaded as u8,
                ..base
            },
            limits,
        ),
        Stage::CompressFixed => (
            SubmissionEntry {
                op: Opcode::Compress as u8,
                flags: end.0,
                dst: places.dst.0,
                dst_cap: places.dst_cap,
                format: format as u8,
                // Its own level's matcher: the kernel that has that need not have the other.
                level: level as u8,
                table_mode: TableMode::Fixed as u8,
                ..base
            },
            limits,
        ),
        Stage::Decompress => (
            SubmissionEntry {
                op: Opcode::Decompress as u8,
                dst: places.dst.0,
                dst_cap: places.dst_cap,
                format: format as u8,
                ..base
            },
            limits,
        ),
    }
}

/// Whether a format's identifier must be known to the card for this kernel.
pub(super) fn format_of(kernel: Kernel) -> WireFormat {
    match kernel {
        Kernel::Compress { format, .. } | Kernel::Decompress { format } => format,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACES: Places = Places {
        src: Iova(0x1000),
        src_len: 100_000,
        dst: Iova(0x20_0000),
        dst_cap: 120_000,
        aux: Some(Iova(0x40_0000)),
    };

    fn compress(level: CardLevel) -> Kernel {
        Kernel::Compress {
            level,
            format: WireFormat::Raw,
            last: false,
        }
    }

    #[test]
    fn levels_take_the_stages_that_the_contract_says() {
        let stages = |level, bytes| Stage::first(compress(level), bytes);
        assert_eq!(stages(CardLevel::Fast, 100_000), Stage::CompressFixed);
        assert_eq!(stages(CardLevel::Balanced, 100_000), Stage::Count);
        assert_eq!(stages(CardLevel::Dense, 100_000), Stage::Count);
        assert_eq!(stages(CardLevel::Dense, 100), Stage::CompressFixed);
    }

    #[test]
    fn balanced_counts_a_sample_and_dense_counts_all() {
        let counted = |level| {
            let (entry, limits) = command(
                Stage::Count,
                compress(level),
                &PLACES,
                7,
                Duration::from_secs(1),
            );
            assert_eq!(entry.op, Opcode::Count as u8);
            assert_eq!(entry.aux_len, HISTOGRAM_BYTES);
            assert_eq!((entry.dst, entry.dst_cap), (0, 0));
            assert_eq!(limits.src_len, entry.src_len);
            entry.src_len
        };
        assert_eq!(counted(CardLevel::Balanced), SAMPLE_BYTES_MAX);
        assert_eq!(counted(CardLevel::Dense), 100_000);
    }

    #[test]
    fn a_block_ends_its_stream_or_at_a_byte_boundary() {
        let flags = |last, stage| {
            let kernel = Kernel::Compress {
                level: CardLevel::Dense,
                format: WireFormat::Gzip,
                last,
            };
            command(stage, kernel, &PLACES, 0, Duration::from_secs(1))
                .0
                .flags
        };
        assert_eq!(flags(true, Stage::CompressFixed), Flags::FINAL.0);
        assert_eq!(
            flags(false, Stage::CompressTable),
            Flags::SYNC.with(Flags::TABLE).0
        );
    }
}
