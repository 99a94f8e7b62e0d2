//! `faam`: the one binary.

use std::process::ExitCode;

use clap::Parser;

mod cli;
mod client;
mod completions;
mod man_pages;
mod probe;
mod quantity;
mod serve;

fn main() -> ExitCode {
    match cli::Cli::parse_from(client::convert::spelled_out(std::env::args_os())).run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("faam: {error:#}");
            ExitCode::FAILURE
        }
    }
}
