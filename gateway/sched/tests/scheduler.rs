//! What the scheduler promises, over arbitrary loads: fairness bounds, order, bounds, placement.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::cast_possible_truncation, reason = "job numbers are small")]

use std::collections::VecDeque;

use faam_sched::{
    Abilities, Config, JobRequest, JobShape, KernelClass, Measured, Nanos, Placement, Priority,
    Receipt, Scheduler, TargetIndex, TargetSet, TenantConfig, TenantIndex, WEIGHT_DEFAULT,
};
use proptest::prelude::*;

const KERNEL: KernelClass = KernelClass(0);

fn asked(bytes: usize, placement: Placement) -> JobRequest {
    JobRequest {
        shape: JobShape {
            kernel: KERNEL,
            bytes,
        },
        placement,
        priority: Priority::default(),
    }
}

fn took(took: u64, reference: Option<u64>) -> Measured {
    Measured {
        took: Nanos(took),
        reference: reference.map(Nanos),
        engine: None,
        verified: Nanos(0),
    }
}

fn promised(weight: u32, queued_max: usize) -> TenantConfig {
    TenantConfig {
        weight,
        queued_max,
        ..TenantConfig::default()
    }
}

struct Rig {
    scheduler: Scheduler<u32>,
    cpu: TargetIndex,
    card: TargetIndex,
}

impl Rig {
    fn new() -> Self {
        let mut scheduler = Scheduler::new(Config::default());
        let cpu = scheduler.add_target(1, true).unwrap();
        let card = scheduler.add_target(1, false).unwrap();
        scheduler.set_in_service(cpu, true, Nanos(0));
        scheduler.set_in_service(card, true, Nanos(0));
        Self {
            scheduler,
            cpu,
            card,
        }
    }

    fn any(&self) -> Placement {
        Placement::any_of(TargetSet::of(self.cpu).union(TargetSet::of(self.card)))
    }

    fn push(
        &mut self,
        tenant: TenantIndex,
        job: u32,
        bytes: usize,
        placement: Placement,
        now: u64,
    ) {
        self.scheduler
            .push(tenant, job, asked(bytes, placement), Nanos(now))
            .unwrap();
    }

    /// Has a tenant of its own run a job on the CPU that takes as long as this.
    fn measure(&mut self, bytes: usize, ns: u64) {
        let tenant = self.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 1));
        let cpu_only = Placement::any_of(TargetSet::of(self.cpu));
        self.push(tenant, 0, bytes, cpu_only, 0);
        let taken = self.scheduler.next(self.cpu, Nanos(0)).unwrap();
        self.scheduler.finish(taken.receipt, took(ns, None));
    }
}

#[test]
fn a_full_queue_gives_the_job_back() {
    let mut rig = Rig::new();
    let tenant = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 2));
    let any = rig.any();
    rig.push(tenant, 1, 10, any, 0);
    rig.push(tenant, 2, 10, any, 0);
    let full = rig
        .scheduler
        .push(tenant, 3, asked(10, any), Nanos(0))
        .unwrap_err();
    assert_eq!((full.job, full.queued), (3, 2));
    rig.scheduler.next(rig.cpu, Nanos(0)).unwrap();
    rig.push(tenant, 3, 10, any, 0);
}

#[test]
fn a_job_that_waits_for_a_card_does_not_hold_up_one_that_does_not() {
    let mut rig = Rig::new();
    let tenant = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 8));
    rig.scheduler.set_in_service(rig.card, false, Nanos(0));
    let (any, card_only) = (rig.any(), Placement::any_of(TargetSet::of(rig.card)));
    rig.push(tenant, 1, 10, card_only, 0);
    rig.push(tenant, 2, 10, any, 0);
    assert_eq!(rig.scheduler.next(rig.cpu, Nanos(0)).unwrap().job, 2);
    assert!(
        rig.scheduler.next(rig.cpu, Nanos(u64::MAX)).is_none(),
        "the CPU never takes a card's job"
    );
    assert!(
        rig.scheduler.next(rig.card, Nanos(0)).is_none(),
        "out of service"
    );
    rig.scheduler.set_in_service(rig.card, true, Nanos(0));
    assert_eq!(rig.scheduler.next(rig.card, Nanos(0)).unwrap().job, 1);
}

