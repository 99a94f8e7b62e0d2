//! Azure Functions: a custom handler, on the port of `FUNCTIONS_CUSTOMHANDLER_PORT`.
//!
//! Invariants: an invocation of an HTTP trigger always ends with an HTTP answer of its own status; one of any other trigger that
//! goes wrong is no 2xx, for that alone tells the host that it failed. It knows neither engines nor how a call is carried out.
//!
//! | request of the host | answer |
//! |---|---|
//! | `POST /{fn}` with `{"Data":{..},"Metadata":{..}}` | `{"Outputs","Logs","ReturnValue"}`, see `envelope` |
//! | anything else (`enableForwardingHttpRequest`) | plain HTTP: the body's result; options in the query or as `Faam-*` headers |
//! | `GET /` | 200: the host asks until something answers |
//!
//! `{fn}` is the function app's name for it: where it is one of ours (`gzip`, `gunzip`, ..) it is called, else the
//! container's default. `X-Azure-Functions-InvocationId` comes back, and is in the logs of the answer.
//!
//! HTTP triggers take requests of 100 MB (104,857,600 bytes), says Microsoft's "Azure Functions HTTP trigger", Limits.

mod envelope;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use bytes::Bytes;

use self::envelope::{Envelope, Told};
use super::call::Call;
use super::error_map::{ErrorMap, Mapped};
use super::front::{Answered, Backend, Front};
use super::front_name::FrontName;
use super::function::Function;
use super::plain_http::{self, Asked, BodyLimit};
use crate::error::{Problem, ProblemKind};
use crate::http::invocation::Invocation;

/// The host's name of an invocation.
const INVOCATION_ID: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");
/// Options of a query that are the host's: keys of a function.
const HOSTS_OPTIONS: [&str; 2] = ["code", "clientId"];
/// What an HTTP trigger takes.
pub const BODY_LIMIT: BodyLimit = BodyLimit {
    bytes_max: 104_857_600,
    whose: "Azure Functions' of an HTTP trigger, 100 MB",
};
/// The same in an envelope: in base64, and some more for what stands around it.
pub const ENVELOPE_LIMIT: BodyLimit = BodyLimit {
    bytes_max: BODY_LIMIT.bytes_max / 3 * 4 + (1 << 20),
    whose: "Azure Functions' of an HTTP trigger, 100 MB, in base64",
};

/// An envelope's answer has the result twice.
const TOLD_COPIES: usize = 2;

/// What an envelope has.
struct Enveloped {
    /// Whether an HTTP request triggered it.
    is_http: bool,
    read: Result<(Asked, Bytes), Problem>,
}

/// See the module's head.
pub struct Azure {
    backend: Backend,
}

