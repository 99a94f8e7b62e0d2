//! What a behaviour is, and the list of all.
//!
//! Owns the order, which is that of the trials and of the page. Invariant: names are unique, and the behaviour that kills
//! the card is the last.

use std::fmt;

use faam_sim::Fault;

use crate::carrier::Bench;

/// One thing that must hold of a card and the way to it.
pub(crate) struct Behaviour {
    /// `MODULE::WHAT`.
    pub(crate) name: &'static str,
    /// What must hold, in a sentence for the page.
    pub(crate) holds: &'static str,
    /// What it cannot be shown without.
    pub(crate) needs: &'static [Need],
    /// Shows it, or panics.
    pub(crate) show: fn(&Bench),
    /// What turns it red.
    pub(crate) mutation: Mutation,
}

/// A card with these faults must make the behaviour fail.
pub(crate) struct Mutation {
    pub(crate) faults: &'static [Fault],
    /// Part of what the failure must say: any other failure is not this mutation's.
    pub(crate) says: &'static str,
}

/// What a carrier, a card or the machine may lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The card's faults can be set.
    Faults,
    /// Its engines' faults can be, and what engines hold can be searched: gateware has neither.
    EngineFaults,
    /// The card has a process of its own that can be killed.
    Kill,
    /// The pool of 2 MiB pages has some.
    HugePages,
    /// An IOMMU enforces maps, rather than the device itself.
    EnforcedMaps,
    /// The limit of maps can be set low enough to be reached.
    MapLimit,
    /// FEATURES.shadow_doorbells.
    ShadowDoorbells,
    /// FEATURES.loaded_tables.
    LoadedTables,
    /// FEATURES.history.
    History,
    /// FEATURES.decompress.
    Decompress,
    /// FEATURES.abort.
    Abort,
    /// FEATURES.context_scrub.
    ContextScrub,
    /// Slots that kernels are loaded into.
    Slots,
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Faults => "no way to set the card's faults",
            Self::EngineFaults => "gateware has no faults to set, and cannot be searched",
            Self::Kill => "the card's process cannot be killed from here",
            Self::HugePages => "no 2 MiB pages in the pool",
            Self::EnforcedMaps => {
                "no IOMMU enforces maps here, so that taking them back proves nothing"
            }
            Self::MapLimit => "the limit of maps cannot be set",
            Self::ShadowDoorbells => "the card has no shadow doorbells",
            Self::LoadedTables => "the card takes no tables",
            Self::History => "the card takes no history",
            Self::Decompress => "the card does not decompress",
            Self::Abort => "the card aborts nothing",
            Self::ContextScrub => "the card does not scrub",
            Self::Slots => "the card has no slots",
        })
    }
}

/// All behaviours.
pub(crate) fn all() -> impl Iterator<Item = &'static Behaviour> {
    [
        crate::bring_up::BEHAVIOURS,
        crate::queues::BEHAVIOURS,
        crate::commands::BEHAVIOURS,
        crate::jobs::BEHAVIOURS,
        crate::interrupts::BEHAVIOURS,
        crate::maps::BEHAVIOURS,
        crate::reset::BEHAVIOURS,
        crate::isolation::BEHAVIOURS,
        crate::contexts::BEHAVIOURS,
        crate::slots::BEHAVIOURS,
        // The last of these kills the card.
        crate::end::BEHAVIOURS,
    ]
    .into_iter()
    .flatten()
}
