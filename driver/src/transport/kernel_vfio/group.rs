//! Which functions the kernel can hand out side by side.
//!
//! Owns the comparison of IOMMU groups. A group's file in /dev/vfio opens once (Linux, Documentation/driver-api/vfio.rst),
//! and each function here has a container of its own, and so opens its group's: of functions that share a group one can be
//! opened, and no more. It opens nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::super::{TransportError, Unavailable};
use super::device::link_name;
use crate::pci_address::PciAddress;

/// Whether all of these functions can be opened at a time, as far as their groups go.
///
/// # Errors
/// [`TransportError::Unavailable`] with [`Unavailable::GroupOpensOnce`]: the first that shares its group with one before
/// it. One without a group is passed over: opening it says why.
pub fn group_opens_once(addresses: &[PciAddress]) -> Result<(), TransportError> {
    opens_once(addresses, PciAddress::sysfs)
}

fn opens_once(
    addresses: &[PciAddress],
    directory: impl Fn(&PciAddress) -> PathBuf,
) -> Result<(), TransportError> {
    let mut groups = BTreeMap::new();
    for address in addresses {
        let Some(group) = link_name(&directory(address).join("iommu_group")) else {
            continue;
        };
        if let Some(other) = groups.insert(group, *address) {
            return Err(TransportError::Unavailable {
                address: *address,
                reason: Unavailable::GroupOpensOnce { other },
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn of_a_group_one_function_can_be_opened() {
        let sysfs = tempfile::tempdir().unwrap();
        let put = |text: &str, group: Option<&str>| -> PciAddress {
            let address: PciAddress = text.parse().unwrap();
            let directory = sysfs.path().join(address.to_string());
            std::fs::create_dir(&directory).unwrap();
            if let Some(group) = group {
                let target = format!("../../kernel/iommu_groups/{group}");
                symlink(target, directory.join("iommu_group")).unwrap();
            }
            address
        };
        let alone = put("0000:03:00.0", Some("7"));
        let pair = [
            put("0000:04:00.0", Some("8")),
            put("0000:04:00.1", Some("8")),
        ];
        let without = [put("0000:05:00.0", None), put("0000:05:00.1", None)];
        let check = |addresses: &[PciAddress]| {
            opens_once(addresses, |address| sysfs.path().join(address.to_string()))
        };
        assert_eq!(check(&[alone, pair[0], without[0], without[1]]), Ok(()));
        let clash = check(&[pair[0], alone, pair[1]]);
        let expected = TransportError::Unavailable {
            address: pair[1],
            reason: Unavailable::GroupOpensOnce { other: pair[0] },
        };
        assert_eq!(clash, Err(expected));
    }
}
