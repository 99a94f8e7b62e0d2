//! Many machines: which of them are simulated, and with what part of the tenants.
//!
//! Owns the division. Gateways know nothing of each other, so that a fleet is as many machines as there are, each with its
//! part: all of them alike, up to chance, which is why a sample is enough and is said to be one. Invariant: machine `n` of a
//! fleet has the same tenants whatever the sample. It does not know how a machine is simulated.

use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use faam_sched::Nanos;
use faam_sched::simulation::{
    Arrivals, Fault, FaultKind, Random, Report, Scenario, TenantClass, Trace, run_with,
};
use parking_lot::Mutex;

/// Most faults of one card that are drawn.
const CARD_FAULTS_MAX: usize = 10_000;
/// Streams of random numbers: where tenants go, and when a card fails.
const PLACE_STREAM: u64 = 1 << 40;
const FAULT_STREAM: u64 = 1 << 41;

/// How requests find a machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Balance {
    /// Each request goes to any machine: every machine has every tenant, and an even part of what it was promised.
    #[default]
    Spread,
    /// A tenant's requests go to one machine, by a hash of its name.
    Sticky,
}

impl Balance {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Sticky => "sticky",
        }
    }
}

/// Cards that fail by chance.
#[derive(Clone, Copy, Debug)]
pub(super) struct CardFaults {
    /// Of one card, the mean.
    pub(super) between: Nanos,
    /// Until it is back, the mean.
    pub(super) repair: Nanos,
}

/// Machines that know nothing of each other.
#[derive(Clone, Debug)]
pub(super) struct Fleet {
    pub(super) machines: u64,
    pub(super) balance: Balance,
    /// How many of them are simulated at most.
    pub(super) sample: u64,
    /// Whether a class's count is of tenants for each machine.
    pub(super) per_machine: bool,
    pub(super) card_faults: Option<CardFaults>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self {
            machines: 1,
            balance: Balance::Spread,
            sample: 4,
            per_machine: false,
            card_faults: None,
        }
    }
}

/// A fleet's machines that are simulated.
struct Divided {
    machines: Vec<Scenario>,
    /// See [`FleetReport`].
    imbalance: f64,
    scale: f64,
}

/// Figures of the machines that were simulated.
#[derive(Clone, Debug)]
pub(super) struct FleetReport {
    /// Their sums.
    pub(super) all: Report,
    /// 99th percentile of latency over all classes, of the machine where it was highest.
    pub(super) worst_p99: Nanos,
    /// Tenants of the machine that has most, over the mean; 1 where all have all.
    pub(super) imbalance: f64,
    /// What the sums are to be multiplied by for those of the fleet: by machines, or by tenants where those stay with one.
    pub(super) scale: f64,
}

impl Fleet {
    /// Machines that are simulated.
    pub(super) fn sampled(&self) -> u64 {
        self.machines.min(self.sample.max(1))
    }

    fn divide(&self, scenario: &Scenario) -> Divided {
        let counts = self.counts(scenario);
        let of_machine = |number: u64| {
            let place = usize::try_from(number).unwrap_or(usize::MAX);
            let of_class = |counts: &Vec<u32>| counts.get(place).copied().unwrap_or(0);
            let mine: Vec<u32> = counts.iter().map(of_class).collect();
            self.machine(scenario, number, &mine)
        };
        if self.balance == Balance::Spread || self.machines == 1 {
            return Divided {
                machines: self.evenly(None).into_iter().map(of_machine).collect(),
                imbalance: 1.0,
                scale: self.machines as f64 / self.sampled() as f64,
            };
        }
        let machines = usize::try_from(self.machines).unwrap_or(usize::MAX);
        let tenants = |place: usize| -> u64 {
            let of_class = |counts: &Vec<u32>| u64::from(counts.get(place).copied().unwrap_or(0));
            counts.iter().map(of_class).sum()
        };
        let fullest = (0..machines)
            .max_by_key(|place| tenants(*place))
            .unwrap_or(0);
        let all: u64 = (0..machines).map(tenants).sum();
        let imbalance = tenants(fullest) as f64 * self.machines as f64 / (all as f64).max(1.0);
        let sample = self.evenly(u64::try_from(fullest).ok());
        let machines: Vec<_> = sample.into_iter().map(of_machine).collect();
        let simulated: u64 = machines
            .iter()
            .map(|machine| u64::from(machine.tenants()))
            .sum();
        Divided {
            machines,
            imbalance,
            scale: all as f64 / (simulated as f64).max(1.0),
        }
    }

