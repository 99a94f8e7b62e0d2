//! Passes over the corpus, timed and paired.

use std::time::Duration;

use faam_codec::{CpuEngines, Format, Level, Maker, Position};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::codec::{BLOCK_BYTES, CodecError, Library, Ours};
use crate::corpus::Sample;

/// A cell's passes go on until they have taken this long in all, and at least [`Settings::pairs_min`] pairs.
const CELL_TIME: Duration = Duration::from_millis(250);
const PAIRS_MAX: usize = 25;

/// At the slowest levels one block in so many is timed; ratios are of all.
const SLOW_BLOCKS_STEP: usize = 5;

/// zlib-rs's levels, to compare with.
const ZLIB_RS_LEVELS: [u32; 3] = [1, 6, 9];

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Pairs of passes a cell at the least.
    pub pairs_min: usize,
}

/// One row at one block size.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// Length of a block.
    pub block_bytes: usize,
    /// Bytes in over bytes out.
    pub ratio: f64,
    /// MB a CPU second, unverified.
    pub compress_mb_s: f64,
    /// MB a CPU second of what comes out; `None` for foreign rows.
    pub decompress_mb_s: Option<f64>,
    /// Time with verification over time without.
    pub verification: Option<f64>,
    /// Our speed over that of the same library called directly: median, and the quartiles.
    pub of_library: Option<[f64; 3]>,
    /// The same for blocks that others follow.
    pub middle_of_library: Option<f64>,
    /// Whether no row of the same format is both faster and denser.
    pub on_front: bool,
}

/// One level of one format, or a foreign codec to compare with.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The format's name.
    pub format: &'static str,
    /// The HTTP level; `None` for a foreign codec.
    pub level: Option<u8>,
    /// Who makes it.
    pub engine: String,
    /// By [`BLOCK_BYTES`].
    pub cells: Vec<Cell>,
}

/// What data that cannot be compressed costs, at level 1 and the default.
#[derive(Clone, Debug, Serialize)]
pub struct Skipped {
    /// The corpus file.
    pub file: String,
    /// Length of a block.
    pub block_bytes: usize,
    /// The HTTP level.
    pub level: u8,
    /// Share of blocks that were stored untried.
    pub stored: f64,
    /// Our speed over the engine's alone: what the test gains, or costs.
    pub gain: f64,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// Bytes of uncompressed data a pass.
    pub bytes: u64,
    /// Whether ISA-L was there.
    pub isal: bool,
    /// The rows.
    pub rows: Vec<Row>,
    /// The incompressible files, and one that is not.
    pub skipped: Vec<Skipped>,
}

/// Measures everything; `progress` is told what comes next.
///
/// # Errors
/// [`CodecError`].
pub fn measure(
    samples: &[Sample],
    left_out: &[Sample],
    settings: Settings,
    mut progress: impl FnMut(&str),
) -> Result<Table, CodecError> {
    let mut rows = Vec::new();
    for format in [
        Format::Gzip,
        Format::Zlib,
        Format::Deflate,
        Format::Zstd,
        Format::Lz4,
    ] {
        for level in Level::all() {
            // zlib and raw DEFLATE have gzip's blocks: three levels show what the checksum changes.
            let shown = [1, 3, 6].contains(&level.get());
            if matches!(format, Format::Zlib | Format::Deflate) && !shown {
                continue;
            }
            progress(&format!("{format} {level}"));
            rows.push(our_row(samples, format, level, settings)?);
        }
    }
    for native in ZLIB_RS_LEVELS {
        progress(&format!("zlib-rs {native}"));
        rows.push(foreign_row(samples, native, settings)?);
    }
    mark_front(&mut rows);
    let mut skipped = Vec::new();
    let compressible = samples.iter().find(|sample| sample.name == "json_logs");
    for sample in left_out.iter().chain(compressible) {
        progress(&format!("{} stored or not", sample.name));
        for level in [Level::MIN, Level::DEFAULT] {
            for block_bytes in BLOCK_BYTES {
                skipped.push(skip(sample, level, block_bytes, settings)?);
            }
        }
    }
    Ok(Table {
        bytes: samples.iter().map(|sample| sample.bytes.len() as u64).sum(),
        isal: CpuEngines::new().has_isal(),
        rows,
        skipped,
    })
}

fn blocks(samples: &[Sample], block_bytes: usize) -> Vec<&[u8]> {
    samples
        .iter()
        .flat_map(|sample| sample.bytes.chunks(block_bytes))
        .collect()
}

