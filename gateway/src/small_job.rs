//! Which jobs run at once on their caller's own thread, because handing them to another would take longer.
//!
//! Owns the bounds. What such jobs really take is measured, and judged by the scheduler.

use faam_codec::Format;

use crate::job::{JobSpec, Kernel};

/// Time up to which a job runs on its caller's thread, by what jobs like it were measured to take: about what waking
/// another one can take (300 us), and not so long that the thread's other connections would notice more than one block's time.
pub(crate) const HERE_MICROS_MAX: u64 = 1_500;
/// Highest level that runs there: libdeflate's from 10 on keep 9 MiB each a thread.
const HERE_LEVEL_MAX: u8 = 9;
/// Most output of a body that is decoded there. Nobody knows it before, so that it is held to: see [`crate::cpu::run_here`].
pub(crate) const HERE_OUTPUT_BYTES_MAX: u64 = 128 << 10;
/// Most input of such a body: input may make no output at all and work all the same (empty blocks with codes of their own), so
/// that the output's bound is not enough.
pub(crate) const HERE_DECODED_BYTES_MAX: usize = 32 << 10;

/// Most output of a body that answers to others wait for while it is decoded, by what the body says.
const AWAITED_OUTPUT_BYTES_MAX: u64 = 64 << 10;

/// What a body says that it makes, where its format has a place for that; what it says need not be so.
fn told_output(format: Format, input: &[u8]) -> Option<u64> {
    let length = input.last_chunk::<4>().filter(|_| format == Format::Gzip)?;
    Some(u64::from(u32::from_le_bytes(*length)))
}

/// Whether how long a job takes is known well enough by its input's size that others may wait for it. Of a decompression it is
/// the output that counts: one that does not tell its own, or tells of much, is waited for by nobody.
pub(crate) fn may_be_awaited(spec: &JobSpec) -> bool {
    match &spec.kernel {
        Kernel::Compress { .. } | Kernel::CompressPart { .. } => true,
        Kernel::Decompress { format, .. } => {
            told_output(*format, &spec.input).is_some_and(|bytes| bytes <= AWAITED_OUTPUT_BYTES_MAX)
        }
        Kernel::DecompressPart { .. } => false,
    }
}

/// Whether a thread that has other things to do may run a job at all, whatever was measured: with engines that are small, and
/// on data that cannot make much more of itself.
pub(crate) fn may_run_here(spec: &JobSpec) -> bool {
    match &spec.kernel {
        Kernel::Compress { level, .. } => level.get() <= HERE_LEVEL_MAX,
        // A zstd compressor is 2 to 44 MiB with the decoder that verifies, made for the body unless one like it is at hand.
        Kernel::CompressPart { format, .. } => *format == Format::Lz4,
        Kernel::Decompress { format, .. } => {
            let told = told_output(*format, &spec.input).unwrap_or(0);
            spec.input.len() <= HERE_DECODED_BYTES_MAX && told <= HERE_OUTPUT_BYTES_MAX
        }
        Kernel::DecompressPart { .. } => false,
    }
}
