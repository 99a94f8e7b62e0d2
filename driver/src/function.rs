//! One function of a card, brought up: its queue pairs, its health, its end.
//!
//! Owns the admin queue and what is mapped for the function. Invariant: queue pairs are
//! created with a new epoch each; after [`Function::reset`] nothing of this life is used
//! again, and the proof that it returns frees what was held back on its account. A queue
//! pair that is retired frees nothing: its number and its map stay out of use until then.
//! It deliberately does not decide when to reset: its supervisor does.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use faam_hwif::admin::{
    AdminCommand, ERROR_LOG_ENTRIES, ERROR_LOG_ENTRY_BYTES, ErrorLogEntry, HEALTH_BYTES, Health,
    LogPage,
};
use faam_hwif::doorbell::SHADOW_BYTES;
use faam_hwif::queue::QueueEntries;
use faam_hwif::regs::{ALL_ONES, QueueCounter, RESET_KEY, control, error};
use faam_hwif::{BarOffset, Iova, Mmio, QueueEpoch, QueueId};
use parking_lot::Mutex;
use thiserror::Error;

use crate::admin::{ADMIN_ENTRIES_LOG2, Admin, AdminError};
use crate::dma::{
    Arena, FenceProof, Incarnation, QueueMemory, QueueMemoryLayout, ResetEvidence,
    SharedMemoryError,
};
use crate::identity::{FunctionIdentity, RegisterMap};
use crate::iova_plan::QUEUE_IOVA_STRIDE;
use crate::queue::{Doorbells, Queue};
use crate::queue_pair::QueuePair;
use crate::transport::{Bar0, DmaAccess, Transport, TransportError};

/// Pause between two looks at a register that is to change: a look costs some 25 us.
pub(crate) const REGISTER_POLL: Duration = Duration::from_micros(250);

/// Tries at reading both halves of a counter as one.
const COUNTER_TRIES_MAX: u32 = 4;

/// How a function is to be brought up.
#[derive(Clone, Copy, Debug)]
pub struct FunctionConfig {
    /// log2 of the entries of each I/O queue.
    pub queue_entries_log2: u8,
    /// I/O queue pairs to ask for.
    pub queue_pairs: u16,
    /// Whether to use shadow doorbells where the card has them.
    pub shadow_doorbells: bool,
    /// Longest wait for an admin command.
    pub admin_limit: Duration,
    /// Longest wait for the function to become ready, and for it to reset before that.
    pub ready_limit: Duration,
}

impl Default for FunctionConfig {
    fn default() -> Self {
        Self {
            // 63 commands: some 30 engines' worth at two jobs each.
            queue_entries_log2: 6,
            // One in service, one for a self-test.
            queue_pairs: 2,
            shadow_doorbells: true,
            admin_limit: Duration::from_millis(500),
            ready_limit: Duration::from_millis(1000),
        }
    }
}

impl FunctionConfig {
    /// Bytes of queue memory that a function so configured has mapped at most, its admin queue included.
    #[must_use]
    pub fn queue_bytes_max(&self) -> u64 {
        let bytes = |log2: u8| {
            QueueEntries::from_log2(log2.clamp(1, QueueEntries::LOG2_MAX))
                .map_or(0, |entries| QueueMemoryLayout::new(entries).bytes() as u64)
        };
        bytes(ADMIN_ENTRIES_LOG2) + u64::from(self.queue_pairs) * bytes(self.queue_entries_log2)
    }
}

