//! How the driver reaches a function: registers, doorbells, DMA maps, interrupts, configuration space.
//!
//! Owns the trait that every path to a card implements and the errors of that boundary.
//! Invariant: each call answers within a bounded time or fails, and after a time-out or
//! a malformed answer every later call fails at once with [`TransportError::Gone`], so
//! that no late answer is ever taken for another's.
//! It deliberately does not know queues, commands or what a register means.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use faam_hwif::{BarOffset, Iova, Mmio};
use rustix::io::Errno;
use thiserror::Error;

use crate::dma::SharedMemory;
use crate::pci_address::PciAddress;

pub mod kernel_vfio;
pub mod vfio_user;

/// Command register of PCI configuration space (PCI Local Bus 3.0, section 6.2.2).
const PCI_COMMAND: u16 = 0x04;
/// Its memory-space enable bit.
const PCI_COMMAND_MEMORY: u32 = 1 << 1;
/// Its bus-master enable bit.
const PCI_COMMAND_BUS_MASTER: u32 = 1 << 2;

/// Why a transport call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TransportError {
    /// The peer hung up, or an earlier call broke the connection.
    #[error(
        "the device is gone: its connection is closed or was given up; bring the function up anew"
    )]
    Gone,
    /// No answer in time. The connection is given up.
    #[error("no answer to {what} within {limit_ms} ms: the device hangs or its process is stopped")]
    TimedOut {
        /// What was asked.
        what: &'static str,
        /// The limit.
        limit_ms: u64,
    },
    /// The peer answered with an error. The connection stays usable.
    #[error("the device refused {command}: errno {errno}")]
    Refused {
        /// What was asked.
        command: &'static str,
        /// What it answered.
        errno: u32,
    },
    /// The peer's answer breaks the protocol. The connection is given up.
    #[error("the device broke the transport's protocol")]
    Protocol(#[source] ProtocolError),
    /// A system call failed.
    #[error("{what} failed")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        errno: Errno,
    },
    /// A PCI function cannot be opened.
    #[error("PCI function {address} cannot be opened")]
    Unavailable {
        /// Which.
        address: PciAddress,
        /// Why, and what to do.
        #[source]
        reason: Unavailable,
    },
    /// The process may not lock so much memory.
    #[error(
        "{bytes} bytes would be locked for DMA, and this process may lock {bytes_max}: raise RLIMIT_MEMLOCK (LimitMEMLOCK= of its systemd unit, ulimit -l in a shell), or make the arena smaller"
    )]
    LockLimit {
        /// Bytes locked with this map.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// The kernel has fewer interrupt vectors for the function than it has itself. None is set up.
    #[error("{wanted} interrupt vectors were asked for, and the kernel has {had}")]
    TooFewVectors {
        /// Vectors asked for.
        wanted: u16,
        /// Vectors there are.
        had: u16,
    },
    /// The caller asked for something outside the device.
    #[error("{what} {value:#x} is outside what the device has: a bug of the driver")]
    OutOfRange {
        /// Which quantity.
        what: &'static str,
        /// Its value.
        value: u64,
    },
}

