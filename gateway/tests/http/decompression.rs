//! Decompression: members, padding, corruption, bombs, and who pays for an answer that is not read.

use std::io::Write;

use faam_gateway::http::outflow::WINDOW_BYTES;
use faam_gateway::tenants::TenantLimits;
use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};

use crate::samples::{gzip, noise, text};
use crate::server::{KEY, Server, check_problem};
use crate::wire::Wire;

#[test]
fn many_members_and_padding_are_one_body() {
    let server = Server::start();
    let mut body = Vec::new();
    let mut expected = Vec::new();
    for number in 0..50 {
        let data = text(number * 997);
        body.extend_from_slice(&gzip(&data));
        expected.extend_from_slice(&data);
    }
    assert!(server.post("/v1/decompress", &[], &body).body == expected);
    body.extend_from_slice(&[0; 1000]);
    assert!(server.post("/v1/decompress", &[], &body).body == expected);
    // As much as is answered whole, so that there can be a status.
    let mut body = gzip(&text(50_000)).repeat(5);
    body.extend_from_slice(b"garbage");
    let answer = server.post("/v1/decompress", &[], &body);
    let problem = check_problem(&answer, 422, "corrupt-input", &["trailing garbage"]);
    assert!(problem["offset"].as_u64().expect("an offset") < body.len() as u64);
    server.check_at_rest();
}

#[test]
fn other_encoders_are_decoded() {
    let server = Server::start();
    let data = text(300_000);
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(&data).expect("a Vec");
    let mut raw = DeflateEncoder::new(Vec::new(), Compression::fast());
    raw.write_all(&data).expect("a Vec");
    assert!(
        server
            .post("/v1/decompress", &[], &zlib.finish().expect("a Vec"))
            .body
            == data
    );
    let raw = raw.finish().expect("a Vec");
    let answer = server.post("/v1/decompress?format=deflate", &[], &raw);
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    assert!(answer.body == data);
}

#[test]
fn corrupt_bodies_are_told_where() {
    let server = Server::start();
    let whole = gzip(&text(100_000));
    let mut flipped = whole.clone();
    let at = flipped.len() - 6;
    flipped[at] ^= 1;
    check_problem(
        &server.post("/v1/decompress", &[], &flipped),
        422,
        "corrupt-input",
        &["checksum"],
    );
    let cut = &whole[..whole.len() / 2];
    let problem = check_problem(
        &server.post("/v1/decompress", &[], cut),
        422,
        "corrupt-input",
        &["cut short"],
    );
    assert_eq!(problem["offset"], cut.len());
    let problem = check_problem(
        &server.post("/v1/decompress", &[], b""),
        422,
        "corrupt-input",
        &["empty"],
    );
    assert_eq!(problem["offset"], 0);
    check_problem(
        &server.post("/v1/decompress", &[], b"plain text"),
        415,
        "unknown-format",
        &["format"],
    );
    let xz = [0xfd, b'7', b'z', b'X', b'Z', 0, 0];
    check_problem(
        &server.post("/v1/decompress", &[], &xz),
        415,
        "unknown-format",
        &["xz"],
    );
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0, 0, 0];
    check_problem(
        &server.post("/v1/decompress", &[], &zstd),
        422,
        "corrupt-input",
        &[],
    );
    server.check_at_rest();
}

#[test]
fn bombs_are_stopped_at_the_tenants_limits() {
    let server = Server::start_with(|config| {
        config.tenant_limits = TenantLimits {
            output_bytes_max: 4 << 20,
            ratio_max: 100,
            ..TenantLimits::default()
        };
    });
    let zeros = gzip(&vec![0; 64 << 20]);
    assert!(zeros.len() < 1 << 20);
    check_problem(
        &server.post("/v1/decompress", &[], &zeros),
        413,
        "too-large",
        &["4194304"],
    );
    // 3 MiB are within the size limit, and 1000 times the body.
    let steep = gzip(&vec![0; 3 << 20]);
    check_problem(
        &server.post("/v1/decompress", &[], &steep),
        413,
        "ratio-exceeded",
        &["100"],
    );
    // A size that the first reservation does not hold, without a word of it in the trailer.
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    let honest = [noise(40_000), vec![0; 2 << 20]].concat();
    zlib.write_all(&honest).expect("a Vec");
    let answer = server.post("/v1/decompress", &[], &zlib.finish().expect("a Vec"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.body == honest);
    server.check_at_rest();
}

/// A gateway with a simulated card that is in service.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn server_with_card() -> Server {
    use faam_gateway::dispatch::DispatchConfig;

    let server = Server::start_with(|config| {
        config.dispatch.cards = DispatchConfig::default().cards;
        config.dispatch.sim_program = env!("CARGO_BIN_EXE_faam").into();
    });
    // Waits for the card.
    let member = gzip(b"one");
    let answer = server.post("/v1/decompress", &[("Faam-Backend", "require-hw")], &member);
    assert_eq!(answer.status, 200, "{}", answer.text());
    server
}

