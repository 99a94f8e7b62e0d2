//! `faam image`: built, signed, verified; kept by a gateway or refused, each reason in its own words, before anything is programmed.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use faam_image::{Description, Ingredients, PublicKey, SigningKey, build};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::faam::{Ended, Place, run};

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed([seed; 32]).expect("a key")
}

/// A description of the project's, of a small region.
fn description(kernel: &str) -> Description {
    let path = images().join(kernel).with_extension("toml");
    let text = std::fs::read_to_string(path).expect("part of the sources");
    let mut description = Description::from_toml(&text).expect("ours");
    description.simulated_bytes = Some(4096);
    description
}

fn images() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../bitstreams/images")
}

fn package(description: &Description, key: &SigningKey) -> Vec<u8> {
    build(description, &Ingredients::default(), key).expect("builds")
}

/// A gateway that trusts these keys.
fn place(trusted: &[PublicKey]) -> Place {
    Place::with(|config| config.images.trusted = trusted.to_vec())
}

#[track_caller]
fn faam(place: &Place, words: &[&str]) -> Ended {
    let mut command = place.faam(&[&["image"], words].concat());
    command.env("FAAM_DATA_DIR", place.data.path());
    run(command, b"")
}

#[track_caller]
fn done(place: &Place, words: &[&str]) -> String {
    let ended = faam(place, words).check(0, &[]).silent();
    String::from_utf8(ended.stdout).expect("UTF-8")
}

#[track_caller]
fn as_json(place: &Place, words: &[&str]) -> Value {
    let text = done(place, &[words, &["--json"]].concat());
    serde_json::from_str(&text).expect("JSON")
}

/// The gateway's images, by name.
#[track_caller]
fn kept(place: &Place) -> Vec<String> {
    let listed = as_json(place, &["ls"]);
    let images = listed["images"].as_array().expect("images");
    let name = |image: &Value| image["name"].as_str().expect("a name").to_owned();
    images.iter().map(name).collect()
}

#[test]
fn from_a_key_to_an_image_that_a_gateway_keeps() {
    let words = |place: &Place, words: &[&str]| done(place, words);
    let alone = Place::new();
    let public = words(&alone, &["keygen", "--out", "dev.key"]);
    let public = public.trim();
    let mode = std::fs::metadata(alone.dir.path().join("dev.key")).expect("there");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    faam(&alone, &["keygen", "--out", "dev.key"]).check(1, &["dev.key exists", "another file"]);
    let description = images().join("deflate-fast.toml");
    let description = description.to_str().expect("text");
    let build = |out: &'static str| {
        let words = [
            "build",
            "--manifest",
            description,
            "--key",
            "dev.key",
            "--out",
            out,
        ];
        as_json(&alone, &words)
    };
    let (one, other) = (build("one.fgi"), build("other.fgi"));
    assert_eq!(one["manifest"]["name"], "deflate-fast");
    assert_eq!(one["manifest"], other["manifest"]);
    assert_eq!(alone.read("one.fgi"), alone.read("other.fgi"));
    let said = words(
        &alone,
        &["verify", "one.fgi", "--trust", public, "--device", "sim"],
    );
    assert!(
        said.starts_with("ok      one.fgi: deflate-fast 1.0.0 (sim)"),
        "{said}"
    );
    assert!(said.contains("no gateware is in it"), "{said}");
    // Nobody is trusted there.
    faam(&alone, &["add", "one.fgi"]).check(1, &["not among the 0 that are trusted"]);
    assert!(words(&alone, &["ls"]).contains("set images.trust"));

    let key: PublicKey = public.parse().expect("the line that was printed");
    let place = place(&[key]);
    place.write("one.fgi", alone.read("one.fgi"));
    let added = as_json(&place, &["add", "one.fgi"]);
    let image = added["image"].as_str().expect("an id");
    assert_eq!(added["image"], one["manifest"]["image"]);
    let listed = words(&place, &["ls"]);
    assert!(
        listed.contains(image) && listed.contains("deflate-fast"),
        "{listed}"
    );
    // Files are listed as a gateway lists its own.
    let listed = words(&place, &["ls", "one.fgi", "--trust", public]);
    assert!(listed.contains(image), "{listed}");
    let listed = as_json(&place, &["ls", "one.fgi"]);
    assert_eq!(listed["images"][0]["refused"]["code"], "unknown-key");
    words(&place, &["rm", "deflate-fast"]);
    assert_eq!(kept(&place), [""; 0]);
    faam(&place, &["rm", image]).check(1, &["is no image of this gateway", "faam image add"]);
    let events = place.faam(&["events", "--json", "--kind", "image"]);
    let mut events = events;
    events.env("FAAM_DATA_DIR", place.data.path());
    let events: Value = serde_json::from_slice(&run(events, b"").stdout).expect("JSON");
    let kinds: Vec<_> = events["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| (event["kind"].clone(), event["subject"].clone()))
        .collect();
    assert_eq!(
        kinds,
        [
            (json!("image.accepted"), json!(image)),
            (json!("image.removed"), json!(image))
        ]
    );
}

