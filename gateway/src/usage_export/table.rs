//! Usage in columns, for a terminal. What is not told apart has no column.

use std::io::{self, Write};

use faam_gateway::usage::price::Currency;
use faam_gateway::usage::report::{Sums, UsageReport, UsageRow};

use crate::columns::columns;

/// Units of bytes, smallest first.
const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

pub(super) fn write(out: &mut impl Write, report: &UsageReport) -> io::Result<()> {
    let Some(first) = report.rows.first() else {
        return writeln!(
            out,
            "Nothing was used from {} to {}.",
            report.since, report.until
        );
    };
    let mut headings = vec!["FROM".to_owned()];
    headings.extend(
        words(first)
            .into_iter()
            .map(|(name, _)| name.to_uppercase()),
    );
    let fixed = [
        "BILLED",
        "REQUESTS",
        "IN",
        "OUT",
        "DEVICE",
        "CPU",
        "QUEUE",
        "FALLBACKS",
        "REFUSED",
    ];
    headings.extend(fixed.map(str::to_owned));
    // Without a price sheet there is nothing to say of cost.
    let priced = report.currency != Currency::NONE;
    if priced {
        headings.push(format!("COST {}", report.currency));
    }
    let mut rows = vec![headings];
    for row in &report.rows {
        let mut cells = vec![row.begin.to_string()];
        cells.extend(words(row).into_iter().map(|(_, word)| match word {
            "" => "-".to_owned(),
            word => word.to_owned(),
        }));
        cells.push(if row.billable { "yes" } else { "no" }.to_owned());
        cells.extend(sums(row.sums));
        if priced {
            cells.push(row.cost.to_string());
        }
        rows.push(cells);
    }
    let mut total = vec!["total".to_owned()];
    total.resize(1 + words(first).len(), String::new());
    total.push(String::new());
    total.extend(sums(report.total.sums));
    if priced {
        total.push(report.total.cost.to_string());
    }
    rows.push(total);
    out.write_all(columns(&rows).as_bytes())
}

/// What is told apart, and the row's words for it.
pub(super) fn words(row: &UsageRow) -> Vec<(&'static str, &str)> {
    let told = [
        ("tenant", &row.tenant),
        ("namespace", &row.namespace),
        ("kernel", &row.kernel),
        ("backend", &row.backend),
        ("outcome", &row.outcome),
    ];
    told.into_iter()
        .filter_map(|(name, word)| Some((name, word.as_deref()?)))
        .collect()
}

fn sums(sums: Sums) -> [String; 8] {
    [
        sums.requests.to_string(),
        bytes(sums.bytes_in),
        bytes(sums.bytes_out),
        time(sums.device_us),
        time(sums.cpu_us),
        time(sums.queue_us),
        sums.fallbacks.to_string(),
        sums.refusals.to_string(),
    ]
}

/// `12.3 MiB`: for people, who want no nine digits.
fn bytes(bytes: u64) -> String {
    // Shown with one decimal: what that cannot hold does not matter.
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = 0;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).unwrap_or(&"B");
    match unit {
        0 => format!("{bytes} {name}"),
        _ => format!("{}.{} {name}", tenths / 10, tenths % 10),
    }
}

/// Seconds to the millisecond.
fn time(us: u64) -> String {
    format!("{}.{:03} s", us / 1_000_000, us / 1000 % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_shown_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
        assert_eq!(time(1_234_567), "1.234 s");
    }
}
