// Generated from bitstreams/hwif/rdl/card.rdl by tools/export.py. Edit there; run `make regs`.

use super::Access;

/// Every register of BAR0 outside the per-queue areas, as a card decodes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CardRegister {
    /// IDENTITY.BLOCK_HEADER: What this block is. The driver skips a type it does not know.
    IdentityBlockHeader,
    /// IDENTITY.BLOCK_NEXT: Byte offset of the next block in BAR0; 0 ends the list.
    IdentityBlockNext,
    /// IDENTITY.MAGIC: Constant that tells a FaaM card from anything else, and a mapped BAR from all-ones.
    IdentityMagic,
    /// IDENTITY.ABI_VERSION: Version of the host-device contract. A driver refuses another major.
    IdentityAbiVersion,
    /// IDENTITY.INTERFACE_UUID_0: Interface uuid, bytes 0-3: the first 16 bytes of the SHA-256 of this map and the golden entries.
    IdentityInterfaceUuid0,
    /// IDENTITY.INTERFACE_UUID_1: Interface uuid, bytes 4-7.
    IdentityInterfaceUuid1,
    /// IDENTITY.INTERFACE_UUID_2: Interface uuid, bytes 8-11.
    IdentityInterfaceUuid2,
    /// IDENTITY.INTERFACE_UUID_3: Interface uuid, bytes 12-15.
    IdentityInterfaceUuid3,
    /// IDENTITY.SERIAL_LO: Serial number of the card, low half; the same in all its functions.
    IdentitySerialLo,
    /// IDENTITY.SERIAL_HI: Serial number of the card, high half.
    IdentitySerialHi,
    /// IDENTITY.FUNCTION: Which function of the card this is.
    IdentityFunction,
    /// IDENTITY.MODEL: What executes the jobs; anything but hardware is reported as simulated.
    IdentityModel,
    /// CAPABILITIES.BLOCK_HEADER: What this block is. The driver skips a type it does not know.
    CapabilitiesBlockHeader,
    /// CAPABILITIES.BLOCK_NEXT: Byte offset of the next block in BAR0; 0 ends the list.
    CapabilitiesBlockNext,
    /// CAPABILITIES.FEATURES: Optional behaviour. A driver ignores bits that it does not know.
    CapabilitiesFeatures,
    /// CAPABILITIES.QUEUES: Queue limits.
    CapabilitiesQueues,
    /// CAPABILITIES.ENGINES: Engines and how many jobs may wait for each.
    CapabilitiesEngines,
    /// CAPABILITIES.JOB_BYTES_MAX: Largest src_len of a job, bytes, history not counted.
    CapabilitiesJobBytesMax,
    /// CAPABILITIES.HISTORY_BYTES_MAX: Largest hist_len, bytes.
    CapabilitiesHistoryBytesMax,
    /// CAPABILITIES.FORMATS: Formats that the engines frame.
    CapabilitiesFormats,
    /// CAPABILITIES.CLOCK_KHZ: Clock of the engines: turns reported cycles into time.
    CapabilitiesClockKhz,
    /// CAPABILITIES.VECTORS: MSI-X vectors of this function.
    CapabilitiesVectors,
    /// CAPABILITIES.LEVELS: Card levels, a bit each.
    CapabilitiesLevels,
    /// CONTROL.BLOCK_HEADER: What this block is. The driver skips a type it does not know.
    ControlBlockHeader,
    /// CONTROL.BLOCK_NEXT: Byte offset of the next block in BAR0; 0 ends the list.
    ControlBlockNext,
    /// CONTROL.CONTROL: Enable. Setting it latches the admin queue registers; STATUS.ready follows.
    ControlControl,
    /// CONTROL.STATUS: State. All-ones means that the function is gone.
    ControlStatus,
    /// CONTROL.RESET: Function reset.
    ControlReset,
    /// CONTROL.RESET_EPOCH: Counts resets of this function, by whatever cause; a reset has happened when it differs.
    ControlResetEpoch,
    /// CONTROL.HEARTBEAT: Advances while the function's processor runs: at least once in 100 ms.
    ControlHeartbeat,
    /// QUEUE_CONTROL.BLOCK_HEADER: What this block is. The driver skips a type it does not know.
    QueueControlBlockHeader,
    /// QUEUE_CONTROL.BLOCK_NEXT: Byte offset of the next block in BAR0; 0 ends the list.
    QueueControlBlockNext,
    /// QUEUE_CONTROL.ADMIN_SQ_LO: Admin submission queue, IOVA, 64-byte aligned.
    QueueControlAdminSqLo,
    /// QUEUE_CONTROL.ADMIN_SQ_HI: Admin submission queue, high half.
    QueueControlAdminSqHi,
    /// QUEUE_CONTROL.ADMIN_CQ_LO: Admin completion queue, IOVA, 64-byte aligned.
    QueueControlAdminCqLo,
    /// QUEUE_CONTROL.ADMIN_CQ_HI: Admin completion queue, high half.
    QueueControlAdminCqHi,
    /// QUEUE_CONTROL.ADMIN_QUEUE: Shape of the admin queue.
    QueueControlAdminQueue,
    /// QUEUE_CONTROL.QUEUE_COUNT: Queues now in being.
    QueueControlQueueCount,
    /// ERROR.BLOCK_HEADER: What this block is. The driver skips a type it does not know.
    ErrorBlockHeader,
    /// ERROR.BLOCK_NEXT: Byte offset of the next block in BAR0; 0 ends the list.
    ErrorBlockNext,
    /// ERROR.FIRST: First error.
    ErrorFirst,
    /// ERROR.INFO_LO: IOVA or value that the first error speaks of, low half.
    ErrorInfoLo,
    /// ERROR.INFO_HI: High half.
    ErrorInfoHi,
    /// ERROR.COUNT: Errors since reset, saturating below all-ones.
    ErrorCount,
    /// QUEUE_COUNTERS.BLOCK_HEADER: What this block is. The driver skips a type it does not know.
    QueueCountersBlockHeader,
    /// QUEUE_COUNTERS.BLOCK_NEXT: Byte offset of the next block in BAR0; 0 ends the list.
    QueueCountersBlockNext,
    /// QUEUE_COUNTERS.BASE: First counter of queue 0.
    QueueCountersBase,
    /// QUEUE_COUNTERS.STRIDE: Bytes from a queue's counters to the next's.
    QueueCountersStride,
    /// QUEUE_COUNTERS.QUEUES: Queues that have counters, the admin queue included.
    QueueCountersQueues,
    /// DOORBELLS.BLOCK_HEADER: What this block is. The driver skips a type it does not know.
    DoorbellsBlockHeader,
    /// DOORBELLS.BLOCK_NEXT: Byte offset of the next block in BAR0; 0 ends the list.
    DoorbellsBlockNext,
    /// DOORBELLS.BASE: Doorbell page of queue 0.
    DoorbellsBase,
    /// DOORBELLS.STRIDE: Bytes from a queue's doorbell page to the next's.
    DoorbellsStride,
    /// DOORBELLS.QUEUES: Doorbell pages, the admin queue's included.
    DoorbellsQueues,
    /// SLOTS.BLOCK_HEADER: What this block is. The driver skips a type it does not know.
    SlotsBlockHeader,
    /// SLOTS.BLOCK_NEXT: Byte offset of the next block in BAR0; 0 ends the list.
    SlotsBlockNext,
    /// SLOTS.SLOTS: How many slots there are.
    SlotsSlots,
    /// SLOTS.IDCODE: Device that images have to be built for.
    SlotsIdcode,
    /// SLOTS.SHELL: Static region that images have to be built against.
    SlotsShell,
    /// SLOTS.BASE: First register of slot 0: BASE + slot * STRIDE, laid out as hwif::slot says.
    SlotsBase,
    /// SLOTS.STRIDE: Bytes from a slot's registers to the next's.
    SlotsStride,
    /// SLOTS.IMAGE_BYTES_MAX: Largest image that can be downloaded, bytes.
    SlotsImageBytesMax,
    /// SLOTS.LOAD_LIMIT: Longest time from a program or evict command to its completion. A card that takes longer is taken to hang.
    SlotsLoadLimit,
}

