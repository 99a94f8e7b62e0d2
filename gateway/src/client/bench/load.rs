//! The load itself: requests that follow each other (closed), or that begin on a plan (open).
//!
//! Owns pacing, connections and the end. Invariants: a load ends by its number of requests or its
//! time, whichever comes first, and a while later at most; in an open loop a latency counts from
//! when the request was meant to begin, so that a gateway that stalls cannot hide it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{sleep, sleep_until, timeout_at};

use super::record::Record;
use super::sample::{Inlet, Verdict};
use crate::client::call::{CallError, Caller, Link, Outgoing, trailers};
use crate::client::facts::Facts;

/// How long requests in flight may take to end after the load.
const GRACE: Duration = Duration::from_secs(30);
/// How long a request that was refused keeps its place, so that refusals do not outrun answers.
const REFUSAL_PAUSE: Duration = Duration::from_millis(10);
/// Connections that may fail one after the other before the load is given up.
const CONNECT_FAILURES_MAX: u64 = 20;
/// A timer is not exact: for the rest of the way to a planned time the pacer gives way and looks again.
const TIMER_SLACK: Duration = Duration::from_millis(2);
/// One answer in so many is decoded.
const DECODED_ONE_IN: u64 = 16;

/// What is asked for, again and again.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) caller: Caller,
    /// Path and query.
    pub(crate) target: String,
    /// `Faam-Backend`.
    pub(crate) backend: &'static str,
    /// Requests at once; in an open loop, at most.
    pub(crate) concurrency: usize,
    /// When it ends.
    pub(crate) time: Duration,
    /// After how many requests it ends.
    pub(crate) requests: u64,
    /// Requests a second of an open loop.
    pub(crate) rate: Option<f64>,
}

/// Why a load was given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("wrong bytes: {0}")]
    Wrong(String),
}

struct Shared {
    load: Load,
    blocks: Vec<Bytes>,
    inlet: Inlet,
    verdict: Arc<Verdict>,
    record: Option<Mutex<Record>>,
    began: Instant,
    next: AtomicU64,
    failures: AtomicU64,
    pacer: tokio::sync::Mutex<()>,
}

