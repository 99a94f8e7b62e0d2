//! The OpenAPI document: the committed copy is what the handlers say, the page shows it without anything from
//! elsewhere, and the gateway does what it says, whatever schemathesis sends.

#![expect(
    clippy::panic,
    reason = "what these tests share fails by panicking, as they do"
)]

mod process_log;
mod served;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use faam_gateway::http::app::openapi;
use serde_json::Value;
use served::Served;
use ureq::Agent;

/// Makes runs repeatable: the same requests for the same document.
const SEED: &str = "20261124";
/// Time for requests that are generated.
const FUZZING_S: &str = "30";
/// How long schemathesis may take in all.
const SCHEMATHESIS_LIMIT: Duration = Duration::from_secs(110);
/// How often its end is looked for.
const TICK: Duration = Duration::from_millis(50);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn document() -> Value {
    serde_json::from_str(&openapi()).expect("JSON")
}

#[test]
fn the_committed_copy_is_what_the_handlers_say() {
    let committed = std::fs::read_to_string(root().join("gateway/openapi.json")).expect("there");
    let lines = committed
        .lines()
        .zip(openapi().lines().map(str::to_owned).collect::<Vec<_>>());
    for (number, (committed, said)) in (1..).zip(lines) {
        assert_eq!(
            committed, said,
            "line {number} of gateway/openapi.json: run `make openapi`"
        );
    }
    assert!(
        committed == openapi(),
        "gateway/openapi.json: run `make openapi`"
    );
}

#[test]
fn every_operation_says_what_it_takes_and_gives() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() >= 8, "{:?}", paths.keys());
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("an item") {
            let name = format!("{method} {path}");
            assert!(operation["summary"].is_string(), "{name}: a summary");
            let responses = operation["responses"].as_object().expect("responses");
            if operation["tags"][0] == "fronts" {
                check_front(&name, operation);
                continue;
            }
            for (status, response) in responses {
                assert!(response["description"].is_string(), "{name} {status}");
                let content = response["content"].as_object().expect("content");
                for (media_type, content) in content {
                    assert!(
                        content["schema"].is_object(),
                        "{name} {status} {media_type}"
                    );
                }
                if status.as_str() >= "400" {
                    let problem = &content["application/problem+json"];
                    let examples = problem["examples"].as_object().expect("examples");
                    for (kind, example) in examples {
                        assert_eq!(example["value"]["type"], format!("/problems/{kind}"));
                        assert_eq!(example["value"]["status"].to_string(), *status);
                    }
                }
            }
            let kernel = path.ends_with("compress");
            for ours in ["503", "504"] {
                assert_eq!(responses.contains_key(ours), kernel, "{name}: {ours}");
            }
            assert!(
                responses.contains_key("500"),
                "{name}: what a bug looks like"
            );
            let needs_key = operation["security"].is_array();
            assert_eq!(needs_key, path.starts_with("/v1/"), "{name}");
            assert_eq!(responses.contains_key("401"), needs_key, "{name}");
        }
    }
}

/// What is answered in another platform's words: errors as well.
fn check_front(name: &str, operation: &Value) {
    assert!(operation["security"].is_array(), "{name}");
    let responses = operation["responses"].as_object().expect("responses");
    for (status, response) in responses {
        assert!(response["description"].is_string(), "{name} {status}");
        let schema = &response["content"]["application/json"]["schema"];
        assert!(status == "204" || schema.is_object(), "{name} {status}");
    }
    for status in ["403", "429", "500", "503"] {
        assert!(responses.contains_key(status), "{name}: {status}");
    }
}

