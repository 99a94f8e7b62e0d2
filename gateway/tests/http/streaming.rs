//! Long answers: they leave while their request still arrives, wait on disk for callers who do
//! not read yet, and break off visibly.

use std::io::Read;
use std::time::{Duration, Instant};

use faam_gateway::http::outflow::WINDOW_BYTES;
use faam_gateway::job::BLOCK_BYTES;

use crate::samples::{decode_one_member, gzip, noise, text};
use crate::server::{KEY, SOON, Server, check_problem};
use crate::wire::{Answer, Wire, is_late};

/// More than the kernel buffers on both sides of a connection.
const LARGE_BYTES: usize = 64 << 20;

/// Bytes that no window of DEFLATE's sees again.
fn incompressible(length: usize) -> Vec<u8> {
    let mut body = noise(1 << 20).repeat(length.div_ceil(1 << 20));
    body.truncate(length);
    body
}

fn facts(server: &Server, answer: &Answer) -> serde_json::Value {
    let id = answer.header("faam-invocation-id").expect("an id");
    server.get(&format!("/v1/invocations/{id}")).json()
}

/// The facts of one that has ended: a connection may have its last byte, or break, before they are kept.
#[track_caller]
fn final_facts(server: &Server, answer: &Answer) -> serde_json::Value {
    let until = Instant::now() + SOON;
    loop {
        let facts = facts(server, answer);
        if facts["state"] != "running" {
            return facts;
        }
        assert!(Instant::now() < until, "it does not end: {facts}");
    }
}

#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < until, "not in time: {what}");
        std::thread::yield_now();
    }
}

#[track_caller]
fn check_broken(server: &Server, reason: &str) {
    let line = format!(r#"faam_streams_broken_total{{reason="{reason}"}} 1"#);
    let mut metrics = String::new();
    let until = Instant::now() + SOON;
    while !metrics.lines().any(|got| got == line) {
        assert!(Instant::now() < until, "{line} is not in\n{metrics}");
        metrics = server.admin("/metrics").text();
    }
}

/// Reads chunks until the answer has broken off; what had come by then.
#[track_caller]
fn read_until_broken(wire: &mut Wire) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        match wire.body_chunk(&mut body) {
            Ok(true) => {}
            Ok(false) => panic!("a torn answer of {} bytes looks whole", body.len()),
            Err(error) => {
                assert!(!is_late(&error), "it neither breaks off nor goes on");
                return body;
            }
        }
    }
}

#[test]
fn what_fits_the_window_is_whole_and_what_does_not_carries_its_facts_as_trailers() {
    let server = Server::start();
    let body = incompressible(3 << 20);
    let small = server.post("/v1/compress", &[("TE", "trailers")], &text(100_000));
    assert_eq!(small.header("faam-verify"), Some("ok"));
    assert!(small.header("content-length").is_some() && small.trailers.is_empty());
    for (te, takes) in [
        (None, false),
        (Some("gzip"), false),
        (Some("gzip;q=0.5, Trailers"), true),
    ] {
        let headers: Vec<_> = te.map(|te| ("TE", te)).into_iter().collect();
        let answer = server.post("/v1/compress?level=1", &headers, &body);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-length"), None);
        assert_eq!(answer.header("faam-verify"), Some("on"));
        assert_eq!(answer.header("faam-backend"), Some("cpu"));
        assert!(decode_one_member("gzip", &answer.body) == body);
        assert_eq!(answer.trailer("faam-verify"), takes.then_some("ok"));
        assert_eq!(answer.trailer("faam-backend"), takes.then_some("cpu"));
        assert_eq!(answer.trailer("server-timing").is_some(), takes);
        let facts = final_facts(&server, &answer);
        for (name, expected) in [
            ("state", "done".into()),
            ("kernel", "compress".into()),
            ("verify", "ok".into()),
            ("backend", "cpu".into()),
            ("bytes_in", body.len().into()),
            ("bytes_out", answer.body.len().into()),
        ] {
            let expected: serde_json::Value = expected;
            assert_eq!(facts[name], expected, "{name} of {facts}");
        }
    }
    let unknown = server.get("/v1/invocations/01890a5d-ac96-774b-bcce-b302099a8057");
    check_problem(&unknown, 404, "not-found", &["10 minutes"]);
    server.check_at_rest();
}

