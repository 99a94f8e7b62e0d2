//! `faam device` against a gateway with a simulated card: listed, shown, drained and reset while it works, and what is refused.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use faam_gateway::cards::{CardSource, SimulatedFaults, SimulatedSlots};
use faam_gateway::dispatch::DispatchConfig;
use faam_gateway::http::admin_socket::ADMIN_SOCKET_FILE;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::faam::{Ended, KEY, Place, run, text, wait_until};

/// A gateway with one simulated card in service; `pace_mhz` makes it slow.
pub(crate) fn place(pace_mhz: Option<u32>) -> Place {
    place_with(pace_mhz, DispatchConfig::default().hw_wait)
}

/// The same; a job that requires a card waits `hw_wait` for one.
fn place_with(pace_mhz: Option<u32>, hw_wait: Duration) -> Place {
    let place = Place::with(|config| {
        config.dispatch.hw_wait = hw_wait;
        config.dispatch.sim_program = env!("CARGO_BIN_EXE_faam").into();
        config.dispatch.cards = vec![CardSource::OwnSimulated {
            model: faam_sim::Model::Functional,
            engines: 1,
            pace_mhz,
            slots: SimulatedSlots::default(),
            faults: SimulatedFaults::default(),
        }];
    });
    let device = Device(&place);
    wait_until("both functions are in service", || {
        (device.states() == ["in-service", "in-service"]).then_some(())
    });
    place
}

/// `faam device` for the place's gateway.
struct Device<'a>(&'a Place);

impl Device<'_> {
    #[track_caller]
    fn run(&self, words: &[&str]) -> Ended {
        let mut command = self.0.faam(&[&["device"], words].concat());
        command.env("FAAM_DATA_DIR", self.0.data.path());
        run(command, b"")
    }

    #[track_caller]
    fn json(&self, words: &[&str], code: i32) -> Vec<Value> {
        let ended = self.run(&[words, &["--json"]].concat()).check(code, &[]);
        let answer: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
        answer["devices"].as_array().expect("devices").clone()
    }

    fn states(&self) -> Vec<String> {
        let devices = self.json(&["ls"], 0);
        let state = |device: &Value| device["state"].as_str().expect("a state").to_owned();
        devices.iter().map(state).collect()
    }

    /// A number that `show` gives of a function.
    fn number(&self, name: &str, pointer: &str) -> u64 {
        let shown = self.json(&["show", name], 0);
        let number = shown[0].pointer(pointer).and_then(Value::as_u64);
        number.unwrap_or_else(|| panic!("no {pointer} in {shown:?}"))
    }
}

/// Compresses on a card; the backend that did.
pub(crate) fn on_card(place: &Place, body: &[u8]) -> String {
    on_card_at(place, body, 3).0
}

/// The same at a level: which backend its head names, and the answer.
fn on_card_at(place: &Place, body: &[u8], level: u8) -> (String, Vec<u8>) {
    let answer = ureq::post(format!("{}/v1/compress?level={level}", place.url()))
        .header("Authorization", format!("Bearer {KEY}"))
        .header("Faam-Backend", "require-hw")
        .send(body)
        .expect("served");
    let backend = answer.headers().get("faam-backend").expect("a backend");
    let backend = backend.to_str().expect("text").to_owned();
    let bytes = answer.into_body().read_to_vec().expect("whole");
    (backend, bytes)
}

pub(crate) fn text_of(ended: Ended) -> String {
    String::from_utf8(ended.check(0, &[]).silent().stdout).expect("UTF-8")
}

#[test]
fn a_function_goes_by_name_address_and_serial() {
    let place = place(None);
    let device = Device(&place);
    let devices = device.json(&["ls"], 0);
    let second = &devices[1];
    assert_eq!(second["name"], "fpga0.1");
    assert_eq!(second["simulated"], true);
    let address = second["address"].as_str().expect("an address");
    assert!(address.ends_with("/card0/fn1"), "{address}");
    let serial_id = second["serial_id"].as_str().expect("a serial id");
    let serial = serial_id.strip_suffix(".1").expect("its function");
    for word in ["fpga0.1", address, serial_id] {
        let shown = device.json(&["show", word], 0);
        assert_eq!(shown.len(), 1, "{word}");
        let detail = &shown[0]["detail"];
        assert_eq!(detail["identity"]["serial"], serial, "{word}");
        assert_eq!(detail["identity"]["function"], 1);
        assert_eq!(detail["identity"]["abi_version"], "1.0");
        assert_eq!(detail["unreadable"], Value::Array(Vec::new()));
    }
    for word in ["fpga0", serial] {
        assert_eq!(device.json(&["show", word], 0).len(), 2, "{word}");
    }
    let list = text_of(device.run(&["ls"]));
    assert!(
        list.contains("simulated") && list.contains(serial_id),
        "{list}"
    );
    let before = device.number("fpga0.1", "/detail/health/jobs");
    while !on_card(&place, b"something for a card").starts_with("fpga0.1") {}
    let shown = text_of(device.run(&["show", "fpga0.1"]));
    for word in [
        "fpga0.1: simulated",
        "heartbeat",
        "uptime ms",
        "queue 1",
        "interface uuid",
    ] {
        assert!(shown.contains(word), "{word} in {shown}");
    }
    assert!(device.number("fpga0.1", "/detail/health/jobs") > before);
    assert!(device.number("fpga0.1", "/detail/queue_pairs/0/counters/completed") >= 1);
}

