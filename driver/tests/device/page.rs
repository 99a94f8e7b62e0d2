//! The page of behaviours: what must hold, on which carrier it was shown, and what turns it red.
//!
//! Owns driver/BEHAVIOURS.md. Invariant: it is made of the list of behaviours and of result lines, and of nothing else; a
//! carrier that was not run keeps its column. `check` fails if the list and the page differ, or if a result is worse than
//! the page says (better is welcome: a machine with huge pages shows more than one without).
//! Its command makes and compares the page of faults as well.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::behaviour::{Behaviour, all};
use crate::carrier::Carrier;
use crate::faults;

/// Results by kind (`behaviour`, `mutation`), behaviour and carrier.
#[derive(Default)]
struct Results(BTreeMap<(String, String, String), String>);

/// `write FILE...` or `check FILE...`, with files of result lines.
pub(crate) fn run(mut args: impl Iterator<Item = String>) -> ExitCode {
    let mode = args.next();
    let files: Vec<_> = args.collect();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("BEHAVIOURS.md");
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let mut fresh = Results::default();
    let mut of_faults = faults::page::Results::default();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
        for line in text.lines() {
            fresh.take(line);
            of_faults.take(line);
        }
    }
    match mode.as_deref() {
        Some("write") => {
            let mut results = Results::of_page(&page);
            results.0.extend(fresh.0);
            std::fs::write(&path, results.page()).unwrap();
            faults::page::write(of_faults);
            ExitCode::SUCCESS
        }
        Some("check") => {
            let behaviours = told("BEHAVIOURS.md", "behaviours", &check(&page, &fresh));
            let faults = told("FAULTS.md", "faults", &faults::page::check(&of_faults));
            match behaviours && faults {
                true => ExitCode::SUCCESS,
                false => ExitCode::FAILURE,
            }
        }
        _ => {
            println!("expected page write FILE... or page check FILE...");
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with a page; whether nothing is.
fn told(page: &str, target: &str, wrong: &[String]) -> bool {
    if wrong.is_empty() {
        println!("driver/{page} says what was shown");
        return true;
    }
    println!("driver/{page} is stale; make it anew with `make {target}`:");
    wrong.iter().for_each(|line| println!("  {line}"));
    false
}

fn check(page: &str, fresh: &Results) -> Vec<String> {
    let told = Results::of_page(page);
    let mut wrong = Vec::new();
    // The page of its own results is the page, or it does not have the list's names, words and mutations.
    if told.page() != page {
        wrong.push("its rows are not those of the list of behaviours".to_owned());
    }
    for carrier in Carrier::ALL.map(Carrier::name) {
        if !fresh.0.keys().any(|(_, _, of)| of == carrier) {
            continue;
        }
        for behaviour in all() {
            for (kind, name) in [("behaviour", ""), ("mutation", "its mutation of ")] {
                let told = told.get(kind, behaviour, carrier);
                let shown = fresh.get(kind, behaviour, carrier);
                let bad = matches!(shown, "failed" | "survived");
                if bad || rank(shown) < rank(told) {
                    let name = format!("{name}{}", behaviour.name);
                    wrong.push(format!(
                        "{name} over {carrier}: {told:?} on the page, {shown:?} now"
                    ));
                }
            }
        }
    }
    wrong
}

/// A skip may come of the machine; a behaviour that was not run at all is worth no more than a failure.
fn rank(result: &str) -> u8 {
    match result {
        "passed" | "red" => 2,
        result if result.starts_with("skipped") => 1,
        _ => 0,
    }
}

impl Results {
    /// Takes a line `KIND: NAME: CARRIER: RESULT`; any other is passed over.
    fn take(&mut self, line: &str) {
        let mut parts = line.trim().splitn(4, ": ");
        let (Some(kind), Some(name), Some(carrier), Some(result)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        let known = Carrier::ALL.iter().any(|known| known.name() == carrier);
        if matches!(kind, "behaviour" | "mutation") && known {
            let key = (kind.to_owned(), name.to_owned(), carrier.to_owned());
            self.0.insert(key, result.to_owned());
        }
    }

    fn get(&self, kind: &str, behaviour: &Behaviour, carrier: &str) -> &str {
        let key = (
            kind.to_owned(),
            behaviour.name.to_owned(),
            carrier.to_owned(),
        );
        self.0.get(&key).map_or("not run", String::as_str)
    }

    /// The results that a page tells of.
    fn of_page(page: &str) -> Self {
        let mut results = Self::default();
        for line in page.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let [_, name, _, vfio_user, kernel_vfio, rtl, _, red, _] = cells.as_slice() else {
                continue;
            };
            let name = name.trim_matches('`');
            let mut put = |kind: &str, carrier: Carrier, result: &str| {
                let key = (kind.to_owned(), name.to_owned(), carrier.name().to_owned());
                results.0.insert(key, result.to_owned());
            };
            put("behaviour", Carrier::VfioUser, vfio_user);
            put("behaviour", Carrier::KernelVfio, kernel_vfio);
            put("behaviour", Carrier::Rtl, rtl);
            for carrier in Carrier::ALL {
                if red.contains(carrier.name()) {
                    put("mutation", carrier, "red");
                }
            }
        }
        results
    }

    fn page(&self) -> String {
        let mut page = String::from(HEAD);
        for behaviour in all() {
            let shown = |carrier: Carrier| self.get("behaviour", behaviour, carrier.name());
            let faults: Vec<_> = behaviour
                .mutation
                .faults
                .iter()
                .map(|fault| format!("`{}`", fault.name()))
                .collect();
            let red: Vec<_> = Carrier::ALL
                .map(Carrier::name)
                .into_iter()
                .filter(|carrier| self.get("mutation", behaviour, carrier) == "red")
                .collect();
            let red = match red.is_empty() {
                true => "not run".to_owned(),
                false => red.join(", "),
            };
            let _ = writeln!(
                page,
                "| `{}` | {} | {} | {} | {} | {} | {} |",
                behaviour.name,
                behaviour.holds,
                shown(Carrier::VfioUser),
                shown(Carrier::KernelVfio),
                shown(Carrier::Rtl),
                faults.join(" and "),
                red,
            );
        }
        page
    }
}

const HEAD: &str = "\
# Behaviours of a card, and of the way to it

Made by `make behaviours` from the results of `driver/tests/device`; do not edit. The same source runs over vfio-user on
the host, with the simulated card in its own process or in the test's, and over the kernel's VFIO in a virtual machine,
with the simulated card behind QEMU's `vfio-user-pci` and an emulated IOMMU. Over vfio-user it runs a second time with the
farm's RTL, simulated clock by clock, in place of the functional model (`make test-rtl`); what that lacks is skipped, with
the capability or the fault that it would take. The last two columns name the fault of the simulated card that the behaviour
must fail with, and where it was seen to.

| Behaviour | What holds | vfio-user | kernel VFIO | simulated RTL | Turned red by | Seen over |
|---|---|---|---|---|---|---|
";
