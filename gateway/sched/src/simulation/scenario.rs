//! What is simulated: a machine, its cards, its tenants, what they send, and what breaks.
//!
//! Owns the words and their bounds ([`Scenario::check`]). It does not know files, nor what comes of it.

use std::sync::Arc;

use crate::{Nanos, Priority, TARGETS_MAX};

use super::arrivals::{Arrivals, Sizes};

/// Most tenants of one run.
pub const TENANTS_MAX: u32 = 1_000_000;
/// Most cores of a machine.
pub const CORES_MAX: u32 = 4096;
/// Most engines of a card's function.
pub const ENGINES_MAX: u32 = 256;
/// Longest time simulated: ten years, so that nanoseconds stay far from what a `u64` holds.
pub const DURATION_MAX: Nanos = Nanos(10 * 366 * 24 * 3600 * 1_000_000_000);
/// Most bytes of one body.
pub const BODY_BYTES_MAX: u64 = 1 << 40;
/// Input bytes of one block, as the gateway cuts bodies.
pub const BLOCK_BYTES: u64 = 128 << 10;

/// Everything that decides a run. The same scenario gives the same run, event by event.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Decides what is drawn.
    pub seed: u64,
    /// For how long callers begin requests; what was admitted by then is served to its end.
    pub duration: Nanos,
    /// Requests that begin earlier are served and judged, but not counted in the figures.
    pub warm_up: Nanos,
    /// Time between two looks at guarantees and shares.
    pub window: Nanos,
    /// Who serves.
    pub machine: Machine,
    /// What can be asked for.
    pub kernels: Vec<Kernel>,
    /// Who asks.
    pub classes: Vec<TenantClass>,
    /// What breaks, and when.
    pub faults: Vec<Fault>,
}

/// A time that has a fixed part and a part for each byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Nanoseconds, whatever the size.
    pub fixed_ns: u64,
    /// Picoseconds a byte.
    pub ps_per_byte: u64,
}

impl Cost {
    /// Of so many bytes.
    #[must_use]
    pub fn of(self, bytes: u64) -> Nanos {
        let per_byte = u128::from(self.ps_per_byte) * u128::from(bytes) / 1000;
        Nanos(u64::try_from(per_byte).map_or(u64::MAX, |ns| ns.saturating_add(self.fixed_ns)))
    }
}

/// One machine: cores that do what the gateway's threads do, and cards.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Cores. They do the HTTP side's work first, then verification, then jobs.
    pub cores: u32,
    /// The HTTP side's work on a block: the fixed part for each request, the other for each byte.
    pub http: Cost,
    /// What it takes to hand a job to a core's worker that was busy.
    pub hand_off_busy: Nanos,
    /// The same to one that slept.
    pub hand_off_idle: Nanos,
    /// Its cards.
    pub cards: Vec<Card>,
    /// Whether everything that a card made is verified on a core.
    pub verify: bool,
    /// Blocks that a tenant may have queued, where its class says nothing else.
    pub queue_blocks_max: usize,
    /// Bytes of bodies in memory.
    pub memory_bytes_max: u64,
    /// How long a block waits for room in its tenant's queue.
    pub queue_wait: Nanos,
}

/// One card.
#[derive(Clone, Copy, Debug)]
pub struct Card {
    /// Functions, each a target of the scheduler's.
    pub functions: u32,
    /// Engines of a function.
    pub engines: u32,
    /// Jobs that a function holds at once; `None`: two an engine.
    pub depth: Option<u32>,
    /// Clock of the engines.
    pub clock_khz: u64,
    /// From the doorbell to the engine and from its end to the host, together, with the bytes' way over the bus.
    pub transfer: Cost,
    /// Cycles to clear an engine that goes from one tenant to another.
    pub scrub_cycles: u64,
}

/// One kind of work.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its name.
    pub name: String,
    /// Time of a block on a core. This is the reference time too: what a block costs wherever it runs.
    pub cpu: Cost,
    /// Time on a core to verify what a card made of a block of so many bytes.
    pub verify: Cost,
    /// How times scatter about that, log-normally: the logarithm's deviation.
    pub jitter: f64,
    /// Cycles of a block on a card's engine; `None`: no card does it.
    pub card: Option<Cycles>,
}

