//! Admin commands and the structures they fill.
//!
//! An admin command is a [`SubmissionEntry`] on queue 0 whose places are read
//! as this file says. Owns encoding, decoding and validation of shapes; whether
//! a queue exists or memory can be reached is the card's to find out.

use crate::command_id::CommandId;
use crate::completion::Status;
use crate::doorbell::SHADOW_BYTES;
use crate::queue::{Iova, QueueEntries, QueueEpoch, QueueId};
use crate::submission::SubmissionEntry;

/// Opcode: delete a queue pair.
pub const OP_DELETE_QUEUE: u8 = 0x00;
/// Opcode: create a queue pair.
pub const OP_CREATE_QUEUE: u8 = 0x01;
/// Opcode: get log page.
pub const OP_GET_LOG_PAGE: u8 = 0x02;
/// Opcode: identify.
pub const OP_IDENTIFY: u8 = 0x06;
/// Opcode: abort.
pub const OP_ABORT: u8 = 0x08;
/// Opcode: set features.
pub const OP_SET_FEATURES: u8 = 0x09;
/// Opcode: download a piece of an image.
pub const OP_DOWNLOAD_IMAGE: u8 = 0xB0;
/// Opcode: program a slot.
pub const OP_PROGRAM_SLOT: u8 = 0xB1;
/// Opcode: evict a slot.
pub const OP_EVICT_SLOT: u8 = 0xB2;
/// Opcode: activate a slot.
pub const OP_ACTIVATE_SLOT: u8 = 0xB3;
/// Opcode kept for asynchronous events.
pub const OP_ASYNC_EVENT: u8 = 0x0C;

/// Byte offset of an entry's field, as `info` of InvalidField and InvalidLength names it.
pub mod field {
    /// `op`.
    pub const OP: u32 = 0x00;
    /// `flags`.
    pub const FLAGS: u32 = 0x01;
    /// `src`.
    pub const SRC: u32 = 0x08;
    /// `dst`.
    pub const DST: u32 = 0x10;
    /// `hist`.
    pub const HIST: u32 = 0x18;
    /// `aux`.
    pub const AUX: u32 = 0x20;
    /// `src_len`.
    pub const SRC_LEN: u32 = 0x28;
    /// `dst_cap`.
    pub const DST_CAP: u32 = 0x2C;
    /// `hist_len`.
    pub const HIST_LEN: u32 = 0x30;
    /// `aux_len`.
    pub const AUX_LEN: u32 = 0x34;
    /// `format`.
    pub const FORMAT: u32 = 0x38;
    /// `level`.
    pub const LEVEL: u32 = 0x39;
    /// `table_mode`.
    pub const TABLE_MODE: u32 = 0x3A;
    /// `slot`.
    pub const SLOT: u32 = 0x3B;
}

/// A setting of the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Feature {
    /// I/O queue pairs wanted; the completion's `out_len` is the number granted.
    QueuePairs = 1,
    /// Completions after which an interrupt is raised at the latest, 1 = each; the completion's `out_len` is the value taken.
    InterruptCoalescing = 2,
}

/// A log page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LogPage {
    /// [`ErrorLogEntry`] x up to [`ERROR_LOG_ENTRIES`], newest first.
    Errors = 1,
    /// [`Health`].
    Health = 2,
}

