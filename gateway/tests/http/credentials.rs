//! Credentials and other headers that decide something: who is let in, what is said to whom not, and what comes once.

use crate::server::{KEY, Server, check_problem};
use crate::wire::request;

const TARGETS: [(&str, &str); 4] = [
    ("POST", "/v1/compress"),
    ("POST", "/v1/decompress"),
    ("GET", "/v1/devices"),
    (
        "GET",
        "/v1/invocations/0199c5a4-7d3e-7c1a-9b1f-3f2a6f0f9c11",
    ),
];

/// A challenge without an error, for who sent no credential that could be judged (RFC 6750, 3).
const UNKNOWN: &str = "Bearer realm=\"faam\"";
/// The same for who sent a wrong one.
const INVALID: &str = "Bearer realm=\"faam\", error=\"invalid_token\"";
/// And for who sent one of OpenWhisk's kind.
const BASIC: &str = "Basic realm=\"faam\", charset=\"UTF-8\"";

#[test]
fn a_wrong_credential_is_told_apart_from_none() {
    let server = Server::start();
    let longer = format!("Bearer {KEY}x");
    let long = format!("Bearer faam_{}", "k".repeat(300));
    let foreign = "Bearer faam_\u{e9}\u{e9}".to_owned();
    for (authorization, challenge) in [
        (None, UNKNOWN),
        (Some("Digest username=demo"), UNKNOWN),
        (Some("Basic ZGVtbzpkZW1v"), BASIC),
        (Some("Bearer"), UNKNOWN),
        (Some(KEY), UNKNOWN),
        (Some("Bearer faam_wrong"), INVALID),
        (Some(longer.as_str()), INVALID),
        (Some(long.as_str()), INVALID),
        (Some(foreign.as_str()), INVALID),
    ] {
        let headers: Vec<_> = authorization
            .map(|value| ("Authorization", value))
            .into_iter()
            .collect();
        for (method, target) in TARGETS {
            let answer = request(server.address(), method, target, &headers, b"");
            check_problem(&answer, 401, "no-credential", &["credential"]);
            assert_eq!(
                answer.header("www-authenticate"),
                Some(challenge),
                "{authorization:?}"
            );
        }
    }
    for word in ["bearer", "Bearer ", "BEARER"] {
        let right = format!("{word} {KEY}");
        let headers = [("Authorization", right.as_str())];
        let answer = request(server.address(), "GET", "/v1/devices", &headers, b"");
        assert_eq!(answer.status, 200, "{word:?}: {}", answer.text());
    }
    server.check_at_rest();
}

#[test]
fn two_credentials_are_none() {
    let server = Server::start();
    let right = format!("Bearer {KEY}");
    for second in [right.as_str(), "Bearer faam_wrong", "Basic ZGVtbzpkZW1v"] {
        for (method, target) in TARGETS {
            for pair in [[right.as_str(), second], [second, right.as_str()]] {
                let headers = pair.map(|value| ("Authorization", value));
                let answer = request(server.address(), method, target, &headers, b"");
                check_problem(&answer, 400, "invalid-option", &["Authorization", "once"]);
                assert_eq!(
                    answer.header("www-authenticate"),
                    Some("Bearer realm=\"faam\", error=\"invalid_request\"")
                );
            }
        }
    }
    server.check_at_rest();
}

#[test]
fn what_decides_comes_once_and_what_is_a_list_may_come_in_parts() {
    let server = Server::start();
    let post = |target: &str, headers: &[(&str, &str)]| server.post(target, headers, b"hello");
    for (target, name, values) in [
        ("/v1/compress", "faam-backend", ["cpu", "cpu"]),
        ("/v1/compress", "faam-deadline-ms", ["9000", "9000"]),
        ("/v1/decompress", "faam-backend", ["cpu", "auto"]),
        (
            "/v1/compress?as=content-encoding",
            "content-type",
            ["text/plain", "text/html"],
        ),
    ] {
        let answer = post(target, &values.map(|value| (name, value)));
        check_problem(&answer, 400, "invalid-option", &[name, "once"]);
    }
    // The answer says nothing of the request's type, so that it does not matter.
    let types = ["text/plain", "text/html"].map(|value| ("content-type", value));
    assert_eq!(post("/v1/compress", &types).status, 200);
    // RFC 9530, 2: a dictionary, whose parts are one (RFC 8941, 3.2).
    let sha_256 = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
    let digests = [
        ("content-digest", "unixsum=30637"),
        ("content-digest", sha_256),
    ];
    assert_eq!(post("/v1/compress", &digests).status, 200);
    let wrong = [
        (
            "content-digest",
            "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:",
        ),
        ("content-digest", "unixsum=30637"),
    ];
    check_problem(&post("/v1/compress", &wrong), 422, "digest-mismatch", &[]);
    for codings in [
        &["identity", "identity"][..],
        &["identity, Identity"],
        &["identity,, "],
    ] {
        let codings: Vec<_> = codings
            .iter()
            .map(|value| ("content-encoding", *value))
            .collect();
        let answer = post("/v1/compress", &codings);
        assert_eq!(answer.status, 200, "{codings:?}: {}", answer.text());
    }
    for codings in [&["identity", "gzip"][..], &["identity, gzip"]] {
        let codings: Vec<_> = codings
            .iter()
            .map(|value| ("content-encoding", *value))
            .collect();
        check_problem(
            &post("/v1/compress", &codings),
            415,
            "unknown-format",
            &["gzip"],
        );
    }
    server.check_at_rest();
}

#[test]
fn wrong_credentials_are_slowed_down_and_a_right_one_behind_the_same_address_is_let_in() {
    let server = Server::start();
    let with = |key: &str| {
        let value = format!("Bearer {key}");
        let headers = [("Authorization", value.as_str())];
        request(server.address(), "GET", "/v1/devices", &headers, b"")
    };
    // One more may come back for each second that this takes.
    let answers: Vec<_> = (0..200).map(|_| with("faam_wrong")).collect();
    let limited: Vec<_> = answers
        .iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert!(limited.len() > 100, "{} of 200", limited.len());
    for answer in limited {
        check_problem(answer, 429, "too-many-failures", &["right one"]);
        let wait: u64 = answer
            .header("retry-after")
            .expect("when")
            .parse()
            .expect("seconds");
        assert_eq!(wait, 1);
        assert_eq!(with(KEY).status, 200);
    }
    assert!(answers.iter().take(30).all(|answer| answer.status == 401));
    // Who sends none is no guesser.
    for _ in 0..3 {
        let answer = request(server.address(), "GET", "/v1/devices", &[], b"");
        assert_eq!(answer.status, 401);
    }
    // The operator's door has the same bound, and the same mercy.
    let admin = |key: &str| {
        let value = format!("Bearer {key}");
        let headers = [("Authorization", value.as_str())];
        request(
            server.gateway.admin_address(),
            "GET",
            "/admin/v1",
            &headers,
            b"",
        )
    };
    // What has come back in the meantime goes first.
    assert!((0..200).any(|_| admin(KEY).status == 429));
    assert_eq!(admin(&server.gateway.admin_key().key).status, 200);
    server.check_at_rest();
}
