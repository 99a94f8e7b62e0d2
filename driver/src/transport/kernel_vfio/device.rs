//! A function's descriptor and the IOMMU's address space that it was put into.
//!
//! Owns both, and the order in which they are opened and closed. Invariant: the address space is
//! this function's alone, so what is mapped for it no other function reaches (the pages that all
//! share are mapped into each), and each is accounted for by itself.
//! It does not know registers or the meaning of any map.

use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use vfio_ioctls::{VfioContainer, VfioDevice, VfioError};

use super::super::{TransportError, Unavailable};
use super::bar::MappedBar;
use crate::pci_address::PciAddress;

/// The one driver whose functions are opened.
const DRIVER: &str = "vfio-pci";
/// What the kernel calls a group whose devices no IOMMU stands before.
const NOIOMMU: &str = "vfio-noiommu";

/// An open function in an address space of its own.
pub(super) struct Device {
    /// `Some` until dropped.
    opened: Option<Opened>,
    pub(super) space: AddressSpace,
    /// It does not answer any more, or not in time.
    given_up: AtomicBool,
}

/// What keeps the function open: a mapping of it does as well as its descriptor, so they end together.
struct Opened {
    registers: Option<MappedBar>,
    device: VfioDevice,
}

/// How the kernel hands the IOMMU out.
pub(super) enum AddressSpace {
    /// A container with the function's group in it.
    Container(Arc<VfioContainer>),
    /// An I/O address space of iommufd.
    #[cfg(feature = "vfio_cdev")]
    Iommufd(super::iommufd::IoAddressSpace),
}

impl Device {
    /// Open through the function's group.
    pub(super) fn open(address: PciAddress) -> Result<Self, TransportError> {
        check(address)?;
        let failed = |error| explain(address, &error);
        let container = Arc::new(VfioContainer::new(None).map_err(failed)?);
        let device =
            VfioDevice::new(&address.sysfs(), Arc::clone(&container) as _, true).map_err(failed)?;
        Ok(Self::new(device, AddressSpace::Container(container)))
    }

    pub(super) fn new(device: VfioDevice, space: AddressSpace) -> Self {
        Self {
            opened: Some(Opened {
                registers: None,
                device,
            }),
            space,
            given_up: AtomicBool::new(false),
        }
    }

    /// Use it no more.
    pub(super) fn give_up(&self) {
        self.given_up.store(true, Ordering::Release);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// Map the region that has its registers.
    pub(super) fn map_registers(&mut self, region: Region) -> Result<(), TransportError> {
        let opened = self.opened.as_mut().ok_or(TransportError::Gone)?;
        let bytes = usize::try_from(region.bytes).map_err(|_| TransportError::OutOfRange {
            what: "the size of a BAR",
            value: region.bytes,
        })?;
        let mapped = MappedBar::new(&opened.device, region.offset, bytes);
        opened.registers = Some(mapped.map_err(|error| TransportError::Io {
            what: "mapping BAR0",
            errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        })?);
        Ok(())
    }

    /// Its registers, once mapped.
    pub(super) fn registers(&self) -> Result<&MappedBar, TransportError> {
        let opened = self.opened.as_ref().ok_or(TransportError::Gone)?;
        opened.registers.as_ref().ok_or(TransportError::Gone)
    }

    /// Offset and size of a region in the descriptor; `None` if the device has no such region.
    pub(super) fn region(&self, index: u32) -> Option<Region> {
        let device = &self.opened.as_ref()?.device;
        let bytes = device.get_region_size(index);
        (bytes > 0).then(|| Region {
            offset: device.get_region_offset(index),
            bytes,
            flags: device.get_region_flags(index),
        })
    }

    /// Interrupts of a kind.
    pub(super) fn interrupts(&self, index: u32) -> u32 {
        let opened = self.opened.as_ref();
        opened
            .and_then(|opened| opened.device.get_irq_info(index))
            .map_or(0, |irq| irq.count)
    }

    pub(super) fn as_fd(&self) -> Result<BorrowedFd<'_>, TransportError> {
        let opened = self.opened.as_ref().ok_or(TransportError::Gone)?;
        Ok(super::borrow::raw(&opened.device))
    }
}

/// Part of a device's descriptor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    pub(super) flags: u32,
}

impl Drop for Device {
    fn drop(&mut self) {
        let Some(opened) = self.opened.take() else {
            return;
        };
        if !self.is_given_up() {
            return close(opened);
        }
        // The kernel resets what is closed, and waits a minute for one that does not answer. If there is no thread to be
        // had, it is closed here and now: a closure that was not spawned is dropped with what it holds.
        let spawned = std::thread::Builder::new()
            .name("card-close".into())
            .spawn(move || close(opened));
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread to close a function on that does not answer");
        }
    }
}

