//! The gateware inside: the farm's RTL, simulated clock by clock, behind the card's protocol, memory and interrupts.
//!
//! Owns when the farm's clock runs. Invariants:
//! - the clock runs while anything is under way at the farm's ports, and slowly otherwise, so that its heartbeat advances
//!   and an idle card costs next to nothing;
//! - the farm reaches the client's memory under a lease of its function, as every other part of a card does: what was
//!   unmapped, or is forbidden by bus mastering, is refused to it;
//! - a register access waits for one slice of cycles at most, and for its own.
//!
//! Its time is not the host's: a job takes its cycles, which are reported, and many times as long to simulate.
//!
//! Lock order: the farm's lock, then the memory's, or the vectors'.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use faam_dv::farm::{Broken, Farm, MODEL_RTL, Port, Refused, Straps, Timing};
use faam_hwif::regs::{CardRegister, control};
use faam_hwif::{FUNCTIONS, Iova};
use parking_lot::{Mutex, MutexGuard};

use crate::bell::Bell;
use crate::faults::Fault;
use crate::function::Identity;
use crate::function_faults::Faults;
use crate::inside::Inside;
use crate::memory::{DmaLease, Memory, StillInFlight};
use crate::msix::Msix;

/// Cycles that the clock runs between two looks at whoever waits for the farm.
const SLICE_CYCLES: u32 = 1_000;
/// A farm whose ports have been quiet for so many cycles has nothing to do until a register is written. The longest silence
/// within a job is the clearing of its tables.
const QUIET_CYCLES: u64 = 1 << 15;
/// Time between two beats of the clock of a quiet farm, milliseconds: its heartbeat has to advance every 100.
const BEAT_MS: u64 = 80;
/// Cycles of such a beat: more than the 1024 that its heartbeat needs for one step, and some milliseconds of simulation.
const BEAT_CYCLES: u32 = 1_280;
/// Longest simulation of a reset, milliseconds: requests that are under way are answered within microseconds of its time.
const RESET_MS_MAX: u64 = 2_000;

/// One function's gateware.
pub(crate) struct Gateware {
    farm: Mutex<Farm>,
    /// Wakes the clock.
    bell: Bell,
    lease: DmaLease,
    msix: Arc<Msix>,
    faults: Arc<Faults>,
    /// A broken rule of the bus has been reported.
    reported_broken: AtomicBool,
    /// A register that did not answer has been.
    reported_silent: AtomicBool,
}

/// The farm's way to the client, for as long as a call takes.
struct Bus<'a> {
    lease: &'a DmaLease,
    msix: &'a Msix,
    faults: &'a Faults,
}

impl Port for Bus<'_> {
    fn read(&mut self, iova: u64, into: &mut [u8]) -> Result<(), Refused> {
        self.lease.read(Iova(iova), into).map_err(|_| Refused)
    }

    fn write(&mut self, iova: u64, from: &[u8], _unanswered: u32) -> Result<(), Refused> {
        let access = self.lease.access().map_err(|_| Refused)?;
        let written = match from.try_into() {
            // A phase word, which the host acquires: what was written before it is to be seen before it.
            Ok(word) if iova.is_multiple_of(4) => {
                access.store_u32(Iova(iova), u32::from_le_bytes(word))
            }
            _ => access.write(Iova(iova), from),
        };
        written.map_err(|_| Refused)
    }

    fn interrupt(&mut self, vector: u16) {
        if !self.faults.on(Fault::LosesInterrupts) {
            self.msix.raise(vector);
        }
    }
}

impl Gateware {
    /// The gateware of a function, as after power-on.
    pub(crate) fn new(
        identity: Identity,
        epoch: u32,
        memory: &Arc<Memory>,
        msix: &Arc<Msix>,
        faults: &Arc<Faults>,
    ) -> Self {
        let straps = Straps {
            function: identity.index,
            functions: FUNCTIONS,
            serial: identity.serial,
            clock_khz: identity.clock_khz,
            model: MODEL_RTL,
            epoch,
        };
        let timing = Timing::smooth(identity.serial ^ u64::from(identity.index));
        Self {
            farm: Mutex::new(Farm::new(straps, timing)),
            bell: Bell::default(),
            lease: memory.lease(),
            msix: Arc::clone(msix),
            faults: Arc::clone(faults),
            reported_broken: AtomicBool::new(false),
            reported_silent: AtomicBool::new(false),
        }
    }

    fn bus(&self) -> Bus<'_> {
        Bus {
            lease: &self.lease,
            msix: &self.msix,
            faults: &self.faults,
        }
    }

    /// Reports a broken rule of the bus, once.
    fn report(&self, broken: Option<Broken>) {
        if let Some(broken) = broken
            && !self.reported_broken.swap(true, Ordering::Relaxed)
        {
            tracing::error!(%broken, "the gateware breaks a rule of its bus");
        }
    }

    /// Reports a register that does not answer, once.
    fn silent(&self, register: u32) {
        if !self.reported_silent.swap(true, Ordering::Relaxed) {
            tracing::error!(register, "the gateware does not answer a register access");
        }
    }

    fn status(&self, farm: &mut Farm) -> control::Status {
        let bits = farm.read(CardRegister::ControlStatus.offset(), &mut self.bus());
        control::Status(bits.unwrap_or(u32::MAX))
    }
}

impl Inside for Gateware {
    fn read(&self, offset: usize) -> u32 {
        let Ok(offset) = u32::try_from(offset) else {
            return u32::MAX;
        };
        let read = self.farm.lock().read(offset, &mut self.bus());
        // A read that nobody answers is all-ones, as on a bus.
        read.unwrap_or_else(|_| {
            self.silent(offset);
            u32::MAX
        })
    }

    fn write(&self, offset: usize, value: u32) {
        let Ok(offset) = u32::try_from(offset) else {
            return;
        };
        if self
            .farm
            .lock()
            .write(offset, value, &mut self.bus())
            .is_err()
        {
            self.silent(offset);
        }
        self.bell.ring();
    }

    fn set_bus_master(&self, on: bool) {
        self.farm.lock().set_bus_master(on);
        self.bell.ring();
    }

    fn reset(&self) -> Result<(), StillInFlight> {
        self.farm.lock().function_level_reset();
        let end = Instant::now() + Duration::from_millis(RESET_MS_MAX);
        loop {
            let mut farm = self.farm.lock();
            farm.step(SLICE_CYCLES, u64::MAX, &mut self.bus());
            let status = self.status(&mut farm);
            // Whoever waits for a register comes next.
            MutexGuard::unlock_fair(farm);
            if status.dma_idle() && !status.resetting() && !status.ready() {
                return Ok(());
            }
            if Instant::now() >= end {
                tracing::error!(?status, "the gateware's reset has not ended");
                return Err(StillInFlight);
            }
        }
    }

    fn run(&self, stopped: &dyn Fn() -> bool) {
        while !stopped() {
            let mut farm = self.farm.lock();
            farm.step(SLICE_CYCLES, QUIET_CYCLES, &mut self.bus());
            let quiet = farm.quiet_cycles() >= QUIET_CYCLES;
            self.report(farm.broken());
            // Whoever waits for a register comes next, not this thread again.
            MutexGuard::unlock_fair(farm);
            if quiet && !self.bell.wait(Duration::from_millis(BEAT_MS)) {
                let mut farm = self.farm.lock();
                farm.step(BEAT_CYCLES, u64::MAX, &mut self.bus());
            }
        }
    }

    fn wake(&self) {
        self.bell.ring();
    }
}
