//! Faults that a card can be told to have, by name: what shows that a test of the contract can fail.
//!
//! Owns the list, what each of them strikes, and the magnitudes that it takes. Invariant: each is looked at beside the
//! rule that it breaks, and nowhere else. It does not know when they strike: rules say so (`fault_plan`), and a
//! function's own book keeps it (`function_faults`).

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// A way in which a card breaks the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Fault {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Fault {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Its name, as commands give it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it is, in a sentence.
            #[must_use]
            pub fn about(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_start(),)+
                }
            }
        }
    };
}

faults! {
    /// Registers read as all-ones, as those of a function that was pulled out.
    Gone = "gone",
    /// With `gone`: they read as zeros instead.
    GoneReadsAsZero = "gone-reads-as-zero",
    /// STATUS.ready never comes.
    NeverReady = "never-ready",
    /// Each function says that it is number 0.
    WrongFunctionIndex = "wrong-function-index",
    /// FEATURES has a bit that the contract does not define.
    UndefinedFeature = "undefined-feature",
    /// JOB_BYTES_MAX is a sixteenth of what the card takes.
    AnnouncesSmallJobs = "announces-small-jobs",
    /// Express capabilities do not have function-level reset.
    NoFlrCapability = "no-flr-capability",
    /// HEARTBEAT stands still.
    HeartbeatStands = "heartbeat-stands",
    /// Set Features grants no queue pairs.
    GrantsNoQueuePairs = "grants-no-queue-pairs",
    /// Delete Queue says that it is done, and does nothing.
    DeletesNothing = "deletes-nothing",
    /// Create Queue takes a vector that the function does not have.
    TakesAnyVector = "takes-any-vector",
    /// Fields of I/O commands are not checked: a command that is none completes as a Nop.
    TakesAnyField = "takes-any-field",
    /// Abort says that the command was stopped, and does nothing.
    AbortLies = "abort-lies",
    /// The health page is all zeros.
    HealthIsZero = "health-is-zero",
    /// Errors are not noted.
    NotesNoErrors = "notes-no-errors",
    /// Completions are written whether or not there is room for them.
    OverrunsCompletions = "overruns-completions",
    /// After the submission ring's first lap each entry is fetched from the next one's place.
    LosesItsPlace = "loses-its-place",
    /// Completions carry the first lap's phase for ever.
    PhaseStuck = "phase-stuck",
    /// A tail doorbell is believed whatever it says.
    TakesAnyTail = "takes-any-tail",
    /// Each command has its completion twice.
    CompletesTwice = "completes-twice",
    /// Completions carry the id of the command before.
    WrongCommandId = "wrong-command-id",
    /// Completions are not written.
    WithholdsCompletions = "withholds-completions",
    /// Interrupts are raised whether or not they are wanted.
    InterruptsUnasked = "interrupts-unasked",
    /// Interrupts that are due are not raised.
    LosesInterrupts = "loses-interrupts",
    /// Interrupts go to the vector after the queue's.
    WrongVector = "wrong-vector",
    /// One bit of each compressed block is wrong.
    FlipsABit = "flips-a-bit",
    /// CRC-32s of results are wrong.
    WrongChecksum = "wrong-checksum",
    /// Histograms count one end of block too many.
    Miscounts = "miscounts",
    /// Each block is its stream's last.
    EndsEachBlock = "ends-each-block",
    /// A loaded table is not looked at: the fixed code is used.
    IgnoresTables = "ignores-tables",
    /// History is not looked at.
    IgnoresHistory = "ignores-history",
    /// Each level searches one way.
    SearchesOneWay = "searches-one-way",
    /// An engine goes from one context to another as it is.
    Unscrubbed = "unscrubbed",
    /// What does not fit is written beyond the room for it.
    WritesBeyondRoom = "writes-beyond-room",
    /// What cannot be decoded succeeds, with nothing.
    CorruptPasses = "corrupt-passes",
    /// A hang that was asked for strikes each function.
    HangsAllFunctions = "hangs-all-functions",
    /// As many maps as are asked for are made.
    TakesAnyNumberOfMaps = "takes-any-number-of-maps",
    /// A map may overlap another.
    MapsOverlap = "maps-overlap",
    /// A map may begin anywhere.
    MapsMisaligned = "maps-misaligned",
    /// A map may lie where interrupt messages go.
    MapsMsiWindow = "maps-msi-window",
    /// Beyond the page in which it begins, a read of memory gives zeros.
    ReadsOnePage = "reads-one-page",
    /// An access that is refused is reported as done.
    HidesDmaFaults = "hides-dma-faults",
    /// A map for reading is written.
    WritesReadOnlyMaps = "writes-read-only-maps",
    /// Memory is reached with bus mastering off.
    IgnoresBusMaster = "ignores-bus-master",
    /// COMMAND.bus_master cannot be cleared.
    BusMasterSticks = "bus-master-sticks",
    /// What was unmapped is still reached.
    KeepsUnmapped = "keeps-unmapped",
    /// Work goes on through a reset.
    WorksThroughReset = "works-through-reset",
    /// A reset leaves RESET_EPOCH as it was.
    ResetKeepsEpoch = "reset-keeps-epoch",
    /// STATUS.dma_idle never comes.
    NeverIdle = "never-idle",
    /// A function reaches what is mapped for the other one.
    SharesMaps = "shares-maps",
    /// A map for one function takes the place of the other one's at the same address.
    ConfusesMaps = "confuses-maps",
    /// A second client is served beside the first.
    ServesTwoClients = "serves-two-clients",
    /// A kill that is asked for does not come.
    SurvivesKill = "survives-kill",
    /// An engine stops with its job, until the function is reset or the fault is cleared.
    EngineHangs = "engine-hangs",
    /// A completion comes late, by so many milliseconds.
    LateCompletion = "late-completion",
    /// A completion is held back until after the next one. The contract allows it.
    OutOfOrder = "out-of-order",
    /// A completion carries its slot's generation before.
    StaleGeneration = "stale-generation",
    /// A completion names a slot that the queue does not have.
    UnknownCommand = "unknown-command",
    /// A completion says a byte less of output than was written.
    ShortLength = "short-length",
    /// A completion says more output than there was room for.
    LengthBeyondRoom = "length-beyond-room",
    /// A completion's phase word is written first, the rest of it so many milliseconds later.
    TornCompletion = "torn-completion",
    /// A completion is 32 random bytes, but for the phase, which is the one that is due.
    RandomCompletion = "random-completion",
    /// Doorbells of I/O queues are not heard, whether registers or shadow pages.
    LosesDoorbells = "loses-doorbells",
    /// The vectors of I/O queues are raised again and again, as fast as can be.
    InterruptStorm = "interrupt-storm",
    /// A job ends as a DMA fault, though its memory is mapped.
    DmaFaults = "dma-faults",
    /// A job takes a multiple of its cycles, and of the time that it took.
    SlowEngine = "slow-engine",
    /// A reset that is asked for never ends: STATUS.resetting stays.
    ResetSticks = "reset-sticks",
    /// The function is pulled out: its client is cut off, and none is let in for so many milliseconds.
    SurpriseRemoval = "surprise-removal",
    /// The card's process stops (SIGSTOP), and goes on so many milliseconds later.
    Stops = "stops",
    /// The function resets itself, whatever is under way.
    ResetsItself = "resets-itself",
    /// A loaded table is said to lack a code that the job needs.
    MissesTable = "misses-table",
    /// A completion says that less was fetched than was.
    LiesAboutHead = "lies-about-head",
    /// CAPABILITIES announces longer queues, and more jobs an engine, than the card takes.
    LiesAboutDepth = "lies-about-depth",
    /// A job pays for the sets of the hash table that the job before it filled.
    ChargesForSets = "charges-for-sets",
    /// A job that brings no history has that of the job before it.
    KeepsHistory = "keeps-history",
    /// Programming a slot fails: the configuration port reports an error.
    LoadFails = "load-fails",
    /// Programming a slot does not end, until the slot is evicted, the function is reset or the fault is cleared.
    LoadHangs = "load-hangs",
    /// Programming a slot succeeds, and what the slot computes is wrong.
    LoadGarbage = "load-garbage",
}

