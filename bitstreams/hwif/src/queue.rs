//! Addresses, indices and sizes of queues: newtypes, so that none is taken for another.

/// Address of memory as the card sees it (I/O virtual address), bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Iova(pub u64);

impl Iova {
    /// The address `bytes` further on, or `None` past the end of the address space.
    #[must_use]
    pub const fn checked_add(self, bytes: u64) -> Option<Self> {
        match self.0.checked_add(bytes) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }
}

impl core::fmt::Display for Iova {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A queue of one function. 0 is the admin queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueId(pub u16);

impl QueueId {
    /// The admin queue.
    pub const ADMIN: Self = Self(0);
}

impl core::fmt::Display for QueueId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "queue {}", self.0)
    }
}

/// Which incarnation of a queue a completion belongs to: seeds its check field, raised at each creation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct QueueEpoch(pub u16);

impl QueueEpoch {
    /// The epoch of the next incarnation.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

/// Number of entries in a queue: a power of two from 2 to 4096.
///
/// Indices run free as `u32`; only [`QueueEntries::slot`] masks one, to address memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEntries {
    log2: u8,
}

impl QueueEntries {
    /// Largest log2.
    pub const LOG2_MAX: u8 = 12;

    /// `2^log2` entries, if that is from 2 to 4096.
    #[must_use]
    pub const fn from_log2(log2: u8) -> Option<Self> {
        if log2 >= 1 && log2 <= Self::LOG2_MAX {
            Some(Self { log2 })
        } else {
            None
        }
    }

    /// log2 of the count.
    #[must_use]
    pub const fn log2(self) -> u8 {
        self.log2
    }

    /// The count.
    #[must_use]
    pub const fn count(self) -> u32 {
        1 << self.log2
    }

    /// Most entries in use at once: one slot stays free (NVMe Base 2.0, section 3.3.1.5).
    #[must_use]
    pub const fn in_use_max(self) -> u32 {
        self.count() - 1
    }

    /// Slot that a free-running index addresses.
    #[must_use]
    pub const fn slot(self, index: u32) -> u32 {
        index & (self.count() - 1)
    }

    /// Phase bit of the completion at a free-running index: set in the first lap over zeroed memory, then alternating.
    #[must_use]
    pub const fn phase(self, index: u32) -> bool {
        (index >> self.log2) & 1 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phase_flips_each_lap_and_survives_the_wrap_of_the_index() {
        let q = QueueEntries::from_log2(3).unwrap();
        assert!(q.phase(0) && q.phase(7) && !q.phase(8) && !q.phase(15) && q.phase(16));
        let mut last = q.phase(u32::MAX - 7);
        for lap in 0..4u32 {
            let first = 0u32.wrapping_add(lap * 8);
            assert_ne!(q.phase(first), last, "lap {lap}");
            last = q.phase(first);
        }
    }

    #[test]
    fn sizes_are_bounded() {
        assert!(QueueEntries::from_log2(0).is_none());
        assert!(QueueEntries::from_log2(13).is_none());
        let q = QueueEntries::from_log2(12).unwrap();
        assert_eq!((q.count(), q.in_use_max(), q.slot(4097)), (4096, 4095, 1));
    }
}
