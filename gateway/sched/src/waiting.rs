//! Jobs that wait, each in a slot, chained within its lane and by age.
//!
//! Why chains through slots and not a queue a tenant: a job in the middle is taken out in constant time when its caller
//! hangs up, the oldest of all is known, and a tenant without jobs costs nothing here. Invariant: a slot is in one lane's
//! chain and in the chain by age while it holds a job, and in neither while its job is taken; it is given to another job
//! only once its own has ended. It knows no tags and no targets.

use crate::Nanos;
use crate::job::{Charge, JobId, JobRequest};
use crate::queue::LaneKind;

/// No slot.
pub(crate) const NONE: u32 = u32::MAX;
/// Slots that are kept when no job is left.
const SLOTS_KEPT_MAX: usize = 1024;
/// Jobs by which one that comes back is brought nearer to its place by age; beyond, it counts as younger than it is.
const STEPS_BACK_MAX: usize = 64;

/// A chain of jobs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    head: u32,
    tail: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            head: NONE,
            tail: NONE,
        }
    }
}

impl Chain {
    pub(crate) const fn head(self) -> Option<u32> {
        if self.head == NONE {
            None
        } else {
            Some(self.head)
        }
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.head == NONE
    }
}

/// What is known of a job that waits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) request: JobRequest,
    pub(crate) queued_at: Nanos,
    /// Predicted when it was queued, reference time.
    pub(crate) cost: Nanos,
    /// Its place in its tenant's order: the least goes first.
    pub(crate) rank: u64,
    /// Whose it is: a place among the tenants.
    pub(crate) place: u32,
    /// In which lane.
    pub(crate) class: u16,
    /// In which lane.
    pub(crate) kind: LaneKind,
    /// Set for a job that comes back.
    pub(crate) charged: Option<Charge>,
}

#[derive(Debug)]
struct Slot<J> {
    job: Option<J>,
    waiting: Waiting,
    sequence: u64,
    before: u32,
    after: u32,
    older: u32,
    newer: u32,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct WaitingJobs<J> {
    slots: Vec<Slot<J>>,
    free: Vec<u32>,
    oldest: u32,
    newest: u32,
    queued: usize,
    sequence: u64,
}

impl<J> Default for WaitingJobs<J> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
            queued: 0,
            sequence: 0,
        }
    }
}

impl<J> WaitingJobs<J> {
    /// Jobs that wait.
    pub(crate) const fn queued(&self) -> usize {
        self.queued
    }

    /// When the job that has waited longest was queued.
    pub(crate) fn oldest_queued_at(&self) -> Option<Nanos> {
        Some(self.slot(self.oldest)?.waiting.queued_at)
    }

    /// The slot of a job that waits in a queue; `None` once it was taken or has ended.
    pub(crate) fn find(&self, id: JobId) -> Option<u32> {
        let slot = self.slot(id.slot)?;
        (slot.sequence == id.sequence && slot.job.is_some()).then_some(id.slot)
    }

    /// What is known of the job in a slot.
    pub(crate) fn get(&self, slot: u32) -> Option<&Waiting> {
        Some(&self.slot(slot)?.waiting)
    }

    /// The jobs of a lane, in order.
    pub(crate) fn along(&self, chain: Chain) -> impl Iterator<Item = (JobId, &J)> {
        let mut at = chain.head;
        std::iter::from_fn(move || {
            let slot = self.slot(at)?;
            let id = JobId {
                slot: at,
                sequence: slot.sequence,
            };
            at = slot.after;
            Some((id, slot.job.as_ref()?))
        })
    }

    /// A job at the end of a lane.
    pub(crate) fn push(&mut self, chain: &mut Chain, job: J, waiting: Waiting) -> JobId {
        let sequence = self.sequence;
        self.sequence += 1;
        let new = Slot {
            job: Some(job),
            waiting,
            sequence,
            before: NONE,
            after: NONE,
            older: NONE,
            newer: NONE,
        };
        let reused = self
            .free
            .pop()
            .and_then(|n| Some((n, self.slots.get_mut(n as usize)?)));
        let slot = if let Some((n, slot)) = reused {
            *slot = new;
            n
        } else {
            self.slots.push(new);
            u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
        };
        self.queued += 1;
        self.chain_after(chain, chain.tail, slot);
        self.age_after(self.newest, slot);
        JobId { slot, sequence }
    }

