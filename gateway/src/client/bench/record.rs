//! What a load has measured: latencies by phase, throughput over time, engines, refusals.
//!
//! Owns the histograms. Latencies are whole microseconds, exact to three digits. It does not know
//! when a request was meant to begin: whoever records says how long it took.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::client::facts::Facts;

/// Digits that histograms keep.
const DIGITS: u8 = 3;
/// Longest time that is told apart, in microseconds: an hour.
const US_MAX: u64 = 3_600_000_000;
/// Steps of time in which throughput is counted.
const STEPS: usize = 120;
/// Most kinds of refusals, and most engines, that are told apart.
const LABELS_MAX: usize = 64;
/// Phases of `Server-Timing` that are kept, in the order of a request.
pub(crate) const PHASES: [&str; 7] = [
    "admit", "receive", "load", "queue", "transfer", "device", "verify",
];
/// From the caller's clock, less the gateway's: network, connection, and this client.
pub(crate) const OUTSIDE: &str = "outside";
/// Percentiles that are reported.
pub(crate) const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

/// Everything that was measured with one size.
pub(crate) struct Record {
    total: Histogram<u64>,
    phases: Vec<(&'static str, Histogram<u64>)>,
    step: Duration,
    bytes_by_step: Vec<u64>,
    requests: u64,
    bytes_in: u64,
    bytes_out: u64,
    elapsed: Duration,
    engines: BTreeMap<String, u64>,
    refusals: BTreeMap<String, u64>,
}

impl Record {
    /// Nothing yet; `planned` is how long it is meant to last.
    pub(crate) fn new(planned: Duration) -> Self {
        let steps = u32::try_from(STEPS).unwrap_or(u32::MAX);
        Self {
            total: histogram(),
            phases: PHASES
                .iter()
                .chain(&[OUTSIDE])
                .map(|phase| (*phase, histogram()))
                .collect(),
            step: (planned / steps).max(Duration::from_millis(10)),
            bytes_by_step: Vec::new(),
            requests: 0,
            bytes_in: 0,
            bytes_out: 0,
            elapsed: Duration::ZERO,
            engines: BTreeMap::new(),
            refusals: BTreeMap::new(),
        }
    }

    /// A request was answered, `at` after the beginning, `took` after it was meant to begin.
    pub(crate) fn answer(
        &mut self,
        at: Duration,
        took: Duration,
        sent: u64,
        got: u64,
        facts: &Facts,
    ) {
        self.total.saturating_record(us(took));
        let mut gateway = None;
        for (phase, ms) in &facts.server_timing_ms {
            let Some(ms) = ms.as_f64() else { continue };
            let time = Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default();
            if phase == "total" {
                gateway = Some(time);
            } else if let Some((_, phase)) = self.phases.iter_mut().find(|(name, _)| name == phase)
            {
                phase.saturating_record(us(time));
            }
        }
        if let Some(gateway) = gateway
            && let Some((_, outside)) = self.phases.last_mut()
        {
            outside.saturating_record(us(took.saturating_sub(gateway)));
        }
        self.requests += 1;
        self.bytes_in = self.bytes_in.saturating_add(sent);
        self.bytes_out = self.bytes_out.saturating_add(got);
        self.elapsed = self.elapsed.max(at);
        let step =
            usize::try_from(at.as_nanos() / self.step.as_nanos().max(1)).unwrap_or(usize::MAX);
        // What ends after the planned time is counted in its last step.
        let step = step.min(STEPS);
        if self.bytes_by_step.len() <= step {
            self.bytes_by_step.resize(step + 1, 0);
        }
        if let Some(bytes) = self.bytes_by_step.get_mut(step) {
            *bytes = bytes.saturating_add(sent);
        }
        count(&mut self.engines, engines_label(facts));
    }

    /// A request was refused, or got no answer.
    pub(crate) fn refusal(&mut self, at: Duration, label: String) {
        self.elapsed = self.elapsed.max(at);
        count(&mut self.refusals, label);
    }

    /// Requests that were answered.
    pub(crate) fn requests(&self) -> u64 {
        self.requests
    }

    /// Requests that were not.
    pub(crate) fn refused(&self) -> u64 {
        self.refusals.values().sum()
    }

    /// Why not, and how often.
    pub(crate) fn refusals(&self) -> impl Iterator<Item = (&str, u64)> {
        self.refusals
            .iter()
            .map(|(label, count)| (label.as_str(), *count))
    }

    /// Who served, and how often.
    pub(crate) fn engines(&self) -> impl Iterator<Item = (&str, u64)> {
        self.engines
            .iter()
            .map(|(label, count)| (label.as_str(), *count))
    }

    /// Requests a second.
    pub(crate) fn requests_per_second(&self) -> f64 {
        as_f64(self.requests) / self.seconds()
    }

    /// Original bytes a second, in 10^6.
    pub(crate) fn mb_per_second(&self) -> f64 {
        as_f64(self.bytes_in) / self.seconds() / 1e6
    }

    /// Original bytes by bytes of answers.
    pub(crate) fn ratio(&self) -> f64 {
        as_f64(self.bytes_in) / as_f64(self.bytes_out.max(1))
    }

    /// From the first request to the last answer.
    pub(crate) fn seconds(&self) -> f64 {
        self.elapsed.as_secs_f64().max(1e-6)
    }

    /// Latency as callers see it.
    pub(crate) fn total(&self) -> &Histogram<u64> {
        &self.total
    }

