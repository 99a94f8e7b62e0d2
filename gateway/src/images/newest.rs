//! Which of several images of one kernel is the newest.
//!
//! Invariant: the security version counts before the version, which is for people: numbers in it are compared as numbers, so that
//! 1.10 comes after 1.9. It does not know which of them fit a device: whoever asks shows it those.

use std::cmp::Ordering;

use super::ImageSummary;

/// The newest of these.
pub(super) fn newest<'i>(
    images: impl Iterator<Item = &'i ImageSummary>,
) -> Option<&'i ImageSummary> {
    images.max_by(|one, other| {
        let security = one.security_version.cmp(&other.security_version);
        let version = || parts(&one.version).cmp(parts(&other.version));
        security
            .then_with(version)
            .then_with(|| one.image.cmp(&other.image))
    })
}

/// A run of digits, or of anything else.
#[derive(PartialEq, Eq)]
enum Part<'v> {
    Text(&'v str),
    /// Without zeros in front.
    Number(&'v str),
}

impl Ord for Part<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            // Of as many digits the text's order is the numbers'.
            (Self::Number(one), Self::Number(other)) => {
                one.len().cmp(&other.len()).then_with(|| one.cmp(other))
            }
            (Self::Text(_), Self::Number(_)) => Ordering::Less,
            (Self::Number(_), Self::Text(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Part<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn parts(version: &str) -> impl Iterator<Item = Part<'_>> {
    let mut left = version;
    std::iter::from_fn(move || {
        let is_digit = left.chars().next()?.is_ascii_digit();
        let end = left.find(|c: char| c.is_ascii_digit() != is_digit);
        let (part, rest) = left.split_at(end.unwrap_or(left.len()));
        left = rest;
        Some(match is_digit {
            true => Part::Number(part.trim_start_matches('0')),
            false => Part::Text(part),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_versions_are_compared_as_numbers() {
        let versions = [
            "",
            "a",
            "1",
            "1.0.0",
            "1.0.1",
            "1.9",
            "1.9.1",
            "1.010",
            "1.10.1",
            "1.99999999999999999999999",
            "2",
            "10-rc1",
            "10-rc2",
            "10-rc10",
        ];
        for (place, one) in versions.iter().enumerate() {
            for (other_place, other) in versions.iter().enumerate() {
                assert_eq!(
                    parts(one).cmp(parts(other)),
                    place.cmp(&other_place),
                    "{one:?} and {other:?}"
                );
            }
        }
    }
}
