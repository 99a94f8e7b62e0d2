//! What a plan's simulation gave, as text and as JSON.
//!
//! Owns which figures are told, in which unit, and the answer in a sentence. Invariant: each report says that it is simulated,
//! what of it is a model, and with which seed. It does not know pages.

use std::fmt::Write;

use faam_sched::Nanos;
use faam_sched::simulation::{ClassFigures, Outcome, Refusal, Report, Scenario, TenantFigures};
use serde_json::{Value, json};

use super::fleet::{Fleet, FleetReport};
use super::goal::PERCENTILES;
use super::scenario_file::Plan;
use super::sweep::Sweep;
use crate::columns::columns;

/// What stands under every report.
pub(super) const MODEL: &str = "simulated: the scheduler and the token buckets are the gateway's own; callers, cores, cards and their speeds are models";
/// Of the time, in thousandths, that a tenant must have asked without a pause to be compared with others.
const BUSY_PER_MILLE: u64 = 900;

/// One scenario that was simulated.
pub(super) struct Point {
    /// Of the sweep's parameter.
    pub(super) value: Option<f64>,
    pub(super) fleet: Fleet,
    pub(super) scenario: Scenario,
    pub(super) report: FleetReport,
}

impl Point {
    /// What a sum over the machines that were simulated is to be multiplied by.
    pub(super) const fn scale(&self) -> f64 {
        self.report.scale
    }

    /// Seconds whose requests were counted.
    pub(super) fn seconds(&self) -> f64 {
        self.report.all.counted.0 as f64 / 1e9
    }

    pub(super) fn cards(&self) -> u64 {
        self.scenario.machine.cards.len() as u64 * self.fleet.machines
    }

    /// A count of the sample as a rate of the fleet.
    pub(super) fn rate(&self, count: u64) -> f64 {
        count as f64 * self.scale() / self.seconds()
    }
}

/// All points of a plan.
pub(super) struct Figures {
    pub(super) plan: Plan,
    pub(super) points: Vec<Point>,
    /// Whether each reaches the goal.
    pub(super) met: Vec<bool>,
}

impl Figures {
    pub(super) fn new(plan: Plan, points: Vec<Point>) -> Self {
        let reports: Vec<_> = points.iter().map(|point| &point.report.all).collect();
        let met = plan.goal.met(&reports);
        Self { plan, points, met }
    }

    /// What was simulated, in lines.
    pub(super) fn head(&self) -> Vec<String> {
        let scenario = &self.plan.scenario;
        let mut lines = vec![format!("{}: {MODEL}", self.plan.title)];
        let seconds = scenario.duration.0 / 1_000_000_000;
        lines.push(format!(
            "seed {}, {} s simulated, of which the first {:.1} s are not counted; goal: {}",
            scenario.seed,
            seconds,
            scenario.warm_up.0 as f64 / 1e9,
            self.plan.goal.describe()
        ));
        lines
    }

    /// The answer in a sentence, where a sweep asked for one.
    pub(super) fn answer(&self) -> Option<String> {
        let Sweep { parameter, values } = self.plan.sweep.as_ref()?;
        let name = parameter.name();
        let met = |n: &usize| self.met.get(*n).copied().unwrap_or(false);
        let count = self.met.len();
        let told = if parameter.is_demand() {
            let last = (0..count).take_while(met).last();
            match (last, last.and_then(|last| values.get(last))) {
                (Some(last), Some(value)) if last + 1 < count => {
                    let next = values.get(last + 1).copied().unwrap_or(f64::NAN);
                    format!("the goal holds up to {name} = {value}, and breaks at {next}")
                }
                (Some(_), Some(value)) => {
                    format!("the goal holds up to {name} = {value}, the most that was simulated")
                }
                _ => format!(
                    "the goal does not hold at {name} = {}, the least that was simulated",
                    values.first().copied().unwrap_or(f64::NAN)
                ),
            }
        } else {
            let from = (0..count).rev().take_while(met).last();
            match from.and_then(|from| values.get(from)) {
                Some(value) => format!("the goal is met from {name} = {value} on"),
                None => format!(
                    "the goal is not met at {name} = {}, the most that was simulated",
                    values.last().copied().unwrap_or(f64::NAN)
                ),
            }
        };
        Some(told)
    }

