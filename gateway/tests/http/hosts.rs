//! Which host a request is for: asked of every request, on every path, by the rules of its HTTP version.

use std::io::Write;

use axum::http::{Request, Version};
use bytes::Bytes;
use h2::client::SendRequest;
use tokio::time::timeout;

use crate::server::{SOON, Server, check_problem};
use crate::wire::{Answer, Wire};

/// The answer to a head as it is; the connection stays.
fn ask(server: &Server, head: &str) -> (Answer, Wire) {
    let mut wire = Wire::connect(server.address());
    wire.send(head.as_bytes()).expect("sent");
    (wire.answer(), wire)
}

#[track_caller]
fn check_refused(head: &str, (answer, mut wire): (Answer, Wire), words: &[&str]) {
    println!("{head:?}");
    check_problem(&answer, 400, "invalid-option", words);
    assert_eq!(answer.header("connection"), Some("close"), "{head:?}");
    assert!(wire.is_closed(), "{head:?}");
}

#[test]
fn a_request_of_http_1_1_names_one_host_on_every_path() {
    let server = Server::start();
    let paths = [
        "GET /healthz",
        "GET /",
        "GET /nowhere",
        "GET /docs/",
        "GET /v1/kernels",
        "DELETE /v1/compress",
        "OPTIONS *",
        "POST /v1/compress",
        "POST /v1/decompress",
    ];
    for target in paths {
        for (hosts, word) in [
            ("", "Host"),
            ("Host: faam.test\r\nHost: faam.test\r\n", "2"),
            ("Host: faam.test:port\r\n", "faam.test:port"),
        ] {
            let head = format!("{target} HTTP/1.1\r\n{hosts}\r\n");
            check_refused(&head, ask(&server, &head), &[word]);
        }
    }
    let mut admin = Wire::connect(server.gateway.admin_address());
    let head = "GET /readyz HTTP/1.1\r\n\r\n";
    admin.send(head.as_bytes()).expect("sent");
    check_refused(head, (admin.answer(), admin), &["Host"]);
    let metrics = server.admin("/metrics").text();
    assert!(
        metrics.contains(r#"faam_refused_total{reason="invalid-option"} 28"#),
        "{metrics}"
    );
    server.check_at_rest();
}

#[test]
fn hosts_are_read_as_their_grammar_has_them() {
    let server = Server::start();
    for good in [
        "",
        "faam.test",
        "FAAM.test:8080",
        "faam.test:",
        "127.0.0.1:1",
        "[::1]",
        "[::ffff:127.0.0.1]:80",
        "[v1.faam:x]",
        "a%2Db",
        "a_b!$&'()*+,;=~",
    ] {
        let (answer, _) = ask(
            &server,
            &format!("GET /healthz HTTP/1.1\r\nHost: {good}\r\n\r\n"),
        );
        assert_eq!(answer.status, 200, "{good:?}: {}", answer.text());
    }
    for bad in [
        "faam test",
        "user@faam.test",
        "faam.test/",
        "http://faam.test",
        "a%2",
        "a%zz",
        "::1",
        "[::1",
        "[::1]x",
        "[::g]",
        "[v.x]",
        "[fe80::1%25eth0]",
        "h\u{e9}",
        "a:b:c",
        "a\"b",
    ] {
        let head = format!("GET /healthz HTTP/1.1\r\nHost: {bad}\r\n\r\n");
        check_refused(&head, ask(&server, &head), &["Host"]);
    }
}

#[test]
fn a_target_may_name_the_host_and_a_host_is_named_beside_it() {
    let server = Server::start();
    let absolute = |hosts: &str| format!("GET http://faam.test/healthz HTTP/1.1\r\n{hosts}\r\n");
    // What it names beside the target counts for nothing, but it has to be there (RFC 9112, 3.2.2).
    let (answer, _) = ask(&server, &absolute("Host: other.test\r\n"));
    assert_eq!(answer.status, 200);
    for hosts in ["", "Host: a\r\nHost: a\r\n"] {
        let head = absolute(hosts);
        check_refused(&head, ask(&server, &head), &["Host"]);
    }
    let head = "GET http://user:secret@faam.test/healthz HTTP/1.1\r\nHost: faam.test\r\n\r\n";
    let (answer, wire) = ask(&server, head);
    assert!(!answer.text().contains("secret"), "{}", answer.text());
    check_refused(head, (answer, wire), &["user"]);
}

#[test]
fn http_1_0_needs_no_host_and_takes_no_two() {
    let server = Server::start();
    for hosts in ["", "Host: faam.test\r\n"] {
        let (answer, _) = ask(&server, &format!("GET /healthz HTTP/1.0\r\n{hosts}\r\n"));
        assert_eq!(answer.status, 200, "{hosts:?}");
    }
    for hosts in ["Host: a\r\nHost: b\r\n", "Host: a b\r\n"] {
        let head = format!("GET /healthz HTTP/1.0\r\n{hosts}\r\n");
        check_refused(&head, ask(&server, &head), &["Host"]);
    }
}

#[test]
fn http_2_names_its_host_as_authority_or_host_and_never_two() {
    let server = Server::start();
    server.over_http2(async |requests| {
        let absolute = "http://faam.test/healthz";
        for (target, hosts, status) in [
            (absolute, &[][..], 200),
            (absolute, &["faam.test"], 200),
            (absolute, &["FAAM.test:80"], 200),
            ("/healthz", &["faam.test"], 200),
            (absolute, &["other.test"], 400),
            (absolute, &["faam.test:81"], 400),
            (absolute, &["faam.test", "faam.test"], 400),
            ("/healthz", &[], 400),
            ("/healthz", &["a", "a"], 400),
            ("/healthz", &["a b"], 400),
            ("http://user@faam.test/healthz", &[], 400),
        ] {
            let answer = h2_status(&requests, target, hosts).await;
            assert_eq!(answer, status, "{target} {hosts:?}");
        }
    });
    server.check_at_rest();
}

async fn h2_status(requests: &SendRequest<Bytes>, target: &str, hosts: &[&str]) -> u16 {
    let mut requests = requests.clone().ready().await.expect("ready");
    let mut request = Request::get(target);
    if target.starts_with('/') {
        // The client puts no authority in only for what it takes for a request of HTTP/1.
        request = request.version(Version::HTTP_11);
    }
    for host in hosts {
        request = request.header("host", *host);
    }
    let request = request.body(()).expect("a request");
    let (answer, _) = requests.send_request(request, true).expect("taken");
    let answer = timeout(SOON, answer).await.expect("in time");
    answer.expect("an answer").status().as_u16()
}

#[test]
fn a_caller_without_a_host_that_still_sends_sees_the_answer() {
    let server = Server::start();
    let mut wire = Wire::connect(server.address());
    let body = vec![0; 4 << 20];
    let mut head = Vec::new();
    write!(
        head,
        "POST /v1/compress HTTP/1.1\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .expect("a Vec");
    wire.send(&head).expect("sent");
    let _ = wire.send(&body);
    check_refused("POST", (wire.answer(), wire), &["Host"]);
}
