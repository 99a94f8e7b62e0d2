//! Problems: the one place where what went wrong becomes an HTTP answer (RFC 9457).
//!
//! Owns the names and the status codes; `inner` has the mapping from every inner error. Invariant:
//! no other file names a status code of ours, and every refusal says what was expected,
//! what came and what to do. It does not know which invocation it answers: the
//! outermost layer adds that when it renders.

mod inner;

use std::ops::RangeInclusive;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Media type of a problem (RFC 9457, 3).
pub const PROBLEM_JSON: &str = "application/problem+json";
/// Least and most of Retry-After, which counts whole seconds (RFC 9110, 10.2.3): nobody is sent away for longer than a day,
/// the longest window of a limit.
const RETRY_AFTER_S: RangeInclusive<u64> = 1..=86_400;

/// The kinds of problems: each a `type` URI, a title and a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProblemKind {
    /// A query option or a request header that we do not accept.
    InvalidOption,
    /// No such resource.
    NotFound,
    /// The resource is there, the method is not for it.
    Method,
    /// The body came too slowly.
    TooSlow,
    /// A format, or a content coding, that we do not serve.
    UnknownFormat,
    /// The body is not what its format prescribes.
    CorruptInput,
    /// The body is not what its `Content-Digest` says.
    DigestMismatch,
    /// A body, or what it decompresses to, beyond the limit.
    TooLarge,
    /// Decompression beyond the allowed ratio.
    RatioExceeded,
    /// Request headers beyond the limit.
    Headers,
    /// An answer that the request's HTTP version cannot carry.
    Version,
    /// No credential, or not one of ours.
    NoCredential,
    /// A credential, or its tenant, that is not for this.
    NotAllowed,
    /// Too many wrong credentials from one address.
    TooManyFailures,
    /// The tenant's rate of requests or bytes.
    OverRate,
    /// The tenant's quota of a day.
    OverQuota,
    /// The tenant's bound on requests in flight, or on what they hold.
    TooManyInFlight,
    /// No memory for another body.
    Saturated,
    /// The process is about to end.
    Draining,
    /// No engine that the caller allows can serve this.
    NoEngine,
    /// The caller's deadline passed.
    Deadline,
    /// A card is in no state for what an operator asked.
    DeviceState,
    /// A tenant or a key is in no state for what an operator asked.
    Conflict,
    /// An image package that is not taken.
    ImageRefused,
    /// A bug of ours.
    Internal,
}

impl ProblemKind {
    /// Every kind.
    pub const ALL: [Self; 25] = [
        Self::InvalidOption,
        Self::NotFound,
        Self::Method,
        Self::TooSlow,
        Self::UnknownFormat,
        Self::CorruptInput,
        Self::DigestMismatch,
        Self::TooLarge,
        Self::RatioExceeded,
        Self::Headers,
        Self::Version,
        Self::NoCredential,
        Self::NotAllowed,
        Self::TooManyFailures,
        Self::OverRate,
        Self::OverQuota,
        Self::TooManyInFlight,
        Self::Saturated,
        Self::Draining,
        Self::NoEngine,
        Self::Deadline,
        Self::DeviceState,
        Self::Conflict,
        Self::ImageRefused,
        Self::Internal,
    ];

