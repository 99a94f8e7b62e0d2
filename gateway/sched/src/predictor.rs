//! How long a job will take on a target, learned by moving average: by size, where jobs of about that size were measured, else
//! a fixed part and a part per byte.
//!
//! Where a wrong "short" would cost others, there is a second answer, [`Predictor::measured`]: what jobs of about that size
//! took, or larger ones, and nothing where there have been none.

use crate::Nanos;
use crate::target::TargetIndex;

/// Kind of work for prediction: the caller numbers kernels and levels as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KernelClass(pub u16);

/// Fixed part of every job, ns: hand-off and set-up, the order of magnitude measured for a busy worker.
const FIXED_NS: f64 = 10_000.0;
/// Assumed speed before the first measurement, ns a byte (100 MB/s).
const FIRST_GUESS_NS_PER_BYTE: f64 = 10.0;
/// Weight of a new measurement in the moving average.
const GAIN: f64 = 0.1;
/// Bounds of a believable speed, ns a byte: one wild measurement must not spoil placement.
const NS_PER_BYTE_MIN: f64 = 0.01;
const NS_PER_BYTE_MAX: f64 = 100_000.0;
/// Jobs smaller than this teach nothing about the speed per byte.
const LEARN_BYTES_MIN: usize = 1024;

/// Sizes are told apart by octave. All that is smaller than the first one's end counts as of it, and all that is larger
/// than the last one's as of that.
const FIRST_OCTAVE: u32 = 8;
const OCTAVES: usize = 20;

/// What tells how long a job will take on a target, and learns from what it took.
///
/// Answers depend on what was learned before and on nothing else: the scheduler promises the same answers for the same
/// calls.
pub trait Predictor {
    /// Time that `bytes` of `kernel` will take on `target`.
    fn predict(&self, target: TargetIndex, kernel: KernelClass, bytes: usize) -> Nanos;

    /// What jobs of this size took, or the next larger ones that there have been, which take no less. `None` if there have
    /// been none: small jobs tell nothing about larger ones, for a match finder's work grows faster than the data.
    fn measured(&self, target: TargetIndex, kernel: KernelClass, bytes: usize) -> Option<Nanos>;

    /// Learn that it took `took`.
    fn learn(&mut self, target: TargetIndex, kernel: KernelClass, bytes: usize, took: Nanos);
}

/// Learned speeds by target and kernel class, the latter in order: as many as a caller numbers, a few dozen.
#[derive(Clone, Debug, Default)]
pub struct MovingAverage {
    targets: Vec<Vec<(KernelClass, Speed)>>,
}

/// What was learned of one kernel class on one target.
#[derive(Clone, Debug, Default)]
struct Speed {
    ns_per_byte: Option<f64>,
    /// What a job of the most bytes of an octave takes, by the jobs that were of it.
    ns_by_octave: [Option<f64>; OCTAVES],
}

impl MovingAverage {
    fn speed(&self, target: TargetIndex, kernel: KernelClass) -> Option<&Speed> {
        let kernels = self.targets.get(target.number())?;
        let at = kernels.binary_search_by_key(&kernel, |(k, _)| *k).ok()?;
        kernels.get(at).map(|(_, speed)| speed)
    }

    fn speed_mut(&mut self, target: TargetIndex, kernel: KernelClass) -> &mut Speed {
        if self.targets.len() <= target.number() {
            self.targets.resize_with(target.number() + 1, Vec::new);
        }
        let kernels = &mut self.targets[target.number()];
        let at = match kernels.binary_search_by_key(&kernel, |(k, _)| *k) {
            Ok(at) => at,
            Err(at) => {
                kernels.insert(at, (kernel, Speed::default()));
                at
            }
        };
        &mut kernels[at].1
    }
}

impl Predictor for MovingAverage {
    fn predict(&self, target: TargetIndex, kernel: KernelClass, bytes: usize) -> Nanos {
        let speed = self.speed(target, kernel);
        // What jobs of about that size took is better known than what a line through all sizes says: where small ones are
        // frequent, the line is theirs, and large ones would be charged several times their cost.
        let (octave, share) = octave_of(bytes);
        let own = speed.and_then(|speed| *speed.ns_by_octave.get(octave)?);
        if let Some(whole) = own {
            return nanos(whole * share);
        }
        let slope = speed
            .and_then(|speed| speed.ns_per_byte)
            .unwrap_or(FIRST_GUESS_NS_PER_BYTE);
        nanos(FIXED_NS + slope * approximate(bytes))
    }

    fn measured(&self, target: TargetIndex, kernel: KernelClass, bytes: usize) -> Option<Nanos> {
        let octaves = &self.speed(target, kernel)?.ns_by_octave;
        let (octave, share) = octave_of(bytes);
        let (own, larger) = octaves.get(octave..)?.split_first()?;
        own.map(|whole| whole * share)
            .or_else(|| larger.iter().find_map(|&whole| whole))
            .map(nanos)
    }

