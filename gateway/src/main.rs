//! `faam`: the one binary.

use std::process::ExitCode;

use clap::Parser;

mod cli;
mod quantity;
mod serve;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("faam: {error:#}");
            ExitCode::FAILURE
        }
    }
}
