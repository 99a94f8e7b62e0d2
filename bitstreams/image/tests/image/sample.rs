//! A small package, its parts, and what others make of them.

use ring::signature::Ed25519KeyPair;

use faam_image::{
    Description, Ingredients, Package, SigningKey, Trust, build, intact_image, resign,
};

const SEED: [u8; 32] = [1; 32];
const OTHER_SEED: [u8; 32] = [2; 32];

/// The key that the tests trust.
pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(SEED).expect("a key")
}

/// A key that nobody trusts but who says so.
pub(crate) fn other_key() -> SigningKey {
    SigningKey::from_seed(OTHER_SEED).expect("a key")
}

/// Whoever trusts these.
pub(crate) fn trusting(keys: &[&SigningKey]) -> Trust {
    let mut trust = Trust::default();
    keys.iter().for_each(|key| trust.add(key.public()));
    trust
}

/// `deflate-fast`, of a very small region.
pub(crate) fn description() -> Description {
    let text = include_str!("../../../images/deflate-fast.toml");
    let mut description = Description::from_toml(text).expect("ours");
    description.simulated_bytes = Some(64);
    description
}

/// With a report beside it.
pub(crate) fn package(description: &Description) -> Vec<u8> {
    let ingredients = Ingredients {
        reports: vec![("timing.json".to_owned(), b"{}\n".to_vec())],
        ..Ingredients::default()
    };
    build(description, &ingredients, &key()).expect("builds")
}

/// An archive's entries: names and bytes.
pub(crate) type Entries = Vec<(String, Vec<u8>)>;

/// The entries of a package, as they stand there.
pub(crate) fn entries(package: &[u8]) -> Entries {
    let mut entries = Vec::new();
    let mut rest = package;
    while rest[0] != 0 {
        let name = rest[..100].split(|byte| *byte == 0).next().expect("a name");
        let name = String::from_utf8(name.to_vec()).expect("text");
        let size = std::str::from_utf8(&rest[124..135]).expect("digits");
        let size = usize::from_str_radix(size, 8).expect("octal");
        entries.push((name, rest[512..512 + size].to_vec()));
        rest = &rest[512 + size.div_ceil(512) * 512..];
    }
    entries
}

/// A header of ours: name, size, and what kind of entry it is.
pub(crate) fn header(name: &str, size: usize, kind: u8) -> Vec<u8> {
    let mut block = vec![0; 512];
    let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
    put(0, name.as_bytes());
    put(100, b"0000644\x000000000\x000000000\0");
    put(124, format!("{size:011o}\x0000000000000\0").as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// An archive of these.
pub(crate) fn archive(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, data) in entries {
        bytes.extend(header(name, data.len(), b'0'));
        bytes.extend(data);
        bytes.resize(bytes.len().div_ceil(512) * 512, 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Where an entry's header is.
pub(crate) fn place(entries: &[(String, Vec<u8>)], index: usize) -> usize {
    let before = entries[..index].iter();
    before
        .map(|(_, data)| 512 + data.len().div_ceil(512) * 512)
        .sum()
}

/// An archive of these, the manifest signed by `key` as somebody else's program would do it.
pub(crate) fn signed(mut entries: Entries, key: &SigningKey) -> Vec<u8> {
    let is_first = key.public() == self::key().public();
    let seed = if is_first { SEED } else { OTHER_SEED };
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed");
    let message = [b"faam-image-manifest-v1\0".as_slice(), &entries[0].1].concat();
    let signature = pair.sign(&message);
    let digits = signature.as_ref().iter().map(|byte| format!("{byte:02x}"));
    let digits: String = digits.collect();
    let line = format!("faam-image-signature {} {digits}\n", key.public().id());
    entries[1].1 = line.into_bytes();
    archive(&entries)
}

#[test]
fn a_changed_byte_is_damage_but_for_the_signature_itself() {
    let built = package(&description());
    let trust = trusting(&[&key()]);
    let image = Package::read(&built, &trust).expect("good");
    let image = image.manifest().image;
    assert_eq!(intact_image(&built).expect("whole"), image);
    let again = resign(&built, &trust, &other_key()).expect("signs");
    assert_eq!(intact_image(&again).expect("another's signature"), image);
    let listed = entries(&built);
    let digits = place(&listed, 1) + 512 + listed[1].1.len() - 129;
    let mut changed = built;
    for at in (0..changed.len()).step_by(11) {
        if (digits..digits + 128).contains(&at) {
            continue;
        }
        changed[at] ^= 1;
        assert!(intact_image(&changed).is_err(), "byte {at}");
        changed[at] ^= 1;
    }
    changed.pop();
    assert!(intact_image(&changed).is_err());
}

#[test]
fn it_is_accepted_and_this_file_packs_as_the_builder_does() {
    let built = package(&description());
    assert_eq!(archive(&entries(&built)), built);
    let trust = trusting(&[&key()]);
    let read = Package::read(&built, &trust).expect("good");
    assert_eq!(read.manifest().name, "deflate-fast");
    let names: Vec<_> = read.files().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["payload.bin", "reports/timing.json"]);
    // By this file's hand, too.
    assert_eq!(signed(entries(&built), &key()), built);
}
