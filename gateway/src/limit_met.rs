//! What held a request up without ending it: each bound or fault that it met on its way, by name.
//!
//! Owns the words. What ends a request is a problem, and has a name of its own.

/// Something that a request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitMet {
    /// Its tenant's queue was full.
    QueueRoom,
    /// An engine failed while it had a block of it.
    Replay,
    /// What an engine made was wrong.
    VerifyFailed,
    /// Its caller did not read while it wrote.
    Spill,
    /// As many answers were on disk as may be.
    SpillPlace,
    /// Its caller did not read.
    CallerSlow,
    /// There was no memory for one block more.
    BodyMemory,
    /// Its body came faster than its tenant's rate.
    ByteRate,
    /// Its tenant was at its peak rate.
    PeakRate,
    /// The engine that it would sooner have run on let it stand.
    Deferred,
}

impl LimitMet {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::QueueRoom,
        Self::Replay,
        Self::VerifyFailed,
        Self::Spill,
        Self::SpillPlace,
        Self::CallerSlow,
        Self::BodyMemory,
        Self::ByteRate,
        Self::PeakRate,
        Self::Deferred,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueRoom => "queue-room",
            Self::Replay => "replay",
            Self::VerifyFailed => "verify-failed",
            Self::Spill => "spill",
            Self::SpillPlace => "spill-place",
            Self::CallerSlow => "caller-slow",
            Self::BodyMemory => "body-memory",
            Self::ByteRate => "byte-rate",
            Self::PeakRate => "peak-rate",
            Self::Deferred => "deferred",
        }
    }

    /// What it did to the request, and which setting decides over it.
    #[must_use]
    pub const fn says(self) -> &'static str {
        match self {
            Self::QueueRoom => {
                "its tenant's queue was full, and a block waited for room (queue_blocks_max, the tenant's queued_blocks_max)"
            }
            Self::Replay => "an engine failed with a block of it in hand, and another did it again",
            Self::VerifyFailed => {
                "a result of an engine did not pass verification, and the block was done again"
            }
            Self::Spill => {
                "its caller wrote and did not read, so that the answer waited on disk (spill_bytes_max)"
            }
            Self::SpillPlace => {
                "as many answers were on disk as may be, so that it waited for its caller or for another's end \
                 (spill_files_max, spill_tenant_files_max)"
            }
            Self::CallerSlow => {
                "its window was full: the answer waited for its caller to read (answer_bytes_per_second_min)"
            }
            Self::BodyMemory => {
                "there was no memory for one block more of it at once, so that fewer ran side by side (memory_bytes_max)"
            }
            Self::PeakRate => {
                "its tenant was at its peak rate when a block of it was queued, and waited for its turn (the tenant's pir_us_per_s)"
            }
            Self::Deferred => {
                "an engine that would have ended a block of it sooner did not take it for defer_us_max, and another did"
            }
            Self::ByteRate => {
                "its body came faster than its tenant's rate, and was slowed down to it (the tenant's bytes_per_s)"
            }
        }
    }

    pub(crate) const fn bit(self) -> u32 {
        1 << match self {
            Self::QueueRoom => 0,
            Self::Replay => 1,
            Self::VerifyFailed => 2,
            Self::Spill => 3,
            Self::SpillPlace => 4,
            Self::CallerSlow => 5,
            Self::BodyMemory => 6,
            Self::ByteRate => 7,
            Self::PeakRate => 8,
            Self::Deferred => 9,
        }
    }
}

/// All that one request met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitsMet(pub(crate) u32);

impl LimitsMet {
    /// In the order of [`LimitMet::ALL`].
    pub fn iter(self) -> impl Iterator<Item = LimitMet> {
        let all = LimitMet::ALL.into_iter();
        all.filter(move |limit| self.0 & limit.bit() != 0)
    }

    /// Whether it met none.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_apart_and_named() {
        for limit in LimitMet::ALL {
            let met: Vec<_> = LimitsMet(limit.bit()).iter().collect();
            assert_eq!(met, [limit], "{}", limit.name());
        }
        assert!(LimitsMet::default().is_empty());
        let all = LimitMet::ALL
            .iter()
            .fold(0, |bits, limit| bits | limit.bit());
        assert_eq!(LimitsMet(all).iter().count(), LimitMet::ALL.len());
    }
}
