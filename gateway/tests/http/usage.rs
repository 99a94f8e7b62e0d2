//! What a tenant is told that it has used: sums are those of what was sent, however its requests ended.

use std::time::{Duration, Instant};

use faam_gateway::gateway::Gateway;
use serde_json::Value;

use crate::http2;
use crate::samples::{gzip, noise, text};
use crate::server::{KEY, Server, check_problem, config};
use crate::wire::{Wire, request};

/// How long usage may take to be written, on a disk that others write to: a failure, not a measure.
const WRITTEN: Duration = Duration::from_secs(60);

/// Usage by `group`, once it has as many requests.
#[track_caller]
fn usage(server: &Server, group: &str, requests: u64) -> Value {
    let until = Instant::now() + WRITTEN;
    let operator = format!("Bearer {}", server.gateway.admin_key().key);
    let operator = [("Authorization", operator.as_str())];
    loop {
        // What has ended is written before an operator is answered.
        let admin = server.gateway.admin_address();
        let written = request(admin, "GET", "/admin/v1/usage", &operator, b"");
        assert_eq!(written.status, 200, "{}", written.text());
        let answer = server.get(&format!("/v1/usage?group={group}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        let report = answer.json();
        if report["total"]["requests"] == requests {
            return report;
        }
        assert!(
            Instant::now() < until,
            "not {requests} requests: {report:#}"
        );
        std::thread::yield_now();
    }
}

/// The row with these words.
#[track_caller]
fn row<'a>(report: &'a Value, kernel: &str, outcome: &str) -> &'a Value {
    let rows = report["rows"].as_array().expect("rows");
    let mut found = rows
        .iter()
        .filter(|row| row["kernel"] == kernel && row["outcome"] == outcome);
    let row = found.next();
    let row = row.unwrap_or_else(|| panic!("no {kernel} {outcome} in {report:#}"));
    assert!(found.next().is_none(), "two of them in {report:#}");
    row
}

#[test]
fn sums_are_those_of_what_was_sent() {
    let server = Server::start_with(|config| {
        config.prices.currency = "EUR".parse().expect("a currency");
        config.prices.per_request = "0.5".parse().expect("a price");
        config.prices.per_gib_in = "1024".parse().expect("a price");
    });
    // The short way, a block of its own way, and a stream.
    let bodies = [text(100), text(1000), text(60_000), text(3 << 20)];
    let mut made = 0;
    for body in &bodies {
        let answer = server.post("/v1/compress", &[], body);
        assert_eq!(answer.status, 200);
        made += answer.body.len();
    }
    let sent: usize = bodies.iter().map(Vec::len).sum();
    let member = gzip(&text(5000));
    assert_eq!(server.post("/v1/decompress", &[], &member).body.len(), 5000);
    let mut corrupt = member.clone();
    corrupt[20] ^= 0xff;
    check_problem(
        &server.post("/v1/decompress", &[], &corrupt),
        422,
        "corrupt-input",
        &[],
    );
    check_problem(
        &server.post("/v1/compress?format=rar", &[], b"x"),
        415,
        "unknown-format",
        &[],
    );

    let report = usage(&server, "kernel,outcome", 7);
    let ok = row(&report, "compress", "ok");
    assert_eq!(ok["requests"], 4);
    assert_eq!(ok["bytes_in"], sent);
    assert_eq!(ok["bytes_out"], made);
    assert_eq!(ok["billable"], true);
    assert_eq!((&ok["refusals"], &ok["device_us"]), (&0.into(), &0.into()));
    assert!(
        ok["cpu_us"].as_u64() > Some(0) && ok["reference_us"].as_u64() > Some(0),
        "{ok:#}"
    );
    let ok = row(&report, "decompress", "ok");
    assert_eq!(
        (&ok["bytes_in"], &ok["bytes_out"]),
        (&member.len().into(), &5000.into())
    );
    let corrupt = row(&report, "decompress", "corrupt-input");
    assert_eq!(
        (&corrupt["requests"], &corrupt["billable"]),
        (&1.into(), &true.into())
    );
    let refused = row(&report, "compress", "unknown-format");
    assert_eq!(
        (&refused["refusals"], &refused["billable"]),
        (&1.into(), &false.into())
    );
    assert_eq!(refused["cost"], "0");

    // The total is the rows' sum, in bytes and in money.
    let rows = report["rows"].as_array().expect("rows");
    for name in [
        "requests",
        "bytes_in",
        "bytes_out",
        "cpu_us",
        "reference_us",
        "refusals",
    ] {
        let sum: u64 = rows
            .iter()
            .map(|row| row[name].as_u64().expect("a number"))
            .sum();
        assert_eq!(report["total"][name], sum, "{name}");
    }
    assert_eq!(report["currency"], "EUR");
    let cost: f64 = report["total"]["cost"]
        .as_str()
        .expect("a text")
        .parse()
        .expect("a number");
    let bytes = (sent + 2 * member.len()) as f64;
    let expected = 0.5 * 6.0 + 1024.0 * bytes / f64::from(1 << 30);
    assert!((cost - expected).abs() < 1e-6, "{cost} is not {expected}");

    // The same by day, and nothing before.
    let by_day = usage(&server, "day", 7);
    assert_eq!(by_day["total"]["requests"], 7);
    let before = server.get("/v1/usage?until=2020-01-01").json();
    assert_eq!(before["rows"], Value::Array(Vec::new()));
}

