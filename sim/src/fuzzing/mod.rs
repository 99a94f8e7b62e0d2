//! Doors for fuzzing: one function a target, from arbitrary bytes to a panic if an invariant does not hold.
//!
//! Owns what the targets of `sim/fuzz` hold the card to. Invariant: one thread, no waiting and no clock that decides
//! anything, so that an input does the same again: the dispatcher takes its turns and the engine its jobs when they are
//! told to. Compiled for tests, which replay the committed corpora, and for fuzzing; no build that is used has it.

mod commands;
mod host;
mod input;
mod messages;
mod plans;
mod registers;

pub use commands::commands;
pub use messages::messages;
pub use plans::plans;
pub use registers::registers;

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
    fn every_message_of_the_corpus_is_answered() {
        replay("messages", super::messages);
    }

    #[test]
    fn every_command_of_the_corpus_completes_once() {
        replay("commands", super::commands);
    }

    #[test]
    fn every_plan_of_the_corpus_reads_back() {
        replay("plans", super::plans);
    }

    #[test]
    fn every_register_access_of_the_corpus_keeps_the_rules() {
        replay("registers", super::registers);
    }
}
