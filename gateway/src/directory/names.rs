//! Names of tenants and namespaces.
//!
//! Invariant: a name is a DNS label (RFC 1123, 2.1): nothing that a path, a shell, a log or a label of a metric could read
//! as anything else; and no file is ever named by one.

use thiserror::Error;

/// Longest name.
pub const NAME_CHARS_MAX: usize = 63;

/// A name that is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{got:?} is no name of a {what}: expected 1 to {NAME_CHARS_MAX} small letters, digits or -, the first and the last no -; \
     choose another"
)]
pub struct NameError {
    /// What it should name.
    pub what: &'static str,
    /// The beginning of what came.
    pub got: String,
}

/// Checks a name of a `what`.
///
/// # Errors
/// [`NameError`]
pub fn check_name(what: &'static str, name: &str) -> Result<(), NameError> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    let good = bytes.len() <= NAME_CHARS_MAX
        && bytes.iter().all(|byte| plain(*byte) || *byte == b'-')
        && bytes.first().is_some_and(|byte| plain(*byte))
        && bytes.last().is_some_and(|byte| plain(*byte));
    match good {
        true => Ok(()),
        false => Err(NameError {
            what,
            got: name.chars().take(NAME_CHARS_MAX + 1).collect(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_label() {
        let longest = "a".repeat(63);
        for good in ["a", "7", "acme", "a-1", "xn--bcher-kva", &longest] {
            assert_eq!(check_name("tenant", good), Ok(()), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "", "-a", "a-", "-", ".", "..", "a/b", "../a", "A", "a b", "a_b", "a\0", "\u{e9}",
            "a\n", "a.b", &long,
        ] {
            let error = check_name("tenant", bad).expect_err(bad);
            assert!(error.to_string().contains("small letters"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_name_means_anything_in_a_path(name: String) {
            if check_name("tenant", &name).is_ok() {
                proptest::prop_assert!(!name.contains(['/', '\\', '.', '%', '\0']));
                proptest::prop_assert_eq!(std::path::Path::new(&name).components().count(), 1);
            }
        }
    }
}
