//! The rig: HTTP compression servers side by side, in one interleaved run.
//!
//! `make bench-http` starts it. Each contender (an echo, a naive server, nginx, Node, `faam serve` on its engines) is a
//! process of its own on one processor; the load comes from the other. All take windows in rotation, over several rounds,
//! with the same distinct bodies, so that what the machine does in between meets them alike.
//!
//! | module | owns |
//! |---|---|
//! | `schedule` | what is measured, for how long |
//! | `contender`, `server` | who takes part; their processes |
//! | `pool` | the bodies |
//! | `load`, `connection` | the closed loop and its HTTP |
//! | `process` | CPU time, memory, processors |
//! | `anchors` | raw codecs on the same blocks |
//! | `measure` | a cell: rounds of windows |
//! | `fronts` | what each front costs over `POST /v1/compress` |
//! | `handoff`, `paced` | what is measured otherwise |
//! | `statistics`, `results`, `targets` | figures, and what they are held against |
//! | `report` | table, JSON, HTML |
//! | `profile`, `flame` | where a server's time goes: of rows that miss a target, or by hand |
//!
//! Invariants: it talks to 127.0.0.1 alone; it ends within its limit; what it started it ends, also on a signal.

mod anchors;
mod connection;
mod contender;
mod costs;
mod flame;
mod fronts;
mod handoff;
mod load;
mod measure;
mod paced;
mod pool;
mod process;
mod profile;
mod report;
mod results;
mod schedule;
mod server;
mod statistics;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};

use crate::contender::Row;
use crate::load::Stop;
use crate::measure::Bench;
use crate::pool::{Corpus, Data};
use crate::profile::{Profile, Sampling};
use crate::results::{Run, SCHEMA, Setting};
use crate::schedule::{Kind, Schedule};
use crate::server::Programs;

/// Profiles of one run.
const PROFILES_MAX: usize = 6;
/// How long each samples: at 997 a second a share of a tenth is good to a hundredth.
const PROFILE_LASTS: Duration = Duration::from_secs(4);
/// Time that a profile is begun with at the least: twice what one takes with its server's start and unwinding.
const PROFILE_TAKES_MAX: Duration = Duration::from_secs(12);
/// Time of a run that is kept for them, out of its limit.
const PROFILES_TAKE: Duration = Duration::from_secs(60);
/// Exit status after a signal: 128 and SIGINT.
const STOPPED: u8 = 130;

#[derive(Debug, Parser)]
#[command(
    name = "rig",
    about = "HTTP compression servers side by side",
    max_term_width = 110
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure, print a table, and write JSON and an HTML report
    Run(RunArgs),
    /// Write the table and the HTML report of a stored run anew
    Report {
        /// A run's JSON
        run: PathBuf,
        /// Where the page goes [default: beside the run]
        #[arg(long)]
        html: Option<PathBuf>,
    },
    /// Measure what each front costs over POST /v1/compress, turn by turn
    Fronts(fronts::FrontsArgs),
    /// Sample a server's stacks under load with perf, and draw or list where its time goes
    Flame(flame::FlameArgs),
}

/// Where programs and bodies come from.
#[derive(Debug, Args)]
struct Place {
    /// The `faam` to measure [default: beside this program]
    #[arg(long)]
    faam: Option<PathBuf>,
    /// Another build of `faam`, for the row faam-before-3: what a change costs
    #[arg(long)]
    before: Option<PathBuf>,
    /// The corpus; without it the small committed sample
    #[arg(long, default_value = ".cache/corpus")]
    corpus: PathBuf,
    /// What bodies are made of
    #[arg(long, value_enum, default_value_t = Data::Mixed)]
    data: Data,
    /// Processor of the servers
    #[arg(long, default_value_t = 0)]
    server_cpu: usize,
    /// Processor of the load
    #[arg(long, default_value_t = 1)]
    load_cpu: usize,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    place: Place,
    /// What the targets need, in four minutes
    #[arg(long, conflicts_with = "smoke")]
    quick: bool,
    /// That the rig works, in ten seconds
    #[arg(long)]
    smoke: bool,
    /// Limit to sizes (64KiB), callers (c64), rows (faam-cpu, nginx-1), handoff, paced; comma-separated
    #[arg(long)]
    only: Vec<String>,
    /// Rounds of every cell
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that the run may take [default: 1500; quick 240]
    #[arg(long)]
    limit_s: Option<u64>,
    /// Take no profiles of rows that miss a target
    #[arg(long)]
    no_profiles: bool,
    /// Directory for run.json, report.html and flame graphs
    #[arg(long, default_value = "target/bench-http")]
    out: PathBuf,
    /// Where the JSON goes besides
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(arguments) => run(&arguments),
        Command::Report { run, html } => render_again(&run, html),
        Command::Fronts(arguments) => {
            stop_on_signals().and_then(|stop| fronts::run(&arguments, &stop))
        }
        Command::Flame(arguments) => flame::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("rig: {error:#}");
        ExitCode::FAILURE
    })
}

