//! Requests that are served: every length, every fact in the headers, and what there is to ask.

use faam_gateway::job::BLOCK_BYTES;

use crate::samples::{decode_one_member, text};
use crate::server::{KEY, Server, check_problem};
use crate::wire::{Wire, request};

#[test]
fn every_length_around_a_block_is_one_member_and_comes_back() {
    let server = Server::start();
    let data = text(17 * BLOCK_BYTES + 5);
    let lengths = [
        0,
        1,
        11,
        BLOCK_BYTES - 1,
        BLOCK_BYTES,
        BLOCK_BYTES + 1,
        2 * BLOCK_BYTES,
        17 * BLOCK_BYTES,
        data.len(),
    ];
    for format in ["gzip", "zlib", "deflate"] {
        for length in lengths {
            let body = &data[..length];
            let packed = server.post(&format!("/v1/compress?format={format}"), &[], body);
            assert_eq!(packed.status, 200, "{}", packed.text());
            assert_eq!(
                decode_one_member(format, &packed.body),
                body,
                "{format} of {length}"
            );
            let unpacked = server.post(
                &format!("/v1/decompress?format={format}"),
                &[],
                &packed.body,
            );
            assert_eq!(unpacked.status, 200, "{}", unpacked.text());
            assert!(unpacked.body == body, "{format} of {length}");
        }
    }
    server.check_at_rest();
}

#[test]
fn an_answer_carries_its_facts() {
    let server = Server::start();
    let body = text(3 * BLOCK_BYTES);
    let answer = server.post("/v1/compress?level=6", &[("Faam-Backend", "cpu")], &body);
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("application/gzip"));
    assert_eq!(answer.header("faam-backend"), Some("cpu"));
    assert_eq!(answer.header("faam-backend-reason"), None);
    assert_eq!(answer.header("faam-verify"), Some("ok"));
    assert_eq!(answer.header("faam-level"), Some("6"));
    assert_eq!(
        answer.header("content-length"),
        Some(answer.body.len().to_string().as_str())
    );
    assert_eq!(
        answer
            .header("faam-invocation-id")
            .expect("an id")
            .as_bytes()[14],
        b'7',
        "UUID version"
    );
    let timing = answer.header("server-timing").expect("timing");
    for phase in ["admit", "queue", "transfer", "device", "verify", "total"] {
        let dur = timing
            .split(", ")
            .find_map(|part| part.strip_prefix(&format!("{phase};dur=")));
        let dur: f64 = dur
            .unwrap_or_else(|| panic!("{phase} in {timing}"))
            .parse()
            .expect("a number");
        assert!((0.0..1e6).contains(&dur), "{timing}");
    }
    for (format, media_type) in [
        ("zlib", "application/zlib"),
        ("deflate", "application/octet-stream"),
    ] {
        let answer = server.post(&format!("/v1/compress?format={format}"), &[], b"x");
        assert_eq!(answer.header("content-type"), Some(media_type));
    }
}

#[test]
fn streams_of_zstd_and_lz4_are_one_frame_whatever_their_length() {
    let server = Server::start();
    let data = text(9 * BLOCK_BYTES + 5);
    for (format, magic, media_type) in [
        ("zstd", [0x28, 0xb5, 0x2f, 0xfd], "application/zstd"),
        ("lz4", [0x04, 0x22, 0x4d, 0x18], "application/x-lz4"),
    ] {
        for length in [0, 1, BLOCK_BYTES, BLOCK_BYTES + 1, data.len()] {
            for level in [1, 3, 12] {
                let body = &data[..length];
                let target = format!("/v1/compress?format={format}&level={level}");
                let packed = server.post(&target, &[], body);
                assert_eq!(packed.status, 200, "{}", packed.text());
                assert_eq!(packed.header("content-type"), Some(media_type));
                assert!(packed.body.starts_with(&magic));
                let frames = packed.body.windows(4).filter(|four| *four == magic);
                assert_eq!(frames.count(), 1, "{format} of {length}");
                for target in ["/v1/decompress", &format!("/v1/decompress?format={format}")] {
                    let unpacked = server.post(target, &[], &packed.body);
                    assert_eq!(unpacked.status, 200, "{}", unpacked.text());
                    assert!(unpacked.body == body, "{format} of {length}");
                }
            }
        }
    }
    server.check_at_rest();
}

#[test]
fn a_content_encoding_keeps_the_callers_type() {
    let server = Server::start();
    for (format, coding) in [("gzip", "gzip"), ("zlib", "deflate"), ("zstd", "zstd")] {
        let target = format!("/v1/compress?as=content-encoding&format={format}");
        let answer = server.post(
            &target,
            &[("Content-Type", "text/plain")],
            b"hello hello hello",
        );
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/plain"));
        assert_eq!(answer.header("content-encoding"), Some(coding));
        assert_eq!(answer.header("vary"), Some("Accept-Encoding"));
        assert_eq!(
            answer.header("cache-control"),
            Some("no-store, no-transform")
        );
    }
    // What curl says of every body.
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let answer = server.post("/v1/compress?as=content-encoding", &form, b"x");
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    let answer = server.post("/v1/compress?as=content-encoding&format=deflate", &[], b"x");
    check_problem(
        &answer,
        400,
        "invalid-option",
        &["raw DEFLATE", "format=zlib"],
    );
}

