//! What programs and empties slots, one after the other: the function's way to the configuration port.
//!
//! Owns the time that it takes, which is modelled, and what faults make of a load. Invariant: a task has exactly one
//! completion unless its life of the function has ended, and then it has changed nothing since.

use std::time::{Duration, Instant};

use faam_hwif::{CompletionEntry, SlotPayload, SlotReason, SlotState, Status};
use parking_lot::MutexGuard;

use super::{Book, IDCODE, SHELL, Slot, Slots, Task, TaskKind};
use crate::faults::Fault;
use crate::function::Function;
use crate::function_faults::{Strike, Strikes};

/// Bytes of configuration data of one slot, whatever is in it: a quarter of an XC7K325T's 91,548,896 bits (AMD UG470,
/// table 1-1), four slots a card.
const REGION_BYTES: u64 = 2_860_903;
/// What the configuration port takes, bytes a second: the processor's port of a Zynq-7000, which is given as some
/// 145 MB/s (AMD UG585, chapter 6). The 400 MB/s of an ICAP (32 bits at 100 MHz) are its limit, not what is met.
const PORT_BYTES_PER_S: u64 = 145_000_000;
/// Isolating the region before, and starting its clocks and resetting it after, microseconds: assumed.
const AROUND_US: u64 = 1_000;
/// Longest wait for the jobs in a slot, milliseconds.
const DRAIN_MS_MAX: u64 = 1_000;
/// What LOAD_LIMIT says, milliseconds: the task before, its own drain, and the reconfiguration many times over.
pub(crate) const LOAD_LIMIT_MS: u32 = 3_000;
/// Longest sleep without work, milliseconds.
const IDLE_MS_MAX: u64 = 1_000;

/// The modelled time of one reconfiguration, microseconds.
const RECONFIGURATION_US: u64 = REGION_BYTES * 1_000_000 / PORT_BYTES_PER_S + AROUND_US;

/// The modelled time of one reconfiguration.
const fn reconfiguration() -> Duration {
    Duration::from_micros(RECONFIGURATION_US)
}

// Ends within the limit that it announces, whatever waits before it.
const _: () = assert!(4 * RECONFIGURATION_US / 1_000 + 2 * DRAIN_MS_MAX < LOAD_LIMIT_MS as u64);

/// Why a task goes no further.
enum Cut {
    /// Its life has ended, or the card stops: no completion.
    Over,
    /// It was ended by another command.
    Evicted,
    /// The slot did not drain.
    Undrained,
}

impl Slots {
    /// Does tasks until the card stops.
    pub(crate) fn run(&self, function: &Function) {
        loop {
            let mut book = self.book.lock();
            let task = loop {
                if book.stopped {
                    return;
                }
                if let Some(task) = book.waiting.pop_front() {
                    break task;
                }
                self.changed
                    .wait_for(&mut book, Duration::from_millis(IDLE_MS_MAX));
            };
            book.under_way = Some((task.slot, false));
            drop(book);
            self.act(function, task, reconfiguration());
        }
    }