#[test]
fn a_drained_function_gets_no_jobs_until_it_is_asked_back() {
    let place = place(None);
    let device = Device(&place);
    let body = text(32 << 10);
    text_of(device.run(&["drain", "fpga0.0"]));
    assert_eq!(device.states(), ["drained", "in-service"]);
    let before = device.number("fpga0.0", "/detail/worker/jobs");
    for _ in 0..20 {
        assert!(on_card(&place, &body).starts_with("fpga0.1"));
    }
    assert_eq!(device.number("fpga0.0", "/detail/worker/jobs"), before);
    // Its card dies: it comes back, drained as before.
    let pid = device.json(&["ls"], 0)[0]["card_pid"]
        .as_i64()
        .expect("a process");
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    kill_process(pid, Signal::KILL).expect("killed");
    wait_until("the card is back", || {
        let devices = device.json(&["ls"], 0);
        let back = devices[0]["card_restarts"] == 1 && devices[1]["state"] == "in-service";
        back.then_some(())
    });
    wait_until("it is drained again", || {
        (device.states() == ["drained", "in-service"]).then_some(())
    });
    assert!(on_card(&place, &body).starts_with("fpga0.1"));
    text_of(device.run(&["drain", "fpga0.0", "--undo"]));
    assert_eq!(device.states(), ["in-service", "in-service"]);
    while !on_card(&place, &body).starts_with("fpga0.0") {}
    // A reset puts a drained function back as well.
    text_of(device.run(&["drain", "fpga0"]));
    assert_eq!(device.states(), ["drained", "drained"]);
    assert_eq!(device.json(&["reset", "fpga0"], 0).len(), 2);
    assert_eq!(device.states(), ["in-service", "in-service"]);
}

#[test]
fn a_card_that_is_drained_is_said_to_be() {
    // Once it is asked back it is waited for as well: a hundred times as long as it takes to have a job.
    let place = place_with(None, Duration::from_millis(500));
    let device = Device(&place);
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let state = || {
        let answer = agent
            .get(format!("{}/v1/devices", place.url()))
            .header("Authorization", format!("Bearer {KEY}"))
            .call();
        let text = answer.expect("answered").body_mut().read_to_string();
        let devices: Value = serde_json::from_str(&text.expect("text")).expect("JSON");
        devices["cards"][0]["state"].clone()
    };
    let ask = |policy: &str, body: &[u8]| {
        let answer = agent
            .post(format!("{}/v1/compress", place.url()))
            .header("Authorization", format!("Bearer {KEY}"))
            .header("Faam-Backend", policy)
            .send(body);
        let mut answer = answer.expect("answered");
        let reason = answer.headers().get("faam-backend-reason");
        let reason = reason.map(|value| value.to_str().expect("text").to_owned());
        let code = answer.status().as_u16();
        let body = answer.body_mut().read_to_vec().expect("whole");
        (code, reason, String::from_utf8_lossy(&body).into_owned())
    };
    assert_eq!(state(), "in-service");
    text_of(device.run(&["drain", "fpga0.0"]));
    assert_eq!(state(), "in-service");
    text_of(device.run(&["drain", "fpga0.1"]));
    assert_eq!(state(), "drained");
    let (code, _, problem) = ask("require-hw", b"something for a card");
    assert_eq!(code, 503, "{problem}");
    assert!(problem.contains("drained by an operator"), "{problem}");
    // In the caller's own thread, and by a worker.
    for (policy, bytes) in [("auto", 100), ("auto", 1 << 20), ("prefer-hw", 100)] {
        let (code, reason, _) = ask(policy, &text(bytes));
        assert_eq!(
            (code, reason.as_deref()),
            (200, Some("drained")),
            "{policy} {bytes}"
        );
    }
    text_of(device.run(&["drain", "fpga0", "--undo"]));
    assert_eq!(state(), "in-service");
    assert!(on_card(&place, b"something for a card").starts_with("fpga0"));
}

#[test]
fn a_drain_waits_for_what_is_in_flight_and_says_when_it_gave_up() {
    // A block takes a quarter of a second, and there are blocks for both functions for two.
    let place = place(Some(1));
    let device = Device(&place);
    let body = text(2 << 20);
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| on_card_at(&place, &body, 9));
        let busy = wait_until("a function works", || {
            let devices = device.json(&["ls"], 0);
            let busy = devices.iter().find(|device| device["in_flight"] != 0)?;
            Some(busy["name"].as_str().expect("a name").to_owned())
        });
        let drained = device.json(&["drain", &busy, "--timeout-ms", "0"], 1);
        assert_eq!(drained[0]["drain"]["idle"], false);
        assert_eq!(drained[0]["state"], "draining");
        let drained = device.json(&["drain", &busy], 0);
        assert_eq!(drained[0]["drain"]["idle"], true);
        assert_eq!(drained[0]["state"], "drained");
        // The other function does the rest.
        let (_, packed) = caller.join().expect("served");
        assert!(!packed.is_empty() && packed.len() < body.len());
        for name in ["fpga0.0", "fpga0.1"] {
            assert!(device.number(name, "/detail/worker/jobs") > 0, "{name}");
        }
    });
}

