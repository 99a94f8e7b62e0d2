//! CloudEvents 1.0.2 over HTTP: an event's data is compressed, and its answer is an event of the same mode.
//!
//! Invariants: the mode is told by `Content-Type`, batched before structured before binary; an answer's id is made from its
//! request's source and id alone, so that whoever receives both answers of a request that was sent twice knows the second by
//! source and id; a batch is answered event by event, a duplicate in it once, with no memory from one request to the next. It
//! knows no platform.
//!
//! What an event asks for, in its extension attributes or, for all events of a request, in the query: `faamfunction`
//! (`function`), `faamlevel` (`level`), `faambackend` (`backend`), `faamdeadlinems` (`deadline_ms`), `faampriority`
//! (`priority`).
//!
//! | attribute of an answer | |
//! |---|---|
//! | `id` | 32 hexadecimal digits: SHA-256 of the request's source and id |
//! | `source` | `/faam/functions/{function}`; of a refusal `/faam/refusals` |
//! | `type` | `faam.compressed`, `faam.decompressed`; of a refusal `faam.refused` |
//! | `subject` | the request's |
//! | `datacontenttype` | the result's; of a refusal `application/problem+json` |
//! | `faamcausesource`, `faamcauseid` | source and id of the request |
//! | `faambackend`, `faamverify` | as the headers of `POST /v1/compress` |
//! | `faaminvocation` | the call's id, for `faam explain` |
//! | all others | the request's extensions, but for those about its data's place or order (`dataref`, `sequence`, `sequencetype`) |
//!
//! A refusal is an event in a batch alone; elsewhere it is the request's own status.

mod binary;
mod event;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
pub mod handshake;
mod json_parts;
mod reply;
mod structured;

use std::collections::HashSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Response};
use bytes::Bytes;
use uuid::Uuid;

use self::event::Event;
use self::reply::Reply;
use super::call::Call;
use super::error_map::Mapped;
use super::front::Backend;
use super::plain_http::{self, Asked, BodyLimit};
use crate::error::{Problem, ProblemKind};
use crate::http::invocation::Invocation;

/// Most bytes of one event as it comes.
pub const EVENT_LIMIT: BodyLimit = BodyLimit {
    bytes_max: 128 << 20,
    whose: "EVENT_LIMIT of one event",
};
/// Most bytes of a batch as it comes, and most bytes of results that it leaves with.
pub const BATCH_LIMIT: BodyLimit = BodyLimit {
    bytes_max: 64 << 20,
    whose: "BATCH_LIMIT of a batch of events",
};
/// Most events of a batch.
pub const BATCH_EVENTS_MAX: usize = 256;

const BATCH: &str = "application/cloudevents-batch";
const STRUCTURED: &str = "application/cloudevents";
/// Attributes without which nothing is an event.
const REQUIRED_HEADERS: [&str; 4] = ["ce-specversion", "ce-id", "ce-source", "ce-type"];

/// How events come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Batched,
    Structured,
    Binary,
}

impl Mode {
    fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let media_type = media_type(headers);
        let (mode, prefix) = if media_type.starts_with(BATCH) {
            (Self::Batched, BATCH)
        } else if media_type.starts_with(STRUCTURED) {
            (Self::Structured, STRUCTURED)
        } else {
            return Ok(Self::Binary);
        };
        match media_type.strip_prefix(prefix) {
            // What names no format is JSON: there is none before it.
            Some("" | "+json") => Ok(mode),
            _ => Err(Problem::new(
                ProblemKind::UnknownFormat,
                format!(
                    "events of {:?} are not read: expected {STRUCTURED}+json, {BATCH}+json, or an event in headers; send one \
                     of these",
                    plain_http::cut(&media_type)
                ),
            )),
        }
    }
}

/// `Content-Type` without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let value = value.split(|byte| *byte == b';').next().unwrap_or_default();
    String::from_utf8_lossy(value.trim_ascii()).to_ascii_lowercase()
}

/// Whether a request carries an event, or is meant to.
#[must_use]
pub fn is_event(headers: &HeaderMap) -> bool {
    media_type(headers).starts_with(STRUCTURED)
        || REQUIRED_HEADERS
            .iter()
            .any(|name| headers.contains_key(*name))
}

/// Has an event, or a batch of them, answered. `asked` is for all of them, where they do not say otherwise.
///
/// # Errors
/// What the sender is to be told.
pub async fn answer(
    backend: &Backend,
    invocation: Invocation,
    asked: Asked,
    request: Request,
    map: fn(ProblemKind) -> Mapped,
) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    let mode = Mode::of(&head.headers)?;
    let limit = match mode {
        Mode::Batched => BATCH_LIMIT,
        Mode::Structured | Mode::Binary => EVENT_LIMIT,
    };
    let mut body = plain_http::held(backend, &head.headers, body, limit).await?;
    let events = Events {
        backend,
        invocation,
        asked,
        map,
    };
    match mode {
        Mode::Binary => {
            let event = binary::read(&head.headers, body.bytes.clone())?;
            let reply = events.call(&event, limit.bytes_max, 0, 0).await?;
            Ok(binary::write(reply))
        }
        Mode::Structured => {
            let event = structured::read(&body.bytes)?;
            let held = structured::held_with(&event.data, &body.bytes);
            body.let_go();
            let reply = events.call(&event, limit.bytes_max, held, 1).await?;
            let body = reply.hold().body_of(structured::write(&reply));
            Ok(structured::response(body, STRUCTURED))
        }
        Mode::Batched => events.batch(&body.bytes).await,
    }
}

