//! A request's body on its way into a handler: bounded in bytes and in time.
//!
//! Invariant: whoever waits for it ends, with bytes, with the body's end or with the reason why there are none. It knows
//! no compression.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http_body::Body as HttpBody;
use http_body_util::BodyExt;
use tokio::time::{sleep, timeout_at};

use super::digest::DigestMismatch;
use super::limits::HttpLimits;
use crate::admission::{AdmissionPermit, BODY_PACED_MAX};
use crate::error::{Problem, ProblemKind};
use crate::limit_met::LimitMet;

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
    permit: Arc<AdmissionPermit>,
    received: u64,
    clock: WaitClock,
    /// Bytes that have arrived and are not paid for yet at their tenant's rate.
    held: Option<Bytes>,
    unpaid: u64,
    paced: Duration,
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

/// A pause for a tenant's rate that counts until it is dropped, so also where it is given up.
struct Pause<'a> {
    paced: &'a mut Duration,
    began: Instant,
}

impl Drop for Pause<'_> {
    fn drop(&mut self) {
        *self.paced = self.paced.saturating_add(self.began.elapsed());
    }
}

impl Intake {
    /// Nothing is polled yet. What arrives is paid for by `permit`.
    #[must_use]
    pub fn new(body: Body, limits: HttpLimits, permit: Arc<AdmissionPermit>) -> Self {
        Self {
            body,
            limits,
            permit,
            received: 0,
            clock: WaitClock::default(),
            held: None,
            unpaid: 0,
            paced: Duration::ZERO,
        }
    }

    /// The next bytes; `None` at the end. May be dropped while it waits, and called again.
    ///
    /// # Errors
    /// [`IntakeError`]
    pub async fn next(&mut self) -> Result<Option<Bytes>, IntakeError> {
        loop {
            if self.held.is_some() {
                self.pay().await?;
                return Ok(self.held.take());
            }
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
            self.unpaid = self.permit.arrived(data.len() as u64);
            if self.unpaid == 0 {
                return Ok(Some(data));
            }
            self.held = Some(data);
        }
    }

    /// Waits until what is held is paid for: a body is slowed down to its tenant's rate, its caller by what we do not read.
    async fn pay(&mut self) -> Result<(), IntakeError> {
        while self.unpaid > 0 {
            let Some((rest, wait)) = self.permit.pay(self.unpaid) else {
                self.unpaid = 0;
                break;
            };
            self.unpaid = rest;
            self.permit.meter().met(LimitMet::ByteRate);
            if self.paced.saturating_add(wait) > BODY_PACED_MAX {
                let problem = Problem::new(
                    ProblemKind::OverRate,
                    format!(
                        "a body was slowed down to its tenant's rate (bytes_per_s) for {} s, and {} bytes of it have \
                         arrived: expected it within {} s of waiting; split the data, or have the operator raise the rate",
                        self.paced.as_secs(),
                        self.received,
                        BODY_PACED_MAX.as_secs(),
                    ),
                );
                return Err(IntakeError::Refused(problem.come_back_after(wait)));
            }
            let pause = Pause {
                paced: &mut self.paced,
                began: Instant::now(),
            };
            sleep(wait).await;
            drop(pause);
        }
        Ok(())
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

    /// Time for which bytes that had arrived waited for their tenant's rate.
    #[must_use]
    pub const fn paced(&self) -> Duration {
        self.paced
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
pub(crate) fn is_hang_up(error: &(dyn Error + 'static)) -> bool {
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
            && (error.is_incomplete_message()
                || error.is_body_write_aborted()
                || is_connections_end(error))
        {
            return true;
        }
        source = error.source();
    }
    false
}

/// Whether a body ended because its answer could not be written: all that hyper says of it then is this one text.
fn is_connections_end(error: &hyper::Error) -> bool {
    const TEXT: &str = "connection error";
    let cause = error.source();
    cause.is_some_and(|cause| !cause.is::<io::Error>() && cause.to_string() == TEXT)
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
    use crate::admission::clock::{Clock, SetClock};
    use crate::admission::{Admission, AdmissionLimits, Ask};
    use crate::tenants::{Tenant, TenantLimits};

    /// For a body of unknown length of a tenant with `bytes_per_s`, by a clock of its own.
    fn permit(bytes_per_s: Option<u64>) -> (Arc<AdmissionPermit>, Arc<SetClock>) {
        let clock = SetClock::at(0);
        let by = Clock::set(Arc::clone(&clock));
        let admission = Admission::with_clock(AdmissionLimits::default(), by);
        let tenant = Tenant::demo(TenantLimits {
            bytes_per_s,
            ..TenantLimits::default()
        });
        let admitted = admission.admit(&tenant, Ask::default());
        (Arc::new(admitted.expect("room")), clock)
    }

    struct Pieces(Vec<Bytes>);

    impl HttpBody for Pieces {
        type Data = Bytes;
        type Error = BodyError;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            Poll::Ready(self.0.pop().map(|piece| Ok(Frame::data(piece))))
        }
    }

    /// Has all of `pieces` arrive, and says how long that took.
    async fn arrives(pieces: Vec<Bytes>, bytes_per_s: Option<u64>) -> (usize, Duration) {
        let (permit, clock) = permit(bytes_per_s);
        let mut intake = Intake::new(Body::new(Pieces(pieces)), HttpLimits::default(), permit);
        let (mut arrived, mut took) = (0, Duration::ZERO);
        let step = Duration::from_millis(10);
        loop {
            // Given up and begun again over and over, as where blocks end meanwhile.
            tokio::select! {
                biased;
                next = intake.next() => match next.expect("paced, not refused") {
                    Some(data) => arrived += data.len(),
                    None => return (arrived, took),
                },
                () = sleep(step) => {
                    clock.pass(step, 0);
                    took += step;
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_beyond_its_tenants_rate_is_slowed_down_and_loses_nothing() {
        let pieces = || vec![Bytes::from(vec![7; 1500]); 10];
        assert_eq!(arrives(pieces(), None).await, (15_000, Duration::ZERO));
        // The first second's worth is there at once, a piece is larger than it.
        let (arrived, took) = arrives(pieces(), Some(1000)).await;
        assert_eq!(arrived, 15_000);
        let exact = Duration::from_secs(14);
        assert!(
            took >= exact && took <= exact + Duration::from_millis(20),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_slowed_down_for_ever() {
        let (permit, _clock) = permit(Some(1));
        let body = Body::new(Pieces(vec![Bytes::from(vec![7; 10_000_000])]));
        let mut intake = Intake::new(body, HttpLimits::default(), permit);
        // The clock stands still, so that nothing is ever paid; only time passes.
        intake.paced = BODY_PACED_MAX;
        let error = intake.next().await.expect_err("not for ever");
        assert!(
            matches!(&error, IntakeError::Refused(problem) if problem.kind() == ProblemKind::OverRate),
            "{error:?}"
        );
    }

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
            permit(None).0,
        );
        let error = intake.next().await.expect_err("silent");
        assert!(
            matches!(&error, IntakeError::Refused(problem) if problem.kind() == ProblemKind::TooSlow),
            "{error:?}"
        );
    }
}
