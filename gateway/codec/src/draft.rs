//! A block as its engine made it, which may have to be edited before others can follow it.
//!
//! libdeflate always ends its output with BFINAL and has no flush. To let another block follow, the final DEFLATE block's
//! header bit must be cleared and the stream brought to a byte boundary. Neither place can be known without passing over all
//! symbols before them, for DEFLATE blocks carry no length. Why not cheaper: searching backwards for the header meets false
//! headers; cutting the input so that libdeflate emits one block a call leans on its undocumented splitting and costs
//! ratio; a decoder that reports block ends (zlib's `Z_BLOCK`) is not offered by the decoders here. The pass that proves the
//! block right finds both places on its way.
//!
//! Invariant: a draft is placed only by the [`Structure`] of those very bytes.

use crate::comparator::Structure;
use crate::cpu_engines::Maker;
use crate::engine::{EMPTY_STORED_BLOCK, Position, SYNC_MARKER};

/// A block at the end of a buffer, not yet verified, and not in its place yet.
/// [`Verifier::finish`](crate::Verifier::finish) makes a block of it that may be sent.
#[must_use = "a draft is no block that others can follow"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draft {
    maker: Maker,
    start: usize,
    stands_as: Position,
    belongs: Position,
}

impl Draft {
    /// A draft from byte `start` of a buffer to its end, made as if it were at `stands_as`, that belongs at `belongs`.
    pub(crate) const fn new(
        maker: Maker,
        start: usize,
        stands_as: Position,
        belongs: Position,
    ) -> Self {
        Self {
            maker,
            start,
            stands_as,
            belongs,
        }
    }

    /// Who made it.
    #[must_use]
    pub const fn maker(self) -> Maker {
        self.maker
    }

    /// Where in the buffer it begins.
    pub(crate) const fn start(self) -> usize {
        self.start
    }

    /// The place for which it is right as it is.
    pub(crate) const fn stands_as(self) -> Position {
        self.stands_as
    }

    /// Whether it ends its stream, and belongs there.
    pub(crate) fn is_last_in_place(self) -> bool {
        (self.stands_as, self.belongs) == (Position::Last, Position::Last)
    }

    /// Makes it a block in its place, at the end of `out`; it grows by at most 5 bytes.
    pub(crate) fn place(self, structure: Structure, out: &mut Vec<u8>) {
        if self.stands_as == self.belongs {
            return;
        }
        let header_byte = usize::try_from(structure.last_header_bit / 8)
            .ok()
            .and_then(|offset| out.get_mut(self.start.checked_add(offset)?));
        if let Some(byte) = header_byte {
            *byte &= !(1 << (structure.last_header_bit % 8));
        }
        let used_bits = structure.end_bit % 8;
        // The padding becomes the empty stored block's header: BFINAL 0, BTYPE 00, padding 0.
        if used_bits != 0
            && let Some(byte) = out.last_mut()
        {
            *byte &= (1u8 << used_bits) - 1;
        }
        if matches!(used_bits, 1..=5) {
            out.extend_from_slice(&SYNC_MARKER);
        } else {
            out.extend_from_slice(&EMPTY_STORED_BLOCK);
        }
    }
}
