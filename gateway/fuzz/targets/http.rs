//! Requests, with their options and bodies, against a gateway's whole HTTP surface.

#![no_main]

use faam_gateway::http::fuzzing::http;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| http(bytes));
