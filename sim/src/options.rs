//! What a card is started with.

use std::path::PathBuf;

use crate::fault_plan::FaultPlan;

/// Most engines a function may have.
pub const ENGINES_MAX: u8 = 16;
/// Clock that cycles are counted against when none is asked for, MHz: what the engine is designed to meet on a mid-range FPGA.
pub const CLOCK_MHZ_DEFAULT: u32 = 250;
/// Highest clock that can be asked for, MHz.
pub const CLOCK_MHZ_MAX: u32 = 4_000;

/// Options of a card.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory for the functions' sockets, `fn0` and `fn1`. Made with mode 0700 if it is not there.
    pub dir: PathBuf,
    /// Engines a function, 1 to [`ENGINES_MAX`].
    pub engines: u8,
    /// Clock to pace completions at, MHz, 1 to [`CLOCK_MHZ_MAX`]; `None` = as fast as the model runs.
    pub pace_mhz: Option<u32>,
    /// Decides the serial number; `None` = a random one. The reset epoch starts at random in any case.
    pub seed: Option<u64>,
    /// Stop when standard input reaches its end: the parent holds the other end of a pipe, and is gone.
    pub exit_on_stdin_eof: bool,
    /// Faults from the start. Refused unless `allow_faults`.
    pub faults: FaultPlan,
    /// Faults may be asked for: by `faults`, and while the card runs by the socket `faults` in its directory.
    pub allow_faults: bool,
    /// Most DMA maps of a function, 1 to [`crate::MAPS_MAX`].
    pub dma_maps_max: usize,
}

impl Options {
    /// One engine a function, unpaced, no faults.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            engines: 1,
            pace_mhz: None,
            seed: None,
            exit_on_stdin_eof: false,
            faults: FaultPlan::default(),
            allow_faults: false,
            dma_maps_max: crate::MAPS_MAX,
        }
    }
}
