//! What can go wrong with the store, by what whoever asked can do about it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

/// Why the store did not do it. Cheap to clone: one failed transaction is the answer to many callers.
#[derive(Clone, Debug, Error)]
pub enum StoreError {
    /// Somebody else was first.
    #[error(
        "{what} was changed meanwhile: revision {expected} was expected, {} is stored; read it again and repeat the change",
        .found.map_or_else(|| "none".to_owned(), |found| found.to_string())
    )]
    Changed {
        /// Which record.
        what: String,
        /// The revision that the caller had read; 0 is none.
        expected: i64,
        /// The stored one; `None`: there is no such record.
        found: Option<i64>,
    },
    /// It breaks a rule of the schema. The same change fails again.
    #[error("the store's rules do not allow this: {rule}")]
    Constraint {
        /// Which rule.
        rule: String,
    },
    /// No room. What is stored can still be read.
    #[error(
        "the store has no room: its disk is full, or it has reached its bound; it can be read, and keeps nothing new until there is room"
    )]
    Full,
    /// Another process holds the database for longer than is waited for.
    #[error("another process holds the store's database for too long; end it, and repeat")]
    Busy,
    /// Written by a program that this one does not know.
    #[error(
        "{path} has schema {found}, this faam knows {known}: run the newer faam, or restore a backup that was made before the upgrade \
         (faam restore FILE)"
    )]
    NewerSchema {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// Something else's.
    #[error("{path} is not a store of faam's: expected an SQLite database that faam made")]
    NotAStore {
        /// Which file.
        path: PathBuf,
    },
    /// Damaged.
    #[error("{path} is damaged ({finding}); restore a backup: faam restore FILE")]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What the check says, first finding first.
        finding: String,
    },
    /// It is in the way.
    #[error("{path} exists; name another file, or remove it")]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// No answer in time. A write may still be carried out.
    #[error("the store has not answered within {limit_ms} ms; a write may still be carried out")]
    TimedOut {
        /// The limit.
        limit_ms: u64,
    },
    /// Too many wait already.
    #[error("{waiting_max} writes wait for the store already; repeat later")]
    Overloaded {
        /// How many may wait.
        waiting_max: usize,
    },
    /// [`crate::Store::close`] was called.
    #[error("the store is closed")]
    Closed,
    /// A file.
    #[error("cannot {doing} {path}")]
    Io {
        /// What was tried: `create`, `rename`.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: Arc<io::Error>,
    },
    /// Anything else the database says.
    #[error("the store's database failed")]
    Database(#[source] Arc<sqlx::Error>),
    /// A record that cannot be read back, or not be written.
    #[error("{what} cannot be read or written as JSON")]
    Record {
        /// Which.
        what: String,
        /// Why not.
        #[source]
        source: Arc<serde_json::Error>,
    },
}

impl StoreError {
    /// Whether the same change may succeed later.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Full
                | Self::Busy
                | Self::TimedOut { .. }
                | Self::Overloaded { .. }
                | Self::Io { .. }
                | Self::Database(_)
        )
    }

    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::StorageFull {
            return Self::Full;
        }
        Self::Io {
            doing,
            path: path.into(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn record(what: impl Into<String>, source: serde_json::Error) -> Self {
        Self::Record {
            what: what.into(),
            source: Arc::new(source),
        }
    }
}
