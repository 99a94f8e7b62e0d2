//! Exactly once, the same answers for the same calls, and orders within a tenant, over arbitrary calls.

use std::collections::{BTreeMap, VecDeque};

use faam_sched::{
    Config, JobId, JobRequest, JobShape, KernelClass, Measured, Nanos, Placement, Priority,
    Receipt, Scheduler, TargetIndex, TargetSet, TenantConfig, TenantIndex,
};
use proptest::prelude::*;

const TENANTS: usize = 5;
const TARGETS: u8 = 4;

/// One call.
#[derive(Clone, Debug)]
enum Call {
    Push {
        tenant: usize,
        bytes: usize,
        places: u8,
        preferred: u8,
        priority: u8,
    },
    Next(u8),
    TakeNow(usize, u8),
    End(u8, u64),
    Cancel(usize),
    Requeue,
    RemoveTenant(usize),
    SetTenant(usize, u32, u64, Option<u64>),
    Service(u8, bool),
    Wait(u64),
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let tenant = 0..TENANTS;
    let call = prop_oneof![
        8 => (tenant.clone(), 1usize..200_000, 1u8..16, 0u8..16, 0u8..8).prop_map(
            |(tenant, bytes, places, preferred, priority)| Call::Push { tenant, bytes, places, preferred, priority }
        ),
        8 => (0..TARGETS).prop_map(Call::Next),
        1 => (tenant.clone(), 0..TARGETS).prop_map(|(tenant, target)| Call::TakeNow(tenant, target)),
        6 => (0u8..3, 0u64..5_000_000).prop_map(|(how, took)| Call::End(how, took)),
        2 => any::<usize>().prop_map(Call::Cancel),
        2 => Just(Call::Requeue),
        1 => tenant.clone().prop_map(Call::RemoveTenant),
        1 => (tenant, 0u32..1000, 0u64..500_000, proptest::option::of(0u64..1_000_000))
            .prop_map(|(tenant, weight, cir, pir)| Call::SetTenant(tenant, weight, cir, pir)),
        1 => (0..TARGETS, any::<bool>()).prop_map(|(target, on)| Call::Service(target, on)),
        3 => (0u64..10_000_000).prop_map(Call::Wait),
    ];
    proptest::collection::vec(call, 1..400)
}

struct Books {
    scheduler: Scheduler<u32>,
    targets: Vec<TargetIndex>,
    tenants: Vec<TenantIndex>,
    held: VecDeque<(u32, Receipt)>,
    /// Every job that waits: its name, and whose it is.
    waiting: BTreeMap<u32, (JobId, TenantIndex)>,
    names: BTreeMap<u32, JobId>,
    pushed: u32,
    ended: Vec<u32>,
    now: u64,
    /// All answers.
    answers: Vec<u64>,
}

impl Books {
    fn new() -> Self {
        let mut scheduler = Scheduler::new(Config::default());
        let targets: Vec<_> = (0..TARGETS)
            .map(|n| scheduler.add_target(1 + u32::from(n), n == 0).expect("few"))
            .collect();
        for target in &targets {
            scheduler.set_in_service(*target, true, Nanos(0));
        }
        let config = TenantConfig {
            queued_max: 40,
            ..TenantConfig::default()
        };
        Self {
            tenants: (0..TENANTS).map(|_| scheduler.add_tenant(config)).collect(),
            scheduler,
            targets,
            held: VecDeque::new(),
            waiting: BTreeMap::new(),
            names: BTreeMap::new(),
            pushed: 0,
            ended: Vec::new(),
            now: 0,
            answers: Vec::new(),
        }
    }

    fn set(&self, bits: u8) -> TargetSet {
        let each = self.targets.iter().enumerate();
        each.filter(|(n, _)| bits & (1 << n) != 0)
            .fold(TargetSet::EMPTY, |set, (_, target)| {
                set.union(TargetSet::of(*target))
            })
    }

