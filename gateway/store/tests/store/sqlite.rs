//! What is SQLite's own: its files, its schema's history, no room, and a process that is killed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::behaviour::{credential, tenant, usage};
use faam_store::sqlite::{MIGRATIONS, Migration, SqliteOptions};
use faam_store::{Store, StoreError, TenantRecord, UsageQuery};
use serde_json::json;
use sqlx::Connection;

/// Bytes of a write-ahead log's header, of a frame's header, and of a page (https://www.sqlite.org/fileformat2.html#walformat).
const WAL_HEADER: usize = 32;
const WAL_FRAME_HEADER: usize = 24;
const PAGE: usize = 4096;
/// Where a child that writes finds its store.
const CHILD: &str = "FAAM_STORE_TEST_CHILD";
/// Acknowledged writes before the child is killed.
const ACKNOWLEDGED: usize = 40;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

#[tokio::test]
async fn its_files_are_their_owners_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("faam.db");
    let store = Store::open(&path).await.expect("a store");
    store.put_tenant(&tenant("a")).await.expect("new");
    store.tenants().await.expect("read");
    for name in ["faam.db", "faam.db-wal", "faam.db-shm"] {
        assert_eq!(mode(&directory.path().join(name)), 0o600, "{name}");
    }
    let backup = directory.path().join("b");
    store.backup(&backup).await.expect("a backup");
    assert_eq!(mode(&backup), 0o600);
    store.close().await.expect("closed");
    let mut left: Vec<_> = fs::read_dir(&directory)
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["b", "faam.db"], "no log, and nothing half made");
}

#[tokio::test]
async fn a_transaction_is_one_commit_in_the_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("faam.db");
    let store = Store::open(&path).await.expect("a store");
    let before = commits(&path);
    let counted = store.counts();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..200 {
        let store = store.clone();
        callers.spawn(async move { store.put_tenant(&tenant(&format!("t{caller}"))).await });
    }
    for written in callers.join_all().await {
        written.expect("new");
    }
    let batches = store.counts().batches - counted.batches;
    let commits = commits(&path) - before;
    println!("200 changes, {batches} batches, {commits} commits");
    assert_eq!(u64::try_from(commits).expect("few"), batches);
    assert!(commits <= 50, "{commits}");
}

#[tokio::test]
async fn who_waits_for_anothers_lock_is_told_so_in_time_and_nothing_is_written_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("faam.db");
    let store = Store::open(&path).await.expect("a store");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let mut other = sqlx::SqliteConnection::connect_with(&options)
        .await
        .expect("another program");
    sqlx::raw_sql("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .expect("its lock");
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..20 {
        let store = store.clone();
        callers.spawn(async move { store.put_tenant(&tenant(&format!("t{caller}"))).await });
    }
    for refused in callers.join_all().await {
        assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
    }
    sqlx::raw_sql("ROLLBACK")
        .execute(&mut other)
        .await
        .expect("its end");
    store.put_tenant(&tenant("t")).await.expect("new");
    let tenants = store.tenants().await.expect("a list");
    let names: Vec<_> = tenants.iter().map(|tenant| tenant.name.as_str()).collect();
    assert_eq!(names, ["t"]);
}

/// Commits in the log of the database `path`: frames that say how many pages the database has after them.
fn commits(path: &Path) -> usize {
    let log = fs::read(path.with_extension("db-wal")).expect("a log");
    log.get(WAL_HEADER..)
        .unwrap_or_default()
        .chunks_exact(WAL_FRAME_HEADER + PAGE)
        .filter(|frame| frame[4..8] != [0; 4])
        .count()
}

