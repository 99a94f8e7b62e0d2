//! Where a function's power state is set, in its configuration space.
//!
//! Owns the walk along the capabilities. Invariant: it ends, whatever they say. It changes no state.
//!
//! Source: PCI Bus Power Management Interface 1.2, section 3.2; PCI Local Bus 3.0, section 6.7.

use super::super::{ConfigWidth, TransportError};

/// STATUS of a function, and its bit that says that there are capabilities.
const STATUS: u16 = 0x06;
const STATUS_CAPABILITIES: u32 = 1 << 4;
/// Where the first capability is named.
const FIRST: u16 = 0x34;
/// The first place that a capability can have.
const PLACE_MIN: u32 = 0x40;
/// Capabilities at most: as many as have room in 256 bytes.
const CAPABILITIES_MAX: usize = 48;
/// Number of the power management capability.
const POWER_MANAGEMENT: u32 = 0x01;
/// PMCSR in that capability: where it begins, and its bytes.
const PMCSR: u16 = 4;
const PMCSR_BYTES: u16 = 2;

/// Offset of PMCSR; `None` if the function has no power states.
///
/// # Errors
/// Those of `read`, which reads a byte.
pub(super) fn state_of(
    read: impl Fn(u16) -> Result<u32, TransportError>,
) -> Result<Option<u16>, TransportError> {
    if read(STATUS)? & STATUS_CAPABILITIES == 0 {
        return Ok(None);
    }
    let mut at = FIRST;
    for _ in 0..CAPABILITIES_MAX {
        // The two low bits are reserved.
        let place = read(at)? & 0xFC;
        let Some(place) = u16::try_from(place).ok().filter(|_| place >= PLACE_MIN) else {
            return Ok(None);
        };
        if read(place)? == POWER_MANAGEMENT {
            return Ok(Some(place + PMCSR));
        }
        at = place + 1;
    }
    Ok(None)
}

/// Whether an access touches PMCSR at `state`.
pub(super) fn touches(state: u16, offset: u16, width: ConfigWidth) -> bool {
    let (offset, state) = (u32::from(offset), u32::from(state));
    offset < state + u32::from(PMCSR_BYTES) && state < offset + width.bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(capabilities: &[(u8, u8, u8)]) -> [u8; 256] {
        let mut space = [0; 256];
        space[usize::from(STATUS)] = 1 << 4;
        space[usize::from(FIRST)] = capabilities.first().map_or(0, |(place, ..)| *place);
        for (place, id, next) in capabilities {
            space[usize::from(*place)] = *id;
            space[usize::from(*place) + 1] = *next;
        }
        space
    }

    fn found(space: &[u8; 256]) -> Option<u16> {
        state_of(|offset| Ok(u32::from(space[usize::from(offset)]))).unwrap()
    }

    #[test]
    fn the_power_state_is_found_behind_other_capabilities() {
        let it = space(&[(0x40, 0x11, 0x61), (0x60, 0x10, 0x80), (0x80, 0x01, 0)]);
        assert_eq!(found(&it), Some(0x84));
        let mut without = it;
        without[usize::from(STATUS)] = 0;
        assert_eq!(found(&without), None, "STATUS says that there are none");
        assert_eq!(found(&space(&[(0x40, 0x11, 0)])), None);
    }

    #[test]
    fn capabilities_that_lead_nowhere_end() {
        assert_eq!(found(&space(&[(0x40, 0x11, 0x40)])), None, "a circle");
        assert_eq!(found(&space(&[(0x40, 0x11, 0x04)])), None, "the header");
        assert_eq!(found(&[0xFF; 256]), None, "a function that is gone");
    }

    #[test]
    fn every_access_that_overlaps_it_touches_it() {
        for (offset, width, touched) in [
            (0x83, ConfigWidth::U8, false),
            (0x83, ConfigWidth::U16, true),
            (0x82, ConfigWidth::U16, false),
            (0x80, ConfigWidth::U32, false),
            (0x84, ConfigWidth::U8, true),
            (0x85, ConfigWidth::U8, true),
            (0x84, ConfigWidth::U32, true),
            (0x86, ConfigWidth::U16, false),
        ] {
            assert_eq!(touches(0x84, offset, width), touched, "{offset:#x}");
        }
    }
}
