//! Guaranteed and peak rates.

use faam_sched::{Config, Nanos, TargetSet, TenantConfig};
use proptest::prelude::*;

use crate::machine::{MS, Machine, SECOND, weighted};

/// Nanoseconds of the reference engine a second, from microseconds.
fn per_s(us: u64) -> u64 {
    us * 1_000
}

/// What was charged between two moments.
fn served(machine: &Machine, tenant: usize, from: u64, to: u64) -> u64 {
    let history = &machine.tenants[tenant].history;
    let within = history.iter().filter(|(at, _)| *at > from && *at <= to);
    within.map(|(_, cost)| cost).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Guarantees of four fifths of the capacity are held for whoever asks, over every second, beside a flood of any weight.
    #[test]
    fn a_guarantee_is_held_whenever_it_is_asked_for(
        servers in 1usize..4,
        factors in proptest::collection::vec(20u64..400, 0..7),
        parts in proptest::collection::vec(1u64..10, 1..6),
        costs in proptest::collection::vec(100_000u64..2 * MS, 1..5),
        flood_weight in 1u32..100_000,
        pauses in proptest::collection::vec(any::<bool>(), 4),
        bias in 40u16..250,
    ) {
        let mut targets = vec![(servers, 100)];
        targets.extend(factors.iter().map(|factor| (1, *factor)));
        let mut machine = Machine::new(Config::default(), &targets);
        let anywhere = machine.anywhere();
        let capacity = machine.capacity() / 1_000;
        let sum: u64 = parts.iter().sum();
        let cirs: Vec<u64> = parts.iter().map(|part| capacity * 8 / 10 * part / sum).collect();
        for cir in &cirs {
            let config = TenantConfig { cir_us_per_s: *cir, ..weighted(1) };
            let number = machine.tenant(config, &costs, anywhere);
            machine.tenants[number].bias = bias;
        }
        let flood = machine.tenant(weighted(flood_weight), &[2 * MS, 500_000], anywhere);
        let largest = *costs.iter().max().expect("some");
        // What is in service at a window's edges counts for the next one, and is charged as predicted until it ends. Whoever is
        // due is left to other targets for a while.
        let charged = largest * u64::from(bias.max(100)) / 100;
        let edges = (machine.depth() + 2) * charged.max(2 * MS);
        let left = |cir: u64| Config::default().defer_max.0 * cir / 1_000_000;
        for (second, paused) in pauses.into_iter().enumerate() {
            let from = machine.now;
            let asking = |number: usize| !(paused && number == 0);
            machine.run(SECOND, |machine| {
                machine.fill(flood, 64);
                for number in (0..cirs.len()).filter(|number| asking(*number)) {
                    machine.fill(number, 64);
                }
            });
            for (number, cir) in cirs.iter().enumerate().filter(|(number, _)| asking(*number)) {
                let had = served(&machine, number, from, machine.now);
                prop_assert!(had + edges + left(*cir) >= per_s(*cir), "second {second}: tenant {number} had {had} ns of {}", per_s(*cir));
            }
        }
        prop_assert!(served(&machine, flood, 0, machine.now) > 0, "the rest is the flood's");
    }

    /// Over no window does a tenant get more than its peak rate, its burst, and what a wrong prediction let through.
    #[test]
    fn a_peak_rate_is_never_passed_by_more_than_its_burst(
        targets in proptest::collection::vec((1usize..4, 20u64..400), 1..8),
        pir in 1_000u64..3_000_000,
        burst in 0u64..200 * MS,
        costs in proptest::collection::vec(100_000u64..2 * MS, 1..5),
        bias in 50u16..300,
        cir in 0u64..500_000,
        pauses in proptest::collection::vec(0u64..200 * MS, 1..20),
    ) {
        let mut targets = targets;
        targets[0].1 = 100;
        let mut machine = Machine::new(Config::default(), &targets);
        let anywhere = machine.anywhere();
        let config = TenantConfig {
            pir_us_per_s: Some(pir),
            pir_burst: Nanos(burst),
            cir_us_per_s: cir.min(pir),
            ..weighted(100)
        };
        let limited = machine.tenant(config, &costs, anywhere);
        machine.tenants[limited].bias = bias;
        let other = machine.tenant(weighted(100), &[MS], anywhere);
        let fill = |machine: &mut Machine| {
            machine.fill(limited, 32);
            machine.fill(other, 4);
        };
        for pause in pauses {
            machine.run(100 * MS, fill);
            machine.run(pause, |_| {});
        }
        let largest = *costs.iter().max().expect("some");
        // As in a bucket: whoever was idle has the burst; what runs is corrected when it ends, and a window cuts jobs.
        let wrong = largest.saturating_sub(largest * u64::from(bias) / 100);
        let in_service = machine.depth() * wrong + (machine.depth() + 1) * largest;
        let most = burst.max(largest) + in_service;
        let history = &machine.tenants[limited].history;
        for (start, (from, _)) in history.iter().enumerate() {
            let mut had = 0;
            for (to, cost) in &history[start..] {
                had += cost;
                let span = u128::from(to - from) * u128::from(per_s(pir)) / u128::from(SECOND);
                let allowed = u64::try_from(span).expect("fits") + most;
                prop_assert!(had <= allowed, "{had} ns in {} ns, allowed {allowed}", to - from);
            }
        }
    }

    /// A tenant that always asks gets its peak rate where there is room for it: limits take nothing more than they must.
    #[test]
    fn a_peak_rate_is_reached(
        pir in 10_000u64..900_000,
        burst in 5 * MS..200 * MS,
        costs in proptest::collection::vec(100_000u64..2 * MS, 1..5),
        bias in 50u16..300,
    ) {
        let mut machine = Machine::new(Config::default(), &[(2, 100)]);
        let anywhere = machine.anywhere();
        let config = TenantConfig { pir_us_per_s: Some(pir), pir_burst: Nanos(burst), ..weighted(100) };
        let limited = machine.tenant(config, &costs, anywhere);
        machine.tenants[limited].bias = bias;
        machine.run(5 * SECOND, |machine| machine.fill(limited, 32));
        let had = served(&machine, limited, 0, machine.now);
        let largest = *costs.iter().max().expect("some") * 3;
        prop_assert!(had + 3 * largest >= 5 * per_s(pir), "{had} of {}", 5 * per_s(pir));
    }
}