    pub(super) fn text(&self) -> String {
        let mut text = self.head().join("\n");
        text.push_str("\n\n");
        if let Some(sweep) = &self.plan.sweep {
            self.sweep_table(&mut text, sweep);
            if let Some(answer) = self.answer() {
                let _ = writeln!(text, "\n{answer}");
            }
        }
        if let [point] = self.points.as_slice() {
            self.point_tables(&mut text, point);
        }
        text
    }

    fn sweep_table(&self, text: &mut String, sweep: &Sweep) {
        let mut rows = vec![[
            sweep.parameter.title().to_owned(),
            "cards".to_owned(),
            "offered/s".to_owned(),
            "delivered MB/s".to_owned(),
            "p50 ms".to_owned(),
            "p99 ms".to_owned(),
            "p99.9 ms".to_owned(),
            "failed %".to_owned(),
            "cores %".to_owned(),
            "engines %".to_owned(),
            "goal".to_owned(),
        ]];
        for (point, met) in self.points.iter().zip(&self.met) {
            let report = &point.report.all;
            let latency = self.plan.goal.latency(report);
            let [p50, p99, p999] =
                PERCENTILES.map(|(_, per_mille)| ms(latency.per_mille(per_mille)));
            rows.push([
                point.value.unwrap_or(f64::NAN).to_string(),
                point.cards().to_string(),
                number(point.rate(report.classes.iter().map(|class| class.offered).sum())),
                number(point.rate(report.classes.iter().map(|class| class.bytes).sum()) / 1e6),
                p50,
                p99,
                p999,
                format!("{:.2}", self.plan.goal.failed(report) * 100.0),
                format!("{:.0}", report.core_utilisation() * 100.0),
                percent(report.engine_utilisation()),
                if *met { "met" } else { "-" }.to_owned(),
            ]);
        }
        text.push_str(&columns(&rows));
        if let Some(note) = self.sample_note() {
            let _ = writeln!(text, "{note}");
        }
    }

    /// What part of a fleet was simulated, and how uneven it is.
    pub(super) fn sample_note(&self) -> Option<String> {
        let largest = self
            .points
            .iter()
            .max_by_key(|point| point.fleet.machines)?;
        if largest.fleet.machines == 1 {
            return None;
        }
        let sampled = largest.report.all.machines;
        let mut note = format!(
            "of {} machines {sampled} were simulated ({}), each a gateway of its own; rates are theirs times {}",
            largest.fleet.machines,
            largest.fleet.balance.name(),
            number(largest.scale())
        );
        if largest.report.imbalance > 1.0 {
            let _ = write!(
                note,
                "; the fullest machine, which is among them, has {:.2} times the mean's tenants, and the highest p99 of one machine is {} ms",
                largest.report.imbalance,
                ms(largest.report.worst_p99)
            );
        }
        Some(note)
    }

