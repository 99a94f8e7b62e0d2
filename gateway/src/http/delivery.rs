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
use axum::http::{HeaderMap, HeaderValue, Request, Response, Version};
use parking_lot::Mutex;
use tracing::Instrument;

use super::answer::{Progress, coalesced, streamed, whole};
use super::app::{App, RequestCount};
use super::body::{BodyError, ChunkedBody};
use super::digest::{Algorithm, REPR_DIGEST};
use super::invocation::Invocation;
use super::invocations::InvocationFacts;
use super::outflow::{Outflow, OutflowError, OutflowOptions, OutflowWatch};
use crate::admission::AdmissionPermit;
use crate::error::{Problem, ProblemKind};
use crate::tenants::Tenant;

/// What has become of a request so far, for whoever works on it and whoever reports on it.
pub(super) type SharedProgress = Arc<Mutex<Progress>>;

/// Why a kernel stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// What the caller is told, if it can still be told.
    Problem(Problem),
    /// Its answer cannot go out.
    Outflow(OutflowError),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
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

/// One request's answer, not yet made.
pub(super) struct Delivery {
    pub(super) app: App,
    pub(super) invocation: Invocation,
    pub(super) tenant: Arc<Tenant>,
    /// `compress` or `decompress`.
    pub(super) kernel: &'static str,
    pub(super) permit: Arc<AdmissionPermit>,
    pub(super) deadline: Option<Instant>,
    /// Headers of the kernel's own.
    pub(super) headers: HeaderMap,
    pub(super) caller: Caller,
    pub(super) progress: SharedProgress,
    pub(super) count: RequestCount,
    /// `Repr-Digest` of a streamed answer, once it is made whole and where it is wanted.
    pub(super) repr_digest: Option<HeaderValue>,
}

