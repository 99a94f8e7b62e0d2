// Generated from bitstreams/hwif/rdl/card.rdl by tools/export.py. Edit there; run `make regs`.

use super::{Access, BlockType, Register};

/// First 16 bytes of the SHA-256 over the map's bits and the golden entries, as four little-endian words.
pub const INTERFACE_UUID: [u32; 4] = [0xbab50939, 0x690bf123, 0x72ef3c99, 0x8071f5da];

/// Who this function is. First block, always at offset 0.
pub mod identity {
    use super::{Access, BlockType, Register};

    /// Type of the IDENTITY block in the list of blocks.
    pub const BLOCK_TYPE: BlockType = BlockType(1);
    /// Layout version that this file describes.
    pub const VERSION: u8 = 1;
    /// Bytes from the block's start to the end of its last register.
    pub const BYTES: u32 = 0x30;

    /// What this block is. The driver skips a type it does not know.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockHeader(pub u32);

    impl Register for BlockHeader {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x00;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00010001;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockHeader {
        /// Block type. Bits 15:0.
        #[must_use]
        pub const fn block_type(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `block_type` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_block_type(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
        /// Layout version of the block; a new version only appends registers. Bits 23:16.
        #[must_use]
        pub const fn version(self) -> u32 {
            (self.0 >> 16) & 0xff
        }
        /// Copy with `version` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_version(self, bits: u32) -> Self {
            Self(self.0 & !0x00ff0000 | (bits & 0xff) << 16)
        }
    }

    /// Byte offset of the next block in BAR0; 0 ends the list.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockNext(pub u32);

