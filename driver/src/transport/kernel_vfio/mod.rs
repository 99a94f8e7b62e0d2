//! A function of a PCI card, through the kernel's VFIO.
//!
//! Owns the function's descriptor, its address space in the IOMMU and its mapped registers.
//! Invariants: registers are touched only while the function decodes them, because the kernel answers
//! any other access with SIGBUS; maps are enforced by an IOMMU, and a function without one is not opened;
//! a function that reads as all-ones and no longer knows its own class is gone, for good.
//! It deliberately does not know queues, commands or what a register means, nor how a function
//! came to be bound to vfio-pci.
//!
//! Every function has a container of its own: its rings are mapped for it alone, and the arena, which
//! the gateway maps into each, is counted once a function against the limit of locked memory
//! ([`MemoryLock`]). The function is opened by whoever may open `/dev/vfio/GROUP`: a group permission
//! on that file will do, root is not needed.
//!
//! Waits: a load from a register ends by the hardware's completion time-out, reading all-ones. A reset
//! can take the kernel a minute, on a function that does not come back; it is waited for on a thread
//! of its own, and the function given up after `RESET_MS_MAX`. Opening and closing a function reset it, too: it
//! is opened on such a thread, for `OPEN_MS_MAX` at most, and one that is gone is closed on one, and may be
//! opened again only after that.
//!
//! Sources: linux/vfio.h; Linux, Documentation/driver-api/vfio.rst.

mod address_space;
mod bar;
mod borrow;
mod device;
mod group;
mod ioctl;
#[cfg(feature = "vfio_cdev")]
mod iommufd;
mod iova;
mod memlock;
mod power;
mod within;

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use faam_hwif::regs::{ALL_ONES, BAR0_BYTES};
use faam_hwif::{BarOffset, Iova, pci};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use rustix::io::Errno;
use vfio_bindings::bindings::vfio;

use self::device::{Device, Region};
pub use self::group::group_opens_once;
pub use self::memlock::MemoryLock;
use super::{
    ConfigWidth, DmaAccess, IovaRange, PCI_COMMAND, PCI_COMMAND_MEMORY, Transport, TransportError,
    TransportKind, Unavailable,
};
use crate::dma::SharedMemory;
use crate::pci_address::PciAddress;

/// Longest wait for a reset. An FLR takes 100 ms (PCI Express Base 4.0, section 6.6.2).
const RESET_MS_MAX: u64 = 2000;
/// What a reset is called in errors.
const RESET: &str = "a device reset";
/// Longest wait for the kernel to open a function, which it resets for that.
const OPEN_MS_MAX: u64 = 10_000;
/// Longest wait for another thread's access to configuration space, or its reset.
const ACCESS_MS_MAX: u64 = RESET_MS_MAX;
/// Vectors that one call can set up: one a queue.
const VECTORS_MAX: usize = faam_hwif::QUEUES_MAX as usize;
/// Revision and class of a function, in configuration space: read-only, and never all-ones on one that answers. Of the
/// vendor and device the kernel answers from a copy, whether the function is there or not.
const PCI_REVISION_AND_CLASS: u16 = 0x08;

/// A function behind the kernel's VFIO.
#[derive(Debug)]
pub struct KernelVfio {
    shared: Arc<Shared>,
}

/// What a reset's thread needs for as long as it takes.
struct Shared {
    address: PciAddress,
    device: Device,
    config: Region,
    class: u32,
    /// Where its power state is set, in configuration space.
    power_state: Option<u16>,
    vectors: u32,
    ranges: Vec<IovaRange>,
    /// Whether the function decodes its registers; held for writing while that may change.
    decoding: RwLock<bool>,
}

impl KernelVfio {
    /// Open the function at `address`, which must be bound to vfio-pci and used by nobody else.
    ///
    /// # Errors
    /// [`TransportError::Unavailable`] with what to do about it; [`TransportError::Gone`] if it does not answer;
    /// [`TransportError::TimedOut`] if the kernel is not done with it in time: until it is, the function counts as in
    /// use. Other [`TransportError`]s if the kernel refuses.
    pub fn open(address: PciAddress) -> Result<Self, TransportError> {
        within::limit("card-open", "opening a function", OPEN_MS_MAX, move || {
            Self::from_device(address, Device::open(address)?)
        })
    }

