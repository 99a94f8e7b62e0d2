//! Refusals: each with its status, its problem and its way out, and nothing held afterwards.

use std::time::Duration;

use faam_gateway::config::GatewayConfig;
use faam_gateway::gateway::{Gateway, GatewayError};
use faam_gateway::tenants::TenantLimits;

use crate::samples::{decode_one_member, noise, text};
use crate::server::{KEY, Server, check_problem, config};
use crate::wire::{Wire, request};

/// How often something is asked one after another that must not be refused once.
const ROUNDS: usize = 20;

#[test]
fn what_is_not_accepted_is_refused_with_what_is() {
    let server = Server::start();
    let check = |target: &str, headers: &[(&str, &str)], status, name, words: &[&str]| {
        check_problem(&server.post(target, headers, b"hello"), status, name, words)
    };
    check(
        "/v1/compress?window=9",
        &[],
        400,
        "invalid-option",
        &["window", "format, level, as"],
    );
    check(
        "/v1/decompress?level=9",
        &[],
        400,
        "invalid-option",
        &["level", "format"],
    );
    check(
        "/v1/compress?level=0",
        &[],
        400,
        "invalid-option",
        &["\"0\"", "12"],
    );
    let problem = check(
        "/v1/compress?format=br",
        &[],
        415,
        "unknown-format",
        &["br", "gzip, zlib, deflate, zstd or lz4"],
    );
    assert_eq!(
        problem["served"],
        serde_json::json!(["gzip", "zlib", "deflate", "zstd", "lz4"])
    );
    check(
        "/v1/decompress?format=xz",
        &[],
        415,
        "unknown-format",
        &["xz", "auto"],
    );
    check(
        "/v1/compress?format=lz4",
        &[("Faam-Backend", "require-hw")],
        400,
        "invalid-option",
        &["prefer-hw"],
    );
    check(
        "/v1/compress",
        &[("Faam-Backend", "gpu")],
        400,
        "invalid-option",
        &["require-hw", "gpu"],
    );
    check(
        "/v1/compress",
        &[("Faam-Deadline-Ms", "soon")],
        400,
        "invalid-option",
        &["3600000", "soon"],
    );
    for word in ["8", "-1", "03", "high"] {
        check(
            "/v1/compress",
            &[("Faam-Priority", word)],
            400,
            "invalid-option",
            &["Faam-Priority", "from 0", "7", word],
        );
    }
    check(
        "/v1/compress",
        &[("Content-Encoding", "gzip")],
        415,
        "unknown-format",
        &["/v1/decompress"],
    );
    check(
        "/v1/compress?level=10",
        &[("Faam-Backend", "require-hw")],
        400,
        "invalid-option",
        &["prefer-hw"],
    );
    check(
        "/v2/compress",
        &[],
        404,
        "not-found",
        &["/v2/compress", "GET /"],
    );
    server.check_at_rest();
}

#[test]
fn a_put_is_told_to_be_a_post() {
    let server = Server::start();
    let key = format!("Bearer {KEY}");
    let answer = request(
        server.address(),
        "PUT",
        "/v1/compress",
        &[("Authorization", &key)],
        b"hello",
    );
    check_problem(&answer, 405, "method", &["-X POST"]);
    assert_eq!(answer.header("allow"), Some("POST"));
    let answer = request(
        server.address(),
        "DELETE",
        "/v1/devices",
        &[("Authorization", &key)],
        b"",
    );
    check_problem(&answer, 405, "method", &["GET"]);
}

#[test]
fn only_the_key_opens() {
    let server = Server::start();
    let wrong = format!("Bearer {KEY}x");
    for headers in [
        &[][..],
        &[("Authorization", "Basic ZGVtbzpkZW1v")],
        &[("Authorization", wrong.as_str())],
    ] {
        for target in ["/v1/compress", "/v1/decompress"] {
            let answer = request(server.address(), "POST", target, headers, b"hello");
            check_problem(&answer, 401, "no-credential", &["credential"]);
        }
        check_problem(
            &request(server.address(), "GET", "/v1/devices", headers, b""),
            401,
            "no-credential",
            &[],
        );
    }
    assert_eq!(
        request(server.address(), "GET", "/healthz", &[], b"").status,
        200
    );
    server.check_at_rest();
}

