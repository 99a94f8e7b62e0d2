//! What PCI configuration space says of a card: ids, class and BAR layout.
//!
//! Owns the numbers only; building or parsing a configuration space is each side's own work.

/// PCI vendor id. 0x1234 is the id that emulated devices use by custom; a card in silicon brings its maker's.
pub const VENDOR_ID: u16 = 0x1234;
/// PCI device id of a FaaM card function.
pub const DEVICE_ID: u16 = 0xFA0A;
/// Revision of the device.
pub const REVISION_ID: u8 = 1;
/// Class code: processing accelerator (PCI Code and ID Assignment, base class 12h, sub-class 00h, interface 00h).
pub const CLASS_CODE: u32 = 0x12_00_00;
/// BAR index of the registers and doorbells (32-bit memory, [`crate::regs::BAR0_BYTES`] long).
pub const BAR_REGISTERS: u8 = 0;
/// BAR index of the MSI-X table and pending-bit array (32-bit memory).
pub const BAR_MSIX: u8 = 2;
/// Size of the MSI-X BAR, bytes.
pub const BAR_MSIX_BYTES: u32 = 0x2000;
/// Offset of the MSI-X table in its BAR, bytes.
pub const MSIX_TABLE_OFFSET: u32 = 0;
/// Offset of the pending-bit array in its BAR, bytes.
pub const MSIX_PBA_OFFSET: u32 = 0x1000;
/// MSI-X vectors of a function: one a queue.
pub const MSIX_VECTORS: u16 = crate::QUEUES_MAX;