    /// Open the function at `address` through its own character device and an iommufd: both by their usual paths.
    ///
    /// # Errors
    /// As [`Self::open`].
    #[cfg(feature = "vfio_cdev")]
    pub fn open_cdev(address: PciAddress) -> Result<Self, TransportError> {
        Self::from_device(address, iommufd::open(address)?)
    }

    /// As [`Self::open_cdev`], from descriptors that somebody with the right to open them has passed on: `device` is
    /// `/dev/vfio/devices/vfioN` of the function at `address`, `iommufd` is `/dev/iommu`.
    ///
    /// # Errors
    /// As [`Self::open`].
    #[cfg(feature = "vfio_cdev")]
    pub fn from_descriptors(
        address: PciAddress,
        device: std::os::fd::OwnedFd,
        iommufd: std::os::fd::OwnedFd,
    ) -> Result<Self, TransportError> {
        Self::from_device(address, iommufd::adopt(address, device, iommufd)?)
    }

    fn from_device(address: PciAddress, mut device: Device) -> Result<Self, TransportError> {
        let unusable = || TransportError::Unavailable {
            address,
            reason: Unavailable::NotACard,
        };
        let region = |index, bytes_min| {
            device
                .region(index)
                .filter(|region| region.bytes >= u64::from(bytes_min))
                .ok_or_else(unusable)
        };
        let registers = region(u32::from(pci::BAR_REGISTERS), BAR0_BYTES)?;
        if registers.flags & vfio::VFIO_REGION_INFO_FLAG_MMAP == 0 {
            return Err(unusable());
        }
        let config = region(
            vfio::VFIO_PCI_CONFIG_REGION_INDEX,
            u32::from(PCI_COMMAND) + 2,
        )?;
        device.map_registers(registers)?;
        let ranges = device.space.ranges()?;
        let mut shared = Shared {
            address,
            vectors: device.interrupts(vfio::VFIO_PCI_MSIX_IRQ_INDEX),
            device,
            config,
            class: 0,
            power_state: None,
            ranges,
            decoding: RwLock::new(false),
        };
        match shared.read_config(PCI_REVISION_AND_CLASS, ConfigWidth::U32) {
            Ok(class) if class != ALL_ONES => shared.class = class,
            answer => {
                // It was dead when it was opened, and the kernel takes as long to close it.
                shared.device.give_up();
                tracing::warn!(%address, ?answer, "the function does not answer");
                return Err(TransportError::Gone);
            }
        }
        shared.power_state = power::state_of(|offset| shared.read_config(offset, ConfigWidth::U8))?;
        let decoding = shared.decodes()?;
        shared.decoding = RwLock::new(decoding);
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The function.
    #[must_use]
    pub fn address(&self) -> PciAddress {
        self.shared.address
    }
}

impl Shared {
    fn usable(&self) -> Result<(), TransportError> {
        match self.device.is_given_up() {
            true => Err(TransportError::Gone),
            false => Ok(()),
        }
    }

    /// Held over an access to a register.
    fn decoded(&self) -> Result<RwLockReadGuard<'_, bool>, TransportError> {
        self.usable()?;
        let limit = Duration::from_millis(ACCESS_MS_MAX);
        let decoding = self
            .decoding
            .try_read()
            .or_else(|| self.decoding.try_read_for(limit))
            .ok_or(TransportError::TimedOut {
                what: "a reset or a configuration access of another thread",
                limit_ms: ACCESS_MS_MAX,
            })?;
        match *decoding {
            true => Ok(decoding),
            false => Err(TransportError::Refused {
                command: "a register access while memory decoding is off",
                errno: Errno::IO.raw_os_error().unsigned_abs(),
            }),
        }
    }

