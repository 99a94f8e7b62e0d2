//! The function's slots: which kernel each holds, which jobs are in it, and the commands that change that.
//!
//! Owns the states of the slots and the staging buffer. Invariants:
//! - a job is in a slot from when an engine takes it to its end, and a slot is neither programmed nor emptied under one;
//! - at most one task a slot waits or is under way, so tasks are as bounded as slots;
//! - a reset ends what is under way at once and leaves every other slot as it was.
//!
//! How a task is done, and what it takes, is the [loader](self::loader)'s.
//!
//! Lock order: the one lock is a leaf.

mod loader;

use std::collections::VecDeque;
use std::sync::Arc;

use faam_hwif::admin::field;
use faam_hwif::slot::{KERNEL_UUID_BYTES, SLOT_IMAGE_BYTES_MAX, SlotRegister};
use faam_hwif::{CommandId, Serves, SlotReason, SlotState, Status};
use parking_lot::{Condvar, Mutex};

pub(crate) use self::loader::LOAD_LIMIT_MS;
use crate::job::{Refusal, Work};
use crate::model::Params;
use crate::queues::Queue;

/// Slots of a function.
pub(crate) const SLOTS: u8 = 2;
/// JTAG IDCODE of the device that images are for: an LFE5U-85 (Lattice FPGA-DS-02012), which the flow builds for.
pub(crate) const IDCODE: u32 = 0x4111_3043;
/// Revision of the static region that images are for: 1.0.
pub(crate) const SHELL: u32 = 0x0001_0000;
/// The kernel that a card leaves the factory with, in each slot: it does everything.
pub(crate) const FACTORY_KERNEL: [u8; KERNEL_UUID_BYTES] = *b"faam-factory-all";
/// Largest piece of a download, bytes.
const PIECE_BYTES_MAX: u32 = 1 << 20;
/// Ways of the matcher from which on a compression is of the levels with tables.
const WAYS_TABLES: usize = 2;

/// One slot.
#[derive(Debug)]
struct Slot {
    state: SlotState,
    serves: Serves,
    kernel: [u8; KERNEL_UUID_BYTES],
    generation: u32,
    reason: SlotReason,
    /// Jobs in it.
    jobs: u32,
    /// For a fault: what comes out of it is wrong.
    garbage: bool,
    /// A task for it waits or is under way.
    task: Option<TaskKind>,
    /// The state to go back to if it does not drain.
    before: SlotState,
}

impl Slot {
    fn factory() -> Self {
        Self {
            state: SlotState::Active,
            serves: Serves::ALL,
            kernel: FACTORY_KERNEL,
            generation: 0,
            reason: SlotReason::None,
            jobs: 0,
            garbage: false,
            task: None,
            before: SlotState::Active,
        }
    }

    /// Goes on to a state, without a kernel unless it is one that has one.
    fn change(&mut self, state: SlotState) {
        self.state = state;
        self.generation = crate::function::not_all_ones(self.generation.wrapping_add(1));
        if matches!(
            state,
            SlotState::Empty | SlotState::Programming | SlotState::Failed
        ) {
            self.serves = Serves::NONE;
            self.kernel = [0; KERNEL_UUID_BYTES];
            self.garbage = false;
        }
    }

    fn fail(&mut self, reason: SlotReason) {
        self.reason = reason;
        self.change(SlotState::Failed);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskKind {
    Program,
    Evict,
}

/// A command that takes its time.
struct Task {
    queue: Arc<Queue>,
    id: CommandId,
    slot: u8,
    kind: TaskKind,
    image: Vec<u8>,
    /// The life of the function that it belongs to.
    life: u64,
}

struct Book {
    slots: [Slot; SLOTS as usize],
    /// The image that is being downloaded.
    staging: Vec<u8>,
    waiting: VecDeque<Task>,
    /// The slot whose task is under way, and whether it is to end early.
    under_way: Option<(u8, bool)>,
    /// Counts resets.
    life: u64,
    /// Counts ends of hangs that leave the life as it is.
    resumed: u64,
    stopped: bool,
}

/// The slots of a function.
pub(crate) struct Slots {
    book: Mutex<Book>,
    changed: Condvar,
}

/// A job's place in a slot, until it is dropped.
pub(crate) struct InSlot<'a> {
    slots: &'a Slots,
    slot: u8,
    /// For a fault: what comes out of it is wrong.
    pub(crate) garbage: bool,
}

impl Drop for InSlot<'_> {
    fn drop(&mut self) {
        let mut book = self.slots.book.lock();
        let Some(slot) = book.slots.get_mut(usize::from(self.slot)) else {
            return;
        };
        slot.jobs = slot.jobs.saturating_sub(1);
        // Nobody is woken by the jobs of a slot that stays as it is.
        let is_awaited = slot.jobs == 0 && slot.task.is_some();
        drop(book);
        if is_awaited {
            self.slots.changed.notify_all();
        }
    }
}

