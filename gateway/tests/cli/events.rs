//! `faam events`: what happened to a gateway and its card, in order, filtered, followed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc;

use serde_json::Value;

use crate::device::place;
use crate::faam::{Place, SOON, run};

fn command(place: &Place, words: &[&str]) -> Command {
    let mut command = place.faam(words);
    command.env("FAAM_DATA_DIR", place.data.path());
    command
}

#[track_caller]
fn done(place: &Place, words: &[&str]) -> String {
    let ended = run(command(place, words), b"").check(0, &[]).silent();
    String::from_utf8(ended.stdout).expect("UTF-8")
}

#[track_caller]
fn events(place: &Place, words: &[&str]) -> Vec<Value> {
    let text = done(place, &[&["events", "--json"], words].concat());
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    answer["events"].as_array().expect("events").clone()
}

/// Kind, actor and subject of each.
fn told(events: &[Value]) -> Vec<String> {
    let told = events.iter().map(|event| {
        let word = |name: &str| event[name].as_str().expect("a word").to_owned();
        format!("{} {} {}", word("kind"), word("actor"), word("subject"))
    });
    told.collect()
}

#[test]
fn what_an_operator_and_a_card_do_is_on_record() {
    let place = place(None);
    for words in [
        &["device", "drain", "fpga0.1"][..],
        &["device", "drain", "--undo", "fpga0.1"],
        &["device", "reset", "fpga0.0"],
    ] {
        done(&place, words);
    }
    let cards = events(&place, &["--kind", "card"]);
    assert_eq!(
        told(&cards),
        [
            "card.up gateway fpga0.0",
            "card.up gateway fpga0.1",
            "card.drained operator fpga0.1",
            "card.undrained operator fpga0.1",
            "card.up gateway fpga0.0",
            "card.reset operator fpga0.0",
        ]
    );
    assert_eq!(cards[0]["detail"]["simulated"], true);
    assert!(cards[5]["detail"]["self_test_jobs"].as_u64() > Some(0));
    let started = events(&place, &["--kind", "gateway.started"]);
    let listen = place.gateway.public_address().to_string();
    assert_eq!(started.len(), 1);
    assert_eq!(started[0]["detail"]["listen"], listen);
    // The newest of them, in their order.
    let last = events(&place, &["--kind", "card", "--limit", "2"]);
    assert_eq!(last, cards[4..]);
    let since = started[0]["at"].as_i64().expect("a moment") + 86_400_000;
    let since = jiff::Timestamp::from_millisecond(since).expect("a moment");
    assert_eq!(
        events(&place, &["--since", &since.to_string()]),
        [] as [Value; 0]
    );
    assert!(!events(&place, &["--since", "1h"]).is_empty());
    assert!(events(&place, &["--tenant", "nobody"]).is_empty());
    let shown = done(&place, &["events", "--kind", "card.reset"]);
    let line = shown.lines().nth(1).expect("a row");
    assert!(
        shown.starts_with("AT") && line.contains("card.reset  operator  -       fpga0.0"),
        "{shown}"
    );
    assert_eq!(
        done(&place, &["events", "--kind", "nothing"]),
        "No such event is on record.\n"
    );
}

#[test]
fn what_happens_is_followed() {
    let place = place(None);
    let words = [
        "events", "--follow", "--poll", "100ms", "--json", "--kind", "card",
    ];
    let mut child = command(&place, &words)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let (send, told) = mpsc::channel();
    std::thread::spawn(move || {
        lines
            .map_while(Result::ok)
            .try_for_each(|line| send.send(line))
    });
    let next = || {
        let line = told.recv_timeout(SOON).expect("a line in time");
        let event: Value = serde_json::from_str(&line).expect("JSON");
        event["kind"].as_str().expect("a kind").to_owned()
    };
    assert_eq!([next(), next()], ["card.up", "card.up"]);
    done(&place, &["device", "drain", "fpga0.1"]);
    assert_eq!(next(), "card.drained");
    done(&place, &["device", "drain", "--undo", "fpga0.1"]);
    assert_eq!(next(), "card.undrained");
    child.kill().expect("it runs");
    child.wait().expect("our child");
    assert_eq!(told.try_iter().count(), 0);
}

#[test]
fn what_cannot_be_asked_is_said() {
    let place = Place::new();
    for (words, said) in [
        (&["--since", "yesterday"][..], "expected a time ago"),
        (&["--poll", "1s"], "--follow"),
        (&["--limit", "0"], "1..=400"),
    ] {
        let ended = run(command(&place, &[&["events"], words].concat()), b"");
        ended.check(1, &[said]);
    }
}

#[test]
fn what_happened_before_a_restart_is_still_on_record() {
    let Place { gateway, data, .. } = Place::new();
    gateway.stop();
    let place = Place::with_data(data, |_| {});
    let gateway = events(&place, &["--kind", "gateway"]);
    assert_eq!(
        told(&gateway),
        [
            "gateway.started gateway ",
            "gateway.draining gateway ",
            "gateway.stopped gateway ",
            "gateway.started gateway ",
        ]
    );
}
