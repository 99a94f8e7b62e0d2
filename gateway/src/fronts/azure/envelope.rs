//! What the host sends of an invocation, and what it is told: `{"Data","Metadata"}` and `{"Outputs","Logs","ReturnValue"}`.
//!
//! Invariant: which bytes are meant is never guessed: a payload of ours, or the body of an HTTP trigger as its media type says.
//! It knows no statuses.
//!
//! In `Data` the trigger is the one member that is an HTTP request (it has `Method` and `Headers`), else the first one. Its
//! input is:
//!
//! | trigger | input | options |
//! |---|---|---|
//! | HTTP with `application/json` | the payload `{"data": base64, ..}` | members of the payload |
//! | HTTP with `application/octet-stream` or `multipart/*` | the body, which the host sends in base64 | the query |
//! | HTTP with anything else | the body as text | the query |
//! | any other | the payload `{"data": base64, ..}`, as an object or as the text of one | members of the payload |
//!
//! An HTTP trigger is told `Outputs.res`, an HTTP answer with the payload as its body, and `ReturnValue` the same for a binding
//! of `$return`. Any other is told the result in base64, as `ReturnValue` and as `Outputs.output`: the host turns text in base64 back into
//! bytes for the binding that takes it.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::base64;
use crate::error::{PROBLEM_JSON, Problem};
use crate::fronts::call::{Answer, CallOptions};
use crate::fronts::error_map::Mapped;
use crate::fronts::json_text;
use crate::fronts::json_value::{Json, Members, VALUES_MAX};
use crate::fronts::payload::{self, Payload};
use crate::fronts::plain_http::{Asked, named, problem_json};
use crate::http::invocation::Invocation;

/// Most characters of the host's id of an invocation that a log line repeats.
const ID_CHARS_MAX: usize = 64;

/// Room for what stands around the result and the log, twice.
const AROUND_BYTES: usize = 1 << 10;

/// How an HTTP trigger's answer begins, up to its body.
const HTTP_OK: &str =
    "{\"statusCode\":200,\"headers\":{\"Content-Type\":\"application/json\"},\"body\":";

/// See the module's head.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Envelope<'j> {
    #[serde(rename = "Data", borrow)]
    data: Json<'j>,
    #[serde(rename = "Metadata", borrow)]
    metadata: Json<'j>,
}

impl<'j> Envelope<'j> {
    /// The envelope that a body is, if it is one.
    pub(super) fn of(body: &'j [u8]) -> Option<Self> {
        let envelope: Self = json_text::read(body).ok()?;
        let may_be = |part: &Json<'_>| matches!(part, Json::Object(_) | Json::Beyond);
        (may_be(&envelope.data) && may_be(&envelope.metadata)).then_some(envelope)
    }

    fn http(&self) -> Option<&Json<'j>> {
        let mut triggers = self.data.members()?.iter().map(|(_, trigger)| trigger);
        triggers.find(|trigger| trigger.get("Method").is_some() && trigger.get("Headers").is_some())
    }

    /// Whether an HTTP request triggered it.
    pub(super) fn is_http(&self) -> bool {
        self.http().is_some()
    }

    /// What it asks for, and with what.
    pub(super) fn read(&self) -> Result<(Asked, Bytes), Problem> {
        if self.data == Json::Beyond {
            return Err(Problem::invalid_option(format!(
                "member `Data`: expected a trigger as the host sends it, got more than {VALUES_MAX} values; send the data in \
                 base64, or as an HTTP trigger's body"
            )));
        }
        let Some(request) = self.http() else {
            let trigger = self.data.members().and_then(|members| members.first());
            return payload_of(trigger.map_or(&Json::Null, |(_, trigger)| trigger));
        };
        let body = request.get("Body").unwrap_or(&Json::Null);
        let media_type = media_type(request);
        if media_type == "application/json" {
            return payload_of(body);
        }
        let asked = query(request.get("Query"))?;
        let text = match body {
            Json::Null => "",
            Json::Text(text) => text,
            _ => {
                return Err(Problem::invalid_option(
                    "member `Body` of the HTTP trigger: expected text, as the host sends it; send the request as it came",
                ));
            }
        };
        let is_binary =
            media_type == "application/octet-stream" || media_type.starts_with("multipart/");
        if !is_binary {
            return Ok((asked, Bytes::copy_from_slice(text.as_bytes())));
        }
        let bytes = base64::decode(text.as_bytes()).map_err(|error| {
            Problem::invalid_option(format!(
                "member `Body` of {media_type}: expected base64, as the host sends what is no text: {error}; send the request \
                 as it came"
            ))
        })?;
        Ok((asked, bytes.into()))
    }
}

