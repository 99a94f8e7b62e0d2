//! `faam plan`: every scenario that comes with it runs, says the same each time and that it is simulated, and a mistake in one
//! is named with its line; the page of its figures that is kept is the one it gives.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::faam::{Ended, Place, faam, names, run_within};

/// How long one command may take: ten times what a day of ten thousand tenants does, unoptimised and with a core to itself.
const PLAN_LIMIT: Duration = Duration::from_secs(60);

fn scenarios() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/plan")
}

#[track_caller]
fn plan(dir: &Path, words: &[&str]) -> Ended {
    let command = faam(dir, "http://127.0.0.1:9", &[&["plan"], words].concat());
    run_within(command, b"", PLAN_LIMIT)
}

#[track_caller]
fn told(ended: Ended) -> String {
    String::from_utf8(ended.check(0, &[]).silent().stdout).expect("UTF-8")
}

#[test]
fn every_scenario_runs_and_says_the_same_twice() {
    let dir = scenarios();
    let files: Vec<_> = names(&dir)
        .into_iter()
        .filter(|name| name.ends_with(".toml"))
        .collect();
    assert!(files.len() >= 5, "{files:?}");
    for file in files {
        let report: Value =
            serde_json::from_str(&told(plan(&dir, &[&file, "--json"]))).expect("JSON");
        assert_eq!(report["simulated"], true, "{file}");
        let points = report["points"].as_array().expect("points");
        let met: Vec<_> = points
            .iter()
            .map(|point| point["met"].as_bool().expect("met or not"))
            .collect();
        assert!(met.contains(&true), "{file}: its goal can be met: {met:?}");
        for point in points {
            assert!(
                point["invariants_checked"].as_u64().expect("a count") > 1000,
                "{file}"
            );
            let cores = point["utilisation"]["cores"].as_f64().expect("a part");
            assert!((0.0..1.001).contains(&cores), "{file}: {cores}");
        }
        // The first point alone, by its seed and value, is the same again.
        let again = match report["parameter"].as_str() {
            Some(parameter) => {
                let sweep = format!("{parameter}={}", points[0]["value"]);
                told(plan(&dir, &[&file, "--json", "--sweep", &sweep]))
            }
            None if points[0]["events"].as_u64().expect("a count") > 3_000_000 => continue,
            None => told(plan(&dir, &[&file, "--json"])),
        };
        let again: Value = serde_json::from_str(&again).expect("JSON");
        assert_eq!(
            again["points"][0]["trace_hash"], points[0]["trace_hash"],
            "{file}"
        );
        assert_eq!(
            again["points"][0]["classes"], points[0]["classes"],
            "{file}"
        );
    }
}

/// What begins a kept table: the command whose text it is.
const MARKER: &str = "<!-- faam plan ";

/// `FAAM_PLAN_PAGE=write` writes the page anew.
#[test]
fn the_page_of_the_simulation_is_what_the_commands_print() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join("gateway/sched/SIMULATION.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let mut parts = page.split(MARKER);
    let mut fresh = parts.next().expect("its head").to_owned();
    let mut tables = 0;
    for part in parts {
        let (words, rest) = part
            .split_once(" -->\n```text\n")
            .expect("a command and its table");
        let (_, rest) = rest.split_once("```\n").expect("the table's end");
        let words: Vec<_> = words.split(' ').collect();
        let printed = told(plan(&root, &words));
        fresh.push_str(&format!(
            "{MARKER}{} -->\n```text\n{printed}```\n{rest}",
            words.join(" ")
        ));
        tables += 1;
    }
    assert!(tables >= 3, "{tables} tables");
    if std::env::var_os("FAAM_PLAN_PAGE").is_some_and(|word| word == "write") {
        std::fs::write(&path, fresh).expect("written");
        return;
    }
    assert!(
        page == fresh,
        "gateway/sched/SIMULATION.md is stale; FAAM_PLAN_PAGE=write cargo nextest run -p faam-gateway --test cli \
         plan::the_page writes it anew. Now:\n{fresh}"
    );
}

/// `name = value`, as opposed to prose.
fn is_setting(line: &str) -> bool {
    let name = line.split_once(" = ").map_or(" ", |(name, _)| name);
    name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[test]
fn the_example_is_printed_and_is_a_scenario() {
    let place = tempfile::tempdir().expect("a directory");
    let example = told(plan(place.path(), &["--example"]));
    std::fs::write(place.path().join("plan.toml"), &example).expect("written");
    let seeded = |seed| told(plan(place.path(), &["plan.toml", "--seed", seed]));
    let (one, other) = (seeded("1"), seeded("2"));
    assert!(
        one.contains("seed 1,") && one.contains("simulated:"),
        "{one}"
    );
    assert!(
        one.contains("interactive") && one.contains("goal: met"),
        "{one}"
    );
    assert_ne!(one, other, "another seed draws other requests");
    // Every key that is commented out is one: nothing in the example is stale.
    let uncommented: Vec<_> = example
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(key) if is_setting(key) => key,
            Some(table) if table.starts_with('[') => table,
            _ => line,
        })
        .collect();
    std::fs::write(place.path().join("all.toml"), uncommented.join("\n")).expect("written");
    let all = told(plan(
        place.path(),
        &["all.toml", "--json", "--sweep", "load=0.5"],
    ));
    let all: Value = serde_json::from_str(&all).expect("JSON");
    assert_eq!(all["points"][0]["machines"], 10);
}

