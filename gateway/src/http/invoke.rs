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
use http_body_util::{BodyExt, Limited};

use super::app::App;
use super::delivery::WholeAnswer;
use super::invocation::Invocation;
use super::options::{FAAM_BACKEND, FAAM_DEADLINE_MS, FAAM_PRIORITY};
use super::{compress, decompress};
use crate::auth::Principal;
use crate::error::{Problem, ProblemKind};
use crate::fronts::call::{Answer, Call, CallOptions};
use crate::fronts::function::Function;

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
        } = call;
        let bytes_in = input.len() as u64;
        let request = request(function, &options, input)?;
        let app = self.clone();
        let response = match function {
            Function::Compress(_) => {
                compress::compress_for(app, invocation, principal, request, held_bytes).await
            }
            Function::Decompress(_) => {
                decompress::decompress_for(app, invocation, principal, request, held_bytes).await
            }
        }?;
        let (head, body) = response.into_parts();
        let output = match Limited::new(body, output_bytes_max).collect().await {
            Ok(collected) => collected.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(Problem::new(
                    ProblemKind::TooLarge,
                    format!(
                        "the result is longer than {output_bytes_max} bytes, the most that this way of calling carries; send \
                         less data, or use POST /v1/{}",
                        if function.takes_level() {
                            "compress"
                        } else {
                            "decompress"
                        }
                    ),
                ));
            }
            // It was whole before it was begun.
            Err(error) => return Err(Problem::broken_answer(&*error)),
        };
        Ok(Answer {
            output,
            bytes_in,
            headers: head.headers,
        })
    }
}

/// The request that a call is.
fn request(function: Function, options: &CallOptions, input: Bytes) -> Result<Request, Problem> {
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
    request.extensions_mut().insert(WholeAnswer);
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
