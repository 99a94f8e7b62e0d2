//! What an image says of itself: `manifest.json`.
//!
//! Invariants: every text, list and number has a bound; a member that is not known, or is there twice, is refused; a manifest has
//! one encoding, the one that [`Manifest::encode`] writes. It is parsed only behind a signature (`package`), and believed only as far
//! as whoever signed it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::archive::is_name;
use crate::derived_uuid;
use crate::key::{KeyId, unhex, unhex_any};
use crate::refusal::ImageRefusal;

/// The generation of manifests that this crate reads and writes.
pub const SCHEMA: u32 = 1;
/// The manifest's own name.
pub(crate) const MANIFEST_FILE: &str = "manifest.json";
/// Files of an image, its payload included.
pub const FILES_MAX: usize = 16;
/// Bytes of a self-test's input.
pub const GOLDEN_BYTES_MAX: usize = 4096;
/// Engines in an image.
const ENGINES_MAX: u16 = 64;
/// Characters of a text.
const TEXT_CHARS_MAX: usize = 256;
/// Items of a list or a table.
const ITEMS_MAX: usize = 32;

macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl Serialize for $kind {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $kind {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                String::deserialize(from)?.parse().map_err(D::Error::custom)
            }
        }
    )*};
}

as_text!(Abi, Idcode);

/// A version of the host-device contract: what differs in the first number does not work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Abi {
    /// Breaking changes.
    pub major: u16,
    /// Compatible additions.
    pub minor: u16,
}

impl Abi {
    /// Whether what has this version serves what needs that one.
    #[must_use]
    pub const fn serves(self, needs: Self) -> bool {
        self.major == needs.major && self.minor >= needs.minor
    }
}

impl fmt::Display for Abi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for Abi {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (major, minor) = text.split_once('.')?;
            Some(Self {
                major: major.parse().ok()?,
                minor: minor.parse().ok()?,
            })
        };
        parse().ok_or_else(|| format!("expected an ABI such as \"1.0\", got {:?}", cut(text)))
    }
}

/// A device's JTAG identification (IEEE 1149.1, 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Idcode(pub u32);

impl fmt::Display for Idcode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

impl FromStr for Idcode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 8);
        digits
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .map(Self)
            .ok_or_else(|| {
                format!(
                    "expected an idcode such as \"0x41113043\", got {:?}",
                    cut(text)
                )
            })
    }
}

/// How an image gets into a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageKind {
    /// It is all of the device.
    Full,
    /// It is one region's, beside a shell.
    Partial,
    /// It is what a simulated card's slot takes: no gateware.
    Sim,
}

impl fmt::Display for ImageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Partial => "partial",
            Self::Sim => "sim",
        })
    }
}

/// Jobs that a slot with an image serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serves {
    /// Compression with the fixed code.
    Fast,
    /// Compression with loaded tables, and histograms.
    Tables,
    /// Decompression.
    Inflate,
}

impl Serves {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Fast, Self::Tables, Self::Inflate];

    /// Its bit in a slot's register.
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self {
            Self::Fast => 1,
            Self::Tables => 2,
            Self::Inflate => 4,
        }
    }

    /// As it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Tables => "tables",
            Self::Inflate => "inflate",
        }
    }
}

/// The static region that an image goes beside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shell {
    /// Its name; `none` where the image is all of the device.
    pub name: String,
    /// Its id, as the device's register has it.
    pub id: u32,
}

/// The device that an image is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Such as `ECP5`.
    pub family: String,
    /// Such as `LFE5U-85F`.
    pub part: String,
    /// Such as `CABGA756`.
    pub package: String,
    /// Speed grade.
    pub speed: String,
    /// What the device answers.
    pub idcode: Idcode,
}

/// A PCI function that may hold the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PciId {
    /// Vendor.
    pub vendor: u16,
    /// Device.
    pub device: u16,
}

/// The engines' clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// That the tools were asked for.
    pub requested_khz: u32,
    /// That timing closed at; left out where nothing was placed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub achieved_khz: Option<u32>,
}

/// What the engines do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Codecs {
    /// Card levels.
    pub levels: Vec<String>,
    /// Huffman codes: `fixed`, `loaded`.
    pub huffman: Vec<String>,
    /// Window, bytes.
    pub window_bytes: u32,
    /// Largest job, bytes.
    pub job_bytes_max: u32,
    /// By how much data can grow.
    pub worst_expansion: WorstExpansion,
}

/// Bytes that an answer may have more than its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorstExpansion {
    /// A frame: header and trailer.
    pub frame_bytes: u32,
    /// A stored block's header.
    pub block_bytes: u32,
    /// Every so many bytes of source.
    pub every_bytes: u32,
}

