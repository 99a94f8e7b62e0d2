//! Backup and restore.
//!
//! Invariants: a copy is of one moment, is checked before it has its name, is for its owner alone, and is there whole or not
//! at all; a restore replaces nothing that it has not put beside first.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::NamedTempFile;

use super::schema::{self, MIGRATIONS};
use super::{SqliteOptions, failure};
use crate::error::StoreError;

/// Databases that were replaced and are kept beside.
const REPLACED_MAX: u32 = 1000;

/// What a restore did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// The schema of what was restored.
    pub schema: i64,
    /// Where what was there before is now, if there was anything.
    pub replaced: Option<PathBuf>,
}

/// A backup that arrives from elsewhere, piece by piece. Dropped before it is kept, nothing of it stays.
#[derive(Debug)]
pub struct Arriving {
    copy: NamedTempFile,
    to: PathBuf,
}

impl Arriving {
    /// At `to`, once it is whole; nothing may be there.
    ///
    /// # Errors
    /// [`StoreError::Exists`], [`StoreError::Io`]
    pub fn new(to: &Path) -> Result<Self, StoreError> {
        let directory = directory(to);
        if to.symlink_metadata().is_ok() {
            return Err(StoreError::Exists {
                path: to.to_owned(),
            });
        }
        // Empty, 0600, and gone again unless it is kept.
        let copy = NamedTempFile::new_in(directory)
            .map_err(|error| StoreError::io("write into", directory, error))?;
        Ok(Self {
            copy,
            to: to.to_owned(),
        })
    }

    /// What is written into until then.
    pub fn file(&mut self) -> &mut File {
        self.copy.as_file_mut()
    }

    /// Checks every page, flushes it, and gives it its name. Answers with its schema.
    ///
    /// # Errors
    /// [`StoreError`]; there is no file then.
    pub async fn keep(self) -> Result<i64, StoreError> {
        let Self { copy, to } = self;
        let schema = examine(copy.path(), &to).await?;
        copy.as_file()
            .sync_all()
            .map_err(|error| StoreError::io("flush", &to, error))?;
        copy.persist_noclobber(&to).map_err(|error| {
            if error.error.kind() == io::ErrorKind::AlreadyExists {
                StoreError::Exists { path: to.clone() }
            } else {
                StoreError::io("write", &to, error.error)
            }
        })?;
        sync_directory(&to)?;
        Ok(schema)
    }
}

/// Copies what `from` opens (the database `of`) to `to`.
pub(super) async fn backup(
    from: SqliteConnectOptions,
    of: &Path,
    to: &Path,
) -> Result<(), StoreError> {
    let arriving = Arriving::new(to)?;
    let path = arriving.copy.path();
    let name = path.to_str().ok_or_else(|| {
        let error = io::Error::new(io::ErrorKind::InvalidFilename, "it is not UTF-8");
        StoreError::io("write", path, error)
    })?;
    let mut source = from
        .connect()
        .await
        .map_err(|error| failure::classify(error, of))?;
    let copied = sqlx::query("VACUUM INTO ?")
        .bind(name)
        .execute(&mut source)
        .await
        .map_err(|error| failure::classify(error, of));
    // It only read.
    let _ = source.close().await;
    copied?;
    arriving.keep().await.map(|_| ())
}

