//! The mutants: for each a place in the tree, what it becomes, and the tests that must notice.
//!
//! Owns the list. Invariant: each takes out one check that memory, results or tenants are safe by, and nothing else.

/// A change of one place.
pub(crate) struct Mutant {
    pub(crate) name: &'static str,
    /// What is taken out, in words.
    pub(crate) check: &'static str,
    /// From the root of the workspace.
    pub(crate) file: &'static str,
    /// What is there, once in the file.
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
    /// Arguments of `cargo test`.
    pub(crate) tests: &'static [&'static str],
}

// Not `mutants` itself, which fails wherever one is.
const DRIVER: &[&str] = &["-p", "faam-driver", "--lib", "--test", "device"];
const CARD: &[&str] = &[
    "-p",
    "faam-sim",
    "-p",
    "faam-driver",
    "--lib",
    "--test",
    "card",
    "--test",
    "device",
];
const CODEC: &[&str] = &["-p", "faam-codec"];
const GATEWAY: &[&str] = &["-p", "faam-gateway", "--lib", "--test", "card_failure"];

pub(crate) const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "generation",
        check: "A completion's generation is its command's.",
        file: "driver/src/command_table.rs",
        from: "if slot.generation != id.generation() {\n            return Err(",
        to: "if false {\n            return Err(",
        tests: DRIVER,
    },
    Mutant {
        name: "check-field",
        check: "A completion's check field is that of its bytes and its queue's epoch.",
        file: "driver/src/command_table.rs",
        from: "if !entry.is_intact(epoch) {",
        to: "if false {",
        tests: DRIVER,
    },
    Mutant {
        name: "output-length",
        check: "A completion claims no more output than there was room for.",
        file: "driver/src/command_table.rs",
        from: "if entry.out_len > limits.dst_cap {",
        to: "if false {",
        tests: DRIVER,
    },
    Mutant {
        name: "input-length",
        check: "A completion claims no more input than its command had.",
        file: "driver/src/command_table.rs",
        from: "if entry.in_len > limits.src_len {",
        to: "if false {",
        tests: DRIVER,
    },
    Mutant {
        name: "submission-head",
        check: "A completion's submission head covers every command that has completed.",
        file: "driver/src/queue.rs",
        from: "if !self.submissions.head_is_possible(entry.sq_head) && entry.is_intact(self.epoch) {",
        to: "if false {",
        tests: DRIVER,
    },
    Mutant {
        name: "buffer-bounds",
        check: "An access to a DMA buffer ends within it.",
        file: "driver/src/dma/buffer.rs",
        from: "Some(end) if end <= self.len => {",
        to: "Some(end) if end <= self.len + 1 => {",
        tests: DRIVER,
    },
    Mutant {
        name: "arena-scrub",
        check: "Pages of another context are zeroed before a context gets them.",
        file: "driver/src/dma/arena.rs",
        from: "if let Some((first, count)) = stale.span() {",
        to: "if let Some((first, count)) = stale.span().filter(|_| false) {",
        tests: DRIVER,
    },
    Mutant {
        name: "quarantine",
        check: "Buffers of unfinished commands go into quarantine, not back to the pool.",
        file: "driver/src/worker/in_flight.rs",
        from: "jobs.push(frame.quarantine(self.incarnation));",
        to: "jobs.push(frame.job);",
        tests: DRIVER,
    },
    Mutant {
        name: "fence-of-its-own",
        check: "A fence frees the memory of its own function's life alone.",
        file: "driver/src/dma/fence.rs",
        from: "Covers::Incarnation(covered) => covered == incarnation,",
        to: "Covers::Incarnation(_) => true,",
        tests: DRIVER,
    },
    Mutant {
        name: "fence-epoch",
        check: "A reset is a fence only if RESET_EPOCH changed.",
        file: "driver/src/dma/fence.rs",
        from: "&& !evidence.resetting\n            && evidence.epoch_after != evidence.epoch_before)",
        to: "&& !evidence.resetting)",
        tests: DRIVER,
    },
    Mutant {
        name: "fence-idle",
        check: "A reset is a fence only if DMA is idle after it.",
        file: "driver/src/dma/fence.rs",
        from: "&& evidence.dma_idle\n",
        to: "\n",
        tests: DRIVER,
    },
    Mutant {
        name: "fence-death",
        check: "Only a process that has ended is a fence.",
        file: "driver/src/dma/fence.rs",
        from: "let ended = fds.iter().any(|fd| fd.revents().contains(PollFlags::IN));",
        to: "let ended = true;",
        tests: DRIVER,
    },
    Mutant {
        name: "card-scrub",
        check: "An engine that goes from one context to another is scrubbed.",
        file: "sim/src/engine.rs",
        from: "if changed && !function.faults.hit(Fault::Unscrubbed, &job.strikes) {\n            self.scrub();",
        to: "if changed && !function.faults.hit(Fault::Unscrubbed, &job.strikes) {",
        tests: CARD,
    },
    Mutant {
        name: "card-map-bounds",
        check: "The card reaches nothing beyond the end of a map.",
        file: "sim/src/memory/mod.rs",
        from: ".filter(|(_, map)| map.last >= at.0)",
        to: "",
        tests: CARD,
    },
    Mutant {
        name: "card-room",
        check: "The card writes nothing beyond the room that its command gave.",
        file: "sim/src/engine.rs",
        from: "let room = output_bytes_max(src.bytes).min(dst.bytes as usize);",
        to: "let room = output_bytes_max(src.bytes);",
        tests: CARD,
    },
    Mutant {
        name: "card-lease",
        check: "After a reset the card's engines reach no memory that they were given before.",
        file: "sim/src/memory/mod.rs",
        from: "if self.is_revoked() && !self.faults().on(Fault::WorksThroughReset) {",
        to: "if false {",
        tests: CARD,
    },
    Mutant {
        name: "verify-compare",
        check: "What a DEFLATE block decodes to is compared with the input.",
        file: "gateway/codec/src/comparator.rs",
        from: "if difference {\n                return Err(Fault::Differs);",
        to: "if false {\n                return Err(Fault::Differs);",
        tests: CODEC,
    },
    Mutant {
        name: "verify-lz4",
        check: "What an LZ4 block decodes to is compared with the input.",
        file: "gateway/codec/src/verify.rs",
        from: "if compared != common {",
        to: "if false {",
        tests: CODEC,
    },
    Mutant {
        name: "verify-zstd",
        check: "What a Zstandard block decodes to is compared with the input.",
        file: "gateway/codec/src/lockstep.rs",
        from: "if !agree {",
        to: "if false {",
        tests: CODEC,
    },
    Mutant {
        name: "verify-whole-output",
        check: "The other engine's decoding of a whole block is compared with the input.",
        file: "gateway/codec/src/verify.rs",
        from: "isal.decode(block, output) == Some(whole) && output.get(..input.len()) == Some(input)",
        to: "isal.decode(block, output) == Some(whole)",
        tests: CODEC,
    },
    Mutant {
        name: "verify-cards",
        check: "A card's result is verified before it is believed.",
        file: "gateway/src/cpu.rs",
        from: "if worker.is_verified(jobs.verification()) {\n                    worker.judge(&running.job, result)",
        to: "if worker.is_verified(jobs.verification()) {\n                    worker.believe(&running.job, result)",
        tests: GATEWAY,
    },
];
