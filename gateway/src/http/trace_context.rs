//! W3C Trace Context: where a request stands in its caller's trace.
//!
//! Invariant: what is not exactly as the recommendation prescribes is as if it had not come; nothing of a caller's is
//! repeated without having been parsed. It knows no exporter.

use std::fmt;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The caller's span, and in answers ours.
pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What vendors add to it.
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Longest `tracestate` that is taken along, in bytes (Trace Context, 3.3.1.5: at least 512 have to be).
const TRACESTATE_BYTES_MAX: usize = 512;
/// Bytes of a `traceparent` of version 00: `00-` trace-id `-` parent-id `-` flags (3.2.2).
const TRACEPARENT_BYTES: usize = 55;
/// The flags that are defined: sampled, and random trace id (3.2.2.5).
const FLAGS_KNOWN: u8 = 0b11;
/// The caller records its span.
const FLAG_SAMPLED: u8 = 0b01;

/// A span's name in its trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SpanName {
    /// Of the whole trace; not 0.
    pub(crate) trace: u128,
    /// Of the span; not 0.
    pub(crate) span: u64,
    flags: u8,
}

impl SpanName {
    /// The caller's, if it sent exactly one that is valid.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?;
        if values.next().is_some() {
            return None;
        }
        Self::parse(value.as_bytes())
    }

    /// Trace Context, 3.2.2 and 4.3: a higher version may say more behind what version 00 says.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let (known, more) = bytes.split_at_checked(TRACEPARENT_BYTES)?;
        let mut fields = known.split(|byte| *byte == b'-');
        let version = hex(fields.next()?, 2)?;
        let trace = hex(fields.next()?, 32)?;
        let span = hex(fields.next()?, 16)?;
        let flags = hex(fields.next()?, 2)?;
        if fields.next().is_some() || version == 0xff || trace == 0 || span == 0 {
            return None;
        }
        match (version, more.first()) {
            (_, None) => {}
            (0, Some(_)) => return None,
            (_, Some(b'-')) => {}
            (_, Some(_)) => return None,
        }
        Some(Self {
            trace,
            span: u64::try_from(span).ok()?,
            flags: u8::try_from(flags).ok()? & FLAGS_KNOWN,
        })
    }

    /// A span of ours under this one.
    pub(super) fn child(self) -> Self {
        Self {
            span: random_u64(),
            ..self
        }
    }

    /// A span of ours at the head of a trace of its own, which is recorded.
    pub(super) fn root() -> Self {
        let trace = u128::from(random_u64()) << 64 | u128::from(random_u64());
        Self {
            trace,
            span: random_u64(),
            flags: FLAGS_KNOWN,
        }
    }

    /// Whether the span is recorded: the caller's choice where there is one.
    pub(super) const fn is_sampled(self) -> bool {
        self.flags & FLAG_SAMPLED != 0
    }

    /// As `traceparent`.
    pub(super) fn header(self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.to_string()).ok()
    }
}

impl fmt::Display for SpanName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trace, span, flags } = self;
        write!(formatter, "00-{trace:032x}-{span:016x}-{flags:02x}")
    }
}

/// The caller's `tracestate`, in one piece, if it is short enough; its members are parsed by whoever passes it on.
pub(super) fn tracestate(headers: &HeaderMap) -> Option<String> {
    let mut joined = String::new();
    for value in headers.get_all(TRACESTATE) {
        let text = value.to_str().ok()?.trim();
        if !joined.is_empty() {
            joined.push(',');
        }
        joined.push_str(text);
        if joined.len() > TRACESTATE_BYTES_MAX {
            return None;
        }
    }
    (!joined.is_empty()).then_some(joined)
}

/// Exactly `digits` lower-case hexadecimal digits.
fn hex(text: &[u8], digits: usize) -> Option<u128> {
    if text.len() != digits {
        return None;
    }
    text.iter().try_fold(0u128, |value, byte| {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// Random and not 0.
fn random_u64() -> u64 {
    // Without a source of randomness ids of the clock's do: they only have to differ.
    let random = getrandom::u64().unwrap_or_else(|_| uuid::Uuid::now_v7().as_u64_pair().1);
    random.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn what_the_recommendation_gives_as_an_example_is_read_and_written() {
        let name = SpanName::parse(EXAMPLE.as_bytes()).expect("valid");
        assert_eq!(name.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(name.span, 0xb7ad_6b71_6920_3331);
        assert!(name.is_sampled());
        assert_eq!(name.to_string(), EXAMPLE);
        let child = name.child();
        assert_eq!((child.trace, child.is_sampled()), (name.trace, true));
        assert_ne!(child.span, name.span);
    }

    #[test]
    fn a_higher_version_may_say_more_and_version_00_may_not() {
        let read = |text: &str| SpanName::parse(text.as_bytes());
        let higher = EXAMPLE.replacen("00", "cc", 1);
        assert!(read(&higher).is_some());
        assert!(read(&format!("{higher}-what-the-future-will-be-like")).is_some());
        assert!(read(&format!("{higher}.what")).is_none());
        assert!(read(&format!("{EXAMPLE}-more")).is_none());
        // Flags that nobody defined are not passed on (3.2.2.5).
        let flags = read(&EXAMPLE.replace("-01", "-fd")).expect("valid");
        assert!(flags.to_string().ends_with("-01"), "{flags}");
    }

    #[test]
    fn what_is_not_exactly_right_did_not_come() {
        let zeros = "0".repeat(32);
        for bad in [
            "",
            "00",
            &EXAMPLE.to_uppercase(),
            &EXAMPLE[..54],
            &EXAMPLE.replacen("00", "ff", 1),
            &EXAMPLE.replace("0af7651916cd43dd8448eb211c80319c", &zeros),
            &EXAMPLE.replace("b7ad6b7169203331", &zeros[..16]),
            &EXAMPLE.replace('-', "_"),
            &EXAMPLE.replace("b7ad6b71", "b7ad-b71"),
            &EXAMPLE.replace("b7ad", "b7\u{e4}"),
            &format!(" {EXAMPLE}"),
        ] {
            assert_eq!(SpanName::parse(bad.as_bytes()), None, "{bad:?}");
        }
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(TRACEPARENT, HeaderValue::from_static(EXAMPLE));
        }
        assert_eq!(SpanName::of(&headers), None, "it came twice");
    }

    #[test]
    fn tracestate_is_joined_and_bounded() {
        let mut headers = HeaderMap::new();
        assert_eq!(tracestate(&headers), None);
        headers.append(TRACESTATE, HeaderValue::from_static("a=1"));
        headers.append(TRACESTATE, HeaderValue::from_static(" b=2 "));
        assert_eq!(tracestate(&headers).as_deref(), Some("a=1,b=2"));
        let long = format!("c={}", "x".repeat(TRACESTATE_BYTES_MAX));
        headers.append(TRACESTATE, HeaderValue::try_from(long).expect("ASCII"));
        assert_eq!(tracestate(&headers), None);
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_read_is_written_the_same(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            if let Some(name) = SpanName::parse(&bytes) {
                assert_eq!(SpanName::parse(name.to_string().as_bytes()), Some(name));
            }
        }
    }
}
