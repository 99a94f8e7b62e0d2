//! Any order of admissions, growth, payments, hang-ups, changed limits and midnights against a plain model: no bound is
//! ever exceeded, and when the last permit is gone nothing is held.

use std::time::Duration;

use proptest::prelude::*;

use super::clock::{Clock, DAY_SECONDS, SetClock};
use super::*;
use crate::meter::Spent;
use crate::tenants::TenantLimits;

const TENANTS: usize = 3;
const PROCESS: AdmissionLimits = AdmissionLimits {
    body_memory_bytes_max: 1000,
    spill_bytes_max: 900,
    spill_tenant_bytes_max: 500,
    spill_request_bytes_max: 300,
    spill_files_max: 8,
    spill_tenant_files_max: 4,
};

#[derive(Clone, Debug)]
enum Step {
    Admit {
        tenant: usize,
        memory: usize,
        body: Option<u64>,
    },
    Grow {
        permit: usize,
        bytes: usize,
    },
    Shrink {
        permit: usize,
        bytes: usize,
    },
    Spill {
        permit: usize,
        bytes: usize,
    },
    Unspill {
        permit: usize,
        bytes: usize,
    },
    Arrive {
        permit: usize,
        bytes: u64,
    },
    Share {
        permit: usize,
    },
    Work {
        permit: usize,
        us: u64,
    },
    Leave {
        permit: usize,
    },
    End {
        permit: usize,
    },
    Limit {
        tenant: usize,
        limits: Box<TenantLimits>,
    },
    Pass {
        ms: u64,
    },
    Midnight,
}

