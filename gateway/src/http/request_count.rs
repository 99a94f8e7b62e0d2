//! A request of a kernel, counted once: in the metrics, among what is remembered, and as spans of its phases.
//!
//! Invariant: whatever becomes of it, it is counted, and once; whose caller hung up without anybody's saying so is
//! `cancelled`, and `draining` where it was the gateway that broke it off. It knows no bodies.

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use super::answer::Progress;
use super::app::App;
use super::ended::Ended;
use super::invocation::Invocation;
use super::phase_spans;
use crate::admission::AdmissionPermit;
use crate::error::{Problem, ProblemKind};
use crate::limit_met::LimitsMet;
use crate::meter::{self, Meter};
use crate::metrics::{RequestEnd, TraceName};
use crate::tenants::Tenant;

/// Its caller went away.
pub(super) const CANCELLED: &str = "cancelled";

/// See the module's head.
pub(super) struct RequestCount {
    app: App,
    tenant: Arc<Tenant>,
    kernel: &'static str,
    invocation: Invocation,
    ended: bool,
}

/// How a request ended.
pub(super) struct End<'a> {
    /// `ok`, the name of a problem, or `cancelled` and the like.
    pub(super) outcome: &'static str,
    /// What is said of a failure.
    pub(super) detail: Option<&'a str>,
    /// When.
    pub(super) at: Instant,
    /// Its permit, where it was admitted.
    pub(super) permit: Option<&'a AdmissionPermit>,
}

impl RequestCount {
    /// Of a request of `kernel`.
    pub(super) fn new(
        app: &App,
        invocation: Invocation,
        tenant: &Arc<Tenant>,
        kernel: &'static str,
    ) -> Self {
        Self {
            app: app.clone(),
            tenant: Arc::clone(tenant),
            kernel,
            invocation,
            ended: false,
        }
    }

    /// What it is counted as that ends so: no caller has cancelled what a drain broke off.
    pub(super) fn outcome(&self, outcome: &'static str) -> &'static str {
        match outcome == CANCELLED && self.app.admission.is_drain_over() {
            true => ProblemKind::Draining.name(),
            false => outcome,
        }
    }

    /// What is known of it while it goes on, or at its end.
    pub(super) fn known(&self, progress: Progress, end: &End<'_>, is_over: bool) -> Ended {
        let meter = end.permit.map(AdmissionPermit::meter);
        let verify = match is_over && end.outcome == "ok" {
            true => self.app.verify.done(),
            false => self.app.verify.planned(),
        };
        Ended {
            id: self.invocation.id,
            tenant: Some(self.tenant.id.clone()),
            kernel: self.kernel,
            front: self.invocation.front,
            outcome: is_over.then_some(end.outcome),
            detail: end.detail.map(Ended::detail),
            verify,
            bytes_in: progress.bytes_in,
            bytes_out: progress.bytes_out,
            engines: progress.engines,
            spent: progress.spent,
            began: self.invocation.began,
            answered: progress.answered,
            total: end.at.saturating_duration_since(self.invocation.began),
            cost: meter.map_or_else(meter::Spent::default, Meter::spent),
            limits: meter.map_or_else(LimitsMet::default, Meter::limits),
            faults: meter.map_or_else(Vec::new, Meter::faults),
            trace: self.invocation.trace.map(|trace| trace.trace),
        }
    }

    /// It has ended; what is known of it.
    pub(super) fn end(&mut self, progress: &mut Progress, end: &End<'_>) -> Option<Ended> {
        if mem::replace(&mut self.ended, true) {
            return None;
        }
        let metrics = &self.app.metrics;
        if end.outcome == "ok" {
            metrics.bytes(progress.bytes_in, progress.bytes_out);
        }
        let trace = self.invocation.trace.filter(|trace| trace.is_sampled());
        let total = end.at.saturating_duration_since(self.invocation.began);
        let times = progress.spent.observed(total);
        metrics.request_phases(times, trace.map(|trace| TraceName(trace.trace)));
        self.count(progress.engines.label(), end.outcome);
        let ended = self.known(mem::take(progress), end, true);
        if let (Some(telemetry), Some(trace)) = (&self.app.telemetry, trace) {
            phase_spans::send(telemetry, trace, &ended);
        }
        Some(ended)
    }

    /// It was refused before anything was done.
    pub(super) fn refused(&mut self, problem: &Problem) {
        let end = End {
            outcome: problem.kind().name(),
            detail: Some(problem.detail()),
            at: Instant::now(),
            permit: None,
        };
        let ended = self.end(&mut Progress::default(), &end);
        if let Some(ended) = ended {
            self.app.invocations.ended(ended);
        }
    }

    fn count(&self, backend: &'static str, outcome: &'static str) {
        self.app.metrics.request_end(RequestEnd {
            tenant: self.tenant.id.as_str(),
            kernel: self.kernel,
            backend,
            outcome,
        });
    }
}

impl Drop for RequestCount {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let outcome = self.outcome(CANCELLED);
        self.count("none", outcome);
        let end = End {
            outcome,
            detail: None,
            at: Instant::now(),
            permit: None,
        };
        let ended = self.known(Progress::default(), &end, true);
        self.app.invocations.ended(ended);
    }
}
