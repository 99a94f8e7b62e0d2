//! What a run found: the words that tables, JSON, the report and the targets share.
//!
//! Every figure is kept a window; medians and intervals are computed from those by whoever shows them, so that a stored
//! run can be judged again. Times are in the unit that the name says; MB are millions of bytes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::anchors::{Anchor, Codec};
use crate::contender::Row;
use crate::load::Window;
use crate::pool::Data;
use crate::process::Memory;
use crate::statistics::{Estimate, count, percentile};

/// Version of the JSON.
pub(crate) const SCHEMA: u32 = 1;

/// A size of body and a number of callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Cell {
    /// Bytes of a body.
    pub(crate) body_bytes: usize,
    /// Callers.
    pub(crate) concurrency: usize,
}

impl Cell {
    /// `64 KiB c64`.
    pub(crate) fn name(self) -> String {
        format!(
            "{} c{}",
            bytes_text(self.body_bytes as u64),
            self.concurrency
        )
    }
}

/// `64 KiB`, `16 MiB`.
pub(crate) fn bytes_text(bytes: u64) -> String {
    if bytes >= 1 << 20 && bytes.is_multiple_of(1 << 20) {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{} KiB", bytes >> 10)
    }
}

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// Where and how.
    pub(crate) setting: Setting,
    /// Every row at every cell.
    pub(crate) points: Vec<Point>,
    /// Raw codecs, a round of a size each.
    pub(crate) anchors: Vec<AnchorRound>,
    /// Hand-off between a caller and an engine.
    pub(crate) handoff: Option<crate::handoff::Handoff>,
    /// Through the gateway and straight to the driver, on a paced card.
    pub(crate) paced: Vec<PacedPoint>,
    /// Where the time goes of rows that miss a target.
    #[serde(default)]
    pub(crate) profiles: Vec<crate::profile::Profile>,
    /// What of the targets holds.
    pub(crate) targets: Vec<crate::targets::Verdict>,
    /// What was left out, and what else to know.
    pub(crate) notes: Vec<String>,
}

/// Where and how a run was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// Seconds since 1970 at the start.
    pub(crate) began_unix_s: u64,
    /// How long it took, seconds.
    pub(crate) took_s: f64,
    /// Processor, as the kernel names it.
    pub(crate) processor: String,
    /// Processor that the servers ran on.
    pub(crate) server_cpu: usize,
    /// Processor of the load.
    pub(crate) load_cpu: usize,
    /// What bodies were made of.
    pub(crate) data: Data,
    /// The same in words.
    pub(crate) corpus: String,
    /// `quick`, `full` or `smoke`, and what it was limited to.
    pub(crate) kind: String,
}

/// What a request costs at the least, in microseconds of CPU time: raw codecs on the same bodies, and the echo's HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Floor {
    /// Compressing.
    pub(crate) codec_us: f64,
    /// Decoding by another implementation; zero where nothing is verified.
    pub(crate) decode_us: f64,
    /// Comparing; zero where nothing is verified, or the decoder compares as it goes.
    pub(crate) compare_us: f64,
    /// Taking a body and answering with it.
    pub(crate) echo_us: f64,
}

impl Floor {
    /// Of a row at a cell, from the raw codec behind it and the echo in one round.
    pub(crate) fn of(row: Row, cell: Cell, anchor: &Anchor, echo: &WindowFigures) -> Self {
        let us = |s_per_mb: f64| s_per_mb * count(cell.body_bytes);
        let verified = if row.is_verified() { 1.0 } else { 0.0 };
        Self {
            codec_us: us(anchor.compress_s_per_mb),
            decode_us: verified * us(anchor.decode_s_per_mb),
            compare_us: verified * us(anchor.compare_s_per_mb),
            echo_us: echo.cpu_us_per_request,
        }
    }

    /// All of it.
    pub(crate) fn sum_us(self) -> f64 {
        self.codec_us + self.decode_us + self.compare_us + self.echo_us
    }
}

/// A row at a cell.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Point {
    /// Who.
    pub(crate) row: Row,
    /// On what.
    pub(crate) cell: Cell,
    /// Engine and level.
    pub(crate) engine: String,
    /// Whether its answers are verified before they leave.
    pub(crate) verified: bool,
    /// One a round.
    pub(crate) windows: Vec<WindowFigures>,
    /// Latencies of all windows together, ms: p50, p99, p99.9, where there are enough.
    pub(crate) pooled_ms: [Option<f64>; 3],
    /// The server's process at the end of its windows.
    pub(crate) memory: Memory,
    /// Its card's process.
    pub(crate) card_memory: Memory,
    /// Answers that were decoded and compared.
    pub(crate) samples_checked: u64,
    /// The last `Server-Timing` that came as a header.
    pub(crate) server_timing: Option<String>,
}

