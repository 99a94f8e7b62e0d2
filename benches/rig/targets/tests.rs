//! What holds of verdicts, on figures made up.

use super::*;

fn estimate(median: f64) -> Estimate {
    Estimate {
        median,
        low: median,
        high: median,
        windows: 3,
    }
}

#[test]
fn the_last_line_says_what_holds_and_by_how_much() {
    let ok = Verdict::new(
        "1",
        "overhead",
        vec![
            Some(Figure::at_most("a", estimate(1.02), 1.10)),
            Some(Figure::at_most("b", estimate(1.07), 1.10)),
        ],
    );
    let missed = Verdict::new(
        "2",
        "raw",
        vec![
            Some(Figure::at_least("a", estimate(0.58), 0.63)),
            Some(Figure::at_least("b", estimate(0.80), 0.78)),
        ],
    );
    let unknown = Verdict::new("8", "hand-off", Vec::new());
    let half = Verdict::new(
        "1b",
        "price",
        vec![Some(Figure::at_most("on", estimate(1.1), 1.2)), None],
    );
    assert_eq!(
        last_line(&[ok, missed, unknown, half]),
        "targets: 1 ok (1.07 <= 1.10), 2 missed (0.58 < 0.63), 8 not measured, 1b not measured (1.10 <= 1.20)"
    );
}

#[test]
fn a_figure_that_is_only_told_decides_nothing() {
    let told = Figure {
        counts: false,
        ..Figure::at_least("ratio", estimate(0.8), 1.0)
    };
    let verdict = Verdict::new(
        "7",
        "node",
        vec![
            Some(told),
            Some(Figure::at_least("rate", estimate(6.0), 5.5)),
        ],
    );
    assert_eq!(verdict.state, State::Ok);
    assert_eq!(
        verdict.deciding().map(Figure::compared).as_deref(),
        Some("6.00 >= 5.50")
    );
}

#[test]
fn what_misses_is_profiled_once_and_the_worst_first() {
    let verdict = |target: &str, value, row, cell| {
        let figure = Figure::at_most("x", estimate(value), 1.0).at(row, cell);
        Verdict::new(target, "x", vec![Some(figure)])
    };
    let verdicts = [
        verdict("1", 1.2, Row::FAAM_3, MIDDLE),
        verdict("3", 2.0, Row::FAAM_3, SMALL),
        verdict("5", 1.5, Row::FAAM_3, SMALL),
        verdict("2", 0.9, Row::FAAM_1, MIDDLE),
    ];
    let profiled = to_profile(&verdicts);
    let names = |names: [&str; 2]| names.map(str::to_owned).to_vec();
    assert_eq!(
        profiled,
        [
            ((Row::FAAM_3, SMALL), names(["3", "5"])),
            ((Row::FAAM_3, MIDDLE), vec!["1".to_owned()])
        ]
    );
}

#[test]
fn a_value_beside_its_threshold_is_shown_to_the_digit_that_decides() {
    let figure = Figure::at_least("sum", estimate(0.949), 0.95);
    assert_eq!(figure.compared(), "0.949 < 0.950");
}

#[test]
fn one_missed_figure_misses_the_target_also_when_another_was_not_measured() {
    let verdict = Verdict::new(
        "2",
        "raw",
        vec![Some(Figure::at_least("a", estimate(0.5), 0.63)), None],
    );
    assert_eq!(verdict.state, State::Missed);
}
