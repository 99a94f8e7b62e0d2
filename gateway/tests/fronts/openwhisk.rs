//! The OpenWhisk action container: the cases of the platform's own runner tests (BasicActionRunnerTests), and what follows from
//! another gateway behind it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::{GzDecoder, ZlibDecoder};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::container::Container;
use crate::free_port::free_port;
use crate::served::Served;
use crate::wire::{Answer, Wire};

const SENTINEL: &str = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";
const TWICE: &str = "Cannot initialize the action more than once.";

fn whisk(flags: &[&str], variables: &[(&str, &str)]) -> Container {
    Container::start(&[&["--platform", "openwhisk"], flags].concat(), variables)
}

fn init(container: &Container, value: Value) -> Answer {
    container.post("/init", &json!({ "value": value }))
}

#[track_caller]
fn initialized(code: &str) -> Container {
    initialize(whisk(&[], &[]), code)
}

fn initialize(container: Container, code: &str) -> Container {
    let answer = init(
        &container,
        json!({ "name": "a", "main": "main", "code": code, "binary": false }),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    container
}

fn run(container: &Container, value: Value) -> Answer {
    container.post(
        "/run",
        &json!({ "value": value, "activation_id": "an-id", "namespace": "guest" }),
    )
}

fn data(bytes: &[u8]) -> Value {
    json!({ "data": STANDARD.encode(bytes) })
}

/// The result of an activation that went well.
#[track_caller]
fn result(answer: &Answer) -> Vec<u8> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let result = answer.json();
    let bytes = STANDARD.decode(result["data"].as_str().expect("data"));
    let bytes = bytes.expect("base64");
    assert_eq!(result["bytes_out"], bytes.len());
    assert_eq!(result["verify"], "ok");
    bytes
}

#[track_caller]
fn gunzipped(answer: &Answer) -> Vec<u8> {
    let compressed = result(answer);
    let mut whole = Vec::new();
    let read = GzDecoder::new(&compressed[..]).read_to_end(&mut whole);
    read.expect("gzip");
    whole
}

/// An error as the platform's runtimes have it: `{"error": text}` and nothing else.
#[track_caller]
fn error(answer: &Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    let members = body.as_object().expect("an object");
    assert_eq!(members.len(), 1, "{body}");
    members["error"].as_str().expect("a text").to_owned()
}

/// So many activations have ended on both streams, each with a line of its own, and nothing else is on standard output.
#[track_caller]
fn check_sentinels(container: &Container, count: usize) {
    container.wait_until(&format!("{count} sentinels"), |container| {
        [&container.out, &container.err].iter().all(|stream| {
            let text = stream.text();
            let whole = text.lines().filter(|line| *line == SENTINEL).count();
            assert_eq!(
                whole,
                text.matches(SENTINEL).count(),
                "a torn line in {text}"
            );
            assert!(whole <= count, "{whole} sentinels, not {count}");
            whole == count
        })
    });
    let out = container.out.text();
    assert!(out.lines().all(|line| line == SENTINEL), "{out}");
}

#[test]
fn no_code_no_content_and_a_second_init() {
    for body in [
        json!({ "value": { "main": "", "code": "" } }),
        json!({}),
        json!({ "value": {} }),
        json!({ "value": null }),
    ] {
        let container = whisk(&["--function", "zlib", "--level", "9"], &[]);
        let answer = container.post("/init", &body);
        assert_eq!(answer.status, 200, "{body}: {}", answer.text());
        assert_eq!(error(&container.post("/init", &body), 403), TWICE);
        // The image's own function.
        let compressed = result(&run(&container, data(b"hello hello hello")));
        let mut whole = String::new();
        let read = ZlibDecoder::new(&compressed[..]).read_to_string(&mut whole);
        read.expect("zlib");
        assert_eq!(whole, "hello hello hello");
        // One for the activation, none for /init, and none for the second.
        check_sentinels(&container, 1);
        assert!(container.err.text().contains(TWICE));
    }
}

