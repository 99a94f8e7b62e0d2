//! What stands around the DEFLATE stream of a member that we make: header, trailer, checksum.
//!
//! Invariant: the header depends on format and level alone, so members are reproducible (MTIME 0, no
//! name, OS 255 "unknown"). The checksum is always of the host's own input, never taken from an engine.
//!
//! A member is `header, block, .., block, trailer`. Blocks may be checked in any order, on any thread, and
//! their checksums combined in the order of the data.

use crate::format::{Format, Level};

/// Longest header that [`write_header`] writes, in bytes.
pub const HEADER_BYTES_MAX: usize = 10;
/// Longest trailer that [`write_trailer`] writes, in bytes.
pub const TRAILER_BYTES_MAX: usize = 8;

/// Adler-32's modulus, the largest prime below 2^16 (RFC 1950, 8.2).
const ADLER_MODULUS: u64 = 65_521;
/// Adler-32 of no bytes.
const ADLER_EMPTY: u32 = 1;

/// Levels up to this one say "fastest algorithm" in their header.
const HEADER_FASTEST_LEVEL_MAX: u8 = 2;
/// Levels from this one on say "maximum compression, slowest algorithm".
const HEADER_SLOWEST_LEVEL_MIN: u8 = 8;

/// Length of a header of ours. zstd and lz4 frames are whole as they leave their compressor: 0.
#[must_use]
pub const fn header_bytes(format: Format) -> usize {
    match format {
        Format::Gzip => 10,
        Format::Zlib => 2,
        Format::Deflate | Format::Zstd | Format::Lz4 => 0,
    }
}

/// Length of the trailer (RFC 1952, 2.3.1; RFC 1950, 2.2).
#[must_use]
pub const fn trailer_bytes(format: Format) -> usize {
    match format {
        Format::Gzip => 8,
        Format::Zlib => 4,
        Format::Deflate | Format::Zstd | Format::Lz4 => 0,
    }
}

/// Appends a member's header: gzip's with XFL, zlib's with a 32 KiB window and FLEVEL from the level.
pub fn write_header(format: Format, level: Level, out: &mut Vec<u8>) {
    let number = level.get();
    match format {
        Format::Gzip => {
            let extra_flags = match number {
                ..=HEADER_FASTEST_LEVEL_MAX => 4,
                HEADER_SLOWEST_LEVEL_MIN.. => 2,
                _ => 0,
            };
            // ID1 ID2 CM FLG MTIME(4) XFL OS
            out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, extra_flags, 255]);
        }
        Format::Zlib => {
            let level_hint: u8 = match number {
                ..=HEADER_FASTEST_LEVEL_MAX => 0,
                3..=5 => 1,
                HEADER_SLOWEST_LEVEL_MIN.. => 3,
                _ => 2,
            };
            let method = 0x78u8;
            let flags = level_hint << 6;
            // FCHECK makes the two bytes, big-endian, a multiple of 31.
            let check = 31 - (u16::from_be_bytes([method, flags]) % 31).to_le_bytes()[0];
            out.extend_from_slice(&[method, flags | check]);
        }
        Format::Deflate | Format::Zstd | Format::Lz4 => {}
    }
}

/// Appends the trailer that belongs to a member of `checksum`'s format and data.
pub fn write_trailer(checksum: &BlockChecksum, out: &mut Vec<u8>) {
    match checksum.format {
        Format::Gzip => {
            out.extend_from_slice(&checksum.value.to_le_bytes());
            out.extend_from_slice(&checksum.length_modulo_2_32().to_le_bytes());
        }
        Format::Zlib => out.extend_from_slice(&checksum.value.to_be_bytes()),
        Format::Deflate | Format::Zstd | Format::Lz4 => {}
    }
}

/// Checksum and length of a stretch of uncompressed data, as its format's trailer needs them: CRC-32 for
/// gzip, Adler-32 for zlib, the length alone for raw DEFLATE and for frames that bring their own checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockChecksum {
    format: Format,
    value: u32,
    len: u64,
}

impl BlockChecksum {
    /// The checksum of no bytes, where every sum begins.
    #[must_use]
    pub const fn empty(format: Format) -> Self {
        let value = match format {
            Format::Zlib => ADLER_EMPTY,
            Format::Gzip | Format::Deflate | Format::Zstd | Format::Lz4 => 0,
        };
        Self {
            format,
            value,
            len: 0,
        }
    }

    /// The checksum of `data`. One pass, at memory speed.
    #[must_use]
    pub fn of(format: Format, data: &[u8]) -> Self {
        let mut checksum = Self::empty(format);
        checksum.update(data);
        checksum
    }

    /// Goes on over `data`.
    pub fn update(&mut self, data: &[u8]) {
        match self.format {
            Format::Gzip => {
                let mut hasher = crc32fast::Hasher::new_with_initial(self.value);
                hasher.update(data);
                self.value = hasher.finalize();
            }
            Format::Zlib => {
                let mut adler = simd_adler32::Adler32::from_checksum(self.value);
                adler.write(data);
                self.value = adler.finish();
            }
            Format::Deflate | Format::Zstd | Format::Lz4 => {}
        }
        self.len = self.len.wrapping_add(data.len() as u64);
    }

