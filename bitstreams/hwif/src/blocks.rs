//! The self-describing list of register blocks at the start of BAR0.
//!
//! Owns the walk. Invariant: it ends, whatever the card says: offsets must rise,
//! stay in BAR0, and at most [`BLOCKS_MAX`] blocks are read.

use crate::mmio::{BarOffset, Mmio};
use crate::regs::{BAR0_BYTES, BlockType, identity};

/// Most blocks that a walk reads.
pub const BLOCKS_MAX: usize = 32;

/// One block of the list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it is.
    pub block_type: BlockType,
    /// Layout version.
    pub version: u8,
    /// Where it starts.
    pub offset: BarOffset,
}

/// The blocks that a walk found, in order.
#[derive(Clone, Copy, Debug)]
pub struct Blocks {
    found: [Option<Block>; BLOCKS_MAX],
}

/// Why the list could not be walked. `E` is the transport's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockWalkError<E> {
    /// A register could not be read.
    Mmio(E),
    /// The header or link read as all-ones: the function is gone.
    Gone,
    /// `next` does not rise, is misaligned or leaves BAR0.
    BadLink {
        /// Block that holds the link.
        at: BarOffset,
        /// What it said.
        next: u32,
    },
    /// More than [`BLOCKS_MAX`] blocks.
    TooMany,
}

impl Blocks {
    /// Walk the list from offset 0.
    ///
    /// # Errors
    /// [`BlockWalkError`]: the transport failed, the function is gone, or the list is malformed.
    pub fn walk<M: Mmio>(mmio: &M) -> Result<Self, BlockWalkError<M::Error>> {
        let mut found = [None; BLOCKS_MAX];
        let mut at = BarOffset(0);
        for place in &mut found {
            let header: identity::BlockHeader = mmio.read(at).map_err(BlockWalkError::Mmio)?;
            let next: identity::BlockNext = mmio.read(at).map_err(BlockWalkError::Mmio)?;
            if header.0 == u32::MAX || next.0 == u32::MAX {
                return Err(BlockWalkError::Gone);
            }
            *place = Some(Block {
                block_type: BlockType(low_u16(header.block_type())),
                version: header.version().to_le_bytes()[0],
                offset: at,
            });
            match next.offset() {
                0 => return Ok(Self { found }),
                next if next <= at.0
                    || !next.is_multiple_of(4)
                    || next > BAR0_BYTES - identity::BYTES =>
                {
                    return Err(BlockWalkError::BadLink { at, next });
                }
                next => at = BarOffset(next),
            }
        }
        Err(BlockWalkError::TooMany)
    }

    /// First block of this type.
    #[must_use]
    pub fn find(&self, block_type: BlockType) -> Option<Block> {
        self.iter().find(|block| block.block_type == block_type)
    }

    /// All blocks, in order.
    pub fn iter(&self) -> impl Iterator<Item = Block> + '_ {
        self.found.iter().flatten().copied()
    }
}

const fn low_u16(bits: u32) -> u16 {
    let bytes = bits.to_le_bytes();
    u16::from_le_bytes([bytes[0], bytes[1]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regs::{CardRegister, doorbells};
    use std::collections::HashMap;

    struct Words(HashMap<u32, u32>);

    impl Mmio for Words {
        type Error = ();
        fn read32(&self, offset: BarOffset) -> Result<u32, ()> {
            Ok(self.0.get(&offset.0).copied().unwrap_or(0))
        }
        fn write32(&self, _: BarOffset, _: u32) -> Result<(), ()> {
            Ok(())
        }
    }

    fn reset_values() -> Words {
        Words(
            CardRegister::ALL
                .iter()
                .map(|r| (r.offset(), r.reset()))
                .collect(),
        )
    }

    #[test]
    fn finds_every_block_of_the_map() {
        let blocks = Blocks::walk(&reset_values()).unwrap();
        assert_eq!(blocks.iter().count(), 8);
        assert_eq!(
            blocks.find(doorbells::BLOCK_TYPE).unwrap().offset,
            BarOffset(0x600)
        );
        assert_eq!(blocks.find(BlockType(99)), None);
    }

    #[test]
    fn a_loop_in_the_list_is_refused() {
        let mut words = reset_values();
        words.0.insert(0x204, 0x100);
        assert_eq!(
            Blocks::walk(&words).unwrap_err(),
            BlockWalkError::BadLink {
                at: BarOffset(0x200),
                next: 0x100
            }
        );
    }

    #[test]
    fn all_ones_is_a_function_that_is_gone() {
        let mut words = reset_values();
        words.0.insert(0x100, u32::MAX);
        assert_eq!(Blocks::walk(&words).unwrap_err(), BlockWalkError::Gone);
    }

    #[test]
    fn a_list_without_end_is_refused() {
        let words = Words((0..64).map(|n| (n * 8 + 4, n * 8 + 8)).collect());
        assert_eq!(Blocks::walk(&words).unwrap_err(), BlockWalkError::TooMany);
    }
}
