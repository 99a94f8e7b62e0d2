//! Whether an answer is right: decoded here, by an implementation of the client's own, and compared.
//!
//! Owns the decoders and the thread that uses them. Invariant: the first answer of every size is
//! decoded; of the others as many as that thread can take. It does not know how answers came.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use bytes::Bytes;
use crossbeam::channel::{Sender, bounded};
use faam_codec::{Format, Limits, StreamDecompressor, StreamState};

/// Answers that wait to be decoded.
const WAITING_MAX: usize = 8;

/// What has been found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    decoded: AtomicU64,
    wrong: OnceLock<String>,
}

impl Verdict {
    /// Answers that were decoded and are right.
    pub(crate) fn decoded(&self) -> u64 {
        self.decoded.load(Ordering::Acquire)
    }

    /// The first wrong one.
    pub(crate) fn wrong(&self) -> Option<&str> {
        self.wrong.get().map(String::as_str)
    }
}

/// Decodes samples on a thread of its own.
pub(crate) struct Sampler {
    samples: Sender<(Bytes, Vec<u8>)>,
    thread: JoinHandle<()>,
    verdict: Arc<Verdict>,
}

impl Sampler {
    /// For answers in `format`.
    ///
    /// # Errors
    /// No thread could be made.
    pub(crate) fn start(format: Format) -> std::io::Result<Self> {
        let (samples, waiting) = bounded::<(Bytes, Vec<u8>)>(WAITING_MAX);
        let verdict = Arc::new(Verdict::default());
        let found = Arc::clone(&verdict);
        let thread = std::thread::Builder::new()
            .name("faam-decode".to_owned())
            .spawn(move || {
                for (original, answer) in waiting {
                    match check(format, &answer, &original) {
                        Ok(()) => {
                            found.decoded.fetch_add(1, Ordering::AcqRel);
                        }
                        Err(what) => {
                            let _ = found.wrong.set(what);
                        }
                    }
                }
            })?;
        Ok(Self {
            samples,
            thread,
            verdict,
        })
    }

    /// What has been found so far.
    pub(crate) fn verdict(&self) -> Arc<Verdict> {
        Arc::clone(&self.verdict)
    }

    /// Where answers are given in.
    pub(crate) fn inlet(&self) -> Inlet {
        Inlet {
            samples: self.samples.clone(),
            taken: Arc::default(),
        }
    }

    /// Wait until all that was given in is decoded.
    pub(crate) fn end(self) {
        drop(self.samples);
        // A panic of a decoder is a wrong answer that nobody has described.
        if self.thread.join().is_err() {
            let _ = self
                .verdict
                .wrong
                .set("a decoder panicked on it".to_owned());
        }
    }
}

/// Gives answers in. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Inlet {
    samples: Sender<(Bytes, Vec<u8>)>,
    taken: Arc<AtomicU64>,
}

impl Inlet {
    /// Whether request `index` should be kept for a look: one in `one_in`, the first always.
    pub(crate) fn wants(&self, index: u64, one_in: u64) -> bool {
        index.is_multiple_of(one_in.max(1))
    }

    /// An answer to `original`. Beyond what the thread can take it is let go, but never the first.
    pub(crate) fn give(&self, original: Bytes, answer: Vec<u8>) {
        let first = self.taken.fetch_add(1, Ordering::AcqRel) == 0;
        let sample = (original, answer);
        // A thread that is gone is found at the end.
        let _ = if first {
            self.samples.send(sample).map_err(drop)
        } else {
            self.samples.try_send(sample).map_err(drop)
        };
    }
}

/// Decode `answer`, and compare it with `original`.
fn check(format: Format, answer: &[u8], original: &[u8]) -> Result<(), String> {
    let limit = u64::try_from(original.len())
        .unwrap_or(u64::MAX)
        .saturating_add(1);
    let mut plain = Vec::with_capacity(original.len() + 1);
    let decoded = match format.name() {
        "gzip" => flate2::read::MultiGzDecoder::new(answer)
            .take(limit)
            .read_to_end(&mut plain),
        "zlib" => flate2::read::ZlibDecoder::new(answer)
            .take(limit)
            .read_to_end(&mut plain),
        "deflate" => flate2::read::DeflateDecoder::new(answer)
            .take(limit)
            .read_to_end(&mut plain),
        _ => {
            let limits = Limits {
                output_bytes_max: limit,
                ratio_max: u32::MAX,
            };
            let mut decoder = StreamDecompressor::new(Some(format), limits);
            let room = original.len().saturating_add(1);
            match decoder.decompress(answer, true, room, &mut plain) {
                Ok(step) if step.state == StreamState::Ended => Ok(plain.len()),
                Ok(_) => Err(std::io::Error::other("it decodes to more than was sent")),
                Err(error) => Err(std::io::Error::other(error)),
            }
        }
    };
    decoded.map_err(|error| {
        format!(
            "an answer of {} bytes in {format} does not decode: {error}",
            answer.len()
        )
    })?;
    if plain != original {
        let at = plain
            .iter()
            .zip(original)
            .take_while(|(a, b)| a == b)
            .count();
        return Err(format!(
            "an answer in {format} decodes to {} bytes that differ from the {} sent at byte {at}",
            plain.len(),
            original.len()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).expect("compressed");
        encoder.finish().expect("compressed")
    }

    #[test]
    fn wrong_bytes_are_found() {
        assert!(check(Format::Gzip, &gzip(b"hello"), b"hello").is_ok());
        for (answer, original, word) in [
            (gzip(b"hellO"), &b"hello"[..], "at byte 4"),
            (gzip(b"hello more"), b"hello", "differ"),
            (gzip(b"hell"), b"hello", "differ"),
            (b"not gzip".to_vec(), b"hello", "does not decode"),
        ] {
            let what = check(Format::Gzip, &answer, original).expect_err("wrong");
            assert!(what.contains(word), "{what}");
        }
    }

    #[test]
    fn the_first_answer_is_always_decoded() {
        let sampler = Sampler::start(Format::Gzip).expect("a thread");
        let verdict = sampler.verdict();
        sampler
            .inlet()
            .give(Bytes::from_static(b"hello"), gzip(b"other"));
        sampler.end();
        assert_eq!(verdict.decoded(), 0);
        assert!(verdict.wrong().expect("found").contains("differ"));
    }
}
