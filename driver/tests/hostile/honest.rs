//! An honest driver: after whatever came before it, it is let in, tests itself, and is served.

use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use faam_driver::{
    Arena, Function, FunctionConfig, Job, JobSource, Kernel, Outcome, Request, VfioUser, Worker,
    WorkerConfig,
};
use faam_hwif::{CardLevel, WireFormat};

use crate::card::Card;

/// Longest wait to be let in, and for a job.
const PATIENCE: Duration = Duration::from_secs(20);
const ARENA_BYTES: usize = 8 << 20;
/// Bytes of a job, and of the largest.
const JOB_BYTES: usize = 20_000;
const JOB_BYTES_LARGEST: usize = 1 << 20;

struct Work {
    kernel: Kernel,
    input: Vec<u8>,
    reply: Sender<Outcome>,
}

impl Job for Work {
    fn request(&self) -> Request<'_> {
        Request {
            kernel: self.kernel,
            input: &self.input,
            output_bytes_max: JOB_BYTES_LARGEST,
            context: 1,
            timeout: PATIENCE,
        }
    }

    fn complete(self, outcome: Outcome) {
        let _ = self.reply.send(outcome);
    }
}

struct Source(Vec<Work>);

impl JobSource for Source {
    type Job = Work;

    fn next(&mut self) -> Option<Work> {
        self.0.pop()
    }
}

fn text(bytes: usize) -> Vec<u8> {
    let words = (0u32..).flat_map(|n| {
        let word = ["ring", "card", "queue", "arena", "fence"]
            [(n.wrapping_mul(2_654_435_761) >> 16) as usize % 5];
        format!("{word} {} ", n % 977).into_bytes()
    });
    words.take(bytes).collect()
}

/// Serves on both functions with the largest jobs.
pub(crate) fn serve_both(card: &Card) {
    for function in [0, 1] {
        serve_jobs(card, function, JOB_BYTES_LARGEST, "the beginning");
    }
}

/// Serves on one.
pub(crate) fn serve(card: &Card, function: u8, after: &str) {
    serve_jobs(card, function, JOB_BYTES, after);
}

fn serve_jobs(card: &Card, function: u8, bytes: usize, after: &str) {
    let up = bring_up(card, function, after);
    if let Err(error) = up.self_test() {
        panic!("the self-test after {after}: {error:?}");
    }
    let input = text(bytes);
    let gzip = |level| Kernel::Compress {
        level,
        format: WireFormat::Gzip,
        last: true,
    };
    let kernels = [CardLevel::Fast, CardLevel::Balanced, CardLevel::Dense].map(gzip);
    let outputs = run(&up, kernels.map(|kernel| (kernel, input.clone())), after);
    let back = Kernel::Decompress {
        format: WireFormat::Gzip,
    };
    let outputs: [Vec<u8>; 3] = outputs.try_into().unwrap();
    for output in run(&up, outputs.map(|output| (back, output)), after) {
        assert!(
            output == input,
            "what was compressed after {after} is not what comes back"
        );
    }
}

fn bring_up(card: &Card, function: u8, after: &str) -> Function {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let arena = Arena::new(ARENA_BYTES).unwrap();
        let brought_up = VfioUser::connect(&card.socket(function))
            .map_err(|error| format!("{error:?}"))
            .and_then(|transport| {
                Function::bring_up(Arc::new(transport), arena, FunctionConfig::default())
                    .map_err(|error| format!("{error:?}"))
            });
        match brought_up {
            Ok(function) => return function,
            // Who came before may not have been let go yet.
            Err(error) if Instant::now() >= deadline => panic!("not let in after {after}: {error}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}

/// Runs them on a queue pair of its own; their outputs, in order.
fn run<const N: usize>(
    function: &Function,
    works: [(Kernel, Vec<u8>); N],
    after: &str,
) -> Vec<Vec<u8>> {
    let pair = function.create_queue_pair().unwrap();
    let (mut jobs, mut outcomes) = (Vec::new(), Vec::new());
    for (kernel, input) in works {
        let (reply, outcome) = channel();
        outcomes.push(outcome);
        jobs.push(Work {
            kernel,
            input,
            reply,
        });
    }
    let worker = Worker::spawn(
        "honest",
        pair,
        Source(jobs),
        WorkerConfig::default(),
        |_| (),
    );
    let worker = worker.unwrap();
    let outputs = outcomes
        .iter()
        .map(|outcome| match outcome.recv_timeout(2 * PATIENCE) {
            Ok(Outcome::Done(done)) => done.output,
            other => panic!("a job after {after} came to {other:?}"),
        });
    let outputs = outputs.collect();
    worker.stop();
    worker.join(PATIENCE).unwrap();
    outputs
}
