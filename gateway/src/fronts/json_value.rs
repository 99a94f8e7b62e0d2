//! A JSON value whose texts are borrowed from what it was read from, where nothing in them is escaped.
//!
//! Invariant: no more than [`VALUES_MAX`] values are kept of one text, so that what stands for it in memory is bounded, however
//! much of it is brackets; what has more is read to its end and is [`Json::Beyond`]. Of members of one name the last counts. It
//! knows nothing of what a value means.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeSeed, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_json::{Number, Value};

use super::payload::Text;

/// Most values of one text, itself among them: many times what any platform's envelope has.
pub(super) const VALUES_MAX: usize = 4096;

/// So many names are compared with each other sooner than looked up.
const FEW_MEMBERS: usize = 12;

/// See the module's head.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Json<'j> {
    #[default]
    Null,
    Flag(bool),
    Number(Number),
    Text(Cow<'j, str>),
    List(Vec<Self>),
    Object(Members<'j>),
    /// Of more than [`VALUES_MAX`] values.
    Beyond,
}

/// An object's.
pub(super) type Members<'j> = Vec<(Cow<'j, str>, Json<'j>)>;

impl<'j> Json<'j> {
    /// The value of a member, of an object that has it.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let mut members = self.members()?.iter().rev();
        members.find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Members, of an object.
    pub(super) fn members(&self) -> Option<&Members<'j>> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// A text, of one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The same as a parser makes it that keeps everything; null of what has too many values.
    pub(super) fn to_value(&self) -> Value {
        Value::deserialize(self.clone()).unwrap_or_default()
    }

    /// What it is, in words.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Flag(_) => "a truth value",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "an array",
            Self::Object(_) => "an object",
            Self::Beyond => "more values than are read",
        }
    }
}

impl<'de: 'j, 'j> Deserialize<'de> for Json<'j> {
    fn deserialize<D: Deserializer<'de>>(text: D) -> Result<Self, D::Error> {
        let left = Cell::new(Some(VALUES_MAX));
        let value = Reading { left: &left }.deserialize(text)?;
        Ok(match left.get() {
            Some(_) => value,
            None => Self::Beyond,
        })
    }
}

/// A value that is being read.
#[derive(Clone, Copy)]
struct Reading<'l> {
    /// How many more may be kept; `None` once there were more.
    left: &'l Cell<Option<usize>>,
}

impl<'j> DeserializeSeed<'j> for Reading<'_> {
    type Value = Json<'j>;

    fn deserialize<D: Deserializer<'j>>(self, text: D) -> Result<Json<'j>, D::Error> {
        let left = self.left.get().and_then(|left| left.checked_sub(1));
        self.left.set(left);
        if left.is_none() {
            IgnoredAny::deserialize(text)?;
            return Ok(Json::Null);
        }
        text.deserialize_any(self)
    }
}

impl<'j> Visitor<'j> for Reading<'_> {
    type Value = Json<'j>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Json<'j>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json<'j>, E> {
        Ok(Json::Flag(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'j>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json<'j>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json<'j>, E> {
        Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'j str) -> Result<Json<'j>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'j>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'j>>(self, mut list: A) -> Result<Json<'j>, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            self.keep(&mut values, value);
        }
        Ok(Json::List(values))
    }

    fn visit_map<A: MapAccess<'j>>(self, mut object: A) -> Result<Json<'j>, A::Error> {
        let mut members = Vec::new();
        while let Some(Text(name)) = object.next_key()? {
            let value = object.next_value_seed(self)?;
            self.keep(&mut members, (name, value));
        }
        Ok(Json::Object(last_of_each(members)))
    }
}

