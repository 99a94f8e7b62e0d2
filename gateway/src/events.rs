//! What happens to a gateway, for operators and auditors: one record each, one line in the log each.
//!
//! Owns the way from whoever saw something to where it is kept. Invariants: whoever records never waits, and is never
//! refused: beyond [`EVENTS_WAITING_MAX`] the newest is dropped and counted; a record's words and its detail have
//! bounds, so that a log of [`EVENTS_KEPT_MAX`] has one. It does not know what a kind means, nor who may read it.
//! No secret and no body may stand in a record: whoever makes one sees to that, by naming what it puts in.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

pub use faam_store::{EventRecord, Millis};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::metrics::Metrics;

/// Records that wait to be kept.
pub const EVENTS_WAITING_MAX: usize = 1024;
/// Records that are kept: the oldest go first.
pub const EVENTS_KEPT_MAX: usize = 100_000;
/// Records that are kept where there is no store.
pub const EVENTS_IN_MEMORY_MAX: usize = 4096;
/// Records of one answer.
pub const EVENTS_LISTED_MAX: usize = 1000;
/// Characters of a kind, an actor, a tenant, a subject.
pub const EVENT_WORD_CHARS_MAX: usize = 256;
/// Bytes of a detail, as JSON.
pub const EVENT_DETAIL_BYTES_MAX: usize = 4096;

/// Who acts where nobody asked for it.
pub const GATEWAY: &str = "gateway";
/// Who acts on the operator's socket.
pub const OPERATOR: &str = "operator";

/// The kinds that a gateway records of itself and of its cards. Others name theirs: `key.*`, `tenant.*`.
pub mod kind {
    /// It serves.
    pub const GATEWAY_STARTED: &str = "gateway.started";
    /// It takes no more requests.
    pub const GATEWAY_DRAINING: &str = "gateway.draining";
    /// It has ended what it was doing.
    pub const GATEWAY_STOPPED: &str = "gateway.stopped";
    /// What it was started with, as far as that is no secret.
    pub const CONFIG_LOADED: &str = "config.loaded";
    /// Changed TLS files serve.
    pub const TLS_RELOADED: &str = "tls.reloaded";
    /// Changed TLS files cannot be used; what served before goes on.
    pub const TLS_KEPT: &str = "tls.kept-old";
    /// A function passed its self-test and serves.
    pub const CARD_UP: &str = "card.up";
    /// A function failed and is taken out until it is reset.
    pub const CARD_QUARANTINED: &str = "card.quarantined";
    /// A card failed as a whole.
    pub const CARD_LOST: &str = "card.lost";
    /// A card is not tried any more.
    pub const CARD_GIVEN_UP: &str = "card.given-up";
    /// An operator has a function get no more jobs.
    pub const CARD_DRAINED: &str = "card.drained";
    /// An operator has it get jobs again.
    pub const CARD_UNDRAINED: &str = "card.undrained";
    /// An operator had a function reset.
    pub const CARD_RESET: &str = "card.reset";
}

/// A record of now. `detail` is an object.
#[must_use]
pub fn event(kind: &str, actor: &str, subject: &str, detail: Value) -> EventRecord {
    EventRecord {
        at: now(),
        kind: kind.to_owned(),
        actor: actor.to_owned(),
        tenant: None,
        subject: subject.to_owned(),
        detail,
    }
}

/// The same about a tenant.
#[must_use]
pub fn tenant_event(
    kind: &str,
    actor: &str,
    tenant: &str,
    subject: &str,
    detail: Value,
) -> EventRecord {
    EventRecord {
        tenant: Some(tenant.to_owned()),
        ..event(kind, actor, subject, detail)
    }
}

/// Now, as records have it. A clock before 1970 is 1970.
#[must_use]
pub fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = since.map_or(0, |since| since.as_millis());
    Millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// Which records are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// From this moment on.
    pub since: Option<Millis>,
    /// Of this kind, or of the kinds below it: `card` is also `card.lost`.
    pub kind: Option<String>,
    /// About this tenant.
    pub tenant: Option<String>,
    /// So many, the newest of them; at most [`EVENTS_LISTED_MAX`].
    pub limit: Option<usize>,
}

impl EventFilter {
    fn takes(&self, record: &EventRecord) -> bool {
        let is_since = self.since.is_none_or(|since| record.at >= since);
        let is_kind = self.kind.as_deref().is_none_or(|kind| {
            let rest = record.kind.strip_prefix(kind);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        });
        let is_about = self.tenant.is_none() || self.tenant == record.tenant;
        is_since && is_kind && is_about
    }

    fn limit(&self) -> usize {
        self.limit
            .unwrap_or(EVENTS_LISTED_MAX)
            .min(EVENTS_LISTED_MAX)
    }
}

/// See the module's head. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    metrics: Arc<Metrics>,
    /// In the order of their recording.
    kept: Mutex<VecDeque<EventRecord>>,
}

