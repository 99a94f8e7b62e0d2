//! `faam explain`: one invocation, asked of a running gateway over its operator's socket, and drawn.
//!
//! Invariant: what is drawn stands in the JSON too. Answers are somebody else's bytes: whatever a member is not is left out,
//! and nothing that a terminal would obey is shown.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use crate::admin_client::{AdminClient, OperatorFlags, in_path};
use crate::columns::printable;

/// Columns of a bar over the whole time.
const BAR_COLUMNS: usize = 50;
/// The same, to reckon with.
const BAR_COLUMNS_F64: f64 = 50.0;

const EXAMPLES: &str = "\
Examples:
  faam explain 01980c5e-7f3a-7b1e-8a52-1f0d5c2e9b77
      an invocation by the id that its caller was told (Faam-Invocation-Id)
  faam explain urn:uuid:01980c5e-7f3a-7b1e-8a52-1f0d5c2e9b77 --data-dir /var/lib/faam
      one that was refused, by its problem's instance
  faam explain 01980c5e-7f3a-7b1e-8a52-1f0d5c2e9b77 --json | jq .cost
      for a program";

/// Show where one invocation's time went, and each limit that it met
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Explain {
    /// As in Faam-Invocation-Id, in the log, or in a problem's instance
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    operator: OperatorFlags,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl Explain {
    /// Shows it.
    ///
    /// # Errors
    /// No gateway, or one that does not know it any more.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = format!("/admin/v1/invocations/{}", in_path(self.id.trim()));
        let answer = AdminClient::new(&self.operator.data_dir).get(&path)?;
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &answer)?;
            writeln!(out)?;
        } else {
            out.write_all(drawn(&answer).as_bytes())?;
        }
        out.flush()?;
        Ok(ExitCode::SUCCESS)
    }
}

/// An invocation for people.
fn drawn(facts: &Value) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{}: {} of {}, {}",
        word(facts, "id").unwrap_or_default(),
        word(facts, "kernel").unwrap_or_default(),
        word(facts, "tenant").unwrap_or_else(|| "nobody known".to_owned()),
        word(facts, "problem")
            .or_else(|| word(facts, "state"))
            .unwrap_or_default(),
    );
    for (heading, line) in [
        ("front", word(facts, "front")),
        ("why", word(facts, "detail")),
        ("engine", engine(facts)),
        ("bytes", bytes(facts)),
        ("verified", verified(facts)),
        ("cost", cost(facts)),
        ("billed", billed(facts)),
        ("trace", word(facts, "trace")),
    ] {
        if let Some(line) = line {
            let _ = writeln!(text, "  {heading:<9} {line}");
        }
    }
    gantt(&mut text, facts);
    let limits = list(facts, "limits");
    // What ended it is told above: a limit as well, most often.
    let _ = match (limits.is_empty(), word(facts, "problem").is_some()) {
        (true, true) => Ok(()),
        (true, false) => writeln!(text, "\nIt met no limit on its way."),
        (false, _) => writeln!(text, "\nIt met on its way:"),
    };
    for limit in limits {
        let name = word(limit, "name").unwrap_or_default();
        let says = word(limit, "says").unwrap_or_default();
        let _ = writeln!(text, "  {name:<14} {says}");
    }
    for fault in list(facts, "faults") {
        let _ = writeln!(text, "  {}", device_fault(fault));
    }
    text
}

/// Which device failed, how, and who did its blocks instead.
fn device_fault(fault: &Value) -> String {
    let device = word(fault, "device").unwrap_or_default();
    let kind = word(fault, "kind").unwrap_or_default();
    let why = word(fault, "why").unwrap_or_default();
    let blocks = match fault.get("blocks").and_then(Value::as_u64) {
        Some(1) => "a block".to_owned(),
        blocks => format!("{} blocks", blocks.unwrap_or_default()),
    };
    let instead: Vec<_> = list(fault, "instead")
        .into_iter()
        .filter_map(|by| by.as_str().map(printable))
        .collect();
    let instead = match instead.is_empty() {
        true => "by nobody so far".to_owned(),
        false => format!("by {}", instead.join(", ")),
    };
    format!("{device:<14} failed with {blocks} of it in hand, done {instead}: {kind}: {why}")
}

fn engine(facts: &Value) -> Option<String> {
    let backend = word(facts, "backend")?;
    Some(match word(facts, "backend_reason") {
        Some(reason) => format!("{backend} (not elsewhere: {reason})"),
        None => backend,
    })
}

fn bytes(facts: &Value) -> Option<String> {
    let bytes = |name| facts.get(name).and_then(Value::as_u64);
    let (taken, given) = (bytes("bytes_in")?, bytes("bytes_out")?);
    (taken > 0 || given > 0).then(|| format!("{taken} in, {given} out"))
}

/// Of what was answered; a refusal has nothing to verify.
fn verified(facts: &Value) -> Option<String> {
    bytes(facts)?;
    word(facts, "verify")
}

fn cost(facts: &Value) -> Option<String> {
    let cost = facts.get("cost")?;
    let us = |name| cost.get(name).and_then(Value::as_u64).unwrap_or_default();
    let charged = us("reference_us");
    let parts = ["device_us", "cpu_us", "queue_us"].map(us);
    if charged == 0 && parts == [0; 3] {
        return None;
    }
    let [device, cpu, queue] = parts;
    let mut text = format!(
        "{charged} us of the reference engine charged; {device} us on cards, {cpu} us on the CPU, {queue} us in queues"
    );
    match us("fallbacks") {
        0 => {}
        1 => text.push_str(", 1 block elsewhere than wished"),
        blocks => {
            let _ = write!(text, ", {blocks} blocks elsewhere than wished");
        }
    }
    Some(text)
}

