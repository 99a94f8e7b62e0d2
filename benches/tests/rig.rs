//! The rig works: it starts its servers, loads them, checks their answers, and writes what it found.
//!
//! A smoke run of seconds, on the committed sample. It gates on no speed: only on every row being there, every figure
//! being one, and the page being whole.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// Longest that a smoke run may take: some twenty times what it takes with two cores to itself.
const LIMIT: Duration = Duration::from_secs(240);

/// `faam` of the same build; made if only this package was built.
fn faam() -> PathBuf {
    let rig = Path::new(env!("CARGO_BIN_EXE_rig"));
    let faam = rig.with_file_name("faam");
    if !faam.is_file() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "-p", "faam-gateway", "--bin", "faam"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        assert!(cargo.status().expect("cargo").success());
    }
    faam
}

/// Runs `command` to its end within [`LIMIT`]; its status, and what it wrote to `stdout`.
fn run(command: &mut Command, stdout: &Path) -> (Option<i32>, String) {
    let file = std::fs::File::create(stdout).expect("a file");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file)
        .spawn()
        .expect("the rig starts");
    let pid = rustix::process::Pid::from_child(&child);
    let (ended, status) = std::sync::mpsc::channel();
    std::thread::spawn(move || ended.send(child.wait()));
    let status = status.recv_timeout(LIMIT);
    if status.is_err() {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    let status = status.expect("an end within the limit").expect("a child");
    let text = std::fs::read_to_string(stdout).expect("its output");
    (status.code(), text)
}

/// Two processors, or the rig has no room for servers and load.
fn two_processors() -> bool {
    std::thread::available_parallelism().is_ok_and(|n| n.get() > 1)
}

