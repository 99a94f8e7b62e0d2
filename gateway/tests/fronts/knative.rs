//! Knative: what its queue-proxy and its senders send, over HTTP/1.1 and HTTP/2 by prior knowledge.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use faam_gateway::fronts::knative::Knative;
use rustix::process::Signal;

use crate::carried::Carried;
use crate::container::{Container, SOON};
use crate::exchange::{gunzip, send, try_send};
use crate::free_port::free_port;

const TEXT: &[u8] = b"hello hello hello hello hello hello hello hello";

#[test]
fn a_body_is_compressed_as_asked() {
    let front = Carried::start(Knative::new);
    let binary: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let post = |target: &str, headers: &[(&str, &[u8])], body: &[u8]| {
        send(front.address(), "POST", target, headers, body)
    };
    let told = post("/", &[("Content-Type", b"image/png")], &binary);
    told.check_gzip_of(&binary);
    assert_eq!(told.header("content-type"), Some("application/gzip"));
    assert_eq!(told.header("faam-backend"), Some("cpu"));
    let back = post("/decompress", &[], &told.body);
    assert_eq!((back.status, back.body), (200, binary));
    let told = post("/?function=gzip&level=12", &[], TEXT);
    assert_eq!(told.header("faam-level"), Some("12"));
    post("/", &[], b"").check_gzip_of(b"");
    post("/?level=0", &[], TEXT).check_problem(400, "invalid-option", &["level"]);
    post("/gunzip", &[], TEXT).check_problem(422, "corrupt-input", &[]);
    post("/", &[("Content-Encoding", b"gzip")], TEXT).check_problem(
        415,
        "unknown-format",
        &["decompress"],
    );
    let told = send(front.address(), "PATCH", "/", &[], TEXT);
    told.check_problem(405, "method", &["POST"]);
    assert_eq!(told.header("allow"), Some("POST, GET, HEAD, OPTIONS"));
}

#[test]
fn probes_are_answered_as_the_network_layer_expects() {
    let front = Carried::start(Knative::new);
    let get = |target: &str, headers: &[(&str, &[u8])]| {
        send(front.address(), "GET", target, headers, b"")
    };
    assert_eq!(
        get("/healthz", &[("User-Agent", b"kube-probe/1.31")]).status,
        200
    );
    assert_eq!(get("/", &[]).status, 200);
    assert_eq!(get("/readyz", &[]).status, 200);
    let told = get(
        "/healthz",
        &[("K-Network-Probe", b"probe"), ("K-Network-Hash", b"abc")],
    );
    assert_eq!(
        (told.status, told.header("k-network-hash")),
        (200, Some("abc"))
    );
    get("/", &[("K-Network-Probe", b"probe")]).check_problem(
        400,
        "invalid-option",
        &["K-Network-Hash"],
    );
    let queue = get("/", &[("K-Network-Probe", b"queue")]);
    assert_eq!((queue.status, &*queue.text()), (200, "queue"));
    get("/", &[("K-Network-Probe", b"other")]).check_problem(400, "invalid-option", &["queue"]);
}

#[test]
fn http2_by_prior_knowledge_carries_calls_and_events() {
    let front = Carried::start(Knative::new);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let url = format!("http://{}/", front.address());
    runtime.block_on(async {
        let client = reqwest::Client::builder()
            .http2_prior_knowledge()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client");
        let calls: Vec<_> = (0..8_usize)
            .map(|turn| {
                let request = client.post(&url).body(TEXT.repeat(turn + 1));
                tokio::spawn(request.send())
            })
            .collect();
        for (turn, call) in calls.into_iter().enumerate() {
            let answer = call.await.expect("runs").expect("an answer");
            assert_eq!(answer.version(), reqwest::Version::HTTP_2);
            assert_eq!(answer.status(), 200);
            let packed = answer.bytes().await.expect("a body");
            assert_eq!(gunzip(&packed), TEXT.repeat(turn + 1));
        }
        let event = client
            .post(&url)
            .header("ce-specversion", "1.0")
            .header("ce-id", "1")
            .header("ce-source", "/tests")
            .header("ce-type", "test")
            .body(TEXT);
        let answer = event.send().await.expect("an answer");
        assert_eq!(answer.headers()["ce-type"], "faam.compressed");
        assert_eq!(gunzip(&answer.bytes().await.expect("a body")), TEXT);
    });
}

