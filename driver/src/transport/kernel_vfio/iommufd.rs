//! The newer way to the IOMMU: a character device a function, and an address space of iommufd.
//!
//! Owns such an address space. Invariant: as of the container's: one function's alone.
//! It needs Linux 6.6 with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV. It is type-checked but not run
//! by this project's tests, for want of a kernel that has them; hence a feature, off by default.
//!
//! Source: linux/iommufd.h.
//!
// UNSAFETY: an ioctl is as safe as its number fits its argument; the call states the pair.
#![expect(unsafe_code, reason = "ioctl(2) takes an untyped pointer")]

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use faam_hwif::Iova;
use iommufd_bindings::iommufd as bindings;
use iommufd_ioctls::{IommuFd, IommufdError};
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use vfio_ioctls::{VfioDevice, VfioError, VfioIommufd};

use super::super::{DmaAccess, IovaRange, TransportError};
use super::device::{AddressSpace, Device, check, explain};
use crate::dma::SharedMemory;
use crate::pci_address::PciAddress;

/// IOMMU_IOAS_IOVA_RANGES: type ';', number 0x84.
const IOAS_IOVA_RANGES: Opcode = opcode::none(b';', 0x84);
/// Ranges that are read at most. A usual machine has two or three.
const RANGES_MAX: usize = 256;

/// An I/O address space with one function attached.
pub(super) struct IoAddressSpace(Arc<VfioIommufd>);

/// Open the function at `address` and `/dev/iommu` by their paths.
pub(super) fn open(address: PciAddress) -> Result<Device, TransportError> {
    check(address)?;
    let failed = |error| explain(address, &error);
    let iommufd = IommuFd::new().map_err(|error| failed(VfioError::NewVfioIommufd(error)))?;
    let device = VfioDevice::open_cdev(&address.sysfs()).map_err(failed)?;
    attach(address, device, iommufd)
}

/// Take descriptors that were opened by somebody else.
pub(super) fn adopt(
    address: PciAddress,
    device: OwnedFd,
    iommufd: OwnedFd,
) -> Result<Device, TransportError> {
    let iommufd = IommuFd::new_from_fd(File::from(iommufd));
    attach(address, File::from(device), iommufd)
}

fn attach(address: PciAddress, device: File, iommufd: IommuFd) -> Result<Device, TransportError> {
    let failed = |error| explain(address, &error);
    let space = VfioIommufd::new(Arc::new(iommufd), None, None).map_err(failed)?;
    let space = Arc::new(space);
    let device = VfioDevice::new_from_fd(device, Arc::clone(&space), true).map_err(failed)?;
    Ok(Device::new(
        device,
        AddressSpace::Iommufd(IoAddressSpace(space)),
    ))
}

impl IoAddressSpace {
    pub(super) fn ranges(&self) -> Result<Vec<IovaRange>, TransportError> {
        let mut found = [bindings::iommu_iova_range::default(); RANGES_MAX];
        let mut query = bindings::iommu_ioas_iova_ranges {
            size: size_of_u32::<bindings::iommu_ioas_iova_ranges>(),
            ioas_id: self.0.ioas().id(),
            num_iovas: u32::try_from(RANGES_MAX).unwrap_or(u32::MAX),
            allowed_iovas: found.as_mut_ptr().expose_provenance() as u64,
            ..Default::default()
        };
        // SAFETY: IOMMU_IOAS_IOVA_RANGES takes a pointer to iommu_ioas_iova_ranges and writes it, and at most num_iovas
        // ranges to the array that it names, which outlives the call.
        let call = unsafe { Updater::<IOAS_IOVA_RANGES, _>::new(&mut query) };
        let iommufd = self.iommufd();
        // SAFETY: the number and its argument are as stated above.
        unsafe { ioctl(iommufd, call) }.map_err(|errno| TransportError::Io {
            what: "asking the kernel about the IOMMU",
            errno,
        })?;
        let count = usize::try_from(query.num_iovas).unwrap_or(usize::MAX);
        let ranges = found.iter().take(count).map(|range| IovaRange {
            first: Iova(range.start),
            last: Iova(range.last),
        });
        Ok(ranges.collect())
    }

    pub(super) fn map(
        &self,
        memory: &SharedMemory,
        iova: Iova,
        access: DmaAccess,
    ) -> Result<(), Errno> {
        let rights = match access {
            DmaAccess::Read => bindings::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_READABLE,
            DmaAccess::ReadWrite => {
                bindings::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_READABLE
                    | bindings::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_WRITEABLE
            }
        };
        let map = bindings::iommu_ioas_map {
            size: size_of_u32::<bindings::iommu_ioas_map>(),
            flags: rights | bindings::iommufd_ioas_map_flags_IOMMU_IOAS_MAP_FIXED_IOVA,
            ioas_id: self.0.ioas().id(),
            __reserved: 0,
            user_va: memory.base().expose_provenance() as u64,
            length: memory.len() as u64,
            iova: iova.0,
        };
        // No reference to the memory exists: `crate::dma` hands out copies by volatile accesses and atomics alone. The
        // crate does not ask for that, and should.
        self.0
            .iommufd()
            .map_iommu_ioas(&map)
            .map_err(|error| match error {
                IommufdError::IommuIoasMap(source) => Errno::from_raw_os_error(source.errno()),
                _ => Errno::IO,
            })
    }

    pub(super) fn unmap(&self, iova: Iova, bytes: u64) -> Result<(), TransportError> {
        let refused = |errno: u32| TransportError::Refused {
            command: "a DMA unmap",
            errno,
        };
        let mut unmap = bindings::iommu_ioas_unmap {
            size: size_of_u32::<bindings::iommu_ioas_unmap>(),
            ioas_id: self.0.ioas().id(),
            iova: iova.0,
            length: bytes,
        };
        match self.0.iommufd().unmap_iommu_ioas(&mut unmap) {
            Ok(()) if unmap.length == bytes => Ok(()),
            Ok(()) => Err(refused(Errno::NOENT.raw_os_error().unsigned_abs())),
            Err(IommufdError::IommuIoasUnmap(source)) => {
                Err(refused(source.errno().unsigned_abs()))
            }
            Err(_) => Err(refused(0)),
        }
    }

    fn iommufd(&self) -> BorrowedFd<'_> {
        let iommufd: &IommuFd = self.0.iommufd();
        // SAFETY: an IommuFd owns a File that it closes when dropped, which cannot be before this borrow of it ends.
        unsafe { BorrowedFd::borrow_raw(iommufd.as_raw_fd()) }
    }
}

fn size_of_u32<T>() -> u32 {
    u32::try_from(size_of::<T>()).unwrap_or(u32::MAX)
}
