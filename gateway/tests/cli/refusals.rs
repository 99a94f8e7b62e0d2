//! When there is no answer, or not a whole one: what is said, what is repeated, what stays.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::faam::{KEY, Place, faam, names, noise, run, text};
use crate::peer::{Part, Peer, answer, problem};

/// What every answer of a gateway carries.
const FACTS: &str = "Faam-Invocation-Id: 0\r\nFaam-Backend: cpu\r\nFaam-Verify: ok\r\n";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("compressed");
    encoder.finish().expect("compressed")
}

/// `faam` with these words on a file `x` of `bytes` against a peer; the file must stay alone.
#[track_caller]
fn refused(script: Vec<Part>, words: &[&str], bytes: &[u8]) -> crate::faam::Ended {
    let peer = Peer::start(script);
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("x"), bytes).expect("written");
    let ended = run(faam(dir.path(), &peer.url, words), b"");
    assert_eq!(names(dir.path()), ["x"], "{}", ended.stderr);
    assert!(std::fs::read(dir.path().join("x")).expect("there") == bytes);
    ended
}

#[test]
fn without_a_gateway_it_says_how_to_start_one() {
    let url = format!("http://127.0.0.1:{}", crate::free_port::free_port());
    let dir = tempfile::tempdir().expect("a directory");
    let ended = run(faam(dir.path(), &url, &["compress"]), b"x");
    ended.check(
        1,
        &[
            "no gateway answers at http://127.0.0.1",
            "faam serve",
            "--url",
        ],
    );
    let unix = format!("unix:{}/none.sock", dir.path().display());
    let ended = run(faam(dir.path(), &unix, &["compress"]), b"x");
    ended.check(1, &["no gateway answers at unix:", "faam serve"]);
}

#[test]
fn a_wrong_key_is_told_while_megabytes_are_on_their_way() {
    let place = Place::new();
    place.write("x", noise(8 << 20));
    for _ in 0..3 {
        let mut command = place.faam(&["compress", "x"]);
        command.env("FAAM_KEY", "faam_a-key-of-nobody-at-all");
        run(command, b"").check(1, &["(401 no-credential)", "FAAM_KEY"]);
        assert_eq!(place.names(), ["x"]);
    }
}

#[test]
fn the_key_is_found_in_the_data_directory_and_goes_nowhere_else() {
    let place = Place::new();
    let data = tempfile::tempdir().expect("a directory");
    let keyless = |url: &str| {
        let mut command = faam(place.dir.path(), url, &["compress", "-c"]);
        command
            .env_remove("FAAM_KEY")
            .env("FAAM_DATA_DIR", data.path());
        run(command, b"x")
    };
    keyless(place.url()).check(1, &["no key", "demo.key"]);
    std::fs::write(data.path().join("demo.key"), format!("{KEY}\n")).expect("written");
    keyless(place.url()).check(0, &[]);
    keyless("http://faam.example").check(1, &["no key", "not on this machine"]);
}

#[test]
fn what_is_too_large_is_told_with_its_mend() {
    let place = Place::with(|config| config.limits.body_bytes_max = 1000);
    place.write("x", text(2000));
    place
        .run(&["compress", "x"])
        .check(1, &["413 too-large", "1000"]);
    assert_eq!(place.names(), ["x"]);
}

#[test]
fn a_full_gateway_is_asked_again_when_it_says() {
    let original = text(1000);
    let busy = || {
        Part::Answer(problem(
            "503 Service Unavailable",
            "saturated",
            "Retry-After: 1\r\n",
        ))
    };
    let whole = Part::Answer(answer("200 OK", FACTS, &gzip(&original)));
    let peer = Peer::start(vec![busy(), whole]);
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("x"), &original).expect("written");
    let began = Instant::now();
    let ended = run(faam(dir.path(), &peer.url, &["compress", "-v", "x"]), b"");
    ended.check(
        0,
        &[
            "503 saturated",
            "repetition 1 of 4 in 1.0 s",
            "after 1 repetition",
        ],
    );
    assert!(
        began.elapsed() >= Duration::from_secs(1),
        "Retry-After is honoured"
    );
    assert_eq!(names(dir.path()), ["x.gz"]);
    let heads: Vec<_> = peer.heads.iter().take(2).collect();
    assert!(heads[0].contains("content-length: 1000"), "{}", heads[0]);
    assert_eq!(heads[0], heads[1], "the same request");
}

#[test]
fn repetitions_are_bounded_and_stay_away_from_what_cannot_be_read_again() {
    let busy = || {
        Part::Answer(problem(
            "429 Too Many Requests",
            "too-many-in-flight",
            "Retry-After: 0\r\n",
        ))
    };
    refused(
        vec![busy(), busy(), busy()],
        &["compress", "--retries", "2", "x"],
        b"hello",
    )
    .check(1, &["429 too-many-in-flight"]);
    refused(vec![busy()], &["compress", "--retries", "0", "x"], b"hello").check(1, &["429"]);
    let far = Part::Answer(problem(
        "503 Service Unavailable",
        "draining",
        "Retry-After: 3600\r\n",
    ));
    refused(vec![far], &["compress", "x"], b"hello").check(1, &["503 draining"]);
    let no = Part::Answer(problem("500 Internal Server Error", "internal", ""));
    refused(vec![no], &["compress", "x"], b"hello").check(1, &["500 internal"]);

    let peer = Peer::start(vec![busy()]);
    let dir = tempfile::tempdir().expect("a directory");
    let ended = run(faam(dir.path(), &peer.url, &["compress"]), b"from a pipe");
    assert!(ended.check(1, &["429"]).stdout.is_empty());
}

