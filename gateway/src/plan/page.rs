//! A plan's figures as one HTML page that needs nothing else.
//!
//! Owns what is on the page. Every number comes from the figures; nothing is fetched, and there is no script.

use std::fmt::Write;

use faam_sched::simulation::SLOTS;

use super::figures::{Figures, MODEL, Point, machine_lines, millis, ms, number, percent, promises};
use super::goal::PERCENTILES;
use super::sweep::Sweep;
use crate::plot::{Axis, STYLE, Series, escape, plot};

/// The page.
pub(super) fn page(figures: &Figures) -> String {
    let title = escape(&figures.plan.title);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>faam plan: {title}</title>\n<style>{STYLE}</style>\n\
         <h1>faam plan: {title}</h1>\n"
    );
    for line in figures.head().iter().skip(1) {
        let _ = writeln!(html, "<p class=\"soft\">{}</p>", escape(line));
    }
    if let Some(answer) = figures.answer() {
        let _ = writeln!(html, "<h2>{}</h2>", escape(&answer));
    }
    if let Some(sweep) = &figures.plan.sweep {
        sweep_plots(&mut html, figures, sweep);
        sweep_table(&mut html, figures, sweep);
    }
    if let [point] = figures.points.as_slice() {
        point_section(&mut html, figures, point);
    }
    if let Some(note) = figures.sample_note() {
        let _ = writeln!(html, "<p class=\"soft\">{}</p>", escape(&note));
    }
    let _ = writeln!(
        html,
        "<p class=\"soft\">{}. MB are 10<sup>6</sup> bytes of original data.</p>\n</html>",
        escape(MODEL)
    );
    html
}

fn sweep_plots(html: &mut String, figures: &Figures, sweep: &Sweep) {
    let at = |of: &dyn Fn(&Point) -> f64| -> Vec<(f64, f64)> {
        let points = figures.points.iter();
        points
            .map(|point| (point.value.unwrap_or(f64::NAN), of(point)))
            .collect()
    };
    let latency: Vec<_> = PERCENTILES
        .iter()
        .map(|(name, per_mille)| Series {
            name: (*name).to_owned(),
            points: at(&|point| {
                let latency = figures.plan.goal.latency(&point.report.all);
                millis(latency.per_mille(*per_mille))
            }),
        })
        .collect();
    let utilisation = vec![
        Series {
            name: "cores".to_owned(),
            points: at(&|point| point.report.all.core_utilisation() * 100.0),
        },
        Series {
            name: "cards' engines".to_owned(),
            points: at(&|point| point.report.all.engine_utilisation().unwrap_or(0.0) * 100.0),
        },
        Series {
            name: "refused or failed".to_owned(),
            points: at(&|point| figures.plan.goal.failed(&point.report.all) * 100.0),
        },
    ];
    let top = sweep.values.last().copied().unwrap_or(1.0);
    let low = sweep.values.first().copied().unwrap_or(0.0);
    let x = || {
        if low > 0.0 && top / low > 20.0 {
            Axis::powers_of_ten(sweep.parameter.title(), low, top)
        } else {
            Axis::linear(sweep.parameter.title(), top)
        }
    };
    let values = || {
        latency
            .iter()
            .flat_map(|line| line.points.iter().map(|(_, ms)| *ms))
    };
    let least = values()
        .filter(|ms| *ms > 0.0)
        .fold(f64::INFINITY, f64::min);
    let most = values().fold(0.0, f64::max);
    let y = Axis::powers_of_ten("ms", if least.is_finite() { least } else { 0.1 }, most);
    let _ = writeln!(
        html,
        "<div class=\"plots\"><figure><h3>Latency</h3>{}</figure>",
        plot("Latency", &x(), &y, &latency)
    );
    let y = Axis::linear("%", 100.0);
    let _ = writeln!(
        html,
        "<figure><h3>Utilisation and failures</h3>{}</figure></div>",
        plot("Utilisation and failures", &x(), &y, &utilisation)
    );
}

fn sweep_table(html: &mut String, figures: &Figures, sweep: &Sweep) {
    let _ = write!(
        html,
        "<div class=\"scroll\"><table><tr><th>{}</th><th>cards</th><th>offered/s</th><th>MB/s</th>",
        escape(sweep.parameter.title())
    );
    for (name, _) in PERCENTILES {
        let _ = write!(html, "<th>{name} ms</th>");
    }
    html.push_str("<th>failed %</th><th>cores %</th><th>engines %</th><th>goal</th></tr>\n");
    for (point, met) in figures.points.iter().zip(&figures.met) {
        let report = &point.report.all;
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
            point.value.unwrap_or(f64::NAN),
            point.cards(),
            number(point.rate(report.classes.iter().map(|class| class.offered).sum())),
            number(point.rate(report.classes.iter().map(|class| class.bytes).sum()) / 1e6)
        );
        let latency = figures.plan.goal.latency(report);
        for (_, per_mille) in PERCENTILES {
            let _ = write!(html, "<td>{}</td>", ms(latency.per_mille(per_mille)));
        }
        let _ = writeln!(
            html,
            "<td>{:.2}</td><td>{:.0}</td><td>{}</td><td>{}</td></tr>",
            figures.plan.goal.failed(report) * 100.0,
            report.core_utilisation() * 100.0,
            percent(report.engine_utilisation()),
            if *met { "met" } else { "-" }
        );
    }
    html.push_str("</table></div>\n");
}

