//! How long a job will take on a target: a fixed part and a part per byte, learned by moving average.

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

/// Learned speeds by target and kernel class.
#[derive(Clone, Debug, Default)]
pub struct Predictor {
    ns_per_byte: HashMap<(TargetIndex, KernelClass), f64>,
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

    /// Learn that it took `took`.
    pub fn learn(&mut self, target: TargetIndex, kernel: KernelClass, bytes: usize, took: Nanos) {
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
}
