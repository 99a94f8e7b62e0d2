//! The register map: typed registers for the driver, offset decoding for the card.
//!
//! `fields` and `card` are generated from `rdl/card.rdl`; this file holds what they
//! share. Offsets in `fields` are relative to a block's start, because a driver
//! finds blocks by walking the list (`crate::blocks`), never by absolute offset.

mod card;
mod fields;

pub use card::CardRegister;
pub use fields::*;

/// Type number of a register block (BLOCK_HEADER.block_type).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockType(pub u16);

/// What software may do with a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads only; writes are ignored.
    ReadOnly,
    /// Writes only; reads as zero.
    WriteOnly,
    /// Both.
    ReadWrite,
}

/// A 32-bit register within a block.
pub trait Register: Copy {
    /// Block that it belongs to.
    const BLOCK: BlockType;
    /// Byte offset from the block's start.
    const OFFSET: u32;
    /// What software may do with it.
    const ACCESS: Access;
    /// Value after reset, as far as the map fixes it.
    const RESET: u32;
    /// Wrap raw bits.
    fn from_bits(bits: u32) -> Self;
    /// Raw bits.
    fn bits(self) -> u32;
}

/// What a read of a function that is gone returns.
pub const ALL_ONES: u32 = u32::MAX;
/// Value that resets the function when written to CONTROL.RESET.
pub const RESET_KEY: u32 = 0x4652_5354;
/// Size of BAR0, bytes.
pub const BAR0_BYTES: u32 = 0x4_0000;
/// Doorbell page: submission queue tail, free-running index.
pub const DOORBELL_SQ_TAIL: u32 = 0x0;
/// Doorbell page: completion queue head, free-running index.
pub const DOORBELL_CQ_HEAD: u32 = 0x4;

/// The eight 64-bit counters of a queue, in order of their place (LO at `index * 8`, HI 4 bytes on).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum QueueCounter {
    /// Entries fetched.
    Fetched = 0,
    /// Completions written.
    Completed = 1,
    /// Completions whose status was not success.
    Failed = 2,
    /// Bytes read as source data.
    BytesIn = 3,
    /// Bytes written as result data.
    BytesOut = 4,
    /// Engine cycles spent.
    Cycles = 5,
    /// Doorbell writes seen.
    Kicks = 6,
    /// Interrupts raised.
    Interrupts = 7,
}

impl QueueCounter {
    /// All, by place.
    pub const ALL: [Self; 8] = [
        Self::Fetched,
        Self::Completed,
        Self::Failed,
        Self::BytesIn,
        Self::BytesOut,
        Self::Cycles,
        Self::Kicks,
        Self::Interrupts,
    ];
}
