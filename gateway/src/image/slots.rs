//! `faam image load` and `faam image evict`: the kernels in the slots of a gateway's cards, by hand.
//!
//! Invariant: what is shown to people stands in the JSON too; a time of a simulated card says so. The gateway does it: it
//! verifies the image right before it goes to the card.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::Value;

use crate::admin_client::{AdminClient, OperatorFlags, in_path};

/// Longest wait: each function of a card in turn, each with limits of its own.
const WAIT: Duration = Duration::from_secs(60);

const LOAD_EXAMPLES: &str = "\
Examples:
  faam image load deflate-fast --device fpga0.1
      into a slot of function 1 that holds nothing
  faam image load inflate --device fpga0 --slot 1
      into slot 1 of each function of card 0, in place of what it holds; the jobs in it end first, the other slots serve on

It serves once its self-test has passed. `faam device show fpga0` says what each slot holds.";

const EVICT_EXAMPLES: &str = "\
Examples:
  faam image evict --device fpga0.1 --slot 0
      empties slot 0 of function 1, after the jobs in it";

/// Load an image into a slot of a card
#[derive(Debug, Args)]
#[command(after_help = LOAD_EXAMPLES)]
pub(super) struct Load {
    #[command(flatten)]
    operator: OperatorFlags,
    /// The image's name in the gateway's store
    #[arg(value_name = "IMAGE")]
    image: String,
    /// A function, or a card for each of its functions: name, address or serial id
    #[arg(long, value_name = "NAME")]
    device: String,
    /// The slot, in place of what it holds; without it, one that serves nobody
    #[arg(long, value_name = "NUMBER")]
    slot: Option<u8>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Empty a slot of a card
#[derive(Debug, Args)]
#[command(after_help = EVICT_EXAMPLES)]
pub(super) struct Evict {
    #[command(flatten)]
    operator: OperatorFlags,
    /// A function, or a card for each of its functions: name, address or serial id
    #[arg(long, value_name = "NAME")]
    device: String,
    /// The slot
    #[arg(long, value_name = "NUMBER")]
    slot: u8,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Load {
    /// Does it.
    ///
    /// # Errors
    /// No gateway, no such device or slot, an image that is refused, or a load that failed.
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let mut path = format!(
            "/admin/v1/devices/{}/slots/load?image={}",
            in_path(&self.device),
            in_path(&self.image)
        );
        if let Some(slot) = self.slot {
            let _ = write!(path, "&slot={slot}");
        }
        let answer = AdminClient::new(&self.operator.data_dir).post(&path, WAIT)?;
        shown(&answer, self.json, |device| {
            let ms = |member: &str| device.get(member).and_then(Value::as_f64).unwrap_or(0.0);
            let simulated = device.get("simulated").and_then(Value::as_bool) == Some(true);
            format!(
                "{} slot {}: {} serves {} after {:.1} ms (download {:.1}, reconfiguration {:.1}{}, self-test {:.1})",
                text(device, "/name"),
                text(device, "/slot/slot"),
                text(device, "/slot/image"),
                text(device, "/slot/serves"),
                ms("took_ms"),
                ms("downloaded_ms"),
                ms("programmed_ms"),
                if simulated { " modelled" } else { "" },
                ms("tested_ms"),
            )
        })
    }
}

impl Evict {
    /// Does it.
    ///
    /// # Errors
    /// No gateway, no such device or slot, or a slot that could not be emptied.
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = format!(
            "/admin/v1/devices/{}/slots/evict?slot={}",
            in_path(&self.device),
            self.slot
        );
        let answer = AdminClient::new(&self.operator.data_dir).post(&path, WAIT)?;
        shown(&answer, self.json, |device| {
            format!(
                "{} slot {}: {}",
                text(device, "/name"),
                text(device, "/slot/slot"),
                text(device, "/slot/state")
            )
        })
    }
}

fn shown(answer: &Value, json: bool, line: impl Fn(&Value) -> String) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", serde_json::to_string_pretty(answer)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let devices = answer.get("devices").and_then(Value::as_array);
    for device in devices.into_iter().flatten() {
        writeln!(out, "{}", line(device))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A member as people read it.
fn text(device: &Value, pointer: &str) -> String {
    match device.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(all)) => {
            let words: Vec<_> = all.iter().filter_map(Value::as_str).collect();
            words.join(", ")
        }
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}
