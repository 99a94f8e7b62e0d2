//! Cycles of an engine whose memory never makes it wait, beside section 10 of algorithm.md.

use std::fmt::Write;

use faam_dv::{Configuration, Engine};

use crate::case::{self, Case, Hex, Kind};
use crate::check::{self, Model};
use crate::jobs::data;

/// Bytes of a job: a block of the gateway's is 128 KiB at most, and the published tables are of 64 KiB.
const JOB_BYTES: usize = 65536;
/// Share by which cycles of such a job may differ.
const APART_MAX: f64 = 0.02;

#[test]
fn cycles_on_the_sample_are_the_models_within_two_percent() {
    let mut table =
        String::from("engine | class | job | bytes | model | measured | reported | measured %\n");
    let mut worst: f64 = 0.0;
    for configuration in Engine::configurations() {
        for (class, bytes) in data::sample() {
            for (kind, case) in cases(&bytes[..bytes.len().min(JOB_BYTES)], *configuration) {
                worst = worst.max(row(&mut table, *configuration, &class, kind, &case));
            }
        }
    }
    println!("{table}farthest apart: {worst:.3} %");
    assert!(
        worst <= APART_MAX * 100.0,
        "an engine's cycles are {worst:.3} % from the model's\n{table}"
    );
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

/// Runs a job, adds its row; how far measured or reported cycles are from the model's, in percent.
fn row(
    table: &mut String,
    configuration: Configuration,
    class: &str,
    kind: &str,
    case: &Case,
) -> f64 {
    let mut engine = Engine::new(configuration, 3).unwrap();
    let mut model = Model::new();
    // After power-up an engine clears its memories first: that is no job's.
    check::run(
        &mut engine,
        &mut model,
        &Case::plain(b"first", configuration),
        configuration,
    )
    .unwrap();
    let expected = model.expect(case, configuration);
    let outcome = check::run(&mut engine, &mut model, case, configuration)
        .unwrap_or_else(|what| panic!("{class}, {kind}: {what}"));
    let percent = |cycles: u64| (cycles as f64 / expected.cycles as f64 - 1.0) * 100.0;
    let measured = percent(outcome.cycles);
    let _ = writeln!(
        table,
        "{configuration} | {class} | {kind} | {} | {} | {} | {} | {measured:+.3}",
        case.source.0.len() + case.history.0.len(),
        expected.cycles,
        outcome.cycles,
        outcome.report.cycles,
    );
    measured
        .abs()
        .max(percent(u64::from(outcome.report.cycles)).abs())
}
