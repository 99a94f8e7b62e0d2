//! From our problems to Lambda's errors.
//!
//! Invariants: each kind of problem has one line in the table; where the same kind is another error because of when it came
//! up, the constructor that says so is here as well. What the SDKs retry by themselves is what is worth it: 429 under the name
//! `TooManyRequestsException`, statuses 500 and 503, and a signature of another time, once they have set their clock by
//! our `Date`.

use super::super::error_map::{ErrorMap, Mapped};
use crate::auth::AuthError;
use crate::credentials::sigv4::SigV4Error;
use crate::error::{Problem, ProblemKind};

/// The front.
#[derive(Clone, Copy, Debug)]
pub struct Lambda;

/// Status of an answer that is the function's own, an error's as well.
pub const OF_THE_FUNCTION: u16 = 200;
const FUNCTION: &str = "the function's own error: `X-Amz-Function-Error: Unhandled`";
const RETRIED: &str = "retried by the SDKs";
const CALLERS: &str = "the caller's; not retried";
const INVALID_PARAMETER: &str = "InvalidParameterValueException";
const INVALID_SIGNATURE: &str = "InvalidSignatureException";
const THROTTLED: &str = "TooManyRequestsException";
const SERVICE: &str = "ServiceException";

impl ErrorMap for Lambda {
    const PLATFORM: &'static str = "AWS Lambda Invoke";

    fn map(kind: ProblemKind) -> Mapped {
        use ProblemKind as K;
        let (status, name, taken) = match kind {
            K::InvalidOption => (OF_THE_FUNCTION, "InvalidOption", FUNCTION),
            K::UnknownFormat => (OF_THE_FUNCTION, "UnknownFormat", FUNCTION),
            K::CorruptInput => (OF_THE_FUNCTION, "CorruptInput", FUNCTION),
            K::DigestMismatch => (OF_THE_FUNCTION, "DigestMismatch", FUNCTION),
            K::RatioExceeded => (OF_THE_FUNCTION, "RatioExceeded", FUNCTION),
            K::TooLarge => (
                OF_THE_FUNCTION,
                "Function.ResponseSizeTooLarge",
                "the function's own error; a request that is too large: 413 `RequestTooLargeException`",
            ),
            K::Deadline => (
                OF_THE_FUNCTION,
                "Sandbox.Timedout",
                "the function's own error: its deadline_ms has passed",
            ),
            K::NotFound => (404, "ResourceNotFoundException", CALLERS),
            K::Method => (405, "MethodNotAllowedException", CALLERS),
            K::TooSlow => (408, "RequestTimeoutException", RETRIED),
            K::Headers | K::Version | K::ImageRefused => (400, INVALID_PARAMETER, CALLERS),
            K::NoCredential => (
                403,
                INVALID_SIGNATURE,
                "the caller's; retried by SDKs that set their clock where it says `Signature expired`",
            ),
            K::NotAllowed => (403, "AccessDeniedException", CALLERS),
            K::TooManyFailures | K::OverRate | K::TooManyInFlight => (429, THROTTLED, RETRIED),
            K::OverQuota => (
                429,
                THROTTLED,
                "retried by the SDKs, in vain until Retry-After",
            ),
            K::Saturated | K::Draining | K::NoEngine => (503, SERVICE, RETRIED),
            K::DeviceState | K::Conflict => (409, "ResourceConflictException", CALLERS),
            K::Internal => (500, SERVICE, RETRIED),
        };
        Mapped {
            status,
            name,
            taken,
        }
    }
}

/// A problem, and the error that tells it.
#[derive(Clone, Debug)]
pub struct Failure {
    problem: Problem,
    told: Mapped,
    /// What stands before the problem's own words.
    lead: &'static str,
}

impl From<Problem> for Failure {
    /// As the table has it.
    fn from(problem: Problem) -> Self {
        let told = Lambda::map(problem.kind());
        Self {
            problem,
            told,
            lead: "",
        }
    }
}

impl Failure {
    const fn told_as(problem: Problem, status: u16, name: &'static str) -> Self {
        let told = Mapped {
            status,
            name,
            taken: CALLERS,
        };
        Self {
            problem,
            told,
            lead: "",
        }
    }

    /// What a target or a header asks for is not to be had.
    #[must_use]
    pub fn invalid_parameter(detail: impl Into<String>) -> Self {
        Self::told_as(Problem::invalid_option(detail), 400, INVALID_PARAMETER)
    }

