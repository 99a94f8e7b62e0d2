//! A seeded simulation of a machine that serves many tenants: the real scheduler and token buckets, everything else as a model.
//!
//! [`run`] takes a [`Scenario`] and gives a [`Report`]. Time is simulated: days pass in seconds, and nothing sleeps. Real are
//! [`crate::Scheduler`] with its predictor, and [`crate::TokenBucket`]: their code is the gateway's. Modelled are callers,
//! admission's other bounds, the HTTP side, cores, cards and their faults.
//!
//! Invariants: the same scenario gives the same run, to the last event ([`Report::trace_hash`]); what must hold of any
//! gateway ([`Invariant`]) is checked while it runs, and a breach names the seed and the event.
//!
//! It deliberately does not know files, clocks, threads or how figures are shown.
//!
//! | module | owns |
//! |---|---|
//! | `scenario`, `arrivals` | what is simulated; when requests come, and how large |
//! | `random`, `events`, `histogram` | numbers, moments, percentiles |
//! | `admission`, `requests` | who may begin; who is in flight |
//! | `engines`, `serving` | cores and cards; what they do next |
//! | `run`, `request_life`, `card_faults` | the run itself; what becomes of a request; what befalls cards |
//! | `invariants` | what must hold |
//! | `report` | the figures |

mod admission;
mod arrivals;
mod card_faults;
mod engines;
mod events;
mod histogram;
mod invariants;
mod random;
mod report;
mod request_life;
mod requests;
mod run;
mod scenario;
mod serving;

pub use admission::Refusal;
pub use arrivals::{Arrivals, Sizes};
pub use engines::CoreTime;
pub use histogram::Histogram;
pub use invariants::{Invariant, Violation};
pub use random::Random;
pub use report::{ClassFigures, FunctionFigures, Outcome, Report, SLOTS, Slot, TenantFigures};
pub use run::{RunError, run, run_with};
pub use scenario::{
    BLOCK_BYTES, BODY_BYTES_MAX, Backend, CORES_MAX, Card, Cost, Cycles, DURATION_MAX, ENGINES_MAX,
    Fault, FaultKind, Kernel, Machine, Scenario, TENANTS_MAX, TenantClass, Trace, TraceEntry,
    Unfit,
};
