//! One activation as the platform sends it: its value, what it is called, and until when it is waited for.
//!
//! Invariants: what names it is shown in logs, cut, and decides nothing; a deadline that had passed before this container
//! began was never this container's. It reads no clock.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Problem, ProblemKind};
use crate::fronts::call::CallOptions;
use crate::fronts::json_value::{Json, VALUES_MAX};
use crate::fronts::payload::Payload;
use crate::http::options::DEADLINE_MS_MAX;

/// Longest name that a log repeats, in characters.
const NAME_CHARS_MAX: usize = 128;
/// Members of web actions' values begin so (OpenWhisk, docs/webactions.md): they tell of the HTTP request, and are no options.
const WEB_ACTION: &str = "__ow_";

/// What comes with a value. `api_host` and `api_key` are for actions that call the platform back: they are not read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Context<'j> {
    #[serde(borrow)]
    pub(super) activation_id: Json<'j>,
    #[serde(borrow)]
    pub(super) namespace: Json<'j>,
    #[serde(borrow)]
    pub(super) action_name: Json<'j>,
    #[serde(borrow)]
    pub(super) transaction_id: Json<'j>,
    /// Milliseconds since 1970, as a number or in a text.
    #[serde(borrow)]
    pub(super) deadline: Json<'j>,
}

impl Context<'_> {
    /// As a log has it.
    pub(super) fn names(&self) -> [Name; 4] {
        [
            &self.activation_id,
            &self.namespace,
            &self.action_name,
            &self.transaction_id,
        ]
        .map(Name::of)
    }

    /// What is left until the deadline, in a container that began at `began`, both since 1970. A deadline that is none says
    /// nothing.
    ///
    /// # Errors
    /// `deadline`
    fn left(&self, began: Duration, now: Duration) -> Result<Option<u64>, Problem> {
        let at = match &self.deadline {
            Json::Number(at) => at.as_u64(),
            Json::Text(at) => at.trim().parse().ok(),
            _ => None,
        };
        let Some(at) = at.map(Duration::from_millis).filter(|at| *at >= began) else {
            return Ok(None);
        };
        let left = u64::try_from(at.saturating_sub(now).as_millis()).unwrap_or(u64::MAX);
        match left {
            0 => Err(Problem::new(
                ProblemKind::Deadline,
                format!(
                    "the activation's deadline passed {} ms before it came here; invoke it again, or raise the action's time limit",
                    now.saturating_sub(at).as_millis()
                ),
            )),
            left => Ok(Some(left.min(DEADLINE_MS_MAX))),
        }
    }
}

/// The payload in `value`, to be answered before the deadline of `context`.
///
/// # Errors
/// `invalid-option`, `deadline`
pub(super) fn payload(
    mut value: Json<'_>,
    context: &Context<'_>,
    began: Duration,
    now: Duration,
) -> Result<Payload, Problem> {
    match &mut value {
        Json::Object(members) => members.retain(|(name, _)| !name.starts_with(WEB_ACTION)),
        Json::Beyond => {
            return Err(Problem::invalid_option(format!(
                "value: expected an object of few members, {{\"data\": base64, \"level\"?: n}}, got more than {VALUES_MAX} \
                 values; leave out what is no parameter of the action"
            )));
        }
        other => {
            return Err(Problem::invalid_option(format!(
                "value: expected an object, {{\"data\": base64, \"level\"?: n}}, got {}; invoke the action with parameters",
                other.kind()
            )));
        }
    }
    let left = context.left(began, now)?;
    let mut payload = Payload::of(value)?;
    if let Some(left) = left {
        payload.options = within(payload.options, left);
    }
    Ok(payload)
}

/// `options` with at most so many milliseconds. A text that is no number stays, for its own refusal.
fn within(options: CallOptions, left: u64) -> CallOptions {
    let asked = options.deadline_ms.as_deref().map(str::parse::<u64>);
    let deadline_ms = match asked {
        Some(Err(_)) => options.deadline_ms,
        // As little as nothing is for its own refusal as well.
        Some(Ok(asked)) if asked <= left => options.deadline_ms,
        Some(Ok(_)) | None => Some(left.to_string().into()),
    };
    CallOptions {
        deadline_ms,
        ..options
    }
}

