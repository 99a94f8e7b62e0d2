//! Names of functions, as Lambda's callers write them: a name, a partial ARN, or a whole one, with a qualifier or without.
//!
//! Invariant: what the service's own pattern takes is taken, and nothing else. Which region and account an ARN names does not
//! matter: the functions are the same for everybody. It does not know which functions there are.

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Digits of an account.
const ACCOUNT_DIGITS: usize = 12;
/// More parts than a whole ARN with a qualifier has.
const PARTS_MAX: usize = 9;

/// A name taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FunctionName<'n> {
    /// The function.
    pub name: &'n str,
    /// Which version or alias of it.
    pub qualifier: Option<&'n str>,
}

impl<'n> FunctionName<'n> {
    /// Reads one; `None` for what is none.
    #[must_use]
    pub fn parse(text: &'n str) -> Option<Self> {
        if text.len() > NAME_BYTES_MAX {
            return None;
        }
        let parts: Vec<&str> = text.splitn(PARTS_MAX, ':').collect();
        let mut parts = parts.as_slice();
        if let ["arn", partition, "lambda", rest @ ..] = parts
            && is_partition(partition)
        {
            parts = rest;
        }
        for is_prefix in [is_region, is_account, |part: &str| part == "function"] {
            if let [first, rest @ ..] = parts
                && !rest.is_empty()
                && is_prefix(first)
            {
                parts = rest;
            }
        }
        let (name, qualifier) = match parts {
            [name] => (*name, None),
            [name, qualifier] if is_qualifier(qualifier) => (*name, Some(*qualifier)),
            _ => return None,
        };
        let named = !name.is_empty() && name.bytes().all(|byte| is_word(byte) || byte == b'.');
        named.then_some(Self { name, qualifier })
    }
}

/// Whether it can be a version's or an alias's name.
#[must_use]
pub fn is_qualifier(text: &str) -> bool {
    text == super::LATEST || !text.is_empty() && text.bytes().all(is_word)
}

const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

fn is_partition(text: &str) -> bool {
    let rest = text.strip_prefix("aws");
    rest.is_some_and(|rest| {
        rest.bytes()
            .all(|byte| byte.is_ascii_alphabetic() || byte == b'-')
    })
}

/// As `eu-central-1` and `us-gov-west-1` are.
fn is_region(text: &str) -> bool {
    let mut parts = text.split('-');
    let ends_in_a_digit = parts
        .next_back()
        .is_some_and(|last| matches!(last.as_bytes(), [b'0'..=b'9']));
    let words: Vec<&str> = parts.collect();
    ends_in_a_digit
        && (2..=4).contains(&words.len())
        && words
            .iter()
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
}

fn is_account(text: &str) -> bool {
    text.len() == ACCOUNT_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_names_the_function() {
        for (text, qualifier) in [
            ("gzip", None),
            ("gzip:$LATEST", Some("$LATEST")),
            ("gzip:7", Some("7")),
            ("function:gzip", None),
            ("123456789012:function:gzip", None),
            ("123456789012:function:gzip:prod", Some("prod")),
            (
                "arn:aws:lambda:eu-central-1:123456789012:function:gzip",
                None,
            ),
            (
                "arn:aws-us-gov:lambda:us-gov-west-1:123456789012:function:gzip:$LATEST",
                Some("$LATEST"),
            ),
        ] {
            let name = "gzip";
            assert_eq!(
                FunctionName::parse(text),
                Some(FunctionName { name, qualifier }),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_name_is_none() {
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for text in [
            "",
            ":",
            "gzip:",
            ":gzip",
            "gz ip",
            "gzip/..",
            "gzip:$latest",
            "gzip:1:2",
            "arn:gcp:lambda:eu-central-1:123456789012:function:gzip",
            "arn:aws:s3:eu-central-1:123456789012:function:gzip",
            &long,
        ] {
            assert_eq!(FunctionName::parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(text: String) {
            let _ = FunctionName::parse(&text);
        }
    }
}
