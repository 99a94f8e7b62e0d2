//! `gateway/FRONTS.md` against the code: names, members, limits.

use std::path::Path;

use faam_gateway::fronts::body_room::BODY_ROOM_BYTES;
use faam_gateway::fronts::cloud_events::{BATCH_EVENTS_MAX, BATCH_LIMIT, EVENT_LIMIT};
use faam_gateway::fronts::function::Function;
use faam_gateway::fronts::payload::Payload;
use faam_gateway::fronts::{azure, knative, lambda, openfaas, openwhisk};

fn page() -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("FRONTS.md");
    std::fs::read_to_string(page).expect("the page")
}

/// The rows of the table whose head begins so, as cells.
fn table(page: &str, head: &str) -> Vec<Vec<String>> {
    let (_, after) = page
        .split_once(head)
        .unwrap_or_else(|| panic!("no table {head:?}"));
    let rows = after
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect()
    })
    .collect()
}

/// With commas, as the page has it.
fn figure(bytes: usize) -> String {
    let digits = bytes.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[test]
fn it_has_each_function_and_no_other() {
    let told: Vec<_> = table(&page(), "| function | does |")
        .into_iter()
        .map(|row| (row[0].clone(), row[2].clone()))
        .collect();
    let there: Vec<_> = Function::ALL
        .iter()
        .map(|function| {
            let takes_level = if function.takes_level() { "yes" } else { "no" };
            (format!("`{function}`"), takes_level.to_owned())
        })
        .collect();
    assert_eq!(told, there);
}

#[test]
fn its_members_are_those_of_a_payload_and_one_has_to_be_there() {
    let members: Vec<_> = table(&page(), "| member | is |")
        .into_iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    let value = |member: &str| match member {
        "data" => "\"aGVsbG8=\"",
        "backend" => "\"cpu\"",
        "kernel" => "\"gzip\"",
        _ => "1",
    };
    let payload = |members: &[String]| {
        let members: Vec<_> = members
            .iter()
            .map(|name| format!("{name:?}: {}", value(name)))
            .collect();
        Payload::read(format!("{{{}}}", members.join(", ")).as_bytes())
    };
    let all = payload(&members).expect("all of them together");
    assert!(
        all.function.is_some()
            && all.options.priority.is_some()
            && all.options.deadline_ms.is_some()
    );
    assert!(all.options.level.is_some() && all.options.backend.is_some());
    assert!(payload(&members[..1]).is_ok() && members[0] == "data");
    assert!(payload(&members[1..]).is_err());
    assert!(payload(&[members[0].clone(), "format".to_owned()]).is_err());
}

#[test]
fn its_limits_are_the_fronts() {
    let told: Vec<_> = table(&page(), "| front | request at most, bytes |")
        .into_iter()
        .map(|row| (row[0].clone(), row[1].clone()))
        .collect();
    let there = [
        ("Lambda", lambda::REQUEST_BYTES_MAX),
        ("OpenWhisk", openwhisk::REQUEST_BYTES_MAX),
        ("Knative", knative::BODY_LIMIT.bytes_max),
        ("CloudEvents, one event", EVENT_LIMIT.bytes_max),
        ("CloudEvents, a batch", BATCH_LIMIT.bytes_max),
        ("OpenFaaS", openfaas::BODY_LIMIT.bytes_max),
        ("Azure Functions", azure::BODY_LIMIT.bytes_max),
    ];
    assert_eq!(
        told,
        there.map(|(front, bytes)| (front.to_owned(), figure(bytes)))
    );
    assert!(page().contains(&format!("at most {BATCH_EVENTS_MAX} events,")));
    assert!(page().contains(&format!(
        "{} bytes in each process",
        figure(BODY_ROOM_BYTES)
    )));
}
