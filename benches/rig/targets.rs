//! Which of the ten targets hold, judged from one run.
//!
//! Owns the thresholds and what each figure is made of. Every figure is a ratio of windows of the same round (or of raw
//! codecs of the same round), its median over the rounds the verdict; where a target speaks of several sizes or levels
//! the worst of them counts. Invariant: what was not measured is `not measured`, never `ok`.

use std::fmt::Write;

use serde::{Deserialize, Serialize};

use crate::anchors::Codec;
use crate::contender::Row;
use crate::results::{Cell, Percentile, Run, WindowFigures};
use crate::statistics::Estimate;

/// How far the sum may fall when users are added, before it counts as falling: a window's own spread.
const SUM_FALLS_MAX: f64 = 0.03;
/// Requests of the memory target.
const MEMORY_CELL: Cell = Cell {
    body_bytes: 1 << 20,
    concurrency: 64,
};
const SMALL: Cell = Cell {
    body_bytes: 1 << 10,
    concurrency: 64,
};
const MIDDLE: Cell = Cell {
    body_bytes: 64 << 10,
    concurrency: 64,
};

/// How a target came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// It holds.
    Ok,
    /// It does not.
    Missed,
    /// The run has not what it needs.
    NotMeasured,
}

/// One target, judged.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Its number: `1`, `1b`.
    pub(crate) target: String,
    /// What it is about.
    pub(crate) what: String,
    /// Whether it holds.
    pub(crate) state: State,
    /// Each figure that was held against a threshold.
    pub(crate) figures: Vec<Figure>,
}

/// A figure and its threshold.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// Of what.
    pub(crate) of: String,
    /// Value, with its interval where it has one.
    pub(crate) value: Estimate,
    /// The threshold.
    pub(crate) threshold: f64,
    /// Whether the value must not exceed the threshold, or not fall below it.
    pub(crate) at_most: bool,
    /// Whether the target's state depends on it; else it is told, no more.
    pub(crate) counts: bool,
    /// Whose windows it is of, where it is of one row's.
    #[serde(default)]
    pub(crate) at: Option<(Row, Cell)>,
}

impl Figure {
    fn new(of: impl Into<String>, value: Estimate, at_most: bool, threshold: f64) -> Self {
        Self {
            of: of.into(),
            value,
            threshold,
            at_most,
            counts: true,
            at: None,
        }
    }

    /// Of this row's windows.
    fn at(mut self, row: Row, cell: Cell) -> Self {
        self.at = Some((row, cell));
        self
    }

    /// Told beside those that count.
    fn told(mut self) -> Self {
        self.counts = false;
        self
    }

    fn at_most(of: impl Into<String>, value: Estimate, threshold: f64) -> Self {
        Self::new(of, value, true, threshold)
    }

    fn at_least(of: impl Into<String>, value: Estimate, threshold: f64) -> Self {
        Self::new(of, value, false, threshold)
    }

    /// Whether the value is on the right side.
    pub(crate) fn holds(&self) -> bool {
        if self.at_most {
            self.value.median <= self.threshold
        } else {
            self.value.median >= self.threshold
        }
    }

    /// How far beyond the threshold, as a factor: above 1 is wrong.
    fn strain(&self) -> f64 {
        if self.at_most {
            self.value.median / self.threshold
        } else {
            self.threshold / self.value.median
        }
    }

    /// `1.07 <= 1.10`, or `1.17 > 1.10`.
    pub(crate) fn compared(&self) -> String {
        let sign = match (self.at_most, self.holds()) {
            (true, true) => "<=",
            (true, false) => ">",
            (false, true) => ">=",
            (false, false) => "<",
        };
        // Never `0.95 < 0.95`.
        let digits = if (self.value.median - self.threshold).abs() < 0.005 {
            3
        } else {
            2
        };
        format!(
            "{:.digits$} {sign} {:.digits$}",
            self.value.median, self.threshold
        )
    }
}

