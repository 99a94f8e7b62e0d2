//! What stands around the DEFLATE data: algorithm.md, "Framing".

use super::bits::BitWriter;

/// The container of a job's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// DEFLATE alone (RFC 1951).
    Raw,
    /// Two bytes before, Adler-32 after (RFC 1950).
    Zlib,
    /// Ten bytes before, CRC-32 and length after (RFC 1952).
    Gzip,
}

/// CM = 8, CINFO = 7 (32 KiB window), FLEVEL = 0, no dictionary; FCHECK makes 0x7801 a multiple of 31.
const ZLIB_HEADER: [u8; 2] = [0x78, 0x01];

/// ID1, ID2, CM = 8, no flags, no time, XFL = 0, OS = 255 (unknown).
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

impl Format {
    /// Bytes before the DEFLATE data, written by every job of this format.
    pub(super) fn write_header(self, writer: &mut BitWriter<'_>) {
        match self {
            Format::Raw => {}
            Format::Zlib => writer.bytes(&ZLIB_HEADER),
            Format::Gzip => writer.bytes(&GZIP_HEADER),
        }
    }

    /// Bytes after the DEFLATE data, written by a FINAL job. `src_len` is the job's input, history not counted.
    pub(super) fn write_trailer(
        self,
        writer: &mut BitWriter<'_>,
        crc32: u32,
        adler32: u32,
        src_len: usize,
    ) {
        match self {
            Format::Raw => {}
            Format::Zlib => writer.bytes(&adler32.to_be_bytes()),
            Format::Gzip => {
                writer.bytes(&crc32.to_le_bytes());
                let isize_field = (src_len as u64 & 0xffff_ffff) as u32;
                writer.bytes(&isize_field.to_le_bytes());
            }
        }
    }
}
