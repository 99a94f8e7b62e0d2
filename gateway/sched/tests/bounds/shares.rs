//! Shares by weight: SFQ(D)'s bound, corrections, work conservation, no starvation.

use faam_sched::{Config, Nanos, TenantConfig};
use proptest::prelude::*;

use crate::machine::{MS, Machine, SECOND, weighted};

/// No job is left to another target: SFQ(D) as it was published.
fn plain() -> Config {
    Config {
        defer_max: Nanos(0),
        ..Config::default()
    }
}

/// 1 to 8 targets, the first the reference engine.
fn targets() -> impl Strategy<Value = Vec<(usize, u64)>> {
    let others = proptest::collection::vec((1usize..4, 5u64..800), 0..8);
    (1usize..4, others).prop_map(|(servers, mut others)| {
        others.truncate(7);
        let mut targets = vec![(servers, 100)];
        targets.append(&mut others);
        targets
    })
}

fn costs() -> impl Strategy<Value = Vec<u64>> {
    proptest::collection::vec(10_000u64..5 * MS, 1..6)
}

/// (D + 1) times the largest costs over the weights of both: Jin, Chase and Kaur, 2004.
fn bound(machine: &Machine, one: usize, other: usize) -> f64 {
    let largest = |number: usize| {
        let tenant = &machine.tenants[number];
        let cost = *tenant.costs.iter().max().expect("some");
        // Charged as predicted while it runs.
        let cost = cost.max(cost * u64::from(tenant.bias) / 100);
        cost as f64 / f64::from(tenant.weight)
    };
    (machine.depth() + 1) as f64 * (largest(one) + largest(other))
}