    /// Does the tasks that wait now, in no time. Whether there was one.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn act_waiting(&self, function: &Function) -> bool {
        let mut any = false;
        loop {
            let mut book = self.book.lock();
            let Some(task) = book.waiting.pop_front() else {
                return any;
            };
            book.under_way = Some((task.slot, false));
            drop(book);
            any = true;
            self.act(function, task, Duration::ZERO);
        }
    }

    fn act(&self, function: &Function, mut task: Task, takes: Duration) {
        let done = match task.kind {
            TaskKind::Program => self.program_slot(function, &mut task, takes),
            TaskKind::Evict => self.evict_slot(&task),
        };
        let (status, info) = match done {
            Ok(ending) => ending,
            Err(Cut::Over) => return,
            Err(Cut::Evicted) => (Status::Aborted, u32::from(SlotReason::Evicted as u8)),
            Err(Cut::Undrained) => (Status::LoadFailed, u32::from(SlotReason::Undrained as u8)),
        };
        let mut book = self.book.lock();
        if book.life != task.life {
            return;
        }
        book.under_way = None;
        if let Some(slot) = book.slots.get_mut(usize::from(task.slot))
            // An evict command that ended this one waits behind it.
            && slot.task == Some(task.kind)
        {
            slot.task = None;
        }
        drop(book);
        let completion = CompletionEntry {
            cid: task.id.0,
            info,
            ..CompletionEntry::default()
        };
        let posted = task
            .queue
            .post(completion, status, &Strikes::default(), &function.errors);
        // A fault is the admin queue's end, and has been noted there.
        if posted.is_ok() {
            task.queue.announce(&function.msix, &function.errors);
        }
    }

    fn program_slot(
        &self,
        function: &Function,
        task: &mut Task,
        takes: Duration,
    ) -> Result<(Status, u32), Cut> {
        let image = std::mem::take(&mut task.image);
        let head = match fits(&image) {
            Ok(head) => head,
            Err(reason) => return Ok((Status::ImageRefused, u32::from(reason as u8))),
        };
        drop(image);
        let strike = function.faults.draw_load();
        let mut book = self.drain(task)?;
        self.with_slot(&mut book, task, |slot| {
            slot.reason = SlotReason::None;
            slot.change(SlotState::Programming);
        });
        let struck = |fault| strike.is_some_and(|strike| strike.fault == fault);
        if struck(Fault::LoadHangs) {
            tracing::warn!(slot = task.slot, "a load hangs, as planned");
            let resumed = book.resumed;
            let end = strike
                .and_then(Strike::time)
                .map(|time| Instant::now() + time);
            book = self.wait(book, task, end, |book| book.resumed != resumed)?;
        }
        let end = Instant::now() + takes;
        book = self.wait(book, task, Some(end), |_| false)?;
        let failed = struck(Fault::LoadFails);
        self.with_slot(&mut book, task, |slot| {
            if failed {
                return slot.fail(SlotReason::Port);
            }
            slot.change(SlotState::Programmed);
            slot.serves = head.serves;
            slot.kernel = head.kernel_uuid;
            slot.garbage = struck(Fault::LoadGarbage);
        });
        Ok(match failed {
            true => (Status::LoadFailed, u32::from(SlotReason::Port as u8)),
            false => (Status::Success, 0),
        })
    }

    fn evict_slot(&self, task: &Task) -> Result<(Status, u32), Cut> {
        let mut book = self.drain(task)?;
        self.with_slot(&mut book, task, |slot| {
            slot.reason = SlotReason::None;
            slot.change(SlotState::Empty);
        });
        Ok((Status::Success, 0))
    }

    /// Waits until no job is in the slot; none comes in meanwhile. If they do not end in time it is as it was.
    fn drain(&self, task: &Task) -> Result<MutexGuard<'_, Book>, Cut> {
        let mut book = self.book.lock();
        if book.life != task.life {
            return Err(Cut::Over);
        }
        let is_empty = |book: &Book| {
            let slot = book.slots.get(usize::from(task.slot));
            slot.is_none_or(|slot| slot.jobs == 0)
        };
        self.with_slot(&mut book, task, |slot| {
            slot.before = slot.state;
            slot.change(SlotState::Draining);
        });
        let end = Instant::now() + Duration::from_millis(DRAIN_MS_MAX);
        book = self.wait(book, task, Some(end), is_empty)?;
        if is_empty(&book) {
            return Ok(book);
        }
        self.with_slot(&mut book, task, |slot| {
            let before = slot.before;
            slot.change(before);
            slot.reason = SlotReason::Undrained;
        });
        Err(Cut::Undrained)
    }

    /// Waits until `reached`, or the time has come. The book is locked again when this returns.
    fn wait<'a>(
        &'a self,
        mut book: MutexGuard<'a, Book>,
        task: &Task,
        end: Option<Instant>,
        reached: impl Fn(&Book) -> bool,
    ) -> Result<MutexGuard<'a, Book>, Cut> {
        loop {
            if book.stopped || book.life != task.life {
                return Err(Cut::Over);
            }
            if matches!(book.under_way, Some((_, true))) {
                self.with_slot(&mut book, task, |slot| match slot.state {
                    SlotState::Draining => {
                        let before = slot.before;
                        slot.change(before);
                    }
                    _ => slot.fail(SlotReason::Evicted),
                });
                return Err(Cut::Evicted);
            }
            let now = Instant::now();
            if reached(&book) || end.is_some_and(|end| end <= now) {
                return Ok(book);
            }
            let most = now + Duration::from_millis(IDLE_MS_MAX);
            self.changed
                .wait_until(&mut book, end.map_or(most, |end| end.min(most)));
        }
    }

    fn with_slot(
        &self,
        book: &mut MutexGuard<'_, Book>,
        task: &Task,
        change: impl FnOnce(&mut Slot),
    ) {
        if let Some(slot) = book.slots.get_mut(usize::from(task.slot)) {
            change(slot);
        }
    }
}

/// The head of an image that can go into a slot of this card.
fn fits(image: &[u8]) -> Result<SlotPayload, SlotReason> {
    let head = SlotPayload::decode(image)?;
    let checked = image.get(..SlotPayload::CHECKED_BYTES).unwrap_or_default();
    let bitstream = image.get(SlotPayload::HEAD_BYTES..).unwrap_or_default();
    let mut sum = crc32fast::Hasher::new();
    sum.update(checked);
    sum.update(bitstream);
    if sum.finalize() != head.crc32 {
        return Err(SlotReason::Damaged);
    }
    if head.idcode != IDCODE {
        return Err(SlotReason::Idcode);
    }
    if head.shell != SHELL {
        return Err(SlotReason::Shell);
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use faam_hwif::Serves;

    fn image(idcode: u32, shell: u32) -> Vec<u8> {
        let bitstream = b"frames";
        let mut head = SlotPayload {
            serves: Serves::FAST,
            idcode,
            shell,
            bitstream_bytes: 6,
            kernel_uuid: [7; 16],
            crc32: 0,
        };
        let mut sum = crc32fast::Hasher::new();
        sum.update(&head.head()[..SlotPayload::CHECKED_BYTES]);
        sum.update(bitstream);
        head.crc32 = sum.finalize();
        [&head.head()[..], bitstream].concat()
    }

    #[test]
    fn what_does_not_fit_is_refused_for_its_own_reason() {
        let right = image(IDCODE, SHELL);
        assert_eq!(fits(&right).map(|head| head.serves), Ok(Serves::FAST));
        let mut damaged = right.clone();
        *damaged.last_mut().unwrap() ^= 1;
        for (image, reason) in [
            (image(1, SHELL), SlotReason::Idcode),
            (image(IDCODE, SHELL + 1), SlotReason::Shell),
            (damaged, SlotReason::Damaged),
            (right[..right.len() - 1].to_vec(), SlotReason::Malformed),
            (Vec::new(), SlotReason::Malformed),
        ] {
            assert_eq!(fits(&image), Err(reason));
        }
    }

    #[test]
    fn a_reconfiguration_takes_what_the_model_says() {
        assert_eq!(reconfiguration(), Duration::from_micros(20_730));
    }
}
