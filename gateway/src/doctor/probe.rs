//! How a doctor meets the outside: opens a function, starts a simulated card, asks a gateway.
//!
//! Invariants: whatever is started is ended before the answer is given; every wait has a limit; nothing is enabled and nothing
//! mapped: identity comes from registers alone.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use faam_driver::{
    FunctionIdentity, KernelVfio, PciAddress, Transport, TransportError, Unavailable, VfioUser,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use super::subject::{NoGateway, NoIdentity, RunningGateway};
use crate::admin_client::{AdminClient, AdminError, in_path};

/// How long a simulated card may take until it listens.
const READY_LIMIT: Duration = Duration::from_secs(5);
/// Functions of a gateway that are asked who they are.
const DEVICES_MAX: usize = 64;

/// What a gateway says of itself and of its functions.
pub(super) fn gateway(data_dir: &Path) -> Result<RunningGateway, NoGateway> {
    let client = AdminClient::new(data_dir);
    let words = |error: AdminError| match error {
        AdminError::NoGateway { .. } => NoGateway::NotRunning(error.to_string()),
        _ => NoGateway::Unreachable(format!("{:#}", anyhow::Error::new(error))),
    };
    let mut about = client.get("/admin/v1").map_err(words)?;
    // Where it was reached, so that what is to be done reaches it too.
    if let Some(members) = about.as_object_mut() {
        let shown = data_dir.display().to_string();
        members.insert("data_dir".to_owned(), Value::String(shown));
    }
    let list = client.get("/admin/v1/devices").map_err(words)?;
    let listed = list.get("devices").and_then(Value::as_array);
    let mut devices = Vec::new();
    for device in listed.into_iter().flatten().take(DEVICES_MAX) {
        let name = device.get("name").and_then(Value::as_str).unwrap_or("");
        let shown = client.get(&format!("/admin/v1/devices/{}", in_path(name)));
        // What it does not say now stands in the list at least.
        let shown = shown
            .ok()
            .and_then(|shown| shown.pointer("/devices/0").cloned());
        devices.push(shown.unwrap_or_else(|| device.clone()));
    }
    let pid = client.peer();
    Ok(RunningGateway {
        about,
        pid,
        devices,
    })
}

/// Who the function at `address` is.
pub(super) fn function(address: PciAddress) -> Result<FunctionIdentity, NoIdentity> {
    let transport = KernelVfio::open(address).map_err(|error| not_opened(&error))?;
    read(Arc::new(transport))
}

/// Who a simulated card is: the one with sockets in `dir`, or one that is started with our own program.
pub(super) fn simulated(dir: Option<&PathBuf>) -> Result<FunctionIdentity, NoIdentity> {
    if let Some(dir) = dir {
        return at_socket(&dir.join("fn0"));
    }
    let failed =
        |what: &str, error: &dyn std::fmt::Display| NoIdentity::Wrong(format!("{what}: {error}"));
    let dir = tempfile::TempDir::with_prefix("faam-doctor-")
        .map_err(|error| failed("no directory for its sockets", &error))?;
    let program = std::env::current_exe().map_err(|error| failed("our own program", &error))?;
    let child = Command::new(program)
        .args(["sim", "--exit-on-stdin-eof", "--dir"])
        .arg(dir.path())
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed("it could not be started", &error))?;
    let mut card = Card(child);
    if !card.is_ready() {
        return Err(NoIdentity::Wrong(format!(
            "it was not ready within {} ms",
            READY_LIMIT.as_millis()
        )));
    }
    at_socket(&dir.path().join("fn0"))
}

fn at_socket(socket: &Path) -> Result<FunctionIdentity, NoIdentity> {
    let transport = VfioUser::connect(socket).map_err(|error| unavailable(&error))?;
    read(Arc::new(transport))
}

fn read(transport: Arc<dyn Transport>) -> Result<FunctionIdentity, NoIdentity> {
    FunctionIdentity::read(&transport).map_err(|error| NoIdentity::Wrong(words(&error)))
}

/// Who else has it, or who may have it, is no fault of the machine; all else keeps every gateway from opening it.
fn not_opened(error: &TransportError) -> NoIdentity {
    match error {
        TransportError::Unavailable {
            reason: Unavailable::InUse | Unavailable::NotPermitted,
            ..
        } => unavailable(error),
        _ => NoIdentity::Unusable(words(error)),
    }
}

fn unavailable(error: &dyn std::error::Error) -> NoIdentity {
    NoIdentity::Unavailable(words(error))
}

/// An error with its sources.
fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// A simulated card's process; ended with this.
struct Card(Child);

impl Card {
    /// Whether it said in time that it listens.
    fn is_ready(&mut self) -> bool {
        let Some(mut stdout) = self.0.stdout.take() else {
            return false;
        };
        let until = Instant::now() + READY_LIMIT;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let timeout = Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
                tv_nsec: left.subsec_nanos().into(),
            };
            let ready = poll(&mut [PollFd::new(&stdout, PollFlags::IN)], Some(&timeout));
            match ready {
                Err(rustix::io::Errno::INTR) => {}
                Ok(1..) => {
                    let mut byte = [0];
                    return stdout.read(&mut byte).is_ok_and(|count| count > 0);
                }
                _ => return false,
            }
        }
    }
}

impl Drop for Card {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_else_has_it_is_a_warning() {
        let address = "0000:03:00.0".parse().expect("an address");
        let of = |reason| not_opened(&TransportError::Unavailable { address, reason });
        for reason in [Unavailable::InUse, Unavailable::NotPermitted] {
            assert!(matches!(of(reason), NoIdentity::Unavailable(_)));
        }
        for reason in [
            Unavailable::NotACard,
            Unavailable::NoIommu,
            Unavailable::GroupShared,
        ] {
            assert!(matches!(of(reason), NoIdentity::Unusable(_)));
        }
    }
}
