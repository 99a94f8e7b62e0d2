//! `rig-naive LEVEL`: the loop around libdeflate that one writes in an afternoon: axum, the whole body, `spawn_blocking`,
//! a compressor a request. Its answers are not verified.
//!
//! Prints `listening on ADDRESS`.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt;
use libdeflater::{CompressionLvl, Compressor};

async fn compress(State(level): State<CompressionLvl>, body: Bytes) -> Response {
    let compressed = tokio::task::spawn_blocking(move || {
        let mut compressor = Compressor::new(level);
        let mut out = vec![0; compressor.gzip_compress_bound(body.len())];
        let length = compressor.gzip_compress(&body, &mut out).ok()?;
        out.truncate(length);
        Some(out)
    });
    match compressed.await {
        Ok(Some(out)) => ([(header::CONTENT_TYPE, "application/gzip")], out).into_response(),
        _ => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Small answers are not held back (Nagle), as no server should.
fn no_delay(stream: &mut tokio::net::TcpStream) {
    let _ = stream.set_nodelay(true);
}

fn main() -> std::io::Result<()> {
    let level = std::env::args()
        .nth(1)
        .and_then(|level| level.parse().ok())
        .and_then(|level| CompressionLvl::new(level).ok());
    let Some(level) = level else {
        eprintln!("usage: rig-naive LEVEL, 1 to 12");
        std::process::exit(2);
    };
    let router = Router::new()
        .route("/", post(compress))
        .layer(DefaultBodyLimit::disable())
        .with_state(level);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?);
        axum::serve(listener.tap_io(no_delay), router).await
    })
}
