//! A gzip header (RFC 1952, 2.3) read as its bytes arrive, in any pieces.
//!
//! Invariant: the same bytes give the same header length or the same [`HeaderError`] as
//! [`GzipHeader::parse`], whatever the pieces; memory is fixed, and each byte is looked at once.

use crate::header::{FLAG_COMMENT, FLAG_EXTRA, FLAG_HEADER_CRC, FLAG_NAME};
use crate::header::{GzipHeader, HeaderError, TEXT_FIELD_BYTES_MAX};

/// Where in a header the next byte stands.
#[derive(Clone, Copy, Debug)]
enum Field {
    Fixed,
    ExtraLength,
    Extra { left: usize },
    Name { seen: usize },
    Comment { seen: usize },
    Checksum,
    End,
}

/// The reader of one header.
pub(crate) struct GzipHeaderReader {
    field: Field,
    flags: u8,
    /// The fixed part, or the field of two bytes that is being read.
    gathered: [u8; GzipHeader::FIXED_BYTES],
    gathered_len: usize,
    /// Over everything before the header's own checksum.
    crc: crc32fast::Hasher,
}

impl GzipHeaderReader {
    pub(crate) fn new() -> Self {
        Self {
            field: Field::Fixed,
            flags: 0,
            gathered: [0; GzipHeader::FIXED_BYTES],
            gathered_len: 0,
            crc: crc32fast::Hasher::new(),
        }
    }

    /// Reads on: how many of `input`'s bytes belong to the header, and whether it ends with them.
    pub(crate) fn read(&mut self, input: &[u8]) -> Result<(usize, bool), HeaderError> {
        let mut at = 0;
        loop {
            let rest = input.get(at..).unwrap_or_default();
            if !matches!(self.field, Field::End) && rest.is_empty() {
                return Ok((at, false));
            }
            at += match self.field {
                Field::Fixed => self.fixed(rest)?,
                Field::ExtraLength => {
                    let taken = self.gather(rest, 2);
                    if let Some(left) = self.gathered_u16() {
                        let left = usize::from(left);
                        self.cover_gathered();
                        self.field = Field::Extra { left };
                        self.pass_empty();
                    }
                    taken
                }
                Field::Extra { left } => {
                    let taken = left.min(rest.len());
                    self.cover(rest, taken);
                    self.field = Field::Extra { left: left - taken };
                    self.pass_empty();
                    taken
                }
                Field::Name { seen } => {
                    let (taken, seen) = self.text(rest, seen, "file name")?;
                    self.field = match seen {
                        Some(seen) => Field::Name { seen },
                        None => self.after(FLAG_NAME),
                    };
                    taken
                }
                Field::Comment { seen } => {
                    let (taken, seen) = self.text(rest, seen, "comment")?;
                    self.field = match seen {
                        Some(seen) => Field::Comment { seen },
                        None => self.after(FLAG_COMMENT),
                    };
                    taken
                }
                Field::Checksum => {
                    let taken = self.gather(rest, 2);
                    if let Some(got) = self.gathered_u16() {
                        // The two least significant bytes of the CRC-32.
                        let [low, high, ..] = self.crc.clone().finalize().to_le_bytes();
                        let expected = u16::from_le_bytes([low, high]);
                        if got != expected {
                            return Err(HeaderError::Checksum { expected, got });
                        }
                        self.field = Field::End;
                    }
                    taken
                }
                Field::End => return Ok((at, true)),
            };
        }
    }

