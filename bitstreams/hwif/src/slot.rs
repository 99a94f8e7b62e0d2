//! Slots: reconfigurable regions of a function, what each holds, and what is loaded into one.
//!
//! Owns a slot's registers, its states, the bit set of what a kernel does, and the head of the payload that a
//! simulated card's slot takes. Invariant: foreign bytes become a [`SlotPayload`] only whole and of this version;
//! whether it fits a card, and its checksum, are its reader's to compare.
//! It deliberately does not know images as files, signatures, or how long anything takes.

/// Most slots of a function.
pub const SLOTS_MAX: u8 = 16;
/// Largest payload that a slot takes, its head included, bytes.
pub const SLOT_IMAGE_BYTES_MAX: u32 = 16 << 20;
/// Length of a kernel's uuid, bytes.
pub const KERNEL_UUID_BYTES: usize = 16;

/// What a slot's kernel does: a bit for each group of commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Serves(pub u8);

impl Serves {
    /// Compress at level fast.
    pub const FAST: Self = Self(1 << 0);
    /// Compress at balanced and dense, and Count.
    pub const TABLES: Self = Self(1 << 1);
    /// Decompress.
    pub const INFLATE: Self = Self(1 << 2);
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// All that there is.
    pub const ALL: Self = Self(0b111);

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether all of `other` is in it.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether it holds nothing but what this version defines, and something.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.0 != 0 && self.0 & !Self::ALL.0 == 0
    }
}

/// What a slot is doing. Eight bits of its STATE register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SlotState {
    /// It holds nothing.
    #[default]
    Empty = 0,
    /// It waits for the jobs in it to end, and takes no more.
    Draining = 1,
    /// It is being programmed.
    Programming = 2,
    /// It is programmed, and serves jobs that name it alone.
    Programmed = 3,
    /// It serves.
    Active = 4,
    /// Programming it failed: it holds nothing.
    Failed = 5,
}

impl SlotState {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Empty,
        Self::Draining,
        Self::Programming,
        Self::Programmed,
        Self::Active,
        Self::Failed,
    ];

    /// The state of `bits`, if it is one.
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as u8 == bits)
    }

    /// Its name, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Draining => "draining",
            Self::Programming => "programming",
            Self::Programmed => "programmed",
            Self::Active => "active",
            Self::Failed => "failed",
        }
    }
}

/// Why a slot's last program command did not come to a kernel: `info` of ImageRefused and LoadFailed, and the slot's
/// REASON register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SlotReason {
    /// It did.
    #[default]
    None = 0,
    /// The payload is none: magic, version, what it serves or a length.
    Malformed = 1,
    /// Its checksum is wrong: damaged on its way.
    Damaged = 2,
    /// It is for another device.
    Idcode = 3,
    /// It is for another static region.
    Shell = 4,
    /// The configuration port reported an error.
    Port = 5,
    /// It was ended by an evict command.
    Evicted = 6,
    /// It was ended by a reset of the function.
    Reset = 7,
    /// Jobs in the slot did not end in time; the slot is as it was.
    Undrained = 8,
}

impl SlotReason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Malformed,
        Self::Damaged,
        Self::Idcode,
        Self::Shell,
        Self::Port,
        Self::Evicted,
        Self::Reset,
        Self::Undrained,
    ];

    /// The reason of `bits`, if it is one.
    #[must_use]
    pub fn from_bits(bits: u32) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|reason| u32::from(*reason as u8) == bits)
    }
}

/// Byte offset of a register among those of its slot, which begin at SLOTS.BASE + slot * SLOTS.STRIDE. All are read-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SlotRegister {
    /// [`SlotState`] in bits 7:0.
    State = 0x00,
    /// [`Serves`] in bits 7:0; zero where there is no kernel.
    Serves = 0x04,
    /// Kernel uuid, bytes 0-3; zeros where there is no kernel.
    KernelUuid0 = 0x08,
    /// Bytes 4-7.
    KernelUuid1 = 0x0C,
    /// Bytes 8-11.
    KernelUuid2 = 0x10,
    /// Bytes 12-15.
    KernelUuid3 = 0x14,
    /// Changes of the slot since power-on: what was read between two equal values belongs together. Never all-ones.
    Generation = 0x18,
    /// [`SlotReason`] in bits 7:0.
    Reason = 0x1C,
}

/// Bytes of a slot that are used.
pub const SLOT_REGISTERS_BYTES: u32 = 0x20;

/// What a simulated card's slot takes: a head of [`SlotPayload::HEAD_BYTES`], and a bitstream behind it, which may be
/// any bytes.
///
/// ```text
/// 00 magic "FaaMSLOT"   08 version u16   0A serves u8   0B zero
/// 0C idcode u32   10 shell u32   14 bitstream_bytes u32   18 kernel uuid [16]
/// 28 crc32 u32 of bytes 00..28 and the bitstream   2C zero u32   30 bitstream
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotPayload {
    /// What the kernel does.
    pub serves: Serves,
    /// Device that it is for.
    pub idcode: u32,
    /// Static region that it is for.
    pub shell: u32,
    /// Length of the bitstream.
    pub bitstream_bytes: u32,
    /// The kernel.
    pub kernel_uuid: [u8; KERNEL_UUID_BYTES],
    /// CRC-32 (IEEE 802.3) of the head up to it and of the bitstream.
    pub crc32: u32,
}