/// The crate looks the group up once more as it closes, and panics if the function has left the bus since. A group's
/// function has its descriptor closed before that, which is all that matters. One of iommufd has not: the crate detaches
/// it first, and where that fails, as on a function that was removed, it panics with the descriptor left open.
fn close(opened: Opened) {
    let closed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(opened)));
    if closed.is_err() {
        tracing::warn!("a function had left the bus when it was closed");
    }
}

/// What can be said before anything is opened.
pub(super) fn check(address: PciAddress) -> Result<(), TransportError> {
    let refuse = |reason| Err(TransportError::Unavailable { address, reason });
    let sysfs = address.sysfs();
    if !sysfs.exists() {
        return refuse(Unavailable::NoDevice);
    }
    let Some(group) = link_name(&sysfs.join("iommu_group")) else {
        return refuse(Unavailable::NoIommu);
    };
    let name = std::fs::read_to_string(sysfs.join("iommu_group/name")).unwrap_or_default();
    if name.trim() == NOIOMMU {
        return refuse(Unavailable::NoIommu);
    }
    match link_name(&sysfs.join("driver")) {
        Some(driver) if driver == DRIVER => {
            tracing::debug!(%address, group, "opening");
            Ok(())
        }
        _ => refuse(Unavailable::NotBound),
    }
}

pub(super) fn link_name(path: &Path) -> Option<String> {
    let target = path.read_link().ok()?;
    Some(target.file_name()?.to_str()?.to_owned())
}

/// The crate's error as this boundary's, with the cases that an operator can mend told apart.
pub(super) fn explain(address: PciAddress, error: &VfioError) -> TransportError {
    let unavailable = |reason| TransportError::Unavailable { address, reason };
    let errno = |error: &std::io::Error| Errno::from_io_error(error).unwrap_or(Errno::IO);
    tracing::debug!(%address, %error, "not opened");
    match error {
        VfioError::OpenContainer(source) => match errno(source) {
            Errno::NOENT | Errno::NODEV => unavailable(Unavailable::NoVfio),
            Errno::ACCESS | Errno::PERM => unavailable(Unavailable::NotPermitted),
            errno => TransportError::Io {
                what: "opening /dev/vfio/vfio",
                errno,
            },
        },
        VfioError::OpenGroup(source, _) => match errno(source) {
            Errno::BUSY => unavailable(Unavailable::InUse),
            Errno::ACCESS | Errno::PERM => unavailable(Unavailable::NotPermitted),
            errno => TransportError::Io {
                what: "opening the function's group in /dev/vfio",
                errno,
            },
        },
        VfioError::GroupViable => unavailable(Unavailable::GroupShared),
        VfioError::VfioApiVersion | VfioError::VfioExtension | VfioError::VfioInvalidType => {
            unavailable(Unavailable::NoVfio)
        }
        VfioError::ContainerSetIOMMU(source) => match Errno::from_raw_os_error(source.errno()) {
            Errno::PERM => unavailable(Unavailable::NoInterruptRemapping),
            errno => TransportError::Io {
                what: "handing the function's group to the IOMMU driver vfio_iommu_type1",
                errno,
            },
        },
        // The crate keeps no errno of these. The group is in a container already, or its function left the bus.
        VfioError::GroupSetContainer => unavailable(Unavailable::InUse),
        VfioError::InvalidPath | VfioError::GetGroupStatus => unavailable(Unavailable::NoDevice),
        VfioError::GroupGetDeviceFD(source) => match Errno::from_raw_os_error(source.errno()) {
            Errno::BUSY => unavailable(Unavailable::InUse),
            errno => TransportError::Io {
                what: "opening the function in its group",
                errno,
            },
        },
        VfioError::VfioDeviceGetInfo(source) | VfioError::VfioDeviceGetRegionInfo(source) => {
            TransportError::Io {
                what: "asking the kernel about the function",
                errno: Errno::from_raw_os_error(source.errno()),
            }
        }
        #[cfg(feature = "vfio_cdev")]
        VfioError::OpenDeviceCdev(source) => match errno(source) {
            Errno::BUSY => unavailable(Unavailable::InUse),
            Errno::ACCESS | Errno::PERM => unavailable(Unavailable::NotPermitted),
            errno => TransportError::Io {
                what: "opening the function in /dev/vfio/devices",
                errno,
            },
        },
        _ => TransportError::Refused {
            command: "opening the function",
            errno: 0,
        },
    }
}
