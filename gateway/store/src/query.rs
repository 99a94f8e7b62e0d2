//! What can be asked of usage and events.

use serde::{Deserialize, Serialize};

use crate::record::{Millis, UsageRecord};

/// Rows of one answer about usage.
pub const USAGE_ROWS_MAX: usize = 100_000;
/// Events of one answer.
pub const EVENTS_MAX: usize = 10_000;

/// Which usage, and how it is summed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageQuery {
    /// Whose; `None`: everybody's.
    pub tenant: Option<String>,
    /// Of which namespace; `None`: of all.
    pub namespace: Option<String>,
    /// From the hour that begins then or later.
    pub since: Option<Millis>,
    /// Before the hour that begins then or later.
    pub until: Option<Millis>,
    /// Over how long a sum is.
    pub period: Period,
    /// What is told apart; the others are summed over, and empty in the answer. Whether it is billable always is.
    pub columns: UsageColumns,
    /// Rows of the answer, up to [`USAGE_ROWS_MAX`].
    pub rows_max: usize,
}

impl Default for UsageQuery {
    fn default() -> Self {
        Self {
            tenant: None,
            namespace: None,
            since: None,
            until: None,
            period: Period::default(),
            columns: UsageColumns::default(),
            rows_max: USAGE_ROWS_MAX,
        }
    }
}

/// Over how long a sum is, from the epoch on (UTC).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Period {
    /// As it is stored.
    #[default]
    Hour,
    /// A day.
    Day,
    /// Everything between `since` and `until`; such a sum's hour is the first that has anything.
    Whole,
}

/// Columns of a usage key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageColumns {
    /// Who pays.
    pub tenant: bool,
    /// On whose behalf.
    pub namespace: bool,
    /// Which kernel.
    pub kernel: bool,
    /// Which engines.
    pub backend: bool,
    /// How it ended.
    pub outcome: bool,
}

impl Default for UsageColumns {
    fn default() -> Self {
        Self {
            tenant: true,
            namespace: true,
            kernel: true,
            backend: true,
            outcome: true,
        }
    }
}

/// An answer about usage.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsageRows {
    /// Sums, by key.
    pub rows: Vec<UsageRecord>,
    /// Whether there are more than were asked for: ask for less time, or fewer columns.
    pub truncated: bool,
}

/// Which events: the newest `limit` that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventQuery {
    /// About this tenant; `None`: about any, or none.
    pub tenant: Option<String>,
    /// Of this kind, or of kinds that begin with it and a dot: `key` is `key.added` and `key.revoked`.
    pub kind: Option<String>,
    /// About this.
    pub subject: Option<String>,
    /// From then on.
    pub since: Option<Millis>,
    /// Before then.
    pub until: Option<Millis>,
    /// How many at most, up to [`EVENTS_MAX`].
    pub limit: usize,
}

impl Default for EventQuery {
    fn default() -> Self {
        Self {
            tenant: None,
            kind: None,
            subject: None,
            since: None,
            until: None,
            limit: 100,
        }
    }
}
