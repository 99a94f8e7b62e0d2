//! Traces of demand for kernels, and what becomes of them under the policy, least recently used, and an oracle.
//!
//! Owns the traces and the measure: requests that a slot served, and the CPU's time that this saved, less what loads cost
//! the host. Invariant: the same seed gives the same figures. All of it is simulated; a load takes its modelled time, and
//! nobody waits for one: what no slot serves, the CPU does.

use crate::Nanos;
use crate::simulation::Random;

use super::{ImageView, KernelSet, SlotConfig, SlotDecision, SlotPolicy, SlotView};

/// Kernels of a trace.
pub const KERNELS: usize = 8;
/// Slots of its card.
pub const SLOTS: usize = 4;
/// Requests of a trace.
pub const REQUESTS: usize = 40_000;
/// Mean time between two requests.
const BETWEEN: Nanos = Nanos(2_500_000);
/// What a slot saves of the CPU's time on a request, at the least; twice that at the most.
const SAVED_MIN: u64 = 500_000;
/// A load: the reconfiguration of a simulated card's slot (20.7 ms, modelled), and the download and the self-test.
pub const LOAD: Nanos = Nanos(35_000_000);
/// What of it the host's CPU works: verifying the image, copying it, checking the self-test.
pub const LOAD_WORK: Nanos = Nanos(10_000_000);
/// How often a burst begins, and how long it lasts.
const BURST_EVERY: u64 = 2_000_000_000;
const BURST: u64 = 400_000_000;
/// What a burst multiplies its kernel's weight by.
const BURST_FACTOR: f64 = 20.0;
/// After so long a drifting trace's ranks move on by one.
const DRIFT_EVERY: u64 = 20_000_000_000;

/// How kernels are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// By rank, with bursts of one that is seldom asked for otherwise.
    Bursts,
    /// By rank, and the ranks move on.
    Drift,
    /// One more kernel than there are slots, in turn, again and again.
    Loop,
    /// By rank alone.
    Steady,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Steady, Self::Bursts, Self::Drift, Self::Loop];

    /// For people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bursts => "skewed, with bursts",
            Self::Drift => "skewed, ranks drift",
            Self::Loop => "a loop of one kernel more than slots",
            Self::Steady => "skewed",
        }
    }
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    at: Nanos,
    kernel: usize,
    saved: Nanos,
}

/// A trace.
#[must_use]
pub fn trace(shape: Shape, seed: u64) -> Vec<Request> {
    let mut random = Random::new(seed);
    // Zipf's law, of exponent 1: the second is asked for half as often as the first.
    let ranks = (1u32..).take(KERNELS);
    let weights: Vec<f64> = ranks.map(|rank| 1.0 / f64::from(rank)).collect();
    let mut now = 0u64;
    let mut burst: Option<(usize, u64)> = None;
    let mut next_burst = BURST_EVERY;
    (0..REQUESTS)
        .map(|number| {
            now += random.below(2 * BETWEEN.0) + 1;
            if now >= next_burst {
                let kernel = pick(&mut random, &[1.0; KERNELS]);
                burst = Some((kernel, now + BURST));
                next_burst = now + BURST_EVERY;
            }
            let kernel = match shape {
                Shape::Loop => number % (SLOTS + 1),
                Shape::Steady => pick(&mut random, &weights),
                Shape::Drift => {
                    let steps = usize::try_from(now / DRIFT_EVERY).unwrap_or(0);
                    (pick(&mut random, &weights) + steps) % KERNELS
                }
                Shape::Bursts => {
                    let mut weights = weights.clone();
                    if let Some((kernel, until)) = burst
                        && now < until
                        && let Some(weight) = weights.get_mut(kernel)
                    {
                        *weight *= BURST_FACTOR;
                    }
                    pick(&mut random, &weights)
                }
            };
            Request {
                at: Nanos(now),
                kernel,
                saved: Nanos(SAVED_MIN + random.below(SAVED_MIN)),
            }
        })
        .collect()
}

/// A number by these weights.
pub(super) fn pick(random: &mut Random, weights: &[f64]) -> usize {
    let all: f64 = weights.iter().sum();
    let drawn = random.unit() * all;
    let mut below = 0.0;
    for (kernel, weight) in weights.iter().enumerate() {
        below += weight;
        if drawn < below {
            return kernel;
        }
    }
    weights.len().saturating_sub(1)
}

/// What became of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests.
    pub requests: u64,
    /// Requests that a slot served.
    pub hits: u64,
    /// The CPU's time that these saved, nanoseconds.
    pub saved_ns: u64,
    /// What all requests would have saved.
    pub saved_ns_max: u64,
    /// Loads.
    pub loads: u64,
}

impl Outcome {
    /// Part of the requests that a slot served.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        Nanos(self.hits).as_f64() / Nanos(self.requests.max(1)).as_f64()
    }

    /// Part of the CPU's time that could have been saved and was, less what loads cost the host; below zero where they cost
    /// more than they saved.
    #[must_use]
    pub fn net_saved(&self) -> f64 {
        let spent = self.loads.saturating_mul(LOAD_WORK.0);
        let net = Nanos(self.saved_ns).as_f64() - Nanos(spent).as_f64();
        net / Nanos(self.saved_ns_max.max(1)).as_f64()
    }

    fn count(&mut self, request: &Request, is_hit: bool) {
        self.requests += 1;
        self.saved_ns_max += request.saved.0;
        if is_hit {
            self.hits += 1;
            self.saved_ns += request.saved.0;
        }
    }
}

