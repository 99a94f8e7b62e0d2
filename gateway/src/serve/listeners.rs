//! Listeners as they are written in settings: parts of TLS and of a Unix socket that belong together.
//!
//! Owns how they are put together. It does not know what they do.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use faam_gateway::http::tls::TlsFiles;
use faam_gateway::http::unix_socket::{UNIX_SOCKET_MODE, UnixListen};

/// The listeners beside plain TCP.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listeners {
    pub(crate) tls_certificate: Option<PathBuf>,
    pub(crate) tls_key: Option<PathBuf>,
    pub(crate) tls_client_ca: Option<PathBuf>,
    pub(crate) unix: Option<PathBuf>,
    pub(crate) unix_mode: Mode,
}

impl Listeners {
    /// TLS, if it is asked for.
    ///
    /// # Errors
    /// Half of it.
    pub(crate) fn tls(&self) -> Result<Option<TlsFiles>, String> {
        match (&self.tls_certificate, &self.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                client_ca: self.tls_client_ca.clone(),
            })),
            (None, None) if self.tls_client_ca.is_none() => Ok(None),
            _ => Err(
                "TLS needs both tls.cert and tls.key (--tls-cert, --tls-key): give the other as well, or none of tls.*"
                    .to_owned(),
            ),
        }
    }

    /// The Unix socket, if there is to be one.
    pub(crate) fn unix(&self) -> Option<UnixListen> {
        self.unix.clone().map(|path| UnixListen {
            path,
            mode: self.unix_mode.0,
        })
    }
}

/// Permission bits, written in octal as chmod takes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode(pub(crate) u32);

impl Default for Mode {
    fn default() -> Self {
        Self(UNIX_SOCKET_MODE)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04o}", self.0)
    }
}

impl FromStr for Mode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mode = u32::from_str_radix(text, 8).ok();
        mode.filter(|mode| *mode <= 0o777).map(Self).ok_or(())
    }
}
