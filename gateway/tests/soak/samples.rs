//! What callers send: bodies of many sizes, and members of them by encoders that are not under test.
//!
//! Owns the bytes. Invariant: a member decodes to its sample, and each encoder is another than the gateway's engines of the
//! DEFLATE family (zlib-rs here; zstd and lz4 are their formats' own programs). It does not know what is asked of them.

use std::io::Write;
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use crate::dice::Dice;

/// Formats of the interface.
pub(crate) const FORMATS: [&str; 5] = ["gzip", "zlib", "deflate", "zstd", "lz4"];
/// Sizes: none, a byte, less than a block, a block and a byte, several blocks, more than is finished before its head.
const SIZES: [usize; 11] = [
    0,
    1,
    300,
    1 << 10,
    4 << 10,
    20 << 10,
    64 << 10,
    (128 << 10) + 1,
    300 << 10,
    1 << 20,
    3 << 20,
];
/// How often each size is drawn, of the sum: many small ones, and bytes mostly in large ones.
const WEIGHTS: [u64; 11] = [2, 2, 10, 20, 20, 14, 14, 8, 5, 3, 2];
/// Contents of each size.
const KINDS: usize = 2;

/// A body and its members.
pub(crate) struct Sample {
    pub(crate) plain: Vec<u8>,
    /// In the order of [`FORMATS`]; `None` where its encoder is not installed, and need not be.
    members: Vec<Option<Vec<u8>>>,
}

/// All of them.
pub(crate) struct Samples {
    all: Vec<Sample>,
    /// A gzip member whose checksum is wrong.
    pub(crate) corrupt: Vec<u8>,
}

impl Samples {
    pub(crate) fn make(seed: u64) -> Self {
        let mut dice = Dice::new(seed, u64::MAX);
        let mut all = Vec::new();
        for size in SIZES {
            for kind in 0..KINDS {
                let plain = match kind {
                    0 => text(size, &mut dice),
                    _ => mixture(size, &mut dice),
                };
                let members = FORMATS.map(|format| encode(format, &plain));
                all.push(Sample {
                    plain,
                    members: members.into(),
                });
            }
        }
        let mut corrupt = encode("gzip", &text(5000, &mut dice)).expect("zlib-rs is always there");
        let crc_at = corrupt.len() - 8;
        corrupt[crc_at] ^= 0x40;
        Self { all, corrupt }
    }

    /// Draws one's number.
    pub(crate) fn draw(dice: &mut Dice) -> usize {
        let mut at = dice.below(WEIGHTS.iter().sum());
        let size = WEIGHTS.iter().position(|weight| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        size.unwrap_or(0) * KINDS + usize::try_from(dice.below(KINDS as u64)).unwrap_or(0)
    }

    pub(crate) fn get(&self, number: usize) -> &Sample {
        &self.all[number]
    }
}

impl Sample {
    pub(crate) fn member(&self, format: &str) -> Option<&[u8]> {
        let number = FORMATS.iter().position(|other| *other == format)?;
        self.members.get(number)?.as_deref()
    }
}

fn encode(format: &str, plain: &[u8]) -> Option<Vec<u8>> {
    let level = Compression::new(6);
    let whole = "memory takes it";
    match format {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(plain).expect(whole);
            Some(encoder.finish().expect(whole))
        }
        "zlib" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(plain).expect(whole);
            Some(encoder.finish().expect(whole))
        }
        "deflate" => {
            let mut encoder = DeflateEncoder::new(Vec::new(), level);
            encoder.write_all(plain).expect(whole);
            Some(encoder.finish().expect(whole))
        }
        program => by_program(program, plain),
    }
}

/// A missing program is reported by the decoders, which need it too; here it leaves a member out.
fn by_program(program: &str, plain: &[u8]) -> Option<Vec<u8>> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(plain).expect("written");
    let child = Command::new(program)
        .args(["-q", "-c"])
        .stdin(file.reopen().expect("opened again"))
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .ok()?;
    let output = child.wait_with_output().ok()?;
    output.status.success().then_some(output.stdout)
}

/// Words in an order of their own.
fn text(size: usize, dice: &mut Dice) -> Vec<u8> {
    const WORDS: [&str; 8] = [
        "queue ",
        "doorbell ",
        "fence ",
        "epoch ",
        "arena ",
        "\n",
        "completion ",
        "0123456789 ",
    ];
    let mut bytes = Vec::with_capacity(size + 16);
    while bytes.len() < size {
        bytes.extend_from_slice(dice.pick(&WORDS).as_bytes());
        bytes.push(b'a' + u8::try_from(dice.below(26)).unwrap_or(0));
    }
    bytes.truncate(size);
    bytes
}

/// Stretches of text, of noise and of one byte.
fn mixture(size: usize, dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size + 4096);
    while bytes.len() < size {
        let stretch = usize::try_from(dice.between(1, 4096)).unwrap_or(1);
        match dice.below(3) {
            0 => bytes.extend(text(stretch, dice)),
            1 => bytes.extend((0..stretch).map(|_| dice.next().to_le_bytes()[0])),
            _ => {
                let byte = dice.next().to_le_bytes()[0];
                bytes.resize(bytes.len() + stretch, byte);
            }
        }
    }
    bytes.truncate(size);
    bytes
}
