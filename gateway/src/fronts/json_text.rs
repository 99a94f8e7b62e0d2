//! JSON read from a text whose strings are long: their ends are found many bytes at a time.
//!
//! Owns the walk over the text. Invariants: what is read here is what `serde_json` reads of the same text; what this does not
//! read (too deep, a kind that was not expected, no JSON) is read by that once more, so that it alone says what is wrong.
//! Numbers, and strings in which something is escaped, are its own as well. It knows nothing of what a value means.
//!
//! Why: a payload is one string of many kilobytes, and `serde_json` looks at eight bytes at a time, for a quote, a
//! backslash and what may not stand in a string. That takes as long as decoding it.

use std::fmt;

use memchr::{memchr, memchr2};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::Number;

/// Values within each other, at most; well below the depth at which `serde_json` ends.
const DEPTH_MAX: usize = 64;
/// How long a string is that is worth it, and after how many quotes and backslashes it is no longer looked for.
const LONG_BYTES: usize = 512;
const LOOKS_MAX: usize = 128;
/// What is below it may not stand in a string as it is (RFC 8259, 7).
const BLANK: u8 = 0x20;

/// Reads all of a text.
///
/// # Errors
/// `serde_json`'s.
pub(super) fn read<'j, T: Deserialize<'j>>(text: &'j [u8]) -> serde_json::Result<T> {
    if !begins_with_long_string(text) {
        return serde_json::from_slice(text);
    }
    match JsonText::read(text) {
        Ok(value) => Ok(value),
        Err(Unread) => serde_json::from_slice(text),
    }
}

/// Whether a text is JSON.
///
/// # Errors
/// `serde_json`'s.
pub(super) fn check(text: &[u8]) -> serde_json::Result<()> {
    read::<IgnoredAny>(text).map(|IgnoredAny| ())
}

/// Whether one of the first strings is long and has nothing escaped: of other texts `serde_json` reads numbers and escapes
/// sooner than this would.
fn begins_with_long_string(text: &[u8]) -> bool {
    let (mut rest, mut is_within) = (text, false);
    for _ in 0..LOOKS_MAX {
        let found = match is_within {
            true => memchr2(b'"', b'\\', rest),
            false => memchr(b'"', rest),
        };
        let Some(found) = found else { return false };
        if is_within && found >= LONG_BYTES {
            return true;
        }
        let is_escape = rest.get(found) == Some(&b'\\');
        is_within ^= !is_escape;
        let passed = found + 1 + usize::from(is_escape);
        rest = rest.get(passed..).unwrap_or_default();
    }
    false
}

/// That it is left to `serde_json`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unread;

impl fmt::Display for Unread {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("not read")
    }
}

impl std::error::Error for Unread {}

impl de::Error for Unread {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// A string.
enum Found<'j> {
    /// As it stands between its quotes.
    Plain(&'j [u8]),
    /// With them, where something in it is escaped.
    Escaped(&'j [u8]),
}

/// See the module's head.
struct JsonText<'j> {
    text: &'j [u8],
    at: usize,
    depth: usize,
}

impl<'j> JsonText<'j> {
    fn read<T: Deserialize<'j>>(text: &'j [u8]) -> Result<T, Unread> {
        let mut json = Self {
            text,
            at: 0,
            depth: 0,
        };
        let value = T::deserialize(&mut json)?;
        json.skip_space();
        match json.rest() {
            [] => Ok(value),
            _ => Err(Unread),
        }
    }

