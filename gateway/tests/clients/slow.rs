//! Callers that are slow, or gone: 200 of each kind, all at once, a quarter of them over HTTP/2. What they held comes
//! back, and those that only read slowly get the right bytes.

use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flate2::read::GzDecoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::gateway::Gateway;
use crate::http2;
use crate::samples::{gzip, noise};

/// Callers of each kind.
const CALLERS: usize = 200;
/// As many of them share connections of HTTP/2.
const HTTP2_CALLERS: usize = 50;
const HTTP2_STREAMS: usize = 25;
/// Windows that close for no stream of a connection because of another.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 16 << 20;
/// Windows of a caller that says nothing of them (RFC 9113, 6.9.2).
const DEFAULT_WINDOW: u32 = 65_535;
/// What is compressed. No encoder makes it smaller.
const BODY_BYTES: usize = 2 << 20;
/// The same for a caller that reads nothing: more than the kernel keeps for it.
const UNREAD_BYTES: usize = 8 << 20;
/// What is decompressed: far more than the kernel takes for a caller that reads nothing.
const ZEROS_BYTES: usize = 64 << 20;
/// Receive buffer of a caller that reads nothing.
const RECEIVE_BYTES: u32 = 16 << 10;
/// Pace of a slow reader: as much, so often, is 1 MB/s.
const PIECE_BYTES: usize = 64 << 10;
const PIECE_EVERY: Duration = Duration::from_micros(65_536);
/// How long any one step may take: a failure, not a measure.
const STEP_LIMIT: Duration = Duration::from_secs(60);
/// Most memory of the gateway for all of them.
const MEMORY_BYTES_MAX: u64 = 512 << 20;
const SETTINGS: [(&str, &str); 3] = [
    // All of them at once, each with all that it may need.
    ("FAAM_TENANT_IN_FLIGHT_MAX", "1000"),
    ("FAAM_BODY_MEMORY_BYTES_MAX", "4GiB"),
    ("FAAM_HTTP_WRITE_STALL_MS_MAX", "6000"),
];

/// What they share.
struct Scene {
    gateway: Gateway,
    noise: Bytes,
    more_noise: Bytes,
    zeros: Bytes,
}

/// Where it goes, and what.
#[derive(Clone, Copy)]
enum Work {
    Compress,
    CompressMore,
    Decompress,
}

impl Scene {
    fn of(&self, work: Work) -> (&'static str, Bytes) {
        match work {
            Work::Compress => ("/v1/compress?level=1", self.noise.clone()),
            Work::CompressMore => ("/v1/compress?level=1", self.more_noise.clone()),
            Work::Decompress => ("/v1/decompress", self.zeros.clone()),
        }
    }

    /// A connection with the head of a request.
    async fn begin(&self, target: &str, length: usize, small_buffer: bool) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        if small_buffer {
            socket.set_recv_buffer_size(RECEIVE_BYTES).expect("set");
        }
        let mut stream = socket
            .connect(self.gateway.address)
            .await
            .expect("it listens");
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: faam.test\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n",
            self.gateway.key
        );
        stream.write_all(head.as_bytes()).await.expect("taken");
        stream
    }
}

/// Reads 1 MB/s, while it writes as fast as it can.
async fn reads_slowly(scene: Arc<Scene>) {
    let (target, body) = scene.of(Work::Compress);
    let stream = scene.begin(target, body.len(), false).await;
    let (mut reading, mut writing) = stream.into_split();
    let sent = body.clone();
    let writer = tokio::spawn(async move { writing.write_all(&sent).await.map(|()| writing) });
    let (mut pace, mut answer) = (interval(PIECE_EVERY), Vec::new());
    loop {
        pace.tick().await;
        let mut piece = (&mut reading).take(PIECE_BYTES as u64);
        let read = timeout(STEP_LIMIT, piece.read_to_end(&mut answer)).await;
        if read.expect("it goes on").expect("read") == 0 {
            break;
        }
    }
    drop(writer.await.expect("a writer").expect("sent"));
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, packed) = answer.split_at(end.expect("a head") + 4);
    assert!(
        head.starts_with(b"HTTP/1.1 200 "),
        "{}",
        String::from_utf8_lossy(head)
    );
    check(&unchunked(packed), &body);
}

