//! One gateway, assembled: listeners, engines, the demo tenant; and its orderly end.
//!
//! Owns the runtimes. Invariants: the admin listener lives on a thread of its own from
//! before the first request until after the last; engines stop only once the listeners
//! have drained. It knows no process: signals and printing are the command's.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use faam_store::sqlite::SqliteOptions;
use faam_store::{Store, StoreError, UsageRecord};
use rustix::fs::{FlockOperation, flock};
use serde_json::json;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

use crate::admission::clock::Day;
use crate::admission::{Admission, AdmissionLimits, DayUse};
use crate::auth::{Authenticator, Principal};
use crate::auth_failures::AuthFailures;
use crate::config::{ENGINES_STOP, GatewayConfig};
use crate::credentials::Presented;
use crate::credentials::kept_key::{KeptKey, KeyError};
use crate::credentials::keyring::Keyring;
use crate::credentials::secret_file::SecretError;
use crate::descriptors;
use crate::directory::{DirectoryOptions, TenantDirectory};
use crate::dispatch::{self, DispatchConfig, Dispatcher};
use crate::engines;
use crate::error::ProblemKind;
use crate::events::{Events, GATEWAY, event, kind, now};
use crate::fronts::front::Front;
use crate::fronts::invoker::OwnGateway;
use crate::http::admin_access::AdminAccess;
use crate::http::admin_socket::About;
use crate::http::app::{App, AppParts, Surface};
use crate::http::front_surface::FrontSurface;
use crate::http::invocations::Invocations;
use crate::http::listener::{self, BindError, Endpoints};
use crate::http::tls::{Tls, TlsError};
use crate::http::unix_socket::{UnixBindError, UnixSocket};
use crate::http::{admin, admin_socket, limits::HttpLimits};
use crate::images::{ImageError, ImageStore};
use crate::metrics::Metrics;
use crate::telemetry::{Telemetry, TelemetryError};
use crate::tenants::{DEMO_TENANT, TenantId};
use crate::usage::{self, Usage};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};

/// File whose lock says that a gateway uses the data directory.
const LOCK_FILE: &str = "gateway.lock";
/// The store's file in the data directory.
pub const STORE_FILE: &str = "faam.db";
/// Connections of the admin listener.
const ADMIN_CONNECTIONS_MAX: usize = 64;
/// How long admin connections may take to end.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);
/// How long writing the last events may take.
const EVENTS_FLUSH_MAX: Duration = Duration::from_secs(2);
/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// How long requests that have ended may take to be accounted for, and how often that is looked at.
const SETTLED_MAX: Duration = Duration::from_secs(1);
const SETTLED_LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How long the last usage may take to be written, and the store to close: a service manager does not wait for ever.
const USAGE_END_MAX: Duration = Duration::from_secs(3);
const STORE_CLOSE_MAX: Duration = Duration::from_secs(2);
/// How long the runtimes may take to end after all else has.
const RUNTIME_STOP: Duration = Duration::from_secs(2);

