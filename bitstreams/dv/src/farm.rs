//! The farm, Verilated: registers on one side, memory and interrupts on the other, clock by clock between them.
//!
//! Owns a power-on of `faam_farm` and the bus around it (`shim/farm.cpp`). Invariants: what the farm asks of memory goes
//! through a [`Port`] and nowhere else, a burst at a time, in order; every request is answered, and no call runs longer than
//! the cycles that it was given. It does not know what a register means or what lies in memory.
//!
//! Time is the farm's own: it stands still between calls.

// UNSAFETY: a C++ object behind a pointer, whose functions take plain data. Nothing of ours is kept by them beyond a call.
#![expect(unsafe_code, reason = "the Verilated model is C++")]

use thiserror::Error;

use crate::bench::Bench;
use crate::models::FARMS;

/// Bytes of a beat of the bus.
pub const BEAT_BYTES: usize = 8;
/// Beats of a burst at most.
pub const BEATS_MAX: usize = 16;
/// Bytes of a burst at most.
pub const BURST_BYTES_MAX: usize = BEAT_BYTES * BEATS_MAX;
/// Engines of the farm that [`Farm::new`] gives.
pub const ENGINES: u8 = 1;
/// MODEL.kind of simulated RTL.
pub const MODEL_RTL: u8 = 2;
/// Cycles within which a register access has to end.
pub const ACCESS_CYCLES_MAX: u32 = 1 << 16;

/// What the farm is told before power-on.
#[derive(Clone, Copy, Debug)]
pub struct Straps {
    /// Number of this function, from 0.
    pub function: u8,
    /// Functions of the card.
    pub functions: u8,
    /// Serial number of the card.
    pub serial: u64,
    /// Clock, kHz: what reported cycles are turned into time by.
    pub clock_khz: u32,
    /// MODEL.kind.
    pub model: u8,
    /// Start of RESET_EPOCH.
    pub epoch: u32,
}

/// How the memory behind the farm behaves.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Decides latencies, stalls, and what is in registers that no reset sets.
    pub seed: u64,
    /// Cycles from a request to its first beat or its answer, at least.
    pub latency_cycles_min: u32,
    /// And at most.
    pub latency_cycles_max: u32,
    /// How often, of 256 cycles, either side waits though it need not.
    pub stalls_in_256: u8,
}

impl Timing {
    /// Memory that never makes the farm wait, but for a short way to it.
    #[must_use]
    pub const fn smooth(seed: u64) -> Self {
        Self {
            seed,
            latency_cycles_min: 4,
            latency_cycles_max: 4,
            stalls_in_256: 0,
        }
    }

    /// Memory that stalls at random, on every channel.
    #[must_use]
    pub const fn rough(seed: u64) -> Self {
        Self {
            seed,
            latency_cycles_min: 0,
            latency_cycles_max: 60,
            stalls_in_256: 96,
        }
    }
}

/// Memory refused a request: the farm gets SLVERR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// What the farm reaches: memory, and an interrupt's way out.
pub trait Port {
    /// Reads `into.len()` bytes at `iova`, at most [`BURST_BYTES_MAX`], within one page of 4 KiB.
    ///
    /// # Errors
    /// [`Refused`].
    fn read(&mut self, iova: u64, into: &mut [u8]) -> Result<(), Refused>;

    /// Writes `from` at `iova`, at most [`BURST_BYTES_MAX`], within one page of 4 KiB. `unanswered` bursts were written before
    /// it whose answers the farm does not have yet.
    ///
    /// # Errors
    /// [`Refused`].
    fn write(&mut self, iova: u64, from: &[u8], unanswered: u32) -> Result<(), Refused>;

    /// Raises a vector's interrupt.
    fn interrupt(&mut self, vector: u16);
}

/// A register access did not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the farm has not answered a register access within {ACCESS_CYCLES_MAX} cycles")]
pub struct NoAnswer;

/// Rules of the bus that the farm has broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken(u32);

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const RULES: [&str; 8] = [
            "a burst of more than 16 beats",
            "a burst across 4 KiB",
            "a read request that changed or went while it was not taken",
            "a write request that changed or went while it was not taken",
            "a write's data that changed or went while it was not taken",
            "w_last elsewhere than on a burst's last beat",
            "an interrupt that changed or went while it was not taken",
            "a register response without an access",
        ];
        let mut between = "";
        for (bit, rule) in RULES.iter().enumerate() {
            if self.0 >> bit & 1 != 0 {
                write!(f, "{between}{rule}")?;
                between = "; ";
            }
        }
        Ok(())
    }
}

/// What a call of [`Farm::run`] waits for.
enum Until {
    Cycles,
    Access,
}

/// One function's farm.
pub struct Farm {
    model: Bench,
    cycles: u64,
    quiet: u64,
    broken: u32,
}

// SAFETY: the model is owned by this value alone, shares no state with another one (each has a context of its own), and keeps
// nothing that belongs to a thread: every call is made through `&mut self`, so by one thread at a time.
unsafe impl Send for Farm {}

