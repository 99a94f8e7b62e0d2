//! A running gateway's functions: asked of it, and shown.
//!
//! Invariant: what is shown to people stands in the JSON too. Answers are somebody else's bytes: whatever a member is not is
//! shown as `-`, and nothing depends on its shape but the exit status.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Value, json};

use super::Named;
use crate::admin_client::{AdminClient, AdminError, OperatorFlags, in_path};
use crate::columns::columns;

/// What `ls` shows of each function: heading, member.
const LIST: [(&str, &str); 7] = [
    ("NAME", "name"),
    ("STATE", "state"),
    ("KIND", "simulated"),
    ("SERIAL ID", "serial_id"),
    ("ENGINES", "engines"),
    ("FAULTS", "faults"),
    ("ADDRESS", "address"),
];

/// And of each on the PCI bus.
const CARDS: [(&str, &str); 4] = [
    ("ADDRESS", "address"),
    ("DRIVER", "driver"),
    ("GROUP", "group"),
    ("GROUP SHARED WITH", "shared_with"),
];
/// Where values begin in what `show` prints.
const NAME_CHARS: usize = 26;

/// The gateway's functions, and `cards`: those on the PCI bus, whether a gateway has them or not.
pub(super) fn list(
    operator: &OperatorFlags,
    cards: &[Value],
    json: bool,
) -> anyhow::Result<ExitCode> {
    let answer = AdminClient::new(&operator.data_dir).get("/admin/v1/devices");
    let (answer, nobody) = match answer {
        Ok(answer) => (answer, None),
        // Before the first start there is the bus alone.
        Err(error @ AdminError::NoGateway { .. }) if !cards.is_empty() => {
            (Value::Null, Some(error.to_string()))
        }
        Err(error) => return Err(error.into()),
    };
    if json {
        let devices: Vec<_> = devices(&answer).collect();
        return print_json(&json!({ "devices": devices, "pci": cards }));
    }
    let mut text = match nobody {
        Some(nobody) => format!("{nobody}\n"),
        None => match devices(&answer).next() {
            None => "This gateway has no cards: it serves on its CPU engines.\n".to_owned(),
            Some(_) => listed(LIST, devices(&answer)),
        },
    };
    if !cards.is_empty() {
        text.push_str("\nOn the PCI bus:\n");
        text.push_str(&listed(CARDS, cards.iter()));
    }
    print(&text)
}

fn listed<'v, const N: usize>(
    members: [(&str, &str); N],
    devices: impl Iterator<Item = &'v Value>,
) -> String {
    let mut rows = vec![members.map(|(heading, _)| heading.to_owned())];
    rows.extend(devices.map(|device| members.map(|(_, member)| shown(device, member))));
    columns(&rows)
}

pub(super) fn show(named: &Named) -> anyhow::Result<ExitCode> {
    let path = format!("/admin/v1/devices/{}", in_path(&named.name));
    let answer = AdminClient::new(&named.operator.data_dir).get(&path)?;
    if named.json {
        return print_json(&answer);
    }
    let mut text = String::new();
    for device in devices(&answer) {
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = writeln!(
            text,
            "{}: {}",
            shown(device, "name"),
            shown(device, "simulated")
        );
        describe(&mut text, 1, device, &["name", "simulated"]);
    }
    print(&text)
}

pub(super) fn drain(named: &Named, timeout_ms: u64) -> anyhow::Result<ExitCode> {
    let path = format!(
        "/admin/v1/devices/{}/drain?timeout_ms={timeout_ms}",
        in_path(&named.name)
    );
    let answer = AdminClient::new(&named.operator.data_dir)
        .post(&path, Duration::from_millis(timeout_ms))?;
    let idle = |device: &Value| device.pointer("/drain/idle") == Some(&Value::Bool(true));
    let code = match devices(&answer).all(idle) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    };
    if named.json {
        print_json(&answer)?;
        return Ok(code);
    }
    let mut text = String::new();
    for device in devices(&answer) {
        let name = shown(device, "name");
        let waited = at(device, "/drain/waited_ms");
        let _ = match idle(device) {
            true => writeln!(text, "{name}: drained, idle after {waited} ms"),
            false => writeln!(
                text,
                "{name}: drained, but {} jobs are in flight after {waited} ms; ask again to wait on",
                at(device, "/drain/in_flight")
            ),
        };
    }
    print(&text)?;
    Ok(code)
}

