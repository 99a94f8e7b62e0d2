//! What a device says of itself, and whether an image fits it.
//!
//! Invariant: an image fits or is refused for one reason, before anything is programmed. It reads no device: who does hands the
//! facts over.

use faam_hwif::regs::{INTERFACE_UUID, Register, identity};
use serde::Serialize;
use uuid::Uuid;

use crate::manifest::{Abi, Idcode, ImageKind, Manifest, Shell};
use crate::refusal::ImageRefusal;

/// The device for which the simulated card's slots pretend to be: LFE5U-85F.
pub const SIMULATED_IDCODE: u32 = 0x4111_3043;
/// The simulated card's shell, 1.0.
pub const SIMULATED_SHELL: u32 = 0x0001_0000;

/// The interface of this release: of its register map and its entries.
pub const INTERFACE: Uuid = interface(INTERFACE_UUID);

/// The driver ABI of this release.
pub const DRIVER_ABI: Abi = {
    let [_, _, minor_low, minor_high] = identity::AbiVersion::RESET.to_be_bytes();
    let [major_low, major_high, _, _] = identity::AbiVersion::RESET.to_be_bytes();
    Abi {
        major: u16::from_be_bytes([major_low, major_high]),
        minor: u16::from_be_bytes([minor_low, minor_high]),
    }
};

/// Devices whose idcode is known: Lattice, ECP5 and ECP5-5G family data sheet and sysCONFIG usage guide (FPGA-TN-02039).
const PARTS: [(u32, &str, &str); 10] = [
    (0x2111_1043, "ECP5", "LFE5U-12F"),
    (0x4111_1043, "ECP5", "LFE5U-25F"),
    (0x4111_2043, "ECP5", "LFE5U-45F"),
    (0x4111_3043, "ECP5", "LFE5U-85F"),
    (0x0111_1043, "ECP5", "LFE5UM-25F"),
    (0x0111_2043, "ECP5", "LFE5UM-45F"),
    (0x0111_3043, "ECP5", "LFE5UM-85F"),
    (0x8111_1043, "ECP5", "LFE5UM5G-25F"),
    (0x8111_2043, "ECP5", "LFE5UM5G-45F"),
    (0x8111_3043, "ECP5", "LFE5UM5G-85F"),
];

/// An interface's words, as a device's registers have them.
const fn interface(words: [u32; 4]) -> Uuid {
    let [a, b, c, d] = words;
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.to_le_bytes(), b.to_le_bytes());
    let ([c0, c1, c2, c3], [d0, d1, d2, d3]) = (c.to_le_bytes(), d.to_le_bytes());
    Uuid::from_bytes([
        a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3,
    ])
}

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Its idcode.
    pub idcode: u32,
    /// Its family, if it is known.
    pub family: Option<String>,
    /// Its part, if it is known.
    pub part: Option<String>,
    /// Its shell.
    pub shell: u32,
    /// The interface that it speaks.
    pub interface: Uuid,
    /// What its slots take.
    pub takes: ImageKind,
    /// The ABI of the driver that drives it.
    pub driver_abi: Abi,
}

impl DeviceFacts {
    /// Of a device with these registers, driven by this release's driver.
    #[must_use]
    pub fn from_registers(idcode: u32, shell: u32, words: [u32; 4], takes: ImageKind) -> Self {
        let known = PARTS.iter().find(|(known, _, _)| *known == idcode);
        Self {
            idcode,
            family: known.map(|(_, family, _)| (*family).to_owned()),
            part: known.map(|(_, _, part)| (*part).to_owned()),
            shell,
            interface: interface(words),
            takes,
            driver_abi: DRIVER_ABI,
        }
    }

    /// Of a device of this idcode that speaks this release's interface, driven by this release's driver.
    #[must_use]
    pub fn of_idcode(idcode: u32, shell: u32, takes: ImageKind) -> Self {
        Self::from_registers(idcode, shell, INTERFACE_UUID, takes)
    }

    /// Of this release's simulated card.
    #[must_use]
    pub fn simulated() -> Self {
        Self::of_idcode(SIMULATED_IDCODE, SIMULATED_SHELL, ImageKind::Sim)
    }

    /// Whether an image of this manifest may be programmed into it.
    ///
    /// # Errors
    /// The first reason against it, in the order of [`DevicePoint::ALL`].
    pub fn check(&self, manifest: &Manifest) -> Result<(), ImageRefusal> {
        self.check_needs(&DeviceNeeds::of(manifest))
    }

