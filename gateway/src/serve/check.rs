//! `faam serve --check`: the settings as they stand, and whether this machine can serve them.
//!
//! Owns the checks that need no gateway. Invariant: nothing is left behind or changed, and every
//! check that fails says what to do. It starts nothing; a card's sockets are looked at, not connected to.

mod cards;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod iommu_groups;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod locked_memory;
mod memory;

use std::ffi::OsStr;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use faam_gateway::config::{ENGINES_STOP, GatewayConfig};
use faam_gateway::credentials::api_key::is_key;
use faam_gateway::credentials::kept_key::{ADMIN_KEY_FILE, DEMO_KEY_FILE, KeyError};
use faam_gateway::credentials::keyring::{PEPPER_FILE, ROOT_KEY_FILE};
use faam_gateway::descriptors::{DESCRIPTORS_RESERVED, connections_max};
use faam_gateway::events::Events;
use faam_gateway::gateway::STORE_FILE;
use faam_gateway::http::tls::{Tls, TlsFiles};
use faam_gateway::http::unix_socket::UnixListen;
use faam_gateway::telemetry::traces_url;
use rustix::fs::{Access, FlockOperation, access, flock, statvfs};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

use super::settings::{Kind, SETTINGS};
use super::sources::{Sources, nearest};
use crate::quantity;

/// Name of the lock in a data directory that a gateway holds.
const LOCK_FILE: &str = "gateway.lock";
/// Permission bits of others than a file's owner.
const OTHERS: u32 = 0o077;
/// Variables of ours that are no settings.
const OTHER_VARIABLES: [&str; 8] = [
    "FAAM_CONFIG",
    "FAAM_LOG",
    "FAAM_LOG_FORMAT",
    "FAAM_URL",
    "FAAM_KEY",
    "FAAM_CACERT",
    "FAAM_CORPUS",
    "FAAM_ALLOW_MISSING_TOOLS",
];

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// It can serve; somebody should know.
    Warning,
    /// It cannot serve so.
    Failed,
}

/// One thing that was looked at.
#[derive(Debug)]
struct Finding {
    verdict: Verdict,
    what: String,
    /// What to do; empty where nothing is to be done.
    mend: String,
}

impl Finding {
    fn ok(what: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Ok,
            what: what.into(),
            mend: String::new(),
        }
    }

    fn failed(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Failed,
            what: what.into(),
            mend: mend.into(),
        }
    }

    fn warning(what: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Warning,
            ..Self::failed(what, mend)
        }
    }
}

/// Prints the settings and what was found; whether it can be served.
///
/// # Errors
/// Settings that cannot stand together, or a standard output that is gone.
pub(crate) fn run(sources: &Sources, as_json: bool) -> anyhow::Result<bool> {
    let config = sources.draft.finish().map_err(anyhow::Error::msg)?;
    let findings = findings(&config);
    let able = findings
        .iter()
        .all(|finding| finding.verdict != Verdict::Failed);
    let mut out = io::stdout().lock();
    if as_json {
        serde_json::to_writer_pretty(&mut out, &report(sources, &findings, able))?;
        writeln!(out)?;
    } else {
        print(&mut out, sources, &findings)?;
    }
    out.flush()?;
    Ok(able)
}

fn print(out: &mut impl Write, sources: &Sources, findings: &[Finding]) -> io::Result<()> {
    let rows: Vec<[String; 3]> = SETTINGS
        .iter()
        .map(|setting| {
            let shown = setting.shown(&sources.draft);
            let origin = sources.origin(setting).to_string();
            [setting.key.to_owned(), shown, origin]
        })
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let (keys, values) = (width(0), width(1));
    for [key, value, origin] in &rows {
        writeln!(out, "{key:keys$}  {value:values$}  {origin}")?;
    }
    writeln!(out)?;
    for finding in findings {
        let word = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "note",
            Verdict::Failed => "FAIL",
        };
        writeln!(out, "{word:4}  {}", finding.what)?;
        if !finding.mend.is_empty() {
            writeln!(out, "      -> {}", finding.mend)?;
        }
    }
    let failed = findings
        .iter()
        .filter(|finding| finding.verdict == Verdict::Failed)
        .count();
    match failed {
        0 => writeln!(out, "\nThis configuration can be served here."),
        _ => writeln!(
            out,
            "\nThis configuration cannot be served here: {failed} of {} checks failed.",
            findings.len()
        ),
    }
}