/// Senders at once while the container is killed.
const SENDERS: usize = 2;
/// How often it is killed.
const KILLS: usize = 3;
/// Answers before each kill, and after the last.
const ANSWERS: usize = 40;
/// How soon a sender tries again where nobody answered.
const AGAIN: Duration = Duration::from_millis(5);

/// Whether the senders are to end.
#[derive(Default)]
struct Ending(Mutex<bool>, Condvar);

impl Ending {
    fn is_over(&self, within: Duration) -> bool {
        let over = self.0.lock().expect("whole");
        let waited = self.1.wait_timeout_while(over, within, |over| !*over);
        *waited.expect("whole").0
    }

    fn end(&self) {
        *self.0.lock().expect("whole") = true;
        self.1.notify_all();
    }
}

/// Sends one event after another, each until it is answered, and then once more; checks every answer that comes.
fn keep_sending(sender: usize, address: SocketAddr, ending: &Ending, answered: &Sender<()>) {
    let mut ids = HashMap::new();
    for turn in 0.. {
        let id = format!("{sender}-{turn}");
        let body = format!("{id} hello hello hello hello").repeat(1 + turn % 700);
        for _ in 0..2 {
            let told = loop {
                if ending.is_over(Duration::ZERO) {
                    return;
                }
                let headers: [(&str, &[u8]); 4] = [
                    ("ce-specversion", b"1.0"),
                    ("ce-id", id.as_bytes()),
                    ("ce-source", b"/tests/load"),
                    ("ce-type", b"test"),
                ];
                match try_send(address, "POST", "/", &headers, body.as_bytes()) {
                    Ok(told) => break told,
                    // Killed, or not there yet.
                    Err(_) if ending.is_over(AGAIN) => return,
                    Err(_) => {}
                }
            };
            told.check_gzip_of(body.as_bytes());
            assert_eq!(told.header("ce-faamcauseid"), Some(&*id));
            let answer = told.header("ce-id").expect("an id").to_owned();
            let first = ids.entry(id.clone()).or_insert_with(|| answer.clone());
            assert_eq!(
                *first, answer,
                "an answer that comes twice is known by its id"
            );
            if answered.send(()).is_err() {
                return;
            }
        }
    }
}

#[test]
fn killed_and_started_again_under_load_it_never_answers_wrongly() {
    let port = free_port();
    println!("PORT={port}");
    // What a killed process leaves behind goes with the test.
    let scratch = tempfile::tempdir().expect("a directory");
    let port_text = port.to_string();
    let variables = [
        ("PORT", &*port_text),
        ("K_SERVICE", "pack"),
        ("TMPDIR", scratch.path().to_str().expect("text")),
    ];
    let start = || Container::start_where(&[], &variables);
    let mut container = start();
    assert_eq!(container.address.port(), port);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let ending = Ending::default();
    let (answered, answers) = channel();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (answered, ending) = (answered.clone(), &ending);
                scope.spawn(move || keep_sending(sender, address, ending, &answered))
            })
            .collect();
        drop(answered);
        let wait = || (0..ANSWERS).all(|_| answers.recv_timeout(SOON).is_ok());
        let mut served = wait();
        for _ in 0..KILLS {
            if !served {
                break;
            }
            container.signal(Signal::KILL);
            assert!(!container.ended().success());
            // What was answered before it died.
            while answers.try_recv().is_ok() {}
            container = start();
            served = wait();
        }
        ending.end();
        for sender in senders {
            sender.join().expect("every answer was right");
        }
        assert!(served, "not {ANSWERS} answers within {SOON:?} each");
    });
}
