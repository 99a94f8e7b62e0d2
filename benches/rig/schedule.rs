//! What a run measures, in which order, for how long.
//!
//! Owns sizes, rounds and windows of the kinds of run, and the filters. Cells come in the order of their weight in the
//! targets, so that what a time limit cuts off is what matters least.

use std::time::Duration;

use anyhow::Context;

use crate::contender::Row;
use crate::results::Cell;

/// A cell and how it is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellPlan {
    /// The cell.
    pub(crate) cell: Cell,
    /// Rounds; in each one every row has a window.
    pub(crate) rounds: usize,
    /// How long requests begin in a window.
    pub(crate) window: Duration,
    /// Load before a window that is not counted.
    pub(crate) warm_up: Duration,
}

impl CellPlan {
    const fn new(
        body_bytes: usize,
        concurrency: usize,
        rounds: usize,
        window_ms: u64,
        warm_up_ms: u64,
    ) -> Self {
        Self {
            cell: Cell {
                body_bytes,
                concurrency,
            },
            rounds,
            window: Duration::from_millis(window_ms),
            warm_up: Duration::from_millis(warm_up_ms),
        }
    }
}

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A full run: 25 minutes at most on two cores, of which nineteen rows with 64 bodies of 16 MiB take three.
const FULL: [CellPlan; 12] = [
    // The cells of the latency targets: some thousand requests a window of every row but Node's, ten beyond its p99.
    CellPlan::new(64 * KIB, 64, 5, 1000, 200),
    CellPlan::new(KIB, 64, 5, 1000, 200),
    CellPlan::new(MIB, 64, 4, 800, 100),
    CellPlan::new(MIB, 16, 3, 600, 100),
    CellPlan::new(64 * KIB, 16, 3, 600, 100),
    CellPlan::new(16 * MIB, 16, 2, 500, 0),
    CellPlan::new(64 * KIB, 1, 3, 600, 100),
    CellPlan::new(KIB, 1, 3, 500, 100),
    CellPlan::new(KIB, 16, 3, 500, 100),
    CellPlan::new(MIB, 1, 3, 600, 100),
    CellPlan::new(16 * MIB, 1, 2, 500, 0),
    CellPlan::new(16 * MIB, 64, 1, 100, 0),
];

/// A quick run: four minutes at most.
const QUICK: [CellPlan; 3] = [
    CellPlan::new(64 * KIB, 64, 3, 700, 150),
    CellPlan::new(KIB, 64, 3, 700, 150),
    CellPlan::new(MIB, 64, 2, 600, 50),
];

/// A smoke run: ten seconds.
const SMOKE: [CellPlan; 1] = [CellPlan::new(64 * KIB, 4, 2, 300, 100)];

/// A kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Everything.
    Full,
    /// What the targets need.
    Quick,
    /// That the rig works.
    Smoke,
}

impl Kind {
    /// Its name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Quick => "quick",
            Self::Smoke => "smoke",
        }
    }
}

/// What is measured.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// Who.
    pub(crate) rows: Vec<Row>,
    /// On what.
    pub(crate) cells: Vec<CellPlan>,
    /// Whether hand-off is measured.
    pub(crate) handoff: bool,
    /// Users of the paced card, and rounds; none if it is not measured.
    pub(crate) paced_users: Vec<usize>,
    /// Windows a side and number of users.
    pub(crate) paced_rounds: usize,
}

impl Schedule {
    /// Of a kind, limited by `only`: comma-separated words, `64KiB` or `1MiB` (sizes), `c64` (callers), `handoff`, `paced`,
    /// or the beginning of rows' names. Words of one sort widen each other, sorts narrow each other.
    ///
    /// # Errors
    /// A word that names nothing.
    pub(crate) fn new(kind: Kind, only: &[String], rounds: Option<usize>) -> anyhow::Result<Self> {
        let mut schedule = match kind {
            Kind::Full => Self {
                rows: Row::ALL.to_vec(),
                cells: FULL.to_vec(),
                handoff: true,
                paced_users: vec![1, 2, 4, 8, 16, 32, 64],
                paced_rounds: 4,
            },
            Kind::Quick => Self {
                rows: Row::FOR_TARGETS.to_vec(),
                cells: QUICK.to_vec(),
                handoff: true,
                paced_users: vec![1, 4, 16, 64],
                paced_rounds: 3,
            },
            Kind::Smoke => Self {
                rows: Row::FOR_SMOKE.to_vec(),
                cells: SMOKE.to_vec(),
                handoff: false,
                paced_users: Vec::new(),
                paced_rounds: 0,
            },
        };
        if let Some(rounds) = rounds {
            for plan in &mut schedule.cells {
                plan.rounds = rounds;
            }
        }
        schedule.limit(only)?;
        Ok(schedule)
    }

