//! Jobs in a worker's hands, and what came of each.
//!
//! Owns the samples, the jobs under way and the counts of how they ended. Invariants: what a card made counts as served only
//! if another decoder finds the host's own bytes in it; when the worker has ended, each job has had exactly one outcome or
//! was never taken.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use faam_driver::worker::WorkerExit;
use faam_driver::{DeviceFault, Function, Kernel, Outcome, TransportError};
use faam_hwif::{CardLevel, QueueId, WireFormat};

use crate::carrier::{Bench, Carrier};
use crate::data::{deflate, inflate, noise, text};
use crate::feeder::{Feeder, Work};

/// Jobs that the worker has at once.
pub(super) const JOBS_AT_ONCE: usize = 5;
/// Limit of each command, as a gateway's.
const HANG_LIMIT: Duration = Duration::from_millis(1500);
/// Longest wait for an outcome before something else is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// A job to be checked.
pub(super) struct Sample {
    work: Work,
    /// What its result decodes to, or is.
    format: Option<WireFormat>,
    plain: Vec<u8>,
}

/// Jobs of each kind, in an order that goes round.
pub(super) fn samples(carrier: Carrier) -> Vec<Sample> {
    let large = match carrier.is_slow() {
        false => 48_000,
        true => 12_000,
    };
    let compress = |level, format, plain: Vec<u8>| Sample {
        work: Work::new(
            Kernel::Compress {
                level,
                format,
                last: true,
            },
            &plain,
        )
        .timeout(HANG_LIMIT),
        format: Some(format),
        plain,
    };
    let decompress = |format, plain: Vec<u8>| Sample {
        work: Work::new(Kernel::Decompress { format }, &deflate(format, &plain))
            .room(plain.len())
            .timeout(HANG_LIMIT),
        format: None,
        plain,
    };
    // Those of levels above the fast one load a table.
    vec![
        compress(CardLevel::Fast, WireFormat::Raw, text(1_000)),
        compress(CardLevel::Dense, WireFormat::Gzip, text(large)),
        decompress(WireFormat::Gzip, text(large)),
        compress(CardLevel::Balanced, WireFormat::Raw, text(large / 3)),
        compress(CardLevel::Fast, WireFormat::Zlib, noise(2_000)),
        decompress(WireFormat::Raw, noise(700)),
    ]
}

/// A job in a worker's hands: which sample's, since when, and where its outcome comes.
type Pending = (usize, Instant, Receiver<Outcome>);

/// Jobs in a worker's hands, and what came of those that ended.
pub(super) struct Load {
    worker: Feeder,
    pub(super) pending: VecDeque<Pending>,
    /// Those whose outcome came.
    told: Vec<Pending>,
    pub(super) submitted: usize,
    /// Right.
    served: usize,
    /// Given back by the card for another to do.
    given_back: usize,
    /// Wrong, and found to be.
    wrong: usize,
    pub(super) slowest: Duration,
    /// Some fault that ended the worker was its queue's, as far as is known.
    pub(super) is_of_the_queue: bool,
    /// What the worker ended of, and on which queue.
    broke: Option<(DeviceFault, QueueId)>,
}

impl Load {
    pub(super) fn on(bench: &Bench, function: &Function) -> Self {
        Self {
            worker: Feeder::start(bench, function),
            pending: VecDeque::new(),
            told: Vec::new(),
            submitted: 0,
            served: 0,
            given_back: 0,
            wrong: 0,
            slowest: Duration::ZERO,
            is_of_the_queue: false,
            broke: None,
        }
    }

    pub(super) fn submit(&mut self, samples: &[Sample]) {
        let number = self.submitted % samples.len();
        let outcome = self.worker.submit(samples[number].work.clone());
        self.pending.push_back((number, Instant::now(), outcome));
        self.submitted += 1;
    }

