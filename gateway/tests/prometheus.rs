//! A real Prometheus scrapes a real gateway under some load: it takes the example's configuration and the rules, every query
//! of the dashboard answers with data, and no label set grows beyond its bound.
//!
//! Invariant: only Prometheus' programs are used, in directories and on ports of the test's own. Every wait has a limit.

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

mod free_port;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use faam_gateway::cards::{CardSource, SimulatedFaults, SimulatedSlots};
use faam_gateway::config::GatewayConfig;
use faam_gateway::gateway::Gateway;
use faam_gateway::metrics::TENANT_LABELS_MAX;
use form_urlencoded::byte_serialize;
use serde_json::{Value, json};

const KEY: &str = "faam_a-key-for-these-tests-only";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
/// How long a scrape and what follows from it may take: a failure, not a measure.
const SOON: Duration = Duration::from_secs(60);
/// What Prometheus says of an answer that it did not wait for.
const LATE: &str = "context deadline exceeded";
/// Between two looks at somebody else's process.
const TICK: Duration = Duration::from_millis(100);
/// Ports are tried this often: Prometheus cannot be handed one that the system chose.
const PORTS_TRIED_MAX: usize = 8;
/// Tenants beside the one of each new installation: more than there are labels.
const TENANTS: usize = TENANT_LABELS_MAX + 20;
/// What the dashboard's variables stand for.
const VARIABLES: [(&str, &str); 3] = [
    ("$instance", ".*"),
    ("$tenant", ".*"),
    ("$__rate_interval", "15s"),
];

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(deploy(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Whether a program is missing, and may be.
fn is_missing(program: &str) -> bool {
    if Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
    {
        return false;
    }
    assert!(
        std::env::var("FAAM_ALLOW_MISSING_TOOLS").as_deref() == Ok("1"),
        "{program} is missing; `make test` installs it, FAAM_ALLOW_MISSING_TOOLS=1 does without"
    );
    println!("skipped: {program} is missing");
    true
}

#[track_caller]
fn promtool(words: &[&str]) {
    let output = Command::new("promtool")
        .args(words)
        .current_dir(deploy("prometheus"))
        .output()
        .expect("promtool runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {said}{error}");
}

#[test]
fn the_rules_are_valid_and_each_alert_is_raised_by_what_it_is_for_alone() {
    if is_missing("promtool") {
        return;
    }
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["check", "rules", "rules.yml"]);
    promtool(&["test", "rules", "rules_test.yml"]);
    let tests = text("prometheus/rules_test.yml");
    let rules = text("prometheus/rules.yml");
    for alert in rules
        .lines()
        .filter_map(|line| line.split_once("- alert: "))
    {
        let named = format!("alertname: {}", alert.1);
        let cases = tests.lines().filter(|line| line.trim() == named).count();
        assert!(
            cases >= 2,
            "{}: expected a case that raises it and one that does not",
            alert.1
        );
    }
}

/// A gateway with a simulated card in service.
struct Scraped {
    gateway: Gateway,
    _data: tempfile::TempDir,
}

impl Scraped {
    fn start() -> Self {
        let data = tempfile::tempdir().expect("a directory");
        let mut config = GatewayConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            data_dir: data.path().to_owned(),
            bootstrap_key: Some(KEY.to_owned()),
            ..GatewayConfig::default()
        };
        config.dispatch.data_dir = data.path().to_owned();
        config.dispatch.sim_program = env!("CARGO_BIN_EXE_faam").into();
        config.dispatch.cards = vec![CardSource::OwnSimulated {
            model: faam_sim::Model::Functional,
            engines: 1,
            pace_mhz: None,
            slots: SimulatedSlots::default(),
            faults: SimulatedFaults::default(),
        }];
        let gateway = Gateway::start(config).expect("starts");
        wait_until("both functions are in service", || {
            let cards = gateway.dispatcher().cards();
            let mut functions = cards.iter().flat_map(|card| &card.functions);
            functions.all(|function| function.in_service).then_some(())
        });
        Self {
            gateway,
            _data: data,
        }
    }

    /// More tenants than have a label of their own, each with one request.
    fn tenants(&self) {
        let admin = |path: &str, body: Value| {
            let answer = ureq::post(format!("http://{}{path}", self.gateway.admin_address()))
                .header(
                    "Authorization",
                    format!("Bearer {}", self.gateway.admin_key().key),
                )
                .content_type("application/json")
                .send(body.to_string())
                .expect("done");
            let body = answer.into_body().read_to_vec().expect("whole");
            serde_json::from_slice::<Value>(&body).expect("JSON")
        };
        for number in 0..TENANTS {
            let name = format!("tenant-{number:03}");
            admin("/admin/v1/tenants", json!({ "name": name }));
            let made = admin("/admin/v1/keys", json!({ "tenant": name, "kind": "api" }));
            let key = made["key"].as_str().expect("a key");
            let answer = ureq::post(format!(
                "http://{}/v1/compress",
                self.gateway.public_address()
            ))
            .header("Authorization", format!("Bearer {key}"))
            .send(&b"hello"[..])
            .expect("served");
            answer.into_body().read_to_vec().expect("whole");
        }
    }

    /// Some of each: by the CPU, by the card, large, small, refused.
    fn load(&self) {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build();
        let agent = ureq::Agent::new_with_config(agent);
        let body: Vec<u8> = b"some words that compress ".repeat(12_000);
        for (target, backend, bytes, status) in [
            ("/v1/compress", "cpu", 1_000, 200),
            ("/v1/compress?level=6", "require-hw", 300_000, 200),
            ("/v1/compress", "auto", 300_000, 200),
            ("/v1/compress?level=99", "auto", 10, 400),
            ("/v1/decompress?format=gzip", "cpu", 10, 422),
        ] {
            let answer = agent
                .post(format!("http://{}{target}", self.gateway.public_address()))
                .header("Authorization", format!("Bearer {KEY}"))
                .header("Faam-Backend", backend)
                .header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"))
                .send(&body[..bytes])
                .expect("answered");
            assert_eq!(answer.status().as_u16(), status, "{target}");
            answer.into_body().read_to_vec().expect("whole");
        }
    }
}