#[test]
fn an_init_that_cannot_be_says_why_and_may_be_tried_again() {
    let container = whisk(&[], &[]);
    let mut failed = 0;
    for (value, word) in [
        (json!({ "code": "rar" }), "\"rar\""),
        (json!({ "code": "function main(a) { return a }" }), "gunzip"),
        (
            json!({ "code": "{\"kernel\": \"gzip\", \"level\": 99}" }),
            "level",
        ),
        (
            json!({ "code": "{\"kernel\": \"gzip\", \"speed\": 1}" }),
            "speed",
        ),
        (
            json!({ "code": "gzip", "env": { "FAAM_BACKEND": "gpu" } }),
            "gpu",
        ),
        (
            json!({ "code": "gzip", "env": { "FAAM_BACKEND": "require-hw" } }),
            "no-engine",
        ),
        (json!({ "code": "UEsDBP8=", "binary": true }), "archive"),
    ] {
        let words = error(&init(&container, value.clone()), 502);
        assert!(words.starts_with("cannot initialize action: "), "{words}");
        assert!(words.contains(word), "{value}: {words}");
        failed += 1;
    }
    for body in [
        &b""[..],
        b"{",
        b"[]",
        b"\"gzip\"",
        b"{\"value\": 1}",
        b"{\"value\": {\"code\": 1}}",
        b"\xff",
    ] {
        let words = error(&container.post_bytes("/init", body), 400);
        assert!(words.starts_with("Error unmarshaling request: "), "{words}");
    }
    assert_eq!(
        error(&run(&container, data(b"x")), 500),
        "no action defined yet"
    );
    check_sentinels(&container, failed + 1);
    assert_eq!(init(&container, json!({ "code": "gzip" })).status, 200);
    assert_eq!(gunzipped(&run(&container, data(b"x"))), b"x");
    check_sentinels(&container, failed + 2);
}

#[test]
fn every_function_runs_and_the_activations_options_are_its_own() {
    for (there, back) in [
        ("gzip", "gunzip"),
        ("zlib", "unzlib"),
        ("deflate", "inflate"),
        ("zstd", "unzstd"),
        ("lz4", "unlz4"),
        ("{\"kernel\": \"gzip\", \"level\": 6}", "decompress"),
    ] {
        let (there, back) = (initialized(there), initialized(back));
        let input = b"hello hello hello ".repeat(100);
        let compressed = result(&run(&there, data(&input)));
        assert!(compressed.len() < input.len());
        assert_eq!(result(&run(&back, data(&compressed))), input);
    }
    let container = initialized("{\"kernel\": \"gzip\", \"level\": 1}");
    let input: Vec<u8> = (0..200_000u32)
        .flat_map(|n| (n.wrapping_mul(n) / 7).to_string().into_bytes())
        .collect();
    let of = |level: Value| {
        let mut value = data(&input);
        value["level"] = level;
        result(&run(&container, value)).len()
    };
    let (fast, dense) = (result(&run(&container, data(&input))).len(), of(json!(12)));
    assert_eq!(of(json!("12")), dense);
    assert!(dense < fast, "{dense} {fast}");
    let zstd = run(&container, json!({ "data": "", "kernel": "zstd" }));
    assert_eq!(&result(&zstd)[..4], [0x28, 0xb5, 0x2f, 0xfd]);
}

#[test]
fn what_is_no_object_of_ours_is_an_error_of_the_activation() {
    let container = initialized("gunzip");
    let values = [
        (json!(null), "an object"),
        (json!("A"), "an object"),
        (json!([1, 2]), "an object"),
        (json!(42), "an object"),
        (json!({}), "data"),
        (json!({ "data": 1 }), "string"),
        (json!({ "data": "***" }), "base64"),
        (json!({ "data": "", "winter": "❄" }), "winter"),
        (
            json!({ "data": STANDARD.encode("no gzip") }),
            "corrupt-input",
        ),
        (
            json!({ "data": "", "kernel": "gzip", "level": "99" }),
            "level",
        ),
        (json!({ "data": "", "deadline_ms": "soon" }), "Deadline"),
    ];
    let count = values.len();
    for (value, word) in values {
        let words = error(&run(&container, value.clone()), 502);
        assert!(words.contains(word), "{value}: {words}");
    }
    for body in [&b""[..], b"{", b"null", b"[]"] {
        let words = error(&container.post_bytes("/run", body), 400);
        assert!(words.starts_with("Error unmarshaling request: "), "{words}");
    }
    let words = error(&container.post("/run", &json!({})), 502);
    assert!(words.contains("null"), "{words}");
    check_sentinels(&container, count + 5);
    // Whose activation it was stands in the log, before its end.
    let log = container.err.text();
    let (before, _) = log.split_once(SENTINEL).expect("an end");
    assert!(before.contains("activation_id=\"an-id\""), "{before}");
    assert!(before.contains("namespace=\"guest\""), "{before}");
    assert!(
        before.contains("refused"),
        "the line of the request itself: {before}"
    );
}

