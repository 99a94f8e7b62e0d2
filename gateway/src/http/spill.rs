//! A spill: an unlinked file that holds what a caller has not read yet.
//!
//! Owns the file and its charge. Invariants: the file has no name, so it ends with the process
//! at the latest; every byte range is charged to the permit before it is written, and given
//! back once it has been read and its blocks were handed back to the file system. It does
//! not know why its owner spills, nor in which order bytes are asked for but the file's own.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, fallocate};
use tokio::task::spawn_blocking;

use crate::admission::AdmissionPermit;

/// Most bytes that one read brings back.
pub(super) const SPILL_READ_BYTES_MAX: usize = 128 << 10;
/// Bytes after whose reading their blocks are handed back to the file system, in one call.
const HOLE_BYTES: u64 = 4 << 20;

/// See the module's head. Its owner serialises writes among themselves, and reads among themselves.
#[derive(Debug)]
pub(super) struct Spill {
    file: Arc<File>,
    permit: Arc<AdmissionPermit>,
    /// Where the next write goes.
    written: u64,
    /// Where the next read begins.
    read: u64,
    /// Where the hole ends that was read and handed back.
    hole: u64,
    /// Bytes that are charged, and being written.
    pending: usize,
}

/// A part of the file that is charged, and about to be written or read.
pub(super) struct Part {
    file: Arc<File>,
    at: u64,
}

impl Spill {
    /// A new file in `dir`, on any file system that has room for it.
    pub(super) async fn create(dir: Arc<Path>, permit: Arc<AdmissionPermit>) -> io::Result<Self> {
        let file = blocking(move || tempfile::tempfile_in(dir)).await?;
        Ok(Self {
            file: Arc::new(file),
            permit,
            written: 0,
            read: 0,
            hole: 0,
            pending: 0,
        })
    }

    /// A place for `length` bytes, or `None` where a bound on spilled bytes is reached. The bytes count as
    /// [`Spill::unread`] once [`Spill::wrote`] was called.
    pub(super) fn reserve(&mut self, length: usize) -> Option<Part> {
        if !self.permit.take_spill(length) {
            return None;
        }
        self.pending = length;
        Some(Part {
            file: Arc::clone(&self.file),
            at: self.written,
        })
    }

    /// The bytes of the last reservation are in the file.
    pub(super) fn wrote(&mut self) {
        let length = std::mem::take(&mut self.pending);
        self.written = self.written.saturating_add(length as u64);
    }

    /// The bytes of the last reservation could not be written.
    pub(super) fn gave_up(&mut self) {
        let length = std::mem::take(&mut self.pending);
        self.permit.give_back_spill(length);
    }

    /// Whether everything was read, and nothing is being written.
    pub(super) const fn is_idle(&self) -> bool {
        self.pending == 0 && self.unread() == 0
    }

    /// Bytes that were written and not read.
    const fn unread(&self) -> u64 {
        self.written.saturating_sub(self.read)
    }

    /// The next bytes to be read, and how many; `None` if there are none.
    pub(super) fn next_part(&self) -> Option<(Part, usize)> {
        let length = usize::try_from(self.unread())
            .unwrap_or(usize::MAX)
            .min(SPILL_READ_BYTES_MAX);
        (length > 0).then(|| {
            let file = Arc::clone(&self.file);
            (
                Part {
                    file,
                    at: self.read,
                },
                length,
            )
        })
    }

    /// `length` bytes were read: their disk goes back by and by.
    pub(super) fn was_read(&mut self, length: usize) {
        self.read = self.read.saturating_add(length as u64);
        let behind = self.read.saturating_sub(self.hole);
        if behind < HOLE_BYTES {
            return;
        }
        // Some file systems have no holes: there the charge stays until the file ends.
        let punched = fallocate(
            &self.file,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            self.hole,
            behind,
        );
        if punched.is_ok() {
            self.hole = self.read;
            self.permit
                .give_back_spill(usize::try_from(behind).unwrap_or(usize::MAX));
        }
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        let charged = self.written.saturating_sub(self.hole);
        let charged = usize::try_from(charged).unwrap_or(usize::MAX);
        self.permit
            .give_back_spill(charged.saturating_add(self.pending));
    }
}

impl Part {
    /// Writes `bytes` here.
    pub(super) async fn write(self, bytes: Bytes) -> io::Result<()> {
        blocking(move || self.file.write_all_at(&bytes, self.at)).await
    }

    /// Reads `length` bytes from here.
    pub(super) async fn read(self, length: usize) -> io::Result<Bytes> {
        blocking(move || {
            let mut bytes = vec![0; length];
            self.file.read_exact_at(&mut bytes, self.at)?;
            Ok(Bytes::from(bytes))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
