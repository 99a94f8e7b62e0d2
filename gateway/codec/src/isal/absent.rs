//! What stands for ISA-L where the build found none: types without values, so that nobody else has to ask.

use std::convert::Infallible;

use crate::engine::{Engine, EngineError, Position};
use crate::format::Level;

/// The ISA-L engine, which this build does not have.
pub struct IsalEngine(Infallible);

impl IsalEngine {
    /// Never one.
    #[must_use]
    pub const fn new() -> Option<Self> {
        None
    }

    /// Whether `level` would be one of its own.
    #[must_use]
    pub const fn serves(_: Level) -> bool {
        false
    }
}

impl Engine for IsalEngine {
    fn name(&self) -> &'static str {
        match self.0 {}
    }

    fn compress_block(
        &mut self,
        _: &[u8],
        _: Level,
        _: Position,
        _: &mut Vec<u8>,
    ) -> Result<(), EngineError> {
        match self.0 {}
    }
}

/// Its decoder, which this build does not have.
pub struct IsalDecoder(Infallible);

/// As `decoder::IsalDecoding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsalDecoding {
    /// Bytes of the stream up to the end of its last block.
    pub consumed: usize,
    /// Bytes written to the output.
    pub produced: usize,
}

impl IsalDecoder {
    /// Never one.
    #[must_use]
    pub const fn new() -> Option<Self> {
        None
    }

    /// Never called.
    pub fn decode(&mut self, _: &[u8], _: &mut [u8]) -> Option<IsalDecoding> {
        match self.0 {}
    }
}
