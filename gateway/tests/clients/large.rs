//! Bodies larger than any memory here: through `curl -X POST -T -` to be compressed, through another to be
//! decompressed, and back, both under way at once; compared by length and hash.

use std::io::{Read, Write};
use std::process::{ChildStdin, Command, Stdio};
use std::thread::scope;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};

use crate::gateway::Gateway;
use crate::program::{has_ended, is_installed};
use crate::samples::{noise, text};

/// What the gateway may hold at the most, whatever passes through it.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
/// What passes through in every run of the tests.
const BODY_BYTES: u64 = 256 << 20;
/// What passes through in the test that has to be asked for, if `LARGE_BYTES` does not say otherwise.
const LARGE_BYTES: u64 = 4 << 30;
/// Slowest rate that is no failure.
const BYTES_PER_SECOND_MIN: u64 = 4 << 20;
/// Pieces of the source are this long.
const PIECE_BYTES: usize = 64 << 10;
/// How long a program may take to end once its output has.
const END_LIMIT: Duration = Duration::from_secs(10);

/// A body that is made while it is sent: text and noise in turn, numbered, so that no part of it can stand for another.
struct Source {
    text: Vec<u8>,
    noise: Vec<u8>,
    piece: Vec<u8>,
}

impl Source {
    fn new() -> Self {
        Self {
            text: text(1 << 20),
            noise: noise(1 << 20),
            piece: Vec::with_capacity(PIECE_BYTES),
        }
    }

    /// Piece `number`.
    fn piece(&mut self, number: u64) -> &[u8] {
        // Two of three are text.
        let from = if number % 3 == 2 {
            &self.noise
        } else {
            &self.text
        };
        // Anywhere in it, but not in order.
        let places = (from.len() - PIECE_BYTES) as u64;
        let at = usize::try_from(number.wrapping_mul(40_503) % places).expect("within");
        self.piece.clear();
        self.piece.extend_from_slice(&from[at..at + PIECE_BYTES]);
        for place in (0..PIECE_BYTES).step_by(PIECE_BYTES / 16) {
            self.piece[place..place + 8].copy_from_slice(&number.to_le_bytes());
        }
        &self.piece
    }

    /// Writes `bytes` to `to`; their hash.
    fn write(&mut self, to: ChildStdin, bytes: u64) -> Vec<u8> {
        let (mut to, mut hash) = (to, Sha256::new());
        for number in 0..bytes / PIECE_BYTES as u64 {
            let piece = self.piece(number);
            hash.update(piece);
            // Where curl has ended already its own words say why.
            if to.write_all(piece).is_err() {
                break;
            }
        }
        hash.finalize().to_vec()
    }
}

fn curl(gateway: &Gateway, target: &str, input: Stdio) -> Command {
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-q", "--fail-with-body", "--noproxy", "*"])
        .args(["-X", "POST", "-T", "-"])
        .args(["-H", &format!("Authorization: Bearer {}", gateway.key)])
        .arg(gateway.url(target))
        .stdin(input)
        .stdout(Stdio::piped());
    curl
}

#[track_caller]
fn check(format: &str, bytes: u64) {
    if !is_installed("curl") {
        return;
    }
    let gateway = Gateway::start(&[]);
    let before = gateway.at_rest();
    let began = Instant::now();
    let mut there = curl(
        &gateway,
        &format!("/v1/compress?format={format}"),
        Stdio::piped(),
    );
    let mut there = there.spawn().expect("curl");
    let source = there.stdin.take().expect("piped");
    let packed = Stdio::from(there.stdout.take().expect("piped"));
    let mut back = curl(&gateway, "/v1/decompress", packed);
    let mut back = back.spawn().expect("curl");
    let mut answer = back.stdout.take().expect("piped");
    let limit = Duration::from_secs(bytes / BYTES_PER_SECOND_MIN + 30);
    let (sent, received, length) = scope(|scope| {
        let writer = scope.spawn(move || Source::new().write(source, bytes));
        let reader = scope.spawn(move || {
            let (mut hash, mut length) = (Sha256::new(), 0);
            let mut piece = vec![0; 1 << 20];
            loop {
                let count = answer.read(&mut piece).expect("a pipe");
                if count == 0 {
                    return (hash.finalize().to_vec(), length);
                }
                hash.update(&piece[..count]);
                length += count as u64;
            }
        });
        // Their pipes end with them.
        if !has_ended(&back, limit) {
            let _ = there.kill();
            let _ = back.kill();
        }
        let (received, length) = reader.join().expect("a reader");
        (writer.join().expect("a writer"), received, length)
    });
    for (name, curl) in [("there", &mut there), ("back", &mut back)] {
        assert!(has_ended(curl, END_LIMIT), "{name}: curl goes on");
        let status = curl.wait().expect("our child");
        assert!(status.success(), "{name}: {status}, after {length} bytes");
    }
    let took = began.elapsed();
    assert_eq!(length, bytes, "bytes that came back");
    assert_eq!(received, sent, "other bytes came back");
    println!(
        "{format}: {} MiB there and back in {:.1} s: {:.0} MB/s each way",
        bytes >> 20,
        took.as_secs_f64(),
        bytes as f64 / took.as_secs_f64() / 1e6
    );
    gateway.check_memory(MEMORY_BYTES_MAX);
    gateway.check_at_rest_as(before);
}

#[test]
fn a_body_comes_back_and_takes_no_memory() {
    check("gzip", BODY_BYTES);
}

#[test]
fn so_it_does_in_the_other_formats() {
    for format in ["zlib", "zstd", "lz4"] {
        check(format, BODY_BYTES / 4);
    }
}

#[test]
#[ignore = "minutes: make test-large"]
fn a_very_large_body_comes_back_and_takes_no_memory() {
    let bytes = std::env::var("LARGE_BYTES").map(|text| text.parse().expect("a number of bytes"));
    check("gzip", bytes.unwrap_or(LARGE_BYTES));
}
