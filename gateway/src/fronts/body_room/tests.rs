//! Bodies held whole: what they take, what they are refused, what comes back.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::http::HeaderValue;
use http_body::{Body as HttpBody, Frame};

use super::*;

const ROOM_BYTES: usize = 1 << 20;

/// Pieces of a body whose length is not announced; after them the end, or nothing for ever.
struct Pieces {
    left: Vec<Bytes>,
    ends: bool,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.left.pop() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

fn pieces(count: usize, bytes: usize, ends: bool) -> Body {
    let left = vec![Bytes::from(vec![7; bytes]); count];
    Body::new(Pieces { left, ends })
}

fn announced(bytes: usize) -> HeaderMap {
    [(CONTENT_LENGTH, HeaderValue::from(bytes))]
        .into_iter()
        .collect()
}

fn free(room: &BodyRoom) -> usize {
    room.units.available_permits() * UNIT_BYTES
}

#[tokio::test]
async fn a_body_takes_its_length_and_gives_it_back() {
    let room = BodyRoom::of(ROOM_BYTES);
    let whole = room
        .read(&announced(3000), Body::from(vec![1; 3000]), 4000)
        .await
        .expect("room");
    assert_eq!(
        (whole.bytes.len(), free(&room)),
        (3000, ROOM_BYTES - 3 * UNIT_BYTES)
    );
    drop(whole);
    assert_eq!(free(&room), ROOM_BYTES);
    let none = HeaderMap::new();
    let grown = room
        .read(&none, pieces(10, 30_000, true), ROOM_BYTES)
        .await
        .expect("room");
    assert_eq!(grown.bytes.len(), 300_000);
    assert!(free(&room) <= ROOM_BYTES - 300_000, "{}", free(&room));
    drop(grown);
    assert_eq!(free(&room), ROOM_BYTES);
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_is_read_or_where_it_goes_beyond() {
    let room = BodyRoom::of(ROOM_BYTES);
    let kind = |read: Result<HeldBody, Problem>| read.err().map(|problem| problem.kind());
    let too_large = Some(ProblemKind::TooLarge);
    // Nothing of it comes: whoever waited for it would time out.
    let silent = || pieces(0, 0, false);
    assert_eq!(
        kind(room.read(&announced(4001), silent(), 4000).await),
        too_large
    );
    let none = HeaderMap::new();
    assert_eq!(
        kind(room.read(&none, pieces(5, 1000, true), 4000).await),
        too_large
    );
    // A length that lies is not believed.
    assert_eq!(
        kind(room.read(&announced(10), pieces(5, 1000, true), 4000).await),
        too_large
    );
    for nonsense in ["", "-1", "1e3", "99999999999999999999999"] {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static(nonsense));
        let read = room.read(&headers, pieces(1, 1000, true), 4000).await;
        assert_eq!(read.expect("as if it said nothing").bytes.len(), 1000);
    }
    assert_eq!(free(&room), ROOM_BYTES);
}

#[tokio::test]
async fn a_full_room_and_a_full_part_say_when_to_come_back() {
    let room = BodyRoom::of(ROOM_BYTES);
    let part = ROOM_BYTES / HOLDER_DIVISOR;
    let read = |holder: &'static str, bytes: usize| {
        let room = &room;
        async move {
            let body = Body::from(vec![1; bytes]);
            room.read_for(holder, &announced(bytes), body, ROOM_BYTES)
                .await
        }
    };
    let first = read("acme", part).await.expect("its part");
    let refused = read("acme", 1).await.expect_err("beyond its part");
    assert_eq!(refused.kind(), ProblemKind::TooManyInFlight);
    assert_eq!(refused.retry_after(), Some(1));
    // Nothing that was refused holds anything, and others have their parts.
    assert_eq!(free(&room), ROOM_BYTES - part);
    let others = [
        read("b", part).await,
        read("c", part).await,
        read("d", part).await,
    ];
    assert!(others.iter().all(Result::is_ok));
    let refused = read("e", 1).await.expect_err("a full room");
    assert_eq!(
        (refused.kind(), refused.retry_after()),
        (ProblemKind::Saturated, Some(1))
    );
    drop(first);
    assert!(read("acme", part).await.is_ok());
    drop(others);
    assert!(
        room.holders.lock().is_empty(),
        "who holds nothing is forgotten"
    );
    assert_eq!(free(&room), ROOM_BYTES);
}

