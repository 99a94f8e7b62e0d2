//! Access to a function's BAR0, checked by construction: offsets come from the register map.
//!
//! Owns the trait that a driver's transport implements and typed reads and writes
//! over it. It does not know how an access travels, nor what all-ones means to a caller.

use crate::regs::Register;

/// Byte offset within BAR0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BarOffset(pub u32);

/// 32-bit access to BAR0. An implementation answers within a bounded time or fails.
pub trait Mmio {
    /// Why an access failed.
    type Error;

    /// Read the register at `offset`, which is a multiple of 4.
    ///
    /// # Errors
    /// The transport's: the device is gone, did not answer in time, or refused.
    fn read32(&self, offset: BarOffset) -> Result<u32, Self::Error>;

    /// Write the register at `offset`, which is a multiple of 4.
    ///
    /// # Errors
    /// As for [`Mmio::read32`].
    fn write32(&self, offset: BarOffset, value: u32) -> Result<(), Self::Error>;

    /// Read register `R` of the block that starts at `block`.
    ///
    /// # Errors
    /// As for [`Mmio::read32`].
    fn read<R: Register>(&self, block: BarOffset) -> Result<R, Self::Error> {
        self.read32(BarOffset(block.0.wrapping_add(R::OFFSET)))
            .map(R::from_bits)
    }

    /// Write register `R` of the block that starts at `block`.
    ///
    /// # Errors
    /// As for [`Mmio::read32`].
    fn write<R: Register>(&self, block: BarOffset, value: R) -> Result<(), Self::Error> {
        self.write32(BarOffset(block.0.wrapping_add(R::OFFSET)), value.bits())
    }
}
