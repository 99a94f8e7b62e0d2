//! What becomes of a job, and of the jobs after it, when a worker panics in it.

use std::future::Future;

use faam_codec::{Engine, LibdeflateEngine, write_header, write_trailer};
use faam_sched::Nanos;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::held_answers::{HELD_ANSWERS_MAX, HELD_FOR_MICROS_MAX};
use super::*;
use crate::admission::{Admission, AdmissionLimits};
use crate::job::Priority;
use crate::tenants::{Tenant, TenantLimits};

/// An input that makes whoever works on it panic.
const PANICS: &[u8] = b"this input makes a worker panic, in tests";

pub(super) fn panic_if_told(input: &[u8]) {
    assert!(input != PANICS, "told to");
}

/// Longest wait for anything here: a hundred times what it takes on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(20);

async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT_MAX, event).await.unwrap()
}

type Answer = oneshot::Receiver<Result<BlockOutcome, JobError>>;

struct Rig {
    jobs: Arc<JobQueue>,
    tenant: Tenant,
    admission: Admission,
    pool: CpuPool,
}

impl Rig {
    /// These workers, and one card whose function 0 is in service.
    fn start(workers: usize) -> Self {
        let jobs = Arc::new(JobQueue::with_one_card());
        let tenant = Tenant::demo(TenantLimits::default());
        jobs.set_tenant(&tenant);
        Self {
            pool: CpuPool::start(&jobs, workers).unwrap(),
            jobs,
            tenant,
            admission: Admission::new(AdmissionLimits::default()),
        }
    }

    fn spec(&self, input: &'static [u8], policy: BackendPolicy) -> JobSpec {
        let kernel = Kernel::Compress {
            format: Format::Gzip,
            level: Level::DEFAULT,
            position: Position::Last,
        };
        self.spec_of(kernel, Bytes::from_static(input), policy)
    }

    fn spec_of(&self, kernel: Kernel, input: Bytes, policy: BackendPolicy) -> JobSpec {
        JobSpec {
            tenant: self.tenant.id.clone(),
            kernel,
            input,
            policy,
            priority: Priority::default(),
            deadline: None,
            permit: Arc::new(self.admission.admit(&self.tenant, 5).unwrap()),
        }
    }

    fn push(&self, input: &'static [u8], policy: BackendPolicy) -> Answer {
        self.push_spec(self.spec(input, policy))
    }

    fn push_spec(&self, spec: JobSpec) -> Answer {
        let placement = self.jobs.placement(&spec, None).unwrap();
        let index = self.jobs.tenant(&self.tenant.id).unwrap().index;
        let (job, answer) = self.pending(spec);
        self.jobs.push(index, job, placement).unwrap();
        answer
    }

    /// A job and where its answer comes.
    fn pending(&self, spec: JobSpec) -> (PendingJob, Answer) {
        let place = self.jobs.tenant(&self.tenant.id).unwrap();
        let (reply, answer) = oneshot::channel();
        let room = Arc::clone(&place.room).try_acquire().unwrap();
        let job = PendingJob::new(spec, &place, reply, room, Duration::ZERO);
        (job, answer)
    }

    /// Plays the card: takes the next job and claims to have compressed it, as it should.
    fn claim(&self) {
        self.claim_with(|output| output);
    }

    /// The same, with what becomes of the output on its way.
    fn claim_with(&self, spoil: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        self.claim_as(|mut result| {
            result.output = spoil(result.output);
            result
        });
    }

    /// The same, with what becomes of all that it says.
    fn claim_as(&self, spoil: impl FnOnce(CardResult) -> CardResult) {
        let target = self.jobs.target_of(0, 0).unwrap();
        let engine = EngineId::Card {
            card: 0,
            function: 0,
            simulated: true,
        };
        let running = self.jobs.next_for_card(target, engine, 1).unwrap();
        let input = running.job.spec.input.clone();
        let mut output = Vec::new();
        LibdeflateEngine::new()
            .compress_block(&input, Level::DEFAULT, Position::Last, &mut output)
            .unwrap();
        let result = CardResult {
            output,
            consumed: input.len(),
            crc32: BlockChecksum::of(Format::Gzip, &input).value(),
            adler32: BlockChecksum::of(Format::Zlib, &input).value(),
            device: Duration::from_micros(20),
            engine: Duration::from_micros(10),
            transfer: Duration::ZERO,
        };
        let claim = Claim::Done(spoil(result));
        self.jobs.card_claims(running, claim);
    }

    /// Ends the worker; nothing is left that holds memory.
    fn end(self) {
        self.jobs.stop();
        self.jobs.end();
        self.pool.join();
        assert_eq!(self.admission.in_flight(), 0);
    }
}

fn is_internal<T: std::fmt::Debug>(answer: Result<T, JobError>) -> bool {
    matches!(answer, Err(JobError::Internal(_)))
}