/// One window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WindowFigures {
    /// Round that it belongs to: windows of one round are neighbours in time.
    pub(crate) round: usize,
    /// Requests answered.
    pub(crate) requests: u64,
    /// Input bytes, in millions, a CPU second of the server.
    pub(crate) mb_per_cpu_s: f64,
    /// CPU time of the server a request.
    pub(crate) cpu_us_per_request: f64,
    /// CPU time of its card's process a request.
    pub(crate) card_us_per_request: f64,
    /// CPU time of its upstream a request, on the load's processor.
    pub(crate) upstream_us_per_request: f64,
    /// Requests a second.
    pub(crate) requests_per_s: f64,
    /// Input bytes, in millions, a second.
    pub(crate) mb_per_s: f64,
    /// Share of its processor that the server (with its card) used.
    pub(crate) server_busy: f64,
    /// Share of its processor that the load generator (with the upstream) used.
    pub(crate) load_busy: f64,
    /// Median latency.
    pub(crate) p50_ms: Option<f64>,
    /// 99th percentile.
    pub(crate) p99_ms: Option<f64>,
    /// 99.9th percentile.
    pub(crate) p999_ms: Option<f64>,
    /// Bytes in over bytes out.
    pub(crate) ratio: f64,
    /// Requests refused (429, 503).
    pub(crate) refused: u64,
    /// Requests that failed.
    pub(crate) failed: u64,
}

impl WindowFigures {
    /// Of what the load generator saw; groups of CPU time are server, card, upstream.
    pub(crate) fn of(round: usize, window: &Window) -> Self {
        let group = |n: usize| {
            window
                .cpu
                .get(n)
                .map_or(0.0, std::time::Duration::as_secs_f64)
        };
        let (server, card, upstream) = (group(0), group(1), group(2));
        let requests = as_f64(window.requests).max(1.0);
        let elapsed = window.elapsed.as_secs_f64();
        let counted = window.counted.as_secs_f64();
        let ms = |q| percentile(&window.latencies, q).map(|nanos| as_f64(nanos) / 1e6);
        Self {
            round,
            requests: window.requests,
            mb_per_cpu_s: as_f64(window.bytes_in) / 1e6 / server,
            cpu_us_per_request: server * 1e6 / requests,
            card_us_per_request: card * 1e6 / requests,
            upstream_us_per_request: upstream * 1e6 / requests,
            requests_per_s: count(window.answered) / counted,
            mb_per_s: as_f64(window.answered_bytes) / 1e6 / counted,
            server_busy: (server + card) / elapsed,
            load_busy: (window.load_cpu.as_secs_f64() + upstream) / elapsed,
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            ratio: as_f64(window.bytes_in) / as_f64(window.bytes_out.max(1)),
            refused: window.refused,
            failed: window.failed,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts, bytes and nanoseconds of a window stay below 2^53"
)]
pub(crate) const fn as_f64(n: u64) -> f64 {
    n as f64
}

impl Point {
    /// Median and interval of a figure over the windows.
    pub(crate) fn estimate(&self, figure: impl Fn(&WindowFigures) -> f64) -> Option<Estimate> {
        let values: Vec<f64> = self.windows.iter().map(figure).collect();
        Estimate::of(&values)
    }

    /// Median of a figure over the windows, NaN without any.
    pub(crate) fn median(&self, figure: impl Fn(&WindowFigures) -> f64) -> f64 {
        self.estimate(figure).map_or(f64::NAN, |e| e.median)
    }

    /// A latency percentile: the median of the windows', or that of all windows together where one is too short for it.
    pub(crate) fn latency_ms(&self, which: Percentile) -> Option<f64> {
        let of = |window: &WindowFigures| match which {
            Percentile::P50 => window.p50_ms,
            Percentile::P99 => window.p99_ms,
            Percentile::P999 => window.p999_ms,
        };
        if self.windows.iter().all(|window| of(window).is_some()) {
            return self
                .estimate(|window| of(window).unwrap_or(f64::NAN))
                .map(|e| e.median);
        }
        let [p50, p99, p999] = self.pooled_ms;
        match which {
            Percentile::P50 => p50,
            Percentile::P99 => p99,
            Percentile::P999 => p999,
        }
    }
}

/// A latency percentile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Percentile {
    /// The median.
    P50,
    /// 99 %.
    P99,
    /// 99.9 %.
    P999,
}

