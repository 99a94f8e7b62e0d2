//! What is asked of stored usage, and the answer.
//!
//! Invariants: a question is bounded in time and rows; an answer's total is the sum of its rows, and says up to when everything is in
//! it. It does not know who may ask.

use faam_store::{
    Millis, Period, USAGE_ROWS_MAX, UsageColumns, UsageQuery, UsageRecord, UsageSums,
};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use super::account::HOUR_MS;
use super::price::{Amount, PriceSheet};

/// Milliseconds of a day.
const DAY_MS: i64 = 24 * HOUR_MS;
/// How far back an answer reaches that nobody gave a beginning.
const SINCE_DEFAULT_MS: i64 = 30 * DAY_MS;
/// Longest time of one question: ten years or so.
const SPAN_MS_MAX: i64 = 3660 * DAY_MS;
/// Rows of an answer about one tenant.
pub const TENANT_ROWS_MAX: usize = 10_000;
/// What is told apart unless a question says.
pub const GROUP_DEFAULT: &str = "day,kernel";
/// What may be told apart.
pub const GROUPS: &str = "hour, day, tenant, namespace, kernel, backend, outcome";

/// What cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuestionError {
    /// A moment.
    #[error("{name} is {got:?}: expected a day (2026-01-31) or a moment (2026-01-31T12:00:00Z)")]
    Moment {
        /// Of which parameter.
        name: &'static str,
        /// What came.
        got: String,
    },
    /// What is told apart.
    #[error("group has {got:?}: expected some of {GROUPS}, with commas")]
    Group {
        /// What came.
        got: String,
    },
    /// From later to earlier, or too long.
    #[error("since {since} until {until}: expected since before until, and ten years at most")]
    Span {
        /// From then on.
        since: Timestamp,
        /// Until then.
        until: Timestamp,
    },
}

/// A question, as it is written.
#[derive(Clone, Debug, Default)]
pub struct Question<'a> {
    /// Whose; `None`: everybody's.
    pub tenant: Option<&'a str>,
    /// Of which namespace; `None`: of all.
    pub namespace: Option<&'a str>,
    /// From then on.
    pub since: Option<&'a str>,
    /// Before then.
    pub until: Option<&'a str>,
    /// What is told apart.
    pub group: Option<&'a str>,
}

impl Question<'_> {
    /// What it asks of the store, now.
    ///
    /// # Errors
    /// [`QuestionError`]
    pub fn query(&self, now: Millis) -> Result<UsageQuery, QuestionError> {
        let moment = |name, text: Option<&str>| text.map(|text| moment(name, text)).transpose();
        let until = moment("until", self.until)?.unwrap_or(now.0.saturating_add(1));
        let since = moment("since", self.since)?;
        // The beginning of a day, so that the first sum is of a whole one.
        let since = since.unwrap_or_else(|| {
            let since = until.saturating_sub(SINCE_DEFAULT_MS);
            since - since.rem_euclid(DAY_MS)
        });
        if since > until || until.saturating_sub(since) > SPAN_MS_MAX {
            return Err(QuestionError::Span {
                since: timestamp(since),
                until: timestamp(until),
            });
        }
        let (period, columns) = group(self.group.unwrap_or(GROUP_DEFAULT))?;
        Ok(UsageQuery {
            tenant: self.tenant.map(str::to_owned),
            namespace: self.namespace.map(str::to_owned),
            since: Some(Millis(since)),
            until: Some(Millis(until)),
            period,
            columns,
            rows_max: match self.tenant {
                Some(_) => TENANT_ROWS_MAX,
                None => USAGE_ROWS_MAX,
            },
        })
    }
}

fn moment(name: &'static str, text: &str) -> Result<i64, QuestionError> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let day = text.parse::<Date>().ok();
    let midnight = day.and_then(|day| day.to_zoned(TimeZone::UTC).ok());
    midnight
        .map(|at| at.timestamp().as_millisecond())
        .ok_or_else(|| QuestionError::Moment {
            name,
            got: text.chars().take(64).collect(),
        })
}

