//! `faam serve` as a process: settings, signals, and the lines that say how to use it.
//!
//! Invariant: the lines on stdout are printed once the gateway serves, and what they
//! show works as printed; whether anybody reads them changes nothing. The first SIGTERM or SIGINT drains, the second ends at once; SIGHUP
//! reads the TLS files again.

mod check;
pub(crate) mod devices;
mod flags;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod listeners;
pub(crate) mod settings;
pub(crate) mod sources;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use faam_gateway::gateway::Gateway;
use faam_gateway::images::ImageTrust;
use faam_gateway::usage::price::PriceSheet;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub(crate) use self::flags::Serve;
use self::sources::Sources;

/// Exit status of a process that a second signal ended: 128 and SIGINT.
const FORCED_EXIT: i32 = 130;

/// Serves until a signal, or with `--check` only says whether it could.
pub(crate) fn run(serve: &Serve) -> anyhow::Result<ExitCode> {
    if serve.check {
        let able = check::run(&serve.sources()?, serve.json)?;
        return Ok(if able {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let config = serve.configuration()?;
    let key_is_chosen = config.bootstrap_key.is_some();
    // Before anything else: a signal during the start is obeyed after it.
    let mut signals = Signals::new()?;
    let gateway = Gateway::start(config)?;
    if let Err(error) = announce(&gateway, key_is_chosen) {
        // As in `faam serve | head -1`: the callers are not those who read the lines.
        tracing::warn!(
            %error,
            key = gateway.demo_key().map(|demo| demo.path.display().to_string()),
            "stdout takes no lines; the gateway serves all the same, its key is in its file"
        );
    }
    let name = signals.wait(|| reload(&gateway));
    tracing::info!(signal = name, "draining; a second signal ends at once");
    signals.end_at_the_next()?;
    gateway.stop();
    Ok(ExitCode::SUCCESS)
}

/// Reads the TLS files again. What cannot be used is logged, and what served goes on serving.
fn reload(gateway: &Gateway) {
    match gateway.reload_tls() {
        Ok(true) => {}
        Ok(false) => tracing::info!("SIGHUP: there is nothing to read again without TLS"),
        Err(error) => tracing::error!(
            error = &error as &dyn std::error::Error,
            "the new TLS files are not used; what served before goes on serving"
        ),
    }
}

/// The two signals that end a service, and the one that has its files read again.
pub(crate) struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Obeyed from here on.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn new() -> anyhow::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let (terminate, interrupt, hangup) = {
            let _entered = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            )
        };
        Ok(Self {
            runtime,
            terminate,
            interrupt,
            hangup,
        })
    }

    /// Ends the process at once when one of the two comes again.
    ///
    /// # Errors
    /// No thread.
    pub(crate) fn end_at_the_next(mut self) -> io::Result<()> {
        std::thread::Builder::new()
            .name("faam-signals".to_owned())
            .spawn(move || {
                let name = self.wait(|| tracing::info!("draining: SIGHUP changes nothing"));
                tracing::warn!(signal = name, "ending at once");
                std::process::exit(FORCED_EXIT);
            })?;
        Ok(())
    }

    /// Until one of the two comes; `hangup` is called at each SIGHUP before that.
    pub(crate) fn wait(&mut self, mut on_hangup: impl FnMut()) -> &'static str {
        let Self {
            runtime,
            terminate,
            interrupt,
            hangup,
        } = self;
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => return "SIGTERM",
                    _ = interrupt.recv() => return "SIGINT",
                    _ = hangup.recv() => on_hangup(),
                }
            }
        })
    }
}

/// Says how to use the gateway, in lines that can be pasted.
///
/// A key that the operator chose is not repeated: these lines end in journals and logs, which others read.
fn announce(gateway: &Gateway, key_is_chosen: bool) -> io::Result<()> {
    let public = reachable(gateway.public_address());
    let admin = reachable(gateway.admin_address());
    let scheme = gateway.public_scheme();
    let mut out = io::stdout().lock();
    writeln!(out, "listening on {scheme}://{}", gateway.public_address())?;
    if let Some(path) = gateway.unix_path() {
        writeln!(out, "and on       {} (plain HTTP)", path.display())?;
    }
    let key = match gateway.demo_key() {
        Some(demo) if key_is_chosen => {
            let path = demo.path.display().to_string();
            writeln!(
                out,
                "key          the one of bootstrap_key (kept in {path})"
            )?;
            format!("$(cat '{}')", path.replace('\'', r"'\''"))
        }
        Some(demo) => {
            let path = demo.path.display();
            writeln!(out, "key          {} (kept in {path})", demo.key)?;
            demo.key.clone()
        }
        None => {
            writeln!(
                out,
                "key          those of its tenants (`faam key add`); the demo tenant is not served to other machines"
            )?;
            "$FAAM_KEY".to_owned()
        }
    };
    writeln!(
        out,
        "metrics      http://{admin}/metrics (probes: /healthz, /readyz)"
    )?;
    writeln!(
        out,
        "operators    http://{admin}/admin/v1 (key kept in {})",
        gateway.admin_key().path.display()
    )?;
    writeln!(out, "reference    {scheme}://{public}/docs/")?;
    writeln!(out, "try")?;
    writeln!(
        out,
        "  printf 'hello hello hello' | curl -sS -X POST --data-binary @- -H \"Authorization: Bearer {key}\" \
         {scheme}://{public}/v1/compress | gunzip"
    )?;
    out.flush()
}

/// The address by which this machine reaches a listener.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// Whose images a gateway of this configuration takes: `file`, or the one of FAAM_CONFIG, and the environment.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn image_trust(file: Option<&Path>) -> anyhow::Result<ImageTrust> {
    let other = std::env::var_os("FAAM_CONFIG").filter(|path| !path.is_empty());
    let file = file.map(Path::to_owned).or(other.map(PathBuf::from));
    let sources = Sources::read(file.as_deref(), |name| std::env::var_os(name), &[])?;
    Ok(sources.draft.gateway.images)
}

/// The price sheet that a gateway of this configuration has: `file`, and the environment.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn prices(file: Option<&Path>) -> anyhow::Result<PriceSheet> {
    let sources = Sources::read(file, |name| std::env::var_os(name), &[])?;
    Ok(sources.draft.gateway.prices)
}
