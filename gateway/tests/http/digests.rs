//! Digests (RFC 9530): those of request bodies are checked, those of answers made, whole and streamed.

use std::time::Instant;

use sha2::{Digest, Sha256, Sha512};

use crate::samples::{decode_one_member, noise, text};
use crate::server::{SOON, Server, check_problem};
use crate::wire::Answer;

/// More than a window, so that the answer is streamed.
const STREAMED_BYTES: usize = 2 << 20;

/// A digest as it stands in a header, by a hasher of the test's own.
fn digest(algorithm: &str, body: &[u8]) -> String {
    let bytes = match algorithm {
        "sha-256" => Sha256::digest(body).to_vec(),
        _ => Sha512::digest(body).to_vec(),
    };
    format!("{algorithm}=:{}:", base64(&bytes))
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for part in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, at| {
            bits << 8 | u32::from(part.get(at).copied().unwrap_or(0))
        });
        for at in 0..4 {
            let digit = usize::try_from(bits >> (18 - 6 * at) & 63).expect("small");
            out.push(if at <= part.len() {
                char::from(DIGITS[digit])
            } else {
                '='
            });
        }
    }
    out
}

#[test]
fn a_body_with_its_digest_is_served_and_another_is_refused() {
    let server = Server::start();
    for body in [&b""[..], b"hello", &text(1 << 20)] {
        for algorithm in ["sha-256", "sha-512"] {
            let answer = server.post(
                "/v1/compress",
                &[("Content-Digest", &digest(algorithm, body))],
                body,
            );
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(decode_one_member("gzip", &answer.body) == body);
        }
    }
    let wrong = digest("sha-256", b"hallo");
    for target in [
        "/v1/compress",
        "/v1/compress?format=zstd",
        "/v1/decompress?format=deflate",
    ] {
        let body = if target.contains("de") {
            &b"\x03\x00"[..]
        } else {
            b"hello"
        };
        let answer = server.post(target, &[("Content-Digest", &wrong)], body);
        check_problem(&answer, 422, "digest-mismatch", &["sha-256", "again"]);
    }
    let answer = server.post(
        "/v1/compress",
        &[("Content-Digest", "sha-256=nonsense")],
        b"hello",
    );
    check_problem(
        &answer,
        400,
        "invalid-option",
        &["Content-Digest", "RFC 9530"],
    );
    server.check_at_rest();
}

#[test]
fn a_streamed_answer_breaks_off_where_the_digest_differs() {
    let server = Server::start();
    let body = noise(STREAMED_BYTES);
    let wrong = digest("sha-256", b"other bytes");
    let mut wire = server.begin("/v1/compress", &[("Content-Digest", &wrong)], &body);
    wire.chunk(b"").expect("sent");
    // Its head may have gone out; its end must not.
    match wire.try_answer(false) {
        Ok(answer) => {
            check_problem(&answer, 422, "digest-mismatch", &["sha-256"]);
        }
        Err(_) => assert!(wire.is_closed()),
    }
    server.check_at_rest();
}

#[test]
fn a_whole_answer_has_its_digest_as_a_header_where_it_is_wanted() {
    let server = Server::start();
    for (wish, algorithm) in [
        ("sha-256=1", "sha-256"),
        ("sha-256=1, sha-512=3", "sha-512"),
        ("md5=9, sha-512=1", "sha-512"),
    ] {
        let answer = server.post(
            "/v1/compress",
            &[("Want-Repr-Digest", wish)],
            &text(100_000),
        );
        assert_eq!(answer.status, 200);
        assert_eq!(
            answer.header("repr-digest"),
            Some(&*digest(algorithm, &answer.body))
        );
    }
    for wish in ["md5=9", "sha-256=0", "sha-256=x"] {
        let answer = server.post("/v1/compress", &[("Want-Repr-Digest", wish)], b"hello");
        assert_eq!((answer.status, answer.header("repr-digest")), (200, None));
    }
}

#[test]
fn a_streamed_answer_has_its_digest_as_a_trailer_and_among_its_facts() {
    let server = Server::start();
    let mut wire = server.begin(
        "/v1/compress",
        &[("Want-Repr-Digest", "sha-256=1"), ("TE", "trailers")],
        &noise(STREAMED_BYTES),
    );
    wire.chunk(b"").expect("sent");
    let answer: Answer = wire.answer();
    assert_eq!((answer.status, answer.header("repr-digest")), (200, None));
    assert!(
        answer
            .header("trailer")
            .is_some_and(|names| names.contains("repr-digest"))
    );
    let expected = digest("sha-256", &answer.body);
    assert_eq!(answer.trailer("repr-digest"), Some(&*expected));
    let id = answer.header("faam-invocation-id").expect("an id");
    let facts = || server.get(&format!("/v1/invocations/{id}")).json();
    let until = Instant::now() + SOON;
    while facts()["state"] != "done" {
        assert!(Instant::now() < until, "{}", facts());
        std::thread::yield_now();
    }
    assert_eq!(facts()["repr_digest"], expected);
}
