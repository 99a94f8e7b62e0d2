//! Line plots as SVG: logarithmic or linear axes, a legend; and the look of the pages that they stand on, in light and dark.
//!
//! Owns geometry and style: series `n` has the class `sN`, whose colour is the style's. It does not know what is drawn.

use std::fmt::Write;

/// Width and height of a plot, in its own units.
const SIZE: (f64, f64) = (640.0, 320.0);
/// Room for labels: left, right, top, bottom.
const MARGIN: (f64, f64, f64, f64) = (64.0, 16.0, 14.0, 44.0);
/// Series that have a colour of their own.
const COLOURS: usize = 8;

/// The style of a page with plots.
pub(crate) const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --rule: #dfe4ea; --back: #ffffff; --card: #f6f8fa;
  --c0: #0b62d6; --c1: #d1590a; --c2: #1a8f4c; --c3: #a02fc2; --c4: #c0223b; --c5: #0f8b96; --c6: #8a6a00; --c7: #5b6675; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #9aa6b5; --rule: #303946; --back: #12161c; --card: #1a2029;
  --c0: #6aa9ff; --c1: #ff9a4d; --c2: #53d08a; --c3: #d68bf0; --c4: #ff7488; --c5: #4fd0db; --c6: #e0bd4a; --c7: #9aa6b5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 28px 20px 60px; background: var(--back); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 22px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 36px 0 8px; } h3 { font-size: 14px; margin: 0 0 6px; color: var(--soft); font-weight: 600; }
p { margin: 4px 0; } .soft { color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 12px 0; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 14px 5px 0; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 600; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 16px; }
figure { margin: 0; padding: 14px; background: var(--card); border: 1px solid var(--rule); border-radius: 8px; }
svg { width: 100%; height: auto; display: block; }
.grid { stroke: var(--rule); } .mark { fill: var(--soft); font-size: 11px; } .axis { fill: var(--soft); font-size: 12px; }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round; } .line.s0 { stroke-width: 2.8; }
.legend { font-size: 13px; margin: 8px 0 0; } .legend span { margin-right: 12px; white-space: nowrap; }
.legend span::before { content: ''; display: inline-block; width: 12px; height: 3px; border-radius: 2px; margin-right: 5px; vertical-align: middle; background: currentColor; }
.s0 { stroke: var(--c0); } .s1 { stroke: var(--c1); } .s2 { stroke: var(--c2); } .s3 { stroke: var(--c3); }
.s4 { stroke: var(--c4); } .s5 { stroke: var(--c5); } .s6 { stroke: var(--c6); } .s7 { stroke: var(--c7); }
.k0 { color: var(--c0); } .k1 { color: var(--c1); } .k2 { color: var(--c2); } .k3 { color: var(--c3); }
.k4 { color: var(--c4); } .k5 { color: var(--c5); } .k6 { color: var(--c6); } .k7 { color: var(--c7); }
";

/// One line.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// An axis: its title, its ends, its marks.
pub(crate) struct Axis {
    pub(crate) title: &'static str,
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) logarithmic: bool,
    pub(crate) marks: Vec<(f64, String)>,
}

impl Axis {
    /// From 0 to somewhat above `top`, with about five round marks.
    pub(crate) fn linear(title: &'static str, top: f64) -> Self {
        let top = if top.is_finite() && top > 0.0 {
            top
        } else {
            1.0
        };
        let rough = top / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let marks = (0..=12)
            .map(|index| f64::from(index) * step)
            .take_while(|at| *at < top + step);
        let marks: Vec<_> = marks.map(|at| (at, short(at))).collect();
        Self {
            title,
            from: 0.0,
            to: marks.last().map_or(top, |(at, _)| *at),
            logarithmic: false,
            marks,
        }
    }

    /// The powers of ten around `low` and `high`.
    pub(crate) fn powers_of_ten(title: &'static str, low: f64, high: f64) -> Self {
        let low = low.max(1e-3);
        let (from, to) = (low.log10().floor(), high.max(low).log10().ceil());
        let to = if to > from { to } else { from + 1.0 };
        let marks = (0..=12)
            .map(|index| from + f64::from(index))
            .take_while(|power| *power <= to)
            .map(|power| (10f64.powf(power), short(10f64.powf(power))));
        Self {
            title,
            from: 10f64.powf(from),
            to: 10f64.powf(to),
            logarithmic: true,
            marks: marks.collect(),
        }
    }

