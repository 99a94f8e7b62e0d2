//! A front's calls, carried out by a gateway elsewhere.
//!
//! Owns the connections to it and what comes back over them. Invariants: a gateway's problem comes back as the same problem,
//! by its name; a gateway that cannot be reached is a problem of the moment; every wait has a limit, and so has the number of
//! calls and of connections that are kept. A call is made again, once, where a connection that was kept for it turns out to be
//! closed, where it may be charged twice, for what it made is lost. It knows no platform.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use faam_gateway::error::{Problem, ProblemKind};
use faam_gateway::fronts::call::{Answer, Call, Hold};
use faam_gateway::fronts::function::Function;
use faam_gateway::fronts::invoker::{Invoked, Invoker, Readiness};
use faam_gateway::http::invocation::{FAAM_INVOCATION_ID, Invocation};
use faam_gateway::http::options::DEADLINE_MS_MAX;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::http::Response;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};

use super::call::{CallError, Caller, Link, Outgoing, Refusal};

/// Calls at once.
const CALLS_MAX: usize = 256;
/// Connections that are kept for later calls.
const IDLE_LINKS_MAX: usize = 32;
/// How long one is kept that is not used: who stands in between may have forgotten it by then, and says nothing.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a call waits until one of [`CALLS_MAX`] has ended.
const PLACE_MAX: Duration = Duration::from_secs(10);
/// How long a connection that was kept may take to say that it is open.
const OPEN_MAX: Duration = Duration::from_millis(100);
/// How long a call without a deadline may take; one with a deadline has [`GRACE`] beyond it, for the gateway's own word.
const CALL_MAX: Duration = Duration::from_millis(DEADLINE_MS_MAX);
const GRACE: Duration = Duration::from_secs(2);
/// How long the next piece of an answer may take, once it has begun.
const PIECE_MAX: Duration = Duration::from_secs(60);
/// Memory of all answers that have not left yet, in units.
const ANSWERS_BYTES: usize = 256 << 20;
/// What that is counted in, and what an answer takes at first and as it grows.
const ANSWER_UNIT_BYTES: usize = 64 << 10;
/// How long an answer waits for room: who asks one thing after another has its last answer a moment before the memory of that is
/// given back.
const ROOM_MAX: Duration = Duration::from_millis(500);
/// How often it looks. It does not stand in line: who needs much would take all that there is from those who need little.
const ROOM_AGAIN: Duration = Duration::from_millis(5);
/// How often it is asked why an answer broke off, and at what distance.
const FACTS_ASKED_MAX: usize = 10;
const FACTS_AGAIN: Duration = Duration::from_millis(50);
/// How long the gateway may take to say that it is there.
const READY_MAX: Duration = Duration::from_secs(2);
/// When a gateway that cannot be reached is worth another try.
const COME_BACK: Duration = Duration::from_secs(1);

/// See the module's head.
pub(crate) struct Forward {
    caller: Caller,
    /// Each with the moment since when it is not used.
    idle: Mutex<Vec<(Link, Instant)>>,
    places: Semaphore,
    /// In units: what answers hold until they have left.
    room: Arc<Semaphore>,
}

impl Forward {
    /// Calls go to `caller`'s gateway.
    pub(crate) fn new(caller: Caller) -> Self {
        Self {
            caller,
            idle: Mutex::new(Vec::new()),
            places: Semaphore::new(CALLS_MAX),
            room: Arc::new(Semaphore::new(ANSWERS_BYTES / ANSWER_UNIT_BYTES)),
        }
    }

    async fn carry(&self, invocation: Invocation, call: Call) -> Result<Answer, Problem> {
        let asked = call.options.deadline_ms.as_deref();
        let asked = asked.and_then(|text| text.parse().ok());
        let limit = asked.map_or(CALL_MAX, |ms| Duration::from_millis(ms).min(CALL_MAX));
        let carried = timeout(
            limit.saturating_add(GRACE),
            self.carry_patiently(invocation, call),
        );
        carried.await.unwrap_or_else(|_| {
            Err(Problem::new(
                ProblemKind::Deadline,
                format!(
                    "the gateway at {} has not answered within {} ms; send a larger deadline or less data",
                    self.caller.endpoint(),
                    limit.as_millis()
                ),
            ))
        })
    }

