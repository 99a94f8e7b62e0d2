//! One request to a gateway, and its answer or its refusal.
//!
//! Owns the request's head, and the reading of problems (RFC 9457). Invariant: what a gateway, or
//! whatever stands before it, sends is bounded before it is looked at. It does not know what is
//! compressed, nor whether a call is worth repeating: it only says whether it may be.
//!
//! Statuses are read here as RFC 9110 and RFC 6585 define them for everybody, since a proxy before
//! the gateway answers with the same; which of its own problems comes with which, a client need not know.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use faam_gateway::error::{PROBLEM_JSON, ProblemKind};
use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER,
    TE, USER_AGENT,
};
use hyper::http::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use thiserror::Error;
use tokio::time::timeout;

use super::endpoint::{ConnectError, Endpoint, Trust};
use super::upload::Upload;

/// Most bytes of a refusal, or of another answer in JSON, that are read.
const JSON_BYTES_MAX: usize = 64 << 10;
/// How long the rest of such an answer may take after its head.
const JSON_MAX: Duration = Duration::from_secs(10);
/// Headers of a request, where nothing out of the way is asked for.
const HEADERS_USUAL: usize = 12;
/// Most characters of an answer of somebody else's that an error repeats.
const QUOTED_CHARS_MAX: usize = 200;

/// Who calls, and whom. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Caller {
    endpoint: Endpoint,
    tls: Option<Trust>,
    key: String,
}

/// A connection to a gateway, for one call at a time.
pub(crate) struct Link {
    sender: SendRequest<Outgoing>,
    endpoint: Endpoint,
    /// Of every request.
    own: HeaderMap,
}

/// A request's body.
pub(crate) enum Outgoing {
    /// Nothing.
    Empty,
    /// All of it.
    Whole(Option<Bytes>),
    /// As it is read.
    Stream(Upload),
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum CallError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It broke, or what came is no HTTP.
    #[error(
        "the connection to {endpoint} broke {when}; see whether the gateway still runs, and try again"
    )]
    Broken {
        endpoint: Endpoint,
        when: &'static str,
        #[source]
        source: hyper::Error,
    },
    /// The gateway says no.
    #[error(transparent)]
    Refused(#[from] Box<Refusal>),
    /// Something that we were told to send is no header.
    #[error("{0:?} cannot stand in a request's head; correct it")]
    Head(String),
}

/// A refusal, as the gateway or something before it words it.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{detail} ({status}{}).{}", .kind.as_ref().map(|kind| format!(" {kind}")).unwrap_or_default(), .mend.as_ref().map(|mend| format!(" {mend}")).unwrap_or_default())]
pub(crate) struct Refusal {
    /// HTTP status.
    pub(crate) status: u16,
    /// Name of the problem, where it is one of a gateway's.
    pub(crate) kind: Option<String>,
    /// What was expected, what came.
    pub(crate) detail: String,
    /// What to do, where we know it.
    pub(crate) mend: Option<String>,
    /// When to come back.
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    /// Whether the same request may be served later: 429 (RFC 6585, 4) and 503 (RFC 9110, 15.6.4), the gateway's or a
    /// proxy's.
    pub(crate) fn is_for_now(&self) -> bool {
        [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ]
        .iter()
        .any(|status| status.as_u16() == self.status)
    }

    fn of(head: &hyper::http::response::Parts, body: &[u8]) -> Self {
        let status = head.status.as_u16();
        let retry_after = head
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let is_problem = head
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().starts_with(PROBLEM_JSON.as_bytes()));
        let problem = is_problem
            .then(|| serde_json::from_slice::<Value>(body).ok())
            .flatten();
        let text = |name: &str| {
            let text = problem.as_ref()?.get(name)?.as_str()?;
            Some(printable(text))
        };
        let kind = text("type").and_then(|uri| uri.rsplit('/').next().map(str::to_owned));
        let detail = text("detail").unwrap_or_else(|| {
            let body = printable(&String::from_utf8_lossy(body));
            let what = if body.is_empty() {
                "no text".to_owned()
            } else {
                format!("{body:?}")
            };
            format!("no gateway of ours refused: expected a problem in JSON, got {what}; see --url")
        });
        let mend = match (head.status, kind.as_deref()) {
            // Credentials are missing or not valid (RFC 9110, 15.5.2). Who has only flags does not send headers.
            (StatusCode::UNAUTHORIZED, _) => Some("Set FAAM_KEY, or --key.".to_owned()),
            // What we asked for is there in every gateway: it is the place that is wrong.
            (_, Some("not-found")) => Some("Correct --url, or FAAM_URL.".to_owned()),
            // We send none of the headers that the gateway's own words are about.
            (_, Some("unknown-format")) => Some("Name the format with --format.".to_owned()),
            _ => kind
                .as_deref()
                .and_then(ProblemKind::describe)
                .and_then(|known| known["mend"].as_str().map(str::to_owned)),
        };
        Self {
            status,
            kind,
            detail,
            mend,
            retry_after,
        }
    }
}

