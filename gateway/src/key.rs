//! `faam key`: credentials made, listed, rotated and revoked.
//!
//! Owns the words of the command line. Invariant: a secret is printed once, to standard output, by the command that made it.

use std::process::ExitCode;

use axum::http::Method;
use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::admin_client::{OperatorFlags, in_path};
use crate::columns::columns;
use crate::operator::{Operator, WhereNone, plain, print, print_json};
use crate::quantity::parse_ms;

/// Where they are asked for.
const PATH: &str = "/admin/v1/keys";
/// A day.
const DAY_MS: i64 = 86_400_000;

const EXAMPLES: &str = "\
Examples:
  faam key add --tenant acme --kind api
      prints the key once: it is stored nowhere
  faam key rotate 0a1b2c3d4e5f --overlap 24h
      a successor now; the old key goes on for a day
  faam key revoke 0a1b2c3d4e5f
      refused from the next request on, on open connections too";

/// Make, list, rotate and revoke keys
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Key {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Subcommand)]
enum KeyCommand {
    Add(Add),
    Ls(Ls),
    Rotate(Rotate),
    Revoke(Revoke),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// `Authorization: Bearer faam_...`
    Api,
    /// uuid:key, by `Authorization: Basic`, as OpenWhisk's clients have it
    Openwhisk,
    /// An access key id and a secret access key, for AWS Signature Version 4
    Sigv4,
}

const ADD_EXAMPLES: &str = "\
Examples:
  faam key add --tenant acme --kind api
      for everything that the tenant may do, until it is revoked
  faam key add --tenant acme --kind api --namespace prod --scope compress --expires 90d
      for one namespace and one use, for ninety days
  faam key add --tenant acme --kind openwhisk --json
      {\"id\",\"kind\",\"key\"}
  faam key add --tenant acme --kind sigv4 --json
      {\"id\",\"kind\",\"access_key_id\",\"secret_access_key\"}";

/// Make a key; its secret is printed once
#[derive(Debug, Args)]
#[command(after_help = ADD_EXAMPLES)]
struct Add {
    /// Whose
    #[arg(long, value_name = "NAME")]
    tenant: String,
    /// Which kind of credential
    #[arg(long, value_enum)]
    kind: Kind,
    /// The one namespace that it is for; without, all of the tenant's
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// A use that it is for: compress, decompress, usage:read; may be given several times, without it is for all
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// When it ends: in a time (90d, 12h) or at a moment (2027-01-31T00:00:00Z)
    #[arg(long, value_name = "WHEN", value_parser = parse_end)]
    expires: Option<End>,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

const LS_EXAMPLES: &str = "\
Examples:
  faam key ls
      every tenant's, ended ones too; no secrets
  faam key ls --tenant acme --json
      one tenant's, for a program";

/// List keys, without their secrets
#[derive(Debug, Args)]
#[command(after_help = LS_EXAMPLES)]
struct Ls {
    /// Only this tenant's
    #[arg(long, value_name = "NAME")]
    tenant: Option<String>,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

const ROTATE_EXAMPLES: &str = "\
Examples:
  faam key rotate 0a1b2c3d4e5f --overlap 24h
      both keys are taken for a day
  faam key rotate FAAMABCDEFGHIJKLMNOP --json
      the old one ends now; for a program";

/// Make a key in the place of another, which goes on for a while
#[derive(Debug, Args)]
#[command(after_help = ROTATE_EXAMPLES)]
struct Rotate {
    /// The key's public name, as `faam key ls` shows it
    id: String,
    /// How long the old key goes on: 30m, 24h, 7d
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_span)]
    overlap: i64,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

const REVOKE_EXAMPLES: &str = "\
Examples:
  faam key revoke 0a1b2c3d4e5f
      refused from the next request on, on open connections too";

/// End a key now
#[derive(Debug, Args)]
#[command(after_help = REVOKE_EXAMPLES)]
struct Revoke {
    /// The key's public name, as `faam key ls` shows it
    id: String,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// When a key ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    At(Timestamp),
    InMs(i64),
}

impl End {
    fn moment(self) -> anyhow::Result<Timestamp> {
        match self {
            Self::At(at) => Ok(at),
            Self::InMs(ms) => {
                let at = Timestamp::now().as_millisecond().saturating_add(ms);
                Ok(Timestamp::from_millisecond(at)?)
            }
        }
    }
}

fn parse_end(text: &str) -> Result<End, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(End::At(at));
    }
    match parse_span(text) {
        Ok(ms) => Ok(End::InMs(ms)),
        Err(_) => Err(format!(
            "expected a time from now (12h, 90d) or a moment (2027-01-31T00:00:00Z), got {text:?}"
        )),
    }
}

/// A time with its unit, in milliseconds.
fn parse_span(text: &str) -> Result<i64, String> {
    let expected = || format!("expected a time with its unit (30m, 24h, 7d), got {text:?}");
    if let Some(days) = text.strip_suffix('d') {
        let days: u32 = days.parse().map_err(|_| expected())?;
        return Ok(i64::from(days).saturating_mul(DAY_MS));
    }
    if text.ends_with(|last: char| last.is_ascii_digit()) {
        // A bare number would be milliseconds, and nobody means that.
        return Err(expected());
    }
    let ms = parse_ms(text).map_err(|_| expected())?;
    i64::try_from(ms).map_err(|_| expected())
}

impl Key {
    /// Does it.
    ///
    /// # Errors
    /// A refusal, in its words.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            KeyCommand::Add(add) => add.run(),
            KeyCommand::Ls(ls) => ls.run(),
            KeyCommand::Rotate(rotate) => rotate.run(),
            KeyCommand::Revoke(revoke) => revoke.run(),
        }
    }
}

