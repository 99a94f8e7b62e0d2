//! `faam compress` and `faam decompress`: as gzip's users expect, through a gateway.
//!
//! Owns the order of files and the exit status: 0, 1 after an error, 2 after a warning.
//! Invariants: a source is removed only once its whole result is on the disk under its name; after
//! an error the next file is tried; a signal leaves sources as they were and nothing half-made.

mod endings;
mod flags;
mod level;
mod names;
mod progress;
mod sink;
mod source;
mod transfer;

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use faam_codec::{Format, Level};
use serde_json::{Value, json};
use tokio::runtime::Builder;
use tokio::signal::unix::SignalKind;

use self::endings::Endings;
pub(crate) use self::flags::{Compress, Decompress};
use self::flags::{FileFlags, FormatOrAuto};
pub(crate) use self::level::spelled_out;
use self::progress::{Progress, Talk};
use self::sink::{Sink, SinkError};
use self::source::{Allowed, Source, SourceError};
use self::transfer::{Converted, Input, Order, TransferError, convert};
use super::GatewayFlags;
use super::call::{CallError, Caller, Link};

/// Which way.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Compress {
        format: Format,
        level: Option<Level>,
    },
    Decompress(Option<FormatOrAuto>),
}

/// How a file, and then all of it, ended: the worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Done,
    Warning,
    Error,
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Done => Self::SUCCESS,
            Ending::Error => Self::FAILURE,
            Ending::Warning => Self::from(2),
        }
    }
}

/// Why it stops before the last file.
enum Stop {
    /// Nobody reads our output: end as gzip does, by the signal.
    Closed,
}

struct Run {
    kind: Kind,
    flags: FileFlags,
    caller: Caller,
    link: Option<Link>,
    progress: Progress,
    /// Any result goes to standard output.
    to_stdout: bool,
}

impl Run {
    fn new(kind: Kind, mut flags: FileFlags, gateway: &GatewayFlags) -> anyhow::Result<Self> {
        anyhow::ensure!(
            !flags.recursive,
            "there is no -r: name the files, for example with `find DIR -type f -exec faam compress {{}} +`"
        );
        anyhow::ensure!(
            !flags.list,
            "there is no -l: `gzip -l FILE` reads it without a gateway"
        );
        let decompress = matches!(kind, Kind::Decompress(_));
        if flags.files.is_empty() {
            flags.files.push("-".into());
        }
        let stdin = flags.files.iter().any(|file| is_stdin(file));
        let to_stdout = flags.stdout || stdin;
        if to_stdout && !decompress && !flags.force {
            anyhow::ensure!(
                !io::stdout().is_terminal(),
                "compressed data is not written to a terminal: redirect it, or say -f"
            );
        }
        if stdin && decompress && !flags.force {
            anyhow::ensure!(
                !io::stdin().is_terminal(),
                "compressed data is not read from a terminal: name a file, redirect one, or say -f"
            );
        }
        let talk = match (flags.quiet, flags.verbose) {
            (true, _) => Talk::Quiet,
            (_, true) => Talk::Verbose,
            _ => Talk::Normal,
        };
        let shares_terminal = to_stdout && !flags.test && io::stdout().is_terminal();
        Ok(Self {
            kind,
            caller: gateway.caller()?,
            link: None,
            progress: Progress::new(talk, decompress, shares_terminal),
            to_stdout,
            flags,
        })
    }

