//! Answers in Lambda's form.
//!
//! Invariants: each has the invocation's id; a log has what was done, in lines as Lambda's, and never more than
//! [`LOG_BYTES_MAX`]. It knows no bodies but those that it writes.

use std::time::Duration;

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::json;
use uuid::Uuid;

use super::errors::{Failure, OF_THE_FUNCTION};
use super::{LATEST, RESPONSE_BYTES_MAX};
use crate::base64;
use crate::error::{Problem, ProblemKind};
use crate::fronts::call::Answer;
use crate::fronts::function::Function;
use crate::fronts::payload;

const EXECUTED_VERSION: HeaderName = HeaderName::from_static("x-amz-executed-version");
const FUNCTION_ERROR: HeaderName = HeaderName::from_static("x-amz-function-error");
const LOG_RESULT: HeaderName = HeaderName::from_static("x-amz-log-result");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// Most of a log that an answer has (Lambda, `Invoke`: its last 4 KB).
pub const LOG_BYTES_MAX: usize = 4096;

/// What the log of one invocation says.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    /// What was called.
    pub function: Function,
    /// How long it took.
    pub took: Duration,
}

/// A result. One that is too long is the function's error.
///
/// # Errors
/// `Function.ResponseSizeTooLarge`
pub fn answered(id: Uuid, answer: &Answer, log: Option<Log>) -> Result<Response<Body>, Failure> {
    let body = payload::write_bytes(answer);
    if body.len() > RESPONSE_BYTES_MAX {
        return Err(Problem::new(
            ProblemKind::TooLarge,
            format!(
                "Response payload size ({}) exceeded maximum allowed payload size ({RESPONSE_BYTES_MAX} bytes); send less, or \
                 use POST /v1/compress or /v1/decompress",
                body.len()
            ),
        )
        .into());
    }
    let mut response = of_function(id, answer.body_of(body));
    tell_log(&mut response, id, log, || {
        let timing = answer.server_timing().unwrap_or("-");
        format!(
            "bytes_in={} bytes_out={} backend={} verify={} {timing}",
            answer.bytes_in,
            answer.output.len(),
            answer.backend(),
            answer.verify()
        )
    });
    Ok(response)
}

/// That a dry run found nothing in the way.
#[must_use]
pub fn dry_run(id: Uuid) -> Response<Body> {
    named(StatusCode::NO_CONTENT, id, Body::empty())
}

/// A failure, the function's own or not; `log` is of an invocation that began.
#[must_use]
pub fn failed(id: Uuid, failure: Failure, log: Option<Log>) -> Response<Body> {
    let (told, message) = (failure.told(), failure.message());
    let mut response = if told.status == OF_THE_FUNCTION {
        let body = json!({"errorMessage": message, "errorType": told.name});
        let mut response = of_function(id, body.to_string());
        let unhandled = HeaderValue::from_static("Unhandled");
        response.headers_mut().insert(FUNCTION_ERROR, unhandled);
        response
    } else {
        let status = StatusCode::from_u16(told.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let whose = if status.is_server_error() {
            "Service"
        } else {
            "User"
        };
        let mut body = json!({"Type": whose});
        body[failure.message_member()] = message.clone().into();
        if let Some(reason) = failure.reason() {
            body["Reason"] = reason.into();
        }
        let mut response = named(status, id, Body::from(body.to_string()));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ERROR_TYPE, HeaderValue::from_static(told.name));
        if let Some(seconds) = failure.problem().retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    };
    tell_log(&mut response, id, log, || {
        format!("{}: {message}", told.name)
    });
    failure.into_problem().told_by(response)
}

fn of_function(id: Uuid, body: impl Into<Body>) -> Response<Body> {
    let mut response = named(StatusCode::OK, id, body.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(EXECUTED_VERSION, HeaderValue::from_static(LATEST));
    response
}

fn named(status: StatusCode, id: Uuid, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let mut text = Uuid::encode_buffer();
    let text = id.as_hyphenated().encode_lower(&mut text);
    if let Ok(id) = HeaderValue::from_str(text) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

fn tell_log(
    response: &mut Response<Body>,
    id: Uuid,
    log: Option<Log>,
    said: impl FnOnce() -> String,
) {
    let Some(Log { function, took }) = log else {
        return;
    };
    let lines = format!(
        "START RequestId: {id} Version: {LATEST}\n{function} {}\nEND RequestId: {id}\nREPORT RequestId: {id}\tDuration: {:.2} ms\n",
        said(),
        took.as_secs_f64() * 1e3
    );
    let encoded = base64::encode(last(&lines).as_bytes());
    if let Ok(value) = HeaderValue::try_from(encoded) {
        response.headers_mut().insert(LOG_RESULT, value);
    }
}

/// The end of a log, as much of it as an answer has.
fn last(log: &str) -> &str {
    let mut from = log.len().saturating_sub(LOG_BYTES_MAX);
    while !log.is_char_boundary(from) {
        from = from.saturating_add(1);
    }
    log.get(from..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_its_end() {
        let long = format!("{}\u{e4}end", "\u{e4}".repeat(LOG_BYTES_MAX));
        let kept = last(&long);
        assert!(kept.len() <= LOG_BYTES_MAX && kept.ends_with("end"));
        assert_eq!(last("short"), "short");
    }
}
