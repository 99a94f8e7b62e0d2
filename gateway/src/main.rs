//! `faam`: the one binary.

use std::process::ExitCode;

use clap::Parser;
use signal_hook::consts::SIGPIPE;

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
        Err(error) if reader_is_gone(&error) => {
            // As every tool in a pipe whose reader has seen enough: quietly, by the signal.
            let _ = signal_hook::low_level::emulate_default_handler(SIGPIPE);
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("faam: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nobody reads our standard output any more.
fn reader_is_gone(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