fn point_section(html: &mut String, figures: &Figures, point: &Point) {
    let report = &point.report.all;
    let seconds = report.duration.0 as f64 / 1e9;
    let (unit, scale) = match seconds {
        seconds if seconds >= 4.0 * 3600.0 => ("hours", 3600.0),
        seconds if seconds >= 600.0 => ("minutes", 60.0),
        _ => ("s", 1.0),
    };
    let slot_s = seconds / SLOTS as f64;
    let over_time = |of: &dyn Fn(&faam_sched::simulation::Slot) -> f64| -> Vec<(f64, f64)> {
        let slots = report.slots.iter().enumerate();
        slots
            .map(|(n, slot)| ((n as f64 + 0.5) * slot_s / scale, of(slot)))
            .collect()
    };
    let latency: Vec<_> = PERCENTILES
        .iter()
        .map(|(name, per_mille)| Series {
            name: (*name).to_owned(),
            points: over_time(&|slot| millis(slot.latency.per_mille(*per_mille))),
        })
        .collect();
    let slot_ns = slot_s * 1e9;
    let engines: u64 = report
        .functions
        .iter()
        .map(|function| function.engines)
        .sum();
    let busy = |time: f64, of: u64| 100.0 * time / (slot_ns * of.max(1) as f64);
    let load = vec![
        Series {
            name: "cores".to_owned(),
            points: over_time(&|slot| busy(slot.core_busy.0 as f64, report.cores)),
        },
        Series {
            name: "cards' engines".to_owned(),
            points: over_time(&|slot| busy(slot.engine_busy.0 as f64, engines)),
        },
    ];
    let offered = vec![Series {
        name: "offered".to_owned(),
        points: over_time(&|slot| slot.offered as f64 * point.scale() / slot_s),
    }];
    let values = || {
        latency
            .iter()
            .flat_map(|line| line.points.iter().map(|(_, ms)| *ms))
    };
    let least = values()
        .filter(|ms| *ms > 0.0)
        .fold(f64::INFINITY, f64::min);
    let most = values().fold(0.0, f64::max);
    let x = || Axis::linear(unit, seconds / scale);
    let y = Axis::powers_of_ten("ms", if least.is_finite() { least } else { 0.1 }, most);
    let _ = writeln!(
        html,
        "<div class=\"plots\"><figure><h3>Latency over time</h3>{}</figure>\
         <figure><h3>Utilisation over time, %</h3>{}</figure>",
        plot("Latency over time", &x(), &y, &latency),
        plot(
            "Utilisation over time",
            &x(),
            &Axis::linear("%", 100.0),
            &load
        )
    );
    let top = offered
        .iter()
        .flat_map(|line| line.points.iter().map(|(_, y)| *y));
    let y = Axis::linear("requests a second", top.fold(0.0, f64::max));
    let _ = writeln!(
        html,
        "<figure><h3>Requests a second</h3>{}</figure></div>",
        plot("Requests a second", &x(), &y, &offered)
    );
    html.push_str("<div class=\"scroll\"><table><tr><th>tenants</th><th>number</th><th>offered/s</th><th>MB/s</th>");
    for (name, _) in PERCENTILES {
        let _ = write!(html, "<th>{name} ms</th>");
    }
    html.push_str("<th>queue p99 ms</th></tr>\n");
    for class in &report.classes {
        let _ = write!(
            html,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
            escape(&class.name),
            class.tenants,
            number(point.rate(class.offered)),
            number(point.rate(class.bytes) / 1e6)
        );
        for (_, per_mille) in PERCENTILES {
            let _ = write!(html, "<td>{}</td>", ms(class.latency.per_mille(per_mille)));
        }
        let _ = writeln!(html, "<td>{}</td></tr>", ms(class.waited.per_mille(990)));
    }
    html.push_str("</table></div>\n");
    let lines = promises(point)
        .into_iter()
        .chain(figures.reasons(report))
        .chain(machine_lines(report));
    for line in lines {
        let _ = writeln!(html, "<p>{}</p>", escape(&line));
    }
}
