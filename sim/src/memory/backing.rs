//! One file of the client's, reachable for DMA: mapped whole where that is safe, else by `pread` and `pwrite`.
//!
//! Owns every access to memory that the client can write at the same time. Invariant: nothing here can be made to
//! fault by the client. A file is mapped only if it is sealed against shrinking (`F_SEAL_SHRINK`), because a page
//! beyond a file's end raises SIGBUS; any other file is reached by system calls, which come back with a short count
//! instead. It does not know addresses of the bus, rights of a map, or who asks.
//!
//! Only memfds and files of tmpfs or hugetlbfs are taken (they answer `F_GET_SEALS`): a file system in user space
//! could hold an access for ever, and with it a reset.

// UNSAFETY: mapped memory is shared with a process that may write it at any time. It is touched through raw pointers
// and atomics alone; no reference to it is ever made, and no value read from it is believed twice.
#![expect(
    unsafe_code,
    reason = "raw copies into memory that another process maps too"
)]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{OFlags, SealFlags, fcntl_get_seals, fcntl_getfl, fstat, fstatfs};
use rustix::io::Errno;

/// Largest file that is mapped or accepted, bytes: far above any arena or guest, far below the address space.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 38;
/// `f_type` of hugetlbfs (linux/magic.h): it cannot be written by system calls, so it must be sealed.
const HUGETLBFS_MAGIC: u64 = 0x9584_58f6;

/// What tells one file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileKey {
    device: u64,
    inode: u64,
    writable: bool,
}

/// A file's memory.
pub(crate) struct Backing {
    memory: Kind,
    key: FileKey,
    len: u64,
}

enum Kind {
    /// The whole file, mapped.
    Mapped(MmapRaw),
    /// A file that may shrink.
    Guarded(File),
}

impl Backing {
    /// Key of the file behind `fd`, and its length in bytes. EACCES if this descriptor does not give the rights that are
    /// asked for, even where another one has given them before.
    pub(crate) fn identify(fd: &OwnedFd, writable: bool) -> Result<(FileKey, u64), Errno> {
        let access = fcntl_getfl(fd)? & OFlags::ACCMODE;
        if access == OFlags::WRONLY || (writable && access == OFlags::RDONLY) {
            return Err(Errno::ACCESS);
        }
        let stat = fstat(fd)?;
        let len = u64::try_from(stat.st_size).map_err(|_| Errno::INVAL)?;
        if len > FILE_BYTES_MAX {
            return Err(Errno::FBIG);
        }
        let key = FileKey {
            device: stat.st_dev,
            inode: stat.st_ino,
            writable,
        };
        Ok((key, len))
    }