impl Verdict {
    fn new(target: &str, what: &str, figures: Vec<Option<Figure>>) -> Self {
        let complete = figures.iter().all(Option::is_some) && !figures.is_empty();
        let figures: Vec<_> = figures.into_iter().flatten().collect();
        let missed = figures
            .iter()
            .any(|figure| figure.counts && !figure.holds());
        let state = match (missed, complete) {
            (true, _) => State::Missed,
            (false, true) => State::Ok,
            (false, false) => State::NotMeasured,
        };
        Self {
            target: target.to_owned(),
            what: what.to_owned(),
            state,
            figures,
        }
    }

    /// The figure that decides: the one furthest beyond its threshold, or nearest to it.
    pub(crate) fn deciding(&self) -> Option<&Figure> {
        self.figures
            .iter()
            .filter(|figure| figure.counts)
            .max_by(|a, b| a.strain().total_cmp(&b.strain()))
    }
}

/// Judges all.
pub(crate) fn judge(run: &Run) -> Vec<Verdict> {
    vec![
        overhead(run),
        verification(run),
        of_raw(run, "2", MIDDLE, (0.63, 0.78)),
        of_raw(run, "3", SMALL, (0.30, 0.38)),
        tail(
            run,
            "4",
            MIDDLE,
            &[(Row::FAAM_3, 0.65), (Row::FAAM_1, 0.40)],
        ),
        tail(run, "5", SMALL, &[(Row::FAAM_3, 0.45)]),
        against(run, "6", Row::NGINX_1, (2.2, 3.0)),
        against(run, "7", Row::NODE_6, (5.5, 7.0)),
        handoff(run),
        memory(run),
        paced(run),
    ]
}

/// What is worth a profile: of each missed target the row and cell of the figure that decides, each once, with the targets
/// that it is there for; the most strained first.
pub(crate) fn to_profile(verdicts: &[Verdict]) -> Vec<((Row, Cell), Vec<String>)> {
    let mut missed: Vec<_> = verdicts
        .iter()
        .filter(|verdict| verdict.state == State::Missed)
        .filter_map(|verdict| {
            let figures = verdict.figures.iter();
            let worst = figures
                .filter(|figure| figure.counts && !figure.holds() && figure.at.is_some())
                .max_by(|a, b| a.strain().total_cmp(&b.strain()))?;
            Some((worst.strain(), worst.at?, verdict.target.clone()))
        })
        .collect();
    missed.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
    let mut found: Vec<((Row, Cell), Vec<String>)> = Vec::new();
    for (_, at, target) in missed {
        match found.iter_mut().find(|(before, _)| *before == at) {
            Some((_, targets)) => targets.push(target),
            None => found.push((at, vec![target])),
        }
    }
    found
}

/// The last line: `targets: 1 ok (1.07 <= 1.10), 2 missed (0.58 < 0.63), ...`.
pub(crate) fn last_line(verdicts: &[Verdict]) -> String {
    let mut line = "targets:".to_owned();
    for (n, verdict) in verdicts.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let state = match verdict.state {
            State::Ok => "ok",
            State::Missed => "missed",
            State::NotMeasured => "not measured",
        };
        // Writing to a String cannot fail.
        let _ = write!(line, "{comma} {} {state}", verdict.target);
        if let Some(figure) = verdict.deciding() {
            let _ = write!(line, " ({})", figure.compared());
        }
    }
    line
}

/// 1: CPU a request over codec, independent decode, compare and echo.
fn overhead(run: &Run) -> Verdict {
    let mut figures = Vec::new();
    for cell in run.cells() {
        if cell.body_bytes < 64 << 10 {
            continue;
        }
        for row in [Row::FAAM_1, Row::FAAM_3, Row::FAAM_6] {
            let of = format!("{row}, {}", cell.name());
            let figure = overhead_at(run, row, cell);
            figures.push(figure.map(|value| Figure::at_most(of, value, 1.10).at(row, cell)));
        }
    }
    for (row, cell) in [(Row::BARE_1, MIDDLE), (Row::BARE_3, MIDDLE)] {
        let figure = overhead_at(run, row, cell);
        figures.extend(figure.map(|value| {
            Some(Figure::at_most(format!("{row}, {}", cell.name()), value, 1.10).told())
        }));
    }
    Verdict::new(
        "1",
        "CPU per request / (codec + independent decode + compare + echo), 64 KiB and more",
        figures,
    )
}

