//! Images in `faam backup` and `faam restore`: they come back, and nobody gets behind a security version by it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use faam_gateway::images::IMAGES_MAX;
use faam_image::{Description, Ingredients, Revoked, SigningKey, build};
use faam_store::sqlite::annexed;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::faam::{Ended, Place, faam, names, run};

fn key() -> SigningKey {
    SigningKey::from_seed([7; 32]).expect("a key")
}

/// One of the project's images, of more than one piece of a backup.
fn package(name: &str, security_version: u32) -> Vec<u8> {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bitstreams/images");
    let text = fs::read_to_string(manifests.join(name).with_extension("toml"));
    let mut description = Description::from_toml(&text.expect("ours")).expect("ours");
    description.simulated_bytes = Some(1_200_000);
    description.security_version = security_version;
    build(&description, &Ingredients::default(), &key()).expect("builds")
}

fn gateway(data: TempDir, revoked: &[Revoked]) -> Place {
    Place::with_data(data, |config| {
        config.images.trusted = vec![key().public()];
        config.images.revoked = revoked.to_vec();
    })
}

#[track_caller]
fn for_data(dir: &Path, data: &Path, words: &[&str]) -> Ended {
    let mut command = faam(dir, "http://faam.example", words);
    command.env("FAAM_DATA_DIR", data);
    run(command, b"")
}

#[track_caller]
fn json_of(dir: &Path, data: &Path, words: &[&str]) -> Value {
    let ended = for_data(dir, data, &[words, &["--json"]].concat()).check(0, &[]);
    serde_json::from_slice(&ended.stdout).expect("JSON")
}

#[track_caller]
fn add(place: &Place, name: &str, security_version: u32) -> Ended {
    place.write("it.fgi", package(name, security_version));
    for_data(
        place.dir.path(),
        place.data.path(),
        &["image", "add", "it.fgi"],
    )
}

/// Name, security version and why it is refused, of each image that a gateway keeps.
fn kept(place: &Place) -> Vec<(String, u64, Value)> {
    let listed = json_of(place.dir.path(), place.data.path(), &["image", "ls"]);
    let images = listed["images"].as_array().expect("images");
    let row = |image: &Value| {
        (
            image["name"].as_str().expect("a name").to_owned(),
            image["security_version"].as_u64().expect("a number"),
            image["refused"]["code"].clone(),
        )
    };
    let mut rows: Vec<_> = images.iter().map(row).collect();
    rows.sort_by_key(|(name, version, _)| (name.clone(), *version));
    rows
}

#[test]
fn images_come_back_and_no_security_version_is_taken_back() {
    let place = gateway(tempfile::tempdir().expect("a directory"), &[]);
    for (name, version) in [("inflate", 3), ("deflate-fast", 1)] {
        add(&place, name, version).check(0, &[]);
    }
    let (dir, data) = (place.dir.path(), place.data.path());
    let made = json_of(dir, data, &["backup", "one.db"]);
    assert_eq!(made["images"], 2, "{made}");
    add(&place, "inflate", 5).check(0, &[]);
    let images = data.join("images");
    let files = names(&images);
    assert_eq!(files.len(), 3 + 1, "{files:?}");
    let (data, dir) = place.stop();
    let (dir, data_dir) = (dir.path(), data.path());
    // Without a gateway they are in it as well.
    let made = json_of(dir, data_dir, &["backup", "two.db"]);
    assert_eq!(made["images"], 3, "{made}");

    // Where they are: nothing of them changes, and what was accepted since counts on.
    let restored = json_of(dir, data_dir, &["restore", "one.db"]);
    let back = json!({
        "restored": 0, "kept": 2, "mended": [], "versions_raised": 0, "not_known": [], "differ": [], "left_out": [],
        "not_in_backup": [],
    });
    assert_eq!(restored["images"], back);
    assert_eq!(names(&images), files);
    let place = gateway(data, &[]);
    add(&place, "inflate", 4).check(1, &["one with 5 was accepted here before"]);
    drop(place.stop());

    // Where they are not: what was accepted before the backup is known.
    let fresh = tempfile::tempdir().expect("a directory");
    let said = for_data(dir, fresh.path(), &["restore", "one.db"]).check(0, &[]);
    let said = String::from_utf8(said.stdout).expect("UTF-8");
    assert!(
        said.contains(
            "images: 2 restored, 0 kept that were there; security versions: 2 raised, none lowered"
        ),
        "{said}"
    );
    let packages = names(&fresh.path().join("images"));
    assert_eq!(packages.len(), 2 + 1, "{packages:?}");
    for name in packages.iter().filter(|name| name.ends_with(".fgi")) {
        let file = fresh.path().join("images").join(name);
        let mode = fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let bytes = fs::read(&file).expect("there");
        assert!(
            [package("inflate", 3), package("deflate-fast", 1)].contains(&bytes),
            "{name}"
        );
    }
    // The store has none of it: neither the table nor its room.
    let store = fresh.path().join("faam.db");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let left = runtime.expect("a runtime").block_on(annexed(&store));
    assert_eq!(left.expect("read"), []);
    assert!(fs::metadata(&store).expect("there").len() < 1_000_000);

    let place = gateway(fresh, &[]);
    let good = |name: &str, version| (name.to_owned(), version, Value::Null);
    assert_eq!(kept(&place), [good("deflate-fast", 1), good("inflate", 3)]);
    add(&place, "inflate", 2).check(1, &["one with 3 was accepted here before"]);
    add(&place, "inflate", 3).check(0, &[]);
    let (data, _) = place.stop();
    // Whom it trusts is the configuration's: what it brought is judged anew.
    let place = gateway(data, &[Revoked::Key(key().public().id())]);
    let codes: Vec<_> = kept(&place).into_iter().map(|(_, _, code)| code).collect();
    assert_eq!(codes, ["revoked-key", "revoked-key"]);
}

