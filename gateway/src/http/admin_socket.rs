//! The operator's socket, `admin.sock` in the data directory: what is asked of a running gateway by whoever owns it.
//!
//! Owns the socket's place and permissions. Behind it are the rooms of `super::admin_rooms`. Invariants: only the user who runs the gateway
//! (and root) can connect, so that no credential is asked for; nothing here is reachable from a network; a request's body is
//! small and every wait has a limit. It runs on the admin listener's thread, which no load on the public side starves.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::admin_rooms;
use super::app::{App, stack};
use super::invocation::Observer;
use super::invocations::Invocations;
use super::limits::HttpLimits;
use super::listener::{self, Endpoints};
use super::unix_socket::{UnixListen, UnixSocket};
use super::unserved;
use crate::error::{Problem, ProblemKind};
use crate::events::OPERATOR;

/// Its name in the data directory.
pub const ADMIN_SOCKET_FILE: &str = "admin.sock";
/// Its owner alone may connect.
const ADMIN_SOCKET_MODE: u32 = 0o600;
/// Connections at once.
const CONNECTIONS_MAX: usize = 16;
/// How long connections may take to end with the gateway.
const DRAIN: Duration = Duration::from_secs(1);

/// What a gateway says of itself to its operator.
#[derive(Clone, Debug, Serialize)]
pub struct About {
    version: &'static str,
    pid: u32,
    /// DMA memory shared by its own cards, bytes.
    arena_bytes: usize,
    /// Memory that it may lock (RLIMIT_MEMLOCK, the soft limit), bytes; `null` is no limit.
    memlock_bytes: Option<u64>,
    /// Whether that limit does not count for it (CAP_IPC_LOCK).
    locks_without_limit: bool,
}

impl About {
    /// Of this process, whose arena has `arena_bytes`.
    #[must_use]
    pub fn new(arena_bytes: usize) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            arena_bytes,
            memlock_bytes: getrlimit(Resource::Memlock).current,
            locks_without_limit: locks_without_limit(),
        }
    }
}

#[cfg(target_os = "linux")]
fn locks_without_limit() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK))
}

/// Elsewhere nothing is locked.
#[cfg(not(target_os = "linux"))]
fn locks_without_limit() -> bool {
    false
}

/// Listens in `data_dir`. A gateway serves its callers without it as well, so that what prevents it is logged.
pub fn bind(data_dir: &Path) -> Option<UnixSocket> {
    let listen = UnixListen {
        path: data_dir.join(ADMIN_SOCKET_FILE),
        mode: ADMIN_SOCKET_MODE,
    };
    match UnixSocket::bind(&listen) {
        Ok(socket) => Some(socket),
        Err(error) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no operator's socket: `faam device` will not reach this gateway; choose a shorter data directory, on a file \
                 system that takes sockets"
            );
            None
        }
    }
}

/// Serves until `stop`.
///
/// # Errors
/// A socket that the runtime cannot use.
pub fn serve(
    socket: UnixSocket,
    app: &App,
    about: About,
    stop: CancellationToken,
) -> impl Future<Output = io::Result<()>> + use<> {
    let metrics = Arc::clone(&app.metrics);
    let limits = HttpLimits {
        connections_max: CONNECTIONS_MAX,
        peer_connections_max: None,
        ..app.limits
    };
    let endpoints = Endpoints {
        tcp: None,
        tls: None,
        unix: Some(socket),
    };
    let router = router(app.clone(), about);
    listener::serve("operator", endpoints, router, limits, metrics, stop, DRAIN)
}

fn router(app: App, about: About) -> Router {
    let routes = admin_rooms::rooms(&app, about, OPERATOR)
        .fallback(not_found)
        .method_not_allowed_fallback(admin_rooms::method_not_allowed);
    let observer = Observer {
        metrics: Arc::clone(&app.metrics),
        telemetry: None,
        // Callers' requests alone are explained.
        invocations: Invocations::default(),
    };
    stack(routes, observer, app.limits).with_state(app)
}

async fn not_found(request: Request) -> Problem {
    let detail = format!(
        "{} names nothing here; there are {}",
        unserved::path(&request),
        admin_rooms::ROOMS
    );
    Problem::new(ProblemKind::NotFound, detail)
}
