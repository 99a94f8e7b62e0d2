//! One request over a connection of its own, by hand: whole, slowly, or hung up in the middle.
//!
//! Owns the socket and the reading of HTTP/1.1's framing (RFC 9112, 6 and 7). Invariant: an answer counts as whole only if its
//! framing says so; every wait has [`SILENCE_MAX`]. It does not judge what came.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longest that nothing may come, or be taken: more than a gateway lets anything wait.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(100);
/// Most bytes of an answer's head.
const HEAD_BYTES_MAX: u64 = 64 << 10;
/// Most bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Bytes that a slow reader takes at a time.
const SIP_BYTES: usize = 64 << 10;

/// How a caller behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Reads while it sends.
    AtOnce,
    /// Sends everything before it reads.
    WritesFirst,
    /// Takes its answer in sips, others' requests between them.
    Sips,
    /// Hangs up after so many bytes of its body.
    HangsUpSending(usize),
    /// Hangs up once so many bytes of the answer's body have come.
    HangsUpReading(usize),
}

/// A request.
pub(crate) struct Call<'a> {
    pub(crate) address: SocketAddr,
    pub(crate) target: &'a str,
    pub(crate) headers: &'a [(&'a str, String)],
    pub(crate) body: &'a [u8],
    pub(crate) manner: Manner,
    /// What a slow reader waits for between sips.
    pub(crate) between_sips: &'a (dyn Fn() + Sync),
}

/// A head, and the body as far as it came.
#[derive(Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// How it ended.
pub(crate) enum End {
    /// A whole answer.
    Whole(Answer),
    /// The connection broke, or was refused: the head, if one had come, and why.
    Broken(Option<Answer>, String),
    /// The caller hung up, as it meant to.
    HungUp,
    /// Nothing came for [`SILENCE_MAX`].
    Silent(String),
}

impl Answer {
    /// A header's text, empty if it is not there. `name` in small letters.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The last part of its problem's type, and what it says.
    pub(crate) fn problem(&self) -> (String, String) {
        let problem: serde_json::Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = |name: &str| problem[name].as_str().unwrap_or("").to_owned();
        let kind = text("type");
        let kind = kind.rsplit('/').next().unwrap_or("").to_owned();
        (kind, text("detail"))
    }
}

impl Call<'_> {
    /// Sends it and takes what comes.
    pub(crate) fn run(&self) -> End {
        let stream = match self.connect() {
            Ok(stream) => stream,
            Err(error) => return End::Broken(None, format!("connecting: {error}")),
        };
        if let Manner::HangsUpSending(bytes) = self.manner {
            let part = self.body.get(..bytes).unwrap_or(self.body);
            // Whatever comes of it: it hangs up.
            let _ = self.send(&stream, part);
            return End::HungUp;
        }
        if self.manner != Manner::AtOnce {
            // A refusal may come before all is sent: then the rest is of no interest, and the answer is.
            let _ = self.send(&stream, self.body);
            return self.receive(&stream);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| self.send(&stream, self.body));
            let end = self.receive(&stream);
            // A sender that still waits for room ends too.
            let _ = stream.shutdown(Shutdown::Both);
            end
        })
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(stream)
    }

    fn send(&self, mut stream: &TcpStream, body: &[u8]) -> std::io::Result<()> {
        let mut head = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.target,
            self.address,
            self.body.len()
        );
        for (name, value) in self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)
    }

    fn receive(&self, stream: &TcpStream) -> End {
        let mut reader = BufReader::new(stream);
        let mut answer = match head(&mut reader) {
            Ok(answer) => answer,
            Err(error) => return broken(None, &error),
        };
        match self.body_of(&mut reader, &mut answer) {
            Ok(true) => End::Whole(answer),
            Ok(false) => End::HungUp,
            Err(error) => broken(Some(answer), &error),
        }
    }

    /// Reads the body; `false`: hung up in the middle.
    fn body_of(&self, reader: &mut impl BufRead, answer: &mut Answer) -> std::io::Result<bool> {
        if answer.header("transfer-encoding") == "chunked" {
            loop {
                let mut line = String::new();
                reader.by_ref().take(HEAD_BYTES_MAX).read_line(&mut line)?;
                let size = line.trim_end().split(';').next().unwrap_or("");
                let size = usize::from_str_radix(size, 16)
                    .map_err(|_| invalid(format!("a chunk's size of {line:?}")))?;
                if size == 0 {
                    break;
                }
                if !self.take(reader, answer, size)? {
                    return Ok(false);
                }
                let mut end = [0; 2];
                reader.read_exact(&mut end)?;
                if &end != b"\r\n" {
                    return Err(invalid(format!("{end:?} behind a chunk")));
                }
            }
            // Trailers, and the empty line that ends the answer.
            while !line(reader)?.is_empty() {}
            return Ok(true);
        }
        let length = answer.header("content-length").parse::<usize>();
        let length = length.map_err(|_| invalid("neither a length nor chunks".to_owned()))?;
        self.take(reader, answer, length)
    }

    fn take(
        &self,
        reader: &mut impl BufRead,
        answer: &mut Answer,
        mut left: usize,
    ) -> std::io::Result<bool> {
        if answer.body.len() + left > ANSWER_BYTES_MAX {
            return Err(invalid(format!("more than {ANSWER_BYTES_MAX} bytes")));
        }
        while left > 0 {
            let part = left.min(SIP_BYTES);
            let from = answer.body.len();
            answer.body.resize(from + part, 0);
            let mut filled = 0;
            while filled < part {
                match reader.read(&mut answer.body[from + filled..]) {
                    Ok(0) => {
                        answer.body.truncate(from + filled);
                        return Err(ErrorKind::UnexpectedEof.into());
                    }
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => {
                        answer.body.truncate(from + filled);
                        return Err(error);
                    }
                }
            }
            left -= part;
            match self.manner {
                Manner::HangsUpReading(bytes) if answer.body.len() >= bytes => return Ok(false),
                Manner::Sips => (self.between_sips)(),
                _ => {}
            }
        }
        Ok(true)
    }
}

fn broken(answer: Option<Answer>, error: &std::io::Error) -> End {
    match error.kind() {
        // What a time-out of a socket reads as.
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            End::Silent(format!("nothing for {} s", SILENCE_MAX.as_secs()))
        }
        _ => End::Broken(answer, error.to_string()),
    }
}

fn invalid(what: String) -> std::io::Error {
    std::io::Error::new(ErrorKind::InvalidData, what)
}

/// A line without its end; an early end is an error.
fn line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    reader.by_ref().take(HEAD_BYTES_MAX).read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(line) => Ok(line.to_owned()),
        None => Err(ErrorKind::UnexpectedEof.into()),
    }
}

fn head(reader: &mut impl BufRead) -> std::io::Result<Answer> {
    let began = Instant::now();
    let status = line(reader)?;
    let status = status
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .ok_or_else(|| invalid(format!("a status line of {status:?}")))?;
    let mut headers = BTreeMap::new();
    loop {
        let line = line(reader)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| invalid(format!("a header of {line:?}")))?;
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        if began.elapsed() > SILENCE_MAX {
            return Err(ErrorKind::TimedOut.into());
        }
    }
    Ok(Answer {
        status,
        headers,
        body: Vec::new(),
    })
}
