//! Each change as statements.
//!
//! Invariant: a change is under its own savepoint, so that it leaves nothing behind where it fails, and what stood before it
//! in the transaction stays. Where SQLite gives up the whole transaction (no room, a failing disk), each change is tried again
//! in one of its own, so that those that fit are kept.

use std::path::Path;

use sqlx::{Row, SqliteConnection};

use super::failure::{classify, command};
use crate::change::{Applied, Change};
use crate::error::StoreError;
use crate::record::{CredentialRecord, EventRecord, TenantRecord, UsageRecord};

/// Batches of usage whose ids are kept.
pub const USAGE_BATCHES_KEPT: i64 = 10_000;
/// Events that are kept; the oldest go first.
pub const EVENTS_KEPT: i64 = 1_000_000;
/// Batches of events whose ids are kept.
pub const EVENT_BATCHES_KEPT: i64 = 10_000;
/// Tenants that were removed, and are known as such; the oldest are forgotten first.
pub const REMOVED_TENANTS_KEPT: i64 = 100_000;

type Results = Vec<Result<Applied, StoreError>>;

/// Applies `changes` in one transaction, or each in its own where that one fails; one answer each.
pub(super) async fn batch(
    connection: &mut SqliteConnection,
    changes: &[Change],
    path: &Path,
) -> Results {
    match together(connection, changes, path).await {
        Ok(results) => results,
        Err(error) if changes.len() == 1 => vec![Err(error)],
        // Somebody else holds the lock for longer than is waited for it: each change alone would wait as long again, and be
        // answered long after its caller has given up.
        Err(StoreError::Busy) => changes.iter().map(|_| Err(StoreError::Busy)).collect(),
        Err(_) => {
            let mut results = Vec::with_capacity(changes.len());
            for change in changes {
                let alone = together(connection, std::slice::from_ref(change), path).await;
                let result = alone.map(|mut results| results.pop());
                results.push(match result {
                    Ok(Some(result)) => result,
                    Ok(None) => Err(StoreError::Closed),
                    Err(error) => Err(error),
                });
            }
            results
        }
    }
}

/// In one transaction; an error means that it was rolled back.
async fn together(
    connection: &mut SqliteConnection,
    changes: &[Change],
    path: &Path,
) -> Result<Results, StoreError> {
    command(connection, "BEGIN IMMEDIATE", path).await?;
    let done = async {
        let mut results = Vec::with_capacity(changes.len());
        for change in changes {
            results.push(one(connection, change, path).await?);
        }
        command(connection, "COMMIT", path).await?;
        Ok(results)
    };
    let done = done.await;
    if done.is_err() {
        // SQLite may have rolled it back itself; then this says so, and that is all.
        let _ = command(connection, "ROLLBACK", path).await;
    }
    done
}

/// Under a savepoint. The outer error means that the transaction is gone.
async fn one(
    connection: &mut SqliteConnection,
    change: &Change,
    path: &Path,
) -> Result<Result<Applied, StoreError>, StoreError> {
    command(connection, "SAVEPOINT change", path).await?;
    let applied = apply(connection, change, path).await;
    if let Err(error) = &applied
        && command(connection, "ROLLBACK TO change", path)
            .await
            .is_err()
    {
        return Err(error.clone());
    }
    command(connection, "RELEASE change", path).await?;
    Ok(applied)
}

async fn apply(
    connection: &mut SqliteConnection,
    change: &Change,
    path: &Path,
) -> Result<Applied, StoreError> {
    match change {
        Change::PutTenant(record) => put_tenant(connection, record, path).await,
        Change::RemoveTenant(name) => remove_tenant(connection, name, path).await,
        Change::PutCredentials(records) => {
            for record in records {
                put_credential(connection, record, path).await?;
            }
            Ok(Applied::Done(true))
        }
        Change::RemoveCredential(id) => {
            removed(connection, "DELETE FROM credential WHERE id = ?", id, path).await
        }
        Change::AddUsage { batch, records } => add_usage(connection, *batch, records, path).await,
        Change::AppendEvents { batch, events } => {
            append_events(connection, *batch, events, path).await
        }
    }
}

