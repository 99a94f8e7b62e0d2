//! What a job asks of the scheduler: where it may run, of which kind it is, how urgent it is.
//!
//! It knows what cards can do, and nothing of how jobs are ordered.

use faam_codec::Format;
use faam_sched::{JobRequest, JobShape, KernelClass, Placement, TargetSet};

use super::JobQueue;
use crate::job::{BackendPolicy, CARD_LEVEL_MAX, JobError, JobSpec, Kernel, beyond_card_text};

impl JobQueue {
    /// Where a job may run.
    pub(crate) fn placement(&self, spec: &JobSpec) -> Result<Placement, JobError> {
        let cpu = TargetSet::of(self.cpu);
        let beyond = match &spec.kernel {
            Kernel::Compress { level, .. } if level.get() > CARD_LEVEL_MAX => Some(format!(
                "no card serves level {}; use level 1 to {CARD_LEVEL_MAX}, or let the CPU serve it (Faam-Backend: auto)",
                level.get()
            )),
            Kernel::CompressPart { format, .. } => Some(format!(
                "no card serves {format}; use gzip, zlib or deflate, or let the CPU serve it (Faam-Backend: auto)"
            )),
            Kernel::DecompressPart { .. } => Some(beyond_card_text()),
            Kernel::Decompress { .. } if spec.input.len() > faam_hwif::JOB_BYTES_MAX as usize => {
                Some(beyond_card_text())
            }
            _ => None,
        };
        Ok(match (spec.policy, beyond) {
            (BackendPolicy::RequireHardware, Some(why)) => return Err(JobError::BeyondCard(why)),
            (BackendPolicy::RequireHardware, None) => Placement::any_of(self.all_cards),
            (BackendPolicy::Cpu, _) | (_, Some(_)) => Placement::any_of(cpu),
            (BackendPolicy::Auto, None) => Placement::any_of(cpu.union(self.all_cards)),
            (BackendPolicy::PreferHardware, None) => Placement {
                allowed: cpu.union(self.all_cards),
                preferred: self.all_cards,
            },
        })
    }
}

/// What the scheduler is asked for a job.
pub(super) fn request_of(spec: &JobSpec, placement: Placement) -> JobRequest {
    JobRequest {
        shape: JobShape {
            kernel: class_of(&spec.kernel),
            bytes: spec.input.len(),
        },
        placement,
        priority: spec.priority,
    }
}

/// Prediction class: a number a kernel, format aside where it makes no difference, and level.
fn class_of(kernel: &Kernel) -> KernelClass {
    let format_class = |format: Option<Format>| match format {
        Some(Format::Zstd) => 0x100,
        Some(Format::Lz4) => 0x200,
        Some(Format::Gzip | Format::Zlib | Format::Deflate) | None => 0,
    };
    const DECOMPRESS: u16 = 0x80;
    const PART: u16 = 0x40;
    KernelClass(match kernel {
        Kernel::Compress { level, .. } => u16::from(level.get()),
        Kernel::CompressPart { format, level, .. } => {
            format_class(Some(*format)) + PART + u16::from(level.get())
        }
        Kernel::Decompress { .. } => DECOMPRESS,
        Kernel::DecompressPart { stage, .. } => {
            let format = stage.as_ref().and_then(|stage| stage.0.format());
            format_class(format) + DECOMPRESS + PART
        }
    })
}
