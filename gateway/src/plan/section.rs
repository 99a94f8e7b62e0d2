//! A scenario's tables, read key by key, with the line of each.
//!
//! Owns the reading. Invariants: a key that nobody asked for is an error, with the nearest one that somebody did ask for; an
//! error names the file and the line, what was expected, what came. It does not know what keys mean.

use std::path::{Path, PathBuf};

use faam_sched::Nanos;
use thiserror::Error;
use toml::de::{DeTable, DeValue};

use crate::quantity;
use crate::serve::sources::nearest;

/// What is wrong with a scenario.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("{path}:{line}: {what}", path = .path.display())]
pub(crate) struct ScenarioError {
    path: PathBuf,
    line: usize,
    what: String,
}

/// A scenario's text and where it stands.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl<'a> Source<'a> {
    /// The text as a table.
    pub(super) fn parse(self) -> Result<toml::Spanned<DeTable<'a>>, ScenarioError> {
        DeTable::parse(self.text).map_err(|error| {
            let offset = error.span().map_or(0, |span| span.start);
            self.error(offset, format!("{}; correct the TOML", error.message()))
        })
    }

    fn error(self, offset: usize, what: String) -> ScenarioError {
        let bytes = self.text.as_bytes();
        let before = bytes.get(..offset).unwrap_or(bytes);
        ScenarioError {
            path: self.path.to_owned(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            what,
        }
    }
}

/// One table.
pub(super) struct Section<'a> {
    source: Source<'a>,
    name: String,
    at: usize,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

/// A key's value and where the key stands.
struct Found<'a> {
    at: usize,
    value: &'a DeValue<'a>,
}

impl<'a> Section<'a> {
    pub(super) fn of(source: Source<'a>, table: &'a DeTable<'a>) -> Self {
        Self {
            source,
            name: String::new(),
            at: 0,
            table,
            asked: Vec::new(),
        }
    }