    fn run(mut self) -> anyhow::Result<ExitCode> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(async {
            let mut endings = Endings::new()?;
            anyhow::Ok(tokio::select! {
                ending = self.all() => ending.map_err(|Stop::Closed| SignalKind::pipe()),
                signal = endings.next() => Err(signal),
            })
        })?;
        // A thread may still wait for standard input: nobody waits for it.
        runtime.shutdown_background();
        match ended {
            Ok(ending) => Ok(ending.into()),
            Err(signal) => {
                // What was begun has been removed with the work. A shell sees that a signal ended us.
                signal_hook::low_level::emulate_default_handler(signal.as_raw_value())?;
                Ok(ExitCode::FAILURE)
            }
        }
    }

    async fn all(&mut self) -> Result<Ending, Stop> {
        let mut worst = Ending::Done;
        if self.flags.name {
            self.progress.next("faam", None);
            self.progress
                .warning("-N has no effect: the gateway stores no name and no time");
            worst = Ending::Warning;
        }
        for file in std::mem::take(&mut self.flags.files) {
            worst = worst.max(self.one(&file).await?);
        }
        Ok(worst)
    }

    async fn one(&mut self, file: &Path) -> Result<Ending, Stop> {
        let name = if is_stdin(file) {
            "standard input".to_owned()
        } else {
            file.display().to_string()
        };
        self.progress.next(&name, None);
        let ended = self.try_one(file).await;
        let (mut ending, facts) = match ended {
            Ok((target, converted)) => {
                self.progress.done(&converted, self.flags.test);
                (Ending::Done, json_of(&converted, target.as_deref()))
            }
            Err(FileError::Transfer(TransferError::Sink(SinkError::Closed))) => {
                return Err(Stop::Closed);
            }
            Err(FileError::Ignored(text)) => {
                self.progress.warning(&text);
                (Ending::Warning, json!({ "warning": text }))
            }
            Err(error) => {
                let text = without_numbers(&format!("{:#}", anyhow::Error::new(error)));
                self.progress.error(&text);
                (Ending::Error, json!({ "error": text }))
            }
        };
        if self.flags.json
            && let Err(error) = self.print_json(&name, ending, facts)
        {
            if error.kind() == io::ErrorKind::BrokenPipe {
                return Err(Stop::Closed);
            }
            let text = format!("cannot write standard output: {error}");
            self.progress.error(&without_numbers(&text));
            ending = Ending::Error;
        }
        Ok(ending)
    }

    async fn try_one(&mut self, file: &Path) -> Result<(Option<PathBuf>, Converted), FileError> {
        let suffix = self.flags.suffix.clone();
        let own_suffix = suffix.as_deref();
        let (input, target) = if is_stdin(file) {
            (Input::Stdin, None)
        } else {
            let source = self.open(file, own_suffix)?;
            let target = match self.flags.test || self.flags.stdout {
                true => None,
                false => Some(self.target(&source.path, own_suffix)?),
            };
            self.progress.next(
                &source.path.display().to_string(),
                Some(source.metadata.len()),
            );
            (Input::File(Box::new(source)), target)
        };
        let mut sink = match &target {
            Some(target) => {
                let overwrite = self.may_write(target).await?;
                Sink::beside(target, overwrite)?
            }
            None if self.flags.test => Sink::Nowhere,
            None => Sink::Stdout,
        };
        let order = self.order(&input);
        let converted = convert(
            &self.caller,
            &mut self.link,
            &order,
            &input,
            &mut sink,
            &mut self.progress,
        )
        .await?;
        let Input::File(source) = &input else {
            return Ok((target, converted));
        };
        if target.is_none() {
            return Ok((target, converted));
        }
        if !source.is_unchanged() {
            return Err(FileError::Changed);
        }
        sink.finish(Some(&source.metadata))?;
        if !self.flags.keep {
            // Once more: the disk may have taken its time.
            if !source.is_unchanged() {
                return Err(FileError::ChangedLate);
            }
            std::fs::remove_file(&source.path).map_err(FileError::Remove)?;
        }
        Ok((target, converted))
    }

    /// The file of that name; where it is to be decompressed and there is none, that name with a suffix.
    fn open(&self, file: &Path, suffix: Option<&str>) -> Result<Source, FileError> {
        let removes = !self.flags.keep && !self.flags.stdout && !self.flags.test;
        let allowed = Allowed {
            links: self.flags.force || self.flags.stdout || self.flags.test,
            other_names: self.flags.force || !removes,
        };
        let error = match Source::open(file, allowed) {
            Err(SourceError::Open(error)) if error.kind() == io::ErrorKind::NotFound => error,
            opened => return Ok(opened?),
        };
        if let Kind::Decompress(_) = self.kind {
            for candidate in names::with_each_suffix(file, suffix) {
                if std::fs::symlink_metadata(&candidate).is_ok() {
                    return Ok(Source::open(&candidate, allowed)?);
                }
            }
        }
        Err(SourceError::Open(error).into())
    }

    fn target(&self, source: &Path, suffix: Option<&str>) -> Result<PathBuf, FileError> {
        match self.kind {
            Kind::Compress { format, .. } => match names::known_suffix(source, suffix) {
                Some(known) if !self.flags.force => Err(FileError::Ignored(format!(
                    "already has the suffix {known} -- unchanged"
                ))),
                _ => {
                    let suffix = suffix.map_or_else(|| names::suffix_of(format), str::to_owned);
                    Ok(names::with_suffix(source, &suffix))
                }
            },
            Kind::Decompress(_) => names::without_suffix(source, suffix).ok_or_else(|| {
                FileError::Ignored(
                    "unknown suffix -- ignored (-S names one, -c writes to standard output)".into(),
                )
            }),
        }
    }

    /// Whether `target` may be overwritten: asks where it is there and somebody can be asked.
    async fn may_write(&self, target: &Path) -> Result<bool, FileError> {
        if self.flags.force || std::fs::symlink_metadata(target).is_err() {
            return Ok(self.flags.force);
        }
        let exists = || FileError::Ignored(SinkError::Exists(target.to_owned()).to_string());
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            return Err(exists());
        }
        // Without a reader there is no answer either.
        let _ = write!(
            io::stderr(),
            "faam: {} already exists; overwrite (y or n)? ",
            target.display()
        );
        // On a thread, so that a signal still ends us.
        let answer = tokio::task::spawn_blocking(|| {
            let mut answer = String::new();
            io::stdin().read_line(&mut answer).map(|_| answer)
        });
        match answer.await {
            Ok(Ok(answer)) if answer.trim().eq_ignore_ascii_case("y") => Ok(true),
            _ => Err(exists()),
        }
    }

    fn order(&self, input: &Input) -> Order {
        let (target, gzip_trailer) = match self.kind {
            Kind::Compress { format, level } => {
                let level = level.map_or_else(String::new, |level| format!("&level={level}"));
                (
                    format!("/v1/compress?format={format}{level}"),
                    format == Format::Gzip,
                )
            }
            Kind::Decompress(format) => {
                let by_name = match input {
                    Input::File(source) => names::format_by_suffix(&source.path),
                    Input::Stdin => None,
                };
                let format = match format {
                    None => by_name.unwrap_or("auto"),
                    Some(FormatOrAuto::Auto) => "auto",
                    Some(FormatOrAuto::Format(format)) => format.name(),
                };
                (format!("/v1/decompress?format={format}"), false)
            }
        };
        Order {
            target,
            backend: self.flags.backend.as_str(),
            deadline: self.flags.deadline,
            gzip_trailer,
            retries: self.flags.retries,
        }
    }

    fn print_json(&self, name: &str, ending: Ending, facts: Value) -> io::Result<()> {
        let status = match ending {
            Ending::Done => "ok",
            Ending::Warning => "warning",
            Ending::Error => "error",
        };
        let mut line = json!({ "file": name, "status": status });
        if let (Some(line), Value::Object(facts)) = (line.as_object_mut(), facts) {
            line.extend(facts);
        }
        let line = format!("{line}\n");
        if self.to_stdout && !self.flags.test {
            // That nobody reads it is no reason to stop: the result goes elsewhere.
            let _ = io::stderr().write_all(line.as_bytes());
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(line.as_bytes())?;
        out.flush()
    }
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// A message without the system's numbers, which std adds to each of its own.
fn without_numbers(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(" (os error ") {
        out.push_str(before);
        rest = after.split_once(')').map_or("", |(_, after)| after);
    }
    out + rest
}

fn json_of(converted: &Converted, target: Option<&Path>) -> Value {
    let seconds = converted.elapsed.as_secs_f64();
    let mut value = json!({
        "bytes_in": converted.bytes_in,
        "bytes_out": converted.bytes_out,
        "seconds": seconds,
        "retries": converted.retries,
        "target": target.map(|target| target.display().to_string()),
    });
    if let (Some(value), Ok(Value::Object(facts))) = (
        value.as_object_mut(),
        serde_json::to_value(&converted.facts),
    ) {
        value.extend(facts);
    }
    value
}

/// Why a file was not converted, or stays beside its result.
#[derive(Debug, thiserror::Error)]
enum FileError {
    /// A warning.
    #[error("{0}")]
    Ignored(String),
    #[error(transparent)]
    Open(io::Error),
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error(
        "it changed while it was read; nothing was written: try again once nobody writes to it"
    )]
    Changed,
    #[error(
        "it changed after it was read; its result is there, of what it was, and it stays beside it"
    )]
    ChangedLate,
    #[error("its result is there, but it cannot be removed itself")]
    Remove(#[source] io::Error),
}

impl From<SourceError> for FileError {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Open(error) => Self::Open(error),
            SourceError::Ignored(text) => Self::Ignored(text),
        }
    }
}

impl From<SinkError> for FileError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Exists(_) => Self::Ignored(error.to_string()),
            error => Self::Transfer(error.into()),
        }
    }
}

impl From<CallError> for FileError {
    fn from(error: CallError) -> Self {
        Self::Transfer(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_without_numbers() {
        let text = "x: cannot read: No such file or directory (os error 2): y (os error 9)";
        assert_eq!(
            without_numbers(text),
            "x: cannot read: No such file or directory: y"
        );
    }
}
