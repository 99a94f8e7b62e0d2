//! Who a function is and what it can do, read once at bring-up and checked for sanity.
//!
//! Owns the reading of the identity and capability blocks and their bounds. Invariant: a
//! [`FunctionIdentity`] holds only values that the rest of the driver can compute with.
//! It deliberately does not know queues; only where their doorbells and counters are.

use std::sync::Arc;

use faam_hwif::admin::Identify;
use faam_hwif::blocks::{BlockWalkError, Blocks};
use faam_hwif::queue::QueueEntries;
use faam_hwif::regs::{
    BAR0_BYTES, BlockType, INTERFACE_UUID, Register, capabilities, control, doorbells, error,
    identity, queue_control, queue_counters, slots,
};
use faam_hwif::slot::{SLOT_IMAGE_BYTES_MAX, SLOT_REGISTERS_BYTES, SLOTS_MAX};
use faam_hwif::{
    BarOffset, CardLevel, HISTORY_BYTES_MAX, IO_PAIRS_MAX, JOB_BYTES_MAX, Mmio, QueueId, WireFormat,
};
use thiserror::Error;

use crate::transport::{Bar0, Transport, TransportError, TransportKind};

/// "FaaM", first byte lowest.
const MAGIC: u32 = identity::Magic::RESET;
/// Contract version that this driver speaks.
const ABI_MAJOR: u32 = 1;
/// Engines of one function at most; more is taken for a lie.
const ENGINES_MAX: u32 = 64;
/// Jobs queued an engine at most.
const JOBS_EACH_MAX: u32 = 64;
/// Smallest job limit that is of any use, bytes.
const JOB_BYTES_MIN: u32 = 4096;
/// Clocks that gateware could have, kHz.
const CLOCK_KHZ: std::ops::RangeInclusive<u32> = 1_000..=5_000_000;
/// Vectors that MSI-X can have (PCI 3.0, section 6.8.2.3).
const VECTORS: std::ops::RangeInclusive<u32> = 1..=2048;
/// Bytes of a queue's counters.
const COUNTERS_BYTES: u32 = 64;
/// Bytes of a doorbell page that are used.
const DOORBELL_BYTES: u32 = 8;

/// Longest time that programming a slot may be said to take, milliseconds.
const LOAD_LIMIT_MS: std::ops::RangeInclusive<u32> = 1..=60_000;

/// Why a function is none that this driver can serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Registers could not be read.
    #[error("the function's registers could not be read")]
    Transport(#[from] TransportError),
    /// A register read as all-ones.
    #[error("the function is gone: its registers read as all-ones")]
    Gone,
    /// Not a FaaM card.
    #[error("expected the magic {MAGIC:#010x}, got {got:#010x}: this is no FaaM card")]
    Magic {
        /// What came.
        got: u32,
    },
    /// Another contract.
    #[error(
        "the card speaks contract version {major}.{minor}, this driver {ABI_MAJOR}.x: update the card's image or the driver"
    )]
    Abi {
        /// The card's major.
        major: u32,
        /// The card's minor.
        minor: u32,
    },
    /// The same contract version, but another interface.
    #[error(
        "the card's interface uuid is {got:08x?}, this driver was built for {:08x?}: use an image and a driver of one release",
        INTERFACE_UUID
    )]
    InterfaceUuid {
        /// The card's.
        got: [u32; 4],
    },
    /// The block list is malformed.
    #[error("the list of register blocks is malformed at {at:#x}")]
    BlockList {
        /// Where.
        at: u32,
    },
    /// A block is missing.
    #[error("register block {0:?} is missing")]
    MissingBlock(BlockType),
    /// A capability is outside what can be.
    #[error("{what} is {got}, expected {min} to {max}")]
    Insane {
        /// Which.
        what: &'static str,
        /// What came.
        got: u32,
        /// Least.
        min: u32,
        /// Most.
        max: u32,
    },
    /// Identify and the registers disagree.
    #[error("identify says {what} is {got}, the registers say {expected}")]
    Disagree {
        /// On what.
        what: &'static str,
        /// What identify says.
        got: u32,
        /// What the registers say.
        expected: u32,
    },
}

