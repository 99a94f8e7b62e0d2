//! A run as text: a table a cell, raw codecs, the rest, the targets.

use std::fmt::Write;

use crate::results::{Percentile, Point, Run, bytes_text};
use crate::statistics::Estimate;
use crate::targets::State;

/// Everything but the last line.
pub(crate) fn text(run: &Run) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = sections(run, &mut out);
    out
}

fn sections(run: &Run, out: &mut String) -> std::fmt::Result {
    let setting = &run.setting;
    writeln!(
        out,
        "{}; servers on processor {}, load on {}; {}, {:.0} s; bodies: {:?}, {}\n",
        setting.processor,
        setting.server_cpu,
        setting.load_cpu,
        setting.kind,
        setting.took_s,
        setting.data,
        setting.corpus
    )?;
    for cell in run.cells() {
        writeln!(
            out,
            "{}\n{:<11} {:>9} {:>7} {:>15} {:>9} {:>7} {:>8} {:>8} {:>8} {:>6} {:>8} {:>9}  engine",
            cell.name(),
            "server",
            "req/s",
            "MB/s",
            "MB/CPU-s [95 %]",
            "us/req",
            "load %",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "ratio",
            "peak MiB",
            "refused"
        )?;
        for point in run.points.iter().filter(|point| point.cell == cell) {
            row(point, out)?;
        }
        for anchor in run
            .anchors
            .iter()
            .rev()
            .find(|one| one.cell == cell)
            .iter()
            .flat_map(|one| &one.anchors)
        {
            let of = |figure: fn(&crate::anchors::Anchor) -> f64| {
                let values: Vec<f64> = run
                    .anchors
                    .iter()
                    .filter(|one| one.cell == cell)
                    .flat_map(|one| &one.anchors)
                    .filter(|one| one.codec == anchor.codec)
                    .map(figure)
                    .collect();
                Estimate::of(&values).map_or(f64::NAN, |e| e.median)
            };
            writeln!(
                out,
                "raw {:<13} compress {:>5.0} MB/CPU-s, {}; ratio {:.2}",
                anchor.codec.name(),
                of(crate::anchors::Anchor::compress_mb_per_s),
                anchor.verify_text(),
                anchor.ratio
            )?;
        }
        writeln!(out)?;
    }
    if let Some(handoff) = &run.handoff {
        writeln!(
            out,
            "hand-off, {} bodies: idle {:.1} us [{:.1}, {:.1}], busy {:.2} us [{:.2}, {:.2}]\n",
            bytes_text(handoff.body_bytes as u64),
            handoff.idle_us.median,
            handoff.idle_us.low,
            handoff.idle_us.high,
            handoff.busy_us.median,
            handoff.busy_us.low,
            handoff.busy_us.high
        )?;
    }
    if !run.paced.is_empty() {
        writeln!(
            out,
            "paced card (simulated), MB/s of all users: gateway, driver"
        )?;
        for point in &run.paced {
            let median = |values: &[f64]| Estimate::of(values).map_or(f64::NAN, |e| e.median);
            writeln!(
                out,
                "  {:>2} users {:>8.2} {:>8.2}",
                point.users,
                median(&point.gateway_mb_per_s),
                median(&point.driver_mb_per_s)
            )?;
        }
        if let Some(us) = run.paced_added_us() {
            writeln!(out, "  one user: the gateway adds {us:.0} us to a body")?;
        }
        writeln!(out)?;
    }
    for profile in &run.profiles {
        writeln!(
            out,
            "{}, {}: {:.1} us of CPU a request (targets {}; {:.1} s sampled)",
            profile.row,
            profile.cell.name(),
            profile.cpu_us_per_request,
            profile.targets.join(", "),
            crate::results::as_f64(profile.sampled_ns) / 1e9
        )?;
        for part in &profile.parts {
            let share = profile.share(part);
            writeln!(
                out,
                "  {:>5.1} % {:>9.1} us  {}",
                100.0 * share,
                share * profile.cpu_us_per_request,
                part.component.name()
            )?;
        }
        if let Some(floor) = profile.floor {
            writeln!(
                out,
                "  floor {:.1} us: codec {:.1}, decode {:.1}, compare {:.1}, echo {:.1}",
                floor.sum_us(),
                floor.codec_us,
                floor.decode_us,
                floor.compare_us,
                floor.echo_us
            )?;
        }
        writeln!(out)?;
    }
    for note in &run.notes {
        writeln!(out, "note: {note}")?;
    }
    for verdict in &run.targets {
        let state = match verdict.state {
            State::Ok => "ok",
            State::Missed => "MISSED",
            State::NotMeasured => "not measured",
        };
        writeln!(
            out,
            "target {:<3} {state:<12} {}",
            verdict.target, verdict.what
        )?;
        for figure in &verdict.figures {
            writeln!(
                out,
                "             {} {} [{:.2}, {:.2}]{}",
                figure.of,
                figure.compared(),
                figure.value.low,
                figure.value.high,
                if figure.counts { "" } else { " (told only)" }
            )?;
        }
    }
    for cost in crate::costs::costs(run) {
        let (with, without) = cost.rows;
        let cell = cost.cell.name();
        writeln!(
            out,
            "cost of {}, {cell} ({with} / {without}): {}",
            cost.what,
            cost.figures()
        )?;
    }
    Ok(())
}

fn row(point: &Point, out: &mut String) -> std::fmt::Result {
    let rate = point.estimate(|window| window.mb_per_cpu_s);
    let rate = rate.map_or_else(String::new, |e| {
        format!("{:.0} [{:.0}, {:.0}]", e.median, e.low, e.high)
    });
    let ms = |which| {
        point
            .latency_ms(which)
            .map_or_else(|| "-".to_owned(), |ms| format!("{ms:.2}"))
    };
    let refused: u64 = point.windows.iter().map(|w| w.refused + w.failed).sum();
    writeln!(
        out,
        "{:<11} {:>9.0} {:>7.1} {:>15} {:>9.1} {:>7.0} {:>8} {:>8} {:>8} {:>6.2} {:>8.1} {:>9}  {}{}",
        point.row.to_string(),
        point.median(|w| w.requests_per_s),
        point.median(|w| w.mb_per_s),
        rate,
        point.median(|w| w.cpu_us_per_request),
        100.0 * point.median(|w| w.load_busy),
        ms(Percentile::P50),
        ms(Percentile::P99),
        ms(Percentile::P999),
        point.median(|w| w.ratio),
        crate::results::as_f64(point.memory.bytes()) / f64::from(1 << 20),
        refused,
        point.engine,
        if point.verified { ", verified" } else { "" }
    )
}