    fn request(&self, bytes: usize, places: u8, preferred: u8, priority: u8) -> JobRequest {
        JobRequest {
            shape: JobShape {
                kernel: KernelClass(0),
                bytes,
            },
            placement: Placement {
                preferred: self.set(preferred),
                ..Placement::any_of(self.set(places))
            },
            priority: Priority::new(priority).expect("to 7"),
        }
    }

    fn call(&mut self, call: &Call) -> Result<(), TestCaseError> {
        let now = Nanos(self.now);
        match call.clone() {
            Call::Push {
                tenant,
                bytes,
                places,
                preferred,
                priority,
            } => {
                let request = self.request(bytes, places, preferred, priority);
                let (name, index) = (self.pushed, self.tenants[tenant]);
                match self.scheduler.push(index, name, request, now) {
                    Ok(id) => {
                        self.pushed += 1;
                        self.waiting.insert(name, (id, index));
                        self.names.insert(name, id);
                    }
                    Err(full) => {
                        prop_assert_eq!((full.job, full.queued >= 40), (name, true));
                    }
                }
            }
            Call::Next(target) => {
                let target = self.targets[usize::from(target)];
                let in_service = self.scheduler.in_service();
                if let Some(taken) = self.scheduler.next(target, now) {
                    let waited = self.waiting.remove(&taken.job);
                    prop_assert!(waited.is_some(), "job {} did not wait", taken.job);
                    let effective = taken.receipt.placement().effective(in_service);
                    prop_assert!(effective.contains(target), "not allowed there");
                    self.answers
                        .push(u64::from(taken.job) << 8 | target.number() as u64);
                    self.held.push_back((taken.job, taken.receipt));
                }
            }
            Call::TakeNow(tenant, target) => {
                let request = self.request(1_000, 15, 0, 3);
                let (tenant, target) = (self.tenants[tenant], self.targets[usize::from(target)]);
                let limit = Nanos(u64::MAX);
                if let Some(receipt) = self.scheduler.take_now(tenant, request, target, limit, now)
                {
                    self.answers.push(receipt.charged().0);
                    self.scheduler.abandon(receipt, None);
                }
            }
            Call::End(how, took) => {
                if let Some((name, receipt)) = self.held.pop_front() {
                    self.ended.push(name);
                    let measured = Measured {
                        took: Nanos(took),
                        ..Measured::default()
                    };
                    match how {
                        0 => self
                            .answers
                            .push(self.scheduler.finish(receipt, measured).0),
                        1 => self.answers.push(self.scheduler.abandon(receipt, None).0),
                        _ => self.scheduler.refund(receipt),
                    }
                }
            }
            Call::Cancel(which) => {
                let name = u32::try_from(which % (self.pushed.max(1) as usize)).expect("few");
                if let Some(id) = self.names.get(&name) {
                    let waits = self.waiting.remove(&name).is_some();
                    let gone = self.scheduler.cancel(*id);
                    prop_assert_eq!(gone, waits.then_some(name));
                    self.ended.extend(gone);
                }
            }
            Call::Requeue => {
                if let Some((name, receipt)) = self.held.pop_back() {
                    let (tenant, avoided) = (receipt.tenant(), receipt.target());
                    let placement = receipt.placement().avoiding(avoided);
                    match self.scheduler.requeue(receipt, name, placement) {
                        Ok(()) => {
                            self.waiting.insert(name, (self.names[&name], tenant));
                        }
                        Err(name) => {
                            prop_assert!(!self.tenants.contains(&tenant));
                            self.ended.push(name);
                        }
                    }
                }
            }
            Call::RemoveTenant(tenant) => {
                let index = self.tenants[tenant];
                let mut gone = self.scheduler.remove_tenant(index);
                let of_it = self.waiting.iter().filter(|(_, (_, of))| *of == index);
                let names: Vec<u32> = of_it.map(|(name, _)| *name).collect();
                self.waiting.retain(|_, (_, of)| *of != index);
                gone.sort_unstable();
                prop_assert_eq!(&gone, &names);
                self.ended.extend(gone);
                self.tenants[tenant] = self.scheduler.add_tenant(TenantConfig {
                    queued_max: 40,
                    ..TenantConfig::default()
                });
            }
            Call::SetTenant(tenant, weight, cir_us_per_s, pir_us_per_s) => {
                let config = TenantConfig {
                    weight,
                    cir_us_per_s,
                    pir_us_per_s,
                    queued_max: 40,
                    ..TenantConfig::default()
                };
                self.scheduler.set_tenant(self.tenants[tenant], config);
            }
            Call::Service(target, on) => {
                let target = self.targets[usize::from(target)];
                self.scheduler.set_in_service(target, on, Nanos(self.now));
            }
            Call::Wait(span) => {
                self.now += span;
                let Nanos(at) = self.scheduler.wakes_at().unwrap_or_default();
                let woken = self.scheduler.to_wake(Nanos(self.now));
                self.answers.push(at ^ woken.iter().count() as u64);
            }
        }
        prop_assert_eq!(self.scheduler.queued_in_all(), self.waiting.len());
        Ok(())
    }

