//! Submission entries: the 64 bytes that name a piece of work.
//!
//! Layout as in the table below; admin commands reuse the same places
//! (`crate::admin`). Addresses are contiguous in IOVA space: no scatter list.
//!
//! ```text
//! 00 op u8   01 flags u8   02 cid u16   04 context u32
//! 08 src u64   10 dst u64   18 hist u64   20 aux u64
//! 28 src_len u32   2C dst_cap u32   30 hist_len u32   34 aux_len u32
//! 38 format u8   39 level u8   3A table_mode u8   3B slot u8   3C timeout_us u32
//! ```

use crate::command_id::CommandId;
use crate::queue::Iova;

/// Size of an entry, bytes.
pub const SUBMISSION_BYTES: usize = 64;

/// What an I/O queue's entry asks for. Admin opcodes are in `crate::admin`.
///
/// 0xA0-0xAF are kept for tables held by the card; 0xB0-0xBF are images and slots, on the admin queue (`crate::admin`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// Completes without touching memory: the ring's own round trip.
    Nop = 0x80,
    /// Compress src into dst.
    Compress = 0x81,
    /// Decompress one whole member (or raw stream) from src into dst.
    Decompress = 0x82,
    /// Match src as Compress would and write the histogram of its symbols to aux; `out_len` of the completion is 0.
    Count = 0x83,
}

impl Opcode {
    /// The opcode of `bits`, if it is one.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x80 => Self::Nop,
            0x81 => Self::Compress,
            0x82 => Self::Decompress,
            0x83 => Self::Count,
            _ => return None,
        })
    }
}

/// Flags of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u8);

impl Flags {
    /// Last block of the stream: sets BFINAL and writes the format's trailer.
    pub const FINAL: Self = Self(1 << 0);
    /// Ends with an empty stored block, so that the output stops at a byte boundary (RFC 1951, section 3.2.4).
    pub const SYNC: Self = Self(1 << 1);
    /// `hist`, `hist_len` name bytes that preload the window.
    pub const HIST: Self = Self(1 << 2);
    /// `aux`, `aux_len` name a Huffman table block.
    pub const TABLE: Self = Self(1 << 3);
    /// Every flag that this version defines.
    pub const KNOWN: Self = Self(0x0F);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every flag of `other` is set.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Framing that the engine writes or expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WireFormat {
    /// Raw DEFLATE (RFC 1951).
    #[default]
    Raw = 0,
    /// zlib (RFC 1950).
    Zlib = 1,
    /// gzip (RFC 1952).
    Gzip = 2,
}

impl WireFormat {
    /// The format of `bits`, if it is one.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Raw,
            1 => Self::Zlib,
            2 => Self::Gzip,
            _ => return None,
        })
    }
}

/// Effort of the card's matcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CardLevel {
    /// 8K x 1 way, lazy, fixed Huffman code.
    #[default]
    Fast = 0,
    /// 8K x 4 ways, lazy; the host loads a table sampled from the start of the data.
    Balanced = 1,
    /// 8K x 4 ways, lazy; the host loads a table counted over all of the data.
    Dense = 2,
}

impl CardLevel {
    /// The level of `bits`, if it is one.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Fast,
            1 => Self::Balanced,
            2 => Self::Dense,
            _ => return None,
        })
    }
}

/// Where the Huffman code comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TableMode {
    /// The fixed code (RFC 1951, section 3.2.6).
    #[default]
    Fixed = 0,
    /// The table block at `aux`; needs the TABLE flag.
    Loaded = 1,
}

impl TableMode {
    /// The mode of `bits`, if it is one.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Fixed,
            1 => Self::Loaded,
            _ => return None,
        })
    }
}

/// One submission entry, fields as on the wire. Bytes of a peer become one without judgement; whoever executes it validates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SubmissionEntry {
    /// Opcode.
    pub op: u8,
    /// [`Flags`].
    pub flags: u8,
    /// [`CommandId`].
    pub cid: u16,
    /// The tenant's scrub domain: engine state never survives a change of it.
    pub context: u32,
    /// Source, IOVA.
    pub src: u64,
    /// Destination, IOVA.
    pub dst: u64,
    /// History, IOVA.
    pub hist: u64,
    /// Table block or histogram, IOVA.
    pub aux: u64,
    /// Source length, bytes.
    pub src_len: u32,
    /// Destination capacity, bytes: nothing is written beyond.
    pub dst_cap: u32,
    /// History length, bytes.
    pub hist_len: u32,
    /// Length of the memory at `aux`, bytes.
    pub aux_len: u32,
    /// [`WireFormat`].
    pub format: u8,
    /// [`CardLevel`].
    pub level: u8,
    /// [`TableMode`].
    pub table_mode: u8,
    /// 0 = any slot whose kernel does it; n = slot n - 1 alone, activated or not. Zero where there are no slots.
    pub slot: u8,
    /// Time after which the card may give the job up, microseconds; 0 = the card's own limit.
    pub timeout_us: u32,
}

