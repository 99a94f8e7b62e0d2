//! What a caller asks for: query options and request headers, parsed and bounded.
//!
//! Invariant: an option that is not known, or comes twice, is refused with the list of
//! what is accepted; nothing is silently ignored in a query. It knows no limits of
//! tenants and decides nothing.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use axum::http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use faam_codec::{Format, Level};

use crate::error::{Problem, ProblemKind};
use crate::job::{BackendPolicy, CARD_LEVEL_MAX, FallbackReason, Priority};

/// Which engines a request may run on.
pub const FAAM_BACKEND: HeaderName = HeaderName::from_static("faam-backend");
/// How long a caller waits.
pub const FAAM_DEADLINE_MS: HeaderName = HeaderName::from_static("faam-deadline-ms");

/// How urgent a request is among its tenant's others.
pub const FAAM_PRIORITY: HeaderName = HeaderName::from_static("faam-priority");

/// Longest deadline that is taken: one hour.
pub const DEADLINE_MS_MAX: u64 = 3_600_000;
/// Longest piece of a caller's text that a problem repeats, in characters.
const QUOTED_CHARS_MAX: usize = 48;

const COMPRESS_OPTIONS: [&str; 3] = ["format", "level", "as"];
const DECOMPRESS_OPTIONS: [&str; 1] = ["format"];
const AS_CONTENT_ENCODING: &str = "content-encoding";
const FORMATS: &str = "gzip, zlib, deflate, zstd or lz4";

/// What `POST /v1/compress` was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressOptions {
    /// Container of the answer.
    pub format: Format,
    /// Effort.
    pub level: Level,
    /// Whether the answer is the caller's own type under a content coding.
    pub as_content_encoding: bool,
    /// Engines and time.
    pub service: ServiceOptions,
}

/// What `POST /v1/decompress` was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecompressOptions {
    /// Format of the body; `None` detects it.
    pub format: Option<Format>,
    /// Engines and time.
    pub service: ServiceOptions,
}

/// What is common to all kernels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceOptions {
    /// Allowed engines.
    pub policy: BackendPolicy,
    /// How urgent the request is among its tenant's others.
    pub priority: Priority,
    /// When the caller stops waiting.
    pub deadline: Option<Instant>,
    /// Length of the body, where it is announced.
    pub content_length: Option<u64>,
    /// Why the engines that it prefers do not serve it, where that is known before.
    pub fallback: Option<FallbackReason>,
}

impl CompressOptions {
    /// From a request whose headers were complete at `started`.
    ///
    /// # Errors
    /// A [`Problem`] that says what is accepted.
    pub fn parse(uri: &Uri, headers: &HeaderMap, started: Instant) -> Result<Self, Problem> {
        let query = QueryOptions::parse(uri, &COMPRESS_OPTIONS)?;
        let format = match query.get("format") {
            Some(word) => parse_format(word, FORMATS)?,
            None => Format::Gzip,
        };
        let level = match query.get("level") {
            Some(word) => word
                .parse()
                .map_err(|error| Problem::invalid_option(format!("{error}; correct the query")))?,
            None => Level::DEFAULT,
        };
        let as_content_encoding = match query.get("as") {
            None => false,
            Some(AS_CONTENT_ENCODING) => true,
            Some(other) => {
                return Err(Problem::invalid_option(format!(
                    "option `as`: expected `{AS_CONTENT_ENCODING}`, got {}; correct it or leave it out",
                    quoted(other)
                )));
            }
        };
        if as_content_encoding && matches!(format, Format::Deflate | Format::Lz4) {
            let what = if format == Format::Lz4 {
                "lz4"
            } else {
                "raw DEFLATE"
            };
            return Err(Problem::invalid_option(format!(
                "as=content-encoding with format={format}: HTTP has no coding for {what}; use format=gzip, format=zstd or \
                 format=zlib (HTTP's `deflate`)",
            )));
        }
        if as_content_encoding {
            // The answer keeps it.
            once(headers, &CONTENT_TYPE)?;
        }
        let service = ServiceOptions::parse(headers, started)?;
        if service.policy == BackendPolicy::RequireHardware && !format.is_deflate() {
            return Err(Problem::invalid_option(format!(
                "format {format} with `Faam-Backend: require-hw`: no card serves it; use gzip, zlib or deflate, or \
                 `prefer-hw`"
            )));
        }
        if service.policy == BackendPolicy::RequireHardware && level.get() > CARD_LEVEL_MAX {
            return Err(Problem::invalid_option(format!(
                "level {level} with `Faam-Backend: require-hw`: no card serves levels above {CARD_LEVEL_MAX}; use a level \
                 from 1 to {CARD_LEVEL_MAX}, or `prefer-hw`"
            )));
        }
        Ok(Self {
            format,
            level,
            as_content_encoding,
            service,
        })
    }
}

