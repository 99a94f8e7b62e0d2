//! Image packages, what is signed in them, their descriptions.

#![no_main]

use faam_image::fuzzing::packages;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| packages(bytes));
