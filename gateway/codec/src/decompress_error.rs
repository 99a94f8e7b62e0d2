//! Why a body was not decompressed, in words for whoever sent it.
//!
//! Invariant: every offset counts bytes of the whole body, from 0, however it was cut on its way here.

use thiserror::Error;

use crate::format::Format;
use crate::header::HeaderError;
use crate::limits::MEMBERS_MAX;

/// Largest zstd window that is decoded, in bytes. What RFC 8878, 3.1.1.1.2 recommends decoders to support, and RFC 9659
/// sets as the bound of HTTP's content coding.
pub const ZSTD_WINDOW_BYTES_MAX: u64 = 8 << 20;

/// Why a body was not decompressed: always the body's fault, or a limit's.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecompressError {
    /// No known format's first bytes, where the format was to be detected.
    #[error(
        "unknown format: the body begins with no gzip, zlib, zstd or lz4 header; raw DEFLATE must be named"
    )]
    UnknownFormat,
    /// A header that is not what its format prescribes.
    #[error("bad header at byte {offset}")]
    BadHeader {
        /// Where the header begins.
        offset: usize,
        /// What is wrong with it.
        #[source]
        source: HeaderError,
    },
    /// A header field longer than we accept.
    #[error("header too large at byte {offset}")]
    HeaderTooLarge {
        /// Where the header begins.
        offset: usize,
        /// Which field.
        #[source]
        source: HeaderError,
    },
    /// Data that needs a dictionary.
    #[error("the data needs a preset dictionary (id {id:#010x}): compress it without one")]
    PresetDictionary {
        /// zlib's DICTID (the dictionary's Adler-32), or the dictionary id of a zstd or lz4 frame.
        id: u32,
    },
    /// A zstd frame whose window is larger than we hold.
    #[error(
        "the zstd frame at byte {offset} needs a window of {window_bytes} bytes: expected {ZSTD_WINDOW_BYTES_MAX} at the \
         most (RFC 8878, 3.1.1.1.2); compress without --long, at level 19 or below"
    )]
    WindowTooLarge {
        /// Where the frame begins.
        offset: usize,
        /// What it asks for.
        window_bytes: u64,
    },
    /// Not what the format allows.
    #[error("corrupt input at byte {offset}: {what}")]
    CorruptInput {
        /// Byte near which decoding stopped.
        offset: usize,
        /// What stands there.
        what: &'static str,
    },
    /// The input ends before its last member does.
    #[error("input cut short: it ends at byte {offset}, inside a member")]
    Truncated {
        /// Length of the input.
        offset: usize,
    },
    /// The member's checksum (CRC-32, Adler-32, xxHash) is not that of the data.
    #[error(
        "checksum mismatch in member {member}: its trailer says {expected:#010x}, its data has {got:#010x}"
    )]
    ChecksumMismatch {
        /// What the trailer says.
        expected: u32,
        /// What the decompressed bytes give.
        got: u32,
        /// Member, from 0.
        member: usize,
    },
    /// gzip's ISIZE, or the content size of an lz4 frame, is not the length of the data.
    #[error(
        "length mismatch in member {member}: it says {expected}, its data has {got} bytes (modulo 2^32)"
    )]
    LengthMismatch {
        /// What the member says, modulo 2^32.
        expected: u32,
        /// What was decompressed, modulo 2^32.
        got: u32,
        /// Member, from 0.
        member: usize,
    },
    /// Something that is no member follows the last one.
    #[error("trailing garbage: bytes from {offset} on are no {format} data; remove them")]
    TrailingGarbage {
        /// First byte after the last member.
        offset: usize,
        /// The format of what went before.
        format: Format,
    },
    /// More members than we take in one body.
    #[error("more than {MEMBERS_MAX} members: join them before sending")]
    TooManyMembers,
    /// More output than the limit.
    #[error("the data decompresses to more than {output_bytes_max} bytes")]
    TooLarge {
        /// The limit.
        output_bytes_max: u64,
    },
    /// More output a byte of input than the limit.
    #[error("the data decompresses to more than {ratio_max} times its size")]
    RatioExceeded {
        /// The limit.
        ratio_max: u32,
    },
}

impl DecompressError {
    pub(crate) fn header(offset: usize, input_len: usize, source: HeaderError) -> Self {
        match source {
            HeaderError::Truncated { .. } => Self::Truncated { offset: input_len },
            HeaderError::PresetDictionary { id } => Self::PresetDictionary { id },
            HeaderError::FieldTooLong { .. } => Self::HeaderTooLarge { offset, source },
            _ => Self::BadHeader { offset, source },
        }
    }
}
