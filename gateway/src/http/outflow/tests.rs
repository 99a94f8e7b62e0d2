//! The order of bytes, whatever way they take; who waits, and what is let go.

use http_body_util::BodyExt;

use super::*;
use crate::admission::{Admission, AdmissionLimits};
use crate::tenants::{Tenant, TenantLimits};

/// A failure, not a measure.
const SOON: Duration = Duration::from_secs(20);

struct Rig {
    admission: Admission,
    outflow: Outflow,
    _dir: tempfile::TempDir,
}

fn rig(spill_after: Duration, stall_max: Duration, whole: bool, spill_max: usize) -> Rig {
    let dir = tempfile::tempdir().expect("a directory");
    let admission = Admission::new(AdmissionLimits {
        spill_request_bytes_max: spill_max,
        ..AdmissionLimits::default()
    });
    let tenant = Tenant::demo(TenantLimits::default());
    let permit = Arc::new(admission.admit(&tenant, 0).expect("room"));
    let options = OutflowOptions {
        spill_after,
        stall_max,
        spill_dir: dir.path().into(),
        whole,
    };
    Rig {
        outflow: Outflow::new(options, permit),
        admission,
        _dir: dir,
    }
}

/// The `number`th chunk of a stream whose bytes tell their place.
fn chunk(number: usize) -> Bytes {
    let length = 1000 + number * 7919 % 100_000;
    let place = |at: usize| (number * 31 + at).to_le_bytes()[0];
    (0..length).map(place).collect()
}

async fn next(body: &mut OutflowBody) -> Option<Result<Frame<Bytes>, BodyError>> {
    tokio::time::timeout(SOON, body.frame())
        .await
        .expect("in time")
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
        let trailers =
            HeaderMap::from_iter([(axum::http::header::VARY, HeaderValue::from_static("x"))]);
        rig.outflow.finish(Ok(Some(trailers)));
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
    assert_eq!(admission.spill_bytes(), 0);
    assert_eq!(admission.in_flight(), 0);
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