    /// Of a body that came, or did not, before the function had it.
    #[must_use]
    pub fn of_request(problem: Problem) -> Self {
        match problem.kind() {
            ProblemKind::TooLarge => Self::told_as(problem, 413, "RequestTooLargeException"),
            ProblemKind::DigestMismatch => Self::told_as(problem, 403, INVALID_SIGNATURE),
            // Of its framing: what its event says is the function's.
            ProblemKind::InvalidOption => Self::no_json(problem),
            _ => problem.into(),
        }
    }

    /// A body that is no JSON.
    #[must_use]
    pub const fn no_json(problem: Problem) -> Self {
        Self::told_as(problem, 400, "InvalidRequestContentException")
    }

    /// A credential that is not taken; `problem` is what is said of it elsewhere. An access key that nobody has and a wrong
    /// signature are one error in the same words.
    #[must_use]
    pub fn of_credential(error: AuthError, problem: Problem) -> Self {
        if problem.kind() == ProblemKind::TooManyFailures {
            return problem.into();
        }
        match error {
            AuthError::Missing => {
                Self::told_as(problem, 403, "MissingAuthenticationTokenException")
            }
            AuthError::SigV4(SigV4Error::Skew) => Self {
                // What SDKs look for before they set their clock.
                lead: "Signature expired: ",
                ..Self::told_as(problem, 403, INVALID_SIGNATURE)
            },
            AuthError::Invalid("Bearer" | "Basic") => {
                Self::told_as(problem, 403, "UnrecognizedClientException")
            }
            AuthError::Invalid(_) => Self::told_as(problem, 403, INVALID_SIGNATURE),
            AuthError::Several | AuthError::SigV4(_) => {
                Self::told_as(problem, 403, "IncompleteSignatureException")
            }
        }
    }

    /// The problem.
    #[must_use]
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The error.
    #[must_use]
    pub const fn told(&self) -> Mapped {
        self.told
    }

    /// In words.
    #[must_use]
    pub fn message(&self) -> String {
        format!("{}{}", self.lead, self.problem.detail())
    }

    /// What it leaves to be logged and counted.
    #[must_use]
    pub fn into_problem(self) -> Problem {
        self.problem
    }

    /// What a throttled caller has too much of, in the service's words.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self.problem_kind() {
            ProblemKind::TooManyInFlight => Some("ConcurrentInvocationLimitExceeded"),
            ProblemKind::OverRate | ProblemKind::OverQuota | ProblemKind::TooManyFailures => {
                Some("CallerRateLimitExceeded")
            }
            _ => None,
        }
    }

    fn problem_kind(&self) -> ProblemKind {
        self.problem.kind()
    }

    /// The member that has the message: the service's model has it both ways.
    pub(super) fn message_member(&self) -> &'static str {
        match self.told.name {
            "ResourceNotFoundException" | SERVICE => "Message",
            _ => "message",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worth_another_try_is_what_sdks_retry() {
        for kind in ProblemKind::ALL {
            let Mapped { status, name, .. } = Lambda::map(kind);
            let retried = matches!(status, 500 | 503)
                || name == THROTTLED
                || name == "RequestTimeoutException";
            let problem = Problem::new(kind, "x");
            let worth_it = problem.retry_after().is_some()
                || matches!(kind, ProblemKind::Internal | ProblemKind::TooSlow);
            assert_eq!(retried, worth_it, "{kind:?}");
            assert_eq!(
                status == 429,
                Failure::from(problem).reason().is_some(),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn credentials_that_are_not_taken_are_told_apart_by_what_the_caller_can_see_only() {
        let told = |error: AuthError| {
            let failure = Failure::of_credential(error, error.into());
            (failure.told().name, failure.message())
        };
        assert_eq!(
            told(AuthError::Missing).0,
            "MissingAuthenticationTokenException"
        );
        let (name, message) = told(SigV4Error::Skew.into());
        assert_eq!(name, INVALID_SIGNATURE);
        assert!(message.starts_with("Signature expired"), "{message}");
        assert_eq!(
            told(AuthError::Invalid("AWS4-HMAC-SHA256")).0,
            INVALID_SIGNATURE
        );
        assert_eq!(
            told(AuthError::Invalid("Bearer")).0,
            "UnrecognizedClientException"
        );
        assert_eq!(
            told(SigV4Error::Form.into()).0,
            "IncompleteSignatureException"
        );
    }
}
