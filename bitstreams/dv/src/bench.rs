//! What every bench has in common: its handle, its reset, its waveforms, and how a call that came to nothing is told.
//!
//! Invariant: a handle is live as long as its value, and freed once. It does not know what a run is.
//!
// UNSAFETY: the C functions of shim/bench.cpp, which get a handle that this module owns. Every block states what the shim asks.
#![expect(unsafe_code, reason = "a Verilated model is C++")]

use std::ffi::{CStr, c_void};
use std::ptr::NonNull;

#[cfg(any(rtl_engine, rtl_match))]
use crate::outcome::{RunError, Signals, Violation};

#[rustfmt::skip]
unsafe extern "C" {
    fn faam_dv_bench_free(bench: *mut c_void);
    #[cfg(any(rtl_engine, rtl_match))]
    fn faam_dv_bench_reset(bench: *mut c_void, cycles: u32);
    #[cfg(any(rtl_engine, rtl_match))]
    fn faam_dv_bench_trace(bench: *mut c_void, path: *const std::ffi::c_char) -> u32;
    #[cfg(any(rtl_engine, rtl_pair))]
    fn faam_dv_bench_mutant(bench: *mut c_void, number: u32);
}

/// The cycles of a reset.
#[cfg(any(rtl_engine, rtl_match))]
const RESET_CYCLES: u32 = 2;

/// A bench of shim/, whatever its model.
pub(crate) struct Bench(NonNull<c_void>);

impl Drop for Bench {
    fn drop(&mut self) {
        // SAFETY: the bench is live and ours (see `owning`), and freed here alone.
        unsafe { faam_dv_bench_free(self.0.as_ptr()) }
    }
}

impl Bench {
    /// Takes over what a shim's `new` gave. None for null: no such model, or no memory.
    ///
    /// # Safety
    /// The pointer is null, or a live `faam::Bench` that nobody else has.
    pub(crate) unsafe fn owning(bench: *mut c_void) -> Option<Self> {
        NonNull::new(bench).map(Self)
    }

    /// The shim's handle, for a call that ends before `self` does.
    pub(crate) fn handle(&mut self) -> *mut c_void {
        self.0.as_ptr()
    }

    /// Resets the model.
    #[cfg(any(rtl_engine, rtl_match))]
    pub(crate) fn reset(&mut self) {
        // SAFETY: the bench is live, and nobody else calls it during `&mut self`.
        unsafe { faam_dv_bench_reset(self.0.as_ptr(), RESET_CYCLES) }
    }

    /// Writes waveforms to a VCD file from now on. False where the build has none (feature `trace`) or the file cannot be written.
    #[cfg(any(rtl_engine, rtl_match))]
    pub(crate) fn trace(&mut self, path: &CStr) -> bool {
        // SAFETY: as for `reset`; `path` ends in NUL and is read during the call alone.
        unsafe { faam_dv_bench_trace(self.0.as_ptr(), path.as_ptr()) != 0 }
    }

    /// Which rule of mutants.txt acts from the next cycle on, the first one being 1; none for 0. A model without any takes no notice.
    #[cfg(any(rtl_engine, rtl_pair))]
    pub(crate) fn mutant(&mut self, number: u32) {
        // SAFETY: as for `reset`; any number may be given.
        unsafe { faam_dv_bench_mutant(self.0.as_ptr(), number) }
    }
}

/// A length for a port that takes `most`.
#[cfg(any(rtl_engine, rtl_match))]
pub(crate) fn fits(what: &'static str, got: usize, most: usize) -> Result<u32, RunError> {
    u32::try_from(got)
        .ok()
        .filter(|_| got <= most)
        .ok_or(RunError::TooLarge { what, got, most })
}

/// How a run ended that has no report.
#[cfg(any(rtl_engine, rtl_match))]
pub(crate) struct Failure {
    /// The shim's status.
    pub(crate) status: u32,
    /// Cycles since the job was offered.
    pub(crate) cycle: u64,
    /// Bytes taken.
    pub(crate) taken: u64,
    /// Bytes, or tokens, given.
    pub(crate) given: u64,
    /// Valid and ready of each stream.
    pub(crate) signals: u32,
    /// The streams.
    pub(crate) names: &'static [&'static str],
}

#[cfg(any(rtl_engine, rtl_match))]
impl Failure {
    /// No end within the bounds.
    const HUNG: u32 = 2;

    pub(crate) fn told(self) -> RunError {
        let (cycle, taken, given) = (self.cycle, self.taken, self.given);
        let signals = Signals {
            bits: self.signals,
            names: self.names,
        };
        if self.status == Self::HUNG {
            RunError::Hung {
                cycle,
                taken,
                given,
                signals,
            }
        } else {
            RunError::Broken {
                violation: Violation::from_bench(self.status),
                cycle,
                taken,
                given,
                signals,
            }
        }
    }
}
