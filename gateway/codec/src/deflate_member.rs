//! One gzip or zlib member, or one raw DEFLATE stream, decoded as it arrives.
//!
//! Invariant: the stream's end is reached only with the data confirmed: by the trailer, or, for raw DEFLATE, which
//! has none, by miniz_oxide having made the same bytes of the same input beside zlib-rs.
//!
//! Knows one member; what may stand between members is the [`StreamDecompressor`](crate::StreamDecompressor)'s.

use flate2::{Decompress, FlushDecompress, Status};
use miniz_oxide::inflate::stream::{InflateState, MinReset};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

use crate::decompress::Trailer;
use crate::decompress_error::DecompressError;
use crate::format::Format;
use crate::gather::Gather;
use crate::gzip_header_reader::GzipHeaderReader;
use crate::header::{HeaderError, ZlibHeader};
use crate::limits::Budget;
use crate::lockstep::{Disagreement, Lockstep};
use crate::member::{BlockChecksum, trailer_bytes};

/// How far zlib-rs and miniz_oxide may be apart, in input or output bytes. They read ahead by less than 16 bytes;
/// a match is 258 at the most.
const LAG_BYTES_MAX: usize = 64 << 10;

/// Input that zlib-rs is given at a time where a second decoder follows. With its room full it goes on through blocks that
/// make no data, which the other one does not see before there is data again: so far apart they may be by design.
const LED_INPUT_BYTES_MAX: usize = LAG_BYTES_MAX / 2;

/// Decoded bytes that the second decoder makes at a time.
const TWIN_PIECE_BYTES: usize = 32 << 10;

/// What a member's decoder waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberState {
    NeedsInput,
    NeedsRoom,
    Ended,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Header,
    Stream,
    Trailer,
}

/// The decoder of members of one format, one after the other.
pub(crate) struct DeflateMember {
    format: Format,
    part: Part,
    /// Offset of the member's first byte, and its number.
    start: usize,
    number: usize,
    gzip_header: GzipHeaderReader,
    gather: Gather,
    inflate: Decompress,
    twin: Option<Box<Twin>>,
    checksum: BlockChecksum,
}

impl DeflateMember {
    /// Memory at the most: zlib-rs's window and tables; where miniz_oxide follows, its own, and what the two may be apart.
    pub(crate) const fn memory_bytes_max(format: Format) -> usize {
        match format {
            Format::Deflate => 256 << 10,
            _ => 64 << 10,
        }
    }

