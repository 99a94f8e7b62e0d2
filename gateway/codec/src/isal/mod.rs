//! Intel's ISA-L, the fastest DEFLATE there is for levels 1 and 2: its engine, and its decoder to test and
//! measure against.
//!
//! Owns the calls into the C shim (`shim.c`) and the handles that it gives out. Invariant: a handle is made only
//! where the library could be loaded, belongs to one value, and is freed once, with it. Compiled only where the build found
//! ISA-L's headers (`cfg(isal)`, set by build.rs); whether the library is there shows when it runs.
//!
//! Nothing that is served is decoded here.

mod decoder;
mod engine;
mod shim;

pub use decoder::{IsalDecoder, IsalDecoding};
pub use engine::IsalEngine;
