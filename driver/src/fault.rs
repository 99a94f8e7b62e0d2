//! What can be wrong with a card, as told to whoever must replay its work.
//!
//! Owns the list. Every fault but [`DeviceFault::CommandRefused`], [`DeviceFault::TooLarge`],
//! [`DeviceFault::KernelAbsent`] and [`DeviceFault::NoMemory`] ends the worker that met it: its function is to be fenced
//! before it is used again, or, where [`DeviceFault::is_of_the_queue`], its queue pair is to be
//! retired.

use faam_hwif::{CommandId, Status};
use thiserror::Error;

use crate::transport::TransportError;

/// A fault of a card, or of the way to it. The job that it is told to was not done; it can be replayed elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DeviceFault {
    /// A completion's check field is wrong: torn, random, or of an older queue.
    #[error("completion check field is {got:#06x}, expected {expected:#06x}")]
    BadCheck {
        /// What the entry calls for.
        expected: u16,
        /// What it has.
        got: u16,
    },
    /// A completion has a status that the contract does not define.
    #[error("completion status {bits:#x} is not defined")]
    ReservedStatus {
        /// Its 15 bits.
        bits: u16,
    },
    /// A completion names a command that is not outstanding.
    #[error("completion of {id:?}, which is not outstanding")]
    UnknownCommand {
        /// What it names.
        id: CommandId,
    },
    /// A completion names an earlier use of its slot: late or repeated.
    #[error("completion of {id:?}, whose slot is in generation {generation}")]
    StaleCommand {
        /// What it names.
        id: CommandId,
        /// The slot's generation now.
        generation: u8,
    },
    /// A completion claims more bytes than its command allowed.
    #[error("completion says {field} = {got}, its command allows {limit}")]
    LengthBeyondLimit {
        /// Which length.
        field: &'static str,
        /// What it says.
        got: u32,
        /// What was allowed.
        limit: u32,
    },
    /// A successful completion leaves source bytes over that its command had to take.
    #[error("a successful compression took {got} of {expected} bytes")]
    InputLeftOver {
        /// Bytes of source.
        expected: u32,
        /// Bytes taken.
        got: u32,
    },
    /// A completion's submission head cannot be: it counts a retired command as not fetched.
    #[error("completion says submission head {sq_head}, which leaves out a completed command")]
    BadSubmissionHead {
        /// What it says.
        sq_head: u16,
    },
    /// The command failed in the card.
    #[error("the card ended the command with {status:?}, info {info:#x}")]
    CommandFailed {
        /// How.
        status: Status,
        /// What the status says it is.
        info: u32,
    },
    /// The card says that the command is not one that the contract allows: a bug of the driver, or a card that lies.
    #[error("the card refused the command with {status:?}, info {info:#x}")]
    CommandRefused {
        /// How.
        status: Status,
        /// What the status says it is.
        info: u32,
    },
    /// No slot of the card holds a kernel that does the job. The card is well.
    #[error(
        "no slot of the function holds a kernel for the job: load one, or have another engine do it"
    )]
    KernelAbsent,
    /// No completion within the command's limit.
    #[error("no completion within {limit_ms} ms: the function hangs")]
    Hang {
        /// The limit.
        limit_ms: u64,
    },
    /// The transport failed.
    #[error("the way to the card failed")]
    Transport(#[source] TransportError),
    /// The job is larger than the card or the arena takes.
    #[error(
        "{what} of {bytes} bytes is more than the {bytes_max} that the card and the arena take"
    )]
    TooLarge {
        /// Which part of it.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// The arena had no room within the job's limit.
    #[error("the arena had no room for the job within {limit_ms} ms")]
    NoMemory {
        /// The limit.
        limit_ms: u64,
    },
    /// The worker ended before the job did.
    #[error("the queue pair's worker ended before the job")]
    WorkerEnded,
    /// Waiting for interrupts failed.
    #[error("waiting for the card's interrupts failed")]
    Wait(#[source] rustix::io::Errno),
}

impl DeviceFault {
    /// Whether the function must be fenced before it serves again. The others concern one job alone.
    #[must_use]
    pub const fn ends_worker(&self) -> bool {
        !matches!(
            self,
            Self::CommandRefused { .. }
                | Self::TooLarge { .. }
                | Self::NoMemory { .. }
                | Self::KernelAbsent
        )
    }

    /// Whether it is a completion that cannot be: a fault of one queue pair, as far as is known. Retiring that pair
    /// ([`crate::Function::retire_queue_pair`]) is enough to go on; what its commands named is not free by that.
    #[must_use]
    pub const fn is_of_the_queue(&self) -> bool {
        matches!(
            self,
            Self::BadCheck { .. }
                | Self::ReservedStatus { .. }
                | Self::UnknownCommand { .. }
                | Self::StaleCommand { .. }
                | Self::LengthBeyondLimit { .. }
                | Self::InputLeftOver { .. }
                | Self::BadSubmissionHead { .. }
        )
    }

    /// A short name for counters and logs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::BadCheck { .. } => "bad-check",
            Self::ReservedStatus { .. } => "reserved-status",
            Self::UnknownCommand { .. } => "unknown-command",
            Self::StaleCommand { .. } => "stale-command",
            Self::LengthBeyondLimit { .. } => "length-beyond-limit",
            Self::InputLeftOver { .. } => "input-left-over",
            Self::BadSubmissionHead { .. } => "bad-submission-head",
            Self::CommandFailed { .. } => "command-failed",
            Self::CommandRefused { .. } => "command-refused",
            Self::KernelAbsent => "kernel-absent",
            Self::Hang { .. } => "hang",
            Self::Transport(_) => "transport",
            Self::TooLarge { .. } => "too-large",
            Self::NoMemory { .. } => "no-memory",
            Self::WorkerEnded => "worker-ended",
            Self::Wait(_) => "wait",
        }
    }
}

impl From<TransportError> for DeviceFault {
    fn from(error: TransportError) -> Self {
        Self::Transport(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_a_queue_is_a_completion_that_cannot_be() {
        let id = CommandId::new(1, 2);
        let of_the_queue = [
            DeviceFault::BadCheck {
                expected: 1,
                got: 2,
            },
            DeviceFault::ReservedStatus { bits: 0x7FFF },
            DeviceFault::UnknownCommand { id },
            DeviceFault::StaleCommand { id, generation: 3 },
            DeviceFault::LengthBeyondLimit {
                field: "out_len",
                got: 2,
                limit: 1,
            },
            DeviceFault::InputLeftOver {
                expected: 2,
                got: 1,
            },
            DeviceFault::BadSubmissionHead { sq_head: 9 },
        ];
        let of_the_function = [
            DeviceFault::CommandFailed {
                status: Status::DmaReadFault,
                info: 0,
            },
            DeviceFault::Hang { limit_ms: 1 },
            DeviceFault::Transport(TransportError::Gone),
            DeviceFault::WorkerEnded,
            DeviceFault::Wait(rustix::io::Errno::BADF),
        ];
        for fault in of_the_queue {
            assert!(fault.is_of_the_queue() && fault.ends_worker(), "{fault:?}");
        }
        for fault in of_the_function {
            assert!(!fault.is_of_the_queue() && fault.ends_worker(), "{fault:?}");
        }
    }
}
