//! `faam doctor` as a process: on this machine as it is, with a gateway and without, and on a directory that is no machine.

use std::path::Path;

use serde_json::Value;

use crate::device;
use crate::faam::{Ended, faam, names, run};

#[track_caller]
fn doctor(data_dir: &Path, words: &[&str]) -> Ended {
    let mut command = faam(
        data_dir,
        "http://127.0.0.1:9",
        &[&["doctor"], words].concat(),
    );
    command
        .env("FAAM_DATA_DIR", data_dir)
        .env("TMPDIR", data_dir);
    run(command, b"")
}

#[track_caller]
fn checks(ended: &Ended) -> Vec<Value> {
    let value: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    value["checks"].as_array().expect("checks").clone()
}

#[track_caller]
fn check<'v>(checks: &'v [Value], name: &str) -> &'v Value {
    let found = checks.iter().find(|check| check["name"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {checks:?}"))
}

#[test]
fn this_machine_is_told_what_it_can_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let ended = doctor(dir.path(), &["--json", "--devices", "sim"]);
    println!(
        "{}",
        String::from_utf8_lossy(&doctor(dir.path(), &[]).stdout)
    );
    // Nothing that only a card needs fails where none is examined; noiommu would, which nobody wants on any machine.
    assert_eq!(
        ended.code,
        Some(0),
        "{}",
        String::from_utf8_lossy(&ended.stdout)
    );
    let checks = checks(&ended.silent());
    assert!(checks.len() >= 15, "{checks:?}");
    for check in &checks {
        let members: Vec<_> = check.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["found", "mend", "name", "status"]);
        let fine = check["status"] == "ok";
        assert!(fine || check["status"] == "warn", "{check}");
        assert_eq!(check["mend"] == "", fine, "{check}");
    }
    // A card was started for the occasion, asked, and ended.
    let simulated = check(&checks, "simulated-card");
    assert_eq!(simulated["status"], "ok", "{simulated}");
    assert!(
        simulated["found"]
            .as_str()
            .expect("text")
            .contains("contract 1.0"),
        "{simulated}"
    );
    assert_eq!(names(dir.path()), Vec::<String>::new());
    let gateway = check(&checks, "gateway")["found"]
        .as_str()
        .expect("text")
        .to_owned();
    assert!(gateway.contains("none runs"), "{gateway}");
}

#[test]
fn a_running_gateway_is_asked() {
    let place = device::place(None);
    let checks = checks(&doctor(place.data.path(), &["--json", "--devices", "sim"]).silent());
    let gateway = check(&checks, "gateway");
    assert_eq!(gateway["status"], "ok", "{gateway}");
    assert!(
        gateway["found"]
            .as_str()
            .expect("text")
            .contains("fpga0.1 in-service"),
        "{gateway}"
    );
    let simulated = check(&checks, "simulated-card")["found"]
        .as_str()
        .expect("text")
        .to_owned();
    assert!(
        simulated.contains("the gateway serves with one"),
        "{simulated}"
    );
}

#[test]
fn a_card_that_is_not_there_fails_and_the_table_says_how_to_mend_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().to_str().expect("UTF-8");
    let words = ["--root", root, "--devices", "pci:0000:03:00.0"];
    let ended = doctor(dir.path(), &words).check(1, &[]).silent();
    let text = String::from_utf8(ended.stdout).expect("UTF-8");
    for words in [
        "FAIL  iommu",
        "FAIL  card",
        "not on the PCI bus: 0000:03:00.0",
        "-> ",
        "through the kernel's VFIO: no (",
        "failed",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    doctor(dir.path(), &["--devices", "pci:3"]).check(1, &["pci:ADDRESS"]);
    doctor(dir.path(), &["--user", "nobody-of-this-name"]).check(1, &["useradd"]);
}
