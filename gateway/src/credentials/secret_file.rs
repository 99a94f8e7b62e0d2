//! Files with secrets.
//!
//! Invariants: what is written is for its owner alone (0600) and replaced as a whole; what is read is bounded. It does not
//! know what is in them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 16 << 10;
/// Permissions of others than the owner.
const OTHERS: u32 = 0o077;

/// Why a secret could not be set up.
#[derive(Debug, Error)]
pub enum SecretError {
    /// A file could not be read or written.
    #[error("cannot {what} {path}; make it accessible to this user, or choose another --data-dir")]
    File {
        /// `read` or so.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path} does not hold {expected}; {mend}")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What to do.
        mend: &'static str,
    },
    /// No random bytes.
    #[error("the system gave no random bytes")]
    Random(#[from] getrandom::Error),
}

/// The text of a file without its line end; `None` if there is no such file.
///
/// # Errors
/// [`SecretError::File`]
pub fn read(path: &Path) -> Result<Option<String>, SecretError> {
    let file_error = |source| SecretError::File {
        what: "read",
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error(error)),
    };
    let mode = file.metadata().map_err(file_error)?.permissions().mode();
    if mode & OTHERS != 0 {
        // Not refused: volumes of some orchestrators set such bits by themselves.
        tracing::warn!(
            path = %path.display(),
            mode = format!("{:o}", mode & 0o777),
            "a file with a secret is open to others than its owner; chmod 600 it"
        );
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(file_error)?;
    Ok(Some(text.trim_end().to_owned()))
}

/// Replaces a file as a whole: whoever reads sees the old text or the new, also after a crash.
///
/// # Errors
/// [`SecretError::File`]
pub fn write(path: &Path, text: &str) -> Result<(), SecretError> {
    let file_error = |source| SecretError::File {
        what: "write",
        path: path.to_owned(),
        source,
    };
    let fresh = path.with_extension("new");
    // A left-over of a crash would keep its own mode.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(file_error(error)),
        _ => {}
    }
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&fresh)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        path.parent()
            .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    };
    write().map_err(file_error)
}