/// The kernel that a job needs.
pub(crate) fn needs(work: &Work) -> Serves {
    let compress = |params: &Params| match params.ways >= WAYS_TABLES {
        true => Serves::TABLES,
        false => Serves::FAST,
    };
    match work {
        Work::Compress { params, .. } => compress(params),
        Work::Count { .. } => Serves::TABLES,
        Work::Decompress { .. } => Serves::INFLATE,
    }
}

impl Slots {
    /// The slots of a card that left the factory.
    pub(crate) fn factory() -> Self {
        Self {
            book: Mutex::new(Book {
                slots: std::array::from_fn(|_| Slot::factory()),
                staging: Vec::new(),
                waiting: VecDeque::new(),
                under_way: None,
                life: 0,
                resumed: 0,
                stopped: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Empties all slots, before the function serves.
    pub(crate) fn empty(&self) {
        for slot in &mut self.book.lock().slots {
            slot.change(SlotState::Empty);
        }
    }

    /// Puts the factory's kernel back into each slot, and ends what is under way.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn restore(&self) {
        self.reset();
        for slot in &mut self.book.lock().slots {
            *slot = Slot::factory();
        }
    }

    /// A place for a job: in the slot that it names, if it does, else in the active one with the fewest jobs. `None` if no
    /// slot has the kernel.
    pub(crate) fn enter(&self, work: &Work, named: Option<u8>) -> Option<InSlot<'_>> {
        let needs = needs(work);
        let mut book = self.book.lock();
        let can = |(index, slot): &(u8, &mut Slot)| {
            let there = match named {
                Some(named) => {
                    named == *index
                        && matches!(slot.state, SlotState::Active | SlotState::Programmed)
                }
                None => slot.state == SlotState::Active,
            };
            there && slot.serves.has(needs)
        };
        let (index, slot) = (0u8..)
            .zip(&mut book.slots)
            .filter(can)
            .min_by_key(|(_, slot)| slot.jobs)?;
        slot.jobs += 1;
        Some(InSlot {
            slots: self,
            slot: index,
            garbage: slot.garbage,
        })
    }

    /// A register of a slot; 0 where there is none.
    pub(crate) fn register(&self, slot: u32, offset: u32) -> u32 {
        let book = self.book.lock();
        let index = usize::try_from(slot).unwrap_or(usize::MAX);
        let Some(slot) = book.slots.get(index) else {
            return 0;
        };
        let uuid = |from: usize| {
            let bytes = slot.kernel.get(from..).and_then(|rest| rest.first_chunk());
            bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes))
        };
        match offset {
            at if at == SlotRegister::State as u32 => u32::from(slot.state as u8),
            at if at == SlotRegister::Serves as u32 => u32::from(slot.serves.0),
            at if at == SlotRegister::KernelUuid0 as u32 => uuid(0),
            at if at == SlotRegister::KernelUuid1 as u32 => uuid(4),
            at if at == SlotRegister::KernelUuid2 as u32 => uuid(8),
            at if at == SlotRegister::KernelUuid3 as u32 => uuid(12),
            at if at == SlotRegister::Generation as u32 => slot.generation,
            at if at == SlotRegister::Reason as u32 => u32::from(slot.reason as u8),
            _ => 0,
        }
    }

    /// Whether a piece of so many bytes may be downloaded to this offset.
    pub(crate) fn check_piece(&self, offset: u32, bytes: u32) -> Result<(), Refusal> {
        let staged = self.book.lock().staging.len();
        if bytes == 0 || bytes > PIECE_BYTES_MAX {
            return Err((Status::InvalidLength, field::SRC_LEN));
        }
        let follows = usize::try_from(offset) == Ok(staged);
        let end = u64::from(offset) + u64::from(bytes);
        if offset != 0 && !follows || end > u64::from(SLOT_IMAGE_BYTES_MAX) {
            return Err((Status::InvalidField, field::DST_CAP));
        }
        Ok(())
    }

