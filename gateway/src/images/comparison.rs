//! A package compared with this gateway and with a device, point by point, as it would be before it is programmed.
//!
//! Invariants: the same checks judge as when an image is added and loaded, but for the room among the kept ones; each point is said to fit, not to fit, or not to have
//! been looked at; nothing of a package is shown before its signature and its files hold. It changes nothing, here or at the
//! device.

use faam_image::{
    DeviceFacts, DeviceNeeds, DevicePoint, Floors, ImageRefusal, Manifest, Package, Trust,
};
use serde::Serialize;

use crate::card_slots::SlotStatus;
use crate::slot_image::{SlotDevice, kernel_text};

/// What is said of what was not looked at, as the package itself is refused.
const NOT_BELIEVED: &str =
    "not looked at: what a package says of itself counts once its signature and its files hold";
/// The point of a payload's length.
const SIZE: &str = "size";
/// What is said of a function without slots.
const NO_SLOTS: &str = "it is not up, or has no slots: its kernels come with the card's own image";

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What the package says of itself, where its signature and its files hold.
    pub manifest: Option<Manifest>,
    /// What is programmed, bytes.
    pub payload_bytes: usize,
    /// What concerns no device: the package itself, what was revoked, how far back nobody goes.
    pub points: Vec<Point>,
}

/// One point of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    /// Its name.
    pub point: &'static str,
    /// Whether it fits; `None` where that was not looked at.
    pub fits: Option<bool>,
    /// Where it does not, the reason's name.
    pub reason: Option<&'static str>,
    /// What there is, or what was expected, what came, and what to do.
    pub detail: String,
}

impl Point {
    const fn fits(point: &'static str, detail: String) -> Self {
        Self {
            point,
            fits: Some(true),
            reason: None,
            detail,
        }
    }

    fn refused(point: &'static str, refusal: &ImageRefusal) -> Self {
        Self {
            point,
            fits: Some(false),
            reason: Some(refusal.code()),
            detail: refusal.to_string(),
        }
    }

    fn unseen(point: &'static str, why: &str) -> Self {
        Self {
            point,
            fits: None,
            reason: None,
            detail: why.to_owned(),
        }
    }
}

impl Comparison {
    pub(super) fn of(bytes: &[u8], trust: &Trust, floors: &Floors) -> Self {
        let mut read = Package::read(bytes, trust);
        let revoked = match &read {
            Err(
                refusal @ (ImageRefusal::RevokedKey { .. } | ImageRefusal::RevokedImage { .. }),
            ) => Some(refusal.clone()),
            _ => None,
        };
        // Of what was revoked the other points are told all the same.
        if revoked.is_some() {
            read = Package::read(bytes, &trust.unrevoked());
        }
        let revoked = revoked.map(|refusal| Point::refused("revocation", &refusal));
        let package = match read {
            Ok(package) => package,
            Err(refusal) => {
                return Self {
                    manifest: None,
                    payload_bytes: 0,
                    points: vec![
                        Point::refused("package", &refusal),
                        revoked.unwrap_or_else(|| Point::unseen("revocation", NOT_BELIEVED)),
                        Point::unseen("rollback", NOT_BELIEVED),
                    ],
                };
            }
        };
        let manifest = package.manifest();
        let whole = format!(
            "{} bytes, signed by {}, which is trusted; its files are as they were signed",
            bytes.len(),
            manifest.signer
        );
        let not_revoked = || {
            let detail = format!(
                "neither the key {} nor the image {} is revoked",
                manifest.signer, manifest.image
            );
            Point::fits("revocation", detail)
        };
        let rollback = match package.not_older(floors) {
            Ok(()) => Point::fits(
                "rollback",
                format!(
                    "security version {}, and {} or more is taken of its kernel",
                    manifest.security_version,
                    floors.least(manifest.kernel)
                ),
            ),
            Err(refusal) => Point::refused("rollback", &refusal),
        };
        Self {
            points: vec![
                Point::fits("package", whole),
                revoked.unwrap_or_else(not_revoked),
                rollback,
            ],
            manifest: Some(manifest.clone()),
            payload_bytes: package.payload().len(),
        }
    }

