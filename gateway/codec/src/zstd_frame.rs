//! Zstandard frames (RFC 8878, 3.1) decoded as they arrive.
//!
//! Owns the framing: headers, block boundaries, checksums, skippable frames. What is in a block is libzstd's to say,
//! which gets each block whole. So the window is bounded and a dictionary refused before any memory is taken, and how the
//! input was cut changes nothing.
//!
//! Invariant: a frame ends only with its data confirmed: by its own checksum (XXH64), or, where it brings none, by
//! ruzstd having made the same bytes. ruzstd lets go of data a window late, so it confirms at the frame's end.
//!
//! Memory: the window (at most [`ZSTD_WINDOW_BYTES_MAX`]) and two blocks; three windows more where ruzstd runs too; see
//! [`ZstdFrame::MEMORY_BYTES_MAX`].

use std::hash::Hasher as _;

use twox_hash::XxHash64;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use crate::decompress_error::{DecompressError, ZSTD_WINDOW_BYTES_MAX};
use crate::deflate_member::MemberState;
use crate::format::Format;
use crate::gather::Gather;
use crate::header::{FRAME_MAGIC_BYTES, HeaderError, ZSTD_MAGIC, is_skippable};
use crate::limits::Budget;
use crate::lockstep::Disagreement;
use crate::zstd_twin::ZstdTwin;

/// The most data in a block, and the most bytes of a block (RFC 8878, 3.1.1.2.4).
const BLOCK_BYTES_MAX: usize = 128 << 10;
pub(crate) const BLOCK_HEADER_BYTES: usize = 3;
pub(crate) const CHECKSUM_BYTES: usize = 4;
/// log2 of [`ZSTD_WINDOW_BYTES_MAX`], for libzstd.
const WINDOW_LOG_MAX: u32 = 23;

/// Which bytes come next. Lengths are of what is gathered for a part, from the part's first byte.
#[derive(Clone, Copy, Debug)]
enum Part {
    Magic,
    SkippableLength,
    Skippable {
        left: usize,
    },
    /// Magic number and Frame_Header_Descriptor, which says how long the header is.
    Descriptor,
    Header {
        len: usize,
    },
    BlockHeader,
    Block {
        len: usize,
        last: bool,
    },
    Checksum,
    /// The last block's data is being handed out.
    Done,
}

/// What a frame's header says (RFC 8878, 3.1.1.1).
#[derive(Clone, Copy, Debug, Default)]
struct FrameHeader {
    block_bytes_max: usize,
    has_checksum: bool,
}

/// The decoder of frames, one after the other.
pub(crate) struct ZstdFrame {
    part: Part,
    start: usize,
    number: usize,
    header: FrameHeader,
    gather: Gather,
    decoder: DCtx<'static>,
    /// Data of the last block, and how much of it was handed out.
    block: Box<[u8]>,
    block_len: usize,
    given: usize,
    checksum: XxHash64,
    twin: Option<Box<ZstdTwin>>,
}

impl ZstdFrame {
    /// Memory at the most, with a window of 8 MiB: libzstd's context (9 MiB), and where ruzstd runs too, its window, and
    /// what it has not let go of yet, while that outgrows its space.
    pub(crate) const MEMORY_BYTES_MAX: usize = 37 << 20;

    pub(crate) fn new() -> Self {
        Self {
            part: Part::Magic,
            start: 0,
            number: 0,
            header: FrameHeader::default(),
            gather: Gather::default(),
            decoder: DCtx::create(),
            block: vec![0; BLOCK_BYTES_MAX].into_boxed_slice(),
            block_len: 0,
            given: 0,
            checksum: XxHash64::with_seed(0),
            twin: None,
        }
    }

    /// Makes ready for frame `number`, which begins at `start`.
    pub(crate) fn begin(&mut self, start: usize, number: usize) -> Result<(), DecompressError> {
        self.part = Part::Magic;
        self.start = start;
        self.number = number;
        self.gather.clear();
        (self.block_len, self.given) = (0, 0);
        self.checksum = XxHash64::with_seed(0);
        self.decoder
            .reset(ResetDirective::SessionOnly)
            .and_then(|_| {
                self.decoder
                    .set_parameter(DParameter::WindowLogMax(WINDOW_LOG_MAX))
            })
            .map(|_| ())
            .map_err(|_| corrupt(start, "a zstd frame that no decoder could be set up for"))
    }

