//! Signing keys as files.
//!
//! Invariants: a private key is written for its owner alone (0600), never over a file that is there, and never printed; what is read
//! is bounded.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use faam_gateway::credentials::secret_file;
use faam_image::SigningKey;
use serde_json::json;

use crate::operator::{print, print_json};

const EXAMPLES: &str = "\
Examples:
  faam image keygen --out release.key
      prints the public key: one line for images.trust in the configuration
  faam image keygen --out ci.key --json
      {\"key\",\"public\",\"file\"}; the id in key is what images.revoked takes as key:ID";

/// Make a key pair that signs images
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Keygen {
    /// Where the private key goes; 0600. Who has it signs
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Keygen {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let key = SigningKey::generate()?;
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let mut file = match options.open(&self.out) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => bail!(
                "{} exists, and a key that is gone signs nothing any more: name another file",
                self.out.display()
            ),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot make {}", self.out.display()));
            }
        };
        file.write_all(key.private_line().as_bytes())?;
        file.sync_all()?;
        let public = key.public();
        match self.json {
            true => print_json(&json!({
                "key": public.id(), "public": public.to_string(), "file": self.out,
            })),
            false => print(&format!("{public}\n")),
        }
    }
}

/// The key in a file.
pub(super) fn read(path: &Path) -> anyhow::Result<SigningKey> {
    let Some(text) = secret_file::read(path)? else {
        bail!(
            "there is no key {}: `faam image keygen --out {0}` makes one",
            path.display()
        );
    };
    SigningKey::from_private_line(&text)
        .with_context(|| format!("{} holds no signing key", path.display()))
}
