//! Structured and batched mode: events as JSON objects (JSON event format 1.0.2).
//!
//! Invariants: JSON data is compressed as it stands in the text; there is one of `data` and `data_base64`, and neither is empty
//! data; a result is always `data_base64`. It knows nothing of what an event asks for.

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Response};
use bytes::Bytes;
use serde_json::{Map, Value};

use super::event::{ATTRIBUTES_MAX, Attribute, Attributes, Event};
use super::json_parts::{self, PartsError};
use super::reply::{Reply, ReplyData};
use crate::base64;
use crate::error::{Problem, ProblemKind};

/// An event of JSON.
pub(super) fn read(text: &Bytes) -> Result<Event, Problem> {
    let members = json_parts::members(text, ATTRIBUTES_MAX.saturating_add(2)).map_err(|error| {
        Problem::invalid_option(format!(
            "the event is not read: {error}; expected a JSON object of attributes, with `data` or `data_base64`"
        ))
    })?;
    let mut attributes = Attributes::default();
    let (mut data, mut base64, mut media_type) = (None, None, None);
    for (name, raw) in members {
        let slot = match name.as_str() {
            "data" => &mut data,
            "data_base64" => &mut base64,
            _ => {
                if let Some(value) = attribute(&name, &raw)? {
                    if name == "datacontenttype" {
                        media_type = Some(value.text());
                    }
                    attributes.push(&name, value)?;
                }
                continue;
            }
        };
        if slot.replace(raw).is_some() {
            return Err(Problem::invalid_option(format!(
                "member `{name}` came twice: expected it once; leave one out"
            )));
        }
    }
    let data = match (data, base64) {
        (None, None) => Bytes::new(),
        (Some(raw), None) => inline(raw, media_type.as_deref())?,
        (None, Some(raw)) => decoded(&raw)?,
        (Some(_), Some(_)) => {
            return Err(Problem::invalid_option(
                "members `data` and `data_base64`: expected one of them; leave one out",
            ));
        }
    };
    Event::new(attributes, data)
}

/// The data of member `data_base64`.
fn decoded(raw: &Bytes) -> Result<Bytes, Problem> {
    let plain = raw
        .strip_prefix(b"\"")
        .and_then(|raw| raw.strip_suffix(b"\""));
    // What is base64 as it stands has nothing in it that is escaped.
    if let Some(Ok(data)) = plain.map(base64::decode) {
        return Ok(data.into());
    }
    let text: String = serde_json::from_slice(raw).map_err(|_| {
        Problem::invalid_option("member `data_base64`: expected text; encode the data so")
    })?;
    let decoded = base64::decode(text.as_bytes()).map_err(|error| {
        Problem::invalid_option(format!(
            "member `data_base64`: expected base64 in the standard alphabet with padding (RFC 4648, 4): {error}; encode it so"
        ))
    })?;
    Ok(decoded.into())
}

/// The data of member `data`: JSON as it stands where the data is JSON, a text's own bytes where it is not.
fn inline(raw: Bytes, media_type: Option<&str>) -> Result<Bytes, Problem> {
    let is_text = raw.first() == Some(&b'"');
    if is_text && !media_type.is_none_or(is_json) {
        let text: String = serde_json::from_slice(&raw).map_err(|error| {
            Problem::invalid_option(format!("member `data`: {error}; correct it"))
        })?;
        return Ok(text.into());
    }
    // As it stands it leaves again: nobody else looks at it.
    str::from_utf8(&raw).map_err(|error| {
        Problem::invalid_option(format!(
            "member `data`: expected UTF-8: {error}; correct it"
        ))
    })?;
    Ok(raw)
}

/// Bytes of an event's text beside its data that stay in memory as long as the data does: all, where the data is a part of it.
pub(super) fn held_with(data: &Bytes, text: &Bytes) -> usize {
    let is_part = !data.is_empty() && text.as_ptr_range().contains(&data.as_ptr());
    match is_part {
        true => text.len().saturating_sub(data.len()),
        false => 0,
    }
}

