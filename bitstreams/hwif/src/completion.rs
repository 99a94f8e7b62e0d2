//! Completion entries: the 32 bytes by which a card says how a command ended.
//!
//! ```text
//! 00 out_len u32   04 in_len u32   08 crc32 u32   0C adler32 u32   10 cycles u32   14 info u32
//! 18 sq_head u16   1A check u16    1C cid u16   1E status u15 << 1 | phase
//! ```
//!
//! The last four bytes are one aligned u32, written last with Release and read
//! first with Acquire: who sees the phase sees the rest. `check` is
//! CRC-16/CCITT-FALSE over the other 30 bytes in order of address (the phase bit
//! as written), seeded with the queue's epoch, so that a torn, stale or random
//! entry never retires a command.

use crate::command_id::CommandId;
use crate::crc16::crc16;
use crate::queue::QueueEpoch;

/// Size of an entry, bytes.
pub const COMPLETION_BYTES: usize = 32;
/// Offset of the phase word.
pub const PHASE_WORD_OFFSET: usize = 0x1C;

/// How a command ended. 15 bits on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Status {
    /// Done.
    #[default]
    Success = 0x000,

    /// No such command on this queue.
    InvalidOpcode = 0x001,
    /// A field has a value that the command does not take; `info` = its byte offset in the entry.
    InvalidField = 0x002,
    /// A length is zero, misaligned or over its limit; `info` = its byte offset in the entry.
    InvalidLength = 0x003,
    /// No such queue.
    InvalidQueue = 0x004,
    /// The queue exists already.
    QueueExists = 0x005,
    /// The capability is absent.
    Unsupported = 0x006,
    /// The slot is being programmed or evicted already, or as many such commands wait as there can be.
    SlotBusy = 0x007,
    /// The slot is not in a state in which the command can be done; `info` = the state ([`crate::slot::SlotState`]).
    SlotState = 0x008,
    /// The downloaded image cannot go into the slot; `info` = why ([`crate::slot::SlotReason`]). Nothing was programmed.
    ImageRefused = 0x009,

    /// The result does not fit `dst_cap`. Nothing was written beyond it.
    OutputFull = 0x100,
    /// The source is not of its format; `info` = byte offset.
    CorruptInput = 0x101,
    /// The source ends before its format does.
    TruncatedInput = 0x102,
    /// The table block breaks a rule; `info` = its number (algorithm.md, section 5).
    BadTable = 0x103,
    /// The data holds a symbol that the table does not code.
    TableMiss = 0x104,

    /// Memory named by the command could not be read.
    DmaReadFault = 0x200,
    /// Memory named by the command could not be written.
    DmaWriteFault = 0x201,
    /// Ended by an abort command. Its buffers may still be in use: this completion is not a fence for other commands.
    Aborted = 0x202,
    /// Its queue was deleted first.
    QueueDeleted = 0x203,
    /// `timeout_us` ran out.
    TimedOut = 0x204,
    /// The engine failed.
    EngineFault = 0x205,
    /// No slot holds a kernel that executes the command. The function is well: others serve it.
    KernelAbsent = 0x206,
    /// Programming the slot failed; `info` = why ([`crate::slot::SlotReason`]). The other slots go on.
    LoadFailed = 0x207,
}

/// What kind of ending a status is, which decides who acts on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusClass {
    /// The work is done.
    Success,
    /// The host sent a command that the contract does not allow: a bug of ours.
    Command,
    /// The data decided it: the caller's input, or a plan (capacity, table) that did not fit it.
    Data,
    /// The card or its path failed: replay elsewhere.
    Device,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 23] = [
        Self::Success,
        Self::InvalidOpcode,
        Self::InvalidField,
        Self::InvalidLength,
        Self::InvalidQueue,
        Self::QueueExists,
        Self::Unsupported,
        Self::SlotBusy,
        Self::SlotState,
        Self::ImageRefused,
        Self::OutputFull,
        Self::CorruptInput,
        Self::TruncatedInput,
        Self::BadTable,
        Self::TableMiss,
        Self::DmaReadFault,
        Self::DmaWriteFault,
        Self::Aborted,
        Self::QueueDeleted,
        Self::TimedOut,
        Self::EngineFault,
        Self::KernelAbsent,
        Self::LoadFailed,
    ];

    /// The status of `bits`, if it is one.
    #[must_use]
    pub fn from_bits(bits: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.bits() == bits)
    }

    /// Its 15 bits.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self as u16
    }

    /// Who acts on it.
    #[must_use]
    pub const fn class(self) -> StatusClass {
        match self.bits() >> 8 {
            0 if self.bits() == 0 => StatusClass::Success,
            0 => StatusClass::Command,
            1 => StatusClass::Data,
            _ => StatusClass::Device,
        }
    }
}