/// Without members whose name comes again; the name stands where it came first, as a parser's map has it.
fn last_of_each<'j>(members: Members<'j>) -> Members<'j> {
    let mut pairs = (1_usize..).zip(&members);
    let again = |after: usize, name: &str| {
        let mut others = members.iter().skip(after);
        others.any(|(other, _)| other == name)
    };
    if members.len() <= FEW_MEMBERS && !pairs.any(|(after, (name, _))| again(after, name)) {
        return members;
    }
    let mut places = HashMap::with_capacity(members.len());
    let mut last: Members<'j> = Vec::with_capacity(members.len());
    for (name, value) in members {
        match places.entry(name.clone()) {
            Entry::Occupied(place) => {
                if let Some((_, kept)) = last.get_mut(*place.get()) {
                    *kept = value;
                }
            }
            Entry::Vacant(place) => {
                place.insert(last.len());
                last.push((name, value));
            }
        }
    }
    last
}

impl Reading<'_> {
    fn keep<T>(self, values: &mut Vec<T>, value: T) {
        if self.left.get().is_some() {
            values.push(value);
        }
    }
}

/// Read again, as something else.
impl<'de> Deserializer<'de> for Json<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self {
            Self::Null | Self::Beyond => visitor.visit_unit(),
            Self::Flag(flag) => visitor.visit_bool(flag),
            Self::Number(number) => number.deserialize_any(visitor),
            Self::Text(Cow::Borrowed(text)) => visitor.visit_borrowed_str(text),
            Self::Text(Cow::Owned(text)) => visitor.visit_string(text),
            Self::List(values) => visitor.visit_seq(SeqDeserializer::new(values.into_iter())),
            Self::Object(members) => visitor.visit_map(MapDeserializer::new(members.into_iter())),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match self {
            Self::Null => visitor.visit_none(),
            some => visitor.visit_some(some),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for Json<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Json<'_> {
        serde_json::from_str(text).expect(text)
    }

    #[test]
    fn a_value_is_what_a_parser_makes_of_it_and_its_plain_texts_are_borrowed() {
        let text =
            r#" {"a":[1,-2,1.5,true,null],"b":"plain","c":"q\"","d":{"e":"\u00e4"},"a\n":{}} "#;
        let value = read(text);
        assert_eq!(
            Value::deserialize(value.clone()).expect("JSON"),
            serde_json::from_str::<Value>(text).expect("JSON")
        );
        assert!(matches!(
            value.get("b"),
            Some(Json::Text(Cow::Borrowed("plain")))
        ));
        assert_eq!(value.get("c").and_then(Json::text), Some("q\""));
        assert_eq!(value.get("d").map(Json::kind), Some("an object"));
        assert_eq!((value.get("x"), read("[]").get("x")), (None, None));
        let twice = read(r#"{"a":1,"a":2}"#);
        assert_eq!(twice.get("a"), Some(&Json::Number(2.into())));
        assert_eq!(twice.members().map(Vec::len), Some(1));
        let text = r#"{"b":1,"a":{"c":1,"c":2},"b":[3]}"#;
        assert_eq!(
            read(text).to_value(),
            serde_json::from_str::<Value>(text).expect("JSON")
        );
    }

    #[test]
    fn what_has_too_many_values_is_read_to_its_end_and_not_kept() {
        let list = |values: usize| format!("[{}0]", "0,".repeat(values - 1));
        assert_eq!(read(&list(VALUES_MAX)), Json::Beyond);
        let most = list(VALUES_MAX - 1);
        let most = read(&most);
        assert!(matches!(most, Json::List(values) if values.len() == VALUES_MAX - 1));
        let nested = format!(r#"{{"a":{},"b":{}}}"#, list(3000), list(3000));
        assert_eq!(read(&nested), Json::Beyond);
        // What comes after it is read all the same, and has to be JSON.
        let broken = format!("[{}]", list(9000).replace("0]", "0,]"));
        let refused = serde_json::from_str::<Json<'_>>(&broken);
        refused.expect_err("no JSON");
    }

    #[test]
    fn what_is_no_json_is_none() {
        for text in ["", "[", "{\"a\"}", "tru", "\"\\ud800\"", "1e999"] {
            assert_eq!(
                serde_json::from_str::<Json<'_>>(text).is_err(),
                serde_json::from_str::<Value>(text).is_err(),
                "{text}"
            );
        }
        assert_eq!(read("7"), Json::Number(7.into()));
    }
}
