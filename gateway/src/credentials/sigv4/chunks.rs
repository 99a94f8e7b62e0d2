//! Bodies signed in chunks: `x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD` (AWS, "Signature calculations for the
//! Authorization header: transferring payload in multiple chunks").
//!
//! Each chunk is `HEX-LENGTH;chunk-signature=HEX` CR LF, its bytes, CR LF; the last is empty. A chunk's signature is of the one
//! before it, and the first one's of the request's own, so that none can be changed, left out or moved. Invariants: no byte is
//! given out before the signatures of all chunks are compared, in constant time; what is not exactly this form is refused;
//! all together are as long as `x-amz-decoded-content-length` says. It knows no HTTP body: it opens one that was read.

use std::fmt;

use bytes::{Bytes, BytesMut};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::{EMPTY_SHA256, SigV4Error};
use crate::auth::AuthError;
use crate::credentials::keyring::{KeyedMac, MAC_BYTES, hex, unhex};

/// What a chunk's text to sign begins with.
const CHUNK_ALGORITHM: &str = "AWS4-HMAC-SHA256-PAYLOAD";
/// Between a chunk's length and its signature.
const SIGNATURE_MARK: &[u8] = b";chunk-signature=";
/// Longest length of a chunk, in hexadecimal digits: of a body that is held whole.
const LENGTH_DIGITS_MAX: usize = 8;
const LINE_END: &[u8] = b"\r\n";
/// Least bytes of a chunk that is not the last with any: AWS's own rule, so that a body has no more signatures than it is worth.
const CHUNK_BYTES_MIN: usize = 8 << 10;
/// What frames one chunk.
const FRAME_BYTES_MAX: usize =
    LENGTH_DIGITS_MAX + SIGNATURE_MARK.len() + 2 * MAC_BYTES + 2 * LINE_END.len();

/// What frames the chunks of a body of this length, at most.
#[must_use]
pub const fn framing_bytes_max(length: usize) -> usize {
    (length / CHUNK_BYTES_MIN + 2) * FRAME_BYTES_MAX
}

/// What the chunks of one request's body have to be signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Chunks {
    /// The key of the request's day, region and service.
    pub(super) key: [u8; MAC_BYTES],
    /// `x-amz-date`.
    pub(super) date: Box<str>,
    /// `day/region/service/aws4_request`
    pub(super) scope: Box<str>,
    /// The request's own signature.
    pub(super) seed: [u8; MAC_BYTES],
    /// Bytes of all chunks.
    pub(super) decoded_length: u64,
}

impl fmt::Debug for Chunks {
    /// Without the key.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Chunks");
        shown.field("scope", &self.scope).finish_non_exhaustive()
    }
}

impl Chunks {
    /// Bytes of all chunks together, as the request says it.
    #[must_use]
    pub const fn decoded_length(&self) -> u64 {
        self.decoded_length
    }

    /// The bytes that a body is of.
    ///
    /// # Errors
    /// [`SigV4Error::ChunkForm`] for what is not in chunks; that of a wrong signature where one is.
    pub fn open(&self, body: &Bytes) -> Result<Bytes, AuthError> {
        let mac = KeyedMac::new(&self.key);
        let mut rest = body.as_ref();
        let mut previous = self.seed;
        let mut all_hold = Choice::from(1);
        let mut opened = BytesMut::with_capacity(body.len());
        let mut was_short = false;
        loop {
            let (chunk, signature, behind) = next(rest).ok_or(SigV4Error::ChunkForm)?;
            if was_short && !chunk.is_empty() {
                return Err(SigV4Error::ChunkForm.into());
            }
            was_short = chunk.len() < CHUNK_BYTES_MIN;
            let made = self.signature(&mac, &previous, chunk);
            all_hold &= made.ct_eq(&signature);
            previous = signature;
            rest = behind;
            if chunk.is_empty() {
                break;
            }
            opened.extend_from_slice(chunk);
        }
        if !rest.is_empty() || opened.len() as u64 != self.decoded_length {
            return Err(SigV4Error::ChunkForm.into());
        }
        match bool::from(all_hold) {
            true => Ok(opened.freeze()),
            false => Err(AuthError::Invalid(super::ALGORITHM)),
        }
    }

    fn signature(
        &self,
        mac: &KeyedMac,
        previous: &[u8; MAC_BYTES],
        chunk: &[u8],
    ) -> [u8; MAC_BYTES] {
        let chunk: [u8; MAC_BYTES] = Sha256::digest(chunk).into();
        let Self { date, scope, .. } = self;
        let to_sign = format!(
            "{CHUNK_ALGORITHM}\n{date}\n{scope}\n{}\n{EMPTY_SHA256}\n{}",
            hex(previous),
            hex(&chunk)
        );
        mac.of(&[to_sign.as_bytes()])
    }
}

