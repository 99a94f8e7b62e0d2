//! One profile by hand (`make flame`): a flame graph, shares by component, and perf's own lists of the hottest libraries
//! and functions.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use crate::profile::{self, Sampling};
use crate::results::{Cell, as_f64};
use crate::{Place, row_named, schedule, stop_on_signals};

/// Smallest share that is listed, per cent.
const LISTED_PERCENT_MIN: &str = "0.3";
/// Characters of a listed line: Rust's names have no end.
const LINE_CHARS_MAX: usize = 120;

#[derive(Debug, Args)]
pub(crate) struct FlameArgs {
    #[command(flatten)]
    place: Place,
    /// Whose stacks: a row's name, such as faam-cpu-3 or naive-1
    #[arg(long, default_value = "faam-cpu-3")]
    row: String,
    /// Bytes of a body
    #[arg(long, default_value = "64KiB")]
    size: String,
    /// Callers
    #[arg(long, default_value_t = 64)]
    callers: usize,
    /// How long is sampled
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Directory for perf.data and flame.svg
    #[arg(long, default_value = "target/bench-http")]
    out: PathBuf,
}

/// Samples, and draws or lists.
pub(crate) fn run(arguments: &FlameArgs) -> anyhow::Result<ExitCode> {
    let stop = stop_on_signals()?;
    let row = row_named(&arguments.row)?;
    let body_bytes = schedule::parse_size(&arguments.size)?;
    let programs = arguments.place.programs()?;
    if let Some(why) = programs.missing(row) {
        anyhow::bail!("{row} cannot run: {why}");
    }
    let pool = arguments
        .place
        .corpus()?
        .pool(arguments.place.data, body_bytes);
    let pool = Arc::new(pool);
    std::fs::create_dir_all(&arguments.out)?;
    let data = arguments.out.join("perf.data");
    let cell = Cell {
        body_bytes,
        concurrency: arguments.callers,
    };
    let sampling = Sampling {
        row,
        cell,
        lasts: Duration::from_secs(arguments.seconds),
    };
    let stacks = profile::record(&programs, sampling, &pool, &data, &stop)?;
    println!(
        "{} requests sampled into {}",
        stacks.requests,
        data.display()
    );
    let svg = arguments.out.join("flame.svg");
    stacks.draw(&format!("{row}, {}", cell.name()), &svg)?;
    println!("wrote {}\nby component:", svg.display());
    let (parts, sampled_ns) = stacks.parts();
    for part in parts {
        let share = 100.0 * as_f64(part.sampled_ns) / as_f64(sampled_ns.max(1));
        println!("{share:>9.2}%  {}", part.component.name());
    }
    let input = data.to_string_lossy();
    for sort in ["dso", "comm,symbol"] {
        list(&input, sort)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints perf's own list of where samples fell.
fn list(data: &str, sort: &str) -> anyhow::Result<()> {
    let list = Command::new("perf")
        .args([
            "report",
            "--stdio",
            "--no-children",
            "--no-inline",
            "-g",
            "none",
        ])
        .args([
            "--percent-limit",
            LISTED_PERCENT_MIN,
            "--sort",
            sort,
            "-i",
            data,
        ])
        .stderr(Stdio::null())
        .output()?;
    let list = String::from_utf8_lossy(&list.stdout);
    println!("by {sort}:");
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        // perf fills up to the longest name, and ends in columns of dashes.
        let line = line.trim_end_matches([' ', '-']);
        let line: String = line.chars().take(LINE_CHARS_MAX).collect();
        if !line.is_empty() {
            println!("{line}");
        }
    }
    Ok(())
}
