//! Queue pairs: rings in the client's memory, their indices, and the table of those that exist.
//!
//! Owns the rules of a ring. Invariants:
//! - indices run free as `u32` and are masked only to address a slot;
//! - an entry is fetched only while a place for its completion is free, so posting never waits;
//! - a completion's 28 bytes are written first, its phase word last, with Release;
//! - whatever an index in shared memory says, at most a queue's length of entries is believed from it.
//!
//! It does not know what entries ask for.
//!
//! Lock order: `QueueTable::slots`, then the memory's lock; `Queue::completions`, then the memory's lock.

mod spoilt;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};

use faam_hwif::completion::{COMPLETION_BYTES, PHASE_WORD_OFFSET};
use faam_hwif::doorbell::{
    SHADOW_CQ_HEAD, SHADOW_CQ_WANT, SHADOW_SQ_EVENT, SHADOW_SQ_TAIL, kick_needed,
};
use faam_hwif::error::ErrorCode;
use faam_hwif::regs::QueueCounter;
use faam_hwif::submission::SUBMISSION_BYTES;
use faam_hwif::{
    CompletionEntry, Iova, QUEUES_MAX, QueueEntries, QueueEpoch, QueueId, Status, SubmissionEntry,
};
use parking_lot::Mutex;

use crate::error_log::ErrorLog;
use crate::faults::Fault;
use crate::function_faults::Strikes;
use crate::memory::{DmaFault, DmaLease, StillInFlight};
use crate::msix::Msix;

/// What a queue pair is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueShape {
    pub(crate) id: QueueId,
    pub(crate) entries: QueueEntries,
    pub(crate) sq: Iova,
    pub(crate) cq: Iova,
    pub(crate) shadow: Option<Iova>,
    pub(crate) vector: Option<u16>,
    pub(crate) epoch: QueueEpoch,
}

/// A queue pair that exists.
pub(crate) struct Queue {
    shape: QueueShape,
    lease: DmaLease,
    /// Last valid tail written to the doorbell register; without meaning where there is a shadow page.
    doorbell_tail: AtomicU32,
    /// Last head written to the doorbell register; as the tail, and judged when it is used.
    doorbell_head: AtomicU32,
    /// Index of the next entry to fetch. Only the dispatcher moves it. Every entry fetched has one completion.
    fetched: AtomicU32,
    completions: Mutex<Completions>,
    /// The rings cannot be reached: nothing more happens until the queue is deleted.
    broken: AtomicBool,
    counters: [AtomicU64; QueueCounter::ALL.len()],
}

struct Completions {
    /// Index of the next completion.
    tail: u32,
    /// Index up to which interrupts have been considered.
    announced: u32,
    /// For a fault: one that is held back until after the next one.
    held_back: Option<(CompletionEntry, Status)>,
}

impl Queue {
    /// An empty pair.
    pub(crate) fn new(shape: QueueShape, lease: DmaLease) -> Self {
        Self {
            shape,
            lease,
            doorbell_tail: AtomicU32::new(0),
            doorbell_head: AtomicU32::new(0),
            fetched: AtomicU32::new(0),
            completions: Mutex::new(Completions {
                tail: 0,
                announced: 0,
                held_back: None,
            }),
            broken: AtomicBool::new(false),
            counters: Default::default(),
        }
    }

    pub(crate) fn id(&self) -> QueueId {
        self.shape.id
    }

    pub(crate) fn entries(&self) -> QueueEntries {
        self.shape.entries
    }

    pub(crate) fn lease(&self) -> &DmaLease {
        &self.lease
    }

    /// Whether it still takes part: its lease holds and its rings can be reached.
    pub(crate) fn is_alive(&self) -> bool {
        !self.broken.load(Ordering::Relaxed) && !self.lease.is_revoked()
    }

    /// Index of the next entry to fetch.
    pub(crate) fn fetched(&self) -> u32 {
        self.fetched.load(Ordering::Acquire)
    }