#[tokio::test]
async fn a_part_is_counted_as_a_body_grows() {
    let room = BodyRoom::of(ROOM_BYTES);
    let none = HeaderMap::new();
    let grown = room
        .read_for("acme", &none, pieces(8, 30_000, true), ROOM_BYTES)
        .await;
    let grown = grown.expect("240,000 bytes of 262,144");
    let refused = room
        .read_for("acme", &none, pieces(8, 30_000, true), ROOM_BYTES)
        .await;
    assert_eq!(
        refused.expect_err("beyond its part").kind(),
        ProblemKind::TooManyInFlight
    );
    let held = room.holders.lock().get("acme").copied();
    assert_eq!(
        held,
        Some(grown._room.bytes),
        "what was refused on its way is given back"
    );
    drop(grown);
    assert!(room.holders.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stops_is_not_waited_for_and_holds_nothing_afterwards() {
    let room = BodyRoom::of(ROOM_BYTES);
    let read = room
        .read(&announced(4000), pieces(1, 1000, false), 4000)
        .await;
    assert_eq!(read.expect_err("silent").kind(), ProblemKind::TooSlow);
    assert_eq!(free(&room), ROOM_BYTES);
}

#[tokio::test]
async fn what_is_made_here_takes_room_of_its_own_until_it_has_left() {
    let room = BodyRoom::of(ROOM_BYTES);
    let mut held = room.hold(0).expect("nothing");
    held.grow(100 * UNIT_BYTES).expect("room");
    held.grow(1).expect("room");
    assert_eq!(free(&room), ROOM_BYTES - 101 * UNIT_BYTES);
    let refused = held.grow(ROOM_BYTES).expect_err("no room");
    assert_eq!(refused.kind(), ProblemKind::Saturated);
    assert!(refused.retry_after().is_some());
    let body = held.body_of(vec![7; 1000]);
    assert_eq!(free(&room), ROOM_BYTES - 101 * UNIT_BYTES);
    drop(body);
    assert_eq!(free(&room), ROOM_BYTES);
}

/// A body that ends in an error.
struct Torn(Option<std::io::ErrorKind>);

impl HttpBody for Torn {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.0.take().map(|kind| Err(kind.into())))
    }
}

#[tokio::test]
async fn a_body_that_does_not_end_is_told_by_why_and_none_of_these_is_slow() {
    let room = BodyRoom::of(ROOM_BYTES);
    for (kind, unheard, word) in [
        (std::io::ErrorKind::UnexpectedEof, true, "broke off"),
        (std::io::ErrorKind::ConnectionReset, true, "broke off"),
        (std::io::ErrorKind::InvalidInput, false, "framed"),
    ] {
        let body = Body::new(Torn(Some(kind)));
        let read = room.read(&HeaderMap::new(), body, ROOM_BYTES).await;
        let problem = read.expect_err("torn");
        assert_eq!(problem.kind(), ProblemKind::InvalidOption, "{kind}");
        assert_eq!(problem.is_unheard(), unheard, "{kind}");
        assert!(problem.detail().contains(word), "{}", problem.detail());
    }
    assert_eq!(free(&room), ROOM_BYTES);
}

#[tokio::test]
async fn a_hash_is_of_all_that_came_in_its_order_however_it_came() {
    let room = BodyRoom::of(ROOM_BYTES);
    let none = HeaderMap::new();
    for (count, bytes) in [(0, 1), (1, 1), (7, 63), (3, 20_001)] {
        let left = (0..).map(|piece: u8| Bytes::from(vec![piece; bytes]));
        let left = left.take(count).collect();
        let body = Body::new(Pieces { left, ends: true });
        let read = room.read_hashed_for("acme", &none, body, ROOM_BYTES);
        let (held, sha256) = read.await.expect("room");
        assert_eq!(held.bytes.len(), count * bytes);
        assert_eq!(sha256[..], Sha256::digest(&held.bytes)[..]);
    }
}
