//! Traces of tenants who may use some images only, and what becomes of them under the policy.
//!
//! Owns the traces, the cards and the measure: requests that a slot served, of whoever has no list and of either list. Two makes of
//! each kernel are there, an image each; one list has the one make, another the other. Invariant: the same seed gives the same
//! figures. All of it is simulated; a load takes its modelled time, and nobody waits for one.

use crate::Nanos;
use crate::simulation::Random;

use super::trace::{LOAD, pick};
use super::{ImageView, KernelSet, SlotConfig, SlotDecision, SlotPolicy, SlotView};

/// Kernels of a trace.
pub const KERNELS: usize = 3;
/// Makes of each, which is as many lists.
pub const MAKES: usize = 2;
/// Those who ask: who has no list, then each list.
pub const TENANTS: usize = 1 + MAKES;
/// Requests of a trace.
pub const REQUESTS: usize = 40_000;
/// Mean time between two requests.
const BETWEEN: Nanos = Nanos(2_500_000);
/// What a slot saves of the CPU's time on a request, at the least; twice that at the most.
const SAVED_MIN: u64 = 500_000;
/// After so long a drifting trace's tenants change places.
const DRIFT_EVERY: u64 = 20_000_000_000;

/// Slots of a card by function: jobs are given to a function, and any slot of it may then serve them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// Functions.
    pub functions: usize,
    /// Slots of each.
    pub slots: usize,
}

/// Who asks for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Kernels by rank, tenants by rank: who has no list first.
    Steady,
    /// The same, and the tenants change places.
    Drift,
    /// The two lists alone, in turn for so long, for one kernel.
    Turns(Nanos),
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    at: Nanos,
    tenant: usize,
    kernel: usize,
    saved: Nanos,
}

impl Request {
    const fn kind(&self) -> usize {
        kind(self.tenant, self.kernel)
    }
}

/// The policy's number for what a tenant asks for.
const fn kind(tenant: usize, kernel: usize) -> usize {
    tenant * KERNELS + kernel
}

/// A trace.
#[must_use]
pub fn trace(shape: Shape, seed: u64) -> Vec<Request> {
    let mut random = Random::new(seed);
    let by_rank = |count: u32| -> Vec<f64> {
        let ranks = 1..=count;
        ranks.map(|rank| 1.0 / f64::from(rank)).collect()
    };
    let (kernels, tenants) = (by_rank(3), by_rank(3));
    let mut now = 0u64;
    (0..REQUESTS)
        .map(|_| {
            now += random.below(2 * BETWEEN.0) + 1;
            let (tenant, kernel) = match shape {
                Shape::Steady => (pick(&mut random, &tenants), pick(&mut random, &kernels)),
                Shape::Drift => {
                    let steps = usize::try_from(now / DRIFT_EVERY).unwrap_or(0);
                    let tenant = (pick(&mut random, &tenants) + steps) % TENANTS;
                    (tenant, pick(&mut random, &kernels))
                }
                Shape::Turns(Nanos(each)) => {
                    let is_first = (now / each.max(1)).is_multiple_of(2);
                    (if is_first { 1 } else { 2 }, 0)
                }
            };
            Request {
                at: Nanos(now),
                tenant,
                kernel,
                saved: Nanos(SAVED_MIN + random.below(SAVED_MIN)),
            }
        })
        .collect()
}

/// What became of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Requests, by tenant.
    pub requests: [u64; TENANTS],
    /// Requests that a slot served, by tenant.
    pub hits: [u64; TENANTS],
    /// Loads.
    pub loads: u64,
    /// Slots that were emptied.
    pub unloads: u64,
    /// Least time between two changes of one slot.
    pub change_min: Option<Nanos>,
}

impl Outcome {
    /// Part of the requests that a slot served.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        rate(self.hits.iter().sum(), self.requests.iter().sum())
    }

    /// The same of one tenant's.
    #[must_use]
    pub fn hit_rate_of(&self, tenant: usize) -> f64 {
        let of = |counts: &[u64]| counts.get(tenant).copied().unwrap_or_default();
        rate(of(&self.hits), of(&self.requests))
    }

    fn count(&mut self, request: &Request, is_hit: bool) {
        let add = |counts: &mut [u64; TENANTS], more: bool| {
            if let Some(count) = counts.get_mut(request.tenant) {
                *count += u64::from(more);
            }
        };
        add(&mut self.requests, true);
        add(&mut self.hits, is_hit);
    }
}

fn rate(part: u64, whole: u64) -> f64 {
    Nanos(part).as_f64() / Nanos(whole.max(1)).as_f64()
}

/// An image: a kernel of one make.
type Image = (usize, usize);

/// All of them, of each kernel the better one first.
fn images() -> impl Iterator<Item = Image> {
    (0..KERNELS).flat_map(|kernel| (0..MAKES).map(move |make| (kernel, make)))
}

/// What an image serves, and what it bars.
fn means((kernel, make): Image) -> (KernelSet, KernelSet) {
    let of_list = |list: usize| KernelSet::of(kind(1 + list, kernel));
    let others = (0..MAKES).filter(|list| *list != make).map(of_list);
    (
        KernelSet::of(kind(0, kernel)).union(of_list(make)),
        others.fold(KernelSet::EMPTY, KernelSet::union),
    )
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    image: Option<Image>,
    /// Until when it is being loaded.
    ready_at: Nanos,
    since: Nanos,
    changed_at: Option<Nanos>,
}

