//! The page of error tables, written from the tables of the fronts themselves.
//!
//! Invariant: the committed page is what the fronts answer by; each kind of problem has a line in each table.
//! `FAAM_WRITE_PAGE=1` writes it anew (`make front-errors`).

use std::fmt::Write as _;
use std::path::Path;

use faam_gateway::error::ProblemKind;
use faam_gateway::fronts::azure::Azure;
use faam_gateway::fronts::error_map::{ErrorMap, Mapped};
use faam_gateway::fronts::knative::Knative;
use faam_gateway::fronts::lambda::errors::Lambda;
use faam_gateway::fronts::openfaas::OpenFaas;
use faam_gateway::fronts::openwhisk::errors::Errors as OpenWhisk;

const PAGE: &str = "FRONT-ERRORS.md";

/// One front's table. Kinds that are answered alike share a line.
fn table<M: ErrorMap>(page: &mut String) {
    let _ = write!(page, "\n## {}\n\n", M::PLATFORM);
    let mut lines: Vec<(Mapped, Vec<&'static str>)> = Vec::new();
    for kind in ProblemKind::ALL {
        let mapped = M::map(kind);
        assert!(
            (200..600).contains(&mapped.status),
            "{}: {}",
            M::PLATFORM,
            kind.name()
        );
        assert!(!mapped.taken.is_empty(), "{}: {}", M::PLATFORM, kind.name());
        match lines.iter_mut().find(|(known, _)| *known == mapped) {
            Some((_, kinds)) => kinds.push(kind.name()),
            None => lines.push((mapped, vec![kind.name()])),
        }
    }
    lines.sort_by_key(|(mapped, _)| mapped.status);
    let named = lines.iter().any(|(mapped, _)| !mapped.name.is_empty());
    let (heading, rule) = if named {
        (
            "| problem | status | name | how it is taken |",
            "|---|---|---|---|",
        )
    } else {
        ("| problem | status | how it is taken |", "|---|---|---|")
    };
    let _ = writeln!(page, "{heading}\n{rule}");
    for (mapped, kinds) in lines {
        let kinds: Vec<_> = kinds.iter().map(|kind| format!("`{kind}`")).collect();
        let name = match (named, mapped.name) {
            (false, _) => String::new(),
            (true, "") => " |".to_owned(),
            (true, name) => format!(" `{name}` |"),
        };
        let _ = writeln!(
            page,
            "| {} | {} |{name} {} |",
            kinds.join(", "),
            mapped.status,
            mapped.taken
        );
    }
}

#[test]
fn the_page_is_what_the_fronts_answer_by() {
    let mut page = String::from(
        "# Errors of the fronts\n\nWritten by `gateway/tests/fronts/error_tables.rs` (`make front-errors`) from the tables by which \
         the fronts answer; the test compares. A problem is what [`GET /problems/NAME`](openapi.json) describes; whatever its \
         front says, it is logged and counted under that name (`faam_refused_total`, `faam_front_requests_total`), and \
         `faam explain` tells it by the id of the answer.\n",
    );
    table::<Lambda>(&mut page);
    table::<OpenWhisk>(&mut page);
    table::<Knative>(&mut page);
    table::<OpenFaas>(&mut page);
    table::<Azure>(&mut page);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os("FAAM_WRITE_PAGE").is_some() {
        std::fs::write(&path, page).expect("written");
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (committed, done)) in (1..).zip(committed.lines().zip(page.lines())) {
        assert_eq!(
            committed, done,
            "line {number} of gateway/{PAGE}: run `make front-errors`"
        );
    }
    assert!(committed == page, "gateway/{PAGE}: run `make front-errors`");
}
