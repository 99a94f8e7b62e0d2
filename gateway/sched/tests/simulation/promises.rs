//! What tenants are promised, gated: latency beside a flood, shares, guarantees, peak rates, and what a lost card leaves.

use faam_sched::Nanos;
use faam_sched::simulation::{
    Arrivals, Backend, Fault, FaultKind, Outcome, Report, Scenario, TenantClass, run,
};

use crate::scenarios::{MS, SECOND, busy, class, machine, scenario};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;

fn ran(scenario: &Scenario) -> Report {
    let report = run(scenario).expect("every invariant holds");
    println!("seed {}: {} events", report.seed, report.events);
    report
}

/// 4 KiB, ten times a second.
fn light() -> TenantClass {
    class("light", 1, Arrivals::Poisson { per_s: 10.0 }, 4 * KIB)
}

/// A thousand bodies of 1 MiB at once, over and over.
fn flood() -> TenantClass {
    TenantClass {
        in_flight_max: 1000,
        ..class("flood", 1, busy(1000), MIB)
    }
}

#[test]
fn a_light_tenant_does_not_feel_a_flood() {
    for (cores, cards) in [(2, 0), (2, 1), (8, 2)] {
        let mut p99 = Vec::new();
        for classes in [vec![light()], vec![light(), flood()]] {
            let report = ran(&scenario(machine(cores, cards), 120, classes));
            let [light, rest @ ..] = report.classes.as_slice() else {
                unreachable!("a class was asked for");
            };
            assert!(light.delivered() > 1000 && light.delivered() == light.offered);
            if let [flood] = rest {
                assert!(flood.delivered() > 10_000, "{}", flood.delivered());
            }
            p99.push(light.latency.per_mille(990).0);
        }
        println!(
            "{cores} cores, {cards} cards: alone {} us, beside the flood {} us",
            p99[0] / 1000,
            p99[1] / 1000
        );
        assert!(
            p99[1] <= 2 * p99[0],
            "{cores} cores, {cards} cards: {p99:?} ns"
        );
    }
}

#[test]
fn shares_follow_weights() {
    for (cores, cards) in [(4, 0), (8, 2)] {
        let of_weight = |weight: u32, count: u32| TenantClass {
            weight,
            ..class(&format!("weight-{weight}"), count, busy(8), MIB)
        };
        let classes = vec![of_weight(100, 22), of_weight(200, 21), of_weight(400, 21)];
        let report = ran(&scenario(machine(cores, cards), 60, classes));
        let weights: u64 = report.tenants.iter().map(|t| u64::from(t.weight)).sum();
        let served: u64 = report.tenants.iter().map(|t| t.served.0).sum();
        let worst = report.tenants.iter().map(|tenant| {
            assert_eq!(tenant.windows, 59, "its queue was never empty");
            let share = tenant.served.0 as f64 / served as f64;
            let promised = f64::from(tenant.weight) / weights as f64;
            (share / promised - 1.0).abs()
        });
        let worst = worst.fold(0.0, f64::max);
        let jain = report.jain(900).expect("all asked");
        println!(
            "{cores} cores, {cards} cards: furthest from its share {:.2} %, Jain {jain:.5}",
            worst * 100.0
        );
        assert!(worst <= 0.05, "{worst}");
        assert!(jain >= 0.99, "{jain}");
    }
}

/// Floods of several kinds, each alone able to take all there is.
fn floods() -> Vec<TenantClass> {
    let small = TenantClass {
        in_flight_max: 4000,
        ..class(
            "many-small",
            3,
            Arrivals::Poisson { per_s: 4000.0 },
            4 * KIB,
        )
    };
    let bursts = TenantClass {
        in_flight_max: 4000,
        ..class(
            "bursts",
            4,
            Arrivals::Bursts {
                per_s: 2.0,
                requests: 500,
            },
            256 * KIB,
        )
    };
    let heavy = TenantClass {
        weight: 10_000,
        ..class("heavy-weight", 2, busy(200), 256 * KIB)
    };
    vec![flood(), small, bursts, heavy]
}

#[test]
fn a_guaranteed_rate_is_had_beside_any_flood() {
    for (number, flood) in floods().into_iter().enumerate() {
        for (cores, cards) in [(4, 0), (4, 1)] {
            // Half of the cores' time, of the least weight there is: by share it would have next to nothing.
            let guaranteed = TenantClass {
                weight: 1,
                cir_us_per_s: 1_000_000,
                ..class("guaranteed", 1, busy(64), 128 * KIB)
            };
            let mut scenario = scenario(machine(cores, cards), 30, vec![guaranteed, flood.clone()]);
            scenario.machine.memory_bytes_max = 4 << 30;
            scenario.seed = 1 + number as u64;
            let report = ran(&scenario);
            let tenant = report.tenants.first().expect("the guaranteed one");
            let kept = tenant.cir_per_mille_min.expect("it asked");
            println!(
                "{}, {cores} cores, {cards} cards: {kept} thousandths of the guarantee in the worst window",
                flood.name
            );
            assert!(tenant.windows >= 25, "it always asked: {}", tenant.windows);
            assert!(kept >= 950, "{}: {kept}", flood.name);
        }
    }
}