/// Somebody's text for a terminal: bounded, and without control characters.
fn printable(text: &str) -> String {
    let clean = text.trim().chars().filter(|c| !c.is_control());
    clean.take(QUOTED_CHARS_MAX * 4).collect()
}

impl Caller {
    /// `key` at `endpoint`.
    pub(crate) fn new(endpoint: Endpoint, tls: Option<Trust>, key: String) -> Self {
        Self { endpoint, tls, key }
    }

    /// The gateway's URL.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether the gateway has asked for a certificate, and there was none to give.
    pub(crate) fn lacks_certificate(&self) -> bool {
        self.tls.as_ref().is_some_and(Trust::lacks_certificate)
    }

    /// A new connection.
    ///
    /// # Errors
    /// [`CallError::Connect`], [`CallError::Broken`]; [`CallError::Head`] of a key that cannot stand in a header.
    pub(crate) async fn link(&self) -> Result<Link, CallError> {
        let own = self.headers()?;
        let stream = self.endpoint.connect(self.tls.as_ref()).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| self.broken("before the request", source))?;
        // Its errors reach whoever waits for an answer.
        tokio::spawn(connection);
        Ok(Link {
            sender,
            endpoint: self.endpoint.clone(),
            own,
        })
    }

    /// What every request says of itself, made once a connection.
    fn headers(&self) -> Result<HeaderMap, CallError> {
        let own = [
            (HOST, self.endpoint.authority()),
            (USER_AGENT, super::USER_AGENT.to_owned()),
            (AUTHORIZATION, format!("Bearer {}", self.key)),
            (CONTENT_TYPE, "application/octet-stream".to_owned()),
            // Final facts of a long answer come as trailers (RFC 9110, 10.1.4).
            (TE, "trailers".to_owned()),
            (CONNECTION, "TE".to_owned()),
        ];
        let mut headers = HeaderMap::with_capacity(HEADERS_USUAL);
        for (name, text) in own {
            let mut value = value(text)?;
            value.set_sensitive(name == AUTHORIZATION);
            headers.insert(name, value);
        }
        Ok(headers)
    }

    /// An error of a connection's.
    pub(crate) fn broken(&self, when: &'static str, source: hyper::Error) -> CallError {
        CallError::Broken {
            endpoint: self.endpoint.clone(),
            when,
            source,
        }
    }
}

impl Link {
    /// Whether another call can be made on it.
    pub(crate) fn is_open(&self) -> bool {
        self.sender.is_ready()
    }