/// Whether a media type is of JSON (JSON event format, 3.1).
fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
    let subtype = subtype.to_ascii_lowercase();
    subtype == "json" || subtype.ends_with("+json")
}

/// An attribute's value; `None` is one that is not set.
fn attribute(name: &str, raw: &Bytes) -> Result<Option<Attribute>, Problem> {
    let refuse = || {
        Problem::invalid_option(format!(
            "attribute {:?}: expected text, a whole number of 32 bits, true or false; correct it",
            crate::fronts::plain_http::cut(name)
        ))
    };
    // Before it is parsed into a tree many times its length.
    if let Some(b'[' | b'{') = raw.trim_ascii_start().first() {
        return Err(refuse());
    }
    match serde_json::from_slice(raw).map_err(|_| refuse())? {
        Value::Null => Ok(None),
        Value::Bool(flag) => Ok(Some(Attribute::Flag(flag))),
        Value::String(text) => Ok(Some(Attribute::Text(text.into()))),
        Value::Number(number) => {
            let number = number
                .as_i64()
                .and_then(|number| i32::try_from(number).ok());
            number.map(Attribute::Number).map(Some).ok_or_else(refuse)
        }
        Value::Array(_) | Value::Object(_) => Err(refuse()),
    }
}

/// The events of a batch, as they stand.
pub(super) fn batch(text: &Bytes, events_max: usize) -> Result<Vec<Bytes>, Problem> {
    json_parts::elements(text, events_max).map_err(|error| match error {
        PartsError::TooMany(_) => Problem::new(
            ProblemKind::TooLarge,
            format!("the batch has more than {events_max} events: expected at most so many; send it in parts"),
        ),
        _ => Problem::invalid_option(format!(
            "the batch is not read: {error}; expected a JSON array of events"
        )),
    })
}

/// How an answer's data begins, after members that are there in every answer.
const DATA: &str = ",\"data_base64\":\"";
/// And how it ends.
const DATA_END: &str = "\"}";

/// An answer as JSON.
pub(super) fn write(reply: &Reply) -> Vec<u8> {
    let mut members = Map::new();
    for (name, value) in reply.attributes() {
        let value = match value {
            Attribute::Text(text) => Value::from(&**text),
            Attribute::Number(number) => Value::from(*number),
            Attribute::Flag(flag) => Value::from(*flag),
        };
        members.insert(name.to_string(), value);
    }
    members.insert("datacontenttype".to_owned(), reply.media_type().into());
    match reply.data() {
        ReplyData::Bytes(data) => {
            // Nothing in base64 is escaped in JSON: looking for it takes longer than encoding.
            let members = serde_json::to_string(&members).unwrap_or_default();
            let members = members.strip_suffix('}').unwrap_or_default();
            let around = members.len() + DATA.len() + DATA_END.len();
            let mut json =
                Vec::with_capacity(base64::encoded_len(data.len()).saturating_add(around));
            json.extend_from_slice(members.as_bytes());
            json.extend_from_slice(DATA.as_bytes());
            base64::encode_onto(data, &mut json);
            json.extend_from_slice(DATA_END.as_bytes());
            return json;
        }
        ReplyData::Json(data) => {
            members.insert("data".to_owned(), data.clone());
        }
    }
    Value::Object(members).to_string().into_bytes()
}

/// A batch of answers.
pub(super) fn join(events: &[Vec<u8>]) -> Vec<u8> {
    let length = events.iter().map(Vec::len).sum::<usize>();
    let mut batch = Vec::with_capacity(length.saturating_add(events.len() + 2));
    batch.push(b'[');
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            batch.push(b',');
        }
        batch.extend_from_slice(event);
    }
    batch.push(b']');
    batch
}

