//! The order of bytes, whatever way they take; who waits, and what is let go.

use axum::http::header::VARY;
use std::pin::Pin;
use std::task::Poll;

use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;

use super::*;
use crate::admission::{Admission, AdmissionLimits};
use crate::http::spill::SPILL_READ_BYTES_MAX;
use crate::tenants::{Tenant, TenantLimits};

/// A failure, not a measure.
const SOON: Duration = Duration::from_secs(20);

struct Rig {
    admission: Admission,
    outflow: Outflow,
    _dir: tempfile::TempDir,
}

fn rig(spill_after: Duration, stall_max: Duration, whole: bool, spill_max: usize) -> Rig {
    let admission = Admission::new(AdmissionLimits {
        spill_request_bytes_max: spill_max,
        ..AdmissionLimits::default()
    });
    rig_of(&admission, spill_after, stall_max, whole)
}

fn rig_of(admission: &Admission, spill_after: Duration, stall_max: Duration, whole: bool) -> Rig {
    let dir = tempfile::tempdir().expect("a directory");
    let tenant = Tenant::demo(TenantLimits::default());
    let permit = Arc::new(admission.admit(&tenant, 0).expect("room"));
    let options = OutflowOptions {
        spill_after,
        stall_max,
        spill_dir: dir.path().into(),
        whole,
        kept_bytes_max: None,
    };
    Rig {
        outflow: Outflow::new(options, permit),
        admission: admission.clone(),
        _dir: dir,
    }
}

/// The `number`th chunk of a stream whose bytes tell their place.
fn chunk(number: usize) -> Bytes {
    let length = 1000 + number * 7919 % 100_000;
    let place = |at: usize| (number * 31 + at).to_le_bytes()[0];
    (0..length).map(place).collect()
}

/// The next frame, for which whoever waits has to be woken: a time-out would look again before it gives up.
async fn next(body: &mut OutflowBody) -> Option<Result<Frame<Bytes>, BodyError>> {
    tokio::select! {
        biased;
        () = tokio::time::sleep(SOON) => panic!("not in time"),
        frame = body.frame() => frame,
    }
}

