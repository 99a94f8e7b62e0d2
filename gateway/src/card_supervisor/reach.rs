//! How a card's functions are reached, and what that means for the memory that they share.
//!
//! Owns the choice of a transport. Invariant: this is the only place that knows which there are.
//! It does not bring anything up.

use std::path::PathBuf;
use std::sync::Arc;

use faam_driver::{
    Arena, FunctionConfig, KernelVfio, MemoryLock, PciAddress, Transport, TransportError, VfioUser,
    group_opens_once,
};

use crate::cards::{CardSource, socket_dir};
use crate::dispatch::DispatchConfig;

/// Where a card's functions are, in the order of their numbers.
#[derive(Debug)]
pub(super) enum Reach {
    /// Sockets `fn0`, `fn1` of a vfio-user server in a directory.
    Sockets(PathBuf),
    /// PCI functions behind the kernel's VFIO.
    Pci(Vec<PciAddress>),
}

impl Reach {
    pub(super) fn of(source: &CardSource, config: &DispatchConfig, card: u8) -> Self {
        match source {
            CardSource::OwnSimulated { .. } => Self::Sockets(socket_dir(&config.data_dir, card)),
            CardSource::VfioUser { dir } => Self::Sockets(dir.clone()),
            CardSource::Pci { functions } => Self::Pci(functions.clone()),
        }
    }

    /// Before any function is opened: whether what they need can be had.
    pub(super) fn check(
        &self,
        arena: &Arena,
        config: &FunctionConfig,
    ) -> Result<(), TransportError> {
        let Self::Pci(functions) = self else {
            return Ok(());
        };
        group_opens_once(functions)?;
        let lock = MemoryLock::of_this_process();
        let needed = MemoryLock::needed(arena.bytes(), functions.len(), config);
        match lock.bytes_max {
            Some(bytes_max) if !lock.has_room_for(needed) => Err(TransportError::LockLimit {
                bytes: lock.bytes_locked.saturating_add(needed),
                bytes_max,
            }),
            _ => Ok(()),
        }
    }

    /// Open a function.
    pub(super) fn open(&self, number: u8) -> anyhow::Result<Arc<dyn Transport>> {
        match self {
            Self::Sockets(dir) => Ok(Arc::new(VfioUser::connect(
                &dir.join(format!("fn{number}")),
            )?)),
            Self::Pci(functions) => {
                let address = functions.get(usize::from(number)).ok_or_else(|| {
                    anyhow::anyhow!("the card has {} functions, not {number}", functions.len())
                })?;
                Ok(Arc::new(KernelVfio::open(*address)?))
            }
        }
    }
}