    fn fixed(&mut self, rest: &[u8]) -> Result<usize, HeaderError> {
        let before = self.gathered_len;
        let taken = self.gather(rest, GzipHeader::FIXED_BYTES);
        let gathered = self.gathered.get(..self.gathered_len).unwrap_or_default();
        if before < 2 || self.gathered_len == GzipHeader::FIXED_BYTES {
            match GzipHeader::parse_fixed(gathered) {
                Ok(flags) => {
                    self.flags = flags;
                    self.cover_gathered();
                    self.field = self.after(0);
                }
                Err(HeaderError::Truncated { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// The first field that is there after the one of `flag` (0: after the fixed part), in the header's order.
    fn after(&self, flag: u8) -> Field {
        let has = |wanted: u8| self.flags & wanted != 0;
        match flag {
            0 if has(FLAG_EXTRA) => Field::ExtraLength,
            0 | FLAG_EXTRA if has(FLAG_NAME) => Field::Name { seen: 0 },
            0 | FLAG_EXTRA | FLAG_NAME if has(FLAG_COMMENT) => Field::Comment { seen: 0 },
            _ if has(FLAG_HEADER_CRC) => Field::Checksum,
            _ => Field::End,
        }
    }

    /// An extra field that has no bytes left is over.
    fn pass_empty(&mut self) {
        if matches!(self.field, Field::Extra { left: 0 }) {
            self.field = self.after(FLAG_EXTRA);
        }
    }

    /// Reads on in a text of which `seen` bytes went before; `None` once its zero has been met.
    fn text(
        &mut self,
        rest: &[u8],
        seen: usize,
        field: &'static str,
    ) -> Result<(usize, Option<usize>), HeaderError> {
        let bounded = rest.get(..TEXT_FIELD_BYTES_MAX - seen).unwrap_or(rest);
        let zero = bounded.iter().position(|&byte| byte == 0);
        let taken = zero.map_or(bounded.len(), |zero| zero + 1);
        self.cover(rest, taken);
        match zero {
            Some(_) => Ok((taken, None)),
            None if seen + taken == TEXT_FIELD_BYTES_MAX => {
                Err(HeaderError::FieldTooLong { field })
            }
            None => Ok((taken, Some(seen + taken))),
        }
    }

    /// Gathers up to `wanted` bytes in all; how many it took.
    fn gather(&mut self, rest: &[u8], wanted: usize) -> usize {
        let free = self
            .gathered
            .get_mut(self.gathered_len..wanted)
            .unwrap_or_default();
        let taken = free.len().min(rest.len());
        for (to, from) in free.iter_mut().zip(rest) {
            *to = *from;
        }
        self.gathered_len += taken;
        taken
    }

    fn gathered_u16(&self) -> Option<u16> {
        let [low, high, ..] = self.gathered;
        (self.gathered_len == 2).then_some(u16::from_le_bytes([low, high]))
    }

    fn cover(&mut self, rest: &[u8], taken: usize) {
        self.crc.update(rest.get(..taken).unwrap_or_default());
    }

    fn cover_gathered(&mut self) {
        self.crc
            .update(self.gathered.get(..self.gathered_len).unwrap_or_default());
        self.gathered_len = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header as RFC 1952 orders its fields, or hurt: one byte changed, or cut short.
    fn header() -> impl Strategy<Value = Vec<u8>> {
        let flags = prop_oneof![9 => 0u8..32, 1 => any::<u8>()];
        (
            flags,
            prop::collection::vec(any::<u8>(), 0..40),
            "[a-z]{0,40}",
            prop_oneof![9 => Just(None), 1 => Just(Some(TEXT_FIELD_BYTES_MAX))],
            prop::option::weighted(0.3, (any::<prop::sample::Index>(), any::<u8>())),
            prop::option::weighted(0.3, any::<prop::sample::Index>()),
        )
            .prop_map(|(flags, extra, text, long, hurt, cut)| {
                let mut bytes = vec![0x1f, 0x8b, 8, flags, 1, 2, 3, 4, 0, 3];
                if flags & FLAG_EXTRA != 0 {
                    bytes.extend(u16::try_from(extra.len()).expect("short").to_le_bytes());
                    bytes.extend(&extra);
                }
                for flag in [FLAG_NAME, FLAG_COMMENT] {
                    if flags & flag != 0 {
                        bytes.extend(text.as_bytes());
                        bytes.resize(bytes.len() + long.unwrap_or(0), b'x');
                        bytes.push(0);
                    }
                }
                if flags & FLAG_HEADER_CRC != 0 {
                    let [low, high, ..] = crc32fast::hash(&bytes).to_le_bytes();
                    bytes.extend([low, high]);
                }
                bytes.extend(b"stream");
                if let Some((at, value)) = hurt {
                    let at = at.index(bytes.len());
                    bytes[at] = value;
                }
                if let Some(cut) = cut {
                    bytes.truncate(cut.index(bytes.len()));
                }
                bytes
            })
    }

    fn read_in_pieces(bytes: &[u8], piece: usize) -> Result<GzipHeader, HeaderError> {
        let mut reader = GzipHeaderReader::new();
        let mut len = 0;
        for part in bytes.chunks(piece.max(1)) {
            let (taken, done) = reader.read(part)?;
            len += taken;
            if done {
                return Ok(GzipHeader { len });
            }
        }
        Err(HeaderError::Truncated { len: bytes.len() })
    }

    proptest! {
        #[test]
        fn pieces_read_as_the_whole(bytes in header(), piece in 1usize..20) {
            let whole = GzipHeader::parse(&bytes);
            prop_assert_eq!(read_in_pieces(&bytes, 1), whole);
            prop_assert_eq!(read_in_pieces(&bytes, piece), whole);
            prop_assert_eq!(read_in_pieces(&bytes, usize::MAX), whole);
        }
    }
}
