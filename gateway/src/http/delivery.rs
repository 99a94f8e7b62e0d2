//! Delivery: from a kernel that makes an answer piece by piece to the response that carries it.
//!
//! Owns the choice between an answer that is finished before its head is sent, with every
//! fact in its headers, and one that is streamed, with the plan in its headers and the
//! facts in its trailers and at `GET /v1/invocations/{id}`. Invariants: what fits the window
//! of `super::outflow` is whole; a failure before the first byte is a problem, after it a
//! stream that breaks off; HTTP/1.0, which cannot show a break, gets whole answers only;
//! each request is counted once. It knows no kernel and no engine.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::header::TE;
use axum::http::{HeaderMap, Request, Response, Version};
use parking_lot::Mutex;
use tracing::Instrument;

use super::answer::{coalesced, streamed, whole};
use super::body::{BodyError, PIECE_BYTES_MAX};
use super::chunked_body::ChunkedBody;
use super::digest::{Algorithm, REPR_DIGEST};
use super::http2_stream::HTTP2_PIECE_BYTES_MAX;
use super::intake::IntakeError;
use super::kept_answer::Kept;
use super::outflow::{Outflow, OutflowError, OutflowOptions, OutflowWatch};
use super::request_record::{RequestRecord, SharedProgress};
use super::request_span;
use crate::admission::AdmissionPermit;
use crate::error::{Problem, ProblemKind};

/// Why a kernel stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// What the caller is told, if it can still be told.
    Problem(Problem),
    /// Its caller hung up; for whoever may still listen.
    HungUp(Problem),
    /// Its answer cannot go out.
    Outflow(OutflowError),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<IntakeError> for Stop {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Refused(problem) => Self::Problem(problem),
            IntakeError::HungUp(problem) => Self::HungUp(problem),
        }
    }
}

impl From<OutflowError> for Stop {
    fn from(error: OutflowError) -> Self {
        Self::Outflow(error)
    }
}

impl From<crate::admission::Refusal> for Stop {
    fn from(refusal: crate::admission::Refusal) -> Self {
        Self::Problem(refusal.into())
    }
}

impl Stop {
    /// What it is counted as.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Problem(problem) => problem.kind().name(),
            Self::HungUp(_) | Self::Outflow(OutflowError::Gone) => "cancelled",
            Self::Outflow(OutflowError::Stalled) => "stalled",
            Self::Outflow(OutflowError::TooLong) => ProblemKind::TooLarge.name(),
            Self::Outflow(OutflowError::NoMemory(refusal)) => {
                Problem::from(refusal.clone()).kind().name()
            }
            Self::Outflow(OutflowError::Full | OutflowError::NoFile | OutflowError::Broken) => {
                "internal"
            }
        }
    }

    /// What is to be said of it besides.
    fn detail(&self) -> Option<String> {
        match self {
            Self::Problem(problem) => Some(problem.detail().to_owned()),
            Self::HungUp(_) | Self::Outflow(_) => None,
        }
    }
}

/// One request's answer, not yet made.
pub(super) struct Delivery {
    pub(super) record: RequestRecord,
    pub(super) permit: Arc<AdmissionPermit>,
    pub(super) deadline: Option<Instant>,
    /// Headers of the kernel's own.
    pub(super) headers: HeaderMap,
    pub(super) caller: Caller,
}

/// What a caller's HTTP can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    version: Version,
    takes_trailers: bool,
    wants_digest: Option<Algorithm>,
    kept: Option<Kept>,
}

impl Caller {
    /// By a request's version, and its `TE` (RFC 9110, 10.1.4).
    pub(super) fn of(request: &Request<Body>) -> Self {
        let mut te = request.headers().get_all(TE).iter();
        let takes_trailers = te.any(|value| {
            let words = value.as_bytes().split(|byte| *byte == b',');
            let mut names = words.map(|word| word.split(|byte| *byte == b';').next());
            names.any(|name| {
                name.is_some_and(|name| name.trim_ascii().eq_ignore_ascii_case(b"trailers"))
            })
        });
        Self {
            version: request.version(),
            takes_trailers,
            wants_digest: Algorithm::wanted(request.headers()),
            kept: Kept::of(request),
        }
    }

    /// Whether the connection shows that an answer broke off (chunks and streams do; a connection's close does not).
    fn sees_breaks(self) -> bool {
        self.version >= Version::HTTP_11 && self.kept.is_none()
    }
}

impl Delivery {
    /// Runs `work`, which pushes the answer into the outflow that it is given.
    pub(super) async fn run<F>(
        mut self,
        work: impl FnOnce(Arc<Outflow>) -> F,
    ) -> Result<Response<Body>, Problem>
    where
        F: Future<Output = Result<(), Stop>> + Send + 'static,
    {
        let app = &self.record.app;
        let options = OutflowOptions {
            spill_after: app.limits.spill_after,
            stall_max: app.limits.write_stall,
            spill_dir: Arc::clone(&app.spill_dir),
            whole: !self.caller.sees_breaks(),
            kept_bytes_max: self.caller.kept.map(|kept| kept.bytes_max),
        };
        let outflow = Arc::new(
            Outflow::new(options, Arc::clone(&self.permit)).digesting(self.caller.wants_digest),
        );
        let watch = outflow.watch();
        let mut work = Box::pin(within_deadline(
            self.deadline,
            Arc::clone(&self.record.progress),
            work(Arc::clone(&outflow)),
        ));
        let finished = if self.caller.sees_breaks() {
            tokio::select! {
                biased;
                result = &mut work => Some(result),
                () = watch.overflow() => None,
            }
        } else {
            Some((&mut work).await)
        };
        match finished {
            Some(Ok(())) => self.answer_whole(outflow, watch),
            Some(Err(Stop::Outflow(OutflowError::TooLong))) => {
                let problem = self.caller.kept.map(Kept::too_long);
                let problem = problem
                    .unwrap_or_else(|| Problem::internal("a limit that was not set was met"));
                Err(self.record.refuse(problem.into()))
            }
            Some(Err(stop)) => Err(self.record.refuse(stop)),
            None => {
                let caller = self.caller;
                let facts = {
                    let progress = self.record.progress.lock();
                    let began = self.record.invocation.began;
                    progress.facts(self.record.app.verify.planned(), began)
                };
                let body = Body::new(watch.body());
                let headers = std::mem::take(&mut self.headers);
                let response = streamed(headers, facts, caller.takes_trailers, body);
                self.record.streams();
                let span = request_span::current();
                tokio::spawn(self.stream(work, outflow, watch).instrument(span));
                Ok(response)
            }
        }
    }

