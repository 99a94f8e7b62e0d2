//! What a decision of the scheduler takes, by tenants: a job is taken, ended, and another of its tenant's queued.
//!
//! `cargo bench -p faam-benches --bench scheduler`

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use faam_sched::{
    Config, JobRequest, JobShape, KernelClass, Measured, Nanos, Placement, Priority, Scheduler,
    TargetIndex, TargetSet, TenantConfig, TenantIndex,
};

/// Tenants that there are.
const TENANTS: [u32; 3] = [10, 1_000, 100_000];
/// Of those, with jobs, where most are idle.
const BUSY: usize = 10;

struct Rig {
    scheduler: Scheduler<u64>,
    cpu: TargetIndex,
    tenants: Vec<TenantIndex>,
    request: JobRequest,
    now: u64,
}

impl Rig {
    fn new(tenants: u32, config: TenantConfig) -> Self {
        let mut scheduler = Scheduler::new(Config::default());
        let cpu = scheduler.add_target(8, true).unwrap();
        scheduler.set_in_service(cpu, true, Nanos(0));
        for _ in 0..4 {
            let card = scheduler.add_target(1, false).unwrap();
            scheduler.set_in_service(card, true, Nanos(0));
        }
        Self {
            cpu,
            tenants: (0..tenants).map(|_| scheduler.add_tenant(config)).collect(),
            scheduler,
            request: JobRequest {
                shape: JobShape {
                    kernel: KernelClass(6),
                    bytes: 4096,
                },
                placement: Placement::any_of(TargetSet::of(cpu)),
                priority: Priority::default(),
            },
            now: 0,
        }
    }

    fn busy(mut self, tenants: usize) -> Self {
        for tenant in self.tenants.clone().into_iter().take(tenants) {
            for job in 0..2 {
                self.push(tenant, job);
            }
        }
        self
    }

    fn push(&mut self, tenant: TenantIndex, job: u64) {
        let pushed = self
            .scheduler
            .push(tenant, job, self.request, Nanos(self.now));
        pushed.unwrap();
    }

    /// A job taken, ended and followed by another.
    fn turn(&mut self) {
        self.now += 1_000;
        let taken = black_box(&mut self.scheduler).next(self.cpu, Nanos(self.now));
        let taken = taken.unwrap();
        let tenant = taken.receipt.tenant();
        // Not quite what was predicted, so that every tag is corrected.
        let measured = Measured {
            took: Nanos(40_000 + taken.job * 64),
            ..Measured::default()
        };
        self.scheduler.finish(taken.receipt, measured);
        self.push(tenant, (taken.job + 1) % 64);
    }

    /// A small job that its caller runs at once.
    fn at_once(&mut self) {
        self.now += 1_000;
        let (tenant, now, limit) = (self.tenants[0], Nanos(self.now), Nanos(1_000_000));
        let receipt = self
            .scheduler
            .take_now(tenant, self.request, self.cpu, limit, now);
        let measured = Measured {
            took: Nanos(20_000),
            ..Measured::default()
        };
        self.scheduler.finish(receipt.unwrap(), measured);
    }
}

fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("scheduler");
    for tenants in TENANTS {
        let shares = TenantConfig::default();
        let guaranteed = TenantConfig {
            cir_us_per_s: 1,
            pir_us_per_s: Some(u64::MAX),
            ..shares
        };
        let mut all = Rig::new(tenants, shares).busy(usize::MAX);
        let all_id = BenchmarkId::new("all_busy", tenants);
        group.bench_function(all_id, |b| b.iter(|| all.turn()));
        let mut few = Rig::new(tenants, shares).busy(BUSY);
        let few_id = BenchmarkId::new("ten_busy", tenants);
        group.bench_function(few_id, |b| b.iter(|| few.turn()));
        let mut rated = Rig::new(tenants, guaranteed).busy(usize::MAX);
        let rated_id = BenchmarkId::new("all_busy_with_rates", tenants);
        group.bench_function(rated_id, |b| b.iter(|| rated.turn()));
        // One job teaches how long such take; then all is idle.
        let mut idle = Rig::new(tenants, shares);
        idle.push(idle.tenants[0], 0);
        let taken = idle.scheduler.next(idle.cpu, Nanos(0)).unwrap();
        let measured = Measured {
            took: Nanos(20_000),
            ..Measured::default()
        };
        idle.scheduler.finish(taken.receipt, measured);
        let idle_id = BenchmarkId::new("at_once", tenants);
        group.bench_function(idle_id, |b| b.iter(|| idle.at_once()));
    }
    group.finish();
}

criterion_group!(benches, decisions);
criterion_main!(benches);
