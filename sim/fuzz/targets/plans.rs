//! Rules and plans of faults.

#![no_main]

use faam_sim::fuzzing::plans;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| plans(bytes));
