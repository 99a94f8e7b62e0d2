//! `faam usage`: every form has the sums of what was sent; without a gateway, and after one was killed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::faam::{Ended, KEY, Place, faam, run, text, wait_until};

/// Reads CSV with Python's own reader, and prints its rows as JSON.
const CSV_TO_JSON: &str = "import csv, json, sys; print(json.dumps(list(csv.DictReader(sys.stdin.read().splitlines(True), strict=True))))";
/// Bytes of each body.
const BODY: usize = 1000;

#[track_caller]
fn send(url: &str, format: &str) -> u16 {
    let target = format!("{url}/v1/compress?format={format}");
    let request = ureq::post(target)
        .header("Authorization", format!("Bearer {KEY}"))
        .config()
        .http_status_as_error(false)
        .build();
    let mut answer = request.send(text(BODY)).expect("an answer");
    answer.body_mut().read_to_vec().expect("whole");
    answer.status().as_u16()
}

/// `faam usage` with these words, for the data directory `data`.
#[track_caller]
fn usage(data: &Path, words: &[&str]) -> Ended {
    let mut command = faam(data, "http://faam.example", &[&["usage"], words].concat());
    command.env("FAAM_DATA_DIR", data).env_remove("FAAM_CONFIG");
    run(command, b"")
}

#[track_caller]
fn json(ended: Ended) -> Value {
    serde_json::from_slice(&ended.check(0, &[]).silent().stdout).expect("JSON")
}

/// Rows by a reader that is not ours.
#[track_caller]
fn rows(ended: Ended) -> Vec<Value> {
    let csv = ended.check(0, &[]).silent().stdout;
    let mut python = Command::new("python3");
    python
        .args(["-I", "-c", CSV_TO_JSON])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let ended = run(python, &csv).check(0, &[]);
    serde_json::from_slice(&ended.stdout).expect("JSON")
}

fn sum(rows: &[Value], name: &str) -> u64 {
    let number = |row: &Value| row[name].as_str().expect(name).parse::<u64>().expect(name);
    rows.iter().map(number).sum()
}

fn money(rows: &[Value], name: &str) -> f64 {
    let number = |row: &Value| row[name].as_str().expect(name).parse::<f64>().expect(name);
    rows.iter().map(number).sum()
}

