//! Work for a worker, a queue that feeds it, and what came of it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use faam_driver::worker::{StillRunning, WorkerCounters, WorkerExit};
use faam_driver::{
    Completion, Function, Job, JobSource, Kernel, Outcome, Request, Waker, Worker, WorkerConfig,
    WorkerHandle,
};

use crate::carrier::{Bench, until};

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
#[derive(Debug)]
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
pub(crate) struct Queue(Arc<Mutex<VecDeque<TestJob>>>);

impl JobSource for Queue {
    type Job = TestJob;

    fn next(&mut self) -> Option<TestJob> {
        self.0.lock().unwrap().pop_front()
    }
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.lock().unwrap().is_empty()
    }
}

/// A worker and the queue that feeds it.
pub(crate) struct Feeder {
    queue: Queue,
    handle: WorkerHandle,
    waker: Waker,
    exit: Receiver<WorkerExit>,
    slept: Slept,
    patience: Duration,
}

impl Feeder {
    /// A worker on a new queue pair of `function`.
    pub(crate) fn start(bench: &Bench, function: &Function) -> Self {
        Self::start_with(bench, function, WorkerConfig::default())
    }

    pub(crate) fn start_with(bench: &Bench, function: &Function, config: WorkerConfig) -> Self {
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
            patience: bench.patience(),
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
        self.take(&self.submit(work))
    }

    /// Wait for an outcome.
    pub(crate) fn take(&self, outcome: &Receiver<Outcome>) -> Ended {
        match outcome.recv_timeout(self.patience) {
            Ok(outcome) => Ended(outcome),
            Err(_) => panic!("a job has no outcome within {:?}", self.patience),
        }
    }

    /// Queue all, then take the outcomes by number.
    pub(crate) fn run_all(&self, works: impl Iterator<Item = Work>) -> Vec<(usize, Ended)> {
        let pending: Vec<_> = works.map(|work| self.submit(work)).collect();
        pending
            .into_iter()
            .map(|outcome| self.take(&outcome))
            .enumerate()
            .collect()
    }

    /// Wait until the worker has gone to sleep after the last job that it completed.
    pub(crate) fn until_asleep(&self) {
        let before = self.slept.at_completion.load(Ordering::SeqCst);
        until(self.patience, "the worker sleeps", || {
            self.counters().sleeps.get() > before
        });
    }

    pub(crate) fn counters(&self) -> &WorkerCounters {
        self.handle.counters()
    }

    /// Stop the worker and say how it ended.
    pub(crate) fn stop(self) -> WorkerExit {
        self.handle.stop();
        self.exit_within()
    }

    fn exit_within(&self) -> WorkerExit {
        match self.exit.recv_timeout(self.patience) {
            Ok(exit) => exit,
            Err(_) => panic!("the worker has not ended within {:?}", self.patience),
        }
    }

    /// How the worker ended, if it has.
    pub(crate) fn try_exit(&self) -> Option<WorkerExit> {
        self.exit.try_recv().ok()
    }

    /// Have the worker end, without waiting for it.
    pub(crate) fn tell_to_stop(&self) {
        self.handle.stop();
    }

    /// Wait for the worker's end within `limit`; then nobody takes the jobs that it never took: how many those were.
    pub(crate) fn join(&self, limit: Duration) -> Result<usize, StillRunning> {
        self.handle.join(limit)?;
        Ok(self.queue.0.lock().unwrap().drain(..).count())
    }

    /// Wait until the worker has ended by itself; then every job that it took has an outcome, and those that it never
    /// took are dropped with the queue.
    pub(crate) fn ended(self, pending: Vec<Receiver<Outcome>>) -> (WorkerExit, Vec<Outcome>) {
        let exit = self.exit_within();
        self.queue.0.lock().unwrap().clear();
        let outcomes = pending.iter().filter_map(|reply| reply.try_recv().ok());
        (exit, outcomes.collect())
    }
}

/// The works as jobs, and where their outcomes come.
pub(crate) fn queue_of(works: &[Work]) -> (Queue, Receiver<Outcome>) {
    let (reply, outcomes) = channel();
    let job = |work: &Work| TestJob {
        work: work.clone(),
        reply: reply.clone(),
        slept: None,
    };
    let jobs = works.iter().map(job).collect();
    (Queue(Arc::new(Mutex::new(jobs))), outcomes)
}

pub(crate) fn spawn<S: JobSource>(
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