    /// How it compares with a function: what its device is, where that is known, and what its slots hold.
    #[must_use]
    pub fn with(&self, device: Option<&SlotDevice>, slots: &[SlotStatus]) -> Vec<Point> {
        let names = DevicePoint::ALL.map(DevicePoint::name).into_iter();
        let names = names.chain([SIZE]);
        let unseen = |why| names.clone().map(move |name| Point::unseen(name, why));
        let Some(manifest) = &self.manifest else {
            let kernel = Point::unseen("kernel", NOT_BELIEVED);
            return unseen(NOT_BELIEVED).chain([kernel]).collect();
        };
        let Some(device) = device.filter(|_| !slots.is_empty()) else {
            let kernel = Point {
                point: "kernel",
                fits: Some(false),
                reason: Some("no-slots"),
                detail: NO_SLOTS.to_owned(),
            };
            return unseen("not looked at: there is no slot to load it into")
                .chain([kernel])
                .collect();
        };
        let (facts, needs) = (DeviceFacts::from(device), DeviceNeeds::of(manifest));
        let points =
            DevicePoint::ALL
                .into_iter()
                .map(|point| match facts.check_point(point, &needs) {
                    Ok(()) => Point::fits(point.name(), there(point, &facts, &needs)),
                    Err(refusal) => Point::refused(point.name(), &refusal),
                });
        let kernel = Point::fits("kernel", kernel(manifest, slots));
        points.chain([self.size(device), kernel]).collect()
    }
}

impl Comparison {
    /// Whether a slot takes so much, as the driver asks before a load.
    fn size(&self, device: &SlotDevice) -> Point {
        let (bytes, most) = (self.payload_bytes, device.image_bytes_max);
        match usize::try_from(most).is_ok_and(|most| bytes > most) {
            false => Point::fits(SIZE, format!("{bytes} bytes, of at most {most}")),
            true => Point {
                point: SIZE,
                fits: Some(false),
                reason: Some("too-large"),
                detail: format!(
                    "{bytes} bytes are programmed: expected at most {most}, as its slots say; build a smaller one"
                ),
            },
        }
    }
}

/// What image and device agree on.
fn there(point: DevicePoint, facts: &DeviceFacts, needs: &DeviceNeeds) -> String {
    match point {
        DevicePoint::Kind => format!("of kind {}, which its slots take", needs.kind),
        DevicePoint::Device => {
            format!("{} {} (idcode {})", needs.family, needs.part, needs.idcode)
        }
        DevicePoint::Shell => format!("{:#010x} ({})", needs.shell.id, needs.shell.name),
        DevicePoint::Interface => needs.interface.to_string(),
        DevicePoint::Driver => format!(
            "needs driver ABI {}, this faam has {}",
            needs.driver_abi_min, facts.driver_abi
        ),
    }
}

/// Which kernel it is, and where it would go.
fn kernel(manifest: &Manifest, slots: &[SlotStatus]) -> String {
    let uuid = kernel_text(*manifest.kernel.as_bytes());
    let serves: Vec<_> = manifest.serves.iter().map(|job| job.name()).collect();
    let numbers = |is: &dyn Fn(&SlotStatus) -> bool| {
        let numbers = slots.iter().filter(|slot| is(slot));
        let numbers: Vec<_> = numbers.map(|slot| slot.slot.to_string()).collect();
        numbers.join(", ")
    };
    let holding = numbers(&|slot| slot.kernel.as_ref() == Some(&uuid));
    let free = numbers(&|slot| matches!(slot.state, "empty" | "failed"));
    let place = match (holding.as_str(), free.as_str()) {
        ("", "") => "no slot holds it, and none is empty: `faam image load --slot N` replaces what one holds".to_owned(),
        ("", free) => format!("no slot holds it, empty: {free}"),
        (holding, "") => format!("held already by slot {holding}"),
        (holding, free) => format!("held already by slot {holding}, empty: {free}"),
    };
    format!(
        "{} ({uuid}), which serves {}; {place}",
        manifest.name,
        serves.join(", ")
    )
}
