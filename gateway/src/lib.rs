//! FaaM: accelerator cards as a shared compression service.
//!
//! The gateway takes callers' bytes over HTTP, cuts them into jobs, runs those on whatever
//! engine ends soonest, verifies each result against the host's own input, and answers.
//!
//! | module | owns |
//! |---|---|
//! | `gateway`, `config` | one gateway, assembled, and what it is started with |
//! | `http` | the HTTP surface |
//! | `descriptors` | file descriptors, and the reserve that callers never take |
//! | `base64` | bytes as text, and back |
//! | `auth`, `tenants` | from a credential to a tenant, and its limits |
//! | `auth_failures` | wrong credentials, limited by source |
//! | `credentials` | kinds of credential: how each is made, presented and recognised |
//! | `directory` | the tenants and credentials that there are, and changes of them |
//! | `admission` | who may begin: requests in flight, memory of bodies |
//! | `error` | every problem's name and status |
//! | `job`, `dispatch`, `job_queue` | a block on its way through an engine; the one boundary between async and threads |
//! | `pending_job`, `queue_room` | a job with the way back to its caller; places in a tenant's queue |
//! | `card_claim`, `small_job` | what a card says it made of a job; which jobs run where they come from |
//! | `cpu`, `engines`, `thread_time` | the CPU engines' workers; which engine serves a level; what work took of its thread's time |
//! | `cards`, `card_supervisor`, `card_process`, `card_worker` | cards: their processes, their supervision, their queue pairs |
//! | `card_faults` | our own simulated cards told to fail |
//! | `allowed_images` | which images may serve a tenant |
//! | `card_kernel` | kernels of cards, and what each serves of what callers ask for |
//! | `images` | images that are kept, and verified before they are programmed |
//! | `card_operation` | what an operator asks of a card's function |
//! | `card_slots`, `slot_image`, `slot_keeper` | what is asked of a function's slots; the kernels that go into one; who keeps them there |
//! | `limit_met` | what holds a request up without ending it |
//! | `metrics` | what is published |
//! | `events` | what happened, kept and logged |
//! | `telemetry` | spans on their way to a collector |

#![cfg_attr(
    not(all(target_os = "linux", target_arch = "x86_64")),
    expect(
        dead_code,
        reason = "the way back from a card is unused where there is no driver"
    )
)]

pub mod admission;
pub mod allowed_images;
pub mod auth;
pub mod auth_failures;
mod base64;
mod busy;
mod card_claim;
pub mod card_faults;
pub mod card_kernel;
pub mod card_operation;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod card_process;
pub mod card_recovery;
pub mod card_slots;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod card_supervisor;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod card_worker;
pub mod cards;
mod command_limit;
pub mod config;
mod cpu;
pub mod credentials;
pub mod descriptors;
pub mod directory;
pub mod dispatch;
pub mod engines;
pub mod error;
pub mod events;
#[cfg(test)]
mod fateful_store;
pub mod fault_met;
pub mod fronts;
pub mod gateway;
pub mod http;
pub mod images;
pub mod job;
mod job_queue;
pub mod limit_met;
pub mod meter;
pub mod metrics;
mod pending_job;
mod queue_room;
pub mod slot_image;
pub mod slot_keeper;
mod small_job;
pub mod telemetry;
pub mod tenants;
mod thread_time;
pub mod usage;
