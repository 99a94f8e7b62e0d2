//! The admin queue: one command at a time, answered within a limit; and a few that take their time meanwhile.
//!
//! Owns queue 0 and its scratch page, where identify and log pages are written to.
//! Invariant: after a time-out or a fault every later command fails at once. A command that was begun
//! ([`Admin::begin`]) breaks nothing by taking long: whoever waits for it gives it up.
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

/// Commands that take their time, at once, those that were given up included.
const BEGUN_MAX: usize = 6;
// Room for one that is answered at once beside them.
const _: () = assert!(BEGUN_MAX + 1 < 1 << ADMIN_ENTRIES_LOG2);

/// The token of a command that is answered at once: the place of none that was begun.
const AT_ONCE: Token = Token(u16::MAX);

/// A command that was begun: the place at which its end is noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun(u16);

/// What is known of a command that was begun.
#[derive(Clone, Copy, Debug)]
enum Place {
    Free,
    Outstanding,
    /// Nobody waits for it any more.
    GivenUp,
    Ended(Status, CompletionEntry),
}

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
    /// So many commands are under way that take their time.
    #[error(
        "{BEGUN_MAX} commands are under way or were given up; wait for one, or reset the function"
    )]
    Busy,
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
    begun: [Place; BEGUN_MAX],
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
            begun: [Place::Free; BEGUN_MAX],
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
            Err(fault) => Err(self.broke(fault)),
        }
    }

    fn run(&mut self, command: AdminCommand) -> Result<(Status, CompletionEntry), DeviceFault> {
        let deadline = Instant::now() + self.limit;
        self.submit(command, AT_ONCE)?;
        loop {
            if let Some(ended) = self.reap()? {
                return Ok(ended);
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

    fn submit(&mut self, command: AdminCommand, token: Token) -> Result<(), DeviceFault> {
        // Lengths in an admin completion are results, not bounds of memory; `read_page` checks them against the page.
        let limits = Limits {
            src_len: u32::MAX,
            dst_cap: u32::MAX,
        };
        // The id is set by the queue.
        let entry = command.encode(CommandId(0));
        self.queue
            .submit(entry, limits, token)
            .map_err(|_| DeviceFault::WorkerEnded)?;
        Ok(self.queue.ring()?)
    }

    /// Takes the completions that are there, until that of the command that is answered at once. Those of others are noted.
    fn reap(&mut self) -> Result<Option<(Status, CompletionEntry)>, DeviceFault> {
        let mut answer = None;
        let mut any = false;
        while answer.is_none()
            && let Some(reaped) = self.queue.reap()?
        {
            any = true;
            let ended = (reaped.status, reaped.entry);
            match self.begun.get_mut(usize::from(reaped.token.0)) {
                Some(place) => {
                    *place = match place {
                        Place::Outstanding => Place::Ended(ended.0, ended.1),
                        Place::Free | Place::GivenUp | Place::Ended(..) => Place::Free,
                    };
                }
                None => answer = Some(ended),
            }
        }
        if any {
            self.queue.publish_head()?;
        }
        Ok(answer)
    }

    /// Begin a command that takes its time.
    pub(crate) fn begin(&mut self, command: AdminCommand) -> Result<Begun, AdminError> {
        if self.broken {
            return Err(AdminError::Broken);
        }
        let free = |place: &Place| matches!(place, Place::Free);
        let number = self.begun.iter().position(free).ok_or(AdminError::Busy)?;
        let place = u16::try_from(number).map_err(|_| AdminError::Busy)?;
        self.submit(command, Token(place))
            .map_err(|fault| self.broke(fault))?;
        if let Some(place) = self.begun.get_mut(number) {
            *place = Place::Outstanding;
        }
        Ok(Begun(place))
    }

    /// The end of a command that was begun, if it has come; it is told once.
    pub(crate) fn end_of(&mut self, begun: Begun) -> Option<Result<CompletionEntry, AdminError>> {
        if self.broken {
            return Some(Err(AdminError::Broken));
        }
        // Nothing is outstanding that is answered at once: that holds the admin queue until it is.
        if let Err(fault) = self.reap() {
            return Some(Err(self.broke(fault)));
        }
        let place = self.begun.get_mut(usize::from(begun.0))?;
        let Place::Ended(status, entry) = *place else {
            return None;
        };
        *place = Place::Free;
        Some(match status {
            Status::Success => Ok(entry),
            status => Err(AdminError::Refused {
                status,
                info: entry.info,
            }),
        })
    }

    /// Nobody waits for this one any more. Its end, when it comes, is taken without a word.
    pub(crate) fn give_up(&mut self, begun: Begun) {
        if let Some(place) = self.begun.get_mut(usize::from(begun.0)) {
            *place = match place {
                Place::Outstanding => Place::GivenUp,
                Place::Free | Place::GivenUp | Place::Ended(..) => Place::Free,
            };
        }
    }

    fn broke(&mut self, fault: DeviceFault) -> AdminError {
        self.broken = true;
        AdminError::Fault(fault)
    }
}
