//! The platforms, how each is recognised, and where it expects its function to listen.
//!
//! Invariant: what a flag says is stronger than what the environment looks like. It reads no environment of its own.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use clap::ValueEnum;
use faam_gateway::fronts::azure::Azure;
use faam_gateway::fronts::front::{Backend, Front};
use faam_gateway::fronts::knative::Knative;
use faam_gateway::fronts::openfaas::OpenFaas;
use faam_gateway::fronts::openwhisk::OpenWhisk;
use hyper::http::Uri;

/// Where a function listens if nobody says.
const PORT: u16 = 8080;
/// Azure Functions' host says here where its custom handler listens.
const AZURE_PORT: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
/// of-watchdog reads both: the command that it starts, and where that answers.
const WATCHDOG_URL: &str = "upstream_url";
const WATCHDOG_COMMAND: &str = "fprocess";
/// Requests at once, for of-watchdog.
const WATCHDOG_MAX: &str = "max_inflight";
/// OpenWhisk's invoker sets it in every action container.
const WHISK_HOST: &str = "__OW_API_HOST";
/// Knative's contract.
const KNATIVE_PORT: &str = "PORT";
const KNATIVE_SERVICE: &str = "K_SERVICE";

/// `--platform`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum PlatformFlag {
    Auto,
    Openwhisk,
    Knative,
    Openfaas,
    Azure,
}

/// See the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Platform {
    OpenWhisk,
    Knative,
    OpenFaas {
        /// Requests at once; 0 sets no bound.
        max_inflight: usize,
    },
    Azure,
}

impl PlatformFlag {
    /// The one that is meant, with this environment.
    ///
    /// # Errors
    /// A bound that is none.
    pub(super) fn platform(
        self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Platform> {
        let has = |name| variable(name).is_some();
        let flag = match self {
            Self::Auto if has(AZURE_PORT) => Self::Azure,
            Self::Auto if has(WATCHDOG_URL) || has(WATCHDOG_COMMAND) => Self::Openfaas,
            Self::Auto if has(WHISK_HOST) => Self::Openwhisk,
            Self::Auto if has(KNATIVE_SERVICE) || has(KNATIVE_PORT) => Self::Knative,
            Self::Auto => Self::Openwhisk,
            named => named,
        };
        Ok(match flag {
            Self::Auto | Self::Openwhisk => Platform::OpenWhisk,
            Self::Knative => Platform::Knative,
            Self::Azure => Platform::Azure,
            Self::Openfaas => Platform::OpenFaas {
                max_inflight: variable(WATCHDOG_MAX).map_or(Ok(0), |text| {
                    text.trim().parse().with_context(|| {
                        format!("{WATCHDOG_MAX}: expected a number of requests, got {text:?}; correct it or unset it")
                    })
                })?,
            },
        })
    }
}

impl Platform {
    /// Where it expects its function, with this environment. Two of them call from inside the container alone.
    ///
    /// # Errors
    /// A port that is none.
    pub(super) fn listen(
        self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<SocketAddr> {
        let port = |name: &str| {
            variable(name).map_or(Ok(PORT), |text| {
                text.trim().parse().with_context(|| {
                    format!("{name}: expected a port from 0 to 65535, got {text:?}; correct it, or use --listen")
                })
            })
        };
        let (host, port) = match self {
            Self::OpenWhisk => (Ipv4Addr::UNSPECIFIED, PORT),
            Self::Knative => (Ipv4Addr::UNSPECIFIED, port(KNATIVE_PORT)?),
            Self::Azure => (Ipv4Addr::LOCALHOST, port(AZURE_PORT)?),
            Self::OpenFaas { .. } => (
                Ipv4Addr::LOCALHOST,
                variable(WATCHDOG_URL).map_or(Ok(PORT), |url| {
                    let uri = url.trim().parse::<Uri>().ok();
                    let uri = uri.filter(|uri| uri.scheme_str() == Some("http"));
                    let authority = uri.as_ref().and_then(Uri::authority);
                    authority.map(|authority| authority.port_u16().unwrap_or(80)).with_context(|| {
                        format!("{WATCHDOG_URL}: expected http://127.0.0.1:PORT, got {url:?}; correct it, or use --listen")
                    })
                })?,
            ),
        };
        Ok(SocketAddr::new(host.into(), port))
    }

    /// Its front.
    ///
    /// # Errors
    /// What the system refuses it.
    pub(super) fn front(self, backend: Backend) -> io::Result<Arc<dyn Front>> {
        Ok(match self {
            Self::OpenWhisk => Arc::new(OpenWhisk::new(backend)?),
            Self::Knative => Arc::new(Knative::new(backend)),
            Self::OpenFaas { max_inflight } => Arc::new(OpenFaas::new(backend, max_inflight)),
            Self::Azure => Arc::new(Azure::new(backend)),
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::OpenWhisk => "openwhisk",
            Self::Knative => "knative",
            Self::OpenFaas { .. } => "openfaas",
            Self::Azure => "azure",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(environment: &[(&str, &str)], expected: Platform, address: &str) {
        let variable = |name: &str| {
            let set = environment.iter().find(|(known, _)| *known == name);
            set.map(|(_, value)| (*value).to_owned())
        };
        let platform = PlatformFlag::Auto.platform(variable).unwrap();
        assert_eq!(platform, expected, "{environment:?}");
        assert_eq!(platform.listen(variable).unwrap().to_string(), address);
    }

    #[test]
    fn each_platform_is_known_by_what_it_sets_and_found_where_it_asks() {
        check(&[], Platform::OpenWhisk, "0.0.0.0:8080");
        check(
            &[("__OW_API_HOST", "https://whisk"), ("PORT", "9")],
            Platform::OpenWhisk,
            "0.0.0.0:8080",
        );
        check(&[("PORT", "41234")], Platform::Knative, "0.0.0.0:41234");
        check(&[("K_SERVICE", "gzip")], Platform::Knative, "0.0.0.0:8080");
        check(
            &[("FUNCTIONS_CUSTOMHANDLER_PORT", "41235"), ("PORT", "80")],
            Platform::Azure,
            "127.0.0.1:41235",
        );
        check(
            &[
                ("upstream_url", "http://127.0.0.1:8082"),
                ("max_inflight", "4"),
                ("PORT", "80"),
            ],
            Platform::OpenFaas { max_inflight: 4 },
            "127.0.0.1:8082",
        );
        check(
            &[("fprocess", "faam action-proxy")],
            Platform::OpenFaas { max_inflight: 0 },
            "127.0.0.1:8080",
        );
    }

    #[test]
    fn what_is_no_port_is_named() {
        let knative = Platform::Knative.listen(|_| Some("http".to_owned()));
        assert!(knative.unwrap_err().to_string().contains("PORT"));
        let openfaas = Platform::OpenFaas { max_inflight: 0 };
        let refused = openfaas.listen(|_| Some("https://elsewhere".to_owned()));
        assert!(refused.unwrap_err().to_string().contains("upstream_url"));
        let many = PlatformFlag::Openfaas.platform(|_| Some("many".to_owned()));
        assert!(many.unwrap_err().to_string().contains("max_inflight"));
    }
}