    /// The last part of its `type` URI, and its label in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidOption => "invalid-option",
            Self::NotFound => "not-found",
            Self::Method => "method",
            Self::TooSlow => "too-slow",
            Self::UnknownFormat => "unknown-format",
            Self::CorruptInput => "corrupt-input",
            Self::DigestMismatch => "digest-mismatch",
            Self::TooLarge => "too-large",
            Self::RatioExceeded => "ratio-exceeded",
            Self::Headers => "headers",
            Self::Version => "version",
            Self::NoCredential => "no-credential",
            Self::NotAllowed => "not-allowed",
            Self::TooManyFailures => "too-many-failures",
            Self::OverRate => "over-rate",
            Self::OverQuota => "over-quota",
            Self::TooManyInFlight => "too-many-in-flight",
            Self::Saturated => "saturated",
            Self::Draining => "draining",
            Self::NoEngine => "no-engine",
            Self::Deadline => "deadline",
            Self::DeviceState => "device-state",
            Self::Conflict => "conflict",
            Self::ImageRefused => "image-refused",
            Self::Internal => "internal",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::InvalidOption => "An option is not accepted",
            Self::NotFound => "There is nothing here",
            Self::Method => "The method is not for this resource",
            Self::TooSlow => "The body came too slowly",
            Self::UnknownFormat => "The format is not served",
            Self::CorruptInput => "The body is corrupt",
            Self::DigestMismatch => "The body is not the one of its digest",
            Self::TooLarge => "The body is too large",
            Self::RatioExceeded => "The body expands too far",
            Self::Headers => "The request headers are too large",
            Self::Version => "The HTTP version cannot carry the answer",
            Self::NoCredential => "A valid key is needed",
            Self::NotAllowed => "This is not allowed",
            Self::TooManyFailures => "Too many wrong credentials came",
            Self::OverRate => "Requests or bytes come too fast",
            Self::OverQuota => "The day's quota is used up",
            Self::TooManyInFlight => "Too many requests are in flight",
            Self::Saturated => "The gateway is full",
            Self::Draining => "The gateway is about to stop",
            Self::NoEngine => "No allowed engine can serve this",
            Self::Deadline => "The deadline has passed, or cannot be met",
            Self::DeviceState => "The device is in no state for this",
            Self::Conflict => "What is there does not allow this",
            Self::ImageRefused => "The image is refused",
            Self::Internal => "An error of the gateway's own",
        }
    }

    /// What it means and what to do about it, for `GET /problems/{name}`.
    const fn mend(self) -> &'static str {
        match self {
            Self::InvalidOption => {
                "Send only the query options and header values that the detail lists."
            }
            Self::NotFound => "GET / lists what there is.",
            Self::Method => {
                "Use a method that the Allow header lists. curl -T sends PUT: add -X POST."
            }
            Self::TooSlow => "Send the body without long pauses, or send the request again.",
            Self::UnknownFormat => {
                "Use one of the formats that the detail lists, and no Content-Encoding."
            }
            Self::CorruptInput => {
                "Check the body around the offset given, and that it was transferred as binary."
            }
            Self::DigestMismatch => {
                "Send the body again: it changed on its way, or its Content-Digest is of other bytes."
            }
            Self::TooLarge => {
                "Split the data, or have the operator raise the limit that the detail names."
            }
            Self::RatioExceeded => {
                "If the data is honest, have the operator raise the tenant's ratio limit."
            }
            Self::Headers => "Send fewer or shorter headers.",
            Self::Version => "Speak HTTP/1.1 or HTTP/2, through every proxy in between.",
            Self::NoCredential => {
                "Send `Authorization: Bearer faam_...` with a key of this gateway."
            }
            Self::NotAllowed => {
                "Use a credential whose scopes cover the call, ask for what the detail allows, or have the operator allow it."
            }
            Self::TooManyFailures => {
                "Send a right credential: it is taken at any time. Wrong ones: no more before Retry-After."
            }
            Self::OverRate => {
                "Come back after Retry-After, and send no faster than RateLimit-Policy says."
            }
            Self::OverQuota => "Come back after Retry-After, or have the operator raise the quota.",
            Self::TooManyInFlight => "Wait for some requests to end, or for Retry-After.",
            Self::Saturated => "Send the request again after Retry-After.",
            Self::Draining => "Send the request again after Retry-After, on a new connection.",
            Self::NoEngine => {
                "Send `Faam-Backend: auto` or `prefer-hw`, or come back after Retry-After."
            }
            Self::Deadline => {
                "Send a larger Faam-Deadline-Ms, or less data; the detail says where time went."
            }
            Self::Conflict => "Look at what there is, and repeat the change from there.",
            Self::ImageRefused => {
                "Do what the detail says; `faam image verify` says the same of a file before it is sent."
            }
            Self::DeviceState => "Look at it with `faam device show`, and ask again once it is up.",
            Self::Internal => "Send the request again; report the instance if it persists.",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::InvalidOption => StatusCode::BAD_REQUEST,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::UnknownFormat => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::CorruptInput | Self::DigestMismatch | Self::ImageRefused => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            Self::TooLarge | Self::RatioExceeded => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Headers => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::NoCredential => StatusCode::UNAUTHORIZED,
            Self::NotAllowed => StatusCode::FORBIDDEN,
            Self::TooManyFailures | Self::OverRate | Self::OverQuota | Self::TooManyInFlight => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Saturated | Self::Draining | Self::NoEngine => StatusCode::SERVICE_UNAVAILABLE,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Self::DeviceState | Self::Conflict => StatusCode::CONFLICT,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Whether its answer says when to come back.
    const fn is_for_now(self) -> bool {
        matches!(
            self.status(),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        )
    }

    /// Its documentation, for `GET /problems/{name}`; `None` for a name of nothing.
    #[must_use]
    pub fn describe(name: &str) -> Option<Value> {
        let kind = Self::ALL.into_iter().find(|kind| kind.name() == name)?;
        Some(json!({
            "type": kind.uri(),
            "title": kind.title(),
            "status": kind.status().as_u16(),
            "mend": kind.mend(),
        }))
    }

    fn uri(self) -> String {
        format!("/problems/{}", self.name())
    }

    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A refusal on its way to the caller. Boxed: it is rare, and every handler's result has room for it.
#[derive(Clone, Debug)]
pub struct Problem(Box<Parts>);

#[derive(Clone, Debug)]
struct Parts {
    kind: ProblemKind,
    detail: String,
    members: Map<String, Value>,
    /// Headers of its own.
    carried: HeaderMap,
    /// When it is worth another try.
    come_back: Option<Duration>,
    unheard: bool,
}

/// A response that is a problem, until the outermost layer renders it.
#[derive(Clone, Debug)]
struct Unrendered(Problem);

/// A response that tells a problem in words of another protocol.
#[derive(Clone, Debug)]
struct ToldElsewhere(Problem);

impl Problem {
    /// A problem of `kind`; `detail` says what was expected, what came and what to do.
    pub fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self(Box::new(Parts {
            kind,
            detail,
            members: Map::new(),
            carried: HeaderMap::new(),
            come_back: None,
            unheard: false,
        }))
    }

    /// An option or header value that is not accepted.
    pub fn invalid_option(detail: impl Into<String>) -> Self {
        Self::new(ProblemKind::InvalidOption, detail)
    }

    /// A bug of ours. `what` goes to the log, never to the caller.
    pub fn internal(what: &str) -> Self {
        tracing::error!(what, "internal error");
        Self::new(
            ProblemKind::Internal,
            "the gateway broke one of its own rules; the log has the cause under this id",
        )
    }

    /// With an extension member (RFC 9457, 3.2).
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Serialize) -> Self {
        // What cannot be serialized is left out: the problem matters more.
        if let Ok(value) = serde_json::to_value(value) {
            self.0.members.insert(name.to_owned(), value);
        }
        self
    }

    /// Leaves `response`, which tells it in words of another protocol, as it is: the problem is logged and counted only.
    #[must_use]
    pub fn told_by(self, mut response: Response<Body>) -> Response<Body> {
        response.extensions_mut().insert(ToldElsewhere(self));
        response
    }

    /// Seconds after which it is worth another try, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<u64> {
        self.retry_after_s()
    }

    /// With headers of its own.
    #[must_use]
    pub fn with_headers(mut self, headers: HeaderMap) -> Self {
        self.0.carried.extend(headers);
        self
    }

    /// Worth another try after `wait`, as `Retry-After` says then; what is said already stays.
    #[must_use]
    pub fn come_back_after(mut self, wait: Duration) -> Self {
        self.0.come_back.get_or_insert(wait);
        self
    }

    /// Whether somebody who knows has still to say when to come back.
    #[must_use]
    pub fn lacks_come_back(&self) -> bool {
        self.kind().is_for_now() && self.0.come_back.is_none()
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> ProblemKind {
        self.0.kind
    }

    /// What was expected, what came and what to do.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// For a caller that has hung up, and hears of it only where it still listens: nothing was refused.
    #[must_use]
    pub fn unheard(mut self) -> Self {
        self.0.unheard = true;
        self
    }

    /// Whether [`Problem::unheard`] was called.
    #[must_use]
    pub fn is_unheard(&self) -> bool {
        self.0.unheard
    }

    /// What the request that it ends is counted as.
    #[must_use]
    pub fn outcome(&self) -> &'static str {
        if self.is_unheard() {
            "cancelled"
        } else {
            self.kind().name()
        }
    }

    /// `Retry-After`, in whole seconds: never earlier than it is worth it.
    fn retry_after_s(&self) -> Option<u64> {
        let wait = self.0.come_back.unwrap_or_default();
        let seconds = wait
            .as_secs()
            .saturating_add(u64::from(wait.subsec_nanos() > 0));
        self.kind()
            .is_for_now()
            .then(|| seconds.clamp(*RETRY_AFTER_S.start(), *RETRY_AFTER_S.end()))
    }

    /// The body of a problem with its id.
    fn render(&self, invocation: Uuid) -> Response<Body> {
        let mut body = Map::new();
        body.insert("type".into(), self.0.kind.uri().into());
        body.insert("title".into(), self.0.kind.title().into());
        body.insert("status".into(), self.0.kind.status().as_u16().into());
        body.insert("detail".into(), self.0.detail.clone().into());
        body.insert("instance".into(), invocation.urn().to_string().into());
        body.extend(self.0.members.clone());
        if let Some(seconds) = self.retry_after_s() {
            body.insert("retry_after_s".into(), seconds.into());
        }
        let mut response = (self.0.kind.status(), Json(Value::Object(body))).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        headers.extend(self.0.carried.clone());
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.kind.status();
        response.extensions_mut().insert(Unrendered(self));
        response
    }
}