/// What executes the jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelKind {
    /// Hardware.
    Hardware,
    /// A functional model: its figures are simulated.
    FunctionalModel,
    /// Simulated gateware: its figures are simulated.
    Rtl,
}

impl ModelKind {
    /// Whether figures of it must be labelled so.
    #[must_use]
    pub const fn is_simulated(self) -> bool {
        !matches!(self, Self::Hardware)
    }
}

/// Who a function is and what it can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionIdentity {
    /// Serial number of the card, as identify prints it.
    pub serial: String,
    /// Serial number of the card, as its registers hold it.
    pub serial_number: u64,
    /// Model name, as identify prints it.
    pub model_name: String,
    /// Firmware or gateware revision, as identify prints it.
    pub firmware: String,
    /// What executes the jobs.
    pub model: ModelKind,
    /// Version of the contract that it speaks: major and minor.
    pub abi: (u16, u16),
    /// Which function of the card.
    pub function_index: u8,
    /// Functions of the card.
    pub functions: u8,
    /// Engines.
    pub engines: u32,
    /// Jobs queued an engine before the host should hold back.
    pub jobs_each_max: u32,
    /// Clock of the engines, kHz.
    pub clock_khz: u32,
    /// Optional behaviour.
    pub features: capabilities::Features,
    /// Formats.
    pub formats: capabilities::Formats,
    /// Levels.
    pub levels: capabilities::Levels,
    /// Largest source of a job, bytes.
    pub job_bytes_max: u32,
    /// Largest history, bytes.
    pub history_bytes_max: u32,
    /// I/O queue pairs that can be created.
    pub io_pairs_max: u16,
    /// log2 of the most entries of a queue.
    pub entries_log2_max: u8,
    /// Its slots; `None` = it has none, and does what its other capabilities say.
    pub slots: Option<SlotsIdentity>,
    /// MSI-X vectors.
    pub vectors: u16,
    /// Path that leads to it.
    pub transport: TransportKind,
}

/// The slots that a function has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotsIdentity {
    /// How many.
    pub count: u8,
    /// JTAG IDCODE of the device that images are for.
    pub idcode: u32,
    /// Revision of the static region that images are for.
    pub shell: u32,
    /// Largest image, bytes.
    pub image_bytes_max: u32,
    /// Longest time that a slot is programmed or emptied for, milliseconds, as the card says.
    pub load_limit_ms: u32,
}

impl FunctionIdentity {
    /// Whether the engines frame this format.
    #[must_use]
    pub const fn has_format(&self, format: WireFormat) -> bool {
        match format {
            WireFormat::Raw => self.formats.raw(),
            WireFormat::Zlib => self.formats.zlib(),
            WireFormat::Gzip => self.formats.gzip(),
        }
    }

    /// Whether the matcher has this level, with the tables that it needs.
    #[must_use]
    pub const fn has_level(&self, level: CardLevel) -> bool {
        match level {
            CardLevel::Fast => self.levels.fast(),
            CardLevel::Balanced => self.levels.balanced() && self.features.loaded_tables(),
            CardLevel::Dense => self.levels.dense() && self.features.loaded_tables(),
        }
    }

    /// Compares with what identify says, and takes its texts.
    pub(crate) fn complete(&mut self, identify: &Identify) -> Result<(), IdentityError> {
        let pairs = [
            ("the number of engines", identify.engines, self.engines),
            ("the job limit", identify.job_bytes_max, self.job_bytes_max),
            (
                "the history limit",
                identify.history_bytes_max,
                self.history_bytes_max,
            ),
            ("the clock", identify.clock_khz, self.clock_khz),
            (
                "the number of queue pairs",
                u32::from(identify.io_pairs_max),
                u32::from(self.io_pairs_max),
            ),
            (
                "the queue size limit",
                u32::from(identify.entries_log2_max),
                u32::from(self.entries_log2_max),
            ),
            (
                "the function's index",
                u32::from(identify.function),
                u32::from(self.function_index),
            ),
        ];
        for (what, got, expected) in pairs {
            if got != expected {
                return Err(IdentityError::Disagree {
                    what,
                    got,
                    expected,
                });
            }
        }
        self.serial = text(&identify.serial);
        self.model_name = text(&identify.model);
        self.firmware = text(&identify.firmware);
        Ok(())
    }
}

