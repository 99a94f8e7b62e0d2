//! A package read: position, signature, manifest, files, in that order.
//!
//! Invariants: of a package only two headers, two sizes and the signature's line are looked at before the signature over the
//! manifest holds under a trusted key; of its files none is handed out whose size and SHA-256 are not the manifest's; nothing is
//! copied. Only [`intact_image`] asks for no signature, and hands nothing out. What may be loaded besides (versions, devices) is asked for with [`Package::not_older`] and
//! [`crate::DeviceFacts::check`].

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::archive::{Archive, Entry, MANIFEST_BYTES_MAX, PACKAGE_BYTES_MAX};
use crate::key::{KeyId, hex};
use crate::manifest::{FileEntry, ImageKind, MANIFEST_FILE, Manifest};
use crate::payload::SlotPayload;
use crate::refusal::ImageRefusal;
use crate::signature::{SIGNATURE_FILE, SIGNATURE_FILE_BYTES, Signature, message};
use crate::trust::{Floors, Trust};

/// A package whose signature and files hold.
#[derive(Clone, Debug)]
pub struct Package<'a> {
    manifest: Manifest,
    files: Vec<Entry<'a>>,
}

impl<'a> Package<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn read(bytes: &'a [u8], trust: &Trust) -> Result<Self, ImageRefusal> {
        let mut archive = Archive::open(bytes, MANIFEST_FILE)?;
        let manifest = due(&mut archive, MANIFEST_FILE, MANIFEST_BYTES_MAX)?;
        let signature = due(&mut archive, SIGNATURE_FILE, SIGNATURE_FILE_BYTES)?;
        let signer = verified(manifest, signature, trust)?;
        let manifest = Manifest::parse(manifest)?;
        if manifest.signer != signer {
            return Err(ImageRefusal::Resigned {
                named: manifest.signer,
                by: signer,
            });
        }
        let files = files(&mut archive, &manifest.files)?;
        let package = Self { manifest, files };
        package.check_payload()?;
        match trust.is_revoked_image(package.manifest.image) {
            true => Err(ImageRefusal::RevokedImage {
                image: package.manifest.image,
                name: package.manifest.name,
            }),
            false => Ok(package),
        }
    }

    /// What it says of itself.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// What is programmed.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        self.files.first().map_or(&[], |file| file.data)
    }

    /// Every file with its name, the payload first.
    pub fn files(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.files.iter().map(|file| (file.name, file.data))
    }

    /// Whether its kernel was accepted in a later security version already.
    ///
    /// # Errors
    /// [`ImageRefusal::Older`]
    pub fn not_older(&self, floors: &Floors) -> Result<(), ImageRefusal> {
        let Manifest {
            kernel,
            security_version: got,
            name,
            ..
        } = &self.manifest;
        let least = floors.least(*kernel);
        match *got >= least {
            true => Ok(()),
            false => Err(ImageRefusal::Older {
                name: name.clone(),
                got: *got,
                least,
            }),
        }
    }

    /// A simulated slot's payload says what the manifest says.
    fn check_payload(&self) -> Result<(), ImageRefusal> {
        let manifest = &self.manifest;
        if manifest.kind != ImageKind::Sim {
            return Ok(());
        }
        let bad = |what: String| ImageRefusal::BadManifest { what };
        let payload = SlotPayload::parse(self.payload()).map_err(|error| bad(error.to_string()))?;
        let agrees = payload.serves == manifest.serves_bits()
            && payload.idcode == manifest.target.idcode.0
            && payload.shell == manifest.shell.id
            && payload.kernel == manifest.kernel;
        match agrees {
            true => Ok(()),
            false => Err(bad(
                "its payload names another kernel, device, shell or other jobs".to_owned(),
            )),
        }
    }
}

