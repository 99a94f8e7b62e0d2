//! What a gateway's parts cost: rows that differ in one thing, compared.
//!
//! Owns the pairs. Every figure is a ratio of windows of the same round. It judges nothing: these have no thresholds.

use crate::contender::Row;
use crate::results::{Cell, Run};
use crate::statistics::Estimate;

/// A pair: what is in the first and not in the second.
const PAIRS: [(&str, Row, Row); 4] = [
    (
        "a tenant's limits, every one set",
        Row::FAAM_LIMITED_3,
        Row::FAAM_3,
    ),
    (
        "spans sent to a collector, every request sampled",
        Row::FAAM_SPANS_3,
        Row::FAAM_3,
    ),
    ("verification", Row::FAAM_3, Row::FAAM_OFF_3),
    (
        "what came since the other build",
        Row::FAAM_3,
        Row::FAAM_BEFORE_3,
    ),
];

/// What a part costs at a cell.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    /// Of what.
    pub(crate) what: &'static str,
    /// With it, and without.
    pub(crate) rows: (Row, Row),
    /// Where.
    pub(crate) cell: Cell,
    /// CPU per request with it / without.
    pub(crate) cpu: Estimate,
    /// p99 with it / without, where windows were long enough.
    pub(crate) p99: Option<Estimate>,
}

/// All that a run can tell.
pub(crate) fn costs(run: &Run) -> Vec<Cost> {
    let of = |&(what, with, without): &(&'static str, Row, Row)| {
        let cells = run.cells().into_iter();
        cells
            .filter_map(|cell| {
                Some(Cost {
                    what,
                    rows: (with, without),
                    cell,
                    cpu: run.ratio((with, without), cell, |w| Some(w.cpu_us_per_request))?,
                    p99: run.ratio((with, without), cell, |w| w.p99_ms),
                })
            })
            .collect::<Vec<_>>()
    };
    PAIRS.iter().flat_map(of).collect()
}

impl Cost {
    /// `1.03 [1.01, 1.05]`, and the same of p99.
    pub(crate) fn figures(&self) -> String {
        let shown = |e: &Estimate| format!("{:.2} [{:.2}, {:.2}]", e.median, e.low, e.high);
        let p99 = self.p99.as_ref().map(|p99| format!(", p99 {}", shown(p99)));
        format!(
            "CPU per request {}{}",
            shown(&self.cpu),
            p99.unwrap_or_default()
        )
    }
}
