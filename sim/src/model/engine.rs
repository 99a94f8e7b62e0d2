//! One engine: a job in, framed DEFLATE data and a report out.
//!
//! Invariant: nothing of a job is left that a later one could see; [`Engine::scrub`] removes even what could not be.

use thiserror::Error;

use super::bits::BitWriter;
use super::code::{BlockCode, FIXED, split};
use super::frame::Format;
use super::histogram::Histogram;
use super::matcher::{Matcher, Params, Sink};
use super::table::{BadTable, LoadedTable};
use super::{LITLEN_SYMBOLS, code, cycles};

/// Most bytes of input of one job.
pub const INPUT_BYTES_MAX: usize = 1 << 20;
/// Most bytes of history of one job: DEFLATE's window.
pub const HISTORY_BYTES_MAX: usize = 1 << 15;
/// Most bytes in one stored block (RFC 1951, section 3.2.4).
const STORED_BLOCK_BYTES_MAX: usize = 65535;
/// Bytes before the data of a byte-aligned stored block: three bits and padding, LEN, NLEN.
const STORED_HEADER_BYTES: usize = 5;
/// LEN and NLEN of an empty stored block: what follows its three bits and padding.
const SYNC_MARKER: [u8; 4] = [0x00, 0x00, 0xff, 0xff];

/// Block types (RFC 1951, section 3.2.3), as the two bits after BFINAL.
const BTYPE_STORED: u64 = 0b00;
const BTYPE_FIXED: u64 = 0b01;
const BTYPE_DYNAMIC: u64 = 0b10;

/// Which code a job's block uses.
#[derive(Debug, Clone, Copy)]
pub enum Tables<'a> {
    /// RFC 1951's fixed code.
    Fixed,
    /// A table of the host's.
    Loaded(&'a LoadedTable),
}

/// One compress job.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// What to compress, at most [`INPUT_BYTES_MAX`].
    pub src: &'a [u8],
    /// What the decoder has seen just before, at most [`HISTORY_BYTES_MAX`]; only in [`Format::Raw`].
    pub history: &'a [u8],
    /// How to match.
    pub params: Params,
    /// The container.
    pub format: Format,
    /// FINAL: the last block of its stream, followed by the trailer.
    pub last: bool,
    /// SYNC: not the last, ended with an empty stored block on a byte boundary. Without effect beside `last`.
    pub sync: bool,
    /// How to code.
    pub tables: Tables<'a>,
}

/// What a job reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Bytes written, from the start of the destination.
    pub out_len: usize,
    /// CRC-32 of the input (RFC 1952), whatever the format.
    pub crc32: u32,
    /// Adler-32 of the input (RFC 1950), whatever the format.
    pub adler32: u32,
    /// Cycles that a gateware engine spends on this job.
    pub cycles: u64,
    /// Whether the input was stored, because coding it would have been longer.
    pub stored: bool,
}

/// Why a job gave no output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// The destination is too small for what the job comes to.
    #[error("the output does not fit its {capacity} bytes: give more, or less input")]
    OutputFull {
        /// Bytes there were.
        capacity: usize,
    },
    /// The loaded table is no usable code.
    #[error("bad table")]
    BadTable(#[from] BadTable),
    /// The job needs a symbol that the loaded table does not code.
    #[error("the job needs a symbol without a code: load a table that codes every symbol")]
    TableMiss,
    /// More input than a job may have.
    #[error("a job has at most {INPUT_BYTES_MAX} bytes of input, this one {got}: cut it")]
    InputTooLong {
        /// Bytes that came.
        got: usize,
    },
    /// More history than the window.
    #[error(
        "a job has at most {HISTORY_BYTES_MAX} bytes of history, this one {got}: send the last of it"
    )]
    HistoryTooLong {
        /// Bytes that came.
        got: usize,
    },
    /// History in a format whose header starts a new stream.
    #[error("history goes with raw DEFLATE only: no decoder of {format:?} could know it")]
    HistoryInFrame {
        /// The format.
        format: Format,
    },
    /// Neither FINAL nor SYNC: the output would end inside a byte.
    #[error("a job is FINAL or SYNC, this one neither")]
    NoEnd,
    /// Parameters out of range.
    #[error("no engine has {} sets of {} ways", 1u64 << .params.hash_bits.min(63), .params.ways)]
    BadParams {
        /// What was asked for.
        params: Params,
    },
}

/// One engine. Its memory is allocated once, by [`Engine::new`].
pub struct Engine {
    matcher: Matcher,
    /// History and input side by side, for jobs that have history. Always of its full length.
    stream: Box<[u8]>,
}

