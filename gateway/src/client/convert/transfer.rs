//! One conversion: bytes go up and come down at once, until the answer is whole.
//!
//! Owns attempts and their repetition. Invariants: a conversion is repeated only before the first
//! byte of an answer, only where its input can be read again, and a bounded number of times; an
//! answer that is not whole is an error; no wait for the gateway is without a limit.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use thiserror::Error;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use super::progress::Progress;
use super::sink::{Sink, SinkError, TAIL_BYTES};
use super::source::{Source, StandardInput};
use crate::client::call::{CallError, Caller, Link, Outgoing, trailers};
use crate::client::facts::Facts;
use crate::client::upload::{Meter, Reading, Upload};

/// Repetitions that are made unless told otherwise.
pub(crate) const RETRIES: u8 = 4;
/// Most repetitions that can be asked for.
pub(crate) const RETRIES_MAX: u8 = 20;
/// Longest Retry-After that is waited for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
/// First wait where the gateway names none; doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// Longest of those.
const RETRY_BACKOFF_MAX: Duration = Duration::from_secs(8);
/// How long the gateway may neither take nor give a byte, while we could.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How much later than its deadline the gateway may say so.
const DEADLINE_GRACE: Duration = Duration::from_secs(5);
/// How long the end of the input may take to be seen once the answer is whole.
const READ_END_MAX: Duration = Duration::from_secs(5);
/// How often progress and silence are looked at.
const TICK: Duration = Duration::from_millis(100);

/// What is to be done with one input.
pub(crate) struct Order {
    /// Path and query of the call.
    pub(crate) target: String,
    /// `Faam-Backend`.
    pub(crate) backend: &'static str,
    /// When the caller stops waiting.
    pub(crate) deadline: Option<Duration>,
    /// Whether the answer ends with CRC-32 and length of what was sent (RFC 1952, 2.3.1).
    pub(crate) gzip_trailer: bool,
    /// Repetitions allowed.
    pub(crate) retries: u8,
}

/// What is converted.
pub(crate) enum Input {
    /// A file, which can be read again.
    File(Box<Source>),
    /// Standard input, which cannot.
    Stdin,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Converted {
    pub(crate) facts: Facts,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
    /// From the attempt's first byte to the answer's last.
    pub(crate) elapsed: Duration,
    pub(crate) retries: u8,
}

/// Why there is none.
#[derive(Debug, Error)]
pub(crate) enum TransferError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    /// The source.
    #[error("cannot read it to its end")]
    Input(#[source] io::Error),
    /// Somebody who is no gateway answered.
    #[error("{0} is no gateway of ours: its answer carries no Faam-Invocation-Id; correct --url")]
    Stranger(String),
    /// An answer whose end is the end of its connection, which is also how a torn one ends (RFC 9112, 8).
    #[error(
        "the answer has neither a length nor chunks, so that nobody can tell whether it is whole; nothing of it is used: \
         have the proxy in between speak HTTP/1.1 with chunks, or go round it with --url"
    )]
    Endless,
    /// It ended TLS once the handshake was made, as TLS 1.3 has it where a certificate is missing (RFC 8446, 4.4.2.4).
    #[error(
        "{0} asks for a certificate of ours and ended the connection without: give one that it trusts with --cert and \
         --cert-key"
    )]
    Certificate(String),
    /// Both sides wait.
    #[error("the gateway neither took nor gave a byte for {n} s; see its log", n = SILENCE_MAX.as_secs())]
    Silent,
    /// Our own clock.
    #[error(
        "no whole answer within the deadline of {0:?}; give --deadline more time, or send less"
    )]
    Deadline(Duration),
    /// An answer before the question.
    #[error("the gateway answered before it had all of the input; nothing of it is used")]
    Early,
    /// The record says other than the answer.
    #[error("the gateway says that it failed: {0}; nothing of the answer is used")]
    Failed(String),
    /// Bytes changed on the way.
    #[error(
        "the answer's trailer is for other bytes than were sent (CRC-32 {expected:08x} and length of what was sent, \
         {got:08x} in the answer); nothing of it is used: try again"
    )]
    Checksum { expected: u32, got: u32 },
}

/// An attempt that failed.
struct Failure {
    error: TransferError,
    /// Whether the same request may be made again.
    again: bool,
    /// What the gateway says of when.
    after: Option<Duration>,
}

impl Failure {
    fn last(error: impl Into<TransferError>) -> Self {
        Self {
            error: error.into(),
            again: false,
            after: None,
        }
    }
}

