//! Doors for fuzzing: the readers of files, from arbitrary bytes to a panic if an invariant does not hold.
//!
//! Owns nothing but the doors; each check lies beside the reader. Compiled for tests, which replay the committed corpora,
//! and for fuzzing, where this binary's source makes one target a reader; no build that is used has it.

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| match env!("CARGO_BIN_NAME") {
    "fuzz-settings" => crate::serve::fuzzing::settings(bytes),
    "fuzz-scenario" => crate::plan::fuzzing::scenario(bytes),
    other => panic!("{other} is no target"),
});

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
    fn every_configuration_of_the_corpus_is_settings_or_an_error() {
        replay("settings", crate::serve::fuzzing::settings);
    }

    #[test]
    fn every_scenario_of_the_corpus_can_be_run_or_is_an_error() {
        replay("scenario", crate::plan::fuzzing::scenario);
    }
}
