//! Messages of a hostile vfio-user client, with descriptors.

#![no_main]

use faam_sim::fuzzing::messages;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| messages(bytes));
