//! The caller's two choices, the format and the level, as types that cannot hold a wrong value.
//!
//! Knows nothing of engines: which engine serves a level, and how, is the engine's table.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// How many characters of a caller's word an error message repeats.
const QUOTED_CHARS_MAX: usize = 32;

/// A compressed format: one of three containers of a DEFLATE stream, or a frame format of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// RFC 1952: header, raw DEFLATE, CRC-32 and length.
    Gzip,
    /// RFC 1950: header, raw DEFLATE, Adler-32. HTTP's content coding `deflate`.
    Zlib,
    /// RFC 1951 alone, without a checksum.
    Deflate,
    /// RFC 8878: Zstandard frames. HTTP's content coding `zstd`.
    Zstd,
    /// The LZ4 frame format (lz4_Frame_format.md 1.6.4 of the LZ4 project).
    Lz4,
}

impl Format {
    /// Every format, in the order in which messages list them.
    pub const ALL: [Self; 5] = [Self::Gzip, Self::Zlib, Self::Deflate, Self::Zstd, Self::Lz4];

    /// The containers of a DEFLATE stream, those for which [`is_deflate`](Self::is_deflate) holds.
    pub const DEFLATE_FAMILY: [Self; 3] = [Self::Gzip, Self::Zlib, Self::Deflate];

    /// The name used in queries, headers and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zlib => "zlib",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
            Self::Lz4 => "lz4",
        }
    }

    /// Whether it holds a DEFLATE stream. Blocks of such a stream are made apart, anywhere, and joined, so a card may
    /// serve them; the others are made in order, by a [`StreamCompressor`](crate::StreamCompressor).
    #[must_use]
    pub const fn is_deflate(self) -> bool {
        match self {
            Self::Gzip | Self::Zlib | Self::Deflate => true,
            Self::Zstd | Self::Lz4 => false,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A word that names no format.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown format {got:?}: expected gzip, zlib, deflate, zstd or lz4")]
pub struct FormatError {
    /// What came, cut to 32 characters.
    pub got: String,
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(word: &str) -> Result<Self, FormatError> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == word)
            .ok_or_else(|| FormatError { got: quoted(word) })
    }
}

/// Compression level, 1 (fastest) to 12 (densest).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Level(u8);

impl Level {
    /// Level 1, the fastest.
    pub const MIN: Self = Self(1);
    /// Level 3, "balanced": what a caller gets who names none.
    pub const DEFAULT: Self = Self(3);
    /// Level 12, the densest.
    pub const MAX: Self = Self(12);

    /// A level from its number.
    ///
    /// # Errors
    /// [`LevelError`] outside 1..=12.
    pub fn new(number: u8) -> Result<Self, LevelError> {
        if (Self::MIN.0..=Self::MAX.0).contains(&number) {
            Ok(Self(number))
        } else {
            Err(LevelError {
                got: number.to_string(),
            })
        }
    }

    /// Every level, ascending.
    pub fn all() -> impl Iterator<Item = Self> {
        (Self::MIN.0..=Self::MAX.0).map(Self)
    }

    /// Its number, 1..=12.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for Level {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Display for Level {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Something that is no level.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("unknown level {got:?}: expected a whole number from 1 (fastest) to 12 (densest)")]
pub struct LevelError {
    /// What came, cut to 32 characters.
    pub got: String,
}

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(word: &str) -> Result<Self, LevelError> {
        // A sign is no digit: `+3` in a query is a space and a 3 for some, and 3 for others.
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        let number: Option<u8> = word.parse().ok().filter(|_| digits);
        Self::new(number.ok_or_else(|| LevelError { got: quoted(word) })?)
    }
}

fn quoted(word: &str) -> String {
    word.chars().take(QUOTED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_parses_from_its_own_name() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
    }

    #[test]
    fn an_unknown_format_is_refused_with_the_accepted_names() {
        let message = "br"
            .parse::<Format>()
            .expect_err("br is no format of ours")
            .to_string();
        for format in Format::ALL {
            assert!(message.contains(format.name()), "{message}");
        }
        assert!(message.contains("\"br\""), "{message}");
    }

    #[test]
    fn a_long_word_is_not_repeated_in_full() {
        let error = "x".repeat(10_000).parse::<Format>().expect_err("no format");
        assert_eq!(error.got.len(), QUOTED_CHARS_MAX);
    }

    #[test]
    fn levels_are_one_to_twelve() {
        assert_eq!(Level::all().count(), 12);
        assert_eq!("3".parse(), Ok(Level::default()));
        for word in ["0", "13", "256", "-1", "+3", "", "fast"] {
            let error = word.parse::<Level>().expect_err(word);
            assert_eq!(error.got, word);
        }
    }
}
