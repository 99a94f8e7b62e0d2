//! What the codecs cost with nothing around them, in the same run, on the same blocks, on the servers' processor.
//!
//! Each rate is of one loop on one thread with its state made before: compress to gzip; decode with the fastest *other*
//! implementation at hand; compare. CPU time of the thread, so that a neighbour on the processor does not count.

use std::time::Duration;

use anyhow::Context;
use faam_codec::{
    BlockChecksum, Engine, Format, IsalDecoder, IsalEngine, Level, Position, write_header,
    write_trailer,
};
use flate2::{Decompress, FlushDecompress, Status};
use libdeflater::{CompressionLvl, Compressor, Decompressor};
use serde::{Deserialize, Serialize};

use crate::pool::Pool;
use crate::process::{allow_cpus, allowed_cpus, pin_thread, thread_cpu_time};
use crate::statistics::count;

/// A gzip member's header as these codecs write it: no name, no extra field (RFC 1952).
const GZIP_HEADER_BYTES: usize = 10;
/// CRC-32 and length (RFC 1952).
const GZIP_TRAILER_BYTES: usize = 8;
/// CPU time of one measurement at most; whole blocks, at least [`BLOCKS_MIN`].
const BUDGET: Duration = Duration::from_millis(400);
/// Blocks of one measurement at least: as many as make the mix of a pool.
const BLOCKS_MIN: usize = 2;

/// A raw codec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Codec {
    /// ISA-L 1, as the codec crate binds it.
    Isal1,
    /// libdeflate 1.
    Libdeflate1,
    /// libdeflate 6.
    Libdeflate6,
}

impl Codec {
    /// Its name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Isal1 => "isa-l 1",
            Self::Libdeflate1 => "libdeflate 1",
            Self::Libdeflate6 => "libdeflate 6",
        }
    }

    /// All that this build has, on this machine.
    pub(crate) fn all() -> Vec<Self> {
        let isal = IsalEngine::new().map(|_| Self::Isal1);
        isal.into_iter()
            .chain([Self::Libdeflate1, Self::Libdeflate6])
            .collect()
    }

    /// The codec behind an HTTP level of ours, if it is one of these.
    pub(crate) fn of_level(level: u8) -> Option<Self> {
        let engine = crate::contender::cpu_engine(level);
        Self::all().into_iter().find(|codec| codec.name() == engine)
    }
}

/// Costs of a codec on one size of block.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Anchor {
    /// Which.
    pub(crate) codec: Codec,
    /// CPU seconds a million input bytes: compressing, gzip with its CRC.
    pub(crate) compress_s_per_mb: f64,
    /// Decoding by the fastest other implementation.
    pub(crate) decode_s_per_mb: f64,
    /// Comparing what was decoded with the input; zero where the decoder compares as it goes.
    pub(crate) compare_s_per_mb: f64,
    /// Bytes in over bytes out.
    pub(crate) ratio: f64,
    /// Who decoded.
    pub(crate) decoder: Decoder,
}

impl Anchor {
    /// Millions of bytes a CPU second, compressing alone.
    pub(crate) fn compress_mb_per_s(&self) -> f64 {
        1.0 / self.compress_s_per_mb
    }

    /// Decoding and comparing, as text: millions of bytes a CPU second.
    pub(crate) fn verify_text(&self) -> String {
        let decode = 1.0 / self.decode_s_per_mb;
        if self.compare_s_per_mb > 0.0 {
            let compare = 1.0 / self.compare_s_per_mb;
            format!(
                "decode ({:?}) {decode:.0}, compare {compare:.0}",
                self.decoder
            )
        } else {
            format!("decode and compare ({:?}) {decode:.0}", self.decoder)
        }
    }
}

/// An implementation that decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Decoder {
    /// zlib-rs.
    ZlibRs,
    /// libdeflate.
    Libdeflate,
    /// ISA-L, as the codec crate binds it.
    IsaL,
}

/// Measures every codec of this build on `pool`, bound to processor `cpu`.
///
/// # Errors
/// A codec failed, or did not give back what it was given.
pub(crate) fn measure(pool: &Pool, cpu: usize) -> anyhow::Result<Vec<Anchor>> {
    let before = allowed_cpus()?;
    pin_thread(cpu)?;
    let anchors = Codec::all()
        .into_iter()
        .map(|codec| one(codec, pool))
        .collect();
    allow_cpus(&before)?;
    anchors
}