    pub(crate) fn new(format: Format) -> Self {
        Self {
            format,
            part: Part::Header,
            start: 0,
            number: 0,
            gzip_header: GzipHeaderReader::new(),
            gather: Gather::default(),
            inflate: Decompress::new(false),
            twin: (format == Format::Deflate).then(Box::default),
            checksum: BlockChecksum::empty(format),
        }
    }

    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// Makes ready for member `number`, which begins at `start`.
    pub(crate) fn begin(&mut self, start: usize, number: usize) {
        self.part = Part::Header;
        self.start = start;
        self.number = number;
        self.gzip_header = GzipHeaderReader::new();
        self.gather.clear();
        self.inflate.reset(false);
        self.checksum = BlockChecksum::empty(self.format);
        if let Some(twin) = &mut self.twin {
            twin.begin();
        }
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
            match self.part {
                Part::Header => {
                    if !self.header(input, budget)? {
                        return Ok(MemberState::NeedsInput);
                    }
                    self.part = Part::Stream;
                }
                Part::Stream => {
                    let room = out_max.saturating_sub(out.len());
                    if room == 0 {
                        return Ok(MemberState::NeedsRoom);
                    }
                    match self.inflate(input, budget.room_to_check(room), out, budget)? {
                        Inflated::Ended => {
                            budget.check()?;
                            self.part = Part::Trailer;
                        }
                        Inflated::Some => {}
                        Inflated::Nothing => return Ok(MemberState::NeedsInput),
                    }
                }
                Part::Trailer => {
                    let wanted = trailer_bytes(self.format);
                    if !self.gather.fill(wanted, input, budget) {
                        return Ok(MemberState::NeedsInput);
                    }
                    if let Some(trailer) = Trailer::read(self.gather.bytes(), self.format) {
                        trailer.confirm(&self.checksum, self.number)?;
                    }
                    return Ok(MemberState::Ended);
                }
            }
        }
    }

    /// Reads the header on; whether it is over.
    fn header(&mut self, input: &mut &[u8], budget: &mut Budget) -> Result<bool, DecompressError> {
        let start = self.start;
        let refused = move |source| DecompressError::header(start, start, source);
        match self.format {
            Format::Gzip => {
                let (taken, done) = self.gzip_header.read(input).map_err(refused)?;
                budget.advance(input, taken);
                Ok(done)
            }
            Format::Zlib => {
                let fixed = self.gather.fill(ZlibHeader::BYTES, input, budget);
                match ZlibHeader::parse(self.gather.bytes()) {
                    Ok(_) => {
                        self.gather.clear();
                        Ok(true)
                    }
                    // FDICT: four bytes that name the dictionary, for the message.
                    Err(HeaderError::Truncated { .. }) if fixed => {
                        if !self.gather.fill(ZlibHeader::BYTES + 4, input, budget) {
                            return Ok(false);
                        }
                        ZlibHeader::parse(self.gather.bytes())
                            .map(|_| true)
                            .map_err(refused)
                    }
                    Err(HeaderError::Truncated { .. }) => Ok(false),
                    Err(error) => Err(refused(error)),
                }
            }
            Format::Deflate | Format::Zstd | Format::Lz4 => Ok(true),
        }
    }

    fn inflate(
        &mut self,
        input: &mut &[u8],
        room: usize,
        out: &mut Vec<u8>,
        budget: &mut Budget,
    ) -> Result<Inflated, DecompressError> {
        let before = (self.inflate.total_in(), self.inflate.total_out());
        let len_before = out.len();
        // The decoder wants initialised space: at most RATIO_FREE_BYTES of zeros a call, which stay in the cache.
        out.resize(len_before.saturating_add(room), 0);
        let space = out.get_mut(len_before..).unwrap_or_default();
        let led = match &self.twin {
            Some(_) => input.get(..LED_INPUT_BYTES_MAX).unwrap_or(input),
            None => input,
        };
        let status = self.inflate.decompress(led, space, FlushDecompress::None);
        let taken = usize::try_from(self.inflate.total_in() - before.0).unwrap_or_default();
        let made = usize::try_from(self.inflate.total_out() - before.1).unwrap_or_default();
        let corrupt = DecompressError::CorruptInput {
            offset: budget.consumed().saturating_add(taken),
            what: "bytes that are not DEFLATE",
        };
        out.truncate(len_before.saturating_add(made));
        let status = status.map_err(|_| corrupt)?;
        let made = out.get(len_before..).unwrap_or_default();
        self.checksum.update(made);
        let ended = status == Status::StreamEnd;
        if let Some(twin) = &mut self.twin {
            let taken = input.get(..taken).unwrap_or_default();
            let state = match (ended, made.len() < room) {
                (true, _) => LeaderState::Ended,
                (false, true) => LeaderState::Empty,
                (false, false) => LeaderState::Full,
            };
            twin.follow(taken, made, state).map_err(|Disagreement| {
                DecompressError::CorruptInput {
                    offset: budget.consumed(),
                    what: "raw DEFLATE that two decoders read differently",
                }
            })?;
        }
        let nothing = taken == 0 && made.is_empty();
        budget.advance(input, taken);
        budget.produce(made.len())?;
        Ok(match (ended, nothing) {
            (true, _) => Inflated::Ended,
            (false, true) => Inflated::Nothing,
            (false, false) => Inflated::Some,
        })
    }
}

/// What zlib-rs may have left to hand out of the input that it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LeaderState {
    /// Nothing, and it is the end.
    Ended,
    /// Nothing: it had room for more.
    Empty,
    /// Perhaps the rest of a match: its room is full.
    Full,
}

