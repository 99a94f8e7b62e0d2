//! Speeds of this crate's parts over a directory of files, each block on its own, one thread.
//!
//!     cargo run --release -p faam-codec --example speed -- .cache/corpus [LEVEL] [BLOCK_KIB]
//!
//! MB/s are of uncompressed bytes, 10^6 a second, wall time; best of the rounds, all parts in turn within a
//! round, so that they stand for one another's conditions.

use std::process::ExitCode;
use std::time::{Duration, Instant};
use std::{env, fs, io};

use faam_codec::{
    BlockChecksum, CpuEngines, Decompressor, EngineError, Format, IsalDecoder, Level, Limits,
    Position, StreamCompressor, Verifier, output_bytes_max, write_header, write_trailer,
};

const ROUNDS: usize = 3;
const BLOCK_KIB: usize = 128;
/// A slice of each file is enough, and keeps a run short.
const FILE_BYTES_MAX: usize = 4 << 20;

fn main() -> ExitCode {
    let directory = env::args()
        .nth(1)
        .unwrap_or_else(|| ".cache/corpus".to_owned());
    let number = |at| {
        env::args()
            .nth(at)
            .and_then(|text| text.parse::<usize>().ok())
    };
    let level = number(2)
        .and_then(|level| Level::new(u8::try_from(level).ok()?).ok())
        .unwrap_or_default();
    match run(&directory, level, number(3).unwrap_or(BLOCK_KIB) << 10) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{directory}: {error} (benches/corpus.sh makes the corpus)");
            ExitCode::FAILURE
        }
    }
}

/// Best time of each part, by name, in the order of first use.
#[derive(Default)]
struct Parts(Vec<(&'static str, Duration, Duration)>);

impl Parts {
    fn time<T>(&mut self, name: &'static str, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = work();
        let spent = start.elapsed();
        match self.0.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, round, _)) => *round += spent,
            None => self.0.push((name, spent, Duration::MAX)),
        }
        value
    }

    fn end_round(&mut self) {
        for (_, round, best) in &mut self.0 {
            *best = (*best).min(*round);
            *round = Duration::ZERO;
        }
    }
}

