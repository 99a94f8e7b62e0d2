//! LZ4 frames (lz4_Frame_format.md 1.6.4 of the LZ4 project), read as they arrive and written a block at a time.
//!
//! Owns the framing; what is in a block is lz4_flex's to say.
//!
//! Invariant: a frame ends only with its data confirmed: by its own checksum (XXH32), or, where it brings none, by our
//! plain block decoder having made the same bytes. Memory: three blocks (4 MiB at the most, as the frame says) and the history;
//! see [`Lz4Frame::MEMORY_BYTES_MAX`].

use std::hash::Hasher as _;

use twox_hash::XxHash32;

use crate::decompress_error::DecompressError;
use crate::deflate_member::MemberState;
use crate::format::Format;
use crate::gather::Gather;
use crate::header::{FRAME_MAGIC_BYTES, HeaderError, LZ4_MAGIC, is_skippable};
use crate::limits::Budget;
use crate::lz4_block;
use crate::lz4_history::Lz4History;

/// A block's length field; its highest bit says that the block is stored.
const LENGTH_BYTES: usize = 4;
pub(crate) const STORED: u32 = 1 << 31;
const CHECKSUM_BYTES: usize = 4;

/// FLG (lz4_Frame_format.md, "Frame Descriptor").
const FLAG_DICTIONARY: u8 = 1;
const FLAG_RESERVED: u8 = 1 << 1;
const FLAG_CONTENT_CHECKSUM: u8 = 1 << 2;
const FLAG_CONTENT_SIZE: u8 = 1 << 3;
const FLAG_BLOCK_CHECKSUM: u8 = 1 << 4;
const FLAG_INDEPENDENT: u8 = 1 << 5;
const VERSION: u8 = 0b01 << 6;
const VERSION_MASK: u8 = 0b11 << 6;

/// What our own frames say: independent blocks, a content checksum.
pub(crate) const FRAME_FLAGS: u8 = VERSION | FLAG_INDEPENDENT | FLAG_CONTENT_CHECKSUM;
/// BD: blocks of 256 KiB at the most.
pub(crate) const BLOCK_DESCRIPTOR_256_KIB: u8 = 5 << 4;

/// Which bytes come next.
#[derive(Clone, Copy, Debug)]
enum Part {
    Magic,
    SkippableLength,
    Skippable {
        left: usize,
    },
    /// Magic number, FLG and BD: they say how long the header is.
    Descriptor,
    Header {
        len: usize,
    },
    BlockLength,
    Block {
        len: usize,
        stored: bool,
    },
    Checksum,
    Done,
}

/// What a frame's header says.
#[derive(Clone, Copy, Debug, Default)]
struct FrameHeader {
    flags: u8,
    block_bytes_max: usize,
    content_bytes: Option<u64>,
}

/// The decoder of frames, one after the other.
pub(crate) struct Lz4Frame {
    part: Part,
    start: usize,
    number: usize,
    header: FrameHeader,
    gather: Gather,
    /// Data of the last block, and how much of it was handed out.
    block: Vec<u8>,
    block_len: usize,
    given: usize,
    history: Lz4History,
    /// The same block by the plain decoder.
    second: Vec<u8>,
    checksum: XxHash32,
    content_len: u64,
}

impl Lz4Frame {
    /// Memory at the most: a block of 4 MiB as it came, while room for its second half is made; decoded; decoded again; and
    /// twice a match's reach.
    pub(crate) const MEMORY_BYTES_MAX: usize = (14 << 20) + (256 << 10);

    pub(crate) fn new() -> Self {
        Self {
            part: Part::Magic,
            start: 0,
            number: 0,
            header: FrameHeader::default(),
            gather: Gather::default(),
            block: Vec::new(),
            block_len: 0,
            given: 0,
            history: Lz4History::default(),
            second: Vec::new(),
            checksum: XxHash32::with_seed(0),
            content_len: 0,
        }
    }

    /// Makes ready for frame `number`, which begins at `start`.
    pub(crate) fn begin(&mut self, start: usize, number: usize) {
        self.part = Part::Magic;
        self.start = start;
        self.number = number;
        self.gather.clear();
        (self.block_len, self.given) = (0, 0);
        self.history.clear();
        self.checksum = XxHash32::with_seed(0);
        self.content_len = 0;
    }

    /// Whether no byte of a further frame has been seen, and something went before.
    pub(crate) fn may_end(&self) -> bool {
        matches!(self.part, Part::Magic) && self.gather.is_empty() && self.start > 0
    }

