//! Parsers of the headers that callers send: gzip (RFC 1952, 2.3) and zlib (RFC 1950, 2.2); and what format a body's
//! first bytes announce.
//!
//! Invariant: nothing in a header is believed before it was bounded; any bytes give a header or a
//! [`HeaderError`]. Optional fields are passed over, not kept: names and comments are not ours to use.

use thiserror::Error;

use crate::format::Format;

/// Longest FNAME or FCOMMENT accepted, in bytes, its terminating zero included. RFC 1952 sets no bound.
pub const TEXT_FIELD_BYTES_MAX: usize = 64 << 10;

/// The two bytes that begin every gzip member.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Length of zstd's and lz4's magic numbers.
pub(crate) const FRAME_MAGIC_BYTES: usize = 4;
/// RFC 8878, 3.1.1: 0xfd2fb528, little-endian.
pub(crate) const ZSTD_MAGIC: [u8; FRAME_MAGIC_BYTES] = [0x28, 0xb5, 0x2f, 0xfd];
/// lz4_Frame_format.md: 0x184d2204, little-endian.
pub(crate) const LZ4_MAGIC: [u8; FRAME_MAGIC_BYTES] = [0x04, 0x22, 0x4d, 0x18];
const METHOD_DEFLATE: u8 = 8;
/// zlib's CINFO: log2 of the window less 8; 7 is 32 KiB, more is not allowed.
const WINDOW_INFO_MAX: u8 = 7;

pub(crate) const FLAG_HEADER_CRC: u8 = 1 << 1;
pub(crate) const FLAG_EXTRA: u8 = 1 << 2;
pub(crate) const FLAG_NAME: u8 = 1 << 3;
pub(crate) const FLAG_COMMENT: u8 = 1 << 4;
const FLAGS_RESERVED: u8 = 0xe0;

/// Why a header was refused. Offsets count from the header's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum HeaderError {
    /// The bytes end inside the header.
    #[error("the header is cut short after {len} bytes")]
    Truncated {
        /// How many bytes there are.
        len: usize,
    },
    /// Not the format's first bytes.
    #[error("not a {format} header: expected {expected}, got {got:02x?}")]
    Magic {
        /// Which header was expected.
        format: Format,
        /// What stands at its beginning.
        expected: &'static str,
        /// The first two bytes.
        got: [u8; 2],
    },
    /// A compression method other than DEFLATE.
    #[error("compression method {got}: expected 8 (DEFLATE)")]
    Method {
        /// CM as it came.
        got: u8,
    },
    /// Flags that RFC 1952 reserves, which a decoder must refuse.
    #[error("reserved gzip flags {got:#04x} are set: expected zero")]
    ReservedFlags {
        /// The reserved bits of FLG.
        got: u8,
    },
    /// A zlib window larger than 32 KiB.
    #[error("zlib window of 2^{bits} bytes: expected 2^15 at the most")]
    Window {
        /// log2 of the window.
        bits: u8,
    },
    /// FNAME or FCOMMENT longer than we accept.
    #[error(
        "gzip {field} of more than {TEXT_FIELD_BYTES_MAX} bytes: shorten it or leave it out (gzip -n)"
    )]
    FieldTooLong {
        /// `file name` or `comment`.
        field: &'static str,
    },
    /// FHCRC does not agree with the header's bytes.
    #[error("gzip header checksum {got:#06x}: expected {expected:#06x}")]
    Checksum {
        /// CRC16 of the bytes.
        expected: u16,
        /// CRC16 as it came.
        got: u16,
    },
    /// FDICT: the data needs a dictionary that we do not have.
    #[error(
        "a preset dictionary (Adler-32 {id:#010x}) is needed: send the data compressed without one"
    )]
    PresetDictionary {
        /// DICTID.
        id: u32,
    },
}

/// A gzip member's header, passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GzipHeader {
    /// Its length in bytes: where the DEFLATE stream begins.
    pub len: usize,
}

impl GzipHeader {
    /// Length of the fixed part.
    pub const FIXED_BYTES: usize = 10;