impl FunctionIdentity {
    /// Reads who the function behind `transport` is, from its registers alone: it is neither enabled nor given any memory.
    /// What only the identify command tells (serial as text, model name, firmware) stays empty.
    ///
    /// # Errors
    /// [`IdentityError`]
    pub fn read(transport: &Arc<dyn Transport>) -> Result<Self, IdentityError> {
        // Registers are decoded only once memory space is enabled.
        transport.set_bus_master(false)?;
        read(&Bar0(Arc::clone(transport))).map(|(_, identity)| identity)
    }
}

/// Printable ASCII of a padded field; anything else becomes a dot.
fn text(bytes: &[u8]) -> String {
    let shown = bytes.iter().map(|byte| match byte {
        0x20..=0x7E => char::from(*byte),
        0 => ' ',
        _ => '.',
    });
    shown.collect::<String>().trim_end().to_owned()
}

/// Where a function's register blocks are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegisterMap {
    pub(crate) control: BarOffset,
    pub(crate) queue_control: BarOffset,
    pub(crate) error: BarOffset,
    doorbells: Pages,
    counters: Pages,
    slots: Pages,
}

impl RegisterMap {
    /// Of a function that nobody asks for a register.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn unused() -> Self {
        let nowhere = Pages { base: 0, stride: 0 };
        Self {
            control: BarOffset(0),
            queue_control: BarOffset(0),
            error: BarOffset(0),
            doorbells: nowhere,
            counters: nowhere,
            slots: nowhere,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Pages {
    base: u32,
    stride: u32,
}

impl Pages {
    /// A base and stride under which `count` places of `bytes` lie in BAR0.
    fn checked(base: u32, stride: u32, count: u32, bytes: u32) -> Option<Self> {
        let aligned = base.is_multiple_of(4) && stride.is_multiple_of(4) && stride >= bytes;
        let last = stride
            .checked_mul(count.checked_sub(1)?)?
            .checked_add(base)?;
        let end = last.checked_add(bytes)?;
        (aligned && end <= BAR0_BYTES).then_some(Self { base, stride })
    }

    /// Place of a queue, which is one of those counted at construction.
    fn of(self, queue: QueueId) -> BarOffset {
        BarOffset(
            self.base
                .wrapping_add(self.stride.wrapping_mul(u32::from(queue.0))),
        )
    }
}

impl RegisterMap {
    /// Doorbell page of a queue.
    pub(crate) fn doorbell_page(&self, queue: QueueId) -> BarOffset {
        self.doorbells.of(queue)
    }

    /// Counters of a queue.
    pub(crate) fn counters(&self, queue: QueueId) -> BarOffset {
        self.counters.of(queue)
    }

    /// Registers of a slot.
    pub(crate) fn slot(&self, slot: u8) -> BarOffset {
        self.slots.of(QueueId(u16::from(slot)))
    }
}

fn within(
    what: &'static str,
    got: u32,
    range: std::ops::RangeInclusive<u32>,
) -> Result<u32, IdentityError> {
    match range.contains(&got) {
        true => Ok(got),
        false => Err(IdentityError::Insane {
            what,
            got,
            min: *range.start(),
            max: *range.end(),
        }),
    }
}

fn within_u8(
    what: &'static str,
    got: u32,
    range: std::ops::RangeInclusive<u8>,
) -> Result<u8, IdentityError> {
    let got = within(
        what,
        got,
        u32::from(*range.start())..=u32::from(*range.end()),
    )?;
    Ok(u8::try_from(got).unwrap_or(*range.end()))
}

fn within_u16(
    what: &'static str,
    got: u32,
    range: std::ops::RangeInclusive<u16>,
) -> Result<u16, IdentityError> {
    let got = within(
        what,
        got,
        u32::from(*range.start())..=u32::from(*range.end()),
    )?;
    Ok(u16::try_from(got).unwrap_or(*range.end()))
}

/// Reads identity and capabilities. Texts of identify are still empty.
pub(crate) fn read(bar: &Bar0) -> Result<(RegisterMap, FunctionIdentity), IdentityError> {
    let at = BarOffset(0);
    let magic: identity::Magic = bar.read(at)?;
    match magic.0 {
        MAGIC => {}
        u32::MAX => return Err(IdentityError::Gone),
        got => return Err(IdentityError::Magic { got }),
    }
    let abi: identity::AbiVersion = bar.read(at)?;
    if abi.major() != ABI_MAJOR {
        return Err(IdentityError::Abi {
            major: abi.major(),
            minor: abi.minor(),
        });
    }
    let got = [
        bar.read::<identity::InterfaceUuid0>(at)?.0,
        bar.read::<identity::InterfaceUuid1>(at)?.0,
        bar.read::<identity::InterfaceUuid2>(at)?.0,
        bar.read::<identity::InterfaceUuid3>(at)?.0,
    ];
    if got != INTERFACE_UUID {
        return Err(IdentityError::InterfaceUuid { got });
    }
    let blocks = Blocks::walk(bar).map_err(|error| match error {
        BlockWalkError::Mmio(error) => IdentityError::Transport(error),
        BlockWalkError::Gone => IdentityError::Gone,
        BlockWalkError::BadLink { at, .. } => IdentityError::BlockList { at: at.0 },
        BlockWalkError::TooMany => IdentityError::BlockList { at: 0 },
    })?;
    let block = |block_type| {
        blocks
            .find(block_type)
            .map(|block| block.offset)
            .ok_or(IdentityError::MissingBlock(block_type))
    };

    let slots = match blocks.find(slots::BLOCK_TYPE) {
        Some(block) => read_slots(bar, block.offset)?,
        None => None,
    };
    let caps = block(capabilities::BLOCK_TYPE)?;
    let queues: capabilities::Queues = bar.read(caps)?;
    let engines: capabilities::Engines = bar.read(caps)?;
    let function: identity::Function = bar.read(at)?;
    let model: identity::Model = bar.read(at)?;
    let serial_lo: identity::SerialLo = bar.read(at)?;
    let serial_hi: identity::SerialHi = bar.read(at)?;
    let identity = FunctionIdentity {
        serial: String::new(),
        serial_number: u64::from(serial_lo.0) | (u64::from(serial_hi.0) << 32),
        model_name: String::new(),
        firmware: String::new(),
        model: match within("the model kind", model.kind(), 0..=2)? {
            0 => ModelKind::Hardware,
            1 => ModelKind::FunctionalModel,
            _ => ModelKind::Rtl,
        },
        abi: (
            within_u16("the contract's major version", abi.major(), 0..=u16::MAX)?,
            within_u16("the contract's minor version", abi.minor(), 0..=u16::MAX)?,
        ),
        function_index: within_u8("the function's index", function.index(), 0..=7)?,
        functions: within_u8("the number of functions", function.count(), 1..=8)?,
        engines: within("the number of engines", engines.count(), 1..=ENGINES_MAX)?,
        jobs_each_max: within(
            "the jobs queued an engine",
            engines.jobs_each_max(),
            1..=JOBS_EACH_MAX,
        )?,
        clock_khz: within(
            "the clock in kHz",
            bar.read::<capabilities::ClockKhz>(caps)?.0,
            CLOCK_KHZ,
        )?,
        features: bar.read(caps)?,
        formats: bar.read(caps)?,
        levels: bar.read(caps)?,
        job_bytes_max: within(
            "the job limit in bytes",
            bar.read::<capabilities::JobBytesMax>(caps)?.0,
            JOB_BYTES_MIN..=JOB_BYTES_MAX,
        )?,
        history_bytes_max: within(
            "the history limit in bytes",
            bar.read::<capabilities::HistoryBytesMax>(caps)?.0,
            0..=HISTORY_BYTES_MAX,
        )?,
        io_pairs_max: within_u16(
            "the number of queue pairs",
            queues.io_pairs_max(),
            1..=IO_PAIRS_MAX,
        )?,
        entries_log2_max: within_u8(
            "log2 of the queue size",
            queues.entries_log2_max(),
            1..=QueueEntries::LOG2_MAX,
        )?,
        vectors: within_u16(
            "the number of vectors",
            bar.read::<capabilities::Vectors>(caps)?.count(),
            u16::try_from(*VECTORS.start()).unwrap_or(1)
                ..=u16::try_from(*VECTORS.end()).unwrap_or(1),
        )?,
        slots: slots.map(|(slots, _)| slots),
        transport: bar.0.kind(),
    };

    let pairs = u32::from(identity.io_pairs_max) + 1;
    let bells = block(doorbells::BLOCK_TYPE)?;
    let counters = block(queue_counters::BLOCK_TYPE)?;
    within(
        "the number of doorbell pages",
        bar.read::<doorbells::Queues>(bells)?.count(),
        pairs..=u32::from(u16::MAX),
    )?;
    let bells = Pages::checked(
        bar.read::<doorbells::Base>(bells)?.offset(),
        bar.read::<doorbells::Stride>(bells)?.bytes(),
        pairs,
        DOORBELL_BYTES,
    )
    .ok_or(IdentityError::BlockList { at: bells.0 })?;
    within(
        "the number of queues with counters",
        bar.read::<queue_counters::Queues>(counters)?.count(),
        pairs..=u32::from(u16::MAX),
    )?;
    let counters = Pages::checked(
        bar.read::<queue_counters::Base>(counters)?.offset(),
        bar.read::<queue_counters::Stride>(counters)?.bytes(),
        pairs,
        COUNTERS_BYTES,
    )
    .ok_or(IdentityError::BlockList { at: counters.0 })?;
    let map = RegisterMap {
        control: block(control::BLOCK_TYPE)?,
        queue_control: block(queue_control::BLOCK_TYPE)?,
        error: block(error::BLOCK_TYPE)?,
        doorbells: bells,
        counters,
        slots: slots.map_or(Pages { base: 0, stride: 0 }, |(_, pages)| pages),
    };
    Ok((map, identity))
}

/// The SLOTS block. A count of none is as no block.
fn read_slots(bar: &Bar0, at: BarOffset) -> Result<Option<(SlotsIdentity, Pages)>, IdentityError> {
    let count = bar.read::<slots::Slots>(at)?.count();
    if count == 0 {
        return Ok(None);
    }
    let count = within_u8("the number of slots", count, 1..=SLOTS_MAX)?;
    let pages = Pages::checked(
        bar.read::<slots::Base>(at)?.offset(),
        bar.read::<slots::Stride>(at)?.bytes(),
        u32::from(count),
        SLOT_REGISTERS_BYTES,
    )
    .ok_or(IdentityError::BlockList { at: at.0 })?;
    let slots = SlotsIdentity {
        count,
        idcode: bar.read::<slots::Idcode>(at)?.0,
        shell: bar.read::<slots::Shell>(at)?.0,
        image_bytes_max: within(
            "the image limit in bytes",
            bar.read::<slots::ImageBytesMax>(at)?.0,
            1..=SLOT_IMAGE_BYTES_MAX,
        )?,
        load_limit_ms: within(
            "the limit of programming a slot in milliseconds",
            bar.read::<slots::LoadLimit>(at)?.0,
            LOAD_LIMIT_MS,
        )?,
    };
    Ok(Some((slots, pages)))
}
