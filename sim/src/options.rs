//! What a card is started with.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::card::StartError;
use crate::fault_plan::FaultPlan;

/// Most engines a function may have.
pub const ENGINES_MAX: u8 = 16;
/// Clock that cycles are counted against when none is asked for, MHz: what the engine is designed to meet on a mid-range FPGA.
pub const CLOCK_MHZ_DEFAULT: u32 = 250;
/// Clock that cycles of the gateware are counted against, MHz: what the engine has to meet on the FPGA that it is placed on.
pub(crate) const RTL_CLOCK_MHZ: u32 = 120;
/// Engines a function of the gateware.
pub(crate) const RTL_ENGINES: u8 = 1;
/// Highest clock that can be asked for, MHz.
pub const CLOCK_MHZ_MAX: u32 = 4_000;

/// What is inside a card, behind the one protocol, configuration space, memory and interrupts that all cards have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Model {
    /// The functional model: exact to the bit, and fast.
    #[default]
    Functional,
    /// The gateware itself, simulated clock by clock. In builds with the feature `rtl` alone.
    Rtl,
}

impl Model {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Functional, Self::Rtl];

    /// Its name, as options give it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Functional => "functional",
            Self::Rtl => "rtl",
        }
    }

    /// Whether this build has it.
    #[must_use]
    pub const fn is_built_in(self) -> bool {
        match self {
            Self::Functional => true,
            Self::Rtl => cfg!(feature = "rtl"),
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Model {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let named = |model: &Self| model.name() == name;
        Self::ALL
            .into_iter()
            .find(named)
            .ok_or_else(|| format!("expected functional or rtl, got {name:?}"))
    }
}

/// What a card's slots hold at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InSlots {
    /// The factory's kernel, which does everything.
    #[default]
    Factory,
    /// Nothing.
    Empty,
}

/// Options of a card.
#[derive(Clone, Debug)]
pub struct Options {
    /// Directory for the functions' sockets, `fn0` and `fn1`. Made with mode 0700 if it is not there.
    pub dir: PathBuf,
    /// What is inside. Gateware has the engines that it was built with, and keeps no pace.
    pub model: Model,
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
    /// What its slots hold.
    pub slots: InSlots,
}

impl Options {
    /// Whether a card of this build can be started with them, as far as that can be told before.
    ///
    /// # Errors
    /// [`StartError`]: what is out of range, or not in this build.
    pub fn check(&self) -> Result<(), StartError> {
        crate::card::check(self)
    }

    /// One engine a function, unpaced, no faults.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            model: Model::Functional,
            engines: 1,
            pace_mhz: None,
            seed: None,
            exit_on_stdin_eof: false,
            faults: FaultPlan::default(),
            allow_faults: false,
            dma_maps_max: crate::MAPS_MAX,
            slots: InSlots::Factory,
        }
    }
}
