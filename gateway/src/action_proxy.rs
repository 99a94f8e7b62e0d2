//! `faam action-proxy`: FaaM as another platform's function, one process with one front.
//!
//! Owns the process: its one listener, its gateway or the way to another one, its signals. Invariants: it listens once its
//! own gateway serves; nothing stands on its standard output but what the platform's protocol puts there; what it would lose
//! when it is killed is what is in flight. It does not know what a platform's requests look like.

mod platform;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use faam_gateway::config::DRAIN;
use faam_gateway::descriptors;
use faam_gateway::fronts::body_room::BodyRoom;
use faam_gateway::fronts::call::CallOptions;
use faam_gateway::fronts::front::Backend;
use faam_gateway::fronts::function::Function;
use faam_gateway::fronts::invoker::Invoker;
use faam_gateway::gateway::Gateway;
use faam_gateway::http::front_surface::FrontSurface;
use faam_gateway::http::invocations::Invocations;
use faam_gateway::http::limits::HttpLimits;
use faam_gateway::http::listener::{self, Endpoints};
use faam_gateway::metrics::Metrics;
use tempfile::TempDir;
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use self::platform::{Platform, PlatformFlag};
use crate::cli::LogFlags;
use crate::client::forward::Forward;
use crate::client::{self, OtherGateway};
use crate::serve::Signals;
use crate::serve::devices::Devices;
use crate::serve::sources::{SettingsError, Sources};

const EXAMPLES: &str = "\
Examples:
  faam action-proxy --platform openwhisk
      an OpenWhisk action container on port 8080, with the CPU engines of this process
  FAAM_URL=https://faam.example FAAM_KEY=faam_... faam action-proxy --function zstd --level 4
      every call goes to that gateway; without parameters it is compressed with zstd
  faam action-proxy --devices sim --listen 127.0.0.1:9000
      with a simulated card of its own
  curl -sS -d '{\"value\": {\"code\": \"gzip\"}}' 127.0.0.1:8080/init
  curl -sS -d '{\"value\": {\"data\": \"aGVsbG8=\"}}' 127.0.0.1:8080/run
      what OpenWhisk's invoker does

Without --listen the platform's own variables say where: PORT (Knative), FUNCTIONS_CUSTOMHANDLER_PORT (Azure), the port in
upstream_url (OpenFaaS), else 8080. It listens for whoever can reach it, and asks nobody for a key: the platform does.
A gateway in this process takes the settings of `faam serve` from FAAM_CONFIG and FAAM_*, but for addresses, devices and
the data directory, which are this command's own. Its log is on standard error;
FAAM_LOG=warn leaves out all but what is wrong.";

/// Serve as another platform's function: an action container, a service behind a watchdog, a custom handler
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ActionProxy {
    #[command(flatten)]
    pub(crate) log: LogFlags,
    /// Whose function this is; auto goes by the variables that each platform sets
    #[arg(
        long,
        value_enum,
        env = "FAAM_PLATFORM",
        hide_env_values = true,
        default_value = "auto"
    )]
    platform: PlatformFlag,
    /// Where to listen, in place of where the platform expects it
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// What is called where a request does not say: gzip, zlib, deflate, zstd, lz4; gunzip and so on for the way back
    #[arg(long, env = "FAAM_FUNCTION", hide_env_values = true, default_value_t)]
    function: Function,
    /// Effort where a request does not say
    #[arg(long, env = "FAAM_LEVEL", hide_env_values = true, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(1..=12))]
    level: Option<u8>,
    /// Engines that may serve where a request does not say
    #[arg(long, env = "FAAM_BACKEND", hide_env_values = true, value_enum)]
    backend: Option<client::Backend>,
    #[command(flatten)]
    other: OtherGateway,
    #[command(flatten)]
    own: OwnFlags,
}

/// Flags of a gateway in this process.
#[derive(Debug, Args)]
#[command(next_help_heading = "A gateway in this process")]
struct OwnFlags {
    /// Its cards: none, sim or sim:CARDS, pci:ADDRESS, vfio-user:DIR [default: none]
    #[arg(
        long,
        env = "FAAM_DEVICES",
        hide_env_values = true,
        value_delimiter = ',',
        conflicts_with = "url"
    )]
    devices: Vec<Devices>,
    /// Where its probes and metrics are [default: a port of the system's choice on 127.0.0.1]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "url")]
    admin_listen: Option<SocketAddr>,
    /// Where it keeps its usage [default: a directory that ends with the process]
    #[arg(long, conflicts_with = "url", value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    data_dir: Option<PathBuf>,
}

