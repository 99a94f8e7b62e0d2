//! Habits of HTTP clients: what curl does without being asked, what old and thorough clients may do, and trailers as
//! each protocol shows them.

use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread::scope;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::NamedTempFile;

use crate::callers::{CURL_HTTP1, CURL_HTTP2, Caller};
use crate::gateway::Gateway;
use crate::program::{Program, is_installed};
use crate::samples::{decode_one_member, gzip, noise, text};
use crate::wire::{Answer, Wire};

/// How long curl would wait for a 100 Continue here: longer than it is given in all.
const CONTINUE_TIMEOUT_S: &str = "50";
/// How long one curl may take.
const CURL_LIMIT: Duration = Duration::from_secs(30);
/// An answer that is streamed.
const LONG_BYTES: usize = 3 << 20;

fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    file
}

/// curl with the gateway's key, and these words.
#[track_caller]
fn curl(gateway: &Gateway, words: &[&str], input: Option<&NamedTempFile>) -> Output {
    let mut command = Command::new("curl");
    command
        .args([
            "-sS",
            "-q",
            "-H",
            &format!("Authorization: Bearer {}", gateway.key),
        ])
        .args(words);
    command.stdin(match input {
        Some(file) => file.reopen().expect("a file").into(),
        None => Stdio::null(),
    });
    let output = Program::start(&mut command).end(CURL_LIMIT);
    assert!(
        output.status.success(),
        "curl {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// The heads before an answer's body in curl's `-i`, and the body.
#[track_caller]
fn split_head(output: &[u8]) -> (String, &[u8]) {
    let end = output.windows(4).position(|four| four == b"\r\n\r\n");
    let (head, body) = output.split_at(end.expect("a head") + 4);
    let head = String::from_utf8(head.to_vec()).expect("text");
    // An interim answer comes before the other.
    if head.contains(" 100 ") {
        let (rest, body) = split_head(body);
        return (head + &rest, body);
    }
    (head, body)
}

#[track_caller]
fn check_problem(status: u16, body: &[u8], expected: u16, name: &str) -> Value {
    let problem: Value = serde_json::from_slice(body)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(body)));
    assert_eq!(status, expected, "{problem}");
    assert_eq!(problem["type"], format!("/problems/{name}"));
    problem
}

/// A connection on which requests carry the gateway's key.
struct Raw<'a> {
    gateway: &'a Gateway,
    wire: Wire,
}

impl<'a> Raw<'a> {
    fn connect(gateway: &'a Gateway) -> Self {
        Self {
            gateway,
            wire: Wire::connect(gateway.address),
        }
    }

    /// A request's head with these lines, each of which ends.
    fn head(&self, method: &str, target: &str, lines: &str) -> Vec<u8> {
        format!(
            "{method} {target} HTTP/1.1\r\nHost: faam.test\r\nAuthorization: Bearer {}\r\n{lines}\r\n",
            self.gateway.key
        )
        .into_bytes()
    }

    fn post(&self, target: &str, body: &[u8]) -> Vec<u8> {
        let mut request = self.head(
            "POST",
            target,
            &format!("Content-Length: {}\r\n", body.len()),
        );
        request.extend_from_slice(body);
        request
    }

    /// Sends `bytes`, and reads an answer.
    #[track_caller]
    fn exchange(&mut self, bytes: &[u8]) -> Answer {
        self.wire.send(bytes).expect("taken");
        self.wire.answer()
    }
}

