//! What a forecast is worth: it is compared with what the same scheduler then does, on a clock of the test's own.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use faam_sched::{
    Announced, Config, JobRequest, JobShape, KernelClass, Measured, Nanos, Placement, Priority,
    Receipt, Scheduler, TargetIndex, TargetSet, TenantConfig, TenantIndex,
};
use proptest::prelude::*;

const KERNEL: KernelClass = KernelClass(3);
const BYTES: usize = 128 << 10;
/// What each job takes.
const JOB_NS: u64 = 1_000_000;

/// One pool of servers, and whose job each of them has until when.
struct Pool {
    scheduler: Scheduler<bool>,
    target: TargetIndex,
    idle: u32,
    running: BinaryHeap<Reverse<(u64, u64)>>,
    receipts: Vec<(u64, Receipt, bool)>,
    now: u64,
    number: u64,
}

fn request(target: TargetIndex, bytes: usize) -> JobRequest {
    JobRequest {
        shape: JobShape {
            kernel: KERNEL,
            bytes,
        },
        placement: Placement::any_of(TargetSet::of(target)),
        priority: Priority::default(),
    }
}

impl Pool {
    fn new(servers: u32) -> Self {
        let mut scheduler = Scheduler::new(Config::default());
        let target = scheduler.add_target(servers, true).unwrap();
        scheduler.set_in_service(target, true, Nanos(0));
        Self {
            scheduler,
            target,
            idle: servers,
            running: BinaryHeap::new(),
            receipts: Vec::new(),
            now: 0,
            number: 0,
        }
    }

    fn tenant(&mut self, weight: u32) -> TenantIndex {
        self.scheduler.add_tenant(TenantConfig {
            weight,
            queued_max: 10_000,
            ..TenantConfig::default()
        })
    }

    fn push(&mut self, tenant: TenantIndex, is_announced: bool, jobs: u64) {
        for _ in 0..jobs {
            let request = request(self.target, BYTES);
            self.scheduler
                .push(tenant, is_announced, request, Nanos(self.now))
                .unwrap();
        }
    }

    /// Lets idle servers take what they may.
    fn take(&mut self) {
        while self.idle > 0
            && let Some(taken) = self.scheduler.next(self.target, Nanos(self.now))
        {
            self.idle -= 1;
            self.number += 1;
            self.running.push(Reverse((self.now + JOB_NS, self.number)));
            self.receipts.push((self.number, taken.receipt, taken.job));
        }
    }

    /// The next job ends; whether it was an announced one. `None` when there is none.
    fn end(&mut self) -> Option<bool> {
        let Reverse((at, number)) = self.running.pop()?;
        self.now = at;
        let place = self
            .receipts
            .iter()
            .position(|(n, ..)| *n == number)
            .unwrap();
        let (_, receipt, is_announced) = self.receipts.swap_remove(place);
        let measured = Measured {
            took: Nanos(JOB_NS),
            reference: None,
            engine: None,
            verified: Nanos(0),
        };
        self.scheduler.finish(receipt, measured);
        self.idle += 1;
        Some(is_announced)
    }

    /// Has it learn what a job takes.
    fn learn(&mut self) {
        let teacher = self.tenant(100);
        for _ in 0..30 {
            self.push(teacher, false, 1);
            self.take();
            self.end().unwrap();
        }
    }

    fn announced(&self, jobs: u64) -> Announced {
        Announced {
            request: request(self.target, BYTES),
            jobs,
            in_series: false,
        }
    }
}

#[test]
fn what_was_never_measured_is_not_told() {
    let mut pool = Pool::new(2);
    let tenant = pool.tenant(100);
    let announced = pool.announced(1);
    assert_eq!(pool.scheduler.forecast(tenant, &announced, Nanos(0)), None);
    pool.learn();
    assert!(
        pool.scheduler
            .forecast(tenant, &announced, Nanos(pool.now))
            .is_some()
    );
    // Of another kind, of a larger size, or where nobody serves, nothing is known still.
    let mut other = announced;
    other.request.shape.kernel = KernelClass(9);
    assert_eq!(
        pool.scheduler.forecast(tenant, &other, Nanos(pool.now)),
        None
    );
    let mut larger = announced;
    larger.request.shape.bytes = 4 * BYTES;
    assert_eq!(
        pool.scheduler.forecast(tenant, &larger, Nanos(pool.now)),
        None
    );
    pool.scheduler
        .set_in_service(pool.target, false, Nanos(pool.now));
    assert_eq!(
        pool.scheduler.forecast(tenant, &announced, Nanos(pool.now)),
        None
    );
}

