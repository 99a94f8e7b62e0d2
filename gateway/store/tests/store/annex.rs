//! Files that travel in a backup: whole, bounded, and nowhere but in the backup.

use std::fs;

use faam_store::sqlite::{ANNEX_FILES_MAX, AnnexFile, Restoring, annexed, left_out};
use faam_store::{Store, StoreError};

/// More than two pieces.
const LARGE_BYTES: usize = (2 << 20) + 17;

fn large() -> Vec<u8> {
    (0..LARGE_BYTES).map(|n| n.to_le_bytes()[n % 3]).collect()
}

#[tokio::test]
async fn files_go_into_a_backup_and_come_out_as_they_were() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    let file = |name: &str, bytes_max: u64| AnnexFile {
        name: format!("of/{name}"),
        path: at(name),
        bytes_max,
        needed: true,
    };
    fs::write(at("large"), large()).expect("written");
    fs::write(at("empty"), "").expect("written");
    let exactly = u64::try_from(LARGE_BYTES).expect("small");
    let store = Store::open(&at("faam.db")).await.expect("a store");
    let files = [file("large", exactly), file("gone", 9), file("empty", 0)];
    let copied = store.backup_with(&at("b"), &files).await;
    copied.expect("a backup");
    let listed = annexed(&at("b")).await.expect("listed");
    let listed: Vec<_> = listed
        .iter()
        .map(|it| (it.name.as_str(), it.bytes))
        .collect();
    assert_eq!(listed, [("of/empty", 0), ("of/large", exactly)]);

    // One byte beyond its bound, or one file: nothing is there.
    let many = vec![file("empty", 0); ANNEX_FILES_MAX + 1];
    for (files, says) in [
        (&[file("large", exactly - 1)][..], "more than"),
        (&many[..], "at most"),
    ] {
        let refused = store
            .backup_with(&at("c"), files)
            .await
            .expect_err("too much");
        assert!(refused.to_string().contains(says), "{refused}");
        assert!(!at("c").exists());
    }
    store.close().await.expect("closed");

    let restoring = Restoring::new(&at("b"), &at("new.db")).await.expect("good");
    for entry in restoring.annex().await.expect("listed") {
        let mut bytes = Vec::new();
        restoring.annexed(&entry, &mut bytes).await.expect("read");
        let expected = if entry.bytes == 0 {
            Vec::new()
        } else {
            large()
        };
        assert!(bytes == expected, "{}", entry.name);
    }
    restoring.keep().await.expect("kept");
    assert_eq!(annexed(&at("new.db")).await.expect("read"), []);
    let bytes = fs::metadata(at("new.db")).expect("there").len();
    assert!(bytes < exactly / 2, "{bytes}");
    let restored = Store::open(&at("new.db")).await.expect("a store");
    // And into the next backup goes what is given then.
    restored
        .backup_with(&at("d"), &[file("empty", 0)])
        .await
        .expect("a backup");
    assert_eq!(annexed(&at("d")).await.expect("listed").len(), 1);
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out_by_name_unless_it_is_needed() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::write(at("good"), "good").expect("written");
    fs::write(at("large"), large()).expect("written");
    fs::create_dir(at("place")).expect("made");
    let file = |name: &str, bytes_max: u64, needed: bool| AnnexFile {
        name: format!("of/{name}"),
        path: at(name),
        bytes_max,
        needed,
    };
    let store = Store::open(&at("faam.db")).await.expect("a store");
    let files = [
        file("large", 100, false),
        file("place", u64::MAX, false),
        file("good", 4, true),
    ];
    let copied = store.backup_with(&at("b"), &files).await;
    copied.expect("a backup");
    let restoring = Restoring::new(&at("b"), &at("new.db")).await.expect("good");
    let listed = restoring.annex().await.expect("listed");
    let names: Vec<_> = listed.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["of/good"]);
    let without = restoring.left_out().await.expect("listed");
    assert_eq!(left_out(&at("b")).await.expect("listed"), without);
    let said: Vec<_> = without
        .iter()
        .map(|it| (it.name.as_str(), it.why.contains("more than 100 bytes")))
        .collect();
    assert_eq!(said, [("of/large", true), ("of/place", false)]);
    assert!(without[1].why.contains("cannot read"), "{without:?}");
    restoring.keep().await.expect("kept");
    assert_eq!(left_out(&at("new.db")).await.expect("read"), []);
    let files = [file("place", u64::MAX, true)];
    let refused = store.backup_with(&at("c"), &files).await;
    refused.expect_err("needed");
    assert!(!at("c").exists());
}

#[tokio::test]
async fn a_piece_that_is_missing_or_longer_is_damage() {
    use sqlx::{ConnectOptions, Connection};

    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name);
    fs::write(at("large"), large()).expect("written");
    let store = Store::open(&at("faam.db")).await.expect("a store");
    let files = [AnnexFile {
        name: "large".to_owned(),
        path: at("large"),
        bytes_max: u64::MAX,
        needed: true,
    }];
    for (number, change) in [
        "UPDATE faam_annex SET piece = 7 WHERE piece = 1",
        "UPDATE faam_annex SET bytes = zeroblob(3000000) WHERE piece = 1",
        "UPDATE faam_annex SET bytes = x'' WHERE piece = 0",
    ]
    .into_iter()
    .enumerate()
    {
        let backup = at(&format!("b{number}"));
        store.backup_with(&backup, &files).await.expect("a backup");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&backup);
        let mut connection = options.connect().await.expect("opens");
        sqlx::query(change)
            .execute(&mut connection)
            .await
            .expect("changed");
        connection.close().await.expect("closed");
        let restoring = Restoring::new(&backup, &at("new.db"))
            .await
            .expect("its pages are good");
        let entries = restoring.annex().await.expect("listed");
        let mut bytes = Vec::new();
        let error = restoring.annexed(&entries[0], &mut bytes).await;
        let error = error.expect_err("not as it was written");
        assert!(
            matches!(error, StoreError::Corrupt { .. }),
            "{change}: {error}"
        );
    }
}
