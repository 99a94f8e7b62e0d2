//! Whether a pattern stands in one place only.
//!
//! libdeflate does not say where a member ended, but it compared the trailer that it met there.

/// Whether `bytes`, which end in `pattern`, hold it nowhere else, overlaps included.
///
/// Written in strides over two bytes at a time so that the compiler makes vector code of it; only a
/// stride in which the pair occurs is searched in full.
pub(crate) fn occurs_only_at_end(bytes: &[u8], pattern: [u8; 8]) -> bool {
    const STRIDE: usize = 256;
    let Some(last) = bytes.len().checked_sub(pattern.len()) else {
        return false;
    };
    let [first, second, ..] = pattern;
    let mut start = 0;
    while start < last {
        let end = (start + STRIDE).min(last);
        let here = bytes.get(start..end).unwrap_or_default();
        let following = bytes.get(start + 1..end + 1).unwrap_or_default();
        let pair_occurs = here
            .iter()
            .zip(following)
            .fold(false, |any, (&a, &b)| any | ((a == first) & (b == second)));
        if pair_occurs
            && bytes
                .get(start..end + pattern.len() - 1)
                .unwrap_or_default()
                .windows(pattern.len())
                .any(|w| w == pattern)
        {
            return false;
        }
        start = end;
    }
    bytes.ends_with(&pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_occurrence_is_found_wherever_it_stands() {
        let pattern = *b"\x01\x02\x03\x04\x05\0\0\0";
        for len in [8, 9, 100, 255, 256, 257, 263, 264, 265, 600] {
            let mut bytes = vec![1u8; len];
            bytes[len - 8..].copy_from_slice(&pattern);
            assert!(occurs_only_at_end(&bytes, pattern), "{len}");
            for at in 0..=len.saturating_sub(16) {
                if len < 16 {
                    continue;
                }
                let mut twice = bytes.clone();
                twice[at..at + 8].copy_from_slice(&pattern);
                assert!(!occurs_only_at_end(&twice, pattern), "{at} of {len}");
            }
        }
    }

    #[test]
    fn overlapping_occurrences_count() {
        assert!(!occurs_only_at_end(&[7; 9], [7; 8]));
        assert!(occurs_only_at_end(&[7; 8], [7; 8]));
        assert!(!occurs_only_at_end(&[7; 7], [7; 8]));
    }
}