/// What a self-test asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GoldenJob {
    /// A compress job: gzip, one block, fixed code, 8K sets, lazy.
    Compress,
    /// A count job, 8K sets, lazy: the histogram's bytes.
    Count,
    /// A decompress job: gzip in, its data out.
    Decompress,
}

/// A job whose output is known: what is loaded has to come to the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// Which job.
    pub job: GoldenJob,
    /// Ways of its matcher; left out where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ways: Option<u8>,
    /// Its input, in hexadecimal digits.
    pub input: String,
    /// SHA-256 of its output.
    pub output_sha256: String,
}

impl Golden {
    /// The input's bytes.
    #[must_use]
    pub fn input_bytes(&self) -> Vec<u8> {
        unhex_any(&self.input).unwrap_or_default()
    }

    /// The output's SHA-256; `None` where it is none, which no manifest that was read has.
    #[must_use]
    pub fn output_sha256_bytes(&self) -> Option<[u8; 32]> {
        unhex::<32>(&self.output_sha256)
    }
}

/// A file of the package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
    /// Their SHA-256.
    pub sha256: String,
}

/// See the module's head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA`]
    pub schema: u32,
    /// The kernel's name.
    pub name: String,
    /// The image's version, for people.
    pub version: String,
    /// This image: made of all that stands here but who signs it.
    pub image: Uuid,
    /// What it computes, whatever the device.
    pub kernel: Uuid,
    /// Hash of the register map and the entries that it speaks.
    pub interface: Uuid,
    /// The least driver ABI that it works with.
    pub driver_abi_min: Abi,
    /// Rises with each mend that nobody should go back behind.
    pub security_version: u32,
    /// The key that signs it.
    pub signer: KeyId,
    /// How it is loaded.
    pub kind: ImageKind,
    /// Beside what.
    pub shell: Shell,
    /// Into what.
    pub target: Target,
    /// Functions that may hold it; any where there are none.
    pub pci: Vec<PciId>,
    /// Its clock.
    pub clock: Clock,
    /// Resources that it takes, by their names.
    pub area: BTreeMap<String, u64>,
    /// The placer's seed.
    pub seed: u64,
    /// Engines in it.
    pub engines: u16,
    /// Jobs that a slot with it serves.
    pub serves: Vec<Serves>,
    /// What the engines do.
    pub codecs: Codecs,
    /// Revision of the algorithm's specification.
    pub algorithm: String,
    /// A job whose output is known: a kernel that was loaded has to come to it, beside what the driver's own self-test asks.
    pub golden: Golden,
    /// Which of the files is programmed.
    pub payload: String,
    /// Every file of the package, in their order there.
    pub files: Vec<FileEntry>,
    /// SHA-256 over what it was built from.
    pub source_sha256: String,
    /// Tools and their versions.
    pub tools: BTreeMap<String, String>,
    /// What has to be said of it.
    pub notes: Vec<String>,
}

/// What is looked at before anything else.
#[derive(Deserialize)]
struct Generation {
    schema: u64,
}

impl Manifest {
    /// Its one encoding.
    ///
    /// # Errors
    /// serde's, which no manifest meets.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec_pretty(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// From bytes whose signature holds.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ImageRefusal> {
        let bad = |error: serde_json::Error| ImageRefusal::BadManifest {
            what: cut(&error.to_string()),
        };
        let Generation { schema } = serde_json::from_slice(bytes).map_err(bad)?;
        if schema != u64::from(SCHEMA) {
            return Err(ImageRefusal::UnsupportedSchema { got: schema });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(bad)?;
        manifest
            .check()
            .map_err(|what| ImageRefusal::BadManifest { what })?;
        match manifest.encode().map_err(bad)? == bytes {
            true => Ok(manifest),
            false => Err(ImageRefusal::BadManifest {
                what: "it is not written as `faam image build` writes it".to_owned(),
            }),
        }
    }

    /// The bits of what it serves.
    #[must_use]
    pub fn serves_bits(&self) -> u8 {
        self.serves.iter().fold(0, |bits, job| bits | job.bit())
    }

    /// The id that it has to have.
    pub(crate) fn derived_image(&self) -> Result<Uuid, serde_json::Error> {
        let unsigned = Self {
            image: Uuid::nil(),
            signer: KeyId::NONE,
            ..self.clone()
        };
        Ok(derived_uuid(b"faam-image\0", &unsigned.encode()?))
    }