#[test]
fn an_answer_leaves_while_its_request_still_arrives() {
    let server = Server::start();
    let body = incompressible(4 * WINDOW_BYTES);
    let mut wire = server.begin("/v1/compress", &[], &body);
    // The body has not ended, and only one block of it can be missing.
    let head = wire.try_answer(true).expect("a head");
    assert_eq!(head.status, 200);
    assert_eq!(head.header("connection"), None);
    let mut packed = Vec::new();
    while packed.len() < body.len() - 2 * BLOCK_BYTES {
        assert!(wire.body_chunk(&mut packed).expect("a chunk"));
    }
    assert_eq!(facts(&server, &head)["state"], "running");
    wire.chunk(b"the end").expect("sent");
    wire.chunk(b"").expect("sent");
    while wire.body_chunk(&mut packed).expect("a chunk") {}
    assert!(decode_one_member("gzip", &packed) == [&body[..], b"the end"].concat());
    server.check_at_rest();
}

#[test]
fn a_caller_that_writes_all_before_it_reads_finishes_and_takes_no_memory() {
    let server = Server::start();
    let body = incompressible(LARGE_BYTES);
    let (first, rest) = body.split_at(1 << 20);
    let mut wire = server.begin("/v1/compress?level=1", &[], first);
    let admission = server.gateway.admission();
    let mut memory_max = 0;
    for piece in rest.chunks(1 << 20) {
        wire.chunk(piece).expect("the body keeps flowing");
        memory_max = memory_max.max(admission.memory_bytes());
    }
    wire.chunk(b"").expect("the body keeps flowing");
    assert!(admission.spill_bytes() > LARGE_BYTES / 4, "nothing spilled");
    assert!(memory_max < 8 << 20, "{memory_max} bytes in memory");
    let answer = wire.answer();
    assert!(decode_one_member("gzip", &answer.body) == body);
    assert_eq!(final_facts(&server, &answer)["state"], "done");
    server.check_at_rest();
}

#[test]
fn at_the_spill_cap_a_caller_that_does_not_read_is_reset_and_counted() {
    let server = Server::start_with(|config| {
        config.admission.spill_request_bytes_max = 4 << 20;
        config.limits.write_stall = Duration::from_millis(200);
    });
    let piece = incompressible(1 << 20);
    let mut wire = server.begin("/v1/compress?level=1", &[], &piece);
    let sent = (0..256).take_while(|_| wire.chunk(&piece).is_ok()).count();
    assert!(sent < 256, "256 MiB were taken");
    check_broken(&server, "stalled");
    server.check_at_rest();
}

#[test]
fn at_the_spill_cap_a_caller_that_reads_is_waited_for() {
    let server = Server::start_with(|config| {
        config.admission.spill_request_bytes_max = 1 << 20;
        config.limits.spill_after = Duration::ZERO;
    });
    let body = incompressible(LARGE_BYTES);
    let (first, rest) = body.split_at(1 << 20);
    let wire = server.begin("/v1/compress?level=1", &[], first);
    let (mut reader, mut writer) = wire.split();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for piece in rest.chunks(1 << 20) {
                writer.chunk(piece).expect("taken");
            }
            writer.chunk(b"").expect("taken");
        });
        // It begins to read once no block more can be spilled.
        wait_until("the cap", || {
            server.gateway.admission().spill_bytes() + 2 * BLOCK_BYTES > 1 << 20
        });
        let answer = reader.answer();
        assert!(decode_one_member("gzip", &answer.body) == body);
    });
    server.check_at_rest();
}

