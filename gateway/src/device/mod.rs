//! `faam device`: cards and their functions, through a running gateway and on the PCI bus.
//!
//! Owns the words of the command line. What a gateway's cards do is asked of the gateway over its operator's socket; binding
//! a function to a driver needs none.
//!
//! | module | owns |
//! |---|---|
//! | `fault` | `fault`: a simulated card told to fail |
//! | `served` | `ls`, `show`, `drain`, `reset`: a gateway's functions, and how they are shown |
//! | `binding` | a function handed to processes, and back |
//! | `bus` | `bind`, `unbind`, and the cards on the PCI bus |

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod binding;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod bus;
mod fault;
mod served;
#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod tests;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::admin_client::OperatorFlags;

const EXAMPLES: &str = "\
Examples:
  faam device ls
      the functions of the gateway whose data directory is ./data, and what they do now
  faam device show fpga0.1
      identity, health, counters, queue pairs of one
  sudo faam device bind 0000:03:00.0
      hands a function on the PCI bus to processes: `faam serve --devices pci:0000:03:00.0`
  faam device fault fpga0 slow-engine,chance=0.1,factor=100
      has a simulated card fail, to see what becomes of it; see `faam device fault --help`
  faam device drain fpga0 && faam device reset fpga0 --json
      a card's functions end what they do, and serve again after a reset and a self-test";

/// Look at cards and their functions, drain them, reset them, bind them to a driver
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Device {
    #[command(subcommand)]
    command: DeviceCommand,
}

#[derive(Debug, Subcommand)]
enum DeviceCommand {
    Ls(Ls),
    Show(Show),
    Drain(Drain),
    Reset(Reset),
    Fault(fault::Fault),
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    Bind(bus::Bind),
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    Unbind(bus::Unbind),
}

/// Which function, and how the answer is printed.
#[derive(Debug, Args)]
struct Named {
    /// A function: its name (fpga0.1), its address or its serial id as `faam device ls` shows them; a card's name (fpga0) or
    /// serial number is all of its functions
    #[arg(value_name = "DEVICE")]
    name: String,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

const LS_EXAMPLES: &str = "\
Examples:
  faam device ls
      names, addresses, serial ids, states
  faam device ls --data-dir /var/lib/faam --json
      the same of the system's gateway, for a program";

/// List a running gateway's functions, and the cards on the PCI bus
#[derive(Debug, Args)]
#[command(after_help = LS_EXAMPLES)]
struct Ls {
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  faam device show fpga0.0
      identity, health page, error log, engines, queue pairs and counters
  faam device show 0000:03:00.0 --json
      by its PCI address, for a program";

/// Show what a function says of itself: identity, health, counters
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct Show {
    #[command(flatten)]
    named: Named,
}

const DRAIN_EXAMPLES: &str = "\
Examples:
  faam device drain fpga0.1
      gives it no more jobs, and waits until it has done those that it holds
  faam device drain fpga0 --timeout-ms 120000
      both functions of a card; exit 1 if they are still busy then
  faam device drain fpga0.1 --undo
      jobs again";

/// Give a function no more jobs, and wait until it is idle; exit 1 if it is not in time
#[derive(Debug, Args)]
#[command(after_help = DRAIN_EXAMPLES)]
struct Drain {
    #[command(flatten)]
    named: Named,
    /// Give it jobs again
    #[arg(long)]
    undo: bool,
    /// How long to wait, milliseconds; it stays drained if that is too short
    #[arg(long, value_name = "MS", default_value_t = faam_gateway::card_operation::DRAIN_WAIT_MS_DEFAULT,
          value_parser = clap::value_parser!(u64).range(0..=faam_gateway::card_operation::DRAIN_WAIT_MS_MAX), conflicts_with = "undo")]
    timeout_ms: u64,
}

const RESET_EXAMPLES: &str = "\
Examples:
  faam device reset fpga0.1
      fenced, reset by its transport (PCIe: FLR), self-tested, in service again, drained or not";

/// Reset a function and have it serve again after its self-test; costs no request
#[derive(Debug, Args)]
#[command(after_help = RESET_EXAMPLES)]
struct Reset {
    #[command(flatten)]
    named: Named,
}

impl Device {
    /// Does it.
    ///
    /// # Errors
    /// No gateway, no such device, or one that cannot do it now.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            DeviceCommand::Ls(ls) => served::list(&ls.operator, &cards(), ls.json),
            DeviceCommand::Show(show) => served::show(&show.named),
            DeviceCommand::Drain(drain) if drain.undo => served::undrain(&drain.named),
            DeviceCommand::Drain(drain) => served::drain(&drain.named, drain.timeout_ms),
            DeviceCommand::Reset(reset) => served::reset(&reset.named),
            DeviceCommand::Fault(fault) => fault.run(),
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            DeviceCommand::Bind(bind) => bind.run(),
            #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
            DeviceCommand::Unbind(unbind) => unbind.run(),
        }
    }
}

/// The cards' functions on this machine's PCI bus.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn cards() -> Vec<serde_json::Value> {
    bus::cards(&crate::machine::Machine::new("/".as_ref()))
}

/// Without a driver none is looked for.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn cards() -> Vec<serde_json::Value> {
    Vec::new()
}
