//! Evidence that a device's DMA has ended for good.
//!
//! Owns what counts as such evidence. Invariant: a [`FenceProof`] exists only if one of
//! these happened: the function's reset returned, its registers are not all-ones, its
//! reset epoch changed and it says DMA-idle; or an IOMMU enforces its maps, its bus mastering
//! reads back as off and every map was taken back; or the process that served it, killed by us,
//! was reported dead. A socket's hang-up, an abort, or time alone prove nothing.
//! It deliberately does not reset or kill anything itself.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use thiserror::Error;

static NEXT_INCARNATION: AtomicU64 = AtomicU64::new(1);

/// One life of a function, from bring-up to fence: what quarantined memory is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation {
    number: u64,
    /// Process that serves the function, where one does.
    process: Option<u32>,
}

impl Incarnation {
    /// A life that begins now, served by `process` where a process serves it.
    pub(crate) fn begin(process: Option<u32>) -> Self {
        Self {
            number: NEXT_INCARNATION.fetch_add(1, Ordering::Relaxed),
            process,
        }
    }
}

/// Why there is no fence yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NoFence {
    /// The process lives.
    #[error("process {pid} has not ended: kill it, then wait for its pidfd")]
    StillAlive {
        /// The process.
        pid: u32,
    },
    /// The pidfd could not be read.
    #[error("the descriptor is no pidfd of a live process that could be watched")]
    NotAPidfd,
    /// Watching it failed.
    #[error("watching the process failed")]
    Poll(#[source] rustix::io::Errno),
}

/// Proof that no DMA of the incarnations it covers is in flight or will start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceProof {
    covers: Covers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Covers {
    /// One life of one function (fence by reset, or by being cut off).
    Incarnation(Incarnation),
    /// Every life that this process served (fence by death).
    Process(u32),
}

/// What a reset must have shown before it is a fence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResetEvidence {
    /// The life that ends with it.
    pub(crate) incarnation: Incarnation,
    /// STATUS after the reset.
    pub(crate) status: u32,
    /// STATUS.dma_idle of that.
    pub(crate) dma_idle: bool,
    /// STATUS.resetting of that.
    pub(crate) resetting: bool,
    /// RESET_EPOCH before.
    pub(crate) epoch_before: u32,
    /// RESET_EPOCH after.
    pub(crate) epoch_after: u32,
}

/// What cutting a function off must have shown before it is a fence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CutOffEvidence {
    /// The life that ends with it.
    pub(crate) incarnation: Incarnation,
    /// Whether an IOMMU enforces maps, rather than the device itself.
    pub(crate) maps_enforced: bool,
    /// Bus mastering as read back, after it was switched off; `None` if the function could not be reached for that.
    pub(crate) bus_master: Option<bool>,
    /// Maps that were not taken back, after that.
    pub(crate) maps_left: usize,
}

impl FenceProof {
    /// The fence that a function without bus mastering and without maps is, if an IOMMU sees to it.
    ///
    /// It is the IOMMU that keeps memory: what was unmapped cannot be reached, whatever the function does. So a function
    /// that cannot be reached (gone from the bus, or stuck in a reset) is fenced by its maps alone. One that answers
    /// must answer that its bus mastering is off: if it does not, nothing that is known of it can be relied on.
    pub(crate) fn from_cut_off(evidence: &CutOffEvidence) -> Option<Self> {
        (evidence.maps_enforced && evidence.bus_master != Some(true) && evidence.maps_left == 0)
            .then_some(Self {
                covers: Covers::Incarnation(evidence.incarnation),
            })
    }

    /// The fence that a finished reset is, if it is one.
    pub(crate) fn from_reset(evidence: &ResetEvidence) -> Option<Self> {
        // All-ones is what a function that is gone reads as. An epoch of it is no epoch, on either side of the reset:
        // any that follows it would look like a change.
        let alive = [evidence.status, evidence.epoch_before, evidence.epoch_after]
            .iter()
            .all(|word| *word != u32::MAX);
        (alive
            && evidence.dma_idle
            && !evidence.resetting
            && evidence.epoch_after != evidence.epoch_before)
            .then_some(Self {
                covers: Covers::Incarnation(evidence.incarnation),
            })
    }

    /// Whether memory held against `incarnation` is free.
    #[must_use]
    pub fn covers(&self, incarnation: Incarnation) -> bool {
        match self.covers {
            Covers::Incarnation(covered) => covered == incarnation,
            Covers::Process(pid) => incarnation.process == Some(pid),
        }
    }

    /// The one life that it covers, where it covers one.
    pub(super) fn incarnation(&self) -> Option<Incarnation> {
        match self.covers {
            Covers::Incarnation(covered) => Some(covered),
            Covers::Process(_) => None,
        }
    }
}

/// Watches a child process whose death is a fence for every function that it served.
#[derive(Debug)]
pub struct ChildFence {
    pidfd: OwnedFd,
    pid: u32,
}

