//! The programmer's guide (`bitstreams/doc/programmers-guide.md`) shows entries byte by byte: each is the golden one.
//!
//! A dump is a fenced block that begins with `submission: NAME` or `completion: NAME`, NAME as in the golden file. Its lines are
//! `OFFSET: BYTES | what they are`; together they must be the whole entry, in order.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;

/// Dumps that the guide has at least, so that a change of form does not make this test hold nothing.
const DUMPS_MIN: usize = 10;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Bytes of the golden entry of this name, in the order of addresses.
fn golden(file: &str, name: &str) -> Vec<u8> {
    let text = read(&format!("golden/{file}.hex"));
    let mut lines = text.lines();
    let found = lines.find(|line| *line == format!("// {name}"));
    assert!(found.is_some(), "golden/{file}.hex has no entry \"{name}\"");
    let word = lines.next().unwrap();
    let mut bytes: Vec<u8> = (0..word.len() / 2)
        .map(|at| u8::from_str_radix(&word[at * 2..at * 2 + 2], 16).unwrap())
        .collect();
    bytes.reverse();
    bytes
}

#[test]
fn every_dump_is_the_golden_entry() {
    let guide = read("../doc/programmers-guide.md");
    let mut dumps = 0;
    for block in guide.split("```").skip(1).step_by(2) {
        let mut lines = block.lines().skip(1);
        let Some((file, name)) = lines.next().and_then(|title| title.split_once(": ")) else {
            continue;
        };
        if file != "submission" && file != "completion" {
            continue;
        }
        let mut bytes = Vec::new();
        for line in lines {
            let (offset, rest) = line.split_once(": ").unwrap();
            let (hex, _) = rest.split_once('|').unwrap();
            let at = usize::from_str_radix(offset, 16).unwrap();
            assert_eq!(at, bytes.len(), "{file}: {name}: offset of {line:?}");
            bytes.extend(
                hex.split_whitespace()
                    .map(|byte| u8::from_str_radix(byte, 16).unwrap()),
            );
        }
        assert_eq!(bytes, golden(file, name), "{file}: {name}");
        dumps += 1;
    }
    assert!(
        dumps >= DUMPS_MIN,
        "expected {DUMPS_MIN} dumps or more, found {dumps}"
    );
}