#[test]
fn curls_own_habits_are_served_or_told_what_to_do() {
    if !is_installed("curl") {
        return;
    }
    let gateway = Gateway::start(&[]);
    let before = gateway.at_rest();
    let data = text(2 << 20);
    let body = file(&data);
    let path = body.path().to_str().expect("a path");
    let url = gateway.url("/v1/compress");

    // -T means PUT, and curl waits for a 100 first: the refusal comes instead.
    let output = curl(&gateway, &["-i", "-T", path, &url], None);
    let (head, content) = split_head(&output.stdout);
    assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    assert!(head.to_lowercase().contains("\r\nallow: post"), "{head}");
    let problem = check_problem(405, content, 405, "method");
    assert!(
        problem["detail"]
            .as_str()
            .is_some_and(|detail| detail.contains("-X POST"))
    );

    // --data-binary says that it were a form.
    let form = format!("@{path}");
    for (target, media_type) in [
        ("/v1/compress", "application/gzip"),
        (
            "/v1/compress?as=content-encoding",
            "application/octet-stream",
        ),
    ] {
        let url = gateway.url(target);
        let output = curl(&gateway, &["-i", "--data-binary", &form, &url], None);
        let (head, content) = split_head(&output.stdout);
        assert!(
            head.to_lowercase()
                .contains(&format!("\r\ncontent-type: {media_type}\r\n")),
            "{head}"
        );
        assert!(decode_one_member("gzip", content) == data);
    }
    // curl undoes a content coding that it asked for.
    let coded = gateway.url("/v1/compress?as=content-encoding");
    for option in ["--http1.1", "--http2-prior-knowledge"] {
        let words = [option, "--compressed", "--data-binary", &form, &coded];
        assert!(curl(&gateway, &words, None).stdout == data);
    }

    // A body that is coded already has to be decoded by whoever coded it.
    let words = [
        "-w",
        "%{http_code}",
        "-o",
        "/dev/null",
        "-H",
        "Content-Encoding: gzip",
    ];
    let words = [&words[..], &["--data-binary", &form, &url]].concat();
    assert_eq!(curl(&gateway, &words, None).stdout, b"415");
    gateway.check_at_rest_as(before);
}

#[test]
fn curl_waits_for_a_continue_and_sends_slowly() {
    if !is_installed("curl") {
        return;
    }
    let gateway = Gateway::start(&[]);
    let before = gateway.at_rest();
    let data = noise(1 << 20);
    let body = file(&data);
    let url = gateway.url("/v1/compress");
    for framing in ["Transfer-Encoding: chunked", "Content-Length: 1048576"] {
        let began = Instant::now();
        let words = [
            "--http1.1",
            "-i",
            "-X",
            "POST",
            "-T",
            "-",
            "-H",
            framing,
            "-H",
            "Expect: 100-continue",
            "--expect100-timeout",
            CONTINUE_TIMEOUT_S,
            "--limit-rate",
            "1M",
            &url,
        ];
        let output = curl(&gateway, &words, Some(&body));
        let (head, content) = split_head(&output.stdout);
        assert!(head.starts_with("HTTP/1.1 100 "), "{head}");
        let streamed = head
            .to_lowercase()
            .contains("\r\ntransfer-encoding: chunked");
        assert!(streamed, "an answer of a MiB of noise: {head}");
        assert!(decode_one_member("gzip", content) == data, "{framing}");
        println!("{framing}: {:?}", began.elapsed());
    }
    gateway.check_at_rest_as(before);
}

#[test]
fn a_caller_that_expects_a_continue_and_does_not_wait_is_served_and_refused_visibly() {
    let gateway = Gateway::start(&[]);
    let before = gateway.at_rest();
    let body = file(&text(8 << 20));
    for caller in [
        Caller::Python("http.client"),
        Caller::Curl(&["--expect100-timeout", "0.001"]),
    ] {
        if !caller.is_installed() {
            continue;
        }
        for (key, status) in [(gateway.key.as_str(), 200), ("faam_wrong", 401)] {
            let mut call = gateway.call("/v1/compress", Some(key), body.path(), false, 20);
            call.headers.push(("Expect", "100-continue".to_owned()));
            let outcomes = caller.call(&call);
            let right = outcomes
                .iter()
                .filter(|outcome| match status {
                    401 => outcome.is_of_wrong_key(),
                    status => outcome.status == status,
                })
                .filter(|outcome| outcome.error.is_none());
            let right = right.count();
            println!("{caller:?}: {right} of 20 saw {status}");
            assert_eq!(right, 20, "{outcomes:?}");
        }
    }
    gateway.check_at_rest_as(before);
}

