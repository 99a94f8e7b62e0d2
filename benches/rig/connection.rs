//! One kept-alive HTTP/1.1 connection of the load generator.
//!
//! Owns sending a body and taking an answer at the same time (a server that streams answers before it has read all, and
//! waits for a client that only writes). As lean as it can be, for it must not be what is measured: heads are parsed by
//! `httparse`, bodies are counted and let go. Invariant: a connection whose answer did not end properly is not used
//! again. It knows no contender.

use std::io::{self, IoSlice};
use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;
/// Headers of an answer at most.
const HEADERS_MAX: usize = 64;
/// Bytes of an answer's head, of one line of a chunk's size, or of a trailer, at most.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Bytes of an answer that is kept at most.
const KEPT_BYTES_MAX: usize = 64 << 20;

/// An answer, its body counted.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// Bytes of the body, without framing.
    pub(crate) body_bytes: u64,
    /// The first two bytes of the body.
    pub(crate) magic: [u8; 2],
    /// `Faam-Backend`.
    pub(crate) backend: Option<String>,
    /// `Content-Encoding` or `Content-Type` says gzip.
    pub(crate) gzip: bool,
    /// `Server-Timing`, as a header.
    pub(crate) server_timing: Option<String>,
    /// The body, if it was to be kept.
    pub(crate) kept: Option<Vec<u8>>,
    /// The server, or what became of the request, forbids another one on this connection.
    close: bool,
}

/// How an answer's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(u64),
    Chunked,
    Close,
}

/// See the module's head.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    input: Input,
    usable: bool,
}

/// What was read and not yet used.
#[derive(Debug)]
struct Input {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// The system's.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let input = Input {
            bytes: vec![0; READ_BYTES],
            start: 0,
            end: 0,
        };
        Ok(Self {
            stream,
            input,
            usable: true,
        })
    }

    /// Whether another request may follow.
    pub(crate) const fn is_usable(&self) -> bool {
        self.usable
    }

    /// Sends `head` and `body`, and takes the answer; keeps its body if `keep`.
    ///
    /// # Errors
    /// The connection broke, or what came is no HTTP; it is not usable then.
    pub(crate) async fn exchange(
        &mut self,
        head: &[u8],
        body: &Bytes,
        keep: bool,
    ) -> io::Result<Answer> {
        self.usable = false;
        let (mut reader, mut writer) = self.stream.split();
        let sending = send(&mut writer, head, body);
        let receiving = receive(&mut self.input, &mut reader, keep);
        tokio::pin!(sending, receiving);
        let (mut ended, mut sent) = (false, false);
        let answer = loop {
            tokio::select! {
                biased;
                // A server that refuses while we still send resets the connection: its answer may be there all the same.
                result = &mut sending, if !ended => {
                    ended = true;
                    sent = result.is_ok();
                }
                answer = &mut receiving => break answer?,
            }
        };
        self.usable = sent && !answer.close;
        Ok(answer)
    }
}

async fn send(writer: &mut WriteHalf<'_>, head: &[u8], body: &Bytes) -> io::Result<()> {
    let (mut head, mut body) = (head, body.as_ref());
    while !head.is_empty() {
        let sent = writer
            .write_vectored(&[IoSlice::new(head), IoSlice::new(body)])
            .await?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let of_head = sent.min(head.len());
        head = head.get(of_head..).unwrap_or_default();
        body = body.get(sent - of_head..).unwrap_or_default();
    }
    writer.write_all(body).await
}

