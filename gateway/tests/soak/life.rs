//! Lives of one gateway: started, killed, told to stop, and started again on the same data directory.
//!
//! Owns the process and its successors. Invariants: why a life ended is on record before the signal is sent, so that a caller
//! whose connection broke always finds the reason; the next life begins only after the last one has ended. It does not know
//! what is asked of a gateway.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::process_log::ProcessLog;
use crate::served::Served;

/// What gateways log: not each refusal of a caller, of which there are thousands.
const LOG: (&str, &str) = ("FAAM_LOG", "info,faam_gateway::http=warn");
/// Longest orderly end: what is in flight may run to its own limits.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How long card processes may outlive their gateway.
const ORPHANS_LIMIT: Duration = Duration::from_secs(10);
/// How long a caller waits for the next life.
const NEXT_LIMIT: Duration = Duration::from_secs(90);
/// How often what makes no line in a log is looked at.
const TICK: Duration = Duration::from_millis(20);
/// Longest answer of a listener of the operator's.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// Why a life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndKind {
    /// SIGKILL.
    Killed,
    /// SIGTERM: it finishes what it has.
    Stopped,
}

/// An end: which, and from when on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LifeEnd {
    pub(crate) kind: EndKind,
    pub(crate) at: Instant,
}

/// One life.
pub(crate) struct Life {
    pub(crate) number: usize,
    pub(crate) public: SocketAddr,
    pub(crate) pid: u32,
    pub(crate) log: ProcessLog,
    admin: SocketAddr,
    end: OnceLock<LifeEnd>,
    served: Mutex<Option<Served>>,
}

impl Life {
    fn new(number: usize, served: Served) -> Self {
        Self {
            number,
            public: served.public,
            pid: served.child.id(),
            log: served.log.clone(),
            admin: served.admin,
            end: OnceLock::new(),
            served: Mutex::new(Some(served)),
        }
    }

    /// Why and from when on it ended, if it has or is about to.
    pub(crate) fn end(&self) -> Option<LifeEnd> {
        self.end.get().copied()
    }

    /// `GET path` of the operator's listener: status and body.
    pub(crate) fn get(&self, path: &str) -> Result<(u16, Vec<u8>), String> {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(CALL_LIMIT))
            .proxy(None)
            .build()
            .new_agent();
        let url = format!("http://{}{path}", self.admin);
        let failed = |error: ureq::Error| format!("GET {path}: {error}");
        let mut answer = agent.get(&url).call().map_err(failed)?;
        let body = answer.body_mut().read_to_vec().map_err(failed)?;
        Ok((answer.status().as_u16(), body))
    }

    /// `/readyz`: whether it is ready, and its cards.
    pub(crate) fn ready(&self) -> Result<(bool, Vec<Value>), String> {
        let (status, body) = self.get("/readyz")?;
        let state: Value = serde_json::from_slice(&body).unwrap_or_default();
        let cards = state["cards"].as_array().cloned().unwrap_or_default();
        Ok((status == 200, cards))
    }

    /// Wait until `check` is content, looking whenever the log moves; else what it last complained of.
    pub(crate) fn wait_until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut check: impl FnMut() -> Result<T, String>,
    ) -> Result<T, String> {
        let until = Instant::now() + limit;
        loop {
            match check() {
                Ok(found) => return Ok(found),
                Err(why) if Instant::now() >= until => {
                    return Err(format!(
                        "not within {} s: {what}: {why}",
                        limit.as_secs_f64()
                    ));
                }
                Err(_) => self.log.changed(TICK),
            }
        }
    }
}

/// The gateway, life after life.
pub(crate) struct Lives {
    data: Arc<tempfile::TempDir>,
    flags: Vec<String>,
    variables: Vec<(&'static str, &'static str)>,
    /// Key of the tenant that is there from the start.
    pub(crate) demo_key: String,
    current: Mutex<Arc<Life>>,
    next: Condvar,
}

impl Lives {
    /// The first life, on a directory of its own, with these flags and variables.
    pub(crate) fn begin(flags: &[&str], variables: &[(&'static str, &'static str)]) -> Self {
        let variables = [variables, &[LOG]].concat();
        let served = Served::start(flags, &variables);
        let data = Arc::clone(&served.data);
        Self {
            data,
            variables,
            demo_key: served.key.clone(),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
            current: Mutex::new(Arc::new(Life::new(0, served))),
            next: Condvar::new(),
        }
    }

