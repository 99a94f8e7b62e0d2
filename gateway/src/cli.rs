//! The command line: words, environment and help. Every command ends in one call.
//!
//! Owns the list of commands, the log, and the flags of `faam sim`. What the others take is theirs.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use faam_gateway::http::request_span::RequestSpans;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

use crate::action_proxy::ActionProxy;
use crate::backup::{Backup, Restore};
use crate::client::bench::Bench;
use crate::client::convert::{Compress, Decompress};
use crate::completions::Completions;
use crate::device::Device;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::doctor::Doctor;
use crate::event_log::EventLog;
use crate::explain::Explain;
use crate::image::Image;
use crate::key::Key;
use crate::man_pages::ManPages;
use crate::plan::PlanCommand;
use crate::probe::Probe;
use crate::serve::{self, Serve};
use crate::tenant::Tenant;
use crate::top::Top;
use crate::usage_export::Usage;

/// FaaM: accelerator cards as a shared compression service.
#[derive(Debug, Parser)]
#[command(name = "faam", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Flags of the commands that keep a log.
#[derive(Debug, Args)]
pub(crate) struct LogFlags {
    /// Form of the log on standard error
    #[arg(long, value_enum, default_value_t = LogFormat::Text, env = "FAAM_LOG_FORMAT", hide_env_values = true, display_order = 900)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Serve),
    ActionProxy(ActionProxy),
    Compress(Compress),
    Decompress(Decompress),
    Bench(Bench),
    Device(Device),
    Tenant(Tenant),
    Key(Key),
    Image(Image),
    Events(EventLog),
    Usage(Usage),
    Backup(Backup),
    Restore(Restore),
    Explain(Explain),
    Top(Top),
    // Elsewhere there is no driver.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    Doctor(Doctor),
    Sim(Sim),
    Plan(PlanCommand),
    Probe(Probe),
    Completions(Completions),
    Man(ManPages),
}

const SIM_EXAMPLES: &str = "\
Examples:
  faam sim --dir /run/faam/card0 --engines 4
      sockets /run/faam/card0/fn0 and fn1; use it with `faam serve --devices vfio-user:/run/faam/card0`
  faam sim --dir card0 --pace 250 --seed 7
      jobs end at the pace of a 250 MHz clock; the same serial number at each start
  faam sim --dir card0 --model rtl
      the gateware itself, clock by clock: some half a megabyte a second, built by `cargo build --release --features rtl`
  faam sim --dir card0 --allow-faults --fault engine-hangs,function=1,after=100,times=1
      an engine of function 1 stops with its 101st job, until the function is reset
  faam sim --dir card0 --allow-faults --fault flips-a-bit,chance=0.01 --fault slow-engine,chance=0.1,factor=100
      one job in a hundred comes back with a wrong bit, one in ten takes a hundred times as long
  faam sim --dir card0 --slots empty
      no kernel is there until one is loaded, which takes as long as programming such a region does (modelled)

A rule is NAME[,function=F][,after=N][,times=N][,chance=P][,ms=N][,factor=N]: after and times count jobs that engines
take, chance is of each job, ms and factor say how long and how much. Those of
loads count loads of slots where others count jobs. Without after, times and chance the fault is on
from the start. A file has the same keys: seed = 7, then a [[fault]] with name = \"...\" for each rule.
`faam sim --list-faults` prints the names.";

/// Run one simulated card: a vfio-user socket a function
#[derive(Debug, Args)]
#[command(after_help = SIM_EXAMPLES)]
struct Sim {
    #[command(flatten)]
    log: LogFlags,
    /// Directory for the sockets fn0 and fn1; made if it is not there
    #[arg(long, required_unless_present = "list_faults")]
    dir: Option<PathBuf>,
    /// What is inside: functional, the model, or rtl, the gateware simulated clock by clock, in builds with the feature rtl
    #[arg(long, default_value_t = faam_sim::Model::Functional)]
    model: faam_sim::Model,
    /// Engines a function
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(faam_sim::ENGINES_MAX)))]
    engines: u8,
    /// Clock to keep, MHz; without it jobs end as fast as the model runs
    #[arg(long, value_name = "MHZ", value_parser = clap::value_parser!(u32).range(1..=i64::from(faam_sim::CLOCK_MHZ_MAX)))]
    pace: Option<u32>,
    /// Decides the serial number
    #[arg(long)]
    seed: Option<u64>,
    /// Faults may be asked for: by --faults and --fault, and while the card runs on the socket faults in DIR
    #[arg(long)]
    allow_faults: bool,
    /// Rules of faults as TOML
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, requires = "allow_faults")]
    faults: Option<PathBuf>,
    /// A rule of faults; may be given again
    #[arg(long, value_name = "RULE", requires = "allow_faults")]
    fault: Vec<faam_sim::FaultRule>,
    /// What its slots hold at the start: the factory's kernel, which does everything, or nothing
    #[arg(long, value_name = "WHAT", default_value = "factory")]
    slots: SimSlots,
    /// Print the names of faults with what each does to jobs or the function, and exit
    #[arg(long)]
    list_faults: bool,
    /// Stop when standard input ends: whoever started the card is gone
    #[arg(long)]
    exit_on_stdin_eof: bool,
}

