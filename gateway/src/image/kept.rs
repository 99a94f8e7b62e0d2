//! Images that a gateway keeps: `faam image ls`, `add` and `rm`; and `ls` of files.
//!
//! Invariant: of a file nothing is listed before its signature holds; what a gateway lists it has verified.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use axum::http::Method;
use clap::Args;
use faam_image::{PACKAGE_BYTES_MAX, Package};
use serde_json::{Value, json};

use super::read;
use super::verify::TrustFlags;
use crate::admin_client::{AdminClient, OperatorFlags, in_path};
use crate::columns::columns;
use crate::operator::{plain, print, print_json};

/// Where they are asked for.
const PATH: &str = "/admin/v1/images";
/// How long a gateway may take to verify and keep one.
const ADD_WAIT: Duration = Duration::from_secs(60);

/// What is listed: heading, member.
const LIST: [(&str, &str); 8] = [
    ("IMAGE", "image"),
    ("NAME", "name"),
    ("VERSION", "version"),
    ("KIND", "kind"),
    ("PART", "part"),
    ("SERVES", "serves"),
    ("SECURITY", "security_version"),
    ("SIGNED BY", "signer"),
];

const LS_EXAMPLES: &str = "\
Examples:
  faam image ls
      those of the gateway whose data directory is ./data
  faam image ls --json
      the same for a program
  faam image ls *.fgi --trust ed25519:...
      of files; no gateway is asked";

/// List a gateway's images, or those in files
#[derive(Debug, Args)]
#[command(after_help = LS_EXAMPLES)]
pub(super) struct Ls {
    /// Packages; without, the gateway's
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustFlags,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Ls {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let answer =
            match self.files.as_slice() {
                [] => AdminClient::new(&self.operator.data_dir).get(PATH)?,
                files => {
                    let trust = self.trust.trust()?;
                    let mut images = Vec::new();
                    for path in files {
                        let bytes = read(path, PACKAGE_BYTES_MAX + 1)?;
                        images.push(match Package::read(&bytes, &trust) {
                        Ok(package) => with(json!(package.manifest()), [
                            ("file", json!(path)),
                            ("part", json!(package.manifest().target.part)),
                        ]),
                        Err(refusal) => json!({
                            "file": path,
                            "refused": { "code": refusal.code(), "detail": refusal.to_string() },
                        }),
                    });
                    }
                    json!({ "images": images })
                }
            };
        if self.json {
            return print_json(&answer);
        }
        print(&listed(&answer))
    }
}

/// An object with more members.
fn with<const N: usize>(mut object: Value, more: [(&str, Value); N]) -> Value {
    if let Some(members) = object.as_object_mut() {
        let more = more.map(|(name, value)| (name.to_owned(), value));
        members.extend(more);
    }
    object
}

/// For people: a table, and beneath it what is refused and why.
fn listed(answer: &Value) -> String {
    let images = answer.get("images").and_then(Value::as_array);
    let images: Vec<_> = images.into_iter().flatten().collect();
    let is_refused = |image: &&Value| image.get("refused").is_some();
    let (refused, good): (Vec<&Value>, Vec<&Value>) = images.iter().copied().partition(is_refused);
    let mut text = String::new();
    if images.is_empty() {
        text.push_str("There are no images; `faam image add FILE` adds one.\n");
    }
    if !good.is_empty() {
        let mut rows = vec![LIST.map(|(heading, _)| heading.to_owned())];
        rows.extend(
            good.iter()
                .map(|image| LIST.map(|(_, member)| plain(image.get(member)))),
        );
        text.push_str(&columns(&rows));
    }
    for image in refused {
        let name = image.get("image").or(image.get("file"));
        let word = |member: &str| plain(image.pointer(member));
        text.push_str(&format!(
            "REFUSED {}: {}: {}\n",
            plain(name),
            word("/refused/code"),
            word("/refused/detail")
        ));
    }
    if answer.get("trusted_keys") == Some(&json!(0)) {
        text.push_str("No key is trusted, so that no image is taken: set images.trust in the configuration.\n");
    }
    text
}

const ADD_EXAMPLES: &str = "\
Examples:
  faam image add deflate-fast.fgi
      the gateway verifies it by its images.trust, and keeps it
  faam image add deflate-fast.fgi --data-dir /var/lib/faam --json
      to the system's gateway, for a program";

/// Have a gateway keep an image; it has to run
#[derive(Debug, Args)]
#[command(after_help = ADD_EXAMPLES)]
pub(super) struct Add {
    /// The package
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Add {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let bytes = read(&self.file, PACKAGE_BYTES_MAX)?;
        let client = AdminClient::new(&self.operator.data_dir);
        let answer = client.upload(PATH, bytes, ADD_WAIT)?;
        if self.json {
            return print_json(&answer);
        }
        let member = |name| plain(answer.get(name));
        print(&format!(
            "{}: {} {}, image {}, security version {}\n",
            self.file.display(),
            member("name"),
            member("version"),
            member("image"),
            member("security_version"),
        ))
    }
}

const RM_EXAMPLES: &str = "\
Examples:
  faam image rm 0a1b2c3d-4e5f-8a1b-8c2d-3e4f5a6b7c8d
      its security version stays remembered: an older image of its kernel is refused still";

/// Remove an image from a gateway
#[derive(Debug, Args)]
#[command(after_help = RM_EXAMPLES)]
pub(super) struct Rm {
    /// Its id, or the name of its kernel for the newest of it
    image: String,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Rm {
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = format!("{PATH}/{}", in_path(&self.image));
        let client = AdminClient::new(&self.operator.data_dir);
        let answer = client.change(Method::DELETE, &path, None)?;
        match self.json {
            true => print_json(&answer),
            false => print(&format!("{}: removed\n", plain(answer.get("removed")))),
        }
    }
}
