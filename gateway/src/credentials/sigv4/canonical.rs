//! The canonical request: what a signature is of.
//!
//! Invariant: two requests that mean the same have the same text, whoever encoded their target; two that differ in what is
//! signed have not. Targets are encoded twice but for `s3`, as AWS's signers have it. Dot segments are left as they are:
//! none of our paths has any.

use std::fmt::Write as _;

use axum::http::HeaderValue;
use axum::http::header::HOST;

use super::super::Presented;

/// Of these signed headers, which are in order; `None` where one of them was not sent.
pub(super) fn canonical_request(
    presented: &Presented<'_>,
    headers: &[&str],
    payload: &str,
    service: &str,
) -> Option<String> {
    let mut text = String::with_capacity(512);
    text.push_str(presented.method.as_str());
    text.push('\n');
    path(&mut text, presented.uri.path().as_bytes(), service != "s3");
    text.push('\n');
    query(&mut text, presented.uri.query().unwrap_or_default());
    text.push('\n');
    for name in headers {
        text.push_str(name);
        text.push(':');
        if *name == "host" {
            // HTTP/2 has it in `:authority` (RFC 9113, 8.3.1).
            let authority = presented
                .uri
                .authority()
                .map(|host| host.as_str().as_bytes());
            let host = presented.headers.get(HOST).map(HeaderValue::as_bytes);
            value(&mut text, authority.or(host)?);
        } else {
            let mut values = presented.headers.get_all(*name).iter();
            value(&mut text, values.next()?.as_bytes());
            for more in values {
                text.push(',');
                value(&mut text, more.as_bytes());
            }
        }
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&headers.join(";"));
    text.push('\n');
    text.push_str(payload);
    Some(text)
}

fn path(text: &mut String, path: &[u8], twice: bool) {
    if path.is_empty() {
        text.push('/');
    }
    match twice {
        true => encode(text, path, true),
        false => encode(text, &decode(path), true),
    }
}

fn query(text: &mut String, query: &str) {
    let encoded = |part: &str| {
        let mut text = String::with_capacity(part.len());
        encode(&mut text, &decode(part.as_bytes()), false);
        text
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encoded(name), encoded(value)))
        .collect();
    pairs.sort();
    for (index, (name, value)) in pairs.iter().enumerate() {
        if index > 0 {
            text.push('&');
        }
        let _ = write!(text, "{name}={value}");
    }
}

/// Without blanks around it, and with one for several within.
fn value(text: &mut String, value: &[u8]) {
    let mut blank = false;
    for byte in value.trim_ascii() {
        if matches!(byte, b' ' | b'\t') {
            blank = true;
            continue;
        }
        if std::mem::take(&mut blank) {
            text.push(' ');
        }
        // Bytes beyond ASCII stand for themselves: a Latin-1 reading is as good as any, for it keeps them apart.
        text.push(char::from(*byte));
    }
}

/// Percent signs for all but unreserved characters (RFC 3986, 2.3), and slashes where they divide.
fn encode(text: &mut String, bytes: &[u8], slashes: bool) {
    for byte in bytes {
        let plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || (slashes && *byte == b'/');
        if plain {
            text.push(char::from(*byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

/// Percent signs read; what is none stays as it is.
fn decode(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digit = |byte: &u8| {
            char::from(*byte)
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        if *first == b'%'
            && let [high, low, after @ ..] = after
            && let (Some(high), Some(low)) = (digit(high), digit(low))
        {
            bytes.push(high << 4 | low);
            rest = after;
            continue;
        }
        bytes.push(*first);
        rest = after;
    }
    bytes
}
