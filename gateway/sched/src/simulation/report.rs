//! What came of a run, in figures.
//!
//! Owns the sums, by class, tenant, engine and time of the run, and how the figures of several machines become those of a
//! fleet. Invariant: nothing here is rounded; whoever shows a figure rounds it. It does not know how it came about.

use crate::Nanos;

use super::admission::Refusal;
use super::engines::CoreTime;
use super::histogram::Histogram;

/// Parts into which the run's time is cut for what changes over it.
pub const SLOTS: usize = 96;

/// A run's figures.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Of the scenario.
    pub seed: u64,
    /// Machines of which these are the sums.
    pub machines: u64,
    /// Events that were handled.
    pub events: u64,
    /// What was decided, all of it, in a number: the same seed gives the same.
    pub trace_hash: u64,
    /// Checks of invariants that were made, and held.
    pub checks: u64,
    /// Time in which requests began.
    pub duration: Nanos,
    /// Of that, time whose requests are counted below.
    pub counted: Nanos,
    /// By class, in the scenario's order.
    pub classes: Vec<ClassFigures>,
    /// By tenant, class after class.
    pub tenants: Vec<TenantFigures>,
    /// Cores, and what they did, warm-up included, until the last request began.
    pub cores: u64,
    /// See [`Report::cores`].
    pub core_time: CoreTime,
    /// By function of a card.
    pub functions: Vec<FunctionFigures>,
    /// Most bytes of bodies in memory at once, of any one machine.
    pub memory_bytes_peak: u64,
    /// Most blocks in the queues at once, of any one machine.
    pub queued_peak: usize,
    /// Most requests in flight at once, of any one machine.
    pub in_flight_peak: usize,
    /// Least factor by which guarantees were scaled, in thousandths.
    pub cir_factor_per_mille_min: u64,
    /// Over the run's time, in [`SLOTS`] parts.
    pub slots: Vec<Slot>,
}

/// A class's figures: of requests that began after the warm-up.
#[derive(Clone, Debug, Default)]
pub struct ClassFigures {
    /// Its name.
    pub name: String,
    /// Its tenants.
    pub tenants: u64,
    /// Requests that callers began.
    pub offered: u64,
    /// Refused before they began, in the order of [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// By how they ended, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; Outcome::ALL.len()],
    /// Bytes of bodies of those that were delivered.
    pub bytes: u64,
    /// Reference time of jobs that were begun, warm-up and end included.
    pub served: Nanos,
    /// From a request's beginning to its answer.
    pub latency: Histogram,
    /// A block's time in the queue.
    pub waited: Histogram,
    /// Blocks that an engine failed and another did.
    pub replayed: u64,
}

impl ClassFigures {
    /// Requests that were delivered.
    #[must_use]
    pub const fn delivered(&self) -> u64 {
        self.outcomes[Outcome::Delivered as usize]
    }

    /// Requests that were refused, for any reason.
    #[must_use]
    pub fn refused_in_all(&self) -> u64 {
        self.refused.iter().sum()
    }
}

/// How an admitted request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With an answer.
    Delivered,
    /// Too late.
    Deadline,
    /// Its caller went.
    HungUp,
    /// There was no room in its tenant's queue for as long as it waited.
    NoRoom,
    /// It required a card, and none was in service for as long as it waited.
    NoCard,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Delivered,
        Self::Deadline,
        Self::HungUp,
        Self::NoRoom,
        Self::NoCard,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Deadline => "deadline",
            Self::HungUp => "hung-up",
            Self::NoRoom => "no-room",
            Self::NoCard => "no-card",
        }
    }
}

/// A tenant's figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct TenantFigures {
    /// Which of the classes.
    pub class: usize,
    /// Its weight.
    pub weight: u32,
    /// Reference time of its jobs.
    pub served: Nanos,
    /// Windows in which it always had a job queued.
    pub windows: u64,
    /// Their length together.
    pub backlogged: Nanos,
    /// What it had in them.
    pub served_backlogged: Nanos,
    /// The least that it had of its guarantee in any of them, in thousandths.
    pub cir_per_mille_min: Option<u64>,
    /// The most that it had of its peak rate in any window, bursts included, in thousandths.
    pub pir_per_mille_max: Option<u64>,
}