async fn put_tenant(
    connection: &mut SqliteConnection,
    record: &TenantRecord,
    path: &Path,
) -> Result<Applied, StoreError> {
    let said = |error| classify(error, path);
    let namespaces = json(&record.name, &record.namespaces)?;
    let limits = json(&record.name, &record.limits)?;
    let revision = record.revision.saturating_add(1);
    let query = if record.revision == 0 {
        sqlx::query(
            "INSERT INTO tenant (namespaces, limits, revision, changed_ms, name, created_ms) VALUES (?, ?, ?, ?, ?, ?) \
             ON CONFLICT (name) DO NOTHING RETURNING created_ms",
        )
        .bind(namespaces)
        .bind(limits)
        .bind(revision)
        .bind(record.changed.0)
        .bind(&record.name)
        .bind(record.created.0)
    } else {
        sqlx::query(
            "UPDATE tenant SET namespaces = ?, limits = ?, revision = ?, changed_ms = ? WHERE name = ? AND revision = ? \
             RETURNING created_ms",
        )
        .bind(namespaces)
        .bind(limits)
        .bind(revision)
        .bind(record.changed.0)
        .bind(&record.name)
        .bind(record.revision)
    };
    if let Some(row) = query.fetch_optional(&mut *connection).await.map_err(said)? {
        let created = crate::record::Millis(row.try_get("created_ms").map_err(said)?);
        if record.revision == 0 {
            sqlx::query("DELETE FROM removed_tenant WHERE name = ?")
                .bind(&record.name)
                .execute(connection)
                .await
                .map_err(said)?;
        }
        return Ok(Applied::Tenant(TenantRecord {
            revision,
            created,
            ..record.clone()
        }));
    }
    let found = sqlx::query_scalar("SELECT revision FROM tenant WHERE name = ?")
        .bind(&record.name)
        .fetch_optional(&mut *connection)
        .await
        .map_err(said)?;
    Err(StoreError::Changed {
        what: format!("tenant {}", record.name),
        expected: record.revision,
        found,
    })
}

async fn put_credential(
    connection: &mut SqliteConnection,
    record: &CredentialRecord,
    path: &Path,
) -> Result<(), StoreError> {
    let kind = super::reading::kind_word(record.kind);
    let written = sqlx::query(
        "INSERT INTO credential (id, tenant, namespace, kind, verifier, root, version, scopes, created_ms, expires_ms, revoked_ms, \
         successor) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
         ON CONFLICT (id) DO UPDATE SET namespace = excluded.namespace, kind = excluded.kind, verifier = excluded.verifier, \
         root = excluded.root, version = excluded.version, scopes = excluded.scopes, created_ms = excluded.created_ms, \
         expires_ms = excluded.expires_ms, revoked_ms = excluded.revoked_ms, successor = excluded.successor \
         WHERE tenant = excluded.tenant",
    )
    .bind(&record.id)
    .bind(&record.tenant)
    .bind(&record.namespace)
    .bind(kind)
    .bind(&record.verifier)
    .bind(&record.root)
    .bind(record.version)
    .bind(json(&record.id, &record.scopes)?)
    .bind(record.created.0)
    .bind(record.expires.map(|at| at.0))
    .bind(record.revoked.map(|at| at.0))
    .bind(&record.successor)
    .execute(connection)
    .await
    .map_err(|error| match classify(error, path) {
        StoreError::Constraint { rule } => StoreError::Constraint {
            rule: format!("credential {} of tenant {}: {rule}", record.id, record.tenant),
        },
        other => other,
    })?;
    if written.rows_affected() == 0 {
        return Err(StoreError::Constraint {
            rule: format!(
                "credential {} is another tenant's; expected a new id",
                record.id
            ),
        });
    }
    Ok(())
}

async fn remove_tenant(
    connection: &mut SqliteConnection,
    name: &str,
    path: &Path,
) -> Result<Applied, StoreError> {
    let said = |error| classify(error, path);
    let sql = "DELETE FROM tenant WHERE name = ?";
    let done = removed(&mut *connection, sql, name, path).await?;
    if done == Applied::Done(true) {
        let known = sqlx::query("INSERT OR REPLACE INTO removed_tenant (name) VALUES (?)")
            .bind(name)
            .execute(&mut *connection)
            .await
            .map_err(said)?;
        let newest = known.last_insert_rowid();
        sqlx::query("DELETE FROM removed_tenant WHERE sequence <= ?")
            .bind(newest.saturating_sub(REMOVED_TENANTS_KEPT))
            .execute(connection)
            .await
            .map_err(said)?;
    }
    Ok(done)
}

async fn removed(
    connection: &mut SqliteConnection,
    sql: &'static str,
    name: &str,
    path: &Path,
) -> Result<Applied, StoreError> {
    let done = sqlx::query(sql).bind(name).execute(connection).await;
    let done = done.map_err(|error| classify(error, path))?;
    Ok(Applied::Done(done.rows_affected() > 0))
}