impl Azure {
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
        let (head, body) = request.into_parts();
        match head.method {
            Method::POST | Method::PUT => {}
            Method::GET | Method::HEAD if head.uri.path() == "/" => {
                return Ok(plain_http::text(StatusCode::OK, "ok\n"));
            }
            _ => {
                return Err(Problem::new(
                    ProblemKind::Method,
                    "expected POST or PUT with the data as its body; use one of these",
                ));
            }
        }
        let may_be_envelope = head.method == Method::POST
            && head.uri.query().is_none()
            && head.uri.path().trim_matches('/').split('/').count() == 1
            && is_json(&head.headers);
        let limit = if may_be_envelope {
            ENVELOPE_LIMIT
        } else {
            BODY_LIMIT
        };
        let mut held = plain_http::held(&self.backend, &head.headers, body, limit).await?;
        let by_path = head.uri.path().rsplit('/').next().unwrap_or_default();
        let by_path = by_path.parse::<Function>().ok();
        if may_be_envelope && let Some(envelope) = Envelope::of(&held.bytes) {
            let id = head.headers.get(INVOCATION_ID);
            let id = id.and_then(|id| id.to_str().ok()).unwrap_or_default();
            let enveloped = Enveloped {
                is_http: envelope.is_http(),
                read: envelope.read(),
            };
            drop(envelope);
            held.let_go();
            return self.invoke(invocation, enveloped, by_path, id).await;
        }
        if held.bytes.len() > BODY_LIMIT.bytes_max {
            return Err(Problem::new(
                ProblemKind::TooLarge,
                format!(
                    "a body of {} bytes: expected at most {} (the limit is {}); send less",
                    held.bytes.len(),
                    BODY_LIMIT.bytes_max,
                    BODY_LIMIT.whose
                ),
            ));
        }
        let mut asked = Asked::read(&head.uri, &head.headers, &HOSTS_OPTIONS)?;
        asked.function = asked.function.or(by_path);
        let answer = self.call(invocation, asked, held.bytes.clone(), 0).await?;
        Ok(plain_http::response(answer))
    }

    async fn call(
        &self,
        invocation: Invocation,
        asked: Asked,
        input: Bytes,
        base64_copies: usize,
    ) -> Result<super::call::Answer, Problem> {
        let function = asked.function.unwrap_or(self.backend.function);
        let call = Call {
            function,
            options: asked.options.or(&self.backend.options.fit(function)),
            input,
            output_bytes_max: BODY_LIMIT.bytes_max,
            held_bytes: 0,
            base64_copies,
        };
        self.backend.invoker.invoke(invocation, call).await
    }

    /// One invocation that came in an envelope.
    async fn invoke(
        &self,
        invocation: Invocation,
        enveloped: Enveloped,
        by_path: Option<Function>,
        id: &str,
    ) -> Result<Response<Body>, Problem> {
        let Enveloped { is_http, read } = enveloped;
        let answered = match read {
            Ok((mut asked, input)) => {
                asked.function = asked.function.or(by_path);
                self.call(invocation, asked, input, TOLD_COPIES).await
            }
            Err(problem) => Err(problem),
        };
        match answered {
            Ok(answer) => {
                let told = Told::answered(&answer, is_http, id);
                Ok(json(StatusCode::OK, answer.body_of(told)))
            }
            Err(problem) if is_http => {
                let mapped = Self::map(problem.kind());
                let told = Told::refused(&problem, invocation, mapped, id);
                // The invocation is well: its answer is one of an error.
                let response = json(StatusCode::OK, told.to_string());
                Ok(problem.told_by(response))
            }
            Err(problem) => Err(problem),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let value = value.split(|byte| *byte == b';').next().unwrap_or_default();
    value.trim_ascii().eq_ignore_ascii_case(b"application/json")
}

fn json(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

impl Front for Azure {
    fn name(&self) -> FrontName {
        FrontName::Azure
    }

    fn answer(&self, invocation: Invocation, request: Request) -> Answered<'_> {
        Box::pin(async move {
            let id = request.headers().get(INVOCATION_ID).cloned();
            let mut response = match self.serve(invocation, request).await {
                Ok(response) => response,
                Err(problem) => {
                    let is_method = problem.kind() == ProblemKind::Method;
                    let mapped = Self::map(problem.kind());
                    let mut response = plain_http::refused(problem, invocation, mapped);
                    if is_method {
                        let methods = HeaderValue::from_static("POST, PUT");
                        response.headers_mut().insert(ALLOW, methods);
                    }
                    response
                }
            };
            if let Some(id) = id {
                response.headers_mut().insert(INVOCATION_ID, id);
            }
            response
        })
    }
}

/// The host passes an HTTP trigger's status on; of all other triggers it takes what is no 2xx for a failure, and its retry policy
/// or its queue tries the invocation again.
impl ErrorMap for Azure {
    const PLATFORM: &'static str = "Azure Functions";

    fn map(kind: ProblemKind) -> Mapped {
        use ProblemKind as K;
        let (status, taken) = match kind {
            K::InvalidOption => (400, PASSED),
            K::NotAllowed => (403, PASSED),
            K::NotFound => (404, PASSED),
            K::Method => (405, PASSED),
            K::TooSlow => (408, PASSED),
            K::DeviceState | K::Conflict => (409, PASSED),
            K::TooLarge | K::RatioExceeded => (413, PASSED),
            K::UnknownFormat => (415, PASSED),
            K::CorruptInput | K::DigestMismatch | K::ImageRefused => (422, PASSED),
            K::OverRate | K::OverQuota | K::TooManyInFlight => (429, PASSED),
            K::Headers => (431, PASSED),
            K::Internal => (500, PASSED),
            // The container's own key, not the caller's.
            K::NoCredential | K::TooManyFailures => (502, OPERATORS),
            K::Saturated | K::Draining | K::NoEngine => (503, PASSED),
            K::Deadline => (504, PASSED),
            K::Version => (505, PASSED),
        };
        Mapped {
            status,
            name: "",
            taken,
        }
    }
}

const PASSED: &str =
    "an HTTP trigger's status; another trigger's failure, tried again by its policy";
const OPERATORS: &str = "the container's key is refused: its operator's to mend";
