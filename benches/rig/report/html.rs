//! A run as a page of its own: no script, nothing loaded, light and dark.
//!
//! The order is a reader's: what holds, then the pictures that say why, then every figure.

use std::fmt::Write;
use std::path::Path;

use super::plot::{self, Bar, Dot, Line, Spread, escape};
use crate::anchors::Anchor;
use crate::contender::{Contender, Row};
use crate::results::{Cell, Percentile, Point, Run, as_f64, bytes_text};
use crate::statistics::{Estimate, count};
use crate::targets::{State, Verdict};

const STYLE: &str = include_str!("style.css");
const MIB: f64 = 1048576.0;
/// Callers of the pictures: the most that are measured.
const PICTURED: usize = 64;

/// The page; flame graphs are read from `dir`.
pub(crate) fn page(run: &Run, dir: &Path) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write_page(run, dir, &mut out);
    out
}

fn write_page(run: &Run, dir: &Path, out: &mut String) -> std::fmt::Result {
    let hold = run.targets.iter().filter(|v| v.state == State::Ok).count();
    let setting = &run.setting;
    write!(
        out,
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><meta name='viewport' content='width=device-width'>\
         <title>FaaM: compression over HTTP, side by side</title><style>{STYLE}</style></head><body><main>\
         <h1>Compression over HTTP, side by side</h1>\
         <p class='soft'>{}; servers on processor {}, load on processor {}. A {} run of {:.0} s, {} UTC. Bodies: {}, from {}.</p>",
        escape(&setting.processor),
        setting.server_cpu,
        setting.load_cpu,
        escape(&setting.kind),
        setting.took_s,
        date(setting.began_unix_s),
        match setting.data {
            crate::pool::Data::Mixed =>
                "half JSON logs, half text, HTML, source, machine code and telemetry",
            crate::pool::Data::Logs => "JSON logs",
        },
        escape(&setting.corpus)
    )?;
    write!(
        out,
        "<h2>Targets: {hold} of {} hold</h2>",
        run.targets.len()
    )?;
    targets(&run.targets, out)?;
    costs(run, out)?;
    legend(out);
    pictures(run, out)?;
    super::profiles::write(run, dir, out)?;
    tables(run, out)?;
    method(run, out)?;
    out.push_str("</main></body></html>\n");
    Ok(())
}

fn targets(verdicts: &[Verdict], out: &mut String) -> std::fmt::Result {
    out.push_str(
        "<div class='card'><table><tr><th>target</th><th class='text'></th><th class='text'>what</th>\
         <th class='text'>figures: median, threshold, 95 % interval</th></tr>",
    );
    for verdict in verdicts {
        let (class, word) = match verdict.state {
            State::Ok => ("ok", "holds"),
            State::Missed => ("missed", "missed"),
            State::NotMeasured => ("none", "not measured"),
        };
        write!(
            out,
            "<tr><td>{}</td><td class='text'><span class='badge {class}'>{word}</span></td><td class='text wrap'>{}</td><td class='text wrap'>",
            escape(&verdict.target),
            escape(&verdict.what)
        )?;
        for figure in &verdict.figures {
            let bad = figure.counts && !figure.holds();
            write!(
                out,
                "<div><span class='{}'>{}</span> <span class='small'>[{:.2}, {:.2}] {}{}</span></div>",
                if bad { "figure-bad" } else { "" },
                escape(&figure.compared()),
                figure.value.low,
                figure.value.high,
                escape(&figure.of),
                if figure.counts {
                    ""
                } else {
                    " (for information)"
                }
            )?;
        }
        out.push_str("</td></tr>");
    }
    out.push_str("</table></div>");
    Ok(())
}

/// What parts cost, where the run has rows with and without them.
fn costs(run: &Run, out: &mut String) -> std::fmt::Result {
    let costs = crate::costs::costs(run);
    if costs.is_empty() {
        return Ok(());
    }
    out.push_str(
        "<h2>What parts cost</h2><div class='card'><table><tr><th class='text'>what</th><th class='text'>rows</th>\
         <th class='text'>at</th><th class='text'>with / without: median, 95 % interval</th></tr>",
    );
    for cost in costs {
        let (with, without) = cost.rows;
        write!(
            out,
            "<tr><td class='text wrap'>{}</td><td class='text'>{with} / {without}</td><td class='text'>{}</td><td class='text'>{}</td></tr>",
            escape(cost.what),
            escape(&cost.cell.name()),
            escape(&cost.figures())
        )?;
    }
    out.push_str("</table></div>");
    Ok(())
}

