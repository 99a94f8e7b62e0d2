//! What a device says of itself, and whether an image fits it.
//!
//! Invariant: an image fits or is refused for one reason, before anything is programmed. It reads no device: who does hands the
//! facts over.

use faam_hwif::regs::{INTERFACE_UUID, Register, identity};
use uuid::Uuid;

use crate::manifest::{Abi, Idcode, ImageKind, Manifest};
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
    /// The first reason against it: its kind, the device, the shell, the interface, the driver.
    pub fn check(&self, manifest: &Manifest) -> Result<(), ImageRefusal> {
        let target = &manifest.target;
        if manifest.kind != self.takes {
            return Err(ImageRefusal::WrongKind {
                expected: self.takes,
                got: manifest.kind,
            });
        }
        let is =
            |known: &Option<String>, named: &str| known.as_ref().is_none_or(|known| known == named);
        let fits = target.idcode == Idcode(self.idcode)
            && is(&self.family, &target.family)
            && is(&self.part, &target.part);
        if !fits {
            let shown = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
            return Err(ImageRefusal::WrongDevice {
                expected: target.idcode,
                expected_part: format!("{} {}", target.family, target.part),
                got: Idcode(self.idcode),
                got_part: format!("{} {}", shown(&self.family), shown(&self.part)),
            });
        }
        if manifest.shell.id != self.shell {
            return Err(ImageRefusal::WrongShell {
                expected: manifest.shell.id,
                name: manifest.shell.name.clone(),
                got: self.shell,
            });
        }
        if manifest.interface != self.interface {
            return Err(ImageRefusal::WrongInterface {
                image: manifest.interface,
                device: self.interface,
            });
        }
        let (needs, has) = (manifest.driver_abi_min, self.driver_abi);
        match needs.major == has.major && needs.minor <= has.minor {
            true => Ok(()),
            false => Err(ImageRefusal::DriverTooOld { needs, has }),
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