    fn learn(&mut self, target: TargetIndex, kernel: KernelClass, bytes: usize, took: Nanos) {
        let speed = self.speed_mut(target, kernel);
        let took = took.as_f64();
        let (octave, share) = octave_of(bytes);
        if let Some(whole) = speed.ns_by_octave.get_mut(octave) {
            let seen = took / share;
            *whole = Some(whole.map_or(seen, |whole| whole + GAIN * (seen - whole)));
        }
        if bytes < LEARN_BYTES_MIN {
            return;
        }
        let seen = ((took - FIXED_NS) / approximate(bytes)).clamp(NS_PER_BYTE_MIN, NS_PER_BYTE_MAX);
        let slope = speed
            .ns_per_byte
            .map_or(seen, |slope| slope + GAIN * (seen - slope));
        speed.ns_per_byte = Some(slope);
    }
}

/// The octave of a size, and what part of the octave's most bytes it is: above a half, and 1 where all sizes count alike.
fn octave_of(bytes: usize) -> (usize, f64) {
    let octave = bytes.checked_ilog2().unwrap_or(0).max(FIRST_OCTAVE) - FIRST_OCTAVE;
    let octave = usize::try_from(octave).map_or(OCTAVES - 1, |octave| octave.min(OCTAVES - 1));
    let whole = 2usize << (FIRST_OCTAVE as usize + octave);
    if octave == 0 || bytes > whole {
        (octave, 1.0)
    } else {
        (octave, approximate(bytes) / approximate(whole))
    }
}

fn approximate(bytes: usize) -> f64 {
    u32::try_from(bytes).map_or(f64::from(u32::MAX), f64::from)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive by construction; `as` saturates"
)]
fn nanos(ns: f64) -> Nanos {
    Nanos(ns as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn converges_to_what_it_measures() {
        let (target, kernel) = (TargetIndex(1), KernelClass(3));
        let mut predictor = MovingAverage::default();
        for _ in 0..100 {
            predictor.learn(target, kernel, 100_000, Nanos(510_000));
        }
        let predicted = predictor.predict(target, kernel, 200_000).0;
        assert!((1_000_000..1_020_000).contains(&predicted), "{predicted}");
    }

    #[test]
    fn one_wild_measurement_moves_it_by_a_tenth_at_most() {
        let (target, kernel) = (TargetIndex(0), KernelClass(0));
        let mut predictor = MovingAverage::default();
        predictor.learn(target, kernel, 100_000, Nanos(1_010_000));
        predictor.learn(target, kernel, 100_000, Nanos(0));
        let predicted = predictor.predict(target, kernel, 100_000).0;
        assert!((900_000..1_010_000).contains(&predicted), "{predicted}");
    }

    #[test]
    fn frequent_small_jobs_do_not_make_large_ones_look_fast() {
        let (target, kernel) = (TargetIndex(1), KernelClass(3));
        let mut predictor = MovingAverage::default();
        for _ in 0..20 {
            predictor.learn(target, kernel, 128 << 10, Nanos(576_000));
            for _ in 0..30 {
                predictor.learn(target, kernel, 2678, Nanos(13_500));
            }
            let large = predictor.predict(target, kernel, 128 << 10).0;
            let small = predictor.predict(target, kernel, 2678).0;
            assert!((570_000..580_000).contains(&large), "{large}");
            assert!((13_000..14_000).contains(&small), "{small}");
        }
    }

    #[test]
    fn tiny_jobs_teach_nothing() {
        let mut predictor = MovingAverage::default();
        let before = predictor.predict(TargetIndex(0), KernelClass(0), 4096);
        predictor.learn(TargetIndex(0), KernelClass(0), 1, Nanos(50_000_000));
        assert_eq!(
            predictor.predict(TargetIndex(0), KernelClass(0), 4096),
            before
        );
    }

    #[test]
    fn what_was_not_measured_is_not_said_to_be() {
        let (target, kernel) = (TargetIndex(0), KernelClass(0));
        let mut predictor = MovingAverage::default();
        let measured = |predictor: &MovingAverage, bytes| predictor.measured(target, kernel, bytes);
        assert_eq!(measured(&predictor, 500), None);
        predictor.learn(target, kernel, 500, Nanos(80_000));
        assert_eq!(predictor.measured(target, KernelClass(1), 500), None);
        assert_eq!(predictor.measured(TargetIndex(1), kernel, 500), None);
        // Small jobs tell of jobs as small, and of none that are larger.
        for bytes in [0, 1, 500, 511] {
            let Nanos(took) = measured(&predictor, bytes).unwrap();
            assert!((79_000..81_000).contains(&took), "{bytes}: {took}");
        }
        assert_eq!(measured(&predictor, 512), None);
        // A larger job tells of every smaller one that was not measured itself.
        predictor.learn(target, kernel, 100_000, Nanos(40_000_000));
        let Nanos(took) = measured(&predictor, 70_000).unwrap();
        assert!((27_000_000..29_000_000).contains(&took), "{took}");
        let Nanos(took) = measured(&predictor, 2_000).unwrap();
        assert!(took >= 40_000_000, "{took}");
        let Nanos(took) = measured(&predictor, 500).unwrap();
        assert!((79_000..81_000).contains(&took), "{took}");
        assert_eq!(measured(&predictor, 200_000), None);
        for bytes in [usize::MAX, 1 << 40, 1 << 27] {
            predictor.learn(target, kernel, bytes, Nanos(u64::MAX));
            assert!(measured(&predictor, bytes).is_some(), "{bytes}");
        }
    }
}
