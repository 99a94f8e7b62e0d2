//! HTTP/2: one stream that its peer stalls beside those that go on.

use std::time::Duration;

use axum::http::Request;
use bytes::Bytes;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::samples::gzip;
use crate::server::{KEY, SOON, Server};

/// An answer of many stream windows.
pub(crate) const ANSWER_BYTES: usize = 2 << 20;
/// The peer's window a stream: an answer stalls after as much.
const STREAM_WINDOW_BYTES: u32 = 16 << 10;
/// Bodies that wait: their windows are 10 MiB together.
const STALLED_BODIES: usize = 40;
/// How long a body is taken to wait in vain for its window.
const FILL_LIMIT: Duration = Duration::from_secs(2);
/// Streams that go on beside the stalled one.
const STREAMS: usize = 10;

/// A connection whose driver runs beside the test.
pub(crate) async fn connect(server: &Server) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(server.address())
        .await
        .expect("it listens");
    let (requests, connection) = Builder::new()
        .initial_window_size(STREAM_WINDOW_BYTES)
        // Wide enough that one stream's window is the only one that closes.
        .initial_connection_window_size(16 << 20)
        .handshake(tcp)
        .await
        .expect("a handshake");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    requests
}

/// The body of an answer of [`ANSWER_BYTES`] zeros; none of it is read yet.
pub(crate) async fn begin(requests: &SendRequest<Bytes>, body: &Bytes) -> RecvStream {
    let mut requests = requests.clone().ready().await.expect("ready");
    let request = Request::post("http://faam.test/v1/decompress")
        .header("authorization", format!("Bearer {KEY}"))
        .body(())
        .expect("a request");
    let (answer, mut sending) = requests.send_request(request, false).expect("taken");
    sending.send_data(body.clone(), true).expect("taken");
    let answer = timeout(SOON, answer)
        .await
        .expect("in time")
        .expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
    answer.into_body()
}

