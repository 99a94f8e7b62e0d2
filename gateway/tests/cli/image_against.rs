//! `faam image verify --against`: a file compared with a running gateway's simulated card, each point in a line of its own.

use std::time::Duration;

use faam_image::{Description, Ingredients, Package, SigningKey, Trust, build};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::faam::{Ended, Place, run};
use crate::slots::place_with;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32]).expect("a key")
}

/// The project's inflate kernel, of a small region, changed.
fn package(key: &SigningKey, change: impl FnOnce(&mut Description)) -> Vec<u8> {
    let text = include_str!("../../../bitstreams/images/inflate.toml");
    let mut description = Description::from_toml(text).expect("ours");
    description.simulated_bytes = Some(4096);
    change(&mut description);
    build(&description, &Ingredients::default(), key).expect("builds")
}

fn faam(place: &Place, words: &[&str]) -> Ended {
    let mut command = place.faam(words);
    command.env("FAAM_DATA_DIR", place.data.path());
    run(command, b"")
}

/// What is said of a package against a device: exit status, lines, and the one answer in JSON.
fn verify(place: &Place, device: &str, package: &[u8]) -> (Option<i32>, String, Value) {
    place.write("it.fgi", package);
    let words = ["image", "verify", "it.fgi", "--against", device];
    let told = faam(place, &words);
    let lines = String::from_utf8(told.stdout).expect("UTF-8");
    let as_json = faam(place, &[&words[..], &["--json"]].concat());
    assert_eq!(as_json.code, told.code, "{}", as_json.stderr);
    let answer: Value = serde_json::from_slice(&as_json.stdout).expect("JSON");
    (told.code, lines, answer["images"][0].clone())
}

/// Points that do not fit, with their reasons, and those that were not looked at: of the package and of the first function.
fn against(answer: &Value) -> (Vec<(String, String)>, Vec<String>) {
    let points = [&answer["points"], &answer["devices"][0]["points"]];
    let points = points.into_iter().flat_map(|points| points.as_array());
    let (mut refused, mut unseen) = (Vec::new(), Vec::new());
    for point in points.flatten() {
        let name = point["point"].as_str().expect("a name").to_owned();
        match &point["fits"] {
            Value::Bool(true) => {}
            Value::Bool(false) => {
                refused.push((name, point["reason"].as_str().expect("a reason").to_owned()));
            }
            _ => unseen.push(name),
        }
    }
    (refused, unseen)
}

