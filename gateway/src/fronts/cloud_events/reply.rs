//! An answer as an event, before it has a mode.
//!
//! Invariants: its id is made from its request's source and id alone; an answer and a refusal of one request have different
//! sources, so that who was refused and comes again does not take the answer for the refusal's duplicate. It knows no mode.

use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::event::{Attribute, Event};
use crate::credentials::keyring::hex;
use crate::error::{PROBLEM_JSON, Problem};
use crate::fronts::call::{Answer, Hold};
use crate::fronts::error_map::Mapped;
use crate::fronts::function::Function;
use crate::fronts::plain_http::problem_json;
use crate::http::invocation::Invocation;

/// Bytes of the digest that are an id.
const ID_BYTES: usize = 16;

/// An answer's data.
#[derive(Clone, Debug)]
pub(super) enum ReplyData {
    Bytes(Bytes),
    Json(Value),
}

/// See the module's head.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    attributes: Vec<(Box<str>, Attribute)>,
    media_type: Box<str>,
    data: ReplyData,
    hold: Hold,
}

impl Reply {
    /// The answer to an event.
    pub(super) fn answered(
        event: &Event,
        function: Function,
        answer: Answer,
        invocation: Invocation,
    ) -> Self {
        let kind = if function.takes_level() {
            "faam.compressed"
        } else {
            "faam.decompressed"
        };
        let source = format!("/faam/functions/{function}");
        let mut attributes = head(id(&event.source, &event.id), &source, kind, invocation);
        attributes.extend(cause(event));
        attributes.extend([
            text("faambackend", answer.backend()),
            text("faamverify", answer.verify()),
        ]);
        let media_type = answer.media_type().into();
        Self {
            attributes,
            media_type,
            data: ReplyData::Bytes(answer.output),
            hold: answer.hold,
        }
    }

    /// The refusal of an event; `None` is one that could not be read, whose id is its invocation's.
    pub(super) fn refused(
        event: Option<&Event>,
        problem: &Problem,
        invocation: Invocation,
        mapped: Mapped,
    ) -> Self {
        let id = event.map_or_else(
            || invocation.id.to_string(),
            |event| id(&event.source, &event.id),
        );
        let mut attributes = head(id, "/faam/refusals", "faam.refused", invocation);
        if let Some(event) = event {
            attributes.extend(cause(event));
        }
        Self {
            attributes,
            media_type: PROBLEM_JSON.into(),
            data: ReplyData::Json(Value::Object(problem_json(problem, invocation, mapped))),
            hold: Hold::default(),
        }
    }

    /// Attributes but for `datacontenttype`.
    pub(super) fn attributes(&self) -> &[(Box<str>, Attribute)] {
        &self.attributes
    }

    /// `datacontenttype`.
    pub(super) fn media_type(&self) -> &str {
        &self.media_type
    }

    /// What the gateway's memory is held by until the answer has left.
    pub(super) const fn hold(&self) -> &Hold {
        &self.hold
    }

    pub(super) fn data(&self) -> &ReplyData {
        &self.data
    }

    /// Bytes of a result.
    pub(super) fn data_len(&self) -> usize {
        match &self.data {
            ReplyData::Bytes(data) => data.len(),
            ReplyData::Json(_) => 0,
        }
    }

    /// The data as it stands in a body.
    pub(super) fn into_bytes(self) -> Bytes {
        match self.data {
            ReplyData::Bytes(data) => data,
            ReplyData::Json(data) => data.to_string().into(),
        }
    }
}

fn text(name: &str, value: &str) -> (Box<str>, Attribute) {
    (name.into(), Attribute::Text(value.into()))
}

fn head(
    id: String,
    source: &str,
    kind: &str,
    invocation: Invocation,
) -> Vec<(Box<str>, Attribute)> {
    vec![
        text("specversion", "1.0"),
        text("id", &id),
        text("source", source),
        text("type", kind),
        text("faaminvocation", &invocation.id.to_string()),
    ]
}

/// What an answer takes over from its request.
fn cause(event: &Event) -> Vec<(Box<str>, Attribute)> {
    let mut attributes = vec![
        text("faamcausesource", &event.source),
        text("faamcauseid", &event.id),
    ];
    attributes.extend(
        event
            .subject
            .as_deref()
            .map(|subject| text("subject", subject)),
    );
    attributes.extend(event.carried().cloned());
    attributes
}

/// The id of an answer to the event of this source and id.
fn id(source: &str, id: &str) -> String {
    let digest = Sha256::new()
        // Where the one ends and the other begins is part of it.
        .chain_update(source.len().to_be_bytes())
        .chain_update(source)
        .chain_update(id)
        .finalize();
    let (head, _) = digest.split_at(ID_BYTES);
    hex(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_of_source_and_id_and_of_their_border() {
        assert_eq!(id("/a", "1"), id("/a", "1"));
        assert_ne!(id("/a", "1"), id("/a", "2"));
        assert_ne!(id("/a1", "1"), id("/a", "11"));
        assert_eq!(id("/a", "1").len(), 32);
    }
}
