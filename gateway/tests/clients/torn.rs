//! Answers that break off: every caller sees that they did, and over HTTP/1.0, which cannot show it, nothing torn is
//! sent.

use std::io::Write;

use tempfile::NamedTempFile;

use crate::callers::{CURL_HTTP1, CURL_HTTP2, Caller, Outcome};
use crate::gateway::Gateway;
use crate::nginx::Nginx;
use crate::samples::{gzip, noise};

/// More than one window of answer, and than what is decoded whole before anything is sent.
pub(crate) const BODY_BYTES: usize = 4 << 20;
const ATTEMPTS: usize = 3;
const TARGET: &str = "/v1/compress?level=1";

const ALL: [Caller; 10] = [
    CURL_HTTP1,
    CURL_HTTP2,
    Caller::Python("http.client"),
    Caller::Python("urllib"),
    Caller::Node("http"),
    Caller::Node("fetch"),
    Caller::Node("http2"),
    Caller::Ureq,
    Caller::Reqwest { http2: false },
    Caller::Reqwest { http2: true },
];

pub(crate) fn file(bytes: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a file");
    file.write_all(bytes).expect("written");
    file
}

/// A member whose data is good to its end, and whose checksum is not.
pub(crate) fn corrupt() -> NamedTempFile {
    let mut member = gzip(&noise(BODY_BYTES));
    let checksum = member.len() - 8;
    member[checksum] ^= 1;
    file(&member)
}

#[track_caller]
pub(crate) fn check_torn(caller: Caller, outcomes: &[Outcome]) {
    for outcome in outcomes {
        assert!(
            outcome.error.is_some(),
            "{caller:?} takes {} bytes for a whole answer",
            outcome.bytes
        );
    }
    let error = outcomes.first().and_then(|outcome| outcome.error.clone());
    println!("{caller:?}: {}", error.unwrap_or_default());
}

#[test]
fn every_caller_sees_that_an_answer_broke_off() {
    let gateway = Gateway::start(&[]);
    let before = gateway.at_rest();
    let body = corrupt();
    let mut broken = 0;
    for caller in ALL.into_iter().filter(|caller| caller.is_installed()) {
        for chunked in [false, true] {
            let outcomes =
                caller.call(&gateway.call("/v1/decompress", None, body.path(), chunked, ATTEMPTS));
            // The body had arrived: that it broke off was all that there was to see.
            assert!(
                outcomes.iter().all(|outcome| outcome.status == 200),
                "{caller:?}: {outcomes:?}"
            );
            check_torn(caller, &outcomes);
            broken += ATTEMPTS;
        }
    }
    let count = r#"faam_streams_broken_total{reason="corrupt-input"}"#;
    // A connection may break before that is counted.
    gateway.wait_for(count, broken as f64);
    gateway.check_at_rest_as(before);
    assert_eq!(gateway.metric(count), broken as f64);
}

#[test]
fn every_caller_sees_it_while_it_still_sends() {
    // By then more blocks have come than are kept in flight: the answer has begun.
    let gateway = Gateway::start(&[("FAAM_HTTP_BODY_BYTES_MAX", "8388608")]);
    let before = gateway.at_rest();
    let body = file(&noise((8 << 20) + (1 << 18)));
    for caller in ALL.into_iter().filter(|caller| caller.is_installed()) {
        check_torn(
            caller,
            &caller.call(&gateway.call(TARGET, None, body.path(), true, ATTEMPTS)),
        );
    }
    gateway.check_at_rest_as(before);
}

#[test]
fn curl_sees_that_a_deadline_passed() {
    let gateway = Gateway::start(&[]);
    let before = gateway.at_rest();
    let body = file(&noise(BODY_BYTES));
    // The answer begins after a quarter of a MiB; all of it takes two seconds.
    for caller in [
        Caller::Curl(&["--http1.1", "--limit-rate", "2M"]),
        Caller::Curl(&["--http2-prior-knowledge", "--limit-rate", "2M"]),
    ] {
        let mut call = gateway.call(TARGET, None, body.path(), true, ATTEMPTS);
        call.headers.push(("Faam-Deadline-Ms", "1000".to_owned()));
        call.attempts = 1;
        let outcomes = caller.call(&call);
        assert_eq!(outcomes[0].status, 200, "{outcomes:?}");
        check_torn(caller, &outcomes);
    }
    gateway.check_at_rest_as(before);
}

#[test]
fn nothing_torn_is_sent_over_http_1_0() {
    let gateway = Gateway::start(&[("FAAM_SPILL_REQUEST_BYTES_MAX", "8388608")]);
    let before = gateway.at_rest();
    check_whole_or_none(&gateway, Caller::Curl(&["--http1.0"]), None);
    gateway.check_at_rest_as(before);
}

#[test]
fn nothing_torn_passes_nginx() {
    let gateway = Gateway::start(&[("FAAM_SPILL_REQUEST_BYTES_MAX", "8388608")]);
    let Some(nginx) = Nginx::start(gateway.address) else {
        return;
    };
    for caller in [
        CURL_HTTP1,
        Caller::Python("http.client"),
        Caller::Node("http"),
        Caller::Reqwest { http2: false },
    ] {
        if caller.is_installed() {
            check_whole_or_none(&gateway, caller, Some(&nginx));
        }
    }
}

/// Long answers come whole, with their length; those that fail, or that are too long to be whole, do not come.
#[track_caller]
fn check_whole_or_none(gateway: &Gateway, caller: Caller, proxy: Option<&Nginx>) {
    let data = noise(BODY_BYTES);
    let check = |target: &str, body: &[u8], status: u16, problem: &str, bytes: Option<usize>| {
        let body = file(body);
        let mut call = gateway.call(target, None, body.path(), false, ATTEMPTS);
        if let Some(nginx) = proxy {
            call.url = nginx.url(target);
        }
        for outcome in caller.call(&call) {
            assert_eq!(
                (outcome.status, outcome.problem.as_str()),
                (status, problem),
                "{caller:?}: {outcome:?}"
            );
            assert_eq!(outcome.error, None, "{caller:?}");
            if let Some(bytes) = bytes {
                assert_eq!(outcome.bytes, bytes as u64, "{caller:?}");
            }
        }
    };
    let whole = gzip(&data);
    check("/v1/decompress", &whole, 200, "", Some(data.len()));
    let corrupt = std::fs::read(corrupt().path()).expect("a body");
    check(
        "/v1/decompress",
        &corrupt,
        422,
        "/problems/corrupt-input",
        None,
    );
    let long = noise(3 * BODY_BYTES);
    check(
        "/v1/compress?level=1",
        &long,
        505,
        "/problems/version",
        None,
    );
}
