//! Fairness on the real path: the dispatcher, its queue, a simulated card at a pace of its own, the CPU workers that verify.
//!
//! What is measured is charged cost (time on the reference engine) and the card's cycles as its model counts them, so that a
//! slow or busy machine changes how long a share takes and not how large it is. Every figure is of a time in which each
//! tenant had jobs queued, which every sample counts. All of it is simulated: the card is.

mod fairness_rig;

use std::time::{Duration, Instant};

use faam_gateway::tenants::TenantLimits;
use fairness_rig::{Load, Rig, Tally, jain, percentile};

/// Tenants, and their weights in turn.
const TENANTS: usize = 64;
const WEIGHTS: [u32; 3] = [1, 2, 4];
/// Jobs that a caller of the shares' test keeps outstanding: more than its tenant can have in service at once.
const OUTSTANDING: usize = 12;
/// Bytes of a job of half of the tenants of the shares' test, and of the others.
const SMALL_BYTES: usize = 12 << 10;
const LARGE_BYTES: usize = 15 << 10;
/// Before anything is measured: queues fill, predictions settle.
const WARM_UP: Duration = Duration::from_secs(2);
/// Between two looks at the queues.
const SAMPLE: Duration = Duration::from_millis(50);

fn weighted(weight: u32) -> TenantLimits {
    TenantLimits {
        weight,
        ..TenantLimits::default()
    }
}

#[test]
fn tenants_share_a_card_by_weight() {
    const MEASURED: Duration = Duration::from_secs(12);
    let rig = Rig::start();
    let loads: Vec<Load> = (0..TENANTS)
        .map(|n| {
            let tenant = rig.tenant(&format!("t{n}"), weighted(WEIGHTS[n % WEIGHTS.len()]));
            // Two sizes, the same number of tenants of each weight with either; of one octave, so that what the reference
            // engine takes for them was learned from the same jobs. The first of an octave finds its engine cold and counts
            // whole, and a card's jobs teach nothing of it: after twenty on the CPU an eighth of that first one is left.
            rig.load(
                tenant,
                if (n / WEIGHTS.len()).is_multiple_of(2) {
                    SMALL_BYTES
                } else {
                    LARGE_BYTES
                },
                OUTSTANDING,
            )
        })
        .collect();
    rig.pass(WARM_UP);
    let before: Vec<Tally> = loads.iter().map(Load::tally).collect();
    let began = Instant::now();
    let (mut samples, mut least_queued) = (0, usize::MAX);
    while began.elapsed() < MEASURED {
        rig.pass(SAMPLE);
        let queued = loads
            .iter()
            .map(|load| rig.dispatcher.queued(&load.tenant.id));
        least_queued = queued.min().unwrap_or(0).min(least_queued);
        samples += 1;
    }
    let had: Vec<Tally> = loads
        .iter()
        .zip(before)
        .map(|(load, before)| load.tally().since(before))
        .collect();
    let weight = |n: usize| f64::from(loads[n].tenant.limits.weight);
    let weights: f64 = (0..TENANTS).map(weight).sum();
    let charged: f64 = had.iter().map(|tally| tally.charged_s).sum();
    let device: f64 = had.iter().map(|tally| tally.device_s).sum();
    let off = |part: f64, whole: f64, n: usize| part / (whole * weight(n) / weights) - 1.0;
    let charged_off: Vec<f64> = (0..TENANTS)
        .map(|n| off(had[n].charged_s, charged, n))
        .collect();
    let device_off: Vec<f64> = (0..TENANTS)
        .map(|n| off(had[n].device_s, device, n))
        .collect();
    let worst = |off: &[f64]| off.iter().fold(0.0f64, |worst, off| worst.max(off.abs()));
    let per_weight = |n: usize| had[n].charged_s / weight(n);
    let jain = jain(&(0..TENANTS).map(per_weight).collect::<Vec<_>>());
    let jobs: u64 = had.iter().map(|tally| tally.jobs).sum();
    println!(
        "simulated: {TENANTS} tenants of weights 1, 2, 4 over {:.1} s: {jobs} jobs, {charged:.2} s charged, {device:.2} s of the \
         card's engines; farthest from its share: {:.2} % of charged cost, {:.2} % of card time; Jain {jain:.5}; in {samples} \
         samples the shortest queue held {least_queued}",
        began.elapsed().as_secs_f64(),
        worst(&charged_off) * 100.0,
        worst(&device_off) * 100.0,
    );
    rig.stop(loads);
    assert!(samples >= 20 && least_queued > 0, "a queue was empty");
    assert!(worst(&charged_off) <= 0.05, "{charged_off:?}");
    assert!(worst(&device_off) <= 0.08, "{device_off:?}");
    assert!(jain >= 0.99, "{jain}");
}