    fn find(&mut self, key: &'static str) -> Option<Found<'a>> {
        self.asked.push(key);
        let found = self.table.iter().find(|(name, _)| name.get_ref() == key)?;
        Some(Found {
            at: found.0.span().start,
            value: found.1.get_ref(),
        })
    }

    fn label(&self, key: &str) -> String {
        if self.name.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.name)
        }
    }

    /// An error at a key, or at the table where the key is not there.
    pub(super) fn wrong(&self, key: &str, what: &str) -> ScenarioError {
        let keys = self.table.iter().find(|(name, _)| name.get_ref() == key);
        let at = keys.map_or(self.at, |(name, _)| name.span().start);
        self.source
            .error(at, format!("{}: {what}", self.label(key)))
    }

    fn unfit(&self, at: usize, key: &str, expected: &str, value: &DeValue<'_>) -> ScenarioError {
        let what = format!(
            "{}: expected {expected}, got {}",
            self.label(key),
            shown(value)
        );
        self.source.error(at, what)
    }

    /// A number of `low` to `high`.
    pub(super) fn real(
        &mut self,
        key: &'static str,
        low: f64,
        high: f64,
    ) -> Result<Option<f64>, ScenarioError> {
        let Some(Found { at, value }) = self.find(key) else {
            return Ok(None);
        };
        let number = number_of(value).filter(|number| (low..=high).contains(number));
        let expected = format!("a number from {low} to {high}");
        number
            .map(Some)
            .ok_or_else(|| self.unfit(at, key, &expected, value))
    }

    /// A whole number of `low` to `high`.
    pub(super) fn whole(
        &mut self,
        key: &'static str,
        low: u64,
        high: u64,
    ) -> Result<Option<u64>, ScenarioError> {
        let Some(Found { at, value }) = self.find(key) else {
            return Ok(None);
        };
        let number = whole_of(value).filter(|number| (low..=high).contains(number));
        let expected = format!("a whole number from {low} to {high}");
        number
            .map(Some)
            .ok_or_else(|| self.unfit(at, key, &expected, value))
    }

    /// A size: `"64KiB"`, or bytes as a number.
    pub(super) fn bytes(&mut self, key: &'static str) -> Result<Option<u64>, ScenarioError> {
        let Some(Found { at, value }) = self.find(key) else {
            return Ok(None);
        };
        let bytes = bytes_of(value);
        let expected = "a size as \"64KiB\", \"1MiB\", or a number of bytes";
        bytes
            .map(Some)
            .ok_or_else(|| self.unfit(at, key, expected, value))
    }

    /// A span of time: `"250ms"`, `"30s"`, `"24h"`.
    pub(super) fn time(&mut self, key: &'static str) -> Result<Option<Nanos>, ScenarioError> {
        let Some(Found { at, value }) = self.find(key) else {
            return Ok(None);
        };
        let ms = match value {
            DeValue::String(text) => quantity::parse_ms(text).ok(),
            _ => None,
        };
        let expected = "a time as \"250ms\", \"30s\", \"10m\" or \"24h\"";
        ms.and_then(|ms| ms.checked_mul(1_000_000))
            .map(|ns| Some(Nanos(ns)))
            .ok_or_else(|| self.unfit(at, key, expected, value))
    }

    pub(super) fn text(&mut self, key: &'static str) -> Result<Option<String>, ScenarioError> {
        match self.find(key) {
            None => Ok(None),
            Some(Found {
                value: DeValue::String(text),
                ..
            }) => Ok(Some(text.to_string())),
            Some(Found { at, value }) => Err(self.unfit(at, key, "a text", value)),
        }
    }

    pub(super) fn flag(&mut self, key: &'static str) -> Result<Option<bool>, ScenarioError> {
        match self.find(key) {
            None => Ok(None),
            Some(Found {
                value: DeValue::Boolean(value),
                ..
            }) => Ok(Some(*value)),
            Some(Found { at, value }) => Err(self.unfit(at, key, "true or false", value)),
        }
    }

    /// One of some words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, ScenarioError> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                let what = format!("expected {}, got {text:?}", known.join(", "));
                Err(self.wrong(key, &what))
            }
        }
    }

    /// Numbers in a list, between `low` and `high`.
    pub(super) fn reals(
        &mut self,
        key: &'static str,
        low: f64,
        high: f64,
    ) -> Result<Option<Vec<f64>>, ScenarioError> {
        let Some(Found { at, value }) = self.find(key) else {
            return Ok(None);
        };
        let expected = format!("a list of numbers from {low} to {high}");
        let DeValue::Array(items) = value else {
            return Err(self.unfit(at, key, &expected, value));
        };
        let numbers = items.iter().map(|item| {
            let number = number_of(item.get_ref());
            number
                .filter(|number| (low..=high).contains(number))
                .ok_or_else(|| self.unfit(item.span().start, key, &expected, item.get_ref()))
        });
        numbers.collect::<Result<_, _>>().map(Some)
    }

    /// Sizes in a list, each with how often it comes: `[["4KiB", 9], ["1MiB", 1]]`.
    pub(super) fn weighted_bytes(
        &mut self,
        key: &'static str,
    ) -> Result<Option<Vec<(u64, u32)>>, ScenarioError> {
        let Some(Found { at, value }) = self.find(key) else {
            return Ok(None);
        };
        let expected =
            "a list of sizes, each with how often it comes: [[\"4KiB\", 9], [\"1MiB\", 1]]";
        let DeValue::Array(items) = value else {
            return Err(self.unfit(at, key, expected, value));
        };
        let pairs = items.iter().map(|item| {
            let pair = match item.get_ref() {
                DeValue::Array(pair) => match pair.get(..) {
                    Some([size, weight]) => bytes_of(size.get_ref()).zip(
                        whole_of(weight.get_ref()).and_then(|weight| u32::try_from(weight).ok()),
                    ),
                    _ => None,
                },
                _ => None,
            };
            pair.ok_or_else(|| self.unfit(item.span().start, key, expected, item.get_ref()))
        });
        pairs.collect::<Result<_, _>>().map(Some)
    }

    /// A table in this one.
    pub(super) fn section(&mut self, key: &'static str) -> Result<Option<Self>, ScenarioError> {
        let Some(Found { at, value }) = self.find(key) else {
            return Ok(None);
        };
        match value {
            DeValue::Table(table) => Ok(Some(self.inner(key.to_owned(), at, table))),
            other => Err(self.unfit(at, key, "a table", other)),
        }
    }

    /// Tables of one name: `[[tenants]]`.
    pub(super) fn sections(&mut self, key: &'static str) -> Result<Vec<Self>, ScenarioError> {
        let Some(Found { at, value }) = self.find(key) else {
            return Ok(Vec::new());
        };
        let expected = format!("tables, each begun by [[{key}]]");
        let DeValue::Array(items) = value else {
            return Err(self.unfit(at, key, &expected, value));
        };
        let tables = items.iter().enumerate().map(|(n, item)| {
            let at = item.span().start;
            match item.get_ref() {
                DeValue::Table(table) => Ok(self.inner(format!("{key}[{n}]"), at, table)),
                other => Err(self.unfit(at, key, &expected, other)),
            }
        });
        tables.collect()
    }

    /// Whether a key stands here.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.iter().any(|(name, _)| name.get_ref() == key)
    }

    /// Whether it is a table that does.
    pub(super) fn is_table(&self, key: &str) -> bool {
        let found = self.table.iter().find(|(name, _)| name.get_ref() == key);
        found.is_some_and(|(_, value)| matches!(value.get_ref(), DeValue::Table(_)))
    }

    fn inner(&self, key: String, at: usize, table: &'a DeTable<'a>) -> Self {
        Self {
            source: self.source,
            name: self.label(&key),
            at,
            table,
            asked: Vec::new(),
        }
    }

    /// Everything was asked for that is known: what else stands here is a mistake.
    pub(super) fn end(self) -> Result<(), ScenarioError> {
        let unknown = self
            .table
            .iter()
            .find(|(name, _)| !self.asked.iter().any(|asked| name.get_ref() == *asked));
        let Some((name, _)) = unknown else {
            return Ok(());
        };
        let mend = match nearest(name.get_ref(), self.asked.iter().copied()) {
            Some(key) => format!("did you mean {key:?}?"),
            None => format!("expected one of {}", self.asked.join(", ")),
        };
        let what = format!("there is no {:?}; {mend}", self.label(name.get_ref()));
        Err(self.source.error(name.span().start, what))
    }
}

fn whole_of(value: &DeValue<'_>) -> Option<u64> {
    match value {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        _ => None,
    }
}

fn number_of(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Float(number) => number.as_str().parse().ok(),
        DeValue::Integer(number) => number.as_str().parse().ok(),
        _ => None,
    }
}

fn bytes_of(value: &DeValue<'_>) -> Option<u64> {
    match value {
        DeValue::String(text) => quantity::parse_bytes(text).ok(),
        other => whole_of(other),
    }
}

fn shown(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(number) => number.as_str().to_owned(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(value) => value.to_string(),
        other => format!("a {}", other.type_str()),
    }
}