impl SlotPayload {
    /// First bytes of a payload.
    pub const MAGIC: [u8; 8] = *b"FaaMSLOT";
    /// Version of the head.
    pub const VERSION: u16 = 1;
    /// Length of the head, bytes.
    pub const HEAD_BYTES: usize = 0x30;
    /// Bytes of the head that the checksum covers.
    pub const CHECKED_BYTES: usize = 0x28;

    /// The head as it lies in front of the bitstream.
    #[must_use]
    pub fn head(&self) -> [u8; Self::HEAD_BYTES] {
        let mut out = [0; Self::HEAD_BYTES];
        let parts: [&[u8]; 9] = [
            &Self::MAGIC,
            &Self::VERSION.to_le_bytes(),
            &[self.serves.0, 0],
            &self.idcode.to_le_bytes(),
            &self.shell.to_le_bytes(),
            &self.bitstream_bytes.to_le_bytes(),
            &self.kernel_uuid,
            &self.crc32.to_le_bytes(),
            &[0; 4],
        ];
        let mut at = 0;
        for part in parts {
            if let Some(place) = out.get_mut(at..at + part.len()) {
                place.copy_from_slice(part);
            }
            at += part.len();
        }
        out
    }

    /// The head of a whole payload.
    ///
    /// # Errors
    /// [`SlotReason::Malformed`]; the checksum is not looked at.
    pub fn decode(payload: &[u8]) -> Result<Self, SlotReason> {
        let head: &[u8; Self::HEAD_BYTES] = payload.first_chunk().ok_or(SlotReason::Malformed)?;
        let mut rest: &[u8] = head;
        let magic: [u8; 8] = take(&mut rest);
        let version = u16::from_le_bytes(take(&mut rest));
        let [serves, zero] = take(&mut rest);
        let decoded = Self {
            serves: Serves(serves),
            idcode: u32::from_le_bytes(take(&mut rest)),
            shell: u32::from_le_bytes(take(&mut rest)),
            bitstream_bytes: u32::from_le_bytes(take(&mut rest)),
            kernel_uuid: take(&mut rest),
            crc32: u32::from_le_bytes(take(&mut rest)),
        };
        let last = u32::from_le_bytes(take(&mut rest));
        let behind = u32::try_from(payload.len() - Self::HEAD_BYTES);
        let whole = behind == Ok(decoded.bitstream_bytes)
            && u32::try_from(payload.len()).is_ok_and(|bytes| bytes <= SLOT_IMAGE_BYTES_MAX);
        if magic == Self::MAGIC
            && version == Self::VERSION
            && zero == 0
            && last == 0
            && decoded.serves.is_known()
            && whole
        {
            return Ok(decoded);
        }
        Err(SlotReason::Malformed)
    }
}

/// Takes a fixed-size piece off the front; zeros past the end.
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    match rest.split_first_chunk::<N>() {
        Some((piece, after)) => {
            *rest = after;
            *piece
        }
        None => [0; N],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    fn payload(head: &SlotPayload, bitstream: &[u8]) -> Vec<u8> {
        let mut bytes = head.head().to_vec();
        bytes.extend_from_slice(bitstream);
        bytes
    }

    #[test]
    fn states_and_reasons_have_bits_of_their_own() {
        for state in SlotState::ALL {
            assert_eq!(SlotState::from_bits(state as u8), Some(state));
        }
        for reason in SlotReason::ALL {
            assert_eq!(SlotReason::from_bits(u32::from(reason as u8)), Some(reason));
        }
        assert_eq!(SlotState::from_bits(0xFF), None);
        assert_eq!(SlotReason::from_bits(u32::MAX), None);
    }

    proptest! {
        #[test]
        fn a_payload_survives_the_round_trip(serves in 1u8..8, words: [u32; 3], uuid: [u8; 16], bitstream: Vec<u8>) {
            let head = SlotPayload {
                serves: Serves(serves),
                idcode: words[0],
                shell: words[1],
                bitstream_bytes: u32::try_from(bitstream.len()).unwrap(),
                kernel_uuid: uuid,
                crc32: words[2],
            };
            let bytes = payload(&head, &bitstream);
            prop_assert_eq!(SlotPayload::decode(&bytes), Ok(head));
            prop_assert_eq!(SlotPayload::decode(&bytes[..bytes.len() - 1]), Err(SlotReason::Malformed));
        }

        #[test]
        fn any_other_bytes_are_refused(bytes: Vec<u8>) {
            prop_assume!(!bytes.starts_with(&SlotPayload::MAGIC));
            prop_assert_eq!(SlotPayload::decode(&bytes), Err(SlotReason::Malformed));
        }
    }
}
