//! From a credential to a tenant, and where the demo tenant's key is kept.
//!
//! Owns the trait through which every kind of credential ends in a [`Tenant`], and API
//! keys. Invariants: only HMAC-SHA256 of a key under a pepper is compared, in constant
//! time, over all keys; files with secrets are 0600 and replaced as a whole; a refusal
//! says nothing about whether a tenant or a key exists. It knows no limits of tenants.
//!
//! Why HMAC and not a password hash: a key is 256 random bits, so there is nothing to
//! guess, and a slow hash a request would let any caller burn our processors.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use thiserror::Error;

use crate::tenants::Tenant;

/// What a credential of this kind begins with, in whatever case (RFC 6750, 2.1; RFC 9110, 11.1).
const SCHEME: &[u8] = b"Bearer ";
/// What every key begins with, so that leak scanners find it.
pub const KEY_PREFIX: &str = "faam_";
/// Random bytes of a key that we make.
const KEY_RANDOM_BYTES: usize = 32;
/// Shortest key that an operator may set, prefix included.
pub const KEY_BYTES_MIN: usize = 24;
/// Longest key that is looked at.
pub const KEY_BYTES_MAX: usize = 256;
/// Bytes of the pepper, and of a hash.
const HASH_BYTES: usize = 32;
/// Longest file that is read here.
const SECRET_FILE_BYTES_MAX: u64 = 4096;

/// Name of the file with the demo tenant's key.
pub const DEMO_KEY_FILE: &str = "demo.key";
/// Name of the file with the hash of the demo tenant's key.
pub const DEMO_HASH_FILE: &str = "demo.key-hash";
/// Name of the file with the pepper of all hashes.
pub const PEPPER_FILE: &str = "pepper";

/// Ends every kind of credential in a tenant.
pub trait Authenticator: Send + Sync {
    /// The tenant whose credential the headers carry.
    ///
    /// # Errors
    /// [`AuthError`]
    fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Tenant>, AuthError>;
}

/// Why a credential was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AuthError {
    /// There are several: whoever stands in between may have gone by another than we would.
    #[error(
        "header Authorization came more than once: expected it once, with one key; leave the others out"
    )]
    Several,
    /// There is none, or it is not a bearer token.
    #[error(
        "no credential came: expected the header `Authorization: Bearer faam_...`; `faam serve` prints a key"
    )]
    Missing,
    /// It is no key of ours.
    #[error(
        "the credential is not valid here: expected the key that `faam serve` printed (see demo.key in its data directory)"
    )]
    Invalid,
}

impl AuthError {
    /// The challenge of its answer (RFC 6750, 3): who sent no credential of this kind is told of no error.
    #[must_use]
    pub const fn challenge(self) -> &'static str {
        match self {
            Self::Several => "Bearer realm=\"faam\", error=\"invalid_request\"",
            Self::Missing => "Bearer realm=\"faam\"",
            Self::Invalid => "Bearer realm=\"faam\", error=\"invalid_token\"",
        }
    }
}

/// API keys in `Authorization: Bearer faam_...`.
pub struct ApiKeys {
    /// The hash that has taken in the pepper, and no key yet.
    peppered: Hmac<Sha256>,
    /// Hashes and whose they are. Few: all of them are compared at each request.
    keys: Vec<([u8; HASH_BYTES], Arc<Tenant>)>,
}

impl ApiKeys {
    /// No keys yet.
    #[must_use]
    pub fn new(pepper: [u8; HASH_BYTES]) -> Self {
        Self {
            peppered: peppered(&pepper),
            keys: Vec::new(),
        }
    }

    /// Accepts the key with this hash as `tenant`'s.
    pub fn insert(&mut self, hash: [u8; HASH_BYTES], tenant: Arc<Tenant>) {
        self.keys.push((hash, tenant));
    }
}

impl Authenticator for ApiKeys {
    fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Tenant>, AuthError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().ok_or(AuthError::Missing)?.as_bytes();
        if values.next().is_some() {
            return Err(AuthError::Several);
        }
        let (scheme, key) = value
            .split_at_checked(SCHEME.len())
            .ok_or(AuthError::Missing)?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(AuthError::Missing);
        }
        let key = key.trim_ascii();
        if key.len() > KEY_BYTES_MAX {
            return Err(AuthError::Invalid);
        }
        let hash = key_hash(&self.peppered, key);
        let mut found = 0u64;
        for (index, (expected, _)) in (1u64..).zip(&self.keys) {
            let equal: Choice = expected.ct_eq(&hash);
            found = u64::conditional_select(&found, &index, equal);
        }
        let index = usize::try_from(found)
            .ok()
            .and_then(|found| found.checked_sub(1))
            .ok_or(AuthError::Invalid)?;
        self.keys
            .get(index)
            .map(|(_, tenant)| Arc::clone(tenant))
            .ok_or(AuthError::Invalid)
    }
}

