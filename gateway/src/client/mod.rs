//! The commands that call a gateway: `faam compress`, `faam decompress`, `faam bench`.
//!
//! Owns what they share: where the gateway is, the key, one call and its facts. Invariant: a
//! client does nothing by itself that a gateway was asked for: where none answers, that is an
//! error. It does not know how a gateway works inside.
//!
//! | module | owns |
//! |---|---|
//! | `endpoint` | a gateway's URL, and connections to it: TCP, TLS, Unix socket |
//! | `credential` | where the key comes from |
//! | `call` | one request, its answer or its refusal |
//! | `facts` | what an answer says of itself |
//! | `forward` | a front's calls, carried out by a gateway elsewhere |
//! | `upload` | a body as it is read from a file or a pipe |
//! | `bench` | `faam bench` |
//! | `convert` | `faam compress` and `faam decompress` |

pub(crate) mod bench;
mod call;
pub(crate) mod convert;
mod credential;
mod endpoint;
mod facts;
pub(crate) mod forward;
mod upload;

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use self::call::Caller;
use self::credential::CredentialError;
use self::endpoint::{Endpoint, TlsClient, TlsError};
use self::forward::Forward;

/// What a caller names itself to the gateway.
const USER_AGENT: &str = concat!("faam/", env!("CARGO_PKG_VERSION"));

/// Flags of every client.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Gateway")]
pub(crate) struct GatewayFlags {
    /// The gateway: http://HOST:PORT, https://HOST:PORT or unix:/PATH
    #[arg(
        long,
        env = "FAAM_URL",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8080"
    )]
    url: Endpoint,
    /// The key; without it, demo.key in ./data or $FAAM_DATA_DIR for a gateway on this machine. FAAM_KEY
    /// shows in no process list
    #[arg(long, env = "FAAM_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Certificates to trust for https, PEM, in place of the system's
    #[arg(long, env = "FAAM_CACERT", hide_env_values = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    cacert: Option<PathBuf>,
    /// Our own certificate, for a gateway that asks for one, PEM
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    cert: Option<PathBuf>,
    /// Its key, PEM, where the file of --cert does not hold it
    #[arg(long, value_name = "FILE", requires = "cert", value_hint = clap::ValueHint::FilePath)]
    cert_key: Option<PathBuf>,
}

/// Why a client cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(transparent)]
    Credential(#[from] CredentialError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl GatewayFlags {
    /// Who calls, and whom.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(crate) fn caller(&self) -> Result<Caller, ClientError> {
        let key = credential::find(self.key.as_deref(), &self.url)?;
        let files = TlsClient {
            cacert: self.cacert.as_deref(),
            cert: self.cert.as_deref(),
            cert_key: self.cert_key.as_deref(),
        };
        let tls = endpoint::trust(&self.url, files)?;
        Ok(Caller::new(self.url.clone(), tls, key))
    }

    /// The gateway's URL.
    pub(crate) fn url(&self) -> &Endpoint {
        &self.url
    }

    /// Whether the gateway is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        self.url.is_local()
    }
}

/// A gateway that may be named, for what runs without one as well.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Another gateway")]
pub(crate) struct OtherGateway {
    /// The gateway that carries every call out: http://HOST:PORT, https://HOST:PORT or unix:/PATH; without it, one in this
    /// process
    #[arg(long, env = "FAAM_URL", hide_env_values = true)]
    url: Option<Endpoint>,
    /// Its key. FAAM_KEY shows in no process list
    #[arg(long, env = "FAAM_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Certificates to trust for https, PEM, in place of the system's
    #[arg(long, env = "FAAM_CACERT", hide_env_values = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    cacert: Option<PathBuf>,
}

impl OtherGateway {
    /// Its URL, if one is named.
    pub(crate) fn url(&self) -> Option<&Endpoint> {
        self.url.as_ref()
    }

    /// What carries calls to it; `None` if none is named.
    ///
    /// # Errors
    /// [`ClientError`]
    pub(crate) fn forward(&self) -> Result<Option<Forward>, ClientError> {
        let Some(url) = &self.url else {
            return Ok(None);
        };
        let gateway = GatewayFlags {
            url: url.clone(),
            key: self.key.clone(),
            cacert: self.cacert.clone(),
            cert: None,
            cert_key: None,
        };
        Ok(Some(Forward::new(gateway.caller()?)))
    }
}

/// Engines that may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    // Comments, for help on each value would make a page of every help: what they mean stands at the flag.
    Auto,
    RequireHw,
    PreferHw,
    Cpu,
}

impl Backend {
    /// As the header `Faam-Backend` has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::RequireHw => "require-hw",
            Self::PreferHw => "prefer-hw",
            Self::Cpu => "cpu",
        }
    }
}