fn run(directory: &str, level: Level, block_bytes: usize) -> io::Result<()> {
    let mut paths: Vec<_> = fs::read_dir(directory)?
        .collect::<Result<Vec<_>, _>>()?
        .iter()
        .map(fs::DirEntry::path)
        .collect();
    paths.sort();
    let mut engines = CpuEngines::new();
    let mut verifier = Verifier::new();
    let mut libdeflate = libdeflater::Decompressor::new();
    let mut isal = IsalDecoder::new();
    let mut decompressor = Decompressor::new();
    let limits = Limits {
        output_bytes_max: FILE_BYTES_MAX as u64,
        ratio_max: 1100,
    };
    println!("level {level}, blocks of {block_bytes} bytes; MB/s");
    let mut total = Total::default();
    for path in paths {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name == "SHA256SUMS" || !path.is_file() {
            continue;
        }
        let mut data = fs::read(&path)?;
        data.truncate(FILE_BYTES_MAX);
        let mut parts = Parts::default();
        let mut packed = 0;
        let mut last = Vec::with_capacity(output_bytes_max(block_bytes));
        let mut decoded = vec![0; block_bytes];
        for _ in 0..ROUNDS {
            packed = 0;
            let mut member = Vec::with_capacity(data.len());
            write_header(Format::Gzip, level, &mut member);
            let mut checksum = BlockChecksum::empty(Format::Gzip);
            let mut blocks = data.chunks(block_bytes).peekable();
            while let Some(block) = blocks.next() {
                let position = if blocks.peek().is_some() {
                    Position::Middle
                } else {
                    Position::Last
                };
                last.clear();
                parts
                    .time("last block", || {
                        engines.compress_block(block, level, Position::Last, &mut last)
                    })
                    .map_err(io::Error::other)?;
                parts
                    .time("its check", || {
                        verifier.check_block(&last, Position::Last, block)
                    })
                    .map_err(io::Error::other)?;
                let right = parts.time("by libdeflate", || {
                    libdeflate.deflate_decompress(&last, &mut decoded) == Ok(block.len())
                        && decoded.get(..block.len()) == Some(block)
                });
                assert!(right, "{name}: libdeflate decodes the block");
                if let Some(isal) = &mut isal {
                    let right = parts.time("by isa-l", || {
                        isal.decode(&last, &mut decoded)
                            .is_some_and(|done| decoded.get(..done.produced) == Some(block))
                    });
                    assert!(right, "{name}: ISA-L decodes the block");
                }
                last.clear();
                let draft = engines
                    .draft_block(block, level, Position::Last, &mut last)
                    .map_err(io::Error::other)?;
                parts
                    .time("its finish", || verifier.finish(draft, block, &mut last))
                    .map_err(io::Error::other)?;
                let before = member.len();
                let draft = parts
                    .time("block in its place", || {
                        engines.draft_block(block, level, position, &mut member)
                    })
                    .map_err(io::Error::other)?;
                parts
                    .time("that finish", || verifier.finish(draft, block, &mut member))
                    .map_err(io::Error::other)?;
                let made = &member[before..];
                checksum = checksum
                    .combine(parts.time("crc-32", || BlockChecksum::of(Format::Gzip, block)));
                packed += made.len();
            }
            write_trailer(&checksum, &mut member);
            let back = parts
                .time("decompress gzip", || {
                    decompressor.decompress(&member, None, limits)
                })
                .map_err(io::Error::other)?;
            assert!(
                back.data == data,
                "{name}: the member decompresses to its data"
            );
            let raw_stream = &member[10..member.len() - 8];
            parts
                .time("decompress raw", || {
                    decompressor.decompress(raw_stream, Some(Format::Deflate), limits)
                })
                .map_err(io::Error::other)?;
            for (format, whole, checked) in [
                (Format::Zstd, "zstd", "zstd, checked"),
                (Format::Lz4, "lz4", "lz4, checked"),
            ] {
                for (name, verified) in [(whole, false), (checked, true)] {
                    let made = StreamCompressor::new(format, level).map_err(io::Error::other)?;
                    let mut compressor = made.with_verification(verified);
                    member.clear();
                    parts
                        .time(name, || {
                            let mut blocks = data.chunks(block_bytes).peekable();
                            while let Some(block) = blocks.next() {
                                let position = if blocks.peek().is_some() {
                                    Position::Middle
                                } else {
                                    Position::Last
                                };
                                compressor.compress(block, position, &mut member)?;
                            }
                            Ok::<_, EngineError>(())
                        })
                        .map_err(io::Error::other)?;
                }
            }
            parts.end_round();
        }
        report(&name, data.len(), packed, &parts);
        total.add(data.len(), packed, &parts);
    }
    report("all, by time", total.bytes, total.packed, &total.parts);
    Ok(())
}

#[derive(Default)]
struct Total {
    bytes: usize,
    packed: usize,
    parts: Parts,
}

impl Total {
    fn add(&mut self, bytes: usize, packed: usize, parts: &Parts) {
        self.bytes += bytes;
        self.packed += packed;
        for (name, _, best) in &parts.0 {
            match self.parts.0.iter_mut().find(|(known, ..)| known == name) {
                Some((.., sum)) => *sum += *best,
                None => self.parts.0.push((name, Duration::ZERO, *best)),
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn report(name: &str, bytes: usize, packed: usize, parts: &Parts) {
    print!(
        "{name:>18}  ratio {:6.3}",
        bytes as f64 / packed.max(1) as f64
    );
    for (part, _, best) in &parts.0 {
        print!(
            "  {part} {:.0}",
            bytes as f64 / best.as_secs_f64().max(1e-9) / 1e6
        );
    }
    println!();
}
