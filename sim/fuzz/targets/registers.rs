//! Accesses to registers and configuration space.

#![no_main]

use faam_sim::fuzzing::registers;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| registers(bytes));