/// `info` of a successful Compress: the whole job was stored (algorithm.md, stored fallback).
pub const INFO_STORED: u32 = 1;

/// One completion entry, fields as on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CompletionEntry {
    /// Bytes written to dst.
    pub out_len: u32,
    /// Bytes consumed from src.
    pub in_len: u32,
    /// CRC-32 of the uncompressed data, as the card saw it.
    pub crc32: u32,
    /// Adler-32 of the uncompressed data, as the card saw it.
    pub adler32: u32,
    /// Engine cycles that the job took.
    pub cycles: u32,
    /// What the status says it is.
    pub info: u32,
    /// Low 16 bits of the submission index up to which entries have been fetched.
    pub sq_head: u16,
    /// Check field.
    pub check: u16,
    /// [`CommandId`].
    pub cid: u16,
    /// Status in bits 15:1, phase in bit 0.
    pub status_phase: u16,
}

const _: () = assert!(size_of::<CompletionEntry>() == COMPLETION_BYTES);
const _: () = assert!(core::mem::offset_of!(CompletionEntry, in_len) == 0x04);
const _: () = assert!(core::mem::offset_of!(CompletionEntry, crc32) == 0x08);
const _: () = assert!(core::mem::offset_of!(CompletionEntry, adler32) == 0x0C);
const _: () = assert!(core::mem::offset_of!(CompletionEntry, cycles) == 0x10);
const _: () = assert!(core::mem::offset_of!(CompletionEntry, info) == 0x14);
const _: () = assert!(core::mem::offset_of!(CompletionEntry, sq_head) == 0x18);
const _: () = assert!(core::mem::offset_of!(CompletionEntry, check) == 0x1A);
const _: () = assert!(core::mem::offset_of!(CompletionEntry, cid) == PHASE_WORD_OFFSET);
const _: () = assert!(core::mem::offset_of!(CompletionEntry, status_phase) == 0x1E);

impl CompletionEntry {
    /// The same entry with status, phase and check field set: the card's last step.
    #[must_use]
    pub fn sealed(mut self, status: Status, phase: bool, epoch: QueueEpoch) -> Self {
        self.status_phase = (status.bits() << 1) | u16::from(phase);
        self.check = self.expected_check(epoch);
        self
    }

    /// The check field that the other 30 bytes call for.
    #[must_use]
    pub fn expected_check(&self, epoch: QueueEpoch) -> u16 {
        let bytes = self.to_bytes();
        let (head, rest) = bytes.split_at(0x1A);
        crc16(crc16(epoch.0, head), rest.get(2..).unwrap_or_default())
    }

    /// Whether the check field is right for a queue of this epoch.
    #[must_use]
    pub fn is_intact(&self, epoch: QueueEpoch) -> bool {
        self.check == self.expected_check(epoch)
    }

    /// Status bits, without judgement.
    #[must_use]
    pub const fn status_bits(&self) -> u16 {
        self.status_phase >> 1
    }

    /// Phase bit.
    #[must_use]
    pub const fn phase(&self) -> bool {
        self.status_phase & 1 != 0
    }

    /// Command id.
    #[must_use]
    pub const fn command_id(&self) -> CommandId {
        CommandId(self.cid)
    }

    /// Phase bit of a phase word as read from the ring.
    #[must_use]
    pub const fn phase_of_word(word: u32) -> bool {
        word & (1 << 16) != 0
    }