/// Members that cards served, by a `Faam-Backend` header of several engines.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn members_on_card(backend: &str) -> u32 {
    let cards = backend.split(", ").filter(|part| part.starts_with("fpga"));
    cards
        .map(|part| {
            let (_, count) = part.split_once(";blocks=").expect("a share");
            count.parse::<u32>().expect("a number")
        })
        .sum()
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn cards_serve_the_first_members_of_a_body_and_the_cpu_the_rest_at_once() {
    let server = server_with_card();
    let empty = gzip(b"");
    // As many members as a card's largest job holds.
    let body = [empty.repeat((1 << 20) / empty.len() - 2), gzip(b"the last")].concat();
    assert!(body.len() <= 1 << 20);
    let prefer = [("Faam-Backend", "prefer-hw")];
    let answer = server.post("/v1/decompress", &prefer, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.body, b"the last");
    assert_eq!(answer.header("faam-backend-reason"), Some("beyond-card"));
    let backend = answer.header("faam-backend").expect("engines");
    assert_eq!(members_on_card(backend), 16, "{backend}");
    assert!(backend.ends_with("cpu;blocks=1"), "{backend}");
    for policy in ["auto", "cpu"] {
        let answer = server.post("/v1/decompress", &[("Faam-Backend", policy)], &body);
        assert_eq!(answer.body, b"the last", "{policy}: {}", answer.text());
    }
    server.check_at_rest();
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[test]
fn require_hw_serves_as_many_members_as_cards_may_have_and_names_that_limit() {
    let server = server_with_card();
    let require = [("Faam-Backend", "require-hw")];
    let most = gzip(b"abc").repeat(16);
    let answer = server.post("/v1/decompress", &require, &most);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.body, b"abc".repeat(16));
    assert_eq!(answer.header("faam-backend-reason"), None);
    let more = gzip(b"abc").repeat(17);
    check_problem(
        &server.post("/v1/decompress", &require, &more),
        503,
        "no-engine",
        &["more than 16 gzip members", "Faam-Backend: prefer-hw"],
    );
    server.check_at_rest();
}

/// What a part of a long answer and its window take, of whatever length the body is.
const STREAM_BYTES: usize = (512 << 10) + WINDOW_BYTES;
/// What any request takes besides, and a decoder of DEFLATE.
const OVERHEAD_BYTES: usize = (64 << 10) + (128 << 10);

#[test]
fn a_short_body_is_charged_for_what_it_may_expand_to() {
    let server = Server::start();
    let body = gzip(&vec![0; 64 << 20]);
    let mut wire = Wire::connect(server.address());
    let (key, length) = (format!("Bearer {KEY}"), body.len().to_string());
    let headers = [("Authorization", key.as_str()), ("Content-Length", &length)];
    wire.head("POST", "/v1/decompress", &headers);
    wire.send(&body).expect("sent");
    assert_eq!(wire.try_answer(true).expect("a head").status, 200);
    let charged = server.gateway.admission().memory_bytes();
    assert!(charged >= STREAM_BYTES, "{charged} bytes are charged");
    drop(wire);
    server.check_at_rest();
}

#[test]
fn where_there_is_no_memory_for_a_whole_member_it_flows() {
    let server = Server::start_with(|config| {
        config.admission.body_memory_bytes_max = STREAM_BYTES + OVERHEAD_BYTES;
    });
    let data = text(100_000);
    let answer = server.post("/v1/decompress", &[], &gzip(&data));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.body == data);
    // A card cannot do with less.
    let headers = [("Faam-Backend", "require-hw")];
    let answer = server.post("/v1/decompress", &headers, &gzip(&data));
    check_problem(&answer, 503, "saturated", &["bytes for bodies are free"]);
    server.check_at_rest();
}
