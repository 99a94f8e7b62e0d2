//! A worker's loop, a step at a time, against a card that an input plays.
//!
//! Everything from the rings up is the worker's own: what it submits is read as a card would, and what an input makes of
//! the answer is written where a card would write it.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use faam_hwif::doorbell::SHADOW_SQ_EVENT;
use faam_hwif::regs::capabilities;
use faam_hwif::{
    BarOffset, CardLevel, CompletionEntry, Iova, Opcode, QueueEntries, QueueEpoch, QueueId, Status,
    StatusClass, SubmissionEntry, WireFormat,
};
use parking_lot::Mutex;

use super::in_flight::{InFlight, InSlot};
use super::looks::Looks;
use super::{Job, JobSource, Kernel, Outcome, Request, Run, Stalled, Waker};
use crate::dma::{
    Arena, FenceProof, Incarnation, QueueMemory, QueueMemoryLayout, ResetEvidence, SharedMemory,
};
use crate::event::{EventWaiter, new_eventfd};
use crate::fault::DeviceFault;
use crate::function::FunctionShared;
use crate::fuzzing::Input;
use crate::identity::{FunctionIdentity, ModelKind, RegisterMap};
use crate::queue::{Doorbells, Queue};
use crate::queue_pair::QueuePair;
use crate::transport::{
    Bar0, ConfigWidth, DmaAccess, IovaRange, Transport, TransportError, TransportKind,
};

/// Steps of one input.
const STEPS_MAX: usize = 128;
/// Jobs in flight: fewer than the ring holds, so that slots come round.
const JOBS_MAX: u16 = 6;
/// Entries of the ring: 8.
const ENTRIES_LOG2: u8 = 3;
/// Bytes of one job's input at most: enough for a table.
const INPUT_BYTES_MAX: usize = 5000;
const EPOCH: QueueEpoch = QueueEpoch(0x1234);
/// A job's bytes; that they are zeros matters to nobody here.
static BYTES: [u8; INPUT_BYTES_MAX] = [0; INPUT_BYTES_MAX];

thread_local! {
    /// One arena for all inputs: each leaves it whole.
    static ARENA: Arc<Arena> = Arena::new(2 << 20).expect("memory");
}

pub(crate) fn completions(input: Input<'_>) {
    ARENA.with(|arena| play(arena, input));
}

/// What became of a job.
#[derive(Debug, Default)]
struct Fate {
    /// Calls of `complete`.
    ended: u32,
    /// It was told that its work is done, or that its data was wrong.
    answered: bool,
}

struct Given {
    number: usize,
    kernel: Kernel,
    input_bytes: usize,
    output_bytes_max: usize,
    context: u32,
    fates: Arc<Mutex<Vec<Fate>>>,
}

impl Job for Given {
    fn request(&self) -> Request<'_> {
        Request {
            kernel: self.kernel,
            input: BYTES.get(..self.input_bytes).unwrap_or(&BYTES),
            output_bytes_max: self.output_bytes_max,
            context: self.context,
            timeout: Duration::from_secs(60),
        }
    }

    fn complete(self, outcome: Outcome) {
        let mut fates = self.fates.lock();
        let fate = &mut fates[self.number];
        fate.ended += 1;
        fate.answered = !matches!(outcome, Outcome::Fault(_));
        if let Outcome::Done(completion) = outcome {
            assert!(
                completion.output.len() <= self.output_bytes_max,
                "more than there was room for"
            );
            let consumed = usize::try_from(completion.consumed).unwrap_or(usize::MAX);
            match self.kernel {
                Kernel::Compress { .. } => assert_eq!(consumed, self.input_bytes),
                Kernel::Decompress { .. } => assert!(consumed <= self.input_bytes),
            }
        }
    }
}

#[derive(Clone, Default)]
struct Source(Arc<Mutex<VecDeque<Given>>>);

impl JobSource for Source {
    type Job = Given;

    fn next(&mut self) -> Option<Given> {
        self.0.lock().pop_front()
    }
}

/// The card: what it knows of the queue.
struct Card {
    epoch: QueueEpoch,
    entries: QueueEntries,
    fetched: u32,
    written: u32,
    /// Commands fetched and not answered as they should be.
    open: Vec<SubmissionEntry>,
    last: CompletionEntry,
    /// Completions written that end a job well: all that is right with them, and not one for the same command before.
    answers: usize,
}

