//! Targets: places where a job can run, sets of them, and what is known of each.
//!
//! It knows no tenants and no queues.

use crate::Nanos;
use crate::tags::{MILLION, ShareTag};

/// Most targets of one scheduler.
pub const TARGETS_MAX: usize = 64;
/// The number after the last.
const REFERENCE_NUMBER: u8 = 64;
/// The number of a target's engines is by so much larger than its own.
const ENGINE_NUMBERS: u8 = 65;

/// One target. Handed out by the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetIndex(pub(crate) u8);

impl TargetIndex {
    /// The reference engine itself, as a predictor learns of it: what a job costs, not how long a loaded machine takes for it.
    pub const REFERENCE: Self = Self(REFERENCE_NUMBER);

    /// Its engines by their own count, as a predictor learns of them: without what a job waits for them.
    pub(crate) const fn engine(self) -> Self {
        Self(self.0 + ENGINE_NUMBERS)
    }

    /// Its number, from 0.
    #[must_use]
    pub const fn number(self) -> usize {
        self.0 as usize
    }
}

/// A set of targets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TargetSet(u64);

impl TargetSet {
    /// No target.
    pub const EMPTY: Self = Self(0);

    /// This one alone.
    #[must_use]
    pub const fn of(target: TargetIndex) -> Self {
        Self(1 << target.0)
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// This set without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether `target` is in it.
    #[must_use]
    pub const fn contains(self, target: TargetIndex) -> bool {
        self.0 & (1 << target.0) != 0
    }

    /// Whether it holds nothing.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its members, by rising number.
    pub fn iter(self) -> impl Iterator<Item = TargetIndex> {
        (0..64u8)
            .filter(move |n| self.0 & (1 << n) != 0)
            .map(TargetIndex)
    }
}

/// What a target has to be able to do for a job: bits that whoever drives the scheduler names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Abilities(pub u64);

/// Bits that there are.
const ABILITIES: usize = u64::BITS as usize;

impl Abilities {
    /// None: any target will do.
    pub const NONE: Self = Self(0);
    /// All that there can be.
    pub const ALL: Self = Self(u64::MAX);

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The numbers of its bits, rising.
    pub fn bits(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let bit = left.trailing_zeros() as usize;
            left &= left.checked_sub(1)?;
            Some(bit)
        })
    }
}

/// The targets in service, and for each ability those that have it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Serving {
    pub(crate) in_service: TargetSet,
    /// By bit.
    able: [TargetSet; ABILITIES],
}

impl Default for Serving {
    /// Nobody, and each that comes has every ability.
    fn default() -> Self {
        Self {
            in_service: TargetSet::EMPTY,
            able: [TargetSet(u64::MAX); ABILITIES],
        }
    }
}

impl Serving {
    /// Changes what a target is able to do. Whether that is a change.
    pub(crate) fn set_abilities(&mut self, target: TargetIndex, abilities: Abilities) -> bool {
        let this = TargetSet::of(target);
        let before = self.able;
        for (bit, able) in self.able.iter_mut().enumerate() {
            *able = match abilities.0 >> bit & 1 {
                0 => able.without(this),
                _ => able.union(this),
            };
        }
        self.able != before
    }

    /// What a target is able to do.
    pub(crate) fn abilities(&self, target: TargetIndex) -> Abilities {
        let bits = (0u32..).zip(&self.able);
        Abilities(bits.fold(0, |all, (bit, able)| {
            all | u64::from(able.contains(target)) << bit
        }))
    }

    /// Those in service that are able to do all of it.
    pub(crate) fn able(&self, needs: Abilities) -> TargetSet {
        let needed = needs.bits().filter_map(|bit| self.able.get(bit));
        needed.fold(self.in_service, |set, able| set.intersection(*able))
    }

    /// Where a job may run as things are.
    pub(crate) fn effective(&self, placement: Placement) -> TargetSet {
        placement.effective(self.able(placement.needs))
    }
}

