//! The Verilated engine: one job a call.
//!
//! Invariant: after an error the model is reset before the next job, so that one failure is one failure.
//!
// UNSAFETY: the C functions of shim/engine.cpp, which get pointers into slices that this module holds for the call, and a handle that
// it owns. Every block states what the shim asks.
#![expect(unsafe_code, reason = "a Verilated model is C++")]

use std::ffi::{CStr, c_void};
use std::ptr;

use crate::bench::{Bench, Failure, fits};
use crate::models::{Configuration, ENGINES, MUTANT, MUTANTS};
use crate::outcome::{Ended, Report, RunError};
use crate::stalls::{Stall, Stalls};

/// Largest values of the ports that are narrower than what they carry here.
const SOURCE_BYTES_MAX: usize = (1 << 21) - 1;
const HISTORY_BYTES_MAX: usize = (1 << 16) - 1;
const DST_BYTES_MAX: usize = u32::MAX as usize;
/// What output may come to beside two bytes for each of the source: literals of 15 bits, table, framing, stored blocks.
const OUT_ROOM_BYTES: usize = 8192;
/// Cycles without any transfer after which an engine is taken for hung: several times what clearing window and table takes.
const IDLE_CYCLES_MAX: u64 = 300_000;
/// Cycles of a job that are allowed beside those of its bytes.
const JOB_CYCLES_MAX: u64 = 1_000_000;
/// Cycles a byte that are allowed: stalled streams take some tens.
const BYTE_CYCLES_MAX: u64 = 2000;
const STREAMS: &[&str] = &["job", "fetch", "in", "out", "done"];

/// What a job asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobKind<'a> {
    /// Histograms.
    Count,
    /// DEFLATE data.
    Compress {
        /// `job_t.format`.
        format: u8,
        /// FINAL.
        last: bool,
        /// SYNC.
        sync: bool,
        /// The table block, or the fixed code.
        table: Option<&'a [u8; 1024]>,
    },
}

/// One job of the engine, with the memory that it names.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// What it asks for.
    pub kind: JobKind<'a>,
    /// What to compress.
    pub source: &'a [u8],
    /// What came before.
    pub history: &'a [u8],
    /// Ways to look up.
    pub ways: u8,
    /// Whether a longer match a byte later is waited for.
    pub lazy: bool,
    /// Clear everything before.
    pub scrub: bool,
    /// Room for output, bytes.
    pub dst_cap: usize,
}

/// What a job came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The engine's report.
    pub report: Report,
    /// What it put out, of its last attempt.
    pub out: Vec<u8>,
    /// The cycle of each beat of `out`, 8 bytes a beat, since the job was offered.
    pub beat_cycles: Vec<u32>,
    /// Cycles from the job's taking to the report.
    pub cycles: u64,
    /// Cycles from the job's offer to its taking.
    pub cycles_offered: u64,
    /// How often the source was asked for.
    pub source_fetches: u32,
    /// How often output was begun anew.
    pub rewinds: u32,
}

#[repr(C)]
struct RawJob {
    table: *const u8,
    history: *const u8,
    source: *const u8,
    out: *mut u8,
    out_cycles: *mut u32,
    seed: u64,
    cycles_max: u64,
    idle_max: u64,
    reset_at: u64,
    source_len: u32,
    history_len: u32,
    dst_cap: u32,
    reset_cycles: u32,
    out_room: u32,
    reserved_room: u32,
    input: Stall,
    output: Stall,
    fetch: Stall,
    done: Stall,
    short_of_256: u16,
    count: u8,
    format: u8,
    last: u8,
    sync: u8,
    loaded_table: u8,
    lazy: u8,
    ways: u8,
    scrub: u8,
    reserved: [u8; 6],
}

