//! CloudEvents, with the Rust SDK and npm `cloudevents` as senders and as receivers.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use axum::http::{HeaderValue, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloudevents::binding::http::{Builder, Serializer};
use cloudevents::message::{BinaryDeserializer, Result as SdkResult};
use cloudevents::{AttributesReader, Data, Event, EventBuilder, EventBuilderV10};
use faam_gateway::fronts::body_room::BodyRoom;
use faam_gateway::fronts::front::Backend;
use faam_gateway::fronts::knative::Knative;
use serde_json::{Value, json};

use crate::carried::Carried;
use crate::exchange::{Told, gunzip, send};

const TEXT: &str = "hello hello hello hello hello hello hello hello";
const STRUCTURED: &[u8] = b"application/cloudevents+json";
const BATCH: &[u8] = b"application/cloudevents-batch+json";

/// A request of the SDK's making: headers, and a body.
#[derive(Default)]
struct Written {
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Builder<Written> for Written {
    fn header(&mut self, name: &str, value: HeaderValue) {
        self.headers
            .push((name.to_owned(), value.as_bytes().to_vec()));
    }

    fn body(&mut self, bytes: Vec<u8>) -> SdkResult<Written> {
        self.body = bytes;
        self.finish()
    }

    fn finish(&mut self) -> SdkResult<Written> {
        Ok(std::mem::take(self))
    }
}

fn event(id: &str) -> EventBuilderV10 {
    EventBuilderV10::new()
        .id(id)
        .source("https://shop.example/orders")
        .ty("example.order.placed")
        .extension("partitionkey", "42")
        .extension(
            "traceparent",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
}

fn post(front: &Carried, target: &str, written: &Written) -> Told {
    let headers: Vec<(&str, &[u8])> = written
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_slice()))
        .collect();
    send(front.address(), "POST", target, &headers, &written.body)
}

fn binary(front: &Carried, event: Event) -> Told {
    let written =
        BinaryDeserializer::deserialize_binary(event, Serializer::new(Written::default()));
    post(front, "/", &written.expect("written"))
}

/// An answer as the SDK reads it.
fn received(told: Told) -> Event {
    let mut response = Response::builder().status(told.status);
    for (name, value) in &told.headers {
        response = response.header(name, value);
    }
    let response = response.body(told.body).expect("a response");
    Event::try_from(response).expect("an event")
}

fn text_of(event: &Event, name: &str) -> String {
    event
        .extension(name)
        .unwrap_or_else(|| panic!("no {name} in {event}"))
        .to_string()
}

fn bytes_of(mut event: Event) -> Vec<u8> {
    match event.take_data() {
        (_, _, Some(Data::Binary(data))) => data,
        other => panic!("no binary data: {other:?}"),
    }
}

#[test]
fn an_event_of_the_rust_sdk_in_binary_mode_is_answered_in_binary_mode() {
    let front = Carried::start(Knative::new);
    let build = || {
        let builder = event("1").subject("orders/1").data("text/plain", TEXT);
        builder.build().expect("an event")
    };
    let told = binary(&front, build());
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(told.header("content-type"), Some("application/gzip"));
    let first = received(told);
    assert_eq!(first.ty(), "faam.compressed");
    assert_eq!(first.source().to_string(), "/faam/functions/gzip");
    assert_eq!(first.subject(), Some("orders/1"));
    assert_eq!(text_of(&first, "faamcauseid"), "1");
    assert_eq!(
        text_of(&first, "faamcausesource"),
        "https://shop.example/orders"
    );
    assert_eq!(text_of(&first, "faambackend"), "cpu");
    assert_eq!(text_of(&first, "partitionkey"), "42");
    assert!(text_of(&first, "traceparent").starts_with("00-0af7"));
    // A request that comes twice has answers that are each other's duplicates; another one has not.
    let again = received(binary(&front, build()));
    assert_eq!((again.id(), again.source()), (first.id(), first.source()));
    let other = received(binary(&front, event("2").build().expect("an event")));
    assert_ne!(other.id(), first.id());
    assert_eq!(gunzip(&bytes_of(first)), TEXT.as_bytes());
}

#[test]
fn an_event_of_the_rust_sdk_in_structured_mode_is_answered_in_structured_mode() {
    let front = Carried::start(Knative::new);
    let data = json!({ "order": 1, "note": "caf\u{e9} \u{20ac}" });
    let sent = event("s")
        .subject("Euro \u{20ac}")
        .extension("faamlevel", 9)
        .data("application/json", data.clone())
        .build()
        .expect("an event");
    let written = Written {
        headers: vec![("Content-Type".to_owned(), STRUCTURED.to_vec())],
        body: serde_json::to_vec(&sent).expect("JSON"),
    };
    let told = post(&front, "/", &written);
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(
        told.header("content-type"),
        Some("application/cloudevents+json; charset=utf-8")
    );
    let answer: Event = serde_json::from_slice(&told.body).expect("an event");
    assert_eq!(answer.subject(), Some("Euro \u{20ac}"));
    assert_eq!(answer.datacontenttype(), Some("application/gzip"));
    let plain: Value = serde_json::from_slice(&gunzip(&bytes_of(answer))).expect("JSON");
    assert_eq!(plain, data);
}

