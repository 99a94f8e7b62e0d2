//! Long inputs: both directions at once, in bounded memory, with the final facts.

use std::io::{Read, Write};
use std::process::Stdio;

use crate::faam::{Place, finish, noise, text};

/// Most memory that a client may hold, whatever passes through it.
const MEMORY_KIB_MAX: u64 = 64 << 10;

/// Highest resident memory of a running process, in KiB.
fn memory_kib_max(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
    kib.expect("a number")
}

#[test]
fn half_a_gigabyte_goes_through_pipes_in_bounded_memory() {
    const ROUNDS: usize = 64;
    let place = Place::new();
    let part: Vec<u8> = [text(6 << 20), noise(2 << 20)].concat();
    let start = |words: &[&str], input: Stdio| {
        let mut command = place.faam(words);
        command.stdin(input).spawn().expect("starts")
    };
    let mut up = start(&["compress", "--level", "1"], Stdio::piped());
    let between = up.stdout.take().expect("a pipe");
    let mut down = start(&["decompress"], between.into());
    let mut back = down.stdout.take().expect("a pipe");
    let mut input = up.stdin.take().expect("a pipe");
    let sent = part.clone();
    let (go, held) = std::sync::mpsc::channel::<()>();
    let writer = std::thread::spawn(move || {
        for _ in 0..ROUNDS {
            input.write_all(&sent).expect("taken");
        }
        // Both are looked at while they still run.
        held.recv().expect("the test goes on");
        drop(input);
    });
    let mut got = vec![0; part.len()];
    // The last round may stay in their buffers until the end.
    for round in 0..ROUNDS - 1 {
        back.read_exact(&mut got)
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert!(got == part, "round {round}: other bytes");
    }
    let memory = (memory_kib_max(up.id()), memory_kib_max(down.id()));
    println!(
        "peak memory: compress {} KiB, decompress {} KiB",
        memory.0, memory.1
    );
    go.send(()).expect("the writer waits");
    let mut rest = Vec::new();
    back.read_to_end(&mut rest).expect("read");
    assert!(rest == part, "the last round: other bytes");
    writer.join().expect("written");
    finish(up).check(0, &[]).silent();
    finish(down).check(0, &[]).silent();
    assert!(
        memory.0 <= MEMORY_KIB_MAX && memory.1 <= MEMORY_KIB_MAX,
        "{memory:?} KiB"
    );
}

#[test]
fn a_long_answer_ends_with_its_facts() {
    let place = Place::new();
    place.write("x", noise(8 << 20));
    let ended = place
        .run(&["compress", "-v", "--json", "x"])
        .check(0, &["cpu, verified"]);
    let facts: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(
        (&facts["verify"], &facts["backend"]),
        (&"ok".into(), &"cpu".into()),
        "{facts}"
    );
    assert!(
        facts["server_timing_ms"]["device"]
            .as_f64()
            .expect("a time")
            > 0.0,
        "{facts}"
    );
    place
        .run(&["decompress", "-v", "x.gz"])
        .check(0, &["cpu, verified"]);
    assert!(place.read("x") == noise(8 << 20));
}
