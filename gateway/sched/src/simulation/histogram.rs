//! Times by how often they came: percentiles within one part in 128, in memory that does not grow.
//!
//! Owns the counts. Invariant: the 127 values below the first octave are exact; above, a bucket is no wider than a 128th of
//! what it holds. It does not know what was measured.

use crate::Nanos;

/// Bits of a value that tell its bucket within an octave.
const PRECISION_BITS: u32 = 7;
/// Buckets of an octave.
const OCTAVE: usize = 1 << PRECISION_BITS;
/// Values up to 2^48 ns, three days, are told apart; longer ones count as that.
const BITS_MAX: u32 = 48;
/// Buckets in all.
const BUCKETS: usize = OCTAVE * (BITS_MAX - PRECISION_BITS + 1) as usize;

/// Counts of times.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// Grown to what was counted, at most [`BUCKETS`].
    buckets: Vec<u64>,
    count: u64,
    sum: u128,
    max: u64,
}

impl Histogram {
    /// Counts a time.
    pub fn record(&mut self, time: Nanos) {
        let bucket = bucket_of(time.0);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count += 1;
        }
        self.count += 1;
        self.sum += u128::from(time.0);
        self.max = self.max.max(time.0);
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (count, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *count += more;
        }
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// Times counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exact.
    #[must_use]
    pub const fn max(&self) -> Nanos {
        Nanos(self.max)
    }

    /// The mean; zero of nothing.
    #[must_use]
    pub fn mean(&self) -> Nanos {
        let mean = self.sum.checked_div(u128::from(self.count)).unwrap_or(0);
        Nanos(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// The least time that at least `thousandths` in a thousand are no longer than; zero of nothing.
    #[must_use]
    pub fn per_mille(&self, thousandths: u32) -> Nanos {
        let rank = (u128::from(self.count) * u128::from(thousandths)).div_ceil(1000);
        let rank = u64::try_from(rank).unwrap_or(u64::MAX).max(1);
        let mut below = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank {
                return Nanos(highest_of(bucket).min(self.max));
            }
        }
        Nanos(0)
    }
}

fn bucket_of(value: u64) -> usize {
    let bits = (u64::BITS - value.leading_zeros()).min(BITS_MAX);
    let shift = bits.saturating_sub(PRECISION_BITS + 1);
    let value = value.min((1 << BITS_MAX) - 1);
    let within = usize::try_from(value >> shift).unwrap_or(usize::MAX);
    (within + OCTAVE * shift as usize).min(BUCKETS - 1)
}

fn highest_of(bucket: usize) -> u64 {
    let shift = (bucket / OCTAVE).saturating_sub(1);
    let within = bucket - OCTAVE * shift;
    ((within as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_as_narrow_as_promised() {
        let values = (0..2000).chain((8..48).flat_map(|bit| {
            let value = 1u64 << bit;
            [value - 1, value, value + 1, value + value / 3]
        }));
        for value in values {
            let highest = highest_of(bucket_of(value));
            assert!(highest >= value, "{value}: {highest}");
            assert!(highest - value <= value / 128, "{value}: {highest}");
            assert_eq!(bucket_of(highest), bucket_of(value), "{value}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_of_what_was_counted() {
        let mut low = Histogram::default();
        let mut high = Histogram::default();
        for value in 1..=500 {
            low.record(Nanos(value));
            high.record(Nanos(500 + value));
        }
        low.merge(&high);
        assert_eq!(low.count(), 1000);
        assert_eq!(low.max(), Nanos(1000));
        assert_eq!(low.mean(), Nanos(500));
        let Nanos(p50) = low.per_mille(500);
        let Nanos(p999) = low.per_mille(999);
        assert!((500..=504).contains(&p50), "{p50}");
        assert!((999..=1000).contains(&p999), "{p999}");
        assert_eq!(low.per_mille(1000), Nanos(1000));
        assert_eq!(Histogram::default().per_mille(990), Nanos(0));
    }
}
