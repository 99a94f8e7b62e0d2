//! Images that this gateway keeps: packages in files of their own, below the data directory.
//!
//! Owns `images/UUID.fgi` and `images/floors.json`, the highest security version of each kernel that was accepted. Invariants:
//! what is kept was verified when it came, and is verified again from its file whenever it is to be programmed, so that what
//! changed on the disk or in the trust meanwhile is noticed before; a security version that was accepted is never gone behind,
//! also after a restart and after its image was removed; a file is whole or not there; number and bytes are bounded. It
//! programs nothing, and knows no slots.
//!
//! Why files and not the store: a package is megabytes that are written once and read as a whole, and is its own proof. The
//! index is made of them at the start.

mod backup;
mod comparison;
mod directory;
mod error;
mod newest;
mod source;
mod summary;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use faam_image::{
    DeviceFacts, Floors, ImageRefusal, Manifest, PACKAGE_BYTES_MAX, Package, PublicKey, Revoked,
    Trust,
};
use faam_store::sqlite::AnnexFile;
use parking_lot::Mutex;
use serde_json::json;
use uuid::Uuid;

pub use self::backup::{BackupPart, Difference, PackageBack, ReturningImages, backup_files};
pub use self::comparison::{Comparison, Point};
use self::directory::ImageDirectory;
pub use self::error::{ImageError, refusal_reasons};
pub use self::summary::ImageSummary;
use crate::error::chain;
use crate::events::{Events, event};
use crate::metrics::Metrics;

/// Images kept at once.
pub const IMAGES_MAX: usize = 256;
/// Bytes of them together.
pub const IMAGES_BYTES_MAX: u64 = 8 << 30;

/// The events about images.
pub mod kind {
    /// One was taken.
    pub const ACCEPTED: &str = "image.accepted";
    /// One was refused: when it came, at the start, or before it would have been programmed.
    pub const REFUSED: &str = "image.refused";
    /// An operator removed one.
    pub const REMOVED: &str = "image.removed";
}

/// Whose images are taken, as a configuration says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageTrust {
    /// Keys that are trusted.
    pub trusted: Vec<PublicKey>,
    /// Keys and images that are not, whoever trusts them.
    pub revoked: Vec<Revoked>,
}

/// See the module's head. Cheap to clone. Its calls read and write files: not for a thread that serves connections.
#[derive(Clone, Debug)]
pub struct ImageStore(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    directory: ImageDirectory,
    trust: Trust,
    events: Events,
    metrics: Arc<Metrics>,
    /// Held while files change, so that index and files agree. Taken before `kept`.
    writing: Mutex<()>,
    /// One package is in memory at a time: this is who may bring it.
    adding: Arc<tokio::sync::Mutex<()>>,
    /// What the files hold. Held for no file: connections are answered from it.
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    floors: Floors,
    images: BTreeMap<Uuid, ImageSummary>,
}

/// An image that may be programmed into the device that it was asked for, now.
#[derive(Clone, Debug)]
pub struct VerifiedImage {
    /// What it says of itself.
    pub manifest: Manifest,
    /// What is programmed.
    pub payload: Arc<[u8]>,
}

impl ImageStore {
    /// The turn of one caller to bring a package; `None` while another's has not ended.
    pub(crate) fn turn_to_add(&self) -> Option<tokio::sync::OwnedMutexGuard<()>> {
        Arc::clone(&self.0.adding).try_lock_owned().ok()
    }

