//! Where a function sits on the PCI bus.
//!
//! Owns the text form and its bounds. It does not know whether a function is there.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// Highest device number on a bus (PCI Local Bus 3.0, section 6.1).
const DEVICE_MAX: u8 = 31;
/// Highest function number of a device.
const FUNCTION_MAX: u8 = 7;

/// Domain, bus, device and function: `0000:00:06.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    domain: u32,
    bus: u8,
    device: u8,
    function: u8,
}

/// The text is no PCI address.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected a PCI address such as 0000:00:06.0, got {got:?}")]
pub struct BadPciAddress {
    got: String,
}

impl PciAddress {
    /// Its directory in sysfs.
    #[must_use]
    pub fn sysfs(&self) -> PathBuf {
        PathBuf::from(format!("/sys/bus/pci/devices/{self}"))
    }
}

impl FromStr for PciAddress {
    type Err = BadPciAddress;

    /// `DDDD:BB:DD.F`; the domain may be left out where it is 0.
    fn from_str(text: &str) -> Result<Self, BadPciAddress> {
        parse(text).ok_or_else(|| BadPciAddress {
            got: text.to_owned(),
        })
    }
}

fn parse(text: &str) -> Option<PciAddress> {
    let (place, function) = text.rsplit_once('.')?;
    let (place, device) = place.rsplit_once(':')?;
    let (domain, bus) = match place.rsplit_once(':') {
        Some((domain, bus)) => (hex(domain, 4, 8)?, bus),
        None => (0, place),
    };
    let narrow = |value: u32, max: u8| u8::try_from(value).ok().filter(|value| *value <= max);
    Some(PciAddress {
        domain,
        bus: narrow(hex(bus, 2, 2)?, u8::MAX)?,
        device: narrow(hex(device, 2, 2)?, DEVICE_MAX)?,
        function: narrow(hex(function, 1, 1)?, FUNCTION_MAX)?,
    })
}

fn hex(text: &str, digits_min: usize, digits_max: usize) -> Option<u32> {
    let digits = text.len();
    let plain = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    (plain && (digits_min..=digits_max).contains(&digits))
        .then(|| u32::from_str_radix(text, 16).ok())
        .flatten()
}

impl fmt::Display for PciAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            domain,
            bus,
            device,
            function,
        } = self;
        write!(formatter, "{domain:04x}:{bus:02x}:{device:02x}.{function}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_as_the_kernel_names_them() {
        for (text, shown) in [
            ("0000:00:06.0", "0000:00:06.0"),
            ("3b:00.1", "0000:3b:00.1"),
            ("10000:E1:1f.7", "10000:e1:1f.7"),
        ] {
            let address: PciAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(shown.parse(), Ok(address));
            assert!(address.sysfs().ends_with(shown));
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "0",
            "06.0",
            "0000:00:06",
            "0000:00:20.0",
            "0000:00:06.8",
            "0000:0:06.0",
            "000:00:06.0",
            "0000:00:06.0 ",
            "0000:00:+6.0",
            "0000:00:06.0/..",
            "g000:00:06.0",
            "100000000:00:06.0",
            "::.",
            "0000:00:06.00",
        ] {
            assert!(text.parse::<PciAddress>().is_err(), "{text:?}");
        }
    }
}
