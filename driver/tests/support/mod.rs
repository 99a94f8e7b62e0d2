//! A card, functions on it, and a worker with a channel for a source: what the device tests stand on.

#![expect(clippy::panic, reason = "a test fails by panicking")]

use std::collections::VecDeque;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use faam_driver::worker::{WorkerCounters, WorkerExit};
use faam_driver::{
    Arena, ChildFence, Completion, FenceProof, Function, FunctionConfig, Job, JobSource, Kernel,
    Outcome, Request, Transport, VfioUser, Waker, Worker, WorkerConfig, WorkerHandle,
};
use faam_hwif::WireFormat;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// Longest wait of a test for anything.
const LIMIT: Duration = Duration::from_secs(30);

/// A card in this process.
pub(crate) struct Bench {
    dir: tempfile::TempDir,
    _card: faam_sim::Card,
}

impl Bench {
    /// A card with so many engines a function.
    pub(crate) fn start(engines: u8) -> Self {
        Self::with(|options| options.engines = engines)
    }

    /// A card whose function's engines stop for good after so many jobs.
    pub(crate) fn start_hanging(function: u8, after_jobs: u64) -> Self {
        Self::with(|options| {
            options.allow_faults = true;
            options.hang = Some(faam_sim::HangPlan {
                function,
                after_jobs,
            });
        })
    }

    fn with(change: impl FnOnce(&mut faam_sim::Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = faam_sim::Options::new(dir.path());
        options.seed = Some(1);
        change(&mut options);
        let card = faam_sim::Card::start(&options).unwrap();
        Self { dir, _card: card }
    }

    pub(crate) fn function(&self, index: u8) -> Function {
        self.function_with(index, FunctionConfig::default())
    }

    pub(crate) fn function_with(&self, index: u8, config: FunctionConfig) -> Function {
        self.bring_up(index, &Arena::new(16 << 20).unwrap(), config)
    }

    pub(crate) fn function_on(&self, index: u8, arena: &Arc<Arena>) -> Function {
        self.bring_up(index, arena, FunctionConfig::default())
    }

    fn bring_up(&self, index: u8, arena: &Arc<Arena>, config: FunctionConfig) -> Function {
        let path = self.dir.path().join(format!("fn{index}"));
        let transport = VfioUser::connect(&path).unwrap();
        Function::bring_up(Arc::new(transport), Arc::clone(arena), config).unwrap()
    }

    /// A worker on a new queue pair of `function`.
    pub(crate) fn worker(&self, function: &Function) -> Feeder {
        Feeder::start(function)
    }
}

/// A piece of work with its input.
#[derive(Clone)]
pub(crate) struct Work {
    kernel: Kernel,
    input: Vec<u8>,
    room: usize,
    timeout: Duration,
}

impl Work {
    /// With room for a block that does not compress.
    pub(crate) fn new(kernel: Kernel, input: &[u8]) -> Self {
        Self {
            kernel,
            input: input.to_vec(),
            room: input.len() + input.len() / 100 + 256,
            timeout: Duration::from_secs(10),
        }
    }

    pub(crate) fn room(self, room: usize) -> Self {
        Self { room, ..self }
    }

    pub(crate) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }
}

/// What came of it.
pub(crate) struct Ended(pub(crate) Outcome);

impl Ended {
    pub(crate) fn done(self) -> Completion {
        match self.0 {
            Outcome::Done(done) => done,
            other => panic!("expected a result, got {other:?}"),
        }
    }
}

/// A job that reports over a channel.
pub(crate) struct TestJob {
    work: Work,
    reply: Sender<Outcome>,
    slept: Option<Slept>,
}

/// How often a worker had slept when it completed its last job.
#[derive(Clone)]
struct Slept {
    counters: Arc<WorkerCounters>,
    at_completion: Arc<AtomicU64>,
}

