//! Each reason for a refusal: one variant, one code, one message that says what to do. And that nothing else gets through.

use std::collections::BTreeSet;

use faam_image::{
    Abi, DeviceFacts, Floors, Idcode, ImageKind, ImageRefusal, PACKAGE_BYTES_MAX, Package, Revoked,
    Trust, resign,
};
use proptest::prelude::*;

use crate::sample::{
    Entries, archive, description, entries, header, key, other_key, package, place, signed,
    trusting,
};

/// Somebody's manifest with a text in the place of another, signed by the trusted key.
fn edited(from: &str, to: &str) -> Vec<u8> {
    let mut entries = entries(&package(&description()));
    let manifest = String::from_utf8(entries[0].1.clone()).expect("text");
    assert_eq!(manifest.matches(from).count(), 1, "{from} in {manifest}");
    entries[0].1 = manifest.replacen(from, to, 1).into_bytes();
    signed(entries, &key())
}

/// The package's entries, changed and packed again; nothing is signed.
fn repacked(change: impl FnOnce(&mut Entries)) -> Vec<u8> {
    let mut entries = entries(&package(&description()));
    change(&mut entries);
    archive(&entries)
}

/// With the header of one entry in the place of another's.
fn with_header(index: usize, name: &str, kind: u8) -> Vec<u8> {
    let good = package(&description());
    let entries = entries(&good);
    let at = place(&entries, index);
    let mut bytes = good;
    bytes[at..at + 512].copy_from_slice(&header(name, entries[index].1.len(), kind));
    bytes
}

fn changed(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = package(&description());
    change(&mut bytes);
    bytes
}

/// A trust of the key that has revoked something.
fn revoking(what: Revoked) -> Trust {
    Trust::new(&[key().public()], &[what]).expect("few")
}