    /// Memory of libzstd's context, which Rust's allocator does not see.
    #[cfg(test)]
    pub(crate) fn context_bytes(&self) -> usize {
        self.decoder.sizeof()
    }

    /// Whether no byte of a further frame has been seen, and something went before.
    pub(crate) fn may_end(&self) -> bool {
        matches!(self.part, Part::Magic) && self.gather.is_empty() && self.start > 0
    }

    /// The error of an input that ends here, at byte `len`.
    pub(crate) fn cut_short(&self, len: usize) -> DecompressError {
        if matches!(self.part, Part::Magic) {
            let seen = self.gather.bytes();
            let begins = |magic: &[u8]| magic.starts_with(seen);
            let skippable = matches!(seen, [first, ..] if first & 0xf0 == 0x50)
                && [0x2a, 0x4d, 0x18].starts_with(seen.get(1..).unwrap_or_default());
            if !begins(&ZSTD_MAGIC) && !skippable {
                return self.no_frame();
            }
        }
        DecompressError::Truncated { offset: len }
    }

    /// Decodes on: appends at most `room` bytes to `out`.
    pub(crate) fn step(
        &mut self,
        input: &mut &[u8],
        room: usize,
        out: &mut Vec<u8>,
        budget: &mut Budget,
    ) -> Result<MemberState, DecompressError> {
        let out_max = out.len().saturating_add(room);
        loop {
            let rest = self
                .block
                .get(self.given..self.block_len)
                .unwrap_or_default();
            let room = out_max.saturating_sub(out.len());
            out.extend_from_slice(rest.get(..room).unwrap_or(rest));
            self.given += room.min(rest.len());
            if self.given < self.block_len {
                return Ok(MemberState::NeedsRoom);
            }
            if matches!(self.part, Part::Done) {
                return Ok(MemberState::Ended);
            }
            if !self.read(input, budget)? {
                return Ok(MemberState::NeedsInput);
            }
        }
    }

    /// Reads the present part on; whether it was complete, and the next is at hand.
    fn read(&mut self, input: &mut &[u8], budget: &mut Budget) -> Result<bool, DecompressError> {
        let wanted = match self.part {
            Part::Magic => FRAME_MAGIC_BYTES,
            Part::SkippableLength => 2 * FRAME_MAGIC_BYTES,
            Part::Skippable { left } => {
                let taken = left.min(input.len());
                budget.advance(input, taken);
                self.part = Part::Skippable { left: left - taken };
                if left > taken {
                    return Ok(false);
                }
                self.start = budget.consumed();
                self.gather.clear();
                self.part = Part::Magic;
                return Ok(true);
            }
            Part::Descriptor => FRAME_MAGIC_BYTES + 1,
            Part::Header { len } => len,
            Part::BlockHeader => BLOCK_HEADER_BYTES,
            Part::Block { len, .. } => BLOCK_HEADER_BYTES + len,
            Part::Checksum => CHECKSUM_BYTES,
            Part::Done => return Ok(true),
        };
        if !self.gather.fill(wanted, input, budget) {
            return Ok(false);
        }
        self.part = match self.part {
            Part::Magic => {
                let magic = self.gather.field(0);
                if magic == ZSTD_MAGIC {
                    Part::Descriptor
                } else if is_skippable(magic) {
                    Part::SkippableLength
                } else {
                    return Err(self.no_frame());
                }
            }
            Part::SkippableLength => {
                let left = u32::from_le_bytes(self.gather.field(FRAME_MAGIC_BYTES));
                Part::Skippable {
                    left: usize::try_from(left).unwrap_or(usize::MAX),
                }
            }
            Part::Descriptor => {
                let [descriptor] = self.gather.field(FRAME_MAGIC_BYTES);
                Part::Header {
                    len: header_bytes(descriptor),
                }
            }
            Part::Header { .. } => {
                self.open()?;
                Part::BlockHeader
            }
            Part::BlockHeader => self.block_header()?,
            Part::Block { last, .. } => {
                self.decode(last, budget)?;
                match (last, self.header.has_checksum) {
                    (false, _) => Part::BlockHeader,
                    (true, true) => Part::Checksum,
                    (true, false) => Part::Done,
                }
            }
            Part::Checksum => {
                self.confirm()?;
                Part::Done
            }
            unchanged @ (Part::Skippable { .. } | Part::Done) => unchanged,
        };
        if matches!(self.part, Part::BlockHeader | Part::Checksum | Part::Done) {
            self.gather.clear();
        }
        Ok(true)
    }