    fn rest(&self) -> &'j [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn pass(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes);
    }

    fn skip_space(&mut self) {
        let blank = |byte: &&u8| matches!(byte, b' ' | b'\n' | b'\t' | b'\r');
        let blanks = self.rest().iter().take_while(blank).count();
        self.pass(blanks);
    }

    /// The next byte behind white space.
    fn peek(&mut self) -> Result<u8, Unread> {
        self.skip_space();
        self.rest().first().copied().ok_or(Unread)
    }

    /// The same, passed.
    fn next(&mut self) -> Result<u8, Unread> {
        let byte = self.peek()?;
        self.pass(1);
        Ok(byte)
    }

    fn word(&mut self, word: &str) -> Result<(), Unread> {
        match self.rest().starts_with(word.as_bytes()) {
            true => {
                self.pass(word.len());
                Ok(())
            }
            false => Err(Unread),
        }
    }

    /// The string whose opening quote is next.
    fn string(&mut self) -> Result<Found<'j>, Unread> {
        let quoted = self.rest();
        let inner = quoted.get(1..).ok_or(Unread)?;
        let mut end = memchr2(b'"', b'\\', inner).ok_or(Unread)?;
        if inner.get(end) == Some(&b'"') {
            // Both quotes.
            self.pass(end + 2);
            return inner.get(..end).map(Found::Plain).ok_or(Unread);
        }
        while inner.get(end) == Some(&b'\\') {
            // What is escaped is a byte at least, and no end.
            let behind = end + 2;
            let more = inner.get(behind..).ok_or(Unread)?;
            end = behind + memchr2(b'"', b'\\', more).ok_or(Unread)?;
        }
        self.pass(end + 2);
        quoted.get(..end + 2).map(Found::Escaped).ok_or(Unread)
    }

    fn visit_string<V: Visitor<'j>>(&mut self, visitor: V) -> Result<V::Value, Unread> {
        match self.string()? {
            Found::Plain(text) if is_clean(text) => {
                visitor.visit_borrowed_str(str::from_utf8(text).map_err(|_| Unread)?)
            }
            Found::Plain(_) => Err(Unread),
            Found::Escaped(quoted) => {
                visitor.visit_string(serde_json::from_slice(quoted).map_err(|_| Unread)?)
            }
        }
    }

    fn visit_number<V: Visitor<'j>>(&mut self, visitor: V) -> Result<V::Value, Unread> {
        let of_number =
            |byte: &&u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
        let length = self.rest().iter().take_while(of_number).count();
        let digits = self.rest().get(..length).unwrap_or_default();
        let number: Number = serde_json::from_slice(digits).map_err(|_| Unread)?;
        self.pass(length);
        number.deserialize_any(visitor).map_err(|_| Unread)
    }

    /// Passes a number over (RFC 8259, 6), however large it is.
    fn pass_number(&mut self) -> Result<(), Unread> {
        let next = |json: &Self| json.rest().first().copied();
        if next(self) == Some(b'-') {
            self.pass(1);
        }
        match next(self) {
            Some(b'0') => self.pass(1),
            _ => self.pass_digits()?,
        }
        if next(self) == Some(b'.') {
            self.pass(1);
            self.pass_digits()?;
        }
        if matches!(next(self), Some(b'e' | b'E')) {
            self.pass(1);
            if matches!(next(self), Some(b'+' | b'-')) {
                self.pass(1);
            }
            self.pass_digits()?;
        }
        Ok(())
    }

    fn pass_digits(&mut self) -> Result<(), Unread> {
        let digits = self.rest().iter().take_while(|byte| byte.is_ascii_digit());
        match digits.count() {
            0 => Err(Unread),
            digits => {
                self.pass(digits);
                Ok(())
            }
        }
    }

    /// What stands between an opening byte, which is next, and `closing`.
    fn within<T>(
        &mut self,
        closing: u8,
        visit: impl FnOnce(Parts<'_, 'j>) -> Result<T, Unread>,
    ) -> Result<T, Unread> {
        self.pass(1);
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Unread);
        }
        let value = visit(Parts {
            json: self,
            closing,
            any: false,
        })?;
        self.depth -= 1;
        match self.next()? == closing {
            true => Ok(value),
            false => Err(Unread),
        }
    }
}

/// Whether nothing stands in a string that has to be escaped.
fn is_clean(text: &[u8]) -> bool {
    // One look for all of it, which the processor takes many bytes at a time.
    text.iter().copied().fold(u8::MAX, u8::min) >= BLANK
}

impl<'de> Deserializer<'de> for &mut JsonText<'de> {
    type Error = Unread;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        match self.peek()? {
            b'"' => self.visit_string(visitor),
            b'{' => self.within(b'}', |parts| visitor.visit_map(parts)),
            b'[' => self.within(b']', |parts| visitor.visit_seq(parts)),
            b'n' => {
                self.word("null")?;
                visitor.visit_unit()
            }
            b't' => {
                self.word("true")?;
                visitor.visit_bool(true)
            }
            b'f' => {
                self.word("false")?;
                visitor.visit_bool(false)
            }
            _ => self.visit_number(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        match self.peek()? {
            b'n' => {
                self.word("null")?;
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Unread> {
        visitor.visit_newtype_struct(self)
    }

    /// Of a string that is passed over nobody asks whether it is UTF-8, as with `serde_json`.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Unread> {
        match self.peek()? {
            b'"' => {}
            b'-' | b'0'..=b'9' => {
                self.pass_number()?;
                return visitor.visit_unit();
            }
            _ => return self.deserialize_any(visitor),
        }
        match self.string()? {
            Found::Plain(text) if is_clean(text) => visitor.visit_unit(),
            Found::Plain(_) => Err(Unread),
            Found::Escaped(quoted) => {
                let IgnoredAny = serde_json::from_slice(quoted).map_err(|_| Unread)?;
                visitor.visit_unit()
            }
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier
    }
}

/// Elements, or members.
struct Parts<'p, 'j> {
    json: &'p mut JsonText<'j>,
    closing: u8,
    /// Whether there was one before.
    any: bool,
}

impl Parts<'_, '_> {
    /// Whether there is another one, which is next then.
    fn another(&mut self) -> Result<bool, Unread> {
        if self.json.peek()? == self.closing {
            return Ok(false);
        }
        if std::mem::replace(&mut self.any, true) && self.json.next()? != b',' {
            return Err(Unread);
        }
        Ok(true)
    }
}

impl<'j> SeqAccess<'j> for Parts<'_, 'j> {
    type Error = Unread;

    fn next_element_seed<T: DeserializeSeed<'j>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Unread> {
        match self.another()? {
            true => seed.deserialize(&mut *self.json).map(Some),
            false => Ok(None),
        }
    }
}

impl<'j> MapAccess<'j> for Parts<'_, 'j> {
    type Error = Unread;

    fn next_key_seed<K: DeserializeSeed<'j>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Unread> {
        if !self.another()? {
            return Ok(None);
        }
        match self.json.peek()? {
            b'"' => seed.deserialize(&mut *self.json).map(Some),
            _ => Err(Unread),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'j>>(&mut self, seed: V) -> Result<V::Value, Unread> {
        match self.json.next()? {
            b':' => seed.deserialize(&mut *self.json),
            _ => Err(Unread),
        }
    }
}

#[cfg(test)]
mod tests;
