//! Targets of different speeds that run what the scheduler gives them, in virtual time.

use std::collections::BTreeMap;

use faam_sched::{
    Config, JobRequest, JobShape, KernelClass, Measured, Nanos, Placement, Predictor, Priority,
    Receipt, Scheduler, TargetIndex, TargetSet, TenantConfig, TenantIndex,
};

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const SECOND: u64 = 1_000 * MS;

/// Tells `bytes` as nanoseconds on the reference engine, times what a kernel class says in hundredths: wrong on purpose, and
/// it never learns. On other targets times their own factor.
#[derive(Debug, Default)]
pub(crate) struct Biased {
    pub(crate) factors: Vec<u64>,
}

impl Predictor for Biased {
    fn predict(&self, target: TargetIndex, kernel: KernelClass, bytes: usize) -> Nanos {
        let factor = self.factors.get(target.number()).copied().unwrap_or(100);
        Nanos(bytes as u64 * u64::from(kernel.0) / 100 * factor / 100)
    }

    fn measured(&self, target: TargetIndex, kernel: KernelClass, bytes: usize) -> Option<Nanos> {
        Some(self.predict(target, kernel, bytes))
    }

    fn learn(&mut self, _: TargetIndex, _: KernelClass, _: usize, _: Nanos) {}
}

/// A job: its true cost, nanoseconds of the reference engine.
pub(crate) type Cost = u64;

pub(crate) struct Target {
    pub(crate) index: TargetIndex,
    pub(crate) servers: usize,
    /// What a job takes here, hundredths of its cost.
    pub(crate) factor: u64,
    pub(crate) running: usize,
}

pub(crate) struct Tenant {
    pub(crate) index: TenantIndex,
    pub(crate) weight: u32,
    /// Class of its jobs: how wrong their prediction is, in hundredths.
    pub(crate) bias: u16,
    pub(crate) placement: Placement,
    /// Costs of its jobs, over and over.
    pub(crate) costs: Vec<Cost>,
    pub(crate) pushed: usize,
    /// Charged and corrected so far.
    pub(crate) served: u64,
    /// Charged for what runs.
    pub(crate) running: u64,
    /// When it was charged what, as corrected in the end.
    pub(crate) history: Vec<(u64, u64)>,
}

pub(crate) struct Machine {
    pub(crate) scheduler: Scheduler<Cost, Biased>,
    pub(crate) targets: Vec<Target>,
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) now: u64,
    ends: BTreeMap<(u64, u64), (usize, usize, Receipt, Cost)>,
    sequence: u64,
}

impl Machine {
    /// Targets by servers and factor; the first is the reference engine, and its factor 100.
    pub(crate) fn new(config: Config, targets: &[(usize, u64)]) -> Self {
        let factors = targets.iter().map(|(_, factor)| *factor).collect();
        let mut scheduler = Scheduler::with_predictor(config, Biased { factors });
        let targets = targets
            .iter()
            .enumerate()
            .map(|(number, (servers, factor))| {
                let wide = u32::try_from(*servers).expect("few");
                let index = scheduler.add_target(wide, number == 0).expect("few");
                scheduler.set_in_service(index, true, Nanos(0));
                Target {
                    index,
                    servers: *servers,
                    factor: *factor,
                    running: 0,
                }
            })
            .collect();
        Self {
            scheduler,
            targets,
            tenants: Vec::new(),
            now: 0,
            ends: BTreeMap::new(),
            sequence: 0,
        }
    }

    pub(crate) fn anywhere(&self) -> Placement {
        let all = self
            .targets
            .iter()
            .map(|target| TargetSet::of(target.index));
        Placement::any_of(all.fold(TargetSet::EMPTY, TargetSet::union))
    }

    pub(crate) fn only(&self, target: usize) -> Placement {
        Placement::any_of(TargetSet::of(self.targets[target].index))
    }

    pub(crate) fn tenant(
        &mut self,
        config: TenantConfig,
        costs: &[Cost],
        placement: Placement,
    ) -> usize {
        self.tenants.push(Tenant {
            index: self.scheduler.add_tenant(config),
            weight: config.weight,
            bias: 100,
            placement,
            costs: costs.to_vec(),
            pushed: 0,
            served: 0,
            running: 0,
            history: Vec::new(),
        });
        self.tenants.len() - 1
    }

