//! TLS of the public listener: its certificate, key and client authorities, from files that may change.
//!
//! Invariants: what serves was complete and consistent when it was read; a new pair that is not keeps the old one in
//! service. TLS 1.2 and 1.3, ALPN h2 and http/1.1. It knows no connections.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, RwLock};
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use serde_json::json;
use thiserror::Error;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::certificate::{Validity, ValidityError};
use crate::events::{Events, GATEWAY, event, kind};
use crate::metrics::Metrics;

/// Protocols that are offered, the preferred first (RFC 7301).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Permission bits of a key file by which others than its owner can read or write it.
const KEY_MODE_OTHERS: u32 = 0o077;

/// Where TLS's parts are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and its chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM: PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
    /// Authorities, PEM, one of which has to have signed a caller's certificate; `None` asks callers for none.
    pub client_ca: Option<PathBuf>,
}

/// Why TLS cannot be served with the files given.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file that cannot be read, or holds no such thing.
    #[error(
        "expected {expected} in PEM in {path}; correct the file, or choose another with {flag}"
    )]
    File {
        /// What should be there.
        expected: &'static str,
        /// Where.
        path: PathBuf,
        /// The flag that chooses it.
        flag: &'static str,
        /// What came instead.
        #[source]
        source: pem::Error,
    },
    /// A certificate and a key that do not go together, or that cannot be used.
    #[error(
        "the certificate {certificate} and the key {key} cannot be used together; write both anew, the key that the certificate was made for"
    )]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// An authority that cannot be used.
    #[error(
        "{path} holds an authority that cannot be used; correct it, or leave --tls-client-ca out"
    )]
    Authority {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// Authorities that cannot be used together.
    #[error("{path} holds no authority that can be used; correct it, or leave --tls-client-ca out")]
    Authorities {
        /// Where.
        path: PathBuf,
        /// Why not.
        #[source]
        source: VerifierBuilderError,
    },
}

/// TLS in service.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: RwLock<Serving>,
    /// The files as they were before they were last read. Held while they are read, so that readings come one by one.
    seen: Mutex<[Option<Fingerprint>; 3]>,
    metrics: Arc<Metrics>,
    events: Events,
}

/// What handshakes are made with.
#[derive(Clone, Debug)]
struct Serving {
    config: Arc<ServerConfig>,
    /// The leaf's; `None` where it cannot be read.
    validity: Option<Validity>,
}

/// What tells one version of a file from the next without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    bytes: u64,
    modified_s: i64,
    modified_ns: i64,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn open(files: TlsFiles, metrics: Arc<Metrics>, events: Events) -> Result<Self, TlsError> {
        let seen = files.fingerprints();
        let serving = files.read()?;
        Ok(Self {
            files,
            current: RwLock::new(serving),
            seen: Mutex::new(seen),
            metrics,
            events,
        })
    }

    /// What the next handshake is made with.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.read().config)
    }

    /// When the certificate that serves holds; `None` where that cannot be read.
    #[must_use]
    pub fn validity(&self) -> Option<Validity> {
        self.current.read().validity
    }

    /// Publishes until when the certificate that serves holds, and says loudly where it does not now: it is served all
    /// the same, for callers may have other reasons to trust it, and no service at all is no better.
    pub fn report(&self) {
        let Some(validity) = self.validity() else {
            return;
        };
        self.metrics
            .tls_not_after("public", validity.not_after_seconds());
        if let Err(why) = self.check_validity() {
            self.warn_of(why);
        }
    }

    fn check_validity(&self) -> Result<(), ValidityError> {
        let validity = self.validity();
        validity.map_or(Ok(()), |validity| validity.check(SystemTime::now()))
    }

    fn warn_of(&self, why: ValidityError) {
        error!(
            "the TLS certificate {} {why}",
            self.files.certificate.display()
        );
    }

    /// Reads the files again, changed or not. Connections that are open keep what they began with.
    ///
    /// # Errors
    /// [`TlsError`]; what served before goes on serving.
    pub fn reload(&self) -> Result<(), TlsError> {
        let mut seen = self.seen.lock();
        *seen = self.files.fingerprints();
        self.replace()
    }

    /// Reads the files if they have changed since they were last read; whether they had.
    fn reload_if_changed(&self) -> Result<bool, TlsError> {
        let mut seen = self.seen.lock();
        let now = self.files.fingerprints();
        if *seen == now {
            return Ok(false);
        }
        // Also where they turn out bad: they are read again once they have changed again.
        *seen = now;
        self.replace().map(|()| true)
    }

    fn replace(&self) -> Result<(), TlsError> {
        let read = self.files.read();
        self.metrics
            .tls_reload(if read.is_ok() { "ok" } else { "kept-old" });
        let certificate = self.files.certificate.display().to_string();
        let (kind, detail) = match &read {
            Ok(_) => (kind::TLS_RELOADED, json!({})),
            Err(error) => (kind::TLS_KEPT, json!({ "why": error.to_string() })),
        };
        self.events
            .record(event(kind, GATEWAY, &certificate, detail));
        *self.current.write() = read?;
        self.report();
        info!(certificate = %self.files.certificate.display(), "TLS certificate and key read again");
        Ok(())
    }

    /// Looks at the files at every `poll` until `stop`.
    pub(super) async fn watch(self: Arc<Self>, poll: Duration, stop: CancellationToken) {
        let mut ticks = interval(poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // What does not hold now was told of when it was read.
        let mut held = self.check_validity().is_ok();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => {}
            }
            let tls = Arc::clone(&self);
            // Files may be on a file system that answers slowly.
            let looked = tokio::task::spawn_blocking(move || tls.reload_if_changed()).await;
            if let Ok(Err(error)) = looked {
                error!(
                    error = &error as &dyn std::error::Error,
                    "the new TLS files are not used; what served before goes on serving"
                );
            }
            // Nobody has looked at it since it was read, and it may have run out meanwhile: said once.
            let now = self.check_validity();
            if let (true, Err(why @ ValidityError::Expired { .. })) = (held, now) {
                self.warn_of(why);
            }
            held = now.is_ok();
        }
    }
}

