//! What SQLite says, in the store's words (<https://www.sqlite.org/rescode.html>).

use std::path::Path;
use std::sync::Arc;

use sqlx::SqliteConnection;

use crate::error::StoreError;

/// The low byte of a result code is the primary one.
const PRIMARY: i64 = 0xff;
const SQLITE_BUSY: i64 = 5;
const SQLITE_LOCKED: i64 = 6;
const SQLITE_CORRUPT: i64 = 11;
const SQLITE_FULL: i64 = 13;
const SQLITE_CONSTRAINT: i64 = 19;
const SQLITE_NOTADB: i64 = 26;

/// An error of the database `path`.
pub(super) fn classify(error: sqlx::Error, path: &Path) -> StoreError {
    let Some(said) = error.as_database_error() else {
        return match error {
            sqlx::Error::PoolTimedOut => StoreError::Busy,
            sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => StoreError::Closed,
            sqlx::Error::Io(source) => StoreError::io("use", path, source),
            other => StoreError::Database(Arc::new(other)),
        };
    };
    let code = said.code().and_then(|code| code.parse::<i64>().ok());
    let message = said.message().to_owned();
    match code.map(|code| code & PRIMARY) {
        Some(SQLITE_BUSY | SQLITE_LOCKED) => StoreError::Busy,
        Some(SQLITE_FULL) => StoreError::Full,
        Some(SQLITE_CONSTRAINT) => StoreError::Constraint { rule: message },
        Some(SQLITE_CORRUPT) => StoreError::Corrupt {
            path: path.to_owned(),
            finding: message,
        },
        Some(SQLITE_NOTADB) => StoreError::NotAStore {
            path: path.to_owned(),
        },
        _ => StoreError::Database(Arc::new(error)),
    }
}

/// Runs a statement without arguments or rows.
pub(super) async fn command(
    connection: &mut SqliteConnection,
    sql: &'static str,
    path: &Path,
) -> Result<(), StoreError> {
    sqlx::query(sql)
        .execute(connection)
        .await
        .map(|_| ())
        .map_err(|error| classify(error, path))
}