#[test]
fn a_connection_that_breaks_before_an_answer_is_tried_again() {
    let original = text(1000);
    let whole = Part::Answer(answer("200 OK", FACTS, &gzip(&original)));
    let peer = Peer::start(vec![Part::HangUp, whole]);
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("x"), &original).expect("written");
    run(faam(dir.path(), &peer.url, &["compress", "x"]), b"").check(0, &[]);
    refused(
        vec![Part::HangUp, Part::HangUp],
        &["compress", "--retries=1", "x"],
        b"hello",
    )
    .check(1, &["broke before it answered"]);
}

#[test]
fn a_torn_answer_leaves_nothing_that_looks_whole() {
    let original = text(100_000);
    let packed = gzip(&original);
    let half = &packed[..packed.len() / 2];
    let head = format!("HTTP/1.1 200 OK\r\n{FACTS}");
    let with_length = format!("{head}Content-Length: {}\r\n\r\n", packed.len());
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n",
        half.len()
    );
    for torn in [
        [with_length.as_bytes(), half].concat(),
        [chunked.as_bytes(), half].concat(),
        [chunked.as_bytes(), half, b"\r\n"].concat(),
    ] {
        refused(vec![Part::Answer(torn)], &["compress", "x"], &original)
            .check(1, &["broke in the middle of the answer"]);
    }
    // To the end of the connection, as HTTP/1.0 has it: nothing in HTTP says that it is torn.
    let unbounded = [head.as_bytes(), b"\r\n", half].concat();
    refused(vec![Part::Answer(unbounded)], &["compress", "x"], &original).check(1, &["trailer"]);
}

#[test]
fn an_answer_for_other_bytes_is_not_used() {
    let other = answer("200 OK", FACTS, &gzip(b"other bytes"));
    refused(
        vec![Part::Answer(other)],
        &["compress", "x"],
        b"these bytes",
    )
    .check(1, &["CRC-32", "nothing of it is used"]);
    let stranger = answer(
        "200 OK",
        "Content-Type: text/html\r\n",
        b"<h1>It works!</h1>",
    );
    refused(
        vec![Part::Answer(stranger)],
        &["compress", "x"],
        b"these bytes",
    )
    .check(1, &["no gateway of ours", "--url"]);
    let proxy = answer(
        "502 Bad Gateway",
        "Content-Type: text/html\r\n",
        b"<h1>Bad Gateway</h1>",
    );
    refused(
        vec![Part::Answer(proxy)],
        &["compress", "x"],
        b"these bytes",
    )
    .check(1, &["502", "Bad Gateway"]);
}

#[test]
fn a_deadline_is_sent_and_kept() {
    let peer = Peer::start(vec![Part::Answer(problem(
        "504 Gateway Timeout",
        "deadline",
        "",
    ))]);
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("x"), "hello").expect("written");
    let ended = run(
        faam(
            dir.path(),
            &peer.url,
            &["compress", "--deadline", "2s", "x"],
        ),
        b"",
    );
    ended.check(1, &["504 deadline"]);
    let head = peer.heads.recv().expect("a request");
    let line = head
        .lines()
        .find_map(|line| line.strip_prefix("faam-deadline-ms: "));
    let ms: u64 = line.expect("the header").parse().expect("a number");
    assert!((1000..=2000).contains(&ms), "{ms}");
}

#[test]
fn facts_that_came_without_trailers_are_looked_up() {
    let original = text(1000);
    let planned =
        "Faam-Invocation-Id: 01a2-x\r\nFaam-Backend: fpga0.0;simulated\r\nFaam-Verify: on\r\n";
    let record =
        r#"{"state":"done","backend":"cpu","verify":"ok","server_timing":"queue;dur=1.5"}"#;
    let whole = || Part::Answer(answer("200 OK", planned, &gzip(&original)));
    let kept = Part::Answer(answer(
        "200 OK",
        "Content-Type: application/json\r\n",
        record.as_bytes(),
    ));
    let peer = Peer::start(vec![whole(), kept]);
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("x"), &original).expect("written");
    let ended = run(
        faam(dir.path(), &peer.url, &["compress", "-v", "--json", "x"]),
        b"",
    );
    let ended = ended.check(0, &["cpu, verified"]);
    let facts: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(facts["server_timing_ms"]["queue"], 1.5, "{facts}");
    let asked = peer.heads.iter().nth(1).expect("a second request");
    assert!(
        asked.starts_with("GET /v1/invocations/01a2-x HTTP/1.1"),
        "{asked}"
    );

    let failed = answer(
        "200 OK",
        "Content-Type: application/json\r\n",
        br#"{"state":"failed","detail":"a reason"}"#,
    );
    refused(
        vec![whole(), Part::Answer(failed)],
        &["compress", "x"],
        &original,
    )
    .check(1, &["it failed: a reason"]);
}