#[test]
fn each_point_of_an_image_and_a_device_is_told_and_nothing_is_kept() {
    let revoked_image = package(&key(1), |it| it.version = "0.1.0".to_owned());
    let mut trust = Trust::default();
    trust.add(key(1).public());
    let read = Package::read(&revoked_image, &trust).expect("good");
    let revoked = [
        format!("key:{}", key(3).public().id()),
        format!("image:{}", read.manifest().image),
    ];
    let place = place_with(false, Duration::from_secs(10), |config| {
        config.images.trusted = [1, 3].map(|seed| key(seed).public()).to_vec();
        let revoked = revoked.iter().map(|what| what.parse().expect("good"));
        config.images.revoked = revoked.collect();
    });
    // A later one was accepted, and is in a slot of one function.
    place.write("kept.fgi", package(&key(1), |it| it.security_version = 4));
    faam(&place, &["image", "add", "kept.fgi"]).check(0, &[]);
    let load = [
        "image", "load", "inflate", "--device", "fpga0.1", "--slot", "1",
    ];
    faam(&place, &load).check(0, &[]);

    let good = package(&key(1), |it| it.security_version = 5);
    let (code, lines, answer) = verify(&place, "fpga0", &good);
    println!("{lines}");
    assert_eq!(code, Some(0), "{lines}");
    assert_eq!(answer["accepted"], true, "{answer}");
    assert_eq!(against(&answer), (vec![], vec![]));
    assert_eq!(answer["manifest"]["name"], "inflate");
    assert!(
        lines.starts_with("ok      it.fgi against fpga0: inflate"),
        "{lines}"
    );
    // A line for each point: three of the package, seven of each function.
    assert_eq!(lines.lines().count(), 1 + 3 + 7 + 7, "{lines}");
    for words in [
        "security version 5, and 4 or more is taken",
        "fpga0.0 (simulated)  kernel",
        "no slot holds it, empty: 0, 1",
        "held already by slot 1, empty: 0",
    ] {
        assert!(lines.contains(words), "{words}: {lines}");
    }
    let interface = |it: &mut Description| it.interface = Some(Uuid::from_u128(7));
    let other_place = |it: &mut Description| {
        it.target.idcode = "0x41112043".parse().expect("an idcode");
        it.target.part = "LFE5U-45F".to_owned();
        it.shell.id = 7;
    };
    let mut tampered = good.clone();
    let end = tampered.len() - 1500;
    tampered[end] ^= 1;
    let of_device = [
        "kind",
        "device",
        "shell",
        "interface",
        "driver",
        "size",
        "kernel",
    ];
    let of_all = [&["revocation", "rollback"][..], &of_device].concat();
    type Reasons<'a> = &'a [(&'a str, &'a str)];
    let cases: [(Vec<u8>, Reasons, &[&str]); 8] = [
        // What a slot of this card takes: 16 MiB.
        (
            package(&key(1), |it| {
                it.security_version = 4;
                it.simulated_bytes = Some(17 << 20);
            }),
            &[("size", "too-large")],
            &[],
        ),
        (package(&key(1), |_| {}), &[("rollback", "older")], &[]),
        (
            package(&key(3), |it| it.security_version = 4),
            &[("revocation", "revoked-key")],
            &[],
        ),
        // Revoked and older: both are told.
        (
            revoked_image,
            &[("revocation", "revoked-image"), ("rollback", "older")],
            &[],
        ),
        (
            package(&key(1), |it| {
                it.security_version = 4;
                interface(it);
            }),
            &[("interface", "wrong-interface")],
            &[],
        ),
        (
            package(&key(1), |it| {
                it.security_version = 4;
                other_place(it);
            }),
            &[("device", "wrong-device"), ("shell", "wrong-shell")],
            &[],
        ),
        (
            package(&key(9), |_| {}),
            &[("package", "unknown-key")],
            &of_all,
        ),
        (tampered, &[("package", "tampered-file")], &of_all),
    ];
    for (bytes, refused, unseen) in cases {
        let (code, lines, answer) = verify(&place, "fpga0.0", &bytes);
        println!("{lines}");
        assert_eq!(code, Some(1), "{lines}");
        let owned = |(point, reason): &(&str, &str)| ((*point).to_owned(), (*reason).to_owned());
        let expected: Vec<_> = refused.iter().map(owned).collect();
        assert_eq!(
            against(&answer),
            (expected, unseen.iter().map(|it| (*it).to_owned()).collect())
        );
        assert_eq!(answer["accepted"], false);
        assert_eq!(answer["reason"], refused[0].1);
        assert_eq!(answer["manifest"].is_null(), !unseen.is_empty());
        for (point, reason) in refused {
            let line = lines
                .lines()
                .find(|line| line.contains(&format!("{reason}: ")));
            let line = line.unwrap_or_else(|| panic!("{reason} is not in {lines}"));
            assert!(
                line.starts_with("  REFUSED") && line.contains(point),
                "{line}"
            );
        }
    }
    // It was a question: nothing is kept, nothing is on record, and what is in the slots stays.
    let listed = faam(&place, &["image", "ls", "--json"]).check(0, &[]);
    let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
    assert_eq!(
        listed["images"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
    let events = faam(&place, &["events", "--json", "--kind", "image.refused"]).check(0, &[]);
    let events: Value = serde_json::from_slice(&events.stdout).expect("JSON");
    assert_eq!(events["events"], json!([]));

    for (words, code, said) in [
        (&["--against", "fpga7"][..], 1, "there are fpga0.0"),
        (
            &["--against", "fpga0", "--device", "sim"],
            1,
            "cannot be used with",
        ),
    ] {
        let words = [&["image", "verify", "kept.fgi"][..], words].concat();
        faam(&place, &words).check(code, &[said]);
    }
}

#[test]
fn a_device_without_slots_or_a_gateway_that_does_not_run_is_said() {
    let place = Place::new();
    place.write("it.fgi", package(&key(1), |_| {}));
    let words = ["image", "verify", "it.fgi", "--against", "fpga0"];
    faam(&place, &words).check(1, &["it was started with none"]);
    let nobody = tempfile::tempdir().expect("a directory");
    let mut command = place.faam(&words);
    command.env("FAAM_DATA_DIR", nobody.path());
    run(command, b"").check(1, &["no gateway answers"]);
}
