//! A gateway in a process of its own, with the CPU engines alone, and what it holds.
//!
//! Owns what is asked of the process. Invariant: every wait has a limit and is for something that the gateway says of
//! itself.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use ureq::Agent;

use crate::callers::Call;
use crate::served::Served;

/// How long a condition may take to come true: a failure, not a measure.
pub(crate) const SOON: Duration = Duration::from_secs(30);
/// How long after the log's last line a condition is looked at again.
const TICK: Duration = Duration::from_millis(20);
/// How long a probe may take.
const PROBE_LIMIT: Duration = Duration::from_secs(10);

pub(crate) struct Gateway {
    served: Served,
    pub(crate) address: SocketAddr,
    pub(crate) key: String,
    probes: Agent,
    /// Where it serves HTTPS: its certificate, signed by itself.
    pub(crate) certificate: Option<PathBuf>,
    /// Where that and its key lie.
    _files: Option<TempDir>,
}

/// What a gateway holds while nobody calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holdings {
    descriptors: usize,
}

impl Gateway {
    /// With these settings, as variables of its environment.
    pub(crate) fn start(settings: &[(&str, &str)]) -> Self {
        let quiet = [&[("FAAM_LOG", "warn")], settings].concat();
        let served = Served::start(&["--devices", "none"], &quiet);
        let config = Agent::config_builder()
            .timeout_global(Some(PROBE_LIMIT))
            .proxy(None);
        Self {
            address: served.public,
            key: served.key.clone(),
            served,
            probes: config.build().new_agent(),
            certificate: None,
            _files: None,
        }
    }

    /// One that serves HTTPS.
    pub(crate) fn start_with_tls() -> Self {
        let files = TempDir::with_prefix("faam-clients-").expect("a temporary directory");
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]);
        let made = made.expect("a certificate");
        let pair = [
            ("server.pem", made.cert.pem()),
            ("server.key", made.signing_key.serialize_pem()),
        ];
        let [certificate, key] = pair.map(|(name, text)| {
            let path = files.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        });
        let text = |path: &Path| path.to_str().expect("text").to_owned();
        let (certificate_text, key) = (text(&certificate), text(&key));
        let settings = [
            ("FAAM_TLS_CERT", certificate_text.as_str()),
            ("FAAM_TLS_KEY", key.as_str()),
        ];
        let mut gateway = Self::start(&settings);
        gateway.certificate = Some(certificate);
        gateway._files = Some(files);
        gateway
    }

    pub(crate) fn url(&self, target: &str) -> String {
        let scheme = if self.certificate.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://{}{target}", self.address)
    }

    /// A call with `key`, or with the gateway's own.
    pub(crate) fn call<'a>(
        &'a self,
        target: &str,
        key: Option<&str>,
        body: &'a Path,
        chunked: bool,
        attempts: usize,
    ) -> Call<'a> {
        let key = key.unwrap_or(&self.key);
        Call {
            url: self.url(target),
            headers: vec![("Authorization", format!("Bearer {key}"))],
            body,
            chunked,
            attempts,
            authority: self.certificate.as_deref(),
        }
    }

    /// Sum of the series of the metric `name`; of one of them where it names all its labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let url = format!("http://{}/metrics", self.served.admin);
        let answer = self.probes.get(&url).call();
        let text = answer.and_then(|mut answer| answer.body_mut().read_to_string());
        let text = text.unwrap_or_else(|error| panic!("/metrics: {error}"));
        let values = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let of_it = series
                .strip_prefix(name)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('{'));
            of_it.then(|| value.parse::<f64>().expect("a number"))
        });
        values.sum()
    }

    /// Waits until the metric is as much.
    #[track_caller]
    pub(crate) fn wait_for(&self, name: &str, value: f64) {
        let until = Instant::now() + SOON;
        loop {
            let is = self.metric(name);
            // Whole numbers, all of them.
            if (is - value).abs() < 0.5 {
                return;
            }
            assert!(Instant::now() < until, "{name} is {is}, not {value}");
            self.tick();
        }
    }

    /// Waits for the log's next line, a little.
    pub(crate) fn tick(&self) {
        self.served.log.changed(TICK);
    }

    /// What it holds now, once nothing is in flight and only probes are connected.
    #[track_caller]
    pub(crate) fn at_rest(&self) -> Holdings {
        for name in [
            "faam_inflight",
            "faam_body_memory_bytes",
            "faam_spill_bytes",
            "faam_queue_depth",
            r#"faam_connections{listener="public"}"#,
        ] {
            self.wait_for(name, 0.0);
        }
        assert!(
            !self.served.log.text().contains("panicked"),
            "a thread panicked"
        );
        Holdings {
            descriptors: self.descriptors(),
        }
    }

    /// Waits until it holds what it held `before`.
    #[track_caller]
    pub(crate) fn check_at_rest_as(&self, before: Holdings) {
        let until = Instant::now() + SOON;
        loop {
            let now = self.at_rest();
            if now.descriptors <= before.descriptors {
                return;
            }
            assert!(Instant::now() < until, "{now:?}, before {before:?}");
            self.tick();
        }
    }

    /// Checks that it has never held more memory than that.
    #[track_caller]
    pub(crate) fn check_memory(&self, bytes_max: u64) {
        let peak = self.memory_bytes_max();
        println!("the gateway held {} MiB at the most", peak >> 20);
        assert!(peak < bytes_max, "{peak} bytes, more than {bytes_max}");
    }

    /// Its open descriptors.
    fn descriptors(&self) -> usize {
        let listing = std::fs::read_dir(format!("/proc/{}/fd", self.served.child.id()));
        listing.expect("it runs").count()
    }

    /// The most memory that it has held: resident, and huge pages now.
    fn memory_bytes_max(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.served.child.id()));
        let status = status.expect("it runs");
        let kib = |name: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
            number.unwrap_or_else(|| panic!("no {name} in {status}"))
        };
        (kib("VmHWM:") + kib("HugetlbPages:")) << 10
    }

    /// A request whose body has begun and not ended.
    pub(crate) fn hold_request(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let head = format!(
            "POST /v1/compress HTTP/1.1\r\nHost: faam.test\r\nAuthorization: Bearer {}\r\n\
             Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
            self.key
        );
        stream.write_all(head.as_bytes()).expect("sent");
        stream
    }
}
