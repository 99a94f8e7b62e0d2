//! Bodies that a front has to hold whole before it knows what they ask for.
//!
//! Invariants: no body is longer than its platform's limit; all of them together take no more memory than
//! [`BODY_ROOM_BYTES`], and those of one holder, where a front tells its callers apart, no more than a part of it; who finds no
//! room is told to come back; a body that stops coming, or comes in drips, is not waited for. One that is to be hashed is as it
//! comes, also where it is not known yet who sends it. It knows no platform.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};

use super::call::Hold;
use crate::error::{Problem, ProblemKind};
use crate::http::intake::is_hang_up;

/// Memory of all bodies that a process holds whole at once.
pub const BODY_ROOM_BYTES: usize = 256 << 20;
/// How long the next piece of a body may take, and for how long at all one may come more slowly than the least rate.
const PIECE_MAX: Duration = Duration::from_secs(30);
/// Least rate of a body: who sends in drips would hold its room for nothing.
const BYTES_PER_SECOND_MIN: u64 = 16 << 10;
/// Room that a body takes at first that takes more as it grows.
const GROWTH_BYTES: usize = 64 << 10;
/// Bytes of a SHA-256.
const SHA256_BYTES: usize = 32;
/// What room is counted in.
const UNIT_BYTES: usize = 1 << 10;

/// What one holder may have of a room: a fourth.
const HOLDER_DIVISOR: usize = 4;

/// See the module's head.
#[derive(Debug)]
pub struct BodyRoom {
    units: Arc<Semaphore>,
    bytes: usize,
    /// Whether bodies of an announced length take their room as they come, as the others do.
    grows: bool,
    holders: Arc<Mutex<Holders>>,
}

/// Bytes by holder. Who holds nothing is not in it, so that it has no more entries than there are bodies.
type Holders = HashMap<Box<str>, usize>;

/// What a body holds.
#[derive(Debug)]
struct Taken {
    units: OwnedSemaphorePermit,
    /// Whose it is, where that is told apart.
    holder: Option<Box<str>>,
    bytes: usize,
    holders: Arc<Mutex<Holders>>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let Some(holder) = &self.holder else { return };
        let mut holders = self.holders.lock();
        if let Some(bytes) = holders.get_mut(holder) {
            *bytes = bytes.saturating_sub(self.bytes);
            if *bytes == 0 {
                holders.remove(holder);
            }
        }
    }
}

/// A body, and the room that is taken for it until this is dropped.
#[derive(Debug)]
pub struct HeldBody {
    /// The body.
    pub bytes: Bytes,
    _room: Taken,
}

impl HeldBody {
    /// Lets go of the bytes, once all is made of them that is needed; their room stays, for what was made.
    pub fn let_go(&mut self) {
        self.bytes = Bytes::new();
    }
}

/// Room that is held for what is no body of a request.
#[derive(Debug)]
pub struct HeldRoom<'r> {
    room: &'r BodyRoom,
    units: OwnedSemaphorePermit,
}

impl Default for BodyRoom {
    /// Of [`BODY_ROOM_BYTES`].
    fn default() -> Self {
        Self::of(BODY_ROOM_BYTES)
    }
}

impl BodyRoom {
    /// Of this many bytes.
    #[must_use]
    pub fn of(bytes: usize) -> Self {
        Self {
            units: Arc::new(Semaphore::new(bytes / UNIT_BYTES)),
            bytes,
            grows: false,
            holders: Arc::default(),
        }
    }

    /// Of this many bytes, which bodies take as they come: what is announced by whoever is not known yet takes nothing.
    #[must_use]
    pub fn growing(bytes: usize) -> Self {
        Self {
            grows: true,
            ..Self::of(bytes)
        }
    }

    /// The body, at home here from now on, as that of a holder.
    ///
    /// # Errors
    /// `saturated`, `too-many-in-flight`
    pub fn take_over(&self, holder: &str, body: HeldBody) -> Result<HeldBody, Problem> {
        let room = self.take(Some(holder), body.bytes.len())?;
        Ok(HeldBody {
            bytes: body.bytes,
            _room: room,
        })
    }

