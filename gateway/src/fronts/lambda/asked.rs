//! What a request's target and headers ask for.
//!
//! Invariant: what is asked is done, or refused by name; nothing of it is passed over that would change the answer. A client
//! context is tolerated: the functions read none. It knows no bodies.

use axum::http::{HeaderMap, HeaderName};

use super::LATEST;
use super::errors::Failure;
use super::name::{FunctionName, is_qualifier};
use crate::error::{Problem, ProblemKind};
use crate::fronts::function::Function;

const INVOCATION_TYPE: HeaderName = HeaderName::from_static("x-amz-invocation-type");
const LOG_TYPE: HeaderName = HeaderName::from_static("x-amz-log-type");
/// Longest piece of a caller's text that an error repeats, in characters.
const QUOTED_CHARS_MAX: usize = 64;

/// See the module's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What is called.
    pub function: Function,
    /// Only whether it could be called.
    pub dry_run: bool,
    /// Whether the end of the log is wanted.
    pub tail: bool,
}

impl Asked {
    /// Reads it from the name in the path, decoded, the query and the headers.
    ///
    /// # Errors
    /// As Lambda has them.
    pub fn read(name: &str, query: &str, headers: &HeaderMap) -> Result<Self, Failure> {
        let parsed = FunctionName::parse(name).ok_or_else(|| {
            Failure::invalid_parameter(format!(
                "function name {:?}: expected a name, NAME:QUALIFIER, or an ARN as arn:aws:lambda:REGION:ACCOUNT:function:NAME; \
                 correct it",
                cut(name)
            ))
        })?;
        let queried = form_urlencoded::parse(query.as_bytes())
            .find_map(|(name, value)| (name == "Qualifier").then_some(value));
        let queried = queried.as_deref();
        if let Some(qualifier) = queried.filter(|qualifier| !is_qualifier(qualifier)) {
            return Err(Failure::invalid_parameter(format!(
                "Qualifier {:?}: expected {LATEST}, a version or an alias; correct it or leave it out",
                cut(qualifier)
            )));
        }
        if let (Some(one), Some(other)) = (parsed.qualifier, queried)
            && one != other
        {
            return Err(Failure::invalid_parameter(format!(
                "the function's name says {:?} and Qualifier {:?}: expected one of them, or the same twice",
                cut(one),
                cut(other)
            )));
        }
        let dry_run = match header(headers, &INVOCATION_TYPE)? {
            None | Some("RequestResponse") => false,
            Some("DryRun") => true,
            Some("Event") => {
                return Err(Failure::invalid_parameter(
                    "X-Amz-Invocation-Type Event: asynchronous invocations are not taken here, for nothing would keep them until \
                     they are carried out; invoke with RequestResponse",
                ));
            }
            Some(other) => {
                return Err(Failure::invalid_parameter(format!(
                    "X-Amz-Invocation-Type {:?}: expected RequestResponse or DryRun; correct it or leave it out",
                    cut(other)
                )));
            }
        };
        let tail = match header(headers, &LOG_TYPE)? {
            None | Some("None") => false,
            Some("Tail") => true,
            Some(other) => {
                return Err(Failure::invalid_parameter(format!(
                    "X-Amz-Log-Type {:?}: expected None or Tail; correct it or leave it out",
                    cut(other)
                )));
            }
        };
        let function = parsed.name.parse().map_err(|error| {
            Failure::from(Problem::new(
                ProblemKind::NotFound,
                format!("Function not found: {error}; call one of these"),
            ))
        })?;
        let qualifier = parsed.qualifier.or(queried).unwrap_or(LATEST);
        if qualifier != LATEST {
            return Err(Problem::new(
                ProblemKind::NotFound,
                format!(
                    "Function not found: {}:{}: expected {LATEST}, the one version that there is; correct the qualifier or leave \
                     it out",
                    parsed.name,
                    cut(qualifier)
                ),
            )
            .into());
        }
        Ok(Self {
            function,
            dry_run,
            tail,
        })
    }
}

/// A header that comes at most once, in ASCII.
fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    match (value.to_str(), values.next()) {
        (Ok(text), None) => Ok(Some(text)),
        _ => Err(Failure::invalid_parameter(format!(
            "header {name}: expected it once, in visible ASCII characters; correct it or leave it out"
        ))),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use faam_codec::Format;

    use super::*;

    fn read(
        name: &str,
        query: &str,
        pairs: &[(&HeaderName, &'static str)],
    ) -> Result<Asked, (u16, &'static str)> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        Asked::read(name, query, &headers)
            .map_err(|failure| (failure.told().status, failure.told().name))
    }

    #[test]
    fn what_is_asked_is_read_or_refused_by_its_name_in_the_service() {
        let plain = Asked {
            function: Function::Compress(Format::Gzip),
            dry_run: false,
            tail: false,
        };
        let (kind, log) = (&INVOCATION_TYPE, &LOG_TYPE);
        assert_eq!(read("gzip", "", &[]), Ok(plain));
        assert_eq!(
            read(
                "gzip",
                "Qualifier=%24LATEST",
                &[(kind, "RequestResponse"), (log, "None")]
            ),
            Ok(plain)
        );
        assert_eq!(read("gzip:$LATEST", "Qualifier=%24LATEST", &[]), Ok(plain));
        assert_eq!(
            read("gzip", "", &[(kind, "DryRun")]),
            Ok(Asked {
                dry_run: true,
                ..plain
            })
        );
        assert_eq!(
            read("gzip", "", &[(log, "Tail")]),
            Ok(Asked {
                tail: true,
                ..plain
            })
        );
        let unknown = Err((404, "ResourceNotFoundException"));
        let invalid = Err((400, "InvalidParameterValueException"));
        assert_eq!(read("rar", "", &[]), unknown);
        assert_eq!(read("gzip:2", "", &[]), unknown);
        assert_eq!(read("gzip", "Qualifier=prod", &[]), unknown);
        assert_eq!(read("g zip", "", &[]), invalid);
        assert_eq!(read("gzip", "Qualifier=a%20b", &[]), invalid);
        assert_eq!(read("gzip", "Qualifier=", &[]), invalid);
        assert_eq!(read("gzip:1", "Qualifier=2", &[]), invalid);
        assert_eq!(read("gzip", "", &[(kind, "Event")]), invalid);
        assert_eq!(read("gzip", "", &[(kind, "event")]), invalid);
        assert_eq!(
            read("gzip", "", &[(kind, "DryRun"), (kind, "DryRun")]),
            invalid
        );
        assert_eq!(read("gzip", "", &[(log, "All")]), invalid);
    }
}
