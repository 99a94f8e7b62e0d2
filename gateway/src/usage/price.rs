//! What usage costs: the price sheet, and sums by it.
//!
//! Invariants: money is whole billionths of the currency, so that sums are exact; a cost is rounded down, once a row and a price, in the
//! tenant's favour; what is not billable costs nothing. It does not know who pays.

use std::fmt;
use std::str::FromStr;

use faam_store::{UsageRecord, UsageSums};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Billionths of a unit of the currency.
const NANOS: i128 = 1_000_000_000;
/// Decimal places of a price, and of a cost.
const PLACES: usize = 9;
/// Largest price, in units of the currency.
const UNITS_MAX: i128 = 1_000_000_000;
const GIB: u64 = 1 << 30;
const SECOND_US: u64 = 1_000_000;

/// An amount of money, or a price, in billionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Amount(i128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// So many at this price, `unit` of which it is for. Rounded down.
    const fn times(self, quantity: u64, unit: i128) -> Self {
        // Both are far from an i128's end: 2^64 times 10^18.
        Self(self.0.saturating_mul(quantity as i128) / unit)
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, nanos) = (self.0 / NANOS, self.0 % NANOS);
        if nanos == 0 {
            return write!(f, "{units}");
        }
        let places = format!("{nanos:0PLACES$}");
        write!(f, "{units}.{}", places.trim_end_matches('0'))
    }
}

impl Serialize for Amount {
    /// As a text: JSON's numbers are floating in most readers.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What is no price.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "expected a price such as \"0.02\", with {PLACES} decimal places at most, up to {UNITS_MAX}, got {0:?}"
)]
pub struct PriceError(String);

impl FromStr for Amount {
    type Err = PriceError;

    fn from_str(text: &str) -> Result<Self, PriceError> {
        let wrong = || PriceError(text.to_owned());
        let (units, places) = text.split_once('.').unwrap_or((text, "0"));
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(units) || !digits(places) || places.len() > PLACES {
            return Err(wrong());
        }
        let units: i128 = units.parse().map_err(|_| wrong())?;
        let nanos: i128 = format!("{places:0<PLACES$}").parse().map_err(|_| wrong())?;
        if units > UNITS_MAX {
            return Err(wrong());
        }
        Ok(Self(units * NANOS + nanos))
    }
}

/// A currency's code (ISO 4217).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Currency([u8; 3]);

impl Currency {
    /// ISO 4217's code for no currency.
    pub const NONE: Self = Self(*b"XXX");

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Three capital letters.
        str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What is no currency.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("expected a currency's three capital letters (ISO 4217) such as EUR, got {0:?}")]
pub struct CurrencyError(String);

impl FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(text: &str) -> Result<Self, CurrencyError> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Self(code)),
            _ => Err(CurrencyError(text.to_owned())),
        }
    }
}

/// What is charged for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceSheet {
    /// In which currency.
    pub currency: Currency,
    /// A request.
    pub per_request: Amount,
    /// 2^30 bytes of bodies.
    pub per_gib_in: Amount,
    /// 2^30 bytes of answers.
    pub per_gib_out: Amount,
    /// A second on cards.
    pub per_device_s: Amount,
    /// A second of CPU engines and verification.
    pub per_cpu_s: Amount,
    /// A second of the reference engine, as the scheduler charges it.
    pub per_reference_s: Amount,
}

impl Default for PriceSheet {
    /// Nothing costs anything.
    fn default() -> Self {
        Self {
            currency: Currency::NONE,
            per_request: Amount::ZERO,
            per_gib_in: Amount::ZERO,
            per_gib_out: Amount::ZERO,
            per_device_s: Amount::ZERO,
            per_cpu_s: Amount::ZERO,
            per_reference_s: Amount::ZERO,
        }
    }
}

/// What is measured and has a price: a line of an invoice.
#[derive(Clone, Copy, Debug)]
pub struct Meter {
    /// Its name.
    pub name: &'static str,
    /// What one of it is.
    pub unit: &'static str,
    /// How many of what is stored are one unit.
    pub unit_size: u64,
    quantity: fn(&UsageSums) -> u64,
    price: fn(&PriceSheet) -> Amount,
}

impl Meter {
    /// What was measured, as stored.
    #[must_use]
    pub fn quantity(&self, sums: &UsageSums) -> u64 {
        (self.quantity)(sums)
    }

    /// A unit's price.
    #[must_use]
    pub fn price(&self, sheet: &PriceSheet) -> Amount {
        (self.price)(sheet)
    }