/// What a card's slots hold at its start.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum SimSlots {
    /// The factory's kernel in each
    Factory,
    /// Nothing
    Empty,
}

impl Sim {
    fn run(self) -> anyhow::Result<()> {
        if self.list_faults {
            return list_faults();
        }
        let mut options = faam_sim::Options::new(self.dir.unwrap_or_default());
        options.model = self.model;
        options.engines = self.engines;
        options.pace_mhz = self.pace;
        options.seed = self.seed;
        options.slots = match self.slots {
            SimSlots::Factory => faam_sim::InSlots::Factory,
            SimSlots::Empty => faam_sim::InSlots::Empty,
        };
        options.allow_faults = self.allow_faults;
        if let Some(path) = &self.faults {
            options.faults = read_plan(path)?;
        }
        for rule in self.fault {
            options.faults.push(rule)?;
        }
        options.exit_on_stdin_eof = self.exit_on_stdin_eof;
        Ok(faam_sim::run(options)?)
    }
}

/// The rules in a file.
fn read_plan(path: &Path) -> anyhow::Result<faam_sim::FaultPlan> {
    let most = faam_sim::PLAN_BYTES_MAX as u64;
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(most + 1).read_to_string(&mut text))
        .with_context(|| {
            format!(
                "cannot read the rules of faults in {}: give a file that can be read",
                path.display()
            )
        })?;
    faam_sim::FaultPlan::from_toml(&text).with_context(|| path.display().to_string())
}

/// Names, what is struck, and the keys besides those of every rule.
fn list_faults() -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    for fault in faam_sim::Fault::ALL {
        let strikes = match fault.kind() {
            faam_sim::FaultKind::Job => "job",
            faam_sim::FaultKind::Level => "level",
            faam_sim::FaultKind::Event => "event",
            faam_sim::FaultKind::Load => "load",
        };
        let about = fault.about();
        writeln!(out, "{:24} {strikes:6} {about}", fault.name())?;
    }
    Ok(())
}

impl Cli {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(serve) => {
                serve.log.open();
                serve::run(&serve)
            }
            Command::ActionProxy(proxy) => {
                proxy.log.open();
                proxy.run()
            }
            Command::Sim(sim) => {
                sim.log.open();
                sim.run().map(|()| ExitCode::SUCCESS)
            }
            Command::Compress(compress) => compress.run(),
            Command::Plan(plan) => plan.run(),
            Command::Probe(probe) => probe.run(),
            Command::Decompress(decompress) => decompress.run(),
            Command::Bench(bench) => bench.run(),
            Command::Device(device) => device.run(),
            Command::Tenant(tenant) => tenant.run(),
            Command::Key(key) => key.run(),
            Command::Image(image) => image.run(),
            Command::Events(events) => events.run(),
            Command::Usage(usage) => usage.run(),
            Command::Backup(backup) => backup.run(),
            Command::Restore(restore) => restore.run(),
            Command::Explain(explain) => explain.run(),
            Command::Top(top) => top.run(),
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            Command::Doctor(doctor) => doctor.run(),
            Command::Completions(completions) => {
                completions.run(Self::command())?;
                Ok(ExitCode::SUCCESS)
            }
            Command::Man(pages) => pages.run(Self::command()).map(|()| ExitCode::SUCCESS),
        }
    }
}

impl LogFlags {
    /// Logs to standard error what `FAAM_LOG` names, else `RUST_LOG`, else `info`.
    fn open(&self) {
        let (filter, mistake) = filter(|name| std::env::var(name).ok());
        // A filter that asks for what stands in a span needs every span from its beginning.
        let late = (!filter.to_string().contains('[')).then(RequestSpans::install);
        let log = fmt::layer()
            // A log that nobody takes any more is no reason to end: its error would go to the same stderr, and panic.
            .log_internal_errors(false)
            .with_writer(std::io::stderr);
        let subscriber = registry().with(filter).with(late);
        match self.log_format {
            LogFormat::Text => subscriber
                .with(log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())))
                .init(),
            LogFormat::Json => subscriber.with(log.json()).init(),
        }
        if let Some(mistake) = mistake {
            tracing::warn!("{mistake}");
        }
    }
}

/// The filter that the first variable that is set describes, and what is wrong with it, if it cannot be read.
fn filter(variable: impl Fn(&str) -> Option<String>) -> (EnvFilter, Option<String>) {
    let set = ["FAAM_LOG", EnvFilter::DEFAULT_ENV]
        .into_iter()
        .find_map(|name| Some((name, variable(name).filter(|text| !text.is_empty())?)));
    let info = || EnvFilter::new("info");
    let Some((name, text)) = set else {
        return (info(), None);
    };
    match EnvFilter::try_new(&text) {
        Ok(filter) => (filter, None),
        Err(error) => (
            info(),
            Some(format!(
                "{name}={text:?} is no filter ({error}): expected as in `info,faam_gateway=debug`; `info` is used"
            )),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