    /// A write to the tail doorbell. `false` if it claims more entries than the queue holds; it is ignored then.
    pub(crate) fn ring_tail(&self, tail: u32) -> bool {
        self.count(QueueCounter::Kicks, 1);
        if self.shape.shadow.is_some() {
            // The value that counts is in the shadow page; the write only wakes.
            return true;
        }
        let old = self.doorbell_tail.load(Ordering::Relaxed);
        // What the host knows of our head comes from completions, which are posted after `fetched` is stored, so the
        // value loaded here is at least as new as the host's.
        if !self.is_step(old, tail) && !self.lease.faults().on(Fault::TakesAnyTail) {
            return false;
        }
        self.doorbell_tail.store(tail, Ordering::Release);
        true
    }

    /// A write to the head doorbell.
    pub(crate) fn ring_head(&self, head: u32) {
        self.doorbell_head.store(head, Ordering::Release);
    }

    /// Whether `new` is a tail that the host may set after `old`.
    pub(crate) fn is_step(&self, old: u32, new: u32) -> bool {
        let fetched = self.fetched();
        let before = old.wrapping_sub(fetched);
        let after = new.wrapping_sub(fetched);
        before <= after && after <= self.shape.entries.in_use_max()
    }

    /// The tail as the host last set it, unjudged.
    pub(crate) fn tail(&self) -> Result<u32, DmaFault> {
        match self.shape.shadow {
            None => Ok(self.doorbell_tail.load(Ordering::Acquire)),
            Some(page) => self.lease.access()?.load_u32(cell(page, SHADOW_SQ_TAIL)?),
        }
    }

    /// The completion head as the host last set it, unjudged.
    pub(crate) fn head(&self) -> Result<u32, DmaFault> {
        match self.shape.shadow {
            None => Ok(self.doorbell_head.load(Ordering::Acquire)),
            Some(page) => self.lease.access()?.load_u32(cell(page, SHADOW_CQ_HEAD)?),
        }
    }

    /// Index of the next completion to write.
    pub(crate) fn completed(&self) -> u32 {
        self.completions.lock().tail
    }

    /// Asks for a kick at the next entry, and returns the tail as it is after that.
    pub(crate) fn arm(&self) -> Result<u32, DmaFault> {
        if let Some(page) = self.shape.shadow {
            self.lease
                .access()?
                .store_u32(cell(page, SHADOW_SQ_EVENT)?, self.fetched())?;
            // Partner: the host's fence between storing its tail and loading the event index. Whichever of the two
            // comes second sees the other's store, so a submission is either read below or kicked.
            fence(Ordering::SeqCst);
        }
        self.tail()
    }

    /// Copies the next entry, once, and moves on.
    pub(crate) fn fetch(&self) -> Result<SubmissionEntry, DmaFault> {
        let index = self.fetched();
        let lost =
            index >= self.shape.entries.count() && self.lease.faults().on(Fault::LosesItsPlace);
        let at = slot(
            self.shape.sq,
            self.shape.entries.slot(index.wrapping_add(u32::from(lost))),
            SUBMISSION_BYTES,
        )?;
        let mut bytes = [0; SUBMISSION_BYTES];
        self.lease.read(at, &mut bytes)?;
        self.fetched.store(index.wrapping_add(1), Ordering::Release);
        self.count(QueueCounter::Fetched, 1);
        Ok(SubmissionEntry::from_bytes(&bytes))
    }

    /// Writes a completion. Interrupts wait for [`Queue::announce`].
    pub(crate) fn post(
        &self,
        entry: CompletionEntry,
        status: Status,
        strikes: &Strikes,
        errors: &ErrorLog,
    ) -> Result<(), DmaFault> {
        let mut completions = self.completions.lock();
        let held_back = completions.held_back.is_some();
        let result = if self.shape.id != QueueId::ADMIN && self.lease.faults().any(strikes) {
            self.post_spoilt(completions, entry, status, strikes)
        } else {
            let result = self.write_completion(&mut completions, entry, status);
            drop(completions);
            result
        };
        if held_back {
            self.write_held_back();
        }
        match result {
            Ok(()) => {
                self.count(QueueCounter::Completed, 1);
                self.count(QueueCounter::Failed, u64::from(status != Status::Success));
            }
            Err(fault) => self.break_down(fault, errors),
        }
        result
    }

    /// Whatever became of the completion after it.
    fn write_held_back(&self) {
        let mut completions = self.completions.lock();
        if let Some((entry, status)) = completions.held_back.take() {
            let _ = self.write_completion(&mut completions, entry, status);
        }
    }

