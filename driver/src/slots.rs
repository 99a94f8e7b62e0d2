//! A function's slots: what they hold, loading a kernel into one, and emptying one.
//!
//! Owns the order of steps: looked over, downloaded, programmed, tested in its slot alone, and only then activated.
//! Invariant: no job of a tenant's meets a kernel that has not passed its self-test; whatever goes wrong is told with
//! what became of the slot, and the other slots serve on.
//! It deliberately does not know signatures, images as files, or when a kernel is wanted: who calls it does.

use std::time::{Duration, Instant};

use faam_hwif::admin::AdminCommand;
use faam_hwif::slot::{KERNEL_UUID_BYTES, SlotRegister};
use faam_hwif::{BarOffset, Mmio, Serves, SlotPayload, SlotReason, SlotState, Status};
use thiserror::Error;

use crate::admin::AdminError;
use crate::dma::DmaBuffer;
use crate::function::Function;
use crate::identity::SlotsIdentity;
use crate::self_test::{GoldenJob, SelfTest, SelfTestError, TestFailed};
use crate::transport::TransportError;

/// Scrub domain of downloads: no tenant's, and not the self-test's.
const CONTEXT: u32 = u32::MAX - 1;
/// Largest piece of a download, bytes.
const PIECE_BYTES_MAX: usize = 256 << 10;
/// Longest wait for room in the arena for a piece.
const ARENA_WAIT_MAX: Duration = Duration::from_secs(2);
/// Pause between two looks for room in the arena, or for a command's end.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// What a card gets beyond the limit that it names itself before it is taken to hang.
const GRACE: Duration = Duration::from_millis(500);
/// Tries at reading a slot's registers as one.
const READ_TRIES_MAX: u32 = 4;

/// What a slot is up to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Which.
    pub index: u8,
    /// Its state.
    pub state: SlotState,
    /// What its kernel does.
    pub serves: Serves,
    /// Its kernel; zeros where there is none.
    pub kernel_uuid: [u8; KERNEL_UUID_BYTES],
    /// Changes since power-on.
    pub generation: u32,
    /// Why programming it failed last; `None` = the card says something that the contract does not have.
    pub reason: Option<SlotReason>,
}

/// What loading a kernel came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The slot, which serves.
    pub slot: Slot,
    /// How long it took to get the image to the card.
    pub downloaded: Duration,
    /// How long it was programmed for, the jobs in the slot before it included.
    pub programmed: Duration,
    /// The self-test that it passed.
    pub tested: SelfTest,
}

