//! What each inner error is to a caller: the kind of problem, its words and its members.
//!
//! Owns the mapping from every inner error. Invariants: each has one; what is a bug of ours tells its cause to the log alone. It
//! names no status code: the kind has it.

use std::io::ErrorKind;
use std::time::Duration;

use axum::http::HeaderValue;
use axum::http::header::WWW_AUTHENTICATE;
use faam_codec::{DecompressError, Format};
use faam_store::StoreError;
use serde_json::{Map, Value};

use super::{Problem, ProblemKind, chain};
use crate::admission::{NotAllowed, Refusal};
use crate::auth::{AuthError, ScopeMissing};
use crate::card_operation::OperationError;
use crate::credentials::sigv4::SigV4Error;
use crate::directory::error::DirectoryError;
use crate::http::answer::{Progress, Spent};
use crate::images::ImageError;
use crate::job::JobError;

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let (kind, mend) = match refusal {
            Refusal::TooManyInFlight { .. } | Refusal::TenantMemory { .. } => {
                (ProblemKind::TooManyInFlight, "wait for some of them to end")
            }
            Refusal::BeyondMemory { .. } => (
                ProblemKind::NotAllowed,
                "choose a lower level or another format, or have the operator raise memory_bytes_max",
            ),
            Refusal::OverRate { .. } => (
                ProblemKind::OverRate,
                "send the request again after Retry-After, and fewer of them in a second",
            ),
            Refusal::TooLong { .. } => (
                ProblemKind::OverRate,
                "split the data, or have the operator raise bytes_per_s",
            ),
            Refusal::OverQuota { .. } => (
                ProblemKind::OverQuota,
                "send the request again when the next day (UTC) has begun, or have the operator raise the quota",
            ),
            Refusal::Saturated { .. } => (
                ProblemKind::Saturated,
                "send the request again after Retry-After",
            ),
            Refusal::Draining { .. } => (
                ProblemKind::Draining,
                "send the request again on a new connection",
            ),
        };
        let mut problem = Self::new(kind, format!("{refusal}; {mend}"));
        if let Some((limit, value)) = refusal.limit() {
            problem = problem.with("limit", limit).with("limit_value", value);
        }
        if let Some(came) = refusal.came() {
            problem = problem.with("came", came);
        }
        match refusal.wait() {
            Some(wait) => problem.come_back_after(wait),
            None => problem,
        }
    }
}

impl From<NotAllowed> for Problem {
    fn from(refusal: NotAllowed) -> Self {
        Self::new(
            ProblemKind::NotAllowed,
            format!("{refusal}; the operator's `faam tenant set` allows more"),
        )
    }
}