#[test]
fn every_form_has_the_sums_of_what_was_sent() {
    let place = Place::with(|config| {
        config.prices.currency = "EUR".parse().expect("a currency");
        config.prices.per_request = "0.25".parse().expect("a price");
        config.prices.per_cpu_s = "3".parse().expect("a price");
    });
    let data = place.data.path();
    for _ in 0..5 {
        assert_eq!(send(place.url(), "gzip"), 200);
    }
    assert_eq!(send(place.url(), "rar"), 415);
    // Its permit may outlive its answer by a moment.
    wait_until("all of it has ended", || {
        (place.gateway.admission().in_flight() == 0).then_some(())
    });

    let report = json(usage(data, &["--json"]));
    let total = &report["total"];
    assert_eq!(
        (&total["requests"], &total["refusals"]),
        (&6.into(), &1.into())
    );
    assert_eq!(total["bytes_in"], 5 * BODY);
    let cpu_us = total["cpu_us"].as_u64().expect("a number");
    let cost: f64 = total["cost"]
        .as_str()
        .expect("a text")
        .parse()
        .expect("a number");
    let expected = 5.0 * 0.25 + 3.0 * cpu_us as f64 / 1e6;
    assert!((cost - expected).abs() < 1e-6, "{cost} is not {expected}");
    assert_eq!(report["rows"][0]["tenant"], "demo");

    let csv = rows(usage(data, &["--format", "csv", "--group", "day,outcome"]));
    assert_eq!(csv.len(), 2, "{csv:?}");
    assert_eq!(
        (sum(&csv, "requests"), sum(&csv, "bytes_in")),
        (6, 5 * BODY as u64)
    );
    assert_eq!(sum(&csv, "cpu_us"), cpu_us);
    assert!((money(&csv, "cost") - cost).abs() < 1e-8);

    let focus = rows(usage(data, &["--format", "focus"]));
    for charge in &focus {
        assert_eq!(charge["BillingAccountId"], "demo");
        assert_eq!(
            (&charge["ChargeCategory"], &charge["BillingCurrency"]),
            (&"Usage".into(), &"EUR".into())
        );
        assert_eq!(charge["x_Outcome"], "ok", "what is refused is no charge");
        let [begin, end] =
            ["ChargePeriodStart", "ChargePeriodEnd"].map(|name| charge[name].as_str().expect(name));
        let [from, to] = ["BillingPeriodStart", "BillingPeriodEnd"]
            .map(|name| charge[name].as_str().expect(name));
        assert!(from <= begin && begin < end && end <= to, "{charge:#}");
        // A price times a quantity is a cost.
        let cost = money(std::slice::from_ref(charge), "BilledCost");
        let product = money(std::slice::from_ref(charge), "ListUnitPrice")
            * money(std::slice::from_ref(charge), "PricingQuantity");
        assert!((cost - product).abs() < 1e-8, "{charge:#}");
    }
    assert!((money(&focus, "BilledCost") - cost).abs() < 1e-6);
    let requests = focus
        .iter()
        .find(|charge| charge["SkuMeter"] == "requests")
        .expect("a charge for requests");
    assert_eq!(
        (&requests["ConsumedQuantity"], &requests["SkuId"]),
        (&"5".into(), &"compress-requests".into())
    );

    let events = json(usage(data, &["--format", "cloudevents", "--group", "hour"]));
    let events = events.as_array().expect("a batch").clone();
    let mut ids: Vec<_> = events
        .iter()
        .map(|event| event["id"].as_str().expect("an id"))
        .collect();
    for event in &events {
        // CloudEvents 1.0.2, 3.1: the required ones; 3.2: the form of the others.
        assert_eq!(
            (&event["specversion"], &event["type"]),
            (&"1.0".into(), &"faam.usage.v1".into())
        );
        assert!(!event["source"].as_str().expect("a source").is_empty());
        assert_eq!(
            (&event["datacontenttype"], &event["subject"]),
            (&"application/json".into(), &"demo".into())
        );
        let time: jiff::Timestamp = event["time"]
            .as_str()
            .expect("a time")
            .parse()
            .expect("RFC 3339");
        assert!(time <= jiff::Timestamp::now());
        let names: Vec<_> = event
            .as_object()
            .expect("an object")
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(
            names,
            [
                "data",
                "datacontenttype",
                "id",
                "source",
                "specversion",
                "subject",
                "time",
                "type"
            ]
        );
        assert_eq!(
            event["data"]["complete"], false,
            "its hour is not over, or has just begun"
        );
    }
    let counted: u64 = events
        .iter()
        .map(|event| event["data"]["requests"].as_u64().expect("a number"))
        .sum();
    assert_eq!(counted, 6);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), events.len());
    let again = json(usage(data, &["--format", "cloudevents", "--group", "hour"]));
    let again: Vec<_> = again
        .as_array()
        .expect("a batch")
        .iter()
        .map(|event| event["id"].clone())
        .collect();
    assert!(
        events.iter().all(|event| again.contains(&event["id"])),
        "nothing has grown"
    );

    let table = usage(data, &["--group", "tenant"]).check(0, &[]).silent();
    let table = String::from_utf8(table.stdout).expect("UTF-8");
    let last = table.lines().last().expect("a total");
    assert!(
        table.starts_with("FROM") && table.contains("COST EUR"),
        "{table}"
    );
    assert!(
        last.starts_with("total") && last.contains("4.8 KiB"),
        "{table}"
    );
    assert_eq!(
        json(usage(data, &["--json", "--tenant", "nobody"]))["rows"],
        Value::Array(Vec::new())
    );
    let nothing = usage(data, &["--until", "2020-01-01"]).check(0, &[]);
    assert!(String::from_utf8_lossy(&nothing.stdout).contains("Nothing was used"));
    usage(data, &["--group", "week"]).check(1, &["week", "namespace"]);
    usage(data, &["--since", "yesterday"]).check(1, &["yesterday", "2026-01-31"]);

    // The same from the store alone, where its prices are in the file.
    let Place {
        gateway, data, dir, ..
    } = place;
    gateway.stop();
    let file = dir.path().join("faam.toml");
    std::fs::write(
        &file,
        "[price]\ncurrency = \"EUR\"\nper_request = \"0.25\"\nper_cpu_s = \"3\"\n",
    )
    .expect("written");
    let words = ["--json", "--config", file.to_str().expect("UTF-8")];
    let offline = json(usage(data.path(), &words));
    assert_eq!(
        (&offline["total"], &offline["currency"]),
        (total, &"EUR".into())
    );
    let free = json(usage(data.path(), &["--json"]));
    assert_eq!(
        (&free["total"]["requests"], &free["total"]["cost"]),
        (&6.into(), &"0".into())
    );
}

