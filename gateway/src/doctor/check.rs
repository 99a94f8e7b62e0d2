//! A check, and what comes of it.
//!
//! Invariant: what is not ok comes with what to do about it, a command line wherever one does it.

use serde::Serialize;

use super::subject::Subject;
use crate::pci::PciFunction;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    Ok,
    /// It works, with a risk or a cost.
    Warn,
    /// The card path does not work so.
    Fail,
}

/// What a check found.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) status: Status,
    pub(crate) found: String,
    /// What to do; empty where nothing is to be done.
    pub(crate) mend: String,
}

/// One check.
pub(crate) struct Check {
    /// Its name, for programs.
    pub(crate) name: &'static str,
    pub(crate) of: Of,
    /// Statuses that it can come to: each is turned by a test.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the tests' list of what they have to show")
    )]
    pub(crate) can: &'static [Status],
}

/// What a check looks at.
pub(crate) enum Of {
    /// The machine, once.
    Machine(fn(&Subject) -> Finding),
    /// Each function of a card.
    Function(fn(&Subject, &PciFunction<'_>) -> Finding),
}

/// A check's result as it is printed.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Checked {
    pub(crate) name: &'static str,
    pub(crate) status: Status,
    pub(crate) found: String,
    pub(crate) mend: String,
}

impl Finding {
    pub(crate) fn ok(found: impl Into<String>) -> Self {
        Self {
            status: Status::Ok,
            found: found.into(),
            mend: String::new(),
        }
    }

    pub(crate) fn warn(found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            status: Status::Warn,
            found: found.into(),
            mend: mend.into(),
        }
    }

    pub(crate) fn fail(found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            status: Status::Fail,
            found: found.into(),
            mend: mend.into(),
        }
    }

    /// What only a card needs: a failure where one is examined, a warning where none is.
    pub(crate) fn missing(
        subject: &Subject,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        match subject.functions.is_empty() {
            true => Self::warn(found, mend),
            false => Self::fail(found, mend),
        }
    }
}

impl Check {
    /// Runs it: on the machine, or on each function.
    pub(crate) fn run(&self, subject: &Subject) -> Vec<Checked> {
        let checked = |finding: Finding| Checked {
            name: self.name,
            status: finding.status,
            found: finding.found,
            mend: finding.mend,
        };
        match self.of {
            Of::Machine(look) => vec![checked(look(subject))],
            Of::Function(look) => {
                let functions = subject.functions.iter();
                let findings = functions.map(|address| {
                    let function = PciFunction::at(&subject.machine, *address);
                    let mut finding = look(subject, &function);
                    finding.found = format!("{address}: {}", finding.found);
                    checked(finding)
                });
                findings.collect()
            }
        }
    }
}
