//! Payloads as callers write them, and as they must not.

use axum::http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::error::ProblemKind;
use crate::fronts::call::Hold;
use crate::http::answer::{FAAM_BACKEND_REASON, FAAM_VERIFY};
use crate::http::options::FAAM_BACKEND;

fn read(json: &str) -> Result<Payload, String> {
    Payload::read(json.as_bytes()).map_err(|problem| {
        assert_eq!(problem.kind(), ProblemKind::InvalidOption);
        assert!(
            problem.detail().chars().count() < 1000,
            "{}",
            problem.detail()
        );
        problem.detail().to_owned()
    })
}

#[track_caller]
fn refused(json: &str, why: &str) {
    let said = read(json).expect_err(json);
    assert!(said.contains(why), "{json}: {said}");
}

fn answer(output: &[u8]) -> Answer {
    let mut headers = HeaderMap::new();
    headers.insert(FAAM_BACKEND, HeaderValue::from_static("fpga0.1;simulated"));
    headers.insert(FAAM_VERIFY, HeaderValue::from_static("ok"));
    Answer {
        output: Bytes::copy_from_slice(output),
        bytes_in: 5,
        headers,
        hold: Hold::default(),
    }
}

fn in_quotes(answer: &Answer) -> Vec<u8> {
    let mut json = Vec::new();
    write_quoted(answer, &mut json);
    json
}

