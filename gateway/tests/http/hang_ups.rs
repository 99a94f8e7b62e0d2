//! Callers that hang up: counted as cancelled, once, and never among those that we refused.

use std::time::Instant;

use axum::http::Request;
use bytes::Bytes;
use h2::Reason;
use tokio::time::timeout;

use crate::samples::gzip;
use crate::server::{KEY, SOON, Server};
use crate::wire::Wire;

/// How a body is announced, and what of it comes.
const BODIES: [(&str, &[u8]); 4] = [
    ("Content-Length: 5", b""),
    ("Content-Length: 5", b"hel"),
    ("Transfer-Encoding: chunked", b""),
    ("Transfer-Encoding: chunked", b"5\r\nhel"),
];
const KERNELS: [&str; 2] = ["compress", "decompress"];

fn begin(server: &Server, version: &str, kernel: &str, (framing, bytes): (&str, &[u8])) -> Wire {
    let mut wire = Wire::connect(server.address());
    let head = format!(
        "POST /v1/{kernel} HTTP/{version}\r\nHost: faam.test\r\nAuthorization: Bearer {KEY}\r\n{framing}\r\n\r\n"
    );
    wire.send(head.as_bytes()).expect("sent");
    wire.send(bytes).expect("sent");
    wire
}

/// Waits until as many requests were cancelled and their connections have ended; nothing else was counted.
#[track_caller]
fn check_cancelled(server: &Server, kernel: &str, count: usize) {
    let cancelled = format!(
        r#"faam_requests_total{{tenant="demo",kernel="{kernel}",backend="none",outcome="cancelled"}} {count}"#
    );
    let until = Instant::now() + SOON;
    let metrics = loop {
        let metrics = server.admin("/metrics").text();
        // A request has been reported on by the time that its connection has gone.
        if metrics.contains(&cancelled)
            && metrics.contains(r#"faam_connections{listener="public"} 0"#)
        {
            break metrics;
        }
        assert!(Instant::now() < until, "{cancelled} is not in {metrics}");
        std::thread::yield_now();
    };
    let told = |name: &str| {
        let mut lines = metrics.lines();
        lines.any(|line| line.starts_with(name) && !line.ends_with(" 0"))
    };
    assert!(!told("faam_refused_total"), "{metrics}");
    assert_eq!(
        metrics
            .lines()
            .filter(|line| line.starts_with("faam_requests_total") && line.contains(kernel))
            .count(),
        1,
        "{metrics}"
    );
}

#[test]
fn who_closes_within_a_body_is_cancelled_and_not_refused() {
    for kernel in KERNELS {
        let server = Server::start();
        let mut count = 0;
        for body in BODIES {
            for version in ["1.1", "1.0"] {
                if version == "1.0" && body.0.starts_with("Transfer") {
                    continue;
                }
                let wire = begin(&server, version, kernel, body);
                server.wait_for_in_flight(1);
                drop(wire);
                server.wait_for_in_flight(0);
                count += 1;
            }
        }
        check_cancelled(&server, kernel, count);
        server.check_at_rest();
    }
}

#[test]
fn who_only_ends_its_side_is_told_and_cancelled_all_the_same() {
    for kernel in KERNELS {
        let server = Server::start();
        for body in BODIES {
            let mut wire = begin(&server, "1.1", kernel, body);
            wire.end_sending();
            let answer = wire.answer();
            assert_eq!(answer.status, 400, "{body:?}: {}", answer.text());
            assert!(answer.text().contains("broke off"), "{}", answer.text());
        }
        check_cancelled(&server, kernel, BODIES.len());
        server.check_at_rest();
    }
}

#[test]
fn a_stream_that_is_reset_within_its_body_is_cancelled_and_not_refused() {
    for kernel in KERNELS {
        let server = Server::start();
        server.over_http2(async |requests| {
            let body = Bytes::from(gzip(b"hello"));
            for first in [0, 12] {
                let mut requests = requests.clone().ready().await.expect("ready");
                let request = Request::post(format!("http://faam.test/v1/{kernel}"))
                    .header("authorization", format!("Bearer {KEY}"))
                    .body(())
                    .expect("a request");
                let (answer, mut sending) = requests.send_request(request, false).expect("taken");
                if first > 0 {
                    sending
                        .send_data(body.slice(..first), false)
                        .expect("taken");
                }
                let admitted = async {
                    while server.gateway.admission().in_flight() == 0 {
                        tokio::task::yield_now().await;
                    }
                };
                timeout(SOON, admitted).await.expect("in time");
                sending.send_reset(Reason::CANCEL);
                drop(answer);
                let gone = async {
                    while server.gateway.admission().in_flight() > 0 {
                        tokio::task::yield_now().await;
                    }
                };
                timeout(SOON, gone).await.expect("in time");
            }
        });
        check_cancelled(&server, kernel, 2);
        server.check_at_rest();
    }
}