/// Raw codecs in one round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AnchorRound {
    /// In which cell's rounds.
    pub(crate) cell: Cell,
    /// Which of them.
    pub(crate) round: usize,
    /// The codecs.
    pub(crate) anchors: Vec<Anchor>,
}

/// One number of users on the paced card.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PacedPoint {
    /// Bytes of a body.
    pub(crate) body_bytes: usize,
    /// Users, each with one body at a time.
    pub(crate) users: usize,
    /// MB/s of all users together through the gateway, a window each.
    pub(crate) gateway_mb_per_s: Vec<f64>,
    /// The same straight to the driver.
    pub(crate) driver_mb_per_s: Vec<f64>,
}

impl Run {
    /// A row at a cell.
    pub(crate) fn point(&self, row: Row, cell: Cell) -> Option<&Point> {
        self.points
            .iter()
            .find(|point| point.row == row && point.cell == cell)
    }

    /// Ratio of a figure of two rows at a cell, paired by round.
    pub(crate) fn ratio(
        &self,
        (above, below): (Row, Row),
        cell: Cell,
        figure: impl Fn(&WindowFigures) -> Option<f64>,
    ) -> Option<Estimate> {
        let (above, below) = (self.point(above, cell)?, self.point(below, cell)?);
        let by_round: BTreeMap<usize, f64> = below
            .windows
            .iter()
            .filter_map(|window| Some((window.round, figure(window)?)))
            .collect();
        Estimate::of_ratios(
            above
                .windows
                .iter()
                .filter_map(|window| Some((figure(window)?, *by_round.get(&window.round)?))),
        )
    }

    /// What the gateway adds to a body's time on the paced card where one user waits for each, microseconds.
    pub(crate) fn paced_added_us(&self) -> Option<f64> {
        let alone = self.paced.iter().find(|point| point.users == 1)?;
        let rate = |rates: &[f64]| Estimate::of(rates).map(|estimate| estimate.median);
        let us = |mb_per_s: f64| count(alone.body_bytes) / mb_per_s;
        Some(us(rate(&alone.gateway_mb_per_s)?) - us(rate(&alone.driver_mb_per_s)?))
    }

    /// A raw codec in one round of a cell.
    pub(crate) fn anchor(&self, codec: Codec, cell: Cell, round: usize) -> Option<&Anchor> {
        self.anchors
            .iter()
            .find(|one| one.cell == cell && one.round == round)?
            .anchors
            .iter()
            .find(|anchor| anchor.codec == codec)
    }

    /// What a request of a row costs at the least, in one round; `None` where its codec or the echo was not measured.
    pub(crate) fn floor(&self, row: Row, cell: Cell, round: usize) -> Option<Floor> {
        let codec = Codec::of_level(row.level?)?;
        let anchor = self.anchor(codec, cell, round)?;
        let echo = self.point(Row::ECHO, cell)?;
        let echo = echo.windows.iter().find(|window| window.round == round)?;
        Some(Floor::of(row, cell, anchor, echo))
    }

    /// The same over all rounds: medians.
    pub(crate) fn floor_of(&self, row: Row, cell: Cell) -> Option<Floor> {
        let rounds = self.point(row, cell)?.windows.iter();
        let floors: Vec<Floor> = rounds
            .filter_map(|window| self.floor(row, cell, window.round))
            .collect();
        let median = |part: fn(&Floor) -> f64| {
            let parts: Vec<f64> = floors.iter().map(part).collect();
            Estimate::of(&parts).map(|estimate| estimate.median)
        };
        Some(Floor {
            codec_us: median(|floor| floor.codec_us)?,
            decode_us: median(|floor| floor.decode_us)?,
            compare_us: median(|floor| floor.compare_us)?,
            echo_us: median(|floor| floor.echo_us)?,
        })
    }

    /// Cells in the order in which they were measured.
    pub(crate) fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for point in &self.points {
            if !cells.contains(&point.cell) {
                cells.push(point.cell);
            }
        }
        cells
    }
}