#[tokio::test]
async fn a_schema_that_is_too_new_or_somebody_elses_is_refused() {
    const ADDS: Migration = Migration {
        version: 3,
        oldest: 2,
        name: "adds",
        sql: "ALTER TABLE tenant ADD COLUMN region TEXT",
    };
    const ADDS_MORE: Migration = Migration {
        version: 4,
        oldest: 3,
        name: "adds more",
        sql: "ALTER TABLE tenant ADD COLUMN zone TEXT",
    };
    const TAKES: Migration = Migration {
        version: 3,
        oldest: 3,
        name: "takes something away",
        sql: "ALTER TABLE tenant DROP COLUMN limits",
    };
    const TWO_NEWER: &[Migration] = &[MIGRATIONS[0], MIGRATIONS[1], ADDS, ADDS_MORE];
    const NOT_FOR_OLDER: &[Migration] = &[MIGRATIONS[0], MIGRATIONS[1], TAKES];
    for (schema, found) in [(TWO_NEWER, 4), (NOT_FOR_OLDER, 3)] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("faam.db");
        let options = SqliteOptions::new(&path).migrations(schema);
        let newer = Store::open_sqlite(options).await.expect("a store");
        let backup = directory.path().join("b");
        let refused = newer
            .backup(&backup)
            .await
            .expect_err("this program cannot check it");
        assert!(
            matches!(refused, StoreError::NewerSchema { .. }),
            "{refused}"
        );
        assert!(!backup.exists());
        newer.close().await.expect("closed");
        let bytes = fs::read(&path).expect("a file");
        let refused = Store::open(&path).await.expect_err("it is newer");
        assert!(
            matches!(refused, StoreError::NewerSchema { known: 2, found: f, .. } if f == found),
            "{refused}"
        );
        assert!(refused.to_string().contains("faam restore"), "{refused}");
        assert_eq!(
            fs::read(&path).expect("a file"),
            bytes,
            "it is left as it is"
        );
    }

    let directory = tempfile::tempdir().expect("a directory");
    let text = directory.path().join("text");
    fs::write(&text, "x".repeat(10_000)).expect("written");
    let refused = Store::open(&text).await.expect_err("it is a text");
    assert!(matches!(refused, StoreError::NotAStore { .. }), "{refused}");
    // Another program's database: its header is right, its tables are not ours.
    const THEIRS: &[Migration] = &[];
    let theirs = directory.path().join("theirs");
    let made = Store::open_sqlite(SqliteOptions::new(&theirs).migrations(THEIRS)).await;
    made.expect("a store without a schema")
        .close()
        .await
        .expect("closed");
    Store::open(&theirs)
        .await
        .expect("an empty one of ours gets its schema");
}

#[tokio::test]
async fn an_older_program_and_the_next_take_turns() {
    const NEXT: &[Migration] = &[
        MIGRATIONS[0],
        MIGRATIONS[1],
        Migration {
            version: 3,
            oldest: 2,
            name: "adds",
            sql: "ALTER TABLE tenant ADD COLUMN region TEXT NOT NULL DEFAULT 'here'",
        },
    ];
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("faam.db");
    for (turn, schema) in [MIGRATIONS, NEXT, MIGRATIONS, NEXT].into_iter().enumerate() {
        let options = SqliteOptions::new(&path).migrations(schema);
        let store = Store::open_sqlite(options).await.expect("either opens it");
        store
            .put_tenant(&tenant(&format!("t{turn}")))
            .await
            .expect("either writes");
        assert_eq!(store.tenants().await.expect("either reads").len(), turn + 1);
        store.close().await.expect("closed");
    }
}

/// Run by the next test in a process of its own; without its variable it is nobody's child.
#[tokio::test]
#[ignore = "it writes until it is killed: the next test runs it"]
async fn a_child_that_writes() {
    let path = std::env::var_os(CHILD).expect("the parent names a store");
    let store = Store::open(Path::new(&path)).await.expect("a store");
    for number in 0.. {
        let writes = (0..4).map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                let name = format!("t{number}-{writer}");
                store.put_tenant(&tenant(&name)).await.expect("new");
                store
                    .add_usage(number << 8 | writer, vec![usage(&name, 1, "ok", 1)])
                    .await
                    .expect("added");
                // One write to the pipe a line.
                println!("acknowledged {name}");
            })
        });
        for write in writes.collect::<Vec<_>>() {
            write.await.expect("written");
        }
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("faam.db");
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args([
            "--exact",
            "sqlite::a_child_that_writes",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD, &path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let acknowledged: Vec<String> = lines
        .map(|line| line.expect("a line"))
        .filter_map(|line| Some(line.split_once("acknowledged ")?.1.to_owned()))
        .take(ACKNOWLEDGED)
        .collect();
    assert_eq!(acknowledged.len(), ACKNOWLEDGED);
    // SIGKILL, in the middle of whatever it does.
    child.kill().expect("killed");
    child.wait().expect("ended");
    let store = Store::open(&path).await.expect("a store");
    let tenants = store.tenants().await.expect("read");
    let usage = store
        .usage(&UsageQuery::default())
        .await
        .expect("read")
        .rows;
    for name in &acknowledged {
        assert!(
            tenants.iter().any(|tenant| &tenant.name == name),
            "{name} is lost"
        );
        let counted: Vec<_> = usage.iter().filter(|row| &row.key.tenant == name).collect();
        assert_eq!(counted.len(), 1, "{name}'s usage is lost");
        assert_eq!(counted[0].sums.requests, 1);
    }
    // Every page is whole: a backup is checked.
    store
        .backup(&directory.path().join("b"))
        .await
        .expect("a backup");
}

#[tokio::test]
async fn without_room_it_is_read_and_refuses_until_there_is_room() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("faam.db");
    let options = SqliteOptions::new(&path).bytes_max(512 << 10);
    let store = Store::open_sqlite(options).await.expect("a store");
    let large = |name: String| TenantRecord {
        limits: json!("x".repeat(16 << 10)),
        ..tenant(&name)
    };
    let mut kept = Vec::new();
    let refused = loop {
        assert!(kept.len() < 100, "the bound does not hold");
        match store
            .put_tenant(&large(format!("t{:03}", kept.len())))
            .await
        {
            Ok(written) => kept.push(written),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, StoreError::Full), "{refused}");
    assert!(refused.may_pass());
    assert!(refused.to_string().contains("room"), "{refused}");
    assert_eq!(store.tenants().await.expect("it is read"), kept);
    // Beside one that does not fit, those that do are kept.
    let small = TenantRecord {
        limits: json!({}),
        ..tenant("small")
    };
    let large_one = large("u".to_owned());
    let (large_one, small_one) =
        tokio::join!(store.put_tenant(&large_one), store.put_tenant(&small));
    assert!(matches!(large_one, Err(StoreError::Full)), "{large_one:?}");
    let small_one = small_one.expect("there is room for a small one");
    // Room again.
    assert!(store.remove_tenant("t000").await.expect("removed"));
    kept.remove(0);
    kept.insert(0, small_one);
    kept.push(
        store
            .put_tenant(&large("v".to_owned()))
            .await
            .expect("there is room"),
    );
    kept.sort_by(|a, b| a.name.cmp(&b.name));
    assert_eq!(store.tenants().await.expect("it is read"), kept);
    store
        .put_credential(&credential("1", "v"))
        .await
        .expect("new");
}

