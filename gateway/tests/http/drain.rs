//! The drain delay: told to stop, a gateway is not ready at once, and yet serves until everybody knows.

use std::net::TcpStream;
use std::time::Instant;

use crate::samples::decode_one_member;
use crate::server::{KEY, SOON, Server};
use crate::wire::{Wire, request};

#[track_caller]
fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < until, "not within {SOON:?}: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn who_comes_before_everybody_knows_is_served() {
    let server = Server::start();
    let (public, admin) = (server.address(), server.gateway.admin_address());
    let authorization = format!("Bearer {KEY}");
    let compress = |body: &[u8]| {
        let headers = [("Authorization", authorization.as_str())];
        request(public, "POST", "/v1/compress", &headers, body)
    };
    let ready = || request(admin, "GET", "/readyz", &[], b"");
    assert_eq!(ready().json()["ready"], true);
    let mut in_flight = server.begin("/v1/compress", &[], b"hello ");
    server.wait_for_in_flight(1);

    let (everybody_knows, known) = tokio::sync::oneshot::channel();
    let Server { gateway, data } = server;
    let stopping = std::thread::spawn(move || {
        gateway.stop_once(async {
            let _ = known.await;
        });
    });
    wait_until("it is not ready", || ready().status == 503);
    let state = ready().json();
    assert_eq!(
        (&state["ready"], &state["draining"]),
        (&false.into(), &true.into())
    );
    assert_eq!(request(admin, "GET", "/healthz", &[], b"").status, 200);
    // New connections are taken and served; one is kept.
    let mut kept = Wire::connect(public);
    for _ in 0..2 {
        let answer = compress(b"late");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(decode_one_member("gzip", &answer.body), b"late");
        kept.head("GET", "/healthz", &[]);
        assert_eq!(kept.answer().status, 200);
    }
    assert!(!stopping.is_finished());

    everybody_knows.send(()).expect("it waits");
    wait_until("the port is closed", || TcpStream::connect(public).is_err());
    assert!(kept.is_closed(), "an idle connection ends");
    // What is in flight is finished.
    in_flight.chunk(b"again").expect("still taken");
    in_flight.chunk(b"").expect("still taken");
    let answer = in_flight.answer();
    assert_eq!(decode_one_member("gzip", &answer.body), b"hello again");
    stopping.join().expect("no panic");
    assert!(TcpStream::connect(admin).is_err(), "probes end last");
    drop(data);
}

#[test]
fn a_connection_in_use_ends_with_its_answer_once_everybody_knows() {
    let server = Server::start();
    let (everybody_knows, known) = tokio::sync::oneshot::channel();
    let mut wire = server.begin("/v1/compress", &[], b"hello");
    server.wait_for_in_flight(1);
    let public = server.address();
    let Server { gateway, data } = server;
    let stopping = std::thread::spawn(move || {
        gateway.stop_once(async {
            let _ = known.await;
        });
    });
    everybody_knows.send(()).expect("it waits");
    wait_until("the port is closed", || TcpStream::connect(public).is_err());
    wire.chunk(b"").expect("taken");
    let answer = wire.answer();
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(decode_one_member("gzip", &answer.body), b"hello");
    assert!(wire.is_closed());
    stopping.join().expect("no panic");
    drop(data);
}