    fn point_tables(&self, text: &mut String, point: &Point) {
        let report = &point.report.all;
        let mut rows = vec![[
            "tenants".to_owned(),
            "number".to_owned(),
            "offered/s".to_owned(),
            "MB/s".to_owned(),
            "p50 ms".to_owned(),
            "p99 ms".to_owned(),
            "p99.9 ms".to_owned(),
            "queue p99 ms".to_owned(),
            "refused %".to_owned(),
            "failed %".to_owned(),
        ]];
        for class in &report.classes {
            let [p50, p99, p999] =
                PERCENTILES.map(|(_, per_mille)| ms(class.latency.per_mille(per_mille)));
            rows.push([
                class.name.clone(),
                class.tenants.to_string(),
                number(point.rate(class.offered)),
                number(point.rate(class.bytes) / 1e6),
                p50,
                p99,
                p999,
                ms(class.waited.per_mille(990)),
                part(class.refused_in_all(), class.offered),
                part(failed_of(class), class.offered),
            ]);
        }
        text.push_str(&columns(&rows));
        text.push('\n');
        for line in promises(point) {
            let _ = writeln!(text, "{line}");
        }
        for line in self
            .reasons(report)
            .into_iter()
            .chain(machine_lines(report))
        {
            let _ = writeln!(text, "{line}");
        }
        if let Some(note) = self.sample_note() {
            let _ = writeln!(text, "{note}");
        }
        let met = self.met.first().copied().unwrap_or(false);
        let _ = writeln!(text, "goal: {}", if met { "met" } else { "not met" });
    }

    /// Refusals and failures by their reason.
    pub(super) fn reasons(&self, report: &Report) -> Vec<String> {
        let mut lines = Vec::new();
        for class in &report.classes {
            let refused = Refusal::ALL
                .iter()
                .map(|refusal| refusal.name())
                .zip(class.refused);
            let ended = Outcome::ALL
                .iter()
                .map(|outcome| outcome.name())
                .zip(class.outcomes);
            let told: Vec<_> = refused
                .chain(ended.skip(1))
                .filter(|(_, count)| *count > 0)
                .map(|(name, count)| format!("{name} x {count}"))
                .collect();
            if !told.is_empty() {
                lines.push(format!("{}: {}", class.name, told.join(", ")));
            }
        }
        lines
    }

    pub(super) fn json(&self) -> Value {
        let points: Vec<_> = self
            .points
            .iter()
            .zip(&self.met)
            .map(|(point, met)| self.point_json(point, *met))
            .collect();
        let scenario = &self.plan.scenario;
        json!({
            "title": self.plan.title,
            "simulated": true,
            "model": MODEL,
            "seed": scenario.seed,
            "duration_s": scenario.duration.0 as f64 / 1e9,
            "warm_up_s": scenario.warm_up.0 as f64 / 1e9,
            "goal": self.plan.goal.describe(),
            "parameter": self.plan.sweep.as_ref().map(|sweep| sweep.parameter.name()),
            "answer": self.answer(),
            "points": points,
        })
    }

    fn point_json(&self, point: &Point, met: bool) -> Value {
        let report = &point.report.all;
        let classes: Vec<_> = report
            .classes
            .iter()
            .enumerate()
            .map(|(number, class)| class_json(point, number, class))
            .collect();
        let all = self.plan.goal.latency(report);
        let mut latency = json!({});
        for (name, per_mille) in PERCENTILES {
            latency[name] = millis(all.per_mille(per_mille)).into();
        }
        let spent = report.core_time;
        let of_cores =
            |time: Nanos| time.0 as f64 / (report.duration.0 as f64 * report.cores as f64).max(1.0);
        json!({
            "value": point.value,
            "met": met,
            "machines": point.fleet.machines,
            "machines_simulated": report.machines,
            "balance": point.fleet.balance.name(),
            "imbalance": point.report.imbalance,
            "cards": point.cards(),
            "cores": u64::from(point.scenario.machine.cores) * point.fleet.machines,
            "latency_ms": latency,
            "worst_machine_p99_ms": millis(point.report.worst_p99),
            "failed": self.plan.goal.failed(report),
            "utilisation": {
                "cores": report.core_utilisation(),
                "http": of_cores(spent.http),
                "verify": of_cores(spent.verify),
                "jobs": of_cores(spent.jobs),
                "engines": report.engine_utilisation(),
            },
            "jain": report.jain(BUSY_PER_MILLE),
            "peaks": {
                "memory_bytes": report.memory_bytes_peak,
                "queued_blocks": report.queued_peak,
                "in_flight": report.in_flight_peak,
            },
            "classes": classes,
            "events": report.events,
            "invariants_checked": report.checks,
            "trace_hash": format!("{:016x}", report.trace_hash),
        })
    }
}