/// What a caller's HTTP can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    version: Version,
    takes_trailers: bool,
    wants_digest: Option<Algorithm>,
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
        }
    }

    /// Whether the connection shows that an answer broke off (chunks and streams do; a connection's close does not).
    fn sees_breaks(self) -> bool {
        self.version >= Version::HTTP_11
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
        let options = OutflowOptions {
            spill_after: self.app.limits.spill_after,
            stall_max: self.app.limits.write_stall,
            spill_dir: Arc::clone(&self.app.spill_dir),
            whole: !self.caller.sees_breaks(),
        };
        let outflow = Arc::new(
            Outflow::new(options, Arc::clone(&self.permit)).digesting(self.caller.wants_digest),
        );
        let watch = outflow.watch();
        let mut work = Box::pin(within_deadline(
            self.deadline,
            Arc::clone(&self.progress),
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
            Some(Ok(())) => Ok(self.answer_whole(&outflow, &watch)),
            Some(Err(stop)) => {
                let problem = self.problem_of(stop);
                self.count.end(&self.progress.lock(), problem.kind().name());
                Err(problem)
            }
            None => {
                let caller = self.caller;
                let facts = {
                    let progress = self.progress.lock();
                    progress.facts(self.app.verify.planned(), self.invocation.began)
                };
                let body = Body::new(watch.body());
                let response = streamed(self.headers.clone(), facts, caller.takes_trailers, body);
                self.keep("running", None, None);
                let span = tracing::Span::current();
                tokio::spawn(self.stream(work, outflow, watch).instrument(span));
                Ok(response)
            }
        }
    }

    fn answer_whole(mut self, outflow: &Outflow, watch: &OutflowWatch) -> Response<Body> {
        let length = watch.put();
        let mut facts = {
            let mut progress = self.progress.lock();
            progress.bytes_out = length;
            self.count.end(&progress, "ok");
            progress.facts(self.app.verify.done(), self.invocation.began)
        };
        facts.extend(outflow.repr_digest().map(|digest| (REPR_DIGEST, digest)));
        // The window and what is beside it; a spilled rest is on disk.
        let in_memory = usize::try_from(length).unwrap_or(usize::MAX);
        self.permit.shrink_to(in_memory.min(self.permit.bytes()));
        if self.caller.version == Version::HTTP_11 {
            let chunks = coalesced(watch.take_window());
            let body = ChunkedBody::new(chunks, self.deadline, Arc::clone(&self.permit));
            return whole(self.headers, facts, length, Body::new(body));
        }
        // A stream of HTTP/2 may be granted no window, and an answer to HTTP/1.0 may lie on disk: somebody looks on.
        outflow.finish(Ok(None));
        let body = Body::new(watch.body());
        let response = whole(self.headers.clone(), facts, length, body);
        let watch = watch.clone();
        tokio::spawn(async move {
            if watch.drained().await == Err(OutflowError::Stalled) {
                self.app.metrics.stream_broken("stalled");
            }
            drop(self);
        });
        response
    }

    /// The rest of an answer whose head is being sent.
    async fn stream(
        mut self,
        work: impl Future<Output = Result<(), Stop>>,
        outflow: Arc<Outflow>,
        watch: OutflowWatch,
    ) {
        let result = tokio::select! {
            biased;
            result = work => result,
            () = watch.gone() => Err(Stop::Outflow(OutflowError::Gone)),
        };
        self.progress.lock().bytes_out = watch.put();
        let result = match result {
            Ok(()) => {
                let digest = outflow.repr_digest();
                let trailers = self.caller.takes_trailers.then(|| {
                    let progress = self.progress.lock();
                    let mut facts = progress.facts(self.app.verify.done(), self.invocation.began);
                    facts.extend(digest.clone().map(|digest| (REPR_DIGEST, digest)));
                    facts
                });
                self.repr_digest = digest;
                outflow.finish(Ok(trailers));
                let drained = async { watch.drained().await.map_err(Stop::Outflow) };
                within_deadline(self.deadline, Arc::clone(&self.progress), drained).await
            }
            Err(stop) => Err(stop),
        };
        let outcome = match &result {
            Ok(()) => "ok",
            Err(Stop::Problem(problem)) => problem.kind().name(),
            Err(Stop::Outflow(OutflowError::Gone)) => "cancelled",
            Err(Stop::Outflow(OutflowError::Stalled)) => "stalled",
            Err(Stop::Outflow(OutflowError::Full | OutflowError::Broken)) => "internal",
        };
        let detail = match &result {
            Err(Stop::Problem(problem)) => Some(problem.detail().to_owned()),
            _ => None,
        };
        match &result {
            Ok(()) => tracing::debug!("streamed"),
            Err(_) => {
                outflow.finish(Err(BodyError::Broken));
                self.app.metrics.stream_broken(outcome);
                tracing::info!(outcome, detail, "an answer broke off after its first byte");
            }
        }
        let (state, problem) = match outcome {
            "ok" => ("done", None),
            problem => ("failed", Some(problem)),
        };
        self.keep(state, problem, detail);
        self.count.end(&self.progress.lock(), outcome);
    }

    /// Keeps what is known for `GET /v1/invocations/{id}`.
    fn keep(&self, state: &'static str, problem: Option<&'static str>, detail: Option<String>) {
        let progress = self.progress.lock();
        let verify = match state {
            "done" => self.app.verify.done(),
            _ => self.app.verify.planned(),
        };
        let facts = InvocationFacts {
            id: self.invocation.id,
            kernel: self.kernel,
            state,
            problem,
            detail,
            bytes_in: progress.bytes_in,
            bytes_out: progress.bytes_out,
            backend: progress.engines.header(),
            backend_reason: progress.engines.reasons(),
            verify,
            server_timing: progress.spent.header(self.invocation.began.elapsed()),
            repr_digest: self
                .repr_digest
                .as_ref()
                .filter(|_| state == "done")
                .and_then(|digest| digest.to_str().ok().map(str::to_owned)),
        };
        drop(progress);
        self.app
            .invocations
            .keep(&self.tenant.id, facts, Instant::now());
    }

    fn problem_of(&self, stop: Stop) -> Problem {
        match stop {
            Stop::Problem(problem) => problem,
            Stop::Outflow(OutflowError::Full) => {
                self.app.metrics.stream_broken("spill-full");
                Problem::new(
                    ProblemKind::Version,
                    "this answer is longer than one that must be whole may be, and HTTP/1.0 cannot show that an answer \
                     broke off: expected HTTP/1.1 or HTTP/2 for it; have the proxy in between speak HTTP/1.1 (nginx: \
                     proxy_http_version 1.1), or split the data",
                )
            }
            Stop::Outflow(error) => Problem::internal(&error.to_string()),
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
