//! A package from its description.
//!
//! Invariants: the same description, files and key give the same bytes; what is built is read back before it is handed out, so that
//! nothing is built that would be refused everywhere. It knows no files and no clock.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use thiserror::Error;
use uuid::Uuid;

use crate::archive::{append, finish};
use crate::description::Description;
use crate::device::INTERFACE;
use crate::kernel_uuid;
use crate::key::{KeyError, KeyId, SigningKey, hex};
use crate::manifest::{FileEntry, ImageKind, MANIFEST_FILE, Manifest, SCHEMA};
use crate::package::Package;
use crate::payload::SlotPayload;
use crate::refusal::ImageRefusal;
use crate::signature::{SIGNATURE_FILE, Signature};
use crate::trust::Trust;

/// Of a bitstream's file.
const BITSTREAM_FILE: &str = "bitstream.bit";
/// Of a simulated slot's payload.
const SIMULATED_FILE: &str = "payload.bin";
/// Domain of the hash of sources.
const SOURCE_DOMAIN: &[u8] = b"faam-image-source\0";

/// Why nothing was built.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BuildError {
    /// No bitstream, and none that could be made.
    #[error(
        "an image of kind {kind} needs a bitstream: give it with --bitstream{}",
        match .kind { ImageKind::Sim => ", or set simulated_bytes in the description", _ => "" }
    )]
    NoBitstream {
        /// Of which kind.
        kind: ImageKind,
    },
    /// Two files of one name.
    #[error("two files are named {name}: rename one of them")]
    SameName {
        /// Which.
        name: String,
    },
    /// It would be refused.
    #[error("what comes of the description would be refused")]
    Refused(#[from] ImageRefusal),
    /// The key does not sign.
    #[error("the key does not sign")]
    Key(#[from] KeyError),
    /// It cannot be written as JSON.
    #[error("the manifest cannot be written: {what}")]
    Encode {
        /// Why not.
        what: String,
    },
}

impl From<serde_json::Error> for BuildError {
    fn from(error: serde_json::Error) -> Self {
        Self::Encode {
            what: error.to_string(),
        }
    }
}

/// What goes into a package beside its description.
#[derive(Clone, Debug, Default)]
pub struct Ingredients {
    /// The bitstream; of kind sim it may be left out.
    pub bitstream: Option<Vec<u8>>,
    /// Reports: names as they are in `reports/`, and bytes.
    pub reports: Vec<(String, Vec<u8>)>,
    /// What it is built from: names and bytes, for the hash of sources.
    pub sources: Vec<(String, Vec<u8>)>,
}

/// Builds and signs one.
///
/// # Errors
/// [`BuildError`]
pub fn build(
    description: &Description,
    ingredients: &Ingredients,
    key: &SigningKey,
) -> Result<Vec<u8>, BuildError> {
    let (payload_name, payload) = payload(description, ingredients)?;
    let mut files = vec![(payload_name.to_owned(), payload)];
    let reports = ingredients.reports.iter().cloned();
    files
        .extend(reports.map(|(name, bytes)| (format!("{}{name}", crate::archive::REPORTS), bytes)));
    // The payload first; beside it the order in which they are given decides nothing.
    if let Some((_, reports)) = files.split_first_mut() {
        reports.sort();
    }
    let mut names = BTreeSet::new();
    for (name, _) in &files {
        if !names.insert(name) {
            return Err(BuildError::SameName { name: name.clone() });
        }
    }
    let listed = files.iter().map(|(name, bytes)| FileEntry {
        name: name.clone(),
        bytes: bytes.len() as u64,
        sha256: hex(&Sha256::digest(bytes)),
    });
    let Description {
        name,
        version,
        kernel,
        interface,
        driver_abi_min,
        security_version,
        kind,
        simulated_bytes: _,
        shell,
        target,
        pci,
        clock,
        area,
        seed,
        engines,
        serves,
        codecs,
        algorithm,
        golden,
        sources: _,
        tools,
        notes,
    } = description.clone();
    let manifest = Manifest {
        schema: SCHEMA,
        kernel: kernel.unwrap_or_else(|| kernel_uuid(&name)),
        name,
        version,
        image: Uuid::nil(),
        interface: interface.unwrap_or(INTERFACE),
        driver_abi_min,
        security_version,
        signer: KeyId::NONE,
        kind,
        shell,
        target,
        pci,
        clock,
        area,
        seed,
        engines,
        serves,
        codecs,
        algorithm,
        golden,
        payload: payload_name.to_owned(),
        files: listed.collect(),
        source_sha256: source_sha256(&ingredients.sources),
        tools,
        notes,
    };
    let image = manifest.derived_image()?;
    let manifest = Manifest { image, ..manifest };
    let parts: Vec<_> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    signed(manifest, &parts, key)
}

/// The same image, signed by another key. `trust` is of whom it is taken over.
///
/// # Errors
/// [`BuildError::Refused`] where it is none that `trust` takes.
pub fn resign(bytes: &[u8], trust: &Trust, key: &SigningKey) -> Result<Vec<u8>, BuildError> {
    let package = Package::read(bytes, trust)?;
    let files: Vec<_> = package.files().collect();
    signed(package.manifest().clone(), &files, key)
}

/// What is programmed, and what it is called.
fn payload(
    description: &Description,
    ingredients: &Ingredients,
) -> Result<(&'static str, Vec<u8>), BuildError> {
    let kind = description.kind;
    let no_bitstream = || BuildError::NoBitstream { kind };
    let given = ingredients.bitstream.clone();
    if kind != ImageKind::Sim {
        return Ok((BITSTREAM_FILE, given.ok_or_else(no_bitstream)?));
    }
    // Frames of an empty region, where nothing else is given: a load goes through as many.
    let frames = |bytes: u32| vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    let bytes_max = u32::try_from(crate::archive::PACKAGE_BYTES_MAX).unwrap_or(u32::MAX);
    let made = description
        .simulated_bytes
        .map(|bytes| frames(bytes.min(bytes_max)));
    let bitstream = given.or(made).ok_or_else(no_bitstream)?;
    let serves = description
        .serves
        .iter()
        .fold(0, |bits, job| bits | job.bit());
    let payload = SlotPayload {
        serves,
        idcode: description.target.idcode.0,
        shell: description.shell.id,
        kernel: description
            .kernel
            .unwrap_or_else(|| kernel_uuid(&description.name)),
        bitstream: &bitstream,
    };
    let encoded = payload.encode().ok_or_else(no_bitstream)?;
    Ok((SIMULATED_FILE, encoded))
}

/// Over names, lengths and bytes, by name.
fn source_sha256(sources: &[(String, Vec<u8>)]) -> String {
    let mut sources: Vec<_> = sources.iter().collect();
    sources.sort();
    let mut hasher = Sha256::new().chain_update(SOURCE_DOMAIN);
    for (name, bytes) in sources {
        for part in [name.as_bytes(), bytes] {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
    }
    hex(&hasher.finalize())
}

fn signed(
    manifest: Manifest,
    files: &[(&str, &[u8])],
    key: &SigningKey,
) -> Result<Vec<u8>, BuildError> {
    let manifest = Manifest {
        signer: key.public().id(),
        ..manifest
    };
    let bytes = assemble(&manifest.encode()?, files, key)?;
    let mut trust = Trust::default();
    trust.add(key.public());
    Package::read(&bytes, &trust)?;
    Ok(bytes)
}

/// An archive of a manifest of these bytes, whatever they are, signed.
pub(crate) fn assemble(
    manifest: &[u8],
    files: &[(&str, &[u8])],
    key: &SigningKey,
) -> Result<Vec<u8>, KeyError> {
    let signature = Signature::make(manifest, key)?;
    let mut archive = Vec::new();
    append(&mut archive, MANIFEST_FILE, manifest);
    append(&mut archive, SIGNATURE_FILE, &signature.file());
    for (name, bytes) in files {
        append(&mut archive, name, bytes);
    }
    finish(&mut archive);
    Ok(archive)
}