/// Turns a response that is a problem into its final form; any other is left as it is. The kind is
/// returned for the log.
pub fn render(response: Response<Body>, invocation: Uuid) -> (Response<Body>, Option<Problem>) {
    let (mut parts, body) = response.into_parts();
    if let Some(ToldElsewhere(problem)) = parts.extensions.remove::<ToldElsewhere>() {
        return (Response::from_parts(parts, body), Some(problem));
    }
    let Some(Unrendered(mut problem)) = parts.extensions.remove::<Unrendered>() else {
        return (Response::from_parts(parts, body), None);
    };
    // The router knows which methods there are, and a layer below whether the connection can go on.
    for name in [ALLOW, CONNECTION] {
        if let Some(value) = parts.headers.remove(&name) {
            problem.0.carried.insert(name, value);
        }
    }
    (problem.render(invocation), Some(problem))
}

/// The problem that `response` is, where nobody has told it yet: a front tells it in words of its platform's.
pub(crate) fn untold(response: &mut Response<Body>) -> Option<Problem> {
    let Unrendered(problem) = response.extensions_mut().remove()?;
    Some(problem)
}

/// The answer to a probe that fails while the gateway drains.
pub fn not_ready(state: Value) -> Response<Body> {
    (ProblemKind::Draining.status(), Json(state)).into_response()
}

