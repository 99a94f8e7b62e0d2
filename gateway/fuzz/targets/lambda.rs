//! What a request of Lambda's asks for: names, ARNs, qualifiers, kinds of invocation.

#![no_main]

use faam_gateway::fronts::fuzzing::lambda;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| lambda(bytes));
