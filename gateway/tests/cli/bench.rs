//! `faam bench`: it measures, it reports in three forms, it finds wrong bytes, it ends.

use serde_json::Value;

use crate::faam::{Place, faam, noise, run, text};
use crate::peer::{Part, Peer, answer};

#[test]
fn a_short_load_is_reported_as_table_json_and_page() {
    let place = Place::new();
    let ended = place.run(&[
        "bench",
        "--size",
        "1KiB,200KiB",
        "--requests",
        "64",
        "--seconds",
        "20",
        "--concurrency",
        "4",
        "--seed",
        "7",
        "--json",
        "report.json",
        "--html",
        "report.html",
    ]);
    let table = String::from_utf8(ended.check(0, &[]).silent().stdout).expect("UTF-8");
    for words in [
        "seed 7",
        "p99.9 ms",
        "1 KiB",
        "200 KiB",
        "outside",
        "served by  cpu 100 %",
        "all right",
    ] {
        assert!(table.contains(words), "{words:?} is not in\n{table}");
    }
    let report: Value = serde_json::from_slice(&place.read("report.json")).expect("JSON");
    let sizes = report["sizes"].as_array().expect("sizes");
    assert_eq!(sizes.len(), 2);
    for (size, bytes) in sizes.iter().zip([1024u64, 200 << 10]) {
        assert_eq!(size["size_bytes"], bytes);
        assert_eq!(
            (&size["requests"], &size["refused"]),
            (&64.into(), &0.into()),
            "{size}"
        );
        assert_eq!(size["bytes_in"], 64 * bytes);
        assert!(size["decoded"].as_u64().expect("a count") >= 1, "{size}");
        assert!(size["ratio"].as_f64().expect("a ratio") > 1.5, "{size}");
        let ms = |of: &Value, at: &str| of[at].as_f64().expect("milliseconds");
        let latency = &size["latency_ms"];
        assert!(
            ms(latency, "p50") > 0.0 && ms(latency, "p50") <= ms(latency, "p99.9"),
            "{size}"
        );
        // The phases of an answer are parts of it, unless blocks run side by side.
        assert!(
            ms(&size["phases_ms"]["device"], "p50") <= 4.0 * ms(latency, "max"),
            "{size}"
        );
        assert!(
            ms(&size["phases_ms"]["outside"], "p50") <= ms(latency, "max"),
            "{size}"
        );
    }
    let page = String::from_utf8(place.read("report.html")).expect("UTF-8");
    assert_eq!(page.matches("<svg").count(), 4, "two plots a size");
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    for foreign in ["http-equiv", "<script", "src=", "href=", "@import", "url("] {
        assert!(
            !page.contains(foreign),
            "{foreign}: the page needs nothing else"
        );
    }
    assert!(page.contains("prefers-color-scheme: dark") && !page.contains("NaN"));
}

#[test]
fn an_open_loop_counts_from_when_a_request_was_meant_to_begin() {
    let place = Place::new();
    place.write("data", text(300_000));
    // One at a time at a rate that one connection with these blocks cannot keep: each waits for those before.
    let ended = place.run(&[
        "bench",
        "--file",
        "data",
        "--size",
        "256KiB",
        "--rate",
        "100000",
        "--requests",
        "200",
        "--concurrency",
        "1",
        "--seconds",
        "30",
        "--json",
    ]);
    let report: Value = serde_json::from_slice(&ended.check(0, &[]).stdout).expect("JSON alone");
    let size = &report["sizes"][0];
    assert_eq!(size["requests"], 200, "{size}");
    let seconds = size["seconds"].as_f64().expect("seconds");
    let last = size["latency_ms"]["max"].as_f64().expect("milliseconds") / 1e3;
    // The last one was meant to begin after 2 ms: its latency is nearly all of the time.
    assert!(
        last > 0.9 * (seconds - 0.002) && last <= seconds + 0.01,
        "{last} of {seconds}"
    );
}

#[test]
fn wrong_bytes_end_it_with_an_error() {
    let facts = "Faam-Invocation-Id: 0\r\nFaam-Backend: cpu\r\nFaam-Verify: ok\r\n";
    let lie = || Part::Answer(answer("200 OK", facts, &noise(100)));
    let peer = Peer::start((0..200).map(|_| lie()).collect());
    let dir = tempfile::tempdir().expect("a directory");
    let words = [
        "bench",
        "--size",
        "1KiB",
        "--requests",
        "3",
        "--concurrency",
        "1",
        "--seconds",
        "10",
    ];
    let ended = run(faam(dir.path(), &peer.url, &words), b"");
    ended.check(1, &["wrong bytes", "does not decode"]);
}

#[test]
fn it_loads_only_what_is_meant() {
    let dir = tempfile::tempdir().expect("a directory");
    let ended = run(faam(dir.path(), "http://faam.example", &["bench"]), b"");
    ended.check(1, &["--url"]);
    let url = format!("http://127.0.0.1:{}", crate::free_port::free_port());
    let ended = run(faam(dir.path(), &url, &["bench", "--seconds", "30"]), b"");
    ended.check(1, &["no gateway answers", "faam serve"]);
    for words in [
        ["--size", "2GiB"],
        ["--concurrency", "0"],
        ["--rate", "-1"],
        ["--seconds", "99999"],
    ] {
        run(
            faam(dir.path(), &url, &[&["bench"], &words[..]].concat()),
            b"",
        )
        .check(1, &["--help"]);
    }
}
