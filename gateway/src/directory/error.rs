//! Why a change of tenants or credentials was not made.

use faam_store::StoreError;
use thiserror::Error;

use super::limits::LimitError;
use super::names::NameError;
use crate::credentials::scopes::UnknownScope;

/// See the module's head.
#[derive(Debug, Error)]
pub enum DirectoryError {
    /// No such tenant or credential.
    #[error("{what} {name:?} does not exist; {mend}")]
    Missing {
        /// `tenant`, `key`.
        what: &'static str,
        /// Its name.
        name: String,
        /// What to do.
        mend: &'static str,
    },
    /// It is there already.
    #[error(
        "tenant {0:?} exists already; change it with `faam tenant set`, or choose another name"
    )]
    Exists(String),
    /// Not in the state for it.
    #[error("{0}")]
    State(String),
    /// What was asked for cannot be.
    #[error("{0}")]
    Invalid(String),
    /// As many as there may be.
    #[error("{what}: {max} is the most that there may be; remove some first")]
    TooMany {
        /// Of which.
        what: &'static str,
        /// How many.
        max: usize,
    },
    /// More was promised than there is.
    #[error(
        "guaranteed rates (cir_us_per_s) would add up to {sum}: expected at most {max}, 80 % of the {capacity} microseconds a \
         second that the engines in service give; lower this one or another's, or add engines"
    )]
    Overcommitted {
        /// Of all tenants, with the change.
        sum: u64,
        /// What may be promised.
        max: u64,
        /// What there is.
        capacity: u64,
    },
    /// A name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A limit.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// A scope.
    #[error(transparent)]
    Scope(#[from] UnknownScope),
    /// It is not on disk, or not known to be.
    #[error("the store did not take the change")]
    Store(#[from] StoreError),
    /// No random bytes.
    #[error("the system gave no random bytes")]
    Random(#[from] getrandom::Error),
}