/// What is refused when it comes: a reason, words of its message, and the package.
fn refused() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let good = package(&description("deflate-fast"), &key(1));
    let changed = |mark: &[u8], after: usize| {
        let mut bytes = good.clone();
        let found = bytes.windows(mark.len()).position(|part| part == mark);
        let at = found.expect("in it") + mark.len() + after;
        bytes[at] = b'7';
        bytes
    };
    let mut older = description("inflate");
    older.security_version = 2;
    vec![
        (
            "tampered-manifest",
            "changed after it was signed",
            changed(b"\"seed\": ", 0),
        ),
        (
            "tampered-file",
            "payload.bin was changed after the package was signed",
            changed(b"FaaMSLOT", 100),
        ),
        (
            "truncated",
            "the package is cut short",
            good[..good.len() - 600].to_vec(),
        ),
        (
            "unknown-key",
            "is not among the 2 that are trusted",
            package(&description("deflate-fast"), &key(9)),
        ),
        (
            "re-signed",
            "the package was signed again",
            signed_again(&good),
        ),
        (
            "revoked-key",
            "which was revoked (images.revoked)",
            package(&description("deflate-fast"), &key(3)),
        ),
        (
            "revoked-image",
            "use a newer one of its kernel",
            package(&description("deflate-tables"), &key(1)),
        ),
        (
            "older",
            "has security version 2, and one with 5 was accepted here before",
            package(&older, &key(1)),
        ),
        (
            "not-an-archive",
            "this is no image package",
            b"hello".to_vec(),
        ),
    ]
}

/// The same manifest, which says that the first key signs it, under the second one's signature.
fn signed_again(package: &[u8]) -> Vec<u8> {
    let size = std::str::from_utf8(&package[124..135]).expect("digits");
    let size = usize::from_str_radix(size, 8).expect("octal");
    let manifest = &package[512..512 + size];
    let message = [b"faam-image-manifest-v1\0".as_slice(), manifest].concat();
    let pair = ring::signature::Ed25519KeyPair::from_seed_unchecked(&[2; 32]).expect("a seed");
    let signature = pair.sign(&message);
    let digits = signature.as_ref().iter().map(|byte| format!("{byte:02x}"));
    let digits: String = digits.collect();
    let line = format!("faam-image-signature {} {digits}\n", key(2).public().id());
    let at = 512 + size.div_ceil(512) * 512 + 512;
    let mut again = package.to_vec();
    again[at..at + line.len()].copy_from_slice(line.as_bytes());
    again
}

/// Of the image that is revoked.
fn image_of(package: &[u8], key: &SigningKey) -> Uuid {
    let mut trust = faam_image::Trust::default();
    trust.add(key.public());
    let read = faam_image::Package::read(package, &trust).expect("good");
    read.manifest().image
}

#[test]
fn each_reason_is_told_in_its_own_words_and_nothing_is_kept() {
    let revoked = image_of(&package(&description("deflate-tables"), &key(1)), &key(1));
    let revoked = [
        format!("image:{revoked}"),
        format!("key:{}", key(3).public().id()),
    ];
    let place = Place::with(|config| {
        config.images.trusted = vec![key(1).public(), key(2).public(), key(3).public()];
        let revoked = revoked.iter().map(|what| what.parse().expect("good"));
        config.images.revoked = revoked.collect();
    });
    let mut newer = description("inflate");
    newer.security_version = 5;
    place.write("newer.fgi", package(&newer, &key(1)));
    done(&place, &["add", "newer.fgi"]);
    let trust: Vec<_> = [1, 2, 3].map(|seed| key(seed).public().to_string()).into();
    let mut flags: Vec<&str> = Vec::new();
    trust.iter().for_each(|key| flags.extend(["--trust", key]));
    revoked
        .iter()
        .for_each(|what| flags.extend(["--revoked", what]));
    let mut messages = BTreeSet::new();
    for (reason, words, bytes) in refused() {
        place.write("it.fgi", &bytes);
        let ended = faam(&place, &["add", "it.fgi"]).check(1, &[words]);
        assert!(messages.insert(ended.stderr.clone()), "{reason}");
        println!("{reason}: {}", ended.stderr.trim());
        // Before it is sent, the command says the same.
        let words_of = [
            &["verify", "it.fgi", "--security-version-min"][..],
            if reason == "older" { &["5"] } else { &["0"] },
            &flags,
        ];
        let ended = faam(&place, &words_of.concat());
        assert_eq!(ended.code, Some(1), "{reason}");
        let said = String::from_utf8(ended.stdout).expect("UTF-8");
        assert!(
            said.starts_with(&format!("REFUSED it.fgi: {reason}: ")) && said.contains(words),
            "{said}"
        );
    }
    assert_eq!(kept(&place), ["inflate"]);
    let listed = std::fs::read_dir(place.data.path().join("images")).expect("there");
    assert_eq!(listed.count(), 2, "one package, and what was accepted");
    // Each refusal is on record, with its reason.
    let mut events = place.faam(&["events", "--json", "--kind", "image.refused"]);
    events.env("FAAM_DATA_DIR", place.data.path());
    let events: Value = serde_json::from_slice(&run(events, b"").stdout).expect("JSON");
    let reasons: Vec<_> = events["events"]
        .as_array()
        .expect("events")
        .iter()
        .map(|event| event["detail"]["reason"].as_str().expect("a reason"))
        .collect();
    let expected: Vec<_> = refused().into_iter().map(|(reason, ..)| reason).collect();
    assert_eq!(reasons, expected);
}