    fn exclusive(&self) -> Result<RwLockWriteGuard<'_, bool>, TransportError> {
        self.decoding
            .try_write_for(Duration::from_millis(ACCESS_MS_MAX))
            .ok_or(TransportError::TimedOut {
                what: "register accesses of other threads",
                limit_ms: ACCESS_MS_MAX,
            })
    }

    /// Whether the function answers as itself.
    fn still_there(&self) -> Result<(), TransportError> {
        match self.read_config(PCI_REVISION_AND_CLASS, ConfigWidth::U32) {
            Ok(class) if class == self.class => Ok(()),
            answer => {
                self.device.give_up();
                tracing::warn!(address = %self.address, ?answer, "the function is gone from the bus");
                Err(TransportError::Gone)
            }
        }
    }

    fn decodes(&self) -> Result<bool, TransportError> {
        let command = self.read_config(PCI_COMMAND, ConfigWidth::U16)?;
        Ok(command & PCI_COMMAND_MEMORY != 0)
    }

    fn place_in_config(&self, offset: u16, width: ConfigWidth) -> Result<u64, TransportError> {
        let offset = u64::from(offset);
        match offset + u64::from(width.bytes()) <= self.config.bytes {
            true => Ok(self.config.offset + offset),
            false => Err(TransportError::OutOfRange {
                what: "configuration space offset",
                value: offset,
            }),
        }
    }

    fn read_config(&self, offset: u16, width: ConfigWidth) -> Result<u32, TransportError> {
        let at = self.place_in_config(offset, width)?;
        let what = "reading configuration space";
        let mut bytes = [0; 4];
        let wanted = width.of(&mut bytes);
        let expected = wanted.len();
        match rustix::io::pread(self.device.as_fd()?, wanted, at) {
            Ok(count) if count == expected => Ok(u32::from_le_bytes(bytes)),
            Ok(_) => Err(TransportError::Io {
                what,
                errno: Errno::IO,
            }),
            Err(errno) => Err(TransportError::Io { what, errno }),
        }
    }

    fn write_config(
        &self,
        offset: u16,
        width: ConfigWidth,
        value: u32,
    ) -> Result<(), TransportError> {
        let at = self.place_in_config(offset, width)?;
        let what = "writing configuration space";
        let mut bytes = value.to_le_bytes();
        let wanted = width.of(&mut bytes);
        let expected = wanted.len();
        match rustix::io::pwrite(self.device.as_fd()?, wanted, at) {
            Ok(count) if count == expected => Ok(()),
            Ok(_) => Err(TransportError::Io {
                what,
                errno: Errno::IO,
            }),
            Err(errno) => Err(TransportError::Io { what, errno }),
        }
    }

    fn reset(&self) -> Result<(), TransportError> {
        let mut decoding = self.exclusive()?;
        ioctl::reset(self.device.as_fd()?).map_err(|errno| match errno {
            Errno::NOTTY | Errno::INVAL => TransportError::Refused {
                command: "a device reset",
                errno: errno.raw_os_error().unsigned_abs(),
            },
            errno => TransportError::Io {
                what: "resetting the function",
                errno,
            },
        })?;
        // The kernel puts configuration space back as it was, but a function that did not come back decodes nothing.
        *decoding = self.decodes()?;
        Ok(())
    }
}

impl Transport for KernelVfio {
    fn read_register(&self, offset: BarOffset) -> Result<u32, TransportError> {
        let decoded = self.shared.decoded()?;
        let value = self.shared.device.registers()?.load(offset)?;
        drop(decoded);
        // All-ones is what nobody there reads as, and may be what a register holds.
        if value == ALL_ONES {
            self.shared.still_there()?;
        }
        Ok(value)
    }

    fn write_register(&self, offset: BarOffset, value: u32) -> Result<(), TransportError> {
        let decoded = self.shared.decoded()?;
        self.shared.device.registers()?.store(offset, value)?;
        drop(decoded);
        // A store is posted. A read from configuration space does not overtake it (PCI Express Base 4.0, section 2.4.1),
        // so its answer means that the store has arrived.
        self.shared.still_there()
    }

    fn post_doorbell(&self, offset: BarOffset, value: u32) -> Result<(), TransportError> {
        let _decoded = self.shared.decoded()?;
        self.shared.device.registers()?.store(offset, value)
    }

