//! The seam between a card and what is inside it.
//!
//! Owns what may stand in place of the functional model's registers, queues and engines. Configuration space, memory,
//! interrupts and the protocol are on this side of it: whoever is inside has the client's memory only through a lease,
//! and its interrupts only through the MSI-X table. It does not know who that is.

use crate::memory::StillInFlight;

/// Something that answers in place of the functional model. Methods may be called by any thread.
pub(crate) trait Inside: Send + Sync {
    /// The 32-bit word of BAR0 at `offset`, a multiple of 4.
    fn read(&self, offset: usize) -> u32;

    /// Writes the 32-bit word of BAR0 at `offset`, a multiple of 4.
    fn write(&self, offset: usize, value: u32);

    /// Whether memory may be asked for. What has been asked for before still gets its answer.
    fn set_bus_master(&self, on: bool);

    /// A function-level reset.
    ///
    /// # Errors
    /// [`StillInFlight`]: it did not end in time; STATUS says so too.
    fn reset(&self) -> Result<(), StillInFlight>;

    /// Works until `stopped` says so, in a thread of its own.
    fn run(&self, stopped: &dyn Fn() -> bool);

    /// Wakes that thread, so that it sees that the card stops.
    fn wake(&self);
}
