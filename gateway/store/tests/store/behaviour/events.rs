//! Events: appended once, the newest read.

use faam_store::{EventQuery, Millis};

use super::{Opens, event, open, usage};

pub(crate) async fn the_newest_events_are_answered_oldest_first<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let stored = vec![
        event(1, "key.added", Some("a"), "k1"),
        event(2, "keyring.opened", None, "k1"),
        event(3, "key.revoked", Some("a"), "k1"),
        event(4, "card.lost", None, "fpga0"),
    ];
    store
        .append_events(1, stored[..2].to_vec())
        .await
        .expect("appended");
    store
        .append_events(2, stored[2..].to_vec())
        .await
        .expect("appended");
    let ask = async |query: EventQuery| store.events(&query).await.expect("read");
    assert_eq!(ask(EventQuery::default()).await, stored);
    let newest = EventQuery {
        limit: 2,
        ..EventQuery::default()
    };
    assert_eq!(ask(newest).await, stored[2..]);
    let keys = EventQuery {
        kind: Some("key".to_owned()),
        ..EventQuery::default()
    };
    assert_eq!(ask(keys).await, [stored[0].clone(), stored[2].clone()]);
    let of_a = EventQuery {
        tenant: Some("a".to_owned()),
        since: Some(Millis(2)),
        ..EventQuery::default()
    };
    assert_eq!(ask(of_a).await, stored[2..3]);
    let about = EventQuery {
        subject: Some("k1".to_owned()),
        until: Some(Millis(3)),
        ..EventQuery::default()
    };
    assert_eq!(ask(about).await, stored[..2]);
}

pub(crate) async fn events_are_appended_once_for_each_batch<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let stored = vec![
        event(1, "key.added", Some("a"), "k1"),
        event(1, "key.added", Some("a"), "k1"),
    ];
    let append = async |batch| {
        store
            .append_events(batch, stored.clone())
            .await
            .expect("kept")
    };
    assert!(append(1).await);
    assert!(!append(1).await, "its answer may have been lost");
    assert!(append(2).await, "another one that says the same");
    assert!(!append(1).await);
    let all = store.events(&EventQuery::default()).await.expect("read");
    assert_eq!(all, [stored.clone(), stored.clone()].concat());
    // Usage is another matter: its batches have ids of their own.
    let used = store.add_usage(1, vec![usage("a", 1, "ok", 1)]).await;
    assert!(used.expect("added"));
    store.close().await.expect("closed");
    let store = open(&opens).await;
    let again = store.append_events(2, stored).await.expect("answered");
    assert!(!again, "also after a restart");
}