struct Prometheus {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// With the example's configuration, and this gateway in place of the example's; scraped each second.
    fn start(target: SocketAddr) -> Self {
        (0..PORTS_TRIED_MAX)
            .find_map(|_| Self::try_start(target))
            .unwrap_or_else(|| panic!("Prometheus does not start"))
    }

    fn try_start(target: SocketAddr) -> Option<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port::free_port()));
        let directory = tempfile::tempdir().expect("a directory");
        let config = text("prometheus/prometheus.yml");
        assert_eq!(config.matches("127.0.0.1:8081").count(), 1);
        let config = config
            .replace("127.0.0.1:8081", &target.to_string())
            .replace(": 15s", ": 1s");
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("written");
        std::fs::copy(
            deploy("prometheus/rules.yml"),
            directory.path().join("rules.yml"),
        )
        .expect("copied");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .arg("--enable-feature=exemplar-storage")
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("Prometheus starts");
        let mut prometheus = Self {
            child,
            address,
            _directory: directory,
        };
        let until = Instant::now() + SOON;
        loop {
            if ureq::get(prometheus.url("/-/ready")).call().is_ok() {
                return Some(prometheus);
            }
            // It ends where somebody else took the port.
            if prometheus.child.try_wait().expect("our child").is_some() || Instant::now() > until {
                return None;
            }
            std::thread::sleep(TICK);
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(SOON))
            .build();
        let answer = ureq::Agent::new_with_config(agent)
            .get(self.url(path))
            .call()
            .expect("answered");
        let body = answer.into_body().read_to_vec().expect("whole");
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }

    /// What a query gives now.
    #[track_caller]
    fn query(&self, query: &str) -> Vec<Value> {
        let query: String = byte_serialize(query.as_bytes()).collect();
        let data = self.get(&format!("/api/v1/query?query={query}"));
        data["result"].as_array().expect("a result").clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn wait_until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + SOON;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < until, "not within {SOON:?}: {what}");
        std::thread::sleep(TICK);
    }
}

