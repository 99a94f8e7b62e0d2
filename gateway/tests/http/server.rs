//! A gateway of a test's own, in this process, and what must hold of its answers.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use faam_gateway::config::GatewayConfig;
use faam_gateway::gateway::Gateway;
use h2::client::SendRequest;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::wire::{Answer, Wire, request};

/// How long a condition may take to come true: a failure, not a measure.
pub(crate) const SOON: Duration = Duration::from_secs(20);
pub(crate) const KEY: &str = "faam_a-key-for-these-tests-only";

/// A gateway on ports of its own, with the CPU engines alone.
pub(crate) struct Server {
    pub(crate) gateway: Gateway,
    pub(crate) data: tempfile::TempDir,
}

pub(crate) fn config(data: &Path) -> GatewayConfig {
    let mut config = GatewayConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        admin_listen: ([127, 0, 0, 1], 0).into(),
        data_dir: data.to_owned(),
        bootstrap_key: Some(KEY.to_owned()),
        ..GatewayConfig::default()
    };
    config.dispatch.cards.clear();
    config.dispatch.data_dir = data.to_owned();
    config
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(change: impl FnOnce(&mut GatewayConfig)) -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let mut config = config(data.path());
        change(&mut config);
        Self {
            gateway: Gateway::start(config).expect("starts"),
            data,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.public_address()
    }

    pub(crate) fn post(&self, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let key = format!("Bearer {KEY}");
        let mut all = vec![("Authorization", key.as_str())];
        all.extend_from_slice(headers);
        request(self.address(), "POST", target, &all, body)
    }

    pub(crate) fn get(&self, target: &str) -> Answer {
        request(
            self.address(),
            "GET",
            target,
            &[("Authorization", &format!("Bearer {KEY}"))],
            b"",
        )
    }

    pub(crate) fn admin(&self, target: &str) -> Answer {
        request(self.gateway.admin_address(), "GET", target, &[], b"")
    }

    /// Has `talk` speak over one connection of HTTP/2. What goes wrong with its streams must not end the connection.
    pub(crate) fn over_http2(&self, talk: impl AsyncFnOnce(SendRequest<Bytes>)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let tcp = TcpStream::connect(self.address()).await;
            let handshake = h2::client::handshake(tcp.expect("it listens"));
            let (requests, connection) = handshake.await.expect("a handshake");
            let driver = tokio::spawn(connection);
            talk(requests.clone()).await;
            assert!(!driver.is_finished(), "a stream's mistake ends no other");
            drop(requests);
            let _ = timeout(SOON, driver).await.expect("its connection ends");
        });
    }

    /// A POST whose body has begun and not ended.
    pub(crate) fn begin(&self, target: &str, headers: &[(&str, &str)], first: &[u8]) -> Wire {
        let mut wire = Wire::connect(self.address());
        let key = format!("Bearer {KEY}");
        let mut all = vec![
            ("Authorization", key.as_str()),
            ("Transfer-Encoding", "chunked"),
        ];
        all.extend_from_slice(headers);
        wire.head("POST", target, &all);
        wire.chunk(first).expect("sent");
        wire
    }

    /// Waits until as many permits are out.
    #[track_caller]
    pub(crate) fn wait_for_in_flight(&self, count: usize) {
        let until = Instant::now() + SOON;
        while self.gateway.admission().in_flight() != count {
            assert!(
                Instant::now() < until,
                "{} in flight, not {count}",
                self.gateway.admission().in_flight()
            );
            std::thread::yield_now();
        }
    }

    /// Everything that requests held has come back.
    #[track_caller]
    pub(crate) fn check_at_rest(&self) {
        self.wait_for_in_flight(0);
        assert_eq!(
            self.gateway.admission().memory_bytes(),
            0,
            "memory of bodies"
        );
        assert_eq!(self.gateway.admission().spill_bytes(), 0, "disk");
    }
}

/// A problem of `name`, complete (RFC 9457, 3.1).
#[track_caller]
pub(crate) fn check_problem(answer: &Answer, status: u16, name: &str, words: &[&str]) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let problem = answer.json();
    assert_eq!(problem["type"], format!("/problems/{name}"));
    assert_eq!(problem["status"], status);
    assert!(problem["title"].is_string());
    let id = answer.header("faam-invocation-id").expect("an id");
    assert_eq!(problem["instance"], format!("urn:uuid:{id}"));
    let detail = problem["detail"].as_str().expect("a detail");
    for word in words {
        assert!(detail.contains(word), "{word:?} is not in {detail:?}");
    }
    problem
}
