//! Decompression of a body as it arrives, in any pieces, into any room.
//!
//! Invariant: what comes out, and what is wrong, depend on the body alone and not on how it was cut; but for the words where
//! two decoders refuse raw DEFLATE at different places, and the place. The end is
//! reported only with all data confirmed (see the members' decoders); output that was handed out before may turn out to be
//! bad, and then the error comes instead of the end. Memory is bounded by the format:
//! [`StreamDecompressor::memory_bytes_max`].
//!
//! gzip: any number of members up to [`MEMBERS_MAX`], and zeros after the last. zstd, lz4: any number of
//! frames up to the same, and skippable ones between them. Other bytes after the end are an error in every format.

use crate::decompress_error::DecompressError;
use crate::deflate_member::{DeflateMember, MemberState};
use crate::format::Format;
use crate::header::{FRAME_MAGIC_BYTES, HeaderError};
use crate::limits::{Budget, Limits, MEMBERS_MAX};
use crate::lz4_frame::Lz4Frame;
use crate::zstd_frame::ZstdFrame;

/// Where a call stopped, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStep {
    /// Bytes of the given input that are done with. The others have to be given again.
    pub consumed: usize,
    /// What is to be done next.
    pub state: StreamState,
}

/// Why a call stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// All input is consumed: give more.
    NeedsInput,
    /// The room is full: empty it, and give the rest of the input again.
    NeedsRoom,
    /// The body is over, and its data confirmed.
    Ended,
}

/// The decoder of one body after another.
pub struct StreamDecompressor {
    asked: Option<Format>,
    format: Option<Format>,
    limits: Limits,
    budget: Budget,
    phase: Phase,
    members: usize,
    member: Option<Member>,
}

enum Phase {
    /// The format is not known yet: the bytes so far, kept to be decoded.
    Detect {
        head: Head,
    },
    /// Within a member, or before its first byte if it has not `begun`. A head that was looked at goes first.
    Member {
        head: Head,
        begun: bool,
    },
    /// After a member, which ended at this offset.
    Between {
        from: usize,
    },
    /// Zeros after the last gzip member.
    Padding {
        from: usize,
    },
    Ended,
    Failed(DecompressError),
}

/// Up to four bytes that were looked at to detect the format.
#[derive(Clone, Copy, Default)]
struct Head {
    bytes: [u8; FRAME_MAGIC_BYTES],
    len: usize,
}

impl Head {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

enum Member {
    Deflate(Box<DeflateMember>),
    Zstd(Box<ZstdFrame>),
    Lz4(Box<Lz4Frame>),
}

impl StreamDecompressor {
    /// A decoder for a body. `format` `None` detects what has a magic number: all but raw DEFLATE.
    #[must_use]
    pub fn new(format: Option<Format>, limits: Limits) -> Self {
        Self {
            asked: format,
            format,
            limits,
            budget: Budget::new(limits, None),
            phase: Phase::start(format),
            members: 0,
            member: None,
        }
    }

    /// The same for a body whose length is known: the ratio is judged against all of it.
    pub(crate) fn of_whole_body(format: Option<Format>, limits: Limits, len: usize) -> Self {
        Self {
            budget: Budget::new(limits, Some(len as u64)),
            ..Self::new(format, limits)
        }
    }

    /// Makes ready for the next body, with the same format and limits. Decoders are kept.
    pub fn reset(&mut self) {
        self.format = self.asked;
        self.budget = Budget::new(self.limits, None);
        self.phase = Phase::start(self.asked);
        self.members = 0;
    }

    /// Decodes on. Appends at most `room` bytes to `out`; `last` says that the body ends with `input`.
    ///
    /// With `last` the answer is never [`StreamState::NeedsInput`]. After [`StreamState::Ended`] further calls repeat it,
    /// after an error they repeat the error, until [`reset`](Self::reset).
    ///
    /// # Errors
    /// [`DecompressError`]: offsets count from the body's first byte. What was appended before is not confirmed.
    pub fn decompress(
        &mut self,
        input: &[u8],
        last: bool,
        room: usize,
        out: &mut Vec<u8>,
    ) -> Result<StreamStep, DecompressError> {
        let mut rest = input;
        let out_max = out.len().saturating_add(room);
        let result = loop {
            match self.step(&mut rest, last, out_max, out) {
                Ok(None) => {}
                Ok(Some(state)) => break Ok(state),
                Err(error) => break Err(error),
            }
        };
        match result {
            Ok(state) => Ok(StreamStep {
                consumed: input.len() - rest.len(),
                state,
            }),
            Err(error) => {
                self.phase = Phase::Failed(error.clone());
                Err(error)
            }
        }
    }

