//! The jobs that a worker has taken and not yet completed.
//!
//! Owns each job, its buffers and its stage. Invariant: a job leaves by exactly one call
//! of [`Job::complete`]; dropping this completes whatever is left with a fault, after its
//! buffers went into quarantine, so that neither a panic nor a dead card loses a job or
//! hands memory out that the card may still write.
//! It deliberately does not know rings: it says what to submit, `super::run` does it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use faam_hwif::completion::INFO_STORED;
use faam_hwif::table::{HISTOGRAM_BYTES, TABLE_BYTES};
use faam_hwif::{CardLevel, Status, StatusClass, SubmissionEntry};

use super::counters::WorkerCounters;
use super::job::{Completion, DataRefusal, Job, Kernel, Outcome};
use super::plan::{self, AUX_BYTES, AUX_HISTOGRAM, AUX_TABLE, Places, Stage};
use crate::command_table::Limits;
use crate::dma::{DmaBuffer, Incarnation};
use crate::fault::DeviceFault;
use crate::huffman::{Coverage, Histogram, HuffmanTable};
use crate::queue::{Reaped, Token};
use crate::queue_pair::QueuePair;

/// One job in flight.
struct Frame<J> {
    job: J,
    kernel: Kernel,
    stage: Stage,
    context: u32,
    timeout: Duration,
    src_len: u32,
    dst_cap: u32,
    input: DmaBuffer,
    output: DmaBuffer,
    aux: Option<DmaBuffer>,
    /// When the command of this stage was entered.
    entered: Instant,
    cycles: u64,
    device: Duration,
    transfer: Duration,
}

impl<J> Frame<J> {
    fn command(&self, in_slot: InSlot) -> (SubmissionEntry, Limits) {
        let places = Places {
            src: self.input.iova(),
            src_len: self.src_len,
            dst: self.output.iova(),
            dst_cap: self.dst_cap,
            aux: self.aux.as_ref().map(DmaBuffer::iova),
        };
        let (entry, limits) =
            plan::command(self.stage, self.kernel, &places, self.context, self.timeout);
        let slot = in_slot.selector();
        (SubmissionEntry { slot, ..entry }, limits)
    }

    /// Take the buffers out of circulation; the job is still to be completed.
    fn quarantine(self, incarnation: Incarnation) -> J {
        self.input.quarantine(incarnation);
        self.output.quarantine(incarnation);
        if let Some(aux) = self.aux {
            aux.quarantine(incarnation);
        }
        self.job
    }
}

/// Which slots of a card may do the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InSlot {
    /// It has none.
    NoSlots,
    /// Whichever serves a job.
    Any,
    /// This one alone.
    Named(u8),
}

impl InSlot {
    /// As an entry says it.
    const fn selector(self) -> u8 {
        match self {
            Self::NoSlots | Self::Any => 0,
            Self::Named(slot) => slot.saturating_add(1),
        }
    }
}

/// What became of an attempt to begin a job.
pub(super) enum Begun<J> {
    /// Its first command is to be submitted.
    Submit(Token, SubmissionEntry, Limits),
    /// The arena has no room now. With the job's time-out.
    NoMemory(J, Duration),
    /// It was completed at once.
    Completed,
}

/// What follows a completion.
pub(super) enum Step {
    /// The job is done with.
    Completed,
    /// Its next command is to be submitted.
    Submit(SubmissionEntry, Limits),
}

/// The jobs in flight.
pub(super) struct InFlight<J: Job> {
    frames: Box<[Option<Frame<J>>]>,
    /// Free places, the last used on top: its frame is still in the cache.
    free: Vec<u16>,
    incarnation: Incarnation,
    in_slot: InSlot,
    /// Told to the jobs that are left when this is dropped.
    last_words: DeviceFault,
    /// Refusals in a row.
    refused: u32,
}

/// Commands that a card may call wrong in a row before it is taken for broken. One is a bug of ours that one input
/// brings out, and must not let that input reset the card again and again.
const REFUSALS_MAX: u32 = 8;