/// Why a queue pair was not created or deleted.
#[derive(Debug, Error)]
pub enum QueuePairError {
    /// All are in being.
    #[error("all {granted} queue pairs that the function granted are in being")]
    NoneLeft {
        /// Pairs granted.
        granted: u16,
    },
    /// No memory for the rings.
    #[error("the rings' memory could not be had")]
    Memory(#[from] SharedMemoryError),
    /// The rings could not be mapped or unmapped.
    #[error("the rings could not be mapped for the function")]
    Transport(#[from] TransportError),
    /// The function refused.
    #[error("the function did not create or delete the queue pair")]
    Admin(#[from] AdminError),
    /// There is no such pair, or it was retired before.
    #[error("queue pair {queue} is not in being, or was retired already")]
    NotInBeing {
        /// Which.
        queue: QueueId,
    },
    /// Commands are outstanding.
    #[error("{outstanding} commands are outstanding on the queue pair: finish or fence them first")]
    Busy {
        /// How many.
        outstanding: u32,
    },
}

/// Why a reset is no fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResetError {
    /// The function could not be reached.
    #[error("the function could not be reached for its reset; if its process is ours, kill it")]
    Transport(#[source] TransportError),
    /// It did not come out of reset in time.
    #[error(
        "no finished reset within {limit_ms} ms: status {status:#x}, epoch {epoch_before} -> {epoch_after}"
    )]
    Unproven {
        /// The limit.
        limit_ms: u64,
        /// Last STATUS.
        status: u32,
        /// RESET_EPOCH before.
        epoch_before: u32,
        /// RESET_EPOCH at last.
        epoch_after: u32,
    },
}

/// What a function and its queue pairs have in common.
#[derive(Debug)]
pub(crate) struct FunctionShared {
    pub(crate) bar: Bar0,
    pub(crate) map: RegisterMap,
    pub(crate) identity: FunctionIdentity,
    pub(crate) arena: Arc<Arena>,
    pub(crate) incarnation: Incarnation,
    pub(crate) ended: AtomicBool,
}

impl FunctionShared {
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Which queue numbers are in use, and what is mapped.
#[derive(Debug)]
pub(crate) struct QueueBook {
    /// By queue number; the admin queue is in use for ever.
    pub(crate) used: Vec<bool>,
    /// Pairs that were retired. They stay in use.
    pub(crate) retired: Vec<QueueId>,
    pub(crate) next_epoch: QueueEpoch,
    /// Maps of this life, to be taken back after a reset.
    pub(crate) maps: Vec<(Iova, u64)>,
}

/// A function that is up.
#[derive(Debug)]
pub struct Function {
    pub(crate) shared: Arc<FunctionShared>,
    pub(crate) config: FunctionConfig,
    pub(crate) admin: Mutex<Admin>,
    pub(crate) book: Mutex<QueueBook>,
    /// Held while a slot is loaded or evicted.
    pub(crate) slot_work: Mutex<()>,
    /// Where it sees its queues.
    pub(crate) queues: Iova,
    /// By vector.
    pub(crate) interrupts: Vec<Arc<OwnedFd>>,
}

impl Function {
    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &FunctionIdentity {
        &self.shared.identity
    }

    /// Its present life.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.shared.incarnation
    }

    /// The way to it, to bring it up anew after a reset.
    #[must_use]
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.shared.bar.0
    }

    /// The arena that it can reach.
    #[must_use]
    pub fn arena(&self) -> &Arc<Arena> {
        &self.shared.arena
    }

    /// Create an I/O queue pair.
    ///
    /// # Errors
    /// [`QueuePairError`].
    pub fn create_queue_pair(&self) -> Result<QueuePair, QueuePairError> {
        let entries_log2 = self
            .config
            .queue_entries_log2
            .clamp(1, self.shared.identity.entries_log2_max);
        let Some(entries) = QueueEntries::from_log2(entries_log2) else {
            return Err(QueuePairError::NoneLeft { granted: 0 });
        };
        let (id, epoch) = self.take_queue_number()?;
        let created = self.create_numbered(id, epoch, entries);
        if created.is_err() {
            self.give_back_queue_number(id);
        }
        created
    }

    fn create_numbered(
        &self,
        id: QueueId,
        epoch: QueueEpoch,
        entries: QueueEntries,
    ) -> Result<QueuePair, QueuePairError> {
        let shadow =
            self.config.shadow_doorbells && self.shared.identity.features.shadow_doorbells();
        let memory = self.map_queue(id, entries)?;
        let vector = self.vector_of(id);
        let interrupt = usize::from(vector);
        let interrupt = self
            .interrupts
            .get(interrupt)
            .or(self.interrupts.first())
            .map(Arc::clone)
            .ok_or(QueuePairError::NoneLeft { granted: 0 })?;
        let command = AdminCommand::CreateQueue {
            queue: id,
            entries,
            sq: memory.submissions_iova(),
            cq: memory.completions_iova(),
            shadow: shadow.then(|| memory.shadow_iova()),
            vector: Some(vector),
            epoch,
        };
        // Before the command: the card may read the shadow page as soon as the queue exists.
        let queue = Queue::new(
            id,
            epoch,
            memory,
            Arc::clone(&self.shared.bar.0),
            self.shared.map.doorbell_page(id),
            match shadow {
                true => Doorbells::Shadow,
                false => Doorbells::Mmio,
            },
        );
        if let Err(error) = self.admin.lock().execute(command) {
            self.unmap_queue(queue.memory());
            return Err(error.into());
        }
        Ok(QueuePair::new(queue, interrupt, Arc::clone(&self.shared)))
    }

