//! Where the settings of a gateway come from: file, environment, flags, in that order of weakness.
//!
//! Owns the reading of the file and the provenance of every value. Invariant: a key that the file
//! names and nobody knows is an error, with the nearest known one. It does not know what a setting
//! means.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::de::{DeTable, DeValue};

use super::settings::{Draft, Kind, SETTINGS, Setting, by_key};

/// Largest configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Deepest nesting of tables in it: `section.key`.
const SECTIONS_MAX: usize = 2;
/// How alike a name must be to be suggested (Jaro-Winkler, 0 to 1).
const SUGGESTED_LIKENESS_MIN: f64 = 0.75;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of the file.
    File(PathBuf, usize),
    /// A variable.
    Environment(String),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(path, line) => write!(formatter, "{}:{line}", path.display()),
            Self::Environment(name) => write!(formatter, "environment, {name}"),
            Self::Flag(name) => write!(formatter, "flag, --{name}"),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug, Error)]
pub(crate) enum SettingsError {
    /// The file.
    #[error("cannot read the configuration file {path}; correct --config or FAAM_CONFIG")]
    Read {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file is too large to be one.
    #[error(
        "the configuration file {path} has {bytes} bytes: expected at most {FILE_BYTES_MAX}; is it the right one?"
    )]
    TooLarge { path: PathBuf, bytes: u64 },
    /// It is no TOML.
    #[error("{path}:{line}: {what}; correct the TOML")]
    Syntax {
        path: PathBuf,
        line: usize,
        what: String,
    },
    /// A key that nobody knows.
    #[error("{path}:{line}: there is no setting {key:?}; {}", mend(.nearest.as_deref()))]
    UnknownKey {
        path: PathBuf,
        line: usize,
        key: String,
        nearest: Option<String>,
    },
    /// A value that its setting does not take.
    #[error("{key} ({origin}): {what}; correct it or leave it out")]
    Value {
        key: &'static str,
        origin: Origin,
        what: String,
    },
    /// Values that cannot stand together.
    #[error("{0}")]
    Together(String),
}

fn mend(nearest: Option<&str>) -> String {
    match nearest {
        Some(key) => format!("did you mean {key:?}?"),
        None => "`faam serve --check` lists all of them".to_owned(),
    }
}

/// The settings with their origins.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) draft: Draft,
    origins: HashMap<&'static str, Origin>,
}