    /// Memory that decoding a body of this format takes at the most, beside the caller's own input and output: what its
    /// worst frames take, with the second decoder where there is no checksum.
    #[must_use]
    pub const fn memory_bytes_max(format: Format) -> usize {
        match format {
            Format::Gzip | Format::Zlib | Format::Deflate => {
                DeflateMember::memory_bytes_max(format)
            }
            Format::Zstd => ZstdFrame::MEMORY_BYTES_MAX,
            Format::Lz4 => Lz4Frame::MEMORY_BYTES_MAX,
        }
    }

    /// The format, once it is known.
    #[must_use]
    pub const fn format(&self) -> Option<Format> {
        self.format
    }

    /// Members (gzip) or frames (zstd, lz4) that have ended so far.
    #[must_use]
    pub const fn members(&self) -> usize {
        self.members
    }

    /// Bytes of the body that were consumed so far.
    #[must_use]
    pub const fn consumed(&self) -> usize {
        self.budget.consumed()
    }

    /// Bytes decoded so far; for zstd and lz4 up to a block of them may wait for room.
    #[must_use]
    pub const fn produced(&self) -> u64 {
        self.budget.produced()
    }

    /// One phase on; a state if the caller has to act.
    fn step(
        &mut self,
        rest: &mut &[u8],
        last: bool,
        out_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<StreamState>, DecompressError> {
        let at_end = last && rest.is_empty();
        match &mut self.phase {
            Phase::Detect { head } => {
                let mut head = *head;
                self.format = head.detect(rest, last, &mut self.budget)?;
                self.phase = match self.format {
                    Some(_) => Phase::Member { head, begun: false },
                    None => Phase::Detect { head },
                };
                Ok(match self.format {
                    Some(_) => None,
                    None => Some(StreamState::NeedsInput),
                })
            }
            Phase::Member { head, begun } => {
                let head = std::mem::take(head);
                let begun = std::mem::replace(begun, true);
                self.member(&head, begun, rest, last, out_max, out)
            }
            Phase::Between { from } => {
                let from = *from;
                let format = self.format.unwrap_or(Format::Deflate);
                match (format, rest.first()) {
                    (_, None) if at_end => self.phase = Phase::Ended,
                    (_, None) => return Ok(Some(StreamState::NeedsInput)),
                    (Format::Gzip, Some(0)) => self.phase = Phase::Padding { from },
                    (Format::Gzip, Some(0x1f)) | (Format::Zstd | Format::Lz4, Some(_)) => {
                        self.phase = Phase::Member {
                            head: Head::default(),
                            begun: false,
                        };
                    }
                    (Format::Gzip | Format::Zlib | Format::Deflate, Some(_)) => {
                        return Err(DecompressError::TrailingGarbage {
                            offset: from,
                            format,
                        });
                    }
                }
                Ok(None)
            }
            Phase::Padding { from } => {
                if rest.iter().any(|&byte| byte != 0) {
                    return Err(DecompressError::TrailingGarbage {
                        offset: *from,
                        format: Format::Gzip,
                    });
                }
                let len = rest.len();
                self.budget.advance(rest, len);
                if last {
                    self.phase = Phase::Ended;
                    Ok(None)
                } else {
                    Ok(Some(StreamState::NeedsInput))
                }
            }
            Phase::Ended => Ok(Some(StreamState::Ended)),
            Phase::Failed(error) => Err(error.clone()),
        }
    }

    /// Within a member: decodes on.
    fn member(
        &mut self,
        head: &Head,
        begun: bool,
        rest: &mut &[u8],
        last: bool,
        out_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<Option<StreamState>, DecompressError> {
        let format = self.format.unwrap_or(Format::Deflate);
        // What was looked at is consumed once more, now by the decoder. No format ends within it.
        self.budget.rewind(head.len);
        let member = match &mut self.member {
            Some(member) if member.is_of(format) => member,
            other => other.insert(Member::new(format)),
        };
        if !begun {
            if self.members == MEMBERS_MAX {
                return Err(DecompressError::TooManyMembers);
            }
            member.begin(self.budget.consumed(), self.members)?;
        }
        let mut head = head.bytes();
        if !head.is_empty() {
            member.step(&mut head, 0, out, &mut self.budget)?;
        }
        let room = out_max.saturating_sub(out.len());
        let state =
            member
                .step(rest, room, out, &mut self.budget)
                .map_err(|error| match error {
                    // A further gzip member that does not begin like one is no member.
                    DecompressError::BadHeader {
                        offset,
                        source: HeaderError::Magic { format, .. },
                    } if self.members > 0 => DecompressError::TrailingGarbage { offset, format },
                    error => error,
                })?;
        match state {
            MemberState::NeedsRoom => Ok(Some(StreamState::NeedsRoom)),
            MemberState::NeedsInput if !last => Ok(Some(StreamState::NeedsInput)),
            MemberState::NeedsInput if member.may_end() => {
                self.phase = Phase::Ended;
                Ok(None)
            }
            MemberState::NeedsInput => Err(member.cut_short(self.budget.consumed())),
            MemberState::Ended => {
                self.budget.check()?;
                self.members += 1;
                let from = self.budget.consumed();
                self.phase = Phase::Between { from };
                Ok(None)
            }
        }
    }
}

impl Phase {
    fn start(format: Option<Format>) -> Self {
        let head = Head::default();
        match format {
            Some(_) => Self::Member { head, begun: false },
            None => Self::Detect { head },
        }
    }
}

impl Head {
    /// Looks at further bytes until they show the format, or `None` if more of them have to come.
    fn detect(
        &mut self,
        rest: &mut &[u8],
        last: bool,
        budget: &mut Budget,
    ) -> Result<Option<Format>, DecompressError> {
        loop {
            if let Some(format) = Format::detect(self.bytes()) {
                return Ok(Some(format));
            }
            let (Some(slot), Some(&byte)) = (self.bytes.get_mut(self.len), rest.first()) else {
                return match self.bytes() {
                    [_, _, _, _] => Err(DecompressError::UnknownFormat),
                    _ if !last => Ok(None),
                    // A lone 1f may be a gzip body's beginning; no bytes at all are no format.
                    [0x1f] => Err(DecompressError::Truncated { offset: 1 }),
                    _ => Err(DecompressError::UnknownFormat),
                };
            };
            *slot = byte;
            self.len += 1;
            budget.advance(rest, 1);
        }
    }
}

impl Member {
    fn new(format: Format) -> Self {
        match format {
            Format::Gzip | Format::Zlib | Format::Deflate => {
                Self::Deflate(Box::new(DeflateMember::new(format)))
            }
            Format::Zstd => Self::Zstd(Box::new(ZstdFrame::new())),
            Format::Lz4 => Self::Lz4(Box::new(Lz4Frame::new())),
        }
    }

    fn is_of(&self, format: Format) -> bool {
        match self {
            Self::Deflate(member) => member.format() == format,
            Self::Zstd(_) => format == Format::Zstd,
            Self::Lz4(_) => format == Format::Lz4,
        }
    }

    fn begin(&mut self, start: usize, number: usize) -> Result<(), DecompressError> {
        match self {
            Self::Deflate(member) => member.begin(start, number),
            Self::Zstd(frame) => frame.begin(start, number)?,
            Self::Lz4(frame) => frame.begin(start, number),
        }
        Ok(())
    }

    fn step(
        &mut self,
        input: &mut &[u8],
        room: usize,
        out: &mut Vec<u8>,
        budget: &mut Budget,
    ) -> Result<MemberState, DecompressError> {
        match self {
            Self::Deflate(member) => member.step(input, room, out, budget),
            Self::Zstd(frame) => frame.step(input, room, out, budget),
            Self::Lz4(frame) => frame.step(input, room, out, budget),
        }
    }

    /// Whether the body may end before this member's first byte, skippable frames having gone before.
    fn may_end(&self) -> bool {
        match self {
            Self::Deflate(_) => false,
            Self::Zstd(frame) => frame.may_end(),
            Self::Lz4(frame) => frame.may_end(),
        }
    }

    fn cut_short(&self, len: usize) -> DecompressError {
        match self {
            Self::Deflate(_) => DecompressError::Truncated { offset: len },
            Self::Zstd(frame) => frame.cut_short(len),
            Self::Lz4(frame) => frame.cut_short(len),
        }
    }
}

#[cfg(test)]
mod tests;
