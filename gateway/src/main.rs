//! `faam`: the one binary.

#![cfg_attr(fuzzing, no_main)]
#![cfg_attr(
    fuzzing,
    expect(dead_code, reason = "a fuzz target calls readers of files alone")
)]

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use signal_hook::consts::SIGPIPE;

mod action_proxy;
mod admin_client;
mod backup;
mod cli;
mod client;
mod columns;
mod completions;
mod device;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod doctor;
mod event_log;
mod explain;
#[cfg(any(test, fuzzing))]
mod fuzzing;
mod image;
mod key;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod machine;
mod man_pages;
mod offline_store;
mod operator;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod pci;
mod plan;
mod plot;
mod probe;
mod quantity;
mod serve;
mod tenant;
mod top;
mod usage_export;

fn main() -> ExitCode {
    let words = client::convert::spelled_out(std::env::args_os());
    let cli = match cli::Cli::try_parse_from(words) {
        Ok(cli) => cli,
        Err(said) => {
            // Nobody may read it; the status says it as well. 2 is a warning, as with gzip, and this is none.
            let _ = said.print();
            return match said.use_stderr() {
                true => ExitCode::FAILURE,
                false => ExitCode::SUCCESS,
            };
        }
    };
    match cli.run() {
        Ok(code) => code,
        Err(error) if reader_is_gone(&error) => {
            // As every tool in a pipe whose reader has seen enough: quietly, by the signal.
            let _ = signal_hook::low_level::emulate_default_handler(SIGPIPE);
            ExitCode::FAILURE
        }
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "faam: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nobody reads our standard output any more.
fn reader_is_gone(error: &anyhow::Error) -> bool {
    let kind = match error.downcast_ref::<serde_json::Error>() {
        Some(error) => error.io_error_kind(),
        None => error.downcast_ref().map(std::io::Error::kind),
    };
    kind == Some(std::io::ErrorKind::BrokenPipe)
}