impl Farm {
    /// A farm after power-on, with bus mastering off.
    ///
    /// Without memory for it the process aborts, as it does where Rust's own allocations fail.
    #[must_use]
    pub fn new(straps: Straps, timing: Timing) -> Self {
        let Some(farm) = Self::of_engines(ENGINES, straps, timing) else {
            // Its model is built wherever this is.
            std::process::abort()
        };
        farm
    }

    /// One with so many engines; None where such a model was not built (the feature `farm` alone builds one engine).
    #[must_use]
    pub fn of_engines(engines: u8, straps: Straps, timing: Timing) -> Option<Self> {
        let index = FARMS.iter().position(|built| *built == engines)?;
        let index = u32::try_from(index).ok()?;
        let straps = ffi::Straps {
            serial: straps.serial,
            clock_khz: straps.clock_khz,
            epoch: straps.epoch,
            function: straps.function,
            functions: straps.functions,
            model: straps.model,
        };
        let timing = ffi::Timing {
            seed: timing.seed,
            latency_min: timing.latency_cycles_min,
            latency_max: timing.latency_cycles_max.max(timing.latency_cycles_min),
            stalls_in_256: u32::from(timing.stalls_in_256),
        };
        // SAFETY: both point to live values of the shim's layout, which it reads during the call alone.
        let new = unsafe { ffi::faam_farm_new(index, &raw const straps, &raw const timing) };
        // SAFETY: it is null, or a bench that is nobody else's.
        let model = unsafe { Bench::owning(new) }?;
        Some(Self {
            model,
            cycles: 0,
            quiet: 0,
            broken: 0,
        })
    }

    /// The rules of the farm that are broken on purpose (`mutants.txt`), in their order.
    #[cfg(rtl_pair)]
    #[must_use]
    pub fn mutants() -> &'static [&'static str] {
        crate::models::FARM_MUTANTS
    }

    /// Has the rule of this number broken from the next cycle on, the first one being 1; none for 0. Only the farm of two engines has any.
    #[cfg(rtl_pair)]
    pub fn mutant(&mut self, number: u32) {
        self.model.mutant(number);
    }

    /// Reads the 32-bit word of BAR0 at `offset`; time goes on meanwhile.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn read(&mut self, offset: u32, port: &mut dyn Port) -> Result<u32, NoAnswer> {
        self.access(false, offset, 0, port)
    }

    /// Writes the 32-bit word of BAR0 at `offset`; time goes on meanwhile.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub fn write(&mut self, offset: u32, value: u32, port: &mut dyn Port) -> Result<(), NoAnswer> {
        self.access(true, offset, value, port).map(drop)
    }

    /// Lets time go on for `cycles`, or until the farm has been quiet for `quiet_max`.
    pub fn step(&mut self, cycles: u32, quiet_max: u64, port: &mut dyn Port) {
        self.run(cycles, quiet_max, &Until::Cycles, port);
    }

    /// A function-level reset, in the next cycle. It has ended when STATUS says so.
    pub fn function_level_reset(&mut self) {
        // SAFETY: the model is live, as `self` is.
        unsafe { ffi::faam_farm_reset(self.model.handle()) };
        self.quiet = 0;
    }

    /// Whether memory may be asked for, from the next cycle on.
    pub fn set_bus_master(&mut self, on: bool) {
        // SAFETY: the model is live, as `self` is.
        unsafe { ffi::faam_farm_bus_master(self.model.handle(), u32::from(on)) };
    }

    /// Cycles since power-on.
    #[must_use]
    pub fn cycles(&self) -> u64 {
        self.cycles
    }

    /// Cycles since anything was asked or under way at any port.
    #[must_use]
    pub fn quiet_cycles(&self) -> u64 {
        self.quiet
    }

    /// Rules of the bus that it has broken since power-on.
    #[must_use]
    pub fn broken(&self) -> Option<Broken> {
        (self.broken != 0).then_some(Broken(self.broken))
    }

    fn access(
        &mut self,
        write: bool,
        offset: u32,
        value: u32,
        port: &mut dyn Port,
    ) -> Result<u32, NoAnswer> {
        // SAFETY: the model is live, as `self` is.
        let asked =
            unsafe { ffi::faam_farm_request(self.model.handle(), u32::from(write), offset, value) };
        // One that was never answered keeps the way closed.
        if asked == 0 {
            return Err(NoAnswer);
        }
        self.run(ACCESS_CYCLES_MAX, u64::MAX, &Until::Access, port)
            .ok_or(NoAnswer)
    }

    /// Runs so many cycles at most. The register's value, if an access ended.
    fn run(
        &mut self,
        cycles: u32,
        quiet_max: u64,
        until: &Until,
        port: &mut dyn Port,
    ) -> Option<u32> {
        let end = self.cycles.saturating_add(u64::from(cycles));
        loop {
            let left = u32::try_from(end.saturating_sub(self.cycles)).unwrap_or(u32::MAX);
            let mut event = ffi::Event::default();
            // SAFETY: the model is live, as `self` is; `event` is a live value of the shim's layout, written during the
            // call alone.
            unsafe {
                ffi::faam_farm_run(self.model.handle(), left, quiet_max, &raw mut event);
            }
            self.cycles = event.cycles;
            self.quiet = event.quiet;
            self.broken = event.broken;
            match event.kind {
                ffi::READ => self.supply(&event, port),
                ffi::WRITE => self.take(&event, port),
                ffi::INTERRUPT => {
                    // The port is 16 bits wide.
                    port.interrupt(u16::try_from(event.vector).unwrap_or(u16::MAX));
                }
                ffi::REGISTER => match until {
                    Until::Access => return Some(event.value),
                    // An access that had been given up.
                    Until::Cycles => {}
                },
                _ => return None,
            }
        }
    }

    fn supply(&mut self, event: &ffi::Event, port: &mut dyn Port) {
        let beats = (event.beats as usize).min(BEATS_MAX);
        let mut bytes = [0; BURST_BYTES_MAX];
        let first = event.address & !(BEAT_BYTES as u64 - 1);
        let wanted = bytes.get_mut(..beats * BEAT_BYTES).unwrap_or_default();
        let refused = port.read(first, wanted).is_err();
        let mut data = [0; BEATS_MAX];
        let (words, _) = bytes.as_chunks::<BEAT_BYTES>();
        for (beat, word) in data.iter_mut().zip(words) {
            *beat = u64::from_le_bytes(*word);
        }
        // SAFETY: the model is live, as `self` is; `data` has room for `beats` words, which are read during the call alone.
        unsafe {
            ffi::faam_farm_supply(
                self.model.handle(),
                data.as_ptr(),
                event.beats,
                u32::from(refused),
            );
        }
    }

    /// Writes each run of bytes that the strobes name; the first that is refused ends it.
    fn take(&mut self, event: &ffi::Event, port: &mut dyn Port) {
        let beats = (event.beats as usize).min(BEATS_MAX);
        let first = event.address & !(BEAT_BYTES as u64 - 1);
        let mut bytes = [0; BURST_BYTES_MAX];
        let (words, _) = bytes.as_chunks_mut::<BEAT_BYTES>();
        for (word, beat) in words.iter_mut().zip(&event.data) {
            *word = beat.to_le_bytes();
        }
        let bytes = bytes.get(..beats * BEAT_BYTES).unwrap_or_default();
        let named = |at: &usize| {
            let strobes = event.strobes.get(at / BEAT_BYTES).copied().unwrap_or(0);
            strobes >> (at % BEAT_BYTES) & 1 != 0
        };
        let mut refused = false;
        let mut at = 0;
        while at < bytes.len() && !refused {
            let run = (at..bytes.len()).take_while(named).count();
            if run == 0 {
                at += 1;
                continue;
            }
            let piece = bytes.get(at..at + run).unwrap_or_default();
            let place = first.wrapping_add(at as u64);
            refused = port.write(place, piece, event.unanswered).is_err();
            at += run;
        }
        // SAFETY: the model is live, as `self` is.
        unsafe { ffi::faam_farm_answer(self.model.handle(), u32::from(refused)) };
    }
}

