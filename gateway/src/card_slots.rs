//! Slots of a card's function, as operators and the slot policy see them, and what is asked of one.
//!
//! Owns the requests, the answers and the state that is published. A load is carried out beside the function's supervisor,
//! which notes its end; everything else goes on meanwhile. It does not know how a slot is loaded.

use serde::Serialize;
use tokio::sync::oneshot;

use crate::events::{GATEWAY, OPERATOR};
use crate::slot_image::SlotImage;

/// A slot, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct SlotStatus {
    /// Number, from 0.
    pub slot: u8,
    /// `empty`, `loading`, `evicting`, `active`, `programmed` or `failed`.
    pub state: &'static str,
    /// What it serves: `fast`, `tables`, `inflate`.
    pub serves: Vec<&'static str>,
    /// Uuid of its kernel.
    pub kernel: Option<String>,
    /// Image that it was loaded from, where this gateway knows it, or else the name of a kept image of its kernel.
    pub image: Option<String>,
    /// Why its last load came to nothing.
    pub fault: Option<String>,
    /// Loads that it had from this gateway.
    pub loads: u32,
}

/// What is asked of a slot.
#[derive(Debug)]
pub(crate) enum SlotRequest {
    /// Load a kernel.
    Load {
        /// Which.
        image: SlotImage,
        /// Where; `None` = a slot that serves nobody.
        slot: Option<u8>,
        /// For the metrics: why.
        cause: LoadCause,
    },
    /// Empty it.
    Evict {
        /// Which.
        slot: u8,
        /// For the record: who asks, [`OPERATOR`] or [`GATEWAY`].
        actor: &'static str,
    },
}

impl SlotRequest {
    /// Who asks, as events have it.
    pub(crate) const fn actor(&self) -> &'static str {
        match self {
            Self::Load { cause, .. } => cause.actor(),
            Self::Evict { actor, .. } => actor,
        }
    }
}

/// Why a kernel is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadCause {
    /// Jobs wait for it, or would be served by it sooner.
    Cold,
    /// The same of jobs whose tenants may use some images only: what serves already may not serve them.
    Listed,
    /// It is expected to be wanted.
    Prewarm,
    /// An operator says so.
    Operator,
}

impl LoadCause {
    /// Who has it loaded.
    const fn actor(self) -> &'static str {
        match self {
            Self::Cold | Self::Listed | Self::Prewarm => GATEWAY,
            Self::Operator => OPERATOR,
        }
    }

    /// As metrics and events spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::Listed => "listed",
            Self::Prewarm => "prewarm",
            Self::Operator => "operator",
        }
    }
}

/// A load or an eviction that was done.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SlotDone {
    /// The slot as it is now.
    pub slot: SlotStatus,
    /// From the request to its end, milliseconds.
    pub took_ms: f64,
    /// Of a load: getting the image to the card.
    pub downloaded_ms: Option<f64>,
    /// Of a load: the reconfiguration, with the jobs that had to end before; modelled where the card is simulated.
    pub programmed_ms: Option<f64>,
    /// Of a load: the self-test of the kernel.
    pub tested_ms: Option<f64>,
}

impl SlotDone {
    /// What a load cost itself, milliseconds: without what it waited for jobs that had to end first.
    pub(crate) fn worked_ms(&self) -> f64 {
        let steps = [self.downloaded_ms, self.programmed_ms, self.tested_ms];
        steps.into_iter().flatten().sum()
    }
}

/// Why a request was not carried out.
#[derive(Clone, Debug)]
pub(crate) struct SlotFailed {
    /// A short name for counters.
    pub(crate) kind: &'static str,
    /// What was expected, what came, what to do.
    pub(crate) why: String,
}

/// Where the answer goes.
pub(crate) type SlotReply = oneshot::Sender<Result<SlotDone, SlotFailed>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asked_is_who_is_recorded() {
        let load = |cause| {
            let image = SlotImage {
                name: String::new(),
                kernel_uuid: [0; 16],
                serves: faam_hwif::Serves::FAST,
                payload: [].into(),
                golden: None,
            };
            let slot = None;
            SlotRequest::Load { image, slot, cause }.actor()
        };
        let evict = |actor| SlotRequest::Evict { slot: 0, actor }.actor();
        assert_eq!(load(LoadCause::Cold), GATEWAY);
        assert_eq!(load(LoadCause::Listed), GATEWAY);
        assert_eq!(load(LoadCause::Prewarm), GATEWAY);
        assert_eq!(load(LoadCause::Operator), OPERATOR);
        assert_eq!(evict(GATEWAY), GATEWAY);
        assert_eq!(evict(OPERATOR), OPERATOR);
    }
}