#[test]
fn old_clients_are_answered_whole() {
    let gateway = Gateway::start(&[]);
    let before = gateway.at_rest();
    for length in [0, 5, 100_000, LONG_BYTES] {
        let data = noise(length);
        let mut wire = Wire::connect(gateway.address);
        // No Host, as HTTP/1.0 allows.
        let head = format!(
            "POST /v1/compress HTTP/1.0\r\nAuthorization: Bearer {}\r\nContent-Length: {length}\r\n\r\n",
            gateway.key
        );
        wire.send(head.as_bytes()).expect("taken");
        wire.send(&data).expect("taken");
        let answer = wire.answer();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("transfer-encoding"), None);
        let announced = answer.header("content-length").expect("a length");
        assert_eq!(announced, answer.body.len().to_string());
        assert!(decode_one_member("gzip", &answer.body) == data);
        assert!(wire.is_closed(), "the connection goes on");
    }
    // It goes on where the client asks for that, as ab does, and whole answers let it.
    let mut wire = Wire::connect(gateway.address);
    for data in [noise(LONG_BYTES), noise(5)] {
        let head = format!(
            "POST /v1/compress HTTP/1.0\r\nAuthorization: Bearer {}\r\nConnection: keep-alive\r\n\
             Content-Length: {}\r\n\r\n",
            gateway.key,
            data.len()
        );
        wire.send(&[head.as_bytes(), &data].concat())
            .expect("taken");
        let answer = wire.answer();
        assert_eq!(answer.header("connection"), Some("keep-alive"));
        assert!(decode_one_member("gzip", &answer.body) == data);
    }
    drop(wire);
    if is_installed("curl") {
        let data = noise(LONG_BYTES);
        let body = file(&data);
        let form = format!("@{}", body.path().display());
        let words = [
            "--http1.0",
            "-i",
            "--data-binary",
            &form,
            &gateway.url("/v1/compress"),
        ];
        let output = curl(&gateway, &words, None);
        let (head, content) = split_head(&output.stdout);
        assert!(
            head.to_lowercase().contains("\r\ncontent-length: "),
            "{head}"
        );
        assert!(decode_one_member("gzip", content) == data);
    }
    gateway.check_at_rest_as(before);
}

#[test]
fn a_connection_serves_on_after_large_uploads() {
    let gateway = Gateway::start(&[]);
    let before = gateway.at_rest();
    let data = noise(8 << 20);
    let mut raw = Raw::connect(&gateway);
    let request = raw.post("/v1/compress?level=1", &data);
    for _ in 0..3 {
        // It reads while it writes, as whoever keeps a connection has to.
        let (reader, mut writer) = raw.wire.split();
        raw.wire = reader;
        let answer = scope(|scope| {
            scope.spawn(|| writer.send(&request).expect("taken"));
            raw.wire.answer()
        });
        assert!(decode_one_member("gzip", &answer.body) == data);
        assert_eq!(answer.header("connection"), None);
    }
    drop(raw);
    if is_installed("curl") {
        let body = file(&data);
        let form = format!("@{}", body.path().display());
        let url = gateway.url("/v1/compress?level=1");
        // curl 7.88 cannot send two requests on one connection of HTTP/2 that it began so.
        for option in ["--http1.1", "--http2"] {
            let words = [
                option,
                "-w",
                "%{num_connects}",
                "-H",
                "Expect:",
                "--data-binary",
                &form,
            ];
            let words = [
                &words[..],
                &["-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null"],
            ]
            .concat();
            let words = [&words[..], &[&url, &url, &url]].concat();
            assert_eq!(curl(&gateway, &words, None).stdout, b"100", "{option}");
        }
    }
    for answer in crate::http2::post(&gateway, "/v1/compress?level=1", &data, 3) {
        assert!(decode_one_member("gzip", &answer.body) == data);
    }
    gateway.check_at_rest_as(before);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let gateway = Gateway::start(&[]);
    let before = gateway.at_rest();
    let long = text(1 << 20);
    let mut raw = Raw::connect(&gateway);
    let bodies: [&[u8]; 4] = [b"first", &long, b"", b"last"];
    let mut all = Vec::new();
    for body in bodies {
        all.extend(raw.post("/v1/compress", body));
    }
    // One whose answer is streamed, before one more.
    let zeros = vec![0; 2 << 20];
    all.extend(raw.post("/v1/decompress", &gzip(&zeros)));
    all.extend(raw.head("GET", "/v1/tenants/self", ""));
    raw.wire.send(&all).expect("taken");
    for body in bodies {
        let answer = raw.wire.answer();
        assert_eq!(answer.status, 200);
        assert!(decode_one_member("gzip", &answer.body) == body);
    }
    assert!(raw.wire.answer().body == zeros);
    assert_eq!(raw.wire.answer().json()["id"], "demo");
    drop(raw);
    gateway.check_at_rest_as(before);
}

