//! Where the result goes: a file beside its target until it is whole, standard output, nowhere.
//!
//! Owns the writing thread and the temporary file. Invariants: under the target's name there is
//! never anything but a whole result; what was begun and not finished is removed, whatever ends
//! it; at most [`CHUNKS_MAX`] chunks wait to be written. It does not know what it writes.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{Gid, Timespec, Timestamps, Uid, fchown, futimens};
use tempfile::{NamedTempFile, TempPath};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::client::upload::CHUNKS_MAX;

/// Last bytes that are kept for a look at the trailer.
pub(crate) const TAIL_BYTES: usize = 8;
/// Permissions of a file that are kept: none that would run it as somebody else.
const MODE_KEPT: u32 = 0o777;
/// Characters of a target's name that its temporary file repeats.
const NAME_CHARS_MAX: usize = 100;

/// Why nothing was written.
#[derive(Debug, Error)]
pub(crate) enum SinkError {
    /// It was there before, or came meanwhile.
    #[error("{} already exists; not overwritten (-f overwrites it)", .0.display())]
    Exists(PathBuf),
    /// Whoever read our output is gone.
    #[error("nobody reads the output any more")]
    Closed,
    /// No room, no right, no directory.
    #[error("cannot write {}; see that there is room and that the directory is writable", .target.display())]
    Write {
        target: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// A place for one result.
pub(crate) enum Sink {
    /// A file that is not there yet.
    File {
        target: PathBuf,
        part: TempPath,
        file: File,
        overwrite: bool,
    },
    /// Standard output.
    Stdout,
    /// For a test of the input.
    Nowhere,
}

impl Sink {
    /// A temporary file in the directory of `target`.
    ///
    /// # Errors
    /// [`SinkError`]
    pub(crate) fn beside(target: &Path, overwrite: bool) -> Result<Self, SinkError> {
        let error = |source| SinkError::Write {
            target: target.to_owned(),
            source,
        };
        let directory = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        let part = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .suffix(".part")
            .tempfile_in(directory)
            .map_err(error)?;
        let (file, part) = NamedTempFile::into_parts(part);
        Ok(Self::File {
            target: target.to_owned(),
            part,
            file,
            overwrite,
        })
    }

    /// A thread that writes to it.
    ///
    /// # Errors
    /// [`SinkError`]
    pub(crate) fn writer(&self) -> Result<Writer, SinkError> {
        let target = self.name();
        let error = |source| SinkError::Write {
            target: target.clone(),
            source,
        };
        let output = match self {
            Self::File { file, .. } => Some(file.try_clone().map_err(error)?),
            // Not std's own, which looks for line ends.
            Self::Stdout => Some(File::from(
                rustix::io::dup(io::stdout()).map_err(|e| error(e.into()))?,
            )),
            Self::Nowhere => None,
        };
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        let (done, outcome) = oneshot::channel();
        std::thread::Builder::new()
            .name("faam-write".to_owned())
            .spawn(move || {
                // Nobody waits for it where the call has ended before.
                let _ = done.send(write(output, chunks));
            })
            .map_err(error)?;
        Ok(Writer {
            sender,
            outcome,
            target,
        })
    }

    /// Forget what an attempt wrote before it failed.
    ///
    /// # Errors
    /// [`SinkError`]
    pub(crate) fn rewind(&mut self) -> Result<(), SinkError> {
        let target = self.name();
        let Self::File { file, .. } = self else {
            return Ok(());
        };
        let rewind = || {
            file.set_len(0)?;
            io::Seek::rewind(&mut &*file)
        };
        rewind().map_err(|source| SinkError::Write { target, source })
    }

    /// The result is whole: it gets its name, and what it inherits from its source.
    ///
    /// # Errors
    /// [`SinkError`]; then there is no such file.
    pub(crate) fn finish(self, like: Option<&Metadata>) -> Result<(), SinkError> {
        let Self::File {
            target,
            part,
            file,
            overwrite,
        } = self
        else {
            return Ok(());
        };
        let error = |source| SinkError::Write {
            target: target.clone(),
            source,
        };
        if let Some(metadata) = like {
            inherit(&file, metadata).map_err(error)?;
        }
        // Before it replaces anything: a crash leaves either the source or a whole result.
        file.sync_all().map_err(error)?;
        let named = if overwrite {
            part.persist(&target)
        } else {
            part.persist_noclobber(&target)
        };
        named.map_err(|failed| match failed.error.kind() {
            io::ErrorKind::AlreadyExists => SinkError::Exists(target.clone()),
            _ => error(failed.error),
        })?;
        let directory = target
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))
            .and_then(|directory| directory.sync_all())
            .map_err(error)
    }

