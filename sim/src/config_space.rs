//! PCI configuration space of a function: 4 KiB, with the capabilities that a driver and a kernel look for.
//!
//! Owns the bytes and which of their bits software can change. Invariant: a bit outside the write mask never changes
//! but by reset. It does not act on what is written: [`ConfigSpace::write`] says what changed, and the function acts.
//!
//! Sources: PCI Local Bus 3.0, section 6 (header, MSI-X); PCI Express Base 4.0, section 7.5 (capabilities, FLR);
//! PCI Power Management 1.2, section 3.

use faam_hwif::pci;
use faam_hwif::regs::BAR0_BYTES;

/// Size of the space, bytes.
pub(crate) const CONFIG_BYTES: usize = 4096;

const COMMAND: usize = 0x04;
const COMMAND_MEMORY: u8 = 1 << 1;
const COMMAND_BUS_MASTER: u8 = 1 << 2;
const STATUS: usize = 0x06;
/// Status bit 4: there is a capability list.
const STATUS_CAPABILITIES: u8 = 1 << 4;
const BAR0: usize = 0x10;
const CAPABILITIES_POINTER: usize = 0x34;

/// Power management capability, 8 bytes.
const PM: usize = 0x40;
const PM_ID: u8 = 0x01;
const PMCSR: usize = PM + 4;
const PMCSR_STATE: u8 = 0b11;
const PMCSR_STATE_D0: u8 = 0b00;
const PMCSR_STATE_D3_HOT: u8 = 0b11;
/// PMCSR bit 3: going from D3hot to D0 keeps the state.
const PMCSR_NO_SOFT_RESET: u8 = 1 << 3;

/// MSI-X capability, 12 bytes.
const MSIX: usize = 0x50;
const MSIX_ID: u8 = 0x11;
const MSIX_CONTROL_HIGH: usize = MSIX + 3;
const MSIX_ENABLE: u8 = 1 << 7;
const MSIX_FUNCTION_MASK: u8 = 1 << 6;

/// PCI Express capability, version 2, 60 bytes.
const EXPRESS: usize = 0x60;
const EXPRESS_ID: u8 = 0x10;
/// Device capabilities, bit 28: function-level reset.
const DEVICE_CAP_FLR: u32 = 1 << 28;
/// Device capabilities, bit 15: role-based error reporting, which every device since PCIe 1.1 has.
const DEVICE_CAP_ROLE_BASED: u32 = 1 << 15;
const DEVICE_CONTROL: usize = EXPRESS + 8;
/// Device control, bit 15, in its high byte: initiate FLR. Reads as 0.
const DEVICE_CONTROL_FLR: u8 = 1 << 7;

/// What a write, or a reset, set in motion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfigChange {
    /// Initiate FLR was written as 1.
    pub(crate) function_level_reset: bool,
}

/// The space.
#[derive(Clone, Debug)]
pub(crate) struct ConfigSpace {
    bytes: Box<[u8; CONFIG_BYTES]>,
    writable: Box<[u8; CONFIG_BYTES]>,
}