    /// Takes and ends all that is left.
    fn end(&mut self) -> Result<(), TestCaseError> {
        for (tenant, index) in self.tenants.clone().into_iter().enumerate() {
            let of_it = self.waiting.values().filter(|(_, of)| *of == index);
            prop_assert_eq!(
                self.scheduler.queued(index),
                of_it.count(),
                "tenant {}",
                tenant
            );
        }
        self.ended
            .extend(self.held.drain(..).map(|(name, receipt)| {
                self.scheduler.abandon(receipt, None);
                name
            }));
        let left = self.scheduler.drain();
        prop_assert_eq!(left.len(), self.waiting.len());
        self.ended.extend(left);
        prop_assert_eq!(self.scheduler.queued_in_all(), 0);
        prop_assert_eq!(self.scheduler.oldest_queued_at(), None);
        for target in &self.targets {
            prop_assert_eq!(self.scheduler.outstanding(*target), Nanos(0));
            self.scheduler.set_in_service(*target, true, Nanos(0));
            prop_assert!(self.scheduler.next(*target, Nanos(u64::MAX)).is_none());
        }
        self.ended.sort_unstable();
        let all: Vec<u32> = (0..self.pushed).collect();
        prop_assert_eq!(&self.ended, &all, "every job ends once");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn every_job_ends_once_and_the_same_calls_have_the_same_answers(calls in calls()) {
        let mut answers = Vec::new();
        for _ in 0..2 {
            let mut books = Books::new();
            for call in &calls {
                books.call(call)?;
            }
            books.end()?;
            answers.push(books.answers);
        }
        prop_assert_eq!(&answers[0], &answers[1]);
    }

    /// Within a tenant the more urgent goes first, and is passed by at most 256 later jobs for each level between them.
    #[test]
    fn priorities_order_a_tenants_own_jobs_and_starve_none(urgent in 1u8..8) {
        let mut books = Books::new();
        let config = TenantConfig { queued_max: 100_000, ..TenantConfig::default() };
        let tenant = books.scheduler.add_tenant(config);
        let urgent_by = u32::from(urgent);
        let request = |books: &Books, priority| books.request(1_000, 1, 0, priority);
        let least = request(&books, urgent);
        books.scheduler.push(tenant, 0, least, Nanos(0)).expect("room");
        let first = request(&books, 0);
        let mut passed = 0;
        for name in 1..4_000 {
            books.scheduler.push(tenant, name, first, Nanos(0)).expect("room");
            let taken = books.scheduler.next(books.targets[0], Nanos(0)).expect("waits");
            books.scheduler.abandon(taken.receipt, None);
            if taken.job == 0 {
                break;
            }
            passed += 1;
        }
        let most = urgent_by * 256;
        prop_assert!((most - 1..=most).contains(&passed), "{passed} of {most}");
    }
}
