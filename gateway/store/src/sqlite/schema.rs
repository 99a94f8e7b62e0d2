//! The schema's history, and who may use which part of it.
//!
//! Invariant: migrations only expand what the last program used, or contract what the last but one used: so of two programs
//! that follow each other both work with either's schema, and an upgrade can be taken back by starting the older one.
//!
//! A migration says which is the oldest schema whose program can use what it leaves behind: its own version where it takes
//! something away (a column dropped, a meaning changed), the one before where it only adds. A program opens a schema that is one
//! newer than its own if that says so, and none newer than that.

use std::path::Path;

use sqlx::{Row, SqliteConnection};

use super::failure;
use crate::error::StoreError;

/// A step of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The schema's version after it: one more than before.
    pub version: i64,
    /// The oldest program, named by the schema that it knows, that works with what this step leaves: `version`, or `version - 1`.
    pub oldest: i64,
    /// What it does.
    pub name: &'static str,
    /// Its statements; they run in one transaction.
    pub sql: &'static str,
}

/// All steps, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        oldest: 1,
        name: "tenants, credentials, usage, events",
        sql: include_str!("0001_tenants_usage_events.sql"),
    },
    Migration {
        version: 2,
        oldest: 1,
        name: "batches of events, removed tenants",
        sql: include_str!("0002_event_batches_removed_tenants.sql"),
    },
];

/// Where the history is kept. This statement itself never changes.
const HISTORY: &str = "CREATE TABLE IF NOT EXISTS faam_schema (\
    version INTEGER NOT NULL PRIMARY KEY, oldest INTEGER NOT NULL, name TEXT NOT NULL) STRICT";

/// Brings the schema up to date, or refuses it. All or nothing.
pub(super) async fn migrate(
    connection: &mut SqliteConnection,
    migrations: &[Migration],
    path: &Path,
) -> Result<(), StoreError> {
    failure::command(connection, "BEGIN IMMEDIATE", path).await?;
    let migrated = steps(connection, migrations, path).await;
    let end = if migrated.is_ok() {
        "COMMIT"
    } else {
        "ROLLBACK"
    };
    let ended = failure::command(connection, end, path).await;
    migrated.and(ended)
}

async fn steps(
    connection: &mut SqliteConnection,
    migrations: &[Migration],
    path: &Path,
) -> Result<(), StoreError> {
    let said = |error| failure::classify(error, path);
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *connection)
        .await
        .map_err(said)?;
    if tables == 0 {
        failure::command(connection, HISTORY, path).await?;
    }
    let found = accept(connection, migrations, path).await?;
    for step in migrations.iter().filter(|step| step.version > found) {
        sqlx::raw_sql(step.sql)
            .execute(&mut *connection)
            .await
            .map_err(said)?;
        sqlx::query("INSERT INTO faam_schema (version, oldest, name) VALUES (?, ?, ?)")
            .bind(step.version)
            .bind(step.oldest)
            .bind(step.name)
            .execute(&mut *connection)
            .await
            .map_err(said)?;
        if found > 0 {
            tracing::info!(
                version = step.version,
                name = step.name,
                "the store's schema is newer now"
            );
        }
    }
    Ok(())
}

/// The schema's version (0: an empty one), where this program may use it.
pub(super) async fn accept(
    connection: &mut SqliteConnection,
    migrations: &[Migration],
    path: &Path,
) -> Result<i64, StoreError> {
    let said = |error| failure::classify(error, path);
    let ours: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sqlite_schema WHERE name = 'faam_schema'")
            .fetch_one(&mut *connection)
            .await
            .map_err(said)?;
    if ours == 0 {
        return Err(StoreError::NotAStore {
            path: path.to_owned(),
        });
    }
    let newest =
        sqlx::query("SELECT version, oldest FROM faam_schema ORDER BY version DESC LIMIT 1")
            .fetch_optional(&mut *connection)
            .await
            .map_err(said)?;
    let Some(newest) = newest else { return Ok(0) };
    let found: i64 = newest.try_get("version").map_err(said)?;
    let oldest: i64 = newest.try_get("oldest").map_err(said)?;
    let known = migrations.last().map_or(0, |step| step.version);
    let one_newer = found == known.saturating_add(1) && oldest <= known;
    if found <= known || one_newer {
        return Ok(found);
    }
    Err(StoreError::NewerSchema {
        path: path.to_owned(),
        found,
        known,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What takes something away from programs that use it.
    const CONTRACTS: [&str; 4] = ["DROP ", "RENAME ", "DELETE ", "UPDATE "];

    #[test]
    fn versions_follow_each_other_and_what_only_expands_takes_nothing_away() {
        for (before, step) in (0..).zip(MIGRATIONS) {
            assert_eq!(step.version, before + 1, "{}", step.name);
            let expands = step.oldest == step.version - 1;
            assert!(expands || step.oldest == step.version, "{}", step.name);
            let sql = step.sql.to_uppercase().replace("ON DELETE CASCADE", "");
            let contracts = CONTRACTS.iter().any(|word| sql.contains(word));
            assert!(
                !(expands && contracts),
                "{} is not one that older programs can live with",
                step.name
            );
        }
    }
}
