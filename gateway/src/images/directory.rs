//! Images as files.
//!
//! Invariants: a file is written beside its place, brought to the disk, and named then, so that it is whole or not there, also
//! after a crash; what is read is bounded. It does not know what is in them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use faam_image::{Floors, PACKAGE_BYTES_MAX};
use uuid::Uuid;

use super::IMAGES_MAX;
use super::error::ImageError;

/// Where images are, in the data directory.
const DIRECTORY: &str = "images";
const EXTENSION: &str = "fgi";
const FLOORS_FILE: &str = "floors.json";
/// What is being written.
const NEW: &str = "new";
/// Bytes of [`FLOORS_FILE`]: an id and a number for each kernel that can be remembered.
pub(super) const FLOORS_BYTES_MAX: usize = faam_image::KERNELS_MAX * 64;

/// See the module's head.
#[derive(Debug)]
pub(super) struct ImageDirectory(PathBuf);

impl ImageDirectory {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self(data_dir.join(DIRECTORY))
    }

    /// Every package with its id, read as it is come to.
    pub(super) fn packages(
        &self,
    ) -> Result<impl Iterator<Item = (Uuid, Result<Vec<u8>, ImageError>)>, ImageError> {
        let mut ids = Vec::new();
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => Some(entries),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("list", &self.0)(error)),
        };
        for entry in entries.into_iter().flatten() {
            let path = entry.map_err(failed("list", &self.0))?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            let id = stem.and_then(|stem| Uuid::parse_str(stem).ok());
            // Written otherwise it is none of this one's, and is not found by its id.
            let id = id.filter(|id| stem == Some(id.to_string().as_str()));
            match (path.extension().and_then(|end| end.to_str()), id) {
                (Some(EXTENSION), Some(id)) if ids.len() < IMAGES_MAX => ids.push(id),
                // A crash's.
                (Some(NEW), _) => {
                    if let Err(error) = fs::remove_file(&path) {
                        tracing::warn!(path = %path.display(), %error, "what a crash left cannot be removed");
                    }
                }
                (Some("json"), None) => {}
                _ => tracing::warn!(
                    path = %path.display(),
                    "no image's file, or one too many: it is left alone"
                ),
            }
        }
        ids.sort();
        Ok(ids.into_iter().map(|id| (id, self.read(id))))
    }

    /// Images that there are files of, with the bytes of each. It changes nothing.
    pub(super) fn ids(&self) -> Result<Vec<(Uuid, u64)>, ImageError> {
        let mut ids = Vec::new();
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ids),
            Err(error) => return Err(failed("list", &self.0)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed("list", &self.0))?;
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".fgi"));
            let id = id.and_then(|id| Some((id, Uuid::parse_str(id).ok()?)));
            let is_file = entry.metadata().ok().filter(fs::Metadata::is_file);
            if let (Some((text, id)), Some(file)) = (id, is_file)
                && text == id.to_string()
                && ids.len() < IMAGES_MAX
            {
                ids.push((id, file.len()));
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    pub(super) fn read(&self, image: Uuid) -> Result<Vec<u8>, ImageError> {
        let path = self.path(image);
        // One byte more than a package may have: it is told that it is too large.
        bounded(&path, PACKAGE_BYTES_MAX + 1).map_err(failed("read", &path))
    }

    pub(super) fn write(&self, image: Uuid, bytes: &[u8]) -> Result<(), ImageError> {
        self.replace(&self.path(image), bytes)
    }

    pub(super) fn remove(&self, image: Uuid) -> Result<(), ImageError> {
        let path = self.path(image);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &path)(error))
            }
            _ => Ok(()),
        }
    }

    /// What was accepted before; nothing where there is no file.
    pub(super) fn floors(&self) -> Result<Floors, ImageError> {
        let path = self.floors_path();
        let bytes = match bounded(&path, FLOORS_BYTES_MAX + 1) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Floors::default()),
            Err(error) => return Err(failed("read", &path)(error)),
        };
        if bytes.len() > FLOORS_BYTES_MAX {
            let what = format!("more than {FLOORS_BYTES_MAX} bytes");
            return Err(ImageError::Floors { path, what });
        }
        serde_json::from_slice(&bytes).map_err(|error| ImageError::Floors {
            path,
            what: error.to_string(),
        })
    }

    pub(super) fn write_floors(&self, floors: &Floors) -> Result<(), ImageError> {
        let path = self.floors_path();
        let bytes = serde_json::to_vec_pretty(floors)
            .map_err(|error| failed("write", &path)(error.into()))?;
        self.replace(&path, &bytes)
    }

    pub(super) fn floors_path(&self) -> PathBuf {
        self.0.join(FLOORS_FILE)
    }

    pub(super) fn path(&self, image: Uuid) -> PathBuf {
        self.0.join(image.to_string()).with_extension(EXTENSION)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
        let mut directory = DirBuilder::new();
        directory.recursive(true).mode(0o700);
        directory.create(&self.0).map_err(failed("make", &self.0))?;
        let new = path.with_extension(NEW);
        let write = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            let mut file = options.open(&new)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&new, path)?;
            File::open(&self.0)?.sync_all()
        };
        write().map_err(|error| {
            // What does not fit the disk takes no room on it.
            let _ = fs::remove_file(&new);
            failed("write", path)(error)
        })
    }
}

fn bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = File::open(path)?;
    file.take(bytes_max as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImageError + use<> {
    let path = path.to_owned();
    move |source| ImageError::File { what, path, source }
}
