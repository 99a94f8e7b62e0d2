//! The behaviour suite, over each database that there is; and what is SQLite's own.

mod annex;
mod behaviour;
mod sqlite;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use behaviour::{Opens, suite};
use faam_store::sqlite::{MIGRATIONS, Migration, SqliteEngine, SqliteOptions};
use faam_store::{Engine, Store, StoreError};
use tempfile::TempDir;

/// SQLite in a directory of its own.
struct Sqlite(TempDir);

impl Opens for Sqlite {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn engine(&self) -> impl Future<Output = Result<Arc<dyn Engine>, StoreError>> + Send + 'static {
        opened(SqliteOptions::new(&self.0.path().join("faam.db")))
    }

    fn free_path(&self) -> PathBuf {
        self.0.path().join("backup.db")
    }

    async fn restored(from: &Path) -> Self {
        let opens = Self::new();
        let to = opens.0.path().join("faam.db");
        Store::restore(from, &to).await.expect("restored");
        opens
    }
}

/// The same with a schema that the next program has made: it has more columns and tables than this one knows (N-1).
struct NextSqlite(Sqlite);

/// What a next program may add without this one's noticing.
const NEXT: &[Migration] = &[
    MIGRATIONS[0],
    MIGRATIONS[1],
    Migration {
        version: 3,
        oldest: 2,
        name: "what the next one adds",
        sql: "ALTER TABLE tenant ADD COLUMN region TEXT; \
              ALTER TABLE usage ADD COLUMN energy_uj INTEGER NOT NULL DEFAULT 0; \
              CREATE TABLE job (id TEXT PRIMARY KEY) STRICT;",
    },
];
const _: () = assert!(MIGRATIONS.len() == 2, "NEXT follows the last of them");

impl Opens for NextSqlite {
    fn new() -> Self {
        Self(Sqlite::new())
    }

    fn engine(&self) -> impl Future<Output = Result<Arc<dyn Engine>, StoreError>> + Send + 'static {
        let options = SqliteOptions::new(&self.0.0.path().join("faam.db"));
        let now = opened(options.clone());
        async move {
            let next = opened(options.migrations(NEXT)).await?;
            next.close().await?;
            now.await
        }
    }

    fn free_path(&self) -> PathBuf {
        self.0.free_path()
    }

    async fn restored(from: &Path) -> Self {
        Self(Sqlite::restored(from).await)
    }
}

async fn opened(options: SqliteOptions) -> Result<Arc<dyn Engine>, StoreError> {
    Ok(Arc::new(SqliteEngine::open(options).await?))
}

suite!(sqlite_with_its_own_schema, Sqlite);
suite!(sqlite_with_the_next_schema, NextSqlite);