impl Place {
    fn programs(&self) -> anyhow::Result<Programs> {
        let own = std::env::current_exe()?;
        let own_dir = own.parent().context("this program lies nowhere")?;
        let faam = self.faam.clone().unwrap_or_else(|| own_dir.join("faam"));
        anyhow::ensure!(
            faam.is_file(),
            "no {}; build it (cargo build --release -p faam-gateway), or name it with --faam",
            faam.display()
        );
        if let Some(before) = &self.before {
            anyhow::ensure!(before.is_file(), "no {}", before.display());
        }
        let cpus = process::allowed_cpus()?;
        for (cpu, whose) in [(self.server_cpu, "servers"), (self.load_cpu, "load")] {
            anyhow::ensure!(
                cpus.contains(&cpu),
                "processor {cpu} for the {whose} is not to be had; there are {cpus:?}"
            );
        }
        anyhow::ensure!(
            self.server_cpu != self.load_cpu,
            "servers and load need a processor each; both were given {}",
            self.load_cpu
        );
        Ok(Programs {
            faam,
            before: self.before.clone(),
            own_dir: own_dir.to_owned(),
            sources: PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("rig"),
            server_cpu: self.server_cpu,
            load_cpu: self.load_cpu,
        })
    }

    fn corpus(&self) -> anyhow::Result<Corpus> {
        let sample = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("sample");
        Corpus::load(&self.corpus, &sample)
    }
}

/// Set by SIGINT and SIGTERM; a second one ends the process at once, and its children with it.
fn stop_on_signals() -> anyhow::Result<Stop> {
    let stop = Stop::default();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(
            signal,
            i32::from(STOPPED),
            Stop::clone(&stop),
        )?;
        signal_hook::flag::register(signal, Stop::clone(&stop))?;
    }
    Ok(stop)
}

fn run(arguments: &RunArgs) -> anyhow::Result<ExitCode> {
    let kind = match (arguments.quick, arguments.smoke) {
        (_, true) => Kind::Smoke,
        (true, _) => Kind::Quick,
        _ => Kind::Full,
    };
    let began = Instant::now();
    let stop = stop_on_signals()?;
    let programs = arguments.place.programs()?;
    let corpus = arguments.place.corpus()?;
    let mut schedule = Schedule::new(kind, &arguments.only, arguments.rounds)?;
    let limit = Duration::from_secs(arguments.limit_s.unwrap_or(match kind {
        Kind::Full => 1500,
        Kind::Quick => 240,
        Kind::Smoke => 60,
    }));
    let kept = if arguments.no_profiles {
        Duration::ZERO
    } else {
        PROFILES_TAKE.min(limit / 4)
    };
    let mut bench = Bench {
        programs: &programs,
        corpus: &corpus,
        data: arguments.place.data,
        until: began + limit.saturating_sub(kept),
        stop,
    };
    let mut run = Run {
        schema: SCHEMA,
        setting: setting(&arguments.place, &corpus, kind, &arguments.only)?,
        points: Vec::new(),
        anchors: Vec::new(),
        handoff: None,
        paced: Vec::new(),
        profiles: Vec::new(),
        targets: Vec::new(),
        notes: Vec::new(),
    };
    schedule.rows.retain(|&row| {
        let missing = programs.missing(row);
        run.notes
            .extend(missing.iter().map(|why| format!("{row} left out: {why}")));
        missing.is_none()
    });
    measure_all(&bench, &schedule, &mut run)?;
    run.targets = targets::judge(&run);
    if !arguments.no_profiles {
        let lasts = match kind {
            Kind::Smoke => PROFILE_LASTS / 4,
            _ => PROFILE_LASTS,
        };
        bench.until = began + limit;
        profile_missed(&bench, &mut run, lasts, &arguments.out)?;
    }
    run.setting.took_s = began.elapsed().as_secs_f64();
    write(&run, arguments)?;
    let stopped = bench.is_stopped();
    let wrong = run.notes.iter().any(|note| note.contains("WRONG BYTES"));
    Ok(match (stopped, wrong) {
        (true, _) => ExitCode::from(STOPPED),
        (_, true) => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

/// Hand-off and the paced card first: they are short, and whole targets.
fn measure_all(bench: &Bench<'_>, schedule: &Schedule, run: &mut Run) -> anyhow::Result<()> {
    if schedule.handoff {
        eprintln!("hand-off");
        let pool = bench.corpus.pool(bench.data, handoff::BODY_BYTES);
        let (server, load) = (bench.programs.server_cpu, bench.programs.load_cpu);
        match handoff::measure(&pool, server, load, &bench.stop) {
            Ok(found) => run.handoff = Some(found),
            Err(error) => run.notes.push(format!("hand-off: {error:#}")),
        }
    }
    if !schedule.paced_users.is_empty() && !bench.is_stopped() {
        eprintln!("paced card");
        let what = (schedule.paced_users.as_slice(), schedule.paced_rounds);
        let found = paced::measure(bench.programs, bench.corpus, bench.data, what, &bench.stop);
        match found {
            Ok(found) => run.paced = found,
            Err(error) => run.notes.push(format!("paced card: {error:#}")),
        }
    }
    for &plan in &schedule.cells {
        if bench.is_stopped() {
            run.notes.push("ended by a signal".to_owned());
            break;
        }
        let left = bench.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let name = plan.cell.name();
            run.notes.push(format!("{name} left out, for want of time"));
            continue;
        }
        eprintln!("{} ({} s left)", plan.cell.name(), left.as_secs());
        bench.cell(&schedule.rows, plan, run)?;
    }
    Ok(())
}

/// Profiles of what misses a target, at most [`PROFILES_MAX`], as long as there is time.
fn profile_missed(
    bench: &Bench<'_>,
    run: &mut Run,
    lasts: Duration,
    out: &std::path::Path,
) -> anyhow::Result<()> {
    let missed = targets::to_profile(&run.targets);
    if missed.is_empty() {
        return Ok(());
    }
    if let Some(why) = profile::missing() {
        run.notes
            .push(format!("no profiles of what misses its target: {why}"));
        return Ok(());
    }
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let scratch = tempfile::tempdir()?;
    for ((row, cell), targets) in missed.into_iter().take(PROFILES_MAX) {
        let name = format!("{row}, {}", cell.name());
        let left = bench.until.saturating_duration_since(Instant::now());
        if bench.is_stopped() || left < PROFILE_TAKES_MAX {
            run.notes
                .push(format!("{name}: no profile, for want of time"));
            continue;
        }
        eprintln!("profile of {name}");
        let pool = std::sync::Arc::new(bench.corpus.pool(bench.data, cell.body_bytes));
        let data = scratch.path().join("perf.data");
        let sampling = Sampling { row, cell, lasts };
        let flame = format!("flame-{row}-{}.svg", cell.name().replace(' ', "-"));
        let drawn = profile::record(bench.programs, sampling, &pool, &data, &bench.stop).and_then(
            |stacks| {
                stacks
                    .draw(&name, &out.join(&flame))
                    .map(|()| stacks.parts())
            },
        );
        match drawn {
            Ok((parts, sampled_ns)) => run.profiles.push(Profile {
                row,
                cell,
                targets,
                sampled_ns,
                parts,
                cpu_us_per_request: run
                    .point(row, cell)
                    .map_or(f64::NAN, |point| point.median(|w| w.cpu_us_per_request)),
                floor: run.floor_of(row, cell),
                flame,
            }),
            // perf may be there and not allowed to look (perf_event_paranoid).
            Err(error) => run.notes.push(format!("{name}: no profile: {error:#}")),
        }
    }
    Ok(())
}

fn setting(place: &Place, corpus: &Corpus, kind: Kind, only: &[String]) -> anyhow::Result<Setting> {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, model)| model);
    let only = if only.is_empty() {
        String::new()
    } else {
        format!(", only {}", only.join(","))
    };
    Ok(Setting {
        began_unix_s: SystemTime::UNIX_EPOCH.elapsed()?.as_secs(),
        took_s: 0.0,
        processor: format!("{model}, {} processors", process::allowed_cpus()?.len()),
        server_cpu: place.server_cpu,
        load_cpu: place.load_cpu,
        data: place.data,
        corpus: corpus.description.clone(),
        kind: format!("{}{only}", kind.name()),
    })
}