fn check_bound(machine: &Machine, slack: f64) -> Result<(), TestCaseError> {
    for one in 0..machine.tenants.len() {
        for other in 0..one {
            let apart = (machine.normalised(one) - machine.normalised(other)).abs();
            let most = bound(machine, one, other) + slack;
            prop_assert!(
                apart <= most,
                "at {}: tenants {one} and {other} are {apart} apart, at most {most}",
                machine.now
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Flows that stay backlogged on 1 to 8 targets of different speeds.
    #[test]
    fn backlogged_flows_keep_to_the_published_bound(
        targets in targets(),
        flows in proptest::collection::vec((1u32..1000, costs()), 2..6),
    ) {
        let mut machine = Machine::new(plain(), &targets);
        let anywhere = machine.anywhere();
        for (weight, costs) in &flows {
            machine.tenant(weighted(*weight), costs, anywhere);
        }
        for _ in 0..150 {
            for number in 0..flows.len() {
                machine.fill(number, 40);
            }
            machine.ask();
            check_bound(&machine, 0.0)?;
            machine.step(u64::MAX);
            check_bound(&machine, 0.0)?;
        }
    }

    /// The same where every prediction is wrong, each flow's by a factor of its own: what was measured counts.
    #[test]
    fn wrong_predictions_are_made_good(
        targets in targets(),
        flows in proptest::collection::vec((1u32..1000, costs(), 20u16..500), 2..5),
    ) {
        let mut machine = Machine::new(plain(), &targets);
        let anywhere = machine.anywhere();
        for (weight, costs, bias) in &flows {
            let number = machine.tenant(weighted(*weight), costs, anywhere);
            machine.tenants[number].bias = *bias;
        }
        for _ in 0..150 {
            for number in 0..flows.len() {
                machine.fill(number, 40);
            }
            machine.ask();
            check_bound(&machine, 0.0)?;
            machine.step(u64::MAX);
        }
    }

    /// Where jobs are left to faster targets for a while, nobody is behind by more than what the others had meanwhile.
    #[test]
    fn leaving_jobs_to_faster_targets_costs_no_more_than_its_limit(
        targets in targets(),
        weights in (1u32..1000, 1u32..1000),
        costs in (costs(), costs()),
    ) {
        let config = Config::default();
        let mut machine = Machine::new(config, &targets);
        let anywhere = machine.anywhere();
        machine.tenant(weighted(weights.0), &costs.0, anywhere);
        machine.tenant(weighted(weights.1), &costs.1, anywhere);
        // A target that is busy when a job has become anybody's asks again when it is done.
        let longest = costs.0.iter().chain(&costs.1).max().expect("some");
        let slowest = targets.iter().map(|(_, factor)| longest * factor / 100).max();
        let left = config.defer_max.0 + slowest.expect("some");
        let had_meanwhile = machine.capacity() as f64 * left as f64 / SECOND as f64;
        let slack = had_meanwhile / f64::from(weights.0.min(weights.1));
        for _ in 0..150 {
            machine.fill(0, 40);
            machine.fill(1, 40);
            machine.ask();
            check_bound(&machine, slack)?;
            machine.step(u64::MAX);
        }
    }

    /// A target with room gets a job whenever one waits that it may run: at once, or when it is said to.
    #[test]
    fn no_target_idles_while_a_job_waits_for_it(
        targets in targets(),
        pushes in proptest::collection::vec((0usize..4, 0u64..3 * MS), 1..120),
        pir in 1_000u64..2_000_000,
    ) {
        let mut machine = Machine::new(Config::default(), &targets);
        let anywhere = machine.anywhere();
        for number in 0..4 {
            let limited = TenantConfig { pir_us_per_s: Some(pir), pir_burst: Nanos(MS), ..weighted(100) };
            let config = if number == 3 { limited } else { weighted(100) };
            let place = machine.only(number % targets.len());
            machine.tenant(config, &[MS, 50_000, 3 * MS], if number < 2 { anywhere } else { place });
        }
        for (tenant, pause) in pushes {
            machine.push(tenant);
            machine.run(pause, |_| {});
        }
        // Nothing is pushed any more: every moment at which it goes on is an end of a job, or was told.
        let mut steps = 0;
        while machine.scheduler.queued_in_all() > 0 {
            let _ = machine.scheduler.to_wake(Nanos(machine.now));
            machine.ask();
            let running: usize = machine.targets.iter().map(|target| target.running).sum();
            let told = machine.scheduler.wakes_at();
            prop_assert!(running > 0 || told.is_some() || machine.scheduler.queued_in_all() == 0, "jobs wait, and nobody is told of it");
            prop_assert!(told.is_none_or(|at| at > Nanos(machine.now)), "told to ask when it had just asked");
            machine.step(u64::MAX);
            steps += 1;
            prop_assert!(steps < 10_000, "it never ends");
        }
    }

    /// One job of a light tenant is served in the time that its share of the least that is shared takes for what may go
    /// before it, whatever the others ask and were promised.
    #[test]
    fn nobody_starves(
        targets in targets(),
        others in proptest::collection::vec((1u32..1000, costs(), 0u64..900_000), 1..6),
        weight in 1u32..1000,
    ) {
        let mut machine = Machine::new(Config::default(), &targets);
        let anywhere = machine.anywhere();
        for (weight, costs, cir) in &others {
            let config = TenantConfig { cir_us_per_s: *cir, ..weighted(*weight) };
            machine.tenant(config, costs, anywhere);
        }
        let light = machine.tenant(weighted(weight), &[MS], anywhere);
        let flood = |machine: &mut Machine| (0..others.len()).for_each(|number| machine.fill(number, 20));
        machine.run(2 * SECOND, flood);
        machine.push(light);
        let all: u32 = others.iter().map(|(weight, ..)| weight).sum::<u32>() + weight;
        // What others may have of it first, at weight; the lead of those with guarantees is bounded.
        let ahead = 5 * MS * (machine.depth() + 2) * u64::from(all) / u64::from(weight) + 200 * MS;
        // A tenth is shared by weight whatever was promised.
        let wait = u128::from(ahead) * u128::from(10 * SECOND) / u128::from(machine.capacity());
        let wait = u64::try_from(wait).unwrap_or(u64::MAX) + 10 * 40 * MS;
        machine.run(wait, flood);
        let queued = machine.scheduler.queued(machine.tenants[light].index);
        prop_assert_eq!(queued, 0, "not taken within {} ms", wait / MS);
    }
}
