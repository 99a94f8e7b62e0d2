//! Files that travel in a backup beside the store's own tables.
//!
//! Owns the table `faam_annex`, which is in backups alone: a restored store has none of it. Invariants: number, names and bytes are
//! bounded; files are kept in pieces, so that one piece at a time is in memory; what is read back is as long as it was announced.
//! It does not know what is in them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, SqliteConnection};

use super::{SqliteOptions, failure};
use crate::error::StoreError;

/// Files that one backup holds at most.
pub const ANNEX_FILES_MAX: usize = 1024;
/// Bytes of a name.
pub const ANNEX_NAME_BYTES_MAX: usize = 256;
/// Bytes that are in memory at once.
const PIECE_BYTES: u32 = 1 << 20;

/// A file to take along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnexFile {
    /// What it is called in the backup.
    pub name: String,
    /// Where it is. One that is not there any more is left out.
    pub path: PathBuf,
    /// The most that is taken of it.
    pub bytes_max: u64,
}

/// A file in a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnexEntry {
    /// What it is called.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// Puts files into the copy `path`, which nobody else uses; messages call it `name`.
pub(super) async fn put(path: &Path, name: &Path, files: &[AnnexFile]) -> Result<(), StoreError> {
    if files.len() > ANNEX_FILES_MAX {
        return Err(StoreError::Constraint {
            rule: format!(
                "a backup takes {ANNEX_FILES_MAX} files along at most, not {}",
                files.len()
            ),
        });
    }
    let mut connection = writable(path, name).await?;
    let written = write(&mut connection, name, files).await;
    let closed = connection.close().await;
    written?;
    closed.map_err(|error| failure::classify(error, name))
}

async fn write(
    connection: &mut SqliteConnection,
    name: &Path,
    files: &[AnnexFile],
) -> Result<(), StoreError> {
    for sql in [
        "BEGIN",
        // A program that knows none of this may have restored it together with the store.
        "DROP TABLE IF EXISTS faam_annex",
        "CREATE TABLE faam_annex (name TEXT NOT NULL, piece INTEGER NOT NULL, bytes BLOB NOT NULL, \
         PRIMARY KEY (name, piece)) STRICT",
    ] {
        failure::command(connection, sql, name).await?;
    }
    for file in files {
        put_one(connection, name, file).await?;
    }
    failure::command(connection, "COMMIT", name).await
}

async fn put_one(
    connection: &mut SqliteConnection,
    name: &Path,
    file: &AnnexFile,
) -> Result<(), StoreError> {
    let broken = |doing| move |error| StoreError::io(doing, &file.path, error);
    let mut source = match File::open(&file.path) {
        Ok(source) => source,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(broken("open")(error)),
    };
    let (mut left, mut number) = (file.bytes_max, 0_i64);
    loop {
        let mut piece = Vec::new();
        let mut part = Read::take(&mut source, u64::from(PIECE_BYTES));
        part.read_to_end(&mut piece).map_err(broken("read"))?;
        // One without bytes has a piece as well.
        if piece.is_empty() && number > 0 {
            return Ok(());
        }
        left = left.checked_sub(piece.len() as u64).ok_or_else(|| {
            let rule = format!(
                "{} has more than {} bytes, which is the most that a backup takes along of it",
                file.path.display(),
                file.bytes_max
            );
            StoreError::Constraint { rule }
        })?;
        sqlx::query("INSERT INTO faam_annex (name, piece, bytes) VALUES (?, ?, ?)")
            .bind(&file.name)
            .bind(number)
            .bind(piece)
            .execute(&mut *connection)
            .await
            .map_err(|error| failure::classify(error, name))?;
        number += 1;
    }
}