#[test]
fn a_sweep_tells_where_the_goal_is_met_and_draws_it() {
    let place = tempfile::tempdir().expect("a directory");
    let file = scenarios().join("cards.toml");
    let file = file.to_str().expect("UTF-8");
    let text = told(plan(
        place.path(),
        &[file, "--sweep", "cards=0,2,6", "--html", "plan.html"],
    ));
    assert!(text.contains("the goal is met from cards = "), "{text}");
    let page = std::fs::read_to_string(place.path().join("plan.html")).expect("a page");
    assert!(page.contains("<svg") && page.contains("p99.9") && page.contains("simulated"));
    assert!(
        !page.contains("<script") && !page.contains("http://"),
        "nothing is fetched"
    );
    let text = told(plan(place.path(), &[file, "--sweep", "load=0.5..4:4"]));
    assert!(
        text.contains("the goal holds up to load = ") && text.contains("breaks at"),
        "{text}"
    );
}

#[test]
fn a_mistake_is_named_with_its_line_and_its_mend() {
    let place = tempfile::tempdir().expect("a directory");
    let tenants = "[[tenants]]\nname = \"a\"\narrivals = { kind = \"poisson\", per_s = 1 }\nsize = \"1KiB\"\n";
    for (text, words) in [
        ("[run\n", &["s.toml:1:", "correct the TOML"][..]),
        ("", &["s.toml:1:", "[[tenants]]"]),
        (
            "[machine]\n\ncoers = 3\n",
            &["s.toml:3:", "machine.coers", "did you mean \"cores\""],
        ),
        (
            "[machine]\ncores = \"many\"\n",
            &["s.toml:2:", "a whole number from 1", "\"many\""],
        ),
        ("[machine]\ncores = 0\n", &["s.toml:2:", "got 0"]),
        ("[run]\nduration = 5\n", &["s.toml:2:", "\"30s\"", "got 5"]),
        ("[cards]\ncount = 40\n", &["s.toml:2:", "[fleet] machines"]),
        (
            "[[fault]]\ncard = 2\nat = \"1s\"\n",
            &["s.toml:2:", "0 cards"],
        ),
        ("sweep = \"rams=1..3\"\n", &["s.toml:1:", "cards, engines"]),
        ("[[kernel]]\nname = \"lzma\"\n", &["s.toml:2:", "balanced"]),
        (
            "[goal]\nclass = \"b\"\n",
            &["s.toml:2:", "one of the tenants: a"],
        ),
        (
            "[[tenants]]\nname = \"b\"\nkernel = \"x\"\n",
            &["s.toml:3:", "fast, balanced, dense"],
        ),
        (
            "[[tenants]]\nname = \"b\"\narrivals = { kind = \"poison\" }\n",
            &["s.toml:3:", "poisson"],
        ),
        (
            "[[tenants]]\nname = \"b\"\narrivals = { kind = \"trace\", file = \"none.csv\" }\n",
            &["s.toml:3:", "none.csv", "cannot read"],
        ),
    ] {
        let whole = if text.is_empty() {
            String::new()
        } else {
            format!("{text}{tenants}")
        };
        std::fs::write(place.path().join("s.toml"), whole).expect("written");
        plan(place.path(), &["s.toml"]).check(1, words);
    }
    plan(place.path(), &["nowhere.toml"]).check(1, &["nowhere.toml", "cannot read"]);
    plan(place.path(), &[]).check(1, &["SCENARIO"]);
    let file = scenarios().join("fleet.toml");
    let file = file.to_str().expect("UTF-8");
    plan(place.path(), &[file, "--sweep", "cards=1..64"]).check(1, &["cards=", "machines="]);
}

#[test]
fn a_trace_is_replayed() {
    let place = Place::new();
    place.write("trace.csv", "# ms, bytes\n0,4096\n100,1MiB\n250.5,70000\n");
    place.write(
        "plan.toml",
        "[run]\nduration = \"10s\"\n[[tenants]]\nname = \"seen\"\narrivals = { kind = \"trace\", file = \"trace.csv\" }\n",
    );
    let report: Value = serde_json::from_slice(
        &place
            .run(&["plan", "plan.toml", "--json"])
            .check(0, &[])
            .stdout,
    )
    .expect("JSON");
    let seen = &report["points"][0]["classes"][0];
    assert!(
        seen["delivered_per_s"].as_f64().expect("a rate") > 8.0,
        "{seen}"
    );
    place.write("trace.csv", "0,4096\nnoon,7\n");
    place
        .run(&["plan", "plan.toml"])
        .check(1, &["trace.csv", "line 2", "MILLISECONDS,BYTES"]);
}
