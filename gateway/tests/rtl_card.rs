//! A gateway whose card has the gateware inside, simulated clock by clock: curl is served, honestly named, and every answer
//! decodes by gzip or by another implementation.
//!
//! In builds with the feature `rtl` alone: `make test-rtl` runs it. Invariant: it knows the gateway by its interface.

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

#[expect(dead_code, reason = "other tests need more of it")]
mod process_log;
#[path = "http/samples.rs"]
#[expect(dead_code, reason = "other tests need more of it")]
mod samples;
#[expect(dead_code, reason = "other tests need more of it")]
mod served;

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use served::Served;

/// Longest wait of one call, seconds: the card comes into service within it, and the slowest job takes one.
const CALL_SECONDS_MAX: u32 = 60;

/// What curl got.
struct Answer {
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        line.unwrap_or_default()
    }
}

/// `POST`s a body by curl.
fn post(gateway: &Served, target: &str, backend: &str, body: &[u8]) -> Answer {
    let dir = tempfile::tempdir().expect("a directory");
    let head = dir.path().join("head");
    let mut curl = Command::new("curl")
        .args(["-sS", "--fail-with-body", "-D"])
        .arg(&head)
        .args(["-m", &CALL_SECONDS_MAX.to_string(), "--data-binary", "@-"])
        .args(["-H", &format!("Authorization: Bearer {}", gateway.key)])
        .args(["-H", &format!("Faam-Backend: {backend}")])
        .arg(format!("http://{}{target}", gateway.public))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl starts");
    let mut stdin = curl.stdin.take().expect("a pipe");
    let body = body.to_vec();
    // Beside the answer, which may come before the body has gone.
    let sent = std::thread::spawn(move || stdin.write_all(&body));
    let ended = curl.wait_with_output().expect("curl ends");
    sent.join().expect("no panic").expect("all is taken");
    let head = std::fs::read_to_string(head).expect("a head");
    assert!(
        ended.status.success(),
        "{target}: {head}{}",
        String::from_utf8_lossy(&ended.stdout)
    );
    Answer {
        head,
        body: ended.stdout,
    }
}

fn inflated(format: &str, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let read = match format {
        "gzip" => flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out),
        "zlib" => flate2::read::ZlibDecoder::new(bytes).read_to_end(&mut out),
        _ => flate2::read::DeflateDecoder::new(bytes).read_to_end(&mut out),
    };
    read.expect("it decodes");
    out
}

#[test]
fn curl_is_served_by_simulated_gateware() {
    let gateway = Served::start(&["--devices", "sim", "--sim-model", "rtl"], &[]);
    let bodies = [
        b"a".to_vec(),
        samples::text(5_000),
        samples::noise(20_000),
        // Blocks on both functions.
        samples::text(140_000),
    ];
    for format in ["gzip", "zlib", "deflate"] {
        for level in [1, 3, 6] {
            for body in &bodies {
                let target = format!("/v1/compress?format={format}&level={level}");
                let answer = post(&gateway, &target, "require-hw", body);
                assert!(inflated(format, &answer.body) == *body, "{target}");
                let backend = answer.header("Faam-Backend");
                assert!(
                    backend.contains("fpga0.") && backend.contains("simulated"),
                    "{target}: Faam-Backend: {backend}"
                );
                assert!(!backend.contains("cpu"), "{target}: {backend}");
            }
        }
    }
    // A card that does not decompress leaves that to the CPU.
    let body = &bodies[1];
    let packed = post(&gateway, "/v1/compress", "require-hw", body).body;
    let back = post(&gateway, "/v1/decompress", "auto", &packed);
    assert!(back.body == *body);
    assert_eq!(back.header("Faam-Backend"), "cpu");
    // The operator is told what it is.
    let shown = Command::new(env!("CARGO_BIN_EXE_faam"))
        .args(["device", "show", "fpga0", "--json", "--data-dir"])
        .arg(gateway.data.path())
        .output()
        .expect("faam starts");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("simulated gateware"), "{shown}");
    println!("served by simulated gateware:\n{shown}");
}