impl ChildFence {
    /// Watch the child behind `pidfd`, which must still be running or not yet waited for.
    ///
    /// # Errors
    /// [`NoFence::NotAPidfd`]: the descriptor names no process of ours.
    pub fn new(pidfd: OwnedFd) -> Result<Self, NoFence> {
        use std::os::fd::AsRawFd;
        // proc(5): a pidfd's fdinfo has a line `Pid:`, -1 once the process has been waited for.
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))
            .map_err(|_| NoFence::NotAPidfd)?;
        let pid = info
            .lines()
            .find_map(|line| line.strip_prefix("Pid:"))
            .and_then(|text| text.trim().parse().ok())
            .filter(|pid| *pid != 0)
            .ok_or(NoFence::NotAPidfd)?;
        Ok(Self { pidfd, pid })
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The fence, if the process has ended. Never blocks; wait for the pidfd to become readable first.
    ///
    /// # Errors
    /// [`NoFence::StillAlive`] until then: also of a stopped process, which keeps its mappings.
    pub fn proof(&self) -> Result<FenceProof, NoFence> {
        let mut fds = [PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        poll(&mut fds, Some(&now)).map_err(NoFence::Poll)?;
        let ended = fds.iter().any(|fd| fd.revents().contains(PollFlags::IN));
        match ended {
            true => Ok(FenceProof {
                covers: Covers::Process(self.pid),
            }),
            false => Err(NoFence::StillAlive { pid: self.pid }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
    use std::process::{Command, Stdio};

    fn evidence() -> ResetEvidence {
        ResetEvidence {
            incarnation: Incarnation::begin(None),
            status: 0b0100,
            dma_idle: true,
            resetting: false,
            epoch_before: 5,
            epoch_after: 6,
        }
    }

    #[test]
    fn a_reset_is_a_fence_only_if_all_of_it_is_shown() {
        let good = evidence();
        let proof = FenceProof::from_reset(&good).unwrap();
        assert!(proof.covers(good.incarnation));
        assert!(!proof.covers(Incarnation::begin(None)));
        let bad = [
            ResetEvidence {
                status: u32::MAX,
                ..good
            },
            ResetEvidence {
                epoch_after: u32::MAX,
                ..good
            },
            ResetEvidence {
                epoch_before: u32::MAX,
                ..good
            },
            ResetEvidence {
                epoch_after: 5,
                ..good
            },
            ResetEvidence {
                dma_idle: false,
                ..good
            },
            ResetEvidence {
                resetting: true,
                ..good
            },
        ];
        for evidence in bad {
            assert_eq!(FenceProof::from_reset(&evidence), None, "{evidence:?}");
        }
    }

    #[test]
    fn cutting_off_is_a_fence_only_if_all_of_it_is_shown() {
        let good = CutOffEvidence {
            incarnation: Incarnation::begin(None),
            maps_enforced: true,
            bus_master: Some(false),
            maps_left: 0,
        };
        let unreachable = CutOffEvidence {
            bus_master: None,
            ..good
        };
        assert!(FenceProof::from_cut_off(&unreachable).is_some());
        let proof = FenceProof::from_cut_off(&good).unwrap();
        assert!(proof.covers(good.incarnation));
        assert!(!proof.covers(Incarnation::begin(None)));
        let bad = [
            CutOffEvidence {
                maps_enforced: false,
                ..good
            },
            CutOffEvidence {
                bus_master: Some(true),
                ..good
            },
            CutOffEvidence {
                maps_left: 1,
                ..good
            },
            CutOffEvidence {
                maps_left: 1,
                ..unreachable
            },
            CutOffEvidence {
                maps_enforced: false,
                ..unreachable
            },
        ];
        for evidence in bad {
            assert_eq!(FenceProof::from_cut_off(&evidence), None, "{evidence:?}");
        }
    }

    #[test]
    fn only_a_dead_process_is_a_fence_not_a_running_or_stopped_one() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let fence = ChildFence::new(pidfd_open(pid, PidfdFlags::empty()).unwrap()).unwrap();
        let still_alive = Err(NoFence::StillAlive { pid: child.id() });
        assert_eq!(fence.proof(), still_alive);
        kill_process(pid, Signal::STOP).unwrap();
        assert_eq!(fence.proof(), still_alive, "stopped is not dead");
        child.kill().unwrap();
        child.wait().unwrap();
        let proof = fence.proof().unwrap();
        assert!(proof.covers(Incarnation::begin(Some(child.id()))));
        assert!(!proof.covers(Incarnation::begin(Some(child.id() + 1))));
        assert!(!proof.covers(Incarnation::begin(None)));
    }

    #[test]
    fn any_other_descriptor_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(
            ChildFence::new(file.into()).unwrap_err(),
            NoFence::NotAPidfd
        );
    }
}
