//! What a credential may be used for.
//!
//! Invariants: no scope at all is every use; a word that this version does not know allows nothing here, and is kept for
//! the one that does.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// One use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// `POST /v1/compress`
    Compress,
    /// `POST /v1/decompress`
    Decompress,
    /// `GET /v1/usage`
    UsageRead,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 3] = [Self::Compress, Self::Decompress, Self::UsageRead];

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compress => "compress",
            Self::Decompress => "decompress",
            Self::UsageRead => "usage:read",
        }
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Compress => 1,
            Self::Decompress => 2,
            Self::UsageRead => 4,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no scope.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no scope: expected compress, decompress or usage:read; leave them all out to allow everything"
)]
pub struct UnknownScope(pub String);

impl FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        let mut all = Self::ALL.into_iter();
        let found = all.find(|scope| scope.name() == text);
        found.ok_or_else(|| UnknownScope(text.chars().take(32).collect()))
    }
}

/// A set of uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Every use.
    pub const ALL: Self = Self(u8::MAX);

    /// Those of a record: none is all.
    #[must_use]
    pub fn of(words: &[String]) -> Self {
        if words.is_empty() {
            return Self::ALL;
        }
        let known = words.iter().filter_map(|word| word.parse().ok());
        Self(known.fold(0, |bits, scope: Scope| bits | scope.bit()))
    }

    /// Whether it may be used for this.
    #[must_use]
    pub const fn allows(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_scope_is_all_and_a_foreign_one_is_nothing() {
        let of = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            let scopes = Scopes::of(&words);
            Scope::ALL.map(|scope| scopes.allows(scope))
        };
        assert_eq!(of(&[]), [true, true, true]);
        assert_eq!(of(&["compress"]), [true, false, false]);
        assert_eq!(of(&["usage:read", "decompress"]), [false, true, true]);
        assert_eq!(of(&["jobs:write"]), [false, false, false]);
    }
}
