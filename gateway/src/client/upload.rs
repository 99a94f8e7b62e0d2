//! A request's body as it is read from a file or from standard input.
//!
//! Owns the thread that reads, and the count of what was sent. Invariants: at most
//! [`CHUNKS_MAX`] chunks of [`CHUNK_BYTES`] are in memory; a file that is not what it was when it
//! was opened is an error, never a shorter body. It knows neither HTTP nor formats.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, oneshot};

/// Bytes that are read at once.
pub(crate) const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that wait to be sent.
pub(crate) const CHUNKS_MAX: usize = 4;

/// A body that a thread reads.
pub(crate) struct Upload {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    left: Option<u64>,
    meter: Arc<Meter>,
}

/// How the reading of a body ends.
pub(crate) struct Reading(oneshot::Receiver<io::Result<Whole>>);

/// All of a body was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// Its bytes.
    pub(crate) bytes: u64,
    /// Their CRC-32.
    pub(crate) crc32: u32,
}

impl Reading {
    /// Why the body ended early, if it was for its source.
    pub(crate) fn failed(&mut self) -> Option<io::Error> {
        let error = self.0.try_recv().ok()?.err()?;
        // That the call ended first is no fault of the source's.
        (error.kind() != io::ErrorKind::BrokenPipe).then_some(error)
    }

    /// Wait until all is read.
    ///
    /// # Errors
    /// The source's; `BrokenPipe` where the call ended first.
    pub(crate) async fn end(self) -> io::Result<Whole> {
        let ended = self.0.await;
        ended.unwrap_or_else(|_| Err(io::Error::other("the reading thread ended")))
    }
}

/// How far a call has come: shared by its threads, its connection and its progress bar.
#[derive(Debug)]
pub(crate) struct Meter {
    began: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    waits_for_input: AtomicBool,
    waits_for_output: AtomicBool,
    moved_ms: AtomicU64,
}

impl Meter {
    /// Nothing has moved yet.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            waits_for_input: AtomicBool::new(false),
            waits_for_output: AtomicBool::new(false),
            moved_ms: AtomicU64::new(0),
        })
    }

    /// Bytes that the connection has taken.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Bytes that have come.
    pub(crate) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Since it began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Bytes have come.
    pub(crate) fn receive(&self, bytes: usize) {
        self.received
            .fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
        self.touch();
    }

    /// Our output is not taken, or is taken again.
    pub(crate) fn wait_for_output(&self, waits: bool) {
        self.waits_for_output.store(waits, Ordering::Relaxed);
        self.touch();
    }

    /// Our input does not come, or comes again.
    fn wait_for_input(&self, waits: bool) {
        self.waits_for_input.store(waits, Ordering::Relaxed);
        self.touch();
    }

    /// For how long the gateway has moved nothing, while it could.
    pub(crate) fn silence(&self) -> Duration {
        let ours = [&self.waits_for_input, &self.waits_for_output];
        if ours.iter().any(|waits| waits.load(Ordering::Relaxed)) {
            return Duration::ZERO;
        }
        let moved = Duration::from_millis(self.moved_ms.load(Ordering::Relaxed));
        self.elapsed().saturating_sub(moved)
    }

    fn touch(&self) {
        let ms = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.moved_ms.store(ms, Ordering::Relaxed);
    }
}

impl Upload {
    /// Reads `source` on a thread of its own: `length` bytes where that is known, else to its end.
    ///
    /// # Errors
    /// No thread could be made.
    pub(crate) fn start(
        source: impl Read + Send + 'static,
        length: Option<u64>,
        meter: Arc<Meter>,
    ) -> io::Result<(Self, Reading)> {
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        let (done, outcome) = oneshot::channel();
        std::thread::Builder::new()
            .name("faam-read".to_owned())
            .spawn(move || {
                let ended = read(source, length, &sender);
                let error = ended.as_ref().err().map(ToString::to_string);
                // Nobody waits for either where the call has ended before.
                let _ = done.send(ended);
                if let Some(error) = error {
                    let _ = sender.blocking_send(Err(io::Error::other(error)));
                }
            })?;
        let upload = Self {
            chunks,
            left: length,
            meter,
        };
        Ok((upload, Reading(outcome)))
    }

    /// Bytes that are still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        self.left
    }

    /// The next chunk.
    pub(crate) fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let polled = self.chunks.poll_recv(cx);
        self.meter.wait_for_input(polled.is_pending());
        let chunk = ready!(polled);
        if let Some(Ok(bytes)) = &chunk {
            let bytes = u64::try_from(bytes.len()).unwrap_or(0);
            self.left = self.left.map(|left| left.saturating_sub(bytes));
            self.meter.sent.fetch_add(bytes, Ordering::Relaxed);
        }
        Poll::Ready(chunk)
    }
}

fn read(
    mut source: impl Read,
    length: Option<u64>,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> io::Result<Whole> {
    let mut crc32 = crc32fast::Hasher::new();
    let mut total: u64 = 0;
    loop {
        let chunk = next_chunk(&mut source)?;
        if chunk.is_empty() {
            break;
        }
        total = total.saturating_add(u64::try_from(chunk.len()).unwrap_or(0));
        if let Some(length) = length.filter(|length| total > *length) {
            return Err(changed(length, "more"));
        }
        crc32.update(&chunk);
        if sender.blocking_send(Ok(chunk)).is_err() {
            return Err(io::Error::new(
                io::ErrorKind::BrokenPipe,
                "the call ended before all was read",
            ));
        }
    }
    if let Some(length) = length.filter(|length| total < *length) {
        return Err(changed(length, "fewer"));
    }
    Ok(Whole {
        bytes: total,
        crc32: crc32.finalize(),
    })
}

/// What can be read at once: a pipe's writer may send little and wait for an answer.
fn next_chunk(source: &mut impl Read) -> io::Result<Bytes> {
    let mut chunk = BytesMut::zeroed(CHUNK_BYTES);
    let bytes = loop {
        match source.read(&mut chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    if bytes < CHUNK_BYTES / 4 {
        // Little is worth a copy: the chunk is not held for it.
        return Ok(Bytes::copy_from_slice(
            chunk.get(..bytes).unwrap_or_default(),
        ));
    }
    chunk.truncate(bytes);
    Ok(chunk.freeze())
}

fn changed(length: u64, how: &str) -> io::Error {
    io::Error::other(format!(
        "it changed while it was read: expected {length} bytes, got {how}; try again once nobody writes to it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(source: &'static [u8], length: Option<u64>) -> (Vec<u8>, io::Result<Whole>) {
        let (mut upload, reading) = Upload::start(source, length, Meter::new()).expect("a thread");
        let mut bytes = Vec::new();
        while let Some(chunk) = upload.chunks.blocking_recv() {
            match chunk {
                Ok(chunk) => bytes.extend_from_slice(&chunk),
                Err(_) => break,
            }
        }
        (bytes, reading.0.blocking_recv().expect("it ends"))
    }

    #[test]
    fn all_is_read_and_summed() {
        let (bytes, whole) = collect(b"hello", Some(5));
        assert_eq!(bytes, b"hello");
        let crc32 = crc32fast::hash(b"hello");
        assert_eq!(whole.expect("whole"), Whole { bytes: 5, crc32 });
        let (bytes, whole) = collect(b"", None);
        assert!(bytes.is_empty() && whole.is_ok());
    }

    #[test]
    fn a_file_that_changes_is_an_error() {
        for (length, word) in [(4, "more"), (6, "fewer")] {
            let (_, whole) = collect(b"hello", Some(length));
            assert!(whole.expect_err("changed").to_string().contains(word));
        }
    }
}