    /// Waits until another call can be made on it; `false` where it was closed.
    pub(crate) async fn opened(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// The status of `GET path`; `None` if none comes.
    pub(crate) async fn status(&mut self, path: &str) -> Option<u16> {
        let asked = async {
            let response = self
                .send(Method::GET, path, &[], Outgoing::Empty)
                .await
                .ok()?;
            let (head, body) = response.into_parts();
            Limited::new(body, JSON_BYTES_MAX).collect().await.ok()?;
            Some(head.status.as_u16())
        };
        timeout(JSON_MAX, asked).await.ok()?
    }

    /// `POST path`; the head of the answer is here as soon as the gateway sends it.
    ///
    /// # Errors
    /// [`CallError`]; a status other than 200 is a refusal.
    pub(crate) async fn post(
        &mut self,
        path: &str,
        headers: &[(&'static str, String)],
        body: Outgoing,
    ) -> Result<Response<Incoming>, CallError> {
        let response = self.send(Method::POST, path, headers, body).await?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        Err(Box::new(refusal(response).await).into())
    }

    /// `GET path` as JSON; `None` if there is no such thing, or it does not come.
    pub(crate) async fn get_json(&mut self, path: &str) -> Option<Value> {
        timeout(JSON_MAX, async {
            self.sender.ready().await.ok()?;
            let response = self
                .send(Method::GET, path, &[], Outgoing::Empty)
                .await
                .ok()?;
            if response.status() != StatusCode::OK {
                return None;
            }
            let body = Limited::new(response.into_body(), JSON_BYTES_MAX)
                .collect()
                .await
                .ok()?;
            serde_json::from_slice(&body.to_bytes()).ok()
        })
        .await
        .ok()?
    }

    async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&'static str, String)],
        body: Outgoing,
    ) -> Result<Response<Incoming>, CallError> {
        let target = format!("{}{path}", self.endpoint.prefix());
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|_| CallError::Head(target))?;
        // A clone would have room for these alone.
        let all = request.headers_mut();
        all.reserve(HEADERS_USUAL);
        all.extend(
            self.own
                .iter()
                .map(|(name, value)| (name.clone(), value.clone())),
        );
        for (name, text) in headers {
            let name = HeaderName::from_static(name);
            request.headers_mut().insert(name, value(text.clone())?);
        }
        let sent = self.sender.send_request(request).await;
        sent.map_err(|source| CallError::Broken {
            endpoint: self.endpoint.clone(),
            when: "before it answered",
            source,
        })
    }
}

fn value(text: String) -> Result<HeaderValue, CallError> {
    HeaderValue::try_from(&text).map_err(|_| CallError::Head(text))
}

async fn refusal(response: Response<Incoming>) -> Refusal {
    let (head, body) = response.into_parts();
    let body = timeout(JSON_MAX, Limited::new(body, JSON_BYTES_MAX).collect()).await;
    let body = match body {
        Ok(Ok(body)) => body.to_bytes(),
        // The status alone says something.
        _ => Bytes::new(),
    };
    Refusal::of(&head, &body)
}

/// The fields of a problem or of an answer that came as trailers.
pub(crate) fn trailers(frame: Frame<Bytes>) -> Option<HeaderMap> {
    frame.into_trailers().ok()
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Stream(upload) => upload
                .poll_chunk(cx)
                .map(|chunk| chunk.map(|chunk| chunk.map(Frame::data))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty | Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Whole(None) => SizeHint::with_exact(0),
            Self::Whole(Some(bytes)) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Self::Stream(upload) => upload
                .left()
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(status: u16, headers: &[(&'static str, &'static str)]) -> hyper::http::response::Parts {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(()).expect("a head").into_parts().0
    }

    #[test]
    fn a_problem_is_told_with_its_mend() {
        let head = head(
            503,
            &[
                ("content-type", "application/problem+json"),
                ("retry-after", "2"),
            ],
        );
        let body = br#"{"type":"/problems/saturated","detail":"no room\u001b[31m"}"#;
        let refusal = Refusal::of(&head, body);
        assert_eq!(refusal.retry_after, Some(Duration::from_secs(2)));
        assert!(refusal.is_for_now());
        let text = refusal.to_string();
        assert!(
            text.starts_with("no room[31m (503 saturated). Send"),
            "{text:?}"
        );
    }

    #[test]
    fn what_to_do_is_told_in_words_of_the_command_line() {
        let told = |status, kind: &str| {
            let head = head(status, &[("content-type", "application/problem+json")]);
            let body = format!(r#"{{"type":"/problems/{kind}","detail":"no"}}"#);
            Refusal::of(&head, body.as_bytes()).to_string()
        };
        assert!(told(401, "no-credential").ends_with("Set FAAM_KEY, or --key."));
        assert!(told(404, "not-found").ends_with("Correct --url, or FAAM_URL."));
        assert!(told(415, "unknown-format").ends_with("Name the format with --format."));
    }

    #[test]
    fn somebody_elses_refusal_is_told_as_such() {
        let refusal = Refusal::of(
            &head(502, &[("content-type", "text/html")]),
            b"<h1>Bad\x07 Gateway</h1>",
        );
        assert!(!refusal.is_for_now());
        let text = refusal.to_string();
        assert!(
            text.contains("Bad Gateway") && text.contains("(502)") && text.contains("--url"),
            "{text}"
        );
    }
}