// Each has a bit.
const _: () = assert!(Fault::ALL.len() <= 128);

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let named = |fault: &&Self| fault.name() == name;
        Self::ALL.iter().find(named).copied().ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|fault| fault.name()).collect();
            format!("there is no fault {name:?}; there are {}", names.join(", "))
        })
    }
}

/// What a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// What the card makes of one job: its result, or its completion.
    Job,
    /// How the function behaves for as long as the fault is on.
    Level,
    /// Something that happens to the function, once.
    Event,
    /// What becomes of programming a slot. Its rules count loads where others count jobs.
    Load,
}

impl Fault {
    /// What it strikes.
    #[must_use]
    pub const fn kind(self) -> FaultKind {
        match self {
            Self::CompletesTwice
            | Self::WrongCommandId
            | Self::WithholdsCompletions
            | Self::FlipsABit
            | Self::WrongChecksum
            | Self::Miscounts
            | Self::EndsEachBlock
            | Self::IgnoresTables
            | Self::IgnoresHistory
            | Self::SearchesOneWay
            | Self::Unscrubbed
            | Self::WritesBeyondRoom
            | Self::CorruptPasses
            | Self::EngineHangs
            | Self::LateCompletion
            | Self::OutOfOrder
            | Self::StaleGeneration
            | Self::UnknownCommand
            | Self::ShortLength
            | Self::LengthBeyondRoom
            | Self::TornCompletion
            | Self::RandomCompletion
            | Self::DmaFaults
            | Self::SlowEngine
            | Self::MissesTable
            | Self::LiesAboutHead
            | Self::ChargesForSets
            | Self::KeepsHistory => FaultKind::Job,
            Self::SurpriseRemoval | Self::Stops | Self::ResetsItself => FaultKind::Event,
            Self::LoadFails | Self::LoadHangs | Self::LoadGarbage => FaultKind::Load,
            _ => FaultKind::Level,
        }
    }

