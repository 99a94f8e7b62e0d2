//! What a queue pair's worker pulls from the scheduler, and where its results go.
//!
//! Owns the translation between a job and a card's kernels. Runs on the driver's
//! worker thread, so nothing here blocks: results are handed to the CPU pool,
//! which verifies them. Invariant: a job taken here is either claimed or failed, once.

use std::sync::Arc;
use std::time::Duration;

use faam_codec::{Format, Level, Position, output_bytes_max};
use faam_driver::{DeviceFault, Job, JobSource, Kernel as CardKernel, Outcome, Request};
use faam_hwif::{CardLevel, JOB_BYTES_MAX, Status, WireFormat};
use faam_sched::TargetIndex;

use crate::card_claim::{CardRefusal, CardResult, Claim};
use crate::job::{CARD_LEVEL_FAST_MAX, EngineId, Kernel};
use crate::job_queue::JobQueue;
use crate::pending_job::RunningJob;

/// One function's view of the scheduler.
pub(crate) struct CardQueue {
    pub(crate) jobs: Arc<JobQueue>,
    pub(crate) target: TargetIndex,
    pub(crate) engine: EngineId,
    /// Which life of the function this queue serves.
    pub(crate) life: u64,
    /// Clock of its engines.
    pub(crate) clock_khz: u32,
    /// What its commands' limits are multiplied by.
    pub(crate) limit_factor: u32,
}

/// Commands of simulated gateware have so many times the limit: each clock of it is simulated, some half a million a second
/// of a core, which leaves a block of 128 KiB a quarter of a second where the cores are its own.
pub(crate) const RTL_LIMIT_FACTOR: u32 = 8;

impl JobSource for CardQueue {
    type Job = CardJob;

    fn next(&mut self) -> Option<CardJob> {
        let running = self
            .jobs
            .next_for_card(self.target, self.engine, self.life)?;
        Some(CardJob {
            jobs: Arc::clone(&self.jobs),
            running,
            clock_khz: self.clock_khz,
            limit_factor: self.limit_factor,
        })
    }
}

/// A job in a card's hands.
pub(crate) struct CardJob {
    jobs: Arc<JobQueue>,
    running: RunningJob,
    clock_khz: u32,
    limit_factor: u32,
}

impl Job for CardJob {
    fn request(&self) -> Request<'_> {
        let spec = &self.running.job.spec;
        let (kernel, output_bytes_max) = match spec.kernel {
            Kernel::Compress {
                level, position, ..
            } => (
                CardKernel::Compress {
                    level: card_level(level),
                    format: WireFormat::Raw,
                    last: position == Position::Last,
                },
                output_bytes_max(spec.input.len()),
            ),
            Kernel::Decompress { format, limits } => (
                CardKernel::Decompress {
                    format: wire_format(format),
                },
                // A byte over the caller's limit, so that passing it is seen.
                usize::try_from(limits.output_bytes_max.saturating_add(1))
                    .unwrap_or(usize::MAX)
                    .min(JOB_BYTES_MAX as usize),
            ),
            // Placement keeps streams off cards. What one made of a part would not be believed.
            Kernel::CompressPart { .. } | Kernel::DecompressPart { .. } => (
                CardKernel::Decompress {
                    format: WireFormat::Raw,
                },
                1,
            ),
        };
        Request {
            kernel,
            input: &spec.input,
            output_bytes_max,
            context: self.running.job.context,
            timeout: self.running.command_limit.saturating_mul(self.limit_factor),
        }
    }

    fn complete(self, outcome: Outcome) {
        let Self {
            jobs,
            running,
            clock_khz,
            ..
        } = self;
        match outcome {
            Outcome::Done(done) => {
                let result = CardResult {
                    output: done.output,
                    consumed: done.consumed as usize,
                    crc32: done.crc32,
                    adler32: done.adler32,
                    device: done.device,
                    engine: at_clock(done.cycles, clock_khz),
                    transfer: done.transfer,
                };
                jobs.card_claims(running, Claim::Done(result));
            }
            Outcome::Data(refusal) if refusal.status == Status::OutputFull => {
                jobs.card_claims(running, Claim::Refused(CardRefusal::OutputFull));
            }
            Outcome::Data(refusal) => {
                let why = format!("{:?} at byte {}", refusal.status, refusal.info);
                jobs.card_claims(running, Claim::Refused(CardRefusal::Data(why)));
            }
            Outcome::Fault(DeviceFault::KernelAbsent) => jobs.card_lacks(running),
            Outcome::Fault(fault) => jobs.card_failed(running, fault.kind(), &fault.to_string()),
        }
    }
}

/// Time that cycles take. A card says both; what it says too much of is bounded where it is charged.
fn at_clock(cycles: u64, clock_khz: u32) -> Duration {
    let nanos = u128::from(cycles) * 1_000_000 / u128::from(clock_khz.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The card level that serves an HTTP level.
fn card_level(level: Level) -> CardLevel {
    match level.get() {
        ..=CARD_LEVEL_FAST_MAX => CardLevel::Fast,
        3..=5 => CardLevel::Balanced,
        _ => CardLevel::Dense,
    }
}

fn wire_format(format: Format) -> WireFormat {
    match format {
        // zstd and lz4 are not placed on cards; a card would refuse them, and the CPU judge the refusal.
        Format::Deflate | Format::Zstd | Format::Lz4 => WireFormat::Raw,
        Format::Zlib => WireFormat::Zlib,
        Format::Gzip => WireFormat::Gzip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cycles_are_time_at_the_clock() {
        assert_eq!(at_clock(250_000, 250_000), Duration::from_millis(1));
        assert_eq!(at_clock(u64::MAX, 0), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn levels_map_as_the_contract_says() {
        let of = |n| card_level(Level::new(n).unwrap());
        assert_eq!([of(1), of(2)], [CardLevel::Fast; 2]);
        assert_eq!([of(3), of(4), of(5)], [CardLevel::Balanced; 3]);
        assert_eq!([of(6), of(7), of(8), of(9)], [CardLevel::Dense; 4]);
    }
}
