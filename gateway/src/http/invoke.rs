//! A call that comes through a front: answered by the same kernels, in the same order, as one that comes over HTTP.
//!
//! Invariant: the request that a call becomes passes through options, admission, engines and usage exactly as one from a
//! connection does; only its credential was judged before. It knows no platform.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, HeaderValue};
use axum::http::{HeaderName, Method, Uri};
use bytes::Bytes;

use super::app::App;
use super::invocation::Invocation;
use super::kept_answer::{self, Kept};
use super::options::{FAAM_BACKEND, FAAM_DEADLINE_MS, FAAM_PRIORITY};
use super::{compress, decompress};
use crate::auth::Principal;
use crate::error::Problem;
use crate::fronts::call::{Answer, Call, CallOptions, Hold};
use crate::fronts::function::Function;

/// Characters of an option's text: more than any that is accepted has.
const OPTION_CHARS_MAX: usize = 64;

impl App {
    /// Has a call answered, whole.
    ///
    /// # Errors
    /// What a caller over HTTP would be told.
    pub async fn invoke(
        &self,
        invocation: Invocation,
        principal: Arc<Principal>,
        call: Call,
    ) -> Result<Answer, Problem> {
        let Call {
            function,
            options,
            input,
            output_bytes_max,
            held_bytes,
            base64_copies,
        } = call;
        let bytes_in = input.len() as u64;
        let kept = Kept {
            bytes_max: output_bytes_max,
            held_bytes,
            base64_copies,
        };
        let request = request(function, &options, input, kept)?;
        let app = self.clone();
        let response = match function {
            Function::Compress(_) => {
                compress::compress_for(app, invocation, principal, request, held_bytes).await
            }
            Function::Decompress(_) => {
                decompress::decompress_for(app, invocation, principal, request, held_bytes).await
            }
        }?;
        let Some((headers, output, permit)) = kept_answer::taken(response) else {
            return Err(Problem::internal("a kernel did not keep a front's answer"));
        };
        Ok(Answer {
            output,
            bytes_in,
            headers,
            hold: Hold::of(permit),
        })
    }
}

/// The request that a call is.
fn request(
    function: Function,
    options: &CallOptions,
    input: Bytes,
    kept: Kept,
) -> Result<Request, Problem> {
    for (what, text) in [
        ("level", &options.level),
        ("backend", &options.backend),
        ("deadline_ms", &options.deadline_ms),
        ("priority", &options.priority),
    ] {
        let length = text.as_ref().map_or(0, |text| text.chars().count());
        if length > OPTION_CHARS_MAX {
            return Err(Problem::invalid_option(format!(
                "option `{what}`: expected at most {OPTION_CHARS_MAX} characters, got {length}; correct it or leave it out"
            )));
        }
    }
    let mut query = form_urlencoded::Serializer::new(String::new());
    let path = match function {
        Function::Compress(format) => {
            query.append_pair("format", format.name());
            compress::PATH
        }
        Function::Decompress(format) => {
            if let Some(format) = format {
                query.append_pair("format", format.name());
            }
            decompress::PATH
        }
    };
    if let Some(level) = &options.level {
        query.append_pair("level", level);
    }
    let uri = format!("{path}?{}", query.finish());
    let uri = Uri::try_from(uri).map_err(|error| Problem::internal(&error.to_string()))?;
    let length = input.len();
    let mut request = Request::new(Body::from(input));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri;
    request.extensions_mut().insert(kept);
    let headers = request.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    let mut put = |name: HeaderName, what: &str, value: &Option<Box<str>>| -> Result<(), Problem> {
        if let Some(text) = value {
            let value = HeaderValue::from_str(text).map_err(|_| {
                Problem::invalid_option(format!(
                    "option `{what}`: expected visible ASCII characters; correct it or leave it out"
                ))
            })?;
            headers.insert(name, value);
        }
        Ok(())
    };
    put(FAAM_BACKEND, "backend", &options.backend)?;
    put(FAAM_DEADLINE_MS, "deadline_ms", &options.deadline_ms)?;
    put(FAAM_PRIORITY, "priority", &options.priority)?;
    Ok(request)
}

#[cfg(test)]
mod tests;