impl Default for Engine {
    fn default() -> Self {
        Self::new()
    }
}

impl Engine {
    /// An engine as after power-on.
    pub fn new() -> Self {
        Self {
            matcher: Matcher::new(),
            stream: vec![0; HISTORY_BYTES_MAX + INPUT_BYTES_MAX].into_boxed_slice(),
        }
    }

    /// Removes all traces of earlier jobs. Called when the engine goes from one tenant to another.
    pub fn scrub(&mut self) {
        self.matcher.clear();
        self.stream.fill(0);
    }

    /// What is left in it of jobs with history, for whoever looks for traces.
    pub(crate) fn stream(&self) -> &[u8] {
        &self.stream
    }

    /// Sets of its hash tables that hold a position.
    pub(crate) fn occupied_sets(&self) -> usize {
        self.matcher.occupied_sets()
    }

    /// Runs a count job: the symbols that [`compress`](Self::compress) would code for the same input, history and
    /// parameters, and the cycles it costs.
    ///
    /// # Errors
    /// [`Fault::InputTooLong`], [`Fault::HistoryTooLong`], [`Fault::BadParams`].
    pub fn count(
        &mut self,
        src: &[u8],
        history: &[u8],
        params: Params,
    ) -> Result<(Histogram, u64), Fault> {
        check_sizes(src, history, params)?;
        let mut histogram = Histogram::new();
        self.parse(src, history, params, &mut histogram);
        histogram.litlen[code::END_OF_BLOCK] = 1;
        Ok((histogram, cycles::count(history.len(), src.len())))
    }

    /// Runs a compress job into the front of `dst`. What `dst` holds beyond the reported length, or after a fault,
    /// is unspecified, but comes of this job alone.
    ///
    /// # Errors
    /// See [`Fault`]; no engine state is lost to any of them.
    pub fn compress(&mut self, job: &Job<'_>, dst: &mut [u8]) -> Result<Report, Fault> {
        check_sizes(job.src, job.history, job.params)?;
        if job.format != Format::Raw && !job.history.is_empty() {
            return Err(Fault::HistoryInFrame { format: job.format });
        }
        if !job.last && !job.sync {
            return Err(Fault::NoEnd);
        }
        let crc32 = crc32fast::hash(job.src);
        let mut adler = simd_adler32::Adler32::new();
        adler.write(job.src);
        let adler32 = adler.finish();

        let capacity = dst.len();
        let mut writer = BitWriter::new(dst);
        job.format.write_header(&mut writer);
        let body_start = writer.byte_len();

        let block_code = match job.tables {
            Tables::Fixed => &FIXED,
            Tables::Loaded(table) => &table.code,
        };
        writer.put(u64::from(job.last), 1);
        let header_bits = match job.tables {
            Tables::Fixed => {
                writer.put(BTYPE_FIXED, 2);
                None
            }
            Tables::Loaded(table) => {
                writer.put(BTYPE_DYNAMIC, 2);
                let (header, bits) = table.header();
                writer.bit_string(header, bits);
                Some(bits)
            }
        };
        let missed = if block_code.is_complete {
            let mut encoder = Encoder::<false>::new(&mut writer, block_code);
            self.parse(job.src, job.history, job.params, &mut encoder);
            encoder.missed
        } else {
            let mut encoder = Encoder::<true>::new(&mut writer, block_code);
            self.parse(job.src, job.history, job.params, &mut encoder);
            encoder.missed
        };
        if missed {
            return Err(Fault::TableMiss);
        }
        let (bits, count) = split(block_code.end_of_block());
        writer.put(bits, count);
        end_body(&mut writer, job.last);

        let stored = writer.byte_len() - body_start > stored_len(job.src.len(), job.last);
        if stored {
            writer.rewind(body_start);
            write_stored(&mut writer, job.src, job.last);
        }
        if job.last {
            job.format
                .write_trailer(&mut writer, crc32, adler32, job.src.len());
        }
        let out_len = writer.byte_len();
        if out_len > capacity {
            return Err(Fault::OutputFull { capacity });
        }
        Ok(Report {
            out_len,
            crc32,
            adler32,
            cycles: cycles::compress(job.history.len(), job.src.len(), header_bits, stored),
            stored,
        })
    }