fn report(sources: &Sources, findings: &[Finding], able: bool) -> Value {
    let settings = SETTINGS.iter().map(|setting| {
        let texts = setting.read(&sources.draft);
        let text = texts.join(",");
        let value = match setting.kind {
            Kind::Secret => Value::from(setting.shown(&sources.draft)),
            Kind::List | Kind::Rules => Value::from(texts),
            _ if text == "none" => Value::Null,
            _ => text.parse::<u64>().map_or(Value::from(text), Value::from),
        };
        json!({
            "key": setting.key,
            "value": value,
            "origin": sources.origin(setting).to_string(),
            "variable": setting.variable(),
            "flag": setting.flag.map(|(flag, _)| format!("--{flag}")),
            "about": setting.about,
        })
    });
    let findings = findings.iter().map(|finding| {
        let verdict = match finding.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "failed",
        };
        json!({ "verdict": verdict, "what": finding.what, "mend": finding.mend })
    });
    json!({
        "able": able,
        "settings": settings.collect::<Vec<_>>(),
        "checks": findings.collect::<Vec<_>>(),
    })
}

fn findings(config: &GatewayConfig) -> Vec<Finding> {
    let mut findings = vec![
        listener(config.listen, "listen"),
        listener(config.admin_listen, "admin_listen"),
    ];
    if config.listen == config.admin_listen && config.listen.port() != 0 {
        findings.push(Finding::failed(
            format!("listen and admin_listen are both {}", config.listen),
            "give admin_listen another port",
        ));
    }
    findings.extend(demo(config));
    findings.extend(chosen_key(config));
    if !config.admin_listen.ip().is_loopback() {
        findings.push(Finding::warning(
            format!(
                "admin_listen: {} can be reached from other machines, and asks nobody for a key to read metrics",
                config.admin_listen
            ),
            "let only probes, collectors of metrics and operators reach it, or listen on 127.0.0.1",
        ));
    }
    findings.extend(config.unix_listen.as_ref().map(unix_socket));
    findings.extend(config.tls.clone().map(tls));
    findings.extend(config.otlp_endpoint.as_deref().map(collector));
    findings.push(data_dir(&config.data_dir));
    findings.extend(open_keys(&config.data_dir));
    findings.extend(spill(config));
    findings.extend(spill_files(config));
    findings.extend(cards::cards(config));
    findings.push(processors(config));
    findings.push(descriptors(config));
    findings.push(memory::memory(config));
    findings.push(stop(config));
    findings.extend(unknown_variables(std::env::vars_os().map(|(name, _)| name)));
    findings
}

fn listener(address: SocketAddr, key: &str) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(format!("{key}: {address} is free")),
        Err(error) => {
            let mend = match error.kind() {
                io::ErrorKind::AddrInUse => {
                    format!("see who holds it (ss -ltnp), or choose another {key}")
                }
                io::ErrorKind::PermissionDenied => {
                    format!("a port below 1024 needs CAP_NET_BIND_SERVICE; or choose another {key}")
                }
                _ => format!("choose an address of this machine as {key}"),
            };
            Finding::failed(format!("{key}: cannot listen on {address}: {error}"), mend)
        }
    }
}

/// Whether other machines would meet the demo tenant with a key that nobody chose, and nobody else.
fn demo(config: &GatewayConfig) -> Option<Finding> {
    if config.serves_demo() {
        return None;
    }
    let what = format!(
        "{} can be reached from other machines, and no key was chosen",
        config.listen
    );
    // Which tenants are in it is its own to read: a check opens nothing.
    Some(match config.data_dir.join(STORE_FILE).exists() {
        true => Finding::warning(
            format!("{what}: the demo tenant is not served"),
            "make sure that there is another: faam tenant ls; or set FAAM_BOOTSTRAP_KEY",
        ),
        false => Finding::failed(
            what,
            "set FAAM_BOOTSTRAP_KEY (faam_ and at least 19 letters, digits, - or _), make a tenant first (faam tenant add), or \
             listen on 127.0.0.1",
        ),
    })
}

fn chosen_key(config: &GatewayConfig) -> Vec<Finding> {
    let chosen = [
        ("FAAM_BOOTSTRAP_KEY", &config.bootstrap_key),
        ("FAAM_ADMIN_KEY", &config.admin_key),
    ];
    let mut findings = Vec::new();
    for (variable, key) in chosen {
        if key.as_deref().is_some_and(|key| !is_key(key)) {
            let error = KeyError::Chosen { variable }.to_string();
            findings.push(Finding::failed(error, "choose another, or leave it out"));
        }
    }
    if config.bootstrap_key.is_some() && config.bootstrap_key == config.admin_key {
        let error = KeyError::Same.to_string();
        findings.push(Finding::failed(error, "choose two"));
    }
    findings
}

