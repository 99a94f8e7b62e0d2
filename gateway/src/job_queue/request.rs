//! What a job asks of the scheduler: where it may run, of which kind it is, how urgent it is.
//!
//! It knows what cards can do, and nothing of how jobs are ordered.

use std::time::Duration;

use faam_codec::{Format, Position};
use faam_hwif::Serves;
use faam_sched::{
    Abilities, Announced, Forecast, JobRequest, JobShape, KernelClass, Nanos, Placement, TargetSet,
};

use super::JobQueue;
use super::image_lists::{ImageList, of_kernels};
use crate::job::{
    AnnouncedCompression, BLOCK_BYTES, BackendPolicy, CARD_LEVEL_FAST_MAX, CARD_LEVEL_MAX,
    JobError, JobSpec, Kernel, beyond_card_text,
};
use crate::pending_job::PendingJob;
use crate::tenants::TenantId;

impl JobQueue {
    /// Where a job may run whose tenant has such a list of images, if it has one.
    pub(crate) fn placement(
        &self,
        spec: &JobSpec,
        images: Option<&ImageList>,
    ) -> Result<Placement, JobError> {
        self.placement_of(spec.policy, &spec.kernel, spec.input.len(), images)
    }

    fn placement_of(
        &self,
        policy: BackendPolicy,
        kernel: &Kernel,
        bytes: usize,
        images: Option<&ImageList>,
    ) -> Result<Placement, JobError> {
        let cpu = TargetSet::of(self.cpu);
        let beyond = match kernel {
            Kernel::Compress { level, .. } if level.get() > CARD_LEVEL_MAX => Some(format!(
                "no card serves level {}; use level 1 to {CARD_LEVEL_MAX}, or let the CPU serve it (Faam-Backend: auto)",
                level.get()
            )),
            Kernel::CompressPart { format, .. } => Some(format!(
                "no card serves {format}; use gzip, zlib or deflate, or let the CPU serve it (Faam-Backend: auto)"
            )),
            Kernel::DecompressPart { .. } => Some(beyond_card_text()),
            Kernel::Decompress { .. } if bytes > faam_hwif::JOB_BYTES_MAX as usize => {
                Some(beyond_card_text())
            }
            _ => None,
        };
        let on_cards = needs(kernel, images);
        Ok(match (policy, beyond) {
            (BackendPolicy::RequireHardware, Some(why)) => return Err(JobError::BeyondCard(why)),
            (BackendPolicy::RequireHardware, None) => {
                Placement::any_of(self.all_cards).needing(on_cards)
            }
            (BackendPolicy::Cpu, _) | (_, Some(_)) => Placement::any_of(cpu),
            (BackendPolicy::Auto, None) => {
                Placement::any_of(cpu.union(self.all_cards)).needing(on_cards)
            }
            (BackendPolicy::PreferHardware, None) => Placement {
                preferred: self.all_cards,
                ..Placement::any_of(cpu.union(self.all_cards)).needing(on_cards)
            },
        })
    }

    /// When a compression would end that is announced now; `None` where that would be a guess.
    pub(crate) fn forecast(&self, compression: &AnnouncedCompression<'_>) -> Option<Forecast> {
        let &AnnouncedCompression {
            tenant,
            format,
            level,
            bytes,
            policy,
            priority,
        } = compression;
        let in_series = !format.is_deflate();
        let kernel = if in_series {
            Kernel::CompressPart {
                format,
                level,
                position: Position::Middle,
                stage: None,
            }
        } else {
            Kernel::Compress {
                format,
                level,
                position: Position::Middle,
            }
        };
        let core = self.core.lock();
        let place = core.tenants.get(tenant)?;
        let (tenant, images) = (place.index, place.images.as_deref());
        let block = usize::try_from(bytes)
            .unwrap_or(BLOCK_BYTES)
            .min(BLOCK_BYTES);
        let announced = Announced {
            request: JobRequest {
                shape: JobShape {
                    kernel: class_of(&kernel),
                    bytes: block,
                },
                placement: self.placement_of(policy, &kernel, block, images).ok()?,
                priority,
            },
            // The last block is not full: what is beyond the full ones is left out, in the caller's favour.
            jobs: (bytes / BLOCK_BYTES as u64).max(1),
            in_series,
        };
        core.scheduler.forecast(tenant, &announced, self.now())
    }

    /// Predicted time until what a tenant has queued is worked off, and an engine has room.
    pub(crate) fn backlog(&self, tenant: &TenantId) -> Duration {
        let core = self.core.lock();
        let index = core.tenants.get(tenant).map(|place| place.index);
        let Nanos(ns) = index.map_or(Nanos(0), |index| core.scheduler.backlog(index, self.now()));
        Duration::from_nanos(ns)
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

/// What a card has to be able to do for a job whose tenant has such a list of images. The CPU has every ability.
pub(super) fn needs(kernel: &Kernel, images: Option<&ImageList>) -> Abilities {
    let kernels = kernels_needed(kernel);
    images.map_or(kernels, |images| images.needs(kernels))
}

/// The same of a job on its way.
pub(super) fn needs_of(job: &PendingJob) -> Abilities {
    needs(&job.spec.kernel, job.images.as_deref())
}

/// The kernels that a card has to serve for it.
pub(super) fn kernels_needed(kernel: &Kernel) -> Abilities {
    let serves = match kernel {
        Kernel::Compress { level, .. } if level.get() <= CARD_LEVEL_FAST_MAX => Serves::FAST,
        Kernel::Compress { .. } => Serves::TABLES,
        Kernel::Decompress { .. } => Serves::INFLATE,
        // Of the CPU alone.
        Kernel::CompressPart { .. } | Kernel::DecompressPart { .. } => Serves::NONE,
    };
    of_kernels(serves)
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