impl From<OperationError> for Problem {
    fn from(error: OperationError) -> Self {
        let kind = match error {
            OperationError::Image(error) => return error.into(),
            OperationError::Unverified(_) => return Self::internal(&error.to_string()),
            OperationError::FaultRefused { .. } => ProblemKind::InvalidOption,
            _ => ProblemKind::DeviceState,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<AuthError> for Problem {
    fn from(error: AuthError) -> Self {
        let kind = match error {
            AuthError::Several => ProblemKind::InvalidOption,
            AuthError::SigV4(error) if error != SigV4Error::Skew => ProblemKind::InvalidOption,
            AuthError::Missing | AuthError::Invalid(_) | AuthError::SigV4(_) => {
                ProblemKind::NoCredential
            }
        };
        let mut problem = Self::new(kind, error.to_string());
        let challenge = HeaderValue::from_static(error.challenge());
        problem.0.carried.insert(WWW_AUTHENTICATE, challenge);
        problem
    }
}

impl From<DirectoryError> for Problem {
    fn from(error: DirectoryError) -> Self {
        use DirectoryError as E;
        let kind = match &error {
            E::Missing { .. } => ProblemKind::NotFound,
            E::Invalid(_) | E::Name(_) | E::Limit(_) | E::Scope(_) => ProblemKind::InvalidOption,
            E::Exists(_) | E::State(_) | E::TooMany { .. } | E::Overcommitted { .. } => {
                ProblemKind::Conflict
            }
            E::Store(StoreError::Changed { .. }) => ProblemKind::Conflict,
            E::Store(error) if error.may_pass() => ProblemKind::Saturated,
            E::Store(_) | E::Random(_) => return Self::internal(&chain(&error)),
        };
        Self::new(kind, chain(&error))
    }
}

impl From<ImageError> for Problem {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Refused(refusal) => {
                Self::new(ProblemKind::ImageRefused, refusal.to_string())
                    .with("reason", refusal.code())
            }
            ImageError::Missing { .. } | ImageError::Unnamed { .. } => {
                Self::new(ProblemKind::NotFound, error.to_string())
            }
            ImageError::Misnamed { .. } | ImageError::Full { .. } | ImageError::TooManyKernels => {
                Self::new(ProblemKind::Conflict, error.to_string())
            }
            ImageError::File { ref source, .. } if source.kind() == ErrorKind::StorageFull => {
                Self::new(ProblemKind::Saturated, chain(&error))
            }
            ImageError::Floors { .. } | ImageError::Trust(_) | ImageError::File { .. } => {
                Self::internal(&chain(&error))
            }
        }
    }
}

impl From<ScopeMissing> for Problem {
    fn from(error: ScopeMissing) -> Self {
        Self::new(ProblemKind::NotAllowed, error.to_string())
    }
}

impl Problem {
    /// A decompression error at `base` bytes into the body.
    #[must_use]
    pub fn decompress(error: &DecompressError, base: usize) -> Self {
        use DecompressError as E;
        let kind = match error {
            E::UnknownFormat => ProblemKind::UnknownFormat,
            E::TooLarge { .. } => ProblemKind::TooLarge,
            E::RatioExceeded { .. } => ProblemKind::RatioExceeded,
            _ => ProblemKind::CorruptInput,
        };
        let mut detail = chain(error);
        let offset = match error {
            E::BadHeader { offset, .. }
            | E::HeaderTooLarge { offset, .. }
            | E::CorruptInput { offset, .. }
            | E::Truncated { offset }
            | E::TrailingGarbage { offset, .. } => Some(base.saturating_add(*offset)),
            _ => None,
        };
        if base > 0 {
            detail.push_str(&format!(
                " (counted from byte {base} of the body, where a member begins)"
            ));
        }
        let problem = Self::new(kind, detail);
        match offset {
            Some(offset) => problem.with("offset", offset),
            None => problem,
        }
    }

    /// A job that started at `base` bytes into the body has no result. What it spent is added to the request's.
    #[must_use]
    pub fn job(error: JobError, progress: &mut Progress, base: usize) -> Self {
        match error {
            JobError::Input(source) => Self::decompress(&source, base),
            // Says what to do as well: the limit that was met is the engines' to know.
            JobError::BeyondCard(what) => Self::new(ProblemKind::NoEngine, what),
            JobError::NoCard { .. } | JobError::NoKernel { .. } => Self::new(
                ProblemKind::NoEngine,
                format!(
                    "{error}; send `Faam-Backend: auto` or `prefer-hw`, or come back after Retry-After"
                ),
            ),
            JobError::NoRoom { .. } => Self::new(
                ProblemKind::Saturated,
                format!("{error}; send the request again after Retry-After"),
            ),
            JobError::Deadline(phases) => {
                progress.spent.add(&phases);
                Self::deadline(&progress.spent)
            }
            // Its keys are gone as well.
            JobError::TenantRemoved => AuthError::Invalid("Bearer").into(),
            JobError::Stopping => Refusal::Draining {
                left: Duration::ZERO,
            }
            .into(),
            JobError::Internal(what) => Self::internal(&what),
        }
    }