fn legend(out: &mut String) {
    out.push_str(
        "<div class='legend'><span><i class='faam'></i>FaaM, verified</span><span><i class='faam-off'></i>FaaM, verification off</span>\
         <span><i class='faam-card'></i>FaaM with a simulated card, verified</span><span><i class='other'></i>others, unverified</span>\
         <span><i class='bare'></i>bare: HTTP and our engines, no gateway</span><span><i class='echo'></i>echo: HTTP alone</span><span><i class='raw'></i>raw codec, no HTTP</span></div>",
    );
}

const fn class(row: Row) -> &'static str {
    match row.contender {
        Contender::Echo => "echo",
        Contender::Bare | Contender::BareUnverified => "bare",
        Contender::Naive | Contender::Nginx | Contender::Node => "other",
        Contender::FaamCpu
        | Contender::FaamLimited
        | Contender::FaamSpans
        | Contender::FaamBefore => "faam",
        Contender::FaamCpuUnverified => "faam-off",
        Contender::FaamCard | Contender::FaamAuto => "faam-card",
    }
}

fn pictures(run: &Run, out: &mut String) -> std::fmt::Result {
    let cells: Vec<Cell> = {
        let mut cells = run.cells();
        let most = cells.iter().map(|cell| cell.concurrency).max();
        cells.retain(|cell| cell.concurrency == PICTURED || Some(cell.concurrency) == most);
        cells.sort_by_key(|cell| cell.body_bytes);
        cells
    };
    let at = |cell: Cell| run.points.iter().filter(move |point| point.cell == cell);
    if !cells.is_empty() {
        out.push_str("<h2>Throughput a CPU second</h2><p class='soft'>Input bytes that a server compresses with a second of processor time, and the ratio it reaches. Whiskers are 95 % intervals of the median. The echo does no compression and is left out here. Where a card serves only the gateway's own process is counted; what the simulated card costs is in the tables.</p>");
    }
    for &cell in &cells {
        let bars: Vec<Bar> = at(cell)
            .filter(|point| point.row != Row::ECHO)
            .filter_map(|point| {
                let value = point.estimate(|window| window.mb_per_cpu_s)?;
                let ratio = point.median(|window| window.ratio);
                let note = format!("{:.0}  ratio {ratio:.2}", value.median);
                Some(bar(point, value, note))
            })
            .collect();
        let raw = raw_rate(run, cell);
        let mark = raw.map(|rate| (rate, "raw libdeflate 1"));
        let svg = plot::bars("throughput", "MB per CPU s", &bars, mark);
        figure(out, &cell_title(cell), "", &svg)?;
    }
    if let Some(&cell) = cells.iter().find(|cell| cell.body_bytes == 64 << 10) {
        front(run, cell, out)?;
    }
    if !cells.is_empty() {
        out.push_str("<h2>Latency</h2><p class='soft'>p50, p99 and, where there are enough requests for it, p99.9, on a logarithmic axis. With this many callers on one core latency is queueing: a faster server is a shorter queue.</p>");
    }
    for &cell in &cells {
        let rows: Vec<Spread> = at(cell).filter_map(spread).collect();
        let svg = plot::spreads("latency", "ms", &rows);
        if !svg.is_empty() {
            figure(out, &cell_title(cell), "", &svg)?;
        }
    }
    if let Some(&cell) = cells.iter().find(|cell| cell.body_bytes == 1 << 20) {
        memory(run, cell, out)?;
    }
    paced(run, out)
}

fn bar(point: &Point, value: Estimate, note: String) -> Bar {
    Bar {
        name: point.row.to_string(),
        class: class(point.row),
        value,
        note,
    }
}

fn spread(point: &Point) -> Option<Spread> {
    let all = [Percentile::P50, Percentile::P99, Percentile::P999];
    let values: Vec<f64> = all
        .into_iter()
        .filter_map(|which| point.latency_ms(which))
        .collect();
    let note: Vec<_> = values.iter().map(|ms| format!("{ms:.1}")).collect();
    (!values.is_empty()).then(|| Spread {
        name: point.row.to_string(),
        class: class(point.row),
        values,
        note: note.join(" / "),
    })
}

fn front(run: &Run, cell: Cell, out: &mut String) -> std::fmt::Result {
    let points = run
        .points
        .iter()
        .filter(|p| p.cell == cell && p.row != Row::ECHO);
    let mut dots: Vec<Dot> = points
        .map(|point| Dot {
            name: point.row.to_string(),
            class: class(point.row),
            at: (
                point.median(|window| window.mb_per_cpu_s),
                point.median(|window| window.ratio),
            ),
        })
        .collect();
    for anchor in last_anchors(run, cell) {
        dots.push(Dot {
            name: format!("raw {}", anchor.codec.name()),
            class: "raw",
            at: (anchor.compress_mb_per_s(), anchor.ratio),
        });
    }
    dots.retain(|dot| dot.at.0.is_finite() && dot.at.1.is_finite());
    let svg = plot::scatter("speed and ratio", ("MB per CPU s", "ratio"), &dots);
    figure(
        out,
        &format!("The front: speed and ratio, {}", cell_title(cell)),
        "Further right is faster, further up is smaller. Nothing serves HTTP to the right of its own raw codec.",
        &svg,
    )
}

