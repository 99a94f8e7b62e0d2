//! `--devices`: the cards that a gateway is started with, as an operator names them.
//!
//! Owns the words and their meaning as [`CardSource`]s. It does not know whether a card is there.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use faam_driver::PciAddress;
use faam_gateway::cards::{CardSource, SimulatedFaults, SimulatedSlots};
use faam_sim::{FaultRule, Model};

/// Most cards that `--devices sim:CARDS` starts.
pub(crate) const SIMULATED_CARDS_MAX: u8 = 8;

/// One `--devices`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Devices {
    /// The CPU engines alone.
    None,
    /// So many simulated cards of our own.
    Simulated(u8),
    /// A card behind the sockets in this directory.
    VfioUser(PathBuf),
    /// Functions of a PCI card, bound to vfio-pci.
    Pci(Vec<PciAddress>),
}

/// What every simulated card of our own is started with.
#[derive(Clone, Debug)]
pub(crate) struct SimulatedCard {
    /// What is inside.
    pub(crate) model: Model,
    /// Engines a function.
    pub(crate) engines: u8,
    /// Clock to keep.
    pub(crate) pace_mhz: Option<u32>,
    /// What its slots hold at its start.
    pub(crate) slots: SimulatedSlots,
    /// How it is to fail.
    pub(crate) faults: CardFaults,
}

/// How simulated cards are to fail.
#[derive(Clone, Debug, Default)]
pub(crate) struct CardFaults {
    /// `--allow-faults`: no file says it.
    pub(crate) allowed: bool,
    /// A file of rules.
    pub(crate) file: Option<PathBuf>,
    /// Rules.
    pub(crate) rules: Vec<FaultRule>,
}

impl SimulatedCard {
    /// Whether this build has such cards.
    fn check(&self) -> Result<(), String> {
        let mut options = faam_sim::Options::new("");
        options.model = self.model;
        options.engines = self.engines;
        options.pace_mhz = self.pace_mhz;
        options
            .check()
            .map_err(|error| format!("sim_model {}: {error}", self.model))
    }
}

impl Devices {
    /// The cards of a list; an empty one means the default.
    ///
    /// # Errors
    /// `none` beside others; simulated cards that this build does not have.
    pub(crate) fn cards(
        list: &[Self],
        simulated: &SimulatedCard,
    ) -> Result<Vec<CardSource>, String> {
        if list.len() > 1 && list.contains(&Self::None) {
            return Err(
                "devices: none stands alone: leave it out, or leave the other devices out".into(),
            );
        }
        if simulated.model != Model::Functional
            && list
                .iter()
                .any(|devices| matches!(devices, Self::Simulated(_)))
        {
            simulated.check()?;
        }
        let own = || CardSource::OwnSimulated {
            model: simulated.model,
            engines: simulated.engines,
            pace_mhz: simulated.pace_mhz,
            slots: simulated.slots,
            faults: SimulatedFaults {
                allowed: simulated.faults.allowed,
                file: simulated.faults.file.clone(),
                rules: simulated
                    .faults
                    .rules
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
            },
        };
        let cards = list.iter().flat_map(|devices| match devices {
            Self::None => Vec::new(),
            Self::Simulated(cards) => vec![own(); usize::from(*cards)],
            Self::VfioUser(dir) => vec![CardSource::VfioUser { dir: dir.clone() }],
            Self::Pci(functions) => vec![CardSource::Pci {
                functions: functions.clone(),
            }],
        });
        Ok(cards.collect())
    }
}

impl FromStr for Devices {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || {
            format!(
                "expected sim, sim:CARDS with 1 to {SIMULATED_CARDS_MAX} cards, pci:ADDRESS or pci:ADDRESS+ADDRESS such as \
                 pci:0000:3b:00.0+0000:3b:00.1, vfio-user:DIR or none, got {text:?}"
            )
        };
        match text.split_once(':') {
            None if text == "none" => Ok(Self::None),
            None if text == "sim" => Ok(Self::Simulated(1)),
            Some(("sim", cards)) => {
                let cards = cards
                    .parse()
                    .ok()
                    .filter(|cards| (1..=SIMULATED_CARDS_MAX).contains(cards));
                cards.map(Self::Simulated).ok_or_else(expected)
            }
            Some(("vfio-user", dir)) if !dir.is_empty() => Ok(Self::VfioUser(dir.into())),
            Some(("pci", functions)) => pci(functions).map(Self::Pci).ok_or_else(expected),
            _ => Err(expected()),
        }
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => formatter.write_str("none"),
            Self::Simulated(1) => formatter.write_str("sim"),
            Self::Simulated(cards) => write!(formatter, "sim:{cards}"),
            Self::VfioUser(dir) => write!(formatter, "vfio-user:{}", dir.display()),
            Self::Pci(functions) => {
                let functions: Vec<_> = functions.iter().map(PciAddress::to_string).collect();
                write!(formatter, "pci:{}", functions.join("+"))
            }
        }
    }
}

/// The functions of one card: no more than a card has, none twice.
fn pci(text: &str) -> Option<Vec<PciAddress>> {
    let functions: Vec<PciAddress> = text
        .split('+')
        .take(usize::from(faam_hwif::FUNCTIONS) + 1)
        .map(|address| address.parse().ok())
        .collect::<Option<_>>()?;
    let mut distinct = functions.clone();
    distinct.sort_unstable();
    distinct.dedup();
    let fits = functions.len() <= usize::from(faam_hwif::FUNCTIONS);
    (fits && distinct.len() == functions.len()).then_some(functions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_shown_as_they_are_read() {
        for word in [
            "none",
            "sim",
            "sim:3",
            "vfio-user:/run/card",
            "pci:0000:00:06.0",
            "pci:0000:3b:00.0+0000:3b:00.1",
        ] {
            let devices: Devices = word.parse().expect(word);
            assert_eq!(devices.to_string(), word);
        }
        for bad in [
            "sim:0",
            "sim:9",
            "sim:x",
            "gpu",
            "vfio-user:",
            "vfio-user",
            "pci",
            "pci:",
            "pci:06",
            "pci:00:06.0+00:06.0",
            "pci:00:06.0+00:06.1+00:06.2",
        ] {
            let error = bad.parse::<Devices>().expect_err(bad);
            assert!(error.contains("vfio-user:DIR"), "{error}");
        }
    }
}
