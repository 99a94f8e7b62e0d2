//! A dispatcher with a simulated card, and callers who keep jobs outstanding on it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use faam_codec::{Format, Level, Position};
use faam_gateway::admission::{Admission, AdmissionLimits};
use faam_gateway::cards::{CardSource, CardState, SimulatedFaults, SimulatedSlots};
use faam_gateway::dispatch::{DispatchConfig, Dispatcher};
use faam_gateway::job::{BackendPolicy, BlockOutcome, JobSpec, Kernel, Priority};
use faam_gateway::metrics::Metrics;
use faam_gateway::tenants::{Tenant, TenantId, TenantLimits};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// The card's clock: slow enough that its engines, and not the machine, are what is scarce.
const PACE_MHZ: u32 = 24;
/// A failure, not a measure.
const SOON: Duration = Duration::from_secs(30);

/// See the module's head.
pub(crate) struct Rig {
    pub(crate) dispatcher: Dispatcher,
    admission: Admission,
    runtime: Runtime,
    began: Instant,
    _dir: tempfile::TempDir,
}

/// What a tenant has had.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Charged, seconds of the reference engine.
    pub(crate) charged_s: f64,
    /// On the card's engines, seconds of their clock.
    pub(crate) device_s: f64,
    pub(crate) jobs: u64,
}

impl Tally {
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            charged_s: self.charged_s - before.charged_s,
            device_s: self.device_s - before.device_s,
            jobs: self.jobs - before.jobs,
        }
    }
}

/// Callers of one tenant.
pub(crate) struct Load {
    pub(crate) tenant: Tenant,
    shared: Arc<Shared>,
    callers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    charged_ns: AtomicU64,
    device_ns: AtomicU64,
    jobs: AtomicU64,
    /// When each job was taken, and what it was charged, seconds.
    taken: Mutex<Vec<(f64, f64)>>,
}

impl Load {
    pub(crate) fn tally(&self) -> Tally {
        let seconds = |sum: &AtomicU64| {
            let time = Duration::from_nanos(sum.load(Ordering::Relaxed));
            time.as_secs_f64()
        };
        Tally {
            charged_s: seconds(&self.shared.charged_ns),
            device_s: seconds(&self.shared.device_ns),
            jobs: self.shared.jobs.load(Ordering::Relaxed),
        }
    }
}

impl Rig {
    /// A card of two functions with an engine each, at a slow clock.
    pub(crate) fn start() -> Self {
        Self::start_at(Some(PACE_MHZ))
    }

    /// The same as fast as its model runs.
    pub(crate) fn start_unpaced() -> Self {
        Self::start_at(None)
    }