fn play(arena: &Arc<Arena>, mut input: Input<'_>) {
    let free = arena.free_bytes();
    let fates = Arc::default();
    let source = Source::default();
    let incarnation = Incarnation::begin(None);
    let doorbells = match input.u8() & 1 {
        0 => Doorbells::Shadow,
        _ => Doorbells::Mmio,
    };
    let mut run = worker(arena, source.clone(), incarnation, doorbells);
    let mut card = Card {
        epoch: EPOCH,
        entries: QueueEntries::from_log2(ENTRIES_LOG2).expect("a size that there is"),
        fetched: 0,
        written: 0,
        open: Vec::new(),
        last: CompletionEntry::default(),
        answers: 0,
    };
    let mut fault = None;
    for _ in 0..STEPS_MAX {
        if input.is_empty() || fault.is_some() {
            break;
        }
        let what = input.u8();
        if what % 8 < 2 {
            give(&source, &fates, &mut input);
            run.look_at_source = true;
        } else {
            card.step(&run, arena, what, &mut input);
        }
        let queue_is_shown = what & 0x80 == 0;
        if queue_is_shown {
            fault = turn(&mut run).err();
            card.fetch(&run);
        }
        assert!(run.pair.outstanding() <= run.pair.capacity());
    }
    if fault.is_none() {
        fault = turn(&mut run).err();
    }
    // As `Run::until_end` does it, and a worker that was stopped with jobs in flight.
    run.in_flight
        .set_last_words(fault.unwrap_or(DeviceFault::WorkerEnded));
    drop(run);
    source.0.lock().clear();
    let fates = fates.lock();
    let given = fates.iter().filter(|fate| fate.ended > 0).count();
    for (number, fate) in fates.iter().enumerate() {
        assert!(fate.ended <= 1, "job {number} ended {} times", fate.ended);
    }
    let answered = fates.iter().filter(|fate| fate.answered).count();
    assert!(
        answered <= card.answers,
        "{answered} of {given} jobs were answered, the card answered {}",
        card.answers
    );
    let proof = FenceProof::from_reset(&ResetEvidence {
        incarnation,
        status: 0b100,
        dma_idle: true,
        resetting: false,
        epoch_before: 1,
        epoch_after: 2,
    });
    let held = arena.quarantine().held_bytes();
    let released = arena.release_quarantined(&proof.expect("a fence"));
    assert_eq!(released, held);
    assert_eq!(arena.free_bytes(), free, "memory is lost");
}

/// What the loop does before it would sleep.
fn turn(run: &mut Run<Source>) -> Result<(), DeviceFault> {
    run.reap()?;
    run.pull()?;
    run.pair.ring()?;
    run.pair.arm();
    Ok(())
}

fn give(source: &Source, fates: &Arc<Mutex<Vec<Fate>>>, input: &mut Input<'_>) {
    let [kind, context] = input.array();
    let format = [WireFormat::Raw, WireFormat::Zlib, WireFormat::Gzip];
    let format = format[usize::from(kind >> 2) % format.len()];
    let level = [CardLevel::Fast, CardLevel::Balanced, CardLevel::Dense];
    let level = level[usize::from(kind >> 4) % level.len()];
    let last = kind & 2 != 0;
    let kernel = match kind & 1 {
        0 => Kernel::Compress {
            level,
            format,
            last,
        },
        _ => Kernel::Decompress { format },
    };
    let mut fates_now = fates.lock();
    fates_now.push(Fate::default());
    source.0.lock().push_back(Given {
        number: fates_now.len() - 1,
        kernel,
        input_bytes: usize::from(input.u16()) % (INPUT_BYTES_MAX + 1),
        output_bytes_max: usize::from(input.u16()),
        context: u32::from(context & 1),
        fates: Arc::clone(fates),
    });
}

impl Card {
    /// Takes what was published.
    fn fetch(&mut self, run: &Run<Source>) {
        let memory = run.pair.queue().memory();
        let tail = run.pair.queue().published();
        while self.fetched != tail {
            let bytes = memory.read_submission(self.fetched);
            self.open.push(SubmissionEntry::from_bytes(&bytes));
            self.fetched = self.fetched.wrapping_add(1);
        }
    }

