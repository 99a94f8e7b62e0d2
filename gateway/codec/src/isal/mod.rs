//! Intel's ISA-L, the fastest DEFLATE there is for levels 1 and 2: its engine, and its decoder for the verifier.
//!
//! Owns the calls into the C shim (`shim.c`) and the handles that it gives out. Invariant: a handle is made only
//! where the library could be loaded, belongs to one value, and is freed once, with it. Compiled only where the build found
//! ISA-L's headers (`cfg(isal)`, set by build.rs); whether the library is there shows when it runs.
//!
//! Bytes that callers sent are never decoded here: it verifies what libdeflate made of our input.

mod decoder;
mod engine;
mod shim;

pub(crate) use decoder::{IsalDecoder, Stop};
pub use engine::IsalEngine;