impl Place {
    fn means(&self) -> (KernelSet, KernelSet) {
        self.image
            .map_or((KernelSet::EMPTY, KernelSet::EMPTY), means)
    }
}

/// Whether some function serves what is asked for, of the places of a card.
fn serves(places: &[Place], card: Card, kind: usize, now: Nanos) -> bool {
    places.chunks(card.slots.max(1)).any(|function| {
        let of = function.iter().map(Place::means);
        let is_barred = of.clone().any(|(_, bars)| bars.contains(kind));
        let ready = of.zip(function).filter(|(_, place)| place.ready_at <= now);
        !is_barred
            && ready
                .into_iter()
                .any(|((serves, _), _)| serves.contains(kind))
    })
}

/// Under the policy, from slots that hold nothing; `knows_lists`: it is told who asks, else which kernel alone.
#[must_use]
pub fn by_policy(trace: &[Request], card: Card, config: SlotConfig, knows_lists: bool) -> Outcome {
    run(trace, card, config, knows_lists, &[], false)
}

/// Under the policy, from slots that hold these images, a kernel and a make each; `requires`: who asks takes nothing but a card.
#[must_use]
pub fn by_policy_from(
    held: &[(usize, usize)],
    trace: &[Request],
    card: Card,
    config: SlotConfig,
    requires: bool,
) -> Outcome {
    run(trace, card, config, true, held, requires)
}

fn run(
    trace: &[Request],
    card: Card,
    config: SlotConfig,
    knows_lists: bool,
    held: &[Image],
    requires: bool,
) -> Outcome {
    let mut policy = SlotPolicy::new(config);
    let mut places = vec![Place::default(); card.functions * card.slots];
    for (place, image) in places.iter_mut().zip(held) {
        place.image = Some(*image);
    }
    let shown = |(serves, bars): (KernelSet, KernelSet)| match knows_lists {
        true => (serves, bars),
        false => {
            let unlisted = (0..KERNELS).map(|kernel| KernelSet::of(kind(0, kernel)));
            let unlisted = unlisted.fold(KernelSet::EMPTY, KernelSet::union);
            (serves.intersection(unlisted), KernelSet::EMPTY)
        }
    };
    let views: Vec<ImageView> = images()
        .map(|image| {
            let (serves, bars) = shown(means(image));
            ImageView {
                serves,
                bars,
                load: LOAD,
                not_before: Nanos(0),
            }
        })
        .collect();
    let mut outcome = Outcome::default();
    for request in trace {
        let now = request.at;
        outcome.count(request, serves(&places, card, request.kind(), now));
        let asked = match knows_lists {
            true => request.kind(),
            false => kind(0, request.kernel),
        };
        policy.demanded(asked, 1, request.saved, now);
        let required = match requires {
            true => KernelSet::of(asked),
            false => KernelSet::EMPTY,
        };
        let slots: Vec<_> = places
            .iter()
            .enumerate()
            .map(|(number, place)| {
                let group = number / card.slots.max(1);
                let (serves, bars) = shown(place.means());
                // One change a function at a time.
                let mut function = places.iter().skip(group * card.slots).take(card.slots);
                SlotView {
                    serves,
                    bars,
                    group,
                    since: place.since,
                    can_change: function.all(|place| place.ready_at <= now),
                }
            })
            .collect();
        let (slot, image, takes) = match policy.decide(&slots, &views, required, now) {
            None => continue,
            Some(SlotDecision::Load { slot, image, .. }) => {
                outcome.loads += 1;
                (slot, images().nth(image), LOAD)
            }
            Some(SlotDecision::Unload { slot }) => {
                outcome.unloads += 1;
                (slot, None, Nanos(0))
            }
        };
        if let Some(place) = places.get_mut(slot) {
            if let Some(before) = place.changed_at {
                let span = now.since(before);
                outcome.change_min = Some(outcome.change_min.map_or(span, |min| min.min(span)));
            }
            *place = Place {
                image,
                ready_at: now.plus(takes),
                since: now.plus(takes),
                changed_at: Some(now),
            };
        }
    }
    outcome
}

/// What is best for the whole trace of what slots could hold from its beginning to its end, without a load.
#[must_use]
pub fn best_fixed(trace: &[Request], card: Card) -> Outcome {
    let choices: Vec<Option<Image>> = std::iter::once(None).chain(images().map(Some)).collect();
    let slots = card.functions * card.slots;
    let mut asked = [0u64; TENANTS * KERNELS];
    for request in trace {
        if let Some(count) = asked.get_mut(request.kind()) {
            *count += request.saved.0;
        }
    }
    let arrangement = |number: usize| -> Vec<Place> {
        let mut left = number;
        let place = |_| {
            let image = choices.get(left % choices.len()).copied().flatten();
            left /= choices.len();
            Place {
                image,
                ..Place::default()
            }
        };
        (0..slots).map(place).collect()
    };
    let saved = |places: &[Place]| -> u64 {
        let kinds = asked.iter().enumerate();
        let served = kinds.filter(|(kind, _)| serves(places, card, *kind, Nanos(0)));
        served.map(|(_, saved)| *saved).sum()
    };
    let all = (0..slots).fold(1usize, |all, _| all * choices.len());
    let best = (0..all).map(arrangement).max_by_key(|it| saved(it));
    let places = best.unwrap_or_default();
    let mut outcome = Outcome::default();
    for request in trace {
        outcome.count(request, serves(&places, card, request.kind(), request.at));
    }
    outcome
}
