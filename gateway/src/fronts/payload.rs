//! Payloads in JSON: `{"data": base64, "level"?: n, ..}` in, `{"data": base64, "bytes_in", "bytes_out", "backend", "verify"}` out.
//!
//! Invariants: a member that is not known is refused by name, as an option of a query is; base64 is the standard alphabet with
//! padding (RFC 4648, 4). It knows neither a platform nor its limits.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize};

use super::call::{Answer, CallOptions};
use super::function::Function;
use crate::base64;
use crate::error::Problem;

/// How a written answer begins.
const DATA: &str = "{\"data\":\"";
/// The same where the answer is a text.
const DATA_QUOTED: &str = "\"{\\\"data\\\":\\\"";
/// Characters of a parser's error that a refusal repeats.
const QUOTED_CHARS_MAX: usize = 200;

/// What a payload asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// `kernel`, where the payload names it.
    pub function: Option<Function>,
    /// How.
    pub options: CallOptions,
    /// With what.
    pub input: Bytes,
}

/// Text, borrowed where nothing of it is escaped.
#[derive(Deserialize)]
pub(super) struct Text<'j>(#[serde(borrow)] pub(super) Cow<'j, str>);

/// A whole number or text: options come as either. Read by hand, for whatever else comes is refused at its first byte: serde's
/// own choice of variants would first keep all of it, at many times its length.
struct Scalar(Box<str>);

impl Scalar {
    fn text(self) -> Box<str> {
        self.0
    }
}

impl<'j> Deserialize<'j> for Scalar {
    fn deserialize<D: Deserializer<'j>>(json: D) -> Result<Self, D::Error> {
        struct NumberOrText;

        impl Visitor<'_> for NumberOrText {
            type Value = Scalar;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a whole number or text")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Scalar, E> {
                Ok(Scalar(number.to_string().into()))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.into()))
            }
        }

        json.deserialize_any(NumberOrText)
    }
}

/// Text in base64, not decoded yet: as bytes, for of what is no text base64 takes nothing, and nobody has to look for it.
struct Encoded<'j>(Cow<'j, [u8]>);

impl<'de: 'j, 'j> Deserialize<'de> for Encoded<'j> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Base64Text;

        impl<'j> Visitor<'j> for Base64Text {
            type Value = Encoded<'j>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string in base64")
            }

            fn visit_borrowed_bytes<E>(self, text: &'j [u8]) -> Result<Encoded<'j>, E> {
                Ok(Encoded(Cow::Borrowed(text)))
            }

            fn visit_bytes<E>(self, text: &[u8]) -> Result<Encoded<'j>, E> {
                Ok(Encoded(Cow::Owned(text.to_owned())))
            }

            fn visit_borrowed_str<E>(self, text: &'j str) -> Result<Encoded<'j>, E> {
                Ok(Encoded(Cow::Borrowed(text.as_bytes())))
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Encoded<'j>, E> {
                self.visit_bytes(text.as_bytes())
            }
        }

        json.deserialize_bytes(Base64Text)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members<'j> {
    #[serde(borrow)]
    data: Encoded<'j>,
    #[serde(borrow, default)]
    kernel: Option<Text<'j>>,
    #[serde(default)]
    level: Option<Scalar>,
    #[serde(default)]
    backend: Option<Scalar>,
    #[serde(default)]
    deadline_ms: Option<Scalar>,
    #[serde(default)]
    priority: Option<Scalar>,
}

impl Payload {
    /// Reads one.
    ///
    /// # Errors
    /// `invalid-option` in words.
    pub fn read(json: &[u8]) -> Result<Self, Problem> {
        // Members in an array would be taken by their order.
        if json.trim_ascii_start().first() == Some(&b'[') {
            return Err(Problem::invalid_option(
                "the payload: expected one JSON object, {\"data\": base64, ..}, got an array; send the object",
            ));
        }
        let mut deserializer = serde_json::Deserializer::from_slice(json);
        let payload = Self::of(&mut deserializer)?;
        deserializer.end().map_err(|error| {
            Problem::invalid_option(format!(
                "the payload: expected one JSON object: {error}; send nothing after it"
            ))
        })?;
        Ok(payload)
    }

