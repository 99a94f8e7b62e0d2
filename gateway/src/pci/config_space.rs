//! Extended capabilities in a function's configuration space.
//!
//! Invariant: the bytes are a device's, so that every offset is checked and the walk is bounded. Offsets and bits are of PCI
//! Express Base 6.0: 7.6.3 (the list), 7.7.11 (ACS), 7.8.9 (PASID), 10.5.1 (ATS), 7.5.3.3 (device capabilities).

/// Bytes that anybody may read.
const HEADER: usize = 0x40;
/// Where extended capabilities begin.
const EXTENDED: usize = 0x100;
/// Capabilities that fit: each has 4 bytes at least.
const CAPABILITIES_MAX: usize = (4096 - EXTENDED) / 4;
/// Capabilities of the first 256 bytes.
const OLD_CAPABILITIES_MAX: usize = 48;
const ACS: u16 = 0x000D;
const ATS: u16 = 0x000F;
const PASID: u16 = 0x001B;
/// PCI Express capability, in the old list.
const EXPRESS: u8 = 0x10;
/// Source validation, request and completion redirect, upstream forwarding: what keeps a function's writes from its
/// neighbours.
const ACS_ISOLATES: u16 = 0b1_1101;

/// Configuration space, or its first bytes.
pub(crate) struct ConfigSpace(Vec<u8>);

/// Something that can be on, off or not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feature {
    /// The function has no such capability.
    Absent,
    Off,
    On,
}

impl ConfigSpace {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Whether this user sees its first bytes alone: without root rights the kernel shows 64. A function with 256 has no
    /// extended capabilities.
    pub(crate) fn is_cut(&self) -> bool {
        self.0.len() <= HEADER
    }

    /// Address translation services.
    pub(crate) fn ats(&self) -> Feature {
        self.feature(ATS, |at| Some(self.u16(at + 6)? & (1 << 15) != 0))
    }

    /// Process address space ids.
    pub(crate) fn pasid(&self) -> Feature {
        self.feature(PASID, |at| Some(self.u16(at + 6)? & 1 != 0))
    }

    /// Access control services, all that isolate.
    pub(crate) fn acs(&self) -> Feature {
        self.feature(ACS, |at| {
            Some(self.u16(at + 6)? & ACS_ISOLATES == ACS_ISOLATES)
        })
    }

    /// Whether the function says that it can be reset by itself (FLR); `None` where it has no PCI Express capability.
    pub(crate) fn can_reset_itself(&self) -> Option<bool> {
        let mut at = usize::from(*self.0.get(0x34)? & !3);
        for _ in 0..OLD_CAPABILITIES_MAX {
            if at < 0x40 {
                return None;
            }
            if *self.0.get(at)? == EXPRESS {
                return Some(self.u16(at + 6)? & (1 << 12) != 0);
            }
            at = usize::from(*self.0.get(at + 1)? & !3);
        }
        None
    }

    fn feature(&self, id: u16, on: impl Fn(usize) -> Option<bool>) -> Feature {
        match self.extended(id).and_then(on) {
            None => Feature::Absent,
            Some(true) => Feature::On,
            Some(false) => Feature::Off,
        }
    }

    /// Where an extended capability is.
    fn extended(&self, id: u16) -> Option<usize> {
        let mut at = EXTENDED;
        for _ in 0..CAPABILITIES_MAX {
            if self.u16(at)? == id {
                return Some(at);
            }
            at = usize::from(self.u16(at + 2)? >> 4) & !3;
            if at < EXTENDED {
                return None;
            }
        }
        None
    }

    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.0.get(at..)?.first_chunk()?;
        Some(u16::from_le_bytes(*bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// ATS at 0x100, then ACS at 0x140.
    fn space(ats: u16, acs: u16) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        bytes[0x100..0x108].copy_from_slice(&[0x0F, 0, 0x01, 0x14, 0, 0, 0, 0]);
        bytes[0x106..0x108].copy_from_slice(&ats.to_le_bytes());
        bytes[0x140..0x144].copy_from_slice(&[0x0D, 0, 0x01, 0]);
        bytes[0x146..0x148].copy_from_slice(&acs.to_le_bytes());
        bytes
    }

    #[test]
    fn capabilities_are_found_and_read() {
        let off = ConfigSpace::new(space(0, 0));
        assert_eq!(
            (off.ats(), off.acs(), off.pasid()),
            (Feature::Off, Feature::Off, Feature::Absent)
        );
        let on = ConfigSpace::new(space(1 << 15, 0b1_1101));
        assert_eq!((on.ats(), on.acs()), (Feature::On, Feature::On));
        // Not every bit that isolates.
        assert_eq!(ConfigSpace::new(space(0, 0b1_1100)).acs(), Feature::Off);
        let short = ConfigSpace::new(vec![0; 64]);
        assert!(short.is_cut());
        let old = ConfigSpace::new(vec![0; 256]);
        assert!(!old.is_cut());
        assert_eq!((old.ats(), old.acs()), (Feature::Absent, Feature::Absent));
        assert_eq!(short.ats(), Feature::Absent);
    }

    #[test]
    fn a_function_says_that_it_resets_itself() {
        let mut bytes = vec![0; 256];
        assert_eq!(ConfigSpace::new(bytes.clone()).can_reset_itself(), None);
        bytes[0x34] = 0x40;
        bytes[0x40..0x42].copy_from_slice(&[0x05, 0x60]);
        bytes[0x60] = EXPRESS;
        assert_eq!(
            ConfigSpace::new(bytes.clone()).can_reset_itself(),
            Some(false)
        );
        bytes[0x67] = 1 << 4;
        assert_eq!(ConfigSpace::new(bytes).can_reset_itself(), Some(true));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let space = ConfigSpace::new(bytes);
            let _ = (space.ats(), space.acs(), space.pasid(), space.can_reset_itself());
        }
    }
}
