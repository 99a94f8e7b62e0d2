//! The CPU pool: threads that compress, decompress, and verify what cards made.
//!
//! Owns per-thread engine state, made once; a thread of the HTTP side that runs a small job
//! itself has its own. Invariant: nothing is answered that was not decoded by another
//! implementation than the one that made it and compared with the host's own input, but
//! where the operator asked for less and every answer says so. A block that fails that
//! check is made again as stored blocks, which need no engine.

mod held_answers;

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use faam_codec::{
    BlockChecksum, CpuEngines, DecompressError, Decompressor, EngineError, Format, Level, Limits,
    Position, RATIO_FREE_BYTES, SCRATCH_KEPT_BYTES_MAX, StreamCompressor, StreamDecompressor,
    Verifier, output_bytes_max, write_stored,
};
use faam_sched::{Nanos, Receipt};

use self::held_answers::HeldAnswers;
use crate::card_claim::{CardRefusal, CardResult, Claim, Unverified};
use crate::job::{
    BackendPolicy, BlockOutcome, EngineId, FallbackReason, JobError, JobSpec, Kernel, Part, Phases,
    Stage, Verification, beyond_card_text,
};
use crate::job_queue::{CARD_TIME_MAX, CpuWork, Done, Ended, JobQueue};
use crate::meter::Spent;
use crate::pending_job::{PendingJob, RunningJob};
use crate::small_job::{HERE_OUTPUT_BYTES_MAX, may_be_awaited};
use crate::thread_time::{Stopwatch, Took};

/// The pool's threads.
pub(crate) struct CpuPool {
    threads: Vec<JoinHandle<()>>,
}

impl CpuPool {
    pub(crate) fn start(jobs: &Arc<JobQueue>, workers: usize) -> std::io::Result<Self> {
        let threads = (0..workers)
            .map(|n| {
                let jobs = Arc::clone(jobs);
                std::thread::Builder::new()
                    .name(format!("cpu-{n}"))
                    .spawn(move || work(&jobs))
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { threads })
    }

    /// Wait for the threads to end; [`JobQueue`] has been told to stop.
    pub(crate) fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a CPU worker ended by a panic outside any job");
            }
        }
    }
}

fn work(jobs: &JobQueue) {
    let mut thread = PoolThread {
        worker: Worker::new(),
        done: None,
        held: HeldAnswers::default(),
    };
    loop {
        // What a job does is caught nearer to it; this is for the steps around it.
        let step = catch_unwind(AssertUnwindSafe(|| thread.step(jobs)));
        match step {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return,
            Err(_) => {
                tracing::error!("a CPU worker panicked between jobs");
                thread.worker = Worker::new();
            }
        }
    }
}

/// A thread of the pool, between jobs.
struct PoolThread {
    worker: Worker,
    /// The job before, whose charge is settled with the same hold of the queue's lock that gives the next one.
    done: Option<Done>,
    held: HeldAnswers,
}

