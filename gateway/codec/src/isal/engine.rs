//! The ISA-L engine: blocks at levels 1 and 2.
//!
//! ISA-L writes blocks that others can follow by itself: a full flush ends them byte-aligned in a sync marker. Its level
//! buffers (0.27 and 0.32 MiB) and state (0.08 MiB) are made once a level.

use super::shim::{CompressStop, CompressorHandle};
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
        let made = match compressor.compress(input, stored, position == Position::Last, out) {
            Ok(made) => made,
            // Not even its own stored form, where that has more overhead than ours.
            Err(CompressStop::NoRoom) => stored,
            Err(CompressStop::Refused(why)) => {
                return Err(EngineError::Refused { engine: NAME, why });
            }
        };
        // What it stores by itself has no sync marker, and is no smaller than the data.
        let unaligned = position == Position::Middle && !out.ends_with(&SYNC_MARKER);
        if made >= stored || unaligned && made >= input.len() {
            out.truncate(start);
            write_stored(input, position, out);
        } else if unaligned {
            out.truncate(start);
            return Err(EngineError::Refused {
                engine: NAME,
                why: "a full flush that ends in no sync marker",
            });
        }
        Ok(())
    }
}

#[cfg(test)]
impl IsalEngine {
    /// An engine whose library refuses every block of level 1.
    pub(crate) fn refusing() -> Option<Self> {
        Some(Self {
            compressors: [Some(CompressorHandle::refusing()?), None],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_want_of_room_is_told_from_a_refusal() {
        let level = Level::new(1).expect("a level");
        let (Some(mut handle), Some(mut engine)) =
            (CompressorHandle::new(1), IsalEngine::refusing())
        else {
            eprintln!("skipped: no libisal.so.2");
            return;
        };
        let noise: Vec<u8> = (0u32..1_000)
            .flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes())
            .collect();
        let mut out = b"before".to_vec();
        assert_eq!(
            handle.compress(&noise, 100, true, &mut out),
            Err(CompressStop::NoRoom)
        );
        let refused = EngineError::Refused {
            engine: NAME,
            why: "ISAL_INVALID_LEVEL",
        };
        for position in [Position::Middle, Position::Last] {
            let result = engine.compress_block(&noise, level, position, &mut out);
            assert_eq!(result, Err(refused.clone()));
        }
        assert_eq!(out, b"before", "nothing is appended");
    }
}
