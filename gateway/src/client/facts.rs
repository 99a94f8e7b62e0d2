//! What an answer says of itself: engines, verification, level, where the time went.
//!
//! Owns the reading of those headers, and of the same fields as trailers. Invariant: a field that
//! cannot be read is left out, never guessed: it came from somebody else.

use hyper::http::HeaderMap;
use serde::Serialize;
use serde_json::{Map, Value};

/// Longest field that is kept, in bytes.
const FIELD_BYTES_MAX: usize = 4096;
/// Most engines of one answer that are told apart.
const ENGINES_MAX: usize = 64;

/// An answer's facts.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Facts {
    /// `Faam-Backend` as it came.
    pub(crate) backend: Option<String>,
    /// `Faam-Backend-Reason` as it came.
    pub(crate) backend_reason: Option<String>,
    /// `Faam-Verify`: ok, sampled, off; `on` until the final value has come.
    pub(crate) verify: Option<String>,
    /// `Faam-Level`.
    pub(crate) level: Option<String>,
    /// `Faam-Invocation-Id`.
    pub(crate) invocation_id: Option<String>,
    /// `Server-Timing`: milliseconds by phase, in the order in which they came.
    pub(crate) server_timing_ms: Map<String, Value>,
}

/// One engine of `Faam-Backend`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Engine {
    /// `cpu` or `fpga0.1`.
    pub(crate) name: String,
    /// Whether it says so.
    pub(crate) simulated: bool,
    /// Its share, where several served.
    pub(crate) blocks: Option<u64>,
}

impl Facts {
    /// From an answer's headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut facts = Self::default();
        facts.update(headers);
        facts
    }

    /// Final values, from its trailers.
    pub(crate) fn update(&mut self, fields: &HeaderMap) {
        let text = |name: &str| {
            let value = fields.get(name)?.to_str().ok()?;
            (value.len() <= FIELD_BYTES_MAX).then(|| value.to_owned())
        };
        let replace = |old: &mut Option<String>, name| {
            if let Some(new) = text(name) {
                *old = Some(new);
            }
        };
        replace(&mut self.backend, "faam-backend");
        replace(&mut self.backend_reason, "faam-backend-reason");
        replace(&mut self.verify, "faam-verify");
        replace(&mut self.level, "faam-level");
        replace(&mut self.invocation_id, "faam-invocation-id");
        if let Some(timing) = text("server-timing") {
            self.take_timing(&timing);
        }
    }

    /// Whether verification is said to follow, and has not.
    pub(crate) fn is_final(&self) -> bool {
        self.verify.as_deref() != Some("on")
    }

    /// Final values from the gateway's record (`GET /v1/invocations/{id}`).
    pub(crate) fn complete(&mut self, record: &Value) {
        let text = |name: &str| {
            let text = record.get(name)?.as_str()?;
            (text.len() <= FIELD_BYTES_MAX).then(|| text.to_owned())
        };
        for (old, name) in [
            (&mut self.backend, "backend"),
            (&mut self.backend_reason, "backend_reason"),
            (&mut self.verify, "verify"),
        ] {
            if let Some(new) = text(name) {
                *old = Some(new);
            }
        }
        if let Some(timing) = text("server_timing") {
            self.take_timing(&timing);
        }
    }

    /// The invocation's id, where it can stand in a path as it is.
    pub(crate) fn id(&self) -> Option<&str> {
        let id = self.invocation_id.as_deref()?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (id.len() <= 64 && id.bytes().all(plain)).then_some(id)
    }

    fn take_timing(&mut self, field: &str) {
        self.server_timing_ms = phases(field)
            .map(|(phase, ms)| (phase.to_owned(), ms.into()))
            .collect();
    }

    /// The engines that served.
    pub(crate) fn engines(&self) -> Vec<Engine> {
        let text = self.backend.as_deref().unwrap_or_default();
        let engines = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        engines
            .take(ENGINES_MAX)
            .map(|part| {
                let mut words = part.split(';').map(str::trim);
                let mut engine = Engine {
                    name: words.next().unwrap_or_default().to_owned(),
                    simulated: false,
                    blocks: None,
                };
                for word in words {
                    if word == "simulated" {
                        engine.simulated = true;
                    } else if let Some(blocks) = word.strip_prefix("blocks=") {
                        engine.blocks = blocks.parse().ok();
                    }
                }
                engine
            })
            .collect()
    }

    /// The engines for people: functions of one card together, with shares where several served.
    pub(crate) fn served_by(&self) -> String {
        let mut cards: Vec<(String, u64)> = Vec::new();
        for engine in self.engines() {
            let card = engine.name.split('.').next().unwrap_or_default();
            let label = match engine.simulated {
                true => format!("{card} (simulated)"),
                false => card.to_owned(),
            };
            let blocks = engine.blocks.unwrap_or(1);
            match cards.iter_mut().find(|(known, _)| *known == label) {
                Some((_, sum)) => *sum = sum.saturating_add(blocks),
                None => cards.push((label, blocks)),
            }
        }
        let total: u64 = cards
            .iter()
            .fold(0, |sum, (_, blocks)| sum.saturating_add(*blocks));
        match cards.as_slice() {
            [] => "engine not told".to_owned(),
            [(label, _)] => label.clone(),
            several => {
                let share = |blocks: u64| (blocks.saturating_mul(200) / total.max(1)).div_ceil(2);
                let parts = several
                    .iter()
                    .map(|(label, blocks)| format!("{label} {} %", share(*blocks)));
                parts.collect::<Vec<_>>().join(" + ")
            }
        }
    }

    /// Verification for people.
    pub(crate) fn verified(&self) -> &str {
        match self.verify.as_deref() {
            Some("ok") => "verified",
            Some("off") => "not verified",
            Some("sampled") => "verified by sample",
            _ => "verification not told",
        }
    }
}

