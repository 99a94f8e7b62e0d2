//! Which kernels the slots of cards hold: loaded when they pay, kept while they are wanted, evicted by what they are worth.
//!
//! [`SlotPolicy`] is told of each job that a kernel could have served, and asked what to do next. A kernel's worth is
//! what it would have saved of late on the CPU, halved with every [`SlotConfig::half_life`] that passes: whether a slot
//! held it or not, so that what is there and what is missing are compared by the same measure. SLOTS.md beside this crate
//! says what follows from that, and what was measured.
//!
//! A kernel is what jobs ask for alike. Where some of them may be served by certain images alone, what they ask for is a kernel
//! of its own, which these images serve and others of the same make bar: see [`SlotView::bars`].
//!
//! Invariants: the same calls with the same times give the same answers; nothing is evicted for less than it is worth; a
//! slot that was just loaded stays for [`SlotConfig::residence_min`], unless somebody who requires another kernel waits.
//! It deliberately does not know images, lists of them, cards, or how anything is loaded.

mod change;
pub mod listed_trace;
pub mod trace;

use self::change::{Change, Standing};
use crate::Nanos;

/// Kinds of kernels at most.
pub const KERNELS_MAX: usize = 64;

/// A set of kinds of kernels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct KernelSet(pub u64);

impl KernelSet {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// This one alone; none for a number that is too large.
    #[must_use]
    pub fn of(kernel: usize) -> Self {
        let shift = u32::try_from(kernel).unwrap_or(u32::MAX);
        Self(1u64.checked_shl(shift).unwrap_or(0))
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether a kernel is in it.
    #[must_use]
    pub fn contains(self, kernel: usize) -> bool {
        self.0 & Self::of(kernel).0 != 0
    }

    /// Whether it holds nothing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Its members.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let lowest = usize::try_from(left.trailing_zeros()).ok()?;
            // Without its lowest member; of an empty set there is none.
            (left != 0).then(|| {
                left &= left - 1;
                lowest
            })
        })
    }
}

/// What is tuned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SlotConfig {
    /// Time in which what was saved counts half.
    pub half_life: Nanos,
    /// How many times what a load costs a kernel must be worth before it is loaded: to rent, until that would have bought.
    pub payback: f64,
    /// How many times the victim's worth a kernel must be worth to take its place.
    pub hysteresis: f64,
    /// How long a kernel stays at least.
    pub residence_min: Nanos,
    /// How long a kernel stays that nobody wants; `None` = for good.
    pub idle: Option<Nanos>,
    /// Whether slots that hold nothing are loaded before anybody waits.
    pub prewarm: bool,
    /// Jobs that are expected within a half-life, from which on a kernel is loaded ahead into a slot that holds nothing.
    pub prewarm_jobs_min: f64,
}

impl Default for SlotConfig {
    fn default() -> Self {
        Self {
            half_life: Nanos(10_000_000_000),
            payback: 1.0,
            hysteresis: 1.5,
            residence_min: Nanos(1_000_000_000),
            idle: Some(Nanos(600_000_000_000)),
            prewarm: true,
            prewarm_jobs_min: 1.0,
        }
    }
}

/// What a slot is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotView {
    /// What it serves; nothing where it holds no kernel.
    pub serves: KernelSet,
    /// What no slot of its group serves while it is there, for jobs would be its own as well.
    pub bars: KernelSet,
    /// Slots that jobs are given to together, any of which may then serve them: a number for each such group.
    pub group: usize,
    /// Since when it has been as it is.
    pub since: Nanos,
    /// Whether it can be loaded or evicted now: it is not, already, and its function serves.
    pub can_change: bool,
}

/// A kernel that could be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageView {
    /// What it serves.
    pub serves: KernelSet,
    /// What no other slot of its group serves beside it; see [`SlotView::bars`].
    pub bars: KernelSet,
    /// What loading it costs: time for which its slot serves nobody, and the host's work for it.
    pub load: Nanos,
    /// Not before this moment: it failed of late.
    pub not_before: Nanos,
}

