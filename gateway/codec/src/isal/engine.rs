//! The ISA-L engine: blocks at levels 1 and 2.
//!
//! ISA-L writes blocks that others can follow by itself: a full flush ends them byte-aligned in a sync marker. Its level
//! buffers (0.27 and 0.32 MiB) and state (0.08 MiB) are made once a level.

use super::shim::CompressorHandle;
use crate::engine::{
    EMPTY_STORED_BLOCK, Engine, EngineError, Position, SYNC_MARKER, output_bytes_max, write_stored,
};
use crate::format::Level;

const NAME: &str = "isa-l";

/// ISA-L's levels that are used here. Its level 0 is no denser than storing in a good many cases, its level 3 loses to
/// libdeflate 1.
const LEVELS: usize = 2;

/// Compressors of one worker.
pub struct IsalEngine {
    /// By ISA-L's level - 1.
    compressors: [Option<CompressorHandle>; LEVELS],
}

impl IsalEngine {
    /// An engine, if ISA-L is installed where this runs.
    #[must_use]
    pub fn new() -> Option<Self> {
        super::shim::available().then_some(Self {
            compressors: [None, None],
        })
    }

    /// Whether `level` is one of its own: 1 or 2.
    #[must_use]
    pub const fn serves(level: Level) -> bool {
        level.get() as usize <= LEVELS
    }
}

impl Engine for IsalEngine {
    fn name(&self) -> &'static str {
        NAME
    }

    fn compress_block(
        &mut self,
        input: &[u8],
        level: Level,
        position: Position,
        out: &mut Vec<u8>,
    ) -> Result<(), EngineError> {
        let refused = EngineError::LevelRefused {
            engine: NAME,
            level: i32::from(level.get()),
        };
        if input.is_empty() && position == Position::Middle {
            out.extend_from_slice(&EMPTY_STORED_BLOCK);
            return Ok(());
        }
        let slot = usize::from(level.get() - 1);
        let Some(slot) = self.compressors.get_mut(slot) else {
            return Err(refused);
        };
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(CompressorHandle::new(level.get()).ok_or(refused)?),
        };
        let start = out.len();
        let stored = output_bytes_max(input.len());
        let made = compressor.compress(input, stored, position == Position::Last, out);
        // As densely stored by ourselves, and where ISA-L does not fit its own stored form into the space.
        let expanded = made.is_none_or(|len| len >= stored);
        let unaligned = position == Position::Middle && !out.ends_with(&SYNC_MARKER);
        if expanded || unaligned {
            out.truncate(start);
            write_stored(input, position, out);
        }
        Ok(())
    }
}
