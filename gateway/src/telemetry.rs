//! Spans on their way to a collector: OTLP over HTTP, in protobuf.
//!
//! Invariants: a request never waits for it: what finds [`SPANS_QUEUED_MAX`] spans before it is dropped and counted;
//! at the end what is queued is sent within a limit. Where no collector is named, none of this exists. It knows no HTTP of
//! ours and no trace context.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::{Key, KeyValue};
use opentelemetry_otlp::{
    ExporterBuildError, Protocol, SpanExporter as OtlpExporter, WithExportConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanExporter, SpanProcessor,
};
use thiserror::Error;

use crate::metrics::Metrics;

/// Spans that wait to be sent.
pub const SPANS_QUEUED_MAX: usize = 2048;
/// Spans of one message to the collector.
pub const SPANS_SENT_AT_ONCE_MAX: usize = 512;
/// How long a span waits for others to be sent with.
pub const SPAN_WAIT: Duration = Duration::from_secs(1);
/// How long a message to the collector may take.
pub const EXPORT_MAX: Duration = Duration::from_secs(5);
/// How long the last messages may take at the end.
pub const FLUSH_MAX: Duration = Duration::from_secs(3);
/// Where a collector takes traces, below its base (OTLP 1.x, "OTLP/HTTP Request").
const TRACES_PATH: &str = "/v1/traces";

/// Why spans cannot be exported.
#[derive(Debug, Error)]
pub enum TelemetryError {
    /// An endpoint that is not taken.
    #[error(
        "OTLP endpoint {endpoint:?}: expected http://HOST:PORT, a collector's base; correct --otlp-endpoint"
    )]
    Endpoint {
        /// What came.
        endpoint: String,
    },
    /// A collector that is to be spoken to over TLS.
    #[error(
        "OTLP endpoint {endpoint:?}: expected http://, got https://, which this gateway does not speak to a collector; run an \
         OpenTelemetry Collector on this host that sends spans on over TLS, and name it: --otlp-endpoint http://127.0.0.1:4318"
    )]
    Tls {
        /// What came.
        endpoint: String,
    },
    /// An exporter that cannot be made.
    #[error("cannot export spans to {endpoint}; correct --otlp-endpoint, or leave it out")]
    Exporter {
        /// Where to.
        endpoint: String,
        /// Why not.
        #[source]
        source: ExporterBuildError,
    },
}

/// Sends spans.
#[derive(Debug)]
pub struct Telemetry {
    processor: BatchSpanProcessor,
    queued: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

impl Telemetry {
    /// To the collector at `endpoint`, its base as in `OTEL_EXPORTER_OTLP_ENDPOINT`. A thread of its own sends; nothing
    /// is connected to yet.
    ///
    /// # Errors
    /// [`TelemetryError`]
    pub fn start(endpoint: &str, metrics: Arc<Metrics>) -> Result<Self, TelemetryError> {
        let url = traces_url(endpoint)?;
        let exporter = OtlpExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&url)
            .with_timeout(EXPORT_MAX)
            .build()
            .map_err(|source| TelemetryError::Exporter {
                endpoint: url,
                source,
            })?;
        Ok(Self::with_exporter(exporter, metrics))
    }

    fn with_exporter(exporter: impl SpanExporter + 'static, metrics: Arc<Metrics>) -> Self {
        let queued = Arc::new(AtomicUsize::new(0));
        let counted = CountedExporter {
            exporter,
            queued: Arc::clone(&queued),
            metrics: Arc::clone(&metrics),
        };
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(SPANS_QUEUED_MAX)
            .with_max_export_batch_size(SPANS_SENT_AT_ONCE_MAX)
            .with_scheduled_delay(SPAN_WAIT)
            .build();
        let mut processor = BatchSpanProcessor::builder(counted)
            .with_batch_config(config)
            .build();
        processor.set_resource(&resource());
        Self {
            processor,
            queued,
            metrics,
        }
    }

    /// Queues a span that has ended, or drops it where the queue is full.
    pub fn send(&self, span: SpanData) {
        if self.queued.fetch_add(1, Ordering::AcqRel) >= SPANS_QUEUED_MAX {
            self.queued.fetch_sub(1, Ordering::AcqRel);
            self.metrics.spans("dropped", 1);
            return;
        }
        self.processor.on_end(span);
    }

    /// Sends what is queued, within [`FLUSH_MAX`].
    pub fn stop(&self) {
        if let Err(error) = self.processor.shutdown_with_timeout(FLUSH_MAX) {
            tracing::warn!(%error, "not every span was sent before the end");
        }
    }
}