#[test]
fn a_smoke_run_has_every_row_with_finite_figures_and_a_whole_page() {
    if !two_processors() {
        println!("skipped: servers and load need a processor each");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut rig = Command::new(env!("CARGO_BIN_EXE_rig"));
    rig.args(["run", "--smoke", "--corpus", "/nonexistent", "--faam"])
        .arg(faam())
        .arg("--out")
        .arg(dir.path());
    let (status, text) = run(&mut rig, &dir.path().join("stdout"));
    assert_eq!(status, Some(0), "{text}");

    let json = std::fs::read_to_string(dir.path().join("run.json")).expect("the run");
    let json: Value = serde_json::from_str(&json).expect("JSON");
    let points = json["points"].as_array().expect("points");
    let names: Vec<_> = points
        .iter()
        .map(|point| point["row"]["contender"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(names, ["echo", "naive", "faam-cpu"], "{}", json["notes"]);
    for point in points {
        let windows = point["windows"].as_array().expect("windows");
        assert_eq!(windows.len(), 2, "a window a round: {point}");
        for window in windows {
            for figure in [
                "mb_per_cpu_s",
                "cpu_us_per_request",
                "requests_per_s",
                "mb_per_s",
                "p50_ms",
                "ratio",
            ] {
                let value = window[figure].as_f64();
                assert!(
                    value.is_some_and(|value| value.is_finite() && value > 0.0),
                    "{figure} of {point}"
                );
            }
            assert_eq!(
                (&window["refused"], &window["failed"]),
                (&0.into(), &0.into())
            );
        }
        assert!(point["samples_checked"].as_u64() > Some(0), "{point}");
        assert!(point["memory"]["resident_peak_bytes"].as_u64() > Some(1 << 20));
    }
    let engine = points[2]["engine"].as_str().expect("an engine");
    assert!(engine.starts_with("libdeflate"), "{engine}");
    assert_eq!(json["anchors"].as_array().map(Vec::len), Some(2));

    let last = text.lines().last().expect("a last line");
    assert!(last.starts_with("targets: 1 "), "{last}");
    assert_eq!(json["targets"].as_array().map(Vec::len), Some(11));

    // Where a target is missed, as a debug build does, it is told where the time goes, or why that cannot be.
    let profiles = json["profiles"].as_array().expect("profiles");
    let notes = json["notes"].to_string();
    let mut states = json["targets"].as_array().into_iter().flatten();
    let missed = states.any(|target| target["state"] == "missed");
    assert_eq!(
        missed,
        !profiles.is_empty() || notes.contains("no profile"),
        "{notes}"
    );
    for profile in profiles {
        let sampled_ns: u64 = profile["parts"]
            .as_array()
            .expect("parts")
            .iter()
            .filter_map(|part| part["sampled_ns"].as_u64())
            .sum();
        assert!(
            sampled_ns > 10_000_000 && profile["sampled_ns"] == sampled_ns,
            "{profile}"
        );
        let flame = dir.path().join(profile["flame"].as_str().expect("a file"));
        assert!(
            std::fs::read_to_string(flame)
                .expect("drawn")
                .contains("</svg>")
        );
    }

    let page = std::fs::read_to_string(dir.path().join("report.html")).expect("the page");
    assert_eq!(
        page.matches("data:image/svg+xml;base64,").count(),
        profiles.len()
    );
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    assert!(!page.contains("NaN") && !page.contains("<script") && !page.contains("http://"));
    for tag in ["svg", "table", "figure", "tr", "td", "div", "main"] {
        let opened =
            page.matches(&format!("<{tag} ")).count() + page.matches(&format!("<{tag}>")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    assert!(page.contains("faam-cpu-3") && page.matches("<svg").count() >= 2);

    // A stored run is shown again just as it was.
    let again = dir.path().join("again.html");
    let mut rig = Command::new(env!("CARGO_BIN_EXE_rig"));
    rig.arg("report")
        .arg(dir.path().join("run.json"))
        .arg("--html")
        .arg(&again);
    let (status, shown) = run(&mut rig, &dir.path().join("again"));
    assert_eq!(status, Some(0));
    assert_eq!(shown.lines().last(), Some(last));
    assert_eq!(std::fs::read_to_string(again).expect("the page"), page);
}

#[test]
fn a_signal_ends_a_run_and_all_that_it_started() {
    if !two_processors() {
        println!("skipped: servers and load need a processor each");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut rig = Command::new(env!("CARGO_BIN_EXE_rig"))
        .args([
            "run",
            "--only",
            "echo,naive-1,64KiB,c1",
            "--corpus",
            "/nonexistent",
        ])
        .arg("--faam")
        .arg(faam())
        .arg("--out")
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the rig starts");
    let pid = rig.id();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(rig.stderr.take().expect("piped")));
    let mut servers = Vec::new();
    for line in lines.map_while(Result::ok) {
        if line.contains("round 1") && servers.is_empty() {
            let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.expect("its children");
            servers = children.split_whitespace().map(str::to_owned).collect();
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).expect("a pid");
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        }
    }
    assert_eq!(rig.wait().expect("it ends").code(), Some(130));
    assert_eq!(servers.len(), 2, "{servers:?}");
    for server in servers {
        assert!(
            !Path::new(&format!("/proc/{server}")).exists(),
            "{server} is left"
        );
    }
}

#[test]
fn a_smoke_run_of_the_fronts_has_every_row_at_both_sizes() {
    if !two_processors() {
        println!("skipped: servers and load need a processor each");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let json = dir.path().join("fronts.json");
    let mut rig = Command::new(env!("CARGO_BIN_EXE_rig"));
    rig.args(["fronts", "--smoke", "--corpus", "/nonexistent", "--faam"])
        .arg(faam())
        .arg("--json")
        .arg(&json);
    let (status, table) = run(&mut rig, &dir.path().join("table"));
    assert_eq!(status, Some(0), "{table}");
    let found = std::fs::read_to_string(&json).expect("its JSON");
    let found: Value = serde_json::from_str(&found).expect("JSON");
    let sizes = found["sizes"].as_array().expect("sizes");
    assert_eq!(sizes.len(), 2);
    for size in sizes {
        let rows = size["rows"].as_array().expect("rows");
        assert_eq!((rows.len(), size["turns"].as_u64()), (9, Some(120)));
        for row in rows {
            for figure in [
                "p50_us",
                "p90_us",
                "p99_us",
                "over_us",
                "over_share",
                "first_p50_us",
                "first_over_us",
                "wire_over_us",
            ] {
                assert!(row[figure].as_f64().is_some_and(f64::is_finite), "{row}");
            }
            assert!(row["p50_us"].as_f64() > Some(0.0), "{row}");
        }
    }
}
