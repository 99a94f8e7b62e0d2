//! Keys: the pair that signs, the half that is trusted, and their lines of text.
//!
//! Invariants: a private key is shown in its own file's line alone, never by `Debug`; a key's id is made of its public half, so
//! that no other key can be called by it. Ed25519 (RFC 8032) is ring's.

use std::fmt;
use std::str::FromStr;

use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::signature::SIGNATURE_BYTES;

/// Bytes of either half.
const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 8;
/// What a public key's line begins with.
const PUBLIC: &str = "ed25519:";
/// What a private key's line begins with.
const PRIVATE: &str = "faam-image-private-key ed25519:";
/// Domain of ids.
const ID_DOMAIN: &[u8] = b"faam-image-key\0";

/// Why a text is no key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// No public key.
    #[error(
        "expected ed25519: and 64 hexadecimal digits, as `faam image keygen` prints them, got {got:?}"
    )]
    Public {
        /// What came, cut short.
        got: String,
    },
    /// No private key. What came is not repeated.
    #[error("expected the one line of a file that `faam image keygen` wrote")]
    Private,
    /// No id.
    #[error("expected a key's id of 16 small hexadecimal digits, got {got:?}")]
    Id {
        /// What came, cut short.
        got: String,
    },
    /// The system has no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

/// By which a key is named: the first 8 bytes of a SHA-256 of its public half.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; ID_BYTES]);

impl KeyId {
    /// Nobody's.
    pub(crate) const NONE: Self = Self([0; ID_BYTES]);
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        unhex(text)
            .map(Self)
            .ok_or_else(|| KeyError::Id { got: cut(text) })
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; KEY_BYTES]);

impl PublicKey {
    /// By which it is named.
    #[must_use]
    pub fn id(&self) -> KeyId {
        let digest = Sha256::new().chain_update(ID_DOMAIN).chain_update(self.0);
        let mut id = [0; ID_BYTES];
        for (to, from) in id.iter_mut().zip(digest.finalize()) {
            *to = from;
        }
        KeyId(id)
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        let key = UnparsedPublicKey::new(&ED25519, self.0);
        key.verify(message, signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", hex(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    /// `ed25519:` and 64 digits; a word behind it says whose it is, and counts for nothing.
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let line = text.trim();
        let word = line.split_ascii_whitespace().next().unwrap_or_default();
        word.strip_prefix(PUBLIC)
            .and_then(unhex)
            .map(Self)
            .ok_or_else(|| KeyError::Public { got: cut(text) })
    }
}

/// A pair.
#[derive(Clone)]
pub struct SigningKey {
    seed: [u8; KEY_BYTES],
    public: PublicKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public.id())
    }
}

impl SigningKey {
    /// A new one.
    ///
    /// # Errors
    /// [`KeyError::Random`]
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; KEY_BYTES];
        let random = SystemRandom::new();
        random.fill(&mut seed).map_err(|_| KeyError::Random)?;
        Self::from_seed(seed)
    }

    /// The one of this seed (RFC 8032, 5.1.5).
    ///
    /// # Errors
    /// [`KeyError::Private`]: ring takes every seed of today.
    pub fn from_seed(seed: [u8; KEY_BYTES]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::Private)?;
        let public = pair.public_key().as_ref().try_into();
        let public = PublicKey(public.map_err(|_| KeyError::Private)?);
        Ok(Self { seed, public })
    }

    /// Its public half.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }

    /// The line of its file, with its end. Whoever has it signs.
    #[must_use]
    pub fn private_line(&self) -> String {
        format!("{PRIVATE}{}\n", hex(&self.seed))
    }

    /// From the text of its file.
    ///
    /// # Errors
    /// [`KeyError::Private`]
    pub fn from_private_line(text: &str) -> Result<Self, KeyError> {
        let seed = text.trim_end().strip_prefix(PRIVATE).and_then(unhex);
        Self::from_seed(seed.ok_or(KeyError::Private)?)
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES], KeyError> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(&self.seed).map_err(|_| KeyError::Private)?;
        let signature = pair.sign(message);
        signature.as_ref().try_into().map_err(|_| KeyError::Private)
    }
}

/// Small hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    let pairs = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    pairs.map(digit).collect()
}

/// The bytes of small hexadecimal digits: exactly `N`.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    unhex_any(text)?.try_into().ok()
}

/// The bytes of small hexadecimal digits.
pub(crate) fn unhex_any(text: &str) -> Option<Vec<u8>> {
    let nibble = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let bytes = pairs
        .iter()
        .map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?));
    bytes.collect()
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_8032_test_1_and_2() {
        // RFC 8032, 7.1: TEST 2 signs the one byte 0x72.
        for (seed, public, message, signature) in [
            (
                "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
                [].as_slice(),
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
            ),
            (
                "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
                "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
                [0x72].as_slice(),
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            ),
        ] {
            let key = SigningKey::from_seed(unhex(seed).expect("hex")).expect("a key");
            assert_eq!(key.public().to_string(), format!("ed25519:{public}"));
            let made = key.sign(message).expect("signed");
            assert_eq!(hex(&made), signature);
            assert!(key.public().verifies(message, &made));
            assert!(!key.public().verifies(b"x", &made));
        }
    }

    #[test]
    fn lines_read_back_and_secrets_are_not_shown() {
        let key = SigningKey::generate().expect("random");
        let line = key.private_line();
        let again = SigningKey::from_private_line(&line).expect("its own line");
        assert_eq!(again.public(), key.public());
        let shown = format!("{key:?}");
        assert!(!line.contains(&shown) && shown.contains(&key.public().id().to_string()));
        let public: PublicKey = format!("{}  releases@example.com", key.public())
            .parse()
            .expect("with a word behind it");
        assert_eq!(public, key.public());
        assert_eq!(key.public().id().to_string().parse(), Ok(key.public().id()));
        for bad in ["", "ed25519:", "ed25519:12", "rsa:00", &line] {
            assert!(bad.parse::<PublicKey>().is_err(), "{bad}");
        }
        let public = key.public().to_string();
        let error = SigningKey::from_private_line(&public).expect_err("no private key");
        assert!(!error.to_string().contains(&public), "{error}");
        assert_eq!(unhex_any("0g"), None);
        assert_eq!(unhex_any("AB"), None);
        assert_eq!(unhex_any("abc"), None);
    }
}
