//! The files that everything here is measured on.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// What [`Extent::Quarter`] takes of a file, in bytes.
const QUARTER_BYTES: usize = 1 << 20;
/// Corpus files that no ratio is taken of: they measure the fallback, not the algorithm.
const LEFT_OUT: [&str; 3] = ["zeros", "random", "already_gz"];
/// Written beside the corpus files, not one of them.
const CHECKSUMS: &str = "SHA256SUMS";
/// Beside the committed sample.
const README: &str = "README.md";

/// The corpus cannot be read.
#[derive(Debug, Error)]
#[error("cannot read {path}: run `make corpus`, or name a directory of files")]
pub struct CorpusError {
    /// What was to be read.
    pub path: PathBuf,
    /// Why not.
    #[source]
    pub source: std::io::Error,
}

/// How much of each file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// 1 MiB, from a quarter of the offsets where it fits. The design's figures are of these.
    Quarter,
    /// Everything.
    Whole,
}

impl Extent {
    fn of(self, bytes: &[u8]) -> &[u8] {
        let room = bytes.len().saturating_sub(QUARTER_BYTES);
        match self {
            Extent::Quarter if room > 0 => bytes
                .get(room / 4..room / 4 + QUARTER_BYTES)
                .unwrap_or_default(),
            _ => bytes,
        }
    }
}

/// One file to be compressed.
pub struct Sample {
    /// Its name in its directory.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Every file of `dir` that ratios are taken of, by name.
///
/// # Errors
/// [`CorpusError`].
pub fn load(dir: &Path, extent: Extent) -> Result<Vec<Sample>, CorpusError> {
    read(dir, extent, |name| !LEFT_OUT.contains(&name))
}

/// The files that [`load`] leaves out, as far as they are there.
///
/// # Errors
/// [`CorpusError`].
pub fn load_left_out(dir: &Path, extent: Extent) -> Result<Vec<Sample>, CorpusError> {
    read(dir, extent, |name| LEFT_OUT.contains(&name))
}

fn read(
    dir: &Path,
    extent: Extent,
    wanted: impl Fn(&str) -> bool,
) -> Result<Vec<Sample>, CorpusError> {
    let fail = |path: &Path, source| CorpusError {
        path: path.to_path_buf(),
        source,
    };
    let mut samples = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|source| fail(dir, source))? {
        let path = entry.map_err(|source| fail(dir, source))?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if !path.is_file() || name == CHECKSUMS || name == README || !wanted(&name) {
            continue;
        }
        let bytes = std::fs::read(&path).map_err(|source| fail(&path, source))?;
        let bytes = extent.of(&bytes).to_vec();
        samples.push(Sample { name, bytes });
    }
    samples.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(samples)
}
