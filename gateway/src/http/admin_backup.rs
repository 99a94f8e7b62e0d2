//! A copy of the store with the images for an operator: `GET /admin/v1/backup`.
//!
//! Invariants: what is sent is a copy of one moment, checked before its first byte leaves; it has no name while it is sent, so
//! that nothing of it stays, however the caller ends; one is made or sent at a time, so that there is one copy on the disk at
//! most. Where the caller puts it is the caller's, and how long it may take to is the connection's.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Response};
use axum::routing::get;
use faam_store::StoreError;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::OwnedMutexGuard;
use tokio::task::spawn_blocking;
use tokio_util::io::ReaderStream;

use super::app::App;
use crate::error::{Problem, ProblemKind, chain};
use crate::events::{OPERATOR, event};

/// Bytes read at once.
const PIECE_BYTES: usize = 64 << 10;
/// The copy's media type (IANA).
const MEDIA_TYPE: &str = "application/vnd.sqlite3";

/// The event of a backup that was made.
const MADE: &str = "store.backed-up";

/// A copy that is sent. It is on the disk, without a name, for as long as this lives.
struct Sending {
    file: tokio::fs::File,
    _turn: OwnedMutexGuard<()>,
}

impl AsyncRead for Sending {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(cx, into)
    }
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/admin/v1/backup", get(backup))
}

async fn backup(State(app): State<App>) -> Result<Response<Body>, Problem> {
    let Ok(turn) = Arc::clone(&app.backup_turn).try_lock_owned() else {
        return Err(Problem::new(
            ProblemKind::Saturated,
            "a backup is being made or sent already; ask again once it is done",
        ));
    };
    // Beside the store: there its gateway may write, whatever else it may not.
    let directory = TempDir::new_in(&app.spill_dir).map_err(|error| broken(&error))?;
    let path = directory.path().join("backup.db");
    let images = app.images.clone();
    let images = spawn_blocking(move || images.backup_files()).await;
    let images = images.map_err(|error| broken(&error))?;
    let images = images.map_err(|error| broken(&error))?;
    let copied = app.store.backup_with(&path, &images);
    copied.await.map_err(problem)?;
    let file = File::open(&path).map_err(|error| broken(&error))?;
    let length = file.metadata().map_err(|error| broken(&error))?.len();
    directory.close().map_err(|error| broken(&error))?;
    let made = json!({ "bytes": length });
    app.events.record(event(MADE, OPERATOR, "store", made));
    let sending = Sending {
        file: tokio::fs::File::from_std(file),
        _turn: turn,
    };
    let pieces = ReaderStream::with_capacity(sending, PIECE_BYTES);
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Ok(response)
}

fn problem(error: StoreError) -> Problem {
    match error {
        StoreError::Full => Problem::new(
            ProblemKind::Saturated,
            "there is no room for a copy in the data directory, where it is made before it is sent; make room there",
        ),
        other => broken(&other),
    }
}

fn broken(error: &dyn std::error::Error) -> Problem {
    Problem::internal(&format!("no backup: {}", chain(error)))
}
