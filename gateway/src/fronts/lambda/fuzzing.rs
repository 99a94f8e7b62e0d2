//! A door for fuzzing: what a request of Lambda's asks for, from arbitrary bytes to a panic if an invariant does not hold.
//!
//! Owns what names, qualifiers and headers are held to. Compiled for tests, which replay the committed corpus, and for
//! fuzzing; no build that is used has it.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::asked::Asked;
use super::name::{FunctionName, is_qualifier};

/// Characters that a refusal says at most, whatever came.
const MESSAGE_CHARS_MAX: usize = 1000;

/// Lines: a name or an ARN, a query, `X-Amz-Invocation-Type`, `X-Amz-Log-Type`. Panics if a name that is taken is not the same
/// one in an ARN of its own, if something is called under another name than was asked for, or if a refusal is not one that the
/// service has, within bounds.
pub fn asked(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split('\n');
    let (name, query) = (
        lines.next().unwrap_or_default(),
        lines.next().unwrap_or_default(),
    );
    let mut headers = HeaderMap::new();
    for header in ["x-amz-invocation-type", "x-amz-log-type"] {
        if let Some(Ok(value)) = lines
            .next()
            .filter(|line| !line.is_empty())
            .map(HeaderValue::from_str)
        {
            headers.append(HeaderName::from_static(header), value);
        }
    }
    let parsed = FunctionName::parse(name);
    if let Some(parsed) = parsed {
        assert!(!parsed.name.is_empty() && !parsed.name.contains([':', '/', ' ']));
        assert!(parsed.qualifier.is_none_or(is_qualifier));
        let qualifier = parsed.qualifier.map(|qualifier| format!(":{qualifier}"));
        let arn = format!(
            "arn:aws:lambda:eu-central-1:123456789012:function:{}{}",
            parsed.name,
            qualifier.unwrap_or_default()
        );
        let again = FunctionName::parse(&arn);
        // Only that it becomes too long keeps it from being one.
        assert!(
            again == Some(parsed) || again.is_none() && arn.len() > 256,
            "{arn}"
        );
    }
    match Asked::read(name, query, &headers) {
        Ok(asked) => {
            let called = parsed.map(|parsed| parsed.name);
            assert_eq!(called, Some(asked.function.name()));
        }
        Err(failure) => {
            assert!(matches!(failure.told().status, 400 | 404));
            let chars = failure.message().chars().count();
            assert!(
                chars <= MESSAGE_CHARS_MAX,
                "a refusal of {chars} characters"
            );
        }
    }
}
