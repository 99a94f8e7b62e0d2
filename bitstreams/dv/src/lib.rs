//! Verification of the gateware: the RTL of `bitstreams/rtl`, Verilated, as values that run whole jobs.
//!
//! Owns the benches around the Verilated tops and the rules of their seams. Its tests compare what comes out with the functional
//! model, job by job; `bitstreams/dv/README.md` is the plan: each property, where it is held, and how it can fail.
//!
//! Invariant: a call ends, whatever the RTL does: within a bound of cycles, with the rule that was broken, its cycle, and never
//! a byte outside the caller's buffers.
//!
//! It deliberately does not know what a right answer is: that is the tests' affair, so that the model and the RTL meet in no code.
//!
//! Everything but the plain types needs the feature `verilator`, the farm the feature `farm`, which `verilator` brings.

#[cfg(any(rtl_engine, rtl_farm, rtl_match))]
mod bench;
mod outcome;
mod stalls;

#[cfg(rtl_engine)]
mod engine;
#[cfg(rtl_farm)]
pub mod farm;
#[cfg(rtl_match)]
mod matcher;
#[cfg(any(rtl_engine, rtl_farm, rtl_match))]
mod models;

#[cfg(rtl_engine)]
pub use engine::{Engine, Job, JobKind, Outcome};
#[cfg(rtl_match)]
pub use matcher::{Matcher, Parsed, Stream, Token, TokenKind};
#[cfg(any(rtl_engine, rtl_match))]
pub use models::Configuration;
pub use outcome::{Ended, Report, RunError, Signals, Violation};
pub use stalls::{Stall, Stalls};
