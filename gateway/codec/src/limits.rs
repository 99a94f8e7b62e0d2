//! Bounds on what decompression may produce.
//!
//! Knows no decoder: who decodes asks where to stop, and what to say then.

use crate::decompress_error::DecompressError;

/// Most members (gzip) or frames (zstd, lz4) in one body. An empty member is 20 bytes and costs about a microsecond, so the
/// worst body of this many takes a second or so.
pub const MEMBERS_MAX: usize = 1 << 20;

/// Output up to this size is never refused for its ratio: small, highly repetitive bodies are honest.
pub const RATIO_FREE_BYTES: usize = 64 << 10;

/// Bounds on what decompression may produce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of output, all members together.
    pub output_bytes_max: u64,
    /// Most bytes of output a byte of input, above [`RATIO_FREE_BYTES`]. DEFLATE's own limit is 1032; zstd's and lz4's
    /// are far higher (a zstd block of 4 bytes makes 128 KiB).
    pub ratio_max: u32,
}

impl Limits {
    /// Where output must stop for an input of `input_len` bytes, and the error that says so.
    pub(crate) fn stop(&self, input_len: u64) -> (u64, DecompressError) {
        let by_ratio = input_len
            .saturating_mul(u64::from(self.ratio_max))
            .max(RATIO_FREE_BYTES as u64);
        if self.output_bytes_max <= by_ratio {
            (
                self.output_bytes_max,
                DecompressError::TooLarge {
                    output_bytes_max: self.output_bytes_max,
                },
            )
        } else {
            (
                by_ratio,
                DecompressError::RatioExceeded {
                    ratio_max: self.ratio_max,
                },
            )
        }
    }
}

/// Counts the bytes of one body on both sides, and holds them to the [`Limits`].
///
/// The ratio is judged at fixed places of the output, every [`RATIO_FREE_BYTES`], against the input that was
/// consumed by then: how the body was cut into pieces changes no verdict. Where the whole body's length
/// is known, that is what counts as input.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    limits: Limits,
    input_len: Option<u64>,
    consumed: usize,
    produced: u64,
}

impl Budget {
    pub(crate) fn new(limits: Limits, input_len: Option<u64>) -> Self {
        Self {
            limits,
            input_len,
            consumed: 0,
            produced: 0,
        }
    }

    /// Offset in the body of the next byte to be consumed.
    pub(crate) const fn consumed(&self) -> usize {
        self.consumed
    }

    pub(crate) const fn produced(&self) -> u64 {
        self.produced
    }

    /// Passes over the next `count` bytes of `input`.
    pub(crate) fn advance(&mut self, input: &mut &[u8], count: usize) {
        *input = input.get(count..).unwrap_or_default();
        self.consumed = self.consumed.saturating_add(count);
    }

    /// Takes back what a look ahead consumed: it will be consumed again.
    pub(crate) fn rewind(&mut self, count: usize) {
        self.consumed = self.consumed.saturating_sub(count);
    }

    /// As much of `room` as may be filled before the next [`check`](Self::check): to the next place where the ratio
    /// is judged, and one byte beyond the size limit at the most, which is enough to know that there is more.
    pub(crate) fn room_to_check(&self, room: usize) -> usize {
        let free = RATIO_FREE_BYTES as u64;
        let to_check = free - self.produced % free;
        let to_limit = self
            .limits
            .output_bytes_max
            .saturating_add(1)
            .saturating_sub(self.produced);
        usize::try_from(to_check.min(to_limit)).map_or(room, |most| room.min(most))
    }

    /// Counts output; at a place where the ratio is judged, judges.
    pub(crate) fn produce(&mut self, count: usize) -> Result<(), DecompressError> {
        self.produced = self.produced.saturating_add(count as u64);
        if self.produced.is_multiple_of(RATIO_FREE_BYTES as u64) {
            self.check()
        } else if self.produced > self.limits.output_bytes_max {
            Err(self.limits.stop(u64::MAX).1)
        } else {
            Ok(())
        }
    }

    /// Holds what was produced so far to both limits.
    pub(crate) fn check(&self) -> Result<(), DecompressError> {
        let (stop, error) = self
            .limits
            .stop(self.input_len.unwrap_or(self.consumed as u64));
        if self.produced > stop {
            Err(error)
        } else {
            Ok(())
        }
    }
}
