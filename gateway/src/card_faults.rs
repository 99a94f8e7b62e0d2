//! Faults of our own simulated cards, asked for by an operator.
//!
//! Owns the conversation with a card's fault socket. Invariants: only a card that is our own and was started with faults allowed
//! is asked; each answer is bounded, and waited for no longer than its limit. What a fault does is the card's affair, and what
//! becomes of it its supervisor's, who is not told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::card_operation::OperationError;
use crate::cards::{CardSource, socket_dir};
use crate::dispatch::{DispatchConfig, Dispatcher};

/// Name of the fault socket in a card's directory.
const SOCKET: &str = "faults";
/// Longest wait for one answer: the card serves one client at a time.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// Longest answer, bytes: every rule that a card can have, and every count.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Where a card's faults are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FaultDoor {
    /// The card is not our own, or no simulated one.
    NotOwn,
    /// It was started without leave.
    Shut,
    /// The socket.
    Socket(PathBuf),
}

impl FaultDoor {
    /// Those of a gateway's cards, by number.
    pub(crate) fn of(config: &DispatchConfig) -> Vec<Self> {
        let doors = (0..).zip(&config.cards).map(|(card, source)| match source {
            CardSource::OwnSimulated { faults, .. } if faults.allowed => {
                Self::Socket(socket_dir(&config.data_dir, card).join(SOCKET))
            }
            CardSource::OwnSimulated { .. } => Self::Shut,
            CardSource::VfioUser { .. } | CardSource::Pci { .. } => Self::NotOwn,
        });
        doors.collect()
    }
}

/// A card's rules, and what they did.
#[derive(Clone, Debug, Serialize)]
pub struct CardFaults {
    /// The card, as in `fpga0`.
    pub card: String,
    /// Rules that have not had their last strike.
    pub rules: Vec<String>,
    /// How often each fault broke its rule since the card's process started.
    pub struck: BTreeMap<String, u64>,
}

impl Dispatcher {
    /// The rules that a card has, and what they did.
    ///
    /// # Errors
    /// [`OperationError`]
    pub async fn card_faults(&self, card: u8) -> Result<CardFaults, OperationError> {
        let mut socket = self.fault_socket(card).await?;
        let rules = socket.ask("rules").await?;
        let struck = socket.ask("struck").await?;
        let count = |word: &str| {
            let (name, times) = word.split_once('=')?;
            Some((name.to_owned(), times.parse().ok()?))
        };
        Ok(CardFaults {
            card: name(card),
            rules: rules.split_whitespace().map(str::to_owned).collect(),
            struck: struck.split_whitespace().filter_map(count).collect(),
        })
    }

    /// Adds a rule, in the notation of `faam sim --fault`.
    ///
    /// # Errors
    /// [`OperationError`]
    pub async fn add_card_fault(&self, card: u8, rule: &str) -> Result<(), OperationError> {
        let mut socket = self.fault_socket(card).await?;
        socket.ask(&format!("fault {rule}")).await.map(|_| ())
    }

    /// Takes all rules away: no fault is on.
    ///
    /// # Errors
    /// [`OperationError`]
    pub async fn clear_card_faults(&self, card: u8) -> Result<(), OperationError> {
        let mut socket = self.fault_socket(card).await?;
        socket.ask("clear").await.map(|_| ())
    }

    async fn fault_socket(&self, card: u8) -> Result<FaultSocket, OperationError> {
        let refused = |why: &str| OperationError::NoFaults {
            name: name(card),
            why: why.to_owned(),
        };
        match self.fault_door(card) {
            FaultDoor::Socket(path) => FaultSocket::connect(name(card), path).await,
            FaultDoor::Shut => Err(refused(
                "start the gateway with --allow-faults, and its simulated cards can be told to fail",
            )),
            FaultDoor::NotOwn => Err(refused(
                "only a simulated card that this gateway runs itself (--devices sim) can be told to fail",
            )),
        }
    }
}

/// A connection to a card's fault socket.
struct FaultSocket {
    card: String,
    stream: UnixStream,
}

