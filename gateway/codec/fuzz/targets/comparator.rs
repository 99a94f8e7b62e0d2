//! Blocks, as the verifier sees them.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| faam_codec_fuzz::comparator::check(bytes));