    fn start_at(pace_mhz: Option<u32>) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let config = DispatchConfig {
            cards: vec![CardSource::OwnSimulated {
                model: faam_sim::Model::Functional,
                engines: 1,
                pace_mhz,
                slots: SimulatedSlots::default(),
                faults: SimulatedFaults::default(),
            }],
            data_dir: dir.path().to_owned(),
            sim_program: env!("CARGO_BIN_EXE_faam").into(),
            ..DispatchConfig::default()
        };
        let metrics = Arc::new(Metrics::new());
        let rig = Self {
            dispatcher: Dispatcher::start(config, metrics).expect("starts"),
            admission: Admission::new(AdmissionLimits::default()),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .expect("threads"),
            began: Instant::now(),
            _dir: dir,
        };
        let in_service = || {
            let cards = rig.dispatcher.cards();
            !cards.is_empty() && cards.iter().all(|card| card.state == CardState::InService)
        };
        while !in_service() {
            assert!(rig.began.elapsed() < SOON, "{:?}", rig.dispatcher.cards());
            rig.pass(Duration::from_millis(10));
        }
        rig.teach();
        rig
    }

    /// Has the CPU tell what such jobs cost on the reference engine.
    fn teach(&self) {
        let tenant = self.tenant("teacher", TenantLimits::default());
        for bytes in [12 << 10, 15 << 10, 16 << 10].repeat(20) {
            let spec = self.spec(&tenant, block(bytes), BackendPolicy::Cpu);
            self.runtime.block_on(async {
                let mut ticket = self.dispatcher.submit(spec).await.expect("room");
                ticket.outcome().await.expect("served");
            });
        }
        self.dispatcher.remove_tenant(&tenant.id);
    }

    pub(crate) fn tenant(&self, name: &str, limits: TenantLimits) -> Tenant {
        let tenant = Tenant {
            id: TenantId::new(name),
            limits,
        };
        self.dispatcher.set_tenant(&tenant);
        tenant
    }

    /// Lets so much time pass, on the runtime's clock.
    pub(crate) fn pass(&self, span: Duration) {
        self.runtime
            .block_on(async { tokio::time::sleep(span).await });
    }

    /// A rate as it is configured.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::unused_self,
        reason = "a positive rate"
    )]
    pub(crate) fn whole(&self, rate: f64) -> u64 {
        rate as u64
    }

    fn spec(&self, tenant: &Tenant, input: Bytes, policy: BackendPolicy) -> JobSpec {
        JobSpec {
            tenant: tenant.id.clone(),
            kernel: Kernel::Compress {
                format: Format::Gzip,
                level: Level::new(1).expect("a level"),
                position: Position::Last,
            },
            input,
            policy,
            priority: Priority::default(),
            deadline: None,
            permit: Arc::new(self.admission.admit(tenant, 0).expect("room")),
        }
    }

    /// Callers who keep so many jobs of `bytes` outstanding, for a card alone.
    pub(crate) fn load(&self, tenant: Tenant, bytes: usize, outstanding: usize) -> Load {
        self.load_on(tenant, bytes, outstanding, BackendPolicy::RequireHardware)
    }

    /// The same for any engine.
    pub(crate) fn load_anywhere(&self, tenant: Tenant, bytes: usize, outstanding: usize) -> Load {
        self.load_on(tenant, bytes, outstanding, BackendPolicy::Auto)
    }

    fn load_on(
        &self,
        tenant: Tenant,
        bytes: usize,
        outstanding: usize,
        policy: BackendPolicy,
    ) -> Load {
        let shared = Arc::new(Shared::default());
        let input = block(bytes);
        let in_flight = TenantLimits {
            // An answered job's permit may still be on its way back when the next one asks.
            in_flight_max: 2 * outstanding,
            ..tenant.limits.clone()
        };
        let callers = (0..outstanding).map(|_| {
            let admitted = Tenant {
                limits: in_flight.clone(),
                ..tenant.clone()
            };
            let (shared, began) = (Arc::clone(&shared), self.began);
            let (dispatcher, admission) = (self.dispatcher.clone(), self.admission.clone());
            let input = input.clone();
            self.runtime.spawn(async move {
                while !shared.stopping.load(Ordering::Relaxed) {
                    let permit = Arc::new(admission.admit(&admitted, 0).expect("room"));
                    let spec = JobSpec {
                        tenant: admitted.id.clone(),
                        kernel: Kernel::Compress {
                            format: Format::Gzip,
                            level: Level::new(1).expect("a level"),
                            position: Position::Last,
                        },
                        input: input.clone(),
                        policy,
                        priority: Priority::default(),
                        deadline: None,
                        permit: Arc::clone(&permit),
                    };
                    let asked = began.elapsed();
                    let mut ticket = dispatcher.submit(spec).await.expect("room");
                    let outcome = ticket.outcome().await.expect("served");
                    let spent = permit.meter().spent();
                    shared.note(asked, &outcome, spent.reference, spent.device);
                }
            })
        });
        let callers = callers.collect();
        Load {
            tenant,
            shared,
            callers,
        }
    }

    /// How long each of so many small jobs took, seconds, one begun at every beat.
    pub(crate) fn latencies(
        &self,
        tenant: &Tenant,
        bytes: usize,
        jobs: usize,
        every: Duration,
    ) -> Vec<f64> {
        let input = block(bytes);
        self.runtime.block_on(async {
            let mut beat = tokio::time::interval(every);
            let mut took = Vec::new();
            for _ in 0..jobs {
                beat.tick().await;
                let spec = self.spec(tenant, input.clone(), BackendPolicy::Auto);
                let began = Instant::now();
                let mut ticket = self.dispatcher.submit_small(spec).await.expect("room");
                ticket.outcome().await.expect("served");
                took.push(began.elapsed().as_secs_f64());
            }
            took
        })
    }

    /// Ends all callers, and the dispatcher.
    pub(crate) fn stop(self, loads: impl IntoIterator<Item = Load>) {
        let loads: Vec<Load> = loads.into_iter().collect();
        for load in &loads {
            load.shared.stopping.store(true, Ordering::Relaxed);
        }
        self.runtime.block_on(async {
            for caller in loads.into_iter().flat_map(|load| load.callers) {
                let ended = tokio::time::timeout(SOON, caller).await;
                ended.expect("in time").expect("no caller failed");
            }
            self.dispatcher.stop(SOON).await;
        });
    }

    /// The same, and when each job of the first was taken, with what it was charged.
    pub(crate) fn stop_and_list(
        self,
        first: Load,
        others: impl IntoIterator<Item = Load>,
    ) -> Vec<(f64, f64)> {
        let shared = Arc::clone(&first.shared);
        self.stop(others.into_iter().chain([first]));
        let mut taken = shared.taken.lock().expect("no caller failed");
        std::mem::take(&mut *taken)
    }
}

impl Shared {
    fn note(&self, asked: Duration, outcome: &BlockOutcome, charged: Duration, device: Duration) {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.charged_ns.fetch_add(nanos(charged), Ordering::Relaxed);
        self.device_ns.fetch_add(nanos(device), Ordering::Relaxed);
        self.jobs.fetch_add(1, Ordering::Relaxed);
        let at = asked + outcome.phases.queue;
        let mut taken = self.taken.lock().expect("no caller failed");
        taken.push((at.as_secs_f64(), charged.as_secs_f64()));
    }
}

/// Text that compresses about as text does, always the same.
fn block(bytes: usize) -> Bytes {
    let words = [
        "time", "card", "tenant", "share", "queue", "the", "a", "of", "weight", "rate",
    ];
    let mut state = 1u32;
    let mut out = Vec::with_capacity(bytes + 8);
    while out.len() < bytes {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        out.extend_from_slice(words[(state >> 16) as usize % words.len()].as_bytes());
        out.push(b' ');
    }
    out.truncate(bytes);
    out.into()
}

/// Jain's index of fairness: 1 where all are equal.
pub(crate) fn jain(of: &[f64]) -> f64 {
    let sum: f64 = of.iter().sum();
    let squares: f64 = of.iter().map(|x| x * x).sum();
    let count = f64::from(u32::try_from(of.len()).expect("few"));
    sum * sum / (count * squares)
}

/// The value below which this part of the values lies.
pub(crate) fn percentile(of: &[f64], part: f64) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a place in a short list"
    )]
    let place = (last as f64 * part).round() as usize;
    sorted.get(place).copied().unwrap_or(0.0)
}
