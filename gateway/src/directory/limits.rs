//! A tenant's limits as an object of names and values, as they are stored and sent.
//!
//! Owns the one table of their names, from which the admin interface, the store's records and the commands' flags all come.
//! Invariants: a member that is left out is the configuration's default; `null` is no limit; a member that this version
//! does not know is kept as it is, for the one that does. Every field of [`TenantLimits`] has its line (a test compares).

use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::allowed_images::{ALLOWED_IMAGES_MAX, AllowedImages};
use crate::tenants::{AllowedBackends, AllowedCardKernels, AllowedKernels, TenantLimits};

/// Largest of most limits: what JSON's numbers hold exactly in every language (2^53 - 1).
const NUMBER_MAX: u64 = (1 << 53) - 1;

/// Largest weight: the shares of a tenant of this weight and of one of weight 1 are as a day and a tenth of a second.
const WEIGHT_MAX: u32 = 1_000_000;

/// How a limit's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitKind {
    /// A number in these bounds.
    Number(u64, u64),
    /// The same of bytes.
    Bytes(u64, u64),
    /// Some of these words.
    Words(&'static [&'static str]),
    /// Names of images, at most so many.
    Names(usize),
}

/// One limit.
pub struct Limit {
    /// Its member.
    pub name: &'static str,
    /// What it decides.
    pub about: &'static str,
    /// How it is written.
    pub kind: LimitKind,
    /// Whether `null` is no limit.
    pub optional: bool,
    read: fn(&TenantLimits) -> Value,
    write: fn(&mut TenantLimits, &Value) -> Option<()>,
}

/// A value that a limit cannot have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LimitError {
    /// The name of none.
    #[error("{name:?} is no limit of a tenant; there are {}", LIMITS.iter().map(|limit| limit.name).collect::<Vec<_>>().join(", "))]
    Unknown {
        /// What came.
        name: String,
    },
    /// Not one of its values.
    #[error("limit {name} is {got}: expected {}", expected(.name))]
    Value {
        /// Which.
        name: &'static str,
        /// What came.
        got: String,
    },
    /// A guarantee above the peak.
    #[error(
        "cir_us_per_s is {cir}, more than pir_us_per_s, {pir}: expected a guaranteed rate within the peak rate; lower it, or raise the other"
    )]
    AbovePeak {
        /// The guaranteed rate.
        cir: u64,
        /// The peak rate.
        pir: u64,
    },
    /// Not an object.
    #[error("limits are {got}: expected an object such as {{\"weight\":2}}")]
    NoObject {
        /// What came.
        got: String,
    },
}

/// What a limit expects, in words.
fn expected(name: &str) -> String {
    let Some(limit) = by_name(name) else {
        return String::new();
    };
    let or_none = if limit.optional {
        ", or null for no limit"
    } else {
        ""
    };
    match limit.kind {
        Number(min, max) => format!("a whole number from {min} to {max}{or_none}"),
        Bytes(min, max) => format!("bytes from {min} to {max}{or_none}"),
        Words(words) => format!("an array of some of {}", words.join(", ")),
        Names(most) => format!(
            "an array of at most {most} names of images, such as [\"deflate-tables\"]{or_none}"
        ),
    }
}

macro_rules! limit {
    ($name:ident, $kind:expr, $about:literal) => {
        Limit {
            name: stringify!($name),
            about: $about,
            kind: $kind,
            optional: false,
            read: |limits| json!(limits.$name),
            write: |limits, value| {
                limits.$name = value.as_u64()?.try_into().ok()?;
                Some(())
            },
        }
    };
    (optional $name:ident, $kind:expr, $about:literal) => {
        Limit {
            name: stringify!($name),
            about: $about,
            kind: $kind,
            optional: true,
            read: |limits| json!(limits.$name),
            write: |limits, value| {
                limits.$name = match value {
                    Value::Null => None,
                    value => Some(value.as_u64()?.try_into().ok()?),
                };
                Some(())
            },
        }
    };
}

use LimitKind::{Bytes, Names, Number, Words};

const KERNELS: &[&str] = &["compress", "decompress"];
const BACKENDS: &[&str] = &["cpu", "cards"];
const CARD_KERNELS: &[&str] = &["deflate-fast", "deflate-tables", "inflate"];

