//! Files that travel in a backup beside the store's own tables.
//!
//! Owns the table `faam_annex`, which is in backups alone: a restored store has none of it. Invariants: number, names and bytes are
//! bounded; files are kept in pieces, so that one piece at a time is in memory; what is read back is as long as it was announced; a
//! file that is not needed and cannot be read is none of them, and the backup says so. Whoever waits for it is held up by no file
//! that is read. It does not know what is in them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Row, Sqlite, SqliteConnection};
use tokio::task::spawn_blocking;

use super::{SqliteOptions, failure};
use crate::error::StoreError;

/// Files that one backup holds at most.
pub const ANNEX_FILES_MAX: usize = 1024;
/// Bytes of a name.
pub const ANNEX_NAME_BYTES_MAX: usize = 256;
/// Bytes that are in memory at once.
const PIECE_BYTES: u32 = 1 << 20;
/// The piece that says why a file was left out.
const WHY_PIECE: i64 = -1;
/// Bytes of why.
const WHY_BYTES_MAX: usize = 1024;

/// A file to take along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnexFile {
    /// What it is called in the backup.
    pub name: String,
    /// Where it is. One that is not there any more is left out.
    pub path: PathBuf,
    /// The most that is taken of it.
    pub bytes_max: u64,
    /// Whether there is no backup where it cannot be read, or has more; another one is left out then.
    pub needed: bool,
}

/// A file in a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnnexEntry {
    /// What it is called.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// A file that should have been in a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// What it would be called.
    pub name: String,
    /// Why it is not.
    pub why: String,
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
    let mut source = match Source::open(file).await {
        Ok(Some(source)) => source,
        Ok(None) => return Ok(()),
        Err(error) => return leave_out(connection, name, file, error).await,
    };
    let mut number = 0_i64;
    loop {
        let piece;
        (source, piece) = match source.piece(file).await {
            Ok(read) => read,
            Err(error) => return leave_out(connection, name, file, error).await,
        };
        // One without bytes has a piece as well.
        if piece.is_empty() && number > 0 {
            return Ok(());
        }
        insert(connection, name, file, number, piece).await?;
        number += 1;
    }
}

/// A file that is read where nobody waits for a thread.
struct Source {
    file: File,
    /// What it may still have.
    left: u64,
}

impl Source {
    /// `None` where there is none.
    async fn open(file: &AnnexFile) -> Result<Option<Self>, StoreError> {
        let (path, left) = (file.path.clone(), file.bytes_max);
        let opened = spawn_blocking(move || {
            let file = File::open(path)?;
            let bytes = file.metadata()?.len();
            io::Result::Ok((file, bytes))
        });
        match opened.await.unwrap_or_else(|ended| Err(ended.into())) {
            Ok((_, bytes)) if bytes > left => Err(too_large(file)),
            Ok((file, _)) => Ok(Some(Self { file, left })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("open", &file.path, error)),
        }
    }

    /// Its next bytes; none at its end.
    async fn piece(self, of: &AnnexFile) -> Result<(Self, Vec<u8>), StoreError> {
        let Self { file, left } = self;
        let read = spawn_blocking(move || {
            let mut piece = Vec::new();
            let mut part = Read::take(&file, u64::from(PIECE_BYTES));
            part.read_to_end(&mut piece)?;
            io::Result::Ok((file, piece))
        });
        let read = read.await.unwrap_or_else(|ended| Err(ended.into()));
        let (file, piece) = read.map_err(|error| StoreError::io("read", &of.path, error))?;
        match left.checked_sub(piece.len() as u64) {
            Some(left) => Ok((Self { file, left }, piece)),
            // It has grown since.
            None => Err(too_large(of)),
        }
    }
}

fn too_large(file: &AnnexFile) -> StoreError {
    let rule = format!(
        "{} has more than {} bytes, which is the most that a backup takes along of it",
        file.path.display(),
        file.bytes_max
    );
    StoreError::Constraint { rule }
}