/// Convert `input` into `sink`. `link` is a connection from before, or becomes one for the next.
///
/// # Errors
/// [`TransferError`]; what `sink` then holds is worth nothing.
pub(crate) async fn convert(
    caller: &Caller,
    link: &mut Option<Link>,
    order: &Order,
    input: &Input,
    sink: &mut Sink,
    progress: &mut Progress,
) -> Result<Converted, TransferError> {
    let began = Instant::now();
    let mut retries = 0;
    loop {
        let left = match order.deadline {
            None => None,
            Some(deadline) => match deadline.checked_sub(began.elapsed()) {
                Some(left) if left >= Duration::from_millis(1) => Some(left),
                _ => return Err(TransferError::Deadline(deadline)),
            },
        };
        let attempt = attempt(caller, link, order, left, input, sink, progress);
        let attempted = match left {
            None => attempt.await,
            Some(left) => timeout(left + DEADLINE_GRACE, attempt)
                .await
                .unwrap_or_else(|_| {
                    Err(Failure::last(TransferError::Deadline(
                        order.deadline.unwrap_or(left),
                    )))
                }),
        };
        let failure = match attempted {
            Ok(converted) => {
                return Ok(Converted {
                    retries,
                    ..converted
                });
            }
            Err(failure) => failure,
        };
        *link = None;
        let wait = failure.after.unwrap_or_else(|| backoff(retries));
        if !failure.again
            || retries >= order.retries
            || wait > RETRY_AFTER_MAX
            || matches!(input, Input::Stdin)
        {
            return Err(failure.error);
        }
        retries += 1;
        sink.rewind()?;
        progress.note(&format!(
            "{}; repetition {retries} of {} in {:.1} s",
            failure.error,
            order.retries,
            wait.as_secs_f64()
        ));
        sleep(wait).await;
    }
}

/// The wait before a repetition, with a part by chance: not everybody comes back at once.
fn backoff(retries: u8) -> Duration {
    let wait = RETRY_FIRST
        .saturating_mul(1 << retries.min(16))
        .min(RETRY_BACKOFF_MAX);
    let mut chance = [0];
    // Without chance there is still the wait.
    let _ = getrandom::fill(&mut chance);
    wait.mul_f64(0.75 + f64::from(chance[0]) / 512.0)
}

async fn attempt(
    caller: &Caller,
    link: &mut Option<Link>,
    order: &Order,
    left: Option<Duration>,
    input: &Input,
    sink: &Sink,
    progress: &mut Progress,
) -> Result<Converted, Failure> {
    let link = match link {
        Some(open) if open.is_open() => open,
        stale => stale.insert(caller.link().await.map_err(Failure::last)?),
    };
    let meter = Meter::new();
    let (upload, mut reading) = match input {
        Input::File(source) => Upload::start(source.reader(), source.length(), Arc::clone(&meter)),
        Input::Stdin => {
            StandardInput::open().and_then(|stdin| Upload::start(stdin, None, Arc::clone(&meter)))
        }
    }
    .map_err(|error| Failure::last(TransferError::Input(error)))?;
    let mut headers = vec![("faam-backend", order.backend.to_owned())];
    if let Some(left) = left {
        headers.push(("faam-deadline-ms", left.as_millis().to_string()));
    }
    progress.begin(&meter);
    let mut watch = Watch::new(&meter, progress);
    let post = link.post(&order.target, &headers, Outgoing::Stream(upload));
    let answered = watch.over(post).await;
    let response = match answered {
        Some(Ok(response)) => response,
        Some(Err(error)) => return Err(failure(error.into(), caller, &mut reading)),
        None => return Err(Failure::last(TransferError::Silent)),
    };
    let framed = [CONTENT_LENGTH, TRANSFER_ENCODING];
    // A gzip trailer that is for what was sent tells the end as well.
    if !order.gzip_trailer
        && !framed
            .iter()
            .any(|name| response.headers().contains_key(name))
    {
        return Err(Failure::last(TransferError::Endless));
    }
    // From here on nothing is repeated: bytes of an answer have come.
    let down = download(response, caller, sink, &meter, &mut watch).await;
    let (mut facts, tail) = match down {
        Ok(down) => down,
        Err(error) => {
            return Err(Failure {
                again: false,
                ..failure(error, caller, &mut reading)
            });
        }
    };
    let whole = match timeout(READ_END_MAX, reading.end()).await {
        Ok(Ok(whole)) => whole,
        Ok(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Err(Failure::last(TransferError::Input(error)));
        }
        _ => return Err(Failure::last(TransferError::Early)),
    };
    if order.gzip_trailer {
        check_trailer(tail, whole.bytes, whole.crc32).map_err(Failure::last)?;
    }
    let elapsed = meter.elapsed();
    if !facts.is_final() {
        // A proxy has dropped the trailers: the gateway keeps a record.
        look_up(caller, link, &mut facts)
            .await
            .map_err(Failure::last)?;
    }
    Ok(Converted {
        facts,
        bytes_in: whole.bytes,
        bytes_out: meter.received(),
        elapsed,
        retries: 0,
    })
}