    /// Takes a piece that was checked: only the dispatcher does either.
    pub(crate) fn stage(&self, offset: u32, piece: &[u8]) {
        let mut book = self.book.lock();
        if offset == 0 {
            book.staging = Vec::new();
        }
        book.staging.extend_from_slice(piece);
    }

    /// Accepts a program command, which completes by itself later.
    pub(crate) fn program(
        &self,
        queue: &Arc<Queue>,
        id: CommandId,
        slot: u8,
        bytes: u32,
    ) -> Result<(), Refusal> {
        let mut book = self.book.lock();
        let Some(there) = book.slots.get(usize::from(slot)) else {
            return Err((Status::InvalidField, field::SRC_LEN));
        };
        if there.task.is_some() {
            return Err((Status::SlotBusy, u32::from(there.state as u8)));
        }
        if usize::try_from(bytes) != Ok(book.staging.len()) || bytes == 0 {
            return Err((Status::InvalidLength, field::DST_CAP));
        }
        let image = std::mem::take(&mut book.staging);
        self.accept(book, queue, id, slot, TaskKind::Program, image);
        Ok(())
    }

    /// Accepts an evict command, which completes by itself later. A program command of the slot that is under way ends.
    pub(crate) fn evict(&self, queue: &Arc<Queue>, id: CommandId, slot: u8) -> Result<(), Refusal> {
        let mut book = self.book.lock();
        let Some(there) = book.slots.get(usize::from(slot)) else {
            return Err((Status::InvalidField, field::SRC_LEN));
        };
        let (task, state) = (there.task, u32::from(there.state as u8));
        match (task, &mut book.under_way) {
            (None, _) => {}
            (Some(TaskKind::Program), Some((under_way, end))) if *under_way == slot => *end = true,
            // Of those that wait behind another slot's, each has an end of its own to wait for.
            (Some(TaskKind::Program | TaskKind::Evict), _) => {
                return Err((Status::SlotBusy, state));
            }
        }
        self.changed.notify_all();
        self.accept(book, queue, id, slot, TaskKind::Evict, Vec::new());
        Ok(())
    }

    fn accept(
        &self,
        mut book: parking_lot::MutexGuard<'_, Book>,
        queue: &Arc<Queue>,
        id: CommandId,
        slot: u8,
        kind: TaskKind,
        image: Vec<u8>,
    ) {
        let life = book.life;
        if let Some(there) = book.slots.get_mut(usize::from(slot)) {
            there.task = Some(kind);
        }
        book.waiting.push_back(Task {
            queue: Arc::clone(queue),
            id,
            slot,
            kind,
            image,
            life,
        });
        drop(book);
        self.changed.notify_all();
    }

    /// Lets a slot serve that was programmed.
    pub(crate) fn activate(&self, slot: u8) -> Result<(), Refusal> {
        let mut book = self.book.lock();
        let Some(there) = book.slots.get_mut(usize::from(slot)) else {
            return Err((Status::InvalidField, field::SRC_LEN));
        };
        if there.task.is_some() {
            return Err((Status::SlotBusy, u32::from(there.state as u8)));
        }
        if there.state != SlotState::Programmed {
            return Err((Status::SlotState, u32::from(there.state as u8)));
        }
        there.change(SlotState::Active);
        Ok(())
    }

    /// A reset of the function: what is under way ends, what waits is forgotten; the other slots are as they were.
    pub(crate) fn reset(&self) {
        let mut book = self.book.lock();
        book.life += 1;
        book.staging = Vec::new();
        book.waiting.clear();
        book.under_way = None;
        for slot in &mut book.slots {
            slot.task = None;
            match slot.state {
                SlotState::Programming => slot.fail(SlotReason::Reset),
                SlotState::Draining => {
                    let before = slot.before;
                    slot.change(before);
                }
                SlotState::Empty
                | SlotState::Programmed
                | SlotState::Active
                | SlotState::Failed => {}
            }
        }
        drop(book);
        self.changed.notify_all();
    }

    /// Ends hangs of loads: they go on.
    pub(crate) fn resume(&self) {
        self.book.lock().resumed += 1;
        self.changed.notify_all();
    }

    /// The card stops: the loader returns.
    pub(crate) fn stop(&self) {
        self.book.lock().stopped = true;
        self.changed.notify_all();
    }
}
