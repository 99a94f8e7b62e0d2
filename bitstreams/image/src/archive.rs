//! The package's archive: a tar (POSIX.1-2017, pax, `ustar`) in the one form that is taken.
//!
//! Owns bounds of sizes and the grammar of names. Invariants: a header is taken only if it is, byte for byte, what this file
//! would write for its name and size, padding is zero, and the end is two empty blocks with nothing behind: an archive of the
//! same entries has one encoding. No entry is anything but a plain file with a plain name: no directory, no link, no path
//! that leads elsewhere. It does not know what entries mean.

use crate::refusal::ImageRefusal;

/// Bytes of a package: the bitstream of a large device (a VU9P's has 80 MB, uncompressed) and its reports.
pub const PACKAGE_BYTES_MAX: usize = 96 << 20;
/// Bytes of a manifest.
pub const MANIFEST_BYTES_MAX: usize = 64 << 10;
/// Bytes of an entry's name.
pub const NAME_BYTES_MAX: usize = 64;
/// The one directory that a name may begin with.
pub(crate) const REPORTS: &str = "reports/";

const BLOCK_BYTES: usize = 512;
const END_BYTES: usize = 2 * BLOCK_BYTES;
const NAME: std::ops::Range<usize> = 0..100;
const SIZE: std::ops::Range<usize> = 124..136;
const CHECKSUM: std::ops::Range<usize> = 148..156;
const KIND: usize = 156;
const MAGIC: std::ops::Range<usize> = 257..265;
/// `ustar`, a zero, version 00.
const USTAR: &[u8; 8] = b"ustar\x0000";
const PLAIN_FILE: u8 = b'0';

/// A file in an archive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    pub(crate) data: &'a [u8],
}

/// An archive as it is read, from front to back.
#[derive(Debug)]
pub(crate) struct Archive<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Archive<'a> {
    /// Of `bytes`, whose first entry should be `first`.
    pub(crate) fn open(bytes: &'a [u8], first: &str) -> Result<Self, ImageRefusal> {
        if bytes.len() > PACKAGE_BYTES_MAX {
            return Err(ImageRefusal::TooLarge {
                what: "the package".to_owned(),
                bytes: bytes.len(),
                bytes_max: PACKAGE_BYTES_MAX,
            });
        }
        let same = bytes.iter().zip(first.as_bytes());
        if bytes.is_empty() || !same.into_iter().all(|(came, due)| came == due) {
            let start = bytes.get(..8).unwrap_or(bytes);
            return Err(ImageRefusal::NotAnArchive {
                got: start.escape_ascii().to_string(),
            });
        }
        Ok(Self { bytes, at: 0 })
    }

    /// The next entry, of at most `bytes_max`; `None` at the end mark.
    pub(crate) fn next(&mut self, bytes_max: usize) -> Result<Option<Entry<'a>>, ImageRefusal> {
        let at = self.at;
        let block: &'a [u8; BLOCK_BYTES] = self
            .rest()
            .first_chunk()
            .ok_or_else(|| self.truncated(BLOCK_BYTES))?;
        if block.iter().all(|byte| *byte == 0) {
            return self.end().map(|()| None);
        }
        let (name, bytes) = checked(block, at)?;
        if bytes > bytes_max {
            return Err(ImageRefusal::TooLarge {
                what: name.to_owned(),
                bytes,
                bytes_max,
            });
        }
        let whole = BLOCK_BYTES.saturating_add(padded(bytes));
        let rest = self.rest();
        let entry = rest.get(..whole).ok_or_else(|| self.truncated(whole))?;
        let (data, padding) = entry
            .get(BLOCK_BYTES..)
            .and_then(|body| body.split_at_checked(bytes))
            .unwrap_or_default();
        if padding.iter().any(|byte| *byte != 0) {
            return Err(ImageRefusal::BadEntry {
                at,
                what: "its padding is not empty",
            });
        }
        self.at = at.saturating_add(whole);
        Ok(Some(Entry { name, data }))
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn end(&self) -> Result<(), ImageRefusal> {
        let rest = self.rest();
        match rest.split_at_checked(END_BYTES) {
            None => Err(self.truncated(END_BYTES)),
            Some((mark, _)) if mark.iter().any(|byte| *byte != 0) => Err(ImageRefusal::BadEntry {
                at: self.at,
                what: "its end mark is not empty",
            }),
            Some((_, [])) => Ok(()),
            Some((_, behind)) => Err(ImageRefusal::Trailing {
                bytes: behind.len(),
            }),
        }
    }

    fn truncated(&self, due: usize) -> ImageRefusal {
        ImageRefusal::Truncated {
            bytes: self.bytes.len(),
            expected: self.at.saturating_add(due),
        }
    }
}