/// `shim/farm.h`, to the byte.
mod ffi {
    use std::ffi::c_void;

    use super::BEATS_MAX;

    pub(super) const READ: u32 = 1;
    pub(super) const WRITE: u32 = 2;
    pub(super) const INTERRUPT: u32 = 3;
    pub(super) const REGISTER: u32 = 4;

    #[repr(C)]
    pub(super) struct Straps {
        pub(super) serial: u64,
        pub(super) clock_khz: u32,
        pub(super) epoch: u32,
        pub(super) function: u8,
        pub(super) functions: u8,
        pub(super) model: u8,
    }

    #[repr(C)]
    pub(super) struct Timing {
        pub(super) seed: u64,
        pub(super) latency_min: u32,
        pub(super) latency_max: u32,
        pub(super) stalls_in_256: u32,
    }

    #[repr(C)]
    #[derive(Default)]
    pub(super) struct Event {
        pub(super) kind: u32,
        pub(super) beats: u32,
        pub(super) address: u64,
        pub(super) data: [u64; BEATS_MAX],
        pub(super) strobes: [u8; BEATS_MAX],
        pub(super) unanswered: u32,
        pub(super) vector: u32,
        pub(super) value: u32,
        pub(super) broken: u32,
        pub(super) cycles: u64,
        pub(super) quiet: u64,
    }

    unsafe extern "C" {
        pub(super) fn faam_farm_new(
            index: u32,
            straps: *const Straps,
            timing: *const Timing,
        ) -> *mut c_void;
        pub(super) fn faam_farm_run(
            farm: *mut c_void,
            cycles: u32,
            quiet_max: u64,
            event: *mut Event,
        );
        pub(super) fn faam_farm_supply(
            farm: *mut c_void,
            data: *const u64,
            beats: u32,
            refused: u32,
        );
        pub(super) fn faam_farm_answer(farm: *mut c_void, refused: u32);
        pub(super) fn faam_farm_request(
            farm: *mut c_void,
            write: u32,
            address: u32,
            value: u32,
        ) -> u32;
        pub(super) fn faam_farm_bus_master(farm: *mut c_void, on: u32);
        pub(super) fn faam_farm_reset(farm: *mut c_void);
    }
}
