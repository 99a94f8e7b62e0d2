//! `faam doctor`: each thing that the way to a card needs, and how to mend what is missing.
//!
//! Owns the table of checks, their order and how results are shown. Invariants: nothing is changed; every check that is not ok
//! says what to do; a machine without a card is told what works on it. It knows no scheduling and no HTTP.
//!
//! | module | owns |
//! |---|---|
//! | `check` | a check and its result |
//! | `subject`, `probe` | what is examined, and how the outside is met |
//! | `iommu`, `vfio`, `group` | what the kernel gives |
//! | `pcie` | the function as a PCI device |
//! | `memory` | locked memory, huge pages, nodes |
//! | `serving` | the gateway, the contract, and the other ways to serve |

mod check;
mod group;
mod iommu;
mod memory;
mod pcie;
mod probe;
mod serving;
mod subject;
#[cfg(test)]
mod tests;
mod vfio;

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use faam_gateway::dispatch::DispatchConfig;
use serde_json::{Value, json};

use self::check::Of::{Function, Machine as OnMachine};
use self::check::Status::{Fail, Ok as Fine, Warn};
use self::check::{Check, Checked, Status};
use self::subject::{NoIdentity, Subject, User};
use crate::admin_client::OperatorFlags;
use crate::machine::Machine;
use crate::quantity;
use crate::serve::devices::Devices;

const EXAMPLES: &str = "\
Examples:
  faam doctor
      this machine, and each FaaM card in it
  sudo faam doctor --devices pci:0000:03:00.0 --user faam
      one function, for a gateway that runs as the user faam; root sees all of its configuration space
  faam doctor --data-dir /var/lib/faam --json
      with what the running gateway says, for a program: {\"checks\":[{\"name\",\"status\",\"found\",\"mend\"}]}";

/// Check what a card needs of this machine, and say how to mend it; exit 1 if something failed
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Doctor {
    #[command(flatten)]
    operator: OperatorFlags,
    /// Cards to examine, as `faam serve` takes them: pci:ADDRESS, pci:ADDRESS+ADDRESS, vfio-user:DIR; may be given several times [default: every
    /// FaaM card on the PCI bus]
    #[arg(long, value_name = "DEVICES", value_delimiter = ',')]
    devices: Vec<Devices>,
    /// Bytes of the arena [default: the running gateway's, else that of `faam serve`]
    #[arg(long, value_name = "BYTES", env = "FAAM_ARENA_BYTES", hide_env_values = true, value_parser = quantity::parse_bytes)]
    arena_bytes: Option<u64>,
    /// User who runs the gateway, or is to [default: whoever asks]
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Examine the machine whose root directory this is, as far as files go
    #[arg(long, value_name = "DIR", default_value = "/", value_hint = clap::ValueHint::DirPath)]
    root: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Every check, in the order in which what they find is to be mended.
#[rustfmt::skip]
const CHECKS: &[Check] = &[
    Check { name: "kernel", of: OnMachine(serving::kernel), can: &[Fine, Warn, Fail] },
    Check { name: "iommu", of: OnMachine(iommu::iommu), can: &[Fine, Warn, Fail] },
    Check { name: "interrupt-remapping", of: OnMachine(iommu::interrupt_remapping), can: &[Fine, Warn, Fail] },
    Check { name: "noiommu", of: OnMachine(iommu::noiommu), can: &[Fine, Warn, Fail] },
    Check { name: "vfio-modules", of: OnMachine(vfio::modules), can: &[Fine, Warn, Fail] },
    Check { name: "vfio-denylist", of: OnMachine(vfio::denylist), can: &[Fine, Warn, Fail] },
    Check { name: "vfio-idle-d3", of: OnMachine(vfio::idle_d3), can: &[Fine, Warn] },
    Check { name: "vfio-container", of: OnMachine(vfio::container), can: &[Fine, Warn, Fail] },
    Check { name: "card", of: OnMachine(serving::card), can: &[Fine, Warn, Fail] },
    Check { name: "bars", of: Function(pcie::bars), can: &[Fine, Warn, Fail] },
    Check { name: "link", of: Function(pcie::link), can: &[Fine, Warn, Fail] },
    Check { name: "aer", of: Function(pcie::aer), can: &[Fine, Warn, Fail] },
    Check { name: "ats-pasid", of: Function(pcie::ats_pasid), can: &[Fine, Warn, Fail] },
    Check { name: "reset", of: Function(pcie::reset), can: &[Fine, Warn, Fail] },
    Check { name: "acs", of: Function(group::acs), can: &[Fine, Warn, Fail] },
    Check { name: "group", of: Function(group::viability), can: &[Fine, Warn, Fail] },
    Check { name: "driver", of: Function(vfio::driver), can: &[Fine, Fail] },
    Check { name: "device-node", of: Function(vfio::device_node), can: &[Fine, Warn, Fail] },
    Check { name: "iova-ranges", of: Function(iommu::iova_ranges), can: &[Fine, Warn, Fail] },
    Check { name: "memlock", of: OnMachine(memory::memlock), can: &[Fine, Warn, Fail] },
    Check { name: "huge-pages", of: OnMachine(memory::huge_pages), can: &[Fine, Warn] },
    Check { name: "numa", of: Function(memory::numa), can: &[Fine, Warn] },
    Check { name: "interface", of: Function(serving::interface), can: &[Fine, Warn, Fail] },
    Check { name: "simulated-card", of: OnMachine(serving::simulated_card), can: &[Fine, Warn, Fail] },
    Check { name: "cpu-engines", of: OnMachine(serving::cpu_engines), can: &[Fine, Warn] },
    Check { name: "gateway", of: OnMachine(serving::gateway), can: &[Fine, Warn, Fail] },
];

impl Doctor {
    /// Examines, and says what it found.
    ///
    /// # Errors
    /// A user who is not there, or a standard output that is gone.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let checked = examine(&self.subject()?);
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &json!({ "checks": checked }))?;
            writeln!(out)?;
        } else {
            out.write_all(table(&checked, io::stdout().is_terminal()).as_bytes())?;
        }
        out.flush()?;
        Ok(match checked.iter().any(|checked| checked.status == Fail) {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        })
    }

    fn subject(&self) -> anyhow::Result<Subject> {
        let machine = Machine::new(&self.root);
        let user = match &self.user {
            None => User::current(),
            Some(name) => User::named(&machine, name).ok_or_else(|| {
                anyhow::anyhow!(
                    "there is no user {name} in {}: sudo useradd --system {name}",
                    machine.path("etc/passwd").display()
                )
            })?,
        };
        let mut functions = Vec::new();
        let mut sockets = Vec::new();
        for devices in &self.devices {
            match devices {
                Devices::Pci(addresses) => functions.extend(addresses.iter().copied()),
                Devices::VfioUser(dir) => sockets.push(dir.clone()),
                Devices::None | Devices::Simulated(_) => {}
            }
        }
        if self.devices.is_empty() {
            functions = Subject::found(&machine);
        }
        let gateway = probe::gateway(&self.operator.data_dir);
        let told = gateway
            .as_ref()
            .ok()
            .and_then(|gateway| gateway.about.get("arena_bytes").and_then(Value::as_u64));
        let arena_bytes = self
            .arena_bytes
            .or(told)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .unwrap_or_else(|| DispatchConfig::default().arena_bytes);
        let here = machine.is_this_one();
        Ok(Subject {
            machine,
            user,
            functions,
            sockets,
            arena_bytes,
            gateway,
            identify: Box::new(move |address| match here {
                true => probe::function(address),
                false => Err(NoIdentity::Unavailable(
                    "a function of another machine cannot be opened".to_owned(),
                )),
            }),
            identify_simulated: probe::simulated,
            cpu_engines: serving::engines(),
        })
    }
}