/// Where a job may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    /// Nowhere else, ever.
    pub allowed: TargetSet,
    /// Only here while any of these is in service; then anywhere allowed.
    pub preferred: TargetSet,
    /// Of these, only where there is all of this.
    pub needs: Abilities,
}

impl Placement {
    /// Anywhere in `allowed`, with no preference.
    #[must_use]
    pub const fn any_of(allowed: TargetSet) -> Self {
        Self {
            allowed,
            preferred: TargetSet::EMPTY,
            needs: Abilities::NONE,
        }
    }

    /// The same, where there is all of this.
    #[must_use]
    pub const fn needing(self, needs: Abilities) -> Self {
        Self { needs, ..self }
    }

    /// The targets that may take the job while `in_service` are up, and able to do it.
    #[must_use]
    pub const fn effective(self, in_service: TargetSet) -> TargetSet {
        let preferred = self
            .preferred
            .intersection(self.allowed)
            .intersection(in_service);
        if preferred.is_empty() {
            self.allowed.intersection(in_service)
        } else {
            preferred
        }
    }

    /// The same, but never again on `target`, unless nothing else would be left.
    #[must_use]
    pub const fn avoiding(self, target: TargetIndex) -> Self {
        let allowed = self.allowed.without(TargetSet::of(target));
        if allowed.is_empty() {
            self
        } else {
            Self { allowed, ..self }
        }
    }
}

/// Weight of a new measurement of a target's speed.
const SPEED_GAIN: f64 = 0.02;
/// How far a believable target is from the reference engine, either way.
const SPEED_FACTOR_MAX: f64 = 4096.0;

/// State of one target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub(crate) servers: u64,
    pub(crate) outstanding_ns: u64,
    /// Jobs that it holds.
    pub(crate) held: u64,
    /// The largest share tag that was on its turn here.
    pub(crate) virtual_time: ShareTag,
    /// Reference time by which guarantees are ahead of what is shared by weight here.
    pub(crate) reserved_ahead: u64,
    /// When it should ask again although nothing was queued: a job that it left to another target will be anybody's then.
    pub(crate) ask_again_at: Option<Nanos>,
    /// Reference time of what ended here, and the time that it took, both fading.
    reference_ns: f64,
    busy_ns: f64,
}

impl Target {
    pub(crate) fn new(servers: u32) -> Self {
        Self {
            servers: u64::from(servers.max(1)),
            outstanding_ns: 0,
            held: 0,
            virtual_time: 0,
            reserved_ahead: 0,
            ask_again_at: None,
            reference_ns: 0.0,
            busy_ns: 0.0,
        }
    }

    /// What of the time that it had a job was the job's, for it holds more than it serves at once.
    pub(crate) fn served(&self, took: Nanos) -> Nanos {
        let held = u128::from(self.held.max(self.servers));
        let served = u128::from(took.0) * u128::from(self.servers) / held;
        Nanos(u64::try_from(served).unwrap_or(u64::MAX))
    }

    /// Something worth so much reference time ended here after so long.
    pub(crate) fn learn_speed(&mut self, took: Nanos, reference: Nanos) {
        if took.0 == 0 {
            return;
        }
        let (took, reference) = (took.as_f64(), reference.as_f64());
        if self.busy_ns == 0.0 {
            (self.busy_ns, self.reference_ns) = (took, reference);
        } else {
            self.busy_ns += SPEED_GAIN * (took - self.busy_ns);
            self.reference_ns += SPEED_GAIN * (reference - self.reference_ns);
        }
    }

    /// Microseconds of the reference engine that it gives in a second; a target that was never used counts as reference
    /// engines.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded and positive by the clamp; `as` saturates"
    )]
    pub(crate) fn capacity_us_per_s(&self) -> u64 {
        let speed = if self.busy_ns == 0.0 {
            1.0
        } else {
            (self.reference_ns / self.busy_ns).clamp(1.0 / SPEED_FACTOR_MAX, SPEED_FACTOR_MAX)
        };
        ((speed * 1e6) as u64)
            .saturating_mul(self.servers)
            .max(MILLION / 4096)
    }
}
