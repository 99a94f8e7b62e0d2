//! Keys that a gateway makes for itself and keeps: the demo tenant's, and the operator's.
//!
//! Owns their files. Invariants: a file is for its owner alone and replaced as a whole; an operator's choice replaces what
//! is kept; at a second start the key is the same.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::api_key::{self, KEY_BYTES_MIN, KEY_PREFIX, is_key};
use super::random_text::{BASE62, SECRET_CHARS, random_text};
use super::secret_file::{self, SecretError};

/// Name of the file with the demo tenant's key.
pub const DEMO_KEY_FILE: &str = "demo.key";
/// Name of the file with the operator's key.
pub const ADMIN_KEY_FILE: &str = "admin.key";
/// What stands where other keys have their public name.
const ADMIN_ID: &str = "admin";

/// Why there is no key.
#[derive(Debug, Error)]
pub enum KeyError {
    /// Its file.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The key that the operator set is no key.
    #[error(
        "{variable} is not a key: expected `faam_` and {KEY_BYTES_MIN} to 256 characters in all, letters, digits, - and _ \
         only; unset it, and a key is made"
    )]
    Chosen {
        /// What set it.
        variable: &'static str,
    },
    /// One key for both would let every caller change everything.
    #[error(
        "the operator's key and the demo tenant's are the same: expected two; choose another for FAAM_ADMIN_KEY, or unset it"
    )]
    Same,
}

/// A key and its file.
#[derive(Clone)]
pub struct KeptKey {
    /// The key itself.
    pub key: String,
    /// Where it is kept.
    pub path: PathBuf,
}

impl KeptKey {
    /// The demo tenant's, or `chosen`, which replaces it, or a new one.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn demo(data_dir: &Path, chosen: Option<&str>) -> Result<Self, KeyError> {
        let path = data_dir.join(DEMO_KEY_FILE);
        Self::open(path, "FAAM_BOOTSTRAP_KEY", chosen, || {
            Ok(format!(
                "{KEY_PREFIX}{}",
                random_text(BASE62, SECRET_CHARS)?
            ))
        })
    }

    /// The operator's, or `chosen`, which replaces it, or a new one.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn admin(data_dir: &Path, chosen: Option<&str>) -> Result<Self, KeyError> {
        let path = data_dir.join(ADMIN_KEY_FILE);
        Self::open(path, "FAAM_ADMIN_KEY", chosen, || api_key::key(ADMIN_ID))
    }

    fn open(
        path: PathBuf,
        variable: &'static str,
        chosen: Option<&str>,
        make: impl FnOnce() -> Result<String, getrandom::Error>,
    ) -> Result<Self, KeyError> {
        let kept = secret_file::read(&path)?;
        let key = match (chosen, kept.as_deref()) {
            (Some(key), _) if !is_key(key) => return Err(KeyError::Chosen { variable }),
            (Some(key), _) => key.to_owned(),
            (None, Some(kept)) if is_key(kept) => kept.to_owned(),
            (None, Some(_)) => {
                return Err(KeyError::Secret(SecretError::Content {
                    path,
                    expected: "a key (faam_ and at least 19 letters, digits, - or _)",
                    mend: "remove it, and it is made anew",
                }));
            }
            (None, None) => make().map_err(SecretError::Random)?,
        };
        if kept.as_deref() != Some(key.as_str()) {
            secret_file::write(&path, &key)?;
        }
        Ok(Self { key, path })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_persists_and_its_file_is_private() {
        let dir = tempfile::tempdir().expect("a directory");
        for open in [KeptKey::demo, KeptKey::admin] {
            let first = open(dir.path(), None).expect("made");
            let second = open(dir.path(), None).expect("reused");
            assert_eq!(first.key, second.key);
            let mode = fs::metadata(&first.path).expect("the file").permissions();
            assert_eq!(mode.mode() & 0o777, 0o600, "{:?}", first.path);
        }
    }

    #[test]
    fn a_chosen_key_replaces_the_kept_one() {
        let dir = tempfile::tempdir().expect("a directory");
        KeptKey::demo(dir.path(), None).expect("made");
        let chosen = "faam_chosen-by-the-operator";
        assert_eq!(
            KeptKey::demo(dir.path(), Some(chosen)).expect("set").key,
            chosen
        );
        assert_eq!(KeptKey::demo(dir.path(), None).expect("kept").key, chosen);
        for bad in [
            "",
            "faam_short",
            "secret-but-without-the-prefix",
            "faam_with space in its middle",
        ] {
            let error = KeptKey::demo(dir.path(), Some(bad)).err().expect("no key");
            assert!(error.to_string().contains("FAAM_BOOTSTRAP_KEY"), "{error}");
        }
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join(ADMIN_KEY_FILE), "zz").expect("written");
        let error = KeptKey::admin(dir.path(), None).err().expect("damaged");
        assert!(error.to_string().contains("admin.key"), "{error}");
    }
}