/// Who sends spans: what OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME say, and where they say nothing, our own name.
fn resource() -> Resource {
    let builder = || {
        Resource::builder()
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
    };
    let resource = builder().build();
    let name = resource.get(&Key::from_static_str("service.name"));
    // As the library has it where nobody named one (OpenTelemetry's resource conventions, `service.name`).
    if name.is_some_and(|name| !name.as_str().starts_with("unknown_service")) {
        return resource;
    }
    builder().with_service_name("faam").build()
}

/// Where a collector of this base takes traces.
///
/// # Errors
/// [`TelemetryError::Endpoint`], [`TelemetryError::Tls`]
pub fn traces_url(endpoint: &str) -> Result<String, TelemetryError> {
    let base = endpoint.trim_end_matches('/');
    if base.starts_with("https://") {
        return Err(TelemetryError::Tls {
            endpoint: endpoint.to_owned(),
        });
    }
    let is_http = base
        .strip_prefix("http://")
        .is_some_and(|rest| !rest.is_empty() && !rest.contains([' ', '?', '#']));
    if !is_http {
        return Err(TelemetryError::Endpoint {
            endpoint: endpoint.to_owned(),
        });
    }
    Ok(format!(
        "{}{TRACES_PATH}",
        base.trim_end_matches(TRACES_PATH)
    ))
}

/// Counts what leaves the queue, and how.
#[derive(Debug)]
struct CountedExporter<E> {
    exporter: E,
    queued: Arc<AtomicUsize>,
    metrics: Arc<Metrics>,
}

impl<E: SpanExporter> SpanExporter for CountedExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let count = batch.len();
        let result = self.exporter.export(batch).await;
        self.queued.fetch_sub(count, Ordering::AcqRel);
        match &result {
            Ok(()) => self.metrics.spans("sent", count),
            Err(error) => {
                self.metrics.spans("failed", count);
                tracing::debug!(%error, count, "spans were not taken by the collector");
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::SystemTime;

    use opentelemetry::trace::{
        SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
    };
    use parking_lot::Mutex;

    use super::*;

    /// Takes nothing until it is told to.
    #[derive(Debug)]
    struct Stuck(Mutex<mpsc::Receiver<()>>);

    impl SpanExporter for Stuck {
        async fn export(&self, _: Vec<SpanData>) -> OTelSdkResult {
            // Its sender's end lets everything pass.
            let _ = self.0.lock().recv();
            Ok(())
        }
    }

    fn span() -> SpanData {
        SpanData {
            span_context: SpanContext::new(
                TraceId::from(1),
                SpanId::from(2),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: SpanId::INVALID,
            parent_span_is_remote: false,
            span_kind: SpanKind::Server,
            name: "test".into(),
            start_time: SystemTime::now(),
            end_time: SystemTime::now(),
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: Default::default(),
            links: Default::default(),
            status: Status::Unset,
            instrumentation_scope: Default::default(),
        }
    }

    #[test]
    fn a_collector_that_takes_nothing_costs_spans_and_no_time() {
        let (release, stuck) = mpsc::channel::<()>();
        let metrics = Arc::new(Metrics::new());
        let telemetry = Telemetry::with_exporter(Stuck(Mutex::new(stuck)), Arc::clone(&metrics));
        for _ in 0..SPANS_QUEUED_MAX + 100 {
            telemetry.send(span());
        }
        let dropped = r#"faam_spans_total{outcome="dropped"} 100"#;
        assert!(metrics.render().contains(dropped), "{}", metrics.render());
        drop(release);
        telemetry.stop();
        let sent = format!(r#"faam_spans_total{{outcome="sent"}} {SPANS_QUEUED_MAX}"#);
        assert!(metrics.render().contains(&sent), "{}", metrics.render());
    }

    #[test]
    fn only_a_collectors_base_is_taken() {
        for bad in [
            "",
            "localhost:4318",
            "https://collector:4318",
            "http://",
            "http://a b",
        ] {
            assert!(Telemetry::start(bad, Arc::default()).is_err(), "{bad:?}");
        }
        let https = traces_url("https://collector:4318").expect_err("refused");
        let said = https.to_string();
        assert!(
            said.contains("https://collector:4318") && said.contains("http://127.0.0.1:4318"),
            "{said}"
        );
        for good in [
            "http://127.0.0.1:4318",
            "http://127.0.0.1:4318/",
            "http://collector/v1/traces",
        ] {
            assert!(Telemetry::start(good, Arc::default()).is_ok(), "{good:?}");
        }
    }
}