    /// What `record` costs by it.
    #[must_use]
    pub fn cost(&self, record: &UsageRecord, sheet: &PriceSheet) -> Amount {
        if !record.key.billable {
            return Amount::ZERO;
        }
        let quantity = self.quantity(&record.sums);
        self.price(sheet)
            .times(quantity, i128::from(self.unit_size))
    }
}

/// All of them.
#[rustfmt::skip]
pub const METERS: [Meter; 6] = [
    Meter { name: "requests", unit: "Requests", unit_size: 1, quantity: |sums| sums.requests, price: |sheet| sheet.per_request },
    Meter { name: "bytes-in", unit: "GiB", unit_size: GIB, quantity: |sums| sums.bytes_in, price: |sheet| sheet.per_gib_in },
    Meter { name: "bytes-out", unit: "GiB", unit_size: GIB, quantity: |sums| sums.bytes_out, price: |sheet| sheet.per_gib_out },
    Meter { name: "device-time", unit: "Seconds", unit_size: SECOND_US, quantity: |sums| sums.device_us, price: |sheet| sheet.per_device_s },
    Meter { name: "cpu-time", unit: "Seconds", unit_size: SECOND_US, quantity: |sums| sums.cpu_us, price: |sheet| sheet.per_cpu_s },
    Meter { name: "reference-time", unit: "Seconds", unit_size: SECOND_US, quantity: |sums| sums.reference_us, price: |sheet| sheet.per_reference_s },
];

impl PriceSheet {
    /// What `record` costs.
    #[must_use]
    pub fn cost(&self, record: &UsageRecord) -> Amount {
        METERS
            .iter()
            .map(|meter| meter.cost(record, self))
            .fold(Amount::ZERO, Amount::plus)
    }
}

#[cfg(test)]
mod tests {
    use faam_store::{Millis, UsageKey};

    use super::*;

    fn amount(text: &str) -> Amount {
        text.parse().expect(text)
    }

    #[test]
    fn amounts_are_read_and_shown_alike() {
        for text in ["0", "1", "0.02", "12.000000001", "1000000000", "0.1"] {
            assert_eq!(amount(text).to_string(), text);
        }
        assert_eq!(amount("1.50").to_string(), "1.5");
        for wrong in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "1e3",
            "1,5",
            "0.0000000001",
            "1000000001",
            "99999999999999999999999999999999999999999",
        ] {
            let said = wrong.parse::<Amount>().expect_err(wrong).to_string();
            assert!(said.contains("\"0.02\""), "{said}");
        }
        for wrong in ["", "eur", "EURO", "E R", "é1"] {
            wrong.parse::<Currency>().expect_err(wrong);
        }
    }

    #[test]
    fn each_meter_costs_its_price_a_unit_and_what_is_not_billable_nothing() {
        let sheet = PriceSheet {
            currency: "EUR".parse().expect("a currency"),
            per_request: amount("0.000001"),
            per_gib_in: amount("0.01"),
            per_gib_out: amount("0.03"),
            per_device_s: amount("0.5"),
            per_cpu_s: amount("0.05"),
            per_reference_s: amount("0.25"),
        };
        let record = |billable| UsageRecord {
            key: UsageKey {
                hour: Millis(0),
                tenant: "a".to_owned(),
                namespace: String::new(),
                kernel: "compress".to_owned(),
                backend: "cpu".to_owned(),
                outcome: "ok".to_owned(),
                billable,
            },
            sums: UsageSums {
                requests: 2_000_000,
                bytes_in: 3 << 30,
                bytes_out: 1 << 29,
                device_us: 1_500_000,
                queue_us: u64::MAX,
                cpu_us: 2_000_000,
                reference_us: 4_000_000,
                fallbacks: 5,
                refusals: 0,
            },
        };
        let costs: Vec<_> = METERS
            .iter()
            .map(|meter| meter.cost(&record(true), &sheet).to_string())
            .collect();
        assert_eq!(costs, ["2", "0.03", "0.015", "0.75", "0.1", "1"]);
        assert_eq!(sheet.cost(&record(true)).to_string(), "3.895");
        assert!(sheet.cost(&record(false)).is_zero());
        // The largest that is stored, at the largest price.
        let most = UsageRecord {
            sums: UsageSums {
                bytes_in: u64::MAX,
                ..UsageSums::default()
            },
            ..record(true)
        };
        let dear = PriceSheet {
            per_gib_in: amount("1000000000"),
            ..sheet
        };
        assert_eq!(
            dear.cost(&most).to_string(),
            "17179869183999999999.068677425"
        );
    }
}