    /// Of a data directory; what is in it is verified.
    ///
    /// # Errors
    /// A directory that cannot be read, or versions that cannot be told any more. A file in it that is no image, or cannot be
    /// read, keeps no gateway from starting.
    pub fn open(
        data_dir: &Path,
        trust: &ImageTrust,
        events: Events,
        metrics: Arc<Metrics>,
    ) -> Result<Self, ImageError> {
        let trust = Trust::new(&trust.trusted, &trust.revoked)?;
        let directory = ImageDirectory::new(data_dir);
        let mut kept = Kept {
            floors: directory.floors()?,
            images: BTreeMap::new(),
        };
        let mut accepted = Vec::new();
        for (id, bytes) in directory.packages()? {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(error) => {
                    let summary = ImageSummary::refused(id, 0, "unreadable", chain(&error));
                    kept.images.insert(id, summary);
                    continue;
                }
            };
            let summary = match Package::read(&bytes, &trust) {
                Ok(package) if package.manifest().image == id => {
                    let manifest = package.manifest();
                    accepted.push((manifest.kernel, manifest.security_version));
                    ImageSummary::of(manifest, bytes.len())
                }
                Ok(package) => {
                    let other = package.manifest().image;
                    ImageSummary::refused(
                        id,
                        bytes.len(),
                        "misnamed",
                        format!(
                            "its file is named {id} and holds the image {other}: remove it, and add it again"
                        ),
                    )
                }
                Err(refusal) => {
                    ImageSummary::refused(id, bytes.len(), refusal.code(), refusal.to_string())
                }
            };
            kept.images.insert(id, summary);
        }
        // A crash may have been between an image and its version. Written: the image may be removed before the next start.
        let mut any_rose = false;
        for (kernel, version) in accepted {
            any_rose |= kept.floors.raise(kernel, version) == Some(true);
        }
        if any_rose {
            directory.write_floors(&kept.floors)?;
        }
        let store = Self(Arc::new(Parts {
            directory,
            trust,
            events,
            metrics,
            writing: Mutex::new(()),
            adding: Arc::default(),
            kept: Mutex::new(kept),
        }));
        store.0.kept.lock().publish(&store.0.metrics);
        for summary in store.list() {
            if let Some(refused) = &summary.refused {
                store.record_refusal(
                    crate::events::GATEWAY,
                    Some(summary.image),
                    refused.code,
                    &refused.detail,
                );
            }
        }
        Ok(store)
    }

    /// Takes a package, if it is one that may ever be programmed here. One that is here already is written anew: its file may have
    /// been damaged.
    ///
    /// # Errors
    /// [`ImageError`]; a refusal is on record.
    pub fn accept(&self, bytes: &[u8], actor: &str) -> Result<ImageSummary, ImageError> {
        let summary = match self.take(bytes) {
            Ok(summary) => summary,
            Err((image, error)) => {
                self.record_error(actor, image, &error);
                return Err(error);
            }
        };
        let detail = json!({
            "name": summary.name, "version": summary.version, "security_version": summary.security_version,
            "signer": summary.signer, "bytes": summary.bytes,
        });
        let subject = summary.image.to_string();
        self.0
            .events
            .record(event(kind::ACCEPTED, actor, &subject, detail));
        Ok(summary)
    }

    /// [`Self::accept`] without the record; an error with the image that it is about, where that is believed.
    fn take(&self, bytes: &[u8]) -> Result<ImageSummary, (Option<Uuid>, ImageError)> {
        let package = Package::read(bytes, &self.0.trust);
        let package = package.map_err(|refusal| (None, refusal.into()))?;
        let manifest = package.manifest();
        let of_it = |error| (Some(manifest.image), error);
        let _writing = self.0.writing.lock();
        // Nobody else changes it meanwhile.
        let mut floors = self.0.kept.lock().floors.clone();
        let not_older = package.not_older(&floors);
        not_older.map_err(|refusal| of_it(refusal.into()))?;
        let summary = ImageSummary::of(manifest, bytes.len());
        self.0.kept.lock().has_room_for(&summary).map_err(of_it)?;
        let rises = floors
            .raise(manifest.kernel, manifest.security_version)
            .ok_or_else(|| of_it(ImageError::TooManyKernels))?;
        let written = self.0.directory.write(manifest.image, bytes);
        written.map_err(of_it)?;
        if rises {
            self.0.directory.write_floors(&floors).map_err(of_it)?;
        }
        let mut kept = self.0.kept.lock();
        kept.floors = floors;
        kept.images.insert(manifest.image, summary.clone());
        kept.publish(&self.0.metrics);
        Ok(summary)
    }

    /// A package compared with what is trusted, revoked and remembered here; nothing is kept, and nothing is on record.
    #[must_use]
    pub fn compare(&self, bytes: &[u8]) -> Comparison {
        let floors = self.0.kept.lock().floors.clone();
        Comparison::of(bytes, &self.0.trust, &floors)
    }

    /// The files that go into a backup.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn backup_files(&self) -> Result<Vec<AnnexFile>, ImageError> {
        backup::files(&self.0.directory)
    }

    /// Every image, by id.
    #[must_use]
    pub fn list(&self) -> Vec<ImageSummary> {
        self.0.kept.lock().images.values().cloned().collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// [`ImageError::Missing`]
    pub fn summary(&self, image: Uuid) -> Result<ImageSummary, ImageError> {
        let kept = self.0.kept.lock();
        let summary = kept.images.get(&image).cloned();
        summary.ok_or(ImageError::Missing { image })
    }

    /// The image of this id, or the newest of the kernel of this name, whatever device it is for: the highest security version, and
    /// of several with it the latest version.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Uuid> {
        self.0.kept.lock().find(name, |_| true)
    }

    /// The same of those that a device of these facts takes; where it takes none, as if they were for it: asked for what it is,
    /// that one says why it is not.
    #[must_use]
    pub fn find_for(&self, name: &str, device: &DeviceFacts) -> Option<Uuid> {
        let kept = self.0.kept.lock();
        kept.find(name, |image| image.fits(device))
            .or_else(|| kept.find(name, |_| true))
    }

    /// Of each kernel the newest image that a device of these facts takes, and that is not superseded.
    #[must_use]
    pub fn list_for(&self, device: &DeviceFacts) -> Vec<ImageSummary> {
        let kept = self.0.kept.lock();
        let takes = |image: &&ImageSummary| {
            image.fits(device) && image.security_version >= kept.floors.least(image.kernel)
        };
        let images = kept.images.values().filter(takes);
        let mut by_name: BTreeMap<&str, Vec<&ImageSummary>> = BTreeMap::new();
        for image in images {
            by_name.entry(&image.name).or_default().push(image);
        }
        let newest = by_name.into_values();
        let newest = newest.filter_map(|images| newest::newest(images.into_iter()));
        newest.cloned().collect()
    }

    /// Whether it may be loaded, and no newer image of its kernel is for the same device, shell and interface.
    #[must_use]
    pub fn is_newest(&self, image: &ImageSummary) -> bool {
        let kept = self.0.kept.lock();
        let others = kept.images.values();
        let newest = newest::newest(others.filter(|other| other.stands_for(image)));
        newest.is_some_and(|newest| newest.image == image.image)
            && image.security_version >= kept.floors.least(image.kernel)
    }

    /// The name of the kernel of this id, where an image of it is kept that may be used.
    #[must_use]
    pub fn name_of(&self, kernel: Uuid) -> Option<String> {
        let kept = self.0.kept.lock();
        let mut images = kept.images.values();
        let image = images.find(|image| image.kernel == kernel && image.refused.is_none());
        image.map(|image| image.name.clone())
    }

    /// The least security version that is taken of a kernel.
    #[must_use]
    pub fn security_version_min(&self, kernel: Uuid) -> u32 {
        self.0.kept.lock().floors.least(kernel)
    }

    /// How many keys are trusted.
    #[must_use]
    pub fn trusted_keys(&self) -> usize {
        self.0.trust.keys()
    }

    /// Removes one. Its security version stays remembered.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn remove(&self, image: Uuid, actor: &str) -> Result<(), ImageError> {
        let writing = self.0.writing.lock();
        self.summary(image)?;
        self.0.directory.remove(image)?;
        let mut kept = self.0.kept.lock();
        kept.images.remove(&image);
        kept.publish(&self.0.metrics);
        drop(kept);
        drop(writing);
        let subject = image.to_string();
        self.0
            .events
            .record(event(kind::REMOVED, actor, &subject, json!({})));
        Ok(())
    }

    /// What an image says of itself, verified from its file.
    ///
    /// # Errors
    /// [`ImageError`]
    pub fn manifest(&self, image: Uuid) -> Result<Manifest, ImageError> {
        self.read(image).map(|image| image.manifest)
    }

    /// An image for a device with these facts, read and verified anew: to be called right before it is programmed, and nothing
    /// else to be programmed than what it gives.
    ///
    /// # Errors
    /// [`ImageError`]; a refusal is on record.
    pub fn verified(&self, image: Uuid, device: &DeviceFacts) -> Result<VerifiedImage, ImageError> {
        let checked = self.read(image).and_then(|verified| {
            device.check(&verified.manifest)?;
            Ok(verified)
        });
        if let Err(error) = &checked {
            self.record_error(crate::events::GATEWAY, Some(image), error);
        }
        checked
    }

    /// An image from its file: signature, files, revocation and version hold, as of now.
    fn read(&self, image: Uuid) -> Result<VerifiedImage, ImageError> {
        self.summary(image)?;
        let bytes = self.0.directory.read(image)?;
        let package = Package::read(&bytes, &self.0.trust)?;
        let manifest = package.manifest();
        if manifest.image != image {
            return Err(ImageError::Misnamed {
                image,
                holds: manifest.image,
            });
        }
        package.not_older(&self.0.kept.lock().floors)?;
        Ok(VerifiedImage {
            manifest: manifest.clone(),
            payload: package.payload().into(),
        })
    }

    /// An error that is a refusal is on record.
    fn record_error(&self, actor: &str, image: Option<Uuid>, error: &ImageError) {
        if let Some(reason) = error.reason() {
            self.record_refusal(actor, image, reason, &chain(error));
        }
    }

    fn record_refusal(&self, actor: &str, image: Option<Uuid>, code: &'static str, detail: &str) {
        self.0.metrics.image_refused(code);
        let subject = image.map(|image| image.to_string()).unwrap_or_default();
        let detail = json!({ "reason": code, "detail": detail });
        self.0
            .events
            .record(event(kind::REFUSED, actor, &subject, detail));
    }
}

