//! Compression ratios of the card's algorithm: which set-ups are measured, what each should come to, and how.
//!
//! Invariant: a ratio is bytes in over bytes out, each slice a gzip member of its own with its real header and trailer.
//!
//! The design's figures were taken of one MiB of each file, a quarter of the way in ([`Extent::Quarter`](crate::corpus::Extent::Quarter)): there zlib-rs
//! and libdeflate, which no parameter of ours touches, come to the design's figures for them. Whole files
//! ([`Extent::Whole`](crate::corpus::Extent::Whole)) come to a fifth more, all rows alike, because the large JSON files weigh more.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use faam_codec::{BlockChecksum, Engine as _, Format, IsalEngine, Level, Position};
use faam_codec::{write_header, write_trailer};
use faam_driver::huffman::{Coverage, Histogram, HuffmanTable, TABLE_BYTES};
use faam_sim::model::{self, Engine, Fault, Job, LoadedTable, Params, Tables};
use thiserror::Error;

use crate::corpus::{CorpusError, Sample};

/// Slice sizes of the table's columns, in bytes.
pub const SLICE_BYTES: [usize; 2] = [64 << 10, 1 << 20];
/// Input that a sampled table is made of, in bytes.
pub const SAMPLE_BYTES: usize = 16 << 10;

/// Room for the output of a slice.
const OUT_BYTES: usize = (SLICE_BYTES[1] * 9) / 8 + 4096;

/// How a job's Huffman code is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// RFC 1951's.
    Fixed,
    /// Counted over the whole slice, then loaded.
    Counted,
    /// Counted over the slice's first [`SAMPLE_BYTES`].
    Sampled,
    /// Counted over the slice before, be it of another file; the first of all is counted itself.
    Previous,
    /// One table for everything, counted over all files.
    Canned,
}

/// What compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// The card's algorithm.
    Model(Params, Code),
    /// zlib-rs at a level, to compare.
    Zlib(u32),
    /// libdeflate at a level, to compare.
    Libdeflate(i32),
    /// ISA-L at a level that the gateway's codec has, to compare; nothing comes of it where the library is not installed.
    IsaL(u8),
}

/// One row of the ratio table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// What it is called.
    pub name: &'static str,
    /// What compresses.
    pub codec: Codec,
    /// The design's figures, for each of [`SLICE_BYTES`].
    pub design: [f64; 2],
}

/// The card's algorithm at these parameters.
pub(crate) const fn card(hash_bits: u32, ways: usize, lazy: bool, code: Code) -> Codec {
    Codec::Model(
        Params {
            hash_bits,
            ways,
            lazy,
        },
        code,
    )
}

/// The table, row by row.
pub const ROWS: [Row; 11] = [
    Row {
        name: "4K x 1 greedy, fixed",
        codec: card(12, 1, false, Code::Fixed),
        design: [2.552, 2.600],
    },
    Row {
        name: "4K x 1 lazy, fixed",
        codec: card(12, 1, true, Code::Fixed),
        design: [2.608, 2.660],
    },
    Row {
        name: "8K x 1 lazy, fixed (fast)",
        codec: card(13, 1, true, Code::Fixed),
        design: [2.683, 2.751],
    },
    Row {
        name: "8K x 2 lazy, two passes",
        codec: card(13, 2, true, Code::Counted),
        design: [3.366, 3.457],
    },
    Row {
        name: "4K x 4 lazy, two passes",
        codec: card(12, 4, true, Code::Counted),
        design: [3.436, 3.536],
    },
    Row {
        name: "8K x 4 lazy, two passes (dense)",
        codec: card(13, 4, true, Code::Counted),
        design: [3.466, 3.581],
    },
    Row {
        name: "8K x 4 lazy, sampled from the first 16 KiB (balanced)",
        codec: card(13, 4, true, Code::Sampled),
        design: [3.349, 3.338],
    },
    Row {
        name: "8K x 4 lazy, table of the previous block",
        codec: card(13, 4, true, Code::Previous),
        design: [3.397, 3.040],
    },
    Row {
        name: "8K x 4 lazy, one canned table",
        codec: card(13, 4, true, Code::Canned),
        design: [3.186, 3.322],
    },
    Row {
        name: "zlib-rs 1",
        codec: Codec::Zlib(1),
        design: [2.57, 2.63],
    },
    Row {
        name: "libdeflate 1",
        codec: Codec::Libdeflate(1),
        design: [3.33, 3.43],
    },
];