fn memory(run: &Run, cell: Cell, out: &mut String) -> std::fmt::Result {
    let bars: Vec<Bar> = run
        .points
        .iter()
        .filter(|point| point.cell == cell)
        .filter_map(|point| {
            let mib = as_f64(point.memory.bytes()) / MIB;
            let value = Estimate::of(&[mib])?;
            Some(bar(point, value, format!("{mib:.0}")))
        })
        .collect();
    let sent = count(cell.body_bytes * cell.concurrency) / MIB;
    let svg = plot::bars(
        "peak memory",
        "MiB",
        &bars,
        Some((sent, "payload x callers")),
    );
    out.push_str("<h2>Memory</h2>");
    figure(
        out,
        &format!("Peak memory of the server, {}", cell_title(cell)),
        "VmHWM and huge pages of a process started for this cell; a gateway's DMA arena is part of it, its card's process is not.",
        &svg,
    )
}

fn paced(run: &Run, out: &mut String) -> std::fmt::Result {
    if run.paced.is_empty() {
        return Ok(());
    }
    let line = |name: &str, class, of: fn(&crate::results::PacedPoint) -> &Vec<f64>| Line {
        name: name.to_owned(),
        class,
        points: run
            .paced
            .iter()
            .filter_map(|point| Some((count(point.users), Estimate::of(of(point))?.median)))
            .collect(),
    };
    let lines = [
        line("through the gateway", "faam", |point| {
            &point.gateway_mb_per_s
        }),
        line("straight to the driver", "other", |point| {
            &point.driver_mb_per_s
        }),
    ];
    let svg = plot::lines("paced card", ("users", "MB/s"), &lines);
    out.push_str("<h2>What the gateway leaves of a card</h2>");
    figure(
        out,
        "A simulated card that keeps a slow clock, 64 KiB bodies",
        &format!(
            "MB/s of all users together. Both sides decode and compare. One engine a function, two functions, 20 MHz: the card is the bound, not the model.{}",
            run.paced_added_us().map_or_else(String::new, |us| format!(
                " With one user, who waits for each body, the gateway adds {us:.0} us to one."
            ))
        ),
        &svg,
    )
}

fn figure(out: &mut String, title: &str, caption: &str, svg: &str) -> std::fmt::Result {
    write!(
        out,
        "<figure><h3>{}</h3>{}{svg}</figure>",
        escape(title),
        if caption.is_empty() {
            String::new()
        } else {
            format!("<figcaption>{}</figcaption>", escape(caption))
        }
    )
}

fn cell_title(cell: Cell) -> String {
    let callers = if cell.concurrency == 1 {
        "caller"
    } else {
        "callers"
    };
    format!(
        "{}, {} {callers}",
        bytes_text(cell.body_bytes as u64),
        cell.concurrency
    )
}

fn last_anchors(run: &Run, cell: Cell) -> Vec<Anchor> {
    let last = run.anchors.iter().rev().find(|one| one.cell == cell);
    last.map(|one| one.anchors.clone()).unwrap_or_default()
}

fn raw_rate(run: &Run, cell: Cell) -> Option<f64> {
    let rates: Vec<f64> = run
        .anchors
        .iter()
        .filter(|one| one.cell == cell)
        .flat_map(|one| &one.anchors)
        .filter(|anchor| anchor.codec == crate::anchors::Codec::Libdeflate1)
        .map(Anchor::compress_mb_per_s)
        .collect();
    Estimate::of(&rates).map(|estimate| estimate.median)
}