impl ConfigSpace {
    /// As after power-on. All functions look alike.
    pub(crate) fn new() -> Self {
        let mut space = Self {
            bytes: Box::new([0; CONFIG_BYTES]),
            writable: Box::new([0; CONFIG_BYTES]),
        };
        space.set(0x00, &pci::VENDOR_ID.to_le_bytes());
        space.set(0x02, &pci::DEVICE_ID.to_le_bytes());
        space.set(STATUS, &[STATUS_CAPABILITIES]);
        let class = pci::CLASS_CODE.to_le_bytes();
        space.set(0x08, &[pci::REVISION_ID, class[0], class[1], class[2]]);
        space.set(0x2C, &pci::VENDOR_ID.to_le_bytes());
        space.set(0x2E, &pci::DEVICE_ID.to_le_bytes());
        space.set(
            CAPABILITIES_POINTER,
            &[u8::try_from(PM).unwrap_or_default()],
        );
        // Memory space, bus master, parity and SERR reporting, interrupt disable. No I/O space: there is no such BAR.
        space.allow(
            COMMAND,
            &[COMMAND_MEMORY | COMMAND_BUS_MASTER | 1 << 6, 0b101],
        );
        // Cache line size and interrupt line are scratch space for software.
        space.allow(0x0C, &[0xFF]);
        space.allow(0x3C, &[0xFF]);
        space.bar(pci::BAR_REGISTERS, BAR0_BYTES);
        space.bar(pci::BAR_MSIX, pci::BAR_MSIX_BYTES);

        // Version 3, D0 and D3hot alone, no PME.
        space.capability(PM, PM_ID, MSIX, &[0x03, 0x00, PMCSR_NO_SOFT_RESET, 0]);
        space.allow(PMCSR, &[PMCSR_STATE]);

        let table_size = (pci::MSIX_VECTORS - 1).to_le_bytes();
        let table = (pci::MSIX_TABLE_OFFSET | u32::from(pci::BAR_MSIX)).to_le_bytes();
        let pending = (pci::MSIX_PBA_OFFSET | u32::from(pci::BAR_MSIX)).to_le_bytes();
        let mut msix = [0; 10];
        for (place, byte) in msix
            .iter_mut()
            .zip([table_size.as_slice(), &table, &pending].concat())
        {
            *place = byte;
        }
        space.capability(MSIX, MSIX_ID, EXPRESS, &msix);
        space.allow(MSIX_CONTROL_HIGH, &[MSIX_ENABLE | MSIX_FUNCTION_MASK]);

        // Version 2, endpoint. Max payload 256 B; a link of x4 at 8 GT/s, which nothing here moves data over.
        space.capability(EXPRESS, EXPRESS_ID, 0, &[0x02, 0x00]);
        let device_cap: u32 = 1 | DEVICE_CAP_ROLE_BASED | DEVICE_CAP_FLR;
        space.set(EXPRESS + 0x04, &device_cap.to_le_bytes());
        // Error reporting, relaxed ordering, payload and read request sizes, no-snoop; FLR is handled apart.
        space.set(DEVICE_CONTROL, &0x2810u16.to_le_bytes());
        space.allow(DEVICE_CONTROL, &[0xFF, 0x78]);
        space.set(EXPRESS + 0x0C, &(3u32 | 4 << 4).to_le_bytes());
        space.allow(EXPRESS + 0x10, &[0xCB, 0x01]);
        space.set(EXPRESS + 0x12, &(3u16 | 4 << 4).to_le_bytes());
        space
    }

