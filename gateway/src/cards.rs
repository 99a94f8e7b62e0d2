//! The cards of a gateway, as the rest of it sees them: sources, states, and a supervisor each.
//!
//! Owns the list of supervisors. What one does is in `card_supervisor`, which exists only
//! where the driver does (x86-64 Linux); elsewhere a gateway has no cards and serves on its CPU
//! engines. It deliberately does not know how a card is reached or recovered.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam::channel::{Receiver, Sender, bounded};
use faam_driver::PciAddress;
use faam_hwif::{FUNCTIONS, QueueId};
use parking_lot::Mutex;
use serde::Serialize;

use crate::card_operation::Operation;
use crate::card_recovery::{FunctionState, RecoveryStatus};
use crate::card_slots::{SlotReply, SlotRequest, SlotStatus};
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::card_supervisor::SlotEnd;
use crate::dispatch::{DispatchConfig, StartError};
use crate::job_queue::JobQueue;
use crate::slot_image::SlotDevice;
use crate::slot_keeper::KeptCard;

/// Events that a card's supervisor has queued; one of each kind is enough.
const EVENTS_MAX: usize = 64;

/// Where a card comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CardSource {
    /// A simulated card, run as a child process.
    OwnSimulated {
        /// What is inside.
        model: faam_sim::Model,
        /// Engines a function.
        engines: u8,
        /// Clock by which completions are paced, MHz; `None` = as fast as the model runs.
        pace_mhz: Option<u32>,
        /// What its slots hold at its start.
        slots: SimulatedSlots,
        /// How it is to fail.
        faults: SimulatedFaults,
    },
    /// Functions of a PCI card, bound to vfio-pci.
    Pci {
        /// Where they are, by number.
        functions: Vec<PciAddress>,
    },
    /// A vfio-user server that somebody else runs, with a socket a function in this directory.
    VfioUser {
        /// The directory.
        dir: PathBuf,
    },
}

/// What the slots of own simulated cards hold at their start, as `faam sim --slots` takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SimulatedSlots {
    /// The factory's kernel, which does everything.
    #[default]
    Factory,
    /// Nothing.
    Empty,
}

impl SimulatedSlots {
    /// As the command line spells it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Factory => "factory",
            Self::Empty => "empty",
        }
    }
}

/// How own simulated cards are to fail, as `faam sim` takes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SimulatedFaults {
    /// Faults may be asked for while they run; without it the rest must be empty.
    pub allowed: bool,
    /// A file of rules.
    pub file: Option<PathBuf>,
    /// Rules.
    pub rules: Vec<String>,
}

impl CardSource {
    /// How many functions the card has.
    pub(crate) fn functions(&self) -> u8 {
        match self {
            Self::OwnSimulated { .. } | Self::VfioUser { .. } => FUNCTIONS,
            Self::Pci { functions } => u8::try_from(functions.len()).unwrap_or(u8::MAX),
        }
    }

    /// Where a function of the card of this number is, as it stays from start to start.
    pub(crate) fn address(&self, data_dir: &Path, card: u8, function: u8) -> String {
        let dir = match self {
            Self::OwnSimulated { .. } => socket_dir(data_dir, card),
            Self::VfioUser { dir } => dir.clone(),
            Self::Pci { functions } => {
                let address = functions.get(usize::from(function));
                return address.map_or_else(String::new, |address| format!("pci:{address}"));
            }
        };
        format!("vfio-user:{}/fn{function}", dir.display())
    }
}

/// Directory of an own simulated card's sockets: short, for a socket's path has at most 107 bytes.
pub(crate) fn socket_dir(data_dir: &Path, card: u8) -> PathBuf {
    data_dir.join(format!("card{card}"))
}