fn one(codec: Codec, pool: &Pool) -> anyhow::Result<Anchor> {
    let mut compress = compressor(codec)?;
    let largest = pool.blocks().iter().map(bytes::Bytes::len).max();
    let mut out = vec![0; largest.unwrap_or_default() + (64 << 10)];
    // The first block makes the state warm and is not counted.
    compress(pool.block(0), &mut out)?;
    let (mut spent, mut bytes_in, mut bytes_out) = (Duration::ZERO, 0, 0);
    let mut compressed = Vec::new();
    for (number, block) in pool.blocks().iter().enumerate() {
        if number >= BLOCKS_MIN && spent > BUDGET {
            break;
        }
        let began = thread_cpu_time();
        let length = compress(block, &mut out)?;
        spent += thread_cpu_time().saturating_sub(began);
        bytes_in += block.len();
        bytes_out += length;
        compressed.push(out.get(..length).unwrap_or_default().to_vec());
    }
    let per_mb = |time: Duration| time.as_secs_f64() * 1e6 / count(bytes_in);
    let decoders = match codec {
        Codec::Isal1 => vec![Decoder::Libdeflate, Decoder::ZlibRs],
        Codec::Libdeflate1 | Codec::Libdeflate6 if IsalEngine::new().is_some() => {
            vec![Decoder::ZlibRs, Decoder::IsaL]
        }
        Codec::Libdeflate1 | Codec::Libdeflate6 => vec![Decoder::ZlibRs],
    };
    let mut best: Option<(Duration, Duration, Decoder)> = None;
    for decoder in decoders {
        let (decode, compare) = verify(decoder, pool, &compressed)
            .with_context(|| format!("{} decoded by {decoder:?}", codec.name()))?;
        if best.is_none_or(|(before, more, _)| decode + compare < before + more) {
            best = Some((decode, compare, decoder));
        }
    }
    let (decode, compare, decoder) = best.context("no decoder")?;
    Ok(Anchor {
        codec,
        compress_s_per_mb: per_mb(spent),
        decode_s_per_mb: per_mb(decode),
        compare_s_per_mb: per_mb(compare),
        ratio: count(bytes_in) / count(bytes_out.max(1)),
        decoder,
    })
}

type Compress = Box<dyn FnMut(&[u8], &mut [u8]) -> anyhow::Result<usize>>;

/// Makes a gzip member in the space that it is given.
fn compressor(codec: Codec) -> anyhow::Result<Compress> {
    let level = match codec {
        Codec::Libdeflate1 => 1,
        Codec::Libdeflate6 => 6,
        Codec::Isal1 => return isal(),
    };
    let level = CompressionLvl::new(level).map_err(|_| anyhow::anyhow!("no level {level}"))?;
    let mut compressor = Compressor::new(level);
    Ok(Box::new(move |block, out| {
        Ok(compressor.gzip_compress(block, out)?)
    }))
}

/// ISA-L makes raw DEFLATE here; header and checksum are laid around it, as a gzip member has them.
fn isal() -> anyhow::Result<Compress> {
    let mut engine = IsalEngine::new().context("this machine has no ISA-L")?;
    let level = Level::new(1)?;
    let mut member = Vec::new();
    Ok(Box::new(move |block, out| {
        member.clear();
        write_header(Format::Gzip, level, &mut member);
        engine.compress_block(block, level, Position::Last, &mut member)?;
        write_trailer(&BlockChecksum::of(Format::Gzip, block), &mut member);
        let space = out.get_mut(..member.len());
        space
            .context("no space for a member")?
            .copy_from_slice(&member);
        Ok(member.len())
    }))
}

/// Decodes all, timed, and compares, timed apart.
fn verify(
    decoder: Decoder,
    pool: &Pool,
    compressed: &[Vec<u8>],
) -> anyhow::Result<(Duration, Duration)> {
    let largest = pool.blocks().iter().map(bytes::Bytes::len).max();
    let mut decoded = vec![0; largest.unwrap_or_default()];
    let mut libdeflate = Decompressor::new();
    let mut zlib = Decompress::new(false);
    let mut isal = IsalDecoder::new();
    let (mut decode, mut compare) = (Duration::ZERO, Duration::ZERO);
    for (block, member) in pool.blocks().iter().zip(compressed) {
        let end = member.len().saturating_sub(GZIP_TRAILER_BYTES);
        let stream = member.get(GZIP_HEADER_BYTES..end).unwrap_or_default();
        let began = thread_cpu_time();
        let length = match decoder {
            Decoder::IsaL => {
                isal.as_mut()
                    .and_then(|isal| isal.decode(stream, &mut decoded))
                    .context("ISA-L decodes no stream")?
                    .produced
            }
            Decoder::Libdeflate => libdeflate.deflate_decompress(stream, &mut decoded)?,
            Decoder::ZlibRs => {
                zlib.reset(false);
                let status = zlib.decompress(stream, &mut decoded, FlushDecompress::Finish)?;
                anyhow::ensure!(status == Status::StreamEnd, "no end of the stream");
                usize::try_from(zlib.total_out())?
            }
        };
        let between = thread_cpu_time();
        let equal = decoded.get(..length) == Some(block.as_ref());
        compare += thread_cpu_time().saturating_sub(between);
        decode += between.saturating_sub(began);
        anyhow::ensure!(equal, "a raw codec gave other bytes back");
    }
    Ok((decode, compare))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::pool::{Corpus, Data};

    #[test]
    fn every_codec_is_measured_on_real_blocks() {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample");
        let corpus = Corpus::load(Path::new("/nonexistent"), &sample).expect("the sample");
        let pool = corpus.pool(Data::Mixed, 4 << 20);
        let cpu = *allowed_cpus().expect("some").first().expect("one");
        let anchors = measure(&pool, cpu).expect("measured");
        assert_eq!(anchors.len(), Codec::all().len());
        for anchor in &anchors {
            assert!(anchor.ratio > 1.5, "{anchor:?}");
            assert!(anchor.compress_s_per_mb > 0.0 && anchor.decode_s_per_mb > 0.0);
        }
        let of = |codec| anchors.iter().find(|anchor| anchor.codec == codec);
        let (fast, dense) = (of(Codec::Libdeflate1), of(Codec::Libdeflate6));
        let ratio = |anchor: Option<&Anchor>| anchor.map_or(0.0, |anchor| anchor.ratio);
        assert!(ratio(dense) > ratio(fast));
        assert_eq!(
            allowed_cpus().expect("as before").len() > 1,
            allowed_cpus().expect("same").len() > 1
        );
    }
}
