//! What the metrics say while work waits: how much, for how long, and how far behind the gateway is.

use std::time::Instant;

use faam_gateway::cards::CardSource;

use crate::samples::text;
use crate::server::{SOON, Server};

#[test]
fn what_waits_is_seen_as_blocks_as_age_and_as_predicted_time() {
    // A card that nobody serves, so that what requires one waits.
    let nowhere = tempfile::tempdir().expect("a directory");
    let server = Server::start_with(|config| {
        config.dispatch.cards = vec![CardSource::VfioUser {
            dir: nowhere.path().to_owned(),
        }];
        config.dispatch.hw_wait = SOON;
    });
    let gauge = |name: &str| {
        let text = server.admin("/metrics").text();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
        // A tenant that has done nothing yet has no series.
        let value = lines.find_map(|rest| rest.strip_prefix(' ')?.parse::<f64>().ok());
        value.unwrap_or_default()
    };
    let depth = r#"faam_queue_depth{tenant="demo"}"#;
    let all = r#"faam_backlog_seconds{pool="all"}"#;
    assert_eq!(gauge(all), 0.0);
    let body = text(700_000);
    let wire = server.begin("/v1/compress", &[("Faam-Backend", "require-hw")], &body);
    let until = Instant::now() + SOON;
    // Blocks of 128 KiB; the last one is not full.
    while gauge(depth) < 5.0 {
        assert!(Instant::now() < until, "nothing waits");
    }
    assert!(gauge("faam_queue_oldest_seconds") > 0.0);
    assert!(gauge(all) > 0.0);
    assert_eq!(gauge(r#"faam_backlog_seconds{pool="card"}"#), 0.0);
    assert!(gauge("faam_cir_scale") <= 1.0);
    assert_eq!(gauge("faam_inflight"), 1.0);
    drop(wire);
    server.check_at_rest();
    while gauge(depth) > 0.0 {
        assert!(Instant::now() < until, "it still waits");
    }
    assert_eq!(gauge(all), 0.0);
}
