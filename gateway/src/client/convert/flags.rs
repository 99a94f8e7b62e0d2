//! The words of `faam compress` and `faam decompress`.
//!
//! Owns flags and help. What they do is the run's.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use faam_codec::Format;

use super::level::LevelFlags;
use super::transfer::{RETRIES, RETRIES_MAX};
use super::{Kind, Run, names};
use crate::client::{Backend, GatewayFlags};
use crate::quantity;

/// Longest `--deadline`, the gateway's own bound.
const DEADLINE_MS_MAX: u64 = faam_gateway::http::options::DEADLINE_MS_MAX;

const COMPRESS_EXAMPLES: &str = "\
Examples:
  faam compress README.md
      README.md.gz in its place, with its permissions and times
  faam compress -k9 *.log
      keep the logs; level 9
  tar c src | faam compress >src.tar.gz
      from standard input to standard output, as it comes
  faam compress --format zstd --backend prefer-hw -v data.json
      data.json.zst, on a card while one serves; says what served it
  faam compress -c --level 12 big.bin | ssh host 'cat >big.bin.gz'
  find . -name '*.csv' -exec faam compress {} +
      a directory: there is no -r

Exit status: 0; 1 after an error; 2 after a warning (a file that was left alone).
The gateway stores no name and no time in what it makes: -n is always on.";

const DECOMPRESS_EXAMPLES: &str = "\
Examples:
  faam decompress README.md.gz
      README.md in its place
  faam decompress -c access.log.gz | grep 404
  curl -s https://example.org/x.gz | faam decompress >x
  faam decompress -tv *.gz
      only whether they are whole

The format is recognised by its first bytes; raw DEFLATE by the suffix .deflate or with --format deflate.
Exit status: 0; 1 after an error; 2 after a warning (a file that was left alone).";

/// Compress files through a gateway, as gzip would
#[derive(Debug, Args)]
#[command(after_help = COMPRESS_EXAMPLES)]
pub(crate) struct Compress {
    #[command(flatten)]
    level: LevelFlags,
    #[arg(long, value_name = "FORMAT", help = format!("Format of the result: {} [default: gzip]", formats()))]
    format: Option<Format>,
    /// Decompress, as `faam decompress`
    #[arg(short, long, visible_alias = "uncompress", conflicts_with_all = ["level", "format"])]
    decompress: bool,
    #[command(flatten)]
    files: FileFlags,
    #[command(flatten)]
    gateway: GatewayFlags,
}

/// Decompress files through a gateway, as gunzip would
#[derive(Debug, Args)]
#[command(after_help = DECOMPRESS_EXAMPLES)]
pub(crate) struct Decompress {
    #[arg(long, value_name = "FORMAT", value_parser = parse_format_or_auto, help = format!("Format of the input: auto, {} [default: by its first bytes]", formats()))]
    format: Option<FormatOrAuto>,
    /// What this command does anyhow
    #[arg(short = 'd', long = "decompress", hide = true)]
    _decompress: bool,
    #[command(flatten)]
    files: FileFlags,
    #[command(flatten)]
    gateway: GatewayFlags,
}

/// The formats, as a list for people.
fn formats() -> String {
    Format::ALL.map(Format::name).join(", ")
}

/// A format that is named, or found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormatOrAuto {
    Auto,
    Format(Format),
}

fn parse_format_or_auto(word: &str) -> Result<FormatOrAuto, String> {
    if word == "auto" {
        return Ok(FormatOrAuto::Auto);
    }
    word.parse()
        .map(FormatOrAuto::Format)
        .map_err(|error: faam_codec::FormatError| format!("{error}, or auto"))
}

/// What both have in common.
#[derive(Debug, Args)]
pub(super) struct FileFlags {
    /// Files; none, or `-`, is standard input to standard output
    #[arg(value_hint = clap::ValueHint::FilePath)]
    pub(super) files: Vec<PathBuf>,
    /// Write to standard output, and keep the files
    #[arg(short = 'c', long, visible_alias = "to-stdout")]
    pub(super) stdout: bool,
    /// Keep the files
    #[arg(short, long)]
    pub(super) keep: bool,
    /// Overwrite, follow symbolic links, take files with other names or a known suffix, and write to a terminal
    #[arg(short, long)]
    pub(super) force: bool,
    /// Only test whether compressed files are whole
    #[arg(short, long)]
    pub(super) test: bool,
    /// Suffix of compressed files [default: by format: .gz, .zz, .deflate, .zst, .lz4]
    #[arg(short = 'S', long, value_name = ".SUF", value_parser = names::parse_suffix)]
    pub(super) suffix: Option<String>,
    /// No warnings, no progress
    #[arg(short, long, conflicts_with = "verbose")]
    pub(super) quiet: bool,
    /// A line for each file, also where it is no terminal
    #[arg(short, long)]
    pub(super) verbose: bool,
    /// A line of JSON for each file, on standard output (on standard error where the result goes there)
    #[arg(long)]
    pub(super) json: bool,
    /// Store no name and no time: always so
    #[arg(short = 'n', long, hide = true)]
    pub(super) no_name: bool,
    /// Store the name and the time: not offered
    #[arg(short = 'N', long, hide = true)]
    pub(super) name: bool,
    /// Directories: not offered
    #[arg(short = 'r', long, hide = true)]
    pub(super) recursive: bool,
    /// List: not offered
    #[arg(short = 'l', long, hide = true)]
    pub(super) list: bool,
    /// Engines that may serve: whichever ends soonest; a card or nothing; a card while one serves; the CPU
    #[arg(long, value_enum, default_value = "auto")]
    pub(super) backend: Backend,
    /// Give up after this long, for each file: 250ms, 5s, 2m
    #[arg(long, value_name = "TIME", value_parser = parse_deadline)]
    pub(super) deadline: Option<Duration>,
    /// How often a file is sent again when the gateway is full or the connection breaks before an answer
    #[arg(long, value_name = "NUMBER", default_value_t = RETRIES, value_parser = clap::value_parser!(u8).range(0..=i64::from(RETRIES_MAX)))]
    pub(super) retries: u8,
}

fn parse_deadline(text: &str) -> Result<Duration, String> {
    let ms = quantity::parse_ms(text)?;
    if !(1..=DEADLINE_MS_MAX).contains(&ms) {
        return Err(format!(
            "expected 1 ms to {}, got {text}",
            quantity::show_ms(DEADLINE_MS_MAX)
        ));
    }
    Ok(Duration::from_millis(ms))
}

impl Compress {
    /// Run it.
    ///
    /// # Errors
    /// What keeps it from beginning; what happens to a file is told as it happens.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let kind = if self.decompress || self.files.test {
            Kind::Decompress(None)
        } else {
            Kind::Compress {
                format: self.format.unwrap_or(Format::Gzip),
                level: self.level.0,
            }
        };
        Run::new(kind, self.files, &self.gateway)?.run()
    }
}

impl Decompress {
    /// Run it.
    ///
    /// # Errors
    /// As [`Compress::run`].
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        Run::new(Kind::Decompress(self.format), self.files, &self.gateway)?.run()
    }
}