#[test]
fn a_preference_holds_while_its_target_is_in_service() {
    let mut rig = Rig::new();
    let tenant = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 8));
    let prefer = Placement {
        preferred: TargetSet::of(rig.card),
        ..rig.any()
    };
    rig.push(tenant, 1, 10, prefer, 0);
    assert!(rig.scheduler.next(rig.cpu, Nanos(u64::MAX)).is_none());
    rig.scheduler.set_in_service(rig.card, false, Nanos(0));
    assert_eq!(rig.scheduler.next(rig.cpu, Nanos(0)).unwrap().job, 1);
}

#[test]
fn a_job_is_left_to_the_sooner_target_until_the_deferral_limit() {
    let mut rig = Rig::new();
    let tenant = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 64));
    let any = rig.any();
    // Teach: the card is ten times faster.
    for (target, ns) in [(rig.cpu, 10_000_000), (rig.card, 1_000_000)] {
        rig.push(
            tenant,
            0,
            1_000_000,
            Placement::any_of(TargetSet::of(target)),
            0,
        );
        let taken = rig.scheduler.next(target, Nanos(0)).unwrap();
        rig.scheduler.finish(taken.receipt, took(ns, None));
    }
    rig.push(tenant, 1, 1_000_000, any, 0);
    assert!(
        rig.scheduler.next(rig.cpu, Nanos(1_000_000)).is_none(),
        "the card ends sooner"
    );
    let taken = rig.scheduler.next(rig.cpu, Nanos(2_000_000)).unwrap();
    assert!(taken.deferred, "after the limit anyone takes it");
    // With the card's backlog long enough, the CPU is the sooner one.
    let mut held = Vec::new();
    for n in 0..12 {
        rig.push(
            tenant,
            n,
            1_000_000,
            Placement::any_of(TargetSet::of(rig.card)),
            0,
        );
        held.push(rig.scheduler.next(rig.card, Nanos(0)).unwrap().receipt);
    }
    rig.scheduler.abandon(taken.receipt, None);
    rig.push(tenant, 99, 1_000_000, any, 0);
    assert_eq!(rig.scheduler.next(rig.cpu, Nanos(0)).unwrap().job, 99);
    for receipt in held {
        rig.scheduler.abandon(receipt, None);
    }
    assert_eq!(
        rig.scheduler.outstanding(rig.card),
        Nanos(0),
        "everything given back"
    );
}

#[test]
fn a_replayed_job_goes_first_and_is_not_charged_again() {
    let mut rig = Rig::new();
    let a = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 8));
    let b = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 8));
    let any = rig.any();
    for job in [1, 2, 3] {
        rig.push(a, job, 1000, any, 0);
    }
    for job in [11, 12, 13] {
        rig.push(b, job, 1000, any, 0);
    }
    let first = rig.scheduler.next(rig.card, Nanos(0)).unwrap();
    assert_eq!(first.job, 1);
    let placement = first.receipt.placement().avoiding(rig.card);
    rig.scheduler
        .requeue(first.receipt, first.job, placement)
        .unwrap();
    let order: Vec<u32> = (0..6)
        .map(|_| {
            let taken = rig.scheduler.next(rig.cpu, Nanos(u64::MAX)).unwrap();
            let job = taken.job;
            rig.scheduler.abandon(taken.receipt, None);
            job
        })
        .collect();
    // The replay was paid for when it was first taken; the rest goes on in turn.
    assert_eq!(order, [1, 11, 2, 12, 3, 13]);
}

#[test]
fn removed_jobs_are_given_back_once() {
    let mut rig = Rig::new();
    let tenant = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 8));
    let any = rig.any();
    (0..6).for_each(|job| rig.push(tenant, job, 1, any, 0));
    assert_eq!(
        rig.scheduler.remove_from(tenant, |job| job % 2 == 0),
        [0, 2, 4]
    );
    assert_eq!(rig.scheduler.queued(tenant), 3);
    let rest: Vec<u32> =
        std::iter::from_fn(|| rig.scheduler.next(rig.cpu, Nanos(u64::MAX)).map(|t| t.job))
            .collect();
    assert_eq!(rest, [1, 3, 5]);
    assert_eq!(rig.scheduler.queued_in_all(), 0);
}

