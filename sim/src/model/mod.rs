//! The functional model of one compression engine, exact to the bit.
//!
//! Owns: what `bitstreams/doc/algorithm.md` says, and nothing else. Each rule here has its section there, and where
//! the two disagree the prose is right and this is a bug.
//!
//! Invariant: a job's output, checksums and cycles depend on that job alone, never on what the engine ran before.
//!
//! It deliberately does not know queues, entries, addresses or time: bytes in, bytes out, cycles counted.

mod bits;
mod code;
mod cycles;
mod engine;
mod frame;
mod histogram;
mod matcher;
mod table;

pub use faam_hwif::table::{DISTANCE_SYMBOLS, LITLEN_SYMBOLS};

pub use cycles::{CYCLES_PER_JOB, CYCLES_PER_TABLE};
pub use engine::{Engine, Fault, HISTORY_BYTES_MAX, INPUT_BYTES_MAX, Job, Report, Tables};
pub use frame::Format;
pub use histogram::Histogram;
pub use matcher::{
    DISTANCE_MAX, HASH_BITS_MAX, HASH_BITS_MIN, LAZY_LENGTH_MAX, MATCH_LENGTH_MAX,
    MATCH_LENGTH_MIN, Params, WAYS_MAX,
};
pub use table::{Alphabet, BadTable, LoadedTable};

#[cfg(test)]
mod tests;
