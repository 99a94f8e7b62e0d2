//! Why a package is refused: each reason with what was expected, what came, and what to do.
//!
//! Invariant: a reason has one variant, and a variant one code, by which programs know it. Texts of a package that stand in a
//! message are bounded and escaped.

use thiserror::Error;
use uuid::Uuid;

use crate::key::KeyId;
use crate::manifest::{Abi, Idcode, ImageKind, SCHEMA};

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ImageRefusal {
    /// Something else.
    #[error(
        "this is no image package: expected a tar archive whose first file is manifest.json, got one that begins with \"{got}\"; give \
         a .fgi file that `faam image build` made"
    )]
    NotAnArchive {
        /// Its first bytes, escaped.
        got: String,
    },
    /// Cut short.
    #[error(
        "the package is cut short: expected at least {expected} bytes, got {bytes}; copy or download it again"
    )]
    Truncated {
        /// Bytes that came.
        bytes: usize,
        /// Bytes that what came announces.
        expected: usize,
    },
    /// Beyond a bound.
    #[error(
        "{what} has {bytes} bytes: expected {bytes_max} at most; leave reports out, or build it for a smaller region"
    )]
    TooLarge {
        /// What.
        what: String,
        /// Its bytes.
        bytes: usize,
        /// The bound.
        bytes_max: usize,
    },
    /// A header or padding that nobody's builder writes.
    #[error(
        "the archive's entry at byte {at} is not as packages have it: {what}; the package was changed or packed by hand: build it \
         with `faam image build`"
    )]
    BadEntry {
        /// Where its header is.
        at: usize,
        /// What about it.
        what: &'static str,
    },
    /// No file.
    #[error(
        "the archive's entry at byte {at} is {kind}: expected plain files alone; build the package with `faam image build`"
    )]
    ForbiddenKind {
        /// Where.
        at: usize,
        /// What.
        kind: &'static str,
    },
    /// A name that could lead elsewhere.
    #[error(
        "the archive's entry at byte {at} is named \"{name}\": expected small letters, digits, dots, - and _, of files in reports/ \
         too; build the package with `faam image build`"
    )]
    ForbiddenName {
        /// Where.
        at: usize,
        /// The name, escaped.
        name: String,
    },
    /// A file where another one belongs.
    #[error(
        "the archive has {got} where {expected} belongs; the package was changed or packed by hand: build it with `faam image build`"
    )]
    OutOfPlace {
        /// What belongs there.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A file twice.
    #[error(
        "the archive has {name} twice: which of them would be programmed? Build the package with `faam image build`"
    )]
    Duplicate {
        /// Which.
        name: String,
    },
    /// A file that the manifest does not name.
    #[error(
        "the archive has {name}, which the manifest does not list; somebody added it: get the package from who signed it"
    )]
    Unlisted {
        /// Which.
        name: String,
    },
    /// A file that the manifest names and that is not there.
    #[error(
        "the manifest lists {name}, which the archive does not have; somebody took it out: get the package from who signed it"
    )]
    Missing {
        /// Which.
        name: String,
    },
    /// Bytes behind the end.
    #[error(
        "{bytes} bytes follow the archive's end: expected none; get the package from who signed it"
    )]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// The signature's file is none.
    #[error(
        "manifest.sig is no signature: expected one line of faam-image-signature, a key's id and 128 hexadecimal digits; sign the \
         package with `faam image sign`"
    )]
    BadSignatureFile,
    /// Nobody trusts its key.
    #[error(
        "the package is signed by the key {key}, which is not among the {trusted} that are trusted; if you trust whoever has it, add \
         its public key to images.trust"
    )]
    UnknownKey {
        /// Which.
        key: KeyId,
        /// How many are.
        trusted: usize,
    },
    /// Its key is trusted no more.
    #[error(
        "the package is signed by the key {key}, which was revoked (images.revoked); get a package that is signed by another key"
    )]
    RevokedKey {
        /// Which.
        key: KeyId,
    },
    /// The signature is not over this manifest by this key.
    #[error(
        "the manifest was changed after it was signed: the signature in manifest.sig is not the one of the key {key} over it; get the \
         package again from who signed it"
    )]
    TamperedManifest {
        /// The key that it names.
        key: KeyId,
    },
    /// A trusted key's signature under a manifest that names another signer.
    #[error(
        "the package was signed again: its manifest says that the key {named} signs it, its signature is by {by}; get the package that \
         {named} signed, or have {by} take it over with `faam image sign`"
    )]
    Resigned {
        /// The one of the manifest.
        named: KeyId,
        /// The one of the signature.
        by: KeyId,
    },
    /// Another generation of manifests.
    #[error(
        "the manifest has schema {got}, this faam knows {SCHEMA}: use a faam of the image's release, or build the image with this one"
    )]
    UnsupportedSchema {
        /// What came.
        got: u64,
    },
    /// Signed, and not to be used.
    #[error(
        "the manifest cannot be used: {what}; whoever signed it has to build the package again"
    )]
    BadManifest {
        /// What about it.
        what: String,
    },
    /// A file is not the signed one.
    #[error(
        "{name} was changed after the package was signed: expected SHA-256 {expected}, got {got}; get the package again from who \
         signed it"
    )]
    TamperedFile {
        /// Which.
        name: String,
        /// The manifest's.
        expected: String,
        /// The file's.
        got: String,
    },
    /// The image itself was withdrawn.
    #[error(
        "the image {image} ({name}) was revoked (images.revoked): use a newer one of its kernel"
    )]
    RevokedImage {
        /// Which.
        image: Uuid,
        /// Its name.
        name: String,
    },
    /// A step back.
    #[error(
        "the image {name} has security version {got}, and one with {least} was accepted here before: an older one would bring back \
         what that mended; build it with security_version {least} or more"
    )]
    Older {
        /// Its name.
        name: String,
        /// Its own.
        got: u32,
        /// The least.
        least: u32,
    },
    /// For another device.
    #[error(
        "the image is for the device {expected_part} (idcode {expected}), this one is {got_part} (idcode {got}): use an image that \
         was built for it"
    )]
    WrongDevice {
        /// The image's.
        expected: Idcode,
        /// Its family and part.
        expected_part: String,
        /// The device's.
        got: Idcode,
        /// Its family and part, as far as they are known.
        got_part: String,
    },
    /// For another way of being loaded.
    #[error(
        "the image is of kind {got}, this device takes {expected}: use an image that was built for its slots"
    )]
    WrongKind {
        /// What the device takes.
        expected: ImageKind,
        /// What came.
        got: ImageKind,
    },
    /// For another static region.
    #[error(
        "the image was built for the shell {expected:#010x} ({name}), this device has {got:#010x}: use an image that was built for \
         that shell"
    )]
    WrongShell {
        /// The image's.
        expected: u32,
        /// Its name.
        name: String,
        /// The device's.
        got: u32,
    },
    /// For another contract.
    #[error(
        "the image speaks the interface {image}, this device {device}: use an image and a card of one release of the register map"
    )]
    WrongInterface {
        /// The image's.
        image: Uuid,
        /// The device's.
        device: Uuid,
    },
    /// For a later driver.
    #[error("the image needs driver ABI {needs}, this faam has {has}: update faam")]
    DriverTooOld {
        /// The least that it works with.
        needs: Abi,
        /// This one's.
        has: Abi,
    },
}