impl Job for TestJob {
    fn request(&self) -> Request<'_> {
        Request {
            kernel: self.work.kernel,
            input: &self.work.input,
            output_bytes_max: self.work.room,
            context: 1,
            timeout: self.work.timeout,
        }
    }

    fn complete(self, outcome: Outcome) {
        if let Some(slept) = &self.slept {
            let times = slept.counters.sleeps.get();
            slept.at_completion.store(times, Ordering::SeqCst);
        }
        let _ = self.reply.send(outcome);
    }
}

#[derive(Clone, Default)]
struct Queue(Arc<Mutex<VecDeque<TestJob>>>);

impl JobSource for Queue {
    type Job = TestJob;

    fn next(&mut self) -> Option<TestJob> {
        self.0.lock().unwrap().pop_front()
    }
}

/// A worker and the queue that feeds it.
pub(crate) struct Feeder {
    queue: Queue,
    handle: WorkerHandle,
    waker: Waker,
    exit: Receiver<WorkerExit>,
    slept: Slept,
}

impl Feeder {
    pub(crate) fn start(function: &Function) -> Self {
        Self::start_with(function, WorkerConfig::default())
    }

    pub(crate) fn start_with(function: &Function, config: WorkerConfig) -> Self {
        let pair = function.create_queue_pair().unwrap();
        let queue = Queue::default();
        let (tell, exit) = channel();
        let on_exit = move |exit| {
            let _ = tell.send(exit);
        };
        let handle = Worker::spawn("test-worker", pair, queue.clone(), config, on_exit).unwrap();
        Self {
            waker: handle.waker(),
            slept: Slept {
                counters: Arc::clone(handle.counters()),
                at_completion: Arc::default(),
            },
            queue,
            handle,
            exit,
        }
    }

    /// Queue one job and wake the worker.
    pub(crate) fn submit(&self, work: Work) -> Receiver<Outcome> {
        let (reply, outcome) = channel();
        self.queue.0.lock().unwrap().push_back(TestJob {
            work,
            reply,
            slept: Some(self.slept.clone()),
        });
        self.waker.wake();
        outcome
    }

    /// Run one job to its end.
    pub(crate) fn run(&self, work: Work) -> Ended {
        Ended(self.submit(work).recv_timeout(LIMIT).unwrap())
    }

    /// Queue all, then take the outcomes by number.
    pub(crate) fn run_all(&self, works: impl Iterator<Item = Work>) -> Vec<(usize, Ended)> {
        let pending: Vec<_> = works.map(|work| self.submit(work)).collect();
        pending
            .into_iter()
            .map(|outcome| Ended(outcome.recv_timeout(LIMIT).unwrap()))
            .enumerate()
            .collect()
    }

    /// Wait until the worker has gone to sleep after the last job that it completed.
    pub(crate) fn until_asleep(&self) {
        let before = self.slept.at_completion.load(Ordering::SeqCst);
        until(LIMIT, || self.counters().sleeps.get() > before);
    }

    pub(crate) fn counters(&self) -> &WorkerCounters {
        self.handle.counters()
    }

    /// Stop the worker and say how it ended.
    pub(crate) fn stop(self) -> WorkerExit {
        self.handle.stop();
        self.exit.recv_timeout(LIMIT).unwrap()
    }

    /// Wait until the worker has ended by itself; then every job that it took has an outcome, and those that it never
    /// took are dropped with the queue.
    pub(crate) fn ended(self, pending: Vec<Receiver<Outcome>>) -> (WorkerExit, Vec<Outcome>) {
        let exit = self.exit.recv_timeout(LIMIT).unwrap();
        self.queue.0.lock().unwrap().clear();
        let outcomes = pending.iter().filter_map(|reply| reply.try_recv().ok());
        (exit, outcomes.collect())
    }
}

/// Waits until `reached`, looking again and again.
pub(crate) fn until(limit: Duration, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !reached() {
        assert!(Instant::now() < deadline, "not within {limit:?}");
        std::thread::yield_now();
    }
}

