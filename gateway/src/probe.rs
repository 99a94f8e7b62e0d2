//! `faam probe`: whether a gateway answers, as an exit status.
//!
//! For health checks where there is no curl, in a container above all. It asks `/healthz` or `/readyz` on the admin
//! listener, once, within a time. It knows no keys.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

/// Longest status line that is read, in bytes.
const STATUS_LINE_BYTES_MAX: u64 = 256;

const EXAMPLES: &str = "\
Examples:
  faam probe && echo alive
      asks 127.0.0.1:8081/healthz
  faam probe --ready --admin 127.0.0.1:9000
      whether it takes requests: not while it drains";

/// Ask a running gateway whether it is alive; exit 0 or 1
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Probe {
    /// Its admin listener
    #[arg(
        long,
        env = "FAAM_ADMIN_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8081"
    )]
    admin: SocketAddr,
    /// Ask whether it is ready for requests, not only alive
    #[arg(long)]
    ready: bool,
    /// How long it may take, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    timeout_ms: u64,
}

impl Probe {
    /// Asks.
    ///
    /// # Errors
    /// No answer, or none of HTTP.
    pub(crate) fn run(&self) -> anyhow::Result<ExitCode> {
        let path = if self.ready { "/readyz" } else { "/healthz" };
        let status = self
            .ask(path)
            .with_context(|| format!("http://{}{path} did not answer", self.admin))?;
        if status == 200 {
            return Ok(ExitCode::SUCCESS);
        }
        // The status says it as well.
        let _ = writeln!(
            io::stderr(),
            "faam: http://{}{path} says {status}",
            self.admin
        );
        Ok(ExitCode::FAILURE)
    }

    fn ask(&self, path: &str) -> io::Result<u16> {
        let limit = Duration::from_millis(self.timeout_ms);
        let mut stream = TcpStream::connect_timeout(&self.admin, limit)?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin
        );
        stream.write_all(request.as_bytes())?;
        let mut line = String::new();
        BufReader::new(io::Read::take(stream, STATUS_LINE_BYTES_MAX)).read_line(&mut line)?;
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok());
        status.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("expected HTTP/1.1, got {line:?}"),
            )
        })
    }
}
