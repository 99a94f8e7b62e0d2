//! `faam image build` and `faam image sign`.
//!
//! Invariants: the same files and key give the same bytes; nothing is written that would be refused everywhere.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use faam_image::{
    Description, Ingredients, Manifest, PACKAGE_BYTES_MAX, Package, PublicKey, SigningKey, Trust,
};
use serde_json::json;

use super::{key_file, read, write};
use crate::operator::{print, print_json};
use crate::quantity::show_bytes;

/// Bytes of a description.
const DESCRIPTION_BYTES_MAX: usize = 64 << 10;
/// Bytes of a file that an image is built from.
const SOURCE_BYTES_MAX: usize = 16 << 20;

const BUILD_EXAMPLES: &str = "\
Examples:
  faam image build --manifest bitstreams/images/inflate.toml --key dev.key --out inflate.fgi
      a simulated card's image: what stands for its frames is made
  faam image build --manifest engine.toml --bitstream engine.bit --report timing.json --report area.json --key release.key \
--out engine.fgi
      a bitstream with its reports
  faam image build --manifest engine.toml --bitstream engine.bit --key release.key --out engine.fgi --json
      {\"file\",\"bytes\",\"manifest\"}, for a program";

/// Build a package and sign it; the same inputs give the same bytes
#[derive(Debug, Args)]
#[command(after_help = BUILD_EXAMPLES)]
pub(super) struct Build {
    /// The image's description, TOML, such as those in bitstreams/images
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    manifest: PathBuf,
    /// What is programmed; of kind sim it may be left out
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    bitstream: Option<PathBuf>,
    /// A report that goes with it, by its file's name; may be given several times
    #[arg(long = "report", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    reports: Vec<PathBuf>,
    /// A file that it is built from, beside those that the description names: for the manifest's source hash; may be given several times
    #[arg(long = "source", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    sources: Vec<PathBuf>,
    /// The clock at which timing closed, kHz, in the place of the description's
    #[arg(long, value_name = "NUMBER")]
    achieved_khz: Option<u32>,
    /// A resource that it takes, in the place of the description's; may be given several times
    #[arg(long = "area", value_name = "NAME=NUMBER", value_parser = area)]
    area: Vec<(String, u64)>,
    /// A tool and its version, in the place of the description's; may be given several times
    #[arg(long = "tool", value_name = "NAME=VERSION", value_parser = pair)]
    tools: Vec<(String, String)>,
    /// The private key that signs it, as `faam image keygen` made it
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    key: PathBuf,
    /// The package to write
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Build {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let text = read(&self.manifest, DESCRIPTION_BYTES_MAX)?;
        let text = String::from_utf8_lossy(&text);
        let mut description = Description::from_toml(&text).map_err(|error| {
            anyhow::anyhow!(
                "{} describes no image: {error}; correct it",
                self.manifest.display()
            )
        })?;
        if self.achieved_khz.is_some() {
            description.clock.achieved_khz = self.achieved_khz;
        }
        description.area.extend(self.area.iter().cloned());
        description.tools.extend(self.tools.iter().cloned());
        let key = key_file::read(&self.key)?;
        let bitstream = self.bitstream.as_deref();
        let bitstream = bitstream.map(|path| read(path, PACKAGE_BYTES_MAX));
        let named = |path: &PathBuf, bytes_max| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            anyhow::Ok((name.into_owned(), read(path, bytes_max)?))
        };
        let reports = self.reports.iter();
        let reports = reports.map(|path| named(path, PACKAGE_BYTES_MAX));
        let given = self.sources.iter();
        let given = given.map(|path| named(path, SOURCE_BYTES_MAX));
        let beside = self.manifest.parent().unwrap_or(Path::new("."));
        let sources = description.sources.iter().map(|name| {
            let bytes = read(&beside.join(name), SOURCE_BYTES_MAX)?;
            Ok((name.clone(), bytes))
        });
        let ingredients = Ingredients {
            bitstream: bitstream.transpose()?,
            reports: reports.collect::<anyhow::Result<_>>()?,
            sources: sources.chain(given).collect::<anyhow::Result<_>>()?,
        };
        let bytes = faam_image::build(&description, &ingredients, &key)
            .with_context(|| format!("{} is not built", self.out.display()))?;
        written(&self.out, &bytes, &key, "built", self.json)
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=');
    let pair = pair.filter(|(name, value)| !name.is_empty() && !value.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| format!("expected NAME=VALUE, got {text:?}"))
}

fn area(text: &str) -> Result<(String, u64), String> {
    let (name, number) = pair(text)?;
    let number = number.parse();
    number
        .map(|number| (name, number))
        .map_err(|_| format!("expected NAME=NUMBER, as in lut4=8900, got {text:?}"))
}

const SIGN_EXAMPLES: &str = "\
Examples:
  faam image sign engine.fgi --from ed25519:... --key release.key --out released.fgi
      takes over what the key of --from signed: the same image, which now those take who trust release.key";

/// Take a package over: sign it with another key
#[derive(Debug, Args)]
#[command(after_help = SIGN_EXAMPLES)]
pub(super) struct Sign {
    /// The package
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// The public key that it is signed by now: nobody signs what nobody answers for
    #[arg(long, value_name = "KEY")]
    from: PublicKey,
    /// The private key that signs it
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    key: PathBuf,
    /// The package to write; may be the same file
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    out: PathBuf,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Sign {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let bytes = read(&self.file, PACKAGE_BYTES_MAX)?;
        let key = key_file::read(&self.key)?;
        let mut trust = Trust::default();
        trust.add(self.from);
        let bytes = faam_image::resign(&bytes, &trust, &key)
            .with_context(|| format!("{} is not signed", self.file.display()))?;
        written(&self.out, &bytes, &key, "signed", self.json)
    }
}

/// Writes a package and says what it is.
fn written(
    out: &Path,
    bytes: &[u8],
    key: &SigningKey,
    done: &str,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let mut trust = Trust::default();
    trust.add(key.public());
    let package = Package::read(bytes, &trust)?;
    let manifest: &Manifest = package.manifest();
    if package.payload().is_empty() {
        bail!("the bitstream is empty: give the file that the tools made");
    }
    write(out, bytes)?;
    if json {
        return print_json(&json!({ "file": out, "bytes": bytes.len(), "manifest": manifest }));
    }
    print(&format!(
        "{}: {done}; {} {} ({}), {}, image {}, security version {}, signed by {}\n",
        out.display(),
        manifest.name,
        manifest.version,
        manifest.kind,
        show_bytes(bytes.len() as u64),
        manifest.image,
        manifest.security_version,
        manifest.signer,
    ))
}
