//! Callers that write all before they read: 256 MiB of random bytes, sent before the first byte of the answer is
//! looked at; both ends finish, and what cannot go out yet lies on disk, not in memory.

use std::process::Command;
use std::thread::scope;

use serde_json::json;

use crate::callers::{Outcome, run_script};
use crate::gateway::Gateway;
use crate::program::is_installed;

/// What is sent. No encoder makes it smaller, so the answer is as long.
const BODY_BYTES: u64 = 256 << 20;
/// Most memory of the gateway meanwhile.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
const SEED: u8 = 0x5e;

#[track_caller]
fn check(program: &str, options: &[&str], name: &str) {
    if !is_installed(program) {
        return;
    }
    let gateway = Gateway::start(&[]);
    let before = gateway.at_rest();
    let call = json!({
        "url": gateway.url("/v1/compress"),
        "headers": { "Authorization": format!("Bearer {}", gateway.key) },
        "body": BODY_BYTES,
        "attempts": 1,
        "by": "write-first",
        "seed": SEED,
    });
    println!("seed {SEED:#x}");
    let mut spilled_max = 0.0f64;
    let outcomes = scope(|scope| {
        let caller = scope.spawn(|| run_script(Command::new(program).args(options), name, &call));
        while !caller.is_finished() {
            spilled_max = spilled_max.max(gateway.metric("faam_spill_bytes"));
            gateway.tick();
        }
        caller
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let [
        Outcome {
            status: 200,
            bytes: BODY_BYTES,
            error: None,
            ..
        },
    ] = &outcomes[..]
    else {
        panic!("{outcomes:?}");
    };
    println!(
        "{program}: {:.0} MiB were on disk at the most",
        spilled_max / f64::from(1 << 20)
    );
    assert!(spilled_max > 0.0, "it read while it wrote");
    gateway.check_memory(MEMORY_BYTES_MAX);
    gateway.check_at_rest_as(before);
}

#[test]
fn python_finishes() {
    check("python3", &["-I"], "caller.py");
}

#[test]
fn node_finishes() {
    check("node", &[], "caller.mjs");
}
