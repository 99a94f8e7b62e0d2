//! A gateway's URL, and connections to it.
//!
//! Owns the three ways there: TCP, TLS over TCP, a Unix socket. Invariant: a connection is made
//! within a limit or not at all. It does not know what is said over it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::http::Uri;
use rustls::client::ResolvesClientCert;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// How long a connection may take, TLS included.
pub(crate) const CONNECT_MAX: Duration = Duration::from_secs(10);

/// Where a gateway is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `http://HOST:PORT` and `https://HOST:PORT`, with a path before ours where a proxy has one.
    Network {
        tls: bool,
        host: String,
        port: u16,
        prefix: String,
    },
    /// `unix:/PATH`
    Unix(PathBuf),
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub(crate) enum ConnectError {
    /// Nobody listens.
    #[error(
        "no gateway answers at {endpoint}: start one with `faam serve`, or name another with --url or FAAM_URL"
    )]
    NoGateway {
        endpoint: Endpoint,
        #[source]
        source: io::Error,
    },
    /// Nobody said anything.
    #[error(
        "no gateway answers at {0} within {n} s: start one with `faam serve`, or name another with --url or FAAM_URL",
        n = CONNECT_MAX.as_secs()
    )]
    Slow(Endpoint),
    /// The two did not agree on a secret.
    #[error(
        "{endpoint} speaks TLS with us and is not trusted, or speaks none; see --cacert, or correct the scheme in --url"
    )]
    Tls {
        endpoint: Endpoint,
        #[source]
        source: io::Error,
    },
}

/// Why nobody could be trusted.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    /// A file that holds something else.
    #[error("{} holds no certificate or key in PEM; correct --cacert, --cert or --cert-key", .path.display())]
    File {
        path: PathBuf,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A certificate that is none, or an empty file.
    #[error("{} holds no certificate that can be trusted; correct --cacert", .path.display())]
    Unusable { path: PathBuf },
    /// The system's store.
    #[error(
        "this system has no certificates to trust; install ca-certificates, or name a file with --cacert"
    )]
    NoneHere,
    /// A certificate and a key that do not belong together.
    #[error("the certificate of --cert cannot be used with its key; correct --cert or --cert-key")]
    Own(#[source] rustls::Error),
    /// The library.
    #[error("TLS cannot be set up")]
    Library(#[source] rustls::Error),
}

/// Any connection.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Endpoint {
    /// Whether it is on this machine.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Network { host, .. } => {
                host == "localhost"
                    || host
                        .trim_matches(['[', ']'])
                        .parse::<std::net::IpAddr>()
                        .is_ok_and(|ip| ip.is_loopback())
            }
        }
    }

    /// The header Host.
    pub(crate) fn authority(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".to_owned(),
            Self::Network {
                tls, host, port, ..
            } if *port == default_port(*tls) => host.clone(),
            Self::Network { host, port, .. } => format!("{host}:{port}"),
        }
    }

    /// What stands before our own paths.
    pub(crate) fn prefix(&self) -> &str {
        match self {
            Self::Unix(_) => "",
            Self::Network { prefix, .. } => prefix,
        }
    }

    /// Connect.
    ///
    /// # Errors
    /// [`ConnectError`]
    pub(crate) async fn connect(
        &self,
        tls: Option<&Trust>,
    ) -> Result<Box<dyn Stream>, ConnectError> {
        timeout(CONNECT_MAX, self.connect_patiently(tls))
            .await
            .map_err(|_| ConnectError::Slow(self.clone()))?
    }

    async fn connect_patiently(
        &self,
        tls: Option<&Trust>,
    ) -> Result<Box<dyn Stream>, ConnectError> {
        let no_gateway = |source| ConnectError::NoGateway {
            endpoint: self.clone(),
            source,
        };
        let (host, port) = match self {
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(no_gateway)?;
                return Ok(Box::new(stream));
            }
            Self::Network { host, port, .. } => (host.trim_matches(['[', ']']), *port),
        };
        let stream = TcpStream::connect((host, port)).await.map_err(no_gateway)?;
        stream.set_nodelay(true).map_err(no_gateway)?;
        let Some(Trust { config, .. }) = tls else {
            return Ok(Box::new(stream));
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| no_gateway(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let stream = TlsConnector::from(Arc::clone(config)).connect(name, stream);
        let stream = stream.await.map_err(|source| ConnectError::Tls {
            endpoint: self.clone(),
            source,
        })?;
        Ok(Box::new(stream))
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("expected http://HOST:PORT, https://HOST:PORT or unix:/PATH, got {text:?}");
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if !path.starts_with('/') {
                return Err(expected());
            }
            return Ok(Self::Unix(path.into()));
        }
        let uri: Uri = text.parse().map_err(|_| expected())?;
        let tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(expected()),
        };
        let authority = uri.authority().ok_or_else(expected)?;
        // A name and a password in a URL would be sent nowhere; nobody should think otherwise.
        if authority.as_str().contains('@') || uri.query().is_some() || authority.host().is_empty()
        {
            return Err(expected());
        }
        Ok(Self::Network {
            tls,
            host: authority.host().to_owned(),
            port: authority.port_u16().unwrap_or_else(|| default_port(tls)),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix:{}", path.display()),
            Self::Network { tls, prefix, .. } => {
                let scheme = if *tls { "https" } else { "http" };
                write!(formatter, "{scheme}://{}{prefix}", self.authority())
            }
        }
    }
}