    /// Where `value` is, from 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let place = if self.logarithmic {
            let value = value.max(self.from);
            (value / self.from).ln() / (self.to / self.from).ln()
        } else {
            (value - self.from) / (self.to - self.from)
        };
        if place.is_finite() {
            place.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

/// The plot as an `svg` element.
pub(crate) fn plot(title: &str, x: &Axis, y: &Axis, series: &[Series]) -> String {
    let (left, right, top, bottom) = MARGIN;
    let (width, height) = (SIZE.0 - left - right, SIZE.1 - top - bottom);
    let at = |(px, py): (f64, f64)| {
        (
            left + width * x.place(px),
            top + height * (1.0 - y.place(py)),
        )
    };
    let mut svg = format!(
        "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n",
        SIZE.0,
        SIZE.1,
        escape(title)
    );
    for (value, label) in &y.marks {
        let (_, py) = at((x.from, *value));
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" y1=\"{py:.1}\" x2=\"{:.1}\" y2=\"{py:.1}\"/>\
             <text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left + width,
            left - 8.0,
            py + 4.0,
            escape(label)
        );
    }
    for (value, label) in &x.marks {
        let (px, _) = at((*value, y.from));
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{px:.1}\" y1=\"{top}\" x2=\"{px:.1}\" y2=\"{:.1}\"/>\
             <text class=\"mark\" x=\"{px:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            top + height,
            top + height + 16.0,
            escape(label)
        );
    }
    let _ = writeln!(
        svg,
        "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text class=\"axis\" transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        left + width / 2.0,
        SIZE.1 - 8.0,
        escape(x.title),
        top + height / 2.0,
        escape(y.title)
    );
    for (index, line) in series.iter().enumerate() {
        let points: Vec<_> = line
            .points
            .iter()
            .map(|point| at(*point))
            .map(|(px, py)| format!("{px:.1},{py:.1}"))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline class=\"line s{}\" points=\"{}\"><title>{}</title></polyline>",
            index % COLOURS,
            points.join(" "),
            escape(&line.name)
        );
    }
    svg.push_str("</svg>\n");
    if series.len() > 1 {
        svg.push_str("<p class=\"legend\">");
        for (index, line) in series.iter().enumerate() {
            let _ = write!(
                svg,
                "<span class=\"k{}\">{}</span> ",
                index % COLOURS,
                escape(&line.name)
            );
        }
        svg.push_str("</p>\n");
    }
    svg
}

/// A number without zeros that say nothing.
fn short(value: f64) -> String {
    match value {
        value if value >= 10_000.0 => format!("{:.0}k", value / 1e3),
        value if value >= 10.0 || value == 0.0 => format!("{value:.0}"),
        value => {
            let text = format!("{value:.3}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
    }
}

/// Text for HTML and for attributes in double quotes.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_cover_what_they_show() {
        for top in [0.0, 0.07, 3.0, 99.0, 412.0, 12_345.0] {
            let axis = Axis::linear("x", top);
            assert!(
                axis.to >= top && (3..=13).contains(&axis.marks.len()),
                "{top}: {:?}",
                axis.marks
            );
        }
        let axis = Axis::powers_of_ten("x", 0.4, 250.0);
        assert_eq!((axis.from, axis.to), (0.1, 1000.0));
        assert!((axis.place(0.1)).abs() < 1e-9 && (axis.place(1000.0) - 1.0).abs() < 1e-9);
        assert!(axis.place(f64::NAN) < 1.1 && axis.place(-1.0) < 1e-9);
        assert_eq!(short(0.5), "0.5");
    }

    #[test]
    fn names_cannot_break_out() {
        let series = Series {
            name: "<script>\"&".to_owned(),
            points: vec![(1.0, 1.0), (2.0, f64::INFINITY)],
        };
        let svg = plot(
            "t",
            &Axis::linear("x", 2.0),
            &Axis::linear("y", 2.0),
            &[series],
        );
        assert!(
            !svg.contains("<script>") && !svg.contains("inf") && !svg.contains("NaN"),
            "{svg}"
        );
    }
}
