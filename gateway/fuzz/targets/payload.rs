//! Payloads of fronts: `{"data": base64, ..}`, both ways.

#![no_main]

use faam_gateway::fronts::fuzzing::payload;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| payload(bytes));
