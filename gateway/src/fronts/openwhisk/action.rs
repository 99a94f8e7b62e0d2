//! The action that a container is initialized to: a function, and how it is called where an activation does not say.
//!
//! Owns what `/init` carries. Invariants: `code` is a kernel's name or `{"kernel": name, "level"?: n, ..}`, and the image's
//! default where it is absent; what is not known is refused by name; what `code` says is stronger than `env`, and `env` is
//! stronger than the image. It does not know whether the action can be carried out.

use serde::Deserialize;
use serde_json::Value;

use crate::base64;
use crate::error::Problem;
use crate::fronts::call::CallOptions;
use crate::fronts::function::Function;
use crate::fronts::json_value::{Json, VALUES_MAX};

/// What an activation calls, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Action {
    pub(super) function: Function,
    pub(super) options: CallOptions,
}

/// `value` of `/init`, as the platform sends it. What else it has (`name`, `main`) decides nothing here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Init<'j> {
    code: Option<String>,
    binary: Option<bool>,
    #[serde(borrow)]
    env: Json<'j>,
}

/// `code`, where it is an object.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Code {
    kernel: Option<String>,
    level: Option<Value>,
    backend: Option<Value>,
    deadline_ms: Option<Value>,
    priority: Option<Value>,
}

impl Init<'_> {
    /// The action that it asks for, in an image whose own is `image`.
    ///
    /// # Errors
    /// `invalid-option`
    pub(super) fn action(self, image: &Action) -> Result<Action, Problem> {
        let code = self.code()?;
        let env = &self.env;
        if !matches!(env, Json::Null | Json::Object(_)) {
            return Err(Problem::invalid_option(format!(
                "env: expected an object of at most {VALUES_MAX} values, got {}; send the variables of this action alone",
                env.kind()
            )));
        }
        let variable = |name: &str| env.get(name).and_then(|value| text(&value.to_value()));
        let kernel = match (code.kernel, variable("FAAM_FUNCTION")) {
            (Some(kernel), _) => Some(("code", kernel.into_boxed_str())),
            (None, Some(kernel)) => Some(("env FAAM_FUNCTION", kernel)),
            (None, None) => None,
        };
        let function = match kernel {
            None => image.function,
            Some((what, name)) => name.trim().parse().map_err(|error| {
                Problem::invalid_option(format!("{what}: {error}; correct it, or leave it out"))
            })?,
        };
        let said = CallOptions {
            level: code.level.as_ref().and_then(text),
            backend: code.backend.as_ref().and_then(text),
            deadline_ms: code.deadline_ms.as_ref().and_then(text),
            priority: code.priority.as_ref().and_then(text),
        };
        let env = CallOptions {
            level: variable("FAAM_LEVEL"),
            backend: variable("FAAM_BACKEND"),
            deadline_ms: variable("FAAM_DEADLINE_MS"),
            priority: variable("FAAM_PRIORITY"),
        };
        let options = said.or(&env).or(&image.options).fit(function);
        Ok(Action { function, options })
    }

    fn code(&self) -> Result<Code, Problem> {
        let text = self.code.as_deref().unwrap_or_default().trim();
        let decoded;
        let text = if self.binary == Some(true) && !text.is_empty() {
            decoded = base64::decode(text.as_bytes())
                .ok()
                .and_then(|bytes| String::from_utf8(bytes).ok())
                .ok_or_else(|| {
                    Problem::invalid_option(
                        "code: expected a kernel's name or {\"kernel\": name, \"level\"?: n}, in base64 as binary says, got an \
                         archive or bytes; nothing but compression runs here: correct it",
                    )
                })?;
            decoded.trim()
        } else {
            text
        };
        match text.chars().next() {
            None => Ok(Code::default()),
            Some('{') => serde_json::from_str(text).map_err(|error| {
                Problem::invalid_option(format!(
                    "code: expected a kernel's name or {{\"kernel\": name, \"level\"?: n, \"backend\"?, \"deadline_ms\"?, \
                     \"priority\"?}}: {error}; correct it"
                ))
            }),
            Some(_) => Ok(Code {
                kernel: Some(text.to_owned()),
                ..Code::default()
            }),
        }
    }
}

/// A value as the platform puts it into an environment (BasicActionRunnerTests, `testEnvPartition`): a text as it is, all
/// else as JSON, null as nothing.
fn text(value: &Value) -> Option<Box<str>> {
    let text: Box<str> = match value {
        Value::Null => return None,
        Value::String(text) => text.as_str().into(),
        other => other.to_string().into(),
    };
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn action(init: &str) -> Result<Action, Problem> {
        let image = Action {
            function: "zlib".parse().unwrap(),
            options: CallOptions {
                level: Some("2".into()),
                ..CallOptions::default()
            },
        };
        serde_json::from_str::<Init>(init).unwrap().action(&image)
    }

    #[track_caller]
    fn check(init: &str, function: &str, level: Option<&str>) {
        let action = action(init).unwrap();
        assert_eq!(action.function.name(), function, "{init}");
        assert_eq!(action.options.level.as_deref(), level, "{init}");
    }

    #[test]
    fn code_is_stronger_than_env_and_env_than_the_image() {
        check("{}", "zlib", Some("2"));
        check(r#"{"code": "", "main": "main"}"#, "zlib", Some("2"));
        check(r#"{"code": " gzip\n"}"#, "gzip", Some("2"));
        check(r#"{"code": "gunzip"}"#, "gunzip", None);
        check(
            r#"{"code": "{\"kernel\": \"gzip\", \"level\": 6}"}"#,
            "gzip",
            Some("6"),
        );
        check(
            r#"{"env": {"FAAM_FUNCTION": "zstd", "FAAM_LEVEL": 4, "OTHER": [1]}}"#,
            "zstd",
            Some("4"),
        );
        check(
            r#"{"code": "{\"level\": 6}", "env": {"FAAM_FUNCTION": "zstd", "FAAM_LEVEL": "4"}}"#,
            "zstd",
            Some("6"),
        );
        check(
            r#"{"env": {"FAAM_FUNCTION": null, "FAAM_LEVEL": ""}}"#,
            "zlib",
            Some("2"),
        );
        check(r#"{"code": "Z3ppcA==", "binary": true}"#, "gzip", Some("2"));
    }

    #[test]
    fn what_is_no_action_is_refused_with_what_is() {
        let too_many = format!(r#"{{"env": {{"A": [{}0]}}}}"#, "0,".repeat(VALUES_MAX));
        for (init, word) in [
            (r#"{"code": "function main() {}"}"#, "gunzip"),
            (r#"{"code": "{\"kernel\": \"rar\"}"}"#, "\"rar\""),
            (r#"{"code": "{\"speed\": 1}"}"#, "speed"),
            (r#"{"code": "UEsDBP8=", "binary": true}"#, "archive"),
            (r#"{"code": "-", "binary": true}"#, "archive"),
            (r#"{"env": {"FAAM_FUNCTION": "rar"}}"#, "FAAM_FUNCTION"),
            (r#"{"env": ["FAAM_FUNCTION"]}"#, "an array"),
            (too_many.as_str(), "more values"),
        ] {
            let problem = action(init).unwrap_err();
            assert!(
                problem.detail().contains(word),
                "{init}: {}",
                problem.detail()
            );
        }
    }
}
