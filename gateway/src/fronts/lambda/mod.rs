//! AWS Lambda's Invoke, as its SDKs speak it (Lambda API reference, `Invoke`): what a request says, what it is answered, and
//! which error each of our problems is.
//!
//! Invariants: an error has the name, the status and the members that the SDKs' own model of the service has
//! (`lambda/2015-03-31/service-2.json`), so that they raise the exception that they have for it and retry what is worth it; a
//! failure of the function itself is a 200 with `X-Amz-Function-Error`. It knows neither connections nor credentials: the
//! route is `http::lambda`.
//!
//! | module | owns |
//! |---|---|
//! | `name` | names of functions, and ARNs |
//! | `asked` | what a request's target and headers ask for |
//! | `errors` | the table of errors |
//! | `reply` | answers |

pub mod asked;
pub mod errors;
#[cfg(any(test, fuzzing))]
pub(super) mod fuzzing;
pub mod name;
pub mod reply;

/// Longest request of a synchronous invocation (Lambda, quotas).
pub const REQUEST_BYTES_MAX: usize = 6_291_456;
/// Longest answer.
pub const RESPONSE_BYTES_MAX: usize = 6_291_556;
/// What an answer has besides its data, at most.
const MEMBERS_BYTES_MAX: usize = 4096;
/// Longest output whose base64 an answer has room for.
pub const OUTPUT_BYTES_MAX: usize = (RESPONSE_BYTES_MAX - MEMBERS_BYTES_MAX) / 4 * 3;
/// The one version that each function has.
pub const LATEST: &str = "$LATEST";
