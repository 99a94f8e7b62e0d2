//! What is told of one request of a kernel: counted once, and kept for `GET /v1/invocations/{id}` where its answer was
//! streamed.
//!
//! Invariant: a request is `ok` once the connection has taken its answer's last byte, and not before; one whose caller
//! went away is `cancelled`, also where nobody says so. It knows no bodies.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;

use super::answer::Progress;
use super::app::App;
use super::chunked_body::Sent;
use super::delivery::Stop;
use super::invocation::Invocation;
use super::invocations::InvocationFacts;
use super::options::ServiceOptions;
use super::outflow::OutflowError;
use super::rate_limit;
use super::request_count::{CANCELLED, End, RequestCount};
use crate::admission::AdmissionPermit;
use crate::auth::Principal;
use crate::credentials::scopes::Scope;
use crate::error::{Problem, ProblemKind};
use crate::tenants::Tenant;
use crate::usage::account::Ended;
use crate::usage::tab::Closing;

/// What has become of a request so far, for whoever works on it and whoever reports on it.
pub(super) type SharedProgress = Arc<Mutex<Progress>>;

/// See the module's head.
pub(super) struct RequestRecord {
    pub(super) app: App,
    pub(super) invocation: Invocation,
    pub(super) tenant: Arc<Tenant>,
    /// By which credential, and on behalf of which namespace.
    pub(super) principal: Arc<Principal>,
    pub(super) progress: SharedProgress,
    count: RequestCount,
    /// Holds its meter and its tab; given back with the record at the latest.
    permit: Arc<AdmissionPermit>,
    /// `Repr-Digest` of a streamed answer, once it is made whole and where it is wanted.
    pub(super) repr_digest: Option<HeaderValue>,
    /// Whether facts are kept.
    streamed: bool,
}

impl Drop for RequestRecord {
    /// Nobody said how it ended: its caller went away.
    fn drop(&mut self) {
        if !self.permit.tab().is_closed() {
            self.close_tab(&self.progress.lock(), self.count.outcome(CANCELLED));
        }
    }
}

impl RequestRecord {
    /// Of a request whose credential is for the kernel, and that `admit` lets begin; it is counted where it does not as
    /// well.
    pub(super) fn begin<T>(
        app: App,
        invocation: Invocation,
        principal: Arc<Principal>,
        kernel: Scope,
        admit: impl FnOnce(&App, &Tenant) -> Result<(T, Arc<AdmissionPermit>), Problem>,
    ) -> Result<(Self, (T, Arc<AdmissionPermit>)), Problem> {
        let tenant = Arc::clone(&principal.tenant);
        let mut count = RequestCount::new(&app, invocation, &tenant, kernel.name());
        let allowed = principal.allow(kernel).map_err(Problem::from);
        let admitted = allowed.and_then(|()| admit(&app, &tenant));
        let account = app.usage.account(&tenant.id);
        let admitted = admitted.inspect_err(|problem| {
            count.refused(problem);
            account.end(&Ended::refused(
                &principal,
                kernel.name(),
                problem.outcome(),
            ));
        });
        let (options, permit) = admitted.map_err(|problem| app.advised(&tenant, problem))?;
        let tab = permit.tab();
        tab.open(account, Arc::clone(&principal), kernel.name());
        let progress = SharedProgress::default();
        progress.lock().spent.admit = invocation.began.elapsed();
        let record = Self {
            app,
            invocation,
            tenant,
            principal,
            progress,
            count,
            permit: Arc::clone(&permit),
            repr_digest: None,
            streamed: false,
        };
        Ok((record, (options, permit)))
    }

    /// It has begun: what is left of its tenant's limits goes with its answer.
    pub(super) fn admitted(&self, service: &ServiceOptions, headers: &mut HeaderMap) {
        rate_limit::tell(&self.app.admission, &self.tenant, headers);
        if let Some(reason) = service.fallback {
            self.progress.lock().engines.because(reason);
        }
    }