/// Compressible bytes of which no two stretches are quite alike.
pub(crate) fn text(bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes + 64);
    let mut state = 1u32;
    while out.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let words = [
            "request", "card", "queue", "block", "fence", "arena", "tenant",
        ];
        let word = words[(state >> 16) as usize % words.len()];
        out.extend(format!("{word} {} ", state >> 24).bytes());
    }
    out.truncate(bytes);
    out
}

/// Bytes that do not compress.
pub(crate) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..bytes).map(|_| next()).collect()
}

/// Decodes by an implementation that is not the card's.
pub(crate) fn inflate(format: WireFormat, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match format {
        WireFormat::Raw => flate2::read::DeflateDecoder::new(bytes).read_to_end(&mut out),
        WireFormat::Zlib => flate2::read::ZlibDecoder::new(bytes).read_to_end(&mut out),
        WireFormat::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
    }
    .unwrap();
    out
}

/// Names the directory of a child card, and makes [`card_process`] serve one.
const CARD_DIR: &str = "FAAM_TEST_CARD_DIR";

/// A card in a process of its own, to be stopped and killed.
pub(crate) struct ChildCard {
    dir: tempfile::TempDir,
    child: std::process::Child,
    fence: ChildFence,
}

impl ChildCard {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "card_process", "--ignored", "--nocapture"])
            .env(CARD_DIR, dir.path())
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty()).unwrap();
        let fence = ChildFence::new(pidfd).unwrap();
        assert_eq!(fence.pid(), child.id());
        let card = Self { dir, child, fence };
        for index in 0..2 {
            until(LIMIT, || {
                std::os::unix::net::UnixStream::connect(card.socket(index)).is_ok()
            });
        }
        card
    }

    fn socket(&self, index: u8) -> std::path::PathBuf {
        self.dir.path().join(format!("fn{index}"))
    }

    pub(crate) fn function(&self, index: u8, arena: &Arc<Arena>) -> Function {
        let transport = VfioUser::connect(&self.socket(index)).unwrap();
        assert_eq!(transport.serving_process(), Some(self.child.id()));
        let config = FunctionConfig::default();
        Function::bring_up(Arc::new(transport), Arc::clone(arena), config).unwrap()
    }

    pub(crate) fn stop(&self) {
        kill_process(Pid::from_child(&self.child), Signal::STOP).unwrap();
    }

    pub(crate) fn is_no_fence_yet(&self) -> bool {
        self.fence.proof().is_err()
    }

    pub(crate) fn kill_and_fence(mut self) -> FenceProof {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.fence.proof().unwrap()
    }
}

impl Drop for ChildCard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves a card if started as one by [`ChildCard`].
pub(crate) fn card_process() {
    let Some(dir) = std::env::var_os(CARD_DIR) else {
        return;
    };
    let options = faam_sim::Options::new(std::path::PathBuf::from(dir));
    let _card = faam_sim::Card::start(&options).unwrap();
    let mut end = Vec::new();
    std::io::stdin().read_to_end(&mut end).unwrap();
}

/// Hands out `jobs` jobs, then panics.
struct PanicsAfter {
    queue: Queue,
}

impl JobSource for PanicsAfter {
    type Job = TestJob;

    fn next(&mut self) -> Option<TestJob> {
        match self.queue.next() {
            Some(job) => Some(job),
            None => panic!("this source panics when it is empty"),
        }
    }
}

/// Has a second job only when the first is done, and says so to nobody.
struct OneAtATime {
    queue: Queue,
    busy: Arc<AtomicBool>,
}

struct OneOfThem {
    job: TestJob,
    busy: Arc<AtomicBool>,
}

impl JobSource for OneAtATime {
    type Job = OneOfThem;

