//! Each check on a machine of files: with nothing to complain about, and with each thing that it can complain about.

mod cases;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use faam_driver::{FunctionIdentity, ModelKind, TransportKind};
use faam_hwif::regs::capabilities::{Features, Formats, Levels};
use serde_json::json;

use super::check::Status::{Fail, Ok as Fine, Warn};
use super::subject::{NoGateway, Subject, User};
use super::{CHECKS, examine, table};
use crate::machine::tree::{CARD, Tree};

/// Somebody who owns nothing, and whose group has what root gave it.
fn user(tree: &Tree) -> User {
    let node = tree.path("dev/vfio/7").metadata().expect("there");
    User {
        name: "faam".to_owned(),
        uid: 4242,
        gids: vec![node.gid()],
    }
}

/// A subject with the tree's card, of which nothing but the files is real.
fn subject(tree: &Tree) -> Subject {
    Subject {
        machine: tree.machine(),
        user: user(tree),
        functions: vec![CARD.parse().expect("an address")],
        sockets: Vec::new(),
        arena_bytes: 24 << 20,
        gateway: Err(NoGateway::NotRunning("no gateway answers".to_owned())),
        identify: Box::new(|_| Ok(identity(ModelKind::Hardware))),
        identify_simulated: |_| Ok(identity(ModelKind::FunctionalModel)),
        cpu_engines: vec!["isa-l", "libdeflate"],
    }
}

fn identity(model: ModelKind) -> FunctionIdentity {
    FunctionIdentity {
        serial: String::new(),
        serial_number: 0x0123_4567_89AB_CDEF,
        model_name: String::new(),
        firmware: String::new(),
        model,
        abi: (1, 0),
        function_index: 0,
        functions: 2,
        engines: 4,
        jobs_each_max: 2,
        clock_khz: 250_000,
        features: Features(0),
        formats: Formats(0),
        levels: Levels(0),
        job_bytes_max: 1 << 20,
        history_bytes_max: 0,
        io_pairs_max: 16,
        entries_log2_max: 12,
        slots: None,
        vectors: 17,
        transport: TransportKind::VfioUser,
    }
}

#[test]
fn a_machine_with_all_that_a_card_needs_is_fine() {
    let checked = examine(&subject(&Tree::new()));
    for one in &checked {
        assert_eq!(one.status, Fine, "{one:?}");
        assert_eq!(one.mend, "", "{one:?}");
    }
    assert_eq!(checked.len(), CHECKS.len() + 1);
    assert!(CHECKS.len() >= 15);
    let text = table(&checked, false);
    assert!(
        text.contains("0 warnings, 0 failed") && !text.contains('\x1b'),
        "{text}"
    );
}

#[test]
fn every_status_of_every_check_is_turned_and_comes_with_its_mend() {
    let (mut turned, mut mends) = (BTreeSet::new(), BTreeSet::new());
    for case in cases::all() {
        let tree = Tree::new();
        let mut subject = subject(&tree);
        (case.change)(&tree, &mut subject);
        let check = CHECKS.iter().find(|check| check.name == case.check);
        let checked = match check {
            Some(check) => check.run(&subject),
            // What they all come to.
            None => examine(&subject),
        };
        let what = format!("{} by {:?}", case.check, case.found);
        let one = checked
            .iter()
            .find(|checked| checked.name == case.check)
            .unwrap_or_else(|| panic!("{what} is not there"));
        assert_eq!(one.status, case.status, "{what}: {one:?}");
        assert!(one.found.contains(case.found), "{what}: {one:?}");
        assert!(one.mend.contains(case.mend), "{what}: {one:?}");
        assert_eq!(one.mend.is_empty(), one.status == Fine, "{what}: {one:?}");
        turned.insert((case.check, one.status));
        mends.extend(checked.into_iter().map(|checked| checked.mend));
    }
    // All in one script, a line each: bash says in which one it is none of its command lines.
    let script = mends.into_iter().collect::<Vec<String>>().join("\n");
    let parsed = Command::new("bash").args(["-n", "-c", &script]).output();
    let parsed = parsed.expect("bash");
    let said = String::from_utf8_lossy(&parsed.stderr);
    assert!(parsed.status.success(), "{said}\n{script}");
    // Fine they are on the tree as it is.
    for check in CHECKS {
        for status in check.can {
            let shown = *status == Fine || turned.contains(&(check.name, *status));
            assert!(shown, "no case turns {} to {status:?}", check.name);
        }
        for status in [Warn, Fail] {
            let unexpected = turned.contains(&(check.name, status)) && !check.can.contains(&status);
            assert!(
                !unexpected,
                "{} can be {status:?} and does not say so",
                check.name
            );
        }
    }
}

#[test]
fn without_a_card_nothing_fails_and_it_says_what_works() {
    let tree = Tree::new();
    let mut subject = subject(&tree);
    subject.functions.clear();
    for gone in [
        "sys/class/iommu",
        "sys/kernel/iommu_groups",
        "sys/bus/pci/drivers/vfio-pci",
        "dev/vfio",
    ] {
        tree.remove(gone);
    }
    tree.file("proc/interrupts", " 1: 2 IO-APIC 5-edge");
    tree.locked("8388608");
    let checked = examine(&subject);
    assert!(checked.iter().all(|one| one.status != Fail), "{checked:?}");
    assert!(checked.len() >= 15, "{}", checked.len());
    let ways = checked.last().expect("some");
    assert_eq!(ways.name, "ways");
    assert!(
        ways.found.contains("a simulated card: yes") && ways.found.contains("CPU engines: yes"),
        "{ways:?}"
    );
}

#[test]
fn what_is_printed_for_programs_has_four_members_each() {
    let checked = examine(&subject(&Tree::new()));
    let value = json!({ "checks": checked });
    for one in value["checks"].as_array().expect("checks") {
        let members: Vec<_> = one.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["found", "mend", "name", "status"]);
        assert_eq!(one["status"], "ok");
    }
}

#[test]
fn a_user_is_found_in_the_machines_own_files() {
    let tree = Tree::new();
    let user = User::named(&tree.machine(), "faam").expect("there");
    assert_eq!((user.uid, user.gids), (990, vec![970, 980]));
    assert!(User::named(&tree.machine(), "nobody").is_none());
}

#[test]
fn cards_are_found_by_their_id() {
    let tree = Tree::new();
    tree.neighbour(Some("igb"));
    assert_eq!(
        Subject::found(&tree.machine()),
        [CARD.parse().expect("an address")]
    );
}
