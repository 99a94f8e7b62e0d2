//! Which job runs next, and where: pure decisions, no I/O, no clock of its own.
//!
//! [`Scheduler`] owns the bounded queue of each tenant and the state of each
//! target (the CPU pool, a function of a card). A target with credit asks
//! [`Scheduler::next`]; fairness is decided there, at the last moment, and
//! placement happens only there. FAIRNESS.md beside this crate says what is promised,
//! and what was measured.
//!
//! Invariants: the same calls with the same times give the same answers; a job
//! that was pushed is taken, drained or removed exactly once; no queue outgrows
//! its bound.
//!
//! It deliberately does not know HTTP, devices, threads, clocks or stores.

#![forbid(unsafe_code)]

mod classes;
mod job;
mod predictor;
mod queue;
mod scheduler;
pub mod simulation;
pub mod slots;
mod tags;
mod target;
mod tenant;
mod token_bucket;
mod waiting;

pub use job::{JobId, JobRequest, JobShape, Measured, Priority, QueueFull, Receipt, Taken};
pub use predictor::{KernelClass, MovingAverage, Predictor};
pub use scheduler::{Announced, Config, Forecast, Scheduler};
pub use target::{Abilities, Placement, TARGETS_MAX, TargetIndex, TargetSet};
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

    /// The same later, or longer.
    #[must_use]
    pub const fn plus(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// As a float: exact below four seconds, above to 66 microseconds.
    pub(crate) fn as_f64(self) -> f64 {
        u32::try_from(self.0).map_or_else(
            |_| u32::try_from(self.0 >> 16).map_or(f64::from(u32::MAX), f64::from) * 65_536.0,
            f64::from,
        )
    }
}