#[test]
fn what_is_for_another_device_or_interface_is_refused_for_that_device() {
    let place = Place::new();
    let public = key(1).public().to_string();
    place.write("it.fgi", package(&description("inflate"), &key(1)));
    let mut needs = description("inflate");
    needs.driver_abi_min = "1.7".parse().expect("an ABI");
    place.write("later.fgi", package(&needs, &key(1)));
    for (file, device, reason, words) in [
        (
            "it.fgi",
            "idcode=0x41112043",
            "wrong-device",
            "this one is ECP5 LFE5U-45F",
        ),
        (
            "it.fgi",
            "interface=00000000-0000-0000-0000-000000000001",
            "wrong-interface",
            "speaks the interface",
        ),
        (
            "it.fgi",
            "shell=0x00020000",
            "wrong-shell",
            "this device has 0x00020000",
        ),
        (
            "it.fgi",
            "kind=partial",
            "wrong-kind",
            "this device takes partial",
        ),
        ("later.fgi", "sim", "driver-too-old", "needs driver ABI 1.7"),
    ] {
        let words_of = [
            "verify", file, "--trust", &public, "--device", device, "--json",
        ];
        let ended = faam(&place, &words_of);
        assert_eq!(ended.code, Some(1), "{device}: {}", ended.stderr);
        let answer: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
        let answer = &answer["images"][0];
        assert_eq!(answer["reason"], reason, "{answer}");
        let detail = answer["detail"].as_str().expect("text");
        assert!(detail.contains(words), "{detail}");
    }
    faam(&place, &["verify", "it.fgi", "--device", "x"]).check(1, &["idcode=0x41113043"]);
    faam(&place, &["verify", "it.fgi", "--trust", "x"]).check(1, &["faam image keygen"]);
}

#[test]
fn whoever_takes_an_image_over_says_whose_it_is() {
    let place = place(&[key(2).public()]);
    place.write("it.fgi", package(&description("inflate"), &key(1)));
    place.write("release.key", key(2).private_line());
    let (first, second) = (key(1).public().to_string(), key(2).public().to_string());
    let sign = |from: &str| {
        let words = [
            "sign",
            "it.fgi",
            "--from",
            from,
            "--key",
            "release.key",
            "--out",
            "out.fgi",
        ];
        faam(&place, &words)
    };
    sign(&second).check(
        1,
        &["it.fgi is not signed", "not among the 1 that are trusted"],
    );
    faam(&place, &["add", "it.fgi"]).check(1, &["images.trust"]);
    sign(&first).check(0, &[]);
    done(&place, &["add", "out.fgi"]);
    assert_eq!(kept(&place), ["inflate"]);
}

#[test]
fn what_is_no_description_key_or_file_is_said() {
    let place = Place::new();
    place.write("empty.toml", "");
    place.write("no.key", "hello");
    let sim = images().join("inflate.toml");
    let sim = sim.to_str().expect("text");
    for (words, said) in [
        (["empty.toml", "no.key"], "empty.toml describes no image"),
        ([sim, "no.key"], "no.key holds no signing key"),
        ([sim, "none.key"], "faam image keygen --out none.key"),
        (["none.toml", "no.key"], "cannot read none.toml"),
    ] {
        let [manifest, key] = words;
        let words = [
            "build",
            "--manifest",
            manifest,
            "--key",
            key,
            "--out",
            "x.fgi",
        ];
        faam(&place, &words).check(1, &[said]);
    }
    assert!(!place.names().contains(&"x.fgi".to_owned()));
    faam(&place, &["verify", "none.fgi"]).check(1, &["cannot read none.fgi"]);
    let nobody = TempDir::new().expect("a directory");
    let mut command = place.faam(&["image", "ls"]);
    command.env("FAAM_DATA_DIR", nobody.path());
    run(command, b"").check(1, &["no gateway answers", "faam serve"]);
}
