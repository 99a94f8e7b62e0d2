//! Callers that take their answers in drips: enough to move each now and then, never enough to be worth a place.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::samples::{gzip, text};
use crate::server::{KEY, SOON, Server};

/// Callers that drip.
const DRIPPERS: usize = 100;
/// Places beside theirs: one is taken, and some have not been given back yet.
const PLACES_LEFT: usize = 10;
/// Receive buffer of one, so that the kernel takes little for it.
const RECEIVE_BYTES: u32 = 16 << 10;
/// A drip, and how often one comes: more than a write needs to go on before its limit, less than the least rate.
const DRIP_BYTES: usize = 16 << 10;
const DRIP_EVERY: Duration = Duration::from_millis(100);
/// Answers that no drip comes to the end of within any test.
const ANSWER_BYTES: usize = 64 << 20;

/// Reads an answer in drips until its connection ends; how much came.
async fn drip(mut stream: TcpStream) -> usize {
    let (mut pace, mut piece, mut length) = (interval(DRIP_EVERY), vec![0; DRIP_BYTES], 0);
    loop {
        pace.tick().await;
        match stream.read_exact(&mut piece).await {
            Ok(bytes) => length += bytes,
            Err(_) => return length,
        }
    }
}

async fn begin(server: &Server, body: &[u8]) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(RECEIVE_BYTES).expect("set");
    let mut stream = socket.connect(server.address()).await.expect("it listens");
    let head = format!(
        "POST /v1/decompress HTTP/1.1\r\nHost: faam.test\r\nAuthorization: Bearer {KEY}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("taken");
    stream.write_all(body).await.expect("taken");
    stream
}

#[test]
fn places_of_callers_that_read_in_drips_come_back() {
    let server = Server::start_with(|config| {
        config.limits.write_stall = Duration::from_secs(1);
        config.limits.answer_bytes_per_second_min = 64 << 20;
        config.limits.connections_max = DRIPPERS + PLACES_LEFT;
        config.tenant_limits.in_flight_max = 2 * DRIPPERS;
    });
    let body = gzip(&vec![0; ANSWER_BYTES]);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    std::thread::scope(|scope| {
        let dripping = scope.spawn(|| {
            runtime.block_on(async {
                let mut drippers = JoinSet::new();
                for _ in 0..DRIPPERS {
                    drippers.spawn(drip(begin(&server, &body).await));
                }
                for length in timeout(SOON, drippers.join_all()).await.expect("all end") {
                    assert!(0 < length && length < ANSWER_BYTES, "{length} bytes");
                }
            });
        });
        // The few places that are left serve whoever comes.
        let mut served = 0;
        while !dripping.is_finished() {
            assert_eq!(server.post("/v1/compress", &[], &text(10_000)).status, 200);
            served += 1;
        }
        println!("{served} honest callers were served meanwhile");
        dripping.join().expect("no dripper stays");
    });
    server.check_at_rest();
    let ended = r#"faam_connections_ended_total{reason="write-stall"}"#;
    let metrics = server.admin("/metrics").text();
    assert!(metrics.contains(ended), "{metrics}");
}
