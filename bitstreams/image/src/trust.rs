//! Whom an operator trusts: keys, what was revoked, and how far back nobody goes.
//!
//! Invariants: what is revoked is refused even where it is trusted as well; a least security version only rises.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use uuid::Uuid;

use crate::key::{KeyId, PublicKey};

/// Keys that can be trusted at once.
pub const KEYS_MAX: usize = 64;
/// Keys and images that can be revoked at once.
pub const REVOKED_MAX: usize = 4096;
/// Kernels whose security version is remembered.
pub const KERNELS_MAX: usize = 4096;

/// Why a text says nobody.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrustError {
    /// Nothing that can be revoked.
    #[error("expected key:ID with a key's 16 hexadecimal digits, or image:UUID, got {got:?}")]
    Revoked {
        /// What came, cut short.
        got: String,
    },
    /// Too many.
    #[error("expected {max} at most, got {count}; leave out what is not used any more")]
    TooMany {
        /// How many came.
        count: usize,
        /// The bound.
        max: usize,
    },
}

/// What is not taken any more, as a configuration says it: `key:ID` or `image:UUID`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revoked {
    /// Whatever this key signed.
    Key(KeyId),
    /// This image, whoever signed it.
    Image(Uuid),
}

impl fmt::Display for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(id) => write!(f, "key:{id}"),
            Self::Image(id) => write!(f, "image:{id}"),
        }
    }
}

impl FromStr for Revoked {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        let parse = || match text.split_once(':')? {
            ("key", id) => id.parse().ok().map(Self::Key),
            ("image", id) => Uuid::parse_str(id).ok().map(Self::Image),
            _ => None,
        };
        parse().ok_or_else(|| TrustError::Revoked {
            got: text.chars().take(80).collect(),
        })
    }
}

/// See the module's head.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    keys: BTreeMap<KeyId, PublicKey>,
    revoked_keys: BTreeSet<KeyId>,
    revoked_images: BTreeSet<Uuid>,
}

impl Trust {
    /// In these keys, less what was revoked.
    ///
    /// # Errors
    /// [`TrustError::TooMany`]
    pub fn new(trusted: &[PublicKey], revoked: &[Revoked]) -> Result<Self, TrustError> {
        for (count, max) in [(trusted.len(), KEYS_MAX), (revoked.len(), REVOKED_MAX)] {
            if count > max {
                return Err(TrustError::TooMany { count, max });
            }
        }
        let mut trust = Self::default();
        trusted.iter().for_each(|key| trust.add(*key));
        revoked.iter().for_each(|what| trust.revoke(*what));
        Ok(trust)
    }

    /// Trusts a key.
    pub fn add(&mut self, key: PublicKey) {
        self.keys.insert(key.id(), key);
    }

    /// Takes something no more, whoever trusts it.
    pub fn revoke(&mut self, what: Revoked) {
        match what {
            Revoked::Key(key) => self.revoked_keys.insert(key),
            Revoked::Image(image) => self.revoked_images.insert(image),
        };
    }

    /// The same keys, and nothing revoked: to say of what was revoked what else there is to say. Nothing is loaded by it.
    #[must_use]
    pub fn unrevoked(&self) -> Self {
        Self {
            keys: self.keys.clone(),
            ..Self::default()
        }
    }

    /// How many keys are trusted.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.keys
            .keys()
            .filter(|key| !self.revoked_keys.contains(key))
            .count()
    }

    pub(crate) fn key(&self, id: KeyId) -> Option<&PublicKey> {
        self.keys.get(&id)
    }

    pub(crate) fn is_revoked_key(&self, id: KeyId) -> bool {
        self.revoked_keys.contains(&id)
    }

    pub(crate) fn is_revoked_image(&self, image: Uuid) -> bool {
        self.revoked_images.contains(&image)
    }
}

/// The highest security version of each kernel that was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Floors(BTreeMap<Uuid, u32>);

impl Floors {
    /// The least that is taken of a kernel.
    #[must_use]
    pub fn least(&self, kernel: Uuid) -> u32 {
        self.0.get(&kernel).copied().unwrap_or(0)
    }

    /// Remembers that one of this version was accepted; whether that changed anything. Beyond [`KERNELS_MAX`] kernels no new one
    /// is remembered: `None`.
    pub fn raise(&mut self, kernel: Uuid, version: u32) -> Option<bool> {
        if !self.0.contains_key(&kernel) && self.0.len() >= KERNELS_MAX {
            return None;
        }
        let least = self.0.entry(kernel).or_insert(0);
        let rises = version > *least;
        *least = (*least).max(version);
        Some(rises)
    }

    /// Remembers what another one remembers as well: of each kernel the higher version. How many rose; `None` beyond
    /// [`KERNELS_MAX`], and nothing has changed then.
    pub fn raise_all(&mut self, other: &Self) -> Option<usize> {
        let mut both = self.clone();
        let mut risen = 0;
        for (kernel, version) in &other.0 {
            risen += usize::from(both.raise(*kernel, *version)?);
        }
        *self = both;
        Some(risen)
    }

    /// How many kernels it remembers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it remembers none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;

    #[test]
    fn lines_of_a_configuration() {
        let key = SigningKey::from_seed([1; 32]).expect("a key").public();
        let image = Uuid::from_u128(7);
        let revoked = [Revoked::Key(key.id()), Revoked::Image(image)];
        for what in revoked {
            assert_eq!(what.to_string().parse(), Ok(what));
        }
        let trust = Trust::new(&[key], &revoked).expect("few");
        assert!(trust.is_revoked_key(key.id()) && trust.is_revoked_image(image));
        assert_eq!((trust.keys(), trust.key(key.id())), (0, Some(&key)));
        for bad in ["", "key:", "image:7", "kernel:x", "x"] {
            assert!(bad.parse::<Revoked>().is_err(), "{bad} revokes nothing");
        }
        let many = vec![key; KEYS_MAX + 1];
        assert!(matches!(
            Trust::new(&many, &[]),
            Err(TrustError::TooMany { .. })
        ));
    }

    #[test]
    fn versions_only_rise_and_kernels_are_bounded() {
        let mut floors = Floors::default();
        let kernel = Uuid::from_u128(1);
        assert_eq!(floors.raise(kernel, 3), Some(true));
        assert_eq!(floors.raise(kernel, 2), Some(false));
        assert_eq!(floors.least(kernel), 3);
        for other in 2..=KERNELS_MAX as u128 {
            floors.raise(Uuid::from_u128(other), 1);
        }
        assert_eq!(floors.raise(Uuid::from_u128(u128::MAX), 1), None);
        assert_eq!(floors.raise(kernel, 4), Some(true));
        let other = Floors(BTreeMap::from([(kernel, 3), (Uuid::from_u128(2), 2)]));
        assert_eq!(floors.raise_all(&other), Some(1));
        assert_eq!(
            (floors.least(kernel), floors.least(Uuid::from_u128(2))),
            (4, 2)
        );
        let before = floors.clone();
        let one_more = [(Uuid::from_u128(2), 9), (Uuid::from_u128(u128::MAX), 1)];
        assert_eq!(floors.raise_all(&Floors(BTreeMap::from(one_more))), None);
        assert_eq!(floors, before);
        let text = serde_json::to_string(&floors).expect("JSON");
        assert_eq!(
            serde_json::from_str::<Floors>(&text).expect("its own"),
            floors
        );
    }
}
