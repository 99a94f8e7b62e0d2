//! `-1` to `-12`, `--fast`, `--best`, `--level N`: the last one counts, as with gzip.
//!
//! Owns the flags and their order. clap knows short flags of one character only, so the words of
//! two digits are spelled out for it first.

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use faam_codec::Level;

/// The level that was asked for, if one was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LevelFlags(pub(crate) Option<Level>);

/// Names of the flags whose value is a level of their own.
const NAMED: [(&str, Level, &str); 2] = [
    ("fast", Level::MIN, "As -1"),
    ("best", Level::MAX, "As -12"),
];
const DIGITS: [char; 9] = ['1', '2', '3', '4', '5', '6', '7', '8', '9'];

impl Args for LevelFlags {
    fn augment_args(command: Command) -> Command {
        let level = Arg::new("level")
            .long("level")
            .value_name("1..12")
            .value_parser(|word: &str| word.parse::<Level>())
            .action(ArgAction::Append)
            .help(format!(
                "Effort, from 1 (fastest) to 12 (densest); also -1 to -12 [default: {}]",
                Level::DEFAULT
            ));
        let named = NAMED.map(|(name, _, help)| {
            Arg::new(name)
                .long(name)
                .action(ArgAction::SetTrue)
                .overrides_with(name)
                .help(help)
        });
        let digits = DIGITS.map(|digit| {
            let id = digit.to_string();
            Arg::new(id.clone())
                .short(digit)
                .action(ArgAction::SetTrue)
                .overrides_with(id)
                .hide(true)
        });
        command.arg(level).args(named).args(digits)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for LevelFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let place = |id: &str| {
            let given = matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine);
            given.then(|| matches.indices_of(id)?.next_back()).flatten()
        };
        let mut last: Option<(usize, Level)> = None;
        let mut take = |place: Option<usize>, level: Option<Level>| {
            if let Some(found) = place.zip(level)
                && last.is_none_or(|(earlier, _)| earlier < found.0)
            {
                last = Some(found);
            }
        };
        let levels = matches.get_many::<Level>("level");
        take(
            place("level"),
            levels.and_then(|mut levels| levels.next_back().copied()),
        );
        for (name, level, _) in NAMED {
            take(place(name), Some(level));
        }
        for digit in DIGITS {
            let level = digit.to_string();
            take(place(&level), level.parse().ok());
        }
        Ok(Self(last.map(|(_, level)| level)))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// `-10`, `-11` and `-12` as clap can read them; everything after `--` is left as it is.
pub(crate) fn spelled_out(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut options = true;
    let mut first = true;
    let mut compress = false;
    words
        .map(|word| {
            let text = word.to_str().unwrap_or_default();
            if !first && !compress {
                compress = text == "compress";
            }
            first = false;
            options = options && text != "--";
            match text {
                "-10" | "-11" | "-12" if options && compress => {
                    format!("--level={}", text.trim_start_matches('-')).into()
                }
                _ => word,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[arg(short)]
        keep: bool,
        #[command(flatten)]
        level: LevelFlags,
        files: Vec<String>,
    }

    #[track_caller]
    fn level(words: &[&str], expected: Option<u8>) {
        let words = ["faam", "compress"].iter().chain(words).map(OsString::from);
        let line = Line::try_parse_from(spelled_out(words).into_iter().skip(1));
        let line = line.unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(
            line.level.0.map(Level::get),
            expected,
            "keep {} files {:?}",
            line.keep,
            line.files
        );
    }

    #[test]
    fn the_last_one_counts() {
        level(&[], None);
        level(&["-9"], Some(9));
        level(&["-k9"], Some(9));
        level(&["-1", "-9", "-6", "x"], Some(6));
        level(&["-12"], Some(12));
        level(&["--best", "--fast"], Some(1));
        level(&["--level", "4", "-k", "--level=5", "x"], Some(5));
        level(&["-9", "--level=5", "--best"], Some(12));
        level(&["-9", "--", "-12"], Some(9));
    }

    #[test]
    fn other_numbers_are_refused() {
        for word in ["-0", "--level=13", "--level=0", "--level=fast"] {
            assert!(Line::try_parse_from(["faam", word]).is_err(), "{word}");
        }
    }
}
