use std::collections::BTreeMap;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

use super::*;

const OK: End = End {
    kernel: "compress",
    backend: "cpu",
    outcome: "ok",
};

/// Under an `Arc`, as a registry takes it.
#[derive(Clone, Debug, Default)]
struct Published(Arc<TenantSeries>);

impl Published {
    /// Every series with its value.
    fn read(&self) -> BTreeMap<String, f64> {
        let mut registry = Registry::with_prefix("faam");
        registry.register_collector(Box::new(Arc::clone(&self.0)));
        let mut out = String::new();
        text::encode(&mut out, &registry).expect("text");
        let lines = out.lines().filter(|line| !line.starts_with('#'));
        let series = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        series.collect()
    }

    fn requests(&self, tenant: &str) -> Option<f64> {
        let name = format!(
            r#"faam_requests_total{{tenant="{tenant}",kernel="compress",backend="cpu",outcome="ok"}}"#
        );
        self.read().get(&name).copied()
    }

    fn end(&self, tenant: &str, times: u64) {
        (0..times).for_each(|_| self.0.request_end(tenant, &OK));
    }

    fn review(&self, began: Instant, number: u32) {
        self.0.review(began + REVIEW_EVERY * number);
    }
}

#[test]
fn thousands_of_tenants_have_as_many_series_as_labels() {
    let published = Published::default();
    let spent = Spent {
        device: Duration::from_millis(1),
        ..Spent::default()
    };
    for number in 0..5_000 {
        let tenant = format!("tenant-{number}");
        published.end(&tenant, 1);
        published.0.used(&tenant, spent);
    }
    let depths: Vec<_> = (0..5_000)
        .map(|number| format!("tenant-{number}"))
        .collect();
    published
        .0
        .queue_depths(depths.iter().map(|tenant| (tenant.as_str(), 2)));
    let read = published.read();
    let of = |name: &'static str| {
        read.iter()
            .filter(move |(series, _)| series.starts_with(name))
    };
    let sum = |name: &'static str| of(name).map(|(_, value)| value).sum::<f64>();
    assert_eq!(of("faam_requests_total{").count(), TENANT_LABELS_MAX + 1);
    assert_eq!(of("faam_queue_depth{").count(), TENANT_LABELS_MAX + 1);
    assert_eq!(
        of("faam_usage_seconds_total{").count(),
        (TENANT_LABELS_MAX + 1) * RESOURCES.len()
    );
    assert_eq!(sum("faam_requests_total{"), 5_000.0);
    assert_eq!(sum("faam_queue_depth{"), 10_000.0);
    assert!((sum("faam_usage_seconds_total{") - 5.0).abs() < 1e-6);
    let others = published.0.others.lock();
    assert!(others.recent.len() <= CANDIDATES_MAX);
}

#[test]
fn the_busiest_get_the_labels_and_no_counter_goes_backwards() {
    let published = Published::default();
    let began = Instant::now();
    for number in 0..TENANT_LABELS_MAX {
        published.end(&format!("first-{number:02}"), 10);
    }
    published.review(began, 0);
    let mut seen = BTreeMap::new();
    let mut check = |published: &Published| {
        let read = published.read();
        for (series, value) in &read {
            let before = seen.insert(series.clone(), *value).unwrap_or_default();
            assert!(
                !series.contains("_total") || *value >= before,
                "{series} went from {before} to {value}"
            );
        }
    };
    check(&published);
    // Busy, but not among the first; many others are not busy at all.
    for _ in 0..3 {
        published.end("late", 50);
        (0..2_000).for_each(|number| published.end(&format!("rare-{number}"), 1));
    }
    assert_eq!(published.requests("late"), None);
    assert_eq!(published.requests(OTHER), Some(6_150.0));
    published.review(began, 1);
    check(&published);
    // What it did before stays where it was counted.
    published.end("late", 5);
    assert_eq!(published.requests("late"), Some(5.0));
    assert_eq!(published.requests(OTHER), Some(6_150.0));
    let lost: Vec<_> = (0..TENANT_LABELS_MAX)
        .map(|number| format!("first-{number:02}"))
        .filter(|tenant| published.requests(tenant).is_none())
        .collect();
    // At most: those that were busy enough in the table of candidates.
    assert!((1..=REPLACED_MAX).contains(&lost.len()), "{lost:?}");
    // Who lost its label is busy again, more than anybody.
    published.end(&lost[0], 5_000);
    check(&published);
    published.review(began, 2);
    published.end(&lost[0], 1);
    assert_eq!(published.requests(&lost[0]), Some(11.0));
    check(&published);
    assert_eq!(
        published
            .read()
            .keys()
            .filter(|series| series.contains("queue_depth"))
            .count(),
        TENANT_LABELS_MAX + 1
    );
}

#[test]
fn two_that_are_alike_do_not_take_turns() {
    let published = Published::default();
    let began = Instant::now();
    published.review(began, 0);
    for round in 1..6 {
        for number in 0..=TENANT_LABELS_MAX {
            published.end(&format!("alike-{number:02}"), 10);
        }
        published.review(began, round);
        assert_eq!(
            published.requests(&format!("alike-{TENANT_LABELS_MAX}")),
            None
        );
    }
    // No sooner than it is time.
    published.end("busy", 1_000);
    published
        .0
        .review(began + REVIEW_EVERY * 5 + Duration::from_secs(1));
    assert_eq!(published.requests("busy"), None);
    published.review(began, 6);
    published.end("busy", 1);
    assert_eq!(published.requests("busy"), Some(1.0));
}

#[test]
fn a_tenant_of_the_name_of_all_others_is_among_them() {
    let published = Published::default();
    published.end(OTHER, 3);
    assert_eq!(published.requests(OTHER), Some(3.0));
    assert!(published.0.labelled.load().is_empty());
}

#[test]
fn requests_that_end_at_once_are_all_counted_while_labels_change_hands() {
    let published = Published::default();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let published = &published;
            scope.spawn(move || {
                for number in 0..5_000_u32 {
                    published.end(&format!("tenant-{}", (number * 7 + thread) % 300), 1);
                }
            });
        }
        (0..200).for_each(|number| published.review(began, number));
    });
    let series = published.read();
    let shown: f64 = series
        .iter()
        .filter(|(series, _)| series.starts_with("faam_requests_total{"))
        .map(|(_, count)| count)
        .sum();
    let others = published.0.others.lock();
    let retired = others.retired.iter().flat_map(|series| series.ends());
    let kept: u64 = retired.map(|(_, count)| count).sum();
    assert_eq!(
        shown + f64::from(u32::try_from(kept).expect("small")),
        20_000.0
    );
}

#[test]
fn who_got_a_label_while_the_lock_was_waited_for_is_not_counted_among_the_others() {
    let published = Published::default();
    for number in 0..TENANT_LABELS_MAX {
        published.end(&format!("tenant-{number}"), 1);
    }
    let mut others = published.0.others.lock();
    let series = published.0.let_in("tenant-3", &mut others);
    assert_eq!(series.map(|series| series.ends()), Some(vec![(OK, 1)]));
    let late = published.0.let_in("one-more", &mut others);
    assert!(late.is_none(), "there is no label left");
}
