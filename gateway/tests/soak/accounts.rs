//! What callers know that they were served, against what the gateway's usage says.
//!
//! Owns the callers' own counts since usage was last looked at. Invariants: of a gateway that lives, or that ended in order,
//! usage says exactly what callers count, so that a block that was replayed is counted once; of one that was killed, it may
//! lack what ended in the last moments before, and have what its callers saw break. It does not know how usage is kept.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::life::{Life, Lives};

/// What a killed gateway may not have written yet: a second (`FLUSH_EVERY`), and the time of a write beside a load on a slow
/// machine.
const UNWRITTEN_MAX: Duration = Duration::from_secs(10);
/// How long a permit may outlive its answer.
const SETTLED_LIMIT: Duration = Duration::from_secs(10);

/// Tenants of the soak: name, bound on requests in flight. The first is there from the start.
pub(crate) const TENANTS: [(&str, Option<u32>); 4] = [
    ("demo", None),
    ("second", None),
    ("narrow", Some(3)),
    ("fickle", None),
];
/// The one whose callers hang up: what it was served is known within bounds.
pub(crate) const FICKLE: usize = 3;
/// Kernels, as usage names them.
pub(crate) const KERNELS: [&str; 2] = ["compress", "decompress"];

/// A tenant's use of a kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) requests: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

/// By tenant and kernel, as they are numbered.
type Sheet = BTreeMap<(usize, usize), Use>;

/// A request that may have been served.
struct Entry {
    at: Instant,
    of: (usize, usize),
    bytes: Use,
    /// A right answer came; else its caller does not know.
    sure: bool,
}

/// See the module's head.
#[derive(Default)]
pub(crate) struct Accounts {
    since: Mutex<Vec<Entry>>,
    /// What usage said when it was last looked at.
    last: Mutex<Sheet>,
    checks: Mutex<Checks>,
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checks {
    /// Times that usage had to be exact, and was.
    pub(crate) exact: u64,
    /// Times after a kill.
    pub(crate) after_kill: u64,
    /// Requests that usage lacks after kills: in their tenants' favour.
    pub(crate) unwritten: u64,
}

impl Use {
    fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            bytes_in: self.bytes_in + other.bytes_in,
            bytes_out: self.bytes_out + other.bytes_out,
        }
    }

    fn minus(self, other: Self) -> Option<Self> {
        Some(Self {
            requests: self.requests.checked_sub(other.requests)?,
            bytes_in: self.bytes_in.checked_sub(other.bytes_in)?,
            bytes_out: self.bytes_out.checked_sub(other.bytes_out)?,
        })
    }

    fn is_within(self, least: Self, most: Self) -> bool {
        (least.requests..=most.requests).contains(&self.requests)
            && (least.bytes_in..=most.bytes_in).contains(&self.bytes_in)
            && (least.bytes_out..=most.bytes_out).contains(&self.bytes_out)
    }
}

impl Accounts {
    /// A request of `tenant` for `kernel` ended now. `sure`: with a right answer.
    pub(crate) fn note(
        &self,
        tenant: usize,
        kernel: usize,
        sure: bool,
        bytes_in: u64,
        bytes_out: u64,
    ) {
        let bytes = Use {
            requests: 1,
            bytes_in,
            bytes_out,
        };
        let entry = Entry {
            at: Instant::now(),
            of: (tenant, kernel),
            bytes,
            sure,
        };
        self.since
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(entry);
    }

    /// Compares with usage, nothing being under way. `killed`: when the last life ended, if it was killed since the last
    /// comparison.
    pub(crate) fn settle(
        &self,
        lives: &Lives,
        life: &Life,
        killed: Option<Instant>,
    ) -> Result<(), String> {
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let compared = life.wait_until("usage as callers count it", SETTLED_LIMIT, || {
            let now = read(lives)?;
            let mut unwritten = 0;
            for (tenant, (name, _)) in TENANTS.iter().enumerate() {
                for (kernel, kernel_name) in KERNELS.iter().enumerate() {
                    let of = (tenant, kernel);
                    let entries = || since.iter().filter(|entry| entry.of == of);
                    let sum = |least: bool| {
                        let counted = entries().filter(|entry| {
                            let safe = killed.is_none_or(|at| entry.at + UNWRITTEN_MAX < at);
                            !least || (entry.sure && safe)
                        });
                        counted.fold(Use::default(), |sum, entry| sum.plus(entry.bytes))
                    };
                    let (least, most) = (sum(true), sum(false));
                    let [said, before] =
                        [&now, &last].map(|sheet| sheet.get(&of).copied().unwrap_or_default());
                    let said = said.minus(before).ok_or_else(|| {
                        format!("usage of {name} for {kernel_name} fell from {before:?} to {said:?}")
                    })?;
                    if !said.is_within(least, most) {
                        return Err(format!(
                            "{name}, {kernel_name}: usage grew by {said:?}, callers count {least:?} to {most:?}"
                        ));
                    }
                    let sure = entries().filter(|entry| entry.sure).count() as u64;
                    unwritten += sure.saturating_sub(said.requests);
                }
            }
            Ok((now, unwritten))
        });
        let (now, unwritten) = compared?;
        *last = now;
        since.clear();
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        match killed {
            Some(_) => checks.after_kill += 1,
            None => checks.exact += 1,
        }
        checks.unwritten += unwritten;
        Ok(())
    }

    pub(crate) fn checks(&self) -> Checks {
        *self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that usage said at the last comparison.
    pub(crate) fn total(&self) -> Use {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.values().fold(Use::default(), |sum, of| sum.plus(*of))
    }
}

/// Usage of what was served, of all tenants.
fn read(lives: &Lives) -> Result<Sheet, String> {
    let report =
        lives.faam_json(&["usage", "--since", "2d", "--group", "tenant,kernel,outcome"])?;
    let rows = report["rows"].as_array().ok_or("usage without rows")?;
    let mut sheet = Sheet::new();
    for row in rows.iter().filter(|row| row["outcome"] == "ok") {
        let is = |value: &Value, name: &str| value.as_str() == Some(name);
        let tenant = TENANTS
            .iter()
            .position(|(name, _)| is(&row["tenant"], name));
        let kernel = KERNELS.iter().position(|name| is(&row["kernel"], name));
        let (Some(tenant), Some(kernel)) = (tenant, kernel) else {
            continue;
        };
        let number = |name: &str| row[name].as_u64().ok_or(format!("usage without {name}"));
        sheet.insert(
            (tenant, kernel),
            Use {
                requests: number("requests")?,
                bytes_in: number("bytes_in")?,
                bytes_out: number("bytes_out")?,
            },
        );
    }
    Ok(sheet)
}