    async fn carry_patiently(&self, invocation: Invocation, call: Call) -> Result<Answer, Problem> {
        let _place = self.place().await?;
        let path = path(&call);
        let headers = headers(invocation, &call);
        let post = async |link: &mut Link| {
            let body = Outgoing::Whole(Some(call.input.clone()));
            link.post(&path, &headers, body).await
        };
        let (mut link, kept) = self.link().await?;
        let response = match post(&mut link).await {
            // Closed by the gateway while nothing was said on it.
            Err(CallError::Broken { .. }) if kept => {
                link = self
                    .caller
                    .link()
                    .await
                    .map_err(|error| self.problem(error))?;
                post(&mut link).await
            }
            response => response,
        };
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                if matches!(error, CallError::Refused(_)) {
                    self.keep(link);
                }
                return Err(self.problem(error));
            }
        };
        let answer = self.answer(response, &call).await?;
        self.keep(link);
        Ok(answer)
    }

    async fn place(&self) -> Result<SemaphorePermit<'_>, Problem> {
        match timeout(PLACE_MAX, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(Problem::new(
                ProblemKind::Saturated,
                format!("{CALLS_MAX} calls are on their way to the gateway: expected one of them to end; come back later"),
            )
            .come_back_after(COME_BACK)),
        }
    }

    /// A connection, and whether it was kept from an earlier call.
    async fn link(&self) -> Result<(Link, bool), Problem> {
        loop {
            let kept = self.idle.lock().pop();
            let Some((mut link, since)) = kept else { break };
            if since.elapsed() > IDLE_MAX {
                continue;
            }
            if timeout(OPEN_MAX, link.opened()).await == Ok(true) {
                return Ok((link, true));
            }
        }
        let link = self.caller.link().await;
        Ok((link.map_err(|error| self.problem(error))?, false))
    }

    fn keep(&self, link: Link) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_LINKS_MAX {
            idle.push((link, Instant::now()));
        }
    }

    /// All of an answer.
    async fn answer(&self, response: Response<Incoming>, call: &Call) -> Result<Answer, Problem> {
        let (mut head, mut body) = response.into_parts();
        let mut output = BytesMut::new();
        let mut room = self.room_of(1).await?;
        loop {
            let Ok(piece) = timeout(PIECE_MAX, body.frame()).await else {
                let what = format!("has sent nothing more for {} s", PIECE_MAX.as_secs());
                return Err(self.gone(&what));
            };
            let piece = match piece {
                None => break,
                Some(Ok(piece)) => piece,
                Some(Err(_)) => {
                    let id = head.headers.get(FAAM_INVOCATION_ID);
                    return Err(self.torn(id.and_then(|id| id.to_str().ok())).await);
                }
            };
            match piece.into_data() {
                Ok(data) if output.len().saturating_add(data.len()) > call.output_bytes_max => {
                    return Err(Problem::new(
                        ProblemKind::TooLarge,
                        format!(
                            "the result is longer than {} bytes, the most that this way of calling carries; send less data, or \
                             call the gateway itself",
                            call.output_bytes_max
                        ),
                    ));
                }
                Ok(data) => {
                    let units = (output.len() + data.len()).div_ceil(ANSWER_UNIT_BYTES);
                    // A buffer that grows doubles.
                    if units > room.num_permits() {
                        let more = units.max(2 * room.num_permits()) - room.num_permits();
                        room.merge(self.room_of(more).await?);
                    }
                    output.extend_from_slice(&data);
                }
                // Final values of what the headers announced.
                Err(piece) => {
                    if let Ok(trailers) = piece.into_trailers() {
                        head.headers.extend(trailers);
                    }
                }
            }
        }
        let leaving = call.leaving_bytes(output.len());
        let needed = room.num_permits() * ANSWER_UNIT_BYTES + leaving;
        if needed > ANSWERS_BYTES {
            return Err(Problem::new(
                ProblemKind::TooLarge,
                format!(
                    "the result has {} bytes, and with the answer that is made of it takes {needed} bytes of memory here: expected \
                     {ANSWERS_BYTES} at most; send less data, or call the gateway itself",
                    output.len()
                ),
            ));
        }
        let leaving = leaving.div_ceil(ANSWER_UNIT_BYTES);
        room.merge(self.room_of(leaving).await?);
        Ok(Answer {
            output: output.freeze(),
            bytes_in: u64::try_from(call.input.len()).unwrap_or(u64::MAX),
            headers: head.headers,
            hold: Hold::of_room(room),
        })
    }

    /// Room for so many units of answers, once there is.
    async fn room_of(&self, units: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let until = Instant::now() + ROOM_MAX;
        loop {
            if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(units) {
                return Ok(room);
            }
            if Instant::now() >= until {
                break;
            }
            sleep(ROOM_AGAIN).await;
        }
        Err(Problem::new(
            ProblemKind::Saturated,
            format!(
                "answers that have not left yet hold {ANSWERS_BYTES} bytes: expected some of them to leave; send the request \
                 again after Retry-After"
            ),
        )
        .come_back_after(COME_BACK))
    }

    /// Why an answer ended in its middle, as the gateway remembers it.
    async fn torn(&self, id: Option<&str>) -> Problem {
        let remembered = async {
            let id = id.filter(|id| {
                id.bytes()
                    .all(|byte| byte.is_ascii_hexdigit() || byte == b'-')
            })?;
            let mut link = self.caller.link().await.ok()?;
            for _ in 0..FACTS_ASKED_MAX {
                let facts = link.get_json(&format!("/v1/invocations/{id}")).await?;
                // A connection may break sooner than what broke it is written down.
                if facts["state"] == "running" {
                    sleep(FACTS_AGAIN).await;
                    continue;
                }
                let kind = ProblemKind::named(facts["problem"].as_str()?)?;
                let detail = facts["detail"].as_str();
                return Some(Problem::new(
                    kind,
                    detail.unwrap_or("the gateway ended the answer"),
                ));
            }
            None
        };
        match remembered.await {
            Some(problem) => problem,
            None => self.gone("broke off in the middle of its answer"),
        }
    }

    fn problem(&self, error: CallError) -> Problem {
        match error {
            CallError::Refused(refusal) => self.refused(&refusal),
            CallError::Connect(error) => self.gone(&format!("cannot be reached ({error})")),
            CallError::Broken { when, .. } => self.gone(&format!("broke the connection {when}")),
            CallError::Head(text) => Problem::invalid_option(format!(
                "{text:?} cannot stand in a request's head: expected visible ASCII characters; correct the option"
            )),
        }
    }

    fn refused(&self, refusal: &Refusal) -> Problem {
        let known = refusal.kind.as_deref().and_then(ProblemKind::named);
        // What stands before it says so in nobody's words but HTTP's (RFC 9110, 15.5.14, 15.6.3 and 15.6.5).
        let known = known.or((refusal.status == 413).then_some(ProblemKind::TooLarge));
        let problem = match known {
            Some(kind) => Problem::new(kind, refusal.detail.clone()),
            // Something that stands before it.
            None if refusal.is_for_now() || matches!(refusal.status, 502 | 504) => {
                return self.gone(&format!("is not served: {refusal}"));
            }
            None => Problem::internal(&format!("{}: {refusal}", self.caller.endpoint())),
        };
        match refusal.retry_after {
            Some(wait) => problem.come_back_after(wait),
            None => problem,
        }
    }

    /// The gateway is not there, for now.
    fn gone(&self, what: &str) -> Problem {
        let detail = format!(
            "the gateway at {} {what}: expected it to serve; send the request again after Retry-After",
            self.caller.endpoint()
        );
        Problem::new(ProblemKind::Draining, detail).come_back_after(COME_BACK)
    }

    async fn is_there(&self) -> Result<(), Problem> {
        let asked = async {
            let (mut link, _) = self.link().await?;
            let status = link.status("/healthz").await;
            match status {
                Some(200) => {
                    self.keep(link);
                    Ok(())
                }
                Some(status) => Err(self.gone(&format!("says {status} to GET /healthz"))),
                None => Err(self.gone("does not answer GET /healthz")),
            }
        };
        let asked = timeout(READY_MAX, asked).await;
        asked.unwrap_or_else(|_| Err(self.gone("does not answer in time")))
    }
}