#[test]
fn a_caller_that_does_not_read_its_answer_holds_nothing() {
    let server = Server::start_with(|config| {
        config.limits.write_stall = Duration::from_secs(1);
    });
    let mut wire = server.begin("/v1/decompress", &[], &gzip(&vec![0; LARGE_BYTES]));
    wire.chunk(b"").expect("sent");
    let head = wire.try_answer(true).expect("a head");
    assert_eq!(head.status, 200);
    check_broken(&server, "stalled");
    let facts = final_facts(&server, &head);
    assert_eq!(
        (&facts["state"], &facts["problem"]),
        (&"failed".into(), &"stalled".into())
    );
    server.check_at_rest();
    read_until_broken(&mut wire);
}

#[test]
fn a_caller_that_hangs_up_in_the_middle_gives_everything_back() {
    let server = Server::start();
    // One in its answer, one in its body with a spill.
    let mut wire = server.begin("/v1/decompress", &[], &gzip(&vec![0; LARGE_BYTES]));
    wire.chunk(b"").expect("sent");
    let head = wire.try_answer(true).expect("a head");
    let piece = incompressible(1 << 20);
    let mut writing = server.begin("/v1/compress?level=1", &[], &piece);
    wait_until("a spill", || {
        writing.chunk(&piece).expect("taken");
        server.gateway.admission().spill_bytes() > 0
    });
    assert_eq!(server.gateway.admission().in_flight(), 2);
    drop(wire);
    drop(writing);
    server.check_at_rest();
    wait_until("its facts", || {
        facts(&server, &head)["problem"] == "cancelled"
    });
}

/// Requests of all kernels and engines that ended so.
fn ended(server: &Server, outcome: &str) -> u64 {
    let label = format!(r#"outcome="{outcome}""#);
    let metrics = server.admin("/metrics").text();
    let lines = metrics
        .lines()
        .filter(|line| line.starts_with("faam_requests_total{") && line.contains(&label));
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

#[test]
fn a_caller_that_hangs_up_in_its_request_is_cancelled_and_one_that_is_wrong_is_not() {
    let server = Server::start();
    // In chunks, between two of them and within one; with a length; within the answer.
    drop(server.begin("/v1/compress", &[], b"a chunk"));
    let mut wire = server.begin("/v1/compress", &[], b"a chunk");
    wire.send(b"ff\r\nnot all of it").expect("sent");
    drop(wire);
    let mut wire = Wire::connect(server.address());
    let key = format!("Bearer {KEY}");
    let headers = [("Authorization", key.as_str()), ("Content-Length", "100")];
    wire.head("POST", "/v1/decompress", &headers);
    wire.send(&gzip(b"some")[..10]).expect("sent");
    drop(wire);
    let mut wire = server.begin("/v1/compress?level=1", &[], &incompressible(1 << 20));
    assert_eq!(wire.try_answer(true).expect("a head").status, 200);
    drop(wire);
    wait_until("four that were cancelled", || {
        ended(&server, "cancelled") == 4
    });
    assert_eq!(ended(&server, "invalid-option"), 0);
    let mut wire = server.begin("/v1/compress", &[], b"a chunk");
    wire.send(b"nonsense\r\n").expect("sent");
    wait_until("one that is wrong", || {
        ended(&server, "invalid-option") == 1
    });
    assert_eq!(ended(&server, "cancelled"), 4);
    server.check_at_rest();
}

#[test]
fn blocks_in_flight_never_outgrow_the_memory_that_is_charged_for_them() {
    // Beyond what a request begins with there is room for two blocks more, and a compressor that is slower than its
    // caller.
    const MORE_BLOCKS: usize = 2;
    let server = Server::start_with(|config| {
        config.dispatch.cpu_workers = 1;
        // As admission takes it: a block in flight, one that fills, the window, and 64 KiB of overhead.
        config.admission.body_memory_bytes_max =
            (2 + 1 + 2 * MORE_BLOCKS) * BLOCK_BYTES + WINDOW_BYTES + (64 << 10);
    });
    let wire = server.begin("/v1/compress?level=9", &[], &text(1 << 20));
    let (mut reader, mut writer) = wire.split();
    let mut queued_max = 0;
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            for _ in 0..7 {
                writer.chunk(&text(1 << 20)).expect("taken");
            }
            writer.chunk(b"").expect("taken");
        });
        let reading = scope.spawn(|| reader.answer());
        while !writing.is_finished() {
            let metrics = server.admin("/metrics").text();
            let depth = metrics
                .lines()
                .find_map(|line| line.strip_prefix(r#"faam_queue_depth{tenant="demo"} "#));
            let depth = depth.map_or(0, |depth| depth.parse().expect("a number"));
            queued_max = queued_max.max(depth);
        }
        let answer = reading.join().expect("an answer");
        assert_eq!(decode_one_member("gzip", &answer.body).len(), 8 << 20);
    });
    assert!(queued_max > 0, "nothing was ever queued");
    assert!(queued_max <= 1 + MORE_BLOCKS, "{queued_max} blocks queued");
    server.check_at_rest();
}

