//! How a card and its functions stand while they fail and come back, as operators see it.
//!
//! Owns the words: the rungs of the ladder of quarantine, a function's states, and what is said of its faults. Invariant:
//! nothing here decides; `card_supervisor` does, and writes it down.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use std::time::Duration;

use serde::Serialize;

use crate::events::now;

/// A rung of the ladder: how much is taken out of service for a fault, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
    /// One queue pair is deleted and never used again; its function serves on by another.
    Queue,
    /// The function is reset.
    Function,
    /// The card is started anew: its process is ended, or it is left and looked for again.
    Card,
}

impl Rung {
    /// All of them, from the least to the most.
    pub const ALL: [Self; 3] = [Self::Queue, Self::Function, Self::Card];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Function => "function",
            Self::Card => "card",
        }
    }
}

/// How a function stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FunctionState {
    /// It has not served yet.
    Starting,
    /// It serves, or would if it were not drained.
    InService,
    /// It failed, and is being reset and tested.
    Recovering,
    /// It failed too often of late: it is fenced, and tried again at `next_attempt`.
    Waiting,
    /// It is not tried any more until an operator resets it.
    OutOfService,
}

impl FunctionState {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Starting,
        Self::InService,
        Self::Recovering,
        Self::Waiting,
        Self::OutOfService,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::InService => "in-service",
            Self::Recovering => "recovering",
            Self::Waiting => "waiting",
            Self::OutOfService => "out-of-service",
        }
    }
}

/// Quarantines since the gateway's start, by rung.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Quarantines {
    /// Of a queue pair.
    pub queue: u32,
    /// Of the function.
    pub function: u32,
    /// Of the card.
    pub card: u32,
}

impl Quarantines {
    /// One more.
    pub(crate) fn count(&mut self, rung: Rung) {
        let count = match rung {
            Rung::Queue => &mut self.queue,
            Rung::Function => &mut self.function,
            Rung::Card => &mut self.card,
        };
        *count = count.saturating_add(1);
    }

    /// Of all rungs.
    #[must_use]
    pub const fn sum(self) -> u32 {
        self.queue
            .saturating_add(self.function)
            .saturating_add(self.card)
    }
}

/// A fault, and what was taken out of service for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct LastFault {
    /// When, milliseconds since 1970.
    pub at: i64,
    /// What was taken out.
    pub rung: Rung,
    /// What it was, in a word, as in `faam_device_faults_total`.
    #[schema(value_type = String)]
    pub kind: &'static str,
    /// The same in a sentence.
    pub why: String,
}

/// How a function, or a card as a whole, stands with its faults.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct RecoveryStatus {
    /// Since when it stands as it does, milliseconds since 1970.
    pub since: i64,
    /// Why it does not serve, where it does not: what failed, how often, and what to do.
    pub reason: Option<String>,
    /// When it is tried again, milliseconds since 1970; `null` where it serves, is being tried now, or is not tried any more.
    pub next_attempt: Option<i64>,
    /// Its penalty: each quarantine adds to it, and time in service halves it.
    pub penalty: f64,
    /// Its quarantines since the gateway's start.
    pub quarantines: Quarantines,
    /// Its last fault.
    pub last_fault: Option<LastFault>,
}

impl Default for RecoveryStatus {
    /// Nothing has happened to it, from now on.
    fn default() -> Self {
        Self {
            since: now().0,
            reason: None,
            next_attempt: None,
            penalty: 0.0,
            quarantines: Quarantines::default(),
            last_fault: None,
        }
    }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
impl RecoveryStatus {
    /// It stands as it does from now on, for this reason, and is tried again after `wait`.
    pub(crate) fn stands(&mut self, reason: Option<&str>, wait: Option<Duration>) {
        let now = now().0;
        let wait_ms = wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        self.since = now;
        self.reason = reason.map(str::to_owned);
        self.next_attempt = wait_ms.map(|ms| now.saturating_add_unsigned(ms));
    }

    /// It was quarantined.
    pub(crate) fn note_fault(&mut self, rung: Rung, kind: &'static str, why: &str) {
        self.quarantines.count(rung);
        self.last_fault = Some(LastFault {
            at: now().0,
            rung,
            kind,
            why: why.to_owned(),
        });
    }
}
