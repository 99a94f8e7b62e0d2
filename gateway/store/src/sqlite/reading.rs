//! Each question as a statement, and rows as records.
//!
//! Invariant: every answer is bounded; columns are named, so that a schema that has more of them can be read.

use std::path::Path;

use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Row, SqlitePool};

use super::failure::classify;
use crate::error::StoreError;
use crate::query::{EVENTS_MAX, EventQuery, Period, USAGE_ROWS_MAX, UsageQuery, UsageRows};
use crate::record::{
    CredentialKind, CredentialRecord, EventRecord, Millis, TenantRecord, UsageKey, UsageRecord,
    UsageSums,
};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

const API: &str = "api";
const OPENWHISK: &str = "openwhisk";
const SIGV4: &str = "sigv4";

/// A kind as it is stored.
pub(super) const fn kind_word(kind: CredentialKind) -> &'static str {
    match kind {
        CredentialKind::Api => API,
        CredentialKind::OpenWhisk => OPENWHISK,
        CredentialKind::SigV4 => SIGV4,
    }
}

fn kind(word: &str) -> Option<CredentialKind> {
    match word {
        API => Some(CredentialKind::Api),
        OPENWHISK => Some(CredentialKind::OpenWhisk),
        SIGV4 => Some(CredentialKind::SigV4),
        _ => None,
    }
}

/// Names of the sums' columns.
const SUMS: [&str; 9] = [
    "requests",
    "bytes_in",
    "bytes_out",
    "device_us",
    "queue_us",
    "cpu_us",
    "reference_us",
    "fallbacks",
    "refusals",
];

/// The sums in that order.
pub(super) const fn sums_in_order(sums: UsageSums) -> [u64; SUMS.len()] {
    [
        sums.requests,
        sums.bytes_in,
        sums.bytes_out,
        sums.device_us,
        sums.queue_us,
        sums.cpu_us,
        sums.reference_us,
        sums.fallbacks,
        sums.refusals,
    ]
}

pub(super) async fn tenants(
    readers: &SqlitePool,
    path: &Path,
) -> Result<Vec<TenantRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT name, namespaces, limits, revision, created_ms, changed_ms FROM tenant ORDER BY name",
    )
    .fetch_all(readers)
    .await
    .map_err(|error| classify(error, path))?;
    rows.iter()
        .map(|row| {
            let get = Getter { row, path };
            let name: String = get.column("name")?;
            Ok(TenantRecord {
                namespaces: get.json(&name, "namespaces")?,
                limits: get.json(&name, "limits")?,
                revision: get.column("revision")?,
                created: Millis(get.column("created_ms")?),
                changed: Millis(get.column("changed_ms")?),
                name,
            })
        })
        .collect()
}

pub(super) async fn is_removed(
    readers: &SqlitePool,
    name: &str,
    path: &Path,
) -> Result<bool, StoreError> {
    let known = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM removed_tenant WHERE name = ?)")
        .bind(name)
        .fetch_one(readers)
        .await;
    known.map_err(|error| classify(error, path))
}

pub(super) async fn credentials(
    readers: &SqlitePool,
    path: &Path,
) -> Result<Vec<CredentialRecord>, StoreError> {
    let rows = sqlx::query(
        "SELECT id, tenant, namespace, kind, verifier, root, version, scopes, created_ms, expires_ms, revoked_ms, successor \
         FROM credential ORDER BY id",
    )
    .fetch_all(readers)
    .await
    .map_err(|error| classify(error, path))?;
    let mut records = Vec::with_capacity(rows.len());
    for row in &rows {
        let get = Getter { row, path };
        let id: String = get.column("id")?;
        let word: String = get.column("kind")?;
        let Some(kind) = kind(&word) else {
            tracing::warn!(
                id,
                kind = word,
                "a credential of a kind that this faam does not know is left out"
            );
            continue;
        };
        records.push(CredentialRecord {
            tenant: get.column("tenant")?,
            namespace: get.column("namespace")?,
            kind,
            verifier: get.column("verifier")?,
            root: get.column("root")?,
            version: get.column("version")?,
            scopes: get.json(&id, "scopes")?,
            created: Millis(get.column("created_ms")?),
            expires: get.column::<Option<i64>>("expires_ms")?.map(Millis),
            revoked: get.column::<Option<i64>>("revoked_ms")?.map(Millis),
            successor: get.column("successor")?,
            id,
        });
    }
    Ok(records)
}

pub(super) async fn usage(
    readers: &SqlitePool,
    query: &UsageQuery,
    path: &Path,
) -> Result<UsageRows, StoreError> {
    let rows_max = query.rows_max.min(USAGE_ROWS_MAX);
    let limit = i64::try_from(rows_max).unwrap_or(i64::MAX);
    // Only words of this file are in it.
    let rows = sqlx::query(AssertSqlSafe(usage_sql(query)))
        .bind(&query.tenant)
        .bind(query.since.map(|at| at.0))
        .bind(query.until.map(|at| at.0))
        .bind(limit.saturating_add(1))
        .bind(&query.namespace)
        .fetch_all(readers)
        .await
        .map_err(|error| classify(error, path))?;
    let mut rows = rows
        .iter()
        .map(|row| usage_record(&Getter { row, path }))
        .collect::<Result<Vec<_>, _>>()?;
    let truncated = rows.len() > rows_max;
    rows.truncate(rows_max);
    Ok(UsageRows { rows, truncated })
}