/// Why the demo tenant's key could not be set up.
#[derive(Debug, Error)]
pub enum KeyError {
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
    #[error("{path} does not hold {expected}; remove it, and it is made anew")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The key that the operator set is no key.
    #[error(
        "FAAM_BOOTSTRAP_KEY is not a key: expected `faam_` and {KEY_BYTES_MIN} to {KEY_BYTES_MAX} characters in all, \
         letters, digits, - and _ only; unset it, and a key is made"
    )]
    Bootstrap,
    /// No random bytes.
    #[error("the system gave no random bytes")]
    Random(#[source] getrandom::Error),
}

/// The key of the demo tenant, and what recognises it.
pub struct DemoKey {
    /// The key itself, to be printed.
    pub key: String,
    /// Where it is kept.
    pub path: PathBuf,
    /// Recognises the key as `tenant`'s.
    pub authenticator: ApiKeys,
}

impl DemoKey {
    /// The key kept in `data_dir`, or `bootstrap`, which replaces it, or a new one. The directory is made if
    /// there is none. At a second call the answer is the same.
    ///
    /// # Errors
    /// [`KeyError`]
    pub fn open(
        data_dir: &Path,
        bootstrap: Option<&str>,
        tenant: Arc<Tenant>,
    ) -> Result<Self, KeyError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir)
            .map_err(|source| KeyError::File {
                what: "make",
                path: data_dir.to_owned(),
                source,
            })?;
        let pepper = open_pepper(&data_dir.join(PEPPER_FILE))?;
        let path = data_dir.join(DEMO_KEY_FILE);
        let kept = read_secret(&path)?;
        let key = match (bootstrap, kept.as_deref()) {
            (Some(key), _) if !is_key(key) => return Err(KeyError::Bootstrap),
            (Some(key), _) => key.to_owned(),
            (None, Some(kept)) if is_key(kept) => kept.to_owned(),
            (None, Some(_)) => {
                return Err(KeyError::Content {
                    path,
                    expected: "a key (faam_ and 43 letters, digits, - or _)",
                });
            }
            (None, None) => format!("{KEY_PREFIX}{}", base64url(&random()?)),
        };
        if kept.as_deref() != Some(key.as_str()) {
            write_secret(&path, &key)?;
        }
        let hash = key_hash(&peppered(&pepper), key.as_bytes());
        let hash_path = data_dir.join(DEMO_HASH_FILE);
        let hash_text = hex(&hash);
        if read_secret(&hash_path)?.as_deref() != Some(hash_text.as_str()) {
            write_secret(&hash_path, &hash_text)?;
        }
        let mut authenticator = ApiKeys::new(pepper);
        authenticator.insert(hash, tenant);
        Ok(Self {
            key,
            path,
            authenticator,
        })
    }
}