    /// Delete a queue pair. It completes after all DMA of the pair has ended.
    ///
    /// # Errors
    /// [`QueuePairError`]; [`QueuePairError::Busy`] while commands are outstanding.
    pub fn delete_queue_pair(&self, pair: QueuePair) -> Result<(), QueuePairError> {
        match pair.outstanding() {
            0 => {}
            outstanding => return Err(QueuePairError::Busy { outstanding }),
        }
        let queue = pair.id();
        self.admin
            .lock()
            .execute(AdminCommand::DeleteQueue { queue })?;
        self.unmap_queue(pair.queue().memory());
        self.give_back_queue_number(queue);
        Ok(())
    }

    /// Take a queue pair from the card whose worker ended on a fault of it ([`crate::DeviceFault::is_of_the_queue`]).
    /// The others go on.
    ///
    /// A card whose completions cannot be is not believed that its DMA has ended either: what the pair's commands named
    /// stays in quarantine, and its number and map out of use, until the function is fenced. So a function can retire no
    /// more pairs than it was granted.
    ///
    /// # Errors
    /// [`QueuePairError`]: the card did not say that it is deleted; fence the function.
    pub fn retire_queue_pair(&self, queue: QueueId) -> Result<(), QueuePairError> {
        {
            let mut book = self.book.lock();
            let used = book.used.get(usize::from(queue.0)).copied();
            if queue == QueueId::ADMIN || used != Some(true) || book.retired.contains(&queue) {
                return Err(QueuePairError::NotInBeing { queue });
            }
            book.retired.push(queue);
        }
        let deleted = AdminCommand::DeleteQueue { queue };
        self.admin.lock().execute(deleted)?;
        Ok(())
    }

    /// Queue pairs that were retired in this life.
    #[must_use]
    pub fn retired_queue_pairs(&self) -> Vec<QueueId> {
        self.book.lock().retired.clone()
    }