impl Add {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let kind = match self.kind {
            Kind::Api => "api",
            Kind::Openwhisk => "openwhisk",
            Kind::Sigv4 => "sigv4",
        };
        let body = json!({
            "tenant": self.tenant,
            "kind": kind,
            "namespace": self.namespace,
            "scopes": self.scopes,
            "expires": self.expires.map(End::moment).transpose()?.map(|at| at.to_string()),
        });
        let operator = Operator::reach(&self.operator, WhereNone::Refuse)?;
        let answer = operator.ask(Method::POST, PATH, Some(&body))?;
        operator.close()?;
        hand_over(&answer, self.json)
    }
}

impl Ls {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let operator = Operator::reach(&self.operator, WhereNone::Refuse)?;
        let path = match &self.tenant {
            Some(tenant) => format!("{PATH}?tenant={}", in_path(tenant)),
            None => PATH.to_owned(),
        };
        let keys = operator.list(&path, "keys")?;
        operator.close()?;
        if self.json {
            return print_json(&json!({ "keys": keys }));
        }
        if keys.is_empty() {
            return print(
                "There are no keys; `faam key add --tenant NAME --kind api` makes one.\n",
            );
        }
        let members = [
            "id",
            "kind",
            "tenant",
            "namespace",
            "state",
            "scopes",
            "created",
            "expires",
            "successor",
        ];
        let mut rows = vec![members.map(str::to_uppercase)];
        rows.extend(
            keys.iter()
                .map(|key| members.map(|member| plain(key.get(member)))),
        );
        print(&columns(&rows))
    }
}

impl Rotate {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let operator = Operator::reach(&self.operator, WhereNone::Refuse)?;
        let path = format!("{PATH}/{}/rotate", in_path(public_name(&self.id)));
        let body = json!({ "overlap_ms": self.overlap });
        let answer = operator.ask(Method::POST, &path, Some(&body))?;
        operator.close()?;
        hand_over(&answer, self.json)
    }
}

impl Revoke {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let operator = Operator::reach(&self.operator, WhereNone::Refuse)?;
        let path = format!("{PATH}/{}/revoke", in_path(public_name(&self.id)));
        let answer = operator.ask(Method::POST, &path, None)?;
        operator.close()?;
        match self.json {
            true => print_json(&answer),
            false => print(&format!(
                "{}: {}\n",
                plain(answer.get("id")),
                plain(answer.get("state"))
            )),
        }
    }
}

/// The name in what was given: a whole key in its place must not come into a log.
fn public_name(id: &str) -> &str {
    let name = match id.strip_prefix("faam_") {
        Some(key) => key.split('_').next(),
        None => id.split(':').next(),
    };
    name.unwrap_or(id)
}

/// A new credential, on its only way out.
fn hand_over(answer: &Value, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        return print_json(answer);
    }
    let member = |name: &str| plain(answer.get(name));
    let text = match answer.get("secret_access_key") {
        Some(_) => format!(
            "access key id      {}\nsecret access key  {}\nThe secret is shown this once.\n",
            member("access_key_id"),
            member("secret_access_key")
        ),
        None => format!(
            "id   {}\nkey  {}\nThe key is shown this once.\n",
            member("id"),
            member("key")
        ),
    };
    print(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_its_unit() {
        for (text, ms) in [
            ("24h", 86_400_000),
            ("7d", 7 * DAY_MS),
            ("30m", 1_800_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_span(text), Ok(ms), "{text}");
        }
        for text in ["24", "", "d", "1.5h", "-1h", "soon"] {
            assert!(parse_span(text).is_err(), "{text}");
        }
        assert_eq!(parse_end("12h"), Ok(End::InMs(43_200_000)));
        assert!(matches!(parse_end("2027-01-31T00:00:00Z"), Ok(End::At(_))));
        assert!(parse_end("2027").is_err());
    }
}
