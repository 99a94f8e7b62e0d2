//! The ioctls that `vfio-ioctls` lacks, or whose result it drops.
//!
//! Owns four calls: an IOMMU's description with its capability chain, a DMA map with chosen rights
//! (the crate's are all writable), interrupts from any first vector (the crate's begin at 0), and a
//! reset whose failure is told. Invariant: what the kernel is handed is as large as it says.
//! It does not know what any of it is for.
//!
//! Source: linux/vfio.h; numbers from there, as the binding crate has structures but no requests.
//!
// UNSAFETY: an ioctl is as safe as its number fits its argument; each states the pair.
#![expect(unsafe_code, reason = "ioctl(2) takes an untyped pointer")]

use std::ffi::c_void;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;
use rustix::ioctl::{Ioctl, IoctlOutput, NoArg, Opcode, Setter, Updater, ioctl, opcode};
use vfio_bindings::bindings::vfio;

use super::VECTORS_MAX;

const fn request(number: u8) -> Opcode {
    // VFIO_TYPE is ';', VFIO_BASE is 100.
    opcode::none(b';', 100 + number)
}

const DEVICE_SET_IRQS: Opcode = request(10);
const DEVICE_RESET: Opcode = request(11);
const IOMMU_GET_INFO: Opcode = request(12);
const IOMMU_MAP_DMA: Opcode = request(13);

/// Room for an IOMMU's description, bytes: some 250 ranges. A usual machine has two or three.
pub(super) const INFO_BYTES: usize = 4096;

/// A description as the kernel wrote it.
#[repr(C, align(8))]
pub(super) struct InfoBytes(pub(super) [u8; INFO_BYTES]);

/// VFIO_IOMMU_GET_INFO of a container.
pub(super) fn iommu_info(container: BorrowedFd<'_>) -> Result<Box<InfoBytes>, Errno> {
    let mut info = Box::new(InfoBytes([0; INFO_BYTES]));
    let [a, b, ..] = (INFO_BYTES as u64).to_le_bytes();
    // argsz, the first word of the structure.
    info.0[..4].copy_from_slice(&[a, b, 0, 0]);
    // SAFETY: VFIO_IOMMU_GET_INFO takes a pointer to vfio_iommu_type1_info and whatever follows it, and writes at most
    // the argsz bytes of which the buffer says to have that many.
    let call = unsafe { Updater::<IOMMU_GET_INFO, InfoBytes>::new(&mut info) };
    // SAFETY: the number and its argument are as stated above; another kind of descriptor refuses the number.
    unsafe { ioctl(container, call) }?;
    Ok(info)
}

/// VFIO_IOMMU_MAP_DMA of a container: `bytes` from `address` in this process, seen by its devices at `iova`.
///
/// # Safety
/// `address .. address + bytes` is one live mapping of shared memory to which no Rust reference exists or will exist
/// while it is mapped, for a device may read and write it at any time. The kernel pins the pages, so that unmapping
/// them from this process takes them from no device and gives them to nobody else.
pub(super) unsafe fn map_dma(
    container: BorrowedFd<'_>,
    address: *mut u8,
    iova: u64,
    bytes: u64,
    flags: u32,
) -> Result<(), Errno> {
    let map = vfio::vfio_iommu_type1_dma_map {
        argsz: size_of_u32::<vfio::vfio_iommu_type1_dma_map>(),
        flags,
        vaddr: address.expose_provenance() as u64,
        iova,
        size: bytes,
    };
    // SAFETY: VFIO_IOMMU_MAP_DMA takes a pointer to vfio_iommu_type1_dma_map and reads argsz bytes of it.
    let call = unsafe { Setter::<IOMMU_MAP_DMA, _>::new(map) };
    // SAFETY: as above; of the memory named in it the caller answers for.
    unsafe { ioctl(container, call) }
}

/// `vfio_irq_set` with room for a descriptor a vector.
#[repr(C)]
struct IrqSet {
    argsz: u32,
    flags: u32,
    index: u32,
    start: u32,
    count: u32,
    eventfds: [i32; VECTORS_MAX],
}

/// VFIO_DEVICE_SET_IRQS. Its result counts: a positive one is no success, see [`set_msix`].
struct SetIrqs(IrqSet);

// SAFETY: VFIO_DEVICE_SET_IRQS takes a pointer to vfio_irq_set with its data behind it, reads argsz bytes, no more than
// IrqSet has, whose first five words are those of vfio_irq_set, and writes none. Its number is that of this structure.
unsafe impl Ioctl for SetIrqs {
    type Output = IoctlOutput;

    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        DEVICE_SET_IRQS
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(result: IoctlOutput, _: *mut c_void) -> Result<IoctlOutput, Errno> {
        Ok(result)
    }
}

/// VFIO_DEVICE_SET_IRQS: have MSI-X vectors `start ..` signal `eventfds`; none at all switches MSI-X off.
///
/// Returns 0, or how many vectors there are if those are fewer than were asked for: nothing is set up then
/// (vfio_msi_enable in Linux, drivers/vfio/pci/vfio_pci_intrs.c).
pub(super) fn set_msix(
    device: BorrowedFd<'_>,
    start: u32,
    eventfds: &[BorrowedFd<'_>],
) -> Result<u16, Errno> {
    let count = u32::try_from(eventfds.len())
        .ok()
        .filter(|_| eventfds.len() <= VECTORS_MAX)
        .ok_or(Errno::INVAL)?;
    let data = match count {
        0 => vfio::VFIO_IRQ_SET_DATA_NONE,
        _ => vfio::VFIO_IRQ_SET_DATA_EVENTFD,
    };
    let mut set = IrqSet {
        argsz: size_of_u32::<vfio::vfio_irq_set>() + count * size_of_u32::<i32>(),
        flags: data | vfio::VFIO_IRQ_SET_ACTION_TRIGGER,
        index: vfio::VFIO_PCI_MSIX_IRQ_INDEX,
        start,
        count,
        eventfds: [-1; VECTORS_MAX],
    };
    for (place, eventfd) in set.eventfds.iter_mut().zip(eventfds) {
        *place = eventfd.as_raw_fd();
    }
    // SAFETY: as stated at SetIrqs. The kernel takes references of its own to the eventfds.
    let had = unsafe { ioctl(device, SetIrqs(set)) }?;
    u16::try_from(had).map_err(|_| Errno::PROTO)
}

/// VFIO_DEVICE_RESET.
pub(super) fn reset(device: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: VFIO_DEVICE_RESET takes no argument.
    let call = unsafe { NoArg::<DEVICE_RESET>::new() };
    // SAFETY: as above.
    unsafe { ioctl(device, call) }
}

const fn size_of_u32<T>() -> u32 {
    assert!(size_of::<T>() <= INFO_BYTES);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "asserted on the line above"
    )]
    let size = size_of::<T>() as u32;
    size
}

const _: () = assert!(std::mem::offset_of!(IrqSet, eventfds) == size_of::<vfio::vfio_irq_set>());