async fn http2_reads_slowly(scene: Arc<Scene>, requests: h2::client::SendRequest<Bytes>) {
    let (target, body) = scene.of(Work::Compress);
    let (answer, mut sending) = http2::begin(&requests, &scene.gateway, target).await;
    let sent = http2::send(&mut sending, body.clone(), true);
    let read = async {
        let answer = timeout(STEP_LIMIT, answer)
            .await
            .expect("in time")
            .expect("an answer");
        assert_eq!(answer.status().as_u16(), 200);
        let (mut received, mut packed) = (answer.into_body(), Vec::new());
        let mut pace = interval(PIECE_EVERY);
        let mut left = 0;
        while let Some(data) = http2::next(&mut received).await {
            let data = data.unwrap_or_else(|error| panic!("after {}: {error}", packed.len()));
            packed.extend_from_slice(&data);
            left += data.len();
            while left >= PIECE_BYTES {
                pace.tick().await;
                left -= PIECE_BYTES;
            }
        }
        check(&packed, &body);
    };
    let (sent, ()) = tokio::join!(sent, read);
    sent.expect("sent");
}

#[track_caller]
fn check(packed: &[u8], expected: &[u8]) {
    let mut data = Vec::with_capacity(expected.len());
    GzDecoder::new(packed)
        .read_to_end(&mut data)
        .expect("a member");
    assert!(data == expected, "other bytes");
}

/// The data of a chunked body that has come whole (RFC 9112, 7.1).
#[track_caller]
fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let end = body
            .windows(2)
            .position(|two| two == b"\r\n")
            .expect("a size");
        let size = std::str::from_utf8(&body[..end]).expect("text");
        let size = usize::from_str_radix(size, 16).expect("a number");
        if size == 0 {
            return data;
        }
        data.extend_from_slice(&body[end + 2..end + 2 + size]);
        body = &body[end + 4 + size..];
    }
}

/// Sends all and reads nothing, until `done`.
async fn never_reads(scene: Arc<Scene>, work: Work, mut done: watch::Receiver<bool>) {
    let (target, body) = scene.of(work);
    let mut stream = scene.begin(target, body.len(), true).await;
    // The connection may end under it: it does not read, after all.
    let _ = timeout(STEP_LIMIT, stream.write_all(&body))
        .await
        .expect("taken");
    let _ = done.wait_for(|done| *done).await;
}

async fn http2_never_reads(
    scene: Arc<Scene>,
    requests: h2::client::SendRequest<Bytes>,
    mut done: watch::Receiver<bool>,
) {
    let (target, body) = scene.of(Work::Decompress);
    let (answer, mut sending) = http2::begin(&requests, &scene.gateway, target).await;
    http2::send(&mut sending, body, true).await.expect("taken");
    // Its head may come, and as much as the window takes.
    let answer = timeout(STEP_LIMIT, answer).await.expect("in time");
    let _ = done.wait_for(|done| *done).await;
    drop((answer, requests));
}

/// Hangs up once its answer has begun.
async fn hangs_up_in_its_answer(scene: Arc<Scene>) {
    let (target, body) = scene.of(Work::Decompress);
    let mut stream = scene.begin(target, body.len(), true).await;
    stream.write_all(&body).await.expect("taken");
    let mut begun = [0; 4096];
    let read = timeout(STEP_LIMIT, stream.read_exact(&mut begun)).await;
    let read = read.expect("in time").is_ok();
    let text = String::from_utf8_lossy(&begun);
    assert!(read && text.starts_with("HTTP/1.1 200 "), "{text}");
}

async fn http2_hangs_up_in_its_answer(scene: Arc<Scene>, requests: h2::client::SendRequest<Bytes>) {
    let (target, body) = scene.of(Work::Decompress);
    let (answer, mut sending) = http2::begin(&requests, &scene.gateway, target).await;
    http2::send(&mut sending, body, true).await.expect("taken");
    let answer = timeout(STEP_LIMIT, answer)
        .await
        .expect("in time")
        .expect("an answer");
    let mut body = answer.into_body();
    http2::next(&mut body).await.expect("data").expect("data");
}

/// Hangs up in the middle of its body, once `done`.
async fn hangs_up_in_its_request(scene: Arc<Scene>, mut done: watch::Receiver<bool>) {
    let (target, body) = scene.of(Work::Compress);
    let mut stream = scene.begin(target, body.len(), false).await;
    stream
        .write_all(&body[..body.len() / 8])
        .await
        .expect("taken");
    let _ = done.wait_for(|done| *done).await;
}

async fn http2_hangs_up_in_its_request(
    scene: Arc<Scene>,
    requests: h2::client::SendRequest<Bytes>,
    mut done: watch::Receiver<bool>,
) {
    let (target, body) = scene.of(Work::Compress);
    let (answer, mut sending) = http2::begin(&requests, &scene.gateway, target).await;
    let part = body.slice(..body.len() / 8);
    http2::send(&mut sending, part, false).await.expect("taken");
    let _ = done.wait_for(|done| *done).await;
    sending.send_reset(h2::Reason::CANCEL);
    drop((answer, requests));
}

