//! What is published of images: how many are kept, and why others were refused.
//!
//! Invariant: reasons are those of [`refusal_reasons`], and of no caller's making. What an image is belongs to the image store.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::{Count, Metrics, Reason, register};
use crate::images::refusal_reasons;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kept {
    state: &'static str,
}

/// See the module's head.
#[derive(Debug)]
pub(super) struct ImageSeries {
    kept: Family<Kept, Count>,
    bytes: Count,
    refusals: Family<Reason, Counter>,
}

impl ImageSeries {
    /// With every reason there from the beginning: the first refusal is a step of a series, not its start.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let refusals: Family<Reason, Counter> = register(
            registry,
            "image_refusals",
            "Images that were refused: when they came, at the start, or before they would have been programmed",
        );
        for reason in refusal_reasons() {
            let _ = refusals.get_or_create(&Reason { reason });
        }
        let series = Self {
            kept: register(
                registry,
                "images_kept",
                "Images in the data directory: usable, or refused at the start",
            ),
            bytes: register(
                registry,
                "images_kept_bytes",
                "Bytes of the images in the data directory",
            ),
            refusals,
        };
        series.set_kept(0, 0, 0);
        series
    }

    fn set_kept(&self, usable: usize, refused: usize, bytes: u64) {
        for (state, count) in [("usable", usable), ("refused", refused)] {
            let gauge = self.kept.get_or_create(&Kept { state });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl Metrics {
    /// So many images are kept now, with so many bytes together.
    pub(crate) fn images_kept(&self, usable: usize, refused: usize, bytes: u64) {
        self.images.set_kept(usable, refused, bytes);
    }

    /// An image was refused, for one of [`refusal_reasons`].
    pub(crate) fn image_refused(&self, reason: &'static str) {
        self.images.refusals.get_or_create(&Reason { reason }).inc();
    }
}
