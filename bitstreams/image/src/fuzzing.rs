//! A door for fuzzing: arbitrary bytes to a panic if an invariant does not hold.
//!
//! Owns what the target of `bitstreams/image/fuzz` holds this crate to. Most bytes would end at the signature: so some of them are
//! signed here, by a key that only this file trusts, as a manifest, as part of one, or as files behind a good one. Compiled for
//! tests, which replay the committed corpus, and for fuzzing; no build that is used has it.

use std::sync::OnceLock;

use crate::archive::{append, finish};
use crate::builder::{Ingredients, assemble, build};
use crate::description::Description;
use crate::device::DeviceFacts;
use crate::key::{PublicKey, SigningKey};
use crate::package::{Package, intact_image};
use crate::payload::SlotPayload;
use crate::refusal::ImageRefusal;
use crate::trust::{Floors, Revoked, Trust};

/// Bytes that stand for the sample's frames.
const FRAMES_BYTES: u32 = 40;

struct Sample {
    key: SigningKey,
    trust: Trust,
    package: Vec<u8>,
    manifest: String,
    payload: Vec<u8>,
}

fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let text = include_str!("../../images/deflate-fast.toml");
        let mut description = Description::from_toml(text).expect("ours");
        description.simulated_bytes = Some(FRAMES_BYTES);
        let key = SigningKey::from_seed([3; 32]).expect("a key");
        let mut trust = Trust::default();
        trust.add(key.public());
        let package = build(&description, &Ingredients::default(), &key).expect("builds");
        let read = Package::read(&package, &trust).expect("ours");
        let manifest = read.manifest().encode().expect("encodes");
        let payload = read.payload().to_vec();
        let manifest = String::from_utf8(manifest).expect("text");
        Sample {
            key,
            trust,
            package,
            manifest,
            payload,
        }
    })
}

/// Reads packages, descriptions, payloads and lines of configurations.
///
/// # Panics
/// An invariant does not hold.
pub fn packages(bytes: &[u8]) {
    let Some((way, bytes)) = bytes.split_first() else {
        return;
    };
    match way % 8 {
        0 => read(bytes),
        1 => signed_manifest(bytes),
        2 => changed_package(bytes),
        3 => other_files(bytes),
        4 => changed_manifest(bytes),
        5 => description(bytes),
        6 => payload(bytes),
        _ => lines(bytes),
    }
}

/// What is accepted has the one encoding, and what can be asked of it ends.
fn read(bytes: &[u8]) {
    let Sample { key, trust, .. } = sample();
    let intact = intact_image(bytes);
    if let Err(damage) = &intact {
        told(damage);
    }
    match Package::read(bytes, trust) {
        Ok(package) => {
            assert_eq!(intact.ok(), Some(package.manifest().image));
            let manifest = package.manifest().encode().expect("encodes");
            let files: Vec<_> = package.files().collect();
            let again = assemble(&manifest, &files, key).expect("signs");
            assert!(again == bytes, "a package has two encodings");
            let mut floors = Floors::default();
            floors.raise(package.manifest().kernel, 1);
            let _ = package.not_older(&floors);
            let _ = DeviceFacts::simulated().check(package.manifest());
        }
        Err(refusal) => told(&refusal),
    }
}

/// A refusal is words of bounded length, without control characters.
fn told(refusal: &ImageRefusal) {
    let text = refusal.to_string();
    assert!(text.len() < 4096, "{text}");
    assert!(!refusal.code().is_empty());
}

/// As if somebody trusted had signed anything.
fn signed_manifest(bytes: &[u8]) {
    let Sample { key, payload, .. } = sample();
    let package = assemble(bytes, &[("payload.bin", payload)], key).expect("signs");
    read(&package);
}

