//! API keys: `Authorization: Bearer faam_<id>_<secret>` (RFC 6750, 2.1).
//!
//! A key is `faam_`, its public name of 12 digits and small letters, `_`, a secret of 256 random bits in 43 digits and
//! letters, and a checksum of 6: one pattern that leak scanners find and can check without asking us. The gateway does not
//! look at the checksum: a wrong key costs the same work whatever is wrong with it. Keys that an operator chose have no
//! name; of these there is one, the demo tenant's.

use faam_store::CredentialKind;
use subtle::{Choice, ConstantTimeEq};

use super::keyring::{Keyring, MAC_BYTES};
use super::random_text::{BASE36, BASE62, SECRET_CHARS, base62, random_text};
use super::{Grant, Issued, Judged, Kind, Known, Presented};
use crate::auth::AuthError;

/// What every key begins with, so that leak scanners find it.
pub const KEY_PREFIX: &str = "faam_";
/// Shortest key that an operator may set, prefix included.
pub const KEY_BYTES_MIN: usize = 24;
/// Longest key that is looked at.
pub const KEY_BYTES_MAX: usize = 256;
/// Characters of a key's public name.
const ID_CHARS: usize = 12;
/// Characters of a key's checksum.
const CHECK_CHARS: usize = 6;
/// What no credential has.
const NOBODY: [u8; MAC_BYTES] = [0; MAC_BYTES];

/// See the module's head.
pub struct ApiKey;

impl Kind for ApiKey {
    fn kind(&self) -> CredentialKind {
        CredentialKind::Api
    }

    fn scheme(&self) -> &'static str {
        "Bearer"
    }

    fn judge<'k>(
        &self,
        value: &[u8],
        _presented: &Presented<'_>,
        known: &'k dyn Known,
        keyring: &Keyring,
    ) -> Result<Judged<'k>, AuthError> {
        if value.len() > KEY_BYTES_MAX {
            return Err(AuthError::Invalid("Bearer"));
        }
        let named = public_name(value).and_then(|id| known.find(CredentialKind::Api, id));
        let root = named.and_then(|grant| grant.root);
        let presented = keyring.peppers.get(root).of(&[value]);
        let expected = named.map_or(&NOBODY, |grant| &grant.verifier);
        let is_named = expected.ct_eq(&presented) & usable(named);
        // The same comparison whether there is such a key, and whether the name was known.
        let (chosen, under_each) = known.nameless().unzip();
        let expected = under_each.and_then(|macs| macs.get(keyring.peppers.place(root)));
        let is_chosen = expected.unwrap_or(&NOBODY).ct_eq(&presented)
            & Choice::from(u8::from(expected.is_some()));
        Ok(Judged {
            grant: if bool::from(is_named) { named } else { chosen },
            holds: is_named | is_chosen,
            body_sha256: None,
            chunks: None,
        })
    }

    fn issue(&self, keyring: &Keyring) -> Result<Issued, getrandom::Error> {
        let id = random_text(BASE36, ID_CHARS)?;
        let secret = key(&id)?;
        let (root, mac) = keyring.peppers.newest();
        Ok(Issued {
            verifier: mac.of(&[secret.as_bytes()]).to_vec(),
            root: root.to_owned(),
            id,
            secret,
            version: 1,
        })
    }
}

/// Whether what a record says can recognise anything.
pub(super) fn usable(grant: Option<&Grant>) -> Choice {
    Choice::from(u8::from(grant.is_some_and(|grant| grant.root.is_some())))
}

/// A new key with this name.
pub(super) fn key(id: &str) -> Result<String, getrandom::Error> {
    let secret = random_text(BASE62, SECRET_CHARS)?;
    let unchecked = format!("{KEY_PREFIX}{id}_{secret}");
    let check = base62(crc32fast::hash(unchecked.as_bytes()), CHECK_CHARS);
    Ok(unchecked + &check)
}

/// The public name of a key that we made, if it may be one.
fn public_name(key: &[u8]) -> Option<&str> {
    let rest = key.strip_prefix(KEY_PREFIX.as_bytes())?;
    let (id, rest) = rest.split_at_checked(ID_CHARS)?;
    rest.starts_with(b"_").then_some(())?;
    std::str::from_utf8(id).ok()
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

/// Whether it is a key as we make them, by its form and checksum: for whoever looks for leaks.
#[must_use]
pub fn is_made(key: &str) -> bool {
    let Some(id) = public_name(key.as_bytes()) else {
        return false;
    };
    let length = KEY_PREFIX.len() + ID_CHARS + 1 + SECRET_CHARS + CHECK_CHARS;
    let Some((unchecked, check)) = key.split_at_checked(length.saturating_sub(CHECK_CHARS)) else {
        return false;
    };
    key.len() == length
        && id.bytes().all(|byte| BASE36.contains(&byte))
        && base62(crc32fast::hash(unchecked.as_bytes()), CHECK_CHARS) == check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_form_that_scanners_can_check() {
        let key = key("0a1b2c3d4e5f").expect("random");
        assert_eq!(key.len(), 5 + 12 + 1 + 43 + 6);
        assert!(key.starts_with("faam_0a1b2c3d4e5f_"), "{key}");
        assert!(is_key(&key) && is_made(&key));
        for wrong in [
            &key[..key.len() - 1],
            &format!("{key}0"),
            &key.replace("0a1b", "0a1c"),
            &key.to_uppercase(),
            "faam_chosen-by-the-operator",
            "",
        ] {
            assert!(!is_made(wrong), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>, text in "faam_[0-9a-z]{10,14}_.{0,80}") {
            let _ = public_name(&bytes);
            let _ = public_name(text.as_bytes());
            let _ = is_made(&text);
            let _ = is_key(&text);
        }
    }
}
