//! The signature's file, and what a signature is over.
//!
//! Owns `manifest.sig`: one line of a word, the key's id and the signature (Ed25519, RFC 8032). Invariants: it has one length and
//! one form; what is signed is the exact bytes of `manifest.json` behind a prefix of its own, so that no signature made for
//! something else is one.

use crate::key::{KeyError, KeyId, SigningKey, hex, unhex};
use crate::refusal::ImageRefusal;

/// Bytes of a signature.
pub(crate) const SIGNATURE_BYTES: usize = 64;
/// Its file's name.
pub(crate) const SIGNATURE_FILE: &str = "manifest.sig";
/// Bytes of its file.
pub(crate) const SIGNATURE_FILE_BYTES: usize = WORD.len() + 16 + 1 + 2 * SIGNATURE_BYTES + 1;

const WORD: &str = "faam-image-signature ";
const DOMAIN: &[u8] = b"faam-image-manifest-v1\0";

/// Who signed, and with what.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(crate) key: KeyId,
    pub(crate) bytes: [u8; SIGNATURE_BYTES],
}

impl Signature {
    /// Reads its file.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, ImageRefusal> {
        let parse = || {
            let line = std::str::from_utf8(file).ok()?;
            let (key, bytes) = line
                .strip_prefix(WORD)?
                .strip_suffix('\n')?
                .split_once(' ')?;
            Some(Self {
                key: key.parse().ok()?,
                bytes: unhex(bytes)?,
            })
        };
        parse().ok_or(ImageRefusal::BadSignatureFile)
    }

    /// Over this manifest, by this key.
    pub(crate) fn make(manifest: &[u8], key: &SigningKey) -> Result<Self, KeyError> {
        Ok(Self {
            key: key.public().id(),
            bytes: key.sign(&message(manifest))?,
        })
    }

    /// Its file.
    pub(crate) fn file(&self) -> Vec<u8> {
        format!("{WORD}{} {}\n", self.key, hex(&self.bytes)).into_bytes()
    }
}

/// What is signed.
pub(crate) fn message(manifest: &[u8]) -> Vec<u8> {
    [DOMAIN, manifest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_file_has_one_form() {
        let key = SigningKey::from_seed([7; 32]).expect("a key");
        let made = Signature::make(b"{}", &key).expect("signed");
        let file = made.file();
        assert_eq!(file.len(), SIGNATURE_FILE_BYTES);
        let read = Signature::parse(&file).expect("its own");
        assert_eq!((read.key, read.bytes), (made.key, made.bytes));
        let upper = String::from_utf8(file.clone()).expect("text");
        let upper = upper.replacen('a', "A", 3);
        for bad in [&file[1..], &file[..file.len() - 1], upper.as_bytes(), b""] {
            assert!(Signature::parse(bad).is_err());
        }
        // Not over the bare bytes: a signature for something else is none here.
        assert!(!key.public().verifies(b"{}", &made.bytes));
        assert!(key.public().verifies(&message(b"{}"), &made.bytes));
    }
}
