//! What the driver makes of each fault that a card can have, and how long it takes to be back: the list.
//!
//! Owns the faults, how each is made to strike, and what must come of it over each carrier. Invariant: a row's outcome is
//! words that stay the same from run to run; only its times differ. How a trial goes is in `trial`, its jobs are in `load`,
//! the page is in `page`.

mod load;
pub(crate) mod page;
mod slot_load;
mod trial;

pub(crate) use self::trial::trials;

/// A fault, and what must come of it.
pub(crate) struct Row {
    /// The row's name: the rule without what only a trial needs.
    pub(crate) name: &'static str,
    /// What the card does, for the page.
    pub(crate) does: &'static str,
    /// How it comes about.
    pub(crate) strike: Strike,
    /// What must come of it over vfio-user.
    pub(crate) vfio_user: Expected,
    /// What must come of it over the kernel's VFIO.
    pub(crate) kernel_vfio: Expected,
}

/// How a fault comes about, with jobs under way.
pub(crate) enum Strike {
    /// By rules of the card's fault plan; again and again until it is noticed, if it has to be, for not every job has what
    /// such a fault makes wrong.
    Rules(&'static [&'static str]),
    /// By rules that are there before the function is brought up.
    RulesBefore(&'static [&'static str]),
    /// By a rule that strikes the next load of a slot.
    Load(&'static str),
    /// The host resets the function by its transport's own means.
    HostResets,
    /// The card's process is killed.
    Killed,
}

/// What must come of a fault.
pub(crate) enum Expected {
    /// Every job is served by the card, with the right bytes, and nothing is noticed.
    Served,
    /// It is noticed as one of these, and the function comes back.
    Noticed(&'static [&'static str], Back),
    /// This carrier does not carry it, for this reason.
    NotCarried(&'static str),
}

/// What brings a function back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Back {
    /// Its queue pair is retired, and it serves on by another; fence (b) frees the memory later.
    QueueRetired,
    /// Its reset, which is fence (b).
    Reset,
    /// The end of the card's process, which is fence (d), and another process.
    ProcessReplaced,
    /// Fence (c), and the fault's end by the tester's hand: a card in a slot is not replaced.
    CutOff,
    /// Another load of the slot: the function was never gone.
    SlotLoaded,
    /// Its reset, which is fence (b), but only after the fault's end by the tester's hand.
    Cleared,
}

impl Back {
    /// For the page.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::QueueRetired => "queue pair retired",
            Self::Reset => "reset",
            Self::ProcessReplaced => "process replaced",
            Self::CutOff => "cut off, mended",
            Self::SlotLoaded => "slot loaded again",
            Self::Cleared => "reset, mended",
        }
    }
}

impl Expected {
    /// The words for the page.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Served => "served".to_owned(),
            Self::Noticed(kinds, back) => format!("{}, {}", kinds.join(" or "), back.words()),
            Self::NotCarried(why) => format!("not carried: {why}"),
        }
    }
}

/// The kernel's VFIO has no word of a peer's end: QEMU stands between.
const QEMU_KEEPS_NO_DEAD_PEER: Expected = Expected::NotCarried(
    "QEMU does not connect again to a peer that hung up, so the slot would stay dead",
);

/// As what a completion is noticed that came before: by what its slot, or its queue, is up to when it is looked at.
const TWICE: &[&str] = &["stale-command", "unknown-command", "bad-submission-head"];

