//! What is built: the same each time, by what was given, and nothing that would be refused.

use faam_image::{BuildError, Description, ImageKind, Ingredients, Package, build, kernel_uuid};

use crate::sample::{description, key, package, trusting};

#[test]
fn the_same_inputs_give_the_same_bytes_in_whatever_order() {
    let report = |name: &str| (name.to_owned(), name.as_bytes().to_vec());
    let ingredients = |reports| Ingredients {
        bitstream: Some(vec![5; 700]),
        reports,
        sources: vec![report("b.sv"), report("a.sv")],
    };
    let one = build(
        &description(),
        &ingredients(vec![report("area.json"), report("timing.json")]),
        &key(),
    );
    let other = build(
        &description(),
        &ingredients(vec![report("timing.json"), report("area.json")]),
        &key(),
    );
    assert_eq!(one, other);
    let bytes = one.expect("builds");
    let trust = trusting(&[&key()]);
    let image = Package::read(&bytes, &trust).expect("good");
    let mut sources = ingredients(Vec::new());
    sources.sources.pop();
    let changed = build(&description(), &sources, &key()).expect("builds");
    let changed = Package::read(&changed, &trust).expect("good");
    assert_ne!(
        image.manifest().source_sha256,
        changed.manifest().source_sha256
    );
    assert_ne!(image.manifest().image, changed.manifest().image);
    assert_eq!(image.manifest().kernel, kernel_uuid("deflate-fast"));
}

#[test]
fn what_would_be_refused_is_not_built() {
    let refused = |change: fn(&mut Description), word: &str| {
        let mut description = description();
        change(&mut description);
        let error = build(&description, &Ingredients::default(), &key()).expect_err(word);
        let text = match &error {
            BuildError::Refused(refusal) => refusal.to_string(),
            other => other.to_string(),
        };
        assert!(text.contains(word), "{word}: {text}");
    };
    refused(|it| it.name = "Deflate".to_owned(), "name is \"Deflate\"");
    refused(|it| it.engines = 0, "engines is 0");
    refused(|it| it.serves.clear(), "serves");
    refused(
        |it| it.golden.output_sha256 = "00".to_owned(),
        "golden.output_sha256",
    );
    refused(|it| it.golden.input = "0".to_owned(), "golden.input");
    refused(|it| it.golden.ways = None, "golden.ways");
    refused(|it| it.notes = vec![String::new()], "notes");
    refused(|it| it.version = "1\n2".to_owned(), "version");
    refused(|it| it.simulated_bytes = None, "--bitstream");
    refused(|it| it.kind = ImageKind::Full, "--bitstream");
    let twice = Ingredients {
        reports: vec![("a".to_owned(), vec![]), ("a".to_owned(), vec![1])],
        ..Ingredients::default()
    };
    let error = build(&description(), &twice, &key()).expect_err("twice");
    assert!(error.to_string().contains("reports/a"), "{error}");
}

#[test]
fn a_description_says_where_it_is_wrong() {
    let text = include_str!("../../../images/inflate.toml");
    for (from, to, words) in [
        (
            "engines = 1",
            "engine = 1",
            ["unknown field `engine`", "line"],
        ),
        ("\"sim\"", "\"bit\"", ["full", "line"]),
        ("\"0x41113043\"", "\"41113043\"", ["0x41113043", "line"]),
        ("\"1.0\"", "\"1\"", ["ABI", "line"]),
    ] {
        assert!(text.contains(from), "{from}");
        let error = Description::from_toml(&text.replacen(from, to, 1)).expect_err(to);
        for word in words {
            assert!(error.contains(word), "{to}: {error}");
        }
    }
    assert!(Description::from_toml(&"#".repeat(1 << 17)).is_err());
}

#[test]
fn tar_lists_it_as_others_pack() {
    let directory = std::env::temp_dir().join(format!("faam-image-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let path = directory.join("x.fgi");
    std::fs::write(&path, package(&description())).expect("written");
    let listed = std::process::Command::new("tar")
        .arg("--list")
        .arg("--file")
        .arg(&path)
        .output()
        .expect("tar, which every Debian has");
    std::fs::remove_dir_all(&directory).expect("removed");
    assert!(listed.status.success(), "{listed:?}");
    let names = String::from_utf8(listed.stdout).expect("text");
    assert_eq!(
        names,
        "manifest.json\nmanifest.sig\npayload.bin\nreports/timing.json\n"
    );
}
