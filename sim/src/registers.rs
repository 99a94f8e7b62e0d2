//! BAR0: every register's answer, the doorbells and the queue counters.
//!
//! Owns the meaning of each register of the map. Invariant: every word of BAR0 has a defined value to read, and a
//! write to anything but a read-write register, a doorbell or RESET changes nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use faam_hwif::error::ErrorCode;
use faam_hwif::regs::{
    CardRegister, DOORBELL_CQ_HEAD, DOORBELL_SQ_TAIL, INTERFACE_UUID, QueueCounter, RESET_KEY,
    Register, capabilities, control, doorbells, error, identity, queue_control, queue_counters,
    slots,
};
use faam_hwif::slot::SLOT_IMAGE_BYTES_MAX;
use faam_hwif::{
    FUNCTIONS, HISTORY_BYTES_MAX, IO_PAIRS_MAX, Iova, JOB_BYTES_MAX, JOBS_PER_ENGINE_MAX,
    QUEUES_MAX, QueueEntries, QueueEpoch, QueueId, pci,
};

use crate::faults::Fault;
use crate::function::Function;
use crate::queues::{Queue, QueueShape};
use crate::slots::{IDCODE, LOAD_LIMIT_MS, SHELL, SLOTS};

/// How much deeper than they are the fault of lying says that queues are, log2.
const LIE_LOG2: u8 = 3;
/// MODEL.kind of a functional model.
const MODEL_FUNCTIONAL: u32 = 1;
/// Alignment of the admin rings, bytes.
const RING_ALIGN: u64 = 64;
/// ADMIN_QUEUE.vector that says that there is none.
const NO_VECTOR: u32 = 0xFF;

/// Registers that software writes, and what became of the last enable.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Control {
    enable: bool,
    ready: bool,
    fatal: bool,
    admin_sq_lo: u32,
    admin_sq_hi: u32,
    admin_cq_lo: u32,
    admin_cq_hi: u32,
    admin_queue: queue_control::AdminQueue,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            enable: false,
            ready: false,
            fatal: false,
            admin_sq_lo: 0,
            admin_sq_hi: 0,
            admin_cq_lo: 0,
            admin_cq_hi: 0,
            admin_queue: queue_control::AdminQueue::from_bits(queue_control::AdminQueue::RESET),
        }
    }
}

/// What a word of BAR0 belongs to.
enum Place {
    Register(CardRegister),
    Doorbell { queue: QueueId, offset: u32 },
    Counter { queue: QueueId, word: usize },
    Slot { slot: u32, offset: u32 },
    Nothing,
}

fn place(offset: usize) -> Place {
    let Ok(offset) = u32::try_from(offset) else {
        return Place::Nothing;
    };
    if let Some(register) = CardRegister::at(offset) {
        return Place::Register(register);
    }
    let within_slots = offset.checked_sub(slots::Base::RESET);
    if let Some(within) = within_slots
        && within < u32::from(SLOTS) * slots::Stride::RESET
    {
        return Place::Slot {
            slot: within / slots::Stride::RESET,
            offset: within % slots::Stride::RESET,
        };
    }
    let area = |base: u32, stride: u32| {
        let within = offset.checked_sub(base)?;
        let queue = u16::try_from(within / stride).ok()?;
        (queue < QUEUES_MAX).then_some((QueueId(queue), within % stride))
    };
    if let Some((queue, offset)) = area(doorbells::Base::RESET, doorbells::Stride::RESET) {
        return Place::Doorbell { queue, offset };
    }
    match area(queue_counters::Base::RESET, queue_counters::Stride::RESET) {
        Some((queue, offset)) => Place::Counter {
            queue,
            word: (offset / 4) as usize,
        },
        None => Place::Nothing,
    }
}

impl Function {
    /// The 32-bit word of BAR0 at `offset`, a multiple of 4. Words that are nothing read as 0.
    pub(crate) fn read_register(&self, offset: usize) -> u32 {
        match place(offset) {
            Place::Register(register) => self.register(register),
            Place::Counter { queue, word } if word / 2 < QueueCounter::ALL.len() => {
                let value = self
                    .queues
                    .get(queue)
                    .map_or(0, |queue| queue.counter(word / 2));
                half(value, word % 2 == 1)
            }
            Place::Slot { slot, offset } => self.slots.register(slot, offset),
            Place::Counter { .. } | Place::Doorbell { .. } | Place::Nothing => 0,
        }
    }