#[test]
fn a_failure_after_the_first_byte_is_seen() {
    let server = Server::start();
    let mut wire = server.begin("/v1/compress?level=1", &[], &incompressible(1 << 20));
    let head = wire.try_answer(true).expect("a head");
    // Not a chunk (RFC 9112, 7.1).
    wire.send(b"nonsense\r\n").expect("sent");
    let torn = read_until_broken(&mut wire);
    assert!(torn.len() > WINDOW_BYTES / 2);
    let facts = final_facts(&server, &head);
    assert_eq!(
        (&facts["state"], &facts["problem"]),
        (&"failed".into(), &"invalid-option".into())
    );
    check_broken(&server, "invalid-option");
    server.check_at_rest();
}

#[test]
fn a_long_body_is_decompressed_as_it_arrives() {
    let server = Server::start();
    let data = [incompressible(LARGE_BYTES / 2), vec![0; LARGE_BYTES / 2]].concat();
    let member = gzip(&data);
    // Two members, of which the first is longer than any that is decoded whole.
    let body = [&member[..], &gzip(b"the second")].concat();
    let (first, rest) = body.split_at(4 << 20);
    let wire = server.begin("/v1/decompress", &[("TE", "trailers")], first);
    let (mut reader, mut writer) = wire.split();
    let head = reader
        .try_answer(true)
        .expect("a head before the body's end");
    assert_eq!((head.status, head.header("faam-verify")), (200, Some("on")));
    let mut memory_max = 0;
    let mut unpacked = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for piece in rest.chunks(1 << 20) {
                writer.chunk(piece).expect("taken");
            }
            writer.chunk(b"").expect("taken");
        });
        while reader.body_chunk(&mut unpacked).expect("a chunk") {
            memory_max = memory_max.max(server.gateway.admission().memory_bytes());
        }
    });
    assert!(unpacked == [&data[..], b"the second"].concat());
    assert!(memory_max < 8 << 20, "{memory_max} bytes in memory");
    server.check_at_rest();
}

#[test]
fn a_body_that_turns_out_corrupt_after_its_answer_began_breaks_off() {
    let server = Server::start();
    let mut member = gzip(&incompressible(8 << 20));
    let at = member.len() - 6;
    member[at] ^= 1;
    let mut wire = server.begin("/v1/decompress", &[], &member);
    wire.chunk(b"").expect("sent");
    let head = wire.try_answer(true).expect("a head");
    assert_eq!(head.status, 200);
    read_until_broken(&mut wire);
    check_broken(&server, "corrupt-input");
    let facts = final_facts(&server, &head);
    let detail = facts["detail"].as_str().expect("a detail");
    assert!(detail.contains("checksum"), "{detail}");
    server.check_at_rest();
}

#[test]
fn a_deadline_ends_a_stream_as_well() {
    let server = Server::start();
    // Long enough for a head on any machine, whatever else that does.
    let headers = [("Faam-Deadline-Ms", "3000")];
    let mut wire = server.begin("/v1/compress?level=1", &headers, &incompressible(1 << 20));
    assert_eq!(wire.try_answer(true).expect("a head").status, 200);
    read_until_broken(&mut wire);
    check_broken(&server, "deadline");
    server.check_at_rest();
}