/// Another byte, other bytes in the place of some, or an end: refused, unless it is the same.
fn changed_package(edits: &[u8]) {
    let Sample { trust, package, .. } = sample();
    let mut changed = package.clone();
    for edit in edits.chunks(4).take(8) {
        let [place, kind @ ..] = edit else { break };
        let low = kind.first().copied().unwrap_or_default();
        let at = usize::from(u16::from_be_bytes([*place, low])) % package.len();
        let value = kind.get(2).copied().unwrap_or_default();
        match kind.get(1).copied().unwrap_or_default() % 4 {
            0 => changed.truncate(at),
            1 => changed.insert(at.min(changed.len()), value),
            2 => changed.extend_from_slice(&vec![0; usize::from(value)]),
            _ => {
                if let Some(byte) = changed.get_mut(at) {
                    *byte ^= value;
                }
            }
        }
    }
    match Package::read(&changed, trust) {
        Ok(_) => assert!(changed == *package, "a changed package is accepted"),
        Err(refusal) => {
            assert!(changed != *package, "the sample is refused: {refusal}");
            told(&refusal);
        }
    }
}

/// Files behind the sample's signed manifest: `length, name, length, bytes` each.
fn other_files(mut bytes: &[u8]) {
    let Sample {
        key,
        manifest,
        payload,
        ..
    } = sample();
    let mut archive = assemble(manifest.as_bytes(), &[], key).expect("signs");
    archive.truncate(archive.len() - 1024);
    let mut part = || {
        let (length, rest) = bytes.split_first()?;
        let (part, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        bytes = rest;
        Some(part)
    };
    for _ in 0..20 {
        let Some(name) = part() else { break };
        // The sample's own is more than one would come upon.
        let (name, data) = match name {
            b"=" => ("payload.bin", payload.as_slice()),
            name => {
                let name = std::str::from_utf8(name).unwrap_or("x");
                (name, part().unwrap_or_default())
            }
        };
        append(&mut archive, name, data);
    }
    finish(&mut archive);
    read(&archive);
}

/// The sample's manifest with bytes of the input in the place of some of its own, signed.
fn changed_manifest(bytes: &[u8]) {
    let Sample { manifest, .. } = sample();
    let Some((place, rest)) = bytes.split_first_chunk::<3>() else {
        return;
    };
    let [high, low, length] = *place;
    let at = usize::from(u16::from_be_bytes([high, low])) % manifest.len();
    let mut changed = manifest.as_bytes().to_vec();
    let end = changed.len().min(at + usize::from(length));
    changed.splice(at..end, rest.iter().copied());
    signed_manifest(&changed);
}

/// What can be described can be built, or says why not; what is built is accepted and is the same once more.
fn description(bytes: &[u8]) {
    let Sample { key, trust, .. } = sample();
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(mut description) = Description::from_toml(text) else {
        return;
    };
    description.simulated_bytes = description.simulated_bytes.map(|_| FRAMES_BYTES);
    let ingredients = Ingredients {
        bitstream: Some(vec![1; 20]),
        ..Ingredients::default()
    };
    if let Ok(package) = build(&description, &ingredients, key) {
        assert!(Package::read(&package, trust).is_ok(), "built and refused");
        let again = build(&description, &ingredients, key);
        assert!(again.is_ok_and(|again| again == package), "built otherwise");
    }
}

fn payload(bytes: &[u8]) {
    if let Ok(payload) = SlotPayload::parse(bytes) {
        let again = payload.encode().expect("short");
        assert!(again == bytes, "a payload has two encodings");
    }
}

fn lines(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for line in text.lines().take(64) {
        if let Ok(key) = line.parse::<PublicKey>() {
            assert!(key.to_string().parse() == Ok(key), "a key reads otherwise");
        }
        if let Ok(what) = line.parse::<Revoked>() {
            assert!(what.to_string().parse() == Ok(what), "it reads otherwise");
        }
        let _ = SigningKey::from_private_line(line);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn every_package_of_the_corpus_is_read_or_refused() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/packages");
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus).expect("part of the sources") {
            let path = entry.expect("readable").path();
            // The input's name, should it panic.
            println!("{}", path.display());
            super::packages(&std::fs::read(&path).expect("readable"));
            inputs += 1;
        }
        assert!(inputs >= 20, "the corpus has {inputs}");
    }
}
