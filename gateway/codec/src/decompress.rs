//! Decompression on the CPU: whole bodies of gzip (many members), zlib or raw DEFLATE, and single
//! members into a bounded buffer.
//!
//! Invariant: bytes are returned only if they are confirmed: gzip and zlib by the trailer, against a
//! checksum of the bytes actually produced; raw DEFLATE, which has none, by a second decoder whose output
//! must be equal. Output stops growing at the caller's [`Limits`], before the bytes beyond them are made.
//! Time is linear in input and output together.
//!
//! A gzip body that is one member whose ISIZE is within the limits is first tried with libdeflate, which
//! needs the whole output in advance and is the faster. Everything else, and whatever it cannot
//! settle, streams through zlib-rs.
//!
//! All offsets are of bytes in the caller's input.

use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;

use crate::decompress_error::DecompressError;
use crate::format::Format;
use crate::header::HeaderError;
use crate::limits::{Limits, MEMBERS_MAX};
use crate::member::{BlockChecksum, trailer_bytes};
use crate::occurrence::occurs_only_at_end;
use crate::stream_decompressor::{StreamDecompressor, StreamState};

/// DEFLATE cannot expand further: 258 bytes from 2 bits, a length code and a distance code of one each.
const EXPANSION_MAX: usize = 1032;

/// First reservation for output whose size nothing tells, a multiple of the input, and the least.
const FIRST_RESERVE_RATIO: usize = 4;
const FIRST_RESERVE_BYTES_MIN: usize = 16 << 10;

/// A body, decompressed and confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decompressed {
    /// What it was, given or detected.
    pub format: Format,
    /// Number of members; 1 for zlib and raw DEFLATE.
    pub members: usize,
    /// The bytes.
    pub data: Vec<u8>,
}

/// One member decoded into a caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflateDone {
    /// Bytes of the member, header and trailer included. What follows was not looked at.
    pub consumed: usize,
    /// Bytes written to the buffer.
    pub produced: usize,
}

/// Why one member was not decoded.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InflateError {
    /// The member has more data than the buffer takes.
    #[error("the member has more data than the {capacity} bytes of the output buffer")]
    OutputFull {
        /// Length of the buffer.
        capacity: usize,
    },
    /// The input ends inside the member.
    #[error("the member is cut short after {len} bytes")]
    Truncated {
        /// Length of the input.
        len: usize,
    },
    /// Not a member of the format, or one that its trailer does not confirm.
    #[error("corrupt member at byte {offset}: {what}")]
    Corrupt {
        /// Byte near which decoding stopped.
        offset: usize,
        /// What is wrong there.
        what: &'static str,
    },
}

/// A member's trailer as it stands in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    checksum: Option<u32>,
    length: Option<u32>,
}

impl Trailer {
    /// The trailer that `bytes` begins with; `None` if they are too few.
    pub(crate) fn read(bytes: &[u8], format: Format) -> Option<Self> {
        Some(match format {
            Format::Gzip => {
                let &[c0, c1, c2, c3, l0, l1, l2, l3] = bytes.first_chunk::<8>()?;
                let length = u32::from_le_bytes([l0, l1, l2, l3]);
                Self {
                    checksum: Some(u32::from_le_bytes([c0, c1, c2, c3])),
                    length: Some(length),
                }
            }
            Format::Zlib => Self {
                checksum: Some(u32::from_be_bytes(*bytes.first_chunk()?)),
                length: None,
            },
            Format::Deflate | Format::Zstd | Format::Lz4 => Self {
                checksum: None,
                length: None,
            },
        })
    }

    /// Compares with the checksum of the bytes that were produced.
    pub(crate) fn confirm(
        &self,
        produced: &BlockChecksum,
        member: usize,
    ) -> Result<(), DecompressError> {
        let got = produced.value();
        if let Some(expected) = self.checksum.filter(|&expected| expected != got) {
            return Err(DecompressError::ChecksumMismatch {
                expected,
                got,
                member,
            });
        }
        let got = produced.length_modulo_2_32();
        if let Some(expected) = self.length.filter(|&expected| expected != got) {
            return Err(DecompressError::LengthMismatch {
                expected,
                got,
                member,
            });
        }
        Ok(())
    }
}

