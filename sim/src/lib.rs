//! The simulated card: a vfio-user server in its own process.
//!
//! Two functions, each behind a UNIX socket of its own, speak vfio-user to one client at a time. Behind the protocol
//! is a PCI function with registers, queues and engines as the contract (`faam-hwif`) has them; the engines run a
//! functional model that is exact to the bit, and count the cycles that gateware would take.
//!
//! Everything that comes over the socket or lies in the client's memory is taken for hostile.
//!
//! | module | owns |
//! |---|---|
//! | `protocol` | frames, messages, the socket |
//! | `config_space`, `msix` | what PCI software sees |
//! | `memory` | the client's memory: maps, rights, leases. The only unsafe code |
//! | `function`, `registers` | a function's life, BAR0 |
//! | `queues`, `dispatcher`, `admin`, `job` | rings, fetching, commands |
//! | `engine_pool`, `engine`, `model` | jobs that wait, executing them |
//! | `slots` | the kernels that execute them, loaded and evicted in modelled time |
//! | `inside`, `gateware` | what may stand in place of all these: the gateware itself, simulated |
//! | `faults`, `fault_plan`, `function_faults`, `fault_socket`, `removal`, `stop` | misbehaving when told to, for tests |
//! | `card`, `process`, `options` | the whole, as a value and as a process |
//! | `fuzzing` | what arbitrary input must not break; in no build that is used |

mod admin;
mod bell;
mod card;
mod config_space;
mod dispatcher;
mod engine;
mod engine_pool;
mod error_log;
mod fault_plan;
mod fault_socket;
mod faults;
mod function;
mod function_faults;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
#[cfg(feature = "rtl")]
mod gateware;
mod inside;
mod job;
mod memory;
pub mod model;
mod msix;
mod options;
mod process;
mod protocol;
mod queues;
mod registers;
mod removal;
mod search;
mod slots;
mod stop;

pub use card::{Card, StartError};
pub use fault_plan::{
    FACTOR_MAX, FAULT_MS_MAX, FaultPlan, FaultRule, PLAN_BYTES_MAX, RULES_MAX, RuleError,
};
pub use faults::{Fault, FaultKind};
pub use memory::MAPS_MAX;
pub use options::{CLOCK_MHZ_DEFAULT, CLOCK_MHZ_MAX, ENGINES_MAX, InSlots, Model, Options};
pub use process::{RunError, run};