#[test]
fn an_old_client_gets_a_long_answer_whole_or_none() {
    let server = Server::start_with(|config| config.admission.spill_request_bytes_max = 4 << 20);
    let send = |body: &[u8]| old_client(&server, "/v1/compress?level=1", "", body);
    let body = incompressible(3 << 20);
    let answer = send(&body).answer();
    let length = answer.header("content-length").expect("a length");
    assert_eq!(length, answer.body.len().to_string());
    assert_eq!(answer.header("faam-verify"), Some("ok"));
    assert!(decode_one_member("gzip", &answer.body) == body);
    server.check_at_rest();
    let answer = send(&incompressible(8 << 20)).answer();
    check_problem(&answer, 505, "version", &["HTTP/1.1", "proxy_http_version"]);
    server.check_at_rest();
}

/// A request as an old client sends it, whole.
fn old_client(server: &Server, target: &str, more: &str, body: &[u8]) -> Wire {
    let mut wire = Wire::connect(server.address());
    let head = format!(
        "POST {target} HTTP/1.0\r\nAuthorization: Bearer {KEY}\r\n{more}Content-Length: {}\r\n\r\n",
        body.len()
    );
    wire.send(head.as_bytes()).expect("sent");
    wire.send(body).expect("sent");
    wire
}

#[test]
fn a_deadline_ends_the_long_answer_of_an_old_client_that_does_not_read_it() {
    let server = Server::start();
    let body = gzip(&vec![0; LARGE_BYTES / 2]);
    let deadline = "Faam-Deadline-Ms: 5000\r\n";
    let mut wire = old_client(&server, "/v1/decompress", deadline, &body);
    assert_eq!(wire.try_answer(true).expect("a head").status, 200);
    check_broken(&server, "deadline");
    assert_eq!((ended(&server, "deadline"), ended(&server, "ok")), (1, 0));
    // What the connection has taken it may send, but no end that looks good.
    let mut unread = vec![0; LARGE_BYTES / 2];
    let torn = wire.read_exact(&mut unread);
    let torn = torn.expect_err("a torn answer looks whole");
    assert!(!is_late(&torn), "it does not break off");
    server.check_at_rest();
}

#[test]
fn an_old_client_is_told_to_come_back_where_as_many_answers_are_on_disk_as_may_be() {
    let server = Server::start_with(|config| config.admission.spill_files_max = 1);
    let piece = incompressible(1 << 20);
    let mut writing = server.begin("/v1/compress?level=1", &[], &piece);
    wait_until("a spill", || {
        writing.chunk(&piece).expect("taken");
        server.gateway.admission().spill_bytes() > 0
    });
    let body = incompressible(3 << 20);
    let answer = old_client(&server, "/v1/compress?level=1", "", &body).answer();
    check_problem(&answer, 503, "saturated", &["spill_files_max"]);
    assert!(answer.header("retry-after").is_some());
    drop(writing);
    server.wait_for_in_flight(0);
    let answer = old_client(&server, "/v1/compress?level=1", "", &body).answer();
    assert_eq!(answer.status, 200);
    server.check_at_rest();
}

#[test]
fn http_2_streams_both_ways() {
    let server = Server::start();
    let body = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(body.path(), incompressible(LARGE_BYTES)).expect("written");
    let url = format!("http://{}/v1/compress?level=1", server.address());
    let mut curl = std::process::Command::new("curl")
        .args(["-sS", "--http2-prior-knowledge", "-X", "POST", "-T"])
        .arg(body.path())
        .args(["-H", &format!("Authorization: Bearer {KEY}"), &url])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("curl");
    let mut packed = Vec::new();
    let mut stdout = curl.stdout.take().expect("piped");
    stdout.read_to_end(&mut packed).expect("read");
    assert!(curl.wait().expect("ended").success());
    assert!(decode_one_member("gzip", &packed) == incompressible(LARGE_BYTES));
    server.check_at_rest();
}
