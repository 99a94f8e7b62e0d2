//! The table as one HTML page that needs nothing else: plots of ratio against speed, and the text below them.

use std::fmt::Write;

use super::measure::{Row, Table};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const MARGIN: f64 = 56.0;
/// The speed axis, in MB/s: logarithmic.
const SPEED: [f64; 2] = [2.0, 4_000.0];
const SPEED_TICKS: [f64; 7] = [3.0, 10.0, 30.0, 100.0, 300.0, 1_000.0, 3_000.0];
/// Each format's colour; foreign codecs are grey.
const COLOURS: [(&str, &str); 3] = [("gzip", "#1f5fa8"), ("zstd", "#b3541e"), ("lz4", "#3d7a3d")];
const FOREIGN: &str = "#888888";

/// The page.
#[must_use]
pub fn html(table: &Table) -> String {
    let mut out = String::new();
    render(table, &mut out).map_or_else(|_| String::new(), |()| out)
}

fn render(table: &Table, out: &mut String) -> std::fmt::Result {
    out.push_str(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>FaaM: engines and levels</title>\
         <style>body{font:15px/1.45 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}\
         svg{width:100%;height:auto;border:1px solid #ddd}pre{overflow-x:auto;font-size:12px}</style>\
         <h1>Engines and levels</h1><p>Ratio against compression speed, one thread. Each point is an HTTP level, by its \
         number; grey is zlib-rs, called directly. A line joins the points of a format that none of its others beats in \
         both.</p>",
    );
    for (size, block_bytes) in super::BLOCK_BYTES.iter().enumerate() {
        writeln!(out, "<h2>Blocks of {} KiB</h2>", block_bytes >> 10)?;
        plot(table, size, out)?;
    }
    let text = super::text(table)
        .replace('&', "&amp;")
        .replace('<', "&lt;");
    writeln!(out, "<h2>Table</h2><pre>{text}</pre></html>")
}

fn plot(table: &Table, size: usize, out: &mut String) -> std::fmt::Result {
    let ratios = || {
        let rows = table.rows.iter();
        rows.filter_map(|row| row.cells.get(size))
            .map(|cell| cell.ratio)
    };
    let low = (ratios().fold(f64::INFINITY, f64::min) * 5.0).floor() / 5.0;
    let high = (ratios().fold(0.0, f64::max) * 5.0).ceil() / 5.0;
    let x = |speed: f64| {
        MARGIN + (WIDTH - 1.5 * MARGIN) * (speed / SPEED[0]).ln() / (SPEED[1] / SPEED[0]).ln()
    };
    let y = |ratio: f64| {
        HEIGHT - MARGIN - (HEIGHT - 1.5 * MARGIN) * (ratio - low) / (high - low).max(0.1)
    };
    writeln!(
        out,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" font-size=\"11\" fill=\"#444\">"
    )?;
    for tick in SPEED_TICKS {
        let at = x(tick);
        writeln!(
            out,
            "<path d=\"M{at:.1} {:.1}V{:.1}\" stroke=\"#eee\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>",
            MARGIN / 2.0,
            HEIGHT - MARGIN,
            HEIGHT - MARGIN + 16.0
        )?;
    }
    let mut tick = low;
    while tick <= high + 1e-9 {
        let at = y(tick);
        writeln!(
            out,
            "<path d=\"M{MARGIN} {at:.1}H{:.1}\" stroke=\"#eee\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick:.1}</text>",
            WIDTH - MARGIN / 2.0,
            MARGIN - 6.0,
            at + 4.0
        )?;
        tick += if high - low > 2.0 { 0.4 } else { 0.2 };
    }
    writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">MB/s</text><text x=\"{MARGIN}\" y=\"16\">ratio</text>",
        WIDTH / 2.0,
        HEIGHT - 12.0
    )?;
    for (place, (format, colour)) in COLOURS.iter().enumerate() {
        let rows: Vec<&Row> = table
            .rows
            .iter()
            .filter(|row| row.format == *format)
            .collect();
        let mut front: Vec<(f64, f64)> = rows
            .iter()
            .filter_map(|row| row.cells.get(size))
            .filter(|cell| cell.on_front)
            .map(|cell| (cell.compress_mb_s, cell.ratio))
            .collect();
        front.sort_by(|a, b| a.0.total_cmp(&b.0));
        let line: Vec<String> = front
            .iter()
            .map(|(speed, ratio)| format!("{:.1},{:.1}", x(*speed), y(*ratio)))
            .collect();
        writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>",
            line.join(" ")
        )?;
        for row in rows {
            let Some(cell) = row.cells.get(size) else {
                continue;
            };
            let (at_x, at_y) = (x(cell.compress_mb_s), y(cell.ratio));
            let colour = if row.level.is_some() { colour } else { FOREIGN };
            let label = row
                .level
                .map_or_else(|| row.engine.clone(), |level| level.to_string());
            writeln!(
                out,
                "<circle cx=\"{at_x:.1}\" cy=\"{at_y:.1}\" r=\"3.5\" fill=\"{colour}\"><title>{} {}: {:.3}, {:.0} MB/s</title></circle>\
                 <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{label}</text>",
                row.format,
                row.engine,
                cell.ratio,
                cell.compress_mb_s,
                at_x + 5.0,
                at_y - 5.0
            )?;
        }
        #[expect(clippy::cast_precision_loss, reason = "one of three")]
        let legend_y = 32.0 + 16.0 * place as f64;
        writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{legend_y:.1}\" fill=\"{colour}\" text-anchor=\"end\">{format}</text>",
            WIDTH - MARGIN / 2.0
        )?;
    }
    out.push_str("</svg>\n");
    Ok(())
}
