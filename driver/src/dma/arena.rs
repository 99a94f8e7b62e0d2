//! The data arena: the one piece of memory that all functions of the gateway can reach.
//!
//! Owns the shared file, its pool of pages and its quarantine. Invariant: a page is in
//! exactly one of three places: the pool, a live [`DmaBuffer`], the quarantine.
//! It is mapped at the same IOVA into every function, so that a job can move from one function to
//! another. It deliberately does not know functions, nor who chose that place.
//!
//! Isolation: an IOMMU keeps devices and drivers apart, not tenants, who all share the
//! arena. Tenants are kept apart by ownership (a buffer belongs to one job), by bounds
//! and by scrubbing: each page remembers the context that last had it and is zeroed
//! before another context gets it, so a card that reports bytes it never wrote can show
//! a tenant nothing but zeros or the tenant's own bytes.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use faam_hwif::Iova;
use parking_lot::Mutex;
use thiserror::Error;

use super::buffer::DmaBuffer;
use super::pages::{PageRun, Pages};
use super::quarantine::Quarantine;
use super::shared_memory::{PAGE_BYTES, PageSize, SharedMemory, SharedMemoryError};

/// Size of the arena unless configured, bytes.
pub const ARENA_BYTES_DEFAULT: usize = 24 << 20;
/// Where every function sees the arena if nothing is in the way: above 4 GiB, clear of x86's MSI window.
pub const ARENA_IOVA: Iova = Iova(1 << 32);
/// Arenas that a process may leave behind with foreign devices before it refuses to make more trouble.
pub const ARENAS_ABANDONED_MAX: usize = 4;

/// Name of its memory file, as /proc shows it.
const ARENA_NAME: &str = "faam-arena";

static ARENAS_ABANDONED: AtomicUsize = AtomicUsize::new(0);

/// Why there is no arena.
#[derive(Debug, Error)]
pub enum ArenaError {
    /// No memory.
    #[error("the arena's memory could not be had")]
    Memory(#[from] SharedMemoryError),
    /// Too many were abandoned.
    #[error(
        "{ARENAS_ABANDONED_MAX} arenas were already abandoned to devices that gave no fence; restart the gateway after mending the device"
    )]
    TooManyAbandoned,
}

/// The arena.
#[derive(Debug)]
pub struct Arena {
    memory: SharedMemory,
    pages: Mutex<Pages>,
    quarantine: Quarantine,
    abandoned: AtomicBool,
    /// Where functions see it, from the first on.
    place: OnceLock<Iova>,
    /// For the test that must see what scrubbing is for.
    #[cfg(test)]
    pub(super) unscrubbed: AtomicBool,
}

impl Arena {
    /// An arena of at least `bytes`, on huge pages if the pool has them.
    ///
    /// # Errors
    /// [`ArenaError::Memory`].
    pub fn new(bytes: usize) -> Result<Arc<Self>, ArenaError> {
        Ok(Self::in_memory(SharedMemory::new(ARENA_NAME, bytes)?))
    }

    /// An arena of at least `bytes` on pages of the given size and no other.
    ///
    /// # Errors
    /// [`ArenaError::Memory`]; of huge pages also if the pool has too few.
    pub fn on_pages(bytes: usize, pages: PageSize) -> Result<Arc<Self>, ArenaError> {
        let memory = SharedMemory::on_pages(ARENA_NAME, bytes, pages)?;
        Ok(Self::in_memory(memory))
    }

    fn in_memory(memory: SharedMemory) -> Arc<Self> {
        let pages = Pages::new(memory.len() / PAGE_BYTES);
        Arc::new(Self {
            memory,
            pages: Mutex::new(pages),
            quarantine: Quarantine::default(),
            abandoned: AtomicBool::new(false),
            place: OnceLock::new(),
            #[cfg(test)]
            unscrubbed: AtomicBool::new(false),
        })
    }

