//! Memory that a card can reach: shared files, the data arena, buffers, rings, and when any of it is free again.
//!
//! Owns every pointer into such memory; the rest of the driver sees bounds-checked copies.
//! Invariant: no Rust reference to plain bytes in it ever exists, and a buffer that an
//! unfinished command names goes back to the pool only behind a [`FenceProof`].
//! It deliberately does not know commands, registers or transports.

mod arena;
mod buffer;
mod copy;
mod fence;
mod pages;
mod quarantine;
mod queue_memory;
mod shared_memory;
#[cfg(test)]
mod tests;

pub use arena::{ARENA_BYTES_DEFAULT, ARENA_IOVA, ARENAS_ABANDONED_MAX, Arena, ArenaError};
pub use buffer::{DmaBuffer, OutOfBounds};
pub use fence::{ChildFence, FenceProof, Incarnation, NoFence};
pub(crate) use fence::{CutOffEvidence, ResetEvidence};
pub use quarantine::Quarantine;
pub(crate) use queue_memory::{QueueMemory, QueueMemoryLayout};
pub use shared_memory::{PAGE_BYTES, PageSize, SharedMemory, SharedMemoryError};
