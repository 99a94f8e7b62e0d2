//! Who takes part: a server, a level, and whether it verifies. One row of every table.
//!
//! Owns names, engines' names, and how a request to a row looks. It does not know how its server is started
//! (`crate::server`) nor what came of it.
//!
//! Rows of `faam` run with all that its users run with: a tenant's key, admission, fairness, metering, a trace context taken
//! in and given out, every answer decoded and compared (but in the rows that say otherwise). Spans are sent to no
//! collector, as in a fresh installation, but in the row that shows what they cost; what limits cost has a row as well.

use std::fmt;

use faam_codec::{CpuEngines, Level};
use serde::{Deserialize, Serialize};

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Contender {
    /// axum that answers with the body: the floor.
    Echo,
    /// hyper with the gateway's own engines and verification, and nothing else: what a gateway cannot go below.
    Bare,
    /// The same without verification.
    BareUnverified,
    /// axum, `spawn_blocking`, libdeflate; unverified.
    Naive,
    /// nginx's gzip filter before an echoing upstream; unverified.
    Nginx,
    /// Node's zlib; unverified.
    Node,
    /// `faam serve` on its CPU engines.
    FaamCpu,
    /// The same without verification.
    FaamCpuUnverified,
    /// `faam serve` on its CPU engines, for a tenant of its own with every limit set, none of which is met.
    FaamLimited,
    /// `faam serve` on its CPU engines, with spans sent to a collector.
    FaamSpans,
    /// Another build of `faam` on its CPU engines (`--before`).
    FaamBefore,
    /// `faam serve`, `Faam-Backend: require-hw`, on a simulated card.
    FaamCard,
    /// `faam serve`, `Faam-Backend: auto`, with a simulated card.
    FaamAuto,
}

/// Every request to a gateway is part of a sampled trace (W3C Trace Context), as behind a traced proxy.
const TRACED: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";

/// A contender at a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Who.
    pub(crate) contender: Contender,
    /// Its own level; `None` for the echo.
    pub(crate) level: Option<u8>,
}

impl Row {
    const fn new(contender: Contender, level: u8) -> Self {
        Self {
            contender,
            level: Some(level),
        }
    }

    /// The echo.
    pub(crate) const ECHO: Self = Self {
        contender: Contender::Echo,
        level: None,
    };
    /// The floor of [`Self::FAAM_1`].
    pub(crate) const BARE_1: Self = Self::new(Contender::Bare, 1);
    /// The floor of [`Self::FAAM_3`].
    pub(crate) const BARE_3: Self = Self::new(Contender::Bare, 3);
    /// The floor of [`Self::FAAM_OFF_3`].
    pub(crate) const BARE_OFF_3: Self = Self::new(Contender::BareUnverified, 3);
    /// libdeflate 1.
    pub(crate) const NAIVE_1: Self = Self::new(Contender::Naive, 1);
    /// zlib 1.
    pub(crate) const NGINX_1: Self = Self::new(Contender::Nginx, 1);
    /// zlib 6: Node's default.
    pub(crate) const NODE_6: Self = Self::new(Contender::Node, 6);
    /// HTTP level 1: the fastest engine.
    pub(crate) const FAAM_1: Self = Self::new(Contender::FaamCpu, 1);
    /// HTTP level 3, the default: libdeflate 1.
    pub(crate) const FAAM_3: Self = Self::new(Contender::FaamCpu, 3);
    /// HTTP level 6: libdeflate 6.
    pub(crate) const FAAM_6: Self = Self::new(Contender::FaamCpu, 6);
    /// HTTP level 1 without verification.
    pub(crate) const FAAM_OFF_1: Self = Self::new(Contender::FaamCpuUnverified, 1);
    /// HTTP level 3 without verification.
    pub(crate) const FAAM_OFF_3: Self = Self::new(Contender::FaamCpuUnverified, 3);
    /// [`Self::FAAM_3`] for a tenant with every limit.
    pub(crate) const FAAM_LIMITED_3: Self = Self::new(Contender::FaamLimited, 3);
    /// [`Self::FAAM_3`] with spans.
    pub(crate) const FAAM_SPANS_3: Self = Self::new(Contender::FaamSpans, 3);
    /// [`Self::FAAM_3`] of another build.
    pub(crate) const FAAM_BEFORE_3: Self = Self::new(Contender::FaamBefore, 3);
    /// `auto` at the default level.
    pub(crate) const AUTO_3: Self = Self::new(Contender::FaamAuto, 3);
    /// The simulated card at the default level.
    pub(crate) const CARD_3: Self = Self::new(Contender::FaamCard, 3);

    /// All of a full run.
    pub(crate) const ALL: [Self; 25] = [
        Self::ECHO,
        Self::BARE_1,
        Self::BARE_3,
        Self::BARE_OFF_3,
        Self::NAIVE_1,
        Self::new(Contender::Naive, 6),
        Self::NGINX_1,
        Self::new(Contender::Nginx, 6),
        Self::new(Contender::Node, 1),
        Self::NODE_6,
        Self::FAAM_1,
        Self::FAAM_3,
        Self::FAAM_6,
        Self::FAAM_OFF_1,
        Self::FAAM_OFF_3,
        Self::new(Contender::FaamCpuUnverified, 6),
        Self::FAAM_LIMITED_3,
        Self::FAAM_SPANS_3,
        Self::FAAM_BEFORE_3,
        Self::new(Contender::FaamCard, 1),
        Self::CARD_3,
        Self::new(Contender::FaamCard, 6),
        Self::new(Contender::FaamAuto, 1),
        Self::AUTO_3,
        Self::new(Contender::FaamAuto, 6),
    ];

