//! What is listed of an image.

use faam_image::{DeviceFacts, DeviceNeeds, ImageKind, KeyId, Manifest, Serves};
use serde::Serialize;
use uuid::Uuid;

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageSummary {
    /// Its id.
    pub image: Uuid,
    /// Its kernel's name; empty where it is refused.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its kernel.
    pub kernel: Uuid,
    /// How it is loaded; `None` where it is refused.
    pub kind: Option<ImageKind>,
    /// The part that it is for.
    pub part: String,
    /// What a device has to be; `None` where it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub needs: Option<DeviceNeeds>,
    /// Jobs that it serves.
    pub serves: Vec<Serves>,
    /// Its security version.
    pub security_version: u32,
    /// Who signed it.
    pub signer: Option<KeyId>,
    /// Bytes of its package.
    pub bytes: u64,
    /// What has to be said of it.
    pub notes: Vec<String>,
    /// Why it is not used, though it is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

/// Why an image is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// The reason's name.
    pub code: &'static str,
    /// The reason.
    pub detail: String,
}

impl ImageSummary {
    pub(super) fn of(manifest: &Manifest, bytes: usize) -> Self {
        Self {
            image: manifest.image,
            name: manifest.name.clone(),
            version: manifest.version.clone(),
            kernel: manifest.kernel,
            kind: Some(manifest.kind),
            part: manifest.target.part.clone(),
            needs: Some(DeviceNeeds::of(manifest)),
            serves: manifest.serves.clone(),
            security_version: manifest.security_version,
            signer: Some(manifest.signer),
            bytes: bytes as u64,
            notes: manifest.notes.clone(),
            refused: None,
        }
    }

    pub(super) fn refused(image: Uuid, bytes: usize, code: &'static str, detail: String) -> Self {
        Self {
            image,
            name: String::new(),
            version: String::new(),
            kernel: Uuid::nil(),
            kind: None,
            part: String::new(),
            needs: None,
            serves: Vec::new(),
            security_version: 0,
            signer: None,
            bytes: bytes as u64,
            notes: Vec::new(),
            refused: Some(Refused { code, detail }),
        }
    }

    /// Whether it may be used and a device of these facts takes it.
    pub(super) fn fits(&self, device: &DeviceFacts) -> bool {
        let needs = self.needs.as_ref().filter(|_| self.refused.is_none());
        needs.is_some_and(|needs| device.check_needs(needs).is_ok())
    }

    /// Whether it may be used, and goes where the other one goes.
    pub(super) fn stands_for(&self, other: &Self) -> bool {
        let place = |image: &Self| {
            let needs = image.needs.as_ref()?;
            Some((needs.kind, needs.idcode, needs.shell.id, needs.interface))
        };
        self.refused.is_none() && self.name == other.name && place(self) == place(other)
    }
}
