//! `faam tenant`: tenants made, listed, shown, changed and removed.
//!
//! Owns the words of the command line; limits have a flag each, from the table that names them. What a change means is the
//! gateway's, or its store's where none runs.

use std::fmt::Write as _;
use std::process::ExitCode;

use axum::http::Method;
use clap::builder::{StyledStr, TypedValueParser, ValueParser};
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, Subcommand};
use faam_gateway::directory::limits::{LIMITS, Limit, LimitKind};
use serde_json::{Map, Value, json};

use crate::admin_client::{OperatorFlags, in_path};
use crate::columns::columns;
use crate::operator::{Operator, WhereNone, plain, print, print_json};
use crate::quantity::parse_bytes;

/// Where they are asked for.
const PATH: &str = "/admin/v1/tenants";
/// Where values begin in what `show` prints.
const NAME_CHARS: usize = 22;
/// What takes a limit away.
const NO_LIMIT: &str = "none";
/// What makes a limit the configuration's again.
const DEFAULT: &str = "default";

const EXAMPLES: &str = "\
Examples:
  faam tenant add acme --weight 200 --cir-us-per-s 250000
      a tenant with twice the default share, and a quarter of one engine guaranteed
  faam tenant ls
      all of them
  faam tenant set acme --bytes-per-s 50MiB --pir-us-per-s none
      changes act on the next request; no restart
  faam tenant rm acme
      with its keys; its usage stays
Keys are `faam key add --tenant acme --kind api`.";

/// Make, list, show, change and remove tenants
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Tenant {
    #[command(subcommand)]
    command: TenantCommand,
}

#[derive(Debug, Subcommand)]
enum TenantCommand {
    Add(Add),
    Ls(Ls),
    Show(Show),
    Set(Set),
    Rm(Rm),
}

const ADD_EXAMPLES: &str = "\
Examples:
  faam tenant add acme
      with the configuration's default limits
  faam tenant add acme --namespace prod --namespace staging --weight 400 --in-flight-max 64
      two namespaces, four times the default share, 64 requests at once
  faam tenant add batch --kernels compress --backends cpu --requests-per-s 50 --json
      compresses on the CPU alone, 50 requests a second; for a program";