#[test]
fn what_is_not_of_the_protocol_is_refused_and_ends_no_activation() {
    let container = initialized("gzip");
    let ask = |method, path| crate::wire::request(container.address, method, path, &[], b"");
    error(&ask("POST", "/stop"), 404);
    error(&ask("GET", "/run"), 405);
    error(&ask("GET", "/"), 405);
    let large = [("Content-Length", "99999999999")];
    let mut wire = Wire::connect(container.address);
    wire.head("POST", "/run", &large);
    assert!(error(&wire.answer(), 502).starts_with("too-large: "));
    // The one that was an activation, too large as it was.
    check_sentinels(&container, 1);
}

#[test]
fn unicode_passes_through_bodies_names_and_logs() {
    let container = whisk(&[], &[]);
    let code = json!({ "name": "❄", "main": "❄", "code": "gzip", "env": { "WINTER": "❄ ☃ ❄" } });
    assert_eq!(init(&container, code).status, 200);
    let text = "❄ ☃ ❄".as_bytes();
    assert_eq!(gunzipped(&run(&container, data(text))), text);
    let refused = container.post(
        "/run",
        &json!({ "value": { "❄": "☃" }, "activation_id": "❄\nan end", "action_name": "/guest/☃" }),
    );
    assert!(error(&refused, 502).contains("❄"));
    check_sentinels(&container, 2);
    let log = container.err.text();
    assert!(log.contains(r#"activation_id="❄\nan end""#), "{log}");
    assert!(log.contains(r#"action_name="/guest/☃""#), "{log}");
}

#[test]
fn env_is_there_before_init_and_decides_what_code_does_not() {
    let of = |value: Value, variables: &[(&str, &str)]| {
        let container = whisk(&[], variables);
        let answer = init(&container, value);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let input = b"hello hello hello ".repeat(1000);
        result(&run(&container, data(&input)))
    };
    let env = json!({ "FAAM_FUNCTION": "zlib", "FAAM_LEVEL": 9, "ARRAY": ["a"], "NULL": null, "BOOL": true });
    assert_eq!(of(json!({ "env": env }), &[])[..2], [0x78, 0xda]);
    assert_eq!(
        of(json!({ "code": "gzip", "env": env }), &[])[..2],
        [0x1f, 0x8b]
    );
    // The image's own, in the container's environment.
    let image = [("FAAM_FUNCTION", "zstd"), ("FAAM_LEVEL", "2")];
    assert_eq!(of(json!({}), &image)[..2], [0x28, 0xb5]);
    assert_eq!(
        of(json!({ "env": { "FAAM_FUNCTION": "zlib" } }), &image)[0],
        0x78
    );
}

#[test]
fn the_context_decides_when_an_activation_ends_and_nothing_else() {
    let container = initialized("gzip");
    let props = json!({
        "value": { "data": STANDARD.encode("x") }, "api_host": "xyz", "api_key": "abc", "namespace": "zzz",
        "action_name": "xxx", "activation_id": "iii", "transaction_id": ["a", 1], "deadline": "123",
    });
    // A deadline of 1970, as the platform's own tests send it.
    assert_eq!(gunzipped(&container.post("/run", &props)), b"x");
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let at = |deadline: Duration| {
        let mut props = props.clone();
        props["deadline"] = deadline.as_millis().to_string().into();
        container.post("/run", &props)
    };
    assert_eq!(gunzipped(&at(now + Duration::from_secs(60))), b"x");
    // It began before this container was asked, and has passed since.
    let words = error(&at(now), 502);
    assert!(words.starts_with("deadline: "), "{words}");
    check_sentinels(&container, 3);
    let log = container.err.text();
    assert!(
        log.contains("activation_id=\"iii\"") && !log.contains("abc"),
        "{log}"
    );
}

#[test]
fn more_than_a_megabyte_in_and_out() {
    let container = initialized("gzip");
    let input = vec![b'a'; 1_048_561];
    assert_eq!(gunzipped(&run(&container, data(&input))), input);
    let back = initialized("gunzip");
    let noise: Vec<u8> = (0..3_000_000u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let compressed = result(&run(&container, data(&noise)));
    assert_eq!(result(&run(&back, data(&compressed))), noise);
    // What a bomb makes is more than an answer carries.
    let bomb = result(&run(&container, data(&vec![0; 25 << 20])));
    let bombs = bomb.repeat(2);
    let words = error(&run(&back, data(&bombs)), 502);
    assert!(words.starts_with("too-large: "), "{words}");
}

#[test]
fn activations_run_side_by_side_and_each_has_its_end() {
    let container = Arc::new(initialized("gzip"));
    let (callers, calls) = (16, 8);
    let threads: Vec<_> = (0..callers)
        .map(|caller| {
            let container = Arc::clone(&container);
            std::thread::spawn(move || {
                for call in 0..calls {
                    let input = format!("{caller} {call} ").repeat(100 * (1 + caller));
                    // Every fourth fails.
                    if call % 4 == 3 {
                        error(&run(&container, json!({ "data": "*" })), 502);
                    } else {
                        assert_eq!(
                            gunzipped(&run(&container, data(input.as_bytes()))),
                            input.as_bytes()
                        );
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("its calls went well");
    }
    check_sentinels(&container, callers * calls);
}

#[test]
fn one_endpoint_takes_init_and_activation_apart_and_together() {
    let container = whisk(&[], &[]);
    let one = |body: Value| container.post("/", &body);
    let activation = json!({ "activation": { "activation_id": "one" }, "value": { "data": STANDARD.encode("x") } });
    assert_eq!(
        error(&one(activation.clone()), 500),
        "no action defined yet"
    );
    error(&one(json!({})), 400);
    error(&one(json!({ "value": { "data": "" } })), 400);
    error(&container.post_bytes("/", b"{"), 400);
    assert_eq!(one(json!({ "init": { "code": "gzip" } })).status, 200);
    assert_eq!(
        error(&one(json!({ "init": { "code": "gzip" } })), 403),
        TWICE
    );
    assert_eq!(gunzipped(&one(activation.clone())), b"x");
    check_sentinels(&container, 2);

    let together = whisk(&[], &[]);
    let mut both = activation;
    both["init"] = json!({ "code": "gzip" });
    assert_eq!(gunzipped(&together.post("/", &both)), b"x");
    assert_eq!(error(&together.post("/", &both), 403), TWICE);
    check_sentinels(&together, 2);
}

#[test]
fn told_to_stop_it_answers_what_it_has_begun() {
    let listen = format!("127.0.0.1:{}", free_port());
    let flags = ["--platform", "openwhisk", "--listen", &listen];
    let mut container = initialize(Container::start_where(&flags, &[]), "gzip");
    let body = json!({ "value": data(b"x") }).to_string();
    let mut wire = Wire::connect(container.address);
    let length = body.len().to_string();
    wire.head(
        "POST",
        "/run",
        &[("Content-Length", &length), ("Expect", "100-continue")],
    );
    // Its body is asked for: it is in flight.
    assert_eq!(wire.answer().status, 100);
    container.signal(Signal::TERM);
    // Whoever comes now is not let in any more.
    container.wait_until("it drains", |container| {
        std::net::TcpStream::connect(container.address).is_err()
    });
    wire.send(body.as_bytes()).expect("sent");
    assert_eq!(gunzipped(&wire.answer()), b"x");
    assert!(container.ended().success());
    check_sentinels(&container, 1);
}

/// A gateway of its own process on a Unix socket, which a later one can take again.
fn gateway(data: &Arc<tempfile::TempDir>, socket: &Path) -> Served {
    let mut command = Command::new(env!("CARGO_BIN_EXE_faam"));
    command.arg("serve");
    let socket = socket.to_str().expect("UTF-8");
    Served::start_on(
        Arc::clone(data),
        command,
        &["--devices", "none", "--unix-listen", socket],
        &[],
    )
}

#[test]
fn another_gateway_serves_and_its_loss_is_an_error_until_it_is_back() {
    let data_dir = Arc::new(tempfile::tempdir().expect("a directory"));
    let sockets = tempfile::tempdir().expect("a directory");
    let socket = sockets.path().join("faam.sock");
    let mut served = gateway(&data_dir, &socket);
    let url = format!("unix:{}", socket.display());
    let key = served.key.clone();
    let container = whisk(&[], &[("FAAM_URL", &url), ("FAAM_KEY", &key)]);
    assert_eq!(init(&container, json!({ "code": "gzip" })).status, 200);
    let input = b"hello hello hello ".repeat(100);
    assert_eq!(gunzipped(&run(&container, data(&input))), input);
    // Longer than an answer that the gateway finishes first: streamed, with trailers.
    let noise: Vec<u8> = (0..1_000_000u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    assert_eq!(gunzipped(&run(&container, data(&noise))), noise);
    // Found out after the gateway has begun to answer: why, it still remembers.
    let long = noise.repeat(12);
    let mut torn = result(&run(&container, data(&long)));
    torn.truncate(torn.len() - 1000);
    let mut value = data(&torn);
    value["kernel"] = "gunzip".into();
    let words = error(&run(&container, value), 502);
    assert!(words.starts_with("corrupt-input: "), "{words}");
    // The gateway's own refusals, by its own names.
    let refused = run(&container, json!({ "data": "", "kernel": "gunzip" }));
    let words = error(&refused, 502);
    assert!(
        words.starts_with("corrupt-input: ") || words.starts_with("unknown-format: "),
        "{words}"
    );
    let refused = run(&container, json!({ "data": "", "backend": "require-hw" }));
    let words = error(&refused, 502);
    assert!(
        words.starts_with("no-engine: ") && words.contains("Retry-After"),
        "{words}"
    );

    served.child.kill().expect("it runs");
    served.child.wait().expect("it is ours");
    let words = error(&run(&container, data(&input)), 502);
    assert!(
        words.starts_with("draining: ") && words.contains(&url),
        "{words}"
    );
    drop(served);
    let back = gateway(&data_dir, &socket);
    assert_eq!(back.key, key);
    assert_eq!(gunzipped(&run(&container, data(&input))), input);
    check_sentinels(&container, 8);
}

#[test]
fn killed_under_load_it_comes_back_and_nothing_but_what_was_in_flight_is_lost() {
    // It comes back where it was, so nobody may be given its port meanwhile.
    let listen = format!("127.0.0.1:{}", free_port());
    let start = || Container::start_where(&["--platform", "openwhisk", "--listen", &listen], &[]);
    let mut container = initialize(start(), "gzip");
    let address = container.address;
    let callers: Vec<_> = (0..4)
        .map(|caller: usize| {
            std::thread::spawn(move || {
                // Until its connection breaks: each answer before that is whole.
                let mut answers = 0;
                while let Ok(mut stream) = std::net::TcpStream::connect(address) {
                    let text = format!("{caller} {answers} ").repeat(2000);
                    let body = json!({ "value": data(text.as_bytes()) }).to_string();
                    let head = format!(
                        "POST /run HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                        body.len()
                    );
                    let mut answer = Vec::new();
                    let sent = stream.write_all(format!("{head}{body}").as_bytes());
                    if sent.is_err() || stream.read_to_end(&mut answer).is_err() || answer.is_empty() {
                        break;
                    }
                    let head_end = answer.windows(4).position(|at| at == b"\r\n\r\n");
                    let Some(head_end) = head_end else { break };
                    let (head, body) = answer.split_at(head_end + 4);
                    let head = String::from_utf8_lossy(head).to_lowercase();
                    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                    if length.and_then(|length| length.parse().ok()) != Some(body.len()) {
                        break;
                    }
                    let result: Value = serde_json::from_slice(body).expect("JSON");
                    let compressed = STANDARD.decode(result["data"].as_str().expect("data")).expect("base64");
                    let mut whole = String::new();
                    GzDecoder::new(&compressed[..]).read_to_string(&mut whole).expect("gzip");
                    assert_eq!(whole, text);
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    container.wait_until("some activations have ended", |container| {
        container.out.text().matches(SENTINEL).count() > 20
    });
    container.signal(Signal::KILL);
    assert!(!container.ended().success());
    let answers: usize = callers
        .into_iter()
        .map(|caller| caller.join().expect("all whole"))
        .sum();
    assert!(answers > 10, "{answers}");

    let again = start();
    assert_eq!(again.address, address);
    assert_eq!(init(&again, json!({ "code": "gzip" })).status, 200);
    assert_eq!(gunzipped(&run(&again, data(b"x"))), b"x");
}

#[test]
fn a_wrong_key_and_a_gateway_that_is_not_there_fail_init() {
    let served = Served::start(&["--devices", "none"], &[]);
    let url = format!("http://{}", served.public);
    let wrong = whisk(
        &["--url", &url, "--key", "faam_a-key-of-nobody-at-all"],
        &[],
    );
    let words = error(&init(&wrong, json!({ "code": "gzip" })), 502);
    assert!(words.contains("no-credential"), "{words}");

    let nobody = format!("http://127.0.0.1:{}", free_port());
    let alone = whisk(&["--url", &nobody, "--key", &served.key], &[]);
    let words = error(&init(&alone, json!({ "code": "gzip" })), 502);
    assert!(
        words.contains("draining") && words.contains(&nobody),
        "{words}"
    );
    check_sentinels(&alone, 1);
}
