//! Ratios of the card's levels beside the levels of software codecs, by corpus class: what is compared, what has to hold, and
//! the page.
//!
//! Owns bitstreams/doc/ratios.md. Invariants: every ratio is bytes in over bytes out of whole gzip members, counted; a row is
//! there for each codec of [`COMPARED`], also for one that is not installed; the card's rows are the functional model's, with
//! which the gateware agrees bit by bit. It knows no clock: how fast a codec is, is elsewhere.

use std::fmt::Write as _;

use faam_codec::IsalEngine;
use serde::Serialize;

use crate::corpus::Sample;
use crate::ratio::{Code, Codec, RatioError, SLICE_BYTES, card, measure};

/// A codec at a level, by the name of its row.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    /// As the page names it.
    pub name: &'static str,
    /// What compresses.
    pub codec: Codec,
}

const fn row(name: &'static str, codec: Codec) -> Compared {
    Compared { name, codec }
}

/// Rows of the table, in order: the card's three levels first.
pub const COMPARED: [Compared; 11] = [
    row("card, fast", card(13, 1, true, Code::Fixed)),
    row("card, balanced", card(13, 4, true, Code::Sampled)),
    row("card, dense", card(13, 4, true, Code::Counted)),
    row("ISA-L 1", Codec::IsaL(1)),
    row("ISA-L 2", Codec::IsaL(2)),
    row("libdeflate 1", Codec::Libdeflate(1)),
    row("libdeflate 3", Codec::Libdeflate(3)),
    row("libdeflate 6", Codec::Libdeflate(6)),
    row("zlib-rs 1", Codec::Zlib(1)),
    row("zlib-rs 6", Codec::Zlib(6)),
    row("zlib-rs 9", Codec::Zlib(9)),
];

/// The class of all files together.
const ALL: &str = "all";
/// Rows whose bytes depend on what is installed, and on the processor: their figures are told, and not compared.
const OF_THIS_MACHINE: &str = "ISA-L";
/// What stands where a codec is not installed.
const NOT_HERE: &str = "not here";