#[test]
fn a_peak_rate_is_not_passed() {
    for (cores, cards, bytes) in [(4, 0, 128 * KIB), (4, 2, MIB), (2, 1, 4 * KIB)] {
        let limited = TenantClass {
            pir_us_per_s: Some(500_000),
            pir_burst_us: 20_000,
            ..class("limited", 1, busy(64), bytes)
        };
        let report = ran(&scenario(machine(cores, cards), 60, vec![limited]));
        let [limited] = report.tenants.as_slice() else {
            unreachable!("one tenant");
        };
        let most = limited.pir_per_mille_max.expect("it has a peak rate");
        let mean = limited.served.0 / 60_000_000;
        println!(
            "{cores} cores, {cards} cards, {bytes} bytes: {most} thousandths in the fullest second, {mean} us a ms in the mean"
        );
        // 102 % and its burst: 4 % of a second's worth.
        assert!(most <= 1020 + 40, "{most}");
        assert!(
            (450..=515).contains(&mean),
            "it has what it may, as far as is predicted: {mean}"
        );
    }
}

#[test]
fn a_lost_card_scales_what_was_guaranteed() {
    let guaranteed = |name: &str, cir_us_per_s| TenantClass {
        weight: 1,
        cir_us_per_s,
        ..class(name, 1, busy(64), 128 * KIB)
    };
    let classes = vec![
        guaranteed("two", 2_000_000),
        guaranteed("one", 1_000_000),
        flood(),
    ];
    let mut scenario = scenario(machine(4, 2), 40, classes);
    scenario.machine.memory_bytes_max = 4 << 30;
    scenario.faults = (0..2)
        .map(|card| Fault {
            card,
            at: Nanos(20 * SECOND),
            until: None,
            kind: FaultKind::Gone,
        })
        .collect();
    let report = ran(&scenario);
    println!(
        "guarantees were held to {} thousandths",
        report.cir_factor_per_mille_min
    );
    assert!(report.cir_factor_per_mille_min < 900, "visibly");
    let [two, one, ..] = report.tenants.as_slice() else {
        unreachable!("three classes");
    };
    let ratio = two.served.0 as f64 / one.served.0 as f64;
    assert!((1.8..2.2).contains(&ratio), "scaled alike: {ratio}");
}

#[test]
fn a_lost_card_costs_no_request() {
    let mut scenario = scenario(
        machine(2, 2),
        20,
        vec![class(
            "steady",
            20,
            Arrivals::Poisson { per_s: 10.0 },
            256 * KIB,
        )],
    );
    scenario.faults = vec![
        Fault {
            card: 0,
            at: Nanos(5 * SECOND),
            until: Some(Nanos(10 * SECOND)),
            kind: FaultKind::Gone,
        },
        Fault {
            card: 1,
            at: Nanos(7 * SECOND),
            until: Some(Nanos(12 * SECOND)),
            kind: FaultKind::Hung,
        },
    ];
    let report = ran(&scenario);
    let [steady] = report.classes.as_slice() else {
        unreachable!("one class");
    };
    assert_eq!(steady.delivered(), steady.offered);
    assert!(steady.replayed > 0, "the cards held something");
}

#[test]
fn who_requires_a_card_that_is_gone_is_told() {
    let mut scenario = scenario(
        machine(2, 1),
        30,
        vec![TenantClass {
            backend: Backend::RequireCard,
            ..class("hardware", 1, Arrivals::Poisson { per_s: 5.0 }, 64 * KIB)
        }],
    );
    scenario.faults = vec![Fault {
        card: 0,
        at: Nanos(10 * SECOND),
        until: None,
        kind: FaultKind::Gone,
    }];
    let report = ran(&scenario);
    let [hardware] = report.classes.as_slice() else {
        unreachable!("one class");
    };
    let no_card = hardware.outcomes[Outcome::NoCard as usize];
    assert!(
        no_card > 50 && hardware.delivered() > 20,
        "{:?}",
        hardware.outcomes
    );
    assert_eq!(no_card + hardware.delivered(), hardware.offered);
    assert!(hardware.latency.max() < Nanos(100 * MS));
}
