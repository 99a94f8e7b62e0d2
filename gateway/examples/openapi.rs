//! Prints the OpenAPI document that the gateway serves: `make openapi` keeps it as gateway/openapi.json.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(faam_gateway::http::app::openapi().as_bytes())
}