/// Run it over `blocks`. Without `record` it only warms up.
///
/// # Errors
/// [`LoadError`]
pub(crate) async fn run(
    load: Load,
    blocks: Vec<Bytes>,
    inlet: Inlet,
    verdict: Arc<Verdict>,
    record: Option<Record>,
) -> Result<Option<Record>, LoadError> {
    let end = Instant::now() + load.time + GRACE;
    let workers = load.concurrency;
    let shared = Arc::new(Shared {
        load,
        blocks,
        inlet,
        verdict,
        record: record.map(Mutex::new),
        began: Instant::now(),
        next: AtomicU64::new(0),
        failures: AtomicU64::new(0),
        pacer: tokio::sync::Mutex::new(()),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..workers {
        tasks.spawn(Arc::clone(&shared).work());
    }
    let mut result = Ok(());
    loop {
        match timeout_at(end.into(), tasks.join_next()).await {
            Ok(None) => break,
            Ok(Some(Ok(Ok(())))) => {}
            // The first error ends it for all.
            Ok(Some(Ok(Err(error)))) => {
                result = Err(error);
                break;
            }
            // A worker of ours panicked: nothing that was measured can be trusted.
            Ok(Some(Err(panic))) => {
                result = Err(LoadError::Wrong(format!("a worker ended early: {panic}")));
                break;
            }
            Err(_) => {
                for _ in 0..tasks.len() {
                    shared.refuse("no answer at the end".to_owned());
                }
                break;
            }
        }
    }
    tasks.shutdown().await;
    result?;
    let Some(shared) = Arc::into_inner(shared) else {
        return Err(LoadError::Wrong("a worker lives on".to_owned()));
    };
    Ok(shared.record.map(Mutex::into_inner))
}

impl Shared {
    async fn work(self: Arc<Self>) -> Result<(), LoadError> {
        let mut link = None;
        while let Some((index, begin)) = self.next().await {
            if let Some(what) = self.verdict.wrong() {
                return Err(LoadError::Wrong(what.to_owned()));
            }
            match self.one(&mut link, index, begin).await {
                Ok(()) => self.failures.store(0, Ordering::Relaxed),
                Err(error) => {
                    link = None;
                    let connects = matches!(error, CallError::Connect(_));
                    let label = match &error {
                        CallError::Refused(refusal) => {
                            let kind = refusal.kind.as_deref().unwrap_or("other");
                            format!("{} {kind}", refusal.status)
                        }
                        CallError::Connect(_) => "no connection".to_owned(),
                        CallError::Broken { .. } => "connection broke".to_owned(),
                        // What no other request could say better.
                        CallError::Head(_) => return Err(error.into()),
                    };
                    self.refuse(label);
                    // A wrong key will not become right, nor a wrong option.
                    let hopeless = matches!(&error, CallError::Refused(refusal) if (400..=403).contains(&refusal.status));
                    let failures = self
                        .failures
                        .fetch_add(u64::from(connects), Ordering::Relaxed);
                    if hopeless || failures >= CONNECT_FAILURES_MAX {
                        return Err(error.into());
                    }
                    sleep(REFUSAL_PAUSE).await;
                }
            }
        }
        Ok(())
    }

    /// The next request, and when it was meant to begin: now, or by plan.
    async fn next(&self) -> Option<(u64, Instant)> {
        let Some(rate) = self.load.rate else {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let now = Instant::now();
            let goes_on =
                index < self.load.requests && now.duration_since(self.began) < self.load.time;
            return goes_on.then_some((index, now));
        };
        // One waits for the planned time; the others wait for that one.
        let _turn = self.pacer.lock().await;
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        let planned = Duration::try_from_secs_f64(super::record::as_f64(index) / rate).ok()?;
        if index >= self.load.requests || planned >= self.load.time {
            return None;
        }
        let begin = self.began + planned;
        if let Some(early) = begin.checked_sub(TIMER_SLACK)
            && early > Instant::now()
        {
            sleep_until(early.into()).await;
        }
        while Instant::now() < begin {
            yield_now().await;
        }
        Some((index, begin))
    }

    async fn one(
        &self,
        link: &mut Option<Link>,
        index: u64,
        begin: Instant,
    ) -> Result<(), CallError> {
        let link = match link {
            Some(open) if open.is_open() => open,
            stale => stale.insert(self.load.caller.link().await?),
        };
        let place = usize::try_from(index).unwrap_or(0) % self.blocks.len().max(1);
        let block = self.blocks.get(place).cloned().unwrap_or_default();
        let headers = [("faam-backend", self.load.backend.to_owned())];
        let body = Outgoing::Whole(Some(block.clone()));
        let response = link.post(&self.load.target, &headers, body).await?;
        let mut facts = Facts::of(response.headers());
        let mut kept = self.inlet.wants(index, DECODED_ONE_IN).then(Vec::new);
        let mut bytes_out: u64 = 0;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|source| {
                self.load
                    .caller
                    .broken("in the middle of the answer", source)
            })?;
            match frame.into_data() {
                Ok(chunk) => {
                    bytes_out = bytes_out.saturating_add(u64::try_from(chunk.len()).unwrap_or(0));
                    if let Some(kept) = &mut kept {
                        kept.extend_from_slice(&chunk);
                    }
                }
                Err(other) => {
                    if let Some(fields) = trailers(other) {
                        facts.update(&fields);
                    }
                }
            }
        }
        let end = Instant::now();
        if let Some(record) = &self.record {
            let bytes_in = u64::try_from(block.len()).unwrap_or(0);
            let at = end.duration_since(self.began);
            let took = end.duration_since(begin);
            record.lock().answer(at, took, bytes_in, bytes_out, &facts);
        }
        if let Some(kept) = kept {
            self.inlet.give(block, kept);
        }
        Ok(())
    }

    fn refuse(&self, label: String) {
        if let Some(record) = &self.record {
            record.lock().refusal(self.began.elapsed(), label);
        }
    }
}
