//! Where a client's key comes from.
//!
//! Owns the order: the flag or FAAM_KEY, then the demo tenant's file for a gateway on this
//! machine. Invariant: the file's key is never sent to another machine.

use std::path::PathBuf;

use faam_gateway::credentials::api_key::KEY_BYTES_MAX;
use faam_gateway::credentials::kept_key::DEMO_KEY_FILE;
use thiserror::Error;

use super::endpoint::Endpoint;

/// Why there is no key to send.
#[derive(Debug, Error)]
pub(crate) enum CredentialError {
    /// Nobody named one.
    #[error(
        "no key: expected --key, FAAM_KEY or {}; `faam serve` prints its key when it starts",
        .path.display()
    )]
    Missing { path: PathBuf },
    /// A key's file is no business of other machines.
    #[error("no key: expected --key or FAAM_KEY for {url}, which is not on this machine")]
    MissingForRemote { url: String },
    /// The file is there and cannot be read.
    #[error("cannot read the key in {}; set FAAM_KEY, or read it as the gateway's user", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// It could not stand in a header.
    #[error(
        "the key ({origin}) is not one: expected faam_ and letters, digits, - or _, at most {KEY_BYTES_MAX} in all"
    )]
    Malformed { origin: String },
}

/// The key for a gateway.
///
/// # Errors
/// [`CredentialError`]
pub(crate) fn find(given: Option<&str>, url: &Endpoint) -> Result<String, CredentialError> {
    if let Some(key) = given.filter(|key| !key.is_empty()) {
        return check(key, "--key or FAAM_KEY");
    }
    if !url.is_local() {
        return Err(CredentialError::MissingForRemote {
            url: url.to_string(),
        });
    }
    let data = std::env::var_os("FAAM_DATA_DIR").filter(|data| !data.is_empty());
    let path = PathBuf::from(data.unwrap_or_else(|| "data".into())).join(DEMO_KEY_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => check(text.trim(), &path.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(CredentialError::Missing { path })
        }
        Err(source) => Err(CredentialError::Unreadable { path, source }),
    }
}

/// The gateway decides whether a key is valid; here it only has to fit into a header.
fn check(key: &str, origin: &str) -> Result<String, CredentialError> {
    if key.is_empty()
        || key.len() > KEY_BYTES_MAX
        || !key.bytes().all(|byte| byte.is_ascii_graphic())
    {
        return Err(CredentialError::Malformed {
            origin: origin.to_owned(),
        });
    }
    Ok(key.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_given_is_checked_and_a_file_is_for_this_machine() {
        let local: Endpoint = "http://localhost:1".parse().expect("a URL");
        let remote: Endpoint = "https://faam.example".parse().expect("a URL");
        assert_eq!(find(Some("faam_k"), &remote).expect("a key"), "faam_k");
        assert!(matches!(
            find(Some("faam_a b"), &local),
            Err(CredentialError::Malformed { .. })
        ));
        assert!(matches!(
            find(None, &remote),
            Err(CredentialError::MissingForRemote { .. })
        ));
    }
}
