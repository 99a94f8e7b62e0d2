//! Codes of the ERROR block and the error log: what a function found wrong with its host or itself.

/// Why a function raised an error (ERROR.FIRST.code). Unknown codes are kept as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum ErrorCode {
    /// None since reset.
    None = 0,
    /// A doorbell value that would make more entries outstanding than the queue holds.
    DoorbellRange = 1,
    /// A doorbell of a queue that does not exist.
    DoorbellQueue = 2,
    /// The admin queue registers describe no usable queue.
    AdminQueue = 3,
    /// A ring or shadow page could not be reached: unmapped, wrong access, or bus mastering off.
    RingAccess = 4,
    /// Source, history or table memory could not be read.
    DataRead = 5,
    /// Result memory could not be written.
    DataWrite = 6,
    /// The completion queue was full when a completion was due.
    CompletionQueueFull = 7,
    /// An engine failed its own checks.
    Engine = 8,
}

impl ErrorCode {
    /// The code of `bits`, if it is a known one.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        Some(match bits {
            0 => Self::None,
            1 => Self::DoorbellRange,
            2 => Self::DoorbellQueue,
            3 => Self::AdminQueue,
            4 => Self::RingAccess,
            5 => Self::DataRead,
            6 => Self::DataWrite,
            7 => Self::CompletionQueueFull,
            8 => Self::Engine,
            _ => return None,
        })
    }
}
