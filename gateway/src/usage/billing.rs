//! Which outcomes are billed: one table.
//!
//! Invariants: what the gateway or a card did wrong is never billed; what a caller did, or chose, is billed for what it used;
//! what was refused has used nothing; an outcome that the table does not know is not billed. What is billed or not is counted
//! alike, and debited from quotas and shares alike: the table is about money.
//!
//! A block that a card made wrong, or lost, and that another engine made anew is metered once, for the engine that made what
//! was answered: retries after a failed verification cost the tenant nothing.

/// An outcome, and whether it is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Billing {
    /// As in metrics and usage: `ok`, the name of a problem, `cancelled` and the like.
    pub outcome: &'static str,
    /// Whether what it used is billed.
    pub billable: bool,
    /// Why.
    pub why: &'static str,
}

const fn billed(outcome: &'static str, why: &'static str) -> Billing {
    Billing {
        outcome,
        billable: true,
        why,
    }
}

const fn free(outcome: &'static str, why: &'static str) -> Billing {
    Billing {
        outcome,
        billable: false,
        why,
    }
}

const CALLERS: &str =
    "the caller's request could not be served to its end; what was done until then is billed";
const REFUSED: &str = "refused before anything was done";
const OURS: &str = "ours";

/// Every outcome.
#[rustfmt::skip]
pub const BILLING: &[Billing] = &[
    billed("ok", "delivered: the connection has taken the last byte"),
    billed("cancelled", "the caller hung up; what was done is billed, so that cancelling buys nothing"),
    billed("stalled", "the caller did not take its answer"),
    billed("deadline", "the caller's deadline passed; one that could not be met is refused before"),
    billed("too-slow", CALLERS),
    billed("corrupt-input", CALLERS),
    billed("digest-mismatch", CALLERS),
    billed("too-large", CALLERS),
    billed("ratio-exceeded", CALLERS),
    billed("version", "the caller's HTTP cannot carry the answer"),
    free("invalid-option", REFUSED),
    free("unknown-format", REFUSED),
    free("not-found", REFUSED),
    free("method", REFUSED),
    free("headers", REFUSED),
    free("no-credential", REFUSED),
    free("too-many-failures", REFUSED),
    free("not-allowed", REFUSED),
    free("conflict", REFUSED),
    free("image-refused", REFUSED),
    free("too-many-in-flight", REFUSED),
    free("over-rate", REFUSED),
    free("over-quota", REFUSED),
    free("saturated", OURS),
    free("draining", OURS),
    free("no-engine", OURS),
    free("device-state", OURS),
    free("internal", OURS),
];

/// Whether `outcome` is billed.
#[must_use]
pub fn is_billable(outcome: &str) -> bool {
    let row = BILLING.iter().find(|row| row.outcome == outcome);
    row.is_some_and(|row| row.billable)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::error::ProblemKind;

    #[test]
    fn every_outcome_has_one_row() {
        let rows: BTreeSet<_> = BILLING.iter().map(|row| row.outcome).collect();
        assert_eq!(rows.len(), BILLING.len(), "an outcome stands twice");
        let others = ["ok", "cancelled", "stalled"];
        let kinds = ProblemKind::ALL.iter().map(|kind| kind.name());
        for outcome in others.into_iter().chain(kinds) {
            assert!(
                rows.contains(outcome),
                "{outcome} is missing: is it billed?"
            );
        }
    }

    #[test]
    fn the_manual_has_the_table() {
        let manual = include_str!("../../METERING.md");
        let lines: Vec<_> = manual
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        for row in BILLING {
            let billed = if row.billable { "yes" } else { "no" };
            let line = format!("| `{}` | {billed} | {} |", row.outcome, row.why);
            assert!(lines.contains(&line.as_str()), "METERING.md lacks: {line}");
        }
    }

    #[test]
    fn our_faults_are_free_and_callers_pay_for_what_they_had() {
        for ours in [
            "internal",
            "saturated",
            "no-engine",
            "draining",
            "a new one",
        ] {
            assert!(!is_billable(ours), "{ours}");
        }
        for theirs in ["ok", "cancelled", "deadline", "corrupt-input"] {
            assert!(is_billable(theirs), "{theirs}");
        }
    }
}
