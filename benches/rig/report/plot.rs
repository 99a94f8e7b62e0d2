//! Plots as inline SVG, coloured by the page's own style sheet so that they follow light and dark.
//!
//! Owns scales, ticks and marks. It does not know what is plotted: labels, values and a class a mark.

use std::fmt::Write;

use crate::statistics::{Estimate, count};

/// Width of every plot, in its own units; pages scale it.
const WIDTH: f64 = 760.0;
/// Room for names on the left.
const NAMES: f64 = 118.0;
/// Room for values on the right.
const VALUES: f64 = 150.0;
/// Height of a bar with its gap.
const ROW: f64 = 22.0;
/// Height of the axis below.
const AXIS: f64 = 30.0;
/// Height of a plot of points.
const HEIGHT: f64 = 330.0;

/// A text as XML takes it.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

/// A bar with its interval.
pub(crate) struct Bar {
    /// On the left.
    pub(crate) name: String,
    /// Its class in the style sheet.
    pub(crate) class: &'static str,
    /// Length and whisker.
    pub(crate) value: Estimate,
    /// On the right.
    pub(crate) note: String,
}

/// Horizontal bars from zero; `mark`, if there is one, is a line across all with its name.
pub(crate) fn bars(title: &str, unit: &str, bars: &[Bar], mark: Option<(f64, &str)>) -> String {
    let most = bars
        .iter()
        .map(|bar| bar.value.high.max(bar.value.median))
        .chain(mark.map(|(value, _)| value))
        .fold(0.0, f64::max);
    let ticks = linear_ticks(most);
    let end = ticks.last().copied().unwrap_or(1.0).max(most);
    let x = |value: f64| NAMES + value / end * (WIDTH - NAMES - VALUES);
    // The mark's name stands above the bars.
    let head = if mark.is_some() { 18.0 } else { 0.0 };
    let height = head + count(bars.len()) * ROW + AXIS;
    let mut svg = open(title, height);
    grid(&mut svg, &ticks, x, height, unit);
    for (n, bar) in bars.iter().enumerate() {
        let top = head + count(n) * ROW + 3.0;
        let middle = top + ROW / 2.0 - 3.0;
        let (from, to) = (x(0.0), x(bar.value.median));
        let _ = write!(
            svg,
            "<text class='name' x='{:.1}' y='{:.1}'>{}</text>\
             <rect class='{}' x='{from:.1}' y='{top:.1}' width='{:.1}' height='{:.1}' rx='2'/>",
            NAMES - 8.0,
            middle + 4.0,
            escape(&bar.name),
            bar.class,
            (to - from).max(0.5),
            ROW - 6.0
        );
        if bar.value.high > bar.value.low {
            let _ = write!(
                svg,
                "<line class='whisker' x1='{:.1}' x2='{:.1}' y1='{middle:.1}' y2='{middle:.1}'/>",
                x(bar.value.low),
                x(bar.value.high)
            );
        }
        let _ = write!(
            svg,
            "<text class='value' x='{:.1}' y='{:.1}'>{}</text>",
            x(bar.value.high.max(bar.value.median)) + 7.0,
            middle + 4.0,
            escape(&bar.note)
        );
    }
    if let Some((value, name)) = mark {
        let _ = write!(
            svg,
            "<line class='mark' x1='{0:.1}' x2='{0:.1}' y1='0' y2='{1:.1}'/>\
             <text class='mark-name' x='{2:.1}' y='{3:.1}'>{4}</text>",
            x(value),
            height - AXIS,
            x(value) + 5.0,
            11.0,
            escape(name)
        );
    }
    svg + "</svg>"
}

/// Percentiles of one row: from the first to the last a line, each a dot.
pub(crate) struct Spread {
    /// On the left.
    pub(crate) name: String,
    /// Its class.
    pub(crate) class: &'static str,
    /// Rising values.
    pub(crate) values: Vec<f64>,
    /// On the right.
    pub(crate) note: String,
}