impl TlsFiles {
    fn fingerprints(&self) -> [Option<Fingerprint>; 3] {
        [
            fingerprint(&self.certificate),
            fingerprint(&self.key),
            self.client_ca.as_deref().and_then(fingerprint),
        ]
    }

    fn read(&self) -> Result<Serving, TlsError> {
        let chain = certificates(&self.certificate, "a certificate", "--tls-cert")?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| TlsError::File {
            expected: "a private key (PKCS#8, SEC1 or PKCS#1)",
            path: self.key.clone(),
            flag: "--tls-key",
            source,
        })?;
        let validity = chain.first().and_then(Validity::of);
        self.warn_of_open_key();
        let provider = Arc::new(ring::default_provider());
        let pair_error = |source| TlsError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(pair_error)?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(path, "authorities' certificates", "--tls-client-ca")?
                {
                    roots.add(authority).map_err(|source| TlsError::Authority {
                        path: path.clone(),
                        source,
                    })?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|source| TlsError::Authorities {
                            path: path.clone(),
                            source,
                        })?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(pair_error)?;
        config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
        Ok(Serving {
            config: Arc::new(config),
            validity,
        })
    }

    fn warn_of_open_key(&self) {
        let mode = std::fs::metadata(&self.key).map(|metadata| metadata.permissions().mode());
        if let Ok(mode) = mode
            && mode & KEY_MODE_OTHERS != 0
        {
            warn!(
                key = %self.key.display(),
                mode = format_args!("{:04o}", mode & 0o7777),
                "the TLS key can be used by others than its owner: chmod 600 it"
            );
        }
    }
}

/// All certificates of a file; at least one.
fn certificates(
    path: &Path,
    expected: &'static str,
    flag: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = || {
        let certificates: Vec<_> =
            CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
        if certificates.is_empty() {
            return Err(pem::Error::NoItemsFound);
        }
        Ok(certificates)
    };
    read().map_err(|source| TlsError::File {
        expected,
        path: path.to_owned(),
        flag,
        source,
    })
}

/// `None` where it cannot be looked at; reading it will say why.
fn fingerprint(path: &Path) -> Option<Fingerprint> {
    let metadata: io::Result<_> = std::fs::metadata(path);
    let metadata = metadata.ok()?;
    Some(Fingerprint {
        device: metadata.dev(),
        inode: metadata.ino(),
        bytes: metadata.len(),
        modified_s: metadata.mtime(),
        modified_ns: metadata.mtime_nsec(),
    })
}
