//! An image as it is described before it is built: the manifest's members, less those that follow from what goes in.
//!
//! Owns the TOML that `faam image build --manifest` takes. Invariant: a key that is not known is refused with its place. It does not
//! know files.

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

use crate::manifest::{Abi, Clock, Codecs, Golden, ImageKind, PciId, Serves, Shell, Target};

/// Bytes of a description.
pub(crate) const DESCRIPTION_BYTES_MAX: usize = 64 << 10;

/// See the module's head, and [`crate::Manifest`] for what its members are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    /// The kernel's name.
    pub name: String,
    /// The image's version.
    pub version: String,
    /// The kernel's id; the one of its name where it is left out.
    pub kernel: Option<Uuid>,
    /// The interface; this release's where it is left out.
    pub interface: Option<Uuid>,
    /// The least driver ABI.
    pub driver_abi_min: Abi,
    /// The security version.
    pub security_version: u32,
    /// How it is loaded.
    pub kind: ImageKind,
    /// Of kind sim: how many bytes stand for the region's frames, where no bitstream is given.
    pub simulated_bytes: Option<u32>,
    /// Beside what.
    pub shell: Shell,
    /// Into what.
    pub target: Target,
    /// Functions that may hold it.
    #[serde(default)]
    pub pci: Vec<PciId>,
    /// Its clock.
    pub clock: Clock,
    /// Resources.
    #[serde(default)]
    pub area: BTreeMap<String, u64>,
    /// The placer's seed.
    #[serde(default)]
    pub seed: u64,
    /// Engines.
    pub engines: u16,
    /// Jobs.
    pub serves: Vec<Serves>,
    /// What the engines do.
    pub codecs: Codecs,
    /// The specification's revision.
    pub algorithm: String,
    /// A job whose output is known; a card runs it before the kernel serves, unless it is a count.
    pub golden: Golden,
    /// Files that it is built from, relative to the description: their hash is in the manifest.
    #[serde(default)]
    pub sources: Vec<String>,
    /// Tools.
    #[serde(default)]
    pub tools: BTreeMap<String, String>,
    /// What has to be said of it.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Description {
    /// From TOML.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn from_toml(text: &str) -> Result<Self, String> {
        if text.len() > DESCRIPTION_BYTES_MAX {
            return Err(format!(
                "the description has {} bytes: expected {DESCRIPTION_BYTES_MAX} at most; is it the right file?",
                text.len()
            ));
        }
        toml::from_str(text).map_err(|error| error.to_string())
    }
}
