//! The queue between callers and engines, with the engines' side played step by step.

use bytes::Bytes;
use tokio::sync::oneshot;

use super::gauges::{Queued, TENANTS_A_LOOK};
use super::*;
use crate::admission::{Admission, AdmissionLimits, AdmissionPermit};
use crate::card_claim::CardResult;
use crate::job::{BlockOutcome, Kernel, Priority};
use crate::tenants::{Tenant, TenantId, TenantLimits};
use faam_codec::{Format, Level, Position};

mod here;
mod lists;

type Answer = oneshot::Receiver<Result<BlockOutcome, JobError>>;

struct Rig {
    queue: JobQueue,
    tenant: Tenant,
    admission: Admission,
}

impl Rig {
    /// One card whose function 0 is in service.
    fn new() -> Self {
        let queue = JobQueue::with_one_card();
        let tenant = Tenant::demo(TenantLimits::default());
        queue.set_tenant(&tenant);
        Self {
            queue,
            tenant,
            admission: Admission::new(AdmissionLimits::default()),
        }
    }

    fn push(&self, policy: BackendPolicy) -> Answer {
        self.push_as(policy, Priority::default()).0
    }

    fn push_as(&self, policy: BackendPolicy, priority: Priority) -> (Answer, JobId) {
        let permit = Arc::new(self.admission.admit(&self.tenant, 5).unwrap());
        self.push_job(&self.tenant, policy, priority, permit)
    }

    fn push_with(&self, policy: BackendPolicy, permit: Arc<AdmissionPermit>) -> Answer {
        self.push_job(&self.tenant, policy, Priority::default(), permit)
            .0
    }

    fn push_of(&self, tenant: &Tenant, policy: BackendPolicy) -> Answer {
        let permit = Arc::new(self.admission.admit(tenant, 5).unwrap());
        self.push_job(tenant, policy, Priority::default(), permit).0
    }

    fn push_job(
        &self,
        tenant: &Tenant,
        policy: BackendPolicy,
        priority: Priority,
        permit: Arc<AdmissionPermit>,
    ) -> (Answer, JobId) {
        let spec = JobSpec {
            tenant: tenant.id.clone(),
            kernel: Kernel::Compress {
                format: Format::Gzip,
                level: Level::DEFAULT,
                position: Position::Last,
            },
            input: Bytes::from_static(b"input"),
            policy,
            priority,
            deadline: None,
            permit,
        };
        let place = self.queue.tenant(&tenant.id).unwrap();
        let placement = self
            .queue
            .placement(&spec, place.images.as_deref())
            .unwrap();
        let (reply, answer) = oneshot::channel();
        let room = Arc::clone(&place.room).try_acquire().unwrap();
        let job = PendingJob::new(spec, &place, reply, room, Duration::ZERO);
        let (id, _) = self.queue.push(place.index, job, placement).unwrap();
        (answer, id)
    }

    fn take(&self, function: u8) -> Option<RunningJob> {
        let target = self.queue.target_of(0, function).unwrap();
        let engine = EngineId::Card {
            card: 0,
            function,
            simulated: true,
        };
        self.queue.next_for_card(target, engine, 1)
    }

    fn claim(&self, running: RunningJob) {
        let result = CardResult {
            output: Vec::new(),
            consumed: 5,
            crc32: 0,
            adler32: 1,
            device: Duration::ZERO,
            engine: Duration::ZERO,
            transfer: Duration::ZERO,
        };
        self.queue.card_claims(running, Claim::Done(result));
    }
}

#[test]
fn what_a_card_holds_at_the_stop_is_still_verified() {
    let rig = Rig::new();
    let _held = rig.push(BackendPolicy::RequireHardware);
    let mut queued = rig.push(BackendPolicy::RequireHardware);
    let running = rig.take(0).unwrap();
    rig.queue.stop();
    assert!(matches!(
        queued.try_recv().unwrap(),
        Err(JobError::Stopping)
    ));
    assert!(rig.take(0).is_none());
    rig.claim(running);
    rig.queue.end();
    assert!(matches!(rig.queue.next_for_cpu(), CpuWork::Verify(_)));
    assert!(matches!(rig.queue.next_for_cpu(), CpuWork::Stop));
}

