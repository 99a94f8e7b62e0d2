//! Replies of a hostile vfio-user server.

#![no_main]

use faam_driver::fuzzing::replies;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| replies(bytes));