impl CompressOptions {
    /// What of this no card does, if anything.
    #[must_use]
    pub const fn beyond_cards(&self) -> Option<&'static str> {
        if !self.format.is_deflate() {
            Some("this format")
        } else if self.level.get() > CARD_LEVEL_MAX {
            Some("this level")
        } else {
            None
        }
    }
}

impl DecompressOptions {
    /// From a request whose headers were complete at `started`.
    ///
    /// # Errors
    /// A [`Problem`] that says what is accepted.
    pub fn parse(uri: &Uri, headers: &HeaderMap, started: Instant) -> Result<Self, Problem> {
        let query = QueryOptions::parse(uri, &DECOMPRESS_OPTIONS)?;
        let format = match query.get("format") {
            None | Some("auto") => None,
            Some(word) => Some(parse_format(
                word,
                "auto, gzip, zlib, deflate, zstd or lz4",
            )?),
        };
        Ok(Self {
            format,
            service: ServiceOptions::parse(headers, started)?,
        })
    }
}

impl ServiceOptions {
    fn parse(headers: &HeaderMap, started: Instant) -> Result<Self, Problem> {
        if let Some(coding) = codings(headers, &CONTENT_ENCODING)
            .find(|coding| !coding.eq_ignore_ascii_case(b"identity"))
        {
            return Err(Problem::new(
                ProblemKind::UnknownFormat,
                format!(
                    "request Content-Encoding {}: expected none, or identity, for the body is taken as it is; leave the \
                     header out (to decompress, POST /v1/decompress)",
                    quoted(&String::from_utf8_lossy(coding))
                ),
            ));
        }
        // Chunks are taken apart below us; what else was done to the body is not undone (RFC 9112, 6.1).
        // Chunks within chunks are another coding as well.
        if let Some((_, coding)) = codings(headers, &TRANSFER_ENCODING)
            .enumerate()
            .find(|(index, coding)| *index > 0 || !coding.eq_ignore_ascii_case(b"chunked"))
        {
            return Err(Problem::new(
                ProblemKind::UnknownFormat,
                format!(
                    "request Transfer-Encoding with {}: expected chunked alone; send the body without another coding",
                    quoted(&String::from_utf8_lossy(coding))
                ),
            ));
        }
        let policy = match header(headers, &FAAM_BACKEND)? {
            None | Some("auto") => BackendPolicy::Auto,
            Some("require-hw") => BackendPolicy::RequireHardware,
            Some("prefer-hw") => BackendPolicy::PreferHardware,
            Some("cpu") => BackendPolicy::Cpu,
            Some(other) => {
                return Err(Problem::invalid_option(format!(
                    "header Faam-Backend: expected auto, require-hw, prefer-hw or cpu, got {}; correct it or leave it out",
                    quoted(other)
                )));
            }
        };
        let deadline = match header(headers, &FAAM_DEADLINE_MS)? {
            None => None,
            Some(text) => {
                let digits = text.bytes().all(|byte| byte.is_ascii_digit());
                let ms = text.parse().ok().filter(|ms| digits && (1..=DEADLINE_MS_MAX).contains(ms)).ok_or_else(|| {
                    Problem::invalid_option(format!(
                        "header Faam-Deadline-Ms: expected a whole number from 1 to {DEADLINE_MS_MAX}, got {}; correct \
                         it or leave it out",
                        quoted(text)
                    ))
                })?;
                Some(started + Duration::from_millis(ms))
            }
        };
        // hyper has refused lengths that are no numbers, or that differ.
        let content_length = headers
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse().ok());
        let priority = match header(headers, &FAAM_PRIORITY)? {
            None => Priority::default(),
            Some(text) => match text.as_bytes() {
                [digit @ b'0'..=b'9'] => Priority::new(digit - b'0'),
                _ => None,
            }
            .ok_or_else(|| {
                Problem::invalid_option(format!(
                    "header Faam-Priority: expected a digit from 0, the most urgent, to 7, got {}; correct it or leave it out",
                    quoted(text)
                ))
            })?,
        };
        Ok(Self {
            policy,
            priority,
            deadline,
            content_length,
            fallback: None,
        })
    }
}

