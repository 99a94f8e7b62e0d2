//! `faam device bind` and `unbind`, and the cards on the PCI bus: what needs no gateway.
//!
//! Owns the words; `binding` does it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use faam_driver::PciAddress;
use serde_json::{Value, json};

use super::binding::{self, Bound};
use crate::machine::Machine;
use crate::pci::{self, PciFunction};

/// Which functions, and where.
#[derive(Debug, Args)]
struct Functions {
    /// PCI addresses, as `lspci -D` writes them: 0000:03:00.0
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<PciAddress>,
    /// The machine whose root directory this is
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

const BIND_EXAMPLES: &str = "\
Examples:
  sudo faam device bind 0000:03:00.0
      hands the function to vfio-pci, until the next start of the machine
  sudo faam device bind 0000:03:00.0 0000:03:00.1
      two of one card, together. Of two that share an IOMMU group, the gateway can serve one only";

/// Hand functions over to vfio-pci; refuses what is in use, or shares its IOMMU group with others
#[derive(Debug, Args)]
#[command(after_help = BIND_EXAMPLES)]
pub(super) struct Bind {
    #[command(flatten)]
    functions: Functions,
    /// Also a function that is by its id no FaaM card's; what the system is seen to use is refused all the same
    #[arg(long)]
    force: bool,
}

const UNBIND_EXAMPLES: &str = "\
Examples:
  sudo faam device unbind 0000:03:00.0
      hands the function back to the driver that the kernel chooses; refused while a process has it open";

/// Hand functions back to the kernel's own drivers
#[derive(Debug, Args)]
#[command(after_help = UNBIND_EXAMPLES)]
pub(super) struct Unbind {
    #[command(flatten)]
    functions: Functions,
}

impl Bind {
    /// Binds.
    ///
    /// # Errors
    /// What is refused, and what the kernel refuses.
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let Functions {
            addresses, root, ..
        } = &self.functions;
        let bound = binding::bind(&Machine::new(root), addresses, self.force)?;
        print(&bound, self.functions.json)
    }
}

impl Unbind {
    /// Unbinds.
    ///
    /// # Errors
    /// What is refused, and what the kernel refuses.
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let Functions {
            addresses, root, ..
        } = &self.functions;
        let unbound = binding::unbind(&Machine::new(root), addresses)?;
        print(&unbound, self.functions.json)
    }
}

/// The functions of FaaM cards in a machine.
pub(super) fn cards(machine: &Machine) -> Vec<Value> {
    let functions = pci::functions(machine).filter(PciFunction::is_faam);
    let card = |function: PciFunction<'_>| {
        let others = function.group_rivals();
        let mut others: Vec<_> = others.iter().map(PciFunction::shown).collect();
        others.extend(function.group_strangers());
        json!({
            "address": function.address.to_string(),
            "driver": function.driver(),
            "group": function.group(),
            "shared_with": if others.is_empty() { Value::Null } else { json!(others) },
        })
    };
    functions.map(card).collect()
}

fn print(functions: &[Bound], json: bool) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &json!({ "functions": functions }))?;
        writeln!(out)?;
    } else {
        let mut text = String::new();
        for function in functions {
            let word =
                |name: &Option<String>| name.clone().unwrap_or_else(|| "no driver".to_owned());
            let (was, now) = (word(&function.was), word(&function.driver));
            let _ = match &function.node {
                Some(node) => writeln!(text, "{}: {was} -> {now}, {node}", function.address),
                None => writeln!(text, "{}: {was} -> {now}", function.address),
            };
        }
        out.write_all(text.as_bytes())?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
