//! A spill: an unlinked file that holds what a caller has not read yet.
//!
//! Owns the file and its charge. Invariants: the file has no name, so it ends with the process
//! at the latest; every byte range is charged to the permit before it is written, and given
//! back only once its blocks are the file system's again; whatever touches the disk runs on a
//! thread that may block. Such work is bounded: a spill has at most one write and one read under
//! way and is closed once, and there are at most
//! [`SPILL_FILES_MAX`](crate::admission::SPILL_FILES_MAX) spills. It does not know why its owner
//! spills, nor in which order bytes are asked for but the file's own.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::admission::{AdmissionPermit, SpillFilePermit};

/// Most bytes that one read brings back.
pub(super) const SPILL_READ_BYTES_MAX: usize = 128 << 10;
/// Bytes after whose reading their blocks are handed back to the file system, in one call.
const HOLE_BYTES: u64 = 4 << 20;

/// See the module's head. Its owner serialises writes among themselves, and reads among themselves.
#[derive(Debug)]
pub(super) struct Spill {
    file: Arc<SpillFile>,
    /// Where the next write goes.
    written: u64,
    /// Where the next read begins.
    read: u64,
    /// Bytes that are charged and not written.
    ahead: usize,
    /// Bytes that are being written.
    pending: usize,
}

/// The file, its place among all of them, and what is charged for it; closed by whoever holds it last.
#[derive(Debug)]
struct SpillFile {
    /// `None` once it is being closed.
    open: Option<OpenFile>,
    space: Mutex<Space>,
}

#[derive(Debug)]
struct OpenFile {
    file: File,
    permit: Arc<AdmissionPermit>,
    _place: SpillFilePermit,
}

/// What the file takes of the disk.
#[derive(Debug, Default)]
struct Space {
    /// Bytes that are charged.
    charged: usize,
    /// Where the hole ends that was read and handed back.
    hole: u64,
}

/// A part of the file that is charged, and about to be written or read.
pub(super) struct Part {
    file: Arc<SpillFile>,
    at: u64,
}

impl Spill {
    /// A new file in `dir`, on any file system that has room for it.
    pub(super) async fn create(
        dir: Arc<Path>,
        permit: Arc<AdmissionPermit>,
        place: SpillFilePermit,
    ) -> io::Result<Self> {
        let file = blocking(move || {
            Ok(SpillFile {
                open: Some(OpenFile {
                    file: tempfile::tempfile_in(dir)?,
                    permit,
                    _place: place,
                }),
                space: Mutex::default(),
            })
        });
        Ok(Self {
            file: Arc::new(file.await?),
            written: 0,
            read: 0,
            ahead: 0,
            pending: 0,
        })
    }

    /// A place for `length` bytes, or `None` where a bound on spilled bytes is reached. The bytes count as
    /// [`Spill::unread`] once [`Spill::wrote`] was called.
    pub(super) fn reserve(&mut self, length: usize) -> Option<Part> {
        let more = length.saturating_sub(self.ahead);
        if !self.file.take(more) {
            return None;
        }
        self.ahead = self.ahead.saturating_add(more);
        self.pending = length;
        Some(Part {
            file: Arc::clone(&self.file),
            at: self.written,
        })
    }

    /// The bytes of the last reservation are in the file.
    pub(super) fn wrote(&mut self) {
        let length = std::mem::take(&mut self.pending);
        self.ahead = self.ahead.saturating_sub(length);
        self.written = self.written.saturating_add(length as u64);
    }

    /// The bytes of the last reservation could not be written. Some may have been: they stay charged for the next
    /// ones, which go to the same place.
    pub(super) fn gave_up(&mut self) {
        self.pending = 0;
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

    /// `length` bytes were read.
    pub(super) const fn was_read(&mut self, length: usize) {
        self.read = self.read.saturating_add(length as u64);
    }
}

impl SpillFile {
    fn take(&self, length: usize) -> bool {
        let Some(open) = &self.open else { return false };
        if !open.permit.take_spill(length) {
            return false;
        }
        let mut space = self.space.lock();
        space.charged = space.charged.saturating_add(length);
        true
    }

    /// Hands the blocks before `read` back to the file system, once there are enough of them. Blocks.
    fn punch(&self, open: &OpenFile, read: u64) {
        let hole = self.space.lock().hole;
        let behind = read.saturating_sub(hole);
        if behind < HOLE_BYTES {
            return;
        }
        // Some file systems have no holes: there the charge stays until the file ends.
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if fallocate(&open.file, flags, hole, behind).is_err() {
            return;
        }
        let mut space = self.space.lock();
        space.hole = read;
        let freed = usize::try_from(behind)
            .unwrap_or(usize::MAX)
            .min(space.charged);
        space.charged = space.charged.saturating_sub(freed);
        drop(space);
        open.permit.give_back_spill(freed);
    }
}

impl Drop for SpillFile {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else {
            return;
        };
        let charged = std::mem::take(&mut self.space.get_mut().charged);
        let close = move || {
            let OpenFile {
                file,
                permit,
                _place,
            } = open;
            // Its blocks are freed here, which takes the file system a while where there are many.
            drop(file);
            permit.give_back_spill(charged);
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(close)),
            // The runtime has ended: there is nobody to hold up.
            Err(_) => close(),
        }
    }
}

impl Part {
    /// Writes `bytes` here.
    pub(super) async fn write(self, bytes: Bytes) -> io::Result<()> {
        blocking(move || self.file.open()?.file.write_all_at(&bytes, self.at)).await
    }

    /// Reads `length` bytes from here. Nothing before their end is read again: its disk goes back by and by.
    pub(super) async fn read(self, length: usize) -> io::Result<Bytes> {
        blocking(move || {
            let open = self.file.open()?;
            let mut bytes = vec![0; length];
            open.file.read_exact_at(&mut bytes, self.at)?;
            self.file.punch(open, self.at.saturating_add(length as u64));
            Ok(Bytes::from(bytes))
        })
        .await
    }
}

impl SpillFile {
    fn open(&self) -> io::Result<&OpenFile> {
        self.open
            .as_ref()
            .ok_or_else(|| io::Error::other("the spill is being closed"))
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    spawn_blocking(work).await.map_err(io::Error::other)?
}
