//! How long requests spend in a phase, as a histogram whose buckets name a trace each.
//!
//! Owns counting and its text (OpenMetrics 1.0, "Histogram", "Exemplars"). Invariants: counting takes no lock and waits
//! for nobody; an exemplar is left out where another thread is just writing one. Why not the library's: it counts under a
//! lock, and what it takes for exemplars under a second.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

/// Upper bound of the first bucket, nanoseconds.
const FIRST_NS: u64 = 50_000;
/// Buckets with a bound, each twice as wide as the one before: 50 us to 26 s. One more has none.
const BUCKETS: usize = 20;

/// A trace that an observation stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceName(pub u128);

/// See the module's head.
#[derive(Debug, Default)]
pub(super) struct PhaseHistogram {
    counts: [AtomicU64; BUCKETS + 1],
    sum_ns: AtomicU64,
    /// The last of each bucket.
    exemplars: [Mutex<Option<Exemplar>>; BUCKETS + 1],
}

#[derive(Clone, Copy, Debug)]
struct Exemplar {
    trace: TraceName,
    time: Duration,
    at: SystemTime,
}

impl PhaseHistogram {
    /// Counts one, which stood in `trace`.
    pub(super) fn observe(&self, time: Duration, trace: Option<(TraceName, SystemTime)>) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let bucket = bucket_of(ns);
        if let Some(count) = self.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        if let Some((trace, at)) = trace
            && let Some(Some(mut exemplar)) = self.exemplars.get(bucket).map(Mutex::try_lock)
        {
            *exemplar = Some(Exemplar { trace, time, at });
        }
    }

    /// Sum of all, and how many in each bucket, its upper bound in seconds first.
    pub(super) fn read(&self) -> (f64, Vec<(f64, u64)>) {
        let counts = self.counts.iter().enumerate();
        let counts = counts.map(|(at, count)| (bound(at), count.load(Ordering::Relaxed)));
        let sum = Duration::from_nanos(self.sum_ns.load(Ordering::Relaxed));
        (sum.as_secs_f64(), counts.collect())
    }

    /// Its lines, under `name` and with `label`, as `phase="queue"`.
    pub(super) fn encode(&self, name: &str, label: &str, out: &mut String) {
        let (sum, counts) = self.read();
        let all: u64 = counts.iter().map(|(_, count)| count).sum();
        // Writing to a String cannot fail.
        let _ = writeln!(out, "{name}_sum{{{label}}} {sum}");
        let _ = writeln!(out, "{name}_count{{{label}}} {all}");
        let mut below = 0_u64;
        for ((bound, count), exemplar) in counts.into_iter().zip(&self.exemplars) {
            below += count;
            let _ = match bound.is_finite() {
                true => write!(out, "{name}_bucket{{le=\"{bound:?}\",{label}}} {below}"),
                false => write!(out, "{name}_bucket{{le=\"+Inf\",{label}}} {below}"),
            };
            if let Some(Exemplar { trace, time, at }) = *exemplar.lock() {
                let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
                let _ = write!(
                    out,
                    " # {{trace_id=\"{:032x}\"}} {} {:.3}",
                    trace.0,
                    time.as_secs_f64(),
                    at.as_secs_f64()
                );
            }
            out.push('\n');
        }
    }
}

/// The first bucket that is wide enough.
fn bucket_of(ns: u64) -> usize {
    let doublings = u64::BITS - (ns.saturating_sub(1) / FIRST_NS).leading_zeros();
    usize::try_from(doublings).map_or(BUCKETS, |doublings| doublings.min(BUCKETS))
}

/// Upper bound of a bucket, seconds.
fn bound(bucket: usize) -> f64 {
    match u32::try_from(bucket) {
        Ok(doublings) if bucket < BUCKETS => {
            Duration::from_nanos(FIRST_NS << doublings).as_secs_f64()
        }
        _ => f64::INFINITY,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_takes_what_is_no_longer_than_its_bound() {
        for (ns, bucket) in [
            (0, 0),
            (1, 0),
            (FIRST_NS, 0),
            (FIRST_NS + 1, 1),
            (2 * FIRST_NS, 1),
            (2 * FIRST_NS + 1, 2),
            (FIRST_NS << 19, 19),
            ((FIRST_NS << 19) + 1, BUCKETS),
            (u64::MAX, BUCKETS),
        ] {
            assert_eq!(bucket_of(ns), bucket, "{ns} ns");
            let time = Duration::from_nanos(ns).as_secs_f64();
            assert!(time <= bound(bucket), "{ns} ns");
            assert!(bucket == 0 || time > bound(bucket - 1), "{ns} ns");
        }
    }

    #[test]
    fn its_text_is_cumulative_and_names_the_last_trace() {
        let histogram = PhaseHistogram::default();
        let at = UNIX_EPOCH + Duration::from_millis(1_500);
        histogram.observe(Duration::from_micros(60), Some((TraceName(7), at)));
        histogram.observe(Duration::from_micros(70), Some((TraceName(0xabc), at)));
        histogram.observe(Duration::from_secs(100), None);
        let mut text = String::new();
        histogram.encode("x", "phase=\"queue\"", &mut text);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2 + BUCKETS + 1);
        assert_eq!(lines[0], "x_sum{phase=\"queue\"} 100.00013");
        assert_eq!(lines[1], "x_count{phase=\"queue\"} 3");
        assert_eq!(lines[2], "x_bucket{le=\"5e-5\",phase=\"queue\"} 0");
        assert_eq!(
            lines[3],
            "x_bucket{le=\"0.0001\",phase=\"queue\"} 2 # {trace_id=\"00000000000000000000000000000abc\"} 0.00007 1.500"
        );
        assert_eq!(lines[21], "x_bucket{le=\"26.2144\",phase=\"queue\"} 2");
        assert_eq!(lines[22], "x_bucket{le=\"+Inf\",phase=\"queue\"} 3");
    }

    #[test]
    fn what_threads_count_at_once_is_all_counted() {
        let histogram = PhaseHistogram::default();
        std::thread::scope(|scope| {
            for number in 0..4 {
                let histogram = &histogram;
                scope.spawn(move || {
                    let trace = Some((TraceName(number), UNIX_EPOCH));
                    for us in 0..1_000 {
                        histogram.observe(Duration::from_micros(us), trace);
                    }
                });
            }
        });
        let (sum, counts) = histogram.read();
        assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), 4_000);
        assert!((sum - 4.0 * 0.4995).abs() < 1e-9, "{sum}");
    }
}