    impl Register for BlockNext {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x04;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000100;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockNext {
        /// Offset, bytes, a multiple of 4; 0 = last block. Bits 31:0.
        #[must_use]
        pub const fn offset(self) -> u32 {
            self.0
        }
        /// Copy with `offset` set to `bits`.
        #[must_use]
        pub const fn with_offset(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Constant that tells a FaaM card from anything else, and a mapped BAR from all-ones.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Magic(pub u32);

    impl Register for Magic {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x08;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x4d616146;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Magic {
        /// ASCII FaaM, first byte lowest. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Version of the host-device contract. A driver refuses another major.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AbiVersion(pub u32);

    impl Register for AbiVersion {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x0c;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00010000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl AbiVersion {
        /// Compatible additions. Bits 15:0.
        #[must_use]
        pub const fn minor(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `minor` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_minor(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
        /// Breaking changes. Bits 31:16.
        #[must_use]
        pub const fn major(self) -> u32 {
            (self.0 >> 16) & 0xffff
        }
        /// Copy with `major` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_major(self, bits: u32) -> Self {
            Self(self.0 & !0xffff0000 | (bits & 0xffff) << 16)
        }
    }

    /// Interface uuid, bytes 0-3: the first 16 bytes of the SHA-256 of this map and the golden entries.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InterfaceUuid0(pub u32);

    impl Register for InterfaceUuid0 {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x10;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl InterfaceUuid0 {
        /// Little-endian bytes 0-3. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Interface uuid, bytes 4-7.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InterfaceUuid1(pub u32);

    impl Register for InterfaceUuid1 {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x14;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl InterfaceUuid1 {
        /// Bytes 4-7. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Interface uuid, bytes 8-11.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InterfaceUuid2(pub u32);

    impl Register for InterfaceUuid2 {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x18;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl InterfaceUuid2 {
        /// Bytes 8-11. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Interface uuid, bytes 12-15.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InterfaceUuid3(pub u32);

    impl Register for InterfaceUuid3 {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x1c;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl InterfaceUuid3 {
        /// Bytes 12-15. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Serial number of the card, low half; the same in all its functions.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SerialLo(pub u32);

    impl Register for SerialLo {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x20;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl SerialLo {
        /// Bits 31:0. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Serial number of the card, high half.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SerialHi(pub u32);

    impl Register for SerialHi {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x24;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl SerialHi {
        /// Bits 63:32. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Which function of the card this is.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Function(pub u32);

    impl Register for Function {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x28;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Function {
        /// Index, from 0. Bits 7:0.
        #[must_use]
        pub const fn index(self) -> u32 {
            self.0 & 0xff
        }
        /// Copy with `index` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_index(self, bits: u32) -> Self {
            Self(self.0 & !0x000000ff | (bits & 0xff))
        }
        /// Functions on the card. Bits 15:8.
        #[must_use]
        pub const fn count(self) -> u32 {
            (self.0 >> 8) & 0xff
        }
        /// Copy with `count` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_count(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ff00 | (bits & 0xff) << 8)
        }
    }

    /// What executes the jobs; anything but hardware is reported as simulated.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Model(pub u32);

    impl Register for Model {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x2c;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Model {
        /// 0 = hardware, 1 = functional model, 2 = simulated RTL. Bits 7:0.
        #[must_use]
        pub const fn kind(self) -> u32 {
            self.0 & 0xff
        }
        /// Copy with `kind` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_kind(self, bits: u32) -> Self {
            Self(self.0 & !0x000000ff | (bits & 0xff))
        }
    }
}

/// What this function can do. Constant between resets.
pub mod capabilities {
    use super::{Access, BlockType, Register};

    /// Type of the CAPABILITIES block in the list of blocks.
    pub const BLOCK_TYPE: BlockType = BlockType(2);
    /// Layout version that this file describes.
    pub const VERSION: u8 = 1;
    /// Bytes from the block's start to the end of its last register.
    pub const BYTES: u32 = 0x2c;

    /// What this block is. The driver skips a type it does not know.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockHeader(pub u32);

    impl Register for BlockHeader {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x00;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00010002;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockHeader {
        /// Block type. Bits 15:0.
        #[must_use]
        pub const fn block_type(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `block_type` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_block_type(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
        /// Layout version of the block; a new version only appends registers. Bits 23:16.
        #[must_use]
        pub const fn version(self) -> u32 {
            (self.0 >> 16) & 0xff
        }
        /// Copy with `version` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_version(self, bits: u32) -> Self {
            Self(self.0 & !0x00ff0000 | (bits & 0xff) << 16)
        }
    }

    /// Byte offset of the next block in BAR0; 0 ends the list.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockNext(pub u32);

    impl Register for BlockNext {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x04;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000200;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockNext {
        /// Offset, bytes, a multiple of 4; 0 = last block. Bits 31:0.
        #[must_use]
        pub const fn offset(self) -> u32 {
            self.0
        }
        /// Copy with `offset` set to `bits`.
        #[must_use]
        pub const fn with_offset(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Optional behaviour. A driver ignores bits that it does not know.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Features(pub u32);

    impl Register for Features {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x08;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Features {
        /// Shadow doorbells with event index. Bits 0:0.
        #[must_use]
        pub const fn shadow_doorbells(self) -> bool {
            self.0 & 0x00000001 != 0
        }
        /// Copy with `shadow_doorbells` set to `on`.
        #[must_use]
        pub const fn with_shadow_doorbells(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000001
            } else {
                self.0 & !0x00000001
            })
        }
        /// TABLE flag: loaded Huffman tables, and the count command. Bits 1:1.
        #[must_use]
        pub const fn loaded_tables(self) -> bool {
            self.0 & 0x00000002 != 0
        }
        /// Copy with `loaded_tables` set to `on`.
        #[must_use]
        pub const fn with_loaded_tables(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000002
            } else {
                self.0 & !0x00000002
            })
        }
        /// HIST flag: window preloaded from memory. Bits 2:2.
        #[must_use]
        pub const fn history(self) -> bool {
            self.0 & 0x00000004 != 0
        }
        /// Copy with `history` set to `on`.
        #[must_use]
        pub const fn with_history(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000004
            } else {
                self.0 & !0x00000004
            })
        }
        /// Decompress command. Bits 3:3.
        #[must_use]
        pub const fn decompress(self) -> bool {
            self.0 & 0x00000008 != 0
        }
        /// Copy with `decompress` set to `on`.
        #[must_use]
        pub const fn with_decompress(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000008
            } else {
                self.0 & !0x00000008
            })
        }
        /// Abort command, best effort. Bits 4:4.
        #[must_use]
        pub const fn abort(self) -> bool {
            self.0 & 0x00000010 != 0
        }
        /// Copy with `abort` set to `on`.
        #[must_use]
        pub const fn with_abort(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000010
            } else {
                self.0 & !0x00000010
            })
        }
        /// Engine state is scrubbed when the context changes. Bits 5:5.
        #[must_use]
        pub const fn context_scrub(self) -> bool {
            self.0 & 0x00000020 != 0
        }
        /// Copy with `context_scrub` set to `on`.
        #[must_use]
        pub const fn with_context_scrub(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000020
            } else {
                self.0 & !0x00000020
            })
        }
        /// Completions appear no sooner than their modelled cycles at the clock. Bits 6:6.
        #[must_use]
        pub const fn paced(self) -> bool {
            self.0 & 0x00000040 != 0
        }
        /// Copy with `paced` set to `on`.
        #[must_use]
        pub const fn with_paced(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000040
            } else {
                self.0 & !0x00000040
            })
        }
    }

    /// Queue limits.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Queues(pub u32);

    impl Register for Queues {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x0c;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Queues {
        /// I/O queue pairs, the admin queue not counted. Bits 15:0.
        #[must_use]
        pub const fn io_pairs_max(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `io_pairs_max` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_io_pairs_max(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
        /// log2 of the most entries in one queue. Bits 23:16.
        #[must_use]
        pub const fn entries_log2_max(self) -> u32 {
            (self.0 >> 16) & 0xff
        }
        /// Copy with `entries_log2_max` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_entries_log2_max(self, bits: u32) -> Self {
            Self(self.0 & !0x00ff0000 | (bits & 0xff) << 16)
        }
    }

    /// Engines and how many jobs may wait for each.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Engines(pub u32);

    impl Register for Engines {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x10;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Engines {
        /// Engines of this function. Bits 7:0.
        #[must_use]
        pub const fn count(self) -> u32 {
            self.0 & 0xff
        }
        /// Copy with `count` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_count(self, bits: u32) -> Self {
            Self(self.0 & !0x000000ff | (bits & 0xff))
        }
        /// Jobs queued an engine before the host should hold back. Bits 15:8.
        #[must_use]
        pub const fn jobs_each_max(self) -> u32 {
            (self.0 >> 8) & 0xff
        }
        /// Copy with `jobs_each_max` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_jobs_each_max(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ff00 | (bits & 0xff) << 8)
        }
    }

    /// Largest src_len of a job, bytes, history not counted.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct JobBytesMax(pub u32);

    impl Register for JobBytesMax {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x14;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl JobBytesMax {
        /// Bytes. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Largest hist_len, bytes.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct HistoryBytesMax(pub u32);

    impl Register for HistoryBytesMax {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x18;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl HistoryBytesMax {
        /// Bytes. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Formats that the engines frame.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Formats(pub u32);

    impl Register for Formats {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x1c;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Formats {
        /// Raw DEFLATE (RFC 1951). Bits 0:0.
        #[must_use]
        pub const fn raw(self) -> bool {
            self.0 & 0x00000001 != 0
        }
        /// Copy with `raw` set to `on`.
        #[must_use]
        pub const fn with_raw(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000001
            } else {
                self.0 & !0x00000001
            })
        }
        /// zlib (RFC 1950). Bits 1:1.
        #[must_use]
        pub const fn zlib(self) -> bool {
            self.0 & 0x00000002 != 0
        }
        /// Copy with `zlib` set to `on`.
        #[must_use]
        pub const fn with_zlib(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000002
            } else {
                self.0 & !0x00000002
            })
        }
        /// gzip (RFC 1952). Bits 2:2.
        #[must_use]
        pub const fn gzip(self) -> bool {
            self.0 & 0x00000004 != 0
        }
        /// Copy with `gzip` set to `on`.
        #[must_use]
        pub const fn with_gzip(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000004
            } else {
                self.0 & !0x00000004
            })
        }
    }

    /// Clock of the engines: turns reported cycles into time.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ClockKhz(pub u32);

    impl Register for ClockKhz {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x20;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl ClockKhz {
        /// kHz. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// MSI-X vectors of this function.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Vectors(pub u32);

    impl Register for Vectors {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x24;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Vectors {
        /// Vectors. Bits 15:0.
        #[must_use]
        pub const fn count(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `count` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_count(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
    }

    /// Card levels, a bit each.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Levels(pub u32);

    impl Register for Levels {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x28;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Levels {
        /// Level 0: fast. Bits 0:0.
        #[must_use]
        pub const fn fast(self) -> bool {
            self.0 & 0x00000001 != 0
        }
        /// Copy with `fast` set to `on`.
        #[must_use]
        pub const fn with_fast(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000001
            } else {
                self.0 & !0x00000001
            })
        }
        /// Level 1: balanced. Bits 1:1.
        #[must_use]
        pub const fn balanced(self) -> bool {
            self.0 & 0x00000002 != 0
        }
        /// Copy with `balanced` set to `on`.
        #[must_use]
        pub const fn with_balanced(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000002
            } else {
                self.0 & !0x00000002
            })
        }
        /// Level 2: dense. Bits 2:2.
        #[must_use]
        pub const fn dense(self) -> bool {
            self.0 & 0x00000004 != 0
        }
        /// Copy with `dense` set to `on`.
        #[must_use]
        pub const fn with_dense(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000004
            } else {
                self.0 & !0x00000004
            })
        }
    }
}

/// Life of the function: enable, reset, and the facts that fences rest on.
pub mod control {
    use super::{Access, BlockType, Register};

    /// Type of the CONTROL block in the list of blocks.
    pub const BLOCK_TYPE: BlockType = BlockType(3);
    /// Layout version that this file describes.
    pub const VERSION: u8 = 1;
    /// Bytes from the block's start to the end of its last register.
    pub const BYTES: u32 = 0x1c;

    /// What this block is. The driver skips a type it does not know.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockHeader(pub u32);

    impl Register for BlockHeader {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x00;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00010003;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockHeader {
        /// Block type. Bits 15:0.
        #[must_use]
        pub const fn block_type(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `block_type` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_block_type(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
        /// Layout version of the block; a new version only appends registers. Bits 23:16.
        #[must_use]
        pub const fn version(self) -> u32 {
            (self.0 >> 16) & 0xff
        }
        /// Copy with `version` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_version(self, bits: u32) -> Self {
            Self(self.0 & !0x00ff0000 | (bits & 0xff) << 16)
        }
    }

    /// Byte offset of the next block in BAR0; 0 ends the list.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockNext(pub u32);

    impl Register for BlockNext {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x04;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000300;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockNext {
        /// Offset, bytes, a multiple of 4; 0 = last block. Bits 31:0.
        #[must_use]
        pub const fn offset(self) -> u32 {
            self.0
        }
        /// Copy with `offset` set to `bits`.
        #[must_use]
        pub const fn with_offset(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Enable. Setting it latches the admin queue registers; STATUS.ready follows.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Control(pub u32);

    impl Register for Control {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x08;
        const ACCESS: Access = Access::ReadWrite;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Control {
        /// 1 = process queues; 0 = stop taking work, finish DMA, delete all queues. Bits 0:0.
        #[must_use]
        pub const fn enable(self) -> bool {
            self.0 & 0x00000001 != 0
        }
        /// Copy with `enable` set to `on`.
        #[must_use]
        pub const fn with_enable(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000001
            } else {
                self.0 & !0x00000001
            })
        }
    }

    /// State. All-ones means that the function is gone.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Status(pub u32);

    impl Register for Status {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x0c;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Status {
        /// Enabled, and the admin queue is served. Bits 0:0.
        #[must_use]
        pub const fn ready(self) -> bool {
            self.0 & 0x00000001 != 0
        }
        /// Copy with `ready` set to `on`.
        #[must_use]
        pub const fn with_ready(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000001
            } else {
                self.0 & !0x00000001
            })
        }
        /// The function stopped on an error (ERROR block); only a reset helps. Bits 1:1.
        #[must_use]
        pub const fn fatal(self) -> bool {
            self.0 & 0x00000002 != 0
        }
        /// Copy with `fatal` set to `on`.
        #[must_use]
        pub const fn with_fatal(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000002
            } else {
                self.0 & !0x00000002
            })
        }
        /// No DMA is in flight and none will start until CONTROL.enable is set. Bits 2:2.
        #[must_use]
        pub const fn dma_idle(self) -> bool {
            self.0 & 0x00000004 != 0
        }
        /// Copy with `dma_idle` set to `on`.
        #[must_use]
        pub const fn with_dma_idle(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000004
            } else {
                self.0 & !0x00000004
            })
        }
        /// A reset is in progress. Bits 3:3.
        #[must_use]
        pub const fn resetting(self) -> bool {
            self.0 & 0x00000008 != 0
        }
        /// Copy with `resetting` set to `on`.
        #[must_use]
        pub const fn with_resetting(self, on: bool) -> Self {
            Self(if on {
                self.0 | 0x00000008
            } else {
                self.0 & !0x00000008
            })
        }
    }

    /// Function reset.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Reset(pub u32);

    impl Register for Reset {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x10;
        const ACCESS: Access = Access::WriteOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Reset {
        /// Write 0x46525354 to reset; any other value is ignored. Bits 31:0.
        #[must_use]
        pub const fn key(self) -> u32 {
            self.0
        }
        /// Copy with `key` set to `bits`.
        #[must_use]
        pub const fn with_key(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Counts resets of this function, by whatever cause; a reset has happened when it differs.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ResetEpoch(pub u32);

    impl Register for ResetEpoch {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x14;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl ResetEpoch {
        /// Resets since power-on plus a random start; never all-ones. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Advances while the function's processor runs: at least once in 100 ms.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Heartbeat(pub u32);

    impl Register for Heartbeat {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x18;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Heartbeat {
        /// Free running count, never all-ones. Bits 31:0.
        #[must_use]
        pub const fn count(self) -> u32 {
            self.0
        }
        /// Copy with `count` set to `bits`.
        #[must_use]
        pub const fn with_count(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }
}

/// The admin queue (queue 0). I/O queues are created by commands on it. Latched when CONTROL.enable is set.
pub mod queue_control {
    use super::{Access, BlockType, Register};

    /// Type of the QUEUE_CONTROL block in the list of blocks.
    pub const BLOCK_TYPE: BlockType = BlockType(4);
    /// Layout version that this file describes.
    pub const VERSION: u8 = 1;
    /// Bytes from the block's start to the end of its last register.
    pub const BYTES: u32 = 0x20;

    /// What this block is. The driver skips a type it does not know.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockHeader(pub u32);

    impl Register for BlockHeader {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x00;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00010004;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockHeader {
        /// Block type. Bits 15:0.
        #[must_use]
        pub const fn block_type(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `block_type` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_block_type(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
        /// Layout version of the block; a new version only appends registers. Bits 23:16.
        #[must_use]
        pub const fn version(self) -> u32 {
            (self.0 >> 16) & 0xff
        }
        /// Copy with `version` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_version(self, bits: u32) -> Self {
            Self(self.0 & !0x00ff0000 | (bits & 0xff) << 16)
        }
    }

    /// Byte offset of the next block in BAR0; 0 ends the list.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockNext(pub u32);

    impl Register for BlockNext {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x04;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000400;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockNext {
        /// Offset, bytes, a multiple of 4; 0 = last block. Bits 31:0.
        #[must_use]
        pub const fn offset(self) -> u32 {
            self.0
        }
        /// Copy with `offset` set to `bits`.
        #[must_use]
        pub const fn with_offset(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Admin submission queue, IOVA, 64-byte aligned.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AdminSqLo(pub u32);

    impl Register for AdminSqLo {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x08;
        const ACCESS: Access = Access::ReadWrite;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl AdminSqLo {
        /// Bits 31:0. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Admin submission queue, high half.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AdminSqHi(pub u32);

    impl Register for AdminSqHi {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x0c;
        const ACCESS: Access = Access::ReadWrite;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl AdminSqHi {
        /// Bits 63:32. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Admin completion queue, IOVA, 64-byte aligned.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AdminCqLo(pub u32);

    impl Register for AdminCqLo {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x10;
        const ACCESS: Access = Access::ReadWrite;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl AdminCqLo {
        /// Bits 31:0. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Admin completion queue, high half.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AdminCqHi(pub u32);

    impl Register for AdminCqHi {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x14;
        const ACCESS: Access = Access::ReadWrite;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl AdminCqHi {
        /// Bits 63:32. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Shape of the admin queue.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct AdminQueue(pub u32);

    impl Register for AdminQueue {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x18;
        const ACCESS: Access = Access::ReadWrite;
        const RESET: u32 = 0x0000ff00;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl AdminQueue {
        /// log2 of its entries, 1 to 12. Bits 7:0.
        #[must_use]
        pub const fn entries_log2(self) -> u32 {
            self.0 & 0xff
        }
        /// Copy with `entries_log2` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_entries_log2(self, bits: u32) -> Self {
            Self(self.0 & !0x000000ff | (bits & 0xff))
        }
        /// MSI-X vector for its completions; 0xFF = none. Bits 15:8.
        #[must_use]
        pub const fn vector(self) -> u32 {
            (self.0 >> 8) & 0xff
        }
        /// Copy with `vector` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_vector(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ff00 | (bits & 0xff) << 8)
        }
        /// Epoch that seeds the check field of its completions. Bits 31:16.
        #[must_use]
        pub const fn epoch(self) -> u32 {
            (self.0 >> 16) & 0xffff
        }
        /// Copy with `epoch` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_epoch(self, bits: u32) -> Self {
            Self(self.0 & !0xffff0000 | (bits & 0xffff) << 16)
        }
    }

    /// Queues now in being.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct QueueCount(pub u32);

    impl Register for QueueCount {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x1c;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl QueueCount {
        /// I/O queue pairs created. Bits 15:0.
        #[must_use]
        pub const fn io_pairs(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `io_pairs` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_io_pairs(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
    }
}

/// The first error since reset, and how many followed. Details are in the error log page.
pub mod error {
    use super::{Access, BlockType, Register};

    /// Type of the ERROR block in the list of blocks.
    pub const BLOCK_TYPE: BlockType = BlockType(5);
    /// Layout version that this file describes.
    pub const VERSION: u8 = 1;
    /// Bytes from the block's start to the end of its last register.
    pub const BYTES: u32 = 0x18;

    /// What this block is. The driver skips a type it does not know.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockHeader(pub u32);

    impl Register for BlockHeader {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x00;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00010005;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockHeader {
        /// Block type. Bits 15:0.
        #[must_use]
        pub const fn block_type(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `block_type` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_block_type(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
        /// Layout version of the block; a new version only appends registers. Bits 23:16.
        #[must_use]
        pub const fn version(self) -> u32 {
            (self.0 >> 16) & 0xff
        }
        /// Copy with `version` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_version(self, bits: u32) -> Self {
            Self(self.0 & !0x00ff0000 | (bits & 0xff) << 16)
        }
    }

    /// Byte offset of the next block in BAR0; 0 ends the list.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockNext(pub u32);

    impl Register for BlockNext {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x04;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000500;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockNext {
        /// Offset, bytes, a multiple of 4; 0 = last block. Bits 31:0.
        #[must_use]
        pub const fn offset(self) -> u32 {
            self.0
        }
        /// Copy with `offset` set to `bits`.
        #[must_use]
        pub const fn with_offset(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// First error.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct First(pub u32);

    impl Register for First {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x08;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl First {
        /// Error code (hwif::error): 0 = none. Bits 15:0.
        #[must_use]
        pub const fn code(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `code` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_code(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
        /// Queue that it came up on. Bits 31:16.
        #[must_use]
        pub const fn queue(self) -> u32 {
            (self.0 >> 16) & 0xffff
        }
        /// Copy with `queue` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_queue(self, bits: u32) -> Self {
            Self(self.0 & !0xffff0000 | (bits & 0xffff) << 16)
        }
    }

    /// IOVA or value that the first error speaks of, low half.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InfoLo(pub u32);

    impl Register for InfoLo {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x0c;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl InfoLo {
        /// Bits 31:0. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// High half.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct InfoHi(pub u32);

    impl Register for InfoHi {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x10;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl InfoHi {
        /// Bits 63:32. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Errors since reset, saturating below all-ones.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Count(pub u32);

    impl Register for Count {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x14;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Count {
        /// Errors. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }
}

/// Where the per-queue counters are: BASE + queue * STRIDE, eight 64-bit counters a queue, LO first.
pub mod queue_counters {
    use super::{Access, BlockType, Register};

    /// Type of the QUEUE_COUNTERS block in the list of blocks.
    pub const BLOCK_TYPE: BlockType = BlockType(6);
    /// Layout version that this file describes.
    pub const VERSION: u8 = 1;
    /// Bytes from the block's start to the end of its last register.
    pub const BYTES: u32 = 0x14;

    /// What this block is. The driver skips a type it does not know.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockHeader(pub u32);

    impl Register for BlockHeader {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x00;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00010006;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockHeader {
        /// Block type. Bits 15:0.
        #[must_use]
        pub const fn block_type(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `block_type` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_block_type(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
        /// Layout version of the block; a new version only appends registers. Bits 23:16.
        #[must_use]
        pub const fn version(self) -> u32 {
            (self.0 >> 16) & 0xff
        }
        /// Copy with `version` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_version(self, bits: u32) -> Self {
            Self(self.0 & !0x00ff0000 | (bits & 0xff) << 16)
        }
    }

    /// Byte offset of the next block in BAR0; 0 ends the list.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockNext(pub u32);

    impl Register for BlockNext {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x04;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000600;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockNext {
        /// Offset, bytes, a multiple of 4; 0 = last block. Bits 31:0.
        #[must_use]
        pub const fn offset(self) -> u32 {
            self.0
        }
        /// Copy with `offset` set to `bits`.
        #[must_use]
        pub const fn with_offset(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// First counter of queue 0.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Base(pub u32);

    impl Register for Base {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x08;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00002000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Base {
        /// Byte offset in BAR0. Bits 31:0.
        #[must_use]
        pub const fn offset(self) -> u32 {
            self.0
        }
        /// Copy with `offset` set to `bits`.
        #[must_use]
        pub const fn with_offset(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Bytes from a queue's counters to the next's.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Stride(pub u32);

    impl Register for Stride {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x0c;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000040;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Stride {
        /// Bytes. Bits 31:0.
        #[must_use]
        pub const fn bytes(self) -> u32 {
            self.0
        }
        /// Copy with `bytes` set to `bits`.
        #[must_use]
        pub const fn with_bytes(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Queues that have counters, the admin queue included.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Queues(pub u32);

    impl Register for Queues {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x10;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Queues {
        /// Queues. Bits 15:0.
        #[must_use]
        pub const fn count(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `count` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_count(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
    }
}

/// Where the doorbells are: BASE + queue * STRIDE; SQ tail at +0, CQ head at +4. Values are free-running indices. A page a queue, so that one can be handed out alone.
pub mod doorbells {
    use super::{Access, BlockType, Register};

    /// Type of the DOORBELLS block in the list of blocks.
    pub const BLOCK_TYPE: BlockType = BlockType(7);
    /// Layout version that this file describes.
    pub const VERSION: u8 = 1;
    /// Bytes from the block's start to the end of its last register.
    pub const BYTES: u32 = 0x14;

    /// What this block is. The driver skips a type it does not know.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockHeader(pub u32);

    impl Register for BlockHeader {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x00;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00010007;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockHeader {
        /// Block type. Bits 15:0.
        #[must_use]
        pub const fn block_type(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `block_type` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_block_type(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
        /// Layout version of the block; a new version only appends registers. Bits 23:16.
        #[must_use]
        pub const fn version(self) -> u32 {
            (self.0 >> 16) & 0xff
        }
        /// Copy with `version` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_version(self, bits: u32) -> Self {
            Self(self.0 & !0x00ff0000 | (bits & 0xff) << 16)
        }
    }

    /// Byte offset of the next block in BAR0; 0 ends the list.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockNext(pub u32);

    impl Register for BlockNext {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x04;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000700;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockNext {
        /// Offset, bytes, a multiple of 4; 0 = last block. Bits 31:0.
        #[must_use]
        pub const fn offset(self) -> u32 {
            self.0
        }
        /// Copy with `offset` set to `bits`.
        #[must_use]
        pub const fn with_offset(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Doorbell page of queue 0.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Base(pub u32);

    impl Register for Base {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x08;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00010000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Base {
        /// Byte offset in BAR0. Bits 31:0.
        #[must_use]
        pub const fn offset(self) -> u32 {
            self.0
        }
        /// Copy with `offset` set to `bits`.
        #[must_use]
        pub const fn with_offset(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Bytes from a queue's doorbell page to the next's.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Stride(pub u32);

    impl Register for Stride {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x0c;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00001000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Stride {
        /// Bytes. Bits 31:0.
        #[must_use]
        pub const fn bytes(self) -> u32 {
            self.0
        }
        /// Copy with `bytes` set to `bits`.
        #[must_use]
        pub const fn with_bytes(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Doorbell pages, the admin queue's included.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Queues(pub u32);

    impl Register for Queues {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x10;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Queues {
        /// Queues. Bits 15:0.
        #[must_use]
        pub const fn count(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `count` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_count(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
    }
}

/// Reconfigurable regions of this function, each of which holds one image's kernel. A function without this block has none, and serves what its capabilities say.
pub mod slots {
    use super::{Access, BlockType, Register};

    /// Type of the SLOTS block in the list of blocks.
    pub const BLOCK_TYPE: BlockType = BlockType(8);
    /// Layout version that this file describes.
    pub const VERSION: u8 = 1;
    /// Bytes from the block's start to the end of its last register.
    pub const BYTES: u32 = 0x24;

    /// What this block is. The driver skips a type it does not know.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockHeader(pub u32);

    impl Register for BlockHeader {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x00;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00010008;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockHeader {
        /// Block type. Bits 15:0.
        #[must_use]
        pub const fn block_type(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `block_type` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_block_type(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
        /// Layout version of the block; a new version only appends registers. Bits 23:16.
        #[must_use]
        pub const fn version(self) -> u32 {
            (self.0 >> 16) & 0xff
        }
        /// Copy with `version` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_version(self, bits: u32) -> Self {
            Self(self.0 & !0x00ff0000 | (bits & 0xff) << 16)
        }
    }

    /// Byte offset of the next block in BAR0; 0 ends the list.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct BlockNext(pub u32);

    impl Register for BlockNext {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x04;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl BlockNext {
        /// Offset, bytes, a multiple of 4; 0 = last block. Bits 31:0.
        #[must_use]
        pub const fn offset(self) -> u32 {
            self.0
        }
        /// Copy with `offset` set to `bits`.
        #[must_use]
        pub const fn with_offset(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// How many slots there are.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Slots(pub u32);

    impl Register for Slots {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x08;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Slots {
        /// Slots of this function, at most 16. Bits 7:0.
        #[must_use]
        pub const fn count(self) -> u32 {
            self.0 & 0xff
        }
        /// Copy with `count` set to the low 8 bits of `bits`.
        #[must_use]
        pub const fn with_count(self, bits: u32) -> Self {
            Self(self.0 & !0x000000ff | (bits & 0xff))
        }
    }

    /// Device that images have to be built for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Idcode(pub u32);

    impl Register for Idcode {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x0c;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Idcode {
        /// JTAG IDCODE (IEEE 1149.1). Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Static region that images have to be built against.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Shell(pub u32);

    impl Register for Shell {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x10;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Shell {
        /// Revision that fits as well. Bits 15:0.
        #[must_use]
        pub const fn minor(self) -> u32 {
            self.0 & 0xffff
        }
        /// Copy with `minor` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_minor(self, bits: u32) -> Self {
            Self(self.0 & !0x0000ffff | (bits & 0xffff))
        }
        /// Revision that does not. Bits 31:16.
        #[must_use]
        pub const fn major(self) -> u32 {
            (self.0 >> 16) & 0xffff
        }
        /// Copy with `major` set to the low 16 bits of `bits`.
        #[must_use]
        pub const fn with_major(self, bits: u32) -> Self {
            Self(self.0 & !0xffff0000 | (bits & 0xffff) << 16)
        }
    }

    /// First register of slot 0: BASE + slot * STRIDE, laid out as hwif::slot says.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Base(pub u32);

    impl Register for Base {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x14;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00003000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Base {
        /// Byte offset in BAR0. Bits 31:0.
        #[must_use]
        pub const fn offset(self) -> u32 {
            self.0
        }
        /// Copy with `offset` set to `bits`.
        #[must_use]
        pub const fn with_offset(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Bytes from a slot's registers to the next's.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Stride(pub u32);

    impl Register for Stride {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x18;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000040;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl Stride {
        /// Bytes. Bits 31:0.
        #[must_use]
        pub const fn bytes(self) -> u32 {
            self.0
        }
        /// Copy with `bytes` set to `bits`.
        #[must_use]
        pub const fn with_bytes(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Largest image that can be downloaded, bytes.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ImageBytesMax(pub u32);

    impl Register for ImageBytesMax {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x1c;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl ImageBytesMax {
        /// Bytes. Bits 31:0.
        #[must_use]
        pub const fn value(self) -> u32 {
            self.0
        }
        /// Copy with `value` set to `bits`.
        #[must_use]
        pub const fn with_value(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }

    /// Longest time from a program or evict command to its completion. A card that takes longer is taken to hang.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct LoadLimit(pub u32);

    impl Register for LoadLimit {
        const BLOCK: BlockType = BLOCK_TYPE;
        const OFFSET: u32 = 0x20;
        const ACCESS: Access = Access::ReadOnly;
        const RESET: u32 = 0x00000000;
        fn from_bits(bits: u32) -> Self {
            Self(bits)
        }
        fn bits(self) -> u32 {
            self.0
        }
    }

    impl LoadLimit {
        /// Milliseconds. Bits 31:0.
        #[must_use]
        pub const fn ms(self) -> u32 {
            self.0
        }
        /// Copy with `ms` set to `bits`.
        #[must_use]
        pub const fn with_ms(self, bits: u32) -> Self {
            let _ = self;
            Self(bits)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn block_headers_carry_their_own_type() {
        assert_eq!(
            identity::BlockHeader(<identity::BlockHeader as Register>::RESET).block_type(),
            u32::from(identity::BLOCK_TYPE.0)
        );
        assert_eq!(
            capabilities::BlockHeader(<capabilities::BlockHeader as Register>::RESET).block_type(),
            u32::from(capabilities::BLOCK_TYPE.0)
        );
        assert_eq!(
            control::BlockHeader(<control::BlockHeader as Register>::RESET).block_type(),
            u32::from(control::BLOCK_TYPE.0)
        );
        assert_eq!(
            queue_control::BlockHeader(<queue_control::BlockHeader as Register>::RESET)
                .block_type(),
            u32::from(queue_control::BLOCK_TYPE.0)
        );
        assert_eq!(
            error::BlockHeader(<error::BlockHeader as Register>::RESET).block_type(),
            u32::from(error::BLOCK_TYPE.0)
        );
        assert_eq!(
            queue_counters::BlockHeader(<queue_counters::BlockHeader as Register>::RESET)
                .block_type(),
            u32::from(queue_counters::BLOCK_TYPE.0)
        );
        assert_eq!(
            doorbells::BlockHeader(<doorbells::BlockHeader as Register>::RESET).block_type(),
            u32::from(doorbells::BLOCK_TYPE.0)
        );
        assert_eq!(
            slots::BlockHeader(<slots::BlockHeader as Register>::RESET).block_type(),
            u32::from(slots::BLOCK_TYPE.0)
        );
    }
}