/// What a supervisor is told.
#[derive(Debug)]
pub(crate) enum CardEvent {
    /// A function's worker ended.
    WorkerEnded {
        function: u8,
        life: u64,
        end: WorkerEnd,
    },
    /// A function's result was wrong.
    VerifyFailed { function: u8, life: u64 },
    /// A function had a job without its kernel: what its slots serve is to be looked at.
    KernelAbsent { function: u8, life: u64 },
    /// An operator asks something of a function.
    Operator { function: u8, operation: Operation },
    /// A slot of a function is to be loaded or evicted.
    Slot {
        function: u8,
        request: SlotRequest,
        reply: SlotReply,
    },
    /// That has ended.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    SlotEnded {
        function: u8,
        life: u64,
        end: SlotEnd,
    },
    /// Shut down.
    Stop,
}

/// How a worker ended.
#[derive(Debug)]
pub(crate) struct WorkerEnd {
    /// The label for metrics.
    pub(crate) kind: &'static str,
    /// The same in a sentence.
    pub(crate) why: String,
    /// The queue pair that is at fault, where it is one alone.
    pub(crate) queue: Option<QueueId>,
}

/// State of a card, as operators see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CardState {
    /// Not yet, or not again, able to serve.
    Starting,
    /// Every function serves.
    InService,
    /// Some function serves, another is being recovered.
    Degraded,
    /// Every function would serve, and an operator has all of them drained.
    Drained,
    /// No function serves; recovery is under way.
    Recovering,
    /// No function serves, and none is tried any more: each has its reason in `recovery`.
    OutOfService,
}

/// A card, as operators see it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct CardStatus {
    /// Number, as in `fpga0`.
    pub card: u8,
    /// State.
    pub state: CardState,
    /// Whether it is anything but hardware.
    pub simulated: bool,
    /// Serial number, once known.
    pub serial: Option<String>,
    /// Process, where it is our own simulated card.
    pub pid: Option<u32>,
    /// Processes started after the first.
    pub restarts: u32,
    /// Why it last failed.
    pub last_fault: Option<String>,
    /// How long it was out of service the last time, from the fault's detection to the first function back.
    pub last_readmission_ms: Option<u64>,
    /// Its faults as a whole card, and when it is tried again.
    pub recovery: RecoveryStatus,
    /// Its functions.
    pub functions: Vec<FunctionStatus>,
}

impl CardStatus {
    /// Brings `state` into step with an operator's drains. What a fault does to a card stands before them.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    pub(crate) fn note_drained(&mut self) {
        let all = self.functions.iter().all(|function| function.drained);
        self.state = match self.state {
            CardState::InService if all => CardState::Drained,
            CardState::Drained if !all => CardState::InService,
            state => state,
        };
    }
}

/// A function, as operators see it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct FunctionStatus {
    /// Name, as in `Faam-Backend`.
    pub name: String,
    /// Where it is, as it stays from start to start.
    pub address: String,
    /// How it stands, drained or not.
    pub state: FunctionState,
    /// Whether it serves, or would if it were not drained.
    pub in_service: bool,
    /// Whether an operator has it get no more jobs.
    pub drained: bool,
    /// Its engines, once known.
    pub engines: Option<u32>,
    /// Its clock, kHz, once known.
    pub clock_khz: Option<u32>,
    /// Faults since start.
    pub faults: u32,
    /// What its faults have come to, and when it is tried again.
    pub recovery: RecoveryStatus,
    /// Its slots; none where its kernels are fixed.
    pub slots: Vec<SlotStatus>,
    /// What images for them have to fit.
    #[serde(skip)]
    #[schema(ignore)]
    pub slot_device: Option<SlotDevice>,
}

/// All supervisors.
pub(crate) struct Cards {
    supervisors: Vec<Supervisor>,
}

struct Supervisor {
    events: Sender<CardEvent>,
    stopping: Arc<AtomicBool>,
    status: Arc<Mutex<CardStatus>>,
    thread: JoinHandle<()>,
}

