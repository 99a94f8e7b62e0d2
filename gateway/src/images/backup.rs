//! Images in a backup of the store, and back from one.
//!
//! Owns what they are called there. Invariants: a security version never falls by a restore: of what the directory remembers and
//! what the backup does the higher one counts; what is in the directory stays; number and bytes are bounded as they are when
//! images are added. It verifies nothing: a gateway does when it starts, by the trust that it has then.

use std::path::Path;

use faam_image::{Floors, PACKAGE_BYTES_MAX};
use faam_store::sqlite::AnnexFile;
use uuid::Uuid;

use super::directory::{FLOORS_BYTES_MAX, ImageDirectory};
use super::{IMAGES_BYTES_MAX, IMAGES_MAX, ImageError};

/// What they are called in a backup: as in the data directory.
const FLOORS_NAME: &str = "images/floors.json";
const PACKAGE_PREFIX: &str = "images/";
const PACKAGE_SUFFIX: &str = ".fgi";

/// The files of a data directory that go into a backup: packages, and behind them which security versions were accepted, so
/// that no package is in it of a later one than that says.
///
/// # Errors
/// The directory cannot be listed.
pub fn backup_files(data_dir: &Path) -> Result<Vec<AnnexFile>, ImageError> {
    files(&ImageDirectory::new(data_dir))
}

/// The same of the directory itself.
pub(super) fn files(directory: &ImageDirectory) -> Result<Vec<AnnexFile>, ImageError> {
    let images = directory.ids()?.into_iter();
    let mut files: Vec<_> = images
        .map(|(image, _)| AnnexFile {
            name: format!("{PACKAGE_PREFIX}{image}{PACKAGE_SUFFIX}"),
            path: directory.path(image),
            bytes_max: PACKAGE_BYTES_MAX as u64,
        })
        .collect();
    files.push(AnnexFile {
        name: FLOORS_NAME.to_owned(),
        path: directory.floors_path(),
        bytes_max: FLOORS_BYTES_MAX as u64,
    });
    Ok(files)
}

/// What a file in a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupPart {
    /// Which security versions were accepted.
    Floors,
    /// A package.
    Package(Uuid),
}

impl BackupPart {
    /// By its name; `None` where it is nothing of images.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        if name == FLOORS_NAME {
            return Some(Self::Floors);
        }
        let id = name.strip_prefix(PACKAGE_PREFIX)?;
        let id = id.strip_suffix(PACKAGE_SUFFIX)?;
        let image = Uuid::parse_str(id).ok()?;
        (image.to_string() == id).then_some(Self::Package(image))
    }

    /// The most bytes that it has.
    #[must_use]
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Floors => FLOORS_BYTES_MAX,
            Self::Package(_) => PACKAGE_BYTES_MAX,
        }
    }
}

/// A data directory into which images come back. No gateway may run in it.
#[derive(Debug)]
pub struct ReturningImages {
    directory: ImageDirectory,
    floors: Floors,
}

impl ReturningImages {
    /// Of a data directory.
    ///
    /// # Errors
    /// Which security versions were accepted in it cannot be told: nobody could say whether one falls.
    pub fn open(data_dir: &Path) -> Result<Self, ImageError> {
        let directory = ImageDirectory::new(data_dir);
        let floors = directory.floors()?;
        Ok(Self { directory, floors })
    }

    /// Takes over what a backup remembers. How many kernels' versions rose.
    ///
    /// # Errors
    /// It cannot be read, or the disk.
    pub fn floors(&mut self, bytes: &[u8]) -> Result<usize, ImageError> {
        let theirs: Floors = serde_json::from_slice(bytes).map_err(|error| ImageError::Floors {
            path: FLOORS_NAME.into(),
            what: error.to_string(),
        })?;
        let risen = self.floors.raise_all(&theirs);
        let risen = risen.ok_or(ImageError::TooManyKernels)?;
        if risen > 0 {
            self.directory.write_floors(&self.floors)?;
        }
        Ok(risen)
    }

    /// Whether a package is here already.
    ///
    /// # Errors
    /// The directory cannot be listed.
    pub fn has(&self, image: Uuid) -> Result<bool, ImageError> {
        let images = self.directory.ids()?;
        Ok(images.iter().any(|(here, _)| *here == image))
    }

    /// Keeps a package that is not here.
    ///
    /// # Errors
    /// No room.
    pub fn package(&self, image: Uuid, bytes: &[u8]) -> Result<(), ImageError> {
        let images = self.directory.ids()?;
        let there: u64 = images.iter().map(|(_, bytes)| bytes).sum();
        let count = images.len();
        if count >= IMAGES_MAX || there.saturating_add(bytes.len() as u64) > IMAGES_BYTES_MAX {
            return Err(ImageError::Full {
                count,
                bytes: there,
            });
        }
        self.directory.write(image, bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_backup_are_those_of_images_and_no_other_place() {
        let image = Uuid::from_u128(7);
        let data = tempfile::tempdir().expect("a directory");
        let directory = ImageDirectory::new(data.path());
        directory.write(image, b"a package").expect("written");
        let files = backup_files(data.path()).expect("listed");
        let parts: Vec<_> = files
            .iter()
            .map(|file| BackupPart::of(&file.name))
            .collect();
        assert_eq!(
            parts,
            [Some(BackupPart::Package(image)), Some(BackupPart::Floors)]
        );
        for name in [
            "floors.json",
            "images/../floors.json",
            "images/../00000000-0000-0000-0000-000000000007.fgi",
            "images/00000000000000000000000000000007.fgi",
            "images/0000000A-0000-0000-0000-000000000007.fgi",
            "images/.fgi",
            "",
        ] {
            assert_eq!(BackupPart::of(name), None, "{name}");
        }
    }

    #[test]
    fn what_a_restore_brings_never_takes_a_version_back() {
        let kernel = Uuid::from_u128(1);
        let data = tempfile::tempdir().expect("a directory");
        let directory = ImageDirectory::new(data.path());
        let mut here = Floors::default();
        here.raise(kernel, 5);
        directory.write_floors(&here).expect("written");
        let mut theirs = Floors::default();
        theirs.raise(kernel, 3);
        theirs.raise(Uuid::from_u128(2), 2);
        let bytes = serde_json::to_vec(&theirs).expect("JSON");
        let mut images = ReturningImages::open(data.path()).expect("opens");
        assert_eq!(images.floors(&bytes).expect("read"), 1);
        let now = directory.floors().expect("read");
        assert_eq!((now.least(kernel), now.least(Uuid::from_u128(2))), (5, 2));
        // What cannot be told any more, on either side, is not guessed.
        images.floors(b"{").expect_err("no versions");
        assert_eq!(directory.floors().expect("read"), now);
        std::fs::write(directory.floors_path(), "{").expect("written");
        let error = ReturningImages::open(data.path()).expect_err("damaged");
        assert!(error.to_string().contains("floors.json"), "{error}");
    }
}
