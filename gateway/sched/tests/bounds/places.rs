//! Tenants whose jobs may run in different places, and places that come and go.

use faam_sched::{Config, Nanos, Placement, TargetSet};

use crate::machine::{MS, Machine, SECOND, weighted};

/// What tenants had within a span, milliseconds of the reference engine.
fn had<const N: usize>(
    machine: &mut Machine,
    span: u64,
    tenants: [usize; N],
    fill: impl Fn(&mut Machine),
) -> [u64; N] {
    let before = tenants.map(|n| machine.tenants[n].served);
    machine.run(span, fill);
    let mut out = [0; N];
    for (n, tenant) in tenants.into_iter().enumerate() {
        out[n] = (machine.tenants[tenant].served - before[n]) / MS;
    }
    out
}

/// A CPU, and a card that is ten times as fast.
fn machine() -> Machine {
    Machine::new(Config::default(), &[(1, 100), (1, 10)])
}

fn fill(tenants: &[usize]) -> impl Fn(&mut Machine) {
    move |machine| tenants.iter().for_each(|n| machine.fill(*n, 32))
}

#[test]
fn who_comes_new_shares_at_once_however_far_apart_the_targets_have_run() {
    let mut m = machine();
    let (cpu, card, anywhere) = (m.only(0), m.only(1), m.anywhere());
    let on_cpu = m.tenant(weighted(100), &[MS], cpu);
    let on_card = m.tenant(weighted(100), &[MS], card);
    // Ten times as much goes over the card, for ten minutes.
    m.run(600 * SECOND, fill(&[on_cpu, on_card]));
    let new_on_cpu = m.tenant(weighted(100), &[MS], cpu);
    let new_on_card = m.tenant(weighted(100), &[MS], card);
    let all = [on_cpu, on_card, new_on_cpu, new_on_card];
    let [a, b, c, d] = had(&mut m, SECOND, all, fill(&all));
    assert!(a.abs_diff(c) <= 20, "the CPU: {a} and {c}");
    assert!(b.abs_diff(d) <= 20, "the card: {b} and {d}");
    // One that may run anywhere keeps nobody off, and is kept off by nobody.
    let new_anywhere = m.tenant(weighted(100), &[MS], anywhere);
    let all = [on_cpu, on_card, new_on_cpu, new_on_card, new_anywhere];
    let had = had(&mut m, SECOND, all, fill(&all));
    assert!(had.iter().all(|ms| *ms >= 300), "{had:?}");
}

#[test]
fn when_the_card_goes_those_who_preferred_it_share_the_cpu_at_once() {
    let mut m = machine();
    let cpu = m.only(0);
    let card = TargetSet::of(m.targets[1].index);
    let preferred = Placement {
        preferred: card,
        ..m.anywhere()
    };
    let on_cpu = m.tenant(weighted(100), &[MS], cpu);
    let [one, other] = [(); 2].map(|()| m.tenant(weighted(100), &[MS], preferred));
    let all = [on_cpu, one, other];
    m.run(600 * SECOND, fill(&all));
    m.scheduler
        .set_in_service(m.targets[1].index, false, Nanos(m.now));
    m.run(100 * MS, fill(&all));
    let shares = had(&mut m, 3 * SECOND, all, fill(&all));
    assert!(
        shares.iter().all(|ms| ms.abs_diff(1_000) <= 40),
        "{shares:?}"
    );
    // And back.
    m.scheduler
        .set_in_service(m.targets[1].index, true, Nanos(m.now));
    m.run(100 * MS, fill(&all));
    let [a, b, c] = had(&mut m, SECOND, all, fill(&all));
    assert!(a >= 950 && b >= 4_900 && c >= 4_900, "{a} {b} {c}");
}

#[test]
fn who_asks_in_several_places_gets_no_more_of_one_than_who_asks_there_alone() {
    let mut m = machine();
    let (cpu, anywhere) = (m.only(0), m.anywhere());
    let single = m.tenant(weighted(100), &[MS], cpu);
    let several = m.tenant(weighted(100), &[MS], cpu);
    m.scheduler
        .set_in_service(m.targets[1].index, false, Nanos(m.now));
    let shares = had(&mut m, 2 * SECOND, [single, several], |m| {
        m.fill(single, 32);
        // Half of its jobs may run anywhere, so that they stand in an order of their own.
        while m.scheduler.queued(m.tenants[several].index) < 32 {
            let turn = m.tenants[several].pushed % 2 == 0;
            m.tenants[several].placement = if turn { cpu } else { anywhere };
            m.push(several);
        }
    });
    assert!(shares[0].abs_diff(shares[1]) <= 30, "{shares:?}");
}