impl CardRegister {
    /// All of them, by rising offset.
    pub const ALL: [Self; 63] = [
        Self::IdentityBlockHeader,
        Self::IdentityBlockNext,
        Self::IdentityMagic,
        Self::IdentityAbiVersion,
        Self::IdentityInterfaceUuid0,
        Self::IdentityInterfaceUuid1,
        Self::IdentityInterfaceUuid2,
        Self::IdentityInterfaceUuid3,
        Self::IdentitySerialLo,
        Self::IdentitySerialHi,
        Self::IdentityFunction,
        Self::IdentityModel,
        Self::CapabilitiesBlockHeader,
        Self::CapabilitiesBlockNext,
        Self::CapabilitiesFeatures,
        Self::CapabilitiesQueues,
        Self::CapabilitiesEngines,
        Self::CapabilitiesJobBytesMax,
        Self::CapabilitiesHistoryBytesMax,
        Self::CapabilitiesFormats,
        Self::CapabilitiesClockKhz,
        Self::CapabilitiesVectors,
        Self::CapabilitiesLevels,
        Self::ControlBlockHeader,
        Self::ControlBlockNext,
        Self::ControlControl,
        Self::ControlStatus,
        Self::ControlReset,
        Self::ControlResetEpoch,
        Self::ControlHeartbeat,
        Self::QueueControlBlockHeader,
        Self::QueueControlBlockNext,
        Self::QueueControlAdminSqLo,
        Self::QueueControlAdminSqHi,
        Self::QueueControlAdminCqLo,
        Self::QueueControlAdminCqHi,
        Self::QueueControlAdminQueue,
        Self::QueueControlQueueCount,
        Self::ErrorBlockHeader,
        Self::ErrorBlockNext,
        Self::ErrorFirst,
        Self::ErrorInfoLo,
        Self::ErrorInfoHi,
        Self::ErrorCount,
        Self::QueueCountersBlockHeader,
        Self::QueueCountersBlockNext,
        Self::QueueCountersBase,
        Self::QueueCountersStride,
        Self::QueueCountersQueues,
        Self::DoorbellsBlockHeader,
        Self::DoorbellsBlockNext,
        Self::DoorbellsBase,
        Self::DoorbellsStride,
        Self::DoorbellsQueues,
        Self::SlotsBlockHeader,
        Self::SlotsBlockNext,
        Self::SlotsSlots,
        Self::SlotsIdcode,
        Self::SlotsShell,
        Self::SlotsBase,
        Self::SlotsStride,
        Self::SlotsImageBytesMax,
        Self::SlotsLoadLimit,
    ];