    /// Parses the header that `bytes` begins with.
    ///
    /// # Errors
    /// [`HeaderError`]
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let truncated = HeaderError::Truncated { len: bytes.len() };
        let flags = Self::parse_fixed(bytes)?;
        let mut len = Self::FIXED_BYTES;
        if flags & FLAG_EXTRA != 0 {
            let extra = read_u16(bytes, len).ok_or(truncated)?;
            len += 2 + usize::from(extra);
        }
        for (flag, field) in [(FLAG_NAME, "file name"), (FLAG_COMMENT, "comment")] {
            if flags & flag != 0 {
                let rest = bytes.get(len..).ok_or(truncated)?;
                let bounded = rest.get(..TEXT_FIELD_BYTES_MAX).unwrap_or(rest);
                match bounded.iter().position(|&byte| byte == 0) {
                    Some(end) => len += end + 1,
                    None if bounded.len() == TEXT_FIELD_BYTES_MAX => {
                        return Err(HeaderError::FieldTooLong { field });
                    }
                    None => return Err(truncated),
                }
            }
        }
        if flags & FLAG_HEADER_CRC != 0 {
            let got = read_u16(bytes, len).ok_or(truncated)?;
            let covered = bytes.get(..len).ok_or(truncated)?;
            // The two least significant bytes of the CRC-32.
            let [low, high, ..] = crc32fast::hash(covered).to_le_bytes();
            let expected = u16::from_le_bytes([low, high]);
            if got != expected {
                return Err(HeaderError::Checksum { expected, got });
            }
            len += 2;
        }
        if len > bytes.len() {
            Err(truncated)
        } else {
            Ok(Self { len })
        }
    }

    /// The fixed part that `bytes` begins with: its flags.
    pub(crate) fn parse_fixed(bytes: &[u8]) -> Result<u8, HeaderError> {
        let truncated = HeaderError::Truncated { len: bytes.len() };
        // Refuse by the magic first: two wrong bytes are not a short header.
        if let Some(&[first, second]) = bytes.first_chunk::<2>()
            && [first, second] != GZIP_MAGIC
        {
            return Err(HeaderError::Magic {
                format: Format::Gzip,
                expected: "1f 8b",
                got: [first, second],
            });
        }
        let Some(&[_, _, method, flags, ..]) = bytes.first_chunk::<{ Self::FIXED_BYTES }>() else {
            return Err(truncated);
        };
        if method != METHOD_DEFLATE {
            return Err(HeaderError::Method { got: method });
        }
        if flags & FLAGS_RESERVED != 0 {
            return Err(HeaderError::ReservedFlags {
                got: flags & FLAGS_RESERVED,
            });
        }
        Ok(flags)
    }
}

/// A zlib stream's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZlibHeader {
    /// Its length in bytes: where the DEFLATE stream begins.
    pub len: usize,
}

impl ZlibHeader {
    /// Its length without a dictionary id.
    pub const BYTES: usize = 2;

    /// Parses the header that `bytes` begins with.
    ///
    /// # Errors
    /// [`HeaderError`]; with FDICT always, for no dictionary is known here.
    pub fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let Some(&[method_info, flags]) = bytes.first_chunk::<{ Self::BYTES }>() else {
            return Err(HeaderError::Truncated { len: bytes.len() });
        };
        if !u16::from_be_bytes([method_info, flags]).is_multiple_of(31) {
            let expected = "two bytes that are a multiple of 31";
            return Err(HeaderError::Magic {
                format: Format::Zlib,
                expected,
                got: [method_info, flags],
            });
        }
        if method_info & 0x0f != METHOD_DEFLATE {
            return Err(HeaderError::Method {
                got: method_info & 0x0f,
            });
        }
        if method_info >> 4 > WINDOW_INFO_MAX {
            return Err(HeaderError::Window {
                bits: (method_info >> 4) + 8,
            });
        }
        if flags & 0x20 != 0 {
            let id = bytes
                .get(Self::BYTES..)
                .and_then(|rest| rest.first_chunk::<4>());
            return Err(match id {
                Some(id) => HeaderError::PresetDictionary {
                    id: u32::from_be_bytes(*id),
                },
                None => HeaderError::Truncated { len: bytes.len() },
            });
        }
        Ok(Self { len: Self::BYTES })
    }
}

impl Format {
    /// The format whose header `bytes` begins with: gzip's magic, zlib's two bytes, or the four of zstd and lz4.
    /// A skippable frame, which zstd and lz4 share, is zstd's: an lz4 body that begins with one has to be named.
    /// Raw DEFLATE has nothing to be known by and is never the answer.
    #[must_use]
    pub fn detect(bytes: &[u8]) -> Option<Self> {
        let first: [u8; 2] = *bytes.first_chunk()?;
        if first == GZIP_MAGIC {
            return Some(Self::Gzip);
        }
        if let Some(magic) = bytes.first_chunk::<FRAME_MAGIC_BYTES>() {
            if *magic == ZSTD_MAGIC || is_skippable(*magic) {
                return Some(Self::Zstd);
            }
            if *magic == LZ4_MAGIC {
                return Some(Self::Lz4);
            }
        }
        let [method_info, _] = first;
        let zlib = method_info & 0x0f == METHOD_DEFLATE
            && method_info >> 4 <= WINDOW_INFO_MAX
            && u16::from_be_bytes(first).is_multiple_of(31);
        zlib.then_some(Self::Zlib)
    }

    /// Length of the header before a DEFLATE stream that `bytes` begins with; 0 where there is none.
    pub(crate) fn parse_header(self, bytes: &[u8]) -> Result<usize, HeaderError> {
        match self {
            Self::Gzip => GzipHeader::parse(bytes).map(|header| header.len),
            Self::Zlib => ZlibHeader::parse(bytes).map(|header| header.len),
            Self::Deflate | Self::Zstd | Self::Lz4 => Ok(0),
        }
    }
}

