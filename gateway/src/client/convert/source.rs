//! What is converted: a file, opened so that it is what its name says, or standard input.
//!
//! Owns what gzip's users count on: only regular files are touched; no symbolic link is followed
//! and no second name of a file is lost unless that was asked for. It does not know what becomes of it.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use thiserror::Error;

/// A regular file, open.
#[derive(Debug)]
pub(crate) struct Source {
    /// Its name.
    pub(crate) path: PathBuf,
    /// What it was when it was opened.
    pub(crate) metadata: Metadata,
    file: Arc<File>,
}

/// What is allowed to be opened.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    /// Symbolic links.
    pub(crate) links: bool,
    /// Files with other names: the one that is removed leaves the others as they are.
    pub(crate) other_names: bool,
}

/// Why a file is left alone.
#[derive(Debug, Error)]
pub(crate) enum SourceError {
    /// It cannot be opened.
    #[error("{}", .0)]
    Open(#[source] io::Error),
    /// It is left alone, as gzip would; a warning.
    #[error("{0}")]
    Ignored(String),
}

impl Source {
    /// Open `path`.
    ///
    /// # Errors
    /// [`SourceError`]
    pub(crate) fn open(path: &Path, allowed: Allowed) -> Result<Self, SourceError> {
        let ignored = |what: &str| SourceError::Ignored(what.to_owned());
        // A pipe of that name must not keep us waiting for its writer.
        let mut flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        flags.set(OFlags::NOFOLLOW, !allowed.links);
        let file = match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::LOOP) if !allowed.links => {
                return Err(ignored("is a symbolic link -- ignored (-f follows it)"));
            }
            Err(error) => return Err(SourceError::Open(error.into())),
        };
        let metadata = file.metadata().map_err(SourceError::Open)?;
        if metadata.is_dir() {
            return Err(ignored("is a directory -- ignored"));
        }
        if !metadata.is_file() {
            return Err(ignored("is not a regular file -- ignored"));
        }
        if metadata.nlink() > 1 && !allowed.other_names {
            let others = metadata.nlink() - 1;
            return Err(SourceError::Ignored(format!(
                "has {others} other name(s) -- unchanged (-k keeps it, -f does it all the same)"
            )));
        }
        Ok(Self {
            path: path.to_owned(),
            metadata,
            file: Arc::new(file),
        })
    }

    /// Its bytes from the first one, however often.
    pub(crate) fn reader(&self) -> SourceReader {
        SourceReader {
            file: Arc::clone(&self.file),
            at: 0,
        }
    }

    /// Its bytes, where the system knows: a file of /proc that holds something has the length 0.
    pub(crate) fn length(&self) -> Option<u64> {
        Some(self.metadata.len()).filter(|length| *length > 0)
    }

    /// Whether the file of this name is still the one that was opened, with the same content as far as its size and
    /// time tell.
    pub(crate) fn is_unchanged(&self) -> bool {
        let now = if std::fs::symlink_metadata(&self.path).is_ok_and(|now| now.is_symlink()) {
            std::fs::metadata(&self.path)
        } else {
            std::fs::symlink_metadata(&self.path)
        };
        now.is_ok_and(|now| {
            let what = |m: &Metadata| (m.dev(), m.ino(), m.len(), m.mtime(), m.mtime_nsec());
            what(&now) == what(&self.metadata)
        })
    }
}

/// Standard input, waited for also where whoever started us has set it not to block.
pub(crate) struct StandardInput(File);

impl StandardInput {
    /// A descriptor of our own for it.
    ///
    /// # Errors
    /// It is closed, or there are too many.
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self(File::from(rustix::io::dup(io::stdin())?)))
    }
}

impl Read for StandardInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let mut waited = [PollFd::new(&self.0, PollFlags::IN)];
                    // For as long as it takes: the process ends when its work does.
                    poll(&mut waited, None)?;
                }
                read => return read,
            }
        }
    }
}

/// Reads a file with a place of its own: two readers do not move each other.
pub(crate) struct SourceReader {
    file: Arc<File>,
    at: u64,
}

impl Read for SourceReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = self.file.read_at(buffer, self.at)?;
        self.at = self.at.saturating_add(u64::try_from(bytes).unwrap_or(0));
        Ok(bytes)
    }
}
