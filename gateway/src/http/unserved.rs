//! Targets and methods that nothing here serves, and what is said of them.
//!
//! Invariant: of a caller's text no more is repeated than helps to see the mistake. It knows no routes.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::ALLOW;
use axum::http::{HeaderValue, Method, Response};
use axum::response::IntoResponse;

use crate::error::{Problem, ProblemKind};

/// Longest piece of a target that is repeated, in characters.
const PATH_CHARS_MAX: usize = 128;
/// Longest piece of a method that is repeated, in characters.
const METHOD_CHARS_MAX: usize = 32;
/// What is served of all targets together (RFC 9110, 9.3.7).
const METHODS: &str = "GET, HEAD, POST";

/// A target that is there, for other methods: the router says which.
pub(super) async fn method_not_allowed(request: Request) -> Problem {
    let path = path(&request);
    let curl = if path.starts_with("/v1/") && path.ends_with("compress") {
        "expected POST; with curl say `-X POST` (curl -T sends PUT)"
    } else {
        "expected GET"
    };
    let method = cut(request.method().as_str(), METHOD_CHARS_MAX);
    Problem::new(ProblemKind::Method, format!("{method} {path}: {curl}"))
}

/// A target that is not there, or is none of a resource's.
pub(super) async fn not_found(request: Request) -> Response<Body> {
    let detail = if request.method() == Method::CONNECT {
        // RFC 9110, 9.3.6: it asks for a tunnel.
        "CONNECT: this is no proxy; send the request itself, to the host that it is for"
    } else if request.uri().path() == "*" {
        "the target * is the gateway as a whole, which only /healthz says something of; GET / lists what there is"
    } else {
        let path = path(&request);
        let detail = format!("{path} names nothing here; GET / lists what there is");
        return Problem::new(ProblemKind::NotFound, detail).into_response();
    };
    let mut response = Problem::new(ProblemKind::Method, detail).into_response();
    let allow = HeaderValue::from_static(METHODS);
    response.headers_mut().insert(ALLOW, allow);
    response
}

/// A request's path, as far as it is repeated.
pub(super) fn path(request: &Request) -> String {
    cut(request.uri().path(), PATH_CHARS_MAX)
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