/// Cycles of a block on an engine.
#[derive(Clone, Copy, Debug)]
pub struct Cycles {
    /// Whatever the size.
    pub fixed: u64,
    /// Thousandths of a cycle a byte.
    pub milli_per_byte: u64,
    /// Bytes from the start that are read once before, to make a table: a cycle each, and at most so many.
    pub counted_bytes_max: u64,
}

impl Cycles {
    /// Of so many bytes.
    #[must_use]
    pub fn of(self, bytes: u64) -> u64 {
        let per_byte = u128::from(self.milli_per_byte) * u128::from(bytes) / 1000;
        let fixed = self.fixed.saturating_add(bytes.min(self.counted_bytes_max));
        u64::try_from(per_byte).map_or(u64::MAX, |cycles| cycles.saturating_add(fixed))
    }
}

/// Which engines a class lets serve.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// Whichever ends soonest.
    #[default]
    Auto,
    /// A card or nothing.
    RequireCard,
    /// A card while one is in service.
    PreferCard,
    /// Cores.
    Cpu,
}

/// Tenants that are alike.
#[derive(Clone, Debug)]
pub struct TenantClass {
    /// Its name.
    pub name: String,
    /// How many.
    pub count: u32,
    /// Share of what is left when guarantees are met, against the others' weights.
    pub weight: u32,
    /// Guaranteed rate, microseconds of reference time a second; 0: none.
    pub cir_us_per_s: u64,
    /// Peak rate, in the same unit.
    pub pir_us_per_s: Option<u64>,
    /// What may be taken at once beyond the peak rate.
    pub pir_burst_us: u64,
    /// Requests a second that are admitted.
    pub requests_per_s: Option<u64>,
    /// Bytes a second that are admitted.
    pub bytes_per_s: Option<u64>,
    /// Bytes a day that are admitted; days end at multiples of 24 h.
    pub bytes_per_day: Option<u64>,
    /// Requests in flight.
    pub in_flight_max: usize,
    /// Blocks in the queue; `None`: the machine's.
    pub queued_blocks_max: Option<usize>,
    /// Which engines.
    pub backend: Backend,
    /// How urgent its jobs are among each tenant's own.
    pub priority: Priority,
    /// Which of the scenario's kernels.
    pub kernel: usize,
    /// When a caller's answer comes too late.
    pub deadline: Option<Nanos>,
    /// When a caller hangs up.
    pub hang_up: Option<Nanos>,
    /// When each tenant's requests begin.
    pub arrivals: Arrivals,
    /// Bytes of their bodies.
    pub sizes: Sizes,
}

/// What happens to a card.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// Which.
    pub card: usize,
    /// When.
    pub at: Nanos,
    /// When it is well again; `None`: never.
    pub until: Option<Nanos>,
    /// What.
    pub kind: FaultKind,
}

/// How a card fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FaultKind {
    /// It is gone, at once seen; what it held is done elsewhere.
    Gone,
    /// It stops; what it held is done elsewhere once that is noticed, after the hang limit.
    Hung,
    /// Its engines take so many times as long.
    Slow(f64),
}

/// A scenario that cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: expected {expected}, got {got}")]
pub struct Unfit {
    /// Which figure.
    pub what: String,
    /// What was expected.
    pub expected: String,
    /// What came.
    pub got: String,
}

impl Scenario {
    /// Tenants in all.
    #[must_use]
    pub fn tenants(&self) -> u32 {
        let counts = self.classes.iter().map(|class| class.count);
        counts.fold(0, u32::saturating_add)
    }