fn overhead_at(run: &Run, row: Row, cell: Cell) -> Option<Estimate> {
    let point = run.point(row, cell)?;
    Estimate::of_ratios(point.windows.iter().filter_map(|window| {
        let floor = run.floor(row, cell, window.round)?;
        Some((window.cpu_us_per_request, floor.sum_us()))
    }))
}

/// 1b: the price of verification.
fn verification(run: &Run) -> Verdict {
    let of = |on, off, threshold| {
        let value = run.ratio((on, off), MIDDLE, |w| Some(w.cpu_us_per_request))?;
        Some(Figure::at_most(format!("{on}"), value, threshold).at(on, MIDDLE))
    };
    let mut figures = vec![
        of(Row::FAAM_3, Row::FAAM_OFF_3, 1.20),
        // Level 1 is ISA-L's where it is, else libdeflate's.
        of(
            Row::FAAM_1,
            Row::FAAM_OFF_1,
            if is_isal() { 1.45 } else { 1.20 },
        ),
    ];
    let bare = of(Row::BARE_3, Row::BARE_OFF_3, 1.20);
    figures.extend(bare.map(|figure| Some(figure.told())));
    Verdict::new(
        "1b",
        "CPU per request verified / unverified, 64 KiB c64",
        figures,
    )
}

fn is_isal() -> bool {
    Codec::of_level(1) == Some(Codec::Isal1)
}

/// 2 and 3: throughput a core over raw libdeflate 1, libdeflate 1 serving.
fn of_raw(run: &Run, target: &str, cell: Cell, (verified, unverified): (f64, f64)) -> Verdict {
    let of = |row: Row, threshold| {
        let point = run.point(row, cell)?;
        let value = Estimate::of_ratios(point.windows.iter().filter_map(|window| {
            let anchor = run.anchor(Codec::Libdeflate1, cell, window.round)?;
            Some((window.mb_per_cpu_s, anchor.compress_mb_per_s()))
        }))?;
        Some(Figure::at_least(format!("{row}"), value, threshold).at(row, cell))
    };
    let mut figures = vec![of(Row::FAAM_3, verified), of(Row::FAAM_OFF_3, unverified)];
    let bare = [of(Row::BARE_3, verified), of(Row::BARE_OFF_3, unverified)];
    figures.extend(bare.into_iter().flatten().map(|one| Some(one.told())));
    Verdict::new(
        target,
        &format!("{}: MB per CPU s / raw libdeflate 1", cell.name()),
        figures,
    )
}

/// 4 and 5: p99 over naive's.
fn tail(run: &Run, target: &str, cell: Cell, rows: &[(Row, f64)]) -> Verdict {
    let of = |(row, threshold): (Row, f64)| {
        // Without ISA-L level 1 is libdeflate's, and judged like it.
        let threshold = if row.level == Some(1) && !is_isal() {
            0.65
        } else {
            threshold
        };
        let value = run
            .ratio((row, Row::NAIVE_1), cell, |window| window.p99_ms)
            .or_else(|| pooled_p99(run, row, cell))?;
        Some(Figure::at_most(format!("{row}"), value, threshold).at(row, cell))
    };
    let mut figures: Vec<_> = rows.iter().map(|&row| of(row)).collect();
    let bare = rows
        .iter()
        .filter_map(|&(row, threshold)| Some(Some(of((row.bare(), threshold))?.told())));
    figures.extend(bare);
    Verdict::new(target, &format!("{}: p99 / naive's", cell.name()), figures)
}

fn pooled_p99(run: &Run, row: Row, cell: Cell) -> Option<Estimate> {
    let p99 = |row| run.point(row, cell)?.latency_ms(Percentile::P99);
    Estimate::of_ratios(std::iter::once((p99(row)?, p99(Row::NAIVE_1)?)))
}