#[tokio::test]
async fn a_restore_checks_first_and_keeps_what_was_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, backup) = (directory.path().join("faam.db"), directory.path().join("b"));
    let store = Store::open(&path).await.expect("a store");
    let kept = store.put_tenant(&tenant("kept")).await.expect("new");
    store.backup(&backup).await.expect("a backup");
    let later = store.put_tenant(&tenant("later")).await.expect("new");
    let refused = Store::restore(&path, &directory.path().join("c"))
        .await
        .expect_err("it is in use");
    assert!(refused.to_string().contains("faam backup"), "{refused}");
    store.close().await.expect("closed");

    let text = directory.path().join("text");
    fs::write(&text, "x".repeat(5000)).expect("written");
    let mut torn = fs::read(&backup).expect("a backup");
    // A page of the tables' own.
    torn[PAGE..PAGE + 200].fill(0xA5);
    let torn_path = directory.path().join("torn");
    fs::write(&torn_path, torn).expect("written");
    let bytes = fs::read(&path).expect("a store");
    for (from, means) in [
        (&text, "not a store"),
        (&torn_path, "damaged"),
        (&directory.path().join("nothing"), "cannot open"),
    ] {
        let refused = Store::restore(from, &path).await.expect_err("no backup");
        assert!(refused.to_string().contains(means), "{refused}");
        assert_eq!(fs::read(&path).expect("a store"), bytes, "{means}");
    }

    let restored = Store::restore(&backup, &path).await.expect("restored");
    let replaced = restored.replaced.expect("what was there");
    let store = Store::open(&path).await.expect("a store");
    assert_eq!(store.tenants().await.expect("read"), vec![kept.clone()]);
    assert_eq!(mode(&path), 0o600);
    let store = Store::open(&replaced).await.expect("what was there");
    assert_eq!(store.tenants().await.expect("read"), [kept, later]);
}

#[tokio::test]
async fn a_restore_takes_the_log_of_a_killed_writer_along() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, crashed) = (
        directory.path().join("faam.db"),
        directory.path().join("crashed.db"),
    );
    let backup = directory.path().join("b");
    let store = Store::open(&path).await.expect("a store");
    store.backup(&backup).await.expect("an empty one");
    let written = store
        .put_tenant(&tenant("only in the log"))
        .await
        .expect("new");
    // As a kill leaves them.
    fs::copy(&path, &crashed).expect("copied");
    fs::copy(
        path.with_extension("db-wal"),
        crashed.with_extension("db-wal"),
    )
    .expect("copied");
    let restored = Store::restore(&backup, &crashed).await.expect("restored");
    assert!(
        !crashed.with_extension("db-wal").exists(),
        "it would be taken for the new one's"
    );
    let now = Store::open(&crashed).await.expect("a store");
    assert_eq!(now.tenants().await.expect("read"), []);
    let replaced = Store::open(&restored.replaced.expect("what was there"))
        .await
        .expect("a store");
    assert_eq!(replaced.tenants().await.expect("read"), [written]);
    // What is no database goes aside as well.
    fs::write(&crashed, "x".repeat(5000)).expect("written");
    Store::restore(&backup, &crashed).await.expect("restored");
}
