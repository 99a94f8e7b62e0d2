//! `faam man`: a page for each command, and one for the configuration file.
//!
//! Owns the sections' order, and the page of settings, which comes from their table. Invariant: a page
//! says what `--help` says; there is no second text.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};

use crate::serve::settings::{Draft, Kind, SETTINGS};

/// Name of the page on the configuration file.
const FILE_PAGE: &str = "faam.toml";

/// What stands at the foot of each page.
const SOURCE: &str = concat!("faam ", env!("CARGO_PKG_VERSION"));

const EXAMPLES: &str = "\
Examples:
  faam man compress | man -l -
      the page of `faam compress`
  faam man --dir ~/.local/share/man/man1
      all of them, where `man faam` finds them; faam.toml.5 belongs into man5";

/// Print or write the manual pages
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ManPages {
    /// Page to print: a command (`device-ls` is that of `faam device ls`), or faam.toml for the settings [default: faam]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    page: Option<String>,
    /// Write all pages into this directory, which is made if it is not there
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: Option<PathBuf>,
}

impl ManPages {
    /// Print a page of `command`, or write all.
    ///
    /// # Errors
    /// A page that is not there, a directory that cannot be written.
    pub(crate) fn run(&self, command: Command) -> anyhow::Result<()> {
        let pages = pages(command)?;
        if let Some(dir) = &self.dir {
            fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
            for (name, text) in pages {
                let path = dir.join(name);
                fs::write(&path, text)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            return Ok(());
        }
        let wanted = match self.page.as_deref() {
            None | Some("faam") => "faam.1".to_owned(),
            Some(FILE_PAGE) => format!("{FILE_PAGE}.5"),
            Some(command) => format!("faam-{command}.1"),
        };
        let Some((_, text)) = pages.iter().find(|(name, _)| *name == wanted) else {
            let names: Vec<_> = pages.iter().map(|(name, _)| name.as_str()).collect();
            anyhow::bail!(
                "there is no page {wanted}: expected one of {}",
                names.join(", ")
            );
        };
        let mut out = io::stdout().lock();
        out.write_all(text)?;
        Ok(out.flush()?)
    }
}

/// Every page: its file's name and its text.
fn pages(command: Command) -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    add_pages(&command, &mut pages)?;
    pages.push((format!("{FILE_PAGE}.5"), file_page()?));
    Ok(pages)
}

/// The page of a command and, after it, those of its own commands.
fn add_pages(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    pages.push(page(command)?);
    let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set());
    shown.into_iter().try_for_each(|sub| add_pages(sub, pages))
}

fn page(command: &Command) -> io::Result<(String, Vec<u8>)> {
    let examples = command.get_after_help().map(ToString::to_string);
    let man = Man::new(command.clone().after_help(""))
        .source(SOURCE)
        .manual("FaaM");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.get_subcommands().any(|sub| !sub.is_hide_set()) {
        man.render_subcommands_section(&mut text)?;
    }
    if let Some(examples) = examples.filter(|text| !text.is_empty()) {
        let mut roff = Roff::new();
        roff.control("SH", ["EXAMPLES"]);
        roff.control("nf", []);
        for line in examples.lines().filter(|line| *line != "Examples:") {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
        roff.to_writer(&mut text)?;
    }
    let mut roff = Roff::new();
    see_also(&mut roff);
    roff.to_writer(&mut text)?;
    Ok((man.get_filename(), text))
}

fn file_page() -> io::Result<Vec<u8>> {
    let mut roff = Roff::new();
    roff.control("TH", [FILE_PAGE, "5", "", SOURCE, "FaaM"]);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{FILE_PAGE} - settings of faam serve"))]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([
        roman("TOML, read by "),
        bold("faam serve --config"),
        roman(" or FAAM_CONFIG. Each setting also has an environment variable, which is stronger than the file, and some "),
        roman("have a flag, which is stronger than both. A dotted key is a key in a section. A key that is not known is an error. "),
        bold("faam serve --check"),
        roman(" shows all settings and where they come from."),
    ]);
    roff.control("SH", ["SETTINGS"]);
    let draft = Draft::default();
    for setting in SETTINGS {
        roff.control("TP", []);
        roff.text([bold(setting.key), roman("  "), italic(kind(setting.kind))]);
        let flag = setting
            .flag
            .map_or_else(String::new, |(flag, _)| format!(", --{flag}"));
        // Paths and numbers of this very machine are no defaults that a manual could name.
        let default = match setting.key {
            "sim_program" | "cpu_workers" => "chosen at the start".to_owned(),
            _ => setting.shown(&draft),
        };
        roff.text([roman(format!(
            "{}. Default: {default}. {}{flag}.",
            setting.about,
            setting.variable()
        ))]);
    }
    roff.control("SH", ["EXAMPLE"]);
    roff.control("nf", []);
    for line in [
        "listen = \"127.0.0.1:8080\"",
        "devices = [\"sim:2\"]",
        "",
        "[http]",
        "body_bytes_max = \"256 MiB\"",
        "",
        "[tenant]",
        "in_flight_max = 64",
    ] {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    see_also(&mut roff);
    let mut text = Vec::new();
    roff.to_writer(&mut text)?;
    Ok(text)
}

fn see_also(roff: &mut Roff) {
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("faam"),
        roman("(1), "),
        bold(FILE_PAGE),
        roman("(5), "),
        bold("gzip"),
        roman("(1)"),
    ]);
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Secret => "text",
        Kind::List => "list of texts",
        Kind::Rules => "list of texts, in a variable with ; between",
        Kind::Count(..) => "whole number",
        Kind::Bytes(..) => "bytes, or text with KiB, MiB, GiB",
        Kind::Millis(..) => "milliseconds, or text with ms, s, m, h",
    }
}