pub(super) fn undrain(named: &Named) -> anyhow::Result<ExitCode> {
    let path = format!("/admin/v1/devices/{}/undrain", in_path(&named.name));
    let answer = AdminClient::new(&named.operator.data_dir).post(&path, Duration::ZERO)?;
    if named.json {
        return print_json(&answer);
    }
    let mut text = String::new();
    for device in devices(&answer) {
        let _ = writeln!(
            text,
            "{}: {}",
            shown(device, "name"),
            shown(device, "state")
        );
    }
    print(&text)
}

pub(super) fn reset(named: &Named) -> anyhow::Result<ExitCode> {
    let path = format!("/admin/v1/devices/{}/reset", in_path(&named.name));
    // One after the other, each with its own limit.
    const FUNCTIONS_WAIT: Duration = Duration::from_secs(60);
    let answer = AdminClient::new(&named.operator.data_dir).post(&path, FUNCTIONS_WAIT)?;
    if named.json {
        return print_json(&answer);
    }
    let mut text = String::new();
    for device in devices(&answer) {
        let _ = writeln!(
            text,
            "{}: reset, self-test of {} jobs passed, {} after {} ms",
            shown(device, "name"),
            at(device, "/reset/self_test_jobs"),
            shown(device, "state"),
            at(device, "/reset/took_ms"),
        );
    }
    print(&text)
}

fn devices(answer: &Value) -> impl Iterator<Item = &Value> {
    let devices = answer.get("devices").and_then(Value::as_array);
    devices.into_iter().flatten()
}

/// A member for people.
fn shown(device: &Value, member: &str) -> String {
    match (member, device.get(member)) {
        ("simulated", Some(Value::Bool(true))) => "simulated".to_owned(),
        ("simulated", Some(Value::Bool(false))) => "hardware".to_owned(),
        (_, value) => plain(value),
    }
}

fn at(device: &Value, pointer: &str) -> String {
    plain(device.pointer(pointer))
}

fn plain(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let parts: Vec<_> = parts.iter().map(|part| plain(Some(part))).collect();
            parts.join(", ")
        }
        Some(other) => other.to_string(),
    }
}

/// Members of a value, one a line, and what is in them indented below.
fn describe(text: &mut String, depth: usize, value: &Value, without: &[&str]) {
    let indent = "  ".repeat(depth);
    let width = NAME_CHARS.saturating_sub(indent.len());
    let Some(members) = value.as_object() else {
        return;
    };
    for (name, value) in members {
        let name = name.as_str();
        if without.contains(&name) || value.is_null() {
            continue;
        }
        let heading = name.replace('_', " ");
        let lines = match value {
            Value::Object(_) => {
                let _ = writeln!(text, "{indent}{heading}");
                describe(text, depth + 1, value, &[]);
                continue;
            }
            Value::Array(parts) if parts.is_empty() => vec!["none".to_owned()],
            Value::Array(parts) if parts.iter().any(Value::is_object) => {
                parts.iter().map(in_line).collect()
            }
            Value::Array(parts) if name == "unreadable" => {
                parts.iter().map(|part| plain(Some(part))).collect()
            }
            _ => vec![plain(Some(value))],
        };
        for line in lines {
            let _ = writeln!(text, "{indent}{heading:<width$} {line}");
        }
    }
}

/// A value in one line: its members with their names.
fn in_line(value: &Value) -> String {
    let Some(members) = value.as_object() else {
        return plain(Some(value));
    };
    let parts = members.iter().map(|(name, value)| match value {
        Value::Object(_) => in_line(value),
        _ => format!("{} {}", name.replace('_', " "), plain(Some(value))),
    });
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    parts.join(", ")
}

pub(super) fn print_json(value: &Value) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, value)?;
    writeln!(out)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn print(text: &str) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
