//! One job of a test: drawn at random, written to a file and read again.

use std::path::Path;

use faam_driver::huffman::{self, Coverage, HuffmanTable};
use faam_dv::{Configuration, Job, JobKind, Stall, Stalls};
use faam_sim::model::{self, Params};
use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::jobs::data::Bytes;
use crate::tables;

/// Bytes of history at most.
const HISTORY_BYTES_MAX: usize = 1 << 15;

/// What the job asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Count,
    Compress {
        format: u8,
        last: bool,
        sync: bool,
        table: Option<Hex>,
    },
}

/// Room for the output, by what the job needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Room {
    /// More than any job needs.
    Ample,
    /// All that a 32-bit length can say.
    Endless,
    /// Exactly what the output comes to.
    Exact,
    /// So many bytes fewer.
    Short(usize),
    /// So many bytes.
    Bytes(usize),
}

/// Bytes that a file shows as hex digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl std::fmt::Debug for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        hex.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl TryFrom<String> for Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
        let byte = |pair: &[u8]| Some(digit(pair.first()?)? << 4 | digit(pair.get(1)?)?);
        let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(byte).collect();
        bytes
            .map(Self)
            .ok_or_else(|| "expected pairs of hex digits".to_owned())
    }
}

/// How the streams stall: every probability of [`Stalls`], as plain numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) seed: u64,
    /// Input, output, fetch, done: chance that a stall begins, longest stall, ready after valid only.
    pub(crate) streams: [(u16, u16, bool); 4],
    pub(crate) short_of_256: u16,
}

impl Flow {
    pub(crate) const FREE: Self = Self {
        seed: 0,
        streams: [(0, 0, false); 4],
        short_of_256: 0,
    };

    fn draw(rng: &mut Rng) -> Self {
        let mut stream = || match rng.u32(0..6) {
            0 | 1 => (0, 0, false),
            2 => (rng.u16(1..100), 2, rng.bool()),
            3 => (rng.u16(1..30), 12, false),
            4 => (2, 200, false),
            _ => (0, 0, true),
        };
        let streams = [stream(), stream(), stream(), stream()];
        let short_of_256 = if rng.bool() { 0 } else { rng.u16(0..=256) };
        if rng.u8(0..4) == 0 {
            return Self::FREE;
        }
        Self {
            seed: rng.u64(..),
            streams,
            short_of_256,
        }
    }

    pub(crate) fn stalls(&self) -> Stalls {
        let [input, output, fetch, done] = self
            .streams
            .map(|(begins, cycles, after_valid)| Stall::new(begins, cycles, after_valid));
        Stalls {
            seed: self.seed,
            input,
            output,
            fetch,
            done,
            short_of_256: self.short_of_256,
        }
    }
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) kind: Kind,
    /// Of which kinds its bytes and its table are, for people.
    pub(crate) of: String,
    pub(crate) source: Hex,
    pub(crate) history: Hex,
    pub(crate) ways: u8,
    pub(crate) lazy: bool,
    pub(crate) scrub: bool,
    pub(crate) room: Room,
    pub(crate) flow: Flow,
}

impl Case {
    /// A job of the plainest kind.
    pub(crate) fn plain(source: &[u8], configuration: Configuration) -> Self {
        Self {
            kind: Kind::Compress {
                format: 0,
                last: true,
                sync: false,
                table: None,
            },
            of: "plain".to_owned(),
            source: Hex(source.to_vec()),
            history: Hex(Vec::new()),
            ways: u8::try_from(configuration.ways).unwrap(),
            lazy: configuration.lazy,
            scrub: false,
            room: Room::Ample,
            flow: Flow::FREE,
        }
    }