#[test]
fn requests_that_few_send_are_read_as_the_standard_says() {
    let gateway = Gateway::start(&[]);
    let before = gateway.at_rest();
    let mut raw = Raw::connect(&gateway);
    let chunked = "Transfer-Encoding: chunked\r\n";

    // Chunk extensions and trailers (RFC 9112, 7.1.1 and 7.1.2) are of no use here, and no harm.
    for body in [
        "5;name=value;other=\"quoted; text\"\r\nhello\r\n0;last\r\n\r\n",
        "0000005\r\nhello\r\n000\r\n\r\n",
        "2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Checksum: 7\r\nDate: never\r\n\r\n",
    ] {
        let head = raw.head("POST", "/v1/compress", chunked);
        let answer = raw.exchange(&[&head, body.as_bytes()].concat());
        assert_eq!(decode_one_member("gzip", &answer.body), b"hello", "{body}");
    }

    // The absolute form (RFC 9112, 3.2.2), as a proxy gets it.
    let target = format!("http://faam.test{}", "/v1/compress");
    let request = raw.post(&target, b"hello");
    assert_eq!(
        decode_one_member("gzip", &raw.exchange(&request).body),
        b"hello"
    );
    if is_installed("curl") {
        let proxy = gateway.url("");
        let words = [
            "-x",
            &proxy,
            "--data-binary",
            "hello",
            "http://faam.test/v1/compress",
        ];
        let output = curl(&gateway, &words, None);
        assert_eq!(decode_one_member("gzip", &output.stdout), b"hello");
    }

    // HEAD has no body, and the connection goes on.
    for (target, status) in [
        ("/", "HTTP/1.1 200 "),
        ("/healthz", "HTTP/1.1 200 "),
        ("/v1/compress", "HTTP/1.1 405 "),
    ] {
        let head = raw.head("HEAD", target, "");
        raw.wire.send(&head).expect("taken");
        let answer = raw.wire.try_answer(true).expect("an answer");
        assert!(
            status.contains(&format!(" {} ", answer.status)),
            "HEAD {target}: {answer:?}"
        );
        let request = raw.post("/v1/compress", b"after");
        assert_eq!(
            decode_one_member("gzip", &raw.exchange(&request).body),
            b"after"
        );
    }

    // OPTIONS, of a resource and of the whole server (RFC 9110, 9.3.7), is not for anything here.
    let head = raw.head("OPTIONS", "/v1/compress", "");
    let answer = raw.exchange(&head);
    check_problem(answer.status, &answer.body, 405, "method");
    assert_eq!(answer.header("allow"), Some("POST"));
    let head = raw.head("OPTIONS", "*", "");
    let answer = raw.exchange(&head);
    check_problem(answer.status, &answer.body, 405, "method");
    assert_eq!(answer.header("allow"), Some("GET, HEAD, POST"));
    drop(raw);
    gateway.check_at_rest_as(before);
}