    fn parse<S: Sink>(&mut self, src: &[u8], history: &[u8], params: Params, sink: &mut S) {
        if history.is_empty() {
            self.matcher.parse(src, 0, params, sink);
        } else {
            // Both were measured: there is room, and were there none, the stream would be empty.
            let whole = history.len() + src.len();
            let stream = self.stream.get_mut(..whole).unwrap_or_default();
            if let Some((before, after)) = stream.split_at_mut_checked(history.len()) {
                before.copy_from_slice(history);
                after.copy_from_slice(src);
            }
            self.matcher.parse(stream, history.len(), params, sink);
        }
    }
}

fn check_sizes(src: &[u8], history: &[u8], params: Params) -> Result<(), Fault> {
    if src.len() > INPUT_BYTES_MAX {
        return Err(Fault::InputTooLong { got: src.len() });
    }
    if history.len() > HISTORY_BYTES_MAX {
        return Err(Fault::HistoryTooLong { got: history.len() });
    }
    if !params.is_valid() {
        return Err(Fault::BadParams { params });
    }
    Ok(())
}

/// Ends the DEFLATE data on a byte boundary: padding, and before it SYNC's empty stored block if more follows.
fn end_body(writer: &mut BitWriter<'_>, last: bool) {
    if last {
        writer.align();
    } else {
        writer.put(BTYPE_STORED << 1, 3);
        writer.align();
        writer.bytes(&SYNC_MARKER);
    }
}

/// Stored blocks that a job's input takes: one even if it is empty.
fn stored_blocks(src_len: usize) -> usize {
    src_len.div_ceil(STORED_BLOCK_BYTES_MAX).max(1)
}

/// Bytes of DEFLATE data that a job comes to if it is stored.
fn stored_len(src_len: usize, last: bool) -> usize {
    let end = if last { 0 } else { STORED_HEADER_BYTES };
    src_len + STORED_HEADER_BYTES * stored_blocks(src_len) + end
}

/// The whole input as stored blocks. The writer must be aligned.
fn write_stored(writer: &mut BitWriter<'_>, src: &[u8], last: bool) {
    let mut rest = src;
    loop {
        let (block, after) = rest.split_at(rest.len().min(STORED_BLOCK_BYTES_MAX));
        writer.put(u64::from(last && after.is_empty()), 1);
        writer.put(BTYPE_STORED, 2);
        writer.align();
        let len = (block.len() as u64 & 0xffff) as u16;
        writer.bytes(&len.to_le_bytes());
        writer.bytes(&(!len).to_le_bytes());
        writer.bytes(block);
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    if !last {
        end_body(writer, last);
    }
}

/// Codes what the parse yields. `CHECKED` looks for symbols without a code.
struct Encoder<'a, 'b, const CHECKED: bool> {
    writer: &'a mut BitWriter<'b>,
    code: &'a BlockCode,
    missed: bool,
}

/// Literals between two flushes: three codes of at most 15 bits beside 7 left over.
const LITERALS_A_FLUSH: usize = 3;
const _: () = assert!(LITERALS_A_FLUSH * 15 <= BitWriter::BITS_BETWEEN_FLUSHES_MAX as usize);
const _: () = assert!(
    LITLEN_SYMBOLS == 286,
    "a match is at most 15 + 5 + 15 + 13 = 48 bits"
);

impl<'a, 'b, const CHECKED: bool> Encoder<'a, 'b, CHECKED> {
    fn new(writer: &'a mut BitWriter<'b>, code: &'a BlockCode) -> Self {
        writer.flush();
        Self {
            writer,
            code,
            missed: false,
        }
    }

    #[inline(always)]
    fn literal(&mut self, byte: u8) {
        let (bits, count) = split(self.code.literal(byte));
        if CHECKED {
            self.missed |= count == 0;
        }
        self.writer.put(bits, count);
    }
}

impl<const CHECKED: bool> Sink for Encoder<'_, '_, CHECKED> {
    #[inline(always)]
    fn literals(&mut self, bytes: &[u8]) {
        let (threes, rest) = bytes.as_chunks::<LITERALS_A_FLUSH>();
        for three in threes {
            for byte in three {
                self.literal(*byte);
            }
            self.writer.flush();
        }
        for byte in rest {
            self.literal(*byte);
        }
        self.writer.flush();
    }

    #[inline(always)]
    fn matched(&mut self, length: usize, distance: usize) {
        let (bits, count) = split(self.code.length(length));
        self.writer.put(bits, count);
        let (distance_bits, distance_count) = self.code.distance(distance);
        if CHECKED {
            self.missed |= count == 0 || distance_count == 0;
        }
        self.writer.put(distance_bits, distance_count);
        self.writer.flush();
    }
}
