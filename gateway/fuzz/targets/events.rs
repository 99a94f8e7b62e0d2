//! CloudEvents: structured, batched, and in headers.

#![no_main]

use faam_gateway::fronts::fuzzing::event;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| event(bytes));
