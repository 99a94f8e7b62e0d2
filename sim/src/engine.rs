//! Engines: threads that take jobs, read their memory once, run the model and write the result.
//!
//! Owns pacing, scrubbing and what faults make of a job. Invariants:
//! - nothing of a job's result is written before it is known to fit `dst_cap`, and nothing ever beyond that;
//! - an engine that goes from one context to another is scrubbed first, and no job pays for it; so is one that goes
//!   from one life of the function to the next, where the same number is another client's context;
//! - a job whose queue is gone is dropped without a word: its lease is revoked, so it could not do any harm.
//!
//! It does not know rings: a job ends by [`Queue::post`]. Jobs wait in the [pool](crate::engine_pool).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use faam_codec::{Decompressor, InflateError};
use faam_hwif::completion::INFO_STORED;
use faam_hwif::error::ErrorCode;
use faam_hwif::regs::QueueCounter;
use faam_hwif::{CompletionEntry, HISTORY_BYTES_MAX, Iova, JOB_BYTES_MAX, Status};

use crate::engine_pool::Taken;
use crate::faults::Fault;
use crate::function::Function;
use crate::job::{Job, Span, Work};
use crate::memory::DmaFault;
use crate::model::{
    Alphabet, BadTable, Engine, Fault as ModelFault, Format, Job as ModelJob, LoadedTable, Params,
    Tables,
};
use crate::search::Found;
use crate::slots;

/// Cycles of a scrub: the 8,192 sets of the hash table, one a cycle; the window's 32 KiB, 16 bytes a cycle, go alongside.
pub(crate) const SCRUB_CYCLES: u64 = 8_192;
/// Cycles of a decompress job that do not depend on its data: fetching it, header, trailer, report, as for compress.
const DECOMPRESS_CYCLES_PER_JOB: u64 = crate::model::CYCLES_PER_JOB;
/// Bytes of a compress job's output that do not grow with its input: framing, a table's header, block ends.
const OUTPUT_BYTES_FIXED: usize = 4096;
/// Bytes that the fault of writing beyond a job's room writes there.
const SPILL_BYTES: usize = 64;
/// Longest time that a fault makes a job take, milliseconds.
const SLOW_MS_MAX: u64 = 60_000;

/// How a job ended.
struct Ending {
    status: Status,
    entry: CompletionEntry,
    /// Bytes to write, from the start of the worker's output buffer, and where to.
    output: Option<(Iova, usize)>,
    cycles: u64,
}

impl Ending {
    fn failed(status: Status, info: u32) -> Self {
        Self {
            status,
            entry: CompletionEntry {
                info,
                ..CompletionEntry::default()
            },
            output: None,
            cycles: 0,
        }
    }
}

/// Whose data an engine holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ScrubDomain {
    /// Resets of the function before it.
    life: u64,
    context: u32,
}

/// One engine and its buffers.
pub(crate) struct Worker {
    function: Arc<Function>,
    model: Engine,
    /// Made when it is first needed, and again after a scrub: its window goes with it.
    decompressor: Option<Decompressor>,
    src: PageBuffer,
    history: PageBuffer,
    aux: PageBuffer,
    dst: PageBuffer,
    domain: Option<ScrubDomain>,
    /// The last question that it answered.
    answered: u64,
    /// When the engine's modelled time has caught up with what it has done.
    free_at: Instant,
}

impl Worker {
    /// An engine of this function. Its buffers are all it ever allocates.
    pub(crate) fn new(function: Arc<Function>) -> Self {
        Self {
            function,
            model: Engine::new(),
            decompressor: None,
            src: PageBuffer::new(JOB_BYTES_MAX as usize),
            history: PageBuffer::new(HISTORY_BYTES_MAX as usize),
            aux: PageBuffer::new(faam_hwif::table::HISTOGRAM_BYTES as usize),
            dst: PageBuffer::new(output_bytes_max(JOB_BYTES_MAX)),
            domain: None,
            answered: 0,
            free_at: Instant::now(),
        }
    }