/// The first chunk of `body`, its signature, and what comes behind it.
fn next(body: &[u8]) -> Option<(&[u8], [u8; MAC_BYTES], &[u8])> {
    let digits = body.iter().take(LENGTH_DIGITS_MAX + 1);
    let digits = digits.take_while(|byte| byte.is_ascii_hexdigit()).count();
    if !(1..=LENGTH_DIGITS_MAX).contains(&digits) {
        return None;
    }
    let (length, rest) = body.split_at_checked(digits)?;
    let length = usize::from_str_radix(std::str::from_utf8(length).ok()?, 16).ok()?;
    let (signature, rest) = rest
        .strip_prefix(SIGNATURE_MARK)?
        .split_at_checked(2 * MAC_BYTES)?;
    let signature = unhex(std::str::from_utf8(signature).ok()?)?;
    let (chunk, rest) = rest.strip_prefix(LINE_END)?.split_at_checked(length)?;
    Some((chunk, signature, rest.strip_prefix(LINE_END)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::sigv4::signing_key;

    /// AWS's own example: 66,560 bytes of `a` in chunks of 65,536 and 1,024.
    fn example() -> (Chunks, Vec<u8>) {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let chunks = Chunks {
            key: signing_key(secret, "20130524", "us-east-1", "s3"),
            date: "20130524T000000Z".into(),
            scope: "20130524/us-east-1/s3/aws4_request".into(),
            seed: unhex("4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9")
                .expect("hex"),
            decoded_length: 66_560,
        };
        let mut body = Vec::new();
        for (length, signature) in [
            (
                65_536,
                "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
            ),
            (
                1_024,
                "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
            ),
            (
                0,
                "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
            ),
        ] {
            body.extend(format!("{length:x};chunk-signature={signature}\r\n").bytes());
            body.extend(std::iter::repeat_n(b'a', length));
            body.extend(b"\r\n");
        }
        (chunks, body)
    }

    #[test]
    fn chunks_are_those_of_awss_own_example() {
        let (chunks, body) = example();
        let opened = chunks.open(&body.into()).expect("signed");
        assert_eq!(opened.len(), 66_560);
        assert!(opened.iter().all(|byte| *byte == b'a'));
        assert!(!format!("{chunks:?}").contains("key"), "{chunks:?}");
    }

    #[test]
    fn what_was_changed_left_out_moved_or_cut_is_refused() {
        let (chunks, body) = example();
        let invalid = AuthError::Invalid("AWS4-HMAC-SHA256");
        let form = AuthError::SigV4(SigV4Error::ChunkForm);
        let of = |body: Vec<u8>| chunks.open(&body.into()).expect_err("refused");
        let second = 65_536 + "10000;chunk-signature=".len() + 64 + 4;
        let last = body.len() - ("0;chunk-signature=".len() + 64 + 4);
        let mut changed = body.clone();
        changed[200] = b'b';
        assert_eq!(of(changed), invalid);
        let mut signature = body.clone();
        let digit = last + "0;chunk-signature=".len();
        signature[digit] = if signature[digit] == b'0' { b'1' } else { b'0' };
        assert_eq!(of(signature), invalid);
        let without_second = [&body[..second], &body[last..]].concat();
        assert_eq!(of(without_second), form, "shorter than it says");
        let moved = [&body[second..last], &body[..second], &body[last..]].concat();
        assert_eq!(of(moved), form, "a short chunk is the last");
        let twice = [&body[..second], &body[..second], &body[last..]].concat();
        let mut longer = chunks.clone();
        longer.decoded_length = 131_072;
        assert_eq!(
            longer.open(&twice.into()),
            Err(invalid),
            "each is of the one before it"
        );
        let mut more = body.clone();
        more.push(b'x');
        assert_eq!(of(more), form);
        for cut in (0..body.len())
            .step_by(997)
            .chain([second, last, body.len() - 1])
        {
            assert_eq!(of(body[..cut].to_vec()), form, "cut at {cut}");
        }
        for no_form in [
            "",
            "\r\n",
            "0\r\n\r\n",
            "g;chunk-signature=",
            "123456789;chunk-signature=",
        ] {
            assert_eq!(of(no_form.into()), form, "{no_form:?}");
        }
    }
}