#[tokio::test]
async fn bytes_leave_in_order_through_memory_and_disk() {
    const CHUNKS: usize = 300;
    let rig = rig(Duration::ZERO, SOON, false, 1 << 30);
    let (watch, admission) = (rig.outflow.watch(), rig.admission.clone());
    let mut body = watch.body();
    // Far ahead of the reader, which begins in the middle.
    for number in 0..CHUNKS / 2 {
        rig.outflow.push(chunk(number)).await.expect("taken");
    }
    assert!(admission.spill_bytes() > 0);
    let writer = tokio::spawn(async move {
        for number in CHUNKS / 2..CHUNKS {
            rig.outflow.push(chunk(number)).await.expect("taken");
        }
        let trailers = HeaderMap::from_iter([(VARY, HeaderValue::from_static("x"))]);
        rig.outflow.finish(Some(trailers), || {});
        rig
    });
    let mut read = Vec::new();
    let mut trailers = None;
    while let Some(frame) = next(&mut body).await {
        match frame.expect("whole").into_data() {
            Ok(data) => read.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    let expected: Vec<u8> = (0..CHUNKS).flat_map(chunk).collect();
    assert!(read == expected);
    assert_eq!(trailers.map(|map| map.len()), Some(1));
    let rig = writer.await.expect("ended");
    assert_eq!(watch.drained().await, Ok(()));
    drop((rig.outflow, body, watch));
    at_rest(&admission).await;
}

/// The disk goes back on a thread of its own; the request is in flight until then.
async fn at_rest(admission: &Admission) {
    let rest = async {
        while admission.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, rest).await.expect("in time");
    assert_eq!(admission.spill_bytes(), 0);
}

#[tokio::test]
async fn once_the_body_has_arrived_the_maker_waits_instead_of_spilling() {
    let rig = rig(Duration::ZERO, Duration::from_millis(20), false, 1 << 30);
    rig.outflow.body_arrived();
    let full = Bytes::from(vec![0; WINDOW_BYTES]);
    rig.outflow.push(full.clone()).await.expect("room");
    assert_eq!(rig.outflow.push(full).await, Err(OutflowError::Stalled));
    assert_eq!(
        rig.admission.in_flight(),
        0,
        "although its body is still there"
    );
    assert_eq!(rig.admission.spill_bytes(), 0);
    let mut body = rig.outflow.watch().body();
    let frame = next(&mut body).await.expect("a frame");
    assert_eq!(frame.expect_err("nothing is kept"), BodyError::Stalled);
}

#[tokio::test]
async fn an_answer_that_must_be_whole_is_full_at_the_cap() {
    let rig = rig(SOON, SOON, true, 1 << 20);
    let mut pushed = 0;
    let error = loop {
        match rig.outflow.push(Bytes::from(vec![7; 100_000])).await {
            Ok(()) => pushed += 1,
            Err(error) => break error,
        }
        assert!(pushed < 100, "no end");
    };
    assert_eq!(error, OutflowError::Full);
    assert!(pushed * 100_000 > 1 << 20);
}

#[tokio::test]
async fn an_answer_that_is_not_finished_breaks_off() {
    let rig = rig(SOON, SOON, false, 1 << 20);
    let mut body = rig.outflow.watch().body();
    rig.outflow
        .push(Bytes::from_static(b"some"))
        .await
        .expect("room");
    drop(rig.outflow);
    let frame = next(&mut body).await.expect("a frame");
    assert_eq!(frame.expect_err("broken"), BodyError::Broken);
}

#[tokio::test]
async fn whoever_waits_learns_that_the_caller_has_gone() {
    let rig = rig(SOON, SOON, false, 1 << 20);
    let full = Bytes::from(vec![0; WINDOW_BYTES]);
    rig.outflow.push(full.clone()).await.expect("room");
    let watch = rig.outflow.watch();
    let body = watch.body();
    let waiting = tokio::spawn(async move { rig.outflow.push(full).await });
    drop(body);
    let outcome = tokio::time::timeout(SOON, waiting).await.expect("in time");
    assert_eq!(outcome.expect("ended"), Err(OutflowError::Gone));
    assert_eq!(watch.drained().await, Err(OutflowError::Gone));
}

#[tokio::test]
async fn a_caller_that_reads_less_than_makes_room_is_spilled_for_all_the_same() {
    let rig = rig(Duration::from_millis(1), SOON, false, 1 << 30);
    let mut body = rig.outflow.watch().body();
    // A window that one piece less leaves full.
    for _ in 0..2 {
        let chunk = Bytes::from(vec![0; WINDOW_BYTES - 1]);
        rig.outflow.push(chunk).await.expect("room");
    }
    next(&mut body).await.expect("a frame").expect("data");
    let pushed = rig.outflow.push(Bytes::from_static(b"more"));
    let pushed = tokio::time::timeout(SOON, pushed).await.expect("in time");
    pushed.expect("spilled");
    assert!(rig.admission.spill_bytes() > 0);
}

#[tokio::test]
async fn the_end_comes_although_the_reader_was_there_before_its_spill_had_ended() {
    let rig = rig(Duration::ZERO, SOON, false, 1 << 30);
    let watch = rig.outflow.watch();
    let mut body = watch.body();
    // Two pieces leave the window with just so much room that what is spilled fills it again.
    for length in [WINDOW_BYTES - 1, 100_000] {
        let chunk = Bytes::from(vec![0; length]);
        rig.outflow.push(chunk).await.expect("room");
    }
    let spilled = Bytes::from(vec![0; SPILL_READ_BYTES_MAX]);
    rig.outflow.push(spilled).await.expect("spilled");
    let ends = HeaderMap::from_iter([(VARY, HeaderValue::from_static("x"))]);
    let (deliver, mut delivered) = tokio::sync::oneshot::channel();
    rig.outflow.finish(Some(ends), move || {
        deliver.send(()).expect("it is waited for");
    });
    for _ in 0..2 {
        next(&mut body).await.expect("a frame").expect("data");
    }
    let full = async {
        while rig.outflow.shared.state.lock().window_bytes < WINDOW_BYTES {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, full).await.expect("read back");
    // Nobody else runs until the reader waits: the spill is empty, and still there.
    let mut end = None;
    let waits = std::future::poll_fn(|cx| {
        loop {
            match Pin::new(&mut body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) if frame.is_data() => {}
                Poll::Ready(frame) => end = Some(frame),
                Poll::Pending => return Poll::Ready(true),
            }
            if end.is_some() {
                return Poll::Ready(false);
            }
        }
    });
    assert!(waits.await, "the reader found the end at once");
    assert!(rig.outflow.shared.state.lock().spill.is_some());
    assert!(delivered.try_recv().is_err(), "before its trailers");
    let frame = next(&mut body).await.expect("trailers").expect("no error");
    assert!(frame.is_trailers());
    assert_eq!(delivered.try_recv(), Ok(()));
    assert_eq!(watch.drained().await, Ok(()));
}

#[tokio::test]
async fn an_answer_has_left_once_its_end_has() {
    let trailers = || HeaderMap::from_iter([(VARY, HeaderValue::from_static("x"))]);
    for (trailers, ends_well) in [(None, true), (Some(trailers()), false)] {
        let rig = rig(SOON, SOON, false, 1 << 20);
        let watch = rig.outflow.watch();
        let mut body = watch.body();
        let some = Bytes::from_static(b"some");
        rig.outflow.push(some).await.expect("room");
        let (deliver, mut delivered) = tokio::sync::oneshot::channel();
        rig.outflow.finish(trailers, move || {
            let _ = deliver.send(());
        });
        let _ = next(&mut body).await.expect("a frame").expect("data");
        let soon = tokio::time::timeout(Duration::from_millis(1), watch.drained());
        assert!(soon.await.is_err(), "its end is still here");
        assert_eq!(body.is_end_stream(), ends_well);
        assert!(delivered.try_recv().is_err());
        // A connection that knows of the end lets go of the body without asking for it.
        drop(body);
        let gone = watch.drained().await;
        assert_eq!(
            gone,
            if ends_well {
                Ok(())
            } else {
                Err(OutflowError::Gone)
            }
        );
        assert_eq!(delivered.try_recv().is_ok(), ends_well);
    }
}

#[tokio::test]
async fn a_length_is_promised_only_where_no_trailers_follow() {
    for (trailers, exact) in [(None, Some(4)), (Some(HeaderMap::new()), None)] {
        let rig = rig(SOON, SOON, false, 1 << 20);
        let body = rig.outflow.watch().body();
        let some = Bytes::from_static(b"some");
        rig.outflow.push(some).await.expect("room");
        assert_eq!(body.size_hint().exact(), None);
        rig.outflow.finish(trailers, || {});
        assert_eq!(body.size_hint().exact(), exact);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_has_all_its_time_to_read_once_its_body_has_arrived() {
    const STALL: Duration = Duration::from_secs(30);
    let rig = rig(2 * STALL, STALL, false, 1 << 20);
    let full = Bytes::from(vec![0; WINDOW_BYTES]);
    rig.outflow.push(full.clone()).await.expect("room");
    // It writes for most of the time that it may take nothing.
    tokio::time::advance(STALL / 3 * 2).await;
    let arrived = Instant::now();
    rig.outflow.body_arrived();
    assert_eq!(rig.outflow.push(full).await, Err(OutflowError::Stalled));
    assert!(arrived.elapsed() >= STALL, "{:?}", arrived.elapsed());
}

#[tokio::test]
async fn where_as_many_answers_are_on_disk_as_may_be_the_next_waits_for_a_file() {
    let admission = Admission::new(AdmissionLimits {
        spill_files_max: 1,
        ..AdmissionLimits::default()
    });
    let first = rig_of(&admission, Duration::ZERO, SOON, false);
    let second = rig_of(&admission, Duration::ZERO, SOON, false);
    let whole = rig_of(&admission, SOON, SOON, true);
    let full = Bytes::from(vec![0; WINDOW_BYTES]);
    for rig in [&first, &second, &whole] {
        rig.outflow.push(full.clone()).await.expect("room");
    }
    first.outflow.push(full.clone()).await.expect("spilled");
    let spilled = admission.spill_bytes();
    assert_eq!(spilled, WINDOW_BYTES);
    // What must be whole cannot wait for its reader.
    let refused = whole.outflow.push(full.clone()).await;
    assert_eq!(refused, Err(OutflowError::NoFile));
    let mut waiting = tokio::spawn(async move {
        second.outflow.push(full).await.expect("spilled in the end");
        second
    });
    let soon = tokio::time::timeout(Duration::from_millis(20), &mut waiting).await;
    assert!(soon.is_err(), "there is no file for it");
    assert_eq!(admission.spill_bytes(), spilled);
    // The file is free once the first is closed.
    drop(first.outflow.watch().body());
    drop(first);
    let second = tokio::time::timeout(SOON, waiting).await.expect("in time");
    let second = second.expect("no panic");
    assert_eq!(admission.spill_bytes(), WINDOW_BYTES);
    drop(second.outflow.watch().body());
    drop((second, whole));
    at_rest(&admission).await;
}

#[tokio::test]
async fn an_answer_that_must_be_whole_waits_a_moment_for_the_file_of_the_last_one() {
    let admission = Admission::new(AdmissionLimits {
        spill_files_max: 1,
        ..AdmissionLimits::default()
    });
    let [last, next] = [(); 2].map(|()| rig_of(&admission, SOON, SOON, true));
    let full = Bytes::from(vec![0; WINDOW_BYTES]);
    for rig in [&last, &next] {
        rig.outflow.push(full.clone()).await.expect("room");
    }
    last.outflow.push(full.clone()).await.expect("spilled");
    let mut push = Box::pin(next.outflow.push(full));
    let early = std::future::poll_fn(|cx| Poll::Ready(push.as_mut().poll(cx))).await;
    assert!(early.is_pending(), "{early:?}");
    // Its caller has all of it; its file is being closed.
    drop(last.outflow.watch().body());
    drop(last);
    let spilled = tokio::time::timeout(SOON, push).await.expect("in time");
    assert_eq!(spilled, Ok(()));
    assert_eq!(admission.spill_bytes(), WINDOW_BYTES);
    drop(next.outflow.watch().body());
    drop(next);
    at_rest(&admission).await;
}

#[tokio::test]
async fn the_disk_goes_back_as_it_is_read() {
    const SPILLED: usize = 12 << 20;
    let rig = rig(Duration::ZERO, SOON, false, 1 << 30);
    let mut body = rig.outflow.watch().body();
    let chunk = Bytes::from(vec![1; 128 << 10]);
    for _ in 0..SPILLED / chunk.len() {
        rig.outflow.push(chunk.clone()).await.expect("taken");
    }
    let spilled = rig.admission.spill_bytes();
    assert!(spilled > SPILLED - WINDOW_BYTES - chunk.len());
    let mut read = 0;
    while read < SPILLED - (1 << 20) {
        let frame = next(&mut body).await.expect("a frame").expect("no error");
        read += frame.into_data().expect("data").len();
    }
    assert!(rig.admission.spill_bytes() <= spilled - (8 << 20));
    assert_eq!(rig.admission.in_flight(), 1);
}

#[test]
fn a_file_is_closed_on_a_thread_that_may_block_and_its_disk_given_back_after_that() {
    // One such thread, so that it can be kept busy.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let rig = rig(Duration::ZERO, SOON, false, 1 << 30);
        let body = rig.outflow.watch().body();
        let full = Bytes::from(vec![0; WINDOW_BYTES]);
        rig.outflow.push(full.clone()).await.expect("room");
        rig.outflow.push(full).await.expect("spilled");
        let (release, busy) = std::sync::mpsc::channel::<()>();
        let blocked = tokio::task::spawn_blocking(move || busy.recv());
        drop(body);
        drop(rig.outflow);
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let charged = (rig.admission.spill_bytes(), rig.admission.in_flight());
        assert_eq!(charged, (WINDOW_BYTES, 1), "before its file is closed");
        release.send(()).expect("it waits");
        blocked.await.expect("no panic").expect("released");
        at_rest(&rig.admission).await;
    });
}