/// Every limit, in the order in which they are shown.
#[rustfmt::skip]
pub static LIMITS: &[Limit] = &[
    limit!(weight, Number(1, WEIGHT_MAX as u64), "Share of what is left when guarantees are met, against the others' weights"),
    limit!(cir_us_per_s, Number(0, NUMBER_MAX), "Guaranteed rate (CIR), microseconds of the reference engine a second; 1000000 is all of one engine"),
    limit!(optional pir_us_per_s, Number(1, NUMBER_MAX), "Peak rate (PIR), in the same unit"),
    limit!(pir_burst_us, Number(1, NUMBER_MAX), "What may be taken at once beyond the peak rate, microseconds"),
    limit!(optional bytes_per_s, Bytes(1, NUMBER_MAX), "Bytes of bodies a second"),
    limit!(optional requests_per_s, Number(1, NUMBER_MAX), "Requests a second"),
    limit!(optional bytes_per_day, Bytes(0, NUMBER_MAX), "Bytes of bodies a day (UTC)"),
    limit!(optional reference_us_per_day, Number(0, NUMBER_MAX), "Charged microseconds of the reference engine a day (UTC)"),
    limit!(in_flight_max, Number(1, 1 << 20), "Requests in flight"),
    limit!(optional queued_blocks_max, Number(1, 1 << 20), "Blocks queued"),
    limit!(optional memory_bytes_max, Bytes(1 << 20, NUMBER_MAX), "Bytes of bodies in memory"),
    limit!(optional spill_bytes_max, Bytes(0, NUMBER_MAX), "Bytes of answers on disk"),
    limit!(optional body_bytes_max, Bytes(1, NUMBER_MAX), "Bytes of one body"),
    limit!(output_bytes_max, Bytes(1, NUMBER_MAX), "Bytes out of one decompression"),
    limit!(ratio_max, Number(1, u32::MAX as u64), "Output bytes an input byte of one decompression"),
    Limit {
        name: "kernels",
        about: "Kernels that it may call",
        kind: Words(KERNELS),
        optional: false,
        read: |limits| {
            let AllowedKernels { compress, decompress } = limits.kernels;
            words(KERNELS, &[compress, decompress])
        },
        write: |limits, value| {
            let [compress, decompress] = flags(KERNELS, value)?;
            limits.kernels = AllowedKernels { compress, decompress };
            Some(())
        },
    },
    Limit {
        name: "backends",
        about: "Engines that may serve it",
        kind: Words(BACKENDS),
        optional: false,
        read: |limits| {
            let AllowedBackends { cpu, cards } = limits.backends;
            words(BACKENDS, &[cpu, cards])
        },
        write: |limits, value| {
            let [cpu, cards] = flags(BACKENDS, value)?;
            limits.backends = AllowedBackends { cpu, cards };
            Some(())
        },
    },
    Limit {
        name: "card_kernels",
        about: "Kernels of cards that may serve it",
        kind: Words(CARD_KERNELS),
        optional: false,
        read: |limits| {
            let AllowedCardKernels { deflate_fast, deflate_tables, inflate } = limits.card_kernels;
            words(CARD_KERNELS, &[deflate_fast, deflate_tables, inflate])
        },
        write: |limits, value| {
            let [deflate_fast, deflate_tables, inflate] = flags(CARD_KERNELS, value)?;
            limits.card_kernels = AllowedCardKernels { deflate_fast, deflate_tables, inflate };
            Some(())
        },
    },
    Limit {
        name: "images",
        about: "Images that may serve it from slots of cards; with a list, what is in no slot may not",
        kind: Names(ALLOWED_IMAGES_MAX),
        optional: true,
        read: |limits| json!(limits.images.as_ref().map(|images| images.names().collect::<Vec<_>>())),
        write: |limits, value| {
            limits.images = match value {
                Value::Null => None,
                value => {
                    let names = value.as_array()?.iter().map(Value::as_str);
                    Some(AllowedImages::new(names.collect::<Option<Vec<_>>>()?).ok()?)
                }
            };
            Some(())
        },
    },
];

