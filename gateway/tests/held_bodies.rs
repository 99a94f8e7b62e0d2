//! A thousand connections, each with a megabyte that it sends and does not end: what the gateway holds meanwhile, and that
//! each of them is served once it goes on, or was told at the door that there is no room.
//!
//! Invariant: callers write before they read, which is the worst that honest ones do; what cannot be written any more is
//! held back by the gateway, not by the test. It knows the gateway by its interface alone.

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

mod process_log;
mod served;

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use flate2::read::GzDecoder;
use served::Served;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::time::timeout;

/// Connections at once.
const CONNECTIONS: usize = 1000;
/// Bytes of each body.
const BODY_BYTES: usize = 1 << 20;
/// What is written at once.
const PIECE_BYTES: usize = 16 << 10;
/// After how long in vain a caller takes it that the gateway holds it back.
const HELD_BACK: Duration = Duration::from_secs(3);
/// How long any one step may take: a failure, not a measure.
const STEP_LIMIT: Duration = Duration::from_secs(60);
/// What the gateway may hold: its bound on bodies in memory (`body_memory_bytes_max`, 512 MiB), and three quarters of it
/// again for what is not counted there: two read buffers a connection, a block that waits for its window, and what the
/// allocator keeps. Less than what callers have sent in all.
const MEMORY_KIB_MAX: u64 = (512 + 384) << 10;

