//! Callers as people use them: curl, Python, Node, and two clients in Rust; what each makes of an answer.
//!
//! Owns how each of them is told to send a body. Invariants: each attempt has a connection of its own; an outcome says
//! what the caller itself could see, so an answer that the caller takes for whole has no error. It knows no gateway.

use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::program::{PROGRAM_LIMIT, Program, is_installed, run_within};

/// How long one attempt may take.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Marks the line in which curl says what it saw.
const CURL_MARK: &str = "\nseen by curl: ";

/// A caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// With these options.
    Curl(&'static [&'static str]),
    /// `http.client` or `urllib`.
    Python(&'static str),
    /// `http`, `http2` or `fetch`.
    Node(&'static str),
    /// A blocking client of HTTP/1.1 in Rust.
    Ureq,
    /// An asynchronous one, of HTTP/1.1 or HTTP/2.
    Reqwest { http2: bool },
}

pub(crate) const CURL_HTTP1: Caller = Caller::Curl(&["--http1.1"]);
/// HTTP/2 from the first byte on.
pub(crate) const CURL_HTTP2: Caller = Caller::Curl(&["--http2-prior-knowledge"]);
/// HTTP/2 where the handshake of TLS agrees on it.
pub(crate) const CURL_HTTP2_TLS: Caller = Caller::Curl(&["--http2"]);

/// What is sent.
pub(crate) struct Call<'a> {
    pub(crate) url: String,
    pub(crate) headers: Vec<(&'a str, String)>,
    pub(crate) body: &'a Path,
    /// In chunks, or with a Content-Length; on HTTP/2 with a Content-Length or without.
    pub(crate) chunked: bool,
    pub(crate) attempts: usize,
    /// Who signed the gateway's certificate, PEM, where it has one.
    pub(crate) authority: Option<&'a Path>,
}

/// What a caller saw.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct Outcome {
    /// 0 if none came.
    pub(crate) status: u16,
    /// The type of a problem.
    pub(crate) problem: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    /// Where the caller shows them.
    pub(crate) trailers: HashMap<String, String>,
    /// What the caller was told of a failure.
    pub(crate) error: Option<String>,
}

impl Outcome {
    /// Whether it is the refusal of a wrong key: who has sent many is told to come back later.
    pub(crate) fn is_of_wrong_key(&self) -> bool {
        matches!(
            (self.status, self.problem.as_str()),
            (401, "/problems/no-credential") | (429, "/problems/too-many-failures")
        )
    }
}

impl Caller {
    /// Whether it can be had here; the test of one that cannot, and need not, is skipped.
    pub(crate) fn is_installed(self) -> bool {
        match self {
            Self::Curl(_) => is_installed("curl"),
            Self::Python(_) => is_installed("python3"),
            Self::Node(_) => is_installed("node"),
            Self::Ureq | Self::Reqwest { .. } => true,
        }
    }

    /// Calls as often as `call` says.
    #[track_caller]
    pub(crate) fn call(self, call: &Call<'_>) -> Vec<Outcome> {
        let outcomes = match self {
            Self::Curl(options) => (0..call.attempts).map(|_| curl(options, call)).collect(),
            Self::Python(by) => call.script("python3", &["-I"], "caller.py", by),
            Self::Node(by) => call.script("node", &[], "caller.mjs", by),
            Self::Ureq => (0..call.attempts).map(|_| ureq(call)).collect(),
            Self::Reqwest { http2 } => reqwest(http2, call),
        };
        assert_eq!(outcomes.len(), call.attempts, "{self:?}");
        outcomes
    }
}

impl Call<'_> {
    /// Runs `command` as one that trusts who signed the certificate: curl, OpenSSL (so Python) and Node each ask a variable.
    fn trusting<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        if let Some(authority) = self.authority {
            for name in ["CURL_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"] {
                command.env(name, authority);
            }
        }
        command
    }

    #[track_caller]
    fn script(&self, program: &str, options: &[&str], name: &str, by: &str) -> Vec<Outcome> {
        let mut command = Command::new(program);
        run_script(self.trusting(command.args(options)), name, &self.json(by))
    }

    fn json(&self, by: &str) -> serde_json::Value {
        let headers: serde_json::Map<_, _> = self
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.as_str().into()))
            .collect();
        json!({
            "url": self.url,
            "headers": headers,
            "body": self.body,
            "chunked": self.chunked,
            "attempts": self.attempts,
            "by": by,
        })
    }

    fn read_body(&self) -> Vec<u8> {
        std::fs::read(self.body).expect("a body")
    }
}

impl Outcome {
    fn seen(status: u16, content_type: Option<&str>, content: &[u8]) -> Self {
        let problem = match content_type {
            Some("application/problem+json") => serde_json::from_slice(content)
                .ok()
                .and_then(|problem: serde_json::Value| Some(problem["type"].as_str()?.to_owned())),
            _ => None,
        };
        Self {
            status,
            problem: problem.unwrap_or_default(),
            bytes: content.len() as u64,
            sha256: Sha256::digest(content)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            ..Self::default()
        }
    }