#[test]
fn cards_get_no_jobs_while_too_much_waits_for_verification() {
    let rig = Rig::new();
    let _answers: Vec<Answer> = (0..=UNVERIFIED_MAX)
        .map(|_| rig.push(BackendPolicy::RequireHardware))
        .collect();
    for _ in 0..UNVERIFIED_MAX {
        let running = rig.take(0).unwrap();
        rig.claim(running);
    }
    assert!(rig.take(0).is_none(), "the bound");
    assert!(matches!(rig.queue.next_for_cpu(), CpuWork::Verify(_)));
    assert!(rig.take(0).is_some(), "below it again");
}

#[test]
fn a_required_card_that_keeps_failing_ends_in_an_answer() {
    let rig = Rig::new();
    let mut answer = rig.push(BackendPolicy::RequireHardware);
    for _ in 0..=REPLAYS_MAX {
        assert!(answer.try_recv().is_err());
        let running = rig.take(0).unwrap();
        rig.queue.card_failed(running, "hang", "a fault");
    }
    assert!(matches!(
        answer.try_recv().unwrap(),
        Err(JobError::BeyondCard(_))
    ));
    assert!(rig.take(0).is_none());
}

#[test]
fn a_failed_job_goes_elsewhere_and_says_why() {
    let rig = Rig::new();
    let _answer = rig.push(BackendPolicy::PreferHardware);
    let running = rig.take(0).unwrap();
    rig.queue.card_failed(running, "hang", "a fault");
    assert!(rig.take(0).is_none(), "not to the function that failed");
    let CpuWork::Run(running) = rig.queue.next_for_cpu() else {
        panic!("the CPU takes it");
    };
    assert_eq!(running.job.fallback, Some(FallbackReason::CardFault));
}

#[test]
fn a_removed_tenants_jobs_are_answered_and_its_context_is_never_anothers() {
    let rig = Rig::new();
    let mut running = rig.push(BackendPolicy::RequireHardware);
    let held = rig.take(0).unwrap();
    let mut queued = rig.push(BackendPolicy::RequireHardware);
    rig.queue.remove_tenant(&rig.tenant.id);
    assert!(matches!(
        queued.try_recv().unwrap(),
        Err(JobError::TenantRemoved)
    ));
    assert!(rig.queue.tenant(&rig.tenant.id).is_none());
    assert!(running.try_recv().is_err(), "what runs ends");
    rig.queue.set_tenant(&rig.tenant);
    let place = rig.queue.tenant(&rig.tenant.id).unwrap();
    assert_ne!(place.context, held.job.context);
    rig.claim(held);
    assert!(matches!(rig.queue.next_for_cpu(), CpuWork::Verify(_)));
}

#[test]
fn a_job_that_nobody_waits_for_gives_its_memory_back_at_once() {
    let rig = Rig::new();
    rig.queue.set_in_service(0, 0, None);
    let (answer, id) = rig.push_as(BackendPolicy::RequireHardware, Priority::default());
    assert_eq!(rig.admission.in_flight(), 1);
    drop(answer);
    rig.queue.cancel(id);
    assert_eq!(rig.admission.in_flight(), 0);
    assert_eq!(rig.admission.memory_bytes(), 0);
}

#[test]
fn a_tenants_urgent_job_goes_before_its_others() {
    let rig = Rig::new();
    let policy = BackendPolicy::RequireHardware;
    let _first = rig.push(policy);
    let mut order = Vec::new();
    let _answers: Vec<Answer> = [7, 3, 0]
        .into_iter()
        .map(|number| rig.push_as(policy, Priority::new(number).unwrap()).0)
        .collect();
    while let Some(running) = rig.take(0) {
        order.push(running.job.spec.priority.get());
        rig.claim(running);
    }
    assert_eq!(order, [0, 3, 3, 7]);
}