/// Puts the backup `from` in the place of `to`.
///
/// # Errors
/// [`StoreError`]; `to` is as it was.
pub async fn restore(from: &Path, to: &Path) -> Result<Restored, StoreError> {
    if beside(from, "-wal").exists() {
        return Err(StoreError::Constraint {
            rule: format!(
                "{} has a log beside it, so that it is a database in use and not a backup; make one with faam backup",
                from.display()
            ),
        });
    }
    let directory = directory(to);
    let mut copy = NamedTempFile::new_in(directory)
        .map_err(|error| StoreError::io("write into", directory, error))?;
    let mut source = File::open(from).map_err(|error| StoreError::io("open", from, error))?;
    io::copy(&mut source, copy.as_file_mut())
        .map_err(|error| StoreError::io("copy", from, error))?;
    let schema = examine(copy.path(), from).await?;
    let replaced = match fs::symlink_metadata(to) {
        Ok(_) => Some(put_aside(to).await?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(StoreError::io("look at", to, error)),
    };
    copy.as_file()
        .sync_all()
        .map_err(|error| StoreError::io("flush", to, error))?;
    copy.persist(to)
        .map_err(|error| StoreError::io("replace", to, error.error))?;
    sync_directory(to)?;
    Ok(Restored { schema, replaced })
}

/// Gives the database `path` a second name, under which it stays when the first one is taken over.
async fn put_aside(path: &Path) -> Result<PathBuf, StoreError> {
    if beside(path, "-wal").exists()
        && let Err(error) = empty_log(path).await
    {
        // A damaged one is what a restore is for: it goes aside with its log.
        let damaged = matches!(
            error,
            StoreError::Corrupt { .. } | StoreError::NotAStore { .. }
        );
        if !damaged {
            return Err(error);
        }
    }
    for number in 1..=REPLACED_MAX {
        let kept = beside(path, &format!(".replaced-{number}"));
        match fs::hard_link(path, &kept) {
            Ok(()) => {
                for suffix in ["-wal", "-shm"] {
                    let part = beside(path, suffix);
                    match fs::rename(&part, beside(&kept, suffix)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(StoreError::io("put aside", part, error));
                        }
                        _ => {}
                    }
                }
                return Ok(kept);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StoreError::io("put aside", path, error)),
        }
    }
    Err(StoreError::Exists {
        path: beside(path, &format!(".replaced-{REPLACED_MAX}")),
    })
}

/// Writes what is only in the log into the file; the last connection clears the log away. A log that stayed would be taken for the new file's.
async fn empty_log(path: &Path) -> Result<(), StoreError> {
    let said = |error| failure::classify(error, path);
    let mut connection = SqliteOptions::new(path)
        .connect()
        .connect()
        .await
        .map_err(said)?;
    let written = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
        .execute(&mut connection)
        .await;
    let closed = connection.close().await;
    written.map_err(said)?;
    closed.map_err(said)
}

/// Checks every page and reference of the database `path`, which nobody writes to, and whether this program may use it; messages call it `name`.
async fn examine(path: &Path, name: &Path) -> Result<i64, StoreError> {
    let said = |error| failure::classify(error, name);
    let mut connection = SqliteOptions::new(path)
        .connect()
        .read_only(true)
        .immutable(true)
        .connect()
        .await
        .map_err(said)?;
    let examined = checks(&mut connection, name).await;
    let closed = connection.close().await.map_err(said);
    let schema = examined?;
    closed.map(|()| schema)
}

async fn checks(connection: &mut SqliteConnection, name: &Path) -> Result<i64, StoreError> {
    let said = |error| failure::classify(error, name);
    let finding: String = sqlx::query_scalar("PRAGMA integrity_check(1)")
        .fetch_one(&mut *connection)
        .await
        .map_err(said)?;
    if finding != "ok" {
        return Err(StoreError::Corrupt {
            path: name.to_owned(),
            finding,
        });
    }
    let dangling = sqlx::query("PRAGMA foreign_key_check")
        .fetch_optional(&mut *connection)
        .await
        .map_err(said)?;
    if dangling.is_some() {
        return Err(StoreError::Corrupt {
            path: name.to_owned(),
            finding: "a credential of no tenant".to_owned(),
        });
    }
    schema::accept(connection, MIGRATIONS, name).await
}

/// A name is on disk once its directory is.
fn sync_directory(path: &Path) -> Result<(), StoreError> {
    let directory = directory(path);
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| StoreError::io("flush", directory, error))
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
