//! Signatures of AWS's version 4, as SDKs make them for Lambda: of the body's SHA-256, which no header says.
//!
//! Made before the clock runs: what is measured is the server's share. It knows one service and one region.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

const REGION: &str = "eu-test-1";
const SERVICE: &str = "lambda";

/// An access key.
#[derive(Clone, Debug)]
pub(super) struct Signer {
    /// Its id.
    pub(super) id: String,
    /// Its secret.
    pub(super) secret: String,
}

impl Signer {
    /// The headers of a POST to `path` at `host`, signed now; each with its line's end.
    ///
    /// # Errors
    /// The clock stands before 1970.
    pub(super) fn headers(&self, host: &str, path: &str, body: &[u8]) -> anyhow::Result<String> {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .context("the clock stands before 1970")?;
        let moment = moment(since.as_secs());
        let date = moment.get(..8).unwrap_or_default();
        let canonical = format!(
            "POST\n{path}\n\nhost:{host}\nx-amz-date:{moment}\n\nhost;x-amz-date\n{}",
            hex(&Sha256::digest(body))
        );
        let scope = format!("{date}/{REGION}/{SERVICE}/aws4_request");
        let to_sign = format!(
            "AWS4-HMAC-SHA256\n{moment}\n{scope}\n{}",
            hex(&Sha256::digest(canonical.as_bytes()))
        );
        let mut key = mac(format!("AWS4{}", self.secret).as_bytes(), date)?;
        for part in [REGION, SERVICE, "aws4_request", &to_sign] {
            key = mac(&key, part)?;
        }
        Ok(format!(
            "X-Amz-Date: {moment}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=host;x-amz-date, \
             Signature={}\r\n",
            self.id,
            hex(&key)
        ))
    }
}

fn mac(key: &[u8], text: &str) -> anyhow::Result<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key)?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `20150830T123600Z`, of seconds since 1970 (days to a date as in the proleptic Gregorian calendar).
fn moment(unix_s: u64) -> String {
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    format!(
        "{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_date() {
        // By `date -u -d @N +%Y%m%dT%H%M%SZ`.
        assert_eq!(moment(0), "19700101T000000Z");
        assert_eq!(moment(951_827_696), "20000229T123456Z");
        assert_eq!(moment(1_440_938_160), "20150830T123600Z");
        assert_eq!(moment(1_796_083_199), "20261130T235959Z");
    }
}