/// All of them, in the page's order.
pub(crate) const ROWS: &[Row] = &[
    Row {
        name: "engine-hangs",
        does: "An engine stops with its job.",
        strike: Strike::Rules(&["engine-hangs,function=0,after=2,times=1"]),
        vfio_user: Expected::Noticed(&["hang"], Back::Reset),
        kernel_vfio: Expected::Noticed(&["hang"], Back::Reset),
    },
    Row {
        name: "withholds-completions",
        does: "A completion is lost.",
        strike: Strike::Rules(&["withholds-completions,function=0,after=2,times=1"]),
        vfio_user: Expected::Noticed(&["hang"], Back::Reset),
        kernel_vfio: Expected::Noticed(&["hang"], Back::Reset),
    },
    Row {
        name: "completes-twice",
        does: "A completion comes twice.",
        strike: Strike::Rules(&["completes-twice,function=0,after=2,times=1"]),
        vfio_user: Expected::Noticed(TWICE, Back::QueueRetired),
        kernel_vfio: Expected::Noticed(TWICE, Back::QueueRetired),
    },
    Row {
        name: "late-completion,ms=20",
        does: "Completions come late, but within the limit.",
        strike: Strike::Rules(&["late-completion,function=0,after=2,times=3,ms=20"]),
        vfio_user: Expected::Served,
        kernel_vfio: Expected::Served,
    },
    Row {
        name: "late-completion,ms=4000",
        does: "A completion comes when its function was given up long ago.",
        strike: Strike::Rules(&["late-completion,function=0,after=2,times=1,ms=4000"]),
        vfio_user: Expected::Noticed(&["hang"], Back::Reset),
        kernel_vfio: Expected::Noticed(&["hang"], Back::Reset),
    },
    Row {
        name: "out-of-order",
        does: "Completions come in another order than their commands, which the contract allows.",
        strike: Strike::Rules(&["out-of-order,function=0"]),
        vfio_user: Expected::Served,
        kernel_vfio: Expected::Served,
    },
    Row {
        name: "stale-generation",
        does: "A completion names an earlier use of its slot.",
        strike: Strike::Rules(&["stale-generation,function=0,after=2,times=1"]),
        vfio_user: Expected::Noticed(&["stale-command"], Back::QueueRetired),
        kernel_vfio: Expected::Noticed(&["stale-command"], Back::QueueRetired),
    },
    Row {
        name: "unknown-command",
        does: "A completion names a slot that the queue does not have.",
        strike: Strike::Rules(&["unknown-command,function=0,after=2,times=1"]),
        vfio_user: Expected::Noticed(&["unknown-command"], Back::QueueRetired),
        kernel_vfio: Expected::Noticed(&["unknown-command"], Back::QueueRetired),
    },
    Row {
        name: "wrong-command-id",
        does: "A completion names the command before.",
        strike: Strike::Rules(&["wrong-command-id,function=0,after=2,times=1"]),
        vfio_user: Expected::Noticed(&["stale-command", "unknown-command"], Back::QueueRetired),
        kernel_vfio: Expected::Noticed(&["stale-command", "unknown-command"], Back::QueueRetired),
    },
    Row {
        name: "short-length",
        does: "A completion says a byte less than was written.",
        strike: Strike::Rules(&["short-length,function=0,times=1"]),
        vfio_user: Expected::Noticed(&["verification"], Back::Reset),
        kernel_vfio: Expected::Noticed(&["verification"], Back::Reset),
    },
    Row {
        name: "length-beyond-room",
        does: "A completion says more bytes than there was room for.",
        strike: Strike::Rules(&["length-beyond-room,function=0,after=2,times=1"]),
        vfio_user: Expected::Noticed(&["length-beyond-limit"], Back::QueueRetired),
        kernel_vfio: Expected::Noticed(&["length-beyond-limit"], Back::QueueRetired),
    },
    Row {
        name: "wrong-checksum",
        does: "The CRC-32 of a result is wrong. The host makes its own, never passes on a card's, and compares them.",
        strike: Strike::Rules(&["wrong-checksum,function=0,times=1"]),
        vfio_user: Expected::Noticed(&["verification"], Back::Reset),
        kernel_vfio: Expected::Noticed(&["verification"], Back::Reset),
    },
    Row {
        name: "flips-a-bit",
        does: "One bit of a compressed block is wrong.",
        strike: Strike::Rules(&["flips-a-bit,function=0,times=1"]),
        vfio_user: Expected::Noticed(&["verification"], Back::Reset),
        kernel_vfio: Expected::Noticed(&["verification"], Back::Reset),
    },
    Row {
        name: "torn-completion",
        does: "A completion's phase word is written first, the rest of it later.",
        strike: Strike::Rules(&["torn-completion,function=0,after=2,times=1"]),
        vfio_user: Expected::Noticed(&["bad-check"], Back::QueueRetired),
        kernel_vfio: Expected::Noticed(&["bad-check"], Back::QueueRetired),
    },
    Row {
        name: "random-completion",
        does: "A completion is random bytes, with the phase that is due.",
        strike: Strike::Rules(&["random-completion,function=0,after=2,times=1"]),
        vfio_user: Expected::Noticed(&["bad-check"], Back::QueueRetired),
        kernel_vfio: Expected::Noticed(&["bad-check"], Back::QueueRetired),
    },
    Row {
        name: "loses-doorbells",
        does: "Doorbells are not heard, those of the admin queue neither.",
        strike: Strike::Rules(&["loses-doorbells,function=0"]),
        vfio_user: Expected::Noticed(&["hang"], Back::ProcessReplaced),
        kernel_vfio: Expected::Noticed(&["hang"], Back::Cleared),
    },
    Row {
        name: "loses-interrupts",
        does: "Interrupts that are due do not come.",
        strike: Strike::Rules(&["loses-interrupts,function=0"]),
        vfio_user: Expected::Served,
        kernel_vfio: Expected::Served,
    },
    Row {
        name: "interrupts-unasked",
        does: "Interrupts come whether or not they are wanted.",
        strike: Strike::Rules(&["interrupts-unasked,function=0"]),
        vfio_user: Expected::Served,
        kernel_vfio: Expected::Served,
    },
    Row {
        name: "interrupt-storm",
        does: "The queue's interrupt comes without end.",
        strike: Strike::Rules(&["interrupt-storm,function=0"]),
        vfio_user: Expected::Served,
        kernel_vfio: Expected::Served,
    },
    Row {
        name: "dma-faults",
        does: "A job ends as a DMA fault, though its memory is mapped.",
        strike: Strike::Rules(&["dma-faults,function=0,after=2,times=1"]),
        vfio_user: Expected::Noticed(&["command-failed"], Back::Reset),
        kernel_vfio: Expected::Noticed(&["command-failed"], Back::Reset),
    },
    Row {
        name: "slow-engine,factor=4",
        does: "Jobs take four times as long.",
        strike: Strike::Rules(&["slow-engine,function=0,factor=4"]),
        vfio_user: Expected::Served,
        kernel_vfio: Expected::Served,
    },
    Row {
        name: "slow-engine,factor=100",
        does: "Jobs take a hundred times as long.",
        strike: Strike::Rules(&["slow-engine,function=0,factor=100"]),
        vfio_user: Expected::Served,
        kernel_vfio: Expected::Served,
    },
    Row {
        name: "gone",
        does: "Registers read as all-ones.",
        strike: Strike::Rules(&["gone,function=0"]),
        vfio_user: Expected::Noticed(&["gone"], Back::ProcessReplaced),
        kernel_vfio: Expected::Noticed(&["gone"], Back::CutOff),
    },
    Row {
        name: "engine-hangs+reset-sticks",
        does: "An engine stops with its job, and the function's reset never ends.",
        strike: Strike::Rules(&[
            "engine-hangs,function=0,after=2,times=1",
            "reset-sticks,function=0",
        ]),
        vfio_user: Expected::Noticed(&["hang"], Back::ProcessReplaced),
        kernel_vfio: Expected::Noticed(&["hang"], Back::CutOff),
    },
    Row {
        name: "engine-hangs+never-idle",
        does: "An engine stops with its job, and after its reset the function never says that its DMA is idle.",
        strike: Strike::Rules(&[
            "engine-hangs,function=0,after=2,times=1",
            "never-idle,function=0",
        ]),
        vfio_user: Expected::Noticed(&["hang"], Back::ProcessReplaced),
        kernel_vfio: Expected::Noticed(&["hang"], Back::CutOff),
    },
    Row {
        name: "surprise-removal",
        does: "The function is pulled out: its client is cut off, and none is let in for a while.",
        strike: Strike::Rules(&["surprise-removal,function=0,ms=1000"]),
        vfio_user: Expected::Noticed(&["gone"], Back::ProcessReplaced),
        kernel_vfio: QEMU_KEEPS_NO_DEAD_PEER,
    },
    Row {
        name: "stops,ms=300",
        does: "The card's process stops, and goes on within the limit.",
        strike: Strike::Rules(&["stops,ms=300"]),
        vfio_user: Expected::Served,
        kernel_vfio: Expected::Served,
    },
    Row {
        name: "stops,ms=5000",
        does: "The card's process stops for longer than anybody waits.",
        strike: Strike::Rules(&["stops,ms=5000"]),
        vfio_user: Expected::Noticed(&["hang", "transport"], Back::ProcessReplaced),
        kernel_vfio: Expected::NotCarried(
            "the virtual machine stands still with the peer of its QEMU",
        ),
    },
    Row {
        name: "resets-itself",
        does: "The function resets itself in the midst of jobs.",
        strike: Strike::Rules(&["resets-itself,function=0,after=2,times=1"]),
        vfio_user: Expected::Noticed(&["hang"], Back::Reset),
        kernel_vfio: Expected::Noticed(&["hang"], Back::Reset),
    },
    Row {
        name: "host-resets",
        does: "The host itself resets the function, by FLR, in the midst of jobs.",
        strike: Strike::HostResets,
        vfio_user: Expected::Noticed(&["worker-ended"], Back::Reset),
        kernel_vfio: Expected::Noticed(&["worker-ended"], Back::Reset),
    },
    Row {
        name: "misses-table",
        does: "A loaded table is said to lack a code that the job needs: the driver goes on with the fixed code.",
        strike: Strike::Rules(&["misses-table,function=0"]),
        vfio_user: Expected::Served,
        kernel_vfio: Expected::Served,
    },
    Row {
        name: "lies-about-head",
        does: "A completion says that less was fetched than was.",
        strike: Strike::Rules(&["lies-about-head,function=0,after=2,times=1"]),
        vfio_user: Expected::Noticed(&["bad-submission-head"], Back::QueueRetired),
        kernel_vfio: Expected::Noticed(&["bad-submission-head"], Back::QueueRetired),
    },
    Row {
        name: "lies-about-depth",
        does: "Longer queues are announced, and more jobs an engine, than the card takes.",
        strike: Strike::RulesBefore(&["lies-about-depth,function=0"]),
        vfio_user: Expected::Noticed(&["bring-up"], Back::ProcessReplaced),
        kernel_vfio: Expected::Noticed(&["bring-up"], Back::Cleared),
    },
    Row {
        name: "load-fails",
        does: "Programming a slot fails.",
        strike: Strike::Load("load-fails,function=0,times=1"),
        vfio_user: Expected::Noticed(&["load-failed"], Back::SlotLoaded),
        kernel_vfio: Expected::Noticed(&["load-failed"], Back::SlotLoaded),
    },
    Row {
        name: "load-hangs",
        does: "Programming a slot does not end.",
        strike: Strike::Load("load-hangs,function=0,times=1"),
        vfio_user: Expected::Noticed(&["load-hang"], Back::SlotLoaded),
        kernel_vfio: Expected::Noticed(&["load-hang"], Back::SlotLoaded),
    },
    Row {
        name: "load-garbage",
        does: "A slot is programmed, and what it computes is wrong.",
        strike: Strike::Load("load-garbage,function=0,times=1"),
        vfio_user: Expected::Noticed(&["load-self-test"], Back::SlotLoaded),
        kernel_vfio: Expected::Noticed(&["load-self-test"], Back::SlotLoaded),
    },
    Row {
        name: "killed",
        does: "The card's process is killed.",
        strike: Strike::Killed,
        vfio_user: Expected::Noticed(&["gone"], Back::ProcessReplaced),
        kernel_vfio: QEMU_KEEPS_NO_DEAD_PEER,
    },
];