    fn register(&self, register: CardRegister) -> u32 {
        use CardRegister as R;
        let [uuid0, uuid1, uuid2, uuid3] = INTERFACE_UUID;
        let identity = &self.identity;
        match register {
            R::IdentityInterfaceUuid0 => uuid0,
            R::IdentityInterfaceUuid1 => uuid1,
            R::IdentityInterfaceUuid2 => uuid2,
            R::IdentityInterfaceUuid3 => uuid3,
            R::IdentitySerialLo => half(identity.serial, false),
            R::IdentitySerialHi => half(identity.serial, true),
            R::IdentityFunction => identity::Function::default()
                .with_index(u32::from(self.shown_index()))
                .with_count(u32::from(FUNCTIONS))
                .bits(),
            R::IdentityModel => identity::Model::default()
                .with_kind(MODEL_FUNCTIONAL)
                .bits(),
            R::CapabilitiesFeatures => {
                capabilities::Features::default()
                    .with_shadow_doorbells(true)
                    .with_loaded_tables(true)
                    .with_history(true)
                    .with_decompress(true)
                    .with_abort(true)
                    .with_context_scrub(true)
                    .with_paced(identity.paced)
                    .bits()
                    | u32::from(self.faults.on(Fault::UndefinedFeature)) << 31
            }
            R::CapabilitiesQueues => capabilities::Queues::default()
                .with_io_pairs_max(u32::from(IO_PAIRS_MAX))
                .with_entries_log2_max(u32::from(self.shown_entries_log2_max()))
                .bits(),
            R::CapabilitiesEngines => capabilities::Engines::default()
                .with_count(u32::from(identity.engines))
                .with_jobs_each_max(self.shown_jobs_each_max())
                .bits(),
            R::CapabilitiesJobBytesMax => self.shown_job_bytes_max(),
            R::CapabilitiesHistoryBytesMax => HISTORY_BYTES_MAX,
            R::CapabilitiesFormats => capabilities::Formats::default()
                .with_raw(true)
                .with_zlib(true)
                .with_gzip(true)
                .bits(),
            R::CapabilitiesClockKhz => identity.clock_khz,
            R::CapabilitiesVectors => u32::from(pci::MSIX_VECTORS),
            R::CapabilitiesLevels => capabilities::Levels::default()
                .with_fast(true)
                .with_balanced(true)
                .with_dense(true)
                .bits(),
            R::ControlControl => control::Control::default()
                .with_enable(self.control.lock().enable)
                .bits(),
            R::ControlStatus => self.status().bits(),
            R::ControlResetEpoch => self.reset_epoch.load(Ordering::Acquire),
            R::ControlHeartbeat => self.heartbeat.load(Ordering::Relaxed),
            R::QueueControlAdminSqLo => self.control.lock().admin_sq_lo,
            R::QueueControlAdminSqHi => self.control.lock().admin_sq_hi,
            R::QueueControlAdminCqLo => self.control.lock().admin_cq_lo,
            R::QueueControlAdminCqHi => self.control.lock().admin_cq_hi,
            R::QueueControlAdminQueue => self.control.lock().admin_queue.bits(),
            R::QueueControlQueueCount => queue_control::QueueCount::default()
                .with_io_pairs(self.queues.io_pairs())
                .bits(),
            R::ErrorFirst => {
                let (first, _) = self.errors.first();
                error::First::default()
                    .with_code(u32::from(first.code))
                    .with_queue(u32::from(first.queue))
                    .bits()
            }
            R::ErrorInfoLo => half(self.errors.first().0.info, false),
            R::ErrorInfoHi => half(self.errors.first().0.info, true),
            R::ErrorCount => self.errors.first().1,
            R::QueueCountersQueues | R::DoorbellsQueues => u32::from(QUEUES_MAX),
            R::SlotsSlots => u32::from(SLOTS),
            R::SlotsIdcode => IDCODE,
            R::SlotsShell => SHELL,
            R::SlotsImageBytesMax => SLOT_IMAGE_BYTES_MAX,
            R::SlotsLoadLimit => LOAD_LIMIT_MS,
            // Fixed by the map: headers, links, magic, version, bases and strides. RESET is write-only.
            R::IdentityBlockHeader
            | R::IdentityBlockNext
            | R::IdentityMagic
            | R::IdentityAbiVersion
            | R::CapabilitiesBlockHeader
            | R::CapabilitiesBlockNext
            | R::ControlBlockHeader
            | R::ControlBlockNext
            | R::ControlReset
            | R::QueueControlBlockHeader
            | R::QueueControlBlockNext
            | R::ErrorBlockHeader
            | R::ErrorBlockNext
            | R::QueueCountersBlockHeader
            | R::QueueCountersBlockNext
            | R::QueueCountersBase
            | R::QueueCountersStride
            | R::DoorbellsBlockHeader
            | R::DoorbellsBlockNext
            | R::DoorbellsBase
            | R::DoorbellsStride
            | R::SlotsBlockHeader
            | R::SlotsBlockNext
            | R::SlotsBase
            | R::SlotsStride => register.reset(),
        }
    }

    /// Its number, as it says itself.
    pub(crate) fn shown_index(&self) -> u8 {
        if self.faults.on(Fault::WrongFunctionIndex) {
            return 0;
        }
        self.identity.index
    }

    /// The largest job, as it says itself, bytes.
    pub(crate) fn shown_job_bytes_max(&self) -> u32 {
        if self.faults.on(Fault::AnnouncesSmallJobs) {
            return JOB_BYTES_MAX / 16;
        }
        JOB_BYTES_MAX
    }

    /// The longest queue, as it says itself, log2 of entries.
    pub(crate) fn shown_entries_log2_max(&self) -> u8 {
        if self.faults.on(Fault::LiesAboutDepth) {
            return QueueEntries::LOG2_MAX + LIE_LOG2;
        }
        QueueEntries::LOG2_MAX
    }

