//! Which job runs next, and where: pure decisions, no I/O, no clock of its own.
//!
//! [`Scheduler`] owns the bounded queue of each tenant and the state of each
//! target (the CPU pool, a function of a card). A target with credit asks
//! [`Scheduler::next`]; fairness is decided there, at the last moment, and
//! placement happens only there.
//!
//! Invariants: the same calls with the same times give the same answers; a job
//! that was pushed is taken, drained or removed exactly once; no queue outgrows
//! its bound.
//!
//! It deliberately does not know HTTP, devices, threads, clocks or stores.

#![forbid(unsafe_code)]

mod predictor;
mod scheduler;
pub mod simulation;
mod target;
mod tenant;
mod token_bucket;

pub use predictor::{KernelClass, Predictor};
pub use scheduler::{Config, JobShape, QueueFull, Receipt, Scheduler, Taken};
pub use target::{Placement, TARGETS_MAX, TargetIndex, TargetSet};
pub use tenant::{Capacity, TenantConfig, TenantIndex, WEIGHT_DEFAULT};
pub use token_bucket::{Availability, TokenBucket, TokenRate};

/// A moment or a span, nanoseconds, on whatever clock the caller keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

impl Nanos {
    /// The span from `earlier` to here; zero if that lies ahead.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}