/// The events of one request.
struct Events<'a> {
    backend: &'a Backend,
    invocation: Invocation,
    asked: Asked,
    map: fn(ProblemKind) -> Mapped,
}

impl Events<'_> {
    /// One event's answer.
    async fn call(
        &self,
        event: &Event,
        output_bytes_max: usize,
        held_bytes: usize,
        base64_copies: usize,
    ) -> Result<Reply, Problem> {
        let own = event.asked()?;
        let function = own.function.or(self.asked.function);
        let function = function.unwrap_or(self.backend.function);
        let call = Call {
            function,
            options: own
                .options
                .or(&self.asked.options)
                .or(&self.backend.options.fit(function)),
            input: event.data.clone(),
            output_bytes_max,
            held_bytes,
            base64_copies,
        };
        let invoker = Arc::clone(&self.backend.invoker);
        let answer = invoker.invoke(self.invocation, call).await?;
        Ok(Reply::answered(event, function, answer, self.invocation))
    }

    /// Each event of a batch, one after another: each has an invocation of its own.
    async fn batch(mut self, body: &Bytes) -> Result<Response<Body>, Problem> {
        let parts = structured::batch(body, BATCH_EVENTS_MAX)?;
        let mut seen = HashSet::with_capacity(parts.len());
        let mut answers = Vec::with_capacity(parts.len());
        let mut left = BATCH_LIMIT.bytes_max;
        let mut any_answered = false;
        let mut first_refusal: Option<Problem> = None;
        // What is written, and the whole that it is put together to.
        let mut room = self.backend.room.hold(0)?;
        for part in parts {
            self.invocation.id = Uuid::now_v7();
            let event = structured::read(&part);
            if let Ok(event) = &event
                && !seen.insert((event.source.clone(), event.id.clone()))
            {
                continue;
            }
            let answered = match &event {
                Ok(event) => self
                    .call(event, left, body.len(), 1)
                    .await
                    .and_then(|reply| {
                        let written = structured::write(&reply);
                        room.grow(written.len().saturating_mul(2))?;
                        left = left.saturating_sub(reply.data_len());
                        Ok(written)
                    }),
                Err(problem) => Err(problem.clone()),
            };
            let written = match answered {
                Ok(written) => {
                    any_answered = true;
                    written
                }
                Err(problem) => {
                    let mapped = (self.map)(problem.kind());
                    let event = event.as_ref().ok();
                    let reply = Reply::refused(event, &problem, self.invocation, mapped);
                    first_refusal.get_or_insert(problem);
                    let written = structured::write(&reply);
                    // Where there is no room for a refusal either, all of it has to come again.
                    room.grow(written.len().saturating_mul(2))?;
                    written
                }
            };
            answers.push(written);
        }
        match first_refusal {
            // All of it can come again: the sender is told so in a way that it knows.
            Some(problem) if !any_answered && problem.retry_after().is_some() => Err(problem),
            _ => {
                let whole = structured::join(&answers);
                drop(answers);
                room.shrink_to(whole.len());
                Ok(structured::response(room.body_of(whole), BATCH))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn the_mode_is_told_by_the_media_type_batched_first() {
        for (media_type, mode) in [
            ("application/cloudevents-batch+json", Mode::Batched),
            (
                "Application/CloudEvents+JSON; charset=utf-8",
                Mode::Structured,
            ),
            ("application/cloudevents", Mode::Structured),
            ("application/json", Mode::Binary),
        ] {
            let of = Mode::of(&headers(&[("content-type", media_type)]));
            assert_eq!(of.expect(media_type), mode, "{media_type}");
        }
        let avro = Mode::of(&headers(&[(
            "content-type",
            "application/cloudevents+avro",
        )]));
        assert_eq!(
            avro.expect_err("not read").kind(),
            ProblemKind::UnknownFormat
        );
    }

    #[test]
    fn what_is_meant_to_be_an_event_is_none_of_the_plain_calls() {
        assert!(is_event(&headers(&[("ce-id", "1")])));
        assert!(is_event(&headers(&[(
            "content-type",
            "application/cloudevents+json"
        )])));
        assert!(!is_event(&headers(&[
            ("content-type", "application/json"),
            ("ce-other", "1")
        ])));
    }
}
