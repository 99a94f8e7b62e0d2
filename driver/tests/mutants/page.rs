//! The page `driver/MUTANTS.md`: which check was taken out, and what noticed.
//!
//! Owns its form. Invariant: what is written is read back the same.

use std::fmt::Write as _;
use std::path::PathBuf;

use crate::mutant::Mutant;
use crate::tree::root;

/// What the page says of a mutant that nothing noticed.
pub(crate) const SURVIVED: &str = "nothing: survived";

const HEAD: &str = "\
# Safety checks taken out, one at a time

Made by `make mutants`; do not edit. Each row is a change of one place in a copy of the tree (the list is
`driver/tests/mutants/mutant.rs`), and the tests that failed with it, the first three by name. Without a change the
same tests pass. `make test` checks that each change still has its place and that no row says that nothing noticed.

| Mutant | The check that it takes out | Where | Noticed by |
|---|---|---|---|
";

/// A row.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) check: String,
    file: String,
    pub(crate) caught_by: String,
}

impl Row {
    pub(crate) fn of(mutant: &Mutant, caught_by: String) -> Self {
        Self {
            name: mutant.name.to_owned(),
            check: mutant.check.to_owned(),
            file: mutant.file.to_owned(),
            caught_by,
        }
    }
}

pub(crate) fn path() -> PathBuf {
    root().join("driver/MUTANTS.md")
}

pub(crate) fn write(rows: &[Row]) -> String {
    let mut page = HEAD.to_owned();
    for row in rows {
        let Row {
            name,
            check,
            file,
            caught_by,
        } = row;
        writeln!(page, "| `{name}` | {check} | `{file}` | {caught_by} |").unwrap();
    }
    page
}

pub(crate) fn rows(page: &str) -> Vec<Row> {
    let cells = |line: &str| -> Option<Row> {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let [_, name, check, file, caught_by, _] = cells.as_slice() else {
            return None;
        };
        let plain = |cell: &str| cell.trim_matches('`').to_owned();
        Some(Row {
            name: plain(name),
            check: (*check).to_owned(),
            file: plain(file),
            caught_by: (*caught_by).to_owned(),
        })
    };
    page.lines()
        .filter(|line| line.starts_with("| `"))
        .filter_map(cells)
        .collect()
}

#[test]
fn what_is_written_is_read() {
    let row = Row::of(&crate::mutant::MUTANTS[0], "a, b".to_owned());
    let page = write(&[row]);
    let [read] = rows(&page).try_into().ok().unwrap();
    assert_eq!(read.name, crate::mutant::MUTANTS[0].name);
    assert_eq!(read.check, crate::mutant::MUTANTS[0].check);
    assert_eq!(read.caught_by, "a, b");
    assert_eq!(write(&[read]), page);
}