#[test]
fn the_first_jobs_of_a_target_are_charged_like_those_after_them() {
    let mut rig = Rig::new();
    let tenant = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 64));
    rig.measure(16_384, 100_000);
    let card_only = Placement::any_of(TargetSet::of(rig.card));
    (0..32).for_each(|job| rig.push(tenant, job, 16_384, card_only, 0));
    // Four at once, before anything is known of the card, which is ten times as slow as anybody would guess; and the fifth
    // is twice as hard as the others.
    let mut held = VecDeque::new();
    let charges: Vec<u64> = (0..28)
        .map(|n| {
            while held.len() < 4 {
                held.push_back(rig.scheduler.next(rig.card, Nanos(0)).unwrap().receipt);
            }
            let ns = if n == 5 { 4_000_000 } else { 2_000_000 };
            let receipt = held.pop_front().unwrap();
            rig.scheduler.finish(receipt, took(ns, None)).0
        })
        .collect();
    for (n, charge) in charges.iter().enumerate() {
        let expected = if n == 5 { 200_000 } else { 100_000 };
        assert!(charge.abs_diff(expected) < expected / 5, "{n}: {charges:?}");
    }
}

#[test]
fn the_place_of_a_removed_tenant_is_used_again_and_its_receipts_reach_nobody() {
    let mut rig = Rig::new();
    let any = rig.any();
    let gone = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 8));
    (0..3).for_each(|job| rig.push(gone, job, 1000, any, 0));
    let running = rig.scheduler.next(rig.cpu, Nanos(u64::MAX)).unwrap();
    assert_eq!(rig.scheduler.remove_tenant(gone), [1, 2]);
    assert_eq!(rig.scheduler.queued_in_all(), 0);
    assert!(rig.scheduler.remove_tenant(gone).is_empty());
    let next = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 8));
    assert_ne!(next, gone);
    let full = rig.scheduler.push(gone, 9, asked(1000, any), Nanos(0));
    assert!(full.is_err(), "the old index is nobody's");
    // A charge of the one before, however large, is not the next one's.
    let other = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 8));
    let hour = 3_600_000_000_000;
    rig.scheduler.finish(running.receipt, took(1, Some(hour)));
    rig.push(other, 20, 1000, any, 1);
    rig.push(next, 10, 1000, any, 2);
    let mut order: Vec<u32> = (0..2)
        .map(|_| rig.scheduler.next(rig.cpu, Nanos(u64::MAX)).unwrap().job)
        .collect();
    order.sort_unstable();
    assert_eq!(order, [10, 20]);
    assert_eq!(rig.scheduler.queued(next), 0);
}