async fn add_usage(
    connection: &mut SqliteConnection,
    batch: u128,
    records: &[UsageRecord],
    path: &Path,
) -> Result<Applied, StoreError> {
    let said = |error| classify(error, path);
    let sql = "INSERT INTO usage_batch (batch) VALUES (?) ON CONFLICT (batch) DO NOTHING RETURNING sequence";
    let Some(sequence) = new_batch(connection, sql, batch, path).await? else {
        return Ok(Applied::Done(false));
    };
    for UsageRecord { key, sums } in records {
        let mut query = sqlx::query(
            "INSERT INTO usage (hour_ms, tenant, namespace, kernel, backend, outcome, billable, requests, bytes_in, bytes_out, \
             device_us, queue_us, cpu_us, reference_us, fallbacks, refusals) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) \
             ON CONFLICT (hour_ms, tenant, namespace, kernel, backend, outcome, billable) DO UPDATE SET \
             requests = requests + excluded.requests, bytes_in = bytes_in + excluded.bytes_in, \
             bytes_out = bytes_out + excluded.bytes_out, device_us = device_us + excluded.device_us, \
             queue_us = queue_us + excluded.queue_us, cpu_us = cpu_us + excluded.cpu_us, \
             reference_us = reference_us + excluded.reference_us, fallbacks = fallbacks + excluded.fallbacks, \
             refusals = refusals + excluded.refusals",
        )
        .bind(key.hour.0)
        .bind(&key.tenant)
        .bind(&key.namespace)
        .bind(&key.kernel)
        .bind(&key.backend)
        .bind(&key.outcome)
        .bind(key.billable);
        for sum in super::reading::sums_in_order(*sums) {
            query = query.bind(stored(sum)?);
        }
        query.execute(&mut *connection).await.map_err(said)?;
    }
    sqlx::query("DELETE FROM usage_batch WHERE sequence <= ?")
        .bind(sequence.saturating_sub(USAGE_BATCHES_KEPT))
        .execute(&mut *connection)
        .await
        .map_err(said)?;
    Ok(Applied::Done(true))
}

/// The sequence of a batch that was not known before `sql` put it down; `None` for one that was.
async fn new_batch(
    connection: &mut SqliteConnection,
    sql: &'static str,
    batch: u128,
    path: &Path,
) -> Result<Option<i64>, StoreError> {
    let new = sqlx::query_scalar(sql)
        .bind(batch.to_be_bytes().to_vec())
        .fetch_optional(connection)
        .await;
    new.map_err(|error| classify(error, path))
}

async fn append_events(
    connection: &mut SqliteConnection,
    batch: u128,
    events: &[EventRecord],
    path: &Path,
) -> Result<Applied, StoreError> {
    let said = |error| classify(error, path);
    let sql = "INSERT INTO event_batch (batch) VALUES (?) ON CONFLICT (batch) DO NOTHING RETURNING sequence";
    let Some(sequence) = new_batch(connection, sql, batch, path).await? else {
        return Ok(Applied::Done(false));
    };
    sqlx::query("DELETE FROM event_batch WHERE sequence <= ?")
        .bind(sequence.saturating_sub(EVENT_BATCHES_KEPT))
        .execute(&mut *connection)
        .await
        .map_err(said)?;
    let mut last = None;
    for event in events {
        let written = sqlx::query(
            "INSERT INTO event (at_ms, kind, actor, tenant, subject, detail) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(event.at.0)
        .bind(&event.kind)
        .bind(&event.actor)
        .bind(&event.tenant)
        .bind(&event.subject)
        .bind(json(&event.kind, &event.detail)?)
        .execute(&mut *connection)
        .await
        .map_err(said)?;
        last = Some(written.last_insert_rowid());
    }
    if let Some(last) = last {
        sqlx::query("DELETE FROM event WHERE sequence <= ?")
            .bind(last.saturating_sub(EVENTS_KEPT))
            .execute(&mut *connection)
            .await
            .map_err(said)?;
    }
    Ok(Applied::Done(true))
}

fn stored(sum: u64) -> Result<i64, StoreError> {
    i64::try_from(sum).map_err(|_| StoreError::Constraint {
        rule: format!("a sum of {sum} is beyond what is stored, {}", i64::MAX),
    })
}

fn json(what: &str, value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::record(what, error))
}