    /// The checksum of this stretch and then `next`, without their bytes. Logarithmic in `next`'s length.
    ///
    /// # Panics
    /// If the two are of different formats: a bug of the caller's.
    #[must_use]
    pub fn combine(self, next: Self) -> Self {
        assert_eq!(
            self.format, next.format,
            "checksums of one member are of one format"
        );
        let value = match self.format {
            Format::Gzip => {
                let mut hasher = crc32fast::Hasher::new_with_initial_len(self.value, self.len);
                hasher.combine(&crc32fast::Hasher::new_with_initial_len(
                    next.value, next.len,
                ));
                hasher.finalize()
            }
            Format::Zlib => combine_adler32(self.value, next.value, next.len),
            Format::Deflate | Format::Zstd | Format::Lz4 => 0,
        };
        Self {
            format: self.format,
            value,
            len: self.len.wrapping_add(next.len),
        }
    }

    /// The format whose checksum this is.
    #[must_use]
    pub const fn format(&self) -> Format {
        self.format
    }

    /// CRC-32 or Adler-32; 0 for the formats that have neither.
    #[must_use]
    pub const fn value(&self) -> u32 {
        self.value
    }

    /// Bytes covered.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether no bytes are covered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// gzip's ISIZE.
    #[must_use]
    pub fn length_modulo_2_32(&self) -> u32 {
        u32::try_from(self.len & u64::from(u32::MAX)).unwrap_or_default()
    }
}

/// Adler-32 of two stretches from their own sums. With `a` and `b` the low and high half (RFC 1950, 8.2),
/// over m bytes and then n: a = a1 + a2 - 1, and b = b1 + b2 + n (a1 - 1), for each of the n later steps adds
/// the first stretch's a, less the 1 that the second's own start already counts.
fn combine_adler32(first: u32, second: u32, second_len: u64) -> u32 {
    let (a1, b1) = (u64::from(first & 0xffff), u64::from(first >> 16));
    let (a2, b2) = (u64::from(second & 0xffff), u64::from(second >> 16));
    let a = (a1 + a2 + ADLER_MODULUS - 1) % ADLER_MODULUS;
    let steps = second_len % ADLER_MODULUS;
    let b = (b1 + b2 + steps * ((a1 + ADLER_MODULUS - 1) % ADLER_MODULUS)) % ADLER_MODULUS;
    // Both are below 2^16.
    u32::try_from(b << 16 | a).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::header::{GzipHeader, ZlibHeader};

    #[test]
    fn checksums_of_the_standard_check_string() {
        // CRC-32/ISO-HDLC's check value; Adler-32 of the same by RFC 1950's definition.
        assert_eq!(
            BlockChecksum::of(Format::Gzip, b"123456789").value(),
            0xcbf4_3926
        );
        assert_eq!(
            BlockChecksum::of(Format::Zlib, b"123456789").value(),
            0x091e_01de
        );
        assert_eq!(BlockChecksum::of(Format::Deflate, b"123456789").len(), 9);
    }

    #[test]
    fn headers_parse_as_what_they_are() {
        for level in Level::all() {
            let mut header = Vec::new();
            write_header(Format::Gzip, level, &mut header);
            assert_eq!(header.len(), header_bytes(Format::Gzip));
            assert_eq!(
                GzipHeader::parse(&header).map(|parsed| parsed.len),
                Ok(header.len())
            );
            header.clear();
            write_header(Format::Zlib, level, &mut header);
            assert_eq!(header.len(), header_bytes(Format::Zlib));
            assert_eq!(
                ZlibHeader::parse(&header).map(|parsed| parsed.len),
                Ok(header.len())
            );
            header.clear();
            write_header(Format::Deflate, level, &mut header);
            assert!(header.is_empty());
        }
    }

    #[test]
    fn zlib_level_hints_are_the_usual_bytes() {
        let bytes = |number| {
            let mut header = Vec::new();
            write_header(
                Format::Zlib,
                Level::new(number).expect("a level"),
                &mut header,
            );
            header
        };
        assert_eq!(bytes(1), [0x78, 0x01]);
        assert_eq!(bytes(3), [0x78, 0x5e]);
        assert_eq!(bytes(6), [0x78, 0x9c]);
        assert_eq!(bytes(12), [0x78, 0xda]);
    }

    #[test]
    fn adler32_combines_over_any_length() {
        // n zeros have a = 1 and b = n modulo 65521, so only n's remainder can matter.
        let abc = BlockChecksum::of(Format::Zlib, b"abc").value();
        for len in [0, 1, 65_520, 65_521, 65_522, 1 << 32, u64::MAX] {
            let remainder = len % ADLER_MODULUS;
            let zeros = u32::try_from(remainder << 16 | 1).expect("two halves of 16 bits");
            let mut data = b"abc".to_vec();
            data.resize(3 + usize::try_from(remainder).expect("small"), 0);
            assert_eq!(
                combine_adler32(abc, zeros, len),
                BlockChecksum::of(Format::Zlib, &data).value(),
                "{len}"
            );
        }
    }
}