#[test]
fn a_look_at_the_gauges_holds_the_lock_for_some_tenants_at_a_time() {
    const TENANTS: usize = 10_000;
    let mut rig = Rig::new();
    let named = |n: usize| Tenant {
        id: TenantId::new(&format!("t{n}")),
        limits: TenantLimits::default(),
    };
    let mut answers = Vec::new();
    for n in 0..TENANTS {
        let tenant = named(n);
        rig.queue.set_tenant(&tenant);
        if [0, 300, TENANTS - 1].contains(&n) {
            rig.tenant = tenant;
            answers.push(rig.push(BackendPolicy::Auto));
        }
    }
    // A gap is filled by the next one, and nobody moves.
    rig.queue.remove_tenant(&named(300).id);
    rig.queue.remove_tenant(&named(301).id);
    rig.tenant = named(TENANTS);
    rig.queue.set_tenant(&rig.tenant);
    answers.push(rig.push(BackendPolicy::Auto));

    let mut queued = Queued::default();
    let (mut from, mut longest) = (0, Duration::ZERO);
    loop {
        let began = Instant::now();
        let next = rig.queue.look_at_queued(from, &mut queued);
        longest = longest.max(began.elapsed());
        let Some(next) = next else { break };
        assert!(
            next > from && next - from <= TENANTS_A_LOOK,
            "{from} to {next}"
        );
        from = next;
    }
    println!("{TENANTS} tenants: the lock is held for {longest:?} at the most (unoptimised)");
    let mut depths: Vec<_> = queued
        .depths
        .iter()
        .map(|(tenant, depth)| (tenant.as_str(), *depth))
        .collect();
    depths.sort_unstable();
    assert_eq!(depths, [("t0", 1), ("t10000", 1), ("t9999", 1)]);
    assert!(queued.cost > Nanos(0));
    rig.queue.refresh_gauges();
    let line = r#"faam_queue_depth{tenant="t9999"} 1"#;
    let text = rig.queue.metrics.render();
    assert!(text.contains(line), "{text}");
}

/// What its tenant is charged for a job that is finished after so many failures on function 0, and what its request is.
fn charged_after(
    failures: u8,
) -> (
    Duration,
    crate::meter::Spent,
    Vec<crate::fault_met::FaultMet>,
) {
    let rig = Rig::new();
    let permit = Arc::new(rig.admission.admit(&rig.tenant, 5).unwrap());
    let mut answer = rig.push_with(BackendPolicy::RequireHardware, Arc::clone(&permit));
    for _ in 0..failures {
        let running = rig.take(0).expect("it comes back");
        rig.queue.card_failed(running, "hang", "it hangs");
    }
    let running = rig.take(0).expect("a job");
    // As a CPU worker does it that finds the result right.
    let ended = Ended::OnCard {
        device: Duration::from_micros(500),
        engine: Duration::from_micros(400),
        verify: Duration::from_micros(100),
    };
    let charged = rig.queue.settle(running.receipt, ended);
    running.job.meter(charged, Duration::ZERO);
    drop(running.job);
    assert!(answer.try_recv().is_err());
    assert_eq!(rig.queue.outstanding_ns(), 0, "nobody's books hold it");
    (charged, permit.meter().spent(), permit.meter().faults())
}

#[test]
fn a_job_that_is_done_again_is_charged_once() {
    let (once, spent_once, no_faults) = charged_after(0);
    assert!(once > Duration::ZERO && no_faults.is_empty());
    for failures in 1..=REPLAYS_MAX {
        let (charged, spent, faults) = charged_after(failures);
        assert_eq!(charged, once, "after {failures} failures");
        assert_eq!(spent.reference, spent_once.reference);
        // What the card that failed took is nobody's bill.
        assert_eq!(
            (spent.device, spent.cpu),
            (spent_once.device, spent_once.cpu)
        );
        assert_eq!(spent.fallbacks, 1);
        assert_eq!(faults.len(), 1);
        assert_eq!(
            (faults[0].blocks, faults[0].kind),
            (u32::from(failures), "hang")
        );
    }
}