#[test]
fn a_batch_of_the_rust_sdk_is_answered_event_by_event_and_a_duplicate_once() {
    let front = Carried::start(Knative::new);
    let mut events: Vec<Value> = ["1", "2", "1", "3"]
        .into_iter()
        .map(|id| {
            let event = event(id).data("text/plain", format!("{TEXT} {id}"));
            serde_json::to_value(event.build().expect("an event")).expect("JSON")
        })
        .collect();
    // Not gzip, and not an event.
    events[3]["faamfunction"] = "gunzip".into();
    events.push(json!({ "specversion": "1.0", "id": "4" }));
    let written = Written {
        headers: vec![("Content-Type".to_owned(), BATCH.to_vec())],
        body: serde_json::to_vec(&events).expect("JSON"),
    };
    let told = post(&front, "/", &written);
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(
        told.header("content-type"),
        Some("application/cloudevents-batch+json; charset=utf-8")
    );
    let answers: Vec<Event> = serde_json::from_slice(&told.body).expect("a batch of events");
    let types: Vec<_> = answers.iter().map(AttributesReader::ty).collect();
    assert_eq!(
        types,
        [
            "faam.compressed",
            "faam.compressed",
            "faam.refused",
            "faam.refused"
        ]
    );
    let told = told.json();
    assert_eq!(told[2]["data"]["type"], "/problems/corrupt-input");
    assert_eq!(told[2]["faamcauseid"], "3");
    assert_eq!(told[2]["source"], "/faam/refusals");
    assert_eq!(told[3]["data"]["type"], "/problems/invalid-option");
    assert_ne!(told[0]["faaminvocation"], told[1]["faaminvocation"]);
    for (answer, id) in answers.into_iter().take(2).zip(["1", "2"]) {
        assert_eq!(text_of(&answer, "faamcauseid"), id);
        assert_eq!(gunzip(&bytes_of(answer)), format!("{TEXT} {id}").as_bytes());
    }
}

#[test]
fn batches_are_bounded_and_may_be_empty() {
    let front = Carried::start(Knative::new);
    let batch = |body: &[u8]| {
        send(
            front.address(),
            "POST",
            "/",
            &[("Content-Type", BATCH)],
            body,
        )
    };
    let empty = batch(b"[]");
    assert_eq!((empty.status, &*empty.text()), (200, "[]"));
    let many = format!("[{}]", ["{}"; 257].join(","));
    batch(many.as_bytes()).check_problem(413, "too-large", &["256"]);
    batch(b"{}").check_problem(400, "invalid-option", &["array"]);
    batch(b"[{]").check_problem(400, "invalid-option", &["JSON"]);
}

#[test]
fn header_values_are_taken_percent_encoded_and_raw_and_written_encoded() {
    let front = Carried::start(Knative::new);
    for (sent, told) in [
        (
            &b"Euro%20%E2%82%AC%20%F0%9F%98%80"[..],
            "Euro%20%E2%82%AC%20%F0%9F%98%80",
        ),
        (
            "Euro \u{20ac} \u{1f600}".as_bytes(),
            "Euro%20%E2%82%AC%20%F0%9F%98%80",
        ),
        (b"caf\xe9", "caf%C3%A9"),
        (b"%2541", "%2541"),
        (b"\"a b\"", "a%20b"),
    ] {
        let answer = raw(&front, &[("ce-subject", sent)]);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("ce-subject"), Some(told));
    }
    raw(&front, &[("ce-subject", b"%C0%A0")]).check_problem(400, "invalid-option", &["UTF-8"]);
}

fn raw(front: &Carried, more: &[(&str, &[u8])]) -> Told {
    let mut headers: Vec<(&str, &[u8])> = vec![
        ("ce-specversion", b"1.0"),
        ("ce-id", b"1"),
        ("ce-source", b"/tests"),
        ("ce-type", b"test"),
    ];
    headers.retain(|(name, _)| more.iter().all(|(other, _)| other != name));
    headers.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    send(front.address(), "POST", "/", &headers, TEXT.as_bytes())
}

