//! Comma-separated values (RFC 4180), with a header line.

use std::io::{self, Write};

use faam_gateway::usage::report::UsageReport;

use super::table::words;

pub(super) fn write(out: &mut impl Write, report: &UsageReport) -> io::Result<()> {
    let told = report.rows.first().map_or_else(Vec::new, words);
    let sums = [
        "billable",
        "requests",
        "bytes_in",
        "bytes_out",
        "device_us",
        "queue_us",
        "cpu_us",
        "reference_us",
        "fallbacks",
        "refusals",
        "cost",
        "currency",
    ];
    let names = ["begin", "end"].into_iter();
    record(
        out,
        names.chain(told.iter().map(|(name, _)| *name)).chain(sums),
    )?;
    for row in &report.rows {
        let (begin, end) = (row.begin.to_string(), row.end.to_string());
        let numbers = [
            row.sums.requests,
            row.sums.bytes_in,
            row.sums.bytes_out,
            row.sums.device_us,
            row.sums.queue_us,
            row.sums.cpu_us,
            row.sums.reference_us,
            row.sums.fallbacks,
            row.sums.refusals,
        ]
        .map(|number| number.to_string());
        let cost = row.cost.to_string();
        let fields = [begin.as_str(), &end].into_iter();
        record(
            out,
            fields
                .chain(words(row).into_iter().map(|(_, word)| word))
                .chain([if row.billable { "true" } else { "false" }])
                .chain(numbers.iter().map(String::as_str))
                .chain([cost.as_str(), report.currency.as_str()]),
        )?;
    }
    Ok(())
}

/// One line. A field with a comma, a quote or a line's end is quoted (RFC 4180, 2.5 to 2.7).
pub(super) fn record<'a>(
    out: &mut impl Write,
    fields: impl IntoIterator<Item = &'a str>,
) -> io::Result<()> {
    for (index, field) in fields.into_iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        if field.contains([',', '"', '\r', '\n']) {
            write!(out, "\"{}\"", field.replace('"', "\"\""))?;
        } else {
            out.write_all(field.as_bytes())?;
        }
    }
    out.write_all(b"\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_read_otherwise_is_quoted() {
        let mut line = Vec::new();
        record(&mut line, ["a", "b,c", "say \"d\"", "two\nlines", ""]).expect("written");
        let line = String::from_utf8(line).expect("UTF-8");
        assert_eq!(line, "a,\"b,c\",\"say \"\"d\"\"\",\"two\nlines\",\r\n");
    }
}
