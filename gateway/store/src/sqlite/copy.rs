//! Backup and restore.
//!
//! Invariants: a copy is of one moment, is checked before it has its name, is for its owner alone, and is there whole or not
//! at all; a restore replaces nothing that it has not put beside first, and leaves in the store nothing but its own tables.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;

use super::annex::{self, AnnexEntry, AnnexFile, LeftOut};
use super::schema::{self, MIGRATIONS};
use super::{SqliteOptions, failure};
use crate::error::StoreError;
use crate::store::{READ_MS_MAX, limited};

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
        if to.symlink_metadata().is_ok() {
            return Err(StoreError::Exists {
                path: to.to_owned(),
            });
        }
        Ok(Self {
            copy: temporary(to)?,
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
        let of = to.clone();
        // Large as it may be, nobody waits for a thread meanwhile.
        let named = spawn_blocking(move || name_it(copy, &to)).await;
        named.unwrap_or_else(|ended| Err(StoreError::io("flush", of, ended.into())))?;
        Ok(schema)
    }
}

fn name_it(copy: NamedTempFile, to: &Path) -> Result<(), StoreError> {
    copy.as_file()
        .sync_all()
        .map_err(|error| StoreError::io("flush", to, error))?;
    copy.persist_noclobber(to).map_err(|error| {
        if error.error.kind() == io::ErrorKind::AlreadyExists {
            StoreError::Exists {
                path: to.to_owned(),
            }
        } else {
            StoreError::io("write", to, error.error)
        }
    })?;
    sync_directory(to)
}

/// Copies what `from` opens (the database `of`) to `to`, and puts these files beside its tables.
pub(super) async fn backup(
    from: SqliteConnectOptions,
    of: &Path,
    to: &Path,
    annex: &[AnnexFile],
) -> Result<(), StoreError> {
    let arriving = Arriving::new(to)?;
    let path = arriving.copy.path();
    vacuumed(from, of, path).await?;
    if !annex.is_empty() {
        annex::put(path, to, annex).await?;
    }
    arriving.keep().await.map(|_| ())
}

/// The files that the backup `path` holds beside the store, by name.
///
/// # Errors
/// [`StoreError`]
pub async fn annexed(path: &Path) -> Result<Vec<AnnexEntry>, StoreError> {
    annex::list(path, path).await
}

/// The files that should be in the backup `path` and could not be read when it was made, by name.
///
/// # Errors
/// [`StoreError`]
pub async fn left_out(path: &Path) -> Result<Vec<LeftOut>, StoreError> {
    limited(annex::left_out(path, path), READ_MS_MAX).await
}

/// Copies the live rows of what `from` opens (the database `of`) into the empty file `path`.
async fn vacuumed(from: SqliteConnectOptions, of: &Path, path: &Path) -> Result<(), StoreError> {
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
    copied.map(|_| ())
}

/// A backup that is being restored: copied beside its place and checked. Dropped before it is kept, nothing was done.
#[derive(Debug)]
pub struct Restoring {
    copy: NamedTempFile,
    schema: i64,
    from: PathBuf,
    to: PathBuf,
}

impl Restoring {
    /// The backup `from`, for the place of the database `to`.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn new(from: &Path, to: &Path) -> Result<Self, StoreError> {
        if beside(from, "-wal").exists() {
            return Err(StoreError::Constraint {
                rule: format!(
                    "{} has a log beside it, so that it is a database in use and not a backup; make one with faam backup",
                    from.display()
                ),
            });
        }
        let mut copy = temporary(to)?;
        let mut source = File::open(from).map_err(|error| StoreError::io("open", from, error))?;
        io::copy(&mut source, copy.as_file_mut())
            .map_err(|error| StoreError::io("copy", from, error))?;
        let schema = examine(copy.path(), from).await?;
        Ok(Self {
            copy,
            schema,
            from: from.to_owned(),
            to: to.to_owned(),
        })
    }

    /// The files that it holds beside the store, by name.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn annex(&self) -> Result<Vec<AnnexEntry>, StoreError> {
        annex::list(self.copy.path(), &self.from).await
    }

    /// The files that it should hold, and does not.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn left_out(&self) -> Result<Vec<LeftOut>, StoreError> {
        annex::left_out(self.copy.path(), &self.from).await
    }

    /// Writes one of them to `into`, piece by piece.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn annexed(
        &self,
        entry: &AnnexEntry,
        into: &mut impl Write,
    ) -> Result<(), StoreError> {
        annex::get(self.copy.path(), &self.from, entry, into).await
    }

    /// Puts the store in its place, without the files that were beside it.
    ///
    /// # Errors
    /// [`StoreError`]; what was in its place is still there.
    pub async fn keep(self) -> Result<Restored, StoreError> {
        let Self {
            mut copy,
            schema,
            from,
            to,
        } = self;
        if annex::drop_all(copy.path(), &from).await? {
            // Without the room that they took.
            let smaller = temporary(&to)?;
            let options = SqliteOptions::new(copy.path()).connect().read_only(true);
            vacuumed(options, &from, smaller.path()).await?;
            examine(smaller.path(), &from).await?;
            copy = smaller;
        }
        let replaced = match fs::symlink_metadata(&to) {
            Ok(_) => Some(put_aside(&to).await?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(StoreError::io("look at", &to, error)),
        };
        copy.as_file()
            .sync_all()
            .map_err(|error| StoreError::io("flush", &to, error))?;
        copy.persist(&to)
            .map_err(|error| StoreError::io("replace", &to, error.error))?;
        sync_directory(&to)?;
        Ok(Restored { schema, replaced })
    }
}

/// A file beside `to`, empty, 0600, and gone again unless it is kept.
fn temporary(to: &Path) -> Result<NamedTempFile, StoreError> {
    let directory = directory(to);
    NamedTempFile::new_in(directory).map_err(|error| StoreError::io("write into", directory, error))
}

/// Puts the backup `from` in the place of `to`; files that it holds beside the store are left out.
///
/// # Errors
/// [`StoreError`]; `to` is as it was.
pub async fn restore(from: &Path, to: &Path) -> Result<Restored, StoreError> {
    Restoring::new(from, to).await?.keep().await
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
