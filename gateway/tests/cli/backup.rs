//! `faam backup` and `faam restore`: with a gateway and without one, and what is refused.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use faam_store::{EVENTS_A_CHANGE_MAX, EventRecord, Millis, Store, TenantRecord};
use serde_json::{Value, json};

use crate::faam::{Ended, Place, SOON, faam, names, run};

fn tenant(name: &str) -> TenantRecord {
    TenantRecord {
        name: name.to_owned(),
        namespaces: Vec::new(),
        limits: json!({}),
        revision: 0,
        created: Millis(1),
        changed: Millis(1),
    }
}

/// `faam` with these words, for the data directory `data`, in `dir`.
#[track_caller]
fn for_data(dir: &Path, data: &Path, words: &[&str]) -> Ended {
    let mut command = faam(dir, "http://faam.example", words);
    command.env("FAAM_DATA_DIR", data);
    run(command, b"")
}

/// Tenants in a store that nobody else has open, but for the one that a gateway makes itself.
fn tenants(path: &Path) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(path).await.expect("a store");
        let tenants = store.tenants().await.expect("read");
        store.close().await.expect("closed");
        let names = tenants.into_iter().map(|tenant| tenant.name);
        names.filter(|name| name != "demo").collect()
    })
}

/// Writes tenants into a store that nobody else has open.
fn write(path: &Path, names: &[&str]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(path).await.expect("a store");
        for name in names {
            store.put_tenant(&tenant(name)).await.expect("new");
        }
        store.close().await.expect("closed");
    });
}

#[test]
fn a_gateway_is_backed_up_while_it_serves_and_restored_when_it_does_not() {
    let data = tempfile::tempdir().expect("a directory");
    write(&data.path().join("faam.db"), &["a", "b"]);
    let place = Place::with_data(data, |_| {});
    let (dir, data) = (place.dir.path(), place.data.path());
    let ended = for_data(dir, data, &["backup", "one.db"])
        .check(0, &[])
        .silent();
    let said = String::from_utf8(ended.stdout).expect("UTF-8");
    assert!(said.contains("checked; from the running gateway"), "{said}");
    assert_eq!(names(dir), ["one.db"], "and nothing half made");
    let mode = fs::metadata(dir.join("one.db"))
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let left = names(data)
        .into_iter()
        .filter(|name| name.starts_with(".tmp"))
        .count();
    assert_eq!(left, 0, "the gateway keeps nothing of it");

    let events = for_data(dir, data, &["events", "--kind", "store", "--json"]).check(0, &[]);
    let events: Value = serde_json::from_slice(&events.stdout).expect("JSON");
    assert_eq!(events["events"][0]["kind"], "store.backed-up");
    for_data(dir, data, &["backup", "one.db"]).check(1, &["one.db exists", "--force"]);
    let ended = for_data(dir, data, &["backup", "--force", "one.db", "--json"])
        .check(0, &[])
        .silent();
    let answer: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(answer["from"], "running gateway");
    assert_eq!(
        answer["bytes"],
        fs::metadata(dir.join("one.db")).expect("a file").len()
    );
    assert_eq!(names(dir), ["one.db"]);
    for_data(dir, data, &["backup", "nowhere/one.db"]).check(1, &["nowhere"]);
    for_data(dir, data, &["restore", "one.db"]).check(1, &["in use by another gateway", "stop it"]);

    let Place {
        gateway, data, dir, ..
    } = place;
    gateway.stop();
    let store = data.path().join("faam.db");
    write(&store, &["later"]);
    let ended = for_data(dir.path(), data.path(), &["restore", "one.db", "--json"])
        .check(0, &[])
        .silent();
    let answer: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    let replaced = answer["replaced"].as_str().expect("what was there");
    assert_eq!(tenants(&store), ["a", "b"]);
    assert_eq!(tenants(Path::new(replaced)), ["a", "b", "later"]);
}