#[test]
fn what_could_smuggle_a_request_ends_its_connection() {
    let gateway = Gateway::start(&[]);
    let before = gateway.at_rest();
    for lines in [
        // Two lengths, a length beside chunks, and codings that are not chunked last (RFC 9112, 6.3).
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 6\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: chunked, gzip\r\n",
        "Transfer-Encoding: xchunked\r\n",
    ] {
        let mut raw = Raw::connect(&gateway);
        let head = raw.head("POST", "/v1/compress", lines);
        raw.wire
            .send(&[&head[..], b"5\r\nhello\r\n0\r\n\r\n"].concat())
            .expect("taken");
        let answer = raw.wire.try_answer(true);
        if let Ok(answer) = answer {
            assert!((400..500).contains(&answer.status), "{lines}: {answer:?}");
        }
        // Nothing that follows is taken for a request.
        let mut rest = 0;
        while raw.wire.try_answer(true).is_ok() {
            rest += 1;
        }
        assert_eq!(rest, 0, "{lines}: a second answer");
    }
    // Beside chunks a length does not count, and such a connection does not go on (RFC 9112, 6.1).
    let mut raw = Raw::connect(&gateway);
    let head = raw.head(
        "POST",
        "/v1/compress",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
    );
    let answer = raw.exchange(&[&head[..], b"5\r\nhello\r\n0\r\n\r\n"].concat());
    if answer.status == 200 {
        assert_eq!(decode_one_member("gzip", &answer.body), b"hello");
    } else {
        assert_eq!(answer.status, 400);
    }
    drop(raw);
    gateway.check_at_rest_as(before);
}

#[test]
fn trailers_come_to_whoever_takes_them() {
    let gateway = Gateway::start(&[]);
    let before = gateway.at_rest();
    let data = noise(LONG_BYTES);
    let body = file(&data);
    let call = |te: &str| {
        let mut call = gateway.call("/v1/compress?level=1", None, body.path(), true, 1);
        call.headers.push(("TE", te.to_owned()));
        call
    };
    if is_installed("curl") {
        let words = [
            "--http1.1",
            "--raw",
            "-i",
            "-X",
            "POST",
            "-H",
            "TE: trailers",
            "-T",
            "-",
        ];
        let url = gateway.url("/v1/compress?level=1");
        let words = [&words[..], &["-H", "Expect:", &url]].concat();
        let output = curl(&gateway, &words, Some(&body));
        let (head, raw) = split_head(&output.stdout);
        assert!(head.to_lowercase().contains("\r\ntrailer: "), "{head}");
        let last = raw.windows(5).rposition(|bytes| bytes == b"\r\n0\r\n");
        let trailers =
            String::from_utf8(raw[last.expect("a last chunk")..].to_vec()).expect("text");
        let trailers = trailers.to_lowercase();
        for field in [
            "\r\nfaam-verify: ok\r\n",
            "\r\nfaam-backend: cpu\r\n",
            "\r\nserver-timing: ",
        ] {
            assert!(trailers.contains(field), "{field} is not in {trailers}");
        }
        println!("curl --raw: {}", trailers.trim().replace("\r\n", "; "));
    }
    // Those that show no trailers read past them; Node's http shows them.
    for caller in [
        CURL_HTTP1,
        CURL_HTTP2,
        Caller::Python("http.client"),
        Caller::Node("http"),
        Caller::Reqwest { http2: false },
    ] {
        if !caller.is_installed() {
            continue;
        }
        let outcomes = caller.call(&call("trailers"));
        assert_eq!(
            (outcomes[0].status, &outcomes[0].error),
            (200, &None),
            "{caller:?}"
        );
        if caller == Caller::Node("http") {
            let trailers = &outcomes[0].trailers;
            assert_eq!(trailers.get("faam-verify").map(String::as_str), Some("ok"));
            assert_eq!(
                trailers.get("faam-backend").map(String::as_str),
                Some("cpu")
            );
            println!("node: {trailers:?}");
            assert!(caller.call(&call("gzip"))[0].trailers.is_empty());
        }
    }
    for answer in crate::http2::post(&gateway, "/v1/compress?level=1", &data, 1) {
        assert_eq!(answer.status, 200);
        assert!(decode_one_member("gzip", &answer.body) == data);
        assert_eq!(answer.trailer("faam-verify"), Some("ok"));
        assert_eq!(answer.trailer("faam-backend"), Some("cpu"));
        let timing = answer.trailer("server-timing");
        assert!(timing.is_some_and(|timing| timing.contains("total;dur=")));
    }
    gateway.check_at_rest_as(before);
}