impl<J: Job> InFlight<J> {
    pub(super) fn new(jobs_max: u16, incarnation: Incarnation, in_slot: InSlot) -> Self {
        Self {
            frames: (0..jobs_max).map(|_| None).collect(),
            free: (0..jobs_max).rev().collect(),
            incarnation,
            in_slot,
            last_words: DeviceFault::WorkerEnded,
            refused: 0,
        }
    }

    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.frames.len()
    }

    /// When the first command in flight is overdue.
    pub(super) fn nearest_deadline(&self) -> Option<Instant> {
        let frames = self.frames.iter().flatten();
        frames
            .filter_map(|frame| frame.entered.checked_add(frame.timeout))
            .min()
    }

    /// A command that is overdue, as a fault.
    pub(super) fn overdue(&self, now: Instant) -> Option<DeviceFault> {
        let frames = self.frames.iter().flatten();
        frames
            .filter(|frame| now.saturating_duration_since(frame.entered) > frame.timeout)
            .map(|frame| DeviceFault::Hang {
                limit_ms: u64::try_from(frame.timeout.as_millis()).unwrap_or(u64::MAX),
            })
            .next()
    }

    /// Copy a job's input to where the card can reach it.
    pub(super) fn begin(
        &mut self,
        job: J,
        pair: &QueuePair,
        counters: &WorkerCounters,
    ) -> Begun<J> {
        let begun = Instant::now();
        let (job, prepared) = guarded(job, |job| prepare(job, pair));
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(NotPrepared::Refused(fault)) => {
                counters.refused.add(1);
                job.complete(Outcome::Fault(fault));
                return Begun::Completed;
            }
            Err(NotPrepared::NoMemory { timeout }) => return Begun::NoMemory(job, timeout),
        };
        let Some(place) = self.free.last().copied() else {
            return Begun::NoMemory(job, prepared.timeout);
        };
        let entered = Instant::now();
        let frame = Frame {
            job,
            kernel: prepared.kernel,
            stage: prepared.stage,
            context: prepared.context,
            timeout: prepared.timeout,
            src_len: prepared.sizes.src_len,
            dst_cap: prepared.sizes.dst_cap,
            input: prepared.input,
            output: prepared.output,
            aux: prepared.aux,
            entered,
            cycles: 0,
            device: Duration::ZERO,
            transfer: entered - begun,
        };
        let (entry, limits) = frame.command(self.in_slot);
        self.free.pop();
        if let Some(empty) = self.frames.get_mut(usize::from(place)) {
            *empty = Some(frame);
        }
        Begun::Submit(Token(place), entry, limits)
    }

    /// Act on a completion that the command table took for good.
    pub(super) fn advance(
        &mut self,
        reaped: &Reaped,
        now: Instant,
        counters: &WorkerCounters,
    ) -> Result<Step, DeviceFault> {
        let place = usize::from(reaped.token.0);
        let frame = self.frames.get_mut(place).and_then(Option::as_mut).ok_or(
            DeviceFault::UnknownCommand {
                id: reaped.entry.command_id(),
            },
        )?;
        frame.device += now.saturating_duration_since(frame.entered);
        frame.cycles += u64::from(reaped.entry.cycles);
        let failed = || DeviceFault::CommandFailed {
            status: reaped.status,
            info: reaped.entry.info,
        };
        let next = match (reaped.status, reaped.status.class()) {
            (_, StatusClass::Success) => match frame.stage {
                Stage::Count => {
                    make_table(frame);
                    Some(Stage::CompressTable)
                }
                Stage::CompressTable | Stage::CompressFixed
                    if reaped.entry.in_len != frame.src_len =>
                {
                    return Err(DeviceFault::InputLeftOver {
                        expected: frame.src_len,
                        got: reaped.entry.in_len,
                    });
                }
                Stage::CompressTable | Stage::CompressFixed | Stage::Decompress => None,
            },
            (Status::TableMiss | Status::BadTable, _) if frame.stage == Stage::CompressTable => {
                // Our tables code every symbol: a bug here or there. The fixed code needs none.
                counters.table_fallbacks.add(1);
                Some(Stage::CompressFixed)
            }
            (Status::OutputFull, _) if frame.stage != Stage::Count => None,
            (Status::CorruptInput | Status::TruncatedInput, _)
                if frame.stage == Stage::Decompress =>
            {
                None
            }
            // The card is well: what it holds is another kernel.
            (Status::KernelAbsent, _) if self.in_slot != InSlot::NoSlots => None,
            (_, StatusClass::Command) => {
                self.refused += 1;
                if self.refused >= REFUSALS_MAX {
                    return Err(failed());
                }
                None
            }
            // Of the data, but not of this command: a card that makes things up.
            (_, StatusClass::Data | StatusClass::Device) => return Err(failed()),
        };
        if reaped.status.class() != StatusClass::Command {
            self.refused = 0;
        }
        match next {
            Some(stage) => {
                frame.stage = stage;
                frame.entered = Instant::now();
                let (entry, limits) = frame.command(self.in_slot);
                Ok(Step::Submit(entry, limits))
            }
            None => {
                self.complete(place, reaped, counters);
                Ok(Step::Completed)
            }
        }
    }

    /// The job at `place` is over: its command was the last and has completed, so its buffers are free.
    fn complete(&mut self, place: usize, reaped: &Reaped, counters: &WorkerCounters) {
        let Some(frame) = self.frames.get_mut(place).and_then(Option::take) else {
            return;
        };
        if let Ok(place) = u16::try_from(place) {
            self.free.push(place);
        }
        counters.jobs.add(1);
        let Frame {
            job,
            output: buffer,
            cycles,
            device,
            transfer,
            ..
        } = frame;
        let (status, entry) = (reaped.status, &reaped.entry);
        let outcome = match status.class() {
            StatusClass::Success => {
                let begun = Instant::now();
                // The only allocation in the life of a job.
                let mut output = Vec::new();
                let len = usize::try_from(entry.out_len).unwrap_or(usize::MAX);
                match buffer.append_to(&mut output, len) {
                    Ok(()) => Outcome::Done(Completion {
                        output,
                        consumed: entry.in_len,
                        crc32: entry.crc32,
                        adler32: entry.adler32,
                        cycles,
                        device,
                        transfer: transfer + begun.elapsed(),
                        stored: entry.info & INFO_STORED != 0,
                    }),
                    // out_len <= dst_cap <= the buffer's length: the command table saw to it.
                    Err(_) => Outcome::Fault(DeviceFault::LengthBeyondLimit {
                        field: "out_len",
                        got: entry.out_len,
                        limit: u32::try_from(buffer.len()).unwrap_or(u32::MAX),
                    }),
                }
            }
            StatusClass::Data => Outcome::Data(DataRefusal {
                status,
                info: entry.info,
            }),
            StatusClass::Device if status == Status::KernelAbsent => {
                counters.refused.add(1);
                Outcome::Fault(DeviceFault::KernelAbsent)
            }
            StatusClass::Command | StatusClass::Device => {
                counters.refused.add(1);
                tracing::error!(?status, info = entry.info, "the card refused a command");
                Outcome::Fault(DeviceFault::CommandRefused {
                    status,
                    info: entry.info,
                })
            }
        };
        drop(buffer);
        job.complete(outcome);
    }

    /// What the jobs in flight will be told when this is dropped.
    pub(super) fn set_last_words(&mut self, fault: DeviceFault) {
        self.last_words = fault;
    }
}