/// What a supervisor is given: the ends of its own channel, and where to say how it stands.
pub(crate) struct Post {
    pub(crate) sender: Sender<CardEvent>,
    pub(crate) events: Receiver<CardEvent>,
    pub(crate) status: Arc<Mutex<CardStatus>>,
    /// It is to stop. Not by an event alone: a full channel takes none.
    pub(crate) stopping: Arc<AtomicBool>,
}

impl Post {
    pub(crate) fn new(status: CardStatus) -> Self {
        let (sender, events) = bounded(EVENTS_MAX);
        Self {
            sender,
            events,
            status: Arc::new(Mutex::new(status)),
            stopping: Arc::default(),
        }
    }
}

/// Has a supervisor stop. The event only ends its wait: where the channel is full, it does not wait.
pub(crate) fn tell_to_stop(events: &Sender<CardEvent>, stopping: &AtomicBool) {
    stopping.store(true, Ordering::Release);
    let _ = events.try_send(CardEvent::Stop);
}

impl Cards {
    pub(crate) fn start(jobs: &Arc<JobQueue>, config: &DispatchConfig) -> Result<Self, StartError> {
        let mut supervisors = Vec::new();
        let mut posts = Vec::new();
        for (source, number) in config.cards.iter().zip(0..) {
            let post = Post::new(first_status(number, source, &config.data_dir));
            supervisors.push((
                post.sender.clone(),
                Arc::clone(&post.status),
                Arc::clone(&post.stopping),
            ));
            posts.push(post);
        }
        let threads = supervise(jobs, config, posts)?;
        let supervisors = supervisors
            .into_iter()
            .zip(threads)
            .map(|((events, status, stopping), thread)| Supervisor {
                events,
                stopping,
                status,
                thread,
            })
            .collect();
        Ok(Self { supervisors })
    }

    pub(crate) fn event_senders(&self) -> Vec<Sender<CardEvent>> {
        self.supervisors
            .iter()
            .map(|supervisor| supervisor.events.clone())
            .collect()
    }

    /// The cards, for who keeps kernels in their slots.
    pub(crate) fn kept(&self) -> Vec<KeptCard> {
        let kept = |supervisor: &Supervisor| KeptCard {
            events: supervisor.events.clone(),
            status: Arc::clone(&supervisor.status),
        };
        self.supervisors.iter().map(kept).collect()
    }

    pub(crate) fn status(&self) -> Vec<CardStatus> {
        self.supervisors
            .iter()
            .map(|supervisor| supervisor.status.lock().clone())
            .collect()
    }

    /// Shut every card down and wait for its supervisor.
    pub(crate) fn stop(self) {
        for supervisor in &self.supervisors {
            tell_to_stop(&supervisor.events, &supervisor.stopping);
        }
        for supervisor in self.supervisors {
            if supervisor.thread.join().is_err() {
                tracing::error!("a card's supervisor panicked");
            }
        }
    }
}

pub(crate) fn first_status(card: u8, source: &CardSource, data_dir: &Path) -> CardStatus {
    CardStatus {
        card,
        state: CardState::Starting,
        simulated: matches!(source, CardSource::OwnSimulated { .. }),
        serial: None,
        pid: None,
        restarts: 0,
        last_fault: None,
        last_readmission_ms: None,
        recovery: RecoveryStatus::default(),
        functions: (0..source.functions())
            .map(|function| FunctionStatus {
                name: format!("fpga{card}.{function}"),
                address: source.address(data_dir, card, function),
                state: FunctionState::Starting,
                in_service: false,
                drained: false,
                engines: None,
                clock_khz: None,
                faults: 0,
                recovery: RecoveryStatus::default(),
                slots: Vec::new(),
                slot_device: None,
            })
            .collect(),
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::card_supervisor::supervise;

/// Without a driver there are no cards.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
fn supervise(
    _: &Arc<JobQueue>,
    config: &DispatchConfig,
    _: Vec<Post>,
) -> Result<Vec<JoinHandle<()>>, StartError> {
    if config.cards.is_empty() {
        Ok(Vec::new())
    } else {
        Err(StartError::NoDriver)
    }
}