/// `Content-Type` of an HTTP trigger without its parameters, in lower case: header names are the caller's, values lists.
fn media_type(request: &Json<'_>) -> String {
    let headers = request.get("Headers").and_then(Json::members);
    let value = headers
        .into_iter()
        .flatten()
        .find(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        .and_then(|(_, value)| match value {
            Json::List(lines) => lines.first()?.text(),
            line => line.text(),
        });
    let essence = value
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    essence.trim().to_ascii_lowercase()
}

/// A payload of ours: an object, or the text of one, or (queues) the text of such a text.
fn payload_of(value: &Json<'_>) -> Result<(Asked, Bytes), Problem> {
    let payload = match value {
        Json::Text(text) => match serde_json::from_str::<String>(text) {
            Ok(inner) => Payload::read(inner.as_bytes()),
            Err(_) => Payload::read(text.as_bytes()),
        },
        Json::List(_) => Payload::read(b"[]"),
        // Its texts stay borrowed.
        value => Payload::of(value.clone()),
    }?;
    let asked = Asked {
        function: payload.function,
        options: payload.options,
    };
    Ok((asked, payload.input))
}

/// Options of an HTTP trigger's query: an object, or the text of one.
fn query(query: Option<&Json<'_>>) -> Result<Asked, Problem> {
    let parsed;
    let members: &Members<'_> = match query {
        None | Some(Json::Null) => return Ok(Asked::default()),
        Some(Json::Object(members)) => members,
        Some(Json::Text(text)) if text.is_empty() => return Ok(Asked::default()),
        Some(Json::Text(text)) => {
            parsed = serde_json::from_str::<Json<'_>>(text).map_err(|_| unread_query())?;
            parsed.members().ok_or_else(unread_query)?
        }
        Some(_) => return Err(unread_query()),
    };
    let mut asked = Asked::default();
    for (name, value) in members {
        let text = value.text().ok_or_else(unread_query)?;
        let CallOptions {
            level,
            backend,
            deadline_ms,
            priority,
        } = &mut asked.options;
        let slot = match &**name {
            "function" => {
                asked.function = Some(named(text)?);
                continue;
            }
            "level" => level,
            "backend" => backend,
            "deadline_ms" => deadline_ms,
            "priority" => priority,
            "code" | "clientId" => continue,
            _ => {
                return Err(Problem::invalid_option(format!(
                    "unknown option {:?}: expected one of function, level, backend, deadline_ms, priority; correct it or leave \
                     it out",
                    crate::fronts::plain_http::cut(name)
                )));
            }
        };
        *slot = Some(text.into());
    }
    Ok(asked)
}

fn unread_query() -> Problem {
    Problem::invalid_option(
        "member `Query` of the HTTP trigger: expected an object of texts, as the host sends it; send the request as it came",
    )
}

/// What the host is told.
pub(super) struct Told;