    /// The register at `offset` (bytes from the start of BAR0), if one starts there.
    #[must_use]
    pub const fn at(offset: u32) -> Option<Self> {
        match offset {
            0x000 => Some(Self::IdentityBlockHeader),
            0x004 => Some(Self::IdentityBlockNext),
            0x008 => Some(Self::IdentityMagic),
            0x00c => Some(Self::IdentityAbiVersion),
            0x010 => Some(Self::IdentityInterfaceUuid0),
            0x014 => Some(Self::IdentityInterfaceUuid1),
            0x018 => Some(Self::IdentityInterfaceUuid2),
            0x01c => Some(Self::IdentityInterfaceUuid3),
            0x020 => Some(Self::IdentitySerialLo),
            0x024 => Some(Self::IdentitySerialHi),
            0x028 => Some(Self::IdentityFunction),
            0x02c => Some(Self::IdentityModel),
            0x100 => Some(Self::CapabilitiesBlockHeader),
            0x104 => Some(Self::CapabilitiesBlockNext),
            0x108 => Some(Self::CapabilitiesFeatures),
            0x10c => Some(Self::CapabilitiesQueues),
            0x110 => Some(Self::CapabilitiesEngines),
            0x114 => Some(Self::CapabilitiesJobBytesMax),
            0x118 => Some(Self::CapabilitiesHistoryBytesMax),
            0x11c => Some(Self::CapabilitiesFormats),
            0x120 => Some(Self::CapabilitiesClockKhz),
            0x124 => Some(Self::CapabilitiesVectors),
            0x128 => Some(Self::CapabilitiesLevels),
            0x200 => Some(Self::ControlBlockHeader),
            0x204 => Some(Self::ControlBlockNext),
            0x208 => Some(Self::ControlControl),
            0x20c => Some(Self::ControlStatus),
            0x210 => Some(Self::ControlReset),
            0x214 => Some(Self::ControlResetEpoch),
            0x218 => Some(Self::ControlHeartbeat),
            0x300 => Some(Self::QueueControlBlockHeader),
            0x304 => Some(Self::QueueControlBlockNext),
            0x308 => Some(Self::QueueControlAdminSqLo),
            0x30c => Some(Self::QueueControlAdminSqHi),
            0x310 => Some(Self::QueueControlAdminCqLo),
            0x314 => Some(Self::QueueControlAdminCqHi),
            0x318 => Some(Self::QueueControlAdminQueue),
            0x31c => Some(Self::QueueControlQueueCount),
            0x400 => Some(Self::ErrorBlockHeader),
            0x404 => Some(Self::ErrorBlockNext),
            0x408 => Some(Self::ErrorFirst),
            0x40c => Some(Self::ErrorInfoLo),
            0x410 => Some(Self::ErrorInfoHi),
            0x414 => Some(Self::ErrorCount),
            0x500 => Some(Self::QueueCountersBlockHeader),
            0x504 => Some(Self::QueueCountersBlockNext),
            0x508 => Some(Self::QueueCountersBase),
            0x50c => Some(Self::QueueCountersStride),
            0x510 => Some(Self::QueueCountersQueues),
            0x600 => Some(Self::DoorbellsBlockHeader),
            0x604 => Some(Self::DoorbellsBlockNext),
            0x608 => Some(Self::DoorbellsBase),
            0x60c => Some(Self::DoorbellsStride),
            0x610 => Some(Self::DoorbellsQueues),
            0x700 => Some(Self::SlotsBlockHeader),
            0x704 => Some(Self::SlotsBlockNext),
            0x708 => Some(Self::SlotsSlots),
            0x70c => Some(Self::SlotsIdcode),
            0x710 => Some(Self::SlotsShell),
            0x714 => Some(Self::SlotsBase),
            0x718 => Some(Self::SlotsStride),
            0x71c => Some(Self::SlotsImageBytesMax),
            0x720 => Some(Self::SlotsLoadLimit),
            _ => None,
        }
    }

