//! An answer's body as the connection takes it.
//!
//! Invariants: the connection counts as serving until the body is dropped; on HTTP/2 the last frame is given only
//! after the connection has let go of all data before it, so that a stream's end means that nothing of it is held. It
//! changes no byte.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::connections::ActiveRequest;
use super::http2_stream::{HTTP2_PIECE_BYTES_MAX, StreamProgress};

/// A body on its way out.
#[derive(Debug)]
pub(super) struct ServedBody {
    inner: Body,
    _request: ActiveRequest,
    /// `None` for HTTP/1, where the connection itself is the stream.
    stream: Option<Stream>,
}

#[derive(Debug)]
struct Stream {
    progress: Arc<StreamProgress>,
    /// Data that has not been handed out yet.
    rest: Bytes,
    begun: bool,
    last: Last,
}

/// What follows the data.
#[derive(Debug)]
enum Last {
    Unknown,
    End,
    Trailers(HeaderMap),
}

impl ServedBody {
    /// Called in the task that serves the request.
    pub(super) fn new(inner: Body, request: ActiveRequest) -> Self {
        let stream = StreamProgress::current().map(|progress| Stream {
            progress,
            rest: Bytes::new(),
            begun: false,
            last: Last::Unknown,
        });
        Self {
            inner,
            _request: request,
            stream,
        }
    }
}

impl HttpBody for ServedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(stream) = &mut this.stream else {
            return Pin::new(&mut this.inner).poll_frame(cx);
        };
        while stream.rest.is_empty() {
            match std::mem::replace(&mut stream.last, Last::Unknown) {
                Last::Unknown => {}
                last => {
                    stream.last = last;
                    ready!(stream.progress.poll_flushed(cx));
                    let trailers = match std::mem::replace(&mut stream.last, Last::End) {
                        Last::Trailers(trailers) => Some(Ok(Frame::trailers(trailers))),
                        Last::End | Last::Unknown => None,
                    };
                    return Poll::Ready(trailers);
                }
            }
            match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                None => stream.last = Last::End,
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => stream.rest = data,
                    Err(frame) => {
                        if let Ok(trailers) = frame.into_trailers() {
                            stream.last = Last::Trailers(trailers);
                        }
                    }
                },
            }
        }
        let length = stream.rest.len().min(HTTP2_PIECE_BYTES_MAX);
        let piece = stream.rest.split_to(length);
        stream.begun = true;
        Poll::Ready(Some(Ok(Frame::data(stream.progress.hand_out(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.stream {
            None => self.inner.is_end_stream(),
            // Once data was given, the end is said by the frame after it.
            Some(stream) => !stream.begun && self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