fn write(run: &Run, arguments: &RunArgs) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(run)?;
    std::fs::create_dir_all(&arguments.out)
        .with_context(|| format!("cannot make {}", arguments.out.display()))?;
    let page = report::html::page(run, &arguments.out);
    let own = arguments.out.join("run.json");
    let files = [
        (Some(&own), text.as_str()),
        (arguments.json.as_ref(), text.as_str()),
        (Some(&arguments.out.join("report.html")), page.as_str()),
    ];
    for (path, content) in files {
        if let Some(path) = path {
            std::fs::write(path, content)
                .with_context(|| format!("cannot write {}", path.display()))?;
            eprintln!("wrote {}", path.display());
        }
    }
    print!("{}", report::table::text(run));
    println!("{}", targets::last_line(&run.targets));
    Ok(())
}

fn render_again(run: &std::path::Path, html: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let text =
        std::fs::read_to_string(run).with_context(|| format!("cannot read {}", run.display()))?;
    let mut stored: Run = serde_json::from_str(&text)
        .with_context(|| format!("{} is no run of this version", run.display()))?;
    stored.targets = targets::judge(&stored);
    let html = html.unwrap_or_else(|| run.with_file_name("report.html"));
    let beside = run.parent().unwrap_or_else(|| std::path::Path::new("."));
    std::fs::write(&html, report::html::page(&stored, beside))
        .with_context(|| format!("cannot write {}", html.display()))?;
    print!("{}", report::table::text(&stored));
    println!("{}", targets::last_line(&stored.targets));
    Ok(ExitCode::SUCCESS)
}

/// The row that a command's argument names.
fn row_named(name: &str) -> anyhow::Result<Row> {
    Row::ALL
        .into_iter()
        .find(|row| row.to_string() == name)
        .with_context(|| {
            let names: Vec<_> = Row::ALL.iter().map(ToString::to_string).collect();
            format!("expected one of {}, got {name:?}", names.join(", "))
        })
}
