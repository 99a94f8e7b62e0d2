//! `faam plan`: capacity by simulation.
//!
//! Owns the flags and the order: read a scenario, simulate it or a sweep of it, tell the figures. Invariants: the same
//! scenario, sweep and seed give the same figures on every machine; every report says that they are simulated. It does not
//! know a running gateway.
//!
//! | module | owns |
//! |---|---|
//! | `scenario_file`, `section`, `defaults` | what a scenario says, how it is read, what it need not say |
//! | `fleet`, `sweep`, `goal` | many machines; one figure over a range; what must be reached |
//! | `figures`, `page` | the figures as text and JSON; as a page with plots |
//! | `calibrate` | what this machine's cores need |

mod calibrate;
mod defaults;
mod figures;
mod fleet;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod goal;
mod page;
mod scenario_file;
mod section;
mod sweep;

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use self::figures::{Figures, Point};
use self::scenario_file::{FILE_BYTES_MAX, Plan};
use self::sweep::Sweep;
use crate::client::bench::{check_writable, write_file};

/// The commented scenario that `--example` prints.
const EXAMPLE: &str = include_str!("../../deploy/plan/example.toml");

const EXAMPLES: &str = "\
Examples:
  faam plan --example > plan.toml; faam plan plan.toml
      a scenario with every key explained, and its figures: latency by tenants, utilisation, refusals, promises kept
  faam plan plan.toml --sweep cards=1..16 --html plan.html
      how many cards until the [goal] is met; a page with plots
  faam plan plan.toml --sweep load=0.2..1.6:8
      latency against load, and the knee
  faam plan fleet.toml --sweep machines=1,10,100,1250 --json
      from one machine to a fleet of gateways; a sample of its machines is simulated
  faam plan --calibrate >> plan.toml
      what this machine's cores need for a block, in place of the defaults

Everything is simulated: callers, cores and cards are models, the scheduler and the token buckets are the gateway's own.
Exit status: 0; 1 if the scenario cannot be run, or broke an invariant (the seed and the event are named).";

/// Answer capacity questions by simulation: latency, utilisation, refusals, promises, a plot
#[derive(Debug, Args)]
#[command(name = "plan", after_help = EXAMPLES)]
pub(crate) struct PlanCommand {
    /// The scenario, TOML; - reads standard input
    #[arg(value_name = "SCENARIO", required_unless_present_any = ["example", "calibrate"], value_hint = clap::ValueHint::FilePath)]
    scenario: Option<PathBuf>,
    /// Vary one figure: cards, engines, cores, machines, tenants or load = FROM..TO, FROM..TO:STEPS or A,B,C
    #[arg(long, value_name = "PARAMETER=RANGE")]
    sweep: Option<Sweep>,
    /// Decides what is drawn, in place of the scenario's
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// The figures as JSON, in place of the tables
    #[arg(long)]
    json: bool,
    /// The figures as a page with plots, into a file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
    /// Print a commented scenario
    #[arg(long, conflicts_with_all = ["scenario", "sweep", "seed", "json", "html"])]
    example: bool,
    /// Measure what this machine's cores need for a block, and print it as a scenario's tables
    #[arg(long, conflicts_with_all = ["scenario", "sweep", "seed", "json", "html", "example"])]
    calibrate: bool,
}

impl PlanCommand {
    /// Run it.
    ///
    /// # Errors
    /// No scenario, or one that cannot be run, or that broke an invariant; a report that cannot be written.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let mut out = io::stdout().lock();
        if self.example {
            out.write_all(EXAMPLE.as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.calibrate {
            out.write_all(calibrate::calibrate()?.as_bytes())?;
            return Ok(ExitCode::SUCCESS);
        }
        let path = self.scenario.context("no scenario was named")?;
        if let Some(html) = &self.html {
            check_writable(html)?;
        }
        let text = read_file(&path)?;
        let mut plan = Plan::read(&path, &text)?;
        if let Some(seed) = self.seed {
            plan.scenario.seed = seed;
        }
        if self.sweep.is_some() {
            plan.sweep = self.sweep;
        }
        let quiet = self.quiet || !io::stderr().is_terminal();
        let figures = simulate(plan, quiet)?;
        if let Some(html) = &self.html {
            write_file(html, &page::page(&figures))?;
        }
        if self.json {
            writeln!(out, "{:#}", figures.json())?;
        } else {
            out.write_all(figures.text().as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Simulates a plan's points.
fn simulate(plan: Plan, quiet: bool) -> anyhow::Result<Figures> {
    let values = match &plan.sweep {
        None => vec![None],
        Some(sweep) => sweep.values.iter().map(|value| Some(*value)).collect(),
    };
    let mut fleets = Vec::new();
    for value in &values {
        fleets.push(match (value, &plan.sweep) {
            (Some(value), Some(sweep)) => {
                sweep::at(sweep.parameter, *value, &plan.fleet, &plan.scenario)?
            }
            _ => (plan.fleet.clone(), plan.scenario.clone()),
        });
    }
    let machines: u64 = fleets.iter().map(|(fleet, _)| fleet.sampled()).sum();
    let bar = progress_bar(quiet, machines * plan.scenario.duration.0);
    let reports = fleet::simulate(&fleets, &|ns| bar.inc(ns))?;
    bar.finish_and_clear();
    let points =
        values
            .into_iter()
            .zip(fleets)
            .zip(reports)
            .map(|((value, (fleet, scenario)), report)| Point {
                value,
                fleet,
                scenario,
                report,
            });
    Ok(Figures::new(plan, points.collect()))
}

fn progress_bar(quiet: bool, total: u64) -> ProgressBar {
    if quiet {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(total);
    let template = "simulating  {wide_bar:.cyan/dim}  {percent}%, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("━╸─"));
    }
    bar
}

/// A file's text, or standard input's.
fn read_file(path: &Path) -> anyhow::Result<String> {
    let source: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin())
    } else {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Box::new(file)
    };
    let mut text = String::new();
    source
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("cannot read {} as text", path.display()))?;
    anyhow::ensure!(
        text.len() as u64 <= FILE_BYTES_MAX,
        "{} is larger than {FILE_BYTES_MAX} bytes; is it the right file?",
        path.display()
    );
    Ok(text)
}

/// The whole part of a number that is not negative.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates, and makes zero of what is no number"
)]
fn whole(number: f64) -> u64 {
    number as u64
}