/// Make a tenant
#[derive(Debug, Args)]
#[command(after_help = ADD_EXAMPLES)]
struct Add {
    /// Its name: 1 to 63 small letters, digits or -
    name: String,
    /// A namespace of its own; may be given several times
    #[arg(long = "namespace", value_name = "NAME")]
    namespaces: Vec<String>,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

const LS_EXAMPLES: &str = "\
Examples:
  faam tenant ls
      names, keys, weights, rates
  faam tenant ls --data-dir /var/lib/faam --json
      the same of the system's gateway, for a program";

/// List tenants
#[derive(Debug, Args)]
#[command(after_help = LS_EXAMPLES)]
struct Ls {
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

const SHOW_EXAMPLES: &str = "\
Examples:
  faam tenant show acme
      every limit, and which of them are its own
  faam tenant show acme --json
      for a program";

/// Show a tenant: its namespaces, its keys, every limit
#[derive(Debug, Args)]
#[command(after_help = SHOW_EXAMPLES)]
struct Show {
    /// Its name
    name: String,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

const SET_EXAMPLES: &str = "\
Examples:
  faam tenant set acme --cir-us-per-s 500000 --pir-us-per-s 2000000
      half an engine guaranteed, two at most; refused where guarantees would add up to more than 80 % of what there is
  faam tenant set acme --bytes-per-day 1GiB --requests-per-s none
      a daily quota, and any number of requests a second
  faam tenant set acme --ratio-max default --add-namespace prod
      the configuration's ratio again, and one more namespace";

/// Change a tenant; what is not named stays. `none` takes a limit away, `default` makes it the configuration's again
#[derive(Debug, Args)]
#[command(after_help = SET_EXAMPLES)]
struct Set {
    /// Its name
    name: String,
    /// A namespace that it gets; may be given several times
    #[arg(long, value_name = "NAME")]
    add_namespace: Vec<String>,
    /// A namespace that it loses, which no key may be for
    #[arg(long, value_name = "NAME")]
    remove_namespace: Vec<String>,
    #[command(flatten)]
    limits: LimitFlags,
    /// Only if this is still its revision
    #[arg(long, value_name = "NUMBER")]
    revision: Option<i64>,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

const RM_EXAMPLES: &str = "\
Examples:
  faam tenant rm acme
      its keys are refused from the next request on; what is in flight ends";

/// Remove a tenant and its keys; its usage and its events stay
#[derive(Debug, Args)]
#[command(after_help = RM_EXAMPLES)]
struct Rm {
    /// Its name
    name: String,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Tenant {
    /// Does it.
    ///
    /// # Errors
    /// A refusal, in its words.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        match &self.command {
            TenantCommand::Add(add) => add.run(),
            TenantCommand::Ls(ls) => ls.run(),
            TenantCommand::Show(show) => show.run(),
            TenantCommand::Set(set) => set.run(),
            TenantCommand::Rm(rm) => rm.run(),
        }
    }
}

impl Add {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let operator = Operator::reach(&self.operator, WhereNone::Make)?;
        let body = json!({
            "name": self.name,
            "namespaces": self.namespaces,
            "limits": self.limits.changes(),
        });
        let answer = operator.ask(Method::POST, PATH, Some(&body))?;
        operator.close()?;
        match self.json {
            true => print_json(&answer),
            false => print(&format!(
                "{0}: made; `faam key add --tenant {0} --kind api` makes a key for it\n",
                plain(answer.get("name"))
            )),
        }
    }
}

impl Ls {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let operator = Operator::reach(&self.operator, WhereNone::Refuse)?;
        let tenants = operator.list(PATH, "tenants")?;
        operator.close()?;
        if self.json {
            return print_json(&json!({ "tenants": tenants }));
        }
        if tenants.is_empty() {
            return print("There are no tenants; `faam tenant add NAME` makes one.\n");
        }
        let heading = [
            "NAME",
            "KEYS",
            "WEIGHT",
            "CIR US/S",
            "PIR US/S",
            "IN FLIGHT",
            "NAMESPACES",
            "SERVED",
        ];
        let mut rows = vec![heading.map(str::to_owned)];
        rows.extend(tenants.iter().map(|tenant| {
            let limit = |name| plain(tenant.get("limits").and_then(|limits| limits.get(name)));
            [
                plain(tenant.get("name")),
                plain(tenant.get("keys")),
                limit("weight"),
                limit("cir_us_per_s"),
                limit("pir_us_per_s"),
                limit("in_flight_max"),
                plain(tenant.get("namespaces")),
                plain(tenant.get("served")),
            ]
        }));
        print(&columns(&rows))
    }
}

impl Show {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let operator = Operator::reach(&self.operator, WhereNone::Refuse)?;
        let answer = operator.ask(Method::GET, &path(&self.name), None)?;
        operator.close()?;
        match self.json {
            true => print_json(&answer),
            false => print(&shown(&answer)),
        }
    }
}

impl Set {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let operator = Operator::reach(&self.operator, WhereNone::Refuse)?;
        let body = json!({
            "limits": self.limits.changes(),
            "defaults": self.limits.defaults(),
            "namespaces_add": self.add_namespace,
            "namespaces_remove": self.remove_namespace,
            "revision": self.revision,
        });
        let answer = operator.ask(Method::PATCH, &path(&self.name), Some(&body))?;
        operator.close()?;
        match self.json {
            true => print_json(&answer),
            false => print(&shown(&answer)),
        }
    }
}