fn group(text: &str) -> Result<(Period, UsageColumns), QuestionError> {
    let mut period = Period::Whole;
    let mut columns = UsageColumns {
        tenant: false,
        namespace: false,
        kernel: false,
        backend: false,
        outcome: false,
    };
    for word in text.split(',').filter(|word| !word.is_empty()) {
        match word {
            "hour" => period = Period::Hour,
            "day" if period == Period::Whole => period = Period::Day,
            "day" => {}
            "tenant" => columns.tenant = true,
            "namespace" => columns.namespace = true,
            "kernel" => columns.kernel = true,
            "backend" => columns.backend = true,
            "outcome" => columns.outcome = true,
            other => {
                return Err(QuestionError::Group {
                    got: other.chars().take(32).collect(),
                });
            }
        }
    }
    Ok((period, columns))
}

/// A moment as people and programs read it (RFC 3339).
#[must_use]
pub fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or_default()
}

/// Usage, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsageReport {
    /// From then on.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Before then.
    #[schema(value_type = String, format = DateTime)]
    pub until: Timestamp,
    /// All that ended before is in it; later requests may be.
    #[schema(value_type = String, format = DateTime)]
    pub written_until: Timestamp,
    /// The currency of all costs (ISO 4217); XXX where there are no prices.
    #[schema(value_type = String, example = "EUR")]
    pub currency: super::price::Currency,
    /// Sums, by period and then by what is told apart.
    pub rows: Vec<UsageRow>,
    /// The sum of all rows.
    pub total: UsageTotal,
    /// Whether there are more rows than one answer has: ask for less time, or for fewer things told apart.
    pub truncated: bool,
}

/// A sum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsageRow {
    /// Its hours begin then or later.
    #[schema(value_type = String, format = DateTime)]
    pub begin: Timestamp,
    /// And before then.
    #[schema(value_type = String, format = DateTime)]
    pub end: Timestamp,
    /// Who pays, where told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// On whose behalf, where told apart; empty: of no namespace in particular.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Which kernel, where told apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Which engines, where told apart: `cpu`, `card`, `simulated`, `mixed`, `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// How the requests ended, where told apart: `ok`, `cancelled`, the name of a problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Whether it is billed: by how the requests ended.
    pub billable: bool,
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// What it costs, a decimal number.
    #[schema(value_type = String, example = "0.0315")]
    pub cost: Amount,
}

/// Everything together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct UsageTotal {
    /// The sums.
    #[serde(flatten)]
    pub sums: Sums,
    /// What it costs, a decimal number.
    #[schema(value_type = String, example = "0.0315")]
    pub cost: Amount,
}

/// What is summed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Sums {
    /// Requests.
    pub requests: u64,
    /// Bytes of their bodies.
    pub bytes_in: u64,
    /// Bytes of their answers.
    pub bytes_out: u64,
    /// Microseconds on cards.
    pub device_us: u64,
    /// Microseconds in queues.
    pub queue_us: u64,
    /// Microseconds of CPU engines and of verification.
    pub cpu_us: u64,
    /// Microseconds of the reference engine, as the scheduler charges them.
    pub reference_us: u64,
    /// Requests of which something ran elsewhere than they wished.
    pub fallbacks: u64,
    /// Requests that were refused before anything was done.
    pub refusals: u64,
}

impl From<UsageSums> for Sums {
    fn from(sums: UsageSums) -> Self {
        let UsageSums {
            requests,
            bytes_in,
            bytes_out,
            device_us,
            queue_us,
            cpu_us,
            reference_us,
            fallbacks,
            refusals,
        } = sums;
        Self {
            requests,
            bytes_in,
            bytes_out,
            device_us,
            queue_us,
            cpu_us,
            reference_us,
            fallbacks,
            refusals,
        }
    }
}

impl Sums {
    const fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            bytes_in: self.bytes_in.saturating_add(other.bytes_in),
            bytes_out: self.bytes_out.saturating_add(other.bytes_out),
            device_us: self.device_us.saturating_add(other.device_us),
            queue_us: self.queue_us.saturating_add(other.queue_us),
            cpu_us: self.cpu_us.saturating_add(other.cpu_us),
            reference_us: self.reference_us.saturating_add(other.reference_us),
            fallbacks: self.fallbacks.saturating_add(other.fallbacks),
            refusals: self.refusals.saturating_add(other.refusals),
        }
    }
}