/// A command on the admin queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdminCommand {
    /// Write [`Identify`] to `dst`.
    Identify {
        /// Where to.
        dst: Iova,
        /// Room there, bytes.
        dst_cap: u32,
    },
    /// Create an I/O queue pair. Its completion queue is zeroed by the host first.
    CreateQueue {
        /// 1 to the function's `io_pairs_max`.
        queue: QueueId,
        /// Entries of both queues.
        entries: QueueEntries,
        /// Submission queue, 64-byte aligned.
        sq: Iova,
        /// Completion queue, 64-byte aligned.
        cq: Iova,
        /// Shadow page, aligned to its size; `None` = MMIO doorbells alone.
        shadow: Option<Iova>,
        /// MSI-X vector of its completions; `None` = the host polls.
        vector: Option<u16>,
        /// Seeds the check field.
        epoch: QueueEpoch,
    },
    /// Delete an I/O queue pair. Completes only after the DMA of all its commands has ended.
    DeleteQueue {
        /// Which.
        queue: QueueId,
    },
    /// Set a feature.
    SetFeatures {
        /// Which.
        feature: Feature,
        /// New value.
        value: u32,
    },
    /// Try to end a command early. `out_len` of its completion is 1 if it was stopped, 0 if it was not found or had begun.
    Abort {
        /// Queue of the command.
        queue: QueueId,
        /// The command.
        command: CommandId,
    },
    /// Write a log page to `dst`; `out_len` is what was written.
    GetLogPage {
        /// Which.
        page: LogPage,
        /// Where to.
        dst: Iova,
        /// Room there, bytes.
        dst_cap: u32,
    },
    /// Copy a piece of an image from `src` into the function's one staging buffer. Offset 0 begins a new image.
    DownloadImage {
        /// Where from.
        src: Iova,
        /// Bytes.
        bytes: u32,
        /// Where in the image. A piece begins where the one before ended.
        offset: u32,
    },
    /// Program a slot with the image in the staging buffer, which is empty after it. Jobs in the slot end first; the
    /// other slots go on. Completes when the reconfiguration has ended, so after commands that came later, and within
    /// LOAD_LIMIT. The slot then serves jobs that name it, until it is activated.
    ProgramSlot {
        /// Which.
        slot: u8,
        /// Length of the image: all of it was downloaded.
        bytes: u32,
    },
    /// Empty a slot, after the jobs in it have ended; a slot that is being programmed at once, whose program command
    /// completes as Aborted. Completes as ProgramSlot does.
    EvictSlot {
        /// Which.
        slot: u8,
    },
    /// Let a slot that was programmed serve jobs that name none.
    ActivateSlot {
        /// Which.
        slot: u8,
    },
}

/// Why an entry is no admin command: the status and `info` of the completion it earns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status.
    pub status: Status,
    /// `info`.
    pub info: u32,
}

const fn bad_field(info: u32) -> Refusal {
    Refusal {
        status: Status::InvalidField,
        info,
    }
}

/// `format` and `level` of CreateQueue hold the vector; this one says that there is none.
const NO_VECTOR: u16 = 0xFFFF;
/// Alignment of rings, bytes.
const RING_ALIGN: u64 = 64;

impl AdminCommand {
    /// The command as an entry with this id.
    #[must_use]
    pub fn encode(&self, id: CommandId) -> SubmissionEntry {
        let base = SubmissionEntry {
            cid: id.0,
            ..SubmissionEntry::default()
        };
        match *self {
            Self::Identify { dst, dst_cap } => SubmissionEntry {
                op: OP_IDENTIFY,
                dst: dst.0,
                dst_cap,
                ..base
            },
            Self::CreateQueue {
                queue,
                entries,
                sq,
                cq,
                shadow,
                vector,
                epoch,
            } => SubmissionEntry {
                op: OP_CREATE_QUEUE,
                src: sq.0,
                dst: cq.0,
                hist: shadow.unwrap_or_default().0,
                hist_len: if shadow.is_some() { SHADOW_BYTES } else { 0 },
                src_len: u32::from(queue.0),
                dst_cap: u32::from(entries.log2()),
                aux_len: u32::from(epoch.0) | (u32::from(vector.unwrap_or(NO_VECTOR)) << 16),
                ..base
            },
            Self::DeleteQueue { queue } => SubmissionEntry {
                op: OP_DELETE_QUEUE,
                src_len: u32::from(queue.0),
                ..base
            },
            Self::SetFeatures { feature, value } => SubmissionEntry {
                op: OP_SET_FEATURES,
                src_len: feature as u32,
                dst_cap: value,
                ..base
            },
            Self::Abort { queue, command } => SubmissionEntry {
                op: OP_ABORT,
                src_len: u32::from(queue.0),
                dst_cap: u32::from(command.0),
                ..base
            },
            Self::GetLogPage { page, dst, dst_cap } => SubmissionEntry {
                op: OP_GET_LOG_PAGE,
                dst: dst.0,
                dst_cap,
                src_len: page as u32,
                ..base
            },
            Self::DownloadImage { src, bytes, offset } => SubmissionEntry {
                op: OP_DOWNLOAD_IMAGE,
                src: src.0,
                src_len: bytes,
                dst_cap: offset,
                ..base
            },
            Self::ProgramSlot { slot, bytes } => SubmissionEntry {
                op: OP_PROGRAM_SLOT,
                src_len: u32::from(slot),
                dst_cap: bytes,
                ..base
            },
            Self::EvictSlot { slot } => SubmissionEntry {
                op: OP_EVICT_SLOT,
                src_len: u32::from(slot),
                ..base
            },
            Self::ActivateSlot { slot } => SubmissionEntry {
                op: OP_ACTIVATE_SLOT,
                src_len: u32::from(slot),
                ..base
            },
        }
    }