    /// Jobs that may be queued an engine, as it says itself.
    fn shown_jobs_each_max(&self) -> u32 {
        if self.faults.on(Fault::LiesAboutDepth) {
            return JOBS_PER_ENGINE_MAX << LIE_LOG2;
        }
        JOBS_PER_ENGINE_MAX
    }

    fn status(&self) -> control::Status {
        let settled = self.is_settled();
        let control = self.control.lock();
        control::Status::default()
            .with_ready(control.ready)
            .with_fatal(control.fatal)
            .with_dma_idle(settled && !control.ready && !self.faults.on(Fault::NeverIdle))
            .with_resetting(!settled)
    }

    /// Writes the 32-bit word of BAR0 at `offset`, a multiple of 4.
    pub(crate) fn write_register(&self, offset: usize, value: u32) {
        match place(offset) {
            Place::Register(register) => self.set_register(register, value),
            Place::Doorbell { queue, offset } => self.doorbell(queue, offset, value),
            Place::Counter { .. } | Place::Slot { .. } | Place::Nothing => {}
        }
    }

    fn set_register(&self, register: CardRegister, value: u32) {
        use CardRegister as R;
        match register {
            R::ControlControl => self.set_enable(control::Control(value).enable()),
            R::ControlReset if value == RESET_KEY => {
                // STATUS says so if it did not end; there is no other answer to a register write.
                let _ = self.asked_reset();
            }
            R::QueueControlAdminSqLo => self.control.lock().admin_sq_lo = value,
            R::QueueControlAdminSqHi => self.control.lock().admin_sq_hi = value,
            R::QueueControlAdminCqLo => self.control.lock().admin_cq_lo = value,
            R::QueueControlAdminCqHi => self.control.lock().admin_cq_hi = value,
            R::QueueControlAdminQueue => {
                self.control.lock().admin_queue = queue_control::AdminQueue(value);
            }
            _ => {}
        }
    }

    fn set_enable(&self, enable: bool) {
        let mut control = self.control.lock();
        if enable == control.enable {
            return;
        }
        control.enable = enable;
        if !enable {
            control.ready = false;
            if self.delete_queues().is_err() {
                tracing::error!("disabled, but an access did not end");
            }
            return;
        }
        // Not before the DMA of an earlier life has ended, and not after a failure: only a reset helps then.
        if control.fatal || !self.is_settled() {
            return;
        }
        let Some(shape) = control.admin_shape() else {
            control.fatal = true;
            self.errors.note(
                ErrorCode::AdminQueue,
                QueueId::ADMIN,
                u64::from(control.admin_queue.bits()),
            );
            return;
        };
        let queue = Arc::new(Queue::new(shape, self.memory.lease()));
        let lease = queue.lease().clone();
        control.ready =
            self.queues.create(queue, &lease).is_ok() && !self.faults.on(Fault::NeverReady);
        drop(control);
        self.bell.ring();
    }

    fn doorbell(&self, id: QueueId, offset: u32, value: u32) {
        if id != QueueId::ADMIN && self.faults.on(Fault::LosesDoorbells) {
            return;
        }
        let Some(queue) = self.queues.get(id) else {
            self.errors
                .note(ErrorCode::DoorbellQueue, id, u64::from(value));
            return;
        };
        match offset {
            DOORBELL_SQ_TAIL => {
                if !queue.ring_tail(value) {
                    self.errors
                        .note(ErrorCode::DoorbellRange, id, u64::from(value));
                    return;
                }
            }
            DOORBELL_CQ_HEAD => queue.ring_head(value),
            _ => return,
        }
        self.bell.ring();
    }
}

impl Control {
    /// The admin queue that the registers describe, if it is a usable one.
    fn admin_shape(&self) -> Option<QueueShape> {
        let iova = |lo: u32, hi: u32| u64::from(lo) | u64::from(hi) << 32;
        let sq = iova(self.admin_sq_lo, self.admin_sq_hi);
        let cq = iova(self.admin_cq_lo, self.admin_cq_hi);
        let log2 = u8::try_from(self.admin_queue.entries_log2()).ok()?;
        let vector = match self.admin_queue.vector() {
            NO_VECTOR => None,
            vector => Some(
                u16::try_from(vector)
                    .ok()
                    .filter(|vector| *vector < pci::MSIX_VECTORS)?,
            ),
        };
        if !sq.is_multiple_of(RING_ALIGN) || !cq.is_multiple_of(RING_ALIGN) {
            return None;
        }
        Some(QueueShape {
            id: QueueId::ADMIN,
            entries: QueueEntries::from_log2(log2)?,
            sq: Iova(sq),
            cq: Iova(cq),
            shadow: None,
            vector,
            epoch: QueueEpoch(u16::try_from(self.admin_queue.epoch()).ok()?),
        })
    }
}

/// One half of a 64-bit value.
fn half(value: u64, high: bool) -> u32 {
    let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
    u32::from_le_bytes(if high { [e, f, g, h] } else { [a, b, c, d] })
}