    /// Whether all is within its bounds and agrees with itself.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.check_texts()?;
        self.check_numbers()?;
        self.check_files()?;
        let derived = self.derived_image().map_err(|error| error.to_string())?;
        match derived == self.image {
            true => Ok(()),
            false => Err(format!(
                "image is {}, expected the id of what it says, {derived}",
                self.image
            )),
        }
    }

    fn check_texts(&self) -> Result<(), String> {
        let Self { codecs, target, .. } = self;
        if !crate::is_kernel_name(&self.name) {
            return Err(format!(
                "name is {:?}, expected small letters, digits, dots, - and _",
                cut(&self.name)
            ));
        }
        let lists = [
            ("codecs.levels", &codecs.levels),
            ("codecs.huffman", &codecs.huffman),
            ("notes", &self.notes),
        ];
        let counts = [
            ("pci", self.pci.len()),
            ("area", self.area.len()),
            ("tools", self.tools.len()),
        ];
        let counted = lists.iter().map(|(name, list)| (*name, list.len()));
        for (name, count) in counted.chain(counts) {
            if count > ITEMS_MAX {
                return Err(format!(
                    "{name} has {count} items, expected {ITEMS_MAX} at most"
                ));
            }
        }
        let texts = [
            ("version", &self.version),
            ("shell.name", &self.shell.name),
            ("target.family", &target.family),
            ("target.part", &target.part),
            ("target.package", &target.package),
            ("target.speed", &target.speed),
            ("algorithm", &self.algorithm),
        ];
        let listed = lists
            .iter()
            .flat_map(|(name, list)| list.iter().map(|text| (*name, text)));
        let tabled = self
            .tools
            .iter()
            .flat_map(|(key, value)| [("tools", key), ("tools", value)])
            .chain(self.area.keys().map(|key| ("area", key)));
        for (name, text) in texts.into_iter().chain(listed).chain(tabled) {
            let chars = text.chars().count();
            if !(1..=TEXT_CHARS_MAX).contains(&chars) || text.chars().any(char::is_control) {
                return Err(format!(
                    "{name} is {:?}, expected 1 to {TEXT_CHARS_MAX} printable characters",
                    cut(text)
                ));
            }
        }
        Ok(())
    }

    fn check_numbers(&self) -> Result<(), String> {
        if !(1..=ENGINES_MAX).contains(&self.engines) {
            return Err(format!(
                "engines is {}, expected 1 to {ENGINES_MAX}",
                self.engines
            ));
        }
        let serves: BTreeSet<_> = self.serves.iter().copied().collect();
        if serves.is_empty() || !serves.iter().eq(&self.serves) {
            return Err(
                "serves: expected some of fast, tables, inflate, each once and in this order"
                    .to_owned(),
            );
        }
        let golden = &self.golden;
        match unhex_any(&golden.input).map(|input| input.len()) {
            Some(bytes) if bytes <= GOLDEN_BYTES_MAX => {}
            _ => {
                return Err(format!(
                    "golden.input: expected at most {GOLDEN_BYTES_MAX} bytes in small hexadecimal digits"
                ));
            }
        }
        let has_ways = golden.ways.is_some_and(|ways| (1..=4).contains(&ways));
        if has_ways == (golden.job == GoldenJob::Decompress) {
            return Err("golden.ways: expected 1 to 4, and none of a decompress job".to_owned());
        }
        let sums = [
            ("golden.output_sha256", &golden.output_sha256),
            ("source_sha256", &self.source_sha256),
        ];
        sums.into_iter()
            .try_for_each(|(name, sum)| is_sha256(name, sum))
    }

    fn check_files(&self) -> Result<(), String> {
        if self.files.len() > FILES_MAX {
            return Err(format!(
                "files has {} of them, expected {FILES_MAX} at most",
                self.files.len()
            ));
        }
        if self.files.first().map(|file| &file.name) != Some(&self.payload) {
            return Err("payload: expected the first one of files".to_owned());
        }
        let mut names = BTreeSet::new();
        for FileEntry { name, sha256, .. } in &self.files {
            let is_ours = name == MANIFEST_FILE || name == crate::signature::SIGNATURE_FILE;
            if !is_name(name) || is_ours {
                return Err(format!("files: {:?} is no name of a file", cut(name)));
            }
            if !names.insert(name) {
                return Err(format!("files: {name} is there twice"));
            }
            is_sha256(name, sha256)?;
        }
        Ok(())
    }
}

fn is_sha256(name: &str, text: &str) -> Result<(), String> {
    match unhex::<32>(text) {
        Some(_) => Ok(()),
        None => Err(format!(
            "{name}: expected a SHA-256 of 64 small hexadecimal digits"
        )),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(160).collect()
}
