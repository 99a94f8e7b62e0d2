//! The command line: words, environment and help. Every command ends in one call.
//!
//! Owns the list of commands, the log, and the flags of `faam sim`. What the others take is theirs.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use faam_gateway::http::request_span::RequestSpans;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

use crate::backup::{Backup, Restore};
use crate::client::bench::Bench;
use crate::client::convert::{Compress, Decompress};
use crate::completions::Completions;
use crate::device::Device;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::doctor::Doctor;
use crate::event_log::EventLog;
use crate::explain::Explain;
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
    Compress(Compress),
    Decompress(Decompress),
    Bench(Bench),
    Device(Device),
    Tenant(Tenant),
    Key(Key),
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
  faam sim --dir card0 --allow-faults --hang 1:100
      the engines of function 1 stop for good after 100 jobs";

/// Run one simulated card: a vfio-user socket a function
#[derive(Debug, Args)]
#[command(after_help = SIM_EXAMPLES)]
struct Sim {
    #[command(flatten)]
    log: LogFlags,
    /// Directory for the sockets fn0 and fn1; made if it is not there
    #[arg(long)]
    dir: PathBuf,
    /// Engines a function
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(faam_sim::ENGINES_MAX)))]
    engines: u8,
    /// Clock to keep, MHz; without it jobs end as fast as the model runs
    #[arg(long, value_name = "MHZ", value_parser = clap::value_parser!(u32).range(1..=i64::from(faam_sim::CLOCK_MHZ_MAX)))]
    pace: Option<u32>,
    /// Decides the serial number
    #[arg(long)]
    seed: Option<u64>,
    /// Faults may be asked for: by --hang, and by name on the socket faults in DIR
    #[arg(long)]
    allow_faults: bool,
    /// Engines of a function stop for good after a number of jobs
    #[arg(long, value_name = "FUNCTION:JOBS", requires = "allow_faults")]
    hang: Option<faam_sim::HangPlan>,
    /// Stop when standard input ends: whoever started the card is gone
    #[arg(long)]
    exit_on_stdin_eof: bool,
}

impl Sim {
    fn run(self) -> anyhow::Result<()> {
        let mut options = faam_sim::Options::new(self.dir);
        options.engines = self.engines;
        options.pace_mhz = self.pace;
        options.seed = self.seed;
        options.allow_faults = self.allow_faults;
        options.hang = self.hang;
        options.exit_on_stdin_eof = self.exit_on_stdin_eof;
        Ok(faam_sim::run(options)?)
    }
}

impl Cli {
    /// Runs the command.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self.command {
            Command::Serve(serve) => {
                serve.log.open();
                serve::run(&serve)
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