/// A function's figures.
#[derive(Clone, Copy, Debug, Default)]
pub struct FunctionFigures {
    /// Its card.
    pub card: usize,
    /// Its engines.
    pub engines: u64,
    /// Time that they worked, added up, warm-up included, until the last request began.
    pub busy: Nanos,
    /// Jobs that they began.
    pub jobs: u64,
}

/// A part of the run's time.
#[derive(Clone, Debug, Default)]
pub struct Slot {
    /// Requests that began in it.
    pub offered: u64,
    /// Of those, refused.
    pub refused: u64,
    /// Latency of requests whose answer came in it.
    pub latency: Histogram,
    /// Time of cores that was given out in it.
    pub core_busy: Nanos,
    /// Time of cards' engines that was given out in it.
    pub engine_busy: Nanos,
}

impl Report {
    /// Adds another machine's figures, of the same classes.
    pub fn merge(&mut self, other: &Self) {
        self.machines += other.machines;
        self.events += other.events;
        self.trace_hash = super::random::mix(self.trace_hash ^ other.trace_hash);
        self.checks += other.checks;
        for (class, more) in self.classes.iter_mut().zip(&other.classes) {
            class.merge(more);
        }
        self.tenants.extend_from_slice(&other.tenants);
        self.cores += other.cores;
        for (time, more) in [
            (&mut self.core_time.http, other.core_time.http),
            (&mut self.core_time.verify, other.core_time.verify),
            (&mut self.core_time.jobs, other.core_time.jobs),
        ] {
            time.0 += more.0;
        }
        self.functions.extend_from_slice(&other.functions);
        self.memory_bytes_peak = self.memory_bytes_peak.max(other.memory_bytes_peak);
        self.queued_peak = self.queued_peak.max(other.queued_peak);
        self.in_flight_peak = self.in_flight_peak.max(other.in_flight_peak);
        self.cir_factor_per_mille_min = self
            .cir_factor_per_mille_min
            .min(other.cir_factor_per_mille_min);
        for (slot, more) in self.slots.iter_mut().zip(&other.slots) {
            slot.offered += more.offered;
            slot.refused += more.refused;
            slot.latency.merge(&more.latency);
            slot.core_busy.0 += more.core_busy.0;
            slot.engine_busy.0 += more.engine_busy.0;
        }
    }

    /// Part of the cores' time that was spent, from 0.
    #[must_use]
    pub fn core_utilisation(&self) -> f64 {
        let time = self.core_time;
        let busy = time.http.0 + time.verify.0 + time.jobs.0;
        ratio(busy as f64, self.duration.0 as f64 * self.cores as f64)
    }

    /// Part of the cards' engines' time that was spent, from 0; `None` without cards.
    #[must_use]
    pub fn engine_utilisation(&self) -> Option<f64> {
        let engines: u64 = self.functions.iter().map(|function| function.engines).sum();
        let busy: u64 = self.functions.iter().map(|function| function.busy.0).sum();
        (engines > 0).then(|| ratio(busy as f64, self.duration.0 as f64 * engines as f64))
    }

    /// Jain's index of what tenants had over their weights while they asked, over tenants that asked for at least `per_mille`
    /// of the time: 1 where all are served alike. `None` of no such tenant.
    #[must_use]
    pub fn jain(&self, per_mille: u64) -> Option<f64> {
        let asked = |tenant: &&TenantFigures| {
            u128::from(tenant.backlogged.0) * 1000
                >= u128::from(self.duration.0) * u128::from(per_mille)
        };
        let (mut n, mut sum, mut squares) = (0.0, 0.0, 0.0);
        for tenant in self.tenants.iter().filter(asked) {
            let of_weight = ratio(tenant.served_backlogged.0 as f64, f64::from(tenant.weight));
            n += 1.0;
            sum += of_weight;
            squares += of_weight * of_weight;
        }
        (n > 0.0 && squares > 0.0).then(|| sum * sum / (n * squares))
    }
}

impl ClassFigures {
    fn merge(&mut self, other: &Self) {
        self.tenants += other.tenants;
        self.offered += other.offered;
        for (count, more) in self.refused.iter_mut().zip(other.refused) {
            *count += more;
        }
        for (count, more) in self.outcomes.iter_mut().zip(other.outcomes) {
            *count += more;
        }
        self.bytes += other.bytes;
        self.served.0 += other.served.0;
        self.latency.merge(&other.latency);
        self.waited.merge(&other.waited);
        self.replayed += other.replayed;
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
