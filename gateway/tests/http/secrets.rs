//! What is secret stays so: marked keys, headers and bodies are sent in every way that comes to nothing and in those that are
//! served, and stand in no log, no span, no metric, no event, no problem, and nothing that is remembered of a request. And
//! each line of a request's log has the id that its caller saw.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::samples::text;
use crate::telemetry::Collector;
use crate::wire::{Answer, request};

/// Every secret has it, in a way of its own.
const MARK: &str = "S3cr3tMark";
const KEY: &str = "faam_S3cr3tMark-bootstrap-key-0001";
const WRONG_KEY: &str = "faam_S3cr3tMark-wrong-key-00000002";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

struct Process {
    child: Child,
    public: SocketAddr,
    admin: SocketAddr,
}

impl Process {
    fn start(data: &Path, log: &Path, collector: &Collector) -> Self {
        let any = "127.0.0.1:0";
        let mut child = Command::new(env!("CARGO_BIN_EXE_faam"))
            .args(["serve", "--devices", "none", "--log-format", "json"])
            .args(["--listen", any, "--admin-listen", any])
            .args(["--otlp-endpoint", &format!("http://{}", collector.address)])
            .arg("--data-dir")
            .arg(data)
            .env("FAAM_BOOTSTRAP_KEY", KEY)
            // As much as there is of ours; what libraries say at that level is theirs.
            .env(
                "FAAM_LOG",
                "info,faam=trace,faam_gateway=trace,faam_store=trace,faam_sched=trace",
            )
            .stdout(Stdio::piped())
            .stderr(File::create(log).expect("made"))
            .spawn()
            .expect("starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let (mut public, mut admin) = (None, None);
        for line in lines.map_while(Result::ok) {
            assert!(
                !line.contains(MARK),
                "a key that was chosen is not repeated: {line}"
            );
            if let Some(address) = line.strip_prefix("listening on http://") {
                public = address.trim().parse().ok();
            }
            if let Some((_, address)) = line.split_once("metrics      http://") {
                let address = address.split(['/', ' ']).next().unwrap_or_default();
                admin = address.parse().ok();
            }
            if line.contains("curl") {
                break;
            }
        }
        Self {
            child,
            public: public.expect("its address"),
            admin: admin.expect("the admin listener's"),
        }
    }

    /// `faam` on its operator's socket.
    fn operator(&self, data: &Path, words: &[&str]) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_faam"))
            .args(words)
            .env("FAAM_DATA_DIR", data)
            .output()
            .expect("runs");
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Requests with something marked in each: what they are, and how they were answered.
fn provoke(process: &Process) -> Vec<(&'static str, Answer)> {
    let traceparent = format!("00-{TRACE}-b7ad6b7169203331-01");
    let (key, wrong) = (format!("Bearer {KEY}"), format!("Bearer {WRONG_KEY}"));
    // "S3cr3tMark:S3cr3tMark", as a user agent sends it.
    let basic = "Basic UzNjcjN0TWFyazpTM2NyM3RNYXJr";
    let signed = "AWS4-HMAC-SHA256 Credential=S3cr3tMark/20261129/us-east-1/faam/aws4_request, \
                  SignedHeaders=host, Signature=S3cr3tMark";
    let marked = format!("{MARK} in a body, {MARK} again").into_bytes();
    let large = [marked.as_slice(), &text(600_000)].concat();
    let mut answers = Vec::new();
    let mut ask = |what, method: &str, target: &str, authorization: &str, body: &[u8]| {
        let headers = [
            ("Authorization", authorization),
            ("Cookie", "session=S3cr3tMark"),
            ("X-Api-Key", "S3cr3tMark"),
            ("X-Amz-Security-Token", "S3cr3tMark"),
            ("traceparent", traceparent.as_str()),
        ];
        answers.push((
            what,
            request(process.public, method, target, &headers, body),
        ));
    };
    ask("a small body", "POST", "/v1/compress", &key, &marked);
    ask("a large one", "POST", "/v1/compress?level=6", &key, &large);
    ask(
        "corrupt gzip",
        "POST",
        "/v1/decompress?format=gzip",
        &key,
        &marked,
    );
    ask("nothing known", "POST", "/v1/decompress", &key, &marked);
    ask(
        "a bad option",
        "POST",
        "/v1/compress?level=77",
        &key,
        &marked,
    );
    ask("a wrong key", "POST", "/v1/compress", &wrong, &marked);
    ask("a wrong key elsewhere", "GET", "/v1/devices", &wrong, b"");
    ask("a password", "POST", "/v1/compress", basic, &marked);
    ask("a signature", "POST", "/v1/compress", signed, &marked);
    ask("no scheme", "POST", "/v1/compress", KEY, &marked);
    ask("nowhere", "POST", "/nothing", &key, &marked);
    ask("a method", "PUT", "/v1/compress", &key, &marked);
    ask(
        "another's invocation",
        "GET",
        "/v1/invocations/nothing",
        &key,
        b"",
    );
    ask("itself", "GET", "/v1/tenants/self", &key, b"");
    answers
}

#[test]
fn no_secret_and_no_body_is_told_anywhere_and_log_lines_have_their_callers_ids() {
    let collector = Collector::start();
    let data = tempfile::tempdir().expect("a directory");
    let logs = tempfile::tempdir().expect("a directory");
    let log = logs.path().join("log");
    let mut process = Process::start(data.path(), &log, &collector);
    let answers = provoke(&process);
    let id = |answer: &Answer| {
        answer
            .header("faam-invocation-id")
            .expect("an id")
            .to_owned()
    };
    for (what, answer) in &answers {
        // What was compressed comes back compressed; all else is a gateway's own words.
        if answer.status != 200 {
            assert!(!answer.text().contains(MARK), "{what}: {}", answer.text());
        }
        for (name, value) in &answer.headers {
            assert!(!value.contains(MARK), "{what}: {name}: {value}");
        }
    }
    let refused = answers
        .iter()
        .filter(|(_, answer)| answer.status >= 400)
        .count();
    assert!(refused >= 10, "{refused} of {}", answers.len());
    let metrics = request(process.admin, "GET", "/metrics", &[], b"").text();
    let mut told = vec![("metrics", metrics)];
    // A key that is made is shown once, to whoever made it; it is a secret from then on.
    let made = process.operator(
        data.path(),
        &["key", "add", "--tenant", "demo", "--kind", "api", "--json"],
    );
    let made: Value = serde_json::from_str(&made).expect("JSON");
    let made = made["key"].as_str().expect("a key").to_owned();
    let answer = request(
        process.public,
        "POST",
        "/v1/compress",
        &[("Authorization", &format!("Bearer {made}"))],
        b"hello",
    );
    assert_eq!(answer.status, 200);
    told.push((
        "events",
        process.operator(data.path(), &["events", "--json"]),
    ));
    told.push(("top", process.operator(data.path(), &["top", "--json"])));
    for (what, answer) in &answers {
        if answer.header("faam-backend").is_some() || answer.status >= 400 {
            let explained = process.operator(data.path(), &["explain", &id(answer), "--json"]);
            told.push((what, explained));
        }
    }
    let pid = rustix::process::Pid::from_child(&process.child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    process.child.wait().expect("it ends");
    let mut spans = 0;
    while let Ok(message) = collector.messages.try_recv() {
        spans += 1;
        told.push(("spans", format!("{message:?}")));
    }
    assert!(spans > 0, "no span has come");
    let log = std::fs::read_to_string(&log).expect("read");
    told.push(("log", log.clone()));
    let secret = made.rsplit('_').next().expect("a secret");
    for (what, text) in &told {
        assert!(!text.is_empty(), "{what}");
        for one in [MARK, secret, "UzNjcjN0TWFyazpTM2NyM3RNYXJr"] {
            let line = text.lines().find(|line| line.contains(one));
            assert_eq!(line, None, "{what} tells {one}");
        }
    }
    check_ids(
        &log,
        &answers.iter().map(|(_, answer)| id(answer)).collect(),
    );
}

/// Every line that stands under a request has an id that a caller saw, and every caller's id stands in some line.
fn check_ids(log: &str, seen: &BTreeSet<String>) {
    let mut told = BTreeSet::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let Some(span) = line.get("span").filter(|span| span["name"] == "request") else {
            continue;
        };
        let id = span["id"].as_str().expect("an id");
        let path = span["path"].as_str().expect("a path");
        // The operator's requests, the one with the key that was made, and probes are not in the list.
        if seen.contains(id) {
            told.insert(id.to_owned());
        } else {
            let known = path.starts_with("/admin/") || ["/metrics", "/v1/compress"].contains(&path);
            assert!(known, "{line}");
        }
    }
    assert_eq!(&told, seen);
}