fn our_row(
    samples: &[Sample],
    format: Format,
    level: Level,
    settings: Settings,
) -> Result<Row, CodecError> {
    let mut ours = Ours::new(format, level)?;
    let mut cells = Vec::new();
    for block_bytes in BLOCK_BYTES {
        let blocks = blocks(samples, block_bytes);
        let bytes: usize = blocks.iter().map(|block| block.len()).sum();
        let mut bodies = Vec::with_capacity(blocks.len());
        let mut packed = 0;
        for block in &blocks {
            let mut body = Vec::new();
            ours.compress(block, &mut body)?;
            packed += body.len();
            bodies.push(body);
        }
        let mut library = Library::below(format, level)?;
        let mut out = Vec::with_capacity(3 << 20);
        let mut verified_out = Vec::with_capacity(3 << 20);
        // Levels 10 to 12 take seconds a pass over everything: there, some of the blocks are timed.
        let blocks: Vec<&[u8]> = if level.get() >= 10 {
            blocks.into_iter().step_by(SLOW_BLOCKS_STEP).collect()
        } else {
            blocks
        };
        let timed: usize = blocks.iter().map(|block| block.len()).sum();
        let pairs_min = settings.pairs_min;
        let direct = match &mut library {
            Some(library) => {
                let mut pairs = Pairs::new(pairs_min);
                while pairs.go_on() {
                    pairs.pair(
                        || pass(&blocks, &mut out, |block, out| ours.compress(block, out)),
                        || {
                            pass(&blocks, &mut verified_out, |block, out| {
                                library.compress(block, out)
                            })
                        },
                    )?;
                }
                Some(pairs)
            }
            None => None,
        };
        let middle = match &mut library {
            Some(library) if format == Format::Gzip => {
                let mut pairs = Pairs::new(pairs_min);
                while pairs.go_on() {
                    pairs.pair(
                        || pass(&blocks, &mut out, |block, out| ours.middle(block, out)),
                        || {
                            pass(&blocks, &mut verified_out, |block, out| {
                                library.compress(block, out)
                            })
                        },
                    )?;
                }
                Some(pairs)
            }
            _ => None,
        };
        let mut again = Ours::new(format, level)?;
        let mut verified = Pairs::new(pairs_min);
        while verified.go_on() {
            verified.pair(
                || pass(&blocks, &mut out, |block, out| ours.compress(block, out)),
                || {
                    pass(&blocks, &mut verified_out, |block, out| {
                        again.compress_verified(block, out)
                    })
                },
            )?;
        }
        let mut decompress = Pairs::new(settings.pairs_min);
        while decompress.go_on() {
            let decode = |decoder: &mut Ours| {
                let begun = cpu_time();
                for body in &bodies {
                    decoder.decompress(body)?;
                }
                Ok(cpu_time().saturating_sub(begun))
            };
            decompress.pair(|| decode(&mut ours), || decode(&mut again))?;
        }
        cells.push(Cell {
            block_bytes,
            ratio: quotient(bytes, packed),
            compress_mb_s: speed(timed, verified.first_median()),
            decompress_mb_s: Some(speed(bytes, decompress.first_median())),
            verification: Some(verified.ratio(0.5)),
            of_library: direct.map(|pairs| [0.5, 0.25, 0.75].map(|at| pairs.ratio(at))),
            middle_of_library: middle.map(|pairs| pairs.ratio(0.5)),
            on_front: false,
        });
    }
    Ok(Row {
        format: format.name(),
        level: Some(level.get()),
        engine: ours.engine(),
        cells,
    })
}

fn foreign_row(samples: &[Sample], native: u32, settings: Settings) -> Result<Row, CodecError> {
    let mut library = Library::ZlibRs(native);
    let mut cells = Vec::new();
    for block_bytes in BLOCK_BYTES {
        let blocks = blocks(samples, block_bytes);
        let bytes: usize = blocks.iter().map(|block| block.len()).sum();
        let mut packed = 0;
        let mut out = Vec::new();
        let mut passes = Vec::new();
        for _ in 0..settings.pairs_min {
            packed = 0;
            passes.push(pass(&blocks, &mut out, |block, out| {
                library.compress(block, out)?;
                packed += out.len();
                Ok(())
            })?);
        }
        cells.push(Cell {
            block_bytes,
            ratio: quotient(bytes, packed),
            compress_mb_s: speed(bytes, median(passes)),
            decompress_mb_s: None,
            verification: None,
            of_library: None,
            middle_of_library: None,
            on_front: false,
        });
    }
    Ok(Row {
        format: Format::Gzip.name(),
        level: None,
        engine: library.name(),
        cells,
    })
}

