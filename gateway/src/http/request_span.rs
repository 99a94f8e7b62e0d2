//! The span under whose name the log has everything that happens while a request is served.
//!
//! Invariant: every event of a request stands under its span, as if the span had been entered at each turn of the
//! request's future. It knows no collector: spans for one are `super::traced`'s.
//!
//! Nearly every request is served without a word in the log, and making a span, entering and leaving it costs more than
//! all else that is done to observe it. So [`RequestSpans`], a layer below the one that writes, makes the span when the
//! first event comes. Where that layer is not installed spans are made at once.

use std::cell::RefCell;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{self, Poll};

use axum::http::{Method, Uri};
use pin_project_lite::pin_project;
use tracing::span::EnteredSpan;
use tracing::{Event, Span, Subscriber, info_span};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use uuid::Uuid;

use super::trace_context::SpanName;

/// Whether a layer makes the spans.
static MADE_LATE: AtomicBool = AtomicBool::new(false);

thread_local! {
    /// The request that this thread serves just now.
    static CURRENT: RefCell<Option<Entered>> = const { RefCell::new(None) };
}

/// What a request is called.
#[derive(Debug)]
pub(super) struct RequestSpan {
    id: Uuid,
    method: Method,
    uri: Uri,
    trace: Option<SpanName>,
    /// Once it is made.
    span: Option<Span>,
}

#[derive(Debug)]
struct Entered {
    request: RequestSpan,
    /// Left when this is dropped.
    entered: Option<EnteredSpan>,
}

impl RequestSpan {
    /// Of a request.
    pub(super) fn new(id: Uuid, method: Method, uri: Uri, trace: Option<SpanName>) -> Self {
        Self {
            id,
            method,
            uri,
            trace,
            span: None,
        }
    }

    /// The span, made now where it has not been.
    fn span(&mut self) -> &Span {
        let Self {
            id,
            method,
            uri,
            trace,
            span,
        } = self;
        span.get_or_insert_with(|| {
            info_span!(
                "request",
                %id,
                %method,
                path = uri.path(),
                trace = trace.map(display),
            )
        })
    }

    /// Does `work` under this span.
    pub(super) fn within<T>(&mut self, work: impl FnOnce() -> T) -> T {
        if !MADE_LATE.load(Ordering::Relaxed) {
            return self.span().clone().in_scope(work);
        }
        // Only its place is taken from it; a panic in `work` ends the request and its name with it.
        let own = Self {
            id: self.id,
            method: self.method.clone(),
            uri: mem::take(&mut self.uri),
            trace: self.trace,
            span: self.span.take(),
        };
        let outer = CURRENT.replace(Some(Entered {
            request: own,
            entered: None,
        }));
        let done = work();
        if let Some(Entered { request, entered }) = CURRENT.replace(outer) {
            drop(entered);
            *self = request;
        }
        done
    }

    /// `work` under this span at each of its turns.
    pub(super) const fn around<F: Future>(&mut self, work: F) -> Around<'_, F> {
        Around {
            request: self,
            work,
        }
    }
}

pin_project! {
    /// See [`RequestSpan::around`]. An `async` function would hold `work` twice.
    pub(super) struct Around<'a, F> {
        request: &'a mut RequestSpan,
        #[pin]
        work: F,
    }
}

impl<F: Future> Future for Around<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let (request, work) = (this.request, this.work);
        request.within(|| work.poll(cx))
    }
}

/// The span of the request that is being served here, for work that goes on as a task of its own.
pub(super) fn current() -> Span {
    CURRENT
        .with_borrow_mut(|current| {
            current
                .as_mut()
                .map(|current| current.request.span().clone())
        })
        .unwrap_or_else(Span::current)
}

/// Makes the span of a request when the first event within it comes. To be installed below the layer that writes.
#[derive(Debug)]
pub struct RequestSpans(());

impl RequestSpans {
    /// From here on spans are made late.
    #[must_use]
    pub fn install() -> Self {
        MADE_LATE.store(true, Ordering::Relaxed);
        Self(())
    }
}

impl<S: Subscriber> Layer<S> for RequestSpans {
    fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
        // Borrowed while a span is made: what making one says itself stands under none.
        CURRENT.with(|current| {
            if let Ok(mut current) = current.try_borrow_mut()
                && let Some(Entered { request, entered }) = &mut *current
                && entered.is_none()
            {
                *entered = Some(request.span().clone().entered());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tracing::info;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{fmt, registry};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn request(path: &'static str) -> RequestSpan {
        RequestSpan::new(Uuid::nil(), Method::POST, Uri::from_static(path), None)
    }

    #[test]
    fn events_stand_under_their_request_and_no_other_does() {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = registry()
            .with(RequestSpans::install())
            .with(fmt::layer().json().with_writer(move || writer.clone()));
        // The process's own: a scoped one is not asked for events within events.
        tracing::subscriber::set_global_default(subscriber).expect("the only one of this process");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let (mut one, mut other) = (request("/one"), request("/other"));
            let work = |name: &'static str| async move {
                info!("{name} begins");
                tokio::task::yield_now().await;
                info!("{name} goes on");
                current()
            };
            let (span, _) = tokio::join!(one.around(work("one")), other.around(work("other")));
            info!("nobody's");
            span.in_scope(|| info!("one is over"));
            one.within(|| info!("one says more"));
        });
        let text = String::from_utf8(lines.0.lock().clone()).expect("text");
        let mut seen = 0;
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let message = line["fields"]["message"].as_str().expect("a message");
            let path = line["span"]["path"].as_str();
            let expected = match message.split(' ').next() {
                Some("one") => Some("/one"),
                Some("other") => Some("/other"),
                _ => None,
            };
            assert_eq!(path, expected, "{line}");
            assert!(
                line["spans"]
                    .as_array()
                    .is_none_or(|spans| spans.len() == 1)
            );
            seen += 1;
        }
        assert_eq!(seen, 7, "{text}");
    }
}