/// Why a slot was not loaded or evicted.
#[derive(Debug, Error)]
pub enum SlotError {
    /// There are none.
    #[error("the function has no slots: its kernels are fixed, and come with the card's own image")]
    NoSlots,
    /// There are fewer.
    #[error("expected a slot below {count}, got {slot}")]
    NoSuchSlot {
        /// Which was asked for.
        slot: u8,
        /// How many there are.
        count: u8,
    },
    /// One at a time.
    #[error("a slot of the function is being loaded or evicted: try again when that has ended")]
    Busy,
    /// It is no payload.
    #[error(
        "expected a slot's payload (\"FaaMSLOT\", version {}), got other bytes: give an image of kind sim",
        SlotPayload::VERSION
    )]
    Malformed,
    /// It is too long.
    #[error("the payload has {bytes} bytes, the card takes {bytes_max}")]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: u32,
    },
    /// It is for another device.
    #[error(
        "the image is for the device with idcode {got:#010x}, the card is {expected:#010x}: build it for that"
    )]
    WrongDevice {
        /// The card's.
        expected: u32,
        /// The image's.
        got: u32,
    },
    /// It is for another static region.
    #[error(
        "the image is for shell {got:#010x}, the card has {expected:#010x}: build it against that"
    )]
    WrongShell {
        /// The card's.
        expected: u32,
        /// The image's.
        got: u32,
    },
    /// The arena is full.
    #[error("the arena had no room for a piece of the image within {} ms", ARENA_WAIT_MAX.as_millis())]
    NoMemory,
    /// The card did not take the image.
    #[error("the card refused the image ({reason:?}); the slot is as it was")]
    Refused {
        /// Why.
        reason: Option<SlotReason>,
    },
    /// Programming failed.
    #[error("programming slot {slot} failed ({reason:?}); it holds nothing, the others serve on")]
    Failed {
        /// Which.
        slot: u8,
        /// Why.
        reason: Option<SlotReason>,
    },
    /// Programming, or the end of it, did not come.
    #[error(
        "slot {slot} was not {what} within {limit_ms} ms{}",
        if *stuck { ": it is out of use until the function is reset" } else { ": it was evicted, the others serve on" }
    )]
    Hang {
        /// Which.
        slot: u8,
        /// What was waited for.
        what: &'static str,
        /// The limit.
        limit_ms: u64,
        /// Whether evicting it did not help either.
        stuck: bool,
    },
    /// The card says that it holds something else than it was given.
    #[error(
        "slot {slot} was given a kernel that serves {given:#05b} ({given_kernel:02x?}), and says that it holds one that serves \
         {held:#05b} ({held_kernel:02x?}): it was evicted, the others serve on"
    )]
    Other {
        /// Which.
        slot: u8,
        /// What the payload serves: bits as in the contract.
        given: u8,
        /// The payload's kernel.
        given_kernel: [u8; KERNEL_UUID_BYTES],
        /// What the slot says that it serves.
        held: u8,
        /// The kernel that the slot says it holds.
        held_kernel: [u8; KERNEL_UUID_BYTES],
    },
    /// The kernel computes wrong.
    #[error(
        "the kernel in slot {slot} did not pass its self-test, and was evicted before it served"
    )]
    SelfTest {
        /// Which.
        slot: u8,
        /// Whether the function has to be fenced for what the test left behind.
        fences: bool,
        /// How.
        #[source]
        source: SelfTestError,
    },
    /// A command failed.
    #[error("the function did not do it")]
    Admin(#[from] AdminError),
    /// Registers could not be read.
    #[error("the slots' registers could not be read")]
    Transport(#[from] TransportError),
    /// The function was reset or given up meanwhile.
    #[error("the function was reset meanwhile: what it holds now, its slots say")]
    Ended,
}

impl SlotError {
    /// Whether the function itself has to be fenced, rather than the slot left alone.
    #[must_use]
    pub const fn is_of_the_function(&self) -> bool {
        matches!(
            self,
            Self::Admin(AdminError::Fault(_) | AdminError::Broken)
                | Self::Transport(_)
                | Self::SelfTest { fences: true, .. }
        )
    }

    /// A short name for counters and logs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NoSlots => "no-slots",
            Self::NoSuchSlot { .. } => "no-such-slot",
            Self::Busy => "busy",
            Self::Malformed => "malformed",
            Self::TooLarge { .. } => "too-large",
            Self::WrongDevice { .. } => "wrong-device",
            Self::WrongShell { .. } => "wrong-shell",
            Self::NoMemory => "no-memory",
            Self::Refused { .. } => "refused",
            Self::Failed { .. } => "failed",
            Self::Hang { .. } => "hang",
            Self::Other { .. } => "other-kernel",
            Self::SelfTest { .. } => "self-test",
            Self::Admin(_) => "admin",
            Self::Transport(_) => "transport",
            Self::Ended => "ended",
        }
    }
}

impl Function {
    /// What each slot is up to, in order; empty where there are none.
    ///
    /// # Errors
    /// [`TransportError`].
    pub fn slots(&self) -> Result<Vec<Slot>, TransportError> {
        let count = self.identity().slots.map_or(0, |slots| slots.count);
        (0..count).map(|index| self.read_slot(index)).collect()
    }

