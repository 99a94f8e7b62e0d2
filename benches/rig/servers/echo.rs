//! `rig-echo`: answers a POST with its own body. The floor: what HTTP alone costs. It is also a collector that takes spans
//! and forgets them (OTLP over HTTP: an empty answer says that all were taken).
//!
//! Prints `listening on ADDRESS`. Started by the rig with `naive`'s frame, so that both differ in the codec alone.

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use axum::serve::ListenerExt;

/// Small answers are not held back (Nagle), as no server should.
fn no_delay(stream: &mut tokio::net::TcpStream) {
    let _ = stream.set_nodelay(true);
}

fn main() -> std::io::Result<()> {
    let router = Router::new()
        .route("/", post(|body: Bytes| async { body }))
        .route("/v1/traces", post(|_: Bytes| async {}))
        .layer(DefaultBodyLimit::disable());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        println!("listening on {}", listener.local_addr()?);
        axum::serve(listener.tap_io(no_delay), router).await
    })
}