    fn phase(&self, index: u32) -> bool {
        self.shape.entries.phase(index) || self.lease.faults().on(Fault::PhaseStuck)
    }

    fn write_completion(
        &self,
        completions: &mut Completions,
        entry: CompletionEntry,
        status: Status,
    ) -> Result<(), DmaFault> {
        let index = completions.tail;
        let entry = self.sealed(index, entry, status, self.fetched());
        self.write_body(index, &entry)?;
        self.write_phase_word(index, entry.phase_word())?;
        completions.tail = index.wrapping_add(1);
        Ok(())
    }

    /// The completion as it is to lie at `index`, with `fetched` for its submission head.
    fn sealed(
        &self,
        index: u32,
        entry: CompletionEntry,
        status: Status,
        fetched: u32,
    ) -> CompletionEntry {
        let [low, high, ..] = fetched.to_le_bytes();
        CompletionEntry {
            sq_head: u16::from_le_bytes([low, high]),
            ..entry
        }
        .sealed(status, self.phase(index), self.shape.epoch)
    }

    /// Writes what comes before the phase word.
    fn write_body(&self, index: u32, entry: &CompletionEntry) -> Result<(), DmaFault> {
        let bytes = entry.to_bytes();
        let (body, _) = bytes.split_at(PHASE_WORD_OFFSET);
        self.lease.write(self.place(index)?, body)
    }

    /// Writes the phase word.
    fn write_phase_word(&self, index: u32, word: u32) -> Result<(), DmaFault> {
        let at = slot(self.place(index)?, 1, PHASE_WORD_OFFSET)?;
        // Release; partner: the host's Acquire load of the phase word.
        self.lease.access()?.store_u32(at, word)
    }

    fn place(&self, index: u32) -> Result<Iova, DmaFault> {
        slot(
            self.shape.cq,
            self.shape.entries.slot(index),
            COMPLETION_BYTES,
        )
    }

    /// Raises an interrupt for the completions since the last call, if one is wanted.
    pub(crate) fn announce(&self, msix: &Msix, errors: &ErrorLog) {
        let mut completions = self.completions.lock();
        let (old, new) = (completions.announced, completions.tail);
        completions.announced = new;
        let wanted = match (self.shape.vector, self.shape.shadow) {
            _ if old == new => Ok(false),
            (None, _) => Ok(false),
            (Some(_), _) if self.lease.faults().on(Fault::InterruptsUnasked) => Ok(true),
            (Some(_), None) => Ok(true),
            (Some(_), Some(page)) => {
                // Partner: the host's fence between storing CQ_WANT and its last look at the phase word. Whichever
                // of the two comes second sees the other's store, so a completion is either seen or signalled.
                fence(Ordering::SeqCst);
                self.lease.access().and_then(|access| {
                    let want = access.load_u32(cell(page, SHADOW_CQ_WANT)?)?;
                    Ok(kick_needed(want, new, old))
                })
            }
        };
        drop(completions);
        match wanted {
            Ok(false) => {}
            Ok(true) => {
                if let Some(vector) = self.shape.vector {
                    self.count(QueueCounter::Interrupts, 1);
                    self.raise(msix, vector);
                }
            }
            Err(fault) => self.break_down(fault, errors),
        }
    }

    /// For a fault: raises the queue's vector, though there is no reason.
    pub(crate) fn raise_for_nothing(&self, msix: &Msix) {
        if let Some(vector) = self.shape.vector {
            msix.raise(vector);
        }
    }

    fn raise(&self, msix: &Msix, vector: u16) {
        let faults = self.lease.faults();
        let admin = self.shape.id == QueueId::ADMIN;
        if !admin && faults.on(Fault::WrongVector) {
            msix.raise(vector + 1);
        } else if !faults.on(Fault::LosesInterrupts) {
            msix.raise(vector);
        }
    }

    /// Stops the queue for good because its rings cannot be reached. A revoked lease is no error: the queue is gone.
    pub(crate) fn break_down(&self, fault: DmaFault, errors: &ErrorLog) {
        if let DmaFault::Refused { at } = fault
            && !self.broken.swap(true, Ordering::Relaxed)
        {
            errors.note(ErrorCode::RingAccess, self.shape.id, at.0);
        }
    }