/// A name that somebody else chose, cut for a log.
pub(super) struct Name(String);

impl Name {
    fn of(value: &Json<'_>) -> Self {
        Self(match value {
            Json::Null => String::new(),
            Json::Text(text) => text.chars().take(NAME_CHARS_MAX).collect(),
            Json::Number(number) => number.to_string(),
            other => other.kind().to_owned(),
        })
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // With what is no character of a line escaped.
        fmt::Debug::fmt(&self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const BEGAN: Duration = Duration::from_millis(10_000);
    const NOW: Duration = Duration::from_millis(12_000);

    fn deadline_ms(deadline: Value, value: Value) -> Result<Option<String>, Problem> {
        let context = json!({ "deadline": deadline }).to_string();
        let payload = read(&value, &serde_json::from_str(&context).unwrap())?;
        Ok(payload.options.deadline_ms.map(String::from))
    }

    fn read(value: &Value, context: &Context<'_>) -> Result<Payload, Problem> {
        let value = value.to_string();
        payload(serde_json::from_str(&value).unwrap(), context, BEGAN, NOW)
    }

    #[test]
    fn the_sooner_of_the_two_deadlines_counts() {
        let data = json!({ "data": "" });
        let said = |deadline, value: &Value| deadline_ms(deadline, value.clone()).unwrap();
        assert_eq!(said(json!(14_000), &data).as_deref(), Some("2000"));
        assert_eq!(said(json!("14000"), &data).as_deref(), Some("2000"));
        let soon = json!({ "data": "", "deadline_ms": 500 });
        assert_eq!(said(json!("14000"), &soon).as_deref(), Some("500"));
        let late = json!({ "data": "", "deadline_ms": "5000" });
        assert_eq!(said(json!("14000"), &late).as_deref(), Some("2000"));
        let none = json!({ "data": "", "deadline_ms": "soon" });
        assert_eq!(said(json!("14000"), &none).as_deref(), Some("soon"));
        let far = said(json!(u64::MAX), &data);
        assert_eq!(far, Some(DEADLINE_MS_MAX.to_string()));
    }

    #[test]
    fn a_deadline_of_before_the_container_is_none_and_one_that_passed_since_is_refused() {
        let data = json!({ "data": "" });
        for none in [
            json!("123"),
            json!(""),
            json!(null),
            json!([1]),
            json!(-4),
            json!("soon"),
        ] {
            assert_eq!(deadline_ms(none, data.clone()).unwrap(), None);
        }
        let late = deadline_ms(json!(11_500), data).unwrap_err();
        assert_eq!(late.kind(), ProblemKind::Deadline);
        assert!(late.detail().contains("500 ms"), "{}", late.detail());
    }

    #[test]
    fn what_a_web_action_has_besides_is_no_option_and_all_else_is() {
        let context = Context::default();
        let web =
            json!({ "data": "aGk=", "__ow_method": "post", "__ow_headers": { "accept": "*/*" } });
        let payload = |value| read(&value, &context);
        assert_eq!(&payload(web).unwrap().input[..], b"hi");
        for (value, word) in [
            (json!({ "data": "", "speed": 1 }), "speed"),
            (json!(null), "null"),
            (json!([1]), "an array"),
            (json!("❄"), "a text"),
            (json!({}), "data"),
            (json!({ "data": "", "speed": vec![0; VALUES_MAX] }), "4096"),
        ] {
            let refused = payload(value).unwrap_err();
            assert!(refused.detail().contains(word), "{}", refused.detail());
        }
    }

    #[test]
    fn names_are_cut_and_cannot_end_a_line() {
        let context = json!({ "activation_id": format!("a\n{}", "❄".repeat(999)) }).to_string();
        let context: Context<'_> = serde_json::from_str(&context).unwrap();
        let [id, ..] = context.names();
        let shown = format!("{id:?}");
        assert!(
            shown.starts_with("\"a\\n❄") && shown.chars().count() < 140,
            "{shown}"
        );
    }
}