/// A client's side of TLS.
#[derive(Clone)]
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
    unmet: Arc<Unmet>,
}

impl Trust {
    /// Whether somebody asked for a certificate, and there was none to give.
    pub(crate) fn lacks_certificate(&self) -> bool {
        self.unmet.0.load(Ordering::Acquire)
    }
}

/// Has no certificate, and remembers that one was asked for: with TLS 1.3 the handshake ends well without, and what the
/// other side says then may be lost with its connection (RFC 8446, 4.4.2.4).
#[derive(Debug, Default)]
struct Unmet(AtomicBool);

impl ResolvesClientCert for Unmet {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.store(true, Ordering::Release);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

/// Files of a client's TLS, all PEM.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TlsClient<'a> {
    /// Certificates to trust, in place of the system's.
    pub(crate) cacert: Option<&'a Path>,
    /// Our own certificate, for a gateway that asks for one.
    pub(crate) cert: Option<&'a Path>,
    /// Its key; without it, it stands in `cert` too.
    pub(crate) cert_key: Option<&'a Path>,
}

/// Whom to trust at `endpoint`, and as whom; `None` where it has no TLS.
///
/// # Errors
/// [`TlsError`]
pub(crate) fn trust(endpoint: &Endpoint, files: TlsClient<'_>) -> Result<Option<Trust>, TlsError> {
    if !matches!(endpoint, Endpoint::Network { tls: true, .. }) {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    match files.cacert {
        Some(path) => {
            let error = |source| TlsError::File {
                path: path.to_owned(),
                source,
            };
            for certificate in CertificateDer::pem_file_iter(path).map_err(error)? {
                // One that cannot be parsed is one that is not trusted.
                let _ = roots.add(certificate.map_err(error)?);
            }
            if roots.is_empty() {
                return Err(TlsError::Unusable {
                    path: path.to_owned(),
                });
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(TlsError::NoneHere);
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Library)?
        .with_root_certificates(roots);
    let unmet = Arc::new(Unmet::default());
    let mut config = match files.cert {
        None => config.with_client_cert_resolver(Arc::clone(&unmet) as _),
        Some(path) => {
            let pem = |path: &Path| {
                let path = path.to_owned();
                move |source| TlsError::File { path, source }
            };
            let certificates = CertificateDer::pem_file_iter(path)
                .map_err(pem(path))?
                .collect::<Result<_, _>>()
                .map_err(pem(path))?;
            let key_path = files.cert_key.unwrap_or(path);
            let key = PrivateKeyDer::from_pem_file(key_path).map_err(pem(key_path))?;
            config
                .with_client_auth_cert(certificates, key)
                .map_err(TlsError::Own)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Some(Trust {
        config: Arc::new(config),
        unmet,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_and_shown() {
        for (text, shown, local) in [
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080", true),
            ("http://[::1]:8080/", "http://[::1]:8080", true),
            ("https://faam.example", "https://faam.example", false),
            (
                "https://faam.example:8443/x/",
                "https://faam.example:8443/x",
                false,
            ),
            ("http://localhost", "http://localhost", true),
            ("unix:/run/faam.sock", "unix:/run/faam.sock", true),
            ("unix:///run/faam.sock", "unix:/run/faam.sock", true),
        ] {
            let endpoint: Endpoint = text.parse().expect(text);
            assert_eq!(endpoint.to_string(), shown);
            assert_eq!(endpoint.is_local(), local, "{text}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_with_what_is() {
        for bad in [
            "",
            "127.0.0.1:8080",
            "ftp://x",
            "unix:x",
            "http://",
            "http://u:p@x",
            "http://x/?a=b",
        ] {
            let error = bad.parse::<Endpoint>().expect_err(bad);
            assert!(error.contains("unix:/PATH"), "{error}");
        }
    }
}
