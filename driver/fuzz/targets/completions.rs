//! What a hostile card writes into completion queues.

#![no_main]

use faam_driver::fuzzing::completions;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| completions(bytes));
