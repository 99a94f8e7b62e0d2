//! Kernels of cards, which images bring into slots: what each serves of what callers ask for.
//!
//! Invariant: every job that a card takes is one kernel's. It knows no tenant, no image and no slot.

use faam_codec::Level;
use faam_image::Serves;

use crate::job::CARD_LEVEL_MAX;

/// The highest level that the fixed code serves: card level fast.
const FAST_LEVEL_MAX: u8 = 2;

/// A kernel of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CardKernel {
    /// Compression with the fixed code.
    DeflateFast,
    /// Compression with loaded tables.
    DeflateTables,
    /// Decompression.
    Inflate,
}

impl CardKernel {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::DeflateFast, Self::DeflateTables, Self::Inflate];

    /// Its name, which its images have.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::DeflateFast => "deflate-fast",
            Self::DeflateTables => "deflate-tables",
            Self::Inflate => "inflate",
        }
    }

    /// The one that compresses at a level, if a card does at all.
    #[must_use]
    pub const fn of_level(level: Level) -> Option<Self> {
        let level = level.get();
        if level <= FAST_LEVEL_MAX {
            Some(Self::DeflateFast)
        } else if level <= CARD_LEVEL_MAX {
            Some(Self::DeflateTables)
        } else {
            None
        }
    }

    /// The one of what an image serves.
    #[must_use]
    pub const fn of(serves: Serves) -> Self {
        match serves {
            Serves::Fast => Self::DeflateFast,
            Serves::Tables => Self::DeflateTables,
            Serves::Inflate => Self::Inflate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_is_one_kernels() {
        let of = |level| CardKernel::of_level(Level::new(level).expect("a level"));
        assert_eq!(of(1), Some(CardKernel::DeflateFast));
        assert_eq!(of(2), Some(CardKernel::DeflateFast));
        assert_eq!(of(3), Some(CardKernel::DeflateTables));
        assert_eq!(of(CARD_LEVEL_MAX), Some(CardKernel::DeflateTables));
        assert_eq!(of(CARD_LEVEL_MAX + 1), None);
        assert_eq!(Serves::ALL.map(CardKernel::of), CardKernel::ALL);
    }
}
