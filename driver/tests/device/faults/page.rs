//! The page of faults: what each does, what comes of it over each carrier and in a gateway, and how long it takes.
//!
//! Owns driver/FAULTS.md. Invariant: it is made of the list of faults and of result lines, and of nothing else; what was not
//! run keeps its column. `check` fails if the list and the page differ, if a fault's outcome is another than the page
//! says, or if there is one that nobody has run. Times are this machine's: they are told, and not compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::ROWS;
use crate::carrier::Carrier;

/// Where a fault's outcome is seen: over a carrier, and in a gateway (gateway/tests/card_faults.rs).
const COLUMNS: [&str; 3] = [
    Carrier::VfioUser.name(),
    Carrier::KernelVfio.name(),
    "gateway",
];
/// What stands where nothing was run.
const NOT_RUN: &str = "not run";

/// Results by fault and column.
#[derive(Default)]
pub(crate) struct Results(BTreeMap<(String, String), String>);

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("FAULTS.md")
}

/// Writes the page anew.
pub(crate) fn write(fresh: Results) {
    let page = std::fs::read_to_string(path()).unwrap_or_default();
    let mut results = Results::of_page(&page);
    results.0.extend(fresh.0);
    std::fs::write(path(), results.page()).unwrap();
}

/// What is wrong with the page, by these results.
pub(crate) fn check(fresh: &Results) -> Vec<String> {
    let page = std::fs::read_to_string(path()).unwrap_or_default();
    let told = Results::of_page(&page);
    let mut wrong = Vec::new();
    if told.page() != page {
        wrong.push("its rows are not those of the list of faults".to_owned());
    }
    for column in COLUMNS {
        for row in ROWS
            .iter()
            .filter(|row| told.get(row.name, column) == NOT_RUN)
        {
            let name = row.name;
            wrong.push(format!("{name} over {column}: nobody has run it"));
        }
        if !fresh.0.keys().any(|(_, of)| of == column) {
            continue;
        }
        for row in ROWS {
            let (told, shown) = (told.get(row.name, column), fresh.get(row.name, column));
            if !holds(told, shown) {
                wrong.push(format!(
                    "{} over {column}: {told:?} on the page, {shown:?} now",
                    row.name
                ));
            }
        }
    }
    let known = |name: &str| ROWS.iter().any(|row| row.name == name);
    for (name, column) in fresh.0.keys().filter(|(name, _)| !known(name)) {
        wrong.push(format!("{name} over {column} is not on the list of faults"));
    }
    wrong
}

/// Whether what the page tells is what was shown. A page that tells of nothing may be bettered.
fn holds(told: &str, shown: &str) -> bool {
    let is_none = |result: &str| result == NOT_RUN || result.starts_with("skipped");
    let is_bad = shown.starts_with("failed") || told.starts_with("failed");
    !is_bad && (is_none(told) || outcome(told) == outcome(shown))
}

/// A result without its times.
fn outcome(result: &str) -> String {
    let is_time = |part: &&str| part.ends_with(" ms");
    let parts: Vec<_> = result.split("; ").filter(|part| !is_time(part)).collect();
    parts.join("; ")
}

impl Results {
    /// Takes a line `fault: NAME: COLUMN: RESULT`; any other is passed over.
    pub(crate) fn take(&mut self, line: &str) {
        let Some(line) = line.trim().strip_prefix("fault: ") else {
            return;
        };
        let mut parts = line.splitn(3, ": ");
        if let (Some(name), Some(column), Some(result)) = (parts.next(), parts.next(), parts.next())
            && COLUMNS.contains(&column)
        {
            let key = (name.to_owned(), column.to_owned());
            self.0.insert(key, result.to_owned());
        }
    }

    fn get(&self, name: &str, column: &str) -> &str {
        let key = (name.to_owned(), column.to_owned());
        self.0.get(&key).map_or(NOT_RUN, String::as_str)
    }

    fn of_page(page: &str) -> Self {
        let mut results = Self::default();
        for line in page.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let [_, name, _, shown @ .., _] = cells.as_slice() else {
                continue;
            };
            for (column, result) in COLUMNS.iter().zip(shown) {
                let key = (name.trim_matches('`').to_owned(), (*column).to_owned());
                results.0.insert(key, (*result).to_owned());
            }
        }
        results
    }

    fn page(&self) -> String {
        let mut page = String::from(HEAD);
        for row in ROWS {
            let [vfio_user, kernel_vfio, gateway] =
                COLUMNS.map(|column| self.get(row.name, column).replace('|', "/"));
            let _ = writeln!(
                page,
                "| `{}` | {} | {vfio_user} | {kernel_vfio} | {gateway} |",
                row.name, row.does
            );
        }
        page
    }
}

const HEAD: &str = "\
# Faults of a card, and what comes of them

Made by `make faults` from the results of `driver/tests/device` and `gateway/tests/card_faults.rs`; do not edit. The card
is the simulated one, over vfio-user in a process of its own, over the kernel's VFIO behind QEMU's `vfio-user-pci` and an
emulated IOMMU. Each fault strikes while jobs of all kinds are under way.

The columns of carriers are the driver's. `served` means that every job got the right bytes from the card itself. Else the row
says as what the fault was noticed, and what brought the function back: another queue pair in the place of one that was
retired, the function's reset, which is fence (b), or another process after the old one's death, which is fence (d). A card
behind the kernel's VFIO is not replaced: it is cut off behind the IOMMU, which is fence (c), and out of use until somebody
has mended it. `noticed` is the time from the strike, or from the call that caused it, to its detection; `back` from there to
jobs that are served again, self-test included. `verification` means that another decoder did not find the host's own bytes
in a result. In every trial each job had exactly one outcome, no wrong byte passed, memory that the card held came back only
behind a fence, and all of it came back. Faults of a load strike one slot of two: jobs were served by the other one all the
while, the function was neither fenced nor reset, and the slot took the next load.

The last column is a whole gateway's, under callers of every policy: what it took out of service, how long until all served
again, and how many requests were lost or had a wrong byte. It was ready all the while. Times are those of the machine that
made the page, and of a card that is simulated; a fresh run must agree in all but the times.

| Fault | What the card does | vfio-user | kernel VFIO | In a gateway |
|---|---|---|---|---|
";