    /// The command that an entry asks for.
    ///
    /// # Errors
    /// [`Refusal`]: what the card completes the entry with.
    pub fn decode(entry: &SubmissionEntry) -> Result<Self, Refusal> {
        if entry.flags != 0 {
            return Err(bad_field(field::FLAGS));
        }
        let queue = || {
            u16::try_from(entry.src_len)
                .map(QueueId)
                .map_err(|_| bad_field(field::SRC_LEN))
        };
        let slot = || u8::try_from(entry.src_len).map_err(|_| bad_field(field::SRC_LEN));
        match entry.op {
            OP_IDENTIFY => Ok(Self::Identify {
                dst: Iova(entry.dst),
                dst_cap: entry.dst_cap,
            }),
            OP_CREATE_QUEUE => {
                let log2 = u8::try_from(entry.dst_cap).map_err(|_| bad_field(field::DST_CAP))?;
                let entries = QueueEntries::from_log2(log2).ok_or(bad_field(field::DST_CAP))?;
                if !entry.src.is_multiple_of(RING_ALIGN) {
                    return Err(bad_field(field::SRC));
                }
                if !entry.dst.is_multiple_of(RING_ALIGN) {
                    return Err(bad_field(field::DST));
                }
                let shadow = match entry.hist_len {
                    0 => None,
                    SHADOW_BYTES if entry.hist.is_multiple_of(u64::from(SHADOW_BYTES)) => {
                        Some(Iova(entry.hist))
                    }
                    SHADOW_BYTES => return Err(bad_field(field::HIST)),
                    _ => return Err(bad_field(field::HIST_LEN)),
                };
                let [e0, e1, v0, v1] = entry.aux_len.to_le_bytes();
                let vector = u16::from_le_bytes([v0, v1]);
                Ok(Self::CreateQueue {
                    queue: queue()?,
                    entries,
                    sq: Iova(entry.src),
                    cq: Iova(entry.dst),
                    shadow,
                    vector: (vector != NO_VECTOR).then_some(vector),
                    epoch: QueueEpoch(u16::from_le_bytes([e0, e1])),
                })
            }
            OP_DELETE_QUEUE => Ok(Self::DeleteQueue { queue: queue()? }),
            OP_SET_FEATURES => {
                let feature = match entry.src_len {
                    1 => Feature::QueuePairs,
                    2 => Feature::InterruptCoalescing,
                    _ => return Err(bad_field(field::SRC_LEN)),
                };
                Ok(Self::SetFeatures {
                    feature,
                    value: entry.dst_cap,
                })
            }
            OP_ABORT => {
                let command =
                    u16::try_from(entry.dst_cap).map_err(|_| bad_field(field::DST_CAP))?;
                Ok(Self::Abort {
                    queue: queue()?,
                    command: CommandId(command),
                })
            }
            OP_GET_LOG_PAGE => {
                let page = match entry.src_len {
                    1 => LogPage::Errors,
                    2 => LogPage::Health,
                    _ => return Err(bad_field(field::SRC_LEN)),
                };
                Ok(Self::GetLogPage {
                    page,
                    dst: Iova(entry.dst),
                    dst_cap: entry.dst_cap,
                })
            }
            OP_DOWNLOAD_IMAGE => Ok(Self::DownloadImage {
                src: Iova(entry.src),
                bytes: entry.src_len,
                offset: entry.dst_cap,
            }),
            OP_PROGRAM_SLOT => Ok(Self::ProgramSlot {
                slot: slot()?,
                bytes: entry.dst_cap,
            }),
            OP_EVICT_SLOT => Ok(Self::EvictSlot { slot: slot()? }),
            OP_ACTIVATE_SLOT => Ok(Self::ActivateSlot { slot: slot()? }),
            _ => Err(Refusal {
                status: Status::InvalidOpcode,
                info: field::OP,
            }),
        }
    }
}

/// Size of the identify structure, bytes.
pub const IDENTIFY_BYTES: usize = 256;

/// What identify returns: text for people, and limits that repeat the capability block for a cross-check.
///
/// ```text
/// 00 serial [20]   14 model [40]   3C firmware [16]   (ASCII, padded with spaces)
/// 4C engines u32   50 job_bytes_max u32   54 history_bytes_max u32   58 clock_khz u32
/// 5C io_pairs_max u16   5E entries_log2_max u8   5F function u8   60.. zero
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identify {
    /// Serial number, the same for all functions of a card.
    pub serial: [u8; 20],
    /// Model name.
    pub model: [u8; 40],
    /// Firmware or gateware revision.
    pub firmware: [u8; 16],
    /// Engines of this function.
    pub engines: u32,
    /// Largest source of a job, bytes.
    pub job_bytes_max: u32,
    /// Largest history, bytes.
    pub history_bytes_max: u32,
    /// Clock of the engines, kHz.
    pub clock_khz: u32,
    /// I/O queue pairs.
    pub io_pairs_max: u16,
    /// log2 of the most entries of a queue.
    pub entries_log2_max: u8,
    /// Index of this function.
    pub function: u8,
}

