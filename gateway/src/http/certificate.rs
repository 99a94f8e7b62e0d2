//! When a certificate holds, by its own word (RFC 5280, 4.1.2.5).
//!
//! Invariant: what is said of a time is said of the one given; it reads no clock. It knows no files and no TLS: whether a
//! key belongs to a certificate is rustls's to say.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

/// The first and the last second in which a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    not_before: ASN1Time,
    not_after: ASN1Time,
}

/// Why a certificate does not hold. The text goes on after the certificate's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ValidityError {
    /// It did once.
    #[error(
        "expired: it was valid until {not_after}; callers refuse it: write a new one in its place"
    )]
    Expired {
        /// Its last second.
        not_after: ASN1Time,
    },
    /// It will.
    #[error(
        "is not yet valid: it is from {not_before} on, and this machine's clock says {now}; callers refuse it: correct the \
         clock, or write one in its place that is valid already"
    )]
    NotYet {
        /// Its first second.
        not_before: ASN1Time,
        /// When that was found.
        now: ASN1Time,
    },
}

impl Validity {
    /// Of a certificate; `None` where it cannot be read.
    #[must_use]
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let validity = parsed.validity();
        Some(Self {
            not_before: validity.not_before,
            not_after: validity.not_after,
        })
    }

    /// Whether it holds at `now`.
    ///
    /// # Errors
    /// [`ValidityError`]
    pub fn check(&self, now: SystemTime) -> Result<(), ValidityError> {
        let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
        if seconds > self.not_after_seconds() {
            return Err(ValidityError::Expired {
                not_after: self.not_after,
            });
        }
        if seconds < self.not_before.timestamp() {
            return Err(ValidityError::NotYet {
                not_before: self.not_before,
                // A time before the certificate's is one that can be written.
                now: ASN1Time::from_timestamp(seconds).unwrap_or(self.not_before),
            });
        }
        Ok(())
    }

    /// Its last second, since 1970.
    #[must_use]
    pub fn not_after_seconds(&self) -> i64 {
        self.not_after.timestamp()
    }

    /// Its last second, for people.
    #[must_use]
    pub const fn not_after(&self) -> ASN1Time {
        self.not_after
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn a_certificate_holds_from_its_first_second_to_its_last() {
        /// 2020-01-01 and 2021-01-01, in seconds since 1970.
        const FROM: u64 = 1_577_836_800;
        const UNTIL: u64 = 1_609_459_200;
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("signed");
        let validity = Validity::of(certificate.der()).expect("read");
        assert_eq!(validity.not_after_seconds().cast_unsigned(), UNTIL);
        let at = |seconds| validity.check(UNIX_EPOCH + Duration::from_secs(seconds));
        assert!(matches!(at(FROM - 1), Err(ValidityError::NotYet { .. })));
        assert!(matches!(at(0), Err(ValidityError::NotYet { .. })));
        assert_eq!(at(FROM), Ok(()));
        assert_eq!(at(UNTIL), Ok(()));
        assert!(matches!(at(UNTIL + 1), Err(ValidityError::Expired { .. })));
        let told = at(UNTIL + 1).expect_err("expired").to_string();
        assert!(told.contains("2021"), "{told}");
    }

    #[test]
    fn what_is_no_certificate_has_no_validity() {
        for bytes in [&b""[..], b"\x30", b"\x30\x03\x02\x01\x01", &[0xff; 64]] {
            assert_eq!(Validity::of(&CertificateDer::from(bytes)), None);
        }
    }
}