/// Every query of the dashboard, its variables put in.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&text("grafana/faam.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut queries = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        let targets = panel["targets"].as_array().into_iter().flatten();
        for target in targets {
            let mut query = target["expr"].as_str().expect("a query").to_owned();
            for (name, value) in VARIABLES {
                query = query.replace(name, value);
            }
            assert!(!query.contains('$'), "{title}: {query}");
            queries.push((title.to_owned(), query));
        }
    }
    queries
}

/// Whether a result has a number in it: what is divided by nothing is none.
fn has_data(result: &[Value]) -> bool {
    result.iter().any(|series| {
        let value = series["value"][1]
            .as_str()
            .and_then(|value| value.parse::<f64>().ok());
        value.is_some_and(f64::is_finite)
    })
}

#[test]
fn prometheus_scrapes_a_gateway_and_the_dashboard_has_data() {
    if is_missing("prometheus") {
        return;
    }
    let scraped = Scraped::start();
    scraped.load();
    scraped.tenants();
    let prometheus = Prometheus::start(scraped.gateway.admin_address());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Acquire) {
                scraped.load();
            }
        });
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            check(&prometheus);
        }));
        stop.store(true, Ordering::Release);
        if let Err(cause) = checked {
            std::panic::resume_unwind(cause);
        }
    });
    scraped.gateway.stop();
}

fn check(prometheus: &Prometheus) {
    // The gateway's answer is taken as it is. On a busy machine one may take longer than a scrape of each second waits.
    wait_until("the target is up", || {
        let targets = prometheus.get("/api/v1/targets");
        let target = &targets["activeTargets"][0];
        let error = target["lastError"].as_str().unwrap_or_default();
        assert!(error.is_empty() || error.contains(LATE), "{target}");
        (target["health"] == "up").then_some(())
    });
    // Every query of the dashboard, and every recording rule, answers with data.
    let queries = queries();
    assert!(queries.len() >= 25, "{}", queries.len());
    let mut without = queries.clone();
    without.extend(
        text("prometheus/rules.yml")
            .lines()
            .filter_map(|line| line.split_once("- record: "))
            .map(|(_, name)| (name.to_owned(), name.to_owned())),
    );
    let until = Instant::now() + SOON;
    while !without.is_empty() {
        without.retain(|(_, query)| !has_data(&prometheus.query(query)));
        assert!(Instant::now() < until, "without data: {without:#?}");
        std::thread::sleep(TICK);
    }
    // What was measured is no row of zeros.
    for used in [
        r#"sum(faam_requests_total{backend="simulated",outcome="ok"})"#,
        r#"sum(faam_requests_total{backend="cpu",outcome="ok"})"#,
        r#"sum(faam_usage_seconds_total{resource="reference",tenant="demo"})"#,
        r#"sum(faam_usage_seconds_total{resource="cpu",tenant="demo"})"#,
        r#"sum(faam_refused_total{reason="invalid-option"})"#,
        r#"sum(faam_store_writes_total{outcome="ok"})"#,
        r#"sum(faam_events_total{outcome="written"})"#,
        "max_over_time(sum(faam_inflight)[30s:1s])",
        "max_over_time(max(faam_device_busy_ratio)[30s:1s])",
    ] {
        wait_until(used, || {
            let result = prometheus.query(used);
            let value = result.first()?["value"][1].as_str()?.parse::<f64>().ok()?;
            (value > 0.0).then_some(())
        });
    }
    // All rules are evaluated, and none fails.
    wait_until("every rule is evaluated", || {
        let rules = prometheus.get("/api/v1/rules");
        let groups = rules["groups"].as_array().expect("groups");
        assert_eq!(groups.len(), 2);
        let mut rules = groups
            .iter()
            .flat_map(|group| group["rules"].as_array().expect("rules"));
        rules
            .all(|rule| {
                assert_ne!(rule["health"], "err", "{rule}");
                rule["health"] == "ok"
            })
            .then_some(())
    });
    // Nothing is amiss: no alert is raised, or about to be. A late scrape is about to raise one until the next.
    wait_until("no alert is raised", || {
        let alerts = prometheus.get("/api/v1/alerts");
        let alerts = alerts["alerts"].as_array().expect("alerts");
        for alert in alerts {
            assert_ne!(alert["state"], "firing", "{alert}");
        }
        alerts.is_empty().then_some(())
    });
    // A bucket leads to a trace.
    wait_until("an exemplar", || {
        let query: String = byte_serialize(b"faam_request_seconds_bucket").collect();
        let now = std::time::SystemTime::now();
        let now = now
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        let path = format!(
            "/api/v1/query_exemplars?query={query}&start={}&end={}",
            now.saturating_sub(3_600),
            now + 60
        );
        prometheus
            .get(&path)
            .to_string()
            .contains(TRACE)
            .then_some(())
    });
    check_labels(prometheus);
}

