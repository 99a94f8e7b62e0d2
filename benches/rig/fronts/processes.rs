//! The processes whose fronts are measured, started as their operators start them.
//!
//! Invariants: each is on the servers' processor and ends with the rig; the streams of all are pipes that somebody reads, as
//! container runtimes have it. It measures nothing.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use serde_json::Value;

use super::request::Access;
use super::signature::Signer;
use crate::connection::Connection;
use crate::process::pin_thread;
use crate::server::{Programs, bound, spawn_on};

/// How long a process may take to listen.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// Pause between two looks at a process that is not ready.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// What a process prints before its address.
const LISTENING: &str = "listening on http://";
/// Bytes that are read of a container's stream at once.
const STREAM_BYTES: usize = 16 << 10;

/// A process that serves.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    pub(super) address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The gateway, its key and an access key.
pub(super) fn gateway(programs: &Programs) -> anyhow::Result<(Running, Access)> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    let mut command = bound(&programs.faam.to_string_lossy());
    command
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .args(["--devices", "none", "--data-dir"])
        .arg(&data);
    let child = contained(command, &dir, programs)?;
    let running = running(child, dir)?;
    let key = std::fs::read_to_string(data.join("demo.key")).context("no demo.key")?;
    let made = Command::new(&programs.faam)
        .args([
            "key",
            "add",
            "--tenant",
            "demo",
            "--kind",
            "sigv4",
            "--json",
            "--data-dir",
        ])
        .arg(&data)
        .output()
        .context("cannot make an access key")?;
    let made: Value = serde_json::from_slice(&made.stdout)
        .with_context(|| format!("no access key: {}", String::from_utf8_lossy(&made.stderr)))?;
    let word = |name: &str| made[name].as_str().map(str::to_owned);
    let signer = Signer {
        id: word("access_key_id").context("an access key without its id")?,
        secret: word("secret_access_key").context("an access key without its secret")?,
    };
    let key = key.trim().to_owned();
    Ok((running, Access { key, signer }))
}

/// An action proxy of a platform, initialized; `before` a gateway, else with its own.
pub(super) fn proxy(
    programs: &Programs,
    platform: &str,
    before: Option<(SocketAddr, &str)>,
) -> anyhow::Result<Running> {
    let mut command = bound(&programs.faam.to_string_lossy());
    command.args([
        "action-proxy",
        "--platform",
        platform,
        "--listen",
        "127.0.0.1:0",
    ]);
    match before {
        Some((gateway, key)) => {
            command.env("FAAM_URL", format!("http://{gateway}"));
            command.env("FAAM_KEY", key);
        }
        None => {
            command.args(["--devices", "none"]);
        }
    }
    let dir = tempfile::tempdir()?;
    let child = contained(command, &dir, programs)?;
    let running = running(child, dir).with_context(|| format!("the action proxy of {platform}"))?;
    if platform == "openwhisk" {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let body = Bytes::from_static(b"{\"value\":{\"code\":\"gzip\"}}");
        let head = format!(
            "POST /init HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            running.address,
            body.len()
        );
        let answer = runtime.block_on(async {
            let mut connection = Connection::open(running.address).await?;
            connection.exchange(head.as_bytes(), &body, true).await
        })?;
        let said = answer.kept.unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        anyhow::ensure!(answer.status == 200, "/init: {} {said}", answer.status);
    }
    Ok(running)
}

/// Starts a process as in a container: its streams a thread each reads, on the load's processor, and writes into its log.
fn contained(
    mut command: Command,
    dir: &tempfile::TempDir,
    programs: &Programs,
) -> anyhow::Result<Child> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = spawn_on(&mut command, programs.server_cpu)?;
    let load_cpu = programs.load_cpu;
    let out = child
        .stdout
        .take()
        .map(|out| Box::new(out) as Box<dyn Read + Send>);
    let err = child
        .stderr
        .take()
        .map(|err| Box::new(err) as Box<dyn Read + Send>);
    for mut stream in out.into_iter().chain(err) {
        let mut log = File::options()
            .create(true)
            .append(true)
            .open(dir.path().join("log"))?;
        // Ends with the process.
        std::thread::spawn(move || {
            let _ = pin_thread(load_cpu);
            let mut came = vec![0; STREAM_BYTES];
            while let Ok(read @ 1..) = stream.read(&mut came) {
                let _ = log.write_all(came.get(..read).unwrap_or_default());
            }
        });
    }
    Ok(child)
}

/// Waits until a process has said where it listens.
fn running(mut child: Child, dir: tempfile::TempDir) -> anyhow::Result<Running> {
    let log = dir.path().join("log");
    let until = Instant::now() + READY_LIMIT;
    loop {
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        if let Some(address) = address_in(&said) {
            return Ok(Running {
                child,
                address,
                _dir: dir,
            });
        }
        if Instant::now() > until || child.try_wait()?.is_some() {
            let _ = child.kill();
            let _ = child.wait();
            anyhow::bail!("it did not say where it listens: {said}");
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

fn address_in(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once(LISTENING)?;
    // Up to where the line goes on; one that is not whole yet is looked at again.
    let end = rest.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | ':')))?;
    rest.get(..end)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_a_log_and_in_a_line() {
        let address = "127.0.0.1:8080".parse().ok();
        assert_eq!(
            address_in("x\nlistening on http://127.0.0.1:8080\n"),
            address
        );
        let log = "INFO faam: listening on http://127.0.0.1:8080 platform=knative\n";
        assert_eq!(address_in(log), address);
        assert_eq!(address_in("listening on http://127.0.0.1:80"), None);
    }
}
