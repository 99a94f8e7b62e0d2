//! Identifiers and secrets: random text over an alphabet.
//!
//! Invariant: every character is as likely as any other, whatever the alphabet's length.

/// Digits and small letters.
pub(super) const BASE36: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
/// Digits and all letters: 43 of them are 256 bits.
pub(super) const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// As access key ids have it (RFC 4648, 6).
pub(super) const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Characters of `BASE62` that are at least 256 random bits: 43 x log2(62) = 256.03.
pub(super) const SECRET_CHARS: usize = 43;

/// Random bytes that are asked for at once.
const DRAWN_BYTES: usize = 64;

/// `length` random characters of `alphabet`, which has at most 256.
pub(super) fn random_text(alphabet: &[u8], length: usize) -> Result<String, getrandom::Error> {
    let characters = alphabet.len().clamp(1, 256);
    // Bytes from here on would make the first characters likelier than the others.
    let fair = 256 / characters * characters;
    let mut text = String::with_capacity(length);
    let mut drawn = [0u8; DRAWN_BYTES];
    while text.len() < length {
        getrandom::fill(&mut drawn)?;
        let fair = drawn
            .iter()
            .map(|byte| usize::from(*byte))
            .filter(|byte| *byte < fair);
        for byte in fair.take(length - text.len()) {
            text.extend(alphabet.get(byte % characters).copied().map(char::from));
        }
    }
    Ok(text)
}

/// A number in `BASE62`, of `length` digits.
pub(super) fn base62(mut number: u32, length: usize) -> String {
    let mut digits = Vec::with_capacity(length);
    for _ in 0..length {
        let digit = usize::try_from(number % 62).unwrap_or_default();
        digits.extend(BASE62.get(digit).copied().map(char::from));
        number /= 62;
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_the_alphabets_and_all_of_them_come() {
        for alphabet in [BASE36, BASE62, BASE32] {
            let text = random_text(alphabet, 20_000).expect("random");
            assert_eq!(text.len(), 20_000);
            let mut counts = vec![0u32; alphabet.len()];
            for byte in text.bytes() {
                let at = alphabet.iter().position(|known| *known == byte);
                counts[at.expect("of the alphabet")] += 1;
            }
            // Expected: 300 and more of each; a character too few or too many by half is not chance.
            let expected = 20_000 / u32::try_from(alphabet.len()).expect("small");
            for count in counts {
                assert!(
                    (expected / 2..expected * 2).contains(&count),
                    "{count} of {expected}"
                );
            }
        }
    }

    #[test]
    fn numbers_have_their_digits() {
        assert_eq!(base62(0, 6), "000000");
        assert_eq!(base62(61, 2), "0z");
        assert_eq!(base62(u32::MAX, 6), "4gfFC3");
    }
}
