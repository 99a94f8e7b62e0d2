//! Prints the ratios of the card's levels beside software's by corpus class, and those of the algorithm's variants beside the
//! design's figures.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use faam_benches::corpus::{Extent, Sample, load};
use faam_benches::levels::{Table, compare, page};
use faam_benches::ratio::{ROWS, RatioError, SLICE_BYTES, measure};

/// The committed sample, from the repository's top.
const SAMPLE: &str = "benches/sample";

/// Ratios of the card's levels, beside ISA-L, libdeflate and zlib-rs by corpus class, and beside the design's figures.
#[derive(Parser)]
#[command(after_help = "Examples:
  cargo run --release -p faam-benches --bin ratios
  cargo run --release -p faam-benches --bin ratios -- --files --whole
  cargo run --release -p faam-benches --bin ratios -- --json
  cargo run --release -p faam-benches --bin ratios -- --write bitstreams/doc/ratios.md")]
struct Arguments {
    /// A directory of files; `make corpus` fills the default.
    #[arg(long, default_value = ".cache/corpus")]
    corpus: PathBuf,
    /// Whole files instead of 1 MiB of each; without the design's figures, which are of that.
    #[arg(long)]
    whole: bool,
    /// The algorithm's variants by file as well.
    #[arg(long)]
    files: bool,
    /// The table of levels as JSON, and nothing else.
    #[arg(long, conflicts_with_all = ["files", "write"])]
    json: bool,
    /// Write the page of levels to this file, from the repository's top.
    #[arg(long, value_name = "FILE", conflicts_with = "whole")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let extent = match arguments.whole {
        true => Extent::Whole,
        false => Extent::Quarter,
    };
    let samples = load(&arguments.corpus, extent)?;
    let levels = compare(&samples)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&levels)?);
        return Ok(());
    }
    if let Some(path) = &arguments.write {
        let sample = compare(&load(Path::new(SAMPLE), Extent::Whole)?)?;
        std::fs::write(path, page(&levels, &sample))?;
    }
    print(&levels);
    print!("{}", variants(&samples, extent, arguments.files)?);
    Ok(())
}

fn print(levels: &Table) {
    println!(
        "Bytes in / bytes out of gzip members by corpus class, in blocks of {} KiB / {} KiB; the card's rows are the \
         functional model's.\n\n{}",
        levels.block_bytes[0] >> 10,
        levels.block_bytes[1] >> 10,
        levels.markdown()
    );
}

#[expect(clippy::cast_precision_loss, reason = "byte counts below 2^53")]
fn ratio(bytes_in: u64, bytes_out: u64) -> f64 {
    bytes_in as f64 / bytes_out as f64
}

/// The table of the algorithm's variants.
fn variants(samples: &[Sample], extent: Extent, by_file: bool) -> Result<String, RatioError> {
    let bytes_in: u64 = samples.iter().map(|sample| sample.bytes.len() as u64).sum();
    let table = measure(&ROWS.map(|row| row.codec), samples)?;
    let mut text = format!(
        "{} files, {bytes_in} bytes, all of them.\n\n",
        samples.len()
    );
    // The design's figures are of one extent; beside another they would compare unlike things.
    let with_design = extent == Extent::Quarter;
    text.push_str(match with_design {
        true => "| | 64 KiB | design | % | 1 MiB | design | % |\n|---|---|---|---|---|---|---|\n",
        false => "| | 64 KiB | 1 MiB |\n|---|---|---|\n",
    });
    for (row, bytes_out) in ROWS.iter().zip(&table) {
        let _ = write!(text, "| {} |", row.name);
        for (slices, design) in bytes_out.iter().zip(row.design) {
            let ours = ratio(bytes_in, slices.iter().sum());
            let _ = write!(text, " {ours:.3} |");
            if with_design {
                let percent = (ours / design - 1.0) * 100.0;
                let _ = write!(text, " {design:.3} | {percent:+.2} |");
            }
        }
        text.push('\n');
    }
    if !by_file {
        return Ok(text);
    }
    for (size, slice_bytes) in SLICE_BYTES.iter().enumerate() {
        let _ = write!(text, "\n| {} KiB |", slice_bytes >> 10);
        for sample in samples {
            let _ = write!(text, " {} |", sample.name);
        }
        let _ = write!(text, "\n|---|{}\n", "---|".repeat(samples.len()));
        for (row, bytes_out) in ROWS.iter().zip(&table) {
            let _ = write!(text, "| {} |", row.name);
            for (sample, out) in samples.iter().zip(&bytes_out[size]) {
                let _ = write!(text, " {:.3} |", ratio(sample.bytes.len() as u64, *out));
            }
            text.push('\n');
        }
    }
    Ok(text)
}