proptest! {
    /// Two tenants that stay backlogged: the difference of their normalised service stays under
    /// SFQ(D)'s bound, (D + 1) x (largest cost over weight of either), whatever the sizes.
    #[test]
    fn backlogged_tenants_share_by_weight(
        weights in (1u32..1000, 1u32..1000),
        sizes in proptest::collection::vec(1usize..131_072, 64),
        depth in 1usize..6,
    ) {
        let mut rig = Rig::new();
        let tenants = [rig.scheduler.add_tenant(promised(weights.0, 4096)), rig.scheduler.add_tenant(promised(weights.1, 4096))];
        let only_cpu = Placement::any_of(TargetSet::of(rig.cpu));
        let cost = |bytes: usize| 10_000.0 + 10.0 * bytes as f64;
        for round in 0..10u32 {
            for (n, size) in sizes.iter().enumerate() {
                rig.push(tenants[0], round * 64 + n as u32, *size, only_cpu, 0);
                rig.push(tenants[1], round * 64 + n as u32, sizes[63 - n], only_cpu, 0);
            }
        }
        let largest = cost(*sizes.iter().max().unwrap());
        let mut served = [0.0f64; 2];
        let mut held: VecDeque<Receipt> = VecDeque::new();
        while rig.scheduler.queued(tenants[0]) > 0 && rig.scheduler.queued(tenants[1]) > 0 {
            let taken = rig.scheduler.next(rig.cpu, Nanos(0)).unwrap();
            let which = usize::from(taken.receipt.tenant() == tenants[1]);
            let n = taken.job as usize % 64;
            served[which] += cost(if which == 0 { sizes[n] } else { sizes[63 - n] }) / f64::from([weights.0, weights.1][which]);
            held.push_back(taken.receipt);
            if held.len() == depth {
                rig.scheduler.abandon(held.pop_front().unwrap(), None);
            }
            let bound = (depth as f64 + 1.0) * (largest / f64::from(weights.0) + largest / f64::from(weights.1));
            prop_assert!((served[0] - served[1]).abs() <= bound, "{served:?} differ by more than {bound}");
        }
        for receipt in held {
            rig.scheduler.abandon(receipt, None);
        }
    }

    /// Work conserving and complete: whatever is pushed is taken once, in order within its tenant and placement.
    #[test]
    fn every_job_is_taken_once_and_in_order(jobs in proptest::collection::vec((0usize..4, 1usize..100_000, 0u8..3), 1..200)) {
        let mut rig = Rig::new();
        let tenants: Vec<_> = (0..4).map(|n| rig.scheduler.add_tenant(promised(50 + n * 100, 1000))).collect();
        let places = [rig.any(), Placement::any_of(TargetSet::of(rig.cpu)), Placement { preferred: TargetSet::of(rig.card), ..rig.any() }];
        for (n, (tenant, bytes, place)) in jobs.iter().enumerate() {
            rig.push(tenants[*tenant], n as u32, *bytes, places[usize::from(*place)], n as u64);
        }
        let mut taken = Vec::new();
        let mut now = 1_000_000_000;
        while rig.scheduler.queued_in_all() > 0 {
            now += 1;
            let mut any = false;
            for target in [rig.cpu, rig.card] {
                if let Some(job) = rig.scheduler.next(target, Nanos(now)) {
                    any = true;
                    taken.push(job.job);
                    rig.scheduler.finish(job.receipt, took(1_000_000, Some(900_000)));
                }
            }
            prop_assert!(any, "queued jobs, idle targets, and nobody takes one");
        }
        for (tenant, _) in tenants.iter().enumerate() {
            for place in 0..3u8 {
                let order: Vec<u32> = taken.iter().copied().filter(|n| (jobs[*n as usize].0, jobs[*n as usize].2) == (tenant, place)).collect();
                prop_assert!(order.is_sorted(), "{order:?}");
            }
        }
        taken.sort_unstable();
        prop_assert_eq!(taken, (0..jobs.len() as u32).collect::<Vec<_>>());
    }
}

/// The order in which two tenants are served after one of them had `before` jobs, run at once or through the queue.
fn order_after(before: u32, at_once: bool) -> Vec<u32> {
    let mut rig = Rig::new();
    rig.measure(1000, 20_000);
    let (a, b) = (
        rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 64)),
        rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 64)),
    );
    let cpu_only = Placement::any_of(TargetSet::of(rig.cpu));
    let hour = Nanos(3_600_000_000_000);
    // The other tenant's first job stands in the queue throughout, for a card: its tag does not move.
    let card_only = Placement::any_of(TargetSet::of(rig.card));
    rig.push(b, 99, 1000, card_only, 0);
    for job in 0..before {
        let receipt = if at_once {
            let cpu = rig.cpu;
            let receipt = rig
                .scheduler
                .take_now(a, asked(1000, cpu_only), cpu, hour, Nanos(0));
            receipt.unwrap()
        } else {
            rig.push(a, job, 1000, cpu_only, 0);
            rig.scheduler.next(rig.cpu, Nanos(0)).unwrap().receipt
        };
        assert_eq!(receipt.tenant(), a);
        rig.scheduler.abandon(receipt, None);
    }
    for job in 0..8 {
        rig.push(a, job, 1000, cpu_only, 0);
        rig.push(b, 100 + job, 1000, cpu_only, 0);
    }
    (0..12)
        .map(|_| {
            let taken = rig.scheduler.next(rig.cpu, Nanos(0)).unwrap();
            rig.scheduler.abandon(taken.receipt, None);
            taken.job
        })
        .collect()
}

