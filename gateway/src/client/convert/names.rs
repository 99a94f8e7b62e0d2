//! Which file becomes which: suffixes.
//!
//! Owns the table of suffixes. Names are bytes, as the system has them: they need not be text. It looks at no file.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use faam_codec::Format;

/// Longest suffix, in bytes.
const SUFFIX_BYTES_MAX: usize = 30;

/// Suffixes of compressed files: what each becomes, and the format that only its suffix tells.
const SUFFIXES: [(&str, &str, Option<&str>); 10] = [
    (".gz", "", None),
    (".tgz", ".tar", None),
    (".taz", ".tar", None),
    (".zz", "", None),
    (".zlib", "", None),
    // Raw DEFLATE begins with nothing that could be recognised.
    (".deflate", "", Some("deflate")),
    (".zst", "", None),
    (".zstd", "", None),
    (".tzst", ".tar", None),
    (".lz4", "", None),
];

/// Suffix of a format.
pub(crate) fn suffix_of(format: Format) -> String {
    match format.name() {
        "gzip" => ".gz".to_owned(),
        "zlib" => ".zz".to_owned(),
        "zstd" => ".zst".to_owned(),
        name => format!(".{name}"),
    }
}

/// A suffix for `-S`.
///
/// # Errors
/// What was expected.
pub(crate) fn parse_suffix(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > SUFFIX_BYTES_MAX || text.contains('/') {
        return Err(format!(
            "expected 1 to {SUFFIX_BYTES_MAX} characters without a slash, got {text:?}"
        ));
    }
    Ok(text.to_owned())
}

/// The suffix of a compressed file, if it is one by its name.
pub(crate) fn known_suffix(path: &Path, own: Option<&str>) -> Option<String> {
    let name = path.file_name()?.as_bytes();
    let known = SUFFIXES.iter().map(|(suffix, _, _)| *suffix);
    own.into_iter()
        .chain(known)
        .find(|suffix| name.len() > suffix.len() && has_suffix(name, suffix))
        .map(str::to_owned)
}

/// A file with a suffix added.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// What a compressed file is decompressed to; `None` if its suffix is unknown.
pub(crate) fn without_suffix(path: &Path, own: Option<&str>) -> Option<PathBuf> {
    let suffix = known_suffix(path, own)?;
    let name = path.file_name()?.as_bytes();
    let stem = name.get(..name.len().checked_sub(suffix.len())?)?;
    let becomes = SUFFIXES
        .iter()
        .find(|(known, _, _)| own != Some(suffix.as_str()) && *known == suffix)
        .map_or("", |(_, becomes, _)| *becomes);
    let becomes = [stem, becomes.as_bytes()].concat();
    Some(path.with_file_name(OsString::from_vec(becomes)))
}

/// The format that a file's suffix tells and its bytes do not.
pub(crate) fn format_by_suffix(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.as_bytes();
    SUFFIXES
        .iter()
        .find(|(suffix, _, _)| has_suffix(name, suffix))
        .and_then(|(_, _, format)| *format)
}

/// Where a compressed file may be that was named without its suffix.
pub(crate) fn with_each_suffix(path: &Path, own: Option<&str>) -> Vec<PathBuf> {
    let known = SUFFIXES.iter().map(|(suffix, _, _)| *suffix);
    own.into_iter()
        .chain(known)
        .map(|suffix| with_suffix(path, suffix))
        .collect()
}

fn has_suffix(name: &[u8], suffix: &str) -> bool {
    name.len()
        .checked_sub(suffix.len())
        .and_then(|at| name.get(at..))
        .is_some_and(|end| end.eq_ignore_ascii_case(suffix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for format in Format::ALL {
            let compressed = with_suffix(Path::new("a/b.txt"), &suffix_of(format));
            assert_eq!(
                without_suffix(&compressed, None),
                Some(PathBuf::from("a/b.txt")),
                "{format}"
            );
        }
        for (name, own, expected) in [
            ("x.tgz", None, Some("x.tar")),
            ("x.GZ", None, Some("x")),
            ("x.mine", Some(".mine"), Some("x")),
            ("x.mine", None, None),
            (".gz", None, None),
            ("x", None, None),
            ("ü.gz", None, Some("ü")),
        ] {
            assert_eq!(
                without_suffix(Path::new(name), own),
                expected.map(PathBuf::from),
                "{name}"
            );
        }
        assert_eq!(format_by_suffix(Path::new("x.deflate")), Some("deflate"));
        assert_eq!(format_by_suffix(Path::new("x.gz")), None);
    }
}