/// What a gateway's operator is answered: as stored, with the prices, so that every form can be made of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredUsage {
    /// Sums, by key.
    pub rows: Vec<UsageRecord>,
    /// Whether there are more.
    pub truncated: bool,
    /// All that ended before is in it, milliseconds since 1970.
    pub written_until: i64,
    /// What they cost.
    pub prices: PriceSheet,
}

impl StoredUsage {
    /// The report that answers `query`.
    #[must_use]
    pub fn report(&self, query: &UsageQuery) -> UsageReport {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|record| self.row(record, query))
            .collect();
        let total = rows
            .iter()
            .fold((Sums::default(), Amount::ZERO), |(sums, cost), row| {
                (sums.plus(row.sums), cost.plus(row.cost))
            });
        let moment = |at: Option<Millis>| timestamp(at.map_or(0, |at| at.0));
        UsageReport {
            since: moment(query.since),
            until: moment(query.until),
            written_until: timestamp(self.written_until),
            currency: self.prices.currency,
            rows,
            total: UsageTotal {
                sums: total.0,
                cost: total.1,
            },
            truncated: self.truncated,
        }
    }

    fn row(&self, record: &UsageRecord, query: &UsageQuery) -> UsageRow {
        let (begin, end) = span(record, query);
        let columns = query.columns;
        let key = &record.key;
        let told = |is_told: bool, word: &str| is_told.then(|| word.to_owned());
        UsageRow {
            begin: timestamp(begin),
            end: timestamp(end),
            tenant: told(columns.tenant, &key.tenant),
            namespace: told(columns.namespace, &key.namespace),
            kernel: told(columns.kernel, &key.kernel),
            backend: told(columns.backend, &key.backend),
            outcome: told(columns.outcome, &key.outcome),
            billable: key.billable,
            sums: record.sums.into(),
            cost: self.prices.cost(record),
        }
    }
}

/// Of which time a sum is.
#[must_use]
pub fn span(record: &UsageRecord, query: &UsageQuery) -> (i64, i64) {
    let begin = record.key.hour.0;
    match query.period {
        Period::Hour => (begin, begin.saturating_add(HOUR_MS)),
        Period::Day => (begin, begin.saturating_add(DAY_MS)),
        Period::Whole => {
            let bound = |at: Option<Millis>, other| at.map_or(other, |at| at.0);
            (bound(query.since, begin), bound(query.until, begin))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-01-31T12:30:00Z.
    const NOW: Millis = Millis(1_769_862_600_000);

    fn ask(
        since: Option<&str>,
        until: Option<&str>,
        group: Option<&str>,
    ) -> Result<UsageQuery, String> {
        let question = Question {
            tenant: Some("a"),
            namespace: None,
            since,
            until,
            group,
        };
        question.query(NOW).map_err(|error| error.to_string())
    }

    #[test]
    fn a_question_has_defaults_and_bounds() {
        let query = ask(None, None, None).expect("a question");
        assert_eq!(
            timestamp(query.since.expect("a beginning").0).to_string(),
            "2026-01-01T00:00:00Z"
        );
        assert_eq!(query.until, Some(Millis(NOW.0 + 1)));
        assert_eq!(query.period, Period::Day);
        assert!(query.columns.kernel && !query.columns.tenant);

        let query = ask(
            Some("2026-01-31"),
            Some("2026-02-01T01:00:00+01:00"),
            Some("outcome,hour,day"),
        )
        .expect("a question");
        assert_eq!(
            query.until.expect("an end").0 - query.since.expect("a beginning").0,
            DAY_MS
        );
        assert_eq!(query.period, Period::Hour);
        assert_eq!(
            ask(None, None, Some("")).expect("a question").period,
            Period::Whole
        );
        for (since, until, group, says) in [
            (Some("yesterday"), None, None, "2026-01-31"),
            (None, Some("2026-13-01"), None, "until"),
            (Some("2026-02-01"), None, None, "before"),
            (Some("1990-01-01"), None, None, "ten years"),
            (None, None, Some("day,week"), "\"week\""),
        ] {
            let said = ask(since, until, group).expect_err(says);
            assert!(said.contains(says), "{said}");
        }
    }
}
