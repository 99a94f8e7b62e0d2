//! `GET /`: five lines that work as they stand.

use std::io::Read;
use std::process::{Command, Stdio};

use flate2::read::GzDecoder;

use crate::faam::{KEY, Place, run};

#[test]
fn the_lines_name_the_host_that_was_asked_in_every_version() {
    let place = Place::new();
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", version, place.url()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let front = String::from_utf8(run(curl, b"").check(0, &[]).stdout).expect("UTF-8");
        assert_eq!(front.matches(place.url()).count(), 6, "{version}: {front}");
    }
}

#[test]
fn the_five_lines_work_in_a_shell() {
    let place = Place::new();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", place.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let front = String::from_utf8(run(curl, b"").check(0, &[]).stdout).expect("UTF-8");
    let lines: Vec<_> = front
        .lines()
        .filter(|line| !line.starts_with('#'))
        .collect();
    assert_eq!(lines.len(), 5, "{front}");
    assert!(
        lines.iter().all(|line| line.contains(place.url())),
        "{front}"
    );
    let outputs: Vec<String> = lines
        .iter()
        .map(|line| {
            let mut shell = Command::new("bash");
            shell
                .args(["-euo", "pipefail", "-c", line])
                .env("FAAM_KEY", KEY)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let ended = run(shell, b"").check(0, &[]);
            assert_eq!(ended.stderr, "", "{line}");
            String::from_utf8(ended.stdout).expect("UTF-8")
        })
        .collect();
    assert_eq!(outputs[0], "hello hello hello");
    assert_eq!(outputs[1], "hello hello hello");
    assert!(
        outputs[2].to_lowercase().contains("faam-verify: ok"),
        "{}",
        outputs[2]
    );
    assert!(outputs[3].contains("\"cards\""), "{}", outputs[3]);
    assert!(outputs[4].contains("\"formats\""), "{}", outputs[4]);
    // As the first line, with another client.
    let packed = place.pipe(&["compress"], b"hello").check(0, &[]).stdout;
    let mut text = String::new();
    GzDecoder::new(&packed[..])
        .read_to_string(&mut text)
        .expect("gzip");
    assert_eq!(text, "hello");
}