#[test]
fn what_cannot_say_which_versions_were_accepted_is_not_restored_into() {
    let place = gateway(tempfile::tempdir().expect("a directory"), &[]);
    add(&place, "inflate", 3).check(0, &[]);
    let (dir, data) = (place.dir.path(), place.data.path());
    json_of(dir, data, &["backup", "one.db"]);
    let (data, dir) = place.stop();
    let (dir, data) = (dir.path(), data.path());
    let floors = data.join("images/floors.json");
    let before = fs::read(data.join("faam.db")).expect("a store");
    fs::write(&floors, "{").expect("written");
    for_data(dir, data, &["restore", "one.db"])
        .check(1, &["floors.json", "put it back from a copy"]);
    assert!(
        fs::read(data.join("faam.db")).expect("a store") == before,
        "nothing was done"
    );
    // As that says: without it the backup's count.
    fs::remove_file(&floors).expect("there");
    let restored = json_of(dir, data, &["restore", "one.db"]);
    assert_eq!(restored["images"]["versions_raised"], 1, "{restored}");
    assert!(floors.exists());
}

#[test]
fn a_package_that_cannot_be_taken_along_or_finds_no_room_is_named_and_stops_nothing() {
    let place = gateway(tempfile::tempdir().expect("a directory"), &[]);
    add(&place, "inflate", 3).check(0, &[]);
    let (dir, data) = (place.dir.path(), place.data.path());
    let images = data.join("images");
    let name = names(&images)
        .into_iter()
        .find(|name| name.ends_with(".fgi"))
        .expect("one");
    let in_backup = format!("images/{name}");
    json_of(dir, data, &["backup", "good.db"]);
    // Larger than any package: without its bytes there is a backup still, from the gateway and without one.
    let file = fs::OpenOptions::new().write(true).open(images.join(&name));
    let file = file.expect("there");
    file.set_len(1 << 30).expect("a hole");
    drop(file);
    let made = json_of(dir, data, &["backup", "less.db"]);
    assert_eq!(made["images"], 0, "{made}");
    assert_eq!(made["left_out"][0]["name"], in_backup, "{made}");
    let events = json_of(dir, data, &["events", "--kind", "store.backed-up"]);
    let detail = &events["events"].as_array().expect("events").last();
    let detail = &detail.expect("one")["detail"];
    assert_eq!(detail["left_out_names"], json!([in_backup]), "{events}");
    let (data, dir) = place.stop();
    let (dir, data) = (dir.path(), data.path());
    for_data(dir, data, &["backup", "again.db"]).check(0, &[]);

    let restored = json_of(dir, data, &["restore", "less.db"]);
    assert_eq!(restored["images"]["not_in_backup"][0]["name"], in_backup);
    // Damaged as it is, the other backup's is in its place now.
    let restored = json_of(dir, data, &["restore", "good.db"]);
    assert_eq!(restored["images"]["mended"], json!([in_backup]));
    assert!(fs::read(images.join(&name)).expect("there") == package("inflate", 3));

    // No room: the store and the versions are there, the package is named.
    let fresh = tempfile::tempdir().expect("a directory");
    let full = fresh.path().join("images");
    fs::create_dir(&full).expect("made");
    for number in 0..IMAGES_MAX {
        let other = format!("00000000-0000-0000-0000-{number:012x}.fgi");
        fs::write(full.join(other), "another").expect("written");
    }
    let restored = json_of(dir, fresh.path(), &["restore", "good.db"]);
    assert_eq!(restored["images"]["left_out"][0]["name"], in_backup);
    assert_eq!(restored["images"]["versions_raised"], 1, "{restored}");
    assert!(fresh.path().join("faam.db").exists());
    let said = for_data(dir, fresh.path(), &["restore", "good.db"]).check(0, &[]);
    let said = String::from_utf8(said.stdout).expect("UTF-8");
    let line = format!("left out: {in_backup}: {IMAGES_MAX} images with");
    assert!(said.contains(&line), "{said}");
}
