//! Descriptors of `vfio-ioctls`, whose types are `AsRawFd` alone.
//!
//! Owns one conversion. Invariant: what is borrowed lives as long as what it is borrowed from.
//!
// UNSAFETY: a raw descriptor is taken for an open one.
#![expect(unsafe_code, reason = "the crate's types hand out raw descriptors")]

use std::os::fd::{AsRawFd, BorrowedFd};

use vfio_ioctls::{VfioContainer, VfioDevice};

/// Types that keep the descriptor they hand out open for as long as they live.
pub(super) trait KeepsOpen: AsRawFd {}
impl KeepsOpen for VfioContainer {}
impl KeepsOpen for VfioDevice {}

/// The descriptor of `owner`.
pub(super) fn raw<T: KeepsOpen>(owner: &T) -> BorrowedFd<'_> {
    // SAFETY: the types above own a File that they close when dropped, not before, and the borrow ends by then; no
    // File's descriptor is -1.
    unsafe { BorrowedFd::borrow_raw(owner.as_raw_fd()) }
}
