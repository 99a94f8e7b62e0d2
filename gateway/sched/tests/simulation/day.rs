//! A day of ten thousand tenants: whole in the release build, an hour of it on every run.

use std::time::Instant;

use faam_sched::Nanos;
use faam_sched::simulation::{Arrivals, ClassFigures, Report, Scenario, Sizes, TenantClass, run};

use crate::scenarios::{DAY, SECOND, class, machine, scenario};

/// Tenants by thousands, each with little to do; together half of the machine in the busiest hour.
fn ten_thousand(duration: Nanos) -> Scenario {
    let hours = [
        2.0, 1.5, 1.2, 1.0, 1.0, 1.3, 2.5, 4.5, 7.0, 8.5, 9.0, 9.2, 8.8, 9.0, 9.4, 9.5, 9.0, 8.2,
        7.0, 6.2, 5.5, 4.8, 3.8, 2.8,
    ];
    let diurnal = |per_s: f64| Arrivals::Diurnal {
        per_s,
        hours: Box::new(hours),
    };
    let sizes = Sizes::LogNormal {
        median: 16 << 10,
        sigma: 1.5,
        max: 16 << 20,
    };
    let classes = vec![
        TenantClass {
            sizes: sizes.clone(),
            ..class("small", 9_000, diurnal(0.005), 0)
        },
        TenantClass {
            sizes,
            weight: 400,
            ..class("medium", 950, diurnal(0.05), 0)
        },
        class("large", 50, diurnal(0.2), 1 << 20),
    ];
    let mut scenario = scenario(machine(8, 2), 1, classes);
    scenario.duration = duration;
    scenario.warm_up = Nanos(0);
    scenario.window = Nanos(10 * SECOND);
    scenario
}

fn ran(scenario: &Scenario) -> Report {
    let began = Instant::now();
    let report = run(scenario).expect("every invariant holds");
    let requests: u64 = report.classes.iter().map(ClassFigures::delivered).sum();
    println!(
        "seed {}: {} s simulated in {:.2} s: {} events, {requests} requests delivered, {} checks",
        report.seed,
        scenario.duration.0 / SECOND,
        began.elapsed().as_secs_f64(),
        report.events,
        report.checks
    );
    report
}

#[test]
fn an_hour_of_ten_thousand_tenants() {
    let report = ran(&ten_thousand(Nanos(DAY / 24)));
    let delivered: u64 = report.classes.iter().map(ClassFigures::delivered).sum();
    let offered: u64 = report.classes.iter().map(|class| class.offered).sum();
    assert_eq!(report.tenants.len(), 10_000);
    assert_eq!(delivered, offered, "nothing is lost or refused");
    // An hour of the night: 0.36 of the day's mean of 102.5 a second.
    assert!((120_000..150_000).contains(&delivered), "{delivered}");
    // What a run costs is its events, not its tenants or its time.
    assert!(report.events < 8 * delivered, "{}", report.events);
}

#[test]
#[ignore = "its time is a figure of the release build: cargo test --release -p faam-sched --test simulation day -- --ignored --nocapture"]
fn a_day_of_ten_thousand_tenants() {
    let began = Instant::now();
    let report = ran(&ten_thousand(Nanos(DAY)));
    let delivered: u64 = report.classes.iter().map(ClassFigures::delivered).sum();
    assert!((8_700_000..9_000_000).contains(&delivered), "{delivered}");
    assert!(began.elapsed().as_secs() < 60, "a day in under a minute");
}
