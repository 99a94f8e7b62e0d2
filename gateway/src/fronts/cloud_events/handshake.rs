//! The handshake of webhooks: whether a sender may deliver here (HTTP 1.1 Web Hooks 1.0.2, 4).
//!
//! Invariant: it allows whoever asks, for it is no authorization: credentials and rates are judged at each delivery, and who
//! comes too fast is told 429. It calls nobody back.

use axum::body::Body;
use axum::http::header::ALLOW;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::error::Problem;

const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const REQUEST_RATE: HeaderName = HeaderName::from_static("webhook-request-rate");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// The answer to OPTIONS.
///
/// # Errors
/// `invalid-option` for a rate that is none.
pub fn answer(headers: &HeaderMap) -> Result<Response<Body>, Problem> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let told = response.headers_mut();
    told.insert(ALLOW, HeaderValue::from_static("POST, GET, HEAD, OPTIONS"));
    if let Some(rate) = headers.get(REQUEST_RATE) {
        let rate = rate
            .to_str()
            .ok()
            .and_then(|rate| rate.trim().parse::<u64>().ok());
        if rate.is_none_or(|per_minute| per_minute == 0) {
            return Err(Problem::invalid_option(
                "header WebHook-Request-Rate: expected a whole number above 0, of requests a minute; correct it or leave it out",
            ));
        }
    }
    if let Some(origin) = headers.get(REQUEST_ORIGIN) {
        told.insert(ALLOWED_ORIGIN, origin.clone());
        told.insert(ALLOWED_RATE, HeaderValue::from_static("*"));
    }
    Ok(response)
}