#[test]
fn an_empty_pool_takes_as_long_as_the_work() {
    let mut pool = Pool::new(2);
    pool.learn();
    let tenant = pool.tenant(100);
    let told = |pool: &Pool, jobs, in_series| {
        let announced = Announced {
            in_series,
            ..pool.announced(jobs)
        };
        let forecast = pool
            .scheduler
            .forecast(tenant, &announced, Nanos(pool.now))
            .unwrap();
        assert_eq!(forecast.queue, Nanos(0));
        forecast.service.0
    };
    let near = |ns: u64, expected: u64| ns.abs_diff(expected) <= expected / 20;
    assert!(near(told(&pool, 1, false), JOB_NS));
    assert!(
        near(told(&pool, 16, false), 8 * JOB_NS),
        "{}",
        told(&pool, 16, false)
    );
    assert!(near(told(&pool, 16, true), 16 * JOB_NS));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is queued: work that would end in time is not said to be late, by more than a tenth, two jobs, and one of its own by
    /// its share: what is told is by shares, as if jobs could be cut, and the last job of a light tenant may come at the
    /// beginning of the time that its share has for it. And what is said to be in time is not later than twice as long.
    #[test]
    fn it_comes_true(
        servers in 1..5u32,
        weights in prop::collection::vec(50..400u32, 1..6),
        queued in prop::collection::vec(0..60u64, 6),
        jobs in 1..40u64,
    ) {
        let mut pool = Pool::new(servers);
        pool.learn();
        let tenants: Vec<_> = weights.iter().map(|weight| pool.tenant(*weight)).collect();
        let mut competing = weights[0];
        for ((tenant, jobs), weight) in tenants.iter().zip(queued).zip(&weights) {
            pool.push(*tenant, false, jobs);
            let is_another = jobs > 0 && *tenant != tenants[0];
            competing += if is_another { *weight } else { 0 };
        }
        let own_by_share = JOB_NS * u64::from(competing) / u64::from(weights[0]);
        pool.take();
        let began = pool.now;
        let forecast = pool.scheduler.forecast(tenants[0], &pool.announced(jobs), Nanos(began));
        let told = forecast.unwrap().total().0;
        pool.push(tenants[0], true, jobs);
        let mut left = jobs;
        while left > 0 {
            pool.take();
            left -= u64::from(pool.end().unwrap());
        }
        let took = pool.now - began;
        let late = took + took / 10 + 2 * JOB_NS + own_by_share;
        prop_assert!(told <= late, "told {told}, took {took}");
        prop_assert!(took <= 2 * told + 2 * JOB_NS, "told {told}, took {took}");
    }

    /// Retry-After's part: after so long a tenant's queue is worked off, or nearly.
    #[test]
    fn a_backlog_is_worked_off_when_it_is_said_to_be(
        servers in 1..5u32,
        queued in prop::collection::vec(0..60u64, 1..6),
    ) {
        let mut pool = Pool::new(servers);
        pool.learn();
        let tenants: Vec<_> = queued.iter().map(|_| pool.tenant(100)).collect();
        for (tenant, jobs) in tenants.iter().zip(&queued) {
            pool.push(*tenant, false, *jobs);
        }
        pool.take();
        let began = pool.now;
        let told = pool.scheduler.backlog(tenants[0], Nanos(began)).0;
        while pool.scheduler.queued(tenants[0]) > 0 {
            pool.end().unwrap();
            pool.take();
        }
        let took = pool.now - began;
        prop_assert!(told <= took + took / 10 + 2 * JOB_NS, "told {told}, took {took}");
        prop_assert!(took <= 2 * told + 2 * JOB_NS, "told {told}, took {took}");
    }
}
