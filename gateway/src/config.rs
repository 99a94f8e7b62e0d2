//! Everything that one gateway is started with.
//!
//! Owns the assembled configuration; where its values come from (flags, environment) is
//! the command line's, what they mean is their owners'.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::admission::AdmissionLimits;
use crate::dispatch::DispatchConfig;
use crate::http::limits::HttpLimits;
use crate::http::tls::TlsFiles;
use crate::http::unix_socket::UnixListen;
use crate::images::ImageTrust;
use crate::tenants::TenantLimits;
use crate::usage::price::PriceSheet;

/// Port of the public listener.
pub const LISTEN_PORT: u16 = 8080;
/// Port of the admin listener.
pub const ADMIN_PORT: u16 = 8081;
/// How long requests in flight may take to end once the gateway was told to stop. Orchestrators kill after 30 s.
pub const DRAIN: Duration = Duration::from_secs(20);
/// How long engines and cards may take to stop after that.
pub const ENGINES_STOP: Duration = Duration::from_secs(5);

/// Bytes of the store's database: usage of a thousand tenants for years.
pub const STORE_BYTES_MAX: u64 = 64 << 30;

/// How a gateway is started.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Where callers connect.
    pub listen: SocketAddr,
    /// TLS of the public listener; `None` is plain HTTP.
    pub tls: Option<TlsFiles>,
    /// A Unix socket for callers, besides.
    pub unix_listen: Option<UnixListen>,
    /// A collector's base, as in `OTEL_EXPORTER_OTLP_ENDPOINT`; `None` exports no spans.
    pub otlp_endpoint: Option<String>,
    /// Where probes, metrics and the operator's calls are.
    pub admin_listen: SocketAddr,
    /// Where keys and sockets are kept.
    pub data_dir: PathBuf,
    /// The demo tenant's key, if the operator sets it.
    pub bootstrap_key: Option<String>,
    /// The operator's key on the admin listener, if the operator sets it.
    pub admin_key: Option<String>,
    /// Names by which the admin listener may be called, beside addresses and `localhost`; `*` is any.
    pub admin_hosts: Vec<String>,
    /// Engines.
    pub dispatch: DispatchConfig,
    /// Limits of the HTTP surface.
    pub limits: HttpLimits,
    /// Limits of the demo tenant.
    pub tenant_limits: TenantLimits,
    /// Whose images are taken.
    pub images: ImageTrust,
    /// Bytes of the store's database; at that it takes nothing new, and goes on being read.
    pub store_bytes_max: u64,
    /// What usage costs.
    pub prices: PriceSheet,
    /// Bounds of the process: bodies in memory, answers on disk.
    pub admission: AdmissionLimits,
    /// How long requests are still taken once the gateway was told to stop, while its probes say already that it is
    /// not ready. None: who starts it by hand wants it to stop.
    pub drain_delay: Duration,
    /// See [`DRAIN`].
    pub drain: Duration,
}

impl GatewayConfig {
    /// Whether the demo tenant is served: not to other machines, unless the operator chose its key.
    #[must_use]
    pub fn serves_demo(&self) -> bool {
        self.bootstrap_key.is_some() || self.listen.ip().is_loopback()
    }
}

impl Default for GatewayConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, LISTEN_PORT)),
            tls: None,
            unix_listen: None,
            otlp_endpoint: None,
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT)),
            data_dir: PathBuf::from("data"),
            bootstrap_key: None,
            admin_key: None,
            admin_hosts: Vec::new(),
            dispatch: DispatchConfig::default(),
            limits: HttpLimits::default(),
            tenant_limits: TenantLimits::default(),
            images: ImageTrust::default(),
            store_bytes_max: STORE_BYTES_MAX,
            prices: PriceSheet::default(),
            admission: AdmissionLimits::default(),
            drain_delay: Duration::ZERO,
            drain: DRAIN,
        }
    }
}