/// Fast targets that take each of its jobs before it is old are not enough for what this one was promised: the slow ones, which
/// would end its jobs later, owe it the rest.
#[test]
fn a_guarantee_beyond_the_fast_targets_is_held_by_the_slow_ones() {
    for cost in [100_000, MS] {
        let targets = [(3, 100), (1, 20), (1, 20), (1, 52)];
        let mut machine = Machine::new(Config::default(), &targets);
        let anywhere = machine.anywhere();
        let cir_us_per_s = machine.capacity() / 1_000 * 8 / 10;
        let promised = TenantConfig {
            cir_us_per_s,
            ..weighted(1)
        };
        let owed = machine.tenant(promised, &[cost], anywhere);
        let flood = machine.tenant(weighted(1), &[2 * MS, 500_000], anywhere);
        machine.run(4 * SECOND, |machine| {
            machine.fill(flood, 64);
            machine.fill(owed, 64);
        });
        let had = served(&machine, owed, 0, machine.now);
        let promised = 4 * per_s(cir_us_per_s);
        assert!(
            had * 1_000 >= promised * 997,
            "jobs of {cost} ns: {had} ns of {promised}"
        );
    }
}

#[test]
fn a_lost_card_scales_every_guarantee_and_one_that_comes_back_restores_it() {
    // Of what there is, a fifth is the CPU's and four the card's.
    let mut machine = Machine::new(Config::default(), &[(1, 100), (1, 25)]);
    let anywhere = machine.anywhere();
    let cir = |us| TenantConfig {
        cir_us_per_s: us,
        ..weighted(1)
    };
    let tenants = [
        machine.tenant(cir(3_000_000), &[MS], anywhere),
        machine.tenant(cir(1_000_000), &[MS], anywhere),
        machine.tenant(weighted(1000), &[MS], anywhere),
    ];
    let fill = |machine: &mut Machine| tenants.iter().for_each(|n| machine.fill(*n, 64));
    let second = |machine: &mut Machine| {
        let from = machine.now;
        machine.run(SECOND, fill);
        tenants.map(|n| served(machine, n, from, machine.now) / MS)
    };
    machine.run(SECOND, fill);
    assert_eq!(machine.scheduler.cir_scale(), 1.0);
    let [large, small, _] = second(&mut machine);
    assert!(large >= 2_900 && small >= 950, "{large} {small}");
    let card = machine.targets[1].index;
    machine
        .scheduler
        .set_in_service(card, false, Nanos(machine.now));
    let scale = machine.scheduler.cir_scale();
    assert!((0.19..0.21).contains(&scale), "{scale}");
    machine.run(SECOND, fill);
    let [large, small, rest] = second(&mut machine);
    assert!((570..650).contains(&large), "{large}");
    assert!((190..230).contains(&small), "{small}");
    assert!(rest >= 150, "{rest}");
    let capacity = machine.scheduler.capacity();
    assert!(capacity.healthy_us_per_s * 5 <= capacity.full_us_per_s + 50_000);
    machine
        .scheduler
        .set_in_service(card, true, Nanos(machine.now));
    assert_eq!(machine.scheduler.cir_scale(), 1.0);
    let [large, small, _] = second(&mut machine);
    assert!(large >= 2_900 && small >= 950, "{large} {small}");
    assert!(machine.scheduler.in_service().contains(card));
    assert!(
        !machine
            .scheduler
            .in_service()
            .without(TargetSet::of(card))
            .is_empty()
    );
}