    /// The error of an input that ends here, at byte `len`.
    pub(crate) fn cut_short(&self, len: usize) -> DecompressError {
        if matches!(self.part, Part::Magic) {
            let seen = self.gather.bytes();
            let skippable = matches!(seen, [first, ..] if first & 0xf0 == 0x50)
                && [0x2a, 0x4d, 0x18].starts_with(seen.get(1..).unwrap_or_default());
            if !LZ4_MAGIC.starts_with(seen) && !skippable {
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
            Part::Descriptor => FRAME_MAGIC_BYTES + 2,
            Part::Header { len } => len,
            Part::BlockLength => LENGTH_BYTES,
            Part::Block { len, .. } => LENGTH_BYTES + len + self.block_checksum_bytes(),
            Part::Checksum => CHECKSUM_BYTES,
            Part::Done => return Ok(true),
        };
        if !self.gather.fill(wanted, input, budget) {
            return Ok(false);
        }
        self.part = match self.part {
            Part::Magic => {
                let magic = self.gather.field(0);
                if magic == LZ4_MAGIC {
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
                let [flags] = self.gather.field(FRAME_MAGIC_BYTES);
                Part::Header {
                    len: header_bytes(flags),
                }
            }
            Part::Header { .. } => {
                self.open()?;
                Part::BlockLength
            }
            Part::BlockLength => self.block_length(budget)?,
            Part::Block { len, stored } => {
                self.decode(len, stored, budget)?;
                Part::BlockLength
            }
            Part::Checksum => {
                self.confirm()?;
                Part::Done
            }
            unchanged @ (Part::Skippable { .. } | Part::Done) => unchanged,
        };
        if matches!(self.part, Part::BlockLength | Part::Checksum | Part::Done) {
            self.gather.clear();
        }
        Ok(true)
    }

    /// Reads the gathered header.
    fn open(&mut self) -> Result<(), DecompressError> {
        let refused = |what| corrupt(self.start, what);
        let [flags, block_descriptor] = self.gather.field(FRAME_MAGIC_BYTES);
        if flags & VERSION_MASK != VERSION {
            return Err(refused("an lz4 frame of another version than 1"));
        }
        if flags & FLAG_RESERVED != 0 || block_descriptor & 0x8f != 0 {
            return Err(refused("an lz4 frame header with reserved bits set"));
        }
        let block_bytes_max = match block_descriptor >> 4 {
            4 => 64 << 10,
            5 => 256 << 10,
            6 => 1 << 20,
            7 => 4 << 20,
            _ => return Err(refused("an lz4 frame header with a reserved block size")),
        };
        let header = self.gather.bytes();
        let covered = header
            .get(FRAME_MAGIC_BYTES..header.len().saturating_sub(1))
            .unwrap_or_default();
        if header.last() != Some(&header_checksum(covered)) {
            return Err(refused(
                "an lz4 frame header that its checksum does not confirm",
            ));
        }
        let mut at = FRAME_MAGIC_BYTES + 2;
        let mut content_bytes = None;
        if flags & FLAG_CONTENT_SIZE != 0 {
            content_bytes = Some(u64::from_le_bytes(self.gather.field(at)));
            at += 8;
        }
        if flags & FLAG_DICTIONARY != 0 {
            let id = u32::from_le_bytes(self.gather.field(at));
            return Err(DecompressError::PresetDictionary { id });
        }
        self.header = FrameHeader {
            flags,
            block_bytes_max,
            content_bytes,
        };
        Ok(())
    }

    fn has(&self, flag: u8) -> bool {
        self.header.flags & flag != 0
    }

    fn block_checksum_bytes(&self) -> usize {
        if self.has(FLAG_BLOCK_CHECKSUM) {
            CHECKSUM_BYTES
        } else {
            0
        }
    }

    /// What the gathered block length announces: a block, or with 0 the end of blocks.
    fn block_length(&mut self, budget: &Budget) -> Result<Part, DecompressError> {
        let word = u32::from_le_bytes(self.gather.field(0));
        if word == 0 {
            return if self.has(FLAG_CONTENT_CHECKSUM) {
                Ok(Part::Checksum)
            } else {
                self.confirm_length()?;
                Ok(Part::Done)
            };
        }
        let len = usize::try_from(word & !STORED).unwrap_or(usize::MAX);
        if len > self.header.block_bytes_max {
            let offset = budget.consumed().saturating_sub(LENGTH_BYTES);
            return Err(corrupt(offset, "an lz4 block larger than its frame allows"));
        }
        Ok(Part::Block {
            len,
            stored: word & STORED != 0,
        })
    }

    /// Decodes the gathered block into `block`.
    fn decode(
        &mut self,
        len: usize,
        stored: bool,
        budget: &mut Budget,
    ) -> Result<(), DecompressError> {
        let gathered = self.gather.bytes();
        let offset = budget.consumed().saturating_sub(gathered.len());
        let bytes = gathered
            .get(LENGTH_BYTES..LENGTH_BYTES + len)
            .unwrap_or_default();
        if self.has(FLAG_BLOCK_CHECKSUM) {
            let expected = u32::from_le_bytes(self.gather.field(LENGTH_BYTES + len));
            let got = xxh32(bytes);
            if got != expected {
                return Err(self.mismatch(expected, got));
            }
        }
        let block_bytes_max = self.header.block_bytes_max;
        if self.block.len() < block_bytes_max {
            self.block.resize(block_bytes_max, 0);
        }
        (self.block_len, self.given) = (0, 0);
        let space = self.block.get_mut(..block_bytes_max).unwrap_or_default();
        let made = if stored {
            let to = space.get_mut(..len).unwrap_or_default();
            to.copy_from_slice(bytes);
            len
        } else {
            lz4_flex::block::decompress_into_with_dict(bytes, space, self.history.bytes())
                .map_err(|_| corrupt(offset, "an lz4 block that does not decode"))?
        };
        let data = self.block.get(..made).unwrap_or_default();
        if self.has(FLAG_CONTENT_CHECKSUM) {
            self.checksum.write(data);
        } else if !stored {
            let second = &mut self.second;
            let decoded = lz4_block::decode(bytes, self.history.bytes(), block_bytes_max, second);
            if decoded.is_none() || second != data {
                let what = "an lz4 block that two decoders read differently";
                return Err(corrupt(offset, what));
            }
        }
        if !self.has(FLAG_INDEPENDENT) {
            self.history.push(data);
        }
        budget.produce(made)?;
        budget.check()?;
        self.content_len = self.content_len.saturating_add(made as u64);
        self.block_len = made;
        Ok(())
    }

    fn confirm(&self) -> Result<(), DecompressError> {
        let expected = u32::from_le_bytes(self.gather.field(0));
        let got = self.checksum.finish_32();
        if got != expected {
            return Err(self.mismatch(expected, got));
        }
        self.confirm_length()
    }

    fn confirm_length(&self) -> Result<(), DecompressError> {
        match self.header.content_bytes {
            Some(expected) if expected != self.content_len => {
                let low = |len: u64| u32::try_from(len & u64::from(u32::MAX)).unwrap_or_default();
                Err(DecompressError::LengthMismatch {
                    expected: low(expected),
                    got: low(self.content_len),
                    member: self.number,
                })
            }
            _ => Ok(()),
        }
    }

    fn mismatch(&self, expected: u32, got: u32) -> DecompressError {
        DecompressError::ChecksumMismatch {
            expected,
            got,
            member: self.number,
        }
    }

    /// The error of bytes that begin no frame.
    fn no_frame(&self) -> DecompressError {
        if self.start > 0 {
            DecompressError::TrailingGarbage {
                offset: self.start,
                format: Format::Lz4,
            }
        } else {
            let source = HeaderError::Magic {
                format: Format::Lz4,
                expected: "04 22 4d 18",
                got: self.gather.field(0),
            };
            DecompressError::BadHeader { offset: 0, source }
        }
    }
}

fn corrupt(offset: usize, what: &'static str) -> DecompressError {
    DecompressError::CorruptInput { offset, what }
}

/// Length of a frame header: magic number, FLG, BD, the optional fields, HC.
fn header_bytes(flags: u8) -> usize {
    let content_size = if flags & FLAG_CONTENT_SIZE != 0 { 8 } else { 0 };
    let dictionary_id = if flags & FLAG_DICTIONARY != 0 { 4 } else { 0 };
    FRAME_MAGIC_BYTES + 2 + content_size + dictionary_id + 1
}

fn xxh32(bytes: &[u8]) -> u32 {
    XxHash32::oneshot(0, bytes)
}

/// HC: the second byte of the descriptor's XXH32.
pub(crate) fn header_checksum(descriptor: &[u8]) -> u8 {
    let [_, second, ..] = xxh32(descriptor).to_le_bytes();
    second
}