/// Spreads on a logarithmic axis.
pub(crate) fn spreads(title: &str, unit: &str, rows: &[Spread]) -> String {
    let all = || rows.iter().flat_map(|row| row.values.iter().copied());
    let (least, most) = (
        all().fold(f64::INFINITY, f64::min),
        all().fold(0.0, f64::max),
    );
    if !least.is_finite() || least <= 0.0 {
        return String::new();
    }
    let ticks = log_ticks(least, most);
    let (from, to) = (
        ticks.first().copied().unwrap_or(least).min(least).ln(),
        ticks.last().copied().unwrap_or(most).max(most).ln(),
    );
    let x = |value: f64| {
        let share = (value.ln() - from) / (to - from).max(f64::EPSILON);
        NAMES + share * (WIDTH - NAMES - VALUES)
    };
    let height = count(rows.len()) * ROW + AXIS;
    let mut svg = open(title, height);
    grid(&mut svg, &ticks, x, height, unit);
    for (n, row) in rows.iter().enumerate() {
        let middle = count(n) * ROW + ROW / 2.0;
        let (first, last) = (
            row.values.first().copied().unwrap_or(least),
            row.values.last().copied().unwrap_or(least),
        );
        let _ = write!(
            svg,
            "<text class='name' x='{:.1}' y='{:.1}'>{}</text>\
             <line class='span {}' x1='{:.1}' x2='{:.1}' y1='{middle:.1}' y2='{middle:.1}'/>",
            NAMES - 8.0,
            middle + 4.0,
            escape(&row.name),
            row.class,
            x(first),
            x(last)
        );
        for (place, value) in row.values.iter().enumerate() {
            let radius = 5.0 - count(place).min(2.0);
            let _ = write!(
                svg,
                "<circle class='{}' cx='{:.1}' cy='{middle:.1}' r='{radius}'/>",
                row.class,
                x(*value)
            );
        }
        let _ = write!(
            svg,
            "<text class='value' x='{:.1}' y='{:.1}'>{}</text>",
            x(last) + 10.0,
            middle + 4.0,
            escape(&row.note)
        );
    }
    svg + "</svg>"
}

/// A named point.
pub(crate) struct Dot {
    /// Beside it.
    pub(crate) name: String,
    /// Its class.
    pub(crate) class: &'static str,
    /// Along, and up.
    pub(crate) at: (f64, f64),
}

/// Points; along is logarithmic.
pub(crate) fn scatter(title: &str, (along, up): (&str, &str), dots: &[Dot]) -> String {
    let range = |of: fn(&Dot) -> f64| {
        let values = || dots.iter().map(of);
        (
            values().fold(f64::INFINITY, f64::min),
            values().fold(0.0, f64::max),
        )
    };
    let ((x_least, x_most), (y_least, y_most)) = (range(|dot| dot.at.0), range(|dot| dot.at.1));
    if !x_least.is_finite() || x_least <= 0.0 {
        return String::new();
    }
    let x_ticks = log_ticks(x_least, x_most);
    let (from, to) = (
        x_ticks
            .first()
            .copied()
            .unwrap_or(x_least)
            .min(x_least * 0.9)
            .ln(),
        x_ticks
            .last()
            .copied()
            .unwrap_or(x_most)
            .max(x_most * 1.1)
            .ln(),
    );
    let left = 48.0;
    let x = |value: f64| left + (value.ln() - from) / (to - from) * (WIDTH - left - 90.0);
    let margin = ((y_most - y_least) * 0.2).max(0.1);
    let (low, high) = (y_least - 2.0 * margin, y_most + margin);
    let y = |value: f64| (high - value) / (high - low) * (HEIGHT - AXIS);
    let mut svg = open(title, HEIGHT);
    grid(&mut svg, &x_ticks, x, HEIGHT, along);
    for tick in linear_ticks(y_most).into_iter().filter(|tick| *tick > low) {
        let _ = write!(
            svg,
            "<line class='grid' x1='{left}' x2='{:.1}' y1='{1:.1}' y2='{1:.1}'/>\
             <text class='tick' x='{2:.1}' y='{3:.1}'>{4}</text>",
            WIDTH - 90.0,
            y(tick),
            left - 20.0,
            y(tick) + 4.0,
            number(tick)
        );
    }
    let _ = write!(svg, "<text class='unit' x='4' y='12'>{}</text>", escape(up));
    // Names that would lie on each other move down.
    let mut places: Vec<(f64, f64)> = Vec::new();
    for dot in dots {
        let (cx, cy) = (x(dot.at.0), y(dot.at.1));
        let mut text = cy + 4.0;
        while places
            .iter()
            .any(|(px, py)| (px - cx).abs() < 110.0 && (py - text).abs() < 14.0)
        {
            text += 14.0;
        }
        places.push((cx, text));
        if text > cy + 5.0 {
            let _ = write!(
                svg,
                "<line class='leader' x1='{cx:.1}' y1='{cy:.1}' x2='{:.1}' y2='{:.1}'/>",
                cx + 9.0,
                text - 4.0
            );
        }
        let _ = write!(
            svg,
            "<circle class='{}' cx='{cx:.1}' cy='{cy:.1}' r='6'/>\
             <text class='value' x='{:.1}' y='{text:.1}'>{}</text>",
            dot.class,
            cx + 10.0,
            escape(&dot.name)
        );
    }
    svg + "</svg>"
}