/// One row's ratios.
#[derive(Debug, Clone, Serialize)]
pub struct Ratios {
    /// Its name.
    pub codec: &'static str,
    /// By class, as [`Table::classes`] has them; `None` for a codec that is not installed here.
    pub by_class: Option<Vec<[f64; 2]>>,
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub struct Table {
    /// Length of the blocks, each a member of its own: the two figures of each class.
    pub block_bytes: [usize; 2],
    /// Corpus classes and how many bytes each has; the last is all of them together.
    pub classes: Vec<(String, u64)>,
    /// The rows.
    pub rows: Vec<Ratios>,
}

/// The class of a corpus file: what its name begins with.
fn class_of(name: &str) -> &str {
    name.split('_').next().unwrap_or(name)
}

#[expect(clippy::cast_precision_loss, reason = "byte counts below 2^53")]
fn ratio(bytes_in: u64, bytes_out: u64) -> f64 {
    bytes_in as f64 / bytes_out.max(1) as f64
}

/// Compresses every sample with every codec.
///
/// # Errors
/// See [`RatioError`].
pub fn compare(samples: &[Sample]) -> Result<Table, RatioError> {
    let has_isal = IsalEngine::new().is_some();
    let is_here = |compared: &&Compared| has_isal || !matches!(compared.codec, Codec::IsaL(_));
    let here: Vec<_> = COMPARED.iter().filter(is_here).collect();
    let codecs: Vec<_> = here.iter().map(|compared| compared.codec).collect();
    let bytes_out = measure(&codecs, samples)?;
    let mut names: Vec<_> = samples
        .iter()
        .map(|sample| class_of(&sample.name))
        .collect();
    names.dedup();
    let is_of = |sample: &Sample, class: &str| class == ALL || class_of(&sample.name) == class;
    let bytes_in = |class: &str| -> u64 {
        let of = samples.iter().filter(|sample| is_of(sample, class));
        of.map(|sample| sample.bytes.len() as u64).sum()
    };
    let classes = names.into_iter().chain([ALL]);
    let classes: Vec<_> = classes
        .map(|class| (class.to_owned(), bytes_in(class)))
        .collect();
    let ratios = |sizes: &[Vec<u64>; 2]| {
        let of = |(class, bytes_in): &(String, u64)| {
            sizes.each_ref().map(|by_sample| {
                let of = samples.iter().zip(by_sample);
                let of = of.filter(|(sample, _)| is_of(sample, class));
                ratio(*bytes_in, of.map(|(_, bytes)| bytes).sum())
            })
        };
        classes.iter().map(of).collect()
    };
    let rows = COMPARED.iter().map(|compared| {
        let at = here.iter().position(|of| of.name == compared.name);
        Ratios {
            codec: compared.name,
            by_class: at.and_then(|at| bytes_out.get(at)).map(ratios),
        }
    });
    let rows = rows.collect();
    Ok(Table {
        block_bytes: SLICE_BYTES,
        classes,
        rows,
    })
}

/// What has to hold over all classes together, at each block size: a row's ratio, and what it is not to fall below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Floor {
    /// Another row's ratio, or more.
    Row(&'static str),
    /// More than another row's ratio.
    Above(&'static str),
    /// A number of thousandths, or more.
    Thousandths(u16),
}

/// The floors of the card's levels.
pub const FLOORS: [(&str, Floor); 3] = [
    ("card, fast", Floor::Above("zlib-rs 1")),
    ("card, balanced", Floor::Thousandths(3300)),
    ("card, dense", Floor::Row("libdeflate 1")),
];

impl Table {
    /// A row's ratios over all classes together.
    #[must_use]
    pub fn overall(&self, name: &str) -> Option<[f64; 2]> {
        let row = self.rows.iter().find(|row| row.codec == name)?;
        row.by_class.as_ref()?.last().copied()
    }

    /// The floors that do not hold, in words.
    #[must_use]
    pub fn below_their_floors(&self) -> Vec<String> {
        let mut below = Vec::new();
        for (name, floor) in FLOORS {
            for (size, block_bytes) in SLICE_BYTES.into_iter().enumerate() {
                let of = |name| Some(self.overall(name)?[size]);
                let (Some(got), Some(least)) = (
                    of(name),
                    match floor {
                        Floor::Row(other) | Floor::Above(other) => of(other),
                        Floor::Thousandths(least) => Some(f64::from(least) / 1000.0),
                    },
                ) else {
                    below.push(format!("{name} at {block_bytes}: a row is not there"));
                    continue;
                };
                let holds = match floor {
                    Floor::Above(_) => got > least,
                    Floor::Row(_) | Floor::Thousandths(_) => got >= least,
                };
                if !holds {
                    below.push(format!(
                        "{name} in blocks of {block_bytes}: expected {least:.3} or more by {floor:?}, got {got:.3}"
                    ));
                }
            }
        }
        below
    }

    /// As a table in Markdown: a pair of figures a class, in small blocks and in large ones.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from("| |");
        for (class, _) in &self.classes {
            let _ = write!(text, " {class} |");
        }
        text.push_str("\n|---|");
        text.push_str(&"---|".repeat(self.classes.len()));
        text.push_str("\n| KiB in |");
        for (_, bytes) in &self.classes {
            let _ = write!(text, " {} |", bytes >> 10);
        }
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "| {} |", row.codec);
            for at in 0..self.classes.len() {
                let ratios = row.by_class.as_ref().and_then(|of| of.get(at));
                let _ = match ratios {
                    Some([small, large]) => write!(text, " {small:.3} / {large:.3} |"),
                    None => write!(text, " {NOT_HERE} |"),
                };
            }
            text.push('\n');
        }
        text
    }
}

/// What the page begins with.
const HEAD: &str = "\
# Ratios of the card's levels beside those of software

Made by `cargo run --release -p faam-benches --bin ratios -- --write bitstreams/doc/ratios.md` (after `make corpus`); do not edit.
`make bench` prints the first table, `--json` has it in full. Bytes in / bytes out of gzip members, in blocks of 64 KiB and of
1 MiB, each block a member of its own with its header and trailer. The card's rows are counted with the functional model of
[algorithm.md](algorithm.md), with which the gateware agrees bit by bit (`make test-rtl`): nothing here ran on hardware.
libdeflate and zlib-rs are the versions of `Cargo.lock`. ISA-L is the one that was installed, at the two levels that the
gateway serves; its output depends on its version and on the processor.

