//! A card that fails again and again: the ladder of quarantine, what damps it, and what an operator sees and does.
//!
//! Callers go on meanwhile, and lose nothing: what the card spoils is done again elsewhere. Faults are those of the simulated
//! card, set by its fault socket while it runs.

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

#[expect(dead_code, reason = "other tests use more of it")]
mod gateway_process;
mod process_log;
mod served;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use flate2::read::GzDecoder;
use gateway_process::{Client, GatewayProcess};
use serde_json::Value;

/// Callers at once.
const CALLERS: usize = 16;
/// Bytes of a body: within a block.
const BODY_BYTES: usize = 48 << 10;
/// A failure, not a measure.
const SOON: Duration = Duration::from_secs(60);
/// Faults of a function that flaps, of which one is damped: by half a minute of service among them at the latest.
const FAULTS_MAX: u64 = 12;

/// The way to a running card's faults.
struct Faults(UnixStream);

impl Faults {
    #[track_caller]
    fn of(gateway: &GatewayProcess) -> Self {
        Self::try_of(gateway).expect("the card listens")
    }

    /// The same of a card that may just have ended, or not have begun to listen.
    fn try_of(gateway: &GatewayProcess) -> std::io::Result<Self> {
        let stream = UnixStream::connect(gateway.served.data.path().join("card0/faults"))?;
        stream.set_read_timeout(Some(SOON))?;
        Ok(Self(stream))
    }

    #[track_caller]
    fn tell(&self, command: &str) {
        let answer = self.try_tell(command).expect("the card answers");
        assert!(answer.starts_with("1 ok"), "{command}: {answer}");
    }

    fn try_tell(&self, command: &str) -> std::io::Result<String> {
        writeln!(&self.0, "1 {command}")?;
        let mut line = String::new();
        BufReader::new(&self.0).read_line(&mut line)?;
        Ok(line)
    }
}

