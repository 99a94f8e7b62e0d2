//! Medians, percentiles, and how far a median can be trusted.
//!
//! Invariant: a figure that too few samples stand behind is no figure: [`percentile`] gives `None` where not one
//! sample lies beyond it, and everything here gives `None` for no samples. It knows no units.

use serde::{Deserialize, Serialize};

/// Resamples of one bootstrap: enough for the interval's ends to move by less than a thousandth of its width.
const RESAMPLES: usize = 2000;
/// Share of the resampled medians that lie within the interval.
const CONFIDENCE: f64 = 0.95;
/// The bootstrap draws the same samples in every run: an interval can be computed again from the stored windows.
const SEED: u64 = 0x5EED_0F5A_3217_C0DE;

/// A median and its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Estimate {
    /// Median of the windows.
    pub(crate) median: f64,
    /// Lower end of the 95 % bootstrap interval of the median.
    pub(crate) low: f64,
    /// Upper end.
    pub(crate) high: f64,
    /// Windows behind it. One window has an interval of no width, which means nothing.
    pub(crate) windows: usize,
}

impl Estimate {
    /// Of one value a window; values that are not finite are left out.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut finite: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        let centre = median(&mut finite)?;
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .filter_map(|_| {
                let mut drawn: Vec<f64> = (0..finite.len())
                    .filter_map(|_| finite.get(random.usize(..finite.len())).copied())
                    .collect();
                median(&mut drawn)
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        let tail = (1.0 - CONFIDENCE) / 2.0;
        let at = |share: f64| medians.get(rank(medians.len(), share)).copied();
        Some(Self {
            median: centre,
            low: at(tail)?,
            high: at(1.0 - tail)?,
            windows: finite.len(),
        })
    }

    /// Of ratios of paired windows: `above` and `below` of the same round, where both have one.
    pub(crate) fn of_ratios(pairs: impl Iterator<Item = (f64, f64)>) -> Option<Self> {
        let ratios: Vec<f64> = pairs
            .filter(|(_, below)| *below > 0.0)
            .map(|(above, below)| above / below)
            .collect();
        Self::of(&ratios)
    }
}

/// The middle value, of an even number the mean of the middle two. Sorts `values`.
pub(crate) fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *values.get(middle.checked_sub(1)?)?;
    Some(f64::midpoint(lower, upper))
}

/// The value that a share `q` of `sorted` does not exceed (nearest rank); `None` unless at least one sample may lie
/// beyond it, so that a p99 of ten samples is not their maximum under another name.
pub(crate) fn percentile(sorted: &[u64], q: f64) -> Option<u64> {
    let beyond = count(sorted.len()) * (1.0 - q);
    // A whisker of slack: 1000 * (1 - 0.999) is 0.9999999999999998.
    if beyond < 1.0 - 1e-9 {
        return None;
    }
    sorted.get(rank(sorted.len(), q)).copied()
}

/// Index of the nearest rank of `share` among `len` sorted values.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a length is a length"
)]
fn rank(len: usize, share: f64) -> usize {
    let rank = (count(len) * share - 1e-9).ceil() as usize;
    rank.saturating_sub(1).min(len.saturating_sub(1))
}

/// A count as a number to calculate with.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of samples and bytes stay below 2^53"
)]
pub(crate) const fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_middle_two() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [7.0]), Some(7.0));
        assert_eq!(median(&mut [9.0, 1.0, 4.0]), Some(4.0));
        assert_eq!(median(&mut [9.0, 1.0, 4.0, 6.0]), Some(5.0));
    }

    #[test]
    fn percentiles_are_nearest_ranks_and_none_where_nothing_lies_beyond() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 0.5), Some(50));
        assert_eq!(percentile(&hundred, 0.99), Some(99));
        assert_eq!(percentile(&hundred, 0.999), None);
        assert_eq!(percentile(&hundred[..99], 0.99), None);
        let thousand: Vec<u64> = (1..=1000).collect();
        assert_eq!(percentile(&thousand, 0.999), Some(999));
        assert_eq!(percentile(&[], 0.5), None);
        assert_eq!(percentile(&[3, 8], 0.5), Some(3));
    }

    #[test]
    fn an_interval_holds_its_median_and_widens_with_the_spread() {
        let narrow = Estimate::of(&[10.0, 10.1, 9.9, 10.05, 9.95]).expect("values");
        let wide = Estimate::of(&[10.0, 14.0, 6.0, 12.0, 8.0]).expect("values");
        for estimate in [narrow, wide] {
            assert!(
                estimate.low <= estimate.median && estimate.median <= estimate.high,
                "{estimate:?}"
            );
        }
        assert!(wide.high - wide.low > 10.0 * (narrow.high - narrow.low));
        assert_eq!(wide.low, 6.0, "five values: the interval is their range");
    }

    #[test]
    fn an_interval_of_many_values_is_that_of_theory() {
        // Of n = 401 uniform values in [0, 1) the median's standard error is 1 / (2 sqrt(n)) = 0.025.
        let mut random = fastrand::Rng::with_seed(1);
        let values: Vec<f64> = (0..401).map(|_| random.f64()).collect();
        let estimate = Estimate::of(&values).expect("values");
        let width = estimate.high - estimate.low;
        assert!((0.06..0.14).contains(&width), "{estimate:?}");
    }

    #[test]
    fn the_interval_is_the_same_every_time_and_skips_what_is_no_number() {
        let values = [1.0, 5.0, 2.0, 4.0, 3.0];
        assert_eq!(Estimate::of(&values), Estimate::of(&values));
        let with_nan = Estimate::of(&[1.0, f64::NAN, 5.0, 2.0, 4.0, 3.0]).expect("values");
        assert_eq!(with_nan.windows, 5);
        assert_eq!(Estimate::of(&[f64::NAN]), None);
    }

    #[test]
    fn paired_ratios_cancel_what_both_sides_share() {
        // The machine halves its speed in the second round: each side doubles, the ratio stays.
        let pairs = [(11.0, 10.0), (22.0, 20.0), (11.0, 10.0)];
        let estimate = Estimate::of_ratios(pairs.into_iter()).expect("pairs");
        assert!((estimate.median - 1.1).abs() < 1e-12 && estimate.high - estimate.low < 1e-12);
        assert_eq!(Estimate::of_ratios([(1.0, 0.0)].into_iter()), None);
    }
}
