//! `faam`: the one binary.

use std::process::ExitCode;

use clap::Parser;

mod cli;
mod serve;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("faam: {error:#}");
            ExitCode::FAILURE
        }
    }
}