#[test]
fn a_body_announced_too_large_is_refused_before_it_is_polled() {
    let server = Server::start();
    let key = format!("Bearer {KEY}");
    let length = (faam_gateway::http::limits::BODY_BYTES_MAX + 1).to_string();
    let mut wire = Wire::connect(server.address());
    let headers = [
        ("Authorization", key.as_str()),
        ("Content-Length", length.as_str()),
        ("Expect", "100-continue"),
    ];
    wire.head("POST", "/v1/compress", &headers);
    // A poll would have made the first answer a 100.
    let answer = wire.answer();
    check_problem(&answer, 413, "too-large", &[length.as_str(), "68719476736"]);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(wire.is_closed());
    server.check_at_rest();
}

#[test]
fn no_continue_precedes_any_refusal() {
    let server = Server::start();
    let key = format!("Bearer {KEY}");
    let refused = [
        ("/v1/compress", "Bearer faam_wrong", 401),
        ("/v1/compress?level=99", key.as_str(), 400),
        ("/nowhere", key.as_str(), 404),
    ];
    for (target, authorization, status) in refused {
        let mut wire = Wire::connect(server.address());
        let headers = [
            ("Authorization", authorization),
            ("Content-Length", "5"),
            ("Expect", "100-continue"),
        ];
        wire.head("POST", target, &headers);
        assert_eq!(wire.answer().status, status);
    }
    let mut wire = Wire::connect(server.address());
    let headers = [
        ("Authorization", key.as_str()),
        ("Content-Length", "5"),
        ("Expect", "100-continue"),
    ];
    wire.head("POST", "/v1/compress", &headers);
    assert_eq!(wire.answer().status, 100);
    wire.send(b"hello").expect("sent");
    assert_eq!(decode_one_member("gzip", &wire.answer().body), b"hello");
}

#[test]
fn a_body_that_grows_too_large_is_refused_in_its_middle_and_drained() {
    let server = Server::start_with(|config| config.limits.body_bytes_max = 1 << 20);
    let piece = vec![7; 64 << 10];
    let mut wire = server.begin("/v1/compress", &[], &piece);
    // Three times the limit, all of which is taken: the caller reads only once it has sent everything.
    for _ in 0..48 {
        wire.chunk(&piece).expect("the rest is drained");
    }
    wire.chunk(b"").expect("the end is drained");
    let answer = wire.answer();
    check_problem(&answer, 413, "too-large", &["1048576", "split"]);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(wire.is_closed());
    server.check_at_rest();
}

