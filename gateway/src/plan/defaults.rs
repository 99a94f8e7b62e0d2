//! What a scenario need not say: a machine, the kernels' costs, a card's clock, each with where it comes from.
//!
//! Owns the figures. Invariant: each was measured with the command that stands beside it, or is a count of the card's model;
//! `faam plan --calibrate` measures those of a core anew on the machine at hand. It does not know what is planned.

use faam_sched::Nanos;
use faam_sched::simulation::{Card, Cost, Cycles, Kernel};

/// Cores of a machine, where the scenario says nothing.
pub(super) const CORES: u32 = 8;

/// The HTTP side's part of a request: processor time of a gateway for each request over its engines' and verification's, by
/// bodies of 1 KiB to 1 MiB. `gateway/sched/SIMULATION.md`, "What was measured", says how.
pub(super) const HTTP: Cost = Cost {
    fixed_ns: 21_000,
    ps_per_byte: 1_000,
};
/// Hand-off of a block to an engine's thread and back, busy and idle: `make bench-http`, README, "Figures".
pub(super) const HAND_OFF_BUSY: Nanos = Nanos(2_050);
/// See [`HAND_OFF_BUSY`].
pub(super) const HAND_OFF_IDLE: Nanos = Nanos(107_000);

/// A card as `faam sim` models one, at its default clock.
pub(super) const CARD: Card = Card {
    functions: 2,
    engines: 1,
    depth: None,
    clock_khz: 250_000,
    // From a doorbell to its interrupt, p50, over vfio-user: README, "Figures". The bytes' way is 8 GB/s, half of what PCIe
    // 4.0 x8 has on paper: no card was there to measure it.
    transfer: Cost {
        fixed_ns: 50_000,
        ps_per_byte: 125,
    },
    // The hash table's sets, one a cycle: `bitstreams/doc/algorithm.md`, 11; `sim/src/engine.rs`.
    scrub_cycles: 8_192,
};

/// Kernels that a scenario can name without saying what they cost: levels of gzip on a core, by `faam plan --calibrate` of a
/// release build on a core of a Zen 3 server (ISA-L where the level has it), and the card level that serves them, by
/// `bitstreams/doc/algorithm.md`, 10, and `driver/src/worker/plan.rs`: a pass is a cycle a byte; balanced counts 16 KiB from the
/// start before it, dense all; a table costs 320 cycles and its header's bytes, of which there are 80 or so.
pub(super) fn kernels() -> [Kernel; 3] {
    [
        kernel("fast", [9_800, 2_210], [1_700, 1_210], (64, 0)),
        kernel(
            "balanced",
            [4_800, 3_550],
            [1_500, 1_230],
            (TABLE, 16 << 10),
        ),
        kernel("dense", [600, 9_860], [0, 1_540], (TABLE, u64::MAX)),
    ]
}

/// Cycles of both commands of a job with a table of its own, whatever its size.
const TABLE: u64 = 64 + 320 + 64 + 320 + 80;

/// The HTTP level of each of them that was measured.
pub(super) const LEVELS: [(&str, u8); 3] = [("fast", 1), ("balanced", 3), ("dense", 6)];

fn kernel(name: &str, cpu: [u64; 2], verify: [u64; 2], card: (u64, u64)) -> Kernel {
    let cost = |[fixed_ns, ps_per_byte]: [u64; 2]| Cost {
        fixed_ns,
        ps_per_byte,
    };
    Kernel {
        name: name.to_owned(),
        cpu: cost(cpu),
        verify: cost(verify),
        jitter: 0.07,
        card: Some(Cycles {
            fixed: card.0,
            milli_per_byte: 1_000,
            counted_bytes_max: card.1,
        }),
    }
}
