//! A bench's figures as tables for a terminal.
//!
//! Owns columns and their widths. Every number comes from the records.

use std::io::{self, Write};

use super::Measured;
use super::record::{PERCENTILES, ms_at};
use crate::quantity;

/// Write the tables.
///
/// # Errors
/// The output's.
pub(crate) fn write(out: &mut impl Write, measured: &[Measured]) -> io::Result<()> {
    let mut rows = vec![
        [
            "size", "req/s", "MB/s", "ratio", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms",
            "answers", "refused",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for Measured { size, record, .. } in measured {
        let mut row = vec![
            quantity::show_bytes(*size),
            number(record.requests_per_second()),
            number(record.mb_per_second()),
            format!("{:.2}", record.ratio()),
        ];
        row.extend(PERCENTILES.map(|(_, percentile)| time(ms_at(record.total(), percentile))));
        row.push(time(ms_at(record.total(), 100.0)));
        row.push(record.requests().to_string());
        row.push(record.refused().to_string());
        rows.push(row);
    }
    columns(out, &rows)?;
    for Measured {
        size,
        record,
        decoded,
    } in measured
    {
        writeln!(
            out,
            "\n{}: where the time goes, ms",
            quantity::show_bytes(*size)
        )?;
        let mut rows = vec![
            ["phase", "p50", "p90", "p99", "p99.9", "max"]
                .map(str::to_owned)
                .to_vec(),
        ];
        for (name, times) in record.phases() {
            let mut row = vec![name.to_owned()];
            row.extend(PERCENTILES.map(|(_, percentile)| time(ms_at(times, percentile))));
            row.push(time(ms_at(times, 100.0)));
            rows.push(row);
        }
        columns(out, &rows)?;
        let total = record.requests().max(1);
        let list = |counts: &mut dyn Iterator<Item = (&str, u64)>, of: u64| {
            let parts: Vec<_> = counts
                .map(|(label, count)| format!("{label} {} %", percent(count, of)))
                .collect();
            parts.join(", ")
        };
        writeln!(out, "served by  {}", list(&mut record.engines(), total))?;
        if record.refused() > 0 {
            let of = total.saturating_add(record.refused());
            writeln!(out, "refused    {}", list(&mut record.refusals(), of))?;
        }
        writeln!(out, "decoded    {decoded} answers, all right")?;
    }
    writeln!(
        out,
        "\nreceive is the gateway's wait for the body; blocks that run side by side add up in queue, transfer, device and \
         verify; outside is network and client."
    )
}

/// Right-aligned, but for the first column.
fn columns(out: &mut impl Write, rows: &[Vec<String>]) -> io::Result<()> {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<_> = (0..count)
        .map(|column| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    for row in rows {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let width = *width;
            match column {
                0 => line.push_str(&format!("{cell:width$}")),
                _ => line.push_str(&format!("  {cell:>width$}")),
            }
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Three digits that matter.
pub(crate) fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// Milliseconds, with as many places as the clock gives.
pub(crate) fn time(ms: f64) -> String {
    match ms {
        ms if ms >= 100.0 => format!("{ms:.0}"),
        ms if ms >= 10.0 => format!("{ms:.1}"),
        ms if ms >= 1.0 => format!("{ms:.2}"),
        ms => format!("{ms:.3}"),
    }
}

fn percent(count: u64, of: u64) -> String {
    let share = 100.0 * super::record::as_f64(count) / super::record::as_f64(of.max(1));
    match share {
        share if !(0.05..99.95).contains(&share) => format!("{share:.0}"),
        share => format!("{share:.1}"),
    }
}