#[test]
fn a_job_run_at_once_is_charged_like_one_that_was_queued() {
    for before in [0, 1, 5] {
        assert_eq!(order_after(before, true), order_after(before, false));
    }
    // What was had at once counts: the other tenant is served first.
    assert!(order_after(5, true)[0] >= 100);
}

#[test]
fn nothing_runs_at_once_past_a_job_that_waits_or_where_it_would_take_too_long() {
    let mut rig = Rig::new();
    let tenant = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 8));
    let (cpu_only, card_only) = (
        Placement::any_of(TargetSet::of(rig.cpu)),
        Placement::any_of(TargetSet::of(rig.card)),
    );
    let hour = Nanos(3_600_000_000_000);
    let now = |rig: &mut Rig, placement, limit| {
        let cpu = rig.cpu;
        rig.scheduler
            .take_now(tenant, asked(1000, placement), cpu, limit, Nanos(0))
    };
    assert!(now(&mut rig, cpu_only, hour).is_none(), "never measured");
    rig.measure(500, 15_000);
    assert!(
        now(&mut rig, cpu_only, hour).is_none(),
        "nor anything as large"
    );
    rig.measure(1000, 20_000);
    assert!(now(&mut rig, card_only, hour).is_none(), "not allowed here");
    assert!(
        now(&mut rig, cpu_only, Nanos(19_000)).is_none(),
        "it took longer"
    );
    // What waits for another target is not passed by.
    rig.push(tenant, 1, 10, card_only, 0);
    let receipt = now(&mut rig, cpu_only, hour).unwrap();
    assert!(rig.scheduler.outstanding(rig.cpu) > Nanos(0));
    rig.scheduler.abandon(receipt, None);
    assert_eq!(rig.scheduler.outstanding(rig.cpu), Nanos(0));
    rig.push(tenant, 2, 10, cpu_only, 0);
    assert!(now(&mut rig, cpu_only, hour).is_none(), "somebody waits");
    assert_eq!(rig.scheduler.next(rig.card, Nanos(0)).unwrap().job, 1);
    assert_eq!(rig.scheduler.next(rig.cpu, Nanos(0)).unwrap().job, 2);
}

#[test]
fn who_has_had_less_than_those_who_wait_runs_at_once() {
    let mut rig = Rig::new();
    rig.measure(1000, 20_000);
    rig.measure(100_000, 700_000);
    let (flood, light) = (
        rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 64)),
        rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 64)),
    );
    let (cpu, cpu_only) = (rig.cpu, Placement::any_of(TargetSet::of(rig.cpu)));
    for job in 0..8 {
        rig.push(flood, job, 100_000, cpu_only, 0);
    }
    let _held = rig.scheduler.next(cpu, Nanos(0)).unwrap().receipt;
    let now = |rig: &mut Rig, tenant| {
        let limit = Nanos(1_500_000);
        let scheduler = &mut rig.scheduler;
        scheduler.take_now(tenant, asked(1000, cpu_only), cpu, limit, Nanos(0))
    };
    assert!(now(&mut rig, flood).is_none(), "its own jobs wait");
    // It has had nothing, and the flood a whole job: as many of its own as make up for that go before the next of those.
    let mut receipts: Vec<Receipt> = std::iter::from_fn(|| now(&mut rig, light)).collect();
    assert!((20..80).contains(&receipts.len()), "{}", receipts.len());
    let next = rig.scheduler.next(cpu, Nanos(0)).unwrap();
    assert_eq!(next.receipt.tenant(), flood);
    receipts.push(next.receipt);
    assert!(now(&mut rig, light).is_some(), "its turn again");
    for receipt in receipts {
        rig.scheduler.abandon(receipt, None);
    }
}

