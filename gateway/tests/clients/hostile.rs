//! Hostile bodies for decompression: each has its documented end, costs bounded memory, and leaves nothing behind.

use std::fs::File;
use std::io::Read;

use crate::gateway::Gateway;
use crate::samples::{gzip, noise, text};
use crate::wire::{Answer, Wire, is_late};

/// Most memory of the gateway, whatever is sent to it.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
/// More output than a window holds.
const LONG_BYTES: usize = 4 << 20;
/// Bytes that one decompression may give here.
const OUTPUT_BYTES_MAX: u64 = 32 << 20;
const SETTINGS: [(&str, &str); 1] = [("FAAM_TENANT_OUTPUT_BYTES_MAX", "33554432")];
/// A bomb's data.
const BOMB_BYTES: usize = 256 << 20;

/// How a body ends.
enum End {
    /// An answer of as many bytes.
    Whole(usize),
    /// A refusal.
    Refused(u16, &'static str),
    /// An answer that breaks off, for this reason.
    Broken(&'static str),
}

/// A gateway, and bodies sent to it.
struct Target {
    gateway: Gateway,
}

impl Target {
    fn start(settings: &[(&str, &str)]) -> Self {
        Self {
            gateway: Gateway::start(settings),
        }
    }

    fn wire(&self, target: &str, body: &[u8]) -> Wire {
        let mut wire = Wire::connect(self.gateway.address);
        let key = format!("Bearer {}", self.gateway.key);
        let length = body.len().to_string();
        wire.head(
            "POST",
            target,
            &[("Authorization", &key), ("Content-Length", &length)],
        );
        wire
    }

    /// Sends `body` in whole; what comes back, and whether it broke off.
    #[track_caller]
    fn post(&self, target: &str, body: &[u8]) -> (Answer, bool) {
        let mut wire = self.wire(target, body);
        wire.send(body).expect("taken or drained");
        let mut answer = wire.try_answer(true).expect("a head");
        if answer.header("transfer-encoding") != Some("chunked") {
            let length = answer.header("content-length").expect("a length");
            answer.body.resize(length.parse().expect("a number"), 0);
            wire.read_exact(&mut answer.body).expect("a body");
            return (answer, false);
        }
        loop {
            match wire.body_chunk(&mut answer.body) {
                Ok(true) => {}
                Ok(false) => return (answer, false),
                Err(error) => {
                    assert!(!is_late(&error), "it neither breaks off nor goes on");
                    return (answer, true);
                }
            }
        }
    }

    /// What `data` is in `format`, by the gateway itself.
    fn packed(&self, format: &str, data: &[u8]) -> Vec<u8> {
        let (answer, broken) = self.post(&format!("/v1/compress?level=1&format={format}"), data);
        assert!(answer.status == 200 && !broken, "{format}");
        answer.body
    }

    #[track_caller]
    fn check(&self, name: &str, target: &str, body: &[u8], end: &End) {
        let counted = |reason: &str| {
            let series = format!(r#"faam_streams_broken_total{{reason="{reason}"}}"#);
            self.gateway.metric(&series)
        };
        let reason = match end {
            End::Broken(reason) => reason,
            End::Whole(_) | End::Refused(..) => "corrupt-input",
        };
        let before = counted(reason);
        let (answer, broken) = self.post(target, body);
        let text =
            || String::from_utf8_lossy(&answer.body[..answer.body.len().min(400)]).into_owned();
        match *end {
            End::Whole(bytes) => {
                assert_eq!(answer.status, 200, "{name}: {}", text());
                assert!(
                    !broken,
                    "{name} broke off after {} bytes",
                    answer.body.len()
                );
                assert_eq!(answer.body.len(), bytes, "{name}");
            }
            End::Refused(status, problem) => {
                assert!(!broken, "{name}");
                assert_eq!(answer.status, status, "{name}: {}", text());
                assert_eq!(
                    answer.json()["type"],
                    format!("/problems/{problem}"),
                    "{name}"
                );
            }
            End::Broken(reason) => {
                assert_eq!(answer.status, 200, "{name}: {}", text());
                assert!(
                    broken,
                    "{name}: {} bytes that look whole",
                    answer.body.len()
                );
                self.gateway.wait_for(
                    &format!(r#"faam_streams_broken_total{{reason="{reason}"}}"#),
                    before + 1.0,
                );
            }
        }
        println!(
            "{name}: {} and {} bytes{}",
            answer.status,
            answer.body.len(),
            if broken { ", broken off" } else { "" }
        );
    }
}

fn flipped(body: &[u8], at: usize) -> Vec<u8> {
    let mut body = body.to_vec();
    body[at] ^= 0x55;
    body
}

#[test]
fn corrupt_and_cut_bodies_end_as_documented() {
    let target = Target::start(&SETTINGS);
    let before = target.gateway.at_rest();
    let corrupt = End::Refused(422, "corrupt-input");
    let broken = End::Broken("corrupt-input");
    for format in ["gzip", "zlib", "deflate", "zstd", "lz4"] {
        let path = format!("/v1/decompress?format={format}");
        for (length, end) in [(100_000, &corrupt), (LONG_BYTES, &broken)] {
            let body = target.packed(format, &noise(length));
            let cut = &body[..body.len() - 3];
            target.check(&format!("{format} of {length}, cut"), &path, cut, end);
            // Raw DEFLATE has no checksum to be wrong, and noise is stored: any byte of it is as good.
            if format != "deflate" {
                let last = body.len() - 2;
                let name = format!("{format} of {length}, a wrong checksum");
                target.check(&name, &path, &flipped(&body, last), end);
            }
        }
        let body = target.packed(format, &text(1 << 20));
        let head = format!("{format}, a wrong head");
        target.check(&head, &path, &flipped(&body, 0), &corrupt);
        let garbage = [&target.packed(format, b"data")[..], b"garbage"].concat();
        target.check(
            &format!("{format}, trailing garbage"),
            &path,
            &garbage,
            &corrupt,
        );
        target.check(&format!("{format}, empty"), &path, b"", &corrupt);
    }
    target.check(
        "no format",
        "/v1/decompress",
        b"plain text",
        &End::Refused(415, "unknown-format"),
    );
    target.gateway.check_memory(MEMORY_BYTES_MAX);
    target.gateway.check_at_rest_as(before);
}

#[test]
fn hostile_headers_end_as_documented() {
    let target = Target::start(&SETTINGS);
    let before = target.gateway.at_rest();
    let corrupt = End::Refused(422, "corrupt-input");
    let rest = &gzip(b"data")[10..];
    let named =
        |flags: u8, field: &[u8]| [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3], field, rest].concat();
    let check =
        |name: &str, body: &[u8], end: &End| target.check(name, "/v1/decompress", body, end);
    // RFC 1952, 2.3.1: FNAME is 8, FCOMMENT 16, FEXTRA 4.
    check("a name", &named(8, b"name\0"), &End::Whole(4));
    check("a giant name", &named(8, &vec![b'n'; 16 << 20]), &corrupt);
    check(
        "a giant comment",
        &named(16, &vec![b'c'; 16 << 20]),
        &corrupt,
    );
    let extra = [&[0xff, 0xff][..], &[0; 0xffff]].concat();
    // Its length has 16 bits: none is too large.
    check("the largest extra field", &named(4, &extra), &End::Whole(4));
    check("reserved flags", &named(0xe0, b""), &corrupt);
    // RFC 1950, 2.2: FDICT, and the dictionary's Adler-32.
    check(
        "a preset dictionary of zlib",
        &[0x78, 0xbb, 1, 2, 3, 4, 3, 0, 0, 0, 0, 1],
        &corrupt,
    );
    // RFC 8878, 3.1.1.1: a dictionary of one byte, single segment, 0 bytes, an empty last block.
    check(
        "a preset dictionary of zstd",
        &[0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 0, 1, 0, 0],
        &corrupt,
    );
    // A window of 2^41 bytes.
    check(
        "a giant window of zstd",
        &[0x28, 0xb5, 0x2f, 0xfd, 0, 0xff, 1, 0, 0],
        &corrupt,
    );
    target.gateway.check_memory(MEMORY_BYTES_MAX);
    target.gateway.check_at_rest_as(before);
}

/// A frame of zstd whose blocks are one byte each that stands for 128 KiB (RFC 8878, 3.1.1.2.2): no format expands further.
fn steep() -> Vec<u8> {
    let block = ((128u32 << 10) << 3 | 1 << 1).to_le_bytes();
    let blocks = [block[0], block[1], block[2], 0].repeat(100_000);
    [&[0x28, 0xb5, 0x2f, 0xfd, 0, 0x38], &blocks[..]].concat()
}

#[test]
fn bombs_are_stopped() {
    let target = Target::start(&SETTINGS);
    let before = target.gateway.at_rest();
    let zeros = vec![0; BOMB_BYTES];
    for format in ["gzip", "zlib", "deflate", "zstd", "lz4"] {
        let bomb = target.packed(format, &zeros);
        println!("{format}: {} bytes are a bomb", bomb.len());
        let path = format!("/v1/decompress?format={format}");
        let end = End::Broken("too-large");
        target.check(&format!("{format}, a bomb"), &path, &bomb, &end);
        // Over HTTP/1.0 it is told before any byte.
        let mut wire = Wire::connect(target.gateway.address);
        let head = format!(
            "POST {path} HTTP/1.0\r\nAuthorization: Bearer {}\r\nContent-Length: {}\r\n\r\n",
            target.gateway.key,
            bomb.len()
        );
        wire.send(head.as_bytes()).expect("taken");
        wire.send(&bomb).expect("taken or drained");
        let answer = wire.answer();
        assert_eq!(answer.status, 413, "{format}");
        assert_eq!(answer.json()["output_bytes_max"], OUTPUT_BYTES_MAX);
    }
    target.check(
        "12 GiB of zstd",
        "/v1/decompress",
        &steep(),
        &End::Broken("too-large"),
    );
    target.gateway.check_memory(MEMORY_BYTES_MAX);
    target.gateway.check_at_rest_as(before);

    let target = Target::start(&[("FAAM_TENANT_RATIO_MAX", "100")]);
    let before = target.gateway.at_rest();
    let ratio = End::Refused(413, "ratio-exceeded");
    target.check("12 GiB of zstd", "/v1/decompress", &steep(), &ratio);
    for format in ["gzip", "zlib", "deflate", "zstd", "lz4"] {
        let bomb = target.packed(format, &zeros[..64 << 20]);
        let path = format!("/v1/decompress?format={format}");
        target.check(&format!("{format}, a ratio"), &path, &bomb, &ratio);
    }
    // A bomb behind honest data.
    let late = [gzip(&noise(LONG_BYTES / 2)), gzip(&zeros)].concat();
    target.check(
        "a late bomb",
        "/v1/decompress",
        &late,
        &End::Broken("ratio-exceeded"),
    );
    target.gateway.check_memory(MEMORY_BYTES_MAX);
    target.gateway.check_at_rest_as(before);
}

#[test]
fn many_members_cost_little() {
    let target = Target::start(&SETTINGS);
    let before = target.gateway.at_rest();
    for (format, count) in [("gzip", 10_000), ("zstd", 10_000), ("lz4", 10_000)] {
        let empty = target.packed(format, b"");
        let name = format!("{count} empty members of {format}");
        let path = format!("/v1/decompress?format={format}");
        target.check(&name, &path, &empty.repeat(count), &End::Whole(0));
        let full = target.packed(format, b"x").repeat(count);
        target.check(
            &format!("{count} of a byte"),
            &path,
            &full,
            &End::Whole(count),
        );
    }
    // More than any body may have (2^20), none of which is worth a window.
    let empty = target.packed("gzip", b"").repeat((1 << 20) + 1);
    let end = End::Refused(422, "corrupt-input");
    target.check("2^20 + 1 members", "/v1/decompress", &empty, &end);
    target.gateway.check_memory(MEMORY_BYTES_MAX);
    target.gateway.check_at_rest_as(before);
}

#[test]
fn random_bytes_are_refused() {
    let target = Target::start(&SETTINGS);
    let before = target.gateway.at_rest();
    let mut bytes = vec![0; 1 << 20];
    let mut random = File::open("/dev/urandom").expect("a device");
    random.read_exact(&mut bytes).expect("bytes");
    for format in ["gzip", "zlib", "zstd", "lz4"] {
        let end = End::Refused(422, "corrupt-input");
        target.check(
            format,
            &format!("/v1/decompress?format={format}"),
            &bytes,
            &end,
        );
    }
    target.gateway.check_at_rest_as(before);
}