/// The files in the backup `path`, by name; none where it was made without any. Messages call it `name`.
pub(super) async fn list(path: &Path, name: &Path) -> Result<Vec<AnnexEntry>, StoreError> {
    let said = |error| failure::classify(error, name);
    let mut connection = readable(path, name).await?;
    let listed = async {
        if !is_there(&mut connection, name).await? {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(
            "SELECT name, sum(length(bytes)) FROM faam_annex WHERE length(name) <= ? GROUP BY name ORDER BY name LIMIT ?",
        )
        .bind(bound(ANNEX_NAME_BYTES_MAX))
        .bind(bound(ANNEX_FILES_MAX + 1))
        .fetch_all(&mut connection)
        .await
        .map_err(said)?;
        if rows.len() > ANNEX_FILES_MAX {
            return Err(damaged(
                name,
                format!("it has more than {ANNEX_FILES_MAX} files beside the store"),
            ));
        }
        let entry = |row: sqlx::sqlite::SqliteRow| {
            let bytes: i64 = row.try_get(1).map_err(said)?;
            Ok(AnnexEntry {
                name: row.try_get(0).map_err(said)?,
                bytes: u64::try_from(bytes).unwrap_or(0),
            })
        };
        rows.into_iter().map(entry).collect()
    };
    let listed = listed.await;
    // It only read.
    let _ = connection.close().await;
    listed
}

/// Writes a file of the backup `path` to `into`, piece by piece.
pub(super) async fn get(
    path: &Path,
    name: &Path,
    entry: &AnnexEntry,
    into: &mut impl Write,
) -> Result<(), StoreError> {
    let mut connection = readable(path, name).await?;
    let read = pieces(&mut connection, name, entry, into).await;
    let _ = connection.close().await;
    read
}

async fn pieces(
    connection: &mut SqliteConnection,
    name: &Path,
    entry: &AnnexEntry,
    into: &mut impl Write,
) -> Result<(), StoreError> {
    let (mut number, mut left) = (0_i64, entry.bytes);
    while left > 0 || number == 0 {
        let piece: Option<Vec<u8>> = sqlx::query_scalar(
            "SELECT bytes FROM faam_annex WHERE name = ? AND piece = ? AND length(bytes) <= ?",
        )
        .bind(&entry.name)
        .bind(number)
        .bind(PIECE_BYTES)
        .fetch_optional(&mut *connection)
        .await
        .map_err(|error| failure::classify(error, name))?;
        let piece = piece.filter(|piece| !piece.is_empty() || entry.bytes == 0);
        let rest = piece
            .as_ref()
            .and_then(|piece| left.checked_sub(piece.len() as u64));
        let (Some(piece), Some(rest)) = (piece, rest) else {
            return Err(damaged(
                name,
                format!(
                    "piece {number} of {:?} is not as it was written",
                    entry.name
                ),
            ));
        };
        into.write_all(&piece)
            .map_err(|error| StoreError::io("write a file of", name, error))?;
        left = rest;
        number += 1;
    }
    Ok(())
}

/// Whether the copy `path` has any; takes them out of it. What they took is free pages then.
pub(super) async fn drop_all(path: &Path, name: &Path) -> Result<bool, StoreError> {
    let mut connection = writable(path, name).await?;
    let dropped = async {
        let was_there = is_there(&mut connection, name).await?;
        if was_there {
            failure::command(&mut connection, "DROP TABLE faam_annex", name).await?;
        }
        Ok(was_there)
    };
    let dropped = dropped.await;
    let closed = connection.close().await;
    let was_there = dropped?;
    closed.map_err(|error| failure::classify(error, name))?;
    Ok(was_there)
}

async fn is_there(connection: &mut SqliteConnection, name: &Path) -> Result<bool, StoreError> {
    let found: Option<i64> = sqlx::query_scalar(
        "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'faam_annex'",
    )
    .fetch_optional(connection)
    .await
    .map_err(|error| failure::classify(error, name))?;
    Ok(found.is_some())
}

/// A copy that has no name yet: what breaks off is thrown away with it.
async fn writable(path: &Path, name: &Path) -> Result<SqliteConnection, StoreError> {
    SqliteOptions::new(path)
        .connect()
        .journal_mode(SqliteJournalMode::Memory)
        .synchronous(SqliteSynchronous::Off)
        .connect()
        .await
        .map_err(|error| failure::classify(error, name))
}

async fn readable(path: &Path, name: &Path) -> Result<SqliteConnection, StoreError> {
    SqliteOptions::new(path)
        .connect()
        .read_only(true)
        .immutable(true)
        .connect()
        .await
        .map_err(|error| failure::classify(error, name))
}

fn damaged(name: &Path, finding: String) -> StoreError {
    StoreError::Corrupt {
        path: name.to_owned(),
        finding,
    }
}

/// A bound as SQLite takes it.
fn bound(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