#[tokio::test]
async fn a_panic_in_a_job_of_the_pool_costs_its_caller_the_answer_and_nobody_else_anything() {
    let rig = Rig::start(1);
    for _ in 0..3 {
        let answer = soon(rig.push(PANICS, BackendPolicy::Cpu)).await.unwrap();
        assert!(is_internal(answer));
        assert_eq!(rig.jobs.outstanding_ns(), 0, "the charge is settled");
        let next = soon(rig.push(b"the next job", BackendPolicy::Cpu)).await;
        assert_eq!(next.unwrap().unwrap().consumed, 12);
    }
    assert_eq!(rig.jobs.outstanding_ns(), 0);
    rig.end();
}

#[tokio::test]
async fn a_panic_over_what_a_card_made_settles_the_cards_charge() {
    let rig = Rig::start(1);
    for _ in 0..3 {
        let answer = rig.push(PANICS, BackendPolicy::RequireHardware);
        rig.claim();
        assert!(is_internal(soon(answer).await.unwrap()));
        assert_eq!(rig.jobs.outstanding_ns(), 0, "the charge is settled");
        let next = rig.push(b"the next job", BackendPolicy::RequireHardware);
        rig.claim();
        assert_eq!(soon(next).await.unwrap().unwrap().consumed, 12);
    }
    rig.end();
}

#[tokio::test]
async fn a_block_is_metered_also_when_it_is_sent_back_or_nobody_waits_for_it() {
    let rig = Rig::start(1);
    let device = Duration::from_micros(10);
    // On a card.
    let spec = rig.spec(b"a block", BackendPolicy::RequireHardware);
    let permit = Arc::clone(&spec.permit);
    let answer = rig.push_spec(spec);
    rig.claim();
    soon(answer).await.unwrap().unwrap();
    let spent = permit.meter().spent();
    assert_eq!((spent.device, spent.fallbacks), (device, 0));
    assert!(spent.cpu > Duration::ZERO && spent.reference > Duration::ZERO);
    drop(permit);
    // A result that fails verification: the CPU makes it again, and that alone is charged.
    let spec = rig.spec(b"a block that goes back", BackendPolicy::PreferHardware);
    let permit = Arc::clone(&spec.permit);
    let answer = rig.push_spec(spec);
    rig.claim_with(|_| vec![0xff; 8]);
    let outcome = soon(answer).await.unwrap().unwrap();
    assert_eq!(outcome.fallback, Some(FallbackReason::VerifyFailed));
    let spent = permit.meter().spent();
    assert_eq!((spent.device, spent.fallbacks), (Duration::ZERO, 1));
    assert!(spent.reference > Duration::ZERO);
    assert_eq!(spent.reference, spent.cpu);
    let (on_card, verifying) = permit.meter().retried();
    assert_eq!(on_card, device);
    assert!(verifying > Duration::ZERO);
    drop(permit);
    // The caller hangs up while a card works for it. The only worker has verified that once it has verified the next.
    let spec = rig.spec(b"nobody waits", BackendPolicy::RequireHardware);
    let permit = Arc::clone(&spec.permit);
    let answer = rig.push_spec(spec);
    rig.claim_with(|output| {
        drop(answer);
        output
    });
    let next = rig.push(b"the next job", BackendPolicy::RequireHardware);
    rig.claim();
    soon(next).await.unwrap().unwrap();
    let spent = permit.meter().spent();
    assert_eq!(spent.device, device);
    assert!(spent.cpu > Duration::ZERO && spent.reference > Duration::ZERO);
    drop(permit);
    rig.end();
}

#[tokio::test]
async fn a_card_whose_sum_of_the_data_is_not_the_hosts_is_found_wrong() {
    let rig = Rig::start(1);
    let policy = BackendPolicy::PreferHardware;
    // The format is gzip: its other sum is not looked at, for the host has not made it.
    let answer = rig.push(b"a block", policy);
    rig.claim_as(|result| CardResult {
        adler32: result.adler32 ^ 1,
        ..result
    });
    let made = soon(answer).await.unwrap().unwrap();
    assert!(made.fallback.is_none());
    let answer = rig.push(b"a block", policy);
    rig.claim_as(|result| CardResult {
        crc32: result.crc32 ^ 1,
        ..result
    });
    let made = soon(answer).await.unwrap().unwrap();
    assert_eq!(made.fallback, Some(FallbackReason::VerifyFailed));
    rig.end();
}

/// `len` zeros as a body.
fn zeros(format: Format, len: usize) -> Bytes {
    let data = vec![0; len];
    let mut body = Vec::new();
    write_header(format, Level::DEFAULT, &mut body);
    LibdeflateEngine::new()
        .compress_block(&data, Level::DEFAULT, Position::Last, &mut body)
        .unwrap();
    write_trailer(&BlockChecksum::of(format, &data), &mut body);
    body.into()
}