/// Every check on a subject, and what they come to.
fn examine(subject: &Subject) -> Vec<Checked> {
    let mut checked: Vec<_> = CHECKS.iter().flat_map(|check| check.run(subject)).collect();
    checked.push(serving::ways(subject, &checked));
    checked
}

/// The results for people.
fn table(checked: &[Checked], colours: bool) -> String {
    let names = checked.iter().map(|checked| checked.name.len());
    let width = names.max().unwrap_or(0);
    let mut text = String::new();
    for Checked {
        name,
        status,
        found,
        mend,
    } in checked
    {
        let (word, colour) = match status {
            Fine => ("ok  ", "\x1b[32m"),
            Warn => ("warn", "\x1b[33m"),
            Fail => ("FAIL", "\x1b[31m"),
        };
        let (colour, plain) = match colours {
            true => (colour, "\x1b[0m"),
            false => ("", ""),
        };
        let _ = writeln!(text, "{colour}{word}{plain}  {name:width$}  {found}");
        if !mend.is_empty() {
            let _ = writeln!(text, "      {:width$}  -> {mend}", "");
        }
    }
    let count = |of: Status| {
        checked
            .iter()
            .filter(|checked| checked.status == of)
            .count()
    };
    let _ = writeln!(
        text,
        "\n{} checks: {} ok, {} warnings, {} failed",
        checked.len(),
        count(Fine),
        count(Warn),
        count(Fail)
    );
    text
}
