//! A batch of CloudEvents 1.0 in JSON (<https://github.com/cloudevents/spec>, JSON Event Format, 4): one event a sum.
//!
//! Invariant: an event's id is the same whenever it says the same, and another one where a sum has grown since: whoever takes them drops
//! what it knows, and loses nothing.

use std::io::{self, Write};

use faam_gateway::usage::report::{StoredUsage, UsageRow};
use faam_store::{UsageQuery, UsageRecord};
use serde::Serialize;

/// What kind of event it is.
const TYPE: &str = "faam.usage.v1";
/// Where it comes from, a URI reference.
const SOURCE: &str = "/v1/usage";

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: &'static str,
    r#type: &'static str,
    subject: &'a str,
    time: String,
    datacontenttype: &'static str,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    #[serde(flatten)]
    row: &'a UsageRow,
    currency: &'a str,
    /// Whether nothing more comes to this sum.
    complete: bool,
}

pub(super) fn write(
    out: &mut impl Write,
    stored: &StoredUsage,
    query: &UsageQuery,
) -> io::Result<()> {
    let report = stored.report(query);
    let currency = report.currency;
    let events = stored.rows.iter().zip(&report.rows).map(|(record, row)| {
        let complete = row.end <= report.written_until;
        CloudEvent {
            specversion: "1.0",
            id: id(record, row, complete),
            source: SOURCE,
            r#type: TYPE,
            subject: &record.key.tenant,
            time: row.end.min(report.written_until).to_string(),
            datacontenttype: "application/json",
            data: Data {
                row,
                currency: currency.as_str(),
                complete,
            },
        }
    });
    let events: Vec<_> = events.collect();
    serde_json::to_writer_pretty(&mut *out, &events)?;
    writeln!(out)
}

fn id(record: &UsageRecord, row: &UsageRow, complete: bool) -> String {
    let key = &record.key;
    let billed = if key.billable { "billed" } else { "free" };
    let mut id = [
        &row.begin.to_string(),
        &row.end.to_string(),
        key.tenant.as_str(),
        &key.namespace,
        &key.kernel,
        &key.backend,
        &key.outcome,
        billed,
    ]
    .join("/");
    if !complete {
        // Requests only ever come to a sum.
        id.push_str(&format!("/{}", record.sums.requests));
    }
    id
}