    fn answer_whole(
        self,
        outflow: Arc<Outflow>,
        watch: OutflowWatch,
    ) -> Result<Response<Body>, Problem> {
        let Self {
            record,
            permit,
            deadline,
            headers,
            caller,
        } = self;
        let length = watch.put();
        let mut facts = {
            let mut progress = record.progress.lock();
            progress.bytes_out = length;
            progress.answered = Some(Instant::now());
            progress.facts(record.app.verify.done(), record.invocation.began)
        };
        facts.extend(outflow.repr_digest().map(|digest| (REPR_DIGEST, digest)));
        if let Some(kept) = caller.kept
            && let Some(chunks) = watch.take_whole()
        {
            let mut headers = headers;
            headers.extend(facts);
            return kept.answer(record, permit, headers, chunks);
        }
        // The window and what is beside it; a spilled rest is on disk.
        let in_memory = usize::try_from(length).unwrap_or(usize::MAX);
        permit.shrink_to(in_memory.min(permit.bytes()));
        if let Some(chunks) = watch.take_whole() {
            // What is handed to a stream of HTTP/2 at once, so that none of it waits in between.
            let piece_bytes_max = if caller.version == Version::HTTP_2 {
                HTTP2_PIECE_BYTES_MAX
            } else {
                PIECE_BYTES_MAX
            };
            let sent = move |sent| record.sent(sent);
            let chunks = coalesced(chunks);
            let body = ChunkedBody::new(chunks, piece_bytes_max, deadline, permit, sent);
            return Ok(whole(headers, facts, length, Body::new(body)));
        }
        // It lies on disk: somebody looks on.
        let response = whole(headers, facts, length, Body::new(watch.body()));
        let see_out = see_out(record, outflow, watch, None, deadline);
        tokio::spawn(see_out.instrument(request_span::current()));
        Ok(response)
    }

    /// The rest of an answer whose head is being sent.
    async fn stream(
        self,
        work: impl Future<Output = Result<(), Stop>>,
        outflow: Arc<Outflow>,
        watch: OutflowWatch,
    ) {
        let Self {
            mut record,
            deadline,
            caller,
            ..
        } = self;
        let result = tokio::select! {
            biased;
            result = work => result,
            () = watch.gone() => Err(Stop::Outflow(OutflowError::Gone)),
        };
        {
            let mut progress = record.progress.lock();
            progress.bytes_out = watch.put();
            progress.answered = Some(Instant::now());
        }
        if let Err(stop) = result {
            outflow.break_off(BodyError::Broken);
            return record.broke_off(stop.outcome(), stop.detail());
        }
        let digest = outflow.repr_digest();
        let trailers = caller.takes_trailers.then(|| {
            let progress = record.progress.lock();
            let mut facts = progress.facts(record.app.verify.done(), record.invocation.began);
            facts.extend(digest.clone().map(|digest| (REPR_DIGEST, digest)));
            facts
        });
        record.repr_digest = digest;
        see_out(record, outflow, watch, trailers, deadline).await;
    }
}

/// Sees an answer out that is finished but for `trailers`: its record ends when the connection has taken its end, or
/// when it never will.
async fn see_out(
    record: RequestRecord,
    outflow: Arc<Outflow>,
    watch: OutflowWatch,
    trailers: Option<HeaderMap>,
    deadline: Option<Instant>,
) {
    let progress = Arc::clone(&record.progress);
    let record = Arc::new(Mutex::new(Some(record)));
    let delivered = Arc::clone(&record);
    outflow.finish(trailers, move || {
        let record = delivered.lock().take();
        if let Some(record) = record {
            record.ok();
        }
    });
    let drained = async { watch.drained().await.map_err(Stop::Outflow) };
    if let Err(stop) = within_deadline(deadline, progress, drained).await {
        outflow.break_off(BodyError::Broken);
        // Whoever is first: it may just have gone out.
        let record = record.lock().take();
        if let Some(record) = record {
            record.broke_off(stop.outcome(), stop.detail());
        }
    }
}

/// `work`, or the problem that the deadline passed.
async fn within_deadline(
    deadline: Option<Instant>,
    progress: SharedProgress,
    work: impl Future<Output = Result<(), Stop>>,
) -> Result<(), Stop> {
    let Some(deadline) = deadline else {
        return work.await;
    };
    match tokio::time::timeout_at(deadline.into(), work).await {
        Ok(result) => result,
        Err(_) => Err(Problem::deadline(&progress.lock().spent).into()),
    }
}
