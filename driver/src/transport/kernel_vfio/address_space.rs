//! The IOVAs of one function, as the IOMMU translates them.
//!
//! Owns maps and their undoing. Invariant: memory is mapped only as long as it is shared memory,
//! which nobody reaches by reference. It does not choose addresses.
//!
// UNSAFETY: memory of this process is opened to a device.
#![expect(unsafe_code, reason = "a device is let into memory of this process")]

use faam_hwif::Iova;
use rustix::io::Errno;
use vfio_bindings::bindings::vfio;
use vfio_ioctls::VfioError;

use super::super::{DmaAccess, IovaRange, TransportError};
use super::borrow;
use super::device::AddressSpace;
use super::{ioctl, iova};
use crate::dma::SharedMemory;

impl AddressSpace {
    /// What may be mapped.
    pub(super) fn ranges(&self) -> Result<Vec<IovaRange>, TransportError> {
        match self {
            Self::Container(container) => {
                let info = ioctl::iommu_info(borrow::raw(&**container)).map_err(|errno| {
                    TransportError::Io {
                        what: "asking the kernel about the IOMMU",
                        errno,
                    }
                })?;
                iova::ranges(&info.0).map_err(|error| {
                    tracing::warn!(%error, "the IOMMU is not understood");
                    TransportError::Refused {
                        command: "a list of the IOVAs that may be mapped",
                        errno: Errno::PROTO.raw_os_error().unsigned_abs(),
                    }
                })
            }
            #[cfg(feature = "vfio_cdev")]
            Self::Iommufd(space) => space.ranges(),
        }
    }

    /// Map all of `memory` at `iova`.
    pub(super) fn map(
        &self,
        memory: &SharedMemory,
        iova: Iova,
        access: DmaAccess,
    ) -> Result<(), Errno> {
        match self {
            Self::Container(container) => {
                let flags = match access {
                    DmaAccess::Read => vfio::VFIO_DMA_MAP_FLAG_READ,
                    DmaAccess::ReadWrite => {
                        vfio::VFIO_DMA_MAP_FLAG_READ | vfio::VFIO_DMA_MAP_FLAG_WRITE
                    }
                };
                let bytes = memory.len() as u64;
                // SAFETY: all of one live mapping of a memory file; `crate::dma` hands out no reference to it, only
                // copies by volatile accesses and atomics.
                unsafe {
                    ioctl::map_dma(
                        borrow::raw(&**container),
                        memory.base(),
                        iova.0,
                        bytes,
                        flags,
                    )
                }
            }
            #[cfg(feature = "vfio_cdev")]
            Self::Iommufd(space) => space.map(memory, iova, access),
        }
    }

    /// Take a map back. The kernel has the IOMMU forget it, and waits for that, before it returns.
    pub(super) fn unmap(&self, iova: Iova, bytes: u64) -> Result<(), TransportError> {
        let unmapped = match self {
            Self::Container(container) => {
                let length = usize::try_from(bytes).map_err(|_| TransportError::OutOfRange {
                    what: "the length of a map",
                    value: bytes,
                })?;
                container.vfio_dma_unmap(iova.0, length)
            }
            #[cfg(feature = "vfio_cdev")]
            Self::Iommufd(space) => return space.unmap(iova, bytes),
        };
        unmapped.map_err(|error| TransportError::Refused {
            command: "a DMA unmap",
            errno: match error {
                VfioError::IommuDmaUnmap(source) => source.errno().unsigned_abs(),
                // Less than that was mapped there.
                _ => Errno::NOENT.raw_os_error().unsigned_abs(),
            },
        })
    }
}
