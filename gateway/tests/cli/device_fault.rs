//! `faam device fault`: a simulated card told to fail by an operator, what callers see of it, and what is refused.

use faam_gateway::cards::{CardSource, SimulatedFaults, SimulatedSlots};
use serde_json::{Value, json};

use crate::device::{on_card, text_of};
use crate::faam::{Ended, Place, faam, run, text, wait_until};

/// A gateway with a simulated card in service that may be told to fail, or not.
fn place(allowed: bool) -> Place {
    let place = Place::with(|config| {
        config.dispatch.sim_program = env!("CARGO_BIN_EXE_faam").into();
        config.dispatch.cards = vec![
            CardSource::OwnSimulated {
                model: faam_sim::Model::Functional,
                engines: 1,
                pace_mhz: None,
                slots: SimulatedSlots::default(),
                faults: SimulatedFaults {
                    allowed,
                    ..SimulatedFaults::default()
                },
            },
            CardSource::VfioUser {
                dir: "/nobody/serves/here".into(),
            },
        ];
    });
    wait_until("both functions are in service", || {
        let list = json_of(&place, &["device", "ls"]);
        let states = list["devices"].as_array().expect("devices");
        let up = |at: usize| states[at]["state"] == "in-service";
        (up(0) && up(1)).then_some(())
    });
    place
}

fn at(place: &Place, words: &[&str]) -> Ended {
    let mut command = place.faam(words);
    command.env("FAAM_DATA_DIR", place.data.path());
    run(command, b"")
}

fn json_of(place: &Place, words: &[&str]) -> Value {
    let ended = at(place, &[words, &["--json"]].concat()).check(0, &[]);
    serde_json::from_slice(&ended.stdout).expect("JSON")
}

#[test]
fn a_card_that_is_told_to_fail_fails_and_no_caller_sees_it() {
    let place = place(true);
    let none = json!({ "card": "fpga0", "rules": [], "struck": {} });
    assert_eq!(json_of(&place, &["device", "fault", "fpga0"]), none);
    let rules = ["flips-a-bit,times=1", "slow-engine,chance=0.5,factor=4"];
    let added = text_of(at(
        &place,
        &["device", "fault", "fpga0", rules[0], rules[1]],
    ));
    for rule in rules {
        assert!(added.contains(&format!("fpga0: {rule}\n")), "{added}");
    }
    let body = text(32 << 10);
    let (mut sent, mut faults) = (0, Value::Null);
    while faults["struck"]["flips-a-bit"] != 2 {
        assert!(sent < 200, "each function strikes once: {faults}");
        on_card(&place, &body);
        faults = json_of(&place, &["device", "fault", "fpga0"]);
        sent += 1;
    }
    let shown = text_of(at(&place, &["device", "fault", "fpga0"]));
    assert!(shown.contains("flips-a-bit struck 2 times"), "{shown}");
    assert!(
        !shown.contains("fpga0: flips-a-bit"),
        "it has had its last: {shown}"
    );
    assert!(shown.contains(&format!("fpga0: {}", rules[1])), "{shown}");
    // What it lies about is read at a bring-up: one that is being brought up again would take its card with it.
    wait_until("both serve again", || {
        let events = json_of(&place, &["events", "--kind", "card.quarantined"]);
        let quarantined = events["events"].as_array().expect("events").len();
        let shown = json_of(&place, &["device", "show", "fpga0"]);
        let devices = shown["devices"].as_array().expect("devices").iter();
        let mut states = devices.map(|device| &device["state"]);
        (quarantined >= 2 && states.all(|state| state == "in-service")).then_some(())
    });
    // A function's name stands for the key.
    text_of(at(
        &place,
        &["device", "fault", "fpga0.1", "lies-about-depth"],
    ));
    let faults = json_of(&place, &["device", "fault", "fpga0.1"]);
    let rules = faults["rules"].as_array().expect("rules");
    assert!(
        rules.contains(&json!("lies-about-depth,function=1")),
        "{rules:?}"
    );
    let cleared = json_of(&place, &["device", "fault", "fpga0", "--clear"]);
    assert_eq!(cleared["rules"], json!([]));
    let events = json_of(&place, &["events", "--kind", "card.fault"]);
    let events = events["events"].as_array().expect("events");
    let told: Vec<_> = events
        .iter()
        .map(|event| &event["detail"]["rule"])
        .collect();
    assert_eq!(told.len(), 4, "{events:?}");
    assert!(events.iter().all(|event| event["actor"] == "operator"));
    assert!(told.contains(&&Value::Null) && told.contains(&&json!("flips-a-bit,times=1")));
}