/// Whether an operator may set it as a key.
#[must_use]
pub fn is_key(key: &str) -> bool {
    key.starts_with(KEY_PREFIX)
        && (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&key.len())
        && key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn peppered(pepper: &[u8; HASH_BYTES]) -> Hmac<Sha256> {
    // HMAC takes keys of any length (RFC 2104, 2); of a block or less without even hashing them.
    let mut block = [0; 64];
    let (head, _) = block.split_at_mut(HASH_BYTES);
    head.copy_from_slice(pepper);
    <Hmac<Sha256> as KeyInit>::new(&block.into())
}

fn key_hash(peppered: &Hmac<Sha256>, key: &[u8]) -> [u8; HASH_BYTES] {
    let mut mac = peppered.clone();
    mac.update(key);
    mac.finalize().into_bytes().into()
}

fn open_pepper(path: &Path) -> Result<[u8; HASH_BYTES], KeyError> {
    if let Some(text) = read_secret(path)? {
        let content = || KeyError::Content {
            path: path.to_owned(),
            expected: "64 hexadecimal digits",
        };
        return unhex(&text).ok_or_else(content);
    }
    let pepper = random()?;
    write_secret(path, &hex(&pepper))?;
    Ok(pepper)
}

fn random() -> Result<[u8; KEY_RANDOM_BYTES], KeyError> {
    let mut bytes = [0; KEY_RANDOM_BYTES];
    getrandom::fill(&mut bytes).map_err(KeyError::Random)?;
    Ok(bytes)
}

/// The text of a file without its line end; `None` if there is no such file.
fn read_secret(path: &Path) -> Result<Option<String>, KeyError> {
    let file_error = |source| KeyError::File {
        what: "read",
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(file_error(error)),
    };
    let mut text = String::new();
    file.take(SECRET_FILE_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(file_error)?;
    Ok(Some(text.trim_end().to_owned()))
}

/// Replaces a file as a whole: whoever reads sees the old text or the new, also after a crash.
fn write_secret(path: &Path, text: &str) -> Result<(), KeyError> {
    let file_error = |source| KeyError::File {
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

/// Base64 with the URL-safe alphabet, unpadded (RFC 4648, 5).
fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let word = group
            .iter()
            .fold(0u32, |word, &byte| word << 8 | u32::from(byte))
            << (8 * (3 - group.len()));
        for digit in 0..=group.len() {
            let index = usize::try_from(word >> (18 - 6 * digit) & 63).unwrap_or_default();
            out.push(char::from(ALPHABET.get(index).copied().unwrap_or_default()));
        }
    }
    out
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<[u8; HASH_BYTES]> {
    let mut out = [0; HASH_BYTES];
    if text.len() != 2 * HASH_BYTES {
        return None;
    }
    for (byte, digits) in out.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use axum::http::HeaderValue;

    use super::*;
    use crate::tenants::TenantLimits;

    fn demo() -> Arc<Tenant> {
        Arc::new(Tenant::demo(TenantLimits::default()))
    }

    fn bearer(key: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(
            AUTHORIZATION,
            HeaderValue::from_str(&format!("Bearer {key}")).expect("a header"),
        );
        headers
    }

    #[test]
    fn the_key_persists_and_its_files_are_private() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("data");
        let first = DemoKey::open(&data, None, demo()).expect("made");
        let second = DemoKey::open(&data, None, demo()).expect("reused");
        assert_eq!(first.key, second.key);
        assert!(
            first
                .authenticator
                .authenticate(&bearer(&second.key))
                .is_ok()
        );
        for name in [DEMO_KEY_FILE, DEMO_HASH_FILE, PEPPER_FILE] {
            let mode = fs::metadata(data.join(name))
                .expect("the file")
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        let hash = fs::read_to_string(data.join(DEMO_HASH_FILE)).expect("the hash");
        assert!(!hash.contains(&first.key));
    }

    #[test]
    fn a_bootstrap_key_replaces_the_kept_one() {
        let dir = tempfile::tempdir().expect("a directory");
        let old = DemoKey::open(dir.path(), None, demo()).expect("made");
        let chosen = "faam_chosen-by-the-operator";
        let new = DemoKey::open(dir.path(), Some(chosen), demo()).expect("set");
        assert_eq!(new.key, chosen);
        assert!(new.authenticator.authenticate(&bearer(&old.key)).is_err());
        assert_eq!(
            DemoKey::open(dir.path(), None, demo()).expect("kept").key,
            chosen
        );
        for bad in [
            "",
            "faam_short",
            "secret-but-without-the-prefix",
            "faam_with space in its middle",
        ] {
            assert!(
                matches!(
                    DemoKey::open(dir.path(), Some(bad), demo()),
                    Err(KeyError::Bootstrap)
                ),
                "{bad:?}"
            );
        }
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join(PEPPER_FILE), "zz").expect("written");
        let error = DemoKey::open(dir.path(), None, demo())
            .err()
            .expect("damaged");
        assert!(error.to_string().contains("pepper"), "{error}");
    }

    #[test]
    fn only_the_right_bearer_passes() {
        let dir = tempfile::tempdir().expect("a directory");
        let demo_key = DemoKey::open(dir.path(), None, demo()).expect("made");
        let keys = demo_key.authenticator;
        assert_eq!(
            keys.authenticate(&HeaderMap::new()),
            Err(AuthError::Missing)
        );
        let mut basic = HeaderMap::new();
        basic.insert(
            AUTHORIZATION,
            HeaderValue::from_static("Basic ZGVtbzpkZW1v"),
        );
        assert_eq!(keys.authenticate(&basic), Err(AuthError::Missing));
        let mut several = bearer(&demo_key.key);
        several.append(AUTHORIZATION, HeaderValue::from_static("Bearer x"));
        assert_eq!(keys.authenticate(&several), Err(AuthError::Several));
        for wrong in [
            "faam_",
            "x",
            &demo_key.key[..demo_key.key.len() - 1],
            &"k".repeat(KEY_BYTES_MAX + 1),
        ] {
            assert_eq!(
                keys.authenticate(&bearer(wrong)),
                Err(AuthError::Invalid),
                "{wrong}"
            );
        }
        assert_eq!(keys.authenticate(&bearer(&demo_key.key)), Ok(demo()));
    }

    #[test]
    fn base64url_of_the_standards_vectors() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg"),
            ("fo", "Zm8"),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg"),
        ] {
            assert_eq!(base64url(bytes.as_bytes()), text);
        }
        assert_eq!(base64url(&[0xfb, 0xff]), "-_8");
    }
}
