//! A sealed memory file, mapped here and passed to the device as a descriptor.
//!
//! Owns the file and its one mapping. Invariant: the file never changes size (sealed
//! against shrinking and growing before anyone else sees it), so no access within
//! [`SharedMemory::len`] can fault.
//! It deliberately hands out no references: only a raw pointer, to this module's siblings and to the transport
//! that opens it to a device.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, memfd_create};
use rustix::io::Errno;
use thiserror::Error;

/// Page that lengths are rounded up to, bytes.
pub const PAGE_BYTES: usize = 4096;
/// Huge page that is tried first, bytes.
const HUGE_PAGE_BYTES: usize = 2 << 20;

/// Why memory could not be had.
#[derive(Debug, Error)]
pub enum SharedMemoryError {
    /// A system call failed.
    #[error("{what} of {bytes} bytes of shared memory failed; check memory limits of the process")]
    Os {
        /// What was tried.
        what: &'static str,
        /// Bytes wanted.
        bytes: usize,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The length is zero or too large.
    #[error("expected a length of 1 byte to 1 TiB, got {bytes}")]
    Length {
        /// Bytes wanted.
        bytes: usize,
    },
}

/// Longest shared memory, bytes.
const BYTES_MAX: usize = 1 << 40;

/// What memory is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSize {
    /// 4 KiB.
    Base,
    /// 2 MiB, from the pool that the machine's administrator set up. An IOMMU maps one by one entry, where 4 KiB pages
    /// take 512.
    Huge,
}

impl PageSize {
    /// Bytes of a page.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Base => PAGE_BYTES,
            Self::Huge => HUGE_PAGE_BYTES,
        }
    }
}

/// A sealed memory file and its mapping.
#[derive(Debug)]
pub struct SharedMemory {
    file: File,
    map: MmapRaw,
    pages: PageSize,
}

impl SharedMemory {
    /// At least `bytes` of zeroed memory, on 2 MiB pages if the pool has them and less than a page would be wasted.
    ///
    /// # Errors
    /// [`SharedMemoryError`].
    pub fn new(name: &str, bytes: usize) -> Result<Self, SharedMemoryError> {
        if bytes.is_multiple_of(HUGE_PAGE_BYTES)
            && let Ok(memory) = Self::on_pages(name, bytes, PageSize::Huge)
        {
            return Ok(memory);
        }
        Self::on_pages(name, bytes, PageSize::Base)
    }

    /// At least `bytes` of zeroed memory on pages of the given size and no other.
    ///
    /// # Errors
    /// [`SharedMemoryError`]; of huge pages also if the pool has too few.
    pub fn on_pages(name: &str, bytes: usize, pages: PageSize) -> Result<Self, SharedMemoryError> {
        if bytes == 0 || bytes > BYTES_MAX {
            return Err(SharedMemoryError::Length { bytes });
        }
        let bytes = bytes.next_multiple_of(pages.bytes());
        let huge = pages == PageSize::Huge;
        let os = |what| {
            move |errno: Errno| SharedMemoryError::Os {
                what,
                bytes,
                source: errno.into(),
            }
        };
        let mut flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        if huge {
            flags |= MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB;
        }
        let file = File::from(memfd_create(name, flags).map_err(os("creating a memory file"))?);
        let length = u64::try_from(bytes).map_err(|_| SharedMemoryError::Length { bytes })?;
        file.set_len(length)
            .map_err(|source| SharedMemoryError::Os {
                what: "sizing",
                bytes,
                source,
            })?;
        if huge {
            // Without this an exhausted pool shows at the first touch, as SIGBUS.
            fallocate(&file, FallocateFlags::empty(), 0, length).map_err(os("reserving"))?;
        }
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .map_err(os("sealing"))?;
        let map = MmapOptions::new()
            .len(bytes)
            .map_raw(&file)
            .map_err(|source| SharedMemoryError::Os {
                what: "mapping",
                bytes,
                source,
            })?;
        Ok(Self { file, map, pages })
    }

    /// Bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Never: kept beside [`Self::len`] by custom.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it is made of.
    #[must_use]
    pub fn page_size(&self) -> PageSize {
        self.pages
    }

    /// First byte. Aligned to a page.
    pub(crate) fn base(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }
}

impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_whole_pages_and_sealed() {
        let memory = SharedMemory::new("faam-test", 5000).unwrap();
        assert_eq!(memory.len(), 2 * PAGE_BYTES);
        assert!(memory.file.set_len(4096).is_err(), "shrinking is sealed");
        assert!(memory.file.set_len(1 << 20).is_err(), "growing is sealed");
        assert!(memory.base().addr().is_multiple_of(PAGE_BYTES));
    }

    #[test]
    fn a_huge_length_falls_back_where_there_are_no_huge_pages() {
        let memory = SharedMemory::new("faam-test", HUGE_PAGE_BYTES).unwrap();
        assert_eq!(memory.len(), HUGE_PAGE_BYTES);
    }

    #[test]
    fn no_length_and_absurd_lengths_are_refused() {
        assert!(SharedMemory::new("faam-test", 0).is_err());
        assert!(SharedMemory::new("faam-test", usize::MAX).is_err());
    }
}
