//! One request's name, from its first header to its log line.
//!
//! Owns the invocation id, the span, and the rendering of problems with that id. It
//! sees every request and answer, and knows nothing of what they are about.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use axum::middleware::Next;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::answer::EngineUse;
use super::ended::Ended;
use super::invocations::Invocations;
use super::lambda;
use super::listener::Peer;
use super::request_count::CANCELLED;
use super::request_span::RequestSpan;
use super::spent::Spent;
use super::trace_context::{SpanName, TRACEPARENT};
use super::traced::ServerSpan;
use crate::error::{self, Problem, ProblemKind};
use crate::fronts::front_name::FrontName;
use crate::limit_met::LimitsMet;
use crate::meter;
use crate::metrics::Metrics;
use crate::telemetry::Telemetry;

/// The invocation's id.
pub const FAAM_INVOCATION_ID: HeaderName = HeaderName::from_static("faam-invocation-id");

/// A request, as logs and callers name it.
#[derive(Clone, Copy, Debug)]
pub struct Invocation {
    /// Its id, a UUID of version 7: sorts by time.
    pub id: Uuid,
    /// When its headers were complete.
    pub began: Instant,
    /// Where it came from.
    pub peer: Peer,
    /// The front that it came through, if through one.
    pub(super) front: Option<FrontName>,
    /// Where it stands in a trace, if in any.
    pub(super) trace: Option<SpanName>,
}

impl Invocation {
    /// Of nobody, for checks.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn nameless() -> Self {
        Self {
            id: Uuid::nil(),
            began: Instant::now(),
            peer: Peer(None),
            front: None,
            trace: None,
        }
    }

    /// Its place in its caller's trace, for whoever is asked on its behalf; `None` where there is no trace.
    #[must_use]
    pub fn traceparent(&self) -> Option<String> {
        self.trace.map(|name| name.to_string())
    }
}

/// Where what is observed goes.
#[derive(Clone)]
pub(super) struct Observer {
    pub(super) metrics: Arc<Metrics>,
    /// To a collector, where there is one.
    pub(super) telemetry: Option<Arc<Telemetry>>,
    /// Where refusals are remembered that nobody else knows of.
    pub(super) invocations: Invocations,
}

/// [`Observer::observe`] as a layer of a router.
pub(super) async fn observe(
    State(observer): State<Observer>,
    request: Request,
    next: Next,
) -> Response<Body> {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let peer = request.extensions().get().copied();
    // The one front that stands among our own routes.
    let front = route
        .filter(|route| *route == lambda::PATH)
        .map(|_| FrontName::Lambda);
    let answer = |invocation, mut request: Request| {
        request.extensions_mut().insert(invocation);
        next.run(request)
    };
    let peer = peer.unwrap_or(Peer(None));
    observer
        .observe_front(front, request, peer, route, answer)
        .await
}

impl Observer {
    /// Names the request, has it answered, logs its end, and renders a problem under its name. `route` is the path that
    /// serves it, with names in place of what varies.
    pub(super) async fn observe<F>(
        &self,
        request: Request,
        peer: Peer,
        route: Option<&str>,
        answer: impl FnOnce(Invocation, Request) -> F,
    ) -> Response<Body>
    where
        F: Future<Output = Response<Body>>,
    {
        self.observe_front(None, request, peer, route, answer).await
    }

    /// The same of a request that comes through a front, which is counted as the front's as well.
    pub(super) async fn observe_front<F>(
        &self,
        front: Option<FrontName>,
        request: Request,
        peer: Peer,
        route: Option<&str>,
        answer: impl FnOnce(Invocation, Request) -> F,
    ) -> Response<Body>
    where
        F: Future<Output = Response<Body>>,
    {
        let count = front.map(|front| FrontCount {
            metrics: &self.metrics,
            front,
            outcome: CANCELLED,
        });
        let parent = SpanName::of(request.headers());
        let name = match (parent, &self.telemetry) {
            (Some(parent), _) => Some(parent.child()),
            (None, Some(_)) => Some(SpanName::root()),
            (None, None) => None,
        };
        let invocation = Invocation {
            id: Uuid::now_v7(),
            peer,
            began: Instant::now(),
            front,
            trace: name,
        };
        let mut recorded = self
            .telemetry
            .as_ref()
            .zip(name)
            .and_then(|(telemetry, name)| ServerSpan::begin(telemetry, name, parent, &request));
        if let Some((recorded, route)) = recorded.as_mut().zip(route) {
            recorded.route(route);
        }
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let mut span = RequestSpan::new(invocation.id, method, uri, name);
        let response = span.around(answer(invocation, request)).await;
        let (mut response, problem) = error::render(response, invocation.id);
        let mut text = Uuid::encode_buffer();
        let id = invocation.id.as_hyphenated().encode_lower(&mut text);
        if let Ok(id) = HeaderValue::from_str(id) {
            response.headers_mut().insert(FAAM_INVOCATION_ID, id);
        }
        if let Some(traceparent) = name.and_then(SpanName::header) {
            response.headers_mut().insert(TRACEPARENT, traceparent);
        }
        let kind = problem.as_ref().map(Problem::outcome);
        if let Some(recorded) = recorded {
            response = recorded.answered(response, id.to_owned(), kind);
        }
        span.within(|| self.log(response.status(), invocation, problem.as_ref()));
        if let Some(mut count) = count {
            count.outcome = kind.unwrap_or("ok");
        }
        response
    }

    /// The request's line in the log, and its count among the refused.
    fn log(&self, status: StatusCode, invocation: Invocation, problem: Option<&Problem>) {
        let status = status.as_u16();
        let front = invocation.front.map(FrontName::name);
        let ms = || invocation.began.elapsed().as_secs_f64() * 1e3;
        let Some(problem) = problem else {
            debug!(status, ms = ms(), front, "answered");
            return;
        };
        let ms = ms();
        if problem.is_unheard() {
            debug!(
                status,
                ms,
                front,
                detail = problem.detail(),
                "the caller hung up"
            );
            return;
        }
        let (name, detail) = (problem.kind().name(), problem.detail());
        self.metrics.refused(name);
        self.invocations
            .refused(|| refused(invocation, problem), invocation.id);
        if problem.kind() == ProblemKind::Internal {
            warn!(status, ms, problem = name, front, detail, "failed");
        } else {
            info!(status, ms, problem = name, front, detail, "refused");
        }
    }
}

/// A front's request, counted once; whose caller went away is `cancelled`.
struct FrontCount<'m> {
    metrics: &'m Metrics,
    front: FrontName,
    outcome: &'static str,
}

impl Drop for FrontCount<'_> {
    fn drop(&mut self) {
        self.metrics.front_request(self.front, self.outcome);
    }
}

/// What is remembered of a request that was refused before it was a tenant's.
fn refused(invocation: Invocation, problem: &Problem) -> Ended {
    Ended {
        id: invocation.id,
        tenant: None,
        kernel: "none",
        front: invocation.front,
        outcome: Some(problem.outcome()),
        detail: Some(Ended::detail(problem.detail())),
        verify: "off",
        bytes_in: 0,
        bytes_out: 0,
        engines: EngineUse::default(),
        spent: Spent::default(),
        began: invocation.began,
        answered: None,
        total: invocation.began.elapsed(),
        cost: meter::Spent::default(),
        limits: LimitsMet::default(),
        faults: Vec::new(),
        trace: invocation.trace.map(|trace| trace.trace),
    }
}
