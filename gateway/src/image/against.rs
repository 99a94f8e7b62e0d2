//! `faam image verify --against`: a file compared with a running gateway's device.
//!
//! Invariant: it judges nothing itself; what is shown to people stands in the JSON too. Nothing is kept by the gateway, and nothing
//! is programmed.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use faam_image::PACKAGE_BYTES_MAX;
use serde_json::{Value, json};

use super::read;
use crate::admin_client::{AdminClient, OperatorFlags, in_path};
use crate::columns::{columns, printable};
use crate::operator::{plain, print, print_json};

/// How long a gateway may take to read and compare one.
const WAIT: Duration = Duration::from_secs(60);

/// Compares each file, and says what fits and what does not.
pub(super) fn run(
    files: &[PathBuf],
    device: &str,
    operator: &OperatorFlags,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let client = AdminClient::new(&operator.data_dir);
    let path = format!("/admin/v1/devices/{}/slots/verify", in_path(device));
    let mut images = Vec::new();
    for file in files {
        let bytes = read(file, PACKAGE_BYTES_MAX)?;
        images.push((file, client.upload(&path, bytes, WAIT)?));
    }
    let all = images.iter().all(|(_, answer)| is_accepted(answer));
    if json {
        let images: Vec<_> = images
            .into_iter()
            .map(|(file, answer)| of_file(file, device, answer))
            .collect();
        print_json(&json!({ "images": images }))?;
    } else {
        let text: String = images
            .iter()
            .map(|(file, answer)| shown(file, device, answer))
            .collect();
        print(&text)?;
    }
    Ok(match all {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn is_accepted(answer: &Value) -> bool {
    answer.get("accepted") == Some(&json!(true))
}

/// The points of a member.
fn points(of: &Value) -> impl Iterator<Item = &Value> {
    let points = of.get("points").and_then(Value::as_array);
    points.into_iter().flatten()
}

fn devices(answer: &Value) -> impl Iterator<Item = &Value> {
    let devices = answer.get("devices").and_then(Value::as_array);
    devices.into_iter().flatten()
}

/// The answer with the members that `faam image verify` has of any file: the first reason against it among them.
fn of_file(file: &Path, device: &str, mut answer: Value) -> Value {
    let against = |point: &&Value| point.get("fits") == Some(&json!(false));
    let against = points(&answer)
        .chain(devices(&answer).flat_map(points))
        .find(against)
        .cloned()
        .unwrap_or_default();
    let member = |name| against.get(name).cloned();
    let (reason, detail) = (member("reason"), member("detail"));
    if let Some(members) = answer.as_object_mut() {
        members.insert("file".to_owned(), json!(file));
        members.insert("against".to_owned(), json!(device));
        if let (Some(reason), Some(detail)) = (reason, detail) {
            members.insert("reason".to_owned(), reason);
            members.insert("detail".to_owned(), detail);
        }
    }
    answer
}

/// For people: what came of it, and a line for each point.
fn shown(file: &Path, device: &str, answer: &Value) -> String {
    let word = if is_accepted(answer) {
        "ok     "
    } else {
        "REFUSED"
    };
    let image = match answer.get("manifest") {
        Some(manifest @ Value::Object(_)) => {
            let member = |name| plain(manifest.get(name));
            format!(
                ": {} {} ({})",
                member("name"),
                member("version"),
                member("kind")
            )
        }
        _ => String::new(),
    };
    let row = |place: &str, point: &Value| {
        let fits = match point.get("fits") {
            Some(Value::Bool(true)) => "fits",
            Some(Value::Bool(false)) => "REFUSED",
            _ => "-",
        };
        let detail = printable(&plain(point.get("detail")));
        let detail = match point.get("reason") {
            Some(Value::String(reason)) => format!("{reason}: {detail}"),
            _ => detail,
        };
        let name = plain(point.get("point"));
        [format!("  {fits}"), place.to_owned(), name, detail]
    };
    let mut rows: Vec<_> = points(answer).map(|point| row("package", point)).collect();
    for device in devices(answer) {
        let name = plain(device.get("name"));
        let simulated = device.get("simulated") == Some(&json!(true));
        let place = match simulated {
            true => format!("{name} (simulated)"),
            false => name,
        };
        rows.extend(points(device).map(|point| row(&place, point)));
    }
    format!(
        "{word} {} against {device}{image}\n{}",
        file.display(),
        columns(&rows)
    )
}