    /// Health page.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn health(&self) -> Result<Health, AdminError> {
        let mut admin = self.admin.lock();
        let (dst, dst_cap) = admin.page();
        let entry = admin.execute(AdminCommand::GetLogPage {
            page: LogPage::Health,
            dst,
            dst_cap,
        })?;
        let bytes = admin.read_page::<HEALTH_BYTES>(entry.out_len)?;
        Ok(Health::from_bytes(&bytes))
    }

    /// Error log, newest first.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn error_log(&self) -> Result<Vec<ErrorLogEntry>, AdminError> {
        let mut admin = self.admin.lock();
        let (dst, dst_cap) = admin.page();
        let entry = admin.execute(AdminCommand::GetLogPage {
            page: LogPage::Errors,
            dst,
            dst_cap,
        })?;
        let all = admin.read_page_array::<ERROR_LOG_ENTRY_BYTES>(entry.out_len, ERROR_LOG_ENTRIES);
        Ok(all.iter().map(ErrorLogEntry::from_bytes).collect())
    }

    /// First error since reset: its code and what it speaks of.
    ///
    /// # Errors
    /// [`TransportError`].
    pub fn first_error(&self) -> Result<(error::First, u64), TransportError> {
        let at = self.shared.map.error;
        let bar = &self.shared.bar;
        let first = bar.read(at)?;
        let low: error::InfoLo = bar.read(at)?;
        let high: error::InfoHi = bar.read(at)?;
        Ok((first, u64::from(low.0) | (u64::from(high.0) << 32)))
    }

    /// Advances while the function's processor runs.
    ///
    /// # Errors
    /// [`TransportError`]; [`TransportError::Gone`] if it reads as all-ones.
    pub fn heartbeat(&self) -> Result<u32, TransportError> {
        let beat: control::Heartbeat = self.shared.bar.read(self.shared.map.control)?;
        match beat.0 {
            ALL_ONES => Err(TransportError::Gone),
            count => Ok(count),
        }
    }

    /// One counter of a queue.
    ///
    /// # Errors
    /// [`TransportError`]; [`TransportError::OutOfRange`] for a queue that the function does not have.
    pub fn counter(&self, queue: QueueId, counter: QueueCounter) -> Result<u64, TransportError> {
        if queue.0 > self.shared.identity.io_pairs_max {
            return Err(TransportError::OutOfRange {
                what: "queue",
                value: u64::from(queue.0),
            });
        }
        let at = self.shared.map.counters(queue).0 + u32::from(counter as u8) * 8;
        let bar = &self.shared.bar;
        let (low, high) = (BarOffset(at), BarOffset(at + 4));
        let mut before = bar.read32(high)?;
        // The halves are two reads: the low one belongs to a high one that did not change around it. An honest card's
        // changes once in 2^32 events, so a second try is the last that is ever needed.
        for _ in 0..COUNTER_TRIES_MAX {
            let value = bar.read32(low)?;
            let after = bar.read32(high)?;
            if after == ALL_ONES {
                return Err(TransportError::Gone);
            }
            if before == after {
                return Ok(u64::from(value) | (u64::from(after) << 32));
            }
            before = after;
        }
        Err(TransportError::Refused {
            command: "a counter read: its high half never stands still",
            errno: 0,
        })
    }

    /// Give the function's life up without touching the card: its workers end at their next look (stop or wake them), and
    /// what they had in flight goes to quarantine. For a card that is gone or about to be killed.
    pub fn end(&self) {
        self.shared.ended.store(true, Ordering::Release);
    }

    /// Reset the function: by its RESET register, and by the transport's own reset if that does not finish in half
    /// of `limit`. Its queue pairs are dead from here on; their workers end by themselves.
    ///
    /// Before the transport's own reset, which may never return, the function is cut off where an IOMMU enforces its
    /// maps: the registers by which that is done are out of reach once the reset hangs.
    ///
    /// The proof frees what was held back so far; release once more after the workers have ended.
    ///
    /// # Errors
    /// [`ResetError`]: nothing is proven by the reset, and nothing may be freed on its account. [`Self::cut_off`] may
    /// prove it.
    pub fn reset(&self, limit: Duration) -> Result<FenceProof, ResetError> {
        self.shared.ended.store(true, Ordering::Release);
        let bar = &self.shared.bar;
        let deadline = Instant::now() + limit;
        let epoch_before: control::ResetEpoch = bar
            .read(self.shared.map.control)
            .map_err(ResetError::Transport)?;
        let asked = bar.write(self.shared.map.control, control::Reset(RESET_KEY));
        let by_register = asked
            .map_err(ResetError::Transport)
            .and_then(|()| self.await_reset(epoch_before, limit / 2));
        let proof = match by_register {
            Ok(proof) => proof,
            Err(_) => {
                if let Err(error) = self.cut_off() {
                    tracing::debug!(%error, "not cut off before its reset");
                }
                bar.0
                    .function_level_reset()
                    .map_err(ResetError::Transport)?;
                let left = deadline.saturating_duration_since(Instant::now());
                self.await_reset(epoch_before, left.max(REGISTER_POLL))?
            }
        };
        self.unmap_all();
        Ok(proof)
    }

    /// Reset the function by the transport's own means (PCIe function-level reset), not its RESET register: for an
    /// operator, and for a function whose registers cannot be trusted to do it. Otherwise as [`Self::reset`].
    ///
    /// # Errors
    /// [`ResetError`]: nothing is proven, and nothing may be freed.
    pub fn function_level_reset(&self, limit: Duration) -> Result<FenceProof, ResetError> {
        self.shared.ended.store(true, Ordering::Release);
        let bar = &self.shared.bar;
        let epoch_before: control::ResetEpoch = bar
            .read(self.shared.map.control)
            .map_err(ResetError::Transport)?;
        bar.0
            .function_level_reset()
            .map_err(ResetError::Transport)?;
        // It may have switched memory decoding off (PCIe 6.0, section 6.6.2): registers are read next.
        bar.0.set_bus_master(false).map_err(ResetError::Transport)?;
        let proof = self.await_reset(epoch_before, limit)?;
        self.unmap_all();
        Ok(proof)
    }

    /// I/O queue pairs that the function granted, and whether each is in being or was retired.
    #[must_use]
    pub fn queue_pairs(&self) -> Vec<(QueueId, bool)> {
        let book = self.book.lock();
        // Place 0 is the admin queue's.
        let pairs = (0..).zip(book.used.iter().copied()).skip(1);
        pairs
            .map(|(number, used)| (QueueId(number), used))
            .collect()
    }

    fn await_reset(
        &self,
        epoch_before: control::ResetEpoch,
        limit: Duration,
    ) -> Result<FenceProof, ResetError> {
        let deadline = Instant::now() + limit;
        let bar = &self.shared.bar;
        let at = self.shared.map.control;
        loop {
            let status: control::Status = bar.read(at).map_err(ResetError::Transport)?;
            let epoch: control::ResetEpoch = bar.read(at).map_err(ResetError::Transport)?;
            let evidence = ResetEvidence {
                incarnation: self.shared.incarnation,
                status: status.0,
                dma_idle: status.dma_idle(),
                resetting: status.resetting(),
                epoch_before: epoch_before.0,
                epoch_after: epoch.0,
            };
            if let Some(proof) = FenceProof::from_reset(&evidence) {
                return Ok(proof);
            }
            if Instant::now() >= deadline {
                return Err(ResetError::Unproven {
                    limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
                    status: status.0,
                    epoch_before: epoch_before.0,
                    epoch_after: epoch.0,
                });
            }
            std::thread::sleep(REGISTER_POLL);
        }
    }

    /// Vector 0 is the admin queue's; the pairs share the others, and all share vector 0 where there is no other.
    fn vector_of(&self, queue: QueueId) -> u16 {
        let vectors = u16::try_from(self.interrupts.len()).unwrap_or(u16::MAX);
        match vectors.saturating_sub(1) {
            0 => 0,
            others => 1 + queue.0.saturating_sub(1) % others,
        }
    }

    fn take_queue_number(&self) -> Result<(QueueId, QueueEpoch), QueuePairError> {
        let mut book = self.book.lock();
        let granted = u16::try_from(book.used.len().saturating_sub(1)).unwrap_or(u16::MAX);
        let number = book
            .used
            .iter()
            .position(|used| !used)
            .ok_or(QueuePairError::NoneLeft { granted })?;
        if let Some(used) = book.used.get_mut(number) {
            *used = true;
        }
        book.next_epoch = book.next_epoch.next();
        let id = u16::try_from(number).unwrap_or(u16::MAX);
        Ok((QueueId(id), book.next_epoch))
    }

    fn give_back_queue_number(&self, id: QueueId) {
        if let Some(used) = self.book.lock().used.get_mut(usize::from(id.0)) {
            *used = false;
        }
    }

    pub(crate) fn map_queue(
        &self,
        id: QueueId,
        entries: QueueEntries,
    ) -> Result<QueueMemory, QueuePairError> {
        let (memory, iova) = new_queue_memory(self.queues, id, entries)?;
        let bytes = memory.memory().len() as u64;
        self.shared
            .bar
            .0
            .map_dma(memory.memory(), iova, DmaAccess::ReadWrite)?;
        self.book.lock().maps.push((iova, bytes));
        Ok(memory)
    }

    /// Best effort: a map that stays does no harm but to the next of its number, which then fails and says so.
    fn unmap_queue(&self, memory: &QueueMemory) {
        let iova = memory.submissions_iova();
        let bytes = memory.memory().len() as u64;
        match self.shared.bar.0.unmap_dma(iova, bytes) {
            Ok(()) => self.book.lock().maps.retain(|map| map.0 != iova),
            Err(error) => tracing::warn!(%error, %iova, "queue memory could not be unmapped"),
        }
    }

    /// Take every map back; returns how many stay.
    pub(crate) fn unmap_all(&self) -> usize {
        let mut book = self.book.lock();
        book.maps = unmap_all(&self.shared.bar.0, &book.maps);
        book.maps.len()
    }
}

/// Takes maps back, best effort: on a transport that fails here the next bring-up fails and says so. Returns those that
/// stay.
pub(crate) fn unmap_all(transport: &Arc<dyn Transport>, maps: &[(Iova, u64)]) -> Vec<(Iova, u64)> {
    let stays = |(iova, bytes): &(Iova, u64)| match transport.unmap_dma(*iova, *bytes) {
        Ok(()) => false,
        Err(error) => {
            tracing::warn!(%error, %iova, "memory could not be unmapped");
            true
        }
    };
    maps.iter().filter(|map| stays(map)).copied().collect()
}

/// Memory for a queue, and where the function is to see it, if it sees its queues from `queues` on.
pub(crate) fn new_queue_memory(
    queues: Iova,
    id: QueueId,
    entries: QueueEntries,
) -> Result<(QueueMemory, Iova), SharedMemoryError> {
    let iova = Iova(queues.0 + u64::from(id.0) * QUEUE_IOVA_STRIDE);
    let memory = QueueMemory::new(QueueMemoryLayout::new(entries), iova)?;
    Ok((memory, iova))
}

const _: () = assert!(SHADOW_BYTES as usize <= crate::dma::PAGE_BYTES);
