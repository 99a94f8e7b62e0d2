//! The reader's end of an outflow: a response's body.
//!
//! Invariant: it gives what was put in, in that order, and then the end or an error, never an end in place of an error.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::super::body::{BodyError, PIECE_BYTES_MAX, held};
use super::{OnDelivery, Shared};

/// The answer as the connection reads it.
#[derive(Debug)]
pub(in crate::http) struct OutflowBody {
    shared: Arc<Shared>,
}

impl OutflowBody {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    fn told(&self, on_delivery: Option<OnDelivery>) {
        if let Some(OnDelivery(on_delivery)) = on_delivery {
            on_delivery();
        }
        self.shared.changed.notify_waiters();
    }
}

impl HttpBody for OutflowBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut state = self.shared.state.lock();
        if let Some(chunk) = state.window.front_mut() {
            let piece = chunk.split_to(chunk.len().min(PIECE_BYTES_MAX));
            if chunk.is_empty() {
                state.window.pop_front();
            }
            state.window_bytes = state.window_bytes.saturating_sub(piece.len());
            state.taken = state.taken.saturating_add(piece.len() as u64);
            state.waiting_since = None;
            let permit = state.permit.clone();
            drop(state);
            self.shared.changed.notify_waiters();
            let piece = match permit {
                Some(permit) => held(piece, permit),
                None => piece,
            };
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if state.spill.is_none() || matches!(state.end, Some(Err(_))) {
            match &mut state.end {
                Some(Ok(trailers)) => {
                    let trailers = trailers.take();
                    let on_delivery = state.deliver();
                    drop(state);
                    self.told(on_delivery);
                    return Poll::Ready(trailers.map(|map| Ok(Frame::trailers(map))));
                }
                Some(Err(why)) => return Poll::Ready(Some(Err(*why))),
                None => {}
            }
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.shared.state.lock().is_at_end()
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.shared.state.lock();
        match state.end {
            // An exact length would promise that no trailers follow.
            Some(Ok(None)) => SizeHint::with_exact(state.put.saturating_sub(state.taken)),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for OutflowBody {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        // A connection need not ask for an end of which it knows.
        let on_delivery = state.is_at_end().then(|| state.deliver()).flatten();
        state.gone = true;
        state.on_delivery = None;
        state.permit = None;
        state.window.clear();
        state.window_bytes = 0;
        state.spill = None;
        drop(state);
        self.told(on_delivery);
    }
}