#[test]
fn the_page_shows_the_document_and_loads_nothing_from_elsewhere() {
    let gateway = Served::start(&["--devices", "none"], &[]);
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(3)
        .proxy(None);
    let agent: Agent = config.build().new_agent();
    let get = |path: &str| {
        let answer = agent.get(format!("http://{}{path}", gateway.public)).call();
        let mut answer = answer.expect("an answer");
        let header = |name: &str| {
            let value = answer
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok());
            value.unwrap_or("").to_owned()
        };
        let headers = (header("content-type"), header("content-security-policy"));
        let text = answer.body_mut().read_to_string().expect("text");
        (answer.status().as_u16(), headers, text)
    };
    assert_eq!(get("/openapi.json").2, openapi());
    // By its redirect.
    let (status, (media_type, policy), page) = get("/docs");
    assert_eq!((status, media_type.as_str()), (200, "text/html"));
    assert!(
        policy.contains("default-src 'none'") && policy.contains("script-src 'self';"),
        "{policy}"
    );
    let attributes = page.split(['"', '\'']).skip(1).step_by(2);
    let files: Vec<_> = attributes
        .filter(|value| value.ends_with(".js") || value.ends_with(".css"))
        .collect();
    assert!(files.len() >= 4, "{page}");
    for file in files {
        assert!(!file.contains("//"), "{file} is from elsewhere");
        let (status, (media_type, _), text) =
            get(&format!("/docs/{}", file.trim_start_matches("./")));
        assert_eq!(status, 200, "{file}");
        assert!(
            media_type.starts_with("text/") && !text.is_empty(),
            "{file}: {media_type}"
        );
    }
    assert!(
        get("/docs/swagger-initializer.js")
            .2
            .contains("\"/openapi.json\"")
    );
    let (status, (media_type, _), _) = get("/docs/nothing.js");
    assert_eq!(
        (status, media_type.as_str()),
        (404, "application/problem+json")
    );
    let ready = agent.get(format!("http://{}/readyz", gateway.admin)).call();
    assert!(ready.expect("an answer").status().is_success());
}

#[test]
fn the_gateway_does_what_its_document_says() {
    let program = root().join("target/test-tools/bin/schemathesis");
    if !program.exists() {
        assert!(
            std::env::var("FAAM_ALLOW_MISSING_TOOLS").as_deref() == Ok("1"),
            "{} is not there; `make test` installs it, FAAM_ALLOW_MISSING_TOOLS=1 does without",
            program.display()
        );
        println!("skipped: schemathesis is not installed");
        return;
    }
    // With a card, so that require-hw is served.
    let mut gateway = Served::start(&[], &[("FAAM_LOG", "warn")]);
    let work = tempfile::tempdir().expect("a directory");
    println!("schemathesis with seed {SEED}");
    let mut run = Command::new(&program)
        .arg("--config-file")
        .arg(root().join("gateway/tests/schemathesis.toml"))
        .arg("run")
        .arg(format!("http://{}/openapi.json", gateway.public))
        .args([
            "--header",
            &format!("Authorization: Bearer {}", gateway.key),
        ])
        // Every check there is, which is its default: named here, none could be taken out in the configuration.
        .args(["--phases", "examples,coverage,fuzzing"])
        .args(["--max-time", FUZZING_S, "--seed", SEED])
        .args([
            "--request-timeout",
            "10",
            "--continue-on-failure",
            "--no-shrink",
        ])
        .current_dir(work.path())
        .env(
            "HYPOTHESIS_STORAGE_DIRECTORY",
            work.path().join("hypothesis"),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("schemathesis starts");
    let said = process_log::ProcessLog::default();
    said.follow(run.stdout.take().expect("stdout is a pipe"));
    let until = Instant::now() + SCHEMATHESIS_LIMIT;
    let status = loop {
        if let Some(status) = run.try_wait().expect("our child") {
            break status;
        }
        if Instant::now() > until {
            let _ = run.kill();
            let _ = run.wait();
            panic!("not within {SCHEMATHESIS_LIMIT:?}:\n{}", said.text());
        }
        said.changed(TICK);
    };
    // Its last lines come before the end of its output, which the reader may not have reached yet.
    let summary = said.wait_for("Seed: ", Duration::from_secs(5));
    assert!(
        status.success() && summary.is_some(),
        "{status}:\n{}",
        said.text()
    );
    for line in said
        .text()
        .lines()
        .filter(|line| line.contains("generated"))
    {
        println!("{}", line.trim());
    }
    assert!(
        gateway.child.try_wait().expect("our child").is_none(),
        "the gateway ended"
    );
    assert!(
        !gateway.log.text().contains("panicked"),
        "a thread panicked"
    );
}