#[test]
fn probes_and_metrics_are_on_the_admin_listener() {
    let server = Server::start();
    assert_eq!(server.post("/v1/compress", &[], &text(200_000)).status, 200);
    assert_eq!(server.post("/v1/compress?level=99", &[], b"x").status, 400);
    assert_eq!(server.admin("/healthz").status, 200);
    let ready = server.admin("/readyz");
    assert_eq!(ready.status, 200);
    assert_eq!(ready.json()["ready"], true);
    assert_eq!(ready.json()["cards"], serde_json::json!([]));
    // A caller may have its last byte a moment before the permit is back.
    server.wait_for_in_flight(0);
    let metrics = server.admin("/metrics");
    assert!(
        metrics
            .header("content-type")
            .expect("a type")
            .starts_with("application/openmetrics-text")
    );
    let text = metrics.text();
    for line in [
        r#"faam_requests_total{tenant="demo",kernel="compress",backend="cpu",outcome="ok"} 1"#,
        r#"faam_requests_total{tenant="demo",kernel="compress",backend="none",outcome="invalid-option"} 1"#,
        r#"faam_refused_total{reason="invalid-option"} 1"#,
        r#"faam_bytes_total{direction="in"} 200000"#,
        r#"faam_request_seconds_count{phase="device"} 2"#,
        "faam_inflight 0",
    ] {
        assert!(
            text.lines().any(|got| got == line),
            "{line} is missing in\n{text}"
        );
    }
    check_problem(
        &server.admin("/v1/devices"),
        404,
        "not-found",
        &["/metrics"],
    );
    // Not without credentials, and not for everyone.
    assert_eq!(
        request(server.address(), "GET", "/metrics", &[], b"").status,
        404
    );
}

#[test]
fn what_there_is_is_told() {
    let server = Server::start();
    assert_eq!(
        server.get("/v1/devices").json()["cards"],
        serde_json::json!([])
    );
    let kernels = server.get("/v1/kernels").json();
    assert_eq!(
        kernels["kernels"][0]["formats"],
        serde_json::json!(["gzip", "zlib", "deflate", "zstd", "lz4"])
    );
    // Who serves a level is told, here and in the metrics alike.
    let engines = kernels["kernels"][0]["cpu_engines"]
        .as_array()
        .expect("engines");
    assert_eq!(engines.len(), 5 * 12);
    let metrics = server.admin("/metrics").text();
    for engine in engines {
        let text = |name: &str| match &engine[name] {
            serde_json::Value::String(text) => text.clone(),
            number => number.to_string(),
        };
        let line = format!(
            r#"faam_level_engine{{format="{}",level="{}",engine="{}",engine_level="{}"}} 1"#,
            text("format"),
            text("level"),
            text("engine"),
            text("engine_level")
        );
        assert!(metrics.lines().any(|got| got == line), "{line}");
    }
    assert!(kernels["kernels"][1].get("cpu_engines").is_none());
    let tenant = server.get("/v1/tenants/self").json();
    assert_eq!(tenant["id"], "demo");
    let problem = server.get("/problems/too-large").json();
    assert_eq!(problem["status"], 413);
    check_problem(
        &server.get("/problems/none"),
        404,
        "not-found",
        &["too-large"],
    );
}

#[test]
fn the_front_pages_lines_work_as_they_stand() {
    let server = Server::start();
    let host = server.address().to_string();
    let mut wire = Wire::connect(server.address());
    wire.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
        .expect("sent");
    let page = wire.answer().text();
    let lines: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), 5, "{page}");
    let expected = [
        "hello hello hello",
        "hello hello hello",
        "HTTP/1.1 200 OK",
        "\"cards\"",
        "\"kernels\"",
    ];
    for (line, expected) in lines.iter().zip(expected) {
        let output = std::process::Command::new("sh")
            .arg("-ec")
            .arg(line)
            .env("FAAM_KEY", KEY)
            .output();
        let output = output.expect("a shell");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains(expected),
            "{line}\n{output:?}"
        );
    }
}

#[test]
fn many_callers_at_once_are_all_served_right() {
    let server = Server::start();
    std::thread::scope(|scope| {
        for caller in 0..16usize {
            let server = &server;
            scope.spawn(move || {
                for round in 0..8 {
                    let data = text(caller * 50_000 + round * 17);
                    let answer = server.post("/v1/compress?level=1", &[], &data);
                    assert_eq!(answer.status, 200, "{}", answer.text());
                    assert!(decode_one_member("gzip", &answer.body) == data);
                }
            });
        }
    });
    server.check_at_rest();
}