    /// Opens the file for DMA. `len` is its length as identified; EINVAL if it has shrunk since.
    pub(crate) fn open(fd: OwnedFd, key: FileKey, len: u64) -> Result<Self, Errno> {
        let writable = key.writable;
        let seals = fcntl_get_seals(&fd).map_err(|_| Errno::OPNOTSUPP)?;
        if !seals.contains(SealFlags::SHRINK) {
            let hugetlb = u64::try_from(fstatfs(&fd)?.f_type).is_ok_and(|t| t == HUGETLBFS_MAGIC);
            if hugetlb {
                return Err(Errno::OPNOTSUPP);
            }
            return Ok(Self {
                memory: Kind::Guarded(File::from(fd)),
                key,
                len,
            });
        }
        // Only from here on can it not shrink: what was identified before the seal was set may be gone.
        if u64::try_from(fstat(&fd)?.st_size).map_or(true, |size| size < len) {
            return Err(Errno::INVAL);
        }
        let bytes = usize::try_from(len).map_err(|_| Errno::FBIG)?;
        let file = File::from(fd);
        let mut options = MmapOptions::new();
        options.len(bytes);
        let map = if writable {
            options.map_raw(&file)
        } else {
            options.map_raw_read_only(&file)
        };
        let map = map.map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::NOMEM))?;
        Ok(Self {
            memory: Kind::Mapped(map),
            key,
            len,
        })
    }

    /// The file that this is.
    pub(crate) fn key(&self) -> FileKey {
        self.key
    }

    /// Bytes of the file, as far as this backing reaches.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Copies `into.len()` bytes from `offset` on.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), Errno> {
        match &self.memory {
            Kind::Mapped(map) => {
                let from = place(map, offset, into.len())?;
                // SAFETY: `place` proved that `from .. from + into.len()` lies in the live mapping, which the shrink
                // seal keeps backed; `into` is private memory of ours, so the two cannot overlap. The other process
                // may write meanwhile: bytes have no invalid values, and the copy is all that is used from here on.
                unsafe { from.copy_to_nonoverlapping(into.as_mut_ptr(), into.len()) };
                Ok(())
            }
            Kind::Guarded(file) => {
                let mut done = 0;
                while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
                    match rustix::io::pread(file, rest, offset + done as u64) {
                        Ok(0) => return Err(Errno::FAULT),
                        Ok(n) => done += n,
                        Err(Errno::INTR) => {}
                        Err(errno) => return Err(errno),
                    }
                }
                Ok(())
            }
        }
    }

    /// Copies `from` to `offset` on. The caller has checked that the map may be written.
    pub(crate) fn write(&self, offset: u64, from: &[u8]) -> Result<(), Errno> {
        match &self.memory {
            Kind::Mapped(map) => {
                let to = place(map, offset, from.len())?;
                // SAFETY: as in `read`, the other way: the range lies in the live, sealed mapping. The rights of a
                // map were checked against the file when it was made, and only a backing opened as writable is
                // ever written (`Memory` looks at the map's rights first).
                unsafe { to.copy_from_nonoverlapping(from.as_ptr(), from.len()) };
                Ok(())
            }
            Kind::Guarded(file) => {
                let end = offset
                    .checked_add(from.len() as u64)
                    .ok_or(Errno::OVERFLOW)?;
                // A write beyond the end would grow the file again; one that only races with a truncation does too,
                // which harms nobody but its owner.
                if u64::try_from(fstat(file)?.st_size).map_or(true, |size| end > size) {
                    return Err(Errno::FAULT);
                }
                let mut done = 0;
                while let Some(rest) = from.get(done..).filter(|rest| !rest.is_empty()) {
                    match rustix::io::pwrite(file, rest, offset + done as u64) {
                        Ok(0) => return Err(Errno::FAULT),
                        Ok(n) => done += n,
                        Err(Errno::INTR) => {}
                        Err(errno) => return Err(errno),
                    }
                }
                Ok(())
            }
        }
    }

    /// Loads an aligned `u32` with Acquire.
    pub(crate) fn load_u32(&self, offset: u64) -> Result<u32, Errno> {
        match &self.memory {
            Kind::Mapped(map) => {
                let cell = aligned(place(map, offset, 4)?)?;
                // SAFETY: the cell lies in the live, sealed mapping and is aligned; every access of ours to such
                // cells is atomic, and the other process is bound by the contract to do the same.
                let cell = unsafe { AtomicU32::from_ptr(cell) };
                Ok(u32::from_le(cell.load(Ordering::Acquire)))
            }
            Kind::Guarded(_) => {
                let mut bytes = [0; 4];
                self.read(offset, &mut bytes)?;
                Ok(u32::from_le_bytes(bytes))
            }
        }
    }

    /// Stores an aligned `u32` with Release. The caller has checked that the map may be written.
    pub(crate) fn store_u32(&self, offset: u64, value: u32) -> Result<(), Errno> {
        match &self.memory {
            Kind::Mapped(map) => {
                let cell = aligned(place(map, offset, 4)?)?;
                // SAFETY: as in `load_u32`.
                let cell = unsafe { AtomicU32::from_ptr(cell) };
                cell.store(value.to_le(), Ordering::Release);
                Ok(())
            }
            // Four aligned bytes are one store in the kernel's copy, and system calls are ordered on x86-64.
            Kind::Guarded(_) => self.write(offset, &value.to_le_bytes()),
        }
    }
}

/// Pointer to `offset` in the mapping, if `len` bytes lie in it from there on.
fn place(map: &MmapRaw, offset: u64, len: usize) -> Result<*mut u8, Errno> {
    let offset = usize::try_from(offset).map_err(|_| Errno::FAULT)?;
    let end = offset.checked_add(len).ok_or(Errno::FAULT)?;
    if end > map.len() {
        return Err(Errno::FAULT);
    }
    // SAFETY: `offset <= end <= map.len()`, so the sum stays in the one mapping that `as_mut_ptr` starts.
    Ok(unsafe { map.as_mut_ptr().add(offset) })
}

/// The pointer as one to a `u32`, if it is aligned as such.
fn aligned(pointer: *mut u8) -> Result<*mut u32, Errno> {
    let pointer = pointer.cast::<u32>();
    if pointer.is_aligned() {
        Ok(pointer)
    } else {
        Err(Errno::FAULT)
    }
}
