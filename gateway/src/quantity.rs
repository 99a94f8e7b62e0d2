//! Sizes and spans of time as people write and read them.
//!
//! Owns both directions of each. Invariant: what is shown parses back to the same number.
//! It knows no bounds: whoever takes a quantity checks it against its own.

/// Units of bytes, largest first. Powers of two alone: nobody has to guess what a `MB` is.
const BYTE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];
/// Units of time, largest first.
const TIME_UNITS_MS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// `4096`, `64KiB`, `1 MiB`: a number of bytes.
///
/// # Errors
/// What was expected.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    parse(text, &BYTE_UNITS).ok_or_else(|| {
        format!(
            "expected bytes as a whole number, with B, KiB, MiB or GiB or without, got {text:?}"
        )
    })
}

/// A number of bytes in its largest unit that leaves no remainder.
pub(crate) fn show_bytes(bytes: u64) -> String {
    show(bytes, &BYTE_UNITS)
}

/// `250ms`, `5s`, `2m`, `1h`; a bare number is milliseconds.
///
/// # Errors
/// What was expected.
pub(crate) fn parse_ms(text: &str) -> Result<u64, String> {
    parse(text, &TIME_UNITS_MS).ok_or_else(|| {
        format!("expected a time as a whole number with ms, s, m or h (without: milliseconds), got {text:?}")
    })
}

/// Milliseconds in their largest unit that leaves no remainder.
pub(crate) fn show_ms(ms: u64) -> String {
    show(ms, &TIME_UNITS_MS)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit() && c != '_')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits_end)?;
    let unit = unit.trim();
    let number: u64 = number.replace('_', "").parse().ok()?;
    let factor = if unit.is_empty() {
        1
    } else {
        units
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))?
            .1
    };
    number.checked_mul(factor)
}

fn show(number: u64, units: &[(&str, u64)]) -> String {
    let fitting = units
        .iter()
        .find(|(_, factor)| number >= *factor && number.is_multiple_of(*factor));
    match fitting.or(units.last()) {
        Some((name, factor)) => format!("{} {name}", number / factor),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_parses_back() {
        for bytes in [0, 1, 1023, 1024, 1025, 64 << 20, 3 << 30, u64::MAX] {
            assert_eq!(parse_bytes(&show_bytes(bytes)), Ok(bytes));
            assert_eq!(parse_ms(&show_ms(bytes)), Ok(bytes));
        }
        assert_eq!(show_bytes(64 << 20), "64 MiB");
        assert_eq!(show_ms(90_000), "90 s");
    }

    #[test]
    fn units_are_optional_and_others_are_refused() {
        assert_eq!(parse_bytes("4_096"), Ok(4096));
        assert_eq!(parse_bytes("64kib"), Ok(64 << 10));
        assert_eq!(parse_ms("2m"), Ok(120_000));
        assert_eq!(parse_ms("250"), Ok(250));
        for bad in ["", "x", "1MB", "-1", "1.5MiB", "99999999999GiB", "KiB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }
}