/// A query whose names are all accepted, each at most once.
struct QueryOptions<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> QueryOptions<'a> {
    fn parse(uri: &'a Uri, accepted: &[&str]) -> Result<Self, Problem> {
        let query = uri.query().unwrap_or_default();
        let mut pairs: Vec<(Cow<'a, str>, Cow<'a, str>)> = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if !accepted.contains(&&*name) {
                return Err(Problem::invalid_option(format!(
                    "unknown option {}: expected one of {}; correct it or leave it out",
                    quoted(&name),
                    accepted.join(", ")
                ))
                .with("accepted", accepted));
            }
            if pairs.iter().any(|(earlier, _)| *earlier == name) {
                return Err(Problem::invalid_option(format!(
                    "option `{name}` came twice: expected it once; leave one out"
                )));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| &**value)
    }
}

fn parse_format(word: &str, expected: &str) -> Result<Format, Problem> {
    word.parse()
        .map_err(|_| Problem::unknown_format(&cut(word), expected))
}

/// The members of a list of codings, however many lines it came in (RFC 9110, 5.3 and 5.6.1).
fn codings<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(name).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    members
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// A header that is one value: of two that differ somebody in between may have read the other.
fn once<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Problem::invalid_option(format!(
            "header {name} came more than once: expected it once; leave the others out"
        )));
    }
    Ok(value)
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let Some(value) = once(headers, name)? else {
        return Ok(None);
    };
    let text = value.to_str().map_err(|_| {
        Problem::invalid_option(format!(
            "header {name}: expected visible ASCII characters; correct it or leave it out"
        ))
    })?;
    Ok(Some(text.trim()))
}

fn cut(text: &str) -> String {
    text.chars().take(QUOTED_CHARS_MAX).collect()
}