    /// Byte offset in BAR0.
    #[must_use]
    pub const fn offset(self) -> u32 {
        match self {
            Self::IdentityBlockHeader => 0x000,
            Self::IdentityBlockNext => 0x004,
            Self::IdentityMagic => 0x008,
            Self::IdentityAbiVersion => 0x00c,
            Self::IdentityInterfaceUuid0 => 0x010,
            Self::IdentityInterfaceUuid1 => 0x014,
            Self::IdentityInterfaceUuid2 => 0x018,
            Self::IdentityInterfaceUuid3 => 0x01c,
            Self::IdentitySerialLo => 0x020,
            Self::IdentitySerialHi => 0x024,
            Self::IdentityFunction => 0x028,
            Self::IdentityModel => 0x02c,
            Self::CapabilitiesBlockHeader => 0x100,
            Self::CapabilitiesBlockNext => 0x104,
            Self::CapabilitiesFeatures => 0x108,
            Self::CapabilitiesQueues => 0x10c,
            Self::CapabilitiesEngines => 0x110,
            Self::CapabilitiesJobBytesMax => 0x114,
            Self::CapabilitiesHistoryBytesMax => 0x118,
            Self::CapabilitiesFormats => 0x11c,
            Self::CapabilitiesClockKhz => 0x120,
            Self::CapabilitiesVectors => 0x124,
            Self::CapabilitiesLevels => 0x128,
            Self::ControlBlockHeader => 0x200,
            Self::ControlBlockNext => 0x204,
            Self::ControlControl => 0x208,
            Self::ControlStatus => 0x20c,
            Self::ControlReset => 0x210,
            Self::ControlResetEpoch => 0x214,
            Self::ControlHeartbeat => 0x218,
            Self::QueueControlBlockHeader => 0x300,
            Self::QueueControlBlockNext => 0x304,
            Self::QueueControlAdminSqLo => 0x308,
            Self::QueueControlAdminSqHi => 0x30c,
            Self::QueueControlAdminCqLo => 0x310,
            Self::QueueControlAdminCqHi => 0x314,
            Self::QueueControlAdminQueue => 0x318,
            Self::QueueControlQueueCount => 0x31c,
            Self::ErrorBlockHeader => 0x400,
            Self::ErrorBlockNext => 0x404,
            Self::ErrorFirst => 0x408,
            Self::ErrorInfoLo => 0x40c,
            Self::ErrorInfoHi => 0x410,
            Self::ErrorCount => 0x414,
            Self::QueueCountersBlockHeader => 0x500,
            Self::QueueCountersBlockNext => 0x504,
            Self::QueueCountersBase => 0x508,
            Self::QueueCountersStride => 0x50c,
            Self::QueueCountersQueues => 0x510,
            Self::DoorbellsBlockHeader => 0x600,
            Self::DoorbellsBlockNext => 0x604,
            Self::DoorbellsBase => 0x608,
            Self::DoorbellsStride => 0x60c,
            Self::DoorbellsQueues => 0x610,
            Self::SlotsBlockHeader => 0x700,
            Self::SlotsBlockNext => 0x704,
            Self::SlotsSlots => 0x708,
            Self::SlotsIdcode => 0x70c,
            Self::SlotsShell => 0x710,
            Self::SlotsBase => 0x714,
            Self::SlotsStride => 0x718,
            Self::SlotsImageBytesMax => 0x71c,
            Self::SlotsLoadLimit => 0x720,
        }
    }

