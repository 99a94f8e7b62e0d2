//! A request's body on its way into a handler: bounded in bytes and in time.
//!
//! Invariant: whoever waits for it ends, with bytes, with the body's end or with the reason why there are none. It knows
//! no compression.

use std::error::Error;
use std::io;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use tokio::time::timeout_at;

use super::digest::DigestMismatch;
use super::limits::HttpLimits;
use crate::error::{Problem, ProblemKind};

/// Why the next bytes did not come.
#[derive(Debug)]
pub enum IntakeError {
    /// Too large, too slow, or not what HTTP prescribes.
    Refused(Problem),
    /// The caller hung up in the middle of it, or closed its side too early; for whoever may still listen.
    HungUp(Problem),
}

/// A request body on its way into a handler: bounded in bytes and in time.
///
/// Time counts only while the body is waited for; while we are busy the caller is not to blame.
#[derive(Debug)]
pub struct Intake {
    body: Body,
    limits: HttpLimits,
    received: u64,
    clock: WaitClock,
}

/// Time spent waiting for a caller, in all and since its last byte.
#[derive(Debug, Default)]
struct WaitClock {
    waited: Duration,
    silent: Duration,
    last: Option<Instant>,
}

/// A wait that counts until it is dropped, so also where the waiting is given up.
struct Wait<'a> {
    clock: &'a mut WaitClock,
    began: Instant,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let time = self.began.elapsed();
        self.clock.waited += time;
        self.clock.silent += time;
        self.clock.last = Some(self.began + time);
    }
}

impl Intake {
    /// Nothing is polled yet.
    #[must_use]
    pub fn new(body: Body, limits: HttpLimits) -> Self {
        Self {
            body,
            limits,
            received: 0,
            clock: WaitClock::default(),
        }
    }

    /// The next bytes; `None` at the end. May be dropped while it waits, and called again.
    ///
    /// # Errors
    /// [`IntakeError`]
    pub async fn next(&mut self) -> Result<Option<Bytes>, IntakeError> {
        loop {
            // What is known to have ended is not asked again: the answer would take another turn of its connection.
            if self.body.is_end_stream() {
                return Ok(None);
            }
            let patience = self.patience();
            let wait = Wait {
                clock: &mut self.clock,
                began: Instant::now(),
            };
            let until = wait.began + patience;
            let frame = timeout_at(until.into(), self.body.frame()).await;
            drop(wait);
            let Ok(frame) = frame else {
                return Err(IntakeError::Refused(self.too_slow()));
            };
            let Some(frame) = frame else { return Ok(None) };
            let frame = frame.map_err(|error| self.broken(&error))?;
            // Trailers are of no use here.
            let Ok(data) = frame.into_data() else {
                continue;
            };
            if data.is_empty() {
                continue;
            }
            self.clock.silent = Duration::ZERO;
            self.received = self.received.saturating_add(data.len() as u64);
            if self.received > self.limits.body_bytes_max {
                return Err(IntakeError::Refused(too_large(
                    self.limits.body_bytes_max,
                    None,
                )));
            }
            return Ok(Some(data));
        }
    }

    /// Bytes so far.
    #[must_use]
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Time spent waiting for bytes so far.
    #[must_use]
    pub const fn waited(&self) -> Duration {
        self.clock.waited
    }

    /// When it was last waited for.
    #[must_use]
    pub const fn last_waited(&self) -> Option<Instant> {
        self.clock.last
    }

    /// How long the next bytes may take: the idle limit, or what the least rate leaves.
    fn patience(&self) -> Duration {
        let rate = self.limits.body_bytes_per_second_min.max(1);
        let earned = self.limits.body_grace + Duration::from_secs(self.received / rate);
        let idle = self.limits.body_idle.saturating_sub(self.clock.silent);
        idle.min(earned.saturating_sub(self.clock.waited))
    }

    fn broken(&self, error: &axum::Error) -> IntakeError {
        if let Some(mismatch) = DigestMismatch::behind(error) {
            let problem = Problem::new(ProblemKind::DigestMismatch, mismatch.to_string());
            return IntakeError::Refused(problem);
        }
        let received = self.received;
        if is_hang_up(error) {
            return IntakeError::HungUp(Problem::invalid_option(format!(
                "the body broke off after {received} bytes; send it again"
            )));
        }
        IntakeError::Refused(Problem::invalid_option(format!(
            "the body is not framed as HTTP prescribes, after {received} bytes; send it again"
        )))
    }

    fn too_slow(&self) -> Problem {
        Problem::new(
            ProblemKind::TooSlow,
            format!(
                "{} bytes of the body came in {:.1} s: expected the next within {} s and {} bytes a second on average after \
                 the first {} s; send it without pauses",
                self.received,
                self.clock.waited.as_secs_f64(),
                self.limits.body_idle.as_secs(),
                self.limits.body_bytes_per_second_min,
                self.limits.body_grace.as_secs(),
            ),
        )
    }
}

/// Whether a body ended because its caller did: the connection's end came before its own, or the stream was reset.
fn is_hang_up(error: &(dyn Error + 'static)) -> bool {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::NotConnected
                    | io::ErrorKind::TimedOut
            );
        }
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            return error.is_io() || error.is_remote();
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>()
            && (error.is_incomplete_message() || error.is_body_write_aborted())
        {
            return true;
        }
        source = error.source();
    }
    false
}

/// The refusal of a body beyond `max` bytes.
#[must_use]
pub fn too_large(max: u64, announced: Option<u64>) -> Problem {
    let came = announced.map_or_else(
        || "more came".to_owned(),
        |length| format!("Content-Length says {length}"),
    );
    Problem::new(
        ProblemKind::TooLarge,
        format!("a body has at most {max} bytes, {came}; split the data"),
    )
    .with("body_bytes_max", max)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use http_body::{Body as HttpBody, Frame};

    use super::super::body::BodyError;
    use super::*;

    #[tokio::test]
    async fn a_silent_body_is_too_slow() {
        struct Silent;
        impl HttpBody for Silent {
            type Data = Bytes;
            type Error = BodyError;
            fn poll_frame(
                self: Pin<&mut Self>,
                _: &mut Context<'_>,
            ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
                Poll::Pending
            }
        }
        let mut intake = Intake::new(
            Body::new(Silent),
            HttpLimits {
                body_idle: Duration::from_millis(1),
                ..HttpLimits::default()
            },
        );
        let error = intake.next().await.expect_err("silent");
        assert!(
            matches!(&error, IntakeError::Refused(problem) if problem.kind() == ProblemKind::TooSlow),
            "{error:?}"
        );
    }
}