    /// Reads the gathered header and gives it to the decoders.
    fn open(&mut self) -> Result<(), DecompressError> {
        let [descriptor] = self.gather.field(FRAME_MAGIC_BYTES);
        if descriptor & 0x08 != 0 {
            return Err(corrupt(
                self.start,
                "a zstd frame header with its reserved bit set",
            ));
        }
        let layout = HeaderLayout::of(descriptor);
        let mut at = FRAME_MAGIC_BYTES + 1;
        let mut window = None;
        if !layout.single_segment {
            let [bits] = self.gather.field::<1>(at);
            let base = 1u64 << (10 + (bits >> 3));
            window = Some(base + (base / 8) * u64::from(bits & 7));
            at += 1;
        }
        let dictionary = self.little_endian(at, layout.dictionary_id_bytes);
        if dictionary != 0 {
            return Err(DecompressError::PresetDictionary {
                // It has four bytes at the most.
                id: u32::try_from(dictionary).unwrap_or(u32::MAX),
            });
        }
        at += layout.dictionary_id_bytes;
        // In a single segment the content is the window; the two-byte form counts from 256.
        let content = self.little_endian(at, layout.content_size_bytes)
            + if layout.content_size_bytes == 2 {
                256
            } else {
                0
            };
        let window = window.unwrap_or(content);
        if window > ZSTD_WINDOW_BYTES_MAX {
            return Err(DecompressError::WindowTooLarge {
                offset: self.start,
                window_bytes: window,
            });
        }
        self.header = FrameHeader {
            block_bytes_max: usize::try_from(window)
                .unwrap_or(usize::MAX)
                .min(BLOCK_BYTES_MAX),
            has_checksum: descriptor & 0x04 != 0,
        };
        let header = self.gather.bytes();
        if !self.header.has_checksum {
            let twin = self.twin.get_or_insert_with(Box::default);
            twin.begin(header)
                .map_err(|Disagreement| corrupt(self.start, TWO_READINGS))?;
        }
        feed(&mut self.decoder, header, &mut [])
            .map(|_| ())
            .ok_or_else(|| corrupt(self.start, "a zstd frame header that is none"))
    }

    /// An unsigned field of up to eight bytes of the header.
    fn little_endian(&self, at: usize, len: usize) -> u64 {
        let mut bytes = [0; 8];
        let field = self.gather.bytes().get(at..at + len).unwrap_or_default();
        for (to, from) in bytes.iter_mut().zip(field) {
            *to = *from;
        }
        u64::from_le_bytes(bytes)
    }

    /// What the gathered block header announces (RFC 8878, 3.1.1.2).
    fn block_header(&mut self) -> Result<Part, DecompressError> {
        let header = BlockHeader::parse(self.gather.field(0));
        if header.kind == BlockHeader::RESERVED {
            return Err(corrupt(self.start, "a zstd block of the reserved type"));
        }
        if header.size > self.header.block_bytes_max {
            return Err(corrupt(
                self.start,
                "a zstd block larger than its frame allows",
            ));
        }
        Ok(Part::Block {
            len: header.content_bytes(),
            last: header.last,
        })
    }

    /// Decodes the gathered block into `block`.
    fn decode(&mut self, last: bool, budget: &mut Budget) -> Result<(), DecompressError> {
        let gathered = self.gather.bytes();
        let offset = budget.consumed().saturating_sub(gathered.len());
        let space = self
            .block
            .get_mut(..self.header.block_bytes_max)
            .unwrap_or_default();
        (self.block_len, self.given) = (0, 0);
        let made = feed(&mut self.decoder, gathered, space)
            .ok_or_else(|| corrupt(offset, "a zstd block that does not decode"))?;
        let data = self.block.get(..made).unwrap_or_default();
        if self.header.has_checksum {
            self.checksum.write(data);
        } else if let Some(twin) = &mut self.twin {
            twin.lead(data);
            twin.follow(gathered, last)
                .map_err(|Disagreement| corrupt(offset, TWO_READINGS))?;
        }
        budget.produce(made)?;
        budget.check()?;
        self.block_len = made;
        Ok(())
    }

