//! All DEFLATE engines of one worker, and which of them serves a level.
//!
//! | level | engine | without ISA-L |
//! |---|---|---|
//! | 1, 2 | ISA-L 1, 2 | libdeflate 1 |
//! | 3, 4, 5 | libdeflate 1, 3, 5 | the same |
//! | 6 to 12 | libdeflate, the same number | the same |
//!
//! Data that libdeflate would not shrink is stored without trying. Invariant: what is said of who made a
//! block is true.

use std::fmt;

use crate::draft::Draft;
use crate::engine::{Engine, EngineError, Position, write_stored};
use crate::format::Level;
use crate::incompressible::Incompressibility;
use crate::isal::IsalEngine;
use crate::libdeflate::{LibdeflateEngine, native_level};

/// The implementation that made a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Maker {
    /// ISA-L.
    IsaL,
    /// libdeflate; a block that others follow has its end rewritten by us.
    Libdeflate,
    /// No engine: stored blocks, written here.
    Stored,
}

impl Maker {
    /// The name in answers, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IsaL => "isa-l",
            Self::Libdeflate => "libdeflate",
            Self::Stored => "stored",
        }
    }
}

impl fmt::Display for Maker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// An implementation at one of its own levels, for people: "isa-l 1".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EngineLevel {
    /// Which one.
    pub engine: &'static str,
    /// Its own level, by its own numbering.
    pub native: i32,
}

impl fmt::Display for EngineLevel {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.engine, self.native)
    }
}

/// The engines of one worker.
pub struct CpuEngines {
    isal: Option<IsalEngine>,
    libdeflate: LibdeflateEngine,
    incompressible: Incompressibility,
    fault: Option<EngineError>,
}

impl Default for CpuEngines {
    fn default() -> Self {
        Self::new()
    }
}

impl CpuEngines {
    /// Every engine that is there. ISA-L is, if the build found its headers and the library is installed.
    #[must_use]
    pub fn new() -> Self {
        Self {
            isal: IsalEngine::new(),
            ..Self::without_isal()
        }
    }

    /// The engines without ISA-L, whether it is there or not.
    #[must_use]
    pub fn without_isal() -> Self {
        Self {
            isal: None,
            libdeflate: LibdeflateEngine::new(),
            incompressible: Incompressibility::new(),
            fault: None,
        }
    }

    /// Why the last block was not made by its level's own engine, if that refused it: to be reported. Told once.
    pub fn take_fault(&mut self) -> Option<EngineError> {
        self.fault.take()
    }

    /// Whether ISA-L serves levels 1 and 2.
    #[must_use]
    pub const fn has_isal(&self) -> bool {
        self.isal.is_some()
    }

    /// Who serves `level`, for data that can be compressed.
    #[must_use]
    pub const fn engine_of(&self, level: Level) -> EngineLevel {
        if self.isal.is_some() && IsalEngine::serves(level) {
            EngineLevel {
                engine: Maker::IsaL.name(),
                native: level.get() as i32,
            }
        } else {
            EngineLevel {
                engine: Maker::Libdeflate.name(),
                native: native_level(level),
            }
        }
    }

    /// Compresses `input` on its own (no history before it) and appends raw DEFLATE to `out`, at most
    /// [`output_bytes_max`](crate::output_bytes_max)`(input.len())` bytes; says who made it. On an error `out` is as it was.
    ///
    /// A block that ISA-L refuses is made by libdeflate, and [`take_fault`](Self::take_fault) tells of it.
    ///
    /// The block is in its place, and unverified, though for a middle block of libdeflate's that takes the same pass. Where
    /// it is to be verified, [`Self::draft_block`] and [`Verifier::finish`](crate::Verifier::finish) make do with one.
    ///
    /// # Errors
    /// [`EngineError`]: the last engine broke its own contract. The input is never at fault.
    pub fn compress_block(
        &mut self,
        input: &[u8],
        level: Level,
        position: Position,
        out: &mut Vec<u8>,
    ) -> Result<Maker, EngineError> {
        if let Some(maker) = self.without_libdeflate(input, level, position, out) {
            return Ok(maker);
        }
        self.libdeflate
            .compress_block(input, level, position, out)
            .map(|()| Maker::Libdeflate)
    }

    /// The same up to the point where the block has to be read again: a draft at the end of `out`.
    ///
    /// # Errors
    /// [`EngineError`]: an engine broke its own contract. The input is never at fault.
    pub fn draft_block(
        &mut self,
        input: &[u8],
        level: Level,
        position: Position,
        out: &mut Vec<u8>,
    ) -> Result<Draft, EngineError> {
        let start = out.len();
        match self.without_libdeflate(input, level, position, out) {
            Some(maker) => Ok(Draft::new(maker, start, position, position)),
            None => self.libdeflate.draft(input, level, position, out),
        }
    }

    /// The block by ISA-L or stored, if it is for one of them.
    fn without_libdeflate(
        &mut self,
        input: &[u8],
        level: Level,
        position: Position,
        out: &mut Vec<u8>,
    ) -> Option<Maker> {
        if IsalEngine::serves(level)
            && let Some(isal) = &mut self.isal
        {
            match isal.compress_block(input, level, position, out) {
                Ok(()) => return Some(Maker::IsaL),
                Err(fault) => self.fault = Some(fault),
            }
        }
        // Not before ISA-L: it gives such data up by itself, and as fast as the test.
        if self.incompressible.holds_for(input) {
            write_stored(input, position, out);
            return Some(Maker::Stored);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_served_as_the_table_says() {
        let served = |engines: &CpuEngines| {
            Level::all()
                .map(|level| engines.engine_of(level).to_string())
                .collect::<Vec<_>>()
        };
        let without = served(&CpuEngines::without_isal());
        let libdeflate = [1, 1, 1, 3, 5, 6, 7, 8, 9, 10, 11, 12];
        assert_eq!(
            without,
            libdeflate.map(|native| format!("libdeflate {native}"))
        );
        let engines = CpuEngines::new();
        let with = served(&engines);
        assert_eq!(with[2..], without[2..]);
        if engines.has_isal() {
            assert_eq!(with[..2], ["isa-l 1", "isa-l 2"]);
        } else {
            assert_eq!(with[..2], without[..2]);
        }
    }

    #[cfg(isal)]
    #[test]
    fn a_block_that_isal_refuses_is_made_by_the_next_engine_and_told() {
        let Some(refusing) = IsalEngine::refusing() else {
            eprintln!("skipped: no libisal.so.2");
            return;
        };
        let mut engines = CpuEngines {
            isal: Some(refusing),
            ..CpuEngines::without_isal()
        };
        let text = b"the quick brown fox jumps over the lazy dog; ".repeat(100);
        let mut out = Vec::new();
        let level = Level::new(1).expect("a level");
        let maker = engines
            .compress_block(&text, level, Position::Last, &mut out)
            .expect("libdeflate serves it");
        assert_eq!(maker, Maker::Libdeflate);
        assert!(out.len() < text.len() / 10, "compressed, not stored");
        let fault = engines.take_fault().expect("the refusal is told");
        assert!(fault.to_string().contains("isa-l"), "{fault}");
        assert_eq!(engines.take_fault(), None, "once");
    }
}