#[test]
fn what_was_done_for_a_caller_who_hung_up_is_charged() {
    let server = Server::start();
    let body = noise(1 << 20);
    let mut wire = server.begin("/v1/compress", &[], &body);
    // Some of it has come back: blocks of it have been made.
    assert_eq!(wire.first_byte(), Some(b'H'));
    drop(wire);
    server.check_at_rest();
    let report = usage(&server, "kernel,outcome", 1);
    let cancelled = row(&report, "compress", "cancelled");
    assert_eq!(cancelled["billable"], true);
    assert!(
        cancelled["bytes_in"].as_u64() > Some(128 << 10),
        "{cancelled:#}"
    );
    assert!(cancelled["cpu_us"].as_u64() > Some(0), "{cancelled:#}");
}

#[test]
fn what_is_open_at_the_drain_limit_is_broken_off_and_in_the_usage_of_before() {
    let data = tempfile::tempdir().expect("a directory");
    let start = || {
        let mut config = config(data.path());
        config.drain = Duration::from_millis(10);
        Gateway::start(config).expect("starts")
    };
    let server = Server {
        gateway: start(),
        data: tempfile::tempdir().expect("a directory"),
    };
    let body = noise(1 << 20);
    let mut sending = server.begin("/v1/compress", &[], &body);
    assert_eq!(sending.first_byte(), Some(b'H'));
    // One that reads nothing: its answer is whole, and waits for it.
    let many = noise(1 << 20).repeat(64);
    let reading = std::thread::spawn({
        let address = server.address();
        move || {
            let mut wire = Wire::connect(address);
            let key = format!("Bearer {KEY}");
            let length = many.len().to_string();
            let headers = [("Authorization", key.as_str()), ("Content-Length", &length)];
            wire.head("POST", "/v1/compress?level=1", &headers);
            // It may be broken off before it has sent all.
            let _ = wire.send(&many);
            wire
        }
    });
    // And one that is a stream among others.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let streamed = runtime.block_on(async {
        let requests = http2::connect(&server).await;
        let body = gzip(&vec![0; http2::ANSWER_BYTES]).into();
        http2::begin(&requests, &body).await
    });
    server.wait_for_in_flight(3);
    server.gateway.stop();
    runtime
        .block_on(http2::read(streamed))
        .expect_err("a torn answer looks whole");
    let mut body = Vec::new();
    sending.try_answer(true).expect("a head");
    while let Ok(more) = sending.body_chunk(&mut body) {
        assert!(more, "a torn answer looks whole");
    }
    drop(reading.join().expect("no panic"));

    let server = Server {
        gateway: start(),
        ..server
    };
    let report = usage(&server, "kernel,outcome", 3);
    let stream = row(&report, "decompress", "draining");
    assert_eq!(
        (&stream["requests"], &stream["billable"]),
        (&1.into(), &false.into())
    );
    let broken_off = row(&report, "compress", "draining");
    assert_eq!(
        (&broken_off["requests"], &broken_off["billable"]),
        (&2.into(), &false.into())
    );
    assert!(
        broken_off["bytes_in"].as_u64() > Some(128 << 10),
        "{report:#}"
    );
    assert!(broken_off["cpu_us"].as_u64() > Some(0), "{report:#}");
    server.gateway.stop();
}

#[test]
fn a_question_that_cannot_be_answered_says_what_can() {
    let server = Server::start();
    for (query, words) in [
        ("since=yesterday", ["since", "2026-01-31"]),
        ("group=week", ["week", "namespace"]),
        ("since=2026-02-01&until=2026-01-01", ["before", "until"]),
        ("tenant=other", ["tenant", "group"]),
    ] {
        let answer = server.get(&format!("/v1/usage?{query}"));
        check_problem(&answer, 400, "invalid-option", &words);
    }
}

#[test]
fn a_restart_gives_no_second_day() {
    const QUOTA: u64 = 10_000;
    // At midnight (UTC) there is a new day, and then it is tried again.
    let day = || jiff::Timestamp::now().as_second() / 86_400;
    loop {
        let began = day();
        let data = tempfile::tempdir().expect("a directory");
        let start = || {
            let mut config = config(data.path());
            config.tenant_limits.bytes_per_day = Some(QUOTA);
            Gateway::start(config).expect("starts")
        };
        let key = format!("Bearer {KEY}");
        let post = |gateway: &Gateway, body: &[u8]| {
            let headers = [("Authorization", key.as_str())];
            request(
                gateway.public_address(),
                "POST",
                "/v1/compress",
                &headers,
                body,
            )
        };
        let first = start();
        assert_eq!(post(&first, &text(7000)).status, 200);
        // All of it is written by then.
        first.stop();
        let second = start();
        let over = post(&second, &text(7000));
        let within = post(&second, &text(2000));
        second.stop();
        if day() == began {
            check_problem(&over, 429, "over-quota", &["7000"]);
            assert_eq!(within.status, 200);
            return;
        }
    }
}
