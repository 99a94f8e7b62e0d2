//! `faam usage`: what tenants have used and what it costs, in the forms that people and programs take.
//!
//! Owns the words of the command line and where usage comes from: a running gateway, which writes what has ended before it answers,
//! or the store of a data directory in which none runs. Invariant: every form is made of the same rows, so that their sums are equal.
//!
//! | module | form |
//! |---|---|
//! | `table` | columns for a terminal |
//! | `csv` | RFC 4180, one line a row |
//! | `focus` | the columns of FOCUS 1.2, one line a charge |
//! | `cloud_events` | a JSON batch of CloudEvents 1.0 |

mod cloud_events;
mod csv;
mod focus;
mod table;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use faam_gateway::events::now;
use faam_gateway::usage::report::{Question, StoredUsage, timestamp};
use faam_store::UsageQuery;
use form_urlencoded::Serializer;

use crate::admin_client::{AdminClient, AdminError, OperatorFlags};
use crate::event_log::{Since, parse_since};
use crate::offline_store::OfflineStore;
use crate::serve;

/// Bytes of a gateway's answer: all rows that it gives, with long names.
const ANSWER_BYTES_MAX: usize = 128 << 20;

const EXAMPLES: &str = "\
Examples:
  faam usage
      the last thirty days of all tenants of the gateway whose data directory is ./data, by day, tenant and kernel
  faam usage --tenant acme --since 2026-01-01 --until 2026-02-01 --group namespace,kernel
      a tenant's January
  faam usage --since 7d --format csv > usage.csv
      a week, for a spreadsheet
  faam usage --since 2026-01-01 --until 2026-02-01 --format focus > focus.csv
      what is billed of a month, with the columns of FOCUS 1.2
  faam usage --group hour,tenant --format cloudevents
      a batch of CloudEvents 1.0, for a metering service";

/// Show what tenants have used, and what it costs
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Usage {
    /// Of this tenant alone
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    /// From then on: a time ago (7d, 12h), a day (2026-01-31, UTC) or a moment (2026-01-31T12:00:00Z); without, thirty days
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    since: Option<Since>,
    /// Before then, written alike; without, now
    #[arg(long, value_name = "WHEN", value_parser = parse_since)]
    until: Option<Since>,
    /// What is told apart, with commas: hour or day, tenant, namespace, kernel, backend, outcome; without: day,tenant,kernel, and
    /// everything for focus and cloudevents
    #[arg(long, value_name = "WORDS")]
    group: Option<String>,
    /// The form
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// As JSON: the same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    operator: OperatorFlags,
    /// The gateway's configuration file: its prices, where no gateway runs
    #[arg(long, env = "FAAM_CONFIG", hide_env_values = true, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    config: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Columns
    Table,
    /// RFC 4180
    Csv,
    /// One document
    Json,
    /// CSV with the columns of FOCUS 1.2: what is billed
    Focus,
    /// A JSON batch of CloudEvents 1.0
    #[value(name = "cloudevents")]
    CloudEvents,
}

impl Usage {
    /// Shows it.
    ///
    /// # Errors
    /// A question that cannot be asked, no gateway and no store, or a standard output that takes nothing.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let format = match self.json {
            true => Format::Json,
            false => self.format,
        };
        let moment = |when: Option<Since>| when.map(|when| timestamp(when.millis()).to_string());
        let (since, until) = (moment(self.since), moment(self.until));
        let group = self.group(format);
        let question = Question {
            tenant: self.tenant.as_deref(),
            namespace: None,
            since: since.as_deref(),
            until: until.as_deref(),
            group: Some(&group),
        };
        let query = question.query(now())?;
        let stored = self.stored(&question, &query)?;
        if stored.truncated {
            let mut err = io::stderr().lock();
            writeln!(
                err,
                "faam: there are more rows than these; ask for less time, or for fewer things told apart"
            )?;
        }
        let mut out = io::stdout().lock();
        match format {
            Format::Table => table::write(&mut out, &stored.report(&query))?,
            Format::Csv => csv::write(&mut out, &stored.report(&query))?,
            Format::Focus => focus::write(&mut out, &stored, &query)?,
            Format::CloudEvents => cloud_events::write(&mut out, &stored, &query)?,
            Format::Json => {
                serde_json::to_writer_pretty(&mut out, &stored.report(&query))?;
                writeln!(out)?;
            }
        }
        out.flush()?;
        // A part of the truth is no success.
        Ok(match stored.truncated {
            true => ExitCode::FAILURE,
            false => ExitCode::SUCCESS,
        })
    }

    /// What is told apart. A charge and an event are of an hour or a day, whatever else is asked for.
    fn group(&self, format: Format) -> String {
        let charges = matches!(format, Format::Focus | Format::CloudEvents);
        match (&self.group, charges) {
            (Some(group), false) => group.clone(),
            (None, false) => "day,tenant,kernel".to_owned(),
            (Some(group), true) if group.split(',').any(|word| word == "hour") => {
                format!("{group},tenant,kernel")
            }
            (Some(group), true) => format!("day,{group},tenant,kernel"),
            (None, true) => "day,tenant,namespace,kernel,backend,outcome".to_owned(),
        }
    }

    fn stored(&self, question: &Question<'_>, query: &UsageQuery) -> anyhow::Result<StoredUsage> {
        let data_dir = &self.operator.data_dir;
        let mut path = Serializer::new("/admin/v1/usage?".to_owned());
        let parts = [
            ("tenant", question.tenant),
            ("since", question.since),
            ("until", question.until),
            ("group", question.group),
        ];
        for (name, value) in parts {
            if let Some(value) = value {
                path.append_pair(name, value);
            }
        }
        let mut answer = Bounded(Vec::new());
        match AdminClient::new(data_dir).download(&path.finish(), Duration::ZERO, &mut answer) {
            Ok(_) => Ok(serde_json::from_slice(&answer.0)?),
            Err(AdminError::NoGateway { .. }) => {
                let prices = serve::prices(self.config.as_deref())?;
                let store = OfflineStore::open(data_dir)?;
                let rows = store.run(async |store| Ok(store.usage(query).await?))?;
                Ok(StoredUsage {
                    rows: rows.rows,
                    truncated: rows.truncated,
                    // Nothing more is to come.
                    written_until: now().0,
                    prices,
                })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// An answer, up to [`ANSWER_BYTES_MAX`].
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > ANSWER_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "it is longer than any answer of a gateway's; ask for less time, or for fewer things told apart",
            ));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
