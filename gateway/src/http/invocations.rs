//! What became of invocations: `GET /v1/invocations/{id}`.
//!
//! An answer that was sent whole said everything in its headers. One that was streamed could not, and not every client
//! shows trailers: its final facts are kept here for [`INVOCATION_KEPT`], for the tenant that made it and for nobody else,
//! bounded by [`INVOCATIONS_KEPT_MAX`]: beyond it the oldest are forgotten first. Of all others, refusals too, the last
//! ones are known as well (`super::ended`).

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Extension, State};
use parking_lot::Mutex;
use serde::Serialize;
use uuid::Uuid;

use super::app::App;
use super::ended::{Ended, EndedRings};
use super::openapi::{NotFoundProblems, TenantProblems};
use super::path_name::PathName;
use crate::error::{Problem, ProblemKind};
use crate::fault_met::FaultMet;
use crate::fronts::front_name::FrontName;
use crate::tenants::{Tenant, TenantId};
use crate::usage::billing::is_billable;

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
    /// The front that it came through: `lambda`, `openwhisk`, `knative`, `openfaas` or `azure`; absent for a call of ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub front: Option<&'static str>,
    /// `running`, `done`, or `failed`.
    #[schema(value_type = String)]
    pub state: &'static str,
    /// Why it failed, or was refused: the name of a problem, `cancelled` (the caller hung up) or `stalled` (it did not read).
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
    #[schema(value_type = Option<String>)]
    pub repr_digest: Option<String>,
    /// Its phases, in the order in which they begin: from when to when, and all of their time together.
    pub phases: Vec<PhaseFacts>,
    /// Milliseconds from its headers' end to its answer's, or so far.
    pub total_ms: f64,
    /// What it has cost.
    pub cost: CostFacts,
    /// Whether what it used is billed, by how it ended; absent while it goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub billable: Option<bool>,
    /// What held it up without ending it, by name.
    pub limits: Vec<LimitFacts>,
    /// Devices that failed while they had blocks of it in hand, how, and who did these instead.
    pub faults: Vec<FaultMet>,
}

/// A phase of an invocation.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct PhaseFacts {
    /// Its name, as in `Server-Timing`.
    #[schema(value_type = String)]
    pub phase: &'static str,
    /// When it began, milliseconds after the invocation did.
    pub from_ms: f64,
    /// When it had ended.
    pub to_ms: f64,
    /// All of its time: more than lies between where blocks ran side by side, less where it came with pauses.
    pub sum_ms: f64,
}

/// What an invocation has cost, so far as its work has ended.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
pub struct CostFacts {
    /// Time on cards, microseconds.
    pub device_us: u64,
    /// Time in queues, of all blocks.
    pub queue_us: u64,
    /// Time of CPU engines and of verification.
    pub cpu_us: u64,
    /// What is charged: time on the reference engine.
    pub reference_us: u64,
    /// Blocks that ran elsewhere than was wished.
    pub fallbacks: u64,
}

/// Something that held an invocation up.
#[derive(Clone, Copy, Debug, Serialize, utoipa::ToSchema)]
pub struct LimitFacts {
    /// Its name.
    #[schema(value_type = String)]
    pub name: &'static str,
    /// What it did.
    #[schema(value_type = String)]
    pub says: &'static str,
}

impl InvocationFacts {
    /// Of one that ended, or goes on.
    pub(super) fn of(ended: &Ended) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let phases = ended.spent.timeline(ended.began, ended.answered);
        let limits = ended.limits.iter().map(|limit| LimitFacts {
            name: limit.name(),
            says: limit.says(),
        });
        Self {
            id: ended.id,
            kernel: ended.kernel,
            front: ended.front.map(FrontName::name),
            state: match ended.outcome {
                None => "running",
                Some("ok") => "done",
                Some(_) => "failed",
            },
            problem: ended.outcome.filter(|outcome| *outcome != "ok"),
            detail: ended.detail.as_deref().map(str::to_owned),
            bytes_in: ended.bytes_in,
            bytes_out: ended.bytes_out,
            backend: ended.engines.header(),
            backend_reason: ended.engines.reasons(),
            verify: ended.verify,
            server_timing: ended.spent.header(ended.total),
            repr_digest: None,
            phases: phases
                .iter()
                .map(|phase| PhaseFacts {
                    phase: phase.phase,
                    from_ms: ms(phase.from),
                    to_ms: ms(phase.to),
                    sum_ms: ms(phase.sum),
                })
                .collect(),
            total_ms: ms(ended.total),
            cost: CostFacts {
                device_us: micros(ended.cost.device),
                queue_us: micros(ended.cost.queue),
                cpu_us: micros(ended.cost.cpu),
                reference_us: micros(ended.cost.reference),
                fallbacks: ended.cost.fallbacks,
            },
            billable: ended.outcome.map(is_billable),
            limits: limits.collect(),
            faults: ended.faults.clone(),
        }
    }
}

