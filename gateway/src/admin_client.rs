//! A running gateway's operator socket, as the commands call it: JSON over HTTP on `admin.sock`.
//!
//! Owns the way there and the words of what goes wrong on it. Invariants: an answer is bounded before it is read, and every
//! wait has a limit. It looks nothing up (no names, no certificates), so that it works in the smallest system. It does not
//! know what is asked.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use faam_gateway::http::admin_socket::ADMIN_SOCKET_FILE;
use form_urlencoded::byte_serialize;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::http::header::HOST;
use hyper::http::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// How long the gateway may take to answer, beside what it was asked to wait for.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Which gateway.
#[derive(Clone, Debug, Args)]
pub(crate) struct OperatorFlags {
    /// The gateway's data directory: a running one is asked through its socket there
    #[arg(long, env = "FAAM_DATA_DIR", hide_env_values = true, value_name = "DIR", default_value = "data", value_hint = clap::ValueHint::DirPath)]
    pub(crate) data_dir: PathBuf,
}

/// The way to a gateway.
#[derive(Clone, Debug)]
pub(crate) struct AdminClient {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum AdminError {
    /// Nobody listens.
    #[error(
        "no gateway answers on {socket}; start one with `faam serve`, or name its data directory with --data-dir"
    )]
    NoGateway {
        /// Where.
        socket: PathBuf,
    },
    /// It is another user's.
    #[error(
        "{socket} is for its owner alone; run this as the user who runs the gateway, or as root: sudo faam ..."
    )]
    NotAllowed {
        /// Where.
        socket: PathBuf,
    },
    /// Something else on the way.
    #[error("the gateway on {socket} cannot be asked")]
    Broken {
        /// Where.
        socket: PathBuf,
        /// What.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Nothing in time.
    #[error("the gateway on {socket} has not answered within {limit_ms} ms; see its log")]
    NoAnswer {
        /// Where.
        socket: PathBuf,
        /// The limit.
        limit_ms: u128,
    },
    /// It says no.
    #[error("{0}")]
    Refused(String),
    /// What it sent cannot be written here.
    #[error("cannot write what the gateway sends")]
    Write(#[source] io::Error),
}

impl AdminError {
    /// With what a problem says.
    pub(crate) fn refused(problem: &Value) -> Self {
        let detail = problem.get("detail").and_then(Value::as_str);
        Self::Refused(
            detail
                .unwrap_or("the gateway refused and did not say why; see its log")
                .to_owned(),
        )
    }
}

impl AdminClient {
    /// To the gateway of this data directory.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self {
            socket: data_dir.join(ADMIN_SOCKET_FILE),
        }
    }

    /// `GET path`.
    ///
    /// # Errors
    /// [`AdminError`]
    pub(crate) fn get(&self, path: &str) -> Result<Value, AdminError> {
        self.ask(Method::GET, path, Duration::ZERO)
    }

    /// `GET path`, whose body goes to `into` piece by piece; how many bytes it had. `wait` is how long the gateway may work on it.
    ///
    /// # Errors
    /// [`AdminError`]; also a body that is shorter than announced.
    pub(crate) fn download(
        &self,
        path: &str,
        wait: Duration,
        into: &mut impl io::Write,
    ) -> Result<u64, AdminError> {
        self.within(wait + ANSWER_LIMIT, async {
            let mut response = self.respond(Method::GET, path, Bytes::new()).await?;
            if !response.status().is_success() {
                // It is a refusal, and says so.
                self.value(response).await?;
                return Ok(0);
            }
            let mut bytes = 0_u64;
            while let Some(frame) = response.body_mut().frame().await {
                let frame = frame.map_err(|error| self.broken(error))?;
                if let Ok(data) = frame.into_data() {
                    into.write_all(&data).map_err(AdminError::Write)?;
                    bytes = bytes.saturating_add(data.len() as u64);
                }
            }
            Ok(bytes)
        })
    }

    /// `POST path`; `wait` is how long the gateway was asked to wait.
    ///
    /// # Errors
    /// [`AdminError`]
    pub(crate) fn post(&self, path: &str, wait: Duration) -> Result<Value, AdminError> {
        self.ask(Method::POST, path, wait)
    }

    /// A change: `method path` with `body` as JSON, if there is any.
    ///
    /// # Errors
    /// [`AdminError`]
    pub(crate) fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, AdminError> {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.within(ANSWER_LIMIT, async {
            let response = self.respond(method, path, body.into()).await?;
            self.value(response).await
        })
    }

    /// `POST path` with these bytes; `wait` is how long the gateway may work on them.
    ///
    /// # Errors
    /// [`AdminError`]
    pub(crate) fn upload(
        &self,
        path: &str,
        bytes: Vec<u8>,
        wait: Duration,
    ) -> Result<Value, AdminError> {
        self.within(wait + ANSWER_LIMIT, async {
            let response = self.respond(Method::POST, path, bytes.into()).await?;
            self.value(response).await
        })
    }

    /// The process that listens, as it is numbered here; `None` where it is not to be seen from here, or nobody listens.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    pub(crate) fn peer(&self) -> Option<u32> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .ok()?;
        let connect = async {
            let stream = timeout(ANSWER_LIMIT, UnixStream::connect(&self.socket)).await;
            stream.ok()?.ok()?.peer_cred().ok()?.pid()
        };
        let pid = u32::try_from(runtime.block_on(connect)?).ok()?;
        // The kernel says 0 of a process of another PID namespace.
        (pid > 0).then_some(pid)
    }

    fn ask(&self, method: Method, path: &str, wait: Duration) -> Result<Value, AdminError> {
        self.within(wait + ANSWER_LIMIT, async {
            let response = self.respond(method, path, Bytes::new()).await?;
            self.value(response).await
        })
    }

    fn within<T>(
        &self,
        limit: Duration,
        asking: impl Future<Output = Result<T, AdminError>>,
    ) -> Result<T, AdminError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.broken(error))?;
        runtime.block_on(async {
            timeout(limit, asking).await.unwrap_or_else(|_| {
                Err(AdminError::NoAnswer {
                    socket: self.socket.clone(),
                    limit_ms: limit.as_millis(),
                })
            })
        })
    }

    async fn respond(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, AdminError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| self.no_connection(error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        // Its errors reach whoever waits for the answer.
        tokio::spawn(connection);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path
            .parse()
            .map_err(|error: hyper::http::uri::InvalidUri| self.broken(error))?;
        request
            .headers_mut()
            .insert(HOST, hyper::http::HeaderValue::from_static("faam"));
        sender
            .send_request(request)
            .await
            .map_err(|error| self.broken(error))
    }

    /// An answer's JSON, or what it refuses with.
    async fn value(&self, response: Response<Incoming>) -> Result<Value, AdminError> {
        let succeeded = response.status().is_success();
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|error| self.broken(error))?;
        let value: Value =
            serde_json::from_slice(&body.to_bytes()).map_err(|error| self.broken(error))?;
        match succeeded {
            true => Ok(value),
            false => Err(AdminError::refused(&value)),
        }
    }

    fn no_connection(&self, error: io::Error) -> AdminError {
        let socket = self.socket.clone();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                AdminError::NoGateway { socket }
            }
            io::ErrorKind::PermissionDenied => AdminError::NotAllowed { socket },
            _ => self.broken(error),
        }
    }

    fn broken(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> AdminError {
        AdminError::Broken {
            socket: self.socket.clone(),
            source: source.into(),
        }
    }
}

