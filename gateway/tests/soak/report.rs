//! What a soak came to: for people, and as a file.
//!
//! Owns the figures' names. Invariant: a figure stands here only if it was counted or measured in this run, also in one that
//! failed. It does not judge.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::accounts::{Checks, Use};
use crate::chaos::Done;
use crate::load::{Failures, Tally};
use crate::process_log::ProcessLog;
use crate::quiet::Leaks;

/// Reasons that are told apart.
const REASONS_MAX: usize = 40;

/// Everything that is reported.
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) took: Duration,
    pub(crate) callers: usize,
    pub(crate) cards: u64,
    pub(crate) tally: Tally,
    pub(crate) failed: Failures,
    pub(crate) done: Done,
    pub(crate) leaks: Leaks,
    pub(crate) checks: Checks,
    pub(crate) usage: Use,
    pub(crate) gateways_killed: u64,
    pub(crate) gateways_stopped: u64,
    pub(crate) recoveries: Recoveries,
}

/// What gateways' logs say of their cards, over all lives.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recoveries {
    /// From a fault's detection to service again, milliseconds.
    readmissions_ms: Vec<u64>,
    /// Queue pairs and functions taken out, by rung and what was detected.
    quarantined: BTreeMap<String, u64>,
    cards_lost: u64,
    /// Why, numbers left out.
    lost_because: BTreeMap<String, u64>,
    fences: BTreeMap<&'static str, u64>,
}

impl Recoveries {
    /// With a life's log.
    pub(crate) fn add(&mut self, log: &ProcessLog) {
        for line in log.text().lines() {
            if let Some(fence) = ["fence (b)", "fence (c)", "fence (d)", "fence (e)"]
                .into_iter()
                .find(|fence| line.contains(fence))
            {
                *self.fences.entry(fence).or_default() += 1;
            }
            let Some(detail) = detail(line) else {
                continue;
            };
            let is = |kind: &str| line.contains(kind);
            if is("card.up") {
                self.readmissions_ms.extend(detail["after_ms"].as_u64());
            } else if is("card.quarantined") || is("card.queue-quarantined") {
                let rung = detail["rung"].as_str().unwrap_or("?");
                let kind = format!("{rung}: {}", detail["fault"].as_str().unwrap_or("?"));
                *self.quarantined.entry(kind).or_default() += 1;
            } else if is("card.lost") {
                self.cards_lost += 1;
                let why = without_numbers(detail["why"].as_str().unwrap_or("?"));
                if self.lost_because.len() < REASONS_MAX || self.lost_because.contains_key(&why) {
                    *self.lost_because.entry(why).or_default() += 1;
                }
            }
        }
        self.readmissions_ms.sort_unstable();
    }

    /// For people.
    pub(crate) fn print(&self) {
        println!(
            "functions quarantined {:?}, cards lost {}, {:?}; re-admissions {}: p50 {} ms, p99 {} ms, slowest {} ms",
            self.quarantined,
            self.cards_lost,
            self.fences,
            self.readmissions_ms.len(),
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(1.0),
        );
        for (why, count) in &self.lost_because {
            println!("  {count:>9}  lost: {why}");
        }
    }

    fn quantile(&self, of: f64) -> u64 {
        let last = self.readmissions_ms.len().saturating_sub(1);
        let at = (last as f64 * of).round();
        let at = (0..=last).rev().find(|n| *n as f64 <= at).unwrap_or(0);
        self.readmissions_ms.get(at).copied().unwrap_or(0)
    }
}

/// A reason with the same words is the same reason.
fn without_numbers(why: &str) -> String {
    let words = why
        .split(' ')
        .map(|word| match word.contains(|c: char| c.is_ascii_digit()) {
            true => "#",
            false => word,
        });
    words.collect::<Vec<_>>().join(" ")
}

/// The detail of an event in a log's line.
fn detail(line: &str) -> Option<Value> {
    let (_, detail) = line.split_once("detail={")?;
    let text = format!("{{{detail}");
    let mut values = serde_json::Deserializer::from_str(&text).into_iter();
    values.next()?.ok()
}

impl Report {
    /// The file, below the target directory.
    pub(crate) fn write(&self) -> Result<PathBuf, String> {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/soak");
        let failed = |error: std::io::Error| format!("{}: {error}", dir.display());
        std::fs::create_dir_all(&dir).map_err(failed)?;
        let path = dir.join("soak.json");
        let text = serde_json::to_string_pretty(&self.json()).map_err(|error| error.to_string())?;
        std::fs::write(&path, text).map_err(failed)?;
        Ok(path)
    }