    /// What all targets give, nanoseconds of the reference engine a second.
    pub(crate) fn capacity(&self) -> u64 {
        let each = self.targets.iter();
        each.map(|target| target.servers as u64 * 100 * SECOND / target.factor)
            .sum()
    }

    /// Jobs that can be in service at once.
    pub(crate) fn depth(&self) -> u64 {
        self.targets
            .iter()
            .map(|target| target.servers as u64)
            .sum()
    }

    pub(crate) fn push(&mut self, number: usize) {
        let tenant = &mut self.tenants[number];
        let cost = tenant.costs[tenant.pushed % tenant.costs.len()];
        tenant.pushed += 1;
        let request = JobRequest {
            shape: JobShape {
                kernel: KernelClass(tenant.bias),
                bytes: usize::try_from(cost).expect("small"),
            },
            placement: tenant.placement,
            priority: Priority::default(),
        };
        let pushed = self
            .scheduler
            .push(tenant.index, cost, request, Nanos(self.now));
        pushed.expect("room");
    }

    /// Keeps so many jobs queued.
    pub(crate) fn fill(&mut self, number: usize, jobs: usize) {
        while self.scheduler.queued(self.tenants[number].index) < jobs {
            self.push(number);
        }
    }

    /// Gives work to every target that has room. Whether any took some.
    pub(crate) fn ask(&mut self) -> bool {
        let mut any = false;
        for number in 0..self.targets.len() {
            while self.targets[number].running < self.targets[number].servers {
                let target = &mut self.targets[number];
                let Some(taken) = self.scheduler.next(target.index, Nanos(self.now)) else {
                    break;
                };
                any = true;
                target.running += 1;
                let of = taken.receipt.tenant();
                let tenant = self.tenants.iter().position(|tenant| tenant.index == of);
                let tenant = tenant.expect("one of ours");
                self.tenants[tenant].running += taken.receipt.charged().0;
                let ends = self.now + taken.job * target.factor / 100;
                self.sequence += 1;
                let running = (number, tenant, taken.receipt, taken.job);
                self.ends.insert((ends, self.sequence), running);
            }
        }
        any
    }

    /// Goes on to the next moment at which something happens, at most to `until`. Whether it came so far.
    pub(crate) fn step(&mut self, until: u64) -> bool {
        let ends = self.ends.keys().next().map(|(at, _)| *at);
        let wakes = self.scheduler.wakes_at().map(|Nanos(at)| at);
        let next = ends.into_iter().chain(wakes).min().unwrap_or(until);
        self.now = next.max(self.now).min(until);
        while let Some(entry) = self.ends.first_entry()
            && entry.key().0 <= self.now
        {
            let (target, tenant, receipt, cost) = entry.remove();
            let target = &mut self.targets[target];
            target.running -= 1;
            let tenant = &mut self.tenants[tenant];
            tenant.running -= receipt.charged().0;
            let measured = Measured {
                took: Nanos(cost * target.factor / 100),
                reference: Some(Nanos(cost)),
                engine: None,
                verified: Nanos(0),
            };
            let Nanos(charged) = self.scheduler.finish(receipt, measured);
            tenant.served += charged;
            tenant.history.push((self.now, charged));
        }
        self.now >= until
    }

    /// Runs on, with `each` before every look for work.
    pub(crate) fn run(&mut self, span: u64, mut each: impl FnMut(&mut Self)) {
        let until = self.now + span;
        loop {
            each(self);
            let _ = self.scheduler.to_wake(Nanos(self.now));
            self.ask();
            if self.step(until) {
                return;
            }
        }
    }

    /// What a tenant was charged in all, over its weight.
    pub(crate) fn normalised(&self, number: usize) -> f64 {
        let tenant = &self.tenants[number];
        (tenant.served + tenant.running) as f64 / f64::from(tenant.weight)
    }
}

pub(crate) fn weighted(weight: u32) -> TenantConfig {
    TenantConfig {
        weight,
        ..TenantConfig::default()
    }
}
