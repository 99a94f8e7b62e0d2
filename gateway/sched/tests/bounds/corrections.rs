//! Charges that turn out wrong: a guarantee's lead has its bound all the same, and what did not run is not paid for.

use faam_sched::{
    Config, JobId, JobRequest, JobShape, KernelClass, Measured, Nanos, Placement, Predictor,
    Priority, Receipt, Scheduler, TargetIndex, TargetSet, TenantConfig, TenantIndex,
};

use crate::machine::{MS, weighted};

/// Of every job, whatever was measured.
const PREDICTED: Nanos = Nanos(50 * MS);

struct Constant;

impl Predictor for Constant {
    fn predict(&self, _: TargetIndex, _: KernelClass, _: usize) -> Nanos {
        PREDICTED
    }

    fn measured(&self, _: TargetIndex, _: KernelClass, _: usize) -> Option<Nanos> {
        Some(PREDICTED)
    }

    fn learn(&mut self, _: TargetIndex, _: KernelClass, _: usize, _: Nanos) {}
}

/// A CPU and a card, and two tenants of one weight, of whom the first may be promised something.
struct Rig {
    scheduler: Scheduler<(), Constant>,
    cpu: TargetIndex,
    card: TargetIndex,
    one: TenantIndex,
    other: TenantIndex,
    now: u64,
}

/// So much that every job of a millisecond ago is due again.
const ALL: u64 = 100_000_000;

fn promised(cir_us_per_s: u64) -> TenantConfig {
    TenantConfig {
        cir_us_per_s,
        ..weighted(100)
    }
}

impl Rig {
    fn new(cir_us_per_s: u64) -> Self {
        let config = Config {
            // Guarantees are not kept back for what is shared.
            reserved_ahead_max: Nanos(u64::MAX),
            ..Config::default()
        };
        let mut scheduler = Scheduler::with_predictor(config, Constant);
        let cpu = scheduler.add_target(1, true).expect("few");
        let card = scheduler.add_target(1, false).expect("few");
        for target in [cpu, card] {
            scheduler.set_in_service(target, true, Nanos(0));
        }
        let one = scheduler.add_tenant(weighted(100));
        let other = scheduler.add_tenant(weighted(100));
        let mut rig = Self {
            scheduler,
            cpu,
            card,
            one,
            other,
            now: 0,
        };
        // Both have had the same, and more than is ever given back.
        for _ in 0..40 {
            rig.push(one, cpu);
            rig.push(other, cpu);
        }
        while rig.serve(cpu).is_some() {}
        rig.scheduler.set_tenant(one, promised(cir_us_per_s));
        rig
    }

    fn push(&mut self, tenant: TenantIndex, target: TargetIndex) -> JobId {
        let request = JobRequest {
            shape: JobShape {
                kernel: KernelClass(0),
                bytes: 1,
            },
            placement: Placement::any_of(TargetSet::of(target)),
            priority: Priority::default(),
        };
        let pushed = self.scheduler.push(tenant, (), request, Nanos(self.now));
        pushed.expect("room")
    }

    /// A job of `target`'s, a millisecond later.
    fn take(&mut self, target: TargetIndex) -> Option<Receipt> {
        self.now += MS;
        let taken = self.scheduler.next(target, Nanos(self.now))?;
        Some(taken.receipt)
    }

    /// One that runs as it is predicted to; whose it was.
    fn serve(&mut self, target: TargetIndex) -> Option<TenantIndex> {
        let receipt = self.take(target)?;
        let tenant = receipt.tenant();
        self.finish(receipt, PREDICTED);
        Some(tenant)
    }

    fn finish(&mut self, receipt: Receipt, reference: Nanos) {
        let measured = Measured {
            took: PREDICTED,
            engine: None,
            reference: Some(reference),
            verified: Nanos(0),
        };
        self.scheduler.finish(receipt, measured);
    }

    /// Without promises: whose jobs go first at `target`, and how many of them in a row.
    fn ahead(&mut self, target: TargetIndex) -> (TenantIndex, usize) {
        self.scheduler.set_tenant(self.one, weighted(100));
        for tenant in [self.one, self.other] {
            for _ in 0..100 {
                self.push(tenant, target);
            }
        }
        let first = self.serve(target).expect("jobs of both");
        let mut count = 1;
        while self.serve(target) == Some(first) {
            count += 1;
        }
        (first, count)
    }
}

#[test]
fn a_correction_keeps_a_guarantees_lead_within_its_bound() {
    let mut rig = Rig::new(ALL);
    let (one, other, cpu) = (rig.one, rig.other, rig.cpu);
    rig.push(other, cpu);
    rig.push(one, cpu);
    let receipt = rig.take(cpu).expect("it is due");
    assert!(receipt.reserved() && receipt.tenant() == one);
    // Ten times what was predicted.
    rig.finish(receipt, Nanos(10 * PREDICTED.0));
    let Nanos(lead) = Config::default().lead_max;
    let (first, count) = rig.ahead(cpu);
    assert_eq!(first, other);
    let most = usize::try_from(lead / PREDICTED.0).expect("few") + 1;
    assert!(count <= most, "{count} jobs, {most} are the lead's");
}

