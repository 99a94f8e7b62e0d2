//! Base64 with the standard alphabet and padding (RFC 4648, 4), both ways, many bytes at a time.
//!
//! Invariant: a text is taken only if it is the one that its bytes are written as: no white space, no padding left out, no
//! bits set behind the last byte. It knows neither JSON nor who sends it.

use thiserror::Error;

/// Characters that stand for three bytes, as many as a text's length is a multiple of.
const QUANTUM: usize = 4;
/// Padding in the last four characters, at most.
const PADDING_MAX: usize = 2;

/// Why a text is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Base64Error {
    /// Characters are missing, or padding.
    #[error("it has {0} characters, which is no multiple of 4")]
    Length(usize),
    /// One that is not of the alphabet, or padding before the end.
    #[error("its byte {at} is 0x{byte:02x}, which may not stand there")]
    Character {
        /// Where, from 0.
        at: usize,
        /// What.
        byte: u8,
    },
    /// Two texts would be of the same bytes.
    #[error("its last character sets bits behind the last byte")]
    BitsBehind,
}

/// The bytes of a text.
pub(crate) fn decode(text: &[u8]) -> Result<Vec<u8>, Base64Error> {
    base64_simd::STANDARD
        .decode_to_vec(text)
        .map_err(|_| why(text))
}

/// The text of bytes, at the end of others.
pub(crate) fn encode_onto(bytes: &[u8], text: &mut Vec<u8>) {
    base64_simd::STANDARD.encode_append(bytes, text);
}

/// The text of bytes.
pub(crate) fn encode(bytes: &[u8]) -> String {
    base64_simd::STANDARD.encode_to_string(bytes)
}

/// The text of bytes, in the alphabet for URLs and without padding (RFC 4648, 5).
pub(crate) fn encode_url_safe(bytes: &[u8]) -> String {
    base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes)
}

/// Length of the text of so many bytes.
pub(crate) const fn encoded_len(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(QUANTUM)
}

/// Why a text that was refused is none.
fn why(text: &[u8]) -> Base64Error {
    let mut symbols = text;
    for _ in 0..PADDING_MAX {
        symbols = symbols.strip_suffix(b"=").unwrap_or(symbols);
    }
    let foreign = |byte: &u8| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'));
    let found = symbols.iter().position(foreign);
    match found.and_then(|at| Some((at, *symbols.get(at)?))) {
        Some((at, byte)) => Base64Error::Character { at, byte },
        None if !text.len().is_multiple_of(QUANTUM) => Base64Error::Length(text.len()),
        None => Base64Error::BitsBehind,
    }
}

#[cfg(test)]
mod tests {
    use ::base64::Engine as _;
    use ::base64::engine::general_purpose::STANDARD;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_text_is_refused_by_what_is_wrong_with_it() {
        for (text, why) in [
            ("a", Base64Error::Length(1)),
            ("aGVsbG8", Base64Error::Length(7)),
            ("aGVsbG8= ", Base64Error::Character { at: 7, byte: b'=' }),
            ("aGVs\nbG8", Base64Error::Character { at: 4, byte: b'\n' }),
            ("AA==AAAA", Base64Error::Character { at: 2, byte: b'=' }),
            ("a-_b", Base64Error::Character { at: 1, byte: b'-' }),
            ("A===", Base64Error::Character { at: 1, byte: b'=' }),
            ("aGVsbG9=", Base64Error::BitsBehind),
            ("/x==", Base64Error::BitsBehind),
        ] {
            assert_eq!(decode(text.as_bytes()), Err(why), "{text}");
        }
    }

    /// A text with one character changed, at a length at which many are looked at together.
    fn changed() -> impl Strategy<Value = Vec<u8>> {
        (
            vec(any::<u8>(), 1..400),
            any::<u8>(),
            any::<prop::sample::Index>(),
        )
            .prop_map(|(bytes, byte, at)| {
                let mut text = STANDARD.encode(bytes).into_bytes();
                let at = at.index(text.len());
                text[at] = byte;
                text
            })
    }

    proptest! {
        #[test]
        fn bytes_are_written_as_another_implementation_writes_them(bytes in vec(any::<u8>(), 0..400)) {
            let text = STANDARD.encode(&bytes);
            prop_assert_eq!(&encode(&bytes), &text);
            prop_assert_eq!(encoded_len(bytes.len()), text.len());
            let mut onto = b"x".to_vec();
            encode_onto(&bytes, &mut onto);
            prop_assert_eq!(&onto[1..], text.as_bytes());
            prop_assert_eq!(decode(text.as_bytes()), Ok(bytes));
        }

        #[test]
        fn what_another_implementation_takes_is_taken_and_nothing_else(text in changed()) {
            prop_assert_eq!(decode(&text).ok(), STANDARD.decode(&text).ok());
        }

        #[test]
        fn short_texts_as_well(text in "[A-Da+/=\\- ]{0,9}") {
            prop_assert_eq!(decode(text.as_bytes()).ok(), STANDARD.decode(&text).ok());
        }
    }
}
