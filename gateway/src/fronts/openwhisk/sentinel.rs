//! The line that ends an activation's log, on standard output and on standard error.
//!
//! Invariants: each is a whole line, flushed, on one stream and then on the other, and before the activation's answer leaves;
//! a log that nobody takes holds an answer up for [`SENTINEL_MAX`] and no longer. It does not know what an activation did.
//!
//! Where both streams are pipes, which platforms make them, a line that they have room for is written at once. All else is
//! written by a thread of its own: a stream that is full would otherwise hold up the threads that serve. Standard error is
//! the log's as well: its lock is held meanwhile, and asked for only where the pipe has room, for who holds it up is one who
//! waits for room. Who fills the pipe between the two can hold it up, as it can each line of the log.

use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, ReadWriteFlags, pwritev2};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// What the platform looks for (OpenWhisk, docs/actions-new.md).
pub const SENTINEL: &str = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";
/// How long an answer waits for its sentinels.
const SENTINEL_MAX: Duration = Duration::from_secs(5);
/// Activations whose sentinels wait to be written.
const SENTINELS_WAITING_MAX: usize = 1024;
/// Where a stream stands (pwritev2(2)): a pipe has no other place.
const HERE: u64 = u64::MAX;

/// See the module's head. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Sentinels {
    waiting: mpsc::Sender<Waiting>,
    pipes: Option<Pipes>,
}

/// An activation whose sentinels the thread has to write.
#[derive(Debug)]
struct Waiting {
    /// Whether standard output has its own already.
    is_out: bool,
    written: oneshot::Sender<()>,
}

/// Standard output and standard error, where both are pipes.
#[derive(Clone, Debug)]
struct Pipes(Arc<[OwnedFd; 2]>);

impl Pipes {
    /// Of streams that are pipes.
    fn of(out: impl AsFd, err: impl AsFd) -> Option<Self> {
        let pipe = |stream: std::os::fd::BorrowedFd<'_>| {
            let mode = fstat(stream).ok()?.st_mode;
            let is_pipe = FileType::from_raw_mode(mode) == FileType::Fifo;
            is_pipe.then(|| stream.try_clone_to_owned().ok()).flatten()
        };
        Some(Self(Arc::new([pipe(out.as_fd())?, pipe(err.as_fd())?])))
    }

    /// Ends an activation's log on as many streams as have room for it, and says on how many.
    fn end(&self) -> usize {
        let [out, err] = &*self.0;
        if !at_once(out) {
            return 0;
        }
        if !has_room(err) {
            return 1;
        }
        let _lock = io::stderr().lock();
        1 + usize::from(at_once(err))
    }
}

/// Whether a pipe would take something now, or nobody reads it any more.
fn has_room(pipe: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(pipe, PollFlags::OUT)];
    matches!(poll(&mut asked, Some(&Timespec::default())), Ok(1..))
}

/// Whether a pipe has taken the line, or nobody reads it any more. So short a one is written whole or not at all (pipe(7),
/// `PIPE_BUF`); a kernel that cannot promise not to wait writes nothing either.
fn at_once(pipe: &OwnedFd) -> bool {
    let line = [IoSlice::new(SENTINEL.as_bytes()), IoSlice::new(b"\n")];
    match pwritev2(pipe, &line, HERE, ReadWriteFlags::NOWAIT) {
        Ok(_) | Err(Errno::PIPE) => true,
        Err(_) => false,
    }
}

impl Sentinels {
    /// On the process's own streams.
    ///
    /// # Errors
    /// No thread.
    pub(super) fn new() -> io::Result<Self> {
        let (out, err) = (io::stdout(), io::stderr());
        let pipes = Pipes::of(&out, &err);
        Self::on(out, err, pipes)
    }

    fn on(
        mut out: impl Write + Send + 'static,
        mut err: impl Write + Send + 'static,
        pipes: Option<Pipes>,
    ) -> io::Result<Self> {
        let (waiting, mut ended) = mpsc::channel::<Waiting>(SENTINELS_WAITING_MAX);
        thread::Builder::new()
            .name("faam-sentinel".to_owned())
            .spawn(move || {
                while let Some(Waiting { is_out, written }) = ended.blocking_recv() {
                    // A stream that is closed has nobody who waits for its end.
                    if !is_out {
                        let _ = line(&mut out);
                    }
                    let _ = line(&mut err);
                    let _ = written.send(());
                }
            })?;
        Ok(Self { waiting, pipes })
    }

    /// Ends an activation's log.
    pub(super) async fn end(self) {
        let ended = self.pipes.as_ref().map_or(0, Pipes::end);
        if ended > 1 {
            return;
        }
        let (written, wait) = oneshot::channel();
        let waiting = Waiting {
            is_out: ended > 0,
            written,
        };
        let write = async {
            if self.waiting.send(waiting).await.is_ok() {
                let _ = wait.await;
            }
        };
        if timeout(SENTINEL_MAX, write).await.is_err() {
            tracing::warn!(
                "nobody takes what this process writes: expected the platform to read its streams; the answer goes out all \
                 the same"
            );
        }
    }
}