impl ActionProxy {
    /// Serves until a signal.
    ///
    /// # Errors
    /// What keeps it from serving.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let platform = self.platform.platform(variable)?;
        let listen = match self.listen {
            Some(listen) => listen,
            None => platform.listen(variable)?,
        };
        // Before anything else: a signal during the start is obeyed after it.
        let signals = Signals::new()?;
        match self.other.forward()? {
            Some(forward) => self.forwarding(platform, listen, forward, signals)?,
            None => self.own(platform, listen, signals)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn backend(&self, invoker: Arc<dyn Invoker>) -> Backend {
        Backend {
            invoker,
            function: self.function,
            options: CallOptions {
                level: self.level.map(|level| level.to_string().into()),
                backend: self.backend.map(|backend| backend.as_str().into()),
                ..CallOptions::default()
            },
            room: Arc::new(BodyRoom::default()),
        }
    }

    /// With a gateway in this process.
    fn own(self, platform: Platform, listen: SocketAddr, signals: Signals) -> anyhow::Result<()> {
        let file = std::env::var_os("FAAM_CONFIG").filter(|path| !path.is_empty());
        let file = file.map(PathBuf::from);
        let sources = Sources::read(file.as_deref(), |name| std::env::var_os(name), &[])?;
        let mut draft = sources.draft;
        let temporary = match &self.own.data_dir {
            Some(_) => None,
            None => Some(TempDir::with_prefix("faam-").context(
                "cannot make a directory for the gateway of this process; set TMPDIR, or name one with --data-dir",
            )?),
        };
        let data_dir = self.own.data_dir.clone();
        let data_dir = data_dir.or_else(|| Some(temporary.as_ref()?.path().to_owned()));
        draft.gateway.data_dir = data_dir.unwrap_or_default();
        draft.gateway.listen = listen;
        draft.gateway.admin_listen = self
            .own
            .admin_listen
            .unwrap_or_else(|| (Ipv4Addr::LOCALHOST, 0).into());
        draft.devices = match self.own.devices.is_empty() {
            true => vec![Devices::None],
            false => self.own.devices.clone(),
        };
        let config = draft.finish().map_err(SettingsError::Together)?;
        let gateway = Gateway::start_as(config, move |own| {
            platform.front(self.backend(Arc::new(own)))
        })?;
        tracing::info!(
            %platform,
            metrics = format!("http://{}/metrics", gateway.admin_address()),
            "listening on http://{}",
            gateway.public_address()
        );
        wait(signals)?;
        gateway.stop();
        drop(temporary);
        Ok(())
    }

    /// Before another gateway.
    fn forwarding(
        self,
        platform: Platform,
        listen: SocketAddr,
        forward: Forward,
        signals: Signals,
    ) -> anyhow::Result<()> {
        let runtime = Builder::new_multi_thread()
            .thread_name("faam-http")
            .enable_all()
            .build()
            .context("cannot start the network threads")?;
        let listener = listener::bind(listen, "--listen")?;
        let address = listener.local_addr()?;
        let front = platform.front(self.backend(Arc::new(forward)))?;
        let metrics = Arc::new(Metrics::new());
        let limits = HttpLimits::default();
        let limits = HttpLimits {
            connections_max: descriptors::connections_max(
                limits.connections_max,
                descriptors::raise_limit(),
            ),
            ..limits
        };
        let surface = FrontSurface::new(
            front,
            Arc::clone(&metrics),
            None,
            Invocations::default(),
            limits,
        );
        let endpoints = Endpoints {
            tcp: Some(listener),
            tls: None,
            unix: None,
        };
        let stop = CancellationToken::new();
        let serving = listener::serve(
            "public",
            endpoints,
            surface,
            limits,
            metrics,
            stop.clone(),
            DRAIN,
        );
        let serving = runtime.spawn(serving);
        let gateway = self.other.url().map(ToString::to_string);
        tracing::info!(%platform, gateway, "listening on http://{address}");
        wait(signals)?;
        stop.cancel();
        runtime
            .block_on(serving)
            .context("the listener ended early")??;
        tracing::info!("drained");
        Ok(())
    }
}

/// Until this process is to end.
fn wait(mut signals: Signals) -> anyhow::Result<()> {
    let name = signals.wait(|| tracing::info!("SIGHUP: there is nothing to read again"));
    tracing::info!(signal = name, "draining; a second signal ends at once");
    signals.end_at_the_next()?;
    Ok(())
}