    /// What is wrong with an outcome, if something is.
    fn judge(&mut self, sample: &Sample, since: Instant, outcome: Outcome) -> Option<&'static str> {
        match outcome {
            Outcome::Done(done) => {
                let plain = match sample.format {
                    Some(format) => inflate(format, &done.output),
                    None => Some(done.output),
                };
                if plain.as_ref() == Some(&sample.plain)
                    && done.crc32 == crc32fast::hash(&sample.plain)
                {
                    self.served += 1;
                    self.slowest = self.slowest.max(since.elapsed());
                    return None;
                }
                self.wrong += 1;
                Some("verification")
            }
            // There is nothing wrong with the data.
            Outcome::Data(_) => {
                self.wrong += 1;
                Some("verification")
            }
            Outcome::Fault(fault) => {
                self.given_back += 1;
                self.is_of_the_queue |= fault.is_of_the_queue();
                fault.ends_worker().then(|| kind_of(&fault))
            }
        }
    }

    /// Takes the outcomes that are there, waiting a moment for the first; what is wrong with one, if something is.
    pub(super) fn take(&mut self, samples: &[Sample]) -> Option<&'static str> {
        let mut wait = LOOK_EVERY;
        while let Some((number, since, receiver)) = self.pending.front() {
            let (number, since) = (*number, *since);
            let outcome = match receiver.recv_timeout(wait) {
                Ok(outcome) => outcome,
                Err(RecvTimeoutError::Timeout) => {
                    // Jobs need not end in their order.
                    self.pending.rotate_left(1);
                    return None;
                }
                Err(RecvTimeoutError::Disconnected) => panic!("a job was lost"),
            };
            self.told.extend(self.pending.pop_front());
            wait = Duration::ZERO;
            let wrong = self.judge(&samples[number], since, outcome);
            if wrong.is_some() {
                return wrong;
            }
        }
        None
    }

    /// Whether the worker has ended by itself, and of what.
    pub(super) fn ended(&mut self) -> Option<&'static str> {
        match self.worker.try_exit()? {
            WorkerExit::Fault { fault, queue, .. } => {
                self.broke = Some((fault, queue));
                self.is_of_the_queue |= fault.is_of_the_queue();
                Some(kind_of(&fault))
            }
            exit => panic!("{exit:?}"),
        }
    }

    /// The queue whose fault ended the worker, as far as is known the queue's alone. Only once it has ended.
    pub(super) fn broken_queue(&self) -> Option<QueueId> {
        let (fault, queue) = self.broke.as_ref()?;
        fault.is_of_the_queue().then_some(*queue)
    }

    /// Runs so many jobs, all of which must be served.
    pub(super) fn serve(&mut self, samples: &[Sample], jobs: usize, patience: Duration) {
        let until = Instant::now() + patience;
        let goal = self.served + jobs;
        let last = self.submitted + jobs;
        while self.served < goal {
            while self.submitted < last && self.pending.len() < JOBS_AT_ONCE {
                self.submit(samples);
            }
            let wrong = self.take(samples);
            assert_eq!(wrong, None, "a sound card's job");
            assert!(
                Instant::now() < until,
                "a sound card served {} of {goal} jobs within {patience:?}",
                self.served
            );
        }
    }

    /// Has the worker end, and takes what is left: each job has one outcome, or was never taken.
    pub(super) fn end(&mut self, samples: &[Sample], patience: Duration) {
        self.worker.tell_to_stop();
        let left = self.worker.join(patience);
        let left = left.unwrap_or_else(|error| panic!("{error}"));
        if let Some(WorkerExit::Fault { fault, queue, .. }) = self.worker.try_exit() {
            self.broke = Some((fault, queue));
        }
        let mut never_taken = 0;
        for (number, since, receiver) in std::mem::take(&mut self.pending) {
            match receiver.try_recv() {
                Ok(outcome) => {
                    self.judge(&samples[number], since, outcome);
                }
                Err(TryRecvError::Disconnected) => never_taken += 1,
                Err(TryRecvError::Empty) => panic!("a worker has ended and left a job behind"),
            }
        }
        let twice = |(_, _, receiver): &Pending| receiver.try_recv().is_ok();
        assert!(!self.told.iter().any(twice), "a second outcome");
        assert_eq!(never_taken, left, "jobs lost by their worker");
        let ended = self.served + self.given_back + self.wrong;
        assert_eq!(ended + never_taken, self.submitted, "outcomes");
    }
}

fn kind_of(fault: &DeviceFault) -> &'static str {
    match fault {
        DeviceFault::Transport(TransportError::Gone) => "gone",
        fault => fault.kind(),
    }
}
