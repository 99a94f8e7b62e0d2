//! What became of invocations whose answers were streamed: `GET /v1/invocations/{id}`.
//!
//! An answer that was sent whole said everything in its headers. One that was streamed
//! could not, and not every client shows trailers: its final facts are kept here for
//! [`INVOCATION_KEPT`], for the tenant that made it and for nobody else. Bounded by
//! [`INVOCATIONS_KEPT_MAX`]: beyond it the oldest are forgotten first.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Extension, State};
use parking_lot::Mutex;
use serde::Serialize;
use uuid::Uuid;

use super::app::App;
use super::openapi::{NotFoundProblems, TenantProblems};
use super::path_name::PathName;
use crate::error::{Problem, ProblemKind};
use crate::tenants::{Tenant, TenantId};

/// How long final facts are kept.
pub const INVOCATION_KEPT: Duration = Duration::from_secs(600);
/// Invocations whose facts are kept: 100 streamed answers a second, for the whole time.
pub const INVOCATIONS_KEPT_MAX: usize = 60_000;

/// What is known of an invocation.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct InvocationFacts {
    /// Its id.
    #[serde(serialize_with = "as_text")]
    pub id: Uuid,
    /// `compress` or `decompress`.
    #[schema(value_type = String)]
    pub kernel: &'static str,
    /// `running`, `done`, or `failed`.
    #[schema(value_type = String)]
    pub state: &'static str,
    /// Why it failed: the name of a problem, `cancelled` (the caller hung up) or `stalled` (it did not read).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub problem: Option<&'static str>,
    /// What was expected, what came and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Bytes of the request's body, so far.
    pub bytes_in: u64,
    /// Bytes of the answer, so far.
    pub bytes_out: u64,
    /// `Faam-Backend`.
    pub backend: String,
    /// `Faam-Backend-Reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_reason: Option<String>,
    /// `Faam-Verify`.
    #[schema(value_type = String)]
    pub verify: &'static str,
    /// `Server-Timing`.
    pub server_timing: String,
    /// `Repr-Digest` of a whole answer, where it was wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repr_digest: Option<String>,
}

fn as_text<S: serde::Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// See the module's head. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Invocations(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    facts: HashMap<Uuid, Entry>,
    /// In the order of their keeping; an id that was kept again stands here twice, and goes with its second.
    order: VecDeque<(Instant, Uuid)>,
}

#[derive(Debug)]
struct Entry {
    owner: TenantId,
    at: Instant,
    facts: InvocationFacts,
}

impl Invocations {
    /// Keeps what is known now, in place of what was known before.
    pub fn keep(&self, tenant: &TenantId, facts: InvocationFacts, now: Instant) {
        let mut kept = self.0.lock();
        kept.forget(now);
        kept.order.push_back((now, facts.id));
        let entry = Entry {
            owner: tenant.clone(),
            at: now,
            facts,
        };
        kept.facts.insert(entry.facts.id, entry);
    }

    /// What is known of `id`, to the tenant that made it.
    #[must_use]
    pub fn get(&self, tenant: &TenantId, id: Uuid, now: Instant) -> Option<InvocationFacts> {
        let mut kept = self.0.lock();
        kept.forget(now);
        let entry = kept.facts.get(&id)?;
        (entry.owner == *tenant).then(|| entry.facts.clone())
    }
}

impl Kept {
    /// Forgets what is too old, and the oldest of too many.
    fn forget(&mut self, now: Instant) {
        // Each invocation is kept twice, running and ended.
        while let Some(&(at, id)) = self.order.front() {
            let old = now.saturating_duration_since(at) >= INVOCATION_KEPT;
            if !old && self.order.len() < 2 * INVOCATIONS_KEPT_MAX {
                return;
            }
            self.order.pop_front();
            if self.facts.get(&id).is_some_and(|entry| entry.at == at) {
                self.facts.remove(&id);
            }
        }
    }
}

/// What became of a streamed answer
///
/// Final facts are kept for ten minutes, for the tenant that made the request. An answer that came whole said everything
/// in its headers, and is not here.
#[utoipa::path(
    get, path = "/v1/invocations/{id}", tag = "kernels", security(("key" = [])),
    params(("id" = String, Path, description = "As in `Faam-Invocation-Id`")),
    responses(
        (status = 200, description = "The facts so far", body = InvocationFacts),
        NotFoundProblems,
        TenantProblems,
    )
)]
pub(super) async fn invocation(
    State(app): State<App>,
    Extension(tenant): Extension<Arc<Tenant>>,
    PathName(id): PathName,
) -> Result<Json<InvocationFacts>, Problem> {
    let known = Uuid::parse_str(&id)
        .ok()
        .and_then(|id| app.invocations.get(&tenant.id, id, Instant::now()));
    known.map(Json).ok_or_else(|| {
        Problem::new(
            ProblemKind::NotFound,
            format!(
                "no facts of such an invocation of yours: those of streamed answers are kept for {} minutes; an answer \
                 that came whole said everything in its headers",
                INVOCATION_KEPT.as_secs() / 60
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(state: &'static str, id: Uuid) -> InvocationFacts {
        InvocationFacts {
            id,
            kernel: "compress",
            state,
            problem: None,
            detail: None,
            bytes_in: 1,
            bytes_out: 2,
            backend: "cpu".to_owned(),
            backend_reason: None,
            verify: "ok",
            server_timing: String::new(),
            repr_digest: None,
        }
    }

    #[test]
    fn facts_are_their_tenants_alone_and_end_with_their_time() {
        let invocations = Invocations::default();
        let (ours, theirs) = (TenantId::new("ours"), TenantId::new("theirs"));
        let (id, began) = (Uuid::now_v7(), Instant::now());
        let state = |tenant, at| invocations.get(tenant, id, at).map(|facts| facts.state);
        invocations.keep(&ours, facts("running", id), began);
        assert_eq!(state(&ours, began), Some("running"));
        assert_eq!(state(&theirs, began), None);
        let ended = began + INVOCATION_KEPT / 2;
        invocations.keep(&ours, facts("done", id), ended);
        // The first keeping's time is up, the second's not.
        let last = ended + INVOCATION_KEPT - Duration::from_millis(1);
        assert_eq!(state(&ours, last), Some("done"));
        assert_eq!(state(&ours, ended + INVOCATION_KEPT), None);
    }

    #[test]
    fn the_oldest_of_too_many_are_forgotten() {
        let invocations = Invocations::default();
        let (tenant, now) = (TenantId::new("demo"), Instant::now());
        let first = Uuid::now_v7();
        invocations.keep(&tenant, facts("done", first), now);
        for _ in 0..2 * INVOCATIONS_KEPT_MAX {
            invocations.keep(&tenant, facts("done", Uuid::now_v7()), now);
        }
        assert!(invocations.get(&tenant, first, now).is_none());
        let kept = invocations.0.lock();
        assert!(kept.order.len() <= 2 * INVOCATIONS_KEPT_MAX);
        assert_eq!(kept.facts.len(), kept.order.len());
    }
}
