//! One queue as the host drives it: rings, command table and doorbells together.
//!
//! Owns the walk of a command: entered in the table, written to the ring, published,
//! completed, judged, retired. Invariant: a command is outstanding from [`Queue::submit`]
//! until [`Queue::reap`] returns it, or for ever after a fault.
//! It deliberately does not know what commands do; the admin queue and the I/O queue
//! pairs are both made of it.

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use faam_hwif::regs::{DOORBELL_CQ_HEAD, DOORBELL_SQ_TAIL};
use faam_hwif::{
    BarOffset, CommandId, CompletionEntry, QueueEpoch, QueueId, Status, SubmissionEntry,
};

use crate::command_table::{CommandTable, Limits, SLOTS_MAX};
use crate::dma::QueueMemory;
use crate::fault::DeviceFault;
use crate::rings::doorbell::{
    Kick, arm_interrupt, disarm_interrupt, publish_completion_head, publish_submissions,
};
use crate::rings::{CompletionQueue, QueueFull, SubmissionQueue};
use crate::transport::{Transport, TransportError};

/// What a command was submitted with, to know it again by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) u16);

/// A retired command.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reaped {
    pub(crate) token: Token,
    pub(crate) status: Status,
    pub(crate) entry: CompletionEntry,
}

/// How a queue's indices reach the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doorbells {
    /// By MMIO writes alone.
    Mmio,
    /// By the shadow page, and MMIO kicks when asked for.
    Shadow,
}

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue {
    id: QueueId,
    epoch: QueueEpoch,
    memory: QueueMemory,
    submissions: SubmissionQueue,
    completions: CompletionQueue,
    commands: CommandTable<Token>,
    transport: Arc<dyn Transport>,
    /// This queue's doorbell page.
    page: BarOffset,
    doorbells: Doorbells,
    /// MMIO doorbell writes of submissions.
    kicks: u64,
}

impl Queue {
    pub(crate) fn new(
        id: QueueId,
        epoch: QueueEpoch,
        memory: QueueMemory,
        transport: Arc<dyn Transport>,
        page: BarOffset,
        doorbells: Doorbells,
    ) -> Self {
        // All-zero memory would read as "an interrupt is wanted at completion 0".
        disarm_interrupt(&memory, 0);
        let slots = u16::try_from(memory.entries().in_use_max()).unwrap_or(SLOTS_MAX);
        Self {
            id,
            epoch,
            commands: CommandTable::new(slots),
            memory,
            submissions: SubmissionQueue::default(),
            completions: CompletionQueue::default(),
            transport,
            page,
            doorbells,
            kicks: 0,
        }
    }

    pub(crate) fn id(&self) -> QueueId {
        self.id
    }

    pub(crate) fn memory(&self) -> &QueueMemory {
        &self.memory
    }

    pub(crate) fn outstanding(&self) -> u32 {
        self.submissions.outstanding()
    }

    /// Commands that may be outstanding at once.
    pub(crate) fn capacity(&self) -> u32 {
        self.memory.entries().in_use_max().min(u32::from(SLOTS_MAX))
    }

    pub(crate) fn kicks(&self) -> u64 {
        self.kicks
    }

    /// Enter a command. The card sees it after the next [`Self::ring`].
    pub(crate) fn submit(
        &mut self,
        entry: SubmissionEntry,
        limits: Limits,
        token: Token,
    ) -> Result<CommandId, QueueFull> {
        let full = QueueFull {
            in_use_max: self.capacity(),
        };
        let id = self.commands.insert(limits, token).map_err(|_| full)?;
        let entry = SubmissionEntry { cid: id.0, ..entry };
        if let Err(full) = self.submissions.push(&self.memory, &entry.to_bytes()) {
            self.commands.withdraw(id);
            return Err(full);
        }
        Ok(id)
    }

    /// Show the card all commands entered since the last time, with one kick at most.
    pub(crate) fn ring(&mut self) -> Result<(), TransportError> {
        let Some((old, new)) = self.submissions.take_unpublished() else {
            return Ok(());
        };
        let kick = match self.doorbells {
            Doorbells::Shadow => publish_submissions(&self.memory, old, new),
            Doorbells::Mmio => {
                // Partner: the card reads the entries only after it has taken the doorbell write.
                fence(Ordering::SeqCst);
                Kick::Owed
            }
        };
        match kick {
            Kick::Owed => {
                self.kicks += 1;
                self.transport
                    .post_doorbell(self.doorbell(DOORBELL_SQ_TAIL), new)
            }
            Kick::NotOwed => Ok(()),
        }
    }

    /// Take and judge the next completion, if one is there.
    pub(crate) fn reap(&mut self) -> Result<Option<Reaped>, DeviceFault> {
        let Some(entry) = self.completions.take(&self.memory) else {
            return Ok(None);
        };
        // A torn entry is reported as torn, whatever its head says.
        if !self.submissions.head_is_possible(entry.sq_head) && entry.is_intact(self.epoch) {
            return Err(DeviceFault::BadSubmissionHead {
                sq_head: entry.sq_head,
            });
        }
        let (status, token) = self.commands.retire(&entry, self.epoch)?;
        self.submissions.retire();
        Ok(Some(Reaped {
            token,
            status,
            entry,
        }))
    }

    /// Tell the card which completions were taken.
    pub(crate) fn publish_head(&mut self) -> Result<(), TransportError> {
        match self.completions.take_unpublished() {
            None => Ok(()),
            Some(head) => match self.doorbells {
                Doorbells::Shadow => {
                    publish_completion_head(&self.memory, head);
                    Ok(())
                }
                Doorbells::Mmio => self
                    .transport
                    .post_doorbell(self.doorbell(DOORBELL_CQ_HEAD), head),
            },
        }
    }

    /// Whether a completion waits.
    pub(crate) fn has_completion(&self) -> bool {
        self.completions.is_ready(&self.memory)
    }

    /// Ask for an interrupt at the next completion. Check [`Self::has_completion`] afterwards, before sleeping.
    /// Without a shadow page the card interrupts at each completion anyway.
    pub(crate) fn arm(&self) {
        match self.doorbells {
            Doorbells::Shadow => arm_interrupt(&self.memory, self.completions.head()),
            Doorbells::Mmio => {}
        }
    }

    /// Index after the last entry that the card may know of.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn published(&self) -> u32 {
        self.submissions.published()
    }

    fn doorbell(&self, register: u32) -> BarOffset {
        BarOffset(self.page.0.wrapping_add(register))
    }
}

#[cfg(test)]
mod tests;