    /// Adds to a counter.
    pub(crate) fn count(&self, counter: QueueCounter, by: u64) {
        if let Some(place) = self.counters.get(counter as usize) {
            place.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// Value of the counter at this place.
    pub(crate) fn counter(&self, place: usize) -> u64 {
        self.counters
            .get(place)
            .map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

fn cell(page: Iova, offset: u32) -> Result<Iova, DmaFault> {
    page.checked_add(u64::from(offset))
        .ok_or(DmaFault::Refused { at: page })
}

fn slot(base: Iova, index: u32, bytes: usize) -> Result<Iova, DmaFault> {
    base.checked_add(u64::from(index) * bytes as u64)
        .ok_or(DmaFault::Refused { at: base })
}

/// Why a queue was not created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CreateRefused {
    /// No queue of this number can be.
    OutOfRange,
    /// It exists.
    Exists,
    /// The admin queue that asked is gone.
    NoAdmin,
}

/// The queues that exist, by number.
pub(crate) struct QueueTable {
    slots: Mutex<[Option<Arc<Queue>>; QUEUES_MAX as usize]>,
    /// Changes whenever `slots` does.
    version: AtomicU64,
}

impl QueueTable {
    pub(crate) fn new() -> Self {
        Self {
            slots: Mutex::default(),
            version: AtomicU64::new(1),
        }
    }

    /// Changes whenever a queue is created or deleted.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// All queues, in order.
    pub(crate) fn all(&self) -> Vec<Arc<Queue>> {
        self.slots.lock().iter().flatten().cloned().collect()
    }

    /// The queue of this number.
    pub(crate) fn get(&self, id: QueueId) -> Option<Arc<Queue>> {
        self.slots.lock().get(usize::from(id.0)).cloned().flatten()
    }

    /// I/O pairs that exist.
    pub(crate) fn io_pairs(&self) -> u32 {
        let slots = self.slots.lock();
        u32::try_from(slots.iter().skip(1).flatten().count()).unwrap_or(u32::MAX)
    }

    /// Adds a queue, if `admin` still holds: a reset in between has ended everything that the admin queue asked for.
    pub(crate) fn create(&self, queue: Arc<Queue>, admin: &DmaLease) -> Result<(), CreateRefused> {
        let mut slots = self.slots.lock();
        if admin.is_revoked() {
            return Err(CreateRefused::NoAdmin);
        }
        match slots.get_mut(usize::from(queue.id().0)) {
            None => Err(CreateRefused::OutOfRange),
            Some(Some(_)) => Err(CreateRefused::Exists),
            Some(place) => {
                *place = Some(queue);
                self.version.fetch_add(1, Ordering::Release);
                Ok(())
            }
        }
    }

    /// Takes a queue out and ends its access to memory. `None` if there is none.
    pub(crate) fn delete(&self, id: QueueId) -> Option<Result<Arc<Queue>, StillInFlight>> {
        let mut slots = self.slots.lock();
        let queue = slots.get_mut(usize::from(id.0))?.take()?;
        self.version.fetch_add(1, Ordering::Release);
        let ended = queue.lease.revoke();
        drop(slots);
        Some(ended.map(|()| queue))
    }

    /// Takes out this very queue, if it is there, and ends its access to memory.
    pub(crate) fn remove(&self, queue: &Arc<Queue>) {
        let mut slots = self.slots.lock();
        let place = slots.get_mut(usize::from(queue.id().0));
        let there = |there: &mut Arc<Queue>| Arc::ptr_eq(there, queue);
        if place.and_then(|place| place.take_if(there)).is_some() {
            self.version.fetch_add(1, Ordering::Release);
        }
        // Nobody but the caller has accessed memory under this lease, and it does not now: there is nothing to wait for.
        let _ = queue.lease.revoke();
    }

    /// Takes all queues out and ends their access to memory. Done when this returns `Ok`.
    pub(crate) fn clear(&self, memory: &crate::memory::Memory) -> Result<(), StillInFlight> {
        let mut slots = self.slots.lock();
        let queues: Vec<Arc<Queue>> = slots.iter_mut().filter_map(Option::take).collect();
        self.version.fetch_add(1, Ordering::Release);
        memory.revoke(queues.iter().map(|queue| &queue.lease))
    }
}