    /// The deadline passed, with what was spent where.
    #[must_use]
    pub fn deadline(spent: &Spent) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let parts: Vec<_> = spent
            .by_phase()
            .iter()
            .map(|(phase, time)| format!("{phase} {:.1} ms", ms(*time)))
            .collect();
        let spent_ms: Map<_, _> = spent
            .by_phase()
            .iter()
            .map(|(phase, time)| ((*phase).to_owned(), Value::from(ms(*time))))
            .collect();
        Self::new(
            ProblemKind::Deadline,
            format!(
                "the deadline passed; spent until then: {} (parallel blocks add up); send a larger Faam-Deadline-Ms or \
                 less data",
                parts.join(", ")
            ),
        )
        .with("spent_ms", spent_ms)
    }

    /// The deadline would pass: with what is predicted, before anything is spent. Where the queue is the reason it is worth
    /// another try; where the work alone takes longer it is not.
    #[must_use]
    pub fn deadline_ahead(left: Duration, queue: Duration, service: Duration) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let predicted = format!(
            "Faam-Deadline-Ms leaves {:.0} ms, and this is predicted to take {:.0} ms: {:.0} ms in the queue and {:.0} ms of \
             work",
            ms(left),
            ms(queue.saturating_add(service)),
            ms(queue),
            ms(service),
        );
        let problem = if service > left {
            Self::new(
                ProblemKind::Deadline,
                format!("{predicted}; send a larger Faam-Deadline-Ms or less data"),
            )
        } else {
            let detail = format!(
                "{predicted}; send the request again after Retry-After, or a larger Faam-Deadline-Ms"
            );
            // Until so much of the queue is gone that it would fit.
            let over = queue.saturating_add(service).saturating_sub(left);
            Self::new(ProblemKind::Saturated, detail).come_back_after(over)
        };
        problem
            .with("deadline_left_ms", ms(left))
            .with("predicted_queue_ms", ms(queue))
            .with("predicted_service_ms", ms(service))
    }

    /// A format that is not served.
    #[must_use]
    pub fn unknown_format(got: &str, expected: &str) -> Self {
        Self::new(
            ProblemKind::UnknownFormat,
            format!("format {got:?} is not served: expected {expected}; choose one of these"),
        )
        .with("served", Format::ALL.map(Format::name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_limit_its_value_and_what_came() {
        let problem = Problem::from(Refusal::OverRate {
            rate: crate::admission::Rate::Bytes,
            asked: 9,
            free: 2,
            per_s: 5,
            wait: Duration::from_millis(1400),
        });
        assert_eq!(problem.kind(), ProblemKind::OverRate);
        let members = &problem.0.members;
        assert_eq!(members["limit"], "bytes_per_s");
        assert_eq!(
            (&members["limit_value"], &members["came"]),
            (&5.into(), &9.into())
        );
        assert_eq!(problem.retry_after_s(), Some(2));
    }

    #[test]
    fn offsets_count_from_the_start_of_the_body() {
        let error = DecompressError::CorruptInput {
            offset: 5,
            what: "a bad block",
        };
        let problem = Problem::decompress(&error, 100);
        assert_eq!(problem.0.members["offset"], 105);
        assert_eq!(problem.kind(), ProblemKind::CorruptInput);
    }

    #[test]
    fn an_image_that_is_not_loaded_is_refused_as_one_that_is_not_taken() {
        let of = |error: ImageError| Problem::from(OperationError::from(error));
        let refusal = faam_image::Package::read(b"none", &faam_image::Trust::default());
        let problem = of(refusal.expect_err("no package").into());
        assert_eq!(problem.kind(), ProblemKind::ImageRefused);
        assert!(problem.0.members.contains_key("reason"));
        let unknown = of(ImageError::Unnamed {
            name: "none".to_owned(),
        });
        assert_eq!(unknown.kind(), ProblemKind::NotFound);
        let unreadable = of(ImageError::File {
            what: "read",
            path: "x.fgi".into(),
            source: ErrorKind::PermissionDenied.into(),
        });
        assert_eq!(unreadable.kind(), ProblemKind::Internal);
    }
}
