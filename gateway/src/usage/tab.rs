//! One request's tab: what it has cost so far, and how it ended.
//!
//! It is in the request's permit, which its body and each of its jobs hold, and is put on its tenant's account when the last of them has
//! let go: so the work of a caller that has hung up is charged as well. Invariant: once, if it was opened.

use std::sync::{Arc, OnceLock};

use super::account::{Account, Ended};
use crate::auth::Principal;
use crate::meter::Meter;

/// See the module.
#[derive(Debug, Default)]
pub struct Tab {
    meter: Meter,
    opened: OnceLock<Opened>,
    closing: OnceLock<Closing>,
}

#[derive(Debug)]
struct Opened {
    account: Arc<Account>,
    principal: Arc<Principal>,
    kernel: &'static str,
}

/// How a request ended, as far as whoever answered it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Which engines served.
    pub backend: &'static str,
    /// `ok`, the name of a problem, `cancelled` and the like.
    pub outcome: &'static str,
    /// Bytes of its body that arrived.
    pub bytes_in: u64,
    /// Bytes of its answer that were made.
    pub bytes_out: u64,
}

/// Of one that nobody said anything of: its caller went away.
const UNSAID: Closing = Closing {
    backend: "none",
    outcome: "cancelled",
    bytes_in: 0,
    bytes_out: 0,
};

impl Tab {
    /// What was used so far.
    #[must_use]
    pub const fn meter(&self) -> &Meter {
        &self.meter
    }

    /// From now on it is for `account`.
    pub fn open(&self, account: Arc<Account>, principal: Arc<Principal>, kernel: &'static str) {
        let opened = Opened {
            account,
            principal,
            kernel,
        };
        // A request begins once.
        let _ = self.opened.set(opened);
    }

    /// The request has ended so; what its jobs still take is added all the same. The first word counts.
    pub fn close(&self, closing: Closing) {
        let _ = self.closing.set(closing);
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closing.get().is_some()
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        let Some(opened) = self.opened.take() else {
            return;
        };
        let closing = self.closing.take().unwrap_or(UNSAID);
        opened.account.end(&Ended {
            namespace: opened.principal.namespace.as_deref().unwrap_or_default(),
            kernel: opened.kernel,
            backend: closing.backend,
            outcome: closing.outcome,
            admitted: true,
            bytes_in: closing.bytes_in,
            bytes_out: closing.bytes_out,
            spent: self.meter.spent(),
        });
    }
}
