//! The fuzz targets' corpus, replayed: inputs that reach what fuzzing reached, and every one that once found a fault.

use std::fs;
use std::path::Path;

use faam_codec::Format;

#[path = "../fuzz/src/decompress.rs"]
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
mod decompress;

#[path = "../fuzz/src/comparator.rs"]
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
mod comparator;

#[test]
fn every_input_of_the_corpus_is_decompressed_alike_by_all() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for format in Format::ALL {
        let directory = corpus.join(format.name());
        let mut inputs = 0;
        for entry in fs::read_dir(&directory).expect("part of the sources") {
            let path = entry.expect("readable").path();
            let bytes = fs::read(&path).expect("readable");
            // The input's name, should it panic.
            println!("{}", path.display());
            decompress::check(format, &bytes);
            inputs += 1;
        }
        assert!(inputs >= 20, "{format} has a corpus of {inputs}");
    }
}

#[test]
fn every_block_of_the_corpus_is_judged_as_others_judge_it() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/comparator");
    let mut inputs = 0;
    for entry in fs::read_dir(&directory).expect("part of the sources") {
        let path = entry.expect("readable").path();
        println!("{}", path.display());
        comparator::check(&fs::read(&path).expect("readable"));
        inputs += 1;
    }
    assert!(inputs >= 20, "the corpus has {inputs}");
}