#[test]
fn what_a_tag_was_spared_is_not_given_back_to_it() {
    let mut rig = Rig::new(ALL);
    let (one, other, cpu) = (rig.one, rig.other, rig.cpu);
    rig.push(other, cpu);
    for _ in 0..30 {
        rig.push(one, cpu);
    }
    // Two of them make up the lead; the others do not move the tag.
    let taken: Vec<_> = (0..10).map(|_| rig.take(cpu).expect("due")).collect();
    assert!(
        taken
            .iter()
            .all(|receipt| receipt.reserved() && receipt.tenant() == one)
    );
    for receipt in taken {
        rig.scheduler.refund(receipt);
    }
    let (_, count) = rig.ahead(cpu);
    assert!(count <= 2, "{count} in a row");
}

/// Ten jobs of the first tenant's are taken by the card beside ten of the other's, come back, because the card is lost or for
/// another reason, and are cancelled; an eleventh waits.
fn ten_are_cancelled(rig: &mut Rig, card_is_lost: bool) {
    let (one, other, card) = (rig.one, rig.other, rig.card);
    let jobs: Vec<_> = (0..11).map(|_| rig.push(one, card)).collect();
    (0..10).for_each(|_| _ = rig.push(other, card));
    let taken: Vec<_> = (0..20).map(|_| rig.take(card).expect("a job")).collect();
    let (came_back, ended): (Vec<_>, Vec<_>) = taken
        .into_iter()
        .partition(|receipt| receipt.tenant() == one);
    for receipt in ended {
        rig.finish(receipt, PREDICTED);
    }
    if card_is_lost {
        rig.scheduler.set_in_service(card, false, Nanos(rig.now));
    }
    assert_eq!(came_back.len(), 10);
    for receipt in came_back {
        let placement = receipt.placement();
        let returned = rig.scheduler.requeue(receipt, (), placement);
        returned.expect("its tenant is there");
    }
    for job in &jobs[..10] {
        rig.scheduler.cancel(*job).expect("it waits");
    }
    if card_is_lost {
        rig.scheduler.set_in_service(card, true, Nanos(rig.now));
    }
}

#[test]
fn what_came_back_and_is_cancelled_is_not_of_anybodys_share() {
    for card_is_lost in [false, true] {
        let mut rig = Rig::new(0);
        ten_are_cancelled(&mut rig, card_is_lost);
        // The other has had ten jobs more.
        let (first, count) = rig.ahead(rig.card);
        assert!(
            first == rig.one && (9..=11).contains(&count),
            "lost: {card_is_lost}: {count} of {first:?} in a row"
        );
    }
}

#[test]
fn what_came_back_and_is_cancelled_is_not_of_anybodys_peak_rate() {
    for card_is_lost in [false, true] {
        let mut rig = Rig::new(0);
        let (one, card) = (rig.one, rig.card);
        let limited = TenantConfig {
            pir_us_per_s: Some(1_000_000),
            pir_burst: Nanos(20 * PREDICTED.0),
            ..weighted(100)
        };
        rig.scheduler.set_tenant(one, limited);
        // The CPU's jobs before are paid off.
        rig.now += 1_000_000 * MS;
        ten_are_cancelled(&mut rig, card_is_lost);
        (0..30).for_each(|_| _ = rig.push(one, card));
        let at_once = std::iter::from_fn(|| rig.take(card)).count();
        assert_eq!(at_once, 20, "lost: {card_is_lost}: its burst");
    }
}

#[test]
fn what_was_taken_in_advance_of_a_guarantee_is_the_same_work_when_a_card_goes_or_comes_back() {
    // Half of the capacity is the card's, so that a job of 50 ms is paid off after 50 ms with it and after 100 without.
    for begins_with_card in [true, false] {
        let mut rig = Rig::new(1_000_000);
        let (one, other, cpu, card) = (rig.one, rig.other, rig.cpu, rig.card);
        rig.scheduler
            .set_in_service(card, begins_with_card, Nanos(rig.now));
        for _ in 0..10 {
            rig.push(one, cpu);
            rig.push(other, cpu);
        }
        let receipt = rig.take(cpu).expect("it is due");
        assert!(receipt.reserved() && receipt.tenant() == one);
        let began = rig.now;
        // Half of it is paid off, so that either way it is after 75 ms.
        rig.now += if begins_with_card { 25 } else { 50 } * MS;
        rig.scheduler
            .set_in_service(card, !begins_with_card, Nanos(rig.now));
        for (after_ms, reserved) in [(70, false), (80, true)] {
            rig.now = began + (after_ms - 1) * MS;
            let receipt = rig.take(cpu).expect("jobs of both");
            assert_eq!(
                receipt.reserved(),
                reserved,
                "with a card first: {begins_with_card}, after {after_ms} ms"
            );
            rig.scheduler.refund(receipt);
        }
        rig.scheduler.refund(receipt);
    }
}
