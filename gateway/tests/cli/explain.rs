//! `faam explain`: what became of whole answers, streamed ones, refusals, and of what failed on its way.

use std::process::Command;

use serde_json::Value;

use crate::faam::{Ended, KEY, Place, run, text, wait_until};

fn command(place: &Place, words: &[&str]) -> Command {
    let mut command = place.faam(words);
    command.env("FAAM_DATA_DIR", place.data.path());
    command
}

fn explain(place: &Place, words: &[&str]) -> Ended {
    run(command(place, &[&["explain"], words].concat()), b"")
}

/// Facts of an invocation that has ended.
#[track_caller]
fn facts(place: &Place, id: &str) -> Value {
    // A caller has its last byte before the record is kept.
    wait_until("its end is known", || {
        let ended = explain(place, &[id, "--json"]);
        let facts: Value = serde_json::from_slice(&ended.stdout).ok()?;
        (facts["state"] != "running").then_some(facts)
    })
}

/// Posts a body; the answer's status, id and body.
#[track_caller]
fn post(place: &Place, target: &str, key: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build();
    let answer = ureq::Agent::new_with_config(agent)
        .post(format!("{}{target}", place.url()))
        .header("Authorization", format!("Bearer {key}"))
        .send(body)
        .expect("answered");
    let id = answer.headers().get("faam-invocation-id").expect("an id");
    let id = id.to_str().expect("text").to_owned();
    let status = answer.status().as_u16();
    (status, id, answer.into_body().read_to_vec().expect("whole"))
}

#[test]
fn an_answer_is_explained_whether_it_came_whole_or_streamed() {
    let place = Place::new();
    for (bytes, phases) in [
        (1_000, &["admit", "receive", "device", "verify", "send"][..]),
        (
            3_000_000,
            &["admit", "receive", "queue", "device", "verify", "send"],
        ),
    ] {
        let body = text(bytes);
        let (status, id, answer) = post(&place, "/v1/compress", KEY, &body);
        assert_eq!(status, 200);
        let facts = facts(&place, &id);
        assert_eq!(facts["state"], "done", "{facts}");
        assert_eq!(facts["tenant"], "demo");
        assert_eq!(facts["backend"], "cpu");
        assert_eq!(facts["bytes_in"], bytes);
        assert_eq!(facts["bytes_out"], answer.len());
        assert_eq!(facts["billable"], true);
        assert!(facts["cost"]["reference_us"].as_u64() > Some(0), "{facts}");
        assert!(facts["cost"]["cpu_us"].as_u64() > Some(0), "{facts}");
        let timed = facts["phases"].as_array().expect("phases");
        let names: Vec<_> = timed.iter().map(|phase| &phase["phase"]).collect();
        for phase in phases
            .iter()
            .filter(|phase| !["receive", "send"].contains(phase))
        {
            assert!(names.iter().any(|name| *name == phase), "{phase}: {facts}");
        }
        let total = facts["total_ms"].as_f64().expect("a time");
        for phase in timed {
            let ms = |name: &str| phase[name].as_f64().expect("a time");
            assert!(
                ms("from_ms") <= ms("to_ms") && ms("to_ms") <= total + 1.0,
                "{facts}"
            );
        }
        let shown = explain(&place, &[&format!("urn:uuid:{id}")])
            .check(0, &[])
            .silent();
        let shown = String::from_utf8(shown.stdout).expect("UTF-8");
        assert!(
            shown.starts_with(&format!("{id}: compress of demo, done\n")),
            "{shown}"
        );
        assert!(
            shown.contains("  device    |") && shown.contains("#"),
            "{shown}"
        );
        // The tenant itself sees the same of its own.
        let own = ureq::get(format!("{}/v1/invocations/{id}", place.url()))
            .header("Authorization", format!("Bearer {KEY}"))
            .call()
            .expect("served");
        let own: Value =
            serde_json::from_slice(&own.into_body().read_to_vec().expect("whole")).expect("JSON");
        assert_eq!(own["phases"], facts["phases"]);
        assert_eq!(own["cost"], facts["cost"]);
        assert!(own.get("tenant").is_none());
    }
}