impl Sources {
    /// All three sources on top of the defaults.
    ///
    /// # Errors
    /// [`SettingsError`]
    pub(crate) fn read(
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<OsString>,
        flags: &[(&'static Setting, Vec<String>)],
    ) -> Result<Self, SettingsError> {
        let mut sources = Self::default();
        if let Some(path) = file {
            let text = read_file(path)?;
            sources.take_file(path, &text)?;
        }
        sources.take_environment(variable)?;
        for (setting, values) in flags {
            let flag = setting.flag.map_or(setting.key, |(flag, _)| flag);
            sources.set(setting, values, Origin::Flag(flag))?;
        }
        Ok(sources)
    }

    /// Where a setting's value came from.
    pub(crate) fn origin(&self, setting: &Setting) -> &Origin {
        self.origins.get(setting.key).unwrap_or(&Origin::Default)
    }

    /// Every variable that is set.
    pub(super) fn take_environment(
        &mut self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(), SettingsError> {
        for setting in SETTINGS {
            let name = setting.variable();
            // An empty variable is one that is not set, as for most services.
            let Some(value) = variable(&name).filter(|value| !value.is_empty()) else {
                continue;
            };
            let value = value.to_string_lossy().into_owned();
            let values = match setting.kind {
                Kind::List => value.split(',').map(str::to_owned).collect(),
                Kind::Rules => value.split(';').map(str::to_owned).collect(),
                _ => vec![value],
            };
            self.set(setting, &values, Origin::Environment(name))?;
        }
        Ok(())
    }

    fn set(
        &mut self,
        setting: &'static Setting,
        values: &[String],
        origin: Origin,
    ) -> Result<(), SettingsError> {
        setting
            .write(&mut self.draft, values)
            .map_err(|what| SettingsError::Value {
                key: setting.key,
                origin: origin.clone(),
                what,
            })?;
        self.origins.insert(setting.key, origin);
        Ok(())
    }

    pub(super) fn take_file(&mut self, path: &Path, text: &str) -> Result<(), SettingsError> {
        let line_of = |offset: usize| {
            let before = text.as_bytes().get(..offset).unwrap_or(text.as_bytes());
            1 + before.iter().filter(|byte| **byte == b'\n').count()
        };
        let document = DeTable::parse(text).map_err(|error| SettingsError::Syntax {
            path: path.to_owned(),
            line: line_of(error.span().map_or(0, |span| span.start)),
            what: error.message().to_owned(),
        })?;
        let mut leaves = Vec::new();
        collect(document.get_ref(), "", SECTIONS_MAX, &mut leaves);
        for (key, offset, value) in leaves {
            let line = line_of(offset);
            let Some(setting) = by_key(&key) else {
                return Err(SettingsError::UnknownKey {
                    path: path.to_owned(),
                    line,
                    nearest: nearest(&key, SETTINGS.iter().map(|setting| setting.key)),
                    key,
                });
            };
            let origin = Origin::File(path.to_owned(), line);
            let values = values(value).map_err(|what| SettingsError::Value {
                key: setting.key,
                origin: origin.clone(),
                what,
            })?;
            self.set(setting, &values, origin)?;
        }
        Ok(())
    }
}

/// The known name that is most like `name`, if any is.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    // A name without its section, or with another, is meant as often as a slip of the finger.
    let last = |key: &'a str| key.rsplit('.').next().unwrap_or(key);
    let word = name.rsplit('.').next().unwrap_or(name);
    known
        .map(|key| {
            let whole = strsim::jaro_winkler(name, key);
            let best = whole.max(strsim::jaro_winkler(word, last(key)));
            (best, whole, key)
        })
        .filter(|(best, _, _)| *best >= SUGGESTED_LIKENESS_MIN)
        // Of two sections with the same word the one that is nearer.
        .max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)))
        .map(|(_, _, key)| key.to_owned())
}

/// Every value with its dotted key and where the key stands.
fn collect<'a>(
    table: &'a DeTable<'a>,
    prefix: &str,
    sections: usize,
    leaves: &mut Vec<(String, usize, &'a DeValue<'a>)>,
) {
    for (name, value) in table {
        let key = if prefix.is_empty() {
            name.get_ref().to_string()
        } else {
            format!("{prefix}.{}", name.get_ref())
        };
        match value.get_ref() {
            DeValue::Table(inner) if sections > 1 && !inner.is_empty() => {
                collect(inner, &key, sections - 1, leaves);
            }
            // An empty section says nothing; a misspelt one is still worth a word.
            DeValue::Table(_)
                if SETTINGS
                    .iter()
                    .any(|s| s.key.starts_with(&format!("{key}."))) => {}
            value => leaves.push((key, name.span().start, value)),
        }
    }
}

/// A value of the file as texts.
fn values(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let scalar = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Boolean(value) => Ok(value.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| {
                format!(
                    "expected a whole number below 2^63, got {}",
                    number.as_str()
                )
            }),
        other => Err(format!(
            "expected a text or a whole number, got a {}",
            other.type_str()
        )),
    };
    match value {
        DeValue::Array(items) => items.iter().map(|item| scalar(item.get_ref())).collect(),
        value => scalar(value).map(|text| vec![text]),
    }
}

