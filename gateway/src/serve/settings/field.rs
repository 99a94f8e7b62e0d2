//! The fields of settings as text, both ways.
//!
//! Owns how each type of a setting's value is written and read. Invariant: what is shown is read again as the same value, and
//! what is not read says what was expected. It does not know which setting has it, nor that setting's bounds.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use faam_gateway::allowed_images::AllowedImages;
use faam_gateway::cards::SimulatedSlots;
use faam_gateway::job::{Verification, VerificationError};
use faam_gateway::tenants::{AllowedBackends, AllowedCardKernels, AllowedKernels};
use faam_gateway::usage::price::{Amount, Currency};
use faam_image::{PublicKey, Revoked};
use faam_sim::{FaultRule, Model};

use crate::serve::devices::Devices;
use crate::serve::listeners::Mode;

/// How a value that is not there is written.
pub(super) const NOT_SET: &str = "none";

/// A field as text, both ways.
pub(super) trait Field: Sized {
    fn show(&self) -> Vec<String>;
    fn parse(values: &[String]) -> Result<Self, String>;
}

macro_rules! fields_of_text {
    ($($kind:ty: $expected:literal),* $(,)?) => {$(
        impl Field for $kind {
            fn show(&self) -> Vec<String> {
                vec![self.to_string()]
            }

            fn parse(values: &[String]) -> Result<Self, String> {
                let text = one(values)?;
                text.parse()
                    .map_err(|_| format!(concat!("expected ", $expected, ", got {:?}"), text))
            }
        }
    )*};
}

fields_of_text! {
    u8: "a whole number up to 255",
    u16: "a whole number up to 65535",
    u32: "a whole number up to 4294967295",
    u64: "a whole number",
    usize: "a whole number",
    bool: "true or false",
    Mode: "permission bits in octal, 0000 to 0777",
    Amount: "a price such as \"0.02\", with nine decimal places at most",
    Currency: "a currency's three capital letters (ISO 4217), such as EUR",
    SocketAddr: "an address and a port, as in 127.0.0.1:8080",
}

impl Field for Model {
    fn show(&self) -> Vec<String> {
        vec![self.to_string()]
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        one(values)?.parse()
    }
}

impl Field for Verification {
    fn show(&self) -> Vec<String> {
        vec![match self {
            Self::Sampled { one_in } => format!("sampled:{one_in}"),
            Self::On => "on".to_owned(),
            Self::Off => "off".to_owned(),
        }]
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        one(values)?
            .parse()
            .map_err(|error: VerificationError| error.to_string())
    }
}

impl Field for SimulatedSlots {
    fn show(&self) -> Vec<String> {
        vec![self.word().to_owned()]
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        let text = one(values)?;
        [Self::Factory, Self::Empty]
            .into_iter()
            .find(|slots| slots.word() == text)
            .ok_or_else(|| format!("expected factory or empty, got {text:?}"))
    }
}

impl Field for PathBuf {
    fn show(&self) -> Vec<String> {
        vec![self.display().to_string()]
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        match one(values)? {
            "" => Err("expected a path, got nothing".to_owned()),
            text => Ok(text.into()),
        }
    }
}

impl Field for String {
    fn show(&self) -> Vec<String> {
        vec![self.clone()]
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        one(values).map(str::to_owned)
    }
}

impl Field for Duration {
    fn show(&self) -> Vec<String> {
        vec![self.as_millis().to_string()]
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        u64::parse(values).map(Self::from_millis)
    }
}

impl<T: Field> Field for Option<T> {
    fn show(&self) -> Vec<String> {
        self.as_ref()
            .map_or_else(|| vec![NOT_SET.to_owned()], Field::show)
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        match values {
            [text] if text == NOT_SET => Ok(None),
            _ => T::parse(values).map(Some),
        }
    }
}

impl Field for Vec<String> {
    fn show(&self) -> Vec<String> {
        self.clone()
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        Ok(values.to_vec())
    }
}