    /// Reads a body of at most `bytes_max`. Room is taken for all of it where its length is announced, else as it grows.
    ///
    /// # Errors
    /// `too-large`, `saturated`, `too-slow`; `invalid-option` where it is not framed as HTTP prescribes, or broke off.
    pub async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        bytes_max: usize,
    ) -> Result<HeldBody, Problem> {
        self.read_as(None, headers, body, bytes_max, |_| ()).await
    }

    /// The same of a holder's body, a tenant's or a peer's, whose bodies together take a fourth of the room at most.
    ///
    /// # Errors
    /// As [`BodyRoom::read`]; `too-many-in-flight` where the holder has its part.
    pub async fn read_for(
        &self,
        holder: &str,
        headers: &HeaderMap,
        body: Body,
        bytes_max: usize,
    ) -> Result<HeldBody, Problem> {
        self.read_as(Some(holder), headers, body, bytes_max, |_| ())
            .await
    }

    /// The same with the body's SHA-256, which is made while it comes: of a long body it would hold up a thread that serves,
    /// and its caller, for as long as the last bytes of it are here.
    ///
    /// # Errors
    /// As [`BodyRoom::read_for`].
    pub async fn read_hashed_for(
        &self,
        holder: &str,
        headers: &HeaderMap,
        body: Body,
        bytes_max: usize,
    ) -> Result<(HeldBody, [u8; SHA256_BYTES]), Problem> {
        let mut hash = Sha256::new();
        let held = self
            .read_as(Some(holder), headers, body, bytes_max, |piece| {
                hash.update(piece);
            })
            .await?;
        Ok((held, hash.finalize().into()))
    }

    async fn read_as(
        &self,
        holder: Option<&str>,
        headers: &HeaderMap,
        mut body: Body,
        bytes_max: usize,
        mut take: impl FnMut(&[u8]),
    ) -> Result<HeldBody, Problem> {
        let announced = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if let Some(length) = announced.filter(|length| *length > bytes_max) {
            return Err(too_large(length, bytes_max));
        }
        let at_most = announced.unwrap_or(bytes_max);
        let mut room_bytes = match announced {
            Some(length) if !self.grows => length,
            _ => GROWTH_BYTES.min(at_most),
        };
        let mut room = self.take(holder, room_bytes)?;
        let mut whole = BytesMut::with_capacity(room_bytes);
        let began = Instant::now();
        loop {
            let earned = PIECE_MAX + Duration::from_secs(whole.len() as u64 / BYTES_PER_SECOND_MIN);
            let patience = PIECE_MAX.min(earned.saturating_sub(began.elapsed()));
            let piece = timeout(patience, body.frame()).await.map_err(|_| {
                Problem::new(
                    ProblemKind::TooSlow,
                    format!(
                        "nothing of the body came for {} s, or less than {BYTES_PER_SECOND_MIN} bytes a second; send it \
                         without long pauses",
                        PIECE_MAX.as_secs()
                    ),
                )
            })?;
            let Some(piece) = piece else { break };
            let piece = piece.map_err(|error| broken(&error, whole.len()))?;
            let Ok(data) = piece.into_data() else {
                continue;
            };
            if whole.len().saturating_add(data.len()) > bytes_max {
                return Err(too_large(whole.len().saturating_add(data.len()), bytes_max));
            }
            let length = whole.len().saturating_add(data.len());
            if length > room_bytes {
                // A buffer that grows doubles.
                let grown = room_bytes.saturating_mul(2).min(at_most).max(length);
                let more = grown.saturating_sub(room_bytes);
                room.merge(self.take(holder, more)?);
                room_bytes = room_bytes.saturating_add(more);
            }
            take(&data);
            whole.extend_from_slice(&data);
        }
        Ok(HeldBody {
            bytes: whole.freeze(),
            _room: room,
        })
    }
}

impl HeldRoom<'_> {
    /// So many bytes more.
    ///
    /// # Errors
    /// `saturated`
    pub fn grow(&mut self, bytes: usize) -> Result<(), Problem> {
        self.units.merge(self.room.units(bytes)?);
        Ok(())
    }

    /// Gives back what is held beyond so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        let beyond = self
            .units
            .num_permits()
            .saturating_sub(bytes.div_ceil(UNIT_BYTES));
        drop(self.units.split(beyond));
    }

    /// `bytes` as a response's body, with a hold that ends once they have left.
    pub fn body_of(self, bytes: impl Into<Bytes>) -> Body {
        Hold::of_room(self.units).body_of(bytes)
    }
}

impl BodyRoom {
    /// Room for what is made here beside bodies.
    ///
    /// # Errors
    /// `saturated`
    pub fn hold(&self, bytes: usize) -> Result<HeldRoom<'_>, Problem> {
        let units = self.units(bytes)?;
        Ok(HeldRoom { room: self, units })
    }

    fn units(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX);
        Arc::clone(&self.units).try_acquire_many_owned(units).map_err(|_| {
            Problem::new(
                ProblemKind::Saturated,
                format!(
                    "no room for {bytes} bytes beside the bodies that are held ({} bytes in all); send the request again after \
                     Retry-After",
                    self.bytes
                ),
            )
            .come_back_after(Duration::from_secs(1))
        })
    }

    fn take(&self, holder: Option<&str>, bytes: usize) -> Result<Taken, Problem> {
        let units = self.units(bytes)?;
        let mut taken = Taken {
            units,
            holder: None,
            bytes,
            holders: Arc::clone(&self.holders),
        };
        if let Some(holder) = holder {
            let bytes_max = self.bytes / HOLDER_DIVISOR;
            let mut holders = self.holders.lock();
            let held = holders.get(holder).copied().unwrap_or_default();
            if held.saturating_add(bytes) > bytes_max {
                return Err(Problem::new(
                    ProblemKind::TooManyInFlight,
                    format!(
                        "this caller's bodies hold {held} bytes, and {bytes} came besides: expected at most {bytes_max} at once; \
                         send the request again after Retry-After"
                    ),
                )
                .come_back_after(Duration::from_secs(1)));
            }
            holders.insert(holder.into(), held.saturating_add(bytes));
            drop(holders);
            taken.holder = Some(holder.into());
        }
        Ok(taken)
    }
}

impl Taken {
    /// The same holder's, together.
    fn merge(&mut self, mut other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        other.bytes = 0;
        if let Some(units) = other.units.split(other.units.num_permits()) {
            self.units.merge(units);
        }
    }
}

/// Why a body did not come to its end.
fn broken(error: &axum::Error, received: usize) -> Problem {
    if is_hang_up(error) {
        return Problem::invalid_option(format!(
            "the body broke off after {received} bytes; send the request again"
        ))
        .unheard();
    }
    Problem::invalid_option(format!(
        "the body is not framed as HTTP prescribes, after {received} bytes; send the request again"
    ))
}

fn too_large(came: usize, bytes_max: usize) -> Problem {
    Problem::new(
        ProblemKind::TooLarge,
        format!(
            "a payload of {came} bytes or more: expected at most {bytes_max}, what this way of calling carries; send less, or \
             use POST /v1/compress"
        ),
    )
}

#[cfg(test)]
mod tests;
