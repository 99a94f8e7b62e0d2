//! Names, bounds and counts, as a scrape has them.

use super::*;
use crate::card_recovery::{FunctionState, Rung};

#[test]
fn names_are_those_of_the_interface() {
    let metrics = Metrics::new();
    let outcome = "ok";
    metrics.request_end(RequestEnd {
        tenant: "demo",
        kernel: "compress",
        backend: "cpu",
        outcome,
    });
    metrics.request_phases([Duration::from_millis(1); PHASES.len()], None);
    let second = Duration::from_secs(1);
    metrics.used(
        "demo",
        Spent {
            device: second,
            ..Spent::default()
        },
    );
    metrics.cir_scale(0.5);
    metrics.store(WriterCounts {
        applied: 1,
        ..WriterCounts::default()
    });
    metrics.events("dropped", 1);
    metrics.bytes(3, 2);
    metrics.refused("saturated");
    metrics.stream_broken("stalled");
    metrics.device_fault("fpga0.0", "hang");
    metrics.device_quarantine("fpga0.0", Rung::Queue, "bad-check");
    metrics.device_state("fpga0.0", FunctionState::Waiting);
    metrics.device_penalty("fpga0.0", 1500.0);
    metrics.device_next_attempt("fpga0.0", Some(1_609_459_200));
    metrics.verify_failure("fpga0.0");
    metrics.engine_refusal("isa-l");
    metrics.fallback("no-card");
    metrics.device_busy("fpga0.0", 0.5);
    metrics.queue_depths([("demo", 4)].into_iter());
    metrics.queue_oldest(0.25);
    metrics.backlog("cpu", 0.125);
    metrics.readmission("fpga0", 1.5);
    let open = [(); 7].map(|()| metrics.connection("public"));
    metrics.connection_ended("evicted");
    metrics.tls_reload("ok");
    metrics.tls_not_after("public", 1_609_459_200);
    metrics.spans("sent", 2);
    metrics.engines(crate::engines::served());
    let text = metrics.render();
    for line in [
        r#"faam_requests_total{tenant="demo",kernel="compress",backend="cpu",outcome="ok"} 1"#,
        r#"faam_request_seconds_count{phase="queue"} 1"#,
        r#"faam_request_seconds_count{phase="total"} 1"#,
        r#"faam_usage_seconds_total{tenant="demo",resource="device"} 1.0"#,
        "faam_cir_scale 0.5",
        r#"faam_store_writes_total{outcome="ok"} 1"#,
        r#"faam_events_total{outcome="dropped"} 1"#,
        r#"faam_bytes_total{direction="in"} 3"#,
        r#"faam_refused_total{reason="saturated"} 1"#,
        "faam_inflight 0",
        "faam_body_memory_bytes 0",
        "faam_spill_bytes 0",
        r#"faam_streams_broken_total{reason="stalled"} 1"#,
        r#"faam_device_faults_total{device="fpga0.0",kind="hang"} 1"#,
        r#"faam_device_quarantines_total{device="fpga0.0",rung="queue",kind="bad-check"} 1"#,
        r#"faam_device_state{device="fpga0.0",state="waiting"} 1"#,
        r#"faam_device_state{device="fpga0.0",state="in-service"} 0"#,
        r#"faam_device_penalty{device="fpga0.0"} 1500.0"#,
        r#"faam_device_next_attempt_seconds{device="fpga0.0"} 1609459200"#,
        r#"faam_verify_failures_total{engine="fpga0.0"} 1"#,
        r#"faam_engine_refusals_total{engine="isa-l"} 1"#,
        r#"faam_fallback_total{reason="no-card"} 1"#,
        r#"faam_device_busy_ratio{device="fpga0.0"} 0.5"#,
        r#"faam_queue_depth{tenant="demo"} 4"#,
        "faam_queue_oldest_seconds 0.25",
        r#"faam_backlog_seconds{pool="cpu"} 0.125"#,
        r#"faam_device_readmissions_total{device="fpga0"} 1"#,
        r#"faam_device_readmission_seconds{device="fpga0"} 1.5"#,
        r#"faam_connections{listener="public"} 7"#,
        r#"faam_connections_ended_total{reason="evicted"} 1"#,
        r#"faam_tls_reloads_total{outcome="ok"} 1"#,
        r#"faam_tls_not_after_seconds{listener="public"} 1609459200"#,
        r#"faam_spans_total{outcome="sent"} 2"#,
        r#"faam_level_engine{format="gzip",level="6",engine="libdeflate",engine_level="6"} 1"#,
    ] {
        assert!(
            text.lines().any(|got| got == line),
            "{line} is missing in\n{text}"
        );
    }
    assert!(text.ends_with("# EOF\n"));
    drop(open);
}

#[test]
fn connections_that_begin_and_end_at_once_are_all_counted() {
    let metrics = Metrics::new();
    let open = |count| {
        let line = format!(r#"faam_connections{{listener="public"}} {count}"#);
        metrics.render().lines().any(|got| got == line)
    };
    let kept = std::thread::scope(|scope| {
        let threads = [(); 4].map(|()| {
            scope.spawn(|| {
                for _ in 0..10_000 {
                    drop(metrics.connection("public"));
                }
                metrics.connection("public")
            })
        });
        threads.map(|thread| thread.join().expect("no panic"))
    });
    assert!(open(4), "{}", metrics.render());
    drop(kept);
    assert!(open(0), "{}", metrics.render());
}

#[test]
fn labels_are_bounded() {
    let metrics = Metrics::new();
    for number in 0..3 * LABELS_MAX {
        metrics.device_busy(&format!("fpga{number}"), 0.5);
    }
    let series = metrics
        .render()
        .lines()
        .filter(|line| line.starts_with("faam_device_busy_ratio{"))
        .count();
    assert_eq!(series, LABELS_MAX + 1);
}
