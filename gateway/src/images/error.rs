//! Why an image was not taken, not found, or not given.

use std::io;
use std::path::PathBuf;

use faam_image::{ImageRefusal, TrustError};
use thiserror::Error;
use uuid::Uuid;

use super::{IMAGES_BYTES_MAX, IMAGES_MAX};

/// Reasons of a gateway's own, beside those of a package and its device.
const OWN_REASONS: [&str; 4] = ["misnamed", "unreadable", "full", "too-many-kernels"];

/// Every reason for which an image is refused, as events and metrics name them.
pub fn refusal_reasons() -> impl Iterator<Item = &'static str> {
    ImageRefusal::CODES.into_iter().chain(OWN_REASONS)
}

/// See the module's head.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The package itself, or its device.
    #[error(transparent)]
    Refused(Box<ImageRefusal>),
    /// More keys or revocations than are taken.
    #[error("images.trust or images.revoked is too long")]
    Trust(#[from] TrustError),
    /// Not here.
    #[error("there is no image {image} here; `faam image ls` lists them")]
    Missing {
        /// Which.
        image: Uuid,
    },
    /// None of this name, or none that may be used.
    #[error("{name:?} is no image of this gateway that may be used; `faam image ls` lists them")]
    Unnamed {
        /// What was asked for.
        name: String,
    },
    /// A file that somebody moved.
    #[error("the file of the image {image} holds the image {holds}: remove it, and add it again")]
    Misnamed {
        /// Whose file.
        image: Uuid,
        /// What is in it.
        holds: Uuid,
    },
    /// No room.
    #[error(
        "{count} images with {bytes} bytes are kept: expected at most {IMAGES_MAX} with {IMAGES_BYTES_MAX} bytes, this one among \
         them; remove some (`faam image rm`)"
    )]
    Full {
        /// How many are kept.
        count: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// As many kernels as are remembered.
    #[error(
        "the security versions of {} kernels are remembered, as many as can be; use another data directory",
        faam_image::KERNELS_MAX
    )]
    TooManyKernels,
    /// What says how far back nobody goes cannot be told any more.
    #[error(
        "{path} does not say which security versions were accepted ({what}): put it back from a copy; without it, remove it, and \
         images that were superseded are taken again"
    )]
    Floors {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A file.
    #[error(
        "cannot {what} {path}; make it accessible to the gateway's user, and see that the disk has room"
    )]
    File {
        /// `read` or so.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

impl ImageError {
    /// The reason's name, where it is a refusal of an image: one of [`refusal_reasons`].
    #[must_use]
    pub fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Refused(refusal) => Some(refusal.code()),
            Self::Misnamed { .. } => Some("misnamed"),
            Self::File { what: "read", .. } => Some("unreadable"),
            Self::Full { .. } => Some("full"),
            Self::TooManyKernels => Some("too-many-kernels"),
            Self::File { .. }
            | Self::Trust(_)
            | Self::Missing { .. }
            | Self::Unnamed { .. }
            | Self::Floors { .. } => None,
        }
    }
}