    fn map_dma(
        &self,
        memory: &SharedMemory,
        iova: Iova,
        access: DmaAccess,
    ) -> Result<(), TransportError> {
        self.shared.usable()?;
        let mapped = self.shared.device.space.map(memory, iova, access);
        mapped.map_err(|errno| match errno {
            Errno::NOMEM => {
                let lock = MemoryLock::as_enforced();
                let bytes = memory.len() as u64;
                match lock.bytes_max {
                    Some(bytes_max) if !lock.has_room_for(bytes) => TransportError::LockLimit {
                        bytes: lock.bytes_locked.saturating_add(bytes),
                        bytes_max,
                    },
                    _ => TransportError::Io {
                        what: "mapping memory for the function",
                        errno,
                    },
                }
            }
            errno => TransportError::Refused {
                command: "a DMA map",
                errno: errno.raw_os_error().unsigned_abs(),
            },
        })
    }

    fn unmap_dma(&self, iova: Iova, bytes: u64) -> Result<(), TransportError> {
        // Not asked whether the function is there: what answers is the IOMMU's driver, and memory must come free.
        self.shared.device.space.unmap(iova, bytes)
    }

    fn set_interrupts(
        &self,
        first_vector: u16,
        eventfds: &[BorrowedFd<'_>],
    ) -> Result<(), TransportError> {
        self.shared.usable()?;
        let count = u32::try_from(eventfds.len()).unwrap_or(u32::MAX);
        let first = u32::from(first_vector);
        match first.checked_add(count) {
            Some(end) if end <= self.shared.vectors && eventfds.len() <= VECTORS_MAX => {}
            _ => {
                return Err(TransportError::OutOfRange {
                    what: "interrupt vector",
                    value: u64::from(first_vector),
                });
            }
        }
        let device = self.shared.device.as_fd()?;
        let failed = |errno: Errno| TransportError::Refused {
            command: "interrupt set-up",
            errno: errno.raw_os_error().unsigned_abs(),
        };
        // From the first vector on: a new set. The kernel would keep more vectors of an earlier life otherwise, and a
        // function that was reset by its register has forgotten what it was told. Off already is no fault.
        if first_vector == 0
            && let Err(errno) = ioctl::set_msix(device, 0, &[])
        {
            tracing::debug!(%errno, "MSI-X was off");
        }
        match eventfds.is_empty() {
            true => Ok(()),
            false => match ioctl::set_msix(device, first, eventfds).map_err(failed)? {
                0 => Ok(()),
                had => Err(TransportError::TooFewVectors {
                    wanted: u16::try_from(count).unwrap_or(u16::MAX),
                    had,
                }),
            },
        }
    }

    fn config_read(&self, offset: u16, width: ConfigWidth) -> Result<u32, TransportError> {
        self.shared.usable()?;
        self.shared.read_config(offset, width)
    }

    fn config_write(
        &self,
        offset: u16,
        width: ConfigWidth,
        value: u32,
    ) -> Result<(), TransportError> {
        self.shared.usable()?;
        if let Some(state) = self.shared.power_state
            && power::touches(state, offset, width)
        {
            // In any state but D0 it decodes no register, whatever its memory decoding says.
            return Err(TransportError::Refused {
                command: "a write to the function's power state",
                errno: Errno::PERM.raw_os_error().unsigned_abs(),
            });
        }
        let mut decoding = self.shared.exclusive()?;
        self.shared.write_config(offset, width, value)?;
        *decoding = self.shared.decodes()?;
        drop(decoding);
        // A function that is gone reads as all-ones, which must not be taken for bits that did not take.
        self.shared.still_there()
    }

    fn function_level_reset(&self) -> Result<(), TransportError> {
        self.shared.usable()?;
        let shared = Arc::clone(&self.shared);
        let reset = within::limit("card-reset", RESET, RESET_MS_MAX, move || shared.reset());
        if let Err(TransportError::TimedOut { what: RESET, .. }) = reset {
            // The thread ends when the kernel gives up; it is the only one, as no later reset is tried.
            self.shared.device.give_up();
        }
        reset
    }

    fn iova_ranges(&self) -> Vec<IovaRange> {
        self.shared.ranges.clone()
    }

    fn kind(&self) -> TransportKind {
        TransportKind::KernelVfio
    }

    fn serving_process(&self) -> Option<u32> {
        None
    }

    fn maps_are_enforced(&self) -> bool {
        true
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Shared")
            .field("address", &self.address)
            .field("given_up", &self.device.is_given_up())
            .finish_non_exhaustive()
    }
}