/// Why a kernel is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadReason {
    /// Somebody waits who requires it.
    Required,
    /// It pays.
    Demand,
    /// It is expected to be wanted.
    Prewarm,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotDecision {
    /// Load an image into a slot, in place of what that holds.
    Load {
        /// Which slot of those that were shown.
        slot: usize,
        /// Which image of those that were shown.
        image: usize,
        /// Why.
        reason: LoadReason,
        /// What is served then that is not now, of what anybody has asked for.
        gains: KernelSet,
    },
    /// Empty a slot: nobody wants what it holds.
    Unload {
        /// Which slot of those that were shown.
        slot: usize,
    },
}

/// What is known of the demand for one kernel.
#[derive(Clone, Copy, Debug, Default)]
struct Demand {
    /// What it would have saved, fading.
    saved_ns: f64,
    /// Jobs, fading.
    jobs: f64,
    /// The moment for which these hold.
    at: Nanos,
    last: Option<Nanos>,
}

/// See the module's head.
#[derive(Clone, Debug)]
pub struct SlotPolicy {
    config: SlotConfig,
    demand: Vec<Demand>,
}

impl SlotPolicy {
    /// A policy that has seen nothing.
    #[must_use]
    pub fn new(config: SlotConfig) -> Self {
        Self {
            config,
            demand: vec![Demand::default(); KERNELS_MAX],
        }
    }

    /// So many jobs came that a kernel serves, or would serve; it saves that much on each, at the least nothing.
    pub fn demanded(&mut self, kernel: usize, jobs: u32, saved_each: Nanos, now: Nanos) {
        let half_life = self.config.half_life;
        if let Some(demand) = self.demand.get_mut(kernel) {
            let kept = fading(now.since(demand.at), half_life);
            let jobs = f64::from(jobs);
            demand.saved_ns = demand.saved_ns * kept + saved_each.as_f64() * jobs;
            demand.jobs = demand.jobs * kept + jobs;
            demand.at = now;
            demand.last = Some(now);
        }
    }

    /// What a kernel is worth now: what it would have saved, fading, nanoseconds.
    #[must_use]
    pub fn worth(&self, kernel: usize, now: Nanos) -> f64 {
        self.of(kernel, now, |demand| demand.saved_ns)
    }

    /// Jobs that are expected within a half-life, by those that came of late.
    #[must_use]
    pub fn expected_jobs(&self, kernel: usize, now: Nanos) -> f64 {
        // What fades by half in a half-life had come, at an even rate, in 1/ln 2 of it.
        self.of(kernel, now, |demand| demand.jobs) * std::f64::consts::LN_2
    }

    fn of(&self, kernel: usize, now: Nanos, what: impl Fn(&Demand) -> f64) -> f64 {
        let demand = self.demand.get(kernel).copied().unwrap_or_default();
        what(&demand) * fading(now.since(demand.at), self.config.half_life)
    }

    /// What came of some kernels so far is another's, or nobody's: it counts for nothing any more. A slot that serves one is idle
    /// no sooner than if it had been wanted until now.
    pub fn forget(&mut self, kernels: KernelSet, now: Nanos) {
        for kernel in kernels.iter() {
            if let Some(demand) = self.demand.get_mut(kernel) {
                *demand = Demand {
                    last: Some(now),
                    ..Demand::default()
                };
            }
        }
    }

    /// What to do next, if anything is to be done; to be asked again at once after it was begun, and from time to time.
    /// `required`: kernels that somebody waits for who takes nothing else.
    #[must_use]
    pub fn decide(
        &self,
        slots: &[SlotView],
        images: &[ImageView],
        required: KernelSet,
        now: Nanos,
    ) -> Option<SlotDecision> {
        let standing = Standing::of(slots);
        let worths = self.worths(now);
        self.required(&standing, images, required, &worths, now)
            .or_else(|| self.paying(&standing, images, &worths, now))
            .or_else(|| self.idle(slots, required, now))
    }

    /// Somebody waits: what is worth least makes room, however short it has been there.
    fn required(
        &self,
        standing: &Standing<'_>,
        images: &[ImageView],
        required: KernelSet,
        worths: &Worths,
        now: Nanos,
    ) -> Option<SlotDecision> {
        let missing = required.without(standing.served());
        // Loses least; of those gains most; of those replaces nothing.
        let mut least: Option<((f64, f64, bool), Change)> = None;
        let can_load = |image: &ImageView| image.not_before <= now;
        standing.changes(
            images,
            can_load,
            missing,
            |_| true,
            |change| {
                // Who is waited for as well is not evicted for another who waits.
                if !change.lost.intersection(required).is_empty() {
                    return;
                }
                let (lost, gained) = (worths.of(change.lost), worths.of(change.gained));
                let costs = (lost, -gained, change.replaces);
                if least.is_none_or(|(so_far, _)| costs < so_far) {
                    least = Some((costs, change));
                }
            },
        );
        let (_, change) = least?;
        Some(change.decision(LoadReason::Required, missing.union(worths.wanted())))
    }

