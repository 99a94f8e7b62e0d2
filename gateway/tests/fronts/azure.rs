//! Azure Functions: what the host sends a custom handler, and what it makes of the answer, its side played by the test.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use faam_gateway::fronts::azure::Azure;
use serde_json::{Value, json};

use crate::carried::Carried;
use crate::container::Container;
use crate::exchange::{Told, gunzip, send};

const TEXT: &[u8] = b"hello hello hello hello hello hello hello hello";
const ID: &str = "83a33220-a921-460a-bec0-b3f043dcf1ff";

/// What the host adds to each request.
fn host(front: &Carried, target: &str, media_type: &str, body: &[u8]) -> Told {
    let headers: [(&str, &[u8]); 4] = [
        ("X-Azure-Functions-HostVersion", b"4.24.4.4"),
        ("X-Azure-Functions-InvocationId", ID.as_bytes()),
        ("User-Agent", b"Azure-Functions-Host/4.24.4.4"),
        ("Content-Type", media_type.as_bytes()),
    ];
    let told = send(front.address(), "POST", target, &headers, body);
    assert_eq!(told.header("x-azure-functions-invocationid"), Some(ID));
    told
}

fn envelope(front: &Carried, function: &str, data: &Value) -> Told {
    let metadata = json!({ "sys": { "MethodName": function, "UtcNow": "2026-11-30T06:00:00Z" } });
    let body = json!({ "Data": data, "Metadata": metadata }).to_string();
    let target = format!("/{function}");
    host(
        front,
        &target,
        "application/json; charset=utf-8",
        body.as_bytes(),
    )
}

fn trigger(media_type: &str, query: Value, body: &str) -> Value {
    json!({ "req": {
        "Url": "https://app.azurewebsites.net/api/pack", "Method": "POST", "Query": query,
        "Headers": { "Content-Type": [media_type] }, "Params": {}, "Identities": [], "Body": body,
    } })
}

/// What the host makes of the answer to an HTTP trigger.
#[track_caller]
fn response(told: &Told) -> (u64, Value) {
    assert_eq!(told.status, 200, "{}", told.text());
    let told = told.json();
    let response = &told["Outputs"]["res"];
    assert_eq!(response, &told["ReturnValue"]);
    let log = told["Logs"][0].as_str().expect("a line");
    assert!(log.contains(ID), "{log}");
    let body = response["body"].as_str().expect("a body");
    let status = response["statusCode"].as_u64().expect("a status");
    (status, serde_json::from_str(body).expect("JSON"))
}

#[test]
fn an_http_trigger_is_answered_in_outputs() {
    let front = Carried::start(Azure::new);
    let data = STANDARD.encode(TEXT);
    let payload = json!({ "data": data, "level": 9 }).to_string();
    for (media_type, query, body) in [
        ("application/json", json!({}), &*payload),
        (
            "application/octet-stream",
            json!({ "level": "9", "code": "key" }),
            &data,
        ),
        (
            "text/plain",
            json!("{}"),
            str::from_utf8(TEXT).expect("text"),
        ),
    ] {
        let told = envelope(&front, "pack", &trigger(media_type, query, body));
        let (status, answer) = response(&told);
        assert_eq!(status, 200, "{answer}");
        let packed = STANDARD.decode(answer["data"].as_str().expect("data"));
        assert_eq!(gunzip(&packed.expect("base64")), TEXT, "{media_type}");
        assert_eq!(answer["bytes_in"], TEXT.len());
        assert_eq!(answer["backend"], "cpu");
    }
}

#[test]
fn an_http_trigger_that_is_refused_has_a_status_of_its_own() {
    let front = Carried::start(Azure::new);
    for (data, status, word) in [
        (
            trigger("application/json", json!({}), r#"{"data":"?"}"#),
            400,
            "base64",
        ),
        (
            trigger("text/plain", json!({ "level": "99" }), "x"),
            400,
            "99",
        ),
        (
            trigger("text/plain", json!({ "levle": "9" }), "x"),
            400,
            "levle",
        ),
    ] {
        let (told, problem) = response(&envelope(&front, "pack", &data));
        assert_eq!(told, status, "{problem}");
        assert!(problem.to_string().contains(word), "{problem}");
    }
    let corrupt = trigger("text/plain", json!({}), "no gzip");
    let (status, problem) = response(&envelope(&front, "gunzip", &corrupt));
    assert_eq!(
        (status, &problem["type"]),
        (422, &json!("/problems/corrupt-input"))
    );
}

#[test]
fn any_other_trigger_is_answered_by_value_and_fails_by_status() {
    let front = Carried::start(Azure::new);
    let payload = json!({ "data": STANDARD.encode(TEXT) });
    for item in [payload.clone(), json!(payload.to_string())] {
        let told = envelope(&front, "pack", &json!({ "myQueueItem": item }));
        assert_eq!(told.status, 200, "{}", told.text());
        let told = told.json();
        // The host turns base64 back into bytes for the binding that takes it.
        let packed = STANDARD.decode(told["ReturnValue"].as_str().expect("text"));
        assert_eq!(gunzip(&packed.expect("base64")), TEXT);
        assert_eq!(told["Outputs"]["output"], told["ReturnValue"]);
    }
    let told = envelope(&front, "pack", &json!({ "myQueueItem": "plain" }));
    told.check_problem(400, "invalid-option", &["base64"]);
}

#[test]
fn a_forwarded_request_is_plain_http() {
    let front = Carried::start(Azure::new);
    let binary: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let told = host(
        &front,
        "/api/gzip?code=key&level=9",
        "application/octet-stream",
        &binary,
    );
    told.check_gzip_of(&binary);
    assert_eq!(told.header("faam-level"), Some("9"));
    // JSON that is no envelope is data.
    host(&front, "/api/pack", "application/json", br#"{"a":1}"#).check_gzip_of(br#"{"a":1}"#);
    host(&front, "/api/pack?levle=9", "text/plain", b"x").check_problem(
        400,
        "invalid-option",
        &["levle"],
    );
    // The host asks until something answers.
    assert_eq!(send(front.address(), "GET", "/", &[], b"").status, 200);
    let told = send(front.address(), "GET", "/api/pack", &[], b"");
    told.check_problem(405, "method", &["POST"]);
    assert_eq!(told.header("allow"), Some("POST, PUT"));
}

#[test]
fn what_is_beyond_an_http_trigger_is_told_with_whose_limit_it_is() {
    let front = Carried::start(Azure::new);
    let told = announce(&front, 104_857_601);
    told.check_problem(413, "too-large", &["104857601", "104857600", "Azure"]);
}

#[test]
fn the_hosts_variable_says_what_the_process_is_and_where_it_listens() {
    let container = Container::start_where(&[], &[("FUNCTIONS_CUSTOMHANDLER_PORT", "0")]);
    let headers = [("Content-Type", &b"application/json"[..])];
    let body = json!({ "Data": { "item": { "data": STANDARD.encode(TEXT) } }, "Metadata": {} });
    let told = send(
        container.address,
        "POST",
        "/pack",
        &headers,
        body.to_string().as_bytes(),
    );
    assert_eq!(told.status, 200, "{}", told.text());
    let packed = STANDARD.decode(told.json()["ReturnValue"].as_str().expect("text"));
    assert_eq!(gunzip(&packed.expect("base64")), TEXT);
}

/// A request that announces more than it sends.
fn announce(front: &Carried, length: usize) -> Told {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(front.address()).expect("it listens");
    let head = format!(
        "POST /api/pack HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    Told::read(answer).expect("an answer")
}
