//! Which commands are outstanding on a queue, and whether a completion is one of theirs.
//!
//! Owns the slots and their generations. Invariant: a command is retired by exactly one
//! completion, whose check field, status, id, generation and lengths are all right;
//! anything else is a [`DeviceFault`] and retires nothing.
//! It deliberately does not know rings, memory or what the payload `T` means.

use faam_hwif::{CommandId, CompletionEntry, QueueEpoch, Status};

use crate::fault::DeviceFault;

/// Slots of a table at most: what an id can name.
pub const SLOTS_MAX: u16 = CommandId::SLOTS;

/// What a completion of a command may claim at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of source: `in_len` is not above.
    pub src_len: u32,
    /// Bytes of room: `out_len` is not above.
    pub dst_cap: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u8,
    command: Option<(Limits, T)>,
}

/// The outstanding commands of one queue.
#[derive(Debug)]
pub struct CommandTable<T> {
    slots: Box<[Slot<T>]>,
    /// Free slots, used in turn, so that a generation comes round as late as can be.
    free: std::collections::VecDeque<u16>,
}

impl<T> CommandTable<T> {
    /// A table of `slots` slots, at most [`SLOTS_MAX`].
    #[must_use]
    pub fn new(slots: u16) -> Self {
        let slots = slots.min(SLOTS_MAX);
        Self {
            slots: (0..slots)
                .map(|_| Slot {
                    generation: 0,
                    command: None,
                })
                .collect(),
            free: (0..slots).collect(),
        }
    }

    /// Commands outstanding.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Enter a command; `None` when every slot is taken, and the payload comes back.
    ///
    /// # Errors
    /// The payload, when every slot is taken.
    pub fn insert(&mut self, limits: Limits, payload: T) -> Result<CommandId, T> {
        let Some(number) = self.free.pop_front() else {
            return Err(payload);
        };
        let Some(slot) = self.slots.get_mut(usize::from(number)) else {
            return Err(payload);
        };
        slot.command = Some((limits, payload));
        Ok(CommandId::new(number, slot.generation))
    }

    /// Take a command back that was never shown to the card.
    pub fn withdraw(&mut self, id: CommandId) -> Option<T> {
        self.release(id)
    }

    /// Judge a completion of a queue of this epoch and retire its command.
    ///
    /// # Errors
    /// [`DeviceFault`]: it is torn, stale, repeated, unknown or claims more than was asked for.
    pub fn retire(
        &mut self,
        entry: &CompletionEntry,
        epoch: QueueEpoch,
    ) -> Result<(Status, T), DeviceFault> {
        if !entry.is_intact(epoch) {
            return Err(DeviceFault::BadCheck {
                expected: entry.expected_check(epoch),
                got: entry.check,
            });
        }
        let status = Status::from_bits(entry.status_bits()).ok_or(DeviceFault::ReservedStatus {
            bits: entry.status_bits(),
        })?;
        let id = entry.command_id();
        let slot = self
            .slots
            .get(usize::from(id.slot()))
            .ok_or(DeviceFault::UnknownCommand { id })?;
        if slot.generation != id.generation() {
            return Err(DeviceFault::StaleCommand {
                id,
                generation: slot.generation,
            });
        }
        let Some((limits, _)) = &slot.command else {
            return Err(DeviceFault::UnknownCommand { id });
        };
        if entry.out_len > limits.dst_cap {
            return Err(DeviceFault::LengthBeyondLimit {
                field: "out_len",
                got: entry.out_len,
                limit: limits.dst_cap,
            });
        }
        if entry.in_len > limits.src_len {
            return Err(DeviceFault::LengthBeyondLimit {
                field: "in_len",
                got: entry.in_len,
                limit: limits.src_len,
            });
        }
        self.release(id)
            .map(|payload| (status, payload))
            .ok_or(DeviceFault::UnknownCommand { id })
    }

