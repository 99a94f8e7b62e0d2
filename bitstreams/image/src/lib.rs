//! Image packages: a kernel's bitstream with what it is, where it fits, and who says so.
//!
//! Owns the `.fgi` package: its archive, its manifest, its signature, and every reason for which one is refused. Invariants:
//! nothing of a package is parsed before the signature over it holds, but to tell which of two copies is damaged; a package has one encoding, so that no byte of it can
//! change unseen; whatever comes in is bounded before it is looked at, and foreign bytes never panic. It knows no files, no
//! clock, no network, and programs nothing.
//!
//! | file | owns |
//! |---|---|
//! | `archive.rs` | the tar archive, in the one form that is taken |
//! | `builder.rs` | a package from its description, the same bytes each time |
//! | `description.rs` | what is described in TOML |
//! | `device.rs` | what a device says of itself, and whether an image fits it |
//! | `key.rs` | keys, their ids, their lines of text |
//! | `manifest.rs` | what an image says of itself |
//! | `package.rs` | a package read: position, signature, manifest, files, in that order |
//! | `payload.rs` | what a simulated card's slot takes in place of a bitstream |
//! | `refusal.rs` | each reason, its words and its mend |
//! | `signature.rs` | the signature's file and what it is over |
//! | `trust.rs` | trusted keys, revoked keys and images, least security versions |

#![forbid(unsafe_code)]

mod archive;
mod builder;
mod description;
mod device;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod key;
mod manifest;
mod package;
mod payload;
mod refusal;
mod signature;
mod trust;

pub use archive::{MANIFEST_BYTES_MAX, NAME_BYTES_MAX, PACKAGE_BYTES_MAX};
pub use builder::{BuildError, Ingredients, build, resign};
pub use description::Description;
pub use device::{
    DRIVER_ABI, DeviceFacts, DeviceNeeds, DevicePoint, INTERFACE, SIMULATED_IDCODE, SIMULATED_SHELL,
};
pub use key::{KeyError, KeyId, PublicKey, SigningKey};
pub use manifest::{
    Abi, Clock, Codecs, FILES_MAX, FileEntry, GOLDEN_BYTES_MAX, Golden, GoldenJob, Idcode,
    ImageKind, Manifest, PciId, SCHEMA, Serves, Shell, Target, WorstExpansion,
};
pub use package::{Package, intact_image};
pub use payload::{PayloadError, SlotPayload};
pub use refusal::ImageRefusal;
pub use trust::{Floors, KERNELS_MAX, KEYS_MAX, REVOKED_MAX, Revoked, Trust, TrustError};

/// An id made of a name or of bytes: the first 16 bytes of a SHA-256 under a domain of its own, as a UUID of version 8 (RFC
/// 9562, 5.8).
fn derived_uuid(domain: &[u8], bytes: &[u8]) -> uuid::Uuid {
    use sha2::{Digest, Sha256};
    let digest = Sha256::new().chain_update(domain).chain_update(bytes);
    let mut first = [0; 16];
    for (to, from) in first.iter_mut().zip(digest.finalize()) {
        *to = from;
    }
    uuid::Builder::from_custom_bytes(first).into_uuid()
}

/// The id of the kernel of this name: everybody who builds it comes to the same.
#[must_use]
pub fn kernel_uuid(name: &str) -> uuid::Uuid {
    derived_uuid(b"faam-kernel\0", name.as_bytes())
}

/// Whether a kernel can have this name: small letters, digits, dots, - and _, at most [`NAME_BYTES_MAX`] of them.
#[must_use]
pub fn is_kernel_name(name: &str) -> bool {
    archive::is_name(name) && !name.contains('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_have_the_ids_that_are_documented() {
        for (name, id) in [
            ("deflate-fast", "827bebc8-5d9e-819f-a3d8-accaf2a3c695"),
            ("deflate-tables", "e6ecc455-b517-8785-a8a3-7353c8c6a212"),
            ("inflate", "e0df8ab1-dc1f-88d3-99b3-3b08a6f49336"),
        ] {
            assert_eq!(kernel_uuid(name).to_string(), id, "{name}");
        }
    }
}