impl Identify {
    /// The structure as it lies in memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; IDENTIFY_BYTES] {
        let mut out = [0; IDENTIFY_BYTES];
        let parts: [&[u8]; 10] = [
            &self.serial,
            &self.model,
            &self.firmware,
            &self.engines.to_le_bytes(),
            &self.job_bytes_max.to_le_bytes(),
            &self.history_bytes_max.to_le_bytes(),
            &self.clock_khz.to_le_bytes(),
            &self.io_pairs_max.to_le_bytes(),
            &[self.entries_log2_max],
            &[self.function],
        ];
        let mut at = 0;
        for part in parts {
            if let Some(place) = out.get_mut(at..at + part.len()) {
                place.copy_from_slice(part);
            }
            at += part.len();
        }
        out
    }

    /// The structure that these bytes hold.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; IDENTIFY_BYTES]) -> Self {
        let mut read = Reader { rest: bytes };
        Self {
            serial: read.take(),
            model: read.take(),
            firmware: read.take(),
            engines: u32::from_le_bytes(read.take()),
            job_bytes_max: u32::from_le_bytes(read.take()),
            history_bytes_max: u32::from_le_bytes(read.take()),
            clock_khz: u32::from_le_bytes(read.take()),
            io_pairs_max: u16::from_le_bytes(read.take()),
            entries_log2_max: u8::from_le_bytes(read.take()),
            function: u8::from_le_bytes(read.take()),
        }
    }
}

/// Entries that the error log keeps.
pub const ERROR_LOG_ENTRIES: usize = 16;
/// Size of one error log entry, bytes.
pub const ERROR_LOG_ENTRY_BYTES: usize = 24;

/// One error that the function met.
///
/// `00 count u32   04 code u16   06 queue u16   08 info u64   10 uptime_ms u64`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorLogEntry {
    /// Which error since reset, from 1.
    pub count: u32,
    /// `crate::error::ErrorCode` bits.
    pub code: u16,
    /// Queue that it came up on.
    pub queue: u16,
    /// Address or value that it speaks of.
    pub info: u64,
    /// When, milliseconds since power-on.
    pub uptime_ms: u64,
}

impl ErrorLogEntry {
    /// The entry as it lies in memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; ERROR_LOG_ENTRY_BYTES] {
        let mut out = [0; ERROR_LOG_ENTRY_BYTES];
        let words = [
            u64::from(self.count) | (u64::from(self.code) << 32) | (u64::from(self.queue) << 48),
            self.info,
            self.uptime_ms,
        ];
        for (place, word) in out.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// The entry that these bytes hold.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; ERROR_LOG_ENTRY_BYTES]) -> Self {
        let mut read = Reader { rest: bytes };
        Self {
            count: u32::from_le_bytes(read.take()),
            code: u16::from_le_bytes(read.take()),
            queue: u16::from_le_bytes(read.take()),
            info: u64::from_le_bytes(read.take()),
            uptime_ms: u64::from_le_bytes(read.take()),
        }
    }
}

/// Size of the health log page, bytes.
pub const HEALTH_BYTES: usize = 64;

/// Counters of the function since power-on: eight u64, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Milliseconds since power-on.
    pub uptime_ms: u64,
    /// Commands completed on I/O queues.
    pub jobs: u64,
    /// Those whose status was not success.
    pub jobs_failed: u64,
    /// Bytes read as source data.
    pub bytes_in: u64,
    /// Bytes written as result data.
    pub bytes_out: u64,
    /// Engine cycles spent on jobs.
    pub busy_cycles: u64,
    /// Engine cycles spent on scrubbing between contexts; never charged to a job.
    pub scrub_cycles: u64,
    /// DMA accesses that were refused.
    pub dma_faults: u64,
}

impl Health {
    /// The page as it lies in memory.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEALTH_BYTES] {
        let mut out = [0; HEALTH_BYTES];
        let words = [
            self.uptime_ms,
            self.jobs,
            self.jobs_failed,
            self.bytes_in,
            self.bytes_out,
            self.busy_cycles,
            self.scrub_cycles,
            self.dma_faults,
        ];
        for (place, word) in out.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// The page that these bytes hold.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; HEALTH_BYTES]) -> Self {
        let mut read = Reader { rest: bytes };
        let mut word = || u64::from_le_bytes(read.take());
        Self {
            uptime_ms: word(),
            jobs: word(),
            jobs_failed: word(),
            bytes_in: word(),
            bytes_out: word(),
            busy_cycles: word(),
            scrub_cycles: word(),
            dma_faults: word(),
        }
    }
}

