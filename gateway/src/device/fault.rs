//! `faam device fault`: a gateway's own simulated card told to fail, to rehearse what becomes of it.
//!
//! Invariant: a rule that no card could follow is refused before the gateway is asked.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Args;
use faam_sim::FaultRule;
use hyper::Method;
use serde_json::{Map, Value, json};

use super::Named;
use super::served::{print, print_json};
use crate::admin_client::{AdminClient, in_path};

const EXAMPLES: &str = "\
Examples:
  faam serve --allow-faults
      a gateway whose simulated cards can be told to fail
  faam device fault fpga0.1 engine-hangs,times=1
      an engine of function 1 stops with its next job: `faam events --follow` shows the time-out, the reset and the return
  faam device fault fpga0 flips-a-bit,chance=0.01 slow-engine,chance=0.1,factor=100
      one job in a hundred comes back wrong, one in ten takes a hundred times as long; callers see neither
  faam device fault fpga0
      the rules, and how often each fault struck
  faam device fault fpga0 --clear
      as good as new

A rule is NAME[,function=F][,after=N][,times=N][,chance=P][,ms=N][,factor=N]; without after, times and chance the fault
is on until it is cleared. `faam sim --list-faults` prints the names. Rules end with the card's process.";

/// Have a simulated card fail by rules, list them, or clear them
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Fault {
    #[command(flatten)]
    named: Named,
    /// Rules to add; without any, those that there are are listed
    #[arg(value_name = "RULE", conflicts_with = "clear")]
    rules: Vec<FaultRule>,
    /// Take all rules of the card away
    #[arg(long)]
    clear: bool,
}

impl Fault {
    /// Does it.
    ///
    /// # Errors
    /// No gateway, no such device, one that takes no faults, or a rule that its card cannot follow.
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        let client = AdminClient::new(&self.named.operator.data_dir);
        let path = format!("/admin/v1/devices/{}/faults", in_path(&self.named.name));
        if !self.rules.is_empty() {
            return self.add(&client, &path);
        }
        let answer = match self.clear {
            true => client.change(Method::DELETE, &path, None)?,
            false => client.get(&path)?,
        };
        if self.named.json {
            return print_json(&answer);
        }
        print(&shown(&answer))
    }

    fn add(&self, client: &AdminClient, path: &str) -> anyhow::Result<ExitCode> {
        let mut added = Vec::new();
        for rule in &self.rules {
            added.push(client.change(Method::POST, path, Some(&body(rule)))?);
        }
        if self.named.json {
            return print_json(&json!({ "added": added }));
        }
        let mut text = String::new();
        for answer in &added {
            let _ = writeln!(text, "{}: {}", word(answer, "card"), word(answer, "rule"));
        }
        print(&text)
    }
}

/// A rule as the gateway takes it.
fn body(rule: &FaultRule) -> Value {
    let text = rule.to_string();
    let mut parts = text.split(',');
    let mut body = Map::new();
    body.insert("name".to_owned(), json!(parts.next()));
    for (key, value) in parts.filter_map(|part| part.split_once('=')) {
        // All keys have numbers.
        let number = value.parse::<u64>().map_or_else(
            |_| json!(value.parse::<f64>().unwrap_or_default()),
            |whole| json!(whole),
        );
        body.insert(key.to_owned(), number);
    }
    Value::Object(body)
}

/// Rules and counts for people.
fn shown(answer: &Value) -> String {
    let mut text = String::new();
    let rules = answer.get("rules").and_then(Value::as_array);
    let rules: Vec<_> = rules.into_iter().flatten().collect();
    let card = word(answer, "card");
    if rules.is_empty() {
        let _ = writeln!(text, "{card}: no faults");
    }
    for rule in rules {
        let _ = writeln!(text, "{card}: {}", rule.as_str().unwrap_or("-"));
    }
    let struck = answer.get("struck").and_then(Value::as_object);
    for (fault, times) in struck.into_iter().flatten() {
        let _ = writeln!(text, "  {fault} struck {times} times");
    }
    text
}

fn word<'v>(answer: &'v Value, member: &str) -> &'v str {
    answer.get(member).and_then(Value::as_str).unwrap_or("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_goes_out_with_all_its_keys() {
        let rule: FaultRule = "slow-engine,function=1,chance=0.5,factor=100"
            .parse()
            .unwrap();
        let expected =
            json!({ "name": "slow-engine", "function": 1, "chance": 0.5, "factor": 100 });
        assert_eq!(body(&rule), expected);
    }

    #[test]
    fn rules_and_counts_are_shown() {
        let answer = json!({ "card": "fpga0", "rules": ["gone"], "struck": { "gone": 2 } });
        assert_eq!(shown(&answer), "fpga0: gone\n  gone struck 2 times\n");
        assert_eq!(shown(&Value::Null), "-: no faults\n");
    }
}
