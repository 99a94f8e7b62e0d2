//! What an operator asks of a card's function, and what comes back.
//!
//! Owns the requests, the answers and the limits on waiting for them. A request goes to the function's supervisor as an event
//! and is carried out on its thread, between two looks at the card, so that it never meets a recovery half-way. It does not
//! know how the operator reached the gateway.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam::channel::TrySendError;
use faam_hwif::regs::INTERFACE_UUID;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use crate::card_recovery::{FunctionState, RecoveryStatus};
use crate::card_slots::{LoadCause, SlotDone, SlotRequest, SlotStatus};
use crate::cards::{CardEvent, CardStatus, FunctionStatus};
use crate::dispatch::Dispatcher;
use crate::events::OPERATOR;
use crate::images::ImageError;

/// How long a supervisor may take to answer: it may be in the middle of a recovery, and a reset ends what is in flight first.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Longest wait for a function to become idle.
pub const DRAIN_WAIT_MS_MAX: u64 = 600_000;
/// How long it is waited for unless said otherwise.
pub const DRAIN_WAIT_MS_DEFAULT: u64 = 30_000;
/// How often a draining function's jobs are counted meanwhile.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// A request to a function's supervisor, with where its answer goes.
#[derive(Debug)]
pub(crate) enum Operation {
    /// Give it no more jobs (`true`), or jobs again (`false`).
    Drain(bool, oneshot::Sender<()>),
    /// End what it does, reset it by its transport's own means, test it, and put it into service.
    Reset(oneshot::Sender<Result<ResetDone, String>>),
    /// Read what it says of itself; `None` while it is not up.
    Inspect(oneshot::Sender<Option<FunctionDetail>>),
}

/// Why an operation was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// Its supervisor has more to do than it can.
    #[error("the supervisor of {name} has {waiting} events waiting; try again")]
    Busy {
        /// Which function.
        name: String,
        /// Events.
        waiting: usize,
    },
    /// Its supervisor is ending.
    #[error("{name} is being shut down; wait for the gateway to start again")]
    Stopping {
        /// Which function.
        name: String,
    },
    /// No answer in time.
    #[error(
        "no answer of the supervisor of {name} within {limit_ms} ms: its card is being recovered; try again"
    )]
    NoAnswer {
        /// Which function.
        name: String,
        /// The limit.
        limit_ms: u128,
    },
    /// It is not up.
    #[error("{name} is not up: {why}; {next}")]
    Down {
        /// Which function.
        name: String,
        /// Why.
        why: String,
        /// What comes next.
        next: String,
    },
    /// It was tried.
    #[error("{name}: {why}; `faam device show {name}` says how it stands now")]
    Failed {
        /// Which function.
        name: String,
        /// What went wrong.
        why: String,
    },
    /// The image is not to be loaded.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The thread that was to verify it came to no end.
    #[error("an image was not verified: {0}")]
    Unverified(String),
    /// It is not to be told to fail.
    #[error("{name} takes no faults: {why}")]
    NoFaults {
        /// Which card.
        name: String,
        /// Why, and what would help.
        why: String,
    },
    /// The card cannot follow the rule.
    #[error("{name} refuses: {why}")]
    FaultRefused {
        /// Which card.
        name: String,
        /// Why.
        why: String,
    },
    /// The card's fault socket did not answer.
    #[error("{name} does not answer about its faults: {why}; try again")]
    NoFaultAnswer {
        /// Which card.
        name: String,
        /// What came instead.
        why: String,
    },
}

/// A function, as a list shows it.
#[derive(Clone, Debug, Serialize)]
pub struct FunctionSummary {
    /// Name, as in `Faam-Backend`; by the order of `--devices`.
    pub name: String,
    /// Where it is: stays as long as its card stays in its slot, or its sockets in their place.
    pub address: String,
    /// Who it is, whatever its slot: its card's serial number and which of its functions. Once it was brought up.
    pub serial_id: Option<String>,
    /// Whether it is anything but hardware.
    pub simulated: bool,
    /// `in-service`, `draining`, `drained`, `down` (being started or recovered), `waiting` or `out-of-service`.
    pub state: &'static str,
    /// Jobs that it holds.
    pub in_flight: usize,
    /// Its engines, once known.
    pub engines: Option<u32>,
    /// Its clock, kHz, once known.
    pub clock_khz: Option<u32>,
    /// Faults since the gateway's start.
    pub faults: u32,
    /// Processes of its card started after the first, where it is our own simulated one.
    pub card_restarts: u32,
    /// That process.
    pub card_pid: Option<u32>,
    /// Why its card last failed.
    pub last_fault: Option<String>,
    /// Its faults, what they have come to, and when it is tried again.
    pub recovery: RecoveryStatus,
    /// Its slots; none where its kernels are fixed.
    pub slots: Vec<SlotStatus>,
}

