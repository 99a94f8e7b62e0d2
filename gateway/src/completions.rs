//! `faam completions SHELL`: what makes a shell complete our words.
//!
//! Owns nothing but the way out: clap knows the words, clap_complete the shells.

use std::io::{self, Write};

use clap::{Args, Command};
use clap_complete::{Shell, generate};

const EXAMPLES: &str = "\
Examples:
  source <(faam completions bash)
      in this shell; to keep it: faam completions bash >/etc/bash_completion.d/faam
  faam completions zsh >\"${fpath[1]}/_faam\"
  faam completions fish >~/.config/fish/completions/faam.fish";

/// Print a script that makes a shell complete faam's words
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    /// Print the script for `command`.
    ///
    /// # Errors
    /// Standard output is gone.
    pub(crate) fn run(&self, mut command: Command) -> io::Result<()> {
        let mut script = Vec::new();
        generate(self.shell, &mut command, "faam", &mut script);
        let mut out = io::stdout().lock();
        out.write_all(&script)?;
        out.flush()
    }
}
