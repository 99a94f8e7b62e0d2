//! What becomes of a job, and of the jobs after it, when a worker panics in it.

use std::future::Future;

use faam_codec::{Engine, LibdeflateEngine};
use tokio::sync::oneshot;

use super::*;
use crate::admission::{Admission, AdmissionLimits};
use crate::cards::CardSource;
use crate::dispatch::DispatchConfig;
use crate::metrics::Metrics;
use crate::tenants::{Tenant, TenantLimits};

/// An input that makes whoever works on it panic.
const PANICS: &[u8] = b"this input makes a worker panic, in tests";

pub(super) fn panic_if_told(input: &[u8]) {
    assert!(input != PANICS, "told to");
}

/// Longest wait for anything here: a hundred times what it takes on a busy machine.
const WAIT_MAX: Duration = Duration::from_secs(20);

async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT_MAX, event).await.unwrap()
}

struct Rig {
    jobs: Arc<JobQueue>,
    tenant: Tenant,
    admission: Admission,
    pool: CpuPool,
}

impl Rig {
    /// One worker, and one card whose function 0 is in service.
    fn start() -> Self {
        let config = DispatchConfig {
            cards: vec![CardSource::OwnSimulated {
                engines: 1,
                pace_mhz: None,
                hang: None,
            }],
            ..DispatchConfig::default()
        };
        let jobs = Arc::new(JobQueue::new(&config, Arc::new(Metrics::new())).unwrap());
        let tenant = Tenant::demo(TenantLimits::default());
        jobs.add_tenant(&tenant.id);
        jobs.set_in_service(0, 0, Some(Box::new(|| {})));
        Self {
            pool: CpuPool::start(&jobs, 1).unwrap(),
            jobs,
            tenant,
            admission: Admission::new(AdmissionLimits::default()),
        }
    }

    fn spec(&self, input: &'static [u8], policy: BackendPolicy) -> JobSpec {
        JobSpec {
            tenant: self.tenant.id.clone(),
            kernel: Kernel::Compress {
                format: Format::Gzip,
                level: Level::DEFAULT,
                position: Position::Last,
            },
            input: Bytes::from_static(input),
            policy,
            deadline: None,
            permit: Arc::new(self.admission.admit(&self.tenant, 5).unwrap()),
        }
    }

    fn push(
        &self,
        input: &'static [u8],
        policy: BackendPolicy,
    ) -> oneshot::Receiver<Result<BlockOutcome, JobError>> {
        let spec = self.spec(input, policy);
        let placement = self.jobs.placement(&spec).unwrap();
        let place = self.jobs.tenant(&self.tenant.id).unwrap();
        let (reply, answer) = oneshot::channel();
        let room = Arc::clone(&place.room).try_acquire_owned().unwrap();
        let job = PendingJob::new(spec, place.context, reply, room, Duration::ZERO);
        self.jobs.push(place.index, job, placement).unwrap();
        answer
    }

    /// Plays the card: takes the next job and claims to have compressed it, as it should.
    fn claim(&self) {
        let target = self.jobs.target_of(0, 0).unwrap();
        let engine = EngineId::Card {
            card: 0,
            function: 0,
            simulated: true,
        };
        let running = self.jobs.next_for_card(target, engine, 1).unwrap();
        let input = running.job.spec.input.clone();
        let mut output = Vec::new();
        LibdeflateEngine::new()
            .compress_block(&input, Level::DEFAULT, Position::Last, &mut output)
            .unwrap();
        let result = CardResult {
            output,
            consumed: input.len(),
            device: Duration::from_micros(10),
            transfer: Duration::ZERO,
        };
        self.jobs.card_claims(running, Claim::Done(result));
    }

    /// Ends the worker; nothing is left that holds memory.
    fn end(self) {
        self.jobs.stop();
        self.jobs.end();
        self.pool.join();
        assert_eq!(self.admission.in_flight(), 0);
    }
}

fn is_internal<T: std::fmt::Debug>(answer: Result<T, JobError>) -> bool {
    matches!(answer, Err(JobError::Internal(_)))
}

#[tokio::test]
async fn a_panic_in_a_job_of_the_pool_costs_its_caller_the_answer_and_nobody_else_anything() {
    let rig = Rig::start();
    for _ in 0..3 {
        let answer = soon(rig.push(PANICS, BackendPolicy::Cpu)).await.unwrap();
        assert!(is_internal(answer));
        assert_eq!(rig.jobs.outstanding_ns(), 0, "the charge is settled");
        let next = soon(rig.push(b"the next job", BackendPolicy::Cpu)).await;
        assert_eq!(next.unwrap().unwrap().consumed, 12);
    }
    assert_eq!(rig.jobs.outstanding_ns(), 0);
    rig.end();
}

#[tokio::test]
async fn a_panic_over_what_a_card_made_settles_the_cards_charge() {
    let rig = Rig::start();
    for _ in 0..3 {
        let answer = rig.push(PANICS, BackendPolicy::RequireHardware);
        rig.claim();
        assert!(is_internal(soon(answer).await.unwrap()));
        assert_eq!(rig.jobs.outstanding_ns(), 0, "the charge is settled");
        let next = rig.push(b"the next job", BackendPolicy::RequireHardware);
        rig.claim();
        assert_eq!(soon(next).await.unwrap().unwrap().consumed, 12);
    }
    rig.end();
}