#[test]
fn refusals_are_explained_whosever_they_were() {
    let place = Place::new();
    let (status, id, _) = post(&place, "/v1/compress?level=99", KEY, b"x");
    assert_eq!(status, 400);
    let facts = facts(&place, &id);
    assert_eq!(
        (&facts["problem"], &facts["tenant"]),
        (&"invalid-option".into(), &"demo".into())
    );
    assert!(
        facts["detail"].as_str().expect("why").contains("99"),
        "{facts}"
    );
    assert_eq!(facts["billable"], false);
    // Corrupt input, found while it was worked on.
    let (status, id, _) = post(&place, "/v1/decompress?format=gzip", KEY, b"no gzip at all");
    assert_eq!(status, 422);
    let shown = explain(&place, &[&id]).check(0, &[]).silent();
    let shown = String::from_utf8(shown.stdout).expect("UTF-8");
    assert!(
        shown.contains("decompress of demo, corrupt-input"),
        "{shown}"
    );
    assert!(shown.contains("\n  why       "), "{shown}");
    // Nobody's: its id is known to the operator alone.
    let (status, id, _) = post(
        &place,
        "/v1/compress",
        "faam_nobody-has-this-key-at-all",
        b"x",
    );
    assert_eq!(status, 401);
    let facts = facts_of_nobody(&place, &id);
    assert_eq!(
        (&facts["problem"], &facts["tenant"]),
        (&"no-credential".into(), &Value::Null)
    );
    explain(&place, &["00000000-0000-7000-8000-000000000000"]).check(1, &["no such invocation"]);
    explain(&place, &["nonsense"]).check(1, &["expected a UUID", "nonsense"]);
}

fn facts_of_nobody(place: &Place, id: &str) -> Value {
    let own = ureq::get(format!("{}/v1/invocations/{id}", place.url()))
        .header("Authorization", format!("Bearer {KEY}"))
        .call();
    assert!(matches!(own, Err(ureq::Error::StatusCode(404))), "{own:?}");
    facts(place, id)
}

#[test]
fn a_full_queue_is_named() {
    let place = Place::with(|config| config.dispatch.queue_blocks_max = 1);
    // Enough of them at once that one finds the queue full.
    let body = text(2_000_000);
    let limits = wait_until("a request met the queue's bound", || {
        let (status, id, _) = post(&place, "/v1/compress?level=9", KEY, &body);
        assert_eq!(status, 200);
        let facts = facts(&place, &id);
        let limits = facts["limits"].as_array().expect("limits").clone();
        (!limits.is_empty()).then_some(limits)
    });
    let room = limits.iter().find(|limit| limit["name"] == "queue-room");
    let says = room.expect("queue-room")["says"].as_str().expect("words");
    assert!(says.contains("queue_blocks_max"), "{says}");
}

#[test]
fn a_peak_rate_is_named() {
    let place = Place::new();
    let words = [
        "tenant",
        "set",
        "demo",
        "--pir-us-per-s",
        "2000",
        "--pir-burst-us",
        "1000",
    ];
    run(command(&place, &words), b"").check(0, &[]);
    let body = text(600_000);
    let facts = wait_until("a block waited for the peak rate", || {
        let (status, id, _) = post(&place, "/v1/compress", KEY, &body);
        assert_eq!(status, 200);
        let facts = facts(&place, &id);
        let limits = facts["limits"].as_array().expect("limits");
        let met = limits.iter().any(|limit| limit["name"] == "peak-rate");
        met.then_some(facts)
    });
    let shown = explain(&place, &[facts["id"].as_str().expect("an id")]).check(0, &[]);
    let shown = String::from_utf8(shown.stdout).expect("UTF-8");
    assert!(
        shown.contains("It met on its way:\n") && shown.contains("pir_us_per_s"),
        "{shown}"
    );
    assert!(facts["cost"]["queue_us"].as_u64() > Some(0), "{facts}");
}