    /// The change that gains most, of those that pay.
    fn paying(
        &self,
        standing: &Standing<'_>,
        images: &[ImageView],
        worths: &Worths,
        now: Nanos,
    ) -> Option<SlotDecision> {
        let wanted = worths.wanted();
        let may_go = |slot: &SlotView| {
            slot.serves.is_empty() || now.since(slot.since) >= self.config.residence_min
        };
        let can_load = |image: &ImageView| image.not_before <= now;
        let mut best: Option<((f64, bool), Change, LoadReason)> = None;
        standing.changes(images, can_load, wanted, may_go, |change| {
            let (gained, lost) = (worths.of(change.gained), worths.of(change.lost));
            if gained <= lost * self.config.hysteresis {
                return;
            }
            let load = images.get(change.image).map(|image| image.load);
            let cost = load.unwrap_or_default().as_f64() * self.config.payback;
            let jobs = || -> f64 {
                let gained = change.gained.iter();
                gained.map(|kernel| self.expected_jobs(kernel, now)).sum()
            };
            let reason = if gained >= cost {
                LoadReason::Demand
            } else if self.config.prewarm
                && !change.replaces
                && jobs() >= self.config.prewarm_jobs_min
            {
                LoadReason::Prewarm
            } else {
                return;
            };
            // The worst last.
            let costs = (lost - gained, change.replaces);
            if best.is_none_or(|(so_far, ..)| costs < so_far) {
                best = Some((costs, change, reason));
            }
        });
        let (_, change, reason) = best?;
        Some(change.decision(reason, wanted))
    }

    /// What nobody has wanted for long.
    fn idle(&self, slots: &[SlotView], required: KernelSet, now: Nanos) -> Option<SlotDecision> {
        let idle = self.config.idle?;
        let is_idle = |slot: &SlotView| {
            let wanted = slot.serves.iter().any(|kernel| {
                let last = self.demand.get(kernel).and_then(|demand| demand.last);
                required.contains(kernel) || last.is_some_and(|last| now.since(last) < idle)
            });
            slot.can_change && !slot.serves.is_empty() && !wanted && now.since(slot.since) >= idle
        };
        let slot = slots.iter().position(is_idle)?;
        Some(SlotDecision::Unload { slot })
    }

    fn worths(&self, now: Nanos) -> Worths {
        Worths(std::array::from_fn(|kernel| self.worth(kernel, now)))
    }
}

/// What each kernel is worth at one moment.
struct Worths([f64; KERNELS_MAX]);

impl Worths {
    /// What some are worth together.
    fn of(&self, kernels: KernelSet) -> f64 {
        let worths = kernels.iter().filter_map(|kernel| self.0.get(kernel));
        worths.sum()
    }

    /// Those that are worth anything.
    fn wanted(&self) -> KernelSet {
        let worths = self.0.iter().enumerate();
        let wanted = worths.filter(|(_, worth)| **worth > 0.0);
        wanted.fold(KernelSet::EMPTY, |all, (kernel, _)| {
            all.union(KernelSet::of(kernel))
        })
    }
}

/// What is left of 1 after `span`: halved with each half-life, in a straight line between two halvings. Made of sums and
/// products alone, so that it is the same on every machine.
fn fading(span: Nanos, half_life: Nanos) -> f64 {
    let half_life = half_life.0.max(1);
    let whole = span.0 / half_life;
    let part = Nanos(span.0 % half_life).as_f64() / Nanos(half_life).as_f64();
    let Ok(whole) = i32::try_from(whole) else {
        return 0.0;
    };
    if whole > 1000 {
        return 0.0;
    }
    0.5_f64.powi(whole) * (1.0 - part / 2.0)
}

#[cfg(test)]
mod tests;
