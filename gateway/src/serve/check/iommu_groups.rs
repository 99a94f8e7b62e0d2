//! Functions that the kernel does not hand out side by side.

use faam_driver::{TransportError, Unavailable, group_opens_once};
use faam_gateway::cards::CardSource;

use super::Finding;

/// Whether no two PCI functions, of whichever cards, share an IOMMU group; nothing where none do.
pub(super) fn iommu_groups(cards: &[CardSource]) -> Option<Finding> {
    let functions = cards.iter().flat_map(|card| match card {
        CardSource::Pci { functions } => functions.as_slice(),
        CardSource::OwnSimulated { .. } | CardSource::VfioUser { .. } => &[],
    });
    let functions: Vec<_> = functions.copied().collect();
    group_opens_once(&functions).err().map(|error| told(&error))
}

fn told(error: &TransportError) -> Finding {
    let found = match error {
        TransportError::Unavailable {
            address,
            reason: Unavailable::GroupOpensOnce { other },
        } => format!(
            "devices: pci:{address} is in one IOMMU group with pci:{other}, and a group opens once only"
        ),
        error => format!("devices: {error}"),
    };
    Finding::failed(
        found,
        "switch ACS on in the firmware's setup, or move the card to a slot that has it; or name one of the functions only",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::check::Verdict;

    #[test]
    fn the_functions_that_clash_are_named() {
        let address = |text: &str| text.parse().expect("an address");
        let finding = told(&TransportError::Unavailable {
            address: address("0000:03:00.1"),
            reason: Unavailable::GroupOpensOnce {
                other: address("0000:03:00.0"),
            },
        });
        assert_eq!(finding.verdict, Verdict::Failed);
        for word in ["pci:0000:03:00.0", "pci:0000:03:00.1", "opens once"] {
            assert!(finding.what.contains(word), "{finding:?}");
        }
        assert!(finding.mend.contains("ACS"), "{finding:?}");
    }

    #[test]
    fn functions_that_are_not_there_do_not_clash() {
        let address = |text: &str| text.parse().expect("an address");
        let cards = [CardSource::Pci {
            functions: vec![address("0000:ff:1f.6"), address("0000:ff:1f.7")],
        }];
        assert!(iommu_groups(&cards).is_none());
    }
}
