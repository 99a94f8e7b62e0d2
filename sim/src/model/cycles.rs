//! The cycle count of a job: algorithm.md, "Cycles".
//!
//! Invariant: a function of the job alone. Clearing the hash table on an epoch's wrap, waiting for memory and back
//! pressure are not in it.

/// Cycles that every job costs: fetching it, filling and draining the pipeline, header, trailer, report.
pub const CYCLES_PER_JOB: u64 = 64;

/// Cycles to load the code lengths of a table, or to drain a histogram: one a symbol slot (288 + 32).
pub const CYCLES_PER_TABLE: u64 = 320;

/// Cycles of a compress job. `header_bits` is the loaded table's packed header, `None` for the fixed code.
pub(super) fn compress(
    history_len: usize,
    src_len: usize,
    header_bits: Option<usize>,
    stored: bool,
) -> u64 {
    let table = header_bits.map_or(0, |bits| CYCLES_PER_TABLE + bits.div_ceil(8) as u64);
    let reread = if stored { src_len as u64 } else { 0 };
    CYCLES_PER_JOB + table + history_len as u64 + src_len as u64 + reread
}

/// Cycles of a count job.
pub(super) fn count(history_len: usize, src_len: usize) -> u64 {
    CYCLES_PER_JOB + CYCLES_PER_TABLE + history_len as u64 + src_len as u64
}
