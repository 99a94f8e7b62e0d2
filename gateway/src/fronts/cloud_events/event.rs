//! An event: its attributes, checked, and its data.
//!
//! Invariants: what is required is there and of version 1.0; names are of lower-case letters and digits, each once; no text
//! has control characters; there are at most [`ATTRIBUTES_MAX`]. It knows no mode.

use bytes::Bytes;
use jiff::Timestamp;

use crate::error::Problem;
use crate::fronts::call::CallOptions;
use crate::fronts::plain_http::{self, Asked};

/// Most attributes of an event.
pub(super) const ATTRIBUTES_MAX: usize = 64;
/// Attributes of a request that say nothing of its answer: where its data is, and its place in an order.
const NOT_CARRIED: [&str; 3] = ["dataref", "sequence", "sequencetype"];
/// Attributes that ask for something begin so.
const OWN_PREFIX: &str = "faam";

/// An attribute's value (CloudEvents 1.0.2, type system): timestamps, URIs and binaries are text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    Text(Box<str>),
    Number(i32),
    Flag(bool),
}

impl Attribute {
    /// Its canonical text.
    pub(super) fn text(&self) -> Box<str> {
        match self {
            Self::Text(text) => text.clone(),
            Self::Number(number) => number.to_string().into(),
            Self::Flag(flag) => flag.to_string().into(),
        }
    }
}

/// Attributes as they come in, before all of them are known.
#[derive(Debug, Default)]
pub(super) struct Attributes(Vec<(Box<str>, Attribute)>);

impl Attributes {
    /// One more.
    pub(super) fn push(&mut self, name: &str, value: Attribute) -> Result<(), Problem> {
        let quoted = plain_http::cut(name);
        if self.0.len() >= ATTRIBUTES_MAX {
            return Err(Problem::invalid_option(format!(
                "more than {ATTRIBUTES_MAX} attributes: expected at most so many; leave some out"
            )));
        }
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if name.is_empty() || name == "data" || !name.bytes().all(is_name) {
            return Err(Problem::invalid_option(format!(
                "attribute {quoted:?}: expected a name of lower-case letters a to z and digits alone, and not `data`; rename it"
            )));
        }
        if self.0.iter().any(|(earlier, _)| **earlier == *name) {
            return Err(Problem::invalid_option(format!(
                "attribute `{quoted}` came twice: expected it once; leave one out"
            )));
        }
        if let Attribute::Text(text) = &value
            && text.chars().any(char::is_control)
        {
            return Err(Problem::invalid_option(format!(
                "attribute `{quoted}`: expected no control characters (U+0000 to U+001F, U+007F to U+009F); leave them out"
            )));
        }
        self.0.push((name.into(), value));
        Ok(())
    }

    fn take(&mut self, name: &str) -> Option<Attribute> {
        let index = self.0.iter().position(|(known, _)| **known == *name)?;
        Some(self.0.swap_remove(index).1)
    }

    fn take_text(&mut self, name: &str) -> Result<Option<Box<str>>, Problem> {
        match self.take(name) {
            None => Ok(None),
            Some(Attribute::Text(text)) if !text.is_empty() => Ok(Some(text)),
            Some(_) => Err(Problem::invalid_option(format!(
                "attribute `{name}`: expected text that is not empty; correct it or leave it out"
            ))),
        }
    }

    fn take_required(&mut self, name: &str) -> Result<Box<str>, Problem> {
        self.take_text(name)?.ok_or_else(|| {
            Problem::invalid_option(format!(
                "attribute `{name}` is missing: expected specversion, id, source and type; send it"
            ))
        })
    }
}

/// See the module's head.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) id: Box<str>,
    pub(super) source: Box<str>,
    pub(super) subject: Option<Box<str>>,
    /// What is no attribute of the specification's own.
    extensions: Vec<(Box<str>, Attribute)>,
    pub(super) data: Bytes,
}

impl Event {
    /// Of these attributes.
    pub(super) fn new(mut attributes: Attributes, data: Bytes) -> Result<Self, Problem> {
        let version = attributes.take_required("specversion")?;
        if &*version != "1.0" {
            return Err(Problem::invalid_option(format!(
                "attribute `specversion`: expected 1.0, got {:?}; send events of that version",
                plain_http::cut(&version)
            )));
        }
        let id = attributes.take_required("id")?;
        let source = attributes.take_required("source")?;
        attributes.take_required("type")?;
        for name in ["source", "dataschema"] {
            let text = match name {
                "source" => Some(source.clone()),
                _ => attributes.take_text(name)?,
            };
            if text.is_some_and(|text| text.contains(char::is_whitespace)) {
                return Err(Problem::invalid_option(format!(
                    "attribute `{name}`: expected a URI, which has no white space; escape it"
                )));
            }
        }
        let subject = attributes.take_text("subject")?;
        if let Some(time) = attributes.take_text("time")?
            && time.parse::<Timestamp>().is_err()
        {
            return Err(Problem::invalid_option(format!(
                "attribute `time`: expected a timestamp of RFC 3339, got {:?}; correct it or leave it out",
                plain_http::cut(&time)
            )));
        }
        attributes.take_text("datacontenttype")?;
        Ok(Self {
            id,
            source,
            subject,
            extensions: attributes.0,
            data,
        })
    }

    /// What it asks for.
    pub(super) fn asked(&self) -> Result<Asked, Problem> {
        let mut asked = Asked::default();
        let options = &mut asked.options;
        let mut function = None;
        let mut names = self.extensions.iter().map(|(name, _)| name);
        let sent_on = names.any(|name| **name == *"faaminvocation");
        for (name, value) in &self.extensions {
            let Some(option) = name.strip_prefix(OWN_PREFIX) else {
                continue;
            };
            let CallOptions {
                level,
                backend,
                deadline_ms,
                priority,
            } = &mut *options;
            let slot = match option {
                // What says which engines made an answer of ours that is sent on asks for none.
                "backend" if sent_on => continue,
                "function" => &mut function,
                "level" => level,
                "backend" => backend,
                "deadlinems" => deadline_ms,
                "priority" => priority,
                // An answer of ours that is sent on: what it says of its making asks for nothing.
                "verify" | "invocation" | "causesource" | "causeid" | "bytesin" => continue,
                _ => {
                    return Err(Problem::invalid_option(format!(
                        "unknown attribute {:?}: expected one of faamfunction, faamlevel, faambackend, faamdeadlinems, \
                         faampriority; correct it or leave it out",
                        plain_http::cut(name)
                    )));
                }
            };
            *slot = Some(value.text());
        }
        asked.function = function.as_deref().map(plain_http::named).transpose()?;
        Ok(asked)
    }

    /// Extensions that its answer has as well.
    pub(super) fn carried(&self) -> impl Iterator<Item = &(Box<str>, Attribute)> {
        self.extensions
            .iter()
            .filter(|(name, _)| !name.starts_with(OWN_PREFIX) && !NOT_CARRIED.contains(&&**name))
    }
}
