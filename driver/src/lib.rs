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
//! x86-64 Linux only: the rings' orderings rely on it. Elsewhere the crate holds just the
//! table builder ([`huffman`]), which is arithmetic, and the names of PCI functions.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod admin;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod bring_up;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod command_table;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod cut_off;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod dma;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod event;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod fault;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod function;
#[cfg(all(any(test, fuzzing), target_os = "linux", target_arch = "x86_64"))]
pub mod fuzzing;
pub mod huffman;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod identity;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod iova_plan;
mod pci_address;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod queue;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod queue_pair;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod rings;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod self_test;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod slots;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod transport;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod worker;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use admin::AdminError;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use bring_up::BringUpError;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use cut_off::CutOffError;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use dma::{Arena, ChildFence, DmaBuffer, FenceProof, Incarnation, PageSize};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use fault::DeviceFault;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use function::{Function, FunctionConfig, QueuePairError, ResetError};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use identity::{FunctionIdentity, ModelKind, SlotsIdentity};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use iova_plan::{IovaPlan, NoPlace};
pub use pci_address::{BadPciAddress, PciAddress};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use queue_pair::QueuePair;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use self_test::{GoldenJob, SelfTest, SelfTestError};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use slots::{Loaded, Slot, SlotError};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use transport::kernel_vfio::{KernelVfio, MemoryLock, group_opens_once};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use transport::vfio_user::VfioUser;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use transport::{Transport, TransportError, TransportKind, Unavailable};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub use worker::{
    Completion, DataRefusal, Job, JobSource, Kernel, Outcome, Request, Waker, Worker, WorkerConfig,
    WorkerExit, WorkerHandle,
};
