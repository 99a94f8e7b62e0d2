//! The one writer.
//!
//! Owns the queue of changes and their batching. Invariants: changes are applied in the order in which they came; each is
//! answered once, after its transaction has ended; the queue and a transaction have bounds. While one transaction waits for
//! the disk, the next one's changes gather: so many callers share the price of one flush, and a lone one waits for nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use crate::change::{Applied, Change};
use crate::engine::Engine;
use crate::error::StoreError;

/// Changes that may wait.
pub const CHANGES_WAITING_MAX: usize = 4096;
/// Changes in one transaction.
pub const CHANGES_A_TRANSACTION_MAX: usize = 256;

/// What the writer has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriterCounts {
    /// Batches given to the database: one transaction each, as long as none fails as a whole.
    pub batches: u64,
    /// Changes applied.
    pub applied: u64,
    /// Changes refused or failed.
    pub failed: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    batches: AtomicU64,
    applied: AtomicU64,
    failed: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> WriterCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        WriterCounts {
            batches: read(&self.batches),
            applied: read(&self.applied),
            failed: read(&self.failed),
        }
    }
}

/// How a change's result goes back.
pub(crate) type Answer = oneshot::Sender<Result<Applied, StoreError>>;

/// What the writer is told.
pub(crate) enum Request {
    /// Write this.
    Change(Change, Answer),
    /// Finish what waits, then end.
    Close,
}

/// Writes until it is told to close, or nobody can tell it anything more.
pub(crate) async fn run(
    engine: Arc<dyn Engine>,
    mut requests: mpsc::Receiver<Request>,
    counters: Arc<Counters>,
) {
    let mut changes = Vec::new();
    let mut answers = Vec::new();
    while let Some(first) = requests.recv().await {
        let mut next = Some(first);
        while let Some(request) = next.take() {
            match request {
                Request::Change(change, answer) => {
                    changes.push(change);
                    answers.push(answer);
                }
                // What was sent before is still received; what is sent later is refused.
                Request::Close => requests.close(),
            }
            if changes.len() < CHANGES_A_TRANSACTION_MAX {
                next = requests.try_recv().ok();
            }
        }
        if changes.is_empty() {
            continue;
        }
        counters.batches.fetch_add(1, Ordering::Relaxed);
        let results = engine.apply(&changes).await;
        changes.clear();
        match results {
            Ok(results) => {
                for (answer, result) in answers.drain(..).zip(results) {
                    reply(&counters, answer, result);
                }
            }
            Err(error) => {
                for answer in answers.drain(..) {
                    reply(&counters, answer, Err(error.clone()));
                }
            }
        }
    }
}

fn reply(counters: &Counters, answer: Answer, result: Result<Applied, StoreError>) {
    let counter = match &result {
        Ok(_) => &counters.applied,
        Err(_) => &counters.failed,
    };
    counter.fetch_add(1, Ordering::Relaxed);
    // Who asked may have gone.
    let _ = answer.send(result);
}