    /// What its active slots serve together.
    ///
    /// # Errors
    /// [`TransportError`].
    pub fn serves(&self) -> Result<Serves, TransportError> {
        let active = |all: Serves, slot: &Slot| match slot.state {
            SlotState::Active => all.with(slot.serves),
            _ => all,
        };
        Ok(self.slots()?.iter().fold(Serves::NONE, active))
    }

    /// Load a kernel into a slot, in place of what it holds: the jobs in it end first, the other slots serve on. It serves
    /// when this returns. Blocks for as long as that takes, which the card's own limit and the self-test's bound.
    ///
    /// # Errors
    /// [`SlotError`] says what became of the slot.
    pub fn load(&self, slot: u8, payload: &[u8]) -> Result<Loaded, SlotError> {
        self.load_golden(slot, payload, None)
    }

    /// The same, of a kernel whose maker says what a job comes to: beside the driver's own cases it has to come to that.
    ///
    /// # Errors
    /// [`SlotError`] says what became of the slot.
    pub fn load_golden(
        &self,
        slot: u8,
        payload: &[u8],
        golden: Option<&GoldenJob>,
    ) -> Result<Loaded, SlotError> {
        let slots = self.slot_of(slot)?;
        let head = fits(&slots, payload)?;
        let _one_at_a_time = self.slot_work.try_lock().ok_or(SlotError::Busy)?;
        let begun = Instant::now();
        self.download(payload)?;
        let downloaded = begun.elapsed();
        let begun = Instant::now();
        self.program(&slots, slot, payload)?;
        let programmed = begun.elapsed();
        let holds = self.read_slot(slot)?;
        if let Err(other) = is_of(&head, &holds) {
            self.clear_away(&slots, slot);
            return Err(other);
        }
        let tested = match self.test(Some(slot), head.serves, golden) {
            Ok(tested) => tested,
            Err(TestFailed { why, fences }) => {
                self.clear_away(&slots, slot);
                return Err(SlotError::SelfTest {
                    slot,
                    fences,
                    source: why,
                });
            }
        };
        self.admin
            .lock()
            .execute(AdminCommand::ActivateSlot { slot })?;
        let active = self.read_slot(slot)?;
        if let Err(other) = is_of(&head, &active) {
            self.clear_away(&slots, slot);
            return Err(other);
        }
        Ok(Loaded {
            slot: active,
            downloaded,
            programmed,
            tested,
        })
    }

    /// Empty a slot: the jobs in it end first.
    ///
    /// # Errors
    /// [`SlotError`] says what became of the slot.
    pub fn evict(&self, slot: u8) -> Result<Slot, SlotError> {
        let slots = self.slot_of(slot)?;
        let _one_at_a_time = self.slot_work.try_lock().ok_or(SlotError::Busy)?;
        match self.take_time(&slots, AdminCommand::EvictSlot { slot }) {
            Ok(()) => Ok(self.read_slot(slot)?),
            Err(Slow::Other(error)) => Err(error),
            Err(Slow::Refused(status, info)) => Err(refusal(slot, status, info)),
            Err(Slow::Hang) => Err(hang(&slots, slot, "evicted", true)),
        }
    }

    fn slot_of(&self, slot: u8) -> Result<SlotsIdentity, SlotError> {
        let slots = self.identity().slots.ok_or(SlotError::NoSlots)?;
        let count = slots.count;
        match slot < count {
            true => Ok(slots),
            false => Err(SlotError::NoSuchSlot { slot, count }),
        }
    }

    fn program(&self, slots: &SlotsIdentity, slot: u8, payload: &[u8]) -> Result<(), SlotError> {
        let bytes = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        match self.take_time(slots, AdminCommand::ProgramSlot { slot, bytes }) {
            Ok(()) => Ok(()),
            Err(Slow::Other(error)) => Err(error),
            Err(Slow::Refused(status, info)) => Err(refusal(slot, status, info)),
            Err(Slow::Hang) => {
                let stuck = !self.clear_away(slots, slot);
                Err(hang(slots, slot, "programmed", stuck))
            }
        }
    }