    /// The phase word: command id, status and phase.
    #[must_use]
    pub const fn phase_word(&self) -> u32 {
        (self.cid as u32) | ((self.status_phase as u32) << 16)
    }

    /// The entry as it lies in the ring.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; COMPLETION_BYTES] {
        let mut out = [0; COMPLETION_BYTES];
        let words = [
            self.out_len,
            self.in_len,
            self.crc32,
            self.adler32,
            self.cycles,
            self.info,
            u32::from(self.sq_head) | (u32::from(self.check) << 16),
            self.phase_word(),
        ];
        for (place, word) in out.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// The entry that these bytes hold.
    #[must_use]
    pub const fn from_bytes(b: &[u8; COMPLETION_BYTES]) -> Self {
        Self {
            out_len: u32_at(b, 0x00),
            in_len: u32_at(b, 0x04),
            crc32: u32_at(b, 0x08),
            adler32: u32_at(b, 0x0C),
            cycles: u32_at(b, 0x10),
            info: u32_at(b, 0x14),
            sq_head: u16::from_le_bytes([b[0x18], b[0x19]]),
            check: u16::from_le_bytes([b[0x1A], b[0x1B]]),
            cid: u16::from_le_bytes([b[0x1C], b[0x1D]]),
            status_phase: u16::from_le_bytes([b[0x1E], b[0x1F]]),
        }
    }
}

const fn u32_at(b: &[u8; COMPLETION_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([b[at], b[at + 1], b[at + 2], b[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn arbitrary(bytes: [u8; 32]) -> CompletionEntry {
        CompletionEntry::from_bytes(&bytes)
    }

    #[test]
    fn statuses_are_15_bits_distinct_and_classed() {
        for status in Status::ALL {
            assert!(status.bits() < 1 << 15);
            assert_eq!(Status::from_bits(status.bits()), Some(status));
        }
        assert_eq!(Status::Success.class(), StatusClass::Success);
        assert_eq!(Status::Unsupported.class(), StatusClass::Command);
        assert_eq!(Status::TableMiss.class(), StatusClass::Data);
        assert_eq!(Status::TimedOut.class(), StatusClass::Device);
        assert_eq!(Status::KernelAbsent.class(), StatusClass::Device);
        assert_eq!(Status::SlotBusy.class(), StatusClass::Command);
        assert_eq!(Status::from_bits(0x7FFF), None);
    }

    proptest! {
        #[test]
        fn any_bytes_survive_the_round_trip(bytes: [u8; 32]) {
            prop_assert_eq!(arbitrary(bytes).to_bytes(), bytes);
        }

        #[test]
        fn a_sealed_entry_is_intact_in_its_epoch_only(bytes: [u8; 32], epoch: u16, other: u16, phase: bool) {
            let entry = arbitrary(bytes).sealed(Status::OutputFull, phase, QueueEpoch(epoch));
            prop_assert!(entry.is_intact(QueueEpoch(epoch)));
            prop_assert_eq!(entry.is_intact(QueueEpoch(other)), other == epoch);
            prop_assert_eq!(entry.phase(), phase);
            prop_assert_eq!(CompletionEntry::phase_of_word(entry.phase_word()), phase);
        }

        /// A CRC finds every burst of up to 16 bits: any torn half-word and any flipped bit.
        #[test]
        fn any_short_burst_breaks_the_check(bytes: [u8; 32], epoch: u16, at in 0usize..31, burst in 1u16..) {
            let entry = arbitrary(bytes).sealed(Status::Success, true, QueueEpoch(epoch));
            let mut torn = entry.to_bytes();
            let [low, high] = burst.to_le_bytes();
            torn[at] ^= low;
            torn[at + 1] ^= high;
            // A burst that straddles the check field and its neighbour is spread over 30 + 2 bytes; skip it.
            prop_assume!(!(0x18..=0x1B).contains(&at));
            prop_assert!(!arbitrary(torn).is_intact(QueueEpoch(epoch)));
        }
    }
}