/// Flags as the words of those that are set.
fn set_words<const N: usize>(words: [(&str, bool); N]) -> Vec<String> {
    let set = words.into_iter().filter(|(_, set)| *set);
    set.map(|(word, _)| word.to_owned()).collect()
}

/// Which of `words` are among `values`.
fn flags_of<const N: usize>(words: [&str; N], values: &[String]) -> Result<[bool; N], String> {
    match values.iter().find(|value| !words.contains(&value.as_str())) {
        Some(other) => Err(format!(
            "expected some of {}, got {other:?}",
            words.join(", ")
        )),
        None => Ok(words.map(|word| values.iter().any(|value| value == word))),
    }
}

impl Field for Vec<FaultRule> {
    fn show(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        let rules = values.iter().map(|rule| rule.parse::<FaultRule>());
        rules
            .map(|rule| rule.map_err(|error| error.to_string()))
            .collect()
    }
}

impl Field for AllowedKernels {
    fn show(&self) -> Vec<String> {
        set_words([("compress", self.compress), ("decompress", self.decompress)])
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        let [compress, decompress] = flags_of(["compress", "decompress"], values)?;
        Ok(Self {
            compress,
            decompress,
        })
    }
}

impl Field for AllowedBackends {
    fn show(&self) -> Vec<String> {
        set_words([("cpu", self.cpu), ("cards", self.cards)])
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        let [cpu, cards] = flags_of(["cpu", "cards"], values)?;
        Ok(Self { cpu, cards })
    }
}

impl Field for AllowedImages {
    fn show(&self) -> Vec<String> {
        self.names().map(str::to_owned).collect()
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        let names = values.iter().map(String::as_str);
        Self::new(names).map_err(|error| error.to_string())
    }
}

impl Field for AllowedCardKernels {
    fn show(&self) -> Vec<String> {
        set_words([
            ("deflate-fast", self.deflate_fast),
            ("deflate-tables", self.deflate_tables),
            ("inflate", self.inflate),
        ])
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        let words = ["deflate-fast", "deflate-tables", "inflate"];
        let [deflate_fast, deflate_tables, inflate] = flags_of(words, values)?;
        Ok(Self {
            deflate_fast,
            deflate_tables,
            inflate,
        })
    }
}

impl Field for Vec<PublicKey> {
    fn show(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        at_most(values, faam_image::KEYS_MAX)?;
        let keys = values.iter().map(|key| key.parse::<PublicKey>());
        keys.map(|key| key.map_err(|error| error.to_string()))
            .collect()
    }
}

impl Field for Vec<Revoked> {
    fn show(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        at_most(values, faam_image::REVOKED_MAX)?;
        let revoked = values.iter().map(|what| what.parse::<Revoked>());
        revoked
            .map(|what| what.map_err(|error| error.to_string()))
            .collect()
    }
}

fn at_most(values: &[String], max: usize) -> Result<(), String> {
    match values.len() {
        count if count > max => Err(format!("expected {max} at most, got {count}")),
        _ => Ok(()),
    }
}

impl Field for Vec<Devices> {
    fn show(&self) -> Vec<String> {
        self.iter().map(ToString::to_string).collect()
    }

    fn parse(values: &[String]) -> Result<Self, String> {
        if values.is_empty() {
            return Err("expected at least one; `none` serves on the CPU alone".to_owned());
        }
        values.iter().map(|text| text.parse()).collect()
    }
}

pub(super) fn one(values: &[String]) -> Result<&str, String> {
    match values {
        [text] => Ok(text),
        _ => Err(format!("expected one value, got {}", values.len())),
    }
}

pub(super) fn number(text: &str) -> Result<u64, String> {
    text.replace('_', "")
        .parse()
        .map_err(|_| format!("expected a whole number, got {text:?}"))
}

pub(super) fn plain(number: u64) -> String {
    number.to_string()
}