/// Runs `meanwhile` while callers send; every answer is right.
fn under_load<T>(gateway: &GatewayProcess, policy: &str, meanwhile: impl FnOnce() -> T) -> T {
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let body: Vec<u8> = (0..BODY_BYTES)
        .map(|at| b"quarantine of a queue, then a function, then a card. "[at % 53])
        .collect();
    let done = std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            let (client, stop, served, body) = (gateway.client().clone(), &stop, &served, &body);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    request(&client, policy, body);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Also where it fails: a caller would never end.
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(meanwhile));
        stop.store(true, Ordering::Relaxed);
        done
    });
    println!(
        "{} requests by {policy}, 0 lost, 0 wrong",
        served.into_inner()
    );
    match done {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[track_caller]
fn request(client: &Client, policy: &str, body: &[u8]) -> String {
    let headers = [("Faam-Backend", policy)];
    let answer = client
        .post("/v1/compress", &headers, body)
        .expect("no request is lost");
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    let mut decoded = Vec::with_capacity(body.len());
    GzDecoder::new(&answer.body[..])
        .read_to_end(&mut decoded)
        .expect("gzip");
    assert!(decoded == body, "wrong bytes");
    answer.header("faam-invocation-id").to_owned()
}

/// `faam` for the gateway's operator; what it printed.
#[track_caller]
fn faam(gateway: &GatewayProcess, words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_faam"))
        .args(words)
        .arg("--data-dir")
        .arg(gateway.served.data.path())
        .output()
        .expect("faam starts");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {error}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn function(gateway: &GatewayProcess, number: usize) -> Value {
    gateway.card()["functions"][number].clone()
}

#[track_caller]
fn until_state(gateway: &GatewayProcess, number: usize, state: &str, limit: Duration) -> Value {
    gateway.wait_until(&format!("function {number} is {state}"), limit, |gateway| {
        let function = function(gateway, number);
        (function["state"] == state).then_some(function)
    })
}

/// Kinds of the events of cards so far.
fn kinds(gateway: &GatewayProcess) -> Vec<String> {
    let text = faam(gateway, &["events", "--kind", "card", "--json"]);
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    let events = answer["events"].as_array().expect("events");
    let kind = |event: &Value| event["kind"].as_str().expect("a kind").to_owned();
    events.iter().map(kind).collect()
}

#[test]
fn a_completion_that_cannot_be_costs_a_queue_pair_and_nothing_else() {
    let gateway = GatewayProcess::start(&["--devices", "sim", "--allow-faults"]);
    let faults = Faults::of(&gateway);
    under_load(&gateway, "prefer-hw", || {
        // For longer than its worker may have to wait for a processor: one that comes later finds it whole.
        faults.tell("fault torn-completion,function=1,times=1,ms=2000");
        gateway.wait_until("a pair was retired", SOON, |gateway| {
            let lost = &function(gateway, 1)["recovery"]["quarantines"]["queue"];
            (*lost == 1).then_some(())
        });
        until_state(&gateway, 1, "in-service", SOON);
    });
    let [first, second] = [0, 1].map(|number| function(&gateway, number));
    assert_eq!(second["recovery"]["quarantines"]["function"], 0, "{second}");
    assert_eq!(second["recovery"]["last_fault"]["rung"], "queue");
    assert_eq!(second["recovery"]["last_fault"]["kind"], "bad-check");
    assert_eq!(
        first["faults"], 0,
        "the other function was disturbed: {first}"
    );
    assert_eq!(gateway.card()["restarts"], 0);
    // Its number and what its commands named stay out of use until the function's fence.
    let shown: Value =
        serde_json::from_str(&faam(&gateway, &["device", "show", "fpga0.1", "--json"]))
            .expect("JSON");
    let detail = &shown["devices"][0]["detail"];
    assert_eq!(detail["queue_pairs"][0]["in_use"], true, "{detail}");
    assert_eq!(detail["queue_pairs"][0]["retired"], true, "{detail}");
    let kinds = kinds(&gateway);
    assert!(kinds.contains(&"card.queue-quarantined".to_owned()));
    // It was tried again at once.
    assert!(!kinds.contains(&"card.waits".to_owned()), "{kinds:?}");
    let quarantines = gateway.metric("faam_device_quarantines_total");
    assert!((quarantines - 1.0).abs() < f64::EPSILON, "{quarantines}");
    // The fence frees all of it.
    faam(&gateway, &["device", "reset", "fpga0.1"]);
    gateway.check_at_rest();
}

#[test]
fn a_function_that_fails_each_job_goes_out_of_service_alone_and_an_operator_brings_it_back() {
    let gateway = GatewayProcess::start(&["--devices", "sim", "--allow-faults"]);
    let rule = "fault stale-generation,function=1";
    let out = under_load(&gateway, "prefer-hw", || {
        // A new process has no faults: the card's ladder ends where its function's does, so each one is told.
        let mut told = None;
        gateway.wait_until("it is out of service", SOON, |gateway| {
            let pid = gateway.card()["pid"].as_u64();
            if pid != told {
                let answer = Faults::try_of(gateway).and_then(|faults| faults.try_tell(rule));
                // One that has ended, or does not listen yet, is tried again.
                if answer.is_ok_and(|answer| answer.starts_with("1 ok")) {
                    told = pid;
                }
            }
            let function = function(gateway, 1);
            (function["state"] == "out-of-service").then_some(function)
        })
    });
    let reason = out["recovery"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("faam device reset fpga0.1"), "{reason}");
    assert!(reason.contains("quarantined"), "{reason}");
    // The other function serves on, once it has come back from what the card's ladder cost it, and the gateway is ready.
    until_state(&gateway, 0, "in-service", SOON);
    let card = gateway.card();
    assert_eq!(card["state"], "degraded", "{card}");
    under_load(&gateway, "require-hw", || {
        let before = gateway.metric("faam_requests_total");
        gateway.wait_until("the other function serves", SOON, |gateway| {
            (gateway.metric("faam_requests_total") > before + 32.0).then_some(())
        });
    });
    let kinds = kinds(&gateway);
    for kind in ["card.quarantined", "card.waits", "card.out-of-service"] {
        assert!(kinds.contains(&kind.to_owned()), "{kind}: {kinds:?}");
    }
    assert!(gateway.metric("faam_device_penalty") > 6000.0);
    let shown = faam(&gateway, &["device", "show", "fpga0.1"]);
    for word in [
        "out-of-service",
        "penalty",
        "quarantines",
        "last fault",
        "reason",
    ] {
        assert!(shown.contains(word), "{word} in {shown}");
    }
    // Sound again, it comes back when an operator says so, tested.
    let faults = Faults::of(&gateway);
    faults.tell("clear");
    let said = faam(&gateway, &["device", "reset", "fpga0.1"]);
    assert!(said.contains("self-test"), "{said}");
    let back = until_state(&gateway, 1, "in-service", SOON);
    assert_eq!(back["recovery"]["reason"], Value::Null, "{back}");
    assert!(gateway.all_in_service());
    gateway.check_at_rest();
}

#[test]
fn a_function_that_is_gone_for_good_goes_out_of_service_alone() {
    // Each new process of the card has the fault too.
    let gateway = GatewayProcess::start_to(
        &[
            "--devices",
            "sim",
            "--allow-faults",
            "--sim-fault",
            "gone,function=0",
        ],
        |gateway| function(gateway, 1)["state"] == "in-service",
    );
    let out = under_load(&gateway, "prefer-hw", || {
        until_state(&gateway, 0, "out-of-service", SOON)
    });
    let reason = out["recovery"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("faam device reset fpga0.0"), "{reason}");
    until_state(&gateway, 1, "in-service", SOON);
    let card = gateway.card();
    assert_eq!(card["state"], "degraded", "{card}");
    assert_eq!(
        card["recovery"]["penalty"], 0.0,
        "charged to the card: {card}"
    );
    let pid = card["pid"].as_u64();
    under_load(&gateway, "require-hw", || {
        let before = gateway.metric("faam_requests_total");
        gateway.wait_until("the other function serves", SOON, |gateway| {
            (gateway.metric("faam_requests_total") > before + 32.0).then_some(())
        });
    });
    let second = function(&gateway, 1);
    assert_eq!(second["state"], "in-service", "{second}");
    assert_eq!(
        gateway.card()["pid"].as_u64(),
        pid,
        "started anew for nothing"
    );
    gateway.check_at_rest();
}

#[test]
fn a_card_that_never_came_up_is_tried_for_ever() {
    // One that served would be out of service after as many tries.
    const TRIES: u64 = 7;
    let gateway = GatewayProcess::start_to(
        &[
            "--devices",
            "sim",
            "--allow-faults",
            "--sim-fault",
            "wrong-checksum",
        ],
        |gateway| {
            [0, 1].iter().all(|number| {
                let function = function(gateway, *number);
                let tries = function["recovery"]["quarantines"]["function"].as_u64();
                function["state"] == "waiting" && tries >= Some(TRIES)
            })
        },
    );
    Faults::of(&gateway).tell("clear");
    for number in [0, 1] {
        let up = until_state(&gateway, number, "in-service", SOON);
        assert_eq!(up["recovery"]["penalty"], 0.0, "{up}");
    }
    gateway.check_at_rest();
}

#[test]
fn a_function_that_dies_for_good_costs_the_other_no_place() {
    let gateway = GatewayProcess::start(&[
        "--devices",
        "sim",
        "--allow-faults",
        "--sim-fault",
        "engine-hangs,function=1,after=50",
        "--sim-fault",
        "reset-sticks,function=1",
    ]);
    under_load(&gateway, "prefer-hw", || {
        until_state(&gateway, 1, "out-of-service", SOON);
        until_state(&gateway, 0, "in-service", SOON);
    });
    let card = gateway.card();
    assert_eq!(
        card["recovery"]["penalty"], 0.0,
        "charged to the card: {card}"
    );
    gateway.check_at_rest();
}

#[test]
fn a_flapping_function_waits_longer_each_time_and_comes_back_by_itself() {
    // On a busy machine a reset may take longer than it may, and a job longer than a card's may: then it is the card's fault, or
    // the other function's as well.
    const TRIES: usize = 3;
    assert!(
        (0..TRIES).any(|_| a_function_flaps_alone()),
        "its card, or the other function, was disturbed {TRIES} times"
    );
}

/// Whether the rest of its card was left in peace.
fn a_function_flaps_alone() -> bool {
    let gateway = GatewayProcess::start(&["--devices", "sim", "--allow-faults"]);
    let faults = Faults::of(&gateway);
    let waits = |gateway: &GatewayProcess| {
        let log = gateway.log.text();
        log.contains("waits before it is tried again").then_some(())
    };
    let disturbed = |gateway: &GatewayProcess| {
        let card = gateway.card();
        let disturbed = card["restarts"] != 0 || card["functions"][0]["faults"] != 0;
        disturbed.then(|| println!("disturbed: {card}"))
    };
    let alone = under_load(&gateway, "prefer-hw", || {
        // Faults of the function with next to no service between them: the fourth is damped; on a slow machine, where it serves
        // for longer between them, one of the next.
        let mut faulted = 0;
        while waits(&gateway).is_none() {
            assert!(faulted < FAULTS_MAX, "{faulted} faults, and it never waits");
            // Jobs are served before it, or the fourth would be the card's: the card counts commands, two a job, and may have
            // taken the first ones of as many jobs as there are callers.
            let fault = format!(
                "fault engine-hangs,function=1,after={},times=1",
                3 * CALLERS
            );
            if faults.try_tell(&fault).is_err() {
                return false;
            }
            let next = gateway.wait_until("its next fault", SOON, |gateway| {
                // Counted once it is out: it was counted as a quarantine before, while it still stood in service.
                let count = function(gateway, 1)["faults"].as_u64();
                let next = count.filter(|count| *count > faulted).map(Some);
                next.or_else(|| disturbed(gateway).map(|()| None))
            });
            let Some(next) = next else { return false };
            faulted = next;
            if faults.try_tell("clear").is_err() {
                return false;
            }
            gateway.wait_until("it serves again, or waits", SOON, |gateway| {
                let serves = function(gateway, 1)["state"] == "in-service";
                let serves = serves.then_some(()).or_else(|| waits(gateway));
                serves.or_else(|| disturbed(gateway))
            });
            if disturbed(&gateway).is_some() {
                return false;
            }
        }
        assert!(faulted >= 4, "damped after {faulted}: three are let pass");
        // And comes back, for nothing is wrong with it.
        until_state(&gateway, 1, "in-service", SOON);
        disturbed(&gateway).is_none()
    });
    if alone {
        assert!(kinds(&gateway).contains(&"card.waits".to_owned()));
        gateway.check_at_rest();
    }
    alone
}

/// What is said of a device that failed.
fn fault_line(text: &str) -> Option<&str> {
    let mut lines = text.lines();
    lines.find(|line| line.trim_start().starts_with("fpga0.") && line.contains("failed with"))
}

#[test]
fn explain_says_which_device_failed_how_and_what_served_instead() {
    let gateway = GatewayProcess::start(&["--devices", "sim", "--allow-faults"]);
    let faults = Faults::of(&gateway);
    faults.tell("fault engine-hangs,times=1");
    let body = vec![b'x'; BODY_BYTES];
    let id = gateway.wait_until("a request that met the fault", SOON, |gateway| {
        let id = request(gateway.client(), "prefer-hw", &body);
        let text = faam(gateway, &["explain", &id]);
        fault_line(&text).is_some().then_some(id)
    });
    let text = faam(&gateway, &["explain", &id]);
    let line = fault_line(&text).expect("a line of it");
    println!("{}", line.trim());
    assert!(line.contains("failed with a block of it in hand"), "{line}");
    assert!(line.contains("hang: no completion within"), "{line}");
    assert!(!line.contains("nobody"), "{line}");
    let facts: Value =
        serde_json::from_str(&faam(&gateway, &["explain", &id, "--json"])).expect("JSON");
    let fault = &facts["faults"][0];
    assert_eq!(
        (&fault["kind"], &fault["blocks"]),
        (&"hang".into(), &1.into()),
        "{facts}"
    );
    let instead = fault["instead"][0].as_str().expect("somebody served it");
    assert_ne!(fault["device"], instead, "{facts}");
    // The failed attempt's time is nobody's bill: far less than the limit that it hung for.
    let charged_us = facts["cost"]["device_us"].as_u64().expect("a number");
    assert!(charged_us < 500_000, "{facts}");
}
