//! Which kernels the slots of cards hold: loaded when they pay, kept while they are wanted, evicted by what they are worth.
//!
//! [`SlotPolicy`] is told of each job that a kernel could have served, and asked what to do next. A kernel's worth is
//! what it would have saved of late on the CPU, halved with every [`SlotConfig::half_life`] that passes: whether a slot
//! held it or not, so that what is there and what is missing are compared by the same measure. SLOTS.md beside this crate
//! says what follows from that, and what was measured.
//!
//! Invariants: the same calls with the same times give the same answers; nothing is evicted for less than it is worth; a
//! slot that was just loaded stays for [`SlotConfig::residence_min`], unless somebody who requires another kernel waits.
//! It deliberately does not know images, cards, or how anything is loaded.

pub mod trace;

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

    /// Its members.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..KERNELS_MAX).filter(move |kernel| self.contains(*kernel))
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
        self.required(slots, images, required, now)
            .or_else(|| self.paying(slots, images, now))
            .or_else(|| self.idle(slots, required, now))
    }

    /// Somebody waits: the slot that is worth least makes room, however short it has been there.
    fn required(
        &self,
        slots: &[SlotView],
        images: &[ImageView],
        required: KernelSet,
        now: Nanos,
    ) -> Option<SlotDecision> {
        let served = slots
            .iter()
            .fold(KernelSet::EMPTY, |all, slot| all.union(slot.serves));
        let missing = required.without(served);
        let can = |image: &&(usize, &ImageView)| {
            !missing.without(missing.without(image.1.serves)).is_empty()
                && image.1.not_before <= now
        };
        let numbered: Vec<_> = images.iter().enumerate().collect();
        let (image, _) = *numbered.iter().find(can)?;
        let slot = self.victim(slots, now, |slot| {
            // Who is waited for as well is not evicted for another who waits.
            !required.without(required.without(slot.serves)).is_empty()
        })?;
        Some(SlotDecision::Load {
            slot,
            image,
            reason: LoadReason::Required,
        })
    }

    /// The load that gains most, of those that pay.
    fn paying(&self, slots: &[SlotView], images: &[ImageView], now: Nanos) -> Option<SlotDecision> {
        let stays = |slot: &SlotView| {
            !slot.serves.is_empty() && now.since(slot.since) < self.config.residence_min
        };
        let slot = self.victim(slots, now, stays)?;
        let lost = self.lost_without(slots, slot, now);
        let holds_nothing = slots.get(slot).is_some_and(|slot| slot.serves.is_empty());
        let others = others(slots, slot);
        let mut best: Option<(f64, usize, LoadReason)> = None;
        for (number, image) in images.iter().enumerate() {
            if image.not_before > now {
                continue;
            }
            let new = image.serves.without(others);
            let gained: f64 = new.iter().map(|kernel| self.worth(kernel, now)).sum();
            let cost = image.load.as_f64() * self.config.payback;
            let jobs: f64 = new
                .iter()
                .map(|kernel| self.expected_jobs(kernel, now))
                .sum();
            let reason = if gained >= cost && gained > lost * self.config.hysteresis {
                LoadReason::Demand
            } else if holds_nothing
                && self.config.prewarm
                && jobs >= self.config.prewarm_jobs_min
                && gained > 0.0
            {
                LoadReason::Prewarm
            } else {
                continue;
            };
            if best.is_none_or(|(most, ..)| gained > most) {
                best = Some((gained, number, reason));
            }
        }
        best.map(|(_, image, reason)| SlotDecision::Load {
            slot,
            image,
            reason,
        })
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

    /// The slot that is worth least of those that can change and need not stay; one that holds nothing first.
    fn victim(
        &self,
        slots: &[SlotView],
        now: Nanos,
        stays: impl Fn(&SlotView) -> bool,
    ) -> Option<usize> {
        let mut least: Option<(f64, usize)> = None;
        for (number, slot) in slots.iter().enumerate() {
            if !slot.can_change || stays(slot) {
                continue;
            }
            let worth = match slot.serves.is_empty() {
                true => -1.0,
                false => self.lost_without(slots, number, now),
            };
            if least.is_none_or(|(so_far, _)| worth < so_far) {
                least = Some((worth, number));
            }
        }
        least.map(|(_, number)| number)
    }

    /// What would be lost with what a slot holds: the worth of what no other slot serves.
    fn lost_without(&self, slots: &[SlotView], slot: usize, now: Nanos) -> f64 {
        let serves = slots.get(slot).map_or(KernelSet::EMPTY, |slot| slot.serves);
        let alone = serves.without(others(slots, slot));
        alone.iter().map(|kernel| self.worth(kernel, now)).sum()
    }
}

/// What the slots but one serve.
fn others(slots: &[SlotView], slot: usize) -> KernelSet {
    let other = slots
        .iter()
        .enumerate()
        .filter(|(number, _)| *number != slot);
    other.fold(KernelSet::EMPTY, |all, (_, slot)| all.union(slot.serves))
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
