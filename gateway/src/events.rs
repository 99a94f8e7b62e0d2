//! What happens to a gateway, for operators and auditors: one record each, one line in the log each.
//!
//! Owns the way from whoever saw something to where it is kept. Invariants: whoever records never waits, and is never
//! refused: beyond [`EVENTS_WAITING_MAX`] the newest is dropped and counted; a record's words and its detail have
//! bounds, and so has the number that the store keeps ([`EVENTS_KEPT`]). It does not know what a kind means, nor who may
//! read it.
//! No secret and no body may stand in a record: whoever makes one sees to that, by naming what it puts in.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use faam_store::sqlite::EVENTS_KEPT;
use faam_store::{EventQuery, Store, StoreError};
pub use faam_store::{EventRecord, Millis};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::metrics::Metrics;

/// Records that wait to be kept.
pub const EVENTS_WAITING_MAX: usize = 1024;
/// Records that are written at once.
pub const EVENTS_WRITTEN_AT_ONCE_MAX: usize = 256;
/// How long the writer pauses before it tries again what the store did not take.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// How long a reader waits for what was recorded before it asked.
const READ_WAIT_MAX: Duration = Duration::from_secs(2);
/// Records of one answer, so that it fits what a command reads.
pub const EVENTS_LISTED_MAX: usize = 400;
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
    /// A queue pair of a function failed and is never used again.
    pub const CARD_QUEUE_QUARANTINED: &str = "card.queue-quarantined";
    /// A function failed and is taken out until it is reset.
    pub const CARD_QUARANTINED: &str = "card.quarantined";
    /// A card failed as a whole.
    pub const CARD_LOST: &str = "card.lost";
    /// A function, or a card, failed too often of late, and waits before it is tried again.
    pub const CARD_WAITS: &str = "card.waits";
    /// A function, or a card, failed too often of late, and is not tried until an operator resets it.
    pub const CARD_OUT_OF_SERVICE: &str = "card.out-of-service";
    /// A card is not tried any more, whatever an operator does.
    pub const CARD_GIVEN_UP: &str = "card.given-up";
    /// An operator has a function get no more jobs.
    pub const CARD_DRAINED: &str = "card.drained";
    /// An operator has it get jobs again.
    pub const CARD_UNDRAINED: &str = "card.undrained";
    /// An operator told a simulated card to fail, or no more.
    pub const CARD_FAULT: &str = "card.fault";
    /// An operator had a function reset.
    pub const CARD_RESET: &str = "card.reset";
    /// A kernel was loaded into a slot, and serves.
    pub const SLOT_LOADED: &str = "slot.loaded";
    /// A slot was emptied.
    pub const SLOT_EVICTED: &str = "slot.evicted";
    /// A load or an eviction of a slot failed.
    pub const SLOT_FAILED: &str = "slot.failed";
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

/// See the module's head. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Events(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    metrics: Arc<Metrics>,
    waiting: Mutex<Waiting>,
    /// How many were recorded, and not dropped.
    recorded: watch::Sender<u64>,
    /// How many of these the store has, or was given in vain.
    written: watch::Sender<u64>,
    store: OnceLock<Store>,
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<EventRecord>,
    recorded: u64,
}

impl Default for Events {
    /// Counted and kept by nobody: they wait.
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl Events {
    /// Nothing recorded. Records wait until [`Events::write_to`] takes them.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self(Arc::new(Parts {
            metrics,
            waiting: Mutex::default(),
            recorded: watch::Sender::new(0),
            written: watch::Sender::new(0),
            store: OnceLock::new(),
        }))
    }

    /// Has a record kept, and logs it. Never waits.
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
        let mut waiting = self.0.waiting.lock();
        if waiting.records.len() >= EVENTS_WAITING_MAX {
            drop(waiting);
            self.0.metrics.events("dropped", 1);
            return;
        }
        waiting.records.push_back(record);
        waiting.recorded += 1;
        self.0.recorded.send_replace(waiting.recorded);
    }

    /// Writes what is recorded to `store`, as it comes, until the store is closed. To be called once.
    ///
    /// What the store refuses because of its bounds or its disk is offered again and again, in its order and under the
    /// same id, so that one whose answer was lost is there once; what comes meanwhile waits, and what finds no place to
    /// wait is dropped and counted, as is what the store would refuse for ever.
    pub fn write_to(&self, store: Store) -> impl Future<Output = ()> + use<> {
        let events = self.clone();
        let _ = events.0.store.set(store.clone());
        async move {
            let mut recorded = events.0.recorded.subscribe();
            loop {
                let batch = events.batch();
                if !batch.is_empty() {
                    let count = batch.len();
                    let appended = append(&store, batch).await;
                    let outcome = if appended.is_ok() {
                        "written"
                    } else {
                        "dropped"
                    };
                    events.0.metrics.events(outcome, count);
                    if let Err(error) = appended {
                        if matches!(error, StoreError::Closed) {
                            return;
                        }
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            count,
                            "events are lost: the store would never take them"
                        );
                    }
                    let written = u64::try_from(count).unwrap_or(u64::MAX);
                    events.0.written.send_modify(|so_far| *so_far += written);
                    continue;
                }
                if recorded.changed().await.is_err() {
                    return;
                }
            }
        }
    }

    fn batch(&self) -> Vec<EventRecord> {
        let mut waiting = self.0.waiting.lock();
        let count = waiting.records.len().min(EVENTS_WRITTEN_AT_ONCE_MAX);
        waiting.records.drain(..count).collect()
    }

    /// Waits until all that was recorded before is written, or for `limit`; whether it is.
    pub async fn flush(&self, limit: Duration) -> bool {
        let recorded = self.0.waiting.lock().recorded;
        let mut written = self.0.written.subscribe();
        let all = written.wait_for(|written| *written >= recorded);
        timeout(limit, all).await.is_ok()
    }

    /// What was recorded, oldest first: the newest of what `query` asks for.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn list(&self, query: &EventQuery) -> Result<Vec<EventRecord>, StoreError> {
        let Some(store) = self.0.store.get() else {
            return Ok(Vec::new());
        };
        // Where it cannot be written what is stored is told all the same.
        let _ = self.flush(READ_WAIT_MAX).await;
        store.events(query).await
    }
}