#[test]
fn a_price_that_is_none_is_refused_with_an_example() {
    let dir = tempfile::tempdir().expect("a directory");
    for (line, says) in [
        ("per_request = \"1,5\"", "0.02"),
        ("currency = \"euro\"", "EUR"),
        ("per_gib = \"1\"", "price.per_gib_in"),
    ] {
        std::fs::write(dir.path().join("faam.toml"), format!("[price]\n{line}\n"))
            .expect("written");
        usage(dir.path(), &["--config", "faam.toml"]).check(1, &["faam.toml:2", says]);
    }
}

/// A gateway in a process of its own, with the CPU engines alone.
struct Killable {
    child: Child,
    url: String,
}

impl Killable {
    fn start(data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_faam"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
                "--devices",
                "none",
                "--data-dir",
            ])
            .arg(data)
            .env("FAAM_BOOTSTRAP_KEY", KEY)
            .env_remove("FAAM_CONFIG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let line = lines
            .next()
            .expect("it says where it listens")
            .expect("UTF-8");
        let url = line
            .strip_prefix("listening on ")
            .expect(&line)
            .trim()
            .to_owned();
        // What it says later is read to the end, so that it never waits for us.
        std::thread::spawn(move || lines.count());
        Self { child, url }
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_kill_loses_at_most_what_was_not_written_and_counts_nothing_twice() {
    const WRITTEN: u64 = 30;
    const AFTER: u64 = 20;
    let data = tempfile::tempdir().expect("a directory");
    let mut gateway = Killable::start(data.path());
    for _ in 0..WRITTEN {
        assert_eq!(send(&gateway.url, "gzip"), 200);
    }
    let asked = || {
        let mut answer = ureq::get(format!("{}/v1/usage", gateway.url))
            .header("Authorization", format!("Bearer {KEY}"))
            .call()
            .expect("an answer");
        let answer: Value =
            serde_json::from_slice(&answer.body_mut().read_to_vec().expect("whole")).expect("JSON");
        answer["total"]["requests"].as_u64().expect("a number")
    };
    wait_until("they are written", || (asked() == WRITTEN).then_some(()));
    for _ in 0..AFTER {
        assert_eq!(send(&gateway.url, "gzip"), 200);
    }
    // SIGKILL: nothing is finished.
    gateway.child.kill().expect("killed");
    gateway.child.wait().expect("ended");

    let total = json(usage(data.path(), &["--json"]))["total"].clone();
    let counted = total["requests"].as_u64().expect("a number");
    println!(
        "of {} requests a kill lost {}",
        WRITTEN + AFTER,
        WRITTEN + AFTER - counted
    );
    assert!((WRITTEN..=WRITTEN + AFTER).contains(&counted), "{counted}");
    assert_eq!(
        total["bytes_in"],
        counted * BODY as u64,
        "a request is counted whole or not"
    );

    // The next one goes on from there.
    let next = Killable::start(data.path());
    assert_eq!(send(&next.url, "gzip"), 200);
    wait_until("one more", || {
        let total = json(usage(data.path(), &["--json"]))["total"].clone();
        (total["requests"] == counted + 1).then_some(())
    });
}
