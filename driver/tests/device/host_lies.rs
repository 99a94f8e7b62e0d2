//! What the driver makes of a way to the card that does not do what it should: a transport that lies.
//!
//! Owns that transport. It leads to a card that works, says of itself what the kernel's VFIO would, and fails as that can:
//! by a reset that hangs, a function that is gone, maps that stay, vectors that are not to be had. The kernel's own is not
//! to be had in such a state; these trials run over vfio-user alone.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use faam_driver::dma::SharedMemory;
use faam_driver::transport::{ConfigWidth, DmaAccess, IovaRange};
use faam_driver::{
    BringUpError, CutOffError, DeviceFault, Function, ResetError, Transport, TransportError,
    TransportKind,
};
use faam_hwif::{BarOffset, Iova};
use faam_sim::Fault;
use libtest_mimic::Trial;
use parking_lot::Mutex;

use crate::carrier::Bench;
use crate::host_alone::{Show, named};

/// Longest wait for a reset: half of it is spent on the register's.
const RESET_LIMIT: Duration = Duration::from_millis(200);

/// The trials.
pub(crate) fn trials() -> Vec<Trial> {
    let all: [(&str, Show); 6] = [
        (
            "a_reset_that_hangs_finds_the_function_cut_off",
            a_reset_that_hangs,
        ),
        (
            "a_function_that_is_gone_is_cut_off_by_its_maps",
            a_function_that_is_gone,
        ),
        ("maps_that_stay_are_no_fence", maps_that_stay),
        (
            "a_function_whose_dma_is_not_idle_does_not_come_up",
            a_function_that_is_not_idle,
        ),
        ("queues_share_the_vectors_that_there_are", few_vectors),
        (
            "an_interrupt_that_is_lost_is_no_measurement",
            a_lost_interrupt,
        ),
    ];
    named(all)
}

/// A transport that says that an IOMMU enforces its maps.
#[derive(Debug)]
struct Liar {
    inner: Arc<dyn Transport>,
    /// Nothing answers any more but the IOMMU.
    gone: AtomicBool,
    /// What is mapped stays mapped.
    keeps_maps: AtomicBool,
    /// Vectors to be had.
    vectors: u16,
    /// What was done that a fence is made of, in order.
    done: Mutex<Vec<&'static str>>,
}

impl Liar {
    fn before(bench: &Bench, vectors: u16) -> Arc<Self> {
        Arc::new(Self {
            inner: bench.open(0),
            gone: AtomicBool::new(false),
            keeps_maps: AtomicBool::new(false),
            vectors,
            done: Mutex::default(),
        })
    }

    fn bring_up(self: &Arc<Self>, bench: &Bench) -> Result<Function, BringUpError> {
        let transport = Arc::clone(self) as Arc<dyn Transport>;
        Function::bring_up(transport, bench.arena(), bench.config())
    }

    fn there(&self) -> Result<&dyn Transport, TransportError> {
        match self.gone.load(Ordering::Acquire) {
            true => Err(TransportError::Gone),
            false => Ok(&*self.inner),
        }
    }

    fn note(&self, what: &'static str) {
        self.done.lock().push(what);
    }
}

impl Transport for Liar {
    fn read_register(&self, offset: BarOffset) -> Result<u32, TransportError> {
        self.there()?.read_register(offset)
    }

    fn write_register(&self, offset: BarOffset, value: u32) -> Result<(), TransportError> {
        self.there()?.write_register(offset, value)
    }

    fn post_doorbell(&self, offset: BarOffset, value: u32) -> Result<(), TransportError> {
        self.there()?.post_doorbell(offset, value)
    }

    fn map_dma(
        &self,
        memory: &SharedMemory,
        iova: Iova,
        access: DmaAccess,
    ) -> Result<(), TransportError> {
        self.there()?.map_dma(memory, iova, access)
    }

    fn unmap_dma(&self, iova: Iova, bytes: u64) -> Result<(), TransportError> {
        if self.keeps_maps.load(Ordering::Acquire) {
            return Err(TransportError::Refused {
                command: "a DMA unmap",
                errno: 22,
            });
        }
        self.note("unmap");
        self.inner.unmap_dma(iova, bytes)
    }

