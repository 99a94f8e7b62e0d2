//! Images in a backup of the store, and back from one.
//!
//! Owns what they are called there. Invariants: a security version never falls by a restore: of what the directory remembers and
//! what the backup does the higher one counts; what is in the directory stays, but for a damaged package of which the backup has a
//! whole one; number and bytes are bounded as they are when images are added. It asks for no signature: a gateway does when it
//! starts, by the trust that it has then.

use std::path::Path;

use faam_image::{Floors, PACKAGE_BYTES_MAX, intact_image};
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
            needed: false,
        })
        .collect();
    files.push(AnnexFile {
        name: FLOORS_NAME.to_owned(),
        path: directory.floors_path(),
        bytes_max: FLOORS_BYTES_MAX as u64,
        // Packages without it might go behind what was accepted.
        needed: true,
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

    /// Keeps a package that is not here, or is damaged here.
    ///
    /// # Errors
    /// No room, or the disk; what was here still is.
    pub fn package(&self, image: Uuid, bytes: &[u8]) -> Result<PackageBack, ImageError> {
        let images = self.directory.ids()?;
        let is_here = images.iter().any(|(here, _)| *here == image);
        if is_here {
            let here = self.directory.read(image);
            if here.as_ref().is_ok_and(|here| here == bytes) {
                return Ok(PackageBack::Kept);
            }
            let is_whole = |bytes: &[u8]| intact_image(bytes).is_ok_and(|holds| holds == image);
            let difference = match (here.is_ok_and(|here| is_whole(&here)), is_whole(bytes)) {
                (true, true) => Some(Difference::Signed),
                (true, false) => Some(Difference::BackupDamaged),
                (false, false) => Some(Difference::BothDamaged),
                (false, true) => None,
            };
            if let Some(difference) = difference {
                return Ok(PackageBack::Differs(difference));
            }
        }
        let others = images.iter().filter(|(here, _)| *here != image);
        let (count, there) = others.fold((0, 0), |(count, sum): (usize, u64), (_, bytes)| {
            (count + 1, sum.saturating_add(*bytes))
        });
        if count >= IMAGES_MAX || there.saturating_add(bytes.len() as u64) > IMAGES_BYTES_MAX {
            return Err(ImageError::Full {
                count,
                bytes: there,
            });
        }
        self.directory.write(image, bytes)?;
        Ok(match is_here {
            true => PackageBack::Mended,
            false => PackageBack::Restored,
        })
    }
}

/// What became of a package of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageBack {
    /// It was not here.
    Restored,
    /// It is here as it is in the backup.
    Kept,
    /// It was damaged here, and is the backup's now.
    Mended,
    /// It is here otherwise than in the backup, and stays so.
    Differs(Difference),
}

/// Why a package that differs stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Both are whole: only who signed it, or that signature, is another.
    Signed,
    /// It is whole here alone.
    BackupDamaged,
    /// Neither is whole.
    BothDamaged,
}

impl Difference {
    /// For people.
    #[must_use]
    pub const fn what(self) -> &'static str {
        match self {
            Self::Signed => {
                "is whole here and signed otherwise than in the backup; where a gateway refuses it, remove its file and restore again"
            }
            Self::BackupDamaged => "is whole here and damaged in the backup; make a new backup",
            Self::BothDamaged => {
                "is damaged here and in the backup; remove it (`faam image rm`) and add it again from where it is from"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use faam_image::{Description, Ingredients, SigningKey, build};

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

    /// One of the project's images.
    fn sample(key: &SigningKey) -> (Uuid, Vec<u8>) {
        let text = include_str!("../../../bitstreams/images/inflate.toml");
        let mut description = Description::from_toml(text).expect("ours");
        description.simulated_bytes = Some(100);
        let package = build(&description, &Ingredients::default(), key).expect("builds");
        (intact_image(&package).expect("whole"), package)
    }

    #[test]
    fn a_damaged_package_is_mended_by_a_whole_one_alone() {
        let key = |seed| SigningKey::from_seed([seed; 32]).expect("a key");
        let (image, good) = sample(&key(7));
        let (same, resigned) = sample(&key(8));
        assert_eq!(image, same);
        let mut bad = good.clone();
        *bad.last_mut().expect("bytes") ^= 1;
        let large = vec![0; PACKAGE_BYTES_MAX + 1];
        let differs = PackageBack::Differs;
        for (here, theirs, became, is_theirs) in [
            (&good, &good, PackageBack::Kept, true),
            (&bad, &bad, PackageBack::Kept, true),
            (&bad, &good, PackageBack::Mended, true),
            (&large, &good, PackageBack::Mended, true),
            (&good, &bad, differs(Difference::BackupDamaged), false),
            (&resigned, &good, differs(Difference::Signed), false),
            (&large, &bad, differs(Difference::BothDamaged), false),
        ] {
            let data = tempfile::tempdir().expect("a directory");
            let directory = ImageDirectory::new(data.path());
            directory.write(image, here).expect("written");
            let images = ReturningImages::open(data.path()).expect("opens");
            assert_eq!(images.package(image, theirs).expect("done"), became);
            let expected = if is_theirs { theirs } else { here };
            assert!(std::fs::read(directory.path(image)).expect("there") == *expected);
        }
    }

    #[test]
    fn where_there_is_no_room_what_is_here_is_mended_still() {
        let (image, good) = sample(&SigningKey::from_seed([7; 32]).expect("a key"));
        let data = tempfile::tempdir().expect("a directory");
        let directory = ImageDirectory::new(data.path());
        directory.write(image, b"damaged").expect("written");
        for number in (1_u128..).take(IMAGES_MAX - 1) {
            let path = directory.path(Uuid::from_u128(number));
            std::fs::write(path, "another").expect("written");
        }
        let images = ReturningImages::open(data.path()).expect("opens");
        let full = images.package(Uuid::from_u128(u128::MAX), b"new");
        assert!(matches!(full, Err(ImageError::Full { .. })), "{full:?}");
        let mended = images.package(image, &good).expect("its own place");
        assert_eq!(mended, PackageBack::Mended);
    }
}