    /// Executes jobs until the card stops.
    pub(crate) fn run(mut self) {
        let function = Arc::clone(&self.function);
        while let Some(taken) = function.pool.take(self.answered) {
            let Taken::Job(mut job, life) = taken else {
                self.answer();
                continue;
            };
            // There is room for another one.
            function.bell.ring();
            // From here to its end it is in its slot, which is neither programmed nor emptied meanwhile.
            let Some(place) = function.slots.enter(&job.work, job.slot) else {
                self.refuse(&job);
                continue;
            };
            let over = job.queue.lease().is_revoked() || self.befall(&mut job);
            if over && !function.faults.on(Fault::WorksThroughReset) {
                continue;
            }
            self.execute(&job, life, place.garbage);
        }
    }

    /// Ends a job that no slot has the kernel for.
    fn refuse(&self, job: &Job) {
        let needs = u32::from(slots::needs(&job.work).0);
        self.finish(job, Ending::failed(Status::KernelAbsent, needs));
    }

    /// Tells a tester what there is of its pattern here. Of the hash tables, which hold positions, how many sets do.
    fn answer(&mut self) {
        let search = &self.function.pool.search;
        let (number, pattern) = search.question();
        let mut found = Found::default();
        for (place, bytes) in [
            ("src", self.src.all()),
            ("history", self.history.all()),
            ("aux", self.aux.all()),
            ("dst", self.dst.all()),
            ("stream", self.model.stream()),
        ] {
            found.add(place, pattern.occurrences(bytes));
        }
        found.add("sets", self.model.occupied_sets());
        let errors = self.function.errors.page();
        found.add("errors", pattern.occurrences(&errors));
        self.answered = number;
        search.answer(number, found);
    }

    /// Draws what strikes the job and the function. Whether the job's life ended by that.
    fn befall(&self, job: &mut Job) -> bool {
        let function = &self.function;
        // Before the draw, so that a hang which is ended right after it has ended.
        let mark = function.pool.mark();
        let draw = function.faults.draw(|fault| job.work.feels(fault));
        job.strikes = draw.strikes;
        for event in draw.events {
            function.befall(event);
        }
        let hang = function.faults.strike(Fault::EngineHangs, &job.strikes);
        let over = hang.is_some_and(|hang| function.pool.hang(mark, hang.time()));
        over || job.queue.lease().is_revoked()
    }