impl FaultSocket {
    async fn connect(card: String, path: &Path) -> Result<Self, OperationError> {
        match timeout(ANSWER_LIMIT, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => Ok(Self { card, stream }),
            Ok(Err(error)) => Err(OperationError::NoFaultAnswer {
                why: format!("{}: {error}; is it being started again?", path.display()),
                name: card,
            }),
            Err(_) => Err(OperationError::NoFaultAnswer {
                why: format!("no connection within {} ms", ANSWER_LIMIT.as_millis()),
                name: card,
            }),
        }
    }

    /// The value that a command is answered with; empty where it has none.
    async fn ask(&mut self, command: &str) -> Result<String, OperationError> {
        let answer = timeout(ANSWER_LIMIT, self.exchange(command)).await;
        let why = match answer {
            Ok(Ok(line)) => match line.strip_prefix("1 ") {
                Some("ok") => return Ok(String::new()),
                Some(rest) => {
                    if let Some(value) = rest.strip_prefix("ok ") {
                        return Ok(value.to_owned());
                    }
                    if let Some(why) = rest.strip_prefix("error: ") {
                        return Err(OperationError::FaultRefused {
                            name: self.card.clone(),
                            why: why.to_owned(),
                        });
                    }
                    format!("{rest:?} is no answer")
                }
                None => format!("{line:?} is no answer"),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!(
                "no answer within {} ms: it is stopped, or another tester holds the socket",
                ANSWER_LIMIT.as_millis()
            ),
        };
        Err(OperationError::NoFaultAnswer {
            name: self.card.clone(),
            why,
        })
    }

    async fn exchange(&mut self, command: &str) -> std::io::Result<String> {
        let line = format!("1 {command}\n");
        self.stream.write_all(line.as_bytes()).await?;
        let mut answer = Vec::new();
        while answer.last() != Some(&b'\n') {
            if answer.len() >= ANSWER_BYTES_MAX {
                return Err(std::io::Error::other(format!(
                    "an answer of more than {ANSWER_BYTES_MAX} bytes"
                )));
            }
            if self.stream.read_buf(&mut answer).await? == 0 {
                return Err(std::io::Error::other("it hung up"));
            }
        }
        Ok(String::from_utf8_lossy(answer.trim_ascii_end()).into_owned())
    }
}

fn name(card: u8) -> String {
    format!("fpga{card}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cards::{SimulatedFaults, SimulatedSlots};

    #[test]
    fn only_our_own_cards_with_leave_have_a_door() {
        let own = |allowed| CardSource::OwnSimulated {
            model: faam_sim::Model::Functional,
            engines: 1,
            pace_mhz: None,
            slots: SimulatedSlots::default(),
            faults: SimulatedFaults {
                allowed,
                ..SimulatedFaults::default()
            },
        };
        let config = DispatchConfig {
            data_dir: "d".into(),
            cards: vec![
                own(false),
                own(true),
                CardSource::VfioUser { dir: "/x".into() },
            ],
            ..DispatchConfig::default()
        };
        let doors = FaultDoor::of(&config);
        assert_eq!(doors[0], FaultDoor::Shut);
        let FaultDoor::Socket(path) = &doors[1] else {
            panic!("{doors:?}");
        };
        assert!(path.ends_with("card1/faults"), "{path:?}");
        assert_eq!(doors[2], FaultDoor::NotOwn);
    }

    #[tokio::test]
    async fn an_answer_that_is_none_is_an_error() {
        for (answer, expected) in [
            ("1 ok\n", Ok("")),
            ("1 ok a b=1\n", Ok("a b=1")),
            ("1 error: no such fault\n", Err("no such fault")),
            ("2 ok\n", Err("is no answer")),
            ("1 what\n", Err("is no answer")),
            ("", Err("hung up")),
        ] {
            let (stream, mut card) = UnixStream::pair().expect("a pair");
            let mut socket = FaultSocket {
                card: "fpga0".to_owned(),
                stream,
            };
            let serve = async {
                let mut line = [0; 8];
                card.read_exact(&mut line).await.expect("the command");
                assert_eq!(&line, b"1 clear\n");
                card.write_all(answer.as_bytes()).await.expect("taken");
                drop(card);
            };
            let (got, ()) = tokio::join!(socket.ask("clear"), serve);
            match expected {
                Ok(value) => assert_eq!(got.expect("an answer"), value),
                Err(word) => {
                    let error = got.expect_err(answer).to_string();
                    assert!(error.contains(word), "{error}");
                }
            }
        }
    }
}
