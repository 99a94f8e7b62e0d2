//! The table as text.

use std::fmt::Write;

use super::measure::{Cell, Table};

/// Our path is to be within 3 % of the library that it calls.
pub(super) const OF_LIBRARY_MIN: f64 = 0.97;

/// The table as Markdown: a block for each size, then the incompressible files, then what misses the goal.
#[must_use]
pub fn text(table: &Table) -> String {
    let mut out = String::new();
    render(table, &mut out).map_or_else(|_| String::new(), |()| out)
}

fn render(table: &Table, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "{} bytes a pass; MB of uncompressed data a CPU second, one thread; ISA-L {}.",
        table.bytes,
        if table.isal { "present" } else { "absent" }
    )?;
    for (size, block_bytes) in super::BLOCK_BYTES.iter().enumerate() {
        writeln!(
            out,
            "\nBlocks of {} KiB, each a body of its own:\n",
            block_bytes >> 10
        )?;
        writeln!(
            out,
            "| format | level | engine | ratio | compress | decompress | verified costs | ours / library | as middle block | front |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
        for row in &table.rows {
            let Some(cell) = row.cells.get(size) else {
                continue;
            };
            let level = row
                .level
                .map_or_else(|| "-".to_owned(), |level| level.to_string());
            writeln!(
                out,
                "| {} | {level} | {} | {:.3} | {:.0} | {} | {} | {} | {} | {} |",
                row.format,
                row.engine,
                cell.ratio,
                cell.compress_mb_s,
                or_dash(cell.decompress_mb_s, 0),
                or_dash(cell.verification, 2),
                or_dash(cell.of_library.map(|[median, ..]| median), 3),
                or_dash(cell.middle_of_library, 3),
                if cell.on_front { "yes" } else { "" },
            )?;
        }
    }
    writeln!(
        out,
        "\nData that cannot be compressed (and json_logs, which can), ours / the engine without the test:\n"
    )?;
    writeln!(
        out,
        "| file | KiB | level | stored untried | speed |\n|---|---|---|---|---|"
    )?;
    for skipped in &table.skipped {
        writeln!(
            out,
            "| {} | {} | {} | {:.1} % | x {:.2} |",
            skipped.file,
            skipped.block_bytes >> 10,
            skipped.level,
            skipped.stored * 100.0,
            skipped.gain
        )?;
    }
    let misses: Vec<String> = table
        .rows
        .iter()
        .flat_map(|row| row.cells.iter().map(move |cell| (row, cell)))
        .filter_map(|(row, cell)| miss(cell).map(|share| (row, cell, share)))
        .map(|(row, cell, share)| {
            format!(
                "{} {} at {} KiB {share:.3}",
                row.format,
                row.engine,
                cell.block_bytes >> 10
            )
        })
        .collect();
    writeln!(
        out,
        "\nWithin 3 % of the library called directly: {}.",
        if misses.is_empty() {
            "all".to_owned()
        } else {
            format!("all but {}", misses.join(", "))
        }
    )
}

fn miss(cell: &Cell) -> Option<f64> {
    cell.of_library
        .map(|[median, ..]| median)
        .filter(|median| *median < OF_LIBRARY_MIN)
}

fn or_dash(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}