impl Rm {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let operator = Operator::reach(&self.operator, WhereNone::Refuse)?;
        let answer = operator.ask(Method::DELETE, &path(&self.name), None)?;
        operator.close()?;
        match self.json {
            true => print_json(&answer),
            false => print(&format!("{}: removed, with its keys\n", self.name)),
        }
    }
}

fn path(name: &str) -> String {
    format!("{PATH}/{}", in_path(name))
}

/// A tenant for people: a line a limit, with a mark on those that are its own.
fn shown(tenant: &Value) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<NAME_CHARS$} {value}");
    };
    for name in [
        "name",
        "namespaces",
        "served",
        "keys",
        "revision",
        "created",
        "changed",
    ] {
        line(name, plain(tenant.get(name)));
    }
    let limits = tenant.get("limits").and_then(Value::as_object);
    for (name, value) in limits.into_iter().flatten() {
        let own = tenant.get("set").is_some_and(|set| set.get(name).is_some());
        let value = match value {
            Value::Null => NO_LIMIT.to_owned(),
            value => plain(Some(value)),
        };
        line(name, if own { format!("{value} (set)") } else { value });
    }
    text
}

/// A flag a limit: what was given.
#[derive(Clone, Debug, Default)]
struct LimitFlags(Vec<(&'static str, Given)>);

/// What a limit is to be.
#[derive(Clone, Debug, PartialEq)]
enum Given {
    Default,
    Value(Value),
}

impl LimitFlags {
    fn changes(&self) -> Map<String, Value> {
        let changes = self.0.iter().filter_map(|(name, given)| match given {
            Given::Default => None,
            Given::Value(value) => Some(((*name).to_owned(), value.clone())),
        });
        changes.collect()
    }

    fn defaults(&self) -> Vec<&'static str> {
        let defaults = self.0.iter().filter(|(_, given)| *given == Given::Default);
        defaults.map(|(name, _)| *name).collect()
    }
}

/// What was written for a limit.
fn given(limit: &Limit, text: &str) -> Result<Given, String> {
    if text == DEFAULT {
        return Ok(Given::Default);
    }
    if text == NO_LIMIT && limit.optional {
        return Ok(Given::Value(Value::Null));
    }
    let value = match limit.kind {
        LimitKind::Words(_) | LimitKind::Names(_) => {
            let words = text.split(',').map(str::trim);
            words.filter(|word| !word.is_empty()).collect()
        }
        LimitKind::Bytes(..) => parse_bytes(text)?.into(),
        LimitKind::Number(min, max) => text
            .replace('_', "")
            .parse::<u64>()
            .map_err(|_| format!("expected a whole number from {min} to {max}, got {text:?}"))?
            .into(),
    };
    Ok(Given::Value(value))
}

impl Args for LimitFlags {
    fn augment_args(command: Command) -> Command {
        LIMITS.iter().fold(command, |command, limit| {
            let value_name = match limit.kind {
                LimitKind::Number(..) => "NUMBER",
                LimitKind::Bytes(..) => "BYTES",
                LimitKind::Words(_) | LimitKind::Names(_) => "LIST",
            };
            let words = match limit.kind {
                LimitKind::Words(words) => format!(": {}", words.join(",")),
                LimitKind::Names(_) => format!("; {NO_LIMIT} is no list: any image"),
                _ if limit.optional => format!("; {NO_LIMIT} is any number"),
                _ => String::new(),
            };
            let parse = clap::builder::StringValueParser::new().try_map(|text| given(limit, &text));
            command.arg(
                Arg::new(limit.name)
                    .long(limit.name.replace('_', "-"))
                    .value_name(value_name)
                    .value_parser(ValueParser::new(parse))
                    .help_heading("Limits")
                    .help(StyledStr::from(format!("{}{words}", limit.about))),
            )
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LimitFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = LIMITS.iter().filter_map(|limit| {
            let given = matches.get_one::<Given>(limit.name)?;
            Some((limit.name, given.clone()))
        });
        Ok(Self(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