/// A slot of the simulated card.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    kernel: Option<usize>,
    /// Until when it is being loaded.
    ready_at: Nanos,
    since: Nanos,
    used_at: Nanos,
}

impl Place {
    fn serves(&self, kernel: usize, now: Nanos) -> bool {
        self.kernel == Some(kernel) && self.ready_at <= now
    }

    fn load(&mut self, kernel: usize, now: Nanos, takes: Nanos) {
        *self = Self {
            kernel: Some(kernel),
            ready_at: now.plus(takes),
            since: now.plus(takes),
            used_at: now,
        };
    }
}

/// Under the policy.
#[must_use]
pub fn by_policy(trace: &[Request], config: SlotConfig) -> Outcome {
    let mut policy = SlotPolicy::new(config);
    let mut places = [Place::default(); SLOTS];
    let images: Vec<ImageView> = (0..KERNELS)
        .map(|kernel| ImageView {
            serves: KernelSet::of(kernel),
            bars: KernelSet::EMPTY,
            load: LOAD,
            not_before: Nanos(0),
        })
        .collect();
    let mut outcome = Outcome::default();
    for request in trace {
        let now = request.at;
        let is_hit = places.iter().any(|place| place.serves(request.kernel, now));
        outcome.count(request, is_hit);
        policy.demanded(request.kernel, 1, request.saved, now);
        let views = places.map(|place| SlotView {
            serves: place.kernel.map_or(KernelSet::EMPTY, KernelSet::of),
            bars: KernelSet::EMPTY,
            group: 0,
            since: place.since,
            can_change: place.ready_at <= now,
        });
        match policy.decide(&views, &images, KernelSet::EMPTY, now) {
            Some(SlotDecision::Load { slot, image, .. }) => {
                outcome.loads += 1;
                if let Some(place) = places.get_mut(slot) {
                    place.load(image, now, LOAD);
                }
            }
            Some(SlotDecision::Unload { slot }) => {
                if let Some(place) = places.get_mut(slot) {
                    *place = Place {
                        since: now,
                        ..Place::default()
                    };
                }
            }
            None => {}
        }
    }
    outcome
}

/// Loading each kernel that is missed in place of the one that was used least recently; a load takes so long.
#[must_use]
pub fn by_recency(trace: &[Request], takes: Nanos) -> Outcome {
    let mut places = [Place::default(); SLOTS];
    let mut outcome = Outcome::default();
    for request in trace {
        let now = request.at;
        let there = places
            .iter_mut()
            .find(|place| place.kernel == Some(request.kernel));
        match there {
            Some(place) => {
                place.used_at = now;
                let is_hit = place.serves(request.kernel, now);
                outcome.count(request, is_hit);
            }
            None => {
                outcome.count(request, false);
                let free = places.iter_mut().filter(|place| place.ready_at <= now);
                if let Some(place) = free.min_by_key(|place| place.used_at) {
                    outcome.loads += 1;
                    place.load(request.kernel, now, takes);
                }
            }
        }
    }
    outcome
}

/// The best that there is for who knows the future, and whose loads take no time, but cost the host what they cost: an upper
/// bound for everybody else's net saving. Exact, by dynamic programming over what the slots hold.
#[must_use]
pub fn by_oracle(trace: &[Request]) -> Outcome {
    // For each set that slots can hold, the best outcome that ends with it.
    let full = 1usize << KERNELS;
    let net = |outcome: &Outcome| {
        i128::from(outcome.saved_ns) - i128::from(outcome.loads) * i128::from(LOAD_WORK.0)
    };
    let mut best: Vec<Option<Outcome>> = vec![None; full];
    if let Some(nothing) = best.first_mut() {
        *nothing = Some(Outcome::default());
    }
    let mut next = best.clone();
    for request in trace {
        next.fill(None);
        let bit = 1usize << request.kernel;
        let mut offer = |set: usize, outcome: Outcome| {
            if let Some(place) = next.get_mut(set)
                && place
                    .as_ref()
                    .is_none_or(|known| net(&outcome) > net(known))
            {
                *place = Some(outcome);
            }
        };
        for (set, outcome) in best.iter().enumerate() {
            let Some(outcome) = outcome else { continue };
            let mut passed = *outcome;
            passed.count(request, set & bit != 0);
            offer(set, passed);
            if set & bit != 0 {
                continue;
            }
            let mut loaded = *outcome;
            loaded.count(request, true);
            loaded.loads += 1;
            if set.count_ones() as usize == SLOTS {
                for victim in 0..KERNELS {
                    if set >> victim & 1 != 0 {
                        offer(set & !(1 << victim) | bit, loaded);
                    }
                }
            } else {
                offer(set | bit, loaded);
            }
        }
        std::mem::swap(&mut best, &mut next);
    }
    best.into_iter()
        .flatten()
        .max_by_key(net)
        .unwrap_or_default()
}
