//! Userspace driver for FaaM cards: transports, DMA arena, rings, queue-pair workers.
//!
//! Owns everything between a job and a card's function: reaching its registers
//! ([`transport`]), memory that both share ([`dma`]), bringing it up and resetting it
//! ([`function`]), its queues ([`queue_pair`]), and a thread a queue pair that pulls jobs
//! ([`worker`]). Invariants: a card is never believed (every byte of it is checked before
//! it is acted upon); memory that an unfinished command names is not reused before a
//! fence; every job taken is completed exactly once.
//! It deliberately does not know tenants, schedules, HTTP or any asynchronous runtime,
//! nor whether a card is hardware or simulated: that is the transport's business.
//!
//! x86-64 Linux only: the rings' orderings rely on it. Elsewhere the crate is empty.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod admin;
mod bring_up;
pub mod command_table;
pub mod dma;
mod event;
pub mod fault;
pub mod function;
pub mod huffman;
pub mod identity;
mod queue;
pub mod queue_pair;
pub mod rings;
mod self_test;
pub mod transport;
pub mod worker;

pub use admin::AdminError;
pub use bring_up::BringUpError;
pub use dma::{Arena, ChildFence, DmaBuffer, FenceProof, Incarnation};
pub use fault::DeviceFault;
pub use function::{Function, FunctionConfig, QueuePairError, ResetError};
pub use identity::{FunctionIdentity, ModelKind};
pub use queue_pair::QueuePair;
pub use self_test::{SelfTest, SelfTestError};
pub use transport::vfio_user::VfioUser;
pub use transport::{Transport, TransportError, TransportKind};
pub use worker::{
    Completion, DataRefusal, Job, JobSource, Kernel, Outcome, Request, Waker, Worker, WorkerConfig,
    WorkerExit, WorkerHandle,
};
