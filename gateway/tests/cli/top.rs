//! `faam top`: on a pseudo-terminal until somebody has seen enough, once where there is none, and for programs.

use std::io::Write;
use std::process::Command;

use rustix::termios::tcgetattr;
use serde_json::Value;

use crate::device::place;
use crate::faam::{KEY, Place, finish, run, text};
use crate::terminal::Terminal;

fn command(place: &Place, words: &[&str]) -> Command {
    let mut command = place.faam(words);
    command.env("FAAM_DATA_DIR", place.data.path());
    command
}

fn compress(place: &Place) {
    let answer = ureq::post(format!("{}/v1/compress", place.url()))
        .header("Authorization", format!("Bearer {KEY}"))
        .header("Faam-Backend", "require-hw")
        .send(&text(300_000)[..])
        .expect("served");
    answer.into_body().read_to_vec().expect("whole");
}

#[test]
fn it_draws_until_q_and_leaves_the_terminal_as_it_was() {
    let place = place(None);
    compress(&place);
    for key in [&b"q"[..], b"\x03"] {
        let mut terminal = Terminal::open();
        let before = tcgetattr(&terminal.end).expect("a terminal");
        let mut command = command(&place, &["top", "--interval", "100ms"]);
        command.stdin(terminal.end()).stdout(terminal.end());
        let child = command.spawn().expect("starts");
        terminal.wait_for("TENANT");
        let seen = terminal.wait_for("fpga0.1  in-service  simulated");
        assert!(seen.starts_with("\u{1b}[?1049h"), "{seen:?}");
        assert!(
            seen.contains("faam top: gateway") && seen.contains("q quits"),
            "{seen:?}"
        );
        // It goes on looking: what happens now is seen.
        let drawn = seen.matches("faam top: gateway").count();
        crate::faam::wait_until("another frame", || {
            (terminal.text().matches("faam top: gateway").count() > drawn + 2).then_some(())
        });
        terminal.master.write_all(b"x").expect("typed");
        terminal.master.write_all(key).expect("typed");
        finish(child).check(0, &[]).silent();
        let seen = terminal.wait_for("\u{1b}[?1049l");
        assert!(seen.ends_with("\u{1b}[?25h\u{1b}[?1049l"), "{seen:?}");
        let after = tcgetattr(&terminal.end).expect("a terminal");
        assert_eq!(before.local_modes, after.local_modes);
    }
}

#[test]
fn where_there_is_no_terminal_it_prints_once() {
    let place = place(None);
    compress(&place);
    for words in [
        &["top", "--interval", "100ms"][..],
        &["top", "--once", "--interval", "100ms"],
    ] {
        let ended = run(command(&place, words), b"").check(0, &[]).silent();
        let shown = String::from_utf8(ended.stdout).expect("UTF-8");
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        for word in [
            "faam top: gateway",
            "PHASE",
            "device",
            "fpga0.0",
            "TENANT",
            "demo",
        ] {
            assert!(shown.contains(word), "{word:?} is not in\n{shown}");
        }
    }
    let ended = run(command(&place, &["top", "--json"]), b"")
        .check(0, &[])
        .silent();
    let seen: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    let demo = &seen["tenants"][0];
    assert_eq!(
        (&demo["tenant"], &demo["requests"]),
        (&"demo".into(), &1.into())
    );
    assert_eq!(seen["devices"][0]["state"], "in-service");
    assert_eq!(seen["cir_scale"], 1.0);
    let phases = seen["phases"].as_array().expect("phases");
    let total = phases
        .iter()
        .find(|phase| phase["phase"] == "total")
        .expect("total");
    let counts = total["counts"].as_array().expect("counts");
    let all: u64 = counts.iter().filter_map(Value::as_u64).sum();
    assert_eq!(all, 1);
    run(command(&place, &["top", "--interval", "1ms"]), b"").check(1, &["at least 100ms"]);
}

#[test]
fn where_no_gateway_runs_it_says_what_to_do() {
    let nobody = tempfile::tempdir().expect("a directory");
    let place = Place::new();
    let mut command = place.faam(&["top", "--once"]);
    command.env("FAAM_DATA_DIR", nobody.path());
    run(command, b"").check(1, &["no gateway answers", "faam serve"]);
}