impl Invoker for Forward {
    fn invoke(&self, invocation: Invocation, call: Call) -> Invoked<'_> {
        Box::pin(self.carry(invocation, call))
    }

    fn ready(&self) -> Readiness<'_> {
        Box::pin(self.is_there())
    }
}

/// The call's target.
fn path(call: &Call) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    let path = match call.function {
        Function::Compress(format) => {
            query.append_pair("format", format.name());
            "/v1/compress"
        }
        Function::Decompress(format) => {
            if let Some(format) = format {
                query.append_pair("format", format.name());
            }
            "/v1/decompress"
        }
    };
    if let Some(level) = &call.options.level {
        query.append_pair("level", level);
    }
    format!("{path}?{}", query.finish())
}

/// The call's options that are headers, and its place in its caller's trace.
fn headers(invocation: Invocation, call: &Call) -> Vec<(&'static str, String)> {
    let options = &call.options;
    let given = [
        ("faam-backend", &options.backend),
        ("faam-deadline-ms", &options.deadline_ms),
        ("faam-priority", &options.priority),
    ];
    let given = given
        .into_iter()
        .filter_map(|(name, value)| Some((name, value.as_deref()?.to_owned())));
    let trace = invocation.traceparent().map(|trace| ("traceparent", trace));
    given.chain(trace).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_waits_a_moment_for_the_room_of_the_last_one() {
        let endpoint = "http://127.0.0.1:1".parse().expect("an address");
        let forward = Forward::new(Caller::new(endpoint, None, String::new()));
        let all = ANSWERS_BYTES / ANSWER_UNIT_BYTES;
        let last = forward.room_of(all).await.expect("all of it is free");
        let (next, ()) = tokio::join!(forward.room_of(all / 2 + 1), async {
            // Its caller has it, and asks again.
            tokio::task::yield_now().await;
            drop(last);
        });
        let next = next.expect("what the last one held is free");
        // One that stays is not waited for long, and takes nothing from who needs less meanwhile.
        let (refused, less) = tokio::join!(forward.room_of(all / 2), forward.room_of(1));
        drop(less.expect("there is so much"));
        let refused = refused.expect_err("it is held");
        assert_eq!(refused.kind(), ProblemKind::Saturated);
        drop(next);
        assert!(forward.room_of(all).await.is_ok());
    }
}
