//! Calls whose body is the input, and answers whose body is the output; options come in the query or as headers.
//!
//! Invariants: an option that is not known, comes twice, or comes in two places that differ, is refused by name; a refusal is
//! `application/problem+json` with the status that the platform's table gives. It knows no platform.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri};
use serde_json::{Map, Value};

use super::body_room::HeldBody;
use super::call::{Answer, Call, CallOptions};
use super::error_map::Mapped;
use super::front::Backend;
use super::function::{Function, names};
use crate::error::{PROBLEM_JSON, Problem, ProblemKind};
use crate::http::answer::{FAAM_BACKEND_REASON, FAAM_LEVEL, FAAM_VERIFY, SERVER_TIMING};
use crate::http::invocation::Invocation;
use crate::http::options::{FAAM_BACKEND, FAAM_DEADLINE_MS, FAAM_PRIORITY};

/// Which function is called: a header's way to say it.
pub const FAAM_FUNCTION: HeaderName = HeaderName::from_static("faam-function");
/// Headers of an answer that a front passes on.
const PASSED_ON: [HeaderName; 6] = [
    CONTENT_TYPE,
    FAAM_BACKEND,
    FAAM_BACKEND_REASON,
    FAAM_VERIFY,
    FAAM_LEVEL,
    SERVER_TIMING,
];
/// Options, by their names in a query and as headers.
const OPTIONS_COUNT: usize = 5;
const OPTIONS: [(&str, HeaderName); OPTIONS_COUNT] = [
    ("function", FAAM_FUNCTION),
    ("level", FAAM_LEVEL),
    ("backend", FAAM_BACKEND),
    ("deadline_ms", FAAM_DEADLINE_MS),
    ("priority", FAAM_PRIORITY),
];
/// Longest piece of a caller's text that an error repeats, in characters.
const QUOTED_CHARS_MAX: usize = 48;

/// A platform's bound on a body, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit {
    /// Most bytes.
    pub bytes_max: usize,
    /// Whose limit it is, as an error names it.
    pub whose: &'static str,
}

/// What a request asks for beside its body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// The function, where it is said.
    pub function: Option<Function>,
    /// How.
    pub options: CallOptions,
}

impl Asked {
    /// From a query and headers. Options of the query in `ignored` are the platform's own.
    ///
    /// # Errors
    /// `invalid-option`
    pub fn read(uri: &Uri, headers: &HeaderMap, ignored: &[&str]) -> Result<Self, Problem> {
        let mut values: [Option<Box<str>>; OPTIONS_COUNT] = Default::default();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            let known = OPTIONS.iter().position(|(known, _)| *known == name);
            let Some(slot) = known.and_then(|index| values.get_mut(index)) else {
                if ignored.contains(&&*name) {
                    continue;
                }
                return Err(Problem::invalid_option(format!(
                    "unknown option {:?}: expected one of {}; correct it or leave it out",
                    cut(&name),
                    OPTIONS.map(|(known, _)| known).join(", ")
                )));
            };
            if slot.replace(value.into()).is_some() {
                return Err(Problem::invalid_option(format!(
                    "option `{name}` came twice: expected it once; leave one out"
                )));
            }
        }
        for ((name, header), slot) in OPTIONS.iter().zip(&mut values) {
            let mut lines = headers.get_all(header).iter();
            let Some(value) = lines.next() else { continue };
            let text = value.to_str().map(str::trim).unwrap_or_default();
            if lines.next().is_some() || slot.as_deref().is_some_and(|asked| asked != text) {
                return Err(Problem::invalid_option(format!(
                    "option `{name}` came more than once, in header {header} and elsewhere: expected it once; leave one out"
                )));
            }
            *slot = Some(text.into());
        }
        let [function, level, backend, deadline_ms, priority] = values;
        Ok(Self {
            function: function.as_deref().map(named).transpose()?,
            options: CallOptions {
                level,
                backend,
                deadline_ms,
                priority,
            },
        })
    }

    /// With the function that the path `/NAME` names, if it names one; `/` names none.
    ///
    /// # Errors
    /// `not-found`, or `invalid-option` where something else names another.
    pub fn at(mut self, path: &str) -> Result<Self, Problem> {
        let name = path.trim_matches('/');
        if name.is_empty() {
            return Ok(self);
        }
        let function = name.parse::<Function>().map_err(|_| {
            Problem::new(
                ProblemKind::NotFound,
                format!(
                    "nothing is at {:?}: expected `/`, or `/` and one of {}; correct the path",
                    cut(path),
                    names()
                ),
            )
        })?;
        match self.function {
            Some(other) if other != function => Err(Problem::invalid_option(format!(
                "the path names {function} and an option {other}: expected one function; leave one out"
            ))),
            _ => {
                self.function = Some(function);
                Ok(self)
            }
        }
    }
}

/// The function of this name.
///
/// # Errors
/// `invalid-option`
pub fn named(name: &str) -> Result<Function, Problem> {
    name.parse().map_err(|error| {
        Problem::invalid_option(format!(
            "option `function`: {error}; correct it or leave it out"
        ))
    })
}