/// A reset that an operator asked for.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ResetDone {
    /// From the request to service again, milliseconds.
    pub took_ms: u64,
    /// Bytes of DMA memory that the fence freed.
    pub fenced_bytes: usize,
    /// Jobs of the self-test that it passed.
    pub self_test_jobs: u32,
}

/// A drain, as far as it got.
#[derive(Clone, Debug, Serialize)]
pub struct Drained {
    /// Whether it holds no job any more.
    pub idle: bool,
    /// Jobs that it still holds.
    pub in_flight: usize,
    /// How long it was waited for, milliseconds.
    pub waited_ms: u64,
}

/// What a function says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct FunctionDetail {
    /// Who it is and what it can do.
    pub identity: IdentityDetail,
    /// Its heartbeat register.
    pub heartbeat: Option<u32>,
    /// Its health page, since its power-on.
    pub health: Option<HealthDetail>,
    /// Its error log, newest first, since its last reset.
    pub errors: Vec<ErrorDetail>,
    /// Its I/O queue pairs.
    pub queue_pairs: Vec<QueuePairDetail>,
    /// What its worker did since it came into service.
    pub worker: BTreeMap<&'static str, u64>,
    /// The DMA memory that it can reach.
    pub arena: ArenaDetail,
    /// What could not be read, and why.
    pub unreadable: Vec<String>,
}

/// See [`FunctionDetail::identity`].
#[derive(Clone, Debug, Serialize)]
#[expect(missing_docs, reason = "each field is what its name says, in its unit")]
pub struct IdentityDetail {
    pub serial: String,
    pub serial_number: String,
    pub model: String,
    pub model_kind: &'static str,
    pub firmware: String,
    pub function: u8,
    pub functions: u8,
    pub abi_version: String,
    pub interface_uuid: String,
    pub transport: String,
    pub engines: u32,
    pub jobs_each_max: u32,
    pub clock_khz: u32,
    pub job_bytes_max: u32,
    pub history_bytes_max: u32,
    pub queue_pairs_max: u16,
    pub queue_entries_max: u32,
    pub vectors: u16,
    pub features: Vec<&'static str>,
    pub formats: Vec<&'static str>,
    pub levels: Vec<&'static str>,
}

/// See [`FunctionDetail::health`].
#[derive(Clone, Copy, Debug, Serialize)]
#[expect(missing_docs, reason = "each field is what its name says, in its unit")]
pub struct HealthDetail {
    pub uptime_ms: u64,
    pub jobs: u64,
    pub jobs_failed: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub busy_cycles: u64,
    pub scrub_cycles: u64,
    pub dma_faults: u64,
}

/// An entry of the error log.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorDetail {
    /// Which error since reset, from 1.
    pub count: u32,
    /// Its code, in words where the contract has them.
    pub code: String,
    /// Queue that it came up on.
    pub queue: u16,
    /// Address or value that it speaks of, in hex.
    pub info: String,
    /// When, milliseconds since power-on.
    pub uptime_ms: u64,
}

/// An I/O queue pair.
#[derive(Clone, Debug, Serialize)]
pub struct QueuePairDetail {
    /// Its number.
    pub queue: u16,
    /// Whether it is in being.
    pub in_use: bool,
    /// Whether it failed, and is out of use until the function's next fence.
    pub retired: bool,
    /// The card's counters of it, since its creation.
    pub counters: BTreeMap<&'static str, u64>,
}

/// DMA memory.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ArenaDetail {
    /// In all.
    pub bytes: usize,
    /// In the pool.
    pub free_bytes: usize,
    /// Held back until a fence.
    pub quarantined_bytes: usize,
}

