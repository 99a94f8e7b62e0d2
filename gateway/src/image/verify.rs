//! `faam image verify`: what a gateway would say of a file; with `--against`, what one says of it.
//!
//! Invariant: the same code judges as in a gateway, in the same order; nothing of a file is shown before its signature holds. What is
//! compared with a running gateway's device is that gateway's to judge, by its own trust.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use faam_image::{
    Abi, DeviceFacts, Floors, Idcode, ImageKind, ImageRefusal, Manifest, PACKAGE_BYTES_MAX,
    Package, PublicKey, Revoked, Trust,
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{against, read};
use crate::admin_client::OperatorFlags;
use crate::operator::{print, print_json};
use crate::serve;

const EXAMPLES: &str = "\
Examples:
  faam image verify deflate-fast.fgi --trust ed25519:...
      whether the key signed it, and nothing was changed since
  faam image verify *.fgi --config faam.toml --device sim
      by images.trust and images.revoked of a gateway's configuration; for this release's simulated card
  faam image verify engine.fgi --trust ed25519:... --device idcode=0x41113043,kind=full,shell=0 --json
      for a device of your own; {\"images\":[{\"file\",\"accepted\",\"reason\",\"detail\",\"manifest\"}]}
  faam image verify engine.fgi --against fpga0
      by the running gateway, with the device that it has, as before it is programmed: a line for each point
Exit status: 0 where every file would be taken, 1 where one would not.";

/// Whom to trust, of a command that reads packages.
#[derive(Debug, Args)]
pub(super) struct TrustFlags {
    /// A public key to trust; may be given several times. Without, images.trust of the configuration
    #[arg(long = "trust", value_name = "KEY")]
    trusted: Vec<PublicKey>,
    /// What is not taken, key:ID or image:UUID; may be given several times
    #[arg(long = "revoked", value_name = "WHAT")]
    revoked: Vec<Revoked>,
    /// A gateway's configuration, for its images.trust and images.revoked [env: FAAM_CONFIG]
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,
}

impl TrustFlags {
    /// The flags', and what the configuration says where they say nothing.
    pub(super) fn trust(&self) -> anyhow::Result<Trust> {
        let mut settings = serve::image_trust(self.config.as_deref())?;
        if !self.trusted.is_empty() {
            settings.trusted.clone_from(&self.trusted);
        }
        settings.revoked.extend(&self.revoked);
        Ok(Trust::new(&settings.trusted, &settings.revoked)?)
    }
}

/// Say of packages whether a gateway would take them, and whether they fit a device
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    /// Packages
    #[arg(value_name = "FILE", required = true, value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustFlags,
    /// The device that they should fit: sim, or of idcode=, shell=, interface=, kind=, driver_abi= those that differ from it
    #[arg(long, value_name = "DEVICE", value_parser = device)]
    device: Option<DeviceFacts>,
    /// A device of the running gateway, which judges by its own trust: a function, or a card for each of its functions
    #[arg(long, value_name = "NAME", conflicts_with_all = ["device", "security_version_min", "trusted", "revoked", "config"])]
    against: Option<String>,
    #[command(flatten)]
    operator: OperatorFlags,
    /// The least security version to take, as a gateway remembers it
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    security_version_min: u32,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        if let Some(device) = &self.against {
            return against::run(&self.files, device, &self.operator, self.json);
        }
        let trust = self.trust.trust()?;
        let mut judged = Vec::new();
        for path in &self.files {
            // One byte more than is taken: it is refused as too large, in its words.
            let bytes = read(path, PACKAGE_BYTES_MAX + 1)?;
            judged.push((path, self.judge(&bytes, &trust)));
        }
        let all = judged.iter().all(|(_, verdict)| verdict.is_ok());
        let code = if all {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        };
        if self.json {
            let images: Vec<_> = judged
                .iter()
                .map(|(path, verdict)| as_json(path, verdict))
                .collect();
            print_json(&json!({ "images": images }))?;
            return Ok(code);
        }
        let text: String = judged
            .iter()
            .map(|(path, verdict)| line(path, verdict))
            .collect();
        print(&text)?;
        Ok(code)
    }

    fn judge(&self, bytes: &[u8], trust: &Trust) -> Result<Manifest, ImageRefusal> {
        let package = Package::read(bytes, trust)?;
        let manifest = package.manifest();
        let mut floors = Floors::default();
        floors.raise(manifest.kernel, self.security_version_min);
        package.not_older(&floors)?;
        if let Some(device) = &self.device {
            device.check(manifest)?;
        }
        Ok(manifest.clone())
    }
}

