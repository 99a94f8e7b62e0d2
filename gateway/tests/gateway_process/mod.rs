//! A gateway in a process of its own, as an operator starts it, and a client of its interface.
//!
//! Owns the process, its data directory and its log. Invariants: it listens on ports that the
//! system chose; every wait has a limit and is for an event; when it is dropped the gateway is
//! killed and reaped, its card follows it, and after a failed test its log is shown.

mod client;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) use self::client::Client;
use crate::process_log::ProcessLog;

/// How long a gateway may take from its start to a card in service.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// How long after the log's last line a condition is looked at again.
const TICK: Duration = Duration::from_millis(20);
/// Backends that a caller can ask for.
pub(crate) const POLICIES: [&str; 4] = ["auto", "require-hw", "prefer-hw", "cpu"];

/// One gateway at a time: a load on two cores would measure its neighbour.
static TURN: Mutex<()> = Mutex::new(());

/// A running `faam serve`.
pub(crate) struct GatewayProcess {
    child: Child,
    /// What it has written so far.
    pub(crate) log: ProcessLog,
    client: Client,
    admin_url: String,
    _data: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl GatewayProcess {
    /// Start one with `options` and wait until its card serves.
    pub(crate) fn start(options: &[&str]) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let data = TempDir::with_prefix("faam-test-").expect("a temporary directory");
        let began = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_faam"))
            .arg("serve")
            .args([
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--data-dir",
            ])
            .arg(data.path())
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("faam starts");
        let log = ProcessLog::default();
        log.follow(child.stdout.take().expect("stdout is a pipe"));
        log.follow(child.stderr.take().expect("stderr is a pipe"));
        let addresses = url_after(&log, "/v1/compress").zip(url_after(&log, "/metrics"));
        let key = std::fs::read_to_string(data.path().join("demo.key"));
        let (Some((url, admin_url)), Ok(key)) = (addresses, key) else {
            let _ = child.kill();
            let _ = child.wait();
            panic!(
                "no ready lines with addresses of /v1/compress and /metrics, or no demo.key; it wrote:\n{}",
                log.text()
            );
        };
        if let Some(line) = log.wait_for("/v1/compress", READY_LIMIT) {
            println!(
                "the gateway listens {} ms after its start",
                line.at.duration_since(began).as_millis()
            );
        }
        let client = Client::new(url, key.trim());
        let gateway = Self {
            child,
            log,
            client,
            admin_url,
            _data: data,
            _turn: turn,
        };
        gateway.wait_until("every function is in service", READY_LIMIT, |gateway| {
            gateway.all_in_service().then_some(())
        });
        gateway
    }

    /// A client with the demo tenant's key. Clones share nothing but the address.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The first card, as `/readyz` shows it.
    pub(crate) fn card(&self) -> Value {
        let ready = self.client.get(&format!("{}/readyz", self.admin_url));
        let state: Value = serde_json::from_slice(&ready.body).unwrap_or_default();
        state["cards"][0].clone()
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
        check: impl Fn(&Self) -> Option<T>,
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

    /// Everything that requests held has been given back, and nothing was ever wrong or panicked.
    #[track_caller]
    pub(crate) fn check_at_rest(&self) {
        for gauge in [
            "faam_inflight",
            "faam_body_memory_bytes",
            "faam_queue_depth",
        ] {
            self.wait_until(
                &format!("{gauge} is back at 0"),
                Duration::from_secs(5),
                |gateway| (gateway.metric(gauge) == 0.0).then_some(()),
            );
        }
        assert_eq!(
            self.metric("faam_verify_failures_total"),
            0.0,
            "results that failed verification"
        );
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

impl Drop for GatewayProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the gateway wrote ---\n{}--- end ---", self.log.text());
        }
    }
}

/// The address in the first line that contains `mark`.
fn url_after(log: &ProcessLog, mark: &str) -> Option<String> {
    let line = log.wait_for(mark, READY_LIMIT)?.text;
    let (_, rest) = line.split_once("http://")?;
    let address: String = rest
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || ".:[]-".contains(*c))
        .collect();
    Some(format!("http://{address}"))
}
