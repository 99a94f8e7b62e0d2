//! Connections: how they are shared, and what ends them.

use std::time::{Duration, Instant};

use faam_gateway::http::limits::HttpLimits;

use crate::samples::{decode_one_member, gzip, text};
use crate::server::{KEY, SOON, Server, check_problem};
use crate::wire::{Wire, request};

#[test]
fn a_body_that_pauses_is_too_slow() {
    let server = Server::start_with(|config| config.limits.body_idle = Duration::from_millis(30));
    let mut wire = server.begin("/v1/compress", &[], b"hello");
    let answer = wire.answer();
    check_problem(&answer, 408, "too-slow", &["5 bytes"]);
    assert_eq!(answer.header("connection"), Some("close"));
    server.check_at_rest();
}

#[test]
fn a_body_that_trickles_is_too_slow() {
    let server = Server::start_with(|config| {
        config.limits.body_grace = Duration::from_millis(100);
        config.limits.body_bytes_per_second_min = 1 << 30;
    });
    let mut wire = server.begin("/v1/compress", &[], b"h");
    // Never a pause of the idle limit, 30 s, and yet it ends.
    let until = Instant::now() + SOON;
    while wire.chunk(b"h").is_ok() && server.gateway.admission().in_flight() > 0 {
        assert!(Instant::now() < until, "still taken");
        std::thread::yield_now();
    }
    check_problem(&wire.answer(), 408, "too-slow", &["on average"]);
}

#[test]
fn a_silent_connection_ends() {
    let limits = HttpLimits {
        header_read: Duration::from_millis(50),
        ..HttpLimits::default()
    };
    let server = Server::start_with(|config| config.limits = limits);
    for opening in [
        &b""[..],
        b"P",
        b"PRI * HTTP/2.0\r\n",
        b"POST /v1/compress HTTP/1.1\r\nHost: x\r\n",
    ] {
        let mut wire = Wire::connect(server.address());
        wire.send(opening).expect("sent");
        assert!(wire.is_closed(), "{opening:?}");
    }
}

#[test]
fn headers_are_bounded() {
    let server = Server::start();
    let large = "x".repeat(40 << 10);
    let answer = request(
        server.address(),
        "GET",
        "/healthz",
        &[("X-Large", &large)],
        b"",
    );
    check_problem(&answer, 431, "headers", &["32768"]);
}

#[test]
fn http_2_is_spoken_as_well() {
    let server = Server::start();
    let url = format!("http://{}/v1/compress", server.address());
    let data = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(data.path(), text(1 << 20)).expect("written");
    let output = std::process::Command::new("curl")
        .args([
            "-sS",
            "--http2-prior-knowledge",
            "-X",
            "POST",
            "--data-binary",
        ])
        .arg(format!("@{}", data.path().display()))
        .args(["-H", &format!("Authorization: Bearer {KEY}"), &url])
        .output()
        .expect("curl");
    assert!(output.status.success(), "{output:?}");
    assert!(decode_one_member("gzip", &output.stdout) == text(1 << 20));
}

#[test]
fn one_connection_serves_many_requests() {
    let server = Server::start();
    let mut wire = Wire::connect(server.address());
    let key = format!("Bearer {KEY}");
    for number in 0..20u8 {
        let body = vec![number; 1000];
        wire.head(
            "POST",
            "/v1/compress",
            &[("Authorization", &key), ("Content-Length", "1000")],
        );
        wire.send(&body).expect("sent");
        let answer = wire.answer();
        assert_eq!(answer.header("connection"), None);
        assert_eq!(decode_one_member("gzip", &answer.body), body);
    }
    wire.head("HEAD", "/healthz", &[]);
    assert_eq!(wire.try_answer(true).expect("an answer").status, 200);
}

#[test]
fn an_old_client_gets_a_whole_answer() {
    let server = Server::start();
    let mut wire = Wire::connect(server.address());
    let head = format!(
        "POST /v1/compress HTTP/1.0\r\nAuthorization: Bearer {KEY}\r\nContent-Length: 5\r\n\r\nhello"
    );
    wire.send(head.as_bytes()).expect("sent");
    let answer = wire.answer();
    assert_eq!(decode_one_member("gzip", &answer.body), b"hello");
    assert!(wire.is_closed());
}

#[test]
fn a_caller_that_does_not_read_its_answer_holds_nothing() {
    let server = Server::start_with(|config| config.limits.write_stall = Duration::from_millis(50));
    // More than the kernel buffers on both sides of a connection.
    let body = gzip(&vec![0; 64 << 20]);
    let mut wire = server.begin("/v1/decompress", &[], &body);
    wire.chunk(b"").expect("sent");
    let answer = wire.try_answer(true).expect("a head");
    assert_eq!(answer.status, 200);
    server.check_at_rest();
}

#[test]
fn connections_beyond_the_limit_wait_their_turn() {
    let server = Server::start_with(|config| config.limits.connections_max = 1);
    let mut first = Wire::connect(server.address());
    first.head("GET", "/healthz", &[]);
    assert_eq!(first.answer().status, 200);
    let mut second = Wire::connect(server.address());
    second.head("GET", "/healthz", &[]);
    // The admin listener is not affected.
    assert_eq!(server.admin("/healthz").status, 200);
    first.head("GET", "/healthz", &[]);
    assert_eq!(first.answer().status, 200);
    drop(first);
    assert_eq!(second.answer().status, 200);
}