    /// Whether it lies in what every card has around its inside: configuration space, maps, interrupts, the socket and
    /// the process. The others are the functional model's own.
    pub(crate) const fn is_around_the_model(self) -> bool {
        matches!(
            self,
            Self::Gone
                | Self::GoneReadsAsZero
                | Self::NoFlrCapability
                | Self::LosesInterrupts
                | Self::TakesAnyNumberOfMaps
                | Self::MapsOverlap
                | Self::MapsMisaligned
                | Self::MapsMsiWindow
                | Self::WritesReadOnlyMaps
                | Self::BusMasterSticks
                | Self::KeepsUnmapped
                | Self::SharesMaps
                | Self::ConfusesMaps
                | Self::ServesTwoClients
                | Self::SurvivesKill
                | Self::SurpriseRemoval
                | Self::Stops
                | Self::ResetsItself
        )
    }

    /// Whether a rule for it may say for how long, milliseconds.
    #[must_use]
    pub const fn takes_ms(self) -> bool {
        match self.kind() {
            FaultKind::Level => true,
            FaultKind::Event => !matches!(self, Self::ResetsItself),
            FaultKind::Load => matches!(self, Self::LoadHangs),
            FaultKind::Job => matches!(
                self,
                Self::EngineHangs | Self::LateCompletion | Self::TornCompletion
            ),
        }
    }

    /// For how long where a rule does not say it, milliseconds; `None` = until something else ends it.
    #[must_use]
    pub const fn ms_default(self) -> Option<u32> {
        match self {
            Self::LateCompletion => Some(20),
            Self::TornCompletion => Some(1),
            Self::SurpriseRemoval => Some(1_000),
            Self::Stops => Some(500),
            _ => None,
        }
    }

    /// By how much where a rule does not say it; `None` = it takes no factor.
    #[must_use]
    pub const fn factor_default(self) -> Option<u32> {
        match self {
            Self::SlowEngine => Some(4),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own() {
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(*fault));
            assert!(fault.ms_default().is_none() || fault.takes_ms());
        }
        let unknown = "no-such".parse::<Fault>().unwrap_err();
        assert!(unknown.contains("engine-hangs"), "{unknown}");
    }
}
