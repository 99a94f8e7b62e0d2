//! A cell, measured: every row's server fresh, then rounds in which each has a window, then its memory.
//!
//! Invariants: windows of one round are neighbours in time, and the row that begins changes from round to round; answers
//! are decoded and compared after the window that they come from, and a row that gave wrong bytes has no figures. It
//! does not know what the figures are for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use libdeflater::Decompressor;

use crate::contender::{Contender, Row};
use crate::load::{self, Plan, Stop};
use crate::pool::{Corpus, Data, Pool};
use crate::process::Memory;
use crate::results::{AnchorRound, Point, Run, WindowFigures, as_f64};
use crate::schedule::CellPlan;
use crate::server::{Programs, Server};
use crate::statistics::percentile;

/// Longest that one request may take: 64 callers with 16 MiB each on the slowest codec.
const REQUEST_MAX: Duration = Duration::from_secs(60);
/// Answers of a window that are decoded and compared: blocks 0, 1, 3, 7, .. of its sequence.
const SAMPLES_MAX: usize = 6;
/// Share of its processor beyond which the load generator is what is measured.
const LOAD_BUSY_MAX: f64 = 0.95;
/// Latencies of a point that are kept for percentiles over all its windows.
const POOLED_MAX: usize = 1 << 20;
/// First-round factor of the warm-up: compilers of the just-in-time kind, caches, pools of threads.
const FIRST_WARM_UP: u32 = 2;

/// What cells are measured with.
pub(crate) struct Bench<'a> {
    /// Servers.
    pub(crate) programs: &'a Programs,
    /// Bodies.
    pub(crate) corpus: &'a Corpus,
    /// Of which kind.
    pub(crate) data: Data,
    /// When everything has to have ended.
    pub(crate) until: Instant,
    /// Set by a signal.
    pub(crate) stop: Stop,
}

/// A row in its cell.
struct Entry {
    row: Row,
    server: Server,
    point: Point,
    latencies: Vec<u64>,
    engines: BTreeMap<String, u64>,
    /// Why it is not measured any more.
    out: Option<String>,
}

impl Bench<'_> {
    /// Whether a signal came.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Measures `rows` at a cell and adds what comes of it to `run`.
    ///
    /// # Errors
    /// The rig itself does not work. A server that fails is noted, and the others go on.
    pub(crate) fn cell(&self, rows: &[Row], plan: CellPlan, run: &mut Run) -> anyhow::Result<()> {
        let cell = plan.cell;
        let pool = Arc::new(self.corpus.pool(self.data, cell.body_bytes));
        let mut entries = Vec::new();
        for &row in rows {
            match Server::start(self.programs, row, cell.body_bytes, &[]) {
                Ok(server) => entries.push(Entry::new(row, plan, server)),
                Err(error) => run
                    .notes
                    .push(format!("{row} at {}: {error:#}", cell.name())),
            }
        }
        let mut longest = Duration::ZERO;
        for round in 0..plan.rounds {
            if self.is_stopped() {
                break;
            }
            if Instant::now() + longest > self.until {
                run.notes.push(format!(
                    "{}: {round} of {} rounds, for want of time",
                    cell.name(),
                    plan.rounds
                ));
                break;
            }
            let began = Instant::now();
            eprintln!("  round {} of {}", round + 1, plan.rounds);
            let anchors = crate::anchors::measure(&pool, self.programs.server_cpu)?;
            run.anchors.push(AnchorRound {
                cell,
                round,
                anchors,
            });
            // Another row begins in each round.
            let count = entries.len().max(1);
            for n in 0..entries.len() {
                let first = round * count.div_ceil(plan.rounds.max(1));
                let Some(entry) = entries.get_mut((first + n) % count) else {
                    continue;
                };
                if entry.out.is_some() || self.is_stopped() {
                    continue;
                }
                if let Err(error) = self.window(entry, &pool, plan, round) {
                    // A signal may have ended the servers too.
                    if self.is_stopped() {
                        break;
                    }
                    let tail = last_lines(&entry.server.log());
                    entry.out = Some(format!("{error:#}{tail}"));
                }
            }
            longest = longest.max(began.elapsed());
        }
        for entry in entries {
            let (point, note) = entry.finish();
            run.notes.extend(note);
            let load_busy = point.median(|window| window.load_busy);
            if load_busy > LOAD_BUSY_MAX {
                run.notes.push(format!(
                    "{} at {}: the load generator was at {:.0} % of its processor, so that rate and latency are partly its own; CPU a \
                     request is not touched by that",
                    point.row,
                    cell.name(),
                    100.0 * load_busy
                ));
            }
            if !point.windows.is_empty() {
                run.points.push(point);
            }
        }
        Ok(())
    }

    fn window(
        &self,
        entry: &mut Entry,
        pool: &Arc<Pool>,
        plan: CellPlan,
        round: usize,
    ) -> anyhow::Result<()> {
        let factor = if round == 0 { FIRST_WARM_UP } else { 1 };
        let load = Plan {
            concurrency: plan.cell.concurrency,
            warm_up: plan.warm_up * factor,
            window: plan.window,
            request_max: REQUEST_MAX,
            think: Duration::ZERO,
            samples_max: SAMPLES_MAX,
            cpu: self.programs.load_cpu,
        };
        let groups = entry.server.groups();
        let aim = entry.server.aim(entry.row);
        let window = load::run(&aim, pool, load, &groups, &self.stop)?;
        anyhow::ensure!(
            window.requests > 0,
            "no request was answered: {} refused, {} failed ({})",
            window.refused,
            window.failed,
            window.first_failure.unwrap_or_default()
        );
        for (number, answer) in &window.samples {
            check(entry.row, pool.block(*number), answer)
                .with_context(|| format!("WRONG BYTES for block {number}"))?;
            entry.point.samples_checked += 1;
        }
        let figures = WindowFigures::of(round, &window);
        eprintln!(
            "    {:<11} {:>9.0} req/s {:>7.1} MB/CPU-s",
            entry.row.to_string(),
            figures.requests_per_s,
            figures.mb_per_cpu_s
        );
        entry.point.windows.push(figures);
        (entry.point.memory, entry.point.card_memory) = entry.server.memory()?;
        for (engine, count) in window.engines {
            *entry.engines.entry(engine).or_default() += count;
        }
        entry.point.server_timing = window.server_timing.or(entry.point.server_timing.take());
        let room = POOLED_MAX.saturating_sub(entry.latencies.len());
        entry
            .latencies
            .extend(window.latencies.into_iter().take(room));
        Ok(())
    }
}

