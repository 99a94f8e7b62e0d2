//! Faults that a card can be told to have, by name, while it runs: what shows that a test of the contract can fail.
//!
//! Owns the list and which of them are on. Invariant: none ever is unless the card was started with `allow_faults`, for
//! nothing else sets one; each is looked at in one place, beside the rule that it breaks.
//! It does not know schedules or chance: a fault is on from when it is set until it is cleared.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! faults {
    ($($(#[$doc:meta])+ $variant:ident = $name:literal,)+) => {
        /// A way in which a card breaks the contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Fault {
            $($(#[$doc])+ $variant,)+
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
        }
    };
}

faults! {
    /// Registers read as all-ones, as those of a function that was pulled out.
    Gone = "gone",
    /// With [`Fault::Gone`]: they read as zeros instead.
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
    /// A completion is 28 random bytes, with the phase that is due.
    RandomCompletion = "random-completion",
    /// Doorbells are not heard.
    LosesDoorbells = "loses-doorbells",
    /// The queue's vector is raised without end, a thousand times a millisecond or as fast as can be.
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
}

// Each has a bit.
const _: () = assert!(Fault::ALL.len() <= 128);

impl std::str::FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let named = |fault: &&Self| fault.name() == name;
        Self::ALL
            .iter()
            .find(named)
            .copied()
            .ok_or_else(|| format!("there is no fault {name:?}"))
    }
}

/// The faults of one card that are on. Its functions share them.
#[derive(Debug, Default)]
pub(crate) struct Faults([AtomicU64; 2]);

impl Faults {
    /// Whether a fault is on.
    pub(crate) fn on(&self, fault: Fault) -> bool {
        let (word, bit) = self.place(fault);
        word.load(Ordering::Relaxed) & bit != 0
    }

    /// Whether any fault is on.
    pub(crate) fn any(&self) -> bool {
        self.0.iter().any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Turns a fault on.
    pub(crate) fn set(&self, fault: Fault) {
        let (word, bit) = self.place(fault);
        word.fetch_or(bit, Ordering::SeqCst);
    }

    /// Turns all off.
    pub(crate) fn clear(&self) {
        for word in &self.0 {
            word.store(0, Ordering::SeqCst);
        }
    }

    fn place(&self, fault: Fault) -> (&AtomicU64, u64) {
        let [low, high] = &self.0;
        let number = fault as u8;
        (if number < 64 { low } else { high }, 1 << (number % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_and_a_bit_of_its_own() {
        let faults = Faults::default();
        for (n, fault) in Fault::ALL.iter().enumerate() {
            assert_eq!(fault.name().parse(), Ok(*fault));
            assert!(!faults.on(*fault));
            faults.set(*fault);
            assert!(
                Fault::ALL
                    .iter()
                    .skip(n + 1)
                    .all(|later| !faults.on(*later))
            );
        }
        faults.clear();
        assert!(Fault::ALL.iter().all(|fault| !faults.on(*fault)));
        assert!("no-such".parse::<Fault>().is_err());
    }
}