/// A line through points, `along` ascending.
pub(crate) struct Line {
    /// At its end.
    pub(crate) name: String,
    /// Its class.
    pub(crate) class: &'static str,
    /// Along, and up.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Lines from zero up; along is logarithmic.
pub(crate) fn lines(title: &str, (along, up): (&str, &str), lines: &[Line]) -> String {
    let all = || lines.iter().flat_map(|line| line.points.iter().copied());
    let most = all().map(|(_, up)| up).fold(0.0, f64::max);
    let mut x_ticks: Vec<f64> = all().map(|(along, _)| along).collect();
    x_ticks.sort_by(f64::total_cmp);
    x_ticks.dedup();
    let (Some(first), Some(last)) = (x_ticks.first().copied(), x_ticks.last().copied()) else {
        return String::new();
    };
    let left = 48.0;
    let width = (last.ln() - first.ln()).max(f64::EPSILON);
    let x = |value: f64| left + (value.ln() - first.ln()) / width * (WIDTH - left - VALUES);
    let y_ticks = linear_ticks(most);
    let top = y_ticks.last().copied().unwrap_or(most).max(most);
    let height = HEIGHT - 90.0;
    let y = |value: f64| 24.0 + (top - value) / top * (height - AXIS - 24.0);
    let mut svg = open(title, height);
    grid(&mut svg, &x_ticks, x, height, along);
    for tick in y_ticks {
        let _ = write!(
            svg,
            "<line class='grid' x1='{left}' x2='{:.1}' y1='{1:.1}' y2='{1:.1}'/>\
             <text class='tick' x='{2:.1}' y='{3:.1}'>{4}</text>",
            WIDTH - VALUES,
            y(tick),
            left - 20.0,
            y(tick) + 4.0,
            number(tick)
        );
    }
    let _ = write!(svg, "<text class='unit' x='4' y='9'>{}</text>", escape(up));
    for (n, line) in lines.iter().enumerate() {
        let path: Vec<_> = line
            .points
            .iter()
            .map(|(along, up)| format!("{:.1},{:.1}", x(*along), y(*up)))
            .collect();
        let _ = write!(
            svg,
            "<polyline class='line {}' points='{}'/>",
            line.class,
            path.join(" ")
        );
        for (along, up) in &line.points {
            let _ = write!(
                svg,
                "<circle class='{}' cx='{:.1}' cy='{:.1}' r='4'/>",
                line.class,
                x(*along),
                y(*up)
            );
        }
        if let Some((along, up)) = line.points.last() {
            let _ = write!(
                svg,
                "<text class='value' x='{:.1}' y='{:.1}'>{}</text>",
                x(*along) + 12.0,
                y(*up) - 4.0 + 15.0 * count(n),
                escape(&line.name)
            );
        }
    }
    svg + "</svg>"
}

fn open(title: &str, height: f64) -> String {
    format!(
        "<svg viewBox='0 0 {WIDTH} {height:.0}' role='img' aria-label='{}'>",
        escape(title).replace('\'', "&#39;")
    )
}

/// Vertical lines with their numbers below, and the axis' unit.
fn grid(svg: &mut String, ticks: &[f64], x: impl Fn(f64) -> f64, height: f64, unit: &str) {
    let bottom = height - AXIS;
    for tick in ticks {
        let _ = write!(
            svg,
            "<line class='grid' x1='{0:.1}' x2='{0:.1}' y1='0' y2='{bottom:.1}'/>\
             <text class='tick' x='{0:.1}' y='{1:.1}'>{2}</text>",
            x(*tick),
            bottom + 14.0,
            number(*tick)
        );
    }
    let _ = write!(
        svg,
        "<text class='unit' x='{WIDTH}' y='{:.1}' text-anchor='end'>{}</text>",
        bottom + 14.0,
        escape(unit)
    );
}

fn number(value: f64) -> String {
    if value >= 1000.0 || (value - value.round()).abs() < 1e-9 {
        format!("{value:.0}")
    } else {
        let text = format!("{value:.3}");
        text.trim_end_matches('0').to_owned()
    }
}

/// From zero to at least `most`, four to eight steps of 1, 2 or 5.
fn linear_ticks(most: f64) -> Vec<f64> {
    if !most.is_finite() || most <= 0.0 {
        return vec![0.0, 1.0];
    }
    let decade = 10.0_f64.powf((most / 4.0).log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * decade)
        .into_iter()
        .find(|step| most / step <= 6.0)
        .unwrap_or(10.0 * decade);
    let mut ticks = vec![0.0];
    while ticks.last().copied().unwrap_or_default() + step * 0.001 < most {
        ticks.push(step * count(ticks.len()));
    }
    ticks
}

/// 1, 2 and 5 of each decade from below `least` to above `most`; of more than three decades their beginnings alone.
fn log_ticks(least: f64, most: f64) -> Vec<f64> {
    let mut decade = 10.0_f64.powf(least.log10().floor());
    let few = most / least > 1000.0;
    let mut ticks = Vec::new();
    while ticks.last().copied().unwrap_or(0.0) < most {
        let steps: &[f64] = if few { &[1.0] } else { &[1.0, 2.0, 5.0] };
        ticks.extend(steps.iter().map(|step| step * decade));
        decade *= 10.0;
    }
    let first = ticks.iter().rposition(|tick| *tick <= least).unwrap_or(0);
    let last = ticks.iter().position(|tick| *tick >= most);
    let last = last.unwrap_or(ticks.len() - 1);
    ticks.get(first..=last).unwrap_or_default().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_begin_at_zero_and_reach_the_largest_value() {
        for most in [0.003, 0.9, 1.0, 4.05, 72.0, 266.0, 1646.0, 47_156.0] {
            let ticks = linear_ticks(most);
            assert_eq!(ticks.first(), Some(&0.0));
            assert!(
                ticks.last().is_some_and(|last| *last >= most * 0.999),
                "{most}: {ticks:?}"
            );
            assert!((4..=8).contains(&ticks.len()), "{most}: {ticks:?}");
        }
    }

    #[test]
    fn logarithmic_ticks_enclose_the_values() {
        assert_eq!(
            log_ticks(0.15, 26.0),
            [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0]
        );
        assert_eq!(
            log_ticks(0.02, 300.0),
            [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]
        );
    }

    #[test]
    fn names_cannot_break_out_of_the_picture() {
        let bar = Bar {
            name: "<script>&'".to_owned(),
            class: "other",
            value: Estimate {
                median: 1.0,
                low: 0.9,
                high: 1.1,
                windows: 3,
            },
            note: "1 < 2".to_owned(),
        };
        let svg = bars("a'b", "MB", &[bar], Some((0.5, "half")));
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
        assert!(!svg.contains("<script>") && svg.contains("1 &lt; 2"));
    }
}