fn usage_sql(query: &UsageQuery) -> String {
    let (period, by_period) = match query.period {
        Period::Hour => ("hour_ms".to_owned(), Some("hour_ms".to_owned())),
        Period::Day => {
            // Before the epoch nothing was used, so that division may round towards it.
            let day = format!("hour_ms / {DAY_MS} * {DAY_MS}");
            (day.clone(), Some(day))
        }
        Period::Whole => ("min(hour_ms)".to_owned(), None),
    };
    let columns = query.columns;
    let columns = [
        ("tenant", columns.tenant),
        ("namespace", columns.namespace),
        ("kernel", columns.kernel),
        ("backend", columns.backend),
        ("outcome", columns.outcome),
    ];
    let selected: String = columns
        .iter()
        .map(|(name, told_apart)| match told_apart {
            true => format!(", {name}"),
            false => format!(", '' AS {name}"),
        })
        .collect();
    let by: Vec<String> = by_period
        .into_iter()
        .chain(
            columns
                .iter()
                .filter(|(_, told_apart)| *told_apart)
                .map(|(name, _)| (*name).to_owned()),
        )
        .chain(["billable".to_owned()])
        .collect();
    let by = by.join(", ");
    // A condition that is not asked for keeps its parameter, and keeps no index from being used.
    let condition = |asked: bool, condition: &'static str, nothing: &'static str| match asked {
        true => condition,
        false => nothing,
    };
    let tenant = condition(query.tenant.is_some(), "tenant = ?1", "?1 IS NULL");
    let since = condition(query.since.is_some(), "hour_ms >= ?2", "?2 IS NULL");
    let until = condition(query.until.is_some(), "hour_ms < ?3", "?3 IS NULL");
    let namespace = condition(query.namespace.is_some(), "namespace = ?5", "?5 IS NULL");
    let sums: String = SUMS
        .iter()
        .map(|name| format!(", sum({name}) AS {name}"))
        .collect();
    format!(
        "SELECT {period} AS period_ms{selected}, billable{sums} FROM usage \
         WHERE {tenant} AND {since} AND {until} AND {namespace} \
         GROUP BY {by} ORDER BY {by} LIMIT ?4"
    )
}

fn usage_record(get: &Getter<'_>) -> Result<UsageRecord, StoreError> {
    let mut sums = [0_u64; SUMS.len()];
    for (sum, name) in sums.iter_mut().zip(SUMS) {
        *sum = u64::try_from(get.column::<i64>(name)?).unwrap_or(0);
    }
    let [
        requests,
        bytes_in,
        bytes_out,
        device_us,
        queue_us,
        cpu_us,
        reference_us,
        fallbacks,
        refusals,
    ] = sums;
    Ok(UsageRecord {
        key: UsageKey {
            hour: Millis(get.column("period_ms")?),
            tenant: get.column("tenant")?,
            namespace: get.column("namespace")?,
            kernel: get.column("kernel")?,
            backend: get.column("backend")?,
            outcome: get.column("outcome")?,
            billable: get.column("billable")?,
        },
        sums: UsageSums {
            requests,
            bytes_in,
            bytes_out,
            device_us,
            queue_us,
            cpu_us,
            reference_us,
            fallbacks,
            refusals,
        },
    })
}

pub(super) async fn events(
    readers: &SqlitePool,
    query: &EventQuery,
    path: &Path,
) -> Result<Vec<EventRecord>, StoreError> {
    let limit = i64::try_from(query.limit.min(EVENTS_MAX)).unwrap_or(i64::MAX);
    let rows = sqlx::query(
        "SELECT at_ms, kind, actor, tenant, subject, detail FROM event \
         WHERE (?1 IS NULL OR tenant = ?1) AND (?2 IS NULL OR kind = ?2 OR substr(kind, 1, length(?2) + 1) = ?2 || '.') \
         AND (?3 IS NULL OR subject = ?3) AND (?4 IS NULL OR at_ms >= ?4) AND (?5 IS NULL OR at_ms < ?5) \
         ORDER BY sequence DESC LIMIT ?6",
    )
    .bind(&query.tenant)
    .bind(&query.kind)
    .bind(&query.subject)
    .bind(query.since.map(|at| at.0))
    .bind(query.until.map(|at| at.0))
    .bind(limit)
    .fetch_all(readers)
    .await
    .map_err(|error| classify(error, path))?;
    rows.iter()
        .rev()
        .map(|row| {
            let get = Getter { row, path };
            let kind: String = get.column("kind")?;
            Ok(EventRecord {
                at: Millis(get.column("at_ms")?),
                actor: get.column("actor")?,
                tenant: get.column("tenant")?,
                subject: get.column("subject")?,
                detail: get.json(&kind, "detail")?,
                kind,
            })
        })
        .collect()
}

struct Getter<'a> {
    row: &'a SqliteRow,
    path: &'a Path,
}

impl Getter<'_> {
    fn column<'r, T>(&'r self, name: &str) -> Result<T, StoreError>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        self.row
            .try_get(name)
            .map_err(|error| classify(error, self.path))
    }

    fn json<T: serde::de::DeserializeOwned>(
        &self,
        what: &str,
        name: &str,
    ) -> Result<T, StoreError> {
        let text: String = self.column(name)?;
        serde_json::from_str(&text).map_err(|error| StoreError::record(what, error))
    }
}
