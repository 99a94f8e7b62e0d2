//! What a row's bytes cost by themselves: as many as its requests and its answers have, over the same loopback, taken and given by
//! a thread on the servers' processor that does nothing else with them.
//!
//! Owns that thread, which is as lean as can be: heads are looked at for what they ask, bodies are let go. What a row has to do
//! with its bytes whatever its server is like, it does as well: a body whose hash is signed is hashed, a call that
//! another process carries out is passed on. Invariant: what is asked of it is bounded, for it serves this process alone. It knows no
//! rows.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::request::Request;
use crate::connection::Connection;
use crate::process::pin_thread;

/// How long the thread may take to listen.
const READY_LIMIT: Duration = Duration::from_secs(10);
/// Bytes that are read at once, as many as a gateway's connection reads.
const READ_BYTES: usize = 64 << 10;
/// Longest head that is taken, and longest body and answer.
const HEAD_BYTES_MAX: usize = 4 << 10;
const BODY_BYTES_MAX: usize = 16 << 20;

/// What is to be done with a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Length of the answer.
    pub(super) answer_bytes: usize,
    /// Whether it is hashed.
    pub(super) is_hashed: bool,
    /// Length of a body that is sent on, and of the answer to that.
    pub(super) passed_on: Option<(usize, usize)>,
}

/// Threads that take and give bytes, until the process ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    /// Where they are taken.
    pub(super) address: SocketAddr,
}

impl Wire {
    /// On processor `cpu`.
    ///
    /// # Errors
    /// No thread, or no port.
    pub(super) fn start(cpu: usize) -> anyhow::Result<Self> {
        let behind = listen(cpu, None)?;
        let address = listen(cpu, Some(behind))?;
        Ok(Self { address })
    }
}

impl Asked {
    /// A request for it, with a body of so many bytes.
    pub(super) fn request(self, body: Bytes) -> Request {
        let (pass, pass_answer) = self.passed_on.unwrap_or_default();
        let head = format!(
            "POST / HTTP/1.1\r\nX-Asked: {} {} {pass} {pass_answer}\r\nContent-Length: {}\r\n\r\n",
            self.answer_bytes,
            u8::from(self.is_hashed),
            body.len()
        );
        Request {
            head: head.into_bytes(),
            body,
        }
    }

    /// What a head asks for, and the length of its body.
    fn read(head: &str) -> Option<(Self, usize)> {
        let value = |name: &str| {
            let mut lines = head.lines();
            lines.find_map(|line| Some(line.strip_prefix(name)?.trim()))
        };
        let asked = value("X-Asked:")?;
        let mut numbers = asked.split(' ').map(|word| {
            let number = word.parse::<usize>().ok();
            number.filter(|number| *number <= BODY_BYTES_MAX)
        });
        let mut number = || numbers.next().flatten();
        let (answer_bytes, hashed, pass, pass_answer) =
            (number()?, number()?, number()?, number()?);
        let length = value("Content-Length:")?.parse().ok()?;
        let asked = Self {
            answer_bytes,
            is_hashed: hashed > 0,
            passed_on: (pass > 0).then_some((pass, pass_answer)),
        };
        (length <= BODY_BYTES_MAX).then_some((asked, length))
    }
}

/// A thread that serves on processor `cpu`, and passes on to `behind` what is to be.
fn listen(cpu: usize, behind: Option<SocketAddr>) -> anyhow::Result<SocketAddr> {
    let (told, address) = mpsc::channel();
    thread::Builder::new()
        .name("wire".to_owned())
        .spawn(move || -> anyhow::Result<()> {
            pin_thread(cpu)?;
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                told.send(listener.local_addr()?)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    stream.set_nodelay(true)?;
                    tokio::spawn(async move {
                        if let Err(error) = serve(stream, behind).await {
                            eprintln!("the wire broke: {error:#}");
                        }
                    });
                }
            })
        })?;
    address
        .recv_timeout(READY_LIMIT)
        .context("the thread that takes and gives bytes does not listen")
}

async fn serve(mut stream: TcpStream, behind: Option<SocketAddr>) -> anyhow::Result<()> {
    let mut input = vec![0; READ_BYTES];
    let mut behind = match behind {
        Some(address) => Some(Connection::open(address).await?),
        None => None,
    };
    // As long as the longest answer so far.
    let mut output = vec![b' '; READ_BYTES];
    loop {
        let mut filled = 0;
        let (asked, length, mut body) = loop {
            let room = input.get_mut(filled..).unwrap_or_default();
            let read = stream.read(room).await?;
            if read == 0 {
                return Ok(());
            }
            filled += read;
            let came = input.get(..filled).unwrap_or_default();
            if let Some(end) = came.windows(4).position(|end| end == b"\r\n\r\n") {
                let head = std::str::from_utf8(came.get(..end).unwrap_or_default())?;
                let (asked, length) = Asked::read(head).context("a head that asks nothing")?;
                break (asked, length, end + 4);
            }
            anyhow::ensure!(filled < HEAD_BYTES_MAX, "a head is too long");
        };
        let mut hash = asked.is_hashed.then(Sha256::new);
        let mut left = length;
        loop {
            let piece = input.get(body..filled).unwrap_or_default();
            if let Some(hash) = &mut hash {
                hash.update(piece);
            }
            left = left
                .checked_sub(piece.len())
                .context("more came than was announced")?;
            if left == 0 {
                break;
            }
            (body, filled) = (0, stream.read(&mut input).await?);
            anyhow::ensure!(filled > 0, "a body broke off");
        }
        std::hint::black_box(hash.map(Sha256::finalize));
        let most = asked.passed_on.map_or(0, |(bytes, _)| bytes);
        let needed = asked.answer_bytes.max(most);
        if output.len() < needed {
            output.resize(needed, b' ');
        }
        if let (Some((bytes, answer_bytes)), Some(behind)) = (asked.passed_on, &mut behind) {
            let asked = Asked {
                answer_bytes,
                ..Asked::default()
            };
            let body = Bytes::copy_from_slice(output.get(..bytes).unwrap_or_default());
            let request = asked.request(body);
            behind.exchange(&request.head, &request.body, false).await?;
        }
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            asked.answer_bytes
        )
        .into_bytes();
        // One write, as the gateway's is.
        answer.extend_from_slice(output.get(..asked.answer_bytes).unwrap_or_default());
        stream.write_all(&answer).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_bytes_come_back_as_are_asked_for_hashed_or_passed_on() {
        let cpus = crate::process::allowed_cpus().expect("processors");
        let wire = Wire::start(cpus[0]).expect("a thread");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let asked = [
            Asked {
                answer_bytes: 10,
                ..Asked::default()
            },
            Asked {
                answer_bytes: 200_000,
                is_hashed: true,
                passed_on: None,
            },
            Asked {
                answer_bytes: 7,
                is_hashed: false,
                passed_on: Some((100_000, 90_000)),
            },
        ];
        runtime.block_on(async {
            let mut connection = Connection::open(wire.address).await.expect("open");
            for (asked, bytes) in asked.into_iter().zip([0, 300_000, 65_536]) {
                let request = asked.request(vec![1; bytes].into());
                let answer = connection.exchange(&request.head, &request.body, false);
                let answer = answer.await.expect("an answer");
                assert_eq!(answer.status, 200);
                assert_eq!(answer.body_bytes, asked.answer_bytes as u64, "{asked:?}");
            }
        });
    }
}
