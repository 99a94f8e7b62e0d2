//! `faam image`: packages built, signed, verified; and those that a gateway keeps.
//!
//! Owns the words of the command line. Invariant: whoever builds, signs or verifies needs no gateway, unless it is to be compared with a
//! gateway's device; what is refused is said in the
//! package's own words, and the exit status is 1. What a package is belongs to `faam_image`.

mod against;
mod build;
mod kept;
mod key_file;
mod slots;
mod verify;

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};

use self::build::{Build, Sign};
use self::kept::{Add, Ls, Rm};
use self::key_file::Keygen;
use self::slots::{Evict, Load};
use self::verify::Verify;

const EXAMPLES: &str = "\
Examples:
  faam image keygen --out release.key
      a key pair: release.key signs, the line that is printed goes into images.trust
  faam image build --manifest bitstreams/images/deflate-fast.toml --key release.key --out deflate-fast.fgi
      a package; the same inputs give the same bytes
  faam image verify deflate-fast.fgi --trust ed25519:... --device sim
      what a gateway would say of it, before it is sent to one
  faam image add deflate-fast.fgi && faam image ls
      kept by the gateway, which verifies it now and before each load
  faam image load deflate-fast --device fpga0.1
      into a slot of function 1 that holds nothing; `faam image evict --device fpga0.1 --slot 0` empties it again";

/// Build, sign and verify image packages; list, add and remove those of a gateway, load them into slots
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Image {
    #[command(subcommand)]
    command: ImageCommand,
}

#[derive(Debug, Subcommand)]
enum ImageCommand {
    Keygen(Keygen),
    Build(Build),
    Sign(Sign),
    Verify(Verify),
    Ls(Ls),
    Add(Add),
    Rm(Rm),
    Load(Load),
    Evict(Evict),
}

impl Image {
    /// Does it.
    ///
    /// # Errors
    /// A refusal, in its words.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            ImageCommand::Keygen(keygen) => keygen.run(),
            ImageCommand::Build(build) => build.run(),
            ImageCommand::Sign(sign) => sign.run(),
            ImageCommand::Verify(verify) => verify.run(),
            ImageCommand::Ls(ls) => ls.run(),
            ImageCommand::Add(add) => add.run(),
            ImageCommand::Rm(rm) => rm.run(),
            ImageCommand::Load(load) => load.run(),
            ImageCommand::Evict(evict) => evict.run(),
        }
    }
}

/// A file of at most so many bytes.
fn read(path: &Path, bytes_max: usize) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(bytes_max as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| {
            format!(
                "cannot read {}: give a file that can be read",
                path.display()
            )
        })?;
    if bytes.len() > bytes_max {
        bail!(
            "{} has more than {bytes_max} bytes, which is the most here; is it the right file?",
            path.display()
        );
    }
    Ok(bytes)
}

/// Writes a file as a whole: whoever reads sees the old one or the new.
fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let write = || {
        let mut file = tempfile::Builder::new()
            .prefix(".faam-image-")
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))
            .tempfile_in(directory)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)
    };
    write().map(|_| ()).with_context(|| {
        format!(
            "cannot write {}: name a place that can be written",
            path.display()
        )
    })
}