/// Has `store` keep `batch`, once, however often that has to be tried.
async fn append(store: &Store, batch: Vec<EventRecord>) -> Result<(), StoreError> {
    let id = Uuid::now_v7().as_u128();
    loop {
        match store.append_events(id, batch.clone()).await {
            Ok(_) => return Ok(()),
            Err(error) if !error.may_pass() => return Err(error),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                count = batch.len(),
                "events are not written yet: the store does not take them"
            ),
        }
        sleep(RETRY_PAUSE).await;
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
    use crate::fateful_store::{Fate, FatefulStore};

    /// A failure, not a measure.
    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn what_is_recorded_before_and_while_a_store_is_there_is_in_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("faam.db");
        let store = Store::open(&path).await.expect("opens");
        let events = Events::default();
        let number = |number: u32| event("number", GATEWAY, &number.to_string(), json!({}));
        (0..300).for_each(|n| events.record(number(n)));
        let writing = tokio::spawn(events.write_to(store.clone()));
        (300..600).for_each(|n| events.record(number(n)));
        let query = EventQuery {
            kind: Some("number".to_owned()),
            limit: 1000,
            ..EventQuery::default()
        };
        let listed = events.list(&query).await.expect("read");
        let subjects: Vec<u32> = listed
            .iter()
            .map(|record| record.subject.parse().expect("a number"))
            .collect();
        assert_eq!(subjects, (0..600).collect::<Vec<_>>());
        store.close().await.expect("closes");
        events.record(number(600));
        // Whoever writes ends with its store.
        timeout(SOON, writing)
            .await
            .expect("ends")
            .expect("no panic");
        assert!(!events.flush(Duration::ZERO).await);
    }

    #[tokio::test]
    async fn what_is_written_and_not_answered_is_there_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let fateful = FatefulStore::open(&directory.path().join("faam.db")).await;
        let store = fateful.store.clone();
        let metrics = Arc::new(Metrics::new());
        let events = Events::new(Arc::clone(&metrics));
        let writing = tokio::spawn(events.write_to(store.clone()));
        let fates = [Fate::Unanswered, Fate::Refused, Fate::Written];
        for (number, fate) in (1..).zip(fates) {
            fateful.next(fate);
            events.record(event(&format!("{fate:?}"), GATEWAY, "", json!({})));
            assert!(events.flush(SOON).await);
            assert!(fateful.has_come());
            let listed = store.events(&EventQuery::default()).await.expect("read");
            let kinds: Vec<_> = listed.iter().map(|record| record.kind.as_str()).collect();
            assert_eq!(kinds, ["Unanswered", "Refused", "Written"][..number]);
        }
        let written = r#"faam_events_total{outcome="written"} 3"#;
        assert!(metrics.render().contains(written), "{}", metrics.render());
        store.close().await.expect("closes");
        events.record(event("x", GATEWAY, "", json!({})));
        timeout(SOON, writing)
            .await
            .expect("ends")
            .expect("no panic");
    }

    #[test]
    fn a_record_has_bounds() {
        let long = "\u{e4}".repeat(2 * EVENT_WORD_CHARS_MAX);
        let detail = json!({ "x": "y".repeat(EVENT_DETAIL_BYTES_MAX) });
        let record = bounded(tenant_event(&long, &long, &long, &long, detail));
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
    fn nobody_waits_and_what_is_too_much_is_counted() {
        let metrics = Arc::new(Metrics::new());
        let events = Events::new(Arc::clone(&metrics));
        for _ in 0..EVENTS_WAITING_MAX + 10 {
            events.record(event("x", GATEWAY, "", json!({})));
        }
        assert_eq!(events.0.waiting.lock().records.len(), EVENTS_WAITING_MAX);
        let dropped = r#"faam_events_total{outcome="dropped"} 10"#;
        assert!(metrics.render().contains(dropped), "{}", metrics.render());
    }
}