    /// Phases that any answer told of.
    pub(crate) fn phases(&self) -> impl Iterator<Item = (&'static str, &Histogram<u64>)> {
        let told = self.phases.iter().filter(|(_, times)| !times.is_empty());
        told.map(|(name, times)| (*name, times))
    }

    /// Seconds since the beginning, and MB/s, step by step.
    pub(crate) fn throughput(&self) -> Vec<(f64, f64)> {
        let step = self.step.as_secs_f64();
        // The last step is cut by the end: its bytes belong to less time than it has.
        let whole = self.bytes_by_step.len().saturating_sub(1).max(1);
        let steps = (0u32..).zip(&self.bytes_by_step).take(whole);
        steps
            .map(|(index, bytes)| {
                let at = (f64::from(index) + 0.5) * step;
                (at, as_f64(*bytes) / step / 1e6)
            })
            .collect()
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let phases: serde_json::Map<_, _> = self
            .phases()
            .map(|(name, times)| (name.to_owned(), percentiles(times)))
            .collect();
        json!({
            "requests": self.requests,
            "refused": self.refused(),
            "refusals": self.refusals,
            "seconds": self.seconds(),
            "requests_per_second": self.requests_per_second(),
            "mb_per_second": self.mb_per_second(),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "ratio": self.ratio(),
            "latency_ms": percentiles(&self.total),
            "phases_ms": phases,
            "engines": self.engines,
            "throughput_mb_per_second": self.throughput(),
        })
    }
}

/// Milliseconds at a percentile.
pub(crate) fn ms_at(times: &Histogram<u64>, percentile: f64) -> f64 {
    as_f64(times.value_at_percentile(percentile)) / 1e3
}

fn percentiles(times: &Histogram<u64>) -> Value {
    let mut value: serde_json::Map<_, _> = PERCENTILES
        .iter()
        .map(|(name, percentile)| ((*name).to_owned(), ms_at(times, *percentile).into()))
        .collect();
    value.insert("max".to_owned(), (as_f64(times.max()) / 1e3).into());
    value.insert("mean".to_owned(), (times.mean() / 1e3).into());
    value.into()
}

/// The engines of one answer, without their shares: `cpu`, `fpga0 (simulated)`, `cpu + fpga0 (simulated)`.
fn engines_label(facts: &Facts) -> String {
    let mut names: Vec<_> = facts
        .engines()
        .into_iter()
        .map(|engine| {
            let card = engine.name.split('.').next().unwrap_or_default();
            let mark = if engine.simulated { " (simulated)" } else { "" };
            format!("{card}{mark}")
        })
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        return "not told".to_owned();
    }
    names.join(" + ")
}

fn count(counts: &mut BTreeMap<String, u64>, label: String) {
    if counts.len() < LABELS_MAX || counts.contains_key(&label) {
        *counts.entry(label).or_default() += 1;
    } else {
        *counts.entry("other".to_owned()).or_default() += 1;
    }
}

fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, US_MAX, DIGITS) {
        Ok(histogram) => histogram,
        // The bounds are constants that it accepts; a test makes one.
        Err(_) => unreachable!("{DIGITS} digits up to {US_MAX} are accepted"),
    }
}

fn us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(US_MAX)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits of a count or of microseconds are plenty in a report"
)]
pub(crate) fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(backend: &str, timing: &[(&str, f64)]) -> Facts {
        Facts {
            backend: Some(backend.to_owned()),
            server_timing_ms: timing
                .iter()
                .map(|(phase, ms)| ((*phase).to_owned(), (*ms).into()))
                .collect(),
            ..Facts::default()
        }
    }

    #[test]
    fn answers_are_summed_and_sorted_by_phase() {
        let mut record = Record::new(Duration::from_secs(2));
        let facts = facts(
            "fpga0.1;simulated;blocks=1, cpu;blocks=1",
            &[("queue", 1.0), ("total", 3.0)],
        );
        for index in 1..=1000u64 {
            let at = Duration::from_millis(2 * index);
            record.answer(at, Duration::from_millis(index), 1000, 250, &facts);
        }
        record.refusal(Duration::from_secs(1), "429 over-rate".to_owned());
        assert_eq!((record.requests(), record.refused()), (1000, 1));
        assert!((record.ratio() - 4.0).abs() < 1e-9);
        assert!((record.requests_per_second() - 500.0).abs() < 1.0);
        assert!((ms_at(record.total(), 50.0) - 500.0).abs() < 2.0);
        assert!((ms_at(record.total(), 99.0) - 990.0).abs() < 2.0);
        let phases: Vec<_> = record.phases().map(|(name, _)| name).collect();
        assert_eq!(phases, ["queue", OUTSIDE]);
        assert_eq!(
            record.engines().collect::<Vec<_>>(),
            [("cpu + fpga0 (simulated)", 1000)]
        );
        let throughput = record.throughput();
        assert!(throughput.len() > 100, "{}", throughput.len());
        assert!(
            throughput.iter().all(|(_, mb)| (0.3..0.7).contains(mb)),
            "{throughput:?}"
        );
    }

    #[test]
    fn labels_are_bounded() {
        let mut record = Record::new(Duration::from_secs(1));
        for index in 0..1000 {
            record.refusal(Duration::ZERO, format!("{index}"));
        }
        assert_eq!(record.refusals().count(), LABELS_MAX + 1);
        assert_eq!(record.refused(), 1000);
    }
}
