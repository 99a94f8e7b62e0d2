//! The members of a JSON object, and the elements of an array, as they stand in the text.
//!
//! Invariant: what is given back is a value of valid JSON, byte by byte as it came: numbers keep their digits, objects their
//! order. It knows nothing of events.

use bytes::Bytes;
use memchr::memchr2;

use crate::fronts::json_text;

/// Why a text has no parts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PartsError {
    /// It is no JSON.
    #[error("it is no JSON: {0}")]
    Json(String),
    /// It is another kind of value.
    #[error("it is no {0}")]
    Kind(&'static str),
    /// There are too many of them.
    #[error("it has more than {0} parts")]
    TooMany(usize),
}

/// Members of an object: its names, and its values as they stand.
pub(super) fn members(text: &Bytes, count_max: usize) -> Result<Vec<(String, Bytes)>, PartsError> {
    let mut parts = Parts::open(text, b'{', "object", count_max)?;
    let mut members = Vec::new();
    while let Some(name) = parts.next()? {
        let name = serde_json::from_slice(&name).map_err(json)?;
        parts.skip_space();
        // Its colon.
        parts.at = parts.at.saturating_add(1);
        parts.skip_space();
        let value = parts.value();
        members.push((name, value));
    }
    Ok(members)
}

/// Elements of an array, as they stand.
pub(super) fn elements(text: &Bytes, count_max: usize) -> Result<Vec<Bytes>, PartsError> {
    let mut parts = Parts::open(text, b'[', "array", count_max)?;
    let mut elements = Vec::new();
    while let Some(element) = parts.next()? {
        elements.push(element);
    }
    Ok(elements)
}

fn json(error: serde_json::Error) -> PartsError {
    PartsError::Json(error.to_string())
}

/// A walk over a text that is known to be valid.
struct Parts<'t> {
    text: &'t Bytes,
    at: usize,
    count: usize,
    count_max: usize,
}

impl<'t> Parts<'t> {
    fn open(
        text: &'t Bytes,
        opening: u8,
        kind: &'static str,
        count_max: usize,
    ) -> Result<Self, PartsError> {
        json_text::check(text).map_err(json)?;
        let mut parts = Self {
            text,
            at: 0,
            count: 0,
            count_max,
        };
        parts.skip_space();
        if parts.byte() != Some(opening) {
            return Err(PartsError::Kind(kind));
        }
        parts.at = parts.at.saturating_add(1);
        Ok(parts)
    }

    fn byte(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while self.byte().is_some_and(|byte| byte.is_ascii_whitespace()) {
            self.at = self.at.saturating_add(1);
        }
    }

    /// The next value, up to the end of what was opened.
    fn next(&mut self) -> Result<Option<Bytes>, PartsError> {
        self.skip_space();
        if self.byte() == Some(b',') {
            self.at = self.at.saturating_add(1);
            self.skip_space();
        }
        if matches!(self.byte(), None | Some(b'}' | b']')) {
            return Ok(None);
        }
        self.count = self.count.saturating_add(1);
        if self.count > self.count_max {
            return Err(PartsError::TooMany(self.count_max));
        }
        Ok(Some(self.value()))
    }

    fn value(&mut self) -> Bytes {
        let begin = self.at;
        let mut depth = 0_usize;
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => self.skip_string(),
                b'{' | b'[' => depth = depth.saturating_add(1),
                b'}' | b']' if depth == 0 => break,
                b'}' | b']' => depth -= 1,
                b',' | b':' if depth == 0 => break,
                _ if depth == 0 && byte.is_ascii_whitespace() => break,
                _ => {}
            }
            self.at = self.at.saturating_add(1);
            if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
                break;
            }
        }
        self.text.slice(begin..self.at.min(self.text.len()))
    }

    /// To the quote that ends it.
    fn skip_string(&mut self) {
        loop {
            self.at = self.at.saturating_add(1);
            let rest = self.text.get(self.at..).unwrap_or_default();
            let skipped = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            self.at = self.at.saturating_add(skipped);
            match self.byte() {
                Some(b'\\') => self.at = self.at.saturating_add(1),
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(Value::from),
                btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn parts_are_those_that_a_parser_finds(value in value(), pretty: bool) {
            let text = match pretty {
                true => serde_json::to_vec_pretty(&value),
                false => serde_json::to_vec(&value),
            };
            let text = Bytes::from(text.expect("JSON"));
            let parse = |raw: &Bytes| serde_json::from_slice::<Value>(raw).expect("JSON");
            let object = members(&text, usize::MAX).ok().map(|members| {
                members.iter().map(|(name, raw)| (name.clone(), parse(raw))).collect()
            });
            prop_assert_eq!(object.as_ref(), value.as_object());
            let array = elements(&text, usize::MAX).ok();
            let array: Option<Vec<_>> = array.map(|elements| elements.iter().map(parse).collect());
            prop_assert_eq!(array.as_ref(), value.as_array());
        }

        #[test]
        fn whatever_comes_is_parted_or_refused(text in "[\\[\\]{}:,\"\\\\ a1]{0,24}") {
            let text = Bytes::from(text);
            let is_json = serde_json::from_slice::<Value>(&text).is_ok();
            prop_assert_eq!(is_json, !matches!(members(&text, 9), Err(PartsError::Json(_))));
            prop_assert_eq!(is_json, !matches!(elements(&text, 9), Err(PartsError::Json(_))));
        }
    }

    #[test]
    fn parts_stand_as_they_came() {
        let text = Bytes::from_static(
            br#" { "a\"]" : [1.0, {"z":1,"a":"}"}] ,"b":"x\\","c":12345678901234567890123, "d":null,"e":{} } "#,
        );
        let members = members(&text, 5).expect("an object");
        let told: Vec<_> = members
            .iter()
            .map(|(name, value)| (name.as_str(), str::from_utf8(value).expect("UTF-8")))
            .collect();
        assert_eq!(
            told,
            [
                ("a\"]", r#"[1.0, {"z":1,"a":"}"}]"#),
                ("b", r#""x\\""#),
                ("c", "12345678901234567890123"),
                ("d", "null"),
                ("e", "{}"),
            ]
        );
        assert_eq!(super::members(&text, 4), Err(PartsError::TooMany(4)));
        let list = Bytes::from_static(br#"[ {"a":[1,2]} , "]" ,3]"#);
        let elements = elements(&list, 9).expect("an array");
        assert_eq!(elements, [&br#"{"a":[1,2]}"#[..], br#""]""#, b"3"]);
        assert_eq!(super::elements(&Bytes::from_static(b"[]"), 9), Ok(vec![]));
        assert_eq!(super::members(&list, 9), Err(PartsError::Kind("object")));
        assert!(matches!(
            super::elements(&Bytes::from_static(b"[1,"), 9),
            Err(PartsError::Json(_))
        ));
    }
}