#[test]
fn a_failure_moves_no_tenants_turn() {
    // Two tenants with the same work: whoever's job failed and was done again is not behind the other for it.
    let order = |fails: bool| {
        let rig = Rig::new();
        let other = Tenant {
            id: TenantId::new("other"),
            ..Tenant::demo(TenantLimits::default())
        };
        rig.queue.set_tenant(&other);
        let policy = BackendPolicy::RequireHardware;
        let mut answers = Vec::new();
        for _ in 0..6 {
            answers.push(rig.push(policy));
            answers.push(rig.push_of(&other, policy));
        }
        let mut order = Vec::new();
        while let Some(mut running) = rig.take(0) {
            if fails && order.is_empty() {
                rig.queue.card_failed(running, "hang", "it hangs");
                running = rig.take(0).expect("it is first again");
            }
            order.push(running.job.spec.tenant.to_string());
            rig.claim(running);
        }
        order
    };
    for order in [order(false), order(true)] {
        assert_eq!(order.len(), 12);
        for turns in (2..=12).step_by(2) {
            let demos = order.iter().take(turns).filter(|id| *id == "demo").count();
            assert_eq!(demos, turns / 2, "of the first {turns}: {order:?}");
        }
    }
}

/// The kernel of the jobs that a rig pushes.
const TABLES: usize = 1;

#[test]
fn a_job_whose_kernel_goes_while_it_waits_is_told_to_who_loads_kernels() {
    let rig = Rig::new();
    let (wake, woken) = crossbeam::channel::bounded(1);
    rig.queue.wake_for_kernels(wake);
    let required = || rig.queue.kernel_demand().0[TABLES].required_at;
    let mut answer = rig.push(BackendPolicy::RequireHardware);
    assert_eq!(required(), None);
    // Evicted for another who waits.
    rig.queue.set_served(0, 0, Served::Fixed(Serves::FAST));
    assert!(woken.try_recv().is_ok(), "woken");
    assert!(required().is_some());
    rig.queue.set_served(0, 0, Served::Fixed(Serves::ALL));
    // It had the job in its hands, and its kernel no more.
    let before = required();
    let running = rig.take(0).unwrap();
    rig.queue.card_lacks(running);
    assert!(woken.try_recv().is_ok(), "woken again");
    assert!(required() > before);
    // Once nobody waits any more it is not asked for any more.
    rig.queue.set_served(0, 0, Served::Fixed(Serves::ALL));
    let running = rig.take(0).unwrap();
    let before = required();
    rig.queue.set_served(0, 0, Served::Fixed(Serves::NONE));
    assert_eq!(required(), before);
    assert!(answer.try_recv().is_err());
    rig.claim(running);
}

#[test]
fn a_kernel_that_is_not_there_is_no_failure_of_a_card_and_is_met_so_often() {
    let rig = Rig::new();
    let mut answer = rig.push(BackendPolicy::RequireHardware);
    for _ in 0..KERNEL_ABSENT_REPLAYS_MAX {
        let running = rig.take(0).unwrap();
        rig.queue.card_lacks(running);
        rig.queue.set_served(0, 0, Served::Fixed(Serves::ALL));
        assert!(answer.try_recv().is_err(), "it waits on");
    }
    // A card's own failures have their bound left.
    for _ in 0..REPLAYS_MAX {
        let running = rig.take(0).unwrap();
        rig.queue.card_failed(running, "hang", "a fault");
        assert!(answer.try_recv().is_err(), "it waits on");
    }
    let running = rig.take(0).unwrap();
    rig.queue.card_lacks(running);
    assert!(matches!(
        answer.try_recv().unwrap(),
        Err(JobError::NoKernel { .. })
    ));
}

#[test]
fn a_job_that_prefers_a_card_is_told_that_the_kernel_was_what_was_missing() {
    let rig = Rig::new();
    rig.queue.set_served(0, 0, Served::Fixed(Serves::FAST));
    let _answer = rig.push(BackendPolicy::PreferHardware);
    let CpuWork::Run(running) = rig.queue.next_for_cpu() else {
        panic!("the CPU takes it");
    };
    assert_eq!(running.job.fallback, Some(FallbackReason::KernelAbsent));
    rig.queue.set_in_service(0, 0, None);
    let _answer = rig.push(BackendPolicy::PreferHardware);
    let CpuWork::Run(running) = rig.queue.next_for_cpu() else {
        panic!("the CPU takes it");
    };
    assert_eq!(running.job.fallback, Some(FallbackReason::NoCard));
}
