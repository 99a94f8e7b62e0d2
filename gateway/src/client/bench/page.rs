//! A bench's figures as one HTML page that needs nothing else.
//!
//! Owns what is on the page. Every number comes from the records; nothing is fetched, and there is
//! no script.

use std::fmt::Write;

use super::record::{PERCENTILES, Record, ms_at};
use super::table::{number, time};
use super::{Head, Measured};
use crate::plot::{Axis, STYLE, Series, escape, plot};
use crate::quantity;

/// Places on the curve of percentiles: how many requests in ten are beyond it, as powers of ten.
const CURVE_POINTS: u32 = 60;
/// Nines that the curve ends with: 99.99 %.
const CURVE_NINES: f64 = 4.0;

/// The page.
pub(crate) fn page(head: &Head, measured: &[Measured]) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>faam bench</title>\n<style>{STYLE}</style>\n\
         <h1>faam bench</h1>\n"
    );
    for line in head.lines() {
        let _ = writeln!(html, "<p class=\"soft\">{}</p>", escape(&line));
    }
    overview(&mut html, measured);
    for one in measured {
        section(&mut html, one);
    }
    html.push_str(
        "<p class=\"soft\">receive is the gateway's wait for the body; blocks that run side by side add up in queue, transfer, \
         device and verify; outside is network and client. MB are 10<sup>6</sup> bytes of original data.</p>\n</html>\n",
    );
    html
}

fn overview(html: &mut String, measured: &[Measured]) {
    html.push_str(
        "<div class=\"scroll\"><table><tr><th>size</th><th>req/s</th><th>MB/s</th><th>ratio</th>",
    );
    for (name, _) in PERCENTILES {
        let _ = write!(html, "<th>{name} ms</th>");
    }
    html.push_str("<th>answers</th><th>refused</th><th>decoded, right</th></tr>\n");
    for Measured {
        size,
        record,
        decoded,
    } in measured
    {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td>",
            quantity::show_bytes(*size),
            number(record.requests_per_second()),
            number(record.mb_per_second()),
            record.ratio()
        );
        for (_, percentile) in PERCENTILES {
            let _ = write!(html, "<td>{}</td>", time(ms_at(record.total(), percentile)));
        }
        let _ = writeln!(
            html,
            "<td>{}</td><td>{}</td><td>{decoded}</td></tr>",
            record.requests(),
            record.refused()
        );
    }
    html.push_str("</table></div>\n");
}

fn section(html: &mut String, one: &Measured) {
    let record = &one.record;
    let _ = writeln!(
        html,
        "<h2>{}</h2>\n<div class=\"plots\">",
        quantity::show_bytes(one.size)
    );
    let _ = writeln!(
        html,
        "<figure><h3>Latency by percentile and phase</h3>{}</figure>",
        latency(record)
    );
    let _ = writeln!(
        html,
        "<figure><h3>Throughput over time</h3>{}</figure></div>",
        throughput(record)
    );
    html.push_str("<div class=\"scroll\"><table><tr><th>phase, ms</th>");
    for (name, _) in PERCENTILES {
        let _ = write!(html, "<th>{name}</th>");
    }
    html.push_str("<th>max</th></tr>\n");
    for (name, times) in record.phases().chain([("total", record.total())]) {
        let _ = write!(html, "<tr><td>{name}</td>");
        for (_, percentile) in PERCENTILES {
            let _ = write!(html, "<td>{}</td>", time(ms_at(times, percentile)));
        }
        let _ = writeln!(html, "<td>{}</td></tr>", time(ms_at(times, 100.0)));
    }
    html.push_str("</table></div>\n");
    for (what, counts) in [
        ("served by", record.engines().collect::<Vec<_>>()),
        ("refused", record.refusals().collect()),
    ] {
        if !counts.is_empty() {
            let parts: Vec<_> = counts
                .iter()
                .map(|(label, count)| format!("{} × {count}", escape(label)))
                .collect();
            let _ = writeln!(html, "<p>{what}: {}</p>", parts.join(", "));
        }
    }
}

fn latency(record: &Record) -> String {
    let curve = |name: &str, times: &hdrhistogram::Histogram<u64>| Series {
        name: name.to_owned(),
        points: (0..=CURVE_POINTS)
            .map(|point| {
                let nines = CURVE_NINES * f64::from(point) / f64::from(CURVE_POINTS);
                let beyond = 10f64.powf(-nines);
                (1.0 / beyond, ms_at(times, 100.0 * (1.0 - beyond)))
            })
            .collect(),
    };
    let mut series = vec![curve("total", record.total())];
    series.extend(record.phases().map(|(name, times)| curve(name, times)));
    let values = || {
        series
            .iter()
            .flat_map(|line| line.points.iter().map(|(_, ms)| *ms))
    };
    let low = values()
        .filter(|ms| *ms > 0.0)
        .fold(f64::INFINITY, f64::min);
    let high = values().fold(0.0, f64::max);
    let marks = [
        ("0", 1.0),
        ("50", 2.0),
        ("90", 10.0),
        ("99", 100.0),
        ("99.9", 1e3),
        ("99.99", 1e4),
    ];
    let x = Axis {
        title: "percentile",
        from: 1.0,
        to: 10f64.powf(CURVE_NINES),
        logarithmic: true,
        marks: marks.map(|(label, at)| (at, label.to_owned())).to_vec(),
    };
    let y = Axis::powers_of_ten("ms", if low.is_finite() { low } else { 0.1 }, high);
    plot("Latency by percentile and phase", &x, &y, &series)
}

fn throughput(record: &Record) -> String {
    let points = record.throughput();
    let top = points.iter().map(|(_, mb)| *mb).fold(0.0, f64::max);
    let end = points.last().map_or(1.0, |(at, _)| *at);
    let x = Axis::linear("s", end);
    let y = Axis::linear("MB/s", top);
    let series = [Series {
        name: "original bytes answered".to_owned(),
        points,
    }];
    plot("Throughput over time", &x, &y, &series)
}