/// One function: its card's number, and its own on the card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionNumber {
    /// The card's, as in `fpga0`.
    pub card: u8,
    /// The function's, as in `fpga0.1`.
    pub function: u8,
}

impl Dispatcher {
    /// Every function of every card.
    #[must_use]
    pub fn functions(&self) -> Vec<(FunctionNumber, FunctionSummary)> {
        let cards = self.cards();
        let of_card = |card: &CardStatus| {
            let functions = (0..).zip(&card.functions);
            let functions = functions.map(|(function, status)| {
                let number = FunctionNumber {
                    card: card.card,
                    function,
                };
                (number, self.summary(number, card, status))
            });
            functions.collect::<Vec<_>>()
        };
        cards.iter().flat_map(of_card).collect()
    }

    /// The functions that `word` names: a function's name, address or serial id, or a card's name or serial number.
    #[must_use]
    pub fn functions_named(&self, word: &str) -> Vec<(FunctionNumber, FunctionSummary)> {
        let mut functions = self.functions();
        functions.retain(|(number, function)| {
            let of_card = function
                .serial_id
                .as_deref()
                .and_then(|id| id.rsplit_once('.'))
                .is_some_and(|(serial, _)| serial == word);
            function.name == word
                || function.address == word
                || function
                    .address
                    .split_once(':')
                    .is_some_and(|(_, rest)| rest == word)
                || function.serial_id.as_deref() == Some(word)
                || of_card
                || format!("fpga{}", number.card) == word
        });
        functions
    }

    fn summary(
        &self,
        number: FunctionNumber,
        card: &CardStatus,
        status: &FunctionStatus,
    ) -> FunctionSummary {
        let in_flight = self.in_flight(number);
        let state = match (status.drained, status.state) {
            (true, _) if in_flight > 0 => "draining",
            (true, FunctionState::InService) => "drained",
            (false, FunctionState::InService) => "in-service",
            (_, FunctionState::Waiting) => "waiting",
            (_, FunctionState::OutOfService) => "out-of-service",
            (_, FunctionState::Starting | FunctionState::Recovering) => "down",
        };
        let serial = card.serial.as_ref();
        FunctionSummary {
            name: status.name.clone(),
            address: status.address.clone(),
            serial_id: serial.map(|serial| format!("{serial}.{}", number.function)),
            simulated: card.simulated,
            state,
            in_flight,
            engines: status.engines,
            clock_khz: status.clock_khz,
            faults: status.faults,
            card_restarts: card.restarts,
            card_pid: card.pid,
            last_fault: card.last_fault.clone(),
            recovery: status.recovery.clone(),
            slots: status.slots.clone(),
        }
    }

    /// Gives a function no more jobs, or jobs again. It is remembered while the function is down.
    ///
    /// # Errors
    /// [`OperationError`]
    pub async fn drain(&self, of: FunctionNumber, on: bool) -> Result<(), OperationError> {
        self.ask(of, |reply| Operation::Drain(on, reply)).await
    }