/// How a call of the decoder went.
enum Inflated {
    Ended,
    Some,
    Nothing,
}

/// miniz_oxide, which decodes what zlib-rs has decoded, for raw DEFLATE.
struct Twin {
    state: Box<InflateState>,
    /// Input that zlib-rs has consumed and this decoder has not.
    input: Vec<u8>,
    lockstep: Lockstep,
    piece: Vec<u8>,
    ended: bool,
    /// It has refused the input. That counts once zlib-rs decodes more of it: what both refuse is zlib-rs's to name, however
    /// early each of them notices.
    refused: bool,
}

impl Default for Twin {
    fn default() -> Self {
        Self {
            state: InflateState::new_boxed(DataFormat::Raw),
            input: Vec::new(),
            lockstep: Lockstep::default(),
            piece: vec![0; TWIN_PIECE_BYTES],
            ended: false,
            refused: false,
        }
    }
}

impl Twin {
    fn begin(&mut self) {
        self.state.reset_as(MinReset);
        self.input.clear();
        self.lockstep.clear();
        self.ended = false;
        self.refused = false;
    }

    /// Decodes `taken` too, as far as zlib-rs got, and compares with what it `made` of it.
    fn follow(
        &mut self,
        taken: &[u8],
        made: &[u8],
        leader: LeaderState,
    ) -> Result<(), Disagreement> {
        self.lockstep.lead(made);
        if !self.refused {
            self.input.extend_from_slice(taken);
        }
        let ended = leader == LeaderState::Ended;
        // One byte of space more where zlib-rs has handed out all: this decoder must have no more to give either.
        let probe = usize::from(leader != LeaderState::Full);
        while !self.ended && !self.refused && self.lockstep.len() + probe > 0 {
            let room = (self.lockstep.len() + probe).min(self.piece.len());
            let space = self.piece.get_mut(..room).unwrap_or_default();
            let result = miniz_oxide::inflate::stream::inflate(
                &mut self.state,
                &self.input,
                space,
                MZFlush::None,
            );
            self.input
                .drain(..result.bytes_consumed.min(self.input.len()));
            let written = space.get(..result.bytes_written).ok_or(Disagreement)?;
            self.lockstep.follow(written)?;
            match result.status {
                Ok(MZStatus::StreamEnd) => self.ended = true,
                Ok(_) if result.bytes_consumed > 0 || result.bytes_written > 0 => {}
                // No progress: the rest comes with the next input.
                Ok(_) | Err(MZError::Buf) => break,
                Err(_) => self.refused = true,
            }
        }
        if self.refused {
            self.input.clear();
            let decoded_alone = ended || self.lockstep.len() > 0;
            return if decoded_alone {
                Err(Disagreement)
            } else {
                Ok(())
            };
        }
        let apart = self.lockstep.len().max(self.input.len());
        let agrees = if ended {
            self.ended && apart == 0
        } else {
            apart <= LAG_BYTES_MAX
        };
        if agrees { Ok(()) } else { Err(Disagreement) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed block with the literals "ab", as RFC 1951, 3.2.6 codes them.
    const AB: [u8; 4] = [0x4b, 0x4c, 0x02, 0x00];

    #[test]
    fn what_the_second_decoder_does_not_confirm_is_refused() {
        let mut twin = Twin::default();
        assert_eq!(twin.follow(&AB, b"ab", LeaderState::Ended), Ok(()));
        twin.begin();
        assert_eq!(twin.follow(&AB[..2], b"a", LeaderState::Empty), Ok(()));
        assert_eq!(twin.follow(&AB[2..], b"b", LeaderState::Ended), Ok(()));
        for other in [&b"aa"[..], b"a", b"abc", b""] {
            twin.begin();
            assert_eq!(
                twin.follow(&AB, other, LeaderState::Ended),
                Err(Disagreement),
                "{other:?}"
            );
        }
        twin.begin();
        assert_eq!(
            twin.follow(&AB[..2], b"", LeaderState::Ended),
            Err(Disagreement),
            "ended early"
        );
    }
}
