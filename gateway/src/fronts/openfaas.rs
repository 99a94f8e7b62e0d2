//! OpenFaaS: behind of-watchdog in mode http, or alone.
//!
//! Invariants: no more calls at once than `max_inflight`; nothing outlives a request. It knows neither engines nor how a call
//! is carried out.
//!
//! of-watchdog (mode http) passes every request on to its `upstream_url`, with method, path behind `/function/NAME`, query,
//! headers and body as they came, and gives back status, headers and body as they are; it answers `/_/health` and `/_/ready`
//! itself. Without it this process answers both likewise. Headers do not become variables (`Http_*`) in mode http: that is
//! its forking modes' way.
//!
//! | request | answer |
//! |---|---|
//! | `POST /`, `POST /{function}` | the body's result; options in the query or as `Faam-*` headers; `X-Call-Id` comes back, `X-Duration-Seconds` is told |
//! | `GET /_/health` | 200 `OK` |
//! | `GET /_/ready` | 200; 429 where `max_inflight` calls are in flight; 503 where no gateway would take a call |
//!
//! OpenFaaS sets no limit on the body of a synchronous call; its asynchronous calls go through NATS, whose messages are 1 MiB
//! by default (`max_payload`).

use std::time::Instant;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::ALLOW;
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use tokio::sync::Semaphore;

use super::error_map::{ErrorMap, Mapped};
use super::front::{Answered, Backend, Front};
use super::front_name::FrontName;
use super::plain_http::{self, Asked, BodyLimit};
use crate::error::{Problem, ProblemKind};
use crate::http::invocation::Invocation;

/// The gateway's name of a call.
const X_CALL_ID: HeaderName = HeaderName::from_static("x-call-id");
/// How long it took.
const X_DURATION_SECONDS: HeaderName = HeaderName::from_static("x-duration-seconds");
/// Half of the room for all bodies.
pub const BODY_LIMIT: BodyLimit = BodyLimit {
    bytes_max: 128 << 20,
    whose: "this container's: OpenFaaS has none for synchronous calls",
};

/// See the module's head.
pub struct OpenFaas {
    backend: Backend,
    /// Calls that may begin; `None` is no limit.
    free: Option<Semaphore>,
}

impl OpenFaas {
    /// Has calls carried out by `backend`, at most `max_inflight` at once; 0 is no limit, as of-watchdog has it.
    #[must_use]
    pub fn new(backend: Backend, max_inflight: usize) -> Self {
        let free =
            (max_inflight > 0).then(|| Semaphore::new(max_inflight.min(Semaphore::MAX_PERMITS)));
        Self { backend, free }
    }

    async fn serve(
        &self,
        invocation: Invocation,
        request: Request,
    ) -> Result<Response<Body>, Problem> {
        match (request.method(), request.uri().path()) {
            (&Method::GET, "/_/health") => Ok(plain_http::text(StatusCode::OK, "OK")),
            (&Method::GET, "/_/ready") => match &self.free {
                Some(free) if free.available_permits() == 0 => Err(self.full()),
                _ => {
                    self.backend.invoker.ready().await?;
                    Ok(plain_http::text(StatusCode::OK, ""))
                }
            },
            (&Method::POST | &Method::PUT, path) => {
                let asked = Asked::read(request.uri(), request.headers(), &[])?.at(path)?;
                let _begun = match &self.free {
                    Some(free) => Some(free.try_acquire().map_err(|_| self.full())?),
                    None => None,
                };
                plain_http::call(&self.backend, invocation, asked, request, BODY_LIMIT).await
            }
            _ => Err(Problem::new(
                ProblemKind::Method,
                "expected POST with the data as its body, GET /_/health or GET /_/ready; use one of these",
            )),
        }
    }

    fn full(&self) -> Problem {
        Problem::new(
            ProblemKind::TooManyInFlight,
            "as many calls are in flight as max_inflight allows; send the request again after Retry-After",
        )
    }
}

impl Front for OpenFaas {
    fn name(&self) -> FrontName {
        FrontName::OpenFaas
    }

    fn answer(&self, invocation: Invocation, request: Request) -> Answered<'_> {
        Box::pin(async move {
            let began = Instant::now();
            let call = request.headers().get(X_CALL_ID).cloned();
            let mut response = match self.serve(invocation, request).await {
                Ok(response) => response,
                Err(problem) => {
                    let mapped = Self::map(problem.kind());
                    plain_http::refused(problem, invocation, mapped)
                }
            };
            let is_method = response.status() == StatusCode::METHOD_NOT_ALLOWED;
            let headers = response.headers_mut();
            if is_method {
                headers.insert(ALLOW, HeaderValue::from_static("POST, PUT, GET"));
            }
            if let Some(call) = call {
                headers.insert(X_CALL_ID, call);
            }
            let seconds = format!("{:.6}", began.elapsed().as_secs_f64());
            if let Ok(seconds) = HeaderValue::from_str(&seconds) {
                headers.insert(X_DURATION_SECONDS, seconds);
            }
            response
        })
    }
}

/// The queue worker tries 408, 429, 500, 502, 503 and 504 again (its `httpRetryCodes`); a synchronous caller gets the status as
/// it is.
impl ErrorMap for OpenFaas {
    const PLATFORM: &'static str = "OpenFaaS";

    fn map(kind: ProblemKind) -> Mapped {
        use ProblemKind as K;
        let (status, taken) = match kind {
            K::InvalidOption => (400, CALLERS),
            K::NotAllowed => (403, CALLERS),
            K::NotFound => (404, CALLERS),
            K::Method => (405, CALLERS),
            K::DeviceState | K::Conflict => (409, CALLERS),
            K::TooLarge | K::RatioExceeded => (413, CALLERS),
            K::UnknownFormat => (415, CALLERS),
            K::CorruptInput | K::DigestMismatch | K::ImageRefused => (422, CALLERS),
            K::Headers => (431, CALLERS),
            K::Version => (505, CALLERS),
            K::TooSlow => (408, RETRIED),
            K::OverRate | K::OverQuota | K::TooManyInFlight => (429, RETRIED),
            // The container's own key, not the caller's.
            K::NoCredential | K::TooManyFailures => (502, OPERATORS),
            K::Saturated | K::Draining | K::NoEngine => (503, RETRIED),
            K::Deadline => (504, RETRIED),
            K::Internal => (500, RETRIED),
        };
        Mapped {
            status,
            name: "",
            taken,
        }
    }
}

const CALLERS: &str = "the caller's, as it is";
const RETRIED: &str = "as it is; tried again by the queue worker";
const OPERATORS: &str = "the container's key is refused: its operator's to mend";