#[test]
fn a_card_that_is_not_to_fail_says_what_would_help() {
    let shut = place(false);
    for words in [
        &["device", "fault", "fpga0"][..],
        &["device", "fault", "fpga0", "gone"],
        &["device", "fault", "fpga0", "--clear"],
    ] {
        at(&shut, words).check(1, &["takes no faults", "--allow-faults"]);
    }
    at(&shut, &["device", "fault", "fpga1", "gone"]).check(1, &["--devices sim"]);
    at(&shut, &["device", "fault", "fpga9", "gone"]).check(1, &["no device"]);
    at(&shut, &["device", "fault", "fpga0", "no-such"]).check(1, &["engine-hangs"]);
    at(&shut, &["device", "fault", "fpga0", "gone,factor=2"]).check(1, &["takes no factor"]);
    assert!(!shut.data.path().join("card0/faults").exists());
}

#[test]
fn a_rule_that_is_none_is_refused_by_the_gateway_too() {
    let place = place(true);
    let admin = format!(
        "http://{}/admin/v1/devices/fpga0/faults",
        place.gateway.admin_address()
    );
    let key = std::fs::read_to_string(place.data.path().join("admin.key")).expect("the key");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    for (body, words) in [
        ("{}", "name"),
        (r#"{"name":"no-such"}"#, "engine-hangs"),
        (r#"{"name":"gone","wibble":1}"#, "wibble"),
        (r#"{"name":"gone","chance":2}"#, "up to 1"),
        (r#"{"name":"gone","function":2}"#, "below 2"),
    ] {
        let mut answer = agent
            .post(&admin)
            .header("Authorization", format!("Bearer {}", key.trim()))
            .send(body)
            .expect("an answer");
        let problem = answer.body_mut().read_to_string().expect("text");
        assert_eq!(answer.status(), 400, "{body}: {problem}");
        assert!(problem.contains(words), "{body}: {problem}");
    }
}

#[test]
fn a_card_of_its_own_takes_rules_only_with_leave() {
    let place = Place::new();
    let dir = place.data.path();
    let sim = |words: &[&str]| {
        let words = [&["sim", "--dir", "card"], words].concat();
        run(faam(dir, place.url(), &words), b"")
    };
    sim(&["--fault", "gone"]).check(1, &["--allow-faults"]);
    sim(&["--faults", "plan.toml"]).check(1, &["--allow-faults"]);
    sim(&["--allow-faults", "--fault", "no-such"]).check(1, &["engine-hangs"]);
    sim(&["--allow-faults", "--faults", "plan.toml"]).check(1, &["plan.toml"]);
    std::fs::write(
        dir.join("plan.toml"),
        "[[fault]]\nname = \"gone\"\ntimes = 0\n",
    )
    .expect("written");
    sim(&["--allow-faults", "--faults", "plan.toml"]).check(1, &["line 1", "1 or more"]);
    std::fs::write(
        dir.join("plan.toml"),
        "seed = 7\n[[fault]]\nname = \"gone\"\n",
    )
    .expect("written");
    // Its standard input has ended: it starts, and stops.
    sim(&[
        "--allow-faults",
        "--faults",
        "plan.toml",
        "--exit-on-stdin-eof",
    ])
    .check(0, &[]);
    let listed = text_of(run(faam(dir, place.url(), &["sim", "--list-faults"]), b""));
    for fault in faam_sim::Fault::ALL {
        assert!(listed.contains(fault.name()), "{}", fault.name());
    }
}
