//! HTTP/1.1 as bytes on a socket, so that a test decides what is sent when.
//!
//! Owns one connection with time-outs on both ways. It knows only as much of HTTP as the
//! gateway's answers need: a status line, headers, a body of Content-Length or of chunks, trailers.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long any one read or write may take: a failure, not a measure.
const WIRE_LIMIT: Duration = Duration::from_secs(30);

/// A connection.
pub(crate) struct Wire {
    stream: BufReader<TcpStream>,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Answer {
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

    /// The value of a trailer.
    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        let named = self
            .trailers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }
}

impl Wire {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the gateway listens");
        stream.set_read_timeout(Some(WIRE_LIMIT)).expect("set");
        stream.set_write_timeout(Some(WIRE_LIMIT)).expect("set");
        stream.set_nodelay(true).expect("set");
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Two holds of the connection: one to read, one to write with.
    pub(crate) fn split(self) -> (Self, Self) {
        let other = self.stream.get_ref().try_clone().expect("a descriptor");
        let writer = Self {
            stream: BufReader::new(other),
        };
        (self, writer)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    /// The head of a request: request line and headers.
    pub(crate) fn head(&mut self, method: &str, target: &str, headers: &[(&str, &str)]) {
        let host = self.stream.get_ref().peer_addr().expect("connected");
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        self.send(head.as_bytes()).expect("the head is taken");
    }

    /// A piece of a chunked body (RFC 9112, 7.1); an empty one ends it.
    pub(crate) fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send(format!("{:x}\r\n", bytes.len()).as_bytes())?;
        self.send(bytes)?;
        self.send(b"\r\n")
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }

    /// The next answer on the connection; `100 Continue` is an answer like any other here.
    pub(crate) fn try_answer(&mut self, head_only: bool) -> io::Result<Answer> {
        let line = self.line()?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status: u16 = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        let mut answer = Answer {
            status,
            headers: self.fields()?,
            body: Vec::new(),
            trailers: Vec::new(),
        };
        if head_only {
            return Ok(answer);
        }
        if answer.header("transfer-encoding") == Some("chunked") {
            while self.body_chunk(&mut answer.body)? {}
            answer.trailers = self.fields()?;
        } else {
            let length = answer
                .header("content-length")
                .map_or(0, |length| length.parse().expect("a number"));
            answer.body.resize(length, 0);
            self.read_exact(&mut answer.body)?;
        }
        Ok(answer)
    }

    /// Headers or trailers, up to the empty line.
    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line
                .split_once(": ")
                .unwrap_or_else(|| panic!("no field: {line:?}"));
            fields.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Fills `body` with what comes next.
    pub(crate) fn read_exact(&mut self, body: &mut [u8]) -> io::Result<()> {
        self.stream.read_exact(body)
    }

    /// The next chunk of a body (RFC 9112, 7.1) onto `body`; whether it was not the last.
    pub(crate) fn body_chunk(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        let size = self.line()?;
        let size = usize::from_str_radix(&size, 16).map_err(io::Error::other)?;
        if size == 0 {
            return Ok(false);
        }
        let before = body.len();
        body.resize(before + size, 0);
        self.stream.read_exact(&mut body[before..])?;
        self.line()?;
        Ok(true)
    }

    pub(crate) fn answer(&mut self) -> Answer {
        self.try_answer(false).expect("an answer")
    }

    /// Whether an answer has begun to come, without waiting for it.
    pub(crate) fn is_answered(&mut self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).expect("set");
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).expect("set");
        !self.stream.buffer().is_empty() || peeked.is_ok_and(|bytes| bytes > 0)
    }

    /// The first byte that comes, of whatever protocol.
    pub(crate) fn first_byte(&mut self) -> Option<u8> {
        self.stream.fill_buf().ok()?.first().copied()
    }

    /// Nothing more is sent; what comes is still read.
    pub(crate) fn end_sending(&mut self) {
        let ended = self.stream.get_ref().shutdown(std::net::Shutdown::Write);
        ended.expect("it is open");
    }

    /// Whether the peer has closed, after all that it sent was read.
    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.fill_buf() {
            Ok(rest) => rest.is_empty(),
            Err(error) => !is_late(&error),
        }
    }
}

/// Whether nothing came in time: no end of a connection.
pub(crate) fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// One request with a body of known length on a connection of its own.
pub(crate) fn request(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut wire = Wire::connect(address);
    let length = body.len().to_string();
    let mut all = headers.to_vec();
    if !body.is_empty() || method == "POST" || method == "PUT" {
        all.push(("Content-Length", &length));
    }
    wire.head(method, target, &all);
    // A refusal may come, and the connection end, while the body is still being sent.
    let _ = wire.send(body);
    wire.answer()
}