fn read_file(path: &Path) -> Result<String, SettingsError> {
    use std::io::Read;
    let error = |source| SettingsError::Read {
        path: path.to_owned(),
        source,
    };
    let file = std::fs::File::open(path).map_err(error)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(error)?;
    match u64::try_from(text.len()) {
        Ok(bytes) if bytes > FILE_BYTES_MAX => Err(SettingsError::TooLarge {
            path: path.to_owned(),
            bytes,
        }),
        _ => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(
        text: &str,
        variables: &[(&str, &str)],
        flags: &[(&str, &str)],
    ) -> Result<Sources, SettingsError> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(text.as_bytes()).expect("written");
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let flags: Vec<_> = flags
            .iter()
            .map(|(key, value)| (by_key(key).expect("known"), vec![(*value).to_owned()]))
            .collect();
        Sources::read(Some(file.path()), variable, &flags)
    }

    #[test]
    fn flags_are_stronger_than_variables_and_these_than_the_file() {
        let file = "engines = 2\ncpu_workers = 3\npace_mhz = 4\n\n[http]\nconnections_max = 7\n";
        let sources = read(
            file,
            &[
                ("FAAM_CPU_WORKERS", "30"),
                ("FAAM_PACE", "40"),
                ("FAAM_HTTP_BODY_BYTES_MAX", ""),
            ],
            &[("pace_mhz", "400")],
        )
        .expect("accepted");
        let draft = &sources.draft;
        assert_eq!(draft.simulated.engines, 2);
        assert_eq!(draft.gateway.dispatch.cpu_workers, 30);
        assert_eq!(draft.simulated.pace_mhz, Some(400));
        assert_eq!(draft.gateway.limits.connections_max, 7);
        let origin = |key| sources.origin(by_key(key).expect("known")).to_string();
        assert!(origin("engines").ends_with(":1"), "{}", origin("engines"));
        assert!(origin("http.connections_max").ends_with(":6"));
        assert_eq!(origin("cpu_workers"), "environment, FAAM_CPU_WORKERS");
        assert_eq!(origin("pace_mhz"), "flag, --pace");
        assert_eq!(origin("http.body_bytes_max"), "default");
    }

    #[test]
    fn a_key_that_nobody_knows_is_refused_with_the_nearest() {
        for (text, line, nearest) in [
            ("listne = \"127.0.0.1:1\"", ":1:", "\"listen\""),
            (
                "\n[http]\nbody_byte_max = 1",
                ":3:",
                "\"http.body_bytes_max\"",
            ),
            ("connections_max = 1", ":1:", "\"http.connections_max\""),
            (
                "[htpp]\nbody_bytes_max = 1",
                ":2:",
                "\"http.body_bytes_max\"",
            ),
            ("zzz = 1", ":1:", "--check"),
            ("[http.body]\nbytes_max = 1", ":1:", "http.body"),
        ] {
            let error = read(text, &[], &[]).expect_err(text).to_string();
            assert!(
                error.contains(line) && error.contains(nearest),
                "{text}: {error}"
            );
        }
    }

    #[test]
    fn a_wrong_value_is_named_with_its_place() {
        for (text, words) in [
            ("listen = 8080", [":1)", "127.0.0.1:8080"]),
            ("[tenant]\nratio_max = 0", [":2)", "expected 1 to"]),
            ("[tenant]\nratio_max = 1.5", [":2)", "float"]),
            ("engines = [1, 2]", [":1)", "one value"]),
            ("x = ", [":1:", "TOML"]),
        ] {
            let error = read(text, &[], &[]).expect_err(text).to_string();
            for word in words {
                assert!(error.contains(word), "{text}: {error}");
            }
        }
        let error = read("", &[("FAAM_ENGINES", "x")], &[]).expect_err("no number");
        assert!(error.to_string().contains("FAAM_ENGINES"), "{error}");
    }

    #[test]
    fn a_list_is_an_array_in_the_file_and_has_commas_in_the_environment() {
        let devices = |sources: Sources| {
            sources
                .draft
                .finish()
                .expect("a configuration")
                .dispatch
                .cards
                .len()
        };
        let file = "devices = [\"sim:2\", \"vfio-user:/run/card\"]";
        assert_eq!(devices(read(file, &[], &[]).expect("accepted")), 3);
        let variables = [("FAAM_DEVICES", "sim,vfio-user:/run/card")];
        assert_eq!(devices(read("", &variables, &[]).expect("accepted")), 2);
        // Rules have commas of their own.
        let rules = |sources: Sources| {
            let rules = sources.draft.simulated.faults.rules;
            rules.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let expected = ["gone,ms=5", "flips-a-bit"];
        let file = "sim_fault = [\"gone,ms=5\", \"flips-a-bit\"]";
        assert_eq!(rules(read(file, &[], &[]).expect("accepted")), expected);
        let variables = [("FAAM_SIM_FAULT", "gone,ms=5;flips-a-bit")];
        assert_eq!(
            rules(read("", &variables, &[]).expect("accepted")),
            expected
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_configuration_or_an_error(text in "[ -~\n]{0,200}") {
            let mut sources = Sources::default();
            let _ = sources.take_file(Path::new("x.toml"), &text);
        }
    }
}