/// A name as a path takes it.
pub(crate) fn in_path(name: &str) -> String {
    // A form's `+` for a blank is no path's.
    byte_serialize(name.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_part_of_a_path() {
        assert_eq!(in_path("vfio-user:/run/a b"), "vfio-user%3A%2Frun%2Fa%20b");
    }

    #[test]
    fn who_listens_is_told_by_the_kernel() {
        let directory = tempfile::tempdir().expect("a directory");
        let client = AdminClient::new(directory.path());
        assert_eq!(client.peer(), None);
        let _listener = std::os::unix::net::UnixListener::bind(&client.socket).expect("bound");
        assert_eq!(client.peer(), Some(std::process::id()));
    }

    #[test]
    fn where_nobody_listens_it_says_what_to_do() {
        let directory = tempfile::tempdir().expect("a directory");
        let client = AdminClient::new(directory.path());
        let error = client.get("/admin/v1").expect_err("nobody");
        assert!(matches!(error, AdminError::NoGateway { .. }), "{error}");
        assert!(error.to_string().contains("faam serve"), "{error}");
        // What a killed gateway leaves.
        drop(std::os::unix::net::UnixListener::bind(&client.socket).expect("bound"));
        let error = client.get("/admin/v1").expect_err("nobody");
        assert!(matches!(error, AdminError::NoGateway { .. }), "{error}");
    }
}
