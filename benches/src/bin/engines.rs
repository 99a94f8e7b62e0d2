//! Measures every engine at every level over a corpus and prints the table.
//!
//!     cargo run --release -p faam-benches --bin engines -- [--full] [--json FILE] [--html FILE] CORPUS

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use faam_benches::corpus::{Extent, Sample, load, load_left_out};
use faam_benches::engines::{Settings, html, measure, text};

/// What is taken of each file unless all of it is asked for.
const SAMPLE_BYTES: usize = 256 << 10;

#[derive(Parser)]
struct Arguments {
    /// 1 MiB of each file instead of 256 KiB, and three times the passes.
    #[arg(long)]
    full: bool,
    /// Write the table as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the table and its plots as one HTML page.
    #[arg(long)]
    html: Option<PathBuf>,
    /// A directory of files.
    corpus: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let cut = |mut samples: Vec<Sample>| {
        if !arguments.full {
            for sample in &mut samples {
                sample.bytes.truncate(SAMPLE_BYTES);
            }
        }
        samples
    };
    let samples = cut(load(&arguments.corpus, Extent::Quarter)?);
    let left_out = cut(load_left_out(&arguments.corpus, Extent::Quarter)?);
    let settings = Settings {
        pairs_min: if arguments.full { 9 } else { 3 },
    };
    let table = measure(&samples, &left_out, settings, |next| {
        eprint!("\r{next:<40}");
    })?;
    eprintln!();
    print!("{}", text(&table));
    let write = |path: &PathBuf, contents: String| {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::write(path, contents)
    };
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&table)?;
        write(path, json).with_context(|| format!("writing {}", path.display()))?;
    }
    if let Some(path) = &arguments.html {
        write(path, html(&table)).with_context(|| format!("writing {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
