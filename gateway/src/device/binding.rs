//! A function handed to processes (vfio-pci), and back to the kernel's own drivers.
//!
//! Owns the order of writes to sysfs. Invariants: everything is checked before anything is changed; what the running system
//! stands on, or what shares its IOMMU group with others, is refused with the list of them; a function that vfio-pci did not
//! take is left as it would be without us. Only this one function is offered to vfio-pci (`driver_override`), never all of its
//! id. Source: Linux, Documentation/ABI/testing/sysfs-bus-pci.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use faam_driver::PciAddress;
use serde::Serialize;
use thiserror::Error;

use crate::machine::Machine;
use crate::pci::{PciFunction, VFIO_PCI};

/// How long the kernel may take to give a function to a driver. It does so within the write, but for drivers that ask for it.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile.
const PROBE_POLL: Duration = Duration::from_millis(5);

/// A function after it was bound or unbound.
#[derive(Debug, Serialize)]
pub(crate) struct Bound {
    pub(crate) address: String,
    /// The driver that had it before.
    pub(crate) was: Option<String>,
    /// The driver that has it now.
    pub(crate) driver: Option<String>,
    pub(crate) group: Option<u32>,
    /// The file by which its group is opened.
    pub(crate) node: Option<String>,
}

/// Why a function was not bound or unbound.
#[derive(Debug, Error)]
pub(crate) enum BindError {
    /// Nothing is there.
    #[error("there is no PCI function {0}; compare with: lspci -D")]
    NoFunction(PciAddress),
    /// It leads to others.
    #[error("{0} is a bridge, and others stand behind it; name an endpoint")]
    Bridge(PciAddress),
    /// No IOMMU.
    #[error(
        "{0} has no IOMMU group: without an IOMMU it is not handed to a process; see: faam doctor --devices pci:{0}"
    )]
    NoGroup(PciAddress),
    /// The driver is not loaded.
    #[error("vfio-pci is not loaded: sudo modprobe vfio-pci")]
    NoVfio,
    /// The system needs it.
    #[error("{address} is in use: {}; stop that first", uses.join(", "))]
    InUse {
        address: PciAddress,
        uses: Vec<String>,
    },
    /// Somebody else's.
    #[error(
        "{address} ({id}) is by its id no FaaM card's; if it is to be handed over, and the system can do without all that runs \
         on it: sudo faam device bind --force {address}"
    )]
    NotFaam { address: PciAddress, id: String },
    /// Its group has others.
    #[error(
        "{address} shares IOMMU group {group} with {}; move it to a slot of its own{}",
        others.join(", "),
        if addresses.is_empty() { String::new() } else {
            format!(
                ", or hand over all of them, if the system can do without: sudo faam device bind --force {address} {}",
                addresses.join(" ")
            )
        }
    )]
    GroupShared {
        address: PciAddress,
        group: u32,
        others: Vec<String>,
        addresses: Vec<String>,
    },
    /// Not vfio's.
    #[error("{address} is not bound to vfio-pci ({driver}): there is nothing to undo")]
    NotOurs { address: PciAddress, driver: String },
    /// Every driver but vfio-pci passes it by.
    #[error(
        "{address} went back to vfio-pci, which takes its id by itself (ids= of the module, or new_id): \
         grep -rs 'vfio-pci.*ids=' /etc/modprobe.d /proc/cmdline"
    )]
    StillVfio { address: PciAddress },
    /// sysfs said no.
    #[error("{path} cannot be written{}", if source.kind() == io::ErrorKind::PermissionDenied { ": root does that, run it with sudo" } else { "; see the kernel's log (dmesg)" })]
    Write {
        path: String,
        #[source]
        source: io::Error,
    },
    /// vfio-pci did not take it.
    #[error("vfio-pci has not taken {address} within {} ms ({driver}); see the kernel's log: sudo dmesg | grep {address}", PROBE_LIMIT.as_millis())]
    NotTaken { address: PciAddress, driver: String },
}

/// Hands functions over to vfio-pci; with `force` also those that are no FaaM card's. What is in use is refused with it, too.
///
/// # Errors
/// [`BindError`]; if one of the first checks fails, nothing was changed.
pub(crate) fn bind(
    machine: &Machine,
    addresses: &[PciAddress],
    force: bool,
) -> Result<Vec<Bound>, BindError> {
    for address in addresses {
        check(&PciFunction::at(machine, *address), addresses, force)?;
    }
    if !machine.has("sys/bus/pci/drivers/vfio-pci") {
        return Err(BindError::NoVfio);
    }
    let functions = addresses
        .iter()
        .map(|address| PciFunction::at(machine, *address));
    functions
        .map(|function| bind_one(machine, &function))
        .collect()
}

