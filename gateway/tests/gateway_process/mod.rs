//! A gateway in a process of its own, as an operator starts it, and a client of its interface.
//!
//! Owns its turn, and the wait until its card serves. Invariants: one at a time; every wait has a limit and is for an
//! event; a card follows its gateway when that is dropped.

mod client;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub(crate) use self::client::Client;
use crate::process_log::ProcessLog;
use crate::served::Served;
use serde_json::Value;

/// How long a gateway may take from its start to a card that stands as it is to: ten times the longest way, which is of many
/// tries.
const READY_LIMIT: Duration = Duration::from_secs(80);
/// How long after the log's last line a condition is looked at again.
const TICK: Duration = Duration::from_millis(20);
/// How long it may take until all is given back that requests held: a failure, not a measure.
const GIVEN_BACK_LIMIT: Duration = Duration::from_secs(20);
/// Backends that a caller can ask for.
pub(crate) const POLICIES: [&str; 4] = ["auto", "require-hw", "prefer-hw", "cpu"];

/// One gateway at a time: a load on two cores would measure its neighbour.
static TURN: Mutex<()> = Mutex::new(());

/// A running `faam serve`.
pub(crate) struct GatewayProcess {
    /// Its process, its data directory, and where it listens.
    pub(crate) served: Served,
    /// What it has written so far.
    pub(crate) log: ProcessLog,
    client: Client,
    admin_url: String,
    _turn: MutexGuard<'static, ()>,
}

impl GatewayProcess {
    /// Start one with `options` and wait until its card serves.
    pub(crate) fn start(options: &[&str]) -> Self {
        Self::start_to(options, Self::all_in_service)
    }

    /// Start one with `options` and wait until its card stands so.
    pub(crate) fn start_to(options: &[&str], stands: impl Fn(&Self) -> bool) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let served = Served::start(options, &[]);
        let gateway = Self {
            log: served.log.clone(),
            client: Client::new(format!("http://{}", served.public), &served.key),
            admin_url: format!("http://{}", served.admin),
            served,
            _turn: turn,
        };
        gateway.wait_until("its card stands as it is to", READY_LIMIT, |gateway| {
            stands(gateway).then_some(())
        });
        gateway
    }

    /// A client with the demo tenant's key. Clones share nothing but the address.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.served.child.id()
    }

    /// The first card, as `/readyz` shows it.
    pub(crate) fn card(&self) -> Value {
        let ready = self.client.get(&format!("{}/readyz", self.admin_url));
        let state: Value = serde_json::from_slice(&ready.body).unwrap_or_default();
        state["cards"][0].clone()
    }

    /// Whether it says that it is ready.
    fn is_ready(&self) -> bool {
        let ready = self.client.get(&format!("{}/readyz", self.admin_url));
        let state: Value = serde_json::from_slice(&ready.body).unwrap_or_default();
        ready.status == 200 && state["ready"] == true
    }

    /// Whether every function of the card serves.
    pub(crate) fn all_in_service(&self) -> bool {
        self.card()["state"] == "in-service"
    }

    /// Sum of all series of the metric `name`.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let metrics = self.client.get(&format!("{}/metrics", self.admin_url));
        assert_eq!(metrics.status, 200, "/metrics");
        let text = String::from_utf8(metrics.body).expect("OpenMetrics is UTF-8");
        let series = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            (series.split('{').next() == Some(name))
                .then(|| value.parse::<f64>().expect("a number"))
        });
        series.sum()
    }

    /// Wait until `check` gives something, looking whenever the log moves; a failure says what did not come.
    #[track_caller]
    pub(crate) fn wait_until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut check: impl FnMut(&Self) -> Option<T>,
    ) -> T {
        let until = Instant::now() + limit;
        loop {
            if let Some(found) = check(self) {
                return found;
            }
            assert!(Instant::now() < until, "not within {limit:?}: {what}");
            self.log.changed(TICK);
        }
    }

    /// Everything that requests held has been given back, it is ready, and nothing was ever wrong or panicked.
    #[track_caller]
    pub(crate) fn check_at_rest(&self) {
        self.check_given_back();
        assert_eq!(
            self.metric("faam_verify_failures_total"),
            0.0,
            "results that failed verification"
        );
    }

    /// Everything that requests held has been given back, it is ready, and nothing panicked.
    #[track_caller]
    pub(crate) fn check_given_back(&self) {
        for gauge in [
            "faam_inflight",
            "faam_body_memory_bytes",
            "faam_queue_depth",
        ] {
            self.wait_until(
                &format!("{gauge} is back at 0"),
                GIVEN_BACK_LIMIT,
                |gateway| (gateway.metric(gauge) == 0.0).then_some(()),
            );
        }
        assert!(self.is_ready(), "/readyz does not say ready");
        assert!(!self.log.text().contains("panicked"), "a thread panicked");
    }

    /// Most memory that the gateway has held, in KiB: resident, and in huge pages now.
    pub(crate) fn memory_kib_max(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(
            Path::new("/proc")
                .join(self.pid().to_string())
                .join("status"),
        );
        let status = status.expect("the gateway runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|line| {
                line.trim_start_matches(':')
                    .trim()
                    .strip_suffix(" kB")?
                    .parse()
                    .ok()
            })
            .unwrap_or(0)
        };
        (field("VmHWM"), field("HugetlbPages"))
    }
}
