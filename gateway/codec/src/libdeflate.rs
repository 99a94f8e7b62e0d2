//! The libdeflate engine: whole blocks on the CPU, at every level.
//!
//! libdeflate compresses one buffer to one final stream. A block that others follow is made from
//! that by the [`Walker`]. Where libdeflate would expand the data, the block is stored instead.
//!
//! Memory: a compressor takes 0.2 MiB at libdeflate's level 1, 0.65 MiB at 2 to 9, 8.6 MiB at 10 to 12. Those
//! of levels 1 to 9 are kept once made, of the large ones only the last used: 13 MiB a worker at the most.
//! With them in place and `out` large enough a block allocates nothing, unless it needs more scratch
//! than [`SCRATCH_KEPT_BYTES_MAX`].

use libdeflater::{CompressionLvl, Compressor};

use crate::engine::{
    EMPTY_STORED_BLOCK, Engine, EngineError, Position, SCRATCH_KEPT_BYTES_MAX, stored_bytes,
    write_stored,
};
use crate::format::Level;
use crate::walker::{MIDDLE_GROWTH_BYTES_MAX, Walker};

/// Space beyond the stored form: libdeflate may refuse an output that fits without room to spare.
const OUTPUT_SLACK_BYTES: usize = 64;

/// libdeflate's highest level whose compressor is small enough to be kept for good.
const KEPT_LEVEL_MAX: i32 = 9;

const NAME: &str = "libdeflate";

/// libdeflate's level for each of ours. Levels 1 and 2 are ISA-L's place; without it libdeflate 1.
#[must_use]
pub const fn native_level(level: Level) -> i32 {
    match level.get() {
        1..=3 => 1,
        4 => 3,
        // 5..=12: the same number.
        same => same as i32,
    }
}

/// Compressors and scratch of one worker.
pub struct LibdeflateEngine {
    /// By libdeflate's level - 1.
    kept: [Option<Compressor>; KEPT_LEVEL_MAX as usize],
    /// The one large compressor, levels 10 to 12.
    large: Option<(i32, Compressor)>,
    walker: Walker,
    /// Initialised once and only grown, so that a block costs no zeroing.
    scratch: Vec<u8>,
    /// The stream being made into a middle block.
    stream: Vec<u8>,
}

impl Default for LibdeflateEngine {
    fn default() -> Self {
        Self::new()
    }
}

impl LibdeflateEngine {
    /// An engine without compressors; each is made at its level's first block.
    #[must_use]
    pub fn new() -> Self {
        Self {
            kept: [const { None }; KEPT_LEVEL_MAX as usize],
            large: None,
            walker: Walker::new(),
            scratch: Vec::new(),
            stream: Vec::new(),
        }
    }

    fn compressor(&mut self, native: i32) -> Result<&mut Compressor, EngineError> {
        let refused = EngineError::LevelRefused {
            engine: NAME,
            level: native,
        };
        let make = || {
            CompressionLvl::new(native)
                .map(Compressor::new)
                .map_err(|_| refused.clone())
        };
        let slot = usize::try_from(native - 1)
            .ok()
            .and_then(|index| self.kept.get_mut(index));
        match slot {
            Some(Some(compressor)) => Ok(compressor),
            Some(empty) => Ok(empty.insert(make()?)),
            None => {
                if self
                    .large
                    .as_ref()
                    .is_none_or(|(level, _)| *level != native)
                {
                    // The old one goes first: never two large ones at a time.
                    self.large = None;
                    self.large = Some((native, make()?));
                }
                self.large
                    .as_mut()
                    .map(|(_, compressor)| compressor)
                    .ok_or(refused)
            }
        }
    }
}

impl Engine for LibdeflateEngine {
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
        if input.is_empty() && position == Position::Middle {
            out.extend_from_slice(&EMPTY_STORED_BLOCK);
            return Ok(());
        }
        let stored = stored_bytes(input.len());
        let capacity = stored.saturating_add(OUTPUT_SLACK_BYTES);
        let mut scratch = std::mem::take(&mut self.scratch);
        if scratch.len() < capacity {
            scratch.resize(capacity, 0);
        }
        let result = self.compressor(native_level(level)).map(|compressor| {
            let space = scratch.get_mut(..capacity).unwrap_or_default();
            // The only failure is a want of space: then the stored form is the shorter one.
            compressor
                .deflate_compress(input, space)
                .ok()
                .filter(|&len| len < stored)
                .and_then(|len| scratch.get(..len))
        });
        let result = match result {
            Err(error) => Err(error),
            Ok(None) => {
                write_stored(input, position, out);
                Ok(())
            }
            Ok(Some(compressed)) if position == Position::Last => {
                out.extend_from_slice(compressed);
                Ok(())
            }
            Ok(Some(compressed)) => {
                self.stream.clear();
                self.stream
                    .reserve(compressed.len() + MIDDLE_GROWTH_BYTES_MAX);
                self.stream.extend_from_slice(compressed);
                match self.walker.make_middle(&mut self.stream) {
                    Ok(_) => {
                        out.extend_from_slice(&self.stream);
                        Ok(())
                    }
                    Err(source) => Err(EngineError::NotJoinable {
                        engine: NAME,
                        source,
                    }),
                }
            }
        };
        if capacity > SCRATCH_KEPT_BYTES_MAX {
            self.stream = Vec::new();
        } else {
            self.scratch = scratch;
        }
        result
    }
}