    /// Whether every figure is within its bounds.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self) -> Result<(), Unfit> {
        let within = |what: &str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                return Ok(());
            }
            Err(Unfit {
                what: what.to_owned(),
                expected: format!("{low} to {high}"),
                got: value.to_string(),
            })
        };
        within("the duration, ns", self.duration.0, 1, DURATION_MAX.0)?;
        within("the warm-up, ns", self.warm_up.0, 0, self.duration.0)?;
        within("the window, ns", self.window.0, 1_000_000, DURATION_MAX.0)?;
        within("tenants", self.tenants().into(), 0, u64::from(TENANTS_MAX))?;
        let machine = &self.machine;
        within("cores", machine.cores.into(), 1, CORES_MAX.into())?;
        let functions = machine.cards.iter().map(|card| u64::from(card.functions));
        within(
            "functions of all cards of a machine (a scheduler's targets beside the CPU pool)",
            functions.sum(),
            0,
            TARGETS_MAX as u64 - 1,
        )?;
        for (n, card) in machine.cards.iter().enumerate() {
            let of = |what: &str| format!("card {n}, {what}");
            within(
                &of("functions"),
                card.functions.into(),
                1,
                TARGETS_MAX as u64,
            )?;
            within(&of("engines"), card.engines.into(), 1, ENGINES_MAX.into())?;
            within(&of("clock, kHz"), card.clock_khz, 1, 10_000_000)?;
            if let Some(depth) = card.depth {
                within(&of("depth"), depth.into(), 1, 4096)?;
            }
        }
        within("kernels", self.kernels.len() as u64, 1, 64)?;
        for kernel in &self.kernels {
            let one_block = kernel
                .cpu
                .of(BLOCK_BYTES)
                .0
                .max(kernel.verify.of(BLOCK_BYTES).0);
            within(
                &format!("kernel {}, time of a block, ns", kernel.name),
                one_block,
                1,
                3_600_000_000_000,
            )?;
            real(
                &format!("kernel {}, jitter", kernel.name),
                kernel.jitter,
                0.0,
                2.0,
            )?;
        }
        for class in &self.classes {
            self.check_class(class, &within)?;
        }
        for fault in &self.faults {
            within(
                "a fault's card",
                fault.card as u64,
                0,
                (machine.cards.len() as u64).saturating_sub(1),
            )?;
            within("a fault's moment, ns", fault.at.0, 0, DURATION_MAX.0)?;
            if let Some(until) = fault.until {
                within("a fault's end, ns", until.0, fault.at.0 + 1, DURATION_MAX.0)?;
            }
            if let FaultKind::Slow(factor) = fault.kind {
                real("a slow card's factor", factor, 0.01, 1e6)?;
            }
        }
        if machine.cards.is_empty() && !self.faults.is_empty() {
            return Err(Unfit {
                what: "faults".to_owned(),
                expected: "none where there is no card".to_owned(),
                got: self.faults.len().to_string(),
            });
        }
        Ok(())
    }

    fn check_class(
        &self,
        class: &TenantClass,
        within: &impl Fn(&str, u64, u64, u64) -> Result<(), Unfit>,
    ) -> Result<(), Unfit> {
        let of = |what: &str| format!("tenants {}, {what}", class.name);
        within(&of("weight"), class.weight.into(), 1, 1_000_000)?;
        within(&of("in_flight_max"), class.in_flight_max as u64, 1, 1 << 32)?;
        let queued = class
            .queued_blocks_max
            .unwrap_or(self.machine.queue_blocks_max);
        within(&of("queued_blocks_max"), queued as u64, 1, 1 << 32)?;
        within(
            &of("kernel"),
            class.kernel as u64,
            0,
            self.kernels.len() as u64 - 1,
        )?;
        let by_card = self
            .kernels
            .get(class.kernel)
            .is_some_and(|kernel| kernel.card.is_some());
        if class.backend == Backend::RequireCard && (self.machine.cards.is_empty() || !by_card) {
            return Err(Unfit {
                what: of("backend"),
                expected: "a card in the machine that does its kernel".to_owned(),
                got: "require-card".to_owned(),
            });
        }
        class.arrivals.check(&of("arrivals"))?;
        class.sizes.check(&of("size"))
    }
}

/// Whether a real number is in its range; what is no number is not.
pub(super) fn real(what: &str, value: f64, low: f64, high: f64) -> Result<(), Unfit> {
    if value >= low && value <= high {
        return Ok(());
    }
    Err(Unfit {
        what: what.to_owned(),
        expected: format!("{low} to {high}"),
        got: value.to_string(),
    })
}

/// Requests as they were once seen.
pub type Trace = Arc<[TraceEntry]>;

/// One request of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEntry {
    /// When it began.
    pub at: Nanos,
    /// Bytes of its body.
    pub bytes: u64,
}