/// The engine of the level itself, without the test for incompressible data, against our path.
fn skip(
    sample: &Sample,
    level: Level,
    block_bytes: usize,
    settings: Settings,
) -> Result<Skipped, CodecError> {
    let samples = std::slice::from_ref(sample);
    let blocks = blocks(samples, block_bytes);
    let mut engines = CpuEngines::new();
    let mut stored = 0;
    let mut out = Vec::with_capacity(3 << 20);
    for block in &blocks {
        out.clear();
        let maker = engines.compress_block(block, level, Position::Last, &mut out)?;
        stored += usize::from(maker == Maker::Stored);
    }
    let mut ours = Ours::new(Format::Gzip, level)?;
    let mut gain = 1.0;
    if let Some(mut library) = Library::below(Format::Gzip, level)? {
        let mut pairs = Pairs::new(settings.pairs_min);
        let mut other = Vec::with_capacity(3 << 20);
        while pairs.go_on() {
            pairs.pair(
                || pass(&blocks, &mut out, |block, out| ours.compress(block, out)),
                || {
                    pass(&blocks, &mut other, |block, out| {
                        library.compress(block, out)
                    })
                },
            )?;
        }
        gain = pairs.ratio(0.5);
    }
    Ok(Skipped {
        file: sample.name.clone(),
        block_bytes,
        level: level.get(),
        stored: quotient(stored, blocks.len()),
        gain,
    })
}

/// Marks the rows of each format that no other row of it beats in both speed and ratio.
fn mark_front(rows: &mut [Row]) {
    let points: Vec<(&str, Vec<(f64, f64)>)> = rows
        .iter()
        .map(|row| {
            let cells = row.cells.iter();
            (
                row.format,
                cells.map(|cell| (cell.compress_mb_s, cell.ratio)).collect(),
            )
        })
        .collect();
    for row in rows {
        for (size, cell) in row.cells.iter_mut().enumerate() {
            let beaten = points
                .iter()
                .filter(|(format, _)| *format == row.format)
                .filter_map(|(_, points)| points.get(size))
                .any(|(speed, ratio)| *speed > cell.compress_mb_s && *ratio > cell.ratio);
            cell.on_front = !beaten;
        }
    }
}

/// CPU time of one pass over the blocks, each onto an emptied buffer.
fn pass(
    blocks: &[&[u8]],
    out: &mut Vec<u8>,
    mut work: impl FnMut(&[u8], &mut Vec<u8>) -> Result<(), CodecError>,
) -> Result<Duration, CodecError> {
    let begun = cpu_time();
    for block in blocks {
        out.clear();
        work(block, out)?;
    }
    Ok(cpu_time().saturating_sub(begun))
}

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// Pairs of passes, the order within them alternating.
struct Pairs {
    times: Vec<(Duration, Duration)>,
    pairs_min: usize,
}

impl Pairs {
    const fn new(pairs_min: usize) -> Self {
        Self {
            times: Vec::new(),
            pairs_min,
        }
    }

    fn go_on(&self) -> bool {
        let spent: Duration = self
            .times
            .iter()
            .map(|(first, second)| *first + *second)
            .sum();
        self.times.len() < self.pairs_min || (spent < CELL_TIME && self.times.len() < PAIRS_MAX)
    }

    fn pair(
        &mut self,
        first: impl FnOnce() -> Result<Duration, CodecError>,
        second: impl FnOnce() -> Result<Duration, CodecError>,
    ) -> Result<(), CodecError> {
        let pair = if self.times.len().is_multiple_of(2) {
            let first = first()?;
            (first, second()?)
        } else {
            let second = second()?;
            (first()?, second)
        };
        self.times.push(pair);
        Ok(())
    }

    /// A quantile of second over first: above 1, the first is the faster.
    fn ratio(&self, quantile: f64) -> f64 {
        let mut ratios: Vec<f64> = self
            .times
            .iter()
            .map(|(first, second)| second.as_secs_f64() / first.as_secs_f64().max(1e-9))
            .collect();
        ratios.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index into a few dozen"
        )]
        let at = ((ratios.len().saturating_sub(1)) as f64 * quantile).round() as usize;
        ratios.get(at).copied().unwrap_or(f64::NAN)
    }

    fn first_median(&self) -> Duration {
        median(self.times.iter().map(|(first, _)| *first).collect())
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[expect(clippy::cast_precision_loss, reason = "byte counts below 2^53")]
fn quotient(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[expect(clippy::cast_precision_loss, reason = "byte counts below 2^53")]
fn speed(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64().max(1e-9) / 1e6
}
