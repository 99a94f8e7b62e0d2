//! One request on a connection of its own, written by the byte, and its answer.
//!
//! Invariant: every wait has a limit. It knows as much of HTTP/1.1 as answers of a known length need.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use serde_json::Value;

/// How long any one read or write may take: a failure, not a measure.
const LIMIT: Duration = Duration::from_secs(30);

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Told {
    /// From all bytes of an answer.
    pub(crate) fn read(mut answer: Vec<u8>) -> io::Result<Self> {
        let cut_short = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.ok_or_else(cut_short)?;
        let head = String::from_utf8_lossy(&answer[..end]).into_owned();
        let body = answer.split_off(end + 4);
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1));
        let told = Told {
            status: status
                .and_then(|status| status.parse().ok())
                .ok_or_else(cut_short)?,
            headers: lines
                .filter_map(|line| line.split_once(": "))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            body,
        };
        let length = told.header("content-length").map(str::parse::<usize>);
        match length {
            Some(Ok(length)) if told.body.len() == length => Ok(told),
            None if told.body.is_empty() => Ok(told),
            _ => Err(cut_short()),
        }
    }

    /// The value of a header, which must come once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self
            .headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} came twice in {self:?}");
        value
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    /// The answer is gzip of this.
    #[track_caller]
    pub(crate) fn check_gzip_of(&self, plain: &[u8]) {
        assert_eq!(self.status, 200, "{}", self.text());
        assert_eq!(gunzip(&self.body), plain);
    }

    /// The answer is a problem of this name, and says these words.
    #[track_caller]
    pub(crate) fn check_problem(&self, status: u16, name: &str, words: &[&str]) {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        let problem = self.json();
        assert_eq!(problem["type"], format!("/problems/{name}"));
        assert_eq!(problem["status"], status);
        let id = self.header("faam-invocation-id").expect("an id");
        assert_eq!(problem["instance"], format!("urn:uuid:{id}"));
        let detail = problem["detail"].as_str().expect("a detail");
        for word in words {
            assert!(detail.contains(word), "{word:?} is not in {detail:?}");
        }
    }
}

/// What gzip holds.
#[track_caller]
pub(crate) fn gunzip(packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    let read = MultiGzDecoder::new(packed).read_to_end(&mut plain);
    read.unwrap_or_else(|error| panic!("{error} in {} bytes", packed.len()));
    plain
}

/// One request and its answer.
pub(crate) fn send(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &[u8])],
    body: &[u8],
) -> Told {
    try_send(address, method, target, headers, body).expect("an answer")
}

/// The same, where nobody may be there to answer.
pub(crate) fn try_send(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &[u8])],
    body: &[u8],
) -> io::Result<Told> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n",
        body.len()
    )
    .into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(name.as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(body);
    // Who is refused early may hang up before all of it is read.
    let sent = stream.write_all(&request);
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    if answer.is_empty() {
        sent?;
        read?;
    }
    Told::read(answer)
}
