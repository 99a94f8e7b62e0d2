//! The bodies that are sent: distinct blocks, the same for every server.
//!
//! Invariant: the order of blocks is fixed, and every stretch of it is mixed alike, so that a slow server, which comes
//! less far in a window, works on the same kind of data as a fast one. It knows no HTTP.

use std::path::Path;

use anyhow::Context;
use bytes::Bytes;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Bytes of blocks of one size: more than a core's own caches hold, little enough to be worked through several times in
/// a window.
const POOL_BYTES: usize = 16 << 20;
/// Blocks of a pool at least, however large they are.
const BLOCKS_MIN: usize = 4;
/// Larger blocks are laid together of slices, so that each is mixed like the whole.
const SLICE_BYTES: usize = 1 << 20;
/// Corpus files that are left out: stored or trivial, they measure a bypass and not an engine.
const LEFT_OUT: [&str; 3] = ["zeros", "random", "already_gz"];
/// The corpus's file of JSON logs.
const LOGS: &str = "json_logs";

/// What bodies are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Data {
    /// Half JSON logs, half everything else: text, HTML, source, machine code, telemetry.
    Mixed,
    /// JSON logs alone.
    Logs,
}

/// Files to cut blocks from.
pub(crate) struct Corpus {
    /// Name and bytes; the logs first.
    files: Vec<(String, Vec<u8>)>,
    /// What it is, for the report.
    pub(crate) description: String,
}

impl Corpus {
    /// The corpus in `dir` if it is there, else the committed sample.
    ///
    /// # Errors
    /// Neither can be read.
    pub(crate) fn load(dir: &Path, sample: &Path) -> anyhow::Result<Self> {
        let whole = dir.join("SHA256SUMS").is_file();
        let from = if whole { dir } else { sample };
        let entries =
            std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.contains('.') || name == "SHA256SUMS" || LEFT_OUT.contains(&name.as_str()) {
                continue;
            }
            files.push((name, std::fs::read(&path)?));
        }
        files.retain(|(_, bytes)| !bytes.is_empty());
        files.sort_by_key(|(name, _)| (name != LOGS, name.clone()));
        anyhow::ensure!(
            files.first().is_some_and(|(name, _)| name == LOGS) && files.len() > 1,
            "{} holds no {LOGS} with other files beside it",
            from.display()
        );
        let description = format!(
            "{} ({} files, without zeros, random and compressed ones)",
            if whole {
                "the corpus of make corpus"
            } else {
                "the small committed sample: figures are not comparable with others"
            },
            files.len()
        );
        Ok(Self { files, description })
    }

    /// Blocks of `block_bytes`.
    pub(crate) fn pool(&self, data: Data, block_bytes: usize) -> Pool {
        let blocks = (POOL_BYTES / block_bytes.max(1)).max(BLOCKS_MIN);
        let mut cursors = vec![0usize; self.files.len()];
        let mut slices_taken = 0;
        let slice_bytes = block_bytes.min(SLICE_BYTES);
        // How far apart two slices of one file begin, so that all of it is used.
        let blocks = (0..blocks)
            .map(|_| {
                let mut block = Vec::with_capacity(block_bytes);
                while block.len() < block_bytes {
                    let file = file_of(slices_taken, data, self.files.len());
                    slices_taken += 1;
                    if let (Some((_, bytes)), Some(cursor)) =
                        (self.files.get(file), cursors.get_mut(file))
                    {
                        let want = slice_bytes.min(block_bytes - block.len());
                        take(bytes, cursor, want, &mut block);
                    }
                }
                Bytes::from(block)
            })
            .collect();
        Pool { blocks }
    }
}

/// The file that the slice number `n` comes from; file 0 is the logs.
const fn file_of(n: usize, data: Data, files: usize) -> usize {
    match data {
        Data::Logs => 0,
        Data::Mixed if n.is_multiple_of(2) => 0,
        Data::Mixed => 1 + (n / 2) % (files - 1),
    }
}

/// Appends `want` bytes from the cursor on, around the end, and moves the cursor on.
fn take(bytes: &[u8], cursor: &mut usize, want: usize, out: &mut Vec<u8>) {
    let mut left = want;
    while left > 0 {
        let piece = bytes.get(*cursor..).unwrap_or_default();
        let piece = piece.get(..left.min(piece.len())).unwrap_or_default();
        out.extend_from_slice(piece);
        left -= piece.len();
        *cursor += piece.len();
        if *cursor >= bytes.len() {
            // A second lap does not begin where the first did, so that no two blocks are equal.
            *cursor = bytes.len() / 3 % 1021;
        }
    }
}

/// Blocks of one size.
pub(crate) struct Pool {
    blocks: Vec<Bytes>,
}

impl Pool {
    /// Block number `n`, from the first on again after the last. Never empty.
    pub(crate) fn block(&self, n: usize) -> &Bytes {
        static EMPTY: Bytes = Bytes::new();
        let index = n % self.blocks.len().max(1);
        self.blocks.get(index).unwrap_or(&EMPTY)
    }

    /// All of them.
    pub(crate) fn blocks(&self) -> &[Bytes] {
        &self.blocks
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn sample() -> Corpus {
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("sample");
        Corpus::load(Path::new("/nonexistent"), &sample).expect("the committed sample")
    }

    #[test]
    fn blocks_are_distinct_and_of_the_size_that_was_asked_for() {
        for bytes in [1 << 10, 64 << 10] {
            let pool = sample().pool(Data::Mixed, bytes);
            assert!(pool.blocks().iter().all(|block| block.len() == bytes));
            let distinct: HashSet<&[u8]> = pool.blocks().iter().map(AsRef::as_ref).collect();
            let share = distinct.len() * 100 / pool.blocks().len();
            assert!(share > 90, "{share} % of {bytes}-byte blocks are distinct");
        }
    }

    #[test]
    fn every_other_block_is_logs_and_the_rest_goes_round() {
        let files: Vec<_> = (0..8).map(|n| file_of(n, Data::Mixed, 4)).collect();
        assert_eq!(files, [0, 1, 0, 2, 0, 3, 0, 1]);
        assert!((0..8).all(|n| file_of(n, Data::Logs, 4) == 0));
    }

    #[test]
    fn a_block_larger_than_a_slice_is_mixed() {
        let corpus = sample();
        let pool = corpus.pool(Data::Mixed, 2 << 20);
        assert_eq!(pool.blocks().len(), 8);
        let block = pool.block(0);
        let logs = &corpus.files.first().expect("logs").1;
        assert_eq!(block.get(..1000), logs.get(..1000));
        assert_ne!(block.get(1 << 20..(1 << 20) + 1000), logs.get(..1000));
    }
}