    /// Those that the targets are about: a quick run's.
    pub(crate) const FOR_TARGETS: [Self; 14] = [
        Self::ECHO,
        Self::BARE_1,
        Self::BARE_3,
        Self::BARE_OFF_3,
        Self::NAIVE_1,
        Self::NGINX_1,
        Self::NODE_6,
        Self::FAAM_1,
        Self::FAAM_3,
        Self::FAAM_6,
        Self::FAAM_OFF_1,
        Self::FAAM_OFF_3,
        Self::CARD_3,
        Self::AUTO_3,
    ];

    /// Those of a smoke run.
    pub(crate) const FOR_SMOKE: [Self; 3] = [Self::ECHO, Self::NAIVE_1, Self::FAAM_3];

    /// Whether what it answers was decoded and compared before.
    pub(crate) const fn is_verified(self) -> bool {
        matches!(
            self.contender,
            Contender::Bare
                | Contender::FaamCpu
                | Contender::FaamLimited
                | Contender::FaamSpans
                | Contender::FaamBefore
                | Contender::FaamCard
                | Contender::FaamAuto
        )
    }

    /// The bare server with the same engine and verification.
    pub(crate) const fn bare(self) -> Self {
        Self {
            contender: if self.is_verified() {
                Contender::Bare
            } else {
                Contender::BareUnverified
            },
            level: self.level,
        }
    }

    /// Whether its server is `faam serve`.
    pub(crate) const fn is_faam(self) -> bool {
        matches!(
            self.contender,
            Contender::FaamCpu
                | Contender::FaamCpuUnverified
                | Contender::FaamLimited
                | Contender::FaamSpans
                | Contender::FaamBefore
                | Contender::FaamCard
                | Contender::FaamAuto
        )
    }

    /// Whether its server has a card.
    pub(crate) const fn has_card(self) -> bool {
        matches!(self.contender, Contender::FaamCard | Contender::FaamAuto)
    }

    /// Path and query of a request.
    pub(crate) fn path(self) -> String {
        match self.level {
            Some(level) if self.is_faam() => format!("/v1/compress?format=gzip&level={level}"),
            _ => "/".to_owned(),
        }
    }

    /// Header lines of a request, `key` being the gateway's.
    pub(crate) fn headers(self, key: Option<&str>) -> String {
        let backend = match self.contender {
            Contender::Echo | Contender::Bare | Contender::BareUnverified | Contender::Naive => {
                return String::new();
            }
            Contender::Nginx | Contender::Node => return "Accept-Encoding: gzip\r\n".to_owned(),
            Contender::FaamCpu
            | Contender::FaamCpuUnverified
            | Contender::FaamLimited
            | Contender::FaamSpans
            | Contender::FaamBefore => "cpu",
            Contender::FaamCard => "require-hw",
            Contender::FaamAuto => "auto",
        };
        let key = key.unwrap_or_default();
        format!("Authorization: Bearer {key}\r\nFaam-Backend: {backend}\r\n{TRACED}")
    }

    /// The engine behind it, given what the gateway says of itself (`Faam-Backend`, most frequent first).
    pub(crate) fn engine(self, engines: &[String]) -> String {
        let level = self.level.unwrap_or_default();
        match self.contender {
            Contender::Echo => "none".to_owned(),
            Contender::Bare | Contender::BareUnverified => cpu_engine(level),
            Contender::Naive => format!("libdeflate {level}"),
            Contender::Nginx => format!("zlib {level} (nginx)"),
            Contender::Node => format!("zlib {level} (node)"),
            _ if engines.is_empty() => "none said".to_owned(),
            _ => engines
                .iter()
                .map(|engine| engine.replace("cpu", &cpu_engine(level)))
                .collect::<Vec<_>>()
                .join(" + "),
        }
    }
}

/// The CPU engine that serves an HTTP level in this build and on this machine, and its own level: `isa-l 1`.
pub(crate) fn cpu_engine(level: u8) -> String {
    Level::new(level).map_or_else(
        |_| "unknown".to_owned(),
        |level| CpuEngines::new().engine_of(level).to_string(),
    )
}

impl fmt::Display for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "echo",
            Self::Bare => "bare",
            Self::BareUnverified => "bare-off",
            Self::Naive => "naive",
            Self::Nginx => "nginx",
            Self::Node => "node",
            Self::FaamCpu => "faam-cpu",
            Self::FaamCpuUnverified => "faam-off",
            Self::FaamLimited => "faam-limited",
            Self::FaamSpans => "faam-spans",
            Self::FaamBefore => "faam-before",
            Self::FaamCard => "faam-card",
            Self::FaamAuto => "faam-auto",
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Some(level) => write!(f, "{}-{level}", self.contender),
            None => write!(f, "{}", self.contender),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn rows_have_distinct_names_and_every_smaller_set_is_of_them() {
        let names: HashSet<_> = Row::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), Row::ALL.len());
        assert!(Row::FOR_TARGETS.iter().all(|row| Row::ALL.contains(row)));
        assert!(
            Row::FOR_SMOKE
                .iter()
                .all(|row| Row::FOR_TARGETS.contains(row))
        );
    }

    #[test]
    fn an_engine_is_named_with_its_own_level() {
        let card = "fpga0.1;simulated".to_owned();
        assert_eq!(
            Row::AUTO_3.engine(&[card, "cpu".to_owned()]),
            "fpga0.1;simulated + libdeflate 1"
        );
        assert_eq!(Row::NODE_6.engine(&[]), "zlib 6 (node)");
        assert_eq!(Row::FAAM_6.engine(&["cpu".to_owned()]), "libdeflate 6");
    }
}