    /// The same of what is known of an image without its manifest.
    ///
    /// # Errors
    /// As [`DeviceFacts::check`].
    pub fn check_needs(&self, needs: &DeviceNeeds) -> Result<(), ImageRefusal> {
        let mut points = DevicePoint::ALL.into_iter();
        points.try_for_each(|point| self.check_point(point, needs))
    }

    /// One point of it.
    ///
    /// # Errors
    /// The reason against it.
    pub fn check_point(&self, point: DevicePoint, needs: &DeviceNeeds) -> Result<(), ImageRefusal> {
        let refusal = match point {
            DevicePoint::Kind if needs.kind != self.takes => ImageRefusal::WrongKind {
                expected: self.takes,
                got: needs.kind,
            },
            DevicePoint::Device if !self.is(needs) => {
                let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
                ImageRefusal::WrongDevice {
                    expected: needs.idcode,
                    expected_part: format!("{} {}", needs.family, needs.part),
                    got: Idcode(self.idcode),
                    got_part: format!("{} {}", shown(&self.family), shown(&self.part)),
                }
            }
            DevicePoint::Shell if needs.shell.id != self.shell => ImageRefusal::WrongShell {
                expected: needs.shell.id,
                name: needs.shell.name.clone(),
                got: self.shell,
            },
            DevicePoint::Interface if needs.interface != self.interface => {
                ImageRefusal::WrongInterface {
                    image: needs.interface,
                    device: self.interface,
                }
            }
            DevicePoint::Driver if !self.driver_abi.serves(needs.driver_abi_min) => {
                ImageRefusal::DriverTooOld {
                    needs: needs.driver_abi_min,
                    has: self.driver_abi,
                }
            }
            _ => return Ok(()),
        };
        Err(refusal)
    }

    /// Whether it is the device that is needed, as far as is known of it.
    fn is(&self, needs: &DeviceNeeds) -> bool {
        let is =
            |known: &Option<String>, named: &str| known.as_ref().is_none_or(|known| known == named);
        needs.idcode == Idcode(self.idcode)
            && is(&self.family, &needs.family)
            && is(&self.part, &needs.part)
    }
}

/// What is compared of an image and a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DevicePoint {
    /// How it is loaded.
    Kind,
    /// The device itself.
    Device,
    /// The static region beside it.
    Shell,
    /// The register map and the entries.
    Interface,
    /// The driver.
    Driver,
}

impl DevicePoint {
    /// All, in the order in which they are looked at.
    pub const ALL: [Self; 5] = [
        Self::Kind,
        Self::Device,
        Self::Shell,
        Self::Interface,
        Self::Driver,
    ];

    /// Its name for programs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Device => "device",
            Self::Shell => "shell",
            Self::Interface => "interface",
            Self::Driver => "driver",
        }
    }
}

/// What an image needs a device to be: the part of its manifest that [`DeviceFacts`] are compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeviceNeeds {
    /// How it is loaded.
    pub kind: ImageKind,
    /// The device's idcode.
    pub idcode: Idcode,
    /// The device's family.
    pub family: String,
    /// The device's part.
    pub part: String,
    /// The shell.
    pub shell: Shell,
    /// The interface.
    pub interface: Uuid,
    /// The least driver ABI.
    pub driver_abi_min: Abi,
}

impl DeviceNeeds {
    /// Of a manifest.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        let target = &manifest.target;
        Self {
            kind: manifest.kind,
            idcode: target.idcode,
            family: target.family.clone(),
            part: target.part.clone(),
            shell: manifest.shell.clone(),
            interface: manifest.interface,
            driver_abi_min: manifest.driver_abi_min,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_release_is_what_the_map_says() {
        let abi = identity::AbiVersion(identity::AbiVersion::RESET);
        let (major, minor) = (u32::from(DRIVER_ABI.major), u32::from(DRIVER_ABI.minor));
        assert_eq!((major, minor), (abi.major(), abi.minor()));
        // The manual writes it so: bitstreams/doc/registers.md.
        let manual = include_str!("../../doc/registers.md");
        let line = format!("Interface uuid: `{INTERFACE}`");
        assert!(manual.contains(&line), "{line}");
        let facts = DeviceFacts::simulated();
        assert_eq!(facts.part.as_deref(), Some("LFE5U-85F"));
    }
}