    /// Waits until a function holds no job, at most `limit`.
    pub async fn drained(&self, of: FunctionNumber, limit: Duration) -> Drained {
        let began = Instant::now();
        let in_flight = loop {
            let in_flight = self.in_flight(of);
            if in_flight == 0 || began.elapsed() >= limit {
                break in_flight;
            }
            sleep(DRAIN_POLL).await;
        };
        Drained {
            idle: in_flight == 0,
            in_flight,
            waited_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Resets a function and has it serve again after its self-test, drained or not.
    ///
    /// # Errors
    /// [`OperationError`]
    pub async fn reset(&self, of: FunctionNumber) -> Result<ResetDone, OperationError> {
        self.ask(of, Operation::Reset)
            .await?
            .map_err(|why| OperationError::Failed {
                name: name(of),
                why,
            })
    }

    /// What a function says of itself.
    ///
    /// # Errors
    /// [`OperationError`]
    pub async fn inspect(&self, of: FunctionNumber) -> Result<FunctionDetail, OperationError> {
        let detail = self.ask(of, Operation::Inspect).await?;
        detail.ok_or_else(|| {
            let card = self.cards().into_iter().find(|card| card.card == of.card);
            let function = card
                .as_ref()
                .and_then(|card| card.functions.get(usize::from(of.function)));
            let reason = function.and_then(|function| function.recovery.reason.clone());
            let fault = || card.as_ref().and_then(|card| card.last_fault.clone());
            let is_out =
                function.is_some_and(|function| function.state == FunctionState::OutOfService);
            let name = name(of);
            OperationError::Down {
                why: reason
                    .or_else(fault)
                    .unwrap_or_else(|| "it is being started".to_owned()),
                next: match is_out {
                    true => format!("`faam device reset {name}` has it tested"),
                    false => "its supervisor tries again by itself".to_owned(),
                },
                name,
            }
        })
    }

    /// Loads an image, which is verified right before, into a slot of a function: the one that is named, or one that holds
    /// nothing. The other slots serve on.
    ///
    /// # Errors
    /// [`OperationError`]
    pub async fn load_slot(
        &self,
        of: FunctionNumber,
        image: &str,
        slot: Option<u8>,
    ) -> Result<SlotDone, OperationError> {
        let (images, wanted) = (Arc::clone(self.images()), image.to_owned());
        let device = self.cards().into_iter().find(|card| card.card == of.card);
        let device = device.and_then(|card| {
            let function = card.functions.get(usize::from(of.function))?;
            function.slot_device
        });
        let Some(device) = device else {
            return Err(OperationError::Failed {
                name: name(of),
                why: "it is not up, or has no slots: its kernels come with the card's own image"
                    .to_owned(),
            });
        };
        let image = tokio::task::spawn_blocking(move || images.verified(&wanted, &device))
            .await
            .map_err(|error| OperationError::Unverified(error.to_string()))??;
        let cause = LoadCause::Operator;
        self.ask_slot(of, SlotRequest::Load { image, slot, cause })
            .await
    }

    /// Empties a slot of a function. The jobs in it end first.
    ///
    /// # Errors
    /// [`OperationError`]
    pub async fn evict_slot(
        &self,
        of: FunctionNumber,
        slot: u8,
    ) -> Result<SlotDone, OperationError> {
        let actor = OPERATOR;
        self.ask_slot(of, SlotRequest::Evict { slot, actor }).await
    }

    async fn ask_slot(
        &self,
        of: FunctionNumber,
        request: SlotRequest,
    ) -> Result<SlotDone, OperationError> {
        let done = self
            .tell(of, |reply| CardEvent::Slot {
                function: of.function,
                request,
                reply,
            })
            .await?;
        done.map_err(|failed| OperationError::Failed {
            name: name(of),
            why: failed.why,
        })
    }

    async fn ask<T>(
        &self,
        of: FunctionNumber,
        operation: impl FnOnce(oneshot::Sender<T>) -> Operation,
    ) -> Result<T, OperationError> {
        self.tell(of, |reply| CardEvent::Operator {
            function: of.function,
            operation: operation(reply),
        })
        .await
    }

    async fn tell<T>(
        &self,
        of: FunctionNumber,
        event: impl FnOnce(oneshot::Sender<T>) -> CardEvent,
    ) -> Result<T, OperationError> {
        let stopping = || OperationError::Stopping { name: name(of) };
        let events = self.card_events(of.card).ok_or_else(stopping)?;
        let (reply, answer) = oneshot::channel();
        let event = event(reply);
        events.try_send(event).map_err(|error| match error {
            TrySendError::Full(_) => OperationError::Busy {
                name: name(of),
                waiting: events.len(),
            },
            TrySendError::Disconnected(_) => stopping(),
        })?;
        match timeout(ANSWER_LIMIT, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(OperationError::NoAnswer {
                name: name(of),
                limit_ms: ANSWER_LIMIT.as_millis(),
            }),
        }
    }
}

fn name(of: FunctionNumber) -> String {
    format!("fpga{}.{}", of.card, of.function)
}

/// The interface that this driver was built for, as a uuid is written. A function in service has the same: bring-up refuses any
/// other.
#[must_use]
pub fn interface_uuid() -> String {
    let mut bytes = [0; 16];
    for (place, word) in bytes.chunks_exact_mut(4).zip(INTERFACE_UUID) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    Uuid::from_bytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interface_is_written_as_its_manual_writes_it() {
        let manual = include_str!("../../bitstreams/doc/registers.md");
        let written = format!("Interface uuid: `{}`", interface_uuid());
        assert!(manual.contains(&written), "{written}");
    }
}
