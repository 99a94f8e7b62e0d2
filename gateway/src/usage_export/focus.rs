//! What is billed, with the columns of FOCUS, the FinOps Open Cost and Usage Specification, version 1.2
//! (<https://focus.finops.org/focus-specification/v1-2/>), as CSV.
//!
//! One line a charge: a sum, and one of the meters that it is charged by. All of the specification's mandatory columns are there, and
//! of the others those that there is something to say of; columns of our own begin with `x_`, as it wants. What is not billable is no charge,
//! and has no line. A tenant is the billing account, its namespaces are sub-accounts; there are neither discounts nor commitments, so
//! that list, contracted, effective and billed cost are one.

use std::io::{self, Write};

use faam_gateway::usage::price::METERS;
use faam_gateway::usage::report::{StoredUsage, span, timestamp};
use faam_store::{UsageQuery, UsageRecord};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use super::csv::record;

/// Columns, in the order of their names, as the specification's examples have them; ours last.
const COLUMNS: [&str; 36] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "ContractedUnitPrice",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingCategory",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "SubAccountId",
    "SubAccountName",
    "x_Backend",
    "x_Kernel",
    "x_Outcome",
];
const PROVIDER: &str = "FaaM";
/// Decimal places of a quantity.
const PLACES: u32 = 9;

pub(super) fn write(
    out: &mut impl Write,
    stored: &StoredUsage,
    query: &UsageQuery,
) -> io::Result<()> {
    record(out, COLUMNS)?;
    for row in stored.rows.iter().filter(|row| row.key.billable) {
        charges(out, stored, query, row)?;
    }
    Ok(())
}

fn charges(
    out: &mut impl Write,
    stored: &StoredUsage,
    query: &UsageQuery,
    row: &UsageRecord,
) -> io::Result<()> {
    let (begin, end) = span(row, query);
    let [begin, end] = [begin, end].map(timestamp);
    let [month, next] = month(begin).map(|at| at.to_string());
    let [begin, end] = [begin, end].map(|at| at.to_string());
    let key = &row.key;
    let currency = stored.prices.currency;
    for meter in &METERS {
        let measured = meter.quantity(&row.sums);
        if measured == 0 {
            continue;
        }
        let cost = meter.cost(row, &stored.prices).to_string();
        let price = meter.price(&stored.prices).to_string();
        let quantity = quantity(measured, meter.unit_size);
        let sku = match key.kernel.as_str() {
            "" => meter.name.to_owned(),
            kernel => format!("{kernel}-{}", meter.name),
        };
        let sku_price = format!("{sku}-{currency}");
        let description = format!("{}: {quantity} {}", sku, meter.unit);
        let values: [&str; COLUMNS.len()] = [
            &cost,
            &key.tenant,
            &key.tenant,
            currency.as_str(),
            &next,
            &month,
            "Usage",
            "",
            &description,
            "Usage-Based",
            &end,
            &begin,
            &quantity,
            meter.unit,
            &cost,
            &price,
            &cost,
            PROVIDER,
            &cost,
            &price,
            "Standard",
            &quantity,
            meter.unit,
            PROVIDER,
            PROVIDER,
            "Compute",
            PROVIDER,
            "Serverless Compute",
            &sku,
            meter.name,
            &sku_price,
            &key.namespace,
            &key.namespace,
            &key.backend,
            &key.kernel,
            &key.outcome,
        ];
        record(out, values)?;
    }
    Ok(())
}

/// The billing period: begin and end of the month (UTC).
fn month(at: Timestamp) -> [Timestamp; 2] {
    let first = at.to_zoned(TimeZone::UTC).date().first_of_month();
    let next = first.saturating_add(1.month());
    [first, next].map(|day| {
        let midnight = day.to_zoned(TimeZone::UTC);
        midnight.map_or(at, |midnight| midnight.timestamp())
    })
}

/// So many units, exactly as far as [`PLACES`] go.
fn quantity(measured: u64, unit_size: u64) -> String {
    let scale = 10_u128.pow(PLACES);
    let scaled = u128::from(measured) * scale / u128::from(unit_size.max(1));
    let (units, rest) = (scaled / scale, scaled % scale);
    if rest == 0 {
        return units.to_string();
    }
    let places = usize::try_from(PLACES).unwrap_or(0);
    let rest = format!("{rest:0places$}");
    format!("{units}.{}", rest.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_in_order_and_have_every_mandatory_one() {
        // FOCUS 1.2, 2: feature level Mandatory.
        let mandatory = [
            "BilledCost",
            "BillingAccountId",
            "BillingAccountName",
            "BillingCurrency",
            "BillingPeriodEnd",
            "BillingPeriodStart",
            "ChargeCategory",
            "ChargeClass",
            "ChargeDescription",
            "ChargePeriodEnd",
            "ChargePeriodStart",
            "ContractedCost",
            "EffectiveCost",
            "InvoiceIssuerName",
            "ListCost",
            "PricingQuantity",
            "PricingUnit",
            "ProviderName",
            "PublisherName",
            "ServiceCategory",
            "ServiceName",
        ];
        for column in mandatory {
            assert!(COLUMNS.contains(&column), "{column}");
        }
        assert!(COLUMNS.is_sorted());
    }

    #[test]
    fn a_month_has_its_own_length_and_a_quantity_no_error() {
        let at: Timestamp = "2026-02-28T23:59:59Z".parse().expect("a moment");
        let [first, next] = month(at).map(|at| at.to_string());
        assert_eq!(
            (first.as_str(), next.as_str()),
            ("2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")
        );
        assert_eq!(quantity(1_500_000, 1_000_000), "1.5");
        assert_eq!(quantity(7, 1), "7");
        assert_eq!(quantity(1 << 29, 1 << 30), "0.5");
        assert_eq!(quantity(u64::MAX, 1), u64::MAX.to_string());
    }
}