    fn json(&self) -> Value {
        let times = |times: &Histogram<u64>| {
            json!({
                "requests": times.len(),
                "p50_us": times.value_at_quantile(0.5),
                "p99_us": times.value_at_quantile(0.99),
                "max_us": times.max(),
            })
        };
        let (tally, done, leaks) = (&self.tally, &self.done, &self.leaks);
        let recoveries = &self.recoveries;
        let readmissions = json!({
            "count": recoveries.readmissions_ms.len(),
            "p50_ms": recoveries.quantile(0.5),
            "p99_ms": recoveries.quantile(0.99),
            "max_ms": recoveries.quantile(1.0),
        });
        json!({
            "seed": self.seed,
            "seconds": self.took.as_secs_f64(),
            "callers": self.callers,
            "simulated_cards": self.cards,
            "lost": self.failed.lost,
            "wrong": self.failed.wrong,
            "leaked": self.failed.leaked,
            "failed_otherwise": self.failed.other,
            "requests": {
                "ended": tally.ended,
                "by_outcome": tally.by_outcome,
                "right_by_backend": tally.by_backend,
                "decoded_by_other_programs_too": tally.decoded_by_programs,
                "bytes_sent": tally.bytes_sent,
                "bytes_received": tally.bytes_received,
                "calm": times(&tally.calm),
                "chaos": times(&tally.chaos),
            },
            "faults": {
                "set": done.faults_set,
                "struck": done.faults_struck,
                "commands_unheard": done.faults_unheard,
                "card_processes_killed": done.cards_killed,
                "card_processes_stopped": done.cards_stopped,
                "resets_by_operator": done.resets,
                "resets_by_operator_refused": done.resets_refused,
                "drains_by_operator": done.drains,
                "gateways_killed": self.gateways_killed,
                "gateways_stopped_in_order": self.gateways_stopped,
            },
            "recovery": {
                "functions_quarantined": recoveries.quarantined,
                "cards_lost": recoveries.cards_lost,
                "cards_lost_because": recoveries.lost_because,
                "fences": recoveries.fences,
                "readmissions": readmissions,
            },
            "rest": {
                "quiet_points": leaks.points,
                "quiet_points_of_one_life_max": leaks.points_of_one_life_max,
                "quiet_points_with_quarantine": leaks.points_in_quarantine,
                "functions_reset_for_quarantine": leaks.functions_reset_at_points,
                "functions_brought_back_by_an_operator": leaks.functions_brought_back,
                "quarantined_bytes_max": leaks.quarantined_bytes_max,
                "descriptors_more_max": leaks.descriptors_more_max,
                "runtime_threads_more_max": leaks.runtime_threads_more_max,
                "resident_kib_max": leaks.resident_kib_max,
                "resident_kib_more_max": leaks.resident_kib_more_max,
                "resident_kib_of_the_longest_life": leaks.resident_kib_of_that_life,
            },
            "usage": {
                "exact_checks": self.checks.exact,
                "checks_after_kill": self.checks.after_kill,
                "unwritten_after_kills": self.checks.unwritten,
                "requests": self.usage.requests,
                "bytes_in": self.usage.bytes_in,
                "bytes_out": self.usage.bytes_out,
            },
        })
    }

    /// For people.
    pub(crate) fn print(&self) {
        let (tally, done, leaks) = (&self.tally, &self.done, &self.leaks);
        println!(
            "soak of {:.0} s, seed {}, {} callers, {} simulated cards: {} requests, {} MB sent, {} MB received; {} lost, {} wrong, \
             {} leaked, {} failed otherwise",
            self.took.as_secs_f64(),
            self.seed,
            self.callers,
            self.cards,
            tally.ended,
            tally.bytes_sent / 1_000_000,
            tally.bytes_received / 1_000_000,
            self.failed.lost,
            self.failed.wrong,
            self.failed.leaked,
            self.failed.other,
        );
        for (outcome, count) in &tally.by_outcome {
            println!("  {count:>9}  {outcome}");
        }
        println!(
            "right answers by the backend that their heads name: {:?}",
            tally.by_backend
        );
        println!(
            "  decoded by other programs too: {}",
            tally.decoded_by_programs
        );
        for (what, times) in [("calm", &tally.calm), ("chaos", &tally.chaos)] {
            println!(
                "{what}: {} right answers, p50 {:.1} ms, p99 {:.1} ms, slowest {:.0} ms",
                times.len(),
                times.value_at_quantile(0.5) as f64 / 1e3,
                times.value_at_quantile(0.99) as f64 / 1e3,
                times.max() as f64 / 1e3,
            );
        }
        println!("faults set: {:?}", done.faults_set);
        println!("faults struck, at least: {:?}", done.faults_struck);
        println!(
            "card processes killed {}, stopped {}; functions reset by hand {} ({} refused), drained {}",
            done.cards_killed, done.cards_stopped, done.resets, done.resets_refused, done.drains
        );
        println!(
            "gateways killed {}, stopped in order {}",
            self.gateways_killed, self.gateways_stopped
        );
        self.recoveries.print();
        println!(
            "quiet points {} (up to {} in one life): DMA memory all free, at {} of them only after a reset by hand ({} \
             resets of functions, up to {} bytes in one's quarantine); no permit out; at most {} descriptors and {} runtime \
             threads more than at a life's beginning; resident at most {} KiB, at most {} KiB more than at a life's first",
            leaks.points,
            leaks.points_of_one_life_max,
            leaks.points_in_quarantine,
            leaks.functions_reset_at_points,
            leaks.quarantined_bytes_max,
            leaks.descriptors_more_max,
            leaks.runtime_threads_more_max,
            leaks.resident_kib_max,
            leaks.resident_kib_more_max,
        );
        println!(
            "  resident at the quiet points of the longest life in turn, KiB: {:?}",
            leaks.resident_kib_of_that_life
        );
        println!(
            "usage as callers count it: exact {} times, after a kill {} times ({} requests unwritten, in their tenants' favour); \
             {} requests, {} bytes in, {} bytes out",
            self.checks.exact,
            self.checks.after_kill,
            self.checks.unwritten,
            self.usage.requests,
            self.usage.bytes_in,
            self.usage.bytes_out
        );
    }
}