#[test]
fn a_refused_caller_that_already_sends_sees_the_answer() {
    let server = Server::start();
    let body = vec![0; 8 << 20];
    let answer = request(server.address(), "POST", "/v1/compress", &[], &body);
    check_problem(&answer, 401, "no-credential", &[]);
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn a_drain_after_a_refusal_is_bounded() {
    let server = Server::start_with(|config| config.limits.refusal_drain_bytes_max = 1 << 20);
    let mut wire = Wire::connect(server.address());
    wire.head("POST", "/v1/compress", &[("Content-Length", "1000000000")]);
    let piece = vec![0; 1 << 20];
    // The kernel's buffers take some of it; then the connection is gone.
    let sent = (0..64).take_while(|_| wire.send(&piece).is_ok()).count();
    assert!(sent < 64, "64 MiB were taken");
}

#[test]
fn too_many_requests_in_flight_are_refused_until_one_ends() {
    let server = Server::start_with(|config| {
        config.tenant_limits = TenantLimits {
            in_flight_max: 2,
            ..TenantLimits::default()
        };
    });
    let mut first = server.begin("/v1/compress", &[], b"hello ");
    let second = server.begin("/v1/compress", &[], b"hello ");
    server.wait_for_in_flight(2);
    let refused = server.post("/v1/compress", &[], b"x");
    check_problem(&refused, 429, "too-many-in-flight", &["2 are allowed"]);
    assert_eq!(refused.header("retry-after"), Some("1"));
    first.chunk(b"again").expect("sent");
    first.chunk(b"").expect("sent");
    assert_eq!(
        decode_one_member("gzip", &first.answer().body),
        b"hello again"
    );
    server.wait_for_in_flight(1);
    assert_eq!(server.post("/v1/compress", &[], b"x").status, 200);
    // A caller that hangs up gives its place back as well.
    drop(second);
    server.check_at_rest();
}

#[test]
fn whoever_asks_one_thing_after_another_needs_one_place() {
    let server = Server::start_with(|config| {
        config.tenant_limits = TenantLimits {
            in_flight_max: 1,
            ..TenantLimits::default()
        };
    });
    let long = noise(1 << 20);
    // Each over a connection of its own: whole answers, streamed ones and refusals.
    for _ in 0..ROUNDS {
        assert_eq!(server.post("/v1/compress", &[], b"x").status, 200);
        assert_eq!(server.post("/v1/compress?level=1", &[], &long).status, 200);
        let refused = server.post("/v1/decompress", &[], b"no member of gzip");
        assert!((400..=422).contains(&refused.status), "{}", refused.text());
    }
    server.check_at_rest();
}

#[test]
fn memory_of_bodies_is_bounded_at_admission_and_enough_from_then_on() {
    let server = Server::start_with(|config| config.admission.body_memory_bytes_max = 1 << 20);
    // One request of any length fits, and goes on block by block.
    let mut first = server.begin("/v1/compress?level=1", &[], b"x");
    server.wait_for_in_flight(1);
    let refused = server.post("/v1/compress", &[], &text(2 << 20));
    check_problem(&refused, 503, "saturated", &["1048576", "Retry-After"]);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let piece = noise(64 << 10);
    for _ in 0..32 {
        first.chunk(&piece).expect("taken");
    }
    first.chunk(b"").expect("taken");
    let answer = first.answer();
    assert_eq!(answer.status, 200);
    let expected = [b"x".to_vec(), piece.repeat(32)].concat();
    assert!(decode_one_member("gzip", &answer.body) == expected);
    server.check_at_rest();
    assert_eq!(server.post("/v1/compress", &[], &text(1 << 19)).status, 200);
    server.check_at_rest();
}

#[test]
fn a_deadline_ends_a_request_and_says_where_time_went() {
    let server = Server::start();
    let mut wire = server.begin("/v1/compress", &[("Faam-Deadline-Ms", "50")], b"hello");
    let problem = check_problem(
        &wire.answer(),
        504,
        "deadline",
        &["receive", "Faam-Deadline-Ms"],
    );
    let receive = problem["spent_ms"]["receive"].as_f64().expect("a number");
    assert!(receive >= 0.0, "{problem}");
    server.check_at_rest();
    let answer = server.post("/v1/compress", &[("Faam-Deadline-Ms", "20000")], b"hello");
    assert_eq!(answer.status, 200);
}

#[test]
fn without_a_card_hardware_cannot_be_required() {
    let server = Server::start_with(|config| config.dispatch.hw_wait = Duration::from_millis(50));
    let answer = server.post("/v1/compress", &[("Faam-Backend", "require-hw")], b"hello");
    check_problem(&answer, 503, "no-engine", &["prefer-hw"]);
    assert!(answer.header("retry-after").is_some());
    let answer = server.post("/v1/compress", &[("Faam-Backend", "prefer-hw")], b"hello");
    assert_eq!(
        (answer.status, answer.header("faam-backend")),
        (200, Some("cpu"))
    );
    server.check_at_rest();
}

#[test]
fn nobody_else_may_use_the_data_directory_or_an_open_port_without_a_key() {
    let server = Server::start();
    let data = server.data.path();
    let Err(error) = Gateway::start(config(data)) else {
        panic!("two gateways on one directory")
    };
    assert!(
        matches!(error, GatewayError::DataDirTaken { .. })
            && error.to_string().contains("--data-dir")
    );
    let other = tempfile::tempdir().expect("a directory");
    let taken = GatewayConfig {
        listen: server.address(),
        ..config(other.path())
    };
    let Err(error) = Gateway::start(taken) else {
        panic!("two gateways on one port")
    };
    assert!(
        error.to_string().contains("--listen") && error.to_string().contains("taken"),
        "{error}"
    );
    let open = GatewayConfig {
        listen: ([0, 0, 0, 0], 0).into(),
        bootstrap_key: None,
        ..config(other.path())
    };
    let Err(error) = Gateway::start(open) else {
        panic!("an open port without a key")
    };
    assert!(error.to_string().contains("FAAM_BOOTSTRAP_KEY"), "{error}");
}

#[test]
fn a_path_that_is_no_text_names_nothing() {
    let server = Server::start();
    for target in ["/problems/%ff", "/docs/%ff", "/v1/invocations/%ff"] {
        let authorization = format!("Bearer {KEY}");
        let answer = request(
            server.address(),
            "GET",
            target,
            &[("Authorization", &authorization)],
            b"",
        );
        check_problem(&answer, 404, "not-found", &[]);
    }
}