impl Kept {
    /// The image of this id, or the newest usable one of this name that passes.
    fn find(&self, name: &str, passes: impl Fn(&ImageSummary) -> bool) -> Option<Uuid> {
        if let Ok(id) = Uuid::parse_str(name) {
            return self.images.contains_key(&id).then_some(id);
        }
        let is_it =
            |image: &&ImageSummary| image.name == name && image.refused.is_none() && passes(image);
        newest::newest(self.images.values().filter(is_it)).map(|image| image.image)
    }

    fn publish(&self, metrics: &Metrics) {
        let images = self.images.values();
        let refused = images.clone().filter(|image| image.refused.is_some());
        let refused = refused.count();
        let bytes = images.fold(0, |bytes: u64, image| bytes.saturating_add(image.bytes));
        metrics.images_kept(self.images.len().saturating_sub(refused), refused, bytes);
    }

    /// Whether another one has its place, besides the one that it replaces.
    fn has_room_for(&self, new: &ImageSummary) -> Result<(), ImageError> {
        let others = self.images.values().filter(|old| old.image != new.image);
        let (count, bytes) = others.fold((0, 0), |(count, bytes): (usize, u64), old| {
            (count + 1, bytes.saturating_add(old.bytes))
        });
        match count < IMAGES_MAX && bytes.saturating_add(new.bytes) <= IMAGES_BYTES_MAX {
            true => Ok(()),
            false => Err(ImageError::Full { count, bytes }),
        }
    }
}

/// A package of any size has its place where there is none.
const _: () = assert!(PACKAGE_BYTES_MAX as u64 <= IMAGES_BYTES_MAX);

impl From<ImageRefusal> for ImageError {
    fn from(refusal: ImageRefusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
}

#[cfg(test)]
mod tests;