    /// Reads one from JSON that is parsed already, or in part.
    ///
    /// # Errors
    /// `invalid-option` in words.
    pub fn of<'j, D>(json: D) -> Result<Self, Problem>
    where
        D: Deserializer<'j, Error = serde_json::Error>,
    {
        let members = Members::deserialize(json).map_err(|error| {
            Problem::invalid_option(format!(
                "the payload is not what is expected here, {{\"data\": base64, \"level\"?, \"backend\"?, \"deadline_ms\"?, \
                 \"priority\"?, \"kernel\"?}}: {}; correct it",
                cut(&error)
            ))
        })?;
        let input = base64::decode(&members.data.0).map_err(|error| {
            Problem::invalid_option(format!(
                "member `data`: expected base64 in the standard alphabet with padding (RFC 4648, 4): {error}; encode it so"
            ))
        })?;
        let function = match &members.kernel {
            None => None,
            Some(Text(name)) => Some(name.parse().map_err(|error| {
                Problem::invalid_option(format!(
                    "member `kernel`: {error}; correct it or leave it out"
                ))
            })?),
        };
        Ok(Self {
            function,
            options: CallOptions {
                level: members.level.map(Scalar::text),
                backend: members.backend.map(Scalar::text),
                deadline_ms: members.deadline_ms.map(Scalar::text),
                priority: members.priority.map(Scalar::text),
            },
            input: input.into(),
        })
    }
}

/// A parser's error, which repeats the caller's text whole, within bounds.
fn cut(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let mut cut: String = text.chars().take(QUOTED_CHARS_MAX).collect();
    if cut.len() < text.len() {
        cut.push_str(&format!(
            ".. at line {} column {}",
            error.line(),
            error.column()
        ));
    }
    cut
}

/// What an answer says beside its data.
#[derive(Serialize)]
struct Told<'a> {
    bytes_in: u64,
    bytes_out: usize,
    backend: &'a str,
    verify: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    backend_reason: Option<&'a str>,
}

/// An answer as a JSON object.
#[must_use]
pub fn write_bytes(answer: &Answer) -> Vec<u8> {
    // It is a struct of strings and numbers, written into memory: `{"bytes_in":..}`.
    let told = serde_json::to_string(&told(answer)).unwrap_or_default();
    let told = told.strip_prefix('{').unwrap_or_default();
    let mut json = Vec::new();
    around_data(answer, [DATA, "\",", told], &mut json);
    json
}

/// The same as a text in JSON that holds the object, behind what is in `json`.
pub fn write_quoted(answer: &Answer, json: &mut Vec<u8>) {
    let told = serde_json::to_string(&told(answer)).unwrap_or_default();
    let told = serde_json::to_string(&told).unwrap_or_default();
    let told = told.strip_prefix("\"{").unwrap_or_default();
    around_data(answer, [DATA_QUOTED, "\\\",", told], json);
}

/// Nothing in base64 is escaped in JSON: looking for it takes longer than encoding.
fn around_data(answer: &Answer, [before, after, told]: [&str; 3], json: &mut Vec<u8>) {
    let data = base64::encoded_len(answer.output.len());
    let around = before.len() + after.len() + told.len();
    json.reserve(data.saturating_add(around));
    json.extend_from_slice(before.as_bytes());
    base64::encode_onto(&answer.output, json);
    json.extend_from_slice(after.as_bytes());
    json.extend_from_slice(told.as_bytes());
}

fn told(answer: &Answer) -> Told<'_> {
    Told {
        bytes_in: answer.bytes_in,
        bytes_out: answer.output.len(),
        backend: answer.backend(),
        verify: answer.verify(),
        backend_reason: answer.backend_reason(),
    }
}

#[cfg(test)]
mod tests;