/// Bytes that do not compress, each caller's own.
fn noise(seed: usize) -> Vec<u8> {
    let mut state =
        0x9e37_79b9_7f4a_7c15_u64 ^ (seed as u64 + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mut out = Vec::with_capacity(BODY_BYTES);
    while out.len() < BODY_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out
}

/// One caller: its status and whether its answer was right.
async fn call(
    address: SocketAddr,
    key: Arc<str>,
    number: usize,
    held: Arc<Barrier>,
    go_on: Arc<Barrier>,
    sent: Arc<AtomicUsize>,
) -> (u16, bool) {
    let body = noise(number);
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    let head = format!(
        "POST /v1/compress?level=1 HTTP/1.1\r\nHost: faam.test\r\nAuthorization: Bearer {key}\r\nContent-Length: \
         {BODY_BYTES}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("a head");
    let mut written = 0;
    // All but the last byte, unless it is held back or refused.
    while written < BODY_BYTES - 1 {
        let end = (written + PIECE_BYTES).min(BODY_BYTES - 1);
        match timeout(HELD_BACK, stream.write(&body[written..end])).await {
            Ok(Ok(taken)) => written += taken,
            Ok(Err(_)) | Err(_) => break,
        }
    }
    sent.fetch_add(written, Ordering::Relaxed);
    held.wait().await;
    go_on.wait().await;
    let (mut reading, mut writing) = stream.into_split();
    let mut answer = Vec::new();
    let rest = body[written..].to_vec();
    let write = tokio::spawn(async move {
        // Who was refused need not send the rest.
        let _ = writing.write_all(&rest).await;
        writing
    });
    let read = timeout(STEP_LIMIT, reading.read_to_end(&mut answer)).await;
    write.abort();
    // A refusal may end in a reset, for the rest of its body was not read.
    let broke_off = read.expect("an answer in time").is_err();
    judge(&answer, &body, broke_off)
}

fn judge(answer: &[u8], body: &[u8], broke_off: bool) -> (u16, bool) {
    let text = String::from_utf8_lossy(&answer[..answer.len().min(16)]).into_owned();
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.unwrap_or(0);
    if status != 200 {
        return (status, true);
    }
    let Some(at) = answer.windows(4).position(|end| end == b"\r\n\r\n") else {
        return (status, false);
    };
    let (head, content) = (&answer[..at], &answer[at + 4..]);
    let chunked = String::from_utf8_lossy(head).to_ascii_lowercase();
    let member = if chunked.contains("transfer-encoding: chunked") {
        chunks(content)
    } else {
        content.to_vec()
    };
    let mut decoded = Vec::new();
    let read = GzDecoder::new(&member[..]).read_to_end(&mut decoded);
    (status, !broke_off && read.is_ok() && decoded == body)
}

/// What chunks carry (RFC 9112, 7.1); as far as they are whole.
fn chunks(mut content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = content.windows(2).position(|end| end == b"\r\n") {
        let size = String::from_utf8_lossy(&content[..end]).into_owned();
        let Ok(size) = usize::from_str_radix(&size, 16) else {
            break;
        };
        let begin = end + 2;
        let Some(chunk) = content.get(begin..begin + size).filter(|_| size > 0) else {
            break;
        };
        out.extend_from_slice(chunk);
        content = content.get(begin + size + 2..).unwrap_or_default();
    }
    out
}

/// Memory of the gateway in KiB, of this kind.
fn memory_kib(gateway: &Served, kind: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", gateway.child.id()));
    let status = status.expect("the gateway runs");
    let line = status.lines().find_map(|line| line.strip_prefix(kind));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.expect("the kernel tells it")
}

fn metric(gateway: &Served, series: &str) -> f64 {
    let url = format!("http://{}/metrics", gateway.admin);
    let mut answer = ureq::get(url).call().expect("probes are never starved");
    let text = answer.body_mut().read_to_string().expect("text");
    let values = text.lines().filter_map(|line| line.strip_prefix(series));
    values
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

#[test]
fn a_thousand_connections_hold_a_megabyte_each_in_bounded_memory() {
    let callers = CONNECTIONS.to_string();
    let gateway = Served::start(
        &["--devices", "none"],
        &[
            ("FAAM_LOG", "warn"),
            ("FAAM_TENANT_IN_FLIGHT_MAX", &callers),
        ],
    );
    let before_kib = memory_kib(&gateway, "VmRSS:");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let sent = Arc::new(AtomicUsize::new(0));
    let key: Arc<str> = gateway.key.as_str().into();
    let ended = runtime.block_on(async {
        let held = Arc::new(Barrier::new(CONNECTIONS + 1));
        let go_on = Arc::new(Barrier::new(CONNECTIONS + 1));
        let callers: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let (held, go_on) = (Arc::clone(&held), Arc::clone(&go_on));
                let (key, sent) = (Arc::clone(&key), Arc::clone(&sent));
                tokio::spawn(call(gateway.public, key, number, held, go_on, sent))
            })
            .collect();
        timeout(STEP_LIMIT, held.wait()).await.expect("all are held");
        let sent_kib = sent.load(Ordering::Relaxed) / 1024;
        println!(
            "{CONNECTIONS} connections have sent {sent_kib} KiB and hold on: {} requests in flight with {:.0} KiB of memory \
             taken; resident {} KiB, at most {} KiB, {before_kib} KiB before",
            metric(&gateway, "faam_inflight "),
            metric(&gateway, "faam_body_memory_bytes ") / 1024.0,
            memory_kib(&gateway, "VmRSS:"),
            memory_kib(&gateway, "VmHWM:"),
        );
        go_on.wait().await;
        let mut ended = Vec::new();
        for caller in callers {
            ended.push(caller.await.expect("a caller"));
        }
        ended
    });
    let of = |status: u16| ended.iter().filter(|(ended, _)| *ended == status).count();
    let (ok, saturated) = (of(200), of(503));
    let most_kib = memory_kib(&gateway, "VmHWM:");
    println!("{ok} served, {saturated} told that there is no room; at most {most_kib} KiB");
    assert!(
        ended.iter().all(|(_, right)| *right),
        "a wrong or torn answer"
    );
    assert_eq!(ok + saturated, CONNECTIONS, "{ended:?}");
    assert!(ok >= CONNECTIONS / 2, "{ok} served");
    println!("resident {} KiB at rest", memory_kib(&gateway, "VmRSS:"));
    assert!(most_kib <= MEMORY_KIB_MAX, "{most_kib} KiB");
    let at_rest = |gauge| metric(&gateway, gauge) == 0.0;
    let until = Instant::now() + STEP_LIMIT;
    while !(at_rest("faam_inflight ") && at_rest("faam_body_memory_bytes ")) {
        assert!(Instant::now() < until, "not all has come back");
        gateway.log.changed(HELD_BACK);
    }
    assert!(
        !gateway.log.text().contains("panicked"),
        "a thread panicked"
    );
}