    /// Numbers of machines, evenly over the fleet; one of them is `first`, if there is one.
    fn evenly(&self, first: Option<u64>) -> Vec<u64> {
        let sampled = self.sampled();
        let mut numbers: Vec<u64> = first.into_iter().collect();
        for n in 0..sampled {
            let number = n * self.machines / sampled;
            if (numbers.len() as u64) < sampled && !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        numbers
    }

    /// Tenants of each class on each machine, where tenants stay with one.
    fn counts(&self, scenario: &Scenario) -> Vec<Vec<u32>> {
        if self.balance == Balance::Spread || self.machines == 1 {
            return Vec::new();
        }
        let machines = usize::try_from(self.machines).unwrap_or(usize::MAX);
        let mut hash = Random::stream(scenario.seed, PLACE_STREAM);
        let classes = scenario.classes.iter().map(|class| {
            let mut counts = vec![0u32; machines];
            for _ in 0..self.tenants_of(class) {
                let place = usize::try_from(hash.below(self.machines)).unwrap_or(0);
                if let Some(count) = counts.get_mut(place) {
                    *count += 1;
                }
            }
            counts
        });
        classes.collect()
    }

    /// Tenants of a class in all.
    pub(super) fn tenants_of(&self, class: &TenantClass) -> u64 {
        let factor = if self.per_machine { self.machines } else { 1 };
        u64::from(class.count) * factor
    }

    fn machine(&self, scenario: &Scenario, number: u64, counts: &[u32]) -> Scenario {
        let mut machine = scenario.clone();
        if number > 0 {
            machine.seed = Random::stream(scenario.seed, number).bits();
        }
        for (place, class) in machine.classes.iter_mut().enumerate() {
            if let Some(count) = counts.get(place) {
                class.count = *count;
            } else if self.machines > 1 && !self.per_machine {
                thin(class, number, self.machines);
            }
        }
        if let Some(faults) = self.card_faults {
            machine.faults.extend(draw_faults(&machine, faults));
        }
        machine
    }
}

/// Leaves a class one machine's part of what its tenants send and were promised.
fn thin(class: &mut TenantClass, number: u64, machines: u64) {
    let n = machines as f64;
    match &mut class.arrivals {
        Arrivals::Poisson { per_s }
        | Arrivals::Bursts { per_s, .. }
        | Arrivals::Diurnal { per_s, .. }
        | Arrivals::OnOff { per_s, .. } => *per_s /= n,
        Arrivals::Closed { callers, .. } => {
            *callers = u32::try_from(u64::from(*callers).div_ceil(machines)).unwrap_or(u32::MAX);
        }
        Arrivals::Trace(trace) => {
            let step = usize::try_from(machines).unwrap_or(usize::MAX);
            let from = usize::try_from(number).unwrap_or(0) % trace.len().max(1);
            *trace = Trace::from_iter(trace.iter().skip(from).step_by(step).copied());
        }
    }
    class.cir_us_per_s = class.cir_us_per_s.div_ceil(machines);
    for rate in [
        &mut class.pir_us_per_s,
        &mut class.requests_per_s,
        &mut class.bytes_per_s,
        &mut class.bytes_per_day,
    ] {
        *rate = rate.map(|rate| rate.div_ceil(machines));
    }
}

fn draw_faults(scenario: &Scenario, faults: CardFaults) -> Vec<Fault> {
    let mut drawn = Vec::new();
    for card in 0..scenario.machine.cards.len() {
        let mut random = Random::stream(scenario.seed, FAULT_STREAM + card as u64);
        let mut span = |mean: Nanos| {
            let span = random.exponential() * mean.0 as f64;
            Nanos(super::whole(span).max(1))
        };
        let mut at = span(faults.between);
        for _ in 0..CARD_FAULTS_MAX {
            if at >= scenario.duration {
                break;
            }
            let until = Nanos(at.0.saturating_add(span(faults.repair).0));
            drawn.push(Fault {
                card,
                at,
                until: Some(until),
                kind: FaultKind::Gone,
            });
            at = Nanos(until.0.saturating_add(span(faults.between).0));
        }
    }
    drawn
}

/// Simulates fleets side by side, on as many threads as there are processors; what comes of it does not depend on how many.
/// `progress` is told the nanoseconds that were simulated since it was told last.
///
/// # Errors
/// A scenario cannot be run, or broke an invariant.
pub(super) fn simulate(
    fleets: &[(Fleet, Scenario)],
    progress: &(impl Fn(u64) + Sync),
) -> anyhow::Result<Vec<FleetReport>> {
    let divided: Vec<_> = fleets
        .iter()
        .map(|(fleet, scenario)| fleet.divide(scenario))
        .collect();
    let work: Vec<&Scenario> = divided
        .iter()
        .flat_map(|divided| &divided.machines)
        .collect();
    let next = AtomicUsize::new(0);
    let done: Vec<_> = work.iter().map(|_| Mutex::new(None)).collect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(work.len()) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(scenario), Some(place)) = (work.get(number), done.get(number)) else {
                        return;
                    };
                    let mut told = 0;
                    let result = run_with(scenario, |now| {
                        progress(now.0.saturating_sub(told));
                        told = now.0;
                    });
                    *place.lock() = Some(result);
                }
            });
        }
    });
    let mut done = done.into_iter().map(Mutex::into_inner);
    let mut reports = Vec::new();
    for of_fleet in divided {
        let mut sum: Option<FleetReport> = None;
        for _ in of_fleet.machines {
            let report = done
                .next()
                .flatten()
                .context("a machine was not simulated")??;
            let p99 = worst_of(&report);
            match &mut sum {
                None => {
                    sum = Some(FleetReport {
                        all: report,
                        worst_p99: p99,
                        imbalance: of_fleet.imbalance,
                        scale: of_fleet.scale,
                    });
                }
                Some(sum) => {
                    sum.all.merge(&report);
                    sum.worst_p99 = sum.worst_p99.max(p99);
                }
            }
        }
        reports.push(sum.context("a fleet has no machine")?);
    }
    Ok(reports)
}

fn worst_of(report: &Report) -> Nanos {
    let mut all = faam_sched::simulation::Histogram::default();
    for class in &report.classes {
        all.merge(&class.latency);
    }
    all.per_mille(990)
}