/// Why no ratio came of it.
#[derive(Debug, Error)]
pub enum RatioError {
    /// The corpus cannot be read.
    #[error(transparent)]
    Corpus(#[from] CorpusError),
    /// The model refused a job.
    #[error("the model refused a job")]
    Model(#[from] Fault),
    /// The table builder made a table that the model refuses.
    #[error("the model refused a table")]
    Table(#[from] model::BadTable),
    /// The two sides disagree on a histogram's layout.
    #[error("the histogram does not read back")]
    Histogram(#[from] faam_driver::huffman::BadHistogram),
    /// A codec to compare with failed.
    #[error("{codec} failed on a slice of {slice_bytes} bytes")]
    Codec {
        /// Which.
        codec: &'static str,
        /// On what.
        slice_bytes: usize,
    },
}

/// Compresses slices, one after the other, and keeps what that needs.
pub struct Bench {
    engine: Engine,
    out: Vec<u8>,
    /// By level, made when it is first asked for.
    libdeflate: Vec<(i32, libdeflater::Compressor)>,
    isal: Option<IsalEngine>,
}

impl Default for Bench {
    fn default() -> Self {
        Self {
            engine: Engine::new(),
            out: vec![0; OUT_BYTES],
            libdeflate: Vec::new(),
            isal: IsalEngine::new(),
        }
    }
}

impl Bench {
    /// Counts `src` as the card would.
    ///
    /// # Errors
    /// [`RatioError::Model`], [`RatioError::Histogram`].
    pub fn count(&mut self, src: &[u8], params: Params) -> Result<Histogram, RatioError> {
        let (histogram, _) = self.engine.count(src, &[], params)?;
        Ok(Histogram::from_bytes(&histogram.to_bytes())?)
    }

    /// Runs one job as gzip, with a table of `histogram` or with the fixed code; its output.
    ///
    /// # Errors
    /// [`RatioError::Model`], [`RatioError::Table`].
    pub fn compress(
        &mut self,
        src: &[u8],
        params: Params,
        histogram: Option<(&Histogram, Coverage)>,
    ) -> Result<&[u8], RatioError> {
        let table = histogram
            .map(|(histogram, coverage)| {
                let mut block = [0; TABLE_BYTES];
                HuffmanTable::build(histogram, coverage).write_to(&mut block);
                LoadedTable::parse(&block)
            })
            .transpose()?;
        let job = Job {
            src,
            history: &[],
            params,
            format: model::Format::Gzip,
            last: true,
            sync: false,
            tables: table.as_ref().map_or(Tables::Fixed, Tables::Loaded),
        };
        let report = self.engine.compress(&job, &mut self.out)?;
        Ok(self.out.get(..report.out_len).unwrap_or_default())
    }

    /// Compresses one slice with `codec`; its output. `previous` is the slice before it in its file.
    ///
    /// # Errors
    /// See [`RatioError`].
    pub fn slice(
        &mut self,
        codec: Codec,
        src: &[u8],
        previous: Option<&[u8]>,
        canned: Option<&Histogram>,
    ) -> Result<&[u8], RatioError> {
        match codec {
            Codec::Model(params, Code::Fixed) => self.compress(src, params, None),
            Codec::Model(params, Code::Counted) => {
                let histogram = self.count(src, params)?;
                self.compress(src, params, Some((&histogram, Coverage::Whole)))
            }
            Codec::Model(params, Code::Sampled) => {
                let sample = src.get(..SAMPLE_BYTES).unwrap_or(src);
                let histogram = self.count(sample, params)?;
                let coverage = if sample.len() == src.len() {
                    Coverage::Whole
                } else {
                    Coverage::Sample
                };
                self.compress(src, params, Some((&histogram, coverage)))
            }
            Codec::Model(params, Code::Previous) => {
                let histogram = self.count(previous.unwrap_or(src), params)?;
                self.compress(src, params, Some((&histogram, Coverage::Sample)))
            }
            Codec::Model(params, Code::Canned) => {
                let counted = match canned {
                    Some(_) => None,
                    None => Some(self.count(src, params)?),
                };
                let histogram = canned.or(counted.as_ref());
                self.compress(src, params, histogram.map(|h| (h, Coverage::Sample)))
            }
            Codec::Libdeflate(level) => {
                let fail = || RatioError::Codec {
                    codec: "libdeflate",
                    slice_bytes: src.len(),
                };
                let made = self.libdeflate.iter().position(|(of, _)| *of == level);
                let made = match made {
                    Some(made) => made,
                    None => {
                        let native = libdeflater::CompressionLvl::new(level).map_err(|_| fail())?;
                        self.libdeflate
                            .push((level, libdeflater::Compressor::new(native)));
                        self.libdeflate.len() - 1
                    }
                };
                let (_, compressor) = self.libdeflate.get_mut(made).ok_or_else(fail)?;
                let len = compressor
                    .gzip_compress(src, &mut self.out)
                    .map_err(|_| fail())?;
                Ok(self.out.get(..len).unwrap_or_default())
            }
            Codec::Zlib(level) => {
                use std::io::Write;
                let fail = |_| RatioError::Codec {
                    codec: "zlib-rs",
                    slice_bytes: src.len(),
                };
                self.out.clear();
                let mut writer =
                    flate2::write::GzEncoder::new(&mut self.out, flate2::Compression::new(level));
                writer.write_all(src).map_err(fail)?;
                writer.finish().map_err(fail)?;
                Ok(self.refill())
            }
            Codec::IsaL(level) => {
                let fail = RatioError::Codec {
                    codec: "isa-l",
                    slice_bytes: src.len(),
                };
                let (Some(isal), Ok(level)) = (&mut self.isal, Level::new(level)) else {
                    return Err(fail);
                };
                self.out.clear();
                write_header(Format::Gzip, level, &mut self.out);
                isal.compress_block(src, level, Position::Last, &mut self.out)
                    .map_err(|_| fail)?;
                write_trailer(&BlockChecksum::of(Format::Gzip, src), &mut self.out);
                Ok(self.refill())
            }
        }
    }

    /// What was appended to the output, which has its full length again.
    fn refill(&mut self) -> &[u8] {
        let len = self.out.len();
        self.out.resize(OUT_BYTES.max(len), 0);
        self.out.get(..len).unwrap_or_default()
    }

    /// Bytes that a file comes to, cut into slices. `before` is the slice that went before them.
    ///
    /// # Errors
    /// See [`RatioError`].
    pub fn file(
        &mut self,
        codec: Codec,
        bytes: &[u8],
        slice_bytes: usize,
        before: Option<&[u8]>,
        canned: Option<&Histogram>,
    ) -> Result<u64, RatioError> {
        let mut total = 0;
        let mut previous = before;
        for slice in bytes.chunks(slice_bytes) {
            total += self.slice(codec, slice, previous, canned)?.len() as u64;
            previous = Some(slice);
        }
        Ok(total)
    }
}

/// Adds up the histograms of all samples, each slice of 64 KiB counted on its own: the canned table's.
///
/// # Errors
/// See [`RatioError`].
pub fn canned_histogram(samples: &[Sample], params: Params) -> Result<Histogram, RatioError> {
    let mut bench = Bench::default();
    let mut sum: Option<Histogram> = None;
    for sample in samples {
        for slice in sample.bytes.chunks(SLICE_BYTES[0]) {
            let counted = bench.count(slice, params)?;
            match &mut sum {
                None => sum = Some(counted),
                Some(sum) => {
                    for (to, from) in sum.litlen.iter_mut().zip(counted.litlen) {
                        *to = to.saturating_add(from);
                    }
                    for (to, from) in sum.distance.iter_mut().zip(counted.distance) {
                        *to = to.saturating_add(from);
                    }
                }
            }
        }
    }
    Ok(sum.unwrap_or(Histogram {
        litlen: [0; faam_driver::huffman::LITLEN_SYMBOLS],
        distance: [0; faam_driver::huffman::DISTANCE_SYMBOLS],
    }))
}

/// Bytes out for every codec, slice size and sample: `[codec][slice size][sample]`. Runs on every core.
///
/// # Errors
/// The first [`RatioError`] of any codec.
pub fn measure(codecs: &[Codec], samples: &[Sample]) -> Result<Vec<[Vec<u64>; 2]>, RatioError> {
    let canned_params = codecs.iter().find_map(|codec| match codec {
        Codec::Model(params, Code::Canned) => Some(*params),
        _ => None,
    });
    let canned = canned_params
        .map(|params| canned_histogram(samples, params))
        .transpose()?;
    let empty = || vec![0; samples.len()];
    let results = Mutex::new(Ok(codecs
        .iter()
        .map(|_| [empty(), empty()])
        .collect::<Vec<[Vec<u64>; 2]>>()));
    let next = AtomicUsize::new(0);
    let tasks = codecs.len() * SLICE_BYTES.len() * samples.len();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut bench = Bench::default();
                loop {
                    let task = next.fetch_add(1, Ordering::Relaxed);
                    if task >= tasks {
                        return;
                    }
                    let sample = task % samples.len();
                    let size = (task / samples.len()) % SLICE_BYTES.len();
                    let codec = task / samples.len() / SLICE_BYTES.len();
                    let bytes_out = bench.file(
                        codecs[codec],
                        &samples[sample].bytes,
                        SLICE_BYTES[size],
                        last_slice(samples, sample, SLICE_BYTES[size]),
                        canned.as_ref(),
                    );
                    let Ok(mut results) = results.lock() else {
                        return;
                    };
                    match (&mut *results, bytes_out) {
                        (Ok(table), Ok(bytes_out)) => table[codec][size][sample] = bytes_out,
                        (slot @ Ok(_), Err(error)) => *slot = Err(error),
                        (Err(_), _) => return,
                    }
                }
            });
        }
    });
    results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The last slice of the sample before `sample`.
fn last_slice(samples: &[Sample], sample: usize, slice_bytes: usize) -> Option<&[u8]> {
    samples
        .get(sample.checked_sub(1)?)?
        .bytes
        .chunks(slice_bytes)
        .last()
}
