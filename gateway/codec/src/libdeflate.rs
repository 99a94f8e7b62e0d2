//! The libdeflate engine: whole blocks on the CPU, at every level.
//!
//! libdeflate compresses one buffer to one final stream: of a block that others follow, that is a [`Draft`]. Where libdeflate
//! would expand the data, the block is stored instead.
//!
//! Memory: a compressor takes 0.2 MiB at libdeflate's level 1, 0.65 MiB at 2 to 9, 8.6 MiB at 10 to 12. Those
//! of levels 1 to 9 are kept once made, of the large ones only the last used: 13 MiB a worker at the most.
//! With them in place and `out` large enough a block allocates nothing, unless it needs more scratch
//! than [`SCRATCH_KEPT_BYTES_MAX`].

use libdeflater::{CompressionLvl, Compressor};

use crate::comparator::Comparator;
use crate::cpu_engines::Maker;
use crate::draft::Draft;
use crate::engine::{
    EMPTY_STORED_BLOCK, Engine, EngineError, Position, SCRATCH_KEPT_BYTES_MAX, stored_bytes,
    write_stored,
};
use crate::format::Level;

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
    comparator: Comparator,
    /// Initialised once and only grown, so that a block costs no zeroing.
    scratch: Vec<u8>,
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
            comparator: Comparator::new(),
            scratch: Vec::new(),
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

    /// Compresses `input` on its own (no history before it) and appends it to `out`, as a draft of at most
    /// [`output_bytes_max`](crate::output_bytes_max)`(input.len())` bytes. On an error `out` is as it was.
    ///
    /// # Errors
    /// [`EngineError`]: libdeflate broke its own contract. The input is never at fault.
    pub(crate) fn draft(
        &mut self,
        input: &[u8],
        level: Level,
        position: Position,
        out: &mut Vec<u8>,
    ) -> Result<Draft, EngineError> {
        let start = out.len();
        let draft = |stands_as| Draft::new(Maker::Libdeflate, start, stands_as, position);
        if input.is_empty() && position == Position::Middle {
            out.extend_from_slice(&EMPTY_STORED_BLOCK);
            return Ok(draft(position));
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
        let result = result.map(|compressed| match compressed {
            None => {
                write_stored(input, position, out);
                draft(position)
            }
            Some(compressed) => {
                out.extend_from_slice(compressed);
                draft(Position::Last)
            }
        });
        if capacity <= SCRATCH_KEPT_BYTES_MAX {
            self.scratch = scratch;
        }
        result
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
        let draft = self.draft(input, level, position, out)?;
        if draft.stands_as() == position {
            return Ok(());
        }
        let made = out.get(draft.start()..).unwrap_or_default();
        match self.comparator.compare(made, draft.stands_as(), input) {
            Ok(structure) => {
                draft.place(structure, out);
                Ok(())
            }
            Err(source) => {
                out.truncate(draft.start());
                Err(EngineError::Wrong {
                    engine: NAME,
                    source,
                })
            }
        }
    }
}