#[test]
fn a_body_with_more_data_than_its_callers_thread_decodes_is_left_to_the_pool() {
    // No worker: this test plays the only one.
    let rig = Rig::start(0);
    let limits = Limits {
        output_bytes_max: 4 << 20,
        ratio_max: 2_000,
    };
    let spec = |len| {
        let format = Format::Zlib;
        let kernel = Kernel::Decompress { format, limits };
        rig.spec_of(kernel, zeros(format, len), BackendPolicy::Cpu)
    };
    // A job with a longer input than any below was measured, and was short.
    let _answer = rig.push_spec(spec(3 << 20));
    let CpuWork::Run(running) = rig.jobs.next_for_cpu() else {
        panic!("a job to run");
    };
    let short = Duration::from_micros(1);
    let (wall, thread) = (short, short);
    let ended = Ended::OnCpu(Took { wall, thread });
    rig.jobs.settle(running.receipt, ended);
    let here = |spec: &mut JobSpec| {
        let placement = rig.jobs.placement(spec, None).unwrap();
        let receipt = rig.jobs.take_now(spec, placement).unwrap();
        let made = run_here(&rig.jobs, spec, receipt);
        assert_eq!(rig.jobs.outstanding_ns(), 0);
        made
    };
    let most = usize::try_from(HERE_OUTPUT_BYTES_MAX).unwrap();
    for len in [1_000, most] {
        let made = here(&mut spec(len)).unwrap().unwrap();
        assert_eq!(made.output.len(), len);
    }
    for len in [most + 1, 2 << 20] {
        let mut spec = spec(len);
        assert!(here(&mut spec).is_none(), "{len}");
        let Kernel::Decompress { limits: left, .. } = spec.kernel else {
            panic!("the kernel is as it was");
        };
        assert_eq!(left, limits, "as if it had not been tried");
    }
    // A limit of the caller's own is still the caller's.
    let mut tight = spec(2_000);
    if let Kernel::Decompress { limits, .. } = &mut tight.kernel {
        limits.output_bytes_max = 1_999;
    }
    assert!(matches!(
        here(&mut tight).unwrap(),
        Err(JobError::Input(DecompressError::TooLarge {
            output_bytes_max: 1_999
        }))
    ));
}

#[test]
fn answers_are_held_for_few_short_jobs_and_told_to_each_caller_at_once() {
    let rig = Rig::start(1);
    let short = Nanos(HELD_FOR_MICROS_MAX * 1_000);
    let mut held = HeldAnswers::default();
    let mut answers = Vec::new();
    // A worker's message tells the answers apart.
    let told = |number: usize| JobError::Internal(number.to_string());
    for round in 0..2 {
        for number in 0..HELD_ANSWERS_MAX {
            assert!(held.may_wait(short), "{number} are held in round {round}");
            assert!(
                !held.may_wait(Nanos(short.0 + 1)),
                "for a longer one nobody waits"
            );
            let (job, answer) = rig.pending(rig.spec(b"hello", BackendPolicy::Cpu));
            held.hold(job, Err(told(number)));
            answers.push(answer);
        }
        assert!(!held.may_wait(Nanos(0)), "as many as may are held");
        assert!(
            answers
                .iter_mut()
                .all(|answer| matches!(answer.try_recv(), Err(TryRecvError::Empty))),
            "nobody is told yet"
        );
        // One who has hung up keeps nobody from an answer.
        drop(answers.remove(0));
        held.release();
        for (number, mut answer) in (1..).zip(answers.drain(..)) {
            let answer = answer.try_recv().unwrap();
            assert!(
                matches!(&answer, Err(JobError::Internal(what)) if *what == number.to_string()),
                "{answer:?}"
            );
        }
        // Nobody is told twice.
        held.release();
    }
    drop(held);
    rig.end();
}

#[test]
fn nobody_waits_for_a_decompression_whose_size_is_not_known() {
    let rig = Rig::start(1);
    let limits = Limits {
        output_bytes_max: 4 << 20,
        ratio_max: 2_000,
    };
    let decompress = |format, input: Bytes| {
        let kernel = Kernel::Decompress { format, limits };
        may_be_awaited(&rig.spec_of(kernel, input, BackendPolicy::Cpu))
    };
    assert!(may_be_awaited(&rig.spec(b"hello", BackendPolicy::Cpu)));
    assert!(decompress(Format::Gzip, zeros(Format::Gzip, 1000)));
    let large = zeros(Format::Gzip, 1 << 20);
    assert!(large.len() < 4096, "its input does not show it");
    assert!(!decompress(Format::Gzip, large));
    for format in [Format::Zlib, Format::Deflate] {
        assert!(!decompress(format, zeros(format, 1000)), "{format:?}");
    }
    assert!(!decompress(Format::Gzip, Bytes::from_static(b"x")));
    rig.end();
}