impl ImageRefusal {
    /// Every [`ImageRefusal::code`] that there is.
    pub const CODES: [&'static str; 26] = [
        "not-an-archive",
        "truncated",
        "too-large",
        "bad-entry",
        "forbidden-kind",
        "forbidden-name",
        "out-of-place",
        "duplicate",
        "unlisted",
        "missing",
        "trailing",
        "bad-signature-file",
        "unknown-key",
        "revoked-key",
        "tampered-manifest",
        "re-signed",
        "unsupported-schema",
        "bad-manifest",
        "tampered-file",
        "revoked-image",
        "older",
        "wrong-device",
        "wrong-kind",
        "wrong-shell",
        "wrong-interface",
        "driver-too-old",
    ];

    /// Its name for programs, in events and in `--json`.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotAnArchive { .. } => "not-an-archive",
            Self::Truncated { .. } => "truncated",
            Self::TooLarge { .. } => "too-large",
            Self::BadEntry { .. } => "bad-entry",
            Self::ForbiddenKind { .. } => "forbidden-kind",
            Self::ForbiddenName { .. } => "forbidden-name",
            Self::OutOfPlace { .. } => "out-of-place",
            Self::Duplicate { .. } => "duplicate",
            Self::Unlisted { .. } => "unlisted",
            Self::Missing { .. } => "missing",
            Self::Trailing { .. } => "trailing",
            Self::BadSignatureFile => "bad-signature-file",
            Self::UnknownKey { .. } => "unknown-key",
            Self::RevokedKey { .. } => "revoked-key",
            Self::TamperedManifest { .. } => "tampered-manifest",
            Self::Resigned { .. } => "re-signed",
            Self::UnsupportedSchema { .. } => "unsupported-schema",
            Self::BadManifest { .. } => "bad-manifest",
            Self::TamperedFile { .. } => "tampered-file",
            Self::RevokedImage { .. } => "revoked-image",
            Self::Older { .. } => "older",
            Self::WrongDevice { .. } => "wrong-device",
            Self::WrongKind { .. } => "wrong-kind",
            Self::WrongShell { .. } => "wrong-shell",
            Self::WrongInterface { .. } => "wrong-interface",
            Self::DriverTooOld { .. } => "driver-too-old",
        }
    }
}
