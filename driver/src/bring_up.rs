//! From a transport to a function that serves: checked, mapped, enabled, identified.
//!
//! Owns the order of steps and what is undone when one fails. Invariant: a function is
//! handed out only if its identity passed every check and its admin queue answered.
//! Order: memory decoding; identity; bus mastering; a reset if anything is left of an earlier life; maps;
//! interrupts; admin queue and enable; identify; features.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use faam_hwif::admin::{AdminCommand, Feature, IDENTIFY_BYTES, Identify};
use faam_hwif::queue::QueueEntries;
use faam_hwif::regs::{RESET_KEY, control, queue_control};
use faam_hwif::{Iova, Mmio, QueueEpoch, QueueId};
use parking_lot::Mutex;
use thiserror::Error;

use crate::admin::{ADMIN_ENTRIES_LOG2, Admin, AdminError};
use crate::dma::{Arena, Incarnation, SharedMemoryError};
use crate::event::new_eventfd;
use crate::function::{
    Function, FunctionConfig, FunctionShared, QueueBook, new_queue_memory, unmap_all,
};
use crate::identity::{self, FunctionIdentity, IdentityError, RegisterMap};
use crate::iova_plan::{IovaPlan, NoPlace};
use crate::queue::{Doorbells, Queue};
use crate::transport::{Bar0, DmaAccess, Transport, TransportError};

/// Vectors set up at most: one a queue.
const VECTORS_MAX: u16 = faam_hwif::QUEUES_MAX;