    /// Evicts a slot that must not serve; it does not serve in any case. Whether it is empty.
    fn clear_away(&self, slots: &SlotsIdentity, slot: u8) -> bool {
        let evicted = self.take_time(slots, AdminCommand::EvictSlot { slot });
        if let Err(error) = &evicted {
            tracing::warn!(slot, ?error, "a slot that failed could not be evicted");
        }
        evicted.is_ok()
    }

    fn download(&self, payload: &[u8]) -> Result<(), SlotError> {
        let piece_bytes = PIECE_BYTES_MAX.min(self.arena().buffer_bytes_max()).max(1);
        let mut offset = 0u32;
        for piece in payload.chunks(piece_bytes) {
            let buffer = self.room_for(piece.len())?;
            let bytes = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            // The arena would have given less than was asked for: it does not.
            let copied = buffer.write_at(0, piece);
            copied.map_err(|_| SlotError::NoMemory)?;
            let command = AdminCommand::DownloadImage {
                src: buffer.iova(),
                bytes,
                offset,
            };
            let done = self.admin.lock().execute(command);
            if let Err(AdminError::Fault(_) | AdminError::Broken) = done {
                // The card may still read it.
                buffer.quarantine(self.incarnation());
            }
            done?;
            offset = offset.saturating_add(bytes);
        }
        Ok(())
    }

