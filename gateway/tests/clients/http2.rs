//! A caller of HTTP/2 that decides itself what it reads and when: the h2 crate's client.
//!
//! Owns the connections, each with a task that drives it. It knows nothing of what is sent.

use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{RecvStream, SendStream};
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::gateway::Gateway;

/// How long any one step may take: a failure, not a measure.
const STEP_LIMIT: Duration = Duration::from_secs(30);
/// Most bytes that are handed to a stream at once.
const PIECE_BYTES: usize = 64 << 10;

/// A complete answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    trailers: HeaderMap,
}

impl Answer {
    /// A trailer.
    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.get(name)?.to_str().ok()
    }
}

/// A connection with these flow-control windows. It ends with the last hold of it and of its streams.
pub(crate) async fn connect(
    gateway: &Gateway,
    stream_window_bytes: u32,
    connection_window_bytes: u32,
) -> SendRequest<Bytes> {
    let tcp = TcpStream::connect(gateway.address)
        .await
        .expect("it listens");
    let (requests, connection) = Builder::new()
        .initial_window_size(stream_window_bytes)
        .initial_connection_window_size(connection_window_bytes)
        .handshake(tcp)
        .await
        .expect("a handshake");
    tokio::spawn(async move {
        let _ = connection.await;
    });
    requests
}

/// A request whose body has not begun.
pub(crate) async fn begin(
    requests: &SendRequest<Bytes>,
    gateway: &Gateway,
    target: &str,
) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
    let mut requests = requests.clone().ready().await.expect("ready");
    let request = Request::post(format!("http://faam.test{target}"))
        .header("authorization", format!("Bearer {}", gateway.key))
        .header("te", "trailers")
        .body(())
        .expect("a request");
    requests.send_request(request, false).expect("taken")
}

/// Sends `body` as the peer's window lets it.
pub(crate) async fn send(
    sending: &mut SendStream<Bytes>,
    mut body: Bytes,
    end: bool,
) -> Result<(), h2::Error> {
    while !body.is_empty() {
        sending.reserve_capacity(body.len().min(PIECE_BYTES));
        let capacity = std::future::poll_fn(|cx| sending.poll_capacity(cx));
        let Some(capacity) = timeout(STEP_LIMIT, capacity).await.expect("in time") else {
            // The peer has ended the stream; its reason comes where the answer is read.
            return Ok(());
        };
        let piece = body.split_to(capacity?.min(body.len()));
        let last = end && body.is_empty();
        sending.send_data(piece, last)?;
    }
    Ok(())
}

/// The next data of `body`, whose window is given back at once.
pub(crate) async fn next(body: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let data = timeout(STEP_LIMIT, body.data())
        .await
        .expect("it goes on")?;
    Some(data.and_then(|data| {
        body.flow_control().release_capacity(data.len())?;
        Ok(data)
    }))
}

/// `POST target` with `body` and a trailer of the request's own, `count` times in turn on one connection.
pub(crate) fn post(gateway: &Gateway, target: &str, body: &[u8], count: usize) -> Vec<Answer> {
    let body = Bytes::copy_from_slice(body);
    run(async {
        let requests = connect(gateway, 256 << 10, 1 << 20).await;
        let mut answers = Vec::new();
        for _ in 0..count {
            answers.push(exchange(gateway, &requests, target, body.clone()).await);
        }
        answers
    })
}

async fn exchange(
    gateway: &Gateway,
    requests: &SendRequest<Bytes>,
    target: &str,
    body: Bytes,
) -> Answer {
    let (answer, mut sending) = begin(requests, gateway, target).await;
    let sent = async {
        send(&mut sending, body, false).await?;
        let trailer = (HeaderName::from_static("x-checksum"), HeaderValue::from(7));
        sending.send_trailers(HeaderMap::from_iter([trailer]))
    };
    let read = async {
        let answer = timeout(STEP_LIMIT, answer).await.expect("in time")?;
        let status = answer.status().as_u16();
        let (mut received, mut content) = (answer.into_body(), Vec::new());
        while let Some(data) = next(&mut received).await {
            content.extend_from_slice(&data?);
        }
        let trailers = received.trailers().await?.unwrap_or_default();
        Ok::<_, h2::Error>(Answer {
            status,
            body: content,
            trailers,
        })
    };
    let (sent, answer) = tokio::join!(sent, read);
    sent.expect("sent");
    answer.expect("an answer")
}

/// Runs a caller's side.
pub(crate) fn run<T>(caller: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(caller)
}
