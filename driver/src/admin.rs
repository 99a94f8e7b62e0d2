//! The admin queue: one command at a time, answered within a limit.
//!
//! Owns queue 0 and its scratch page, where identify and log pages are written to.
//! Invariant: after a time-out or a fault every later command fails at once.
//! It deliberately does not know what the commands are for.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use faam_hwif::admin::AdminCommand;
use faam_hwif::{CommandId, CompletionEntry, Iova, Status};
use thiserror::Error;

use crate::command_table::Limits;
use crate::event::EventWaiter;
use crate::fault::DeviceFault;
use crate::queue::{Queue, Token};

/// log2 of the admin queue's entries: one command is outstanding at a time.
pub(crate) const ADMIN_ENTRIES_LOG2: u8 = 4;
/// Longest sleep between two looks at the completion queue: bounds what a lost interrupt costs.
const LOOK_AGAIN_MS: u64 = 2;

/// Why an admin command did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AdminError {
    /// The function refused it.
    #[error("the function answered {status:?}, info {info:#x}")]
    Refused {
        /// How.
        status: Status,
        /// What the status says it is.
        info: u32,
    },
    /// The function is not to be trusted any more.
    #[error("the admin queue failed; reset the function")]
    Fault(#[source] DeviceFault),
    /// An earlier command found the queue broken.
    #[error("the admin queue failed earlier; reset the function")]
    Broken,
    /// The answer has another length than the command's structure.
    #[error("expected {expected} bytes, the function wrote {got}")]
    Length {
        /// Bytes expected at least.
        expected: usize,
        /// Bytes written.
        got: u32,
    },
}

/// Queue 0.
#[derive(Debug)]
pub(crate) struct Admin {
    queue: Queue,
    waiter: EventWaiter,
    limit: Duration,
    broken: bool,
}

impl Admin {
    pub(crate) fn new(
        queue: Queue,
        interrupt: &Arc<OwnedFd>,
        limit: Duration,
    ) -> Result<Self, rustix::io::Errno> {
        Ok(Self {
            queue,
            waiter: EventWaiter::new(&[interrupt.as_fd()])?,
            limit,
            broken: false,
        })
    }

    /// Where identify and log pages go, and the room there.
    pub(crate) fn page(&self) -> (Iova, u32) {
        self.queue.memory().scratch_iova()
    }

    /// The structure that a command wrote to the page.
    pub(crate) fn read_page<const N: usize>(&self, written: u32) -> Result<[u8; N], AdminError> {
        let (_, room) = self.page();
        if written > room || usize::try_from(written).unwrap_or(0) < N {
            return Err(AdminError::Length {
                expected: N,
                got: written,
            });
        }
        let mut bytes = [0; N];
        self.queue.memory().read_scratch(0, &mut bytes);
        Ok(bytes)
    }

    /// As many whole structures as a command wrote, `count_max` at most.
    pub(crate) fn read_page_array<const N: usize>(
        &self,
        written: u32,
        count_max: usize,
    ) -> Vec<[u8; N]> {
        let count = (usize::try_from(written).unwrap_or(0) / N).min(count_max);
        let mut all = vec![[0; N]; count];
        for (n, bytes) in all.iter_mut().enumerate() {
            self.queue.memory().read_scratch(n * N, bytes);
        }
        all
    }

    /// Run one command to its end.
    pub(crate) fn execute(&mut self, command: AdminCommand) -> Result<CompletionEntry, AdminError> {
        if self.broken {
            return Err(AdminError::Broken);
        }
        let outcome = self.run(command);
        match outcome {
            Ok((Status::Success, entry)) => Ok(entry),
            Ok((status, entry)) => Err(AdminError::Refused {
                status,
                info: entry.info,
            }),
            Err(fault) => {
                self.broken = true;
                Err(AdminError::Fault(fault))
            }
        }
    }

    fn run(&mut self, command: AdminCommand) -> Result<(Status, CompletionEntry), DeviceFault> {
        let deadline = Instant::now() + self.limit;
        // Lengths in an admin completion are results, not bounds of memory; `read_page` checks them against the page.
        let limits = Limits {
            src_len: u32::MAX,
            dst_cap: u32::MAX,
        };
        // The id is set by the queue.
        let entry = command.encode(CommandId(0));
        self.queue
            .submit(entry, limits, Token(0))
            .map_err(|_| DeviceFault::WorkerEnded)?;
        self.queue.ring()?;
        loop {
            if let Some(reaped) = self.queue.reap()? {
                self.queue.publish_head()?;
                return Ok((reaped.status, reaped.entry));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(DeviceFault::Hang {
                    limit_ms: u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX),
                });
            }
            self.waiter
                .wait(left.min(Duration::from_millis(LOOK_AGAIN_MS)))
                .map_err(DeviceFault::Wait)?;
        }
    }
}