    fn room_for(&self, bytes: usize) -> Result<DmaBuffer, SlotError> {
        let deadline = Instant::now() + ARENA_WAIT_MAX;
        loop {
            if let Some(buffer) = self.arena().alloc(bytes, CONTEXT) {
                return Ok(buffer);
            }
            if self.shared.is_ended() {
                return Err(SlotError::Ended);
            }
            if Instant::now() >= deadline {
                return Err(SlotError::NoMemory);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// Sees a command through that takes its time, while others go on.
    fn take_time(&self, slots: &SlotsIdentity, command: AdminCommand) -> Result<(), Slow> {
        let other = |error: AdminError| Slow::Other(error.into());
        let begun = self.admin.lock().begin(command).map_err(other)?;
        let deadline = Instant::now() + limit(slots);
        loop {
            match self.admin.lock().end_of(begun) {
                Some(Ok(_)) => return Ok(()),
                Some(Err(AdminError::Refused { status, info })) => {
                    return Err(Slow::Refused(status, info));
                }
                Some(Err(error)) => return Err(other(error)),
                None => {}
            }
            if self.shared.is_ended() {
                return Err(Slow::Other(SlotError::Ended));
            }
            if Instant::now() >= deadline {
                self.admin.lock().give_up(begun);
                return Err(Slow::Hang);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn read_slot(&self, index: u8) -> Result<Slot, TransportError> {
        let base = self.shared.map.slot(index);
        let read = |register: SlotRegister| {
            let at = BarOffset(base.0.wrapping_add(register as u32));
            self.shared.bar.read32(at)
        };
        let mut generation = read(SlotRegister::Generation)?;
        for _ in 0..READ_TRIES_MAX {
            let state = read(SlotRegister::State)?;
            let serves = read(SlotRegister::Serves)?;
            let mut kernel_uuid = [0; KERNEL_UUID_BYTES];
            let words = [
                SlotRegister::KernelUuid0,
                SlotRegister::KernelUuid1,
                SlotRegister::KernelUuid2,
                SlotRegister::KernelUuid3,
            ];
            for (place, register) in kernel_uuid.chunks_exact_mut(4).zip(words) {
                place.copy_from_slice(&read(register)?.to_le_bytes());
            }
            let reason = SlotReason::from_bits(read(SlotRegister::Reason)?);
            let after = read(SlotRegister::Generation)?;
            if after == u32::MAX {
                return Err(TransportError::Gone);
            }
            if after == generation {
                let [state, ..] = state.to_le_bytes();
                let [serves, ..] = serves.to_le_bytes();
                return Ok(Slot {
                    index,
                    // A state that the contract does not have is none in which it serves.
                    state: SlotState::from_bits(state).unwrap_or(SlotState::Failed),
                    serves: Serves(serves & Serves::ALL.0),
                    kernel_uuid,
                    generation,
                    reason,
                });
            }
            generation = after;
        }
        Err(TransportError::Refused {
            command: "a slot's registers: they never stand still",
            errno: 0,
        })
    }
}

/// How a command that takes its time did not succeed.
#[derive(Debug)]
enum Slow {
    Refused(Status, u32),
    Hang,
    Other(SlotError),
}

fn limit(slots: &SlotsIdentity) -> Duration {
    Duration::from_millis(u64::from(slots.load_limit_ms)) + GRACE
}

fn hang(slots: &SlotsIdentity, slot: u8, what: &'static str, stuck: bool) -> SlotError {
    SlotError::Hang {
        slot,
        what,
        limit_ms: u64::try_from(limit(slots).as_millis()).unwrap_or(u64::MAX),
        stuck,
    }
}

fn refusal(slot: u8, status: Status, info: u32) -> SlotError {
    let reason = SlotReason::from_bits(info);
    match status {
        Status::ImageRefused => SlotError::Refused { reason },
        Status::LoadFailed | Status::Aborted => SlotError::Failed { slot, reason },
        Status::SlotBusy => SlotError::Busy,
        status => SlotError::Admin(AdminError::Refused { status, info }),
    }
}

/// The head of a payload that can go into a slot of this card, as far as the host can tell.
fn fits(slots: &SlotsIdentity, payload: &[u8]) -> Result<SlotPayload, SlotError> {
    let bytes_max = slots.image_bytes_max;
    if usize::try_from(bytes_max).is_ok_and(|most| payload.len() > most) {
        return Err(SlotError::TooLarge {
            bytes: payload.len(),
            bytes_max,
        });
    }
    let head = SlotPayload::decode(payload).map_err(|_| SlotError::Malformed)?;
    if head.idcode != slots.idcode {
        return Err(SlotError::WrongDevice {
            expected: slots.idcode,
            got: head.idcode,
        });
    }
    if head.shell != slots.shell {
        return Err(SlotError::WrongShell {
            expected: slots.shell,
            got: head.shell,
        });
    }
    Ok(head)
}

/// Whether a slot holds what a payload of this head is.
fn is_of(head: &SlotPayload, slot: &Slot) -> Result<(), SlotError> {
    match (slot.serves, slot.kernel_uuid) == (head.serves, head.kernel_uuid) {
        true => Ok(()),
        false => Err(SlotError::Other {
            slot: slot.index,
            given: head.serves.0,
            given_kernel: head.kernel_uuid,
            held: slot.serves.0,
            held_kernel: slot.kernel_uuid,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_that_holds_another_kernel_than_it_was_given_is_told_from_one_that_does_not() {
        let head = SlotPayload {
            serves: Serves::FAST,
            idcode: 1,
            shell: 1,
            bitstream_bytes: 0,
            kernel_uuid: [7; 16],
            crc32: 0,
        };
        let slot = Slot {
            index: 2,
            state: SlotState::Programmed,
            serves: Serves::FAST,
            kernel_uuid: [7; 16],
            generation: 1,
            reason: None,
        };
        assert!(is_of(&head, &slot).is_ok());
        let serves = Serves::ALL;
        let kernel_uuid = [8; 16];
        for other in [
            Slot { serves, ..slot },
            Slot {
                kernel_uuid,
                ..slot
            },
        ] {
            let told = is_of(&head, &other).expect_err("another kernel");
            assert_eq!(told.kind(), "other-kernel");
            assert!(!told.is_of_the_function());
            assert!(told.to_string().contains("slot 2"), "{told}");
        }
    }
}