/// Why a gateway did not start.
#[derive(Debug, Error)]
pub enum GatewayError {
    /// Everybody could use a key that nobody chose.
    #[error(
        "{address} can be reached from other machines, no key was chosen, and there is no tenant but the demo one: set \
         FAAM_BOOTSTRAP_KEY to a key of your own (faam_ and at least 19 letters, digits, - or _), make a tenant with `faam \
         tenant add` and `faam key add`, or listen on 127.0.0.1"
    )]
    OpenDemo {
        /// Where it would have listened.
        address: SocketAddr,
    },
    /// A front would call on behalf of nobody.
    #[error(
        "the demo tenant, on whose behalf a front calls, was removed from the data directory; choose another with --data-dir"
    )]
    NoCaller,
    /// Two gateways would share keys and sockets.
    #[error(
        "the data directory {path} is in use by another gateway; stop it, or choose another with --data-dir"
    )]
    DataDirTaken {
        /// Which.
        path: PathBuf,
    },
    /// The data directory cannot be used.
    #[error(
        "cannot use the data directory {path}; make it writable, or choose another with --data-dir"
    )]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The demo tenant's key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The store.
    #[error("cannot open the store in the data directory")]
    Store(#[from] StoreError),
    /// The images.
    #[error("cannot open the images in the data directory")]
    Images(#[from] ImageError),
    /// Peppers and root keys.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The Unix socket.
    #[error(transparent)]
    UnixBind(#[from] UnixBindError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Spans.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Engines.
    #[error(transparent)]
    Dispatch(#[from] dispatch::StartError),
    /// Threads.
    #[error("cannot start the network threads")]
    Runtime(#[source] io::Error),
}

/// What makes a front once there is a gateway to call.
type MakeFront = Box<dyn FnOnce(OwnGateway) -> io::Result<Arc<dyn Front>>>;

/// A gateway that serves.
pub struct Gateway {
    public: SocketAddr,
    admin: SocketAddr,
    demo: Option<KeptKey>,
    admin_key: KeptKey,
    app: App,
    tls: Option<Arc<Tls>>,
    unix: Option<PathBuf>,
    drain_delay: Duration,
    drain: Duration,
    runtime: Runtime,
    public_stop: CancellationToken,
    public_task: tokio::task::JoinHandle<io::Result<()>>,
    admin_stop: CancellationToken,
    admin_thread: JoinHandle<io::Result<()>>,
    _lock: File,
}

impl Gateway {
    /// Starts serving. Ports 0 are chosen by the system: see [`Gateway::public_address`].
    ///
    /// # Errors
    /// [`GatewayError`]; nothing is left running.
    pub fn start(config: GatewayConfig) -> Result<Self, GatewayError> {
        Self::start_with(config, None)
    }

    /// Starts a gateway whose public listener carries a front, and nothing else. The front's one caller is the demo tenant,
    /// whose key nobody can present there.
    ///
    /// # Errors
    /// [`GatewayError`]; nothing is left running.
    pub fn start_as(
        config: GatewayConfig,
        front: impl FnOnce(OwnGateway) -> io::Result<Arc<dyn Front>> + 'static,
    ) -> Result<Self, GatewayError> {
        Self::start_with(config, Some(Box::new(front)))
    }

    fn start_with(config: GatewayConfig, front: Option<MakeFront>) -> Result<Self, GatewayError> {
        let serves_demo = front.is_some() || config.serves_demo();
        let limit = descriptors::raise_limit();
        let connections_max = descriptors::connections_max(config.limits.connections_max, limit);
        let spill_files_max =
            descriptors::spill_files_max(config.admission.spill_files_max, connections_max, limit);
        let admission = AdmissionLimits {
            spill_files_max,
            spill_tenant_files_max: descriptors::spill_tenant_files_max(
                config.admission.spill_tenant_files_max,
                config.admission.spill_files_max,
                spill_files_max,
            ),
            ..config.admission
        };
        let public_limits = HttpLimits {
            connections_max,
            ..config.limits
        };
        let lock = lock_data_dir(&config.data_dir)?;
        let metrics = Arc::new(Metrics::new());
        metrics.engines(engines::served());
        let events = Events::new(Arc::clone(&metrics));
        let tls = config
            .tls
            .map(|files| Tls::open(files, Arc::clone(&metrics), events.clone()).map(Arc::new))
            .transpose()?;
        if let Some(tls) = &tls {
            tls.report();
        }
        let telemetry = config
            .otlp_endpoint
            .map(|endpoint| Telemetry::start(&endpoint, Arc::clone(&metrics)).map(Arc::new))
            .transpose()?;
        let unix_path = config.unix_listen.as_ref().map(|unix| unix.path.clone());
        let unix = config
            .unix_listen
            .map(|unix| UnixSocket::bind(&unix))
            .transpose()?;
        let public_listener = listener::bind(config.listen, "--listen")?;
        let admin_listener = listener::bind(config.admin_listen, "--admin-listen")?;
        let address =
            |listener: &std::net::TcpListener| listener.local_addr().map_err(GatewayError::Runtime);
        let (public, admin) = (address(&public_listener)?, address(&admin_listener)?);

        let admin_key = KeptKey::admin(&config.data_dir, config.admin_key.as_deref())?;
        let auth_failures = Arc::new(AuthFailures::new(events.clone()));
        let access = AdminAccess::new(
            &admin_key.key,
            &config.admin_hosts,
            Arc::clone(&auth_failures),
        )
        .map_err(SecretError::Random)?;
        let keyring = Keyring::open(&config.data_dir, Keyring::credentials_dir().as_deref())?;
        let runtime = Builder::new_multi_thread()
            .thread_name("faam-http")
            .enable_all()
            .build()
            .map_err(GatewayError::Runtime)?;
        let admin_runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(GatewayError::Runtime)?;
        let options = SqliteOptions::new(&config.data_dir.join(STORE_FILE));
        let options = options.bytes_max(config.store_bytes_max);
        let store = runtime.block_on(Store::open_sqlite(options))?;
        let tenants = runtime.block_on(store.tenants())?;
        let has_demo = tenants.iter().any(|tenant| tenant.name == DEMO_TENANT);
        // Who has removed the demo tenant, or begun with others, does not find it made again.
        let removed_demo = !has_demo && runtime.block_on(store.is_removed(DEMO_TENANT))?;
        let may_want_demo =
            config.bootstrap_key.is_some() || serves_demo && (has_demo || tenants.is_empty());
        let wants_demo = may_want_demo && !removed_demo;
        if may_want_demo && removed_demo {
            tracing::warn!(
                chosen_key = config.bootstrap_key.is_some(),
                tenants = tenants.len(),
                "the demo tenant was removed, and is not made again: its key lets nobody in; make tenants with `faam tenant \
                 add` and `faam key add`, and unset FAAM_BOOTSTRAP_KEY"
            );
        }
        let demo = match wants_demo {
            true => Some(KeptKey::demo(
                &config.data_dir,
                config.bootstrap_key.as_deref(),
            )?),
            false => None,
        };
        if demo.as_ref().is_some_and(|demo| demo.key == admin_key.key) {
            return Err(KeyError::Same.into());
        }
        let options = DirectoryOptions {
            keyring,
            defaults: config.tenant_limits,
            demo_key: demo.as_ref().map(|demo| demo.key.as_str()),
            events: Some(events.clone()),
        };
        let directory = runtime.block_on(async {
            let directory = TenantDirectory::open(store.clone(), options).await?;
            directory.make_demo_tenant(now()).await?;
            Ok::<_, StoreError>(directory)
        })?;
        // Who removed the last tenant gets a gateway that waits for the next one.
        if directory.served().is_empty() && demo.is_none() && !removed_demo {
            return Err(GatewayError::OpenDemo {
                address: config.listen,
            });
        }

        let principal = match (&front, &demo) {
            (None, _) => None,
            (Some(_), Some(demo)) => Some(bearer(&directory, &demo.key)?),
            (Some(_), None) => return Err(GatewayError::NoCaller),
        };

        let images = ImageStore::open(
            &config.data_dir,
            &config.images,
            events.clone(),
            Arc::clone(&metrics),
        )?;
        runtime.spawn(events.write_to(store.clone()));
        let usage = Usage::new(store.clone(), Arc::clone(&metrics));
        runtime.spawn(usage.clone().run());

        let operator_socket = admin_socket::bind(&config.data_dir);
        let about = About::new(config.dispatch.arena_bytes);
        let verify = config.dispatch.verification;
        let settings = json!({
            "cards": config.dispatch.cards.len(),
            "cpu_workers": config.dispatch.cpu_workers,
            "arena_bytes": config.dispatch.arena_bytes,
            "queue_blocks_max": config.dispatch.queue_blocks_max,
            "verify": verify.planned(),
            "connections_max": connections_max,
            "spill_files_max": spill_files_max,
            "body_bytes_max": config.limits.body_bytes_max,
            "spans": telemetry.is_some(),
            "images": images.list().len(),
            "image_keys": images.trusted_keys(),
        });
        let kernels = config.dispatch.images.clone();
        let dispatch = DispatchConfig {
            events: events.clone(),
            images: Some(kernels.unwrap_or_else(|| Arc::new(images.clone()))),
            ..config.dispatch
        };
        let admission = Admission::new(admission);
        // Before the engines: what fails after they have begun has to end them.
        runtime.block_on(recall_today(&store, &admission))?;
        let dispatcher = Dispatcher::start(dispatch, Arc::clone(&metrics))?;
        metrics.begin(
            ProblemKind::ALL.into_iter().map(ProblemKind::name),
            &dispatcher.cards(),
        );
        directory.serve_by(&dispatcher, &admission);
        let app = App::new(AppParts {
            dispatcher,
            admission,
            directory,
            auth_failures,
            metrics: Arc::clone(&metrics),
            events: events.clone(),
            images,
            telemetry,
            limits: config.limits,
            verify,
            invocations: Invocations::default(),
            spill_dir: config.data_dir.into(),
            store,
            backup_turn: Arc::default(),
            usage,
            prices: config.prices,
        });

        let front = front
            .zip(principal)
            .map(|(make, principal)| {
                let app = app.clone();
                make(OwnGateway { app, principal })
            })
            .transpose()
            .inspect_err(|_| runtime.block_on(app.dispatcher.stop(ENGINES_STOP)))
            .map_err(GatewayError::Runtime)?;

        let admin_stop = CancellationToken::new();
        let admin_limits = HttpLimits {
            connections_max: ADMIN_CONNECTIONS_MAX,
            peer_connections_max: None,
            ..config.limits
        };
        let admin_serving = listener::serve(
            "admin",
            Endpoints {
                tcp: Some(admin_listener),
                tls: None,
                unix: None,
            },
            admin::router(app.clone(), about.clone(), access),
            admin_limits,
            Arc::clone(&metrics),
            admin_stop.clone(),
            ADMIN_DRAIN,
        );
        let operator_serving = operator_socket
            .map(|socket| admin_socket::serve(socket, &app, about, admin_stop.clone()));
        let engines = app.dispatcher.clone();
        let admin_thread = std::thread::Builder::new()
            .name("faam-admin".to_owned())
            .spawn(move || {
                admin_runtime.block_on(async {
                    let operator = async {
                        match operator_serving {
                            Some(serving) => serving.await,
                            None => Ok(()),
                        }
                    };
                    let (probes, operator) = tokio::join!(admin_serving, operator);
                    probes.and(operator)
                })
            })
            .inspect_err(|_| runtime.block_on(engines.stop(ENGINES_STOP)))
            .map_err(GatewayError::Runtime)?;

        let public_stop = CancellationToken::new();
        let endpoints = Endpoints {
            tcp: Some(public_listener),
            tls: tls.clone(),
            unix,
        };
        let (stop, drain) = (public_stop.clone(), config.drain);
        let public_task = match front {
            None => runtime.spawn(listener::serve(
                "public",
                endpoints,
                Surface::new(app.clone()),
                public_limits,
                metrics,
                stop,
                drain,
            )),
            Some(front) => runtime.spawn(listener::serve(
                "public",
                endpoints,
                FrontSurface::new(
                    front,
                    Arc::clone(&metrics),
                    app.telemetry.clone(),
                    app.invocations.clone(),
                    app.limits,
                ),
                public_limits,
                metrics,
                stop,
                drain,
            )),
        };
        let started = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "listen": public.to_string(),
            "admin_listen": admin.to_string(),
            "tls": tls.is_some(),
        });
        events.record(event(kind::CONFIG_LOADED, GATEWAY, "", settings));
        events.record(event(kind::GATEWAY_STARTED, GATEWAY, "", started));
        Ok(Self {
            public,
            admin,
            demo,
            admin_key,
            app,
            tls,
            unix: unix_path,
            drain_delay: config.drain_delay,
            drain: config.drain,
            runtime,
            public_stop,
            public_task,
            admin_stop,
            admin_thread,
            _lock: lock,
        })
    }

    /// Where callers connect.
    #[must_use]
    pub const fn public_address(&self) -> SocketAddr {
        self.public
    }

    /// Where probes and metrics are.
    #[must_use]
    pub const fn admin_address(&self) -> SocketAddr {
        self.admin
    }

    /// The Unix socket for callers, if there is one.
    #[must_use]
    pub fn unix_path(&self) -> Option<&Path> {
        self.unix.as_deref()
    }

    /// `https` or `http`: what the public listener speaks.
    #[must_use]
    pub const fn public_scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    /// Reads certificate, key and client authorities again; `false` where TLS is not served.
    ///
    /// # Errors
    /// [`TlsError`]; what served before goes on serving.
    pub fn reload_tls(&self) -> Result<bool, TlsError> {
        match &self.tls {
            None => Ok(false),
            Some(tls) => tls.reload().map(|()| true),
        }
    }

    /// The demo tenant's key and where it is kept; `None` where that tenant is not served.
    #[must_use]
    pub fn demo_key(&self) -> Option<&KeptKey> {
        self.demo.as_ref()
    }

    /// The operator's key on the admin listener, and where it is kept.
    #[must_use]
    pub fn admin_key(&self) -> &KeptKey {
        &self.admin_key
    }

    /// What admission holds now.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.app.admission
    }

    /// Cards and CPU engines.
    #[must_use]
    pub fn dispatcher(&self) -> &Dispatcher {
        &self.app.dispatcher
    }

    /// Says that it is not ready, serves on for the drain delay, then refuses new requests, lets those in flight end
    /// within the drain limit, and stops the engines.
    pub fn stop(self) {
        let delay = self.drain_delay;
        if !delay.is_zero() {
            tracing::info!(
                drain_delay_ms = delay.as_millis(),
                "not ready any more, and still serving"
            );
        }
        self.stop_once(async move { tokio::time::sleep(delay).await });
    }

    /// The public surface, for who calls it without a connection.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn surface(&self) -> Surface {
        Surface::new(self.app.clone())
    }

    /// Waits for what is done on the gateway's own threads.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.runtime.block_on(work)
    }

    /// As [`Gateway::stop`], with the end of `known` for the end of the drain delay: when everybody who sends callers here
    /// knows that it is not ready.
    pub fn stop_once(self, known: impl Future<Output = ()>) {
        self.app.admission.leave();
        let in_flight = json!({ "in_flight": self.app.admission.in_flight() });
        let draining = event(kind::GATEWAY_DRAINING, GATEWAY, "", in_flight);
        self.app.events.record(draining);
        self.runtime.block_on(known);
        self.app.admission.drain(self.drain);
        self.public_stop.cancel();
        let Self {
            app,
            runtime,
            public_task,
            drain,
            ..
        } = self;
        runtime.block_on(async {
            match public_task.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "the public listener ended early"),
                Err(error) => tracing::error!(%error, "the public listener panicked"),
            }
            tracing::info!(
                in_flight = app.admission.in_flight(),
                drain_s = drain.as_secs(),
                "drained"
            );
            app.dispatcher.stop(ENGINES_STOP).await;
            // What the engines have refused or ended is on its way to its account.
            let settled = async {
                while app.admission.in_flight() > 0 {
                    tokio::time::sleep(SETTLED_LOOK_AGAIN).await;
                }
            };
            let _ = tokio::time::timeout(SETTLED_MAX, settled).await;
            if tokio::time::timeout(USAGE_END_MAX, app.usage.end())
                .await
                .is_err()
            {
                tracing::error!("the last usage could not be written in time, and may be lost");
            }
            app.events
                .record(event(kind::GATEWAY_STOPPED, GATEWAY, "", json!({})));
            if !app.events.flush(EVENTS_FLUSH_MAX).await {
                tracing::warn!("not every event was written before the end");
            }
            match tokio::time::timeout(STORE_CLOSE_MAX, app.store.close()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => tracing::warn!(
                    "the store has not closed in time; nothing that was acknowledged is lost"
                ),
            }
        });
        if let Some(telemetry) = &app.telemetry {
            telemetry.stop();
        }
        // Probes are answered until the very end.
        self.admin_stop.cancel();
        if self.admin_thread.join().is_err() {
            tracing::error!("the admin thread panicked");
        }
        runtime.shutdown_timeout(RUNTIME_STOP);
    }
}

