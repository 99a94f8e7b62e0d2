//! Gates on what the card's algorithm puts out: byte for byte on the committed sample, within 1 % of the design's
//! ratios on the corpus, each level no less dense than the software that it stands beside.
//!
//! The golden file is written anew by `FAAM_BLESS=1 cargo test -p faam-benches --test ratios`: a change in it is a
//! change of the algorithm, and of `bitstreams/doc/algorithm.md`.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use faam_benches::corpus::{Extent, Sample, load};
use faam_benches::levels::{self, compare, stale};
use faam_benches::ratio::{Bench, Codec, ROWS, RatioError, SLICE_BYTES, measure};

/// Bytes of each golden job: small enough for tables to differ from slice to slice of the sample.
const GOLDEN_SLICE_BYTES: usize = 20_000;

/// Most that a row may differ from the design.
const DIFFERENCE_MAX: f64 = 0.01;

/// Rows that may differ by more, by name and slice size; `bitstreams/doc/algorithm.md`, "Ratios", says why.
const EXPLAINED: [(&str, usize); 1] = [("8K x 4 lazy, table of the previous block", 1 << 20)];

fn in_workspace(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// The committed sample, by name; noise included, so that storing is frozen as well.
fn sample() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(in_workspace("benches/sample"))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.ends_with(".md") {
            files.push((name.into_owned(), std::fs::read(&path)?));
        }
    }
    files.sort();
    Ok(files)
}

/// One line a file and row: bytes out and CRC-32 over all outputs, of the model's rows alone.
fn golden_of(files: &[(String, Vec<u8>)]) -> Result<String, RatioError> {
    let mut bench = Bench::default();
    let mut golden =
        String::from("# file | row | bytes out | CRC-32 of the outputs, one after the other\n");
    for (name, bytes) in files {
        for row in ROWS {
            if !matches!(row.codec, Codec::Model(..)) {
                continue;
            }
            let mut whole = Vec::new();
            let mut previous = None;
            for slice in bytes.chunks(GOLDEN_SLICE_BYTES) {
                whole.extend_from_slice(bench.slice(row.codec, slice, previous, None)?);
                previous = Some(slice);
            }
            let crc32 = libdeflater::crc32(&whole);
            writeln!(
                golden,
                "{name} | {} | {} | {crc32:08x}",
                row.name,
                whole.len()
            )
            .unwrap_or_default();
        }
    }
    Ok(golden)
}

#[test]
fn output_on_the_sample_is_what_it_was() {
    let path = in_workspace("benches/tests/ratios.golden");
    let ours = golden_of(&sample().unwrap()).unwrap();
    assert!(
        ours.lines().count() > ROWS.len(),
        "no sample in benches/sample"
    );
    if std::env::var_os("FAAM_BLESS").is_some() {
        std::fs::write(&path, &ours).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    for (line, expected) in ours.lines().zip(golden.lines()) {
        assert_eq!(line, expected, "the algorithm's output has changed");
    }
    assert_eq!(ours.lines().count(), golden.lines().count());
}

/// The corpus's ten files; `None`, with words, where they are not all there.
fn corpus() -> Option<Vec<Sample>> {
    let corpus = in_workspace(".cache/corpus");
    match load(&corpus, Extent::Quarter) {
        Ok(files) if files.len() == 10 => Some(files),
        _ => {
            eprintln!(
                "skipped: no corpus in {}; `make corpus` fetches it",
                corpus.display()
            );
            None
        }
    }
}

#[test]
fn levels_are_as_dense_as_they_have_to_be_and_the_page_says_so() {
    let page = std::fs::read_to_string(in_workspace("bitstreams/doc/ratios.md")).unwrap();
    // The page's second table needs no corpus.
    let sample = compare(&load(&in_workspace("benches/sample"), Extent::Whole).unwrap()).unwrap();
    let second = sample.markdown();
    let told = page.lines().count() - second.lines().count();
    let told: String = page
        .lines()
        .skip(told)
        .flat_map(|line| [line, "\n"])
        .collect();
    let wrong = stale(&told, &second);
    assert!(wrong.is_empty(), "bitstreams/doc/ratios.md: {wrong:#?}");
    let Some(files) = corpus() else { return };
    let levels = compare(&files).unwrap();
    let below = levels.below_their_floors();
    assert!(below.is_empty(), "{below:#?}\n{}", levels.markdown());
    let wrong = stale(&page, &levels::page(&levels, &sample));
    assert!(wrong.is_empty(), "bitstreams/doc/ratios.md: {wrong:#?}");
}

#[test]
fn ratios_on_the_corpus_are_the_designs() {
    let Some(files) = corpus() else { return };
    let table = measure(&ROWS.map(|row| row.codec), &files).unwrap();
    let bytes_in: u64 = files.iter().map(|file| file.bytes.len() as u64).sum();
    let mut outside = Vec::new();
    for (row, bytes_out) in ROWS.iter().zip(&table) {
        for (size, slice_bytes) in SLICE_BYTES.into_iter().enumerate() {
            let ratio = bytes_in as f64 / bytes_out[size].iter().sum::<u64>() as f64;
            let difference = ratio / row.design[size] - 1.0;
            let explained = EXPLAINED.contains(&(row.name, slice_bytes));
            // An explained row that is within bounds again should leave the list.
            if (difference.abs() > DIFFERENCE_MAX) != explained {
                outside.push(format!(
                    "{} at {slice_bytes}: {ratio:.3}, {:+.2} %",
                    row.name,
                    difference * 100.0
                ));
            }
        }
    }
    assert!(outside.is_empty(), "{outside:#?}");
}
