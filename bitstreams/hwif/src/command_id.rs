//! Command ids: a slot of the host's command table and the slot's generation.
//!
//! The generation changes at each use of the slot, so that a late or repeated
//! completion of an earlier command is told from the present one's.

/// Identifies an outstanding command: slot in bits 9:0, generation in bits 15:10.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CommandId(pub u16);

impl CommandId {
    /// Bits of the slot number.
    pub const SLOT_BITS: u32 = 10;
    /// Slots that an id can name.
    pub const SLOTS: u16 = 1 << Self::SLOT_BITS;
    /// Generations that an id can tell apart.
    pub const GENERATIONS: u8 = 1 << (16 - Self::SLOT_BITS);

    /// Id of `slot` (taken modulo [`Self::SLOTS`]) in `generation` (modulo [`Self::GENERATIONS`]).
    #[must_use]
    pub const fn new(slot: u16, generation: u8) -> Self {
        Self((slot % Self::SLOTS) | (((generation % Self::GENERATIONS) as u16) << Self::SLOT_BITS))
    }

    /// Slot of the command table.
    #[must_use]
    pub const fn slot(self) -> u16 {
        self.0 % Self::SLOTS
    }

    /// Use of the slot, modulo [`Self::GENERATIONS`].
    #[must_use]
    pub const fn generation(self) -> u8 {
        (self.0 >> Self::SLOT_BITS).to_le_bytes()[0]
    }
}

impl core::fmt::Debug for CommandId {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "CommandId({}.{})", self.slot(), self.generation())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_and_unpacks_every_id() {
        for bits in 0..=u16::MAX {
            let id = CommandId(bits);
            assert_eq!(CommandId::new(id.slot(), id.generation()), id);
            assert!(id.slot() < CommandId::SLOTS && id.generation() < CommandId::GENERATIONS);
        }
    }
}