#[test]
fn a_guarantee_that_is_withdrawn_leaves_nobody_behind_for_long() {
    let mut machine = Machine::new(Config::default(), &[(1, 100)]);
    let anywhere = machine.anywhere();
    let promised = TenantConfig {
        cir_us_per_s: 800_000,
        ..weighted(100)
    };
    let [one, other] =
        [promised, weighted(100)].map(|config| machine.tenant(config, &[MS], anywhere));
    let fill = |machine: &mut Machine| [one, other].iter().for_each(|n| machine.fill(*n, 64));
    // Ten minutes at four times the other's service.
    machine.run(600 * SECOND, fill);
    let had = |machine: &Machine| [one, other].map(|n| machine.tenants[n].served);
    let before = had(&machine);
    assert!(before[0] > 3 * before[1]);
    let index = machine.tenants[one].index;
    machine.scheduler.set_tenant(index, weighted(100));
    machine.run(10 * SECOND, fill);
    let after = had(&machine);
    let [mine, others] = [after[0] - before[0], after[1] - before[1]];
    assert!(mine * 100 >= others * 95, "{mine} {others}");
}

/// Targets on which short jobs of a guarantee would end later than on others do not pass them by for the long ones of a flood.
/// Both were drawn by the property above, once in some thousand cases: a target of several servers that counted the busy ones'
/// work into what a job would wait for the free one, and slow targets beside fast ones that had no room.
#[test]
fn no_target_passes_by_who_is_behind_its_guarantee() {
    let cases = [
        (vec![(3, 100), (1, 20), (1, 20), (1, 52)], 100_000),
        (
            vec![
                (2, 100),
                (1, 20),
                (1, 20),
                (1, 84),
                (1, 29),
                (1, 39),
                (1, 84),
            ],
            259_742,
        ),
    ];
    for (bias, (targets, cost)) in [40, 100, 175]
        .into_iter()
        .flat_map(|bias| cases.iter().map(move |case| (bias, case)))
    {
        let mut machine = Machine::new(Config::default(), targets);
        let anywhere = machine.anywhere();
        let cir_us_per_s = machine.capacity() / 1_000 * 8 / 10;
        let config = TenantConfig {
            cir_us_per_s,
            ..weighted(1)
        };
        // Short beside the flood's, so that they never wait here until they are anybody's.
        let promised = machine.tenant(config, &[*cost], anywhere);
        machine.tenants[promised].bias = bias;
        let flood = machine.tenant(weighted(1), &[2 * MS, 500_000], anywhere);
        machine.run(SECOND, |machine| machine.fill(flood, 64));
        let from = machine.now;
        machine.run(2 * SECOND, |machine| {
            machine.fill(flood, 64);
            machine.fill(promised, 64);
        });
        let had = served(&machine, promised, from, machine.now);
        let owed = 2 * per_s(cir_us_per_s);
        assert!(had * 100 >= owed * 99, "bias {bias}: {had} ns of {owed}");
    }
}