impl PoolThread {
    fn step(&mut self, jobs: &JobQueue) -> ControlFlow<()> {
        let work = jobs.next_at_once(self.done.take());
        let held = match &work {
            Some(CpuWork::Run(next)) => {
                may_be_awaited(&next.job.spec) && self.held.may_wait(next.receipt.predicted())
            }
            _ => false,
        };
        if !held {
            self.held.release();
        }
        match work.unwrap_or_else(|| jobs.next_for_cpu()) {
            CpuWork::Run(running) => self.run(jobs, running),
            CpuWork::Verify(unverified) => self.worker.verify(jobs, unverified),
            CpuWork::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn run(&mut self, jobs: &JobQueue, running: RunningJob) {
        let RunningJob {
            mut job, receipt, ..
        } = running;
        let made = self
            .worker
            .caught(|worker| worker.make(jobs, &mut job.spec, receipt.predicted()));
        let (result, took) = match made {
            Ok((result, took)) => (result, Some(took)),
            Err(panicked) => (Err(panicked), None),
        };
        if let Some(took) = took {
            let verify = result.as_ref().map_or(Duration::ZERO, |made| made.verify);
            job.phases.device += took.wall.saturating_sub(verify);
            job.phases.verify += verify;
        }
        // A bug of ours is nobody's charge.
        let spent = took.map_or(Duration::ZERO, |took| took.thread);
        job.meter(spent, spent);
        let ended = ended_here(took, result.is_ok());
        self.done = Some(Done { receipt, ended });
        let (fallback, phases) = (job.fallback, job.phases);
        job.note_done_by(EngineId::Cpu, result.is_ok());
        let answer = result.map(|made| made.outcome(EngineId::Cpu, fallback, phases));
        self.held.hold(job, answer);
    }
}

/// Engine state of one thread.
struct Worker {
    engines: CpuEngines,
    verifier: Verifier,
    decompressor: Decompressor,
    scratch: Vec<u8>,
    /// The compressor of the last stream that ended here: making one costs more than a small body.
    spare: Option<Spare>,
    /// Results since the last one that was verified, where a sample is.
    unverified: u32,
}

/// A compressor that has ended its stream, kept for the next one like it.
struct Spare {
    format: Format,
    level: Level,
    stage: Stage<StreamCompressor>,
}

impl Spare {
    fn suits(&self, format: Format, level: Level) -> bool {
        (self.format, self.level) == (format, level)
    }
}

thread_local! {
    /// The engines of a thread that is not the pool's, made at its first small job.
    static HERE: RefCell<Option<Worker>> = const { RefCell::new(None) };
}

/// Runs a job on the thread that calls: for one that is smaller than a hand-off to the pool. `receipt` is its charge. `None`
/// if it turns out to be larger, a body with more data than [`HERE_OUTPUT_BYTES_MAX`]: then it is as if it had not been tried.
pub(crate) fn run_here(
    jobs: &JobQueue,
    spec: &mut JobSpec,
    receipt: Receipt,
) -> Option<Result<BlockOutcome, JobError>> {
    let drained = jobs.drained_reason(spec);
    let whole = hold_output(&mut spec.kernel);
    let step = HERE.with_borrow_mut(|worker| {
        let worker = worker.get_or_insert_with(Worker::new);
        worker.caught(|worker| worker.make(jobs, spec, receipt.predicted()))
    });
    let (result, took) = match step {
        Ok(made) => made,
        Err(panicked) => {
            jobs.settle(receipt, Ended::Unbegun);
            return Some(Err(panicked));
        }
    };
    if let (Err(JobError::Input(DecompressError::TooLarge { .. })), Some(whole)) = (&result, whole)
    {
        jobs.settle(receipt, Ended::Aside(Some(took.thread)));
        if let Kernel::Decompress { limits, .. } = &mut spec.kernel {
            *limits = whole;
        }
        return None;
    }
    jobs.settle(receipt, ended_here(Some(took), result.is_ok()));
    spec.permit.meter().add(Spent {
        cpu: took.thread,
        reference: took.thread,
        fallbacks: u64::from(drained.is_some()),
        ..Spent::default()
    });
    Some(result.map(|made| {
        let phases = Phases {
            since: Instant::now().checked_sub(took.wall),
            device: took.wall.saturating_sub(made.verify),
            verify: made.verify,
            ..Phases::default()
        };
        if let Some(reason) = drained {
            jobs.metrics.fallback(reason.as_str());
        }
        made.outcome(EngineId::Cpu, drained, phases)
    }))
}

/// What a job's time here says: only one that came to its end tells how long such jobs take, but each is paid for.
fn ended_here(took: Option<Took>, is_ok: bool) -> Ended {
    match took {
        Some(took) if is_ok => Ended::OnCpu(took),
        Some(took) => Ended::Aside(Some(took.thread)),
        None => Ended::Unbegun,
    }
}

/// Holds a decompression to [`HERE_OUTPUT_BYTES_MAX`]; the limits that it had, where they were wider.
fn hold_output(kernel: &mut Kernel) -> Option<Limits> {
    let Kernel::Decompress { limits, .. } = kernel else {
        return None;
    };
    let held = Limits {
        output_bytes_max: limits.output_bytes_max.min(HERE_OUTPUT_BYTES_MAX),
        ..*limits
    };
    let whole = std::mem::replace(limits, held);
    (whole != held).then_some(whole)
}

/// Highest level whose compressor is kept between streams: one of 12 MiB a thread at the most, no one's charge.
const SPARE_LEVEL_MAX: u8 = 10;

impl Worker {
    fn new() -> Self {
        Self {
            engines: CpuEngines::new(),
            verifier: Verifier::new(),
            decompressor: Decompressor::new(),
            scratch: Vec::new(),
            spare: None,
            unverified: 0,
        }
    }

    /// Does what a job asks for. A panic in it is a bug of ours: it costs this thread its engines, whose state is unknown
    /// after it, and the caller of the job an answer; whoever called this still holds the job and its charge.
    fn caught<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> Result<T, JobError> {
        catch_unwind(AssertUnwindSafe(|| work(self))).map_err(|_| {
            tracing::error!("a job panicked");
            *self = Self::new();
            JobError::Internal("a job panicked".to_owned())
        })
    }

    /// A job's result, verified, and the time that it took.
    fn make(
        &mut self,
        jobs: &JobQueue,
        spec: &mut JobSpec,
        predicted: Nanos,
    ) -> (Result<Made, JobError>, Took) {
        let started = Stopwatch::start(predicted);
        #[cfg(test)]
        tests::panic_if_told(&spec.input);
        let result = match &mut spec.kernel {
            Kernel::Compress {
                format,
                level,
                position,
            } => {
                let (format, level, position) = (*format, *level, *position);
                self.compress(jobs, &spec.input, format, level, position)
            }
            Kernel::Decompress { format, limits } => self
                .decompressor
                .decompress(&spec.input, Some(*format), *limits)
                .map(|done| Made {
                    checksum: BlockChecksum::of(*format, &done.data),
                    output: Bytes::from(done.data),
                    consumed: spec.input.len(),
                    verify: Duration::ZERO,
                    part: None,
                })
                .map_err(JobError::Input),
            Kernel::CompressPart {
                format,
                level,
                position,
                stage,
            } => {
                let (format, level, position, stage) = (*format, *level, *position, stage.take());
                self.compress_part(jobs, &spec.input, format, level, position, stage)
            }
            Kernel::DecompressPart { stage, last, room } => {
                let (stage, last, room) = (stage.take(), *last, *room);
                decompress_part(&spec.input, stage, last, room)
            }
        };
        let took = started.read();
        if self.scratch.capacity() > SCRATCH_KEPT_BYTES_MAX {
            self.scratch = Vec::new();
        }
        (result, took)
    }

    /// Whether the next result is to be verified.
    fn is_verified(&mut self, verification: Verification) -> bool {
        match verification {
            Verification::On => true,
            Verification::Off => false,
            Verification::Sampled { one_in } => {
                self.unverified = (self.unverified + 1) % one_in;
                self.unverified == 0
            }
        }
    }

    fn compress(
        &mut self,
        jobs: &JobQueue,
        input: &[u8],
        format: Format,
        level: Level,
        position: Position,
    ) -> Result<Made, JobError> {
        self.scratch.clear();
        self.scratch.reserve(output_bytes_max(input.len()));
        let is_verified = self.is_verified(jobs.verification());
        let out = &mut self.scratch;
        // A block that nobody verifies is done here; one that is verified is put in its place by the pass that verifies it.
        let (draft, begun) = if is_verified {
            let draft = self.engines.draft_block(input, level, position, out);
            (draft.map(Some), Instant::now())
        } else {
            let made = self.engines.compress_block(input, level, position, out);
            (made.map(|_| None), Instant::now())
        };
        if let Some(fault) = self.engines.take_fault() {
            tracing::error!(%fault, "an engine refused a block; the next one takes it");
            jobs.metrics
                .engine_refusal(self.engines.engine_of(level).engine);
        }
        let right = match draft {
            Ok(None) => Ok(()),
            Ok(Some(draft)) => self
                .verifier
                .finish(draft, input, out)
                .map_err(|error| format!("{}: {error}", draft.maker())),
            Err(error) => Err(error.to_string()),
        };
        if let Err(why) = right {
            tracing::error!(%why, "a block failed verification; storing it");
            jobs.report_verify_failure(EngineId::Cpu, 0);
            self.scratch.clear();
            write_stored(input, position, &mut self.scratch);
            self.verifier
                .check_block(&self.scratch, position, input)
                .map_err(|error| {
                    JobError::Internal(format!("stored blocks failed verification: {error}"))
                })?;
        }
        Ok(Made {
            output: Bytes::copy_from_slice(&self.scratch),
            consumed: input.len(),
            checksum: BlockChecksum::of(format, input),
            verify: begun.elapsed(),
            part: None,
        })
    }

    /// The next part of a stream. Its compressor verifies what it made before it says so; a sample is all of it.
    fn compress_part(
        &mut self,
        jobs: &JobQueue,
        input: &[u8],
        format: Format,
        level: Level,
        position: Position,
        stage: Option<Stage<StreamCompressor>>,
    ) -> Result<Made, JobError> {
        let failed = |error: EngineError| {
            jobs.report_verify_failure(EngineId::Cpu, 0);
            JobError::Internal(format!("a stream could not be gone on with: {error}"))
        };
        let mut stage = match stage {
            Some(stage) => stage,
            None => match self.spare.take_if(|spare| spare.suits(format, level)) {
                Some(spare) => spare.stage,
                None => {
                    let verified = jobs.verification() != Verification::Off;
                    let made = StreamCompressor::new(format, level).map_err(failed)?;
                    Stage(Box::new(made.with_verification(verified)))
                }
            },
        };
        self.scratch.clear();
        stage
            .0
            .compress(input, position, &mut self.scratch)
            .map_err(failed)?;
        let rest = match position {
            Position::Middle => Some(stage),
            Position::Last => {
                self.spare = (level.get() <= SPARE_LEVEL_MAX).then_some(Spare {
                    format,
                    level,
                    stage,
                });
                None
            }
        };
        Ok(Made {
            output: Bytes::copy_from_slice(&self.scratch),
            consumed: input.len(),
            checksum: BlockChecksum::of(format, input),
            verify: Duration::ZERO,
            part: Some(Part::Compressed(rest)),
        })
    }

    fn verify(&mut self, jobs: &JobQueue, unverified: Unverified) {
        let Unverified { mut running, claim } = unverified;
        let begun = Stopwatch::start(running.receipt.charged());
        let (device, engine) = match &claim {
            Claim::Done(result) => (result.device, result.engine.min(CARD_TIME_MAX)),
            Claim::Refused(_) => (Duration::ZERO, Duration::ZERO),
        };
        let caught = self.caught(|worker| match claim {
            Claim::Done(result) => {
                running.job.phases.device += result.device;
                running.job.phases.transfer += result.transfer;
                if worker.is_verified(jobs.verification()) {
                    worker.judge(&running.job, result)
                } else {
                    worker.believe(&running.job, result)
                }
            }
            Claim::Refused(refusal) => worker.judge_refusal(&running.job, &refusal),
        });
        let verdict = caught.unwrap_or_else(Verdict::Answer);
        let Took { wall, thread: cpu } = begun.read();
        running.job.phases.verify += wall;
        // What came to nothing is nobody's charge; the block's reference time is charged once, when it ends.
        let meter = running.job.spec.permit.meter();
        match verdict {
            Verdict::Replay(_) | Verdict::Wrong(_) => meter.add_retried(engine, cpu),
            Verdict::Right(_) | Verdict::Answer(_) => meter.add(Spent {
                device: engine,
                cpu,
                ..Spent::default()
            }),
        }
        match verdict {
            Verdict::Right(made) => {
                let ended = Ended::OnCard {
                    device,
                    engine,
                    verify: cpu,
                };
                let charged = jobs.settle(running.receipt, ended);
                running.job.meter(charged, Duration::ZERO);
                finish(running.job, running.engine, Ok(made));
            }
            Verdict::Answer(error) => {
                // A panic is a bug of ours, and nobody's charge; all else is the caller's data.
                let ended = match error {
                    JobError::Internal(_) => Ended::Unbegun,
                    _ => Ended::Aside(None),
                };
                let charged = jobs.settle(running.receipt, ended);
                running.job.meter(charged, Duration::ZERO);
                finish(running.job, running.engine, Err(error));
            }
            Verdict::Replay(reason) => jobs.replay(running, reason),
            Verdict::Wrong(why) => {
                tracing::error!(engine = %running.engine, %why, "a card's result failed verification; replaying the job");
                jobs.report_verify_failure(running.engine, running.life);
                running.note_fault("verify", &why);
                jobs.replay(running, FallbackReason::VerifyFailed);
            }
        }
    }

    /// Whether a card's result is what the host's input calls for.
    fn judge(&mut self, job: &PendingJob, result: CardResult) -> Verdict {
        let input = &job.spec.input;
        #[cfg(test)]
        tests::panic_if_told(input);
        let consumed = result.consumed;
        match job.spec.kernel {
            Kernel::Compress {
                format, position, ..
            } => match self.verifier.check_block(&result.output, position, input) {
                Ok(()) => {
                    let checksum = BlockChecksum::of(format, input);
                    if let Err(why) = result.says(&checksum) {
                        return Verdict::Wrong(why);
                    }
                    Verdict::Right(Made {
                        checksum,
                        output: Bytes::copy_from_slice(&result.output),
                        consumed: input.len(),
                        verify: Duration::ZERO,
                        part: None,
                    })
                }
                Err(error) => Verdict::Wrong(error.to_string()),
            },
            Kernel::CompressPart { .. } | Kernel::DecompressPart { .. } => {
                Verdict::Wrong("cards have no streams".to_owned())
            }
            Kernel::Decompress { format, limits } => {
                let ratio_max = usize::try_from(limits.ratio_max).unwrap_or(usize::MAX);
                let made = result.output.len();
                if made as u64 > limits.output_bytes_max
                    || made > RATIO_FREE_BYTES && made > input.len().saturating_mul(ratio_max)
                {
                    return self.judge_over_limit(input, format, limits);
                }
                match self
                    .verifier
                    .check_decompressed(input, format, &result.output, consumed)
                {
                    Ok(()) => {
                        let checksum = BlockChecksum::of(format, &result.output);
                        if let Err(why) = result.says(&checksum) {
                            return Verdict::Wrong(why);
                        }
                        Verdict::Right(Made {
                            checksum,
                            output: Bytes::from(result.output),
                            consumed,
                            verify: Duration::ZERO,
                            part: None,
                        })
                    }
                    Err(error) => Verdict::Wrong(error.to_string()),
                }
            }
        }
    }

    /// A card's result without verification, as an operator asked for it. Its bounds were checked when it was taken.
    fn believe(&mut self, job: &PendingJob, result: CardResult) -> Verdict {
        let input = &job.spec.input;
        let (checksum, consumed) = match &job.spec.kernel {
            Kernel::Compress { format, .. } => {
                let checksum = BlockChecksum::of(*format, input);
                if let Err(why) = result.says(&checksum) {
                    return Verdict::Wrong(why);
                }
                (checksum, input.len())
            }
            // Nobody but the data's own checksum says where a member ends: that is not left out.
            _ => return self.judge(job, result),
        };
        Verdict::Right(Made {
            output: Bytes::copy_from_slice(&result.output),
            consumed,
            checksum,
            verify: Duration::ZERO,
            part: None,
        })
    }

    /// A card's output passes a limit of the caller's: the CPU, which stops at the limit, says so in its words.
    fn judge_over_limit(&mut self, input: &[u8], format: Format, limits: Limits) -> Verdict {
        match self.decompressor.decompress(input, Some(format), limits) {
            Err(error) => Verdict::Answer(JobError::Input(error)),
            Ok(_) => Verdict::Wrong("a card's output is longer than the data's".to_owned()),
        }
    }

    /// A card says that the data cannot be processed. Its word is checked like any other: the CPU decodes too.
    fn judge_refusal(&mut self, job: &PendingJob, refusal: &CardRefusal) -> Verdict {
        let Kernel::Decompress { format, limits } = job.spec.kernel else {
            return Verdict::Wrong(format!("a card refused to compress: {refusal}"));
        };
        // A card was given room for a byte over the limit. Where that is less than a card can ever write,
        // it is the limit that was passed, and the CPU says so below in its words.
        if matches!(refusal, CardRefusal::OutputFull)
            && limits.output_bytes_max >= u64::from(faam_hwif::JOB_BYTES_MAX)
        {
            return if job.spec.policy == BackendPolicy::RequireHardware {
                Verdict::Answer(JobError::BeyondCard(beyond_card_text()))
            } else {
                Verdict::Replay(FallbackReason::BeyondCard)
            };
        }
        match self
            .decompressor
            .decompress(&job.spec.input, Some(format), limits)
        {
            Err(error) => Verdict::Answer(JobError::Input(error)),
            Ok(_) => Verdict::Wrong(format!("a card says {refusal} of data that decodes")),
        }
    }
}

/// Decodes on. What comes out is confirmed by the data's own checksum, or by a second decoder, before its end is told.
fn decompress_part(
    input: &[u8],
    stage: Option<Stage<StreamDecompressor>>,
    last: bool,
    room: usize,
) -> Result<Made, JobError> {
    let Some(mut stage) = stage else {
        return Err(JobError::Internal(
            "a stream's part came without its state".to_owned(),
        ));
    };
    let mut output = Vec::new();
    let step = stage
        .0
        .decompress(input, last, room, &mut output)
        .map_err(JobError::Input)?;
    Ok(Made {
        output: Bytes::from(output),
        consumed: step.consumed,
        checksum: BlockChecksum::empty(Format::Deflate),
        verify: Duration::ZERO,
        part: Some(Part::Decompressed(stage, step.state)),
    })
}

enum Verdict {
    Right(Made),
    Answer(JobError),
    Replay(FallbackReason),
    Wrong(String),
}

struct Made {
    output: Bytes,
    consumed: usize,
    checksum: BlockChecksum,
    verify: Duration,
    part: Option<Part>,
}

impl Made {
    fn outcome(
        self,
        engine: EngineId,
        fallback: Option<FallbackReason>,
        phases: Phases,
    ) -> BlockOutcome {
        BlockOutcome {
            output: self.output,
            consumed: self.consumed,
            checksum: self.checksum,
            engine,
            fallback,
            phases,
            part: self.part,
        }
    }
}

fn finish(job: PendingJob, engine: EngineId, result: Result<Made, JobError>) {
    let (fallback, phases) = (job.fallback, job.phases);
    job.note_done_by(engine, result.is_ok());
    job.answer(result.map(|made| made.outcome(engine, fallback, phases)));
}

#[cfg(test)]
mod tests;
