//! Any configuration file under any environment.

#![expect(clippy::panic, reason = "a panic is how a target says what it found")]

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::Path;

use super::settings::{Draft, Kind, SETTINGS};
use super::sources::{SettingsError, Sources};

/// Variables of one input.
const VARIABLES_MAX: usize = 8;

/// Panics if an error does not say where, or if settings that were taken are not taken again as they are shown.
///
/// Lines up to one of a single NUL are the file; then the variables, one a line: a setting's number and the value.
pub(crate) fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (file, variables) = text.split_once("\0\n").unwrap_or((&text, ""));
    let variables: HashMap<String, OsString> = variables
        .lines()
        .take(VARIABLES_MAX)
        .filter_map(|line| {
            let (number, value) = line.split_once('=')?;
            let setting = SETTINGS.get(number.parse::<usize>().ok()?)?;
            Some((setting.variable(), value.into()))
        })
        .collect();
    let mut sources = Sources::default();
    let read = sources
        .take_file(Path::new("faam.toml"), file)
        .and_then(|()| sources.take_environment(|name| variables.get(name).cloned()));
    match read {
        Err(error) => check_error(&error),
        Ok(()) => check_settings(&sources.draft),
    }
}

fn check_error(error: &SettingsError) {
    let text = error.to_string();
    match error {
        SettingsError::Syntax { .. } => assert!(text.starts_with("faam.toml:"), "{text}"),
        SettingsError::UnknownKey { key, .. } => {
            assert!(text.starts_with("faam.toml:"), "{text}");
            assert!(text.contains(&format!("{key:?}")), "{text}");
        }
        SettingsError::Value { key, .. } => assert!(text.starts_with(key), "{text}"),
        SettingsError::Together(_)
        | SettingsError::Read { .. }
        | SettingsError::TooLarge { .. } => panic!("not of a text: {text}"),
    }
}

fn check_settings(draft: &Draft) {
    let mut again = Draft::default();
    for setting in SETTINGS {
        let values = setting.read(draft);
        if let Err(error) = setting.write(&mut again, &values) {
            panic!("{} is shown as {values:?}: {error}", setting.key);
        }
        assert_eq!(setting.read(&again), values, "{}", setting.key);
        if setting.kind == Kind::Secret {
            let shown = setting.shown(draft);
            let kept = matches!(&*shown, "none" | "(set, not shown)");
            assert!(kept, "{} is shown as {shown:?}", setting.key);
        }
    }
    if let Err(error) = draft.finish() {
        assert!(!error.is_empty());
    }
}