    /// Executes the jobs that wait now. Whether there was one.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn execute_waiting(&mut self) -> bool {
        let function = Arc::clone(&self.function);
        let mut any = false;
        while let Some((job, life)) = function.pool.take_waiting() {
            any = true;
            if job.queue.lease().is_revoked() {
                continue;
            }
            match function.slots.enter(&job.work, job.slot) {
                Some(place) => self.execute(&job, life, place.garbage),
                None => self.refuse(&job),
            }
        }
        any
    }

    fn execute(&mut self, job: &Job, life: u64, garbage: bool) {
        let function = Arc::clone(&self.function);
        let began = Instant::now();
        // A job that waited starts in the modelled instant in which the one before it ended, however late this thread
        // woke up: oversleeping does not add up.
        let mut start = self.free_at.max(job.fetched_at);
        let domain = ScrubDomain {
            life,
            context: job.context,
        };
        let charged = match function.faults.hit(Fault::ChargesForSets, &job.strikes) {
            true => self.model.occupied_sets() as u64,
            false => 0,
        };
        let changed = self.domain.replace(domain) != Some(domain);
        if changed && !function.faults.hit(Fault::Unscrubbed, &job.strikes) {
            self.scrub();
            start += self.time(SCRUB_CYCLES);
        }
        let mut ending = match self.work(job) {
            Ok(ending) => ending,
            Err(ending) => ending,
        };
        ending.cycles += charged;
        let slow = function.faults.strike(Fault::SlowEngine, &job.strikes);
        let factor = slow.map_or(1, |slow| slow.factor);
        ending.cycles = ending.cycles.saturating_mul(u64::from(factor));
        let mut taken = self.time(ending.cycles);
        if slow.is_some() {
            taken = taken.min(Duration::from_millis(SLOW_MS_MAX));
        }
        let end = start + taken;
        self.free_at = end;
        let mut due = match (function.identity.paced, slow) {
            (true, _) => end,
            (false, None) => Instant::now(),
            (false, Some(_)) => began + slowed(began.elapsed(), factor),
        };
        if let Some(deadline) = deadline(job)
            && due > deadline
        {
            due = deadline;
            self.free_at = deadline.max(start);
            let cycles = ending.cycles;
            ending = Ending::failed(Status::TimedOut, 0);
            ending.cycles = cycles;
        }
        let waits = function.identity.paced || slow.is_some();
        if waits && !function.pool.sleep_until(due, job.queue.lease()) {
            return;
        }
        if garbage {
            self.garble(&mut ending);
        }
        self.spoil(job, &mut ending);
        if let Some((at, bytes)) = ending.output {
            let result = job.queue.lease().write(at, self.dst.get(bytes));
            match result {
                Ok(()) => {}
                Err(DmaFault::Revoked) => return,
                Err(DmaFault::Refused { at }) => {
                    let cycles = ending.cycles;
                    ending = self.fault(job, ErrorCode::DataWrite, at);
                    ending.cycles = cycles;
                }
            }
        }
        if let Some(late) = function.faults.strike(Fault::LateCompletion, &job.strikes) {
            let due = Instant::now() + late.time().unwrap_or_default();
            if !function.pool.sleep_until(due, job.queue.lease()) {
                return;
            }
        }
        self.finish(job, ending);
    }

    /// What a slot that was programmed with garbage makes of an ending.
    fn garble(&mut self, ending: &mut Ending) {
        if let Some((_, bytes)) = ending.output
            && let Some(byte) = self.dst.get_mut(bytes).get_mut(bytes / 2)
        {
            *byte ^= 0x55;
        }
        ending.entry.crc32 ^= 1;
    }

    /// What faults make of an ending.
    fn spoil(&mut self, job: &Job, ending: &mut Ending) {
        let faults = Arc::clone(&self.function.faults);
        if !faults.any(&job.strikes) {
            return;
        }
        let hit = |fault| faults.hit(fault, &job.strikes);
        if ending.status == Status::Success && hit(Fault::WrongChecksum) {
            ending.entry.crc32 ^= 1;
        }
        if ending.entry.out_len > 0 && hit(Fault::ShortLength) {
            ending.entry.out_len -= 1;
        }
        if let Work::Compress { dst, .. } | Work::Decompress { dst, .. } = job.work
            && hit(Fault::LengthBeyondRoom)
        {
            ending.entry.out_len = dst.bytes.saturating_add(1);
        }
        match (job.work, ending.output) {
            (Work::Compress { .. }, Some((_, bytes))) if hit(Fault::FlipsABit) => {
                if let Some(byte) = self.dst.get_mut(bytes).get_mut(bytes / 2) {
                    *byte ^= 0x10;
                }
            }
            (Work::Count { .. }, Some((_, bytes))) if hit(Fault::Miscounts) => {
                // End of block, symbol 256: counts are 32-bit words.
                if let Some(byte) = self.dst.get_mut(bytes).get_mut(256 * 4) {
                    *byte = byte.wrapping_add(1);
                }
            }
            (Work::Compress { dst, .. } | Work::Decompress { dst, .. }, None)
                if ending.status == Status::OutputFull && hit(Fault::WritesBeyondRoom) =>
            {
                ending.output = Some((dst.at, dst.bytes as usize + SPILL_BYTES));
            }
            (Work::Decompress { .. }, None) if hit(Fault::CorruptPasses) => {
                ending.status = Status::Success;
            }
            _ => {}
        }
    }

    fn finish(&self, job: &Job, ending: Ending) {
        let entry = CompletionEntry {
            cid: job.id.0,
            cycles: u32::try_from(ending.cycles).unwrap_or(u32::MAX),
            ..ending.entry
        };
        let (input, output) = (u64::from(entry.in_len), u64::from(entry.out_len));
        let failed = u64::from(ending.status != Status::Success);
        let health = &self.function.health;
        health.jobs.fetch_add(1, Ordering::Relaxed);
        health.jobs_failed.fetch_add(failed, Ordering::Relaxed);
        health.bytes_in.fetch_add(input, Ordering::Relaxed);
        health.bytes_out.fetch_add(output, Ordering::Relaxed);
        health
            .busy_cycles
            .fetch_add(ending.cycles, Ordering::Relaxed);
        job.queue.count(QueueCounter::BytesIn, input);
        job.queue.count(QueueCounter::BytesOut, output);
        job.queue.count(QueueCounter::Cycles, ending.cycles);
        let errors = &self.function.errors;
        // A fault here is the queue's end, and has been noted there.
        if job
            .queue
            .post(entry, ending.status, &job.strikes, errors)
            .is_ok()
        {
            job.queue.announce(&self.function.msix, errors);
        }
    }

    fn scrub(&mut self) {
        self.model.scrub();
        self.decompressor = None;
        for buffer in [
            &mut self.src,
            &mut self.history,
            &mut self.aux,
            &mut self.dst,
        ] {
            buffer.scrub();
        }
        self.function
            .health
            .scrub_cycles
            .fetch_add(SCRUB_CYCLES, Ordering::Relaxed);
    }

    /// The ending, whichever arm it comes by: errors leave early.
    fn work(&mut self, job: &Job) -> Result<Ending, Ending> {
        let faults = Arc::clone(&self.function.faults);
        let hit = |fault| faults.hit(fault, &job.strikes);
        if hit(Fault::DmaFaults) {
            return Err(self.fault(job, ErrorCode::DataRead, job.work.source()));
        }
        match job.work {
            Work::Compress {
                src,
                history,
                table,
                dst,
                params,
                format,
                last,
                sync,
            } => {
                self.load(job, src, history)?;
                if table.is_some() && hit(Fault::MissesTable) {
                    return Err(Ending::failed(Status::TableMiss, 0));
                }
                let table = table.filter(|_| !hit(Fault::IgnoresTables));
                let history = history.filter(|_| !hit(Fault::IgnoresHistory));
                let history_bytes = match history {
                    None if format == Format::Raw && hit(Fault::KeepsHistory) => {
                        self.history.touched
                    }
                    other => other.map_or(0, |span| span.bytes as usize),
                };
                let last = last || hit(Fault::EndsEachBlock);
                let params = Params {
                    ways: if hit(Fault::SearchesOneWay) {
                        1
                    } else {
                        params.ways
                    },
                    ..params
                };
                let loaded = match table {
                    None => None,
                    Some(span) => {
                        self.load_aux(job, span)?;
                        let table = LoadedTable::parse(self.aux.get(span.bytes as usize));
                        Some(table.map_err(|bad| {
                            tracing::debug!(%bad, "bad table");
                            Ending::failed(Status::BadTable, rule(bad))
                        })?)
                    }
                };
                let model_job = ModelJob {
                    src: self.src.get(src.bytes as usize),
                    history: self.history.get(history_bytes),
                    params,
                    format,
                    last,
                    sync,
                    tables: loaded.as_ref().map_or(Tables::Fixed, Tables::Loaded),
                };
                let room = output_bytes_max(src.bytes).min(dst.bytes as usize);
                let report = self
                    .model
                    .compress(&model_job, self.dst.get_mut(room))
                    .map_err(|fault| Ending::failed(status(&fault), 0))?;
                Ok(Ending {
                    status: Status::Success,
                    entry: CompletionEntry {
                        out_len: u32::try_from(report.out_len).unwrap_or(u32::MAX),
                        in_len: src.bytes,
                        crc32: report.crc32,
                        adler32: report.adler32,
                        info: if report.stored { INFO_STORED } else { 0 },
                        ..CompletionEntry::default()
                    },
                    output: Some((dst.at, report.out_len)),
                    cycles: report.cycles,
                })
            }
            Work::Count {
                src,
                history,
                aux,
                params,
            } => {
                self.load(job, src, history)?;
                let (histogram, cycles) = self
                    .model
                    .count(
                        self.src.get(src.bytes as usize),
                        self.history.get(history.map_or(0, |h| h.bytes) as usize),
                        params,
                    )
                    .map_err(|fault| Ending::failed(status(&fault), 0))?;
                let bytes = histogram.to_bytes();
                self.dst.get_mut(bytes.len()).copy_from_slice(&bytes);
                Ok(Ending {
                    status: Status::Success,
                    entry: CompletionEntry {
                        in_len: src.bytes,
                        ..CompletionEntry::default()
                    },
                    output: Some((aux.at, bytes.len())),
                    cycles,
                })
            }
            Work::Decompress { src, dst, format } => {
                self.load(job, src, None)?;
                self.decompress(src, dst, format)
            }
        }
    }

    fn decompress(&mut self, src: Span, dst: Span, format: Format) -> Result<Ending, Ending> {
        // A job's data is bounded on both sides; more than that is the host's to do.
        let room = (dst.bytes as usize).min(JOB_BYTES_MAX as usize);
        let format = match format {
            Format::Raw => faam_codec::Format::Deflate,
            Format::Zlib => faam_codec::Format::Zlib,
            Format::Gzip => faam_codec::Format::Gzip,
        };
        let input = self.src.get(src.bytes as usize);
        let output = self.dst.get_mut(room);
        let done = self
            .decompressor
            .get_or_insert_default()
            .inflate_member(input, format, output)
            .map_err(|error| match error {
                InflateError::OutputFull { .. } => Ending::failed(Status::OutputFull, 0),
                InflateError::Truncated { .. } => Ending::failed(Status::TruncatedInput, 0),
                InflateError::Corrupt { offset, .. } => Ending::failed(
                    Status::CorruptInput,
                    u32::try_from(offset).unwrap_or(u32::MAX),
                ),
            })?;
        let data = self.dst.get(done.produced);
        Ok(Ending {
            status: Status::Success,
            entry: CompletionEntry {
                out_len: u32::try_from(done.produced).unwrap_or(u32::MAX),
                in_len: u32::try_from(done.consumed).unwrap_or(u32::MAX),
                crc32: crc32fast::hash(data),
                adler32: simd_adler32::adler32(&data),
                ..CompletionEntry::default()
            },
            output: Some((dst.at, done.produced)),
            cycles: DECOMPRESS_CYCLES_PER_JOB + done.produced.max(done.consumed) as u64,
        })
    }

    fn load(&mut self, job: &Job, src: Span, history: Option<Span>) -> Result<(), Ending> {
        let lease = job.queue.lease();
        if let Some(span) = history {
            let into = self.history.get_mut(span.bytes as usize);
            let read = lease.read(span.at, into);
            read.map_err(|fault| self.read_fault(job, fault))?;
        }
        let read = lease.read(src.at, self.src.get_mut(src.bytes as usize));
        read.map_err(|fault| self.read_fault(job, fault))
    }

    fn load_aux(&mut self, job: &Job, span: Span) -> Result<(), Ending> {
        let read = job
            .queue
            .lease()
            .read(span.at, self.aux.get_mut(span.bytes as usize));
        read.map_err(|fault| self.read_fault(job, fault))
    }

    fn read_fault(&self, job: &Job, fault: DmaFault) -> Ending {
        match fault {
            // Posting it will find the same, and drop it.
            DmaFault::Revoked => Ending::failed(Status::QueueDeleted, 0),
            DmaFault::Refused { at } => self.fault(job, ErrorCode::DataRead, at),
        }
    }

    fn fault(&self, job: &Job, code: ErrorCode, at: Iova) -> Ending {
        if self.function.faults.on(Fault::HidesDmaFaults) {
            return Ending::failed(Status::Success, 0);
        }
        self.function
            .health
            .dma_faults
            .fetch_add(1, Ordering::Relaxed);
        self.function.errors.note(code, job.queue.id(), at.0);
        let status = match code {
            ErrorCode::DataRead => Status::DmaReadFault,
            _ => Status::DmaWriteFault,
        };
        Ending::failed(status, 0)
    }

    /// Time that cycles take at the card's clock.
    fn time(&self, cycles: u64) -> Duration {
        let nanos = u128::from(cycles) * 1_000_000 / u128::from(self.function.identity.clock_khz);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// The time that a job takes in all, where a fault makes it a multiple of what it took.
fn slowed(took: Duration, factor: u32) -> Duration {
    let most = Duration::from_millis(SLOW_MS_MAX);
    took.checked_mul(factor).map_or(most, |time| time.min(most))
}

/// Most bytes that a compress job writes, bytes: the longest code is 15 bits a byte, and what is longer than stored is
/// stored. Less than the buffer, so that scrubbing after a small job is cheap.
const fn output_bytes_max(src_bytes: u32) -> usize {
    src_bytes as usize * 2 + OUTPUT_BYTES_FIXED
}

fn deadline(job: &Job) -> Option<Instant> {
    let limit = Duration::from_micros(u64::from(job.timeout_us));
    (job.timeout_us != 0).then(|| job.fetched_at + limit)
}

/// The completion status of a model's refusal.
fn status(fault: &ModelFault) -> Status {
    match fault {
        ModelFault::OutputFull { .. } => Status::OutputFull,
        ModelFault::BadTable(_) => Status::BadTable,
        ModelFault::TableMiss => Status::TableMiss,
        // The entry was checked against the same limits before it got here: the engine and its front disagree.
        ModelFault::InputTooLong { .. }
        | ModelFault::HistoryTooLong { .. }
        | ModelFault::HistoryInFrame { .. }
        | ModelFault::NoEnd
        | ModelFault::BadParams { .. } => Status::EngineFault,
    }
}

/// Number of the rule in algorithm.md, section 5, that a table breaks: `info` of BadTable.
fn rule(bad: BadTable) -> u32 {
    match bad {
        BadTable::Size { .. }
        | BadTable::Length { .. }
        | BadTable::Reserved { .. }
        | BadTable::Header { .. } => 1,
        BadTable::Kraft {
            alphabet: Alphabet::Litlen,
            ..
        } => 2,
        BadTable::Kraft {
            alphabet: Alphabet::Distance,
            ..
        } => 3,
        BadTable::NoEndOfBlock => 4,
    }
}

/// A buffer whose first byte starts a page. Source and destination of a copy that differ by 16 modulo a page make
/// `rep movsb` twenty times slower, and that is just where an allocator puts large buffers.
struct PageBuffer {
    bytes: Vec<u8>,
    start: usize,
    capacity: usize,
    /// Bytes that have been handed out since the last scrub.
    touched: usize,
}

const PAGE_BYTES: usize = 4096;

impl PageBuffer {
    fn new(capacity: usize) -> Self {
        let bytes = vec![0; capacity + PAGE_BYTES];
        let start = bytes.as_ptr().align_offset(PAGE_BYTES).min(PAGE_BYTES);
        Self {
            bytes,
            start,
            capacity,
            touched: 0,
        }
    }

    /// The first `len` bytes, or fewer if it is smaller.
    fn get(&self, len: usize) -> &[u8] {
        let end = self.start + len.min(self.capacity);
        self.bytes.get(self.start..end).unwrap_or_default()
    }

    /// All of it, with what lies before and behind what is handed out.
    fn all(&self) -> &[u8] {
        &self.bytes
    }

    fn get_mut(&mut self, len: usize) -> &mut [u8] {
        let len = len.min(self.capacity);
        self.touched = self.touched.max(len);
        let end = self.start + len;
        self.bytes.get_mut(self.start..end).unwrap_or_default()
    }

    fn scrub(&mut self) {
        let touched = self.touched;
        self.get_mut(touched).fill(0);
        self.touched = 0;
    }
}