#[derive(Default)]
#[repr(C)]
struct RawOutcome {
    cycle: u64,
    accepted: u64,
    in_bytes: u64,
    status: u32,
    fetches: u32,
    source_fetches: u32,
    rewinds: u32,
    out_bytes: u32,
    beats: u32,
    signals: u32,
    ended: u32,
    rule: u32,
    stored: u32,
    out_len: u32,
    in_len: u32,
    crc32: u32,
    adler32: u32,
    cycles: u32,
    reserved: u32,
}

const _: () = assert!(size_of::<RawJob>() == 144 && size_of::<RawOutcome>() == 88);

const STATUS_DONE: u32 = 0;
const STATUS_RESET: u32 = 1;

#[rustfmt::skip]
unsafe extern "C" {
    fn faam_dv_engine_new(index: u32, seed: u64) -> *mut c_void;
    fn faam_dv_engine_run(bench: *mut c_void, job: *const RawJob, outcome: *mut RawOutcome);
}

/// One Verilated engine and its bench.
pub struct Engine {
    bench: Bench,
    /// An error left it in the middle of something.
    is_spoilt: bool,
}

impl Engine {
    /// The configurations that were built; the first is the largest.
    #[must_use]
    pub fn configurations() -> &'static [Configuration] {
        ENGINES
    }

    /// A model of this configuration, its registers at random from `seed`, then reset. None where it was not built.
    #[must_use]
    pub fn new(configuration: Configuration, seed: u64) -> Option<Self> {
        let index = ENGINES.iter().position(|built| *built == configuration)?;
        Self::of_model(index, 0, seed)
    }

    /// The rules that are broken on purpose (`mutants.txt`), in their order, and the configuration that they are broken in.
    #[must_use]
    pub fn mutants() -> (&'static [&'static str], Option<Configuration>) {
        (MUTANTS, MUTANT.first().copied())
    }

    /// An engine with the rule of this number broken, the first one being 1; with none for 0. None where it was not built.
    #[must_use]
    pub fn mutant(number: usize, seed: u64) -> Option<Self> {
        MUTANT.first()?;
        // It stands behind the others.
        Self::of_model(ENGINES.len(), number, seed)
    }

    fn of_model(index: usize, mutant: usize, seed: u64) -> Option<Self> {
        let (index, mutant) = (u32::try_from(index).ok()?, u32::try_from(mutant).ok()?);
        // SAFETY: any index and seed may be given.
        let new = unsafe { faam_dv_engine_new(index, seed) };
        // SAFETY: it is null, or a bench that is nobody else's.
        let mut bench = unsafe { Bench::owning(new) }?;
        bench.mutant(mutant);
        let mut engine = Self {
            bench,
            is_spoilt: false,
        };
        engine.reset();
        Some(engine)
    }

    /// Writes waveforms to a VCD file from now on. False where the build has none (feature `trace`) or the file cannot be written.
    pub fn trace(&mut self, path: &CStr) -> bool {
        self.bench.trace(path)
    }

    /// Resets the engine, as the farm does to end a job in flight.
    pub fn reset(&mut self) {
        self.bench.reset();
        self.is_spoilt = false;
    }

    /// Runs a job to its report.
    ///
    /// # Errors
    /// [`RunError`]: a rule of the seam that was broken, no end, or a job that does not fit the ports.
    pub fn run(&mut self, job: &Job<'_>, stalls: &Stalls) -> Result<Outcome, RunError> {
        let (raw, mut out, mut beat_cycles) = self.call(job, stalls, None)?;
        if raw.status != STATUS_DONE {
            self.is_spoilt = true;
            return Err(failure(&raw));
        }
        out.truncate(raw.out_bytes as usize);
        beat_cycles.truncate(raw.beats as usize);
        Ok(Outcome {
            report: Report {
                ended: Ended::from_wire(raw.ended),
                rule: raw.rule,
                stored: raw.stored != 0,
                out_len: raw.out_len,
                in_len: raw.in_len,
                crc32: raw.crc32,
                adler32: raw.adler32,
                cycles: raw.cycles,
            },
            out,
            beat_cycles,
            cycles: raw.cycle.saturating_sub(raw.accepted),
            cycles_offered: raw.accepted,
            source_fetches: raw.source_fetches,
            rewinds: raw.rewinds,
        })
    }

    /// Begins a job and resets the engine `cycles` after it was taken. False if the job ended before.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_and_reset(
        &mut self,
        job: &Job<'_>,
        stalls: &Stalls,
        cycles: u64,
    ) -> Result<bool, RunError> {
        let (raw, ..) = self.call(job, stalls, Some(cycles))?;
        match raw.status {
            STATUS_RESET => Ok(true),
            STATUS_DONE => Ok(false),
            _ => {
                self.is_spoilt = true;
                Err(failure(&raw))
            }
        }
    }

    fn call(
        &mut self,
        job: &Job<'_>,
        stalls: &Stalls,
        reset_at: Option<u64>,
    ) -> Result<(RawOutcome, Vec<u8>, Vec<u32>), RunError> {
        if self.is_spoilt {
            self.reset();
        }
        let source_len = fits("src_len", job.source.len(), SOURCE_BYTES_MAX)?;
        let history_len = fits("hist_len", job.history.len(), HISTORY_BYTES_MAX)?;
        let dst_cap = fits("dst_cap", job.dst_cap, DST_BYTES_MAX)?;
        let room = job.dst_cap.min(job.source.len() * 2 + OUT_ROOM_BYTES);
        let out_room = fits("room", room, DST_BYTES_MAX)?;
        let mut out = vec![0; room];
        let mut beat_cycles = vec![0; room.div_ceil(8)];
        let (count, format, last, sync, table) = match job.kind {
            JobKind::Count => (true, 0, true, false, None),
            JobKind::Compress {
                format,
                last,
                sync,
                table,
            } => (false, format, last, sync, table),
        };
        let bytes = u64::from(source_len) * 2 + u64::from(history_len) + 1024;
        let raw_job = RawJob {
            table: table.map_or(ptr::null(), |table| table.as_ptr()),
            history: job.history.as_ptr(),
            source: job.source.as_ptr(),
            out: out.as_mut_ptr(),
            out_cycles: beat_cycles.as_mut_ptr(),
            seed: stalls.seed,
            cycles_max: JOB_CYCLES_MAX + bytes * BYTE_CYCLES_MAX,
            idle_max: IDLE_CYCLES_MAX,
            reset_at: reset_at.unwrap_or(u64::MAX),
            source_len,
            history_len,
            dst_cap,
            reset_cycles: 1,
            out_room,
            reserved_room: 0,
            input: stalls.input,
            output: stalls.output,
            fetch: stalls.fetch,
            done: stalls.done,
            short_of_256: stalls.short_of_256,
            count: u8::from(count),
            format,
            last: u8::from(last),
            sync: u8::from(sync),
            loaded_table: u8::from(table.is_some()),
            lazy: u8::from(job.lazy),
            ways: job.ways,
            scrub: u8::from(job.scrub),
            reserved: [0; 6],
        };
        let mut raw = RawOutcome::default();
        // SAFETY: `bench` is ours, and nobody else calls it during `&mut self`. The structures are laid out as the shim's
        // (repr(C), the same fields in the same order). `table` has 1024 bytes wherever `loaded_table` is set, `history`, `source` and
        // `out` as many as their lengths say, `out_cycles` a place for each 8 bytes of `out_room`, rounded up: the shim counts beats within
        // that, for it takes none behind one of fewer than 8 bytes. All outlive the call, and the shim keeps none of them.
        unsafe { faam_dv_engine_run(self.bench.handle(), &raw const raw_job, &raw mut raw) };
        Ok((raw, out, beat_cycles))
    }
}

fn failure(raw: &RawOutcome) -> RunError {
    Failure {
        status: raw.status,
        cycle: raw.cycle,
        taken: raw.in_bytes,
        given: u64::from(raw.out_bytes),
        signals: raw.signals,
        names: STREAMS,
    }
    .told()
}