impl Default for Events {
    /// Counted by nobody.
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl Events {
    /// Nothing recorded.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Parts {
            metrics,
            kept: Mutex::default(),
        }))
    }

    /// Keeps a record, and logs it. Never waits.
    pub fn record(&self, record: EventRecord) {
        let record = bounded(record);
        tracing::info!(
            kind = record.kind,
            actor = record.actor,
            tenant = record.tenant,
            subject = record.subject,
            detail = %record.detail,
            "event"
        );
        let mut kept = self.0.kept.lock();
        if kept.len() >= EVENTS_IN_MEMORY_MAX {
            kept.pop_front();
        }
        kept.push_back(record);
        drop(kept);
        self.0.metrics.events("kept", 1);
    }

    /// What was recorded, oldest first: the newest of what `filter` takes.
    #[must_use]
    pub fn list(&self, filter: &EventFilter) -> Vec<EventRecord> {
        let kept = self.0.kept.lock();
        let newest = kept.iter().rev().filter(|record| filter.takes(record));
        let mut listed: Vec<_> = newest.take(filter.limit()).cloned().collect();
        drop(kept);
        listed.reverse();
        listed
    }
}

/// Within its bounds.
fn bounded(mut record: EventRecord) -> EventRecord {
    let words = [&mut record.kind, &mut record.actor, &mut record.subject];
    for word in words.into_iter().chain(record.tenant.as_mut()) {
        if let Some((end, _)) = word.char_indices().nth(EVENT_WORD_CHARS_MAX) {
            word.truncate(end);
        }
    }
    let bytes = record.detail.to_string().len();
    if bytes > EVENT_DETAIL_BYTES_MAX {
        record.detail = json!({ "left_out_bytes": bytes, "bytes_max": EVENT_DETAIL_BYTES_MAX });
    }
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64, kind: &str, tenant: Option<&str>) -> EventRecord {
        EventRecord {
            at: Millis(millis),
            tenant: tenant.map(str::to_owned),
            ..event(kind, GATEWAY, "subject", json!({}))
        }
    }

    fn kinds(events: &Events, filter: &EventFilter) -> Vec<String> {
        let listed = events.list(filter);
        listed.into_iter().map(|record| record.kind).collect()
    }

    #[test]
    fn what_is_asked_for_comes_oldest_first() {
        let events = Events::default();
        events.record(at(1, "card.up", None));
        events.record(at(2, "key.made", Some("one")));
        events.record(at(3, "card.lost", None));
        events.record(at(4, "cards", Some("two")));
        let all = EventFilter::default();
        assert_eq!(
            kinds(&events, &all),
            ["card.up", "key.made", "card.lost", "cards"]
        );
        let filter = |since, kind: Option<&str>, tenant: Option<&str>, limit| EventFilter {
            since: Some(Millis(since)),
            kind: kind.map(str::to_owned),
            tenant: tenant.map(str::to_owned),
            limit,
        };
        assert_eq!(
            kinds(&events, &filter(2, None, None, None)),
            ["key.made", "card.lost", "cards"]
        );
        assert_eq!(
            kinds(&events, &filter(0, Some("card"), None, None)),
            ["card.up", "card.lost"]
        );
        assert_eq!(
            kinds(&events, &filter(0, Some("card.up"), None, None)),
            ["card.up"]
        );
        assert_eq!(
            kinds(&events, &filter(0, None, Some("one"), None)),
            ["key.made"]
        );
        assert_eq!(
            kinds(&events, &filter(0, None, None, Some(2))),
            ["card.lost", "cards"]
        );
    }

    #[test]
    fn a_record_has_bounds() {
        let events = Events::default();
        let long = "\u{e4}".repeat(2 * EVENT_WORD_CHARS_MAX);
        events.record(tenant_event(
            &long,
            &long,
            &long,
            &long,
            json!({ "x": "y".repeat(EVENT_DETAIL_BYTES_MAX) }),
        ));
        let record = events.list(&EventFilter::default()).remove(0);
        let tenant = record.tenant.expect("a tenant");
        for word in [record.kind, record.actor, record.subject, tenant] {
            assert_eq!(word.chars().count(), EVENT_WORD_CHARS_MAX);
        }
        assert!(
            record.detail["left_out_bytes"].is_u64(),
            "{}",
            record.detail
        );
    }

    #[test]
    fn the_oldest_of_too_many_go_first() {
        let events = Events::default();
        for number in 0..i64::try_from(EVENTS_IN_MEMORY_MAX + 10).expect("small") {
            events.record(at(number, "x", None));
        }
        let kept = events.0.kept.lock();
        assert_eq!(kept.len(), EVENTS_IN_MEMORY_MAX);
        assert_eq!(kept.front().map(|record| record.at), Some(Millis(10)));
    }
}