/// Whose key this is, as if it had come with a request.
fn bearer(directory: &TenantDirectory, key: &str) -> Result<Arc<Principal>, GatewayError> {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&format!("Bearer {key}")) {
        headers.insert(AUTHORIZATION, value);
    }
    let presented = Presented {
        method: &Method::POST,
        uri: &Uri::from_static("/"),
        headers: &headers,
        now: now(),
        body_sha256: None,
        takes_chunks: false,
    };
    let caller = directory.authenticate(&presented);
    Ok(caller.map_err(|_| GatewayError::NoCaller)?.principal)
}

/// Has quotas of this day go on from what was used of it before, so that a restart gives no second day.
async fn recall_today(store: &Store, admission: &Admission) -> Result<(), StoreError> {
    for UsageRecord { key, sums } in usage::of_today(store, now()).await? {
        let days = u64::try_from(key.hour.0 / DAY_MS).unwrap_or(0);
        let used = DayUse {
            day: Day(days),
            bytes: sums.bytes_in,
            reference: Duration::from_micros(sums.reference_us),
        };
        admission.add_day_use(&TenantId::new(&key.tenant), used);
    }
    Ok(())
}

/// Makes the data directory, and locks it for this process, for as long as the file is open: a gateway serves from it, or a command
/// works in it where none does.
///
/// # Errors
/// [`GatewayError::DataDirTaken`], [`GatewayError::DataDir`]
pub fn lock_data_dir(path: &Path) -> Result<File, GatewayError> {
    let error = |source| GatewayError::DataDir {
        path: path.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(error)?;
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let lock = options.open(path.join(LOCK_FILE)).map_err(error)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(errno) if errno == rustix::io::Errno::WOULDBLOCK => Err(GatewayError::DataDirTaken {
            path: path.to_owned(),
        }),
        Err(errno) => Err(error(errno.into())),
    }
}
