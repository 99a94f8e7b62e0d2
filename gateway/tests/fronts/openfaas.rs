//! OpenFaaS: what of-watchdog passes on in mode http, its side played by the test.

use std::io::{Read, Write};
use std::net::TcpStream;

use faam_gateway::fronts::openfaas::OpenFaas;

use crate::carried::Carried;
use crate::container::Container;
use crate::exchange::{Told, gunzip, send};

const TEXT: &[u8] = b"hello hello hello hello hello hello hello hello";

fn start(max_inflight: usize) -> Carried {
    Carried::start(move |backend| OpenFaas::new(backend, max_inflight))
}

/// What of-watchdog makes of a caller's request: the same method, path, query, headers and body.
fn pass_on(front: &Carried, target: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Told {
    let mut passed: Vec<(&str, &[u8])> = vec![
        ("X-Call-Id", b"7f0c-call"),
        ("X-Forwarded-Host", b"gateway:8080"),
        ("X-Start-Time", b"1796019600000000000"),
        ("User-Agent", b"openfaas-gateway"),
    ];
    passed.extend_from_slice(headers);
    send(front.address(), "POST", target, &passed, body)
}

#[test]
fn a_call_is_binary_in_and_out_and_keeps_its_name() {
    let front = start(0);
    let binary: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let told = pass_on(&front, "/", &[], &binary);
    told.check_gzip_of(&binary);
    assert_eq!(told.header("x-call-id"), Some("7f0c-call"));
    let seconds: f64 = told
        .header("x-duration-seconds")
        .and_then(|seconds| seconds.parse().ok())
        .expect("a duration");
    assert!(seconds > 0.0);
    assert_eq!(told.header("faam-backend"), Some("cpu"));
    let back = pass_on(&front, "/gunzip", &[], &told.body);
    assert_eq!((back.status, back.body), (200, binary));
}

#[test]
fn options_come_by_query_and_header() {
    let front = start(0);
    let told = pass_on(&front, "/?function=gzip&level=9", &[], TEXT);
    told.check_gzip_of(TEXT);
    assert_eq!(told.header("faam-level"), Some("9"));
    let told = pass_on(
        &front,
        "/",
        &[("Faam-Function", b"zstd"), ("Faam-Level", b"3")],
        TEXT,
    );
    assert_eq!(
        (told.status, &told.body[..4]),
        (200, &[0x28, 0xb5, 0x2f, 0xfd][..])
    );
    pass_on(&front, "/?level=99", &[], TEXT).check_problem(400, "invalid-option", &["99"]);
    pass_on(&front, "/?levle=9", &[], TEXT).check_problem(400, "invalid-option", &["levle"]);
    pass_on(&front, "/nothing", &[], TEXT).check_problem(404, "not-found", &["gunzip"]);
    let told = pass_on(&front, "/gunzip", &[], TEXT);
    told.check_problem(422, "corrupt-input", &[]);
    assert_eq!(told.header("x-call-id"), Some("7f0c-call"));
}

#[test]
fn health_and_readiness_are_the_watchdogs_own() {
    let front = start(1);
    let get = |path: &str| send(front.address(), "GET", path, &[], b"");
    let healthy = get("/_/health");
    assert_eq!((healthy.status, &*healthy.text()), (200, "OK"));
    assert_eq!(get("/_/ready").status, 200);
    let put = send(front.address(), "DELETE", "/_/health", &[], b"");
    assert_eq!(
        (put.status, put.header("allow")),
        (405, Some("POST, PUT, GET"))
    );
}

#[test]
fn max_inflight_refuses_the_next_call_and_readiness() {
    let front = start(1);
    // A call whose body has not ended is in flight.
    let mut begun = TcpStream::connect(front.address()).expect("it listens");
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        TEXT.len()
    );
    begun.write_all(head.as_bytes()).expect("sent");
    // Its body is asked for once the call has begun.
    let mut asked = [0; 25];
    begun.read_exact(&mut asked).expect("an answer");
    assert!(asked.starts_with(b"HTTP/1.1 100"), "{asked:?}");
    let ready = send(front.address(), "GET", "/_/ready", &[], b"");
    ready.check_problem(429, "too-many-in-flight", &["max_inflight"]);
    let told = pass_on(&front, "/", &[], TEXT);
    told.check_problem(429, "too-many-in-flight", &["max_inflight"]);
    assert_eq!(told.header("retry-after"), Some("1"));
    begun.write_all(TEXT).expect("sent");
    let mut answer = Vec::new();
    begun.read_to_end(&mut answer).expect("an answer");
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    assert_eq!(gunzip(&answer[end.expect("a head") + 4..]), TEXT);
    pass_on(&front, "/", &[], TEXT).check_gzip_of(TEXT);
    assert_eq!(
        send(front.address(), "GET", "/_/ready", &[], b"").status,
        200
    );
}

#[test]
fn the_watchdogs_variables_say_what_the_process_is_and_where_it_listens() {
    let variables = [
        ("fprocess", "faam action-proxy"),
        ("upstream_url", "http://127.0.0.1:0"),
        ("max_inflight", "4"),
    ];
    let container = Container::start_where(&[], &variables);
    let told = send(
        container.address,
        "POST",
        "/?level=9",
        &[("X-Call-Id", b"c")],
        TEXT,
    );
    told.check_gzip_of(TEXT);
    assert_eq!(told.header("x-call-id"), Some("c"));
    assert_eq!(
        send(container.address, "GET", "/_/ready", &[], b"").status,
        200
    );
}
