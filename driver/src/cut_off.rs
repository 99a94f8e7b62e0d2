//! Cutting a function off from memory, whatever it does: the fence that needs no answer from it.
//!
//! Owns the order: bus mastering off and read back, then every map taken back. Invariant: it is a
//! proof only where an IOMMU enforces maps. It is for a function whose reset does not finish, or that
//! is gone: where it cannot be reached, taking the maps back is all there is to do, and enough, for the
//! IOMMU's driver answers and not the function. What its unfinished commands named is free afterwards,
//! and the function is not. To cut off once more is harmless, and proves the same.

use std::sync::atomic::Ordering;

use thiserror::Error;

use crate::dma::{CutOffEvidence, FenceProof};
use crate::function::Function;

/// Why cutting off is no fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CutOffError {
    /// Maps are the device's own promise. Nothing was done.
    #[error("no IOMMU enforces the function's maps, so taking them back proves nothing")]
    NotEnforced,
    /// What was shown is not enough.
    #[error("no proof: bus mastering reads back as on: {bus_master}, maps left: {maps_left}")]
    Unproven {
        /// Whether bus mastering was read back as on.
        bus_master: bool,
        /// Maps that could not be taken back.
        maps_left: usize,
    },
}

impl Function {
    /// Take bus mastering and every map from the function. Its queue pairs are dead from here on; their workers end by
    /// themselves.
    ///
    /// The proof frees what was held back so far; release once more after the workers have ended.
    ///
    /// # Errors
    /// [`CutOffError`]: nothing is proven, and nothing may be freed.
    pub fn cut_off(&self) -> Result<FenceProof, CutOffError> {
        let transport = self.transport();
        if !transport.maps_are_enforced() {
            return Err(CutOffError::NotEnforced);
        }
        self.shared.ended.store(true, Ordering::Release);
        let bus_master = match transport.set_bus_master(false) {
            Ok(on) => Some(on),
            Err(error) => {
                tracing::warn!(%error, "a function is cut off without being reached: by its maps alone");
                None
            }
        };
        let evidence = CutOffEvidence {
            incarnation: self.shared.incarnation,
            maps_enforced: transport.maps_are_enforced(),
            bus_master,
            maps_left: self.unmap_all(),
        };
        FenceProof::from_cut_off(&evidence).ok_or(CutOffError::Unproven {
            bus_master: evidence.bus_master == Some(true),
            maps_left: evidence.maps_left,
        })
    }
}