fn unix_socket(listen: &UnixListen) -> Finding {
    match listen.check() {
        Ok(()) => Finding::ok(format!("unix_listen: {} is free", listen.path.display())),
        Err(error) => Finding::failed(
            format!("unix_listen: {:#}", anyhow::Error::new(error)),
            "correct unix_listen, or leave it out",
        ),
    }
}

fn data_dir(path: &Path) -> Finding {
    let shown = path.display();
    // What is not there is made by the gateway in the nearest directory above that is.
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let Some(there) = absolute.ancestors().find(|part| part.exists()) else {
        return Finding::failed(
            format!("data_dir: {shown} has no parent"),
            "choose another data_dir",
        );
    };
    if !there.is_dir() {
        return Finding::failed(
            format!("data_dir: {} is not a directory", there.display()),
            "choose another data_dir",
        );
    }
    if let Err(error) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
        return Finding::failed(
            format!("data_dir: cannot write to {}: {error}", there.display()),
            format!("make it writable for this user, or choose another data_dir than {shown}"),
        );
    }
    if there != absolute {
        return Finding::ok(format!("data_dir: {shown} will be made"));
    }
    let taken = std::fs::File::open(path.join(LOCK_FILE)).is_ok_and(|lock| {
        flock(&lock, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK)
    });
    if taken {
        return Finding::failed(
            format!("data_dir: {shown} is in use by another gateway"),
            "stop it, or choose another data_dir",
        );
    }
    Finding::ok(format!("data_dir: {shown} is writable"))
}

/// Keys that others can read as well: copied there, or from a backup.
fn open_keys(data_dir: &Path) -> Vec<Finding> {
    let open = |file| {
        let path = data_dir.join(file);
        let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o777;
        let path = path.display();
        let finding = Finding::warning(
            format!("data_dir: {path} can be used by others than its owner, with mode {mode:04o}"),
            format!("chmod 600 {path}, and set another key if somebody may have read it"),
        );
        (mode & OTHERS != 0).then_some(finding)
    };
    let files = [DEMO_KEY_FILE, ADMIN_KEY_FILE, PEPPER_FILE, ROOT_KEY_FILE];
    files.into_iter().filter_map(open).collect()
}

/// Whether answers that nobody reads yet have the room on the disk that they are promised.
fn spill(config: &GatewayConfig) -> Option<Finding> {
    let planned = u64::try_from(config.admission.spill_bytes_max).unwrap_or(u64::MAX);
    let absolute = std::path::absolute(&config.data_dir).ok()?;
    let there = absolute.ancestors().find(|part| part.exists())?;
    let disk = statvfs(there).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    (planned > free).then(|| {
        Finding::warning(
            format!(
                "spill_bytes_max: {} may be written to {}, where {} MiB are free",
                quantity::show_bytes(planned),
                there.display(),
                free >> 20
            ),
            "lower spill_bytes_max, or choose a data_dir with more room",
        )
    })
}

/// Whether one tenant's slow callers could keep every other tenant's from the disk.
fn spill_files(config: &GatewayConfig) -> Option<Finding> {
    let (tenant, process) = (
        config.admission.spill_tenant_files_max,
        config.admission.spill_files_max,
    );
    (tenant >= process).then(|| {
        Finding::warning(
            format!(
                "spill_tenant_files_max: {tenant}, so that one tenant can have all {process} of spill_files_max"
            ),
            "lower spill_tenant_files_max, unless there is one tenant alone",
        )
    })
}