/// Splits exactly one member into its DEFLATE stream and its trailer.
pub(crate) fn member_parts(
    member: &[u8],
    format: Format,
) -> Result<(&[u8], Trailer), DecompressError> {
    let truncated = DecompressError::Truncated {
        offset: member.len(),
    };
    let header_len = format
        .parse_header(member)
        .map_err(|source| DecompressError::header(0, member.len(), source))?;
    let rest = member.get(header_len..).unwrap_or_default();
    let Some(stream_len) = rest.len().checked_sub(trailer_bytes(format)) else {
        return Err(truncated);
    };
    let (stream, trailer) = rest.split_at_checked(stream_len).unwrap_or((rest, &[]));
    Ok((stream, Trailer::read(trailer, format).ok_or(truncated)?))
}

/// Decodes one member; see [`Decompressor::inflate_member`]. Makes its state anew at each call.
///
/// # Errors
/// [`InflateError`]
pub fn inflate_member(
    input: &[u8],
    format: Format,
    out: &mut [u8],
) -> Result<InflateDone, InflateError> {
    Decompressor::new().inflate_member(input, format, out)
}

/// The decoders of one worker.
pub struct Decompressor {
    zlib_rs: Decompress,
    libdeflate: libdeflater::Decompressor,
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

/// How the decoding of a raw stream ended badly. Offsets count from the stream's first byte.
enum StreamStop {
    OutputFull,
    Truncated,
    Corrupt { offset: usize },
}

impl Decompressor {
    /// Decoders, ready.
    #[must_use]
    pub fn new() -> Self {
        Self {
            zlib_rs: Decompress::new(false),
            libdeflate: libdeflater::Decompressor::new(),
        }
    }

    /// Decompresses a whole body. `format` `None` detects gzip and zlib by their headers.
    ///
    /// gzip: any number of members up to [`MEMBERS_MAX`], and zeros after the last (tapes and block devices
    /// pad so). Other bytes after the end are an error in every format.
    ///
    /// # Errors
    /// [`DecompressError`]
    pub fn decompress(
        &mut self,
        input: &[u8],
        format: Option<Format>,
        limits: Limits,
    ) -> Result<Decompressed, DecompressError> {
        let format = match format.or_else(|| Format::detect(input)) {
            Some(format) => format,
            // A lone 1f may be a gzip body's beginning; no bytes at all are no format.
            None if input == [0x1f] => return Err(DecompressError::Truncated { offset: 1 }),
            None => return Err(DecompressError::UnknownFormat),
        };
        if !format.is_deflate() {
            return whole_stream(input, format, limits);
        }
        if format == Format::Gzip
            && let Some(data) = self.one_gzip_member(input, limits)
        {
            return Ok(Decompressed {
                format,
                members: 1,
                data,
            });
        }
        let mut data = Vec::new();
        let mut offset = 0;
        let mut members = 0;
        loop {
            if members == MEMBERS_MAX {
                return Err(DecompressError::TooManyMembers);
            }
            offset = self.append_member(input, offset, format, limits, members, &mut data)?;
            members += 1;
            let rest = input.get(offset..).unwrap_or_default();
            let done = match format {
                Format::Gzip => rest.iter().all(|&byte| byte == 0),
                Format::Zlib | Format::Deflate | Format::Zstd | Format::Lz4 => rest.is_empty(),
            };
            if done {
                break;
            }
            if format != Format::Gzip || !begins_like_gzip(rest) {
                return Err(DecompressError::TrailingGarbage { offset, format });
            }
        }
        if format == Format::Deflate {
            self.confirm_raw(input, &data)?;
        }
        Ok(Decompressed {
            format,
            members,
            data,
        })
    }