    /// Empties the table; the commands stay the card's as far as memory goes.
    pub fn drain(&mut self) -> impl Iterator<Item = T> + '_ {
        self.slots
            .iter_mut()
            .filter_map(|slot| slot.command.take().map(|(_, payload)| payload))
    }

    fn release(&mut self, id: CommandId) -> Option<T> {
        let slot = self.slots.get_mut(usize::from(id.slot()))?;
        if slot.generation != id.generation() {
            return None;
        }
        let (_, payload) = slot.command.take()?;
        slot.generation = (slot.generation + 1) % CommandId::GENERATIONS;
        self.free.push_back(id.slot());
        Some(payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EPOCH: QueueEpoch = QueueEpoch(0xBEEF);

    fn completion(id: CommandId, out_len: u32, in_len: u32) -> CompletionEntry {
        CompletionEntry {
            cid: id.0,
            out_len,
            in_len,
            ..CompletionEntry::default()
        }
        .sealed(Status::Success, true, EPOCH)
    }

    fn limits() -> Limits {
        Limits {
            src_len: 100,
            dst_cap: 50,
        }
    }

    #[test]
    fn a_right_completion_retires_once() {
        let mut table = CommandTable::new(4);
        let id = table.insert(limits(), 'a').unwrap();
        let entry = completion(id, 50, 100);
        assert_eq!(table.retire(&entry, EPOCH), Ok((Status::Success, 'a')));
        assert_eq!(table.outstanding(), 0);
        assert_eq!(
            table.retire(&entry, EPOCH),
            Err(DeviceFault::StaleCommand { id, generation: 1 }),
            "the duplicate"
        );
    }

    #[test]
    fn every_wrong_completion_is_a_fault_and_retires_nothing() {
        let mut table = CommandTable::new(4);
        let id = table.insert(limits(), 'a').unwrap();
        let good = completion(id, 50, 100);
        let reserved = CompletionEntry {
            status_phase: 0x7FFF << 1,
            ..good
        };
        let reserved = CompletionEntry {
            check: reserved.expected_check(EPOCH),
            ..reserved
        };
        let cases = [
            (CompletionEntry { crc32: 1, ..good }, "torn"),
            (
                good.sealed(Status::Success, true, EPOCH.next()),
                "of an older queue",
            ),
            (reserved, "reserved status"),
            (completion(CommandId::new(2, 0), 0, 0), "free slot"),
            (completion(CommandId::new(900, 0), 0, 0), "no such slot"),
            (completion(CommandId::new(0, 7), 0, 0), "stale generation"),
            (completion(id, 51, 100), "writes beyond dst_cap"),
            (completion(id, 50, 101), "reads beyond src_len"),
        ];
        for (entry, what) in cases {
            assert!(table.retire(&entry, EPOCH).is_err(), "{what}");
            assert_eq!(table.outstanding(), 1, "{what}");
        }
        assert!(table.retire(&good, EPOCH).is_ok());
    }

    #[test]
    fn a_full_table_gives_the_payload_back() {
        let mut table = CommandTable::new(2);
        table.insert(limits(), 0).unwrap();
        table.insert(limits(), 1).unwrap();
        assert_eq!(table.insert(limits(), 2), Err(2));
    }

    proptest! {
        #[test]
        fn random_entries_never_retire(bytes: [u8; 32], used in 1u16..64) {
            let mut table = CommandTable::new(64);
            for n in 0..used {
                table.insert(limits(), n).unwrap();
            }
            let entry = CompletionEntry::from_bytes(&bytes);
            // 30 random bytes meet their own CRC-16 once in 65536 tries; that one is for the other checks.
            prop_assume!(!entry.is_intact(EPOCH));
            prop_assert!(table.retire(&entry, EPOCH).is_err());
            prop_assert_eq!(table.outstanding(), usize::from(used));
        }

        #[test]
        fn any_order_of_completion_retires_each_command_once(order in Just((0..32u32).collect::<Vec<_>>()).prop_shuffle()) {
            let mut table = CommandTable::new(32);
            for lap in 0..8u32 {
                let ids: Vec<_> = (0..32u32).map(|n| table.insert(limits(), lap * 32 + n).unwrap()).collect();
                for n in &order {
                    let entry = completion(ids[usize::try_from(*n).unwrap()], 1, 1);
                    prop_assert_eq!(table.retire(&entry, EPOCH), Ok((Status::Success, lap * 32 + n)));
                    prop_assert!(table.retire(&entry, EPOCH).is_err());
                }
            }
        }
    }
}
