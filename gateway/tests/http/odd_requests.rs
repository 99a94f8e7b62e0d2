//! Requests that no honest client sends, byte for byte: what they are answered, and whether their connection lives.

use axum::http::{HeaderMap, Request};
use bytes::Bytes;
use h2::Reason;
use tokio::time::timeout;

use crate::server::{KEY, SOON, Server, check_problem};
use crate::wire::{Answer, Wire};

/// The answer to `bytes`, and the connection.
fn ask(server: &Server, bytes: &[u8]) -> (Answer, Wire) {
    let mut wire = Wire::connect(server.address());
    wire.send(bytes).expect("sent");
    (wire.answer(), wire)
}

/// A request of `kernel` with `framing`, and what follows its head.
fn post(kernel: &str, framing: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /v1/{kernel} HTTP/1.1\r\nHost: faam.test\r\nAuthorization: Bearer {KEY}\r\n{framing}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn a_body_that_is_not_framed_ends_its_connection_and_says_so() {
    let server = Server::start();
    let long = [
        b"2;",
        "x".repeat(64 << 10).as_bytes(),
        b"\r\nhi\r\n0\r\n\r\n",
    ]
    .concat();
    let bodies: [&[u8]; 8] = [
        b"zz\r\nhi\r\n0\r\n\r\n",
        b"-1\r\nhi\r\n0\r\n\r\n",
        b"+2\r\nhi\r\n0\r\n\r\n",
        b"0x2\r\nhi\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nhi\r\n0\r\n\r\n",
        b"2\r\nhi, and more\r\n0\r\n\r\n",
        b"\r\nhi\r\n0\r\n\r\n",
        &long,
    ];
    for kernel in ["compress", "decompress"] {
        for body in bodies {
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            let (answer, mut wire) =
                ask(&server, &post(kernel, "Transfer-Encoding: chunked", body));
            check_problem(&answer, 400, "invalid-option", &["framed"]);
            assert_eq!(answer.header("connection"), Some("close"), "{shown:?}");
            assert!(wire.is_closed(), "{shown:?}");
        }
    }
    server.check_at_rest();
}

#[test]
fn lengths_that_contradict_each_other_let_nothing_follow() {
    let server = Server::start();
    let smuggled = b"2\r\nhi\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nHost: faam.test\r\n\r\n";
    for (framing, status) in [
        // RFC 9112, 6.1: the chunks count, and the connection ends.
        ("Content-Length: 90\r\nTransfer-Encoding: chunked", 200),
        ("Transfer-Encoding: chunked\r\nContent-Length: 2", 200),
        ("Transfer-Encoding: chunked, chunked", 415),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            415,
        ),
        ("Transfer-Encoding: gzip, chunked", 415),
        ("Transfer-Encoding: xchunked", 400),
        ("Transfer-Encoding: chunked, identity", 400),
        ("Content-Length: 2\r\nContent-Length: 3", 400),
        ("Content-Length: +2", 400),
        ("Content-Length: 2, 2", 400),
    ] {
        let (answer, mut wire) = ask(&server, &post("compress", framing, smuggled));
        assert_eq!(answer.status, status, "{framing:?}: {}", answer.text());
        assert!(wire.is_closed(), "{framing:?}");
    }
    server.check_at_rest();
}

#[test]
fn a_target_that_is_no_resource_is_for_no_method() {
    let server = Server::start();
    for (line, word) in [
        ("CONNECT faam.test:443", "proxy"),
        ("OPTIONS *", "GET /"),
        ("TRACE /", "TRACE"),
        ("get /healthz", "get"),
        ("BREW /v1/compress", "POST"),
    ] {
        let head = format!("{line} HTTP/1.1\r\nHost: faam.test\r\nCookie: secret\r\n\r\n");
        let (answer, _) = ask(&server, head.as_bytes());
        check_problem(&answer, 405, "method", &[word]);
        assert!(answer.header("allow").is_some(), "{line}");
        assert!(!answer.text().contains("secret"), "{line}");
    }
    let (answer, _) = ask(
        &server,
        b"GET /docs/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: faam.test\r\n\r\n",
    );
    check_problem(&answer, 404, "not-found", &[]);
}

#[test]
fn little_of_a_long_request_is_repeated() {
    let server = Server::start();
    let long = "A".repeat(20 << 10);
    for (line, status) in [
        (format!("{long} /healthz"), 405),
        (format!("GET /{long}"), 404),
        (format!("DELETE /problems/{long}"), 405),
        (format!("GET /problems/{long}"), 404),
        (format!("GET /v1/{long}"), 404),
    ] {
        for address in [server.address(), server.gateway.admin_address()] {
            let mut wire = Wire::connect(address);
            let head = format!("{line} HTTP/1.1\r\nHost: faam.test\r\n\r\n");
            wire.send(head.as_bytes()).expect("sent");
            let answer = wire.answer();
            if address == server.address() {
                assert_eq!(answer.status, status, "{}", answer.text());
            }
            assert!(answer.body.len() < 1024, "{} bytes", answer.body.len());
        }
    }
}

#[test]
fn lines_that_name_the_callers_host_are_kept_by_nobody() {
    let server = Server::start();
    let (answer, _) = ask(
        &server,
        b"GET http://other.test/ HTTP/1.1\r\nHost: other.test\r\n\r\n",
    );
    assert!(answer.text().contains("http://other.test/v1/compress"));
    // A cache that kept it would send others' keys there.
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[test]
fn http_2_takes_trailers_and_no_other_length_than_it_was_told() {
    let server = Server::start();
    server.over_http2(async |requests| {
        for (length, trailers, well) in [
            (5, false, true),
            (5, true, true),
            (4, false, false),
            (6, false, false),
        ] {
            let mut requests = requests.clone().ready().await.expect("ready");
            let request = Request::post("http://faam.test/v1/compress")
                .header("authorization", format!("Bearer {KEY}"))
                .header("content-length", length)
                .body(())
                .expect("a request");
            let (answer, mut sending) = requests.send_request(request, false).expect("taken");
            sending
                .send_data(Bytes::from_static(b"hello"), !trailers)
                .expect("taken");
            if trailers {
                let mut fields = HeaderMap::new();
                fields.insert("x-checked", "yes".parse().expect("a value"));
                sending.send_trailers(fields).expect("taken");
            }
            let answer = timeout(SOON, answer).await.expect("in time");
            match answer {
                Ok(answer) => assert_eq!(
                    well,
                    answer.status() == 200,
                    "{length} {trailers}: {answer:?}"
                ),
                Err(error) => {
                    assert!(!well, "{length} {trailers}: {error}");
                    assert_eq!(error.reason(), Some(Reason::PROTOCOL_ERROR), "{error}");
                }
            }
        }
    });
    server.check_at_rest();
}