/// Reads a body within a platform's limit.
///
/// # Errors
/// Those of the room; what is too large is told with whose limit it is.
pub async fn held(
    backend: &Backend,
    headers: &HeaderMap,
    body: Body,
    limit: BodyLimit,
) -> Result<HeldBody, Problem> {
    let coded = headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    if coded.is_some_and(|coding| !coding.trim_ascii().eq_ignore_ascii_case(b"identity")) {
        return Err(Problem::new(
            ProblemKind::UnknownFormat,
            "a request with Content-Encoding: expected none, or identity, for the body is taken as it is; leave the header \
             out (to decompress, call `decompress`)",
        ));
    }
    let read = backend.room.read(headers, body, limit.bytes_max).await;
    read.map_err(|problem| match problem.kind() {
        ProblemKind::TooLarge => Problem::new(
            ProblemKind::TooLarge,
            format!("{} (the limit is {})", problem.detail(), limit.whose),
        ),
        _ => problem,
    })
}

/// Has a request answered whose body is the input.
///
/// # Errors
/// What the caller is to be told.
pub async fn call(
    backend: &Backend,
    invocation: Invocation,
    asked: Asked,
    request: Request,
    limit: BodyLimit,
) -> Result<Response<Body>, Problem> {
    let (head, body) = request.into_parts();
    let body = held(backend, &head.headers, body, limit).await?;
    let function = asked.function.unwrap_or(backend.function);
    let call = Call {
        function,
        options: asked.options.or(&backend.options.fit(function)),
        input: body.bytes.clone(),
        output_bytes_max: limit.bytes_max,
        held_bytes: 0,
        base64_copies: 0,
    };
    let answer = Arc::clone(&backend.invoker);
    let answer = answer.invoke(invocation, call).await?;
    Ok(response(answer))
}

/// An answer whose body is the output.
#[must_use]
pub fn response(answer: Answer) -> Response<Body> {
    let mut response = Response::new(answer.body());
    let headers = response.headers_mut();
    for name in PASSED_ON {
        if let Some(value) = answer.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    response
}

/// A plain answer of text.
#[must_use]
pub fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// A problem as a JSON object (RFC 9457), under the platform's status.
#[must_use]
pub fn problem_json(
    problem: &Problem,
    invocation: Invocation,
    mapped: Mapped,
) -> Map<String, Value> {
    let mut members = match ProblemKind::describe(problem.kind().name()) {
        Some(Value::Object(members)) => members,
        // Every kind is described.
        _ => Map::new(),
    };
    members.remove("mend");
    members.insert("status".to_owned(), mapped.status.into());
    members.insert("detail".to_owned(), problem.detail().into());
    let instance = invocation.id.urn().to_string();
    members.insert("instance".to_owned(), instance.into());
    if let Some(seconds) = problem.retry_after() {
        members.insert("retry_after_s".to_owned(), seconds.into());
    }
    members
}

/// What a caller of a platform is told of a problem.
#[must_use]
pub fn refused(problem: Problem, invocation: Invocation, mapped: Mapped) -> Response<Body> {
    let body = Value::Object(problem_json(&problem, invocation, mapped));
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() =
        StatusCode::from_u16(mapped.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    if let Some(seconds) = problem.retry_after() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    problem.told_by(response)
}

/// A caller's text as an error repeats it.
#[must_use]
pub fn cut(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(target: &str, headers: &[(HeaderName, &str)]) -> Result<Asked, String> {
        let uri: Uri = target.parse().expect("a target");
        let mut lines = HeaderMap::new();
        for (name, value) in headers {
            lines.append(name, value.parse().expect("a value"));
        }
        Asked::read(&uri, &lines, &["code"])
            .and_then(|asked| asked.at(uri.path()))
            .map_err(|problem| problem.detail().to_owned())
    }

    #[test]
    fn options_come_by_query_header_and_path_and_once() {
        let all = asked("/?function=zstd&level=3&code=x", &[(FAAM_BACKEND, "cpu")]).expect("taken");
        assert_eq!(all.function, "zstd".parse().ok());
        assert_eq!(all.options.level.as_deref(), Some("3"));
        assert_eq!(all.options.backend.as_deref(), Some("cpu"));
        let by_path = asked("/gunzip", &[]).expect("taken");
        assert_eq!(by_path.function, "gunzip".parse().ok());
        for (target, headers, word) in [
            ("/?levle=3", &[][..], "levle"),
            ("/?level=3&level=4", &[], "twice"),
            ("/?level=3", &[(FAAM_LEVEL, "4")], "more than once"),
            ("/?function=rar", &[], "rar"),
            ("/gzip?function=zstd", &[], "leave one out"),
            ("/nothing", &[], "nothing is at"),
        ] {
            let refused = asked(target, headers).expect_err(target);
            assert!(refused.contains(word), "{target}: {refused}");
        }
    }
}
