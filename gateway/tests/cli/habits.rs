//! What scripts count on without saying so: exit statuses, signals that are ignored, streams that are closed or full,
//! names of any bytes, answers whose end nobody can tell.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::faam::{KEY, Place, faam, finish, names, noise, run, text, wait_until};
use crate::peer::{Part, Peer};

/// What every answer of a gateway carries.
const FACTS: &str = "Faam-Invocation-Id: 0\r\nFaam-Backend: cpu\r\nFaam-Verify: ok\r\n";

/// `faam` with these words, as a shell starts it that has said `before`.
fn after(place: &Place, before: &str, words: &str) -> Command {
    let mut command = Command::new("bash");
    command
        .args(["-c", &format!("{before}\nexec \"$FAAM\" {words}")])
        .current_dir(place.dir.path())
        .env("FAAM", env!("CARGO_BIN_EXE_faam"))
        .env("FAAM_URL", place.url())
        .env("FAAM_KEY", KEY)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn an_answer_that_ends_with_its_connection_is_not_taken_for_whole() {
    for version in ["HTTP/1.0", "HTTP/1.1"] {
        for words in [
            &["decompress", "x.gz"][..],
            &["decompress", "-c", "x.gz"],
            &["compress", "-f", "--format=zstd", "x.gz"],
        ] {
            // As a proxy answers that was told to send no chunks, once its own connection broke.
            let torn = format!("{version} 200 OK\r\nConnection: close\r\n{FACTS}\r\nhalf of it");
            let peer = Peer::start(vec![Part::Answer(torn.into_bytes())]);
            let dir = tempfile::tempdir().expect("a directory");
            std::fs::write(dir.path().join("x.gz"), "the only copy").expect("written");
            run(faam(dir.path(), &peer.url, words), b"").check(1, &["proxy"]);
            assert_eq!(names(dir.path()), ["x.gz"], "{version} {words:?}");
        }
    }
}

#[test]
fn a_slip_of_the_finger_is_an_error_and_no_warning() {
    let place = Place::new();
    place.write("x", text(100));
    for words in [
        &["compress", "--bogus", "x"][..],
        &["compress", "--level", "13", "x"],
        &["decompress", "--retries", "many", "x"],
        &["bench", "--rate", "-1"],
        &["probe", "--bogus"],
        &["bogus"],
        &[],
    ] {
        place.run(words).check(1, &["--help"]);
    }
    assert_eq!(place.names(), ["x"]);
    for words in [&["--help"][..], &["compress", "--help"], &["--version"]] {
        assert!(!place.run(words).check(0, &[]).silent().stdout.is_empty());
    }
}

#[test]
fn a_signal_that_was_ignored_before_it_began_stays_ignored() {
    // As nohup does, and a shell without job control for what runs in its background.
    for (word, signal) in [("HUP", Signal::HUP), ("INT", Signal::INT)] {
        let place = Place::new();
        let mut shell = after(&place, &format!("trap '' {word}"), "compress");
        let mut child = shell.spawn().expect("starts");
        let mut input = child.stdin.take().expect("a pipe");
        let sent = noise(4 << 20);
        // More than its buffers hold: it is in the middle of it.
        input.write_all(&sent).expect("taken");
        kill_process(Pid::from_child(&child), signal).expect("it runs");
        input.write_all(&sent).expect("still taken");
        drop(input);
        let ended = finish(child).check(0, &[]);
        assert!(ended.stdout.len() > 2 * sent.len(), "{word}");
    }
}

#[test]
fn a_limit_on_file_sizes_leaves_no_part() {
    let place = Place::new();
    place.write("x", noise(4 << 20));
    run(after(&place, "ulimit -f 1000", "compress x"), b"").check(1, &["cannot write x.gz"]);
    assert_eq!(place.names(), ["x"]);
    assert!(place.read("x") == noise(4 << 20));
}

#[test]
fn nobody_who_reads_its_messages_is_no_error() {
    let place = Place::new();
    place.write("x", text(100));
    place.write("y", text(100));
    let mut child = place
        .faam(&["compress", "-v", "x", "missing", "y"])
        .spawn()
        .expect("starts");
    drop(child.stderr.take());
    let status = wait_until("it ends", || child.try_wait().expect("our child"));
    assert_eq!((status.code(), status.signal()), (Some(1), None));
    assert_eq!(place.names(), ["x.gz", "y.gz"]);
}

#[test]
fn facts_that_cannot_be_written_are_an_error() {
    let place = Place::new();
    place.write("x", text(100));
    let full = || File::create("/dev/full").expect("Linux has it");
    for words in [
        &["compress", "-k", "--json", "x"][..],
        &["decompress", "-t", "--json", "x.gz"],
    ] {
        let mut command = place.faam(words);
        command.stdout(full());
        run(command, b"").check(1, &["cannot write standard output"]);
        assert_eq!(place.names(), ["x", "x.gz"]);
    }
}

#[test]
fn names_are_bytes() {
    let place = Place::new();
    let name = OsStr::from_bytes(b"caf\xe9");
    let packed = OsStr::from_bytes(b"caf\xe9.gz");
    let there = |name: &OsStr| place.dir.path().join(name).exists();
    std::fs::write(place.dir.path().join(name), text(100)).expect("written");
    let mut command = place.faam(&["compress"]);
    run(
        {
            command.arg(name);
            command
        },
        b"",
    )
    .check(0, &[])
    .silent();
    assert!(there(packed) && !there(name));
    let mut command = place.faam(&["compress"]);
    run(
        {
            command.arg(packed);
            command
        },
        b"",
    )
    .check(2, &["already has the suffix .gz"]);
    let mut command = place.faam(&["decompress"]);
    run(
        {
            command.arg(packed);
            command
        },
        b"",
    )
    .check(0, &[])
    .silent();
    assert!(there(name) && !there(packed));
    let mut command = place.faam(&["bench", "--url", "http://203.0.113.1:9", "--file"]);
    run(
        {
            command.arg(name).arg("--html").arg("/nowhere/x");
            command
        },
        b"",
    )
    .check(1, &["/nowhere/x"]);
}

#[test]
fn a_test_and_a_pipe_follow_links() {
    let place = Place::new();
    place.write("x.gz", place.pipe(&["compress"], b"hello").stdout);
    std::os::unix::fs::symlink("x.gz", place.dir.path().join("link.gz")).expect("linked");
    place
        .run(&["decompress", "-t", "link.gz"])
        .check(0, &[])
        .silent();
    let ended = place.run(&["decompress", "-c", "link.gz"]).check(0, &[]);
    assert_eq!(ended.stdout, b"hello");
    place
        .run(&["decompress", "link.gz"])
        .check(2, &["symbolic link"]);
}

#[test]
fn a_file_whose_length_the_system_does_not_know_is_read_to_its_end() {
    let place = Place::new();
    let ended = place
        .run(&["compress", "-c", "/proc/version"])
        .check(0, &[]);
    let back = place.pipe(&["decompress"], &ended.stdout).check(0, &[]);
    assert!(back.stdout == std::fs::read("/proc/version").expect("Linux has it"));
}

#[test]
fn files_beside_standard_input_become_files() {
    let place = Place::new();
    place.write("x", text(1000));
    let ended = place.pipe(&["compress", "x", "-"], b"hello").check(0, &[]);
    assert_eq!(place.names(), ["x.gz"]);
    assert_eq!(place.pipe(&["decompress"], &ended.stdout).stdout, b"hello");
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_the_load() {
    let place = Place::new();
    for flag in ["--html", "--json"] {
        let words = [
            "bench",
            "--size",
            "1KiB",
            "--requests",
            "1",
            flag,
            "nowhere/report",
        ];
        let ended = place.run(&words).check(1, &["nowhere/report"]);
        assert!(
            ended.stdout.is_empty(),
            "{}",
            String::from_utf8_lossy(&ended.stdout)
        );
    }
    assert!(place.names().is_empty());
}

#[test]
fn an_input_that_does_not_block_is_waited_for() {
    let place = Place::new();
    // As a parent leaves its pipe that polls the other end.
    let no_heirs = rustix::pipe::PipeFlags::CLOEXEC;
    let (reader, writer) = rustix::pipe::pipe_with(no_heirs).expect("a pipe");
    let flags = rustix::fs::fcntl_getfl(&reader).expect("flags");
    rustix::fs::fcntl_setfl(&reader, flags | rustix::fs::OFlags::NONBLOCK).expect("set");
    let mut command = place.faam(&["compress", "--json"]);
    command.stdin(reader);
    let child = command.spawn().expect("starts");
    let mut input = File::from(writer);
    // It has read this and waits for more once its request is there.
    input.write_all(b"hello ").expect("taken");
    wait_until("its request is in flight", || {
        (place.gateway.admission().in_flight() == 1).then_some(())
    });
    input.write_all(b"hello").expect("still taken");
    drop(input);
    let ended = finish(child).check(0, &["\"bytes_in\":11"]);
    assert_eq!(
        place.pipe(&["decompress"], &ended.stdout).stdout,
        b"hello hello"
    );
}
