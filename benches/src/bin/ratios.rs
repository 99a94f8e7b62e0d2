//! Prints the ratio table of the card's algorithm, next to the design's figures.
//!
//!     cargo run --release -p faam-benches --bin ratios -- [--corpus DIR] [--whole] [--files]

use std::path::PathBuf;
use std::process::ExitCode;

use faam_benches::corpus::{Extent, load};
use faam_benches::ratio::{ROWS, RatioError, SLICE_BYTES, measure};

fn main() -> ExitCode {
    let mut corpus = PathBuf::from(".cache/corpus");
    let mut by_file = false;
    let mut extent = Extent::Quarter;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.len()) {
            ("--corpus", 1..) => corpus = arguments.next().map(PathBuf::from).unwrap_or(corpus),
            ("--files", _) => by_file = true,
            ("--whole", _) => extent = Extent::Whole,
            _ => {
                eprintln!("usage: ratios [--corpus DIR] [--whole] [--files]");
                return ExitCode::from(2);
            }
        }
    }
    match print(&corpus, extent, by_file) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                eprintln!("  because: {cause}");
                source = cause.source();
            }
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "byte counts below 2^53")]
fn ratio(bytes_in: u64, bytes_out: u64) -> f64 {
    bytes_in as f64 / bytes_out as f64
}

fn print(corpus: &std::path::Path, extent: Extent, by_file: bool) -> Result<(), RatioError> {
    let samples = load(corpus, extent)?;
    let bytes_in: u64 = samples.iter().map(|sample| sample.bytes.len() as u64).sum();
    let table = measure(&ROWS, &samples)?;
    println!(
        "{} files, {bytes_in} bytes; gzip members, bytes in / bytes out.\n",
        samples.len()
    );
    // The design's figures are of one extent; beside another they would compare unlike things.
    let with_design = extent == Extent::Quarter;
    if with_design {
        println!("| | 64 KiB | design | % | 1 MiB | design | % |");
        println!("|---|---|---|---|---|---|---|");
    } else {
        println!("| | 64 KiB | 1 MiB |");
        println!("|---|---|---|");
    }
    for (row, bytes_out) in ROWS.iter().zip(&table) {
        print!("| {} |", row.name);
        for (slices, design) in bytes_out.iter().zip(row.design) {
            let ours = ratio(bytes_in, slices.iter().sum());
            print!(" {ours:.3} |");
            if with_design {
                print!(" {design:.3} | {:+.2} |", (ours / design - 1.0) * 100.0);
            }
        }
        println!();
    }
    if by_file {
        for (size, slice_bytes) in SLICE_BYTES.iter().enumerate() {
            print!("\n| {} KiB |", slice_bytes >> 10);
            for sample in &samples {
                print!(" {} |", sample.name);
            }
            println!("\n|---|{}", "---|".repeat(samples.len()));
            for (row, bytes_out) in ROWS.iter().zip(&table) {
                print!("| {} |", row.name);
                for (sample, out) in samples.iter().zip(&bytes_out[size]) {
                    print!(" {:.3} |", ratio(sample.bytes.len() as u64, *out));
                }
                println!();
            }
        }
    }
    Ok(())
}
