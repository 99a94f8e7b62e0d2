//! A copy of the store with the images for an operator: `GET /admin/v1/backup`.
//!
//! Invariants: what is sent is a copy of one moment, checked before its first byte leaves; it has no name while it is sent, so
//! that nothing of it stays, however the caller ends; one is made or sent at a time, so that there is one copy on the disk at
//! most; no file is opened, read or flushed on the thread that answers whether the gateway lives. Where the caller puts it is
//! the caller's, and how long it may take to is the connection's.

use std::fs::File;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Response};
use axum::routing::get;
use faam_store::StoreError;
use faam_store::sqlite::left_out;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::Handle;
use tokio::sync::OwnedMutexGuard;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use super::app::App;
use crate::error::{Problem, ProblemKind, chain};
use crate::events::{OPERATOR, event};

/// Bytes read at once.
const PIECE_BYTES: usize = 64 << 10;
/// The copy's media type (IANA).
const MEDIA_TYPE: &str = "application/vnd.sqlite3";

/// How long one waits for the turn of another. A copy that was sent gives its turn back only once its blocks are free, a moment
/// after its caller has all of it: who asks again at once is not refused.
const TURN_WAIT: Duration = Duration::from_secs(2);

/// Files that its event names, of those that were left out: a record's detail has a bound.
const NAMED_MAX: usize = 32;

/// The event of a backup that was made.
const MADE: &str = "store.backed-up";

/// A copy that is sent. It is on the disk, without a name, for as long as this lives.
struct Sending(Option<(tokio::fs::File, OwnedMutexGuard<()>)>);

impl AsyncRead for Sending {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.0 {
            Some((file, _)) => Pin::new(file).poll_read(cx, into),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        let ended = self.0.take();
        // Its blocks are freed here, which takes the file system a while where there are many; the turn ends after.
        let free = move || {
            if let Some((file, turn)) = ended {
                drop(file);
                drop(turn);
            }
        };
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(free)),
            // The runtime has ended: there is nobody to hold up.
            Err(_) => free(),
        }
    }
}

pub(super) fn routes() -> Router<App> {
    Router::new().route("/admin/v1/backup", get(backup))
}

async fn backup(State(app): State<App>) -> Result<Response<Body>, Problem> {
    let turn = Arc::clone(&app.backup_turn).lock_owned();
    let Ok(turn) = timeout(TURN_WAIT, turn).await else {
        return Err(Problem::new(
            ProblemKind::Saturated,
            "a backup is being made or sent already; ask again once it is done",
        ));
    };
    // Beside the store: there its gateway may write, whatever else it may not.
    let beside = app.spill_dir.clone();
    let directory = blocking(move || TempDir::new_in(beside)).await?;
    let path = directory.path().join("backup.db");
    let images = app.images.clone();
    let images = blocking(move || images.backup_files()).await?;
    let copied = app.store.backup_with(&path, &images);
    copied.await.map_err(problem)?;
    let left_out = left_out(&path).await.map_err(problem)?;
    let opened = blocking(move || {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        directory.close()?;
        io::Result::Ok((file, length))
    });
    let (file, length) = opened.await?;
    let named = left_out.iter().take(NAMED_MAX);
    let named: Vec<_> = named.map(|file| file.name.as_str()).collect();
    let made = json!({ "bytes": length, "left_out": left_out.len(), "left_out_names": named });
    app.events.record(event(MADE, OPERATOR, "store", made));
    let sending = Sending(Some((tokio::fs::File::from_std(file), turn)));
    let pieces = ReaderStream::with_capacity(sending, PIECE_BYTES);
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Ok(response)
}

/// What works on files, where nobody waits for the thread.
async fn blocking<T: Send + 'static, E: std::error::Error + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Problem> {
    let done = spawn_blocking(work).await.map_err(|ended| broken(&ended))?;
    done.map_err(|error| broken(&error))
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
