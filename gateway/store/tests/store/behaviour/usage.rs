//! Usage: added once, summed as it is asked for.

use faam_store::{Millis, Period, StoreError, UsageColumns, UsageQuery};

use super::{HOUR, Opens, open, usage};

pub(crate) async fn usage_is_added_once_for_each_batch<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let batch = vec![usage("a", 1, "ok", 2), usage("a", 2, "ok", 3)];
    assert!(
        store
            .add_usage(u128::MAX, batch.clone())
            .await
            .expect("added")
    );
    assert!(
        !store
            .add_usage(u128::MAX, batch.clone())
            .await
            .expect("known")
    );
    store.close().await.expect("closed");
    let store = open(&opens).await;
    assert!(
        !store
            .add_usage(u128::MAX, batch.clone())
            .await
            .expect("known for good")
    );
    assert_eq!(
        store
            .usage(&UsageQuery::default())
            .await
            .expect("read")
            .rows,
        batch
    );
    assert!(
        store
            .add_usage(0, vec![usage("a", 2, "ok", 4)])
            .await
            .expect("another")
    );
    let rows = store
        .usage(&UsageQuery::default())
        .await
        .expect("read")
        .rows;
    assert_eq!(rows, [usage("a", 1, "ok", 2), usage("a", 2, "ok", 7)]);
    // A batch that is refused leaves neither sums nor its id.
    let mut broken = usage("a", 3, "ok", 1);
    broken.key.hour = Millis(5);
    let batch = vec![usage("a", 3, "ok", 1), broken];
    let refused = store
        .add_usage(9, batch)
        .await
        .expect_err("no hour begins then");
    assert!(
        matches!(refused, StoreError::Constraint { .. }),
        "{refused}"
    );
    assert!(
        store
            .add_usage(9, vec![usage("a", 3, "ok", 1)])
            .await
            .expect("its id is free")
    );
}

pub(crate) async fn usage_is_summed_as_it_is_asked_for<O: Opens>() {
    let opens = O::new();
    let store = open(&opens).await;
    let stored = vec![
        usage("a", 1, "ok", 1),
        usage("a", 1, "cancelled", 2),
        usage("a", 23, "ok", 4),
        usage("a", 24, "ok", 8),
        usage("b", 24, "ok", 16),
    ];
    store.add_usage(1, stored).await.expect("added");
    let requests = async |query: UsageQuery| {
        let rows = store.usage(&query).await.expect("read").rows;
        rows.into_iter()
            .map(|row| {
                assert_eq!(row.sums.refusals, 7 * row.sums.requests);
                let hour = row.key.hour.0 / HOUR;
                (
                    hour,
                    row.key.tenant,
                    row.key.outcome,
                    row.key.billable,
                    row.sums.requests,
                )
            })
            .collect::<Vec<_>>()
    };
    let row = |hour, tenant: &str, outcome: &str, billable, requests| {
        (
            hour,
            tenant.to_owned(),
            outcome.to_owned(),
            billable,
            requests,
        )
    };
    let of_a = UsageQuery {
        tenant: Some("a".to_owned()),
        ..UsageQuery::default()
    };
    let between = UsageQuery {
        since: Some(Millis(HOUR + 1)),
        until: Some(Millis(24 * HOUR)),
        ..of_a.clone()
    };
    assert_eq!(requests(between).await, [row(23, "a", "ok", true, 4)]);
    let nowhere = UsageQuery {
        namespace: Some("elsewhere".to_owned()),
        ..of_a.clone()
    };
    assert_eq!(requests(nowhere).await, []);
    let unnamed = UsageQuery {
        namespace: Some(String::new()),
        ..of_a.clone()
    };
    assert_eq!(requests(unnamed).await.len(), 4);
    let few = UsageQuery {
        rows_max: 3,
        ..UsageQuery::default()
    };
    let few = store.usage(&few).await.expect("read");
    assert_eq!((few.rows.len(), few.truncated), (3, true));
    let by_day = UsageQuery {
        period: Period::Day,
        ..of_a.clone()
    };
    assert_eq!(
        requests(by_day).await,
        [
            row(0, "a", "cancelled", false, 2),
            row(0, "a", "ok", true, 5),
            row(24, "a", "ok", true, 8)
        ]
    );
    let columns = UsageColumns {
        tenant: false,
        namespace: false,
        kernel: false,
        backend: false,
        outcome: false,
    };
    let whole = UsageQuery {
        period: Period::Whole,
        columns,
        ..UsageQuery::default()
    };
    assert_eq!(
        requests(whole).await,
        [row(1, "", "", false, 2), row(1, "", "", true, 29)]
    );
    let tenants = UsageColumns {
        tenant: true,
        ..columns
    };
    let by_tenant = UsageQuery {
        period: Period::Whole,
        columns: tenants,
        ..UsageQuery::default()
    };
    assert_eq!(
        requests(by_tenant).await,
        [
            row(1, "a", "", false, 2),
            row(1, "a", "", true, 13),
            row(24, "b", "", true, 16)
        ]
    );
}