async fn receive(input: &mut Input, reader: &mut ReadHalf<'_>, keep: bool) -> io::Result<Answer> {
    let mut answer = Answer {
        kept: keep.then(Vec::new),
        ..Answer::default()
    };
    let framing = loop {
        if let Some(framing) = input.head(&mut answer)? {
            // An interim answer (100 Continue) is followed by the real one.
            if answer.status >= 200 {
                break framing;
            }
        } else {
            input.fill(reader).await?;
        }
    };
    match framing {
        Framing::Length(length) => input.body(reader, length, &mut answer).await?,
        Framing::Chunked => loop {
            let size = input.chunk_size(reader).await?;
            if size == 0 {
                // Trailers, up to the empty line.
                while input.line(reader).await? != 0 {}
                break;
            }
            input.body(reader, size, &mut answer).await?;
            if input.line(reader).await? != 0 {
                return Err(malformed("a chunk is longer than it says"));
            }
        },
        Framing::Close => {
            answer.close = true;
            loop {
                let there = (input.end - input.start) as u64;
                input.body(reader, there, &mut answer).await?;
                if !input.more(reader).await? {
                    break;
                }
            }
        }
    }
    Ok(answer)
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Input {
    fn unread(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// Reads more; `false` at the end of the stream.
    async fn more(&mut self, reader: &mut ReadHalf<'_>) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.bytes.len() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let room = self.bytes.get_mut(self.end..).unwrap_or_default();
        if room.is_empty() {
            return Err(malformed("a line or a head is longer than the buffer"));
        }
        let read = reader.read(room).await?;
        self.end += read;
        Ok(read > 0)
    }

    async fn fill(&mut self, reader: &mut ReadHalf<'_>) -> io::Result<()> {
        if self.more(reader).await? {
            return Ok(());
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// Takes an answer's head off the input, once it is whole.
    fn head(&mut self, answer: &mut Answer) -> io::Result<Option<Framing>> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Response::new(&mut headers);
        let unread = self.bytes.get(self.start..self.end).unwrap_or_default();
        let status = parsed
            .parse(unread)
            .map_err(|_| malformed("no HTTP/1.1 head"))?;
        let httparse::Status::Complete(length) = status else {
            if unread.len() > HEAD_BYTES_MAX {
                return Err(malformed("a head is too long"));
            }
            return Ok(None);
        };
        answer.status = parsed.code.unwrap_or_default();
        let mut framing = match answer.status {
            100..200 | 204 | 304 => Framing::Length(0),
            _ => Framing::Close,
        };
        for header in parsed.headers.iter() {
            let value = || std::str::from_utf8(header.value).unwrap_or_default().trim();
            let says = |word: &str| value().to_ascii_lowercase().contains(word);
            if header.name.eq_ignore_ascii_case("content-length") {
                let length = value()
                    .parse()
                    .map_err(|_| malformed("Content-Length is no number"))?;
                framing = Framing::Length(length);
            } else if header.name.eq_ignore_ascii_case("transfer-encoding") {
                framing = Framing::Chunked;
            } else if header.name.eq_ignore_ascii_case("connection") {
                answer.close |= says("close");
            } else if header.name.eq_ignore_ascii_case("content-encoding")
                || header.name.eq_ignore_ascii_case("content-type")
            {
                answer.gzip |= says("gzip");
            } else if header.name.eq_ignore_ascii_case("faam-backend") {
                answer.backend = Some(value().to_owned());
            } else if header.name.eq_ignore_ascii_case("server-timing") {
                answer.server_timing = Some(value().to_owned());
            }
        }
        self.start += length;
        Ok(Some(framing))
    }

    /// Takes `length` bytes of a body off the input.
    async fn body(
        &mut self,
        reader: &mut ReadHalf<'_>,
        length: u64,
        answer: &mut Answer,
    ) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.start == self.end {
                self.fill(reader).await?;
            }
            let unread = self.unread();
            let take = unread
                .len()
                .min(usize::try_from(left).unwrap_or(usize::MAX));
            let piece = unread.get(..take).unwrap_or_default();
            for (place, byte) in (answer.body_bytes..2).zip(piece) {
                if let Some(magic) = answer
                    .magic
                    .get_mut(usize::try_from(place).unwrap_or_default())
                {
                    *magic = *byte;
                }
            }
            answer.body_bytes += take as u64;
            if let Some(kept) = &mut answer.kept {
                if kept.len() + take > KEPT_BYTES_MAX {
                    return Err(malformed("an answer is far longer than its body"));
                }
                kept.extend_from_slice(piece);
            }
            self.start += take;
            left -= take as u64;
        }
        Ok(())
    }

    async fn chunk_size(&mut self, reader: &mut ReadHalf<'_>) -> io::Result<u64> {
        loop {
            match httparse::parse_chunk_size(self.unread()) {
                Ok(httparse::Status::Complete((taken, size))) => {
                    self.start += taken;
                    return Ok(size);
                }
                Ok(httparse::Status::Partial) if self.unread().len() <= HEAD_BYTES_MAX => {
                    self.fill(reader).await?;
                }
                _ => return Err(malformed("a chunk's size is no number")),
            }
        }
    }

    /// Takes a line off the input; its length without the line's end.
    async fn line(&mut self, reader: &mut ReadHalf<'_>) -> io::Result<usize> {
        loop {
            let unread = self.unread();
            if let Some(end) = unread.iter().position(|&byte| byte == b'\n') {
                let text = unread.get(..end).unwrap_or_default();
                let length = text.strip_suffix(b"\r").unwrap_or(text).len();
                self.start += end + 1;
                return Ok(length);
            }
            if unread.len() > HEAD_BYTES_MAX {
                return Err(malformed("a line is too long"));
            }
            self.fill(reader).await?;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;

    /// What a connection makes of `answers`, sent to it one byte at a time and all at once; both must agree.
    fn answers_to(sent: &'static [u8], requests: usize) -> Vec<io::Result<Answer>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let mut both = [1, usize::MAX].map(|piece| {
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
                let address = listener.local_addr().expect("an address");
                let server = tokio::spawn(async move {
                    let (mut stream, _) = listener.accept().await.expect("a connection");
                    for piece in sent.chunks(piece.min(sent.len()).max(1)) {
                        if stream.write_all(piece).await.is_err() {
                            return;
                        }
                    }
                    // What was sent is read too, or closing would reset the connection under the answer.
                    let _ = stream.shutdown().await;
                    let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
                });
                let mut connection = Connection::open(address).await.expect("connected");
                let mut answers = Vec::new();
                for _ in 0..requests {
                    let body = Bytes::from_static(b"body");
                    answers.push(connection.exchange(b"HEAD ", &body, true).await);
                }
                drop(connection);
                server.await.expect("the server ends");
                answers
            })
        });
        let (slow, fast) = both.split_at_mut(1);
        let shown = |answers: &[Vec<io::Result<Answer>>]| format!("{answers:?}");
        assert_eq!(shown(slow), shown(fast));
        slow.first_mut().map(std::mem::take).unwrap_or_default()
    }

    #[test]
    fn answers_follow_each_other_on_one_connection() {
        let answers = answers_to(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\nFaam-Backend: cpu\r\n\r\n\x1f\x8babc\
              HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0A;x=y\r\n0123456789\r\n0\r\nServer-Timing: a\r\n\r\n\
              HTTP/1.1 503 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            3,
        );
        let [first, second, third] = answers.as_slice() else {
            panic!("three answers: {answers:?}")
        };
        let first = first.as_ref().expect("whole");
        assert_eq!(
            (first.status, first.body_bytes, first.magic),
            (200, 5, [0x1f, 0x8b])
        );
        assert!(first.gzip && first.backend.as_deref() == Some("cpu"));
        let second = second.as_ref().expect("whole");
        assert_eq!(second.kept.as_deref(), Some(b"abc0123456789".as_slice()));
        assert_eq!(second.magic, *b"ab");
        let third = third.as_ref().expect("whole");
        assert!(third.status == 503 && third.close);
    }

    #[test]
    fn torn_answers_are_errors() {
        for torn in [
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc".as_slice(),
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
            b"",
            b"SSH-2.0-x\r\n\r\n",
        ] {
            let answers = answers_to(torn, 1);
            assert!(
                matches!(answers.as_slice(), [Err(_)]),
                "{:?}: {answers:?}",
                String::from_utf8_lossy(torn)
            );
        }
    }

    #[test]
    fn without_a_length_the_answer_ends_with_the_connection() {
        let answers = answers_to(b"HTTP/1.1 200 OK\r\n\r\nabc", 1);
        let answer = answers
            .first()
            .and_then(|a| a.as_ref().ok())
            .expect("whole");
        assert!(answer.body_bytes == 3 && answer.close);
    }
}