/// Name and size of a header that is in the one form.
fn checked(block: &[u8; BLOCK_BYTES], at: usize) -> Result<(&str, usize), ImageRefusal> {
    let bad = |what| ImageRefusal::BadEntry { at, what };
    if block.get(MAGIC) != Some(USTAR.as_slice()) {
        return Err(bad("it is no ustar header"));
    }
    if block.get(CHECKSUM) != Some(checksum(block).as_slice()) {
        return Err(bad("its checksum is wrong"));
    }
    let kind = block.get(KIND).copied().unwrap_or_default();
    if kind != PLAIN_FILE {
        return Err(ImageRefusal::ForbiddenKind {
            at,
            kind: match kind {
                b'1' => "a hard link",
                b'2' => "a symbolic link",
                b'3' | b'4' => "a device",
                b'5' => "a directory",
                b'x' | b'g' => "a pax header",
                _ => "no plain file",
            },
        });
    }
    let field = block.get(NAME).unwrap_or_default();
    let length = field.iter().position(|byte| *byte == 0);
    let name = field.get(..length.unwrap_or(field.len()));
    let name = name.unwrap_or_default();
    let name = std::str::from_utf8(name)
        .ok()
        .filter(|name| is_name(name))
        .ok_or_else(|| ImageRefusal::ForbiddenName {
            at,
            name: name.escape_ascii().to_string(),
        })?;
    let digits = block.get(SIZE).and_then(|field| field.split_last());
    let size = digits
        .and_then(|(_, digits)| std::str::from_utf8(digits).ok())
        .and_then(|digits| usize::from_str_radix(digits, 8).ok())
        .ok_or_else(|| bad("its size is no number"))?;
    match *block == header(name, size) {
        true => Ok((name, size)),
        false => Err(bad("it has owners, times or permissions")),
    }
}

/// Whether a file may have this name.
pub(crate) fn is_name(name: &str) -> bool {
    let base = name.strip_prefix(REPORTS).unwrap_or(name);
    let is_plain = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_')
    };
    name.len() <= NAME_BYTES_MAX
        && base.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && base.bytes().all(is_plain)
}

/// Appends an entry. `name` is one that [`is_name`] takes.
pub(crate) fn append(archive: &mut Vec<u8>, name: &str, data: &[u8]) {
    archive.extend_from_slice(&header(name, data.len()));
    archive.extend_from_slice(data);
    archive.resize(archive.len() + padded(data.len()) - data.len(), 0);
}

/// Appends the end mark.
pub(crate) fn finish(archive: &mut Vec<u8>) {
    archive.resize(archive.len() + END_BYTES, 0);
}

/// Bytes that `bytes` take in whole blocks.
fn padded(bytes: usize) -> usize {
    bytes.div_ceil(BLOCK_BYTES).saturating_mul(BLOCK_BYTES)
}

/// The header of a plain file of this name and size: nobody's, of no time, readable by all.
fn header(name: &str, bytes: usize) -> [u8; BLOCK_BYTES] {
    let mut block = [0; BLOCK_BYTES];
    let mut put = |at: usize, text: &[u8]| {
        for (to, from) in block.iter_mut().skip(at).zip(text) {
            *to = *from;
        }
    };
    put(NAME.start, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(SIZE.start, format!("{bytes:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(KIND, &[PLAIN_FILE]);
    put(MAGIC.start, USTAR);
    let sum = checksum(&block);
    for (to, from) in block.iter_mut().skip(CHECKSUM.start).zip(sum) {
        *to = from;
    }
    block
}

/// The checksum's field: the sum of all bytes, its own counted as blanks.
fn checksum(block: &[u8; BLOCK_BYTES]) -> [u8; 8] {
    let sum: u32 = block
        .iter()
        .enumerate()
        .map(|(at, byte)| match CHECKSUM.contains(&at) {
            true => u32::from(b' '),
            false => u32::from(*byte),
        })
        .sum();
    let mut field = [0; 8];
    for (to, from) in field.iter_mut().zip(format!("{sum:06o}\0 ").bytes()) {
        *to = from;
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_nowhere() {
        for good in ["payload.bin", "reports/timing.json", "a", "engine_v2.bit"] {
            assert!(is_name(good), "{good}");
        }
        for bad in [
            "",
            ".",
            "..",
            "../x",
            "/etc/passwd",
            "reports/",
            "reports/../x",
            "reports/a/b",
            "a/b",
            "A",
            "a b",
            "a\u{e4}",
            ".hidden",
            "reports/.hidden",
        ] {
            assert!(!is_name(bad), "{bad}");
        }
        assert!(!is_name(&"a".repeat(NAME_BYTES_MAX + 1)));
    }

    #[test]
    fn what_is_written_is_read_and_tar_knows_it() {
        let mut bytes = Vec::new();
        append(&mut bytes, "first", b"");
        append(&mut bytes, "reports/second", &[7; 513]);
        finish(&mut bytes);
        assert_eq!(bytes.len(), 2 * 512 + 2 * 512 + 1024);
        let mut archive = Archive::open(&bytes, "first").expect("an archive");
        let first = archive.next(0).expect("good").expect("there");
        assert_eq!((first.name, first.data), ("first", [].as_slice()));
        let second = archive.next(513).expect("good").expect("there");
        assert_eq!(
            (second.name, second.data),
            ("reports/second", [7; 513].as_slice())
        );
        assert!(archive.next(0).expect("good").is_none());
        // What Python's tarfile sums up of such a header, its device numbers left empty.
        assert_eq!(bytes.get(CHECKSUM), Some(b"007005\0 ".as_slice()));
    }
}