    fn next(&mut self) -> Option<OneOfThem> {
        if self.busy.load(Ordering::SeqCst) {
            return None;
        }
        let job = self.queue.next()?;
        self.busy.store(true, Ordering::SeqCst);
        Some(OneOfThem {
            job,
            busy: Arc::clone(&self.busy),
        })
    }
}

impl Job for OneOfThem {
    fn request(&self) -> Request<'_> {
        self.job.request()
    }

    fn complete(self, outcome: Outcome) {
        self.busy.store(false, Ordering::SeqCst);
        self.job.complete(outcome);
    }
}

/// Runs the works one at a time, on a worker that nobody wakes.
pub(crate) fn one_at_a_time(
    function: &Function,
    config: WorkerConfig,
    works: &[Work],
) -> Vec<Outcome> {
    let (queue, outcomes) = queue_of(works);
    let source = OneAtATime {
        queue,
        busy: Arc::default(),
    };
    let (_handle, _exit) = spawn(function, config, source);
    works
        .iter()
        .map(|_| outcomes.recv_timeout(LIMIT).unwrap())
        .collect()
}

/// Its request cannot be had, if `broken`.
struct MayPanic {
    job: TestJob,
    broken: bool,
}

/// Hands out its jobs, the last of them broken.
struct LastIsBroken(Queue);

impl JobSource for LastIsBroken {
    type Job = MayPanic;

    fn next(&mut self) -> Option<MayPanic> {
        let job = self.0.next()?;
        let broken = self.0.0.lock().unwrap().is_empty();
        Some(MayPanic { job, broken })
    }
}

impl Job for MayPanic {
    fn request(&self) -> Request<'_> {
        assert!(!self.broken, "this job panics when it is looked at");
        self.job.request()
    }

    fn complete(self, outcome: Outcome) {
        self.job.complete(outcome);
    }
}

/// Runs a worker with jobs, the last of which panics when it is asked for its request.
pub(crate) fn panicking_job(function: &Function, works: &[Work]) -> (WorkerExit, Vec<Outcome>) {
    let (queue, outcomes) = queue_of(works);
    let (_handle, exit) = spawn(function, ROOM_FOR_EIGHT, LastIsBroken(queue));
    let exit = exit.recv_timeout(LIMIT).unwrap();
    (exit, outcomes.iter().collect())
}

const ROOM_FOR_EIGHT: WorkerConfig = WorkerConfig {
    spin: None,
    jobs_outstanding_max: Some(8),
    idle_look_again: None,
};

/// The works as jobs, and where their outcomes come.
fn queue_of(works: &[Work]) -> (Queue, Receiver<Outcome>) {
    let (reply, outcomes) = channel();
    let job = |work: &Work| TestJob {
        work: work.clone(),
        reply: reply.clone(),
        slept: None,
    };
    let jobs = works.iter().map(job).collect();
    (Queue(Arc::new(Mutex::new(jobs))), outcomes)
}

fn spawn<S: JobSource>(
    function: &Function,
    config: WorkerConfig,
    source: S,
) -> (WorkerHandle, Receiver<WorkerExit>) {
    let pair = function.create_queue_pair().unwrap();
    let (tell, exit) = channel();
    let on_exit = move |exit| {
        let _ = tell.send(exit);
    };
    let handle = Worker::spawn("test-spawned", pair, source, config, on_exit).unwrap();
    (handle, exit)
}

/// Runs a worker whose source panics after `count` jobs.
pub(crate) fn panicking_source(function: &Function, count: usize) -> (WorkerExit, Vec<Outcome>) {
    let kernel = Kernel::Compress {
        level: faam_hwif::CardLevel::Dense,
        format: WireFormat::Raw,
        last: true,
    };
    let works = vec![Work::new(kernel, &text(500_000)); count];
    let (queue, outcomes) = queue_of(&works);
    let (_handle, exit) = spawn(function, ROOM_FOR_EIGHT, PanicsAfter { queue });
    let exit = exit.recv_timeout(LIMIT).unwrap();
    (exit, outcomes.iter().collect())
}