    /// Any job that an engine of this configuration takes.
    pub(crate) fn draw(
        rng: &mut Rng,
        bytes: &Bytes,
        configuration: Configuration,
        most: usize,
    ) -> Self {
        let (kind_of_bytes, source) = bytes.draw(rng, most);
        let mut of = kind_of_bytes.to_owned();
        let ways = rng.u8(1..=u8::try_from(configuration.ways).unwrap());
        let lazy = configuration.lazy && rng.u8(0..4) != 0;
        let is_count = configuration.tables && rng.u8(0..8) == 0;
        let format = if is_count { 0 } else { rng.u8(0..4) % 3 };
        let history = if format == 0 && rng.bool() {
            history(rng, bytes, &source)
        } else {
            Vec::new()
        };
        let last = rng.bool();
        let kind = if is_count {
            Kind::Count
        } else {
            let table = (configuration.tables && rng.bool()).then(|| {
                let (kind, block) = tables::draw(rng, |_| host_table(&source, &history));
                of = format!("{of}, table: {kind}");
                Hex(block)
            });
            Kind::Compress {
                format,
                last,
                sync: !last || rng.bool(),
                table,
            }
        };
        let room = match rng.u32(0..20) {
            0..=10 => Room::Ample,
            11 => Room::Endless,
            12..=14 => Room::Exact,
            15 | 16 => Room::Short(1),
            17 => Room::Short(rng.usize(1..40)),
            _ => Room::Bytes(rng.usize(0..64)),
        };
        Self {
            kind,
            of,
            source: Hex(source),
            history: Hex(history),
            ways,
            lazy,
            scrub: rng.u8(0..30) == 0,
            room,
            flow: Flow::draw(rng),
        }
    }

    /// The job for the engine, with this much room.
    pub(crate) fn job(&self, dst_cap: usize) -> Job<'_> {
        let kind = match &self.kind {
            Kind::Count => JobKind::Count,
            Kind::Compress {
                format,
                last,
                sync,
                table,
            } => JobKind::Compress {
                format: *format,
                last: *last,
                sync: *sync,
                table: table
                    .as_ref()
                    .map(|table| table.0.as_slice().try_into().unwrap()),
            },
        };
        Job {
            kind,
            source: &self.source.0,
            history: &self.history.0,
            ways: self.ways,
            lazy: self.lazy,
            scrub: self.scrub,
            dst_cap,
        }
    }

    pub(crate) fn params(&self, configuration: Configuration) -> Params {
        Params {
            hash_bits: configuration.hash_bits,
            ways: usize::from(self.ways),
            lazy: self.lazy,
        }
    }
}

/// Nothing, the source itself (so that matches reach over the seam), its end, or other bytes.
fn history(rng: &mut Rng, bytes: &Bytes, source: &[u8]) -> Vec<u8> {
    let mut history = match rng.u32(0..4) {
        0 => source.to_vec(),
        1 => source[source.len() / 2..].to_vec(),
        _ => bytes.draw(rng, HISTORY_BYTES_MAX).1,
    };
    if rng.u8(0..8) == 0 && !history.is_empty() {
        // The most that a job may have.
        history = history
            .iter()
            .copied()
            .cycle()
            .take(HISTORY_BYTES_MAX)
            .collect();
    }
    history.truncate(HISTORY_BYTES_MAX);
    history
}

/// The table that the host would load for these bytes: of the model's histogram, built by the driver.
pub(crate) fn host_table(source: &[u8], history: &[u8]) -> Vec<u8> {
    let params = Params {
        hash_bits: 13,
        ways: 4,
        lazy: true,
    };
    let (histogram, _) = model::Engine::new().count(source, history, params).unwrap();
    let histogram = huffman::Histogram::from_bytes(&histogram.to_bytes()).unwrap();
    let mut block = [0; tables::TABLE_BYTES];
    HuffmanTable::build(&histogram, Coverage::Whole).write_to(&mut block);
    block.to_vec()
}

/// Jobs that once broke something, in the order in which they did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    pub(crate) hash_bits: u32,
    pub(crate) ways: u32,
    pub(crate) lazy: bool,
    pub(crate) tables: bool,
    /// What went wrong.
    pub(crate) what: String,
    pub(crate) jobs: Vec<Case>,
}

impl Kept {
    pub(crate) fn new(configuration: Configuration, what: String, jobs: Vec<Case>) -> Self {
        let Configuration {
            hash_bits,
            ways,
            lazy,
            tables,
        } = configuration;
        Self {
            hash_bits,
            ways,
            lazy,
            tables,
            what,
            jobs,
        }
    }

    pub(crate) fn configuration(&self) -> Configuration {
        Configuration {
            hash_bits: self.hash_bits,
            ways: self.ways,
            lazy: self.lazy,
            tables: self.tables,
        }
    }

    pub(crate) fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn write(&self, path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, serde_json::to_string(self).unwrap()).unwrap();
    }
}