#[test]
fn options_come_as_numbers_or_as_text_and_mean_the_same() {
    let plain = read(r#"{"data":"aGVsbG8="}"#).expect("a payload");
    assert_eq!((&plain.input[..], plain.function), (&b"hello"[..], None));
    assert_eq!(plain.options, CallOptions::default());
    let text = |text: &str| Some(text.into());
    let all = CallOptions {
        level: text("6"),
        backend: text("cpu"),
        deadline_ms: text("100"),
        priority: text("0"),
    };
    for json in [
        r#"{"data":"aGVsbG8=","level":6,"backend":"cpu","deadline_ms":100,"priority":0,"kernel":"gunzip"}"#,
        r#" { "priority" : "0", "kernel" : "gun\u007aip", "level" : "6", "deadline_ms" : "100", "backend" : "c\u0070u", "data" : "aGVs\u0062G8=" } "#,
    ] {
        let payload = read(json).expect(json);
        assert_eq!(
            (payload.options, &payload.input[..]),
            (all.clone(), &b"hello"[..])
        );
        assert_eq!(payload.function.map(Function::name), Some("gunzip"));
    }
    // `null` is how some clients leave a member out. PHP writes a slash with a backslash.
    let none = read(r#"{"data":"","level":null,"backend":null,"kernel":null}"#).expect("a payload");
    assert_eq!(
        (none.options, none.input.len()),
        (CallOptions::default(), 0)
    );
    assert_eq!(
        read(r#"{"data":"\/\/\/\/"}"#).expect("a payload").input[..],
        [0xff; 3]
    );
}

/// A choice of variants would keep all of it first, at many times its length: the error is at its first byte.
#[test]
fn an_option_that_is_no_scalar_is_refused_where_it_begins() {
    let nested = format!(r#"{{"data":"","level":[{}"#, "[0],".repeat(100_000));
    refused(&nested, "column 20");
    refused(r#"{"data":"","level":{"a":1}}"#, "a whole number or text");
    refused(r#"{"data":"","priority":-1}"#, "a whole number or text");
}

#[test]
fn what_is_no_payload_is_refused_by_what_is_wrong_with_it() {
    refused("", "EOF");
    refused("null", "expected struct");
    refused("[]", "expected one JSON object");
    refused(r#"["aGVsbG8="]"#, "expected one JSON object");
    refused("7", "expected");
    refused("{}", "missing field `data`");
    refused(r#"{"data":"aGVsbG8="} {}"#, "trailing");
    refused(r#"{"data":"aGVsbG8=","data":""}"#, "duplicate field `data`");
    refused(
        r#"{"data":"","level":1,"level":2}"#,
        "duplicate field `level`",
    );
    refused(r#"{"data":"","lvl":1}"#, "unknown field `lvl`");
    refused(r#"{"data":7}"#, "invalid type");
    refused(r#"{"data":null}"#, "a string in base64");
    refused(r#"{"data":[65,65]}"#, "a string in base64");
    refused(r#"{"data":"","kernel":"rar"}"#, "gunzip");
    refused(r#"{"data":"","kernel":6}"#, "invalid type");
    for level in [
        "-1",
        "6.5",
        "1e3",
        "18446744073709551616",
        "1e999",
        "true",
        "[6]",
        "{}",
    ] {
        let json = format!(r#"{{"data":"","level":{level}}}"#);
        read(&json).expect_err(&json);
    }
    for data in [
        "a",
        "aGVsbG8",
        "aGVsbG8= ",
        "aGVs\\nbG8=",
        "aGVsbG9=",
        "a-_b",
        "\u{e4}",
        "\\ud800",
    ] {
        let json = format!(r#"{{"data":"{data}"}}"#);
        read(&json).expect_err(&json);
    }
    assert!(Payload::read(b"{\"data\":\"\xff\xfe\"}").is_err());
    assert!(Payload::read(b"{\"data\":\"\",\"level\":\"\xff\"}").is_err());
    let deep = "[".repeat(100_000);
    refused(&format!(r#"{{"data":"","level":{deep}"#), "");
    refused(
        &format!(
            r#"{{"data":"","level":{}6{}}}"#,
            "[".repeat(100),
            "]".repeat(100)
        ),
        "level",
    );
    let long = format!(r#"{{"data":"","{}":1}}"#, "x".repeat(100_000));
    refused(&long, "unknown field");
}

#[test]
fn an_answer_is_one_object_and_says_where_it_was_made() {
    let mut answer = answer(b"\x00\xff\xfe");
    let told: Value = serde_json::from_slice(&write_bytes(&answer)).expect("JSON");
    let expected = json!({
        "data": "AP/+", "bytes_in": 5, "bytes_out": 3, "backend": "fpga0.1;simulated", "verify": "ok",
    });
    assert_eq!(told, expected);
    let quoted: String = serde_json::from_slice(&in_quotes(&answer)).expect("a text in JSON");
    assert_eq!(quoted.as_bytes(), write_bytes(&answer));
    let reason = HeaderValue::from_static("no-card");
    answer.headers.insert(FAAM_BACKEND_REASON, reason);
    let told: Value = serde_json::from_slice(&write_bytes(&answer)).expect("JSON");
    assert_eq!(told["backend_reason"], "no-card");
    // A header's value may have quotes.
    let odd = HeaderValue::from_static("a \"b\" \\ c");
    answer.headers.insert(FAAM_BACKEND_REASON, odd);
    let quoted: String = serde_json::from_slice(&in_quotes(&answer)).expect("a text in JSON");
    assert_eq!(quoted.as_bytes(), write_bytes(&answer));
    for json in [write_bytes(&answer), in_quotes(&answer)] {
        assert_eq!(json.len(), json.capacity(), "written without growth");
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(data in proptest::collection::vec(any::<u8>(), 0..4000)) {
        let told: Value = serde_json::from_slice(&write_bytes(&answer(&data))).expect("JSON");
        let quoted: String = serde_json::from_slice(&in_quotes(&answer(&data))).expect("a text");
        prop_assert_eq!(quoted.as_bytes(), write_bytes(&answer(&data)));
        let json = json!({ "data": told["data"] }).to_string();
        prop_assert_eq!(&read(&json).expect("a payload").input[..], &data[..]);
    }

    #[test]
    fn nothing_panics(json in proptest::collection::vec(any::<u8>(), 0..200)) {
        super::super::fuzzing::payload(&json);
    }
}