fn as_text<S: serde::Serializer>(id: &Uuid, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

/// See the module's head. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Invocations(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    streamed: Mutex<Kept>,
    ended: EndedRings,
}

/// An invocation as its operator sees it.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// Whose it was; `null` where that was not known.
    pub tenant: Option<String>,
    /// The trace that it stands in.
    pub trace: Option<String>,
    /// All else.
    #[serde(flatten)]
    pub facts: InvocationFacts,
}

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
        let mut kept = self.0.streamed.lock();
        kept.forget(now);
        kept.order.push_back((now, facts.id));
        let entry = Entry {
            owner: tenant.clone(),
            at: now,
            facts,
        };
        kept.facts.insert(entry.facts.id, entry);
    }

    /// Keeps what became of one whose answer was whole, or that was refused.
    pub fn ended(&self, ended: Ended) {
        self.0.ended.keep(ended);
    }

    /// The same of a request that was refused before anybody knew whose it was, unless it is known already.
    pub(super) fn refused(&self, refused: impl FnOnce() -> Ended, id: Uuid) {
        if self.0.ended.get(id).is_none() {
            self.0.ended.keep(refused());
        }
    }

    /// What is known of `id`, to the tenant that made it.
    #[must_use]
    pub fn get(&self, tenant: &TenantId, id: Uuid, now: Instant) -> Option<InvocationFacts> {
        let mut kept = self.0.streamed.lock();
        kept.forget(now);
        if let Some(entry) = kept.facts.get(&id) {
            return (entry.owner == *tenant).then(|| entry.facts.clone());
        }
        drop(kept);
        let ended = self.0.ended.get(id)?;
        (ended.tenant.as_ref() == Some(tenant)).then(|| InvocationFacts::of(&ended))
    }

    /// What is known of `id`, to an operator.
    #[must_use]
    pub fn explain(&self, id: Uuid, now: Instant) -> Option<Explained> {
        let mut kept = self.0.streamed.lock();
        kept.forget(now);
        let streamed = kept.facts.get(&id);
        let streamed = streamed.map(|entry| (entry.owner.clone(), entry.facts.clone()));
        drop(kept);
        let ended = self.0.ended.get(id);
        let trace = ended.as_ref().and_then(|ended| ended.trace);
        let (tenant, facts) = match (streamed, ended) {
            (Some((owner, facts)), _) => (Some(owner), facts),
            (None, ended) => {
                let ended = ended?;
                let facts = InvocationFacts::of(&ended);
                (ended.tenant, facts)
            }
        };
        Some(Explained {
            tenant: tenant.map(|tenant| tenant.to_string()),
            trace: trace.map(|trace| format!("{trace:032x}")),
            facts,
        })
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

/// What became of an invocation
///
/// For the tenant that made it. The facts of a streamed answer are kept for ten minutes; of answers that came whole, which
/// said everything in their headers, and of refusals, the last few thousand of the whole gateway are known.
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
                "no facts of such an invocation of yours: those of streamed answers are kept for {} minutes; of all others \
                 the last few thousand are; see its headers, or its problem's detail",
                INVOCATION_KEPT.as_secs() / 60
            ),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::ended::tests::ended;
    use super::*;

    fn facts(state: &'static str, id: Uuid) -> InvocationFacts {
        let outcome = (state != "running").then_some("ok");
        InvocationFacts::of(&ended(id, "ours", outcome))
    }

    #[test]
    fn whole_answers_and_refusals_are_their_tenants_and_their_operators() {
        let invocations = Invocations::default();
        let now = Instant::now();
        let (ours, theirs) = (TenantId::new("ours"), TenantId::new("theirs"));
        let (whole, nobodys) = (Uuid::now_v7(), Uuid::now_v7());
        invocations.ended(ended(whole, "ours", Some("ok")));
        let refused = || Ended {
            tenant: None,
            ..ended(nobodys, "", Some("no-credential"))
        };
        invocations.refused(refused, nobodys);
        let state = |tenant, id| invocations.get(tenant, id, now).map(|facts| facts.state);
        assert_eq!(state(&ours, whole), Some("done"));
        assert_eq!(state(&theirs, whole), None);
        assert_eq!(state(&ours, nobodys), None);
        let explained = invocations.explain(whole, now).expect("known");
        assert_eq!(explained.tenant.as_deref(), Some("ours"));
        let explained = invocations.explain(nobodys, now).expect("known");
        assert_eq!(
            (explained.tenant, explained.facts.problem),
            (None, Some("no-credential"))
        );
        // What its own tenant was told of it already is not told anew.
        let again = || Ended {
            tenant: None,
            ..ended(whole, "", Some("internal"))
        };
        invocations.refused(again, whole);
        assert_eq!(state(&ours, whole), Some("done"));
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
        let kept = invocations.0.streamed.lock();
        assert!(kept.order.len() <= 2 * INVOCATIONS_KEPT_MAX);
        assert_eq!(kept.facts.len(), kept.order.len());
    }
}
