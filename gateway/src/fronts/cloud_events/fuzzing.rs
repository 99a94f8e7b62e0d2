//! A door for fuzzing: what is read as an event, from arbitrary bytes to a panic if an invariant does not hold.
//!
//! Owns what an event is held to in whichever mode it comes. Compiled for tests, which replay the committed corpus, and for
//! fuzzing; no build that is used has it.

#![expect(clippy::panic, reason = "a panic is how a target says what it found")]

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::event::{ATTRIBUTES_MAX, Event};
use super::reply::Reply;
use super::{BATCH_EVENTS_MAX, Mode, binary, is_event, structured};
use crate::error::{Problem, ProblemKind};
use crate::fronts::call::{Answer, Hold};
use crate::fronts::function::Function;
use crate::http::invocation::Invocation;

/// Characters that a refusal says at most, whatever came.
const DETAIL_CHARS_MAX: usize = 1000;
/// Attributes that an answer has besides those that it takes over.
const ANSWERS_OWN: usize = 12;

/// The first byte says what the rest is: an event in JSON (`s`), a batch of them (`b`), else the lines of a head and behind an
/// empty one the data. Panics if a refusal is longer than it may be, if what is no JSON is taken, or if the answer to an event
/// that was taken is not read as one event with the same attributes in both modes.
pub fn event(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    match kind {
        b's' => {
            let text = Bytes::copy_from_slice(rest);
            let Some(event) = taken(structured::read(&text)) else {
                return;
            };
            // What is passed over is looked at as JSON's grammar has it: not whether its numbers and texts can be kept.
            let is_json = serde_json::from_slice::<IgnoredAny>(&text).is_ok();
            let is_object = text.trim_ascii_start().first() == Some(&b'{');
            assert!(is_json && is_object, "no object is taken");
            answered(event);
        }
        b'b' => {
            let text = Bytes::copy_from_slice(rest);
            let parts = match structured::batch(&text, BATCH_EVENTS_MAX) {
                Ok(parts) => parts,
                Err(problem) => return bounded(&problem),
            };
            assert!(parts.len() <= BATCH_EVENTS_MAX, "{} events", parts.len());
            if let Ok(parsed) = serde_json::from_slice::<Vec<Value>>(&text) {
                let parts = parts.iter().map(|part| serde_json::from_slice(part).ok());
                assert!(
                    parts.eq(parsed.into_iter().map(Some)),
                    "other parts than a parser's"
                );
            }
            for part in parts {
                if let Some(event) = taken(structured::read(&part)) {
                    answered(event);
                }
            }
        }
        _ => {
            let (headers, data) = head(rest);
            let _ = is_event(&headers);
            if let Err(problem) = Mode::of(&headers) {
                bounded(&problem);
            }
            if let Some(event) = taken(binary::read(&headers, data)) {
                answered(event);
            }
        }
    }
}

/// Lines up to an empty one, and what comes behind it.
fn head(mut rest: &[u8]) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
        let (line, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            break;
        };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
    (headers, Bytes::copy_from_slice(rest))
}

fn bounded(problem: &Problem) {
    let chars = problem.detail().chars().count();
    assert!(chars <= DETAIL_CHARS_MAX, "a refusal of {chars} characters");
}

fn taken(read: Result<Event, Problem>) -> Option<Event> {
    match read {
        Ok(event) => Some(event),
        Err(problem) => {
            assert_eq!(problem.kind(), ProblemKind::InvalidOption);
            bounded(&problem);
            None
        }
    }
}

/// The answer to an event is an event itself, in whichever mode it leaves.
fn answered(event: Event) {
    if let Err(problem) = event.asked() {
        bounded(&problem);
    }
    if event.carried().count() + ANSWERS_OWN > ATTRIBUTES_MAX {
        return;
    }
    let answer = Answer {
        output: event.data.clone(),
        bytes_in: 0,
        headers: HeaderMap::new(),
        hold: Hold::default(),
    };
    let function = Function::default();
    let reply = Reply::answered(&event, function, answer, Invocation::nameless());
    let json = Bytes::from(structured::write(&reply));
    let response = binary::write(reply);
    let read = [
        structured::read(&json),
        binary::read(response.headers(), event.data.clone()),
    ]
    .map(|read| read.unwrap_or_else(|problem| panic!("an answer: {}", problem.detail())));
    for again in &read {
        assert_eq!(again.subject, event.subject);
        assert_eq!(again.data, event.data);
    }
    let [structured, binary] = read.each_ref().map(|again| {
        let mut attributes: Vec<_> = again
            .carried()
            .map(|(name, value)| (name.clone(), value.text()))
            .collect();
        attributes.sort_unstable();
        (again.id.clone(), again.source.clone(), attributes)
    });
    assert_eq!(structured, binary, "one answer in two modes");
    let mut carried: Vec<_> = event
        .carried()
        .map(|(name, value)| (name.clone(), value.text()))
        .collect();
    carried.sort_unstable();
    assert_eq!(structured.2, carried, "what an answer takes over");
}