/// Takes fixed-size pieces off the front; past the end it gives zeros.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk::<N>() {
            Some((piece, rest)) => {
                self.rest = rest;
                *piece
            }
            None => [0; N],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::submission::SUBMISSION_BYTES;
    use proptest::prelude::*;

    fn commands() -> impl Strategy<Value = AdminCommand> {
        let queue = any::<u16>().prop_map(QueueId);
        let iova = any::<u64>().prop_map(Iova);
        prop_oneof![
            (iova.clone(), any::<u32>())
                .prop_map(|(dst, dst_cap)| AdminCommand::Identify { dst, dst_cap }),
            (
                (queue.clone(), 1u8..=12, any::<u64>(), any::<u64>()),
                (
                    proptest::option::of(any::<u64>()),
                    proptest::option::of(0u16..NO_VECTOR),
                    any::<u16>()
                )
            )
                .prop_map(|((queue, log2, sq, cq), (shadow, vector, epoch))| {
                    AdminCommand::CreateQueue {
                        queue,
                        entries: QueueEntries::from_log2(log2).unwrap(),
                        sq: Iova(sq & !63),
                        cq: Iova(cq & !63),
                        shadow: shadow.map(|at| Iova(at & !255)),
                        vector,
                        epoch: QueueEpoch(epoch),
                    }
                }),
            queue
                .clone()
                .prop_map(|queue| AdminCommand::DeleteQueue { queue }),
            any::<u32>().prop_map(|value| AdminCommand::SetFeatures {
                feature: Feature::QueuePairs,
                value
            }),
            (queue, any::<u16>()).prop_map(|(queue, id)| AdminCommand::Abort {
                queue,
                command: CommandId(id)
            }),
            (iova.clone(), any::<u32>()).prop_map(|(dst, dst_cap)| AdminCommand::GetLogPage {
                page: LogPage::Health,
                dst,
                dst_cap
            }),
            (iova, any::<u32>(), any::<u32>()).prop_map(|(src, bytes, offset)| {
                AdminCommand::DownloadImage { src, bytes, offset }
            }),
            (any::<u8>(), any::<u32>())
                .prop_map(|(slot, bytes)| AdminCommand::ProgramSlot { slot, bytes }),
            any::<u8>().prop_map(|slot| AdminCommand::EvictSlot { slot }),
            any::<u8>().prop_map(|slot| AdminCommand::ActivateSlot { slot }),
        ]
    }

    proptest! {
        #[test]
        fn every_command_survives_the_round_trip(command in commands(), id: u16) {
            let entry = command.encode(CommandId(id));
            prop_assert_eq!(entry.cid, id);
            prop_assert_eq!(AdminCommand::decode(&entry), Ok(command));
        }

        #[test]
        fn any_bytes_decode_or_are_refused(halves in any::<([u8; 32], [u8; 32])>()) {
            let mut bytes = [0; SUBMISSION_BYTES];
            bytes[..32].copy_from_slice(&halves.0);
            bytes[32..].copy_from_slice(&halves.1);
            if let Err(refusal) = AdminCommand::decode(&SubmissionEntry::from_bytes(&bytes)) {
                prop_assert_ne!(refusal.status, Status::Success);
            }
        }

        #[test]
        fn structures_survive_the_round_trip(words: [u64; 8], text: [u8; 20], numbers: [u32; 4]) {
            let mut page = [0; HEALTH_BYTES];
            for (place, word) in page.chunks_exact_mut(8).zip(words) {
                place.copy_from_slice(&word.to_le_bytes());
            }
            prop_assert_eq!(Health::from_bytes(&page).to_bytes(), page);
            let identify = Identify {
                serial: text,
                model: [text[0]; 40],
                firmware: [text[1]; 16],
                engines: numbers[0],
                job_bytes_max: numbers[1],
                history_bytes_max: numbers[2],
                clock_khz: numbers[3],
                io_pairs_max: 16,
                entries_log2_max: text[2],
                function: text[3],
            };
            prop_assert_eq!(Identify::from_bytes(&identify.to_bytes()), identify);
            let mut entry = [0; ERROR_LOG_ENTRY_BYTES];
            entry.copy_from_slice(&page[..ERROR_LOG_ENTRY_BYTES]);
            prop_assert_eq!(ErrorLogEntry::from_bytes(&entry).to_bytes(), entry);
        }
    }
}
