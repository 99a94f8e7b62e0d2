//! The command line: words, environment and help. Every command ends in one call.
//!
//! Owns the flags and turns them into the configuration of what they start. Environment
//! is weaker than flags; defaults are weaker than both.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Parser, Subcommand, ValueEnum};
use faam_gateway::cards::CardSource;
use faam_gateway::config::GatewayConfig;
use tracing_subscriber::EnvFilter;

use crate::serve;

/// Most cards that `--devices sim:CARDS` starts.
const SIMULATED_CARDS_MAX: u8 = 8;

/// FaaM: accelerator cards as a shared compression service.
#[derive(Debug, Parser)]
#[command(name = "faam", version, propagate_version = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Form of the log on stderr
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, env = "FAAM_LOG_FORMAT")]
    log_format: LogFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve compression over HTTP; with no flags, on a simulated card of its own
    Serve(Serve),
    /// Run one simulated card: a vfio-user socket a function
    Sim(Sim),
}

const SERVE_EXAMPLES: &str = "\
Examples:
  faam serve
      http://127.0.0.1:8080, one simulated card, a key of its own in ./data/demo.key
  faam serve --devices none
      the CPU engines alone
  faam serve --devices sim:2 --engines 4 --pace 250
      two simulated cards that keep the pace of a 250 MHz clock
  faam serve --devices vfio-user:/run/faam/card0
      a card that `faam sim --dir /run/faam/card0` serves
  FAAM_BOOTSTRAP_KEY=faam_a-key-of-your-own faam serve --listen 0.0.0.0:8080
      reachable from other machines, with a key that you chose";

#[derive(Debug, Args)]
#[command(after_help = SERVE_EXAMPLES)]
struct Serve {
    /// Address for callers; port 0 lets the system choose
    #[arg(long, default_value = "127.0.0.1:8080", env = "FAAM_LISTEN")]
    listen: SocketAddr,
    /// Address for probes and metrics, without credentials
    #[arg(long, default_value = "127.0.0.1:8081", env = "FAAM_ADMIN_LISTEN")]
    admin_listen: SocketAddr,
    /// Where keys and sockets are kept
    #[arg(long, default_value = "./data", env = "FAAM_DATA_DIR")]
    data_dir: PathBuf,
    /// Cards: `sim[:CARDS]`, `vfio-user:DIR` or `none`; may be given several times [default: sim]
    #[arg(long, env = "FAAM_DEVICES", value_delimiter = ',')]
    devices: Vec<Devices>,
    /// Engines a function of the simulated cards
    #[arg(long, default_value_t = 1, env = "FAAM_ENGINES", value_parser = clap::value_parser!(u8).range(1..=i64::from(faam_sim::ENGINES_MAX)))]
    engines: u8,
    /// Clock that the simulated cards keep, MHz; without it they run as fast as they can
    #[arg(long, env = "FAAM_PACE", value_name = "MHZ", value_parser = clap::value_parser!(u32).range(1..=i64::from(faam_sim::CLOCK_MHZ_MAX)))]
    pace: Option<u32>,
    /// Let faults be injected into the simulated cards
    #[arg(long)]
    allow_faults: bool,
    /// A function of each simulated card stops for good after so many jobs, until it is reset
    #[arg(long, value_name = "FUNCTION:JOBS", requires = "allow_faults")]
    sim_hang: Option<faam_sim::HangPlan>,
    /// Threads of the CPU engines [default: one a processor]
    #[arg(long, env = "FAAM_CPU_WORKERS", value_parser = clap::value_parser!(u16).range(1..=1024))]
    cpu_workers: Option<u16>,
    /// The demo tenant's key, in place of one that is made; not a flag, so that it shows in no process list
    #[arg(skip = std::env::var("FAAM_BOOTSTRAP_KEY").ok())]
    bootstrap_key: Option<String>,
}

/// One `--devices`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Devices {
    None,
    Simulated(u8),
    VfioUser(PathBuf),
}

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "expected sim, sim:CARDS with 1 to {SIMULATED_CARDS_MAX} cards, vfio-user:DIR or none, got {text:?}"
            )
        };
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "sim" => Ok(Self::Simulated(1)),
            Some(("sim", cards)) => {
                let cards = cards
                    .parse()
                    .ok()
                    .filter(|cards| (1..=SIMULATED_CARDS_MAX).contains(cards));
                cards.map(Self::Simulated).ok_or_else(expected)
            }
            Some(("vfio-user", dir)) if !dir.is_empty() => Ok(Self::VfioUser(dir.into())),
            _ => Err(expected()),
        }
    }
}