fn billed(facts: &Value) -> Option<String> {
    let billed = facts.get("billable")?.as_bool()?;
    Some(if billed { "yes" } else { "no" }.to_owned())
}

/// A bar a phase, under each other, all to one scale.
fn gantt(text: &mut String, facts: &Value) {
    let ms = |value: &Value, name| value.get(name).and_then(Value::as_f64);
    let phases: Vec<_> = list(facts, "phases")
        .into_iter()
        .filter_map(|phase| {
            let name = word(phase, "phase")?;
            Some((
                name,
                ms(phase, "from_ms")?,
                ms(phase, "to_ms")?,
                ms(phase, "sum_ms")?,
            ))
        })
        .collect();
    let Some(total) = ms(facts, "total_ms").filter(|total| *total > 0.0) else {
        return;
    };
    let longest = phases.iter().map(|(_, _, to, _)| *to).fold(total, f64::max);
    let _ = writeln!(
        text,
        "\n  {:<9} |{:<BAR_COLUMNS$}| {longest:.3} ms",
        "", "0 ms"
    );
    for (name, from, to, sum) in phases {
        let (from, to) = (column(from, longest), column(to, longest));
        // What is short is seen all the same.
        let to = to.max(from + 1).min(BAR_COLUMNS);
        let from = from.min(to - 1);
        let bar = format!("{}{}", " ".repeat(from), "#".repeat(to - from));
        let _ = writeln!(text, "  {name:<9} |{bar:<BAR_COLUMNS$}| {sum:.3} ms");
    }
    let _ = writeln!(
        text,
        "  {:<9} {total:.3} ms; blocks side by side add up",
        "total"
    );
}

/// Where a moment stands in a bar.
fn column(ms: f64, longest: f64) -> usize {
    // No column is beyond the last, whatever came.
    (0..BAR_COLUMNS)
        .rev()
        .find(|column| {
            let columns = u32::try_from(*column).map_or(0.0, f64::from);
            columns * longest <= ms * BAR_COLUMNS_F64
        })
        .unwrap_or(0)
}

fn list<'v>(value: &'v Value, name: &str) -> Vec<&'v Value> {
    let list = value.get(name).and_then(Value::as_array);
    list.into_iter().flatten().collect()
}

/// A member that is text, without what a terminal would obey.
fn word(value: &Value, name: &str) -> Option<String> {
    let text = printable(value.get(name)?.as_str()?);
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn phases_are_drawn_to_one_scale() {
        let facts = json!({
            "id": "an-id", "tenant": "demo", "kernel": "compress", "state": "done", "backend": "cpu",
            "bytes_in": 10, "bytes_out": 5, "verify": "ok", "total_ms": 10.0,
            "cost": { "reference_us": 7, "device_us": 0, "cpu_us": 9, "queue_us": 1, "fallbacks": 2 },
            "phases": [
                { "phase": "admit", "from_ms": 0.0, "to_ms": 0.01, "sum_ms": 0.01 },
                { "phase": "queue", "from_ms": 2.0, "to_ms": 6.0, "sum_ms": 9.0 },
                { "phase": "send", "from_ms": 9.99, "to_ms": 10.0, "sum_ms": 0.01 },
            ],
            "limits": [{ "name": "replay", "says": "again" }],
            "faults": [
                { "device": "fpga0.1", "kind": "hang", "why": "it hangs", "blocks": 2, "instead": ["fpga0.0", "cpu"] },
                { "device": "fpga0.0", "kind": "verify", "why": "wrong", "blocks": 1, "instead": [] },
            ],
        });
        let text = drawn(&facts);
        for line in [
            "an-id: compress of demo, done",
            "  engine    cpu",
            "  bytes     10 in, 5 out",
            "  cost      7 us of the reference engine charged; 0 us on cards, 9 us on the CPU, 1 us in queues, 2 blocks \
             elsewhere than wished",
            &format!("  admit     |{:<50}| 0.010 ms", "#"),
            &format!(
                "  queue     |{:<50}| 9.000 ms",
                format!("{}{}", " ".repeat(10), "#".repeat(20))
            ),
            &format!("  send      |{}#| 0.010 ms", " ".repeat(49)),
            "  replay         again",
            "  fpga0.1        failed with 2 blocks of it in hand, done by fpga0.0, cpu: hang: it hangs",
            "  fpga0.0        failed with a block of it in hand, done by nobody so far: verify: wrong",
        ] {
            assert!(
                text.lines().any(|got| got == line),
                "{line:?} is not in\n{text}"
            );
        }
    }

    #[test]
    fn whatever_comes_is_shown_without_a_panic_and_without_control() {
        let hostile = json!({
            "id": "x\u{1b}[2J", "phases": [
                { "phase": "queue", "from_ms": 1e300, "to_ms": -5.0, "sum_ms": 1.0 },
                { "phase": "device", "from_ms": -1.0, "to_ms": 1e308, "sum_ms": 0.0 },
                { "phase": 7 },
            ],
            "total_ms": 1.0, "limits": "none", "cost": 3,
        });
        let text = drawn(&hostile);
        assert!(text.starts_with("x\u{fffd}[2J"), "{text}");
        assert!(!text.contains('\u{1b}'));
        drawn(&Value::Null);
        drawn(&json!([]));
    }
}