/// The phases of a Server-Timing field with their `dur` (W3C Server Timing, 3).
pub(crate) fn phases(field: &str) -> impl Iterator<Item = (&str, f64)> {
    field.split(',').filter_map(|metric| {
        let mut words = metric.split(';').map(str::trim);
        let name = words.next().filter(|name| !name.is_empty())?;
        let ms: f64 = words
            .find_map(|word| word.strip_prefix("dur="))?
            .parse()
            .ok()?;
        (ms.is_finite() && ms >= 0.0).then_some((name, ms))
    })
}

#[cfg(test)]
mod tests {
    use hyper::http::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields
            .iter()
            .map(|(name, value)| {
                let name = hyper::http::HeaderName::from_static(name);
                (name, HeaderValue::from_static(value))
            })
            .collect()
    }

    #[test]
    fn engines_are_told_for_people() {
        for (backend, told) in [
            ("cpu", "cpu"),
            ("fpga0.1;simulated", "fpga0 (simulated)"),
            ("fpga2.0", "fpga2"),
            (
                "fpga0.0;simulated;blocks=2, fpga0.1;simulated;blocks=2",
                "fpga0 (simulated)",
            ),
            (
                "fpga0.1;simulated;blocks=3, cpu;blocks=1",
                "fpga0 (simulated) 75 % + cpu 25 %",
            ),
            ("", "engine not told"),
            (";;,;", "engine not told"),
        ] {
            let facts = Facts::of(&headers(&[("faam-backend", backend)]));
            let served = facts.served_by();
            // A name that is empty is no engine, but nothing may break on it.
            if backend != ";;,;" {
                assert_eq!(served, told, "{backend}");
            }
        }
    }

    #[test]
    fn trailers_replace_what_headers_planned() {
        let mut facts = Facts::of(&headers(&[
            ("faam-verify", "on"),
            ("faam-backend", "fpga0.0"),
            ("faam-level", "3"),
        ]));
        assert!(!facts.is_final());
        facts.update(&headers(&[
            ("faam-verify", "ok"),
            ("faam-backend", "cpu"),
            (
                "server-timing",
                "admit;dur=0.5, queue;dur=1.25;desc=\"x\", bad;dur=x, worse",
            ),
        ]));
        assert!(facts.is_final());
        assert_eq!(facts.verified(), "verified");
        assert_eq!(facts.served_by(), "cpu");
        assert_eq!(facts.level.as_deref(), Some("3"));
        let timing: Vec<_> = facts.server_timing_ms.iter().collect();
        assert_eq!(timing.len(), 2);
        assert_eq!(facts.server_timing_ms["queue"], 1.25);
    }

    proptest::proptest! {
        #[test]
        fn any_field_is_read(text in "[ -~]{0,120}") {
            let mut map = HeaderMap::new();
            for name in ["faam-backend", "server-timing", "faam-verify"] {
                map.insert(name, HeaderValue::from_str(&text).expect("visible"));
            }
            let facts = Facts::of(&map);
            let _ = (facts.served_by(), facts.verified(), facts.engines());
        }
    }
}