fn words(names: &[&str], flags: &[bool]) -> Value {
    let set = names.iter().zip(flags).filter(|(_, flag)| **flag);
    set.map(|(name, _)| *name).collect()
}

fn flags<const N: usize>(names: &[&str], value: &Value) -> Option<[bool; N]> {
    let mut flags = [false; N];
    for word in value.as_array()? {
        let at = names.iter().position(|name| word == name)?;
        *flags.get_mut(at)? = true;
    }
    Some(flags)
}

/// The limit with this name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Limit> {
    LIMITS.iter().find(|limit| limit.name == name)
}

impl Limit {
    fn set(&self, limits: &mut TenantLimits, value: &Value) -> Result<(), LimitError> {
        let in_bounds = match self.kind {
            _ if value.is_null() => self.optional,
            Number(min, max) | Bytes(min, max) => value
                .as_u64()
                .is_some_and(|number| (min..=max).contains(&number)),
            Words(_) | Names(_) => true,
        };
        let set = in_bounds.then(|| (self.write)(limits, value)).flatten();
        set.ok_or_else(|| LimitError::Value {
            name: self.name,
            got: quoted(value),
        })
    }
}

/// `defaults` with the members of a record in their place; members that are not known count for nothing.
///
/// # Errors
/// [`LimitError`]
pub fn read(defaults: &TenantLimits, record: &Value) -> Result<TenantLimits, LimitError> {
    let members = record.as_object().ok_or_else(|| LimitError::NoObject {
        got: quoted(record),
    })?;
    let mut limits = defaults.clone();
    for (name, value) in members {
        if let Some(limit) = by_name(name) {
            limit.set(&mut limits, value)?;
        }
    }
    match limits.pir_us_per_s {
        Some(pir) if limits.cir_us_per_s > pir => Err(LimitError::AbovePeak {
            cir: limits.cir_us_per_s,
            pir,
        }),
        _ => Ok(limits),
    }
}

/// The same of a record that [`read`] refuses: each member that can be read counts, so that what cannot be read takes no
/// other limit with it, and allows nothing that was not allowed.
#[must_use]
pub fn read_what_can_be(defaults: &TenantLimits, record: &Value) -> TenantLimits {
    let mut limits = defaults.clone();
    for (name, value) in record.as_object().into_iter().flatten() {
        let Some(limit) = by_name(name) else {
            continue;
        };
        if limit.set(&mut limits, value).is_err() && matches!(limit.kind, Words(_) | Names(_)) {
            // Words of another version's: nobody knows what they allow.
            let _ = limit.set(&mut limits, &json!([]));
        }
    }
    if let Some(pir) = limits.pir_us_per_s {
        limits.cir_us_per_s = limits.cir_us_per_s.min(pir);
    }
    limits
}

/// Every limit with its value.
#[must_use]
pub fn show(limits: &TenantLimits) -> Value {
    let members = LIMITS
        .iter()
        .map(|limit| (limit.name.to_owned(), (limit.read)(limits)));
    Value::Object(members.collect())
}

/// A record's limits with `changes` in them, and without those that are to be the default again.
///
/// # Errors
/// [`LimitError::Unknown`] for a name that neither this version nor the record knows: a slip, most likely.
pub fn change(
    record: &Value,
    changes: &Map<String, Value>,
    defaults: &[String],
) -> Result<Value, LimitError> {
    let mut members = record.as_object().cloned().unwrap_or_default();
    for name in changes.keys().chain(defaults) {
        if by_name(name).is_none() && !members.contains_key(name) {
            return Err(LimitError::Unknown {
                name: name.chars().take(64).collect(),
            });
        }
    }
    members.extend(changes.clone());
    members.retain(|name, _| !defaults.contains(name));
    Ok(Value::Object(members))
}

