//! Where a server's time goes: its stacks sampled with `perf` under the rig's own load.
//!
//! Samples are of the software clock (`cpu-clock`), which needs no hardware counters and so works in virtual machines.
//! With inferno installed (`cargo install inferno`) the stacks become a flame graph; without it perf's own list of the
//! hottest functions is printed.

use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::load::{self, Plan};
use crate::server::{Server, bound};
use crate::{Place, row_named, schedule, stop_on_signals};

/// Samples a second: not a multiple of the scheduler's tick.
const SAMPLES_PER_S: &str = "997";
/// Bytes of stack that each sample carries for unwinding: release builds keep no frame pointers.
const CALL_GRAPH: &str = "dwarf,8192";
/// Load before sampling.
const WARM_UP: Duration = Duration::from_millis(500);
/// Longest that one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(60);
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
    let server = Server::start(&programs, row, body_bytes, &[])?;
    let mut plan = Plan {
        concurrency: arguments.callers,
        warm_up: Duration::ZERO,
        window: WARM_UP,
        request_max: REQUEST_MAX,
        think: Duration::ZERO,
        samples_max: 0,
        cpu: programs.load_cpu,
    };
    let aim = server.aim(row);
    load::run(&aim, &pool, plan, &server.groups(), &stop)?;
    let mut perf = bound("perf");
    perf.args([
        "record",
        "--quiet",
        "-e",
        "cpu-clock",
        "-F",
        SAMPLES_PER_S,
        "--call-graph",
        CALL_GRAPH,
    ])
    .arg("-o")
    .arg(&data)
    .args(["-p", &server.pid().to_string()])
    .args(["--", "sleep", &arguments.seconds.to_string()])
    .stdin(Stdio::null());
    let mut perf = perf
        .spawn()
        .context("cannot start perf (sudo apt-get install -y linux-perf)")?;
    plan.window = Duration::from_secs(arguments.seconds);
    let window = load::run(&aim, &pool, plan, &server.groups(), &stop);
    let recorded = perf.wait()?;
    let window = window?;
    anyhow::ensure!(recorded.success(), "perf record failed: {recorded}");
    drop(server);
    eprintln!(
        "{} requests sampled into {}",
        window.requests,
        data.display()
    );
    let input = data.to_string_lossy();
    let svg = arguments.out.join("flame.svg");
    let pipe = "set -o pipefail; perf script --no-inline -i \"$0\" 2>/dev/null | inferno-collapse-perf | inferno-flamegraph >\"$1\"";
    let drawn = Command::new("bash")
        .args([
            "-c",
            &format!("command -v inferno-flamegraph >/dev/null && {{ {pipe}; }}"),
            &input,
        ])
        .arg(&svg)
        .status()?;
    if drawn.success() {
        println!("wrote {}", svg.display());
    } else {
        println!(
            "no flame graph: cargo install --locked inferno, then again; the hottest functions instead:"
        );
    }
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