    /// Puts a taken job back into its slot, in a lane where the oldest goes first; the job, if this is not a taken one's slot.
    pub(crate) fn put_back(
        &mut self,
        chain: &mut Chain,
        id: JobId,
        job: J,
        waiting: Waiting,
    ) -> Result<(), J> {
        match self.slot_mut(id.slot) {
            Some(slot) if slot.sequence == id.sequence && slot.job.is_none() => {
                slot.job = Some(job);
                slot.waiting = waiting;
            }
            _ => return Err(job),
        }
        self.queued += 1;
        let mut after = chain.tail;
        while let Some(slot) = self.slot(after)
            && slot.sequence > id.sequence
        {
            after = slot.before;
        }
        self.chain_after(chain, after, id.slot);
        let mut older = NONE;
        let mut next = self.oldest;
        for _ in 0..STEPS_BACK_MAX {
            match self.slot(next) {
                Some(slot) if slot.sequence < id.sequence => (older, next) = (next, slot.newer),
                _ => break,
            }
        }
        self.age_after(older, id.slot);
        Ok(())
    }

    /// Takes the job out of its slot, which stays its own.
    pub(crate) fn take(&mut self, chain: &mut Chain, slot: u32) -> Option<(J, JobId)> {
        let found = self.slot_mut(slot)?;
        let job = found.job.take()?;
        let id = JobId {
            slot,
            sequence: found.sequence,
        };
        let (before, after, older, newer) = (found.before, found.after, found.older, found.newer);
        self.queued -= 1;
        match self.slot_mut(before) {
            Some(slot) => slot.after = after,
            None => chain.head = after,
        }
        match self.slot_mut(after) {
            Some(slot) => slot.before = before,
            None => chain.tail = before,
        }
        match self.slot_mut(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
        match self.slot_mut(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        Some((job, id))
    }

    /// A taken job has ended: its slot is free.
    pub(crate) fn release(&mut self, id: JobId) {
        if let Some(slot) = self.slot_mut(id.slot)
            && slot.sequence == id.sequence
            && slot.job.is_none()
        {
            // Nobody has this number, so that the slot is not released twice.
            slot.sequence = u64::MAX;
            self.free.push(id.slot);
        }
        if self.free.len() == self.slots.len() && self.slots.capacity() > SLOTS_KEPT_MAX {
            self.slots = Vec::new();
            self.free = Vec::new();
        }
    }

    fn slot(&self, slot: u32) -> Option<&Slot<J>> {
        self.slots.get(slot as usize)
    }

    fn slot_mut(&mut self, slot: u32) -> Option<&mut Slot<J>> {
        self.slots.get_mut(slot as usize)
    }

    /// Chains a slot behind another one of a lane, or to its head.
    fn chain_after(&mut self, chain: &mut Chain, before: u32, slot: u32) {
        let after = match self.slot_mut(before) {
            Some(found) => std::mem::replace(&mut found.after, slot),
            None => std::mem::replace(&mut chain.head, slot),
        };
        match self.slot_mut(after) {
            Some(found) => found.before = slot,
            None => chain.tail = slot,
        }
        if let Some(found) = self.slot_mut(slot) {
            (found.before, found.after) = (before, after);
        }
    }

    /// The same in the chain by age.
    fn age_after(&mut self, older: u32, slot: u32) {
        let newer = match self.slot_mut(older) {
            Some(found) => std::mem::replace(&mut found.newer, slot),
            None => std::mem::replace(&mut self.oldest, slot),
        };
        match self.slot_mut(newer) {
            Some(found) => found.older = slot,
            None => self.newest = slot,
        }
        if let Some(found) = self.slot_mut(slot) {
            (found.older, found.newer) = (older, newer);
        }
    }
}