fn class_json(point: &Point, number: usize, class: &ClassFigures) -> Value {
    let mut latency = json!({});
    for (name, per_mille) in PERCENTILES {
        latency[name] = millis(class.latency.per_mille(per_mille)).into();
    }
    let counts = |names: &mut dyn Iterator<Item = (&'static str, u64)>| {
        let counted = names.filter(|(_, count)| *count > 0);
        Value::Object(
            counted
                .map(|(name, count)| (name.to_owned(), count.into()))
                .collect(),
        )
    };
    let kept = Kept::of(point, number);
    json!({
        "name": class.name,
        "tenants": class.tenants,
        "offered_per_s": point.rate(class.offered),
        "delivered_per_s": point.rate(class.delivered()),
        "delivered_mb_per_s": point.rate(class.bytes) / 1e6,
        "latency_ms": latency,
        "latency_max_ms": millis(class.latency.max()),
        "queue_p99_ms": millis(class.waited.per_mille(990)),
        "refused": counts(&mut Refusal::ALL.iter().map(|r| r.name()).zip(class.refused)),
        "outcomes": counts(&mut Outcome::ALL.iter().map(|o| o.name()).zip(class.outcomes)),
        "replayed_blocks": class.replayed,
        "served_us_per_s": kept.served_us_per_s,
        "busy_tenants": kept.busy,
        "share_error_max": kept.share_error_max,
        "cir_kept_min": kept.cir_min,
        "pir_used_max": kept.pir_max,
    })
}

/// What a class's tenants were promised, and had.
#[derive(Default)]
struct Kept {
    /// Reference time of a tenant, the mean.
    served_us_per_s: f64,
    /// Tenants that always asked.
    busy: usize,
    /// How far any of those is from its weight's share of what those had together.
    share_error_max: Option<f64>,
    cir_min: Option<f64>,
    pir_max: Option<f64>,
}

impl Kept {
    fn of(point: &Point, class: usize) -> Self {
        let report = &point.report.all;
        let asked = |tenant: &TenantFigures| {
            u128::from(tenant.backlogged.0) * 1000
                >= u128::from(report.duration.0) * u128::from(BUSY_PER_MILLE)
        };
        // Shares are of what the tenants of one machine had together: tenants of several are not served by the same.
        let busy: Vec<_> = report
            .tenants
            .iter()
            .filter(|tenant| asked(tenant))
            .collect();
        let served: f64 = busy.iter().map(|t| t.served_backlogged.0 as f64).sum();
        let weights: f64 = busy.iter().map(|t| f64::from(t.weight)).sum();
        let mine = || {
            report
                .tenants
                .iter()
                .filter(move |tenant| tenant.class == class)
        };
        let count = mine().count().max(1) as f64;
        let seconds = report.duration.0 as f64 / 1e9;
        let errors = busy
            .iter()
            .filter(|tenant| tenant.class == class)
            .map(|tenant| {
                let share = tenant.served_backlogged.0 as f64 / served;
                (share / (f64::from(tenant.weight) / weights) - 1.0).abs()
            });
        let errors: Vec<_> = errors.collect();
        let thousandths = |value: u64| value as f64 / 1000.0;
        Self {
            served_us_per_s: mine().map(|t| t.served.0 as f64).sum::<f64>() / 1e3 / seconds / count,
            busy: errors.len(),
            share_error_max: (report.machines == 1 && busy.len() > 1)
                .then(|| errors.iter().copied().reduce(f64::max))
                .flatten(),
            cir_min: mine()
                .filter_map(|t| t.cir_per_mille_min)
                .min()
                .map(thousandths),
            pir_max: mine()
                .filter_map(|t| t.pir_per_mille_max)
                .max()
                .map(thousandths),
        }
    }
}

