//! Targets: places where a job can run, and sets of them.

/// Most targets of one scheduler.
pub const TARGETS_MAX: usize = 64;

/// One target. Handed out by the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetIndex(pub(crate) u8);

impl TargetIndex {
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

/// Where a job may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    /// Nowhere else, ever.
    pub allowed: TargetSet,
    /// Only here while any of these is in service; then anywhere allowed.
    pub preferred: TargetSet,
}

impl Placement {
    /// Anywhere in `allowed`, with no preference.
    #[must_use]
    pub const fn any_of(allowed: TargetSet) -> Self {
        Self {
            allowed,
            preferred: TargetSet::EMPTY,
        }
    }

    /// The targets that may take the job while `in_service` are up.
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
            Self {
                allowed,
                preferred: self.preferred,
            }
        }
    }
}