/// What went wrong before an answer, and whether it is worth another time.
fn failure(error: TransferError, caller: &Caller, reading: &mut Reading) -> Failure {
    if let Some(error) = reading.failed() {
        return Failure::last(TransferError::Input(error));
    }
    match &error {
        TransferError::Call(CallError::Refused(refusal)) => Failure {
            again: refusal.is_for_now(),
            after: refusal.retry_after,
            error,
        },
        TransferError::Call(CallError::Broken { .. }) if caller.lacks_certificate() => {
            Failure::last(TransferError::Certificate(caller.endpoint().to_string()))
        }
        TransferError::Call(CallError::Broken { .. }) => Failure {
            error,
            again: true,
            after: None,
        },
        _ => Failure::last(error),
    }
}

/// The final facts from the gateway's record, if it can be had: on another connection where this one has ended.
async fn look_up(caller: &Caller, link: &mut Link, facts: &mut Facts) -> Result<(), TransferError> {
    let Some(path) = facts.id().map(|id| format!("/v1/invocations/{id}")) else {
        return Ok(());
    };
    let record = match link.get_json(&path).await {
        Some(record) => Some(record),
        None => match caller.link().await {
            Ok(mut another) => another.get_json(&path).await,
            Err(_) => None,
        },
    };
    let Some(record) = record else {
        return Ok(());
    };
    if record["state"] == "failed" {
        let detail = record["detail"]
            .as_str()
            .unwrap_or("its record does not say why");
        return Err(TransferError::Failed(detail.to_owned()));
    }
    facts.complete(&record);
    Ok(())
}

/// The answer into the sink; its facts, and its last bytes.
async fn download(
    response: hyper::Response<hyper::body::Incoming>,
    caller: &Caller,
    sink: &Sink,
    meter: &Meter,
    watch: &mut Watch<'_>,
) -> Result<(Facts, [u8; TAIL_BYTES]), TransferError> {
    let mut facts = Facts::of(response.headers());
    if facts.invocation_id.is_none() {
        return Err(TransferError::Stranger(caller.endpoint().to_string()));
    }
    let mut body = response.into_body();
    let writer = sink.writer()?;
    while let Some(frame) = watch
        .over(body.frame())
        .await
        .ok_or(TransferError::Silent)?
    {
        let frame = frame.map_err(|source| caller.broken("in the middle of the answer", source))?;
        match frame.into_data() {
            Ok(chunk) => {
                meter.receive(chunk.len());
                let waits = !writer.has_room();
                if waits {
                    meter.wait_for_output(true);
                }
                let taken = writer.write(chunk).await;
                if waits {
                    meter.wait_for_output(false);
                }
                if !taken {
                    break;
                }
            }
            Err(other) => {
                if let Some(fields) = trailers(other) {
                    facts.update(&fields);
                }
            }
        }
    }
    Ok((facts, writer.end().await?))
}

/// Looks at progress and silence while something is waited for. One for a whole attempt: what is waited for
/// may come more often than it looks.
struct Watch<'a> {
    ticks: Interval,
    meter: &'a Meter,
    progress: &'a mut Progress,
}

impl<'a> Watch<'a> {
    fn new(meter: &'a Meter, progress: &'a mut Progress) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            ticks,
            meter,
            progress,
        }
    }

    /// What `work` gives; `None` once the gateway has been silent for too long.
    async fn over<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                _ = self.ticks.tick() => {
                    self.progress.show(self.meter);
                    if self.meter.silence() > SILENCE_MAX {
                        return None;
                    }
                }
                done = &mut work => return Some(done),
            }
        }
    }
}

/// Compare a gzip member's trailer with what was sent (RFC 1952, 2.3.1).
fn check_trailer(tail: [u8; TAIL_BYTES], bytes: u64, crc32: u32) -> Result<(), TransferError> {
    let [c0, c1, c2, c3, l0, l1, l2, l3] = tail;
    let got = u32::from_le_bytes([c0, c1, c2, c3]);
    let length = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
    if got != crc32 || length != bytes % (1 << 32) {
        return Err(TransferError::Checksum {
            expected: crc32,
            got,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_are_bounded() {
        for retries in 0..=RETRIES_MAX {
            let wait = backoff(retries);
            assert!(wait >= RETRY_FIRST.mul_f64(0.75), "{wait:?}");
            assert!(wait <= RETRY_BACKOFF_MAX.mul_f64(1.25), "{wait:?}");
        }
        assert!(backoff(5) > backoff(0));
    }

    #[test]
    fn a_trailer_for_other_bytes_is_found() {
        let crc32 = crc32fast::hash(b"hello");
        let mut tail = [0; TAIL_BYTES];
        tail[..4].copy_from_slice(&crc32.to_le_bytes());
        tail[4] = 5;
        assert!(check_trailer(tail, 5, crc32).is_ok());
        assert!(check_trailer(tail, (1 << 32) + 5, crc32).is_ok());
        assert!(check_trailer(tail, 6, crc32).is_err());
        assert!(check_trailer(tail, 5, crc32 ^ 1).is_err());
    }
}