/// Why a PCI function cannot be opened, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Unavailable {
    /// Nothing is there.
    #[error("there is no function at this address: compare with lspci -D")]
    NoDevice,
    /// No IOMMU stands before it, or vfio was told to do without.
    #[error(
        "no IOMMU stands before it, and without one it could reach all memory: switch VT-d or AMD-Vi on in the firmware and intel_iommu=on on the kernel's command line; vfio's noiommu mode is not used"
    )]
    NoIommu,
    /// vfio is not there.
    #[error("the kernel offers no VFIO with a type 1 IOMMU: modprobe vfio-pci")]
    NoVfio,
    /// Another driver has it, or none.
    #[error("it is not bound to vfio-pci: faam device bind does that")]
    NotBound,
    /// The group has members with other drivers.
    #[error(
        "other devices of its IOMMU group are used by other drivers: unbind them all, or move the card to a slot of its own"
    )]
    GroupShared,
    /// Somebody has it open.
    #[error(
        "it, or its IOMMU group, is open already: in another process, or in this one for another function of the group or until the kernel has closed it after a reset that hung"
    )]
    InUse,
    /// Another function that is to be opened is in its group.
    #[error(
        "it is in one IOMMU group with {other}, and a group can be opened once only: functions of one group cannot be served together. The card needs ACS between them; or name one of them only"
    )]
    GroupOpensOnce {
        /// The other function.
        other: PciAddress,
    },
    /// The IOMMU does not remap interrupts.
    #[error(
        "the kernel does not hand its group to the IOMMU: most often as interrupts are not remapped, without which a card could raise any interrupt of the machine. Switch interrupt remapping on in the firmware (x2APIC, VT-d or AMD-Vi), and take intremap=off from the kernel's command line"
    )]
    NoInterruptRemapping,
    /// The files in /dev/vfio may not be opened.
    #[error(
        "its group in /dev/vfio may not be opened by this user: give the file a group of which the user is a member"
    )]
    NotPermitted,
    /// It does not look like a card.
    #[error("its BARs are not those of a FaaM card, or cannot be mapped")]
    NotACard,
}

/// In what way an answer broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolError {
    /// The frame is no reply.
    #[error("expected a reply, got a frame with flags {flags:#x}")]
    NotAReply {
        /// Its flags.
        flags: u32,
    },
    /// The reply answers another message.
    #[error("expected the reply to message {expected}, got the one to {got}")]
    WrongId {
        /// Id sent.
        expected: u16,
        /// Id that came.
        got: u16,
    },
    /// The reply is of another command.
    #[error("expected a reply of command {expected}, got one of {got}")]
    WrongCommand {
        /// Command sent.
        expected: u16,
        /// Command that came.
        got: u16,
    },
    /// The frame's size cannot be that of this reply.
    #[error("expected a frame of {min} to {max} bytes, its header says {got}")]
    BadSize {
        /// Least.
        min: u32,
        /// Most.
        max: u32,
        /// What the header says.
        got: u32,
    },
    /// A field of the reply is not what was asked for.
    #[error("field {field} of the reply is {got:#x}, which does not answer the request")]
    BadField {
        /// Which.
        field: &'static str,
        /// Its value.
        got: u64,
    },
    /// Another major version of the protocol.
    #[error("expected protocol version 0.x, the device speaks {major}.{minor}")]
    Version {
        /// Its major.
        major: u16,
        /// Its minor.
        minor: u16,
    },
    /// The capabilities of the version reply are not JSON of the expected shape.
    #[error("the capabilities in the version reply are malformed")]
    Capabilities,
}

/// What a device may do with mapped memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmaAccess {
    /// Read it.
    Read,
    /// Read and write it.
    ReadWrite,
}

/// Width of an access to configuration space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigWidth {
    /// 8 bits.
    U8,
    /// 16 bits.
    U16,
    /// 32 bits.
    U32,
}

impl ConfigWidth {
    /// Bytes of an access.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 => 4,
        }
    }

    /// The low bytes of a little-endian word that such an access has.
    pub(crate) fn of(self, word: &mut [u8; 4]) -> &mut [u8] {
        let (one, _) = word.split_at_mut(match self {
            Self::U8 => 1,
            Self::U16 => 2,
            Self::U32 => 4,
        });
        one
    }
}

/// Which path leads to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportKind {
    /// A vfio-user server behind a UNIX socket.
    VfioUser,
    /// The kernel's VFIO: a PCI function behind an IOMMU.
    KernelVfio,
}

/// A half-open range of IOVAs that may be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IovaRange {
    /// First address.
    pub first: Iova,
    /// Last address, inclusive.
    pub last: Iova,
}

impl IovaRange {
    /// Whether `bytes` bytes from `at` lie in the range.
    #[must_use]
    pub fn holds(&self, at: Iova, bytes: u64) -> bool {
        bytes != 0
            && at >= self.first
            && at
                .checked_add(bytes - 1)
                .is_some_and(|last| last <= self.last)
    }
}