impl Entry {
    fn new(row: Row, plan: CellPlan, server: Server) -> Self {
        Self {
            row,
            server,
            point: Point {
                row,
                cell: plan.cell,
                engine: String::new(),
                verified: row.is_verified(),
                windows: Vec::new(),
                pooled_ms: [None; 3],
                memory: Memory::default(),
                card_memory: Memory::default(),
                samples_checked: 0,
                server_timing: None,
            },
            latencies: Vec::new(),
            engines: BTreeMap::new(),
            out: None,
        }
    }

    fn finish(mut self) -> (Point, Option<String>) {
        let mut engines: Vec<_> = self.engines.into_iter().collect();
        engines.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let engines: Vec<_> = engines.into_iter().map(|(name, _)| name).collect();
        self.point.engine = self.row.engine(&engines);
        self.latencies.sort_unstable();
        let ms = |q| percentile(&self.latencies, q).map(|nanos| as_f64(nanos) / 1e6);
        self.point.pooled_ms = [ms(0.5), ms(0.99), ms(0.999)];
        let name = format!("{} at {}", self.row, self.point.cell.name());
        if let Some(why) = &self.out {
            eprintln!("    {name}: {why}");
            if why.contains("WRONG BYTES") {
                self.point.windows.clear();
            }
        }
        (self.point, self.out.map(|why| format!("{name}: {why}")))
    }
}

/// Whether an answer is what its body calls for.
fn check(row: Row, body: &[u8], answer: &[u8]) -> anyhow::Result<()> {
    if row.contender == Contender::Echo {
        anyhow::ensure!(answer == body, "the echo is another");
        return Ok(());
    }
    // One byte more than the body: a longer answer is an error too.
    let mut decoded = vec![0; body.len() + 1];
    let length = Decompressor::new().gzip_decompress(answer, &mut decoded)?;
    anyhow::ensure!(
        decoded.get(..length) == Some(body),
        "the answer decodes to other bytes"
    );
    Ok(())
}

/// The end of a server's log, on lines of its own.
fn last_lines(log: &str) -> String {
    let lines: Vec<_> = log.lines().rev().take(3).collect();
    lines
        .into_iter()
        .rev()
        .map(|line| format!("\n      | {line}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use libdeflater::{CompressionLvl, Compressor};

    use super::*;

    #[test]
    fn answers_are_held_against_their_bodies() {
        let body = b"one two one two one two".as_slice();
        let mut compressor = Compressor::new(CompressionLvl::fastest());
        let mut gzip = vec![0; compressor.gzip_compress_bound(body.len())];
        let length = compressor.gzip_compress(body, &mut gzip).expect("fits");
        gzip.truncate(length);
        check(Row::NAIVE_1, body, &gzip).expect("the same bytes");
        assert!(check(Row::NAIVE_1, b"one two one two one twO", &gzip).is_err());
        assert!(check(Row::NAIVE_1, b"one two", &gzip).is_err());
        assert!(check(Row::NAIVE_1, body, &gzip[..length - 1]).is_err());
        check(Row::ECHO, body, body).expect("the same");
        assert!(check(Row::ECHO, body, &gzip).is_err());
    }
}