impl Told {
    /// Of a result.
    pub(super) fn answered(answer: &Answer, is_http: bool, id: &str) -> Vec<u8> {
        let log = format!(
            "{}: {} bytes in, {} bytes out, {}, verify {}",
            invocation(id),
            answer.bytes_in,
            answer.output.len(),
            answer.backend(),
            answer.verify()
        );
        let logs = serde_json::to_string(&[log]).unwrap_or_default();
        // Written by hand, in one piece: base64 that is looked through for what to escape costs more than all else here.
        let room = 2 * base64::encoded_len(answer.output.len()) + logs.len() + AROUND_BYTES;
        let mut told = Vec::with_capacity(room);
        let name: &[u8] = if is_http { b"res" } else { b"output" };
        told.extend_from_slice(b"{\"Outputs\":{\"");
        told.extend_from_slice(name);
        told.extend_from_slice(b"\":");
        let from = told.len();
        if is_http {
            told.extend_from_slice(HTTP_OK.as_bytes());
            payload::write_quoted(answer, &mut told);
            told.push(b'}');
        } else {
            told.push(b'"');
            base64::encode_onto(&answer.output, &mut told);
            told.push(b'"');
        }
        let value = from..told.len();
        told.extend_from_slice(b"},\"Logs\":");
        told.extend_from_slice(logs.as_bytes());
        told.extend_from_slice(b",\"ReturnValue\":");
        told.extend_from_within(value);
        told.push(b'}');
        told
    }

    /// Of a refusal, to an HTTP trigger.
    pub(super) fn refused(problem: &Problem, of: Invocation, mapped: Mapped, id: &str) -> Value {
        let log = format!("{}: {}", invocation(id), problem.detail());
        let mut headers = Map::new();
        headers.insert("Content-Type".to_owned(), PROBLEM_JSON.into());
        if let Some(seconds) = problem.retry_after() {
            headers.insert("Retry-After".to_owned(), seconds.to_string().into());
        }
        let response = json!({
            "statusCode": mapped.status,
            "headers": headers,
            "body": Value::Object(problem_json(problem, of, mapped)).to_string(),
        });
        json!({ "Outputs": { "res": response }, "Logs": [log], "ReturnValue": response })
    }
}

fn invocation(id: &str) -> String {
    let id: String = id.chars().take(ID_CHARS_MAX).collect();
    if id.is_empty() {
        "invocation".to_owned()
    } else {
        format!("invocation {id}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: Value) -> Result<(Asked, Bytes), String> {
        let body = json!({ "Data": data, "Metadata": {} }).to_string();
        let envelope = Envelope::of(body.as_bytes()).expect("an envelope");
        envelope
            .read()
            .map_err(|problem| problem.detail().to_owned())
    }

    fn http(media_type: &str, body: &str) -> Value {
        json!({ "req": {
            "Url": "http://x/api/f", "Method": "POST", "Query": { "level": "9" }, "Params": {},
            "Headers": { "content-type": [media_type] }, "Body": body,
        } })
    }

    #[test]
    fn a_trigger_gives_its_bytes_by_its_kind() {
        for data in [
            json!({ "item": { "data": "AAH/" } }),
            json!({ "item": r#"{"data":"AAH/"}"# }),
            json!({ "item": json!(r#"{"data":"AAH/"}"#).to_string() }),
            http("application/json; charset=utf-8", r#"{"data":"AAH/"}"#),
            http("application/octet-stream", "AAH/"),
        ] {
            let (_, input) = read(data.clone()).expect("read");
            assert_eq!(input, &[0, 1, 255][..], "{data}");
        }
        let (asked, input) = read(http("text/plain", "AAH/")).expect("read");
        assert_eq!(input, "AAH/");
        assert_eq!(asked.options.level.as_deref(), Some("9"));
    }

    #[test]
    fn what_is_not_meant_is_refused() {
        for (data, word) in [
            (json!({}), "payload"),
            (json!({ "item": "plain text" }), "payload"),
            (http("application/octet-stream", "?"), "base64"),
            (http("application/json", "{}"), "data"),
        ] {
            let refused = read(data.clone()).expect_err("refused");
            assert!(refused.contains(word), "{data}: {refused}");
        }
        assert!(Envelope::of(br#"{"Data":{},"Metadata":{},"More":1}"#).is_none());
        assert!(Envelope::of(b"[]").is_none());
    }
}