/// Promises that were made, and what was had.
pub(super) fn promises(point: &Point) -> Vec<String> {
    let report = &point.report.all;
    let mut lines = Vec::new();
    for (number, class) in point.scenario.classes.iter().enumerate() {
        let kept = Kept::of(point, number);
        let mut told = Vec::new();
        if class.cir_us_per_s > 0 {
            let had = kept.cir_min.map_or_else(
                || "never asked for without a pause".to_owned(),
                |part| {
                    format!(
                        "at least {:.1} % of it in every window that it was asked for",
                        part * 100.0
                    )
                },
            );
            told.push(format!("guaranteed {} us/s: {had}", class.cir_us_per_s));
        }
        if let Some(pir) = class.pir_us_per_s {
            let most = kept.pir_max.unwrap_or(0.0) * 100.0;
            told.push(format!(
                "peak {pir} us/s: at most {most:.1} % of it in a window, its burst included"
            ));
        }
        if let Some(error) = kept.share_error_max {
            told.push(format!(
                "weight {}: {} tenants that always asked, at most {:.2} % from their share",
                class.weight,
                kept.busy,
                error * 100.0
            ));
        }
        if !told.is_empty() {
            lines.push(format!("{}: {}", class.name, told.join("; ")));
        }
    }
    if let Some(jain) = report.jain(BUSY_PER_MILLE).filter(|_| report.machines == 1) {
        lines.push(format!(
            "Jain's index of device time over weight: {jain:.4}"
        ));
    }
    lines
}

/// What the machine did.
pub(super) fn machine_lines(report: &Report) -> Vec<String> {
    let spent = report.core_time;
    let of_cores =
        |time: Nanos| time.0 as f64 * 100.0 / (report.duration.0 as f64 * report.cores as f64);
    let mut lines = vec![format!(
        "cores {:.1} % busy: HTTP {:.1}, verification {:.1}, jobs {:.1}",
        report.core_utilisation() * 100.0,
        of_cores(spent.http),
        of_cores(spent.verify),
        of_cores(spent.jobs)
    )];
    if let Some(engines) = report.engine_utilisation() {
        let jobs: u64 = report.functions.iter().map(|function| function.jobs).sum();
        lines.push(format!(
            "cards' engines {:.1} % busy, {jobs} blocks",
            engines * 100.0
        ));
    }
    lines.push(format!(
        "at most {} requests in flight, {} blocks queued and {:.1} MB of bodies on one machine",
        report.in_flight_peak,
        report.queued_peak,
        report.memory_bytes_peak as f64 / 1e6
    ));
    lines.push(format!(
        "{} events, {} checks of invariants held, trace {:016x}",
        report.events, report.checks, report.trace_hash
    ));
    lines
}

/// Admitted, and not delivered; who hung up is not failed.
fn failed_of(class: &ClassFigures) -> u64 {
    let failed = [Outcome::Deadline, Outcome::NoRoom, Outcome::NoCard];
    let counts = failed
        .iter()
        .filter_map(|outcome| class.outcomes.get(*outcome as usize));
    counts.sum()
}

pub(super) fn millis(time: Nanos) -> f64 {
    time.0 as f64 / 1e6
}

pub(super) fn ms(time: Nanos) -> String {
    let ms = millis(time);
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 1.0 => format!("{ms:.1}"),
        ms => format!("{ms:.3}"),
    }
}

pub(super) fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 || value == value.round() => format!("{value:.0}"),
        value if value >= 1.0 => format!("{value:.1}"),
        value => format!("{value:.3}"),
    }
}

pub(super) fn percent(part: Option<f64>) -> String {
    part.map_or_else(|| "-".to_owned(), |part| format!("{:.0}", part * 100.0))
}

fn part(count: u64, of: u64) -> String {
    format!("{:.2}", count as f64 * 100.0 / (of.max(1)) as f64)
}