    /// Decodes exactly one member, checked against its trailer, into `out`. Bytes after the member are left
    /// alone. On an error what `out` holds is not to be used.
    ///
    /// Raw DEFLATE is decoded once only: whoever needs it confirmed compares with a second decoder.
    ///
    /// # Errors
    /// [`InflateError`]
    pub fn inflate_member(
        &mut self,
        input: &[u8],
        format: Format,
        out: &mut [u8],
    ) -> Result<InflateDone, InflateError> {
        let truncated = InflateError::Truncated { len: input.len() };
        if !format.is_deflate() {
            return Err(InflateError::Corrupt {
                offset: 0,
                what: "a format that is no container of DEFLATE",
            });
        }
        let header_len = format.parse_header(input).map_err(|error| match error {
            HeaderError::Truncated { .. } => truncated.clone(),
            HeaderError::PresetDictionary { .. } => InflateError::Corrupt {
                offset: 0,
                what: "a header that asks for a preset dictionary",
            },
            _ => InflateError::Corrupt {
                offset: 0,
                what: "a header that is not its format's",
            },
        })?;
        let stream = input.get(header_len..).unwrap_or_default();
        let (stream_len, produced) = self.inflate_into(stream, out).map_err(|stop| match stop {
            StreamStop::OutputFull => InflateError::OutputFull {
                capacity: out.len(),
            },
            StreamStop::Truncated => truncated.clone(),
            StreamStop::Corrupt { offset } => InflateError::Corrupt {
                offset: header_len.saturating_add(offset),
                what: "bytes that are not DEFLATE",
            },
        })?;
        let trailer_offset = header_len.saturating_add(stream_len);
        let trailer = input
            .get(trailer_offset..)
            .and_then(|rest| Trailer::read(rest, format))
            .ok_or(truncated)?;
        let data = out.get(..produced).unwrap_or_default();
        trailer
            .confirm(&BlockChecksum::of(format, data), 0)
            .map_err(|_| InflateError::Corrupt {
                offset: trailer_offset,
                what: "a trailer that does not confirm the data",
            })?;
        Ok(InflateDone {
            consumed: trailer_offset + trailer_bytes(format),
            produced,
        })
    }

    /// The whole body as one gzip member by libdeflate, or `None` if that does not settle it: then the
    /// streaming decoder finds the members, or the fault.
    fn one_gzip_member(&mut self, input: &[u8], limits: Limits) -> Option<Vec<u8>> {
        // Our own bounds on the header first: libdeflate has none.
        Format::Gzip.parse_header(input).ok()?;
        let trailer_bytes = *input.last_chunk::<8>()?;
        let trailer = Trailer::read(&trailer_bytes, Format::Gzip)?;
        let len = usize::try_from(trailer.length?).ok()?;
        let (stop, _) = limits.stop(input.len() as u64);
        if len as u64 > stop || len > input.len().saturating_mul(EXPANSION_MAX) {
            return None;
        }
        let mut data = vec![0; len];
        let produced = self.libdeflate.gzip_decompress(input, &mut data).ok()?;
        // libdeflate does not say where the member ended. It compared the trailer that it met there; if
        // those 8 bytes stand at the body's end only, the member is the whole body.
        let confirmed = produced == len
            && trailer
                .confirm(&BlockChecksum::of(Format::Gzip, &data), 0)
                .is_ok()
            && occurs_only_at_end(input, trailer_bytes);
        confirmed.then_some(data)
    }

    /// Decodes the member at `offset` onto `data`; returns the offset just past it.
    fn append_member(
        &mut self,
        input: &[u8],
        offset: usize,
        format: Format,
        limits: Limits,
        member: usize,
        data: &mut Vec<u8>,
    ) -> Result<usize, DecompressError> {
        let rest = input.get(offset..).unwrap_or_default();
        let header_len = format
            .parse_header(rest)
            .map_err(|source| DecompressError::header(offset, input.len(), source))?;
        let stream = rest.get(header_len..).unwrap_or_default();
        let data_before = data.len();
        let (stop, at_stop) = limits.stop(input.len() as u64);
        let stop = usize::try_from(stop).unwrap_or(usize::MAX);
        let stream_len = self
            .inflate_onto(stream, stop, data)
            .map_err(|error| match error {
                StreamStop::OutputFull => at_stop,
                StreamStop::Truncated => DecompressError::Truncated {
                    offset: input.len(),
                },
                StreamStop::Corrupt { offset: within } => DecompressError::CorruptInput {
                    offset: offset.saturating_add(header_len).saturating_add(within),
                    what: "bytes that are not DEFLATE",
                },
            })?;
        let after_stream = stream.get(stream_len..).unwrap_or_default();
        let trailer = Trailer::read(after_stream, format).ok_or(DecompressError::Truncated {
            offset: input.len(),
        })?;
        let produced = data.get(data_before..).unwrap_or_default();
        trailer.confirm(&BlockChecksum::of(format, produced), member)?;
        Ok(offset + header_len + stream_len + trailer_bytes(format))
    }