    fn failed(status: u16, error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            text.push_str(&format!(": {error}"));
            source = error.source();
        }
        Self {
            status,
            error: Some(text),
            ..Self::default()
        }
    }
}

/// Runs one of the scripts beside this file by `interpreter`; each line that it prints is an outcome.
#[track_caller]
pub(crate) fn run_script(
    interpreter: &mut Command,
    name: &str,
    call: &serde_json::Value,
) -> Vec<Outcome> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let command = interpreter.arg(path.join(name)).arg(call.to_string());
    let output = run_within(command, 2 * PROGRAM_LIMIT);
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("JSON");
    let outcome = |line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    text.lines().map(outcome).collect()
}

#[track_caller]
fn curl(options: &[&str], call: &Call<'_>) -> Outcome {
    let mut command = Command::new("curl");
    command
        .args(["-sS", "-q", "--noproxy", "*", "-X", "POST"])
        .args(options)
        .arg("-w")
        .arg(format!(
            r"\n{}%{{http_code}} %{{content_type}}",
            CURL_MARK.trim_start()
        ))
        .stdin(Stdio::null());
    for (name, value) in &call.headers {
        command.args(["-H", &format!("{name}: {value}")]);
    }
    let mut body = call.body.as_os_str().to_owned();
    if call.chunked {
        command.arg("-T").arg("-");
        command.stdin(std::fs::File::open(call.body).expect("a body"));
    } else {
        let mut at = std::ffi::OsString::from("@");
        at.push(std::mem::take(&mut body));
        command.arg("--data-binary").arg(at);
    }
    let output = Program::start(call.trusting(command.arg(&call.url))).end(CALL_LIMIT);
    let mark = output
        .stdout
        .windows(CURL_MARK.len())
        .rposition(|window| window == CURL_MARK.as_bytes())
        .unwrap_or_else(|| panic!("curl: {}", String::from_utf8_lossy(&output.stderr)));
    let (content, told) = output.stdout.split_at(mark);
    let told = String::from_utf8_lossy(&told[CURL_MARK.len()..]).into_owned();
    let (status, content_type) = told.split_once(' ').expect("two words");
    let status = status.parse().expect("a status");
    let mut outcome = Outcome::seen(status, Some(content_type), content);
    if !output.status.success() {
        outcome.error = Some(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    outcome
}

fn ureq(call: &Call<'_>) -> Outcome {
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(CALL_LIMIT))
        .max_idle_connections(0)
        .proxy(None);
    let mut request = config.build().new_agent().post(&call.url);
    for (name, value) in &call.headers {
        request = request.header(*name, value);
    }
    let body = call.read_body();
    let sent = if call.chunked {
        request.send(ureq::SendBody::from_owned_reader(std::io::Cursor::new(
            body,
        )))
    } else {
        request.send(&body[..])
    };
    let mut response = match sent {
        Ok(response) => response,
        Err(error) => return Outcome::failed(0, &error),
    };
    let status = response.status().as_u16();
    let content = response
        .body_mut()
        .with_config()
        .limit(u64::MAX)
        .read_to_vec();
    let content_type = response.headers().get("content-type");
    let content_type = content_type.and_then(|value| value.to_str().ok());
    match content {
        Ok(content) => Outcome::seen(status, content_type, &content),
        Err(error) => Outcome::failed(status, &error),
    }
}

fn reqwest(http2: bool, call: &Call<'_>) -> Vec<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let attempt = async || {
        let mut client = reqwest::Client::builder()
            .no_proxy()
            .timeout(CALL_LIMIT)
            .pool_max_idle_per_host(0);
        client = if http2 {
            client.http2_prior_knowledge()
        } else {
            client.http1_only()
        };
        let client = client.build().expect("a client");
        let mut request = client.post(&call.url);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let body = call.read_body();
        let body = if call.chunked {
            let file = tokio::fs::File::from_std(std::fs::File::open(call.body).expect("a body"));
            reqwest::Body::wrap_stream(tokio_util::io::ReaderStream::new(file))
        } else {
            body.into()
        };
        let response = match request.body(body).send().await {
            Ok(response) => response,
            Err(error) => return Outcome::failed(0, &error),
        };
        let status = response.status().as_u16();
        let content_type = response.headers().get("content-type").cloned();
        let content_type = content_type.as_ref().and_then(|value| value.to_str().ok());
        match response.bytes().await {
            Ok(content) => Outcome::seen(status, content_type, &content),
            Err(error) => Outcome::failed(status, &error),
        }
    };
    runtime.block_on(async {
        let mut outcomes = Vec::new();
        for _ in 0..call.attempts {
            outcomes.push(attempt().await);
        }
        outcomes
    })
}