    fn set_interrupts(
        &self,
        first_vector: u16,
        eventfds: &[BorrowedFd<'_>],
    ) -> Result<(), TransportError> {
        let wanted = eventfds.len() as u16;
        match wanted > self.vectors {
            true => Err(TransportError::TooFewVectors {
                wanted,
                had: self.vectors,
            }),
            false => self.there()?.set_interrupts(first_vector, eventfds),
        }
    }

    fn config_read(&self, offset: u16, width: ConfigWidth) -> Result<u32, TransportError> {
        self.there()?.config_read(offset, width)
    }

    fn config_write(
        &self,
        offset: u16,
        width: ConfigWidth,
        value: u32,
    ) -> Result<(), TransportError> {
        self.there()?.config_write(offset, width, value)
    }

    /// Does not come back; what is behind it is out of reach from then on.
    fn function_level_reset(&self) -> Result<(), TransportError> {
        self.there()?;
        self.note("reset");
        self.gone.store(true, Ordering::Release);
        Err(TransportError::TimedOut {
            what: "a device reset",
            limit_ms: 0,
        })
    }

    fn iova_ranges(&self) -> Vec<IovaRange> {
        self.inner.iova_ranges()
    }

    fn kind(&self) -> TransportKind {
        TransportKind::KernelVfio
    }

    fn serving_process(&self) -> Option<u32> {
        None
    }

    fn maps_are_enforced(&self) -> bool {
        true
    }

    fn set_bus_master(&self, on: bool) -> Result<bool, TransportError> {
        let is_on = self.there()?.set_bus_master(on)?;
        self.note(match is_on {
            true => "bus master on",
            false => "bus master off",
        });
        Ok(is_on)
    }
}

fn a_reset_that_hangs(bench: &Bench) {
    let liar = Liar::before(bench, u16::MAX);
    let function = liar.bring_up(bench).unwrap();
    bench.faults().set(Fault::NeverIdle);
    liar.done.lock().clear();
    let reset = function.reset(RESET_LIMIT);
    let expected = TransportError::TimedOut {
        what: "a device reset",
        limit_ms: 0,
    };
    assert_eq!(reset.map(drop), Err(ResetError::Transport(expected)));
    let done = std::mem::take(&mut *liar.done.lock());
    // The arena and the admin queue are mapped.
    assert_eq!(
        done,
        ["bus master off", "unmap", "unmap", "reset"],
        "a reset that may hang comes last"
    );
    // Out of reach, and nothing mapped: asked once more, it is a fence still.
    let proof = function.cut_off().unwrap();
    assert!(proof.covers(function.incarnation()));
    assert!(liar.done.lock().is_empty(), "there was nothing left to do");
}

fn a_function_that_is_gone(bench: &Bench) {
    let liar = Liar::before(bench, u16::MAX);
    let function = liar.bring_up(bench).unwrap();
    liar.done.lock().clear();
    liar.gone.store(true, Ordering::Release);
    let reset = function.reset(RESET_LIMIT).map(drop);
    assert_eq!(reset, Err(ResetError::Transport(TransportError::Gone)));
    let proof = function.cut_off().unwrap();
    assert!(proof.covers(function.incarnation()));
    assert_eq!(*liar.done.lock(), ["unmap", "unmap"]);
}

fn maps_that_stay(bench: &Bench) {
    let liar = Liar::before(bench, u16::MAX);
    let function = liar.bring_up(bench).unwrap();
    liar.gone.store(true, Ordering::Release);
    liar.keeps_maps.store(true, Ordering::Release);
    let unproven = CutOffError::Unproven {
        bus_master: false,
        maps_left: 2,
    };
    assert_eq!(function.cut_off(), Err(unproven));
    // They are not forgotten.
    liar.keeps_maps.store(false, Ordering::Release);
    assert!(function.cut_off().is_ok());
}

fn a_function_that_is_not_idle(bench: &Bench) {
    // Disabled, and no error: nothing else is left of an earlier life.
    bench.faults().set(Fault::NeverIdle);
    let refused = Liar::before(bench, u16::MAX).bring_up(bench).map(drop);
    let expected = "finish a reset";
    assert!(
        matches!(refused, Err(BringUpError::NotReady { what, .. }) if what == expected),
        "{refused:?}"
    );
    bench.faults().clear();
    Liar::before(bench, u16::MAX).bring_up(bench).unwrap();
}

fn few_vectors(bench: &Bench) {
    let none = Liar::before(bench, 0).bring_up(bench).map(drop);
    assert!(
        matches!(
            none,
            Err(BringUpError::Transport(TransportError::TooFewVectors {
                had: 0,
                ..
            }))
        ),
        "{none:?}"
    );
    for vectors in [1, 2] {
        let function = Liar::before(bench, vectors).bring_up(bench).unwrap();
        for _ in 0..2 {
            let mut pair = function.create_queue_pair().unwrap();
            pair.interrupt_round_trip(bench.patience()).unwrap();
        }
    }
}

fn a_lost_interrupt(bench: &Bench) {
    let function = bench.function(0);
    let mut pair = function.create_queue_pair().unwrap();
    pair.interrupt_round_trip(bench.patience()).unwrap();
    bench.faults().set(Fault::LosesInterrupts);
    let lost = pair.interrupt_round_trip(Duration::from_millis(100));
    assert!(matches!(lost, Err(DeviceFault::Hang { .. })), "{lost:?}");
}
