//! Doors for fuzzing: one function a target, from arbitrary bytes to a panic if an invariant does not hold.
//!
//! Owns nothing but the doors; each check lies beside the code that it checks. Invariant: one thread, and no clock that
//! decides anything, so that an input does the same again. Compiled for tests, which replay the committed corpora, and
//! for fuzzing; no build that is used has it.

/// An input, read from its front: numbers and pieces, zeros once it is used up.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        for (place, byte) in out.iter_mut().zip(self.take(N)) {
            *place = *byte;
        }
        out
    }

    pub(crate) fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// The next `count` bytes, or as many as there are.
    pub(crate) fn take(&mut self, count: usize) -> &'a [u8] {
        let (piece, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        piece
    }

    /// A piece behind a byte that is its length, `count_max` at most.
    pub(crate) fn piece(&mut self, count_max: u8) -> &'a [u8] {
        let count = self.u8().min(count_max);
        self.take(usize::from(count))
    }
}

/// What a hostile card writes into completion queues and buffers. Panics if a job ends otherwise than once, or done
/// without a completion that says so, or if a buffer is neither free nor in quarantine afterwards.
pub fn completions(bytes: &[u8]) {
    crate::worker::completions(Input::new(bytes));
}

/// What a hostile vfio-user server replies. Panics if a reply that answers nothing is believed, if a connection lives on
/// after one, or if a descriptor that came with one stays open.
pub fn replies(bytes: &[u8]) {
    crate::transport::vfio_user::replies(Input::new(bytes));
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Gives every input of a target's corpus to its check.
    fn replay(target: &str, check: fn(&[u8])) {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let mut inputs = 0;
        for entry in std::fs::read_dir(corpus.join(target)).expect("part of the sources") {
            let path = entry.expect("readable").path();
            // The input's name, should it panic.
            println!("{}", path.display());
            check(&std::fs::read(&path).expect("readable"));
            inputs += 1;
        }
        assert!(inputs >= 20, "{target} has a corpus of {inputs}");
    }

    #[test]
    fn every_completion_of_the_corpus_is_judged() {
        replay("completions", super::completions);
    }

    /// In a process of its own: the check counts the process's descriptors, and other tests open some meanwhile.
    #[test]
    fn every_reply_of_the_corpus_is_judged() {
        const NAME: &str = "fuzzing::tests::every_reply_of_the_corpus_is_judged";
        const ALONE: &str = "FAAM_TEST_IS_ALONE";
        if std::env::var_os(ALONE).is_some() {
            return replay("replies", super::replies);
        }
        let alone = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
            .env(ALONE, "1")
            .output()
            .expect("it starts");
        let said = String::from_utf8_lossy(&alone.stdout);
        assert!(
            alone.status.success() && said.contains("1 passed"),
            "{said}{}",
            String::from_utf8_lossy(&alone.stderr)
        );
    }
}