/// One write a line, so that none is torn where others write as well.
fn line(stream: &mut impl Write) -> io::Result<()> {
    stream.write_all(format!("{SENTINEL}\n").as_bytes())?;
    stream.flush()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::sync::Mutex;

    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    use rustix::pipe::pipe;

    use super::*;

    #[derive(Clone, Default)]
    struct Stream(Arc<Mutex<Vec<u8>>>);

    impl Write for Stream {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A full pipe: nobody takes a byte until its other end is dropped.
    struct Full(std::sync::mpsc::Receiver<()>);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_log_that_nobody_takes_holds_up_an_answer_for_so_long_and_no_longer() {
        let (nobody, full) = std::sync::mpsc::channel();
        let err = Stream::default();
        let sentinels = Sentinels::on(Full(full), err.clone(), None).unwrap();
        let began = tokio::time::Instant::now();
        sentinels.clone().end().await;
        assert_eq!(began.elapsed().as_secs(), SENTINEL_MAX.as_secs());
        assert!(
            err.0.lock().unwrap().is_empty(),
            "one stream and then the other"
        );
        // Once it is taken, so is what waited for it.
        drop(nobody);
        tokio::time::resume();
        sentinels.end().await;
        let text = String::from_utf8(err.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, format!("{SENTINEL}\n").repeat(2));
    }

    #[tokio::test]
    async fn each_end_is_a_line_on_both_streams_before_it_is_over() {
        let (out, err) = (Stream::default(), Stream::default());
        let sentinels = Sentinels::on(out.clone(), err.clone(), None).unwrap();
        for ends in 1..=3 {
            sentinels.clone().end().await;
            for stream in [&out, &err] {
                let text = String::from_utf8(stream.0.lock().unwrap().clone()).unwrap();
                assert_eq!(text, format!("{SENTINEL}\n").repeat(ends));
            }
        }
    }

    /// Both ends of two pipes, and what writes to them.
    fn pipes() -> ([File; 2], Pipes, Sentinels) {
        let (out, out_in) = pipe().unwrap();
        let (err, err_in) = pipe().unwrap();
        let pipes = Pipes::of(&out_in, &err_in).expect("pipes");
        let sentinels = Sentinels::on(File::from(out_in), File::from(err_in), Some(pipes.clone()));
        ([out.into(), err.into()], pipes, sentinels.unwrap())
    }

    /// Fills a pipe; how many bytes that were.
    fn fill(pipe: &OwnedFd) -> usize {
        let flags = fcntl_getfl(pipe).unwrap();
        fcntl_setfl(pipe, flags | OFlags::NONBLOCK).unwrap();
        let mut filled = 0;
        for piece in [&[b' '; 4096][..], b" "] {
            while let Ok(written) = rustix::io::write(pipe, piece) {
                filled += written;
            }
        }
        fcntl_setfl(pipe, flags).unwrap();
        filled
    }

    #[tokio::test]
    async fn a_pipe_with_room_has_its_line_once_and_one_without_has_it_once_it_is_read() {
        let line = format!("{SENTINEL}\n");
        let read = |stream: &mut File, bytes: usize| {
            let mut taken = vec![0; bytes];
            stream.read_exact(&mut taken).unwrap();
            String::from_utf8(taken).unwrap()
        };
        for full in [None, Some(0), Some(1)] {
            let ([mut out, mut err], pipes, sentinels) = pipes();
            let filled = full.map_or(0, |full| fill(&pipes.0[full]));
            let ending = tokio::spawn(sentinels.clone().end());
            let line = line.clone();
            let (blank_out, blank_err) = match full {
                Some(0) => (filled, 0),
                _ => (0, filled),
            };
            let taken = tokio::task::spawn_blocking(move || {
                assert!(read(&mut out, blank_out).trim().is_empty());
                let first = read(&mut out, line.len());
                assert!(read(&mut err, blank_err).trim().is_empty());
                let second = read(&mut err, line.len());
                assert_eq!([&first, &second], [&line, &line], "{full:?}");
                [out, err]
            });
            let mut ends = taken.await.unwrap();
            ending.await.unwrap();
            drop((sentinels, pipes));
            for end in &mut ends {
                let mut more = String::new();
                end.read_to_string(&mut more).unwrap();
                assert_eq!(more, "", "{full:?}");
            }
        }
    }

    #[test]
    fn what_is_no_pipe_and_what_is_full_is_left_to_the_thread_and_what_nobody_reads_is_over() {
        let file = tempfile::tempfile().unwrap();
        assert!(Pipes::of(&file, &file).is_none());
        let (ends, pipes, _sentinels) = pipes();
        fill(&pipes.0[0]);
        assert_eq!(pipes.end(), 0, "one stream and then the other");
        drop(ends);
        // A kernel before 6.4 does not write to a pipe so.
        assert!(matches!(pipes.end(), 0 | 2));
    }
}
