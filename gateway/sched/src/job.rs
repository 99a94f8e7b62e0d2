//! A job as the scheduler sees it: its shape, where and how urgently it is wanted, and the receipt of whoever took it.
//!
//! Invariant: a receipt is given back once, by value. It does not know what a job is.

use crate::Nanos;
use crate::predictor::KernelClass;
use crate::target::{Placement, TargetIndex};
use crate::tenant::TenantIndex;

/// What decides how long a job takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobShape {
    /// Kind of work.
    pub kernel: KernelClass,
    /// Bytes of input.
    pub bytes: usize,
}

/// How urgent a job is among those of its own tenant: 0 is the most urgent, as in RFC 9218, 4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Priority(u8);

impl Priority {
    /// The least urgent.
    pub const LAST: Self = Self(7);

    /// From its number, 0 to 7.
    #[must_use]
    pub const fn new(number: u8) -> Option<Self> {
        if number <= Self::LAST.0 {
            Some(Self(number))
        } else {
            None
        }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    /// 3, as in RFC 9218.
    fn default() -> Self {
        Self(3)
    }
}

/// What is asked of the scheduler for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobRequest {
    /// What decides how long it takes.
    pub shape: JobShape,
    /// Where it may run.
    pub placement: Placement,
    /// Its place among its tenant's others.
    pub priority: Priority,
}

/// One queued job. Good until the job has ended, also where it is taken and comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct JobId {
    pub(crate) slot: u32,
    pub(crate) sequence: u64,
}

/// The tenant's queue is at its bound; the job comes back.
#[derive(Debug, thiserror::Error)]
#[error("the tenant's queue holds {queued} jobs, its most; wait for one to be taken")]
pub struct QueueFull<J> {
    /// The job that did not fit.
    pub job: J,
    /// Jobs in the queue.
    pub queued: usize,
}

/// What was measured of a job that ran to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// From when its target had it until it ended. Teaches where jobs end soonest.
    pub took: Nanos,
    /// What the target's engine counted for it alone, where it counts: cycles of a card, as time of its clock.
    pub engine: Option<Nanos>,
    /// Its cost in reference time, where that is known better than from `took` and how target and reference engine compare.
    pub reference: Option<Nanos>,
    /// What verification took on the reference engine. It is part of the cost already (the reference engine verifies what it
    /// makes), and is only subtracted from what the target adds to the capacity.
    pub verified: Nanos,
}

/// What a job was charged when it was first taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Charge {
    /// Reference time.
    pub(crate) cost: Nanos,
    /// Whether it was made against the guaranteed rate as well.
    pub(crate) reserved: bool,
    /// What of it the share tag was spared, because what its guarantee gave had put the tenant as far ahead as may be.
    pub(crate) spared: Nanos,
}

/// What a target holds while it runs a job; goes back with [`crate::Scheduler::finish`], [`crate::Scheduler::abandon`],
/// [`crate::Scheduler::refund`] or [`crate::Scheduler::requeue`].
#[derive(Debug)]
#[must_use = "a receipt that is dropped leaves its target charged for ever"]
pub struct Receipt {
    pub(crate) tenant: TenantIndex,
    pub(crate) target: TargetIndex,
    pub(crate) request: JobRequest,
    pub(crate) predicted: Nanos,
    pub(crate) charge: Charge,
    pub(crate) queued_at: Nanos,
    /// `None` for a job that never stood in the queue.
    pub(crate) id: Option<JobId>,
}

impl Receipt {
    /// The job's tenant.
    #[must_use]
    pub const fn tenant(&self) -> TenantIndex {
        self.tenant
    }

    /// Where the job was allowed to run.
    #[must_use]
    pub const fn placement(&self) -> Placement {
        self.request.placement
    }

    /// How long the job is predicted to take there.
    #[must_use]
    pub const fn predicted(&self) -> Nanos {
        self.predicted
    }

    /// What it was charged, reference time, until something better is known.
    #[must_use]
    pub const fn charged(&self) -> Nanos {
        self.charge.cost
    }

    /// Whether its tenant's guaranteed rate had it taken.
    #[must_use]
    pub const fn reserved(&self) -> bool {
        self.charge.reserved
    }

    /// Who took it.
    #[must_use]
    pub const fn target(&self) -> TargetIndex {
        self.target
    }
}

/// A job that a target took.
#[derive(Debug)]
pub struct Taken<J> {
    /// The job.
    pub job: J,
    /// To be given back when it ends.
    pub receipt: Receipt,
    /// How long it stood in the queue.
    pub waited: Nanos,
    /// Whether a target it would sooner have run on let it stand for `defer_max`.
    pub deferred: bool,
}