    /// A buffer of at least `len` bytes for jobs of `context`, or `None` while the pool has no such run.
    /// What other contexts left in its pages is zeroed first.
    #[must_use]
    pub fn alloc(self: &Arc<Self>, len: usize, context: u32) -> Option<DmaBuffer> {
        if self.abandoned.load(Ordering::Acquire) {
            return None;
        }
        let wanted = len.div_ceil(PAGE_BYTES).max(1);
        let mut stale = StalePages::default();
        let run = {
            let mut pages = self.pages.lock();
            let run = pages.take(wanted)?;
            pages.claim(&run, context, |page| stale.add(page));
            run
        };
        let buffer = DmaBuffer::new(Arc::clone(self), run);
        #[cfg(test)]
        if self.unscrubbed.load(Ordering::Relaxed) {
            return Some(buffer);
        }
        // Outside the lock: the pages are this buffer's already.
        if let Some((first, count)) = stale.span() {
            buffer.zero_pages(first, count);
        }
        Some(buffer)
    }

    /// Most bytes that one buffer of this arena can have.
    #[must_use]
    pub fn buffer_bytes_max(&self) -> usize {
        let pages = self.memory.len() / PAGE_BYTES;
        super::pages::CLASSES_PAGES
            .into_iter()
            .filter(|class| *class <= pages)
            .max()
            .unwrap_or(0)
            * PAGE_BYTES
    }

    /// Where every function sees its first byte; settled by the first, or by who asks before.
    #[must_use]
    pub fn iova(&self) -> Iova {
        self.place(ARENA_IOVA)
    }

    /// Where it was placed, if it was.
    pub(crate) fn placed(&self) -> Option<Iova> {
        self.place.get().copied()
    }

    /// Place it at `iova`, unless it has a place; returns its place.
    pub(crate) fn place(&self, iova: Iova) -> Iova {
        *self.place.get_or_init(|| iova)
    }

    /// Bytes in the pool.
    #[must_use]
    pub fn free_bytes(&self) -> usize {
        self.pages.lock().free() * PAGE_BYTES
    }

    /// Bytes in all.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.memory.len()
    }

    /// The memory, to map it.
    #[must_use]
    pub fn memory(&self) -> &SharedMemory {
        &self.memory
    }

    /// Where buffers of unfinished commands wait.
    #[must_use]
    pub fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// Give back to the pool what `proof` covers; returns the bytes freed.
    pub fn release_quarantined(&self, proof: &super::FenceProof) -> usize {
        let mut freed = 0;
        for run in self.quarantine.take(proof) {
            freed += run.count * PAGE_BYTES;
            self.give_back(&run);
        }
        freed
    }

    /// Leave the arena to devices that gave no fence: nothing is allocated from it any more. The memory file
    /// itself lives on for as long as the foreign process maps it; nobody else reads it.
    ///
    /// # Errors
    /// [`ArenaError::TooManyAbandoned`] after [`ARENAS_ABANDONED_MAX`] in this process: then no new arena should be made.
    pub fn abandon(&self) -> Result<(), ArenaError> {
        if self.abandoned.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        match ARENAS_ABANDONED.fetch_add(1, Ordering::AcqRel) < ARENAS_ABANDONED_MAX {
            true => Ok(()),
            false => Err(ArenaError::TooManyAbandoned),
        }
    }

    pub(super) fn give_back(&self, run: &PageRun) {
        self.pages.lock().give_back(run);
    }
}

/// First to last page that needs scrubbing: runs are short, and their stale pages lie together.
#[derive(Default)]
struct StalePages(Option<(usize, usize)>);

impl StalePages {
    fn add(&mut self, page: usize) {
        self.0 = Some(match self.0 {
            Some((first, _)) => (first, page),
            None => (page, page),
        });
    }

    fn span(&self) -> Option<(usize, usize)> {
        self.0.map(|(first, last)| (first, last - first + 1))
    }
}