fn tables(run: &Run, out: &mut String) -> std::fmt::Result {
    out.push_str("<h2>Every figure</h2>");
    let mut cells = run.cells();
    cells.sort_by_key(|cell| (cell.body_bytes, cell.concurrency));
    for cell in cells {
        write!(
            out,
            "<h3>{}</h3><div class='card'><table><tr><th>server</th><th>req/s</th><th>MB per CPU s</th><th>CPU us a request</th>\
             <th>p50 ms</th><th>p99</th><th>p99.9</th><th>ratio</th><th>peak MiB</th><th>load busy</th><th class='text'>engine</th></tr>",
            cell_title(cell)
        )?;
        for point in run.points.iter().filter(|point| point.cell == cell) {
            table_row(point, out)?;
        }
        for anchor in last_anchors(run, cell) {
            write!(
                out,
                "<tr><td class='soft'>raw</td><td></td><td>{:.0}</td><td></td><td></td><td></td><td></td><td>{:.2}</td><td></td><td></td>\
                 <td class='text wrap'>{}; {} MB per CPU s</td></tr>",
                anchor.compress_mb_per_s(),
                anchor.ratio,
                anchor.codec.name(),
                anchor.verify_text()
            )?;
        }
        out.push_str("</table></div>");
    }
    if let Some(handoff) = &run.handoff {
        write!(
            out,
            "<h3>Hand-off between a caller and an engine, {} bodies</h3><div class='card'><table><tr><th>state</th><th>p50 us</th><th>95 % interval</th></tr>",
            bytes_text(handoff.body_bytes as u64)
        )?;
        for (state, e) in [("idle", handoff.idle_us), ("busy", handoff.busy_us)] {
            write!(
                out,
                "<tr><td>{state}</td><td>{:.2}</td><td>{:.2} to {:.2}</td></tr>",
                e.median, e.low, e.high
            )?;
        }
        out.push_str("</table></div>");
    }
    Ok(())
}

fn table_row(point: &Point, out: &mut String) -> std::fmt::Result {
    let rate = point.estimate(|window| window.mb_per_cpu_s);
    let rate = rate.map_or_else(String::new, |e| {
        format!(
            "{:.0} <span class='small'>[{:.0}, {:.0}]</span>",
            e.median, e.low, e.high
        )
    });
    let ms = |which| {
        point
            .latency_ms(which)
            .map_or_else(|| "&ndash;".to_owned(), |ms| format!("{ms:.2}"))
    };
    let refused: u64 = point.windows.iter().map(|w| w.refused + w.failed).sum();
    let mut engine = escape(&point.engine);
    if point.verified {
        engine.push_str(", verified");
    }
    let card = point.median(|window| window.card_us_per_request);
    if card > 0.0 {
        let _ = write!(engine, "; its card's process {card:.0} us a request");
    }
    let upstream = point.median(|window| window.upstream_us_per_request);
    if upstream > 0.0 {
        let _ = write!(engine, "; its upstream {upstream:.0} us a request");
    }
    if refused > 0 {
        let _ = write!(engine, "; {refused} refused or failed");
    }
    write!(
        out,
        "<tr class='{}'><td>{}</td><td>{:.0}</td><td>{rate}</td><td>{:.1}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td>\
         <td>{:.1}</td><td>{:.0} %</td><td class='text wrap'>{engine}</td></tr>",
        if point.row.is_faam() { "ours" } else { "" },
        point.row,
        point.median(|w| w.requests_per_s),
        point.median(|w| w.cpu_us_per_request),
        ms(Percentile::P50),
        ms(Percentile::P99),
        ms(Percentile::P999),
        point.median(|w| w.ratio),
        as_f64(point.memory.bytes()) / MIB,
        100.0 * point.median(|w| w.load_busy)
    )
}

fn method(run: &Run, out: &mut String) -> std::fmt::Result {
    let checked: u64 = run.points.iter().map(|point| point.samples_checked).sum();
    write!(
        out,
        "<h2>How it was measured</h2><p>Every server is a process of its own, bound to one processor; the load generator is bound to \
         another, a closed loop over kept-alive HTTP/1.1 connections. All servers take windows in turn, over several rounds; another one \
         begins in each round, and what is compared is compared within a round. A window runs from an idle server to an idle server, so \
         that its CPU time (the kernel's process clock) and its bytes are of the same requests; load before it is not counted. Bodies are \
         distinct blocks, in the same order for every server. nginx stands before an upstream that echoes the body and runs on the load's \
         processor, uncounted. {checked} answers were decoded and compared with their bodies after their windows. Raw codecs run on the \
         servers' processor in every round, on the same blocks.</p>"
    )?;
    if !run.notes.is_empty() {
        out.push_str("<h3>Notes</h3><ul>");
        for note in &run.notes {
            write!(out, "<li>{}</li>", escape(note))?;
        }
        out.push_str("</ul>");
    }
    Ok(())
}

/// `2026-11-24 12:05` of seconds since 1970, by the civil calendar (days from 0000-03-01, in eras of 400 years).
fn date(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400 + 719_468, unix_s % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}",
        second / 3600,
        second % 3600 / 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00");
        assert_eq!(date(951_782_399), "2000-02-28 23:59");
        assert_eq!(date(951_782_400), "2000-02-29 00:00");
        assert_eq!(date(1_795_521_900), "2026-11-24 12:05");
    }
}