impl<J: Job> Drop for InFlight<J> {
    fn drop(&mut self) {
        let fault = self.last_words;
        // All memory first: completing runs code that is not ours.
        let mut jobs = Vec::with_capacity(self.frames.len());
        for frame in self.frames.iter_mut().filter_map(Option::take) {
            jobs.push(frame.quarantine(self.incarnation));
        }
        for job in jobs {
            job.complete(Outcome::Fault(fault));
        }
    }
}

/// Looks at a job that is in no frame yet, and would be lost with a panic: completes it on the way out of one.
fn guarded<J: Job, R>(job: J, look: impl FnOnce(&J) -> R) -> (J, R) {
    match catch_unwind(AssertUnwindSafe(|| look(&job))) {
        Ok(seen) => (job, seen),
        Err(panic) => {
            job.complete(Outcome::Fault(DeviceFault::WorkerEnded));
            resume_unwind(panic)
        }
    }
}

/// What a frame is made of, but for the job.
struct Prepared {
    kernel: Kernel,
    stage: Stage,
    context: u32,
    timeout: Duration,
    sizes: Sizes,
    input: DmaBuffer,
    output: DmaBuffer,
    aux: Option<DmaBuffer>,
}

enum NotPrepared {
    Refused(DeviceFault),
    NoMemory { timeout: Duration },
}

