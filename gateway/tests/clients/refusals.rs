//! Refusals reach callers who still send: 8 MiB that are refused at once, or in their middle, and every caller sees
//! the status and the problem, each time.

use std::io::Write;

use crate::callers::{CURL_HTTP1, CURL_HTTP2, Caller};
use crate::gateway::Gateway;

/// What is refused. It compresses well: an answer to it would be small, so that nothing of it leaves before the refusal.
const BODY_BYTES: usize = 8 << 20;
/// How often each caller is refused each time.
const ATTEMPTS: usize = 20;
/// Requests that are in flight where no more may be.
const IN_FLIGHT_MAX: usize = 4;
/// A gateway for small bodies, and one for few.
const SMALL: [(&str, &str); 1] = [("FAAM_HTTP_BODY_BYTES_MAX", "1048576")];
const FEW: [(&str, &str); 1] = [("FAAM_TENANT_IN_FLIGHT_MAX", "4")];

#[track_caller]
fn check(callers: &[Caller]) {
    let (small, few) = (Gateway::start(&SMALL), Gateway::start(&FEW));
    let before = [small.at_rest(), few.at_rest()];
    let mut body = tempfile::NamedTempFile::new().expect("a file");
    body.write_all(&b"text that compresses, ".repeat(BODY_BYTES / 22 + 1)[..BODY_BYTES])
        .expect("written");
    let check = |gateway: &Gateway, caller: Caller, key: &str, chunked, status, problem: &str| {
        let call = gateway.call("/v1/compress", Some(key), body.path(), chunked, ATTEMPTS);
        let outcomes = caller.call(&call);
        let right = outcomes.iter().filter(|outcome| {
            let right = match problem {
                "/problems/no-credential" => outcome.is_of_wrong_key(),
                problem => (outcome.status, outcome.problem.as_str()) == (status, problem),
            };
            right && outcome.error.is_none()
        });
        let right = right.count();
        let how = if chunked { "chunks" } else { "a length" };
        println!("{caller:?} with {how}: {right} of {ATTEMPTS} saw {status} {problem}");
        assert_eq!(right, ATTEMPTS, "{caller:?} with {how}: {outcomes:?}");
    };
    for &caller in callers.iter().filter(|caller| caller.is_installed()) {
        let check = |gateway, key, chunked, status, problem| {
            check(gateway, caller, key, chunked, status, problem);
        };
        for chunked in [false, true] {
            check(
                &small,
                "faam_wrong",
                chunked,
                401,
                "/problems/no-credential",
            );
            check(&small, &small.key, chunked, 413, "/problems/too-large");
        }
        let held: Vec<_> = (0..IN_FLIGHT_MAX).map(|_| few.hold_request()).collect();
        few.wait_for("faam_inflight", 4.0);
        for chunked in [false, true] {
            check(&few, &few.key, chunked, 429, "/problems/too-many-in-flight");
        }
        drop(held);
        few.wait_for("faam_inflight", 0.0);
    }
    small.check_at_rest_as(before[0]);
    few.check_at_rest_as(before[1]);
}

#[test]
fn curl_sees_them() {
    // Without Expect curl sends at once; with it, only after a second or a 100.
    check(&[
        CURL_HTTP1,
        Caller::Curl(&["--http1.1", "-H", "Expect:"]),
        Caller::Curl(&["--http1.1", "-H", "Expect: 100-continue"]),
        CURL_HTTP2,
    ]);
}

#[test]
fn python_sees_them() {
    check(&[Caller::Python("http.client"), Caller::Python("urllib")]);
}

#[test]
fn node_sees_them() {
    check(&[
        Caller::Node("http"),
        Caller::Node("http2"),
        Caller::Node("fetch"),
    ]);
}

#[test]
fn rust_clients_see_them() {
    check(&[
        Caller::Ureq,
        Caller::Reqwest { http2: false },
        Caller::Reqwest { http2: true },
    ]);
}
