//! The Verilated engine against the functional model: thousands of random jobs, in every run.
//!
//! Environment:
//! - `FAAM_TEST_SEED`: of the run, which is printed;
//! - `FAAM_DV_JOBS`: random jobs of each configuration (1000);
//! - `FAAM_DV_CASE`: a file of jobs that failed, to be run again by `kept`;
//! - `FAAM_DV_TRACE`: a directory for the waveforms of `kept` (feature `trace`).
//!
//! A failure is made small, kept in a file, and printed with the command that runs it again. What once failed is in
//! `bitstreams/dv/cases`, and is run in every run.

#![cfg(rtl_engine)]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "constants and lengths of this test, all of them small"
)]

mod case;
mod check;
mod cycles;
mod harness;
#[path = "../jobs/mod.rs"]
mod jobs;
mod kept;
mod random_jobs;
mod shrink;
mod state;
mod tables;