/// A card's jobs of a tenant at its peak rate: whoever sees first that it may go on, the card is woken.
#[test]
fn a_tenant_that_may_go_on_is_told_of_whoever_saw_it_first() {
    for small_job in [false, true] {
        let mut rig = Rig::new();
        rig.measure(1000, 20_000);
        let limited = rig.scheduler.add_tenant(TenantConfig {
            pir_us_per_s: Some(1_000),
            pir_burst: Nanos(1_000),
            ..promised(WEIGHT_DEFAULT, 64)
        });
        let other = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 64));
        let card_only = Placement::any_of(TargetSet::of(rig.card));
        let cpu_only = Placement::any_of(TargetSet::of(rig.cpu));
        for job in 0..2 {
            rig.push(limited, job, 1000, card_only, 0);
        }
        let taken = std::iter::from_fn(|| rig.scheduler.next(rig.card, Nanos(0)));
        let taken: Vec<_> = taken.collect();
        assert!(taken.len() < 2, "it is at its peak rate");
        let goes_on = rig.scheduler.wakes_at().unwrap();
        // Not the card, whose job it is, but another finds that it is time.
        if small_job {
            let request = JobRequest {
                shape: JobShape {
                    kernel: KERNEL,
                    bytes: 1000,
                },
                placement: cpu_only,
                priority: Priority::default(),
            };
            let (scheduler, cpu) = (&mut rig.scheduler, rig.cpu);
            let receipt = scheduler.take_now(other, request, cpu, Nanos(u64::MAX), goes_on);
            rig.scheduler.refund(receipt.unwrap());
        } else {
            assert!(rig.scheduler.next(rig.cpu, goes_on).is_none());
        }
        let wakes_at = rig.scheduler.wakes_at();
        assert!(wakes_at.is_some_and(|at| at <= goes_on), "{wakes_at:?}");
        let woken = rig.scheduler.to_wake(goes_on);
        assert!(woken.contains(rig.card), "{woken:?}");
        assert!(rig.scheduler.next(rig.card, goes_on).is_some());
    }
}

#[test]
fn one_interrupted_job_does_not_make_those_after_it_dear() {
    const COST: u64 = 20_000;
    let mut rig = Rig::new();
    let cpu_only = Placement::any_of(TargetSet::of(rig.cpu));
    let tenant = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 8));
    let mut run = |ns: u64| {
        rig.push(tenant, 0, 2_000, cpu_only, 0);
        let taken = rig.scheduler.next(rig.cpu, Nanos(0)).unwrap();
        let charged = taken.receipt.charged().0;
        let paid = rig.scheduler.finish(taken.receipt, took(ns, Some(ns)));
        assert_eq!(paid.0, ns, "what it took is what is paid for");
        charged
    };
    for _ in 0..100 {
        run(COST);
    }
    run(200 * COST);
    let after = run(COST);
    assert!(after < 2 * COST, "{after}");
    // Yet what takes so long from now on is known soon.
    let jobs = (0..).take_while(|_| run(200 * COST) < 100 * COST).count();
    assert!(jobs <= 30, "{jobs} jobs");
    let far = (0..60).map(|_| run(200 * COST)).last().unwrap();
    assert!(far > 195 * COST, "{far}");
}

#[test]
fn a_target_is_given_only_what_it_is_able_to_do() {
    let mut rig = Rig::new();
    let tenant = rig.scheduler.add_tenant(promised(WEIGHT_DEFAULT, 8));
    let (fast, tables) = (Abilities(1), Abilities(2));
    let on_card = Placement::any_of(TargetSet::of(rig.card));
    let prefer = Placement {
        preferred: TargetSet::of(rig.card),
        ..rig.any()
    };
    assert_eq!(rig.scheduler.abilities(rig.card), Abilities::ALL);
    rig.scheduler.set_abilities(rig.card, tables, Nanos(0));
    rig.push(tenant, 1, 10, on_card.needing(fast), 0);
    rig.push(tenant, 2, 10, prefer.needing(fast), 0);
    rig.push(tenant, 3, 10, prefer.needing(tables), 0);
    let missing = rig.scheduler.effective(on_card.needing(fast));
    assert!(missing.is_empty());
    // What prefers a card that cannot do it is the CPU's at once; what requires it waits.
    assert_eq!(rig.scheduler.next(rig.cpu, Nanos(0)).unwrap().job, 2);
    assert!(rig.scheduler.next(rig.cpu, Nanos(u64::MAX)).is_none());
    assert_eq!(rig.scheduler.next(rig.card, Nanos(0)).unwrap().job, 3);
    assert!(rig.scheduler.next(rig.card, Nanos(0)).is_none());
    rig.scheduler.set_abilities(rig.card, fast, Nanos(0));
    assert_eq!(rig.scheduler.next(rig.card, Nanos(0)).unwrap().job, 1);
}