fn limits() -> impl Strategy<Value = TenantLimits> {
    let rate = || prop::option::of(1..200u64);
    (
        0..5usize,
        prop::option::of(0..800usize),
        prop::option::of(0..600usize),
        (rate(), rate()),
        (prop::option::of(0..2_000u64), prop::option::of(0..5_000u64)),
    )
        .prop_map(
            |(in_flight_max, memory, spill, rates, quotas)| TenantLimits {
                in_flight_max,
                memory_bytes_max: memory,
                spill_bytes_max: spill,
                requests_per_s: rates.0,
                bytes_per_s: rates.1,
                bytes_per_day: quotas.0,
                reference_us_per_day: quotas.1,
                ..TenantLimits::default()
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    let permit = || 0..16usize;
    let tenant = || 0..TENANTS;
    let body = prop::option::of(0..300u64);
    prop_oneof![
        6 => (tenant(), 0..400usize, body)
            .prop_map(|(tenant, memory, body)| Step::Admit { tenant, memory, body }),
        2 => (permit(), 0..500usize).prop_map(|(permit, bytes)| Step::Grow { permit, bytes }),
        2 => (permit(), 0..500usize).prop_map(|(permit, bytes)| Step::Shrink { permit, bytes }),
        2 => (permit(), 0..400usize).prop_map(|(permit, bytes)| Step::Spill { permit, bytes }),
        1 => (permit(), 0..400usize).prop_map(|(permit, bytes)| Step::Unspill { permit, bytes }),
        3 => (permit(), 0..200u64).prop_map(|(permit, bytes)| Step::Arrive { permit, bytes }),
        1 => permit().prop_map(|permit| Step::Share { permit }),
        2 => (permit(), 0..2_000u64).prop_map(|(permit, us)| Step::Work { permit, us }),
        2 => permit().prop_map(|permit| Step::Leave { permit }),
        4 => permit().prop_map(|permit| Step::End { permit }),
        1 => (tenant(), limits()).prop_map(|(tenant, limits)| Step::Limit { tenant, limits: Box::new(limits) }),
        2 => (0..3_000u64).prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::Midnight),
    ]
}

/// A request as the model knows it.
struct Request {
    permit: Arc<AdmissionPermit>,
    tenant: usize,
    memory: usize,
    spill: usize,
    /// Announced bytes that have not arrived, and the day that counts them.
    reserved: (u64, Day),
    work_us: u64,
    leaving: bool,
    /// Of a job that outlives its request.
    shared: Vec<Arc<AdmissionPermit>>,
}

use super::clock::Day;

#[derive(Default)]
struct Account {
    day: Day,
    day_bytes: u64,
    day_us: u64,
    /// Rates in force: of the last request that got as far as to be asked for them.
    rates: [Option<u64>; 2],
    /// When requests and bytes of bodies were let through, and how many, since those rates were changed.
    requests: Vec<(Duration, u64)>,
    bytes: Vec<(Duration, u64)>,
}

struct Model {
    clock: Arc<SetClock>,
    time: Duration,
    admission: Admission,
    tenants: Vec<Tenant>,
    accounts: Vec<Account>,
    requests: Vec<Request>,
}

impl Model {
    fn new(all: Vec<TenantLimits>) -> Self {
        let clock = SetClock::at(DAY_SECONDS * 20_000);
        let tenants: Vec<_> = (0u8..)
            .zip(all)
            .map(|(number, limits)| Tenant {
                id: TenantId::new(&format!("tenant{number}")),
                limits,
            })
            .collect();
        Self {
            admission: Admission::with_clock(PROCESS, Clock::set(Arc::clone(&clock))),
            clock,
            time: Duration::ZERO,
            accounts: tenants.iter().map(|_| Account::default()).collect(),
            tenants,
            requests: Vec::new(),
        }
    }

    fn today(&self) -> Day {
        Day(20_000 + self.time.as_secs() / DAY_SECONDS)
    }

    fn account(&mut self, tenant: usize) -> &mut Account {
        let today = self.today();
        let account = &mut self.accounts[tenant];
        if account.day != today {
            (account.day, account.day_bytes, account.day_us) = (today, 0, 0);
        }
        account
    }

    /// Requests of a tenant that are in flight, or that are leaving.
    fn count(&self, tenant: usize, leaving: bool) -> usize {
        self.requests
            .iter()
            .filter(|request| request.tenant == tenant && request.leaving == leaving)
            .count()
    }

    fn sum(&self, tenant: Option<usize>, of: impl Fn(&Request) -> usize) -> usize {
        let wanted = |request: &&Request| tenant.is_none_or(|tenant| request.tenant == tenant);
        self.requests.iter().filter(wanted).map(of).sum()
    }

    fn step(&mut self, step: Step) {
        let count = self.requests.len();
        let pick = |number: usize| (count > 0).then(|| number % count.max(1));
        match step {
            Step::Admit {
                tenant,
                memory,
                body,
            } => self.admit(tenant, memory, body),
            Step::Grow { permit, bytes } => {
                let Some(at) = pick(permit) else { return };
                let tenant = self.requests[at].tenant;
                let max = self.requests[at].permit.memory_max;
                let fits = self.sum(Some(tenant), |r| r.memory) + bytes <= max
                    && self.sum(None, |r| r.memory) + bytes <= PROCESS.body_memory_bytes_max;
                assert_eq!(self.requests[at].permit.grow(bytes).is_ok(), fits);
                if fits {
                    self.requests[at].memory += bytes;
                }
            }
            Step::Shrink { permit, bytes } => {
                let Some(at) = pick(permit) else { return };
                let request = &mut self.requests[at];
                request.permit.shrink(bytes);
                request.memory -= bytes.min(request.memory);
            }
            Step::Spill { permit, bytes } => {
                let Some(at) = pick(permit) else { return };
                let tenant = self.requests[at].tenant;
                let fits = self.requests[at].spill + bytes <= PROCESS.spill_request_bytes_max
                    && self.sum(Some(tenant), |r| r.spill) + bytes
                        <= self.requests[at].permit.spill_tenant_max
                    && self.sum(None, |r| r.spill) + bytes <= PROCESS.spill_bytes_max;
                assert_eq!(self.requests[at].permit.take_spill(bytes), fits);
                if fits {
                    self.requests[at].spill += bytes;
                }
            }
            Step::Unspill { permit, bytes } => {
                let Some(at) = pick(permit) else { return };
                let request = &mut self.requests[at];
                request.permit.give_back_spill(bytes);
                request.spill -= bytes.min(request.spill);
            }
            Step::Arrive { permit, bytes } => {
                if let Some(at) = pick(permit) {
                    self.arrive(at, bytes);
                }
            }
            Step::Share { permit } => {
                let Some(at) = pick(permit) else { return };
                let job = Arc::clone(&self.requests[at].permit);
                self.requests[at].shared.push(job);
            }
            Step::Work { permit, us } => {
                let Some(at) = pick(permit) else { return };
                self.requests[at].permit.meter().add(Spent {
                    reference: Duration::from_micros(us),
                    ..Spent::default()
                });
                self.requests[at].work_us += us;
            }
            Step::Leave { permit } => {
                let Some(at) = pick(permit) else { return };
                self.requests[at].permit.leave();
                self.requests[at].leaving = true;
            }
            Step::End { permit } => {
                let Some(at) = pick(permit) else { return };
                // The last holder ends it, whoever that is: a job holds on when the caller hangs up.
                let request = &mut self.requests[at];
                if let Some(job) = request.shared.pop() {
                    request.permit = job;
                    return;
                }
                let request = self.requests.swap_remove(at);
                let account = self.account(request.tenant);
                account.day_us += request.work_us;
                if request.reserved.1 == account.day {
                    account.day_bytes -= request.reserved.0;
                }
            }
            Step::Limit { tenant, limits } => {
                self.tenants[tenant].limits = *limits;
            }
            Step::Pass { ms } => self.pass(Duration::from_millis(ms)),
            Step::Midnight => {
                let left = DAY_SECONDS - self.time.as_secs() % DAY_SECONDS;
                self.pass(Duration::from_secs(left));
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        // The set calendar counts whole seconds.
        let before = self.time.as_secs();
        self.time += time;
        self.clock.pass(time, self.time.as_secs() - before);
    }

    fn admit(&mut self, tenant: usize, memory: usize, body: Option<u64>) {
        let limits = self.tenants[tenant].limits.clone();
        let ask = Ask {
            memory_bytes: memory,
            body_bytes: body,
            ..Ask::default()
        };
        let before = self.admission.holding(&self.tenants[tenant].id);
        let day_before = self.admission.day_use(&self.tenants[tenant].id);
        let result = self.admission.admit(&self.tenants[tenant], ask);
        let time = self.time;
        let today = self.today();
        let (in_flight, leaving) = (self.count(tenant, false), self.count(tenant, true));
        let (tenant_memory, all_memory) = (
            self.sum(Some(tenant), |r| r.memory),
            self.sum(None, |r| r.memory),
        );
        let account = self.account(tenant);
        let rates = [limits.requests_per_s, limits.bytes_per_s];
        let asked = !matches!(
            result,
            Err(Refusal::TooManyInFlight { .. }
                | Refusal::TenantMemory { .. }
                | Refusal::BeyondMemory { .. }
                | Refusal::Saturated { .. })
        );
        // A changed rate acts now; what was owed stays owed.
        if asked && account.rates != rates {
            account.rates = rates;
            account.requests.clear();
            account.bytes.clear();
        }
        match result {
            Ok(permit) => {
                assert!(in_flight < limits.in_flight_max);
                assert!(in_flight + leaving < 2 * limits.in_flight_max);
                assert!(
                    limits
                        .memory_bytes_max
                        .is_none_or(|max| tenant_memory + memory <= max)
                );
                assert!(all_memory + memory <= PROCESS.body_memory_bytes_max);
                let length = body.unwrap_or(0);
                account.day_bytes += length;
                assert!(
                    limits
                        .bytes_per_day
                        .is_none_or(|max| account.day_bytes <= max || length == 0)
                );
                assert!(
                    limits
                        .reference_us_per_day
                        .is_none_or(|max| account.day_us < max)
                );
                account.requests.push((time, 1));
                account.bytes.push((time, permit.paid.bytes));
                self.requests.push(Request {
                    permit: Arc::new(permit),
                    tenant,
                    memory,
                    spill: 0,
                    reserved: (length, today),
                    work_us: 0,
                    leaving: false,
                    shared: Vec::new(),
                });
            }
            Err(refusal) => {
                // It is right, and takes nothing.
                match refusal {
                    Refusal::TooManyInFlight { max, .. } => {
                        assert!(in_flight >= max || in_flight + leaving >= 2 * max);
                    }
                    Refusal::TenantMemory { max, .. } | Refusal::BeyondMemory { max, .. } => {
                        assert!(tenant_memory + memory > max);
                    }
                    Refusal::Saturated { max, .. } => assert!(all_memory + memory > max),
                    Refusal::OverQuota {
                        quota: Quota::Bytes,
                        max,
                        ..
                    } => {
                        assert!(account.day_bytes + body.unwrap_or(1) > max);
                    }
                    Refusal::OverQuota {
                        quota: Quota::Reference,
                        max,
                        ..
                    } => assert!(account.day_us >= max),
                    Refusal::OverRate { wait, .. } => assert!(wait > Duration::ZERO),
                    Refusal::TooLong { .. } | Refusal::Draining { .. } => panic!("{refusal:?}"),
                }
                let id = &self.tenants[tenant].id;
                assert_eq!(self.admission.holding(id), before, "{refusal}");
                assert_eq!(self.admission.day_use(id), day_before, "{refusal}");
            }
        }
    }

    fn arrive(&mut self, at: usize, bytes: u64) {
        let time = self.time;
        let request = &mut self.requests[at];
        let tenant = request.tenant;
        let unpaid = request.permit.arrived(bytes);
        assert!(unpaid <= bytes);
        let unannounced = bytes - bytes.min(request.reserved.0);
        request.reserved.0 -= bytes - unannounced;
        let rest = match unpaid {
            0 => 0,
            unpaid => request.permit.pay(unpaid).map_or(0, |(rest, wait)| {
                assert!(rest > 0 && wait > Duration::ZERO);
                rest
            }),
        };
        let account = self.account(tenant);
        account.day_bytes += unannounced;
        account.bytes.push((time, unpaid - rest));
    }

    fn check(&mut self) {
        assert_eq!(self.admission.in_flight(), self.requests.len());
        assert_eq!(self.admission.memory_bytes(), self.sum(None, |r| r.memory));
        assert_eq!(self.admission.spill_bytes(), self.sum(None, |r| r.spill));
        assert!(self.admission.memory_bytes() <= PROCESS.body_memory_bytes_max);
        assert!(self.admission.spill_bytes() <= PROCESS.spill_bytes_max);
        for tenant in 0..TENANTS {
            let id = self.tenants[tenant].id.clone();
            let holding = Holding {
                in_flight: self.count(tenant, false),
                memory_bytes: self.sum(Some(tenant), |r| r.memory),
                spill_bytes: self.sum(Some(tenant), |r| r.spill),
            };
            assert_eq!(self.admission.holding(&id), holding);
            let account = self.account(tenant);
            let (bytes, us) = (account.day_bytes, account.day_us);
            check_rate(&account.requests, account.rates[0]);
            check_rate(&account.bytes, account.rates[1]);
            let used = self.admission.day_use(&id);
            assert_eq!(
                (used.bytes, used.reference),
                (bytes, Duration::from_micros(us))
            );
        }
    }

    fn end(mut self) {
        self.requests.clear();
        let admission = self.admission;
        assert_eq!(
            (
                admission.in_flight(),
                admission.memory_bytes(),
                admission.spill_bytes()
            ),
            (0, 0, 0)
        );
        for tenant in &self.tenants {
            assert_eq!(admission.holding(&tenant.id), Holding::default());
        }
        admission.retain_tenants(|_| false);
        assert_eq!(admission.tenants(), 0);
    }
}

/// Over any window: what a second gives, for as long as it is, and once more at once.
fn check_rate(passed: &[(Duration, u64)], per_s: Option<u64>) {
    let (Some(per_s), Some((end, _))) = (per_s, passed.last()) else {
        return;
    };
    let mut sum = 0;
    for (begin, amount) in passed.iter().rev() {
        sum += amount;
        let window = *end - *begin;
        let allowed = u128::from(per_s) * (window.as_nanos() + 1_000_000_000);
        assert!(
            u128::from(sum) * 1_000_000_000 <= allowed,
            "{sum} in {window:?} at {per_s} a second"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_order_of_events_breaks_a_bound_or_leaves_anything_held(
        tenants in prop::collection::vec(limits(), TENANTS),
        steps in prop::collection::vec(step(), 1..150),
    ) {
        let mut model = Model::new(tenants);
        for step in steps {
            model.step(step);
            model.check();
        }
        model.end();
    }
}