/// Checks a job and copies its input to where the card can reach it.
fn prepare<J: Job>(job: &J, pair: &QueuePair) -> Result<Prepared, NotPrepared> {
    let request = job.request();
    let (kernel, context, timeout) = (request.kernel, request.context, request.timeout);
    let sizes = sizes(&request, pair).map_err(NotPrepared::Refused)?;
    let stage = Stage::first(kernel, sizes.src_len);
    let alloc = |bytes| {
        let buffer = pair.arena().alloc(bytes, context);
        buffer.ok_or(NotPrepared::NoMemory { timeout })
    };
    let input = alloc(request.input.len())?;
    let output = alloc(request.output_bytes_max)?;
    let aux = match stage.needs_aux() {
        true => Some(alloc(AUX_BYTES)?),
        false => None,
    };
    // The arena would have given less than was asked for: it does not.
    let copied = input.write_at(0, request.input);
    copied.map_err(|_| NotPrepared::NoMemory { timeout })?;
    Ok(Prepared {
        kernel,
        stage,
        context,
        timeout,
        sizes,
        input,
        output,
        aux,
    })
}

struct Sizes {
    src_len: u32,
    dst_cap: u32,
}

/// Checks a request against what the card and the arena take.
fn sizes(request: &super::job::Request<'_>, pair: &QueuePair) -> Result<Sizes, DeviceFault> {
    let identity = pair.identity();
    let refused = |status| DeviceFault::CommandRefused { status, info: 0 };
    if !identity.has_format(plan::format_of(request.kernel)) {
        return Err(refused(Status::Unsupported));
    }
    match request.kernel {
        Kernel::Compress { level, .. } if !identity.has_level(level) => {
            return Err(refused(Status::Unsupported));
        }
        Kernel::Decompress { .. } if !identity.features.decompress() => {
            return Err(refused(Status::Unsupported));
        }
        Kernel::Compress { .. } | Kernel::Decompress { .. } => {}
    }
    let buffer_max = pair.arena().buffer_bytes_max();
    let job_max = usize::try_from(identity.job_bytes_max).unwrap_or(usize::MAX);
    let within = |what, bytes: usize, bytes_max: usize| match u32::try_from(bytes) {
        Ok(len) if bytes <= bytes_max => Ok(len),
        _ => Err(DeviceFault::TooLarge {
            what,
            bytes,
            bytes_max,
        }),
    };
    Ok(Sizes {
        src_len: within("an input", request.input.len(), job_max.min(buffer_max))?,
        dst_cap: within("an output limit", request.output_bytes_max, buffer_max)?,
    })
}

/// From the histogram that the card wrote to the table that it will load.
fn make_table<J>(frame: &Frame<J>) {
    let Some(aux) = &frame.aux else { return };
    let mut histogram = [0; HISTOGRAM_BYTES as usize];
    let mut table = [0; TABLE_BYTES as usize];
    let coverage = match frame.kernel {
        Kernel::Compress {
            level: CardLevel::Dense,
            ..
        } => Coverage::Whole,
        _ if frame.src_len <= plan::SAMPLE_BYTES_MAX => Coverage::Whole,
        _ => Coverage::Sample,
    };
    // Both lie within the auxiliary buffer and the histogram has its full length, by the constants of `plan`.
    if aux.read_into(AUX_HISTOGRAM, &mut histogram).is_ok()
        && let Ok(histogram) = Histogram::from_bytes(&histogram)
    {
        HuffmanTable::build(&histogram, coverage).write_to(&mut table);
    }
    // An all-zero table, had anything gone wrong, is a BadTable, and the fixed code takes over.
    let _ = aux.write_at(AUX_TABLE, &table);
}