/// Reads a body to its end; its length.
pub(crate) async fn read(mut body: RecvStream) -> Result<usize, h2::Error> {
    let mut length = 0;
    while let Some(data) = timeout(SOON, body.data()).await.expect("it goes on") {
        let data = data?;
        assert!(data.iter().all(|byte| *byte == 0));
        length += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(length)
}

/// Runs a caller's side. The gateway has runtimes of its own, and ends outside of this one.
fn run(caller: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(caller);
}

#[test]
fn a_stalled_stream_ends_by_itself_and_holds_nobody() {
    let server = Server::start_with(|config| config.limits.write_stall = Duration::from_secs(3));
    run(async {
        let requests = connect(&server).await;
        let body = Bytes::from(gzip(&vec![0; ANSWER_BYTES]));
        let mut stalled = begin(&requests, &body).await;
        // Its window's worth comes; it is kept, and no window is given back.
        let mut kept = 0;
        while kept < STREAM_WINDOW_BYTES as usize {
            let data = timeout(SOON, stalled.data()).await.expect("in time");
            kept += data.expect("data").expect("no error").len();
        }
        // Ten at a time go on, round after round, until the stalled one has ended.
        let mut rounds = 0;
        let end = loop {
            let mut streams = tokio::task::JoinSet::new();
            for _ in 0..STREAMS {
                let (requests, body) = (requests.clone(), body.clone());
                streams.spawn(async move { read(begin(&requests, &body).await).await });
            }
            while let Some(length) = streams.join_next().await {
                assert_eq!(length.expect("no panic").expect("whole"), ANSWER_BYTES);
            }
            rounds += 1;
            if let Ok(end) = timeout(Duration::from_millis(1), stalled.data()).await {
                break end.expect("an end that is no good one");
            }
            assert!(rounds < 1000, "the stalled stream has not ended");
        };
        let error = end.expect_err("reset");
        assert_eq!(error.reason(), Some(Reason::CANCEL), "{error}");
        // The connection lives, and everything that the stalled stream held is back.
        assert_eq!(
            read(begin(&requests, &body).await).await.expect("whole"),
            ANSWER_BYTES
        );
        server.check_at_rest();
        let metrics = server.admin("/metrics").text();
        assert!(metrics.contains(r#"faam_connections_ended_total{reason="stream-stall"} 1"#));
    });
}

#[test]
fn a_stream_whose_last_bytes_are_not_taken_ends_as_well() {
    let server =
        Server::start_with(|config| config.limits.write_stall = Duration::from_millis(100));
    run(async {
        let requests = connect(&server).await;
        // One piece, larger than the window: all of it is with the connection at once.
        let body = Bytes::from(gzip(&vec![0; 2 * STREAM_WINDOW_BYTES as usize]));
        let mut stalled = begin(&requests, &body).await;
        let end = loop {
            match timeout(SOON, stalled.data()).await.expect("in time") {
                Some(Ok(_)) => {}
                end => break end,
            }
        };
        let error = end.expect("no good end").expect_err("reset");
        assert_eq!(error.reason(), Some(Reason::CANCEL), "{error}");
        server.check_at_rest();
    });
}

/// Begins a compression whose answer is not read, and sends of its body what is taken.
async fn fill(requests: &SendRequest<Bytes>, body: &Bytes) -> (ResponseFuture, SendStream<Bytes>) {
    let mut requests = requests.clone().ready().await.expect("ready");
    let request = Request::post("http://faam.test/v1/compress?level=1")
        .header("authorization", format!("Bearer {KEY}"))
        .body(())
        .expect("a request");
    let (answer, mut sending) = requests.send_request(request, false).expect("taken");
    let mut rest = body.clone();
    while !rest.is_empty() {
        sending.reserve_capacity(rest.len());
        let capacity = std::future::poll_fn(|cx| sending.poll_capacity(cx));
        // Long enough for a gateway that takes more; it is no failure where it does not.
        let Ok(capacity) = timeout(FILL_LIMIT, capacity).await else {
            break;
        };
        let capacity = capacity.expect("open").expect("no error");
        let piece = rest.split_to(capacity.min(rest.len()));
        sending.send_data(piece, false).expect("taken");
    }
    sending.reserve_capacity(0);
    (answer, sending)
}

#[test]
fn bodies_that_wait_take_no_window_from_those_that_go_on() {
    let server = Server::start_with(|config| {
        // What nobody reads waits in memory, and its body then waits as well.
        config.admission.spill_request_bytes_max = 0;
        config.limits.spill_after = Duration::ZERO;
    });
    run(async {
        let requests = connect(&server).await;
        let body = Bytes::from(crate::samples::noise(ANSWER_BYTES));
        let mut stalled = tokio::task::JoinSet::new();
        for _ in 0..STALLED_BODIES {
            let (requests, body) = (requests.clone(), body.clone());
            stalled.spawn(async move { fill(&requests, &body).await });
        }
        let stalled = timeout(SOON, stalled.join_all()).await.expect("all wait");
        assert_eq!(stalled.len(), STALLED_BODIES);
        // One that reads sends and receives all the same.
        let honest = Bytes::from(gzip(&crate::samples::noise(ANSWER_BYTES)));
        let mut requests = requests.clone().ready().await.expect("ready");
        let request = Request::post("http://faam.test/v1/decompress")
            .header("authorization", format!("Bearer {KEY}"))
            .body(())
            .expect("a request");
        let (answer, mut sending) = requests.send_request(request, false).expect("taken");
        sending.send_data(honest, true).expect("taken");
        let answer = timeout(SOON, answer).await.expect("in time");
        let mut received = answer.expect("an answer").into_body();
        let mut length = 0;
        while let Some(data) = timeout(SOON, received.data()).await.expect("it goes on") {
            let data = data.expect("no error");
            length += data.len();
            let given = received.flow_control().release_capacity(data.len());
            given.expect("a window");
        }
        assert_eq!(length, ANSWER_BYTES);
        drop(stalled);
    });
    server.check_at_rest();
}

#[test]
fn a_short_answer_is_counted_when_its_last_byte_has_gone_and_not_before() {
    let server = Server::start();
    let ended = |outcome: &str| {
        let line = format!(
            r#"faam_requests_total{{tenant="demo",kernel="decompress",backend="cpu",outcome="{outcome}"}} 1"#
        );
        server.admin("/metrics").text().contains(&line)
    };
    run(async {
        let requests = connect(&server).await;
        // Of more than one window of the peer's.
        let body = Bytes::from(gzip(&vec![0; 4 * STREAM_WINDOW_BYTES as usize]));
        let mut answer = begin(&requests, &body).await;
        let data = timeout(SOON, answer.data()).await.expect("in time");
        data.expect("data").expect("no error");
        assert!(!ended("ok"), "most of it is still here");
        drop(answer);
        let gone = async {
            while server.gateway.admission().in_flight() > 0 {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, gone).await.expect("in time");
        assert!(ended("cancelled") && !ended("ok"));
        let all = read(begin(&requests, &body).await).await.expect("whole");
        assert_eq!(all, 4 * STREAM_WINDOW_BYTES as usize);
        assert!(ended("ok"));
    });
    server.check_at_rest();
}

#[test]
fn streams_beyond_the_limit_are_refused_and_resets_are_bounded() {
    use faam_gateway::http::limits::HTTP2_STREAMS_MAX;

    let server = Server::start();
    run(async {
        let tcp = TcpStream::connect(server.address())
            .await
            .expect("it listens");
        let (mut requests, mut connection) = h2::client::handshake(tcp).await.expect("a handshake");
        // What the gateway announces is what it holds us to.
        let announced = async {
            loop {
                std::future::poll_fn(|cx| {
                    let _ = std::pin::Pin::new(&mut connection).poll(cx);
                    std::task::Poll::Ready(())
                })
                .await;
                if connection.max_concurrent_send_streams() == HTTP2_STREAMS_MAX as usize {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, announced).await.expect("its settings come");
        // Rapid reset (CVE-2023-44487): streams that are opened and cancelled at once end the connection.
        let driver = tokio::spawn(connection);
        let flood = async {
            loop {
                let Ok(mut ready) = requests.ready().await else {
                    return;
                };
                let request = Request::get("http://faam.test/healthz")
                    .body(())
                    .expect("a request");
                let Ok((answer, mut sending)) = ready.send_request(request, false) else {
                    return;
                };
                sending.send_reset(Reason::CANCEL);
                // To the connection's driver, which the flood would starve otherwise.
                tokio::task::yield_now().await;
                drop(answer);
                requests = ready;
            }
        };
        timeout(SOON, flood).await.expect("the flood is ended");
        let error = timeout(SOON, driver)
            .await
            .expect("in time")
            .expect("no panic");
        assert!(error.is_err(), "the connection was ended");
        let mut wire = crate::wire::Wire::connect(server.address());
        wire.head("GET", "/healthz", &[]);
        assert_eq!(wire.answer().status, 200);
    });
}
