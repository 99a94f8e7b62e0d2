//! How long a job will take on a target: a fixed part and a part per byte, learned by moving average.
//!
//! Where a wrong "short" would cost others, there is a second answer, [`Predictor::measured`]: what jobs of about that size
//! took, or larger ones, and nothing where there have been none.

use std::collections::HashMap;

use crate::Nanos;
use crate::target::TargetIndex;

/// Kind of work for prediction: the caller numbers kernels and levels as it likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

/// Learned speeds by target and kernel class.
#[derive(Clone, Debug, Default)]
pub struct Predictor {
    ns_per_byte: HashMap<(TargetIndex, KernelClass), f64>,
    /// What a job of the most bytes of an octave takes, by the jobs that were of it.
    ns_by_octave: HashMap<(TargetIndex, KernelClass), [Option<f64>; OCTAVES]>,
}

impl Predictor {
    /// Time that `bytes` of `kernel` will take on `target`.
    #[must_use]
    pub fn predict(&self, target: TargetIndex, kernel: KernelClass, bytes: usize) -> Nanos {
        let slope = self
            .ns_per_byte
            .get(&(target, kernel))
            .copied()
            .unwrap_or(FIRST_GUESS_NS_PER_BYTE);
        nanos(FIXED_NS + slope * approximate(bytes))
    }

    /// What jobs of this size took, or the next larger ones that there have been, which take no less. `None` if there have
    /// been none: small jobs tell nothing about larger ones, for a match finder's work grows faster than the data.
    #[must_use]
    pub fn measured(
        &self,
        target: TargetIndex,
        kernel: KernelClass,
        bytes: usize,
    ) -> Option<Nanos> {
        let octaves = self.ns_by_octave.get(&(target, kernel))?;
        let (octave, share) = octave_of(bytes);
        let (own, larger) = octaves.get(octave..)?.split_first()?;
        own.map(|whole| whole * share)
            .or_else(|| larger.iter().find_map(|&whole| whole))
            .map(nanos)
    }

    /// Learn that it took `took`.
    pub fn learn(&mut self, target: TargetIndex, kernel: KernelClass, bytes: usize, took: Nanos) {
        let octaves = self.ns_by_octave.entry((target, kernel)).or_default();
        let (octave, share) = octave_of(bytes);
        if let Some(whole) = octaves.get_mut(octave) {
            let seen = approximate_u64(took.0) / share;
            *whole = Some(whole.map_or(seen, |whole| whole + GAIN * (seen - whole)));
        }
        if bytes < LEARN_BYTES_MIN {
            return;
        }
        let seen = ((approximate_u64(took.0) - FIXED_NS) / approximate(bytes))
            .clamp(NS_PER_BYTE_MIN, NS_PER_BYTE_MAX);
        self.ns_per_byte
            .entry((target, kernel))
            .and_modify(|slope| *slope += GAIN * (seen - *slope))
            .or_insert(seen);
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

fn approximate_u64(n: u64) -> f64 {
    u32::try_from(n >> 8).map_or(f64::from(u32::MAX), f64::from) * 256.0
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
        let mut predictor = Predictor::default();
        for _ in 0..100 {
            predictor.learn(target, kernel, 100_000, Nanos(510_000));
        }
        let predicted = predictor.predict(target, kernel, 200_000).0;
        assert!((1_000_000..1_020_000).contains(&predicted), "{predicted}");
    }

    #[test]
    fn one_wild_measurement_moves_it_by_a_tenth_at_most() {
        let (target, kernel) = (TargetIndex(0), KernelClass(0));
        let mut predictor = Predictor::default();
        predictor.learn(target, kernel, 100_000, Nanos(1_010_000));
        predictor.learn(target, kernel, 100_000, Nanos(0));
        let predicted = predictor.predict(target, kernel, 100_000).0;
        assert!((900_000..1_010_000).contains(&predicted), "{predicted}");
    }

    #[test]
    fn tiny_jobs_teach_nothing() {
        let mut predictor = Predictor::default();
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
        let mut predictor = Predictor::default();
        let measured = |predictor: &Predictor, bytes| predictor.measured(target, kernel, bytes);
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