#[test]
fn what_is_no_event_is_refused_in_words() {
    let front = Carried::start(Knative::new);
    for (name, value, word) in [
        ("ce-id", &b""[..], "`id` is missing"),
        ("ce-source", b"", "`source` is missing"),
        ("ce-type", b"", "`type` is missing"),
        ("ce-specversion", b"", "`specversion` is missing"),
        ("ce-specversion", b"0.3", "expected 1.0"),
        ("ce-datacontenttype", b"text/plain", "Content-Type"),
        ("ce-time", b"yesterday", "RFC 3339"),
        ("ce-under_score", b"x", "lower-case"),
        ("ce-data", b"x", "lower-case"),
        ("ce-faamlevel", b"99", "99"),
        ("ce-faamlevle", b"9", "faamlevel"),
        ("ce-faamfunction", b"rar", "gunzip"),
    ] {
        raw(&front, &[(name, value)]).check_problem(400, "invalid-option", &[word]);
    }
    let avro = [("Content-Type", &b"application/cloudevents+avro"[..])];
    let told = send(front.address(), "POST", "/", &avro, b"x");
    told.check_problem(415, "unknown-format", &["cloudevents+json"]);
}

#[test]
fn options_come_by_attribute_before_the_query() {
    let front = Carried::start(Knative::new);
    let body = json!({
        "specversion": "1.0", "id": "1", "source": "/tests", "type": "test", "faamfunction": "zstd",
        "faamlevel": 3,
        "data_base64": STANDARD.encode(TEXT), "dataref": "https://x.example/1", "sequence": "7", "other": true,
    });
    let headers = [("Content-Type", STRUCTURED)];
    let told = send(
        front.address(),
        "POST",
        "/?function=gzip&level=99",
        &headers,
        body.to_string().as_bytes(),
    );
    let told = told.json();
    assert_eq!(told["source"], "/faam/functions/zstd");
    assert_eq!(told["other"], true);
    assert_eq!(
        (&told["dataref"], &told["sequence"]),
        (&Value::Null, &Value::Null)
    );
    let data = STANDARD.decode(told["data_base64"].as_str().expect("data"));
    assert_eq!(data.expect("base64")[..4], [0x28, 0xb5, 0x2f, 0xfd]);
}

#[test]
fn a_webhook_is_allowed_by_handshake() {
    let front = Carried::start(Knative::new);
    let ask = |headers: &[(&str, &[u8])]| send(front.address(), "OPTIONS", "/", headers, b"");
    let origin = ("WebHook-Request-Origin", &b"eventemitter.example.com"[..]);
    let told = ask(&[origin, ("WebHook-Request-Rate", b"120")]);
    assert_eq!(
        told.header("webhook-allowed-origin"),
        Some("eventemitter.example.com")
    );
    assert_eq!(told.header("webhook-allowed-rate"), Some("*"));
    assert!(
        told.header("allow")
            .is_some_and(|allow| allow.contains("POST"))
    );
    ask(&[origin, ("WebHook-Request-Rate", b"0")]).check_problem(400, "invalid-option", &["Rate"]);
    assert_eq!(ask(&[]).header("webhook-allowed-origin"), None);
}

#[test]
fn npm_cloudevents_sends_and_receives_in_every_mode() {
    let front = Carried::start(Knative::new);
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools");
    let node = tools.join("bin/node");
    assert!(
        node.exists(),
        "{} is not there: `make test` puts it there",
        node.display()
    );
    let output = Command::new(node)
        .arg(tests.join("fronts/cloudevents.mjs"))
        .arg(&tools)
        .arg(format!("http://{}/", front.address()))
        .stdin(Stdio::null())
        .output()
        .expect("node runs");
    let told = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{errors}");
    assert_eq!(told.lines().last(), Some("10 of 10 held"), "{told}");
}

#[test]
fn answers_of_a_batch_have_room_of_their_own_and_who_finds_none_is_refused_alone() {
    // For the batch, two answers and what they are put together to, and a refusal.
    let room = Arc::new(BodyRoom::of(100 << 10));
    let front = Carried::start(move |backend| Knative::new(Backend { room, ..backend }));
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(10_000)
    .collect();
    let batch: Vec<Value> = (0..3)
        .map(|id| {
            json!({
                "specversion": "1.0", "id": id.to_string(), "source": "/s", "type": "t",
                "data_base64": STANDARD.encode(&noise),
            })
        })
        .collect();
    let body = Value::from(batch).to_string();
    let told = send(
        front.address(),
        "POST",
        "/",
        &[("Content-Type", BATCH)],
        body.as_bytes(),
    );
    let answers: Vec<Value> = serde_json::from_slice(&told.body).expect("a batch");
    let kinds: Vec<_> = answers.iter().map(|answer| &answer["type"]).collect();
    assert_eq!(
        kinds,
        ["faam.compressed", "faam.compressed", "faam.refused"],
        "{}",
        told.status
    );
    let refusal = answers[2].to_string();
    assert!(refusal.contains("saturated"), "{refusal}");
    let text = answers[1]["data_base64"].as_str().expect("data");
    assert_eq!(gunzip(&STANDARD.decode(text).expect("base64")), noise);
}