/// Hands functions back to the drivers that the kernel would choose.
///
/// # Errors
/// [`BindError`]; if one of the first checks fails, nothing was changed.
pub(crate) fn unbind(machine: &Machine, addresses: &[PciAddress]) -> Result<Vec<Bound>, BindError> {
    for address in addresses {
        let function = PciFunction::at(machine, *address);
        there(&function)?;
        if function.driver().as_deref() != Some(VFIO_PCI) {
            return Err(BindError::NotOurs {
                address: *address,
                driver: driver_of(&function),
            });
        }
        not_in_use(&function)?;
    }
    let functions = addresses
        .iter()
        .map(|address| PciFunction::at(machine, *address));
    let unbind_one = |function: PciFunction<'_>| {
        let was = function.driver();
        write(&function.dir().join("driver_override"), "\n")?;
        let_go(&function)?;
        probe(machine, &function)?;
        match function.driver().as_deref() {
            Some(VFIO_PCI) => Err(BindError::StillVfio {
                address: function.address,
            }),
            _ => Ok(bound(&function, was)),
        }
    };
    functions.map(unbind_one).collect()
}

fn there(function: &PciFunction<'_>) -> Result<(), BindError> {
    match function.exists() {
        true => Ok(()),
        false => Err(BindError::NoFunction(function.address)),
    }
}

fn not_in_use(function: &PciFunction<'_>) -> Result<(), BindError> {
    let uses = function.uses();
    match uses.is_empty() {
        true => Ok(()),
        false => Err(BindError::InUse {
            address: function.address,
            uses,
        }),
    }
}

/// Whether a function may be handed over, together with the `others` that are.
fn check(function: &PciFunction<'_>, others: &[PciAddress], force: bool) -> Result<(), BindError> {
    let address = function.address;
    there(function)?;
    if function.is_bridge() {
        return Err(BindError::Bridge(address));
    }
    // Bound already, by an earlier start: nothing is taken from anybody, whoever uses it now.
    if function.driver().as_deref() != Some(VFIO_PCI) {
        not_in_use(function)?;
        if !force && !function.is_faam() {
            return Err(BindError::NotFaam {
                address,
                id: function.shown_id(),
            });
        }
    }
    let group = function.group().ok_or(BindError::NoGroup(address))?;
    let mut rivals = function.group_rivals();
    rivals.retain(|rival| !others.contains(&rival.address));
    let strangers = function.group_strangers();
    if rivals.is_empty() && strangers.is_empty() {
        return Ok(());
    }
    let shown = rivals.iter().map(PciFunction::shown);
    Err(BindError::GroupShared {
        address,
        group,
        others: shown.chain(strangers).collect(),
        addresses: rivals
            .iter()
            .map(|rival| rival.address.to_string())
            .collect(),
    })
}

fn bind_one(machine: &Machine, function: &PciFunction<'_>) -> Result<Bound, BindError> {
    let was = function.driver();
    if was.as_deref() == Some(VFIO_PCI) {
        return Ok(bound(function, was));
    }
    let wish = function.dir().join("driver_override");
    write(&wish, VFIO_PCI)?;
    let taken = let_go(function).and_then(|()| {
        probe(machine, function)?;
        await_driver(function)
    });
    if let Err(error) = taken {
        // As it would be without us: whoever the kernel chooses may have it.
        let _ = write(&wish, "\n");
        let _ = probe(machine, function);
        return Err(error);
    }
    Ok(bound(function, was))
}

/// Takes a function from its driver, if it has one.
fn let_go(function: &PciFunction<'_>) -> Result<(), BindError> {
    match function.driver() {
        None => Ok(()),
        Some(_) => write(
            &function.dir().join("driver/unbind"),
            &function.address.to_string(),
        ),
    }
}

/// Has the kernel look for a driver.
fn probe(machine: &Machine, function: &PciFunction<'_>) -> Result<(), BindError> {
    write(
        &machine.path("sys/bus/pci/drivers_probe"),
        &function.address.to_string(),
    )
}

fn await_driver(function: &PciFunction<'_>) -> Result<(), BindError> {
    let until = Instant::now() + PROBE_LIMIT;
    while function.driver().as_deref() != Some(VFIO_PCI) {
        if Instant::now() >= until {
            return Err(BindError::NotTaken {
                address: function.address,
                driver: driver_of(function),
            });
        }
        std::thread::sleep(PROBE_POLL);
    }
    Ok(())
}

fn driver_of(function: &PciFunction<'_>) -> String {
    match function.driver() {
        Some(driver) => format!("{driver} has it"),
        None => "no driver has it".to_owned(),
    }
}

fn bound(function: &PciFunction<'_>, was: Option<String>) -> Bound {
    let driver = function.driver();
    let group = function.group();
    let ours = driver.as_deref() == Some(VFIO_PCI);
    Bound {
        address: function.address.to_string(),
        was,
        driver,
        group,
        node: group
            .filter(|_| ours)
            .map(|group| format!("/dev/vfio/{group}")),
    }
}

/// Writes a text to a file of sysfs in one call, as sysfs wants it.
fn write(path: &Path, text: &str) -> Result<(), BindError> {
    let written = OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| BindError::Write {
        path: path.display().to_string(),
        source,
    })
}