/// Why a function could not be brought up.
#[derive(Debug, Error)]
pub enum BringUpError {
    /// The transport failed.
    #[error("the function could not be reached")]
    Transport(#[from] TransportError),
    /// It is none that this driver can serve.
    #[error("the function is none that this driver can serve")]
    Identity(#[from] IdentityError),
    /// Bus mastering did not take.
    #[error("bus mastering was switched on but reads back as off: the device cannot reach memory")]
    BusMaster,
    /// Among the addresses that may be mapped is no place for the arena or the queues.
    #[error(
        "no place for {bytes} bytes among the IOVAs that may be mapped for this device, neither at {iova} nor elsewhere: make the arena smaller, or see faam doctor"
    )]
    IovaUnavailable {
        /// Where it would have gone, or is for other functions.
        iova: Iova,
        /// Wanted length.
        bytes: u64,
    },
    /// No memory for the admin queue.
    #[error("the admin queue's memory could not be had")]
    Memory(#[from] SharedMemoryError),
    /// It has no vector or no usable queue size.
    #[error("the function offers no vector or no usable queue size")]
    NoAdminQueue,
    /// Eventfds could not be made.
    #[error("interrupts could not be set up")]
    Events(#[from] rustix::io::Errno),
    /// It did not become ready, or did not finish its reset.
    #[error("the function did not {what} within {limit_ms} ms: status {status:#x}")]
    NotReady {
        /// What was waited for.
        what: &'static str,
        /// The limit.
        limit_ms: u64,
        /// Last STATUS.
        status: u32,
    },
    /// An admin command failed.
    #[error("the admin command {command} failed")]
    Admin {
        /// Which.
        command: &'static str,
        /// How.
        #[source]
        source: AdminError,
    },
}

impl BringUpError {
    /// Whether it is the way to the function that failed, and nothing is known of the function itself.
    #[must_use]
    pub const fn is_of_the_way(&self) -> bool {
        matches!(
            self,
            Self::Transport(_) | Self::Identity(IdentityError::Gone | IdentityError::Transport(_))
        )
    }
}

impl Function {
    /// Bring the function behind `transport` up, with `arena` in its reach.
    ///
    /// # Errors
    /// [`BringUpError`]; what was mapped until then is taken back, and the function is left disabled.
    pub fn bring_up(
        transport: Arc<dyn Transport>,
        arena: Arc<Arena>,
        config: FunctionConfig,
    ) -> Result<Self, BringUpError> {
        let bar = Bar0(transport);
        // Registers are decoded only once memory space is enabled; bus mastering waits until they are known for ours.
        bar.0.set_bus_master(false)?;
        let (map, identity) = identity::read(&bar)?;
        if !bar.0.set_bus_master(true)? {
            return Err(BringUpError::BusMaster);
        }
        let mut bring_up = BringUp {
            bar,
            map,
            config,
            maps: Vec::new(),
        };
        match bring_up.run(identity, arena) {
            Ok(function) => Ok(function),
            Err(error) => {
                bring_up.undo();
                Err(error)
            }
        }
    }
}

struct BringUp {
    bar: Bar0,
    map: RegisterMap,
    config: FunctionConfig,
    maps: Vec<(Iova, u64)>,
}

impl BringUp {
    fn run(
        &mut self,
        identity: FunctionIdentity,
        arena: Arc<Arena>,
    ) -> Result<Function, BringUpError> {
        let mut identity = identity;
        self.clear_earlier_life()?;
        let transport = Arc::clone(&self.bar.0);
        let places = IovaPlan::settle(&transport.iova_ranges(), &arena)
            .map_err(|NoPlace { iova, bytes }| BringUpError::IovaUnavailable { iova, bytes })?;

        transport.map_dma(arena.memory(), places.arena, DmaAccess::ReadWrite)?;
        self.maps.push((places.arena, arena.bytes() as u64));
        let entries = QueueEntries::from_log2(ADMIN_ENTRIES_LOG2.min(identity.entries_log2_max))
            .ok_or(BringUpError::NoAdminQueue)?;
        let (memory, iova) = new_queue_memory(places.queues, QueueId::ADMIN, entries)?;
        transport.map_dma(memory.memory(), iova, DmaAccess::ReadWrite)?;
        self.maps.push((iova, memory.memory().len() as u64));

        let vectors = identity.vectors.min(VECTORS_MAX);
        let mut interrupts = (0..vectors)
            .map(|_| new_eventfd().map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        set_interrupts(&transport, &mut interrupts)?;
        let interrupt = interrupts.first().ok_or(BringUpError::NoAdminQueue)?;

        let incarnation = Incarnation::begin(transport.serving_process());
        let epoch: control::ResetEpoch = self.bar.read(self.map.control)?;
        let [e0, e1, ..] = epoch.0.to_le_bytes();
        // The reset epoch differs from life to life, so a completion of an earlier life fails its check.
        let epoch = QueueEpoch(u16::from_le_bytes([e0, e1]).wrapping_mul(256)).next();
        let (sq, cq) = (memory.submissions_iova(), memory.completions_iova());
        let queue = Queue::new(
            QueueId::ADMIN,
            epoch,
            memory,
            Arc::clone(&transport),
            self.map.doorbell_page(QueueId::ADMIN),
            Doorbells::Mmio,
        );
        let mut admin = Admin::new(queue, interrupt, self.config.admin_limit)?;
        self.enable(entries, epoch, sq, cq)?;

        self.identify(&mut admin, &mut identity)?;
        let wanted = self.config.queue_pairs.clamp(1, identity.io_pairs_max);
        let granted = admin
            .execute(AdminCommand::SetFeatures {
                feature: Feature::QueuePairs,
                value: u32::from(wanted),
            })
            .map_err(|source| BringUpError::Admin {
                command: "set features: queue pairs",
                source,
            })?
            .out_len;
        let granted = usize::try_from(granted)
            .unwrap_or(usize::MAX)
            .min(usize::from(wanted));
        let mut used = vec![false; granted + 1];
        if let Some(admin) = used.first_mut() {
            *admin = true;
        }
        Ok(Function {
            shared: Arc::new(FunctionShared {
                bar: self.bar.clone(),
                map: self.map,
                identity,
                arena,
                incarnation,
                ended: AtomicBool::new(false),
            }),
            config: self.config,
            admin: Mutex::new(admin),
            book: Mutex::new(QueueBook {
                used,
                retired: Vec::new(),
                next_epoch: epoch,
                maps: std::mem::take(&mut self.maps),
            }),
            slot_work: Mutex::new(()),
            queues: places.queues,
            interrupts,
        })
    }

    /// A function that was left enabled, or stopped on an error, or still moves data, is reset first.
    fn clear_earlier_life(&self) -> Result<(), BringUpError> {
        let status: control::Status = self.bar.read(self.map.control)?;
        if status.0 == u32::MAX {
            return Err(IdentityError::Gone.into());
        }
        let enabled: control::Control = self.bar.read(self.map.control)?;
        let is_left = enabled.enable() || status.ready() || status.fatal() || status.resetting();
        // Disabled is not idle: what it was told to write before may still be on its way.
        if is_left || !status.dma_idle() {
            self.bar
                .write(self.map.control, control::Reset(RESET_KEY))?;
            self.wait_for("finish a reset", |status| {
                !status.resetting() && !status.ready() && status.dma_idle()
            })?;
        }
        Ok(())
    }

    fn enable(
        &self,
        entries: QueueEntries,
        epoch: QueueEpoch,
        sq: Iova,
        cq: Iova,
    ) -> Result<(), BringUpError> {
        let at = self.map.queue_control;
        let (sq_lo, sq_hi) = halves(sq);
        let (cq_lo, cq_hi) = halves(cq);
        self.bar.write(at, queue_control::AdminSqLo(sq_lo))?;
        self.bar.write(at, queue_control::AdminSqHi(sq_hi))?;
        self.bar.write(at, queue_control::AdminCqLo(cq_lo))?;
        self.bar.write(at, queue_control::AdminCqHi(cq_hi))?;
        let shape = queue_control::AdminQueue::default()
            .with_entries_log2(u32::from(entries.log2()))
            .with_vector(0)
            .with_epoch(u32::from(epoch.0));
        self.bar.write(at, shape)?;
        let on = control::Control::default().with_enable(true);
        self.bar.write(self.map.control, on)?;
        self.wait_for("become ready", control::Status::ready)
    }

    fn wait_for(
        &self,
        what: &'static str,
        reached: impl Fn(control::Status) -> bool,
    ) -> Result<(), BringUpError> {
        let limit = self.config.ready_limit;
        let deadline = Instant::now() + limit;
        loop {
            let status: control::Status = self.bar.read(self.map.control)?;
            if status.0 == u32::MAX {
                return Err(IdentityError::Gone.into());
            }
            if reached(status) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(BringUpError::NotReady {
                    what,
                    limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
                    status: status.0,
                });
            }
            std::thread::sleep(crate::function::REGISTER_POLL);
        }
    }

    fn identify(
        &self,
        admin: &mut Admin,
        identity: &mut FunctionIdentity,
    ) -> Result<(), BringUpError> {
        let failed = |source| BringUpError::Admin {
            command: "identify",
            source,
        };
        let (dst, dst_cap) = admin.page();
        let done = admin
            .execute(AdminCommand::Identify { dst, dst_cap })
            .map_err(failed)?;
        let bytes = admin
            .read_page::<IDENTIFY_BYTES>(done.out_len)
            .map_err(failed)?;
        identity.complete(&Identify::from_bytes(&bytes))?;
        Ok(())
    }

    /// Leave nothing behind: disable, then take the maps back. Best effort, on a function that just failed.
    fn undo(&mut self) {
        let off = control::Control::default();
        if let Err(error) = self.bar.write(self.map.control, off) {
            tracing::debug!(%error, "a function that failed to come up could not be disabled");
        }
        unmap_all(&self.bar.0, &std::mem::take(&mut self.maps));
    }
}

/// Has the function's vectors signal `interrupts`, or as many of them as there are vectors to be had: queues share what
/// there is.
fn set_interrupts(
    transport: &Arc<dyn Transport>,
    interrupts: &mut Vec<Arc<OwnedFd>>,
) -> Result<(), TransportError> {
    let set = |interrupts: &[Arc<OwnedFd>]| {
        let fds: Vec<_> = interrupts.iter().map(|fd| fd.as_fd()).collect();
        transport.set_interrupts(0, &fds)
    };
    match set(interrupts) {
        Err(TransportError::TooFewVectors { wanted, had }) if had > 0 && had < wanted => {
            tracing::warn!(wanted, had, "too few interrupt vectors: queues share them");
            interrupts.truncate(usize::from(had));
            set(interrupts)
        }
        outcome => outcome,
    }
}

fn halves(iova: Iova) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = iova.0.to_le_bytes();
    (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    )
}