#[test]
fn without_a_gateway_the_data_directory_is_enough() {
    let (data, dir) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let (data, dir) = (data.path(), dir.path());
    for_data(dir, data, &["backup", "one.db"])
        .check(1, &["no gateway answers", "no store", "--data-dir"]);
    assert_eq!(names(data), [] as [&str; 0], "it makes no store");
    assert_eq!(names(dir), [] as [&str; 0]);
    let store = data.join("faam.db");
    write(&store, &["a"]);
    let ended = for_data(dir, data, &["backup", "one.db"])
        .check(0, &[])
        .silent();
    let said = String::from_utf8(ended.stdout).expect("UTF-8");
    assert!(said.contains("from the data directory"), "{said}");

    // Into a new directory nothing is replaced.
    let fresh = dir.join("fresh");
    let ended = for_data(dir, &fresh, &["restore", "one.db"])
        .check(0, &[])
        .silent();
    let said = String::from_utf8(ended.stdout).expect("UTF-8");
    assert!(!said.contains("what was there"), "{said}");
    assert_eq!(tenants(&fresh.join("faam.db")), ["a"]);
}

#[test]
fn what_is_no_backup_changes_nothing() {
    let (data, dir) = (
        tempfile::tempdir().expect("a directory"),
        tempfile::tempdir().expect("a directory"),
    );
    let (data, dir) = (data.path(), dir.path());
    let store = data.join("faam.db");
    write(&store, &["a"]);
    for_data(dir, data, &["backup", "one.db"]).check(0, &[]);
    let whole = fs::read(dir.join("one.db")).expect("a backup");
    let mut changed = whole.clone();
    changed[4096..4296].fill(0x5A);
    for (name, bytes, says) in [
        (
            "text",
            b"some text, longer than a header".repeat(100),
            "not a store",
        ),
        ("torn", whole[..whole.len() / 2].to_vec(), "damaged"),
        ("changed", changed, "damaged"),
    ] {
        fs::write(dir.join(name), bytes).expect("written");
        for_data(dir, data, &["restore", name]).check(1, &[name, says]);
        assert_eq!(tenants(&store), ["a"], "{name}");
    }
    for_data(dir, data, &["restore", "missing"]).check(1, &["missing"]);
}

#[test]
fn while_one_copy_is_sent_no_other_is_made() {
    // More than the kernel keeps for whoever does not read.
    const EVENTS: usize = 12 * 1024;
    let data = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let store = Store::open(&data.path().join("faam.db")).await;
        let store = store.expect("a store");
        let event = EventRecord {
            at: Millis(1),
            kind: "x".to_owned(),
            actor: "operator".to_owned(),
            tenant: None,
            subject: String::new(),
            detail: json!({ "x": "y".repeat(2000) }),
        };
        for batch in 0..EVENTS / EVENTS_A_CHANGE_MAX {
            let events = vec![event.clone(); EVENTS_A_CHANGE_MAX];
            let id = u128::try_from(batch).expect("small");
            store.append_events(id, events).await.expect("kept");
        }
        store.close().await.expect("closed");
    });
    let place = Place::with_data(data, |_| {});
    let (dir, data) = (place.dir.path(), place.data.path());
    // It reads the head of its answer, and no more.
    let mut taker = UnixStream::connect(data.join("admin.sock")).expect("it listens");
    taker.set_read_timeout(Some(SOON)).expect("set");
    taker
        .write_all(b"GET /admin/v1/backup HTTP/1.1\r\nHost: faam\r\n\r\n")
        .expect("sent");
    let mut status = [0; 12];
    taker.read_exact(&mut status).expect("a head");
    assert_eq!(&status, b"HTTP/1.1 200");
    for_data(dir, data, &["backup", "two.db"]).check(1, &["made or sent already", "ask again"]);
    assert_eq!(names(dir), [""; 0]);
    drop(taker);
    // Its end is noticed some time.
    let until = Instant::now() + SOON;
    while for_data(dir, data, &["backup", "two.db"]).code != Some(0) {
        assert!(Instant::now() < until, "the next one is never made");
    }
    assert_eq!(names(dir), ["two.db"]);
}

#[test]
fn who_has_had_one_whole_is_given_the_next_at_once() {
    const TIMES: u32 = 64;
    let place = Place::new();
    for time in 0..TIMES {
        let mut taker =
            UnixStream::connect(place.data.path().join("admin.sock")).expect("it listens");
        taker.set_read_timeout(Some(SOON)).expect("set");
        taker
            .write_all(b"GET /admin/v1/backup HTTP/1.1\r\nHost: faam\r\nConnection: close\r\n\r\n")
            .expect("sent");
        let mut answer = Vec::new();
        taker.read_to_end(&mut answer).expect("an answer");
        let status = answer.get(..12).unwrap_or_default();
        assert_eq!(status, b"HTTP/1.1 200", "time {time}");
    }
}