#[test]
fn a_guaranteed_rate_is_held_under_any_flood() {
    const SECOND: Duration = Duration::from_secs(1);
    let rig = Rig::start();
    let floods: Vec<Load> = (0..8)
        .map(|n| {
            let tenant = rig.tenant(&format!("flood{n}"), weighted(10_000));
            rig.load(tenant, 16 << 10, 32)
        })
        .collect();
    rig.pass(WARM_UP);
    // What this card, on this machine, gives in a second.
    let charged = || {
        floods
            .iter()
            .map(|load| load.tally().charged_s)
            .sum::<f64>()
    };
    let (before, began) = (charged(), Instant::now());
    rig.pass(SECOND);
    let capacity = (charged() - before) / began.elapsed().as_secs_f64();
    let us = |part: f64| rig.whole(capacity * part * 1e6);
    let cir_us_per_s = us(0.4);
    let limits = TenantLimits {
        cir_us_per_s,
        ..weighted(1)
    };
    let promised = rig.load(rig.tenant("promised", limits), 16 << 10, 64);
    rig.pass(SECOND / 2);
    let (before, began) = (promised.tally(), Instant::now());
    let (mut samples, mut least_queued) = (0, usize::MAX);
    while began.elapsed() < 4 * SECOND {
        rig.pass(SAMPLE);
        least_queued = least_queued.min(rig.dispatcher.queued(&promised.tenant.id));
        samples += 1;
    }
    let had = promised.tally().since(before).charged_s / began.elapsed().as_secs_f64();
    let cir = f64::from(u32::try_from(cir_us_per_s).unwrap_or(u32::MAX)) / 1e6;
    println!(
        "simulated: a tenant of weight 1 with {cir_us_per_s} us/s guaranteed, 40 % of what the card gave, beside 8 of weight \
         10000: {:.1} % of its guarantee over {:.1} s; in {samples} samples its queue held {least_queued} or more",
        had / cir * 100.0,
        began.elapsed().as_secs_f64()
    );
    let scale = rig.dispatcher.cir_scale();
    rig.stop(floods.into_iter().chain([promised]));
    assert!(scale >= 1.0, "everything was in service: {scale}");
    assert!(least_queued > 0, "its queue was empty");
    assert!(had >= 0.95 * cir, "{had} of {cir}");
}

#[test]
fn a_peak_rate_is_not_passed() {
    let rig = Rig::start();
    let other = rig.load(rig.tenant("other", weighted(1)), 16 << 10, 16);
    rig.pass(WARM_UP);
    let (before, began) = (other.tally(), Instant::now());
    rig.pass(Duration::from_secs(1));
    let capacity = other.tally().since(before).charged_s / began.elapsed().as_secs_f64();
    let (pir, burst) = (capacity * 0.2, capacity * 0.02);
    let limits = TenantLimits {
        pir_us_per_s: Some(rig.whole(pir * 1e6)),
        pir_burst_us: rig.whole(burst * 1e6),
        ..weighted(100)
    };
    let limited = rig.load(rig.tenant("limited", limits), 16 << 10, 16);
    rig.pass(Duration::from_secs(5));
    let mut taken = rig.stop_and_list(limited, [other]);
    taken.sort_by(|one, next| one.0.total_cmp(&next.0));
    // Over every second that begins with a job: what was taken in it.
    let mut most = 0.0f64;
    for (start, (from, _)) in taken.iter().enumerate() {
        let within = taken[start..].iter().take_while(|(at, _)| at - from <= 1.0);
        most = most.max(within.map(|(_, cost)| cost).sum());
    }
    let span = taken.last().map_or(0.0, |(at, _)| *at) - taken.first().map_or(0.0, |(at, _)| *at);
    let all: f64 = taken.iter().map(|(_, cost)| cost).sum();
    println!(
        "simulated: a tenant with a peak rate of {:.0} us/s, a fifth of what the card gave, and a burst of {:.0} us, always \
         asking: {} jobs in {span:.2} s, {:.1} % of its rate, in no second more than {:.1} % of it and {:.0} us",
        pir * 1e6,
        burst * 1e6,
        taken.len(),
        all / span / pir * 100.0,
        (most - burst) / pir * 100.0,
        burst * 1e6
    );
    assert!(
        span > 3.0 && taken.len() > 50,
        "{} jobs in {span} s",
        taken.len()
    );
    assert!(most <= 1.02 * pir + burst, "{most} of {pir} and {burst}");
    assert!(all / span >= 0.9 * pir, "there was room for it all");
}

/// Reported, not gated: what a caller's clock shows depends on the machine. The simulation of the scheduler has the gate.
#[test]
fn a_light_tenant_beside_a_flood() {
    const JOBS: usize = 50;
    const EVERY: Duration = Duration::from_millis(100);
    let rig = Rig::start_unpaced();
    let light = rig.tenant("light", weighted(1));
    let alone = rig.latencies(&light, 4 << 10, JOBS, EVERY);
    // A thousand bodies of a megabyte, each with a block under way.
    let flood = rig.load_anywhere(rig.tenant("flood", weighted(1)), 128 << 10, 1000);
    rig.pass(Duration::from_secs(1));
    let queued = rig.dispatcher.queued(&flood.tenant.id);
    let beside = rig.latencies(&light, 4 << 10, JOBS, EVERY);
    let still_queued = rig.dispatcher.queued(&flood.tenant.id);
    let us = |of: &[f64], part| percentile(of, part) * 1e6;
    println!(
        "simulated: 4 KiB, 10/s, {JOBS} jobs: alone p50 {:.0} us, p99 {:.0} us; beside 1000 x 128 KiB ({queued} blocks queued) p50 \
         {:.0} us, p99 {:.0} us",
        us(&alone, 0.5),
        us(&alone, 0.99),
        us(&beside, 0.5),
        us(&beside, 0.99)
    );
    rig.stop([flood]);
    assert!(
        queued > 500 && still_queued > 500,
        "there was a flood: {queued}, {still_queued}"
    );
    assert_eq!(
        (alone.len(), beside.len()),
        (JOBS, JOBS),
        "every one was served"
    );
}