    /// Compares the frame's checksum with the data's.
    fn confirm(&mut self) -> Result<(), DecompressError> {
        let expected = u32::from_le_bytes(self.gather.field(0));
        // The low four bytes of XXH64 (RFC 8878, 3.1.1).
        let [g0, g1, g2, g3, ..] = self.checksum.finish().to_le_bytes();
        let got = u32::from_le_bytes([g0, g1, g2, g3]);
        if got != expected {
            return Err(DecompressError::ChecksumMismatch {
                expected,
                got,
                member: self.number,
            });
        }
        feed(&mut self.decoder, self.gather.bytes(), &mut [])
            .map(|_| ())
            .ok_or_else(|| corrupt(self.start, "a zstd frame whose end does not decode"))
    }

    /// The error of bytes that begin no frame.
    fn no_frame(&self) -> DecompressError {
        let [first, second] = self.gather.field(0);
        if self.start > 0 {
            DecompressError::TrailingGarbage {
                offset: self.start,
                format: Format::Zstd,
            }
        } else {
            let source = HeaderError::Magic {
                format: Format::Zstd,
                expected: "28 b5 2f fd",
                got: [first, second],
            };
            DecompressError::BadHeader { offset: 0, source }
        }
    }
}

const TWO_READINGS: &str = "a zstd frame that two decoders read differently";

fn corrupt(offset: usize, what: &'static str) -> DecompressError {
    DecompressError::CorruptInput { offset, what }
}

/// Gives `input`, all of it, to the decoder; how many bytes it wrote to `space`. `None` if it refuses, or wants more space.
fn feed(decoder: &mut DCtx<'static>, input: &[u8], space: &mut [u8]) -> Option<usize> {
    let mut input = InBuffer::around(input);
    let mut output = OutBuffer::around(space);
    loop {
        let before = (input.pos, output.pos());
        decoder.decompress_stream(&mut output, &mut input).ok()?;
        if input.pos == input.src.len() && output.pos() < output.capacity().max(1) {
            return Some(output.pos());
        }
        if before == (input.pos, output.pos()) {
            // Full: that is all if there is no more.
            return (input.pos == input.src.len()).then(|| output.pos());
        }
    }
}

/// A block's header (RFC 8878, 3.1.1.2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockHeader {
    pub(crate) last: bool,
    kind: u8,
    size: usize,
}

impl BlockHeader {
    const RLE: u8 = 1;
    const RESERVED: u8 = 3;

    pub(crate) fn parse([b0, b1, b2]: [u8; BLOCK_HEADER_BYTES]) -> Self {
        let bits = u32::from_le_bytes([b0, b1, b2, 0]);
        Self {
            last: b0 & 1 == 1,
            kind: (b0 >> 1) & 3,
            size: usize::try_from(bits >> 3).unwrap_or(usize::MAX),
        }
    }

    /// Bytes of the block after its header: an RLE block is one byte, repeated.
    pub(crate) const fn content_bytes(&self) -> usize {
        if self.kind == Self::RLE { 1 } else { self.size }
    }
}

/// Which fields a header has (RFC 8878, 3.1.1.1.1).
struct HeaderLayout {
    single_segment: bool,
    dictionary_id_bytes: usize,
    content_size_bytes: usize,
}

impl HeaderLayout {
    fn of(descriptor: u8) -> Self {
        let single_segment = descriptor & 0x20 != 0;
        Self {
            single_segment,
            dictionary_id_bytes: match descriptor & 3 {
                0 => 0,
                1 => 1,
                2 => 2,
                _ => 4,
            },
            content_size_bytes: match descriptor >> 6 {
                0 if single_segment => 1,
                0 => 0,
                1 => 2,
                2 => 4,
                _ => 8,
            },
        }
    }
}

/// Length of a frame header, the magic number included.
pub(crate) fn header_bytes(descriptor: u8) -> usize {
    let layout = HeaderLayout::of(descriptor);
    FRAME_MAGIC_BYTES
        + 1
        + usize::from(!layout.single_segment)
        + layout.dictionary_id_bytes
        + layout.content_size_bytes
}
