//! One request's name, from its first header to its log line.
//!
//! Owns the invocation id, the span, and the rendering of problems with that id. It
//! sees every request and answer, and knows nothing of what they are about.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Response};
use axum::middleware::Next;
use tracing::{Instrument, debug, info, info_span, warn};
use uuid::Uuid;

use crate::error::{self, ProblemKind};
use crate::metrics::Metrics;

/// The invocation's id.
pub(super) const FAAM_INVOCATION_ID: HeaderName = HeaderName::from_static("faam-invocation-id");
/// W3C Trace Context.
const TRACEPARENT: &str = "traceparent";
/// Longest `traceparent` that is logged, in bytes (W3C Trace Context, 3.2: version 00 has 55).
const TRACEPARENT_BYTES_MAX: usize = 64;

/// A request, as logs and callers name it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Invocation {
    /// Its id, a UUID of version 7: sorts by time.
    pub(super) id: Uuid,
    /// When its headers were complete.
    pub(super) began: Instant,
}

/// Names the request, logs its end, and renders a problem under its name.
pub(super) async fn observe(
    State(metrics): State<Arc<Metrics>>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let invocation = Invocation {
        id: Uuid::now_v7(),
        began: Instant::now(),
    };
    request.extensions_mut().insert(invocation);
    let traceparent = request
        .headers()
        .get(TRACEPARENT)
        .and_then(|value| value.to_str().ok())
        .filter(|value| value.len() <= TRACEPARENT_BYTES_MAX);
    let span = info_span!(
        "request",
        id = %invocation.id,
        method = %request.method(),
        path = request.uri().path(),
        traceparent,
    );
    let response = next.run(request).instrument(span.clone()).await;
    let (mut response, problem) = error::render(response, invocation.id);
    if let Ok(id) = HeaderValue::try_from(invocation.id.to_string()) {
        response.headers_mut().insert(FAAM_INVOCATION_ID, id);
    }
    let _entered = span.enter();
    let status = response.status().as_u16();
    let ms = invocation.began.elapsed().as_secs_f64() * 1e3;
    match problem {
        None => debug!(status, ms, "answered"),
        Some(problem) => {
            metrics.refused(problem.kind().name());
            if problem.kind() == ProblemKind::Internal {
                warn!(
                    status,
                    ms,
                    problem = problem.kind().name(),
                    detail = problem.detail(),
                    "failed"
                );
            } else {
                info!(
                    status,
                    ms,
                    problem = problem.kind().name(),
                    detail = problem.detail(),
                    "refused"
                );
            }
        }
    }
    response
}