    /// Decodes one raw stream onto `data`, whose length may reach `stop`; returns the stream's length.
    fn inflate_onto(
        &mut self,
        stream: &[u8],
        stop: usize,
        data: &mut Vec<u8>,
    ) -> Result<usize, StreamStop> {
        // One byte more than allowed is enough to know that there is more.
        let ceiling = stop.saturating_add(1);
        self.zlib_rs.reset(false);
        loop {
            if data.len() == data.capacity() {
                let guess = stream
                    .len()
                    .saturating_mul(FIRST_RESERVE_RATIO)
                    .max(FIRST_RESERVE_BYTES_MIN);
                let wanted = if data.is_empty() { guess } else { data.len() };
                data.reserve_exact(wanted.min(ceiling.saturating_sub(data.len())).max(1));
            }
            let consumed = self.stream_offset();
            let made_before = data.len();
            let rest = stream.get(consumed..).unwrap_or_default();
            let status = self
                .zlib_rs
                .decompress_vec(rest, data, FlushDecompress::None)
                .map_err(|_| StreamStop::Corrupt {
                    offset: self.stream_offset(),
                })?;
            if data.len() > stop {
                return Err(StreamStop::OutputFull);
            }
            if status == Status::StreamEnd {
                return Ok(self.stream_offset());
            }
            if data.len() == made_before && self.stream_offset() == consumed {
                return Err(StreamStop::Truncated);
            }
        }
    }

    /// Decodes one raw stream into `out`; returns the stream's length and the data's.
    fn inflate_into(
        &mut self,
        stream: &[u8],
        out: &mut [u8],
    ) -> Result<(usize, usize), StreamStop> {
        self.zlib_rs.reset(false);
        let mut produced = 0;
        loop {
            let consumed = self.stream_offset();
            let rest = stream.get(consumed..).unwrap_or_default();
            // With the buffer full the stream's end may still be to come: one byte of our own tells
            // an end from more data.
            let mut probe = [0];
            let space = match out.get_mut(produced..) {
                Some(space) if !space.is_empty() => space,
                _ => &mut probe[..],
            };
            let before = self.zlib_rs.total_out();
            let status = self
                .zlib_rs
                .decompress(rest, space, FlushDecompress::None)
                .map_err(|_| StreamStop::Corrupt {
                    offset: self.stream_offset(),
                })?;
            let made = usize::try_from(self.zlib_rs.total_out() - before).unwrap_or_default();
            produced += made;
            if produced > out.len() {
                return Err(StreamStop::OutputFull);
            }
            if status == Status::StreamEnd {
                return Ok((self.stream_offset(), produced));
            }
            if made == 0 && self.stream_offset() == consumed {
                return Err(StreamStop::Truncated);
            }
        }
    }

    /// Decodes a raw body again, with libdeflate, and compares.
    fn confirm_raw(&mut self, input: &[u8], data: &[u8]) -> Result<(), DecompressError> {
        let mut again = vec![0; data.len()];
        match self.libdeflate.deflate_decompress(input, &mut again) {
            Ok(len) if again.get(..len) == Some(data) => Ok(()),
            _ => {
                let what = "raw DEFLATE that two decoders read differently";
                Err(DecompressError::CorruptInput { offset: 0, what })
            }
        }
    }

    fn stream_offset(&self) -> usize {
        usize::try_from(self.zlib_rs.total_in()).unwrap_or(usize::MAX)
    }
}

/// A whole body through the decoder of streams.
fn whole_stream(
    input: &[u8],
    format: Format,
    limits: Limits,
) -> Result<Decompressed, DecompressError> {
    let mut decoder = StreamDecompressor::of_whole_body(Some(format), limits, input.len());
    let mut data = Vec::new();
    let mut rest = input;
    loop {
        let room = data.len().max(FIRST_RESERVE_BYTES_MIN);
        let step = decoder.decompress(rest, true, room, &mut data)?;
        rest = rest.get(step.consumed..).unwrap_or_default();
        if step.state == StreamState::Ended {
            return Ok(Decompressed {
                format,
                members: decoder.members(),
                data,
            });
        }
    }
}

/// Whether what follows a member may be another one, whole or cut short.
fn begins_like_gzip(rest: &[u8]) -> bool {
    matches!(rest, [0x1f] | [0x1f, 0x8b, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_data_that_the_second_decoder_does_not_confirm_is_refused() {
        // A fixed block with the literals "ab", as RFC 1951, 3.2.6 codes them.
        let stream = [0x4b, 0x4c, 0x02, 0x00];
        let mut decompressor = Decompressor::new();
        assert_eq!(decompressor.confirm_raw(&stream, b"ab"), Ok(()));
        for other in [&b"aa"[..], b"a", b"abc", b""] {
            let error = decompressor
                .confirm_raw(&stream, other)
                .expect_err("other bytes");
            assert!(
                matches!(error, DecompressError::CorruptInput { .. }),
                "{error:?}"
            );
        }
    }
}