    fn step(&mut self, run: &Run<Source>, arena: &Arena, what: u8, input: &mut Input<'_>) {
        match what % 8 {
            // As it should be, of any of the open commands.
            2 | 3 => self.answer(run, input, false),
            // The same with a field that is not.
            4 => self.answer(run, input, true),
            5 => {
                // The last one again, in its place or in another's; or any bytes, sealed or not.
                let how = input.u8();
                let entry = match how & 3 {
                    0 => self.last,
                    1 => CompletionEntry::from_bytes(&input.array()),
                    _ => {
                        let entry = CompletionEntry::from_bytes(&input.array());
                        let phase = self.entries.phase(self.written);
                        let check = CompletionEntry {
                            status_phase: entry.status_phase & !1 | u16::from(phase),
                            ..entry
                        };
                        CompletionEntry {
                            check: check.expected_check(self.epoch),
                            ..check
                        }
                    }
                };
                self.count(&entry);
                self.put(run, &entry, how >> 2);
            }
            6 => {
                let value = input.u32();
                let memory = run.pair.queue().memory();
                memory
                    .shadow_cell(SHADOW_SQ_EVENT)
                    .store(value, Ordering::Release);
            }
            _ => self.write_data(arena, input),
        }
    }

    fn answer(&mut self, run: &Run<Source>, input: &mut Input<'_>, is_wrong: bool) {
        let [which, status, field] = input.array();
        if self.open.is_empty() {
            return;
        }
        let at = usize::from(which) % self.open.len();
        let command = self.open[at];
        let status = match status {
            0..0x80 => Status::Success,
            _ => Status::ALL[usize::from(status & 0x7F) % Status::ALL.len()],
        };
        let [low, high, ..] = self.fetched.to_le_bytes();
        let mut entry = CompletionEntry {
            cid: command.cid,
            sq_head: u16::from_le_bytes([low, high]),
            in_len: command.src_len,
            out_len: match Opcode::from_bits(command.op) {
                Some(Opcode::Count) => 0,
                _ => input.u32().min(command.dst_cap),
            },
            info: u32::from(input.u8()),
            ..CompletionEntry::default()
        };
        if is_wrong {
            let other = input.u32();
            let [a, b, ..] = other.to_le_bytes();
            match field % 6 {
                0 => entry.cid = u16::from_le_bytes([a, b]),
                1 => entry.sq_head = u16::from_le_bytes([a, b]),
                2 => entry.in_len = other,
                3 => entry.out_len = other,
                4 => self.epoch = QueueEpoch(u16::from_le_bytes([a, b])),
                _ => {}
            }
        }
        let mut entry = entry.sealed(status, self.entries.phase(self.written), self.epoch);
        self.epoch = EPOCH;
        if is_wrong && field % 6 == 5 {
            let mut bytes = entry.to_bytes();
            bytes[usize::from(field) % 32] ^= 1 << (which & 7);
            entry = CompletionEntry::from_bytes(&bytes);
        }
        self.count(&entry);
        self.put(run, &entry, 0);
    }

    /// Counts an entry that may end a job well.
    fn count(&mut self, entry: &CompletionEntry) {
        let status = Status::from_bits(entry.status_bits());
        let ends = status.is_some_and(|status| {
            matches!(status.class(), StatusClass::Success | StatusClass::Data)
        });
        let at = self.open.iter().position(|open| open.cid == entry.cid);
        if let Some(at) = at
            && entry.is_intact(EPOCH)
        {
            self.open.swap_remove(at);
            self.answers += usize::from(ends);
        }
    }

    /// Writes an entry where the next one goes, or elsewhere.
    fn put(&mut self, run: &Run<Source>, entry: &CompletionEntry, away: u8) {
        let at = self.written.wrapping_add(u32::from(away));
        let memory = run.pair.queue().memory();
        memory.write_completion(at, &entry.to_bytes());
        if away == 0 {
            self.written = self.written.wrapping_add(1);
        }
        self.last = *entry;
    }

    /// Any bytes into a buffer that an open command names: outputs, histograms.
    fn write_data(&self, arena: &Arena, input: &mut Input<'_>) {
        let which = usize::from(input.u8());
        let Some(command) = self.open.get(which % self.open.len().max(1)) else {
            return;
        };
        let (at, bytes) = match Opcode::from_bits(command.op) {
            Some(Opcode::Count) => (command.aux, command.aux_len),
            _ => (command.dst, command.dst_cap),
        };
        let pattern = input.piece(64);
        let repeated = pattern.iter().copied().cycle();
        let bytes: Vec<u8> = repeated.take(usize::try_from(bytes).unwrap_or(0)).collect();
        let offset = at.wrapping_sub(arena.iova().0);
        let written = rustix::io::pwrite(arena.memory().as_fd(), &bytes, offset);
        assert_eq!(
            written,
            Ok(bytes.len()),
            "a command names what is not its own"
        );
    }
}

