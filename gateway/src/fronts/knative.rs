//! Knative: any body posted is compressed, CloudEvents on the same port, probes answered as its network layer expects.
//!
//! Invariant: nothing outlives a request, so that the container may be killed at any time. It knows neither engines nor how
//! a call is carried out.
//!
//! | request | answer |
//! |---|---|
//! | `POST /`, `POST /{function}` | the body's result; options in the query (`function`, `level`, `backend`, `deadline_ms`, `priority`) or as `Faam-*` headers |
//! | the same with a CloudEvent | see [`cloud_events`] |
//! | `OPTIONS` with `WebHook-Request-Origin` | the handshake of CloudEvents' webhooks |
//! | `GET /`, `/healthz` | 200: it is there |
//! | `GET /readyz` | 200, or 503 where no gateway would take a call: for a readiness probe |
//! | any with `K-Network-Probe` | `probe`: 200 and `K-Network-Hash` as it came; `queue`: 200 `queue`, as queue-proxy says it |
//!
//! Knative sets no limit on a body; what stands before it does (`body_bytes_max` of the gateway, and [`BODY_LIMIT`]).

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::ALLOW;
use axum::http::{HeaderName, HeaderValue, Method, Response, StatusCode};

use super::cloud_events;
use super::error_map::{ErrorMap, Mapped};
use super::front::{Answered, Backend, Front};
use super::front_name::FrontName;
use super::plain_http::{self, Asked, BodyLimit};
use crate::error::{Problem, ProblemKind};
use crate::http::invocation::Invocation;

/// The network layer's probe.
const K_NETWORK_PROBE: HeaderName = HeaderName::from_static("k-network-probe");
/// What a probe wants to see again.
const K_NETWORK_HASH: HeaderName = HeaderName::from_static("k-network-hash");
/// Half of the room for all bodies.
pub const BODY_LIMIT: BodyLimit = BodyLimit {
    bytes_max: 128 << 20,
    whose: "this container's: Knative itself has none",
};

/// See the module's head.
pub struct Knative {
    backend: Backend,
}

impl Knative {
    /// Has calls carried out by `backend`.
    #[must_use]
    pub fn new(backend: Backend) -> Self {
        Self { backend }
    }

    async fn serve(
        &self,
        invocation: Invocation,
        request: Request,
    ) -> Result<Response<Body>, Problem> {
        if let Some(probe) = request.headers().get(K_NETWORK_PROBE) {
            let hash = request.headers().get(K_NETWORK_HASH);
            return probed(probe, hash);
        }
        match *request.method() {
            Method::GET | Method::HEAD if matches!(request.uri().path(), "/" | "/healthz") => {
                Ok(plain_http::text(StatusCode::OK, "ok\n"))
            }
            Method::GET | Method::HEAD if request.uri().path() == "/readyz" => {
                self.backend.invoker.ready().await?;
                Ok(plain_http::text(StatusCode::OK, "ok\n"))
            }
            Method::OPTIONS => cloud_events::handshake::answer(request.headers()),
            Method::POST => {
                let asked = Asked::read(request.uri(), request.headers(), &["access_token"])?
                    .at(request.uri().path())?;
                if cloud_events::is_event(request.headers()) {
                    cloud_events::answer(&self.backend, invocation, asked, request, Self::map).await
                } else {
                    plain_http::call(&self.backend, invocation, asked, request, BODY_LIMIT).await
                }
            }
            _ => Err(Problem::new(
                ProblemKind::Method,
                "expected POST with the data as its body, GET /healthz or /readyz, or OPTIONS; use one of these",
            )),
        }
    }
}

impl Front for Knative {
    fn name(&self) -> FrontName {
        FrontName::Knative
    }

    fn answer(&self, invocation: Invocation, request: Request) -> Answered<'_> {
        Box::pin(async move {
            match self.serve(invocation, request).await {
                Ok(response) => response,
                Err(problem) => {
                    let is_method = problem.kind() == ProblemKind::Method;
                    let mapped = Self::map(problem.kind());
                    let mut response = plain_http::refused(problem, invocation, mapped);
                    if is_method {
                        let methods = HeaderValue::from_static("POST, GET, HEAD, OPTIONS");
                        response.headers_mut().insert(ALLOW, methods);
                    }
                    response
                }
            }
        })
    }
}

fn probed(probe: &HeaderValue, hash: Option<&HeaderValue>) -> Result<Response<Body>, Problem> {
    match (probe.as_bytes(), hash) {
        (b"probe", Some(hash)) => {
            let mut response = plain_http::text(StatusCode::OK, "");
            response.headers_mut().insert(K_NETWORK_HASH, hash.clone());
            Ok(response)
        }
        (b"probe", None) => Err(Problem::invalid_option(
            "K-Network-Probe: probe without K-Network-Hash: expected both; send the hash",
        )),
        (b"queue", _) => Ok(plain_http::text(StatusCode::OK, "queue")),
        _ => Err(Problem::invalid_option(
            "header K-Network-Probe: expected probe or queue; correct it or leave it out",
        )),
    }
}

/// Knative's senders (eventing's data plane) try again after 404, 408, 409, 429 and 5xx; all else goes to the dead letters.
impl ErrorMap for Knative {
    const PLATFORM: &'static str = "Knative";

    fn map(kind: ProblemKind) -> Mapped {
        use ProblemKind as K;
        let (status, taken) = match kind {
            K::InvalidOption => (400, CALLERS),
            K::Method => (405, CALLERS),
            K::UnknownFormat => (415, CALLERS),
            K::CorruptInput | K::DigestMismatch | K::ImageRefused => (422, CALLERS),
            K::TooLarge | K::RatioExceeded => (413, CALLERS),
            K::Headers => (431, CALLERS),
            K::NotAllowed => (403, CALLERS),
            K::NotFound => (404, RETRIED),
            K::TooSlow => (408, RETRIED),
            K::DeviceState | K::Conflict => (409, RETRIED),
            K::OverRate | K::OverQuota | K::TooManyInFlight => (429, RETRIED),
            K::Saturated | K::Draining | K::NoEngine => (503, RETRIED),
            K::Deadline => (504, RETRIED),
            // The container's own key, not the caller's.
            K::NoCredential | K::TooManyFailures => (502, OPERATORS),
            K::Version => (505, RETRIED),
            K::Internal => (500, RETRIED),
        };
        Mapped {
            status,
            name: "",
            taken,
        }
    }
}

const CALLERS: &str = "the caller's; not sent again";
const RETRIED: &str = "sent again by Knative's senders";
const OPERATORS: &str =
    "the container's key is refused: its operator's to mend; sent again meanwhile";
