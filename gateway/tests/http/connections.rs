//! Connections: how they are shared, and what ends them.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use faam_gateway::http::limits::{HEADERS_MAX, HttpLimits};
use faam_gateway::http::unix_socket::UnixListen;

use crate::samples::{decode_one_member, text};
use crate::server::{KEY, SOON, Server, check_problem};
use crate::wire::{Wire, request};

/// How often a connection is opened one after another of which none must be refused.
const ROUNDS: usize = 20;

#[test]
fn a_body_that_pauses_is_too_slow() {
    let server = Server::start_with(|config| config.limits.body_idle = Duration::from_millis(30));
    // All at once, so that the pause is behind the five bytes whoever has to wait for a processor.
    let mut wire = Wire::connect(server.address());
    let begun = format!(
        "POST /v1/compress HTTP/1.1\r\nHost: faam.test\r\nAuthorization: Bearer {KEY}\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n"
    );
    wire.send(begun.as_bytes()).expect("sent");
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
fn the_number_of_headers_is_bounded() {
    let server = Server::start();
    let names: Vec<_> = (0..HEADERS_MAX)
        .map(|number| format!("X-{number}"))
        .collect();
    let headers: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    // Host is one of them.
    let few = request(server.address(), "GET", "/healthz", &headers[1..], b"");
    assert_eq!(few.status, 200);
    let many = request(server.address(), "GET", "/healthz", &headers, b"");
    assert_eq!(many.status, 431);
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
fn where_all_places_are_taken_the_one_without_a_request_ends() {
    let server = Server::start_with(|config| config.limits.connections_max = 1);
    let mut first = Wire::connect(server.address());
    first.head("GET", "/healthz", &[]);
    assert_eq!(first.answer().status, 200);
    let mut second = Wire::connect(server.address());
    second.head("GET", "/healthz", &[]);
    assert_eq!(second.answer().status, 200);
    assert!(first.is_closed(), "it was idle");
    // Half a head is no request.
    second.send(b"GET /healthz HTTP/1.1\r\n").expect("sent");
    let mut third = Wire::connect(server.address());
    third.head("GET", "/healthz", &[]);
    assert_eq!(third.answer().status, 200);
    assert!(second.is_closed(), "its head was not complete");
}

#[test]
fn where_all_places_are_taken_a_request_is_never_ended() {
    let server = Server::start_with(|config| config.limits.connections_max = 1);
    let mut first = server.begin("/v1/compress", &[], b"hello ");
    server.wait_for_in_flight(1);
    let mut second = Wire::connect(server.address());
    second.head("GET", "/healthz", &[]);
    // The admin listener is not affected.
    assert_eq!(server.admin("/healthz").status, 200);
    first.chunk(b"again").expect("still taken");
    first.chunk(b"").expect("still taken");
    assert_eq!(
        decode_one_member("gzip", &first.answer().body),
        b"hello again"
    );
    // Served once the first is idle.
    assert_eq!(second.answer().status, 200);
}

#[test]
fn a_peer_has_its_bound_where_one_is_set() {
    let server = Server::start_with(|config| config.limits.peer_connections_max = Some(2));
    let mut wires = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::connect(server.address());
        wire.head("GET", "/healthz", &[]);
        assert_eq!(wire.answer().status, 200);
        wires.push(wire);
    }
    assert!(Wire::connect(server.address()).is_closed());
    let metrics = server.admin("/metrics").text();
    assert!(metrics.contains(r#"faam_connections_ended_total{reason="peer-bound"} 1"#));
}

#[test]
fn a_peer_that_opens_one_connection_after_another_needs_one_place() {
    let server = Server::start_with(|config| config.limits.peer_connections_max = Some(1));
    for _ in 0..ROUNDS {
        let mut wire = Wire::connect(server.address());
        wire.head("GET", "/healthz", &[]);
        assert_eq!(wire.answer().status, 200);
    }
}

#[test]
fn a_unix_socket_serves_callers_and_goes_with_the_gateway() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("faam.sock");
    let server = Server::start_with(|config| {
        config.unix_listen = Some(UnixListen {
            path: path.clone(),
            mode: 0o600,
        });
    });
    let mode = std::fs::metadata(&path)
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let output = std::process::Command::new("curl")
        .args(["-sS", "--max-time", "20", "--unix-socket"])
        .arg(&path)
        .args(["-X", "POST", "--data-binary", "hello", "-H"])
        .arg(format!("Authorization: Bearer {KEY}"))
        .arg("http://faam.test/v1/compress")
        .output()
        .expect("curl");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(decode_one_member("gzip", &output.stdout), b"hello");
    server.gateway.stop();
    assert!(!path.exists());
}