impl Serve {
    fn config(self) -> anyhow::Result<GatewayConfig> {
        let mut config = GatewayConfig {
            listen: self.listen,
            admin_listen: self.admin_listen,
            data_dir: self.data_dir.clone(),
            bootstrap_key: self.bootstrap_key,
            ..GatewayConfig::default()
        };
        config.dispatch.data_dir = self.data_dir;
        if let Some(workers) = self.cpu_workers {
            config.dispatch.cpu_workers = usize::from(workers);
        }
        let devices = match self.devices {
            // Where there is no driver, the default is no card.
            none if none.is_empty() && config.dispatch.cards.is_empty() => vec![Devices::None],
            none if none.is_empty() => vec![Devices::Simulated(1)],
            devices => devices,
        };
        anyhow::ensure!(
            devices.len() == 1 || !devices.contains(&Devices::None),
            "--devices none stands alone: leave it out, or leave the other devices out"
        );
        config.dispatch.cards.clear();
        for device in devices {
            match device {
                Devices::None => {}
                Devices::Simulated(cards) => {
                    let card = CardSource::OwnSimulated {
                        engines: self.engines,
                        pace_mhz: self.pace,
                        hang: self
                            .sim_hang
                            .map(|plan| format!("{}:{}", plan.function, plan.after_jobs)),
                    };
                    config
                        .dispatch
                        .cards
                        .extend(std::iter::repeat_n(card, usize::from(cards)));
                }
                Devices::VfioUser(dir) => config.dispatch.cards.push(CardSource::VfioUser { dir }),
            }
        }
        Ok(config)
    }
}

const SIM_EXAMPLES: &str = "\
Examples:
  faam sim --dir /run/faam/card0 --engines 4
      sockets /run/faam/card0/fn0 and fn1; use it with `faam serve --devices vfio-user:/run/faam/card0`
  faam sim --dir card0 --pace 250 --seed 7
      jobs end at the pace of a 250 MHz clock; the same serial number at each start
  faam sim --dir card0 --allow-faults --hang 1:100
      the engines of function 1 stop for good after 100 jobs";

#[derive(Debug, Args)]
#[command(after_help = SIM_EXAMPLES)]
struct Sim {
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
    /// Faults may be asked for
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
    /// Sets up the log, and runs the command.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        log_to_stderr(self.log_format);
        match self.command {
            Command::Serve(serve) => serve::run(serve.config()?),
            Command::Sim(sim) => sim.run(),
        }
    }
}

/// `FAAM_LOG`, else `RUST_LOG`, else `info`.
fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_env("FAAM_LOG")
        .or_else(|_| EnvFilter::try_from_default_env())
        .unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => builder
            .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
            .init(),
        LogFormat::Json => builder.json().init(),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    fn serve(flags: &[&str]) -> Result<GatewayConfig, String> {
        let cli = Cli::try_parse_from([&["faam", "serve"], flags].concat())
            .map_err(|error| error.to_string())?;
        match cli.command {
            Command::Serve(serve) => serve.config().map_err(|error| error.to_string()),
            Command::Sim(_) => Err("sim".to_owned()),
        }
    }

    #[test]
    fn with_no_flags_there_is_one_simulated_card() {
        let config = serve(&[]).expect("accepted");
        assert_eq!(
            config.dispatch.cards,
            [CardSource::OwnSimulated {
                engines: 1,
                pace_mhz: None,
                hang: None
            }]
        );
        assert!(config.listen.ip().is_loopback() && config.admin_listen.ip().is_loopback());
    }

    #[test]
    fn devices_are_listed_one_by_one() {
        let flags = [
            "--devices",
            "sim:2",
            "--engines",
            "4",
            "--pace",
            "250",
            "--devices",
            "vfio-user:/run/card",
        ];
        let config = serve(&flags).expect("accepted");
        let own = CardSource::OwnSimulated {
            engines: 4,
            pace_mhz: Some(250),
            hang: None,
        };
        assert_eq!(
            config.dispatch.cards,
            [
                own.clone(),
                own,
                CardSource::VfioUser {
                    dir: "/run/card".into()
                }
            ]
        );
        assert_eq!(
            serve(&["--devices", "none"])
                .expect("accepted")
                .dispatch
                .cards,
            []
        );
        for bad in ["sim:0", "sim:9", "sim:x", "gpu", "vfio-user:", "vfio-user"] {
            let error = serve(&["--devices", bad]).expect_err(bad);
            assert!(error.contains("vfio-user:DIR"), "{error}");
        }
        assert!(serve(&["--devices", "none", "--devices", "sim"]).is_err());
    }
}