/// An error with its sources, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_described() {
        for kind in ProblemKind::ALL {
            let described = ProblemKind::describe(kind.name()).expect("described");
            assert_eq!(described["title"], kind.title(), "{}", kind.name());
        }
        assert_eq!(ProblemKind::describe("nothing"), None);
    }

    #[test]
    fn refusals_for_now_say_when_to_come_back_in_whole_seconds_never_too_early() {
        let said = |problem: &Problem| {
            let response = problem.render(Uuid::nil());
            let value = response.headers().get(RETRY_AFTER)?;
            value.to_str().ok()?.parse::<u64>().ok()
        };
        for kind in ProblemKind::ALL {
            let after = |wait| said(&Problem::new(kind, "").come_back_after(wait));
            if !kind.is_for_now() {
                assert_eq!(after(Duration::from_secs(9)), None, "{}", kind.name());
                continue;
            }
            assert!(Problem::new(kind, "").lacks_come_back());
            assert_eq!(after(Duration::from_millis(2001)), Some(3));
            assert_eq!(after(Duration::from_secs(2)), Some(2));
            assert_eq!(after(Duration::ZERO), Some(1));
            assert_eq!(after(Duration::MAX), Some(86_400));
        }
    }

    #[test]
    fn the_cause_of_a_bug_is_not_told() {
        assert!(!Problem::internal("the secret").detail().contains("secret"));
    }
}
