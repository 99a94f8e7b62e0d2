//! AWS's own SDKs against Lambda's Invoke: boto3 and `@aws-sdk/client-lambda`.
//!
//! Owns the gateway, its tenants and what has to come of each call; the programs beside it make the calls and say what the
//! SDK made of them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::program::run_within;
use crate::served::Served;

/// How long one program may take: a failure, not a measure.
const LIMIT: Duration = Duration::from_secs(120);

fn tool(name: &str) -> Option<PathBuf> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/test-tools");
    let tool = tools.join("bin").join(name);
    // The packages come last.
    if tool.exists() && tools.join("node_modules").exists() {
        return Some(tool);
    }
    assert!(
        std::env::var("FAAM_ALLOW_MISSING_TOOLS").as_deref() == Ok("1"),
        "{} is not there; `make test` installs it, FAAM_ALLOW_MISSING_TOOLS=1 does without",
        tool.display()
    );
    println!("skipped: the SDKs are not installed");
    None
}

/// A gateway, a tenant that signs, and another that may send one request a second.
struct Invoked {
    served: Served,
    keys: Value,
}

impl Invoked {
    fn start() -> Self {
        let served = Served::start(&["--devices", "none"], &[("FAAM_HW_WAIT_MS_MAX", "100")]);
        let operator = |words: &[&str]| -> Value {
            let mut command = Command::new(env!("CARGO_BIN_EXE_faam"));
            command
                .args(words)
                .arg("--json")
                .env("FAAM_DATA_DIR", served.data.path());
            let ended = run_within(&mut command, LIMIT);
            assert!(
                ended.status.success(),
                "{words:?}: {}",
                String::from_utf8_lossy(&ended.stderr)
            );
            serde_json::from_slice(&ended.stdout).expect("JSON")
        };
        let signer = |tenant: &str, more: &[&str]| {
            operator(&[&["tenant", "add", tenant], more].concat());
            let made = operator(&["key", "add", "--tenant", tenant, "--kind", "sigv4"]);
            json!([made["access_key_id"], made["secret_access_key"]])
        };
        let keys = json!({
            "endpoint": format!("http://{}", served.public),
            "bearer": served.key,
            "signer": signer("acme", &[]),
            "slow": signer("slow", &["--requests-per-s", "1"]),
        });
        Self { served, keys }
    }

    /// What a program says of its calls.
    fn run(&self, program: &Path, script: &str) -> Value {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let began = Instant::now();
        let mut command = Command::new(program);
        command
            .arg(here.join("tests/fronts").join(script))
            .arg(here.join("../target/test-tools"))
            .arg(self.keys.to_string())
            .env("NO_PROXY", "*")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_CONFIG_FILE", "/dev/null")
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        let ended = run_within(&mut command, LIMIT);
        assert!(
            ended.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&ended.stderr)
        );
        println!("{script}: {} ms", began.elapsed().as_millis());
        serde_json::from_slice(&ended.stdout).expect("JSON")
    }
}

