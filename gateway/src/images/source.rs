//! The image store as slots know it: the newest image of each kernel that fits a device, verified anew each time that one is asked for.
//!
//! Invariant: what it hands out was read from its file and compared with the device then. It does not know what a slot holds.

use faam_hwif::Serves;
use faam_image::{DeviceFacts, GoldenJob, ImageKind, Manifest};
use uuid::Uuid;

use super::{ImageError, ImageStore, ImageSummary};
use crate::slot_image::{ImageEntry, ImageSource, SlotDevice, SlotGolden, SlotImage};

impl ImageSource for ImageStore {
    fn list(&self, device: &SlotDevice) -> Vec<ImageEntry> {
        let images = self.list_for(&DeviceFacts::from(device));
        images.iter().map(ImageEntry::from).collect()
    }

    fn name_of(&self, kernel: &str) -> Option<String> {
        ImageStore::name_of(self, Uuid::parse_str(kernel).ok()?)
    }

    fn verified(&self, name: &str, device: &SlotDevice) -> Result<SlotImage, ImageError> {
        let facts = DeviceFacts::from(device);
        let unnamed = || ImageError::Unnamed {
            name: name.to_owned(),
        };
        let image = self.find_for(name, &facts).ok_or_else(unnamed)?;
        let verified = ImageStore::verified(self, image, &facts)?;
        Ok(SlotImage {
            name: verified.manifest.name.clone(),
            kernel_uuid: *verified.manifest.kernel.as_bytes(),
            serves: serves(verified.manifest.serves_bits()),
            payload: verified.payload,
            golden: golden(&verified.manifest),
        })
    }
}

impl From<&SlotDevice> for DeviceFacts {
    fn from(device: &SlotDevice) -> Self {
        let takes = match device.simulated {
            true => ImageKind::Sim,
            false => ImageKind::Partial,
        };
        // Of another interface than this release's no function comes into service: its driver refuses it.
        Self::of_idcode(device.idcode, device.shell, takes)
    }
}

impl From<&ImageSummary> for ImageEntry {
    fn from(image: &ImageSummary) -> Self {
        let bits = image.serves.iter().fold(0, |bits, job| bits | job.bit());
        Self {
            name: image.name.clone(),
            kernel_uuid: *image.kernel.as_bytes(),
            serves: serves(bits),
        }
    }
}

/// The manifest's golden job, where it is one that a function's queues take: a count's histogram stays in the driver, and a card
/// has one way at the level that a golden compression is of.
fn golden(manifest: &Manifest) -> Option<SlotGolden> {
    let golden = &manifest.golden;
    let decompresses = match (golden.job, golden.ways) {
        (GoldenJob::Decompress, _) => true,
        (GoldenJob::Compress, Some(1)) => false,
        (GoldenJob::Compress | GoldenJob::Count, _) => return None,
    };
    Some(SlotGolden {
        decompresses,
        input: golden.input_bytes(),
        output_sha256: golden.output_sha256_bytes()?,
    })
}

/// The same bits: `faam_image` and the contract number them alike.
fn serves(bits: u8) -> Serves {
    Serves(bits)
}
