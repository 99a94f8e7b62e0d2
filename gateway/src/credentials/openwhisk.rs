//! `Authorization: Basic`, as OpenWhisk's clients send it: a uuid for a name, a key of 64 letters and digits for a password
//! (RFC 7617; OpenWhisk, docs/rest_api.md).
//!
//! The verifier is of both, joined as they are sent.

use faam_store::CredentialKind;
use subtle::ConstantTimeEq;

use super::api_key::usable;
use super::keyring::{Keyring, MAC_BYTES};
use super::random_text::{BASE62, random_text};
use super::{Issued, Judged, Kind, Known, Presented};
use crate::auth::AuthError;
use crate::base64;

/// Characters of a key, as OpenWhisk makes them: 380 bits.
const KEY_CHARS: usize = 64;
/// Longest name and password that are looked at, in Base64.
const VALUE_BYTES_MAX: usize = 512;
/// Sets these verifiers apart from an API key's.
const DOMAIN: &[u8] = b"openwhisk\0";

/// See the module's head.
pub struct BasicAuth;

impl Kind for BasicAuth {
    fn kind(&self) -> CredentialKind {
        CredentialKind::OpenWhisk
    }

    fn scheme(&self) -> &'static str {
        "Basic"
    }

    fn judge<'k>(
        &self,
        value: &[u8],
        _presented: &Presented<'_>,
        known: &'k dyn Known,
        keyring: &Keyring,
    ) -> Result<Judged<'k>, AuthError> {
        let invalid = AuthError::Invalid("Basic");
        if value.len() > VALUE_BYTES_MAX {
            return Err(invalid);
        }
        let pair = base64::decode(value).map_err(|_| invalid)?;
        let colon = pair.iter().position(|byte| *byte == b':').ok_or(invalid)?;
        let (uuid, _) = pair.split_at(colon);
        let uuid = std::str::from_utf8(uuid).map_err(|_| invalid)?;
        let grant = known.find(CredentialKind::OpenWhisk, uuid);
        let root = grant.and_then(|grant| grant.root);
        let presented = keyring.peppers.get(root).of(&[DOMAIN, &pair]);
        let expected = grant.map_or(&[0; MAC_BYTES], |grant| &grant.verifier);
        Ok(Judged {
            grant,
            holds: expected.ct_eq(&presented) & usable(grant),
            body_sha256: None,
            chunks: None,
        })
    }

    fn issue(&self, keyring: &Keyring) -> Result<Issued, getrandom::Error> {
        let mut random = [0; 16];
        getrandom::fill(&mut random)?;
        let id = uuid::Builder::from_random_bytes(random)
            .into_uuid()
            .to_string();
        let secret = format!("{id}:{}", random_text(BASE62, KEY_CHARS)?);
        let (root, mac) = keyring.peppers.newest();
        Ok(Issued {
            verifier: mac.of(&[DOMAIN, secret.as_bytes()]).to_vec(),
            root: root.to_owned(),
            id,
            secret,
            version: 1,
        })
    }
}