    fn limit(&mut self, only: &[String]) -> anyhow::Result<()> {
        let words: Vec<&str> = only
            .iter()
            .flat_map(|words| words.split(','))
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .collect();
        if words.is_empty() {
            return Ok(());
        }
        let (mut sizes, mut callers, mut rows) = (Vec::new(), Vec::new(), Vec::new());
        let (mut handoff, mut paced) = (false, false);
        for word in words {
            if let Some(bytes) = size(word) {
                sizes.push(bytes);
            } else if let Some(c) = word.strip_prefix('c').and_then(|c| c.parse().ok()) {
                callers.push(c);
            } else if word == "handoff" {
                handoff = true;
            } else if word == "paced" {
                paced = true;
            } else {
                let named: Vec<Row> = Row::ALL
                    .into_iter()
                    .filter(|row| row.to_string().starts_with(word))
                    .collect();
                anyhow::ensure!(
                    !named.is_empty(),
                    "nothing is called {word:?}: expected a size (64KiB), callers (c64), handoff, paced, or the beginning of a \
                     row's name (faam, faam-cpu-1, nginx)"
                );
                rows.extend(named);
            }
        }
        self.handoff &= handoff;
        if !paced {
            self.paced_users.clear();
        }
        if sizes.is_empty() && callers.is_empty() && rows.is_empty() {
            self.cells.clear();
        }
        self.cells.retain(|plan| {
            (sizes.is_empty() || sizes.contains(&plan.cell.body_bytes))
                && (callers.is_empty() || callers.contains(&plan.cell.concurrency))
        });
        if !rows.is_empty() {
            self.rows = Row::ALL
                .into_iter()
                .filter(|row| rows.contains(row))
                .collect();
        }
        Ok(())
    }
}

/// `64KiB`, `1MiB`.
fn size(word: &str) -> Option<usize> {
    let lower = word.to_ascii_lowercase();
    let (number, unit) = lower
        .strip_suffix("kib")
        .map(|number| (number, KIB))
        .or_else(|| lower.strip_suffix("mib").map(|number| (number, MIB)))?;
    number.trim().parse::<usize>().ok()?.checked_mul(unit)
}

/// Bytes as a command's argument names them.
///
/// # Errors
/// It is no size.
pub(crate) fn parse_size(word: &str) -> anyhow::Result<usize> {
    size(word).with_context(|| format!("expected a size such as 64KiB or 1MiB, got {word:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(kind: Kind, only: &str) -> Schedule {
        Schedule::new(kind, &[only.to_owned()], None).expect("words that name something")
    }

    #[test]
    fn without_words_everything_of_a_kind_is_measured() {
        let full = limited(Kind::Full, "");
        assert_eq!((full.rows.len(), full.cells.len()), (Row::ALL.len(), 12));
        assert!(full.handoff && !full.paced_users.is_empty());
        let sizes = |bytes| {
            full.cells
                .iter()
                .filter(|p| p.cell.body_bytes == bytes)
                .count()
        };
        assert!(
            [KIB, 64 * KIB, MIB, 16 * MIB]
                .into_iter()
                .all(|bytes| sizes(bytes) == 3)
        );
    }

    #[test]
    fn words_of_a_sort_widen_and_sorts_narrow_each_other() {
        let some = limited(Kind::Full, "faam-cpu,naive-1,64KiB,1MiB,c64");
        let rows: Vec<_> = some.rows.iter().map(ToString::to_string).collect();
        assert_eq!(rows, ["naive-1", "faam-cpu-1", "faam-cpu-3", "faam-cpu-6"]);
        let cells: Vec<_> = some.cells.iter().map(|plan| plan.cell.name()).collect();
        assert_eq!(cells, ["64 KiB c64", "1 MiB c64"]);
        assert!(!some.handoff && some.paced_users.is_empty());
    }

    #[test]
    fn what_is_no_row_can_be_asked_for_alone() {
        let handoff = limited(Kind::Quick, "handoff");
        assert!(handoff.handoff && handoff.cells.is_empty() && handoff.paced_users.is_empty());
        assert!(Schedule::new(Kind::Quick, &["apache".to_owned()], None).is_err());
    }
}
