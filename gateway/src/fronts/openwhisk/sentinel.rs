//! The line that ends an activation's log, on standard output and on standard error.
//!
//! Invariants: each is a whole line, flushed, on one stream and then on the other, and before the activation's answer leaves;
//! a log that nobody takes holds an answer up for [`SENTINEL_MAX`] and no longer. It does not know what an activation did.
//!
//! A thread of its own writes them: a stream that is a full pipe would otherwise hold up the threads that serve.

use std::io::{self, Write};
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// What the platform looks for (OpenWhisk, docs/actions-new.md).
pub const SENTINEL: &str = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX";
/// How long an answer waits for its sentinels.
const SENTINEL_MAX: Duration = Duration::from_secs(5);
/// Activations whose sentinels wait to be written.
const SENTINELS_WAITING_MAX: usize = 1024;

/// See the module's head. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Sentinels(mpsc::Sender<oneshot::Sender<()>>);

impl Sentinels {
    /// On the process's own streams.
    ///
    /// # Errors
    /// No thread.
    pub(super) fn new() -> io::Result<Self> {
        Self::on(io::stdout(), io::stderr())
    }

    fn on(
        mut out: impl Write + Send + 'static,
        mut err: impl Write + Send + 'static,
    ) -> io::Result<Self> {
        let (sender, mut ended) = mpsc::channel::<oneshot::Sender<()>>(SENTINELS_WAITING_MAX);
        thread::Builder::new()
            .name("faam-sentinel".to_owned())
            .spawn(move || {
                while let Some(written) = ended.blocking_recv() {
                    // A stream that is closed has nobody who waits for its end.
                    let _ = line(&mut out);
                    let _ = line(&mut err);
                    let _ = written.send(());
                }
            })?;
        Ok(Self(sender))
    }

    /// Ends an activation's log.
    pub(super) async fn end(self) {
        let (written, wait) = oneshot::channel();
        let write = async {
            if self.0.send(written).await.is_ok() {
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
    use std::sync::{Arc, Mutex};

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
        let sentinels = Sentinels::on(Full(full), err.clone()).unwrap();
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
        let sentinels = Sentinels::on(out.clone(), err.clone()).unwrap();
        for ends in 1..=3 {
            sentinels.clone().end().await;
            for stream in [&out, &err] {
                let text = String::from_utf8(stream.0.lock().unwrap().clone()).unwrap();
                assert_eq!(text, format!("{SENTINEL}\n").repeat(ends));
            }
        }
    }
}