fn quoted(text: &str) -> String {
    format!("{:?}", cut(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compress(
        query: &str,
        headers: &[(&'static str, &'static str)],
    ) -> Result<CompressOptions, Problem> {
        let uri: Uri = format!("/v1/compress?{query}").parse().expect("a URI");
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_static(value));
        }
        CompressOptions::parse(&uri, &map, Instant::now())
    }

    #[track_caller]
    fn refused(result: Result<CompressOptions, Problem>, kind: ProblemKind, word: &str) {
        let problem = result.expect_err("refused");
        assert_eq!(problem.kind(), kind);
        assert!(problem.detail().contains(word), "{}", problem.detail());
    }

    #[test]
    fn nothing_asked_is_gzip_at_the_default_level() {
        let options = compress("", &[]).expect("accepted");
        assert_eq!(
            (options.format, options.level),
            (Format::Gzip, Level::DEFAULT)
        );
        assert_eq!(options.service.policy, BackendPolicy::Auto);
        assert_eq!(options.service.deadline, None);
        assert_eq!(options.service.priority.get(), 3);
    }

    #[test]
    fn options_are_read() {
        let headers = [
            ("faam-backend", "prefer-hw"),
            ("faam-deadline-ms", "250"),
            ("faam-priority", "1"),
            ("content-length", "11"),
        ];
        let options =
            compress("level=9&format=zlib&as=content-encoding", &headers).expect("accepted");
        assert_eq!(
            (
                options.format,
                options.level.get(),
                options.as_content_encoding
            ),
            (Format::Zlib, 9, true)
        );
        assert_eq!(options.service.policy, BackendPolicy::PreferHardware);
        assert!(options.service.deadline.is_some());
        assert_eq!(options.service.priority.get(), 1);
        assert_eq!(options.service.content_length, Some(11));
    }

    #[test]
    fn what_is_not_accepted_is_refused_with_what_is() {
        use ProblemKind::{InvalidOption, UnknownFormat};
        refused(
            compress("windowBits=9", &[]),
            InvalidOption,
            "format, level, as",
        );
        refused(compress("level=3&level=4", &[]), InvalidOption, "twice");
        refused(
            compress("level=13", &[]),
            InvalidOption,
            "1 (fastest) to 12",
        );
        refused(
            compress("format=br", &[]),
            UnknownFormat,
            "gzip, zlib, deflate, zstd or lz4",
        );
        refused(
            compress("format=zstd", &[("faam-backend", "require-hw")]),
            InvalidOption,
            "prefer-hw",
        );
        refused(
            compress("as=content-encoding&format=lz4", &[]),
            InvalidOption,
            "format=zstd",
        );
        refused(
            compress("as=attachment", &[]),
            InvalidOption,
            "content-encoding",
        );
        refused(
            compress("as=content-encoding&format=deflate", &[]),
            InvalidOption,
            "raw DEFLATE",
        );
        refused(
            compress("", &[("faam-backend", "gpu")]),
            InvalidOption,
            "require-hw",
        );
        refused(
            compress("", &[("faam-backend", "cpu"), ("faam-backend", "auto")]),
            InvalidOption,
            "more than once",
        );
        refused(
            compress("", &[("faam-deadline-ms", "0")]),
            InvalidOption,
            "3600000",
        );
        refused(
            compress("", &[("faam-deadline-ms", "+5")]),
            InvalidOption,
            "whole number",
        );
        refused(compress("level=%2B3", &[]), InvalidOption, "whole number");
        refused(
            compress("", &[("faam-deadline-ms", "1e3")]),
            InvalidOption,
            "whole number",
        );
        refused(
            compress("", &[("content-encoding", "gzip")]),
            UnknownFormat,
            "/v1/decompress",
        );
        refused(
            compress("level=10", &[("faam-backend", "require-hw")]),
            InvalidOption,
            "prefer-hw",
        );
        assert!(compress("", &[("content-encoding", "Identity")]).is_ok());
        refused(
            compress("", &[("transfer-encoding", "gzip, chunked")]),
            UnknownFormat,
            "Transfer-Encoding",
        );
        for twice in [
            &[("transfer-encoding", "chunked, chunked")][..],
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
        ] {
            refused(compress("", twice), UnknownFormat, "chunked alone");
        }
        assert!(compress("", &[("transfer-encoding", "Chunked")]).is_ok());
    }

    proptest::proptest! {
        #[test]
        fn any_query_gives_options_or_a_problem(query in "[ -~]{0,60}") {
            if let Ok(uri) = format!("/v1/compress?{query}").parse::<Uri>() {
                let _ = CompressOptions::parse(&uri, &HeaderMap::new(), Instant::now());
                let _ = DecompressOptions::parse(&uri, &HeaderMap::new(), Instant::now());
            }
        }
    }
}
