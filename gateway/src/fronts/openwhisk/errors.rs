//! What goes wrong, in words and statuses of OpenWhisk's runtimes.
//!
//! Invariant: whatever is no success is `{"error": text}` with a status other than 200: the platform records the text as the
//! activation's error. It does not know what was asked.
//!
//! The statuses are those of the platform's own runtimes (apache/openwhisk-runtime-go, `openwhisk/initHandler.go` and
//! `runHandler.go`): 400 for what is no request, 403 for a second `/init`, 500 for `/run` before `/init`, 502 for an action
//! that failed.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::error::{Problem, ProblemKind};
use crate::fronts::error_map::{ErrorMap, Mapped};

/// The second `/init`'s error.
pub const INITIALIZED: &str = "Cannot initialize the action more than once.";
/// The error of `/run` before `/init`.
pub const NOT_INITIALIZED: &str = "no action defined yet";

/// The table of problems.
#[derive(Clone, Copy, Debug)]
pub struct Errors;

/// What an action's own failure is to the platform.
const FAILED: Mapped = Mapped {
    status: 502,
    name: "error",
    taken: "the activation fails with this error, and its container is removed",
};

const fn with(status: u16) -> Mapped {
    Mapped { status, ..FAILED }
}

impl ErrorMap for Errors {
    const PLATFORM: &'static str = "Apache OpenWhisk";

    fn map(kind: ProblemKind) -> Mapped {
        use ProblemKind as K;
        match kind {
            K::InvalidOption
            | K::UnknownFormat
            | K::CorruptInput
            | K::DigestMismatch
            | K::TooLarge
            | K::RatioExceeded
            | K::NoCredential
            | K::NotAllowed
            | K::TooManyFailures
            | K::OverRate
            | K::OverQuota
            | K::TooManyInFlight
            | K::Saturated
            | K::Draining
            | K::NoEngine
            | K::Deadline
            | K::DeviceState
            | K::Conflict
            | K::ImageRefused => FAILED,
            // Not the action's: the request of the protocol itself.
            K::NotFound => with(404),
            K::Method => with(405),
            K::TooSlow => with(408),
            K::Headers => with(431),
            K::Version => with(505),
            K::Internal => with(500),
        }
    }
}

/// What the protocol itself refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// `/init` again.
    Initialized,
    /// `/run` first.
    NotInitialized,
    /// What is no request of the protocol's.
    Unreadable,
}

impl Refused {
    const fn status(self) -> StatusCode {
        match self {
            Self::Initialized => StatusCode::FORBIDDEN,
            Self::NotInitialized => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unreadable => StatusCode::BAD_REQUEST,
        }
    }

    const fn kind(self) -> ProblemKind {
        match self {
            Self::Initialized | Self::NotInitialized => ProblemKind::Conflict,
            Self::Unreadable => ProblemKind::InvalidOption,
        }
    }

    /// With `words`.
    pub(super) fn told(self, words: &str) -> Response<Body> {
        Problem::new(self.kind(), words).told_by(error(self.status(), words))
    }
}

/// A problem, in the platform's words.
pub(super) fn told(problem: Problem) -> Response<Body> {
    let words = words(&problem);
    told_as(problem, &words)
}

/// A problem for which `/init` fails.
pub(super) fn told_of_init(problem: Problem) -> Response<Body> {
    let words = format!("cannot initialize action: {}", words(&problem));
    told_as(problem, &words)
}

fn words(problem: &Problem) -> String {
    let (kind, detail) = (problem.kind().name(), problem.detail());
    match problem.retry_after() {
        Some(seconds) => format!("{kind}: {detail} (Retry-After: {seconds} s)"),
        None => format!("{kind}: {detail}"),
    }
}

fn told_as(problem: Problem, words: &str) -> Response<Body> {
    let status = Errors::map(problem.kind()).status;
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    problem.told_by(error(status, words))
}

fn error(status: StatusCode, words: &str) -> Response<Body> {
    let mut response = json(json!({ "error": words }).to_string());
    *response.status_mut() = status;
    response
}

/// An answer in JSON.
pub(super) fn json(text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_problem_is_taken_for_a_success() {
        for kind in ProblemKind::ALL {
            let status = Errors::map(kind).status;
            assert!((400..600).contains(&status), "{}: {status}", kind.name());
            let told = told(Problem::new(kind, "why"));
            assert_eq!(told.status().as_u16(), status);
        }
    }
}