/// How long a stop may take, for whoever ends the process when that is over.
fn stop(config: &GatewayConfig) -> Finding {
    let longest = config
        .drain_delay
        .saturating_add(config.drain)
        .saturating_add(ENGINES_STOP);
    Finding::ok(format!(
        "drain: a stop takes up to {} (drain_delay_ms, drain_ms_max and {} for engines); let whoever ends the process \
         wait longer (terminationGracePeriodSeconds, TimeoutStopSec)",
        quantity::show_ms(ms(longest)),
        quantity::show_ms(ms(ENGINES_STOP)),
    ))
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn processors(config: &GatewayConfig) -> Finding {
    let workers = config.dispatch.cpu_workers;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if workers > processors {
        return Finding::warning(
            format!("cpu_workers: {workers} threads for {processors} processors"),
            "more threads than processors serve nobody sooner: set it to the number of processors",
        );
    }
    Finding::ok(format!("cpu_workers: {workers} of {processors} processors"))
}

/// The gateway raises the soft limit to the hard one, and serves fewer connections where that does not do.
fn descriptors(config: &GatewayConfig) -> Finding {
    let connections = config.limits.connections_max;
    let needed = connections.saturating_add(DESCRIPTORS_RESERVED);
    let hard = getrlimit(Resource::Nofile).maximum;
    let limit = hard.map_or(usize::MAX, |limit| {
        usize::try_from(limit).unwrap_or(usize::MAX)
    });
    if limit >= needed {
        return Finding::ok(format!(
            "http.connections_max: {needed} descriptors needed, {} allowed",
            hard.map_or_else(|| "any number".to_owned(), |limit| limit.to_string())
        ));
    }
    Finding::warning(
        format!(
            "http.connections_max: {connections} connections need {needed} descriptors; with {limit} there will be {}",
            connections_max(connections, limit)
        ),
        format!(
            "raise the hard limit (ulimit -Hn {needed}; LimitNOFILE={needed} in a unit), or lower connections_max"
        ),
    )
}

fn collector(endpoint: &str) -> Finding {
    match traces_url(endpoint) {
        Ok(url) => Finding::ok(format!("otlp_endpoint: spans go to {url}")),
        Err(error) => Finding::failed(error.to_string(), "correct otlp_endpoint, or leave it out"),
    }
}

fn tls(files: TlsFiles) -> Finding {
    let certificate = files.certificate.display().to_string();
    match Tls::open(files, Arc::default(), Events::default()) {
        Ok(tls) => match tls.validity() {
            None => Finding::warning(
                format!("tls: when {certificate} is valid cannot be told"),
                "see that it is (openssl x509 -noout -dates)",
            ),
            Some(validity) => match validity.check(SystemTime::now()) {
                Ok(()) => Finding::ok(format!(
                    "tls: {certificate} and its key can be served, until {}",
                    validity.not_after()
                )),
                Err(error) => Finding::failed(
                    format!("tls: {certificate} {error}"),
                    "correct the files, or leave tls.* out",
                ),
            },
        },
        Err(error) => Finding::failed(
            format!("tls: {:#}", anyhow::Error::new(error)),
            "correct the files, or leave tls.* out",
        ),
    }
}

/// Variables that look like settings and are none. Orchestrators set some of their own, so this is a note.
fn unknown_variables(names: impl Iterator<Item = impl AsRef<OsStr>>) -> Vec<Finding> {
    let known: Vec<_> = SETTINGS
        .iter()
        .map(super::settings::Setting::variable)
        .collect();
    let names = names.filter_map(|name| name.as_ref().to_str().map(str::to_owned));
    names
        .filter(|name| name.starts_with("FAAM_"))
        .filter(|name| !known.contains(name) && !OTHER_VARIABLES.contains(&name.as_str()))
        .map(|name| {
            let mend = match nearest(&name, known.iter().map(String::as_str)) {
                Some(known) => format!("if {known} was meant, correct it"),
                None => "it is ignored".to_owned(),
            };
            Finding::warning(format!("{name} is set and no setting of ours"), mend)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use faam_gateway::admission::AdmissionLimits;
    use faam_gateway::cards::CardSource;

    use super::*;

    #[test]
    fn a_misspelt_variable_is_pointed_out() {
        let findings = unknown_variables(["FAAM_LISTNE", "FAAM_LISTEN", "FAAM_LOG", "PATH"].iter());
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].mend.contains("FAAM_LISTEN"), "{findings:?}");
    }

    #[test]
    fn what_cannot_be_served_is_found_with_its_mend() {
        let held = TcpListener::bind("127.0.0.1:0").expect("a port");
        let dir = tempfile::tempdir().expect("a directory");
        let mut config = GatewayConfig {
            listen: held.local_addr().expect("bound"),
            admin_listen: ([127, 0, 0, 1], 0).into(),
            data_dir: dir.path().join("a/b"),
            admission: AdmissionLimits {
                body_memory_bytes_max: 1 << 50,
                ..AdmissionLimits::default()
            },
            ..GatewayConfig::default()
        };
        config.tls = Some(TlsFiles {
            certificate: dir.path().join("none.pem"),
            key: dir.path().join("none.key"),
            client_ca: None,
        });
        config.dispatch.cards = vec![CardSource::VfioUser {
            dir: dir.path().to_owned(),
        }];
        let findings = findings(&config);
        let failed: Vec<_> = findings
            .iter()
            .filter(|finding| finding.verdict == Verdict::Failed)
            .collect();
        for word in ["listen:", "no socket at", "tls:", "body_memory_bytes_max"] {
            assert!(
                failed
                    .iter()
                    .any(|finding| finding.what.contains(word) && !finding.mend.is_empty()),
                "{word}: {findings:?}"
            );
        }
        assert!(
            !dir.path().join("a").exists(),
            "a check leaves nothing behind"
        );
        assert!(
            findings
                .iter()
                .any(|finding| finding.what.contains("will be made"))
        );
    }
}
