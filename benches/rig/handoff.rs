//! What the way from a caller's task to an engine's thread and back adds, measured within this process on the
//! gateway's own dispatcher.
//!
//! Two figures, since they have nothing in common. **Idle**: one job at a time, both sides asleep before it; from
//! submitting to having the outcome, less compressing and verifying, is two wake-ups and the queue. **Busy**: more jobs
//! than the engine can do at any time, so that nobody sleeps; what the engine's thread spends between jobs is
//! then what hand-off costs, since that time serves nobody.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use faam_codec::{Format, Level, Position};
use faam_gateway::admission::{Admission, AdmissionLimits};
use faam_gateway::dispatch::{DispatchConfig, Dispatcher};
use faam_gateway::job::{BackendPolicy, BlockOutcome, JobSpec, Kernel, Priority};
use faam_gateway::metrics::Metrics;
use faam_gateway::tenants::{Tenant, TenantLimits};
use serde::{Deserialize, Serialize};

use crate::load::Stop;
use crate::pool::Pool;
use crate::process::{allow_cpus, allowed_cpus, pin_thread};
use crate::statistics::{Estimate, count};

/// Bodies: small, yet enough work for the caller to always be ahead of the engine. They are handed over although small
/// ones are served where they arrive: it is the way that is measured.
pub(crate) const BODY_BYTES: usize = 4 << 10;
/// Jobs from idle, and the pause before each: far beyond any time that a thread spins.
const IDLE_JOBS: usize = 200;
const IDLE_PAUSE: Duration = Duration::from_millis(4);
/// Jobs outstanding while busy.
const BUSY_OUTSTANDING: usize = 32;
/// Stretches of jobs while busy; each gives one figure.
const BUSY_STRETCHES: usize = 200;
/// Jobs of a stretch.
const STRETCH_JOBS: usize = 100;
/// How long the engines may take to end.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// What was found, microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Handoff {
    /// Bytes of a job.
    pub(crate) body_bytes: usize,
    /// Round trip less work, both sides asleep before.
    pub(crate) idle_us: Estimate,
    /// Time of the engine's thread between jobs, queue never empty.
    pub(crate) busy_us: Estimate,
}

/// Callers on `load_cpu`, the one engine on `server_cpu`.
///
/// # Errors
/// The dispatcher does not start, or a job fails.
pub(crate) fn measure(
    pool: &Pool,
    server_cpu: usize,
    load_cpu: usize,
    stop: &Stop,
) -> anyhow::Result<Handoff> {
    let before = allowed_cpus()?;
    pin_thread(server_cpu)?;
    let config = DispatchConfig {
        cards: Vec::new(),
        cpu_workers: 1,
        ..DispatchConfig::default()
    };
    let started = Dispatcher::start(config, Arc::new(Metrics::new()));
    pin_thread(load_cpu)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let dispatcher = started?;
    let tenant = Tenant::demo(TenantLimits::default());
    dispatcher.set_tenant(&tenant);
    let caller = Caller {
        dispatcher: dispatcher.clone(),
        admission: Admission::new(AdmissionLimits::default()),
        tenant,
    };
    let found = runtime.block_on(async {
        let found = caller.both(pool, stop).await;
        dispatcher.stop(STOP_LIMIT).await;
        found
    });
    allow_cpus(&before)?;
    let (idle_us, busy_us) = found?;
    let none = || anyhow::anyhow!("hand-off: no job ended");
    Ok(Handoff {
        body_bytes: BODY_BYTES,
        idle_us: Estimate::of(&idle_us).ok_or_else(none)?,
        busy_us: Estimate::of(&busy_us).ok_or_else(none)?,
    })
}

struct Caller {
    dispatcher: Dispatcher,
    admission: Admission,
    tenant: Tenant,
}

impl Caller {
    async fn both(&self, pool: &Pool, stop: &Stop) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
        // Warm: compressors are made at the first block of a level.
        for n in 0..BUSY_OUTSTANDING {
            self.one(pool.block(n)).await?;
        }
        let mut idle = Vec::with_capacity(IDLE_JOBS);
        for n in 0..IDLE_JOBS {
            tokio::time::sleep(IDLE_PAUSE).await;
            let began = Instant::now();
            let outcome = self.one(pool.block(n)).await?;
            idle.push(micros(began.elapsed().saturating_sub(work(&outcome))));
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        let mut busy = Vec::with_capacity(BUSY_STRETCHES);
        let mut outstanding = tokio::task::JoinSet::new();
        let mut next = 0;
        for _ in 0..BUSY_STRETCHES {
            let began = Instant::now();
            let mut worked = Duration::ZERO;
            for _ in 0..STRETCH_JOBS {
                while outstanding.len() < BUSY_OUTSTANDING {
                    let mut ticket = self.dispatcher.submit(self.job(pool.block(next))?).await?;
                    outstanding.spawn(async move { ticket.outcome().await });
                    next += 1;
                }
                if let Some(outcome) = outstanding.join_next().await {
                    worked += work(&outcome??);
                }
            }
            let between = began.elapsed().saturating_sub(worked);
            busy.push(micros(between) / count(STRETCH_JOBS));
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
        while let Some(outcome) = outstanding.join_next().await {
            outcome??;
        }
        Ok((idle, busy))
    }

    async fn one(&self, block: &Bytes) -> anyhow::Result<BlockOutcome> {
        let mut ticket = self.dispatcher.submit(self.job(block)?).await?;
        Ok(ticket.outcome().await?)
    }

    fn job(&self, block: &Bytes) -> anyhow::Result<JobSpec> {
        Ok(JobSpec {
            tenant: self.tenant.id.clone(),
            kernel: Kernel::Compress {
                format: Format::Gzip,
                level: Level::DEFAULT,
                position: Position::Last,
            },
            input: block.clone(),
            policy: BackendPolicy::Cpu,
            priority: Priority::default(),
            deadline: None,
            permit: Arc::new(self.admission.admit(&self.tenant, block.len())?),
        })
    }
}

/// What an engine did for a job.
fn work(outcome: &BlockOutcome) -> Duration {
    outcome.phases.device + outcome.phases.verify
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
