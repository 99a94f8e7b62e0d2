//! Cycles of an engine whose memory never makes it wait, beside section 10 of algorithm.md.
//!
//! `cycles.json` has them, for whoever turns cycles into throughput. It is written anew by
//! `FAAM_BLESS=1 cargo test -p faam-dv --features verilator --test engine cycles`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use faam_dv::{Configuration, Engine};
use serde::{Deserialize, Serialize};

use crate::case::{self, Case, Hex, Kind};
use crate::check::{self, Model};
use crate::jobs::data;

/// Bytes of a job: the published tables are of 64 KiB.
const JOB_BYTES: usize = 65536;
const LONG_JOB_BYTES: usize = 1 << 20;
/// Share by which cycles of such a job may differ from the model's.
const APART_MAX: f64 = 0.02;
/// Share by which they may differ from the committed file's: a stage more or less in the pipeline.
const MOVED_MAX: f64 = 0.002;

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Row {
    hash_bits: u32,
    ways: u32,
    lazy: bool,
    tables: bool,
    class: String,
    /// fixed, history, table or count.
    job: String,
    /// Of source and history.
    bytes: u64,
    /// By the functional model.
    model_cycles: u64,
    /// By the clock of the bench around the Verilated engine, from the job's taking to its report.
    rtl_cycles: u64,
}

#[test]
fn cycles_on_the_sample_are_the_models_within_two_percent() {
    let mut rows = Vec::new();
    for configuration in Engine::configurations() {
        let sample = data::sample();
        for (class, bytes) in &sample {
            let bytes = &bytes[..bytes.len().min(JOB_BYTES)];
            for (kind, case) in cases(bytes, *configuration) {
                rows.push(row(*configuration, class, kind, &case));
            }
        }
        let files = sample.iter().flat_map(|(_, file)| file).cycle();
        let long: Vec<u8> = files.take(LONG_JOB_BYTES).copied().collect();
        let case = Case::plain(&long, *configuration);
        rows.push(row(*configuration, "all, over and over", "fixed", &case));
    }
    let mut table =
        String::from("engine | class | job | bytes | model | RTL, simulated | apart, %\n");
    let mut worst: f64 = 0.0;
    for row in &rows {
        let percent = (row.rtl_cycles as f64 / row.model_cycles as f64 - 1.0) * 100.0;
        worst = worst.max(percent.abs());
        let _ = writeln!(
            table,
            "{}K x {}{}{} | {} | {} | {} | {} | {} | {percent:+.3}",
            (1 << row.hash_bits) / 1024,
            row.ways,
            if row.lazy { ", lazy" } else { "" },
            if row.tables { ", tables" } else { "" },
            row.class,
            row.job,
            row.bytes,
            row.model_cycles,
            row.rtl_cycles,
        );
    }
    println!("{table}farthest apart: {worst:.3} %");
    assert!(
        worst <= APART_MAX * 100.0,
        "an engine's cycles are {worst:.3} % from the model's\n{table}"
    );
    compare_with_file(&rows);
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cycles.json")
}

fn compare_with_file(rows: &[Row]) {
    if std::env::var_os("FAAM_BLESS").is_some() {
        let lines: Vec<String> = rows
            .iter()
            .map(|row| serde_json::to_string(row).unwrap())
            .collect();
        std::fs::write(file(), format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
        return;
    }
    let text = std::fs::read_to_string(file()).unwrap();
    let kept: Vec<Row> = serde_json::from_str(&text).unwrap();
    for row in rows {
        let same = |kept: &&Row| {
            Row {
                rtl_cycles: row.rtl_cycles,
                ..(*kept).clone()
            } == *row
        };
        let Some(kept) = kept.iter().find(same) else {
            panic!("cycles.json has no {row:?}: FAAM_BLESS=1 writes it anew");
        };
        let moved = row.rtl_cycles.abs_diff(kept.rtl_cycles) as f64 / kept.rtl_cycles as f64;
        assert!(
            moved <= MOVED_MAX,
            "cycles.json has {}, now it is {row:?}: FAAM_BLESS=1 writes it anew",
            kept.rtl_cycles
        );
    }
}

fn cases(bytes: &[u8], configuration: Configuration) -> Vec<(&'static str, Case)> {
    let fixed = Case::plain(bytes, configuration);
    let mut cases = vec![("fixed", fixed.clone())];
    let half = bytes.len() / 2;
    let mut behind = Case::plain(&bytes[half..], configuration);
    behind.history = Hex(bytes[..half.min(1 << 15)].to_vec());
    cases.push(("history", behind));
    if configuration.tables {
        cases.push((
            "table",
            Case {
                kind: Kind::Compress {
                    format: 2,
                    last: true,
                    sync: false,
                    table: Some(Hex(case::host_table(bytes, &[]))),
                },
                ..fixed.clone()
            },
        ));
        cases.push((
            "count",
            Case {
                kind: Kind::Count,
                ..fixed
            },
        ));
    }
    cases
}

/// Runs a job without stalls.
fn row(configuration: Configuration, class: &str, kind: &str, case: &Case) -> Row {
    let mut engine = Engine::new(configuration, 3).unwrap();
    let mut model = Model::new();
    // After power-up an engine clears its memories first: that is no job's.
    let first = Case::plain(b"first", configuration);
    check::run(&mut engine, &mut model, &first, configuration).unwrap();
    let expected = model.expect(case, configuration);
    let outcome = check::run(&mut engine, &mut model, case, configuration)
        .unwrap_or_else(|what| panic!("{class}, {kind}: {what}"));
    Row {
        hash_bits: configuration.hash_bits,
        ways: configuration.ways,
        lazy: configuration.lazy,
        tables: configuration.tables,
        class: class.to_owned(),
        job: kind.to_owned(),
        bytes: (case.source.0.len() + case.history.0.len()) as u64,
        model_cycles: expected.cycles,
        rtl_cycles: outcome.cycles,
    }
}