/// Waits until as many requests are in flight, or more.
async fn wait_for_at_least(scene: &Arc<Scene>, count: usize) {
    let scene = Arc::clone(scene);
    let waited = tokio::task::spawn_blocking(move || {
        let until = Instant::now() + STEP_LIMIT;
        loop {
            let in_flight = scene.gateway.metric("faam_inflight");
            if in_flight >= count as f64 {
                return;
            }
            assert!(
                Instant::now() < until,
                "{in_flight} are in flight, not {count}"
            );
            scene.gateway.tick();
        }
    });
    waited.await.expect("in time");
}

#[test]
fn slow_and_gone_callers_give_everything_back() {
    let gateway = Gateway::start(&SETTINGS);
    let before = gateway.at_rest();
    let scene = Arc::new(Scene {
        gateway,
        noise: noise(BODY_BYTES).into(),
        more_noise: noise(UNREAD_BYTES).into(),
        zeros: gzip(&vec![0; ZEROS_BYTES]).into(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(play(&scene));
    drop(runtime);
    let gateway = &scene.gateway;
    gateway.check_at_rest_as(before);
    let ended = |outcome: &str| {
        let counts = ["compress", "decompress"].map(|kernel| {
            ["cpu", "none"].map(|backend| {
                gateway.metric(&format!(
                    r#"faam_requests_total{{tenant="demo",kernel="{kernel}",backend="{backend}",outcome="{outcome}"}}"#
                ))
            })
        });
        counts.iter().flatten().sum::<f64>()
    };
    let [ok, stalled, cancelled, broken] =
        ["ok", "stalled", "cancelled", "invalid-option"].map(ended);
    println!(
        "{ok} ok, {stalled} stalled, {cancelled} cancelled, {broken} with a body that broke off"
    );
    assert_eq!(gateway.metric("faam_requests_total"), 4.0 * CALLERS as f64);
    assert_eq!(
        ok, CALLERS as f64,
        "those that read slowly, and nobody else"
    );
    assert_eq!(stalled + cancelled, 3.0 * CALLERS as f64);
    assert_eq!(broken, 0.0, "who hangs up is not wrong");
    gateway.check_memory(MEMORY_BYTES_MAX);
}

async fn play(scene: &Arc<Scene>) {
    let (done, is_done) = watch::channel(false);
    let (hang_up, is_hang_up) = watch::channel(false);
    let mut callers = JoinSet::new();
    let mut waiting = JoinSet::new();
    let share = || Arc::clone(scene);
    // Who hangs up in its request is in it by then.
    for _ in 0..CALLERS - HTTP2_CALLERS {
        waiting.spawn(hangs_up_in_its_request(share(), is_hang_up.clone()));
    }
    for _ in 0..HTTP2_CALLERS / HTTP2_STREAMS {
        let requests = http2::connect(&scene.gateway, STREAM_WINDOW, CONNECTION_WINDOW).await;
        for _ in 0..HTTP2_STREAMS {
            let (requests, hang_up) = (requests.clone(), is_hang_up.clone());
            waiting.spawn(http2_hangs_up_in_its_request(share(), requests, hang_up));
        }
    }
    wait_for_at_least(scene, CALLERS).await;
    for number in 0..CALLERS - HTTP2_CALLERS {
        let work = [Work::CompressMore, Work::Decompress][number % 2];
        callers.spawn(reads_slowly(share()));
        callers.spawn(hangs_up_in_its_answer(share()));
        waiting.spawn(never_reads(share(), work, is_done.clone()));
    }
    for _ in 0..HTTP2_CALLERS / HTTP2_STREAMS {
        let connect = || http2::connect(&scene.gateway, STREAM_WINDOW, CONNECTION_WINDOW);
        let connections = [connect().await, connect().await];
        // Whose window for all closes with the first.
        let never = http2::connect(&scene.gateway, DEFAULT_WINDOW, DEFAULT_WINDOW).await;
        for _ in 0..HTTP2_STREAMS {
            let [slow, answered] = connections.clone();
            callers.spawn(http2_reads_slowly(share(), slow));
            callers.spawn(http2_hangs_up_in_its_answer(share(), answered));
            waiting.spawn(http2_never_reads(share(), never.clone(), is_done.clone()));
        }
    }
    wait_for_at_least(scene, 2 * CALLERS).await;
    hang_up.send_replace(true);
    while let Some(caller) = callers.join_next().await {
        caller.expect("a caller");
    }
    // Those that read nothing hold nothing, though their connections are there.
    let held = share();
    let rest = tokio::task::spawn_blocking(move || {
        for name in [
            "faam_inflight",
            "faam_body_memory_bytes",
            "faam_spill_bytes",
        ] {
            held.gateway.wait_for(name, 0.0);
        }
    });
    rest.await.expect("at rest");
    done.send_replace(true);
    while let Some(caller) = waiting.join_next().await {
        caller.expect("a caller");
    }
}
