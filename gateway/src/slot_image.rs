//! Kernels as slots take them, and where they come from.
//!
//! Owns the words that the image store, the cards' supervisors and the slot policy share. Invariant: a [`SlotImage`] was
//! verified right before it was handed out, by whoever implements [`ImageSource`]. It does not know what a signature is.

use std::fmt;
use std::sync::Arc;

use faam_hwif::Serves;
use faam_hwif::slot::KERNEL_UUID_BYTES;

use crate::images::ImageError;

/// A kernel that may be loaded.
#[derive(Clone)]
pub struct SlotImage {
    /// The image's name in the store.
    pub name: String,
    /// Which kernel it is.
    pub kernel_uuid: [u8; KERNEL_UUID_BYTES],
    /// What it does.
    pub serves: Serves,
    /// What the slot takes.
    pub payload: Arc<[u8]>,
    /// A job that its manifest says the output of, where a card can be given it.
    pub golden: Option<SlotGolden>,
}

/// A job whose output an image's manifest knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotGolden {
    /// Decompression of a gzip member; otherwise compression into one with the fixed code.
    pub decompresses: bool,
    /// Its input.
    pub input: Vec<u8>,
    /// SHA-256 of its output.
    pub output_sha256: [u8; 32],
}

impl fmt::Debug for SlotImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotImage")
            .field("name", &self.name)
            .field("serves", &self.serves)
            .field("payload_bytes", &self.payload.len())
            .finish_non_exhaustive()
    }
}

/// What is known of an image without reading all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageEntry {
    /// Its name in the store.
    pub name: String,
    /// Which kernel it is.
    pub kernel_uuid: [u8; KERNEL_UUID_BYTES],
    /// What it does.
    pub serves: Serves,
}

/// What images have to fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotDevice {
    /// JTAG IDCODE of the device.
    pub idcode: u32,
    /// Revision of its static region.
    pub shell: u32,
    /// Whether it is anything but hardware.
    pub simulated: bool,
    /// Longest payload, bytes.
    pub image_bytes_max: u32,
}

/// Where images come from.
pub trait ImageSource: fmt::Debug + Send + Sync {
    /// The newest image of each kernel that fits the device, the better one first where two do the same.
    fn list(&self, device: &SlotDevice) -> Vec<ImageEntry>;

    /// The name of the kernel with this uuid, as a slot's status writes it, where there is an image of it.
    fn name_of(&self, kernel: &str) -> Option<String>;

    /// An image, verified anew, and compared with the device that it goes to: of a name the newest that fits it.
    ///
    /// # Errors
    /// Why it is not to be loaded.
    fn verified(&self, name: &str, device: &SlotDevice) -> Result<SlotImage, ImageError>;
}

/// A gateway without a store of images.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoImages;

impl ImageSource for NoImages {
    fn list(&self, _: &SlotDevice) -> Vec<ImageEntry> {
        Vec::new()
    }

    fn name_of(&self, _: &str) -> Option<String> {
        None
    }

    fn verified(&self, name: &str, _: &SlotDevice) -> Result<SlotImage, ImageError> {
        Err(ImageError::Unnamed {
            name: name.to_owned(),
        })
    }
}

/// The names of what a kernel does.
#[must_use]
pub fn served(serves: Serves) -> Vec<&'static str> {
    let all = [
        (Serves::FAST, "fast"),
        (Serves::TABLES, "tables"),
        (Serves::INFLATE, "inflate"),
    ];
    all.into_iter()
        .filter(|(bit, _)| serves.has(*bit))
        .map(|(_, name)| name)
        .collect()
}

/// A kernel's uuid as it is written.
#[must_use]
pub fn kernel_text(kernel_uuid: [u8; KERNEL_UUID_BYTES]) -> String {
    uuid::Uuid::from_bytes(kernel_uuid).to_string()
}