    /// Who may do what with it.
    #[must_use]
    pub const fn access(self) -> Access {
        match self {
            Self::IdentityBlockHeader
            | Self::IdentityBlockNext
            | Self::IdentityMagic
            | Self::IdentityAbiVersion
            | Self::IdentityInterfaceUuid0
            | Self::IdentityInterfaceUuid1
            | Self::IdentityInterfaceUuid2
            | Self::IdentityInterfaceUuid3
            | Self::IdentitySerialLo
            | Self::IdentitySerialHi
            | Self::IdentityFunction
            | Self::IdentityModel
            | Self::CapabilitiesBlockHeader
            | Self::CapabilitiesBlockNext
            | Self::CapabilitiesFeatures
            | Self::CapabilitiesQueues
            | Self::CapabilitiesEngines
            | Self::CapabilitiesJobBytesMax
            | Self::CapabilitiesHistoryBytesMax
            | Self::CapabilitiesFormats
            | Self::CapabilitiesClockKhz
            | Self::CapabilitiesVectors
            | Self::CapabilitiesLevels
            | Self::ControlBlockHeader
            | Self::ControlBlockNext
            | Self::ControlStatus
            | Self::ControlResetEpoch
            | Self::ControlHeartbeat
            | Self::QueueControlBlockHeader
            | Self::QueueControlBlockNext
            | Self::QueueControlQueueCount
            | Self::ErrorBlockHeader
            | Self::ErrorBlockNext
            | Self::ErrorFirst
            | Self::ErrorInfoLo
            | Self::ErrorInfoHi
            | Self::ErrorCount
            | Self::QueueCountersBlockHeader
            | Self::QueueCountersBlockNext
            | Self::QueueCountersBase
            | Self::QueueCountersStride
            | Self::QueueCountersQueues
            | Self::DoorbellsBlockHeader
            | Self::DoorbellsBlockNext
            | Self::DoorbellsBase
            | Self::DoorbellsStride
            | Self::DoorbellsQueues
            | Self::SlotsBlockHeader
            | Self::SlotsBlockNext
            | Self::SlotsSlots
            | Self::SlotsIdcode
            | Self::SlotsShell
            | Self::SlotsBase
            | Self::SlotsStride
            | Self::SlotsImageBytesMax
            | Self::SlotsLoadLimit => Access::ReadOnly,
            Self::ControlReset => Access::WriteOnly,
            Self::ControlControl
            | Self::QueueControlAdminSqLo
            | Self::QueueControlAdminSqHi
            | Self::QueueControlAdminCqLo
            | Self::QueueControlAdminCqHi
            | Self::QueueControlAdminQueue => Access::ReadWrite,
        }
    }

    /// Value after reset, as far as the map fixes it.
    #[must_use]
    pub const fn reset(self) -> u32 {
        match self {
            Self::IdentityBlockHeader => 0x00010001,
            Self::IdentityBlockNext => 0x00000100,
            Self::IdentityMagic => 0x4d616146,
            Self::IdentityAbiVersion => 0x00010000,
            Self::CapabilitiesBlockHeader => 0x00010002,
            Self::CapabilitiesBlockNext => 0x00000200,
            Self::ControlBlockHeader => 0x00010003,
            Self::ControlBlockNext => 0x00000300,
            Self::QueueControlBlockHeader => 0x00010004,
            Self::QueueControlBlockNext => 0x00000400,
            Self::QueueControlAdminQueue => 0x0000ff00,
            Self::ErrorBlockHeader => 0x00010005,
            Self::ErrorBlockNext => 0x00000500,
            Self::QueueCountersBlockHeader => 0x00010006,
            Self::QueueCountersBlockNext => 0x00000600,
            Self::QueueCountersBase => 0x00002000,
            Self::QueueCountersStride => 0x00000040,
            Self::DoorbellsBlockHeader => 0x00010007,
            Self::DoorbellsBlockNext => 0x00000700,
            Self::DoorbellsBase => 0x00010000,
            Self::DoorbellsStride => 0x00001000,
            Self::SlotsBlockHeader => 0x00010008,
            Self::SlotsBase => 0x00003000,
            Self::SlotsStride => 0x00000040,
            _ => 0,
        }
    }
}
