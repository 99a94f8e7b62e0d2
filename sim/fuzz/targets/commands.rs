//! Entries of submission queues and of the admin queue.

#![no_main]

use faam_sim::fuzzing::commands;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| commands(bytes));