const _: () = assert!(size_of::<SubmissionEntry>() == SUBMISSION_BYTES);
const _: () = assert!(core::mem::offset_of!(SubmissionEntry, cid) == 0x02);
const _: () = assert!(core::mem::offset_of!(SubmissionEntry, context) == 0x04);
const _: () = assert!(core::mem::offset_of!(SubmissionEntry, src) == 0x08);
const _: () = assert!(core::mem::offset_of!(SubmissionEntry, dst) == 0x10);
const _: () = assert!(core::mem::offset_of!(SubmissionEntry, hist) == 0x18);
const _: () = assert!(core::mem::offset_of!(SubmissionEntry, aux) == 0x20);
const _: () = assert!(core::mem::offset_of!(SubmissionEntry, src_len) == 0x28);
const _: () = assert!(core::mem::offset_of!(SubmissionEntry, dst_cap) == 0x2C);
const _: () = assert!(core::mem::offset_of!(SubmissionEntry, hist_len) == 0x30);
const _: () = assert!(core::mem::offset_of!(SubmissionEntry, aux_len) == 0x34);
const _: () = assert!(core::mem::offset_of!(SubmissionEntry, format) == 0x38);
const _: () = assert!(core::mem::offset_of!(SubmissionEntry, timeout_us) == 0x3C);

impl SubmissionEntry {
    /// The entry as it lies in the ring.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; SUBMISSION_BYTES] {
        let mut out = [0; SUBMISSION_BYTES];
        let parts: [&[u8]; 13] = [
            &[self.op, self.flags],
            &self.cid.to_le_bytes(),
            &self.context.to_le_bytes(),
            &self.src.to_le_bytes(),
            &self.dst.to_le_bytes(),
            &self.hist.to_le_bytes(),
            &self.aux.to_le_bytes(),
            &self.src_len.to_le_bytes(),
            &self.dst_cap.to_le_bytes(),
            &self.hist_len.to_le_bytes(),
            &self.aux_len.to_le_bytes(),
            &[self.format, self.level, self.table_mode, self.slot],
            &self.timeout_us.to_le_bytes(),
        ];
        let mut at = 0;
        for part in parts {
            if let Some(place) = out.get_mut(at..at + part.len()) {
                place.copy_from_slice(part);
            }
            at += part.len();
        }
        out
    }

    /// The entry that these bytes hold.
    #[must_use]
    pub const fn from_bytes(b: &[u8; SUBMISSION_BYTES]) -> Self {
        Self {
            op: b[0],
            flags: b[1],
            cid: u16::from_le_bytes([b[2], b[3]]),
            context: u32_at(b, 0x04),
            src: u64_at(b, 0x08),
            dst: u64_at(b, 0x10),
            hist: u64_at(b, 0x18),
            aux: u64_at(b, 0x20),
            src_len: u32_at(b, 0x28),
            dst_cap: u32_at(b, 0x2C),
            hist_len: u32_at(b, 0x30),
            aux_len: u32_at(b, 0x34),
            format: b[0x38],
            level: b[0x39],
            table_mode: b[0x3A],
            slot: b[0x3B],
            timeout_us: u32_at(b, 0x3C),
        }
    }

    /// Command id.
    #[must_use]
    pub const fn command_id(&self) -> CommandId {
        CommandId(self.cid)
    }

    /// Source address.
    #[must_use]
    pub const fn src_iova(&self) -> Iova {
        Iova(self.src)
    }

    /// Destination address.
    #[must_use]
    pub const fn dst_iova(&self) -> Iova {
        Iova(self.dst)
    }
}

const fn u32_at(b: &[u8; SUBMISSION_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

const fn u64_at(b: &[u8; SUBMISSION_BYTES], at: usize) -> u64 {
    (u32_at(b, at) as u64) | ((u32_at(b, at + 4) as u64) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_survive_the_round_trip(halves in any::<([u8; 32], [u8; 32])>()) {
            let mut bytes = [0; SUBMISSION_BYTES];
            bytes[..32].copy_from_slice(&halves.0);
            bytes[32..].copy_from_slice(&halves.1);
            prop_assert_eq!(SubmissionEntry::from_bytes(&bytes).to_bytes(), bytes);
        }
    }
}