Held by `benches/tests/ratios.rs`, in every block size over all classes: fast above zlib-rs 1, balanced 3.3 or more, dense no
less than libdeflate 1. A balanced job of more than 16 KiB has its table of its first 16 KiB: the larger the block, the less
that knows of its end, so that balanced gains little from large blocks.
";

/// The page of two tables.
#[must_use]
pub fn page(corpus: &Table, sample: &Table) -> String {
    format!(
        "{HEAD}\n## The corpus\n\n1 MiB of each of ten files, from a quarter of the offsets where a MiB fits; classes are what \
         the files' names begin with. 64 KiB / 1 MiB.\n\n{}\n## The committed sample\n\n`benches/sample`, too small to measure \
         on: each run of the tests counts this table anew, so that a change of any codec is seen where there is no \
         corpus.\n\n{}",
        corpus.markdown(),
        sample.markdown()
    )
}

/// Rows that a page has and these tables do not, or the other way round; rows of what differs from machine to machine are
/// only to be there.
#[must_use]
pub fn stale(page: &str, fresh: &str) -> Vec<String> {
    let comparable = |text: &str| -> Vec<String> {
        let line = |line: &str| match line.strip_prefix("| ") {
            Some(row) if row.starts_with(OF_THIS_MACHINE) => {
                row.split(" |").next().unwrap_or_default().to_owned()
            }
            _ => line.to_owned(),
        };
        text.lines().map(line).collect()
    };
    let (told, now) = (comparable(page), comparable(fresh));
    let mut wrong: Vec<_> = told
        .iter()
        .zip(&now)
        .filter(|(told, now)| told != now)
        .map(|(told, now)| format!("{told:?} on the page, {now:?} now"))
        .collect();
    if told.len() != now.len() {
        wrong.push(format!(
            "{} lines on the page, {} now",
            told.len(),
            now.len()
        ));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(fast: f64, balanced: f64, dense: f64) -> Table {
        let rows = COMPARED.map(|compared| {
            let of = match compared.name {
                "card, fast" => fast,
                "card, balanced" => balanced,
                "card, dense" => dense,
                "libdeflate 1" => 3.4,
                "zlib-rs 1" => 2.6,
                _ => 3.0,
            };
            let isal = matches!(compared.codec, Codec::IsaL(_));
            Ratios {
                codec: compared.name,
                by_class: (!isal).then(|| vec![[of, of]]),
            }
        });
        Table {
            block_bytes: SLICE_BYTES,
            classes: vec![(ALL.to_owned(), 1 << 20)],
            rows: rows.to_vec(),
        }
    }

    #[test]
    fn a_level_below_its_floor_is_named() {
        assert!(table(2.601, 3.3, 3.4).below_their_floors().is_empty());
        let cases = [
            (table(2.6, 3.3, 3.4), "card, fast"),
            (table(2.601, 3.299, 3.4), "card, balanced"),
            (table(2.601, 3.3, 3.399), "card, dense"),
        ];
        for (table, name) in cases {
            let below = table.below_their_floors();
            assert_eq!(below.len(), 2, "{below:?}");
            assert!(
                below.iter().all(|words| words.starts_with(name)),
                "{below:?}"
            );
        }
    }

    #[test]
    fn a_page_is_stale_by_any_figure_but_those_of_a_machine() {
        let now = table(2.7, 3.4, 3.5);
        let page = page(&now, &now);
        assert!(stale(&page, &page).is_empty());
        let other = page.replacen("2.700", "2.701", 1);
        assert_eq!(stale(&other, &page).len(), 1);
        assert!(page.contains("| ISA-L 1 | not here |"));
        let with = page.replace("| ISA-L 1 | not here |", "| ISA-L 1 | 2.900 / 2.900 |");
        assert!(stale(&with, &page).is_empty());
        let without = page.replacen("| ISA-L 1 | not here |\n", "", 1);
        assert!(!stale(&without, &page).is_empty());
    }
}
