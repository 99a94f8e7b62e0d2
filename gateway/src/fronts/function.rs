//! Functions as platforms name them: a kernel with its format.
//!
//! Invariant: each has one name, and a name that is none is refused with the list. It knows no options.

use std::fmt;
use std::str::FromStr;

use faam_codec::Format;
use thiserror::Error;

/// Longest piece of a caller's text that an error repeats, in characters.
const QUOTED_CHARS_MAX: usize = 48;

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    /// Compresses into this format.
    Compress(Format),
    /// Decompresses from this format, or from whichever is detected.
    Decompress(Option<Format>),
}

impl Function {
    /// Every function, in the order in which messages list them.
    pub const ALL: [Self; 11] = [
        Self::Compress(Format::Gzip),
        Self::Compress(Format::Zlib),
        Self::Compress(Format::Deflate),
        Self::Compress(Format::Zstd),
        Self::Compress(Format::Lz4),
        Self::Decompress(Some(Format::Gzip)),
        Self::Decompress(Some(Format::Zlib)),
        Self::Decompress(Some(Format::Deflate)),
        Self::Decompress(Some(Format::Zstd)),
        Self::Decompress(Some(Format::Lz4)),
        Self::Decompress(None),
    ];

    /// Its name. The way back is named as its tool is where there is one.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Compress(format) => format.name(),
            Self::Decompress(Some(Format::Gzip)) => "gunzip",
            Self::Decompress(Some(Format::Zlib)) => "unzlib",
            Self::Decompress(Some(Format::Deflate)) => "inflate",
            Self::Decompress(Some(Format::Zstd)) => "unzstd",
            Self::Decompress(Some(Format::Lz4)) => "unlz4",
            Self::Decompress(None) => "decompress",
        }
    }

    /// Whether it takes a level.
    #[must_use]
    pub const fn takes_level(self) -> bool {
        matches!(self, Self::Compress(_))
    }
}

impl Default for Function {
    /// `gzip`.
    fn default() -> Self {
        Self::Compress(Format::Gzip)
    }
}

impl fmt::Display for Function {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A name of no function.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("there is no function {got:?}: expected one of {}", names())]
pub struct UnknownFunction {
    /// What came, cut.
    pub got: String,
}

impl FromStr for Function {
    type Err = UnknownFunction;

    fn from_str(name: &str) -> Result<Self, UnknownFunction> {
        let known = Self::ALL.into_iter().find(|known| known.name() == name);
        known.ok_or_else(|| UnknownFunction {
            got: name.chars().take(QUOTED_CHARS_MAX).collect(),
        })
    }
}

/// All names, as a message lists them.
#[must_use]
pub fn names() -> String {
    Function::ALL.map(Function::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_that_of_one_function() {
        for function in Function::ALL {
            assert_eq!(function.name().parse(), Ok(function));
        }
        let refused = "rar".parse::<Function>().unwrap_err();
        assert!(refused.to_string().contains("\"rar\""), "{refused}");
        assert!(refused.to_string().contains("gunzip"), "{refused}");
    }
}