#[test]
fn a_reset_under_load_costs_no_request() {
    let place = place(None);
    let device = Device(&place);
    let body = text(32 << 10);
    let done = AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = 0;
                    while !done.load(Ordering::Relaxed) {
                        on_card(&place, &body);
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        for round in 0..6 {
            let name = format!("fpga0.{}", round % 2);
            let reset = device.json(&["reset", &name], 0);
            assert_eq!(reset[0]["state"], "in-service");
            assert!(reset[0]["reset"]["self_test_jobs"].as_u64() > Some(0));
            // Of this life: what it counts begins anew.
            wait_until("it works again", || {
                (device.number(&name, "/detail/worker/jobs") > 0).then_some(())
            });
        }
        done.store(true, Ordering::Relaxed);
        callers
            .into_iter()
            .map(|caller| caller.join().expect("served"))
            .sum::<u64>()
    });
    assert!(served > 0);
    let devices = device.json(&["ls"], 0);
    for function in &devices {
        assert_eq!(function["faults"], 0, "an operator's reset is no fault");
    }
}

#[test]
fn the_socket_is_its_owners_and_survives_what_a_killed_gateway_leaves() {
    let data = tempfile::tempdir().expect("a directory");
    let socket = data.path().join(ADMIN_SOCKET_FILE);
    drop(UnixListener::bind(&socket).expect("bound"));
    let place = Place::with_data(data, |_| {});
    let metadata = std::fs::symlink_metadata(&socket).expect("there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let device = Device(&place);
    assert!(text_of(device.run(&["ls"])).contains("no cards"));
    device
        .run(&["show", "fpga0"])
        .check(1, &["no device of this gateway", "--devices"]);
    let other = tempfile::tempdir().expect("a directory");
    let words = ["ls", "--data-dir", other.path().to_str().expect("UTF-8")];
    device
        .run(&words)
        .check(1, &["no gateway answers", "faam serve", "--data-dir"]);
    let Place { gateway, .. } = place;
    gateway.stop();
    assert!(!socket.exists(), "it is removed at the end");
}

#[test]
fn what_the_socket_does_not_take_is_refused_with_words() {
    let place = Place::new();
    let ask = |request: &str| {
        use std::io::{Read, Write};
        let socket = place.data.path().join(ADMIN_SOCKET_FILE);
        let mut stream = std::os::unix::net::UnixStream::connect(socket).expect("listens");
        stream
            .set_read_timeout(Some(crate::faam::SOON))
            .expect("set");
        write!(
            stream,
            "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    };
    for (request, status, words) in [
        ("GET /admin/v1", "200", "\"arena_bytes\""),
        ("GET /nothing", "404", "/admin/v1, and below it"),
        ("GET /v1/compress", "404", "devices"),
        ("PUT /admin/v1/devices", "405", "expected GET to look"),
        (
            "POST /admin/v1/devices/fpga0/drain?timeout_ms=x",
            "400",
            "timeout_ms",
        ),
        (
            "POST /admin/v1/devices/fpga0/drain?timeout_ms=600001",
            "400",
            "600000",
        ),
        ("POST /admin/v1/devices/fpga9.0/reset", "404", "no device"),
        ("GET /admin/v1/devices/%ff", "404", "UTF-8"),
    ] {
        let answer = ask(request);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{request}: {answer}"
        );
        assert!(answer.contains(words), "{request}: {answer}");
    }
    // The listener that networks may reach has it for the operator's key alone.
    let admin = format!("http://{}/admin/v1/devices", place.gateway.admin_address());
    let refused = ureq::get(admin).call().expect_err("no key");
    assert!(matches!(refused, ureq::Error::StatusCode(401)), "{refused}");
}

#[test]
fn a_tenant_without_cards_is_told_of_none() {
    let place = Place::with(|config| {
        config.dispatch.sim_program = env!("CARGO_BIN_EXE_faam").into();
        config.dispatch.cards = vec![CardSource::OwnSimulated {
            model: faam_sim::Model::Functional,
            engines: 1,
            pace_mhz: None,
            slots: SimulatedSlots::default(),
            faults: SimulatedFaults::default(),
        }];
        config.tenant_limits.backends.cards = false;
    });
    assert_eq!(Device(&place).json(&["ls"], 0).len(), 2);
    let mut answer = ureq::get(format!("{}/v1/devices", place.url()))
        .header("Authorization", format!("Bearer {KEY}"))
        .call()
        .expect("an answer");
    let answer: Value =
        serde_json::from_slice(&answer.body_mut().read_to_vec().expect("whole")).expect("JSON");
    assert_eq!(answer["cards"], Value::Array(Vec::new()));
}
