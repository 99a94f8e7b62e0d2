//! Doors for fuzzing: what fronts parse, from arbitrary bytes to a panic if an invariant does not hold.
//!
//! Owns what the targets of `gateway/fuzz` hold payloads to; what they hold events and Lambda's requests to lies beside these. Compiled for tests, which replay the committed corpora, and for
//! fuzzing; no build that is used has it.

#![expect(clippy::panic, reason = "a panic is how a target says what it found")]

use axum::http::HeaderMap;
use bytes::Bytes;
use serde_json::{Value, json};

use super::call::{Answer, Hold};
pub use super::cloud_events::fuzzing::event;
pub use super::lambda::fuzzing::asked as lambda;
use super::payload::{self, Payload};
use crate::error::ProblemKind;

/// Characters that a refusal says at most, whatever came.
const DETAIL_CHARS_MAX: usize = 1000;

/// Panics if a payload is refused otherwise than in words of bounded length, is not JSON and yet taken, or is another one once
/// it is written and read again; or if an answer of its bytes is no JSON that holds them.
pub fn payload(bytes: &[u8]) {
    let read = match Payload::read(bytes) {
        Ok(read) => read,
        Err(problem) => {
            assert_eq!(problem.kind(), ProblemKind::InvalidOption);
            let chars = problem.detail().chars().count();
            assert!(chars <= DETAIL_CHARS_MAX, "a refusal of {chars} characters");
            return;
        }
    };
    let parsed = serde_json::from_slice::<Value>(bytes);
    assert!(parsed.is_ok(), "what is no JSON is taken");
    let answer = Answer {
        output: read.input.clone(),
        bytes_in: 0,
        headers: HeaderMap::new(),
        hold: Hold::default(),
    };
    let told: Value = serde_json::from_slice(&payload::write_bytes(&answer))
        .unwrap_or_else(|error| panic!("an answer is no JSON: {error}"));
    let mut quoted = Vec::new();
    payload::write_quoted(&answer, &mut quoted);
    let quoted = serde_json::from_slice::<String>(&quoted);
    let quoted = quoted.unwrap_or_else(|error| panic!("an answer is no text: {error}"));
    assert_eq!(
        serde_json::from_str::<Value>(&quoted).ok().as_ref(),
        Some(&told)
    );
    let again = json!({
        "data": told["data"],
        "kernel": read.function.map(super::function::Function::name),
        "level": read.options.level,
        "backend": read.options.backend,
        "deadline_ms": read.options.deadline_ms,
        "priority": read.options.priority,
    });
    let again = Payload::read(Bytes::from(again.to_string()).as_ref());
    assert_eq!(again.ok(), Some(read), "read, written and read again");
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    /// The inputs of a target's corpus.
    fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
        let entries = std::fs::read_dir(corpus.join(target)).expect("part of the sources");
        let inputs: Vec<_> = entries
            .map(|entry| {
                let path = entry.expect("readable").path();
                let input = std::fs::read(&path).expect("readable");
                (path, input)
            })
            .collect();
        assert!(
            inputs.len() >= 20,
            "{target} has a corpus of {}",
            inputs.len()
        );
        inputs
    }

    /// Gives every input of a target's corpus to its check.
    fn replay(target: &str, check: fn(&[u8])) {
        for (path, input) in corpus(target) {
            // The input's name, should it panic.
            println!("{}", path.display());
            check(&input);
        }
    }

    /// An input of a corpus, with a piece of it in place of another.
    fn changed(target: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
        let mut inputs: Vec<_> = corpus(target).into_iter().map(|(_, input)| input).collect();
        inputs.sort_unstable();
        let piece = prop_oneof![
            vec(any::<u8>(), 0..4),
            vec(select(br#"{}[]",:\=%$"#.as_slice()), 0..3),
        ];
        (select(inputs), any::<Index>(), 0_usize..4, piece).prop_map(
            |(mut input, at, length, piece)| {
                let from = at.index(input.len() + 1);
                let to = (from + length).min(input.len());
                input.splice(from..to, piece);
                input
            },
        )
    }

    proptest! {
        #[test]
        fn changed_payloads_are_read_or_refused(input in changed("payload")) {
            super::payload(&input);
        }

        #[test]
        fn changed_events_are_read_or_refused(input in changed("events")) {
            super::event(&input);
        }

        #[test]
        fn changed_names_are_read_or_refused(input in changed("lambda")) {
            super::lambda(&input);
        }
    }

    #[test]
    fn every_payload_of_the_corpus_is_read_or_refused() {
        replay("payload", super::payload);
    }

    #[test]
    fn every_event_of_the_corpus_is_read_or_refused() {
        replay("events", super::event);
    }

    #[test]
    fn every_name_of_the_corpus_is_read_or_refused() {
        replay("lambda", super::lambda);
    }
}
