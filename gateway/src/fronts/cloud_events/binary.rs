//! Binary mode: attributes in headers, the data as the body.
//!
//! Invariants: a value is unquoted and percent-decoded once, and written with all encoded that the binding wants encoded; what
//! the binding forbids is refused. It knows nothing of what an event asks for.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response};
use bytes::Bytes;

use super::event::{Attribute, Attributes, Event};
use super::reply::Reply;
use crate::error::Problem;

const PREFIX: &str = "ce-";

/// The event of a request.
pub(super) fn read(headers: &HeaderMap, data: Bytes) -> Result<Event, Problem> {
    let mut attributes = Attributes::default();
    for (name, value) in headers {
        let Some(attribute) = name.as_str().strip_prefix(PREFIX) else {
            continue;
        };
        if attribute == "datacontenttype" {
            return Err(Problem::invalid_option(
                "header ce-datacontenttype: expected Content-Type in its place (HTTP binding, 3.1.1); leave it out",
            ));
        }
        let text = decode(attribute, value.as_bytes())?;
        attributes.push(attribute, Attribute::Text(text.into()))?;
    }
    Event::new(attributes, data)
}

/// An answer.
pub(super) fn write(reply: Reply) -> Response<Body> {
    let mut headers = HeaderMap::with_capacity(reply.attributes().len().saturating_add(2));
    if let Ok(media_type) = HeaderValue::from_str(reply.media_type()) {
        headers.insert(CONTENT_TYPE, media_type);
    }
    for (name, value) in reply.attributes() {
        let name = HeaderName::try_from(format!("{PREFIX}{name}"));
        let value = HeaderValue::try_from(encode(&value.text()));
        // Both are visible ASCII by now.
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.insert(name, value);
        }
    }
    let hold = reply.hold().clone();
    let mut response = Response::new(hold.body_of(reply.into_bytes()));
    *response.headers_mut() = headers;
    response
}

/// A header's value as text. Raw UTF-8 is taken as it is; raw bytes that are none are Latin-1, which is what clients write that
/// know headers by the byte (Node's).
fn decode(name: &str, raw: &[u8]) -> Result<String, Problem> {
    let text: Cow<'_, str> = match str::from_utf8(raw) {
        Ok(text) => text.into(),
        Err(_) => raw
            .iter()
            .copied()
            .map(char::from)
            .collect::<String>()
            .into(),
    };
    let text = unquoted(text.trim());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        let coded = match (first, after) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)),
            _ => None,
        };
        match coded {
            Some((high, low)) => {
                bytes.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            // A percent sign that encodes nothing stands for itself.
            None => bytes.push(*first),
        }
    }
    String::from_utf8(bytes).map_err(|_| {
        Problem::invalid_option(format!(
            "header ce-{name}: expected percent-encoded UTF-8, and what it encodes is none; correct the encoding"
        ))
    })
}

/// The inside of a quoted string (RFC 9110, 5.6.4); anything else as it is.
fn unquoted(text: &str) -> Cow<'_, str> {
    let inside = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    let Some(inside) = inside else {
        return text.into();
    };
    let mut plain = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(char) = chars.next() {
        match char {
            '\\' => plain.extend(chars.next()),
            _ => plain.push(char),
        }
    }
    plain.into()
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// As the binding wants it (3.1.3.2): visible ASCII but for the double quote and the percent sign.
fn encode(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut coded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            coded.push(char::from(byte));
        } else {
            coded.push('%');
            for half in [byte >> 4, byte & 15] {
                coded.extend(HEX.get(usize::from(half)).copied().map(char::from));
            }
        }
    }
    coded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once_however_they_were_written() {
        for (raw, text) in [
            (&b"plain"[..], "plain"),
            (
                b"Euro%20%E2%82%AC%20%F0%9F%98%80",
                "Euro \u{20ac} \u{1f600}",
            ),
            ("Euro \u{20ac}".as_bytes(), "Euro \u{20ac}"),
            (b"caf\xe9", "caf\u{e9}"),
            (b"caf%c3%a9", "caf\u{e9}"),
            (b"100%", "100%"),
            (b"%2541", "%41"),
            (b"\"a \\\"b\\\" %41\"", "a \"b\" A"),
        ] {
            assert_eq!(decode("subject", raw).expect("text"), text, "{raw:?}");
        }
        for raw in [&b"%C0%A0"[..], b"%ff"] {
            assert!(decode("subject", raw).is_err(), "{raw:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for text in ["a b", "\"quoted\"", "100 %", "\u{20ac}\u{1f600}", "%41"] {
            let coded = encode(text);
            assert!(coded.bytes().all(|byte| byte.is_ascii_graphic()), "{coded}");
            assert_eq!(decode("subject", coded.as_bytes()).expect("text"), text);
        }
    }
}
