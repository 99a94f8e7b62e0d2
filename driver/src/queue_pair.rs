//! An I/O queue pair of a function, as its one owner drives it.
//!
//! Owns a queue and its interrupt. Invariant: one thread at a time drives it (`&mut`),
//! and it knows the life of the function that its memory must be fenced against.
//! It deliberately does not know jobs: `crate::worker` does.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use faam_hwif::{QueueId, SubmissionEntry};

use crate::command_table::Limits;
use crate::dma::{Arena, Incarnation};
use crate::event::EventWaiter;
use crate::fault::DeviceFault;
use crate::function::FunctionShared;
use crate::identity::FunctionIdentity;
use crate::queue::{Queue, Reaped, Token};
use crate::rings::QueueFull;
use crate::transport::TransportError;

/// An I/O queue pair.
#[derive(Debug)]
pub struct QueuePair {
    queue: Queue,
    interrupt: Arc<OwnedFd>,
    function: Arc<FunctionShared>,
}

impl QueuePair {
    pub(crate) fn new(
        queue: Queue,
        interrupt: Arc<OwnedFd>,
        function: Arc<FunctionShared>,
    ) -> Self {
        Self {
            queue,
            interrupt,
            function,
        }
    }

    /// Its number within the function.
    #[must_use]
    pub fn id(&self) -> QueueId {
        self.queue.id()
    }

    /// The function that it belongs to.
    #[must_use]
    pub fn identity(&self) -> &FunctionIdentity {
        &self.function.identity
    }

    /// The life of the function that its memory is fenced against.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.function.incarnation
    }

    /// Commands entered and not yet retired.
    #[must_use]
    pub fn outstanding(&self) -> u32 {
        self.queue.outstanding()
    }

    /// Commands that may be outstanding at once.
    #[must_use]
    pub fn capacity(&self) -> u32 {
        self.queue.capacity()
    }

    /// MMIO doorbell writes of submissions so far: what the shadow page saves.
    #[must_use]
    pub fn kicks(&self) -> u64 {
        self.queue.kicks()
    }

    /// Submit `count` commands that do nothing and take their completions: the ring's own round trip, for
    /// measurement. Spins; `limit` bounds it.
    ///
    /// # Errors
    /// [`DeviceFault`], [`DeviceFault::Hang`] after `limit`.
    pub fn round_trip(
        &mut self,
        count: u32,
        limit: std::time::Duration,
    ) -> Result<(), DeviceFault> {
        let nop = SubmissionEntry {
            op: faam_hwif::Opcode::Nop as u8,
            ..SubmissionEntry::default()
        };
        let mut submitted = 0;
        let mut done = 0;
        let deadline = std::time::Instant::now() + limit;
        while done < count {
            while submitted < count && self.queue.submit(nop, Limits::default(), Token(0)).is_ok() {
                submitted += 1;
            }
            self.queue.ring()?;
            let mut reaped = 0;
            while self.queue.reap()?.is_some() {
                reaped += 1;
            }
            done += reaped;
            if reaped > 0 {
                self.queue.publish_head()?;
            } else if std::time::Instant::now() > deadline {
                return Err(DeviceFault::Hang {
                    limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
                });
            } else {
                std::hint::spin_loop();
            }
        }
        Ok(())
    }

    /// Submit a command that does nothing and sleep until the card's interrupt: how long that took from the doorbell on,
    /// for measurement. No command may be outstanding.
    ///
    /// # Errors
    /// [`DeviceFault`], [`DeviceFault::Hang`] if no interrupt comes within `limit`.
    pub fn interrupt_round_trip(
        &mut self,
        limit: std::time::Duration,
    ) -> Result<std::time::Duration, DeviceFault> {
        let waiter = EventWaiter::new(&[self.interrupt()]).map_err(DeviceFault::Wait)?;
        // A signal from before is not this one's: adding an eventfd that is signalled wakes at once.
        waiter
            .wait(std::time::Duration::ZERO)
            .map_err(DeviceFault::Wait)?;
        let hang = DeviceFault::Hang {
            limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        };
        let nop = SubmissionEntry {
            op: faam_hwif::Opcode::Nop as u8,
            ..SubmissionEntry::default()
        };
        self.queue
            .submit(nop, Limits::default(), Token(0))
            .map_err(|_| hang)?;
        self.queue.arm();
        let before = std::time::Instant::now();
        self.queue.ring()?;
        let (mut interrupted, mut done) = (false, false);
        loop {
            let left = limit.saturating_sub(before.elapsed());
            // A wait may end early, and a completion may come without its interrupt, which then is none to be measured.
            interrupted |= waiter.wait(left).map_err(DeviceFault::Wait)?;
            let took = before.elapsed();
            if !done && self.queue.reap()?.is_some() {
                self.queue.publish_head()?;
                done = true;
            }
            if done && interrupted {
                return Ok(took);
            }
            if left.is_zero() {
                return Err(hang);
            }
        }
    }

    pub(crate) fn arena(&self) -> &Arc<Arena> {
        &self.function.arena
    }

    pub(crate) fn interrupt(&self) -> BorrowedFd<'_> {
        self.interrupt.as_fd()
    }

    /// Whether the function was reset or is being so: nothing outstanding will complete.
    pub(crate) fn is_ended(&self) -> bool {
        self.function.is_ended()
    }

    pub(crate) fn submit(
        &mut self,
        entry: SubmissionEntry,
        limits: Limits,
        token: Token,
    ) -> Result<(), QueueFull> {
        self.queue.submit(entry, limits, token).map(drop)
    }

    pub(crate) fn ring(&mut self) -> Result<(), TransportError> {
        self.queue.ring()
    }

    pub(crate) fn reap(&mut self) -> Result<Option<Reaped>, DeviceFault> {
        self.queue.reap()
    }

    pub(crate) fn publish_head(&mut self) -> Result<(), TransportError> {
        self.queue.publish_head()
    }

    pub(crate) fn has_completion(&self) -> bool {
        self.queue.has_completion()
    }

    pub(crate) fn arm(&self) {
        self.queue.arm();
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.queue
    }
}