/// A response of JSON: `media_type` without its suffix. The parameter is in lower case, for npm `cloudevents` looks media types up as they
/// stand.
pub(super) fn response(json: impl Into<Body>, media_type: &str) -> Response<Body> {
    let mut response = Response::new(json.into());
    if let Ok(value) = HeaderValue::try_from(format!("{media_type}+json; charset=utf-8")) {
        response.headers_mut().insert(CONTENT_TYPE, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#""specversion":"1.0","id":"1","source":"/s","type":"t""#;

    fn data(rest: &str) -> Result<Vec<u8>, String> {
        let text = format!("{{{HEAD}{rest}}}");
        let event = read(&text.into());
        event
            .map(|event| event.data.to_vec())
            .map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn data_that_is_a_part_of_the_text_holds_all_of_it() {
        let held = |rest: &str| {
            let text = Bytes::from(format!("{{{HEAD}{rest}}}"));
            let event = read(&text).expect("an event");
            (held_with(&event.data, &text), text.len())
        };
        let (held_by_part, text) = held(r#","data":[1,2,3]"#);
        assert_eq!(held_by_part, text - "[1,2,3]".len());
        assert_eq!(held(r#","data_base64":"AAH/""#).0, 0);
        assert_eq!(held(r#","data":"x\n","datacontenttype":"text/plain""#).0, 0);
        assert_eq!(held("").0, 0);
    }

    #[test]
    fn data_is_what_the_format_says() {
        for (rest, bytes) in [
            ("", &b""[..]),
            (r#","data":{ "z":1.0,"a":2}"#, br#"{ "z":1.0,"a":2}"#),
            (r#","data":"x""#, br#""x""#),
            (r#","data":"x\n","datacontenttype":"text/plain""#, b"x\n"),
            (
                r#","data":"x","datacontenttype":"application/a+json""#,
                br#""x""#,
            ),
            (r#","data_base64":"AAH/""#, &[0, 1, 255]),
            (r#","data_base64":"AAH\/""#, &[0, 1, 255]),
            (r#","data_base64":"""#, b""),
            (r#","subject":null,"one":true,"two":-3"#, b""),
        ] {
            assert_eq!(data(rest).expect(rest), bytes, "{rest}");
        }
    }

    #[test]
    fn data_that_is_no_text_is_refused() {
        let mut text = format!("{{{HEAD},\"data\":\"a?b\"}}").into_bytes();
        let at = text.iter().position(|byte| *byte == b'?').expect("there");
        text[at] = 0xff;
        let refused = read(&text.into()).expect_err("no UTF-8");
        assert!(refused.detail().contains("UTF-8"), "{}", refused.detail());
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        for (rest, word) in [
            (r#","data":1,"data_base64":"""#, "one of them"),
            (r#","data":1,"data":2"#, "twice"),
            (r#","id":"2""#, "twice"),
            (r#","data_base64":"A""#, "base64"),
            (r#","data_base64":7"#, "expected text"),
            (r#","data_base64":"AAH/\n""#, "base64"),
            (r#","ext":{}"#, "ext"),
            (r#","ext":1.5"#, "ext"),
            (r#","Ext":"x""#, "lower-case"),
            (r#","time":"yesterday""#, "RFC 3339"),
            (r#","subject":"""#, "subject"),
            (r#","ext":"a\u0007""#, "control"),
        ] {
            let refused = data(rest).expect_err(rest);
            assert!(refused.contains(word), "{rest}: {refused}");
        }
        for (text, word) in [
            ("[]", "object"),
            ("{", "JSON"),
            (
                r#"{"specversion":"0.3","id":"1","source":"/s","type":"t"}"#,
                "1.0",
            ),
            (
                r#"{"specversion":"1.0","id":"","source":"/s","type":"t"}"#,
                "id",
            ),
            (r#"{"specversion":"1.0","id":"1","type":"t"}"#, "source"),
        ] {
            let refused = read(&Bytes::from_static(text.as_bytes())).expect_err(text);
            assert!(
                refused.detail().contains(word),
                "{text}: {}",
                refused.detail()
            );
        }
    }
}