/// A path to one function of a card. All methods may be called from any thread.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Read a BAR0 register.
    ///
    /// # Errors
    /// [`TransportError`].
    fn read_register(&self, offset: BarOffset) -> Result<u32, TransportError>;

    /// Write a BAR0 register and wait until the device has taken it.
    ///
    /// # Errors
    /// [`TransportError`].
    fn write_register(&self, offset: BarOffset, value: u32) -> Result<(), TransportError>;

    /// Write a doorbell without waiting for an answer: a posted write.
    ///
    /// # Errors
    /// [`TransportError`]; a device that refuses the value says so in its ERROR block, not here.
    fn post_doorbell(&self, offset: BarOffset, value: u32) -> Result<(), TransportError>;

    /// Map all of `memory` for the device at `iova`.
    ///
    /// # Errors
    /// [`TransportError`].
    fn map_dma(
        &self,
        memory: &SharedMemory,
        iova: Iova,
        access: DmaAccess,
    ) -> Result<(), TransportError>;

    /// Take a map back. When this returns `Ok`, no access of the device to it is in flight.
    ///
    /// # Errors
    /// [`TransportError`].
    fn unmap_dma(&self, iova: Iova, bytes: u64) -> Result<(), TransportError>;

    /// Have MSI-X vectors `first_vector ..` signal these eventfds.
    ///
    /// # Errors
    /// [`TransportError`].
    fn set_interrupts(
        &self,
        first_vector: u16,
        eventfds: &[BorrowedFd<'_>],
    ) -> Result<(), TransportError>;

    /// Read configuration space.
    ///
    /// # Errors
    /// [`TransportError`].
    fn config_read(&self, offset: u16, width: ConfigWidth) -> Result<u32, TransportError>;

    /// Write configuration space; of `value`, the low bits of `width` count.
    ///
    /// # Errors
    /// [`TransportError`].
    fn config_write(
        &self,
        offset: u16,
        width: ConfigWidth,
        value: u32,
    ) -> Result<(), TransportError>;

    /// Function-level reset by the transport's own means, not the device's RESET register.
    ///
    /// # Errors
    /// [`TransportError`].
    fn function_level_reset(&self) -> Result<(), TransportError>;

    /// IOVAs that may be mapped.
    fn iova_ranges(&self) -> Vec<IovaRange>;

    /// Which path this is.
    fn kind(&self) -> TransportKind;

    /// Process that serves the device, where a process does: its death ends all DMA.
    fn serving_process(&self) -> Option<u32>;

    /// Whether an IOMMU enforces the maps, so that memory whose map was taken back is out of the device's reach
    /// whatever the device does. If not, they are the device's own promise.
    fn maps_are_enforced(&self) -> bool {
        false
    }

    /// Set memory decoding, and bus mastering as `on` says; returns the bus-master bit as read back.
    ///
    /// # Errors
    /// [`TransportError`].
    fn set_bus_master(&self, on: bool) -> Result<bool, TransportError> {
        let before = self.config_read(PCI_COMMAND, ConfigWidth::U16)?;
        let wanted = match on {
            true => before | PCI_COMMAND_MEMORY | PCI_COMMAND_BUS_MASTER,
            false => (before | PCI_COMMAND_MEMORY) & !PCI_COMMAND_BUS_MASTER,
        };
        self.config_write(PCI_COMMAND, ConfigWidth::U16, wanted)?;
        let after = self.config_read(PCI_COMMAND, ConfigWidth::U16)?;
        Ok(after & PCI_COMMAND_BUS_MASTER != 0)
    }
}

/// BAR0 of a function as the register map's typed accessors want it.
#[derive(Clone, Debug)]
pub struct Bar0(pub Arc<dyn Transport>);

impl Mmio for Bar0 {
    type Error = TransportError;

    fn read32(&self, offset: BarOffset) -> Result<u32, TransportError> {
        self.0.read_register(offset)
    }

    fn write32(&self, offset: BarOffset, value: u32) -> Result<(), TransportError> {
        self.0.write_register(offset, value)
    }
}