    /// The data directory.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// The present life, also one that is ending.
    pub(crate) fn now(&self) -> Arc<Life> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A life that is not ending, waiting for it; `None` if none comes.
    pub(crate) fn serving(&self) -> Option<Arc<Life>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let ending = |life: &mut Arc<Life>| life.end().is_some();
        let (current, waited) = self
            .next
            .wait_timeout_while(current, NEXT_LIMIT, ending)
            .unwrap_or_else(PoisonError::into_inner);
        (!waited.timed_out()).then(|| Arc::clone(&current))
    }

    /// End the present life, and see to it that nothing of it is left.
    pub(crate) fn end(&self, kind: EndKind) -> Result<(), String> {
        let life = self.now();
        let Some(mut served) = life
            .served
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return Ok(());
        };
        let at = Instant::now();
        life.end.get_or_init(|| LifeEnd { kind, at });
        match kind {
            EndKind::Killed => {
                served
                    .child
                    .kill()
                    .map_err(|error| format!("SIGKILL: {error}"))?;
                served.child.wait().map_err(|error| error.to_string())?;
            }
            EndKind::Stopped => {
                let pid = i32::try_from(life.pid).ok().and_then(Pid::from_raw);
                let pid = pid.ok_or("no process id")?;
                kill_process(pid, Signal::TERM).map_err(|error| format!("SIGTERM: {error}"))?;
                let status = life.wait_until("an orderly end", STOP_LIMIT, || {
                    match served.child.try_wait() {
                        Ok(Some(status)) => Ok(status),
                        Ok(None) => Err("it still runs".to_owned()),
                        Err(error) => Err(error.to_string()),
                    }
                })?;
                if !status.success() {
                    return Err(format!("it was told to stop, and ended with {status}"));
                }
            }
        }
        drop(served);
        if life.log.text().contains("panicked") {
            return Err("a thread of the gateway panicked".to_owned());
        }
        let data = self.data.path();
        life.wait_until(
            "no card outlives its gateway",
            ORPHANS_LIMIT,
            || match card_processes(data) {
                left if left.is_empty() => Ok(()),
                left => Err(format!("processes {left:?}")),
            },
        )
    }

    /// The next life, after [`Lives::end`].
    pub(crate) fn begin_next(&self) -> Arc<Life> {
        let number = self.now().number + 1;
        let mut command = Command::new(env!("CARGO_BIN_EXE_faam"));
        command.arg("serve");
        let flags: Vec<_> = self.flags.iter().map(String::as_str).collect();
        let served = Served::start_on(Arc::clone(&self.data), command, &flags, &self.variables);
        let life = Arc::new(Life::new(number, served));
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&life);
        self.next.notify_all();
        life
    }

    /// `faam` with these words on this data directory, as an operator calls it: standard output, or what it complained of.
    pub(crate) fn faam(&self, words: &[&str]) -> Result<Vec<u8>, String> {
        let output = Command::new(env!("CARGO_BIN_EXE_faam"))
            .args(words)
            .env("FAAM_DATA_DIR", self.data.path())
            .env_remove("FAAM_CONFIG")
            .output()
            .map_err(|error| format!("faam {words:?}: {error}"))?;
        match output.status.success() {
            true => Ok(output.stdout),
            false => Err(format!(
                "faam {words:?}: {}: {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            )),
        }
    }

    /// The same with `--json`.
    pub(crate) fn faam_json(&self, words: &[&str]) -> Result<Value, String> {
        let output = self.faam(&[words, &["--json"]].concat())?;
        serde_json::from_slice(&output).map_err(|error| format!("faam {words:?}: {error}"))
    }
}

/// Processes of simulated cards whose sockets are below `data`.
pub(crate) fn card_processes(data: &Path) -> Vec<u32> {
    let data = data.as_os_str().as_encoded_bytes();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = words.split(|byte| *byte == 0);
        words.next().is_some()
            && words.next() == Some(b"sim".as_slice())
            && words.any(|word| word.starts_with(data))
    })
    .collect()
}
