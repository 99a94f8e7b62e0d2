//! PCI functions as the kernel shows them in sysfs.
//!
//! Owns the reading of one function's attributes and of its IOMMU group. It changes nothing, and does not judge what it
//! finds. Source: Linux, Documentation/ABI/testing/sysfs-bus-pci.
//!
//! | module | owns |
//! |---|---|
//! | `config_space` | extended capabilities |
//! | `in_use` | what of the system runs on a function |

pub(crate) mod config_space;
pub(crate) mod in_use;

use std::path::PathBuf;

use faam_driver::PciAddress;
use faam_hwif::pci;

use self::config_space::ConfigSpace;
use crate::machine::{self, Machine};

/// The driver through which functions are handed to processes.
pub(crate) const VFIO_PCI: &str = "vfio-pci";
/// Functions, by address.
const DEVICES: &str = "sys/bus/pci/devices";
/// Class and sub-class of a bridge between PCI buses (PCI Code and ID Assignment, 1.5).
const PCI_BRIDGE: u64 = 0x0604;

/// A function of a machine.
#[derive(Clone, Debug)]
pub(crate) struct PciFunction<'m> {
    machine: &'m Machine,
    pub(crate) address: PciAddress,
}

/// Every function of a machine.
pub(crate) fn functions(machine: &Machine) -> impl Iterator<Item = PciFunction<'_>> {
    let names = machine.names(DEVICES).into_iter();
    let addresses = names.filter_map(|name| name.parse().ok());
    addresses.map(|address| PciFunction { machine, address })
}

impl<'m> PciFunction<'m> {
    /// The function at this address, whether it is there or not.
    pub(crate) fn at(machine: &'m Machine, address: PciAddress) -> Self {
        Self { machine, address }
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> PathBuf {
        self.machine.path(DEVICES).join(self.address.to_string())
    }

    /// Whether it is there.
    pub(crate) fn exists(&self) -> bool {
        self.dir().exists()
    }

    /// The text of one of its attributes.
    pub(crate) fn text(&self, attribute: &str) -> Option<String> {
        machine::text(&self.dir().join(attribute))
    }

    /// One of its attributes that is a whole number.
    pub(crate) fn number(&self, attribute: &str) -> Option<u64> {
        machine::number(&self.text(attribute)?)
    }

    /// Vendor and device.
    pub(crate) fn id(&self) -> Option<(u64, u64)> {
        Some((self.number("vendor")?, self.number("device")?))
    }

    /// The same, as lspci writes it.
    pub(crate) fn shown_id(&self) -> String {
        self.id().map_or_else(
            || "no id".to_owned(),
            |(vendor, device)| format!("{vendor:04x}:{device:04x}"),
        )
    }

    /// Whether it says that it is a FaaM card's.
    pub(crate) fn is_faam(&self) -> bool {
        self.id() == Some((pci::VENDOR_ID.into(), pci::DEVICE_ID.into()))
    }

    /// Whether it is a bridge to another bus.
    pub(crate) fn is_bridge(&self) -> bool {
        self.number("class").map(|class| class >> 8) == Some(PCI_BRIDGE)
    }

    /// The driver that has it.
    pub(crate) fn driver(&self) -> Option<String> {
        machine::link_name(&self.dir().join("driver"))
    }

    /// Its IOMMU group.
    pub(crate) fn group(&self) -> Option<u32> {
        let link = machine::link_name(&self.dir().join("iommu_group"))?;
        link.parse().ok()
    }

    /// All members of its group, itself among them; none where it has no group.
    pub(crate) fn group_members(&self) -> Vec<PciFunction<'m>> {
        let Some(group) = self.group() else {
            return Vec::new();
        };
        let names = self
            .machine
            .names(&format!("sys/kernel/iommu_groups/{group}/devices"));
        let addresses = names.into_iter().filter_map(|name| name.parse().ok());
        addresses
            .map(|address| Self::at(self.machine, address))
            .collect()
    }

    /// Members of its group that it cannot be used beside: neither handed to processes nor bridges.
    pub(crate) fn group_rivals(&self) -> Vec<PciFunction<'m>> {
        let mut members = self.group_members();
        members.retain(|member| {
            member.address != self.address
                && !member.is_bridge()
                && member.driver().as_deref() != Some(VFIO_PCI)
        });
        members
    }

    /// Members of its group that are no PCI functions and that a driver has, in words: they cannot be handed over.
    pub(crate) fn group_strangers(&self) -> Vec<String> {
        let Some(group) = self.group() else {
            return Vec::new();
        };
        let dir = format!("sys/kernel/iommu_groups/{group}/devices");
        let names = self.machine.names(&dir).into_iter();
        let names = names.filter(|name| name.parse::<PciAddress>().is_err());
        let stranger = |name: String| {
            let device = self.machine.path(&dir).join(&name);
            let driver = machine::link_name(&device.join("driver"))?;
            Some(format!("{name} (no PCI function, {driver})"))
        };
        names.filter_map(stranger).collect()
    }

    /// The ports between it and the root complex, nearest last.
    pub(crate) fn ports_above(&self) -> Vec<PciFunction<'m>> {
        let Ok(path) = self.dir().canonicalize() else {
            return Vec::new();
        };
        let parts = path.iter().filter_map(|part| part.to_str()?.parse().ok());
        parts
            .filter(|address| *address != self.address)
            .map(|address| Self::at(self.machine, address))
            .collect()
    }

    /// Its configuration space, as much as this user may read.
    pub(crate) fn config_space(&self) -> ConfigSpace {
        ConfigSpace::new(machine::bytes(&self.dir().join("config")).unwrap_or_default())
    }

    /// The machine that it is in.
    pub(crate) fn machine(&self) -> &'m Machine {
        self.machine
    }

    /// Its address, id and driver, for people.
    pub(crate) fn shown(&self) -> String {
        let driver = self.driver();
        let driver = driver.as_deref().unwrap_or("no driver");
        format!("{} ({}, {driver})", self.address, self.shown_id())
    }
}
