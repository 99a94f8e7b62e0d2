//! A request's phases for a collector: a span each, below the request's own.
//!
//! Invariant: what is sent was measured; a phase without any time has no span. It knows no queue.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::SpanData;

use super::ended::Ended;
use super::trace_context::SpanName;
use super::traced::SCOPE;
use crate::telemetry::Telemetry;

/// Sends the phases of a request whose span is `parent`, and that ended just now.
pub(super) fn send(telemetry: &Telemetry, parent: SpanName, ended: &Ended) {
    if !parent.is_sampled() {
        return;
    }
    let now = SystemTime::now();
    let began = now.checked_sub(ended.total).unwrap_or(now);
    for phase in ended.spent.timeline(ended.began, ended.answered) {
        let name = parent.child();
        let at = |time: Duration| began.checked_add(time).unwrap_or(now);
        telemetry.send(SpanData {
            span_context: SpanContext::new(
                TraceId::from(name.trace),
                SpanId::from(name.span),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: SpanId::from(parent.span),
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name: phase.phase.into(),
            start_time: at(phase.from),
            end_time: at(phase.to),
            attributes: vec![
                KeyValue::new("faam.phase_ms", phase.sum.as_secs_f64() * 1e3),
                KeyValue::new("faam.invocation_id", ended.id.to_string()),
            ],
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::builder(SCOPE)
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        });
    }
}