/// 6 and 7: MB per CPU second over another server's, at level 1 and with no worse ratio than its.
fn against(run: &Run, target: &str, other: Row, (verified, unverified): (f64, f64)) -> Verdict {
    let rate = |window: &WindowFigures| Some(window.mb_per_cpu_s);
    let of = |row: Row, threshold| {
        let value = run.ratio((row, other), MIDDLE, rate)?;
        let point = run.point(row, MIDDLE)?;
        let of = format!(
            "{row} ({}, ratio {:.2})",
            point.engine,
            point.median(|w| w.ratio)
        );
        Some(Figure::at_least(of, value, threshold).at(row, MIDDLE))
    };
    let mut figures = vec![of(Row::FAAM_1, verified), of(Row::FAAM_OFF_1, unverified)];
    let bare = of(Row::BARE_1, verified);
    figures.extend(bare.map(|figure| Some(figure.told())));
    let ratio = run
        .ratio((Row::FAAM_1, other), MIDDLE, |w| Some(w.ratio))
        .map(|value| Figure {
            // Target 7 names ratios; target 6 asks for one no worse.
            counts: other == Row::NGINX_1,
            ..Figure::at_least(format!("ratio of {} / {other}'s", Row::FAAM_1), value, 1.0)
        });
    figures.push(ratio);
    Verdict::new(
        target,
        &format!("{}, level 1: MB per CPU s / {other}'s", MIDDLE.name()),
        figures,
    )
}

/// 8: hand-off.
fn handoff(run: &Run) -> Verdict {
    let figures = run.handoff.as_ref().map_or_else(Vec::new, |handoff| {
        vec![
            Some(Figure::at_most("busy, us", handoff.busy_us, 2.0)),
            Some(Figure::at_most("idle, us", handoff.idle_us, 100.0)),
        ]
    });
    Verdict::new("8", "hand-off added, p50 us, busy and idle", figures)
}

/// 9: peak memory over what callers send at once.
fn memory(run: &Run) -> Verdict {
    let sent = crate::statistics::count(MEMORY_CELL.body_bytes * MEMORY_CELL.concurrency);
    let of = |row: Row| {
        let point = run.point(row, MEMORY_CELL)?;
        let value = crate::results::as_f64(point.memory.bytes()) / sent;
        let value = Estimate::of(&[value])?;
        Some(Figure::at_most(format!("{row}"), value, 1.0))
    };
    Verdict::new(
        "9",
        "1 MiB c64: peak memory (VmHWM + huge pages, arena included) / (payload x callers)",
        [Row::FAAM_1, Row::FAAM_3, Row::CARD_3, Row::AUTO_3]
            .into_iter()
            .map(of)
            .collect(),
    )
}

/// 10: the paced card through the gateway and straight to the driver.
fn paced(run: &Run) -> Verdict {
    let mut figures: Vec<Option<Figure>> = Vec::new();
    for point in &run.paced {
        let pairs = point
            .gateway_mb_per_s
            .iter()
            .copied()
            .zip(point.driver_mb_per_s.iter().copied());
        let of = format!("{} users", point.users);
        figures.push(Estimate::of_ratios(pairs).map(|value| Figure::at_least(of, value, 0.95)));
    }
    let sums: Vec<(usize, f64)> = run
        .paced
        .iter()
        .filter_map(|point| {
            let sum = Estimate::of(&point.gateway_mb_per_s)?;
            Some((point.users, sum.median))
        })
        .collect();
    let mut most = 0.0_f64;
    let mut falls: Vec<f64> = Vec::new();
    for (_, sum) in &sums {
        if most > 0.0 {
            falls.push(sum / most);
        }
        most = most.max(*sum);
    }
    if let Some(least) = falls.into_iter().min_by(f64::total_cmp) {
        let value = Estimate::of(&[least]);
        let of = "sum of all users / most with fewer users";
        figures.push(value.map(|value| Figure::at_least(of, value, 1.0 - SUM_FALLS_MAX)));
    }
    Verdict::new(
        "10",
        "paced card, one engine a function, 64 KiB: through the gateway / straight to the driver, both verifying",
        figures,
    )
}

#[cfg(test)]
mod tests;