    /// Copies the bytes from `offset` on; beyond the end there are zeros.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) {
        for (at, byte) in (offset..).zip(into) {
            *byte = self.bytes.get(at).copied().unwrap_or(0);
        }
    }

    /// Writes the bits that may be written.
    pub(crate) fn write(&mut self, offset: usize, from: &[u8]) -> ConfigChange {
        let mut change = ConfigChange::default();
        for (at, byte) in (offset..).zip(from) {
            let (Some(old), Some(mask)) = (self.bytes.get_mut(at), self.writable.get(at)) else {
                break;
            };
            let new = (*old & !mask) | (byte & mask);
            // A power state that the function does not have is written without effect (PCI Power Management 1.2,
            // section 3.2.4): what reads back is the state that it is in.
            let state = new & PMCSR_STATE;
            if at == PMCSR && state != PMCSR_STATE_D0 && state != PMCSR_STATE_D3_HOT {
                continue;
            }
            *old = new;
            change.function_level_reset |=
                at == DEVICE_CONTROL + 1 && byte & DEVICE_CONTROL_FLR != 0;
        }
        change
    }

    /// Takes the capability of function-level reset out of bytes that were read from `offset` on: for a fault.
    pub(crate) fn hide_function_level_reset(offset: usize, bytes: &mut [u8]) {
        let [.., high] = DEVICE_CAP_FLR.to_le_bytes();
        let place = (EXPRESS + 0x07).checked_sub(offset);
        if let Some(byte) = place.and_then(|place| bytes.get_mut(place)) {
            *byte &= !high;
        }
    }

    /// Back to power-on, as a function-level reset leaves it (PCIe Base 4.0, section 6.6.2).
    pub(crate) fn reset(&mut self) {
        *self = Self::new();
    }

    /// Whether the function answers to its BARs.
    pub(crate) fn memory_space(&self) -> bool {
        self.byte(COMMAND) & COMMAND_MEMORY != 0 && self.in_d0()
    }

    /// Whether the function may access memory.
    pub(crate) fn bus_master(&self) -> bool {
        self.byte(COMMAND) & COMMAND_BUS_MASTER != 0 && self.in_d0()
    }

    /// Takes over from `other` what decides on bus mastering, and leaves the rest.
    pub(crate) fn keep_bus_master_of(&mut self, other: &Self) {
        for (at, bits) in [(COMMAND, COMMAND_BUS_MASTER), (PMCSR, PMCSR_STATE)] {
            let kept = self.byte(at) & !bits | other.byte(at) & bits;
            self.set(at, &[kept]);
        }
    }

    /// Sets COMMAND.bus_master, for a fault. The power state is left alone: who stands between would lose track of it.
    pub(crate) fn keep_command_bus_master(&mut self) {
        self.set(COMMAND, &[self.byte(COMMAND) | COMMAND_BUS_MASTER]);
    }

    /// Whether all vectors are masked.
    pub(crate) fn msix_function_mask(&self) -> bool {
        self.byte(MSIX_CONTROL_HIGH) & (MSIX_ENABLE | MSIX_FUNCTION_MASK)
            == MSIX_ENABLE | MSIX_FUNCTION_MASK
    }

    fn in_d0(&self) -> bool {
        self.byte(PMCSR) & PMCSR_STATE != PMCSR_STATE_D3_HOT
    }

    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(0)
    }

    fn set(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    fn allow(&mut self, at: usize, mask: &[u8]) {
        if let Some(place) = self.writable.get_mut(at..at + mask.len()) {
            place.copy_from_slice(mask);
        }
    }

    /// A 32-bit, non-prefetchable memory BAR: the address bits below its size are read-only zeros, which is how software sizes it.
    fn bar(&mut self, index: u8, bytes: u32) {
        self.allow(BAR0 + usize::from(index) * 4, &(!(bytes - 1)).to_le_bytes());
    }

    fn capability(&mut self, at: usize, id: u8, next: usize, body: &[u8]) {
        self.set(at, &[id, u8::try_from(next).unwrap_or_default()]);
        self.set(at + 2, body);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn u32_at(space: &ConfigSpace, at: usize) -> u32 {
        let mut bytes = [0; 4];
        space.read(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn bars_are_sized_by_writing_all_ones() {
        let mut space = ConfigSpace::new();
        for (bar, bytes) in [(0, BAR0_BYTES), (1, 0), (2, 0x2000), (3, 0), (5, 0)] {
            space.write(BAR0 + bar * 4, &[0xFF; 4]);
            let mask = u32_at(&space, BAR0 + bar * 4);
            assert_eq!(mask.wrapping_neg(), bytes, "BAR{bar}");
        }
    }

    #[test]
    fn the_capability_list_is_walked_to_its_end() {
        let space = ConfigSpace::new();
        let mut found = Vec::new();
        let mut at = usize::from(space.byte(CAPABILITIES_POINTER));
        while at != 0 && found.len() < 48 {
            found.push(space.byte(at));
            at = usize::from(space.byte(at + 1));
        }
        assert_eq!(found, [PM_ID, MSIX_ID, EXPRESS_ID]);
        assert_eq!(
            u32_at(&space, MSIX) >> 16 & 0x7FF,
            u32::from(pci::MSIX_VECTORS) - 1
        );
        assert_eq!(u32_at(&space, MSIX + 4), 2);
        assert_eq!(u32_at(&space, MSIX + 8), 0x1002);
        assert_eq!(u32_at(&space, EXPRESS + 4) & DEVICE_CAP_FLR, DEVICE_CAP_FLR);
    }

    #[test]
    fn initiate_flr_is_seen_and_reads_as_zero() {
        let mut space = ConfigSpace::new();
        let change = space.write(DEVICE_CONTROL, &0xA810u16.to_le_bytes());
        assert!(change.function_level_reset);
        assert_eq!(u32_at(&space, DEVICE_CONTROL) & 0xFFFF, 0x2810);
        assert!(
            !space
                .write(DEVICE_CONTROL, &0x2810u16.to_le_bytes())
                .function_level_reset
        );
    }

    #[test]
    fn d3_turns_memory_and_bus_mastering_off() {
        let mut space = ConfigSpace::new();
        space.write(COMMAND, &[0x06, 0]);
        assert!(space.memory_space() && space.bus_master());
        space.write(PMCSR, &[3]);
        assert!(!space.memory_space() && !space.bus_master());
        space.write(PMCSR, &[0]);
        assert!(space.memory_space() && space.bus_master());
    }

    #[test]
    fn a_power_state_that_there_is_not_is_written_without_effect() {
        let mut space = ConfigSpace::new();
        for state in [0, 3] {
            space.write(PMCSR, &[state]);
            for missing in [1, 2] {
                space.write(PMCSR, &[missing]);
                assert_eq!(space.byte(PMCSR) & PMCSR_STATE, state, "D{missing}");
            }
        }
    }

    proptest! {
        #[test]
        fn read_only_bits_stay(writes in proptest::collection::vec((0usize..4200, proptest::collection::vec(any::<u8>(), 1..9)), 0..64)) {
            let fresh = ConfigSpace::new();
            let mut space = fresh.clone();
            for (at, bytes) in &writes {
                space.write(*at, bytes);
            }
            for at in 0..CONFIG_BYTES {
                let mask = space.writable[at];
                prop_assert_eq!(space.bytes[at] & !mask, fresh.bytes[at] & !mask, "at {:#x}", at);
            }
            space.reset();
            prop_assert_eq!(space.bytes, fresh.bytes);
        }
    }
}