fn as_json(path: &Path, verdict: &Result<Manifest, ImageRefusal>) -> Value {
    match verdict {
        Ok(manifest) => json!({ "file": path, "accepted": true, "manifest": manifest }),
        Err(refusal) => json!({
            "file": path, "accepted": false, "reason": refusal.code(), "detail": refusal.to_string(),
        }),
    }
}

fn line(path: &Path, verdict: &Result<Manifest, ImageRefusal>) -> String {
    let file = path.display();
    match verdict {
        Ok(manifest) => {
            let notes: String = manifest
                .notes
                .iter()
                .map(|note| format!("      {note}\n"))
                .collect();
            format!(
                "ok      {file}: {} {} ({}) for {} {}, security version {}, signed by {}\n{notes}",
                manifest.name,
                manifest.version,
                manifest.kind,
                manifest.target.family,
                manifest.target.part,
                manifest.security_version,
                manifest.signer,
            )
        }
        Err(refusal) => format!("REFUSED {file}: {}: {refusal}\n", refusal.code()),
    }
}

/// A device in words.
fn device(text: &str) -> Result<DeviceFacts, String> {
    let base = DeviceFacts::simulated();
    if text == "sim" {
        return Ok(base);
    }
    let (mut idcode, mut shell, mut kind) = (base.idcode, base.shell, base.takes);
    let (mut interface, mut driver_abi) = (base.interface, base.driver_abi);
    for part in text.split(',') {
        let bad = |what: &dyn std::fmt::Display| {
            format!(
                "{part:?}: {what}; expected sim, or as in idcode=0x41113043,shell=0x00010000,kind=partial,interface=UUID,driver_abi=1.0"
            )
        };
        let Some((key, value)) = part.split_once('=') else {
            return Err(bad(&"no key and value"));
        };
        match key {
            "idcode" => idcode = value.parse::<Idcode>().map_err(|error| bad(&error))?.0,
            "shell" => shell = number(value).ok_or_else(|| bad(&"no number"))?,
            "interface" => {
                interface = Uuid::parse_str(value).map_err(|error| bad(&error))?;
            }
            "driver_abi" => driver_abi = value.parse::<Abi>().map_err(|error| bad(&error))?,
            "kind" => {
                kind = match value {
                    "full" => ImageKind::Full,
                    "partial" => ImageKind::Partial,
                    "sim" => ImageKind::Sim,
                    _ => return Err(bad(&"no kind")),
                }
            }
            _ => return Err(bad(&"no such key")),
        }
    }
    let facts = DeviceFacts::of_idcode(idcode, shell, kind);
    Ok(DeviceFacts {
        interface,
        driver_abi,
        ..facts
    })
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_or_described() {
        assert_eq!(device("sim"), Ok(DeviceFacts::simulated()));
        let other = device("idcode=0x41112043,shell=7,kind=partial,driver_abi=1.4").expect("good");
        assert_eq!(other.part.as_deref(), Some("LFE5U-45F"));
        assert_eq!((other.shell, other.takes), (7, ImageKind::Partial));
        assert_eq!(other.driver_abi, Abi { major: 1, minor: 4 });
        for bad in ["", "simulated", "idcode=1", "kind=x", "shell=", "speed=6"] {
            assert!(device(bad).is_err(), "{bad}");
        }
    }
}