/// Whether a frame begins that zstd and lz4 decoders pass over (RFC 8878, 3.1.2).
pub(crate) fn is_skippable(magic: [u8; FRAME_MAGIC_BYTES]) -> bool {
    let [first, rest @ ..] = magic;
    first & 0xf0 == 0x50 && rest == [0x2a, 0x4d, 0x18]
}

fn read_u16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with all optional fields: FEXTRA of 3, a name, a comment, FHCRC.
    fn full_header() -> Vec<u8> {
        let mut header = vec![0x1f, 0x8b, 8, 0x1e, 1, 2, 3, 4, 0, 3];
        header.extend_from_slice(&[3, 0, b'a', b'b', b'c']);
        header.extend_from_slice(b"name\0comment\0");
        let [low, high, ..] = crc32fast::hash(&header).to_le_bytes();
        header.extend_from_slice(&[low, high]);
        header
    }

    #[test]
    fn all_optional_fields_are_passed_over() {
        let mut header = full_header();
        let len = header.len();
        header.extend_from_slice(b"DEFLATE");
        assert_eq!(GzipHeader::parse(&header), Ok(GzipHeader { len }));
    }

    #[test]
    fn every_cut_of_a_header_is_truncated() {
        let header = full_header();
        for len in 0..header.len() {
            assert_eq!(
                GzipHeader::parse(&header[..len]),
                Err(HeaderError::Truncated { len }),
                "{len}"
            );
        }
    }

    #[test]
    fn a_flipped_bit_in_a_checked_header_is_seen() {
        for bit in 0..full_header().len() * 8 {
            let mut header = full_header();
            header[bit / 8] ^= 1 << (bit % 8);
            // Without its own flag the checksum is gone, and its two bytes are data.
            let expected_ok = bit == 3 * 8 + 1;
            // FTEXT says nothing about the layout, but the checksum covers it.
            assert_eq!(GzipHeader::parse(&header).is_ok(), expected_ok, "bit {bit}");
        }
    }

    #[test]
    fn names_are_bounded() {
        let mut header = vec![0x1f, 0x8b, 8, FLAG_NAME, 0, 0, 0, 0, 0, 255];
        header.resize(10 + TEXT_FIELD_BYTES_MAX - 1, b'x');
        header.push(0);
        assert_eq!(
            GzipHeader::parse(&header),
            Ok(GzipHeader { len: header.len() })
        );
        let last = header.len() - 1;
        header[last] = b'x';
        assert_eq!(
            GzipHeader::parse(&header),
            Err(HeaderError::FieldTooLong { field: "file name" })
        );
    }

    #[test]
    fn reserved_flags_methods_and_windows_are_refused() {
        let gzip =
            |method, flags| GzipHeader::parse(&[0x1f, 0x8b, method, flags, 0, 0, 0, 0, 0, 255]);
        assert_eq!(gzip(8, 0x20), Err(HeaderError::ReservedFlags { got: 0x20 }));
        assert_eq!(gzip(7, 0), Err(HeaderError::Method { got: 7 }));
        // 0x88 0x1c is a multiple of 31 with CINFO 8; 0x77 0x09 one with CM 7.
        assert_eq!(
            ZlibHeader::parse(&[0x88, 0x1c]),
            Err(HeaderError::Window { bits: 16 })
        );
        assert_eq!(
            ZlibHeader::parse(&[0x77, 0x09]),
            Err(HeaderError::Method { got: 7 })
        );
    }

    #[test]
    fn a_preset_dictionary_is_named() {
        assert_eq!(
            ZlibHeader::parse(&[0x78, 0xbb, 0x12, 0x34, 0x56, 0x78]),
            Err(HeaderError::PresetDictionary { id: 0x1234_5678 })
        );
    }

    #[test]
    fn detection_knows_what_has_a_magic_number_and_nothing_else() {
        assert_eq!(Format::detect(&[0x1f, 0x8b]), Some(Format::Gzip));
        for flags in [0x01, 0x5e, 0x9c, 0xda] {
            assert_eq!(Format::detect(&[0x78, flags]), Some(Format::Zlib));
        }
        assert_eq!(Format::detect(b"\x28\xb5\x2f\xfd"), Some(Format::Zstd));
        assert_eq!(Format::detect(b"\x5f\x2a\x4d\x18"), Some(Format::Zstd));
        assert_eq!(Format::detect(b"\x04\x22\x4d\x18"), Some(Format::Lz4));
        for other in [
            &b"PK"[..],
            b"{\"",
            b"\x28\xb5\x2f",
            b"\x78\x9d",
            b"\x1f",
            b"",
        ] {
            assert_eq!(Format::detect(other), None, "{other:02x?}");
        }
    }
}