/// What cannot be read is no reason to have no backup, unless it is needed.
async fn leave_out(
    connection: &mut SqliteConnection,
    name: &Path,
    file: &AnnexFile,
    error: StoreError,
) -> Result<(), StoreError> {
    if file.needed {
        return Err(error);
    }
    sqlx::query("DELETE FROM faam_annex WHERE name = ?")
        .bind(&file.name)
        .execute(&mut *connection)
        .await
        .map_err(|error| failure::classify(error, name))?;
    let mut why = match &error {
        StoreError::Constraint { rule } => rule.clone(),
        StoreError::Io { source, .. } => format!("{error}: {source}"),
        other => other.to_string(),
    };
    why.truncate(why.floor_char_boundary(WHY_BYTES_MAX));
    insert(connection, name, file, WHY_PIECE, why.into_bytes()).await
}

async fn insert(
    connection: &mut SqliteConnection,
    name: &Path,
    file: &AnnexFile,
    number: i64,
    piece: Vec<u8>,
) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO faam_annex (name, piece, bytes) VALUES (?, ?, ?)")
        .bind(&file.name)
        .bind(number)
        .bind(piece)
        .execute(&mut *connection)
        .await
        .map(|_| ())
        .map_err(|error| failure::classify(error, name))
}

/// The files in the backup `path`, by name; none where it was made without any. Messages call it `name`.
pub(super) async fn list(path: &Path, name: &Path) -> Result<Vec<AnnexEntry>, StoreError> {
    let said = |error| failure::classify(error, name);
    let sql = "SELECT name, sum(length(bytes)) FROM faam_annex WHERE piece >= 0 AND length(name) <= ? GROUP BY name ORDER BY name LIMIT ?";
    let rows = rows(path, name, sqlx::query(sql)).await?;
    let entry = |row: SqliteRow| {
        let bytes: i64 = row.try_get(1).map_err(said)?;
        Ok(AnnexEntry {
            name: row.try_get(0).map_err(said)?,
            bytes: u64::try_from(bytes).unwrap_or(0),
        })
    };
    rows.into_iter().map(entry).collect()
}

/// The files that should be in it and are not.
pub(super) async fn left_out(path: &Path, name: &Path) -> Result<Vec<LeftOut>, StoreError> {
    let said = |error| failure::classify(error, name);
    let sql = "SELECT name, bytes FROM faam_annex WHERE piece = ? AND length(bytes) <= ? AND length(name) <= ? ORDER BY name LIMIT ?";
    let query = sqlx::query(sql).bind(WHY_PIECE).bind(bound(WHY_BYTES_MAX));
    let rows = rows(path, name, query).await?;
    let file = |row: SqliteRow| {
        let why: Vec<u8> = row.try_get(1).map_err(said)?;
        Ok(LeftOut {
            name: row.try_get(0).map_err(said)?,
            why: String::from_utf8_lossy(&why).into_owned(),
        })
    };
    rows.into_iter().map(file).collect()
}

/// What `query` asks for, whose last two arguments are the most bytes of a name and the most rows.
async fn rows(
    path: &Path,
    name: &Path,
    query: Query<'_, Sqlite, SqliteArguments>,
) -> Result<Vec<SqliteRow>, StoreError> {
    let mut connection = readable(path, name).await?;
    let asked = async {
        if !is_there(&mut connection, name).await? {
            return Ok(Vec::new());
        }
        let rows = query
            .bind(bound(ANNEX_NAME_BYTES_MAX))
            .bind(bound(ANNEX_FILES_MAX + 1))
            .fetch_all(&mut connection)
            .await
            .map_err(|error| failure::classify(error, name))?;
        match rows.len() > ANNEX_FILES_MAX {
            true => Err(damaged(
                name,
                format!("it has more than {ANNEX_FILES_MAX} files beside the store"),
            )),
            false => Ok(rows),
        }
    };
    let asked = asked.await;
    // It only read.
    let _ = connection.close().await;
    asked
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