fn worker(
    arena: &Arc<Arena>,
    source: Source,
    incarnation: Incarnation,
    doorbells: Doorbells,
) -> Run<Source> {
    let entries = QueueEntries::from_log2(ENTRIES_LOG2).expect("a size that there is");
    let memory = QueueMemory::new(QueueMemoryLayout::new(entries), Iova(1 << 40)).expect("memory");
    let transport: Arc<dyn Transport> = Arc::new(Deaf);
    let page = BarOffset(0x1_1000);
    let queue = Queue::new(
        QueueId(1),
        EPOCH,
        memory,
        Arc::clone(&transport),
        page,
        doorbells,
    );
    let function = FunctionShared {
        bar: Bar0(transport),
        map: RegisterMap::unused(),
        identity: identity(),
        arena: Arc::clone(arena),
        incarnation,
        ended: AtomicBool::new(false),
    };
    let interrupt = Arc::new(new_eventfd().expect("an eventfd"));
    let pair = QueuePair::new(queue, interrupt, Arc::new(function));
    let waker = Waker::new().expect("an eventfd");
    let waiter = EventWaiter::new(&[pair.interrupt(), waker.event()]).expect("an epoll");
    Run {
        in_flight: InFlight::new(JOBS_MAX, incarnation, InSlot::NoSlots),
        stalled: Stalled(None),
        pair,
        source,
        waker,
        waiter,
        counters: Arc::default(),
        spin: Duration::ZERO,
        idle_look_again: Duration::ZERO,
        looks: Looks::new(None),
        look_at_source: true,
    }
}

fn identity() -> FunctionIdentity {
    FunctionIdentity {
        serial: String::new(),
        serial_number: 1,
        model_name: String::new(),
        firmware: String::new(),
        model: ModelKind::FunctionalModel,
        abi: (1, 0),
        function_index: 0,
        functions: 2,
        engines: 1,
        jobs_each_max: 2,
        clock_khz: 250_000,
        features: capabilities::Features::default()
            .with_loaded_tables(true)
            .with_decompress(true),
        formats: capabilities::Formats::default()
            .with_raw(true)
            .with_zlib(true)
            .with_gzip(true),
        levels: capabilities::Levels::default()
            .with_fast(true)
            .with_balanced(true)
            .with_dense(true),
        job_bytes_max: 1 << 20,
        history_bytes_max: 1 << 15,
        io_pairs_max: 16,
        entries_log2_max: 12,
        slots: None,
        vectors: 17,
        transport: TransportKind::VfioUser,
    }
}

/// A transport that takes doorbells and has nothing else.
#[derive(Debug)]
struct Deaf;

const NONE: TransportError = TransportError::Refused {
    command: "nothing",
    errno: 0,
};

impl Transport for Deaf {
    fn post_doorbell(&self, _: BarOffset, _: u32) -> Result<(), TransportError> {
        Ok(())
    }
    fn read_register(&self, _: BarOffset) -> Result<u32, TransportError> {
        Err(NONE)
    }
    fn write_register(&self, _: BarOffset, _: u32) -> Result<(), TransportError> {
        Err(NONE)
    }
    fn map_dma(&self, _: &SharedMemory, _: Iova, _: DmaAccess) -> Result<(), TransportError> {
        Err(NONE)
    }
    fn unmap_dma(&self, _: Iova, _: u64) -> Result<(), TransportError> {
        Err(NONE)
    }
    fn set_interrupts(&self, _: u16, _: &[BorrowedFd<'_>]) -> Result<(), TransportError> {
        Err(NONE)
    }
    fn config_read(&self, _: u16, _: ConfigWidth) -> Result<u32, TransportError> {
        Err(NONE)
    }
    fn config_write(&self, _: u16, _: ConfigWidth, _: u32) -> Result<(), TransportError> {
        Err(NONE)
    }
    fn function_level_reset(&self) -> Result<(), TransportError> {
        Err(NONE)
    }
    fn iova_ranges(&self) -> Vec<IovaRange> {
        Vec::new()
    }
    fn kind(&self) -> TransportKind {
        TransportKind::VfioUser
    }
    fn serving_process(&self) -> Option<u32> {
        None
    }
}