    fn name(&self) -> PathBuf {
        match self {
            Self::File { target, .. } => target.clone(),
            Self::Stdout => "standard output".into(),
            Self::Nowhere => "nowhere".into(),
        }
    }
}

/// Owner where we may, permissions, times: in this order, for a new owner ends some permissions.
fn inherit(file: &File, metadata: &Metadata) -> io::Result<()> {
    let (uid, gid) = (Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid()));
    if fchown(file, Some(uid), Some(gid)).is_err() {
        // Only root gives files away; a group of one's own can be kept.
        let _ = fchown(file, None, Some(gid));
    }
    file.set_permissions(Permissions::from_mode(metadata.mode() & MODE_KEPT))?;
    let time = |seconds, nanoseconds| Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds,
    };
    let times = Timestamps {
        last_access: time(metadata.atime(), metadata.atime_nsec()),
        last_modification: time(metadata.mtime(), metadata.mtime_nsec()),
    };
    futimens(file, &times)?;
    Ok(())
}

/// The sender's side of a writing thread.
pub(crate) struct Writer {
    sender: mpsc::Sender<Bytes>,
    outcome: oneshot::Receiver<io::Result<[u8; TAIL_BYTES]>>,
    target: PathBuf,
}

impl Writer {
    /// Write `chunk` after those before it. Whether that still makes sense: see [`Writer::end`] if not.
    pub(crate) async fn write(&self, chunk: Bytes) -> bool {
        self.sender.send(chunk).await.is_ok()
    }

    /// Whether a chunk can be taken without waiting.
    pub(crate) fn has_room(&self) -> bool {
        self.sender.capacity() > 0
    }

    /// Wait until all is written; the last bytes of it.
    ///
    /// # Errors
    /// [`SinkError`]
    pub(crate) async fn end(self) -> Result<[u8; TAIL_BYTES], SinkError> {
        drop(self.sender);
        match self.outcome.await {
            Ok(Ok(tail)) => Ok(tail),
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Err(SinkError::Closed),
            Ok(Err(source)) => Err(SinkError::Write {
                target: self.target,
                source,
            }),
            Err(_) => Err(SinkError::Write {
                target: self.target,
                source: io::Error::other("the writing thread ended"),
            }),
        }
    }
}

fn write(output: Option<File>, mut chunks: mpsc::Receiver<Bytes>) -> io::Result<[u8; TAIL_BYTES]> {
    let mut tail = [0; TAIL_BYTES];
    while let Some(chunk) = chunks.blocking_recv() {
        keep_last(&mut tail, &chunk);
        if let Some(mut output) = output.as_ref() {
            output.write_all(&chunk)?;
        }
    }
    Ok(tail)
}

/// `tail` and then `chunk`: the last bytes of both.
fn keep_last(tail: &mut [u8; TAIL_BYTES], chunk: &[u8]) {
    let new = chunk.len().min(TAIL_BYTES);
    tail.rotate_left(new);
    let (_, end) = tail.split_at_mut(TAIL_BYTES - new);
    end.copy_from_slice(chunk.get(chunk.len() - new..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_bytes_however_they_come() {
        let text = b"abcdefghijklmnop";
        for cut in 0..=text.len() {
            let mut tail = [0; TAIL_BYTES];
            keep_last(&mut tail, &text[..cut]);
            keep_last(&mut tail, &text[cut..]);
            assert_eq!(&tail, b"ijklmnop", "cut at {cut}");
        }
    }

    #[test]
    fn what_is_not_finished_is_removed_and_what_is_there_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let target = dir.path().join("x.gz");
        let names = || std::fs::read_dir(dir.path()).expect("listed").count();
        let sink = Sink::beside(&target, false).expect("begun");
        assert_eq!(names(), 1);
        drop(sink);
        assert_eq!(names(), 0);
        std::fs::write(&target, "before").expect("written");
        let sink = Sink::beside(&target, false).expect("begun");
        assert!(matches!(sink.finish(None), Err(SinkError::Exists(_))));
        assert_eq!(names(), 1);
        Sink::beside(&target, true)
            .expect("begun")
            .finish(None)
            .expect("replaced");
        assert_eq!(std::fs::read(&target).expect("read"), b"");
    }
}