fn quoted(value: &Value) -> String {
    value.to_string().chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_has_its_line() {
        let text = format!("{:#?}", TenantLimits::default());
        let fields = text.lines().filter_map(|line| {
            let (name, _) = line.strip_prefix("    ")?.split_once(": ")?;
            (!name.starts_with(' ')).then_some(name)
        });
        let fields: Vec<_> = fields.collect();
        let names: Vec<_> = LIMITS.iter().map(|limit| limit.name).collect();
        assert!(fields.len() > 10);
        assert_eq!(fields, names);
    }

    #[test]
    fn what_is_shown_reads_back_and_what_is_left_out_is_the_default() {
        let defaults = TenantLimits {
            in_flight_max: 7,
            ..TenantLimits::default()
        };
        assert_eq!(read(&defaults, &json!({})), Ok(defaults.clone()));
        let record = json!({
            "weight": 4, "pir_us_per_s": 500_000, "cir_us_per_s": 500_000, "kernels": ["compress"], "backends": ["cpu"],
            "bytes_per_s": null, "images": ["inflate", "deflate-fast"], "from_the_future": {"x": 1},
        });
        let limits = read(&defaults, &record).expect("good");
        assert_eq!((limits.weight, limits.in_flight_max), (4, 7));
        assert!(limits.kernels.compress && !limits.kernels.decompress && !limits.backends.cards);
        let images = AllowedImages::new(["deflate-fast", "inflate"]).expect("names");
        assert_eq!(limits.images, Some(images));
        assert_eq!(
            read(&TenantLimits::default(), &show(&limits)),
            Ok(limits.clone())
        );
        let anything = read(&limits, &json!({"images": null})).expect("good");
        assert_eq!(anything.images, None);
    }

    #[test]
    fn one_limit_that_cannot_be_read_takes_no_other_with_it() {
        let defaults = TenantLimits {
            pir_us_per_s: Some(400_000),
            ..TenantLimits::default()
        };
        let record = json!({
            "cir_us_per_s": 500_000, "kernels": ["compress"], "backends": ["cpu", "quantum"], "bytes_per_day": 7, "weight": 0,
            "images": ["inflate", 7],
        });
        assert!(read(&defaults, &record).is_err());
        let limits = read_what_can_be(&defaults, &record);
        assert_eq!(limits.cir_us_per_s, 400_000);
        assert_eq!(
            (limits.bytes_per_day, limits.weight),
            (Some(7), defaults.weight)
        );
        assert!(limits.kernels.compress && !limits.kernels.decompress);
        assert!(!limits.backends.cpu && !limits.backends.cards);
        assert!(limits.images.is_some_and(|images| images.is_empty()));
        assert_eq!(read_what_can_be(&defaults, &json!([])), defaults);
    }

    #[test]
    fn what_is_no_value_is_refused_with_what_was_expected() {
        let defaults = TenantLimits::default();
        for (record, words) in [
            (json!({"weight": 0}), "from 1"),
            (json!({"weight": null}), "from 1"),
            (json!({"weight": "2"}), "whole number"),
            (json!({"ratio_max": 1.5}), "whole number"),
            (json!({"bytes_per_s": -1}), "null for no limit"),
            (
                json!({"kernels": ["compress", "encrypt"]}),
                "some of compress",
            ),
            (json!({"kernels": "compress"}), "array"),
            (json!({"images": ["../x"]}), "names of images"),
            (json!({"images": "inflate"}), "null for no limit"),
            (
                json!({"cir_us_per_s": 2, "pir_us_per_s": 1}),
                "within the peak",
            ),
            (json!([]), "an object"),
        ] {
            let error = read(&defaults, &record).expect_err("no value").to_string();
            assert!(error.contains(words), "{record}: {error}");
        }
    }

    #[test]
    fn a_change_keeps_what_it_does_not_know_and_takes_no_slip() {
        let record = json!({"weight": 4, "ratio_max": 10, "from_the_future": 1});
        let changes = json!({"weight": 2, "bytes_per_s": null});
        let changes = changes.as_object().expect("an object");
        let changed = change(&record, changes, &["ratio_max".to_owned()]).expect("known");
        assert_eq!(
            changed,
            json!({"weight": 2, "bytes_per_s": null, "from_the_future": 1})
        );
        let slip = json!({"wieght": 2});
        let error = change(&record, slip.as_object().expect("an object"), &[]).expect_err("a slip");
        assert!(error.to_string().contains("weight"), "{error}");
        // What a newer version stored can be changed and taken back by this one.
        let future = json!({"from_the_future": 2});
        assert!(change(&record, future.as_object().expect("an object"), &[]).is_ok());
    }
}
