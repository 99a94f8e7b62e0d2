//! SQLite behind the store: one file, for its owner alone.
//!
//! Owns the connections: one that writes, a few that read. Invariants: write-ahead log, and every commit is flushed
//! (`synchronous = FULL`), so that what was acknowledged survives the loss of power; a change is under a savepoint of its own.
//! It does not queue: its one caller is the store's writer.
//!
//! | file | owns |
//! |---|---|
//! | `schema.rs` | the schema's history, and who may use it |
//! | `writing.rs` | each change as statements |
//! | `reading.rs` | each question as a statement |
//! | `annex.rs` | files that travel in a backup beside the tables |
//! | `copy.rs` | backup and restore |
//! | `failure.rs` | SQLite's result codes in the store's words |

mod annex;
mod copy;
mod failure;
mod reading;
mod schema;
mod writing;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, SqliteConnection, SqlitePool};
use tokio::sync::Mutex;

pub use annex::{ANNEX_FILES_MAX, ANNEX_NAME_BYTES_MAX, AnnexEntry, AnnexFile, LeftOut};
pub use copy::{Arriving, Restored, Restoring, annexed, left_out, restore};
pub use schema::{MIGRATIONS, Migration};
pub use writing::{EVENT_BATCHES_KEPT, EVENTS_KEPT, REMOVED_TENANTS_KEPT, USAGE_BATCHES_KEPT};

use crate::change::{Applied, Change};
use crate::engine::{Answering, Engine};
use crate::error::StoreError;
use crate::query::{EventQuery, UsageQuery, UsageRows};
use crate::record::{CredentialRecord, EventRecord, TenantRecord};

/// How long a connection waits for a lock that another process holds.
const BUSY_WAIT: Duration = Duration::from_secs(5);
/// How long a reader waits for one of the connections.
const ACQUIRE_WAIT: Duration = Duration::from_secs(10);
/// Connections that read.
const READERS_MAX: u32 = 4;
/// Bytes that the write-ahead log keeps when it starts anew.
const WAL_BYTES_KEPT: u32 = 16 << 20;
/// Bytes of a page, SQLite's default.
const PAGE_BYTES: u64 = 4096;
/// Bytes of the database, unless an option says otherwise.
const BYTES_MAX_DEFAULT: u64 = 64 << 30;
/// For its owner alone. The log and the shared index beside it get the same.
const MODE: u32 = 0o600;

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    path: PathBuf,
    bytes_max: u64,
    migrations: &'static [Migration],
}

impl SqliteOptions {
    /// The database `path`, with this program's schema.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            bytes_max: BYTES_MAX_DEFAULT,
            migrations: MIGRATIONS,
        }
    }

    /// It grows to `bytes` at most; beyond that it says [`StoreError::Full`].
    #[must_use]
    pub const fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// With the schema of another program: one that came before or comes after.
    #[must_use]
    pub const fn migrations(mut self, migrations: &'static [Migration]) -> Self {
        self.migrations = migrations;
        self
    }

    /// Which file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn connect(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(&self.path)
            .busy_timeout(BUSY_WAIT)
            .foreign_keys(true)
            .disable_statement_logging()
    }

    fn writer(&self) -> SqliteConnectOptions {
        self.connect()
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("journal_size_limit", WAL_BYTES_KEPT.to_string())
            .pragma(
                "max_page_count",
                (self.bytes_max / PAGE_BYTES).max(1).to_string(),
            )
    }
}

/// See the module.
pub struct SqliteEngine {
    options: SqliteOptions,
    /// `None` after a failure that says nothing about what state the connection is in: the next batch connects anew.
    writer: Mutex<Option<SqliteConnection>>,
    readers: SqlitePool,
}

impl SqliteEngine {
    /// Opens or makes the file, and brings its schema up to date.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn open(options: SqliteOptions) -> Result<Self, StoreError> {
        let path = options.path();
        let mut file = OpenOptions::new();
        file.create(true).truncate(false).write(true).mode(MODE);
        file.open(path)
            .map_err(|error| StoreError::io("open", path, error))?;
        let mut writer = connect(&options).await?;
        schema::migrate(&mut writer, options.migrations, path).await?;
        let readers = SqlitePoolOptions::new()
            .min_connections(0)
            .max_connections(READERS_MAX)
            .acquire_timeout(ACQUIRE_WAIT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options.connect().read_only(true));
        Ok(Self {
            options,
            writer: Mutex::new(Some(writer)),
            readers,
        })
    }

    fn path(&self) -> &Path {
        &self.options.path
    }

    async fn apply(
        &self,
        changes: &[Change],
    ) -> Result<Vec<Result<Applied, StoreError>>, StoreError> {
        let mut writer = self.writer.lock().await;
        let mut connection = match writer.take() {
            Some(connection) => connection,
            None => connect(&self.options).await?,
        };
        let results = writing::batch(&mut connection, changes, self.path()).await;
        let lost = |result: &Result<Applied, StoreError>| {
            matches!(
                result,
                Err(StoreError::Database(_) | StoreError::Io { .. } | StoreError::Closed)
            )
        };
        if results.iter().any(lost) {
            // Its end rolls back whatever was open. That it cannot say goodbye changes nothing.
            let _ = connection.close().await;
        } else {
            *writer = Some(connection);
        }
        Ok(results)
    }

    async fn end(&self) -> Result<(), StoreError> {
        // The readers first: the last connection to a database clears its log away, and only one that writes can.
        self.readers.close().await;
        match self.writer.lock().await.take() {
            Some(connection) => connection
                .close()
                .await
                .map_err(|error| failure::classify(error, self.path())),
            None => Ok(()),
        }
    }
}

async fn connect(options: &SqliteOptions) -> Result<SqliteConnection, StoreError> {
    let connected = options.writer().connect().await;
    connected.map_err(|error| failure::classify(error, &options.path))
}

impl Engine for SqliteEngine {
    fn apply<'a>(
        &'a self,
        changes: &'a [Change],
    ) -> Answering<'a, Vec<Result<Applied, StoreError>>> {
        Box::pin(self.apply(changes))
    }

    fn tenants(&self) -> Answering<'_, Vec<TenantRecord>> {
        Box::pin(reading::tenants(&self.readers, self.path()))
    }

    fn is_removed<'a>(&'a self, name: &'a str) -> Answering<'a, bool> {
        Box::pin(reading::is_removed(&self.readers, name, self.path()))
    }

    fn credentials(&self) -> Answering<'_, Vec<CredentialRecord>> {
        Box::pin(reading::credentials(&self.readers, self.path()))
    }

    fn usage<'a>(&'a self, query: &'a UsageQuery) -> Answering<'a, UsageRows> {
        Box::pin(reading::usage(&self.readers, query, self.path()))
    }

    fn events<'a>(&'a self, query: &'a EventQuery) -> Answering<'a, Vec<EventRecord>> {
        Box::pin(reading::events(&self.readers, query, self.path()))
    }

    fn backup<'a>(&'a self, to: &'a Path, annex: &'a [AnnexFile]) -> Answering<'a, ()> {
        Box::pin(copy::backup(
            self.options.connect().read_only(true),
            self.path(),
            to,
            annex,
        ))
    }

    fn close(&self) -> Answering<'_, ()> {
        Box::pin(self.end())
    }
}