/// Labels whose values are words of the gateway's own, and their bound.
const LABELS: [(&str, usize); 18] = [
    ("tenant", TENANT_LABELS_MAX + 1),
    ("device", 65),
    ("engine", 65 + 16),
    ("outcome", 64),
    // Of requests, and of images.
    ("reason", 64 + 32),
    ("phase", 9),
    ("kernel", 2),
    ("backend", 5),
    ("resource", 4),
    ("pool", 3),
    ("listener", 4),
    ("direction", 2),
    ("kind", 32),
    // Of functions, of slots, and of images.
    ("state", 5 + 6 + 2),
    ("image", 65),
    ("cause", 4),
    ("result", 24),
    ("slot", 16),
];

/// Those of kernels that were loaded into slots, which nothing has before one was.
const OF_LOADS: [&str; 3] = ["image", "cause", "result"];

/// No label of ours is unknown to this test, none has more values than its bound, and all series together have one.
fn check_labels(prometheus: &Prometheus) {
    let known: BTreeSet<&str> = LABELS
        .iter()
        .map(|(name, _)| *name)
        // Of quarantines, by three words, once there are some; of the tables of engines, which do not change while a gateway
        // runs; and Prometheus' own.
        .chain([
            "rung",
            // Of requests that came through one, of a closed list of five.
            "front",
            "format",
            "level",
            "engine_level",
            "le",
            "instance",
            "job",
            "__name__",
        ])
        .collect();
    let ours: String = byte_serialize(br#"{job="faam",__name__=~"faam_.*"}"#).collect();
    let series = prometheus.get(&format!("/api/v1/series?match%5B%5D={ours}"));
    let series = series.as_array().expect("series");
    for one in series {
        for label in one.as_object().expect("labels").keys() {
            assert!(
                known.contains(label.as_str()),
                "{label} of {one} has no bound that is known"
            );
        }
    }
    for (label, max) in LABELS {
        let values: BTreeSet<_> = series
            .iter()
            .filter_map(|one| one[label].as_str())
            .collect();
        let may_be_absent = OF_LOADS.contains(&label);
        assert!(
            !values.is_empty() || may_be_absent,
            "{label}: nothing has it"
        );
        assert!(values.len() <= max, "{label}: {values:?}");
    }
    let tenants: BTreeSet<_> = series
        .iter()
        .filter_map(|one| one["tenant"].as_str())
        .collect();
    assert_eq!(tenants.len(), TENANT_LABELS_MAX + 1, "{tenants:?}");
    assert!(
        tenants.contains("other") && tenants.contains("demo"),
        "{tenants:?}"
    );
    // Whoever has no label of its own is counted all the same.
    let counted = prometheus.query(r#"sum(faam_requests_total{tenant!="demo"})"#);
    assert_eq!(counted[0]["value"][1], TENANTS.to_string());
    assert!(series.len() < 2_000, "{} series", series.len());
    println!("{} series", series.len());
}