/// Whose image these bytes are, if not a byte of its manifest and its files is another than when it was made: the id is made of
/// the manifest, and that has the files' hashes. It tells of two copies which one is damaged, and nothing else: whether somebody
/// trusted signed it, and whether that signature holds, is not looked at, so that nothing is loaded by it.
///
/// # Errors
/// The first damage.
pub fn intact_image(bytes: &[u8]) -> Result<Uuid, ImageRefusal> {
    let mut archive = Archive::open(bytes, MANIFEST_FILE)?;
    let manifest = due(&mut archive, MANIFEST_FILE, MANIFEST_BYTES_MAX)?;
    let signature = due(&mut archive, SIGNATURE_FILE, SIGNATURE_FILE_BYTES)?;
    let Signature { key: by, .. } = Signature::parse(signature)?;
    let manifest = Manifest::parse(manifest)?;
    if manifest.signer != by {
        let named = manifest.signer;
        return Err(ImageRefusal::Resigned { named, by });
    }
    files(&mut archive, &manifest.files)?;
    Ok(manifest.image)
}

/// The next entry, which has to have this name.
fn due<'a>(
    archive: &mut Archive<'a>,
    name: &str,
    bytes_max: usize,
) -> Result<&'a [u8], ImageRefusal> {
    let out_of_place = |got: String| ImageRefusal::OutOfPlace {
        expected: name.to_owned(),
        got,
    };
    match archive.next(bytes_max)? {
        Some(entry) if entry.name == name => Ok(entry.data),
        Some(entry) => Err(out_of_place(entry.name.to_owned())),
        None => Err(out_of_place("its end".to_owned())),
    }
}

/// Who signed these bytes, if somebody trusted did.
fn verified(manifest: &[u8], signature: &[u8], trust: &Trust) -> Result<KeyId, ImageRefusal> {
    let Signature { key, bytes } = Signature::parse(signature)?;
    if trust.is_revoked_key(key) {
        return Err(ImageRefusal::RevokedKey { key });
    }
    let public = trust.key(key).ok_or_else(|| ImageRefusal::UnknownKey {
        key,
        trusted: trust.keys(),
    })?;
    match public.verifies(&message(manifest), &bytes) {
        true => Ok(key),
        false => Err(ImageRefusal::TamperedManifest { key }),
    }
}

/// What the manifest lists, and nothing else, to the archive's end.
fn files<'a>(
    archive: &mut Archive<'a>,
    listed: &[FileEntry],
) -> Result<Vec<Entry<'a>>, ImageRefusal> {
    let mut files: Vec<Entry<'a>> = Vec::with_capacity(listed.len());
    let is_ours = |name: &str| name == MANIFEST_FILE || name == SIGNATURE_FILE;
    while let Some(entry) = archive.next(PACKAGE_BYTES_MAX)? {
        let name = entry.name;
        if is_ours(name) || files.iter().any(|file| file.name == name) {
            return Err(ImageRefusal::Duplicate {
                name: name.to_owned(),
            });
        }
        if !listed.iter().any(|file| file.name == name) {
            return Err(ImageRefusal::Unlisted {
                name: name.to_owned(),
            });
        }
        // What is listed is there once, so that there is one due for each that came.
        match listed.get(files.len()) {
            Some(due) if due.name == name => unchanged(due, entry.data)?,
            due => {
                return Err(ImageRefusal::OutOfPlace {
                    expected: due.map_or("its end", |due| &due.name).to_owned(),
                    got: name.to_owned(),
                });
            }
        }
        files.push(entry);
    }
    match listed.get(files.len()) {
        None => Ok(files),
        Some(missing) => Err(ImageRefusal::Missing {
            name: missing.name.clone(),
        }),
    }
}

fn unchanged(listed: &FileEntry, data: &[u8]) -> Result<(), ImageRefusal> {
    let got = hex(&Sha256::digest(data));
    let same_size = u64::try_from(data.len()).is_ok_and(|bytes| bytes == listed.bytes);
    match same_size && got == listed.sha256 {
        true => Ok(()),
        false => Err(ImageRefusal::TamperedFile {
            name: listed.name.clone(),
            expected: format!("{} of {} bytes", listed.sha256, listed.bytes),
            got: format!("{got} of {} bytes", data.len()),
        }),
    }
}
