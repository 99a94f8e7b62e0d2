//! What a plan is held against, and where along a sweep it breaks.
//!
//! Owns the comparison. Invariant: a point that failed more of its requests than allowed meets no goal, however fast the
//! rest was. It does not know what was swept.

use faam_sched::Nanos;
use faam_sched::simulation::{ClassFigures, Histogram, Outcome, Report};

use super::section::{ScenarioError, Section};

/// Requests that may be refused or fail, where the scenario says nothing: one in a hundred.
const FAILED_MAX: f64 = 0.01;
/// Without a latency that was asked for: how many times the least p99 of a sweep still counts as before the knee.
const KNEE: u64 = 4;

/// Percentiles that are shown, and as thousandths.
pub(super) const PERCENTILES: [(&str, u32); 3] = [("p50", 500), ("p99", 990), ("p99.9", 999)];

/// What must be reached.
#[derive(Clone, Debug)]
pub(super) struct Goal {
    /// By which class; `None`: by all together.
    pub(super) class: Option<String>,
    /// Latencies, in the order of [`PERCENTILES`].
    pub(super) limits: [Option<Nanos>; PERCENTILES.len()],
    pub(super) failed_max: f64,
}

impl Default for Goal {
    fn default() -> Self {
        Self {
            class: None,
            limits: [None; PERCENTILES.len()],
            failed_max: FAILED_MAX,
        }
    }
}

impl Goal {
    pub(super) fn read(
        section: Option<Section<'_>>,
        classes: &[String],
    ) -> Result<Self, ScenarioError> {
        let mut goal = Self::default();
        let Some(mut section) = section else {
            return Ok(goal);
        };
        goal.class = section.text("class")?;
        if let Some(class) = &goal.class
            && !classes.contains(class)
        {
            let what = format!(
                "expected the name of one of the tenants: {}",
                classes.join(", ")
            );
            return Err(section.wrong("class", &what));
        }
        goal.limits = [
            section.time("p50")?,
            section.time("p99")?,
            section.time("p999")?,
        ];
        if let Some(failed_max) = section.real("failed_max", 0.0, 1.0)? {
            goal.failed_max = failed_max;
        }
        section.end()?;
        Ok(goal)
    }

    /// In words.
    pub(super) fn describe(&self) -> String {
        let whose = self.class.as_deref().unwrap_or("all tenants");
        let limits: Vec<_> = PERCENTILES
            .iter()
            .zip(self.limits)
            .filter_map(|((name, _), limit)| {
                let ms = limit?.0 / 1_000_000;
                Some(format!("{name} <= {}", crate::quantity::show_ms(ms)))
            })
            .collect();
        let latency = if limits.is_empty() {
            format!("p99 <= {KNEE} times the least of the sweep")
        } else {
            limits.join(", ")
        };
        let failed = self.failed_max * 100.0;
        format!("{whose}: {latency}, at most {failed} % refused or failed")
    }

    /// Latencies that the goal is about.
    pub(super) fn latency(&self, report: &Report) -> Histogram {
        let mut latency = Histogram::default();
        for class in self.classes(report) {
            latency.merge(&class.latency);
        }
        latency
    }

    /// Part of the requests that were refused, came too late or found no engine; who hangs up does not count.
    pub(super) fn failed(&self, report: &Report) -> f64 {
        let (mut offered, mut failed) = (0, 0);
        for class in self.classes(report) {
            let hung_up = class.outcomes.get(Outcome::HungUp as usize).copied();
            let served = class.delivered() + hung_up.unwrap_or(0);
            offered += class.offered;
            failed += class.offered.saturating_sub(served);
        }
        if offered == 0 {
            0.0
        } else {
            failed as f64 / offered as f64
        }
    }

    fn classes<'a>(&'a self, report: &'a Report) -> impl Iterator<Item = &'a ClassFigures> {
        let wanted = self.class.as_deref();
        let mut classes = report.classes.iter();
        std::iter::from_fn(move || classes.find(|class| wanted.is_none_or(|w| w == class.name)))
    }

    /// Whether each point of a sweep, or the only one, reaches it.
    pub(super) fn met(&self, reports: &[&Report]) -> Vec<bool> {
        let latencies: Vec<_> = reports.iter().map(|report| self.latency(report)).collect();
        let least = latencies
            .iter()
            .filter(|latency| latency.count() > 0)
            .map(|latency| latency.per_mille(990))
            .min();
        let asked = self.limits.iter().any(Option::is_some);
        let fast = |latency: &Histogram| {
            let within = |(limit, (_, thousandths)): (&Option<Nanos>, &(&str, u32))| {
                limit.is_none_or(|limit| latency.per_mille(*thousandths) <= limit)
            };
            if asked {
                self.limits.iter().zip(&PERCENTILES).all(within)
            } else {
                least.is_none_or(|least| latency.per_mille(990).0 <= KNEE * least.0)
            }
        };
        reports
            .iter()
            .zip(&latencies)
            .map(|(report, latency)| fast(latency) && self.failed(report) <= self.failed_max)
            .collect()
    }
}