/// What both SDKs have to make of the same calls.
#[track_caller]
fn check(seen: &Value) {
    for pair in ["gzip", "zlib", "deflate", "zstd", "lz4"] {
        assert_eq!(seen["round_trips"][pair], "ok", "{seen}");
    }
    let result = &seen["result"];
    assert_eq!(result["backend"], "cpu", "{seen}");
    assert!(
        result["bytes_in"].as_u64() > result["bytes_out"].as_u64(),
        "{seen}"
    );
    assert_eq!(seen["executed_version"], "$LATEST", "{seen}");
    // The id is the invocation's: a UUID of version 7.
    assert_eq!(
        seen["request_id"].as_str().and_then(|id| id.get(14..15)),
        Some("7"),
        "{seen}"
    );
    let log = seen["log"].as_str().unwrap_or_default();
    for word in [
        "START RequestId: ",
        "Version: $LATEST",
        "backend=cpu",
        "REPORT RequestId: ",
    ] {
        assert!(log.contains(word), "{word}: {seen}");
    }

    for (call, kind) in [
        ("corrupt", "CorruptInput"),
        ("not_base64", "InvalidOption"),
        ("no_data", "InvalidOption"),
        ("level_99", "InvalidOption"),
        ("long_result", "Function.ResponseSizeTooLarge"),
    ] {
        let failed = &seen[call];
        assert_eq!(
            (&failed["status"], &failed["function_error"]),
            (&json!(200), &json!("Unhandled")),
            "{call}: {seen}"
        );
        assert_eq!(failed["payload"]["errorType"], kind, "{call}: {seen}");
        assert!(
            failed["payload"]["errorMessage"]
                .as_str()
                .is_some_and(|text| text.len() > 20),
            "{call}: {seen}"
        );
    }
    for (call, status, name) in [
        ("unknown_function", 404, "ResourceNotFoundException"),
        ("unknown_qualifier", 404, "ResourceNotFoundException"),
        ("event", 400, "InvalidParameterValueException"),
        ("no_json", 400, "InvalidRequestContentException"),
        ("wrong_secret", 403, "InvalidSignatureException"),
        ("unknown_key", 403, "InvalidSignatureException"),
        ("long_request", 413, "RequestTooLargeException"),
        ("skewed", 403, "InvalidSignatureException"),
        ("throttled", 429, "TooManyRequestsException"),
        ("no_engine", 503, "ServiceException"),
    ] {
        let error = &seen[call];
        assert_eq!(
            (&error["status"], &error["name"]),
            (&json!(status), &json!(name)),
            "{call}: {seen}"
        );
        assert!(
            error["message"]
                .as_str()
                .is_some_and(|text| text.len() > 20),
            "{call}: {seen}"
        );
    }
    // What may pass is tried again, as often as its caller allows; what is not worth it is not.
    assert_eq!(seen["no_engine"]["attempts"], 2, "{seen}");
    for call in [
        "unknown_function",
        "event",
        "no_json",
        "wrong_secret",
        "long_request",
    ] {
        assert_eq!(seen[call]["attempts"], 1, "{call}: {seen}");
    }
    assert_eq!(
        seen["wrong_secret"]["message"], seen["unknown_key"]["message"],
        "{seen}"
    );
    assert!(
        seen["skewed"]["message"]
            .as_str()
            .is_some_and(|text| text.starts_with("Signature expired")),
        "{seen}"
    );
    assert_eq!(
        seen["throttled"]["reason"], "CallerRateLimitExceeded",
        "{seen}"
    );
    assert_eq!(seen["throttled"]["retry_after"], "1", "{seen}");
    // Beyond the rate it is tried again until it is served.
    assert!(seen["retried"]["attempts"].as_u64() > Some(1), "{seen}");
    assert_eq!(seen["retried"]["status"], 200, "{seen}");
    assert_eq!(seen["dry_run"], 204, "{seen}");
    assert_eq!(seen["nearly_6_mb"], "ok", "{seen}");
    for name in ["arn", "partial_arn", "qualified"] {
        assert_eq!(seen[name], 200, "{name}: {seen}");
    }
    println!(
        "attempts until served beyond the rate: {}",
        seen["retried"]["attempts"]
    );
}

#[test]
fn boto3_takes_results_errors_and_throttles_for_lambdas() {
    let Some(python) = tool("python") else { return };
    let invoked = Invoked::start();
    let seen = invoked.run(&python, "lambda.py");
    check(&seen);
    // With any client that has a key.
    assert_eq!(seen["bearer"], 200, "{seen}");
    assert_eq!(
        seen["no_credential"],
        json!([403, "MissingAuthenticationTokenException"]),
        "{seen}"
    );
    // A session's token is signed like any other header, and means nothing here.
    assert_eq!(seen["session_token"], 200, "{seen}");
    // Who cannot be a caller of ours is told so before a byte of the body has come, and so is who signs chunks with trailers, or
    // does not say how long they are.
    assert_eq!(
        seen["before_body"],
        json!([403, "invalidsignatureexception"]),
        "{seen}"
    );
    for chunked in [
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    ] {
        assert_eq!(
            seen[chunked],
            json!([403, "incompletesignatureexception"]),
            "{seen}"
        );
    }
    assert_eq!(seen["chunked"], json!([200, 9000]), "{seen}");
    for (spoilt, error) in [
        ("chunked_changed", "InvalidSignatureException"),
        ("chunked_cut", "IncompleteSignatureException"),
    ] {
        assert_eq!(seen[spoilt], json!([403, error]), "{seen}");
    }
    let log = invoked.served.log.text();
    assert!(
        log.contains("problem=\"too-large\"") && !log.contains("panicked"),
        "{log}"
    );
}

#[test]
fn the_sdk_for_javascript_takes_results_errors_and_throttles_for_lambdas() {
    let Some(node) = tool("node") else { return };
    let seen = Invoked::start().run(&node, "lambda.cjs");
    check(&seen);
    // It sets its clock by ours, and is served at the second attempt.
    assert_eq!(
        (&seen["clock_set"]["status"], &seen["clock_set"]["attempts"]),
        (&json!(200), &json!(2)),
        "{seen}"
    );
}
