//! The host-device contract of a FaaM card, in one place for both sides.
//!
//! Owns every byte and bit that crosses between host and card: the register map,
//! submission and completion entries, doorbells and their shadow page, admin
//! commands and the structures they fill, the Huffman table block, slots and what is
//! loaded into them.
//! Invariant: nothing here allocates, blocks or touches a device; all of it is
//! values to bytes and back, and decoding foreign bytes never panics.
//! It deliberately does not know memory, transports, engines or time.
//!
//! Little-endian throughout. Rings are NVMe's where NVMe has the notion (NVM
//! Express Base Specification 2.0, sections 3.3 and 4).

#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod admin;
pub mod blocks;
pub mod command_id;
pub mod completion;
pub mod crc16;
pub mod doorbell;
pub mod error;
pub mod mmio;
pub mod pci;
pub mod queue;
pub mod regs;
pub mod slot;
pub mod submission;
pub mod table;

pub use blocks::{Block, BlockWalkError, Blocks};
pub use command_id::CommandId;
pub use completion::{CompletionEntry, Status, StatusClass};
pub use mmio::{BarOffset, Mmio};
pub use queue::{Iova, QueueEntries, QueueEpoch, QueueId};
pub use slot::{Serves, SlotPayload, SlotReason, SlotState};
pub use submission::{CardLevel, Flags, Opcode, SubmissionEntry, TableMode, WireFormat};

/// Largest source of one job, bytes, history not counted (the engines' counters are 21 bits wide).
pub const JOB_BYTES_MAX: u32 = 1 << 20;
/// Largest history of one job, bytes: the DEFLATE window (RFC 1951, section 2).
pub const HISTORY_BYTES_MAX: u32 = 1 << 15;
/// I/O queue pairs a function.
pub const IO_PAIRS_MAX: u16 = 16;
/// Queues a function: the admin queue and the I/O pairs.
pub const QUEUES_MAX: u16 = IO_PAIRS_MAX + 1;
/// Functions a card.
pub const FUNCTIONS: u8 = 2;
/// Jobs that a host queues an engine before it holds work back in its scheduler.
pub const JOBS_PER_ENGINE_MAX: u32 = 2;