    /// Its answer begins before it is whole: facts are kept from here on.
    pub(super) fn streams(&mut self) {
        self.streamed = true;
        let progress = self.progress.lock().clone();
        let end = End {
            outcome: "ok",
            detail: None,
            at: Instant::now(),
            permit: Some(&self.permit),
        };
        let running = self.count.known(progress, &end, false);
        self.keep(InvocationFacts::of(&running), end.at);
    }

    /// The connection has taken all of its answer.
    pub(super) fn ok(self) {
        tracing::debug!(credential = %self.principal.credential, "sent");
        self.end("ok", None);
    }

    /// Its answer, of a length that was told, has left so.
    pub(super) fn sent(self, sent: Sent) {
        match sent {
            Sent::Whole => self.ok(),
            Sent::Late => self.broke_off(ProblemKind::Deadline.name(), None),
            Sent::Cut => self.broke_off(CANCELLED, None),
        }
    }

    /// Nothing of its answer has left: what the caller is told instead.
    pub(super) fn refuse(self, stop: Stop) -> Problem {
        let problem = match stop {
            Stop::Problem(problem) => problem,
            Stop::HungUp(problem) => problem.unheard(),
            Stop::Outflow(OutflowError::Full) => {
                self.app.metrics.stream_broken("spill-full");
                Problem::new(
                    ProblemKind::Version,
                    "this answer is longer than one that must be whole may be, and HTTP/1.0 cannot show that an answer \
                     broke off: expected HTTP/1.1 or HTTP/2 for it; have the proxy in between speak HTTP/1.1 (nginx: \
                     proxy_http_version 1.1), or split the data",
                )
            }
            Stop::Outflow(OutflowError::NoFile) => Problem::new(
                ProblemKind::Saturated,
                "this answer must be whole before it is sent (HTTP/1.0), and as many answers wait on disk as may \
                 (spill_files_max, spill_tenant_files_max); send the request again after Retry-After, or over HTTP/1.1",
            ),
            Stop::Outflow(OutflowError::NoMemory(refusal)) => refusal.into(),
            Stop::Outflow(error) => Problem::internal(&error.to_string()),
        };
        let problem = self.app.advised(&self.tenant, problem);
        self.end(problem.outcome(), Some(problem.detail().to_owned()));
        problem
    }

    /// Its answer broke off after its first byte.
    pub(super) fn broke_off(self, outcome: &'static str, detail: Option<String>) {
        let outcome = self.count.outcome(outcome);
        self.app.metrics.stream_broken(outcome);
        tracing::info!(outcome, detail, "an answer broke off after its first byte");
        self.end(outcome, detail);
    }

    /// It ended so: `ok`, the name of a problem, or `cancelled` and the like.
    pub(super) fn end(mut self, outcome: &'static str, detail: Option<String>) {
        let at = Instant::now();
        let outcome = self.count.outcome(outcome);
        // Whoever asks one thing after another is not in its own way.
        self.permit.leave();
        let ended = {
            let mut progress = self.progress.lock();
            let send = |from| at.saturating_duration_since(from);
            progress.spent.send = progress.answered.map_or(Duration::ZERO, send);
            // What its jobs still take is added all the same.
            self.close_tab(&progress, outcome);
            let end = End {
                outcome,
                detail: detail.as_deref(),
                at,
                permit: Some(&self.permit),
            };
            self.count.end(&mut progress, &end)
        };
        let Some(ended) = ended else {
            return;
        };
        if self.streamed {
            let digest = self.repr_digest.as_ref().filter(|_| outcome == "ok");
            let digest = digest.and_then(|digest| digest.to_str().ok());
            let facts = InvocationFacts {
                repr_digest: digest.map(str::to_owned),
                ..InvocationFacts::of(&ended)
            };
            self.keep(facts, at);
        }
        self.app.invocations.ended(ended);
    }

    fn close_tab(&self, progress: &Progress, outcome: &'static str) {
        self.permit.tab().close(Closing {
            backend: progress.engines.label(),
            outcome,
            bytes_in: progress.bytes_in,
            bytes_out: progress.bytes_out,
        });
    }

    fn keep(&self, facts: InvocationFacts, now: Instant) {
        self.app.invocations.keep(&self.tenant.id, facts, now);
    }
}