/// A package that should be refused: code, words of the message, the package, whom is trusted.
type Case = (&'static str, [String; 2], Vec<u8>, Trust);

fn cases() -> Vec<Case> {
    let good = package(&description());
    let image = Package::read(&good, &trusting(&[&key()])).expect("good");
    let image = image.manifest().image;
    let (mine, other) = (key().public().id(), other_key().public().id());
    let own = || trusting(&[&key()]);
    let words = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
    // Somebody else signs the same manifest: with a key that is trusted for other images.
    let other_signature = signed(entries(&good), &other_key());
    // The same, and the signature says that it is the first key's.
    let forged = changed(|bytes| {
        let at = place(&entries(&good), 1) + 512;
        let line = entries(&other_signature)[1].1.clone();
        let line = String::from_utf8(line).expect("text");
        let line = line.replacen(&other.to_string(), &mine.to_string(), 1);
        bytes[at..at + line.len()].copy_from_slice(line.as_bytes());
    });
    vec![
        (
            "not-an-archive",
            words("begins with \"\\x7fELF", ".fgi"),
            b"\x7fELF\x02\x01\x01\0\0".to_vec(),
            own(),
        ),
        (
            "not-an-archive",
            words("begins with \"\"", "faam image build"),
            Vec::new(),
            own(),
        ),
        (
            "truncated",
            words("cut short", &format!("got {}", good.len() - 1)),
            good[..good.len() - 1].to_vec(),
            own(),
        ),
        (
            "truncated",
            words("cut short", "got 700"),
            good[..700].to_vec(),
            own(),
        ),
        (
            "too-large",
            words("the package has", &PACKAGE_BYTES_MAX.to_string()),
            vec![0; PACKAGE_BYTES_MAX + 1],
            own(),
        ),
        (
            "too-large",
            words("manifest.json has 65537", "65536"),
            repacked(|entries| entries[0].1.resize(65537, b' ')),
            own(),
        ),
        (
            "bad-entry",
            words("byte 0", "checksum"),
            changed(|bytes| bytes[100] = b'7'),
            own(),
        ),
        (
            "bad-entry",
            words("padding", "faam image build"),
            changed(|bytes| {
                let at = place(&entries(&good), 1);
                bytes[at - 1] = 1;
            }),
            own(),
        ),
        (
            "bad-entry",
            words("end mark", "faam image build"),
            changed(|bytes| {
                let at = bytes.len() - 1;
                bytes[at] = 1;
            }),
            own(),
        ),
        (
            "forbidden-kind",
            words("a symbolic link", "plain files"),
            with_header(2, "payload.bin", b'2'),
            own(),
        ),
        (
            "forbidden-kind",
            words("a hard link", "plain files"),
            with_header(2, "payload.bin", b'1'),
            own(),
        ),
        (
            "forbidden-kind",
            words("a directory", "plain files"),
            with_header(2, "reports/x", b'5'),
            own(),
        ),
        (
            "forbidden-name",
            words("../../etc/passwd", "small letters"),
            with_header(2, "../../etc/passwd", b'0'),
            own(),
        ),
        (
            "forbidden-name",
            words("/etc/passwd", "small letters"),
            with_header(2, "/etc/passwd", b'0'),
            own(),
        ),
        (
            "out-of-place",
            words("payload.bin where manifest.sig", "changed"),
            repacked(|entries| entries.swap(1, 2)),
            own(),
        ),
        (
            "out-of-place",
            words("reports/timing.json where payload.bin", "changed"),
            repacked(|entries| entries.swap(2, 3)),
            own(),
        ),
        (
            "duplicate",
            words("payload.bin twice", "which of them"),
            repacked(|entries| {
                let twice = entries[2].clone();
                entries.insert(3, twice);
            }),
            own(),
        ),
        (
            "duplicate",
            words("manifest.json twice", "which of them"),
            repacked(|entries| {
                let twice = entries[0].clone();
                entries.push(twice);
            }),
            own(),
        ),
        (
            "unlisted",
            words("extra.bin", "does not list"),
            repacked(|entries| entries.push(("extra.bin".to_owned(), vec![1]))),
            own(),
        ),
        (
            "missing",
            words("reports/timing.json", "does not have"),
            repacked(|entries| {
                entries.pop();
            }),
            own(),
        ),
        (
            "trailing",
            words("512 bytes follow", "expected none"),
            changed(|bytes| bytes.resize(bytes.len() + 512, 0)),
            own(),
        ),
        (
            "bad-signature-file",
            words("no signature", "faam image sign"),
            repacked(|entries| entries[1].1.fill(b'0')),
            own(),
        ),
        (
            "unknown-key",
            words(&mine.to_string(), "images.trust"),
            good.clone(),
            trusting(&[&other_key()]),
        ),
        (
            "unknown-key",
            words(&other.to_string(), "among the 1 that are trusted"),
            other_signature.clone(),
            own(),
        ),
        (
            "revoked-key",
            words(&mine.to_string(), "images.revoked"),
            good.clone(),
            revoking(Revoked::Key(mine)),
        ),
        (
            "tampered-manifest",
            words("changed after it was signed", &mine.to_string()),
            changed(|bytes| {
                let at = bytes.windows(7).position(|text| text == b"\"seed\":");
                bytes[at.expect("a seed") + 8] = b'7';
            }),
            own(),
        ),
        (
            "tampered-manifest",
            words("changed after it was signed", &mine.to_string()),
            forged,
            own(),
        ),
        (
            "re-signed",
            words(&format!("the key {mine} signs it"), &format!("by {other}")),
            other_signature,
            trusting(&[&key(), &other_key()]),
        ),
        (
            "unsupported-schema",
            words("schema 2", "knows 1"),
            edited("\"schema\": 1", "\"schema\": 2"),
            own(),
        ),
        (
            "bad-manifest",
            words("unknown field `root`", "build the package again"),
            edited("\"seed\"", "\"root\": 0,\n  \"seed\""),
            own(),
        ),
        (
            "bad-manifest",
            words("duplicate field `seed`", "build the package again"),
            edited("\"seed\"", "\"seed\": 0,\n  \"seed\""),
            own(),
        ),
        (
            "bad-manifest",
            words("expected the id of what it says", "build the package again"),
            edited("\"security_version\": 1", "\"security_version\": 9"),
            own(),
        ),
        (
            "tampered-file",
            words("payload.bin was changed", "expected SHA-256"),
            changed(|bytes| {
                let at = place(&entries(&good), 2) + 512 + 60;
                bytes[at] ^= 1;
            }),
            own(),
        ),
        (
            "tampered-file",
            words("reports/timing.json was changed", "of 4 bytes"),
            repacked(|entries| entries[3].1.push(b'\n')),
            own(),
        ),
        (
            "revoked-image",
            words(&image.to_string(), "images.revoked"),
            good.clone(),
            revoking(Revoked::Image(image)),
        ),
    ]
}

#[test]
fn each_reason_has_its_own_words() {
    let mut codes = BTreeSet::new();
    let mut messages = BTreeSet::new();
    for (code, words, bytes, trust) in cases() {
        let refusal = Package::read(&bytes, &trust).expect_err(code);
        let text = refusal.to_string();
        assert_eq!(refusal.code(), code, "{text}");
        for word in words {
            assert!(text.contains(&word), "{code}: {word:?} is not in {text:?}");
        }
        println!("{code}: {text}");
        codes.insert(code);
        messages.insert(text);
    }
    let good = package(&description());
    let trust = trusting(&[&key()]);
    let image = Package::read(&good, &trust).expect("good");
    let fits = DeviceFacts::simulated();
    fits.check(image.manifest()).expect("fits");
    let device = |change: fn(&mut DeviceFacts)| {
        let mut facts = DeviceFacts::simulated();
        change(&mut facts);
        facts
    };
    for (code, words, facts) in [
        (
            "wrong-device",
            [
                "ECP5 LFE5U-85F (idcode 0x41113043)",
                "ECP5 LFE5U-45F (idcode 0x41112043)",
            ],
            DeviceFacts::of_idcode(0x4111_2043, fits.shell, ImageKind::Sim),
        ),
        (
            "wrong-device",
            ["LFE5U-85F", "Certus-NX"],
            device(|facts| facts.family = Some("Certus-NX".to_owned())),
        ),
        (
            "wrong-kind",
            ["of kind sim", "takes partial"],
            device(|facts| facts.takes = ImageKind::Partial),
        ),
        (
            "wrong-shell",
            ["0x00010000 (simulated)", "0x00020000"],
            device(|facts| facts.shell = 0x0002_0000),
        ),
        (
            "wrong-interface",
            [
                "one release of the register map",
                "00000000-0000-0000-0000-000000000007",
            ],
            device(|facts| facts.interface = uuid::Uuid::from_u128(7)),
        ),
        (
            "driver-too-old",
            ["needs driver ABI 1.0", "update faam"],
            device(|facts| facts.driver_abi = Abi { major: 0, minor: 9 }),
        ),
    ] {
        let refusal = facts.check(image.manifest()).expect_err(code);
        let text = refusal.to_string();
        assert_eq!(refusal.code(), code, "{text}");
        for word in words {
            assert!(text.contains(word), "{code}: {word:?} is not in {text:?}");
        }
        println!("{code}: {text}");
        codes.insert(code);
        messages.insert(text);
    }
    let mut floors = Floors::default();
    floors.raise(image.manifest().kernel, 1);
    image.not_older(&floors).expect("as old as the newest");
    floors.raise(image.manifest().kernel, 4);
    let refusal = image.not_older(&floors).expect_err("older");
    assert_eq!(refusal.code(), "older");
    let text = refusal.to_string();
    assert!(
        text.contains("security version 1") && text.contains("with 4"),
        "{text}"
    );
    println!("older: {text}");
    codes.insert("older");
    assert!(messages.insert(text));
    assert_eq!(
        codes,
        BTreeSet::from(ImageRefusal::CODES),
        "every reason is met"
    );
}

#[test]
fn a_driver_of_another_major_or_an_earlier_minor_is_refused() {
    let mut manifest_needs = description();
    manifest_needs.driver_abi_min = Abi { major: 1, minor: 3 };
    let bytes = package(&manifest_needs);
    let trust = trusting(&[&key()]);
    let image = Package::read(&bytes, &trust).expect("good");
    for (major, minor, fits) in [(1, 2, false), (1, 3, true), (1, 4, true), (2, 3, false)] {
        let facts = DeviceFacts {
            driver_abi: Abi { major, minor },
            ..DeviceFacts::simulated()
        };
        assert_eq!(
            facts.check(image.manifest()).is_ok(),
            fits,
            "{major}.{minor}"
        );
    }
}

#[test]
fn whoever_takes_an_image_over_signs_it_and_it_stays_that_image() {
    let good = package(&description());
    let (old, new) = (trusting(&[&key()]), trusting(&[&other_key()]));
    let taken = resign(&good, &old, &other_key()).expect("taken over");
    assert!(matches!(
        Package::read(&taken, &old),
        Err(ImageRefusal::UnknownKey { .. })
    ));
    let (before, after) = (
        Package::read(&good, &old).expect("good"),
        Package::read(&taken, &new).expect("good"),
    );
    assert_eq!(before.manifest().image, after.manifest().image);
    assert_eq!(before.payload(), after.payload());
    assert_eq!(after.manifest().target.idcode, Idcode(0x4111_3043));
    // Nobody takes over what nobody trusts.
    assert!(resign(&good, &new, &other_key()).is_err());
}

/// Every byte, one of its bits and all of them; every length. Exhaustive: a package has one encoding.
#[test]
fn no_changed_byte_and_no_shorter_package_is_accepted() {
    let good = package(&description());
    let trust = trusting(&[&key()]);
    let mut changed = good.clone();
    let mut codes = BTreeSet::new();
    for at in 0..good.len() {
        for bits in [1 << (at % 8), 0xff] {
            changed[at] ^= bits;
            let refusal = Package::read(&changed, &trust)
                .err()
                .unwrap_or_else(|| panic!("byte {at} can change unseen by {bits:#04x}"));
            codes.insert(refusal.code());
            changed[at] ^= bits;
        }
        let refusal = Package::read(&good[..at], &trust)
            .err()
            .unwrap_or_else(|| panic!("cut at {at} it is accepted"));
        codes.insert(refusal.code());
    }
    println!(
        "{} bytes, {} changes: {codes:?}",
        good.len(),
        good.len() * 3
    );
}

proptest! {
    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..2048)) {
        prop_assert!(Package::read(&bytes, &trusting(&[&key()])).is_err());
    }

    #[test]
    fn other_bytes_in_any_place_are_refused(
        at in 0_usize..1 << 16,
        bytes in proptest::collection::vec(any::<u8>(), 1..600),
    ) {
        let good = package(&description());
        let mut changed = good.clone();
        let at = at % good.len();
        for (to, from) in changed[at..].iter_mut().zip(bytes) {
            *to = from;
        }
        let read = Package::read(&changed, &trusting(&[&key()]));
        prop_assert_eq!(read.is_ok(), changed == good);
    }
}
